//! Accesses of the long programs: packet, map values, stack, at constant and at bounded offsets.

use beelift::isa::{AluOp, AtomicOp, CmpOp, Insn, InsnId, Operand, Reg, Sign, Size, Width};

use super::{CTX, KEPT, Mixed, PACKET, PKT, SCRATCH, TEMP, VAL, VALUE};

impl Mixed {
    /// A load or store at a constant offset of memory that is all accessible.
    fn plain_access(&mut self, base: Reg, low: i16, high: i16) {
        let size = self.size();
        let room = u32::try_from(i32::from(high) - i32::from(low)).expect("a range") - size.bytes() + 1;
        let off = low + self.rng.below(room) as i16;
        if self.rng.chance(55) {
            let sign = if size != Size::DW && self.rng.chance(30) { Sign::Signed } else { Sign::Zero };
            let dst = self.number();
            self.load(size, sign, dst, base, off);
        } else {
            let src = self.operand();
            self.store(size, base, off, src);
        }
    }

    pub(super) fn packet_access(&mut self) {
        let high = if self.flaw && self.rng.chance(30) { PACKET + 4 } else { PACKET };
        self.plain_access(PKT, 0, high as i16);
    }

    pub(super) fn value_access(&mut self) {
        let high = if self.flaw && self.rng.chance(30) { VALUE + 4 } else { VALUE };
        self.plain_access(VAL, 0, high as i16);
    }

    /// Aligned, because the kernel refuses partial overwrites of spilled pointers and unaligned stack access.
    pub(super) fn stack_access(&mut self) {
        let size = self.size();
        let slots = 64 / size.bytes();
        let off = SCRATCH + (self.rng.below(slots) * size.bytes()) as i16;
        if self.rng.chance(50) {
            let sign = if size != Size::DW && self.rng.chance(30) { Sign::Signed } else { Sign::Zero };
            let dst = self.number();
            self.load(size, sign, dst, Reg::R10, off);
        } else {
            let src = self.operand();
            self.store(size, Reg::R10, off, src);
        }
    }

    pub(super) fn atomic(&mut self) {
        let width = self.width();
        let bytes = width.bits() / 8;
        let op = self.rng.pick(&[
            AtomicOp::Add,
            AtomicOp::Or,
            AtomicOp::And,
            AtomicOp::Xor,
            AtomicOp::Xchg,
            AtomicOp::CmpXchg,
        ]);
        let fetch = matches!(op, AtomicOp::Xchg | AtomicOp::CmpXchg) || self.rng.chance(50);
        // Not a fetch from the stack: the kernel loses track of which stored value was fetched and may hard-wire a
        // later branch the wrong way (see docs/testing.md).
        let (base, off) = if fetch || self.rng.chance(50) {
            (VAL, (self.rng.below(VALUE / bytes) * bytes) as i16)
        } else {
            (Reg::R10, SCRATCH + (self.rng.below(64 / bytes) * bytes) as i16)
        };
        let src = self.number();
        self.push(Insn::Atomic { op, fetch, width, base, off, src });
        if op == AtomicOp::CmpXchg && width == Width::W32 {
            // A read of all of r0 on every path from here: without one the kernel may leave the upper half as it was
            // (see docs/testing.md).
            let imm = self.imm();
            self.alu(AluOp::Xor, Width::W64, Reg::R0, Operand::Imm(imm));
        }
    }

    /// An access at an offset that was bounded by arithmetic or by a branch.
    pub(super) fn variable_access(&mut self) {
        let index = self.number();
        let (base, room) = self.rng.pick(&[(PKT, PACKET), (VAL, VALUE), (Reg::R10, 64)]);
        let slack = if self.flaw && self.rng.chance(40) { 2 } else { 0 };
        let size = self.size();
        let most = room - size.bytes() + slack;
        self.mov(TEMP, index);
        let mut skip = None;
        // The kernel proves nothing about a remainder, and wants aligned stack accesses.
        let ways: &[u32] =
            if base == Reg::R10 { &[0] } else { &[0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 3, 3, 3, 3, 3, 2] };
        match self.rng.pick(ways) {
            0 => {
                // The largest mask that fits.
                let mask = (most + 1).next_power_of_two() / 2 - 1;
                let aligned = base == Reg::R10 && !(self.flaw && self.rng.chance(20));
                let mask = if aligned { mask & !(size.bytes() - 1) } else { mask };
                self.alu(AluOp::And, Width::W64, TEMP, Operand::Imm(i64::from(mask)));
            }
            1 => {
                let bits = (most + 1).ilog2();
                self.alu(AluOp::Rsh, Width::W64, TEMP, Operand::Imm(i64::from(64 - bits)));
            }
            2 => self.alu(AluOp::Mod, Width::W64, TEMP, Operand::Imm(i64::from(most + 1))),
            _ => {
                if base == PKT {
                    // Both ways must leave numbers in r0 and r1.
                    self.set_numbers(&[Reg::R0, Reg::R1]);
                }
                let at = self.push(Insn::Branch {
                    op: CmpOp::Gt,
                    width: Width::W64,
                    lhs: TEMP,
                    rhs: Operand::Imm(i64::from(most)),
                    to: InsnId(0),
                });
                skip = Some(at);
            }
        }
        self.alu(AluOp::Add, Width::W64, TEMP, Operand::Reg(base));
        let mut outside = None;
        if base == PKT {
            // A packet pointer with a variable offset needs a check of its own.
            self.mov(Reg::R0, TEMP);
            let bytes = i64::from(size.bytes());
            self.alu(AluOp::Add, Width::W64, Reg::R0, Operand::Imm(bytes));
            let end = self.target.packet[1];
            self.load(Size::W, Sign::Zero, Reg::R1, CTX, end);
            outside = Some(self.push(Insn::Branch {
                op: CmpOp::Gt,
                width: Width::W64,
                lhs: Reg::R0,
                rhs: Operand::Reg(Reg::R1),
                to: InsnId(0),
            }));
        }
        let off = if base == Reg::R10 { SCRATCH } else { 0 };
        if self.rng.chance(60) || base == Reg::R10 {
            self.load(size, Sign::Zero, KEPT, TEMP, off);
        } else {
            let imm = self.imm();
            let src = if self.rng.chance(50) { Operand::Reg(KEPT) } else { Operand::Imm(imm) };
            self.store(size, TEMP, off, src);
        }
        if let Some(at) = outside {
            self.patch(at);
            self.set_numbers(&[Reg::R0, Reg::R1]);
        }
        if let Some(at) = skip {
            self.patch(at);
        }
    }

    /// A number or pointer goes to the stack and comes back.
    pub(super) fn spill(&mut self) {
        let slot = -72 - 8 * self.rng.below(4) as i16;
        let register = self.rng.pick(&[PKT, VAL, CTX, KEPT, Reg::R3]);
        self.store(Size::DW, Reg::R10, slot, Operand::Reg(register));
        if self.rng.chance(50) {
            self.arithmetic();
        }
        let back = if register == KEPT || register == Reg::R3 { self.number() } else { register };
        self.load(Size::DW, Sign::Zero, back, Reg::R10, slot);
    }

    /// A load with acquire or a store with release order, at an aligned place.
    pub(super) fn ordered(&mut self) {
        let size = self.size();
        let bytes = size.bytes();
        let (base, start) = self.rng.pick(&[(VAL, 0), (VAL, 0), (Reg::R10, SCRATCH)]);
        let off = start + (self.rng.below(64 / bytes) * bytes) as i16;
        let register = self.number();
        let insn = if self.rng.chance(50) {
            Insn::LoadAcquire { size, dst: register, base, off }
        } else {
            Insn::StoreRelease { size, base, off, src: register }
        };
        self.push(insn);
    }
}
