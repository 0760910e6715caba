//! Subprograms with numbers and pointers as arguments, loops of all kinds, callbacks.

use beelift::isa::effects::RegSet;
use beelift::isa::{AluOp, CmpOp, Insn, InsnId, Operand, Reg, Sign, Size, Width};

use crate::generator::VALUE;
use crate::generator::code::{CTX, Code};
use crate::generator::scalars::{BASE, FILLED, TEMP};

/// Numbers that calls preserve.
const KEPT: [Reg; 2] = [Reg::R7, Reg::R8];

/// What a subprogram is given.
#[derive(Clone, Copy, PartialEq)]
enum Shape {
    /// Numbers in r1 and r2; returns one.
    Numbers,
    /// A pointer to the filled stack in r1, a number in r2.
    Stack,
    /// A pointer to the value in r1, an offset in r2.
    Value,
}

pub(crate) fn program(code: &mut Code) {
    code.mov(CTX, Reg::R1);
    for reg in KEPT {
        code.unknown(reg);
    }
    code.fill_stack();
    let shapes = [
        code.rng.pick(&[Shape::Numbers, Shape::Stack, Shape::Value]),
        code.rng.pick(&[Shape::Numbers, Shape::Stack, Shape::Value]),
    ];
    let (mut called, mut calls_back) = ([false; 2], false);
    for _ in 0..1 + code.rng.below(3) {
        match code.rng.below(10) {
            0..=3 => {
                let function = code.rng.below(2) as usize;
                called[function] = true;
                call(code, function, shapes[function]);
            }
            4 | 5 => counted(code),
            6 => walked(code),
            7 => budgeted(code),
            8 => {
                calls_back = true;
                callback_loop(code);
            }
            _ => {
                let number = code.rng.pick(&KEPT);
                code.checked_access(number);
            }
        }
    }
    code.epilogue();
    for (function, shape) in shapes.into_iter().enumerate() {
        if called[function] {
            subprogram(code, function, shape);
        }
    }
    if calls_back {
        callback(code);
    }
}

/// A call, and an access that its result decides.
fn call(code: &mut Code, function: usize, shape: Shape) {
    let number = code.rng.pick(&KEPT);
    code.mov(Reg::R2, number);
    match shape {
        Shape::Numbers => {
            let other = code.rng.pick(&KEPT);
            code.mov(Reg::R1, other);
        }
        Shape::Stack => code.stack_pointer(Reg::R1, FILLED),
        Shape::Value => {
            code.global(Reg::R1, 0);
            code.bound_alone(Reg::R2, VALUE - 8);
        }
    }
    code.call(function);
    let size = code.size();
    code.mov(TEMP, Reg::R0);
    if shape == Shape::Value || code.rng.chance(50) {
        code.bound(TEMP, VALUE - size.bytes());
    }
    if shape != Shape::Stack || code.rng.chance(50) {
        code.value_access_at(size, TEMP, 0);
    }
    if code.numbers.contains(TEMP) {
        code.numbers.remove(TEMP);
    }
}

/// A function whose result is small, so that callers may use it without a bound of their own.
fn subprogram(code: &mut Code, function: usize, shape: Shape) {
    let mut given = RegSet::of(Reg::R2);
    if shape == Shape::Numbers {
        given.insert(Reg::R1);
    }
    code.begin(function, given);
    match shape {
        Shape::Numbers => {
            code.mov(Reg::R0, Reg::R1);
            for _ in 0..1 + code.rng.below(4) {
                let dst = code.rng.pick(&[Reg::R0, Reg::R1, Reg::R2]);
                code.arithmetic(dst);
            }
            code.alu_reg(AluOp::Xor, Reg::R0, Reg::R2);
        }
        Shape::Stack => {
            let size = code.size();
            let off = (code.rng.below(32 / size.bytes()) * size.bytes()) as i16;
            let past = if code.flawed(20) { 32 } else { 0 };
            code.store(size, Reg::R1, off + past, Operand::Reg(Reg::R2));
            let off = 8 * code.rng.below(4) as i16;
            code.load(Size::DW, Sign::Zero, Reg::R0, Reg::R1, off);
        }
        Shape::Value => {
            code.alu_reg(AluOp::Add, Reg::R1, Reg::R2);
            let off = if code.flawed(30) { 1 + code.rng.below(8) as i16 } else { 0 };
            code.load(Size::DW, Sign::Zero, Reg::R0, Reg::R1, off);
        }
    }
    let small = code.branch(CmpOp::Le, Width::W64, Reg::R0, Operand::Imm(i64::from(VALUE - 8)));
    let mask = i64::from(code.rng.pick(&[7_u32, 15, 31]));
    code.alu_imm(AluOp::And, Reg::R0, mask);
    code.land(small);
    code.push(Insn::Exit);
}

/// A loop of a known number of turns, whose counter is the offset of an access.
fn counted(code: &mut Code) {
    let size = code.size();
    let step = size.bytes() as i64 * i64::from(1 + code.rng.below(2));
    let room = i64::from(VALUE - size.bytes());
    let slack = if code.flawed(60) { 1 + i64::from(code.rng.below(8)) } else { 0 };
    // The last turn is at most at `room`.
    let end = 1 + i64::from(code.rng.below(VALUE - size.bytes())) + slack;
    let end = if code.flawed(40) { room + 1 + slack } else { end.min(room + 1 + slack) };
    let start = i64::from(code.rng.below(8)).min(end - 1);
    code.alu_imm(AluOp::Mov, TEMP, start);
    code.numbers.remove(BASE);
    let head = code.here();
    code.global(BASE, 0);
    code.alu_reg(AluOp::Add, BASE, TEMP);
    let number = code.rng.pick(&KEPT);
    if code.rng.chance(40) {
        code.store(size, BASE, 0, Operand::Reg(number));
    } else {
        code.load(size, Sign::Zero, Reg::R0, BASE, 0);
        code.alu_reg(AluOp::Add, number, Reg::R0);
    }
    // Ways through a body multiply with every turn.
    if (end - start) / step < 8 && code.rng.chance(50) {
        let (op, width, rhs) = (code.rng.pick(&CmpOp::ALL), code.width(), code.imm());
        let over = code.branch(op, width, number, Operand::Imm(rhs));
        code.arithmetic(number);
        code.land(over);
    }
    code.alu_imm(AluOp::Add, TEMP, step);
    let op = code.rng.pick(&[CmpOp::Lt, CmpOp::SLt]);
    let width = code.width();
    code.push(Insn::Branch { op, width, lhs: TEMP, rhs: Operand::Imm(end), to: head });
    code.numbers.insert(Reg::R0);
    code.set(Reg::R0, 2);
}

/// A loop whose number of turns a bounded number decides.
fn walked(code: &mut Code) {
    let number = code.rng.pick(&KEPT);
    let turns = code.rng.pick(&[3_u32, 7, 15]);
    code.mov(TEMP, number);
    code.bound_alone(TEMP, turns);
    let head = code.here();
    let out = code.branch(CmpOp::Eq, Width::W64, TEMP, Operand::Imm(0));
    let size = code.size();
    code.global(BASE, 0);
    code.alu_reg(AluOp::Add, BASE, TEMP);
    let off = (VALUE - size.bytes() - turns) as i16 + if code.flawed(40) { 1 } else { 0 };
    code.load(size, Sign::Zero, Reg::R0, BASE, off);
    let kept = code.rng.pick(&KEPT);
    code.alu_reg(AluOp::Xor, kept, Reg::R0);
    code.alu_imm(AluOp::Sub, TEMP, 1);
    code.push(Insn::Jump { to: head });
    code.land(out);
    code.set(Reg::R0, 4);
}

/// A loop that only its budget ends, or that leaves by itself.
fn budgeted(code: &mut Code) {
    code.alu_imm(AluOp::Mov, TEMP, 0);
    // A pointer in later turns.
    code.numbers.remove(BASE);
    let head: InsnId = code.here();
    let end = code.may_goto();
    let number = code.rng.pick(&KEPT);
    code.arithmetic(number);
    code.alu_imm(AluOp::Add, TEMP, 1);
    let limit = i64::from(1 + code.rng.below(40));
    let leave = code.branch(CmpOp::Ge, Width::W64, TEMP, Operand::Imm(limit));
    if code.rng.chance(40) {
        let size = code.size();
        code.mov(Reg::R0, TEMP);
        code.bound_alone(Reg::R0, VALUE - size.bytes());
        code.global(BASE, 0);
        code.alu_reg(AluOp::Add, BASE, Reg::R0);
        code.load(size, Sign::Zero, Reg::R0, BASE, 0);
    }
    code.push(Insn::Jump { to: head });
    code.land(leave);
    code.land(end);
    code.numbers.remove(TEMP);
    code.set(Reg::R0, 7);
}

/// The number of the callback.
const CALLBACK: usize = 9;

/// `bpf_loop` over a callback that works on the filled bytes.
fn callback_loop(code: &mut Code) {
    let number = code.rng.pick(&KEPT);
    code.mov(Reg::R1, number);
    code.alu_imm(AluOp::And, Reg::R1, 15);
    code.function(Reg::R2, CALLBACK);
    code.stack_pointer(Reg::R3, FILLED);
    let flags = u64::from(code.rng.chance(10));
    code.set(Reg::R4, flags);
    code.helper(181);
    code.load(Size::DW, Sign::Zero, Reg::R7, Reg::R10, FILLED);
}

fn callback(code: &mut Code) {
    code.begin(CALLBACK, RegSet::of(Reg::R1));
    let size = code.size();
    let off = (code.rng.below(32 / size.bytes()) * size.bytes()) as i16;
    let past = if code.flawed(25) { 32 } else { 0 };
    code.load(size, Sign::Zero, Reg::R3, Reg::R2, off + past);
    code.alu_reg(AluOp::Add, Reg::R3, Reg::R1);
    let off = 8 * code.rng.below(4) as i16;
    code.store(Size::DW, Reg::R2, off, Operand::Reg(Reg::R3));
    if code.rng.chance(50) {
        code.mov(Reg::R4, Reg::R1);
        code.bound_alone(Reg::R4, VALUE - 8);
        code.global(Reg::R5, 0);
        code.alu_reg(AluOp::Add, Reg::R5, Reg::R4);
        code.load(Size::DW, Sign::Zero, Reg::R3, Reg::R5, 0);
    }
    let last = i64::from(code.rng.below(20));
    let stops = code.either(20, 1, 2);
    code.set(Reg::R0, stops);
    let stop = code.branch(CmpOp::Eq, Width::W64, Reg::R1, Operand::Imm(last));
    code.set(Reg::R0, 0);
    code.land(stop);
    code.push(Insn::Exit);
}
