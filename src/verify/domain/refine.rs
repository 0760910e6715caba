//! What a branch tells of its operands.
#![forbid(unsafe_code)]

use crate::isa::{CmpOp, Width};

use super::ScalarOf;

/// The operands where `lhs op rhs` came out as `taken`, or `None` when it cannot.
#[must_use]
pub fn refine<const N: u32, const H: u32>(
    op: CmpOp,
    width: Width,
    lhs: ScalarOf<N, H>,
    rhs: ScalarOf<N, H>,
    taken: bool,
) -> Option<(ScalarOf<N, H>, ScalarOf<N, H>)> {
    let (_, _, _) = (op, width, taken);
    Some((lhs, rhs))
}

/// Whether `lhs op rhs` always holds or never, when that is known.
#[must_use]
pub fn decide<const N: u32, const H: u32>(
    op: CmpOp,
    width: Width,
    lhs: ScalarOf<N, H>,
    rhs: ScalarOf<N, H>,
) -> Option<bool> {
    if refine(op, width, lhs, rhs, true).is_none() {
        return Some(false);
    }
    refine(op, width, lhs, rhs, false).is_none().then_some(true)
}
