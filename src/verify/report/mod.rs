//! A rejection as data: place, reason, path, registers, source line, help.
#![forbid(unsafe_code)]

mod help;
mod reason;
mod words;

use std::fmt;

use super::explore::Verifier;
use super::state::Kind;
use crate::isa::effects::{Flow, RegSet, defs, flow, uses};
use crate::isa::{Callee, Insn, InsnId, Pc, Reg};
use crate::link::{LineInfo, Program};
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
    /// Where the registers that the instruction reads got their values, on this path.
    pub origins: Vec<(Reg, Pc)>,
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

/// A rejection that belongs to no path.
pub(crate) fn rejected(program: &Program, at: InsnId, reason: Reason) -> Rejected {
    let subprogram = program.subprograms.iter().rev().find(|sub| sub.entry <= at);
    Rejected {
        at: program.pcs.get(at.index()).copied().unwrap_or_default(),
        insn_id: at,
        insn: program.insns.get(at.index()).copied(),
        help: help::help(&reason),
        reason,
        path: Vec::new(),
        registers: Vec::new(),
        origins: Vec::new(),
        line: program.line_of(at).cloned(),
        subprogram: subprogram.map_or_else(|| program.name.clone(), |sub| sub.name.clone()),
    }
}

/// Steps of a path that a report looks at.
const LONGEST_PATH: usize = 1 << 17;

/// A rejection on the current path.
pub(crate) fn rejected_on_path(verifier: &Verifier<'_>, reason: Reason) -> Rejected {
    let program = verifier.program;
    let mut rejected = rejected(program, verifier.at, reason);
    let steps: Vec<InsnId> = verifier.trace.path(verifier.state.trace).take(LONGEST_PATH).collect();
    rejected.origins = origins(program, verifier.at, &steps);
    let mut after = None;
    for &at in &steps {
        if let (Flow::Branch(to), Some(after)) = (flow(&program.insns[at.index()]), after) {
            rejected.path.push((program.pcs[at.index()], after == to));
        }
        after = Some(at);
    }
    rejected.path.reverse();
    for reg in Reg::all() {
        let register = verifier.state.register(reg);
        if register.kind != Kind::Uninit && reg != Reg::R10 {
            rejected.registers.push((reg.to_string(), words::in_words(register, verifier.tables)));
        }
    }
    rejected
}

/// The last instructions of a path (newest first) that gave values to what an instruction reads.
fn origins(program: &Program, at: InsnId, steps: &[InsnId]) -> Vec<(Reg, Pc)> {
    let mut wanted = uses(&program.insns[at.index()], RegSet::arguments(5));
    wanted.remove(Reg::R10);
    let mut found = Vec::new();
    let mut callees = 0_usize;
    // The newest step is the instruction itself.
    for &step in steps.iter().skip_while(|&&step| step == at) {
        let insn = &program.insns[step.index()];
        match insn {
            Insn::Exit => callees += 1,
            Insn::Call(Callee::Subprogram(_)) if callees > 0 => callees -= 1,
            // Its arguments are the caller's; everything else is from before.
            Insn::Call(Callee::Subprogram(_)) => {
                wanted = wanted.intersect(RegSet::arguments(5));
                continue;
            }
            _ => {}
        }
        if callees > 0 {
            continue;
        }
        for reg in wanted.intersect(defs(insn)).iter() {
            found.push((reg, program.pcs[step.index()]));
            wanted.remove(reg);
        }
        if wanted.is_empty() {
            break;
        }
    }
    found.sort_unstable_by_key(|(reg, _)| reg.index());
    found
}
