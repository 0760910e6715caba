//! Nanoseconds a run: native code against the running kernel, interleaved in one process.
//!
//! `cargo bench --bench run [-- [DIR] [--quick] [--only w02,w05] [--rounds N] [--dump]]`. The programs are those of
//! `benches/workloads`, or of DIR: one function `work(mem, len)` at the start of `.text` over a 1024-byte buffer.
//! Both engines run the same instructions: three slots in front point r1 to the only value of an array map.
//! Results, buffer and maps must agree before anything is timed.
//!
//! A round takes a sample of native code, of an empty native program, of the kernel, of an empty program in the
//! kernel. Times are medians over the rounds. `net` is less the empty program of the same engine in the same
//! round, and `ratio` is the ratio of these; `strict` leaves the cost of entering native code in.
#![forbid(unsafe_code)]

#[path = "../src/bin/beelift/machine.rs"]
mod machine;
#[path = "../src/bin/beelift/statistics.rs"]
mod statistics;
mod support;

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Instant;

use beelift::engine::{Choice, Collection, Element, Loaded};
use beelift::isa::Slot;
use beelift::kernel::{KernelProgram, TestInput, TestRun};
use beelift::link::Program;
use beelift::runtime::ctx::ProgramType;
use beelift::runtime::environment::thread_time;
use beelift::{Engine, Packet, XdpContext};

use statistics::{Quartiles, Ratio, net};
use support::{BUFFER_MAP, Result, buffer, empty, with_buffer, workloads};

/// Nanoseconds of a sample of native code.
const NATIVE_SAMPLE: f64 = 1.5e6;
/// Nanoseconds of a test run in the kernel: shorter ones are noise.
const KERNEL_SAMPLE: f64 = 2.5e6;

struct Settings {
    folder: PathBuf,
    only: Vec<String>,
    rounds: usize,
    /// Programs are loaded this often: where code lies changes its speed.
    placements: usize,
    dump: bool,
}

fn settings() -> Option<Settings> {
    let (only, dump) = (Vec::new(), false);
    let mut settings = Settings { folder: workloads(), only, rounds: 24, placements: 3, dump };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--only" => settings.only = args.next()?.split(',').map(str::to_owned).collect(),
            "--rounds" => settings.rounds = args.next()?.parse().ok()?,
            "--quick" => (settings.rounds, settings.placements) = (5, 1),
            "--dump" => settings.dump = true,
            // cargo passes it to every bench.
            "--bench" => {}
            folder => settings.folder = PathBuf::from(folder),
        }
    }
    (settings.folder.is_dir() && settings.rounds > 0).then_some(settings)
}

fn main() -> Result<()> {
    let Some(settings) = settings() else {
        eprintln!("usage: cargo bench --bench run -- [DIR] [--quick] [--only NAMES] [--rounds N] [--dump]");
        return Ok(());
    };
    for line in machine::Machine::look().lines() {
        println!("{line}");
    }
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&settings.folder)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.to_string_lossy().ends_with(".bpf.o"))
        .collect();
    paths.sort();
    let bench = Bench {
        native: Engine::builder().backend(Choice::Jit).build()?,
        kernel: Engine::builder().backend(Choice::Kernel).build()?,
        settings: &settings,
    };
    entry(&bench.native)?;
    let mut rows: Vec<Row> = Vec::new();
    let mut failed = 0;
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().replace(".bpf.o", "");
        if !settings.only.is_empty() && !settings.only.iter().any(|only| name.starts_with(only.as_str())) {
            continue;
        }
        match bench.measure(&path, &name) {
            Ok(row) => rows.push(row),
            Err(error) => {
                println!("{name}: {error}");
                failed += 1;
            }
        }
    }
    report(&rows);
    if failed > 0 { Err(format!("{failed} programs failed").into()) } else { Ok(()) }
}

/// Samples of one program, in the order of the rounds.
#[derive(Default)]
struct Samples {
    native: Vec<f64>,
    native_empty: Vec<f64>,
    kernel: Vec<f64>,
    kernel_empty: Vec<f64>,
}

struct Row {
    name: String,
    insns: usize,
    /// Bytes of native code: ours, the kernel's.
    bytes: (usize, usize),
    samples: Samples,
    times: Times,
}

/// Microseconds of the steps of a load, the best of some.
struct Times {
    parse_link: f64,
    verify: f64,
    build: f64,
    compile: f64,
    publish: f64,
    kernel: f64,
}

impl Row {
    fn number(&self) -> u32 {
        self.name.get(1..3).and_then(|digits| digits.parse().ok()).unwrap_or(0)
    }

    /// Net times over net times, and native time with its entry over net time.
    fn ratios(&self) -> (Option<Ratio>, Option<Ratio>) {
        let samples = &self.samples;
        let kernel = net(&samples.kernel, &samples.kernel_empty);
        let native = net(&samples.native, &samples.native_empty);
        (Ratio::of(&native, &kernel), Ratio::of(&samples.native, &kernel))
    }
}

fn report(rows: &[Row]) {
    println!(
        "{:15} {:>8} {:>8} {:>8} {:>8}  {:>5} {:11} {:>6}  {:>5} {:>6} {:>6}   us: {:>6} {:>6} {:>6} {:>6} {:>6} {:>7}",
        "program",
        "native",
        "kernel",
        "net",
        "net",
        "ratio",
        "95%",
        "strict",
        "insns",
        "bytes",
        "kernel",
        "parse",
        "verify",
        "ir",
        "clif",
        "publ",
        "kernel"
    );
    for row in rows {
        let samples = &row.samples;
        let median = |samples: &[f64]| Quartiles::of(samples).median;
        let (ratio, strict) = row.ratios();
        let interval = ratio.map_or(String::new(), |ratio| format!("{:.2}-{:.2}", ratio.low, ratio.high));
        let value =
            |ratio: Option<Ratio>| ratio.map_or("-".to_owned(), |ratio| format!("{:.2}", ratio.value));
        let times = &row.times;
        println!(
            "{:15} {:8.1} {:8.1} {:8.1} {:8.1}  {:>5} {interval:11} {:>6}  {:5} {:6} {:6}       {:6.0} {:6.0} {:6.0} {:6.0} {:6.1} {:7.0}",
            row.name,
            median(&samples.native),
            median(&samples.kernel),
            median(&net(&samples.native, &samples.native_empty)),
            median(&net(&samples.kernel, &samples.kernel_empty)),
            value(ratio),
            value(strict),
            row.insns,
            row.bytes.0,
            row.bytes.1,
            times.parse_link,
            times.verify,
            times.build,
            times.compile,
            times.publish,
            times.kernel,
        );
    }
    let all = |take: fn(&Samples) -> &[f64]| -> Vec<f64> {
        rows.iter().flat_map(|row| take(&row.samples).iter().copied()).collect()
    };
    let (native, kernel) = (all(|samples| &samples.native_empty), all(|samples| &samples.kernel_empty));
    let (native, kernel) = (Quartiles::of(&native), Quartiles::of(&kernel));
    println!(
        "an empty program: native {:.1} ns ({:.1}-{:.1}), kernel {:.1} ns ({:.1}-{:.1})",
        native.median, native.lower, native.upper, kernel.median, kernel.lower, kernel.upper
    );
    mean("compute (w02-w12, w17-w22)", rows, |number| matches!(number, 2..=12 | 17..=22));
    mean("all (w02-w22)", rows, |number| matches!(number, 2..=22));
}

fn mean(what: &str, rows: &[Row], wanted: impl Fn(u32) -> bool) {
    let chosen: Vec<_> = rows.iter().filter(|row| wanted(row.number())).map(Row::ratios).collect();
    let mean = |ratios: Vec<f64>| {
        (ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len().max(1) as f64).exp()
    };
    let ratio = mean(chosen.iter().filter_map(|(ratio, _)| ratio.map(|ratio| ratio.value)).collect());
    let strict = mean(chosen.iter().filter_map(|(_, strict)| strict.map(|ratio| ratio.value)).collect());
    println!("geometric mean, {what}, {} programs: {ratio:.3}, strict {strict:.3}", chosen.len());
}

struct Bench<'a> {
    native: Engine,
    kernel: Engine,
    settings: &'a Settings,
}

impl Bench<'_> {
    fn measure(&self, path: &Path, name: &str) -> Result<Row> {
        let bytes = std::fs::read(path)?;
        let program = with_buffer(&bytes)?;
        let times = self.load_times(&bytes, &program, name)?;
        let mut row = Row {
            name: name.to_owned(),
            insns: program.insns.len(),
            bytes: (0, 0),
            samples: Samples::default(),
            times,
        };
        let rounds = self.settings.rounds.div_ceil(self.settings.placements);
        // Every placement leaves its code where it is, so that the next one lies elsewhere.
        let mut placed = Vec::new();
        for _ in 0..self.settings.placements {
            let native = self.native.load_linked(vec![program.clone()])?;
            let kernel = self.kernel.load_linked(vec![program.clone()])?;
            row.bytes.0 = native.programs()[0].native().map_or(0, |native| native.code().size());
            row.bytes.1 = in_kernel(&kernel)?.info()?.native_len as usize;
            for collection in [&native, &kernel] {
                collection.map(BUFFER_MAP)?.update(&[0; 4], &Element::Value(buffer(name)), 0)?;
            }
            agree(&native, &kernel)?;
            self.sample(&native, &kernel, rounds, &mut row.samples)?;
            placed.push(native);
        }
        Ok(row)
    }

    fn sample(
        &self,
        native: &Collection,
        kernel: &Collection,
        rounds: usize,
        samples: &mut Samples,
    ) -> Result<()> {
        let nothing = self.native.load_linked(vec![empty()?])?;
        let nothing_kernel = self.kernel.load_linked(vec![empty()?])?;
        let (native, nothing) = (&native.programs()[0], &nothing.programs()[0]);
        let (kernel, nothing_kernel) = (in_kernel(kernel)?, in_kernel(&nothing_kernel)?);
        let repeat = |nanoseconds: f64, sample: f64| (sample / nanoseconds.max(1.0)) as u32 + 10;
        let native_repeat = repeat(once(native, 100)?, NATIVE_SAMPLE);
        let nothing_repeat = repeat(once(nothing, 100)?, NATIVE_SAMPLE / 3.0);
        let kernel_repeat = repeat(once_in_kernel(kernel, 1000)?, KERNEL_SAMPLE);
        for _ in 0..rounds {
            samples.native.push(once(native, native_repeat)?);
            samples.native_empty.push(once(nothing, nothing_repeat)?);
            samples.kernel.push(once_in_kernel(kernel, kernel_repeat)?);
            samples.kernel_empty.push(once_in_kernel(nothing_kernel, repeat(20.0, KERNEL_SAMPLE))?);
        }
        Ok(())
    }

    fn load_times(&self, bytes: &[u8], program: &Program, name: &str) -> Result<Times> {
        let target = beelift::codegen::Target::host()?;
        let mut times = Times {
            parse_link: f64::MAX,
            verify: f64::MAX,
            build: f64::MAX,
            compile: f64::MAX,
            publish: f64::MAX,
            kernel: f64::MAX,
        };
        let best = |time: &mut f64, start: Instant| *time = time.min(start.elapsed().as_nanos() as f64 / 1e3);
        for round in 0..5 {
            let start = Instant::now();
            black_box(with_buffer(bytes)?);
            best(&mut times.parse_link, start);
            let again = program.clone();
            let start = Instant::now();
            let verified = beelift::verify::verify(again, &beelift::verify::Options::default())
                .map_err(|failure| format!("{failure:?}"))?;
            best(&mut times.verify, start);
            let start = Instant::now();
            let module = beelift::ir::build(&verified, beelift::ir::Options::default())?;
            best(&mut times.build, start);
            let start = Instant::now();
            let code = beelift::codegen::compile(&module, &target)?;
            best(&mut times.compile, start);
            let native = self.native.load_linked(vec![program.clone()])?;
            times.publish =
                times.publish.min(native.programs()[0].times().publish.as_nanos() as f64 / 1000.0);
            let kernel = self.kernel.load_linked(vec![program.clone()])?;
            times.kernel = times.kernel.min(kernel.programs()[0].times().verify.as_nanos() as f64 / 1000.0);
            if self.settings.dump && round == 0 {
                let base = std::env::temp_dir().join(name);
                std::fs::write(base.with_extension("ir"), module.to_string())?;
                std::fs::write(base.with_extension("clif"), beelift::codegen::clif(&module, &target)?)?;
                for (index, function) in code.functions.iter().enumerate() {
                    std::fs::write(base.with_extension(format!("{index}.bin")), &function.bytes)?;
                }
                let theirs = in_kernel(&kernel)?.native_code()?;
                std::fs::write(base.with_extension("kernel.bin"), theirs)?;
            }
        }
        Ok(times)
    }
}

/// Nanoseconds of one of `repeat` runs on one context.
fn once(program: &Loaded, repeat: u32) -> Result<f64> {
    let mut packet = Packet::new(64)?;
    packet.set(&[0; 64])?;
    let mut context = XdpContext::new(&mut packet);
    // On a busy machine the wall's clock counts the time of others; the kernel's test run leaves that out as well.
    let mut runner = program.runner()?;
    let start = thread_time();
    for _ in 0..repeat {
        black_box(runner.run(&mut context)?);
    }
    Ok((thread_time() - start).as_nanos() as f64 / f64::from(repeat))
}

/// What a run costs around the program: in a row of runs, alone, and alone with a CPU slot of its own.
fn entry(engine: &Engine) -> Result<()> {
    const RUNS: u32 = 200_000;
    // `call get_smp_processor_id` before the rest.
    let call = [Slot::new(0x85, 0, 0, 0, 8), Slot::new(0xb7, 0, 0, 0, 2), Slot::new(0x95, 0, 0, 0, 0)];
    let asks = Program::from_slots(ProgramType::Xdp, &call, Vec::new().into())?;
    let (nothing, asks) = (engine.load_linked(vec![empty()?])?, engine.load_linked(vec![asks])?);
    let mut packet = Packet::new(64)?;
    packet.set(&[0; 64])?;
    let mut context = XdpContext::new(&mut packet);
    let mut samples: [Vec<f64>; 3] = Default::default();
    for _ in 0..15 {
        samples[0].push(once(&nothing.programs()[0], RUNS)?);
        for (samples, collection) in samples[1..].iter_mut().zip([&nothing, &asks]) {
            let start = thread_time();
            for _ in 0..RUNS {
                black_box(collection.programs()[0].run(&mut context)?);
            }
            samples.push((thread_time() - start).as_nanos() as f64 / f64::from(RUNS));
        }
    }
    let [row, alone, slot] = samples.map(|samples| Quartiles::of(&samples).median);
    println!("entry: {row:.1} ns by Runner::run, {alone:.1} by Loaded::run, {slot:.1} with a CPU slot");
    Ok(())
}

/// Likewise in the kernel.
fn once_in_kernel(program: &KernelProgram, repeat: u32) -> Result<f64> {
    let test = TestRun { repeat, ..TestRun::packet(TestInput::Xdp, &[0; 64], 0, &[]) };
    Ok(f64::from(program.test_run(&test)?.duration_ns))
}

fn in_kernel(collection: &Collection) -> Result<&KernelProgram> {
    Ok(collection.programs()[0].kernel().ok_or("not in the kernel")?)
}

/// One run of each: result, buffer and maps are the same.
fn agree(native: &Collection, kernel: &Collection) -> Result<()> {
    let mut packet = Packet::new(64)?;
    packet.set(&[0; 64])?;
    let ours = native.programs()[0].run(&mut XdpContext::new(&mut packet))? as u32; // A test run returns that half.
    let test = TestRun::packet(TestInput::Xdp, &[0; 64], 0, &[]);
    let theirs = in_kernel(kernel)?.test_run(&test)?.retval;
    if ours != theirs {
        return Err(format!("results differ: native {ours:#x}, kernel {theirs:#x}").into());
    }
    for (ours, theirs) in native.maps().iter().zip(kernel.maps()) {
        if ours.contents()? != theirs.contents()? {
            return Err(format!("map `{}` differs", ours.def().name).into());
        }
    }
    Ok(())
}
