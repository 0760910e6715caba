//! Numbers bounded by arithmetic, branches and copies, then used as offsets.

use beelift::isa::{AluOp, CmpOp, Operand, Reg, Width};

use crate::generator::VALUE;
use crate::generator::code::{CTX, Code};
use crate::generator::scalars::{NUMBERS, TEMP};

pub(crate) fn program(code: &mut Code) {
    code.mov(CTX, Reg::R1);
    code.some_numbers(&NUMBERS, 4);
    if code.rng.chance(40) {
        code.fill_stack();
    } else {
        for off in [-32, -24, -16, -8] {
            code.store(beelift::isa::Size::DW, Reg::R10, off, Operand::Imm(0));
        }
    }
    for _ in 0..1 + code.rng.below(2) {
        for _ in 0..code.rng.below(4) {
            let reg = code.number();
            if code.rng.chance(80) { code.arithmetic(reg) } else { code.swap(reg) }
        }
        let index = code.number();
        match code.rng.below(10) {
            0..=5 => code.checked_access(index),
            6 | 7 => joined(code, index),
            8 => compared(code, index),
            _ => guessed(code, index),
        }
    }
    code.epilogue();
}

/// Two ways to a bound, which meet before the access.
fn joined(code: &mut Code, index: Reg) {
    let size = code.size();
    let room = VALUE - size.bytes();
    code.mov(TEMP, index);
    let (op, width, rhs) = (code.rng.pick(&CmpOp::ALL), code.width(), code.operand());
    let other = code.number();
    let one_way = code.branch(op, width, other, rhs);
    code.bound(TEMP, room);
    let end = code.jump();
    code.land(one_way);
    code.bound(TEMP, room);
    code.land(end);
    code.numbers.remove(TEMP);
    code.value_access_at(size, TEMP, 0);
}

/// Bounds that one number has through another one.
fn compared(code: &mut Code, index: Reg) {
    let size = code.size();
    let room = VALUE - size.bytes();
    let other = code.number();
    code.mov(TEMP, index);
    code.mov(Reg::R9, other);
    code.bound(Reg::R9, room);
    let (op, ..) = code.rng.pick(&[(CmpOp::Gt, 0), (CmpOp::Ge, 0), (CmpOp::Ne, 0), (CmpOp::SGt, 0)]);
    let width = code.width();
    code.exit_if(op, width, TEMP, Operand::Reg(Reg::R9));
    if op == CmpOp::SGt && !code.flawed(30) {
        code.exit_if(CmpOp::SLt, width, TEMP, Operand::Imm(0));
    }
    if width == Width::W32 {
        code.alu(AluOp::Mov, Width::W32, TEMP, Operand::Reg(TEMP));
    }
    code.value_access_at(size, TEMP, 0);
}

/// Whatever arithmetic on a small number gives.
fn guessed(code: &mut Code, index: Reg) {
    let size = code.size();
    code.mov(TEMP, index);
    let mask = i64::from(code.rng.below(32));
    code.alu_imm(AluOp::And, TEMP, mask);
    for _ in 0..1 + code.rng.below(3) {
        let amount = Operand::Imm(i64::from(code.rng.below(6)));
        let width = code.width();
        let op = code.rng.pick(&[
            AluOp::Add,
            AluOp::Sub,
            AluOp::Mul,
            AluOp::Or,
            AluOp::Xor,
            AluOp::Lsh,
            AluOp::Rsh,
            AluOp::Arsh,
            AluOp::Neg,
        ]);
        let amount = if op == AluOp::Neg { Operand::Imm(0) } else { amount };
        code.alu(op, width, TEMP, amount);
    }
    if code.rng.chance(50) {
        code.exit_above(Width::W64, TEMP, i64::from(VALUE - size.bytes()));
    }
    code.value_access_at(size, TEMP, 0);
}
