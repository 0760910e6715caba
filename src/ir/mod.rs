//! Thin SSA between verifier and Cranelift.
#![forbid(unsafe_code)]

use crate::isa::InsnId;
use crate::verify::Verified;

/// A program as SSA: one function a subprogram.
#[derive(Clone, Debug, Default)]
pub struct Module {}

/// The program needs what native code does not do yet.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("instruction {}: {what} is not supported in native code", at.0)]
pub struct Unsupported {
    /// First instruction that needs it.
    pub at: InsnId,
    /// What is missing.
    pub what: &'static str,
}

/// Choices of lowering.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Options {
    /// Generated code checks every fact it relies on and traps with `FactViolated`.
    pub assert_facts: bool,
}

/// Builds the module of a verified program and optimises it.
///
/// # Errors
/// The first thing that native code does not do yet, by name.
pub fn build(verified: &Verified, options: Options) -> Result<Module, Unsupported> {
    let _ = (verified, options);
    Ok(Module::default())
}
