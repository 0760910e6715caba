//! Calls of the long programs: helpers, subprograms, callbacks, the deprecated packet access.

use beelift::ProgramType;
use beelift::isa::{AluOp, Callee, CmpOp, Const64, Insn, InsnId, MapSlot, Operand, Reg, Sign, Size, Width};

use super::{CTX, KEPT, Mixed, PACKET, SCRATCH, TEMP};

impl Mixed {
    pub(super) fn some_helper(&mut self) {
        let kinds = if self.calls_back { 9 } else { 8 };
        match self.rng.below(kinds) {
            7 => self.tail_call(),
            8 => self.counted_loop(),
            0 => {
                self.push(Insn::Call(Callee::Helper(8)));
            }
            1 => {
                self.push(Insn::Call(Callee::Helper(5)));
            }
            2 => self.hash_update(),
            3 => self.hash_delete(),
            4 => self.hash_read(),
            5 => self.checksum(),
            _ => self.packet_copy(),
        }
        // The call took r1 to r5 away.
        self.set_numbers(&[Reg::R1, Reg::R2, Reg::R3, Reg::R4]);
    }

    /// A tail call that finds no program. The verifier forgets the packet, because a program might have moved it.
    pub(super) fn tail_call(&mut self) {
        let index = u64::from(self.rng.below(6));
        self.mov(Reg::R1, CTX);
        self.push(Insn::Const { dst: Reg::R2, value: Const64::Map(MapSlot(2)) });
        self.set(Reg::R3, index);
        self.push(Insn::Call(Callee::Helper(12)));
        self.find_packet();
        self.mov(Reg::R0, KEPT);
    }

    /// `bpf_loop` over a callback that works on the scratch bytes.
    pub(super) fn counted_loop(&mut self) {
        self.mov(Reg::R1, KEPT);
        self.alu(AluOp::And, Width::W64, Reg::R1, Operand::Imm(15));
        let at = self.push(Insn::Jump { to: InsnId(0) });
        self.callbacks.push(at);
        self.stack_pointer(Reg::R3, SCRATCH);
        let flags = u64::from(self.rng.chance(10));
        self.set(Reg::R4, flags);
        self.push(Insn::Call(Callee::Helper(181)));
    }

    /// A function of a number and a pointer to the caller's scratch bytes.
    pub(super) fn callback(&mut self) {
        for _ in 0..1 + self.rng.below(4) {
            let (from, to) = (8 * self.rng.below(8) as i16, 8 * self.rng.below(8) as i16);
            let width = self.width();
            let op = self.rng.pick(&[AluOp::Add, AluOp::Xor, AluOp::Mul, AluOp::Sub]);
            self.load(Size::DW, Sign::Zero, Reg::R3, Reg::R2, from);
            self.alu(op, width, Reg::R3, Operand::Reg(Reg::R1));
            self.store(Size::DW, Reg::R2, to, Operand::Reg(Reg::R3));
        }
        let last = i64::from(self.rng.below(20));
        self.set(Reg::R0, 1);
        let stop = self.push(Insn::Branch {
            op: CmpOp::Eq,
            width: Width::W64,
            lhs: Reg::R1,
            rhs: Operand::Imm(last),
            to: InsnId(0),
        });
        self.set(Reg::R0, 0);
        self.patch(stop);
        self.push(Insn::Exit);
    }

    /// A small key, so that keys meet again.
    pub(super) fn hash_key(&mut self) {
        self.mov(TEMP, KEPT);
        self.alu(AluOp::And, Width::W64, TEMP, Operand::Imm(7));
        self.store(Size::DW, Reg::R10, -8, Operand::Reg(TEMP));
    }

    pub(super) fn hash_update(&mut self) {
        self.hash_key();
        self.push(Insn::Const { dst: Reg::R1, value: Const64::Map(MapSlot(1)) });
        self.stack_pointer(Reg::R2, -8);
        self.stack_pointer(Reg::R3, -32);
        let flags = u64::from(self.rng.below(4));
        self.set(Reg::R4, flags);
        self.push(Insn::Call(Callee::Helper(2)));
    }

    pub(super) fn hash_delete(&mut self) {
        self.hash_key();
        self.push(Insn::Const { dst: Reg::R1, value: Const64::Map(MapSlot(1)) });
        self.stack_pointer(Reg::R2, -8);
        self.push(Insn::Call(Callee::Helper(3)));
    }

    pub(super) fn hash_read(&mut self) {
        self.hash_key();
        self.lookup(1, -8);
        let skip = self.push(Insn::Branch {
            op: CmpOp::Eq,
            width: Width::W64,
            lhs: Reg::R0,
            rhs: Operand::Imm(0),
            to: InsnId(0),
        });
        if self.rng.chance(50) {
            self.store(Size::W, Reg::R0, 8, Operand::Reg(KEPT));
        }
        self.load(Size::DW, Sign::Zero, KEPT, Reg::R0, 0);
        self.patch(skip);
        if !(self.flaw && self.rng.chance(30)) {
            self.mov(Reg::R0, KEPT);
        }
    }

    pub(super) fn checksum(&mut self) {
        let (from, to) = (4 * i64::from(self.rng.below(5)), 4 * i64::from(self.rng.below(5)));
        self.stack_pointer(Reg::R1, SCRATCH);
        self.alu(AluOp::Mov, Width::W64, Reg::R2, Operand::Imm(from));
        self.stack_pointer(Reg::R3, SCRATCH + 16);
        self.alu(AluOp::Mov, Width::W64, Reg::R4, Operand::Imm(to));
        self.mov(Reg::R5, KEPT);
        self.push(Insn::Call(Callee::Helper(28)));
    }

    /// Packet bytes to the stack or back by a helper, sometimes past the end.
    pub(super) fn packet_copy(&mut self) {
        let store = self.rng.chance(50);
        let id = self.target.copy[usize::from(store)];
        let offset = i64::from(self.rng.below(PACKET + 80));
        self.mov(Reg::R1, CTX);
        self.alu(AluOp::Mov, Width::W64, Reg::R2, Operand::Imm(offset));
        self.stack_pointer(Reg::R3, SCRATCH);
        let length = i64::from(1 + self.rng.below(32));
        self.alu(AluOp::Mov, Width::W64, Reg::R4, Operand::Imm(length));
        let moves = store && self.target.prog_type == ProgramType::SchedCls;
        if moves {
            let flags = u64::from(self.rng.below(3));
            self.set(Reg::R5, flags);
        }
        self.push(Insn::Call(Callee::Helper(id)));
        if moves {
            self.find_packet();
        }
    }

    /// The deprecated packet access, now and then past the end, which ends the program.
    pub(super) fn legacy_packet(&mut self) {
        let size = self.rng.pick(&[Size::B, Size::H, Size::W]);
        let off = if self.rng.chance(5) { self.rng.below(PACKET + 80) } else { self.rng.below(12) };
        let index = self.rng.chance(50).then(|| {
            self.mov(TEMP, KEPT);
            self.alu(AluOp::And, Width::W64, TEMP, Operand::Imm(31));
            TEMP
        });
        self.push(Insn::LegacyPacket { size, index, off: off.cast_signed() });
        self.set_numbers(&[Reg::R1, Reg::R2, Reg::R3, Reg::R4]);
    }

    pub(super) fn some_call(&mut self) {
        let at = self.push(Insn::Call(Callee::Subprogram(InsnId(0))));
        self.subprograms.push(at);
        self.set_numbers(&[Reg::R1, Reg::R2, Reg::R3, Reg::R4]);
    }

    /// A function of r1 to r4.
    pub(super) fn subprogram(&mut self) {
        self.mov(Reg::R0, Reg::R1);
        for _ in 0..2 + self.rng.below(6) {
            let registers = [Reg::R0, Reg::R1, Reg::R2, Reg::R3, Reg::R4];
            let (dst, src) = (self.rng.pick(&registers), self.rng.pick(&registers));
            let op = self.rng.pick(&[AluOp::Add, AluOp::Xor, AluOp::Mul, AluOp::Sub, AluOp::Lsh, AluOp::Div]);
            let width = self.width();
            self.alu(op, width, dst, Operand::Reg(src));
        }
        self.store(Size::DW, Reg::R10, -8, Operand::Reg(Reg::R2));
        self.load(Size::W, Sign::Signed, Reg::R3, Reg::R10, -8);
        self.alu(AluOp::Xor, Width::W64, Reg::R0, Operand::Reg(Reg::R3));
        self.push(Insn::Exit);
    }
}
