//! Tail calls: another program runs in place of the calling function.
//!
//! In: a `prog_array` and an index. Out: whether there is such a program, and what it returned
//! ([`ExecContext::tail_result`]); the caller then returns that, too. Native frames of callers stay on the stack below
//! the target's, at most 34 programs deep. Not here: which programs a map takes (`map::prog_array`).
#![forbid(unsafe_code)]

use crate::abi::ExecContext;
use crate::map::{Map, ProgArrayMap};

/// Tail calls of one run, over all programs and subprograms (`MAX_TAIL_CALL_CNT`).
pub const MAX_TAIL_CALLS: u32 = 33;

/// A program that tail calls can reach.
pub trait TailTarget: Send + Sync {
    /// Runs the program on the caller's context and gives r0; `None` when there is no program any more. After a trap
    /// [`ExecContext::trap`] of the caller is set.
    fn run(&self, call: &TailCall<'_>) -> Option<u64>;
}

/// A tail call that a running program makes: only the helper makes one, so the context is that of a run.
pub struct TailCall<'a> {
    caller: &'a ExecContext<'a>,
}

impl<'a> TailCall<'a> {
    /// What the caller runs with.
    #[must_use]
    pub const fn caller(&self) -> &'a ExecContext<'a> {
        self.caller
    }
}

/// 1 if the target ran.
pub(super) fn tail_call(cx: &ExecContext<'_>, map: &dyn Map, index: u32) -> u64 {
    let Some(array) = map.as_any().downcast_ref::<ProgArrayMap>() else { return 0 };
    if cx.tail_calls.get() >= MAX_TAIL_CALLS {
        return 0;
    }
    let Some(target) = array.get(index) else { return 0 };
    match target.program.run(&TailCall { caller: cx }) {
        Some(r0) => {
            cx.tail_result.set(r0);
            1
        }
        None => 0,
    }
}
