//! The eBPF instruction set (RFC 9669 and what Linux added to it): decoding, meaning, text.
//!
//! In: 8-byte slots. Out: [`Insn`]s that every other layer works on, and the one description of what they
//! compute ([`semantics`]). An instruction is decoded once, in [`decode`](mod@decode), the only place that matches on
//! opcode bytes. Not here: anything that knows of maps, helpers, contexts or engines.
//!
//! Indexing: a [`Pc`] counts 8-byte slots as the kernel prints them; an [`InsnId`] counts decoded
//! instructions (a wide immediate takes two slots and is one instruction).
#![forbid(unsafe_code)]

pub mod asm;
mod concrete;
pub mod decode;
pub mod effects;
pub mod encode;
pub mod insn;
pub mod limits;
mod malformed;
pub mod opcode;
#[cfg(test)]
mod round_trip;
pub mod semantics;
pub mod text;

pub use decode::{Code, DecodeError, decode};
pub use insn::*;

/// One 8-byte unit of encoding, little endian as in memory of a little-endian target (RFC 9669 §3.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Slot(pub [u8; 8]);

impl Slot {
    /// Puts the five fields of an instruction together.
    #[must_use]
    pub const fn new(opcode: u8, dst: u8, src: u8, off: i16, imm: i32) -> Self {
        let o = off.to_le_bytes();
        let i = imm.to_le_bytes();
        Self([opcode, (src << 4) | (dst & 0xf), o[0], o[1], i[0], i[1], i[2], i[3]])
    }
    /// The opcode byte.
    #[must_use]
    pub const fn opcode(self) -> u8 {
        self.0[0]
    }
    /// The destination register field, 0 to 15.
    #[must_use]
    pub const fn dst(self) -> u8 {
        self.0[1] & 0xf
    }
    /// The source register field, 0 to 15.
    #[must_use]
    pub const fn src(self) -> u8 {
        self.0[1] >> 4
    }
    /// The signed 16-bit offset field.
    #[must_use]
    pub const fn off(self) -> i16 {
        i16::from_le_bytes([self.0[2], self.0[3]])
    }
    /// The signed 32-bit immediate field.
    #[must_use]
    pub const fn imm(self) -> i32 {
        i32::from_le_bytes([self.0[4], self.0[5], self.0[6], self.0[7]])
    }
    /// Cuts little-endian bytes into slots; `None` when the length is no multiple of eight.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Vec<Self>> {
        let (slots, rest) = bytes.as_chunks::<8>();
        rest.is_empty().then(|| slots.iter().map(|&slot| Self(slot)).collect())
    }
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// Slot index of an instruction, as the kernel's verifier log and `bpftool` count.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Pc(pub u32);

/// Index of a decoded instruction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct InsnId(pub u32);

impl InsnId {
    /// As an index into per-instruction tables.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
    /// The instruction after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl std::fmt::Display for Pc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
