/* A load balancer: picks a backend by rendezvous hashing, remembers it for the connection, and sends the
 * packet there by rewriting the destination (checksums updated, not recomputed), by IP-in-IP
 * encapsulation, or out of another interface.
 *
 * Rendezvous hashing is consistent: taking a backend away moves only its own connections.
 */
#include "packet.bpf.h"

#define BACKENDS 4

enum method { METHOD_NONE, METHOD_REWRITE, METHOD_ENCAPSULATE, METHOD_REDIRECT };

enum outcome {
	OUTCOME_PASSED,
	OUTCOME_REWRITTEN,
	OUTCOME_ENCAPSULATED,
	OUTCOME_REDIRECTED,
	OUTCOME_NO_BACKEND,
	OUTCOME_NO_ROOM,
	OUTCOME_COUNT,
};

struct service {
	__be32 address;
	__be16 port;
	__u8 protocol;
	__u8 pad;
};

struct backend {
	__be32 address;
	__u8 mac[6];
	__u8 up;
	__u8 port; /* index in `ports`, for METHOD_REDIRECT */
};

struct connection {
	__u32 backend;
	__u32 packets;
};

const volatile __be32 own_address = bpf_htonl(0x0a000001);
const volatile struct backend backends[BACKENDS] = {
	{ bpf_htonl(0x0a000a01), { 2, 0, 0, 0, 10, 1 }, 1, 0 },
	{ bpf_htonl(0x0a000a02), { 2, 0, 0, 0, 10, 2 }, 1, 1 },
	{ bpf_htonl(0x0a000a03), { 2, 0, 0, 0, 10, 3 }, 0, 2 },
	{ bpf_htonl(0x0a000a04), { 2, 0, 0, 0, 10, 4 }, 1, 3 },
};
/* 10.0.0.80:80 is rewritten, 10.0.0.90:443 encapsulated, 10.0.0.53:53/udp redirected. */
const volatile struct service rewritten = { bpf_htonl(0x0a000050), bpf_htons(80), IPPROTO_TCP };
const volatile struct service encapsulated = { bpf_htonl(0x0a00005a), bpf_htons(443), IPPROTO_TCP };
const volatile struct service redirected = { bpf_htonl(0x0a000035), bpf_htons(53), IPPROTO_UDP };

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct flow);
	__type(value, struct connection);
} connections SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, BACKENDS);
	__type(key, __u32);
	__type(value, __u32);
} ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, OUTCOME_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} outcomes SEC(".maps");

__u64 per_backend[BACKENDS];

static __always_inline int count(__u32 outcome, int action)
{
	__u64 *counter = bpf_map_lookup_elem(&outcomes, &outcome);

	if (counter)
		__sync_fetch_and_add(counter, 1);
	return action;
}

static __always_inline __u32 mix(__u32 hash, __u32 word)
{
	hash ^= word;
	hash *= 0x85ebca6b;
	hash ^= hash >> 13;
	hash *= 0xc2b2ae35;
	return hash ^ hash >> 16;
}

/* The backend with the highest hash of flow and backend. */
static __noinline int choose(struct flow *flow)
{
	int best = -1;
	__u32 best_hash = 0, ports;

	if (!flow)
		return -1;
	ports = (__u32)flow->source_port << 16 | flow->destination_port;
	for (int i = 0; i < BACKENDS; i++) {
		__u32 hash;

		if (!backends[i].up)
			continue;
		hash = mix(mix(mix(backends[i].address, flow->source[0]), flow->destination[0]), ports);
		if (best < 0 || hash > best_hash) {
			best = i;
			best_hash = hash;
		}
	}
	return best;
}

static __always_inline int is_service(const volatile struct service *service, struct flow *flow)
{
	return flow->version == 4 && flow->destination[0] == service->address &&
	       flow->destination_port == service->port && flow->protocol == service->protocol;
}

static __always_inline __u16 fold(__u64 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static __always_inline void set_mac(struct ethhdr *eth, __u32 backend)
{
	__builtin_memcpy(eth->h_source, eth->h_dest, 6);
	for (int i = 0; i < 6; i++)
		eth->h_dest[i] = backends[backend].mac[i];
}

static __always_inline int rewrite(struct xdp_md *ctx, struct packet *packet, __u32 backend)
{
	struct iphdr *ip = packet->network;
	struct tcphdr *tcp = packet->transport;
	__be32 to = backends[backend].address, from;

	if ((void *)(ip + 1) > packet->end || (void *)(tcp + 1) > packet->end)
		return count(OUTCOME_PASSED, XDP_PASS);
	from = ip->daddr;
	ip->check = ~fold(bpf_csum_diff(&from, 4, &to, 4, (__u16)~ip->check));
	tcp->check = ~fold(bpf_csum_diff(&from, 4, &to, 4, (__u16)~tcp->check));
	ip->daddr = to;
	set_mac(packet->data, backend);
	return count(OUTCOME_REWRITTEN, XDP_TX);
}

static __always_inline int encapsulate(struct xdp_md *ctx, struct packet *packet, __u32 backend)
{
	struct iphdr *inner = packet->network, *outer;
	struct ethhdr *old, *eth;
	__u16 length;
	__u8 tos;

	if (packet->vlan || (void *)(inner + 1) > packet->end)
		return count(OUTCOME_PASSED, XDP_PASS);
	length = bpf_ntohs(inner->tot_len);
	tos = inner->tos;
	if (bpf_xdp_adjust_head(ctx, -(int)sizeof(*outer)))
		return count(OUTCOME_NO_ROOM, XDP_ABORTED);
	eth = (void *)(long)ctx->data;
	old = (void *)eth + sizeof(*outer);
	outer = (void *)(eth + 1);
	packet->end = (void *)(long)ctx->data_end;
	if ((void *)(old + 1) > packet->end || (void *)(outer + 1) > packet->end)
		return count(OUTCOME_NO_ROOM, XDP_ABORTED);
	__builtin_memmove(eth, old, sizeof(*eth));
	set_mac(eth, backend);
	__builtin_memset(outer, 0, sizeof(*outer));
	outer->version = 4;
	outer->ihl = 5;
	outer->tos = tos;
	outer->tot_len = bpf_htons(length + sizeof(*outer));
	outer->ttl = 64;
	outer->protocol = IPPROTO_IPIP;
	outer->saddr = own_address;
	outer->daddr = backends[backend].address;
	outer->check = ~fold(bpf_csum_diff(0, 0, (__be32 *)outer, sizeof(*outer), 0));
	return count(OUTCOME_ENCAPSULATED, XDP_TX);
}

static __always_inline int redirect(struct xdp_md *ctx, __u32 backend)
{
	int action = bpf_redirect_map(&ports, backends[backend].port, XDP_PASS);

	return count(action == XDP_REDIRECT ? OUTCOME_REDIRECTED : OUTCOME_PASSED, action);
}

SEC("xdp")
int balancer(struct xdp_md *ctx)
{
	enum method method = METHOD_NONE;
	struct connection *connection;
	struct packet packet;
	int backend;

	if (parse(ctx, &packet) != PARSE_OK)
		return count(OUTCOME_PASSED, XDP_PASS);
	if (is_service(&rewritten, &packet.flow))
		method = METHOD_REWRITE;
	else if (is_service(&encapsulated, &packet.flow))
		method = METHOD_ENCAPSULATE;
	else if (is_service(&redirected, &packet.flow))
		method = METHOD_REDIRECT;
	if (method == METHOD_NONE)
		return count(OUTCOME_PASSED, XDP_PASS);
	connection = bpf_map_lookup_elem(&connections, &packet.flow);
	if (connection && connection->backend < BACKENDS && backends[connection->backend].up) {
		backend = connection->backend;
		__sync_fetch_and_add(&connection->packets, 1);
	} else {
		struct connection fresh = {};

		backend = choose(&packet.flow);
		if (backend < 0 || backend >= BACKENDS)
			return count(OUTCOME_NO_BACKEND, XDP_DROP);
		fresh.backend = backend;
		fresh.packets = 1;
		bpf_map_update_elem(&connections, &packet.flow, &fresh, BPF_ANY);
	}
	__sync_fetch_and_add(&per_backend[backend & (BACKENDS - 1)], 1);
	if (method == METHOD_REWRITE)
		return rewrite(ctx, &packet, backend);
	if (method == METHOD_ENCAPSULATE)
		return encapsulate(ctx, &packet, backend);
	return redirect(ctx, backend);
}

char _license[] SEC("license") = "GPL";
