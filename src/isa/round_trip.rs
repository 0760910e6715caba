//! Round trips between bytes, instructions and text, over the whole encoding space.
#![forbid(unsafe_code)]

use super::encode::{Verbatim, encode};
use super::{
    AddrSpace, AluOp, AtomicOp, ByteOrder, Callee, CmpOp, Code, Const64, Insn, InsnId, KfuncSlot, KsymSlot,
    MapSlot, Operand, Reg, Sign, Size, Slot, Width, decode,
};

const EXIT: Slot = Slot::new(0x95, 0, 0, 0, 0);

/// Puts the slots under test where jumps by -3 to 3 have targets.
fn framed(slots: &[Slot]) -> Vec<Slot> {
    [&[EXIT; 3], slots, &[EXIT; 4]].concat()
}

/// Every well-formed program around one instruction, with its slots: any opcode and registers, and for some
/// registers also the offsets and immediates that mean something somewhere.
fn each_encoding(mut f: impl FnMut(&[Slot], &Code)) {
    let immediates = [
        0,
        1,
        2,
        3,
        -1,
        16,
        32,
        64,
        0x41,
        0x51,
        0xa1,
        0x40,
        0x50,
        0xa0,
        0xe0,
        0xe1,
        0xf0,
        0xf1,
        0x100,
        0x101,
        0x110,
        0x1_0000,
        i32::MIN,
    ];
    for opcode in 0..=u8::MAX {
        for registers in 0..=u8::MAX {
            let few = ![0x00, 0x21, 0x0a, 0x9a, 0xb0].contains(&registers);
            for off in [0, 1, 2, -1, 8, 16, 32] {
                for imm in immediates {
                    if few && off != 0 && imm != 0 {
                        continue;
                    }
                    let first = Slot::new(opcode, registers & 15, registers >> 4, off, imm);
                    let slots: &[Slot] = &[first, Slot::new(0, 0, 0, 0, imm)];
                    let slots = if opcode == 0x18 { slots } else { &slots[..1] };
                    let slots = framed(slots);
                    if let Ok(code) = decode(&slots) {
                        f(&slots, &code);
                    }
                }
            }
        }
    }
}

#[test]
fn encoding_gives_the_bytes_back() {
    let mut count = 0;
    each_encoding(|slots, code| {
        count += 1;
        let again = encode(&code.insns, &mut Verbatim).expect("was decoded");
        assert_eq!(again.pcs, code.pcs);
        // Two encodings have a second spelling: the long jump, and the register of `callx` in `imm`.
        if matches!(slots[3].opcode(), 0x06 | 0x8d) {
            assert_eq!(decode(&again.slots).as_ref(), Ok(code));
        } else {
            assert_eq!(again.slots, slots);
        }
    });
    assert!(count > 40_000, "{count} encodings");
}

/// Every instruction there is, with a few registers and numbers.
pub(crate) fn each_insn() -> Vec<Insn> {
    let mut all = Vec::new();
    let registers = [Reg::R0, Reg::R3, Reg::R10];
    let operands = [
        Operand::Reg(Reg::R0),
        Operand::Reg(Reg::R9),
        Operand::Imm(0),
        Operand::Imm(-1),
        Operand::Imm(0x7fff_ffff),
    ];
    let widths = [Width::W32, Width::W64];
    let sizes = [Size::B, Size::H, Size::W, Size::DW];
    let targets = [InsnId(0), InsnId(7), InsnId(12)];
    for dst in registers {
        for width in widths {
            for src in operands {
                for op in AluOp::ALL {
                    let extends = matches!(op, AluOp::MovSx8 | AluOp::MovSx16 | AluOp::MovSx32);
                    let is_imm = matches!(src, Operand::Imm(_));
                    if extends && is_imm || op == AluOp::MovSx32 && width == Width::W32 {
                        continue;
                    }
                    let src = if op == AluOp::Neg { Operand::Imm(0) } else { src };
                    all.push(Insn::Alu { op, width, dst, src });
                }
                for op in CmpOp::ALL {
                    all.extend(targets.map(|to| Insn::Branch { op, width, lhs: dst, rhs: src, to }));
                }
            }
            for off in [0, -8, i16::MAX] {
                for src in registers {
                    let atomic = |op, fetch| Insn::Atomic { op, fetch, width, base: dst, off, src };
                    for op in [AtomicOp::Add, AtomicOp::Or, AtomicOp::And, AtomicOp::Xor] {
                        all.extend([atomic(op, false), atomic(op, true)]);
                    }
                    all.extend([atomic(AtomicOp::Xchg, true), atomic(AtomicOp::CmpXchg, true)]);
                }
            }
        }
        for size in sizes {
            for off in [0, 1, -8, i16::MIN] {
                for base in registers {
                    all.push(Insn::Load { size, sign: Sign::Zero, dst, base, off });
                    if size != Size::DW {
                        all.push(Insn::Load { size, sign: Sign::Signed, dst, base, off });
                    }
                    all.push(Insn::LoadAcquire { size, dst, base, off });
                    all.push(Insn::StoreRelease { size, base, off, src: dst });
                }
                all.extend(operands.map(|src| Insn::Store { size, base: dst, off, src }));
            }
            if size != Size::DW {
                for off in [0, -1, i32::MAX] {
                    all.push(Insn::LegacyPacket { size, index: None, off });
                    all.push(Insn::LegacyPacket { size, index: Some(dst), off });
                }
            }
            if size != Size::B {
                for order in [ByteOrder::Little, ByteOrder::Big, ByteOrder::Swap] {
                    all.push(Insn::Swap { order, size, dst });
                }
            }
        }
        for src in registers {
            all.extend([AddrSpace::Kernel, AddrSpace::Arena].map(|to| Insn::AddrSpaceCast { dst, src, to }));
        }
        for value in [
            Const64::Imm(0),
            Const64::Imm(u64::MAX),
            Const64::Imm(0x8000_0000),
            Const64::Map(MapSlot(3)),
            Const64::MapValue(MapSlot(3), 0),
            Const64::MapValue(MapSlot(3), 16),
            Const64::Ksym(KsymSlot(5)),
            Const64::Function(InsnId(0)),
            Const64::Function(InsnId(12)),
            Const64::MapIndex(MapSlot(2)),
            Const64::MapIndexValue(MapSlot(2), 8),
        ] {
            all.push(Insn::Const { dst, value });
        }
        all.push(Insn::Call(Callee::Register(dst)));
    }
    for to in targets {
        all.extend([Insn::Jump { to }, Insn::MayGoto { to }, Insn::Call(Callee::Subprogram(to))]);
    }
    all.push(Insn::Call(Callee::Helper(1)));
    all.push(Insn::Call(Callee::Helper(0xbad_2310)));
    for module in [0, 3, -1] {
        all.push(Insn::Call(Callee::Kfunc { kfunc: KfuncSlot(77), module }));
    }
    all.push(Insn::Exit);
    all
}

/// A program with the instruction at index 6 of 13, and wide immediates on both sides.
pub(crate) fn around(insn: Insn) -> Vec<Insn> {
    let mut insns = vec![Insn::Exit; 13];
    insns[2] = Insn::Const { dst: Reg::R1, value: Const64::Imm(1) };
    insns[9] = Insn::Const { dst: Reg::R1, value: Const64::Imm(1) };
    insns[6] = insn;
    insns
}

#[test]
fn decoding_gives_the_instruction_back() {
    for insn in each_insn() {
        let insns = around(insn);
        let encoded = encode(&insns, &mut Verbatim).unwrap_or_else(|error| panic!("{insn:?}: {error}"));
        let code = decode(&encoded.slots).unwrap_or_else(|error| panic!("{insn:?}: {error}"));
        assert_eq!(code.insns, insns);
    }
}

#[test]
fn far_jumps_take_the_long_form() {
    let mut insns = vec![Insn::Exit; 40_000];
    insns[0] = Insn::Jump { to: InsnId(39_999) };
    let encoded = encode(&insns, &mut Verbatim).expect("a long jump");
    assert_eq!(encoded.slots[0], Slot::new(0x06, 0, 0, 0, 39_998));
    assert_eq!(decode(&encoded.slots).expect("well-formed").insns, insns);
    insns[0] = Insn::Branch {
        op: CmpOp::Eq,
        width: Width::W64,
        lhs: Reg::R0,
        rhs: Operand::Imm(0),
        to: InsnId(39_999),
    };
    assert!(encode(&insns, &mut Verbatim).is_err());
}

/// If a bit were ignored, two programs that differ in it would mean the same.
#[test]
fn every_bit_of_an_encoding_counts() {
    let mut seen = [0; 256];
    for insn in each_insn() {
        let insns = around(insn);
        let encoded = encode(&insns, &mut Verbatim).expect("has an encoding");
        let at = encoded.pcs[6].0 as usize;
        let opcode = usize::from(encoded.slots[at].opcode());
        seen[opcode] += 1;
        if seen[opcode] > 12 {
            continue;
        }
        for bit in 0..64 {
            let mut slots = encoded.slots.clone();
            slots[at].0[bit / 8] ^= 1 << (bit % 8);
            if let Ok(code) = decode(&slots) {
                assert_ne!(code.insns, insns, "bit {bit} of {insn:?} is ignored");
            }
        }
    }
    let covered = seen.iter().filter(|&&count| count > 0).count();
    assert_eq!(covered, 128, "opcodes that instructions encode to");
}
