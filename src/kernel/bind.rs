//! Binding a linked program to the kernel: symbolic references become descriptors, BTF ids and addresses.
//!
//! In: a [`Program`] and the kernel's copies of its maps. Out: [`Bound`]: slots and the function and line
//! records that go with them. Not here: loading (`prog`).
#![forbid(unsafe_code)]

use super::map::KernelMap;
use super::sys::attr::{FuncInfo, LineInfo};
use super::{Errno, Hint, OsError};
use crate::isa::{Pc, Slot};
use crate::link::Program;

/// A program as `BPF_PROG_LOAD` takes it.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) slots: Vec<Slot>,
    /// Slot of each instruction.
    pub(super) pcs: Vec<Pc>,
    pub(super) func_info: Vec<FuncInfo>,
    pub(super) line_info: Vec<LineInfo>,
    pub(super) attach_btf_id: u32,
}

impl Bound {
    pub(super) fn new(program: &Program, _maps: &[KernelMap], _with_btf: bool) -> Result<Self, OsError> {
        Err(OsError::new("bind", &program.name, Errno::EINVAL)
            .with_hint(Hint::Unsupported("a linked program")))
    }
}
