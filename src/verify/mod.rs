//! The verifier: a `Program` becomes [`Verified`], or a rejection as data.
//!
//! [`verify`] is the only constructor of [`Verified`].
//!
//! In: a linked `Program` and [`Options`] (policy and limits are data, not code paths). Out: the program with
//! [`Facts`] about it and [`Statistics`] of the proof, or a [`Failure`]: `Rejected` says that the program is
//! not proven safe and why; `Unsupported` names what this verifier does not understand. Nothing is accepted by
//! guess. Not here: the meaning of arithmetic (`domain`), the tables of helpers and contexts (the runtime crate).
#![forbid(unsafe_code)]

pub mod domain;
pub mod facts;
pub mod policy;
pub mod report;

use crate::link::Program;
pub use facts::Facts;
pub use policy::{Limits, Options, Policy};
pub use report::{Failure, Reason, Rejected};

/// What a proof took.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Statistics {
    /// Instructions walked, over all paths.
    pub processed: u64,
    /// States kept at prune points, in total.
    pub states: u64,
    /// Most states kept at one time.
    pub peak_states: u64,
    /// Wall time in microseconds.
    pub micros: u64,
}

/// A program proven safe, with what was proven.
#[derive(Clone, Debug)]
pub struct Verified {
    program: Program,
    facts: Facts,
    statistics: Statistics,
}

impl Verified {
    /// A program with facts that a unit test knows to hold.
    #[cfg(test)]
    pub(crate) fn assume(program: Program, facts: Facts) -> Self {
        Self { program, facts, statistics: Statistics::default() }
    }
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
    /// What the proof took.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.statistics
    }
}

/// Proves a program safe under a policy.
///
/// # Errors
/// [`Failure::Rejected`] when no proof was found, [`Failure::Unsupported`] when the program uses what the
/// verifier does not understand.
pub fn verify(program: Program, options: &Options) -> Result<Verified, Failure> {
    let _ = options;
    Err(Failure::Unsupported { what: format!("verification of {}", program.prog_type), at: None })
}
