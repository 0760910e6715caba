//! A table by the first bits of a key: where the walk down the trie begins, and what it would have found before.
//!
//! In: the nodes, after a change. Out: for each value of the first bits, the longest element whose prefix is shorter than
//! those bits, and the first node whose prefix is not. Written by who holds the writer's right, like the nodes.
#![forbid(unsafe_code)]

use super::nodes::Nodes;
use crate::map::versioned::index_of_link;
use crate::mem::OutOfMemory;
use crate::sync::Words;
use crate::sync::atomic::Ordering::Relaxed;

/// Bits of small tries: 2 KiB (a model has two entries).
const SMALL: u32 = if cfg!(loom) { 1 } else { 8 };
/// Bits of large tries: 32 KiB. More would make changes of short prefixes slow, which touch every entry below them.
const LARGE: u32 = if cfg!(loom) { 1 } else { 12 };
/// Most elements of a small trie.
const FEW: u32 = 512;

/// The table.
pub(super) struct Tops {
    entries: Words,
    bits: u32,
}

impl Tops {
    /// The table of an empty trie.
    pub(super) fn new(max_entries: u32, max_bits: u32) -> Result<Self, OutOfMemory> {
        let bits = if max_entries <= FEW || max_bits < 16 { SMALL } else { LARGE };
        Ok(Self { entries: Words::new(8 << bits)?, bits })
    }

    /// Links to the best element so far and to the first node to look at, for a key of `bits` bits of which `first` is
    /// the first word; `root` is the link to the topmost node.
    #[inline]
    pub(super) fn start(&self, bits: u32, first: u64, root: u64) -> (u64, u64) {
        if bits < self.bits {
            // The table may know elements that are longer than the key.
            return (0, root);
        }
        let entry = self.entries.word(8 * (first >> (64 - self.bits))).load(Relaxed);
        (entry & 0xffff_ffff, entry >> 32)
    }

    /// Takes over a change of the element with the first `bits` bits of a key; `root` is the link to the topmost node.
    pub(super) fn refresh(&self, nodes: &Nodes, root: u64, bits: u32, first: u64) {
        let count = 1 << self.bits.saturating_sub(bits);
        let start = (first >> (64 - self.bits)) & !(count - 1);
        for index in start..start + count {
            let (best, next) = self.descend(nodes, root, index);
            self.entries.word(8 * index).store(best | next << 32, Relaxed);
        }
    }

    fn descend(&self, nodes: &Nodes, root: u64, index: u64) -> (u64, u64) {
        let data = (index << (64 - self.bits)).to_be_bytes();
        let (mut best, mut link) = (0, root);
        while let Some(node) = index_of_link(link) {
            let head = nodes.head(node);
            let limit = head.bits.min(self.bits);
            if nodes.shared_bits(node, &data, limit) < limit {
                return (best, 0);
            }
            if head.bits >= self.bits {
                break;
            }
            if head.is_element {
                best = link;
            }
            link = nodes.child(node, Nodes::side(&data, head.bits));
        }
        (best, link)
    }
}
