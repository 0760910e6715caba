//! Program-visible memory: the unsafe room of memory.
//!
//! A program on another thread may write this memory at any time, so it is never a Rust reference: it is copied
//! in and out, and its words are touched by atomic operations ([`Slab`], [`SharedBytes`], [`Bytes`],
//! [`BytesMut`]). [`Regions`] is the checked view by absolute address that the interpreter works on.
//!
//! In: lengths, addresses, slices of the host. Out: bytes, words, [`Fault`]. Not here: what lies where (maps,
//! contexts, packets know that).

mod atomics;
mod bytes;
mod raw;
mod regions;
mod slab;

pub use bytes::{Bytes, BytesMut};
pub use regions::{AtomicOp, AtomicSize, Fault, Place, RegionKind, Regions, WordSize};
pub use slab::{OutOfMemory, SharedBytes, Slab};
