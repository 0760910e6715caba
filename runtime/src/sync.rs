//! `std::sync` or `loom::sync`, one switch (`--cfg loom`).
#![forbid(unsafe_code)]

#[cfg(loom)]
pub use loom::sync::{Arc, Mutex, MutexGuard, atomic};
#[cfg(not(loom))]
pub use std::sync::{Arc, Mutex, MutexGuard, atomic};
