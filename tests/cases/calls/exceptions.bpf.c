// Exceptions out of nested and of global functions, with and without a callback.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

extern void bpf_throw(__u64 cookie) __ksym;

#define exception_callback(name) __attribute__((btf_decl_tag("exception_callback:" #name)))

static int add(__u32 turn, void *sum)
{
	*(__u64 *)sum += turn;
	return 0;
}

__attribute__((noinline)) int finish(__u64 cookie)
{
	__u64 sum = 0;

	bpf_loop(5, add, &sum, 0);
	return cookie + sum;
}

__attribute__((noinline)) int global(int number)
{
	if (number > 3)
		bpf_throw(200);
	return number;
}

static __attribute__((noinline)) int inner(int number)
{
	volatile char bytes[100];

	bytes[number & 63] = 3;
	if (number > 3)
		bpf_throw(30);
	return bytes[1];
}

static __attribute__((noinline)) int outer(int number)
{
	return inner(number) + inner(number + 1);
}

SEC("tc") exception_callback(finish)
int with_callback(struct __sk_buff *skb)
{
	return outer(skb->len) + 1;
}

SEC("tc")
int without_callback(struct __sk_buff *skb)
{
	return outer(skb->len) + 1;
}

SEC("xdp")
int from_global(struct xdp_md *ctx)
{
	return global(ctx->data_end - ctx->data) & 1;
}

SEC("tc") exception_callback(finish)
int from_global_with_callback(struct __sk_buff *skb)
{
	return global(skb->len) & 1;
}

char LICENSE[] SEC("license") = "GPL";
