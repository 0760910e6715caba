//! What a socket buffer says of its packet: type, hash, time, what is known of checksums, congestion marks.
//!
//! Packets here have no socket, no route and no security association: helpers that ask for one say what the kernel says
//! without.
#![forbid(unsafe_code)]

use super::errno::{EACCES, EINVAL, ENOTSUPP, EOPNOTSUPP};
use crate::abi::ExecContext;
use crate::ctx::{ETH_P_IP, ETH_P_IPV6, Skb, skb_word as word};
use crate::mem::{Bytes, BytesMut};

/// The largest `pkt_type` that may be changed or set (`PACKET_OTHERHOST`).
const OTHER_HOST: u32 = 3;

pub(super) fn change_type(cx: &ExecContext<'_>, kind: u32) -> i64 {
    let Some(skb) = cx.ctx.skb() else { return EINVAL };
    if kind > OTHER_HOST || skb.number(word::PKT_TYPE) > OTHER_HOST {
        return EINVAL;
    }
    skb.set_number(word::PKT_TYPE, kind);
    0
}

pub(super) fn set_hash(cx: &ExecContext<'_>, hash: u32) -> i64 {
    if let Some(skb) = cx.ctx.skb() {
        skb.set_hash(hash);
    }
    0
}

pub(super) fn set_hash_invalid(cx: &ExecContext<'_>) -> i64 {
    if let Some(skb) = cx.ctx.skb() {
        skb.forget_hash();
    }
    0
}

pub(super) fn get_hash_recalc(cx: &ExecContext<'_>) -> u64 {
    let Some(skb) = cx.ctx.skb() else { return 0 };
    if !skb.knows_hash() {
        skb.set_hash(flow_hash(cx, skb));
    }
    u64::from(skb.number(word::HASH))
}

/// A number that packets of one flow have in common, in both directions. Never 0.
fn flow_hash(cx: &ExecContext<'_>, skb: Skb<'_>) -> u32 {
    let header = network_header(cx, skb);
    // FNV-1a over the two ends, the smaller one first.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    };
    if let Some(header) = header {
        let (addresses, at, protocol, ports) = match skb.protocol() {
            ETH_P_IP if header.len() >= 20 => {
                let whole = u16::from_be_bytes(header.array(6)) & 0x3fff == 0;
                (4, 12, header.byte(9), whole.then(|| u64::from(header.byte(0) & 15) * 4))
            }
            ETH_P_IPV6 if header.len() >= 40 => (16, 8, header.byte(6), Some(40)),
            _ => (0, 0, 0, None),
        };
        let mut ends = [[0_u8; 18]; 2];
        for (end, i) in ends.iter_mut().zip(0..) {
            header.read(at + i * addresses, &mut end[..addresses as usize]);
            if matches!(protocol, 6 | 17 | 132)
                && let Some(ports) = ports.filter(|&ports| ports + 4 <= header.len())
            {
                header.read(ports + 2 * i, &mut end[16..]);
            }
        }
        ends.sort_unstable();
        add(&ends[0]);
        add(&ends[1]);
        add(&[protocol]);
    }
    ((hash >> 32) as u32 ^ hash as u32).max(1)
}

/// The packet from its network header on.
fn network_header<'a>(cx: &ExecContext<'a>, skb: Skb<'_>) -> Option<Bytes<'a>> {
    let frame = cx.ctx.frame()?;
    let len = frame.data_end().checked_sub(skb.network())?;
    frame.memory(skb.network(), len).map(BytesMut::as_bytes)
}

/// Linux sums again only what a device has summed.
pub(super) fn csum_update(_cx: &ExecContext<'_>) -> i64 {
    ENOTSUPP
}

pub(super) fn csum_level(cx: &ExecContext<'_>, level: u64) -> i64 {
    const QUERY: u64 = 0;
    const INC: u64 = 1;
    const DEC: u64 = 2;
    const RESET: u64 = 3;
    /// `SKB_MAX_CSUM_LEVEL`, counted from 1.
    const MOST: u32 = 4;
    let Some(skb) = cx.ctx.skb() else { return EINVAL };
    let known = skb.checksums();
    match level {
        QUERY if known == 0 => return EACCES,
        QUERY => return i64::from(known - 1),
        INC => skb.set_checksums((known + 1).min(MOST)),
        DEC => skb.set_checksums(known.saturating_sub(1)),
        RESET => skb.set_checksums(0),
        _ => return EINVAL,
    }
    0
}

pub(super) fn set_tstamp(cx: &ExecContext<'_>, time: u64, kind: u32) -> i64 {
    const REALTIME: u32 = 0;
    const MONOTONIC: u32 = 1;
    const TAI: u32 = 2;
    let Some(skb) = cx.ctx.skb() else { return EINVAL };
    if !matches!(skb.protocol(), ETH_P_IP | ETH_P_IPV6) {
        return EOPNOTSUPP;
    }
    match kind {
        REALTIME => {}
        MONOTONIC | TAI if time != 0 => {}
        _ => return EINVAL,
    }
    skb.set_time(time, kind as u8);
    0
}

/// 1 if the packet is marked now (or was), 0 if its sender does not understand marks.
pub(super) fn ecn_set_ce(cx: &ExecContext<'_>) -> i64 {
    let marked = || {
        let skb = cx.ctx.skb()?;
        let frame = cx.ctx.frame()?;
        let header = |len| {
            let inside = skb.network() >= frame.data() && skb.network() + len <= frame.data_end();
            if inside { frame.memory(skb.network(), len) } else { None }
        };
        Some(match skb.protocol() {
            ETH_P_IP => mark_v4(header(20)?),
            ETH_P_IPV6 => mark_v6(header(40)?),
            _ => false,
        })
    };
    i64::from(marked().unwrap_or(false))
}

/// The two bits: 0 not understood, 1 and 2 understood, 3 marked.
fn mark_v4(header: BytesMut<'_>) -> bool {
    let bytes = header.as_bytes();
    let service = bytes.byte(1);
    let bits = service & 3;
    if bits == 0 || bits == 3 {
        return bits == 3;
    }
    header.write(1, &[service | 3]);
    // What the sum of the header grows by, its complement shrinks by.
    let sum = u16::from_be_bytes(bytes.array(10));
    let (sum, carry) = sum.overflowing_add(!u16::from(3 - bits));
    header.write(10, &(sum + u16::from(carry)).to_be_bytes());
    true
}

fn mark_v6(header: BytesMut<'_>) -> bool {
    let byte = header.as_bytes().byte(1);
    if byte >> 4 & 3 == 0 {
        return false;
    }
    header.write(1, &[byte | 0x30]);
    true
}

/// Numbers of what is not there: route realm, cgroup of the socket, class of the task, cookie of the socket.
pub(super) fn no_number(_cx: &ExecContext<'_>) -> u64 {
    0
}

/// `overflowuid`: the user of no socket.
pub(super) fn socket_uid(_cx: &ExecContext<'_>) -> u64 {
    65_534
}

pub(super) fn get_xfrm_state(_cx: &ExecContext<'_>, into: BytesMut<'_>) -> i64 {
    into.fill(0);
    EINVAL
}
