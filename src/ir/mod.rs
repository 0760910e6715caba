//! Thin SSA between verifier and Cranelift.
#![forbid(unsafe_code)]
