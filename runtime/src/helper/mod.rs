//! Helpers: prototype, argument kinds, registry. One row a helper in `table`; three readers: the verifier
//! reads [`Proto`], the code generator the number, the linker the address.
#![forbid(unsafe_code)]

use crate::abi::HelperFn;

/// What a helper expects of one argument (kernel: `enum bpf_arg_type` and its flags).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ArgKind {
    /// Not an argument.
    None,
    /// Any initialised value.
    Anything,
    /// A constant map (`ARG_CONST_MAP_PTR`).
    Map,
    /// Pointer to a key of the map in an earlier argument (readable, `key_size` bytes).
    MapKey,
    /// Pointer to a value of the map in an earlier argument (readable, `value_size` bytes).
    MapValue,
    /// Like `MapValue`, written by the helper; need not be initialised.
    MapValueUninit,
    /// Pointer to the program's context.
    Context,
    /// Pointer to memory whose size is the following `Size` argument.
    Mem {
        /// Read or written.
        access: MemAccess,
        /// May be null (then the size must be zero).
        nullable: bool,
    },
    /// Pointer to memory of a fixed size.
    FixedMem {
        /// Bytes.
        size: u32,
        /// Read or written.
        access: MemAccess,
        /// Alignment required of the pointer in bytes (1: none).
        align: u32,
    },
    /// Size of the preceding `Mem`, not zero.
    Size,
    /// Size of the preceding `Mem`, or zero.
    SizeOrZero,
    /// A constant size that becomes the size of the returned memory (`ARG_CONST_ALLOC_SIZE_OR_ZERO`).
    AllocSize,
    /// Memory of `bpf_ringbuf_reserve`, not null; released if the prototype says so.
    RingbufMem,
    /// Pointer to a constant string in a frozen map.
    ConstStr,
    /// A callback subprogram.
    Callback,
    /// Pointer to the stack, or null (callback context).
    StackOrNull,
    /// Pointer to a spin lock in a map value.
    SpinLock,
    /// Pointer to a timer in a map value.
    Timer,
    /// A dynptr on the stack.
    Dynptr {
        /// Whether the helper initialises it.
        init: bool,
        /// Which kind it must be or becomes.
        kind: DynptrKind,
        /// The helper may change what it points to, but not the dynptr.
        mutable: bool,
    },
    /// A socket pointer (`ARG_PTR_TO_SOCKET`, `ARG_PTR_TO_SOCK_COMMON`, `ARG_PTR_TO_BTF_ID_SOCK_COMMON`).
    SockCommon,
    /// A kernel object by BTF name.
    BtfId(&'static str),
    /// Pointer to a kptr slot in a map value.
    Kptr,
    /// Pointer to a per-CPU kernel variable.
    PercpuBtfId,
    /// Pointer to an 8-byte (or 4-byte) integer that the helper writes.
    Int {
        /// 4 or 8.
        size: u32,
    },
}

/// How a helper uses memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemAccess {
    /// Reads: must be initialised.
    Read,
    /// Writes all of it: need not be initialised.
    WriteUninit,
    /// Reads and writes.
    ReadWrite,
}

/// Kinds of dynptrs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "named as in the kernel")]
pub enum DynptrKind {
    Any,
    Local,
    Ringbuf,
    Skb,
    Xdp,
}

/// What a helper returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RetKind {
    /// A number.
    Integer,
    /// Nothing (r0 is unreadable afterwards).
    Void,
    /// A value of the map argument, or null.
    MapValueOrNull,
    /// Memory of the `AllocSize` argument, or null.
    AllocMemOrNull,
    /// A socket or null (`tcp_sock`, `sock_common` …, by name).
    SocketOrNull(&'static str),
    /// A kernel object by BTF name, never null / trusted or null.
    BtfId {
        /// Type name.
        name: &'static str,
        /// May be null.
        nullable: bool,
    },
    /// Memory of a per-CPU variable or a dynptr slice, or null.
    MemOrNull,
}

bitflags::bitflags! {
    /// Properties of a helper.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct HelperFlags: u32 {
        /// Only for GPL-compatible programs.
        const GPL = 1;
        /// May move or resize the packet: packet pointers become invalid.
        const CHANGES_PACKET = 1 << 1;
        /// May sleep.
        const SLEEPS = 1 << 2;
        /// Returns a reference that must be released.
        const ACQUIRES = 1 << 3;
        /// Releases the reference in its releasing argument (`release_arg` of the prototype).
        const RELEASES = 1 << 4;
        /// Result depends on the machine (clock, random numbers, ids): not comparable between engines unless fixed.
        const MACHINE = 1 << 5;
        /// Allowed while a spin lock is held.
        const IN_LOCK = 1 << 6;
        /// Marked fastcall in the kernel (`bpf_fastcall`).
        const FASTCALL = 1 << 7;
        /// Needs CAP_PERFMON or CAP_SYS_ADMIN beside CAP_BPF.
        const PERFMON = 1 << 8;
    }
}

/// Prototype of a helper.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Proto {
    /// Arguments r1 to r5.
    pub args: [ArgKind; 5],
    /// Return value.
    pub ret: RetKind,
    /// Properties.
    pub flags: HelperFlags,
    /// Which argument (0 to 4) is released, with `HelperFlags::RELEASES`.
    pub release_arg: u8,
}

/// A helper.
#[derive(Clone, Copy, Debug)]
pub struct Helper {
    /// The kernel's number.
    pub id: u32,
    /// Name, with `bpf_`.
    pub name: &'static str,
    /// Prototype.
    pub proto: Proto,
    /// Native function; `None`: known to the verifier, but user space cannot serve it.
    pub function: Option<HelperFn>,
}

/// What helpers leave behind in a run (redirect target, …).
#[derive(Default)]
pub struct Effects {}
