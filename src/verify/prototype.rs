//! BTF prototypes of global functions: what a caller must pass, and what the function may assume.
#![forbid(unsafe_code)]

use crate::link::Program;

/// Type of an argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ArgumentType {
    /// A number.
    Number,
    /// The program's context.
    Context,
    /// Memory of that many bytes.
    Memory {
        /// Bytes.
        size: u32,
        /// May be null.
        nullable: bool,
    },
}

/// A global function's prototype; it returns a number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Prototype {
    /// Arguments r1, r2, …
    pub(crate) arguments: Vec<ArgumentType>,
}

impl Prototype {
    /// The prototype of a subprogram.
    ///
    /// # Errors
    /// What is missing or not understood.
    pub(crate) fn of(program: &Program, subprogram: usize) -> Result<Self, String> {
        let _ = (program, subprogram);
        Err("its type is not known".to_owned())
    }
}
