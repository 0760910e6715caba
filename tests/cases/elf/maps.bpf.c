/* Every way to describe a map by types. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define __kptr __attribute__((btf_type_tag("kptr")))
#define __contains(name, node) __attribute__((btf_decl_tag("contains:" #name ":" #node)))
/* As in newer headers. */
struct bpf_list_head { __u64 opaque[2]; } __attribute__((aligned(8)));
struct bpf_list_node { __u64 opaque[3]; } __attribute__((aligned(8)));

struct key { __u32 a; __u16 b; __u16 c; };
struct counts { __u64 packets; __u64 bytes; };
struct task_struct { int pid; } complete;
struct special {
	struct bpf_spin_lock lock;
	__u32 pad;
	struct bpf_timer timer;
	struct task_struct __kptr *task;
	__u64 plain;
	struct bpf_list_head head __contains(item, node);
};
struct item { int v; struct bpf_list_node node; } kept;
struct full { struct task_struct __kptr *tasks[11]; };
struct crowded { struct task_struct __kptr *tasks[12]; };

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct key);
	__type(value, struct counts);
	__uint(max_entries, 1000);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 24);
	__uint(max_entries, 3);
	__uint(numa_node, 0);
} sizes SEC(".maps");

/* As many special fields as count, and one more. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, int);
	__type(value, struct full);
	__uint(max_entries, 1);
} full SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, int);
	__type(value, struct crowded);
	__uint(max_entries, 1);
} crowded SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_BLOOM_FILTER);
	__type(value, __u64);
	__uint(max_entries, 100);
	__uint(map_extra, 3);
} bloom SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__type(key, int);
	__type(value, struct counts);
	__uint(max_entries, 4096);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct special);
	__uint(max_entries, 2);
} specials SEC(".maps");

struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 5);
};
struct inner inner_a SEC(".maps"), inner_b SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 4);
	__type(key, __u32);
	__array(values, struct inner);
} outer SEC(".maps") = { .values = { [0] = &inner_a, [3] = &inner_b } };

int tail_one(struct xdp_md *ctx);
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 3);
	__uint(key_size, 4);
	__array(values, int(struct xdp_md *));
} jumps SEC(".maps") = { .values = { [1] = (void *)&tail_one } };

static struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 1);
} hidden SEC(".maps");

SEC("xdp") int tail_one(struct xdp_md *ctx) { return XDP_DROP; }

SEC("xdp") int use_maps(struct xdp_md *ctx)
{
	struct key key = { .a = 1 };
	__u32 zero = 0;
	struct counts *counts = bpf_map_lookup_elem(&flows, &key);
	if (counts) counts->packets++;
	__u32 *seen = bpf_map_lookup_elem(&hidden, &zero);
	if (seen) ++*seen;
	__u64 bit = 7;
	bpf_map_push_elem(&bloom, &bit, 0);
	void *map = bpf_map_lookup_elem(&outer, &zero);
	if (map) {
		__u64 *value = bpf_map_lookup_elem(map, &zero);
		if (value) return *value;
	}
	bpf_tail_call(ctx, &jumps, 1);
	return XDP_PASS;
}
char _license[] SEC("license") = "Dual BSD/GPL";
