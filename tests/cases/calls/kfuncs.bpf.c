// Iterators over bits, sets of CPUs, objects with a part for each CPU.
#include "objects.h"

#define __percpu_kptr __attribute__((btf_type_tag("percpu_kptr")))

struct bpf_iter_bits {
	__u64 opaque[2];
} __attribute__((aligned(8)));

struct bpf_res_spin_lock {
	__u32 val;
};
int bpf_res_spin_lock(struct bpf_res_spin_lock *lock) __ksym;
void bpf_res_spin_unlock(struct bpf_res_spin_lock *lock) __ksym;
int bpf_res_spin_lock_irqsave(struct bpf_res_spin_lock *lock, unsigned long *flags) __ksym;
void bpf_res_spin_unlock_irqrestore(struct bpf_res_spin_lock *lock, unsigned long *flags) __ksym;

struct cpumask {
	unsigned long bits[4];
};
struct bpf_cpumask {
	struct cpumask cpumask;
	__u32 usage;
};

int bpf_iter_bits_new(struct bpf_iter_bits *it, const __u64 *words, __u32 count) __ksym;
int *bpf_iter_bits_next(struct bpf_iter_bits *it) __ksym;
void bpf_iter_bits_destroy(struct bpf_iter_bits *it) __ksym;
void *bpf_percpu_obj_new_impl(__u64 type, void *meta) __ksym;
void bpf_percpu_obj_drop_impl(void *object, void *meta) __ksym;
void bpf_rcu_read_lock(void) __ksym;
void bpf_rcu_read_unlock(void) __ksym;
struct bpf_cpumask *bpf_cpumask_create(void) __ksym;
struct bpf_cpumask *bpf_cpumask_acquire(struct bpf_cpumask *mask) __ksym;
void bpf_cpumask_release(struct bpf_cpumask *mask) __ksym;
__u32 bpf_cpumask_first(const struct cpumask *mask) __ksym;
__u32 bpf_cpumask_first_zero(const struct cpumask *mask) __ksym;
__u32 bpf_cpumask_first_and(const struct cpumask *left, const struct cpumask *right) __ksym;
__u32 bpf_cpumask_any_distribute(const struct cpumask *mask) __ksym;
__u32 bpf_cpumask_any_and_distribute(const struct cpumask *left, const struct cpumask *right) __ksym;
void bpf_cpumask_set_cpu(__u32 cpu, struct bpf_cpumask *mask) __ksym;
void bpf_cpumask_clear_cpu(__u32 cpu, struct bpf_cpumask *mask) __ksym;
_Bool bpf_cpumask_test_cpu(__u32 cpu, const struct cpumask *mask) __ksym;
_Bool bpf_cpumask_test_and_set_cpu(__u32 cpu, struct bpf_cpumask *mask) __ksym;
_Bool bpf_cpumask_test_and_clear_cpu(__u32 cpu, struct bpf_cpumask *mask) __ksym;
void bpf_cpumask_setall(struct bpf_cpumask *mask) __ksym;
void bpf_cpumask_clear(struct bpf_cpumask *mask) __ksym;
_Bool bpf_cpumask_and(struct bpf_cpumask *into, const struct cpumask *left, const struct cpumask *right) __ksym;
void bpf_cpumask_or(struct bpf_cpumask *into, const struct cpumask *left, const struct cpumask *right) __ksym;
void bpf_cpumask_xor(struct bpf_cpumask *into, const struct cpumask *left, const struct cpumask *right) __ksym;
void bpf_cpumask_copy(struct bpf_cpumask *into, const struct cpumask *from) __ksym;
_Bool bpf_cpumask_equal(const struct cpumask *left, const struct cpumask *right) __ksym;
_Bool bpf_cpumask_intersects(const struct cpumask *left, const struct cpumask *right) __ksym;
_Bool bpf_cpumask_subset(const struct cpumask *left, const struct cpumask *right) __ksym;
_Bool bpf_cpumask_empty(const struct cpumask *mask) __ksym;
_Bool bpf_cpumask_full(const struct cpumask *mask) __ksym;
__u32 bpf_cpumask_weight(const struct cpumask *mask) __ksym;
int bpf_cpumask_populate(struct cpumask *mask, void *from, __u64 size) __ksym;

struct part {
	__u64 sum;
	__u64 turns;
};

struct value {
	__u64 number;
	struct part __percpu_kptr *parts;
};

struct set {
	struct bpf_cpumask __kptr *mask;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct value);
	__uint(max_entries, 2);
} values SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct set);
	__uint(max_entries, 1);
} sets SEC(".maps");

__u64 words[600];

static __u64 walk(const void *from, __u32 count)
{
	struct bpf_iter_bits it;
	__u64 sum = 1;
	int *bit;

	sum += (__u32)bpf_iter_bits_new(&it, from, count);
	while ((bit = bpf_iter_bits_next(&it)))
		sum = sum * 31 + *bit;
	// The end stays the end.
	if (bpf_iter_bits_next(&it))
		sum += 1;
	bpf_iter_bits_destroy(&it);
	return sum;
}

SEC("tc") int bits(struct __sk_buff *ctx)
{
	__u64 word = 0xf000000000310001ULL, two[2] = { 1ULL << 63, 1 };
	__u64 sum;

	words[0] = 0;
	words[3] = 0x8001;
	words[510] = 1ULL << 63;
	sum = walk(&word, 1);
	sum = sum * 7 + walk(two, 2);
	sum = sum * 7 + walk(words, 2);
	sum = sum * 7 + walk(words, 4);
	sum = sum * 7 + walk(words, 511);
	sum = sum * 7 + walk(words, 512);
	sum = sum * 7 + walk(words, 0);
	sum = sum * 7 + walk(words, 0x20000001);
	sum = sum * 7 + walk((void *)0, 1);
	sum = sum * 7 + walk((void *)8, 1);
	sum = sum * 7 + walk((void *)8, 2);
	return sum & 0xffffff;
}

SEC("tc") int parts(struct __sk_buff *ctx)
{
	struct part *parts, *part;
	struct value *value;
	__u32 key = ctx->mark & 1;
	int result = 0;

	value = bpf_map_lookup_elem(&values, &key);
	if (!value)
		return 1;
	if (!value->number) {
		parts = bpf_percpu_obj_new_impl(__builtin_btf_type_id(*(struct part *)0, 0), 0);
		if (!parts)
			return 2;
		parts = bpf_kptr_xchg(&value->parts, parts);
		if (parts) {
			bpf_percpu_obj_drop_impl(parts, 0);
			return 3;
		}
		// What was there before is not the same everywhere.
		bpf_rcu_read_lock();
		parts = value->parts;
		if (parts) {
			for (int cpu = 0; cpu < 2; cpu++) {
				part = bpf_per_cpu_ptr(parts, cpu);
				part->sum = 100 * cpu;
				part->turns = 0;
			}
		}
		bpf_rcu_read_unlock();
	}
	value->number += 1;
	bpf_rcu_read_lock();
	parts = value->parts;
	if (parts) {
		part = bpf_this_cpu_ptr(parts);
		part->turns += 1;
		part->sum += value->number;
		part = bpf_per_cpu_ptr(parts, 0);
		result = part->sum * 1000 + part->turns;
		part = bpf_per_cpu_ptr(parts, 1);
		result = result * 1000 + part->sum;
	}
	bpf_rcu_read_unlock();
	if (value->number == 4) {
		parts = bpf_kptr_xchg(&value->parts, 0);
		if (parts) {
			bpf_percpu_obj_drop_impl(parts, 0);
			value->number = 0;
		}
	}
	return result;
}

struct guarded {
	struct bpf_res_spin_lock lock;
	__u32 turns;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct guarded);
	__uint(max_entries, 2);
} guarded SEC(".maps");

// A lock that says no instead of waiting for itself.
SEC("tc") int resilient(struct __sk_buff *ctx)
{
	struct guarded *one, *same, *other;
	__u32 key = 0, next = 1;
	unsigned long flags;
	int error, result = 0;

	one = bpf_map_lookup_elem(&guarded, &key);
	same = bpf_map_lookup_elem(&guarded, &key);
	other = bpf_map_lookup_elem(&guarded, &next);
	if (!one || !same || !other)
		return 1;
	if (bpf_res_spin_lock(&one->lock))
		return 2;
	one->turns += 1;
	error = bpf_res_spin_lock(&same->lock);
	if (!error) {
		bpf_res_spin_unlock(&same->lock);
		bpf_res_spin_unlock(&one->lock);
		return 3;
	}
	result = -error;
	if (!bpf_res_spin_lock_irqsave(&other->lock, &flags)) {
		other->turns += 2;
		result = result * 100 + other->turns;
		bpf_res_spin_unlock_irqrestore(&other->lock, &flags);
	}
	bpf_res_spin_unlock(&one->lock);
	if (bpf_res_spin_lock(&same->lock))
		return 4;
	result = result * 100 + same->turns;
	bpf_res_spin_unlock(&same->lock);
	return result;
}

#define as_set(mask) ((const struct cpumask *)(mask))

SEC("syscall") int cpus(void *ctx)
{
	struct bpf_cpumask *a, *b, *c;
	struct set *set;
	__u64 sum = 0, from[4] = { 2 };
	__u32 key = 0;

	a = bpf_cpumask_create();
	if (!a)
		return 1;
	b = bpf_cpumask_create();
	if (!b) {
		bpf_cpumask_release(a);
		return 2;
	}
#define NOTE(what) (sum = sum * 5 + (what))
	NOTE(bpf_cpumask_empty(as_set(a)));
	NOTE(bpf_cpumask_full(as_set(a)));
	NOTE(bpf_cpumask_first(as_set(a)));
	NOTE(bpf_cpumask_first_zero(as_set(a)));
	bpf_cpumask_set_cpu(0, a);
	bpf_cpumask_set_cpu(1, b);
	bpf_cpumask_set_cpu(100000, b);
	NOTE(bpf_cpumask_test_cpu(0, as_set(a)));
	NOTE(bpf_cpumask_test_cpu(1, as_set(a)));
	NOTE(bpf_cpumask_test_cpu(100000, as_set(b)));
	NOTE(bpf_cpumask_first(as_set(b)));
	NOTE(bpf_cpumask_first_zero(as_set(a)));
	NOTE(bpf_cpumask_any_distribute(as_set(b)));
	NOTE(bpf_cpumask_any_and_distribute(as_set(a), as_set(b)));
	NOTE(bpf_cpumask_equal(as_set(a), as_set(b)));
	NOTE(bpf_cpumask_intersects(as_set(a), as_set(b)));
	NOTE(bpf_cpumask_subset(as_set(a), as_set(b)));
	NOTE(bpf_cpumask_test_and_set_cpu(1, a));
	NOTE(bpf_cpumask_test_and_set_cpu(1, a));
	NOTE(bpf_cpumask_subset(as_set(b), as_set(a)));
	NOTE(bpf_cpumask_intersects(as_set(a), as_set(b)));
	NOTE(bpf_cpumask_weight(as_set(a)));
	NOTE(bpf_cpumask_first_and(as_set(a), as_set(b)));
	NOTE(bpf_cpumask_and(a, as_set(a), as_set(b)));
	NOTE(bpf_cpumask_weight(as_set(a)));
	bpf_cpumask_xor(a, as_set(a), as_set(b));
	NOTE(bpf_cpumask_empty(as_set(a)));
	NOTE(bpf_cpumask_and(a, as_set(a), as_set(b)));
	bpf_cpumask_or(a, as_set(a), as_set(b));
	NOTE(bpf_cpumask_equal(as_set(a), as_set(b)));
	NOTE(bpf_cpumask_test_and_clear_cpu(1, a));
	NOTE(bpf_cpumask_test_and_clear_cpu(1, a));
	bpf_cpumask_setall(a);
	NOTE(bpf_cpumask_full(as_set(a)));
	NOTE(bpf_cpumask_first_zero(as_set(a)));
	NOTE(bpf_cpumask_weight(as_set(a)));
	bpf_cpumask_clear_cpu(0, a);
	bpf_cpumask_copy(b, as_set(a));
	NOTE(bpf_cpumask_equal(as_set(a), as_set(b)));
	bpf_cpumask_clear(a);
	NOTE(bpf_cpumask_empty(as_set(a)));
	NOTE((__u32)bpf_cpumask_populate((struct cpumask *)a, from, sizeof(from)));
	NOTE(bpf_cpumask_first(as_set(a)));
	NOTE((__u32)bpf_cpumask_populate((struct cpumask *)a, from, 4));
	c = bpf_cpumask_acquire(a);
	bpf_cpumask_release(a);
	set = bpf_map_lookup_elem(&sets, &key);
	if (!set) {
		bpf_cpumask_release(b);
		bpf_cpumask_release(c);
		return 3;
	}
	c = bpf_kptr_xchg(&set->mask, c);
	if (c) {
		NOTE(bpf_cpumask_first(as_set(c)));
		bpf_cpumask_release(c);
	}
	bpf_rcu_read_lock();
	c = set->mask;
	if (c)
		NOTE(bpf_cpumask_weight(as_set(c)));
	bpf_rcu_read_unlock();
	bpf_cpumask_release(b);
	return sum & 0xffffff;
}

char _license[] SEC("license") = "GPL";
