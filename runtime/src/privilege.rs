//! Capability rules of loading programs and creating maps, as a table.
//!
//! In: a program or map type. Out: the capabilities that `bpf(2)` asks for ([`needed_by_program`],
//! [`needed_by_map`]). Measured on Linux 6.18 by dropping capabilities one set at a time; CAP_SYS_ADMIN stands
//! for all of them. Not here: which ones a process has (`beelift::kernel::caps`), rules of single helpers.
#![forbid(unsafe_code)]

use crate::ctx::ProgramType;
use crate::map::MapKind;

bitflags::bitflags! {
    /// The capabilities that `bpf(2)` knows.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct Capabilities: u8 {
        /// `CAP_BPF`: any use of the system call.
        const BPF = 1;
        /// `CAP_PERFMON`: tracing types, kernel memory, pointer arithmetic that may leak.
        const PERFMON = 1 << 1;
        /// `CAP_NET_ADMIN`: networking types and attaching to the network.
        const NET_ADMIN = 1 << 2;
        /// `CAP_SYS_ADMIN`: stands for all of them.
        const SYS_ADMIN = 1 << 3;
    }
}

impl Capabilities {
    /// What of `needed` is missing; nothing when CAP_SYS_ADMIN is held.
    #[must_use]
    pub fn missing(self, needed: Self) -> Self {
        if self.contains(Self::SYS_ADMIN) { Self::empty() } else { needed.difference(self) }
    }
}

impl std::fmt::Display for Capabilities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = [
            (Self::BPF, "CAP_BPF"),
            (Self::PERFMON, "CAP_PERFMON"),
            (Self::NET_ADMIN, "CAP_NET_ADMIN"),
            (Self::SYS_ADMIN, "CAP_SYS_ADMIN"),
        ];
        let mut first = true;
        for (_, name) in names.into_iter().filter(|&(capability, _)| self.contains(capability)) {
            f.write_str(if first { "" } else { " and " })?;
            f.write_str(name)?;
            first = false;
        }
        if first { f.write_str("no capability") } else { Ok(()) }
    }
}

/// What loading a program of that type needs.
#[must_use]
pub const fn needed_by_program(prog_type: ProgramType) -> Capabilities {
    match prog_type {
        ProgramType::Memory | ProgramType::Host => Capabilities::empty(),
        ProgramType::Unspec
        | ProgramType::SocketFilter
        | ProgramType::CgroupSkb
        | ProgramType::SkReuseport
        | ProgramType::SkLookup
        | ProgramType::LircMode2
        | ProgramType::Syscall => Capabilities::BPF,
        ProgramType::Kprobe
        | ProgramType::Tracepoint
        | ProgramType::PerfEvent
        | ProgramType::RawTracepoint
        | ProgramType::RawTracepointWritable
        | ProgramType::Tracing
        | ProgramType::StructOps
        | ProgramType::Lsm
        | ProgramType::Ext => Capabilities::BPF.union(Capabilities::PERFMON),
        ProgramType::SchedCls
        | ProgramType::SchedAct
        | ProgramType::Xdp
        | ProgramType::CgroupSock
        | ProgramType::LwtIn
        | ProgramType::LwtOut
        | ProgramType::LwtXmit
        | ProgramType::SockOps
        | ProgramType::SkSkb
        | ProgramType::CgroupDevice
        | ProgramType::SkMsg
        | ProgramType::CgroupSockAddr
        | ProgramType::LwtSeg6local
        | ProgramType::FlowDissector
        | ProgramType::CgroupSysctl
        | ProgramType::CgroupSockopt
        | ProgramType::Netfilter => Capabilities::BPF.union(Capabilities::NET_ADMIN),
    }
}

/// Whether a program of that type loads without any capability when `kernel.unprivileged_bpf_disabled` is 0.
#[must_use]
pub const fn loads_unprivileged(prog_type: ProgramType) -> bool {
    matches!(prog_type, ProgramType::SocketFilter | ProgramType::CgroupSkb)
}

/// What creating a map of that type needs.
#[must_use]
pub const fn needed_by_map(kind: MapKind) -> Capabilities {
    match kind {
        MapKind::Devmap | MapKind::DevmapHash | MapKind::Sockmap | MapKind::Sockhash | MapKind::Xskmap => {
            Capabilities::BPF.union(Capabilities::NET_ADMIN)
        }
        MapKind::Hash
        | MapKind::Array
        | MapKind::ProgArray
        | MapKind::PerfEventArray
        | MapKind::PercpuHash
        | MapKind::PercpuArray
        | MapKind::StackTrace
        | MapKind::CgroupArray
        | MapKind::LruHash
        | MapKind::LruPercpuHash
        | MapKind::LpmTrie
        | MapKind::ArrayOfMaps
        | MapKind::HashOfMaps
        | MapKind::Cpumap
        | MapKind::CgroupStorage
        | MapKind::ReuseportSockarray
        | MapKind::PercpuCgroupStorage
        | MapKind::Queue
        | MapKind::Stack
        | MapKind::SkStorage
        | MapKind::StructOps
        | MapKind::Ringbuf
        | MapKind::InodeStorage
        | MapKind::TaskStorage
        | MapKind::BloomFilter
        | MapKind::UserRingbuf
        | MapKind::CgrpStorage
        | MapKind::Arena
        | MapKind::InsnArray => Capabilities::BPF,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sys_admin_stands_for_all() {
        let needed = needed_by_program(ProgramType::Xdp);
        assert_eq!(Capabilities::SYS_ADMIN.missing(needed), Capabilities::empty());
        assert_eq!(Capabilities::BPF.missing(needed), Capabilities::NET_ADMIN);
        assert_eq!(Capabilities::empty().missing(needed).to_string(), "CAP_BPF and CAP_NET_ADMIN");
    }

    #[test]
    fn map_types_of_the_network_need_net_admin() {
        let beyond_bpf: Vec<u32> = MapKind::ALL
            .iter()
            .filter(|kind| needed_by_map(**kind) != Capabilities::BPF)
            .map(|kind| kind.id())
            .collect();
        assert_eq!(beyond_bpf, [14, 15, 17, 18, 25]);
    }
}
