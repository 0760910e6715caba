//! `bench`: paired, interleaved samples of native code, interpreter and kernel JIT on one input.
//!
//! Engines must agree on the input before they are timed. A sample is many runs on one context: what a run changes
//! in its packet, the next one sees, in user space as in the kernel's test runs. Every round takes a sample of
//! each engine and of an empty program in it; net times are less the empty one.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use beelift::engine::compare::Trial;
use beelift::engine::{Backend, Choice, Input, Loaded};
use beelift::isa::Slot;
use beelift::{Engine, Error, FixedEnvironment, Object, Program};

use crate::args;
use crate::failure::{Failure, Kind};
use crate::machine::Machine;
use crate::output::{out, progress, say};
use crate::plot::{self, Column};
use crate::source::Opened;
use crate::statistics::{Quartiles, Ratio, net};
use crate::{input, report};

/// Engines that do not run the program, and why.
type LeftOut = Vec<(Backend, String)>;

/// Loads of a program whose times count.
const LOADS: usize = 9;
/// Runs that a first estimate takes.
const ESTIMATE: u32 = 200;
/// Most runs of a sample.
const MOST_RUNS: f64 = 100e6;
/// Ethernet, IPv4 and UDP to the discard port, 64 bytes.
const UDP: [u8; 42] = [
    2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, // Ethernet
    0x45, 0, 0, 50, 0, 1, 0, 0, 64, 17, 0x66, 0xb8, 10, 0, 0, 1, 10, 0, 0, 2, // IPv4
    0x30, 0x39, 0, 9, 0, 30, 0, 0, // UDP
];

pub(crate) fn bench(args: &args::Bench, as_json: bool) -> Result<ExitCode, Failure> {
    if args.rounds == 0 || args.sample_ms == 0 {
        return Err(Failure::usage("--rounds and --sample-ms are at least 1"));
    }
    let packet = match args.packet.as_deref() {
        Some(text) => input::hex_or_file(text)?,
        None => UDP.iter().copied().chain([0; 22]).collect(),
    };
    if cfg!(debug_assertions) {
        say!("warning: a debug build: times say nothing about a release build");
    }
    let machine = Machine::look();
    if !as_json {
        machine.lines().iter().for_each(|line| out!("{line}"));
    }
    let mut all = Vec::new();
    for object in &args.objects {
        let opened = Opened::open(&args::Source {
            object: object.clone(),
            program: args.program.clone(),
            section: None,
            prog_type: args.prog_type.clone(),
            set: Vec::new(),
            btf: None,
        })?;
        opened.warn();
        for name in opened.chosen()? {
            let (program, _) = opened.link(&name)?;
            let input = Input { packet: packet.clone(), context: Vec::new() };
            let measured = Job { args, opened: &opened, name: &name, program: &program, input }.measure()?;
            if !as_json {
                measured.print();
            }
            all.push(measured);
        }
    }
    if as_json {
        let programs: Vec<Value> = all.iter().map(Measured::json).collect();
        out!("{}", json!({ "schema": 1, "machine": machine_json(&machine), "programs": programs }));
    }
    if let Some(path) = &args.plot {
        let columns: Vec<Column<'_>> = all.iter().map(Measured::column).collect();
        plot::write(path, &columns)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// One program on one input.
struct Job<'a> {
    args: &'a args::Bench,
    opened: &'a Opened,
    name: &'a str,
    program: &'a Program,
    input: Input,
}

/// An engine with the program and an empty one loaded.
struct Runner {
    backend: Backend,
    /// The program, then the empty one; each with the runs of a sample.
    loaded: [(beelift::engine::Collection, u32); 2],
}

impl Runner {
    fn sample(&self, which: usize, input: &Input) -> Result<f64, Error> {
        let (collection, repeat) = &self.loaded[which];
        time(&collection.programs()[0], input, *repeat)
    }
}

/// Nanoseconds of one of `repeat` runs.
fn time(program: &Loaded, input: &Input, repeat: u32) -> Result<f64, Error> {
    let record = program.run_repeated(input, repeat)?;
    match record.value {
        Ok(_) => Ok(record.nanoseconds),
        Err(trap) => Err(Error::Trap(Box::new(trap))),
    }
}

/// What was measured of one engine.
struct Measurement {
    backend: Backend,
    /// Nanoseconds by round.
    raw: Vec<f64>,
    /// Of an empty program, in the same rounds.
    empty: Vec<f64>,
    code_bytes: Option<usize>,
}

impl Measurement {
    fn net(&self) -> Vec<f64> {
        net(&self.raw, &self.empty)
    }
}

/// What was measured of one program.
struct Measured {
    label: String,
    name: String,
    prog_type: &'static str,
    insns: usize,
    input_bytes: usize,
    value: Option<u64>,
    engines: Vec<Measurement>,
    skipped: Vec<(Backend, String)>,
    load: Load,
}

/// Microseconds of the steps of a load: the first one, and the median of later ones.
struct Load {
    steps: Vec<(&'static str, f64, f64)>,
}

impl Job<'_> {
    fn measure(self) -> Result<Measured, Failure> {
        let (value, mut skipped) = self.agree()?;
        let load = self.load_times()?;
        let mut runners = Vec::new();
        for backend in self.backends() {
            if skipped.iter().any(|(gone, _)| *gone == backend) {
                continue;
            }
            match self.prepare(backend) {
                Ok(runner) => runners.push(runner),
                Err(error) => skipped.push((backend, error.to_string())),
            }
        }
        let engines = self.sample(&runners)?;
        Ok(Measured {
            label: self.opened.label.clone(),
            name: self.name.to_owned(),
            prog_type: self.program.prog_type.name(),
            insns: self.program.insns.len(),
            input_bytes: self.input.packet.len(),
            value,
            engines,
            skipped,
            load,
        })
    }

    fn backends(&self) -> Vec<Backend> {
        let mut backends = vec![Backend::Jit, Backend::Kernel];
        if !self.args.no_interpreter {
            backends.push(Backend::Interpreter);
        }
        backends
    }

    /// One run on each engine; the return value, and which engines do not run the program and why.
    fn agree(&self) -> Result<(Option<u64>, LeftOut), Failure> {
        let inputs = [self.input.clone()];
        let environment = FixedEnvironment::default();
        let trial = Trial {
            program: self.program,
            verified: None,
            object: self.opened.object(),
            inputs: &inputs,
            elements: &[],
            environment,
        };
        let comparison = trial.compare(&self.backends(), &Engine::builder);
        let mut skipped = Vec::new();
        let mut value = None;
        for column in comparison.columns {
            match column.outcome {
                Ok(outcome) => match outcome.records.into_iter().next() {
                    Some(Ok(record)) => match record.value {
                        Ok(result) => value = value.or(Some(result)),
                        Err(trap) => {
                            return Err(Failure::new(Kind::Trap, report::trap(&trap)).at(self.name));
                        }
                    },
                    Some(Err(why)) => skipped.push((column.backend, why.to_owned())),
                    None => {}
                },
                Err(Error::Rejected(rejected)) => {
                    let message = format!("the verifier rejected it: {}", rejected.reason);
                    return Err(Failure::new(Kind::Rejected, message)
                        .at(self.name)
                        .with_report(report::rejected(self.program, &rejected, None)));
                }
                Err(error @ Error::Unsupported { .. }) if column.backend == Backend::Jit => {
                    return Err(Failure::new(Kind::Unsupported, error).at(self.name));
                }
                Err(error) => skipped.push((column.backend, error.to_string())),
            }
        }
        if let Some(difference) = comparison.difference {
            let ((left, right), (ours, theirs)) = (difference.backends, difference.values);
            let what = difference.what;
            let message =
                format!("{left} and {right} differ: {what}: {ours} and {theirs}; nothing was timed");
            return Err(Failure::failure(message).at(self.name).hint(format!(
                "to see it alone: beelift run {} -p {} --engine all --packet {}",
                self.opened.label,
                self.name,
                input::to_hex(&self.input.packet)
            )));
        }
        Ok((value, skipped))
    }

    fn prepare(&self, backend: Backend) -> Result<Runner, Error> {
        let engine = engine(backend)?;
        let sample = f64::from(self.args.sample_ms) * 1e6;
        let prepare = |program: Program, object: Option<&Object>| {
            let collection = engine.load_from(program, object)?;
            let once = time(&collection.programs()[0], &self.input, ESTIMATE)?;
            // Bounded, so it fits.
            let repeat = (sample / once.max(1.0)).clamp(1.0, MOST_RUNS) as u32;
            Ok::<_, Error>((collection, repeat))
        };
        Ok(Runner {
            backend,
            loaded: [prepare(self.program.clone(), self.opened.object())?, prepare(self.empty()?, None)?],
        })
    }

    /// A program of the same type that only returns what the engines agreed on (or 0).
    fn empty(&self) -> Result<Program, Error> {
        let value = if self.program.prog_type == beelift::ProgramType::Xdp { 2 } else { 0 };
        let slots = [Slot::new(0xb7, 0, 0, 0, value), Slot::new(0x95, 0, 0, 0, 0)];
        let program = Program::from_slots(self.program.prog_type, &slots, Vec::new().into())?;
        Ok(Program { attach_type: self.program.attach_type, ..program })
    }

    fn sample(&self, runners: &[Runner]) -> Result<Vec<Measurement>, Failure> {
        let failed = |error: Error| Failure::failure(error).at(self.name);
        let mut engines: Vec<Measurement> = runners
            .iter()
            .map(|runner| Measurement {
                backend: runner.backend,
                raw: Vec::new(),
                empty: Vec::new(),
                code_bytes: code_bytes(&runner.loaded[0].0.programs()[0]),
            })
            .collect();
        let bar = progress(self.args.rounds as usize, "measuring");
        for _ in 0..self.args.rounds {
            for (runner, engine) in runners.iter().zip(&mut engines) {
                engine.raw.push(runner.sample(0, &self.input).map_err(failed)?);
                engine.empty.push(runner.sample(1, &self.input).map_err(failed)?);
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(engines)
    }

    fn load_times(&self) -> Result<Load, Failure> {
        let failed = |error: Error| Failure::failure(error).at(self.name);
        let micros = |duration: Duration| duration.as_nanos() as f64 / 1e3;
        let names = ["parse", "link", "verify", "compile", "publish", "kernel"];
        let mut samples: [Vec<f64>; 6] = Default::default();
        samples[0].push(micros(self.opened.parse));
        let native = engine(Backend::Jit).map_err(failed)?;
        let kernel = engine(Backend::Kernel).map_err(failed)?;
        for _ in 0..=LOADS {
            if self.opened.object().is_some() {
                let start = Instant::now();
                let parsed = Object::parse(&self.opened.bytes);
                let time = start.elapsed();
                drop(parsed);
                samples[0].push(micros(time));
            }
            samples[1].push(micros(self.opened.link(self.name)?.1));
            let loaded = native.load_from(self.program.clone(), self.opened.object()).map_err(failed)?;
            let times = loaded.programs()[0].times();
            samples[2].push(micros(times.verify));
            samples[3].push(micros(times.compile));
            samples[4].push(micros(times.publish));
            // Where the kernel does not take it, `agree` said so.
            if let Ok(loaded) = kernel.load_from(self.program.clone(), self.opened.object()) {
                samples[5].push(micros(loaded.programs()[0].times().verify));
            }
        }
        let steps = names.into_iter().zip(&samples).filter_map(|(name, samples)| {
            let (first, rest) = samples.split_first()?;
            Some((name, *first, if rest.is_empty() { *first } else { Quartiles::of(rest).median }))
        });
        Ok(Load { steps: steps.collect() })
    }
}

fn engine(backend: Backend) -> Result<Engine, Error> {
    let choice = match backend {
        Backend::Jit => Choice::Jit,
        Backend::Interpreter => Choice::Interpreter,
        Backend::Kernel => Choice::Kernel,
    };
    Engine::builder().backend(choice).build()
}

/// Bytes of native code; nothing where there is none or nobody may see it.
fn code_bytes(program: &Loaded) -> Option<usize> {
    if let Some(native) = program.native() {
        return Some(native.code().size());
    }
    let len = program.kernel()?.info().ok()?.native_len;
    (len > 0).then_some(len as usize)
}

impl Measured {
    fn engine(&self, backend: Backend) -> Option<&Measurement> {
        self.engines.iter().find(|engine| engine.backend == backend)
    }

    /// Ratio of native code to another engine: net, and with the cost of a run on both sides.
    fn ratios(&self, other: Backend) -> (Option<Ratio>, Option<Ratio>) {
        let (Some(jit), Some(other)) = (self.engine(Backend::Jit), self.engine(other)) else {
            return (None, None);
        };
        (Ratio::of(&jit.net(), &other.net()), Ratio::of(&jit.raw, &other.raw))
    }

    fn print(&self) {
        out!("");
        out!(
            "{}: program {} ({}), {} instructions, {} bytes of input",
            self.label,
            self.name,
            self.prog_type,
            self.insns,
            self.input_bytes
        );
        let mut table = crate::output::table([
            "engine",
            "ns a run",
            "quartiles",
            "net",
            "empty program",
            "bytes of code",
        ]);
        for engine in &self.engines {
            let raw = Quartiles::of(&engine.raw);
            table.add_row([
                engine.backend.to_string(),
                format!("{:.1}", raw.median),
                format!("{:.1}-{:.1}", raw.lower, raw.upper),
                format!("{:.1}", Quartiles::of(&engine.net()).median),
                format!("{:.1}", Quartiles::of(&engine.empty).median),
                engine.code_bytes.map_or("-".to_owned(), |bytes| bytes.to_string()),
            ]);
        }
        out!("{table}");
        for other in [Backend::Kernel, Backend::Interpreter] {
            let (net, raw) = self.ratios(other);
            let text = |ratio: Ratio| format!("{:.2} ({:.2}-{:.2})", ratio.value, ratio.low, ratio.high);
            match (net, raw) {
                (Some(net), Some(raw)) => {
                    out!("jit / {other}: {} net, {} with the cost of a run", text(net), text(raw));
                }
                (None, Some(raw)) => {
                    out!("jit / {other}: {} with the cost of a run; hardly anything net", text(raw));
                }
                (_, None) => {}
            }
        }
        let steps: Vec<String> = self
            .load
            .steps
            .iter()
            .map(|(name, first, warm)| format!("{name} {first:.0}/{warm:.1}"))
            .collect();
        out!("load in µs, first/later: {}", steps.join(", "));
        for (backend, why) in &self.skipped {
            say!("note: {backend} left out: {why}");
        }
    }

    fn json(&self) -> Value {
        let quartiles = |samples: &[f64]| {
            let quartiles = Quartiles::of(samples);
            json!({ "lower": quartiles.lower, "median": quartiles.median, "upper": quartiles.upper })
        };
        let mut engines = serde_json::Map::new();
        for engine in &self.engines {
            let value = json!({
                "ns_per_run": quartiles(&engine.raw),
                "net_ns": quartiles(&engine.net()),
                "empty_ns": quartiles(&engine.empty),
                "code_bytes": engine.code_bytes,
            });
            engines.insert(engine.backend.to_string(), value);
        }
        for (backend, why) in &self.skipped {
            engines.insert(backend.to_string(), json!({ "skipped": why }));
        }
        let ratio = |ratio: Option<Ratio>| {
            ratio.map(|ratio| json!({ "value": ratio.value, "low": ratio.low, "high": ratio.high }))
        };
        let ratios = |other: Backend| {
            let (net, raw) = self.ratios(other);
            json!({ "net": ratio(net), "with_entry": ratio(raw) })
        };
        let load: serde_json::Map<String, Value> = self
            .load
            .steps
            .iter()
            .map(|(name, first, warm)| ((*name).to_owned(), json!({ "first": first, "later": warm })))
            .collect();
        json!({
            "object": self.label,
            "program": self.name,
            "type": self.prog_type,
            "insns": self.insns,
            "input_bytes": self.input_bytes,
            "return": self.value,
            "agree": true,
            "engines": engines,
            "ratio": { "kernel": ratios(Backend::Kernel), "interpreter": ratios(Backend::Interpreter) },
            "load_us": load,
        })
    }

    fn column(&self) -> Column<'_> {
        let times = |engine: &Measurement| (engine.backend.to_string(), Quartiles::of(&engine.raw));
        Column { program: &self.name, engines: self.engines.iter().map(times).collect() }
    }
}

fn machine_json(machine: &Machine) -> Value {
    let mitigations: serde_json::Map<String, Value> =
        machine.mitigations.iter().map(|(name, how)| (name.clone(), json!(how))).collect();
    json!({
        "cpu": machine.cpu,
        "cpus": machine.cpus,
        "kernel": machine.kernel,
        "load": machine.load,
        "kernel_jit": machine.kernel_jit,
        "kernel_jit_hardened": machine.kernel_hardened,
        "mitigations": mitigations,
    })
}

#[cfg(test)]
mod tests {
    use crate::statistics::{Quartiles, Ratio, net};

    #[test]
    fn quartiles_lie_between_samples() {
        let quartiles = Quartiles::of(&[4.0, 1.0, 3.0, 2.0]);
        assert_eq!(quartiles, Quartiles { lower: 1.75, median: 2.5, upper: 3.25 });
        assert_eq!(Quartiles::of(&[7.0]), Quartiles { lower: 7.0, median: 7.0, upper: 7.0 });
    }

    #[test]
    fn a_ratio_lies_in_its_interval_and_needs_something_to_divide_by() {
        let left: Vec<f64> = (0..30).map(|index| 50.0 + f64::from(index % 5)).collect();
        let right: Vec<f64> = left.iter().map(|sample| sample * 2.0).collect();
        let ratio = Ratio::of(&left, &right).unwrap();
        assert_eq!(ratio, Ratio { value: 0.5, low: 0.5, high: 0.5 });
        assert_eq!(Ratio::of(&left, &net(&left, &left)), None);
        assert_eq!(Ratio::of(&[], &[]), None);
    }
}
