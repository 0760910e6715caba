//! The abstract machine: `isa::semantics` over sets of numbers.
#![forbid(unsafe_code)]

/// Computes [`Scalar`](super::Scalar)s: the machine through which `isa::semantics::alu` becomes the
/// verifier's transfer function.
#[derive(Clone, Copy, Debug, Default)]
pub struct AbstractScalar;
