//! Sets of program types.
#![forbid(unsafe_code)]

use crate::ctx::ProgramType;

/// A set of program types.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProgramTypes(u64);

impl ProgramTypes {
    /// From one bit a type ([`bit`]).
    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
    /// All types.
    pub const ALL: Self = Self(ALL);
    /// Whether the type is in the set.
    #[must_use]
    pub const fn contains(self, program_type: ProgramType) -> bool {
        self.0 & bit(program_type) != 0
    }
}

/// The bit of a type. The kernel's numbers are below 63; ours share the last bit.
pub(super) const fn bit(program_type: ProgramType) -> u64 {
    if program_type.id() < 63 { 1 << program_type.id() } else { 1 << 63 }
}

pub(super) const FILTER: u64 = bit(ProgramType::SocketFilter);
pub(super) const KPROBE: u64 = bit(ProgramType::Kprobe);
pub(super) const CLS: u64 = bit(ProgramType::SchedCls);
pub(super) const ACT: u64 = bit(ProgramType::SchedAct);
pub(super) const TP: u64 = bit(ProgramType::Tracepoint);
pub(super) const XDP: u64 = bit(ProgramType::Xdp);
pub(super) const PERF: u64 = bit(ProgramType::PerfEvent);
pub(super) const CG_SKB: u64 = bit(ProgramType::CgroupSkb);
pub(super) const CG_SOCK: u64 = bit(ProgramType::CgroupSock);
pub(super) const LWT_IN: u64 = bit(ProgramType::LwtIn);
pub(super) const LWT_OUT: u64 = bit(ProgramType::LwtOut);
pub(super) const LWT_XMIT: u64 = bit(ProgramType::LwtXmit);
pub(super) const SOCK_OPS: u64 = bit(ProgramType::SockOps);
pub(super) const SK_SKB: u64 = bit(ProgramType::SkSkb);
pub(super) const CG_DEVICE: u64 = bit(ProgramType::CgroupDevice);
pub(super) const SK_MSG: u64 = bit(ProgramType::SkMsg);
pub(super) const RAW_TP: u64 = bit(ProgramType::RawTracepoint);
pub(super) const CG_ADDR: u64 = bit(ProgramType::CgroupSockAddr);
pub(super) const SEG6: u64 = bit(ProgramType::LwtSeg6local);
pub(super) const LIRC: u64 = bit(ProgramType::LircMode2);
pub(super) const REUSEPORT: u64 = bit(ProgramType::SkReuseport);
pub(super) const DISSECTOR: u64 = bit(ProgramType::FlowDissector);
pub(super) const CG_SYSCTL: u64 = bit(ProgramType::CgroupSysctl);
pub(super) const RAW_TP_W: u64 = bit(ProgramType::RawTracepointWritable);
pub(super) const CG_SOCKOPT: u64 = bit(ProgramType::CgroupSockopt);
pub(super) const TRACING: u64 = bit(ProgramType::Tracing);
pub(super) const STRUCT_OPS: u64 = bit(ProgramType::StructOps);
pub(super) const LSM: u64 = bit(ProgramType::Lsm);
pub(super) const SK_LOOKUP: u64 = bit(ProgramType::SkLookup);
pub(super) const SYSCALL: u64 = bit(ProgramType::Syscall);
pub(super) const NETFILTER: u64 = bit(ProgramType::Netfilter);

pub(super) const TC: u64 = CLS | ACT;
pub(super) const LWT: u64 = LWT_IN | LWT_OUT | LWT_XMIT;
pub(super) const PROBES: u64 = KPROBE | TP | PERF | RAW_TP | RAW_TP_W;
/// Every type, ours as well: helpers that depend on no context.
pub(super) const ALL: u64 = u64::MAX;
