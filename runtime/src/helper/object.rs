//! `bpf_obj_new` and its relatives, `bpf_kptr_xchg`, lists and trees of objects.
//!
//! A run holds the references that it was given and has not passed on, so that none is lost when it is stopped. What a
//! field or a collection holds is looked up before a program gets it (INV-16).
#![forbid(unsafe_code)]

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::AcqRel;

use super::errno::EINVAL;
use super::proto::ObjectArg;
use crate::abi::ExecContext;
use crate::heap::{self, Anchor, Child, End, Heap, LIST_NODE, ObjectType, Step, TREE_NODE, heap};
use crate::map::{MapHandle, SpecialKind};

/// -EINVAL as an `int`.
const REFUSED: i32 = EINVAL as i32;

/// `bpf_rbtree_add`: engines do it in [steps](TREE_ADD_DONE).
pub const TREE_ADD: &str = "bpf_rbtree_add_impl";
/// A step of [`TREE_ADD`] takes the root, the node, the node that the last step gave (0 at first), and whether the new one
/// comes before that. It gives the node to compare with next, or what the call returns: a number up to this one.
pub const TREE_ADD_DONE: u64 = u32::MAX as u64;

pub(super) fn new(cx: &ExecContext<'_>, id: u64) -> u64 {
    let known = cx.objects.get(id).filter(|known| known.of.size <= heap::LARGEST);
    let made = known.and_then(|known| heap()?.allocate(known));
    if let Some(made) = made {
        cx.effects.hold(made);
    }
    made.unwrap_or(0)
}

/// As [`new`], with a part for each CPU.
pub(super) fn percpu_new(cx: &ExecContext<'_>, id: u64) -> u64 {
    let made = cx.objects.get(id).and_then(|known| {
        let heap = heap()?;
        let size = known.of.size.next_multiple_of(8).checked_mul(heap.cpus())?;
        heap.allocate(heap.know(ObjectType { size, fields: Vec::new() }))
    });
    if let Some(made) = made {
        cx.effects.hold(made);
    }
    made.unwrap_or(0)
}

/// The part of a CPU. None for a CPU that is none: the verifier, like the kernel's, lets such a pointer be used.
pub(super) fn part_of(object: u64, cpu: u32) -> Option<u64> {
    let heap = heap()?;
    let piece = heap.piece(object, 0).filter(|_| cpu < heap.cpus())?;
    let part = u64::from(piece.of.size / heap.cpus());
    Some(object + part * u64::from(cpu))
}

pub(super) fn drop_object(cx: &ExecContext<'_>, object: u64) {
    cx.effects.pass_on(object);
    if let Some(heap) = heap() {
        heap.release(object);
    }
}

/// One more reference, if the object is still there.
pub(super) fn acquire(cx: &ExecContext<'_>, object: u64) -> u64 {
    if !heap().is_some_and(|heap| heap.acquire(object)) {
        return 0;
    }
    cx.effects.hold(object);
    object
}

pub(super) fn exchange(cx: &ExecContext<'_>, field: &AtomicU64, object: u64) -> u64 {
    if object != 0 {
        cx.effects.pass_on(object);
    }
    let old = field.swap(object, AcqRel);
    if !heap().is_some_and(|heap| heap.is_object(old)) {
        return 0;
    }
    cx.effects.hold(old);
    old
}

pub(super) fn push_front(cx: &ExecContext<'_>, head: &Anchor, node: u64) -> i32 {
    push(cx, head, node, End::First)
}

pub(super) fn push_back(cx: &ExecContext<'_>, head: &Anchor, node: u64) -> i32 {
    push(cx, head, node, End::Last)
}

fn push(cx: &ExecContext<'_>, head: &Anchor, node: u64, end: End) -> i32 {
    let Some(heap) = heap() else { return REFUSED };
    cx.effects.pass_on(heap.start_of(node).unwrap_or(0));
    if heap::push(heap, head, node, end) {
        return 0;
    }
    heap.release(node);
    REFUSED
}

pub(super) fn pop_front(cx: &ExecContext<'_>, head: &Anchor) -> u64 {
    pop(cx, head, End::First)
}

pub(super) fn pop_back(cx: &ExecContext<'_>, head: &Anchor) -> u64 {
    pop(cx, head, End::Last)
}

fn pop(cx: &ExecContext<'_>, head: &Anchor, end: End) -> u64 {
    let Some(heap) = heap() else { return 0 };
    let node = heap::pop(heap, head, end).unwrap_or(0);
    held_again(cx, heap, node)
}

/// A node that left its collection is the run's.
fn held_again(cx: &ExecContext<'_>, heap: &Heap, node: u64) -> u64 {
    if let Some(object) = heap.start_of(node) {
        cx.effects.hold(object);
    }
    node
}

pub(super) fn front(_cx: &ExecContext<'_>, head: &Anchor) -> u64 {
    heap().and_then(|heap| heap::end_of_list(heap, head, End::First)).unwrap_or(0)
}

pub(super) fn back(_cx: &ExecContext<'_>, head: &Anchor) -> u64 {
    heap().and_then(|heap| heap::end_of_list(heap, head, End::Last)).unwrap_or(0)
}

/// One step of [`TREE_ADD`].
pub(super) fn tree_add(cx: &ExecContext<'_>, root: &Anchor, node: u64, asked: u64, before: u64) -> u64 {
    let refused = u64::from(REFUSED.cast_unsigned());
    let Some(heap) = heap() else { return refused };
    let step = heap::step(heap, root, node, (asked != 0).then_some((asked, before != 0)));
    if let Step::Compare(next) = step {
        return next;
    }
    cx.effects.pass_on(heap.start_of(node).unwrap_or(0));
    if step == Step::Refused {
        heap.release(node);
        return refused;
    }
    0
}

pub(super) fn tree_remove(cx: &ExecContext<'_>, root: &Anchor, node: u64) -> u64 {
    match heap() {
        Some(heap) if heap::erase(heap, root, node) => held_again(cx, heap, node),
        Some(_) | None => 0,
    }
}

pub(super) fn tree_first(_cx: &ExecContext<'_>, root: &Anchor) -> u64 {
    heap().and_then(|heap| heap::first(heap, root)).unwrap_or(0)
}

pub(super) fn tree_root(_cx: &ExecContext<'_>, root: &Anchor) -> u64 {
    heap().and_then(|heap| heap::root(heap, root)).unwrap_or(0)
}

pub(super) fn tree_left(_cx: &ExecContext<'_>, root: &Anchor, node: u64) -> u64 {
    heap().and_then(|heap| heap::child(heap, root, node, Child::Left)).unwrap_or(0)
}

pub(super) fn tree_right(_cx: &ExecContext<'_>, root: &Anchor, node: u64) -> u64 {
    heap().and_then(|heap| heap::child(heap, root, node, Child::Right)).unwrap_or(0)
}

/// A load through a pointer that may be stale. None where nothing of the heap is.
pub(super) fn load(address: u64, size: u64) -> Option<u64> {
    let memory = heap()?.memory();
    let offset = memory.offset_of(address, size)?;
    Some(memory.load(offset, crate::mem::WordSize::from_bytes(size)?))
}

/// Gives up what a run that was stopped still holds.
pub(super) fn give_up(cx: &ExecContext<'_>) {
    let held = cx.effects.take_held();
    if let Some(heap) = heap().filter(|_| !held.is_empty()) {
        held.into_iter().for_each(|object| heap.release(object));
    }
}

/// Whether an argument is what it is said to be: for programs that nobody verified.
pub(super) fn fits(cx: &ExecContext<'_>, kind: ObjectArg, value: u64) -> bool {
    let Some(heap) = heap() else { return false };
    let holds = |address| heap.start_of(address).is_some_and(|object| cx.effects.holds(object));
    let node = |kind, len| {
        heap.object(value, len).is_some_and(|piece| {
            let at = value - heap.address_of(piece.start);
            piece.of.fields.iter().any(|field| field.kind == kind && u64::from(field.offset) == at)
        })
    };
    match kind {
        ObjectArg::Held => cx.effects.holds(value),
        ObjectArg::HeldOrNull => value == 0 || cx.effects.holds(value),
        ObjectArg::Live => heap.is_object(value),
        ObjectArg::NewListNode => node(SpecialKind::ListNode, LIST_NODE) && holds(value),
        ObjectArg::NewTreeNode => node(SpecialKind::RbNode, TREE_NODE) && holds(value),
        ObjectArg::TreeNode => node(SpecialKind::RbNode, TREE_NODE),
        ObjectArg::Collection => is_own_word(cx.maps, value, heap::COLLECTION),
        ObjectArg::Field => is_own_word(cx.maps, value, 8),
        ObjectArg::Lock => is_own_word(cx.maps, value, 4),
    }
}

/// Whether words of a map value or an object lie at an address. Other ones than those of a list or kptr serve as well:
/// a program that nobody verified only loses what it puts there.
fn is_own_word(maps: &[Box<MapHandle>], address: u64, len: u64) -> bool {
    let in_map = || maps.iter().any(|handle| handle.map.contains(address, len));
    let in_object = || heap().is_some_and(|heap| heap.object(address, len).is_some());
    address.is_multiple_of(len.min(8)) && (in_object() || in_map())
}
