#include "kernel.h"
struct wqv { struct bpf_wq w; int a; };
struct tmv { struct bpf_timer t; int a; };
struct lkv { struct bpf_spin_lock l; int a; };
struct rlv { struct bpf_res_spin_lock l; int a; };
struct rlv2 { struct bpf_res_spin_lock l; int a; };
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 2); __type(key, int); __type(value, struct wqv); } wm SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 2); __type(key, int); __type(value, struct wqv); } wm2 SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 2); __type(key, int); __type(value, struct tmv); } tm SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 2); __type(key, int); __type(value, struct lkv); } lm SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 2); __type(key, int); __type(value, struct rlv); } rm SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 2); __type(key, int); __type(value, struct rlv2); } rm2 SEC(".maps");
#define T(n) SEC("tc") int n(struct __sk_buff *s)
#define S(n) SEC("syscall") int n(void *s)
#define LK(map, t) int k = 0; struct t *v = bpf_map_lookup_elem(&map, &k); if (!v) return 0;
static int wcb(void *map, int *key, void *val) { return 0; }
static int wcb1(void *map, int *key, void *val) { return 1; }
static int wcbsleep(void *map, int *key, void *val) { char b[4]; bpf_copy_from_user(b, 4, 0); return 0; }
static int wcbv(void *map, int *key, void *val) { struct wqv *v = val; v->a = 1; return 0; }
static int wcbk(void *map, int *key, void *val) { *key = 1; return 0; }
static int wcbo(void *map, int *key, void *val) { return ((char *)val)[100]; }
#define W(n, f) T(n) { LK(wm, wqv) if (bpf_wq_init(&v->w, &wm, 0)) return 0; if (bpf_wq_set_callback_impl(&v->w, f, 0, 0)) return 0; bpf_wq_start(&v->w, 0); return 0; }
W(a1, wcb) W(a2, wcb1) W(a3, wcbsleep) W(a4, wcbv) W(a5, wcbk) W(a6, wcbo)
T(a7) { LK(wm, wqv) bpf_wq_init(&v->w, &wm2, 0); return 0; }
T(a8) { LK(wm, wqv) bpf_wq_init((void *)&v->a, &wm, 0); return 0; }
T(a9) { LK(tm, tmv) bpf_wq_init((void *)&v->t, &tm, 0); return 0; }
T(a10) { LK(wm, wqv) return *(int *)&v->w; }
T(a11) { struct bpf_wq w; return bpf_wq_start(&w, 0); }
SEC("kprobe/x") int a12(void *s) { LK(wm, wqv) return bpf_wq_start(&v->w, 0); }
static int tcb(void *map, int *key, void *val) { return 0; }
static int tcb1(void *map, int *key, void *val) { return 1; }
static int tcbsleep(void *map, int *key, void *val) { char b[4]; bpf_copy_from_user(b, 4, 0); return 0; }
#define TM(n, f) T(n) { LK(tm, tmv) bpf_timer_init(&v->t, &tm, 0); bpf_timer_set_callback(&v->t, f); bpf_timer_start(&v->t, 0, 0); return 0; }
TM(b1, tcb) TM(b2, tcb1) TM(b3, tcbsleep)
S(b4) { LK(tm, tmv) bpf_timer_init(&v->t, &tm, 0); bpf_timer_set_callback(&v->t, tcbsleep); return 0; }
#define RL(v) bpf_res_spin_lock(&v->l)
#define RU(v) bpf_res_spin_unlock(&v->l)
#define LR LK(rm, rlv)
#define LR2 struct rlv2 *w = bpf_map_lookup_elem(&rm2, &k); if (!w) return 0;
T(c1) { LR if (RL(v)) return 0; v->a = 1; RU(v); return 0; }
T(c2) { LR RL(v); RU(v); return 0; }
T(c3) { LR if (RL(v)) return 0; return 0; }
T(c4) { LR if (RL(v)) return 0; if (RL(v)) { RU(v); return 0; } RU(v); RU(v); return 0; }
T(c5) { LR LR2 if (RL(v)) return 0; if (RL(w)) { RU(v); return 0; } RU(w); RU(v); return 0; }
T(c6) { LR LR2 if (RL(v)) return 0; if (RL(w)) { RU(v); return 0; } RU(v); RU(w); return 0; }
T(c7) { LR unsigned long f; if (bpf_res_spin_lock_irqsave(&v->l, &f)) return 0; bpf_res_spin_unlock_irqrestore(&v->l, &f); return 0; }
T(c8) { LR unsigned long f; if (bpf_res_spin_lock_irqsave(&v->l, &f)) return 0; RU(v); return 0; }
T(c9) { LR unsigned long f; if (bpf_res_spin_lock_irqsave(&v->l, &f)) return 0; RU(v); bpf_local_irq_restore(&f); return 0; }
T(c10) { LR unsigned long f; bpf_local_irq_save(&f); if (RL(v)) { bpf_local_irq_restore(&f); return 0; } bpf_res_spin_unlock_irqrestore(&v->l, &f); return 0; }
T(c11) { LR LR2 unsigned long f, g; if (bpf_res_spin_lock_irqsave(&v->l, &f)) return 0; if (bpf_res_spin_lock_irqsave(&w->l, &g)) { bpf_res_spin_unlock_irqrestore(&v->l, &f); return 0; } bpf_res_spin_unlock_irqrestore(&w->l, &g); bpf_res_spin_unlock_irqrestore(&v->l, &f); return 0; }
T(c12) { LR LR2 unsigned long f, g; if (bpf_res_spin_lock_irqsave(&v->l, &f)) return 0; if (bpf_res_spin_lock_irqsave(&w->l, &g)) { bpf_res_spin_unlock_irqrestore(&v->l, &f); return 0; } bpf_res_spin_unlock_irqrestore(&w->l, &f); bpf_res_spin_unlock_irqrestore(&v->l, &g); return 0; }
T(c13) { LR if (RL(v)) return 0; bpf_get_prandom_u32(); RU(v); return 0; }
T(c14) { LR RU(v); return 0; }
T(c15) { LR bpf_spin_lock((void *)&v->l); bpf_spin_unlock((void *)&v->l); return 0; }
T(c16) { LK(lm, lkv) if (bpf_res_spin_lock((void *)&v->l)) return 0; bpf_res_spin_unlock((void *)&v->l); return 0; }
T(c17) { LK(lm, lkv) struct rlv *r = bpf_map_lookup_elem(&rm, &k); if (!r) return 0; bpf_spin_lock(&v->l); if (RL(r)) { bpf_spin_unlock(&v->l); return 0; } RU(r); bpf_spin_unlock(&v->l); return 0; }
T(c18) { LK(lm, lkv) struct rlv *r = bpf_map_lookup_elem(&rm, &k); if (!r) return 0; if (RL(r)) return 0; bpf_spin_lock(&v->l); bpf_spin_unlock(&v->l); RU(r); return 0; }
T(c19) { LR return *(int *)&v->l; }
T(c20) { LR bpf_res_spin_lock((void *)v + 4); return 0; }
T(c21) { LR int r = RL(v); if (r < 0) return 1; RU(v); return 0; }
T(c22) { LR int r = RL(v); if (r == -5) return 1; RU(v); return 0; }
SEC("kprobe/x") int c23(void *s) { LR if (RL(v)) return 0; RU(v); return 0; }
S(c24) { LR if (RL(v)) return 0; struct task_struct *t = bpf_get_current_task_btf(); RU(v); return 0; }
T(d1) { LK(lm, lkv) bpf_spin_lock(&v->l); bpf_spin_unlock(&v->l); return 0; }
T(d2) { LK(lm, lkv) bpf_spin_lock(&v->l); bpf_rcu_read_lock(); bpf_spin_unlock(&v->l); bpf_rcu_read_unlock(); return 0; }
T(d3) { unsigned long f; bpf_local_irq_save(&f); bpf_local_irq_restore(&f); return 0; }
T(d4) { unsigned long f, g; bpf_local_irq_save(&f); bpf_local_irq_save(&g); bpf_local_irq_restore(&f); bpf_local_irq_restore(&g); return 0; }
T(d5) { unsigned long f; bpf_local_irq_save(&f); return 0; }
T(d6) { unsigned long f; bpf_local_irq_save(&f); f = 0; bpf_local_irq_restore(&f); return 0; }
T(d7) { bpf_rcu_read_lock(); bpf_rcu_read_lock(); bpf_rcu_read_unlock(); bpf_rcu_read_unlock(); return 0; }
T(d8) { bpf_preempt_disable(); bpf_preempt_disable(); bpf_preempt_enable(); bpf_preempt_enable(); return 0; }
T(d9) { bpf_preempt_disable(); return 0; }
S(d10) { char b[4]; bpf_preempt_disable(); bpf_copy_from_user(b, 4, 0); bpf_preempt_enable(); return 0; }
S(d11) { char b[4]; bpf_rcu_read_lock(); bpf_copy_from_user(b, 4, 0); bpf_rcu_read_unlock(); return 0; }
S(d12) { char b[4]; unsigned long f; bpf_local_irq_save(&f); bpf_copy_from_user_str(b, 4, 0, 0); bpf_local_irq_restore(&f); return 0; }
S(d13) { char b[4]; return bpf_copy_from_user_str(b, 4, 0, 0); }
T(d14) { char b[4]; return bpf_copy_from_user_str(b, 4, 0, 0); }
S(d15) { char b[4]; return bpf_copy_from_user_str(b, 8, 0, 0); }
S(d16) { return bpf_copy_from_user_str(0, 0, 0, 0); }
static long vcb(struct task_struct *t, struct vm_area_struct *v, void *c) { return v->vm_flags & 1; }
static long vcbw(struct task_struct *t, struct vm_area_struct *v, void *c) { v->vm_start = 1; return 0; }
static long vcbr(struct task_struct *t, struct vm_area_struct *v, void *c) { return 2; }
static long vcbc(struct task_struct *t, struct vm_area_struct *v, void *c) { *(int *)c = t->pid; return 0; }
T(e1) { return bpf_find_vma(bpf_get_current_task_btf(), 0, vcb, 0, 0); }
T(e2) { return bpf_find_vma(bpf_get_current_task_btf(), 0, vcbw, 0, 0); }
T(e3) { return bpf_find_vma(bpf_get_current_task_btf(), 0, vcbr, 0, 0); }
T(e4) { int x = 0; return bpf_find_vma(bpf_get_current_task_btf(), 0, vcbc, &x, 0); }
T(e5) { return bpf_find_vma(bpf_get_current_task_btf(), 0, vcbc, 0, 0); }
T(c25) { int k = s->len; struct rlv *v = bpf_map_lookup_elem(&rm, &k); if (RL(v)) return 0; RU(v); return 0; }
T(e6) { struct task_struct *t = bpf_task_from_pid(1); int r = bpf_find_vma(t, 0, vcb, 0, 0); if (t) bpf_task_release(t); return r; }
T(e7) { return bpf_find_vma((void *)s, 0, vcb, 0, 0); }
T(e8) { bpf_rcu_read_lock(); struct task_struct *t = bpf_get_current_task_btf()->real_parent; bpf_rcu_read_unlock(); return bpf_find_vma(t, 0, vcb, 0, 0); }
T(e9) { struct task_struct *t = bpf_get_current_task_btf()->real_parent; return bpf_find_vma(t, 0, vcb, 0, 0); }
T(e10) { return bpf_find_vma((void *)bpf_get_current_task_btf() - 8, 0, vcb, 0, 0); }
T(e11) { unsigned o = s->len & 8; return bpf_find_vma((void *)bpf_get_current_task_btf() + o, 0, vcb, 0, 0); }
