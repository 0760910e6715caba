//! `bpf_spin_lock`, `bpf_res_spin_lock` and their relatives: mutual exclusion between runs.
//!
//! The word in the map value (or object) is 0 when free and 1 when held, as `map::value` takes it for `BPF_F_LOCK`. A run
//! holds one spin lock at most, and any number of resilient ones, which may refuse; [`release`] frees them when the run
//! ends early.
#![forbid(unsafe_code)]

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::{Duration, Instant};

use super::errno::{EDEADLK, ETIMEDOUT};
use crate::abi::ExecContext;
use crate::heap::{Heap, heap};
use crate::mem::BytesMut;
use crate::sync::pause;

/// How long a resilient lock is waited for, as in the kernel: by then it is held by somebody who waits for us.
const PATIENCE: Duration = Duration::from_millis(250);
/// Rounds between two looks at the clock.
const ROUNDS: u32 = 64;

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

pub(super) fn try_lock(cx: &ExecContext<'_>, word: &AtomicU32) -> i32 {
    let at = address(word);
    if cx.effects.holds_resilient(at) {
        return EDEADLK as i32; // an error number, as below
    }
    let mut tries = 0;
    let mut until = None;
    while word.compare_exchange_weak(0, 1, Acquire, Relaxed).is_err() {
        pause(&mut tries);
        if tries.is_multiple_of(ROUNDS)
            && Instant::now() > *until.get_or_insert_with(|| Instant::now() + PATIENCE)
        {
            return ETIMEDOUT as i32;
        }
    }
    cx.effects.hold_resilient(at);
    0
}

pub(super) fn resilient_unlock(cx: &ExecContext<'_>, word: &AtomicU32) {
    // The one of another run is not ours to give back.
    if cx.effects.give_resilient(address(word)) {
        word.store(0, Release);
    }
}

pub(super) fn try_lock_irq(cx: &ExecContext<'_>, word: &AtomicU32, flags: BytesMut<'_>) -> i32 {
    flags.fill(0);
    try_lock(cx, word)
}

pub(super) fn resilient_unlock_irq(cx: &ExecContext<'_>, word: &AtomicU32, _flags: BytesMut<'_>) {
    resilient_unlock(cx, word);
}

fn address(word: &AtomicU32) -> u64 {
    std::ptr::from_ref(word).expose_provenance() as u64
}

/// Frees what a run holds (locks, a ring buffer that it drains, objects), if it does: for runs that trap.
pub fn release(cx: &ExecContext<'_>) {
    super::drain::release(cx);
    let held = cx.effects.lock();
    cx.effects.set_lock(0);
    for held in cx.effects.take_resilient().into_iter().chain((held != 0).then_some(held)) {
        free(cx, held);
    }
    // Objects last: the locks may lie in them.
    super::object::give_up(cx);
}

fn free(cx: &ExecContext<'_>, held: u64) {
    let in_object = || heap().map(Heap::memory).filter(|memory| memory.contains(held, 4));
    let slab = cx.maps.iter().find_map(|handle| handle.map.memory(held)).or_else(in_object);
    if let Some((slab, offset)) = slab.and_then(|slab| Some((slab, slab.offset_of(held, 4)?))) {
        slab.atomic_u32(offset).store(0, Release);
    }
}
