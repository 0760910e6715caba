//! Microseconds of each step of a load, each alone: parse, link, verify, build the SSA form, compile, publish; and
//! of the kernel's load beside them.
//!
//! `cargo bench --bench phases [-- --rounds N]`: over the example objects and workloads of several sizes. The first
//! column of a step is its first time in this process (cold), the second the lower quartile of the rest. Times are of
//! the thread's clock: the machine is shared. Publishing and the kernel's load are timed inside the engine, by the wall's.
#![forbid(unsafe_code)]

#[path = "../src/bin/beelift/machine.rs"]
mod machine;
#[path = "../src/bin/beelift/statistics.rs"]
#[allow(dead_code, reason = "run.rs uses more of it")]
mod statistics;
#[allow(dead_code, reason = "run.rs uses more of it")]
mod support;

use std::path::Path;
use std::time::Duration;

use beelift::codegen::Target;
use beelift::engine::Choice;
use beelift::link::{self, LinkOptions, Program};
use beelift::runtime::environment::thread_time;
use beelift::{Engine, Object, ir, verify};

use statistics::Quartiles;
use support::{Result, with_buffer, workloads};

/// Steps, in the order of a load; the last one stands beside them.
const STEPS: [&str; 7] = ["parse", "link", "verify", "ir", "compile", "publish", "kernel"];
/// Workloads by size: 227, 185, 6107 instructions.
const WORKLOADS: [&str; 3] = ["w04_siphash", "w17_spill", "w05_sha256"];

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let rounds = match (args.next().as_deref(), args.next()) {
        (Some("--rounds"), Some(count)) => count.parse()?,
        (None, None) => 20_usize,
        _ => return Err("usage: cargo bench --bench phases -- [--rounds N]".into()),
    };
    for line in machine::Machine::look().lines() {
        println!("{line}");
    }
    print!("{:22} {:>5}", "program", "insns");
    STEPS.iter().for_each(|step| print!("  {step:>14}"));
    println!("  ns an insn: verify, ir, compile");
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut paths: Vec<_> = std::fs::read_dir(examples)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.to_string_lossy().ends_with(".bpf.o"))
        .collect();
    paths.sort();
    for path in paths {
        let bytes = std::fs::read(&path)?;
        let object = Object::parse(&bytes)?;
        for program in object.programs() {
            // A type that only its host knows is no subject.
            if link::link(&object, &program.name, &LinkOptions::default()).is_ok() {
                measure(&Subject { name: program.name.clone(), bytes: &bytes, raw: false }, rounds)?;
            }
        }
    }
    for name in WORKLOADS {
        let bytes = std::fs::read(workloads().join(format!("{name}.bpf.o")))?;
        measure(&Subject { name: name.to_owned(), bytes: &bytes, raw: true }, rounds)?;
    }
    Ok(())
}

/// A program of an object.
struct Subject<'a> {
    name: String,
    bytes: &'a [u8],
    /// A function in `.text` over a buffer.
    raw: bool,
}

impl Subject<'_> {
    fn link(&self, object: &Object) -> Result<Program> {
        if self.raw {
            return with_buffer(self.bytes);
        }
        Ok(link::link(object, &self.name, &LinkOptions::default())?)
    }
}

fn measure(subject: &Subject<'_>, rounds: usize) -> Result<()> {
    let native = Engine::builder().backend(Choice::Jit).build()?;
    let kernel = Engine::builder().backend(Choice::Kernel).build()?;
    let target = Target::host()?;
    let mut samples: [Vec<f64>; STEPS.len()] = Default::default();
    let mut insns = 0;
    for _ in 0..rounds.max(2) {
        let mut step = 0;
        let mut note = |micros: f64| {
            samples[step].push(micros);
            step += 1;
        };
        let micros = |start: Duration| (thread_time() - start).as_nanos() as f64 / 1e3;
        let start = thread_time();
        let object = Object::parse(subject.bytes)?;
        let parse = micros(start);
        note(parse);
        let start = thread_time();
        let program = subject.link(&object)?;
        // A raw function is parsed again with its prologue.
        note(if subject.raw { (micros(start) - parse).max(0.0) } else { micros(start) });
        insns = program.insns.len();
        let again = program.clone();
        let start = thread_time();
        let verified =
            verify::verify(again, &verify::Options::default()).map_err(|failure| format!("{failure:?}"))?;
        note(micros(start));
        let start = thread_time();
        let module = ir::build(&verified, ir::Options::default())?;
        note(micros(start));
        let start = thread_time();
        beelift::codegen::compile(&module, &target)?;
        note(micros(start));
        let loaded = native.load_linked(vec![program.clone()])?;
        note(loaded.programs()[0].times().publish.as_nanos() as f64 / 1e3);
        // Without permission the column stays empty.
        if let Ok(loaded) = kernel.load_linked(vec![program]) {
            note(loaded.programs()[0].times().verify.as_nanos() as f64 / 1e3);
        }
    }
    print!("{:22} {insns:5}", subject.name);
    for column in &samples {
        match column.split_first() {
            Some((cold, warm)) => print!("  {cold:7.0} {:6.1}", Quartiles::of(warm).lower),
            None => print!("  {:>14}", "-"),
        }
    }
    let each = |step: usize| Quartiles::of(&samples[step][1..]).lower * 1e3 / insns.max(1) as f64;
    println!("  {:.0} {:.0} {:.0}", each(2), each(3), each(4));
    Ok(())
}
