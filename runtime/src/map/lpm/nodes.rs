//! Nodes of a trie: one slab of equal pieces `children | head | data | value`.
//!
//! Data are kept as big-endian words, so that the first bit of a key is the highest one and a comparison of prefixes
//! is a count of leading zeroes.
#![forbid(unsafe_code)]

use super::super::MapDef;
use crate::mem::OutOfMemory;
use crate::sync::Words;
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Set in the head word of nodes that hold an element.
const ELEMENT: u64 = 1 << 32;

/// What a node is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Head {
    /// Length of its prefix.
    pub(super) bits: u32,
    /// Whether it holds an element, or only parts two paths.
    pub(super) is_element: bool,
}

/// Pieces of memory by index.
pub(super) struct Nodes {
    words: Words,
    count: u32,
    stride: u64,
    value_at: u64,
    data_bytes: u32,
}

impl Nodes {
    /// Room for `max_entries` elements and the nodes between them, all zero.
    pub(super) fn new(def: &MapDef, value_stride: u64) -> Result<Self, OutOfMemory> {
        let data_bytes = def.key_size - 4;
        let value_at = 16 + u64::from(data_bytes).next_multiple_of(8);
        let stride = value_at + value_stride;
        // Between n leaves there are n - 1 forks; one node waits to be reused, one replaces another. More nodes than
        // links can name are never filled: memory ends before.
        let count = (2 * u64::from(def.max_entries) + 2).min(u64::from(u32::MAX) - 1);
        let bytes = count.checked_mul(stride).ok_or(OutOfMemory { len: u64::MAX })?;
        Ok(Self { words: Words::sparse(bytes)?, count: count as u32, stride, value_at, data_bytes })
    }

    /// Nodes.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Memory of the nodes.
    pub(super) fn words(&self) -> &Words {
        &self.words
    }

    /// Longest prefix.
    #[inline]
    pub(super) fn max_bits(&self) -> u32 {
        8 * self.data_bytes
    }

    /// Offset of the value of a node.
    #[inline]
    pub(super) fn value_at(&self, node: u32) -> u64 {
        u64::from(node) * self.stride + self.value_at
    }

    /// Whether a range at `offset` lies inside the first `size` bytes of a value.
    pub(super) fn in_value(&self, offset: u64, len: u64, size: u64) -> bool {
        (offset % self.stride).checked_sub(self.value_at).is_some_and(|at| at + len <= size)
    }

    /// A node for a reader whose data have `N` words; `K` is `N + 2`.
    #[inline]
    pub(super) fn view<const N: usize, const K: usize>(&self, node: u32) -> View<'_, N, K> {
        const { assert!(K == N + 2) };
        let words = self.words.words(u64::from(node) * self.stride);
        View { words, head: words[1].load(Relaxed) }
    }

    /// Links to both children.
    #[inline]
    pub(super) fn children(&self, node: u32) -> [u64; 2] {
        let both = self.words.word(u64::from(node) * self.stride).load(Relaxed);
        [both & 0xffff_ffff, both >> 32]
    }

    /// Link to one child.
    #[inline]
    pub(super) fn child(&self, node: u32, side: usize) -> u64 {
        self.children(node)[side]
    }

    /// Replaces both children.
    pub(super) fn set_children(&self, node: u32, links: [u64; 2]) {
        self.words.word(u64::from(node) * self.stride).store(links[0] | links[1] << 32, Relaxed);
    }

    /// Replaces one child.
    pub(super) fn set_child(&self, node: u32, side: usize, link: u64) {
        let mut links = self.children(node);
        links[side] = link;
        self.set_children(node, links);
    }

    /// What the node is.
    #[inline]
    pub(super) fn head(&self, node: u32) -> Head {
        let head = self.words.word(u64::from(node) * self.stride + 8).load(Relaxed);
        Head { bits: head as u32, is_element: head & ELEMENT != 0 }
    }

    /// Replaces what the node is.
    pub(super) fn set_head(&self, node: u32, head: Head) {
        let element = if head.is_element { ELEMENT } else { 0 };
        self.words.word(u64::from(node) * self.stride + 8).store(u64::from(head.bits) | element, Relaxed);
    }

    /// Bits, at most `limit`, that the data of a node and of a key have in common from the start.
    #[inline]
    pub(super) fn shared_bits(&self, node: u32, data: &[u8], limit: u32) -> u32 {
        let at = u64::from(node) * self.stride + 16;
        for i in 0..limit.div_ceil(64) {
            let ours = self.words.word(at + 8 * u64::from(i)).load(Relaxed);
            let difference = ours ^ data_word(data, i);
            if difference != 0 {
                return limit.min(64 * i + difference.leading_zeros());
            }
        }
        limit
    }

    /// The child of a node on the way to a key.
    #[inline]
    pub(super) fn side(data: &[u8], bit: u32) -> usize {
        usize::from(data.get(bit as usize / 8).is_some_and(|byte| byte >> (7 - bit % 8) & 1 != 0))
    }

    /// The side that the data of `node` itself take at `bit`.
    pub(super) fn own_side(&self, node: u32, bit: u32) -> usize {
        let word =
            self.words.word(u64::from(node) * self.stride + 16 + 8 * u64::from(bit / 64)).load(Relaxed);
        (word >> (63 - bit % 64) & 1) as usize
    }

    /// Writes the data of a node.
    pub(super) fn set_data(&self, node: u32, data: &[u8]) {
        let at = u64::from(node) * self.stride + 16;
        for i in 0..self.data_bytes.div_ceil(8) {
            self.words.word(at + 8 * u64::from(i)).store(data_word(data, i), Relaxed);
        }
    }

    /// Copies the data of one node to another.
    pub(super) fn copy_data(&self, from: u32, to: u32) {
        for i in 0..u64::from(self.data_bytes.div_ceil(8)) {
            let word = self.words.word(u64::from(from) * self.stride + 16 + 8 * i).load(Relaxed);
            self.words.word(u64::from(to) * self.stride + 16 + 8 * i).store(word, Relaxed);
        }
    }

    /// The key of a node.
    pub(super) fn key(&self, node: u32) -> Vec<u8> {
        let at = u64::from(node) * self.stride + 16;
        let words =
            (0..u64::from(self.data_bytes.div_ceil(8))).map(|i| self.words.word(at + 8 * i).load(Relaxed));
        let data = words.flat_map(u64::to_be_bytes).take(self.data_bytes as usize);
        self.head(node).bits.to_ne_bytes().into_iter().chain(data).collect()
    }
}

/// One node at a reader's hands: `K` words of which the last `N` are its data.
pub(super) struct View<'a, const N: usize, const K: usize> {
    words: &'a [AtomicU64; K],
    head: u64,
}

impl<const N: usize, const K: usize> View<'_, N, K> {
    /// Length of its prefix.
    #[inline]
    pub(super) fn bits(&self) -> u32 {
        self.head as u32
    }

    /// Whether it holds an element.
    #[inline]
    pub(super) fn is_element(&self) -> bool {
        self.head & ELEMENT != 0
    }

    /// Whether its prefix is one of these data.
    #[inline]
    pub(super) fn is_prefix_of(&self, data: &[u64; N]) -> bool {
        let mut difference = 0;
        let mut bits = self.bits();
        for (ours, word) in self.words[2..].iter().zip(data) {
            // The first `bits` bits of this word.
            let mask = !u64::MAX.checked_shr(bits).unwrap_or(0);
            difference |= (ours.load(Relaxed) ^ word) & mask;
            bits = bits.saturating_sub(64);
        }
        difference == 0
    }

    /// Link to the child on the way to data of which it is a prefix. One that fills all words has no children.
    #[inline]
    pub(super) fn child(&self, data: &[u64; N]) -> u64 {
        let bits = self.bits();
        let word = data[(bits as usize / 64).min(N - 1)];
        let side = word >> (63 - bits % 64) & 1;
        (self.words[0].load(Relaxed) >> (32 * side)) & 0xffff_ffff
    }
}

/// Word `i` of a key's data, padded with zeroes.
#[inline]
pub(super) fn data_word(data: &[u8], i: u32) -> u64 {
    let rest = data.get(8 * i as usize..).unwrap_or(&[]);
    if let Some(&word) = rest.first_chunk() {
        return u64::from_be_bytes(word);
    }
    if let Ok(half) = rest.try_into() {
        return u64::from(u32::from_be_bytes(half)) << 32;
    }
    let mut word = [0; 8];
    word[..rest.len()].copy_from_slice(rest);
    u64::from_be_bytes(word)
}
