//! IR to Cranelift IR to inert machine code.
//!
//! In: an [`ir::Module`](crate::ir::Module). Out: [`CompiledCode`]. Nothing here knows an address: helpers, maps
//! and stubs are [`Symbol`]s that `exec` binds.
#![forbid(unsafe_code)]

pub mod code;
pub mod target;

pub use code::{CompiledCode, CompiledFunction, PcMapEntry, Reloc, RelocKind, Stub, Symbol};
pub use target::Target;

use crate::ir::{Module, Unsupported};

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
/// What the backend lacks, or a failure of Cranelift.
pub fn compile(module: &Module, target: &Target) -> Result<CompiledCode, CodegenError> {
    let _ = (module, target);
    Err(CodegenError::Backend { message: "not built yet".to_owned() })
}
