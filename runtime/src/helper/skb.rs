//! Helpers on socket buffers: bytes and checksums of the packet.
//!
//! Packets here are linear, private and without checksum state of a device, like those of the kernel's test run.
#![forbid(unsafe_code)]

use super::errno::{EFAULT, EINVAL, ENOMEM};
use super::net::{add, fold};
use crate::abi::ExecContext;
use crate::ctx::{ETH_HLEN, Frame, ProgramType, Skb};
use crate::mem::{Bytes, BytesMut};

/// Largest offset of most helpers (`INT_MAX`).
const OFFSET_MAX: u32 = i32::MAX as u32;

/// `len` bytes of the packet at `offset` from where the program sees it begin.
fn part<'a>(cx: &ExecContext<'a>, offset: u32, len: u64) -> Option<BytesMut<'a>> {
    let frame = cx.ctx.frame()?;
    let inside = u64::from(offset) + len <= frame.len();
    if inside { frame.memory(frame.data() + u64::from(offset), len) } else { None }
}

/// Copies packet bytes out, or zeros if there are none.
fn copy(bytes: Option<BytesMut<'_>>, into: BytesMut<'_>) -> i64 {
    let Some(bytes) = bytes else {
        into.fill(0);
        return EFAULT;
    };
    into.write_bytes(0, bytes.as_bytes());
    0
}

pub(super) fn load_bytes(cx: &ExecContext<'_>, offset: u32, into: BytesMut<'_>) -> i64 {
    let bytes = if offset <= OFFSET_MAX { part(cx, offset, into.len()) } else { None };
    copy(bytes, into)
}

pub(super) fn load_bytes_relative(cx: &ExecContext<'_>, offset: u32, into: BytesMut<'_>, header: u32) -> i64 {
    copy(relative(cx, offset, into.len(), header), into)
}

/// Bytes at a distance from the Ethernet header (0) or the network header (1).
fn relative<'a>(cx: &ExecContext<'a>, offset: u32, len: u64, header: u32) -> Option<BytesMut<'a>> {
    if offset > 0xffff {
        return None;
    }
    let frame = cx.ctx.frame()?;
    let (link, network) = headers(cx, frame);
    let start = match header {
        0 => link,
        1 => network,
        _ => return None,
    } + u64::from(offset);
    if start + len > frame.data_end() { None } else { frame.memory(start, len) }
}

/// Addresses of the Ethernet and the network header.
fn headers(cx: &ExecContext<'_>, frame: Frame<'_>) -> (u64, u64) {
    let link = match cx.ctx.program_type() {
        ProgramType::SchedCls | ProgramType::SchedAct => frame.data(),
        _ => frame.data() - ETH_HLEN,
    };
    (link, cx.ctx.skb().map_or(link + ETH_HLEN, Skb::network))
}

/// What the packet access instructions (`ABS`, `IND`) load: `size` bytes (1, 2 or 4), big endian, or a negative number if
/// there are none there, which ends the program. Negative offsets count from the network header (`SKF_NET_OFF`) or from
/// the Ethernet header (`SKF_LL_OFF`).
#[must_use]
pub fn packet_load(cx: &ExecContext<'_>, offset: i32, size: u32) -> i64 {
    const NETWORK: i32 = -0x10_0000;
    const LINK: i32 = -0x20_0000;
    let size = size.clamp(1, 4);
    let found = cx.ctx.frame().and_then(|frame| {
        let (link, network) = headers(cx, frame);
        let (start, distance) = match offset {
            0.. => (frame.data(), offset),
            NETWORK.. => (network, offset - NETWORK),
            LINK.. => (link, offset - LINK),
            _ => return None,
        };
        let start = start + u64::from(distance.unsigned_abs());
        let end = start + u64::from(size);
        if end <= frame.data_end() { frame.memory(start, u64::from(size)) } else { None }
    });
    let Some(bytes) = found else { return EFAULT };
    let bytes = bytes.as_bytes();
    (0..u64::from(size)).fold(0, |value, at| value << 8 | i64::from(bytes.byte(at)))
}

pub(super) fn store_bytes(cx: &ExecContext<'_>, offset: u32, from: Bytes<'_>, flags: u64) -> i64 {
    /// `BPF_F_RECOMPUTE_CSUM`: our packets have no sum of a device.
    const RECOMPUTE: u64 = 1;
    /// `BPF_F_INVALIDATE_HASH`
    const INVALIDATE_HASH: u64 = 2;
    if flags & !(RECOMPUTE | INVALIDATE_HASH) != 0 {
        return EINVAL;
    }
    if offset > OFFSET_MAX {
        return EFAULT;
    }
    let Some(bytes) = part(cx, offset, from.len()) else { return EFAULT };
    bytes.write_bytes(0, from);
    if flags & INVALIDATE_HASH != 0
        && let Some(skb) = cx.ctx.skb()
    {
        skb.forget_hash();
    }
    0
}

pub(super) fn pull_data(cx: &ExecContext<'_>, len: u32) -> i64 {
    let available = cx.ctx.frame().map_or(0, Frame::len);
    if u64::from(len) <= available { 0 } else { ENOMEM }
}

/// `BPF_F_HDR_FIELD_MASK`: bytes of the field that changed, 0 for a difference.
const FIELD: u64 = 0xf;

/// What the checksum is corrected by.
enum Change {
    /// A difference of sums.
    Difference(u32),
    /// Old and new value of a field.
    Field(u32, u32),
}

fn change(from: u64, to: u64, flags: u64) -> Result<Change, i64> {
    match flags & FIELD {
        0 if from == 0 => Ok(Change::Difference(to as u32)),
        2 => Ok(Change::Field(u32::from(from as u16), u32::from(to as u16))),
        4 => Ok(Change::Field(from as u32, to as u32)),
        _ => Err(EINVAL),
    }
}

/// The corrected checksum (as it lies in the packet).
fn corrected(sum: u16, change: &Change) -> u16 {
    let old = u32::from(!sum);
    let total = match *change {
        Change::Difference(difference) => add(difference, old | 0xffff_0000),
        Change::Field(from, to) => add(add(old | 0xffff_0000, !from), to),
    };
    !(fold(total) as u16)
}

/// The same for a 16-bit field, whose sum the kernel keeps in 16 bits for `l3_csum_replace`: all ones and zero, which
/// mean the same, come out the other way round.
fn corrected_16(sum: u16, from: u16, to: u16) -> u16 {
    let add = |a: u16, b: u16| {
        let (sum, carry) = a.overflowing_add(b);
        sum + u16::from(carry)
    };
    !add(add(!sum, !from), to)
}

/// The checksum field at `offset`.
fn field<'a>(cx: &ExecContext<'a>, offset: u32) -> Result<BytesMut<'a>, i64> {
    if offset > 0xffff || !offset.is_multiple_of(2) {
        return Err(EFAULT);
    }
    part(cx, offset, 2).ok_or(EFAULT)
}

pub(super) fn l3_csum_replace(cx: &ExecContext<'_>, offset: u32, from: u64, to: u64, flags: u64) -> i64 {
    if flags & !FIELD != 0 {
        return EINVAL;
    }
    let replace = || {
        let field = field(cx, offset)?;
        let sum = u16::from_ne_bytes(field.as_bytes().array(0));
        let sum = match change(from, to, flags)? {
            Change::Field(from, to) if flags & FIELD == 2 => corrected_16(sum, from as u16, to as u16),
            change => corrected(sum, &change),
        };
        field.write(0, &sum.to_ne_bytes());
        Ok(0)
    };
    replace().unwrap_or_else(|errno| errno)
}

pub(super) fn l4_csum_replace(cx: &ExecContext<'_>, offset: u32, from: u64, to: u64, flags: u64) -> i64 {
    /// `BPF_F_PSEUDO_HDR` and `BPF_F_IPV6` matter to devices that sum by themselves.
    const DEVICE: u64 = 1 << 4 | 1 << 7;
    /// `BPF_F_MARK_MANGLED_0`: zero means "no checksum" (UDP).
    const MANGLED_0: u64 = 1 << 5;
    /// `BPF_F_MARK_ENFORCE`: correct it even if it is zero.
    const ENFORCE: u64 = 1 << 6;
    if flags & !(FIELD | DEVICE | MANGLED_0 | ENFORCE) != 0 {
        return EINVAL;
    }
    let replace = || {
        let field = field(cx, offset)?;
        let sum = u16::from_ne_bytes(field.as_bytes().array(0));
        if flags & MANGLED_0 != 0 && flags & ENFORCE == 0 && sum == 0 {
            return Ok(0);
        }
        let sum = corrected(sum, &change(from, to, flags)?);
        let sum = if flags & MANGLED_0 != 0 && sum == 0 { 0xffff } else { sum };
        field.write(0, &sum.to_ne_bytes());
        Ok(0)
    };
    replace().unwrap_or_else(|errno| errno)
}
