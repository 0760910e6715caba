//! Ring buffer helpers.
#![forbid(unsafe_code)]

use super::errno::EINVAL;
use crate::abi::ExecContext;
use crate::map::ringbuf::{Commit, Query, RingbufMap, ring_of};
use crate::map::{Map, ValuePtr};
use crate::mem::Bytes;

pub(super) fn ring(map: &dyn Map) -> Option<&RingbufMap> {
    map.as_any().downcast_ref()
}

pub(super) fn output(_cx: &ExecContext<'_>, map: &dyn Map, data: Bytes<'_>, flags: u64) -> i64 {
    let Some(ring) = ring(map) else { return EINVAL };
    match ring.output(data, flags) {
        Ok(()) => 0,
        Err(error) => -i64::from(error.errno()),
    }
}

pub(super) fn reserve(_cx: &ExecContext<'_>, map: &dyn Map, size: u64, flags: u64) -> u64 {
    if flags != 0 {
        return 0;
    }
    ring(map).and_then(|ring| ring.reserve(size)).map_or(0, |record| record.0)
}

pub(super) fn submit(cx: &ExecContext<'_>, record: u64, flags: u64) {
    commit(cx, record, Commit::Submit, flags);
}

pub(super) fn discard(cx: &ExecContext<'_>, record: u64, flags: u64) {
    commit(cx, record, Commit::Discard, flags);
}

pub(super) fn commit(cx: &ExecContext<'_>, record: u64, commit: Commit, flags: u64) {
    let record = ValuePtr(record);
    if let Some(ring) = ring_of(cx.maps, record) {
        ring.commit(record, commit, flags);
    }
}

pub(super) fn query(_cx: &ExecContext<'_>, map: &dyn Map, what: u64) -> u64 {
    match (ring(map), Query::from_id(what)) {
        (Some(ring), Some(what)) => ring.query(what),
        (Some(_), None) | (None, _) => 0,
    }
}
