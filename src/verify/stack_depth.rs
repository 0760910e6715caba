//! Stack along call chains: 512 bytes together, or a frame each, by program type.
#![forbid(unsafe_code)]

use super::TAIL_CALL;
use super::observe::Observed;
use super::policy::Options;
use super::report::Reason;
use super::structure::{Defect, Structure};
use crate::isa::{Callee, Insn};
use crate::link::Program;
use beelift_runtime::ctx::StackRule;

/// A function that makes tail calls leaves at most this much stack below it.
const TAIL_CALL_STACK: u32 = 256;
/// Frames are laid out in units of this many bytes.
const UNIT: u32 = 16;

/// Checks every call chain.
///
/// # Errors
/// The call that goes too deep.
pub(crate) fn check(
    program: &Program,
    options: &Options,
    structure: &Structure,
    observed: &Observed,
) -> Result<(), Defect> {
    let limit = options.limits.stack;
    let own_frames = program.prog_type.info().stack == StackRule::PerFrame;
    let count = program.subprograms.len();
    let tail_calls: Vec<bool> = program
        .subprograms
        .iter()
        .map(|sub| {
            program.insns[sub.entry.index()..sub.end.index()]
                .iter()
                .any(|insn| matches!(insn, Insn::Call(Callee::Helper(TAIL_CALL))))
        })
        .collect();
    // Longest chain of stack and of frames that leads to each function, callers before callees.
    let size = |sub: usize| observed.stack_depth[sub].next_multiple_of(UNIT);
    let mut above = vec![0u32; count];
    let mut frames = vec![1u32; count];
    for &sub in structure.bottom_up.iter().rev() {
        let entry = program.subprograms[sub].entry;
        let depth = if own_frames { size(sub) } else { above[sub] + size(sub) };
        if depth > limit {
            return Err((entry, Reason::StackTooDeep { depth, limit }));
        }
        if sub != 0 && tail_calls[sub] && above[sub] >= TAIL_CALL_STACK {
            return Err((entry, Reason::StackTooDeep { depth: above[sub], limit: TAIL_CALL_STACK }));
        }
        for edge in &structure.calls[sub] {
            if edge.callee == sub {
                continue;
            }
            let deeper = above[sub] + size(sub);
            above[edge.callee] = above[edge.callee].max(deeper);
            frames[edge.callee] = frames[edge.callee].max(frames[sub] + 1);
            if frames[edge.callee] > options.limits.frames {
                return Err((edge.at, Reason::TooManyFrames { limit: options.limits.frames }));
            }
        }
    }
    Ok(())
}
