//! Every program of a tiny instruction set, on every input: what is accepted never leaves its memory, and what the
//! verifier says of a number holds.
//!
//! A program is a prologue (two numbers from the context: r1 is one of -4 to 3, r2 is 0 or 1, and 8 bytes of stack hold
//! r2), a few instructions of a set, and an access of one byte at r1 in a value of 8 bytes. The checked
//! interpreter runs it for every pair of numbers. Accepted: no run traps, and every number that a run has lies in what
//! the facts say of it. Rejected: counted, with how many of them would have been safe.
//! `BEELIFT_TINY_LENGTH` is the most instructions of the small set (default 4), `BEELIFT_TINY_LARGE` that of the large set
//! (default 2, 3 in release builds).

use std::time::Instant;

use beelift::interp::{Moment, Observer};
use beelift::isa::effects::{RegSet, flow, uses};
use beelift::isa::{Insn, InsnId, Operand, Pc, Reg};
use beelift::runtime::TrapKind;
use beelift::verify::facts::{Facts, ValueFact};
use beelift::verify::{Failure, Options, Policy, verify};
use beelift::{Program, ProgramType};

use crate::concrete::Concrete;
use crate::random::setting;

const PROLOGUE: &str = ".map table array key=4 value=8 entries=1
    r2 = *(u8 *)(r1 +8)
    r1 = *(u8 *)(r1 +0)
    r1 &= 7
    r1 += -4
    r2 &= 1
    *(u64 *)(r10 -8) = r2
    r0 = 9";
const EPILOGUE: &str = "r3 = map[table][0]+0 ll
    r3 += r1
    r0 = *(u8 *)(r3 +0)
    out: exit";

/// For programs of up to four.
const SMALL: [&str; 11] = [
    "r1 += r2",
    "r1 &= 5",
    "w1 += -1",
    "w1 >>= 1",
    "r1 s>>= 1",
    "r2 = r1",
    "if r1 > 6 goto out",
    "if w1 s< 0 goto out",
    "if r1 != r2 goto out",
    "*(u16 *)(r10 -8) = r1",
    "r1 = *(u32 *)(r10 -8)",
];
/// For shorter programs, beside those.
const LARGE: [&str; 23] = [
    "r1 -= r2",
    "r1 <<= 1",
    "w1 ^= w2",
    "r1 *= 3",
    "w1 -= w2",
    "r1 |= r2",
    "w1 <<= w2",
    "w1 s>>= 31",
    "r1 >>= 62",
    "r1 = -r1",
    "r1 /= 3",
    "r1 s%= 3",
    "w2 = w1",
    "r1 = (s8)r2",
    "w1 = (s16)w1",
    "if r1 s> 2 goto out",
    "if r2 s<= r1 goto out",
    "if w1 >= w2 goto out",
    "if r1 & 4 goto out",
    "if w1 == 3 goto out",
    "*(u8 *)(r10 -7) = r1",
    "r1 = *(s8 *)(r10 -8)",
    "if r1 < 5 goto out",
];

/// What became of a number of programs.
#[derive(Default, Debug)]
struct Count {
    accepted: u64,
    rejected: u64,
    /// Of the rejected ones, those that no input makes leave their memory.
    safe: u64,
    runs: u64,
    wrong: Vec<String>,
}

/// Whether every operand is what the facts say.
struct Within<'a> {
    insns: &'a [Insn],
    facts: Option<&'a Facts>,
    violated: Option<InsnId>,
}

impl Observer for Within<'_> {
    fn before(&mut self, moment: &Moment<'_>) -> Result<(), TrapKind> {
        let Some(facts) = self.facts else { return Ok(()) };
        let index = moment.at.index();
        let holds =
            |reg: Reg, fact: Option<ValueFact>| fact.is_none_or(|fact| fact.contains(moment.get(reg)));
        let (lhs, rhs) = match self.insns[index] {
            Insn::Alu { dst, src: Operand::Reg(src), .. } => (Some(dst), Some(src)),
            Insn::Alu { dst, .. } => (Some(dst), None),
            Insn::Branch { lhs, rhs: Operand::Reg(rhs), .. } => (Some(lhs), Some(rhs)),
            Insn::Branch { lhs, .. } => (Some(lhs), None),
            Insn::Store { src: Operand::Reg(src), .. } => (None, Some(src)),
            _ => (None, None),
        };
        let fine = lhs.is_none_or(|reg| holds(reg, facts.lhs[index]))
            && rhs.is_none_or(|reg| holds(reg, facts.rhs[index]))
            && facts.reachable[index];
        if !fine {
            self.violated = Some(moment.at);
        }
        Ok(())
    }
}

/// The parts of programs, decoded once.
struct Parts {
    template: Program,
    prologue: usize,
    set: Vec<Insn>,
    /// Whether an instruction reads r2 or the stack.
    reads_second: Vec<bool>,
}

impl Parts {
    fn new(set: &[&str]) -> Self {
        let assemble = |middle: &str| {
            let source = format!("{PROLOGUE}\n{middle}\n{EPILOGUE}");
            Program::assemble(ProgramType::Syscall, &source, |_| None)
                .unwrap_or_else(|error| panic!("{middle}: {error}"))
        };
        let mut template = assemble("");
        template.lines.clear();
        // The prologue ends with `r0 = 9`, the epilogue has four instructions.
        let prologue = template.insns.len() - 4;
        let set: Vec<Insn> = set.iter().map(|text| assemble(text).insns[prologue]).collect();
        let second =
            |insn: &Insn| uses(insn, RegSet::EMPTY).contains(Reg::R2) || matches!(insn, Insn::Load { .. });
        let reads_second = set.iter().map(second).collect();
        Self { template, prologue, set, reads_second }
    }

    /// The program of those instructions, and whether its second number matters.
    fn program(&self, chosen: &[usize]) -> (Program, bool) {
        let mut program = self.template.clone();
        let out = InsnId((self.prologue + chosen.len() + 3) as u32); // a few instructions
        let middle = chosen.iter().map(|&at| match self.set[at] {
            Insn::Branch { op, width, lhs, rhs, .. } => Insn::Branch { op, width, lhs, rhs, to: out },
            insn => insn,
        });
        program.insns.splice(self.prologue..self.prologue, middle);
        let count = program.insns.len() as u32; // likewise
        program.pcs = (0..count).map(Pc).collect();
        program.subprograms[0].end = InsnId(count);
        debug_assert!(program.insns.iter().all(|insn| flow(insn).target().is_none_or(|to| to == out)));
        (program, chosen.iter().any(|&at| self.reads_second[at]))
    }

    fn judge(&self, chosen: &[usize], count: &mut Count) {
        let (program, second) = self.program(chosen);
        let mut concrete = Concrete::new(&program, 2);
        let verified = match verify(program.clone(), &Options::with_policy(Policy::USER)) {
            Ok(verified) => Some(verified),
            Err(Failure::Rejected(_)) => None,
            Err(error) => panic!("{error}"),
        };
        let facts = verified.as_ref().map(|verified| verified.facts());
        let mut within = Within { insns: &program.insns, facts, violated: None };
        let mut safe = true;
        for first in 0..8 {
            for second in 0..if second { 2 } else { 1 } {
                count.runs += 1;
                safe &= concrete.run(&[first, second], &mut within).is_ok();
            }
        }
        match (facts.is_some(), safe) {
            (true, true) => count.accepted += 1,
            (true, false) => count.wrong.push(format!("accepted: {:?}", self.text(chosen))),
            (false, safe) => {
                count.rejected += 1;
                count.safe += u64::from(safe);
            }
        }
        if let Some(at) = within.violated {
            count.wrong.push(format!("a fact at {at:?} does not hold: {:?}", self.text(chosen)));
        }
    }

    fn text(&self, chosen: &[usize]) -> Vec<String> {
        chosen.iter().map(|&at| format!("{:?}", self.set[at])).collect()
    }
}

/// Every program of up to `length` instructions of the set.
fn every_program(set: &[&str], length: usize) -> Count {
    let start = Instant::now();
    let parts = Parts::new(set);
    let count = |first: usize| {
        let mut count = Count::default();
        for rest in 0..length {
            let mut chosen = vec![0; rest + 1];
            chosen[0] = first;
            loop {
                parts.judge(&chosen, &mut count);
                let Some(next) = (1..=rest).rev().find(|at| chosen[*at] + 1 < set.len()) else { break };
                chosen[next] += 1;
                chosen[next + 1..].fill(0);
            }
        }
        count
    };
    let mut total = Count::default();
    parts.judge(&[], &mut total);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let counts: Vec<Count> = std::thread::scope(|scope| {
        let (count, size) = (&count, set.len());
        let run = |thread: usize| move || (thread..size).step_by(threads).map(count).collect::<Vec<_>>();
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(run(thread))).collect();
        running.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    for count in counts {
        total.accepted += count.accepted;
        total.rejected += count.rejected;
        total.safe += count.safe;
        total.runs += count.runs;
        total.wrong.extend(count.wrong);
    }
    println!(
        "{} instructions, programs of up to {length}: {} accepted, {} rejected, of which {} ({:.1}%) are safe on \
         every input; {} runs, {:?}",
        set.len(),
        total.accepted,
        total.rejected,
        total.safe,
        total.safe as f64 * 100.0 / total.rejected as f64,
        total.runs,
        start.elapsed()
    );
    total
}

#[test]
fn tiny_programs_keep_what_the_verifier_promises() {
    // A few instructions.
    let small = setting("BEELIFT_TINY_LENGTH", 4) as usize;
    let large = setting("BEELIFT_TINY_LARGE", if cfg!(debug_assertions) { 2 } else { 3 }) as usize;
    let all: Vec<&str> = SMALL.into_iter().chain(LARGE).collect();
    for count in [every_program(&SMALL, small), every_program(&all, large)] {
        let Count { accepted, rejected, safe, wrong, .. } = count;
        assert!(wrong.is_empty(), "{} wrong: {:#?}", wrong.len(), &wrong[..wrong.len().min(20)]);
        assert!(accepted > 0, "some programs are safe");
        // Ranges say nothing of two numbers together, so some stay; losing precision would show here.
        assert!(safe * 5 <= rejected, "{safe} of {rejected} rejected programs are safe");
    }
}
