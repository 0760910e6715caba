//! Buckets and chains: lock-free readers, one writer a bucket.
//!
//! A bucket is a [`versioned`] word that leads to its first element. An element is only written by who took it from a
//! chain under that chain's lock or from the free list, so its former chain's version changed before: readers may
//! meet elements that were reused in other chains, and then walk again.
#![forbid(unsafe_code)]

use super::elements::{Elements, Geometry};
use super::key::{KeyWords, LongKey};
use crate::map::versioned::{self, Disturbed, LINK, Walk, WriteGuard, index_of_link, link_to};
use crate::mem::OutOfMemory;
use crate::sync::Words;
use crate::sync::atomic::AtomicU64;

/// Chained hash table of elements by index.
pub(super) struct Table {
    buckets: Words,
    mask: u32,
    seed: u64,
    pub(super) elements: Elements,
}

impl Table {
    /// A table with `buckets` chains (a power of two) for `count` elements.
    pub(super) fn new(buckets: u32, count: u32, geometry: Geometry, seed: u64) -> Result<Self, OutOfMemory> {
        let bytes = 8 * u64::from(buckets);
        Ok(Self {
            buckets: if geometry.sparse { Words::sparse(bytes) } else { Words::new(bytes) }?,
            mask: buckets - 1,
            seed,
            elements: Elements::new(count, geometry)?,
        })
    }

    /// Hash of a key.
    #[inline]
    pub(super) fn hash(&self, key: &impl KeyWords) -> u32 {
        key.hash(self.seed)
    }

    /// The element of `key`.
    #[inline]
    pub(super) fn find(&self, key: &impl KeyWords) -> Option<u32> {
        self.find_words(key, |element| element)
    }

    /// What `then` sees in the element of `key`, undisturbed by writers of this table.
    pub(super) fn find_then<R>(&self, key: &[u8], then: impl Fn(u32) -> R) -> Option<R> {
        self.find_words(&LongKey(key), then)
    }

    #[inline]
    fn find_words<R>(&self, key: &impl KeyWords, then: impl Fn(u32) -> R) -> Option<R> {
        let hash = key.hash(self.seed);
        versioned::read(self.bucket(hash & self.mask), |walk| self.walk(walk, key, hash, &then))
    }

    /// One walk along a chain.
    #[inline]
    fn walk<R>(
        &self,
        walk: &mut Walk<'_>,
        key: &impl KeyWords,
        hash: u32,
        then: &impl Fn(u32) -> R,
    ) -> Result<Option<R>, Disturbed> {
        let mut link = walk.link();
        while let Some(element) = index_of_link(link) {
            let header = self.elements.header(element);
            if (header >> 32) as u32 == hash
                && key.matches(self.elements.words(), self.elements.key_at(element))
            {
                return Ok(Some(then(element)));
            }
            link = header & LINK;
            walk.step()?;
        }
        Ok(None)
    }

    /// Locks the chain of `hash` for writing.
    #[inline]
    pub(super) fn lock(&self, hash: u32) -> Chain<'_> {
        Chain { table: self, guard: versioned::lock(self.bucket(hash & self.mask)), hash }
    }

    /// First element of the chains from `bucket` on, undisturbed by writers.
    fn first_from<R>(&self, bucket: u32, then: impl Fn(u32, u32) -> R) -> Option<R> {
        (bucket..=self.mask).find_map(|at| {
            versioned::read(self.bucket(at), |walk| {
                Ok(index_of_link(walk.link()).map(|element| then(at, element)))
            })
        })
    }

    /// Key that follows `key` in the order of the table; the first one after no key and after one that is not there.
    pub(super) fn next_key(&self, key: Option<&[u8]>) -> Option<Vec<u8>> {
        let first = || self.first_from(0, |_, element| self.elements.key(element));
        let Some(key) = key else { return first() };
        let follower = self.find_then(key, |element| {
            index_of_link(self.elements.header(element) & LINK).map(|next| self.elements.key(next))
        });
        match follower {
            None => first(),
            Some(Some(next)) => Some(next),
            Some(None) => {
                let bucket = LongKey(key).hash(self.seed) & self.mask;
                self.first_from(bucket + 1, |_, element| self.elements.key(element))
            }
        }
    }

    /// Element at `cursor` and the cursor after it. A cursor names a bucket (high half) and an element expected there
    /// (low half, 0: the first one); if that element has left the bucket, the walk goes on with the next bucket.
    pub(super) fn iterate(&self, cursor: u64) -> Option<(u32, u64)> {
        let (bucket, link) = ((cursor >> 32) as u32, cursor & LINK);
        let expected = index_of_link(link).and_then(|element| {
            let chain = self.lock_bucket(bucket)?;
            chain.contains(element).then(|| (element, self.cursor_after(bucket, element)))
        });
        let from = if link == 0 { bucket } else { bucket.checked_add(1)? };
        expected.or_else(|| self.first_from(from, |at, element| (element, self.cursor_after(at, element))))
    }

    fn cursor_after(&self, bucket: u32, element: u32) -> u64 {
        match self.elements.header(element) & LINK {
            0 => (u64::from(bucket) + 1) << 32,
            link => u64::from(bucket) << 32 | link,
        }
    }

    fn lock_bucket(&self, bucket: u32) -> Option<Chain<'_>> {
        (bucket <= self.mask).then(|| self.lock(bucket))
    }

    #[inline]
    fn bucket(&self, index: u32) -> &AtomicU64 {
        self.buckets.word(8 * u64::from(index))
    }
}

/// A chain that this thread alone may change; unlocked when dropped.
pub(super) struct Chain<'a> {
    table: &'a Table,
    guard: WriteGuard<'a>,
    hash: u32,
}

/// Where an element is in a chain.
#[derive(Clone, Copy)]
pub(super) struct Place {
    before: Option<u32>,
    pub(super) element: u32,
}

impl Chain<'_> {
    /// The element of `key`.
    #[inline]
    pub(super) fn find(&self, key: &impl KeyWords) -> Option<Place> {
        let elements = &self.table.elements;
        self.find_place(|element, header| {
            (header >> 32) as u32 == self.hash && key.matches(elements.words(), elements.key_at(element))
        })
    }

    /// The place of `element`, if it is in this chain.
    pub(super) fn place_of(&self, element: u32) -> Option<Place> {
        self.find_place(|at, _| at == element)
    }

    fn contains(&self, element: u32) -> bool {
        self.place_of(element).is_some()
    }

    #[inline(always)]
    fn find_place(&self, wanted: impl Fn(u32, u64) -> bool) -> Option<Place> {
        let mut link = self.guard.link;
        let mut before = None;
        while let Some(element) = index_of_link(link) {
            let header = self.table.elements.header(element);
            if wanted(element, header) {
                return Some(Place { before, element });
            }
            before = Some(element);
            link = header & LINK;
        }
        None
    }

    /// Puts an element that is in no chain at the head.
    #[inline]
    pub(super) fn insert(&mut self, element: u32) {
        self.table.elements.set_header(element, u64::from(self.hash) << 32 | self.guard.link);
        self.guard.link = link_to(element);
    }

    /// Takes an element out; its value and key stay as they are.
    #[inline]
    pub(super) fn remove(&mut self, place: Place) {
        let next = self.table.elements.header(place.element) & LINK;
        match place.before {
            None => self.guard.link = next,
            Some(before) => self.table.elements.set_link(before, next),
        }
    }
}
