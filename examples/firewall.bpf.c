/* A firewall: blocked networks (LPM), rules by service (hash), counters per reason and CPU.
 *
 * Fill `blocked_v4`, `blocked_v6` and `services` to set policy. Whoever connects to a trap port (telnet by
 * default) blocks itself: its address is added to the blocked networks.
 */
#include "packet.bpf.h"

enum reason {
	REASON_ACCEPTED,
	REASON_NOT_IP,
	REASON_MALFORMED,
	REASON_BLOCKED_NETWORK,
	REASON_TRAPPED,
	REASON_SERVICE_DENIED,
	REASON_VLAN_DENIED,
	REASON_FRAGMENT,
	REASON_COUNT,
};

struct counter {
	__u64 packets;
	__u64 bytes;
};

struct network_v4 {
	__u32 prefix_length;
	__be32 address;
};

struct network_v6 {
	__u32 prefix_length;
	__be32 address[4];
};

struct block {
	__u32 hits;
	__u32 automatic; /* put there by the program itself */
};

struct service {
	__be16 port;
	__u8 protocol;
	__u8 pad;
};

const volatile __u16 trap_port = 23;
const volatile __u16 denied_vlan = 666;
const volatile __u8 drop_fragments = 1;

__u64 automatic_blocks;

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, struct network_v4);
	__type(value, struct block);
} blocked_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, struct network_v6);
	__type(value, struct block);
} blocked_v6 SEC(".maps");

/* 0: deny, anything else: allow. A service that is not listed is allowed. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, struct service);
	__type(value, __u32);
} services SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, REASON_COUNT);
	__type(key, __u32);
	__type(value, struct counter);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 256);
	__type(key, struct service);
	__type(value, struct counter);
} per_service SEC(".maps");

static __always_inline int verdict(struct xdp_md *ctx, __u32 reason)
{
	struct counter *counter = bpf_map_lookup_elem(&counters, &reason);

	if (counter) {
		counter->packets++;
		counter->bytes += ctx->data_end - ctx->data;
	}
	switch (reason) {
	case REASON_ACCEPTED:
	case REASON_NOT_IP:
		return XDP_PASS;
	default:
		return XDP_DROP;
	}
}

static __noinline int is_blocked(struct flow *flow)
{
	struct block *block;

	if (!flow)
		return 0;
	if (flow->version == 4) {
		struct network_v4 key = { 32, flow->source[0] };

		block = bpf_map_lookup_elem(&blocked_v4, &key);
	} else {
		struct network_v6 key = { .prefix_length = 128 };

		__builtin_memcpy(key.address, flow->source, sizeof(key.address));
		block = bpf_map_lookup_elem(&blocked_v6, &key);
	}
	if (!block)
		return 0;
	__sync_fetch_and_add(&block->hits, 1);
	return 1;
}

static __noinline void block_source(struct flow *flow)
{
	struct block block = { 0, 1 };

	if (!flow)
		return;
	if (flow->version == 4) {
		struct network_v4 key = { 32, flow->source[0] };

		bpf_map_update_elem(&blocked_v4, &key, &block, BPF_ANY);
	} else {
		struct network_v6 key = { .prefix_length = 128 };

		__builtin_memcpy(key.address, flow->source, sizeof(key.address));
		bpf_map_update_elem(&blocked_v6, &key, &block, BPF_ANY);
	}
	__sync_fetch_and_add(&automatic_blocks, 1);
}

static __always_inline void count_service(struct service *service, __u64 bytes)
{
	struct counter *counter = bpf_map_lookup_elem(&per_service, service);

	if (counter) {
		counter->packets++;
		counter->bytes += bytes;
	} else {
		struct counter first = { 1, bytes };

		bpf_map_update_elem(&per_service, service, &first, BPF_NOEXIST);
	}
}

SEC("xdp")
int firewall(struct xdp_md *ctx)
{
	struct service service = {};
	struct packet packet;
	__u32 *allowed;

	switch (parse(ctx, &packet)) {
	case PARSE_NOT_IP:
		return verdict(ctx, REASON_NOT_IP);
	case PARSE_MALFORMED:
		return verdict(ctx, REASON_MALFORMED);
	case PARSE_OK:
		break;
	}
	if (packet.vlan && packet.vlan == denied_vlan)
		return verdict(ctx, REASON_VLAN_DENIED);
	if (packet.fragment && drop_fragments)
		return verdict(ctx, REASON_FRAGMENT);
	if (is_blocked(&packet.flow))
		return verdict(ctx, REASON_BLOCKED_NETWORK);
	if (packet.flow.protocol == IPPROTO_TCP && packet.flow.destination_port == bpf_htons(trap_port)) {
		block_source(&packet.flow);
		return verdict(ctx, REASON_TRAPPED);
	}
	service.port = packet.flow.destination_port;
	service.protocol = packet.flow.protocol;
	count_service(&service, packet.end - packet.data);
	allowed = bpf_map_lookup_elem(&services, &service);
	if (allowed && *allowed == 0)
		return verdict(ctx, REASON_SERVICE_DENIED);
	return verdict(ctx, REASON_ACCEPTED);
}

char _license[] SEC("license") = "GPL";
