//! Compiled programs against the u64 machine, and against what the programs say.

use std::sync::Arc;

use beelift_runtime::TrapKind;
use beelift_runtime::ctx::ProgramType;

use super::{Target, compile};
use crate::exec::testing;
use crate::ir::{self, Options};
use crate::isa::semantics::{self, Concrete};
use crate::isa::{AluOp, ByteOrder, CmpOp, Insn, InsnId, Operand, Pc, Reg, Sign, Size, Width};
use crate::link::{Linkage, Program, Subprogram};
use crate::verify::facts::{AccessFact, BranchFact, Region, ValueColumn, ValueFact};
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
pub(super) fn verified(insns: Vec<Insn>) -> Verified {
    let count = insns.len();
    let end = InsnId(u32::try_from(count).expect("small"));
    let access = insns
        .iter()
        .map(|insn| {
            crate::isa::effects::access(insn).map(|_| AccessFact { region: Region::Memory, aligned: false })
        })
        .collect();
    let facts = Facts {
        arena_alu: Vec::new(),
        arena: None,
        reachable: vec![true; count],
        access,
        lhs: ValueColumn::new(count),
        rhs: ValueColumn::new(count),
        branch: vec![BranchFact::Both; count],
        call: vec![None; count],
        fuel: vec![false; count],
        loops: Vec::new(),
        blank_result: vec![false; count],
        arguments: vec![0b11],
        stack_depth: vec![512],
        zero_stack: vec![false],
        cpus: None,
        buffer: None,
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
        exception_callback: None,
        maps: Arc::from(Vec::new()),
        kfuncs: Vec::new(),
        ksyms: Vec::new(),
        btf: None,
        lines: Vec::new(),
        kernel_types: Arc::default(),
        relocations: Vec::new(),
        host: crate::link::HostInterface::default(),
    };
    Verified::assume(program, facts)
}

pub(super) fn load(dst: u8, off: i16) -> Insn {
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

/// Runs a program of the type `memory` on 64 zero bytes with some fuel.
fn run(verified: Verified, options: Options, fuel: u64) -> Result<u64, (TrapKind, u32)> {
    let module = ir::build(&verified, options).expect("supported");
    let code = compile(&module, &Target::host().expect("a host")).expect("compiles");
    testing::run(&testing::load(code, &|_| None), &mut [0; 64], fuel)
}

pub(super) fn run_through(verified: Verified) -> super::CompiledCode {
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

pub(super) fn alu(op: AluOp, dst: Reg, src: Operand) -> Insn {
    Insn::Alu { op, width: Width::W64, dst, src }
}

#[test]
fn a_loop_burns_fuel_and_stops_without_it() {
    let count = |rounds| {
        let mut verified = verified(vec![
            alu(AluOp::Mov, Reg::R0, Operand::Imm(0)),
            alu(AluOp::Add, Reg::R0, Operand::Imm(1)),
            Insn::Branch {
                op: CmpOp::Ne,
                width: Width::W64,
                lhs: Reg::R0,
                rhs: Operand::Imm(rounds),
                to: InsnId(1),
            },
            Insn::Exit,
        ]);
        verified.facts_mut().fuel[2] = true;
        verified
    };
    assert_eq!(run(count(10), Options::default(), 9), Ok(10));
    assert_eq!(run(count(10), Options::default(), 8), Err((TrapKind::Fuel, 2)));
    assert_eq!(run(count(1_000_000), Options::default(), 100), Err((TrapKind::Fuel, 2)));
}

#[test]
fn facts_that_do_not_hold_trap_where_they_are_used() {
    let program = || {
        verified(vec![
            alu(AluOp::Mov, Reg::R0, Operand::Imm(7)),
            alu(AluOp::Add, Reg::R0, Operand::Reg(Reg::R2)),
            Insn::Exit,
        ])
    };
    let checked = Options { assert_facts: true };
    let small = ValueFact { umax: 63, ..ValueFact::TOP };
    let mut wrong = program();
    wrong.facts_mut().rhs.set(1, Some(small));
    assert_eq!(run(wrong, checked, 0), Err((TrapKind::FactViolated, 1)));
    let mut right = program();
    right.facts_mut().rhs.set(1, Some(ValueFact { umax: 64, mask: 64, ..ValueFact::TOP }));
    assert_eq!(run(right, checked, 0), Ok(71));
    let negative = ValueFact { smin: i64::MIN, smax: -1, ..ValueFact::TOP };
    let mut signed = program();
    signed.facts_mut().lhs.set(1, Some(negative));
    assert_eq!(run(signed, checked, 0), Err((TrapKind::FactViolated, 1)));
}

/// A program that calls a subprogram of its own, too long to be built in line, twice.
fn with_long_subprogram(last: &[Insn]) -> Verified {
    let call = Insn::Call(crate::isa::Callee::Subprogram(InsnId(8)));
    let mut insns = vec![
        alu(AluOp::Mov, Reg::R1, Operand::Imm(1)),
        call,
        alu(AluOp::Mov, Reg::R6, Operand::Reg(Reg::R0)),
        alu(AluOp::Mov, Reg::R1, Operand::Imm(2)),
        call,
        alu(AluOp::Mul, Reg::R0, Operand::Imm(1000)),
        alu(AluOp::Add, Reg::R0, Operand::Reg(Reg::R6)),
        Insn::Exit,
    ];
    // It ruins r6 of its own and returns its argument plus 30.
    insns.extend([
        alu(AluOp::Mov, Reg::R6, Operand::Imm(30)),
        alu(AluOp::Mov, Reg::R0, Operand::Reg(Reg::R1)),
    ]);
    insns.extend([alu(AluOp::Add, Reg::R0, Operand::Imm(1)); 30]);
    insns.extend_from_slice(last);
    insns.push(Insn::Exit);
    let end = InsnId(u32::try_from(insns.len()).expect("small"));
    let mut verified = verified(insns);
    let facts = verified.facts_mut();
    facts.arguments = vec![0b11, 0b1];
    facts.stack_depth = vec![0, 0];
    facts.zero_stack = vec![false, false];
    let subprograms = &mut verified.program_mut().subprograms;
    subprograms[0].end = InsnId(8);
    subprograms.push(Subprogram { entry: InsnId(8), end, ..subprograms[0].clone() });
    verified
}

#[test]
fn a_subprogram_is_called_with_its_arguments_and_keeps_the_callers_registers() {
    let verified = with_long_subprogram(&[]);
    let module = ir::build(&verified, Options::default()).expect("supported");
    assert_eq!(module.functions.len(), 2);
    assert_eq!(run(verified, Options::default(), 0), Ok(32_031));
}

#[test]
fn a_trap_in_a_subprogram_leaves_all_frames() {
    let again =
        Insn::Branch { op: CmpOp::Ne, width: Width::W64, lhs: Reg::R1, rhs: Operand::Imm(1), to: InsnId(8) };
    let mut verified = with_long_subprogram(&[again]);
    let at = verified.program().insns.iter().position(|&insn| insn == again).expect("it is there");
    verified.facts_mut().fuel[at] = true;
    assert_eq!(
        run(verified, Options::default(), 50),
        Err((TrapKind::Fuel, u32::try_from(at).expect("small")))
    );
}

#[test]
fn proven_divisors_are_not_guarded_and_others_are() {
    let divide = |fact| {
        let mut verified = verified(vec![
            alu(AluOp::Mov, Reg::R0, Operand::Imm(-9)),
            alu(AluOp::Div, Reg::R0, Operand::Reg(Reg::R2)),
            Insn::Exit,
        ]);
        verified.facts_mut().rhs.set(1, fact);
        ir::build(&verified, Options::default()).expect("supported").to_string()
    };
    assert!(divide(None).contains("Select"));
    assert!(divide(Some(ValueFact { umin: 0, umax: 100, ..ValueFact::TOP })).contains("Select"));
    assert!(!divide(Some(ValueFact { umin: 1, ..ValueFact::TOP })).contains("Select"));
    assert!(!divide(Some(ValueFact { bits: 4, mask: !4, ..ValueFact::TOP })).contains("Select"));
}
