//! `bpf_spin_lock`, `bpf_spin_unlock`: mutual exclusion between runs.
//!
//! The word in the map value (or object) is 0 when free and 1 when held, as `map::value` takes it for `BPF_F_LOCK`. A run holds one
//! lock at most; [`release`] frees it when the run ends early.
#![forbid(unsafe_code)]

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::abi::ExecContext;
use crate::heap::{Heap, heap};
use crate::sync::pause;

pub(super) fn lock(cx: &ExecContext<'_>, word: &AtomicU32) {
    let mut tries = 0;
    while word.compare_exchange_weak(0, 1, Acquire, Relaxed).is_err() {
        pause(&mut tries);
    }
    cx.effects.set_lock(address(word));
}

pub(super) fn unlock(cx: &ExecContext<'_>, word: &AtomicU32) {
    cx.effects.set_lock(0);
    word.store(0, Release);
}

fn address(word: &AtomicU32) -> u64 {
    std::ptr::from_ref(word).expose_provenance() as u64
}

/// Frees what a run holds (a lock, a ring buffer that it drains, objects), if it does: for runs that trap.
pub fn release(cx: &ExecContext<'_>) {
    super::drain::release(cx);
    super::object::give_up(cx);
    let held = cx.effects.lock();
    if held == 0 {
        return;
    }
    cx.effects.set_lock(0);
    let in_object = || heap().map(Heap::memory).filter(|memory| memory.contains(held, 4));
    let slab = cx.maps.iter().find_map(|handle| handle.map.memory(held)).or_else(in_object);
    if let Some((slab, offset)) = slab.and_then(|slab| Some((slab, slab.offset_of(held, 4)?))) {
        slab.atomic_u32(offset).store(0, Release);
    }
}
