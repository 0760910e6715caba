#include "kernel.h"
struct loc { int x, y; };
struct plain { struct task_struct __kptr_t *t; struct task_struct __kptr_un *u; struct cgroup __kptr_t *cg; struct bpf_cpumask __kptr_t *cm; struct loc __kptr_t *l; struct loc __percpu_kptr_t *pl; int a; };
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, int); __type(value, struct plain); } m SEC(".maps");
#define LK int k = 0; struct plain *v = bpf_map_lookup_elem(&m, &k); if (!v) return 0;
#define T(n) SEC("tc") int n(struct __sk_buff *s)
#define S(n) SEC("syscall") int n(void *s)
T(a1) { LK struct task_struct *t = bpf_task_from_pid(1); if (!t) return 0; t = bpf_kptr_xchg(&v->t, t); if (t) bpf_task_release(t); return 0; }
T(a2) { LK struct task_struct *t = bpf_task_from_pid(1); if (!t) return 0; t = bpf_kptr_xchg(&v->t, t); return 0; }
T(a3) { LK struct task_struct *t = bpf_kptr_xchg(&v->t, 0); if (t) bpf_task_release(t); return 0; }
T(a4) { LK struct task_struct *t = bpf_kptr_xchg(&v->t, 0); bpf_task_release(t); return 0; }
T(a5) { LK struct task_struct *t = bpf_task_from_pid(1); t = bpf_kptr_xchg(&v->t, t); if (t) bpf_task_release(t); return 0; }
T(a6) { LK struct task_struct *t = bpf_task_from_pid(1); if (!t) return 0; struct task_struct *o = bpf_kptr_xchg(&v->t, t); int r = t->pid; if (o) bpf_task_release(o); return r; }
T(a7) { LK struct task_struct *t = bpf_task_from_pid(1); if (!t) return 0; struct cgroup *o = bpf_kptr_xchg(&v->cg, (void *)t); if (o) bpf_cgroup_release(o); return 0; }
T(a8) { LK struct task_struct *t = bpf_get_current_task_btf(); struct task_struct *o = bpf_kptr_xchg(&v->t, t); if (o) bpf_task_release(o); return 0; }
T(a9) { LK struct task_struct *t = bpf_kptr_xchg(&v->u, 0); if (t) bpf_task_release(t); return 0; }
T(a10) { LK bpf_kptr_xchg(&v->a, 0); return 0; }
T(a11) { LK struct task_struct *t = bpf_kptr_xchg((void *)&v->t + s->len % 8, 0); if (t) bpf_task_release(t); return 0; }
T(a12) { LK struct task_struct *t = bpf_task_from_pid(1); if (!t) return 0; t = bpf_kptr_xchg(&v->t, (void *)t + 8); if (t) bpf_task_release(t); return 0; }
T(b1) { LK struct task_struct *t = v->t; return t ? t->pid : 0; }
T(b2) { LK struct task_struct *t = v->t; return t->pid; }
S(b3) { LK struct task_struct *t = v->t; return t ? t->pid : 0; }
S(b4) { LK struct task_struct *t = v->t; if (!t) return 0; t = bpf_task_acquire(t); if (t) bpf_task_release(t); return 0; }
T(b5) { LK struct task_struct *t = v->t; if (!t) return 0; t = bpf_task_acquire(t); if (t) bpf_task_release(t); return 0; }
S(b6) { LK bpf_rcu_read_lock(); struct task_struct *t = v->t; if (t) { t = bpf_task_acquire(t); if (t) bpf_task_release(t); } bpf_rcu_read_unlock(); return 0; }
S(b7) { LK bpf_rcu_read_lock(); struct task_struct *t = v->t; bpf_rcu_read_unlock(); if (t) { t = bpf_task_acquire(t); if (t) bpf_task_release(t); } return 0; }
S(b8) { LK bpf_rcu_read_lock(); struct task_struct *t = v->t; int r = 0; if (t) r = t->pid; bpf_rcu_read_unlock(); if (t) r += t->pid; return r; }
T(b9) { LK struct task_struct *t = v->u; return t ? t->pid : 0; }
T(b10) { LK struct task_struct *t = v->u; if (!t) return 0; t = bpf_task_acquire(t); if (t) bpf_task_release(t); return 0; }
T(b11) { LK struct task_struct *t = v->t; if (!t) return 0; bpf_task_release(t); return 0; }
T(b12) { LK struct task_struct *t = v->t; if (!t) return 0; return bpf_task_storage_delete((void *)0, t); }
T(c1) { LK v->u = bpf_get_current_task_btf(); return 0; }
T(c2) { LK v->t = bpf_get_current_task_btf(); return 0; }
T(c3) { LK v->u = 0; return 0; }
T(c4) { LK v->t = 0; return 0; }
T(c5) { LK v->u = (void *)5; return 0; }
T(c6) { LK v->u = (void *)v; return 0; }
T(c7) { LK struct task_struct *t = bpf_get_current_task_btf(); v->u = t->last_wakee; return 0; }
T(c8) { LK struct task_struct *t = bpf_get_current_task_btf(); v->u = (void *)t->mm; return 0; }
T(c9) { LK *(int *)&v->u = 0; return 0; }
T(c10) { LK return *(int *)&v->t; }
T(c11) { LK return *(char *)((void *)&v->t + 1); }
T(c12) { LK __builtin_memset(v, 0, 4); return 0; }
T(c13) { LK return *(int *)((void *)v + (s->len & 31)); }
T(c14) { LK return bpf_probe_read_kernel(v, sizeof(*v), 0); }
T(c15) { LK __sync_fetch_and_add((long *)&v->u, 1); return 0; }
T(c16) { LK v->a = 1; return v->a; }
T(c17) { LK v->u = v->t; return 0; }
T(c18) { LK v->u = v->u; return 0; }
T(d1) { LK struct loc *l = obj_new(struct loc); if (!l) return 0; l->x = 1; l = bpf_kptr_xchg(&v->l, l); if (l) obj_drop(l); return 0; }
T(d2) { LK struct loc *l = v->l; return l ? l->x : 0; }
S(d3) { LK struct loc *l = v->l; return l ? l->x : 0; }
S(d4) { LK bpf_rcu_read_lock(); struct loc *l = v->l; int r = l ? l->x : 0; bpf_rcu_read_unlock(); return r; }
T(d5) { LK struct loc *l = v->l; if (l) l->x = 1; return 0; }
T(d6) { LK struct loc *l = bpf_kptr_xchg(&v->l, 0); if (l) { l->y = l->x; obj_drop(l); } return 0; }
T(d7) { LK struct loc *l = v->l; if (l) obj_drop(l); return 0; }
T(e1) { LK struct loc *l = bpf_percpu_obj_new_impl(bpf_core_type_id_local(struct loc), 0); if (!l) return 0; l = bpf_kptr_xchg(&v->pl, l); if (l) bpf_percpu_obj_drop_impl(l, 0); return 0; }
T(e2) { LK struct loc *l = v->pl; if (!l) return 0; l = bpf_this_cpu_ptr(l); return l->x; }
T(e3) { LK struct loc *l = v->pl; if (!l) return 0; l = bpf_per_cpu_ptr(l, 0); return l ? l->x : 0; }
T(e4) { LK struct loc *l = v->pl; if (!l) return 0; l = bpf_per_cpu_ptr(l, 0); return l->x; }
T(e5) { LK struct loc *l = v->pl; if (!l) return 0; return l->x; }
T(e6) { LK struct loc *l = v->pl; if (!l) return 0; l = bpf_this_cpu_ptr(l); l->y = 5; return 0; }
S(e7) { LK struct loc *l = v->pl; if (!l) return 0; l = bpf_this_cpu_ptr(l); return l->x; }
T(e8) { LK struct loc *l = bpf_percpu_obj_new_impl(bpf_core_type_id_local(struct loc), 0); if (!l) return 0; bpf_percpu_obj_drop_impl(l, 0); return 0; }
T(e9) { LK struct loc *l = bpf_percpu_obj_new_impl(bpf_core_type_id_local(struct loc), 0); if (!l) return 0; obj_drop(l); return 0; }
T(e10) { LK struct loc *l = obj_new(struct loc); if (!l) return 0; bpf_percpu_obj_drop_impl(l, 0); return 0; }
T(e11) { LK struct loc *l = bpf_percpu_obj_new_impl(bpf_core_type_id_local(struct loc), 0); if (!l) return 0; struct loc *o = bpf_kptr_xchg(&v->pl, l); l = bpf_this_cpu_ptr(l); l->x = 1; if (o) bpf_percpu_obj_drop_impl(o, 0); return 0; }
T(e12) { LK struct loc *l = bpf_percpu_obj_new_impl(bpf_core_type_id_local(struct loc), 0); if (!l) return 0; l = bpf_kptr_xchg(&v->l, l); if (l) obj_drop(l); return 0; }
SEC("tp/syscalls/sys_enter_open") int g1(void *s) { LK struct bpf_cpumask *c = bpf_cpumask_create(); if (!c) return 0; c = bpf_kptr_xchg(&v->cm, c); if (c) bpf_cpumask_release(c); return 0; }
SEC("tp/syscalls/sys_enter_open") int g2(void *s) { LK struct bpf_cpumask *c = v->cm; if (!c) return 0; return bpf_cpumask_first((void *)c); }
SEC("tp/syscalls/sys_enter_open") int g3(void *s) { LK struct bpf_cpumask *c = v->cm; if (!c) return 0; bpf_cpumask_set_cpu(1, c); return 0; }
SEC("tp/syscalls/sys_enter_open") int g4(void *s) { LK struct bpf_cpumask *c = bpf_cpumask_create(); if (!c) return 0; int r = bpf_cpumask_test_cpu(1, (void *)c); bpf_cpumask_release(c); return r; }
SEC("tp/syscalls/sys_enter_open") int g5(void *s) { struct bpf_cpumask *c = bpf_cpumask_create(); if (!c) return 0; struct bpf_cpumask *d = bpf_cpumask_acquire(c); bpf_cpumask_release(c); bpf_cpumask_release(d); return 0; }
SEC("tp/syscalls/sys_enter_open") int g6(void *s) { struct task_struct *t = bpf_get_current_task_btf(); return bpf_cpumask_first(t->cpus_ptr); }
SEC("tp/syscalls/sys_enter_open") int g7(void *s) { struct task_struct *t = bpf_get_current_task_btf(); return bpf_cpumask_first(&t->cpus_mask); }
SEC("tp/syscalls/sys_enter_open") int g8(void *s) { struct bpf_cpumask *c = bpf_cpumask_create(); if (!c) return 0; struct task_struct *t = bpf_get_current_task_btf(); bpf_cpumask_copy(c, t->cpus_ptr); bpf_cpumask_release(c); return 0; }
SEC("tp/syscalls/sys_enter_open") int g9(void *s) { struct task_struct *t = bpf_get_current_task_btf(); bpf_cpumask_set_cpu(1, (void *)t->cpus_ptr); return 0; }
