//! Program types and their contexts: the only place where a program type is described.
//!
//! A program compiled for the kernel reads `struct xdp_md` and the like at their UAPI offsets, where
//! `data` is a `u32`. A [`ContextLayout`] maps each UAPI field to a field of the native context structure that
//! generated code and interpreter really read (64-bit pointers among them), as the kernel's own
//! `convert_ctx_access` does.
#![forbid(unsafe_code)]

macro_rules! program_types {
    ($($name:ident = $id:literal, $text:literal;)*) => {
        /// The kernel's program types (`enum bpf_prog_type`) by their numbers, and ours above 0x1000.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[allow(missing_docs, reason = "the names are the kernel's BPF_PROG_TYPE_*")]
        #[repr(u32)]
        pub enum ProgramType { $($name = $id),* }
        impl ProgramType {
            /// All types.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];
            /// From the kernel's number.
            #[must_use]
            pub fn from_id(id: u32) -> Option<Self> { match id { $($id => Some(Self::$name),)* _ => None } }
            /// The kernel's number; ours start at 0x1000.
            #[must_use]
            pub const fn id(self) -> u32 { self as u32 }
            /// Lower-case name as bpftool prints it.
            #[must_use]
            pub const fn name(self) -> &'static str { match self { $(Self::$name => $text),* } }
        }
        impl std::fmt::Display for ProgramType {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(self.name()) }
        }
    };
}

program_types! {
    Unspec = 0, "unspec"; SocketFilter = 1, "socket_filter"; Kprobe = 2, "kprobe"; SchedCls = 3, "sched_cls";
    SchedAct = 4, "sched_act"; Tracepoint = 5, "tracepoint"; Xdp = 6, "xdp"; PerfEvent = 7, "perf_event";
    CgroupSkb = 8, "cgroup_skb"; CgroupSock = 9, "cgroup_sock"; LwtIn = 10, "lwt_in"; LwtOut = 11, "lwt_out";
    LwtXmit = 12, "lwt_xmit"; SockOps = 13, "sock_ops"; SkSkb = 14, "sk_skb"; CgroupDevice = 15, "cgroup_device";
    SkMsg = 16, "sk_msg"; RawTracepoint = 17, "raw_tracepoint"; CgroupSockAddr = 18, "cgroup_sock_addr";
    LwtSeg6local = 19, "lwt_seg6local"; LircMode2 = 20, "lirc_mode2"; SkReuseport = 21, "sk_reuseport";
    FlowDissector = 22, "flow_dissector"; CgroupSysctl = 23, "cgroup_sysctl";
    RawTracepointWritable = 24, "raw_tracepoint_writable"; CgroupSockopt = 25, "cgroup_sockopt";
    Tracing = 26, "tracing"; StructOps = 27, "struct_ops"; Ext = 28, "ext"; Lsm = 29, "lsm";
    SkLookup = 30, "sk_lookup"; Syscall = 31, "syscall"; Netfilter = 32, "netfilter";
    Memory = 0x1000, "memory";
}

/// Which part of a context access the verifier lets through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FieldAccess {
    /// Reads only.
    Read,
    /// Reads and writes.
    ReadWrite,
    /// Writes only.
    Write,
}

/// What a context field holds, and how it is converted from the native structure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FieldKind {
    /// A number stored natively with `native_size` bytes.
    Scalar,
    /// Start of the packet (`data`): a 64-bit address natively, a `u32` in the UAPI.
    PacketData,
    /// End of the packet (`data_end`).
    PacketEnd,
    /// Start of the metadata (`data_meta`).
    PacketMeta,
    /// A pointer to a kernel object (socket, flow keys), by type name; may be null.
    Object(&'static str),
    /// Known to the verifier; its value needs what user space does not have: a program that reads it is `Unsupported`.
    KernelOnly,
}

/// One field of a UAPI context.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CtxField {
    /// UAPI name.
    pub name: &'static str,
    /// UAPI byte offset.
    pub offset: u16,
    /// UAPI size in bytes.
    pub size: u16,
    /// Access the verifier allows.
    pub access: FieldAccess,
    /// Whether reads narrower than `size` are allowed (a byte of a `u32`).
    pub narrow_read: bool,
    /// Whether writes narrower than `size` are allowed.
    pub narrow_write: bool,
    /// What it holds.
    pub kind: FieldKind,
    /// Byte offset in the native structure.
    pub native_offset: u16,
    /// Bytes there: 1, 2, 4 or 8.
    pub native_size: u16,
}

/// How a program sees its context.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ContextLayout {
    /// Named fields converted to a native structure. Gaps are not accessible.
    Fields {
        /// UAPI struct name.
        name: &'static str,
        /// UAPI size in bytes.
        size: u16,
        /// By ascending offset.
        fields: &'static [CtxField],
    },
    /// Plain bytes read (and perhaps written) in place at any offset: tracing contexts, `syscall`.
    Raw {
        /// UAPI struct name.
        name: &'static str,
        /// Largest offset + size the verifier allows, in bytes.
        size: u32,
        /// Access the verifier allows.
        access: FieldAccess,
        /// Whether accesses must be 8-byte words at 8-byte offsets (`raw_tracepoint`).
        words_only: bool,
    },
    /// r1 is a buffer of bytes and r2 its length (type `memory`).
    Memory,
    /// Walks kernel objects: kernel only.
    Kernel,
}

impl ContextLayout {
    /// The field that covers `[offset, offset + size)`, if one does.
    #[must_use]
    pub fn field(&self, offset: u32, size: u32) -> Option<&'static CtxField> {
        let Self::Fields { fields, .. } = self else { return None };
        fields.iter().find(|field| {
            let start = u32::from(field.offset);
            start <= offset && offset + size <= start + u32::from(field.size)
        })
    }
}
