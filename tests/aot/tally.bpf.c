// Touches all that the C runtime has: every kind of map, helpers that move the packet, a checksum, the clock, random
// bits, atomics, constants, globals, a subprogram, a table of branches.
//
//   clang-19 --target=bpf -mcpu=v4 -O2 -g -ffile-prefix-map=$PWD/= -fdebug-compilation-dir=. -c tally.bpf.c -o tally.bpf.o
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u64);
} by_kind SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 3);
	__type(key, __u32);
	__type(value, __u64);
} sums SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u8[6]);
	__type(value, __u32[3]);
} sources SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 4);
	__type(key, __u16);
	__type(value, __u64);
} protocols SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u64);
} lengths SEC(".maps");

const volatile __u32 weights[8] = {3, 1, 4, 1, 5, 9, 2, 6};
__u64 seen;
__s64 mixed = -77;

static __attribute__((noinline)) __u64 mix(__u64 a, __s64 b, __u32 kind)
{
	switch (kind) {
	case 0:
		return a + b;
	case 1:
		return a * 31 ^ b;
	case 2:
		return b / (__s64)(a | 1);
	case 3:
		return (a << 7 | a >> 57) - b;
	case 4:
		return b % (__s64)((a & 15) - 8);
	case 5:
		return __builtin_bswap64(a) ^ b;
	default:
		return (__u64)((__s64)a >> 3) + (__s32)b;
	}
}

SEC("xdp")
int tally(struct xdp_md *ctx)
{
	unsigned char *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 kind, length = end - data, zero = 0, one = 1;
	__u32 block[4] = {};
	__u8 source[6];
	__u16 protocol;
	__u64 *count, first = 1, *sum;
	__u32 *known;

	if (data + 18 > end)
		return XDP_ABORTED;
	__builtin_memcpy(source, data + 6, 6);
	protocol = data[12] << 8 | data[13];
	kind = (data[17] + length) & 7;
	__sync_fetch_and_add(&seen, weights[kind]);
	count = bpf_map_lookup_elem(&by_kind, &kind);
	if (count)
		__sync_fetch_and_add(count, 1);
	mixed = mix(seen + length, mixed, kind);
	block[0] = *(__u32 *)(data + 14);
	block[1] = length;
	sum = bpf_map_lookup_elem(&sums, &zero);
	if (sum)
		*sum += bpf_csum_diff(0, 0, block, sizeof(block), protocol);
	sum = bpf_map_lookup_elem(&sums, &one);
	if (sum)
		*sum ^= bpf_ktime_get_ns() + bpf_get_prandom_u32() + bpf_get_smp_processor_id() + bpf_jiffies64();
	known = bpf_map_lookup_elem(&sources, source);
	if (known) {
		known[0]++;
		known[1] = length;
		known[2] ^= block[0];
		if (known[0] == 5)
			bpf_map_delete_elem(&sources, source);
	} else {
		__u32 fresh[3] = {1, length, kind};
		long error = bpf_map_update_elem(&sources, source, fresh, BPF_NOEXIST);
		if (error) {
			__u32 two = 2;
			sum = bpf_map_lookup_elem(&sums, &two);
			if (sum)
				*sum += error;
		}
	}
	count = bpf_map_lookup_elem(&protocols, &protocol);
	if (count)
		*count += length;
	else
		bpf_map_update_elem(&protocols, &protocol, &first, BPF_ANY);
	bpf_map_update_elem(&lengths, &length, &seen, BPF_ANY);
	if (kind == 3 && !bpf_xdp_adjust_head(ctx, -8)) {
		data = (void *)(long)ctx->data;
		end = (void *)(long)ctx->data_end;
		if (data + 8 > end)
			return XDP_ABORTED;
		*(__u64 *)data = mixed;
		return XDP_TX;
	}
	if (kind == 5 && !bpf_xdp_adjust_tail(ctx, -2))
		return XDP_DROP;
	if (kind == 6) {
		bpf_xdp_store_bytes(ctx, 14, &mixed, 4);
		return (int)bpf_xdp_get_buff_len(ctx);
	}
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
