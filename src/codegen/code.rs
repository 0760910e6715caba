//! The inert result of compilation: bytes, relocations by name, the map from bytes back to instructions.
//!
//! In: what `codegen::compile` took out of Cranelift. Out: read by `exec` (which gives every [`Symbol`] an
//! address and publishes the bytes) and by `dump`. No address is known here, so the same value can be
//! linked any number of times, or written to a file.
#![forbid(unsafe_code)]

use beelift_runtime::helper;

use crate::isa::{InsnId, MapSlot};

/// Machine code of one program: position-free, with symbolic references.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CompiledCode {
    /// Native functions. [`Symbol::Function`] indexes them.
    pub functions: Vec<CompiledFunction>,
    /// Which function is the entry: `extern "C" fn(&ExecContext, r1: u64, r2: u64) -> u64`, as far as `convention`
    /// says.
    pub entry: u32,
    /// Which registers the entry preserves.
    pub convention: Convention,
}

/// Which registers the entry of a program preserves. Arguments and result are in those of the platform's C convention.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Convention {
    /// Those that a C function preserves.
    Platform,
    /// The stack and the frame pointer alone: who enters keeps what it needs, once, and the program saves nothing again.
    Bare,
}

impl CompiledCode {
    /// Bytes of all functions, without padding.
    #[must_use]
    pub fn size(&self) -> usize {
        self.functions.iter().map(|function| function.bytes.len()).sum()
    }
}

/// Machine code of one subprogram.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CompiledFunction {
    /// Name of the subprogram, for listings and perf maps.
    pub name: String,
    /// Index of the subprogram in [`Program::subprograms`](crate::link::Program::subprograms).
    pub subprogram: u32,
    /// Machine code and its constants.
    pub bytes: Vec<u8>,
    /// Alignment that `bytes` need, a power of two.
    pub align: u32,
    /// Places to fill in.
    pub relocs: Vec<Reloc>,
    /// By ascending offset: from `offset` on, bytes belong to that instruction.
    pub pc_map: Vec<PcMapEntry>,
}

impl CompiledFunction {
    /// The instruction that the byte at `offset` was generated for.
    #[must_use]
    pub fn insn_at(&self, offset: u32) -> Option<InsnId> {
        let after = self.pc_map.partition_point(|entry| entry.offset <= offset);
        self.pc_map[..after].last().and_then(|entry| entry.insn)
    }
}

/// Start of a run of bytes that belong to one instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PcMapEntry {
    /// Offset in the function's bytes.
    pub offset: u32,
    /// The instruction, or `None` for prologues, constants and the like.
    pub insn: Option<InsnId>,
}

/// A place in the code that holds the address of a [`Symbol`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reloc {
    /// Offset in the function's bytes.
    pub offset: u32,
    /// How the address is written.
    pub kind: RelocKind,
    /// Whose address.
    pub symbol: Symbol,
    /// Added to the address (`S + A`, and for relative kinds `S + A - P`).
    pub addend: i64,
}

/// How an address is written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RelocKind {
    /// Eight bytes: `S + A`.
    Abs8,
    /// Four bytes of an x86-64 `call` or `jmp`: `S + A - P` (the addend already counts the four bytes).
    X86CallPcRel4,
    /// Four bytes of an x86-64 memory operand: `S + A - P`.
    X86PcRel4,
    /// The low 26 bits of an aarch64 `bl` or `b`: `(S + A - P) >> 2`.
    Aarch64Call,
    /// `adrp`: page of `S + A` relative to the page of `P`, bits 32:12 in immhi:immlo.
    Aarch64AdrPage,
    /// `add` immediate: bits 11:0 of `S + A`.
    Aarch64AddLow12,
}

/// A thing with an address, by name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Symbol {
    /// A native function of the same program: index of [`CompiledCode::functions`].
    Function(u32),
    /// A helper by the kernel's number.
    Helper(u32),
    /// A kernel function that user space serves, by `beelift_runtime::helper::kfunc`'s number.
    Kfunc(u32),
    /// A helper by number, for calls with this map only: `beelift_runtime::helper::for_map` may have a better one.
    MapHelper(u32, MapSlot),
    /// The `MapHandle` of a map.
    MapHandle(MapSlot),
    /// The first value of a map: `Map::base()`.
    MapBase(MapSlot),
    /// The window of an arena: `ArenaMap::window()`.
    Arena(MapSlot),
    /// Native code of ours that is not a helper.
    Stub(Stub),
}

/// Native code of ours that generated code calls.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Stub {
    /// `extern "C" fn(&ExecContext) -> !`: leaves all native frames. `trap` and `trap_insn` are already stored.
    TrapExit,
    /// `extern "C" fn(&ExecContext, u64) -> !`: leaves all native frames; the program returns the number.
    ThrowExit,
    /// `beelift_runtime::helper::PACKET_LOAD`: what the packet access instructions load.
    PacketLoad,
    /// `beelift_runtime::helper::OBJECT_LOAD`: a load of an object that may be gone.
    ObjectLoad,
    /// `beelift_runtime::helper::MAP_ITERATE`: the next element of a map.
    MapIterate,
}

impl std::fmt::Display for Symbol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Function(index) => write!(f, "function {index}"),
            Self::Helper(id) => write!(f, "helper {id}"),
            Self::Kfunc(number) => {
                f.write_str(helper::kfunc(*number).map_or("kernel function", |kfunc| kfunc.name))
            }
            Self::MapHelper(id, slot) => write!(f, "helper {id} of map {}", slot.0),
            Self::MapHandle(slot) => write!(f, "map {}", slot.0),
            Self::MapBase(slot) => write!(f, "values of map {}", slot.0),
            Self::Arena(slot) => write!(f, "window of map {}", slot.0),
            Self::Stub(Stub::TrapExit) => f.write_str("stub trap_exit"),
            Self::Stub(Stub::ThrowExit) => f.write_str("stub throw_exit"),
            Self::Stub(Stub::PacketLoad) => f.write_str("stub packet_load"),
            Self::Stub(Stub::ObjectLoad) => f.write_str("stub object_load"),
            Self::Stub(Stub::MapIterate) => f.write_str("stub map_iterate"),
        }
    }
}
