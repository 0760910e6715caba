//! IR to Cranelift IR to inert machine code.
//!
//! In: an [`ir::Module`]. Out: [`CompiledCode`]. Nothing here knows an address: helpers, maps
//! and stubs are [`Symbol`]s that `exec` binds. `lower` writes Cranelift IR (with `memory` and `names` for its
//! parts), `emit` takes bytes and relocations out of Cranelift.
#![forbid(unsafe_code)]

pub mod code;
mod emit;
mod lower;
mod memory;
mod names;
pub mod target;
#[cfg(test)]
mod tests;
#[cfg(test)]
#[path = "large/tests.rs"]
mod tests_large;

pub use code::{CompiledCode, CompiledFunction, Convention, PcMapEntry, Reloc, RelocKind, Stub, Symbol};
pub use target::{OptLevel, Target};

use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::ir::{self, Module, Unsupported};
use crate::verify::Verified;

/// Why there is no code.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodegenError {
    /// The program needs what this backend lacks.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// Cranelift does not know the machine, or the machine lacks what we need.
    #[error("no native code for this target: {what}")]
    Target {
        /// What is missing.
        what: String,
    },
    /// Cranelift failed or panicked: a bug, reported instead of taking the host down.
    #[error("code generator failed: {message}")]
    Backend {
        /// What Cranelift said.
        message: String,
    },
}

/// Compiles a module for a target.
///
/// # Errors
/// A function that is too large for Cranelift, or a failure of Cranelift.
pub fn compile(module: &Module, target: &Target) -> Result<CompiledCode, CodegenError> {
    contained(|| {
        let convention = lower::convention(module, target);
        let mut context = target.take_context();
        let mut functions = Vec::with_capacity(module.functions.len());
        for index in 0..module.functions.len() {
            lower::function(module, index, target, convention, &mut context.func);
            functions.push(emit::function(&module.functions[index], target, &mut context)?);
            context.clear();
        }
        target.put_context(context);
        Ok(CompiledCode { functions, entry: 0, convention })
    })
}

/// Lowers and compiles a program, when nobody looks at the steps.
///
/// # Errors
/// As [`compile`], and for what lowering does not support; a panic in lowering is an error to the host as well.
pub fn compile_verified(
    verified: &Verified,
    options: ir::Options,
    target: &Target,
) -> Result<CompiledCode, CodegenError> {
    contained(|| compile(&ir::build(verified, options)?, target))
}

/// The module as Cranelift IR before Cranelift's own passes, for `dump`.
///
/// # Errors
/// A panic of Cranelift.
pub fn clif(module: &Module, target: &Target) -> Result<String, CodegenError> {
    contained(|| {
        let convention = lower::convention(module, target);
        let mut text = String::new();
        for index in 0..module.functions.len() {
            let mut func = cranelift_codegen::ir::Function::new();
            lower::function(module, index, target, convention, &mut func);
            let name = &module.functions[index].name;
            write!(text, "; {name}\n{}", func.display()).expect("writing to a string");
        }
        Ok(text)
    })
}

/// Runs lowering or Cranelift so that a panic there is an error to the host.
fn contained<T>(work: impl FnOnce() -> Result<T, CodegenError>) -> Result<T, CodegenError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result,
        Err(panic) => {
            let message = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                .unwrap_or_else(|| "panic without a message".to_owned());
            Err(CodegenError::Backend { message })
        }
    }
}
