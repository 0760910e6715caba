//! XDP: `struct xdp_md` and the native structure behind it.
#![forbid(unsafe_code)]

use std::mem::offset_of;

use super::context::{Context, Entry, sealed::Sealed};
use super::packet::{BLOCK, Frame, Packet, word};
use super::{ContextLayout, CtxField, FieldKind, ProgramType, attach};
use crate::mem::{RegionKind, Regions};

/// What generated code reads for `struct xdp_md`: pointers at full width.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct XdpNative {
    /// First packet byte.
    pub data: u64,
    /// Past the last packet byte.
    pub data_end: u64,
    /// First metadata byte.
    pub data_meta: u64,
    /// Start of the headroom.
    pub data_hard_start: u64,
    /// End of the tailroom.
    pub data_hard_end: u64,
    /// Lowest address the packet had in this run.
    pub lowest: u64,
    /// Highest end the packet had in this run.
    pub highest: u64,
    /// 1 if helpers have moved the packet in this run.
    pub moved: u64,
    /// `ingress_ifindex`
    pub ingress_ifindex: u32,
    /// `rx_queue_index`
    pub rx_queue_index: u32,
    /// `egress_ifindex`
    pub egress_ifindex: u32,
    /// Unused.
    pub padding: u32,
}

const _: () = {
    assert!(offset_of!(XdpNative, data) as u64 == word::DATA);
    assert!(offset_of!(XdpNative, data_end) as u64 == word::DATA_END);
    assert!(offset_of!(XdpNative, data_meta) as u64 == word::DATA_META);
    assert!(offset_of!(XdpNative, data_hard_start) as u64 == word::HARD_START);
    assert!(offset_of!(XdpNative, data_hard_end) as u64 == word::HARD_END);
    assert!(offset_of!(XdpNative, lowest) as u64 == word::LOWEST);
    assert!(offset_of!(XdpNative, highest) as u64 == word::HIGHEST);
    // `enter` stores these as two words.
    assert!(offset_of!(XdpNative, ingress_ifindex).is_multiple_of(8));
    assert!(offset_of!(XdpNative, rx_queue_index) == offset_of!(XdpNative, ingress_ifindex) + 4);
    assert!(offset_of!(XdpNative, egress_ifindex) == offset_of!(XdpNative, ingress_ifindex) + 8);
    assert!(offset_of!(XdpNative, padding) == offset_of!(XdpNative, ingress_ifindex) + 12);
    assert!(offset_of!(XdpNative, moved) as u64 == word::MOVED);
    assert!(size_of::<XdpNative>() as u64 <= BLOCK);
};

/// A 32-bit field, read in whole (the kernel allows no narrower reads of `xdp_md`).
const fn number(name: &'static str, offset: u16, native_offset: usize) -> CtxField {
    CtxField { native_offset: native_offset as u16, ..CtxField::new(name, offset, 4).whole() }
}

const DATA: CtxField =
    CtxField::new("data", 0, 4).pointer(FieldKind::PacketData, offset_of!(XdpNative, data));
const DATA_END: CtxField =
    CtxField::new("data_end", 4, 4).pointer(FieldKind::PacketEnd, offset_of!(XdpNative, data_end));
const DATA_META: CtxField =
    CtxField::new("data_meta", 8, 4).pointer(FieldKind::PacketMeta, offset_of!(XdpNative, data_meta));
const INGRESS: CtxField = number("ingress_ifindex", 12, offset_of!(XdpNative, ingress_ifindex));
const RX_QUEUE: CtxField = number("rx_queue_index", 16, offset_of!(XdpNative, rx_queue_index));
const EGRESS: CtxField = number("egress_ifindex", 20, offset_of!(XdpNative, egress_ifindex));

/// Layout for `expected_attach_type`: `egress_ifindex` exists behind a devmap only.
pub(super) const fn layout(attach_type: u32) -> ContextLayout {
    const PLAIN: &[CtxField] = &[DATA, DATA_END, DATA_META, INGRESS, RX_QUEUE];
    const DEVMAP: &[CtxField] = &[DATA, DATA_END, DATA_META, INGRESS, RX_QUEUE, EGRESS];
    ContextLayout::Fields {
        name: "xdp_md",
        size: 24,
        native_size: size_of::<XdpNative>() as u16,
        fields: if attach_type == attach::XDP_DEVMAP { DEVMAP } else { PLAIN },
    }
}

/// An XDP run over a packet.
#[derive(Debug)]
pub struct XdpContext<'p> {
    packet: &'p mut Packet,
    /// Interface the packet came in on. 0, as in the kernel's test run, stands for loopback: programs read 1.
    pub ingress_ifindex: u32,
    /// Queue it came in on.
    pub rx_queue_index: u32,
    /// Interface it leaves on (programs behind a devmap).
    pub egress_ifindex: u32,
}

impl<'p> XdpContext<'p> {
    /// A run over `packet` as the kernel's test run would do it.
    #[must_use]
    pub fn new(packet: &'p mut Packet) -> Self {
        Self { packet, ingress_ifindex: 0, rx_queue_index: 0, egress_ifindex: 0 }
    }

    /// The packet.
    #[must_use]
    pub fn packet(&mut self) -> &mut Packet {
        self.packet
    }
}

impl Sealed for XdpContext<'_> {}

impl Context for XdpContext<'_> {
    fn program_type(&self) -> ProgramType {
        ProgramType::Xdp
    }

    #[inline]
    fn accepts(&self, program_type: ProgramType, _attach_type: u32) -> bool {
        program_type == ProgramType::Xdp
    }

    #[inline]
    fn enter(&mut self) -> Entry {
        self.packet.enter();
        let block = self.packet.block();
        let ingress = if self.ingress_ifindex == 0 { 1 } else { self.ingress_ifindex };
        let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        // In the order of `XdpNative`.
        block.store_words(
            offset_of!(XdpNative, ingress_ifindex) as u64,
            [pair(ingress, self.rx_queue_index), pair(self.egress_ifindex, 0)],
        );
        Entry { r1: block.address(), r2: 0 }
    }

    fn regions<'a>(&'a self, regions: &mut Regions<'a>) {
        let block = self.packet.block();
        regions.add_part(RegionKind::Context, block, size_of::<XdpNative>() as u64);
        regions.add_packet(self.packet.buffer(), block, word::DATA_META, word::DATA_END);
    }

    fn frame(&self) -> Option<Frame<'_>> {
        Some(self.packet.frame())
    }

    fn packet_mut(&mut self) -> Option<&mut Packet> {
        Some(self.packet)
    }

    fn ifindex(&self) -> u32 {
        self.ingress_ifindex
    }

    fn set_uapi(&mut self, bytes: &[u8]) {
        let fields =
            [(12, &mut self.ingress_ifindex), (16, &mut self.rx_queue_index), (20, &mut self.egress_ifindex)];
        for (offset, field) in fields {
            if let Some(&word) = bytes.get(offset..).and_then(<[u8]>::first_chunk) {
                *field = u32::from_le_bytes(word);
            }
        }
    }

    fn uapi(&self, out: &mut Vec<u8>) {
        let meta = self.packet.meta_len() as u32;
        let end = meta + self.packet.len() as u32;
        out.clear();
        for field in [meta, end, 0, self.ingress_ifindex, self.rx_queue_index, self.egress_ifindex] {
            out.extend_from_slice(&field.to_le_bytes());
        }
    }
}
