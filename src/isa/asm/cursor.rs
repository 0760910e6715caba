//! The tokens of a line, read from left to right, and the operands that all instructions share.
#![forbid(unsafe_code)]

use super::Syntax;
use super::lex::{self, Token};
use crate::isa::{Operand, Reg, Sign, Size, Width};

pub(super) type Parsed<T> = Result<T, Syntax>;

/// What is left of a line.
pub(super) struct Cursor<'t, 's> {
    pub(super) rest: &'t [Token<'s>],
}

impl<'s> Cursor<'_, 's> {
    pub(super) fn next(&mut self) -> Option<Token<'s>> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }
    pub(super) fn end(&self) -> Parsed<()> {
        match self.rest.first() {
            None => Ok(()),
            found => Err(expected("the end of the line", found.copied())),
        }
    }
    pub(super) fn eat(&mut self, sign: &str) -> bool {
        let found = matches!(self.rest.first(), Some(Token::Sign(found)) if *found == sign);
        if found {
            self.next();
        }
        found
    }
    pub(super) fn eat_word(&mut self, word: &str) -> bool {
        let found = matches!(self.rest.first(), Some(Token::Word(found)) if *found == word);
        if found {
            self.next();
        }
        found
    }
    pub(super) fn sign(&mut self, sign: &'static str) -> Parsed<()> {
        if self.eat(sign) { Ok(()) } else { Err(expected(sign, self.rest.first().copied())) }
    }
    pub(super) fn word(&mut self, word: &'static str) -> Parsed<()> {
        if self.eat_word(word) { Ok(()) } else { Err(expected(word, self.rest.first().copied())) }
    }
    pub(super) fn number(&mut self) -> Parsed<u64> {
        match self.next() {
            Some(Token::Number(spelling)) => lex::number(spelling).ok_or_else(|| range(spelling)),
            other => Err(expected("a number", other)),
        }
    }
    pub(super) fn number_u32(&mut self) -> Parsed<u32> {
        let number = self.number()?;
        u32::try_from(number).map_err(|_| range(&number.to_string()))
    }
    /// `+` or `-`: whether it is minus.
    pub(super) fn distance_sign(&mut self) -> Parsed<bool> {
        match self.next() {
            Some(Token::Sign("+")) => Ok(false),
            Some(Token::Sign("-")) => Ok(true),
            other => Err(expected("+ or -", other)),
        }
    }
    pub(super) fn distance(&mut self, sign: Option<Token<'s>>) -> Parsed<i64> {
        let negative = match sign {
            Some(Token::Sign("+")) => false,
            Some(Token::Sign("-")) => true,
            other => return Err(expected("+ or -", other)),
        };
        let magnitude = self.number()?;
        signed(negative, magnitude, i32::try_from).map(i64::from)
    }
    pub(super) fn try_reg(&mut self) -> Option<(Width, Reg)> {
        let Some(Token::Word(word)) = self.rest.first() else { return None };
        let found = register(word)?;
        self.next();
        Some(found)
    }
    /// `r1` or `w1`.
    pub(super) fn any_reg(&mut self) -> Parsed<(Width, Reg)> {
        self.try_reg().ok_or_else(|| expected("a register", self.rest.first().copied()))
    }
    /// `r1`.
    pub(super) fn reg(&mut self) -> Parsed<Reg> {
        match self.any_reg()? {
            (Width::W64, reg) => Ok(reg),
            (Width::W32, _) => Err(Syntax::Widths),
        }
    }
    pub(super) fn imm(&mut self, width: Width) -> Parsed<i64> {
        let negative = self.eat("-");
        let magnitude = self.number()?;
        immediate(width, negative, magnitude)
    }
    pub(super) fn operand(&mut self, width: Width) -> Parsed<Operand> {
        match self.try_reg() {
            Some((found, reg)) if found == width => Ok(Operand::Reg(reg)),
            Some(_) => Err(Syntax::Widths),
            None => Ok(Operand::Imm(self.imm(width)?)),
        }
    }
    /// `(u32 *)`.
    pub(super) fn pointer_type(&mut self) -> Parsed<(Size, Sign)> {
        self.sign("(")?;
        let (size, sign) = match self.next() {
            Some(Token::Word("u8")) => (Size::B, Sign::Zero),
            Some(Token::Word("u16")) => (Size::H, Sign::Zero),
            Some(Token::Word("u32")) => (Size::W, Sign::Zero),
            Some(Token::Word("u64")) => (Size::DW, Sign::Zero),
            Some(Token::Word("s8")) => (Size::B, Sign::Signed),
            Some(Token::Word("s16")) => (Size::H, Sign::Signed),
            Some(Token::Word("s32")) => (Size::W, Sign::Signed),
            other => return Err(expected("a type", other)),
        };
        self.sign("*")?;
        self.sign(")")?;
        Ok((size, sign))
    }
    /// `(r1 +4)`.
    pub(super) fn address(&mut self) -> Parsed<(Reg, i16)> {
        self.sign("(")?;
        let address = self.base_and_offset()?;
        self.sign(")")?;
        Ok(address)
    }
    pub(super) fn base_and_offset(&mut self) -> Parsed<(Reg, i16)> {
        let base = self.reg()?;
        if matches!(self.rest.first(), Some(Token::Sign(")" | ","))) {
            return Ok((base, 0));
        }
        let negative = self.distance_sign()?;
        let magnitude = self.number()?;
        Ok((base, signed(negative, magnitude, i16::try_from)?))
    }
    /// `(u32 *)(r1 +4)` with an unsigned type.
    pub(super) fn memory(&mut self) -> Parsed<(Size, Reg, i16)> {
        let (size, sign) = self.pointer_type()?;
        if sign == Sign::Signed {
            return Err(expected("an unsigned type", None));
        }
        let (base, off) = self.address()?;
        Ok((size, base, off))
    }
    /// `[3]` or `[name]`, where names are numbered.
    pub(super) fn bracketed(&mut self, names: &mut Vec<String>) -> Parsed<u32> {
        self.sign("[")?;
        let number = match self.rest.first() {
            Some(Token::Word(name)) => {
                let number = index_of(names, name);
                self.next();
                number
            }
            _ => self.number_u32()?,
        };
        self.sign("]")?;
        Ok(number)
    }
}

pub(super) fn register(word: &str) -> Option<(Width, Reg)> {
    let width = match word.as_bytes().first()? {
        b'r' => Width::W64,
        b'w' => Width::W32,
        _ => return None,
    };
    let number = &word[1..];
    let canonical = number == "0" || !number.starts_with('0');
    Some((width, Reg::new(number.parse().ok().filter(|_| canonical)?)?))
}

/// An immediate that is sign-extended from 32 bits. At 32 bits an unsigned spelling means the same.
pub(super) fn immediate(width: Width, negative: bool, magnitude: u64) -> Parsed<i64> {
    match (width, negative, u32::try_from(magnitude)) {
        (Width::W32, false, Ok(value)) => Ok(i64::from(value.cast_signed())),
        _ => signed(negative, magnitude, i32::try_from).map(i64::from),
    }
}

pub(super) fn signed<T, E>(
    negative: bool,
    magnitude: u64,
    narrow: impl Fn(i64) -> Result<T, E>,
) -> Parsed<T> {
    let value = if negative { 0_i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() };
    value.and_then(|value| narrow(value).ok()).ok_or_else(|| range(&magnitude.to_string()))
}

pub(super) fn range(spelling: &str) -> Syntax {
    Syntax::Range(spelling.to_owned())
}

pub(super) fn index_of(names: &mut Vec<String>, name: &str) -> u32 {
    let index = names.iter().position(|known| known == name).unwrap_or_else(|| {
        names.push(name.to_owned());
        names.len() - 1
    });
    index as u32 // Fewer than there are lines.
}

pub(super) fn expected(expected: &'static str, found: Option<Token<'_>>) -> Syntax {
    let found = match found {
        None => "the end of the line".to_owned(),
        Some(Token::Word(text) | Token::Number(text) | Token::Sign(text)) => format!("`{text}`"),
    };
    Syntax::Expected { expected, found }
}
