//! Contexts of the socket and cgroup types.
#![forbid(unsafe_code)]

use super::{ContextLayout, CtxField, FieldKind, Parts, ProgramType, attach};

const fn number(name: &'static str, offset: u16) -> CtxField {
    CtxField::new(name, offset, 4)
}

/// Reads of up to a word that begin where the field does.
const START: Parts = Parts::Start { max: 4 };
/// Whole words of 4 or, where aligned, 8 bytes.
const LONG: Parts = Parts::Aligned { min: 4, max: 8 };

/// A pointer to a socket or null; its native place is its UAPI place.
const fn socket(name: &'static str, offset: u16, object: &'static str, nullable: bool) -> CtxField {
    CtxField::new(name, offset, 8).pointer(FieldKind::Object { name: object, nullable }, offset as usize)
}

/// A start or end pointer of bytes that user space has no run for yet.
const fn bytes(name: &'static str, offset: u16, kind: FieldKind) -> CtxField {
    CtxField::new(name, offset, 8).pointer(kind, offset as usize)
}

const SOCK_OPS: &[CtxField] = &[
    number("op", 0).whole(),
    number("reply", 4).writable().whole(),
    CtxField::new("args", 8, 12).whole(),
    number("family", 20).whole(),
    number("remote_ip4", 24).whole(),
    number("local_ip4", 28).whole(),
    CtxField::new("remote_ip6", 32, 16).whole(),
    CtxField::new("local_ip6", 48, 16).whole(),
    number("remote_port", 64).whole(),
    number("local_port", 68).whole(),
    number("is_fullsock", 72).whole(),
    number("snd_cwnd", 76).whole(),
    number("srtt_us", 80).whole(),
    number("bpf_sock_ops_cb_flags", 84).whole(),
    number("state", 88).whole(),
    number("rtt_min", 92).whole(),
    number("snd_ssthresh", 96).whole(),
    number("rcv_nxt", 100).whole(),
    number("snd_nxt", 104).whole(),
    number("snd_una", 108).whole(),
    number("mss_cache", 112).whole(),
    number("ecn_flags", 116).whole(),
    number("rate_delivered", 120).whole(),
    number("rate_interval_us", 124).whole(),
    number("packets_out", 128).whole(),
    number("retrans_out", 132).whole(),
    number("total_retrans", 136).whole(),
    number("segs_in", 140).whole(),
    number("data_segs_in", 144).whole(),
    number("segs_out", 148).whole(),
    number("data_segs_out", 152).whole(),
    number("lost_out", 156).whole(),
    number("sacked_out", 160).whole(),
    number("sk_txhash", 164).writable().whole(),
    CtxField::new("bytes_received", 168, 8).whole(),
    CtxField::new("bytes_acked", 176, 8).whole(),
    socket("sk", 184, "sock", true),
    bytes("skb_data", 192, FieldKind::PacketData),
    bytes("skb_data_end", 200, FieldKind::PacketEnd),
    number("skb_len", 208).whole(),
    number("skb_tcp_flags", 212).read_as(START),
    CtxField::new("skb_hwtstamp", 216, 8).whole(),
];

const SK_LOOKUP: &[CtxField] = &[
    socket("sk", 0, "sock", true),
    number("family", 8),
    number("protocol", 12),
    number("remote_ip4", 16),
    CtxField::new("remote_ip6", 20, 16).read_as(Parts::Aligned { min: 1, max: 4 }),
    // Two bytes of port and two of padding: readable as a 4-byte word or in parts.
    number("remote_port", 36),
    number("local_ip4", 40),
    CtxField::new("local_ip6", 44, 16).read_as(Parts::Aligned { min: 1, max: 4 }),
    number("local_port", 60),
    number("ingress_ifindex", 64),
];

const DEVICE: &[CtxField] =
    &[number("access_type", 0), number("major", 4).whole(), number("minor", 8).whole()];

const SYSCTL: &[CtxField] = &[number("write", 0), number("file_pos", 4).writable()];

const SOCKOPT_GET: &[CtxField] = &[
    socket("sk", 0, "sock", false),
    bytes("optval", 8, FieldKind::PacketData),
    bytes("optval_end", 16, FieldKind::PacketEnd),
    number("level", 24).whole(),
    number("optname", 28).whole(),
    number("optlen", 32).writable().whole(),
    number("retval", 36).writable().whole(),
];
const SOCKOPT_SET: &[CtxField] = &[
    socket("sk", 0, "sock", false),
    bytes("optval", 8, FieldKind::PacketData),
    bytes("optval_end", 16, FieldKind::PacketEnd),
    number("level", 24).writable().whole(),
    number("optname", 28).writable().whole(),
    number("optlen", 32).writable().whole(),
];

const SK_MSG: &[CtxField] = &[
    bytes("data", 0, FieldKind::PacketData),
    bytes("data_end", 8, FieldKind::PacketEnd),
    number("family", 16).whole(),
    number("remote_ip4", 20).whole(),
    number("local_ip4", 24).whole(),
    CtxField::new("remote_ip6", 28, 16).whole(),
    CtxField::new("local_ip6", 44, 16).whole(),
    number("remote_port", 60).whole(),
    number("local_port", 64).whole(),
    number("size", 68).whole(),
    socket("sk", 72, "sock", false),
];

const SK_REUSEPORT: &[CtxField] = &[
    bytes("data", 0, FieldKind::PacketData),
    bytes("data_end", 8, FieldKind::PacketEnd),
    number("len", 16),
    number("eth_protocol", 20).read_as(Parts::Aligned { min: 2, max: 4 }),
    number("ip_protocol", 24),
    number("bind_inany", 28),
    number("hash", 32).whole(),
    socket("sk", 40, "sock", false),
    socket("migrating_sk", 48, "sock_common", true),
];

const NETFILTER: &[CtxField] = &[
    CtxField::new("state", 0, 8).pointer(FieldKind::Object { name: "nf_hook_state", nullable: false }, 0),
    CtxField::new("skb", 8, 8).pointer(FieldKind::Object { name: "sk_buff", nullable: false }, 8),
];

const PERF_EVENT: &[CtxField] = &[
    CtxField::new("regs", 0, 168).read_as(Parts::Aligned { min: 8, max: 8 }),
    CtxField::new("sample_period", 168, 8),
    CtxField::new("addr", 176, 8),
];

const BOUND_DEV_IF: CtxField = number("bound_dev_if", 0).writable().whole();
const FAMILY: CtxField = number("family", 4).read_as(START);
const TYPE: CtxField = number("type", 8).read_as(START);
const PROTOCOL: CtxField = number("protocol", 12).read_as(START);
const MARK: CtxField = number("mark", 16).writable().whole();
const PRIORITY: CtxField = number("priority", 20).writable().whole();
const SRC_IP4: CtxField = number("src_ip4", 24);
const SRC_IP6: CtxField = CtxField::new("src_ip6", 28, 16).read_as(Parts::Aligned { min: 1, max: 4 });
const SRC_PORT: CtxField = number("src_port", 44).read_as(START);
/// Two bytes of port and two of padding.
const DST_PORT: CtxField = number("dst_port", 48).read_as(Parts::FirstHalf);
const DST_IP4: CtxField = number("dst_ip4", 52);
const DST_IP6: CtxField = CtxField::new("dst_ip6", 56, 16).read_as(Parts::Aligned { min: 1, max: 4 });
const STATE: CtxField = number("state", 72).read_as(START);
const RX_QUEUE_MAPPING: CtxField = number("rx_queue_mapping", 76).read_as(START);

const SOCK_CREATE: &[CtxField] = &[
    BOUND_DEV_IF,
    FAMILY,
    TYPE,
    PROTOCOL,
    MARK,
    PRIORITY,
    DST_PORT,
    DST_IP4,
    DST_IP6,
    STATE,
    RX_QUEUE_MAPPING,
];
const SOCK_POST_BIND4: &[CtxField] =
    &[FAMILY, TYPE, PROTOCOL, SRC_IP4, SRC_PORT, DST_PORT, DST_IP4, DST_IP6, STATE, RX_QUEUE_MAPPING];
const SOCK_POST_BIND6: &[CtxField] =
    &[FAMILY, TYPE, PROTOCOL, SRC_IP6, SRC_PORT, DST_PORT, DST_IP4, DST_IP6, STATE, RX_QUEUE_MAPPING];

/// Fields of `bpf_sock_addr` that depend on the address family of the attach type.
const fn sock_addr(attach_type: u32) -> &'static [CtxField] {
    const USER_FAMILY: CtxField = number("user_family", 0).whole();
    const USER_IP4: CtxField = number("user_ip4", 4).writable();
    const USER_IP6: CtxField =
        CtxField::new("user_ip6", 8, 16).read_as(Parts::Aligned { min: 1, max: 8 }).written_as(LONG);
    const USER_PORT: CtxField = number("user_port", 24).writable();
    const FAMILY: CtxField = number("family", 28).whole();
    const TYPE: CtxField = number("type", 32).whole();
    const PROTOCOL: CtxField = number("protocol", 36).whole();
    const MSG_SRC_IP4: CtxField = number("msg_src_ip4", 40).writable();
    const MSG_SRC_IP6: CtxField =
        CtxField::new("msg_src_ip6", 44, 16).read_as(Parts::Aligned { min: 1, max: 8 }).written_as(LONG);
    const SK: CtxField = socket("sk", 64, "sock", false);
    match attach_type {
        attach::INET4_BIND
        | attach::INET4_CONNECT
        | attach::UDP4_RECVMSG
        | attach::INET4_GETPEERNAME
        | attach::INET4_GETSOCKNAME => &[USER_FAMILY, USER_IP4, USER_PORT, FAMILY, TYPE, PROTOCOL, SK],
        attach::UDP4_SENDMSG => &[USER_FAMILY, USER_IP4, USER_PORT, FAMILY, TYPE, PROTOCOL, MSG_SRC_IP4, SK],
        attach::INET6_BIND
        | attach::INET6_CONNECT
        | attach::UDP6_RECVMSG
        | attach::INET6_GETPEERNAME
        | attach::INET6_GETSOCKNAME => &[USER_FAMILY, USER_IP6, USER_PORT, FAMILY, TYPE, PROTOCOL, SK],
        attach::UDP6_SENDMSG => &[USER_FAMILY, USER_IP6, USER_PORT, FAMILY, TYPE, PROTOCOL, MSG_SRC_IP6, SK],
        _ => &[USER_FAMILY, USER_PORT, FAMILY, TYPE, PROTOCOL, SK],
    }
}

/// Layout of a socket or cgroup type; `None` for others.
pub(super) const fn layout(program_type: ProgramType, attach_type: u32) -> Option<ContextLayout> {
    const fn fields(name: &'static str, size: u16, fields: &'static [CtxField]) -> ContextLayout {
        ContextLayout::Fields { name, size, native_size: size, fields }
    }
    Some(match program_type {
        ProgramType::SockOps => fields("bpf_sock_ops", 224, SOCK_OPS),
        ProgramType::SkLookup => fields("bpf_sk_lookup", 72, SK_LOOKUP),
        ProgramType::CgroupSockAddr => fields("bpf_sock_addr", 72, sock_addr(attach_type)),
        ProgramType::CgroupSock => fields(
            "bpf_sock",
            80,
            match attach_type {
                attach::INET4_POST_BIND => SOCK_POST_BIND4,
                attach::INET6_POST_BIND => SOCK_POST_BIND6,
                _ => SOCK_CREATE,
            },
        ),
        ProgramType::CgroupDevice => fields("bpf_cgroup_dev_ctx", 12, DEVICE),
        ProgramType::CgroupSysctl => fields("bpf_sysctl", 8, SYSCTL),
        ProgramType::CgroupSockopt => fields(
            "bpf_sockopt",
            40,
            if attach_type == attach::GETSOCKOPT { SOCKOPT_GET } else { SOCKOPT_SET },
        ),
        ProgramType::SkMsg => fields("sk_msg_md", 80, SK_MSG),
        ProgramType::SkReuseport => fields("sk_reuseport_md", 56, SK_REUSEPORT),
        ProgramType::Netfilter => fields("bpf_nf_ctx", 16, NETFILTER),
        ProgramType::PerfEvent => fields("bpf_perf_event_data", 184, PERF_EVENT),
        _ => return None,
    })
}
