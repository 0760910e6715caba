//! Map helpers.
#![forbid(unsafe_code)]

use super::shim::Key;
use crate::abi::ExecContext;
use crate::map::{Map, MapError};
use crate::mem::{Bytes, BytesMut};

/// 0 or the negative error number.
fn status(result: Result<(), MapError>) -> i64 {
    match result {
        Ok(()) => 0,
        Err(error) => -i64::from(error.errno()),
    }
}

pub(super) fn lookup_elem(cx: &ExecContext<'_>, map: &dyn Map, key: Key<'_>) -> u64 {
    key.with(|key| map.lookup(cx.cpu, key)).map_or(0, |value| value.0)
}

pub(super) fn lookup_percpu_elem(_cx: &ExecContext<'_>, map: &dyn Map, key: Key<'_>, cpu: u32) -> u64 {
    if cpu >= map.state().cpus() {
        return 0;
    }
    key.with(|key| map.lookup(cpu, key)).map_or(0, |value| value.0)
}

pub(super) fn update_elem(
    cx: &ExecContext<'_>,
    map: &dyn Map,
    key: Key<'_>,
    value: Bytes<'_>,
    flags: u64,
) -> i64 {
    status(key.with(|key| map.update(cx.cpu, key, value, flags)))
}

pub(super) fn delete_elem(_cx: &ExecContext<'_>, map: &dyn Map, key: Key<'_>) -> i64 {
    status(key.with(|key| map.delete(key)))
}

pub(super) fn push_elem(_cx: &ExecContext<'_>, map: &dyn Map, value: Bytes<'_>, flags: u64) -> i64 {
    status(map.push(value, flags))
}

pub(super) fn pop_elem(_cx: &ExecContext<'_>, map: &dyn Map, value: BytesMut<'_>) -> i64 {
    status(map.pop(value))
}

pub(super) fn peek_elem(_cx: &ExecContext<'_>, map: &dyn Map, value: BytesMut<'_>) -> i64 {
    status(map.peek(value))
}
