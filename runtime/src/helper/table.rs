//! All helpers of the kernel's UAPI, one row each.
//!
//! Prototypes and program types are those of Linux 6.18, measured on a running kernel. A row without a function
//! is known to the verifier; user space cannot serve it (yet).
//!
//! `number name(arguments) -> result, program types, properties [=> function];`
#![forbid(unsafe_code)]

use super::proto::{ArgKind, DynptrKind, DynptrRole, HelperFlags, MemAccess, Proto, RetKind, SockKind};
use super::registry::Helper;
use super::set::*;
use super::shim;
use crate::ctx::{AttachType, ProgramType, ReturnRange, attach};

macro_rules! helpers {
    ($($id:literal $name:ident($($arg:expr),*) -> $ret:expr, $types:expr, $flags:expr $(=> $function:ident)?;)*) => {
        /// Every helper, by ascending number.
        pub(super) static TABLE: &[Helper] = &[$(Helper {
            id: $id,
            name: concat!("bpf_", stringify!($name)),
            proto: proto(&[$($arg),*], $ret, HelperFlags::from_bits_retain($flags)),
            allowed: ProgramTypes::from_bits($types),
            function: [$(Some(shim::$function as crate::abi::HelperFn),)? None][0],
        }),*];
    };
}

/// Fills up the arguments and finds the released one.
const fn proto(given: &[ArgKind], ret: RetKind, flags: HelperFlags) -> Proto {
    let mut args = [ArgKind::None; 5];
    let mut i = 0;
    while i < given.len() {
        args[i] = given[i];
        i += 1;
    }
    // All releasing helpers release their first argument, but for `kptr_xchg`, which is `ACQUIRES` here.
    Proto { args, ret, flags, release_arg: 0 }
}

const fn mem(access: MemAccess, nullable: bool) -> ArgKind {
    ArgKind::Mem { access, nullable }
}
const fn fixed(size: u32) -> ArgKind {
    ArgKind::FixedMem { size, access: MemAccess::Read, align: 1 }
}
const fn btf(name: &'static str) -> ArgKind {
    ArgKind::BtfId { name, nullable: false }
}
const fn btf0(name: &'static str) -> ArgKind {
    ArgKind::BtfId { name, nullable: true }
}
const fn sock(name: &'static str) -> RetKind {
    RetKind::SocketOrNull(name)
}
const fn object(name: &'static str) -> RetKind {
    RetKind::BtfId { name, nullable: false }
}
const fn object0(name: &'static str) -> RetKind {
    RetKind::BtfId { name, nullable: true }
}

const ANY: ArgKind = ArgKind::Anything;
const MAP: ArgKind = ArgKind::Map;
const KEY: ArgKind = ArgKind::MapKey;
const VALUE: ArgKind = ArgKind::MapValue;
const VALUE0: ArgKind = ArgKind::MapValueOrNull;
const VALUE_OUT: ArgKind = ArgKind::MapValueUninit;
const CTX: ArgKind = ArgKind::Context;
const CTX0: ArgKind = ArgKind::ContextOrNull;
const IN: ArgKind = mem(MemAccess::Read, false);
const IN0: ArgKind = mem(MemAccess::Read, true);
const OUT: ArgKind = mem(MemAccess::WriteUninit, false);
const INOUT: ArgKind = mem(MemAccess::ReadWrite, false);
const INOUT0: ArgKind = mem(MemAccess::ReadWrite, true);
const SIZE: ArgKind = ArgKind::Size;
const SIZE0: ArgKind = ArgKind::SizeOrZero;
const ALLOC: ArgKind = ArgKind::AllocSize;
const LONG_OUT: ArgKind = ArgKind::FixedMem { size: 8, access: MemAccess::WriteUninit, align: 8 };
const INT_INOUT: ArgKind = ArgKind::FixedMem { size: 4, access: MemAccess::ReadWrite, align: 4 };
const RECORD: ArgKind = ArgKind::RingbufMem;
const STR: ArgKind = ArgKind::ConstStr;
const FUNC: ArgKind = ArgKind::Callback;
const STACK0: ArgKind = ArgKind::StackOrNull;
const SPIN: ArgKind = ArgKind::SpinLock;
const TIMER: ArgKind = ArgKind::Timer;
const KPTR: ArgKind = ArgKind::Kptr;
const PERCPU: ArgKind = ArgKind::PercpuBtfId;
const SOCK_COMMON: ArgKind = ArgKind::Sock { kind: SockKind::Common, nullable: false };
const SOCK0: ArgKind = ArgKind::Sock { kind: SockKind::Full, nullable: true };
const BTF_SOCK: ArgKind = ArgKind::Sock { kind: SockKind::Btf, nullable: false };
const BTF_SOCK0: ArgKind = ArgKind::Sock { kind: SockKind::Btf, nullable: true };
const DYNPTR: ArgKind = ArgKind::Dynptr { role: DynptrRole::Use, kind: DynptrKind::Any };
const DYNPTR_LOCAL: ArgKind = ArgKind::Dynptr { role: DynptrRole::Init, kind: DynptrKind::Local };
const DYNPTR_NEW: ArgKind = ArgKind::Dynptr { role: DynptrRole::Init, kind: DynptrKind::Ringbuf };
const DYNPTR_END: ArgKind = ArgKind::Dynptr { role: DynptrRole::Release, kind: DynptrKind::Ringbuf };

const INT: RetKind = RetKind::Integer;
const VOID: RetKind = RetKind::Void;
const VALUE_RET: RetKind = RetKind::MapValue;
const VALUE_OR_NULL: RetKind = RetKind::MapValueOrNull;
const MEM_OR_NULL: RetKind = RetKind::AllocMemOrNull;
const RECORD_OR_NULL: RetKind = RetKind::RingbufMemOrNull;
const PERCPU_RET: RetKind = RetKind::PercpuMem { nullable: false };
const PERCPU_OR_NULL: RetKind = RetKind::PercpuMem { nullable: true };

const NONE: u32 = 0;
const GPL: u32 = HelperFlags::GPL.bits();
const PACKET: u32 = HelperFlags::PACKET_ACCESS.bits();
const SLEEPS: u32 = HelperFlags::SLEEPS.bits();
const FASTCALL: u32 = HelperFlags::FASTCALL.bits();
const MOVES: u32 = HelperFlags::CHANGES_PACKET.bits();
const ACQUIRES: u32 = HelperFlags::ACQUIRES.bits();
const RELEASES: u32 = HelperFlags::RELEASES.bits();
const PERFMON: u32 = HelperFlags::PERFMON.bits();
const MACHINE: u32 = HelperFlags::MACHINE.bits();
const IN_LOCK: u32 = HelperFlags::IN_LOCK.bits();
const FILLS: u32 = HelperFlags::FILLS.bits();

helpers! {
    1 map_lookup_elem(MAP, KEY) -> VALUE_OR_NULL, ALL, PACKET => map_lookup_elem;
    2 map_update_elem(MAP, KEY, VALUE, ANY) -> INT, ALL, PACKET => map_update_elem;
    3 map_delete_elem(MAP, KEY) -> INT, ALL, PACKET => map_delete_elem;
    4 probe_read(OUT, SIZE0, ANY) -> INT, PROBES | TRACING | SYSCALL | LSM, GPL | FILLS => probe_read;
    5 ktime_get_ns() -> INT, ALL, MACHINE => ktime_get_ns;
    6 trace_printk(IN, SIZE) -> INT, ALL, GPL | PERFMON => trace_printk;
    7 get_prandom_u32() -> INT, ALL, MACHINE => get_prandom_u32;
    8 get_smp_processor_id() -> INT, ALL, FASTCALL | MACHINE => get_smp_processor_id;
    9 skb_store_bytes(CTX, ANY, IN, SIZE, ANY) -> INT, TC | LWT_XMIT | SK_SKB, MOVES => skb_store_bytes;
    10 l3_csum_replace(CTX, ANY, ANY, ANY, ANY) -> INT, TC | LWT_XMIT, MOVES => l3_csum_replace;
    11 l4_csum_replace(CTX, ANY, ANY, ANY, ANY) -> INT, TC | LWT_XMIT, MOVES => l4_csum_replace;
    12 tail_call(CTX, MAP, ANY) -> VOID, ALL, MOVES => tail_call;
    13 clone_redirect(CTX, ANY, ANY) -> INT, TC | LWT_XMIT, MOVES => clone_redirect;
    14 get_current_pid_tgid() -> INT, ALL, MACHINE => get_current_pid_tgid;
    15 get_current_uid_gid() -> INT, ALL, MACHINE => get_current_uid_gid;
    16 get_current_comm(OUT, SIZE) -> INT, ALL, MACHINE | FILLS => get_current_comm;
    17 get_cgroup_classid(CTX) -> INT, ALL, MACHINE => skb_no_number;
    18 skb_vlan_push(CTX, ANY, ANY) -> INT, TC, MOVES => skb_vlan_push;
    19 skb_vlan_pop(CTX) -> INT, TC, MOVES => skb_vlan_pop;
    20 skb_get_tunnel_key(CTX, OUT, SIZE, ANY) -> INT, TC | LWT_XMIT, FILLS => skb_get_tunnel_key;
    21 skb_set_tunnel_key(CTX, IN, SIZE, ANY) -> INT, TC | LWT_XMIT, NONE => skb_set_tunnel_key;
    22 perf_event_read(MAP, ANY) -> INT, ALL, GPL => perf_event_read;
    23 redirect(ANY, ANY) -> INT, TC | XDP | LWT_XMIT, NONE => redirect;
    24 get_route_realm(CTX) -> INT, TC | LWT | SEG6, NONE => skb_no_number;
    25 perf_event_output(CTX, MAP, ANY, IN, SIZE0) -> INT, ALL & !(REUSEPORT | DISSECTOR | STRUCT_OPS |
        NETFILTER), GPL => perf_event_output;
    26 skb_load_bytes(CTX, ANY, OUT, SIZE) -> INT, FILTER | TC | CG_SKB | LWT | SK_SKB | SEG6 |
        REUSEPORT | DISSECTOR, FILLS => skb_load_bytes;
    27 get_stackid(CTX, MAP, ANY) -> INT, PROBES | TRACING | SYSCALL, GPL => get_stackid;
    28 csum_diff(IN0, SIZE0, IN0, SIZE0, ANY) -> INT, TC | XDP | LWT | SEG6, PACKET => csum_diff;
    29 skb_get_tunnel_opt(CTX, OUT, SIZE) -> INT, TC | LWT_XMIT, FILLS => skb_get_tunnel_opt;
    30 skb_set_tunnel_opt(CTX, IN, SIZE) -> INT, TC | LWT_XMIT, NONE => skb_set_tunnel_opt;
    31 skb_change_proto(CTX, ANY, ANY) -> INT, TC, MOVES => skb_change_proto;
    32 skb_change_type(CTX, ANY) -> INT, TC, NONE => skb_change_type;
    33 skb_under_cgroup(CTX, MAP, ANY) -> INT, TC | LWT | SEG6, NONE => skb_under_cgroup;
    34 get_hash_recalc(CTX) -> INT, TC | LWT | SEG6, NONE => get_hash_recalc;
    35 get_current_task() -> INT, ALL, GPL | PERFMON | MACHINE => get_current_task;
    36 probe_write_user(ANY, IN, SIZE) -> INT, KPROBE | LSM | TRACING, GPL;
    37 current_task_under_cgroup(MAP, ANY) -> INT, ALL, NONE => current_task_under_cgroup;
    38 skb_change_tail(CTX, ANY, ANY) -> INT, TC | LWT_XMIT | SK_SKB, MOVES => skb_change_tail;
    39 skb_pull_data(CTX, ANY) -> INT, TC | LWT | SK_SKB | SEG6, MOVES => skb_pull_data;
    40 csum_update(CTX, ANY) -> INT, TC | LWT_XMIT, NONE => csum_update;
    41 set_hash_invalid(CTX) -> INT, TC | LWT_XMIT, NONE => set_hash_invalid;
    42 get_numa_node_id() -> INT, ALL, MACHINE => get_numa_node_id;
    43 skb_change_head(CTX, ANY, ANY) -> INT, TC | LWT_XMIT | SK_SKB, MOVES => skb_change_head;
    44 xdp_adjust_head(CTX, ANY) -> INT, XDP, MOVES => xdp_adjust_head;
    45 probe_read_str(OUT, SIZE0, ANY) -> INT, PROBES | TRACING | SYSCALL | LSM, GPL => probe_read_str;
    46 get_socket_cookie(CTX) -> INT, FILTER | TC | CG_SKB | CG_SOCK | SOCK_OPS | SK_SKB | CG_ADDR |
        REUSEPORT | TRACING | SYSCALL, MACHINE => skb_no_number;
    47 get_socket_uid(CTX) -> INT, FILTER | TC | CG_SKB | SK_SKB, NONE => get_socket_uid;
    48 set_hash(CTX, ANY) -> INT, TC, NONE => set_hash;
    49 setsockopt(CTX, ANY, ANY, IN, SIZE) -> INT, SOCK_OPS | CG_ADDR | CG_SOCKOPT | STRUCT_OPS | LSM, NONE;
    50 skb_adjust_room(CTX, ANY, ANY, ANY) -> INT, TC | SK_SKB, MOVES => skb_adjust_room;
    51 redirect_map(MAP, ANY, ANY) -> INT, XDP, NONE => redirect_map;
    52 sk_redirect_map(CTX, MAP, ANY, ANY) -> INT, SK_SKB, NONE;
    53 sock_map_update(CTX, MAP, KEY, ANY) -> INT, SOCK_OPS, PACKET;
    54 xdp_adjust_meta(CTX, ANY) -> INT, XDP, MOVES => xdp_adjust_meta;
    55 perf_event_read_value(MAP, ANY, OUT, SIZE) -> INT, ALL, GPL | FILLS => perf_event_read_value;
    56 perf_prog_read_value(CTX, OUT, SIZE) -> INT, PERF, GPL;
    57 getsockopt(CTX, ANY, ANY, OUT, SIZE) -> INT, SOCK_OPS | CG_ADDR | CG_SOCKOPT | STRUCT_OPS | LSM,
        NONE;
    58 override_return(CTX, ANY) -> INT, KPROBE, GPL;
    59 sock_ops_cb_flags_set(CTX, ANY) -> INT, SOCK_OPS, NONE;
    60 msg_redirect_map(CTX, MAP, ANY, ANY) -> INT, SK_MSG, NONE;
    61 msg_apply_bytes(CTX, ANY) -> INT, SK_MSG, NONE;
    62 msg_cork_bytes(CTX, ANY) -> INT, SK_MSG, NONE;
    63 msg_pull_data(CTX, ANY, ANY, ANY) -> INT, SK_MSG, MOVES;
    64 bind(CTX, IN, SIZE) -> INT, CG_ADDR, NONE;
    65 xdp_adjust_tail(CTX, ANY) -> INT, XDP, MOVES => xdp_adjust_tail;
    66 skb_get_xfrm_state(CTX, ANY, OUT, SIZE, ANY) -> INT, TC, FILLS => skb_get_xfrm_state;
    67 get_stack(CTX, OUT, SIZE0, ANY) -> INT, PROBES | TRACING | SYSCALL, GPL | FILLS => get_stack;
    68 skb_load_bytes_relative(CTX, ANY, OUT, SIZE, ANY) -> INT, FILTER | TC | CG_SKB | REUSEPORT, FILLS => skb_load_bytes_relative;
    69 fib_lookup(CTX, INOUT, SIZE, ANY) -> INT, TC | XDP, GPL => fib_lookup;
    70 sock_hash_update(CTX, MAP, KEY, ANY) -> INT, SOCK_OPS, PACKET;
    71 msg_redirect_hash(CTX, MAP, KEY, ANY) -> INT, SK_MSG, NONE;
    72 sk_redirect_hash(CTX, MAP, KEY, ANY) -> INT, SK_SKB, NONE;
    73 lwt_push_encap(CTX, ANY, IN, SIZE) -> INT, LWT_IN | LWT_XMIT, MOVES;
    74 lwt_seg6_store_bytes(CTX, ANY, IN, SIZE) -> INT, SEG6, MOVES;
    75 lwt_seg6_adjust_srh(CTX, ANY, ANY) -> INT, SEG6, MOVES;
    76 lwt_seg6_action(CTX, ANY, IN, SIZE) -> INT, SEG6, MOVES;
    77 rc_repeat(CTX) -> INT, LIRC, GPL;
    78 rc_keydown(CTX, ANY, ANY, ANY) -> INT, LIRC, GPL;
    79 skb_cgroup_id(CTX) -> INT, TC | CG_SKB, NONE => skb_no_number;
    80 get_current_cgroup_id() -> INT, ALL, MACHINE => get_current_cgroup_id;
    81 get_local_storage(MAP, ANY) -> VALUE_RET, CG_SKB | CG_SOCK | SOCK_OPS | CG_DEVICE | CG_ADDR |
        CG_SYSCTL | CG_SOCKOPT, NONE;
    82 sk_select_reuseport(CTX, MAP, KEY, ANY) -> INT, REUSEPORT, NONE;
    83 skb_ancestor_cgroup_id(CTX, ANY) -> INT, TC | CG_SKB, NONE => skb_no_number;
    84 sk_lookup_tcp(CTX, IN, SIZE0, ANY, ANY) -> sock("sock"), TC | XDP | CG_SKB | SK_SKB | CG_ADDR,
        PACKET | ACQUIRES => sk_lookup_tcp;
    85 sk_lookup_udp(CTX, IN, SIZE0, ANY, ANY) -> sock("sock"), TC | XDP | CG_SKB | SK_SKB | CG_ADDR,
        PACKET | ACQUIRES => sk_lookup_udp;
    86 sk_release(BTF_SOCK) -> INT, TC | XDP | CG_SKB | SK_SKB | CG_ADDR | SK_LOOKUP, RELEASES => sk_release;
    87 map_push_elem(MAP, VALUE, ANY) -> INT, ALL, PACKET => map_push_elem;
    88 map_pop_elem(MAP, VALUE_OUT) -> INT, ALL, FILLS => map_pop_elem;
    89 map_peek_elem(MAP, VALUE_OUT) -> INT, ALL, FILLS => map_peek_elem;
    90 msg_push_data(CTX, ANY, ANY, ANY) -> INT, SK_MSG, MOVES;
    91 msg_pop_data(CTX, ANY, ANY, ANY) -> INT, SK_MSG, MOVES;
    92 rc_pointer_rel(CTX, ANY, ANY) -> INT, LIRC, GPL;
    93 spin_lock(SPIN) -> VOID, ALL, NONE => spin_lock;
    94 spin_unlock(SPIN) -> VOID, ALL, IN_LOCK => spin_unlock;
    95 sk_fullsock(SOCK_COMMON) -> sock("sock"), TC | CG_SKB, NONE => sk_fullsock;
    96 tcp_sock(SOCK_COMMON) -> sock("tcp_sock"), TC | CG_SKB | SOCK_OPS | CG_SOCKOPT, NONE => tcp_sock;
    97 skb_ecn_set_ce(CTX) -> INT, TC | CG_SKB, NONE => skb_ecn_set_ce;
    98 get_listener_sock(SOCK_COMMON) -> sock("sock"), TC | CG_SKB, NONE => get_listener_sock;
    99 skc_lookup_tcp(CTX, IN, SIZE0, ANY, ANY) -> sock("sock_common"), TC | XDP | CG_SKB | SK_SKB |
        CG_ADDR, PACKET | ACQUIRES => skc_lookup_tcp;
    100 tcp_check_syncookie(BTF_SOCK, IN, SIZE, IN, SIZE) -> INT, TC | XDP, GPL | PACKET => tcp_check_syncookie;
    101 sysctl_get_name(CTX, INOUT, SIZE, ANY) -> INT, CG_SYSCTL, NONE;
    102 sysctl_get_current_value(CTX, OUT, SIZE) -> INT, CG_SYSCTL, NONE;
    103 sysctl_get_new_value(CTX, OUT, SIZE) -> INT, CG_SYSCTL, NONE;
    104 sysctl_set_new_value(CTX, IN, SIZE) -> INT, CG_SYSCTL, NONE;
    105 strtol(IN, SIZE, ANY, LONG_OUT) -> INT, ALL, FILLS => strtol;
    106 strtoul(IN, SIZE, ANY, LONG_OUT) -> INT, ALL, FILLS => strtoul;
    107 sk_storage_get(MAP, BTF_SOCK, VALUE0, ANY) -> VALUE_OR_NULL, TC | CG_SKB | CG_SOCK | SOCK_OPS |
        SK_MSG | CG_ADDR | CG_SOCKOPT | TRACING | STRUCT_OPS | LSM, NONE => sk_storage_get;
    108 sk_storage_delete(MAP, BTF_SOCK) -> INT, TC | CG_SKB | SOCK_OPS | SK_MSG | CG_ADDR | CG_SOCKOPT
        | TRACING | STRUCT_OPS | LSM, NONE => sk_storage_delete;
    109 send_signal(ANY) -> INT, ALL, NONE;
    110 tcp_gen_syncookie(BTF_SOCK, IN, SIZE, IN, SIZE) -> INT, TC | XDP, GPL | PACKET => tcp_gen_syncookie;
    111 skb_output(btf("sk_buff"), MAP, ANY, IN, SIZE0) -> INT, TRACING | SYSCALL, GPL;
    112 probe_read_user(OUT, SIZE0, ANY) -> INT, ALL, GPL | PERFMON | FILLS => probe_read_user;
    113 probe_read_kernel(OUT, SIZE0, ANY) -> INT, ALL, GPL | PERFMON | FILLS => probe_read_kernel;
    114 probe_read_user_str(OUT, SIZE0, ANY) -> INT, ALL, GPL | PERFMON => probe_read_user_str;
    115 probe_read_kernel_str(OUT, SIZE0, ANY) -> INT, ALL, GPL | PERFMON => probe_read_kernel_str;
    116 tcp_send_ack(btf("tcp_sock"), ANY) -> INT, STRUCT_OPS, NONE;
    117 send_signal_thread(ANY) -> INT, ALL, NONE;
    118 jiffies64() -> INT, ALL, MACHINE => jiffies64;
    119 read_branch_records(CTX, INOUT0, SIZE0, ANY) -> INT, PERF, GPL;
    120 get_ns_current_pid_tgid(ANY, ANY, OUT, SIZE) -> INT, ALL, MACHINE | FILLS => get_ns_current_pid_tgid;
    121 xdp_output(btf("xdp_buff"), MAP, ANY, IN, SIZE0) -> INT, TRACING | SYSCALL, GPL;
    122 get_netns_cookie(CTX0) -> INT, FILTER | TC | CG_SKB | CG_SOCK | SOCK_OPS | SK_MSG | CG_ADDR |
        CG_SOCKOPT, MACHINE => get_netns_cookie;
    123 get_current_ancestor_cgroup_id(ANY) -> INT, ALL, MACHINE => get_current_ancestor_cgroup_id;
    124 sk_assign(CTX, BTF_SOCK, ANY) -> INT, TC | SK_LOOKUP, NONE => sk_assign;
    125 ktime_get_boot_ns() -> INT, ALL, MACHINE => ktime_get_boot_ns;
    126 seq_printf(btf("seq_file"), IN, SIZE, IN0, SIZE0) -> INT, TRACING, GPL;
    127 seq_write(btf("seq_file"), IN, SIZE0) -> INT, TRACING, GPL;
    128 sk_cgroup_id(BTF_SOCK) -> INT, CG_SKB, NONE => skb_no_number;
    129 sk_ancestor_cgroup_id(BTF_SOCK, ANY) -> INT, CG_SKB, NONE => skb_no_number;
    130 ringbuf_output(MAP, IN, SIZE0, ANY) -> INT, ALL, NONE => ringbuf_output;
    131 ringbuf_reserve(MAP, ALLOC, ANY) -> RECORD_OR_NULL, ALL, ACQUIRES => ringbuf_reserve;
    132 ringbuf_submit(RECORD, ANY) -> VOID, ALL, RELEASES => ringbuf_submit;
    133 ringbuf_discard(RECORD, ANY) -> VOID, ALL, RELEASES => ringbuf_discard;
    134 ringbuf_query(MAP, ANY) -> INT, ALL, NONE => ringbuf_query;
    135 csum_level(CTX, ANY) -> INT, TC | LWT_XMIT, NONE => csum_level;
    136 skc_to_tcp6_sock(BTF_SOCK) -> object0("tcp6_sock"), FILTER | TC | XDP | CG_SKB | LWT | SOCK_OPS
        | SK_SKB | SK_MSG | CG_ADDR | SEG6 | DISSECTOR | TRACING | SK_LOOKUP | SYSCALL, NONE;
    137 skc_to_tcp_sock(BTF_SOCK) -> object0("tcp_sock"), FILTER | TC | XDP | CG_SKB | LWT | SOCK_OPS |
        SK_SKB | SK_MSG | CG_ADDR | SEG6 | DISSECTOR | TRACING | SK_LOOKUP | SYSCALL, NONE;
    138 skc_to_tcp_timewait_sock(BTF_SOCK) -> object0("tcp_timewait_sock"), FILTER | TC | XDP | CG_SKB |
        LWT | SOCK_OPS | SK_SKB | SK_MSG | CG_ADDR | SEG6 | DISSECTOR | TRACING | SK_LOOKUP | SYSCALL, NONE;
    139 skc_to_tcp_request_sock(BTF_SOCK) -> object0("tcp_request_sock"), FILTER | TC | XDP | CG_SKB |
        LWT | SOCK_OPS | SK_SKB | SK_MSG | CG_ADDR | SEG6 | DISSECTOR | TRACING | SK_LOOKUP | SYSCALL, NONE;
    140 skc_to_udp6_sock(BTF_SOCK) -> object0("udp6_sock"), FILTER | TC | XDP | CG_SKB | LWT | SOCK_OPS
        | SK_SKB | SK_MSG | CG_ADDR | SEG6 | DISSECTOR | TRACING | SK_LOOKUP | SYSCALL, NONE;
    141 get_task_stack(btf("task_struct"), OUT, SIZE0, ANY) -> INT, ALL, NONE;
    142 load_hdr_opt(CTX, INOUT, SIZE, ANY) -> INT, SOCK_OPS, NONE;
    143 store_hdr_opt(CTX, IN, SIZE, ANY) -> INT, SOCK_OPS, MOVES;
    144 reserve_hdr_opt(CTX, ANY, ANY) -> INT, SOCK_OPS, NONE;
    145 inode_storage_get(MAP, btf0("inode"), VALUE0, ANY) -> VALUE_OR_NULL, LSM, NONE;
    146 inode_storage_delete(MAP, btf0("inode")) -> INT, LSM, NONE;
    147 d_path(btf("path"), INOUT, SIZE0) -> INT, TRACING, NONE;
    148 copy_from_user(OUT, SIZE0, ANY) -> INT, ALL, SLEEPS | FILLS => probe_read_user;
    149 snprintf_btf(INOUT, SIZE, IN, SIZE, ANY) -> INT, ALL, PERFMON;
    150 seq_printf_btf(btf("seq_file"), IN, SIZE0, ANY) -> INT, TRACING, GPL;
    151 skb_cgroup_classid(CTX) -> INT, TC, NONE => skb_no_number;
    152 redirect_neigh(ANY, IN0, SIZE0, ANY) -> INT, TC, NONE => redirect_neigh;
    153 per_cpu_ptr(PERCPU, ANY) -> PERCPU_OR_NULL, ALL, NONE => per_cpu_ptr;
    154 this_cpu_ptr(PERCPU) -> PERCPU_RET, ALL, MACHINE => this_cpu_ptr;
    155 redirect_peer(ANY, ANY) -> INT, TC, NONE => redirect_peer;
    156 task_storage_get(MAP, btf0("task_struct"), VALUE0, ANY) -> VALUE_OR_NULL, ALL, NONE;
    157 task_storage_delete(MAP, btf0("task_struct")) -> INT, ALL, NONE;
    158 get_current_task_btf() -> object("task_struct"), ALL, GPL | PERFMON | MACHINE;
    159 bprm_opts_set(btf("linux_binprm"), ANY) -> INT, LSM, NONE;
    160 ktime_get_coarse_ns() -> INT, FILTER | TC | XDP | CG_SKB | CG_SOCK | LWT | SOCK_OPS | SK_SKB |
        SK_MSG | CG_ADDR | SEG6 | REUSEPORT | DISSECTOR | CG_SYSCTL | STRUCT_OPS | SK_LOOKUP, MACHINE =>
        ktime_get_coarse_ns;
    161 ima_inode_hash(btf("inode"), OUT, SIZE) -> INT, LSM, SLEEPS;
    162 sock_from_file(btf("file")) -> object0("socket"), TRACING | SYSCALL, NONE;
    163 check_mtu(CTX, ANY, INT_INOUT, ANY, ANY) -> INT, TC | XDP, GPL => check_mtu;
    164 for_each_map_elem(MAP, FUNC, STACK0, ANY) -> INT, ALL, NONE;
    165 snprintf(INOUT0, SIZE0, STR, IN0, SIZE0) -> INT, ALL, GPL | PERFMON => snprintf;
    166 sys_bpf(ANY, IN, SIZE) -> INT, SYSCALL, NONE;
    167 btf_find_by_name_kind(IN, SIZE, ANY, ANY) -> INT, SYSCALL, NONE;
    168 sys_close(ANY) -> INT, SYSCALL, NONE;
    169 timer_init(TIMER, MAP, ANY) -> INT, ALL, GPL => timer_init;
    170 timer_set_callback(TIMER, FUNC) -> INT, ALL, GPL => timer_set_callback;
    171 timer_start(TIMER, ANY, ANY) -> INT, ALL, GPL => timer_start;
    172 timer_cancel(TIMER) -> INT, ALL, GPL => timer_cancel;
    173 get_func_ip(CTX) -> INT, PROBES | TRACING | SYSCALL | LSM, GPL => get_func_ip;
    174 get_attach_cookie(CTX) -> INT, PROBES | TRACING | LSM, NONE => get_attach_cookie;
    175 task_pt_regs(btf("task_struct")) -> object("pt_regs"), ALL, GPL | PERFMON;
    176 get_branch_snapshot(OUT, SIZE0) -> INT, ALL, GPL;
    177 trace_vprintk(IN, SIZE, IN0, SIZE0) -> INT, ALL, GPL | PERFMON => trace_vprintk;
    178 skc_to_unix_sock(BTF_SOCK) -> object0("unix_sock"), FILTER | TC | XDP | CG_SKB | LWT | SOCK_OPS
        | SK_SKB | SK_MSG | CG_ADDR | SEG6 | DISSECTOR | TRACING | SK_LOOKUP | SYSCALL, NONE;
    179 kallsyms_lookup_name(IN, SIZE0, ANY, LONG_OUT) -> INT, SYSCALL, NONE;
    180 find_vma(btf("task_struct"), ANY, FUNC, STACK0, ANY) -> INT, ALL, NONE;
    181 loop(ANY, FUNC, STACK0, ANY) -> INT, ALL, NONE;
    182 strncmp(IN, SIZE, STR) -> INT, ALL, NONE => strncmp;
    183 get_func_arg(CTX, ANY, LONG_OUT) -> INT, TRACING, NONE;
    184 get_func_ret(CTX, LONG_OUT) -> INT, TRACING, NONE;
    185 get_func_arg_cnt(CTX) -> INT, TRACING, NONE;
    186 get_retval() -> INT, CG_SOCK | CG_DEVICE | CG_ADDR | CG_SYSCTL | CG_SOCKOPT, NONE => get_retval;
    187 set_retval(ANY) -> INT, CG_SOCK | CG_DEVICE | CG_ADDR | CG_SYSCTL | CG_SOCKOPT, NONE => set_retval;
    188 xdp_get_buff_len(CTX) -> INT, XDP | TRACING | SYSCALL, NONE => xdp_get_buff_len;
    189 xdp_load_bytes(CTX, ANY, OUT, SIZE) -> INT, XDP, NONE => xdp_load_bytes;
    190 xdp_store_bytes(CTX, ANY, IN, SIZE) -> INT, XDP, NONE => xdp_store_bytes;
    191 copy_from_user_task(OUT, SIZE0, ANY, btf("task_struct"), ANY) -> INT, ALL, GPL | SLEEPS;
    192 skb_set_tstamp(CTX, ANY, ANY) -> INT, TC, NONE => skb_set_tstamp;
    193 ima_file_hash(btf("file"), OUT, SIZE) -> INT, LSM, SLEEPS;
    194 kptr_xchg(KPTR, btf0("")) -> object0(""), ALL, ACQUIRES => kptr_xchg;
    195 map_lookup_percpu_elem(MAP, KEY, ANY) -> VALUE_OR_NULL, ALL, PACKET => map_lookup_percpu_elem;
    196 skc_to_mptcp_sock(SOCK_COMMON) -> object0("mptcp_sock"), FILTER | TC | XDP | CG_SKB | LWT |
        SOCK_OPS | SK_SKB | SK_MSG | CG_ADDR | SEG6 | DISSECTOR | TRACING | SK_LOOKUP | SYSCALL, NONE;
    197 dynptr_from_mem(OUT, SIZE0, ANY, DYNPTR_LOCAL) -> INT, ALL, NONE => dynptr_from_mem;
    198 ringbuf_reserve_dynptr(MAP, ANY, ANY, DYNPTR_NEW) -> INT, ALL, ACQUIRES => ringbuf_reserve_dynptr;
    199 ringbuf_submit_dynptr(DYNPTR_END, ANY) -> VOID, ALL, RELEASES => ringbuf_submit_dynptr;
    200 ringbuf_discard_dynptr(DYNPTR_END, ANY) -> VOID, ALL, RELEASES => ringbuf_discard_dynptr;
    201 dynptr_read(OUT, SIZE0, DYNPTR, ANY, ANY) -> INT, ALL, NONE => dynptr_read;
    202 dynptr_write(DYNPTR, ANY, IN, SIZE0, ANY) -> INT, ALL, NONE => dynptr_write;
    203 dynptr_data(DYNPTR, ANY, ALLOC) -> MEM_OR_NULL, ALL, NONE => dynptr_data;
    204 tcp_raw_gen_syncookie_ipv4(fixed(20), IN, SIZE0) -> INT, TC | XDP, GPL | PACKET => tcp_raw_gen_syncookie_ipv4;
    205 tcp_raw_gen_syncookie_ipv6(fixed(40), IN, SIZE0) -> INT, TC | XDP, GPL | PACKET => tcp_raw_gen_syncookie_ipv6;
    206 tcp_raw_check_syncookie_ipv4(fixed(20), fixed(20)) -> INT, TC | XDP, GPL | PACKET => tcp_raw_check_syncookie_ipv4;
    207 tcp_raw_check_syncookie_ipv6(fixed(40), fixed(20)) -> INT, TC | XDP, GPL | PACKET => tcp_raw_check_syncookie_ipv6;
    208 ktime_get_tai_ns() -> INT, ALL, MACHINE => ktime_get_tai_ns;
    209 user_ringbuf_drain(MAP, FUNC, STACK0, ANY) -> INT, ALL, NONE => user_ringbuf_drain;
    210 cgrp_storage_get(MAP, btf0("cgroup"), VALUE0, ANY) -> VALUE_OR_NULL, ALL, NONE;
    211 cgrp_storage_delete(MAP, btf0("cgroup")) -> INT, ALL, NONE;
}

/// Where a program type has a prototype of its own.
pub(super) fn proto_for(helper: &Helper, program_type: ProgramType) -> Proto {
    use ProgramType as P;
    let first = match (helper.id, program_type) {
        // get_cgroup_classid: of the running task where there is no packet.
        (17, P::SchedCls | P::SchedAct | P::LwtIn | P::LwtOut | P::LwtXmit | P::LwtSeg6local) => CTX,
        (17, _) => ArgKind::None,
        // get_socket_cookie
        (46, P::Tracing | P::Syscall | P::SkReuseport) => BTF_SOCK0,
        // setsockopt, getsockopt
        (49 | 57, P::CgroupSockopt | P::StructOps | P::Lsm) => BTF_SOCK,
        // xdp_get_buff_len
        (188, P::Tracing | P::Syscall) => btf("xdp_buff"),
        _ => helper.proto.args[0],
    };
    let second = match (helper.id, program_type) {
        // sk_storage_get
        (107, P::CgroupSock) => CTX,
        (107 | 108, P::Tracing) => btf0("sock_common"),
        // sk_assign
        (124, P::SkLookup) => SOCK0,
        _ => helper.proto.args[1],
    };
    let [_, _, third, fourth, fifth] = helper.proto.args;
    Proto { args: [first, second, third, fourth, fifth], ..helper.proto }
}

/// Where the `expected_attach_type` decides, too.
pub(super) fn attach_allows(helper: &Helper, program_type: ProgramType, attach_type: AttachType) -> bool {
    use attach::{GETSOCKOPT, INET4_CONNECT, INET6_CONNECT};
    match (helper.id, program_type) {
        // setsockopt, getsockopt
        (49 | 57, ProgramType::CgroupSockopt) => attach_type != GETSOCKOPT,
        // get_func_ip
        (173, program_type) => matches!(program_type, ProgramType::Kprobe | ProgramType::Tracing),
        // bind
        (64, ProgramType::CgroupSockAddr) => matches!(attach_type, INET4_CONNECT | INET6_CONNECT),
        // get_retval, set_retval: nothing to override where the result must be 1.
        (186 | 187, ProgramType::CgroupSockAddr) => {
            program_type.return_range(attach_type) != ReturnRange::Within { min: 1, max: 1 }
        }
        _ => true,
    }
}
