//! The form itself: one [`Function`] a native function, values in one dense array, blocks with parameters.
//!
//! A [`Node`] is an operation and the value it gives (nodes without a result have type `I64` and are never
//! used). Blocks list their nodes in order; what nobody lists does not exist. Registers are `I64` values, 32-bit
//! arithmetic works on `I32` values between a `Reduce` and a `Widen`; conditions are `I8` values of `Compare`.
//! Not here: how the form is made (`build`), folded (`fold`) or turned into machine code (`codegen`).
#![forbid(unsafe_code)]

use beelift_runtime::TrapKind;

use crate::isa::{AtomicOp, InsnId, MapSlot, Sign, Size, Width};

/// A node of a function, by index.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Value(pub u32);

impl Value {
    /// Stands for "never written" while the form is built; never inside a finished function.
    pub(crate) const NONE: Self = Self(u32::MAX);

    /// As an index of [`Function::nodes`].
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A basic block, by index. Block 0 is the entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BlockId(pub u32);

impl BlockId {
    /// As an index of [`Function::blocks`].
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Type of a value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Type {
    /// A condition: 0 or 1.
    I8,
    /// A 32-bit number.
    I32,
    /// A register: number or address.
    I64,
}

impl Type {
    /// The type of numbers of a width.
    #[must_use]
    pub const fn of(width: Width) -> Self {
        match width {
            Width::W32 => Self::I32,
            Width::W64 => Self::I64,
        }
    }
    /// In bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        match self {
            Self::I8 => 8,
            Self::I32 => 32,
            Self::I64 => 64,
        }
    }
    /// All ones.
    #[must_use]
    pub const fn mask(self) -> u64 {
        u64::MAX >> (64 - self.bits())
    }
}

/// One operand.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum UnaryOp {
    /// The low half (`I64` to `I32`).
    Reduce,
    /// Zero-extension of an `I32`.
    Widen,
    /// Sign-extension of the low 8, 16 or 32 bits.
    SignExtend(Size),
    /// All bytes reversed.
    SwapBytes,
    /// Number of ones.
    CountOnes,
}

/// Two operands of the result's type (shift counts too).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    UDiv,
    URem,
    SDiv,
    SRem,
    And,
    Or,
    Xor,
    Shl,
    LShr,
    AShr,
}

/// A comparison; the operands' type is its width.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Condition {
    Eq,
    Ne,
    ULt,
    ULe,
    UGt,
    UGe,
    SLt,
    SLe,
    SGt,
    SGe,
}

impl Condition {
    /// Holds exactly where this one does not.
    #[must_use]
    pub const fn inverse(self) -> Self {
        match self {
            Self::Eq => Self::Ne,
            Self::Ne => Self::Eq,
            Self::ULt => Self::UGe,
            Self::ULe => Self::UGt,
            Self::UGt => Self::ULe,
            Self::UGe => Self::ULt,
            Self::SLt => Self::SGe,
            Self::SLe => Self::SGt,
            Self::SGt => Self::SLe,
            Self::SGe => Self::SLt,
        }
    }
    /// The same with the operands exchanged.
    #[must_use]
    pub const fn swapped(self) -> Self {
        match self {
            Self::Eq => Self::Eq,
            Self::Ne => Self::Ne,
            Self::ULt => Self::UGt,
            Self::ULe => Self::UGe,
            Self::UGt => Self::ULt,
            Self::UGe => Self::ULe,
            Self::SLt => Self::SGt,
            Self::SLe => Self::SGe,
            Self::SGt => Self::SLt,
            Self::SGe => Self::SLe,
        }
    }
}

/// Classes of memory that never overlap, for reordering. Everything else is [`Class::Any`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Class {
    /// May be anything.
    Any,
    /// The function's own stack frame, or one of those below it.
    Stack,
    /// The stack frame of a calling function.
    Caller,
    /// Anything but stack frames.
    Outside,
    /// The native context structure.
    Context,
    /// Packet bytes.
    Packet,
    /// Values of maps: one class for all maps, because two slots may be bound to one map.
    Map,
    /// `ExecContext`.
    Runtime,
}

/// Where and how memory is accessed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Place {
    /// Address, without the offset.
    pub base: Value,
    /// Bytes added to it.
    pub off: i32,
    /// Alias class.
    pub class: Class,
    /// Whether the address is a multiple of the access size, proven.
    pub aligned: bool,
}

/// An address that is known when the program is linked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Address {
    /// The `MapHandle` of a map.
    MapHandle(MapSlot),
    /// The first value of a map, plus bytes.
    MapValue(MapSlot, u32),
    /// The window of an arena.
    Arena(MapSlot),
}

/// What a call calls.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Target {
    /// A helper: takes the run-time context and five words.
    Helper(u32),
    /// A kernel function that user space serves, by the run-time's number: as a helper.
    Kfunc(u32),
    /// Leaves all functions: takes the run-time context and what the program returns. Does not come back.
    Throw,
    /// A helper whose map argument is always this map: takes the same.
    MapHelper(u32, MapSlot),
    /// What packet access instructions do: takes the run-time context, an offset and a size in bytes.
    PacketLoad,
    /// A load of an object that may be gone: takes the run-time context, an address and a size in bytes.
    ObjectLoad,
    /// The next element of a map: takes the run-time context, the map, a cursor, and where key and next cursor go.
    MapIterate,
    /// A native function of the module: takes the run-time context and five words.
    Function(u32),
}

/// An operation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Op {
    /// A parameter of a block (or of the function, in the entry block).
    Param,
    /// A number, zero-extended to 64 bits.
    Const(u64),
    /// A link-time address.
    Address(Address),
    /// The address of the `ExecContext`.
    Runtime,
    /// Address of a byte of the function's stack frame; 0 is its lowest byte.
    Frame(u32),
    /// One operand.
    Unary(UnaryOp, Value),
    /// Two operands.
    Binary(BinaryOp, Value, Value),
    /// A condition of two values of one type.
    Compare(Condition, Value, Value),
    /// The second operand if the first (a condition) holds, else the third.
    Select(Value, Value, Value),
    /// Memory, extended to 64 bits.
    Load(Size, Sign, Place),
    /// The low bytes of an `I64` into memory. No result.
    Store(Size, Place, Value),
    /// Read-modify-write, sequentially consistent: the old value, zero-extended to 64 bits. The operand is `I64`.
    AtomicRmw(AtomicOp, Width, Place, Value),
    /// Compare-exchange (expected, new): the old value, zero-extended.
    AtomicCas(Width, Place, Value, Value),
    /// A load with acquire order, zero-extended.
    LoadAcquire(Size, Place),
    /// A store with release order. No result.
    StoreRelease(Size, Place, Value),
    /// A call; the result is `I64`.
    Call(Target, ArgList),
    /// Stops the run with a trap if the condition holds. No result.
    TrapIf(TrapKind, Value),
}

/// Arguments of a call: index of [`Function::args`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ArgList(pub u32);

/// Bytes of the function's frame that a call touches.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FrameUse {
    /// Any of them, and the call may keep an address for those after it.
    pub unknown: bool,
    /// Those it may read: offset and number.
    pub reads: Vec<(u32, u32)>,
    /// Those it may write.
    pub writes: Vec<(u32, u32)>,
}

impl FrameUse {
    /// No byte.
    pub const NONE: Self = Self { unknown: false, reads: Vec::new(), writes: Vec::new() };
    /// Nobody knows.
    pub const UNKNOWN: Self = Self { unknown: true, reads: Vec::new(), writes: Vec::new() };
}

/// An operation with its type and origin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Node {
    /// What is done.
    pub op: Op,
    /// Type of the result.
    pub ty: Type,
    /// The instruction it comes from.
    pub insn: InsnId,
}

/// A way to a block, with values for its parameters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Edge {
    /// Where to.
    pub to: BlockId,
    /// One for each parameter.
    pub args: Vec<Value>,
}

/// How a block ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Terminator {
    /// Goes on there.
    Jump(Edge),
    /// By a condition: the first edge if it holds.
    Branch(Value, Edge, Edge),
    /// By a number: the edge of that index, or the last one if there is none.
    Switch(Value, Vec<Edge>, Edge),
    /// Returns an `I64`.
    Return(Value),
    /// Stops the run.
    Trap(TrapKind),
}

impl Terminator {
    /// Ways out.
    pub fn edges(&self) -> impl Iterator<Item = &Edge> {
        let (first, second, table): (_, _, &[Edge]) = match self {
            Self::Jump(edge) => (Some(edge), None, &[]),
            Self::Branch(_, then, otherwise) => (Some(then), Some(otherwise), &[]),
            Self::Switch(_, table, default) => (Some(default), None, table),
            Self::Return(_) | Self::Trap(_) => (None, None, &[]),
        };
        first.into_iter().chain(second).chain(table)
    }
    /// Ways out, to change them.
    pub fn edges_mut(&mut self) -> impl Iterator<Item = &mut Edge> {
        let (first, second, table): (_, _, &mut [Edge]) = match self {
            Self::Jump(edge) => (Some(edge), None, &mut []),
            Self::Branch(_, then, otherwise) => (Some(then), Some(otherwise), &mut []),
            Self::Switch(_, table, default) => (Some(default), None, table),
            Self::Return(_) | Self::Trap(_) => (None, None, &mut []),
        };
        first.into_iter().chain(second).chain(table)
    }
}

/// A basic block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Block {
    /// Values that every edge to it supplies.
    pub params: Vec<Value>,
    /// Operations in order.
    pub nodes: Vec<Value>,
    /// How it ends.
    pub end: Terminator,
    /// The instruction its end comes from.
    pub end_insn: InsnId,
}

/// One native function in SSA form.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Function {
    /// Name of the subprogram.
    pub name: String,
    /// Its index in `Program::subprograms`.
    pub subprogram: u32,
    /// All values.
    pub nodes: Vec<Node>,
    /// All blocks; the first is the entry, whose parameters are the function's.
    pub blocks: Vec<Block>,
    /// Arguments of calls.
    pub args: Vec<Vec<Value>>,
    /// What the calls do to the frame, likewise by [`ArgList`].
    pub frame_uses: Vec<FrameUse>,
    /// Bytes of the stack frame.
    pub frame_size: u32,
}

impl Function {
    /// A function without code.
    #[must_use]
    pub fn new(name: &str, subprogram: u32) -> Self {
        Self {
            name: name.to_owned(),
            subprogram,
            nodes: Vec::new(),
            blocks: Vec::new(),
            args: Vec::new(),
            frame_uses: Vec::new(),
            frame_size: 0,
        }
    }
    /// The operation of a value.
    #[must_use]
    pub fn op(&self, value: Value) -> Op {
        self.nodes[value.index()].op
    }
    /// The type of a value.
    #[must_use]
    pub fn ty(&self, value: Value) -> Type {
        self.nodes[value.index()].ty
    }
    /// The number, if the value is a constant.
    #[must_use]
    pub fn constant(&self, value: Value) -> Option<u64> {
        match self.op(value) {
            Op::Const(number) => Some(number),
            _ => None,
        }
    }
    /// A new value that no block lists yet.
    pub fn add(&mut self, op: Op, ty: Type, insn: InsnId) -> Value {
        let value = Value(u32::try_from(self.nodes.len()).expect("fewer nodes than 2^32"));
        self.nodes.push(Node { op, ty, insn });
        value
    }
    /// A new list of arguments for a call.
    pub fn add_args(&mut self, args: Vec<Value>, frame_use: FrameUse) -> ArgList {
        let list = ArgList(u32::try_from(self.args.len()).expect("fewer than 2^32 calls"));
        self.args.push(args);
        self.frame_uses.push(frame_use);
        list
    }
    /// A new block that ends in a trap until it gets its end.
    pub fn add_block(&mut self) -> BlockId {
        let block = BlockId(u32::try_from(self.blocks.len()).expect("fewer blocks than 2^32"));
        self.blocks.push(Block {
            params: Vec::new(),
            nodes: Vec::new(),
            end: Terminator::Trap(TrapKind::InvalidInsn),
            end_insn: InsnId(0),
        });
        block
    }
    /// A new parameter of a block.
    pub fn add_param(&mut self, block: BlockId, ty: Type, insn: InsnId) -> Value {
        let value = self.add(Op::Param, ty, insn);
        self.blocks[block.index()].params.push(value);
        value
    }
}

impl Op {
    /// Calls `visit` with every operand, except those of calls (see [`Function::args`]).
    pub fn visit(self, mut visit: impl FnMut(Value)) {
        let mut op = self;
        op.map(|value| {
            visit(value);
            value
        });
    }
    /// Replaces every operand, except those of calls.
    pub fn map(&mut self, mut with: impl FnMut(Value) -> Value) {
        match self {
            Self::Param
            | Self::Const(_)
            | Self::Address(_)
            | Self::Runtime
            | Self::Frame(_)
            | Self::Call(..) => {}
            Self::Unary(_, a) | Self::TrapIf(_, a) => *a = with(*a),
            Self::Binary(_, a, b) | Self::Compare(_, a, b) => {
                *a = with(*a);
                *b = with(*b);
            }
            Self::Select(a, b, c) => {
                *a = with(*a);
                *b = with(*b);
                *c = with(*c);
            }
            Self::Load(_, _, place) | Self::LoadAcquire(_, place) => place.base = with(place.base),
            Self::Store(_, place, value)
            | Self::StoreRelease(_, place, value)
            | Self::AtomicRmw(_, _, place, value) => {
                place.base = with(place.base);
                *value = with(*value);
            }
            Self::AtomicCas(_, place, a, b) => {
                place.base = with(place.base);
                *a = with(*a);
                *b = with(*b);
            }
        }
    }
    /// Whether the operation only computes: it may be dropped when unused, and moved or repeated.
    #[must_use]
    pub const fn is_pure(self) -> bool {
        match self {
            Self::Param
            | Self::Const(_)
            | Self::Address(_)
            | Self::Runtime
            | Self::Frame(_)
            | Self::Unary(..)
            | Self::Binary(..)
            | Self::Compare(..)
            | Self::Select(..) => true,
            Self::Load(..)
            | Self::Store(..)
            | Self::AtomicRmw(..)
            | Self::AtomicCas(..)
            | Self::LoadAcquire(..)
            | Self::StoreRelease(..)
            | Self::Call(..)
            | Self::TrapIf(..) => false,
        }
    }
    /// Whether dropping the operation when its value is unused changes nothing.
    #[must_use]
    pub const fn is_removable(self) -> bool {
        self.is_pure() || matches!(self, Self::Load(..))
    }
}

impl Terminator {
    /// Replaces every value that the end of a block names.
    pub fn map(&mut self, mut with: impl FnMut(Value) -> Value) {
        match self {
            Self::Branch(value, ..) | Self::Switch(value, ..) | Self::Return(value) => *value = with(*value),
            Self::Jump(_) | Self::Trap(_) => {}
        }
        for edge in self.edges_mut() {
            for arg in &mut edge.args {
                *arg = with(*arg);
            }
        }
    }
    /// Calls `visit` with every value that decides or leaves the function here (not those of edges).
    pub fn visit_own(&self, mut visit: impl FnMut(Value)) {
        match self {
            Self::Branch(value, ..) | Self::Switch(value, ..) | Self::Return(value) => visit(*value),
            Self::Jump(_) | Self::Trap(_) => {}
        }
    }
}
