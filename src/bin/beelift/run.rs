//! `run`: a program over packets, vectors or a capture, on one engine or on all of them.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use beelift::btf::Btf;
use beelift::engine::compare::{Comparison, Trial};
use beelift::engine::{Backend, Choice, Collection, Contents, Element, EngineBuilder, Input, Loaded, Record};
use beelift::runtime::ctx::{ContextLayout, FieldKind};
use beelift::verify::Options;
use beelift::{Engine, Error, FixedEnvironment, Program, ProgramType};

use crate::args::{self, Engine as Wanted};
use crate::failure::{Failure, Kind};
use crate::input::{self, Sources, to_hex};
use crate::maps;
use crate::output::{out, progress, say};
use crate::source::Opened;
use crate::{capture, fill, report};

pub(crate) fn run(args: &args::Run, as_json: bool) -> Result<ExitCode, Failure> {
    let opened = Opened::open(&args.source)?;
    opened.warn();
    let name = opened.the_one()?;
    let (program, link) = opened.link(&name)?;
    let inputs = inputs(args, &program)?;
    let fill = args.map.iter().map(|text| fill::from_file(text, &program)).collect::<Result<Vec<_>, _>>()?;
    let fill: Vec<_> = fill.into_iter().flatten().collect();
    let job =
        Job { args, opened: &opened, name: &name, program: &program, inputs: &inputs, fill: &fill, link };
    if args.engine == Wanted::All { job.all(as_json) } else { job.one(as_json) }
}

/// Everything a run needs.
struct Job<'a> {
    args: &'a args::Run,
    opened: &'a Opened,
    name: &'a str,
    program: &'a Program,
    inputs: &'a [input::Input],
    fill: &'a [(String, Vec<u8>, Element)],
    link: Duration,
}

/// The inputs that the command line names; without any, one empty input for types that need no packet.
fn inputs(args: &args::Run, program: &Program) -> Result<Vec<input::Input>, Failure> {
    let sources = Sources {
        packet: args.packet.as_deref(),
        pcap: args.pcap.as_deref(),
        context: args.context.as_deref(),
        vectors: args.vectors.as_deref(),
    };
    let field = |name: &str, value: &str| context_field(program, name, value);
    let mut inputs = sources.read(&field)?;
    let has_packet = match program.prog_type.layout(program.attach_type) {
        ContextLayout::Fields { fields, .. } => {
            fields.iter().any(|field| matches!(field.kind, FieldKind::PacketData))
        }
        ContextLayout::Raw { .. } | ContextLayout::Memory | ContextLayout::Kernel => false,
    };
    if inputs.is_empty() && args.pcap.is_none() && args.vectors.is_none() {
        if has_packet {
            return Err(Failure::usage(format!("a program of type {} needs a packet", program.prog_type))
                .hint("give --packet HEX, --pcap FILE or --vectors FILE"));
        }
        inputs.push(input::Input { name: "input".to_owned(), ..input::Input::default() });
    }
    if let Some(ifindex) = args.world.ifindex {
        let (offset, value) = context_field(program, "ingress_ifindex", &ifindex.to_string())?;
        for input in &mut inputs {
            let context = input.context.get_or_insert_default();
            if context.len() < offset + value.len() {
                context.resize(offset + value.len(), 0);
            }
            context[offset..offset + value.len()].copy_from_slice(&value);
        }
    }
    Ok(inputs)
}

/// Offset and bytes of `FIELD=VALUE` of the UAPI context.
fn context_field(program: &Program, name: &str, value: &str) -> Result<(usize, Vec<u8>), Failure> {
    let layout = program.prog_type.layout(program.attach_type);
    let ContextLayout::Fields { fields, name: structure, .. } = layout else {
        return Err(Failure::usage(format!("a context of type {} has no named fields", program.prog_type))
            .hint("give --context as HEX or @FILE"));
    };
    let Some(field) = fields.iter().find(|field| field.name == name) else {
        let known: Vec<_> = fields.iter().map(|field| field.name).collect();
        return Err(Failure::usage(format!("{structure} has no field `{name}`"))
            .hint(format!("there are: {}", known.join(", "))));
    };
    let parsed = match value.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => value.parse(),
    };
    let number = parsed.map_err(|error| Failure::usage(format!("{name}={value}: {error}")))?;
    let size = usize::from(field.size).min(8);
    if size < 8 && number >> (8 * size) != 0 {
        return Err(Failure::usage(format!("{name}={value}: more than {size} bytes")));
    }
    Ok((usize::from(field.offset), number.to_le_bytes()[..size].to_vec()))
}

impl Job<'_> {
    fn builder(&self) -> EngineBuilder {
        let world = &self.args.world;
        let options = Options::with_policy(crate::verify::policy(self.args.policy));
        let mut builder = Engine::builder()
            .verify(Options { buffer: self.buffer(), ..options })
            .link(self.opened.link_options())
            .check_facts(self.args.check_facts);
        if let Some(fuel) = world.fuel {
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
            Wanted::Jit => Choice::Jit,
            Wanted::Interpreter => Choice::Interpreter,
            Wanted::Kernel => Choice::Kernel,
            Wanted::Auto | Wanted::All => Choice::Auto,
        };
        let mut builder = self.builder().backend(choice);
        if self.args.world.clock.is_some() || self.args.world.seed.is_some() {
            builder = builder.environment(Arc::new(self.environment())).deterministic(true);
        }
        let engine = builder.build().map_err(|error| self.failed(error))?;
        let collection = match self.opened.object() {
            Some(object) if object.program(self.name).is_some() => engine.load_programs(object, &[self.name]),
            _ => engine.load_linked(vec![self.program.clone()]),
        };
        let collection = collection.map_err(|error| self.failed(error))?;
        if let Some(why) = collection.fallback() {
            say!("note: runs in the kernel: {why}");
        }
        for (map, key, element) in self.fill {
            let filled = collection.map(map).and_then(|map| map.update(key, element, 0));
            filled.map_err(|error| self.failed(error))?;
        }
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
            object: self.opened.object(),
            inputs: &inputs,
            elements: self.fill,
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
        if as_json {
            out!("{}", self.comparison_json(&comparison));
        } else {
            self.print_comparison(&comparison);
        }
        if comparison.ran() == 0 {
            return Err(Failure::new(Kind::Unsupported, "no engine runs this program").at(self.name));
        }
        Ok(if comparison.agrees() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn print_comparison(&self, comparison: &Comparison) {
        for column in &comparison.columns {
            match &column.outcome {
                Ok(outcome) => {
                    let skipped: Vec<_> = outcome.records.iter().filter_map(|r| r.as_ref().err()).collect();
                    let records: Vec<_> = outcome.records.iter().filter_map(|r| r.as_ref().ok()).collect();
                    let mut line = format!("{}: {} runs", column.backend, records.len());
                    for (name, count) in self.actions(records.iter().copied()) {
                        line += &format!(", {name} {count}");
                    }
                    out!("{line}");
                    if let Some(why) = skipped.first() {
                        out!("{}: {} inputs not compared: {why}", column.backend, skipped.len());
                    }
                }
                Err(error) => out!("{}: skipped: {error}", column.backend),
            }
        }
        match &comparison.difference {
            None => out!(
                "agreement of {} engines on {} inputs: return value, packet, context, {} maps",
                comparison.ran(),
                self.inputs.len(),
                self.program.maps.len()
            ),
            Some(difference) => {
                let (left, right) = difference.backends;
                out!("{left} and {right} differ: {}", difference.what);
                out!("  {left}: {}", difference.values.0);
                out!("  {right}: {}", difference.values.1);
                if let Some(index) = difference.input {
                    let input = &self.inputs[index];
                    out!("  input: {}", input.name);
                    let object = &self.opened.label;
                    let packet = input.packet.as_deref().map(to_hex);
                    let packet = packet.map(|hex| format!(" --packet {hex}")).unwrap_or_default();
                    let context = input.context.as_deref().map(to_hex);
                    let context = context.map(|hex| format!(" --context {hex}")).unwrap_or_default();
                    out!(
                        "  to see it alone: beelift run {object} -p {} --engine all{packet}{context}",
                        self.name
                    );
                }
            }
        }
        if self.args.maps
            && let Some(Ok(outcome)) = comparison
                .columns
                .iter()
                .map(|column| column.outcome.as_ref())
                .find(|outcome| outcome.is_ok())
        {
            maps::print(self.types(), &maps::of(self.program, &outcome.maps));
        }
    }

    fn comparison_json(&self, comparison: &Comparison) -> Value {
        let engines: serde_json::Map<String, Value> = comparison
            .columns
            .iter()
            .map(|column| {
                let value = match &column.outcome {
                    Err(error) => json!({ "skipped": format!("{}: {error}", column.backend) }),
                    Ok(outcome) => {
                        let (maps, taken): (&[(String, Contents)], Vec<_>) = (
                            if self.args.maps { &outcome.maps } else { &[] },
                            outcome.records.iter().collect(),
                        );
                        let runs: Vec<Value> = self
                            .inputs
                            .iter()
                            .zip(taken)
                            .map(|(input, record)| match record {
                                Ok(record) => self.record_json(input, record),
                                Err(why) => json!({ "name": input.name, "skipped": why }),
                            })
                            .collect();
                        let records = outcome.records.iter().filter_map(|record| record.as_ref().ok());
                        json!({
                            "runs": runs,
                            "summary": self.summary_json(&records.collect::<Vec<_>>()),
                            "maps": maps::json(self.types(), &maps::of(self.program, maps)),
                        })
                    }
                };
                (column.backend.to_string(), value)
            })
            .collect();
        let difference = comparison.difference.as_ref().map(|difference| {
            json!({
                "engines": [difference.backends.0.to_string(), difference.backends.1.to_string()],
                "input": difference.input.map(|index| self.inputs[index].name.clone()),
                "what": difference.what,
                "values": [difference.values.0, difference.values.1],
            })
        });
        json!({
            "schema": 1,
            "object": self.opened.label,
            "program": self.name,
            "type": self.program.prog_type.name(),
            "engines": engines,
            "agree": comparison.agrees(),
            "difference": difference,
        })
    }

    fn print(&self, loaded: &Loaded, records: &[Record], contents: &[(String, Contents)]) {
        out!("program {} ({}), engine {}", self.name, self.program.prog_type, loaded.backend());
        if let [record] = records {
            match &record.value {
                Ok(value) => match action(self.program.prog_type, *value) {
                    Some(name) => out!("return {value} ({name})"),
                    None => out!("return {value} ({value:#x})"),
                },
                Err(trap) => out!("trap: {trap}"),
            }
            if !record.packet.is_empty() && Some(&record.packet) != self.inputs[0].packet.as_ref() {
                out!("packet {}", to_hex(&record.packet));
            }
        } else {
            for (name, count) in self.actions(records.iter()) {
                out!("{name:>14} {count}");
            }
        }
        let (total, runs) = total(records.iter());
        if runs > 0 {
            out!("{} runs, {:.1} ns each", runs * u64::from(self.args.repeat.max(1)), total / runs as f64);
        }
        let times = loaded.times();
        let micros = |duration: Duration| format!("{:.1} µs", duration.as_nanos() as f64 / 1000.0);
        if loaded.backend() == Backend::Kernel {
            out!(
                "load: parse {}, link {}, kernel {}",
                micros(self.opened.parse),
                micros(self.link),
                micros(times.verify)
            );
        } else {
            out!(
                "load: parse {}, link {}, verify {}, compile {}",
                micros(self.opened.parse),
                micros(times.link.max(self.link)),
                micros(times.verify),
                micros(times.compile + times.publish)
            );
        }
        maps::print(self.types(), &maps::of(self.program, contents));
    }

    /// How many runs ended with which action, in the order of the numbers.
    fn actions<'r>(&self, records: impl Iterator<Item = &'r Record>) -> Vec<(String, usize)> {
        let mut counts = std::collections::BTreeMap::new();
        for record in records {
            let key = record.value.as_ref().map_or(u64::MAX, |value| *value);
            *counts.entry((record.value.is_err(), key)).or_insert(0) += 1;
        }
        let name = |(trapped, value): (bool, u64)| match action(self.program.prog_type, value) {
            _ if trapped => "trapped".to_owned(),
            Some(name) => name.to_owned(),
            None => value.to_string(),
        };
        counts.into_iter().map(|(key, count)| (name(key), count)).collect()
    }

    fn record_json(&self, input: &input::Input, record: &Record) -> Value {
        let value = record.value.as_ref().ok().copied();
        json!({
            "name": input.name,
            "return": value,
            "action": value.and_then(|value| action(self.program.prog_type, value)),
            "packet": to_hex(&record.packet),
            "context": to_hex(&record.context),
            "trap": record.value.as_ref().err().map(ToString::to_string),
        })
    }

    fn summary_json(&self, records: &[&Record]) -> Value {
        let actions: serde_json::Map<String, Value> = self
            .actions(records.iter().copied())
            .into_iter()
            .map(|(name, count)| (name, json!(count)))
            .collect();
        let (ns, runs) = total(records.iter().copied());
        let ns_per_run = if runs == 0 { Value::Null } else { json!(ns / runs as f64) };
        json!({ "runs": records.len(), "actions": actions, "ns_per_run": ns_per_run })
    }

    fn result_json(&self, backend: Backend, records: &[Record], contents: &[(String, Contents)]) -> Value {
        let pairs = self.inputs.iter().zip(records);
        let runs: Vec<Value> = pairs.map(|(input, record)| self.record_json(input, record)).collect();
        json!({
            "schema": 1,
            "object": self.opened.label,
            "program": self.name,
            "type": self.program.prog_type.name(),
            "engine": backend.to_string(),
            "runs": runs,
            "summary": self.summary_json(&records.iter().collect::<Vec<_>>()),
            "maps": maps::json(self.types(), &maps::of(self.program, contents)),
        })
    }

    /// `--write` and `--write-all`.
    fn write_capture(&self, records: &[Record]) -> Result<(), Failure> {
        let (path, all) = match (&self.args.write, &self.args.write_all) {
            (Some(path), _) => (path, false),
            (None, Some(path)) => (path, true),
            (None, None) => return Ok(()),
        };
        let kept = self.inputs.iter().zip(records).filter(|(_, record)| {
            all || record.value.as_ref().is_ok_and(|value| goes_on(self.program.prog_type, *value))
        });
        capture::write(path, kept.map(|(input, record)| (input.timestamp, &record.packet[..])))
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
            .with_report(report::rejected(self.program, rejected))
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

/// Nanoseconds of all runs together, and how many there were.
fn total<'r>(records: impl Iterator<Item = &'r Record>) -> (f64, u64) {
    let finished = records.filter(|record| record.value.is_ok());
    finished.fold((0.0, 0), |(ns, runs), record| (ns + record.nanoseconds, runs + 1))
}

/// Name of a return value, where the type gives it one.
fn action(prog_type: ProgramType, value: u64) -> Option<&'static str> {
    const XDP: [&str; 5] = ["XDP_ABORTED", "XDP_DROP", "XDP_PASS", "XDP_TX", "XDP_REDIRECT"];
    const TC: [&str; 9] = [
        "TC_ACT_OK",
        "TC_ACT_RECLASSIFY",
        "TC_ACT_SHOT",
        "TC_ACT_PIPE",
        "TC_ACT_STOLEN",
        "TC_ACT_QUEUED",
        "TC_ACT_REPEAT",
        "TC_ACT_REDIRECT",
        "TC_ACT_TRAP",
    ];
    let value = value & 0xffff_ffff;
    match prog_type {
        ProgramType::Xdp => XDP.get(usize::try_from(value).ok()?).copied(),
        ProgramType::SchedCls | ProgramType::SchedAct if value == 0xffff_ffff => Some("TC_ACT_UNSPEC"),
        ProgramType::SchedCls | ProgramType::SchedAct => TC.get(usize::try_from(value).ok()?).copied(),
        _ => None,
    }
}

/// Whether a packet with this return value travels on.
fn goes_on(prog_type: ProgramType, value: u64) -> bool {
    match prog_type {
        ProgramType::Xdp => matches!(value, 2..=4),
        ProgramType::SchedCls | ProgramType::SchedAct => !matches!(value, 2 | 4),
        _ => value != 0,
    }
}
