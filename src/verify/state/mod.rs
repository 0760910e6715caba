//! The abstract machine state: registers, stack slots, frames, references, and when one state covers another.
//!
//! In: results of `domain`. Out: read and changed by `check`, remembered by `explore`. Not here: rules of any
//! instruction.
#![forbid(unsafe_code)]

mod frame;
mod references;
mod register;
mod stack;
mod subsume;

pub(crate) use frame::{Callback, Frame, State};
pub(crate) use references::{References, Resource, ResourceKind};
pub(crate) use register::{Kind, MapRef, MemFlags, Register, SockKind, TypeRef};
pub(crate) use register::{RANGE_AT_END, RANGE_BEYOND_END};
pub(crate) use stack::{Byte, DynptrType, Protection, Slot, Special, SpecialSlot, Stack};
pub(crate) use subsume::{Differs, Exactness, IdMap, Noticed, Relied, covers};
