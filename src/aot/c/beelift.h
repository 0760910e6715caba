/* The C runtime of programs that `beelift compile` made: needs neither Rust nor a compiler at run time.
 *
 * docs/ahead-of-time.md tells how the parts fit together. C11; link with beelift.c. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#define _Static_assert static_assert
#endif

/* Version of the structures below; beelift_init compares it with that of the object. */
#define BEELIFT_ABI 2

/* Why a program stopped before its end. */
enum beelift_trap {
	BEELIFT_TRAP_NONE = 0,
	BEELIFT_TRAP_FUEL = 1,
	BEELIFT_TRAP_CALL_DEPTH = 2,
	/* run->cpu is not below the number of CPU slots that the object was compiled for. */
	BEELIFT_TRAP_CPU = 100,
	/* beelift_init was not called, or failed. */
	BEELIFT_TRAP_NOT_READY = 101,
};

struct beelift_map;

/* One run; the hidden first argument of programs and helpers. One thread at a time. */
struct beelift_run {
	/* Generated code reads and writes these, at these places. */
	uint32_t trap;      /* enum beelift_trap */
	uint32_t trap_insn; /* the instruction that trapped */
	uint64_t saved_sp;  /* set by beelift_run_program */
	void (*trap_exit)(struct beelift_run *);
	uint64_t fuel; /* loops without a proven bound burn it */
	uint32_t cpu;  /* CPU slot: one for each run that goes on at the same time */
	uint32_t tail_calls;
	uint64_t tail_result;
	uint64_t context; /* r1 */
	uint32_t numa_node; /* what bpf_get_numa_node_id gives */
	uint32_t reserved;
	/* For helpers; null pointers stand for the machine's own. */
	uint64_t (*clock)(struct beelift_run *run);   /* nanoseconds */
	uint32_t (*random)(struct beelift_run *run);
	void (*trace)(struct beelift_run *run, const char *text, size_t length);
	void *host; /* yours */
	/* Where the last bpf_redirect_map of the run leads: an element of this map, or nowhere. Sending is up to you. */
	struct beelift_map *redirect_map;
	uint32_t redirect_key;
	uint64_t redirect_flags;
};
_Static_assert(offsetof(struct beelift_run, trap) == 0, "place");
_Static_assert(offsetof(struct beelift_run, trap_insn) == 4, "place");
_Static_assert(offsetof(struct beelift_run, saved_sp) == 8, "place");
_Static_assert(offsetof(struct beelift_run, trap_exit) == 16, "place");
_Static_assert(offsetof(struct beelift_run, fuel) == 24, "place");
_Static_assert(offsetof(struct beelift_run, cpu) == 32, "place");
_Static_assert(offsetof(struct beelift_run, tail_calls) == 36, "place");
_Static_assert(offsetof(struct beelift_run, context) == 48, "place");
_Static_assert(offsetof(struct beelift_run, numa_node) == 56, "place");

/* Where a packet lies: the start of every native packet context. Fill it with beelift_packet_enter. */
struct beelift_packet {
	uint64_t data;
	uint64_t data_end;
	uint64_t data_meta;
	uint64_t hard_start; /* start of the headroom */
	uint64_t hard_end;   /* end of the tailroom */
	uint64_t lowest;     /* lowest data_meta of this run */
	uint64_t highest;    /* highest data_end of this run */
	uint64_t moved;      /* 1: a helper has changed the packet's place */
};
_Static_assert(sizeof(struct beelift_packet) == 64, "layout");

/* A map. Defined by the object; `values` of arrays lie there, too. */
struct beelift_map {
	uint32_t kind; /* BPF_MAP_TYPE_* */
	uint32_t key_size;
	uint32_t value_size;
	uint32_t max_entries;
	uint32_t flags;
	uint32_t cpus;
	void *values;
	const char *name;
	void *table; /* hashes: made by beelift_init */
};
_Static_assert(offsetof(struct beelift_map, values) == 24, "place");
_Static_assert(offsetof(struct beelift_map, name) == 32, "place");
_Static_assert(sizeof(struct beelift_map) == 48, "layout");

typedef uint64_t beelift_entry(struct beelift_run *run, uint64_t r1, uint64_t r2);

/* A program. Defined by the object. */
struct beelift_program {
	const char *name;
	beelift_entry *entry;
	struct beelift_map *const *maps;
	uint32_t map_count;
	uint32_t abi;
	uint32_t type; /* BPF_PROG_TYPE_* */
	uint32_t cpus;
};
_Static_assert(offsetof(struct beelift_program, entry) == 8, "place");
_Static_assert(offsetof(struct beelift_program, maps) == 16, "place");
_Static_assert(offsetof(struct beelift_program, map_count) == 24, "place");
_Static_assert(sizeof(struct beelift_program) == 40, "layout");

/* Makes a program's maps ready. Programs may share maps; call it for each before any runs, from one thread.
 * 0, or a negative errno: -ENOMEM, -EPROTO (another version), -ENOTSUP (a kind of map that is unknown here). */
int beelift_init(const struct beelift_program *program);

/* A run on CPU slot `cpu` with fuel without end and the machine's clock. */
void beelift_run_begin(struct beelift_run *run, uint32_t cpu);

/* Runs a program. `length` is r2 (type `memory`), else 0. Returns 0, or the trap. */
int beelift_run_program(const struct beelift_program *program, struct beelift_run *run, void *context,
			uint64_t length, uint64_t *result);

/* Puts a packet of `length` bytes at `buffer + headroom` into the context of a run. `room` bytes may be used from
 * `buffer` on. Call it before each run. */
void beelift_packet_enter(struct beelift_packet *packet, void *buffer, size_t room, size_t headroom, size_t length);

/* Maps from outside, safe while programs run. Errors are negative errnos, as bpf(2) gives them. A value of a per-CPU
 * map is that of one CPU slot. */
void *beelift_map_lookup(struct beelift_map *map, uint32_t cpu, const void *key);
int beelift_map_update(struct beelift_map *map, uint32_t cpu, const void *key, const void *value, uint64_t flags);
int beelift_map_delete(struct beelift_map *map, const void *key);
/* Walks all elements: start with *cursor = 0; copies the key of the next one, 0 at the end. */
int beelift_map_next(struct beelift_map *map, uint64_t *cursor, void *key);

/* Helpers as programs call them. Whoever compiled with `--external bpf_NAME` defines beelift_bpf_NAME like these. */
#define BEELIFT_HELPER(name)                                                                                     \
	uint64_t beelift_bpf_##name(struct beelift_run *run, uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4, \
				    uint64_t r5)
BEELIFT_HELPER(map_lookup_elem);
BEELIFT_HELPER(map_update_elem);
BEELIFT_HELPER(map_delete_elem);
BEELIFT_HELPER(map_lookup_percpu_elem);
BEELIFT_HELPER(ktime_get_ns);
BEELIFT_HELPER(ktime_get_boot_ns);
BEELIFT_HELPER(ktime_get_coarse_ns);
BEELIFT_HELPER(ktime_get_tai_ns);
BEELIFT_HELPER(jiffies64);
BEELIFT_HELPER(get_prandom_u32);
BEELIFT_HELPER(get_smp_processor_id);
BEELIFT_HELPER(get_numa_node_id);
BEELIFT_HELPER(trace_printk);
BEELIFT_HELPER(csum_diff);
BEELIFT_HELPER(redirect_map);
BEELIFT_HELPER(xdp_adjust_head);
BEELIFT_HELPER(xdp_adjust_tail);
BEELIFT_HELPER(xdp_adjust_meta);
BEELIFT_HELPER(xdp_get_buff_len);
BEELIFT_HELPER(xdp_load_bytes);
BEELIFT_HELPER(xdp_store_bytes);
/* Called by generated code after it stored a trap; never returns. */
void beelift_trap_exit(struct beelift_run *run);

#ifdef __cplusplus
}
#endif
