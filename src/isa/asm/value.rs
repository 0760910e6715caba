//! What may stand to the right of `dst =`, apart from plain operands: loads, atomics, casts, byte orders.
#![forbid(unsafe_code)]

use super::Syntax;
use super::cursor::{Cursor, Parsed, expected, range, signed};
use super::lex::Token;
use crate::isa::{AddrSpace, AtomicOp, ByteOrder, Insn, Reg, Sign, Size, Width};

/// `dst = *…`: what follows the star.
pub(super) fn load(tokens: &mut Cursor<'_, '_>, width: Width, dst: Reg) -> Parsed<Insn> {
    let (size, sign) = tokens.pointer_type()?;
    if tokens.eat_word("skb") {
        if sign == Sign::Signed || dst != Reg::R0 {
            return Err(expected("`r0 = *(u…", None));
        }
        tokens.sign("[")?;
        let index = tokens.try_reg().map(|(_, reg)| reg);
        let negative = match index {
            Some(_) => tokens.distance_sign()?,
            None => tokens.eat("-"),
        };
        let negative = negative ^ (index.is_some() && tokens.eat("-"));
        let magnitude = tokens.number()?;
        let off = signed(negative, magnitude, i32::try_from)?;
        tokens.sign("]")?;
        return Ok(Insn::LegacyPacket { size, index, off });
    }
    holds(width, if sign == Sign::Signed { Size::DW } else { size })?;
    let (base, off) = tokens.address()?;
    Ok(Insn::Load { size, sign, dst, base, off })
}

/// `dst = name(…)` and `dst = be16 dst`.
pub(super) fn called(tokens: &mut Cursor<'_, '_>, width: Width, dst: Reg) -> Parsed<Insn> {
    let Some(Token::Word(name)) = tokens.next() else { return Err(expected("a value", None)) };
    if let Some((order, size)) = byte_order(name) {
        holds(width, Size::DW)?;
        return if tokens.reg()? == dst {
            Ok(Insn::Swap { order, size, dst })
        } else {
            Err(Syntax::DifferentRegisters)
        };
    }
    tokens.sign("(")?;
    let insn = match name {
        "load_acquire" => {
            let (size, base, off) = tokens.memory()?;
            holds(width, size)?;
            Insn::LoadAcquire { size, dst, base, off }
        }
        "addr_space_cast" => {
            holds(width, Size::DW)?;
            let src = tokens.reg()?;
            tokens.sign(",")?;
            let to = tokens.number()?;
            tokens.sign(",")?;
            match (to, tokens.number()?) {
                (0, 1) => Insn::AddrSpaceCast { dst, src, to: AddrSpace::Kernel },
                (1, 0) => Insn::AddrSpaceCast { dst, src, to: AddrSpace::Arena },
                (_, from) => return Err(range(&from.to_string())),
            }
        }
        _ => atomic(tokens, name, width, dst)?,
    };
    tokens.sign(")")?;
    Ok(insn)
}

/// `dst = atomic64_fetch_add((u64 *)(r1 +0), dst)` and LLVM's `dst = xchg_64(r1 + 0, dst)`.
fn atomic(tokens: &mut Cursor<'_, '_>, name: &str, width: Width, dst: Reg) -> Parsed<Insn> {
    let (op, llvm) = match name.strip_prefix("atomic64_").or_else(|| name.strip_prefix("atomic_")) {
        Some("fetch_add") => (AtomicOp::Add, None),
        Some("fetch_or") => (AtomicOp::Or, None),
        Some("fetch_and") => (AtomicOp::And, None),
        Some("fetch_xor") => (AtomicOp::Xor, None),
        Some("xchg") => (AtomicOp::Xchg, None),
        Some("cmpxchg") => (AtomicOp::CmpXchg, None),
        None if name == "xchg_64" => (AtomicOp::Xchg, Some(Size::DW)),
        None if name == "xchg32_32" => (AtomicOp::Xchg, Some(Size::W)),
        None if name == "cmpxchg_64" => (AtomicOp::CmpXchg, Some(Size::DW)),
        None if name == "cmpxchg32_32" => (AtomicOp::CmpXchg, Some(Size::W)),
        Some(_) | None => return Err(Syntax::UnknownName(name.to_owned())),
    };
    let (size, base, off) = match llvm {
        Some(size) => {
            let (base, off) = tokens.base_and_offset()?;
            (size, base, off)
        }
        None => tokens.memory()?,
    };
    let memory = width_of(size)?;
    if name.starts_with("atomic64_") && memory == Width::W32 || width == Width::W32 && memory == Width::W64 {
        return Err(Syntax::Widths);
    }
    tokens.sign(",")?;
    let mut src = tokens.any_reg()?.1;
    let result = if op == AtomicOp::CmpXchg {
        if src != Reg::R0 {
            return Err(Syntax::DifferentRegisters);
        }
        tokens.sign(",")?;
        src = tokens.any_reg()?.1;
        Reg::R0
    } else {
        src
    };
    if result != dst {
        return Err(Syntax::DifferentRegisters);
    }
    Ok(Insn::Atomic { op, fetch: true, width: memory, base, off, src })
}

fn byte_order(name: &str) -> Option<(ByteOrder, Size)> {
    let digits = name.find(|c: char| c.is_ascii_digit())?;
    let order = match &name[..digits] {
        "le" => ByteOrder::Little,
        "be" => ByteOrder::Big,
        "bswap" => ByteOrder::Swap,
        _ => return None,
    };
    let size = match &name[digits..] {
        "16" => Size::H,
        "32" => Size::W,
        "64" => Size::DW,
        _ => return None,
    };
    Some((order, size))
}

pub(super) fn width_of(size: Size) -> Parsed<Width> {
    match size {
        Size::W => Ok(Width::W32),
        Size::DW => Ok(Width::W64),
        Size::B | Size::H => Err(Syntax::Range(format!("u{}", size.bits()))),
    }
}

/// LLVM writes `w1` where an instruction uses the low half of a register, but never for eight bytes.
pub(super) fn holds(width: Width, size: Size) -> Parsed<()> {
    match (width, size) {
        (Width::W32, Size::DW) => Err(Syntax::Widths),
        (Width::W32, Size::B | Size::H | Size::W) | (Width::W64, _) => Ok(()),
    }
}
