//! A word that leads into linked memory: lock-free readers that notice writers, and one writer at a time.
//!
//! Low half: a link (index + 1 of an element, 0: none). High half: a version whose lowest bit is the writer's lock. A
//! reader remembers the word, walks, and walks again if the word has changed: whatever it met on the way does not
//! count then. So everything behind the word may be written by who holds the lock, and by who took an element out
//! while holding the lock.
#![forbid(unsafe_code)]

use crate::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
    fence,
};
use crate::sync::{pause, race_point};

/// The link half of the word.
pub(super) const LINK: u64 = u32::MAX as u64;

/// The writer's lock.
const LOCKED: u64 = 1 << 32;

/// A reader looks at the word again after this many steps: it may have strayed into memory that keeps changing.
const STEPS: u32 = 16;

/// The index a link leads to.
#[inline]
pub(super) fn index_of_link(link: u64) -> Option<u32> {
    link.checked_sub(1).map(|index| index as u32)
}

/// The link to an index.
#[inline]
pub(super) fn link_to(index: u32) -> u64 {
    u64::from(index) + 1
}

/// A reader's walk has met a writer.
pub(super) struct Disturbed;

/// One walk of a reader.
pub(super) struct Walk<'a> {
    word: &'a AtomicU64,
    before: u64,
    steps: u32,
}

impl Walk<'_> {
    /// Where the walk begins.
    #[inline]
    pub(super) fn link(&self) -> u64 {
        self.before & LINK
    }

    /// To be called at every step, so that each walk ends.
    #[inline]
    pub(super) fn step(&mut self) -> Result<(), Disturbed> {
        self.steps += 1;
        if self.steps.is_multiple_of(STEPS) && self.word.load(Acquire) != self.before {
            return Err(Disturbed);
        }
        Ok(())
    }
}

/// What `walk` finds when no writer disturbs it.
#[inline]
pub(super) fn read<R>(word: &AtomicU64, walk: impl Fn(&mut Walk<'_>) -> Result<R, Disturbed>) -> R {
    let mut tries = 0;
    loop {
        let before = word.load(Acquire);
        race_point();
        if before & LOCKED == 0
            && let Ok(found) = walk(&mut Walk { word, before, steps: 0 })
        {
            fence(Acquire);
            if word.load(Relaxed) == before {
                return found;
            }
        }
        pause(&mut tries);
    }
}

/// The writer's right, given back when dropped.
pub(super) struct WriteGuard<'a> {
    word: &'a AtomicU64,
    before: u64,
    /// The link to publish.
    pub(super) link: u64,
}

/// Waits for the writer's right.
#[inline]
pub(super) fn lock(word: &AtomicU64) -> WriteGuard<'_> {
    let mut tries = 0;
    loop {
        // One atomic operation in the usual case, and no load before it that would fetch the line twice.
        let before = word.fetch_or(LOCKED, Acquire);
        if before & LOCKED == 0 {
            // Readers that see a later write see the lock, too.
            fence(Release);
            return WriteGuard { word, before, link: before & LINK };
        }
        while word.load(Relaxed) & LOCKED != 0 {
            pause(&mut tries);
        }
    }
}

impl Drop for WriteGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        let version = (self.before & !LINK).wrapping_add(2 * LOCKED);
        let word = version | self.link;
        // A waiter's `fetch_or` that read the lock comes before this store; loom would let it come after.
        #[cfg(loom)]
        self.word.swap(word, Release);
        #[cfg(not(loom))]
        self.word.store(word, Release);
        race_point();
    }
}
