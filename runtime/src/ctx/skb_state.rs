//! What helpers read and change of a socket buffer during a run, beside its bytes.
//!
//! In: the native structure. Numbers lie where programs read them (`skb_fields`); what programs cannot see has words of
//! its own behind them. Not here: the packet's place (`packet`).
#![forbid(unsafe_code)]

use std::mem::offset_of;

use super::skb_fields::{BASE, SkbNative};
use crate::mem::{Slab, WordSize};

pub(crate) const ETH_P_802_3: u16 = 1;
pub(crate) const ETH_P_802_2: u16 = 4;
pub(crate) const ETH_P_IP: u16 = 0x0800;
pub(crate) const ETH_P_IPV6: u16 = 0x86dd;
/// Smaller numbers in the type field are lengths.
pub(crate) const ETH_P_802_3_MIN: u16 = 0x0600;

/// Offsets of numbers in `struct __sk_buff`.
pub(crate) mod skb_word {
    pub(crate) const LEN: u64 = 0;
    pub(crate) const PKT_TYPE: u64 = 4;
    pub(crate) const PROTOCOL: u64 = 16;
    pub(crate) const VLAN_PRESENT: u64 = 20;
    pub(crate) const VLAN_TCI: u64 = 24;
    pub(crate) const VLAN_PROTO: u64 = 28;
    pub(crate) const IFINDEX: u64 = 40;
    pub(crate) const HASH: u64 = 68;
    pub(crate) const TSTAMP: u64 = 152;
    pub(crate) const TSTAMP_TYPE: u64 = 180;
}

/// Bits of [`SkbNative::state`].
const HASH_KNOWN: u32 = 1;
const ENCAPSULATED: u32 = 1 << 1;

/// A socket buffer during a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Skb<'a> {
    block: &'a Slab,
}

impl<'a> Skb<'a> {
    pub(super) fn new(block: &'a Slab) -> Self {
        Self { block }
    }

    /// A 32-bit number by its offset in `struct __sk_buff`.
    pub(crate) fn number(self, at: u64) -> u32 {
        self.block.load(u64::from(BASE) + at, WordSize::B4) as u32
    }

    pub(crate) fn set_number(self, at: u64, value: u32) {
        self.block.store(u64::from(BASE) + at, WordSize::B4, u64::from(value));
    }

    /// Protocol of the packet, in the order of this machine.
    pub(crate) fn protocol(self) -> u16 {
        u16::from_be(self.number(skb_word::PROTOCOL) as u16)
    }

    pub(crate) fn set_protocol(self, protocol: u16) {
        self.set_number(skb_word::PROTOCOL, u32::from(protocol.to_be()));
    }

    /// Protocol and number of the tag beside the packet.
    pub(crate) fn vlan(self) -> Option<(u16, u16)> {
        let protocol = u16::from_be(self.number(skb_word::VLAN_PROTO) as u16);
        (self.number(skb_word::VLAN_PRESENT) != 0).then(|| (protocol, self.number(skb_word::VLAN_TCI) as u16))
    }

    pub(crate) fn set_vlan(self, tag: Option<(u16, u16)>) {
        let (protocol, number) = tag.unwrap_or_default();
        self.set_number(skb_word::VLAN_PRESENT, u32::from(tag.is_some()));
        self.set_number(skb_word::VLAN_PROTO, u32::from(protocol.to_be()));
        self.set_number(skb_word::VLAN_TCI, u32::from(number));
    }

    /// Whether `hash` means something: somebody set it.
    pub(crate) fn knows_hash(self) -> bool {
        self.state() & HASH_KNOWN != 0 || self.number(skb_word::HASH) != 0
    }

    pub(crate) fn set_hash(self, hash: u32) {
        self.set_number(skb_word::HASH, hash);
        self.set_state(self.state() | HASH_KNOWN);
    }

    pub(crate) fn forget_hash(self) {
        self.set_number(skb_word::HASH, 0);
        self.set_state(self.state() & !HASH_KNOWN);
    }

    /// Whether a helper has put another header around the packet.
    pub(crate) fn is_encapsulated(self) -> bool {
        self.state() & ENCAPSULATED != 0
    }

    pub(crate) fn set_encapsulated(self) {
        self.set_state(self.state() | ENCAPSULATED);
    }

    /// Layers whose checksums are known to be right.
    pub(crate) fn checksums(self) -> u32 {
        self.block.load(offset_of!(SkbNative, checksums) as u64, WordSize::B4) as u32
    }

    pub(crate) fn set_checksums(self, layers: u32) {
        self.block.store(offset_of!(SkbNative, checksums) as u64, WordSize::B4, u64::from(layers));
    }

    /// Address of the network header.
    pub(crate) fn network(self) -> u64 {
        self.block.load(offset_of!(SkbNative, network) as u64, WordSize::B8)
    }

    pub(crate) fn set_network(self, address: u64) {
        self.block.store(offset_of!(SkbNative, network) as u64, WordSize::B8, address);
    }

    pub(crate) fn set_time(self, time: u64, kind: u8) {
        self.block.store(u64::from(BASE) + skb_word::TSTAMP, WordSize::B8, time);
        self.block.store(u64::from(BASE) + skb_word::TSTAMP_TYPE, WordSize::B1, u64::from(kind));
    }

    fn state(self) -> u32 {
        self.block.load(offset_of!(SkbNative, state) as u64, WordSize::B4) as u32
    }

    fn set_state(self, state: u32) {
        self.block.store(offset_of!(SkbNative, state) as u64, WordSize::B4, u64::from(state));
    }
}

/// Tunnel metadata: what a tunnel took off the packet, or is to put around it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tunnel {
    /// The outer header; without one there is no tunnel.
    pub key: Option<TunnelKey>,
    /// Options of the tunnel's header.
    pub options: Vec<u8>,
}

/// The outer header of a tunnel.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TunnelKey {
    /// Network identifier.
    pub id: u64,
    /// Whether addresses are of IPv6.
    pub v6: bool,
    /// Source of the outer header, as on the wire; the first four bytes for IPv4.
    pub source: [u8; 16],
    /// Its destination.
    pub destination: [u8; 16],
    /// Type of service.
    pub tos: u8,
    /// Time to live.
    pub ttl: u8,
    /// Flow label.
    pub label: u32,
    /// [`tunnel_flags`]
    pub flags: u16,
    /// To be put around the packet, not taken off it.
    pub transmit: bool,
}

/// Bits of [`TunnelKey::flags`] (`TUNNEL_*`).
pub mod tunnel_flags {
    /// With a checksum.
    pub const CHECKSUM: u16 = 1;
    /// With an identifier.
    pub const KEY: u16 = 1 << 2;
    /// With a sequence number.
    pub const SEQUENCE: u16 = 1 << 3;
    /// Not to be fragmented.
    pub const DONT_FRAGMENT: u16 = 1 << 8;
    /// Its route is not remembered.
    pub const NO_CACHE: u16 = 1 << 13;
}
