//! SYN cookies: made and recognised with keys of the environment.
//!
//! A cookie is built as in Linux: 8 bits of minutes, 24 bits of an index into a table of segment sizes under a hash.
//! The hash is our own, so a cookie of the kernel is none here.
#![forbid(unsafe_code)]

use std::hash::Hasher;

use super::errno::{EACCES, EINVAL, ENOENT};
use crate::abi::ExecContext;
use crate::environment::{STATE_LISTEN, TCP};
use crate::mem::Bytes;

/// `EPROTONOSUPPORT`
const EPROTONOSUPPORT: i64 = -93;
const AF_INET6: u32 = 10;

/// Bytes of a TCP header without options.
const HEADER: u64 = 20;
/// Segment sizes that a cookie can say, ascending.
const SIZES_V4: [u16; 4] = [536, 1300, 1440, 1460];
const SIZES_V6: [u16; 4] = [1280 - 60, 1480 - 60, 1500 - 60, 9000 - 60];

const COUNT_SHIFT: u32 = 24;
const MASK: u32 = (1 << COUNT_SHIFT) - 1;
/// Minutes that a cookie is good for.
const MAX_AGE: u32 = 2;

/// Who talks to whom: addresses and ports as on the wire.
struct Flow<'a> {
    addresses: Bytes<'a>,
    ports: [u8; 4],
    sizes: &'static [u16; 4],
    /// Without an option that says it.
    default: u16,
}

impl<'a> Flow<'a> {
    fn v4(ip: Bytes<'a>, tcp: Bytes<'_>) -> Self {
        Self { addresses: ip.part(12, 8), ports: tcp.array(0), sizes: &SIZES_V4, default: 536 }
    }

    fn v6(ip: Bytes<'a>, tcp: Bytes<'_>) -> Self {
        Self { addresses: ip.part(8, 32), ports: tcp.array(0), sizes: &SIZES_V6, default: 1220 }
    }

    fn hash(&self, cx: &ExecContext<'_>, count: u32, which: usize) -> u32 {
        let key = cx.environment.cookie_keys()[which];
        #[expect(deprecated, reason = "its successor has no keys of ours")]
        let mut hasher = std::hash::SipHasher::new_with_keys(key as u64, (key >> 64) as u64);
        hasher.write(&self.addresses.to_vec());
        hasher.write(&self.ports);
        hasher.write_u32(count);
        hasher.finish() as u32
    }

    fn make(&self, cx: &ExecContext<'_>, sequence: u32, size: u16) -> i64 {
        let index = self.sizes.iter().rposition(|&known| size >= known).unwrap_or(0);
        let count = minutes(cx);
        let low = self.hash(cx, count, 1).wrapping_add(index as u32) & MASK;
        let cookie = self.hash(cx, 0, 0).wrapping_add(sequence);
        let cookie = cookie.wrapping_add(count << COUNT_SHIFT).wrapping_add(low);
        i64::from(cookie) | i64::from(self.sizes[index]) << 32
    }

    fn recognise(&self, cx: &ExecContext<'_>, tcp: Bytes<'_>) -> bool {
        let cookie = word(tcp, 8).wrapping_sub(1);
        let sequence = word(tcp, 4).wrapping_sub(1);
        let count = minutes(cx);
        let cookie = cookie.wrapping_sub(self.hash(cx, 0, 0).wrapping_add(sequence));
        let age = count.wrapping_sub(cookie >> COUNT_SHIFT) & (u32::MAX >> COUNT_SHIFT);
        if age >= MAX_AGE {
            return false;
        }
        let index = cookie.wrapping_sub(self.hash(cx, count.wrapping_sub(age), 1)) & MASK;
        (index as usize) < self.sizes.len()
    }

    /// The segment size that a SYN asks for.
    fn size(&self, tcp: Bytes<'_>) -> u16 {
        const END: u8 = 0;
        const NOTHING: u8 = 1;
        const SEGMENT_SIZE: u8 = 2;
        let mut found = 0;
        let mut at = HEADER;
        while at < tcp.len() {
            match tcp.byte(at) {
                END => break,
                NOTHING => at += 1,
                kind => {
                    let len = if at + 1 < tcp.len() { u64::from(tcp.byte(at + 1)) } else { 0 };
                    if len < 2 || at + len > tcp.len() {
                        break;
                    }
                    if kind == SEGMENT_SIZE && len == 4 {
                        found = u16::from_be_bytes(tcp.array(at + 2));
                    }
                    at += len;
                }
            }
        }
        if found == 0 { self.default } else { found }
    }
}

fn minutes(cx: &ExecContext<'_>) -> u32 {
    (cx.environment.monotonic_ns() / 60_000_000_000) as u32
}

fn word(tcp: Bytes<'_>, at: u64) -> u32 {
    u32::from_be_bytes(tcp.array(at))
}

/// Whether the header says that it is as long as it is.
fn whole(tcp: Bytes<'_>) -> bool {
    tcp.len() >= HEADER && tcp.len() == u64::from(tcp.byte(12) >> 4) * 4
}

pub(super) fn raw_generate_v4(cx: &ExecContext<'_>, ip: Bytes<'_>, tcp: Bytes<'_>) -> i64 {
    if !whole(tcp) {
        return EINVAL;
    }
    let flow = Flow::v4(ip, tcp);
    flow.make(cx, word(tcp, 4), flow.size(tcp))
}

pub(super) fn raw_generate_v6(cx: &ExecContext<'_>, ip: Bytes<'_>, tcp: Bytes<'_>) -> i64 {
    if !whole(tcp) {
        return EINVAL;
    }
    let flow = Flow::v6(ip, tcp);
    flow.make(cx, word(tcp, 4), flow.size(tcp))
}

pub(super) fn raw_check_v4(cx: &ExecContext<'_>, ip: Bytes<'_>, tcp: Bytes<'_>) -> i64 {
    if Flow::v4(ip, tcp).recognise(cx, tcp) { 0 } else { EACCES }
}

pub(super) fn raw_check_v6(cx: &ExecContext<'_>, ip: Bytes<'_>, tcp: Bytes<'_>) -> i64 {
    if Flow::v6(ip, tcp).recognise(cx, tcp) { 0 } else { EACCES }
}

/// FIN, SYN, RST and ACK of the header.
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// The flow of a packet to a listening socket, or why it is none.
fn to_listener<'a>(
    cx: &ExecContext<'_>,
    socket: u64,
    ip: Bytes<'a>,
    tcp: Bytes<'_>,
) -> Result<Flow<'a>, i64> {
    let info = cx.effects.socket(socket).ok_or(EINVAL)?.info();
    if ip.len() < 20 {
        return Err(EINVAL);
    }
    match ip.byte(0) >> 4 {
        4 => Ok(Flow::v4(ip, tcp)),
        6 if ip.len() < 40 || info.family != AF_INET6 => Err(EINVAL),
        6 => Ok(Flow::v6(ip, tcp)),
        _ => Err(EPROTONOSUPPORT),
    }
}

fn listens(cx: &ExecContext<'_>, socket: u64) -> bool {
    cx.effects
        .socket(socket)
        .is_some_and(|socket| socket.info().protocol == TCP && socket.info().state == STATE_LISTEN)
}

pub(super) fn generate(cx: &ExecContext<'_>, socket: u64, ip: Bytes<'_>, tcp: Bytes<'_>) -> i64 {
    if !whole(tcp) || !listens(cx, socket) || tcp.byte(13) & (FIN | SYN | RST | ACK) != SYN {
        return EINVAL;
    }
    match to_listener(cx, socket, ip, tcp) {
        Ok(flow) => flow.make(cx, word(tcp, 4), flow.size(tcp)),
        Err(errno) => errno,
    }
}

pub(super) fn check(cx: &ExecContext<'_>, socket: u64, ip: Bytes<'_>, tcp: Bytes<'_>) -> i64 {
    if tcp.len() < HEADER || !listens(cx, socket) {
        return EINVAL;
    }
    if tcp.byte(13) & (SYN | RST | ACK) != ACK {
        return ENOENT;
    }
    match to_listener(cx, socket, ip, tcp) {
        Ok(flow) if flow.recognise(cx, tcp) => 0,
        Ok(_) => ENOENT,
        Err(errno) => errno,
    }
}
