/* What the programs of this folder need of the kernel: UAPI, kernel functions, and of its structures only the members
 * that are named somewhere. Offsets come from the running kernel. */
#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
typedef __u64 u64; typedef __u32 u32; typedef __u16 u16; typedef __u8 u8; typedef __s32 s32;
char _license[] SEC("license") = "GPL";
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct atomic { int counter; };
struct refcount { struct atomic refs; };
struct inode { unsigned long i_ino; };
struct file { unsigned int f_flags; struct inode *f_inode; };
struct mm_struct { int map_count; void *pgd; struct file *exe_file; };
struct vm_area_struct { unsigned long vm_start; unsigned long vm_flags; struct mm_struct *vm_mm; struct file *vm_file; };
struct cgroup_subsys_state { int id; };
struct cgroup { struct cgroup_subsys_state self; int level; };
struct css_set { struct cgroup *dfl_cgrp; };
struct kuid { unsigned int val; };
struct cred { struct kuid uid; };
struct cpumask { unsigned long bits[4]; };
struct bpf_cpumask { struct cpumask cpumask; struct refcount usage; };
struct task_struct {
	int pid; char comm[16]; struct mm_struct *mm; struct task_struct *real_parent; struct task_struct *parent;
	struct task_struct *group_leader; struct task_struct *last_wakee; struct css_set *cgroups;
	const struct cred *cred; void *stack; int *set_child_tid; const struct cpumask *cpus_ptr; struct cpumask cpus_mask;
};
struct kmem_cache { unsigned int size; };
struct dma_buf { unsigned long size; };
struct sock { int sk_sndbuf; };
struct sk_buff { unsigned int len; struct sock *sk; };
struct dentry { struct inode *d_inode; };
struct prog_test_member { int c; };
#pragma clang attribute pop
struct bpf_crypto_ctx; struct nf_conn; struct nf_conn___init; struct bpf_key; struct xfrm_state;
struct bpf_ct_opts { __s32 netns_id; __s32 error; __u8 l4proto; __u8 dir; __u16 ct_zone_id; };
struct bpf_list_head { __u64 opaque[2]; } __attribute__((aligned(8)));
struct bpf_list_node { __u64 opaque[3]; } __attribute__((aligned(8)));
struct bpf_rb_root { __u64 opaque[2]; } __attribute__((aligned(8)));
struct bpf_rb_node { __u64 opaque[4]; } __attribute__((aligned(8)));
struct bpf_refcount { __u32 opaque[1]; } __attribute__((aligned(4)));
struct bpf_wq { __u64 opaque[2]; } __attribute__((aligned(8)));
struct bpf_iter_num { __u64 opaque[1]; } __attribute__((aligned(8)));
struct bpf_iter_task { __u64 opaque[3]; }; struct bpf_iter_css { __u64 opaque[3]; };
struct bpf_iter_css_task { __u64 opaque[1]; }; struct bpf_iter_bits { __u64 opaque[2]; };
struct bpf_iter_task_vma { __u64 opaque[1]; }; struct bpf_iter_kmem_cache { __u64 opaque[1]; };
struct bpf_iter_dmabuf { __u64 opaque[1]; };
struct bpf_res_spin_lock { __u32 val; } __attribute__((aligned(4)));
#define __contains(n, m) __attribute__((btf_decl_tag("contains:" #n ":" #m)))
#define __kptr_t __attribute__((btf_type_tag("kptr")))
#define __kptr_un __attribute__((btf_type_tag("kptr_untrusted")))
#define __percpu_kptr_t __attribute__((btf_type_tag("percpu_kptr")))
#define priv(n) SEC(".data." #n) __hidden __attribute__((aligned(8)))
extern void *bpf_obj_new_impl(__u64 id, void *meta) __ksym;
extern void bpf_obj_drop_impl(void *p, void *meta) __ksym;
extern void *bpf_percpu_obj_new_impl(__u64 id, void *meta) __ksym;
extern void bpf_percpu_obj_drop_impl(void *p, void *meta) __ksym;
extern void *bpf_refcount_acquire_impl(void *p, void *meta) __ksym;
extern int bpf_list_push_front_impl(struct bpf_list_head *h, struct bpf_list_node *n, void *m, __u64 off) __ksym;
extern int bpf_list_push_back_impl(struct bpf_list_head *h, struct bpf_list_node *n, void *m, __u64 off) __ksym;
extern int bpf_rbtree_add_impl(struct bpf_rb_root *r, struct bpf_rb_node *n, bool (less)(struct bpf_rb_node *a, const struct bpf_rb_node *b), void *m, __u64 off) __ksym;
extern int bpf_wq_set_callback_impl(struct bpf_wq *wq, int (cb)(void *, int *, void *), unsigned int flags, void *aux) __ksym;
#define obj_new(t) ((t *)bpf_obj_new_impl(bpf_core_type_id_local(t), 0))
#define obj_drop(p) bpf_obj_drop_impl(p, 0)
#define push_front(h, n) bpf_list_push_front_impl(h, n, 0, 0)
#define push_back(h, n) bpf_list_push_back_impl(h, n, 0, 0)
#define rb_add(r, n, l) bpf_rbtree_add_impl(r, n, l, 0, 0)
#define ref_acquire(p) bpf_refcount_acquire_impl(p, 0)
#define cof(ptr, type, member) ((type *)((void *)(ptr) - __builtin_offsetof(type, member)))
extern void* bpf_cast_to_kern_ctx(void* obj) __ksym;
extern struct cgroup* bpf_cgroup_from_id(u64 cgid) __ksym;
extern void bpf_cgroup_release(struct cgroup* cgrp) __ksym;
extern int bpf_copy_from_user_dynptr(struct bpf_dynptr* dptr, u32 off, u32 size, const void* unsafe_ptr__ign) __ksym;
extern int bpf_copy_from_user_str(void* dst, u32 dst__sz, const void* unsafe_ptr__ign, u64 flags) __ksym;
extern int bpf_copy_from_user_task_str(void* dst, u32 dst__sz, const void* unsafe_ptr__ign, struct task_struct* tsk, u64 flags) __ksym;
extern struct bpf_cpumask* bpf_cpumask_acquire(struct bpf_cpumask* cpumask) __ksym;
extern void bpf_cpumask_copy(struct bpf_cpumask* dst, const struct cpumask* src) __ksym;
extern struct bpf_cpumask* bpf_cpumask_create(void) __ksym;
extern u32 bpf_cpumask_first(const struct cpumask* cpumask) __ksym;
extern int bpf_cpumask_populate(struct cpumask* cpumask, void* src, long unsigned int src__sz) __ksym;
extern void bpf_cpumask_release(struct bpf_cpumask* cpumask) __ksym;
extern void bpf_cpumask_set_cpu(u32 cpu, struct bpf_cpumask* cpumask) __ksym;
extern bool bpf_cpumask_test_cpu(u32 cpu, const struct cpumask* cpumask) __ksym;
extern int bpf_ct_change_timeout(struct nf_conn* nfct, u32 timeout) __ksym;
extern struct nf_conn* bpf_ct_insert_entry(struct nf_conn___init* nfct_i) __ksym;
extern void bpf_ct_release(struct nf_conn* nfct) __ksym;
extern void bpf_ct_set_timeout(struct nf_conn___init* nfct, u32 timeout) __ksym;
extern int bpf_dynptr_adjust(const struct bpf_dynptr* p, u32 start, u32 end) __ksym;
extern int bpf_dynptr_clone(const struct bpf_dynptr* p, struct bpf_dynptr* clone__uninit) __ksym;
extern int bpf_dynptr_copy(struct bpf_dynptr* dst_ptr, u32 dst_off, struct bpf_dynptr* src_ptr, u32 src_off, u32 size) __ksym;
extern int bpf_dynptr_from_skb(struct __sk_buff* s, u64 flags, struct bpf_dynptr* ptr__uninit) __ksym;
extern int bpf_dynptr_from_skb_meta(struct __sk_buff* skb_, u64 flags, struct bpf_dynptr* ptr__uninit) __ksym;
extern int bpf_dynptr_from_xdp(struct xdp_md* x, u64 flags, struct bpf_dynptr* ptr__uninit) __ksym;
extern bool bpf_dynptr_is_null(const struct bpf_dynptr* p) __ksym;
extern bool bpf_dynptr_is_rdonly(const struct bpf_dynptr* p) __ksym;
extern int bpf_dynptr_memset(struct bpf_dynptr* p, u32 offset, u32 size, u8 val) __ksym;
extern __u32 bpf_dynptr_size(const struct bpf_dynptr* p) __ksym;
extern void* bpf_dynptr_slice(const struct bpf_dynptr* p, u32 offset, void* buffer__opt, u32 buffer__szk) __ksym;
extern void* bpf_dynptr_slice_rdwr(const struct bpf_dynptr* p, u32 offset, void* buffer__opt, u32 buffer__szk) __ksym;
extern struct kmem_cache* bpf_get_kmem_cache(u64 addr) __ksym;
extern void bpf_iter_bits_destroy(struct bpf_iter_bits* it) __ksym;
extern int bpf_iter_bits_new(struct bpf_iter_bits* it, const u64* unsafe_ptr__ign, u32 nr_words) __ksym;
extern int* bpf_iter_bits_next(struct bpf_iter_bits* it) __ksym;
extern void bpf_iter_css_destroy(struct bpf_iter_css* it) __ksym;
extern int bpf_iter_css_new(struct bpf_iter_css* it, struct cgroup_subsys_state* start, unsigned int flags) __ksym;
extern struct cgroup_subsys_state* bpf_iter_css_next(struct bpf_iter_css* it) __ksym;
extern void bpf_iter_css_task_destroy(struct bpf_iter_css_task* it) __ksym;
extern int bpf_iter_css_task_new(struct bpf_iter_css_task* it, struct cgroup_subsys_state* css, unsigned int flags) __ksym;
extern void bpf_iter_dmabuf_destroy(struct bpf_iter_dmabuf* it) __ksym;
extern int bpf_iter_dmabuf_new(struct bpf_iter_dmabuf* it) __ksym;
extern struct dma_buf* bpf_iter_dmabuf_next(struct bpf_iter_dmabuf* it) __ksym;
extern void bpf_iter_kmem_cache_destroy(struct bpf_iter_kmem_cache* it) __ksym;
extern int bpf_iter_kmem_cache_new(struct bpf_iter_kmem_cache* it) __ksym;
extern struct kmem_cache* bpf_iter_kmem_cache_next(struct bpf_iter_kmem_cache* it) __ksym;
extern void bpf_iter_num_destroy(struct bpf_iter_num* it) __ksym;
extern int bpf_iter_num_new(struct bpf_iter_num* it, int start, int end) __ksym;
extern int* bpf_iter_num_next(struct bpf_iter_num* it) __ksym;
extern void bpf_iter_task_destroy(struct bpf_iter_task* it) __ksym;
extern int bpf_iter_task_new(struct bpf_iter_task* it, struct task_struct* task__nullable, unsigned int flags) __ksym;
extern struct task_struct* bpf_iter_task_next(struct bpf_iter_task* it) __ksym;
extern void bpf_iter_task_vma_destroy(struct bpf_iter_task_vma* it) __ksym;
extern int bpf_iter_task_vma_new(struct bpf_iter_task_vma* it, struct task_struct* task, u64 addr) __ksym;
extern struct vm_area_struct* bpf_iter_task_vma_next(struct bpf_iter_task_vma* it) __ksym;
extern struct bpf_list_node* bpf_list_back(struct bpf_list_head* head) __ksym;
extern struct bpf_list_node* bpf_list_front(struct bpf_list_head* head) __ksym;
extern struct bpf_list_node* bpf_list_pop_back(struct bpf_list_head* head) __ksym;
extern struct bpf_list_node* bpf_list_pop_front(struct bpf_list_head* head) __ksym;
extern void bpf_local_irq_restore(long unsigned int* flags__irq_flag) __ksym;
extern void bpf_local_irq_save(long unsigned int* flags__irq_flag) __ksym;
extern void bpf_preempt_disable(void) __ksym;
extern void bpf_preempt_enable(void) __ksym;
extern int bpf_probe_read_user_dynptr(struct bpf_dynptr* dptr, u32 off, u32 size, const void* unsafe_ptr__ign) __ksym;
extern struct bpf_rb_node* bpf_rbtree_first(struct bpf_rb_root* root) __ksym;
extern struct bpf_rb_node* bpf_rbtree_left(struct bpf_rb_root* root, struct bpf_rb_node* node) __ksym;
extern struct bpf_rb_node* bpf_rbtree_remove(struct bpf_rb_root* root, struct bpf_rb_node* node) __ksym;
extern struct bpf_rb_node* bpf_rbtree_right(struct bpf_rb_root* root, struct bpf_rb_node* node) __ksym;
extern struct bpf_rb_node* bpf_rbtree_root(struct bpf_rb_root* root) __ksym;
extern void bpf_rcu_read_lock(void) __ksym;
extern void bpf_rcu_read_unlock(void) __ksym;
extern void* bpf_rdonly_cast(const void* obj__ign, u32 btf_id__k) __ksym;
extern int bpf_res_spin_lock(struct bpf_res_spin_lock* lock) __ksym;
extern int bpf_res_spin_lock_irqsave(struct bpf_res_spin_lock* lock, long unsigned int* flags__irq_flag) __ksym;
extern void bpf_res_spin_unlock(struct bpf_res_spin_lock* lock) __ksym;
extern void bpf_res_spin_unlock_irqrestore(struct bpf_res_spin_lock* lock, long unsigned int* flags__irq_flag) __ksym;
extern struct nf_conn___init* bpf_skb_ct_alloc(struct __sk_buff* skb_ctx, struct bpf_sock_tuple* bpf_tuple, u32 tuple__sz, struct bpf_ct_opts* opts, u32 opts__sz) __ksym;
struct bpf_sock_ops_kern;
extern int bpf_sock_ops_enable_tx_tstamp(struct bpf_sock_ops_kern* skops, u64 flags) __ksym;
extern struct task_struct* bpf_task_acquire(struct task_struct* p) __ksym;
extern struct task_struct* bpf_task_from_pid(s32 pid) __ksym;
extern void bpf_task_release(struct task_struct* p) __ksym;
extern void css_rstat_updated(struct cgroup_subsys_state* css, int cpu) __ksym;
extern int bpf_wq_init(struct bpf_wq* wq, void* p__map, unsigned int flags) __ksym;
extern int bpf_wq_start(struct bpf_wq* wq, unsigned int flags) __ksym;
