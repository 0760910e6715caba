//! The end of objects: what their fields own goes with them.
//!
//! An object may own others through lists, trees and kptrs, and those may own more: all of them are taken apart one after
//! the other, however long the chain is.
#![forbid(unsafe_code)]

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::pieces::{Heap, heap};
use super::{Anchor, list, tree};
use crate::map::{SpecialField, SpecialKind};
use crate::mem::Slab;
use crate::sync::pause;

/// Rounds of waiting for a lock: a second or so.
const PATIENCE: u32 = 1 << 20;

/// Whether a field may own objects, or point to them.
pub(crate) const fn owns(kind: SpecialKind) -> bool {
    match kind {
        SpecialKind::KptrRef
        | SpecialKind::KptrPercpu
        | SpecialKind::KptrUntrusted
        | SpecialKind::ListHead
        | SpecialKind::RbRoot => true,
        SpecialKind::SpinLock
        | SpecialKind::ResSpinLock
        | SpecialKind::Timer
        | SpecialKind::Workqueue
        | SpecialKind::TaskWork
        | SpecialKind::ListNode
        | SpecialKind::RbNode
        | SpecialKind::Refcount
        | SpecialKind::Uptr => false,
    }
}

/// Empties the fields of a value (or object) at an offset: what they own is given up.
pub(crate) fn clear(fields: &[SpecialField], slab: &Slab, offset: u64) {
    let mut left = Vec::new();
    take_out(fields, slab, offset, &mut left);
    if let Some(heap) = heap() {
        heap.release_all(left);
    }
}

impl Heap {
    /// Gives a reference up. The last one takes the object along, and what it owns.
    pub(crate) fn release(&self, address: u64) {
        if let Some(start) = self.start_of(address) {
            self.release_all(vec![start]);
        }
    }

    fn release_all(&self, mut left: Vec<u64>) {
        while let Some(address) = left.pop() {
            if !self.give_up(address) {
                continue;
            }
            if let Some(piece) = self.piece(address, 0) {
                take_out(&piece.of.fields, self.memory(), piece.start, &mut left);
            }
            self.reuse(address);
        }
    }
}

/// Takes the objects out of all fields.
fn take_out(fields: &[SpecialField], slab: &Slab, offset: u64, left: &mut Vec<u64>) {
    let at = |field: &SpecialField| offset + u64::from(field.offset);
    let lock = || {
        let field = fields.iter().find(|field| field.kind == SpecialKind::SpinLock)?;
        Some(slab.atomic_u32(at(field)))
    };
    for field in fields {
        match field.kind {
            SpecialKind::KptrRef | SpecialKind::KptrPercpu => {
                let object = slab.atomic_u64(at(field)).swap(0, AcqRel);
                left.extend(heap().filter(|heap| heap.is_object(object)).map(|_| object));
            }
            SpecialKind::KptrUntrusted => slab.atomic_u64(at(field)).store(0, Relaxed),
            SpecialKind::ListHead => drain(lock(), slab.atomic_words(at(field)), list::take_all, left),
            SpecialKind::RbRoot => drain(lock(), slab.atomic_words(at(field)), tree::take_all, left),
            SpecialKind::SpinLock
            | SpecialKind::ResSpinLock
            | SpecialKind::Timer
            | SpecialKind::Workqueue
            | SpecialKind::TaskWork
            | SpecialKind::ListNode
            | SpecialKind::RbNode
            | SpecialKind::Refcount
            | SpecialKind::Uptr => {}
        }
    }
}

/// Takes a lock. Who holds it for very long is a program that nobody verified, perhaps the one that waits here: collections
/// stay sound without the lock, only not whole.
fn acquires(lock: &AtomicU32) -> bool {
    let mut tries = 0;
    while lock.compare_exchange_weak(0, 1, Acquire, Relaxed).is_err() {
        if tries == PATIENCE {
            return false;
        }
        pause(&mut tries);
    }
    true
}

/// Empties a collection under the lock that lies beside it.
fn drain(
    lock: Option<&AtomicU32>,
    anchor: &Anchor,
    take_all: fn(&Heap, &Anchor, &mut Vec<u64>),
    left: &mut Vec<u64>,
) {
    let Some(heap) = heap().filter(|_| anchor[0].load(Relaxed) != 0) else { return };
    let taken = lock.filter(|lock| acquires(lock));
    take_all(heap, anchor, left);
    if let Some(lock) = taken {
        lock.store(0, Release);
    }
}
