//! What exploration saw, over all paths: the raw material of facts.
//!
//! Kinds of live registers are exact on explored paths even for pruned ones, so regions of accesses may be
//! united over all visits. Ranges are not: they come from the fixpoint in `facts`.
#![forbid(unsafe_code)]

use super::Statistics;
use super::facts::{AccessFact, CallFact, Region};
use super::state::Kind;
use crate::isa::{Callee, InsnId};
use crate::link::Program;

/// What a load yielded, over all visits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Loaded {
    /// It was not visited.
    Nothing,
    /// Some number.
    Number,
    /// Always this number, from memory that never changes.
    Constant(u64),
    /// A pointer, at least once.
    Pointer,
}

/// What leaves a program at an exit, on every path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// The value of r0.
    Value,
    /// Nothing of it: it is an address that may not leave.
    Blank,
}

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    /// Instructions that some path reached.
    pub(crate) reachable: Vec<bool>,
    /// Accesses of each instruction.
    pub(crate) access: Vec<Option<AccessFact>>,
    /// Pointer kind of each access, where mixing kinds is not allowed.
    pub(crate) base: Vec<Option<Kind>>,
    /// What loads yielded.
    pub(crate) loaded: Vec<Loaded>,
    /// Ways that branches went: not taken, taken.
    pub(crate) edges: Vec<[bool; 2]>,
    /// Subprograms whose stack may be read where it was not written.
    pub(crate) zero_stack: Vec<bool>,
    /// Whether arithmetic worked on an arena pointer and had 64 bits; `None` where it was not visited.
    pub(crate) arena_alu: Vec<Option<bool>>,
    /// Loop heads whose turns were not walked one by one: how many there are is not known.
    pub(crate) endless: Vec<bool>,
    /// What exits of the program let out.
    pub(crate) result: Vec<Option<Outcome>>,
    /// Calls.
    pub(crate) call: Vec<Option<Box<CallFact>>>,
    /// Bytes of stack used by each subprogram.
    pub(crate) stack_depth: Vec<u32>,
    /// Global subprograms that were called.
    pub(crate) called: Vec<bool>,
    /// Subprograms entered as callbacks or by calls, on any path.
    pub(crate) entered: Vec<bool>,
    /// Counts.
    pub(crate) statistics: Statistics,
}

impl Observed {
    pub(crate) fn new(program: &Program) -> Self {
        let (insns, subs) = (program.insns.len(), program.subprograms.len());
        Self {
            reachable: vec![false; insns],
            access: vec![None; insns],
            base: vec![None; insns],
            loaded: vec![Loaded::Nothing; insns],
            edges: vec![[false; 2]; insns],
            zero_stack: vec![false; subs],
            arena_alu: vec![None; insns],
            endless: vec![false; insns],
            result: vec![None; insns],
            call: vec![None; insns],
            stack_depth: vec![0; subs],
            called: vec![false; subs],
            entered: vec![false; subs],
            statistics: Statistics::default(),
        }
    }

    /// A branch went that way.
    #[inline]
    pub(crate) fn edge(&mut self, at: InsnId, taken: bool) {
        self.edges[at.index()][usize::from(taken)] = true;
    }
    /// Whether a branch ever went that way.
    #[inline]
    pub(crate) fn edge_seen(&self, at: InsnId, taken: bool) -> bool {
        self.edges[at.index()][usize::from(taken)]
    }
    /// A load yielded that.
    pub(crate) fn load(&mut self, at: InsnId, now: Loaded) {
        let seen = &mut self.loaded[at.index()];
        *seen = match (*seen, now) {
            (Loaded::Nothing, now) => now,
            (Loaded::Pointer, _) | (_, Loaded::Pointer) => Loaded::Pointer,
            (old, now) if old == now => old,
            _ => Loaded::Number,
        };
    }

    /// An access went to a region.
    pub(crate) fn access(&mut self, at: InsnId, region: Region, aligned: bool) {
        let seen = &mut self.access[at.index()];
        *seen = Some(match *seen {
            None => AccessFact { region, aligned },
            Some(old) => AccessFact { region: unite(old.region, region), aligned: old.aligned && aligned },
        });
    }

    /// A call through a register, already noted, went there.
    pub(crate) fn target(&mut self, at: InsnId, target: Callee) {
        if let Some(call) = &mut self.call[at.index()]
            && !call.targets.contains(&target)
        {
            call.targets.push(target);
        }
    }

    /// A call was made.
    pub(crate) fn call(&mut self, at: InsnId, fact: CallFact) {
        match &mut self.call[at.index()] {
            empty @ None => *empty = Some(Box::new(fact)),
            Some(seen) => {
                if seen.map != fact.map {
                    seen.map = None;
                }
                if seen.constant_key != fact.constant_key {
                    seen.constant_key = None;
                }
                if seen.stack_key != fact.stack_key {
                    seen.stack_key = None;
                }
                for callback in fact.callbacks {
                    if !seen.callbacks.contains(&callback) {
                        seen.callbacks.push(callback);
                    }
                }
                seen.stack_escapes |= fact.stack_escapes;
                for (seen, new) in seen.stack_arguments.iter_mut().zip(fact.stack_arguments) {
                    *seen = seen.unite(new);
                }
                for (list, new) in
                    [(&mut seen.stack_reads, fact.stack_reads), (&mut seen.stack_writes, fact.stack_writes)]
                {
                    for range in new {
                        if !list.contains(&range) {
                            list.push(range);
                        }
                    }
                }
            }
        }
    }
}

fn unite(a: Region, b: Region) -> Region {
    if a == b {
        return a;
    }
    match (a, b) {
        (Region::Stack { .. }, Region::Stack { .. }) => Region::Stack { offset: None },
        (Region::MapValue(_), Region::MapValue(_)) => Region::MapValue(None),
        (Region::Object, _) | (_, Region::Object) => Region::Object,
        (Region::Allocated, Region::Stale) | (Region::Stale, Region::Allocated) => Region::Stale,
        // Other memory would have to be asked for, too.
        (Region::Stale, _) | (_, Region::Stale) => Region::Object,
        _ => Region::Mixed,
    }
}
