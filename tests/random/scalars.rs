//! Numbers of small programs: where they come from, how they are bounded, the accesses that they decide.

use beelift::ProgramType;
use beelift::isa::{
    AluOp, AtomicOp, ByteOrder, CmpOp, Const64, Insn, MapSlot, Operand, Reg, Sign, Size, Width,
};

use super::code::{CTX, Code};
use super::{CONTEXT, VALUE, slot};

/// Scratch for offsets.
pub(super) const TEMP: Reg = Reg::R5;
/// Scratch for pointers.
pub(super) const BASE: Reg = Reg::R9;
/// Registers that hold numbers.
pub(super) const NUMBERS: [Reg; 7] = [Reg::R0, Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R7, Reg::R8];
/// Stack bytes that are written before anything reads them.
pub(super) const FILLED: i16 = -32;
/// A slot of its own for what is spilled while it is bounded.
const BOUNDED: i16 = -80;

impl Code {
    /// `dst` becomes the address of the single value of the array of one.
    pub(super) fn global(&mut self, dst: Reg, off: u32) {
        self.push(Insn::Const { dst, value: Const64::MapValue(MapSlot(slot::GLOBAL), off) });
    }

    /// A number of which nothing is known but its size.
    pub(super) fn unknown(&mut self, dst: Reg) {
        match self.prog_type {
            ProgramType::RawTracepoint => {
                let off = 8 * self.rng.below(CONTEXT / 8) as i16;
                self.load(Size::DW, Sign::Zero, dst, CTX, off);
            }
            ProgramType::Syscall => {
                let size = self.rng.pick(&[Size::B, Size::H, Size::W, Size::DW, Size::DW, Size::DW]);
                let off = self.rng.below(CONTEXT / size.bytes()) * size.bytes();
                let sign = if size != Size::DW && self.rng.chance(20) { Sign::Signed } else { Sign::Zero };
                self.load(size, sign, dst, CTX, off as i16);
            }
            _ => {
                let size = self.size();
                let off = self.rng.below(VALUE - size.bytes());
                self.global(dst, off);
                self.load(size, Sign::Zero, dst, dst, 0);
            }
        }
    }

    /// Numbers, unknown or not, in some registers.
    pub(super) fn some_numbers(&mut self, from: &[Reg], most: u32) {
        for _ in 0..1 + self.rng.below(most) {
            let dst = self.rng.pick(from);
            if self.rng.chance(75) {
                self.unknown(dst);
            } else {
                let value = self.rng.interesting();
                self.set(dst, value);
            }
        }
    }

    pub(super) fn operand(&mut self) -> Operand {
        if self.rng.chance(50) { Operand::Reg(self.number()) } else { Operand::Imm(self.imm()) }
    }

    /// An operation on a number that may be anything.
    pub(super) fn arithmetic(&mut self, dst: Reg) {
        let (mut width, mut op) = (self.width(), self.rng.pick(&AluOp::ALL));
        let src = match op {
            AluOp::Neg => Operand::Imm(0),
            AluOp::Lsh | AluOp::Rsh | AluOp::Arsh if self.rng.chance(70) => {
                Operand::Imm(i64::from(self.rng.below(width.bits())))
            }
            AluOp::MovSx8 | AluOp::MovSx16 => Operand::Reg(self.number()),
            AluOp::MovSx32 => {
                width = Width::W64;
                Operand::Reg(self.number())
            }
            AluOp::Lsh | AluOp::Rsh | AluOp::Arsh => Operand::Reg(self.number()),
            AluOp::Div
            | AluOp::Mod
            | AluOp::SDiv
            | AluOp::SMod
            | AluOp::Add
            | AluOp::Sub
            | AluOp::Mul
            | AluOp::Or
            | AluOp::And
            | AluOp::Xor
            | AluOp::Mov => self.operand(),
        };
        if matches!(op, AluOp::Div | AluOp::Mod | AluOp::SDiv | AluOp::SMod) && src == Operand::Imm(0) {
            // The kernel refuses a constant zero divisor.
            op = AluOp::Xor;
        }
        self.alu(op, width, dst, src);
    }

    pub(super) fn swap(&mut self, dst: Reg) {
        let order = self.rng.pick(&[ByteOrder::Little, ByteOrder::Big, ByteOrder::Swap]);
        let size = self.rng.pick(&[Size::H, Size::W, Size::DW]);
        self.push(Insn::Swap { order, size, dst });
    }

    /// Leaves unless `register <= limit`, unsigned, in one of the ways to say so.
    pub(super) fn exit_above(&mut self, width: Width, register: Reg, limit: i64) {
        match self.rng.below(4) {
            0 => self.exit_if(CmpOp::Ge, width, register, Operand::Imm(limit + 1)),
            1 => {
                let (op, limit) = self.rng.pick(&[(CmpOp::Le, limit), (CmpOp::Lt, limit + 1)]);
                let inside = self.branch(op, width, register, Operand::Imm(limit));
                let out = self.here().index();
                let _ = self.jump();
                self.push_exit(out);
                self.land(inside);
            }
            _ => self.exit_if(CmpOp::Gt, width, register, Operand::Imm(limit)),
        }
    }

    /// Makes a number at most `most` (a little more, if that is the flaw).
    pub(super) fn bound(&mut self, reg: Reg, most: u32) {
        let slack = if self.flawed(60) { 1 + self.rng.below(6) } else { 0 };
        let most = most + slack;
        let limit = i64::from(most);
        let bits = (most + 1).ilog2();
        let mask = (1_i64 << bits) - 1;
        match self.rng.below(24) {
            0 => self.alu_imm(AluOp::And, reg, mask),
            1 => self.alu(AluOp::And, Width::W32, reg, Operand::Imm(mask)),
            2 if bits > 0 => self.alu_imm(AluOp::Rsh, reg, i64::from(64 - bits)),
            3 if bits > 0 => self.alu(AluOp::Rsh, Width::W32, reg, Operand::Imm(i64::from(32 - bits))),
            4 => {
                self.narrow(reg);
                let width = self.width();
                self.exit_above(width, reg, limit);
            }
            5 => {
                self.exit_above(Width::W32, reg, limit);
                if !self.flawed(40) {
                    self.narrow(reg);
                }
            }
            6 | 7 => {
                let width = self.width();
                let low_first = self.rng.chance(50);
                if low_first && !self.flawed(40) {
                    self.exit_if(CmpOp::SLt, width, reg, Operand::Imm(0));
                }
                self.exit_if(CmpOp::SGt, width, reg, Operand::Imm(limit));
                if !low_first && !self.flawed(40) {
                    self.exit_if(CmpOp::SLe, width, reg, Operand::Imm(-1));
                }
                if width == Width::W32 {
                    self.narrow(reg);
                }
            }
            8 => {
                let inside = self.branch(CmpOp::Le, Width::W64, reg, Operand::Imm(limit));
                let value = u64::from(self.rng.below(most + 1));
                self.set(reg, value);
                self.land(inside);
            }
            9 => self.exit_if(CmpOp::Set, Width::W64, reg, Operand::Imm(!mask)),
            10 => {
                self.mov(TEMP_OF[usize::from(reg == TEMP)], reg);
                self.exit_above(Width::W64, TEMP_OF[usize::from(reg == TEMP)], limit);
            }
            11 => {
                let other = TEMP_OF[usize::from(reg == TEMP)];
                let more = i64::from(1 + self.rng.below(100));
                self.mov(other, reg);
                self.alu_imm(AluOp::Add, other, more);
                self.exit_if(CmpOp::Lt, Width::W64, other, Operand::Imm(more));
                self.exit_above(Width::W64, other, limit + more);
            }
            12 => {
                let other = TEMP_OF[usize::from(reg == TEMP)];
                self.set(other, u64::from(most));
                self.exit_if(CmpOp::Gt, Width::W64, reg, Operand::Reg(other));
            }
            13 => {
                let other = TEMP_OF[usize::from(reg == TEMP)];
                self.unknown(other);
                self.alu_imm(AluOp::And, other, mask);
                self.exit_if(CmpOp::Gt, Width::W64, reg, Operand::Reg(other));
            }
            14 => {
                let below = self.imm() >> self.rng.below(24) & 0xfff_ffff;
                self.exit_if(CmpOp::Lt, Width::W64, reg, Operand::Imm(below));
                self.exit_above(Width::W64, reg, limit + below);
                self.alu_imm(AluOp::Sub, reg, below);
            }
            15 | 16 => {
                self.store(Size::DW, Reg::R10, BOUNDED, Operand::Reg(reg));
                self.exit_above(Width::W64, reg, limit);
                self.load(Size::DW, Sign::Zero, reg, Reg::R10, BOUNDED);
            }
            17 => {
                self.alu_imm(AluOp::Mod, reg, limit + 1);
                self.exit_above(Width::W64, reg, limit);
            }
            18 => {
                let op = self.rng.pick(&[AluOp::MovSx8, AluOp::MovSx16, AluOp::MovSx32]);
                self.alu_reg(op, reg, reg);
                self.exit_if(CmpOp::SLt, Width::W64, reg, Operand::Imm(0));
                self.exit_above(Width::W64, reg, limit);
            }
            19 => {
                let value = i64::from(self.rng.below(most + 1));
                let width = self.width();
                self.exit_if(CmpOp::Ne, width, reg, Operand::Imm(value));
                if width == Width::W32 {
                    self.narrow(reg);
                }
            }
            20 | 21 => self.bound_by_steps(reg, most),
            22 => {
                self.push(Insn::Swap { order: ByteOrder::Big, size: Size::H, dst: reg });
                self.exit_above(Width::W64, reg, limit);
            }
            _ => self.exit_above(Width::W64, reg, limit),
        }
    }

    /// As [`Code::bound`], without scratch registers and leaving nothing behind.
    pub(super) fn bound_alone(&mut self, reg: Reg, most: u32) {
        let slack = if self.flawed(50) { 1 + self.rng.below(6) } else { 0 };
        let limit = most + slack;
        match self.rng.below(3) {
            0 => self.alu_imm(AluOp::And, reg, (1 << (limit + 1).ilog2()) - 1),
            1 => self.bound_by_steps(reg, limit),
            _ => {
                let inside = self.branch(CmpOp::Le, Width::W64, reg, Operand::Imm(i64::from(limit)));
                self.set(reg, u64::from(most));
                self.land(inside);
            }
        }
    }

    /// A small number grows by steps that stay below the limit.
    fn bound_by_steps(&mut self, reg: Reg, most: u32) {
        let mut now = self.rng.below(most.min(7) + 1).next_power_of_two() - 1;
        self.alu_imm(AluOp::And, reg, i64::from(now));
        for _ in 0..1 + self.rng.below(4) {
            let width = self.width();
            let amount = 1 + self.rng.below(5);
            let (op, next) = match self.rng.below(5) {
                0 => (AluOp::Add, now + amount),
                1 => (AluOp::Lsh, now << amount),
                2 => (AluOp::Mul, now * amount),
                3 => (AluOp::Or, (now | amount).next_power_of_two().max(now + amount)),
                _ => (AluOp::Xor, ((now.max(amount) + 1).next_power_of_two()) - 1),
            };
            if next <= most {
                self.alu(op, width, reg, Operand::Imm(i64::from(amount)));
                now = next;
            }
        }
    }

    /// Forgets the upper half.
    fn narrow(&mut self, reg: Reg) {
        self.alu(AluOp::Mov, Width::W32, reg, Operand::Reg(reg));
    }

    /// A load, store or atomic through a pointer to aligned bytes.
    pub(super) fn touch(&mut self, size: Size, pointer: Reg, off: i16) {
        let aligned = off.unsigned_abs().is_multiple_of(size.bytes() as u16); // 8 at most
        self.touch_at(size, pointer, off, aligned);
    }

    fn touch_at(&mut self, size: Size, pointer: Reg, off: i16, aligned: bool) {
        match self.rng.below(10) {
            0 | 1 if !self.numbers.is_empty() => {
                let src = self.operand();
                self.store(size, pointer, off, src);
            }
            2 if aligned && matches!(size, Size::W | Size::DW) && !self.numbers.is_empty() => {
                let src = self.number();
                let width = if size == Size::W { Width::W32 } else { Width::W64 };
                let op = self.rng.pick(&[AtomicOp::Add, AtomicOp::Or, AtomicOp::And, AtomicOp::Xor]);
                self.push(Insn::Atomic { op, fetch: false, width, base: pointer, off, src });
            }
            _ => {
                let sign = if size != Size::DW && self.rng.chance(25) { Sign::Signed } else { Sign::Zero };
                let dst = self.rng.pick(&NUMBERS);
                self.load(size, sign, dst, pointer, off);
            }
        }
    }

    /// An access to a map value or the stack at an offset that a number decides, bounded now.
    pub(super) fn checked_access(&mut self, index: Reg) {
        self.mov(TEMP, index);
        let size = self.size();
        if self.rng.chance(25) {
            let slots = FILLED.unsigned_abs() as u32 / size.bytes();
            self.bound(TEMP, slots - 1);
            self.stack_access_at(size, TEMP);
            return;
        }
        let room = VALUE - size.bytes();
        let off = self.rng.below(room + 1);
        let most = room - off;
        self.bound(TEMP, most);
        self.value_access_at(size, TEMP, off as i16);
    }

    /// An access to the stack at that slot; all slots are of the size of the access.
    pub(super) fn stack_access_at(&mut self, size: Size, index: Reg) {
        if size != Size::B {
            self.alu_imm(AluOp::Lsh, index, i64::from(size.bytes().ilog2()));
        }
        self.alu_reg(AluOp::Add, index, Reg::R10);
        if self.rng.chance(25) && !self.numbers.is_empty() {
            let src = self.operand();
            self.store(size, index, FILLED, src);
        } else {
            let dst = self.rng.pick(&NUMBERS);
            self.load(size, Sign::Zero, dst, index, FILLED);
        }
    }

    /// An access to the array of one, `index + off` bytes in.
    pub(super) fn value_access_at(&mut self, size: Size, index: Reg, off: i16) {
        let aligned = matches!(size, Size::W | Size::DW) && self.rng.chance(20);
        if aligned {
            self.alu_imm(AluOp::And, index, !(i64::from(size.bytes()) - 1));
        }
        let off = if aligned { off & !(size.bytes() as i16 - 1) } else { off };
        // The pointer may start inside the value, so that the offset is negative.
        let start = if aligned {
            0
        } else if self.rng.chance(30) {
            self.rng.below(VALUE)
        } else {
            0
        };
        self.global(BASE, start);
        let off = off - start as i16;
        if self.rng.chance(50) {
            self.alu_reg(AluOp::Add, BASE, index);
            self.numbers.remove(BASE);
            self.touch_at(size, BASE, off, aligned);
        } else {
            self.alu_reg(AluOp::Add, index, BASE);
            self.touch_at(size, index, off, aligned);
        }
    }

    /// Writes the stack bytes that accesses may reach.
    pub(super) fn fill_stack(&mut self) {
        for off in (FILLED..0).step_by(8) {
            if self.rng.chance(50) && !self.numbers.is_empty() {
                let number = self.number();
                self.store(Size::DW, Reg::R10, off, Operand::Reg(number));
            } else {
                let imm = self.imm();
                self.store(Size::DW, Reg::R10, off, Operand::Imm(imm));
            }
        }
    }
}

/// A scratch register beside another one.
const TEMP_OF: [Reg; 2] = [TEMP, BASE];
