/* Functions of every linkage, in several sections. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define noinline __attribute__((noinline))

static noinline int in_text(struct xdp_md *ctx, int n) { return ctx->rx_queue_index + n; }
noinline int visible(struct xdp_md *ctx) { return in_text(ctx, 3) ? in_text(ctx, 4) : 1; }
__weak noinline int weak_one(struct xdp_md *ctx) { return ctx->ingress_ifindex * 7; }
__hidden noinline int concealed(struct xdp_md *ctx) { return ctx->ingress_ifindex * 3; }

struct state { __u32 sum; };
static long add(__u32 index, struct state *state) { state->sum += index; return 0; }

SEC("xdp") int first(struct xdp_md *ctx) { return visible(ctx) + weak_one(ctx); }
SEC("xdp") int second(struct xdp_md *ctx)
{
	struct state state = { 0 };
	bpf_loop(10, add, &state, 0);
	return state.sum + concealed(ctx);
}
SEC("tc") static noinline int beside(struct __sk_buff *skb) { return skb->len; }
SEC("tc") int third(struct __sk_buff *skb) { return beside(skb) & 1; }
SEC("?tc") int optional(struct __sk_buff *skb) { return 0; }
SEC("nobody_knows") int by_context(struct xdp_md *ctx) { return XDP_PASS; }
SEC("kprobe/do_nothing") int traced(void *ctx) { return 0; }
SEC("xdp.frags") int with_frags(struct xdp_md *ctx) { return XDP_PASS; }
char _license[] SEC("license") = "GPL";
