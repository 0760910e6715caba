//! Helpers that give a socket buffer room or take it away: at its head, its tail, or behind a header.
//!
//! A packet stays in the buffer it came in: room that its headroom or tailroom does not have is ENOMEM, as in the kernel
//! when it has no memory for a larger one.
#![forbid(unsafe_code)]

use super::errno::{EALREADY, EFAULT, EINVAL, ENOMEM, ENOTSUPP};
use super::route;
use crate::abi::ExecContext;
use crate::ctx::{ETH_HLEN, ETH_P_IP, ETH_P_IPV6, Frame, META_MAX, ProgramType, Skb, skb_word as word};

const IPV4: u64 = 20;
const IPV6: u64 = 40;
/// The kernel's name for a header that is none (`~0U`).
const NO_HEADER: u64 = u32::MAX as u64;

/// Packet and state of the run. Only types with a socket buffer may call the helpers here.
fn buffer<'a>(cx: &ExecContext<'a>) -> Result<(Frame<'a>, Skb<'a>), i64> {
    Ok((cx.ctx.frame().ok_or(EINVAL)?, cx.ctx.skb().ok_or(EINVAL)?))
}

fn status(result: Result<(), i64>) -> i64 {
    result.err().unwrap_or(0)
}

/// Moves the packet's ends; metadata keeps its distance from the start.
fn place(frame: Frame<'_>, skb: Skb<'_>, data: u64, end: u64) -> Result<(), i64> {
    let meta_len = frame.data() - frame.data_meta();
    let mut copy = [0; META_MAX as usize];
    let copy = &mut copy[..meta_len.min(META_MAX) as usize];
    if data != frame.data()
        && let Some(old) = frame.memory(frame.data_meta(), copy.len() as u64)
    {
        old.as_bytes().read(0, copy);
    }
    let meta = data.checked_sub(meta_len).ok_or(ENOMEM)?;
    let moved = data != frame.data();
    if !frame.place(meta, data, end) {
        return Err(ENOMEM);
    }
    if moved && let Some(new) = frame.memory(meta, copy.len() as u64) {
        new.write(0, copy);
    }
    skb.set_number(word::LEN, frame.len() as u32);
    Ok(())
}

/// Opens `len` zero bytes behind the first `off` ones, which move down.
pub(super) fn open(frame: Frame<'_>, skb: Skb<'_>, off: u64, len: u64) -> Result<(), i64> {
    let (old, end) = (frame.data(), frame.data_end());
    let start = old.checked_sub(len).filter(|&start| start >= frame.hard_start()).ok_or(ENOMEM)?;
    let off = off.min(frame.len());
    place(frame, skb, start, end)?;
    let bytes = frame.memory(start, off + len).ok_or(ENOMEM)?;
    let head = frame.memory(old, off).ok_or(ENOMEM)?;
    // Downwards in memory, so bytes are read before they are overwritten.
    bytes.write_bytes(0, head.as_bytes());
    bytes.part(off, len).fill(0);
    Ok(())
}

/// Removes `len` bytes behind the first `off` ones, which move up.
pub(super) fn close(frame: Frame<'_>, skb: Skb<'_>, off: u64, len: u64) -> Result<(), i64> {
    /// Link and network header.
    const LONGEST: usize = 64;
    if off + len > frame.len() || off > LONGEST as u64 {
        return Err(ENOMEM);
    }
    let mut head = [0; LONGEST];
    let head = &mut head[..off as usize];
    let old = frame.memory(frame.data(), off).ok_or(ENOMEM)?;
    old.as_bytes().read(0, head);
    place(frame, skb, frame.data() + len, frame.data_end())?;
    frame.memory(frame.data(), off).ok_or(ENOMEM)?.write(0, head);
    Ok(())
}

/// Longest packet of the interface it is on.
fn longest(cx: &ExecContext<'_>) -> u64 {
    route::own_interface(cx)
        .map_or(1 << 16, |interface| u64::from(interface.mtu) + u64::from(interface.header_len))
}

pub(super) fn change_tail(cx: &ExecContext<'_>, len: u32, flags: u64) -> i64 {
    let change = || {
        let (frame, skb) = buffer(cx)?;
        let len = u64::from(len);
        let least = skb.network().saturating_sub(frame.data());
        if flags != 0 || len > longest(cx) || len < least {
            return Err(EINVAL);
        }
        if skb.is_encapsulated() {
            return Err(ENOTSUPP);
        }
        let (old, end) = (frame.data_end(), frame.data() + len);
        if end > frame.hard_end() {
            return Err(ENOMEM);
        }
        place(frame, skb, frame.data(), end)?;
        if end > old
            && let Some(grown) = frame.memory(old, end - old)
        {
            grown.fill(0);
        }
        Ok(())
    };
    status(change())
}

pub(super) fn change_head(cx: &ExecContext<'_>, room: u32, flags: u64) -> i64 {
    let change = || {
        let (frame, skb) = buffer(cx)?;
        let negative = room.cast_signed() < 0;
        if flags != 0 || negative || frame.len() + u64::from(room) > longest(cx) {
            return Err(EINVAL);
        }
        open(frame, skb, 0, u64::from(room))
    };
    status(change())
}

/// Room before the network header, which stays where it is in the packet.
fn open_network(frame: Frame<'_>, skb: Skb<'_>, off: u64, len: u64) -> Result<(), i64> {
    open(frame, skb, off, len)?;
    skb.set_network(skb.network() - len);
    Ok(())
}

fn close_network(frame: Frame<'_>, skb: Skb<'_>, off: u64, len: u64) -> Result<(), i64> {
    close(frame, skb, off, len)?;
    skb.set_network(skb.network() + len);
    Ok(())
}

/// Bytes of the link header.
fn link_len(frame: Frame<'_>, skb: Skb<'_>) -> u64 {
    skb.network().saturating_sub(frame.data())
}

pub(super) fn change_proto(cx: &ExecContext<'_>, protocol: u32, flags: u64) -> i64 {
    const DIFFERENCE: u64 = IPV6 - IPV4;
    let change = || {
        let (frame, skb) = buffer(cx)?;
        if flags != 0 {
            return Err(EINVAL);
        }
        let protocol = u16::from_be(protocol as u16);
        let off = link_len(frame, skb);
        match (skb.protocol(), protocol) {
            (ETH_P_IP, ETH_P_IPV6) => open_network(frame, skb, off, DIFFERENCE)?,
            (ETH_P_IPV6, ETH_P_IP) => close_network(frame, skb, off, DIFFERENCE)?,
            _ => return Err(ENOTSUPP),
        }
        skb.set_protocol(protocol);
        skb.forget_hash();
        Ok(())
    };
    status(change())
}

/// `BPF_F_ADJ_ROOM_*`
mod bits {
    pub(super) const FIXED_GSO: u64 = 1;
    pub(super) const ENCAP_V4: u64 = 1 << 1;
    pub(super) const ENCAP_V6: u64 = 1 << 2;
    pub(super) const ENCAP_GRE: u64 = 1 << 3;
    pub(super) const ENCAP_UDP: u64 = 1 << 4;
    pub(super) const NO_CSUM_RESET: u64 = 1 << 5;
    pub(super) const ENCAP_ETH: u64 = 1 << 6;
    pub(super) const DECAP_V4: u64 = 1 << 7;
    pub(super) const DECAP_V6: u64 = 1 << 8;
    pub(super) const LINK_SHIFT: u32 = 56;
    pub(super) const ENCAP: u64 = ENCAP_V4 | ENCAP_V6;
    pub(super) const DECAP: u64 = DECAP_V4 | DECAP_V6;
    pub(super) const KNOWN: u64 =
        FIXED_GSO | ENCAP | ENCAP_GRE | ENCAP_UDP | ENCAP_ETH | 0xff << LINK_SHIFT | DECAP;
}

pub(super) fn adjust_room(cx: &ExecContext<'_>, difference: i32, mode: u32, flags: u64) -> i64 {
    if cx.ctx.program_type() == ProgramType::SkSkb {
        return status(adjust_stream(cx, difference, mode, flags));
    }
    status(adjust(cx, difference, mode, flags))
}

fn adjust(cx: &ExecContext<'_>, difference: i32, mode: u32, flags: u64) -> Result<(), i64> {
    const NET: u32 = 0;
    const MAC: u32 = 1;
    let (frame, skb) = buffer(cx)?;
    if flags & !(bits::KNOWN | bits::NO_CSUM_RESET) != 0 {
        return Err(EINVAL);
    }
    let amount = u64::from(difference.unsigned_abs());
    if amount > 0xfff {
        return Err(EFAULT);
    }
    let header = match skb.protocol() {
        ETH_P_IP => IPV4,
        ETH_P_IPV6 => IPV6,
        _ => return Err(ENOTSUPP),
    };
    let off = link_len(frame, skb)
        + match mode {
            NET => header,
            MAC => 0,
            _ => return Err(ENOTSUPP),
        };
    let shrink = difference < 0;
    let least = match flags & bits::DECAP {
        0 => header,
        _ if !shrink => return Err(EINVAL),
        bits::DECAP_V4 => IPV4,
        bits::DECAP_V6 => IPV6,
        _ => return Err(EINVAL),
    };
    let current = frame.data_end().wrapping_sub(skb.network()) & NO_HEADER;
    let too_small = shrink && (amount >= current || current - amount < least);
    if too_small || (!shrink && frame.len() + amount > longest(cx)) {
        return Err(ENOTSUPP);
    }
    if shrink {
        shrink_by(frame, skb, off, amount, flags)?;
    } else {
        grow_by(frame, skb, off, amount, flags)?;
    }
    if flags & bits::NO_CSUM_RESET == 0 {
        skb.set_checksums(0);
    }
    Ok(())
}

fn grow_by(frame: Frame<'_>, skb: Skb<'_>, off: u64, amount: u64, flags: u64) -> Result<(), i64> {
    let encapsulate = flags & bits::ENCAP != 0;
    if encapsulate {
        let both = |bits| flags & bits == bits;
        let inner_link = flags >> bits::LINK_SHIFT;
        if both(bits::ENCAP) || both(bits::ENCAP_GRE | bits::ENCAP_UDP) {
            return Err(EINVAL);
        }
        if flags & bits::ENCAP_ETH != 0 && inner_link < ETH_HLEN {
            return Err(EINVAL);
        }
        if skb.is_encapsulated() {
            return Err(EALREADY);
        }
        if inner_link > amount {
            return Err(EINVAL);
        }
    }
    open_network(frame, skb, off, amount)?;
    if encapsulate {
        skb.set_encapsulated();
        skb.set_protocol(if flags & bits::ENCAP_V6 != 0 { ETH_P_IPV6 } else { ETH_P_IP });
    }
    Ok(())
}

fn shrink_by(frame: Frame<'_>, skb: Skb<'_>, off: u64, amount: u64, flags: u64) -> Result<(), i64> {
    if flags & !(bits::FIXED_GSO | bits::DECAP | bits::NO_CSUM_RESET) != 0 {
        return Err(EINVAL);
    }
    close_network(frame, skb, off, amount)?;
    match flags & bits::DECAP {
        bits::DECAP_V4 => skb.set_protocol(ETH_P_IP),
        bits::DECAP_V6 => skb.set_protocol(ETH_P_IPV6),
        _ => {}
    }
    Ok(())
}

/// The same for data of a stream: at its start only.
fn adjust_stream(cx: &ExecContext<'_>, difference: i32, mode: u32, flags: u64) -> Result<(), i64> {
    let (frame, skb) = buffer(cx)?;
    if flags != 0 || mode != 0 {
        return Err(EINVAL);
    }
    let amount = u64::from(difference.unsigned_abs());
    if amount > 0xfff {
        return Err(EFAULT);
    }
    if difference < 0 { close(frame, skb, 0, amount) } else { open(frame, skb, 0, amount) }
}
