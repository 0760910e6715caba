// Tail calls from subprograms: the limit counts over the whole tree, and the target returns to the caller's caller.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

int tree(struct xdp_md *ctx);
int leaf(struct xdp_md *ctx);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 4);
	__uint(key_size, 4);
	__array(values, int(void *));
} jumps SEC(".maps") = {
	.values = { [0] = (void *)&tree, [1] = (void *)&leaf },
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, int);
	__type(value, long);
} runs SEC(".maps");

static void count(void)
{
	int key = 0;
	long *value = bpf_map_lookup_elem(&runs, &key);

	if (value)
		*value += 1;
}

static __noinline int again(struct xdp_md *ctx)
{
	volatile int missed = 0;

	bpf_tail_call(ctx, &jumps, 0);
	return missed;
}

static __noinline int end(struct xdp_md *ctx)
{
	volatile int missed = 0;

	bpf_tail_call(ctx, &jumps, 1);
	return missed;
}

SEC("xdp")
int tree(struct xdp_md *ctx)
{
	int first, second;

	count();
	first = again(ctx);
	second = again(ctx);
	return first + second + 1;
}

SEC("xdp")
int leaf(struct xdp_md *ctx)
{
	count();
	return 5;
}

SEC("xdp")
int tail(struct xdp_md *ctx)
{
	int result;

	count();
	result = end(ctx);
	return result + 100;
}

char _license[] SEC("license") = "GPL";
