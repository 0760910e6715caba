#include "kernel.h"
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct sk_buff { unsigned int len; struct sock *sk; };
struct bpf_iter_meta { u64 session_id; u64 seq_num; };
struct bpf_map { u32 id; };
#pragma clang attribute pop
struct bpf_iter__bpf_map_elem { struct bpf_iter_meta *meta; struct bpf_map *map; void *key; void *value; };
#define ITER(n) SEC("iter/bpf_map_elem") int n(struct bpf_iter__bpf_map_elem *c)
#define LSM(n) SEC("lsm/file_open") int n(u64 *c)
#define RAW(n) SEC("tp_btf/consume_skb") int n(u64 *c)
#define LOW(x) asm volatile("%0 = " x " ll" : "=r"(r))
/* What an iterator lends. */
ITER(a1) { int *k = c->key; if (!k) return 0; return *k & 1; }
ITER(a2) { int *k = c->key; return *k & 1; }
ITER(a3) { int *k = c->key; if (!k) return 0; *k = 1; return 0; }
ITER(a4) { int *v = c->value; if (!v) return 0; *v = 1; return 0; }
ITER(a5) { int *k = c->key; int *v = c->value; asm volatile("" : "+r"(k), "+r"(v)); if (!k) return 0; return *v & 1; }
ITER(a6) { c->key = 0; return 0; }
/* The lower half of what a security hook returns. */
LSM(b1) { return 0; }
LSM(b2) { return 1; }
LSM(b3) { return -4096; }
LSM(b4) { return -4095; }
SEC("lsm/file_open") long b5(u64 *c) { long r; LOW("0xfffff001"); return r; }
SEC("lsm/file_open") long b6(u64 *c) { long r; LOW("0xffffeffff"); return r; }
SEC("lsm/file_open") long b7(u64 *c) { long r; LOW("0xf00000001"); return r; }
SEC("lsm/file_open") long b8(u64 *c) { long r; LOW("0xf00000000"); return r; }
/* What a tracepoint is given. */
RAW(c1) { struct sk_buff *s = (void *)c[0]; return s->len; }
RAW(c2) { c[0] = 1; return 0; }
RAW(c3) { struct sk_buff *s = (void *)c[0]; struct sock *sk = s->sk; if (!sk) return 0; return bpf_skc_to_tcp_sock(sk) != 0; }
RAW(c4) { struct sk_buff *s = (void *)c[0]; struct sock *sk = s->sk; if (!sk) return 0; return *(char *)sk; }
