//! The kernel verifier's log: where it gave up, mapped back to our instruction and source line.
//!
//! In: the text of a failed `BPF_PROG_LOAD` and the program. Out: [`VerifierLog`]. The text has no stable
//! format; what we read from it is only a place (`12: (bf) r6 = r1`) and the message after it, and when we
//! find neither, the text is all there is.
#![forbid(unsafe_code)]

use crate::isa::{InsnId, Pc};
use crate::link::{LineInfo, Program};

/// What the kernel's verifier wrote about a program it refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifierLog {
    /// All of it.
    pub text: String,
    /// Last instruction it looked at, as a slot.
    pub at: Option<Pc>,
    /// The same, as an instruction of the program.
    pub insn: Option<InsnId>,
    /// Source line of that instruction.
    pub line: Option<LineInfo>,
    /// Why: the lines after that instruction, without statistics.
    pub message: String,
}

impl VerifierLog {
    /// Reads the log of a program whose slots are known only by number.
    #[must_use]
    pub fn parse(text: String) -> Self {
        let mut at = None;
        let mut message = Vec::new();
        for line in text.lines() {
            if let Some(pc) = instruction(line) {
                at = Some(pc);
                message.clear();
            } else if !is_noise(line) {
                message.push(line.trim());
            }
        }
        let message = message.join("; ");
        Self { text, at, insn: None, line: None, message }
    }

    /// Whether the log says nothing of the program: there is none, or only statistics.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.at.is_none() && self.message.is_empty()
    }

    /// Finds instruction and source line. `pcs` are the slots of the program as it was loaded.
    #[must_use]
    pub fn located(mut self, program: &Program, pcs: &[Pc]) -> Self {
        let Some(at) = self.at else { return self };
        let after = pcs.partition_point(|&pc| pc <= at);
        let index = u32::try_from(after).ok().and_then(|after| after.checked_sub(1));
        self.insn = index.map(InsnId);
        self.line = self.insn.and_then(|insn| program.line_of(insn)).cloned();
        self
    }
}

/// The slot of a line like `12: (bf) r6 = r1 ; R1=ctx()`.
fn instruction(line: &str) -> Option<Pc> {
    let (pc, rest) = line.split_once(": (")?;
    let opcode = rest.get(..2)?;
    u8::from_str_radix(opcode, 16).ok()?;
    rest[2..].starts_with(')').then_some(())?;
    pc.trim().parse().ok().map(Pc)
}

/// Lines that say nothing about the reason: states, statistics, backtracking, source lines.
fn is_noise(line: &str) -> bool {
    let line = line.trim();
    let after_pc = line.trim_start_matches(|c: char| c.is_ascii_digit());
    let is_state = after_pc.strip_prefix(": R").is_some_and(|rest| rest.contains('='));
    let starts = [
        "processed ",
        "verification time ",
        "stack depth ",
        "peak_states ",
        "mark_precise:",
        "; ",
        "from ",
        "func#",
        "Validating ",
        "Live regs ",
        "arg#0 reference type('UNKNOWN ') size cannot be determined",
        "max_states_per_insn",
    ];
    line.is_empty() || is_state || starts.iter().any(|start| line.starts_with(start))
}

impl std::fmt::Display for VerifierLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(at) = self.at {
            write!(f, "pc {at}: ")?;
        }
        f.write_str(if self.message.is_empty() { "no reason given" } else { &self.message })?;
        if let Some(line) = &self.line {
            write!(f, "\n  at {}:{}:{}: {}", line.file, line.line, line.column, line.text.trim())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_instruction_and_message_are_found() {
        let log = VerifierLog::parse(
            "func#0 @0\n0: R1=ctx() R10=fp0\n; return *p; @ a.c:3\n0: (61) r0 = *(u32 *)(r1 +4)       ; R0_w=pkt_end()\n\
             1: (95) exit\nAt program exit the register R0 has unknown scalar value\n\
             processed 2 insns (limit 1000000) max_states_per_insn 0\n"
                .to_owned(),
        );
        assert_eq!(log.at, Some(Pc(1)));
        assert_eq!(log.to_string(), "pc 1: At program exit the register R0 has unknown scalar value");
    }

    #[test]
    fn a_log_without_instructions_is_shown_whole() {
        let log = VerifierLog::parse("BPF program is too large\n".to_owned());
        assert_eq!((log.at, log.to_string().as_str()), (None, "BPF program is too large"));
    }
}
