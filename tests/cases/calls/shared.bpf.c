// Objects go through a list and a tree that all threads share: each one comes out as often as it went in.
#include "objects.h"

struct item {
	__u64 key;
	struct bpf_list_node link;
	struct bpf_rb_node node;
	struct bpf_refcount count;
	__u64 check;
};

private(A) struct bpf_spin_lock lock;
private(A) struct bpf_list_head list __contains(item, link);
private(A) struct bpf_rb_root tree __contains(item, node);

struct {
	__u64 in, out, sum_in, sum_out, wrong;
} sums;

static _Bool less(struct bpf_rb_node *a, const struct bpf_rb_node *b)
{
	return container_of(a, struct item, node)->key < container_of(b, struct item, node)->key;
}

static void came_out(struct item *item)
{
	if (item->check != ~item->key)
		__sync_fetch_and_add(&sums.wrong, 1);
	__sync_fetch_and_add(&sums.out, 1);
	__sync_fetch_and_add(&sums.sum_out, item->key);
	drop(item);
}

SEC("tc") int churn(struct __sk_buff *ctx)
{
	struct bpf_list_node *link;
	struct bpf_rb_node *node;
	struct item *item, *again;
	__u64 last = 0;
	int i;

	for (i = 0; i < 8; i++) {
		item = new(struct item);
		if (!item)
			return 1;
		item->key = bpf_get_prandom_u32();
		item->check = ~item->key;
		__sync_fetch_and_add(&sums.in, 2);
		__sync_fetch_and_add(&sums.sum_in, 2 * item->key);
		again = bpf_refcount_acquire_impl(item, 0);
		bpf_spin_lock(&lock);
		bpf_list_push_back_impl(&list, &item->link, 0, 0);
		bpf_rbtree_add_impl(&tree, &again->node, less, 0, 0);
		bpf_spin_unlock(&lock);
	}
	for (i = 0; i < 8; i++) {
		bpf_spin_lock(&lock);
		link = bpf_list_pop_front(&list);
		bpf_spin_unlock(&lock);
		if (link)
			came_out(container_of(link, struct item, link));
		bpf_spin_lock(&lock);
		node = bpf_rbtree_first(&tree);
		if (!node) {
			bpf_spin_unlock(&lock);
			continue;
		}
		node = bpf_rbtree_remove(&tree, node);
		bpf_spin_unlock(&lock);
		if (node)
			came_out(container_of(node, struct item, node));
	}
	return 0;
}

char _license[] SEC("license") = "GPL";
