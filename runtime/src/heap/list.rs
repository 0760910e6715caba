//! Lists of objects. A head holds the first and the last node, a node its neighbours and the list that it is in.
//!
//! Callers hold the lock of the list. Links are looked up before they are followed: a program that nobody verified may
//! have written anything.
#![forbid(unsafe_code)]

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};

use super::pieces::Heap;
use super::{Anchor, address_of};

/// Words of a node.
const NEXT: usize = 0;
const PREVIOUS: usize = 1;
const OWNER: usize = 2;
/// The owner of a node that is on its way into a list.
pub(super) const NOBODY_YET: u64 = 1;

/// Which end of a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    First,
    Last,
}

impl End {
    /// Word of a head, and word of a node that leads away from this end.
    const fn words(self) -> (usize, usize) {
        match self {
            Self::First => (0, NEXT),
            Self::Last => (1, PREVIOUS),
        }
    }
    const fn other(self) -> Self {
        match self {
            Self::First => Self::Last,
            Self::Last => Self::First,
        }
    }
}

type Node = [AtomicU64; 3];

fn node(heap: &Heap, address: u64) -> Option<&Node> {
    heap.words(address)
}

/// Puts a node at an end. False if it is in a list already.
pub(crate) fn push(heap: &Heap, head: &Anchor, address: u64, end: End) -> bool {
    let Some(new) = node(heap, address) else { return false };
    if new[OWNER].compare_exchange(0, NOBODY_YET, AcqRel, Relaxed).is_err() {
        return false;
    }
    let (here, there) = (end.words(), end.other().words());
    let next = head[here.0].load(Relaxed);
    new[here.1].store(next, Relaxed);
    new[there.1].store(0, Relaxed);
    match node(heap, next) {
        Some(next) => next[there.1].store(address, Relaxed),
        None => head[there.0].store(address, Relaxed),
    }
    head[here.0].store(address, Relaxed);
    new[OWNER].store(address_of(head), Relaxed);
    true
}

/// Takes the node at an end out.
pub(crate) fn pop(heap: &Heap, head: &Anchor, end: End) -> Option<u64> {
    let (here, there) = (end.words(), end.other().words());
    let address = head[here.0].load(Relaxed);
    let old = node(heap, address)?;
    if old[OWNER].load(Relaxed) != address_of(head) {
        return None;
    }
    let next = old[here.1].load(Relaxed);
    head[here.0].store(next, Relaxed);
    match node(heap, next) {
        Some(next) => next[there.1].store(0, Relaxed),
        None => head[there.0].store(0, Relaxed),
    }
    for word in old {
        word.store(0, Relaxed);
    }
    Some(address)
}

/// The node at an end.
pub(crate) fn end_of_list(heap: &Heap, head: &Anchor, end: End) -> Option<u64> {
    let address = head[end.words().0].load(Relaxed);
    node(heap, address).map(|_| address)
}

/// Empties a list: its objects.
pub(super) fn take_all(heap: &Heap, head: &Anchor, left: &mut Vec<u64>) {
    while let Some(address) = pop(heap, head, End::First) {
        left.extend(heap.start_of(address));
    }
    for word in head {
        word.store(0, Relaxed);
    }
}
