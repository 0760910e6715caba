//! Program types and their contexts: the only place where a program type is described.
//!
//! A program compiled for the kernel reads `struct xdp_md` and the like at their UAPI offsets, where
//! `data` is a `u32`. A [`ContextLayout`] maps each UAPI field to a field of the native context structure that
//! generated code and interpreter really read (64-bit pointers among them), as the kernel's own
//! `convert_ctx_access` does.
#![forbid(unsafe_code)]

mod context;
mod host;
mod info;
mod layout;
mod packet;
mod raw;
mod skb;
mod skb_fields;
mod skb_state;
mod sock;
mod xdp;

pub use context::{Context, Entry};
pub use host::{DeclareError, HostContext, HostType, HostTypeBuilder};
pub use info::{AttachType, ProgramTypeInfo, ReturnRange, StackRule, attach};
pub use layout::{ContextLayout, CtxField, FieldAccess, FieldKind, Parts};
pub(crate) use packet::{ETH_HLEN, FRAME_RESERVE, META_MAX};
pub use packet::{Frame, Packet, PacketTooLong};
pub use raw::{MemoryContext, RawContext};
pub use skb::SkbContext;
pub use skb_fields::SkbNative;
pub(crate) use skb_state::{ETH_P_802_2, ETH_P_802_3, ETH_P_802_3_MIN, ETH_P_IP, ETH_P_IPV6, Skb, skb_word};
pub use skb_state::{Tunnel, TunnelKey, tunnel_flags};
pub use xdp::{XdpContext, XdpNative};

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
    Memory = 0x1000, "memory"; Host = 0x1001, "host";
}
