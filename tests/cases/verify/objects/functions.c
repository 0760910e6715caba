#include "kernel.h"
struct both { struct bpf_timer t; struct bpf_wq w; int a; };
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 2); __type(key, int); __type(value, struct both); } m SEC(".maps");
#define T(n) SEC("tc") int n(struct __sk_buff *s)
#define LK int k = 0; struct both *v = bpf_map_lookup_elem(&m, &k); if (!v) return 0;
#define WQ(f) bpf_wq_set_callback_impl(&v->w, f, 0, 0)
#define TIMER(f) bpf_timer_set_callback(&v->t, f)
/* A function that a work queue and a timer call: only for the first it may sleep. */
static int sleeps(void *map, int *key, void *val) { char b[4]; bpf_copy_from_user(b, 4, 0); return 0; }
T(a1) { LK WQ(sleeps); return 0; }
T(a2) { LK TIMER(sleeps); return 0; }
T(a3) { LK if (s->len > 7) { WQ(sleeps); return 0; } TIMER(sleeps); return 0; }
T(a4) { LK if (s->len > 7) { TIMER(sleeps); return 0; } WQ(sleeps); return 0; }
/* Frames of global functions, each of which is walked alone. */
__noinline int g8(int x) { return x + 8; }
__noinline int g7(int x) { return g8(x) + 7; }
__noinline int g6(int x) { return g7(x) + 6; }
__noinline int g5(int x) { return g6(x) + 5; }
__noinline int g4(int x) { return g5(x) + 4; }
__noinline int g3(int x) { return g4(x) + 3; }
__noinline int g2(int x) { return g3(x) + 2; }
__noinline int g1(int x) { return g2(x) + 1; }
T(b1) { return g2(s->len); }
T(b2) { return g1(s->len); }
/* A pointer found in an object, of which nobody says that it stays valid. */
T(c1) { struct task_struct *t = bpf_get_current_task_btf(); struct task_struct *q = bpf_task_acquire(t->last_wakee); if (q) bpf_task_release(q); return 0; }
T(c2) { struct task_struct *t = bpf_get_current_task_btf(); struct task_struct *q = bpf_task_acquire(t->real_parent); if (q) bpf_task_release(q); return 0; }
