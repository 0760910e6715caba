//! Checksums and redirects.
#![forbid(unsafe_code)]

use super::effects::Redirect;
use crate::abi::ExecContext;
use crate::ctx::ProgramType;
use crate::map::{Map, MapKind, redirect};
use crate::mem::Bytes;

const XDP_ABORTED: i64 = 0;
const XDP_REDIRECT: i64 = 4;
const TC_ACT_SHOT: i64 = 2;
const TC_ACT_REDIRECT: i64 = 7;

/// `BPF_F_INGRESS` of `bpf_redirect`.
const INGRESS: u64 = 1;
/// `BPF_F_BROADCAST | BPF_F_EXCLUDE_INGRESS` of `bpf_redirect_map`.
const BROADCAST: u64 = 8;
const EXCLUDE_INGRESS: u64 = 16;
/// Actions that `bpf_redirect_map` may return for a missing key.
const ACTIONS: u64 = 3;

pub(super) fn redirect(cx: &ExecContext<'_>, ifindex: u32, flags: u64) -> i64 {
    let xdp = cx.ctx.program_type() == ProgramType::Xdp;
    let (allowed, refused, accepted) =
        if xdp { (0, XDP_ABORTED, XDP_REDIRECT) } else { (INGRESS, TC_ACT_SHOT, TC_ACT_REDIRECT) };
    if flags & !allowed != 0 {
        return refused;
    }
    cx.effects.set_redirect(Some(Redirect::Interface { ifindex, flags }));
    accepted
}

pub(super) fn redirect_map(cx: &ExecContext<'_>, map: &dyn Map, key: u64, flags: u64) -> i64 {
    let broadcasts = matches!(map.def().kind, MapKind::Devmap | MapKind::DevmapHash);
    let allowed = ACTIONS | if broadcasts { BROADCAST | EXCLUDE_INGRESS } else { 0 };
    if flags & !allowed != 0 {
        return XDP_ABORTED;
    }
    // The kernel passes the key on as 32 bits.
    let target = redirect::target(map, key as u32);
    if target.is_none() && flags & BROADCAST == 0 {
        cx.effects.set_redirect(None);
        return (flags & ACTIONS).cast_signed();
    }
    // The map is a fat pointer: its data address identifies it among the program's maps.
    let this = std::ptr::from_ref(map).cast::<()>();
    let slot = cx.maps.iter().position(|handle| std::ptr::from_ref(&*handle.map).cast::<()>() == this);
    let slot = slot.and_then(|slot| u32::try_from(slot).ok());
    cx.effects.set_redirect(Some(Redirect::Map { slot, key, flags, target }));
    XDP_REDIRECT
}

/// Ones' complement sum of the 16-bit words of `bytes`, added to `sum`, in 32 bits.
fn partial(bytes: Bytes<'_>, sum: u32) -> u32 {
    let mut total = u64::from(sum);
    let mut at = 0;
    while at + 8 <= bytes.len() {
        let word = u64::from_le_bytes(bytes.array(at));
        // Two halves of 32 bits each: 2^32 such words would be needed to overflow the total.
        total += (word >> 32) + (word & 0xffff_ffff);
        at += 8;
    }
    // What is left counts as if zeros followed.
    let mut tail = [0; 8];
    bytes.read(at, &mut tail[..(bytes.len() - at) as usize]);
    let word = u64::from_le_bytes(tail);
    total += (word >> 32) + (word & 0xffff_ffff);
    // 2^32 is 1 modulo 0xffff_ffff; twice, because the first fold may carry.
    total = (total >> 32) + (total & 0xffff_ffff);
    ((total >> 32) + (total & 0xffff_ffff)) as u32
}

/// Sum with the carry added at the bottom.
pub(super) fn add(a: u32, b: u32) -> u32 {
    let (sum, carry) = a.overflowing_add(b);
    sum + u32::from(carry)
}

/// 32-bit sum folded to 16 bits.
pub(super) fn fold(sum: u32) -> i64 {
    let sum = (sum >> 16) + (sum & 0xffff);
    i64::from((sum >> 16) + (sum & 0xffff))
}

pub(super) fn csum_diff(_cx: &ExecContext<'_>, from: Bytes<'_>, to: Bytes<'_>, seed: u32) -> i64 {
    fold(match (from.is_empty(), to.is_empty()) {
        (false, false) => add(partial(to, seed), !partial(from, 0)),
        (true, false) => partial(to, seed),
        (false, true) => !partial(from, !seed),
        (true, true) => seed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_fold_the_carry_back() {
        let all = [0xff; 8];
        assert_eq!(fold(partial(Bytes::from(&all), 0)), 0xffff);
        assert_eq!(fold(partial(Bytes::from(&all), u32::MAX)), 0xffff);
        assert_eq!(add(u32::MAX, 1), 1);
        assert_eq!(fold(partial(Bytes::from(&[1, 2, 3, 4, 5, 6, 7, 8]), 0x10)), 0x1420);
    }
}
