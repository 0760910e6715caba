//! Thin SSA between verifier and Cranelift: where the speed is won.
//!
//! In: a [`Verified`] program. Out: a [`Module`], one [`Function`] a native function, already optimised. Lowering
//! leaves out a check only where a fact names the reason. The order of work: `shape` and `slots` describe a
//! subprogram, `body` (with `memory`, `branch`, `calls`) builds it through the folding `fold::Builder`, `passes`
//! improve the function. Not here: anything of Cranelift or of a target machine.
#![forbid(unsafe_code)]

mod arena;
mod body;
mod branch;
mod build;
mod callbacks;
mod calls;
mod fold;
pub mod func;
mod memory;
mod passes;
mod shape;
mod slots;
#[cfg(test)]
mod tests;
mod text;

pub use func::Function;

use std::borrow::Cow;

use crate::isa::InsnId;
use crate::verify::Verified;

/// A program as SSA. The first function is the program itself, called with r1 and r2.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Module {
    /// Native functions; calls name them by index.
    pub functions: Vec<Function>,
}

/// The program needs what native code does not do yet.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("instruction {}: {what} is not supported in native code", at.0)]
pub struct Unsupported {
    /// First instruction that needs it.
    pub at: InsnId,
    /// What is missing.
    pub what: Cow<'static, str>,
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
    build::module(verified, options)
}

/// Seeded at random: keys come from programs, which may be hostile.
pub(crate) type FastMap<K, V> = hashbrown::HashMap<K, V, foldhash::fast::RandomState>;
