/* A rate limiter: one token bucket for each source network, in an LRU hash.
 *
 * A bucket holds nanoseconds of credit: a packet costs `cost_ns`, time refills it up to `burst_ns`. IPv6
 * sources share the bucket of their /64.
 */
#include "packet.bpf.h"

struct source {
	__be32 address[2];
};

struct bucket {
	__u64 credit_ns;
	__u64 updated_ns;
	__u64 passed;
	__u64 dropped;
};

const volatile __u64 cost_ns = 1000000;  /* 1,000 packets a second */
const volatile __u64 burst_ns = 8000000; /* 8 packets at once */

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct source);
	__type(value, struct bucket);
} buckets SEC(".maps");

__u64 passed_total, dropped_total, exempt_total;

static __always_inline int spend(struct bucket *bucket, __u64 now)
{
	__u64 credit = bucket->credit_ns + (now - bucket->updated_ns);

	if (credit > burst_ns)
		credit = burst_ns;
	bucket->updated_ns = now;
	if (credit < cost_ns) {
		bucket->credit_ns = credit;
		bucket->dropped++;
		return 0;
	}
	bucket->credit_ns = credit - cost_ns;
	bucket->passed++;
	return 1;
}

SEC("xdp")
int ratelimit(struct xdp_md *ctx)
{
	struct source source = {};
	struct packet packet;
	struct bucket *bucket;
	__u64 now;

	if (parse(ctx, &packet) != PARSE_OK) {
		__sync_fetch_and_add(&exempt_total, 1);
		return XDP_PASS;
	}
	source.address[0] = packet.flow.source[0];
	if (packet.flow.version == 6)
		source.address[1] = packet.flow.source[1];
	now = bpf_ktime_get_ns();
	bucket = bpf_map_lookup_elem(&buckets, &source);
	if (!bucket) {
		struct bucket full = { burst_ns, now, 0, 0 };

		bpf_map_update_elem(&buckets, &source, &full, BPF_NOEXIST);
		bucket = bpf_map_lookup_elem(&buckets, &source);
		if (!bucket)
			return XDP_ABORTED;
	}
	if (!spend(bucket, now)) {
		__sync_fetch_and_add(&dropped_total, 1);
		return XDP_DROP;
	}
	__sync_fetch_and_add(&passed_total, 1);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
