//! Dynptr helpers: memory whose size is known at run time only.
//!
//! Not here: the words of a dynptr (`shim::dynptr`), the kfuncs on dynptrs.
#![forbid(unsafe_code)]

use super::errno::{E2BIG, EINVAL};
use super::proto::DynptrKind;
use super::ring;
use super::shim::DynptrAt;
use super::skb;
use super::xdp;
use crate::abi::ExecContext;
use crate::map::Map;
use crate::map::ringbuf::Commit;
use crate::mem::{Bytes, BytesMut};

/// Bytes of a dynptr.
pub(super) const SIZE: u64 = 16;

pub(super) fn from_mem(_cx: &ExecContext<'_>, memory: BytesMut<'_>, flags: u64, dynptr: DynptrAt<'_>) -> i64 {
    dynptr.clear();
    if memory.len() > u64::from(DynptrAt::SIZE_MAX) {
        return E2BIG;
    }
    if flags != 0 {
        return EINVAL;
    }
    dynptr.set(DynptrKind::Local, memory);
    0
}

pub(super) fn read(
    cx: &ExecContext<'_>,
    into: BytesMut<'_>,
    dynptr: DynptrAt<'_>,
    offset: u64,
    flags: u64,
) -> i64 {
    let Some(info) = dynptr.info().filter(|_| flags == 0) else { return EINVAL };
    let offset = u64::from(offset as u32);
    if outside(info.size, offset, into.len()) {
        return E2BIG;
    }
    let at = info.offset.wrapping_add(offset as u32);
    match info.kind {
        DynptrKind::Skb => skb::load_bytes(cx, at, into),
        DynptrKind::Xdp => xdp::load_bytes(cx, at, into),
        DynptrKind::Any | DynptrKind::Local | DynptrKind::Ringbuf => {
            let Some(memory) = dynptr.memory(offset, into.len()) else { return E2BIG };
            into.write_bytes(0, memory.as_bytes());
            0
        }
    }
}

pub(super) fn write(
    cx: &ExecContext<'_>,
    dynptr: DynptrAt<'_>,
    offset: u64,
    from: Bytes<'_>,
    flags: u64,
) -> i64 {
    let Some(info) = dynptr.info().filter(|info| !info.read_only) else { return EINVAL };
    let offset = u64::from(offset as u32);
    if outside(info.size, offset, from.len()) {
        return E2BIG;
    }
    let at = info.offset.wrapping_add(offset as u32);
    if info.kind == DynptrKind::Skb {
        return skb::store_bytes(cx, at, from, flags);
    }
    if flags != 0 {
        return EINVAL;
    }
    if info.kind == DynptrKind::Xdp {
        return xdp::store_bytes(cx, at, from);
    }
    let Some(memory) = dynptr.memory(offset, from.len()) else { return E2BIG };
    memory.write_bytes(0, from);
    0
}

/// Address of the bytes, 0 if there are none in one piece.
pub(super) fn data(_cx: &ExecContext<'_>, dynptr: DynptrAt<'_>, offset: u64, len: u64) -> u64 {
    let Some(info) = dynptr.info().filter(|info| !info.read_only) else { return 0 };
    let offset = u64::from(offset as u32);
    if outside(info.size, offset, len) {
        return 0;
    }
    dynptr.memory(offset, len).map_or(0, |memory| memory.as_bytes().address())
}

/// The kernel counts in 32 bits.
fn outside(size: u32, offset: u64, len: u64) -> bool {
    let size = u64::from(size);
    len > size || offset > size - len
}

pub(super) fn reserve(
    _cx: &ExecContext<'_>,
    map: &dyn Map,
    size: u64,
    flags: u64,
    dynptr: DynptrAt<'_>,
) -> i64 {
    dynptr.clear();
    if flags != 0 {
        return EINVAL;
    }
    let size = size as u32;
    if size > DynptrAt::SIZE_MAX {
        return E2BIG;
    }
    let Some(ring) = ring::ring(map) else { return EINVAL };
    let Some(memory) = ring.reserve(u64::from(size)).and_then(|record| ring.record(record)) else {
        return EINVAL;
    };
    dynptr.set(DynptrKind::Ringbuf, memory);
    0
}

pub(super) fn submit(cx: &ExecContext<'_>, dynptr: DynptrAt<'_>, flags: u64) {
    end(cx, dynptr, Commit::Submit, flags);
}

pub(super) fn discard(cx: &ExecContext<'_>, dynptr: DynptrAt<'_>, flags: u64) {
    end(cx, dynptr, Commit::Discard, flags);
}

fn end(cx: &ExecContext<'_>, dynptr: DynptrAt<'_>, commit: Commit, flags: u64) {
    if let Some(info) = dynptr.info() {
        ring::commit(cx, info.address, commit, flags);
    }
    dynptr.clear();
}
