//! VLAN tags: one beside the packet, as network cards keep it, the others in it.
#![forbid(unsafe_code)]

use super::errno::{EINVAL, ENOMEM};
use super::room;
use crate::abi::ExecContext;
use crate::ctx::{ETH_HLEN, ETH_P_802_2, ETH_P_802_3, ETH_P_802_3_MIN, Frame, Skb};

const ETH_P_8021Q: u16 = 0x8100;
const ETH_P_8021AD: u16 = 0x88a8;
/// Bytes of a tag in a packet.
const TAG: u64 = 4;
/// Bytes of the two link addresses.
const ADDRESSES: u64 = 12;

fn is_vlan(protocol: u16) -> bool {
    matches!(protocol, ETH_P_8021Q | ETH_P_8021AD)
}

pub(super) fn push(cx: &ExecContext<'_>, protocol: u32, tag: u32) -> i64 {
    let (Some(frame), Some(skb)) = (cx.ctx.frame(), cx.ctx.skb()) else { return EINVAL };
    let protocol = u16::from_be(protocol as u16);
    let protocol = if is_vlan(protocol) { protocol } else { ETH_P_8021Q };
    if let Some((before, tag)) = skb.vlan() {
        if let Err(errno) = insert(frame, skb, before, tag) {
            return errno;
        }
        skb.set_protocol(before);
    }
    skb.set_vlan(Some((protocol, tag as u16)));
    0
}

/// Writes the tag into the packet.
fn insert(frame: Frame<'_>, skb: Skb<'_>, protocol: u16, tag: u16) -> Result<(), i64> {
    room::open(frame, skb, ADDRESSES, TAG)?;
    skb.set_network(skb.network() - TAG);
    let place = frame.memory(frame.data() + ADDRESSES, TAG).ok_or(ENOMEM)?;
    place.write(0, &protocol.to_be_bytes());
    place.write(2, &tag.to_be_bytes());
    Ok(())
}

pub(super) fn pop(cx: &ExecContext<'_>) -> i64 {
    let (Some(frame), Some(skb)) = (cx.ctx.frame(), cx.ctx.skb()) else { return EINVAL };
    let pop = || {
        if skb.vlan().is_some() {
            skb.set_vlan(None);
        } else {
            if !is_vlan(skb.protocol()) {
                return Ok(());
            }
            remove(frame, skb)?;
        }
        // The next tag takes its place beside the packet.
        let protocol = skb.protocol();
        if is_vlan(protocol) {
            let tag = remove(frame, skb)?;
            skb.set_vlan(Some((protocol, tag)));
        }
        Ok(())
    };
    match pop() {
        Ok(()) => 0,
        Err(errno) => errno,
    }
}

/// Takes the outermost tag out of the packet.
fn remove(frame: Frame<'_>, skb: Skb<'_>) -> Result<u16, i64> {
    let header = frame.memory(frame.data(), ETH_HLEN + TAG).filter(|_| frame.len() >= ETH_HLEN + TAG);
    let header = header.ok_or(ENOMEM)?.as_bytes();
    let tag = u16::from_be_bytes(header.array(ETH_HLEN));
    let field = u16::from_be_bytes(header.array(ETH_HLEN + 2));
    let behind = frame.memory(frame.data() + ETH_HLEN + TAG, 2).map(|bytes| bytes.as_bytes().array(0));
    skb.set_protocol(match behind {
        _ if field >= ETH_P_802_3_MIN => field,
        Some([0xff, 0xff]) => ETH_P_802_3,
        Some(_) | None => ETH_P_802_2,
    });
    room::close(frame, skb, ADDRESSES, TAG)?;
    skb.set_network(skb.network().max(frame.data() + ETH_HLEN));
    Ok(tag)
}
