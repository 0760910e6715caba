//! What holds for a program type as a whole: one row a type.
#![forbid(unsafe_code)]

use super::{ContextLayout, ProgramType, raw, skb_fields, sock, xdp};

/// `expected_attach_type`, the kernel's number (`enum bpf_attach_type`).
pub type AttachType = u32;

/// Attach types that change what a program may do.
pub mod attach {
    #![allow(missing_docs, reason = "the names are the kernel's BPF_* and BPF_CGROUP_*")]
    pub const INET_INGRESS: u32 = 0;
    pub const INET_EGRESS: u32 = 1;
    pub const INET_SOCK_CREATE: u32 = 2;
    pub const SOCK_OPS: u32 = 3;
    pub const INET4_BIND: u32 = 8;
    pub const INET6_BIND: u32 = 9;
    pub const INET4_CONNECT: u32 = 10;
    pub const INET6_CONNECT: u32 = 11;
    pub const INET4_POST_BIND: u32 = 12;
    pub const INET6_POST_BIND: u32 = 13;
    pub const UDP4_SENDMSG: u32 = 14;
    pub const UDP6_SENDMSG: u32 = 15;
    pub const UDP4_RECVMSG: u32 = 19;
    pub const UDP6_RECVMSG: u32 = 20;
    pub const GETSOCKOPT: u32 = 21;
    pub const SETSOCKOPT: u32 = 22;
    pub const TRACE_RAW_TP: u32 = 23;
    pub const TRACE_FENTRY: u32 = 24;
    pub const TRACE_FEXIT: u32 = 25;
    pub const MODIFY_RETURN: u32 = 26;
    pub const TRACE_ITER: u32 = 28;
    pub const INET4_GETPEERNAME: u32 = 29;
    pub const INET6_GETPEERNAME: u32 = 30;
    pub const INET4_GETSOCKNAME: u32 = 31;
    pub const INET6_GETSOCKNAME: u32 = 32;
    pub const XDP_DEVMAP: u32 = 33;
    pub const INET_SOCK_RELEASE: u32 = 34;
    pub const XDP_CPUMAP: u32 = 35;
    pub const XDP: u32 = 37;
    pub const UNIX_RECVMSG: u32 = 51;
    pub const UNIX_GETPEERNAME: u32 = 52;
    pub const UNIX_GETSOCKNAME: u32 = 53;
    pub const TRACE_KPROBE_SESSION: u32 = 56;
    pub const TRACE_UPROBE_SESSION: u32 = 57;
}

/// What r0 may be at the exit of the program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReturnRange {
    /// Any number (it must still be set).
    Any,
    /// A number in this range, ends included.
    Within {
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
    },
}

/// How the 512 bytes of stack are counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StackRule {
    /// All frames of a call chain together.
    Combined,
    /// Each frame has its own 512 bytes.
    PerFrame,
}

/// What holds for a program type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProgramTypeInfo {
    /// The type.
    pub program_type: ProgramType,
    /// How stack is counted.
    pub stack: StackRule,
    /// Whether `BPF_F_SLEEPABLE` is possible.
    pub sleepable: bool,
    /// Only the kernel can run it: it walks kernel objects.
    pub kernel_only: bool,
    /// Whether the kernel has `BPF_PROG_TEST_RUN` for it.
    pub test_run: bool,
}

/// A row. Capabilities are in `privilege`.
const fn row(program_type: ProgramType, stack: StackRule, marks: &'static [Mark]) -> ProgramTypeInfo {
    let mut info =
        ProgramTypeInfo { program_type, stack, sleepable: false, kernel_only: false, test_run: false };
    let mut i = 0;
    while i < marks.len() {
        match marks[i] {
            Mark::Sleepable => info.sleepable = true,
            Mark::KernelOnly => info.kernel_only = true,
            Mark::TestRun => info.test_run = true,
        }
        i += 1;
    }
    info
}

#[derive(Clone, Copy)]
enum Mark {
    Sleepable,
    KernelOnly,
    TestRun,
}

impl ProgramType {
    /// Its row.
    #[must_use]
    pub fn info(self) -> &'static ProgramTypeInfo {
        // Every type has a row: a test walks them all.
        TABLE.iter().find(|row| row.program_type == self).expect("every program type has a row")
    }

    /// How a program of this type with this `expected_attach_type` sees its context.
    #[must_use]
    pub const fn layout(self, attach_type: AttachType) -> ContextLayout {
        if let Self::Xdp = self {
            return xdp::layout(attach_type);
        }
        if let Some(layout) = skb_fields::layout(self) {
            return layout;
        }
        if let Some(layout) = raw::layout(self) {
            return layout;
        }
        match sock::layout(self, attach_type) {
            Some(layout) => layout,
            None => ContextLayout::Kernel,
        }
    }

    /// What r0 may be at exit.
    #[must_use]
    pub const fn return_range(self, attach_type: AttachType) -> ReturnRange {
        use attach::{
            INET_EGRESS, INET4_BIND, INET4_GETPEERNAME, INET4_GETSOCKNAME, INET6_BIND, INET6_GETPEERNAME,
            INET6_GETSOCKNAME, TRACE_KPROBE_SESSION, TRACE_UPROBE_SESSION, UDP4_RECVMSG, UDP6_RECVMSG,
            UNIX_GETPEERNAME, UNIX_GETSOCKNAME, UNIX_RECVMSG,
        };
        let (min, max) = match (self, attach_type) {
            (
                Self::CgroupSockAddr,
                UDP4_RECVMSG | UDP6_RECVMSG | UNIX_RECVMSG | INET4_GETPEERNAME | INET6_GETPEERNAME
                | UNIX_GETPEERNAME | INET4_GETSOCKNAME | INET6_GETSOCKNAME | UNIX_GETSOCKNAME,
            ) => (1, 1),
            (Self::CgroupSockAddr, INET4_BIND | INET6_BIND) | (Self::CgroupSkb, INET_EGRESS) => (0, 3),
            (Self::Kprobe, TRACE_KPROBE_SESSION | TRACE_UPROBE_SESSION) => (0, 1),
            (
                Self::CgroupSockAddr
                | Self::CgroupSkb
                | Self::CgroupSock
                | Self::SockOps
                | Self::CgroupDevice
                | Self::CgroupSysctl
                | Self::CgroupSockopt
                | Self::SkLookup
                | Self::Netfilter,
                _,
            ) => (0, 1),
            _ => return ReturnRange::Any,
        };
        ReturnRange::Within { min, max }
    }
}

/// One row a type.
static TABLE: &[ProgramTypeInfo] = {
    use Mark::{KernelOnly, Sleepable, TestRun};
    use ProgramType as P;
    use StackRule::{Combined, PerFrame};
    &[
        row(P::Unspec, Combined, &[KernelOnly]),
        row(P::SocketFilter, Combined, &[TestRun]),
        row(P::Kprobe, PerFrame, &[Sleepable]),
        row(P::SchedCls, Combined, &[TestRun]),
        row(P::SchedAct, Combined, &[TestRun]),
        row(P::Tracepoint, PerFrame, &[]),
        row(P::Xdp, Combined, &[TestRun]),
        row(P::PerfEvent, PerFrame, &[]),
        row(P::CgroupSkb, Combined, &[TestRun]),
        row(P::CgroupSock, Combined, &[]),
        row(P::LwtIn, Combined, &[TestRun]),
        row(P::LwtOut, Combined, &[TestRun]),
        row(P::LwtXmit, Combined, &[TestRun]),
        row(P::SockOps, Combined, &[]),
        row(P::SkSkb, Combined, &[]),
        row(P::CgroupDevice, Combined, &[]),
        row(P::SkMsg, Combined, &[]),
        row(P::RawTracepoint, PerFrame, &[TestRun]),
        row(P::CgroupSockAddr, Combined, &[]),
        row(P::LwtSeg6local, Combined, &[]),
        row(P::LircMode2, Combined, &[KernelOnly]),
        row(P::SkReuseport, Combined, &[]),
        row(P::FlowDissector, Combined, &[TestRun]),
        row(P::CgroupSysctl, Combined, &[]),
        row(P::RawTracepointWritable, Combined, &[KernelOnly]),
        row(P::CgroupSockopt, Combined, &[]),
        row(P::Tracing, Combined, &[Sleepable, KernelOnly]),
        row(P::StructOps, Combined, &[Sleepable, KernelOnly]),
        row(P::Ext, Combined, &[KernelOnly]),
        row(P::Lsm, Combined, &[Sleepable, KernelOnly]),
        row(P::SkLookup, Combined, &[TestRun]),
        row(P::Syscall, Combined, &[Sleepable, TestRun]),
        row(P::Netfilter, Combined, &[KernelOnly, TestRun]),
        row(P::Memory, Combined, &[]),
        row(P::Host, Combined, &[]),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctx::FieldKind;

    /// Attach types that change a layout, and one that does not.
    const ATTACH: [u32; 10] = [0, 8, 9, 12, 13, 14, 15, 21, 22, 33];

    #[test]
    fn every_type_has_one_row() {
        for &program_type in ProgramType::ALL {
            let rows = TABLE.iter().filter(|row| row.program_type == program_type).count();
            assert_eq!(rows, 1, "{program_type}");
        }
        assert_eq!(TABLE.len(), ProgramType::ALL.len());
    }

    #[test]
    fn results_are_limited_where_the_kernel_limits_them() {
        use ProgramType as P;
        let within = |min, max| ReturnRange::Within { min, max };
        for (program_type, attach_type, expect) in [
            (P::Xdp, 37, ReturnRange::Any),
            (P::SchedCls, 46, ReturnRange::Any),
            (P::Kprobe, 0, ReturnRange::Any),
            (P::Kprobe, 57, within(0, 1)),
            (P::CgroupSkb, 0, within(0, 1)),
            (P::CgroupSkb, 1, within(0, 3)),
            (P::CgroupSockAddr, 9, within(0, 3)),
            (P::CgroupSockAddr, 10, within(0, 1)),
            (P::CgroupSockAddr, 20, within(1, 1)),
            (P::CgroupSockAddr, 53, within(1, 1)),
            (P::SockOps, 3, within(0, 1)),
            (P::SkMsg, 7, ReturnRange::Any),
            (P::SkLookup, 36, within(0, 1)),
            (P::Netfilter, 45, within(0, 1)),
        ] {
            assert_eq!(program_type.return_range(attach_type), expect, "{program_type} {attach_type}");
        }
    }

    #[test]
    fn fields_lie_in_order_inside_both_structures() {
        for &program_type in ProgramType::ALL {
            for attach_type in ATTACH {
                let ContextLayout::Fields { name, size, native_size, fields } =
                    program_type.layout(attach_type)
                else {
                    continue;
                };
                let mut end = 0;
                for field in fields {
                    assert!(u32::from(field.offset) >= end, "{name}.{} overlaps", field.name);
                    end = field.end();
                    assert!(end <= u32::from(size), "{name}.{}", field.name);
                    assert!(field.native_offset + field.native_size <= native_size, "{name}.{}", field.name);
                    let pointer = match field.kind {
                        FieldKind::Scalar | FieldKind::KernelOnly => false,
                        FieldKind::PacketData
                        | FieldKind::PacketEnd
                        | FieldKind::PacketMeta
                        | FieldKind::Object { .. } => true,
                    };
                    assert_eq!(
                        field.native_size,
                        if pointer { 8 } else { field.size },
                        "{name}.{}",
                        field.name
                    );
                    let aligned = field.native_size.min(8);
                    assert!(!pointer || field.native_offset.is_multiple_of(aligned), "{name}.{}", field.name);
                }
            }
        }
    }
}
