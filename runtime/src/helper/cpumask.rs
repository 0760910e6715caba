//! `bpf_cpumask_*`: sets of CPUs, which are objects of the heap with a bit for each possible CPU.
//!
//! "Any" CPU of a set is the first one: which it is, is nobody's promise.
#![forbid(unsafe_code)]

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};

use super::errno::EACCES;
use crate::abi::ExecContext;
use crate::heap::{Heap, ObjectType, heap};
use crate::mem::Bytes;

/// CPUs in a word.
const WORD: u32 = u64::BITS;

/// A set at an address.
#[derive(Clone, Copy)]
struct Mask {
    heap: &'static Heap,
    address: u64,
}

impl Mask {
    fn at(address: u64) -> Option<Self> {
        Some(Self { heap: heap()?, address })
    }

    fn cpus(self) -> u32 {
        self.heap.cpus()
    }

    fn word(self, index: u32) -> Option<&'static AtomicU64> {
        self.heap.words::<1>(self.address.wrapping_add(8 * u64::from(index))).map(|word| &word[0])
    }

    /// The bits of possible CPUs in a word.
    fn get(self, index: u32) -> u64 {
        self.word(index).map_or(0, |word| word.load(Relaxed)) & possible(self.cpus(), index)
    }

    fn set(self, index: u32, bits: u64) {
        if let Some(word) = self.word(index) {
            word.store(bits & possible(self.cpus(), index), Relaxed);
        }
    }

    fn indexes(self) -> std::ops::Range<u32> {
        0..self.cpus().div_ceil(WORD)
    }

    /// The word and bit of a CPU that is possible.
    fn bit(self, cpu: u32) -> Option<(&'static AtomicU64, u64)> {
        let word = self.word(cpu / WORD).filter(|_| cpu < self.cpus())?;
        Some((word, 1 << (cpu % WORD)))
    }
}

/// Bits of the possible CPUs in a word.
fn possible(cpus: u32, index: u32) -> u64 {
    match cpus.saturating_sub(index * WORD) {
        0 => 0,
        left if left >= WORD => u64::MAX,
        left => (1 << left) - 1,
    }
}

/// The first CPU whose bit is set in the words that `of` gives; how many there are if there is none.
fn first_of(mask: Option<Mask>, of: impl Fn(Mask, u32) -> u64) -> i32 {
    let Some(mask) = mask else { return 0 };
    let mut words = mask.indexes().map(|index| (index, of(mask, index) & possible(mask.cpus(), index)));
    let found = words.find(|(_, bits)| *bits != 0);
    found.map_or(mask.cpus(), |(index, bits)| index * WORD + bits.trailing_zeros()).cast_signed()
}

/// Whether all words of two sets are as they should be.
fn all(left: u64, right: u64, holds: impl Fn(u64, u64) -> bool) -> i32 {
    let (Some(left), Some(right)) = (Mask::at(left), Mask::at(right)) else { return 0 };
    i32::from(left.indexes().all(|index| holds(left.get(index), right.get(index))))
}

/// Writes a set made of two others; whether it has a CPU.
fn combine(into: u64, left: u64, right: u64, with: impl Fn(u64, u64) -> u64) -> i32 {
    let (Some(into), Some(left), Some(right)) = (Mask::at(into), Mask::at(left), Mask::at(right)) else {
        return 0;
    };
    let mut any = 0;
    for index in into.indexes() {
        let bits = with(left.get(index), right.get(index));
        into.set(index, bits);
        any |= bits;
    }
    i32::from(any != 0)
}

pub(super) fn create(cx: &ExecContext<'_>) -> u64 {
    let made = heap().and_then(|heap| {
        let size = heap.cpus().div_ceil(WORD) * 8;
        heap.allocate(heap.know(ObjectType { size, fields: Vec::new() }))
    });
    if let Some(made) = made {
        cx.effects.hold(made);
    }
    made.unwrap_or(0)
}

pub(super) fn first(_cx: &ExecContext<'_>, mask: u64) -> i32 {
    first_of(Mask::at(mask), Mask::get)
}

pub(super) fn first_zero(_cx: &ExecContext<'_>, mask: u64) -> i32 {
    first_of(Mask::at(mask), |mask, index| !mask.get(index))
}

pub(super) fn first_and(_cx: &ExecContext<'_>, left: u64, right: u64) -> i32 {
    let right = Mask::at(right);
    first_of(Mask::at(left), |left, index| left.get(index) & right.map_or(0, |right| right.get(index)))
}

pub(super) fn set_cpu(_cx: &ExecContext<'_>, cpu: u32, mask: u64) {
    change(cpu, mask, |word, bit| word.fetch_or(bit, AcqRel));
}

pub(super) fn clear_cpu(_cx: &ExecContext<'_>, cpu: u32, mask: u64) {
    change(cpu, mask, |word, bit| word.fetch_and(!bit, AcqRel));
}

pub(super) fn test_cpu(_cx: &ExecContext<'_>, cpu: u32, mask: u64) -> i32 {
    change(cpu, mask, |word, _| word.load(Relaxed))
}

pub(super) fn test_and_set_cpu(_cx: &ExecContext<'_>, cpu: u32, mask: u64) -> i32 {
    change(cpu, mask, |word, bit| word.fetch_or(bit, AcqRel))
}

pub(super) fn test_and_clear_cpu(_cx: &ExecContext<'_>, cpu: u32, mask: u64) -> i32 {
    change(cpu, mask, |word, bit| word.fetch_and(!bit, AcqRel))
}

/// Does something with the bit of a CPU; whether it was set before.
fn change(cpu: u32, mask: u64, step: impl Fn(&AtomicU64, u64) -> u64) -> i32 {
    let place = Mask::at(mask).and_then(|mask| mask.bit(cpu));
    i32::from(place.is_some_and(|(word, bit)| step(word, bit) & bit != 0))
}

pub(super) fn set_all(_cx: &ExecContext<'_>, mask: u64) {
    combine(mask, mask, mask, |_, _| u64::MAX);
}

pub(super) fn clear(_cx: &ExecContext<'_>, mask: u64) {
    combine(mask, mask, mask, |_, _| 0);
}

pub(super) fn and(_cx: &ExecContext<'_>, into: u64, left: u64, right: u64) -> i32 {
    combine(into, left, right, |left, right| left & right)
}

pub(super) fn or(_cx: &ExecContext<'_>, into: u64, left: u64, right: u64) {
    combine(into, left, right, |left, right| left | right);
}

pub(super) fn xor(_cx: &ExecContext<'_>, into: u64, left: u64, right: u64) {
    combine(into, left, right, |left, right| left ^ right);
}

pub(super) fn copy(_cx: &ExecContext<'_>, into: u64, from: u64) {
    combine(into, from, from, |bits, _| bits);
}

pub(super) fn equal(_cx: &ExecContext<'_>, left: u64, right: u64) -> i32 {
    all(left, right, |left, right| left == right)
}

pub(super) fn intersects(_cx: &ExecContext<'_>, left: u64, right: u64) -> i32 {
    1 - all(left, right, |left, right| left & right == 0)
}

pub(super) fn subset(_cx: &ExecContext<'_>, left: u64, right: u64) -> i32 {
    all(left, right, |left, right| left & !right == 0)
}

pub(super) fn empty(_cx: &ExecContext<'_>, mask: u64) -> i32 {
    all(mask, mask, |bits, _| bits == 0)
}

pub(super) fn full(_cx: &ExecContext<'_>, mask: u64) -> i32 {
    let Some(mask) = Mask::at(mask) else { return 0 };
    i32::from(mask.indexes().all(|index| mask.get(index) == possible(mask.cpus(), index)))
}

pub(super) fn weight(_cx: &ExecContext<'_>, mask: u64) -> i32 {
    let bits =
        Mask::at(mask).map_or(0, |mask| mask.indexes().map(|index| mask.get(index).count_ones()).sum());
    u32::cast_signed(bits)
}

pub(super) fn populate(_cx: &ExecContext<'_>, mask: u64, from: Bytes<'_>) -> i32 {
    let Some(mask) = Mask::at(mask) else { return 0 };
    if from.len() < 8 * u64::from(mask.cpus().div_ceil(WORD)) {
        return EACCES as i32; // an error number
    }
    for index in mask.indexes() {
        mask.set(index, u64::from_ne_bytes(from.array(8 * u64::from(index))));
    }
    0
}
