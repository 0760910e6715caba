//! Where packets go: interfaces, routes, copies.
#![forbid(unsafe_code)]

use super::effects::{Redirect, SentPacket};
use super::errno::{EAFNOSUPPORT, EINVAL, ENODEV};
use crate::abi::ExecContext;
use crate::ctx::ProgramType;
use crate::environment::{FibLookup, Interface, fib};
use crate::mem::{Bytes, BytesMut};

const TC_ACT_SHOT: i64 = 2;
const TC_ACT_REDIRECT: i64 = 7;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// Interface of the packet.
fn own_ifindex(cx: &ExecContext<'_>) -> u32 {
    match cx.ctx.ifindex() {
        0 => 1, // the loopback, as in the kernel's test runs
        index => index,
    }
}

/// The interface the packet is on.
pub(super) fn own_interface(cx: &ExecContext<'_>) -> Option<Interface> {
    cx.environment.interface(own_ifindex(cx))
}

pub(super) fn clone_redirect(cx: &ExecContext<'_>, ifindex: u32, flags: u64) -> i64 {
    /// `BPF_F_INGRESS`
    const INGRESS: u64 = 1;
    if flags & !INGRESS != 0 || cx.environment.interface(ifindex).is_none() {
        return EINVAL;
    }
    let frame = cx.ctx.frame();
    let bytes = frame.and_then(|frame| frame.memory(frame.data(), frame.len()));
    let bytes = bytes.map(|bytes| bytes.as_bytes().to_vec()).unwrap_or_default();
    cx.effects.send(SentPacket { ifindex, flags, bytes });
    0
}

pub(super) fn redirect_neigh(cx: &ExecContext<'_>, ifindex: u32, hop: Bytes<'_>, flags: u64) -> i64 {
    /// `struct bpf_redir_neigh`
    const SIZE: u64 = 20;
    if flags != 0 || (!hop.is_empty() && hop.len() < SIZE) {
        return TC_ACT_SHOT;
    }
    let next_hop = (!hop.is_empty()).then(|| (u32::from_ne_bytes(hop.array(0)), hop.array(4)));
    cx.effects.set_redirect(Some(Redirect::Neighbour { ifindex, next_hop }));
    TC_ACT_REDIRECT
}

pub(super) fn redirect_peer(cx: &ExecContext<'_>, ifindex: u32, flags: u64) -> i64 {
    if flags != 0 {
        return TC_ACT_SHOT;
    }
    cx.effects.set_redirect(Some(Redirect::Peer { ifindex }));
    TC_ACT_REDIRECT
}

pub(super) fn fib_lookup(cx: &ExecContext<'_>, params: BytesMut<'_>, flags: u32) -> i64 {
    /// `BPF_FIB_LOOKUP_*`
    const FLAGS: u32 = 0x3f;
    const SIZE: u64 = FibLookup::SIZE as u64;
    if params.len() < SIZE || flags & !FLAGS != 0 {
        return EINVAL;
    }
    let mut lookup = FibLookup(params.as_bytes().array(0));
    if !matches!(lookup.family(), AF_INET | AF_INET6) {
        return EAFNOSUPPORT;
    }
    if cx.environment.interface(lookup.ifindex()).is_none() {
        return ENODEV;
    }
    let before = lookup.clone();
    let mut result = cx.environment.fib_lookup(&mut lookup, flags);
    // For a socket buffer the length of the packet is compared with the MTU of the interface it leaves on.
    if result == fib::SUCCESS && cx.ctx.skb().is_some() && before.total_len() == 0 {
        let interface = cx.environment.interface(lookup.ifindex());
        let len = cx.ctx.frame().map_or(0, |frame| frame.len());
        if let Some(interface) = interface {
            lookup.set_mtu(u16::try_from(interface.mtu).unwrap_or(u16::MAX));
            if len > u64::from(interface.mtu) + u64::from(interface.header_len) {
                result = fib::FRAG_NEEDED;
            }
        }
    }
    if lookup != before {
        params.write(0, &lookup.0);
    }
    result
}

pub(super) fn check_mtu(
    cx: &ExecContext<'_>,
    ifindex: u32,
    mtu_len: BytesMut<'_>,
    difference: i32,
    flags: u64,
) -> i64 {
    /// `BPF_MTU_CHK_SEGS`: only for packets in segments, which there are none of here.
    const SEGMENTS: u64 = 1;
    const FRAG_NEEDED: i64 = 1;
    let xdp = cx.ctx.program_type() == ProgramType::Xdp;
    let given = u32::from_ne_bytes(mtu_len.as_bytes().array(0));
    let allowed = if xdp { 0 } else { SEGMENTS };
    if flags & !allowed != 0 || (flags & SEGMENTS != 0 && (difference != 0 || given != 0)) {
        return EINVAL;
    }
    let index = if ifindex == 0 { own_ifindex(cx) } else { ifindex };
    let Some(interface) = cx.environment.interface(index) else { return ENODEV };
    // The kernel counts with an `int`.
    let header = interface.header_len.cast_signed();
    let most = interface.mtu.cast_signed().wrapping_add(header);
    let len = match given {
        0 => cx.ctx.frame().map_or(0, |frame| frame.len()) as i32,
        len => len.cast_signed().wrapping_add(header),
    };
    mtu_len.write(0, &interface.mtu.to_ne_bytes());
    if len.wrapping_add(difference) > most { FRAG_NEEDED } else { 0 }
}
