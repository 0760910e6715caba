//! Kernel functions by name that user space serves.
//!
//! In: a name. Out: a row like those of helpers: arguments as the interpreter checks them, and a native function. What
//! a program may call where, and what it gets, is the verifier's business. Kernel functions that are not here are
//! not supported. `bpf_throw` is, but it is no function: engines leave the program by themselves ([`THROW`]).
#![forbid(unsafe_code)]

use super::proto::{ArgKind, DynptrKind, DynptrRole, HelperFlags, MemAccess, ObjectArg, Proto, RetKind};
use super::registry::Helper;
use super::set::ProgramTypes;
use super::shim;
use crate::abi::ExecContext;
use crate::map::Map;
use crate::map::arena::ArenaMap;
use crate::mem::BytesMut;

/// The function that ends a program at once, wherever it is called.
pub const THROW: &str = "bpf_throw";

macro_rules! kfuncs {
    ($($name:ident($($arg:expr),*) => $function:ident;)*) => {
        const NAMES: &[&str] = &[$(stringify!($name)),*];
        static TABLE: &[Helper] = &[$(Helper {
            id: 0,
            name: stringify!($name),
            proto: proto(&[$($arg),*]),
            allowed: ProgramTypes::ALL,
            function: Some(shim::$function as crate::abi::HelperFn),
        }),*];
    };
}

const fn proto(given: &[ArgKind]) -> Proto {
    let mut args = [ArgKind::None; 5];
    let mut i = 0;
    while i < given.len() {
        args[i] = given[i];
        i += 1;
    }
    Proto { args, ret: RetKind::Integer, flags: HelperFlags::empty(), release_arg: 0 }
}

/// An object of eight bytes on the program's stack.
const fn object(access: MemAccess) -> ArgKind {
    ArgKind::FixedMem { size: 8, access, align: 8 }
}

const NEW: ArgKind = object(MemAccess::WriteUninit);
const OLD: ArgKind = object(MemAccess::ReadWrite);
const ANY: ArgKind = ArgKind::Anything;
const DYNPTR: ArgKind = ArgKind::Dynptr { role: DynptrRole::Use, kind: DynptrKind::Any };
const DYNPTR_NEW: ArgKind = ArgKind::Dynptr { role: DynptrRole::Init, kind: DynptrKind::Any };

const BITS_NEW: ArgKind = ArgKind::FixedMem { size: 16, access: MemAccess::WriteUninit, align: 8 };
const BITS_OLD: ArgKind = ArgKind::FixedMem { size: 16, access: MemAccess::ReadWrite, align: 8 };
const BYTES: ArgKind = ArgKind::Mem { access: MemAccess::Read, nullable: false };
const HELD: ArgKind = ArgKind::Object(ObjectArg::Held);
const LIVE: ArgKind = ArgKind::Object(ObjectArg::Live);
const LIST_NODE: ArgKind = ArgKind::Object(ObjectArg::NewListNode);
const NEW_TREE_NODE: ArgKind = ArgKind::Object(ObjectArg::NewTreeNode);
const TREE_NODE: ArgKind = ArgKind::Object(ObjectArg::TreeNode);
const LOCK: ArgKind = ArgKind::Object(ObjectArg::Lock);
const COLLECTION: ArgKind = ArgKind::Object(ObjectArg::Collection);

kfuncs! {
    bpf_rcu_read_lock() => section;
    bpf_rcu_read_unlock() => section;
    bpf_preempt_disable() => section;
    bpf_preempt_enable() => section;
    bpf_local_irq_save(NEW) => irq_save;
    bpf_local_irq_restore(OLD) => irq_restore;
    bpf_iter_num_new(NEW, ANY, ANY) => iter_num_new;
    bpf_iter_num_next(OLD) => iter_num_next;
    bpf_iter_num_destroy(OLD) => iter_num_destroy;
    bpf_dynptr_from_skb(ArgKind::Context, ANY, DYNPTR_NEW) => dynptr_from_skb;
    bpf_dynptr_from_xdp(ArgKind::Context, ANY, DYNPTR_NEW) => dynptr_from_xdp;
    bpf_dynptr_slice(DYNPTR, ANY, ANY, ANY) => dynptr_slice;
    bpf_dynptr_slice_rdwr(DYNPTR, ANY, ANY, ANY) => dynptr_slice_to_write;
    bpf_dynptr_adjust(DYNPTR, ANY, ANY) => dynptr_adjust;
    bpf_dynptr_is_null(DYNPTR) => dynptr_is_null;
    bpf_dynptr_is_rdonly(DYNPTR) => dynptr_is_read_only;
    bpf_dynptr_size(DYNPTR) => dynptr_size;
    bpf_dynptr_clone(DYNPTR, DYNPTR_NEW) => dynptr_clone;
    bpf_dynptr_copy(DYNPTR, ANY, DYNPTR, ANY, ANY) => dynptr_copy;
    bpf_dynptr_memset(DYNPTR, ANY, ANY, ANY) => dynptr_memset;
    bpf_strcmp(ANY, ANY) => strcmp;
    bpf_strcasecmp(ANY, ANY) => strcasecmp;
    bpf_strchr(ANY, ANY) => strchr;
    bpf_strchrnul(ANY, ANY) => strchrnul;
    bpf_strnchr(ANY, ANY, ANY) => strnchr;
    bpf_strrchr(ANY, ANY) => strrchr;
    bpf_strlen(ANY) => strlen;
    bpf_strnlen(ANY, ANY) => strnlen;
    bpf_strspn(ANY, ANY) => strspn;
    bpf_strcspn(ANY, ANY) => strcspn;
    bpf_strstr(ANY, ANY) => strstr;
    bpf_strnstr(ANY, ANY, ANY) => strnstr;
    bpf_arena_alloc_pages(ArgKind::Map, ANY, ANY, ANY, ANY) => arena_alloc_pages;
    bpf_arena_free_pages(ArgKind::Map, ANY, ANY) => arena_free_pages;
    bpf_arena_reserve_pages(ArgKind::Map, ANY, ANY) => arena_reserve_pages;
    bpf_obj_new_impl(ANY) => object_new;
    bpf_obj_drop_impl(HELD) => object_drop;
    bpf_refcount_acquire_impl(LIVE) => object_acquire;
    bpf_list_push_front_impl(COLLECTION, LIST_NODE) => list_push_front;
    bpf_list_push_back_impl(COLLECTION, LIST_NODE) => list_push_back;
    bpf_list_pop_front(COLLECTION) => list_pop_front;
    bpf_list_pop_back(COLLECTION) => list_pop_back;
    bpf_list_front(COLLECTION) => list_front;
    bpf_list_back(COLLECTION) => list_back;
    bpf_rbtree_add_impl(COLLECTION, NEW_TREE_NODE, ANY, ANY) => tree_add;
    bpf_rbtree_remove(COLLECTION, TREE_NODE) => tree_remove;
    bpf_rbtree_first(COLLECTION) => tree_first;
    bpf_rbtree_root(COLLECTION) => tree_root;
    bpf_rbtree_left(COLLECTION, TREE_NODE) => tree_left;
    bpf_rbtree_right(COLLECTION, TREE_NODE) => tree_right;
    bpf_res_spin_lock(LOCK) => res_lock;
    bpf_res_spin_unlock(LOCK) => res_unlock;
    bpf_res_spin_lock_irqsave(LOCK, NEW) => res_lock_irq;
    bpf_res_spin_unlock_irqrestore(LOCK, OLD) => res_unlock_irq;
    bpf_iter_bits_new(BITS_NEW, ANY, ANY) => iter_bits_new;
    bpf_iter_bits_next(BITS_OLD) => iter_bits_next;
    bpf_iter_bits_destroy(BITS_OLD) => iter_bits_destroy;
    bpf_percpu_obj_new_impl(ANY) => percpu_object_new;
    bpf_percpu_obj_drop_impl(HELD) => object_drop;
    bpf_cpumask_create() => cpumask_create;
    bpf_cpumask_acquire(LIVE) => object_acquire;
    bpf_cpumask_release(HELD) => object_drop;
    bpf_cpumask_first(LIVE) => cpumask_first;
    bpf_cpumask_first_zero(LIVE) => cpumask_first_zero;
    bpf_cpumask_first_and(LIVE, LIVE) => cpumask_first_and;
    bpf_cpumask_any_distribute(LIVE) => cpumask_first;
    bpf_cpumask_any_and_distribute(LIVE, LIVE) => cpumask_first_and;
    bpf_cpumask_set_cpu(ANY, LIVE) => cpumask_set_cpu;
    bpf_cpumask_clear_cpu(ANY, LIVE) => cpumask_clear_cpu;
    bpf_cpumask_test_cpu(ANY, LIVE) => cpumask_test_cpu;
    bpf_cpumask_test_and_set_cpu(ANY, LIVE) => cpumask_test_and_set_cpu;
    bpf_cpumask_test_and_clear_cpu(ANY, LIVE) => cpumask_test_and_clear_cpu;
    bpf_cpumask_setall(LIVE) => cpumask_set_all;
    bpf_cpumask_clear(LIVE) => cpumask_clear;
    bpf_cpumask_and(LIVE, LIVE, LIVE) => cpumask_and;
    bpf_cpumask_or(LIVE, LIVE, LIVE) => cpumask_or;
    bpf_cpumask_xor(LIVE, LIVE, LIVE) => cpumask_xor;
    bpf_cpumask_copy(LIVE, LIVE) => cpumask_copy;
    bpf_cpumask_equal(LIVE, LIVE) => cpumask_equal;
    bpf_cpumask_intersects(LIVE, LIVE) => cpumask_intersects;
    bpf_cpumask_subset(LIVE, LIVE) => cpumask_subset;
    bpf_cpumask_empty(LIVE) => cpumask_empty;
    bpf_cpumask_full(LIVE) => cpumask_full;
    bpf_cpumask_weight(LIVE) => cpumask_weight;
    bpf_cpumask_populate(LIVE, BYTES, ArgKind::SizeOrZero) => cpumask_populate;
}

/// A kernel function that user space serves, by number: numbers are ours, and count from 0.
#[must_use]
pub fn kfunc(number: u32) -> Option<&'static Helper> {
    TABLE.get(usize::try_from(number).ok()?)
}

/// The number of a kernel function that user space serves.
#[must_use]
pub fn kfunc_by_name(name: &str) -> Option<u32> {
    let index = NAMES.iter().position(|known| *known == name)?;
    u32::try_from(index).ok()
}

/// Names of all kernel functions that user space serves.
pub fn kfunc_names() -> impl Iterator<Item = &'static str> {
    NAMES.iter().copied().chain([THROW])
}

/// Enters or leaves a section: in user space nothing waits for readers and nothing interrupts by force, and no
/// program can tell.
pub(super) fn section(_cx: &ExecContext<'_>) {}

pub(super) fn irq_save(_cx: &ExecContext<'_>, flags: BytesMut<'_>) {
    flags.fill(0);
}

pub(super) fn irq_restore(_cx: &ExecContext<'_>, _flags: BytesMut<'_>) {}

/// Most numbers an iterator counts (`BPF_MAX_LOOPS`).
const MAX_NUMBERS: i64 = 8 << 20;

/// `struct bpf_iter_num_kern`: the number before the next one, and the end.
pub(super) fn iter_num_new(_cx: &ExecContext<'_>, iterator: BytesMut<'_>, start: i32, end: i32) -> i32 {
    const EINVAL: i32 = -22;
    const E2BIG: i32 = -7;
    iterator.fill(0);
    if start > end {
        return EINVAL;
    }
    if i64::from(end) - i64::from(start) > MAX_NUMBERS {
        return E2BIG;
    }
    put(iterator, start.wrapping_sub(1), end);
    0
}

/// The address of the next number, which is kept in the iterator itself.
pub(super) fn iter_num_next(_cx: &ExecContext<'_>, iterator: BytesMut<'_>) -> u64 {
    let word = |at| i32::from_ne_bytes(iterator.as_bytes().array(at));
    let (now, end) = (word(0), word(4));
    // In 32 bits, as in the kernel: so the number before the first one may be the smallest's predecessor.
    let next = now.wrapping_add(1);
    if next >= end {
        iterator.fill(0);
        return 0;
    }
    put(iterator, next, end);
    iterator.as_bytes().address()
}

pub(super) fn iter_num_destroy(_cx: &ExecContext<'_>, iterator: BytesMut<'_>) {
    iterator.fill(0);
}

fn put(iterator: BytesMut<'_>, now: i32, end: i32) {
    iterator.write(0, &now.to_ne_bytes());
    iterator.write(4, &end.to_ne_bytes());
}

fn arena(map: &dyn Map) -> Option<&ArenaMap> {
    map.as_any().downcast_ref()
}

/// Address of the first page, 0 if there are none.
pub(super) fn arena_alloc_pages(
    cx: &ExecContext<'_>,
    map: &dyn Map,
    at: u64,
    count: u32,
    node: i32,
    flags: u64,
) -> u64 {
    /// `NUMA_NO_NODE`
    const ANY_NODE: i32 = -1;
    let known = node == ANY_NODE || u32::try_from(node) == Ok(cx.environment.numa_node());
    match arena(map) {
        Some(arena) if flags == 0 && known => arena.allocate(at, count).unwrap_or(0),
        Some(_) | None => 0,
    }
}

pub(super) fn arena_free_pages(_cx: &ExecContext<'_>, map: &dyn Map, at: u64, count: u32) {
    if let Some(arena) = arena(map).filter(|_| at != 0) {
        arena.free(at, count);
    }
}

pub(super) fn arena_reserve_pages(_cx: &ExecContext<'_>, map: &dyn Map, at: u64, count: u32) -> i32 {
    const EINVAL: i32 = -22;
    match arena(map) {
        None => EINVAL,
        Some(arena) => arena.reserve(at, count).map_or_else(|error| -error.errno(), |()| 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_agree() {
        for (number, name) in (0..).zip(NAMES) {
            assert_eq!(kfunc_by_name(name), Some(number));
            assert_eq!(kfunc(number).unwrap().name, *name);
        }
        assert!(kfunc(NAMES.len() as u32).is_none() && kfunc_by_name(THROW).is_none());
    }
}
