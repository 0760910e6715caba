// A tree in an arena, with globals that live there too.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define __arena __attribute__((address_space(1)))

struct {
	__uint(type, 33); /* BPF_MAP_TYPE_ARENA */
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 100);
} arena SEC(".maps");

void __arena *bpf_arena_alloc_pages(void *map, void __arena *addr, __u32 count, int node, __u64 flags) __ksym;

struct iterator {
	__u64 opaque;
} __attribute__((aligned(8)));

int bpf_iter_num_new(struct iterator *it, int start, int end) __ksym;
int *bpf_iter_num_next(struct iterator *it) __ksym;
void bpf_iter_num_destroy(struct iterator *it) __ksym;

struct node {
	struct node __arena *left;
	struct node __arena *right;
	__u32 key;
	__u32 count;
};

struct numbers {
	__u64 start;
	__u64 sum;
	__u32 nodes;
	__u32 deepest;
};

struct node __arena *__arena root;
struct numbers __arena numbers = { .start = 40 };
__u32 __arena table[3000] = { [0] = 1, [2999] = 2 };

static struct node __arena *fresh;
static __u32 left_over;

static struct node __arena *make(__u32 key)
{
	struct node __arena *node;

	if (!left_over) {
		fresh = bpf_arena_alloc_pages(&arena, 0, 1, -1, 0);
		if (!fresh)
			return 0;
		left_over = 4096 / sizeof(*fresh);
	}
	left_over -= 1;
	node = fresh++;
	node->key = key;
	numbers.nodes += 1;
	return node;
}

static int insert(__u32 key)
{
	struct node __arena * __arena *at = &root;
	__u32 depth = 1;
	struct iterator it;
	int result = 2;

	bpf_iter_num_new(&it, 0, 64);
	while (bpf_iter_num_next(&it)) {
		struct node __arena *node = *at;

		if (!node) {
			node = make(key);
			if (!node) {
				result = 1;
				break;
			}
			*at = node;
			if (depth > numbers.deepest)
				numbers.deepest = depth;
		}
		if (node->key == key) {
			__sync_fetch_and_add(&node->count, 1);
			result = 0;
			break;
		}
		at = key < node->key ? &node->left : &node->right;
		depth += 1;
	}
	bpf_iter_num_destroy(&it);
	return result;
}

SEC("syscall")
int tree(void *ctx)
{
	__u32 seed = numbers.start;
	struct iterator it;
	int failed = 0;

	bpf_iter_num_new(&it, 0, 1000);
	while (bpf_iter_num_next(&it)) {
		seed = seed * 1103515245 + 12345;
		failed |= insert((seed >> 16) & 1023);
		numbers.sum += (seed >> 16) & 1023;
	}
	bpf_iter_num_destroy(&it);
	if (failed)
		return -failed;
	table[1] = numbers.nodes;
	table[2998] += table[0] + table[2999];
	return numbers.nodes + numbers.deepest;
}

char LICENSE[] SEC("license") = "GPL";
