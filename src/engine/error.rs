//! The top error: every layer's own error, with what a person can do about it.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use beelift_runtime::map::MapError;

use crate::elf::ElfError;
use crate::link::LinkError;
use crate::verify::Rejected;

/// Why an object did not load, or a program did not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Not a usable object.
    #[error(transparent)]
    Elf(#[from] ElfError),
    /// The program's references cannot be resolved.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The verifier found no proof that the program is safe.
    #[error(transparent)]
    Rejected(#[from] Box<Rejected>),
    /// Something we lack, by name. The only error that lets the kernel stand in.
    #[error("program `{program}` is not supported in user space: {what}")]
    Unsupported {
        /// Which program.
        program: String,
        /// What it needs.
        what: String,
    },
    /// The compiler failed: a bug in us.
    #[cfg(feature = "jit")]
    #[error("program `{program}`: {error}")]
    Codegen {
        /// Which program.
        program: String,
        /// What happened.
        error: crate::codegen::CodegenError,
    },
    /// Native code could not be published.
    #[cfg(feature = "jit")]
    #[error("program `{program}`: {error}")]
    Publish {
        /// Which program.
        program: String,
        /// What happened.
        error: crate::exec::LinkError,
    },
    /// The operating system refused.
    #[cfg(feature = "kernel")]
    #[error(transparent)]
    Os(#[from] crate::kernel::OsError),
    /// Neither user space nor the kernel can run the program.
    #[error("{unsupported}; and the kernel did not take it either: {kernel}")]
    NoBackend {
        /// Why not in user space.
        unsupported: String,
        /// Why not in the kernel.
        kernel: String,
    },
    /// The program stopped before its end.
    #[error(transparent)]
    Trap(#[from] Box<crate::link::Trap>),
    /// The object has no such program.
    #[error("no program `{name}` here; there are: {}", available.join(", "))]
    NoSuchProgram {
        /// Name asked for.
        name: String,
        /// Names there are.
        available: Vec<String>,
    },
    /// The object has no such map.
    #[error("no map `{name}` here; there are: {}", available.join(", "))]
    NoSuchMap {
        /// Name asked for.
        name: String,
        /// Names there are.
        available: Vec<String>,
    },
    /// A map operation failed.
    #[error("{operation} in map `{map}`: {error}")]
    Map {
        /// Which map.
        map: String,
        /// Which operation.
        operation: &'static str,
        /// Why.
        error: MapError,
    },
    /// A map could not be made.
    #[error("map `{map}`: {message}")]
    CreateMap {
        /// Which map.
        map: String,
        /// Why.
        message: String,
    },
    /// A key, value or type of another size than the map's.
    #[error("map `{map}`: {what} has {given} bytes, the map has {wanted}")]
    MapSize {
        /// Which map.
        map: String,
        /// What was given.
        what: &'static str,
        /// Its size.
        given: usize,
        /// The map's.
        wanted: usize,
    },
    /// A single value was asked of a per-CPU map.
    #[error("map `{map}` holds one value for each CPU: use `per_cpu`")]
    PerCpu {
        /// Which map.
        map: String,
    },
    /// The context is one of another program type.
    #[error("a program of type {program} does not run on this kind of context")]
    ContextType {
        /// The program's type.
        program: &'static str,
    },
    /// The buffer has another length than the program was verified for.
    #[error("the program was verified for a buffer of {verified} bytes, not of {given}")]
    BufferLength {
        /// What [`verify::Options::buffer`](crate::verify::Options::buffer) said.
        verified: u32,
        /// Length of the buffer it was to run on.
        given: u64,
    },
    /// No memory for an input.
    #[error("{0}")]
    Memory(String),
    /// Programs without a proof were asked for on a backend that does not check them.
    #[error("only the interpreter runs programs without a proof")]
    Unverified,
    /// All CPU slots are taken by runs that go on.
    #[error("more runs at once than CPU slots ({slots})")]
    NoCpuSlot {
        /// How many there are.
        slots: u32,
    },
}
