// Global functions that several programs call: each is verified by itself.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct value {
	__u64 words[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct value);
} table SEC(".maps");

static __attribute__((noinline)) __u32 mix(__u32 n)
{
	for (int i = 0; i < 20; i++)
		n = n * 31 + (n >> 7) + i;
	return n;
}

__attribute__((noinline)) int sum(__u32 n)
{
	int all = 0;

	for (__u32 i = 0; i < (n & 63); i++)
		all += i ^ n;
	return all;
}

__attribute__((noinline)) int mixed(__u32 n)
{
	return mix(n) ^ mix(n + 1);
}

__attribute__((noinline)) int both(__u32 n)
{
	return sum(n) + mix(n);
}

__attribute__((noinline)) int word(__u32 key, __u32 at)
{
	struct value *value = bpf_map_lookup_elem(&table, &key);

	return value && at < 4 ? value->words[at] : 0;
}

__attribute__((noinline)) int wild(__u32 key, __u32 at)
{
	struct value *value = bpf_map_lookup_elem(&table, &key);

	return value ? value->words[at & 7] : 0;
}

SEC("xdp")
int first(struct xdp_md *ctx)
{
	__u32 n = ctx->rx_queue_index + 3;

	return sum(n) + mixed(n) + both(n) + word(n, n);
}

SEC("xdp")
int second(struct xdp_md *ctx)
{
	__u32 n = ctx->ingress_ifindex;

	if ((void *)(long)ctx->data + 14 > (void *)(long)ctx->data_end)
		return XDP_DROP;
	return word(n, 1) + both(n) + mixed(n + 3) + sum(5);
}

SEC("xdp")
int broken(struct xdp_md *ctx)
{
	return sum(3) + wild(1, ctx->rx_queue_index) + word(2, 2);
}

char _license[] SEC("license") = "GPL";
