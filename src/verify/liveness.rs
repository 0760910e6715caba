//! Backward liveness of registers: which registers' values may still be read.
//!
//! In: program and structure. Out: live registers before each instruction, and which argument registers each
//! subprogram reads. Stack slots are followed while exploring (`explore`), where their offsets are known.
#![forbid(unsafe_code)]

use std::ops::Range;

use crate::isa::effects::{RegSet, defs, flow, uses};
use crate::isa::{Callee, Insn, InsnId, Reg};
use crate::link::Program;

use super::structure::Structure;

/// Live registers of a program.
#[derive(Debug, Default)]
pub(crate) struct Liveness {
    /// Before each instruction.
    pub(crate) before: Vec<RegSet>,
    /// Argument registers that each subprogram reads.
    pub(crate) arguments: Vec<RegSet>,
}

impl Liveness {
    /// Solves the equations, callees before callers. `helper_arguments` tells how many registers a helper or
    /// kfunc takes.
    pub(crate) fn solve(
        program: &Program,
        structure: &Structure,
        helper_arguments: impl Fn(Callee) -> u8,
    ) -> Self {
        let mut liveness = Self {
            before: vec![RegSet::EMPTY; program.insns.len()],
            arguments: vec![RegSet::arguments(5); program.subprograms.len()],
        };
        for &sub in &structure.bottom_up {
            let range = &program.subprograms[sub];
            liveness.function(program, structure, range.entry.index()..range.end.index(), &helper_arguments);
            let entry = liveness.before[range.entry.index()];
            liveness.arguments[sub] = entry.intersect(RegSet::arguments(5));
        }
        liveness
    }

    /// One sweep from the end is all a function without backward jumps needs. What such a jump brings goes on to
    /// the instructions before: a register becomes live once at each, so that is linear too, whatever the jumps.
    fn function(
        &mut self,
        program: &Program,
        structure: &Structure,
        range: Range<usize>,
        helper_arguments: &impl Fn(Callee) -> u8,
    ) {
        let mut backward = Vec::new();
        for at in range.clone().rev() {
            self.update(program, structure, at, helper_arguments);
            if flow(&program.insns[at]).target().is_some_and(|to| to.index() <= at) {
                backward.push(at);
            }
        }
        if backward.is_empty() {
            return;
        }
        let jumps = |at: usize| Some((flow(&program.insns[at]).target()?.index(), at));
        let mut sources: Vec<(usize, usize)> = range.clone().filter_map(jumps).collect();
        sources.sort_unstable();
        let mut work = backward;
        while let Some(at) = work.pop() {
            if !self.update(program, structure, at, helper_arguments) {
                continue;
            }
            if at > range.start
                && flow(&program.insns[at - 1]).successors(id(at - 1)).any(|next| next == id(at))
            {
                work.push(at - 1);
            }
            let first = sources.partition_point(|source| source.0 < at);
            work.extend(sources[first..].iter().take_while(|source| source.0 == at).map(|source| source.1));
        }
    }

    /// The live registers before an instruction from those after it; whether there are more.
    fn update(
        &mut self,
        program: &Program,
        structure: &Structure,
        at: usize,
        helper_arguments: &impl Fn(Callee) -> u8,
    ) -> bool {
        let insn = &program.insns[at];
        let after = flow(insn)
            .successors(id(at))
            .fold(RegSet::EMPTY, |set, next| set.union(self.before[next.index()]));
        let taken = match insn {
            Insn::Call(Callee::Subprogram(entry)) => self.arguments[structure.owner[entry.index()] as usize],
            Insn::Call(callee) => RegSet::arguments(helper_arguments(*callee)),
            _ => RegSet::EMPTY,
        };
        let live = after.minus(defs(insn)).union(uses(insn, taken));
        std::mem::replace(&mut self.before[at], live) != live
    }

    /// Argument registers of a subprogram as the bits of `Facts::arguments`.
    pub(crate) fn argument_bits(&self, sub: usize) -> u8 {
        Reg::ARGS
            .iter()
            .enumerate()
            .filter(|(_, reg)| self.arguments[sub].contains(**reg))
            .fold(0, |bits, (index, _)| bits | 1 << index)
    }
}

/// InsnId counts instructions in 32 bits.
const fn id(at: usize) -> InsnId {
    InsnId(at as u32)
}
