//! Programs that our verifier accepts under policy `kernel` and Linux rejects: each with the proof that it is safe.
//!
//! A file of `tests/beyond` is assembly over a context of words with a header: `; class: WORDS`, and for each word of
//! the context that is read which values it takes, `; input OFFSET: all BITS` (every number of that many bits), `edges BITS` (numbers at
//! powers of two and beside constants of the program), `low NUMBER` (that lower half under edges) or `one` (nothing depends
//! on it). The proof is a run by the checked interpreter for every combination: none traps, and none comes to the last access, since
//! conditions before it contradict each other. Without the lines marked `; contradicts` some do. A row of
//! `docs/testing.md` names each file.

use std::path::Path;

use beelift::isa::{Insn, InsnId, Operand};
use beelift::verify::{Options, Policy, verify};
use beelift::{Program, ProgramType};

use crate::concrete::{Concrete, Visits};

struct Case {
    name: String,
    class: String,
    source: String,
    /// Values of the words of the context.
    inputs: Vec<Vec<u64>>,
}

impl Case {
    fn read(path: &Path) -> Self {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let source = std::fs::read_to_string(path).expect("a file");
        let mut case = Self { class: String::new(), inputs: Vec::new(), source, name };
        let program = case.program(&case.source);
        for line in case.source.lines() {
            if let Some(class) = line.strip_prefix("; class: ") {
                class.clone_into(&mut case.class);
            }
            let Some((offset, values)) =
                line.strip_prefix("; input ").and_then(|input| input.split_once(": "))
            else {
                continue;
            };
            let index = offset.parse::<usize>().expect("an offset") / 8;
            case.inputs.resize(case.inputs.len().max(index + 1), vec![0]);
            case.inputs[index] = match values.split_once(' ') {
                Some(("all", bits)) => (0..1 << bits.parse::<u32>().expect("bits")).collect(),
                Some(("edges", bits)) => edges(&program, bits.parse().expect("bits")),
                Some(("low", low)) => {
                    let low: u64 = low.parse().expect("a number");
                    edges(&program, 32).iter().map(|high| high << 32 | low).collect()
                }
                None if values == "one" => vec![0x5a5a_5a5a_5a5a_5a5a],
                _ => panic!("{}: what values are {values}?", case.name),
            };
        }
        assert!(!case.class.is_empty() && !case.inputs.is_empty(), "{}: header", case.name);
        case
    }

    fn program(&self, source: &str) -> Program {
        Program::assemble(ProgramType::Syscall, source, |_| None)
            .unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    /// Runs the program on every input: how often that was, how often it came to the last access and whether a run
    /// trapped.
    fn run(&self, program: &Program) -> (u64, u64, bool) {
        let last = program.insns.iter().rposition(|insn| matches!(insn, Insn::Load { .. }));
        let last = InsnId(u32::try_from(last.expect("an access")).expect("a short program"));
        let mut visits = Visits { of: last, count: 0 };
        let mut concrete = Concrete::new(program, self.inputs.len());
        let (mut runs, mut trapped) = (0, false);
        let mut at = vec![0; self.inputs.len()];
        loop {
            let words: Vec<u64> = self.inputs.iter().zip(&at).map(|(values, at)| values[*at]).collect();
            trapped |= concrete.run(&words, &mut visits).is_err();
            runs += 1;
            let Some(next) = (0..at.len()).find(|word| at[*word] + 1 < self.inputs[*word].len()) else {
                return (runs, visits.count, trapped);
            };
            at[next] += 1;
            at[..next].fill(0);
        }
    }
}

/// Numbers of so many bits at powers of two and beside constants of the program.
fn edges(program: &Program, bits: u32) -> Vec<u64> {
    let powers = (0..bits).map(|bit| 1 << bit);
    let constants = program.insns.iter().filter_map(|insn| match insn {
        Insn::Branch { rhs: Operand::Imm(value), .. } | Insn::Alu { src: Operand::Imm(value), .. } => {
            Some(value.cast_unsigned())
        }
        _ => None,
    });
    let around =
        powers.chain(constants).chain([0]).flat_map(|at| [at.wrapping_sub(1), at, at.wrapping_add(1)]);
    let mut edges: Vec<u64> = around.map(|at| at & (u64::MAX >> (64 - bits))).collect();
    edges.sort_unstable();
    edges.dedup();
    edges
}

fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/beyond");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).expect("cases").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths.iter().map(|path| Case::read(path)).collect()
}

#[test]
fn what_only_we_accept_is_safe_on_every_input() {
    let rows = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/testing.md"));
    let rows = rows.expect("the documentation");
    for case in cases() {
        let Case { name, class, source, .. } = &case;
        let program = case.program(source);
        verify(program.clone(), &Options::with_policy(Policy::KERNEL))
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let (runs, reached, trapped) = case.run(&program);
        println!("{name}: {runs} runs, {reached} came to the access");
        assert!(!trapped && reached == 0, "{name}: {reached} of {runs} runs came to the access");
        let without: String = source
            .lines()
            .filter(|line| !line.contains("; contradicts"))
            .flat_map(|line| [line, "\n"])
            .collect();
        assert!(case.run(&case.program(&without)).1 > 0, "{name}: its inputs come nowhere near the access");
        let row = format!("| `tests/beyond/{name}.bpf` | {class} |");
        assert!(rows.contains(&row), "docs/testing.md has no row that begins with `{row}`");
    }
}

#[cfg(feature = "kernel")]
#[test]
fn what_only_we_accept_is_rejected_by_linux() {
    use beelift::kernel::{KernelProgram, LoadOptions, MapSetOptions, create_maps};
    if !crate::require::kernel("programs that only we accept") {
        return;
    }
    for case in cases() {
        let program = case.program(&case.source);
        let maps = create_maps(&program.maps, MapSetOptions::default()).expect("maps");
        match KernelProgram::load(&program, &maps, LoadOptions::default()) {
            Ok(_) => println!("{}: this kernel accepts it by now", case.name),
            Err(error) => println!("{}: {error}", case.name),
        }
    }
}
