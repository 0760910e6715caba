//! What proofs take beside the kernel's own: microseconds, processed instructions, memory.
//!
//! `cargo bench --bench verify [-- --rounds N] [--only WORD] [--large] [OBJECT ...]`: over the workloads and the example objects, or
//! over the programs of the objects named; with `--large` over generated programs of up to a million processed
//! instructions. Times are of the thread's clock: the machine is shared. The kernel's time is what its verifier says of
//! itself in the same round, or the thread's time of the whole load if that is less. A proof's memory is what the verifier
//! counts of it; with `--large` the growth of the process's peak as well, measured in a process of its own.
#![forbid(unsafe_code)]

#[path = "../src/bin/beelift/machine.rs"]
mod machine;
#[path = "../src/bin/beelift/statistics.rs"]
#[allow(dead_code, reason = "run.rs uses more of it")]
mod statistics;
#[allow(dead_code, reason = "run.rs uses more of it")]
mod support;

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use beelift::kernel::{KernelProgram, LoadOptions, LogLevel, MapSetOptions, create_maps};
use beelift::link::{self, LinkOptions, Program};
use beelift::runtime::environment::thread_time;
use beelift::verify::{self, Options, Statistics};
use beelift::{Object, ProgramType};

use statistics::Quartiles;
use support::{Result, with_buffer, workloads};

fn main() -> Result<()> {
    let mut rounds = 11_usize;
    let (mut large, mut objects, mut only) = (false, Vec::new(), String::new());
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--rounds" => rounds = args.next().ok_or("--rounds needs a number")?.parse()?,
            "--large" => large = true,
            "--only" => only = args.next().ok_or("--only needs a word")?,
            "--memory" => return memory_of(&args.next().ok_or("--memory needs a name")?),
            _ => objects.push(arg),
        }
    }
    for line in machine::Machine::look().lines() {
        println!("{line}");
    }
    println!(
        "{:44} {:>7} {:>9} {:>7} {:>10} {:>10} {:>6} {:>7} {:>9} {:>8} {:>8}",
        "program",
        "insns",
        "processed",
        "states",
        "us",
        "kernel us",
        "ratio",
        "M/s",
        "kernel's",
        "KiB",
        "peak KiB"
    );
    let mut totals = Totals::default();
    let subjects = match (large, objects.is_empty()) {
        (true, _) => generated(),
        (false, true) => small()?,
        (false, false) => of_objects(&objects)?,
    };
    for (name, program) in subjects.into_iter().filter(|subject| subject.0.contains(&only)) {
        measure(&name, &program, if large { rounds.min(3) } else { rounds }, large, &mut totals)?;
    }
    totals.print();
    Ok(())
}

type Subjects = Vec<(String, Program)>;

fn small() -> Result<Subjects> {
    let mut subjects = Vec::new();
    for path in sorted(&workloads())? {
        subjects.push((name_of(&path), with_buffer(&std::fs::read(&path)?)?));
    }
    let examples = sorted(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples"))?;
    subjects.extend(of_objects(&examples)?);
    Ok(subjects)
}

fn sorted(folder: &Path) -> Result<Vec<String>> {
    let paths =
        std::fs::read_dir(folder)?.filter_map(|entry| entry.ok()?.path().into_os_string().into_string().ok());
    let mut paths: Vec<String> = paths.filter(|path| path.ends_with(".bpf.o")).collect();
    paths.sort();
    Ok(paths)
}

fn name_of(path: &str) -> String {
    let name = Path::new(path).file_stem().unwrap_or_default().to_string_lossy();
    name.trim_end_matches(".bpf").to_owned()
}

/// Programs that cannot be linked are left out.
fn of_objects(paths: &[String]) -> Result<Subjects> {
    let mut subjects = Vec::new();
    for path in paths {
        let Ok(object) = Object::parse(&std::fs::read(path)?) else { continue };
        for source in object.programs() {
            if let Ok(program) = link::link(&object, &source.name, &LinkOptions::default()) {
                subjects.push((format!("{}:{}", name_of(path), source.name), program));
            }
        }
    }
    Ok(subjects)
}

/// Programs that take much to prove, each in its own way.
fn generated() -> Subjects {
    let subject = |name: &str, source: &str| {
        let program = Program::assemble(ProgramType::Xdp, source, |name| {
            beelift::runtime::helper::by_name(name).map(|helper| helper.id)
        });
        (name.to_owned(), program.expect("generated programs are programs"))
    };
    let numbers = "r6 = *(u32 *)(r1 +12)\nr7 = *(u32 *)(r1 +16)\n";
    let mut straight = numbers.to_owned();
    for at in 0..100_000 {
        let op = ["r6 += r7", "r7 ^= r6", "r6 <<= 3", "w7 &= 0xffff", "r6 |= r7", "r7 *= 5"][at % 6];
        let _ = writeln!(straight, "{op}");
    }
    straight.push_str("r0 = 0\nexit\n");
    let count = |turns: u32, body: &str| {
        format!("{numbers}r8 = 0\nagain: {body}r8 += 1\nif r8 < {turns} goto again\nr0 = 0\nexit\n")
    };
    let spills: String = (1..=8)
        .map(|slot| format!("*(u64 *)(r10 -{}) = r6\nr6 = *(u64 *)(r10 -{})\n", 8 * slot, 8 * slot))
        .collect();
    let diamonds = |count: u32| {
        let mut source = numbers.to_owned();
        for at in 0..count {
            let _ = writeln!(source, "if r6 > {at} goto l{at}\nr7 += 1\nl{at}: r7 ^= {at}");
        }
        source + "r0 = 0\nexit\n"
    };
    // A path for each of 256 values, none of which is like another.
    let mut switch = format!("{numbers}r6 &= 255\nr9 = 0\n");
    for at in 0..255 {
        let _ = writeln!(switch, "if r6 == {at} goto c{at}");
    }
    switch.push_str("goto join\n");
    for at in 0..255 {
        let _ = writeln!(switch, "c{at}: r9 = -{at}\ngoto join");
    }
    switch.push_str("join: r8 = r10\nr8 += r9\nr8 += -8\n*(u8 *)(r8 +0) = 1\n");
    for _ in 0..200 {
        switch.push_str("r7 += r9\nr7 ^= 3\n");
    }
    switch.push_str("r0 = 0\nexit\n");
    // Choices that a later access remembers.
    let choices = |bits: u32| {
        let mut source = format!("{numbers}r9 = 0\n");
        for bit in 0..bits {
            let _ = writeln!(
                source,
                "r8 = r6\nr8 &= {0}\nif r8 == 0 goto n{bit}\nr9 += {0}\nn{bit}: r7 += 1",
                1 << bit
            );
        }
        source.push_str(&"r7 += r9\n".repeat(100));
        source + "r9 &= 255\nr9 = -r9\nr8 = r10\nr8 += r9\n*(u8 *)(r8 -1) = 1\nr0 = 0\nexit\n"
    };
    let calls = format!(
        "{numbers}r8 = 0\nagain: r1 = r6\ncall one\nr8 += 1\nif r8 < 20000 goto again\nr0 = 0\nexit\none: r6 = r1\ncall two\nr0 += 1\nexit\ntwo: *(u64 *)(r10 -8) = r1\nr0 = *(u64 *)(r10 -8)\nr0 &= 7\nexit\n"
    );
    let nested = format!(
        "{numbers}r8 = 0\nouter: r9 = 0\ninner: r9 += 1\nr7 += r9\nif r9 < 300 goto inner\nr8 += 1\nif r8 < 300 goto outer\nr0 = 0\nexit\n"
    );
    vec![
        subject("straight line of 100,000", &straight),
        subject("loop of 250,000 turns", &count(250_000, "")),
        subject("loop of 40,000 turns over spills", &count(40_000, &spills)),
        subject("loops of 300 x 300 turns", &nested),
        subject("8000 diamonds", &diamonds(8000)),
        subject("switch of 256 ways", &switch),
        subject("4096 paths", &choices(12)),
        subject("20,000 diamonds", &diamonds(20_000)),
        subject("65,536 paths", &choices(16)),
        subject("loop of 10,000,000 turns", &count(10_000_000, "")),
        subject("20,000 calls of two functions", &calls),
    ]
}

#[derive(Default)]
struct Totals {
    programs: u32,
    processed: u64,
    micros: f64,
    kernel_processed: u64,
    kernel: f64,
    ours_of_those: f64,
    faster: u32,
    compared: u32,
    /// Proofs of less than a millisecond.
    quick: u32,
    /// Bytes of the largest proof.
    memory: u64,
}

impl Totals {
    fn print(&self) {
        println!(
            "{} programs, {} processed in {:.0} us: {:.2} M/s",
            self.programs,
            self.processed,
            self.micros,
            self.processed as f64 / self.micros
        );
        println!("{} take less than a millisecond; the largest {} KiB", self.quick, self.memory >> 10);
        if self.compared > 0 {
            println!(
                "{} the kernel takes too: {:.0} us, the kernel {:.0} us ({:.2} M/s); ratio {:.2}, {} no slower",
                self.compared,
                self.ours_of_those,
                self.kernel,
                self.kernel_processed as f64 / self.kernel,
                self.ours_of_those / self.kernel,
                self.faster
            );
        }
    }
}

fn measure(name: &str, program: &Program, rounds: usize, large: bool, totals: &mut Totals) -> Result<()> {
    let (mut micros, mut kernels) = (Vec::new(), Vec::new());
    let (mut statistics, mut kernel_processed) = (Ok(Statistics::default()), 0);
    for _ in 0..rounds.max(2) {
        let copy = program.clone();
        let start = thread_time();
        let verified = verify::verify(copy, &Options::default());
        micros.push((thread_time() - start).as_nanos() as f64 / 1e3);
        statistics = verified.map(|verified| verified.statistics());
        if let Some((time, processed)) = kernel(program) {
            kernels.push(time);
            kernel_processed = processed;
        }
    }
    let ours = Quartiles::of(&micros).lower;
    let memory = || -> Result<String> {
        let output = Command::new(std::env::current_exe()?).args(["--memory", name]).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let statistics = match statistics {
        Ok(statistics) => statistics,
        Err(failure) => {
            let kib = if large { memory()? } else { String::new() };
            let why = failure.to_string();
            let why = why.lines().next().unwrap_or_default();
            println!("{name:44} {:7} refused in {ours:.0} us, {kib} KiB: {why}", program.insns.len());
            return Ok(());
        }
    };
    totals.programs += 1;
    totals.processed += statistics.processed;
    totals.micros += ours;
    totals.quick += u32::from(ours < 1000.0);
    totals.memory = totals.memory.max(statistics.memory);
    let rate = statistics.processed as f64 / ours;
    print!(
        "{name:44} {:7} {:9} {:7} {ours:10.1}",
        program.insns.len(),
        statistics.processed,
        statistics.states
    );
    if kernels.is_empty() {
        print!(" {:>10} {:>6} {rate:7.2} {:>9}", "-", "-", "-");
    } else {
        let kernel = Quartiles::of(&kernels).lower.max(0.5);
        print!(" {kernel:10.1} {:6.2} {rate:7.2} {kernel_processed:9}", ours / kernel);
        totals.compared += 1;
        totals.kernel += kernel;
        totals.ours_of_those += ours;
        totals.kernel_processed += kernel_processed;
        totals.faster += u32::from(ours <= kernel);
    }
    print!(" {:8}", statistics.memory >> 10);
    if large {
        print!(" {:>8}", memory()?);
    }
    println!();
    Ok(())
}

/// Time of the kernel's verifier in microseconds, and the instructions it processed.
fn kernel(program: &Program) -> Option<(f64, u64)> {
    let maps = create_maps(&program.maps, MapSetOptions::default()).ok()?;
    let options = LoadOptions { log: LogLevel::Statistics, ..LoadOptions::default() };
    let start = thread_time();
    let loaded = KernelProgram::load(program, &maps, options).ok()?;
    let whole = (thread_time() - start).as_nanos() as f64 / 1e3;
    let number = |before: &str| {
        let rest = loaded.log().split(before).nth(1)?;
        rest.split_whitespace().next()?.parse().ok()
    };
    // The kernel's clock runs on while others run: the whole load is an upper bound without them.
    Some((f64::min(number("verification time ")?, whole), number("processed ")? as u64))
}

/// Prints by how many KiB the proof of a generated program made the process grow at most.
fn memory_of(name: &str) -> Result<()> {
    let program = generated().into_iter().find(|subject| subject.0 == name).ok_or("no such program")?.1;
    // The generated programs are gone by now: the peak starts anew.
    std::fs::write("/proc/self/clear_refs", "5")?;
    let before = status("VmRSS:")?;
    let verified = verify::verify(program, &Options::default());
    let peak = status("VmHWM:")?;
    drop(verified);
    println!("{}", peak.saturating_sub(before));
    Ok(())
}

fn status(field: &str) -> Result<u64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find(|line| line.starts_with(field)).ok_or("no such field")?;
    Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse()?)
}
