// A program of a type that only its host knows: it judges requests. See plugin.rs.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "MIT";

struct request {
	const __u8 *body;
	const __u8 *body_end;
	__u16 port;
	__u32 score;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u16);
	__type(value, __u64);
} requests SEC(".maps");

static __u64 (*const entropy)(const void *bytes, __u64 length) = (void *)0x10000;

SEC("plugin")
int judge(struct request *request)
{
	__u16 port = request->port;
	__u64 one = 1, *seen = bpf_map_lookup_elem(&requests, &port);
	const __u8 *body = request->body;

	if (seen)
		__sync_fetch_and_add(seen, 1);
	else
		bpf_map_update_elem(&requests, &port, &one, BPF_ANY);
	if (body + 16 > request->body_end)
		return 0;
	request->score = entropy(body, 16);
	return request->score > 3000;
}
