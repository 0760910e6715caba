//! The same inputs on several engines, and the first place where they differ.
//!
//! In: linked programs, inputs, initial map contents. Out: a [`Comparison`] with a column an engine. Clock, random
//! numbers and CPU number are the same in all of them; maps are compared sorted by key, LRU maps only while they
//! are below capacity (what is evicted is not defined).
#![forbid(unsafe_code)]

use std::sync::Arc;

use beelift_runtime::environment::{Environment, FixedEnvironment};
use beelift_runtime::map::MapKind;

use super::fill::Fill;
use super::maps::Contents;
use super::record::{Input, Record};
use super::{Backend, Choice, Collection, EngineBuilder, Error};
use crate::elf::Object;
use crate::link::Program;
use crate::verify::Verified;

/// What to run on every engine.
pub struct Trial<'a> {
    /// The program.
    pub program: &'a Program,
    /// A proof of the program, when there is one already: user space does not verify it again. Used only without an
    /// object.
    pub verified: Option<&'a Verified>,
    /// The object it is from: for the initial contents of maps, and the programs that tail calls reach.
    pub object: Option<&'a Object>,
    /// Inputs, in order; maps persist from one to the next.
    pub inputs: &'a [Input],
    /// Elements put into maps before the first run.
    pub elements: &'a [Fill],
    /// What clocks show and which number is random.
    pub environment: FixedEnvironment,
}

/// One engine's results.
#[derive(Debug)]
pub struct Column {
    /// Which.
    pub backend: Backend,
    /// Results, or why there are none.
    pub outcome: Result<Outcome, Error>,
}

/// What one engine did.
#[derive(Debug)]
pub struct Outcome {
    /// A record for each input, `None` where the engine does not take such an input.
    pub records: Vec<Result<Record, &'static str>>,
    /// Maps afterwards, by name.
    pub maps: Vec<(String, Contents)>,
}

/// Columns and their first difference.
#[derive(Debug)]
pub struct Comparison {
    /// In the order asked for.
    pub columns: Vec<Column>,
    /// The first difference from the first column that ran.
    pub difference: Option<Difference>,
}

/// Two engines that disagree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// The engines.
    pub backends: (Backend, Backend),
    /// Index of the input, or `None` when maps differ afterwards.
    pub input: Option<usize>,
    /// What differs: `return value`, `packet`, `context`, ``map `name` ``.
    pub what: String,
    /// Both sides, as text.
    pub values: (String, String),
}

impl Comparison {
    /// Whether at least two engines ran and none disagreed.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.difference.is_none()
    }
    /// How many engines ran.
    #[must_use]
    pub fn ran(&self) -> usize {
        self.columns.iter().filter(|column| column.outcome.is_ok()).count()
    }
}

impl Trial<'_> {
    /// Runs everything on these engines. `builder` gives verifier options and the like.
    ///
    /// The kernel does not take every input. What it does not take is compared between the other engines, in runs
    /// of their own: maps that have seen more inputs than the kernel's say nothing.
    #[must_use]
    pub fn compare(&self, backends: &[Backend], builder: &dyn Fn() -> EngineBuilder) -> Comparison {
        let nothing = vec![None; self.inputs.len()];
        let refused: Vec<_> = self.inputs.iter().map(|input| self.incomparable(input)).collect();
        let with_kernel = backends.contains(&Backend::Kernel);
        if !with_kernel || refused == nothing {
            let columns = self.columns(backends, &nothing, builder);
            return Comparison { difference: first_difference(&columns), columns };
        }
        let common = self.columns(backends, &refused, builder);
        let difference = first_difference(&common);
        let ours: Vec<Backend> =
            backends.iter().copied().filter(|&backend| backend != Backend::Kernel).collect();
        let mut columns = self.columns(&ours, &nothing, builder);
        let difference = difference.or_else(|| first_difference(&columns));
        columns.extend(common.into_iter().filter(|column| column.backend == Backend::Kernel));
        Comparison { columns, difference }
    }

    fn columns(
        &self,
        backends: &[Backend],
        left_out: &[Option<&'static str>],
        builder: &dyn Fn() -> EngineBuilder,
    ) -> Vec<Column> {
        let run = |&backend| Column { backend, outcome: self.run(backend, left_out, builder()) };
        backends.iter().map(run).collect()
    }

    fn run(
        &self,
        backend: Backend,
        left_out: &[Option<&'static str>],
        builder: EngineBuilder,
    ) -> Result<Outcome, Error> {
        let choice = match backend {
            Backend::Jit => Choice::Jit,
            Backend::Interpreter => Choice::Interpreter,
            Backend::Kernel => Choice::Kernel,
        };
        let environment: Arc<dyn Environment> = Arc::new(self.environment.clone());
        let engine = builder.backend(choice).environment(environment).deterministic(true).build()?;
        let others: Vec<&str> = self.elements.iter().filter_map(Fill::program).collect();
        let collection = match (self.verified, self.object) {
            (Some(verified), None) => engine.load_verified(verified)?,
            _ => engine.load_with(self.program.clone(), self.object, &others)?,
        };
        self.run_loaded(&collection, left_out)
    }

    fn run_loaded(
        &self,
        collection: &Collection,
        left_out: &[Option<&'static str>],
    ) -> Result<Outcome, Error> {
        collection.fill(self.elements)?;
        let program = &collection.programs()[0];
        let _pinned = program.pin_for_comparison()?;
        let mut records = Vec::with_capacity(self.inputs.len());
        for (input, left_out) in self.inputs.iter().zip(left_out) {
            records.push(match left_out {
                Some(why) => Err(*why),
                None => Ok(program.run_input(input)?),
            });
        }
        let maps = collection
            .maps()
            .iter()
            .map(|map| Ok((map.def().name.clone(), map.contents()?)))
            .collect::<Result<_, Error>>()?;
        Ok(Outcome { records, maps })
    }

    /// Why the kernel cannot tell anything about an input.
    #[cfg(feature = "kernel")]
    fn incomparable(&self, input: &Input) -> Option<&'static str> {
        let input =
            crate::kernel::oracle::Input { packet: &input.packet, metadata: 0, context: &input.context };
        crate::kernel::oracle::incomparable(self.program, input)
    }

    #[cfg(not(feature = "kernel"))]
    fn incomparable(&self, _input: &Input) -> Option<&'static str> {
        None
    }
}

fn first_difference(columns: &[Column]) -> Option<Difference> {
    let mut ran = columns.iter().filter_map(|column| Some((column.backend, column.outcome.as_ref().ok()?)));
    let (first, expected) = ran.next()?;
    ran.find_map(|(backend, outcome)| {
        let backends = (first, backend);
        records_differ(backends, &expected.records, &outcome.records)
            .or_else(|| maps_differ(backends, &expected.maps, &outcome.maps))
    })
}

fn records_differ(
    backends: (Backend, Backend),
    left: &[Result<Record, &'static str>],
    right: &[Result<Record, &'static str>],
) -> Option<Difference> {
    let kernel = backends.0 == Backend::Kernel || backends.1 == Backend::Kernel;
    for (index, pair) in left.iter().zip(right).enumerate() {
        let (Ok(left), Ok(right)) = pair else { continue };
        let differ = |what: &str, left: String, right: String| {
            (left != right).then(|| Difference {
                backends,
                input: Some(index),
                what: what.to_owned(),
                values: (left, right),
            })
        };
        let found = differ("return value", value_text(left, kernel), value_text(right, kernel))
            .or_else(|| differ("packet", hex(&left.packet), hex(&right.packet)))
            .or_else(|| differ("context", hex(&left.context), hex(&right.context)));
        if found.is_some() {
            return found;
        }
    }
    None
}

/// r0 or the trap; the kernel shows 32 bits of r0.
fn value_text(record: &Record, low_half: bool) -> String {
    match &record.value {
        Ok(value) if low_half => format!("{:#x}", value & 0xffff_ffff),
        Ok(value) => format!("{value:#x}"),
        Err(trap) => format!("trap: {} at {}", trap.kind, trap.at),
    }
}

fn maps_differ(
    backends: (Backend, Backend),
    left: &[(String, Contents)],
    right: &[(String, Contents)],
) -> Option<Difference> {
    left.iter().zip(right).find_map(|((name, left), (_, right))| {
        let full = |contents: &Contents| contents.evicts && contents.elements.len() >= contents.capacity;
        let unreadable = left.unreadable.is_some() || right.unreadable.is_some();
        if unreadable || full(left) || full(right) || left.lines().eq(right.lines()) {
            return None;
        }
        let (mut lines, mut others) = (left.lines(), right.lines());
        let same = |pair: &(String, String)| pair.0 == pair.1;
        let none = || "nothing".to_owned();
        let values = loop {
            match (lines.next(), others.next()) {
                (Some(line), Some(other)) if same(&(line.clone(), other.clone())) => {}
                (line, other) => break (line.unwrap_or_else(none), other.unwrap_or_else(none)),
            }
        };
        Some(Difference { backends, input: None, what: format!("map `{name}`"), values })
    })
}

/// Whether a map type forgets elements by itself.
pub(super) fn evicts(kind: MapKind) -> bool {
    matches!(kind, MapKind::LruHash | MapKind::LruPercpuHash)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string");
        text
    })
}
