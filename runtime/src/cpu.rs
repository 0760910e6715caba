//! CPU slots: which per-CPU values a run works on.
//!
//! User space cannot stay on one CPU without system calls. Instead a run claims a slot of its own, of which
//! there are as many as the machine has possible CPUs: per-CPU values have one owner at a time, as in the kernel.
#![forbid(unsafe_code)]

use std::cell::Cell;

use crate::sync::atomic::{AtomicBool, Ordering};

/// Possible CPUs of this machine, as the kernel counts them for per-CPU maps; at least 1.
#[must_use]
pub fn possible() -> u32 {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/possible").unwrap_or_default();
    highest(&text).map_or_else(
        || std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(1)),
        |last| last + 1,
    )
}

/// The highest number of a list such as `0-3,8`.
fn highest(list: &str) -> Option<u32> {
    list.trim().rsplit([',', '-']).next()?.parse().ok()
}

/// One slot on a cache line of its own.
#[derive(Debug)]
#[repr(align(64))]
struct Taken(AtomicBool);

/// The slots of an engine.
pub struct CpuSlots {
    slots: Box<[Taken]>,
}

thread_local! {
    /// Where this thread found a free slot last time.
    static HINT: Cell<u32> = const { Cell::new(0) };
}

impl CpuSlots {
    /// `count` free slots, at least one.
    #[must_use]
    pub fn new(count: u32) -> Self {
        Self { slots: (0..count.max(1)).map(|_| Taken(AtomicBool::new(false))).collect() }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        // `new` takes a u32.
        self.slots.len() as u32
    }

    /// Takes a free slot; the one this thread had last time, if it is free.
    #[inline]
    #[must_use]
    pub fn claim(&self) -> Option<CpuSlot<'_>> {
        let hint = HINT.get();
        if let Some(taken) = self.slots.get(hint as usize)
            && !taken.0.swap(true, Ordering::Acquire)
        {
            return Some(CpuSlot { taken, index: hint });
        }
        self.claim_any()
    }

    #[cold]
    fn claim_any(&self) -> Option<CpuSlot<'_>> {
        let (index, taken) =
            (0_u32..).zip(&self.slots).find(|(_, taken)| !taken.0.swap(true, Ordering::Acquire))?;
        HINT.set(index);
        Some(CpuSlot { taken, index })
    }
}

/// A claimed slot; free again when dropped.
#[derive(Debug)]
pub struct CpuSlot<'a> {
    taken: &'a Taken,
    index: u32,
}

impl CpuSlot<'_> {
    /// Its number: index of per-CPU values, and what `bpf_get_smp_processor_id` gives.
    #[inline]
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }
}

impl Drop for CpuSlot<'_> {
    #[inline]
    fn drop(&mut self) {
        self.taken.0.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_has_one_owner() {
        let slots = CpuSlots::new(2);
        let (first, second) = (slots.claim().unwrap(), slots.claim().unwrap());
        assert_ne!(first.index(), second.index());
        assert!(slots.claim().is_none());
        let freed = first.index();
        drop(first);
        assert_eq!(slots.claim().map(|slot| slot.index()), Some(freed));
    }

    #[test]
    fn the_list_of_possible_cpus_may_have_holes() {
        assert_eq!(highest("0\n"), Some(0));
        assert_eq!(highest("0-7\n"), Some(7));
        assert_eq!(highest("0-3,8-11\n"), Some(11));
        assert_eq!(highest(""), None);
    }
}
