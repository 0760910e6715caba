//! beelift runs eBPF programs as native code in user space.

pub mod btf;
#[cfg(feature = "jit")]
pub mod codegen;
pub mod elf;
pub mod engine;
#[cfg(feature = "jit")]
pub mod exec;
pub mod interp;
pub mod ir;
pub mod isa;
#[cfg(feature = "kernel")]
pub mod kernel;
pub mod link;
pub mod verify;

pub use beelift_runtime as runtime;
