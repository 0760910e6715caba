// Spin locks: counting that is not atomic by itself, and BPF_F_LOCK.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct counter {
	struct bpf_spin_lock lock;
	__u32 turns;
	__u64 first;
	__u64 second;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct counter);
	__uint(max_entries, 1);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, __u32);
	__type(value, struct counter);
	__uint(max_entries, 1);
} table SEC(".maps");

SEC("xdp") int count(struct xdp_md *ctx)
{
	struct counter *counter;
	__u32 key = 0;
	int i;

	counter = bpf_map_lookup_elem(&counters, &key);
	if (!counter)
		return 0;
	for (i = 0; i < 100; i++) {
		__u64 first;

		bpf_spin_lock(&counter->lock);
		first = *(volatile __u64 *)&counter->first;
		*(volatile __u64 *)&counter->second = first + 1;
		*(volatile __u64 *)&counter->first = first + 1;
		bpf_spin_unlock(&counter->lock);
	}
	return 100;
}

SEC("xdp") int update(struct xdp_md *ctx)
{
	struct counter fresh = { .turns = 3, .first = 4, .second = 5 }, *counter;
	__u32 key = 0;
	int sum = 0;

	sum = sum * 31 + bpf_map_update_elem(&table, &key, &fresh, BPF_F_LOCK);
	sum = sum * 31 + bpf_map_update_elem(&table, &key, &fresh, BPF_F_LOCK | BPF_NOEXIST);
	counter = bpf_map_lookup_elem(&table, &key);
	if (!counter)
		return 0;
	bpf_spin_lock(&counter->lock);
	sum = sum * 31 + counter->first;
	counter->first = 9;
	bpf_spin_unlock(&counter->lock);
	fresh.second = 7;
	sum = sum * 31 + bpf_map_update_elem(&table, &key, &fresh, BPF_F_LOCK | BPF_EXIST);
	sum = sum * 31 + counter->second;
	bpf_map_delete_elem(&table, &key);
	return sum;
}

char LICENSE[] SEC("license") = "GPL";
