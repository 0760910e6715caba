//! Dynptrs: memory whose size is known at run time only.
//!
//! Helpers and kernel functions. Not here: the words of a dynptr (`shim::dynptr`).
#![forbid(unsafe_code)]

use super::errno::{E2BIG, EINVAL, ERANGE};
use super::proto::DynptrKind;
use super::ring;
use super::shim::DynptrAt;
use super::skb;
use super::xdp;
use crate::abi::ExecContext;
use crate::ctx::ProgramType;
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

/// `bpf_dynptr_from_skb` and `bpf_dynptr_from_xdp`.
fn from_packet(cx: &ExecContext<'_>, kind: DynptrKind, flags: u64, dynptr: DynptrAt<'_>) -> i32 {
    dynptr.clear();
    let Some(frame) = cx.ctx.frame().filter(|_| flags == 0) else { return EINVAL as i32 };
    let size = (frame.data_end() - frame.data()).min(u64::from(DynptrAt::SIZE_MAX));
    // Types that may not write the packet by themselves may not through a dynptr.
    let writes = matches!(
        cx.ctx.program_type(),
        ProgramType::SchedCls
            | ProgramType::SchedAct
            | ProgramType::Xdp
            | ProgramType::LwtXmit
            | ProgramType::SkSkb
            | ProgramType::SkMsg
    );
    dynptr.set_packet(kind, size as u32, !writes);
    0
}

pub(super) fn from_skb(cx: &ExecContext<'_>, flags: u64, dynptr: DynptrAt<'_>) -> i32 {
    from_packet(cx, DynptrKind::Skb, flags, dynptr)
}

pub(super) fn from_xdp(cx: &ExecContext<'_>, flags: u64, dynptr: DynptrAt<'_>) -> i32 {
    from_packet(cx, DynptrKind::Xdp, flags, dynptr)
}

/// The bytes themselves: packets are in one piece here, so there always are some.
fn piece<'a>(cx: &ExecContext<'a>, dynptr: DynptrAt<'a>, offset: u32, len: u32) -> Option<BytesMut<'a>> {
    let info = dynptr.info()?;
    let (offset, len) = (u64::from(offset), u64::from(len));
    if outside(info.size, offset, len) {
        return None;
    }
    match info.kind {
        DynptrKind::Any | DynptrKind::Local | DynptrKind::Ringbuf => dynptr.memory(offset, len),
        DynptrKind::Skb | DynptrKind::Xdp => {
            // The packet may have shrunk since.
            let frame = cx.ctx.frame()?;
            let start = frame.data() + u64::from(info.offset) + offset;
            let far =
                info.kind == DynptrKind::Xdp && (u64::from(info.offset) + offset > 0xffff || len > 0xffff);
            if far || start + len > frame.data_end() { None } else { frame.memory(start, len) }
        }
    }
}

fn writable_piece<'a>(
    cx: &ExecContext<'a>,
    dynptr: DynptrAt<'a>,
    offset: u32,
    len: u32,
) -> Option<BytesMut<'a>> {
    dynptr.info().filter(|info| !info.read_only)?;
    piece(cx, dynptr, offset, len)
}

fn address(piece: Option<BytesMut<'_>>) -> u64 {
    piece.map_or(0, |piece| piece.as_bytes().address())
}

/// The buffer that the program lends is for packets in several pieces.
pub(super) fn slice(cx: &ExecContext<'_>, dynptr: DynptrAt<'_>, offset: u32, len: u32) -> u64 {
    address(piece(cx, dynptr, offset, len))
}

pub(super) fn slice_to_write(cx: &ExecContext<'_>, dynptr: DynptrAt<'_>, offset: u32, len: u32) -> u64 {
    address(writable_piece(cx, dynptr, offset, len))
}

pub(super) fn adjust(_cx: &ExecContext<'_>, dynptr: DynptrAt<'_>, start: u32, end: u32) -> i32 {
    let Some(info) = dynptr.info().filter(|_| start <= end) else { return EINVAL as i32 };
    if end > info.size {
        return ERANGE as i32;
    }
    dynptr.narrow(start, end - start);
    0
}

pub(super) fn is_null(_cx: &ExecContext<'_>, dynptr: DynptrAt<'_>) -> u64 {
    u64::from(dynptr.info().is_none())
}

pub(super) fn is_read_only(_cx: &ExecContext<'_>, dynptr: DynptrAt<'_>) -> u64 {
    u64::from(dynptr.info().is_some_and(|info| info.read_only))
}

pub(super) fn size(_cx: &ExecContext<'_>, dynptr: DynptrAt<'_>) -> i32 {
    dynptr.info().map_or(EINVAL as i32, |info| info.size as i32) // 24 bits
}

pub(super) fn clone(_cx: &ExecContext<'_>, dynptr: DynptrAt<'_>, to: DynptrAt<'_>) -> i32 {
    if dynptr.info().is_none() {
        to.clear();
        return EINVAL as i32;
    }
    to.become_like(dynptr);
    0
}

pub(super) fn copy(
    cx: &ExecContext<'_>,
    to: DynptrAt<'_>,
    to_offset: u32,
    from: DynptrAt<'_>,
    from_offset: u32,
    len: u32,
) -> i32 {
    let source = piece(cx, from, from_offset, len);
    let target = writable_piece(cx, to, to_offset, len);
    let status = match (source, target) {
        (Some(source), Some(target)) => {
            // The two may overlap.
            target.write(0, &source.as_bytes().to_vec());
            0
        }
        (Some(source), None) => write(cx, to, u64::from(to_offset), source.as_bytes(), 0),
        (None, Some(target)) => read(cx, target, from, u64::from(from_offset), 0),
        (None, None) => {
            let reaches = |dynptr: DynptrAt<'_>, offset| {
                let size = dynptr.info().map_or(0, |info| info.size);
                !outside(size, u64::from(offset), u64::from(len))
            };
            match reaches(to, to_offset) && reaches(from, from_offset) {
                true if len == 0 => 0,
                true => EINVAL,
                false => E2BIG,
            }
        }
    };
    status as i32 // an error number
}

pub(super) fn memset(cx: &ExecContext<'_>, dynptr: DynptrAt<'_>, offset: u32, len: u32, byte: u32) -> i32 {
    let info = dynptr.info();
    if info.is_some_and(|info| info.read_only) {
        return EINVAL as i32;
    }
    if let Some(piece) = writable_piece(cx, dynptr, offset, len) {
        piece.fill(byte as u8);
        return 0;
    }
    let size = info.map_or(0, |info| info.size);
    if outside(size, u64::from(offset), u64::from(len)) || len > 0 { E2BIG as i32 } else { 0 }
}
