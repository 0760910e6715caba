//! Lines to instructions whose targets are not resolved yet.
#![forbid(unsafe_code)]

use super::cursor::{Cursor, Parsed, expected, immediate, index_of, range, register, signed};
use super::lex::{self, Token};
use super::value::{called, holds, load, width_of};
use super::{AsmError, Assembly, Directive, Labels, Syntax};
use crate::isa::{
    AluOp, AtomicOp, Callee, CmpOp, Const64, Insn, InsnId, KfuncSlot, KsymSlot, MapSlot, Operand, Pc, Reg,
    Size, Slot, Width,
};

/// What a line puts into the program.
pub(super) enum Item {
    /// A slot as given, and its line.
    Raw(Slot, u32),
    /// An instruction, and its line. Its target is an index of [`Parser::targets`].
    Insn(Insn, u32),
}

/// Where a jump goes.
pub(super) enum Target {
    /// Slots after the next one.
    Distance(i64),
    /// A named label.
    Label(String),
    /// The next numeric label of that number.
    Forward(u64),
    /// The last numeric label of that number.
    Backward(u64),
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Distance(distance) => write!(f, "pc{distance:+}"),
            Self::Label(name) => f.write_str(name),
            Self::Forward(number) => write!(f, "{number}f"),
            Self::Backward(number) => write!(f, "{number}b"),
        }
    }
}

/// Reads lines one after the other.
pub(super) struct Parser<'h> {
    helper: &'h dyn Fn(&str) -> Option<u32>,
    assembly: Assembly,
    items: Vec<Item>,
    targets: Vec<Target>,
    /// Labels whose address is used, by index of `targets`: subprograms.
    called: Vec<usize>,
    labels: Labels,
    pc: u32,
}

impl<'h> Parser<'h> {
    pub(super) fn new(helper: &'h dyn Fn(&str) -> Option<u32>) -> Self {
        Self {
            helper,
            assembly: Assembly::default(),
            items: Vec::new(),
            targets: Vec::new(),
            called: Vec::new(),
            labels: Labels::default(),
            pc: 0,
        }
    }

    pub(super) fn finish(mut self) -> Result<Assembly, AsmError> {
        self.resolve_named_calls()?;
        for index in self.called {
            let Target::Label(name) = &self.targets[index] else { continue };
            let Some(&at) = self.labels.named.get(name) else { continue }; // `emit` reports it.
            let entry = (name.clone(), Pc(at));
            if !self.assembly.subprograms.contains(&entry) {
                self.assembly.subprograms.push(entry);
            }
        }
        self.assembly.subprograms.sort_by_key(|entry| entry.1);
        self.assembly.emit(&self.items, &self.targets, &self.labels)?;
        Ok(self.assembly)
    }

    /// `call name` is a subprogram if there is such a label, else a helper.
    fn resolve_named_calls(&mut self) -> Result<(), AsmError> {
        for item in &mut self.items {
            let Item::Insn(insn, line) = item else { continue };
            let Insn::Call(Callee::Subprogram(to)) = *insn else { continue };
            let Target::Label(name) = &self.targets[to.index()] else { continue };
            if !self.labels.named.contains_key(name) {
                let unknown = || AsmError { line: *line, reason: Syntax::UnknownName(name.clone()) };
                *insn = Insn::Call(Callee::Helper((self.helper)(name).ok_or_else(unknown)?));
            }
        }
        Ok(())
    }

    pub(super) fn line(&mut self, number: u32, line: &str) -> Parsed<()> {
        let line = lex::without_comment(line).trim();
        if line.starts_with('#') {
            return Ok(());
        }
        if let Some(directive) = line.strip_prefix('.')
            && !line.contains(':')
        {
            return self.directive(number, directive);
        }
        let tokens = lex::tokens(line).map_err(Syntax::Character)?;
        let mut tokens = Cursor { rest: &tokens };
        while let [Token::Word(_) | Token::Number(_), Token::Sign(":"), ..] = tokens.rest {
            self.label(&mut tokens)?;
        }
        if tokens.rest.is_empty() {
            return Ok(());
        }
        let insn = self.insn(&mut tokens)?;
        tokens.end()?;
        self.push(Item::Insn(insn, number));
        Ok(())
    }

    fn push(&mut self, item: Item) {
        self.pc += item.slots();
        self.items.push(item);
    }

    fn directive(&mut self, line: u32, text: &str) -> Parsed<()> {
        let mut words = text.split_whitespace().map(str::to_owned);
        let name = words.next().unwrap_or_default();
        let arguments: Vec<_> = words.collect();
        match name.as_str() {
            "raw" => {
                for byte_string in arguments {
                    let slot = raw_slot(&byte_string).ok_or(Syntax::Range(byte_string))?;
                    self.push(Item::Raw(slot, line));
                }
                return Ok(());
            }
            "map" => {
                if let Some(map) = arguments.first() {
                    index_of(&mut self.assembly.maps, map);
                }
            }
            _ => {}
        }
        self.assembly.directives.push(Directive { line, name, arguments });
        Ok(())
    }

    fn label(&mut self, tokens: &mut Cursor<'_, '_>) -> Parsed<()> {
        match tokens.rest[0] {
            Token::Word(name) => {
                if self.labels.named.insert(name.to_owned(), self.pc).is_some() {
                    return Err(Syntax::DuplicateLabel(name.to_owned()));
                }
                self.assembly.labels.push((name.to_owned(), Pc(self.pc)));
            }
            Token::Number(spelling) => {
                let number = lex::number(spelling).ok_or_else(|| Syntax::Range(spelling.to_owned()))?;
                self.labels.numeric.entry(number).or_default().push(self.pc);
            }
            Token::Sign(_) => {}
        }
        tokens.rest = &tokens.rest[2..];
        Ok(())
    }

    fn target(&mut self, tokens: &mut Cursor<'_, '_>) -> Parsed<InsnId> {
        let target = match tokens.next() {
            Some(Token::Word("pc")) => {
                let sign = tokens.next();
                Target::Distance(tokens.distance(sign)?)
            }
            sign @ Some(Token::Sign("+" | "-")) => Target::Distance(tokens.distance(sign)?),
            Some(Token::Word(name)) => Target::Label(name.to_owned()),
            Some(Token::Number(spelling)) => {
                let direction = spelling.len() - 1;
                let number = lex::number(spelling.get(..direction).unwrap_or_default());
                match (number, spelling.get(direction..)) {
                    (Some(number), Some("f")) => Target::Forward(number),
                    (Some(number), Some("b")) => Target::Backward(number),
                    _ => return Err(expected("a target", Some(Token::Number(spelling)))),
                }
            }
            other => return Err(expected("a target", other)),
        };
        self.targets.push(target);
        Ok(InsnId((self.targets.len() - 1) as u32)) // Fewer than there are lines.
    }

    fn insn(&mut self, tokens: &mut Cursor<'_, '_>) -> Parsed<Insn> {
        match tokens.next() {
            Some(Token::Word("exit")) => Ok(Insn::Exit),
            Some(Token::Word("goto" | "gotol")) => Ok(Insn::Jump { to: self.target(tokens)? }),
            Some(Token::Word("may_goto")) => Ok(Insn::MayGoto { to: self.target(tokens)? }),
            Some(Token::Word("if")) => self.branch(tokens),
            Some(Token::Word("call")) => self.call(tokens),
            Some(Token::Word("callx")) => Ok(Insn::Call(Callee::Register(tokens.reg()?))),
            Some(Token::Word("lock")) => {
                tokens.sign("*")?;
                let (size, base, off) = tokens.memory()?;
                let op = match tokens.next() {
                    Some(Token::Sign("+=")) => AtomicOp::Add,
                    Some(Token::Sign("|=")) => AtomicOp::Or,
                    Some(Token::Sign("&=")) => AtomicOp::And,
                    Some(Token::Sign("^=")) => AtomicOp::Xor,
                    other => return Err(expected("+=, |=, &= or ^=", other)),
                };
                let src = tokens.any_reg()?.1;
                Ok(Insn::Atomic { op, fetch: false, width: width_of(size)?, base, off, src })
            }
            Some(Token::Sign("*")) => {
                let (size, base, off) = tokens.memory()?;
                tokens.sign("=")?;
                let src = match tokens.try_reg() {
                    Some((width, reg)) => {
                        holds(width, size)?;
                        Operand::Reg(reg)
                    }
                    None if size == Size::DW => Operand::Imm(tokens.imm(Width::W64)?),
                    None => Operand::Imm(tokens.imm(Width::W32)?),
                };
                Ok(Insn::Store { size, base, off, src })
            }
            Some(Token::Word("store_release")) => {
                tokens.sign("(")?;
                let (size, base, off) = tokens.memory()?;
                tokens.sign(",")?;
                let (width, src) = tokens.any_reg()?;
                holds(width, size)?;
                tokens.sign(")")?;
                Ok(Insn::StoreRelease { size, base, off, src })
            }
            first @ Some(Token::Word(word)) => {
                let (width, dst) = register(word).ok_or_else(|| expected("an instruction", first))?;
                self.assignment(tokens, width, dst)
            }
            other => Err(expected("an instruction", other)),
        }
    }

    fn branch(&mut self, tokens: &mut Cursor<'_, '_>) -> Parsed<Insn> {
        let (width, lhs) = tokens.any_reg()?;
        let op = match tokens.next() {
            Some(Token::Sign("==")) => CmpOp::Eq,
            Some(Token::Sign("!=")) => CmpOp::Ne,
            Some(Token::Sign("&")) => CmpOp::Set,
            Some(Token::Sign(">")) => CmpOp::Gt,
            Some(Token::Sign(">=")) => CmpOp::Ge,
            Some(Token::Sign("<")) => CmpOp::Lt,
            Some(Token::Sign("<=")) => CmpOp::Le,
            Some(Token::Sign("s>")) => CmpOp::SGt,
            Some(Token::Sign("s>=")) => CmpOp::SGe,
            Some(Token::Sign("s<")) => CmpOp::SLt,
            Some(Token::Sign("s<=")) => CmpOp::SLe,
            other => return Err(expected("a comparison", other)),
        };
        let rhs = tokens.operand(width)?;
        match tokens.next() {
            Some(Token::Word("goto")) => {}
            other => return Err(expected("`goto`", other)),
        }
        Ok(Insn::Branch { op, width, lhs, rhs, to: self.target(tokens)? })
    }

    fn call(&mut self, tokens: &mut Cursor<'_, '_>) -> Parsed<Insn> {
        let callee = match tokens.rest {
            [Token::Word("kfunc"), Token::Sign("["), ..] => {
                tokens.next();
                let kfunc = KfuncSlot(tokens.bracketed(&mut self.assembly.kfuncs)?);
                let module = if let Some(Token::Word("module")) = tokens.rest.first() {
                    tokens.next();
                    let negative = tokens.eat("-");
                    let magnitude = tokens.number()?;
                    signed(negative, magnitude, i16::try_from)?
                } else {
                    0
                };
                Callee::Kfunc { kfunc, module }
            }
            // The name is a comment to the number.
            [Token::Word(_), Token::Sign("#"), ..] => {
                tokens.rest = &tokens.rest[2..];
                Callee::Helper(tokens.number_u32()?)
            }
            [Token::Number(_), ..] => Callee::Helper(tokens.number_u32()?),
            _ => {
                let to = self.target(tokens)?;
                self.called.push(to.index());
                Callee::Subprogram(to)
            }
        };
        Ok(Insn::Call(callee))
    }

    /// What stands after the destination register.
    fn assignment(&mut self, tokens: &mut Cursor<'_, '_>, width: Width, dst: Reg) -> Parsed<Insn> {
        let op = match tokens.next() {
            Some(Token::Sign("=")) => return self.value(tokens, width, dst),
            Some(Token::Sign("+=")) => AluOp::Add,
            Some(Token::Sign("-=")) => AluOp::Sub,
            Some(Token::Sign("*=")) => AluOp::Mul,
            Some(Token::Sign("/=")) => AluOp::Div,
            Some(Token::Sign("s/=")) => AluOp::SDiv,
            Some(Token::Sign("%=")) => AluOp::Mod,
            Some(Token::Sign("s%=")) => AluOp::SMod,
            Some(Token::Sign("|=")) => AluOp::Or,
            Some(Token::Sign("&=")) => AluOp::And,
            Some(Token::Sign("^=")) => AluOp::Xor,
            Some(Token::Sign("<<=")) => AluOp::Lsh,
            Some(Token::Sign(">>=")) => AluOp::Rsh,
            Some(Token::Sign("s>>=")) => AluOp::Arsh,
            other => return Err(expected("an assignment", other)),
        };
        Ok(Insn::Alu { op, width, dst, src: tokens.operand(width)? })
    }

    /// What stands after `dst =`.
    fn value(&mut self, tokens: &mut Cursor<'_, '_>, width: Width, dst: Reg) -> Parsed<Insn> {
        match tokens.rest {
            [Token::Sign("-"), Token::Word(word), ..] => {
                let same = register(word) == Some((width, dst));
                tokens.rest = &tokens.rest[2..];
                if !same {
                    return Err(Syntax::DifferentRegisters);
                }
                Ok(Insn::Alu { op: AluOp::Neg, width, dst, src: Operand::Imm(0) })
            }
            [Token::Sign("("), Token::Word(kind), Token::Sign(")"), ..] => {
                let op = match *kind {
                    "s8" => AluOp::MovSx8,
                    "s16" => AluOp::MovSx16,
                    "s32" => AluOp::MovSx32,
                    _ => return Err(expected("s8, s16 or s32", Some(Token::Word(kind)))),
                };
                tokens.rest = &tokens.rest[3..];
                let src = tokens.operand(width)?;
                Ok(Insn::Alu { op, width, dst, src })
            }
            [Token::Sign("*"), ..] => {
                tokens.next();
                load(tokens, width, dst)
            }
            [Token::Word(word), ..] if register(word).is_some() => {
                Ok(Insn::Alu { op: AluOp::Mov, width, dst, src: tokens.operand(width)? })
            }
            [Token::Word("map" | "ksym" | "func"), ..] => {
                holds(width, Size::DW)?;
                let value = self.reference(tokens)?;
                tokens.word("ll")?;
                Ok(Insn::Const { dst, value })
            }
            [Token::Word(_), ..] => called(tokens, width, dst),
            [Token::Number(_), ..] | [Token::Sign("-"), Token::Number(_), ..] => {
                let negative = tokens.eat("-");
                let Some(Token::Number(spelling)) = tokens.next() else {
                    return Err(expected("a number", None));
                };
                let digits = spelling.strip_suffix("ll");
                let magnitude = lex::number(digits.unwrap_or(spelling)).ok_or_else(|| range(spelling))?;
                if digits.is_some() || tokens.eat_word("ll") {
                    holds(width, Size::DW)?;
                    let value = if negative { magnitude.wrapping_neg() } else { magnitude };
                    return Ok(Insn::Const { dst, value: Const64::Imm(value) });
                }
                let src = Operand::Imm(immediate(width, negative, magnitude)?);
                Ok(Insn::Alu { op: AluOp::Mov, width, dst, src })
            }
            other => Err(expected("a value", other.first().copied())),
        }
    }

    /// A symbolic wide immediate.
    fn reference(&mut self, tokens: &mut Cursor<'_, '_>) -> Parsed<Const64> {
        match tokens.next() {
            Some(Token::Word("func")) => {
                let to = self.target(tokens)?;
                self.called.push(to.index());
                Ok(Const64::Function(to))
            }
            Some(Token::Word("ksym")) => {
                Ok(Const64::Ksym(KsymSlot(tokens.bracketed(&mut self.assembly.ksyms)?)))
            }
            Some(Token::Word("map")) => {
                let by_index = matches!(tokens.rest, [_, Token::Word("idx"), Token::Sign(":"), ..]);
                let map = if by_index {
                    tokens.rest = &tokens.rest[3..];
                    let map = MapSlot(tokens.number_u32()?);
                    tokens.sign("]")?;
                    map
                } else {
                    MapSlot(tokens.bracketed(&mut self.assembly.maps)?)
                };
                let [Token::Sign("["), Token::Number("0"), Token::Sign("]"), ..] = tokens.rest else {
                    return Ok(if by_index { Const64::MapIndex(map) } else { Const64::Map(map) });
                };
                tokens.rest = &tokens.rest[3..];
                tokens.sign("+")?;
                let offset = tokens.number_u32()?;
                Ok(if by_index {
                    Const64::MapIndexValue(map, offset)
                } else {
                    Const64::MapValue(map, offset)
                })
            }
            other => Err(expected("a reference", other)),
        }
    }
}

fn raw_slot(bytes: &str) -> Option<Slot> {
    let value = u64::from_str_radix(bytes, 16).ok().filter(|_| bytes.len() == 16)?;
    Some(Slot(value.to_be_bytes()))
}
