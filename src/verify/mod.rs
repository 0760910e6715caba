//! The verifier: a `Program` becomes [`Verified`], or a rejection as data.
//!
//! [`verify`] is the only constructor of [`Verified`].
#![forbid(unsafe_code)]

pub mod domain;
pub mod facts;

use crate::link::Program;
pub use facts::Facts;

/// A program proven safe, with what was proven.
#[derive(Clone, Debug)]
pub struct Verified {
    program: Program,
    facts: Facts,
}

impl Verified {
    /// The program.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }
    /// The proofs.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }
}
