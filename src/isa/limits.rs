//! Numbers that every engine agrees on: limits of loops and calls, and what a subprogram's address looks like.
#![forbid(unsafe_code)]

use super::InsnId;

/// Iterations that `may_goto` grants a frame, as in the kernel.
pub const MAY_GOTO_BUDGET: u32 = 8 << 20;

/// Most iterations of one `bpf_loop` (`BPF_MAX_LOOPS`).
pub const MAX_LOOPS: u32 = 8 << 20;

/// Upper half of every subprogram's address: no address of memory.
const FUNCTION: u64 = 0x7fba_11ed_0000_0000;

/// What a register holds that points to a subprogram: the same number in every engine, and no valid pointer.
#[must_use]
pub const fn function_address(entry: InsnId) -> u64 {
    FUNCTION | entry.0 as u64 // widens
}

/// The subprogram's first instruction, if the number is [`function_address`] of one.
#[must_use]
pub const fn function_at(address: u64) -> Option<InsnId> {
    if address & !0xffff_ffff == FUNCTION { Some(InsnId((address & 0xffff_ffff) as u32)) } else { None }
}
