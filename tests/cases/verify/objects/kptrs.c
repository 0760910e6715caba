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
/* Kptrs of other types: one that RCU does not protect, counted ones, nodes, one that starts with another's type. */
struct outer { struct loc l; int z; };
struct rloc { struct bpf_refcount ref; int x; };
struct nod { struct bpf_rb_node rb; int data; };
struct big { int a[200]; };
struct pointing { void *p; };
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 4); __type(key, int); __type(value, struct plain); } many SEC(".maps");
struct second { struct prog_test_member __kptr_t *pm; struct rloc __kptr_t *r; struct nod __kptr_t *n; };
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, int); __type(value, struct second); } m2 SEC(".maps");
priv(R) struct bpf_spin_lock rlock;
priv(R) struct bpf_rb_root root __contains(nod, rb);
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 4); __type(key, int); __type(value, long); } numbers SEC(".maps");
static bool less(struct bpf_rb_node *a, const struct bpf_rb_node *b) { return a < b; }
#define LK2 int k = 0; struct second *w = bpf_map_lookup_elem(&m2, &k); if (!w) return 0;
T(h0) { struct rloc *r = obj_new(struct rloc); if (r) obj_drop(r); struct nod *n = obj_new(struct nod); if (n) obj_drop(n); struct outer *o = obj_new(struct outer); if (o) obj_drop(o); return 0; }
S(h1) { LK2 bpf_rcu_read_lock(); struct prog_test_member *p = w->pm; bpf_rcu_read_unlock(); return p->c; }
S(h2) { LK2 bpf_rcu_read_lock(); struct prog_test_member *p = w->pm; bpf_rcu_read_unlock(); return p ? p->c : 0; }
T(h3) { LK struct outer *o = obj_new(struct outer); if (!o) return 0; struct loc *l = bpf_kptr_xchg(&v->l, (void *)o); if (l) obj_drop(l); return 0; }
T(h4) { int k = s->len; struct plain *v = bpf_map_lookup_elem(&many, &k); struct task_struct *t = bpf_kptr_xchg(&v->t, 0); if (t) bpf_task_release(t); return 0; }
T(h5) { long x = 0; struct task_struct *t = bpf_kptr_xchg(&x, 0); if (t) bpf_task_release(t); return 0; }
T(h6) { LK register void *r1 asm("r1") = v; register long r0 asm("r0"); asm volatile(".byte 0xdb, 0x10, 0, 0, 0, 1, 0, 0" : "=r"(r0) : "r"(r1)); return r0 != 0; }
T(h8) { LK2 return *(u64 *)((void *)w + 20); }
T(h9) { LK2 *(u64 *)((void *)w + 20) = 0; return 0; }
T(h7) { LK register void *r1 asm("r1") = v; register long r0 asm("r0") = 0; asm volatile("*(u64 *)(r1 + 8) = r0" :: "r"(r1), "r"(r0)); return 0; }
/* A counted object stays readable in its section only. (Behind it Linux still looks for nodes, which may be gone by
 * then: not here.) */
S(i1) { LK bpf_rcu_read_lock(); struct loc *l = v->l; if (!l) { bpf_rcu_read_unlock(); return 0; } bpf_rcu_read_unlock(); l = ref_acquire(l); if (l) obj_drop(l); return 0; }
T(i10) { LK2 struct nod *n = w->n; if (!n) return 0; bpf_spin_lock(&rlock); bpf_spin_unlock(&rlock); return n->data; }
S(i2) { LK2 bpf_rcu_read_lock(); struct rloc *r = w->r; if (!r) { bpf_rcu_read_unlock(); return 0; } r = ref_acquire(r); bpf_rcu_read_unlock(); if (r) obj_drop(r); return 0; }
S(i3) { LK2 bpf_rcu_read_lock(); struct rloc *r = w->r; if (!r) { bpf_rcu_read_unlock(); return 0; } bpf_rcu_read_unlock(); return r->x; }
S(i4) { LK2 bpf_rcu_read_lock(); struct rloc *r = w->r; if (!r) { bpf_rcu_read_unlock(); return 0; } bpf_rcu_read_unlock(); r->x = 1; return 0; }
S(i5) { LK2 struct rloc *r = w->r; return r ? r->x : 0; }
S(i6) { LK2 struct rloc *r = w->r; if (r) r->x = 1; return 0; }
S(i7) { LK2 struct rloc *r = w->r; if (!r) return 0; r = ref_acquire(r); if (r) obj_drop(r); return 0; }
T(i8) { LK2 struct nod *n = w->n; if (!n) return 0; bpf_spin_lock(&rlock); struct bpf_rb_node *r = bpf_rbtree_remove(&root, &n->rb); bpf_spin_unlock(&rlock); if (r) obj_drop(cof(r, struct nod, rb)); return 0; }
T(i9) { LK2 struct nod *n = w->n; if (!n) return 0; bpf_spin_lock(&rlock); rb_add(&root, &n->rb, less); bpf_spin_unlock(&rlock); return 0; }
S(i11) { LK2 bpf_rcu_read_lock(); struct nod *n = w->n; if (!n) { bpf_rcu_read_unlock(); return 0; } bpf_rcu_read_unlock(); bpf_spin_lock(&rlock); struct bpf_rb_node *r = bpf_rbtree_remove(&root, &n->rb); bpf_spin_unlock(&rlock); if (r) obj_drop(cof(r, struct nod, rb)); return 0; }
/* Objects that the program allocates for each CPU hold numbers, and few. */
T(j1) { void *p = bpf_percpu_obj_new_impl(bpf_core_type_id_local(struct big), 0); if (p) bpf_percpu_obj_drop_impl(p, 0); return 0; }
T(j2) { void *p = bpf_percpu_obj_new_impl(bpf_core_type_id_local(struct pointing), 0); if (p) bpf_percpu_obj_drop_impl(p, 0); return 0; }
T(j3) { void *p = bpf_percpu_obj_new_impl(bpf_core_type_id_local(struct rloc), 0); if (p) bpf_percpu_obj_drop_impl(p, 0); return 0; }
/* Casts. */
T(l1) { struct task_struct *t = bpf_rdonly_cast(s, bpf_core_type_id_kernel(struct task_struct)); t = bpf_task_acquire(t); if (t) bpf_task_release(t); return 0; }
T(l2) { struct task_struct *t = bpf_rdonly_cast(s, bpf_core_type_id_kernel(struct task_struct)); return t->pid; }
T(l3) { void *t = bpf_rdonly_cast(s, bpf_core_type_id_kernel(int)); return t != 0; }
T(l4) { void *t = bpf_rdonly_cast(s, s->len); return t != 0; }
T(l6) { int *t = bpf_rdonly_cast(s, 0); return *t; }
T(l7) { struct sk_buff *k = bpf_cast_to_kern_ctx((void *)s + 4); return k->len; }
T(l8) { LK struct sk_buff *b = bpf_cast_to_kern_ctx(v); return b->len; }
T(l9) { struct sk_buff *k = bpf_cast_to_kern_ctx(s); return k->len; }
T(l10) { struct sk_buff *k = bpf_cast_to_kern_ctx(s); return k->sk->sk_sndbuf; }
T(l11) { struct sk_buff *k = bpf_cast_to_kern_ctx(s); struct sock *sk = k->sk; return sk ? sk->sk_sndbuf : 0; }
SEC("sockops") int l12(void *s) { bpf_sock_ops_enable_tx_tstamp(bpf_cast_to_kern_ctx(s), 0); return 1; }
/* Pointers found in objects. */
T(n1) { struct task_struct *t = bpf_get_current_task_btf(); return *(int *)((void *)t - 8); }
T(n2) { struct task_struct *t = bpf_get_current_task_btf(); return t->mm->exe_file->f_flags; }
T(n3) { LK struct task_struct *t = v->u; if (!t) return 0; t = bpf_task_acquire(t->real_parent); if (t) bpf_task_release(t); return 0; }
S(n4) { struct task_struct *t = bpf_task_acquire(bpf_get_current_task_btf()->real_parent); if (t) bpf_task_release(t); return 0; }
T(n5) { struct task_struct *t = bpf_task_acquire(bpf_get_current_task_btf()->real_parent); if (t) bpf_task_release(t); return 0; }
T(n6) { struct task_struct *t = bpf_task_acquire(bpf_get_current_task_btf()->last_wakee); if (t) bpf_task_release(t); return 0; }
SEC("tp_btf/ext4_unlink_enter") int n7(unsigned long *c) { struct dentry *d = (void *)c[1]; return d->d_inode->i_ino; }
SEC("tp_btf/ext4_unlink_enter") int n8(unsigned long *c) { struct dentry *d = (void *)c[1]; struct inode *i = d->d_inode; return i ? i->i_ino : 0; }
T(n9) { struct task_struct *t = bpf_get_current_task_btf(); unsigned o = s->len & 8; return *(int *)((void *)&t->pid + o); }
/* What is given to functions. */
T(o1) { struct task_struct *t = bpf_task_from_pid(1); if (!t) return 0; bpf_task_release((void *)t + 8); return 0; }
T(o2) { LK struct task_struct *t = bpf_task_acquire((void *)v); if (t) bpf_task_release(t); return 0; }
S(o3) { char b[4]; struct task_struct *t = bpf_task_from_pid(1); int r = bpf_copy_from_user_task_str(b, 4, 0, t, 0); if (t) bpf_task_release(t); return r; }
S(o4) { char b[4]; struct task_struct *t = bpf_task_from_pid(1); if (!t) return 0; int r = bpf_copy_from_user_task_str(b, 4, 0, t, 0); bpf_task_release(t); return r; }
#define C SEC("tp/syscalls/sys_enter_open") int
C o5(void *s) { LK struct bpf_cpumask *c = bpf_cpumask_create(); if (!c) return 0; int r = bpf_cpumask_populate((void *)c, &v->a, 4); bpf_cpumask_release(c); return r; }
C o6(void *s) { int k = bpf_get_prandom_u32(); long *v = bpf_map_lookup_elem(&numbers, &k); struct bpf_cpumask *c = bpf_cpumask_create(); if (!c) return 0; int r = bpf_cpumask_populate((void *)c, v, 4); bpf_cpumask_release(c); return r; }
C o7(void *s) { struct bpf_cpumask *c = bpf_cpumask_create(); if (!c) return 0; int r = bpf_cpumask_populate((void *)c, 0, 0); bpf_cpumask_release(c); return r; }
#define CT struct bpf_sock_tuple u = {}; struct bpf_ct_opts o = {}; struct nf_conn___init *n = bpf_skb_ct_alloc(s, &u, 12, &o, sizeof(o)); if (!n) return 0;
T(p1) { CT struct nf_conn *c = bpf_ct_insert_entry(n); if (c) bpf_ct_release(c); return 0; }
T(p2) { CT bpf_ct_release((void *)n); return 0; }
T(p3) { CT bpf_ct_change_timeout((void *)n, 1); struct nf_conn *c = bpf_ct_insert_entry(n); if (c) bpf_ct_release(c); return 0; }
T(p4) { CT bpf_ct_set_timeout(n, 1); struct nf_conn *c = bpf_ct_insert_entry(n); if (c) bpf_ct_release(c); return 0; }
T(p5) { CT struct nf_conn *c = bpf_ct_insert_entry(n); if (!c) return 0; bpf_ct_set_timeout((void *)c, 1); bpf_ct_release(c); return 0; }
T(p6) { CT struct nf_conn *c = bpf_ct_insert_entry(n); if (!c) return 0; bpf_ct_change_timeout(c, 1); bpf_ct_release(c); return 0; }
