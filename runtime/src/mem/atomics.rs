//! Atomic operations on the words of a slab, at any alignment.

use std::sync::atomic::Ordering::SeqCst;

use super::{AtomicOp, AtomicSize, Slab};

impl Slab {
    /// Does an atomic operation on the word at `offset` and returns the old value (zero-extended). An unaligned word,
    /// which the kernel allows on x86-64, is read and written in two steps.
    ///
    /// # Panics
    /// Outside the slab.
    pub fn atomic(&self, offset: u64, size: AtomicSize, op: AtomicOp, operand: u64) -> u64 {
        let aligned = offset.is_multiple_of(size.word().bytes());
        match (size, aligned) {
            (AtomicSize::W32, true) => {
                let (word, operand) = (self.atomic_u32(offset), operand as u32);
                u64::from(match op {
                    AtomicOp::Add => word.fetch_add(operand, SeqCst),
                    AtomicOp::Or => word.fetch_or(operand, SeqCst),
                    AtomicOp::And => word.fetch_and(operand, SeqCst),
                    AtomicOp::Xor => word.fetch_xor(operand, SeqCst),
                    AtomicOp::Exchange => word.swap(operand, SeqCst),
                })
            }
            (AtomicSize::W64, true) => {
                let word = self.atomic_u64(offset);
                match op {
                    AtomicOp::Add => word.fetch_add(operand, SeqCst),
                    AtomicOp::Or => word.fetch_or(operand, SeqCst),
                    AtomicOp::And => word.fetch_and(operand, SeqCst),
                    AtomicOp::Xor => word.fetch_xor(operand, SeqCst),
                    AtomicOp::Exchange => word.swap(operand, SeqCst),
                }
            }
            (AtomicSize::W32 | AtomicSize::W64, false) => {
                let old = self.load(offset, size.word());
                self.store(
                    offset,
                    size.word(),
                    match op {
                        AtomicOp::Add => old.wrapping_add(operand),
                        AtomicOp::Or => old | operand,
                        AtomicOp::And => old & operand,
                        AtomicOp::Xor => old ^ operand,
                        AtomicOp::Exchange => operand,
                    },
                );
                old
            }
        }
    }

    /// Stores `new` if the word at `offset` equals `expected` (both truncated to the width) and returns the old value
    /// (zero-extended). Unaligned words as in [`Slab::atomic`].
    ///
    /// # Panics
    /// Outside the slab.
    pub fn compare_exchange(&self, offset: u64, size: AtomicSize, expected: u64, new: u64) -> u64 {
        let aligned = offset.is_multiple_of(size.word().bytes());
        match (size, aligned) {
            (AtomicSize::W32, true) => {
                let word = self.atomic_u32(offset);
                let (Ok(old) | Err(old)) = word.compare_exchange(expected as u32, new as u32, SeqCst, SeqCst);
                u64::from(old)
            }
            (AtomicSize::W64, true) => {
                let (Ok(old) | Err(old)) =
                    self.atomic_u64(offset).compare_exchange(expected, new, SeqCst, SeqCst);
                old
            }
            (AtomicSize::W32 | AtomicSize::W64, false) => {
                let old = self.load(offset, size.word());
                let expected = if size == AtomicSize::W32 { u64::from(expected as u32) } else { expected };
                if old == expected {
                    self.store(offset, size.word(), new);
                }
                old
            }
        }
    }
}
