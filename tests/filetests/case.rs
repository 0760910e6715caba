//! Case files: header, inputs, expectations, and how they are judged.
//!
//! The body is assembly (`beelift::isa::asm`, `.map` directives as in `beelift::link::Program::assemble`). The header
//! is made of comment lines:
//!
//! * `; test run: ENGINE…`: the program runs on `interp`, `jit`, `kernel`.
//! * `; test refuse: decode kernel`: there is no body; the bytes of each `refuse` line are no program.
//! * `; test verify: beelift kernel`: the program is accepted or rejected, as the `verify` line says.
//! * `; type: NAME`: program type as bpftool spells it, `syscall` if left out.
//! * `; program flags: N`: `prog_flags`; `; attach type: N`: `expected_attach_type`; 0 if left out.
//! * `; policy: NAME`: our verifier's policy, `user` if left out.
//! * `; needs kernel types`: our verifier looks up types of the running kernel.
//! * `; case WORD… -> RESULT`: a run on a context of 64-bit words. A result is r0, followed by `|` and the words
//!   after the run where they changed; or `trap` and why.
//! * `; cross WORD… -> hash …`: a run for every pair of the words and a third word 0, judged by a hash of all results.
//! * `; packet HEX -> RESULT`: a run on a packet.
//! * `; verify -> accept`, or `; verify -> reject CODE` with the code of the reason, which the kernel does not know.
//! * `; refuse SLOT… -> MESSAGE`: bytes of slots in hexadecimal, and the decoder's message.
//!
//! The kernel shows 32 bits of r0: the rest is judged where a program stores it. It cannot run what traps.
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use beelift::isa::{Slot, decode};
use beelift::link::Program;
use beelift::verify::Policy;
use beelift_runtime::ctx::ProgramType;

use crate::engines::{Engine, Input, Outcome, Session};

/// What a file asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Test {
    /// `; test run: …`: the program runs and gives what is expected.
    Run(Engine),
    /// `; test refuse: …`: the bytes of each `; refuse` line are no program (for the kernel: it agrees).
    Refuse(Engine),
    /// `; test verify: …`: the verifier (for the kernel: its verifier) accepts or rejects the program.
    Verify(Engine),
}

/// A file under `tests/cases`.
pub(crate) struct CaseFile {
    path: PathBuf,
    source: String,
    pub(crate) tests: Vec<Test>,
    program_type: ProgramType,
    program_flags: u32,
    attach_type: u32,
    policy: Policy,
    /// Whether our verifier looks up the running kernel's types for it.
    pub(crate) kernel_types: bool,
    expectations: Vec<Expectation>,
}

/// One line of the header that expects something.
struct Expectation {
    /// 0-based line.
    line: usize,
    /// What stands before the arrow, to be kept when blessing.
    left: String,
    /// What stands behind it.
    right: String,
    inputs: Vec<Input>,
    /// `refuse` lines: the slots.
    slots: Vec<Slot>,
}

impl CaseFile {
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let source = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        let mut file = Self {
            path: path.to_owned(),
            source: String::new(),
            tests: Vec::new(),
            program_type: ProgramType::Syscall,
            program_flags: 0,
            attach_type: 0,
            policy: Policy::USER,
            kernel_types: false,
            expectations: Vec::new(),
        };
        for (number, line) in source.lines().enumerate() {
            if let Some(header) = line.strip_prefix("; ") {
                file.header(number, header).map_err(|error| format!("line {}: {error}", number + 1))?;
            }
        }
        file.source = source;
        if file.tests.is_empty() || file.expectations.is_empty() {
            return Err("no `; test …` line, or nothing expected".to_owned());
        }
        Ok(file)
    }

    fn header(&mut self, line: usize, header: &str) -> Result<(), String> {
        if let Some(engines) = header.strip_prefix("test run:") {
            for name in engines.split_whitespace() {
                self.tests.push(Test::Run(Engine::from_name(name)?));
            }
        } else if let Some(engines) = header.strip_prefix("test refuse:") {
            for name in engines.split_whitespace() {
                self.tests.push(Test::Refuse(Engine::from_name(name)?));
            }
        } else if let Some(engines) = header.strip_prefix("test verify:") {
            for name in engines.split_whitespace() {
                self.tests.push(Test::Verify(Engine::from_name(name)?));
            }
        } else if let Some(name) = header.strip_prefix("type:") {
            let known = ProgramType::ALL.iter().find(|known| known.name() == name.trim());
            self.program_type = *known.ok_or_else(|| format!("unknown program type {name}"))?;
        } else if header == "needs kernel types" {
            self.kernel_types = true;
        } else if let Some(name) = header.strip_prefix("policy:") {
            let known = Policy::by_name(name.trim());
            self.policy = known.ok_or_else(|| format!("unknown policy {name}"))?;
        } else if let Some(flags) = header.strip_prefix("program flags:") {
            self.program_flags = flags.trim().parse().map_err(|_| format!("flags are no number: {flags}"))?;
        } else if let Some(number) = header.strip_prefix("attach type:") {
            self.attach_type = number.trim().parse().map_err(|_| format!("it is no number: {number}"))?;
        } else if let Some((left, right)) = header.split_once("->") {
            let (kind, arguments) = left.trim().split_once(' ').unwrap_or((left.trim(), ""));
            let (inputs, slots) = match kind {
                "case" => (vec![Input::Words(words(arguments)?)], Vec::new()),
                "cross" => (cross(&words(arguments)?), Vec::new()),
                "packet" => (vec![Input::Packet(bytes(arguments)?)], Vec::new()),
                "refuse" => {
                    let bytes = bytes(&arguments.replace(' ', ""))?;
                    (Vec::new(), Slot::from_bytes(&bytes).ok_or("not a multiple of eight bytes")?)
                }
                "verify" => (Vec::new(), Vec::new()),
                _ => return Ok(()), // A comment with an arrow.
            };
            let (left, right) = (left.trim().to_owned(), right.trim().to_owned());
            self.expectations.push(Expectation { line, left, right, inputs, slots });
        }
        Ok(())
    }

    pub(crate) fn program(&self) -> Result<Program, String> {
        let helper = |name: &str| beelift_runtime::helper::by_name(name).map(|helper| helper.id);
        let mut program =
            Program::assemble(self.program_type, &self.source, helper).map_err(|error| error.to_string())?;
        program.prog_flags |= self.program_flags;
        program.attach_type = self.attach_type;
        Ok(program)
    }

    pub(crate) fn check(&self, test: Test) -> Result<(), String> {
        match test {
            Test::Run(engine) => self.check_run(engine),
            Test::Refuse(engine) => self.check_refused(engine),
            Test::Verify(engine) => self.check_verified(engine),
        }
    }

    fn check_verified(&self, engine: Engine) -> Result<(), String> {
        let program = self.program()?;
        let mut wrong = String::new();
        for expectation in self.expectations.iter().filter(|expectation| expectation.is_verdict()) {
            let (found, expected) = if engine == Engine::Kernel {
                let first = expectation.right.split(' ').next().unwrap_or_default();
                (crate::engines::kernel_verdict(&program)?, first.to_owned())
            } else {
                (crate::engines::verdict(&program, self.policy), expectation.right.clone())
            };
            // Behind our own verdict stands what it is about.
            let verdict = found.lines().next().unwrap_or_default();
            if verdict != expected {
                let _ = writeln!(wrong, "line {}: {expected}, but {found}", expectation.line + 1);
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }

    fn check_run(&self, engine: Engine) -> Result<(), String> {
        let program = self.program()?;
        let mut session = Session::new(engine, &program)?;
        let mut wrong = String::new();
        for expectation in self.expectations.iter().filter(|expectation| !expectation.is_verdict()) {
            let outcomes = expectation.run(&mut session)?;
            let found = render(engine, &outcomes);
            let expected = if engine == Engine::Kernel {
                low_half(&expectation.right)
            } else {
                expectation.right.clone()
            };
            // The kernel cannot run what traps.
            if found == expected || engine == Engine::Kernel && expected.starts_with("trap") {
                continue;
            }
            let _ = writeln!(
                wrong,
                "line {}: {} -> {expected}, but {found}",
                expectation.line + 1,
                expectation.left
            );
            if outcomes.len() > 1 {
                let _ =
                    writeln!(wrong, "{}", self.first_difference(&program, expectation, &outcomes, engine)?);
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }

    /// For a hash over many inputs: the first input where the interpreter says something else.
    fn first_difference(
        &self,
        program: &Program,
        expectation: &Expectation,
        outcomes: &[Outcome],
        engine: Engine,
    ) -> Result<String, String> {
        let reference = expectation.run(&mut Session::new(Engine::Interp, program)?)?;
        let mut three = expectation.inputs.iter().zip(&reference).zip(outcomes);
        let different = three.find(|((_, reference), outcome)| {
            let view = |outcome| render(engine, std::slice::from_ref(outcome));
            view(reference) != view(outcome)
        });
        Ok(match different {
            Some(((input, reference), outcome)) => {
                format!("{input:?}: interp {reference}, {} {outcome}", engine.name())
            }
            None => "the interpreter agrees: the file is out of date".to_owned(),
        })
    }

    fn check_refused(&self, engine: Engine) -> Result<(), String> {
        let mut wrong = String::new();
        for expectation in &self.expectations {
            let found = if engine == Engine::Kernel {
                match crate::engines::kernel_refuses(self.program_type, &expectation.slots) {
                    Ok(()) => continue,
                    Err(found) => found,
                }
            } else {
                refusal(&expectation.slots)
            };
            if found != expectation.right {
                let (line, left, right) = (expectation.line + 1, &expectation.left, &expectation.right);
                let _ = writeln!(wrong, "line {line}: {left} -> {right}, but {found}");
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }

    /// Writes what the interpreter (or the decoder) says into the file.
    pub(crate) fn bless(&self) -> Result<(), String> {
        let mut lines: Vec<_> = self.source.lines().map(str::to_owned).collect();
        let mut session = None;
        for expectation in &self.expectations {
            let found = if expectation.is_verdict() {
                if !self.tests.contains(&Test::Verify(Engine::Interp)) {
                    continue; // Only the kernel's verdict is asked for.
                }
                let found = crate::engines::verdict(&self.program()?, self.policy);
                found.lines().next().unwrap_or_default().to_owned()
            } else if expectation.inputs.is_empty() {
                refusal(&expectation.slots)
            } else {
                if session.is_none() {
                    session = Some(Session::new(Engine::Interp, &self.program()?)?);
                }
                let session = session.as_mut().expect("made above");
                render(Engine::Interp, &expectation.run(session)?)
            };
            lines[expectation.line] = format!("; {} -> {found}", expectation.left);
        }
        let text = lines.join("\n") + "\n";
        if text == self.source {
            Ok(())
        } else {
            std::fs::write(&self.path, text).map_err(|error| error.to_string())
        }
    }
}

impl Expectation {
    fn is_verdict(&self) -> bool {
        self.left == "verify"
    }
    fn run(&self, session: &mut Session) -> Result<Vec<Outcome>, String> {
        self.inputs.iter().map(|input| session.run(input)).collect()
    }
}

fn refusal(slots: &[Slot]) -> String {
    match decode(slots) {
        Ok(_) => "accepted".to_owned(),
        Err(error) => format!("pc {}: {}", error.at, error.reason),
    }
}

/// One outcome in full, many as a hash.
fn render(engine: Engine, outcomes: &[Outcome]) -> String {
    if let [outcome] = outcomes {
        let text = outcome.to_string();
        return if engine == Engine::Kernel { low_half(&text) } else { text };
    }
    // The kernel shows half of r0: only that is part of the hash.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in outcomes.iter().flat_map(|outcome| low_half(&outcome.to_string()).into_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    }
    format!("hash {hash:#018x}")
}

/// An expectation as the kernel can fulfil it: r0 without its upper half.
fn low_half(text: &str) -> String {
    let (r0, rest) = text.split_once(' ').unwrap_or((text, ""));
    match r0.strip_prefix("0x").and_then(|digits| u64::from_str_radix(digits, 16).ok()) {
        Some(value) => format!("{:#x} {rest}", value & 0xffff_ffff).trim_end().to_owned(),
        None => text.to_owned(),
    }
}

fn words(text: &str) -> Result<Vec<u64>, String> {
    let word = |word: &str| {
        let (negative, digits) = word.strip_prefix('-').map_or((false, word), |digits| (true, digits));
        let magnitude = match digits.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => digits.parse(),
        };
        let magnitude = magnitude.map_err(|error| format!("{word}: {error}"))?;
        Ok(if negative { magnitude.wrapping_neg() } else { magnitude })
    };
    text.split_whitespace().map(word).collect()
}

fn bytes(text: &str) -> Result<Vec<u8>, String> {
    let digit = |c: char| c.to_digit(16).ok_or_else(|| format!("{c:?} is no hexadecimal digit"));
    let digits = text.trim().chars().map(digit).collect::<Result<Vec<_>, _>>()?;
    Ok(digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | *digit as u8)).collect())
}

/// All pairs of the words, each with a third word for a result.
fn cross(words: &[u64]) -> Vec<Input> {
    let pairs = words.iter().flat_map(|&a| words.iter().map(move |&b| (a, b)));
    pairs.map(|(a, b)| Input::Words(vec![a, b, 0])).collect()
}
