/* Maps, helpers and runs for programs compiled ahead of time. See beelift.h. */
#define _GNU_SOURCE
#include "beelift.h"

#include <errno.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { HASH = 1, ARRAY = 2, PERCPU_HASH = 5, PERCPU_ARRAY = 6, LRU_HASH = 9, LPM_TRIE = 11, DEVMAP = 14 };
enum { NOEXIST = 1, EXIST = 2 };
#define NIL UINT32_MAX
/* Of an lpm_trie: a length and 2048 bits. */
enum { LONGEST_KEY = 4 + 256 };

/* ---- runs ---- */

void beelift_run_begin(struct beelift_run *run, uint32_t cpu)
{
	memset(run, 0, sizeof *run);
	run->cpu = cpu;
	run->fuel = UINT64_MAX;
}

void beelift_trap_exit(struct beelift_run *run)
{
	longjmp(*(jmp_buf *)(uintptr_t)run->saved_sp, 1);
}

static int needs_table(const struct beelift_map *map)
{
	return map->kind != ARRAY && map->kind != PERCPU_ARRAY;
}

int beelift_run_program(const struct beelift_program *program, struct beelift_run *run, void *context,
			uint64_t length, uint64_t *result)
{
	jmp_buf back;

	*result = 0;
	if (run->cpu >= program->cpus)
		return BEELIFT_TRAP_CPU;
	for (uint32_t i = 0; i < program->map_count; i++)
		if (needs_table(program->maps[i]) && !program->maps[i]->table)
			return BEELIFT_TRAP_NOT_READY;
	run->trap = 0;
	run->trap_insn = 0;
	run->tail_calls = 0;
	run->redirect_map = NULL;
	run->context = (uintptr_t)context;
	run->saved_sp = (uintptr_t)&back;
	run->trap_exit = beelift_trap_exit;
	if (setjmp(back))
		return (int)run->trap;
	*result = program->entry(run, (uintptr_t)context, length);
	return (int)run->trap;
}

void beelift_packet_enter(struct beelift_packet *packet, void *buffer, size_t room, size_t headroom, size_t length)
{
	uint64_t start = (uintptr_t)buffer;

	packet->hard_start = start;
	packet->hard_end = start + room;
	packet->data = packet->data_meta = packet->lowest = start + headroom;
	packet->data_end = packet->highest = packet->data + length;
	packet->moved = 0;
}

/* ---- maps ---- */

/* Elements are made once and never freed, so a value that a program holds stays memory of the map. */
struct table {
	atomic_flag lock;
	uint64_t seed;
	uint32_t mask;
	uint32_t free; /* first free element */
	uint32_t newest, oldest; /* ends of the list by use, lru_hash only */
	size_t stride, key_room;
	char *elements;
	uint32_t *lengths; /* lpm_trie: how many elements have a prefix of that length */
	uint32_t heads[];
};

struct element {
	uint32_t next; /* in its chain, or free */
	uint32_t newer, older;
	uint32_t used;
	/* key, padded to 8; for lpm_trie once more, as it was given; value, or one for each CPU slot, padded to 8 */
};

static size_t padded(size_t size)
{
	return (size + 7) & ~(size_t)7;
}

static struct element *at(const struct table *table, uint32_t index)
{
	return (struct element *)(table->elements + (size_t)index * table->stride);
}

static char *key_of(const struct table *table, uint32_t index)
{
	return (char *)(at(table, index) + 1);
}

/* Programs find elements of an lpm_trie by the bits that count; walks show keys as they were given. */
static char *given_key(const struct beelift_map *map, const struct table *table, uint32_t index)
{
	return key_of(table, index) + (map->kind == LPM_TRIE ? padded(map->key_size) : 0);
}

static char *value_of(const struct beelift_map *map, const struct table *table, uint32_t cpu, uint32_t index)
{
	char *first = key_of(table, index) + table->key_room;

	return map->kind == PERCPU_HASH ? first + (size_t)cpu * padded(map->value_size) : first;
}

static void lock(struct table *table)
{
	while (atomic_flag_test_and_set_explicit(&table->lock, memory_order_acquire))
		;
}

static void unlock(struct table *table)
{
	atomic_flag_clear_explicit(&table->lock, memory_order_release);
}

static uint32_t bucket_of(const struct table *table, const void *key, size_t size)
{
	const unsigned char *bytes = key;
	uint64_t hash = table->seed, word;

	for (size_t left = size; left; left -= left < 8 ? left : 8, bytes += 8) {
		word = 0;
		memcpy(&word, bytes, left < 8 ? left : 8);
		hash = (hash ^ word) * 0x9e3779b97f4a7c15;
		hash ^= hash >> 32;
	}
	return (uint32_t)(hash ^ hash >> 16) & table->mask;
}

/* Bits of the longest prefix of an lpm_trie. */
static uint32_t longest_prefix(const struct beelift_map *map)
{
	return 8 * (map->key_size - (uint32_t)sizeof(uint32_t));
}

static int make_table(struct beelift_map *map)
{
	uint32_t buckets = 1;
	size_t values = padded(map->value_size);
	struct table *table;

	while (buckets < map->max_entries && buckets < 1u << 30)
		buckets *= 2;
	table = calloc(1, sizeof *table + (size_t)buckets * sizeof table->heads[0]);
	if (!table)
		return -ENOMEM;
	if (map->kind == PERCPU_HASH)
		values *= map->cpus;
	table->mask = buckets - 1;
	table->key_room = padded(map->key_size);
	if (map->kind == LPM_TRIE) {
		table->key_room *= 2;
		table->lengths = calloc(longest_prefix(map) + 1, sizeof *table->lengths);
	}
	table->stride = sizeof(struct element) + table->key_room + values;
	table->elements = calloc(map->max_entries, table->stride);
	if (!table->elements || (map->kind == LPM_TRIE && !table->lengths) ||
	    getentropy(&table->seed, sizeof table->seed)) {
		free(table->lengths);
		free(table->elements);
		free(table);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < buckets; i++)
		table->heads[i] = NIL;
	for (uint32_t i = 0; i < map->max_entries; i++)
		at(table, i)->next = i + 1 < map->max_entries ? i + 1 : NIL;
	table->newest = table->oldest = NIL;
	map->table = table;
	return 0;
}

int beelift_init(const struct beelift_program *program)
{
	if (program->abi != BEELIFT_ABI)
		return -EPROTO;
	for (uint32_t i = 0; i < program->map_count; i++) {
		struct beelift_map *map = program->maps[i];
		int error = 0;

		switch (map->kind) {
		case ARRAY:
		case PERCPU_ARRAY:
			break;
		case HASH:
		case PERCPU_HASH:
		case LRU_HASH:
		case LPM_TRIE:
			if (!map->table)
				error = make_table(map);
			break;
		case DEVMAP:
			if (!map->table && !(map->table = calloc(map->max_entries, sizeof(uint64_t))))
				error = -ENOMEM;
			break;
		default:
			error = -ENOTSUP;
		}
		if (error)
			return error;
	}
	return 0;
}

static void *array_value(const struct beelift_map *map, uint32_t cpu, uint32_t index)
{
	size_t stride = padded(map->value_size);
	size_t part = (stride * map->max_entries + 127) & ~(size_t)127;

	if (index >= map->max_entries || cpu >= map->cpus)
		return NULL;
	return (char *)map->values + (map->kind == PERCPU_ARRAY ? cpu * part : 0) + index * stride;
}

static uint32_t index_of(const void *key)
{
	uint32_t index;

	memcpy(&index, key, sizeof index);
	return index;
}

/* The element of a key and the place that points to it; NIL without one. The table is locked. */
static uint32_t find(const struct beelift_map *map, struct table *table, const void *key, uint32_t **link)
{
	uint32_t *place = &table->heads[bucket_of(table, key, map->key_size)];

	while (*place != NIL && memcmp(key_of(table, *place), key, map->key_size))
		place = &at(table, *place)->next;
	*link = place;
	return *place;
}

static void leave_list(struct table *table, uint32_t index)
{
	struct element *element = at(table, index);

	*(element->newer == NIL ? &table->newest : &at(table, element->newer)->older) = element->older;
	*(element->older == NIL ? &table->oldest : &at(table, element->older)->newer) = element->newer;
}

static void enter_list(struct table *table, uint32_t index)
{
	struct element *element = at(table, index);

	element->newer = NIL;
	element->older = table->newest;
	*(table->newest == NIL ? &table->oldest : &at(table, table->newest)->newer) = index;
	table->newest = index;
}

static void drop(const struct beelift_map *map, struct table *table, uint32_t *link)
{
	uint32_t index = *link;
	struct element *element = at(table, index);

	*link = element->next;
	element->used = 0;
	element->next = table->free;
	table->free = index;
	if (map->kind == LPM_TRIE)
		table->lengths[index_of(key_of(table, index))]--;
	if (map->kind == LRU_HASH)
		leave_list(table, index);
}

/* The key of an lpm_trie with only `length` bits of its data: what its elements are found by. */
static void masked(const struct beelift_map *map, const void *key, uint32_t length, unsigned char *to)
{
	uint32_t whole = sizeof length + length / 8;

	memset(to, 0, map->key_size);
	memcpy(to, key, whole);
	if (length % 8)
		to[whole] = ((const unsigned char *)key)[whole] & (unsigned char)(0xff00 >> length % 8);
	memcpy(to, &length, sizeof length);
}

/* The element with the longest prefix of a key: tries the lengths that elements have. The table is locked. */
static uint32_t find_prefix(const struct beelift_map *map, struct table *table, const void *key)
{
	unsigned char prefix[LONGEST_KEY];
	uint32_t length = index_of(key), *link;

	if (length > longest_prefix(map))
		return NIL;
	for (;; length--) {
		if (table->lengths[length]) {
			uint32_t index;

			masked(map, key, length, prefix);
			index = find(map, table, prefix, &link);
			if (index != NIL)
				return index;
		}
		if (!length)
			return NIL;
	}
}

/* A slot of a devmap: an interface, 0 in an empty one. */
static uint32_t *device(const struct beelift_map *map, const void *key)
{
	uint32_t index = index_of(key);

	return map->table && index < map->max_entries ? (uint32_t *)map->table + 2 * (size_t)index : NULL;
}

void *beelift_map_lookup(struct beelift_map *map, uint32_t cpu, const void *key)
{
	struct table *table = map->table;
	uint32_t index, *link;

	if (!needs_table(map))
		return array_value(map, cpu, index_of(key));
	if (!table || cpu >= map->cpus)
		return NULL;
	if (map->kind == DEVMAP) {
		uint32_t *slot = device(map, key);

		return slot && *slot ? slot : NULL;
	}
	lock(table);
	index = map->kind == LPM_TRIE ? find_prefix(map, table, key) : find(map, table, key, &link);
	if (index != NIL && map->kind == LRU_HASH) {
		leave_list(table, index);
		enter_list(table, index);
	}
	unlock(table);
	return index == NIL ? NULL : value_of(map, table, cpu, index);
}

static int update_locked(struct beelift_map *map, struct table *table, uint32_t cpu, const void *key,
			 const void *value, uint64_t flags)
{
	uint32_t *link, index;
	unsigned char prefix[LONGEST_KEY];
	const void *given = key;

	if (map->kind == LPM_TRIE) {
		masked(map, key, index_of(key), prefix);
		key = prefix;
	}
	index = find(map, table, key, &link);
	if (index != NIL) {
		if (flags == NOEXIST)
			return -EEXIST;
		if (map->kind == LPM_TRIE)
			memcpy(given_key(map, table, index), given, map->key_size);
		memcpy(value_of(map, table, cpu, index), value, map->value_size);
		if (map->kind == LRU_HASH) {
			leave_list(table, index);
			enter_list(table, index);
		}
		return 0;
	}
	if (flags == EXIST)
		return -ENOENT;
	if (table->free == NIL) {
		if (map->kind != LRU_HASH)
			return map->kind == LPM_TRIE ? -ENOSPC : -E2BIG;
		find(map, table, key_of(table, table->oldest), &link);
		drop(map, table, link);
	}
	index = table->free;
	table->free = at(table, index)->next;
	memcpy(key_of(table, index), key, map->key_size);
	if (map->kind == LPM_TRIE) {
		memcpy(given_key(map, table, index), given, map->key_size);
		table->lengths[index_of(key)]++;
	}
	if (map->kind == PERCPU_HASH)
		memset(value_of(map, table, 0, index), 0, padded(map->value_size) * map->cpus);
	memcpy(value_of(map, table, cpu, index), value, map->value_size);
	link = &table->heads[bucket_of(table, key, map->key_size)];
	at(table, index)->next = *link;
	at(table, index)->used = 1;
	*link = index;
	if (map->kind == LRU_HASH)
		enter_list(table, index);
	return 0;
}

int beelift_map_update(struct beelift_map *map, uint32_t cpu, const void *key, const void *value, uint64_t flags)
{
	struct table *table = map->table;
	int error;

	if (flags > EXIST || cpu >= map->cpus)
		return -EINVAL;
	if (!needs_table(map)) {
		void *to = array_value(map, cpu, index_of(key));

		if (!to)
			return -E2BIG;
		if (flags == NOEXIST)
			return -EEXIST;
		memcpy(to, value, map->value_size);
		return 0;
	}
	if (!table)
		return -ENOENT;
	if (map->kind == DEVMAP) {
		uint32_t *slot = device(map, key);

		if (!slot)
			return -E2BIG;
		if (flags == NOEXIST)
			return -EEXIST;
		memcpy(slot, value, sizeof *slot);
		return 0;
	}
	if (map->kind == LPM_TRIE && index_of(key) > longest_prefix(map))
		return -EINVAL;
	lock(table);
	error = update_locked(map, table, cpu, key, value, flags);
	unlock(table);
	return error;
}

int beelift_map_delete(struct beelift_map *map, const void *key)
{
	struct table *table = map->table;
	unsigned char prefix[LONGEST_KEY];
	uint32_t *link;
	int error = -ENOENT;

	if (!needs_table(map))
		return -EINVAL;
	if (!table)
		return -ENOENT;
	if (map->kind == DEVMAP) {
		uint32_t *slot = device(map, key);

		if (!slot)
			return -EINVAL;
		*slot = 0;
		return 0;
	}
	if (map->kind == LPM_TRIE) {
		if (index_of(key) > longest_prefix(map))
			return -EINVAL;
		masked(map, key, index_of(key), prefix);
		key = prefix;
	}
	lock(table);
	if (find(map, table, key, &link) != NIL) {
		drop(map, table, link);
		error = 0;
	}
	unlock(table);
	return error;
}

int beelift_map_next(struct beelift_map *map, uint64_t *cursor, void *key)
{
	struct table *table = map->table;
	int found = 0;

	if (!needs_table(map)) {
		uint32_t index = (uint32_t)*cursor;

		if (*cursor >= map->max_entries)
			return 0;
		memcpy(key, &index, sizeof index);
		++*cursor;
		return 1;
	}
	if (!table)
		return 0;
	if (map->kind == DEVMAP) {
		for (; !found && *cursor < map->max_entries; ++*cursor) {
			uint32_t index = (uint32_t)*cursor;

			memcpy(key, &index, sizeof index);
			found = *device(map, &index) != 0;
		}
		return found;
	}
	lock(table);
	for (; !found && *cursor < map->max_entries; ++*cursor) {
		found = at(table, (uint32_t)*cursor)->used != 0;
		if (found)
			memcpy(key, given_key(map, table, (uint32_t)*cursor), map->key_size);
	}
	unlock(table);
	return found;
}

/* ---- helpers ---- */

#define HELPER(name)                                                                                             \
	uint64_t beelift_bpf_##name(                                                                             \
		__attribute__((unused)) struct beelift_run *run, __attribute__((unused)) uint64_t r1,            \
		__attribute__((unused)) uint64_t r2, __attribute__((unused)) uint64_t r3,                        \
		__attribute__((unused)) uint64_t r4, __attribute__((unused)) uint64_t r5)
#define MAP ((struct beelift_map *)(uintptr_t)r1)
#define PTR(reg) ((void *)(uintptr_t)(reg))
#define RESULT(value) ((uint64_t)(int64_t)(value))

HELPER(map_lookup_elem)
{
	return (uintptr_t)beelift_map_lookup(MAP, run->cpu, PTR(r2));
}

HELPER(map_update_elem)
{
	return RESULT(beelift_map_update(MAP, run->cpu, PTR(r2), PTR(r3), r4));
}

HELPER(map_delete_elem)
{
	return RESULT(beelift_map_delete(MAP, PTR(r2)));
}

HELPER(map_lookup_percpu_elem)
{
	return (uintptr_t)beelift_map_lookup(MAP, (uint32_t)r3, PTR(r2));
}

static uint64_t nanoseconds(struct beelift_run *run, clockid_t clock)
{
	struct timespec now;

	if (run->clock)
		return run->clock(run);
	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

HELPER(ktime_get_ns)
{
	return nanoseconds(run, CLOCK_MONOTONIC);
}

HELPER(ktime_get_boot_ns)
{
	return nanoseconds(run, CLOCK_BOOTTIME);
}

HELPER(ktime_get_coarse_ns)
{
	return nanoseconds(run, CLOCK_MONOTONIC_COARSE);
}

HELPER(ktime_get_tai_ns)
{
	return nanoseconds(run, CLOCK_TAI);
}

/* Ticks of 4 ms, counted from five minutes before boot as the kernel does. */
HELPER(jiffies64)
{
	return nanoseconds(run, CLOCK_MONOTONIC) / 4000000u + (uint32_t)(-300 * 250);
}

HELPER(get_prandom_u32)
{
	uint32_t bits = 0;

	if (run->random)
		return run->random(run);
	return getentropy(&bits, sizeof bits) ? 0 : bits;
}

HELPER(get_smp_processor_id)
{
	return run->cpu;
}

HELPER(get_numa_node_id)
{
	return run->numa_node;
}

/* Integers of a format; strings of the kernel and symbols are -EINVAL. */
HELPER(trace_printk)
{
	const char *format = PTR(r1), *end = format + r2;
	uint64_t arguments[] = {r3, r4, r5};
	char line[512], piece[32];
	size_t length = 0;
	unsigned next = 0;

	if (!r2 || end[-1])
		return RESULT(-EINVAL);
	for (; *format; format++) {
		int count, wide = 0;
		uint64_t value;

		if (*format != '%' || format[1] == '%') {
			piece[0] = *format;
			count = 1;
			format += *format == '%';
		} else {
			format++;
			while (*format == 'l') {
				wide = 1;
				format++;
			}
			if (next == 3)
				return RESULT(-EINVAL);
			value = arguments[next++];
			if (*format == 'd' || *format == 'i')
				count = snprintf(piece, sizeof piece, "%lld",
						 wide ? (long long)value : (long long)(int32_t)value);
			else if (*format == 'u')
				count = snprintf(piece, sizeof piece, "%llu",
						 (unsigned long long)(wide ? value : (uint32_t)value));
			else if (*format == 'x')
				count = snprintf(piece, sizeof piece, "%llx",
						 (unsigned long long)(wide ? value : (uint32_t)value));
			else
				return RESULT(-EINVAL);
		}
		for (int i = 0; i < count && length < sizeof line; i++)
			line[length++] = piece[i];
	}
	if (run->trace)
		run->trace(run, line, length);
	else
		fprintf(stderr, "%.*s", (int)length, line);
	return length;
}

static uint32_t sum_of(const unsigned char *bytes, uint64_t size, uint32_t seed)
{
	uint64_t total = seed;

	for (; size; bytes += 8) {
		uint64_t part = size < 8 ? size : 8, word = 0;

		memcpy(&word, bytes, part);
		total += (word >> 32) + (uint32_t)word;
		size -= part;
	}
	total = (total >> 32) + (uint32_t)total;
	return (uint32_t)((total >> 32) + (uint32_t)total);
}

HELPER(csum_diff)
{
	uint32_t seed = (uint32_t)r5, sum = seed;

	if (r2 % 4 || r4 % 4)
		return RESULT(-EINVAL);
	if (r2 && r4) {
		uint64_t both = (uint64_t)sum_of(PTR(r3), r4, seed) + (uint32_t)~sum_of(PTR(r1), r2, 0);

		sum = (uint32_t)((both >> 32) + (uint32_t)both);
	} else if (r4) {
		sum = sum_of(PTR(r3), r4, seed);
	} else if (r2) {
		sum = ~sum_of(PTR(r1), r2, ~seed);
	}
	sum = (sum >> 16) + (sum & 0xffff);
	return (sum >> 16) + (sum & 0xffff);
}

enum { XDP_ABORTED = 0, XDP_REDIRECT = 4 };
/* Flags of bpf_redirect_map: the action for a key that leads nowhere; to all; to all but where it came from. */
enum { ACTIONS = 3, BROADCAST = 8, EXCLUDE_INGRESS = 16 };

HELPER(redirect_map)
{
	uint32_t key = (uint32_t)r2;

	if (r3 & ~(uint64_t)(ACTIONS | BROADCAST | EXCLUDE_INGRESS))
		return XDP_ABORTED;
	run->redirect_map = NULL;
	if (!(r3 & BROADCAST) && !beelift_map_lookup(MAP, run->cpu, &key))
		return r3 & ACTIONS;
	run->redirect_map = MAP;
	run->redirect_key = key;
	run->redirect_flags = r3;
	return XDP_REDIRECT;
}

/* ---- helpers that move the packet ---- */

#define PACKET ((struct beelift_packet *)(uintptr_t)run->context)
/* Headroom that is never given out, an Ethernet header, and the longest metadata: the kernel's limits. */
enum { RESERVE = 40, ETHERNET = 14, LONGEST_META = 252 };

static uint64_t place(struct beelift_packet *packet, uint64_t meta, uint64_t data, uint64_t end)
{
	packet->data_meta = meta;
	packet->data = data;
	packet->data_end = end;
	if (meta < packet->lowest)
		packet->lowest = meta;
	if (end > packet->highest)
		packet->highest = end;
	packet->moved = 1;
	return 0;
}

HELPER(xdp_adjust_head)
{
	struct beelift_packet *packet = PACKET;
	uint64_t meta = packet->data - packet->data_meta;
	uint64_t data = packet->data + (uint64_t)(int64_t)(int32_t)r2;

	if (data < packet->hard_start + RESERVE + meta || data + ETHERNET > packet->data_end)
		return RESULT(-EINVAL);
	memmove(PTR(data - meta), PTR(packet->data_meta), meta);
	return place(packet, data - meta, data, packet->data_end);
}

HELPER(xdp_adjust_tail)
{
	struct beelift_packet *packet = PACKET;
	uint64_t old = packet->data_end, end = old + (uint64_t)(int64_t)(int32_t)r2;

	if (end > packet->hard_end || end < packet->data + ETHERNET)
		return RESULT(-EINVAL);
	if (end > old)
		memset(PTR(old), 0, end - old);
	return place(packet, packet->data_meta, packet->data, end);
}

HELPER(xdp_adjust_meta)
{
	struct beelift_packet *packet = PACKET;
	uint64_t meta = packet->data_meta + (uint64_t)(int64_t)(int32_t)r2;

	if (meta < packet->hard_start + RESERVE || meta > packet->data)
		return RESULT(-EINVAL);
	if (packet->data - meta > LONGEST_META || (packet->data - meta) % 4)
		return RESULT(-EACCES);
	return place(packet, meta, packet->data, packet->data_end);
}

HELPER(xdp_get_buff_len)
{
	return PACKET->data_end - PACKET->data;
}

/* 0, or the error of an access to part of the packet. */
static int64_t outside(const struct beelift_packet *packet, uint64_t offset, uint64_t length)
{
	if (offset > 0xffff || length > 0xffff)
		return -EFAULT;
	return offset + length > packet->data_end - packet->data ? -EINVAL : 0;
}

HELPER(xdp_load_bytes)
{
	uint64_t offset = (uint32_t)r2, length = (uint32_t)r4;
	int64_t error = outside(PACKET, offset, length);

	if (!error)
		memmove(PTR(r3), PTR(PACKET->data + offset), length);
	return RESULT(error);
}

HELPER(xdp_store_bytes)
{
	uint64_t offset = (uint32_t)r2, length = (uint32_t)r4;
	int64_t error = outside(PACKET, offset, length);

	if (!error)
		memmove(PTR(PACKET->data + offset), PTR(r3), length);
	return RESULT(error);
}
