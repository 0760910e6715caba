//! What the verifier knows of a helper: arguments, result, properties.
#![forbid(unsafe_code)]

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
    /// Like `MapValue`, or null.
    MapValueOrNull,
    /// Like `MapValue`, written by the helper; need not be initialised.
    MapValueUninit,
    /// Pointer to the program's context.
    Context,
    /// Pointer to the program's context, or null.
    ContextOrNull,
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
        /// What happens to it.
        role: DynptrRole,
        /// Which kind it must be or becomes.
        kind: DynptrKind,
    },
    /// A socket.
    Sock {
        /// Which pointers are accepted.
        kind: SockKind,
        /// May be null.
        nullable: bool,
    },
    /// A kernel object.
    BtfId {
        /// BTF type name; empty: the type of the kptr slot in the preceding argument.
        name: &'static str,
        /// May be null.
        nullable: bool,
    },
    /// Pointer to a kptr slot in a map value.
    Kptr,
    /// Pointer to a per-CPU kernel variable.
    PercpuBtfId,
    /// What programs allocate, or what holds it (kernel functions only).
    Object(ObjectArg),
}

/// What an argument has to do with allocated objects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ObjectArg {
    /// An object to which the run holds a reference.
    Held,
    /// The same, or null.
    HeldOrNull,
    /// An object that is there.
    Live,
    /// The list node of an object that is held.
    NewListNode,
    /// The tree node of an object that is held.
    NewTreeNode,
    /// The tree node of an object that is there.
    TreeNode,
    /// The head of a list or the root of a tree.
    Collection,
    /// A kptr.
    Field,
    /// A resilient lock.
    Lock,
}

/// What a helper does to a dynptr argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DynptrRole {
    /// Uses it and leaves it as it is.
    Use,
    /// Makes one in an uninitialised slot.
    Init,
    /// Ends its life (the releasing argument).
    Release,
}

/// Which socket pointers an argument accepts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SockKind {
    /// `ARG_PTR_TO_SOCK_COMMON`: a `sock_common`, `sock`, `tcp_sock` or `xdp_sock` of the verifier.
    Common,
    /// `ARG_PTR_TO_SOCKET`: a full socket of the verifier.
    Full,
    /// `ARG_PTR_TO_BTF_ID_SOCK_COMMON`: one of the above, or a trusted BTF pointer to `sock_common` or what embeds it.
    Btf,
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
    /// A value of the map argument.
    MapValue,
    /// A value of the map argument, or null.
    MapValueOrNull,
    /// Memory of as many bytes as the `AllocSize` argument says, or null.
    AllocMemOrNull,
    /// A ring buffer record of as many bytes as the `AllocSize` argument says, or null; a reference.
    RingbufMemOrNull,
    /// A socket or null (`tcp_sock`, `sock_common` …, by name).
    SocketOrNull(&'static str),
    /// A kernel object.
    BtfId {
        /// BTF type name; empty: the type of the kptr slot.
        name: &'static str,
        /// May be null.
        nullable: bool,
    },
    /// The per-CPU variable of the `PercpuBtfId` argument on one CPU.
    PercpuMem {
        /// May be null.
        nullable: bool,
    },
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
        /// Needs CAP_PERFMON beside CAP_BPF, whatever the program type.
        const PERFMON = 1 << 8;
        /// Memory arguments may point into the packet.
        const PACKET_ACCESS = 1 << 9;
        /// Memory that is only written ([`MemAccess::WriteUninit`]) is written to its last byte whatever happens, with
        /// zeros if it fails. Others may return and leave there what was there.
        const FILLS = 1 << 10;
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

impl Proto {
    /// Which argument (0 to 4) is released, if one is.
    #[must_use]
    pub fn released(&self) -> Option<usize> {
        self.flags.contains(HelperFlags::RELEASES).then_some(usize::from(self.release_arg))
    }
}
