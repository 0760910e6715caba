//! A run that stopped before its end, with the place in the program and in its source.
//!
//! In: what an engine knows (kind, instruction, call chain). Out: [`Trap`], the same type for every engine.
#![forbid(unsafe_code)]

use beelift_runtime::TrapKind;
use beelift_runtime::mem::{Fault, Place};

use super::{LineInfo, Program};
use crate::isa::{InsnId, Pc};

/// Why and where a run stopped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trap {
    /// Reason.
    pub kind: TrapKind,
    /// Instruction.
    pub at: Pc,
    /// Source line, if the program knows it.
    pub source: Option<LineInfo>,
    /// The memory access that was refused, with [`TrapKind::Access`] and [`TrapKind::Argument`].
    pub fault: Option<Fault>,
    /// What that access came close to.
    pub place: Option<Box<Place>>,
    /// What the host's helper panicked with, with [`TrapKind::HelperPanic`].
    pub panic: Option<String>,
    /// The call chain, innermost first: the first entry is `at` itself.
    pub backtrace: Vec<TrapFrame>,
}

/// A subprogram that was running.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrapFrame {
    /// Name of the subprogram.
    pub subprogram: String,
    /// The instruction it had come to.
    pub at: Pc,
    /// Its source line, if the program knows it.
    pub source: Option<LineInfo>,
}

impl Trap {
    /// A trap at `at`, reached through the calls in `callers` (innermost first).
    ///
    /// An instruction past the end of the program (control fell off) is reported as the last one.
    #[must_use]
    pub fn new(program: &Program, kind: TrapKind, at: InsnId, callers: &[InsnId]) -> Self {
        let frame = |insn: InsnId| {
            let last = InsnId(program.insns.len().saturating_sub(1) as u32); // An `InsnId` is 32 bits wide.
            let insn = insn.min(last);
            // The first one is the program itself.
            let sub = program.subprograms.iter().skip(1).rfind(|sub| sub.entry <= insn);
            TrapFrame {
                subprogram: sub.map_or_else(|| program.name.clone(), |sub| sub.name.clone()),
                at: program.pcs.get(insn.index()).copied().unwrap_or_default(),
                source: program.line_of(insn).cloned(),
            }
        };
        let backtrace: Vec<_> = std::iter::once(at).chain(callers.iter().copied()).map(frame).collect();
        Self {
            kind,
            at: backtrace[0].at,
            source: backtrace[0].source.clone(),
            fault: None,
            place: None,
            panic: None,
            backtrace,
        }
    }

    /// With the access that was refused.
    #[must_use]
    pub fn with_fault(self, fault: Fault, place: Place) -> Self {
        Self { fault: Some(fault), place: Some(Box::new(place)), ..self }
    }

    /// The access that was refused, in words: `write of 8 bytes at packet+60, where there are 64 bytes`.
    #[must_use]
    pub fn access(&self) -> Option<String> {
        let Fault { len, write, .. } = self.fault?;
        let direction = if write { "write" } else { "read" };
        let bytes = if len == 1 { "byte" } else { "bytes" };
        Some(match &self.place {
            Some(place) => format!("{direction} of {len} {bytes} at {place}"),
            None => self.fault?.to_string(),
        })
    }
}

impl std::fmt::Display for Trap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at pc {}", self.kind, self.at)?;
        if let Some(access) = self.access() {
            write!(f, ": {access}")?;
        }
        if let Some(panic) = &self.panic {
            write!(f, ": {panic}")?;
        }
        for frame in &self.backtrace {
            write!(f, "\n  in {} at pc {}", frame.subprogram, frame.at)?;
            if let Some(line) = &frame.source {
                write!(f, ", {}:{}: {}", line.file, line.line, line.text.trim())?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Trap {}
