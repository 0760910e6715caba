//! Map helpers.
#![forbid(unsafe_code)]

use super::shim::Key;
use crate::abi::ExecContext;
use crate::map::{ElementKey, Map, MapError};
use crate::mem::{Bytes, BytesMut};

/// 0 or the negative error number.
pub(super) fn status(result: Result<(), MapError>) -> i64 {
    match result {
        Ok(()) => 0,
        Err(error) => -i64::from(error.errno()),
    }
}

/// What one step over a map leaves in memory: three words.
pub const MAP_CURSOR_BYTES: u32 = 24;

/// Offsets of [`MAP_CURSOR_BYTES`].
pub mod map_cursor {
    /// Address of the key.
    pub const KEY: i32 = 0;
    /// Cursor of the next step.
    pub const NEXT: i32 = 8;
    /// The key itself, where it is an index without memory of its own.
    pub const INDEX: i32 = 16;
}

/// The element at a cursor: the address of its value, or 0 at the end. The rest goes to `out`.
pub(super) fn iterate(cx: &ExecContext<'_>, map: &dyn Map, cursor: u64, out: BytesMut<'_>) -> u64 {
    let Some(element) = map.iterate(cx.cpu, cursor) else { return 0 };
    let index = map_cursor::INDEX as u64; // 16
    let key = match element.key {
        ElementKey::At(address) => address,
        ElementKey::Index(number) => {
            out.write(index, &u64::from(number).to_ne_bytes());
            out.as_bytes().address() + index
        }
    };
    out.write(map_cursor::KEY as u64, &key.to_ne_bytes()); // 0
    out.write(map_cursor::NEXT as u64, &element.next.to_ne_bytes()); // 8
    element.value.0
}

pub(super) fn lookup_elem(cx: &ExecContext<'_>, map: &dyn Map, key: Key<'_>) -> u64 {
    key.with(|key| map.lookup(cx.cpu, key)).map_or(0, |value| value.0)
}

pub(super) fn lookup_percpu_elem(_cx: &ExecContext<'_>, map: &dyn Map, key: Key<'_>, cpu: u32) -> u64 {
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
