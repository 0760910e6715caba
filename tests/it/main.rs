//! What a user of the library does, against the public interface: one binary, one module a subject.

mod elf;
#[cfg(feature = "kernel")]
mod kernel;
mod random;
mod require;
