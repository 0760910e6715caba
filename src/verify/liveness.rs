//! Backward liveness of registers: which registers' values may still be read.
//!
//! In: program and structure. Out: live registers before each instruction, and which argument registers each
//! subprogram reads. Stack slots are followed while exploring (`explore`), where their offsets are known.
#![forbid(unsafe_code)]

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
            let (entry, end) = (range.entry.index(), range.end.index());
            let mut changed = true;
            while changed {
                changed = false;
                for at in (entry..end).rev() {
                    let insn = &program.insns[at];
                    let after = flow(insn)
                        .successors(InsnId(at as u32)) // InsnId counts instructions in 32 bits
                        .fold(RegSet::EMPTY, |set, next| set.union(liveness.before[next.index()]));
                    let taken = match insn {
                        Insn::Call(Callee::Subprogram(entry)) => {
                            liveness.arguments[structure.owner[entry.index()] as usize]
                        }
                        Insn::Call(callee) => RegSet::arguments(helper_arguments(*callee)),
                        _ => RegSet::EMPTY,
                    };
                    let live = after.minus(defs(insn)).union(uses(insn, taken));
                    if live != liveness.before[at] {
                        liveness.before[at] = live;
                        changed = true;
                    }
                }
            }
            liveness.arguments[sub] = liveness.before[entry].intersect(RegSet::arguments(5));
        }
        liveness
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
