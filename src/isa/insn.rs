//! The decoded instruction: about sixteen orthogonal variants instead of about 150 opcodes.
//!
//! Immediates are sign-extended by `decode`, so no consumer ever sees a raw `imm`. Every `match` on these
//! enums in the crate is exhaustive, without a `_` arm: a new variant makes the compiler list the work.
#![forbid(unsafe_code)]

use super::InsnId;

/// A register, r0 to r10. `decode` guarantees the range.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "u8", into = "u8")
)]
pub struct Reg(u8);

impl From<Reg> for u8 {
    fn from(reg: Reg) -> Self {
        reg.0
    }
}

/// There is no register of that number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("there is no register r{0}")]
pub struct NoSuchRegister(pub u8);

impl TryFrom<u8> for Reg {
    type Error = NoSuchRegister;
    fn try_from(number: u8) -> Result<Self, NoSuchRegister> {
        Self::new(number).ok_or(NoSuchRegister(number))
    }
}

impl Reg {
    /// Return value of calls and of the program.
    pub const R0: Self = Self(0);
    /// First argument; the context at entry.
    pub const R1: Self = Self(1);
    /// Second argument.
    pub const R2: Self = Self(2);
    /// Third argument.
    pub const R3: Self = Self(3);
    /// Fourth argument.
    pub const R4: Self = Self(4);
    /// Fifth argument.
    pub const R5: Self = Self(5);
    /// First register that calls preserve.
    pub const R6: Self = Self(6);
    /// Second register that calls preserve.
    pub const R7: Self = Self(7);
    /// Third register that calls preserve.
    pub const R8: Self = Self(8);
    /// Fourth register that calls preserve.
    pub const R9: Self = Self(9);
    /// Read-only frame pointer: the end of the 512-byte stack frame.
    pub const R10: Self = Self(10);
    /// Number of registers.
    pub const COUNT: usize = 11;
    /// Argument registers in order.
    pub const ARGS: [Self; 5] = [Self::R1, Self::R2, Self::R3, Self::R4, Self::R5];

    /// The register of that number, if there is one.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        if number <= 10 { Some(Self(number)) } else { None }
    }
    /// Its number, 0 to 10.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }
    /// Its number as an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
    /// All eleven, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..11).map(Self)
    }
}

impl std::fmt::Display for Reg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "r{}", self.0)
    }
}

/// Operand width of arithmetic, branches and atomics.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Width {
    /// The low half; results are zero-extended.
    W32,
    /// The whole register.
    W64,
}

impl Width {
    /// 32 or 64.
    #[must_use]
    pub const fn bits(self) -> u32 {
        match self {
            Self::W32 => 32,
            Self::W64 => 64,
        }
    }
}

/// Size of a memory access.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Size {
    /// One byte.
    B,
    /// Two bytes.
    H,
    /// Four bytes.
    W,
    /// Eight bytes.
    DW,
}

impl Size {
    /// In bytes: 1, 2, 4 or 8.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        match self {
            Self::B => 1,
            Self::H => 2,
            Self::W => 4,
            Self::DW => 8,
        }
    }
    /// In bits: 8, 16, 32 or 64.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.bytes() * 8
    }
}

/// How a loaded value fills the register.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Sign {
    /// Zero-extended.
    Zero,
    /// Sign-extended to 64 bits (`BPF_MEMSX`).
    Signed,
}

/// Arithmetic and logic. `Move` with a sign extension and division with a sign are operations of their own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum AluOp {
    /// `dst += src`
    Add,
    /// `dst -= src`
    Sub,
    /// `dst *= src`
    Mul,
    /// `dst /= src`, unsigned; 0 by zero.
    Div,
    /// `dst s/= src`; 0 by zero, MIN / -1 is MIN.
    SDiv,
    /// `dst %= src`, unsigned; `dst` by zero.
    Mod,
    /// `dst s%= src`; `dst` by zero, MIN % -1 is 0.
    SMod,
    /// `dst |= src`
    Or,
    /// `dst &= src`
    And,
    /// `dst ^= src`
    Xor,
    /// `dst <<= src`, the count modulo the width.
    Lsh,
    /// `dst >>= src`, unsigned, the count modulo the width.
    Rsh,
    /// `dst s>>= src`, the count modulo the width.
    Arsh,
    /// `dst = -dst`; the source is ignored.
    Neg,
    /// `dst = src`
    Mov,
    /// `dst = (s8)src`
    MovSx8,
    /// `dst = (s16)src`
    MovSx16,
    /// `dst = (s32)src`, 64-bit only.
    MovSx32,
}

impl AluOp {
    /// All of them, for tables and tests.
    pub const ALL: [Self; 18] = [
        Self::Add,
        Self::Sub,
        Self::Mul,
        Self::Div,
        Self::SDiv,
        Self::Mod,
        Self::SMod,
        Self::Or,
        Self::And,
        Self::Xor,
        Self::Lsh,
        Self::Rsh,
        Self::Arsh,
        Self::Neg,
        Self::Mov,
        Self::MovSx8,
        Self::MovSx16,
        Self::MovSx32,
    ];

    /// Whether the result depends on the old value of the destination.
    #[must_use]
    pub const fn reads_dst(self) -> bool {
        match self {
            Self::Mov | Self::MovSx8 | Self::MovSx16 | Self::MovSx32 => false,
            Self::Add
            | Self::Sub
            | Self::Mul
            | Self::Div
            | Self::SDiv
            | Self::Mod
            | Self::SMod
            | Self::Or
            | Self::And
            | Self::Xor
            | Self::Lsh
            | Self::Rsh
            | Self::Arsh
            | Self::Neg => true,
        }
    }
    /// Whether the result depends on the source.
    #[must_use]
    pub const fn reads_src(self) -> bool {
        !matches!(self, Self::Neg)
    }
}

/// Comparison of a conditional branch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum CmpOp {
    /// `==`
    Eq,
    /// `!=`
    Ne,
    /// `&`: any common bit.
    Set,
    /// `>` unsigned
    Gt,
    /// `>=` unsigned
    Ge,
    /// `<` unsigned
    Lt,
    /// `<=` unsigned
    Le,
    /// `s>`
    SGt,
    /// `s>=`
    SGe,
    /// `s<`
    SLt,
    /// `s<=`
    SLe,
}

impl CmpOp {
    /// All of them, for tables and tests.
    pub const ALL: [Self; 11] = [
        Self::Eq,
        Self::Ne,
        Self::Set,
        Self::Gt,
        Self::Ge,
        Self::Lt,
        Self::Le,
        Self::SGt,
        Self::SGe,
        Self::SLt,
        Self::SLe,
    ];
}

/// Second operand of arithmetic, branches and stores.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Operand {
    /// A register.
    Reg(Reg),
    /// An immediate, sign-extended from 32 bits. Consumers truncate it to the width they work at.
    Imm(i64),
}

/// Read-modify-write operation of an atomic instruction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum AtomicOp {
    /// Add.
    Add,
    /// Bitwise or.
    Or,
    /// Bitwise and.
    And,
    /// Bitwise exclusive or.
    Xor,
    /// Exchange; always fetches.
    Xchg,
    /// Compare r0 with memory and exchange; the old value always goes to r0.
    CmpXchg,
}

/// Target of a byte-order instruction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ByteOrder {
    /// To little endian (`leN`).
    Little,
    /// To big endian (`beN`).
    Big,
    /// Unconditional swap (`bswapN`).
    Swap,
}

/// Address spaces of `addr_space_cast`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum AddrSpace {
    /// 0: kernel addresses (`cast_kern` goes here).
    Kernel,
    /// 1: user addresses of an arena (`cast_user` goes here).
    Arena,
}

/// Index of a map in [`Program::maps`](crate::link::Program::maps).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct MapSlot(pub u32);

/// Index of a kfunc in [`Program::kfuncs`](crate::link::Program::kfuncs).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct KfuncSlot(pub u32);

/// Index of a kernel symbol in [`Program::ksyms`](crate::link::Program::ksyms).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct KsymSlot(pub u32);

/// Value of a wide immediate (`lddw`), by the kinds of RFC 9669 §5.4.
///
/// In raw bytes a map kind carries a file descriptor or an index; in a linked program the number is a
/// [`MapSlot`]. `decode` keeps the number as it stands (`MapSlot(imm)`), the linker writes slots.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Const64 {
    /// src 0: a number.
    Imm(u64),
    /// src 1 (`BPF_PSEUDO_MAP_FD`): the map.
    Map(MapSlot),
    /// src 2 (`BPF_PSEUDO_MAP_VALUE`): address of the first value of the map plus an offset in bytes.
    MapValue(MapSlot, u32),
    /// src 3 (`BPF_PSEUDO_BTF_ID`): address of a kernel variable.
    Ksym(KsymSlot),
    /// src 4 (`BPF_PSEUDO_FUNC`): a subprogram used as callback.
    Function(InsnId),
    /// src 5 (`BPF_PSEUDO_MAP_IDX`): the map by index into a file-descriptor array.
    MapIndex(MapSlot),
    /// src 6 (`BPF_PSEUDO_MAP_IDX_VALUE`): likewise its first value plus an offset.
    MapIndexValue(MapSlot, u32),
}

/// What a call calls.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Callee {
    /// A helper by number (src 0).
    Helper(u32),
    /// A subprogram by its first instruction (src 1).
    Subprogram(InsnId),
    /// A kfunc (src 2). In raw bytes the number is a BTF id and `module` an index of a BTF object.
    Kfunc {
        /// Linked: index of the kfunc; raw: BTF type id.
        kfunc: KfuncSlot,
        /// Raw `off` field: 0 is vmlinux.
        module: i16,
    },
    /// Through a register (`callx`).
    Register(Reg),
}

/// A decoded instruction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Insn {
    /// `dst op= src`
    Alu {
        /// Operation.
        op: AluOp,
        /// Width; a 32-bit result is zero-extended.
        width: Width,
        /// Destination and first operand.
        dst: Reg,
        /// Second operand.
        src: Operand,
    },
    /// `dst = *(size *)(base + off)`
    Load {
        /// Bytes read.
        size: Size,
        /// Extension.
        sign: Sign,
        /// Destination.
        dst: Reg,
        /// Address.
        base: Reg,
        /// Added to the address, in bytes.
        off: i16,
    },
    /// `*(size *)(base + off) = src`
    Store {
        /// Bytes written.
        size: Size,
        /// Address.
        base: Reg,
        /// Added to the address, in bytes.
        off: i16,
        /// Value.
        src: Operand,
    },
    /// Atomic read-modify-write of `*(width *)(base + off)`.
    Atomic {
        /// Operation.
        op: AtomicOp,
        /// Whether the old value goes to `src` (to r0 for `CmpXchg`). Always set for `Xchg` and `CmpXchg`.
        fetch: bool,
        /// Width of the memory operand.
        width: Width,
        /// Address.
        base: Reg,
        /// Added to the address, in bytes.
        off: i16,
        /// Operand.
        src: Reg,
    },
    /// `dst = load_acquire((size *)(base + off))`
    LoadAcquire {
        /// Bytes read.
        size: Size,
        /// Destination.
        dst: Reg,
        /// Address.
        base: Reg,
        /// Added to the address, in bytes.
        off: i16,
    },
    /// `store_release((size *)(base + off), src)`
    StoreRelease {
        /// Bytes written.
        size: Size,
        /// Address.
        base: Reg,
        /// Added to the address, in bytes.
        off: i16,
        /// Value.
        src: Reg,
    },
    /// Jump when the iteration budget is used up, else fall through.
    MayGoto {
        /// Where to go.
        to: InsnId,
    },
    /// `dst = addr_space_cast(src)`
    AddrSpaceCast {
        /// Destination.
        dst: Reg,
        /// Pointer.
        src: Reg,
        /// Address space of the result.
        to: AddrSpace,
    },
    /// Byte order of the low `size` bits; the rest is cleared.
    Swap {
        /// Which order.
        order: ByteOrder,
        /// 16, 32 or 64 bits (never `B`).
        size: Size,
        /// Register changed.
        dst: Reg,
    },
    /// `dst = value ll`: a wide immediate (two slots).
    Const {
        /// Destination.
        dst: Reg,
        /// Value.
        value: Const64,
    },
    /// `goto to`
    Jump {
        /// Where to go.
        to: InsnId,
    },
    /// `if lhs op rhs goto to`
    Branch {
        /// Comparison.
        op: CmpOp,
        /// Width compared.
        width: Width,
        /// Left operand.
        lhs: Reg,
        /// Right operand.
        rhs: Operand,
        /// Where to go when it holds.
        to: InsnId,
    },
    /// A call.
    Call(Callee),
    /// `r0 = *(size *)skb[off]` or `skb[index + off]`: the deprecated packet access, big endian.
    LegacyPacket {
        /// Bytes read: never `DW`.
        size: Size,
        /// Register added to the offset (`IND`), or none (`ABS`).
        index: Option<Reg>,
        /// Offset in bytes.
        off: i32,
    },
    /// Return from the program or subprogram.
    Exit,
}
