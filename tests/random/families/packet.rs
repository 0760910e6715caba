//! Packet bounds in their many forms, metadata, offsets that vary, helpers that move the packet.

use beelift::ProgramType;
use beelift::isa::{AluOp, CmpOp, Operand, Reg, Sign, Size, Width};

use crate::generator::PACKET;
use crate::generator::code::{CTX, Code};
use crate::generator::scalars::{BASE, TEMP};

/// Start of the packet.
const DATA: Reg = Reg::R7;
/// End of the packet.
const END: Reg = Reg::R8;
/// Registers for numbers here.
const FREE: [Reg; 5] = [Reg::R0, Reg::R1, Reg::R2, Reg::R3, Reg::R4];

/// Context offsets of the packet's start, end and metadata, and of numbers.
struct Layout {
    start: i16,
    end: i16,
    meta: i16,
    numbers: &'static [i16],
}

const XDP: Layout = Layout { start: 0, end: 4, meta: 8, numbers: &[12, 16] };
const SKB: Layout = Layout { start: 76, end: 80, meta: 140, numbers: &[0, 4, 8, 16, 48, 52] };

fn layout(code: &Code) -> &'static Layout {
    if code.prog_type == ProgramType::Xdp { &XDP } else { &SKB }
}

pub(crate) fn program(code: &mut Code) {
    code.mov(CTX, Reg::R1);
    bounds(code);
    number(code);
    let mut proven = proof(code, DATA);
    for _ in 0..1 + code.rng.below(4) {
        match code.rng.below(12) {
            0..=3 => access(code, DATA, proven),
            4..=6 => varying(code),
            7 => metadata(code),
            8 => {
                spill(code);
                access(code, DATA, proven);
            }
            9 | 10 => {
                moved(code);
                if !code.flawed(50) {
                    bounds(code);
                    proven = proof(code, DATA);
                }
            }
            _ => copied(code),
        }
    }
    access(code, DATA, proven);
    code.epilogue();
}

/// Start and end, from the context.
fn bounds(code: &mut Code) {
    let layout = layout(code);
    code.load_pointer(Size::W, DATA, CTX, layout.start);
    code.load_pointer(Size::W, END, CTX, layout.end);
}

fn number(code: &mut Code) {
    let field = code.rng.pick(layout(code).numbers);
    let dst = code.rng.pick(&FREE);
    code.load(Size::W, Sign::Zero, dst, CTX, field);
}

/// Compares `pointer + n` with the end, in one of the ways to do that; so many bytes are there afterwards.
fn proof(code: &mut Code, pointer: Reg) -> u32 {
    let bytes = 1 + code.rng.below(PACKET);
    code.mov(BASE, pointer);
    code.alu_imm(AluOp::Add, BASE, i64::from(bytes));
    let width = Width::W64;
    match code.rng.below(8) {
        0 => code.exit_if(CmpOp::Lt, width, END, Operand::Reg(BASE)),
        // The byte at the end itself is one more.
        1 => {
            code.exit_if(CmpOp::Ge, width, BASE, Operand::Reg(END));
            return bytes + 1;
        }
        2 => {
            code.exit_if(CmpOp::Le, width, END, Operand::Reg(BASE));
            return bytes + 1;
        }
        3 | 4 => {
            let inside = if code.rng.chance(50) {
                code.branch(CmpOp::Le, width, BASE, Operand::Reg(END))
            } else {
                code.branch(CmpOp::Ge, width, END, Operand::Reg(BASE))
            };
            let at = code.here().index();
            let _ = code.jump();
            code.push_exit(at);
            code.land(inside);
        }
        _ => code.exit_if(CmpOp::Gt, width, BASE, Operand::Reg(END)),
    }
    bytes
}

/// A load or store of the packet, in front of what is proven or a little past it.
fn access(code: &mut Code, pointer: Reg, proven: u32) {
    let size = code.size();
    let slack = if code.flawed(50) { 1 + code.rng.below(8) } else { 0 };
    let Some(room) = (proven + slack).checked_sub(size.bytes()) else { return };
    let off = code.rng.below(room + 1) as i16;
    touch(code, size, pointer, off);
}

/// As in other memory, but for atomics, which packets do not take.
fn touch(code: &mut Code, size: Size, pointer: Reg, off: i16) {
    if code.rng.chance(25) {
        let src = code.operand();
        code.store(size, pointer, off, src);
    } else {
        let sign = if size != Size::DW && code.rng.chance(25) { Sign::Signed } else { Sign::Zero };
        let dst = code.rng.pick(&FREE);
        code.load(size, sign, dst, pointer, off);
    }
}

/// A pointer moved by a bounded number needs a proof of its own.
fn varying(code: &mut Code) {
    let index = code.number();
    code.mov(TEMP, index);
    let most = code.rng.pick(&[7_u32, 15, 31, 255, 1023]);
    plain_bound(code, most);
    if code.rng.chance(50) {
        code.alu_reg(AluOp::Add, TEMP, DATA);
    } else {
        let copy = code.rng.pick(&FREE);
        code.mov(copy, DATA);
        code.alu_reg(AluOp::Add, copy, TEMP);
        code.numbers.remove(copy);
        code.mov(TEMP, copy);
    }
    let before = if code.rng.chance(30) { code.rng.below(8) } else { 0 };
    if before > 0 {
        code.alu_imm(AluOp::Add, TEMP, i64::from(before));
    }
    let proven = if code.flawed(20) { 8 } else { proof(code, TEMP) };
    access(code, TEMP, proven);
    if code.numbers.is_empty() {
        number(code);
    }
}

/// Bounds without help of other registers: those are taken.
fn plain_bound(code: &mut Code, most: u32) {
    match code.rng.below(4) {
        0 => code.alu_imm(AluOp::And, TEMP, i64::from(most)),
        1 => code.alu_imm(AluOp::Rsh, TEMP, i64::from(64 - (most + 1).ilog2())),
        2 => code.exit_above(Width::W64, TEMP, i64::from(most)),
        _ => {
            code.exit_if(CmpOp::SLt, Width::W64, TEMP, Operand::Imm(0));
            code.exit_if(CmpOp::SGt, Width::W64, TEMP, Operand::Imm(i64::from(most)));
        }
    }
}

/// Bytes before the packet: there are none in these runs, but they must be proven to be there.
fn metadata(code: &mut Code) {
    let meta = layout(code).meta;
    code.load_pointer(Size::W, TEMP, CTX, meta);
    let bytes = 1 + code.rng.below(16);
    code.mov(BASE, TEMP);
    code.alu_imm(AluOp::Add, BASE, i64::from(bytes));
    let over = code.branch(CmpOp::Gt, Width::W64, BASE, Operand::Reg(DATA));
    let size = code.size();
    let slack = if code.flawed(50) { 1 + code.rng.below(8) } else { 0 };
    if let Some(room) = (bytes + slack).checked_sub(size.bytes()) {
        let off = code.rng.below(room + 1) as i16;
        let dst = code.number();
        code.load(size, Sign::Zero, dst, TEMP, off);
    }
    code.land(over);
}

fn spill(code: &mut Code) {
    code.store(Size::DW, Reg::R10, -40, Operand::Reg(DATA));
    if code.rng.chance(50) {
        code.mov(DATA, Reg::R10);
    }
    code.load_pointer(Size::DW, DATA, Reg::R10, -40);
}

/// A helper that moves the packet: what pointed into it points nowhere. Numbers come from the context again.
fn moved(code: &mut Code) {
    code.mov(Reg::R1, CTX);
    if code.prog_type == ProgramType::Xdp {
        let delta = i64::from(code.rng.below(24)) - 12;
        code.alu_imm(AluOp::Mov, Reg::R2, delta);
        let id = code.rng.pick(&[44, 65, 54]);
        let delta = if id == 54 { delta & !3 } else { delta };
        code.alu_imm(AluOp::Mov, Reg::R2, delta);
        code.helper(id);
    } else {
        match code.rng.below(3) {
            0 => {
                let length = i64::from(code.rng.below(PACKET));
                code.alu_imm(AluOp::Mov, Reg::R2, length);
                code.helper(39);
            }
            1 => {
                let length = i64::from(PACKET + code.rng.below(32));
                code.alu_imm(AluOp::Mov, Reg::R2, length);
                code.alu_imm(AluOp::Mov, Reg::R3, 0);
                code.helper(38);
            }
            _ => {
                let length = 1 + code.rng.below(16);
                code.store(Size::DW, Reg::R10, -16, Operand::Imm(7));
                code.store(Size::DW, Reg::R10, -8, Operand::Imm(9));
                code.alu_imm(AluOp::Mov, Reg::R2, 14);
                code.stack_pointer(Reg::R3, -16);
                code.alu_imm(AluOp::Mov, Reg::R4, i64::from(length));
                code.alu_imm(AluOp::Mov, Reg::R5, 0);
                code.helper(9);
            }
        }
    }
    if code.rng.chance(30) {
        number(code);
    }
}

/// Packet bytes by a helper, into as much memory as its size says.
fn copied(code: &mut Code) {
    let length = if code.rng.chance(50) {
        let number = code.number();
        code.mov(Reg::R4, number);
        let most = if code.flawed(60) { 63 } else { 31 };
        code.alu_imm(AluOp::And, Reg::R4, most);
        None
    } else {
        let most = code.either(60, 32, 40);
        Some(1 + code.rng.below(most))
    };
    for off in [-32, -24, -16, -8] {
        code.store(Size::DW, Reg::R10, off, Operand::Imm(0));
    }
    code.mov(Reg::R1, CTX);
    let offset = i64::from(code.rng.below(PACKET));
    code.alu_imm(AluOp::Mov, Reg::R2, offset);
    code.stack_pointer(Reg::R3, -32);
    match length {
        Some(length) => code.alu_imm(AluOp::Mov, Reg::R4, i64::from(length)),
        None if code.flawed(50) => {}
        // A size of zero is not taken.
        None => code.exit_if_zero(Reg::R4),
    }
    code.helper(if code.prog_type == ProgramType::Xdp { 189 } else { 26 });
    let dst = code.rng.pick(&FREE);
    code.load(Size::DW, Sign::Zero, dst, Reg::R10, -32);
}
