//! Runs of candidates on the checked interpreter, one after the other, each from the same start.
//!
//! In: candidates. Out: [`Run`]s: how a run ended, which way branches went, which elements it looked up. Maps are put
//! back after each run by what it touched, or made anew where that is not known.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use beelift_runtime::TrapKind;
use beelift_runtime::environment::Environment;
use beelift_runtime::map::MapKind;

use super::candidate::Candidate;
use crate::elf::Object;
use crate::engine::{Choice, Collection, Element, Engine, Error, Fill};
use crate::interp::{Moment, Monitor, Observer};
use crate::isa::semantics::{Concrete, compare};
use crate::isa::{Callee, Const64, Insn, InsnId, Operand, Reg};
use crate::link::{Program, Trap};

/// Branches of a run that are kept.
const DECISIONS: usize = 1 << 16;

/// A branch that a run came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Decision {
    pub(super) at: InsnId,
    pub(super) taken: bool,
    pub(super) left: u64,
    pub(super) right: u64,
}

/// An element that a run looked up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Lookup {
    /// Branches before it.
    pub(super) decisions: usize,
    pub(super) slot: usize,
    pub(super) key: Vec<u8>,
}

/// What a run did.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) result: Result<u64, Trap>,
    pub(super) decisions: Vec<Decision>,
    pub(super) lookups: Vec<Lookup>,
    /// Registers when it last came to the rejected instruction.
    pub(super) reached: Option<[u64; Reg::COUNT]>,
}

/// Clock and random number of the next run.
#[derive(Default)]
struct World {
    clock: AtomicU64,
    random: AtomicU32,
}

impl Environment for World {
    fn monotonic_ns(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }
    fn jiffies(&self) -> u64 {
        self.monotonic_ns() / 4_000_000
    }
    fn random_u32(&self) -> u32 {
        self.random.load(Ordering::Relaxed)
    }
    fn trace(&self, _line: &str) {}
}

/// A program ready to be run again and again.
pub(super) struct Session<'a> {
    program: &'a Program,
    object: Option<&'a Object>,
    target: InsnId,
    world: Arc<World>,
    engine: Engine,
    collection: Collection,
    /// Slots of maps by the address of their handles.
    handles: BTreeMap<u64, usize>,
    /// Values that the program addresses directly, as they were at first.
    globals: Vec<(usize, Element)>,
    /// What runs leave in maps cannot be told from their lookups.
    anew: bool,
    /// Runs so far.
    pub(super) runs: u32,
}

impl<'a> Session<'a> {
    /// Loads the program without a proof. `fuel` bounds the loops of a run.
    pub(super) fn new(
        program: &'a Program,
        object: Option<&'a Object>,
        target: InsnId,
        fuel: u64,
    ) -> Result<Self, Error> {
        let world = Arc::new(World::default());
        let engine = Engine::builder()
            .backend(Choice::Interpreter)
            .unverified(true)
            .environment(Arc::clone(&world) as Arc<dyn Environment>)
            .deterministic(true)
            .fuel(fuel)
            .build()?;
        let collection = engine.load_with(program.clone(), object, &[])?;
        let mut session = Self {
            program,
            object,
            target,
            world,
            engine,
            collection,
            handles: BTreeMap::new(),
            globals: Vec::new(),
            anew: program.insns.iter().any(|insn| leaves_unseen(program, insn)),
            runs: 0,
        };
        session.look();
        session.globals = session.direct_values();
        Ok(session)
    }

    fn look(&mut self) {
        self.handles = self.collection.programs()[0].handle_addresses().into_iter().zip(0..).collect();
    }

    fn direct_values(&self) -> Vec<(usize, Element)> {
        let slots: BTreeSet<usize> = self
            .program
            .insns
            .iter()
            .filter_map(|insn| match insn {
                Insn::Const {
                    value: Const64::MapValue(slot, _) | Const64::MapIndexValue(slot, _), ..
                } => Some(slot.0 as usize),
                _ => None,
            })
            .collect();
        let value = |slot: usize| {
            let element = self.collection.maps()[slot].lookup(&[0; 4]).ok()??;
            Some((slot, element))
        };
        slots.into_iter().filter_map(value).collect()
    }

    /// Runs a candidate. `None`: it cannot be an input.
    pub(super) fn run(&mut self, candidate: &Candidate) -> Option<Run> {
        self.runs += 1;
        self.world.clock.store(candidate.clock, Ordering::Relaxed);
        self.world.random.store(candidate.random, Ordering::Relaxed);
        let fills: Vec<Fill> = candidate.fills(self.program);
        self.collection.fill(&fills).ok()?;
        let mut recorder = Recorder {
            monitor: Monitor::new(self.program),
            program: self.program,
            target: self.target,
            handles: &self.handles,
            decisions: Vec::new(),
            lookups: Vec::new(),
            touched: candidate.values.keys().cloned().collect(),
            reached: None,
        };
        let result = self.collection.programs()[0].observe(&candidate.input(), &mut recorder);
        let Recorder { decisions, lookups, touched, reached, .. } = recorder;
        self.put_back(&touched)?;
        Some(Run { result: result.ok()?, decisions, lookups, reached })
    }

    /// Makes the maps what they were.
    fn put_back(&mut self, touched: &BTreeSet<(usize, Vec<u8>)>) -> Option<()> {
        if self.anew {
            self.collection = self.engine.load_with(self.program.clone(), self.object, &[]).ok()?;
            self.look();
            return Some(());
        }
        for (slot, key) in touched {
            let map = &self.collection.maps()[*slot];
            // What is not there, or cannot be changed, was not changed.
            let _ = match map.def().kind {
                MapKind::Array | MapKind::PercpuArray => {
                    map.update(key, &Element::Value(vec![0; map.def().value_size as usize]), 0)
                }
                _ => map.delete(key),
            };
        }
        for (slot, element) in &self.globals {
            let _ = self.collection.maps()[*slot].update(&[0; 4], element, 0);
        }
        Some(())
    }
}

/// Whether an instruction may change maps in ways that lookups do not tell.
fn leaves_unseen(program: &Program, insn: &Insn) -> bool {
    let Insn::Const { value: Const64::Map(slot) | Const64::MapIndex(slot), .. } = insn else {
        return matches!(insn, Insn::Call(Callee::Helper(164)));
    };
    let kind = program.maps.get(slot.0 as usize).map(|def| def.kind);
    !matches!(
        kind,
        Some(
            MapKind::Array
                | MapKind::PercpuArray
                | MapKind::Hash
                | MapKind::PercpuHash
                | MapKind::LpmTrie
                | MapKind::ProgArray
                | MapKind::Devmap
                | MapKind::DevmapHash
                | MapKind::Cpumap
        )
    )
}

/// Writes down what a run does.
struct Recorder<'r> {
    monitor: Monitor<'r>,
    program: &'r Program,
    target: InsnId,
    handles: &'r BTreeMap<u64, usize>,
    decisions: Vec<Decision>,
    lookups: Vec<Lookup>,
    touched: BTreeSet<(usize, Vec<u8>)>,
    reached: Option<[u64; Reg::COUNT]>,
}

impl Recorder<'_> {
    /// Helpers that take a map and a key.
    fn element(&mut self, helper: u32, moment: &Moment<'_>) {
        if !matches!(helper, 1..=3 | 195) {
            return;
        }
        let Some(&slot) = self.handles.get(&moment.get(Reg::R1)) else { return };
        let size = self.program.maps[slot].key_size as usize;
        let Some(key) = moment.read(moment.get(Reg::R2), size) else { return };
        if self.touched.len() < DECISIONS {
            self.touched.insert((slot, key.clone()));
        }
        if matches!(helper, 1 | 195) && self.lookups.len() < DECISIONS {
            self.lookups.push(Lookup { decisions: self.decisions.len(), slot, key });
        }
    }
}

impl Observer for Recorder<'_> {
    fn before(&mut self, moment: &Moment<'_>) -> Result<(), TrapKind> {
        if moment.at == self.target {
            self.reached = Some(*moment.registers);
        }
        match self.program.insns.get(moment.at.index()) {
            Some(&Insn::Branch { op, width, lhs, rhs, .. }) if self.decisions.len() < DECISIONS => {
                let left = moment.get(lhs);
                let right = match rhs {
                    Operand::Reg(reg) => moment.get(reg),
                    Operand::Imm(value) => value.cast_unsigned(),
                };
                let taken = compare(&mut Concrete, op, width, left, right);
                self.decisions.push(Decision { at: moment.at, taken, left, right });
            }
            Some(Insn::Call(Callee::Helper(helper))) => self.element(*helper, moment),
            _ => {}
        }
        self.monitor.before(moment)
    }
}
