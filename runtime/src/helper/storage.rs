//! Values that belong to objects, and arrays of cgroups and stacks: maps whose keys are no bytes of the program.
#![forbid(unsafe_code)]

use super::errno::{EFAULT, EINVAL, ENOENT};
use super::probe::{FRAMES, SKIP, USER_STACK};
use crate::abi::ExecContext;
use crate::map::stack_trace::{StackTraceMap, Taken};
use crate::map::storage::StorageMap;
use crate::map::{CgroupArrayMap, Map, MapError};
use crate::mem::Bytes;

fn errno(error: MapError) -> i64 {
    -i64::from(error.errno())
}

pub(super) fn sk_get(
    cx: &ExecContext<'_>,
    map: &dyn Map,
    socket: u64,
    value: Option<Bytes<'_>>,
    flags: u64,
) -> u64 {
    /// `BPF_SK_STORAGE_GET_F_CREATE`
    const CREATE: u64 = 1;
    let Some(storage) = map.as_any().downcast_ref::<StorageMap>() else { return 0 };
    let Some(socket) = cx.effects.socket(socket).filter(|_| flags <= CREATE) else { return 0 };
    let object = socket.info().handle;
    let found = storage.get(object);
    let made = || (flags == CREATE).then(|| storage.get_or_create(object, value).ok()).flatten();
    found.or_else(made).map_or(0, |value| value.0)
}

pub(super) fn sk_delete(cx: &ExecContext<'_>, map: &dyn Map, socket: u64) -> i64 {
    let Some(storage) = map.as_any().downcast_ref::<StorageMap>() else { return EINVAL };
    let Some(socket) = cx.effects.socket(socket) else { return EINVAL };
    storage.remove(socket.info().handle).map_or_else(errno, |()| 0)
}

pub(super) fn task_under_cgroup(cx: &ExecContext<'_>, map: &dyn Map, index: u32) -> i64 {
    let Some(cgroups) = map.as_any().downcast_ref::<CgroupArrayMap>() else { return EINVAL };
    cgroups.get(index).map_or_else(errno, |id| i64::from(cx.environment.is_under_cgroup(id)))
}

/// Packets have no socket, and so no cgroup.
pub(super) fn packet_under_cgroup(_cx: &ExecContext<'_>) -> i64 {
    ENOENT
}

pub(super) fn get_stackid(cx: &ExecContext<'_>, map: &dyn Map, flags: u64) -> i64 {
    /// `BPF_F_FAST_STACK_CMP`
    const BY_HASH: u64 = 1 << 9;
    /// `BPF_F_REUSE_STACKID`
    const REPLACE: u64 = 1 << 10;
    if flags & !(SKIP | USER_STACK | BY_HASH | REPLACE) != 0 {
        return EINVAL;
    }
    let Some(stacks) = map.as_any().downcast_ref::<StackTraceMap>() else { return EINVAL };
    let mut frames = [0; FRAMES + SKIP as usize];
    let found = cx.environment.stack(flags & USER_STACK != 0, &mut frames);
    let Some(frames) = found.and_then(|count| frames.get((flags & SKIP) as usize..count.min(frames.len())))
    else {
        return EFAULT;
    };
    if frames.is_empty() {
        return EFAULT;
    }
    let taken = if flags & REPLACE == 0 { Taken::Refuse } else { Taken::Replace };
    stacks.insert(frames, taken, flags & BY_HASH != 0).map_or_else(errno, i64::from)
}
