//! The elements of a table: one slab of equal pieces `header | reference word (LRU) | key | value`.
//!
//! The header holds the link to the next element of the chain (low half: index + 1, 0 at the end) and the hash of the
//! key (high half). Any header ever read holds a valid link, whatever happens to the element meanwhile.
#![forbid(unsafe_code)]

use super::key::{self, KeyWords};
use crate::map::versioned::LINK;
use crate::mem::OutOfMemory;
use crate::sync::Words;
use crate::sync::atomic::Ordering::Relaxed;

/// What a piece consists of.
#[derive(Clone, Copy)]
pub(super) struct Geometry {
    pub(super) key_size: u32,
    /// Bytes of the value inside the piece (0: kept elsewhere), a multiple of 8.
    pub(super) value_bytes: u64,
    /// Whether there is a reference word.
    pub(super) references: bool,
    /// Whether most elements may never be touched.
    pub(super) sparse: bool,
}

/// Pieces of memory by index.
pub(super) struct Elements {
    words: Words,
    count: u32,
    stride: u64,
    key_at: u64,
    value_at: u64,
    key_size: u32,
}

impl Elements {
    /// `count` pieces, all zero.
    pub(super) fn new(count: u32, geometry: Geometry) -> Result<Self, OutOfMemory> {
        let key_at = if geometry.references { 16 } else { 8 };
        let value_at = key_at + u64::from(geometry.key_size).next_multiple_of(8);
        let stride = value_at + geometry.value_bytes;
        let bytes = u64::from(count).checked_mul(stride).ok_or(OutOfMemory { len: u64::MAX })?;
        let words = if geometry.sparse { Words::sparse(bytes) } else { Words::new(bytes) }?;
        Ok(Self { words, count, stride, key_at, value_at, key_size: geometry.key_size })
    }

    /// Pieces.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// The memory.
    pub(super) fn words(&self) -> &Words {
        &self.words
    }

    /// The element whose piece an offset lies in.
    pub(super) fn at(&self, offset: u64) -> u32 {
        // As many pieces as fit into 32 bits.
        (offset / self.stride) as u32
    }

    /// Offset of the key of an element.
    #[inline]
    pub(super) fn key_at(&self, element: u32) -> u64 {
        u64::from(element) * self.stride + self.key_at
    }

    /// Offset of the value of an element.
    #[inline]
    pub(super) fn value_at(&self, element: u32) -> u64 {
        u64::from(element) * self.stride + self.value_at
    }

    /// Whether a range at `offset` lies inside the first `size` bytes of a value.
    pub(super) fn in_value(&self, offset: u64, len: u64, size: u64) -> bool {
        (offset % self.stride).checked_sub(self.value_at).is_some_and(|at| at + len <= size)
    }

    /// Link and hash.
    #[inline]
    pub(super) fn header(&self, element: u32) -> u64 {
        self.words.word(u64::from(element) * self.stride).load(Relaxed)
    }

    /// Replaces link and hash.
    #[inline]
    pub(super) fn set_header(&self, element: u32, header: u64) {
        self.words.word(u64::from(element) * self.stride).store(header, Relaxed);
    }

    /// Replaces the link.
    #[inline]
    pub(super) fn set_link(&self, element: u32, link: u64) {
        self.set_header(element, (self.header(element) & !LINK) | link);
    }

    /// Whether the element was looked up since the last call of `set_referenced(_, false)`.
    #[inline]
    pub(super) fn is_referenced(&self, element: u32) -> bool {
        self.words.word(u64::from(element) * self.stride + 8).load(Relaxed) != 0
    }

    /// Sets or clears the reference word.
    #[inline]
    pub(super) fn set_referenced(&self, element: u32, referenced: bool) {
        self.words.word(u64::from(element) * self.stride + 8).store(u64::from(referenced), Relaxed);
    }

    /// Writes the key of an element that is in no chain.
    #[inline]
    pub(super) fn set_key(&self, element: u32, key: &impl KeyWords) {
        key.store(&self.words, self.key_at(element));
    }

    /// Copies the key of an element out.
    pub(super) fn key(&self, element: u32) -> Vec<u8> {
        key::read(&self.words, self.key_at(element), self.key_size)
    }
}
