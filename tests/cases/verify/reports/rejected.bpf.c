/* Programs that are rejected, one reason each. The name of a program is the code of its reason, behind a policy if it
 * is not `user`; what is reported of them is in rejected.txt. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_helpers.h>

#define NAKED __attribute__((naked))
#define PACKET(start, end) \
	void *start = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end

struct flow { __u32 hits[12]; };

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, struct flow);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct flow);
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__uint(map_flags, BPF_F_RDONLY_PROG);
	__type(key, __u32);
	__type(value, __u64);
} limits SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_WRONLY_PROG);
	__type(key, __u32);
	__type(value, __u64);
} totals SEC(".maps");

struct guarded { struct bpf_spin_lock lock; __u32 count; };
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct guarded);
} shared SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

/* Memory accesses. */

SEC("xdp") int outside_packet(struct xdp_md *ctx)
{
	PACKET(data, end);
	struct ethhdr *eth = data;

	if (data + 12 > end)
		return XDP_DROP;
	return eth->h_proto == 8 ? XDP_PASS : XDP_DROP;
}

SEC("xdp") int out_of_bounds(struct xdp_md *ctx)
{
	PACKET(data, end);
	__u32 key = 3;
	struct flow *flow = bpf_map_lookup_elem(&slots, &key);

	if (!flow || data + 15 > end)
		return XDP_DROP;
	return flow->hits[*(__u8 *)(data + 14) & 15];
}

SEC("xdp") int nullable_access(struct xdp_md *ctx)
{
	__u32 key = ctx->rx_queue_index;
	struct flow *flow = bpf_map_lookup_elem(&flows, &key);

	flow->hits[0]++;
	return XDP_PASS;
}

SEC("xdp") int number_access(struct xdp_md *ctx)
{
	__u32 *queue = (void *)(long)ctx->rx_queue_index;

	return *queue;
}

SEC("xdp") int invalid_access(struct xdp_md *ctx)
{
	return *(__u8 *)(long)ctx->data_end;
}

SEC("xdp") int negative_offset(struct xdp_md *ctx)
{
	__u32 key = 7;
	struct flow *flow = bpf_map_lookup_elem(&flows, &key);
	__s64 index;

	if (!flow)
		return XDP_DROP;
	index = *(__s32 *)&flow->hits[0];
	asm volatile("" : "+r"(index));
	if (index > 11 || index < -100)
		return XDP_DROP;
	return flow->hits[index];
}

SEC("xdp") int offset_too_large(struct xdp_md *ctx)
{
	__u32 key = 7;
	struct flow *flow = bpf_map_lookup_elem(&flows, &key);
	__s64 index;

	if (!flow)
		return XDP_DROP;
	index = *(__s32 *)&flow->hits[0];
	asm volatile("" : "+r"(index));
	if (index > 11)
		return XDP_DROP;
	return flow->hits[index];
}

SEC("xdp") int unbounded_offset(struct xdp_md *ctx)
{
	__u32 key = 7;
	struct flow *flow = bpf_map_lookup_elem(&flows, &key);

	if (!flow)
		return XDP_DROP;
	return flow->hits[bpf_get_prandom_u32()];
}

SEC("xdp") int outside_stack(struct xdp_md *ctx)
{
	volatile char buffer[16] = {};
	__u32 index = ctx->rx_queue_index;

	if (index > 600)
		return XDP_DROP;
	return buffer[index];
}

SEC("xdp") NAKED int misaligned(void)
{
	asm volatile("r0 = 0; *(u32 *)(r10 - 6) = r0; exit");
}

SEC("xdp") NAKED int context_access(void)
{
	asm volatile("r0 = *(u32 *)(r1 + 28); exit");
}

SEC("xdp") int read_only_map(struct xdp_md *ctx)
{
	__u32 key = 1;
	__u64 *limit = bpf_map_lookup_elem(&limits, &key);

	if (limit)
		*limit = 0;
	return XDP_PASS;
}

SEC("xdp") int write_only_map(struct xdp_md *ctx)
{
	__u32 key = 0;
	__u64 *total = bpf_map_lookup_elem(&totals, &key);

	return total ? *total : XDP_PASS;
}

SEC("xdp") int special_field(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct guarded *guarded = bpf_map_lookup_elem(&shared, &key);

	if (guarded)
		*(volatile __u32 *)&guarded->lock = 0;
	return XDP_PASS;
}

SEC("xdp") NAKED int atomic_target(void)
{
	asm volatile("r0 = 1; lock *(u32 *)(r1 + 12) += r0; exit");
}

SEC("xdp") NAKED int mixed_pointers(void)
{
	asm volatile("r2 = *(u32 *)(r1 + 16); r4 = 0; r3 = r10; r3 += -16; *(u64 *)(r3 + 0) = r4;"
		     "if r2 == 0 goto +1; r3 = r1; r0 = *(u32 *)(r3 + 0); r0 = 0; exit");
}

/* Registers and pointers. */

SEC("xdp") NAKED int uninitialised_register(void)
{
	asm volatile("r2 = *(u32 *)(r1 + 16); if r2 > 7 goto +1; r0 = 2; exit");
}

SEC("xdp") NAKED int frame_pointer_write(void)
{
	asm volatile("r0 = 0; r10 = r1; exit");
}

SEC("xdp") NAKED int pointer_arithmetic(void)
{
	asm volatile("r0 = 0; r2 = *(u32 *)(r1 + 0); r2 <<= 8; exit");
}

SEC("xdp") NAKED int pointer_arithmetic_32(void)
{
	asm volatile("r0 = 0; r2 = *(u32 *)(r1 + 0); w2 += 14; exit");
}

SEC("xdp") NAKED int pointer_and_pointer(void)
{
	asm volatile("r0 = 0; r1 += r10; exit");
}

SEC("xdp") int offset_unbounded(struct xdp_md *ctx)
{
	__u32 key = 7;
	__s64 *step = bpf_map_lookup_elem(&limits, &key);
	PACKET(data, end);

	if (!step || *step > 100)
		return XDP_DROP;
	data += *step;
	if (data + 1 > end)
		return XDP_DROP;
	return *(__u8 *)data;
}

SEC("xdp") NAKED int nullable_arithmetic(void)
{
	asm volatile("*(u32 *)(r10 - 4) = 7; r2 = r10; r2 += -4; r1 = %[flows] ll; call 1;"
		     "r0 += 4; if r0 == 0 goto +1; r0 = *(u32 *)(r0 + 0); exit" ::[flows] "i"(&flows));
}

SEC("xdp") int modified_pointer(struct xdp_md *ctx)
{
	return bpf_xdp_adjust_head((void *)ctx + 8, 4);
}

SEC("xdp") NAKED int partial_pointer_spill(void)
{
	asm volatile("r0 = 0; *(u32 *)(r10 - 8) = r1; exit");
}

SEC("xdp") NAKED int partial_pointer_fill(void)
{
	asm volatile("r0 = 0; *(u64 *)(r10 - 8) = r1; r0 = *(u32 *)(r10 - 8); exit");
}

static __attribute__((noinline, naked)) int *below(void)
{
	asm volatile("r0 = r10; r0 += -8; exit");
}
SEC("xdp") int stack_pointer_escapes(struct xdp_md *ctx)
{
	return *below();
}

/* Control flow. */

SEC("xdp") int infinite_loop(struct xdp_md *ctx)
{
	PACKET(data, end);

	if (data + 1 > end || *(__u8 *)data != 0x45)
		return XDP_PASS;
	for (;;)
		asm volatile("");
}

SEC("xdp") NAKED int unreachable_insn(void)
{
	asm volatile("r0 = 0; exit; r0 = 1; exit");
}

static __noinline int deeper(struct xdp_md *ctx, int depth)
{
	int below;

	if (!depth)
		return 0;
	below = deeper(ctx, depth - 1);
	asm volatile("" : "+r"(below));
	return below;
}
SEC("xdp") int recursion(struct xdp_md *ctx)
{
	return deeper(ctx, ctx->rx_queue_index);
}

static __noinline int inner(int index)
{
	volatile char buffer[300] = {};

	return buffer[index & 63];
}
SEC("xdp") int stack_too_deep(struct xdp_md *ctx)
{
	volatile char buffer[300] = {};

	return inner(ctx->rx_queue_index) + buffer[7];
}

SEC("cgroup_skb/ingress") int return_out_of_range(struct __sk_buff *skb)
{
	return skb->len < 1500 ? 1 : 5;
}

/* Calls. */

SEC("xdp") NAKED int unknown_helper(void)
{
	asm volatile("call 9999; exit");
}

struct xdp_md___other { __u32 no_such_field; } __attribute__((preserve_access_index));
SEC("xdp") int unrelocated(struct xdp_md *ctx)
{
	return ((struct xdp_md___other *)ctx)->no_such_field;
}

SEC("xdp") NAKED int call_target(void)
{
	asm volatile("r0 = 0; r2 = r10; .8byte 0x000000020000008d; exit");
}

SEC("xdp") int helper_not_allowed(struct xdp_md *ctx)
{
	char byte;

	return bpf_skb_load_bytes(ctx, 0, &byte, 1);
}

SEC("xdp") int helper_needs_gpl(struct xdp_md *ctx)
{
	char text[] = "here";

	bpf_trace_printk(text, sizeof(text));
	return XDP_PASS;
}

SEC("xdp") int argument_type(struct xdp_md *ctx)
{
	__u32 key = 0;

	bpf_map_delete_elem(ctx, &key);
	return XDP_PASS;
}

SEC("xdp") int map_kind(struct xdp_md *ctx)
{
	return bpf_redirect_map(&flows, 0, XDP_PASS);
}

SEC("xdp") int size_unbounded(struct xdp_md *ctx)
{
	char buffer[32];

	return bpf_xdp_load_bytes(ctx, 0, buffer, bpf_get_prandom_u32() | 1);
}

SEC("xdp") int size_negative(struct xdp_md *ctx)
{
	char buffer[32];
	__u32 key = 0;
	__s64 *limit = bpf_map_lookup_elem(&limits, &key);
	__s64 size;

	if (!limit)
		return XDP_PASS;
	size = *limit;
	asm volatile("" : "+r"(size));
	if (size > (__s64)sizeof(buffer))
		return XDP_PASS;
	return bpf_xdp_load_bytes(ctx, 0, buffer, size);
}

SEC("xdp") int size_zero(struct xdp_md *ctx)
{
	char buffer[32];

	return bpf_xdp_load_bytes(ctx, 0, buffer, bpf_get_prandom_u32() & 31);
}

SEC("xdp") int not_constant(struct xdp_md *ctx)
{
	__u64 *event = bpf_ringbuf_reserve(&events, ctx->rx_queue_index, 0);

	if (event)
		bpf_ringbuf_discard(event, 0);
	return XDP_PASS;
}

SEC("xdp") int not_a_constant_string(struct xdp_md *ctx)
{
	char port[8] = "eth0", name[8] = "eth1";

	return bpf_strncmp(port, sizeof(port), name);
}

/* References and locks. */

SEC("xdp") int unreleased(struct xdp_md *ctx)
{
	PACKET(data, end);
	__u64 *event = bpf_ringbuf_reserve(&events, 8, 0);

	if (!event)
		return XDP_PASS;
	if (data + 14 > end)
		return XDP_DROP;
	*event = end - data;
	bpf_ringbuf_submit(event, 0);
	return XDP_PASS;
}

SEC("xdp") NAKED int not_acquired(void)
{
	asm volatile("*(u32 *)(r10 - 4) = 7; r2 = r10; r2 += -4; r1 = %[flows] ll; call 1; if r0 == 0 goto +3;"
		     "r1 = r0; r2 = 0; call 132; r0 = 0; exit" ::[flows] "i"(&flows));
}

SEC("xdp") int locked(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct guarded *guarded = bpf_map_lookup_elem(&shared, &key);

	if (!guarded)
		return XDP_PASS;
	bpf_spin_lock(&guarded->lock);
	if (guarded->count++ > 9)
		return XDP_DROP;
	bpf_spin_unlock(&guarded->lock);
	return XDP_PASS;
}

SEC("xdp") int lock_held(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct guarded *guarded = bpf_map_lookup_elem(&shared, &key);

	if (!guarded)
		return XDP_PASS;
	bpf_spin_lock(&guarded->lock);
	bpf_spin_lock(&guarded->lock);
	bpf_spin_unlock(&guarded->lock);
	return XDP_PASS;
}

SEC("xdp") int not_locked(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct guarded *guarded = bpf_map_lookup_elem(&shared, &key);

	if (guarded)
		bpf_spin_unlock(&guarded->lock);
	return XDP_PASS;
}

SEC("xdp") int call_in_lock(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct guarded *guarded = bpf_map_lookup_elem(&shared, &key);

	if (!guarded)
		return XDP_PASS;
	bpf_spin_lock(&guarded->lock);
	guarded->count = bpf_ktime_get_ns();
	bpf_spin_unlock(&guarded->lock);
	return XDP_PASS;
}

/* Rules of the policies `strict` and `kernel`. */

SEC("xdp") NAKED int strict_uninitialised_stack(void)
{
	asm volatile("r0 = *(u64 *)(r10 - 16); exit");
}

SEC("xdp") NAKED int strict_pointer_leak(void)
{
	asm volatile("r0 = r1; exit");
}

SEC("xdp") NAKED int strict_pointer_comparison(void)
{
	asm volatile("r0 = 0; if r1 > 4096 goto +1; r0 = 1; exit");
}

SEC("xdp") NAKED int kernel_division_by_zero(void)
{
	asm volatile("r0 = 7; r0 /= 0; exit");
}

SEC("xdp") NAKED int kernel_shift_too_far(void)
{
	asm volatile("r0 = 7; r0 <<= 64; exit");
}

SEC("xdp") NAKED int kernel_register_call(void)
{
	asm volatile("r2 = 5; .8byte 0x000000020000008d; exit");
}

char _license[] SEC("license") = "MIT";
