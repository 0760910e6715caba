//! What an instruction reads, writes, and where control goes next, so that no pass derives it again.
//!
//! In: an [`Insn`]. Out: register sets, [`Flow`], [`Access`]. How many arguments a call takes depends on
//! prototypes that are not known here: callers of [`uses`] say it.
#![forbid(unsafe_code)]

use super::{AtomicOp, Callee, Const64, Insn, InsnId, Operand, Reg, Size, Width};

/// A set of registers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct RegSet(u16);

impl RegSet {
    /// No register.
    pub const EMPTY: Self = Self(0);
    /// All eleven.
    pub const ALL: Self = Self(0x7ff);
    /// What a call leaves without a value (r1 to r5) or with a new one (r0).
    pub const CALLER_SAVED: Self = Self(0x3f);
    /// r6 to r9, which calls preserve.
    pub const CALLEE_SAVED: Self = Self(0x3c0);

    /// Just that register.
    #[must_use]
    pub const fn of(reg: Reg) -> Self {
        Self(1 << reg.number())
    }
    /// The first `count` argument registers (r1, r2, …), at most five.
    #[must_use]
    pub const fn arguments(count: u8) -> Self {
        let count = if count > 5 { 5 } else { count };
        Self(((1 << count) - 1) << 1)
    }
    /// From bits: bit n is rn. Bits above 10 are dropped.
    #[must_use]
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits & Self::ALL.0)
    }
    /// Bit n is rn.
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }
    /// Whether the register is in the set.
    #[must_use]
    pub const fn contains(self, reg: Reg) -> bool {
        self.0 >> reg.number() & 1 == 1
    }
    /// In either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
    /// In this set and not in the other.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
    /// In both sets.
    #[must_use]
    pub const fn intersect(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
    /// How many.
    #[must_use]
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }
    /// Adds a register.
    pub const fn insert(&mut self, reg: Reg) {
        self.0 |= 1 << reg.number();
    }
    /// Takes a register out.
    pub const fn remove(&mut self, reg: Reg) {
        self.0 &= !(1 << reg.number());
    }
    /// In ascending order.
    pub fn iter(self) -> impl Iterator<Item = Reg> {
        Reg::all().filter(move |&reg| self.contains(reg))
    }
}

impl std::fmt::Debug for RegSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter().map(Reg::number)).finish()
    }
}

impl FromIterator<Reg> for RegSet {
    fn from_iter<I: IntoIterator<Item = Reg>>(registers: I) -> Self {
        registers.into_iter().fold(Self::EMPTY, |set, reg| set.union(Self::of(reg)))
    }
}

/// Registers whose value the instruction changes or destroys: calls and legacy packet loads destroy r1 to r5.
#[must_use]
pub const fn defs(insn: &Insn) -> RegSet {
    match *insn {
        Insn::Alu { dst, .. }
        | Insn::Load { dst, .. }
        | Insn::LoadAcquire { dst, .. }
        | Insn::AddrSpaceCast { dst, .. }
        | Insn::Swap { dst, .. }
        | Insn::Const { dst, .. } => RegSet::of(dst),
        Insn::Atomic { op: AtomicOp::CmpXchg, .. } => RegSet::of(Reg::R0),
        Insn::Atomic { fetch: true, src, .. } => RegSet::of(src),
        Insn::Call(_) | Insn::LegacyPacket { .. } => RegSet::CALLER_SAVED,
        Insn::Atomic { fetch: false, .. }
        | Insn::Store { .. }
        | Insn::StoreRelease { .. }
        | Insn::MayGoto { .. }
        | Insn::Jump { .. }
        | Insn::Branch { .. }
        | Insn::Exit => RegSet::EMPTY,
    }
}

/// Registers whose value the instruction reads. `call_arguments` are the registers a call hands over
/// (see [`RegSet::arguments`]); other instructions ignore it.
#[must_use]
pub const fn uses(insn: &Insn, call_arguments: RegSet) -> RegSet {
    match *insn {
        Insn::Alu { op, dst, src, .. } => {
            let reads_dst = op.reads_dst();
            let reads_src = op.reads_src();
            let dst = if reads_dst { RegSet::of(dst) } else { RegSet::EMPTY };
            if reads_src { dst.union(operand(src)) } else { dst }
        }
        Insn::Load { base, .. } | Insn::LoadAcquire { base, .. } => RegSet::of(base),
        Insn::Store { base, src, .. } => RegSet::of(base).union(operand(src)),
        Insn::StoreRelease { base, src, .. } => RegSet::of(base).union(RegSet::of(src)),
        Insn::Atomic { op, base, src, .. } => {
            let both = RegSet::of(base).union(RegSet::of(src));
            match op {
                AtomicOp::CmpXchg => both.union(RegSet::of(Reg::R0)),
                AtomicOp::Add | AtomicOp::Or | AtomicOp::And | AtomicOp::Xor | AtomicOp::Xchg => both,
            }
        }
        Insn::AddrSpaceCast { src, .. } => RegSet::of(src),
        Insn::Swap { dst, .. } => RegSet::of(dst),
        Insn::Const { .. } | Insn::Jump { .. } | Insn::MayGoto { .. } => RegSet::EMPTY,
        Insn::Branch { lhs, rhs, .. } => RegSet::of(lhs).union(operand(rhs)),
        Insn::Call(Callee::Register(reg)) => RegSet::of(reg).union(call_arguments),
        Insn::Call(Callee::Helper(_) | Callee::Subprogram(_) | Callee::Kfunc { .. }) => call_arguments,
        // The context is an implicit operand, in r6.
        Insn::LegacyPacket { index: Some(index), .. } => RegSet::of(Reg::R6).union(RegSet::of(index)),
        Insn::LegacyPacket { index: None, .. } => RegSet::of(Reg::R6),
        Insn::Exit => RegSet::of(Reg::R0),
    }
}

const fn operand(operand: Operand) -> RegSet {
    match operand {
        Operand::Reg(reg) => RegSet::of(reg),
        Operand::Imm(_) => RegSet::EMPTY,
    }
}

/// Where control goes after an instruction, inside its subprogram. Calls return to the next one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    /// The next instruction. ([`Insn::LegacyPacket`] may also end the program.)
    Next,
    /// There, always.
    Jump(InsnId),
    /// The next instruction or there.
    Branch(InsnId),
    /// Nowhere: the subprogram returns.
    Exit,
}

impl Flow {
    /// Whether control may go to the next instruction.
    #[must_use]
    pub const fn falls_through(self) -> bool {
        match self {
            Self::Next | Self::Branch(_) => true,
            Self::Jump(_) | Self::Exit => false,
        }
    }
    /// The jump target, if there is one.
    #[must_use]
    pub const fn target(self) -> Option<InsnId> {
        match self {
            Self::Jump(to) | Self::Branch(to) => Some(to),
            Self::Next | Self::Exit => None,
        }
    }
    /// Where control may go from the instruction `at`: fall-through first.
    pub fn successors(self, at: InsnId) -> impl Iterator<Item = InsnId> {
        self.falls_through().then(|| at.next()).into_iter().chain(self.target())
    }
}

/// Where control goes after the instruction.
#[must_use]
pub const fn flow(insn: &Insn) -> Flow {
    match *insn {
        Insn::Jump { to } => Flow::Jump(to),
        Insn::Branch { to, .. } | Insn::MayGoto { to } => Flow::Branch(to),
        Insn::Exit => Flow::Exit,
        Insn::Alu { .. }
        | Insn::Load { .. }
        | Insn::Store { .. }
        | Insn::Atomic { .. }
        | Insn::LoadAcquire { .. }
        | Insn::StoreRelease { .. }
        | Insn::AddrSpaceCast { .. }
        | Insn::Swap { .. }
        | Insn::Const { .. }
        | Insn::Call(_)
        | Insn::LegacyPacket { .. } => Flow::Next,
    }
}

/// Entry of the subprogram that the instruction calls or takes the address of.
#[must_use]
pub const fn subprogram(insn: &Insn) -> Option<InsnId> {
    match *insn {
        Insn::Call(Callee::Subprogram(entry)) | Insn::Const { value: Const64::Function(entry), .. } => {
            Some(entry)
        }
        Insn::Call(Callee::Helper(_) | Callee::Kfunc { .. } | Callee::Register(_))
        | Insn::Const { .. }
        | Insn::Alu { .. }
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
        | Insn::LegacyPacket { .. }
        | Insn::Exit => None,
    }
}

/// What is done to memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AccessKind {
    /// Read.
    Read,
    /// Written.
    Write,
    /// Read and written as one (atomic).
    ReadWrite,
}

impl AccessKind {
    /// Whether memory is read.
    #[must_use]
    pub const fn reads(self) -> bool {
        match self {
            Self::Read | Self::ReadWrite => true,
            Self::Write => false,
        }
    }
    /// Whether memory is written.
    #[must_use]
    pub const fn writes(self) -> bool {
        match self {
            Self::Write | Self::ReadWrite => true,
            Self::Read => false,
        }
    }
}

/// An explicit memory access: `*(size *)(base + off)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access {
    /// Address.
    pub base: Reg,
    /// Added to the address, in bytes.
    pub off: i16,
    /// Bytes accessed.
    pub size: Size,
    /// Read or written.
    pub kind: AccessKind,
}

/// The memory access of a load, store or atomic. (Accesses of calls and legacy packet loads are not described.)
#[must_use]
pub const fn access(insn: &Insn) -> Option<Access> {
    match *insn {
        Insn::Load { size, base, off, .. } | Insn::LoadAcquire { size, base, off, .. } => {
            Some(Access { base, off, size, kind: AccessKind::Read })
        }
        Insn::Store { size, base, off, .. } | Insn::StoreRelease { size, base, off, .. } => {
            Some(Access { base, off, size, kind: AccessKind::Write })
        }
        Insn::Atomic { width, base, off, .. } => {
            let size = match width {
                Width::W32 => Size::W,
                Width::W64 => Size::DW,
            };
            Some(Access { base, off, size, kind: AccessKind::ReadWrite })
        }
        Insn::Alu { .. }
        | Insn::MayGoto { .. }
        | Insn::AddrSpaceCast { .. }
        | Insn::Swap { .. }
        | Insn::Const { .. }
        | Insn::Jump { .. }
        | Insn::Branch { .. }
        | Insn::Call(_)
        | Insn::LegacyPacket { .. }
        | Insn::Exit => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::{AluOp, CmpOp};

    fn set(registers: &[Reg]) -> RegSet {
        registers.iter().copied().collect()
    }

    #[test]
    fn a_move_does_not_read_its_destination_and_a_negation_not_its_source() {
        let alu = |op| Insn::Alu { op, width: Width::W64, dst: Reg::R1, src: Operand::Reg(Reg::R2) };
        assert_eq!(uses(&alu(AluOp::Mov), RegSet::EMPTY), set(&[Reg::R2]));
        assert_eq!(uses(&alu(AluOp::MovSx8), RegSet::EMPTY), set(&[Reg::R2]));
        assert_eq!(uses(&alu(AluOp::Neg), RegSet::EMPTY), set(&[Reg::R1]));
        assert_eq!(uses(&alu(AluOp::Add), RegSet::EMPTY), set(&[Reg::R1, Reg::R2]));
    }

    #[test]
    fn calls_read_their_arguments_and_destroy_the_argument_registers() {
        let call = Insn::Call(Callee::Helper(1));
        assert_eq!(uses(&call, RegSet::arguments(2)), set(&[Reg::R1, Reg::R2]));
        assert_eq!(defs(&call), set(&[Reg::R0, Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5]));
        assert_eq!(RegSet::arguments(9).len(), 5);
    }

    #[test]
    fn compare_and_exchange_reads_and_writes_r0() {
        let insn = Insn::Atomic {
            op: AtomicOp::CmpXchg,
            fetch: true,
            width: Width::W32,
            base: Reg::R1,
            off: 4,
            src: Reg::R2,
        };
        assert_eq!(uses(&insn, RegSet::EMPTY), set(&[Reg::R0, Reg::R1, Reg::R2]));
        assert_eq!(defs(&insn), set(&[Reg::R0]));
        assert_eq!(
            access(&insn),
            Some(Access { base: Reg::R1, off: 4, size: Size::W, kind: AccessKind::ReadWrite })
        );
    }

    #[test]
    fn an_atomic_that_fetches_writes_its_source() {
        let atomic = |fetch| {
            let (width, base, src) = (Width::W64, Reg::R1, Reg::R2);
            Insn::Atomic { op: AtomicOp::Add, fetch, width, base, off: 0, src }
        };
        assert_eq!(defs(&atomic(true)), set(&[Reg::R2]));
        assert_eq!(defs(&atomic(false)), RegSet::EMPTY);
        assert_eq!(uses(&atomic(true), RegSet::EMPTY), set(&[Reg::R1, Reg::R2]));
    }

    #[test]
    fn a_cast_reads_its_source() {
        let cast = Insn::AddrSpaceCast { dst: Reg::R1, src: Reg::R2, to: crate::isa::AddrSpace::Kernel };
        assert_eq!((uses(&cast, RegSet::EMPTY), defs(&cast)), (set(&[Reg::R2]), set(&[Reg::R1])));
    }

    #[test]
    fn branches_have_two_successors() {
        let branch = Insn::Branch {
            op: CmpOp::Eq,
            width: Width::W64,
            lhs: Reg::R1,
            rhs: Operand::Imm(0),
            to: InsnId(9),
        };
        assert_eq!(flow(&branch).successors(InsnId(3)).collect::<Vec<_>>(), [InsnId(4), InsnId(9)]);
        assert_eq!(flow(&Insn::Exit).successors(InsnId(3)).count(), 0);
    }
}
