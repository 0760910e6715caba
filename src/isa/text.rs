//! Instructions as text, in the syntax of the kernel's verifier log (`r0 = *(u32 *)(r1 +4)`).
//!
//! In: instructions and the slot index of each (distances are counted in slots, as the kernel counts). Out:
//! `Display`. `asm` reads everything this file writes. Where the log shows an address (maps, subprograms,
//! kernel symbols), this prints a symbolic reference instead: `map[0] ll`, `func pc+3 ll`, `ksym[0] ll`.
#![forbid(unsafe_code)]

use std::fmt::{self, Display, Formatter};

use super::{
    AddrSpace, AluOp, AtomicOp, ByteOrder, Callee, CmpOp, Const64, Insn, InsnId, KfuncSlot, KsymSlot,
    MapSlot, Operand, Pc, Reg, Sign, Size, Width,
};

/// Names for symbolic references; `None` prints the number.
pub trait Names {
    /// Name of a map.
    fn map(&self, _map: MapSlot) -> Option<&str> {
        None
    }
    /// Name of a kfunc.
    fn kfunc(&self, _kfunc: KfuncSlot) -> Option<&str> {
        None
    }
    /// Name of a kernel symbol.
    fn ksym(&self, _ksym: KsymSlot) -> Option<&str> {
        None
    }
    /// Name of a helper, with `bpf_`.
    fn helper(&self, _number: u32) -> Option<&str> {
        None
    }
}

/// No names: numbers everywhere.
#[derive(Clone, Copy, Debug, Default)]
pub struct Numbers;

impl Names for Numbers {}

/// An instruction that knows where it stands, for printing.
#[derive(Clone, Copy)]
pub struct Text<'a> {
    insn: &'a Insn,
    at: InsnId,
    pcs: &'a [Pc],
    names: &'a dyn Names,
}

/// The instruction `at` as text. `pcs` are the slot indexes of all instructions.
#[must_use]
pub fn text<'a>(insn: &'a Insn, at: InsnId, pcs: &'a [Pc]) -> Text<'a> {
    Text { insn, at, pcs, names: &Numbers }
}

impl<'a> Text<'a> {
    /// With names for symbolic references.
    #[must_use]
    pub fn with_names(self, names: &'a dyn Names) -> Self {
        Self { names, ..self }
    }

    /// Distance as the kernel prints it: slots after the one that follows this instruction's first slot.
    fn pc(&self, to: InsnId) -> Distance {
        let here = self.pcs.get(self.at.index());
        Distance(here.zip(self.pcs.get(to.index())).map(|(here, to)| i64::from(to.0) - i64::from(here.0) - 1))
    }
}

/// `pc+3`; `pc?` for a target that is no instruction, which only broken input to this printer has.
struct Distance(Option<i64>);

impl Display for Distance {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(distance) => write!(f, "pc{distance:+}"),
            None => f.write_str("pc?"),
        }
    }
}

/// A register at a width: `r1` or `w1`.
struct Sized(Width, Reg);

impl Display for Sized {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Width::W32 => write!(f, "w{}", self.1.number()),
            Width::W64 => write!(f, "r{}", self.1.number()),
        }
    }
}

struct Value(Width, Operand);

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.1 {
            Operand::Reg(reg) => Sized(self.0, reg).fmt(f),
            Operand::Imm(value) => value.fmt(f),
        }
    }
}

/// A memory operand without its star: `(u32 *)(r1 +4)`.
struct Memory(Size, Sign, Reg, i16);

impl Display for Memory {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let letter = match self.1 {
            Sign::Zero => 'u',
            Sign::Signed => 's',
        };
        write!(f, "({letter}{} *)({} {:+})", self.0.bits(), self.2, self.3)
    }
}

/// A name, or else a number.
struct Named<'a>(Option<&'a str>, u32);

impl Display for Named<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => f.write_str(name),
            None => self.1.fmt(f),
        }
    }
}

impl Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match *self.insn {
            Insn::Alu { op, width, dst, src } => alu(f, op, width, dst, src),
            Insn::Load { size, sign, dst, base, off } => {
                write!(f, "{dst} = *{}", Memory(size, sign, base, off))
            }
            Insn::Store { size, base, off, src } => {
                write!(f, "*{} = {}", Memory(size, Sign::Zero, base, off), Value(Width::W64, src))
            }
            Insn::Atomic { op, fetch, width, base, off, src } => {
                atomic(f, op, fetch, width, (base, off), src)
            }
            Insn::LoadAcquire { size, dst, base, off } => {
                write!(f, "{dst} = load_acquire({})", Memory(size, Sign::Zero, base, off))
            }
            Insn::StoreRelease { size, base, off, src } => {
                write!(f, "store_release({}, {src})", Memory(size, Sign::Zero, base, off))
            }
            Insn::MayGoto { to } => write!(f, "may_goto {}", self.pc(to)),
            Insn::AddrSpaceCast { dst, src, to: AddrSpace::Kernel } => {
                write!(f, "{dst} = addr_space_cast({src}, 0, 1)")
            }
            Insn::AddrSpaceCast { dst, src, to: AddrSpace::Arena } => {
                write!(f, "{dst} = addr_space_cast({src}, 1, 0)")
            }
            Insn::Swap { order, size, dst } => {
                let name = match order {
                    ByteOrder::Little => "le",
                    ByteOrder::Big => "be",
                    ByteOrder::Swap => "bswap",
                };
                write!(f, "{dst} = {name}{} {dst}", size.bits())
            }
            Insn::Const { dst, value } => {
                write!(f, "{dst} = ")?;
                self.wide(f, value)?;
                f.write_str(" ll")
            }
            Insn::Jump { to } => write!(f, "goto {}", self.pc(to)),
            Insn::Branch { op, width, lhs, rhs, to } => {
                let (lhs, rhs) = (Sized(width, lhs), Value(width, rhs));
                write!(f, "if {lhs} {} {rhs} goto {}", compare_sign(op), self.pc(to))
            }
            Insn::Call(callee) => self.call(f, callee),
            Insn::LegacyPacket { size, index: None, off } => {
                write!(f, "r0 = *(u{} *)skb[{off}]", size.bits())
            }
            Insn::LegacyPacket { size, index: Some(index), off } => {
                write!(f, "r0 = *(u{} *)skb[{index} + {off}]", size.bits())
            }
            Insn::Exit => f.write_str("exit"),
        }
    }
}

impl Text<'_> {
    fn wide(&self, f: &mut Formatter<'_>, value: Const64) -> fmt::Result {
        let map = |map| Named(self.names.map(map), map.0);
        match value {
            Const64::Imm(value) => write!(f, "{value:#x}"),
            Const64::Map(slot) => write!(f, "map[{}]", map(slot)),
            Const64::MapValue(slot, offset) => write!(f, "map[{}][0]+{offset}", map(slot)),
            Const64::MapIndex(slot) => write!(f, "map[idx:{}]", slot.0),
            Const64::MapIndexValue(slot, offset) => write!(f, "map[idx:{}][0]+{offset}", slot.0),
            Const64::Ksym(ksym) => write!(f, "ksym[{}]", Named(self.names.ksym(ksym), ksym.0)),
            Const64::Function(to) => write!(f, "func {}", self.pc(to)),
        }
    }

    fn call(&self, f: &mut Formatter<'_>, callee: Callee) -> fmt::Result {
        match callee {
            Callee::Helper(number) => match self.names.helper(number) {
                Some(name) => write!(f, "call {name}#{number}"),
                None => write!(f, "call {number}"),
            },
            Callee::Subprogram(to) => write!(f, "call {}", self.pc(to)),
            Callee::Kfunc { kfunc, module } => {
                write!(f, "call kfunc[{}]", Named(self.names.kfunc(kfunc), kfunc.0))?;
                if module == 0 { Ok(()) } else { write!(f, " module {module}") }
            }
            Callee::Register(reg) => write!(f, "callx {reg}"),
        }
    }
}

fn alu(f: &mut Formatter<'_>, op: AluOp, width: Width, dst: Reg, src: Operand) -> fmt::Result {
    let (dst, src) = (Sized(width, dst), Value(width, src));
    let sign = match op {
        AluOp::Add => "+=",
        AluOp::Sub => "-=",
        AluOp::Mul => "*=",
        AluOp::Div => "/=",
        AluOp::SDiv => "s/=",
        AluOp::Mod => "%=",
        AluOp::SMod => "s%=",
        AluOp::Or => "|=",
        AluOp::And => "&=",
        AluOp::Xor => "^=",
        AluOp::Lsh => "<<=",
        AluOp::Rsh => ">>=",
        AluOp::Arsh => "s>>=",
        AluOp::Mov => "=",
        AluOp::Neg => return write!(f, "{dst} = -{dst}"),
        AluOp::MovSx8 => return write!(f, "{dst} = (s8){src}"),
        AluOp::MovSx16 => return write!(f, "{dst} = (s16){src}"),
        AluOp::MovSx32 => return write!(f, "{dst} = (s32){src}"),
    };
    write!(f, "{dst} {sign} {src}")
}

fn atomic(
    f: &mut Formatter<'_>,
    op: AtomicOp,
    fetch: bool,
    width: Width,
    (base, off): (Reg, i16),
    src: Reg,
) -> fmt::Result {
    let (size, prefix) = match width {
        Width::W32 => (Size::W, "atomic"),
        Width::W64 => (Size::DW, "atomic64"),
    };
    let memory = Memory(size, Sign::Zero, base, off);
    let (sign, name) = match op {
        AtomicOp::Add => ("+=", "add"),
        AtomicOp::Or => ("|=", "or"),
        AtomicOp::And => ("&=", "and"),
        AtomicOp::Xor => ("^=", "xor"),
        AtomicOp::Xchg => return write!(f, "{src} = {prefix}_xchg({memory}, {src})"),
        AtomicOp::CmpXchg => return write!(f, "r0 = {prefix}_cmpxchg({memory}, r0, {src})"),
    };
    if fetch {
        write!(f, "{src} = {prefix}_fetch_{name}({memory}, {src})")
    } else {
        write!(f, "lock *{memory} {sign} {src}")
    }
}

/// The comparison between its operands: `s>`.
#[must_use]
pub const fn compare_sign(op: CmpOp) -> &'static str {
    match op {
        CmpOp::Eq => "==",
        CmpOp::Ne => "!=",
        CmpOp::Set => "&",
        CmpOp::Gt => ">",
        CmpOp::Ge => ">=",
        CmpOp::Lt => "<",
        CmpOp::Le => "<=",
        CmpOp::SGt => "s>",
        CmpOp::SGe => "s>=",
        CmpOp::SLt => "s<",
        CmpOp::SLe => "s<=",
    }
}

/// A whole program, a line an instruction, each with its slot index as `bpftool prog dump xlated` numbers them.
#[must_use]
pub fn listing(insns: &[Insn], pcs: &[Pc], names: &dyn Names) -> String {
    let lines = insns.iter().zip(pcs).enumerate().map(|(index, (insn, pc))| {
        let at = InsnId(index as u32); // An `InsnId` is 32 bits wide.
        format!("{:>4}: {}\n", pc.0, text(insn, at, pcs).with_names(names))
    });
    lines.collect()
}
