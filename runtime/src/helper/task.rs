//! Helpers about the task that runs the program, and about how the run came about.
#![forbid(unsafe_code)]

use super::errno::EINVAL;
use crate::abi::ExecContext;
use crate::mem::BytesMut;
use crate::trap::TrapKind;

pub(super) fn pid_tgid(cx: &ExecContext<'_>) -> u64 {
    cx.environment.pid_tgid()
}

pub(super) fn uid_gid(cx: &ExecContext<'_>) -> u64 {
    cx.environment.uid_gid()
}

pub(super) fn comm(cx: &ExecContext<'_>, into: BytesMut<'_>) -> i64 {
    into.fill(0);
    let comm = cx.environment.comm();
    // A name that is cut off still ends with a zero byte.
    let room = (into.len() as usize).saturating_sub(1).min(comm.len() - 1);
    into.write(0, &comm[..room]);
    0
}

/// Without an environment that knows it, the trap is set.
pub(super) fn current_task(cx: &ExecContext<'_>) -> u64 {
    cx.environment.current_task().unwrap_or_else(|| {
        cx.trap.set(TrapKind::HelperMissing.code());
        0
    })
}

pub(super) fn cgroup_id(cx: &ExecContext<'_>) -> u64 {
    cx.environment.cgroup_id()
}

pub(super) fn ancestor_cgroup_id(cx: &ExecContext<'_>, level: u32) -> u64 {
    cx.environment.ancestor_cgroup_id(level)
}

pub(super) fn ns_pid_tgid(cx: &ExecContext<'_>, device: u64, inode: u64, into: BytesMut<'_>) -> i64 {
    if into.len() == 8
        && let Some(namespace) = cx.environment.pid_namespace()
        && (namespace.device, namespace.inode) == (device, inode)
    {
        into.write(0, &namespace.pid.to_ne_bytes());
        into.write(4, &namespace.tgid.to_ne_bytes());
        return 0;
    }
    into.fill(0);
    EINVAL
}

pub(super) fn netns_cookie(cx: &ExecContext<'_>) -> u64 {
    cx.environment.netns_cookie()
}

pub(super) fn func_ip(cx: &ExecContext<'_>) -> u64 {
    cx.ctx.function_address()
}

pub(super) fn attach_cookie(cx: &ExecContext<'_>) -> u64 {
    cx.ctx.attach_cookie()
}

pub(super) fn get_retval(cx: &ExecContext<'_>) -> i64 {
    i64::from(cx.effects.retval())
}

pub(super) fn set_retval(cx: &ExecContext<'_>, value: i32) -> i64 {
    cx.effects.set_retval(value);
    0
}
