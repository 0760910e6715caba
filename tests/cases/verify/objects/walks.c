#include "kernel.h"
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct bpf_map { unsigned int max_entries; struct bpf_map *inner_map_meta; };
struct bpf_iter_meta { void *seq; };
struct bpf_iter__bpf_map { struct bpf_iter_meta *meta; struct bpf_map *map; };
struct bpf_iter__sockmap { struct bpf_iter_meta *meta; struct bpf_map *map; void *key; struct sock *sk; };
#pragma clang attribute pop
struct { __uint(type, BPF_MAP_TYPE_SOCKMAP); __uint(max_entries, 1); __type(key, int); __type(value, int); } sockets SEC(".maps");
struct { __uint(type, 33); __uint(map_flags, 1 << 10); __uint(max_entries, 1); } arena SEC(".maps");
extern void *bpf_arena_alloc_pages(void *map, void *where, u32 count, int node, u64 flags) __ksym;
/* Sockets are taken out and put in where the kernel walks maps of sockets, not where it merely traces. */
SEC("iter/sockmap") int a1(struct bpf_iter__sockmap *c) { int k = 0; bpf_map_delete_elem(&sockets, &k); return 0; }
SEC("iter/sockmap") int a2(struct bpf_iter__sockmap *c) { int k = 0; struct sock *s = c->sk; if (s) bpf_map_update_elem(&sockets, &k, s, 0); return 0; }
SEC("tp_btf/sched_switch") int a3(void *c) { int k = 0; bpf_map_delete_elem(&sockets, &k); return 0; }
/* A map that the kernel hands over may stand for one that the program names. */
SEC("iter.s/bpf_map") int b1(struct bpf_iter__bpf_map *c) { struct bpf_map *m = c->map; if (m) bpf_arena_alloc_pages(m, 0, m->max_entries, 0, 0); return 0; }
SEC("iter.s/bpf_map") int b2(struct bpf_iter__bpf_map *c) { bpf_arena_alloc_pages(c->map, 0, 1, 0, 0); return 0; }
SEC("iter.s/bpf_map") int b3(struct bpf_iter__bpf_map *c) { struct bpf_map *m = c->map; if (m) bpf_arena_alloc_pages(m->inner_map_meta, 0, 1, 0, 0); return 0; }
SEC("iter.s/bpf_map") int b4(struct bpf_iter__bpf_map *c) { bpf_arena_alloc_pages(c->meta->seq, 0, 1, 0, 0); return 0; }
/* A writable tracepoint has the context of any raw one. */
__weak int arguments(struct bpf_raw_tracepoint_args *c __attribute__((btf_decl_tag("arg:ctx")))) { return 0; }
__weak int words(u64 *c __attribute__((btf_decl_tag("arg:ctx")))) { return 0; }
__weak int packet(struct __sk_buff *c __attribute__((btf_decl_tag("arg:ctx")))) { return 0; }
SEC("raw_tp.w/bpf_test_finish") int c1(void *c) { return arguments(c); }
SEC("raw_tp.w/bpf_test_finish") int c2(void *c) { return words(c); }
SEC("raw_tp.w/bpf_test_finish") int c3(void *c) { return packet(c); }
