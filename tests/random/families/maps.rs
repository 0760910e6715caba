//! Elements of maps and what helpers are told about memory: null, ranges, sizes, records, locks.

use beelift::ProgramType;
use beelift::isa::{AluOp, AtomicOp, CmpOp, Insn, Operand, Reg, Sign, Size, Width};

use crate::generator::code::{CTX, Code};
use crate::generator::scalars::{BASE, FILLED, TEMP};
use crate::generator::{VALUE, slot};

/// Numbers that calls preserve.
const KEPT: [Reg; 2] = [Reg::R7, Reg::R8];
/// Bytes of a value of the hash.
const SMALL: u32 = 16;

pub(crate) fn program(code: &mut Code) {
    code.mov(CTX, Reg::R1);
    for reg in KEPT {
        code.unknown(reg);
    }
    code.fill_stack();
    for _ in 0..1 + code.rng.below(3) {
        match code.rng.below(16) {
            0..=4 => looked_up(code),
            5 => updated(code),
            6 => deleted(code),
            7 | 8 => sized(code),
            9..=11 => record(code),
            12 => output(code),
            13 => fetched(code),
            _ if code.prog_type == ProgramType::SchedCls => locked(code),
            _ => looked_up(code),
        }
    }
    code.epilogue();
}

/// A key on the stack, for the array or the hash: `r10 + returned`.
fn key(code: &mut Code, map: u32) -> i16 {
    let number = code.rng.pick(&KEPT);
    if map == slot::HASH {
        let off = FILLED + 8 * code.rng.below(4) as i16;
        code.mov(TEMP, number);
        code.alu_imm(AluOp::And, TEMP, 7);
        code.store(Size::DW, Reg::R10, off, Operand::Reg(TEMP));
        return off;
    }
    let off = FILLED + 4 * code.rng.below(8) as i16;
    if code.rng.chance(50) {
        let index = i64::from(code.rng.below(6));
        code.store(Size::W, Reg::R10, off, Operand::Imm(index));
    } else {
        code.store(Size::W, Reg::R10, off, Operand::Reg(number));
    }
    off
}

/// An element, checked for null in one of the ways to do that, accessed inside its value.
fn looked_up(code: &mut Code) {
    let map = code.rng.pick(&[slot::ARRAY, slot::ARRAY, slot::HASH]);
    let room = if map == slot::HASH { SMALL } else { VALUE };
    let off = key(code, map);
    code.lookup(map, off);
    let null = Operand::Imm(0);
    let mut over = None;
    match code.rng.below(8) {
        _ if code.flawed(30) => {}
        0 => {
            let there = code.branch(CmpOp::Ne, Width::W64, Reg::R0, null);
            let at = code.here().index();
            let _ = code.jump();
            code.push_exit(at);
            code.land(there);
        }
        1 => {
            // The copy is not null either.
            code.mov(BASE, Reg::R0);
            code.exit_if_zero(BASE);
        }
        2 => {
            code.store(Size::DW, Reg::R10, -64, Operand::Reg(Reg::R0));
            code.exit_if_zero(Reg::R0);
            code.load_pointer(Size::DW, Reg::R0, Reg::R10, -64);
        }
        3 => {
            code.set(TEMP, 0);
            code.exit_if(CmpOp::Eq, Width::W64, Reg::R0, Operand::Reg(TEMP));
        }
        4 | 5 => {
            over = Some(code.branch(CmpOp::Eq, Width::W64, Reg::R0, null));
        }
        _ => code.exit_if_zero(Reg::R0),
    }
    let size = code.size();
    let number = code.rng.pick(&KEPT);
    if code.rng.chance(60) {
        let slack = if code.flawed(40) { 1 + code.rng.below(8) } else { 0 };
        let off = code.rng.below(room - size.bytes() + 1 + slack) as i16;
        inside(code, size, Reg::R0, off);
    } else {
        code.mov(TEMP, number);
        code.bound(TEMP, room - size.bytes());
        code.alu_reg(AluOp::Add, Reg::R0, TEMP);
        inside(code, size, Reg::R0, 0);
    }
    if let Some(over) = over {
        code.land(over);
        // Null is the number zero on the other way.
        code.set(Reg::R0, 3);
    }
}

/// A load to, or a store or atomic of, a register that calls preserve.
fn inside(code: &mut Code, size: Size, pointer: Reg, off: i16) {
    let number = code.rng.pick(&KEPT);
    match code.rng.below(6) {
        0 => code.store(size, pointer, off, Operand::Reg(number)),
        1 if size == Size::DW && off % 8 == 0 => {
            let op = code.rng.pick(&[AtomicOp::Add, AtomicOp::Or, AtomicOp::Xor, AtomicOp::Xchg]);
            let fetch = op == AtomicOp::Xchg || code.rng.chance(50);
            code.push(Insn::Atomic { op, fetch, width: Width::W64, base: pointer, off, src: number });
        }
        2 if size == Size::W && off % 4 == 0 => {
            code.push(Insn::LoadAcquire { size, dst: number, base: pointer, off });
        }
        _ => code.load(size, Sign::Zero, number, pointer, off),
    }
}

fn updated(code: &mut Code) {
    let map = code.rng.pick(&[slot::ARRAY, slot::HASH, slot::HASH]);
    let off = key(code, map);
    code.map(Reg::R1, map);
    code.stack_pointer(Reg::R2, off);
    if map == slot::HASH {
        let off = code.either(50, -16, -8);
        code.stack_pointer(Reg::R3, off);
    } else {
        let off = code.either(50, 0, 8);
        code.global(Reg::R3, off);
    }
    let flags = u64::from(code.rng.below(4));
    code.set(Reg::R4, flags);
    code.helper(2);
}

fn deleted(code: &mut Code) {
    let off = key(code, slot::HASH);
    code.map(Reg::R1, slot::HASH);
    code.stack_pointer(Reg::R2, off);
    code.helper(3);
}

/// Memory of a size that a register says: checksums, texts.
fn sized(code: &mut Code) {
    let number = code.rng.pick(&KEPT);
    let words = i64::from(if code.flawed(40) { 15 } else { 7 });
    if code.prog_type == ProgramType::SchedCls {
        code.mov(Reg::R2, number);
        code.alu_imm(AluOp::And, Reg::R2, words);
        if code.rng.chance(80) {
            code.alu_imm(AluOp::Lsh, Reg::R2, 2);
        }
        code.stack_pointer(Reg::R1, FILLED);
        code.global(Reg::R3, 0);
        let most = code.either(40, 17, 20);
        let bytes = i64::from(code.rng.below(most)) * 4;
        code.alu_imm(AluOp::Mov, Reg::R4, bytes);
        code.mov(Reg::R5, number);
        code.helper(28);
        return;
    }
    // A copy of readable memory into a buffer.
    code.mov(Reg::R2, number);
    let most = 32 + u32::from(code.flawed(50));
    match code.rng.below(3) {
        0 => code.alu_imm(AluOp::And, Reg::R2, i64::from(most - 1)),
        1 => code.exit_above(Width::W64, Reg::R2, i64::from(most)),
        _ => {
            code.exit_if(CmpOp::SGt, Width::W64, Reg::R2, Operand::Imm(i64::from(most)));
            if !code.flawed(40) {
                code.exit_if(CmpOp::SLt, Width::W64, Reg::R2, Operand::Imm(0));
            }
        }
    }
    code.stack_pointer(Reg::R1, FILLED);
    let inside = code.rng.below(VALUE / 2);
    code.global(Reg::R3, inside);
    code.helper(113);
    code.load(Size::DW, Sign::Zero, Reg::R7, Reg::R10, FILLED);
}

/// A record of the ring buffer: reserved, written, given back; now and then forgotten, or used afterwards.
fn record(code: &mut Code) {
    let size = 1 + code.rng.below(40);
    code.map(Reg::R1, slot::RING);
    code.alu_imm(AluOp::Mov, Reg::R2, i64::from(size));
    code.alu_imm(AluOp::Mov, Reg::R3, 0);
    code.helper(131);
    code.numbers.remove(Reg::R0);
    let null = code.branch(CmpOp::Eq, Width::W64, Reg::R0, Operand::Imm(0));
    code.mov(BASE, Reg::R0);
    // Every byte, for records are compared.
    for off in (0..size).step_by(8) {
        let (width, off) = if off + 8 <= size { (Size::DW, off) } else { (Size::B, off) };
        for at in off..size.min(off + 8) {
            if width == Size::DW && at > off {
                break;
            }
            let imm = i64::from(at);
            code.store(width, BASE, at as i16, Operand::Imm(imm));
        }
    }
    let access = code.size();
    let number = code.rng.pick(&KEPT);
    if let Some(room) = size.checked_sub(access.bytes()) {
        if code.rng.chance(50) {
            let slack = if code.flawed(40) { 1 + code.rng.below(8) } else { 0 };
            let off = code.rng.below(room + 1 + slack) as i16;
            inside(code, access, BASE, off);
        } else {
            code.mov(TEMP, number);
            code.bound_alone(TEMP, room);
            code.alu_reg(AluOp::Add, TEMP, BASE);
            inside(code, access, TEMP, 0);
        }
    }
    if !code.flawed(25) {
        code.mov(Reg::R1, BASE);
        code.alu_imm(AluOp::Mov, Reg::R2, 0);
        let id = code.rng.pick(&[132, 132, 133]);
        code.helper(id);
        // It returns nothing.
        code.numbers.remove(Reg::R0);
        code.set(Reg::R0, 5);
    }
    if code.flawed(15) {
        code.load(Size::B, Sign::Zero, Reg::R7, BASE, 0);
    }
    let out = code.jump();
    code.land(null);
    code.set(Reg::R0, 6);
    code.land(out);
    code.numbers.insert(Reg::R0);
}

fn output(code: &mut Code) {
    code.map(Reg::R1, slot::RING);
    code.stack_pointer(Reg::R2, FILLED);
    if code.rng.chance(50) {
        let number = code.rng.pick(&KEPT);
        code.mov(Reg::R3, number);
        let mask = code.either(50, 31, 63);
        code.alu_imm(AluOp::And, Reg::R3, mask);
    } else {
        let most = code.either(50, 33, 48);
        let size = i64::from(code.rng.below(most));
        code.alu_imm(AluOp::Mov, Reg::R3, size);
    }
    code.alu_imm(AluOp::Mov, Reg::R4, 0);
    code.helper(130);
}

/// Numbers that an atomic fetches decide where an access goes.
fn fetched(code: &mut Code) {
    let size = code.size();
    code.global(BASE, 0);
    let width = code.width();
    let number = code.rng.pick(&KEPT);
    let off = (code.rng.below(8) * 8) as i16;
    let op = code.rng.pick(&[AtomicOp::Add, AtomicOp::And, AtomicOp::Xchg]);
    code.push(Insn::Atomic { op, fetch: true, width, base: BASE, off, src: number });
    code.mov(TEMP, number);
    code.bound(TEMP, VALUE - size.bytes());
    code.value_access_at(size, TEMP, 0);
}

/// A value under its lock.
fn locked(code: &mut Code) {
    code.store(Size::W, Reg::R10, FILLED, Operand::Imm(0));
    code.lookup(slot::LOCKED, FILLED);
    code.exit_if_zero(Reg::R0);
    code.mov(BASE, Reg::R0);
    code.mov(Reg::R1, BASE);
    code.helper(93);
    let size = code.size();
    let first = if code.flawed(30) { 0 } else { 4 };
    let off = (first + code.rng.below(VALUE - size.bytes() - first + 1)) as i16;
    let number = code.rng.pick(&KEPT);
    if code.rng.chance(50) {
        code.store(size, BASE, off, Operand::Reg(number));
    } else {
        code.load(size, Sign::Zero, number, BASE, off);
    }
    if code.flawed(30) {
        code.helper(5);
    }
    if !code.flawed(30) {
        code.mov(Reg::R1, BASE);
        code.helper(94);
    }
    code.set(Reg::R0, 0);
}
