//! Arithmetic: what is known of results decides whether an access is inside its value.
//!
//! The generator computes along, as far as it is sure: whole numbers, and the bits that bit operations leave known.

use beelift::isa::semantics::{Concrete, alu, compare};
use beelift::isa::{AluOp, CmpOp, Insn, Operand, Reg, Size, Width};

use crate::generator::VALUE;
use crate::generator::code::{CTX, Code};
use crate::generator::scalars::{BASE, NUMBERS, TEMP};

/// A number as far as it is known.
#[derive(Clone, Copy)]
struct Known {
    value: u64,
    unknown: u64,
}

const NOTHING: Known = Known { value: 0, unknown: u64::MAX };

impl Known {
    const fn exactly(value: u64) -> Self {
        Self { value, unknown: 0 }
    }
    const fn low_half(self) -> Self {
        Self { value: self.value as u32 as u64, unknown: self.unknown as u32 as u64 }
    }
}

/// Numbers as the generator knows them.
struct Numbers([Known; Reg::COUNT]);

impl Numbers {
    fn operand(&self, operand: Operand) -> Known {
        match operand {
            Operand::Reg(reg) => self.0[reg.index()],
            Operand::Imm(imm) => Known::exactly(imm.cast_unsigned()),
        }
    }

    fn after(&self, op: AluOp, width: Width, dst: Reg, src: Operand) -> Known {
        let (mut a, mut b) = (self.0[dst.index()], self.operand(src));
        // Of these the verifiers prove nothing.
        if matches!(op, AluOp::Div | AluOp::Mod | AluOp::SDiv | AluOp::SMod) {
            return NOTHING;
        }
        if (a.unknown == 0 || !op.reads_dst()) && b.unknown == 0 {
            return Known::exactly(alu(&mut Concrete, op, width, a.value, b.value));
        }
        if width == Width::W32 {
            (a, b) = (a.low_half(), b.low_half());
        }
        let known = |value: u64, unknown: u64| Known { value: value & !unknown, unknown };
        match op {
            AluOp::And => known(
                a.value & b.value,
                (a.unknown | b.unknown) & (a.value | a.unknown) & (b.value | b.unknown),
            ),
            AluOp::Or => known(a.value | b.value, (a.unknown | b.unknown) & !(a.value | b.value)),
            AluOp::Xor => known(a.value ^ b.value, a.unknown | b.unknown),
            AluOp::Mov => b,
            AluOp::Lsh if b.unknown == 0 => {
                let by = b.value as u32 % width.bits();
                let shifted = known(a.value << by, a.unknown << by);
                if width == Width::W32 { shifted.low_half() } else { shifted }
            }
            AluOp::Rsh if b.unknown == 0 => {
                let by = b.value as u32 % width.bits();
                known(a.value >> by, a.unknown >> by)
            }
            _ if width == Width::W32 => NOTHING.low_half(),
            _ => NOTHING,
        }
    }
}

pub(crate) fn program(code: &mut Code) {
    code.mov(CTX, Reg::R1);
    let mut numbers = Numbers([NOTHING; Reg::COUNT]);
    for _ in 0..2 + code.rng.below(4) {
        start(code, &mut numbers);
    }
    for _ in 0..2 + code.rng.below(10) {
        step(code, &mut numbers, true);
    }
    let known: Vec<Reg> = code.numbers.iter().filter(|reg| numbers.0[reg.index()].unknown == 0).collect();
    let window = code.numbers.iter().find_map(|reg| {
        let known = numbers.0[reg.index()];
        let at = code.rng.below(58);
        (known.unknown >> at & 63 == 0).then_some((reg, at, known.value >> at & 63))
    });
    match window {
        _ if !known.is_empty() && code.rng.chance(60) => {
            let reg = code.rng.pick(&known);
            exact_access(code, reg, numbers.0[reg.index()].value);
        }
        Some((reg, at, value)) => {
            code.mov(TEMP, reg);
            code.alu_imm(AluOp::Rsh, TEMP, i64::from(at));
            code.alu_imm(AluOp::And, TEMP, 63);
            exact_rest(code, value);
        }
        None => {
            let reg = code.number();
            code.fill_stack();
            code.checked_access(reg);
        }
    }
    code.epilogue();
}

fn start(code: &mut Code, numbers: &mut Numbers) {
    let dst = code.rng.pick(&NUMBERS);
    if code.rng.chance(50) {
        let value = code.rng.interesting();
        code.set(dst, value);
        numbers.0[dst.index()] = Known::exactly(value);
        return;
    }
    code.unknown(dst);
    numbers.0[dst.index()] = NOTHING;
    if code.rng.chance(50) {
        for op in [AluOp::And, AluOp::Or] {
            let imm = code.imm();
            let width = code.width();
            numbers.0[dst.index()] = numbers.after(op, width, dst, Operand::Imm(imm));
            code.alu(op, width, dst, Operand::Imm(imm));
        }
    }
}

fn step(code: &mut Code, numbers: &mut Numbers, branches: bool) {
    match code.rng.below(12) {
        0 | 1 if branches => branch(code, numbers),
        2 => {
            let dst = code.number();
            code.swap(dst);
            numbers.0[dst.index()] = NOTHING;
        }
        _ => {
            let dst = code.number();
            code.arithmetic(dst);
            let Some(&Insn::Alu { op, width, dst, src }) = code.insns.last() else {
                unreachable!("arithmetic was appended")
            };
            numbers.0[dst.index()] = numbers.after(op, width, dst, src);
        }
    }
}

/// A branch that is decided, with a bad access on the way that is not taken; or one that is not decided.
fn branch(code: &mut Code, numbers: &mut Numbers) {
    let (op, width, lhs) = (code.rng.pick(&CmpOp::ALL), code.width(), code.number());
    let left = numbers.0[lhs.index()];
    let rhs = if left.unknown == 0 && code.rng.chance(50) {
        let near = left.value.wrapping_add(code.rng.bits() % 3).wrapping_sub(1);
        Operand::Imm(i64::from(near as u32 as i32))
    } else {
        code.operand()
    };
    let right = numbers.operand(rhs);
    let over = code.branch(op, width, lhs, rhs);
    if left.unknown == 0 && right.unknown == 0 {
        let taken = compare(&mut Concrete, op, width, left.value, right.value);
        if taken != code.flawed(30) {
            let number = code.number();
            code.load(Size::W, beelift::isa::Sign::Zero, BASE, number, 0);
            code.numbers.remove(BASE);
        } else {
            step(code, numbers, false);
        }
        code.land(over);
        return;
    }
    let before = numbers.0;
    step(code, numbers, false);
    code.land(over);
    for (now, before) in numbers.0.iter_mut().zip(before) {
        let differ = (now.value ^ before.value) | now.unknown | before.unknown;
        *now = Known { value: now.value & !differ, unknown: differ };
    }
}

/// The difference from what the number must be is an offset: zero, or it is wrong.
fn exact_access(code: &mut Code, reg: Reg, value: u64) {
    code.mov(TEMP, reg);
    exact_rest(code, value);
}

fn exact_rest(code: &mut Code, value: u64) {
    let size = code.size();
    let off = code.rng.below(VALUE - size.bytes() + 1);
    let wrong = if code.flawed(70) { 1 + code.rng.bits() % u64::from(VALUE) } else { 0 };
    let expected = value.wrapping_sub(wrong);
    match i32::try_from(expected.cast_signed()) {
        Ok(small) => code.alu_imm(AluOp::Sub, TEMP, i64::from(small)),
        Err(_) => {
            code.set(BASE, expected);
            code.alu_reg(AluOp::Sub, TEMP, BASE);
        }
    }
    code.value_access_at(size, TEMP, off as i16);
}
