#include "kernel.h"
#define tag(x) __attribute__((btf_decl_tag("arg:" #x)))
struct v { int a, b; };
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, int); __type(value, struct v); } m SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } rb SEC(".maps");
__noinline int g_ctx(void *c tag(ctx)) { struct __sk_buff *s = c; return s->len; }
__noinline int g_nonnull(struct v *p tag(nonnull)) { return p->a; }
__noinline int g_null(struct v *p) { return p ? p->b : 0; }
__noinline int g_nullbad(struct v *p) { return p->b; }
__noinline int g_dyn(struct bpf_dynptr *d) { char b[4]; bpf_dynptr_read(b, 4, d, 0, 0); return b[0]; }
__noinline int g_dynw(struct bpf_dynptr *d) { char b[4] = {}; return bpf_dynptr_write(d, 0, b, 4, 0); }
__noinline int g_task(struct task_struct *t tag(trusted)) { return t->pid; }
__noinline int g_task0(struct task_struct *t tag(trusted) tag(nullable)) { return t ? t->pid : 0; }
__noinline int g_task0bad(struct task_struct *t tag(trusted) tag(nullable)) { return t->pid; }
__noinline int g_taskacq(struct task_struct *t tag(trusted)) { struct task_struct *q = bpf_task_acquire(t); if (!q) return 0; bpf_task_release(q); return 1; }
__noinline int g_taskrel(struct task_struct *t tag(trusted)) { bpf_task_release(t); return 1; }
__noinline int g_unt(struct task_struct *t tag(untrusted)) { return t->pid; }
__noinline int g_untacq(struct task_struct *t tag(untrusted)) { struct task_struct *q = bpf_task_acquire(t); if (!q) return 0; bpf_task_release(q); return 1; }
__noinline int g_untmem(char *p tag(untrusted)) { return p[100]; }
__noinline int g_untvoid(void *p tag(untrusted)) { return *(int *)(p + 8); }
__noinline int g_untw(int *p tag(untrusted)) { *p = 1; return 0; }
__noinline int g_untneg(char *p tag(untrusted)) { return p[-100]; }
__noinline int g_untv(struct v *p tag(untrusted)) { return p->a; }
__noinline int g_both(struct v *p tag(nonnull) tag(trusted)) { return p->a; }
__noinline int g_nullable(struct v *p tag(nullable)) { return p ? p->a : 0; }
__noinline int g_numtag(int p tag(nonnull)) { return p; }
__noinline int g_unk(struct v *p tag(foo)) { return 0; }
__noinline int g_ctxw(struct xdp_md *c tag(ctx)) { return 0; }
__noinline int g_dyntag(struct bpf_dynptr *d tag(nonnull)) { return 0; }
__noinline int g_arena(void *p tag(arena)) { return 0; }
__noinline int g_void(void *p) { return 0; }
struct nosuch;
__noinline int g_fwd(struct nosuch *p) { return 0; }
__noinline int g_char(char *p) { return p ? *p : 0; }
__noinline int g_int2(int a, long b) { return a + b; }
__noinline int g_local(struct v *p tag(trusted)) { return p->a; }
static __noinline int s_tag(struct v *p tag(nonnull)) { return p->a; }
#define T(n) SEC("tc") int n(struct __sk_buff *s)
#define LK int k = 0; struct v *v = bpf_map_lookup_elem(&m, &k);
T(a1) { return g_ctx(s); }
T(a2) { return g_ctx((void *)s + 4); }
T(a3) { LK if (!v) return 0; return g_ctx(v); }
T(b1) { LK if (!v) return 0; return g_nonnull(v); }
T(b2) { LK return g_nonnull(v); }
T(b3) { return g_nonnull(0); }
T(b4) { struct v x = {}; return g_nonnull(&x); }
T(b5) { int x = 0; return g_nonnull((void *)&x); }
T(b6) { LK return g_null(v); }
T(b7) { return g_null(0); }
T(b8) { return g_nullbad(0); }
T(b9) { LK if (!v) return 0; return g_nonnull((void *)v + 4); }
T(c1) { struct bpf_dynptr d; bpf_ringbuf_reserve_dynptr(&rb, 16, 0, &d); int r = g_dyn(&d); bpf_ringbuf_discard_dynptr(&d, 0); return r; }
T(c2) { struct bpf_dynptr d; return g_dyn(&d); }
T(c3) { struct bpf_dynptr d; bpf_dynptr_from_skb(s, 0, &d); return g_dyn(&d); }
T(c4) { struct bpf_dynptr d; bpf_dynptr_from_skb(s, 0, &d); return g_dynw(&d); }
T(c5) { LK if (!v) return 0; return g_dyn((void *)v); }
T(d1) { struct task_struct *t = bpf_task_from_pid(1); if (!t) return 0; int r = g_task(t); bpf_task_release(t); return r; }
T(d2) { struct task_struct *t = bpf_task_from_pid(1); int r = g_task(t); if (t) bpf_task_release(t); return r; }
T(d3) { struct task_struct *t = bpf_task_from_pid(1); int r = g_task0(t); if (t) bpf_task_release(t); return r; }
T(d4) { return g_task0(0); }
T(d5) { return g_task0bad(0); }
T(d6) { struct task_struct *t = bpf_get_current_task_btf(); return g_taskacq(t); }
T(d7) { struct task_struct *t = bpf_get_current_task_btf(); return g_taskrel(t); }
T(d8) { struct task_struct *t = bpf_get_current_task_btf(); return g_task(t->last_wakee); }
T(d9) { struct task_struct *t = bpf_get_current_task_btf(); return g_task(t->real_parent); }
T(d10) { struct task_struct *t = bpf_get_current_task_btf(); return g_task(t->group_leader); }
T(d11) { struct task_struct *t = bpf_get_current_task_btf(); return g_task((void *)t->mm); }
T(d12) { struct bpf_sock *sk = s->sk; return g_task((void *)sk); }
T(e1) { return g_unt((void *)5); }
T(e2) { struct task_struct *t = bpf_get_current_task_btf(); return g_unt(t->last_wakee); }
T(e3) { return g_untacq(0); }
T(e4) { return g_untmem(0); }
T(e5) { return g_untvoid((void *)s); }
T(e6) { return g_untw(0); }
T(e7) { return g_untneg(0); }
T(e8) { return g_untv(0); }
T(f1) { LK if (!v) return 0; return g_both(v); }
T(f2) { LK return g_nullable(v); }
T(f3) { return g_numtag(1); }
T(f4) { LK return g_unk(v); }
T(f5) { return g_ctxw((void *)s); }
T(f6) { struct bpf_dynptr d; bpf_dynptr_from_skb(s, 0, &d); return g_dyntag(&d); }
T(f7) { return g_arena((void *)7); }
T(f8) { return g_arena((void *)s); }
T(f9) { return g_void(0); }
T(f10) { return g_fwd(0); }
T(f12) { char x = 3; return g_char(&x); }
T(f13) { return g_int2(s->len, 5); }
T(f14) { return g_int2((long)s, 5); }
T(f15) { LK if (!v) return 0; return g_local(v); }
T(f16) { LK if (!v) return 0; return s_tag(v); }
__noinline int sleepy(int x) { char b[4]; return bpf_copy_from_user(b, 4, 0); }
SEC("syscall") int sl1(void *c) { return sleepy(1); }
SEC("syscall") int sl2(void *c) { bpf_rcu_read_lock(); int r = sleepy(1); bpf_rcu_read_unlock(); return r; }
SEC("syscall") int sl3(void *c) { bpf_preempt_disable(); int r = sleepy(1); bpf_preempt_enable(); return r; }
SEC("syscall") int sl4(void *c) { bpf_preempt_disable(); int r = g_int2(1, 2); bpf_preempt_enable(); return r; }
SEC("syscall") int sl5(void *c) { bpf_rcu_read_lock(); int r = g_int2(1, 2); bpf_rcu_read_unlock(); return r; }
SEC("syscall") int sl6(void *c) { unsigned long f; bpf_local_irq_save(&f); int r = g_int2(1, 2); bpf_local_irq_restore(&f); return r; }
__noinline int g_cache(struct kmem_cache *c tag(trusted)) { return c->size; }
__noinline int g_skb(struct sk_buff *c tag(trusted)) { return c->len; }
__noinline void g_nothing(int x) { bpf_get_prandom_u32(); }
__noinline struct v *g_pointer(int x) { asm volatile(""); return (void *)(long)x; }
T(h1) { return g_cache(bpf_get_kmem_cache(s->len)); }
T(h2) { return g_skb(bpf_cast_to_kern_ctx(s)); }
T(h3) { g_nothing(1); return 0; }
T(h4) { return g_pointer(1) != 0; }
__noinline int g_skb_alone(struct sk_buff *c) { return c->len & 0; }
T(h5) { return g_skb_alone((void *)s); }
T(h6) { int x = 0; return g_skb_alone((void *)&x); }
