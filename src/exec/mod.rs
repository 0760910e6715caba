//! Code memory and entry into native code: an unsafe room.
//!
//! In: inert [`CompiledCode`](crate::codegen::CompiledCode) and what its symbols mean. Out: a [`JitProgram`] that
//! runs. `exec` never sees an instruction; the code generator never sees an address.

mod entry;
pub mod link;
pub mod memory;
mod program;
#[cfg(test)]
pub(crate) mod testing;

pub use link::{Bindings, LinkError};
pub use memory::CodeMemory;
pub use program::{JitProgram, NativeTrap};
