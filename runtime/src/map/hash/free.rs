//! Free elements of a table: lock-free stacks over the elements' own link words, and a mark below which elements have
//! been handed out at least once.
//!
//! Elements past the mark are never touched, so a huge table costs address space only until it fills. Stacks are
//! sharded by hash to keep threads apart; an element may come back to another shard than it left.
#![forbid(unsafe_code)]

use super::elements::Elements;
use crate::map::versioned::{LINK, index_of_link, link_to};
use crate::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use crate::sync::race_point;

/// Stacks of a table (a model has one: fewer interleavings, same code).
const SHARDS: usize = if cfg!(loom) { 1 } else { 8 };

/// A stack head on a cache line of its own: tag (high half, against reuse between load and swap) and link.
#[repr(align(128))]
struct Head(AtomicU64);

/// The free elements among `0..limit`.
pub(super) struct FreeList {
    heads: [Head; SHARDS],
    /// Elements handed out at least once.
    mark: AtomicU64,
    limit: u64,
}

impl FreeList {
    /// All of `0..limit` free.
    pub(super) fn new(limit: u32) -> Self {
        let heads = std::array::from_fn(|_| Head(AtomicU64::new(0)));
        Self { heads, mark: AtomicU64::new(0), limit: u64::from(limit) }
    }

    /// Takes a free element.
    #[inline]
    pub(super) fn pop(&self, elements: &Elements, hash: u32) -> Option<u32> {
        let shard = shard_of(hash);
        self.pop_stack(elements, shard).or_else(|| self.pop_unused()).or_else(|| {
            let others = (0..SHARDS).filter(|&other| other != shard);
            others.into_iter().find_map(|other| self.pop_stack(elements, other))
        })
    }

    /// Gives an element back.
    #[inline]
    pub(super) fn push(&self, elements: &Elements, hash: u32, element: u32) {
        let head = &self.heads[shard_of(hash)].0;
        let mut old = head.load(Relaxed);
        loop {
            elements.set_link(element, old & LINK);
            let new = next_tag(old) | link_to(element);
            match head.compare_exchange_weak(old, new, Release, Relaxed) {
                Ok(_) => return,
                Err(now) => old = now,
            }
        }
    }

    fn pop_stack(&self, elements: &Elements, shard: usize) -> Option<u32> {
        let head = &self.heads[shard].0;
        let mut old = head.load(Acquire);
        loop {
            let element = index_of_link(old & LINK)?;
            race_point();
            // If another thread took the element meanwhile this link is stale, and the tag has changed.
            let new = next_tag(old) | (elements.header(element) & LINK);
            match head.compare_exchange_weak(old, new, AcqRel, Acquire) {
                Ok(_) => return Some(element),
                Err(now) => old = now,
            }
        }
    }

    fn pop_unused(&self) -> Option<u32> {
        let mut old = self.mark.load(Relaxed);
        while old < self.limit {
            match self.mark.compare_exchange_weak(old, old + 1, Relaxed, Relaxed) {
                Ok(_) => return Some(u32::try_from(old).expect("the limit has 32 bits")),
                Err(now) => old = now,
            }
        }
        None
    }
}

fn shard_of(hash: u32) -> usize {
    (hash >> 24) as usize % SHARDS
}

fn next_tag(head: u64) -> u64 {
    (head & !LINK).wrapping_add(LINK + 1)
}
