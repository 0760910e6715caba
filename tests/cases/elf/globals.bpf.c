/* Global data in sections of all sorts. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct config { __u32 limit; __u8 name[6]; char label[10]; };
const volatile struct config config = { .limit = 9, .label = "default" };
const volatile int enabled = 1;
int counter = 40;
static int hidden_counter = 2;
__u64 zeroes[4];
static __u32 quiet;
struct config tuned SEC(".data.tuned") = { .limit = 77 };
const volatile __u16 ports[3] SEC(".rodata.ports") = { 80, 443, 8080 };
__u32 odd SEC("odd_section") = 5;

SEC("xdp") int use_globals(struct xdp_md *ctx)
{
	char text[] = "a string literal long enough to be kept in a section of its own";
	static __u32 calls;
	if (!enabled) return XDP_ABORTED;
	counter += hidden_counter;
	hidden_counter++;
	quiet += text[ctx->rx_queue_index & 31];
	zeroes[1] += config.limit + tuned.limit + ports[1] + odd;
	return ++calls + quiet;
}
char _license[] SEC("license") = "GPL";
