// bpf_loop and bpf_for_each_map_elem: number of calls, order, early stops, elements deleted on the way.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define MAP(name, kind, entries, key_type) \
	struct { \
		__uint(type, BPF_MAP_TYPE_##kind); \
		__uint(max_entries, entries); \
		__type(key, key_type); \
		__type(value, long); \
	} name SEC(".maps")

MAP(array, ARRAY, 7, int);
MAP(per_cpu, PERCPU_ARRAY, 5, int);
MAP(hash, HASH, 32, long);
MAP(results, ARRAY, 16, int);

struct bpf_map;
struct state {
	long sum, calls, stop;
};

static void put(int key, long value)
{
	bpf_map_update_elem(&results, &key, &value, 0);
}

static int turn(__u32 i, struct state *state)
{
	state->sum = state->sum * 3 + i;
	state->calls++;
	return i + 1 == state->stop;
}

static long element(struct bpf_map *map, int *key, long *value, struct state *state)
{
	state->sum += *key * 1000 + *value;
	*value += 1;
	return *key == state->stop;
}

static long removal(struct bpf_map *map, long *key, long *value, struct state *state)
{
	state->sum += *key * 1000 + *value;
	if (*key & 1)
		bpf_map_delete_elem(map, key);
	return 0;
}

SEC("xdp")
int callbacks(struct xdp_md *ctx)
{
	struct state all = { .stop = 100 }, few = { .stop = 4 };
	volatile long many = 0x100000003;

	put(0, bpf_loop(17, turn, &all, 0));
	put(1, all.sum);
	put(2, bpf_loop(17, turn, &few, 0));
	put(3, few.sum);
	put(4, bpf_loop(1 << 24, turn, &few, 0));
	put(5, bpf_loop(1, turn, &few, 1));
	put(6, bpf_loop(many, turn, &few, 0));
	for (int i = 0; i < 7; i++) {
		long value = i * i;

		bpf_map_update_elem(&array, &i, &value, 0);
	}
	struct state five = { .stop = 5 }, fifty = { .stop = 50 }, rest = {};

	put(7, bpf_for_each_map_elem(&array, element, &five, 0));
	put(8, five.sum);
	put(9, bpf_for_each_map_elem(&per_cpu, element, &fifty, 0));
	put(10, fifty.sum);
	for (long i = 0; i < 20; i++) {
		long value = i * 7;

		bpf_map_update_elem(&hash, &i, &value, 0);
	}
	put(11, bpf_for_each_map_elem(&hash, removal, &rest, 0));
	put(12, rest.sum);
	put(13, bpf_for_each_map_elem(&hash, removal, &rest, 1));
	put(14, bpf_for_each_map_elem(&hash, removal, &rest, 0));
	put(15, rest.sum);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
