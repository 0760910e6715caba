//! Kernel functions: open-coded iterators, dynptrs and their slices, sections that are entered and left.

use beelift::ProgramType;
use beelift::isa::{AluOp, CmpOp, Insn, Operand, Reg, Sign, Size, Width};

use crate::generator::code::{CTX, Code};
use crate::generator::scalars::{BASE, FILLED};
use crate::generator::{PACKET, VALUE, slot};

/// Numbers that calls preserve.
const KEPT: [Reg; 2] = [Reg::R7, Reg::R8];
/// An iterator.
const ITERATOR: i16 = -40;
/// A dynptr and its clone.
const DYNPTR: i16 = -56;
const CLONE: i16 = -72;
/// Saved interrupt flags.
const FLAGS: i16 = -80;

pub(crate) fn program(code: &mut Code) {
    code.mov(CTX, Reg::R1);
    for reg in KEPT {
        code.unknown(reg);
    }
    code.fill_stack();
    for _ in 0..1 + code.rng.below(2) {
        match code.rng.below(10) {
            0..=2 => iterated(code),
            3 | 4 => memory_dynptr(code),
            5 => ring_dynptr(code),
            6 | 7 if code.prog_type == ProgramType::Xdp || code.prog_type == ProgramType::SchedCls => {
                packet_dynptr(code);
            }
            6 => memory_dynptr(code),
            _ => section(code),
        }
    }
    code.epilogue();
}

/// A loop over numbers, each of which is an offset.
fn iterated(code: &mut Code) {
    let size = code.size();
    let room = VALUE - size.bytes();
    let (start, end) = (code.rng.below(room), code.rng.below(room) + 1);
    code.stack_pointer(Reg::R1, ITERATOR);
    code.set(Reg::R2, u64::from(start));
    if code.rng.chance(30) {
        let number = code.rng.pick(&KEPT);
        code.mov(Reg::R3, number);
        // Not millions of turns.
        code.alu_imm(AluOp::And, Reg::R3, 127);
    } else {
        code.set(Reg::R3, u64::from(end));
    }
    code.kfunc("bpf_iter_num_new");
    let head = code.here();
    code.stack_pointer(Reg::R1, ITERATOR);
    code.kfunc("bpf_iter_num_next");
    code.numbers.remove(Reg::R0);
    let out = code.branch(CmpOp::Eq, Width::W64, Reg::R0, Operand::Imm(0));
    let sign = code.rng.pick(&[Sign::Zero, Sign::Zero, Sign::Signed]);
    code.load(Size::W, sign, Reg::R1, Reg::R0, 0);
    if !code.flawed(40) {
        let over = code.branch(CmpOp::Gt, Width::W64, Reg::R1, Operand::Imm(i64::from(room)));
        offset_access(code, size);
        code.land(over);
    } else {
        offset_access(code, size);
    }
    code.push(Insn::Jump { to: head });
    code.land(out);
    if !code.flawed(30) {
        code.stack_pointer(Reg::R1, ITERATOR);
        code.kfunc("bpf_iter_num_destroy");
    }
    code.numbers.remove(Reg::R0);
    code.set(Reg::R0, 1);
}

/// `r1` bytes into the array of one.
fn offset_access(code: &mut Code, size: Size) {
    code.global(BASE, 0);
    code.alu_reg(AluOp::Add, BASE, Reg::R1);
    if code.rng.chance(40) {
        code.store(size, BASE, 0, Operand::Imm(1));
    } else {
        let number = code.rng.pick(&KEPT);
        code.load(size, Sign::Zero, Reg::R2, BASE, 0);
        code.alu_reg(AluOp::Xor, number, Reg::R2);
    }
}

/// A dynptr of a map value: read, written, adjusted, sliced.
fn memory_dynptr(code: &mut Code) {
    code.global(Reg::R1, 0);
    let size = if code.flawed(30) { VALUE + 1 } else { 1 + code.rng.below(VALUE) };
    code.set(Reg::R2, u64::from(size));
    code.set(Reg::R3, 0);
    code.stack_pointer(Reg::R4, DYNPTR);
    code.helper(197);
    uses(code, size);
}

fn packet_dynptr(code: &mut Code) {
    code.mov(Reg::R1, CTX);
    let flags = u64::from(code.rng.chance(10));
    code.set(Reg::R2, flags);
    code.stack_pointer(Reg::R3, DYNPTR);
    let name = if code.prog_type == ProgramType::Xdp { "bpf_dynptr_from_xdp" } else { "bpf_dynptr_from_skb" };
    code.kfunc(name);
    uses(code, PACKET);
}

/// A record of the ring buffer as dynptr: given back in any case.
fn ring_dynptr(code: &mut Code) {
    code.map(Reg::R1, slot::RING);
    let size = 1 + code.rng.below(40);
    code.set(Reg::R2, u64::from(size));
    code.set(Reg::R3, 0);
    code.stack_pointer(Reg::R4, DYNPTR);
    code.helper(198);
    // Records are compared, so every byte is written.
    write(code, 0, size.min(32));
    if size > 32 {
        write(code, 32, size - 32);
    }
    if code.rng.chance(50) {
        data(code, size);
    }
    if !code.flawed(40) {
        code.stack_pointer(Reg::R1, DYNPTR);
        code.set(Reg::R2, 0);
        let id = code.rng.pick(&[199, 199, 200]);
        code.helper(id);
    }
    if code.flawed(20) {
        data(code, size);
    }
    code.set(Reg::R0, 2);
}

fn uses(code: &mut Code, size: u32) {
    for _ in 0..1 + code.rng.below(2) {
        match code.rng.below(8) {
            0 => {
                let (offset, length) = (code.rng.below(size), 1 + code.rng.below(32));
                write(code, offset, length);
            }
            1 => read(code, size),
            2 if code.prog_type != ProgramType::SchedCls && code.prog_type != ProgramType::Xdp => {
                data(code, size);
            }
            3 => {
                code.stack_pointer(Reg::R1, DYNPTR);
                let (start, end) = (code.rng.below(size), code.rng.below(size + 4));
                code.set(Reg::R2, u64::from(start));
                code.set(Reg::R3, u64::from(end));
                code.kfunc("bpf_dynptr_adjust");
            }
            4 => {
                code.stack_pointer(Reg::R1, DYNPTR);
                code.stack_pointer(Reg::R2, CLONE);
                code.kfunc("bpf_dynptr_clone");
                code.stack_pointer(Reg::R1, CLONE);
                code.kfunc("bpf_dynptr_size");
            }
            _ => slice(code, size),
        }
    }
}

fn write(code: &mut Code, offset: u32, length: u32) {
    code.stack_pointer(Reg::R1, DYNPTR);
    code.set(Reg::R2, u64::from(offset));
    code.stack_pointer(Reg::R3, FILLED);
    let length = if code.flawed(20) { length + 32 } else { length };
    code.set(Reg::R4, u64::from(length));
    code.set(Reg::R5, 0);
    code.helper(202);
}

fn read(code: &mut Code, size: u32) {
    code.stack_pointer(Reg::R1, FILLED);
    if code.rng.chance(50) {
        let number = code.rng.pick(&KEPT);
        code.mov(Reg::R2, number);
        let mask = code.either(50, 31, 63);
        code.alu_imm(AluOp::And, Reg::R2, mask);
    } else {
        let most = code.either(50, 33, 48);
        let length = code.rng.below(most);
        code.set(Reg::R2, u64::from(length));
    }
    code.stack_pointer(Reg::R3, DYNPTR);
    let offset = code.rng.below(size);
    code.set(Reg::R4, u64::from(offset));
    code.set(Reg::R5, 0);
    code.helper(201);
    code.load(Size::DW, Sign::Zero, Reg::R7, Reg::R10, FILLED);
}

/// A pointer to bytes of the dynptr, or null.
fn data(code: &mut Code, size: u32) {
    let offset = code.rng.below(size);
    let length = 1 + code.rng.below(size);
    code.stack_pointer(Reg::R1, DYNPTR);
    code.set(Reg::R2, u64::from(offset));
    code.set(Reg::R3, u64::from(length));
    code.helper(203);
    sliced_access(code, length, true);
}

fn slice(code: &mut Code, size: u32) {
    let offset = code.rng.below(size);
    let length = 1 + code.rng.below(24);
    let writes = code.rng.chance(40);
    code.stack_pointer(Reg::R1, DYNPTR);
    code.set(Reg::R2, u64::from(offset));
    if code.rng.chance(50) {
        code.set(Reg::R3, 0);
    } else {
        code.stack_pointer(Reg::R3, FILLED);
    }
    code.set(Reg::R4, u64::from(length));
    code.kfunc(if writes { "bpf_dynptr_slice_rdwr" } else { "bpf_dynptr_slice" });
    sliced_access(code, length, writes);
}

fn sliced_access(code: &mut Code, length: u32, writes: bool) {
    code.numbers.remove(Reg::R0);
    let null = code.branch(CmpOp::Eq, Width::W64, Reg::R0, Operand::Imm(0));
    let size = code.size();
    let slack = if code.flawed(40) { 1 + code.rng.below(4) } else { 0 };
    let number = code.rng.pick(&KEPT);
    if let Some(room) = (length + slack).checked_sub(size.bytes()) {
        let off = code.rng.below(room + 1) as i16;
        if (writes || code.flawed(30)) && code.rng.chance(50) {
            code.store(size, Reg::R0, off, Operand::Reg(number));
        } else {
            code.load(size, Sign::Zero, number, Reg::R0, off);
        }
    }
    code.land(null);
    code.set(Reg::R0, 3);
}

/// A section, entered and left; now and then not left, or left twice.
fn section(code: &mut Code) {
    let kinds: &[&str] = &["rcu", "preempt", "irq"];
    let kind = code.rng.pick(kinds);
    let (enter, leave) = match kind {
        "rcu" => ("bpf_rcu_read_lock", "bpf_rcu_read_unlock"),
        "preempt" => ("bpf_preempt_disable", "bpf_preempt_enable"),
        _ => ("bpf_local_irq_save", "bpf_local_irq_restore"),
    };
    let argument = |code: &mut Code| {
        if kind == "irq" {
            code.stack_pointer(Reg::R1, FLAGS);
        }
    };
    argument(code);
    code.kfunc(enter);
    code.set(Reg::R0, 0);
    let number = code.rng.pick(&KEPT);
    match code.rng.below(3) {
        0 => code.arithmetic(number),
        1 => {
            code.store(Size::W, Reg::R10, FILLED, Operand::Imm(1));
            code.lookup(slot::ARRAY, FILLED);
            let null = code.branch(CmpOp::Eq, Width::W64, Reg::R0, Operand::Imm(0));
            code.load(Size::DW, Sign::Zero, number, Reg::R0, 8);
            code.land(null);
        }
        _ => {
            // The numbers stay, whatever happens in between.
            let over = code.branch(CmpOp::Gt, Width::W64, number, Operand::Imm(100));
            code.alu_imm(AluOp::Add, number, 1);
            code.land(over);
        }
    }
    let skipped = code.flawed(40).then(|| code.branch(CmpOp::Eq, Width::W64, number, Operand::Imm(7)));
    argument(code);
    code.kfunc(leave);
    if code.flawed(20) {
        argument(code);
        code.kfunc(leave);
    }
    if let Some(skipped) = skipped {
        code.land(skipped);
    }
    code.set(Reg::R0, 0);
}
