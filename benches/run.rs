//! Nanoseconds a run: native code against the running kernel, interleaved in one process.
//!
//! `cargo bench --bench run -- DIR [--only w02,w05] [--rounds N] [--dump]`: DIR holds objects with one function
//! `work(mem, len)` at the start of `.text` over a 1024-byte buffer. Both engines run the same instructions:
//! three slots in front point r1 to the only value of an array map. Results, buffer and maps must agree. Times
//! are lower quartiles over the rounds, less what an empty program costs in the same engine.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Instant;

use beelift::engine::{Choice, Collection, Element};
use beelift::isa::Slot;
use beelift::kernel::{TestInput, TestRun};
use beelift::link::{self, Program};
use beelift::runtime::ctx::ProgramType;
use beelift::runtime::{MapDef, MapKind};
use beelift::{Engine, Object, Packet, XdpContext};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

struct Settings {
    folder: PathBuf,
    only: Vec<String>,
    rounds: usize,
    dump: bool,
}

fn settings() -> Option<Settings> {
    let mut settings = Settings { folder: PathBuf::new(), only: Vec::new(), rounds: 15, dump: false };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--only" => settings.only = args.next()?.split(',').map(str::to_owned).collect(),
            "--rounds" => settings.rounds = args.next()?.parse().ok()?,
            "--dump" => settings.dump = true,
            // cargo passes it to every bench.
            "--bench" => {}
            folder => settings.folder = PathBuf::from(folder),
        }
    }
    settings.folder.is_dir().then_some(settings)
}

fn main() -> Result<()> {
    let Some(settings) = settings() else {
        eprintln!("usage: cargo bench --bench run -- DIR [--only NAMES] [--rounds N] [--dump]");
        return Ok(());
    };
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&settings.folder)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.to_string_lossy().ends_with(".bpf.o"))
        .collect();
    paths.sort();
    let bench = Bench {
        native: Engine::builder().backend(Choice::Jit).build()?,
        kernel: Engine::builder().backend(Choice::Kernel).build().ok(),
        settings: &settings,
    };
    let mut rows: Vec<Row> = Vec::new();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().replace(".bpf.o", "");
        let wanted = settings.only.is_empty()
            || name.ends_with("empty")
            || settings.only.iter().any(|only| name.starts_with(only.as_str()));
        if !wanted {
            continue;
        }
        match bench.measure(&path, &name) {
            Ok(row) => rows.push(row),
            Err(error) => println!("{name:16} {error}"),
        }
    }
    report(&rows);
    Ok(())
}

struct Row {
    name: String,
    insns: usize,
    bytes: usize,
    native: f64,
    kernel: Option<f64>,
    verify: f64,
    build: f64,
    compile: f64,
}

fn report(rows: &[Row]) {
    let empty = rows.iter().find(|row| row.name.ends_with("empty"));
    let (native_empty, kernel_empty) =
        (empty.map_or(0.0, |row| row.native), empty.and_then(|row| row.kernel).unwrap_or(0.0));
    println!("an empty run: native {native_empty:.1} ns, kernel {kernel_empty:.1} ns (taken off below)");
    println!(
        "program            native    kernel  ratio  insns  bytes  us: verify     ir   clif  (us an insn)"
    );
    let mut ratios = Vec::new();
    for row in rows {
        let native = row.native - native_empty;
        let kernel = row.kernel.map(|kernel| kernel - kernel_empty);
        let ratio = kernel.map(|kernel| native / kernel);
        let number =
            |number: Option<f64>, digits| number.map_or("-".into(), |number| format!("{number:.digits$}"));
        println!(
            "{:16} {native:8.1} {:>9} {:>6} {:6} {:6} {:11.0} {:6.0} {:6.0}  ({:.2})",
            row.name,
            number(kernel, 1),
            number(ratio, 2),
            row.insns,
            row.bytes,
            row.verify,
            row.build,
            row.compile,
            (row.build + row.compile) / row.insns as f64,
        );
        let compute = row.name.get(1..3).and_then(|digits| digits.parse::<u32>().ok());
        if let (Some(ratio), Some(2..=12 | 17..=22)) = (ratio, compute) {
            ratios.push(ratio.ln());
        }
    }
    if !ratios.is_empty() {
        let mean = (ratios.iter().sum::<f64>() / ratios.len() as f64).exp();
        println!("geometric mean over {} compute programs: {mean:.3}", ratios.len());
    }
}

struct Bench<'a> {
    native: Engine,
    kernel: Option<Engine>,
    settings: &'a Settings,
}

impl Bench<'_> {
    fn measure(&self, path: &Path, name: &str) -> Result<Row> {
        let program = program(path)?;
        let insns = program.insns.len();
        let (verify, build, compile) = self.compile_times(&program, name)?;
        let native = self.native.load_linked(vec![program.clone()])?;
        let kernel = match self.kernel.as_ref().map(|engine| engine.load_linked(vec![program])) {
            Some(Ok(kernel)) => Some(kernel),
            Some(Err(error)) => {
                println!("{name}: kernel: {error}");
                None
            }
            None => None,
        };
        let bytes = native.programs()[0].native().map_or(0, |native| native.code().size());
        for collection in [Some(&native), kernel.as_ref()].into_iter().flatten() {
            collection.map("mem")?.update(&[0; 4], &Element::Value(buffer(name)), 0)?;
        }
        let mut packet = Packet::new(64)?;
        packet.set(&[0; 64])?;
        let mut context = XdpContext::new(&mut packet);
        let run = &native.programs()[0];
        let value = run.run(&mut context)?;
        if let Some(kernel) = &kernel {
            agree(&native, kernel, value)?;
        }
        let start = Instant::now();
        for _ in 0..10 {
            black_box(run.run(&mut context)?);
        }
        let once = (start.elapsed().as_nanos() as f64 / 10.0).max(2.0);
        let (repeat, kernel_repeat) = ((1.0e6 / once) as u32 + 1, (2.5e6 / (once + 20.0)) as u32 + 10);
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..self.settings.rounds {
            let start = Instant::now();
            for _ in 0..repeat {
                black_box(run.run(&mut context)?);
            }
            ours.push(start.elapsed().as_nanos() as f64 / f64::from(repeat));
            if let Some(program) = kernel.as_ref().and_then(|kernel| kernel.programs()[0].kernel()) {
                let test =
                    TestRun { repeat: kernel_repeat, ..TestRun::packet(TestInput::Xdp, &[0; 64], 0, &[]) };
                theirs.push(f64::from(program.test_run(&test)?.duration_ns));
            }
        }
        let kernel = (!theirs.is_empty()).then(|| quartile(theirs));
        Ok(Row {
            name: name.to_owned(),
            insns,
            bytes,
            native: quartile(ours),
            kernel,
            verify,
            build,
            compile,
        })
    }

    /// Microseconds of verifying, building the SSA form, and compiling it; the best of some.
    fn compile_times(&self, program: &Program, name: &str) -> Result<(f64, f64, f64)> {
        let target = beelift::codegen::Target::host()?;
        let micros = |start: Instant| start.elapsed().as_nanos() as f64 / 1000.0;
        let (mut verify, mut build, mut compile) = (f64::MAX, f64::MAX, f64::MAX);
        for _ in 0..5 {
            let start = Instant::now();
            let verified = beelift::verify::verify(program.clone(), &beelift::verify::Options::default())
                .map_err(|failure| format!("{failure:?}"))?;
            verify = verify.min(micros(start));
            let start = Instant::now();
            let module = beelift::ir::build(&verified, beelift::ir::Options::default())?;
            build = build.min(micros(start));
            let start = Instant::now();
            let code = beelift::codegen::compile(&module, &target)?;
            compile = compile.min(micros(start));
            if self.settings.dump && compile < f64::MAX {
                let base = std::env::temp_dir().join(name);
                std::fs::write(base.with_extension("ir"), module.to_string())?;
                std::fs::write(base.with_extension("clif"), beelift::codegen::clif(&module, &target)?)?;
                for (index, function) in code.functions.iter().enumerate() {
                    std::fs::write(base.with_extension(format!("{index}.bin")), &function.bytes)?;
                }
            }
        }
        Ok((verify, build, compile))
    }
}

fn quartile(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 4]
}

/// The object's function behind the three slots that give it its buffer.
fn program(path: &Path) -> Result<Program> {
    let mut object = Object::parse(&std::fs::read(path)?)?;
    let slot = object.add_map(MapDef::new("mem", MapKind::Array, 4, 1024, 1));
    let slot = i32::try_from(slot.0)?;
    let prologue = [Slot::new(0x18, 1, 2, 0, slot), Slot::new(0, 0, 0, 0, 0), Slot::new(0xb7, 2, 0, 0, 1024)];
    let mut program = link::link_raw_text(&object, ProgramType::Xdp, &prologue)?;
    program.license = "GPL".to_owned();
    Ok(program)
}

fn agree(native: &Collection, kernel: &Collection, value: u64) -> Result<()> {
    let program = kernel.programs()[0].kernel().ok_or("not in the kernel")?;
    let test = TestRun::packet(TestInput::Xdp, &[0; 64], 0, &[]);
    let theirs = program.test_run(&test)?.retval;
    let ours = value as u32; // A test run returns the low half.
    if ours != theirs {
        return Err(format!("results differ: native {ours:#x}, kernel {theirs:#x}").into());
    }
    for (ours, theirs) in native.maps().iter().zip(kernel.maps()) {
        if ours.elements()? != theirs.elements()? {
            return Err(format!("map `{}` differs", ours.def().name).into());
        }
    }
    Ok(())
}

/// Contents of the buffer: pseudo-random bytes, and what some programs want to find.
fn buffer(name: &str) -> Vec<u8> {
    let mut bytes = vec![0; 1024];
    let mut state: u64 = 0x9E37_79B9_7F4A_7C15;
    for byte in &mut bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *byte = state as u8; // The low byte.
    }
    match name.get(..3) {
        Some("w07") => {
            for at in 0..250 {
                let letter = b'a' + (at % 26) as u8; // Below 26.
                bytes[512 + at] = letter;
                bytes[768 + at] = letter;
            }
        }
        Some("w11") => (0..7).for_each(|at| tcp_packet(&mut bytes[at * 128..(at + 1) * 128], at)),
        Some("w22") => {
            for (at, word) in bytes[512..].chunks_exact_mut(4).enumerate() {
                let value = at as u32 * (u32::MAX / 128); // Below 128.
                word.copy_from_slice(&value.to_le_bytes());
            }
        }
        _ => {}
    }
    bytes
}

fn tcp_packet(packet: &mut [u8], number: usize) {
    const OPTIONS: [u8; 20] = [2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 3, 3, 7];
    let mut at = 12;
    if number % 3 == 1 {
        packet[12..14].copy_from_slice(&[0x81, 0]);
        at = 16;
    }
    packet[at..at + 2].copy_from_slice(&[8, 0]);
    let ip = at + 2;
    packet[ip] = 0x45;
    packet[ip + 9] = if number == 5 { 17 } else { 6 };
    let tcp = ip + 20;
    packet[tcp + 12] = 0xa0;
    packet[tcp + 13] = if number % 2 == 1 { 2 } else { 0x10 };
    packet[tcp + 20..tcp + 40].copy_from_slice(&OPTIONS);
}
