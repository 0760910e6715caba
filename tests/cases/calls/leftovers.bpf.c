// Objects that stay in maps, in other objects and in a program that is stopped. No other test has types of these sizes.
#include "objects.h"

struct inner {
	char bytes[333];
};

struct outer {
	struct bpf_list_node node;
	struct inner __kptr *inner;
	char bytes[340];
};

struct leaf {
	struct bpf_rb_node node;
	__u64 key;
	char bytes[350];
};

struct value {
	__u64 number;
	struct inner __kptr *inner;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct value);
	__uint(max_entries, 3);
} array SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, __u32);
	__type(value, struct value);
	__uint(max_entries, 3);
} table SEC(".maps");

private(A) struct bpf_spin_lock lock;
private(A) struct bpf_list_head outers __contains(outer, node);
private(A) struct bpf_rb_root leaves __contains(leaf, node);

static _Bool less(struct bpf_rb_node *a, const struct bpf_rb_node *b)
{
	return container_of(a, struct leaf, node)->key < container_of(b, struct leaf, node)->key;
}

static void put(struct value *value)
{
	struct inner *inner = new(struct inner);

	if (!inner)
		return;
	inner = bpf_kptr_xchg(&value->inner, inner);
	if (inner)
		drop(inner);
}

SEC("tc") int keep(struct __sk_buff *ctx)
{
	struct value *value, empty = {};
	struct outer *outer;
	struct inner *inner;
	struct leaf *leaf;
	__u32 key = 0;

	outer = new(struct outer);
	if (!outer)
		return 1;
	inner = new(struct inner);
	if (inner) {
		inner = bpf_kptr_xchg(&outer->inner, inner);
		if (inner)
			drop(inner);
	}
	leaf = new(struct leaf);
	if (!leaf) {
		drop(outer);
		return 2;
	}
	leaf->key = ctx->mark;
	bpf_spin_lock(&lock);
	bpf_list_push_front_impl(&outers, &outer->node, 0, 0);
	bpf_rbtree_add_impl(&leaves, &leaf->node, less, 0, 0);
	bpf_spin_unlock(&lock);
	value = bpf_map_lookup_elem(&array, &key);
	if (value)
		put(value);
	bpf_map_update_elem(&table, &key, &empty, BPF_ANY);
	value = bpf_map_lookup_elem(&table, &key);
	if (value)
		put(value);
	return 0;
}

SEC("tc") int stopped(struct __sk_buff *ctx)
{
	struct outer *outer = new(struct outer);
	int sum = 0;

	if (!outer)
		return 1;
	// Only fuel ends it, which Linux does not have.
	while (!*(volatile __u32 *)&ctx->mark)
		sum += 1;
	drop(outer);
	return sum;
}

char _license[] SEC("license") = "GPL";
