//! Runs eBPF programs as native code in user space, with the Linux kernel as fallback and oracle.
//!
//! ```
//! use beelift::{Engine, Object, Packet, XdpContext};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/firewall.bpf.o");
//! let object = Object::parse(&std::fs::read(path)?)?;
//! let loaded = Engine::new()?.load(&object)?;
//! let mut packet = Packet::new(1514)?;
//! packet.set(&[0; 64])?;
//! let action = loaded.program("firewall")?.run(&mut XdpContext::new(&mut packet))?;
//! assert_eq!(action, 2); // XDP_PASS
//! # Ok(())
//! # }
//! ```
//!
//! A program moves through types; each exists only when the step before it succeeded:
//!
//! ```text
//! bytes → elf::Object → link::Program → verify::Verified → ir::Module → codegen::CompiledCode → exec::JitProgram
//! ```
//!
//! [`Engine`] does these steps and decides which backend runs a program; each layer can be used alone.

#[cfg(feature = "jit")]
pub mod aot;
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
pub use beelift_runtime::ctx::{
    Context, HostContext, HostType, MemoryContext, Packet, ProgramType, RawContext, SkbContext, XdpContext,
};
pub use beelift_runtime::environment::{Environment, FixedEnvironment, HostEnvironment};
pub use elf::Object;
pub use engine::{Choice, Collection, Engine, EngineBuilder, Error, Loaded, MapHandle, TypedMap};
pub use link::{Program, Trap};
