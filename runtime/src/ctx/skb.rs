//! Runs over a packet as a socket buffer.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::mem::offset_of;

use super::context::{Context, Entry, sealed::Sealed};
use super::packet::{ETH_HLEN as ETHERNET, Frame, Packet, word};
use super::skb_fields::{
    BASE, CGROUP_SKB, FAMILY, IFINDEX, LEN, PKT_TYPE, PROTOCOL, SkbNative, TC, UAPI, WIRE_LEN, layout,
};
use super::skb_state::{ETH_P_802_2, ETH_P_802_3, ETH_P_802_3_MIN, ETH_P_IP, ETH_P_IPV6, Skb, skb_word};
use super::{CtxField, FieldKind, ProgramType, Tunnel};
use crate::mem::{RegionKind, Regions};

/// Offset and size of the fields that the kernel's test run carries over; it leaves the others zero.
const SHOWN: [(usize, usize); 10] =
    [(8, 4), (32, 4), (36, 4), (40, 4), (48, 20), (152, 8), (160, 4), (164, 4), (176, 4), (184, 8)];

/// Bytes of an Ethernet header.
const ETH_HLEN: usize = ETHERNET as usize;

/// A run over an Ethernet frame as a socket buffer.
///
/// Fields are what the kernel's test run sets: the frame came in on loopback. `sk` is null here and a socket of
/// nobody there.
#[derive(Debug)]
pub struct SkbContext<'p> {
    packet: &'p mut Packet,
    program_type: ProgramType,
    /// `struct __sk_buff` without pointers, as the program finds it.
    uapi: [u8; UAPI],
    /// Whether the native structure is newer than `uapi`.
    entered: bool,
    tunnel: RefCell<Tunnel>,
}

impl<'p> SkbContext<'p> {
    /// A run of a program of `program_type` over `packet`, an Ethernet frame. Types of layer 3 (all but
    /// `sched_cls` and `sched_act`) see it without its Ethernet header, which is in the packet again afterwards.
    #[must_use]
    pub fn new(packet: &'p mut Packet, program_type: ProgramType) -> Self {
        let mut context =
            Self { packet, program_type, uapi: [0; UAPI], entered: false, tunnel: RefCell::default() };
        context.describe();
        context
    }

    /// Sets a number by its UAPI name (`mark`, `priority`, `tstamp`, …); `false` if there is none of that name.
    pub fn set_field(&mut self, name: &str, value: u64) -> bool {
        let field = TC
            .iter()
            .chain(CGROUP_SKB)
            .find(|field| field.name == name && field.size <= 8 && field.kind == FieldKind::Scalar);
        let Some(&field) = field else { return false };
        self.take_over();
        self.set(field, value);
        true
    }

    /// Sets `cb[0..5]`.
    pub fn set_cb(&mut self, cb: &[u8; 20]) {
        self.take_over();
        self.uapi[48..68].copy_from_slice(cb);
    }

    /// Tunnel metadata: what the packet came with, and after a run what the program set.
    #[must_use]
    pub fn tunnel_mut(&mut self) -> &mut Tunnel {
        self.tunnel.get_mut()
    }

    /// The frame.
    #[must_use]
    pub fn packet(&mut self) -> &mut Packet {
        self.packet
    }

    /// Bytes of the frame that the program does not see.
    const fn hidden(&self) -> u64 {
        match self.program_type {
            ProgramType::SchedCls | ProgramType::SchedAct => 0,
            _ => ETHERNET,
        }
    }

    /// What the kernel finds out about a frame.
    fn describe(&mut self) {
        let hidden = self.hidden();
        let bytes = self.packet.bytes();
        let len = bytes.len() as u64;
        let protocol = protocol(bytes);
        let kind = packet_type(bytes);
        let mut head = [0; 40];
        let behind = bytes.get(ETH_HLEN..).unwrap_or_default();
        let known = behind.len().min(head.len());
        head[..known].copy_from_slice(&behind[..known]);
        let len = len - hidden.min(len);
        self.set(LEN, len);
        self.set(WIRE_LEN, len);
        self.set(PKT_TYPE, kind);
        // Network byte order in a 32-bit field, as programs compare it.
        self.set(PROTOCOL, u64::from(protocol.to_be()));
        self.set(IFINDEX, LOOPBACK);
        // The socket of the test run: addresses as the packet has them.
        match (protocol, known) {
            (ETH_P_IP, _) => {
                self.set(FAMILY, AF_INET);
                if known >= 20 {
                    self.uapi[92..96].copy_from_slice(&head[16..20]);
                    self.uapi[96..100].copy_from_slice(&head[12..16]);
                }
            }
            (ETH_P_IPV6, _) => {
                self.set(FAMILY, AF_INET6);
                if known >= 40 {
                    self.uapi[100..116].copy_from_slice(&head[24..40]);
                    self.uapi[116..132].copy_from_slice(&head[8..24]);
                }
            }
            _ => {}
        }
    }

    /// Takes over what the last run left in the native structure.
    fn take_over(&mut self) {
        if std::mem::take(&mut self.entered) {
            self.packet.block().read(u64::from(BASE), &mut self.uapi);
        }
    }

    fn set(&mut self, field: CtxField, value: u64) {
        let (at, len) = (usize::from(field.offset), usize::from(field.size));
        self.uapi[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
    }
}

const LOOPBACK: u64 = 1;
const AF_INET: u64 = 2;
const AF_INET6: u64 = 10;

/// The protocol of a frame, in host byte order.
fn protocol(frame: &[u8]) -> u16 {
    let Some(&[high, low]) = frame.get(12..14).and_then(<[u8]>::first_chunk) else { return 0 };
    let field = u16::from_be_bytes([high, low]);
    if field >= ETH_P_802_3_MIN {
        return field;
    }
    // Old IPX has all ones where an 802.2 header would be.
    if frame.get(14..16) == Some(&[0xff, 0xff]) { ETH_P_802_3 } else { ETH_P_802_2 }
}

/// `pkt_type` of a frame that came in on loopback, whose address is all zeros.
fn packet_type(frame: &[u8]) -> u64 {
    const HOST: u64 = 0;
    const MULTICAST: u64 = 2;
    const OTHER_HOST: u64 = 3;
    match frame.get(..6) {
        Some([0, 0, 0, 0, 0, 0]) | None => HOST,
        Some(address) if address[0] & 1 != 0 => MULTICAST,
        Some(_) => OTHER_HOST,
    }
}

impl Sealed for SkbContext<'_> {}

impl Context for SkbContext<'_> {
    fn program_type(&self) -> ProgramType {
        self.program_type
    }

    fn accepts(&self, program_type: ProgramType, _attach_type: u32) -> bool {
        // `flow_keys` must not be null, and a plain socket buffer has none; `sk_skb` sees no frame but a stream.
        program_type == self.program_type
            && !matches!(program_type, ProgramType::FlowDissector | ProgramType::SkSkb)
            && layout(program_type).is_some()
    }

    fn enter(&mut self) -> Entry {
        self.take_over();
        self.packet.enter_behind(self.hidden());
        let block = self.packet.block();
        block.write(u64::from(BASE), &self.uapi);
        let network = self.packet.frame().data() + ETHERNET - self.hidden();
        // From `sk` on; no pointer leads anywhere, nothing is known of checksums.
        block.store_words(offset_of!(SkbNative, sk) as u64, [0, 0, network, 0]);
        self.entered = true;
        Entry { r1: block.address(), r2: 0 }
    }

    fn regions<'a>(&'a self, regions: &mut Regions<'a>) {
        let block = self.packet.block();
        regions.add_part(RegionKind::Context, block, size_of::<SkbNative>() as u64);
        regions.add_packet(self.packet.buffer(), block, word::DATA_META, word::DATA_END);
    }

    fn frame(&self) -> Option<Frame<'_>> {
        Some(self.packet.frame())
    }

    fn packet_mut(&mut self) -> Option<&mut Packet> {
        Some(self.packet)
    }

    #[expect(private_interfaces, reason = "for helpers of this crate; the trait is sealed")]
    fn skb(&self) -> Option<Skb<'_>> {
        Some(Skb::new(self.packet.block()))
    }

    fn tunnel(&self) -> Option<&RefCell<Tunnel>> {
        Some(&self.tunnel)
    }

    fn ifindex(&self) -> u32 {
        Skb::new(self.packet.block()).number(skb_word::IFINDEX)
    }

    fn set_uapi(&mut self, bytes: &[u8]) {
        self.take_over();
        for (at, len) in SHOWN {
            // Zero stands for what the test run finds out itself.
            let found_out = matches!(at, 40 | 160);
            if let Some(given) = bytes.get(at..at + len)
                && !(found_out && given.iter().all(|&byte| byte == 0))
            {
                self.uapi[at..at + len].copy_from_slice(given);
            }
        }
    }

    fn uapi(&self, out: &mut Vec<u8>) {
        out.clear();
        out.resize(UAPI, 0);
        for (at, len) in SHOWN {
            if self.entered {
                self.packet.block().read(u64::from(BASE) + at as u64, &mut out[at..at + len]);
            } else {
                out[at..at + len].copy_from_slice(&self.uapi[at..at + len]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::WordSize;

    /// An IPv4 header in an Ethernet frame of 60 bytes.
    fn frame() -> Vec<u8> {
        let mut frame: Vec<u8> = (0..12).collect();
        frame.extend([8, 0, 0x45, 0, 0, 0x28, 0, 1, 0, 0, 0x40, 6, 0, 0, 192, 168, 0, 1, 192, 168, 0, 2]);
        frame.resize(60, 0);
        frame
    }

    /// Nonzero 32-bit words of what the program sees.
    fn seen(context: &SkbContext<'_>) -> Vec<(u64, u32)> {
        let block = context.packet.block();
        let word = |at| block.load(u64::from(BASE) + at, WordSize::B4) as u32;
        (0..UAPI as u64).step_by(4).map(|at| (at, word(at))).filter(|&(_, word)| word != 0).collect()
    }

    #[test]
    fn fields_are_what_the_kernels_test_run_sets() {
        let mut packet = Packet::new(0).unwrap();
        // Fields of `cgroup_skb`, then of `sched_cls`, by offset.
        let layer3 =
            [(0, 46), (4, 3), (16, 8), (40, 1), (88, 2), (92, 0x0200_a8c0), (96, 0x0100_a8c0), (160, 46)];
        let layer2 =
            [(0, 60), (4, 3), (16, 8), (40, 1), (88, 2), (92, 0x0200_a8c0), (96, 0x0100_a8c0), (160, 60)];
        for (program_type, expect) in [(ProgramType::CgroupSkb, layer3), (ProgramType::SchedCls, layer2)] {
            packet.set(&frame()).unwrap();
            let mut context = SkbContext::new(&mut packet, program_type);
            context.enter();
            assert_eq!(seen(&context), expect);
            let view = context.frame().unwrap();
            assert_eq!(view.len(), u64::from(expect[0].1));
            assert_eq!(context.packet().bytes(), frame(), "the whole frame comes back");
        }
    }

    #[test]
    fn kinds_of_frames_are_told_apart() {
        let cases: [(&[u8], u64, u16); 5] = [
            (&[0; 6], 0, 0x8100),
            (&[0xff; 6], 2, 0x0800),
            (&[1, 0, 0, 0, 0, 0], 2, 0x0806),
            (&[2, 0, 0, 0, 0, 0], 3, 0x86dd),
            (&[2, 0, 0, 0, 0, 1], 3, 0x05ff),
        ];
        for (destination, kind, field) in cases {
            let mut frame = [destination, &[0; 6], &field.to_be_bytes(), &[0; 46]].concat();
            assert_eq!(packet_type(&frame), kind);
            let expect = if field < 0x600 { ETH_P_802_2 } else { field };
            assert_eq!(protocol(&frame), expect);
            frame[14..16].fill(0xff);
            assert_eq!(protocol(&frame), if field < 0x600 { ETH_P_802_3 } else { field });
        }
        assert_eq!((protocol(&[]), packet_type(&[])), (0, 0));
    }

    #[test]
    fn what_a_program_writes_is_seen_after_the_run_and_kept_for_the_next() {
        let mut packet = Packet::new(0).unwrap();
        packet.set(&frame()).unwrap();
        let mut context = SkbContext::new(&mut packet, ProgramType::SchedCls);
        assert!(context.set_field("mark", 5) && context.set_field("tstamp", 1 << 40));
        assert!(!context.set_field("data", 5) && !context.set_field("nothing", 5));
        context.enter();
        context.packet.block().store(u64::from(BASE) + 8, WordSize::B4, 0x55);
        // Looking at the packet first must not lose the context.
        assert_eq!(context.packet().len(), 60);
        let mut uapi = Vec::new();
        context.uapi(&mut uapi);
        assert_eq!((uapi[8], uapi[40], uapi[157], uapi[160]), (0x55, 1, 1, 60));
        assert!(context.set_field("priority", 6));
        context.uapi(&mut uapi);
        assert_eq!((uapi[8], uapi[32]), (0x55, 6));
    }
}
