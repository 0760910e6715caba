//! What the fuzz targets do with their bytes: plain functions, called for hours by `fuzz/` and for a moment by
//! `tests/it/fuzz.rs`. Each takes any bytes and panics only when it found a bug.
//!
//! The crate that includes this has the generator of random programs as its module `generator`.

#[cfg(feature = "cli")]
mod captures;
mod execute;
mod objects;
mod text;

#[cfg(feature = "cli")]
pub(crate) use captures::captures;
pub(crate) use execute::verify_run;
pub(crate) use objects::{btf, elf};
pub(crate) use text::{assembler, decode};

/// What a fuzzer calls with bytes.
type Target = fn(&[u8]);

/// Every target by name.
pub(crate) const TARGETS: &[(&str, Target)] = &[
    ("decode", decode),
    ("assembler", assembler),
    ("elf", elf),
    ("btf", btf),
    ("verify_run", verify_run),
    #[cfg(feature = "cli")]
    ("captures", captures),
];
