//! Tunnel metadata of a socket buffer: what a tunnel took off, or is to put on.
#![forbid(unsafe_code)]

use super::errno::{EINVAL, ENOENT, ENOMEM, EPROTO};
use crate::abi::ExecContext;
use crate::ctx::{Tunnel, TunnelKey, tunnel_flags as bit};
use crate::mem::{Bytes, BytesMut};

/// `struct bpf_tunnel_key`, and the shorter ones of older headers.
const SIZE: u64 = 44;
const WITHOUT_LOCAL: u64 = 28;
const WITHOUT_LABEL: u64 = 24;
const WITHOUT_EXTENSION: u64 = 22;
const IPV4_ONLY: u64 = 8;
/// `BPF_F_TUNINFO_IPV6`
const V6: u64 = 1;
/// `BPF_F_ZERO_CSUM_TX`
const ZERO_CHECKSUM: u64 = 1 << 1;
/// `BPF_F_DONT_FRAGMENT`
const DONT_FRAGMENT: u64 = 1 << 2;
/// `BPF_F_SEQ_NUMBER`
const SEQUENCE: u64 = 1 << 3;
/// `BPF_F_NO_TUNNEL_KEY`
const NO_KEY: u64 = 1 << 4;
/// `BPF_F_TUNINFO_FLAGS`
const FLAGS: u64 = 1 << 4;
/// Most bytes of options.
const OPTIONS: u64 = 255;

const REMOTE: usize = 4;
const TOS: usize = 20;
const TTL: usize = 21;
const EXTENSION: usize = 22;
const LABEL: usize = 24;
const LOCAL: usize = 28;

/// IPv4 addresses are numbers of this machine, IPv6 ones are as on the wire.
fn address(from: &[u8], v6: bool) -> [u8; 16] {
    let mut address = [0; 16];
    address.copy_from_slice(&from[..16]);
    if !v6 {
        address[4..].fill(0);
        address[..4].reverse();
    }
    address
}

fn put_address(into: &mut [u8], given: [u8; 16], v6: bool) {
    into[..16].copy_from_slice(&address(&given, v6));
}

pub(super) fn set_key(cx: &ExecContext<'_>, from: Bytes<'_>, flags: u64) -> i64 {
    let Some(tunnel) = cx.ctx.tunnel() else { return EINVAL };
    let sizes = [SIZE, WITHOUT_LOCAL, WITHOUT_LABEL, WITHOUT_EXTENSION, IPV4_ONLY];
    if flags & !(V6 | ZERO_CHECKSUM | DONT_FRAGMENT | SEQUENCE | NO_KEY) != 0 || !sizes.contains(&from.len())
    {
        return EINVAL;
    }
    let mut key = [0; SIZE as usize];
    from.read(0, &mut key[..from.len() as usize]);
    let v6 = flags & V6 != 0;
    let label = u32::from_ne_bytes([key[LABEL], key[LABEL + 1], key[LABEL + 2], key[LABEL + 3]]);
    if (!v6 && label != 0) || key[EXTENSION..LABEL] != [0, 0] {
        return EINVAL;
    }
    let mut set = bit::NO_CACHE;
    for (wanted, bits) in [
        (flags & NO_KEY == 0, bit::KEY),
        (flags & ZERO_CHECKSUM == 0, bit::CHECKSUM),
        (flags & DONT_FRAGMENT != 0, bit::DONT_FRAGMENT),
        (flags & SEQUENCE != 0, bit::SEQUENCE),
    ] {
        set |= if wanted { bits } else { 0 };
    }
    *tunnel.borrow_mut() = Tunnel {
        key: Some(TunnelKey {
            id: u64::from(u32::from_ne_bytes([key[0], key[1], key[2], key[3]])),
            v6,
            source: address(&key[LOCAL..], v6),
            destination: address(&key[REMOTE..], v6),
            tos: key[TOS],
            ttl: key[TTL],
            label: if v6 { label & 0xf_ffff } else { 0 },
            flags: set,
            transmit: true,
        }),
        options: Vec::new(),
    };
    0
}

pub(super) fn get_key(cx: &ExecContext<'_>, into: BytesMut<'_>, flags: u64) -> i64 {
    let fail = |errno| {
        into.fill(0);
        errno
    };
    let Some(tunnel) = cx.ctx.tunnel() else { return fail(EINVAL) };
    let tunnel = tunnel.borrow();
    let Some(key) = tunnel.key.as_ref().filter(|_| flags & !(V6 | FLAGS) == 0) else { return fail(EINVAL) };
    if key.v6 != (flags & V6 != 0) {
        return fail(EPROTO);
    }
    match into.len() {
        SIZE | WITHOUT_LOCAL | WITHOUT_LABEL | WITHOUT_EXTENSION => {}
        IPV4_ONLY if !key.v6 => {}
        _ => return fail(EINVAL),
    }
    let mut out = [0; SIZE as usize];
    out[..4].copy_from_slice(&(key.id as u32).to_ne_bytes());
    put_address(&mut out[REMOTE..], key.source, key.v6);
    put_address(&mut out[LOCAL..], key.destination, key.v6);
    out[TOS] = key.tos;
    out[TTL] = key.ttl;
    if flags & FLAGS != 0 {
        out[EXTENSION..LABEL].copy_from_slice(&key.flags.to_be_bytes());
    }
    out[LABEL..LOCAL].copy_from_slice(&key.label.to_ne_bytes());
    into.write(0, &out[..into.len() as usize]);
    0
}

pub(super) fn set_options(cx: &ExecContext<'_>, from: Bytes<'_>) -> i64 {
    let Some(tunnel) = cx.ctx.tunnel() else { return EINVAL };
    let mut tunnel = tunnel.borrow_mut();
    let sending = tunnel.key.as_ref().is_some_and(|key| key.transmit);
    if !sending || !from.len().is_multiple_of(4) {
        return EINVAL;
    }
    if from.len() > OPTIONS {
        return ENOMEM;
    }
    tunnel.options = from.to_vec();
    0
}

pub(super) fn get_options(cx: &ExecContext<'_>, into: BytesMut<'_>) -> i64 {
    let fail = |errno| {
        into.fill(0);
        errno
    };
    let Some(tunnel) = cx.ctx.tunnel() else { return fail(ENOENT) };
    let tunnel = tunnel.borrow();
    if tunnel.options.is_empty() {
        return fail(ENOENT);
    }
    let len = tunnel.options.len() as u64;
    if into.len() < len {
        return fail(ENOMEM);
    }
    into.fill(0);
    into.write(0, &tunnel.options);
    len as i64
}
