//! Lattices of the numbers that a program computes: known bits, ranges, and both together.
//!
//! Owns [`Tnum`] (bits known or unknown), [`Circular`] (one interval in each half of the number circle),
//! `Word` (the two together at one width, with the transfer functions) and [`Scalar`] (a 64-bit register
//! value with its low half), [`refine`] and [`decide`] for branches, and [`AbstractScalar`], the machine on
//! which `isa::semantics` computes with sets of numbers.
//! In: abstract operands. Out: an abstract result that holds every concrete result. Pure functions; every
//! type is generic over its width in bits, so that the code that runs at 64 bits is tested exhaustively at
//! 4 to 8.
//! Not here: pointers and their provenance, links between registers, which scalars must be compared
//! precisely (`verify::state`, `verify::precision`).
#![forbid(unsafe_code)]

mod arithmetic;
mod bits;
mod circular;
mod machine;
mod range;
mod reduce;
mod refine;
mod scalar;
#[cfg(test)]
mod tests;
mod tnum;
mod word;

pub use circular::Circular;
pub use machine::AbstractScalar;
pub use refine::{decide, refine};
pub use scalar::{Scalar, ScalarOf};
pub use tnum::Tnum;

/// The low `bits` bits set.
const fn low_mask(bits: u32) -> u64 {
    if bits >= 64 { u64::MAX } else { (1 << bits) - 1 }
}
