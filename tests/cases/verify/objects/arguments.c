#include "kernel.h"
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct request_sock { struct sock *sk; };
struct inet_request_sock { struct request_sock req; };
struct tcp_request_sock { struct inet_request_sock req; };
struct rq { int cpu; };
#pragma clang attribute pop
struct loc { int x, y; };
struct val { struct task_struct __kptr_un *u; struct loc __percpu_kptr_t *pl; };
struct timed { struct bpf_timer t; };
struct big { char b[65535]; };
struct bigger { char b[65536]; };
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, int); __type(value, struct val); } m SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 4); __type(key, int); __type(value, long); } h SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 4); __type(key, int); __type(value, long); __uint(map_flags, BPF_F_RDONLY_PROG); } ro SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 4); __type(key, int); __type(value, long); __uint(map_flags, BPF_F_WRONLY_PROG); } wo SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } rb SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_SK_STORAGE); __uint(map_flags, BPF_F_NO_PREALLOC); __type(key, int); __type(value, long); } sks SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_TASK_STORAGE); __uint(map_flags, BPF_F_NO_PREALLOC); __type(key, int); __type(value, long); } ts SEC(".maps");
struct numbers { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 4); __type(key, int); __type(value, long); } n1 SEC(".maps");
struct any { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 4); __uint(map_flags, BPF_F_INNER_MAP); __type(key, int); __type(value, long); } n2 SEC(".maps");
struct timers { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 4); __type(key, int); __type(value, struct timed); } n3 SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS); __uint(max_entries, 2); __type(key, int); __array(values, struct numbers); } o1 SEC(".maps") = { .values = { &n1 } };
struct { __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS); __uint(max_entries, 2); __type(key, int); __array(values, struct any); } o2 SEC(".maps") = { .values = { &n2 } };
struct { __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS); __uint(max_entries, 2); __type(key, int); __array(values, struct timers); } o3 SEC(".maps") = { .values = { &n3 } };
extern const int bpf_prog_active __ksym;
extern const struct rq runqueues __ksym;
extern const int no_such_variable __ksym;
extern const int no_such_weak_variable __ksym __weak;
#define OPAQUE(p) asm volatile("" : "+r"(p))
#define tag(x) __attribute__((btf_decl_tag("arg:" #x)))
#define T(n) SEC("tc") int n(struct __sk_buff *s)
#define S(n) SEC("syscall") int n(void *s)
#define K int k = 0;
#define LK K struct val *v = bpf_map_lookup_elem(&m, &k); if (!v) return 0;
#define LH(v) long *v = bpf_map_lookup_elem(&h, &k);
__noinline int g_pull(struct __sk_buff *s) { return bpf_skb_pull_data(s, 0); }
__noinline int g_two(int a, int b) { OPAQUE(a); return a + b; }
__noinline int g_task(struct task_struct *t tag(trusted)) { return t->pid; }
__noinline int g_long(long *p tag(nonnull)) { return *p; }
__noinline int g_big(struct big *p tag(nonnull)) { return p->b[65534]; }
__noinline int g_bigger(struct bigger *p tag(nonnull)) { return p->b[65535]; }
__noinline int g_arena(void *p tag(arena)) { OPAQUE(p); return 0; }
__noinline long g_pointer(int a) { long r; asm volatile("%[r] = r10" : [r] "=r"(r) : [a] "r"(a)); return r; }
/* Sockets, tasks and other objects. */
T(a1) { struct bpf_sock *sk = s->sk; if (!sk) return 0; sk = bpf_sk_fullsock(sk); if (!sk) return 0; long *v = bpf_sk_storage_get(&sks, sk, 0, 1); return v != 0; }
T(a2) { struct bpf_sock *sk = s->sk; if (!sk) return 0; sk = bpf_sk_fullsock(sk); if (!sk) return 0; long *v = bpf_sk_storage_get(&sks, sk, (void *)8, 1); return v != 0; }
T(a3) { struct task_struct *t = bpf_task_from_pid(1); char b[8]; bpf_get_task_stack(t, b, 8, 0); if (t) bpf_task_release(t); return 0; }
T(a4) { struct task_struct *t = bpf_task_from_pid(1); if (!t) return 0; char b[8]; bpf_get_task_stack(t, b, 8, 0); bpf_task_release(t); return 0; }
T(a5) { struct task_struct *t = bpf_task_from_pid(1); bpf_task_storage_get(&ts, t, 0, 1); if (t) bpf_task_release(t); return 0; }
T(a6) { struct task_struct *t = bpf_get_current_task_btf(); t = bpf_this_cpu_ptr(t); return t->pid; }
T(a8) { struct bpf_sock *sk = s->sk; if (!sk) return 0; struct tcp_request_sock *r = bpf_skc_to_tcp_request_sock(sk); if (!r) return 0; return bpf_skc_to_tcp_sock(r->req.req.sk) != 0; }
T(a9) { struct task_struct *t = bpf_get_current_task_btf(); return bpf_skb_load_bytes(s, 0, t, 8); }
T(a10) { struct task_struct *t = bpf_get_current_task_btf(); return bpf_ringbuf_output(&rb, t, 8, 0); }
T(a11) { struct task_struct *t = bpf_get_current_task_btf(); return bpf_ringbuf_output(&rb, t->real_parent, 8, 0); }
T(a12) { struct task_struct *t = bpf_get_current_task_btf(); return bpf_ringbuf_output(&rb, t->last_wakee, 8, 0); }
T(a13) { struct bpf_sock *sk = s->sk; if (!sk) return 0; struct tcp_sock *t = bpf_skc_to_tcp_sock(sk); if (!t) return 0; return bpf_ringbuf_output(&rb, t, 8, 0); }
/* Variables of the kernel. */
T(b1) { int *p = bpf_this_cpu_ptr(&bpf_prog_active); return *p; }
T(b2) { int *p = bpf_this_cpu_ptr(&bpf_prog_active); *p = 1; return 0; }
T(b3) { struct rq *p = bpf_this_cpu_ptr(&runqueues); return p->cpu; }
T(b4) { struct rq *p = bpf_per_cpu_ptr(&runqueues, 0); return p->cpu; }
T(b5) { struct rq *p = bpf_per_cpu_ptr(&runqueues, 0); return p ? p->cpu : 0; }
T(b6) { const int *p = &no_such_variable; OPAQUE(p); return p != 0; }
T(b7) { return &no_such_weak_variable ? 1 : 0; }
/* Maps in maps. */
T(c1) { K void *in = bpf_map_lookup_elem(&o1, &k); if (!in) return 0; long *v = bpf_map_lookup_elem(in, &k); return *v; }
T(c2) { K void *in = bpf_map_lookup_elem(&o2, &k); if (!in) return 0; long *v = bpf_map_lookup_elem(in, &k); return *v; }
T(c3) { K void *in = bpf_map_lookup_elem(&o3, &k); if (!in) return 0; struct timed *v = bpf_map_lookup_elem(in, &k); if (!v) return 0; return bpf_timer_init(&v->t, in, 0); }
T(c4) { K void *in = bpf_map_lookup_elem(&o3, &k), *other = bpf_map_lookup_elem(&o3, &k); if (!in || !other) return 0; struct timed *v = bpf_map_lookup_elem(in, &k); if (!v) return 0; return bpf_timer_init(&v->t, other, 0); }
static int each(void *map, int *key, struct timed *v, void *ctx) { bpf_timer_init(&v->t, map, 0); return 0; }
T(c5) { K void *in = bpf_map_lookup_elem(&o3, &k); if (!in) return 0; return bpf_for_each_map_elem(in, each, 0, 0); }
struct locked { struct bpf_spin_lock l; int a; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 4); __type(key, int); __type(value, struct locked); } locks SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 4); __type(key, int); __type(value, struct locked); } array SEC(".maps");
struct other { struct locked *v; };
static int inner(void *map, int *key, struct locked *v, struct other *o) { struct locked *w = o->v; bpf_spin_lock(&w->l); bpf_spin_unlock(&v->l); return 0; }
static int outer(void *map, int *key, struct locked *v, void *ctx) { struct other o = { v }; bpf_for_each_map_elem(&locks, inner, &o, 0); return 0; }
static int alone(void *map, int *key, struct locked *v, void *ctx) { bpf_spin_lock(&v->l); v->a++; bpf_spin_unlock(&v->l); return 0; }
T(c6) { bpf_for_each_map_elem(&locks, outer, 0, 0); return 0; }
T(c7) { bpf_for_each_map_elem(&locks, alone, 0, 0); return 0; }
T(c8) { int k = 0, l = 1; struct locked *v = bpf_map_lookup_elem(&array, &k), *w = bpf_map_lookup_elem(&array, &l); bpf_spin_lock(&v->l); bpf_spin_unlock(&w->l); return 0; }
T(c9) { int k = 0; struct locked *v = bpf_map_lookup_elem(&array, &k); bpf_spin_lock(&v->l); bpf_spin_unlock(&v->l); return 0; }
/* Comparisons, and one load for several pointers. */
T(d1) { struct task_struct *t = bpf_get_current_task_btf(); K LH(v) void *u = t->last_wakee; OPAQUE(v); OPAQUE(u); if (v != u) return 0; return *v; }
T(d2) { struct task_struct *t = bpf_get_current_task_btf(); K LH(v) if (!v) return 0; void *p = v; if (s->len > 5) p = t; OPAQUE(p); return *(long *)p; }
T(d3) { struct task_struct *t = bpf_get_current_task_btf(); K LH(v) if (!v) return 0; void *p = t; if (s->len > 5) p = v; OPAQUE(p); return *(long *)p; }
T(d4) { LK asm volatile("r1 = %[p]\nr2 = 0\n.8byte 0x00000110000021db" : : [p] "r"(&v->u) : "r1", "r2", "memory"); return 0; }
T(d5) { K LH(v) if (!v) return 0; asm volatile("r1 = %[p]\nr2 = 0\n.8byte 0x00000110000021db" : : [p] "r"(v) : "r1", "r2", "memory"); return 0; }
T(d6) { struct task_struct *t = bpf_get_current_task_btf(); K LH(v) void *u = t->last_wakee; long r = 0; asm volatile("if %[u] != %[v] goto +1\n%[r] = *(u8 *)(%[v] + 0)" : [r] "+r"(r) : [u] "r"(u), [v] "r"(v)); return r; }
/* Functions taken at their word. */
T(e1) { void *d = (void *)(long)s->data, *end = (void *)(long)s->data_end; if (d + 14 > end) return 0; g_pull(s); return *(char *)d; }
SEC("tc") __attribute__((naked)) int e2(void) { asm volatile("r1 = 1\nr2 = 2\ncall %[f]\nr0 = r2\nexit" : : [f] "i"(g_two)); }
T(e3) { return g_task(0); }
T(e4) { K long *v = bpf_map_lookup_elem(&ro, &k); return v ? g_long(v) : 0; }
T(e5) { K long *v = bpf_map_lookup_elem(&wo, &k); return v ? g_long(v) : 0; }
T(e6) { long v = 0; return g_long(&v); }
T(e7) { K LH(v) return g_long(v); }
T(e8) { long *p = 0; OPAQUE(p); return g_long(p); }
T(e9) { return g_pointer(1) != 0; }
T(e10) { K LH(v) return g_arena(v); }
T(e11) { LK struct task_struct *t = v->u; if (!t) return 0; return g_task(t); }
T(e12) { int k = 0; struct locked *v = bpf_map_lookup_elem(&array, &k); bpf_spin_lock(&v->l); g_two(1, 2); bpf_spin_unlock(&v->l); return 0; }
S(f1) { return g_long(s); }
S(f2) { void *p = s + 8; OPAQUE(p); return g_long(p); }
S(f3) { return g_big(s); }
S(f4) { return g_bigger(s); }
S(f5) { LK struct loc *l = bpf_percpu_obj_new_impl(bpf_core_type_id_local(struct loc), 0); if (!l) return 0; struct loc *o = bpf_kptr_xchg(&v->pl, l); if (o) bpf_percpu_obj_drop_impl(o, 0); l = bpf_this_cpu_ptr(l); l->x = 1; return 0; }
S(f6) { LK struct loc *l = bpf_percpu_obj_new_impl(bpf_core_type_id_local(struct loc), 0); if (!l) return 0; bpf_rcu_read_lock(); struct loc *o = bpf_kptr_xchg(&v->pl, l); l = bpf_this_cpu_ptr(l); l->x = 1; bpf_rcu_read_unlock(); if (o) bpf_percpu_obj_drop_impl(o, 0); return 0; }
T(f7) { LK struct loc *l = bpf_percpu_obj_new_impl(bpf_core_type_id_local(struct loc), 0); if (!l) return 0; struct loc *o = bpf_kptr_xchg(&v->pl, l); if (o) bpf_percpu_obj_drop_impl(o, 0); l->x = 1; return 0; }
T(f8) { LK struct loc *l = bpf_percpu_obj_new_impl(bpf_core_type_id_local(struct loc), 0); if (!l) return 0; struct loc *o = bpf_kptr_xchg(&v->pl, l); if (o) bpf_percpu_obj_drop_impl(o, 0); return l->x; }
T(f9) { LK struct loc *l = bpf_percpu_obj_new_impl(bpf_core_type_id_local(struct loc), 0); if (!l) return 0; struct loc *o = bpf_kptr_xchg(&v->pl, l); if (o) bpf_percpu_obj_drop_impl(o, 0); bpf_percpu_obj_drop_impl(l, 0); return 0; }
/* Turns of callbacks. */
struct turns { long at; };
static int turn(u32 i, struct turns *c) { c->at++; return 0; }
static const char table[3];
T(h1) { struct turns c = {}; bpf_loop(1, turn, &c, 0); long at = c.at; OPAQUE(at); volatile const char *p = table; return p[at]; }
T(h2) { struct turns c = {}; bpf_loop(2, turn, &c, 0); long at = c.at; OPAQUE(at); volatile const char *p = table; return p[at]; }
T(h3) { struct turns c = {}; bpf_loop(3, turn, &c, 0); long at = c.at; OPAQUE(at); volatile const char *p = table; return p[at]; }
