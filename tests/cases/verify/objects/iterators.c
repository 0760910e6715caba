#include "kernel.h"
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } rb SEC(".maps");
#define T(n) SEC("tc") int n(struct __sk_buff *s)
#define S(n) SEC("syscall") int n(void *s)
S(a1) { struct bpf_iter_task it; struct task_struct *t; int c = 0; bpf_rcu_read_lock(); bpf_iter_task_new(&it, 0, 0); while ((t = bpf_iter_task_next(&it))) c += t->pid; bpf_iter_task_destroy(&it); bpf_rcu_read_unlock(); return c; }
S(a2) { struct bpf_iter_task it; struct task_struct *t; int c = 0; bpf_iter_task_new(&it, 0, 0); while ((t = bpf_iter_task_next(&it))) c += t->pid; bpf_iter_task_destroy(&it); return c; }
T(a3) { struct bpf_iter_task it; struct task_struct *t; int c = 0; bpf_iter_task_new(&it, 0, 0); while ((t = bpf_iter_task_next(&it))) c += t->pid; bpf_iter_task_destroy(&it); return c; }
S(a4) { struct bpf_iter_task it; struct task_struct *t; int c = 0; bpf_rcu_read_lock(); bpf_iter_task_new(&it, 0, 0); bpf_rcu_read_unlock(); while ((t = bpf_iter_task_next(&it))) c += t->pid; bpf_iter_task_destroy(&it); return c; }
S(a5) { struct bpf_iter_task it; struct task_struct *t; bpf_rcu_read_lock(); bpf_iter_task_new(&it, 0, 0); while ((t = bpf_iter_task_next(&it))) { struct task_struct *q = bpf_task_acquire(t); if (q) bpf_task_release(q); } bpf_iter_task_destroy(&it); bpf_rcu_read_unlock(); return 0; }
S(a6) { struct bpf_iter_task it; bpf_rcu_read_lock(); bpf_iter_task_new(&it, 0, 0); struct task_struct *t = bpf_iter_task_next(&it); int c = t->pid; bpf_iter_task_destroy(&it); bpf_rcu_read_unlock(); return c; }
S(a7) { struct bpf_iter_task it; bpf_rcu_read_lock(); bpf_iter_task_new(&it, 0, 0); bpf_rcu_read_unlock(); return 0; }
S(a8) { struct bpf_iter_task it; bpf_rcu_read_lock(); bpf_iter_task_new(&it, 0, 0); bpf_rcu_read_unlock(); bpf_rcu_read_lock(); struct task_struct *t = bpf_iter_task_next(&it); bpf_iter_task_destroy(&it); bpf_rcu_read_unlock(); return 0; }
S(a9) { struct bpf_iter_task it; bpf_rcu_read_lock(); bpf_iter_task_new(&it, 0, 0); bpf_rcu_read_unlock(); bpf_iter_task_destroy(&it); return 0; }
T(a10) { struct bpf_iter_task it; bpf_iter_task_new(&it, bpf_get_current_task_btf(), 0); bpf_iter_task_next(&it); bpf_iter_task_destroy(&it); return 0; }
T(a11) { struct bpf_iter_task it; struct task_struct *t = bpf_get_current_task_btf(); bpf_iter_task_new(&it, t->last_wakee, 0); bpf_iter_task_destroy(&it); return 0; }
T(a12) { struct bpf_iter_task it; bpf_iter_task_next(&it); return 0; }
T(a13) { struct bpf_iter_num it; bpf_iter_num_new(&it, 0, 5); bpf_iter_task_next((void *)&it); bpf_iter_num_destroy(&it); return 0; }
T(a14) { struct bpf_iter_task it; struct task_struct *t = bpf_get_current_task_btf(); bpf_iter_task_new(&it, t->real_parent, 0); bpf_iter_task_destroy(&it); return 0; }
T(b1) { struct bpf_iter_css it; struct cgroup_subsys_state *c; int n = 0; struct cgroup *g = bpf_cgroup_from_id(1); if (!g) return 0; bpf_iter_css_new(&it, &g->self, 0); while ((c = bpf_iter_css_next(&it))) n++; bpf_iter_css_destroy(&it); bpf_cgroup_release(g); return n; }
T(b2) { struct bpf_iter_css it; struct cgroup_subsys_state *c; int n = 0; struct cgroup *g = bpf_cgroup_from_id(1); if (!g) return 0; bpf_iter_css_new(&it, &g->self, 0); while ((c = bpf_iter_css_next(&it))) n += c->id; bpf_iter_css_destroy(&it); bpf_cgroup_release(g); return n; }
S(b3) { struct bpf_iter_css it; struct cgroup_subsys_state *c; int n = 0; struct cgroup *g = bpf_cgroup_from_id(1); if (!g) return 0; bpf_iter_css_new(&it, &g->self, 0); while ((c = bpf_iter_css_next(&it))) n += c->id; bpf_iter_css_destroy(&it); bpf_cgroup_release(g); return n; }
T(c1) { struct bpf_iter_bits it; u64 d = 5; int *v, n = 0; bpf_iter_bits_new(&it, &d, 1); while ((v = bpf_iter_bits_next(&it))) n += *v; bpf_iter_bits_destroy(&it); return n; }
T(c2) { struct bpf_iter_bits it; u64 d = 5; int *v, n = 0; bpf_iter_bits_new(&it, &d, 1); while ((v = bpf_iter_bits_next(&it))) *v = 1; bpf_iter_bits_destroy(&it); return n; }
T(c3) { struct bpf_iter_bits it; bpf_iter_bits_new(&it, 0, 100000); bpf_iter_bits_destroy(&it); return 0; }
T(c4) { struct bpf_iter_bits it; u64 d = 5; bpf_iter_bits_new(&it, &d, 1); return 0; }
T(c5) { u64 x[2]; struct bpf_iter_bits *it = (void *)(x + 1); u64 d = 5; bpf_iter_bits_new(it, &d, 1); bpf_iter_bits_destroy(it); return 0; }
T(c6) { struct bpf_iter_bits it; u64 d = 5; bpf_iter_bits_new(&it, &d, 1); bpf_iter_bits_new(&it, &d, 1); bpf_iter_bits_destroy(&it); return 0; }
T(c7) { struct bpf_iter_bits it; u64 d = 5; bpf_iter_bits_new(&it, &d, 1); ((u64 *)&it)[1] = 0; bpf_iter_bits_destroy(&it); return 0; }
T(c8) { struct bpf_iter_bits it; u64 d = 5; bpf_iter_bits_new(&it, &d, 1); int *v = bpf_iter_bits_next(&it); bpf_iter_bits_destroy(&it); return v ? *v : 0; }
S(d1) { struct bpf_iter_kmem_cache it; struct kmem_cache *k; int n = 0; bpf_iter_kmem_cache_new(&it); while ((k = bpf_iter_kmem_cache_next(&it))) n += k->size; bpf_iter_kmem_cache_destroy(&it); return n; }
T(d2) { struct bpf_iter_kmem_cache it; struct kmem_cache *k; int n = 0; bpf_iter_kmem_cache_new(&it); while ((k = bpf_iter_kmem_cache_next(&it))) n += k->size; bpf_iter_kmem_cache_destroy(&it); return n; }
S(d3) { struct bpf_iter_dmabuf it; struct dma_buf *k; int n = 0; bpf_iter_dmabuf_new(&it); while ((k = bpf_iter_dmabuf_next(&it))) n += k->size; bpf_iter_dmabuf_destroy(&it); return n; }
T(e1) { struct bpf_iter_task_vma it; struct vm_area_struct *v; int n = 0; bpf_iter_task_vma_new(&it, bpf_get_current_task_btf(), 0); while ((v = bpf_iter_task_vma_next(&it))) n += v->vm_start; bpf_iter_task_vma_destroy(&it); return n; }
T(e2) { struct bpf_iter_task_vma it; struct vm_area_struct *v; int n = 0; bpf_iter_task_vma_new(&it, bpf_get_current_task_btf(), 0); while ((v = bpf_iter_task_vma_next(&it))) n += v->vm_mm->map_count; bpf_iter_task_vma_destroy(&it); return n; }
T(e3) { struct bpf_iter_task_vma it; struct vm_area_struct *v; int n = 0; bpf_iter_task_vma_new(&it, bpf_get_current_task_btf(), 0); while ((v = bpf_iter_task_vma_next(&it))) { struct file *f = v->vm_file; if (f) n += f->f_inode->i_ino; } bpf_iter_task_vma_destroy(&it); return n; }
T(e4) { struct bpf_iter_task_vma it; bpf_iter_task_vma_new(&it, 0, 0); bpf_iter_task_vma_destroy(&it); return 0; }
S(f1) { struct bpf_iter_css_task it; struct cgroup *g = bpf_cgroup_from_id(1); if (!g) return 0; bpf_iter_css_task_new(&it, &g->self, 0); bpf_iter_css_task_destroy(&it); bpf_cgroup_release(g); return 0; }
T(f2) { struct bpf_iter_css_task it; struct cgroup *g = bpf_cgroup_from_id(1); if (!g) return 0; bpf_iter_css_task_new(&it, &g->self, 0); bpf_iter_css_task_destroy(&it); bpf_cgroup_release(g); return 0; }
T(g1) { struct bpf_iter_num it; int *v, n = 0; bpf_iter_num_new(&it, 0, 5); while ((v = bpf_iter_num_next(&it))) n += *v; bpf_iter_num_destroy(&it); return n; }
T(g2) { struct bpf_iter_num it, jt; int *v, n = 0; bpf_iter_num_new(&it, 0, 5); while ((v = bpf_iter_num_next(&it))) { bpf_iter_num_new(&jt, 0, *v); while ((v = bpf_iter_num_next(&jt))) n += *v; bpf_iter_num_destroy(&jt); } bpf_iter_num_destroy(&it); return n; }
/* Room for three slots; elements are as good as the section; at its end it stays there. */
T(h1) { u64 x[2]; struct bpf_iter_task *it = (void *)x; bpf_iter_task_new(it, 0, 0); bpf_iter_task_destroy(it); return 0; }
T(h2) { u64 x[2]; struct bpf_iter_css *it = (void *)x; struct cgroup *g = bpf_cgroup_from_id(1); if (!g) return 0; bpf_iter_css_new(it, &g->self, 0); bpf_iter_css_destroy(it); bpf_cgroup_release(g); return 0; }
T(h3) { struct bpf_iter_task it, jt; bpf_iter_task_new(&it, 0, 0); struct task_struct *t = bpf_iter_task_next(&it); if (t) { bpf_iter_task_new(&jt, t, 0); bpf_iter_task_destroy(&jt); } bpf_iter_task_destroy(&it); return 0; }
S(h4) { struct bpf_iter_task it; bpf_rcu_read_lock(); bpf_iter_task_new(&it, 0, 0); struct task_struct *t = bpf_iter_task_next(&it); bpf_iter_task_destroy(&it); bpf_rcu_read_unlock(); if (!t) return 0; t = bpf_task_acquire(t); if (t) bpf_task_release(t); return 0; }
T(h5) { struct bpf_iter_num it; int *v, n = 0; bpf_iter_num_new(&it, 0, 5); while ((v = bpf_iter_num_next(&it))) n += *v; v = bpf_iter_num_next(&it); if (v) n += *(int *)0; bpf_iter_num_destroy(&it); return n; }
T(h6) { struct bpf_dynptr d; bpf_ringbuf_reserve_dynptr(&rb, 8, 0, &d); struct bpf_iter_num *it = (void *)&d; bpf_iter_num_new(it, 0, 5); bpf_iter_num_destroy(it); return 0; }
T(h7) { long x[2] = {}; struct bpf_dynptr d; bpf_dynptr_from_skb(s, 0, &d); struct bpf_iter_num *it = (void *)&d; bpf_iter_num_new(it, 0, 5); bpf_iter_num_destroy(it); return bpf_dynptr_size(&d); }
T(h8) { struct bpf_iter_task_vma it; struct vm_area_struct *v; bpf_iter_task_vma_new(&it, bpf_get_current_task_btf(), 0); v = bpf_iter_task_vma_next(&it); bpf_iter_task_vma_destroy(&it); return v ? v->vm_start : 0; }
T(h9) { struct bpf_iter_css it; struct cgroup *g = bpf_cgroup_from_id(1); if (!g) return 0; bpf_iter_css_new(&it, 0, 0); bpf_iter_css_destroy(&it); bpf_cgroup_release(g); return 0; }
SEC("tp/syscalls/sys_enter_open") int i1(void *s) { struct cgroup *g = bpf_cgroup_from_id(1); css_rstat_updated(&g->self, 0); if (g) bpf_cgroup_release(g); return 0; }
SEC("tp/syscalls/sys_enter_open") int i2(void *s) { struct cgroup *g = bpf_cgroup_from_id(1); if (!g) return 0; css_rstat_updated(&g->self, 0); bpf_cgroup_release(g); return 0; }
