//! The running Linux kernel as fallback and oracle: loading, test runs, maps, attaching, pins, probes.
//!
//! In: a linked [`Program`](crate::link::Program) (the kernel verifies by itself), map definitions, bytes.
//! Out: handles that own file descriptors, and [`OsError`]s that say what to do. Not here: when to fall back
//! (`engine`). `docs/kernel-fallback.md` tells which errors mean what.

pub mod caps;

mod bind;
mod btf;
mod error;
mod log;
mod map;
mod prog;
mod run;
mod sys;

pub use btf::{KernelBtf, vmlinux_bytes};
pub use error::{Errno, Hint, OsError};
pub use log::VerifierLog;
pub use map::{CreateOptions, KernelMap, MapInfo, possible_cpus};
pub use prog::{KernelProgram, LoadOptions, LogLevel, ProgramInfo, RawProgram};
pub use run::{TestInput, TestResult, TestRun};
