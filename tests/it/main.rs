//! What a user of the library does, against the public interface: one binary, one module a subject.

#[cfg(all(feature = "cli", feature = "all-targets"))]
mod ahead;
#[cfg(feature = "cli")]
mod aot;
#[cfg(feature = "jit")]
mod api;
mod arena;
mod beyond;
mod bytes;
#[cfg(feature = "jit")]
mod calls;
mod caps;
#[cfg(feature = "cli")]
mod cli;
mod concrete;
#[cfg(feature = "cli")]
mod conformance;
mod contracts;
mod elf;
mod examples;
mod facts;
#[cfg(feature = "jit")]
mod fuzz;
#[cfg(feature = "jit")]
#[path = "../fuzzing/mod.rs"]
mod fuzzing;
#[path = "../random/mod.rs"]
mod generator;
mod host;
mod jumps;
#[cfg(feature = "kernel")]
mod kernel;
#[cfg(feature = "jit")]
mod objects;
#[cfg(feature = "jit")]
mod percpu;
mod policy;
mod random;
#[cfg(feature = "cli")]
mod reports;
mod require;
#[cfg(feature = "kernel")]
mod sweeps;
mod tail_calls;

#[cfg(feature = "jit")]
mod robust;
#[cfg(feature = "jit")]
mod support;
#[cfg(feature = "jit")]
mod threads;
mod tidy;
#[cfg(feature = "jit")]
mod timers;
mod tiny;
#[cfg(feature = "jit")]
mod verdicts;
#[cfg(feature = "jit")]
mod world;
