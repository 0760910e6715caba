//! The running Linux kernel as fallback and oracle: loading, test runs, maps, attaching, pins, probes.
//!
//! In: a linked [`Program`](crate::link::Program) (the kernel verifies by itself), map definitions, bytes.
//! Out: handles that own file descriptors, and [`OsError`]s that say what to do. Not here: when to fall back
//! (`engine`). `docs/kernel-fallback.md` tells which errors mean what.

pub mod caps;
pub mod list;
pub mod oracle;
pub mod pin;
pub mod probe;

mod bind;
mod btf;
mod config;
mod error;
mod link;
mod log;
mod map;
mod mapset;
mod prog;
mod ringbuf;
mod run;
mod symbols;
mod sys;

pub use btf::{KernelBtf, vmlinux_bytes};
pub use config::configure;
pub use error::{Errno, Hint, OsError};
pub use link::{AttachPoint, AttachPointError, Direction, KernelLink, LinkInfo, XdpMode};
pub use log::VerifierLog;
pub use map::{CreateOptions, Entry, KernelMap, MapInfo, possible_cpus};
pub use mapset::{MapSetOptions, create_maps};
pub use oracle::{Fixed, Oracle};
pub use pin::{Pinned, ensure_bpffs, open_pinned, unpin};
pub use prog::{KernelProgram, LoadOptions, LogLevel, ProgramInfo, RawProgram};
pub use ringbuf::RingBuffer;
pub use run::{TestInput, TestResult, TestRun};
pub use symbols::KernelSymbols;
