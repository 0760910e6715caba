//! Compiled programs against the u64 machine, and against what the programs say.

use std::sync::Arc;

use beelift_runtime::ctx::ProgramType;

use super::{Target, compile};
use crate::exec::testing;
use crate::ir::{self, Options};
use crate::isa::semantics::{self, Concrete};
use crate::isa::{AluOp, ByteOrder, CmpOp, Insn, InsnId, Operand, Pc, Reg, Sign, Size, Width};
use crate::link::{Linkage, Program, Subprogram};
use crate::verify::facts::{AccessFact, BranchFact, Region};
use crate::verify::{Facts, Verified};

const EDGES: [u64; 26] = [
    0,
    1,
    2,
    3,
    7,
    31,
    32,
    33,
    63,
    64,
    65,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0x8000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_fffe,
    0xffff_ffff,
    0x1_0000_0000,
    0x0123_4567_89ab_cdef,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_0000_0000,
    u64::MAX,
];

/// A program of the type `memory` whose loads and stores all go to its buffer.
fn verified(insns: Vec<Insn>) -> Verified {
    let count = insns.len();
    let end = InsnId(u32::try_from(count).expect("small"));
    let access = insns
        .iter()
        .map(|insn| {
            crate::isa::effects::access(insn).map(|_| AccessFact { region: Region::Memory, aligned: false })
        })
        .collect();
    let facts = Facts {
        reachable: vec![true; count],
        access,
        lhs: vec![None; count],
        rhs: vec![None; count],
        branch: vec![BranchFact::Both; count],
        call: vec![None; count],
        fuel: vec![false; count],
        arguments: vec![0b11],
        stack_depth: vec![512],
        zero_stack: vec![false],
    };
    let program = Program {
        name: "test".to_owned(),
        section: String::new(),
        prog_type: ProgramType::Memory,
        attach_type: 0,
        prog_flags: 0,
        attach_target: None,
        license: String::new(),
        pcs: (0..end.0).map(Pc).collect(),
        insns,
        subprograms: vec![Subprogram {
            name: "main".to_owned(),
            entry: InsnId(0),
            end,
            linkage: Linkage::Global,
            btf_func: 0,
        }],
        maps: Arc::from(Vec::new()),
        kfuncs: Vec::new(),
        ksyms: Vec::new(),
        btf: None,
        lines: Vec::new(),
        relocations: Vec::new(),
    };
    Verified::assume(program, facts)
}

fn load(dst: u8, off: i16) -> Insn {
    let dst = Reg::new(dst).expect("a register");
    Insn::Load { size: Size::DW, sign: Sign::Zero, dst, base: Reg::R1, off }
}

fn store(off: i16, src: Reg) -> Insn {
    Insn::Store { size: Size::DW, base: Reg::R1, off, src: Operand::Reg(src) }
}

/// Compiles a program that reads two words of its buffer and writes one.
fn two_words(middle: &[Insn]) -> impl FnMut(u64, u64) -> u64 + use<> {
    let mut insns = vec![load(2, 0), load(3, 8)];
    let first = 2;
    for insn in middle {
        insns.push(match *insn {
            Insn::Branch { op, width, lhs, rhs, to } => {
                Insn::Branch { op, width, lhs, rhs, to: InsnId(to.0 + first) }
            }
            other => other,
        });
    }
    insns.extend([store(16, Reg::R2), Insn::Exit]);
    let code = run_through(verified(insns));
    let program = testing::load(code, &|_| None);
    move |a, b| {
        let mut buffer = [0; 24];
        buffer[..8].copy_from_slice(&a.to_le_bytes());
        buffer[8..16].copy_from_slice(&b.to_le_bytes());
        testing::run(&program, &mut buffer, 0).expect("no trap");
        u64::from_le_bytes(buffer[16..].try_into().expect("eight bytes"))
    }
}

fn run_through(verified: Verified) -> super::CompiledCode {
    let module = ir::build(&verified, Options::default()).expect("supported");
    compile(&module, &Target::host().expect("a host")).expect("compiles")
}

#[test]
fn arithmetic_of_two_registers_is_that_of_the_u64_machine() {
    for op in AluOp::ALL {
        for width in [Width::W32, Width::W64] {
            let insn = Insn::Alu { op, width, dst: Reg::R2, src: Operand::Reg(Reg::R3) };
            let mut native = two_words(&[insn]);
            for a in EDGES {
                for b in EDGES {
                    let expected = semantics::alu(&mut Concrete, op, width, a, b);
                    assert_eq!(native(a, b), expected, "{op:?} {width:?} {a:#x} {b:#x}");
                }
            }
        }
    }
}

#[test]
fn arithmetic_with_constants_is_that_of_the_u64_machine() {
    let constants = EDGES.into_iter().filter_map(|edge| i32::try_from(edge.cast_signed()).ok());
    let constants: Vec<i64> = constants.chain([-1, -2, -64, i32::MIN, 5, 9, 1000]).map(i64::from).collect();
    for op in AluOp::ALL {
        for width in [Width::W32, Width::W64] {
            for &constant in &constants {
                let insn = Insn::Alu { op, width, dst: Reg::R2, src: Operand::Imm(constant) };
                let mut native = two_words(&[insn]);
                for a in EDGES {
                    let expected = semantics::alu(&mut Concrete, op, width, a, constant.cast_unsigned());
                    assert_eq!(native(a, 0), expected, "{op:?} {width:?} {a:#x} {constant:#x}");
                }
            }
        }
    }
}

#[test]
fn comparisons_are_those_of_the_u64_machine() {
    for op in CmpOp::ALL {
        for width in [Width::W32, Width::W64] {
            let mov = |number| Insn::Alu {
                op: AluOp::Mov,
                width: Width::W64,
                dst: Reg::R2,
                src: Operand::Imm(number),
            };
            let mut native = two_words(&[
                Insn::Branch { op, width, lhs: Reg::R2, rhs: Operand::Reg(Reg::R3), to: InsnId(3) },
                mov(0),
                Insn::Branch {
                    op: CmpOp::Eq,
                    width,
                    lhs: Reg::R2,
                    rhs: Operand::Reg(Reg::R2),
                    to: InsnId(4),
                },
                mov(1),
            ]);
            for a in EDGES {
                for b in EDGES {
                    let expected = u64::from(semantics::compare(&mut Concrete, op, width, a, b));
                    assert_eq!(native(a, b), expected, "{op:?} {width:?} {a:#x} {b:#x}");
                }
            }
        }
    }
}

#[test]
fn byte_orders_are_those_of_the_u64_machine() {
    for order in [ByteOrder::Little, ByteOrder::Big, ByteOrder::Swap] {
        for size in [Size::H, Size::W, Size::DW] {
            let mut native = two_words(&[Insn::Swap { order, size, dst: Reg::R2 }]);
            for a in EDGES {
                let expected = semantics::swap(&mut Concrete, order, size, a);
                assert_eq!(native(a, 0), expected, "{order:?} {size:?} {a:#x}");
            }
        }
    }
}
