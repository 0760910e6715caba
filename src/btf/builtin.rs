//! Types of the contexts that programs get, as the kernel's user-space interface fixes them.
//!
//! Out: a [`Btf`] to relocate against without a kernel at hand. Programs compiled with `vmlinux.h` carry CO-RE
//! relocations even for these structures, whose layout never changes but at the end. Anonymous unions are
//! flattened: a relocation looks members up by name.
#![forbid(unsafe_code)]

use std::sync::{Arc, LazyLock};

use super::build::BtfBuilder;
use super::types::IntEncoding;
use super::{Btf, TypeId};

use Scalar::{I32, Ptr, U8, U16, U32, U64};

#[derive(Clone, Copy, Debug)]
enum Scalar {
    U8,
    U16,
    U32,
    U64,
    I32,
    Ptr,
}

/// Member name, byte offset, type, array length (0: no array).
type Row = (&'static str, u32, Scalar, u32);

/// Array length of a last member that goes on behind its structure.
const OPEN: u32 = u32::MAX;

/// Structure name, size, members.
#[rustfmt::skip]
const CONTEXTS: &[(&str, u32, &[Row])] = &[
    ("xdp_md", 24, &[
        ("data", 0, U32, 0),
        ("data_end", 4, U32, 0),
        ("data_meta", 8, U32, 0),
        ("ingress_ifindex", 12, U32, 0),
        ("rx_queue_index", 16, U32, 0),
        ("egress_ifindex", 20, U32, 0),
    ]),
    ("__sk_buff", 192, &[
        ("len", 0, U32, 0),
        ("pkt_type", 4, U32, 0),
        ("mark", 8, U32, 0),
        ("queue_mapping", 12, U32, 0),
        ("protocol", 16, U32, 0),
        ("vlan_present", 20, U32, 0),
        ("vlan_tci", 24, U32, 0),
        ("vlan_proto", 28, U32, 0),
        ("priority", 32, U32, 0),
        ("ingress_ifindex", 36, U32, 0),
        ("ifindex", 40, U32, 0),
        ("tc_index", 44, U32, 0),
        ("cb", 48, U32, 5),
        ("hash", 68, U32, 0),
        ("tc_classid", 72, U32, 0),
        ("data", 76, U32, 0),
        ("data_end", 80, U32, 0),
        ("napi_id", 84, U32, 0),
        ("family", 88, U32, 0),
        ("remote_ip4", 92, U32, 0),
        ("local_ip4", 96, U32, 0),
        ("remote_ip6", 100, U32, 4),
        ("local_ip6", 116, U32, 4),
        ("remote_port", 132, U32, 0),
        ("local_port", 136, U32, 0),
        ("data_meta", 140, U32, 0),
        ("flow_keys", 144, Ptr, 0),
        ("tstamp", 152, U64, 0),
        ("wire_len", 160, U32, 0),
        ("gso_segs", 164, U32, 0),
        ("sk", 168, Ptr, 0),
        ("gso_size", 176, U32, 0),
        ("tstamp_type", 180, U8, 0),
        ("hwtstamp", 184, U64, 0),
    ]),
    ("bpf_flow_keys", 56, &[
        ("nhoff", 0, U16, 0),
        ("thoff", 2, U16, 0),
        ("addr_proto", 4, U16, 0),
        ("is_frag", 6, U8, 0),
        ("is_first_frag", 7, U8, 0),
        ("is_encap", 8, U8, 0),
        ("ip_proto", 9, U8, 0),
        ("n_proto", 10, U16, 0),
        ("sport", 12, U16, 0),
        ("dport", 14, U16, 0),
        ("ipv4_src", 16, U32, 0),
        ("ipv4_dst", 20, U32, 0),
        ("ipv6_src", 16, U32, 4),
        ("ipv6_dst", 32, U32, 4),
        ("flags", 48, U32, 0),
        ("flow_label", 52, U32, 0),
    ]),
    ("bpf_sock", 80, &[
        ("bound_dev_if", 0, U32, 0),
        ("family", 4, U32, 0),
        ("type", 8, U32, 0),
        ("protocol", 12, U32, 0),
        ("mark", 16, U32, 0),
        ("priority", 20, U32, 0),
        ("src_ip4", 24, U32, 0),
        ("src_ip6", 28, U32, 4),
        ("src_port", 44, U32, 0),
        ("dst_port", 48, U16, 0),
        ("dst_ip4", 52, U32, 0),
        ("dst_ip6", 56, U32, 4),
        ("state", 72, U32, 0),
        ("rx_queue_mapping", 76, I32, 0),
    ]),
    ("bpf_tcp_sock", 112, &[
        ("snd_cwnd", 0, U32, 0),
        ("srtt_us", 4, U32, 0),
        ("rtt_min", 8, U32, 0),
        ("snd_ssthresh", 12, U32, 0),
        ("rcv_nxt", 16, U32, 0),
        ("snd_nxt", 20, U32, 0),
        ("snd_una", 24, U32, 0),
        ("mss_cache", 28, U32, 0),
        ("ecn_flags", 32, U32, 0),
        ("rate_delivered", 36, U32, 0),
        ("rate_interval_us", 40, U32, 0),
        ("packets_out", 44, U32, 0),
        ("retrans_out", 48, U32, 0),
        ("total_retrans", 52, U32, 0),
        ("segs_in", 56, U32, 0),
        ("data_segs_in", 60, U32, 0),
        ("segs_out", 64, U32, 0),
        ("data_segs_out", 68, U32, 0),
        ("lost_out", 72, U32, 0),
        ("sacked_out", 76, U32, 0),
        ("bytes_received", 80, U64, 0),
        ("bytes_acked", 88, U64, 0),
        ("dsack_dups", 96, U32, 0),
        ("delivered", 100, U32, 0),
        ("delivered_ce", 104, U32, 0),
        ("icsk_retransmits", 108, U32, 0),
    ]),
    ("bpf_sock_addr", 72, &[
        ("user_family", 0, U32, 0),
        ("user_ip4", 4, U32, 0),
        ("user_ip6", 8, U32, 4),
        ("user_port", 24, U32, 0),
        ("family", 28, U32, 0),
        ("type", 32, U32, 0),
        ("protocol", 36, U32, 0),
        ("msg_src_ip4", 40, U32, 0),
        ("msg_src_ip6", 44, U32, 4),
        ("sk", 64, Ptr, 0),
    ]),
    ("bpf_sock_ops", 224, &[
        ("op", 0, U32, 0),
        ("args", 4, U32, 4),
        ("reply", 4, U32, 0),
        ("replylong", 4, U32, 4),
        ("family", 20, U32, 0),
        ("remote_ip4", 24, U32, 0),
        ("local_ip4", 28, U32, 0),
        ("remote_ip6", 32, U32, 4),
        ("local_ip6", 48, U32, 4),
        ("remote_port", 64, U32, 0),
        ("local_port", 68, U32, 0),
        ("is_fullsock", 72, U32, 0),
        ("snd_cwnd", 76, U32, 0),
        ("srtt_us", 80, U32, 0),
        ("bpf_sock_ops_cb_flags", 84, U32, 0),
        ("state", 88, U32, 0),
        ("rtt_min", 92, U32, 0),
        ("snd_ssthresh", 96, U32, 0),
        ("rcv_nxt", 100, U32, 0),
        ("snd_nxt", 104, U32, 0),
        ("snd_una", 108, U32, 0),
        ("mss_cache", 112, U32, 0),
        ("ecn_flags", 116, U32, 0),
        ("rate_delivered", 120, U32, 0),
        ("rate_interval_us", 124, U32, 0),
        ("packets_out", 128, U32, 0),
        ("retrans_out", 132, U32, 0),
        ("total_retrans", 136, U32, 0),
        ("segs_in", 140, U32, 0),
        ("data_segs_in", 144, U32, 0),
        ("segs_out", 148, U32, 0),
        ("data_segs_out", 152, U32, 0),
        ("lost_out", 156, U32, 0),
        ("sacked_out", 160, U32, 0),
        ("sk_txhash", 164, U32, 0),
        ("bytes_received", 168, U64, 0),
        ("bytes_acked", 176, U64, 0),
        ("sk", 184, Ptr, 0),
        ("skb_data", 192, Ptr, 0),
        ("skb_data_end", 200, Ptr, 0),
        ("skb_len", 208, U32, 0),
        ("skb_tcp_flags", 212, U32, 0),
        ("skb_hwtstamp", 216, U64, 0),
    ]),
    ("sk_msg_md", 80, &[
        ("data", 0, Ptr, 0),
        ("data_end", 8, Ptr, 0),
        ("family", 16, U32, 0),
        ("remote_ip4", 20, U32, 0),
        ("local_ip4", 24, U32, 0),
        ("remote_ip6", 28, U32, 4),
        ("local_ip6", 44, U32, 4),
        ("remote_port", 60, U32, 0),
        ("local_port", 64, U32, 0),
        ("size", 68, U32, 0),
        ("sk", 72, Ptr, 0),
    ]),
    ("sk_reuseport_md", 56, &[
        ("data", 0, Ptr, 0),
        ("data_end", 8, Ptr, 0),
        ("len", 16, U32, 0),
        ("eth_protocol", 20, U32, 0),
        ("ip_protocol", 24, U32, 0),
        ("bind_inany", 28, U32, 0),
        ("hash", 32, U32, 0),
        ("sk", 40, Ptr, 0),
        ("migrating_sk", 48, Ptr, 0),
    ]),
    ("bpf_sk_lookup", 72, &[
        ("sk", 0, Ptr, 0),
        ("cookie", 0, U64, 0),
        ("family", 8, U32, 0),
        ("protocol", 12, U32, 0),
        ("remote_ip4", 16, U32, 0),
        ("remote_ip6", 20, U32, 4),
        ("remote_port", 36, U16, 0),
        ("local_ip4", 40, U32, 0),
        ("local_ip6", 44, U32, 4),
        ("local_port", 60, U32, 0),
        ("ingress_ifindex", 64, U32, 0),
    ]),
    ("bpf_cgroup_dev_ctx", 12, &[
        ("access_type", 0, U32, 0),
        ("major", 4, U32, 0),
        ("minor", 8, U32, 0),
    ]),
    ("bpf_sysctl", 8, &[
        ("write", 0, U32, 0),
        ("file_pos", 4, U32, 0),
    ]),
    ("bpf_sockopt", 40, &[
        ("sk", 0, Ptr, 0),
        ("optval", 8, Ptr, 0),
        ("optval_end", 16, Ptr, 0),
        ("level", 24, I32, 0),
        ("optname", 28, I32, 0),
        ("optlen", 32, I32, 0),
        ("retval", 36, I32, 0),
    ]),
    ("bpf_tunnel_key", 44, &[
        ("tunnel_id", 0, U32, 0),
        ("remote_ipv4", 4, U32, 0),
        ("remote_ipv6", 4, U32, 4),
        ("tunnel_tos", 20, U8, 0),
        ("tunnel_ttl", 21, U8, 0),
        ("tunnel_ext", 22, U16, 0),
        ("tunnel_flags", 22, U16, 0),
        ("tunnel_label", 24, U32, 0),
        ("local_ipv4", 28, U32, 0),
        ("local_ipv6", 28, U32, 4),
    ]),
    ("bpf_fib_lookup", 64, &[
        ("family", 0, U8, 0),
        ("l4_protocol", 1, U8, 0),
        ("sport", 2, U16, 0),
        ("dport", 4, U16, 0),
        ("tot_len", 6, U16, 0),
        ("mtu_result", 6, U16, 0),
        ("ifindex", 8, U32, 0),
        ("tos", 12, U8, 0),
        ("flowinfo", 12, U32, 0),
        ("rt_metric", 12, U32, 0),
        ("ipv4_src", 16, U32, 0),
        ("ipv6_src", 16, U32, 4),
        ("ipv4_dst", 32, U32, 0),
        ("ipv6_dst", 32, U32, 4),
        ("h_vlan_proto", 48, U16, 0),
        ("h_vlan_TCI", 50, U16, 0),
        ("tbid", 48, U32, 0),
        ("mark", 52, U32, 0),
        ("smac", 52, U8, 6),
        ("dmac", 58, U8, 6),
    ]),
    ("bpf_raw_tracepoint_args", 0, &[
        ("args", 0, U64, OPEN),
    ]),
];

/// The built-in types, made once.
#[must_use]
pub fn builtin() -> Arc<Btf> {
    static TYPES: LazyLock<Arc<Btf>> = LazyLock::new(|| Arc::new(build()));
    Arc::clone(&TYPES)
}

fn build() -> Btf {
    let mut build = BtfBuilder::new();
    let mut int = |name, size, encoding| build.int(name, size, encoding);
    let bytes = int("unsigned char", 1, IntEncoding::Unsigned);
    let half = int("unsigned short", 2, IntEncoding::Unsigned);
    let word = int("unsigned int", 4, IntEncoding::Unsigned);
    let wide = int("unsigned long long", 8, IntEncoding::Unsigned);
    let signed = int("int", 4, IntEncoding::Signed);
    let pointer = build.ptr(TypeId::VOID);
    let scalar = |of| match of {
        U8 => bytes,
        U16 => half,
        U32 => word,
        U64 => wide,
        I32 => signed,
        Ptr => pointer,
    };
    for &(name, size, rows) in CONTEXTS {
        let mut members = Vec::with_capacity(rows.len());
        for &(name, offset, of, len) in rows {
            let of = match len {
                0 => scalar(of),
                OPEN => build.array(scalar(of), word, 0),
                len => build.array(scalar(of), word, len),
            };
            members.push((name, of, offset * 8, 0));
        }
        build.structure(name, size, &members);
    }
    build.finish().expect("the table is well-formed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::Kind;

    #[test]
    fn members_lie_inside_and_in_order_of_size() {
        let btf = builtin();
        for &(name, size, rows) in CONTEXTS {
            let id = btf.named(name).next().unwrap();
            let Kind::Struct(members) = btf.type_at(id).kind else { panic!("{name}") };
            assert_eq!((members.size, members.len()), (size, rows.len()), "{name}");
            for member in members.iter().filter(|_| size != 0) {
                let bytes = u32::try_from(btf.size_of(member.of).unwrap()).unwrap();
                let offset = member.bit_offset / 8;
                assert!(offset + bytes <= size, "{name}.{}", member.name);
                assert_eq!(offset % btf.align_of(member.of), 0, "{name}.{}", member.name);
            }
        }
    }

    /// Where the running kernel shows its types, ours agree with them.
    #[test]
    fn agrees_with_the_kernel() {
        let path = std::path::Path::new("/sys/kernel/btf/vmlinux");
        let Ok(kernel) = Btf::read(path) else {
            eprintln!("skipped: {} is not readable", path.display());
            return;
        };
        for &(name, _, rows) in CONTEXTS {
            let Some(id) = kernel.named(name).find(|&id| kernel.type_at(id).kind.members().is_some()) else {
                continue;
            };
            let theirs = flatten(&kernel, id, 0);
            for &(member, offset, ..) in rows {
                let found = theirs.iter().find(|(name, _)| name == member);
                assert_eq!(found.map(|&(_, at)| at), Some(offset * 8), "{name}.{member}");
            }
        }
    }

    fn flatten(btf: &Btf, id: TypeId, base: u32) -> Vec<(String, u32)> {
        let mut out = Vec::new();
        for member in btf.type_at(btf.resolve(id)).kind.members().unwrap().iter() {
            let at = base + member.bit_offset;
            if member.name.is_empty() && btf.type_at(btf.resolve(member.of)).kind.members().is_some() {
                out.extend(flatten(btf, member.of, at));
            } else {
                out.push((member.name.to_owned(), at));
            }
        }
        out
    }
}
