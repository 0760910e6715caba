// Objects that the program allocates: lists, trees, kptrs, reference counts; what is left behind goes with its map.
#include "objects.h"

void bpf_rcu_read_lock(void) __ksym;
void bpf_rcu_read_unlock(void) __ksym;

struct item {
	__u64 key;
	struct bpf_list_node node;
	__u64 tail;
};

struct basket {
	struct bpf_spin_lock lock;
	__u32 count;
	struct bpf_list_head items __contains(item, node);
	struct bpf_list_node node;
};

struct leaf {
	struct bpf_rb_node node;
	__u64 key;
	struct bpf_list_node link;
	struct bpf_refcount count;
};

struct plain {
	__u64 key;
	char rest[1000];
};

struct largest {
	char bytes[4088];
};

struct too_large {
	char bytes[4089];
};

struct stash {
	__u64 turns;
	struct leaf __kptr *leaf;
	struct plain __kptr *plain;
};

struct held {
	struct bpf_spin_lock lock;
	__u32 count;
	struct bpf_list_head baskets __contains(basket, node);
	struct bpf_rb_root leaves __contains(leaf, node);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct stash);
	__uint(max_entries, 4);
} stashes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, __u32);
	__type(value, struct stash);
	__uint(max_entries, 2);
} table SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct stash);
	__uint(max_entries, 1);
} for_each_cpu SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, __u32);
	__type(value, struct held);
	__uint(max_entries, 4);
} nested SEC(".maps");

private(A) struct bpf_spin_lock lock;
private(A) struct bpf_list_head items __contains(item, node);
private(B) struct bpf_spin_lock tree_lock;
private(B) struct bpf_rb_root tree __contains(leaf, node);
private(B) struct bpf_list_head links __contains(leaf, link);
private(B) struct bpf_rb_root trees[2] __contains(leaf, node);

__u64 seed = 88172645463325252;
__u64 shape;
__u64 order;

static __u64 next(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static _Bool less(struct bpf_rb_node *a, const struct bpf_rb_node *b)
{
	return container_of(a, struct leaf, node)->key < container_of(b, struct leaf, node)->key;
}

// Objects go in at both ends and come out at both; the rest stays.
SEC("tc") int lists(struct __sk_buff *ctx)
{
	struct bpf_list_node *node;
	struct item *item;
	__u64 sum = 0;
	int i;

	for (i = 0; i < 20; i++) {
		item = new(struct item);
		if (!item)
			return 1;
		// What was there before is not the same everywhere: the kernel clears nothing.
		item->key = i;
		item->tail = ~0ULL;
		bpf_spin_lock(&lock);
		if (i & 1)
			bpf_list_push_front_impl(&items, &item->node, 0, 0);
		else
			bpf_list_push_back_impl(&items, &item->node, 0, 0);
		// Borrowed: still there.
		item->key += 100;
		bpf_spin_unlock(&lock);
	}
	for (i = 0; i < 14; i++) {
		bpf_spin_lock(&lock);
		node = bpf_list_front(&items);
		if (node)
			sum = sum * 31 + container_of(node, struct item, node)->key;
		node = bpf_list_back(&items);
		if (node)
			sum = sum * 31 + container_of(node, struct item, node)->key;
		node = i % 3 ? bpf_list_pop_front(&items) : bpf_list_pop_back(&items);
		bpf_spin_unlock(&lock);
		if (!node)
			return 2;
		item = container_of(node, struct item, node);
		sum = sum * 31 + item->key;
		drop(item);
	}
	order = sum;
	return sum & 0xffffff;
}

// A list in objects of a list in a map value; some are taken out again.
SEC("tc") int baskets(struct __sk_buff *ctx)
{
	struct held *held, empty = {};
	struct bpf_list_node *node;
	struct basket *basket;
	struct item *item;
	__u32 key = ctx->mark % 3;
	int result = 0;

	if (!bpf_map_lookup_elem(&nested, &key))
		bpf_map_update_elem(&nested, &key, &empty, 0);
	held = bpf_map_lookup_elem(&nested, &key);
	if (!held)
		return 1;
	basket = new(struct basket);
	if (!basket)
		return 2;
	item = new(struct item);
	if (!item) {
		drop(basket);
		return 3;
	}
	item->key = 7;
	bpf_spin_lock(&basket->lock);
	bpf_list_push_back_impl(&basket->items, &item->node, 0, 0);
	basket->count = 1;
	bpf_spin_unlock(&basket->lock);
	bpf_spin_lock(&held->lock);
	bpf_list_push_back_impl(&held->baskets, &basket->node, 0, 0);
	held->count += basket->count;
	bpf_spin_unlock(&held->lock);
	if (held->count < 3)
		return held->count;
	bpf_spin_lock(&held->lock);
	node = bpf_list_pop_front(&held->baskets);
	bpf_spin_unlock(&held->lock);
	if (!node)
		return 4;
	basket = container_of(node, struct basket, node);
	bpf_spin_lock(&basket->lock);
	node = bpf_list_pop_back(&basket->items);
	bpf_spin_unlock(&basket->lock);
	if (node) {
		item = container_of(node, struct item, node);
		result = item->key * 10;
		drop(item);
	}
	drop(basket);
	if (held->count == 5)
		bpf_map_delete_elem(&nested, &key);
	return result + held->count;
}

static void look(struct bpf_rb_node *node, __u64 *sum)
{
	*sum = *sum * 31 + (node ? container_of(node, struct leaf, node)->key + 1 : 0);
}

// The three topmost levels, and the first one.
static __u64 look_at_tree(void)
{
	struct bpf_rb_node *root, *left, *right, *node;
	__u64 sum = 0;

	bpf_spin_lock(&tree_lock);
	root = bpf_rbtree_root(&tree);
	look(root, &sum);
	if (root) {
		left = bpf_rbtree_left(&tree, root);
		look(left, &sum);
		if (left) {
			node = bpf_rbtree_left(&tree, left);
			look(node, &sum);
			node = bpf_rbtree_right(&tree, left);
			look(node, &sum);
		}
		right = bpf_rbtree_right(&tree, root);
		look(right, &sum);
		if (right) {
			node = bpf_rbtree_left(&tree, right);
			look(node, &sum);
			node = bpf_rbtree_right(&tree, right);
			look(node, &sum);
		}
	}
	node = bpf_rbtree_first(&tree);
	look(node, &sum);
	bpf_spin_unlock(&tree_lock);
	return sum;
}

// Leaves go in and out (the first one, or the topmost) in an order that the seed says.
SEC("tc") int leaves(struct __sk_buff *ctx)
{
	struct bpf_rb_node *node;
	struct leaf *leaf;
	__u64 sum = 0;
	int i;

	for (i = 0; i < 60; i++) {
		if (next() % 3) {
			leaf = new(struct leaf);
			if (!leaf)
				return 1;
			leaf->key = next() % 64;
			bpf_spin_lock(&tree_lock);
			bpf_rbtree_add_impl(&tree, &leaf->node, less, 0, 0);
			bpf_spin_unlock(&tree_lock);
		} else {
			bpf_spin_lock(&tree_lock);
			node = i & 1 ? bpf_rbtree_first(&tree) : bpf_rbtree_root(&tree);
			if (!node) {
				bpf_spin_unlock(&tree_lock);
				continue;
			}
			node = bpf_rbtree_remove(&tree, node);
			bpf_spin_unlock(&tree_lock);
			if (!node)
				return 2;
			leaf = container_of(node, struct leaf, node);
			sum = sum * 31 + leaf->key;
			drop(leaf);
		}
		sum = sum * 31 + look_at_tree();
	}
	shape = sum;
	return sum & 0xffffff;
}

// One object in a tree and a list; what it is in already refuses it, and so does the wrong tree.
SEC("tc") int counted(struct __sk_buff *ctx)
{
	struct bpf_rb_node *node, *other;
	struct bpf_list_node *link;
	struct leaf *leaf, *again;
	int result = 0;

	leaf = new(struct leaf);
	if (!leaf)
		return 1;
	leaf->key = 5;
	again = bpf_refcount_acquire_impl(leaf, 0);
	bpf_spin_lock(&tree_lock);
	if (bpf_rbtree_add_impl(&tree, &leaf->node, less, 0, 0))
		result |= 2;
	if (bpf_rbtree_add_impl(&tree, &again->node, less, 0, 0) == -22)
		result |= 4;
	bpf_spin_unlock(&tree_lock);
	bpf_spin_lock(&tree_lock);
	node = bpf_rbtree_first(&tree);
	if (!node) {
		bpf_spin_unlock(&tree_lock);
		return 8;
	}
	leaf = container_of(node, struct leaf, node);
	again = bpf_refcount_acquire_impl(leaf, 0);
	if (again) {
		result |= 16;
		if (bpf_list_push_front_impl(&links, &again->link, 0, 0))
			result |= 32;
	}
	other = bpf_rbtree_remove(&trees[1], node);
	bpf_spin_unlock(&tree_lock);
	if (other) {
		drop(container_of(other, struct leaf, node));
		return 64;
	}
	bpf_spin_lock(&tree_lock);
	link = bpf_list_pop_back(&links);
	bpf_spin_unlock(&tree_lock);
	if (!link)
		return 128;
	leaf = container_of(link, struct leaf, link);
	result += leaf->key << 8;
	bpf_spin_lock(&tree_lock);
	node = bpf_rbtree_remove(&tree, &leaf->node);
	bpf_spin_unlock(&tree_lock);
	drop(leaf);
	if (node) {
		result |= 1 << 16;
		leaf = container_of(node, struct leaf, node);
		bpf_spin_lock(&tree_lock);
		bpf_rbtree_add_impl(&trees[1], &leaf->node, less, 0, 0);
		bpf_spin_unlock(&tree_lock);
	}
	return result;
}

static int exchange(struct stash *stash)
{
	struct plain *plain, *old;
	struct leaf *leaf, *seen;
	int result = 0;

	plain = new(struct plain);
	if (!plain)
		return 1;
	plain->key = stash->turns + 40;
	plain->rest[999] = 3;
	old = bpf_kptr_xchg(&stash->plain, plain);
	if (old) {
		result = old->key + old->rest[999];
		drop(old);
	}
	// It may be gone any time, as far as anybody knows.
	plain = stash->plain;
	if (plain)
		result += plain->key << 8;
	leaf = new(struct leaf);
	if (!leaf)
		return 2;
	leaf->key = stash->turns + 1;
	leaf = bpf_kptr_xchg(&stash->leaf, leaf);
	if (leaf)
		drop(leaf);
	bpf_rcu_read_lock();
	seen = stash->leaf;
	if (seen) {
		leaf = bpf_refcount_acquire_impl(seen, 0);
		if (leaf) {
			result += leaf->key << 16;
			drop(leaf);
		}
	}
	bpf_rcu_read_unlock();
	if (stash->turns == 2) {
		leaf = bpf_kptr_xchg(&stash->leaf, 0);
		if (leaf) {
			result |= 1 << 24;
			drop(leaf);
		}
		leaf = bpf_kptr_xchg(&stash->leaf, 0);
		if (leaf) {
			result |= 1 << 25;
			drop(leaf);
		}
	}
	stash->turns += 1;
	return result;
}

SEC("tc") int exchanges(struct __sk_buff *ctx)
{
	struct stash *stash, empty = {};
	__u32 key = ctx->mark & 3;
	int result;

	stash = bpf_map_lookup_elem(&stashes, &key);
	if (!stash)
		return 1;
	result = exchange(stash);
	key &= 1;
	// A new value holds nothing.
	bpf_map_update_elem(&table, &key, &empty, key ? BPF_ANY : BPF_NOEXIST);
	stash = bpf_map_lookup_elem(&table, &key);
	if (!stash)
		return 2;
	result = result * 3 + exchange(stash);
	if (stash->turns == 4)
		bpf_map_delete_elem(&table, &key);
	key = 0;
	stash = bpf_map_lookup_elem(&for_each_cpu, &key);
	if (!stash)
		return 3;
	return result * 3 + exchange(stash);
}

SEC("tc") int sizes(struct __sk_buff *ctx)
{
	struct too_large *too_large;
	struct largest *largest;
	struct plain *plain;
	int result = 0;

	largest = new(struct largest);
	if (largest) {
		result |= 1;
		largest->bytes[4087] = 1;
		drop(largest);
	}
	too_large = new(struct too_large);
	if (too_large) {
		result |= 2;
		drop(too_large);
	}
	return result;
}

char _license[] SEC("license") = "GPL";
