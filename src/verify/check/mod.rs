//! The rules of each instruction: one obligation a file.
//!
//! In: the verifier before an instruction. Out: the state after it and where control goes, or a rejection.
#![forbid(unsafe_code)]

mod alu;
mod arena;
mod argument;
mod atomic;
mod branch;
mod call;
mod callback;
mod context;
mod dynptr;
mod exit;
mod graph;
mod helper;
mod iterator;
mod kfunc;
mod kfunc_argument;
mod kptr;
mod lock;
pub(crate) mod memory;
mod object;
mod packet;
mod section;
mod stack;
mod step;

pub(crate) use callback::{calls_back, kfunc_calls_back};
pub(crate) use step::copies;

use super::state::{Special, State};

/// Whether two states are at different iterations of an open-coded iterator.
pub(crate) fn iterator_depths_differ(old: &State, new: &State) -> bool {
    old.frames.iter().zip(&new.frames).any(|(a, b)| {
        (0..a.stack.len()).any(|index| {
            let (Some(a), Some(b)) = (a.stack.slot(index).special, b.stack.slot(index).special) else {
                return false;
            };
            matches!(a.special, Special::Iterator(_)) && a.depth != b.depth
        })
    })
}
