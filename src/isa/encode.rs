//! Instructions to slots, for handing a program to the kernel or writing it to a file.
//!
//! In: instructions as `decode` or the linker made them, and a [`Resolver`] that knows the numbers behind symbolic
//! references (a map's file descriptor, a kfunc's BTF id). Out: slots that `decode` turns into the same
//! instructions. A jump takes the short form if it reaches, else the long one (`gotol`).
#![forbid(unsafe_code)]

use super::opcode as raw;
use super::{
    AddrSpace, AluOp, AtomicOp, ByteOrder, Callee, CmpOp, Const64, Insn, InsnId, KfuncSlot, KsymSlot,
    MapSlot, Operand, Pc, Reg, Sign, Size, Slot, Width,
};

/// Numbers behind symbolic references.
pub trait Resolver {
    /// Why there is none.
    type Error;

    /// The file descriptor (or index) of a map.
    ///
    /// # Errors
    /// Nothing stands for the map.
    fn map(&mut self, map: MapSlot) -> Result<u32, Self::Error>;
    /// BTF id of a kfunc and index of its BTF object (`off` of the call; 0 is vmlinux).
    ///
    /// # Errors
    /// Nothing stands for the kfunc.
    fn kfunc(&mut self, kfunc: KfuncSlot, module: i16) -> Result<(u32, i16), Self::Error>;
    /// What a kernel symbol is.
    ///
    /// # Errors
    /// Nothing stands for the symbol.
    fn ksym(&mut self, ksym: KsymSlot) -> Result<Symbol, Self::Error>;
}

/// What a kernel symbol is in an instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Symbol {
    /// A variable with a type: BTF id, and file descriptor of its BTF object (0: vmlinux).
    Typed {
        /// BTF id.
        id: u32,
        /// File descriptor.
        object: u32,
    },
    /// A plain address, or 0 for a weak symbol that does not exist.
    Address(u64),
}

/// Writes the numbers as they stand: what `decode` read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Verbatim;

impl Resolver for Verbatim {
    type Error = std::convert::Infallible;

    fn map(&mut self, map: MapSlot) -> Result<u32, Self::Error> {
        Ok(map.0)
    }
    fn kfunc(&mut self, kfunc: KfuncSlot, module: i16) -> Result<(u32, i16), Self::Error> {
        Ok((kfunc.0, module))
    }
    fn ksym(&mut self, ksym: KsymSlot) -> Result<Symbol, Self::Error> {
        Ok(Symbol::Typed { id: ksym.0, object: 0 })
    }
}

/// Why instructions have no encoding.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("instruction {}: {reason}", at.0)]
pub struct EncodeError<E> {
    /// The instruction.
    pub at: InsnId,
    /// Why.
    pub reason: Unencodable<E>,
}

/// Why an instruction has no encoding.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unencodable<E> {
    /// Target further away than the field reaches.
    #[error("target is {0} slots away: too far for this instruction")]
    TooFar(i64),
    /// Target behind the last instruction.
    #[error("target {} is no instruction", .0.0)]
    NoTarget(InsnId),
    /// The immediate needs more than 32 bits.
    #[error("immediate {0:#x} does not fit into 32 bits")]
    Immediate(i64),
    /// Operation, width and operand exist, but not together.
    #[error("the instruction set has no such combination of operation, size and operand")]
    Combination,
    /// A symbolic reference without a number.
    #[error("unresolved reference: {0}")]
    Unresolved(E),
}

/// Slots with the slot index of each instruction.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Encoded {
    /// Slots.
    pub slots: Vec<Slot>,
    /// Slot index of each instruction.
    pub pcs: Vec<Pc>,
}

/// Slots an instruction takes: 2 for wide immediates, else 1.
#[must_use]
pub const fn slots_of(insn: &Insn) -> u32 {
    match insn {
        Insn::Const { .. } => 2,
        Insn::Alu { .. }
        | Insn::Load { .. }
        | Insn::Store { .. }
        | Insn::Atomic { .. }
        | Insn::LoadAcquire { .. }
        | Insn::StoreRelease { .. }
        | Insn::MayGoto { .. }
        | Insn::AddrSpaceCast { .. }
        | Insn::Swap { .. }
        | Insn::Jump { .. }
        | Insn::Branch { .. }
        | Insn::Call(_)
        | Insn::LegacyPacket { .. }
        | Insn::Exit => 1,
    }
}

/// Slot index of each instruction.
#[must_use]
pub fn pcs_of(insns: &[Insn]) -> Vec<Pc> {
    let starts = insns.iter().scan(0, |pc, insn| {
        let at = *pc;
        *pc += slots_of(insn);
        Some(Pc(at))
    });
    starts.collect()
}

/// Encodes a whole program.
///
/// # Errors
/// The first instruction without an encoding.
pub fn encode<R: Resolver>(insns: &[Insn], resolver: &mut R) -> Result<Encoded, EncodeError<R::Error>> {
    let pcs = pcs_of(insns);
    let mut slots = Vec::with_capacity(pcs.last().map_or(0, |last| last.0 as usize + 2));
    for (index, insn) in insns.iter().enumerate() {
        let at = InsnId(index as u32); // `Pc` and `InsnId` are 32 bits wide.
        let distance = |to: InsnId| {
            let target = pcs.get(to.index())?;
            Some(i64::from(target.0) - i64::from(pcs[index].0) - 1)
        };
        let (first, second) =
            encode_one(insn, distance, resolver).map_err(|reason| EncodeError { at, reason })?;
        slots.push(first);
        slots.extend(second);
    }
    Ok(Encoded { slots, pcs })
}

pub(super) type Encoding<T, E> = Result<T, Unencodable<E>>;

/// Encodes one instruction. `distance` gives the slots from the end of its first slot to a target.
pub(super) fn encode_one<R: Resolver>(
    insn: &Insn,
    distance: impl Fn(InsnId) -> Option<i64>,
    resolver: &mut R,
) -> Encoding<(Slot, Option<Slot>), R::Error> {
    One { distance }.encode(insn, resolver)
}

struct One<F> {
    distance: F,
}

impl<F: Fn(InsnId) -> Option<i64>> One<F> {
    fn encode<R: Resolver>(&self, insn: &Insn, resolver: &mut R) -> Encoding<(Slot, Option<Slot>), R::Error> {
        let slot = match *insn {
            Insn::Const { dst, value } => return self.wide(dst, value, resolver),
            Insn::Call(Callee::Kfunc { kfunc, module }) => {
                let (id, module) = resolver.kfunc(kfunc, module).map_err(Unencodable::Unresolved)?;
                Slot::new(raw::JMP | raw::CALL, 0, raw::PSEUDO_KFUNC_CALL, module, id.cast_signed())
            }
            Insn::Call(Callee::Helper(number)) => {
                Slot::new(raw::JMP | raw::CALL, 0, raw::CALL_HELPER, 0, number.cast_signed())
            }
            Insn::Call(Callee::Subprogram(to)) => {
                Slot::new(raw::JMP | raw::CALL, 0, raw::PSEUDO_CALL, 0, self.far(to)?)
            }
            Insn::Call(Callee::Register(reg)) => {
                Slot::new(raw::JMP | raw::CALL | raw::X, reg.number(), 0, 0, 0)
            }
            Insn::Alu { op, width, dst, src } => alu(op, width, dst, src)?,
            Insn::Load { size: Size::DW, sign: Sign::Signed, .. }
            | Insn::LegacyPacket { size: Size::DW, .. }
            | Insn::Swap { size: Size::B, .. } => return Err(Unencodable::Combination),
            Insn::Load { size, sign, dst, base, off } => {
                let mode = match sign {
                    Sign::Zero => raw::MEM,
                    Sign::Signed => raw::MEMSX,
                };
                Slot::new(raw::LDX | mode | size_bits(size), dst.number(), base.number(), off, 0)
            }
            Insn::Store { size, base, off, src: Operand::Reg(src) } => {
                Slot::new(raw::STX | raw::MEM | size_bits(size), base.number(), src.number(), off, 0)
            }
            Insn::Store { size, base, off, src: Operand::Imm(value) } => {
                Slot::new(raw::ST | raw::MEM | size_bits(size), base.number(), 0, off, immediate(value)?)
            }
            Insn::Atomic { op, fetch, width, base, off, src } => {
                let size = match width {
                    Width::W32 => Size::W,
                    Width::W64 => Size::DW,
                };
                atomic(size, base, src, off, atomic_bits(op, fetch)?)
            }
            Insn::LoadAcquire { size, dst, base, off } => atomic(size, dst, base, off, raw::LOAD_ACQUIRE),
            Insn::StoreRelease { size, base, off, src } => atomic(size, base, src, off, raw::STORE_RELEASE),
            Insn::MayGoto { to } => Slot::new(raw::JMP | raw::JCOND, 0, 0, self.near(to)?, 0),
            Insn::AddrSpaceCast { dst, src, to } => {
                let imm = match to {
                    AddrSpace::Kernel => raw::CAST_KERNEL,
                    AddrSpace::Arena => raw::CAST_ARENA,
                };
                let opcode = raw::ALU64 | raw::MOV | raw::X;
                Slot::new(opcode, dst.number(), src.number(), raw::ADDR_SPACE_CAST, imm)
            }
            Insn::Swap { order, size, dst } => {
                let opcode = match order {
                    ByteOrder::Little => raw::ALU | raw::END | raw::K,
                    ByteOrder::Big => raw::ALU | raw::END | raw::X,
                    ByteOrder::Swap => raw::ALU64 | raw::END | raw::K,
                };
                Slot::new(opcode, dst.number(), 0, 0, size.bits().cast_signed())
            }
            Insn::Jump { to } => match i16::try_from(self.distance(to)?) {
                Ok(near) => Slot::new(raw::JMP | raw::JA, 0, 0, near, 0),
                Err(_) => Slot::new(raw::JMP32 | raw::JA, 0, 0, 0, self.far(to)?),
            },
            Insn::Branch { op, width, lhs, rhs, to } => {
                let class = match width {
                    Width::W32 => raw::JMP32,
                    Width::W64 => raw::JMP,
                };
                let (source, src, imm) = operand(rhs)?;
                Slot::new(class | compare_bits(op) | source, lhs.number(), src, self.near(to)?, imm)
            }
            Insn::LegacyPacket { size, index: None, off } => {
                Slot::new(raw::LD | raw::ABS | size_bits(size), 0, 0, 0, off)
            }
            Insn::LegacyPacket { size, index: Some(index), off } => {
                Slot::new(raw::LD | raw::IND | size_bits(size), 0, index.number(), 0, off)
            }
            Insn::Exit => Slot::new(raw::JMP | raw::EXIT, 0, 0, 0, 0),
        };
        Ok((slot, None))
    }

    fn wide<R: Resolver>(
        &self,
        dst: Reg,
        value: Const64,
        resolver: &mut R,
    ) -> Encoding<(Slot, Option<Slot>), R::Error> {
        let number = |value: u64| (raw::PSEUDO_IMM, value as u32, (value >> 32) as u32); // The two halves.
        let mut map = |map| resolver.map(map).map_err(Unencodable::Unresolved);
        let (kind, low, high) = match value {
            Const64::Imm(value) => number(value),
            Const64::Map(slot) => (raw::PSEUDO_MAP_FD, map(slot)?, 0),
            Const64::MapValue(slot, offset) => (raw::PSEUDO_MAP_VALUE, map(slot)?, offset),
            Const64::MapIndex(slot) => (raw::PSEUDO_MAP_IDX, map(slot)?, 0),
            Const64::MapIndexValue(slot, offset) => (raw::PSEUDO_MAP_IDX_VALUE, map(slot)?, offset),
            Const64::Function(to) => (raw::PSEUDO_FUNC, self.far(to)?.cast_unsigned(), 0),
            Const64::Ksym(ksym) => match resolver.ksym(ksym).map_err(Unencodable::Unresolved)? {
                Symbol::Typed { id, object } => (raw::PSEUDO_BTF_ID, id, object),
                Symbol::Address(address) => number(address),
            },
        };
        let opcode = raw::LD | raw::IMM | raw::DW;
        let first = Slot::new(opcode, dst.number(), kind, 0, low.cast_signed());
        Ok((first, Some(Slot::new(0, 0, 0, 0, high.cast_signed()))))
    }

    fn distance<E>(&self, to: InsnId) -> Encoding<i64, E> {
        (self.distance)(to).ok_or(Unencodable::NoTarget(to))
    }
    fn near<E>(&self, to: InsnId) -> Encoding<i16, E> {
        let distance = self.distance(to)?;
        i16::try_from(distance).map_err(|_| Unencodable::TooFar(distance))
    }
    fn far<E>(&self, to: InsnId) -> Encoding<i32, E> {
        let distance = self.distance(to)?;
        i32::try_from(distance).map_err(|_| Unencodable::TooFar(distance))
    }
}

fn immediate<E>(value: i64) -> Encoding<i32, E> {
    i32::try_from(value).map_err(|_| Unencodable::Immediate(value))
}

/// Source bit, register field and immediate field of an operand.
fn operand<E>(operand: Operand) -> Encoding<(u8, u8, i32), E> {
    match operand {
        Operand::Reg(reg) => Ok((raw::X, reg.number(), 0)),
        Operand::Imm(value) => Ok((raw::K, 0, immediate(value)?)),
    }
}

fn alu<E>(op: AluOp, width: Width, dst: Reg, src: Operand) -> Encoding<Slot, E> {
    let (bits, off) = match op {
        AluOp::Add => (raw::ADD, 0),
        AluOp::Sub => (raw::SUB, 0),
        AluOp::Mul => (raw::MUL, 0),
        AluOp::Div => (raw::DIV, 0),
        AluOp::SDiv => (raw::DIV, raw::SIGNED),
        AluOp::Mod => (raw::MOD, 0),
        AluOp::SMod => (raw::MOD, raw::SIGNED),
        AluOp::Or => (raw::OR, 0),
        AluOp::And => (raw::AND, 0),
        AluOp::Xor => (raw::XOR, 0),
        AluOp::Lsh => (raw::LSH, 0),
        AluOp::Rsh => (raw::RSH, 0),
        AluOp::Arsh => (raw::ARSH, 0),
        AluOp::Neg => (raw::NEG, 0),
        AluOp::Mov => (raw::MOV, 0),
        AluOp::MovSx8 => (raw::MOV, 8),
        AluOp::MovSx16 => (raw::MOV, 16),
        AluOp::MovSx32 => (raw::MOV, 32),
    };
    let class = match width {
        Width::W32 => raw::ALU,
        Width::W64 => raw::ALU64,
    };
    let (source, register, imm) = match (op, src, width) {
        (AluOp::Neg, _, _) => (raw::K, 0, 0),
        (AluOp::MovSx32, _, Width::W32)
        | (AluOp::MovSx8 | AluOp::MovSx16 | AluOp::MovSx32, Operand::Imm(_), _) => {
            return Err(Unencodable::Combination);
        }
        (_, src, _) => operand(src)?,
    };
    Ok(Slot::new(class | bits | source, dst.number(), register, off, imm))
}

const fn atomic(size: Size, dst: Reg, src: Reg, off: i16, operation: i32) -> Slot {
    Slot::new(raw::STX | raw::ATOMIC | size_bits(size), dst.number(), src.number(), off, operation)
}

fn atomic_bits<E>(op: AtomicOp, fetch: bool) -> Encoding<i32, E> {
    let fetching = if fetch { raw::FETCH } else { 0 };
    match op {
        AtomicOp::Add => Ok(i32::from(raw::ADD) | fetching),
        AtomicOp::Or => Ok(i32::from(raw::OR) | fetching),
        AtomicOp::And => Ok(i32::from(raw::AND) | fetching),
        AtomicOp::Xor => Ok(i32::from(raw::XOR) | fetching),
        AtomicOp::Xchg if fetch => Ok(raw::XCHG),
        AtomicOp::CmpXchg if fetch => Ok(raw::CMPXCHG),
        AtomicOp::Xchg | AtomicOp::CmpXchg => Err(Unencodable::Combination),
    }
}

const fn compare_bits(op: CmpOp) -> u8 {
    match op {
        CmpOp::Eq => raw::JEQ,
        CmpOp::Ne => raw::JNE,
        CmpOp::Set => raw::JSET,
        CmpOp::Gt => raw::JGT,
        CmpOp::Ge => raw::JGE,
        CmpOp::Lt => raw::JLT,
        CmpOp::Le => raw::JLE,
        CmpOp::SGt => raw::JSGT,
        CmpOp::SGe => raw::JSGE,
        CmpOp::SLt => raw::JSLT,
        CmpOp::SLe => raw::JSLE,
    }
}

const fn size_bits(size: Size) -> u8 {
    match size {
        Size::B => raw::B,
        Size::H => raw::H,
        Size::W => raw::W,
        Size::DW => raw::DW,
    }
}
