#include "kernel.h"
struct nod { long key; struct bpf_rb_node rb; int data; };
struct lnod { long key; struct bpf_list_node l; int data; };
struct rnode { long key; struct bpf_refcount ref; struct bpf_rb_node rb; struct bpf_list_node l; };
struct other { long key; struct bpf_list_node l; };
struct nolist { int a; };
priv(A) struct bpf_spin_lock lock;
priv(A) struct bpf_list_head head __contains(lnod, l);
priv(A) struct bpf_rb_root root __contains(nod, rb);
priv(B) struct bpf_spin_lock lock2;
priv(B) struct bpf_list_head rhead __contains(rnode, l);
priv(B) struct bpf_rb_root rroot __contains(rnode, rb);
struct val { struct bpf_spin_lock lock; struct bpf_list_head h __contains(other, l); int a; };
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 4); __type(key, int); __type(value, struct val); } m SEC(".maps");
static bool less(struct bpf_rb_node *a, const struct bpf_rb_node *b) { return cof(a, struct nod, rb)->key < cof(b, struct nod, rb)->key; }
static bool rless(struct bpf_rb_node *a, const struct bpf_rb_node *b) { return cof(a, struct rnode, rb)->key < cof(b, struct rnode, rb)->key; }
static bool less_lock(struct bpf_rb_node *a, const struct bpf_rb_node *b) { bpf_spin_unlock(&lock); return 0; }
static bool less_first(struct bpf_rb_node *a, const struct bpf_rb_node *b) { bpf_rbtree_first(&root); return 0; }
static bool less_remove(struct bpf_rb_node *a, const struct bpf_rb_node *b) { bpf_rbtree_remove(&root, a); return 0; }
static bool less_write(struct bpf_rb_node *a, const struct bpf_rb_node *b) { cof(a, struct nod, rb)->key = 5; return 1; }
static bool less_oob(struct bpf_rb_node *a, const struct bpf_rb_node *b) { return *(int *)((void *)a + 400); }
#define T(n) SEC("tc") int n(struct __sk_buff *s)
#define L bpf_spin_lock(&lock);
#define U bpf_spin_unlock(&lock);
#define N struct nod *n = obj_new(struct nod); if (!n) return 0;
#define LN struct lnod *n = obj_new(struct lnod); if (!n) return 0;
#define RN struct rnode *n = obj_new(struct rnode); if (!n) return 0;
T(a1) { LN L push_front(&head, &n->l); U return 0; }
T(a2) { LN push_front(&head, &n->l); return 0; }
T(a3) { LN L push_front(&head, &n->l); n->key = 1; U return 0; }
T(a4) { LN L push_front(&head, &n->l); U n->key = 1; return 0; }
T(a5) { LN L push_front(&head, &n->l); int k = n->key; U return k; }
T(a6) { LN L push_front(&head, &n->l); push_back(&head, &n->l); U return 0; }
T(a7) { LN L push_front(&head, (void *)n); U return 0; }
T(a8) { LN L push_front(&head, &n->l); obj_drop(n); U return 0; }
T(a9) { LN L push_front(&head, &n->l); U obj_drop(n); return 0; }
T(a10) { LN bpf_spin_lock(&lock2); push_front(&head, &n->l); bpf_spin_unlock(&lock2); return 0; }
T(a11) { L struct bpf_list_node *l = bpf_list_pop_front(&head); U if (l) obj_drop(cof(l, struct lnod, l)); return 0; }
T(a12) { L struct bpf_list_node *l = bpf_list_pop_front(&head); U if (l) obj_drop(l); return 0; }
T(a13) { L struct bpf_list_node *l = bpf_list_pop_back(&head); U return 0; }
T(a14) { L struct bpf_list_node *l = bpf_list_pop_back(&head); U if (!l) return 0; struct lnod *n = cof(l, struct lnod, l); int k = n->data; obj_drop(n); return k; }
T(a15) { L struct bpf_list_node *l = bpf_list_pop_back(&head); U struct lnod *n = cof(l, struct lnod, l); int k = n->data; obj_drop(n); return k; }
T(a16) { L struct bpf_list_node *l = bpf_list_front(&head); int k = 0; if (l) k = cof(l, struct lnod, l)->data; U return k; }
T(a17) { L struct bpf_list_node *l = bpf_list_back(&head); U int k = 0; if (l) k = cof(l, struct lnod, l)->data; return k; }
T(a18) { struct bpf_list_node *l = bpf_list_front(&head); return 0; }
T(a19) { LN int k = n->key; obj_drop(n); return k; }
T(a20) { LN return 0; }
T(a21) { LN *(long *)&n->l = 0; obj_drop(n); return 0; }
T(a22) { LN int k = *(int *)&n->l; obj_drop(n); return k; }
T(a23) { LN n->data = n->key; obj_drop(n); return 0; }
T(a24) { LN long k = *(long *)((void *)n + sizeof(*n)); obj_drop(n); return k; }
T(a25) { struct nolist *n = obj_new(struct nolist); if (!n) return 0; obj_drop(n); return 0; }
T(a26) { struct other *n = obj_new(struct other); if (!n) return 0; L push_front(&head, &n->l); U return 0; }
T(a27) { LN L push_front((void *)&root, &n->l); U return 0; }
T(a28) { struct bpf_list_head *h = (void *)&root; L bpf_list_pop_front(h); U return 0; }
T(a29) { long x = *(long *)&head; return x; }
T(a30) { *(long *)&head = 0; return 0; }
T(a31) { LN L bpf_get_prandom_u32(); push_front(&head, &n->l); U return 0; }
T(a32) { L LN push_front(&head, &n->l); U return 0; }
T(b1) { N L rb_add(&root, &n->rb, less); U return 0; }
T(b2) { N rb_add(&root, &n->rb, less); return 0; }
T(b3) { N L rb_add(&root, &n->rb, less); struct bpf_rb_node *r = bpf_rbtree_remove(&root, &n->rb); U if (r) obj_drop(cof(r, struct nod, rb)); return 0; }
T(b4) { N L rb_add(&root, &n->rb, less); U L struct bpf_rb_node *r = bpf_rbtree_remove(&root, &n->rb); U if (r) obj_drop(cof(r, struct nod, rb)); return 0; }
T(b5) { N L rb_add(&root, &n->rb, less_lock); U return 0; }
T(b6) { N L rb_add(&root, &n->rb, less_first); U return 0; }
T(b7) { N L rb_add(&root, &n->rb, less_remove); U return 0; }
T(b8) { N L rb_add(&root, &n->rb, less_write); U return 0; }
T(b9) { N L rb_add(&root, &n->rb, less_oob); U return 0; }
T(b10) { L struct bpf_rb_node *r = bpf_rbtree_first(&root); int k = 0; if (r) k = cof(r, struct nod, rb)->data; U return k; }
T(b11) { L struct bpf_rb_node *r = bpf_rbtree_first(&root); U int k = 0; if (r) k = cof(r, struct nod, rb)->data; return k; }
T(b12) { L struct bpf_rb_node *r = bpf_rbtree_first(&root); if (!r) { U return 0; } r = bpf_rbtree_remove(&root, r); U if (!r) return 0; obj_drop(cof(r, struct nod, rb)); return 0; }
T(b13) { L struct bpf_rb_node *r = bpf_rbtree_first(&root); if (!r) { U return 0; } r = bpf_rbtree_remove(&root, r); U obj_drop(cof(r, struct nod, rb)); return 0; }
T(b14) { L struct bpf_rb_node *r = bpf_rbtree_first(&root); r = bpf_rbtree_remove(&root, r); U if (!r) return 0; obj_drop(cof(r, struct nod, rb)); return 0; }
T(b15) { L struct bpf_rb_node *r = bpf_rbtree_root(&root); if (!r) { U return 0; } r = bpf_rbtree_left(&root, r); int k = 0; if (r) k = cof(r, struct nod, rb)->key; U return k; }
T(b16) { L struct bpf_rb_node *r = bpf_rbtree_root(&root); for (int i = 0; i < 4 && r; i++) r = bpf_rbtree_right(&root, r); U return 0; }
T(b17) { N L struct bpf_rb_node *r = bpf_rbtree_remove(&root, &n->rb); U if (r) obj_drop(cof(r, struct nod, rb)); return 0; }
T(b18) { L struct bpf_rb_node *r = bpf_rbtree_first(&root); if (!r) { U return 0; } struct bpf_rb_node *q = bpf_rbtree_remove(&root, r); int k = cof(r, struct nod, rb)->key; U if (q) obj_drop(cof(q, struct nod, rb)); return k; }
T(b19) { L struct bpf_rb_node *r = bpf_rbtree_first(&root); if (!r) { U return 0; } struct bpf_rb_node *q = bpf_rbtree_remove(&root, r); q = bpf_rbtree_remove(&root, r); U if (q) obj_drop(cof(q, struct nod, rb)); return 0; }
#define L2 bpf_spin_lock(&lock2);
#define U2 bpf_spin_unlock(&lock2);
T(c1) { RN struct rnode *q = ref_acquire(n); L2 rb_add(&rroot, &n->rb, rless); U2 obj_drop(q); return 0; }
T(c2) { RN struct rnode *q = ref_acquire(n); L2 rb_add(&rroot, &n->rb, rless); push_front(&rhead, &q->l); U2 return 0; }
T(c3) { RN struct rnode *q = ref_acquire(n); obj_drop(n); return 0; }
T(c4) { RN L2 rb_add(&rroot, &n->rb, rless); struct rnode *q = ref_acquire(n); U2 if (q) obj_drop(q); return 0; }
T(c5) { RN L2 rb_add(&rroot, &n->rb, rless); struct rnode *q = ref_acquire(n); U2 obj_drop(q); return 0; }
T(c6) { N struct nod *q = ref_acquire(n); obj_drop(n); obj_drop(q); return 0; }
T(c7) { RN L2 rb_add(&rroot, &n->rb, rless); U2 int k = n->key; return k; }
T(c8) { RN struct rnode *q = ref_acquire(n); n->key = 1; q->key = 2; obj_drop(n); int k = q->key; obj_drop(q); return k; }
SEC("syscall") int c9(void *s) { RN L2 rb_add(&rroot, &n->rb, rless); U2 int k = n->key; return k; }
#define LK int k = 1; struct val *v = bpf_map_lookup_elem(&m, &k); if (!v) return 0;
#define O struct other *n = obj_new(struct other); if (!n) return 0;
T(d1) { LK O bpf_spin_lock(&v->lock); push_front(&v->h, &n->l); bpf_spin_unlock(&v->lock); return 0; }
T(d2) { LK struct val *w = bpf_map_lookup_elem(&m, &k); O if (!w) { obj_drop(n); return 0; } bpf_spin_lock(&v->lock); push_front(&w->h, &n->l); bpf_spin_unlock(&v->lock); return 0; }
T(d3) { LK return *(int *)&v->h; }
T(d4) { LK bpf_spin_lock(&v->lock); struct bpf_list_node *l = bpf_list_pop_front(&v->h); bpf_spin_unlock(&v->lock); if (l) obj_drop(cof(l, struct other, l)); return 0; }
T(d5) { LK bpf_spin_lock(&v->lock); struct bpf_list_node *l = bpf_list_pop_front(&v->h); v->a = l != 0; bpf_spin_unlock(&v->lock); if (l) obj_drop(cof(l, struct other, l)); return 0; }
T(d6) { LK bpf_spin_lock(&v->lock); int i, x = 0; for (i = 0; i < 10; i++) { struct bpf_list_node *l = bpf_list_pop_front(&v->h); if (!l) break; push_back(&v->h, l); } bpf_spin_unlock(&v->lock); return 0; }
/* What may be null: the kernel lends it, or nothing. */
T(e1) { L struct bpf_list_node *l = bpf_list_front(&head); int k = cof(l, struct lnod, l)->data; U return k; }
T(e2) { L struct bpf_list_node *l = bpf_list_back(&head); int k = cof(l, struct lnod, l)->data; U return k; }
T(e3) { L struct bpf_rb_node *r = bpf_rbtree_root(&root); int k = cof(r, struct nod, rb)->data; U return k; }
T(e4) { L struct bpf_rb_node *r = bpf_rbtree_root(&root); if (!r) { U return 0; } r = bpf_rbtree_left(&root, r); int k = cof(r, struct nod, rb)->data; U return k; }
T(e5) { L struct bpf_rb_node *r = bpf_rbtree_root(&root); if (!r) { U return 0; } r = bpf_rbtree_right(&root, r); int k = cof(r, struct nod, rb)->data; U return k; }
T(e6) { L struct bpf_list_node *l = bpf_list_back(&head); int k = 0; if (l) k = cof(l, struct lnod, l)->data; U return k; }
/* Locks in allocated objects, told apart by the objects. */
struct first { struct bpf_list_node l; int data; };
struct holder { struct bpf_spin_lock lock; struct bpf_list_head h __contains(first, l); int data; };
struct rholder { struct bpf_refcount ref; struct bpf_spin_lock lock; struct bpf_list_head h __contains(first, l); };
struct headfirst { struct bpf_list_head h __contains(first, l); struct bpf_spin_lock lock; struct bpf_list_head other __contains(first, l); };
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 4); __type(key, int); __type(value, struct headfirst); } hm SEC(".maps");
#define H(p) struct holder *p = obj_new(struct holder);
#define F struct first *n = obj_new(struct first);
T(f1) { H(a) if (!a) return 0; F if (!n) { obj_drop(a); return 0; } bpf_spin_lock(&a->lock); push_front(&a->h, &n->l); bpf_spin_unlock(&a->lock); obj_drop(a); return 0; }
T(f2) { H(a) if (!a) return 0; H(b) if (!b) { obj_drop(a); return 0; } F if (!n) { obj_drop(a); obj_drop(b); return 0; } bpf_spin_lock(&a->lock); push_front(&b->h, &n->l); bpf_spin_unlock(&a->lock); obj_drop(a); obj_drop(b); return 0; }
T(f3) { struct rholder *a = obj_new(struct rholder); if (!a) return 0; struct rholder *b = obj_new(struct rholder); if (!b) { obj_drop(a); return 0; } F if (!n) { obj_drop(a); obj_drop(b); return 0; }
	struct rholder *c = ref_acquire(a), *d = ref_acquire(b); bpf_spin_lock(&c->lock); push_front(&d->h, &n->l); bpf_spin_unlock(&c->lock); obj_drop(a); obj_drop(b); obj_drop(c); obj_drop(d); return 0; }
T(f4) { struct rholder *a = obj_new(struct rholder); if (!a) return 0; F if (!n) { obj_drop(a); return 0; }
	struct rholder *c = ref_acquire(a); bpf_spin_lock(&c->lock); push_front(&c->h, &n->l); bpf_spin_unlock(&c->lock); obj_drop(a); obj_drop(c); return 0; }
T(f5) { H(a) if (!a) return 0; bpf_spin_lock(&a->lock); struct bpf_list_node *l = bpf_list_pop_front(&a->h); bpf_spin_unlock(&a->lock); if (l) obj_drop(cof(l, struct first, l)); obj_drop(a); return 0; }
T(f6) { H(a) bpf_spin_lock(&a->lock); bpf_spin_unlock(&a->lock); if (a) obj_drop(a); return 0; }
T(f7) { struct task_struct *t = bpf_get_current_task_btf(); bpf_spin_lock((void *)t); bpf_spin_unlock((void *)t); return 0; }
/* Heads, roots and nodes at their places, and nothing else. */
#define HK int k = 1; struct headfirst *v = bpf_map_lookup_elem(&hm, &k);
T(g1) { HK F if (!n) return 0; push_front(&v->h, &n->l); return 0; }
T(g2) { LN long x[2] = {}; L push_front((void *)x, &n->l); U return 0; }
T(g3) { HK if (!v) return 0; unsigned o = s->len & 8; bpf_spin_lock(&v->lock); struct bpf_list_node *l = bpf_list_pop_front((void *)&v->h + o); bpf_spin_unlock(&v->lock); if (l) obj_drop(cof(l, struct first, l)); return 0; }
T(g4) { HK if (!v) return 0; F if (!n) return 0; unsigned o = s->len & 8; bpf_spin_lock(&v->lock); push_front(&v->h, (void *)n + o); bpf_spin_unlock(&v->lock); return 0; }
T(g5) { N L rb_add(&root, &n->rb, (void *)5); U return 0; }
T(g6) { LK struct rnode *q = ref_acquire((void *)v); if (q) obj_drop(q); return 0; }
T(g7) { struct rnode *q = ref_acquire((void *)bpf_get_current_task_btf()); if (q) obj_drop(q); return 0; }
T(g8) { N L rb_add(&root, &n->rb, less); struct nod *q = ref_acquire(n); U if (q) obj_drop(q); return 0; }
T(g9) { void *p = bpf_obj_new_impl(bpf_core_type_id_local(int), 0); if (p) obj_drop(p); return 0; }
T(g10) { void *p = bpf_obj_new_impl(s->len, 0); if (p) obj_drop(p); return 0; }
T(g11) { struct first *n = obj_new(struct first); obj_drop(n); return 0; }
T(g12) { HK if (!v) return 0; bpf_spin_lock(&v->lock); struct bpf_list_node *l = bpf_list_front(&v->h); if (l) { struct bpf_list_node *q = bpf_list_front(&v->other); if (q) cof(q, struct first, l)->data = cof(l, struct first, l)->data; } bpf_spin_unlock(&v->lock); return 0; }
SEC("kprobe/x") int k1(void *s) { N obj_drop(n); return 0; }
SEC("socket") int k2(void *s) { N obj_drop(n); return 0; }
