//! Section names and the program types they stand for.
//!
//! In: the name of a section. Out: [`SectionMatch`]: program type, attach type, flags, target. The names are
//! those that loaders of the kernel's samples agreed on; what the types mean is the runtime's table.
#![forbid(unsafe_code)]

use beelift_runtime::ctx::ProgramType;
use beelift_runtime::ctx::ProgramType::{
    CgroupDevice, CgroupSkb, CgroupSock, CgroupSockAddr, CgroupSockopt, CgroupSysctl, Ext, FlowDissector,
    Kprobe, LircMode2, Lsm, LwtIn, LwtOut, LwtSeg6local, LwtXmit, Netfilter, PerfEvent, RawTracepoint,
    RawTracepointWritable, SchedAct, SchedCls, SkLookup, SkMsg, SkReuseport, SkSkb, SockOps, SocketFilter,
    StructOps, Syscall, Tracepoint, Tracing, Xdp,
};

use Form::{Exact, Prefix, Target};

/// `BPF_F_SLEEPABLE`
pub const SLEEPABLE: u32 = 1 << 4;
/// `BPF_F_XDP_HAS_FRAGS`
pub const XDP_HAS_FRAGS: u32 = 1 << 5;

/// What a section name says about its programs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SectionMatch {
    /// Program type.
    pub prog_type: ProgramType,
    /// `expected_attach_type`, the kernel's number.
    pub attach_type: u32,
    /// `prog_flags`.
    pub prog_flags: u32,
    /// What stands behind the `/`.
    pub target: Option<String>,
    /// Whether only the beginning of the name fits: a guess.
    pub guessed: bool,
}

/// How the name must continue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    /// As it stands.
    Exact,
    /// As it stands, or with `/TARGET`.
    Target,
    /// Anyhow: only a guess.
    Prefix,
}

#[derive(Debug)]
struct Row {
    name: &'static str,
    form: Form,
    prog_type: ProgramType,
    attach_type: u32,
    flags: u32,
}

const fn row(name: &'static str, form: Form, prog_type: ProgramType, attach_type: u32, flags: u32) -> Row {
    Row { name, form, prog_type, attach_type, flags }
}

/// Longer names come before their prefixes.
#[rustfmt::skip]
const TABLE: &[Row] = &[
    row("socket", Exact, SocketFilter, 0, 0),
    row("sk_reuseport/migrate", Exact, SkReuseport, 40, 0),
    row("sk_reuseport", Exact, SkReuseport, 39, 0),
    row("kprobe", Target, Kprobe, 0, 0),
    row("uprobe", Target, Kprobe, 0, 0),
    row("uprobe.s", Target, Kprobe, 0, SLEEPABLE),
    row("kretprobe", Target, Kprobe, 0, 0),
    row("uretprobe", Target, Kprobe, 0, 0),
    row("uretprobe.s", Target, Kprobe, 0, SLEEPABLE),
    row("kprobe.multi", Target, Kprobe, 42, 0),
    row("kretprobe.multi", Target, Kprobe, 42, 0),
    row("kprobe.session", Target, Kprobe, 56, 0),
    row("uprobe.multi", Target, Kprobe, 48, 0),
    row("uretprobe.multi", Target, Kprobe, 48, 0),
    row("uprobe.session", Target, Kprobe, 57, 0),
    row("uprobe.multi.s", Target, Kprobe, 48, SLEEPABLE),
    row("uretprobe.multi.s", Target, Kprobe, 48, SLEEPABLE),
    row("uprobe.session.s", Target, Kprobe, 57, SLEEPABLE),
    row("ksyscall", Target, Kprobe, 0, 0),
    row("kretsyscall", Target, Kprobe, 0, 0),
    row("usdt", Target, Kprobe, 0, 0),
    row("usdt.s", Target, Kprobe, 0, SLEEPABLE),
    row("tc/ingress", Exact, SchedCls, 46, 0),
    row("tc/egress", Exact, SchedCls, 47, 0),
    row("tcx/ingress", Exact, SchedCls, 46, 0),
    row("tcx/egress", Exact, SchedCls, 47, 0),
    row("tc", Exact, SchedCls, 0, 0),
    row("classifier", Exact, SchedCls, 0, 0),
    row("action", Exact, SchedAct, 0, 0),
    row("netkit/primary", Exact, SchedCls, 54, 0),
    row("netkit/peer", Exact, SchedCls, 55, 0),
    row("tracepoint", Target, Tracepoint, 0, 0),
    row("tp", Target, Tracepoint, 0, 0),
    row("tracepoint.s", Target, Tracepoint, 0, SLEEPABLE),
    row("tp.s", Target, Tracepoint, 0, SLEEPABLE),
    row("raw_tracepoint", Target, RawTracepoint, 0, 0),
    row("raw_tp", Target, RawTracepoint, 0, 0),
    row("raw_tracepoint.s", Target, RawTracepoint, 0, SLEEPABLE),
    row("raw_tp.s", Target, RawTracepoint, 0, SLEEPABLE),
    row("raw_tracepoint.w", Target, RawTracepointWritable, 0, 0),
    row("raw_tp.w", Target, RawTracepointWritable, 0, 0),
    row("tp_btf", Target, Tracing, 23, 0),
    row("tp_btf.s", Target, Tracing, 23, SLEEPABLE),
    row("fentry", Target, Tracing, 24, 0),
    row("fmod_ret", Target, Tracing, 26, 0),
    row("fexit", Target, Tracing, 25, 0),
    row("fentry.s", Target, Tracing, 24, SLEEPABLE),
    row("fmod_ret.s", Target, Tracing, 26, SLEEPABLE),
    row("fexit.s", Target, Tracing, 25, SLEEPABLE),
    row("fsession", Target, Tracing, 58, 0),
    row("fsession.s", Target, Tracing, 58, SLEEPABLE),
    row("fsession.multi", Target, Tracing, 61, 0),
    row("fsession.multi.s", Target, Tracing, 61, SLEEPABLE),
    row("fentry.multi", Target, Tracing, 59, 0),
    row("fexit.multi", Target, Tracing, 60, 0),
    row("fentry.multi.s", Target, Tracing, 59, SLEEPABLE),
    row("fexit.multi.s", Target, Tracing, 60, SLEEPABLE),
    row("freplace", Target, Ext, 0, 0),
    row("lsm", Target, Lsm, 27, 0),
    row("lsm.s", Target, Lsm, 27, SLEEPABLE),
    row("lsm_cgroup", Target, Lsm, 43, 0),
    row("iter", Target, Tracing, 28, 0),
    row("iter.s", Target, Tracing, 28, SLEEPABLE),
    row("syscall", Exact, Syscall, 0, SLEEPABLE),
    row("xdp.frags/devmap", Exact, Xdp, 33, XDP_HAS_FRAGS),
    row("xdp/devmap", Exact, Xdp, 33, 0),
    row("xdp.frags/cpumap", Exact, Xdp, 35, XDP_HAS_FRAGS),
    row("xdp/cpumap", Exact, Xdp, 35, 0),
    row("xdp.frags", Exact, Xdp, 37, XDP_HAS_FRAGS),
    row("xdp", Exact, Xdp, 37, 0),
    row("perf_event", Exact, PerfEvent, 0, 0),
    row("lwt_in", Exact, LwtIn, 0, 0),
    row("lwt_out", Exact, LwtOut, 0, 0),
    row("lwt_xmit", Exact, LwtXmit, 0, 0),
    row("lwt_seg6local", Exact, LwtSeg6local, 0, 0),
    row("sockops", Exact, SockOps, 3, 0),
    row("sk_skb/stream_parser", Exact, SkSkb, 4, 0),
    row("sk_skb/stream_verdict", Exact, SkSkb, 5, 0),
    row("sk_skb/verdict", Exact, SkSkb, 38, 0),
    row("sk_skb", Exact, SkSkb, 0, 0),
    row("sk_msg", Exact, SkMsg, 7, 0),
    row("lirc_mode2", Exact, LircMode2, 16, 0),
    row("flow_dissector", Exact, FlowDissector, 17, 0),
    row("cgroup_skb/ingress", Exact, CgroupSkb, 0, 0),
    row("cgroup_skb/egress", Exact, CgroupSkb, 1, 0),
    row("cgroup/skb", Exact, CgroupSkb, 0, 0),
    row("cgroup/sock_create", Exact, CgroupSock, 2, 0),
    row("cgroup/sock_release", Exact, CgroupSock, 34, 0),
    row("cgroup/sock", Exact, CgroupSock, 2, 0),
    row("cgroup/post_bind4", Exact, CgroupSock, 12, 0),
    row("cgroup/post_bind6", Exact, CgroupSock, 13, 0),
    row("cgroup/bind4", Exact, CgroupSockAddr, 8, 0),
    row("cgroup/bind6", Exact, CgroupSockAddr, 9, 0),
    row("cgroup/connect4", Exact, CgroupSockAddr, 10, 0),
    row("cgroup/connect6", Exact, CgroupSockAddr, 11, 0),
    row("cgroup/connect_unix", Exact, CgroupSockAddr, 49, 0),
    row("cgroup/sendmsg4", Exact, CgroupSockAddr, 14, 0),
    row("cgroup/sendmsg6", Exact, CgroupSockAddr, 15, 0),
    row("cgroup/sendmsg_unix", Exact, CgroupSockAddr, 50, 0),
    row("cgroup/recvmsg4", Exact, CgroupSockAddr, 19, 0),
    row("cgroup/recvmsg6", Exact, CgroupSockAddr, 20, 0),
    row("cgroup/recvmsg_unix", Exact, CgroupSockAddr, 51, 0),
    row("cgroup/getpeername4", Exact, CgroupSockAddr, 29, 0),
    row("cgroup/getpeername6", Exact, CgroupSockAddr, 30, 0),
    row("cgroup/getpeername_unix", Exact, CgroupSockAddr, 52, 0),
    row("cgroup/getsockname4", Exact, CgroupSockAddr, 31, 0),
    row("cgroup/getsockname6", Exact, CgroupSockAddr, 32, 0),
    row("cgroup/getsockname_unix", Exact, CgroupSockAddr, 53, 0),
    row("cgroup/sysctl", Exact, CgroupSysctl, 18, 0),
    row("cgroup/getsockopt", Exact, CgroupSockopt, 21, 0),
    row("cgroup/setsockopt", Exact, CgroupSockopt, 22, 0),
    row("cgroup/dev", Exact, CgroupDevice, 6, 0),
    row("struct_ops", Target, StructOps, 0, 0),
    row("struct_ops.s", Target, StructOps, 0, SLEEPABLE),
    row("sk_lookup", Exact, SkLookup, 36, 0),
    row("netfilter", Exact, Netfilter, 45, 0),
    row("filter", Prefix, SocketFilter, 0, 0),
    row("socket_filter", Prefix, SocketFilter, 0, 0),
    row("cls", Prefix, SchedCls, 0, 0),
    row("from-", Prefix, SchedCls, 0, 0),
    row("to-", Prefix, SchedCls, 0, 0),
];

/// What a section name says, or `None` when it says nothing.
#[must_use]
pub fn find(section: &str) -> Option<SectionMatch> {
    let section = section.strip_prefix('?').unwrap_or(section);
    let matched = |row: &Row, target: Option<&str>, guessed| SectionMatch {
        prog_type: row.prog_type,
        attach_type: row.attach_type,
        prog_flags: row.flags,
        target: target.map(str::to_owned),
        guessed,
    };
    for row in TABLE {
        let Some(rest) = section.strip_prefix(row.name) else { continue };
        match row.form {
            Exact | Target if rest.is_empty() => return Some(matched(row, None, false)),
            Target => {
                if let Some(target) = rest.strip_prefix('/') {
                    return Some(matched(row, Some(target), false));
                }
            }
            Exact | Prefix => {}
        }
    }
    // What older loaders let through: `tc/name`, `xdp_prog`, `classifier_egress`.
    let guesses = TABLE.iter().filter(|row| section.starts_with(row.name));
    let longest = guesses.max_by_key(|row| row.name.len())?;
    let rest = section[longest.name.len()..].trim_start_matches(['/', '_', '-', '.', ':']);
    Some(matched(longest, (!rest.is_empty()).then_some(rest), true))
}

/// `2/7`: how tc names what it puts at index 7 of the program array with identity 2.
#[must_use]
pub fn is_tail_call_target(section: &str) -> bool {
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).is_ok(),
        None => text.parse::<u32>().is_ok(),
    };
    section.split_once('/').is_some_and(|(array, index)| number(array) && number(index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_types() {
        let check = |section: &str, prog_type, attach_type, flags, target: Option<&str>, guessed| {
            let expect = SectionMatch {
                prog_type,
                attach_type,
                prog_flags: flags,
                target: target.map(str::to_owned),
                guessed,
            };
            assert_eq!(find(section), Some(expect), "{section}");
        };
        check("xdp", Xdp, 37, 0, None, false);
        check("?xdp", Xdp, 37, 0, None, false);
        check("xdp.frags", Xdp, 37, XDP_HAS_FRAGS, None, false);
        check("xdp/devmap", Xdp, 33, 0, None, false);
        check("xdp/my_prog", Xdp, 37, 0, Some("my_prog"), true);
        check("xdp_filter", Xdp, 37, 0, Some("filter"), true);
        check("tc", SchedCls, 0, 0, None, false);
        check("tc/ingress", SchedCls, 46, 0, None, false);
        check("classifier/x", SchedCls, 0, 0, Some("x"), true);
        check("kprobe/do_sys_open", Kprobe, 0, 0, Some("do_sys_open"), false);
        check("kprobe.multi/tcp_*", Kprobe, 42, 0, Some("tcp_*"), false);
        check("tracepoint/a/b", Tracepoint, 0, 0, Some("a/b"), false);
        check("fentry.s/f", Tracing, 24, SLEEPABLE, Some("f"), false);
        check("cgroup_skb/ingress", CgroupSkb, 0, 0, None, false);
        check("from-netdev", SchedCls, 0, 0, Some("netdev"), true);
        check("socket1", SocketFilter, 0, 0, Some("1"), true);
        check("struct_ops.s/init", StructOps, 0, SLEEPABLE, Some("init"), false);
        assert_eq!(find("nonsense"), None);
        assert!(is_tail_call_target("2/7") && is_tail_call_target("1/0x1010"));
        assert!(!is_tail_call_target("2/x") && !is_tail_call_target("2"));
        assert_eq!(find(""), None);
    }
}
