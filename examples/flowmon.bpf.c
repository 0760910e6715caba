/* A flow monitor: counts packets by flow and sends an event for every new flow, end of a connection and
 * suspicious flag combination through a ring buffer. */
#include "packet.bpf.h"

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04

enum event_kind { EVENT_NEW = 1, EVENT_END = 2, EVENT_SUSPICIOUS = 3 };

struct event {
	__u32 kind;
	__u32 length;
	__u64 packets;
	__u64 bytes;
	struct flow flow;
};

struct flow_state {
	__u64 packets;
	__u64 bytes;
	__u32 tcp_flags;
	__u32 ended;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, struct flow);
	__type(value, struct flow_state);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
} events SEC(".maps");

/* Packets by the logarithm of their length. */
__u64 sizes[16];
__u64 lost_events, not_ip;
const volatile __u8 report_new = 1;

static __noinline __u32 log2_of(__u32 value)
{
	__u32 result = 0;

	for (int shift = 8; shift > 0; shift /= 2) {
		if (value >> shift) {
			value >>= shift;
			result += shift;
		}
	}
	return result;
}

static __always_inline void send_event(__u32 kind, struct packet *packet, struct flow_state *state)
{
	struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event) {
		__sync_fetch_and_add(&lost_events, 1);
		return;
	}
	event->kind = kind;
	event->length = packet->end - packet->data;
	event->packets = state->packets;
	event->bytes = state->bytes;
	event->flow = packet->flow;
	if (kind == EVENT_NEW && !report_new)
		bpf_ringbuf_discard(event, 0);
	else
		bpf_ringbuf_submit(event, 0);
}

SEC("xdp")
int flowmon(struct xdp_md *ctx)
{
	struct flow_state *state;
	struct packet packet;
	__u64 length;

	length = ctx->data_end - ctx->data;
	__sync_fetch_and_add(&sizes[log2_of(length) & 15], 1);
	if (parse(ctx, &packet) != PARSE_OK) {
		not_ip++;
		return XDP_PASS;
	}
	state = bpf_map_lookup_elem(&flows, &packet.flow);
	if (!state) {
		struct flow_state first = {};

		if (bpf_map_update_elem(&flows, &packet.flow, &first, BPF_NOEXIST) < 0)
			return XDP_PASS;
		state = bpf_map_lookup_elem(&flows, &packet.flow);
		if (!state)
			return XDP_PASS;
		send_event(EVENT_NEW, &packet, state);
	}
	__sync_fetch_and_add(&state->packets, 1);
	__sync_fetch_and_add(&state->bytes, length);
	__sync_fetch_and_or(&state->tcp_flags, packet.tcp_flags);
	if ((packet.tcp_flags & (TCP_SYN | TCP_FIN)) == (TCP_SYN | TCP_FIN)) {
		struct event event = { EVENT_SUSPICIOUS, length, state->packets, state->bytes, packet.flow };

		bpf_ringbuf_output(&events, &event, sizeof(event), 0);
	}
	if ((packet.tcp_flags & (TCP_FIN | TCP_RST)) && __sync_lock_test_and_set(&state->ended, 1) == 0)
		send_event(EVENT_END, &packet, state);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
