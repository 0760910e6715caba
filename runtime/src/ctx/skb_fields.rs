//! `struct __sk_buff`: its native structure, and the access rules of each type that has it as context.
#![forbid(unsafe_code)]

use std::mem::offset_of;

use super::packet::{BLOCK, word};
use super::{ContextLayout, CtxField, FieldKind, Parts, ProgramType};

/// UAPI size of `struct __sk_buff`.
pub(super) const UAPI: usize = 192;

/// What generated code reads for `struct __sk_buff`: the packet's place at full width, then the UAPI structure
/// (numbers at their UAPI distances), then the object pointers.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct SkbNative {
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
    /// `struct __sk_buff` as programs see it, without its pointers.
    pub uapi: [u8; UAPI],
    /// `sk`: always null, user space has no socket.
    pub sk: u64,
    /// Address of `flow_keys`.
    pub flow_keys: u64,
    /// Address of the network header.
    pub network: u64,
    /// Layers whose checksums are known to be right.
    pub checksums: u32,
    /// Bits of `skb_state`.
    pub state: u32,
}

const _: () = {
    assert!(offset_of!(SkbNative, data_hard_start) as u64 == word::HARD_START);
    assert!(offset_of!(SkbNative, highest) as u64 == word::HIGHEST);
    assert!(offset_of!(SkbNative, moved) as u64 == word::MOVED);
    assert!(size_of::<SkbNative>() as u64 <= BLOCK);
    // `enter` stores these as four words.
    assert!(offset_of!(SkbNative, flow_keys) == offset_of!(SkbNative, sk) + 8);
    assert!(offset_of!(SkbNative, network) == offset_of!(SkbNative, sk) + 16);
    assert!(offset_of!(SkbNative, checksums) == offset_of!(SkbNative, sk) + 24);
    assert!(offset_of!(SkbNative, state) == offset_of!(SkbNative, sk) + 28);
};

/// Native offset of the UAPI structure.
pub(super) const BASE: u16 = offset_of!(SkbNative, uapi) as u16;

const fn at(field: CtxField) -> CtxField {
    CtxField { native_offset: field.native_offset + BASE, ..field }
}
const fn number(name: &'static str, offset: u16) -> CtxField {
    at(CtxField::new(name, offset, 4))
}

pub(super) const LEN: CtxField = number("len", 0);
pub(super) const PKT_TYPE: CtxField = number("pkt_type", 4);
const MARK: CtxField = number("mark", 8);
const QUEUE_MAPPING: CtxField = number("queue_mapping", 12);
pub(super) const PROTOCOL: CtxField = number("protocol", 16);
const VLAN_PRESENT: CtxField = number("vlan_present", 20);
const VLAN_TCI: CtxField = number("vlan_tci", 24);
const VLAN_PROTO: CtxField = number("vlan_proto", 28);
const PRIORITY: CtxField = number("priority", 32);
const INGRESS_IFINDEX: CtxField = number("ingress_ifindex", 36);
pub(super) const IFINDEX: CtxField = number("ifindex", 40);
const TC_INDEX: CtxField = number("tc_index", 44);
/// Any aligned access of up to 8 bytes inside the five words.
const CB: CtxField = at(CtxField::new("cb", 48, 20).written_as(Parts::Aligned { min: 1, max: 8 }));
const CB_READ: CtxField = at(CtxField::new("cb", 48, 20));
const HASH: CtxField = number("hash", 68);
const TC_CLASSID: CtxField = number("tc_classid", 72);
const DATA: CtxField =
    CtxField::new("data", 76, 4).pointer(FieldKind::PacketData, offset_of!(SkbNative, data));
const DATA_END: CtxField =
    CtxField::new("data_end", 80, 4).pointer(FieldKind::PacketEnd, offset_of!(SkbNative, data_end));
const NAPI_ID: CtxField = number("napi_id", 84);
pub(super) const FAMILY: CtxField = number("family", 88);
const REMOTE_IP4: CtxField = number("remote_ip4", 92).whole();
const LOCAL_IP4: CtxField = number("local_ip4", 96).whole();
const REMOTE_IP6: CtxField = at(CtxField::new("remote_ip6", 100, 16).whole());
const LOCAL_IP6: CtxField = at(CtxField::new("local_ip6", 116, 16).whole());
const REMOTE_PORT: CtxField = number("remote_port", 132);
const LOCAL_PORT: CtxField = number("local_port", 136);
const DATA_META: CtxField =
    CtxField::new("data_meta", 140, 4).pointer(FieldKind::PacketMeta, offset_of!(SkbNative, data_meta));
const FLOW_KEYS: CtxField = CtxField::new("flow_keys", 144, 8)
    .pointer(FieldKind::Object { name: "flow_keys", nullable: false }, offset_of!(SkbNative, flow_keys));
const TSTAMP: CtxField = at(CtxField::new("tstamp", 152, 8).whole());
pub(super) const WIRE_LEN: CtxField = number("wire_len", 160);
const GSO_SEGS: CtxField = number("gso_segs", 164);
const SK: CtxField = CtxField::new("sk", 168, 8)
    .pointer(FieldKind::Object { name: "sock_common", nullable: true }, offset_of!(SkbNative, sk));
const GSO_SIZE: CtxField = number("gso_size", 176);
const TSTAMP_TYPE: CtxField = at(CtxField::new("tstamp_type", 180, 1));
const HWTSTAMP: CtxField = at(CtxField::new("hwtstamp", 184, 8).whole());

const SOCKET_FILTER: &[CtxField] = &[
    LEN,
    PKT_TYPE,
    MARK,
    QUEUE_MAPPING,
    PROTOCOL,
    VLAN_PRESENT,
    VLAN_TCI,
    VLAN_PROTO,
    PRIORITY,
    INGRESS_IFINDEX,
    IFINDEX,
    TC_INDEX,
    CB,
    HASH,
    NAPI_ID,
    GSO_SEGS,
    SK,
    GSO_SIZE,
];
pub(super) const CGROUP_SKB: &[CtxField] = &[
    LEN,
    PKT_TYPE,
    MARK.writable(),
    QUEUE_MAPPING,
    PROTOCOL,
    VLAN_PRESENT,
    VLAN_TCI,
    VLAN_PROTO,
    PRIORITY.writable(),
    INGRESS_IFINDEX,
    IFINDEX,
    TC_INDEX,
    CB,
    HASH,
    DATA,
    DATA_END,
    NAPI_ID,
    FAMILY,
    REMOTE_IP4,
    LOCAL_IP4,
    REMOTE_IP6,
    LOCAL_IP6,
    REMOTE_PORT,
    LOCAL_PORT,
    TSTAMP.writable(),
    GSO_SEGS,
    SK,
    GSO_SIZE,
    HWTSTAMP,
];
const LWT: &[CtxField] = &[
    LEN,
    PKT_TYPE,
    MARK.writable(),
    QUEUE_MAPPING,
    PROTOCOL,
    VLAN_PRESENT,
    VLAN_TCI,
    VLAN_PROTO,
    PRIORITY.writable(),
    INGRESS_IFINDEX,
    IFINDEX,
    TC_INDEX,
    CB,
    HASH,
    DATA,
    DATA_END,
    NAPI_ID,
    GSO_SEGS,
    SK,
    GSO_SIZE,
];
pub(super) const TC: &[CtxField] = &[
    LEN,
    PKT_TYPE,
    MARK.writable(),
    QUEUE_MAPPING.writable(),
    PROTOCOL,
    VLAN_PRESENT,
    VLAN_TCI,
    VLAN_PROTO,
    PRIORITY.writable(),
    INGRESS_IFINDEX,
    IFINDEX,
    TC_INDEX.writable(),
    CB,
    HASH,
    TC_CLASSID.writable(),
    DATA,
    DATA_END,
    NAPI_ID,
    DATA_META,
    TSTAMP.writable(),
    WIRE_LEN,
    GSO_SEGS,
    SK,
    GSO_SIZE,
    TSTAMP_TYPE,
    HWTSTAMP,
];
const SK_SKB: &[CtxField] = &[
    LEN,
    PKT_TYPE,
    QUEUE_MAPPING,
    PROTOCOL,
    VLAN_PRESENT,
    VLAN_TCI,
    VLAN_PROTO,
    PRIORITY.writable(),
    INGRESS_IFINDEX,
    IFINDEX,
    TC_INDEX.writable(),
    CB_READ,
    HASH,
    DATA,
    DATA_END,
    NAPI_ID,
    FAMILY,
    REMOTE_IP4,
    LOCAL_IP4,
    REMOTE_IP6,
    LOCAL_IP6,
    REMOTE_PORT,
    LOCAL_PORT,
    GSO_SEGS,
    SK,
    GSO_SIZE,
];
const FLOW_DISSECTOR: &[CtxField] = &[DATA, DATA_END, FLOW_KEYS];

/// Layout of a type whose context is `__sk_buff`; `None` for others.
pub(super) const fn layout(program_type: ProgramType) -> Option<ContextLayout> {
    use ProgramType::{
        CgroupSkb, FlowDissector, LwtIn, LwtOut, LwtSeg6local, LwtXmit, SchedAct, SchedCls, SkSkb,
        SocketFilter,
    };
    let fields = match program_type {
        SocketFilter => SOCKET_FILTER,
        CgroupSkb => CGROUP_SKB,
        LwtIn | LwtOut | LwtXmit | LwtSeg6local => LWT,
        SchedCls | SchedAct => TC,
        SkSkb => SK_SKB,
        FlowDissector => FLOW_DISSECTOR,
        _ => return None,
    };
    let native_size = size_of::<SkbNative>() as u16;
    Some(ContextLayout::Fields { name: "__sk_buff", size: UAPI as u16, native_size, fields })
}
