//! `std::sync` or `loom::sync`, one switch (`--cfg loom`), and the words that concurrent tables are made of.
//!
//! [`Words`] is a slab whose 8-byte words are also reachable as atomics of the switch: outside a model both are the
//! same memory, in a model the words live in loom's world and only plain values stay in the slab.
#![forbid(unsafe_code)]

#[cfg(loom)]
pub use loom::sync::{Arc, Mutex, MutexGuard, atomic};
#[cfg(not(loom))]
pub use std::sync::{Arc, Mutex, MutexGuard, atomic};

use crate::mem::{OutOfMemory, Slab};

/// A slab with atomic words for links and keys, and plain memory for values.
pub struct Words {
    slab: Slab,
    #[cfg(loom)]
    words: Box<[atomic::AtomicU64]>,
}

impl Words {
    /// `len` zeroed bytes; `len` is a multiple of 8.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn new(len: u64) -> Result<Self, OutOfMemory> {
        Slab::new(len).map(Self::over)
    }

    /// As [`Words::new`], for memory of which most may never be touched.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn sparse(len: u64) -> Result<Self, OutOfMemory> {
        Slab::sparse(len).map(Self::over)
    }

    /// The words of a slab of zeroes.
    #[must_use]
    pub fn over(slab: Slab) -> Self {
        Self {
            #[cfg(loom)]
            words: (0..slab.len() / 8).map(|_| atomic::AtomicU64::new(0)).collect(),
            slab,
        }
    }

    /// The word at the byte offset `offset`, a multiple of 8.
    ///
    /// # Panics
    /// Outside the slab.
    #[inline]
    #[must_use]
    pub fn word(&self, offset: u64) -> &atomic::AtomicU64 {
        #[cfg(loom)]
        return &self.words[usize::try_from(offset / 8).expect("models are small")];
        #[cfg(not(loom))]
        return self.slab.atomic_u64(offset);
    }

    /// The `N` words from the byte offset `offset` on, a multiple of 8.
    ///
    /// # Panics
    /// Outside the slab.
    #[inline]
    #[must_use]
    pub fn words<const N: usize>(&self, offset: u64) -> &[atomic::AtomicU64; N] {
        #[cfg(loom)]
        {
            let at = usize::try_from(offset / 8).expect("models are small");
            return self.words[at..at + N].try_into().expect("as many words");
        }
        #[cfg(not(loom))]
        return self.slab.atomic_words(offset);
    }

    /// The memory behind the words.
    #[inline]
    #[must_use]
    pub fn slab(&self) -> &Slab {
        &self.slab
    }
}

/// Waits a moment inside a spin loop; `tries` is the number of rounds so far.
#[inline]
pub fn pause(tries: &mut u32) {
    *tries += 1;
    wait(*tries);
}

// Apart: who waits has time, and who does not should keep its registers.
#[cold]
#[inline(never)]
fn wait(tries: u32) {
    #[cfg(loom)]
    {
        let _ = tries;
        loom::thread::yield_now();
    }
    #[cfg(not(loom))]
    if tries < 64 {
        std::hint::spin_loop();
    } else {
        // The holder was probably descheduled: give it the CPU.
        std::thread::yield_now();
    }
}

#[cfg(loom)]
loom::lazy_static! {
    /// What [`race_point`] touches; its own in every explored execution.
    static ref RACE: atomic::AtomicU64 = atomic::AtomicU64::new(0);
}

/// In a model: a place where threads may be exchanged. It orders nothing; elsewhere it is nothing.
///
/// A model looks for races from the last access to a word only, so it does not see that a store may come before another
/// thread's load if the storing thread has loaded the word in between.
#[inline]
pub fn race_point() {
    #[cfg(loom)]
    RACE.fetch_add(0, atomic::Ordering::Relaxed);
}
