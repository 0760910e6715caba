//! Inputs and results of runs as bytes: the form in which engines are compared.
#![forbid(unsafe_code)]

use crate::link::Trap;

/// One input: what a test run of the kernel takes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Input {
    /// Packet, for types that have one; the buffer for type `memory`.
    pub packet: Vec<u8>,
    /// UAPI context; what is missing is zero or the type's default.
    pub context: Vec<u8>,
}

/// What a run left behind.
#[derive(Clone, Debug)]
pub struct Record {
    /// r0. The kernel gives 32 bits of it.
    pub value: Result<u64, Trap>,
    /// The packet as the program left it, metadata first.
    pub packet: Vec<u8>,
    /// The UAPI context as the program left it.
    pub context: Vec<u8>,
    /// Mean nanoseconds of a run; zero after a trap. The kernel tells whole ones.
    pub nanoseconds: f64,
}
