//! The stack: numbers and pointers spilled, filled, partly overwritten, found at offsets that vary.

use beelift::isa::{AluOp, Operand, Reg, Sign, Size};

use crate::generator::code::{CTX, Code};
use crate::generator::scalars::{BASE, FILLED, NUMBERS, TEMP};
use crate::generator::{VALUE, slot};

/// Slots for pointers, away from the filled bytes.
const POINTERS: i16 = -64;

pub(crate) fn program(code: &mut Code) {
    code.mov(CTX, Reg::R1);
    code.some_numbers(&NUMBERS, 3);
    code.fill_stack();
    for _ in 0..2 + code.rng.below(5) {
        match code.rng.below(12) {
            0..=2 => part(code),
            3..=5 => spilled_number(code),
            6 | 7 => spilled_pointer(code),
            8 | 9 => varying(code),
            10 => key(code),
            _ => {
                let reg = code.number();
                code.arithmetic(reg);
            }
        }
    }
    if code.rng.chance(60) {
        spilled_number(code);
    }
    code.epilogue();
}

fn place(code: &mut Code, size: Size) -> i16 {
    let slots = u32::from(FILLED.unsigned_abs()) / size.bytes();
    FILLED + (code.rng.below(slots) * size.bytes()) as i16
}

/// A part of a slot is stored or loaded.
fn part(code: &mut Code) {
    let size = code.size();
    let off = place(code, size);
    if code.rng.chance(50) {
        let src = code.operand();
        code.store(size, Reg::R10, off, src);
    } else {
        let sign = if size != Size::DW && code.rng.chance(30) { Sign::Signed } else { Sign::Zero };
        let dst = code.rng.pick(&NUMBERS);
        code.load(size, sign, dst, Reg::R10, off);
    }
}

/// A bounded number goes to the stack, all or a part comes back and is an offset.
fn spilled_number(code: &mut Code) {
    let access = code.size();
    let most = VALUE - access.bytes();
    let number = code.number();
    code.mov(TEMP, number);
    let early = code.rng.chance(60);
    if early {
        code.bound(TEMP, most);
    }
    let size = code.rng.pick(&[Size::DW, Size::DW, Size::W, Size::H]);
    let off = place(code, Size::DW);
    code.store(size, Reg::R10, off, Operand::Reg(TEMP));
    let mut sure = early;
    if code.flawed(40) || code.rng.chance(10) {
        sure = false;
        let part = code.size();
        let at = off + (code.rng.below(8 / part.bytes()) * part.bytes()) as i16;
        let src = code.operand();
        code.store(part, Reg::R10, at, src);
    }
    if code.rng.chance(30) {
        sure = false;
        part(code);
    }
    if !early {
        // What is learned of the register holds for its copy, too.
        code.bound(TEMP, most);
    }
    let fill = if code.rng.chance(70) { size } else { code.rng.pick(&[Size::W, Size::H, Size::B]) };
    let fill = if fill.bytes() > size.bytes() { size } else { fill };
    code.load(fill, Sign::Zero, TEMP, Reg::R10, off);
    // Whether the linked copy, or a part of it, has the bound as well, the verifiers must know.
    if !sure && !code.rng.chance(30) {
        code.bound(TEMP, most);
    }
    code.value_access_at(access, TEMP, 0);
    if code.numbers.contains(TEMP) {
        code.numbers.remove(TEMP);
    }
}

/// A pointer goes to the stack and comes back; now and then something is written over a part of it.
fn spilled_pointer(code: &mut Code) {
    let off = POINTERS + 8 * code.rng.below(4) as i16;
    let kind = code.rng.below(3);
    match kind {
        0 => code.global(BASE, 0),
        1 => code.stack_pointer(BASE, FILLED),
        _ => code.mov(BASE, CTX),
    }
    code.store(Size::DW, Reg::R10, off, Operand::Reg(BASE));
    if code.flawed(40) {
        let part = code.size();
        let at = off + (code.rng.below(8 / part.bytes()) * part.bytes()) as i16;
        let src = code.operand();
        code.store(part, Reg::R10, at, src);
    }
    if code.rng.chance(30) {
        varying(code);
    }
    let size = if code.flawed(20) { Size::W } else { Size::DW };
    code.load_pointer(size, BASE, Reg::R10, off);
    match kind {
        2 => {
            let dst = code.rng.pick(&NUMBERS);
            code.load(Size::DW, Sign::Zero, dst, BASE, 8);
        }
        1 => {
            let size = code.size();
            let off = place(code, size) - FILLED;
            code.touch(size, BASE, off);
        }
        _ => {
            let size = code.size();
            let off = code.rng.below(VALUE - size.bytes() + 1) as i16;
            code.touch(size, BASE, off);
        }
    }
}

/// An access at an offset that varies, over all filled bytes or one slot of them, or past them.
fn varying(code: &mut Code) {
    let size = code.rng.pick(&[Size::B, Size::B, Size::H, Size::W, Size::DW]);
    let slots = u32::from(FILLED.unsigned_abs()) / size.bytes();
    let number = code.number();
    code.mov(TEMP, number);
    code.bound(TEMP, slots - 1);
    code.stack_access_at(size, TEMP);
}

/// A key on the stack, and the element of that key.
fn key(code: &mut Code) {
    let off = FILLED + 4 * code.rng.below(8) as i16;
    if code.rng.chance(50) {
        let index = i64::from(code.rng.below(5));
        code.store(Size::W, Reg::R10, off, Operand::Imm(index));
    }
    code.lookup(slot::ARRAY, off);
    if !code.flawed(30) {
        code.exit_if_zero(Reg::R0);
    }
    code.mov(BASE, Reg::R0);
    let size = code.size();
    let off = code.rng.below(VALUE - size.bytes() + 1) as i16;
    code.load(size, Sign::Zero, Reg::R0, BASE, off);
    code.alu_imm(AluOp::Add, Reg::R0, 1);
    for reg in [Reg::R7, Reg::R8] {
        if !code.numbers.contains(reg) {
            code.unknown(reg);
        }
    }
}
