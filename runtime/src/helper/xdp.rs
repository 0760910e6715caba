//! XDP helpers that move or copy the packet.
//!
//! Limits are the kernel's: 40 bytes of headroom are never given out, a packet keeps an Ethernet header, the
//! tailroom ends where the kernel's frame does.
#![forbid(unsafe_code)]

use super::errno::{EACCES, EFAULT, EINVAL};
use crate::abi::ExecContext;
use crate::ctx::{ETH_HLEN, FRAME_RESERVE, Frame, META_MAX};
use crate::mem::{Bytes, BytesMut};

/// The packet of the run. Only program types with one may call the helpers here.
fn frame<'a>(cx: &ExecContext<'a>) -> Option<Frame<'a>> {
    cx.ctx.frame()
}

/// `address + delta`, with a sign.
fn moved(address: u64, delta: i32) -> u64 {
    address.wrapping_add_signed(i64::from(delta))
}

pub(super) fn adjust_head(cx: &ExecContext<'_>, delta: i32) -> i64 {
    let Some(frame) = frame(cx) else { return EINVAL };
    let meta_len = frame.data() - frame.data_meta();
    let data = moved(frame.data(), delta);
    let lowest = frame.hard_start() + FRAME_RESERVE + meta_len;
    if data < lowest || data + ETH_HLEN > frame.data_end() {
        return EINVAL;
    }
    let meta = data - meta_len;
    // Metadata moves along; it may overlap its new place.
    let mut copy = [0; META_MAX as usize];
    let copy = &mut copy[..meta_len as usize];
    if let Some(old) = frame.memory(frame.data_meta(), meta_len) {
        old.as_bytes().read(0, copy);
    }
    if !frame.place(meta, data, frame.data_end()) {
        return EINVAL;
    }
    if let Some(new) = frame.memory(meta, meta_len) {
        new.write(0, copy);
    }
    0
}

pub(super) fn adjust_tail(cx: &ExecContext<'_>, delta: i32) -> i64 {
    let Some(frame) = frame(cx) else { return EINVAL };
    let (old, end) = (frame.data_end(), moved(frame.data_end(), delta));
    if end > frame.hard_end() || end < frame.data() + ETH_HLEN {
        return EINVAL;
    }
    if !frame.place(frame.data_meta(), frame.data(), end) {
        return EINVAL;
    }
    if end > old
        && let Some(grown) = frame.memory(old, end - old)
    {
        grown.fill(0);
    }
    0
}

pub(super) fn adjust_meta(cx: &ExecContext<'_>, delta: i32) -> i64 {
    let Some(frame) = frame(cx) else { return EINVAL };
    let meta = moved(frame.data_meta(), delta);
    if meta < frame.hard_start() + FRAME_RESERVE || meta > frame.data() {
        return EINVAL;
    }
    let len = frame.data() - meta;
    if len > META_MAX || !len.is_multiple_of(4) {
        return EACCES;
    }
    if frame.place(meta, frame.data(), frame.data_end()) { 0 } else { EINVAL }
}

pub(super) fn get_buff_len(cx: &ExecContext<'_>) -> u64 {
    frame(cx).map_or(0, Frame::len)
}

/// `len` bytes of the packet at `offset`.
fn part<'a>(cx: &ExecContext<'a>, offset: u32, len: u64) -> Result<BytesMut<'a>, i64> {
    let frame = frame(cx).ok_or(EINVAL)?;
    if offset > 0xffff || len > 0xffff {
        return Err(EFAULT);
    }
    if u64::from(offset) + len > frame.len() {
        return Err(EINVAL);
    }
    frame.memory(frame.data() + u64::from(offset), len).ok_or(EINVAL)
}

pub(super) fn load_bytes(cx: &ExecContext<'_>, offset: u32, into: BytesMut<'_>) -> i64 {
    match part(cx, offset, into.len()) {
        Ok(bytes) => {
            into.write_bytes(0, bytes.as_bytes());
            0
        }
        Err(errno) => errno,
    }
}

pub(super) fn store_bytes(cx: &ExecContext<'_>, offset: u32, from: Bytes<'_>) -> i64 {
    match part(cx, offset, from.len()) {
        Ok(bytes) => {
            bytes.write_bytes(0, from);
            0
        }
        Err(errno) => errno,
    }
}
