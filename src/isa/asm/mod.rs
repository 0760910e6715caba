//! The assembler: text in the syntax of `isa::text` to slots.
//!
//! In: lines with one instruction, label (`name:`, `1:`), directive (`.name …`) or nothing each; `;` and `//` start
//! comments. Targets are labels, `1f`/`1b`, `pc+3` or `+3`, counted in slots. Beside the kernel's spelling that of
//! LLVM is read. Out: [`Assembly`]: slots that still have to be decoded (a `.raw` directive puts arbitrary
//! bytes in), and the names they refer to. Names of maps, kfuncs and kernel symbols are numbered in order of
//! appearance; what they are is the caller's business, as are all directives but `.raw`.
#![forbid(unsafe_code)]

mod cursor;
mod lex;
mod parse;
mod value;

use std::collections::HashMap;

use super::encode::{Unencodable, Verbatim, encode_one, slots_of};
use super::{InsnId, Pc, Slot};
use parse::{Item, Target};

/// Assembled text.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Assembly {
    /// The program.
    pub slots: Vec<Slot>,
    /// 1-based line each slot comes from.
    pub lines: Vec<u32>,
    /// Labels in order.
    pub labels: Vec<(String, Pc)>,
    /// Labels that are called or whose address is taken, in order of place: subprograms.
    pub subprograms: Vec<(String, Pc)>,
    /// Names of maps by number.
    pub maps: Vec<String>,
    /// Names of kfuncs by number.
    pub kfuncs: Vec<String>,
    /// Names of kernel symbols by number.
    pub ksyms: Vec<String>,
    /// Directives in order.
    pub directives: Vec<Directive>,
}

/// A line that starts with a dot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Directive {
    /// 1-based line.
    pub line: u32,
    /// Name, without the dot.
    pub name: String,
    /// The words after it.
    pub arguments: Vec<String>,
}

/// Why text is no program.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct AsmError {
    /// 1-based line.
    pub line: u32,
    /// What is wrong there.
    pub reason: Syntax,
}

/// What is wrong with a line.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Syntax {
    /// No token starts with it.
    #[error("unexpected character {0:?}")]
    Character(char),
    /// Something else should stand here.
    #[error("expected {expected}, found {found}")]
    Expected {
        /// What should.
        expected: &'static str,
        /// What does.
        found: String,
    },
    /// Not a label, nor a helper.
    #[error("unknown name `{0}`")]
    UnknownName(String),
    /// Defined twice.
    #[error("label `{0}` is defined twice")]
    DuplicateLabel(String),
    /// Not in the range the field has.
    #[error("{0} does not fit into this field")]
    Range(String),
    /// `r1 += w2`.
    #[error("operands have different widths")]
    Widths,
    /// `r1 = -r2`, `r1 = be16 r2` and the like.
    #[error("both registers must be the same")]
    DifferentRegisters,
    /// No such encoding.
    #[error("{0}")]
    Encoding(Unencodable<std::convert::Infallible>),
}

/// Assembles a whole program. `helper` gives the numbers of helpers that are called by name.
///
/// # Errors
/// The first line that is wrong.
pub fn assemble(source: &str, helper: impl Fn(&str) -> Option<u32>) -> Result<Assembly, AsmError> {
    let mut parser = parse::Parser::new(&helper);
    for (index, line) in source.lines().enumerate() {
        let line_number = u32::try_from(index + 1).unwrap_or(u32::MAX);
        parser.line(line_number, line).map_err(|reason| AsmError { line: line_number, reason })?;
    }
    parser.finish()
}

impl Assembly {
    /// Puts items into slots, now that all labels are known.
    fn emit(&mut self, items: &[Item], targets: &[Target], labels: &Labels) -> Result<(), AsmError> {
        let mut pc = 0;
        for item in items {
            let line = item.line();
            let error = |reason| AsmError { line, reason };
            match *item {
                Item::Raw(slot, _) => self.push(slot, line),
                Item::Insn(insn, _) => {
                    // Until here an instruction's target is an index of `targets`.
                    let distance = |to: InsnId| {
                        let target = labels.resolve(&targets[to.index()], pc)?;
                        Some(target - i64::from(pc) - 1)
                    };
                    let (first, second) =
                        encode_one(&insn, distance, &mut Verbatim).map_err(|reason| match reason {
                            Unencodable::NoTarget(to) => {
                                error(Syntax::UnknownName(targets[to.index()].to_string()))
                            }
                            reason => error(Syntax::Encoding(reason)),
                        })?;
                    self.push(first, line);
                    if let Some(second) = second {
                        self.push(second, line);
                    }
                }
            }
            pc += item.slots();
        }
        Ok(())
    }

    fn push(&mut self, slot: Slot, line: u32) {
        self.slots.push(slot);
        self.lines.push(line);
    }
}

impl Item {
    const fn line(&self) -> u32 {
        match *self {
            Self::Raw(_, line) | Self::Insn(_, line) => line,
        }
    }
    const fn slots(&self) -> u32 {
        match self {
            Self::Raw(..) => 1,
            Self::Insn(insn, _) => slots_of(insn),
        }
    }
}

/// Where labels stand. Numeric ones may be defined many times.
#[derive(Default)]
struct Labels {
    named: HashMap<String, u32>,
    numeric: HashMap<u64, Vec<u32>>,
}

impl Labels {
    /// Slot index of a target, for a jump in slot `pc`.
    fn resolve(&self, target: &Target, pc: u32) -> Option<i64> {
        match target {
            Target::Distance(distance) => Some(i64::from(pc) + 1 + distance),
            Target::Label(name) => self.named.get(name).map(|&at| i64::from(at)),
            Target::Forward(number) => {
                self.numeric.get(number)?.iter().find(|&&at| at > pc).map(|&at| i64::from(at))
            }
            Target::Backward(number) => {
                self.numeric.get(number)?.iter().rev().find(|&&at| at <= pc).map(|&at| i64::from(at))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::round_trip::{around, each_insn};
    use crate::isa::text::{Numbers, text};
    use crate::isa::{Code, decode};

    fn no_helpers(_: &str) -> Option<u32> {
        None
    }

    fn code(source: &str) -> Code {
        let assembly = assemble(source, no_helpers).unwrap_or_else(|error| panic!("{source}: {error}"));
        decode(&assembly.slots).unwrap_or_else(|error| panic!("{source}: {error}"))
    }

    fn print(code: &Code) -> String {
        let lines = code.insns.iter().enumerate();
        lines.map(|(index, insn)| format!("{}\n", text(insn, InsnId(index as u32), &code.pcs))).collect()
    }

    #[test]
    fn every_instruction_reads_as_it_is_printed() {
        let encoded = |insn| {
            let insns = around(insn);
            let pcs = crate::isa::encode::pcs_of(&insns);
            Code { insns, pcs }
        };
        for insn in each_insn() {
            let before = encoded(insn);
            assert_eq!(code(&print(&before)), before, "{insn:?}");
        }
    }

    /// Spellings of the kernel's log, and what else is read for them.
    #[test]
    fn spellings() {
        for (kernel, others) in [
            ("w0 %= w1", &["w0%=w1"][..]),
            ("r1 += -8", &["r1 += -0x8"]),
            ("r1 s>>= 3", &[]),
            ("w1 = -1", &["w1 = 0xffffffff"]),
            ("r1 = -r1", &[]),
            ("r1 = (s32)r2", &["r1 = (s32) r2"]),
            ("r1 = be16 r1", &[]),
            ("r0 = *(u32 *)(r1 +4)", &["r0 = *(u32*)(r1 + 4)", "w0 = *(u32 *)(r1 + 0x4)"]),
            ("r0 = *(s8 *)(r1 -1)", &["r0 = *(s8 *)(r1 - 0x1)"]),
            ("*(u8 *)(r10 -1) = 7", &["*(u8 *)(r10 - 1) = 0x7"]),
            ("*(u64 *)(r10 +0) = r1", &["*(u64 *)(r10) = r1"]),
            ("lock *(u64 *)(r1 +0) += r2", &["lock *(u64 *)(r1 + 0x0) += r2"]),
            (
                "r2 = atomic64_fetch_add((u64 *)(r1 +8), r2)",
                &["r2 = atomic_fetch_add((u64 *)(r1 + 0x8), r2)"],
            ),
            ("r2 = atomic_fetch_or((u32 *)(r1 +8), r2)", &["w2 = atomic_fetch_or((u32 *)(r1 + 0x8), w2)"]),
            ("r2 = atomic64_xchg((u64 *)(r1 +0), r2)", &["r2 = xchg_64(r1 + 0x0, r2)"]),
            ("r2 = atomic_xchg((u32 *)(r1 +0), r2)", &["w2 = xchg32_32(r1 + 0x0, w2)"]),
            ("r0 = atomic64_cmpxchg((u64 *)(r1 +0), r0, r2)", &["r0 = cmpxchg_64(r1 + 0x0, r0, r2)"]),
            ("r0 = atomic_cmpxchg((u32 *)(r1 +0), r0, r2)", &["w0 = cmpxchg32_32(r1 + 0x0, w0, w2)"]),
            ("r1 = load_acquire((u16 *)(r2 +6))", &["w1 = load_acquire((u16 *)(r2 + 6))"]),
            ("store_release((u8 *)(r2 -1), r1)", &["store_release((u8 *)(r2 - 0x1), w1)"]),
            ("r1 = addr_space_cast(r2, 0, 1)", &["r1 = addr_space_cast(r2, 0x0, 0x1)"]),
            ("r0 = *(u16 *)skb[12]", &[]),
            ("r0 = *(u8 *)skb[r7 + 3]", &[]),
            ("if r1 s> 5 goto pc+1", &["if r1 s> 0x5 goto +1", "if r1 s> 5 goto 1f", "if r1 s> 5 goto end"]),
            ("if w1 != w2 goto pc+1", &["if w1 != w2 goto +0x1"]),
            ("goto pc+1", &["gotol +1", "goto end"]),
            ("may_goto pc+1", &["may_goto end"]),
            ("call 5", &["call bpf_ktime_get_ns#5"]),
            ("call pc+1", &["call end"]),
            ("callx r3", &[]),
            ("r1 = 0x123456789abcdef ll", &["r1 = 0x123456789abcdefll", "r1 = 81985529216486895 ll"]),
            ("r1 = map[0] ll", &["r1 = map[table] ll"]),
            ("r1 = map[0][0]+16 ll", &["r1 = map[table][0]+0x10 ll"]),
            ("r1 = func pc+2 ll", &["r1 = func end ll"]),
        ] {
            let expect = code(&format!("{kernel}\nexit\nexit"));
            assert_eq!(
                text(&expect.insns[0], InsnId(0), &expect.pcs).with_names(&Numbers).to_string(),
                kernel
            );
            for other in others {
                assert_eq!(code(&format!("{other} ; comment\nexit\n1: end: exit")), expect, "{other}");
            }
        }
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        for (line, message) in [
            ("r1 += w2", "operands have different widths"),
            ("r1 = -r2", "both registers must be the same"),
            ("r1 = be16 r2", "both registers must be the same"),
            ("r1 = 0xffffffff", "4294967295 does not fit into this field"),
            ("*(u64 *)(r1 +0) = 0xffffffff", "4294967295 does not fit into this field"),
            ("r1 = *(u32 *)(r2 +32768)", "32768 does not fit into this field"),
            ("w1 = 5 ll", "operands have different widths"),
            ("r11 = 5", "expected an instruction, found `r11`"),
            ("r1 ? 5", "unexpected character '?'"),
            ("goto nowhere", "unknown name `nowhere`"),
            ("call nobody", "unknown name `nobody`"),
            ("goto 1b", "unknown name `1b`"),
            ("exit exit", "expected the end of the line, found `exit`"),
            ("r1 =", "expected a value, found the end of the line"),
            ("lock *(u8 *)(r1 +0) += r2", "u8 does not fit into this field"),
            ("start: exit", "label `start` is defined twice"),
            (".raw 00", "00 does not fit into this field"),
        ] {
            let error = assemble(&format!("start:\n{line}\nexit"), no_helpers).expect_err(line);
            assert_eq!(error.to_string(), format!("line 2: {message}"), "{line}");
        }
    }

    #[test]
    fn names_are_numbered_and_called_labels_are_subprograms() {
        let source = ".map table kind=array\nr1 = map[other] ll\nr1 = map[table] ll\ncall f\ncall ktime\nexit\nf: exit";
        let assembly = assemble(source, |name| (name == "ktime").then_some(5)).expect("well-formed");
        assert_eq!(assembly.maps, ["table", "other"]);
        assert_eq!(assembly.subprograms, [("f".to_owned(), Pc(7))]);
        assert_eq!(assembly.directives[0].arguments, ["table", "kind=array"]);
        assert_eq!(assembly.lines, [2, 2, 3, 3, 4, 5, 6, 7]);
        assert_eq!(decode(&assembly.slots).expect("well-formed").insns.len(), 6);
    }

    #[test]
    fn no_text_panics() {
        let alphabet = [
            "r1", "w1", "=", "(", ")", "*", "u8", "+", "5", "ll", "goto", "1f", "[", "]", "s>", ":", "-", "é",
        ];
        let mut random = 88_172_645_463_325_252_u64;
        for _ in 0..20_000 {
            let words = (0..8).map(|_| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                alphabet[(random % alphabet.len() as u64) as usize]
            });
            let _ = assemble(&words.collect::<Vec<_>>().join(" "), no_helpers);
        }
    }
}
