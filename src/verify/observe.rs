//! What exploration saw, over all paths: the raw material of facts.
//!
//! Kinds of live registers are exact on explored paths even for pruned ones, so regions of accesses may be
//! united over all visits. Ranges are not: they come from the fixpoint in `facts`.
#![forbid(unsafe_code)]

use super::Statistics;
use super::facts::{AccessFact, CallFact, Region};
use super::state::Kind;
use crate::isa::InsnId;
use crate::link::Program;

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    /// Instructions that some path reached.
    pub(crate) reachable: Vec<bool>,
    /// Accesses of each instruction.
    pub(crate) access: Vec<Option<AccessFact>>,
    /// Pointer kind of each access, where mixing kinds is not allowed.
    pub(crate) base: Vec<Option<Kind>>,
    /// Calls.
    pub(crate) call: Vec<Option<CallFact>>,
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
            call: vec![None; insns],
            stack_depth: vec![0; subs],
            called: vec![false; subs],
            entered: vec![false; subs],
            statistics: Statistics::default(),
        }
    }

    /// An access went to a region.
    pub(crate) fn access(&mut self, at: InsnId, region: Region, aligned: bool) {
        let seen = &mut self.access[at.index()];
        *seen = Some(match *seen {
            None => AccessFact { region, aligned },
            Some(old) => AccessFact { region: unite(old.region, region), aligned: old.aligned && aligned },
        });
    }

    /// A call was made.
    pub(crate) fn call(&mut self, at: InsnId, fact: CallFact) {
        match &mut self.call[at.index()] {
            empty @ None => *empty = Some(fact),
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
                if seen.callback != fact.callback {
                    seen.callback = None;
                }
                seen.stack_escapes |= fact.stack_escapes;
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
        _ => Region::Mixed,
    }
}
