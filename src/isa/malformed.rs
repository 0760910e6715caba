//! What can be wrong with the encoding of an instruction, as data.
#![forbid(unsafe_code)]

use super::{Pc, Slot};

/// Why slots are no program.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("pc {at}: {reason} (bytes {slot:?})")]
pub struct DecodeError {
    /// The slot that is wrong.
    pub at: Pc,
    /// Its bytes.
    pub slot: Slot,
    /// What is wrong with it.
    pub reason: Malformed,
}

/// What is wrong with an instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// No instruction has this opcode.
    #[error("unknown opcode {0:#04x}")]
    UnknownOpcode(u8),
    /// r11 to r15.
    #[error("register r{0} does not exist")]
    NoSuchRegister(u8),
    /// The field must be zero in this instruction.
    #[error("reserved field `{0}` is not zero")]
    Reserved(Field),
    /// An offset that a register move, division or remainder does not know.
    #[error("offset {0} means nothing to this operation")]
    OperationOffset(i16),
    /// Byte-order instructions know 16, 32 and 64 bits.
    #[error("byte order of {0} bits: only 16, 32 and 64 exist")]
    ByteOrderSize(i32),
    /// `imm` of an atomic instruction.
    #[error("unknown atomic operation {0:#x}")]
    AtomicOperation(i32),
    /// Read-modify-write of one or two bytes.
    #[error("atomic operation {0:#x} exists for 4 and 8 bytes only")]
    AtomicSize(i32),
    /// Casts go from address space 1 to 0 or from 0 to 1.
    #[error("address space cast {0:#x}: only between address spaces 0 and 1")]
    AddressSpaces(i32),
    /// `src` of a wide immediate.
    #[error("unknown kind {0} of wide immediate")]
    WideKind(u8),
    /// The program ends inside a wide immediate.
    #[error("second half of the wide immediate is missing")]
    WideTruncated,
    /// The second half has an opcode, a register or an offset.
    #[error("second half of the wide immediate has fields other than `imm`")]
    WideSecondHalf,
    /// A variable of a kernel module's BTF, by file descriptor, cannot be kept in an instruction.
    #[error("wide immediate names a kernel symbol of BTF object {0}")]
    WideBtfObject(i32),
    /// `src` of a call.
    #[error("unknown kind {0} of call")]
    CallKind(u8),
    /// Target outside of the program.
    #[error("target {0} is outside of the program")]
    TargetOutside(i64),
    /// Target is the second half of a wide immediate.
    #[error("target {0} is the middle of a wide immediate")]
    TargetInsideWide(i64),
    /// More slots than a program can have.
    #[error("program is longer than {0} slots")]
    TooLong(usize),
}

/// A field of an instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "named as in RFC 9669")]
pub enum Field {
    Dst,
    Src,
    Off,
    Imm,
}

impl std::fmt::Display for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Dst => "dst",
            Self::Src => "src",
            Self::Off => "off",
            Self::Imm => "imm",
        })
    }
}
