//! Kernel functions by name: arguments, result, properties, and the program types that may call them.
//!
//! Prototypes are those of Linux 6.18, program types were measured there. A function without a row is not supported.
//! Not here: what an argument of a kind must be (`check::kfunc_argument`), rules of single functions (`check::kfunc`).
#![forbid(unsafe_code)]

use bitflags::bitflags;

use beelift_runtime::ctx::{AttachType, ProgramType, attach};

/// What a kernel function expects of an argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Argument {
    /// A number.
    Number,
    /// One number, known when the program is verified.
    Constant,
    /// Anything at all.
    Any,
    /// Anything; the kernel fills it in or does not look at it.
    Ignored,
    /// The kernel's own record of the program: filled in.
    Program,
    /// The program's context, if that has this name; else an object of the kernel's type for it.
    Context(&'static str),
    /// A pointer to an object of the kernel.
    Object(&'static str),
    /// The same, or null.
    ObjectOrNull(&'static str),
    /// Memory of that many bytes, read and written.
    Fixed(u32),
    /// Memory of as many bytes as the next argument says.
    Sized,
    /// The same, or null.
    SizedOrNull,
    /// Size of the memory before it.
    Size,
    /// The same, one number.
    ConstSize,
    /// A constant string in a frozen map.
    Text,
    /// A map.
    Map,
    /// A dynptr.
    Dynptr,
    /// The same, or null.
    DynptrOrNull,
    /// Room for a dynptr.
    DynptrNew,
    /// An iterator of that type.
    Iterator(&'static str),
    /// Room for or a slot of saved interrupt flags.
    IrqFlag,
    /// A function to call back.
    Callback,
    /// What `bpf_obj_new` made, held.
    Allocated,
    /// What `bpf_obj_new` made, with a reference count.
    Refcounted,
    /// The head of a list.
    ListHead,
    /// The node of a list.
    ListNode,
    /// The root of a tree.
    RbRoot,
    /// The node of a tree.
    RbNode,
    /// A resilient spin lock.
    ResLock,
    /// A work queue in a map value.
    Workqueue,
    /// A task work in a map value.
    TaskWork,
}

/// What a kernel function returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Returns {
    /// Nothing.
    Void,
    /// A number.
    Number,
    /// A pointer to anything: a number, where the function has no rule of its own.
    Pointer,
    /// A pointer to that many bytes, only to be read.
    Memory(u32),
    /// A pointer to an object of the kernel.
    Object(&'static str),
}

/// Program types that may call a function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Callers {
    /// All.
    All,
    /// Those that may hold objects.
    Objects,
    /// Those with CPU masks.
    Cpumask,
    /// Those that trace.
    Tracing,
    /// Those whose context is a packet, and tracing ones.
    SkbDynptr,
    /// `xdp` and `sched_cls`.
    Conntrack,
    /// Those and `sched_act`.
    Crypto,
    /// `sched_cls` and `sched_act`.
    Meta,
    /// `xdp`.
    Xdp,
    /// `sched_cls`.
    SchedCls,
    /// All types of cgroups.
    Cgroup,
    /// `syscall`.
    Syscall,
    /// `struct_ops`.
    StructOps,
    /// `lsm`.
    Lsm,
    /// Iterators.
    Iterators,
    /// Kprobe sessions.
    KprobeSession,
}

bitflags! {
    /// Properties of a kernel function.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(crate) struct Traits: u8 {
        /// Its result is a reference.
        const ACQUIRES = 1;
        /// It gives back a reference.
        const RELEASES = 1 << 1;
        /// Its result may be null.
        const OR_NULL = 1 << 2;
        /// Its objects must stay valid.
        const TRUSTED = 1 << 3;
        /// Its objects must stay valid at least for the RCU read section.
        const RCU = 1 << 4;
        /// It may sleep.
        const SLEEPS = 1 << 5;
        /// It may be called in an RCU read section only.
        const IN_RCU = 1 << 6;
    }
}

/// A kernel function.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prototype {
    /// Name.
    pub(crate) name: &'static str,
    /// Arguments r1, r2, …
    pub(crate) arguments: &'static [Argument],
    /// Result.
    pub(crate) returns: Returns,
    /// Who may call it.
    pub(crate) callers: Callers,
    /// Properties.
    pub(crate) traits: Traits,
}

/// The function of that name.
pub(crate) fn by_name(name: &str) -> Option<&'static Prototype> {
    TABLE.binary_search_by(|row| row.name.cmp(name)).ok().map(|index| &TABLE[index])
}

/// Names of all functions known here, in order.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|row| row.name)
}

impl Callers {
    /// Whether programs of a type may call the function.
    pub(crate) fn contain(self, program_type: ProgramType, attach_type: AttachType) -> bool {
        use ProgramType as P;
        let tracing = matches!(program_type, P::Tracing | P::Lsm | P::Tracepoint | P::PerfEvent);
        let cgroup = matches!(
            program_type,
            P::CgroupSkb
                | P::CgroupSock
                | P::SockOps
                | P::CgroupDevice
                | P::CgroupSockAddr
                | P::CgroupSysctl
                | P::CgroupSockopt
        );
        let sessions = [attach::TRACE_KPROBE_SESSION, attach::TRACE_UPROBE_SESSION];
        match self {
            Self::All => true,
            Self::Objects => {
                tracing || cgroup || matches!(program_type, P::SchedCls | P::Xdp | P::StructOps | P::Syscall)
            }
            Self::Cpumask => tracing || matches!(program_type, P::StructOps | P::Syscall),
            Self::Tracing => tracing,
            Self::SkbDynptr => {
                tracing
                    || cgroup
                    || matches!(
                        program_type,
                        P::SocketFilter
                            | P::SchedCls
                            | P::SchedAct
                            | P::LwtIn
                            | P::LwtOut
                            | P::LwtXmit
                            | P::LwtSeg6local
                            | P::SkSkb
                            | P::Netfilter
                    )
            }
            Self::Conntrack => matches!(program_type, P::SchedCls | P::Xdp),
            Self::Crypto => matches!(program_type, P::SchedCls | P::SchedAct | P::Xdp),
            Self::Meta => matches!(program_type, P::SchedCls | P::SchedAct),
            Self::Xdp => program_type == P::Xdp,
            Self::SchedCls => program_type == P::SchedCls,
            Self::Cgroup => cgroup,
            Self::Syscall => program_type == P::Syscall,
            Self::StructOps => program_type == P::StructOps,
            Self::Lsm => program_type == P::Lsm,
            Self::Iterators => program_type == P::Tracing && attach_type == attach::TRACE_ITER,
            Self::KprobeSession => program_type == P::Kprobe && sessions.contains(&attach_type),
        }
    }
}

macro_rules! kfuncs {
    ($($name:ident($($argument:expr),*) -> $returns:expr, $callers:ident, $($traits:ident)|+;)*) => {
        /// By name.
        static TABLE: &[Prototype] = {
            use Argument::*;
            use Returns::{Memory, Pointer, Void};
            #[allow(non_upper_case_globals, reason = "the table reads as one")]
            &[$(Prototype {
                name: stringify!($name),
                arguments: &[$($argument),*],
                returns: $returns,
                callers: Callers::$callers,
                traits: Traits::from_bits_retain($($traits)|+),
            }),*]
        };
    };
}

const NONE: u8 = 0;
const ACQUIRES: u8 = Traits::ACQUIRES.bits();
const RELEASES: u8 = Traits::RELEASES.bits();
const OR_NULL: u8 = Traits::OR_NULL.bits();
const TRUSTED: u8 = Traits::TRUSTED.bits();
const RCU: u8 = Traits::RCU.bits();
const SLEEPS: u8 = Traits::SLEEPS.bits();
const IN_RCU: u8 = Traits::IN_RCU.bits();

kfuncs! {
__bpf_trap() -> Void, All, NONE;
    bbr_cwnd_event(Object("sock"), Number) -> Void, StructOps, NONE;
    bbr_init(Object("sock")) -> Void, StructOps, NONE;
    bbr_main(Object("sock"), Number, Number, Object("rate_sample")) -> Void, StructOps, NONE;
    bbr_min_tso_segs(Object("sock")) -> Returns::Number, StructOps, NONE;
    bbr_set_state(Object("sock"), Number) -> Void, StructOps, NONE;
    bbr_sndbuf_expand(Object("sock")) -> Returns::Number, StructOps, NONE;
    bbr_ssthresh(Object("sock")) -> Returns::Number, StructOps, NONE;
    bbr_undo_cwnd(Object("sock")) -> Returns::Number, StructOps, NONE;
    bpf_arena_alloc_pages(Map, Ignored, Number, Number, Number) -> Pointer, All, TRUSTED | SLEEPS | OR_NULL;
    bpf_arena_free_pages(Map, Ignored, Number) -> Void, All, TRUSTED | SLEEPS;
    bpf_arena_reserve_pages(Map, Ignored, Number) -> Returns::Number, All, TRUSTED | SLEEPS;
    bpf_cast_to_kern_ctx(Any) -> Pointer, All, NONE;
    bpf_cgroup_acquire(Object("cgroup")) -> Returns::Object("cgroup"), Objects, ACQUIRES | RCU | OR_NULL;
    bpf_cgroup_ancestor(Object("cgroup"), Number) -> Returns::Object("cgroup"), Objects, ACQUIRES | RCU | OR_NULL;
    bpf_cgroup_from_id(Number) -> Returns::Object("cgroup"), Objects, ACQUIRES | OR_NULL;
    bpf_cgroup_read_xattr(Object("cgroup"), Text, Dynptr) -> Returns::Number, All, RCU;
    bpf_cgroup_release(Object("cgroup")) -> Void, Objects, RELEASES;
    bpf_copy_from_user_dynptr(Dynptr, Number, Number, Ignored) -> Returns::Number, All, SLEEPS;
    bpf_copy_from_user_str(Sized, Size, Ignored, Number) -> Returns::Number, All, SLEEPS;
    bpf_copy_from_user_str_dynptr(Dynptr, Number, Number, Ignored) -> Returns::Number, All, SLEEPS;
    bpf_copy_from_user_task_dynptr(Dynptr, Number, Number, Ignored, Object("task_struct")) -> Returns::Number, All, SLEEPS | TRUSTED;
    bpf_copy_from_user_task_str(Sized, Size, Ignored, Object("task_struct"), Number) -> Returns::Number, All, SLEEPS;
    bpf_copy_from_user_task_str_dynptr(Dynptr, Number, Number, Ignored, Object("task_struct")) -> Returns::Number, All, SLEEPS | TRUSTED;
    bpf_cpumask_acquire(Object("bpf_cpumask")) -> Returns::Object("bpf_cpumask"), Cpumask, ACQUIRES | TRUSTED;
    bpf_cpumask_and(Object("bpf_cpumask"), Object("cpumask"), Object("cpumask")) -> Returns::Number, Cpumask, RCU;
    bpf_cpumask_any_and_distribute(Object("cpumask"), Object("cpumask")) -> Returns::Number, Cpumask, RCU;
    bpf_cpumask_any_distribute(Object("cpumask")) -> Returns::Number, Cpumask, RCU;
    bpf_cpumask_clear(Object("bpf_cpumask")) -> Void, Cpumask, RCU;
    bpf_cpumask_clear_cpu(Number, Object("bpf_cpumask")) -> Void, Cpumask, RCU;
    bpf_cpumask_copy(Object("bpf_cpumask"), Object("cpumask")) -> Void, Cpumask, RCU;
    bpf_cpumask_create() -> Returns::Object("bpf_cpumask"), Cpumask, ACQUIRES | OR_NULL;
    bpf_cpumask_empty(Object("cpumask")) -> Returns::Number, Cpumask, RCU;
    bpf_cpumask_equal(Object("cpumask"), Object("cpumask")) -> Returns::Number, Cpumask, RCU;
    bpf_cpumask_first(Object("cpumask")) -> Returns::Number, Cpumask, RCU;
    bpf_cpumask_first_and(Object("cpumask"), Object("cpumask")) -> Returns::Number, Cpumask, RCU;
    bpf_cpumask_first_zero(Object("cpumask")) -> Returns::Number, Cpumask, RCU;
    bpf_cpumask_full(Object("cpumask")) -> Returns::Number, Cpumask, RCU;
    bpf_cpumask_intersects(Object("cpumask"), Object("cpumask")) -> Returns::Number, Cpumask, RCU;
    bpf_cpumask_or(Object("bpf_cpumask"), Object("cpumask"), Object("cpumask")) -> Void, Cpumask, RCU;
    bpf_cpumask_populate(Object("cpumask"), Sized, Size) -> Returns::Number, Cpumask, RCU;
    bpf_cpumask_release(Object("bpf_cpumask")) -> Void, Cpumask, RELEASES;
    bpf_cpumask_set_cpu(Number, Object("bpf_cpumask")) -> Void, Cpumask, RCU;
    bpf_cpumask_setall(Object("bpf_cpumask")) -> Void, Cpumask, RCU;
    bpf_cpumask_subset(Object("cpumask"), Object("cpumask")) -> Returns::Number, Cpumask, RCU;
    bpf_cpumask_test_and_clear_cpu(Number, Object("bpf_cpumask")) -> Returns::Number, Cpumask, RCU;
    bpf_cpumask_test_and_set_cpu(Number, Object("bpf_cpumask")) -> Returns::Number, Cpumask, RCU;
    bpf_cpumask_test_cpu(Number, Object("cpumask")) -> Returns::Number, Cpumask, RCU;
    bpf_cpumask_weight(Object("cpumask")) -> Returns::Number, Cpumask, RCU;
    bpf_cpumask_xor(Object("bpf_cpumask"), Object("cpumask"), Object("cpumask")) -> Void, Cpumask, RCU;
    bpf_crypto_ctx_acquire(Object("bpf_crypto_ctx")) -> Returns::Object("bpf_crypto_ctx"), Syscall, ACQUIRES | RCU | OR_NULL;
    bpf_crypto_ctx_create(Sized, Size, Fixed(4)) -> Returns::Object("bpf_crypto_ctx"), Syscall, ACQUIRES | OR_NULL | SLEEPS;
    bpf_crypto_ctx_release(Object("bpf_crypto_ctx")) -> Void, Syscall, RELEASES;
    bpf_crypto_decrypt(Object("bpf_crypto_ctx"), Dynptr, Dynptr, DynptrOrNull) -> Returns::Number, Crypto, RCU;
    bpf_crypto_encrypt(Object("bpf_crypto_ctx"), Dynptr, Dynptr, DynptrOrNull) -> Returns::Number, Crypto, RCU;
    bpf_ct_change_status(Object("nf_conn"), Number) -> Returns::Number, Conntrack, TRUSTED;
    bpf_ct_change_timeout(Object("nf_conn"), Number) -> Returns::Number, Conntrack, TRUSTED;
    bpf_ct_insert_entry(Object("nf_conn___init")) -> Returns::Object("nf_conn"), Conntrack, ACQUIRES | OR_NULL | RELEASES;
    bpf_ct_release(Object("nf_conn")) -> Void, Conntrack, RELEASES;
    bpf_ct_set_nat_info(Object("nf_conn___init"), Fixed(16), Number, Number) -> Returns::Number, Conntrack, TRUSTED;
    bpf_ct_set_status(Object("nf_conn___init"), Number) -> Returns::Number, Conntrack, TRUSTED;
    bpf_ct_set_timeout(Object("nf_conn___init"), Number) -> Void, Conntrack, TRUSTED;
    bpf_dynptr_adjust(Dynptr, Number, Number) -> Returns::Number, All, NONE;
    bpf_dynptr_clone(Dynptr, DynptrNew) -> Returns::Number, All, NONE;
    bpf_dynptr_copy(Dynptr, Number, Dynptr, Number, Number) -> Returns::Number, All, NONE;
    bpf_dynptr_from_skb(Context("__sk_buff"), Number, DynptrNew) -> Returns::Number, SkbDynptr, TRUSTED;
    bpf_dynptr_from_skb_meta(Context("__sk_buff"), Number, DynptrNew) -> Returns::Number, Meta, TRUSTED;
    bpf_dynptr_from_xdp(Context("xdp_md"), Number, DynptrNew) -> Returns::Number, Xdp, NONE;
    bpf_dynptr_is_null(Dynptr) -> Returns::Number, All, NONE;
    bpf_dynptr_is_rdonly(Dynptr) -> Returns::Number, All, NONE;
    bpf_dynptr_memset(Dynptr, Number, Number, Number) -> Returns::Number, All, NONE;
    bpf_dynptr_size(Dynptr) -> Returns::Number, All, NONE;
    bpf_dynptr_slice(Dynptr, Number, SizedOrNull, ConstSize) -> Pointer, All, OR_NULL;
    bpf_dynptr_slice_rdwr(Dynptr, Number, SizedOrNull, ConstSize) -> Pointer, All, OR_NULL;
    bpf_get_dentry_xattr(Object("dentry"), Text, Dynptr) -> Returns::Number, Lsm, SLEEPS | TRUSTED;
    bpf_get_file_xattr(Object("file"), Text, Dynptr) -> Returns::Number, Lsm, SLEEPS | TRUSTED;
    bpf_get_kmem_cache(Number) -> Returns::Object("kmem_cache"), All, NONE;
    bpf_get_task_exe_file(Object("task_struct")) -> Returns::Object("file"), Lsm, ACQUIRES | TRUSTED | OR_NULL;
    bpf_iter_bits_destroy(Iterator("bpf_iter_bits")) -> Void, All, NONE;
    bpf_iter_bits_new(Iterator("bpf_iter_bits"), Ignored, Number) -> Returns::Number, All, NONE;
    bpf_iter_bits_next(Iterator("bpf_iter_bits")) -> Memory(4), All, OR_NULL;
    bpf_iter_css_destroy(Iterator("bpf_iter_css")) -> Void, All, NONE;
    bpf_iter_css_new(Iterator("bpf_iter_css"), Object("cgroup_subsys_state"), Number) -> Returns::Number, All, TRUSTED | IN_RCU;
    bpf_iter_css_next(Iterator("bpf_iter_css")) -> Returns::Object("cgroup_subsys_state"), All, OR_NULL;
    bpf_iter_css_task_destroy(Iterator("bpf_iter_css_task")) -> Void, All, NONE;
    bpf_iter_css_task_new(Iterator("bpf_iter_css_task"), Object("cgroup_subsys_state"), Number) -> Returns::Number, All, TRUSTED;
    bpf_iter_css_task_next(Iterator("bpf_iter_css_task")) -> Returns::Object("task_struct"), All, OR_NULL;
    bpf_iter_dmabuf_destroy(Iterator("bpf_iter_dmabuf")) -> Void, All, SLEEPS;
    bpf_iter_dmabuf_new(Iterator("bpf_iter_dmabuf")) -> Returns::Number, All, SLEEPS;
    bpf_iter_dmabuf_next(Iterator("bpf_iter_dmabuf")) -> Returns::Object("dma_buf"), All, OR_NULL | SLEEPS;
    bpf_iter_kmem_cache_destroy(Iterator("bpf_iter_kmem_cache")) -> Void, All, SLEEPS;
    bpf_iter_kmem_cache_new(Iterator("bpf_iter_kmem_cache")) -> Returns::Number, All, SLEEPS;
    bpf_iter_kmem_cache_next(Iterator("bpf_iter_kmem_cache")) -> Returns::Object("kmem_cache"), All, OR_NULL | SLEEPS;
    bpf_iter_num_destroy(Iterator("bpf_iter_num")) -> Void, All, NONE;
    bpf_iter_num_new(Iterator("bpf_iter_num"), Number, Number) -> Returns::Number, All, NONE;
    bpf_iter_num_next(Iterator("bpf_iter_num")) -> Memory(4), All, OR_NULL;
    bpf_iter_task_destroy(Iterator("bpf_iter_task")) -> Void, All, NONE;
    bpf_iter_task_new(Iterator("bpf_iter_task"), ObjectOrNull("task_struct"), Number) -> Returns::Number, All, TRUSTED | IN_RCU;
    bpf_iter_task_next(Iterator("bpf_iter_task")) -> Returns::Object("task_struct"), All, OR_NULL;
    bpf_iter_task_vma_destroy(Iterator("bpf_iter_task_vma")) -> Void, All, NONE;
    bpf_iter_task_vma_new(Iterator("bpf_iter_task_vma"), Object("task_struct"), Number) -> Returns::Number, All, RCU;
    bpf_iter_task_vma_next(Iterator("bpf_iter_task_vma")) -> Returns::Object("vm_area_struct"), All, OR_NULL;
    bpf_key_put(Object("bpf_key")) -> Void, Objects, RELEASES;
    bpf_list_back(ListHead) -> Returns::Object("bpf_list_node"), Objects, OR_NULL;
    bpf_list_front(ListHead) -> Returns::Object("bpf_list_node"), Objects, OR_NULL;
    bpf_list_pop_back(ListHead) -> Returns::Object("bpf_list_node"), Objects, ACQUIRES | OR_NULL;
    bpf_list_pop_front(ListHead) -> Returns::Object("bpf_list_node"), Objects, ACQUIRES | OR_NULL;
    bpf_list_push_back_impl(ListHead, ListNode, Ignored, Number) -> Returns::Number, Objects, NONE;
    bpf_list_push_front_impl(ListHead, ListNode, Ignored, Number) -> Returns::Number, Objects, NONE;
    bpf_local_irq_restore(IrqFlag) -> Void, All, NONE;
    bpf_local_irq_save(IrqFlag) -> Void, All, NONE;
    bpf_lookup_system_key(Number) -> Returns::Object("bpf_key"), Objects, ACQUIRES | OR_NULL;
    bpf_lookup_user_key(Number, Number) -> Returns::Object("bpf_key"), Objects, ACQUIRES | OR_NULL | SLEEPS;
    bpf_map_sum_elem_count(Object("bpf_map")) -> Returns::Number, All, TRUSTED;
    bpf_obj_drop_impl(Allocated, Ignored) -> Void, Objects, RELEASES;
    bpf_obj_new_impl(Constant, Ignored) -> Pointer, Objects, ACQUIRES | OR_NULL;
    bpf_path_d_path(Object("path"), Sized, Size) -> Returns::Number, Lsm, TRUSTED;
    bpf_percpu_obj_drop_impl(Allocated, Ignored) -> Void, Objects, RELEASES;
    bpf_percpu_obj_new_impl(Constant, Ignored) -> Pointer, Objects, ACQUIRES | OR_NULL;
    bpf_preempt_disable() -> Void, All, NONE;
    bpf_preempt_enable() -> Void, All, NONE;
    bpf_probe_read_kernel_dynptr(Dynptr, Number, Number, Ignored) -> Returns::Number, All, NONE;
    bpf_probe_read_kernel_str_dynptr(Dynptr, Number, Number, Ignored) -> Returns::Number, All, NONE;
    bpf_probe_read_user_dynptr(Dynptr, Number, Number, Ignored) -> Returns::Number, All, NONE;
    bpf_probe_read_user_str_dynptr(Dynptr, Number, Number, Ignored) -> Returns::Number, All, NONE;
    bpf_put_file(Object("file")) -> Void, Lsm, RELEASES;
    bpf_rbtree_add_impl(RbRoot, RbNode, Callback, Ignored, Number) -> Returns::Number, Objects, NONE;
    bpf_rbtree_first(RbRoot) -> Returns::Object("bpf_rb_node"), Objects, OR_NULL;
    bpf_rbtree_left(RbRoot, RbNode) -> Returns::Object("bpf_rb_node"), Objects, OR_NULL;
    bpf_rbtree_remove(RbRoot, RbNode) -> Returns::Object("bpf_rb_node"), Objects, ACQUIRES | OR_NULL;
    bpf_rbtree_right(RbRoot, RbNode) -> Returns::Object("bpf_rb_node"), Objects, OR_NULL;
    bpf_rbtree_root(RbRoot) -> Returns::Object("bpf_rb_node"), Objects, OR_NULL;
    bpf_rcu_read_lock() -> Void, All, NONE;
    bpf_rcu_read_unlock() -> Void, All, NONE;
    bpf_rdonly_cast(Ignored, Constant) -> Pointer, All, NONE;
    bpf_refcount_acquire_impl(Refcounted, Ignored) -> Pointer, Objects, ACQUIRES | OR_NULL | RCU;
    bpf_remove_dentry_xattr(Object("dentry"), Text) -> Returns::Number, Lsm, SLEEPS | TRUSTED;
    bpf_res_spin_lock(ResLock) -> Returns::Number, All, OR_NULL;
    bpf_res_spin_lock_irqsave(ResLock, IrqFlag) -> Returns::Number, All, OR_NULL;
    bpf_res_spin_unlock(ResLock) -> Void, All, NONE;
    bpf_res_spin_unlock_irqrestore(ResLock, IrqFlag) -> Void, All, NONE;
    bpf_send_signal_task(Object("task_struct"), Number, Number, Number) -> Returns::Number, Objects, TRUSTED;
    bpf_session_cookie() -> Memory(8), KprobeSession, NONE;
    bpf_session_is_return() -> Returns::Number, KprobeSession, NONE;
    bpf_set_dentry_xattr(Object("dentry"), Text, Dynptr, Number) -> Returns::Number, Lsm, SLEEPS | TRUSTED;
    bpf_sk_assign_tcp_reqsk(Context("__sk_buff"), Object("sock"), Sized, Size) -> Returns::Number, SchedCls, TRUSTED;
    bpf_skb_ct_alloc(Context("__sk_buff"), Sized, Size, Sized, Size) -> Returns::Object("nf_conn___init"), Conntrack, ACQUIRES | OR_NULL;
    bpf_skb_ct_lookup(Context("__sk_buff"), Sized, Size, Sized, Size) -> Returns::Object("nf_conn"), Conntrack, ACQUIRES | OR_NULL;
    bpf_sock_addr_set_sun_path(Object("bpf_sock_addr_kern"), Sized, Size) -> Returns::Number, Cgroup, NONE;
    bpf_sock_destroy(Object("sock_common")) -> Returns::Number, Iterators, TRUSTED;
    bpf_sock_ops_enable_tx_tstamp(Object("bpf_sock_ops_kern"), Number) -> Returns::Number, Cgroup, TRUSTED;
    bpf_strcasecmp(Ignored, Ignored) -> Returns::Number, All, NONE;
    bpf_strchr(Ignored, Number) -> Returns::Number, All, NONE;
    bpf_strchrnul(Ignored, Number) -> Returns::Number, All, NONE;
    bpf_strcmp(Ignored, Ignored) -> Returns::Number, All, NONE;
    bpf_strcspn(Ignored, Ignored) -> Returns::Number, All, NONE;
    bpf_stream_vprintk_impl(Number, Text, Sized, Size, Program) -> Returns::Number, All, TRUSTED;
    bpf_strlen(Ignored) -> Returns::Number, All, NONE;
    bpf_strnchr(Ignored, Number, Number) -> Returns::Number, All, NONE;
    bpf_strnlen(Ignored, Number) -> Returns::Number, All, NONE;
    bpf_strnstr(Ignored, Ignored, Number) -> Returns::Number, All, NONE;
    bpf_strrchr(Ignored, Number) -> Returns::Number, All, NONE;
    bpf_strspn(Ignored, Ignored) -> Returns::Number, All, NONE;
    bpf_strstr(Ignored, Ignored) -> Returns::Number, All, NONE;
    bpf_task_acquire(Object("task_struct")) -> Returns::Object("task_struct"), Objects, ACQUIRES | RCU | OR_NULL;
    bpf_task_from_pid(Number) -> Returns::Object("task_struct"), Objects, ACQUIRES | OR_NULL;
    bpf_task_from_vpid(Number) -> Returns::Object("task_struct"), Objects, ACQUIRES | OR_NULL;
    bpf_task_get_cgroup1(Object("task_struct"), Number) -> Returns::Object("cgroup"), Objects, ACQUIRES | RCU | OR_NULL;
    bpf_task_release(Object("task_struct")) -> Void, Objects, RELEASES;
    bpf_task_under_cgroup(Object("task_struct"), Object("cgroup")) -> Returns::Number, Objects, RCU;
    bpf_task_work_schedule_resume_impl(Object("task_struct"), TaskWork, Map, Callback, Program) -> Returns::Number, All, TRUSTED;
    bpf_task_work_schedule_signal_impl(Object("task_struct"), TaskWork, Map, Callback, Program) -> Returns::Number, All, TRUSTED;
    bpf_throw(Number) -> Void, Objects, NONE;
    bpf_wq_init(Workqueue, Map, Number) -> Returns::Number, All, NONE;
    bpf_wq_set_callback_impl(Workqueue, Callback, Number, Program) -> Returns::Number, All, NONE;
    bpf_wq_start(Workqueue, Number) -> Returns::Number, All, NONE;
    bpf_xdp_ct_alloc(Context("xdp_md"), Sized, Size, Sized, Size) -> Returns::Object("nf_conn___init"), Conntrack, ACQUIRES | OR_NULL;
    bpf_xdp_ct_lookup(Context("xdp_md"), Sized, Size, Sized, Size) -> Returns::Object("nf_conn"), Conntrack, ACQUIRES | OR_NULL;
    bpf_xdp_get_xfrm_state(Context("xdp_md"), Sized, Size) -> Returns::Object("xfrm_state"), Xdp, OR_NULL | ACQUIRES;
    bpf_xdp_metadata_rx_hash(Context("xdp_md"), Fixed(4), Fixed(4)) -> Returns::Number, All, NONE;
    bpf_xdp_metadata_rx_timestamp(Context("xdp_md"), Fixed(8)) -> Returns::Number, All, NONE;
    bpf_xdp_metadata_rx_vlan_tag(Context("xdp_md"), Fixed(2), Fixed(2)) -> Returns::Number, All, NONE;
    bpf_xdp_pull_data(Context("xdp_md"), Number) -> Returns::Number, Xdp, NONE;
    bpf_xdp_xfrm_state_release(Object("xfrm_state")) -> Void, Xdp, RELEASES;
    css_rstat_flush(Object("cgroup_subsys_state")) -> Void, Tracing, SLEEPS;
    css_rstat_updated(Object("cgroup_subsys_state"), Number) -> Void, Tracing, NONE;
    cubictcp_acked(Object("sock"), Object("ack_sample")) -> Void, StructOps, NONE;
    cubictcp_cong_avoid(Object("sock"), Number, Number) -> Void, StructOps, NONE;
    cubictcp_cwnd_event(Object("sock"), Number) -> Void, StructOps, NONE;
    cubictcp_init(Object("sock")) -> Void, StructOps, NONE;
    cubictcp_recalc_ssthresh(Object("sock")) -> Returns::Number, StructOps, NONE;
    cubictcp_state(Object("sock"), Number) -> Void, StructOps, NONE;
    tcp_cong_avoid_ai(Object("tcp_sock"), Number, Number) -> Void, StructOps, NONE;
    tcp_reno_cong_avoid(Object("sock"), Number, Number) -> Void, StructOps, NONE;
    tcp_reno_ssthresh(Object("sock")) -> Returns::Number, StructOps, NONE;
    tcp_reno_undo_cwnd(Object("sock")) -> Returns::Number, StructOps, NONE;
    tcp_slow_start(Object("tcp_sock"), Number) -> Returns::Number, StructOps, NONE;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_in_order_and_sizes_follow_memory() {
        assert!(TABLE.is_sorted_by(|a, b| a.name < b.name));
        for row in TABLE {
            assert!(row.arguments.len() <= 5, "{}", row.name);
            for pair in row.arguments.windows(2) {
                let memory = matches!(pair[0], Argument::Sized | Argument::SizedOrNull);
                let size = matches!(pair[1], Argument::Size | Argument::ConstSize);
                assert_eq!(memory, size, "{}", row.name);
            }
        }
    }

    #[test]
    fn rows_need_no_rules_that_are_missing() {
        for row in TABLE {
            let may_be_held = |argument: &&Argument| {
                use Argument as A;
                !matches!(
                    argument,
                    A::Number | A::Constant | A::Ignored | A::Program | A::Size | A::ConstSize
                )
            };
            let releases = row.traits.contains(Traits::RELEASES);
            assert!(!releases || row.arguments.iter().filter(may_be_held).count() == 1, "{}", row.name);
            let object = matches!(row.returns, Returns::Object(_));
            assert!(!(object && row.traits.contains(Traits::IN_RCU)), "{}", row.name);
        }
    }
}
