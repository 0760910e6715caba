//! A rejection as data: place, reason, path, registers, source line, help.
#![forbid(unsafe_code)]

mod reason;

use std::fmt;

use crate::isa::{Insn, InsnId, Pc};
use crate::link::LineInfo;
pub use reason::Reason;

/// Why a program did not become [`Verified`](super::Verified).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Failure {
    /// No proof of safety.
    Rejected(Box<Rejected>),
    /// The program uses what this verifier does not understand; the kernel may.
    Unsupported {
        /// What, by name.
        what: String,
        /// Where, if at one instruction.
        at: Option<Pc>,
    },
}

/// A program that is not proven safe.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// Slot index of the instruction.
    pub at: Pc,
    /// The same as an index of `Program::insns`.
    pub insn_id: InsnId,
    /// The instruction, if there is one at that place.
    pub insn: Option<Insn>,
    /// What could not be proven.
    pub reason: Reason,
    /// Branches and calls on the way there: slot index and whether the jump was taken, oldest first.
    pub path: Vec<(Pc, bool)>,
    /// Registers before the instruction, as text (`r1`, `ctx`), without the uninitialised ones.
    pub registers: Vec<(String, String)>,
    /// Source line, if the object has line information.
    pub line: Option<LineInfo>,
    /// What would help.
    pub help: Option<String>,
    /// Name of the subprogram it happened in.
    pub subprogram: String,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error[{}]: {}", self.reason.code(), self.reason)?;
        if let Some(line) = &self.line {
            writeln!(f, "  --> {}:{}:{}", line.file, line.line, line.column)?;
            let number = line.line.to_string();
            let pad = " ".repeat(number.len());
            writeln!(f, "{pad} |")?;
            writeln!(f, "{number} | {}", line.text.trim_end())?;
            writeln!(f, "{pad} |")?;
        } else {
            writeln!(f, "  --> {}", self.subprogram)?;
        }
        match &self.insn {
            Some(insn) => writeln!(f, "  = insn {}: {insn:?}", self.at)?,
            None => writeln!(f, "  = insn {}", self.at)?,
        }
        for (name, value) in &self.registers {
            writeln!(f, "  = {name}: {value}")?;
        }
        if !self.path.is_empty() {
            write!(f, "  = path:")?;
            let skip = self.path.len().saturating_sub(12);
            if skip > 0 {
                write!(f, " ({skip} earlier)")?;
            }
            for (pc, taken) in &self.path[skip..] {
                write!(f, " {pc}{}", if *taken { "+" } else { "-" })?;
            }
            writeln!(f)?;
        }
        if let Some(help) = &self.help {
            writeln!(f, "  = help: {help}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Rejected {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(rejected) => rejected.fmt(f),
            Self::Unsupported { what, at: Some(pc) } => write!(f, "pc {pc}: not supported: {what}"),
            Self::Unsupported { what, at: None } => write!(f, "not supported: {what}"),
        }
    }
}

impl std::error::Error for Failure {}

impl From<Rejected> for Failure {
    fn from(rejected: Rejected) -> Self {
        Self::Rejected(Box::new(rejected))
    }
}
