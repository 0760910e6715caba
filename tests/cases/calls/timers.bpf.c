// Timers in values of an array and of a hash: what the helpers return, and what callbacks see.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define CLOCK_MONOTONIC 1
#define HOUR (3600ull * 1000000000)

struct element {
	__u64 fired;
	__u64 again;
	struct bpf_timer timer;
	__u64 key;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct element);
	__uint(max_entries, 4);
} array SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, __u32);
	__type(value, struct element);
	__uint(max_entries, 4);
} hash SEC(".maps");

static int fired(void *map, __u32 *key, struct element *value)
{
	value->fired++;
	value->key = *key;
	if (value->again) {
		value->again--;
		bpf_timer_start(&value->timer, 10, 0);
	}
	return 0;
}

static int removes_itself(void *map, __u32 *key, struct element *value)
{
	struct element *first;
	__u32 zero = 0;

	first = bpf_map_lookup_elem(&array, &zero);
	if (first)
		first->fired += 100 + bpf_timer_cancel(&value->timer) == 65;
	bpf_map_delete_elem(map, key);
	return 0;
}

#define NOTE(result) sum = sum * 31 + (result)

SEC("xdp") int results(struct xdp_md *ctx)
{
	struct element fresh = {}, *value;
	__u32 key = 1;
	int sum = 0;

	value = bpf_map_lookup_elem(&array, &key);
	if (!value)
		return 0;
	NOTE(bpf_timer_start(&value->timer, HOUR, 0));
	NOTE(bpf_timer_cancel(&value->timer));
	NOTE(bpf_timer_set_callback(&value->timer, fired));
	NOTE(bpf_timer_init(&value->timer, &array, 5));
	NOTE(bpf_timer_init(&value->timer, &array, 16));
	NOTE(bpf_timer_init(&value->timer, &array, CLOCK_MONOTONIC));
	NOTE(bpf_timer_init(&value->timer, &array, CLOCK_MONOTONIC));
	NOTE(bpf_timer_start(&value->timer, HOUR, 0));
	NOTE(bpf_timer_set_callback(&value->timer, fired));
	NOTE(bpf_timer_start(&value->timer, HOUR, 4));
	NOTE(bpf_timer_start(&value->timer, HOUR, 0));
	NOTE(bpf_timer_start(&value->timer, HOUR, 2));
	NOTE(bpf_timer_cancel(&value->timer));
	NOTE(bpf_timer_cancel(&value->timer));
	NOTE(bpf_timer_start(&value->timer, HOUR, 0));
	NOTE(bpf_timer_set_callback(&value->timer, fired));
	NOTE(bpf_timer_start(&value->timer, HOUR, 0));
	// An update takes the timer away.
	NOTE(bpf_map_update_elem(&array, &key, &fresh, 0));
	NOTE(bpf_timer_cancel(&value->timer));
	NOTE(bpf_map_update_elem(&hash, &key, &fresh, 0));
	value = bpf_map_lookup_elem(&hash, &key);
	if (!value)
		return 0;
	NOTE(bpf_timer_init(&value->timer, &hash, CLOCK_MONOTONIC));
	NOTE(bpf_timer_set_callback(&value->timer, fired));
	NOTE(bpf_timer_start(&value->timer, HOUR, 0));
	NOTE(bpf_map_delete_elem(&hash, &key));
	NOTE(bpf_map_update_elem(&hash, &key, &fresh, 0));
	value = bpf_map_lookup_elem(&hash, &key);
	if (!value)
		return 0;
	NOTE(bpf_timer_cancel(&value->timer));
	bpf_map_delete_elem(&hash, &key);
	return sum;
}

static void start(void *map, struct element *value, __u64 again, __u64 after, __u64 flags)
{
	value->again = again;
	bpf_timer_start(&value->timer, after, flags);
}

SEC("xdp") int starts(struct xdp_md *ctx)
{
	struct element fresh = {}, *value;
	__u32 key = 2;

	value = bpf_map_lookup_elem(&array, &key);
	if (!value)
		return 0;
	bpf_timer_init(&value->timer, &array, CLOCK_MONOTONIC);
	bpf_timer_set_callback(&value->timer, fired);
	start(&array, value, 2, 100, 0);
	bpf_map_update_elem(&hash, &key, &fresh, 0);
	value = bpf_map_lookup_elem(&hash, &key);
	if (!value)
		return 0;
	bpf_timer_init(&value->timer, &hash, CLOCK_MONOTONIC);
	bpf_timer_set_callback(&value->timer, fired);
	start(&hash, value, 0, 1050, 1);
	key = 3;
	bpf_map_update_elem(&hash, &key, &fresh, 0);
	value = bpf_map_lookup_elem(&hash, &key);
	if (!value)
		return 0;
	bpf_timer_init(&value->timer, &hash, CLOCK_MONOTONIC);
	bpf_timer_set_callback(&value->timer, removes_itself);
	start(&hash, value, 0, 200, 0);
	return 1;
}

char LICENSE[] SEC("license") = "GPL";
