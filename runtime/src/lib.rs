//! What a running eBPF program touches: maps, helpers, contexts, memory and traps.
//!
//! The public items of this crate are the ABI between generated code and its surroundings. It knows no ELF, no
//! verifier and no code generator; the crate `beelift` prepares programs and imports this one, never the
//! reverse. There is no global state but the [`heap`] of objects: what a helper needs arrives in [`abi::ExecContext`].

pub mod abi;
pub mod cpu;
pub mod ctx;
pub mod environment;
pub mod heap;
pub mod helper;
pub mod map;
pub mod mem;
pub mod object;
pub mod privilege;
pub mod sync;
pub mod trap;

pub use map::{Map, MapDef, MapError, MapKind};
pub use trap::TrapKind;
