//! Slots to instructions: the only match on opcode bytes.
//!
//! In: [`Slot`]s of a whole program (all subprograms). Out: [`Code`], or a [`DecodeError`] that names the first
//! slot that is wrong and why. What passes here is well-formed, no more: registers exist, reserved fields are
//! zero, targets are instructions. It refuses exactly the encodings that Linux 6.18 refuses, with these
//! differences: `callx` is decoded; unreachable instructions are judged too; and a target is only looked for in
//! the whole program (that jumps stay in their subprogram is a matter of `link::cfg`).
//! Not here: constants that only a verifier objects to (division by an immediate zero, shifts past the width).
#![forbid(unsafe_code)]

pub use super::malformed::{DecodeError, Field, Malformed};
use super::opcode as raw;
use super::{
    AddrSpace, AluOp, AtomicOp, ByteOrder, Callee, CmpOp, Const64, Insn, InsnId, KfuncSlot, KsymSlot,
    MapSlot, Operand, Pc, Reg, Sign, Size, Slot, Width,
};

/// Decoded instructions with their slot indexes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Code {
    /// Instructions.
    pub insns: Vec<Insn>,
    /// Slot index of each.
    pub pcs: Vec<Pc>,
}

/// Most slots of a program. The kernel takes a million; ours may be larger, but not so large that a `Pc` or a
/// jump distance could overflow.
pub const MAX_SLOTS: usize = 1 << 24;

/// Decodes a whole program.
///
/// # Errors
/// The first slot that is wrong.
pub fn decode(slots: &[Slot]) -> Result<Code, DecodeError> {
    if slots.len() > MAX_SLOTS {
        let reason = Malformed::TooLong(MAX_SLOTS);
        return Err(DecodeError { at: Pc(0), slot: slots[0], reason });
    }
    let layout = Layout::of(slots);
    let mut code = Code { insns: Vec::with_capacity(layout.count), pcs: Vec::with_capacity(layout.count) };
    let mut pc = 0;
    while pc < slots.len() {
        let slot = slots[pc];
        let at = Pc(pc as u32); // `MAX_SLOTS` fits.
        let next = slots.get(pc + 1).copied();
        let one = One { slot, at, next, layout: &layout };
        let insn = one.decode().map_err(|reason| DecodeError { at, slot, reason })?;
        pc += if is_wide(slot) { 2 } else { 1 };
        code.insns.push(insn);
        code.pcs.push(at);
    }
    Ok(code)
}

const fn is_wide(slot: Slot) -> bool {
    slot.opcode() == raw::LD | raw::IMM | raw::DW
}

/// Where instructions start: the first of the two passes.
struct Layout {
    /// Instruction that starts at each slot; `None` for second halves.
    starts: Vec<Option<InsnId>>,
    count: usize,
}

impl Layout {
    fn of(slots: &[Slot]) -> Self {
        let mut starts = Vec::with_capacity(slots.len());
        let mut count = 0;
        while let Some(&slot) = slots.get(starts.len()) {
            starts.push(Some(InsnId(count)));
            count += 1;
            if is_wide(slot) && starts.len() < slots.len() {
                starts.push(None);
            }
        }
        Self { starts, count: count as usize }
    }

    fn target(&self, at: Pc, distance: i32) -> Result<InsnId, Malformed> {
        let target = i64::from(at.0) + 1 + i64::from(distance);
        let start = usize::try_from(target).ok().and_then(|target| self.starts.get(target));
        match start {
            None => Err(Malformed::TargetOutside(target)),
            Some(None) => Err(Malformed::TargetInsideWide(target)),
            Some(&Some(insn)) => Ok(insn),
        }
    }
}

/// One instruction being decoded.
struct One<'a> {
    slot: Slot,
    at: Pc,
    next: Option<Slot>,
    layout: &'a Layout,
}

type Decoded<T> = Result<T, Malformed>;

impl One<'_> {
    fn decode(&self) -> Decoded<Insn> {
        match self.slot.opcode() & raw::CLASS_MASK {
            raw::LD => self.ld(),
            raw::LDX => self.ldx(),
            raw::ST => self.st(),
            raw::STX => self.stx(),
            raw::ALU => self.alu(Width::W32),
            raw::JMP => self.jump(Width::W64),
            raw::JMP32 => self.jump(Width::W32),
            _ => self.alu(Width::W64), // ALU64, the last of the eight.
        }
    }

    // Fields.

    fn dst(&self) -> Decoded<Reg> {
        Reg::new(self.slot.dst()).ok_or(Malformed::NoSuchRegister(self.slot.dst()))
    }
    fn src(&self) -> Decoded<Reg> {
        Reg::new(self.slot.src()).ok_or(Malformed::NoSuchRegister(self.slot.src()))
    }
    fn imm(&self) -> Operand {
        Operand::Imm(i64::from(self.slot.imm()))
    }
    fn zero(&self, fields: &[Field]) -> Decoded<()> {
        for &field in fields {
            let is_zero = match field {
                Field::Dst => self.slot.dst() == 0,
                Field::Src => self.slot.src() == 0,
                Field::Off => self.slot.off() == 0,
                Field::Imm => self.slot.imm() == 0,
            };
            if !is_zero {
                return Err(Malformed::Reserved(field));
            }
        }
        Ok(())
    }
    fn size(&self) -> Size {
        match self.slot.opcode() & raw::SIZE_MASK {
            raw::B => Size::B,
            raw::H => Size::H,
            raw::W => Size::W,
            _ => Size::DW, // The last of the four.
        }
    }
    fn mode(&self) -> u8 {
        self.slot.opcode() & raw::MODE_MASK
    }
    fn unknown<T>(&self) -> Decoded<T> {
        Err(Malformed::UnknownOpcode(self.slot.opcode()))
    }
    /// Operand of arithmetic and branches; the other one of `src` and `imm` is reserved.
    fn operand(&self) -> Decoded<Operand> {
        if self.slot.opcode() & raw::SRC_MASK == raw::X {
            self.zero(&[Field::Imm])?;
            Ok(Operand::Reg(self.src()?))
        } else {
            self.zero(&[Field::Src])?;
            Ok(self.imm())
        }
    }

    // Arithmetic.

    fn alu(&self, width: Width) -> Decoded<Insn> {
        let signed = |unsigned, signed| match self.slot.off() {
            0 => Ok(unsigned),
            raw::SIGNED => Ok(signed),
            off => Err(Malformed::OperationOffset(off)),
        };
        let plain = |op| {
            self.zero(&[Field::Off])?;
            Ok(op)
        };
        let op = match self.slot.opcode() & raw::OP_MASK {
            raw::ADD => plain(AluOp::Add)?,
            raw::SUB => plain(AluOp::Sub)?,
            raw::MUL => plain(AluOp::Mul)?,
            raw::DIV => signed(AluOp::Div, AluOp::SDiv)?,
            raw::OR => plain(AluOp::Or)?,
            raw::AND => plain(AluOp::And)?,
            raw::LSH => plain(AluOp::Lsh)?,
            raw::RSH => plain(AluOp::Rsh)?,
            raw::NEG => return self.negate(width),
            raw::MOD => signed(AluOp::Mod, AluOp::SMod)?,
            raw::XOR => plain(AluOp::Xor)?,
            raw::MOV => return self.mov(width),
            raw::ARSH => plain(AluOp::Arsh)?,
            raw::END => return self.byte_order(width),
            _ => return self.unknown(),
        };
        let src = self.operand()?;
        Ok(Insn::Alu { op, width, dst: self.dst()?, src })
    }

    fn negate(&self, width: Width) -> Decoded<Insn> {
        if self.slot.opcode() & raw::SRC_MASK == raw::X {
            return self.unknown();
        }
        self.zero(&[Field::Src, Field::Off, Field::Imm])?;
        Ok(Insn::Alu { op: AluOp::Neg, width, dst: self.dst()?, src: Operand::Imm(0) })
    }

    fn mov(&self, width: Width) -> Decoded<Insn> {
        let is_register = self.slot.opcode() & raw::SRC_MASK == raw::X;
        let op = match (self.slot.off(), is_register, width) {
            (0, _, _) => AluOp::Mov,
            (_, false, _) => return Err(Malformed::Reserved(Field::Off)),
            (raw::ADDR_SPACE_CAST, true, Width::W64) => return self.addr_space_cast(),
            (8, true, _) => AluOp::MovSx8,
            (16, true, _) => AluOp::MovSx16,
            (32, true, Width::W64) => AluOp::MovSx32,
            (off, true, _) => return Err(Malformed::OperationOffset(off)),
        };
        let src = self.operand()?;
        Ok(Insn::Alu { op, width, dst: self.dst()?, src })
    }

    fn addr_space_cast(&self) -> Decoded<Insn> {
        let to = match self.slot.imm() {
            raw::CAST_KERNEL => AddrSpace::Kernel,
            raw::CAST_ARENA => AddrSpace::Arena,
            other => return Err(Malformed::AddressSpaces(other)),
        };
        Ok(Insn::AddrSpaceCast { dst: self.dst()?, src: self.src()?, to })
    }

    fn byte_order(&self, width: Width) -> Decoded<Insn> {
        let to_big = self.slot.opcode() & raw::SRC_MASK == raw::X;
        let order = match (width, to_big) {
            (Width::W32, false) => ByteOrder::Little,
            (Width::W32, true) => ByteOrder::Big,
            (Width::W64, false) => ByteOrder::Swap,
            (Width::W64, true) => return self.unknown(),
        };
        self.zero(&[Field::Src, Field::Off])?;
        let size = match self.slot.imm() {
            16 => Size::H,
            32 => Size::W,
            64 => Size::DW,
            other => return Err(Malformed::ByteOrderSize(other)),
        };
        Ok(Insn::Swap { order, size, dst: self.dst()? })
    }

    // Jumps.

    fn jump(&self, width: Width) -> Decoded<Insn> {
        let is_register = self.slot.opcode() & raw::SRC_MASK == raw::X;
        let op = match (self.slot.opcode() & raw::OP_MASK, width, is_register) {
            (raw::JA, Width::W64, false) => {
                self.zero(&[Field::Dst, Field::Src, Field::Imm])?;
                return Ok(Insn::Jump { to: self.layout.target(self.at, i32::from(self.slot.off()))? });
            }
            (raw::JA, Width::W32, false) => {
                self.zero(&[Field::Dst, Field::Src, Field::Off])?;
                return Ok(Insn::Jump { to: self.layout.target(self.at, self.slot.imm())? });
            }
            (raw::CALL, Width::W64, false) => return self.call(),
            (raw::CALL, Width::W64, true) => return self.call_register(),
            (raw::EXIT, Width::W64, false) => {
                self.zero(&[Field::Dst, Field::Src, Field::Off, Field::Imm])?;
                return Ok(Insn::Exit);
            }
            (raw::JCOND, Width::W64, false) => {
                self.zero(&[Field::Dst, Field::Src, Field::Imm])?;
                return Ok(Insn::MayGoto { to: self.layout.target(self.at, i32::from(self.slot.off()))? });
            }
            (raw::JEQ, _, _) => CmpOp::Eq,
            (raw::JNE, _, _) => CmpOp::Ne,
            (raw::JSET, _, _) => CmpOp::Set,
            (raw::JGT, _, _) => CmpOp::Gt,
            (raw::JGE, _, _) => CmpOp::Ge,
            (raw::JLT, _, _) => CmpOp::Lt,
            (raw::JLE, _, _) => CmpOp::Le,
            (raw::JSGT, _, _) => CmpOp::SGt,
            (raw::JSGE, _, _) => CmpOp::SGe,
            (raw::JSLT, _, _) => CmpOp::SLt,
            (raw::JSLE, _, _) => CmpOp::SLe,
            _ => return self.unknown(),
        };
        let rhs = self.operand()?;
        let to = self.layout.target(self.at, i32::from(self.slot.off()))?;
        Ok(Insn::Branch { op, width, lhs: self.dst()?, rhs, to })
    }

    fn call(&self) -> Decoded<Insn> {
        self.zero(&[Field::Dst])?;
        let callee = match self.slot.src() {
            raw::CALL_HELPER => {
                self.zero(&[Field::Off])?;
                Callee::Helper(self.slot.imm().cast_unsigned())
            }
            raw::PSEUDO_CALL => {
                self.zero(&[Field::Off])?;
                Callee::Subprogram(self.layout.target(self.at, self.slot.imm())?)
            }
            raw::PSEUDO_KFUNC_CALL => {
                Callee::Kfunc { kfunc: KfuncSlot(self.slot.imm().cast_unsigned()), module: self.slot.off() }
            }
            other => return Err(Malformed::CallKind(other)),
        };
        Ok(Insn::Call(callee))
    }

    /// Compilers put the register into `dst`; LLVM before 19 put it into `imm`.
    fn call_register(&self) -> Decoded<Insn> {
        self.zero(&[Field::Src, Field::Off])?;
        let number = match (self.slot.dst(), self.slot.imm()) {
            (0, imm @ 1..=10) => imm as u8, // In range by the pattern.
            (dst, _) => {
                self.zero(&[Field::Imm])?;
                dst
            }
        };
        let register = Reg::new(number).ok_or(Malformed::NoSuchRegister(number))?;
        Ok(Insn::Call(Callee::Register(register)))
    }

    // Memory.

    fn ldx(&self) -> Decoded<Insn> {
        let size = self.size();
        let sign = match (self.mode(), size) {
            (raw::MEM, _) => Sign::Zero,
            (raw::MEMSX, Size::B | Size::H | Size::W) => Sign::Signed,
            _ => return self.unknown(),
        };
        self.zero(&[Field::Imm])?;
        Ok(Insn::Load { size, sign, dst: self.dst()?, base: self.src()?, off: self.slot.off() })
    }

    fn st(&self) -> Decoded<Insn> {
        if self.mode() != raw::MEM {
            return self.unknown();
        }
        self.zero(&[Field::Src])?;
        Ok(Insn::Store { size: self.size(), base: self.dst()?, off: self.slot.off(), src: self.imm() })
    }

    fn stx(&self) -> Decoded<Insn> {
        match self.mode() {
            raw::MEM => {
                self.zero(&[Field::Imm])?;
                let src = Operand::Reg(self.src()?);
                Ok(Insn::Store { size: self.size(), base: self.dst()?, off: self.slot.off(), src })
            }
            raw::ATOMIC => self.atomic(),
            _ => self.unknown(),
        }
    }

    fn atomic(&self) -> Decoded<Insn> {
        let operation = self.slot.imm();
        let (size, off) = (self.size(), self.slot.off());
        let (dst, src) = (self.dst()?, self.src()?);
        let (op, fetch) = match operation {
            raw::LOAD_ACQUIRE => return Ok(Insn::LoadAcquire { size, dst, base: src, off }),
            raw::STORE_RELEASE => return Ok(Insn::StoreRelease { size, base: dst, off, src }),
            raw::XCHG => (AtomicOp::Xchg, true),
            raw::CMPXCHG => (AtomicOp::CmpXchg, true),
            other => {
                let op = match u8::try_from(other & !raw::FETCH) {
                    Ok(raw::ADD) => AtomicOp::Add,
                    Ok(raw::OR) => AtomicOp::Or,
                    Ok(raw::AND) => AtomicOp::And,
                    Ok(raw::XOR) => AtomicOp::Xor,
                    _ => return Err(Malformed::AtomicOperation(other)),
                };
                (op, other & raw::FETCH != 0)
            }
        };
        let width = match size {
            Size::W => Width::W32,
            Size::DW => Width::W64,
            Size::B | Size::H => return Err(Malformed::AtomicSize(operation)),
        };
        Ok(Insn::Atomic { op, fetch, width, base: dst, off, src })
    }

    fn ld(&self) -> Decoded<Insn> {
        let size = self.size();
        match (self.mode(), size) {
            (raw::IMM, Size::DW) => self.wide(),
            (raw::ABS, Size::B | Size::H | Size::W) => {
                self.zero(&[Field::Dst, Field::Src, Field::Off])?;
                Ok(Insn::LegacyPacket { size, index: None, off: self.slot.imm() })
            }
            (raw::IND, Size::B | Size::H | Size::W) => {
                self.zero(&[Field::Dst, Field::Off])?;
                Ok(Insn::LegacyPacket { size, index: Some(self.src()?), off: self.slot.imm() })
            }
            _ => self.unknown(),
        }
    }

    fn wide(&self) -> Decoded<Insn> {
        let second = self.next.ok_or(Malformed::WideTruncated)?;
        if second.opcode() != 0 || second.dst() != 0 || second.src() != 0 || second.off() != 0 {
            return Err(Malformed::WideSecondHalf);
        }
        self.zero(&[Field::Off])?;
        let (low, high) = (self.slot.imm().cast_unsigned(), second.imm().cast_unsigned());
        let only_low = || if high == 0 { Ok(low) } else { Err(Malformed::WideSecondHalf) };
        let value = match self.slot.src() {
            raw::PSEUDO_IMM => Const64::Imm(u64::from(high) << 32 | u64::from(low)),
            raw::PSEUDO_MAP_FD => Const64::Map(MapSlot(only_low()?)),
            raw::PSEUDO_MAP_VALUE => Const64::MapValue(MapSlot(low), high),
            raw::PSEUDO_BTF_ID if high != 0 => return Err(Malformed::WideBtfObject(second.imm())),
            raw::PSEUDO_BTF_ID => Const64::Ksym(KsymSlot(low)),
            raw::PSEUDO_FUNC => Const64::Function(self.layout.target(self.at, only_low()?.cast_signed())?),
            raw::PSEUDO_MAP_IDX => Const64::MapIndex(MapSlot(only_low()?)),
            raw::PSEUDO_MAP_IDX_VALUE => Const64::MapIndexValue(MapSlot(low), high),
            other => return Err(Malformed::WideKind(other)),
        };
        Ok(Insn::Const { dst: self.dst()?, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(slots: &[Slot]) -> (u32, Malformed) {
        let error = decode(slots).expect_err("must be refused");
        (error.at.0, error.reason)
    }

    const EXIT: Slot = Slot::new(0x95, 0, 0, 0, 0);
    const WIDE: [Slot; 2] = [Slot::new(0x18, 1, 0, 0, 1), Slot::new(0, 0, 0, 0, 2)];

    #[test]
    fn programs_have_a_length() {
        assert_eq!(refusal(&vec![EXIT; MAX_SLOTS + 1]), (0, Malformed::TooLong(MAX_SLOTS)));
    }

    #[test]
    fn a_wide_immediate_takes_two_slots_and_is_one_instruction() {
        let code = decode(&[WIDE[0], WIDE[1], Slot::new(0x05, 0, 0, -3, 0), EXIT]).expect("well-formed");
        assert_eq!(code.insns[0], Insn::Const { dst: Reg::R1, value: Const64::Imm(0x2_0000_0001) });
        assert_eq!(code.insns[1], Insn::Jump { to: InsnId(0) });
        assert_eq!(code.pcs, [Pc(0), Pc(2), Pc(3)]);
    }

    #[test]
    fn targets_must_be_instructions() {
        let jump = |off| Slot::new(0x05, 0, 0, off, 0);
        assert_eq!(refusal(&[jump(1), WIDE[0], WIDE[1], EXIT]), (0, Malformed::TargetInsideWide(2)));
        assert_eq!(refusal(&[jump(1), EXIT]), (0, Malformed::TargetOutside(2)));
        assert_eq!(refusal(&[jump(-2), EXIT]), (0, Malformed::TargetOutside(-1)));
        assert_eq!(
            refusal(&[Slot::new(0x06, 0, 0, 0, i32::MAX), EXIT]),
            (0, Malformed::TargetOutside(1 << 31))
        );
        assert_eq!(refusal(&[Slot::new(0x85, 0, 1, 0, 7), EXIT]), (0, Malformed::TargetOutside(8)));
    }

    #[test]
    fn the_second_half_of_a_wide_immediate_is_judged() {
        assert_eq!(refusal(&[EXIT, WIDE[0]]), (1, Malformed::WideTruncated));
        for second in [
            Slot::new(0x18, 0, 0, 0, 0),
            Slot::new(0, 1, 0, 0, 0),
            Slot::new(0, 0, 1, 0, 0),
            Slot::new(0, 0, 0, 1, 0),
        ] {
            assert_eq!(refusal(&[WIDE[0], second, EXIT]), (0, Malformed::WideSecondHalf));
        }
    }

    #[test]
    fn both_spellings_of_callx_mean_the_same() {
        let expect = [Insn::Call(Callee::Register(Reg::R2)), Insn::Exit];
        assert_eq!(decode(&[Slot::new(0x8d, 2, 0, 0, 0), EXIT]).expect("dst form").insns, expect);
        assert_eq!(decode(&[Slot::new(0x8d, 0, 0, 0, 2), EXIT]).expect("imm form").insns, expect);
        assert_eq!(refusal(&[Slot::new(0x8d, 1, 0, 0, 2), EXIT]).1, Malformed::Reserved(Field::Imm));
        assert_eq!(refusal(&[Slot::new(0x8d, 0, 0, 0, 11), EXIT]).1, Malformed::Reserved(Field::Imm));
    }

    #[test]
    fn no_bytes_panic() {
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..20_000 {
            let slots: Vec<_> = (0..8)
                .map(|_| {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    Slot(random.to_le_bytes())
                })
                .collect();
            let _ = decode(&slots);
        }
    }
}
