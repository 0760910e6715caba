//! `run`: a program over packets, vectors or a capture, on one engine or on all of them.
#![forbid(unsafe_code)]

mod action;
mod comparison;
mod inputs;
mod result;

use std::fs::File;
use std::io::BufWriter;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use beelift::btf::Btf;
use beelift::engine::compare::{Comparison, Trial};
use beelift::engine::{Backend, Choice, Collection, Contents, EngineBuilder, Fill, Input, Record};
use beelift::runtime::MapKind;
use beelift::verify::Options;
use beelift::{Engine, Error, FixedEnvironment, Program, ProgramType};

use crate::args::{self, Engine as Wanted};
use crate::failure::{Failure, Kind};
use crate::output::{out, progress, say};
use crate::source::Opened;
use crate::{capture, fill, input, report};

pub(crate) fn run(args: &args::Run, as_json: bool) -> Result<ExitCode, Failure> {
    if args.unverified && !matches!(args.engine, Wanted::Auto | Wanted::Interpreter) {
        return Err(Failure::usage("--unverified: only the interpreter runs programs without a proof")
            .hint("leave out --engine"));
    }
    let opened = Opened::open(&args.source)?;
    opened.warn();
    let name = opened.the_one()?;
    let (program, link) = opened.link(&name)?;
    let inputs = inputs::inputs(args, &program)?;
    let fills = fills(args, &program)?;
    let job =
        Job { args, opened: &opened, name: &name, program: &program, inputs: &inputs, fills: &fills, link };
    if args.engine == Wanted::All { job.all(as_json) } else { job.one(as_json) }
}

/// What the command line puts into maps: an earlier run's first, then single elements.
fn fills(args: &args::Run, program: &Program) -> Result<Vec<Fill>, Failure> {
    let types = program.btf.as_deref();
    let mut fills = Vec::new();
    if let Some(path) = &args.restore {
        let (restored, left_out) = fill::from_saved(path, &program.maps, types)?;
        if !left_out.is_empty() {
            say!("note: not restored: {}", left_out.join(", "));
        }
        fills = restored;
    }
    for text in &args.map {
        fills.extend(fill::from_option(text, &program.maps, types)?);
    }
    Ok(fills)
}

/// Backward jumps and calls of a run without a proof, if the command line does not say.
const UNVERIFIED_FUEL: u64 = 1 << 20;

/// Everything a run needs.
struct Job<'a> {
    args: &'a args::Run,
    opened: &'a Opened,
    name: &'a str,
    program: &'a Program,
    inputs: &'a [input::Input],
    fills: &'a [Fill],
    link: Duration,
}

impl Job<'_> {
    fn builder(&self) -> EngineBuilder {
        let world = &self.args.world;
        let options = Options::with_policy(crate::verify::policy(self.args.policy));
        let mut builder = Engine::builder()
            .verify(Options { buffer: self.buffer(), ..options })
            .link(self.opened.link_options())
            .check_facts(self.args.check_facts);
        // Nothing says that a program without a proof ever ends.
        if let Some(fuel) = world.fuel.or(self.args.unverified.then_some(UNVERIFIED_FUEL)) {
            builder = builder.fuel(fuel);
        }
        builder
    }

    /// The length of the buffer of a `memory` program, when all inputs have the same.
    fn buffer(&self) -> Option<u32> {
        let length = |input: &input::Input| input.packet.as_ref().map_or(0, Vec::len);
        let first = length(self.inputs.first()?);
        let same = self.inputs.iter().all(|input| length(input) == first);
        u32::try_from(first).ok().filter(|_| same && self.program.prog_type == ProgramType::Memory)
    }

    fn types(&self) -> Option<&Btf> {
        self.program.btf.as_deref()
    }

    fn environment(&self) -> FixedEnvironment {
        let world = &self.args.world;
        let defaults = FixedEnvironment { print_trace: true, ..FixedEnvironment::default() };
        FixedEnvironment {
            clock_ns: world.clock.unwrap_or(defaults.clock_ns),
            random: world.seed.map_or(defaults.random, |seed| seed as u32), // random numbers have 32 bits
            ..defaults
        }
    }

    fn engine_inputs(&self) -> Vec<Input> {
        let convert = |input: &input::Input| Input {
            packet: input.packet.clone().unwrap_or_default(),
            context: input.context.clone().unwrap_or_default(),
        };
        self.inputs.iter().map(convert).collect()
    }

    /// One engine.
    fn one(&self, as_json: bool) -> Result<ExitCode, Failure> {
        let choice = match self.args.engine {
            Wanted::Auto | Wanted::Interpreter if self.args.unverified => Choice::Interpreter,
            Wanted::Jit => Choice::Jit,
            Wanted::Interpreter => Choice::Interpreter,
            Wanted::Kernel => Choice::Kernel,
            Wanted::Auto | Wanted::All => Choice::Auto,
        };
        let mut builder = self.builder().backend(choice).unverified(self.args.unverified);
        if self.args.world.clock.is_some() || self.args.world.seed.is_some() {
            builder = builder.environment(Arc::new(self.environment())).deterministic(true);
        }
        let engine = builder.build().map_err(|error| self.failed(error))?;
        let others: Vec<&str> = self.fills.iter().filter_map(Fill::program).collect();
        let collection = match self.opened.object() {
            Some(object) if object.program(self.name).is_some() => {
                let mut names = vec![self.name];
                others.iter().for_each(|other| {
                    if !names.contains(other) {
                        names.push(other);
                    }
                });
                engine.load_programs(object, &names)
            }
            object => engine.load_with(self.program.clone(), object, &others),
        };
        let collection = collection.map_err(|error| self.failed(error))?;
        if let Some(why) = collection.fallback() {
            say!("note: runs in the kernel: {why}");
        }
        collection.fill(self.fills).map_err(|error| self.failed(error))?;
        let loaded = &collection.programs()[0];
        let bar = progress(self.inputs.len(), "running");
        let mut records = Vec::with_capacity(self.inputs.len());
        for input in self.engine_inputs() {
            records.push(loaded.run_repeated(&input, self.args.repeat).map_err(|error| self.failed(error))?);
            bar.inc(1);
        }
        bar.finish_and_clear();
        self.write_capture(&records)?;
        let contents = self.contents(&collection)?;
        if as_json {
            let mut object = self.result_json(loaded.backend(), &records, &contents);
            object["fallback"] = json!(collection.fallback());
            out!("{object}");
        } else {
            self.print(loaded, &records, &contents);
        }
        self.exit_code(&records, as_json)
    }

    fn contents(&self, collection: &Collection) -> Result<Vec<(String, Contents)>, Failure> {
        if !self.args.maps {
            return Ok(Vec::new());
        }
        let read = collection.maps().iter().map(|map| Ok((map.def().name.clone(), map.contents()?)));
        read.collect::<Result<_, Error>>().map_err(|error| self.failed(error))
    }

    /// All engines on the same inputs.
    fn all(&self, as_json: bool) -> Result<ExitCode, Failure> {
        let unfixed = beelift::kernel::oracle::not_comparable(self.program);
        if !unfixed.is_empty() {
            let names: Vec<_> = unfixed.iter().map(|(_, name)| *name).collect();
            say!("note: not comparable between engines: {}", names.join(", "));
        }
        let inputs = self.engine_inputs();
        let environment = FixedEnvironment { print_trace: false, ..self.environment() };
        let trial = Trial {
            program: self.program,
            verified: None,
            object: self.opened.object(),
            inputs: &inputs,
            elements: self.fills,
            environment,
        };
        let backends = [Backend::Interpreter, Backend::Jit, Backend::Kernel];
        let comparison = trial.compare(&backends, &|| self.builder());
        // A program that user space rejects is a rejection, whatever the kernel says.
        for column in &comparison.columns {
            if let Err(Error::Rejected(rejected)) = &column.outcome {
                return Err(self.rejected(rejected));
            }
        }
        if let Some(Ok(outcome)) =
            comparison.columns.iter().map(|column| column.outcome.as_ref()).find(|o| o.is_ok())
        {
            let records: Vec<_> = outcome.records.iter().filter_map(|r| r.as_ref().ok().cloned()).collect();
            if records.len() == self.inputs.len() {
                self.write_capture(&records)?;
            }
        }
        let unread = not_compared(&comparison);
        if !unread.is_empty() {
            say!("note: not compared, since they cannot be read: map {}", unread.join(", "));
        }
        if as_json {
            out!("{}", self.comparison_json(&comparison));
        } else {
            self.print_comparison(&comparison);
        }
        if comparison.ran() == 0 {
            return Err(Failure::new(Kind::Unsupported, "no engine runs this program")
                .at(self.name)
                .hint("each says above why; `beelift load` attaches what only the kernel can call"));
        }
        Ok(if comparison.agrees() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// `--write` and `--write-all`.
    fn write_capture(&self, records: &[Record]) -> Result<(), Failure> {
        let (path, all) = match (&self.args.write, &self.args.write_all) {
            (Some(path), _) => (path, false),
            (None, Some(path)) => (path, true),
            (None, None) => return Ok(()),
        };
        let kept = self.inputs.iter().zip(records).filter(|(_, record)| {
            let goes_on = |&value: &u64| action::goes_on(self.program.prog_type, value);
            all || record.value.as_ref().is_ok_and(goes_on)
        });
        let format = match path.extension() {
            Some(extension) if extension == "pcapng" => capture::Format::Pcapng,
            Some(_) | None => capture::Format::Pcap,
        };
        let file = File::create(path).map_err(|error| Failure::failure(error).at(path.display()))?;
        let frames = kept.map(|(input, record)| (input.timestamp, &record.packet[..]));
        capture::write(format, BufWriter::new(file), frames)
            .map_err(|error| input::about_capture(path, &error))
    }

    fn exit_code(&self, records: &[Record], as_json: bool) -> Result<ExitCode, Failure> {
        let trapped = self
            .inputs
            .iter()
            .zip(records)
            .find_map(|(input, record)| record.value.as_ref().err().map(|trap| (input, trap)));
        let Some((input, trap)) = trapped else { return Ok(ExitCode::SUCCESS) };
        if !as_json {
            say!("error: {}: {}", input.name, report::trap(trap));
        }
        Ok(ExitCode::from(Kind::Trap.status()))
    }

    fn rejected(&self, rejected: &beelift::verify::Rejected) -> Failure {
        Failure::new(Kind::Rejected, format!("the verifier rejected it: {}", rejected.reason))
            .at(self.name)
            .with_report(report::rejected(self.program, rejected, None))
    }

    fn failed(&self, error: Error) -> Failure {
        match error {
            Error::Rejected(rejected) => self.rejected(&rejected),
            Error::Os(error) => crate::kernel::refusal(self.program, &error),
            Error::Unsupported { .. } | Error::NoBackend { .. } => {
                Failure::new(Kind::Unsupported, error).at(self.name)
            }
            error => Failure::failure(error).at(self.name),
        }
    }
}

/// Maps that programs may have changed and nobody can read.
fn not_compared(comparison: &Comparison) -> Vec<String> {
    let outcomes = comparison.columns.iter().filter_map(|column| column.outcome.as_ref().ok());
    let set_from_outside = |kind: MapKind| {
        matches!(
            kind,
            MapKind::ProgArray
                | MapKind::CgroupArray
                | MapKind::ArrayOfMaps
                | MapKind::HashOfMaps
                | MapKind::Xskmap
                | MapKind::StructOps
                | MapKind::InsnArray
        )
    };
    let unread = |(name, map): &(String, Contents)| {
        (map.unreadable.is_some() && !set_from_outside(map.kind)).then(|| format!("`{name}`"))
    };
    outcomes.take(1).flat_map(|outcome| outcome.maps.iter().filter_map(unread)).collect()
}
