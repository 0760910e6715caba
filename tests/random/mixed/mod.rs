//! Long programs of everything: arithmetic, accesses, helpers, branches and loops in any order.
//!
//! A program is of type `xdp` or `sched_cls`, reads context, packet, stack, an array and a hash map, ends by hashing
//! every scalar register into r0 and into the array, and returns the hash.

mod access;
mod calls;

use std::ops::{Deref, DerefMut};

use beelift::ProgramType;
use beelift::isa::{AluOp, ByteOrder, Callee, CmpOp, Const64, Insn, InsnId, Operand, Reg, Sign, Size, Width};

use super::code::{CTX, Code};
use super::{Case, Family, INPUTS, PACKET, Rng, VALUE, input, maps};

/// Stack slots that are written before anything reads them: r10-64 to r10-1.
const SCRATCH: i16 = -64;

pub(super) fn case(seed: u64, mut rng: Rng) -> Case {
    let flawed = rng.chance(15);
    let first = input(ProgramType::Xdp, &mut rng);
    // From a sequence of their own, so that their number does not change the program.
    let mut others = Rng::new(!seed);
    let inputs =
        std::iter::once(first).chain((1..INPUTS).map(|_| input(ProgramType::Xdp, &mut others))).collect();
    let calls_back = rng.chance(10);
    let target = if rng.chance(25) { &SCHED_CLS } else { &XDP };
    let mut mixed = Mixed {
        code: Code::new(rng, target.prog_type, flawed),
        target,
        subprograms: Vec::new(),
        callbacks: Vec::new(),
        calls_back,
    };
    mixed.program();
    let insns = mixed.code.insns;
    Case {
        family: Family::Mixed,
        seed,
        prog_type: target.prog_type,
        insns,
        maps: maps(Family::Mixed, false),
        inputs,
    }
}

const PKT: Reg = Reg::R7;
const KEPT: Reg = Reg::R8;
const VAL: Reg = Reg::R9;
/// Registers that always hold numbers in the body.
const NUMBERS: [Reg; 6] = [Reg::R0, Reg::R1, Reg::R2, Reg::R3, Reg::R4, KEPT];
/// Scratch for pointers and loop counters.
const TEMP: Reg = Reg::R5;

/// What depends on the program type.
struct Target {
    prog_type: ProgramType,
    /// Context offsets of the packet's start and end.
    packet: [i16; 2],
    /// Context offsets of 32-bit numbers.
    numbers: &'static [i16],
    /// Helpers that copy packet bytes to the stack and back: `(ctx, offset, buffer, length)`.
    copy: [u32; 2],
}

const XDP: Target =
    Target { prog_type: ProgramType::Xdp, packet: [0, 4], numbers: &[12, 16], copy: [189, 190] };
/// Length, mark and protocol.
const SCHED_CLS: Target =
    Target { prog_type: ProgramType::SchedCls, packet: [76, 80], numbers: &[0, 8, 16], copy: [26, 9] };

struct Mixed {
    code: Code,
    target: &'static Target,
    /// Calls to patch: position of the call.
    subprograms: Vec<usize>,
    /// Addresses of the callback to patch: position of the instruction.
    callbacks: Vec<usize>,
    /// Whether the program may call back: the kernel wants types for that.
    calls_back: bool,
}

impl Deref for Mixed {
    type Target = Code;
    fn deref(&self) -> &Code {
        &self.code
    }
}

impl DerefMut for Mixed {
    fn deref_mut(&mut self) -> &mut Code {
        &mut self.code
    }
}

impl Mixed {
    fn number(&mut self) -> Reg {
        self.rng.pick(&NUMBERS)
    }
    fn operand(&mut self) -> Operand {
        if self.rng.chance(60) { Operand::Reg(self.number()) } else { Operand::Imm(self.imm()) }
    }

    /// Prologue, body, epilogue, subprograms.
    fn program(&mut self) {
        self.prologue();
        let steps = 4 + self.rng.below(36);
        self.block(steps, 2);
        self.hash_all();
        let calls = std::mem::take(&mut self.subprograms);
        if !calls.is_empty() {
            let entry = self.here();
            for call in calls {
                self.insns[call] = Insn::Call(Callee::Subprogram(entry));
            }
            self.subprogram();
        }
        let callbacks = std::mem::take(&mut self.callbacks);
        if !callbacks.is_empty() {
            let entry = self.here();
            for at in callbacks {
                self.insns[at] = Insn::Const { dst: Reg::R2, value: Const64::Function(entry) };
            }
            self.callback();
        }
    }

    fn prologue(&mut self) {
        self.mov(CTX, Reg::R1);
        self.find_packet();
        let key = i64::from(self.rng.below(4));
        self.store(Size::W, Reg::R10, -4, Operand::Imm(key));
        self.lookup(0, -4);
        self.exit_unless_fit(CmpOp::Eq, Reg::R0, Operand::Imm(0));
        self.mov(VAL, Reg::R0);
        for slot in (SCRATCH..0).step_by(8) {
            if self.rng.chance(50) {
                let value = self.imm();
                self.store(Size::DW, Reg::R10, slot, Operand::Imm(value));
            } else {
                let value = self.rng.interesting();
                self.set(Reg::R1, value);
                self.store(Size::DW, Reg::R10, slot, Operand::Reg(Reg::R1));
            }
        }
        self.set_numbers(&NUMBERS);
    }

    fn find_packet(&mut self) {
        let [start, end] = self.target.packet;
        self.load(Size::W, Sign::Zero, PKT, CTX, start);
        self.load(Size::W, Sign::Zero, Reg::R3, CTX, end);
        self.mov(Reg::R2, PKT);
        self.alu(AluOp::Add, Width::W64, Reg::R2, Operand::Imm(i64::from(PACKET)));
        self.exit_unless_fit(CmpOp::Gt, Reg::R2, Operand::Reg(Reg::R3));
    }

    /// Numbers of unknown and of known value in registers.
    fn set_numbers(&mut self, registers: &[Reg]) {
        for &register in registers {
            let (size, off) = (self.size(), self.rng.below(PACKET - 8) as i16);
            match self.rng.below(4) {
                0 => {
                    let value = self.rng.interesting();
                    self.set(register, value);
                }
                1 => self.load(size, Sign::Zero, register, PKT, off),
                2 => self.load(size, Sign::Zero, register, VAL, off),
                _ => {
                    let numbers = self.target.numbers;
                    let field = self.rng.pick(numbers);
                    self.load(Size::W, Sign::Zero, register, CTX, field);
                }
            }
        }
    }

    fn exit_unless_fit(&mut self, op: CmpOp, lhs: Reg, rhs: Operand) {
        let at = self.push(Insn::Branch { op, width: Width::W64, lhs, rhs, to: InsnId(0) });
        self.push_exit(at);
    }

    fn block(&mut self, steps: u32, depth: u32) {
        for _ in 0..steps {
            match self.rng.below(if depth > 0 { 27 } else { 21 }) {
                0..=7 => self.arithmetic(),
                8 => self.swap(),
                9 if self.target.prog_type == ProgramType::SchedCls && self.rng.chance(50) => {
                    self.legacy_packet();
                }
                9 | 10 => self.packet_access(),
                11 | 12 => self.value_access(),
                13 | 14 => self.stack_access(),
                15 => self.atomic(),
                16 => self.variable_access(),
                17 => self.spill(),
                18 => self.some_helper(),
                19 => self.some_call(),
                20 => self.ordered(),
                21..=24 => self.some_branch(depth),
                _ => self.repeat(depth),
            }
        }
    }

    fn arithmetic(&mut self) {
        let (dst, mut width, mut op) = (self.number(), self.width(), self.rng.pick(&AluOp::ALL));
        let src = match op {
            AluOp::Neg => Operand::Imm(0),
            AluOp::Lsh | AluOp::Rsh | AluOp::Arsh => {
                if self.rng.chance(40) {
                    Operand::Reg(self.number())
                } else {
                    Operand::Imm(i64::from(self.rng.below(width.bits())))
                }
            }
            AluOp::MovSx8 | AluOp::MovSx16 => Operand::Reg(self.number()),
            AluOp::MovSx32 => {
                width = Width::W64;
                Operand::Reg(self.number())
            }
            AluOp::Div | AluOp::Mod | AluOp::SDiv | AluOp::SMod => match self.operand() {
                // The kernel refuses a constant zero divisor.
                Operand::Imm(0) => {
                    op = AluOp::Xor;
                    Operand::Imm(3)
                }
                src => src,
            },
            AluOp::Add | AluOp::Sub | AluOp::Mul | AluOp::Or | AluOp::And | AluOp::Xor | AluOp::Mov => {
                self.operand()
            }
        };
        self.alu(op, width, dst, src);
    }

    fn swap(&mut self) {
        let (dst, order) =
            (self.number(), self.rng.pick(&[ByteOrder::Little, ByteOrder::Big, ByteOrder::Swap]));
        let size = self.rng.pick(&[Size::H, Size::W, Size::DW]);
        self.push(Insn::Swap { order, size, dst });
    }

    fn some_branch(&mut self, depth: u32) {
        let (op, width, lhs, rhs) = (self.rng.pick(&CmpOp::ALL), self.width(), self.number(), self.operand());
        let at = self.push(Insn::Branch { op, width, lhs, rhs, to: InsnId(0) });
        let steps = 1 + self.rng.below(5);
        self.block(steps, depth - 1);
        if self.rng.chance(40) {
            let over = self.push(Insn::Jump { to: InsnId(0) });
            self.patch(at);
            let steps = 1 + self.rng.below(4);
            self.block(steps, depth - 1);
            self.patch(over);
        } else {
            self.patch(at);
        }
    }

    /// A counted loop; the counter lives on the stack, away from what the body touches.
    fn repeat(&mut self, depth: u32) {
        let slot = -112 - 8 * depth as i16;
        let turns = i64::from(2 + self.rng.below(6));
        self.store(Size::DW, Reg::R10, slot, Operand::Imm(0));
        let head = self.here();
        // A budget that is never used up, besides the counter.
        let bounded = self.rng.chance(25).then(|| self.push(Insn::MayGoto { to: InsnId(0) }));
        let steps = 1 + self.rng.below(4);
        self.block(steps, depth - 1);
        self.load(Size::DW, Sign::Zero, TEMP, Reg::R10, slot);
        self.alu(AluOp::Add, Width::W64, TEMP, Operand::Imm(1));
        self.store(Size::DW, Reg::R10, slot, Operand::Reg(TEMP));
        self.push(Insn::Branch {
            op: CmpOp::Lt,
            width: Width::W64,
            lhs: TEMP,
            rhs: Operand::Imm(turns),
            to: head,
        });
        if let Some(at) = bounded {
            self.patch(at);
        }
    }

    /// Hashes the numbers into r0 and the array, and the common exit.
    fn hash_all(&mut self) {
        for register in NUMBERS.into_iter().skip(1) {
            self.alu(AluOp::Mul, Width::W64, Reg::R0, Operand::Imm(0x0100_0193));
            self.alu(AluOp::Xor, Width::W64, Reg::R0, Operand::Reg(register));
        }
        for slot in (SCRATCH..0).step_by(8) {
            self.load(Size::DW, Sign::Zero, Reg::R1, Reg::R10, slot);
            self.alu(AluOp::Mul, Width::W64, Reg::R0, Operand::Imm(0x0100_0193));
            self.alu(AluOp::Xor, Width::W64, Reg::R0, Operand::Reg(Reg::R1));
        }
        self.store(Size::DW, VAL, 0, Operand::Reg(Reg::R0));
        let over = self.push(Insn::Jump { to: InsnId(0) });
        self.patch_exits();
        self.set(Reg::R0, 0);
        self.patch(over);
        self.push(Insn::Exit);
    }
}
