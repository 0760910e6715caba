//! Tables of the verifier against the kernel, row by row: helpers, kernel functions and context fields by program type.
//!
//! Each row is a small program that both verifiers judge. Differences that are known are listed here, each with its
//! reason; a row that is listed and does not differ fails as well. `BEELIFT_SWEEP=all` judges all rows; else calls
//! are tried with one shape of arguments each, and every eleventh context access.

use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

use beelift::btf::KernelTypes;
use beelift::isa::encode::{Verbatim, encode};
use beelift::isa::{AluOp, Callee, Insn, KfuncSlot, Operand, Reg, Sign, Size, Width};
use beelift::kernel::{KernelProgram, KernelSymbols, LogLevel, RawProgram};
use beelift::link::{Kfunc, Program};
use beelift::runtime::ctx::ProgramType;
use beelift::runtime::helper;
use beelift::verify::{self, Failure, Options, Policy, Reason};

use crate::require;

/// Program types that load without a target, each with an attach type that it takes.
fn types() -> impl Iterator<Item = (ProgramType, u32)> {
    ProgramType::ALL.iter().filter_map(|&program_type| {
        use ProgramType as P;
        let attach_type = match program_type {
            P::Unspec | P::Tracing | P::StructOps | P::Ext | P::Lsm | P::LircMode2 | P::Memory | P::Host => {
                return None;
            }
            P::RawTracepointWritable => return None,
            P::CgroupSockAddr => 10,
            P::CgroupSock => 2,
            P::CgroupSockopt => 22,
            P::CgroupDevice => 6,
            P::CgroupSysctl => 18,
            P::SockOps => 3,
            P::SkLookup => 36,
            P::Netfilter => 45,
            P::SkReuseport => 39,
            _ => 0,
        };
        Some((program_type, attach_type))
    })
}

fn mov(dst: Reg, value: i64) -> Insn {
    Insn::Alu { op: AluOp::Mov, width: Width::W64, dst, src: Operand::Imm(value) }
}

fn copy(dst: Reg, src: Reg) -> Insn {
    Insn::Alu { op: AluOp::Mov, width: Width::W64, dst, src: Operand::Reg(src) }
}

/// The kernel's types are read once.
fn kernel_types() -> Arc<KernelTypes> {
    static TYPES: OnceLock<Arc<KernelTypes>> = OnceLock::new();
    Arc::clone(TYPES.get_or_init(Arc::default))
}

fn program(program_type: ProgramType, attach_type: u32, insns: Vec<Insn>) -> Program {
    let slots = [beelift::isa::Slot::new(0xb7, 0, 0, 0, 0), beelift::isa::Slot::new(0x95, 0, 0, 0, 0)];
    let mut program =
        Program::from_slots(program_type, &slots, Arc::from(Vec::new())).expect("two instructions");
    program.attach_type = attach_type;
    program.pcs = beelift::isa::encode::pcs_of(&insns);
    program.subprograms[0].end = beelift::isa::InsnId(u32::try_from(insns.len()).expect("few"));
    program.insns = insns;
    program.kernel_types = kernel_types();
    program
}

/// What a verifier said: accepted, or the class of its reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Said {
    Accepted,
    /// The program type has no such thing.
    NotForType,
    Rejected,
    Unsupported,
}

fn ours(program: Program) -> (Said, String) {
    match verify::verify(program, &Options::with_policy(Policy::KERNEL)) {
        Ok(_) => (Said::Accepted, String::new()),
        Err(Failure::Rejected(rejected)) => {
            let said = match rejected.reason {
                Reason::HelperNotAllowed { .. }
                | Reason::UnknownHelper { .. }
                | Reason::KfuncNotAllowed { .. } => Said::NotForType,
                _ => Said::Rejected,
            };
            (said, rejected.reason.to_string())
        }
        Err(other) => (Said::Unsupported, other.to_string()),
    }
}

/// `kfunc`: the number that the kernel knows the called function by.
fn theirs(program: &Program, kfunc: u32) -> (Said, String) {
    let mut insns = program.insns.clone();
    for insn in &mut insns {
        if let Insn::Call(Callee::Kfunc { kfunc: slot, .. }) = insn {
            *slot = KfuncSlot(kfunc);
        }
    }
    let encoded = encode(&insns, &mut Verbatim).expect("instructions that have encodings");
    let mut raw = RawProgram::new(program.prog_type, &encoded.slots);
    raw.attach_type = program.attach_type;
    raw.flags = program.prog_flags;
    match KernelProgram::load_raw(&raw, LogLevel::Silent) {
        Ok(_) => (Said::Accepted, String::new()),
        Err(error) => {
            let message = error.log.as_ref().map_or_else(|| error.to_string(), |log| log.message.clone());
            let not_for_type = [
                "cannot use helper",
                "unknown func",
                "is not allowed",
                "invalid func",
                "not supported for program",
                // Asked before whether the type may call it at all.
                "require device-bound program",
            ];
            let said = if not_for_type.iter().any(|part| message.contains(part)) {
                Said::NotForType
            } else {
                Said::Rejected
            };
            (said, message)
        }
    }
}

/// Rows judged, and those that differ.
#[derive(Default)]
struct Sweep {
    rows: usize,
    accepted: usize,
    unsupported: usize,
    differ: Vec<(String, String)>,
}

impl Sweep {
    fn judge(&mut self, name: impl FnOnce() -> String, program: Program, kfunc: u32) {
        self.rows += 1;
        let (kernel, message) = theirs(&program, kfunc);
        let (here, reason) = ours(program);
        self.accepted += usize::from(kernel == Said::Accepted);
        if here == Said::Unsupported {
            self.unsupported += 1;
            if kernel == Said::Accepted {
                self.differ.push((name(), format!("unsupported: {reason}; kernel: accepted")));
            }
        } else if here != kernel {
            self.differ.push((name(), format!("{here:?} {reason}; kernel: {kernel:?} {message}")));
        }
    }

    /// Every difference is known, and every known one shows.
    fn finish(self, what: &str, known: &[(&str, &str)], complete: bool) {
        let mut wrong = String::new();
        for (name, difference) in &self.differ {
            if !known.iter().any(|(row, _)| name.contains(row)) {
                writeln!(wrong, "{name}: {difference}").expect("a string");
            }
        }
        for (row, reason) in known {
            // Another kernel may be built with what this one lacks.
            let depends = reason.starts_with("kernels ");
            if complete && !depends && !self.differ.iter().any(|(name, _)| name.contains(row)) {
                writeln!(wrong, "{row} is listed ({reason}), but does not differ").expect("a string");
            }
        }
        let summary = format!(
            "{what}: {} rows, {} accepted by the kernel, {} not supported here, {} differ",
            self.rows,
            self.accepted,
            self.unsupported,
            self.differ.len()
        );
        if std::env::var_os("BEELIFT_SWEEP").is_some() {
            println!("{summary}");
        }
        assert!(wrong.is_empty(), "{summary}\n{wrong}");
        assert!(self.rows > 100 && self.accepted > 10, "{summary}");
    }
}

fn everything() -> bool {
    std::env::var_os("BEELIFT_SWEEP").is_some_and(|value| value == "all")
}

/// Arguments of a call: numbers; the context and buffers with sizes; pointers into the stack; the context everywhere.
fn arguments(shape: usize) -> Vec<Insn> {
    let buffer = |reg: Reg, off: i64| {
        [
            copy(reg, Reg::R10),
            Insn::Alu { op: AluOp::Add, width: Width::W64, dst: reg, src: Operand::Imm(off) },
        ]
    };
    let mut insns = vec![copy(Reg::R6, Reg::R1)];
    let zeros = (1..=8).map(|word| Insn::Store {
        size: Size::DW,
        base: Reg::R10,
        off: -8 * word,
        src: Operand::Imm(0),
    });
    insns.extend(zeros);
    match shape {
        0 => insns.extend(Reg::ARGS.map(|reg| mov(reg, 0))),
        1 => {
            insns.push(copy(Reg::R1, Reg::R6));
            insns.extend(buffer(Reg::R2, -64));
            insns.push(mov(Reg::R3, 16));
            insns.extend(buffer(Reg::R4, -32));
            insns.push(mov(Reg::R5, 16));
        }
        2 => {
            for (reg, off) in Reg::ARGS.into_iter().zip([-64, -48, -40, -32, -16]) {
                insns.extend(buffer(reg, off));
            }
        }
        3 => {
            insns.extend(buffer(Reg::R1, -64));
            insns.push(mov(Reg::R2, 16));
            insns.extend(buffer(Reg::R3, -32));
            insns.push(mov(Reg::R4, 8));
            insns.push(mov(Reg::R5, 0));
        }
        _ => {
            insns.push(copy(Reg::R1, Reg::R6));
            insns.push(mov(Reg::R2, 1));
            insns.extend(buffer(Reg::R3, -64));
            insns.push(mov(Reg::R4, 16));
            insns.push(mov(Reg::R5, 0));
        }
    }
    insns
}

const SHAPES: usize = 5;

/// Shapes to try: all of them, or the next one in turn.
fn shapes(turn: &mut usize) -> std::ops::Range<usize> {
    if everything() {
        return 0..SHAPES;
    }
    *turn = (*turn + 1) % SHAPES;
    *turn..*turn + 1
}

#[test]
fn every_helper_serves_the_program_types_that_the_kernel_lets_call_it() {
    if !require::kernel("every_helper_serves_the_program_types_that_the_kernel_lets_call_it") {
        return;
    }
    let (mut sweep, mut turn) = (Sweep::default(), 0);
    for (program_type, attach_type) in types() {
        for number in 1..=212 {
            let name = helper::by_id(number).map_or("unknown", |helper| helper.name);
            for shape in shapes(&mut turn) {
                let mut insns = arguments(shape);
                insns.extend([Insn::Call(Callee::Helper(number)), mov(Reg::R0, 0), Insn::Exit]);
                let program = program(program_type, attach_type, insns);
                sweep.judge(|| format!("{program_type} {name} {number} shape {shape}"), program, 0);
            }
        }
    }
    sweep.finish("helpers", KNOWN_HELPERS, everything());
}

#[test]
fn every_kernel_function_serves_the_program_types_that_the_kernel_lets_call_it() {
    if !require::kernel("every_kernel_function_serves_the_program_types_that_the_kernel_lets_call_it") {
        return;
    }
    let symbols = KernelSymbols::default();
    let (mut sweep, mut turn) = (Sweep::default(), 0);
    for name in verify::kernel_functions() {
        // Another kernel, built otherwise, lacks some.
        let Some(id) = symbols.function(name) else { continue };
        for (program_type, attach_type) in types() {
            for shape in shapes(&mut turn) {
                let mut insns = arguments(shape);
                let call = Callee::Kfunc { kfunc: KfuncSlot(0), module: 0 };
                insns.extend([Insn::Call(call), mov(Reg::R0, 0), Insn::Exit]);
                let mut program = program(program_type, attach_type, insns);
                program.kfuncs = vec![Kfunc { name: name.to_owned(), weak: false, btf_func: 0 }];
                sweep.judge(|| format!("{program_type} {name} shape {shape}"), program, id);
            }
        }
    }
    sweep.finish("kernel functions", KNOWN_KFUNCS, everything());
}

#[test]
fn every_context_field_is_accessible_as_in_the_kernel() {
    if !require::kernel("every_context_field_is_accessible_as_in_the_kernel") {
        return;
    }
    let mut sweep = Sweep::default();
    let mut skip = 0;
    for (program_type, attach_type) in types() {
        for off in 0..=280i16 {
            for size in [Size::B, Size::H, Size::W, Size::DW] {
                for write in [false, true] {
                    skip += 1;
                    if !everything() && (skip + usize::from(write)) % 11 != 0 {
                        continue;
                    }
                    let access = if write {
                        Insn::Store { size, base: Reg::R1, off, src: Operand::Imm(0) }
                    } else {
                        Insn::Load { size, sign: Sign::Zero, dst: Reg::R2, base: Reg::R1, off }
                    };
                    let program =
                        program(program_type, attach_type, vec![access, mov(Reg::R0, 0), Insn::Exit]);
                    let name = || {
                        let what = if write { "store" } else { "load" };
                        format!("{program_type} {what} of {} at {off}.", size.bytes())
                    };
                    sweep.judge(name, program, 0);
                }
            }
        }
    }
    sweep.finish("context accesses", KNOWN_ACCESSES, everything());
}

/// Rows that differ, by a part of their names, and why.
const KNOWN_HELPERS: &[(&str, &str)] = &[
    ("bpf_override_return", "kernels without error injection have no such helper"),
    ("bpf_get_func_ip", "the kernel looks at the argument before the program type"),
    ("bpf_probe_write_user", "kernels that are locked down have no such helper"),
];
const KNOWN_KFUNCS: &[(&str, &str)] = &[];
const KNOWN_ACCESSES: &[(&str, &str)] = &[];
