//! Functions far larger than compilers write: they compile in time, each way there is, and compute what they say.

use std::time::{Duration, Instant};

use super::tests::{alu, load, run_through, verified};
use crate::exec::testing;
use crate::isa::semantics::{self, Concrete};
use crate::isa::{AluOp, CmpOp, Insn, InsnId, Operand, Reg, Sign, Size, Width};

/// Bytes of the buffer; programs read its start, and then single bytes.
const LENGTH: usize = 256;

fn reg(number: usize) -> Reg {
    Reg::new(u8::try_from(number).expect("small")).expect("a register")
}

fn byte(dst: usize, at: usize) -> Insn {
    let off = i16::try_from(at % LENGTH).expect("small");
    Insn::Load { size: Size::B, sign: Sign::Zero, dst: reg(dst), base: Reg::R1, off }
}

fn branch(op: CmpOp, lhs: usize, rhs: usize, to: usize) -> Insn {
    let to = InsnId(u32::try_from(to).expect("small"));
    Insn::Branch { op, width: Width::W64, lhs: reg(lhs), rhs: Operand::Imm(rhs as i64), to }
}

/// All registers but r1 from the buffer, what `body` makes of them, and a hash of them all.
fn around(body: impl FnOnce(&mut Vec<Insn>)) -> Vec<Insn> {
    let others = [0, 2, 3, 4, 5, 6, 7, 8, 9];
    let mut insns: Vec<Insn> = others.into_iter().map(|at| load(at, i16::from(at) * 8)).collect();
    body(&mut insns);
    for at in 2..10 {
        insns.push(alu(AluOp::Mul, Reg::R0, Operand::Imm(31)));
        insns.push(alu(AluOp::Add, Reg::R0, Operand::Reg(reg(at))));
    }
    insns.push(Insn::Exit);
    insns
}

/// Each of `count` tests may leave for the end.
fn chain(count: usize) -> Vec<Insn> {
    around(|insns| {
        let end = insns.len() + count * 3;
        for at in 0..count {
            insns.push(byte(2, at));
            insns.push(alu(AluOp::Add, Reg::R0, Operand::Reg(Reg::R2)));
            insns.push(branch(CmpOp::Eq, 2, 255, end));
        }
    })
}

/// Two arms that meet, `count` times, with all registers alive.
fn diamonds(count: usize) -> Vec<Insn> {
    around(|insns| {
        for at in 0..count {
            let (a, b) = (reg(2 + at % 8), reg(2 + at * 3 % 8));
            let after = insns.len() + 4;
            insns.push(byte(0, at));
            insns.push(branch(CmpOp::Gt, 0, at * 7 % 256, after));
            insns.push(alu(AluOp::Add, a, Operand::Reg(b)));
            insns.push(alu(AluOp::Xor, b, Operand::Imm(at as i64)));
            insns.push(alu(AluOp::Mul, a, Operand::Imm(13)));
        }
    })
}

/// What these programs compute, one instruction after the other.
fn computed(insns: &[Insn], buffer: &[u8]) -> u64 {
    let mut registers = [0_u64; 11];
    let mut at = 0;
    loop {
        match insns[at] {
            Insn::Load { size, dst, off, .. } => {
                let (off, bytes) = (usize::try_from(off).expect("positive"), size.bytes() as usize);
                let mut word = [0; 8];
                word[..bytes].copy_from_slice(&buffer[off..off + bytes]);
                registers[dst.index()] = u64::from_le_bytes(word);
            }
            Insn::Alu { op, width, dst, src } => {
                let src = operand(&registers, src);
                registers[dst.index()] =
                    semantics::alu(&mut Concrete, op, width, registers[dst.index()], src);
            }
            Insn::Branch { op, width, lhs, rhs, to } => {
                let rhs = operand(&registers, rhs);
                if semantics::compare(&mut Concrete, op, width, registers[lhs.index()], rhs) {
                    at = to.index();
                    continue;
                }
            }
            Insn::Exit => return registers[0],
            other => unreachable!("{other:?}"),
        }
        at += 1;
    }
}

fn operand(registers: &[u64; 11], operand: Operand) -> u64 {
    match operand {
        Operand::Reg(reg) => registers[reg.index()],
        Operand::Imm(number) => number.cast_unsigned(),
    }
}

/// Compiles a program and compares a few runs. The time is a bound on what hangs, far above what is needed.
#[track_caller]
fn is_right(insns: &[Insn]) {
    let start = Instant::now();
    let code = run_through(verified(insns.to_vec()));
    let elapsed = start.elapsed();
    assert!(elapsed < Duration::from_secs(120), "{elapsed:?}");
    let program = testing::load(code, &|_| None);
    for seed in 0..4 {
        let mut buffer: Vec<u8> =
            (0..LENGTH).map(|at| (((at * 37 + 11) * (seed * 2 + 1)) >> 3) as u8).collect(); // any bytes
        let expected = computed(insns, &buffer);
        assert_eq!(testing::run(&program, &mut buffer, 0), Ok(expected), "seed {seed}");
    }
}

#[test]
fn functions_of_a_few_thousand_blocks_are_right() {
    is_right(&chain(2_500));
    is_right(&diamonds(1_300));
}

#[test]
fn functions_of_many_thousand_blocks_are_right() {
    is_right(&chain(9_000));
    is_right(&diamonds(9_000));
}
