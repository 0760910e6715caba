//! Copies between program-visible and host memory, race-free under Rust's memory model: relaxed atomic words
//! where both sides are aligned, relaxed atomic bytes elsewhere. Both compile to plain moves.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};

/// Copies `len` bytes from `from` to `to`; the ranges must not overlap.
///
/// # Safety
/// Both ranges are mapped for `len` bytes for the whole call, `to` writable; each is either program-visible
/// memory (INV-6) or exclusively ours.
#[inline]
pub(super) unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    let mut at = 0;
    if (from.addr() | to.addr()).is_multiple_of(8) {
        while at + 8 <= len {
            // SAFETY: INV-6: in both ranges by the contract and the loop bound, aligned by the test above.
            unsafe { copy_word(from.wrapping_add(at), to.wrapping_add(at)) };
            at += 8;
        }
    }
    if (from.addr() | to.addr()).is_multiple_of(4) {
        while at + 4 <= len {
            // SAFETY: INV-6: as above.
            unsafe { copy_half(from.wrapping_add(at), to.wrapping_add(at)) };
            at += 4;
        }
    }
    while at < len {
        // SAFETY: INV-6: `at < len`, in both ranges by the contract.
        unsafe { copy_byte(from.wrapping_add(at), to.wrapping_add(at)) };
        at += 1;
    }
}

/// # Safety
/// As [`copy`] for 8 bytes, both pointers aligned to 8.
#[inline]
unsafe fn copy_word(from: *const u8, to: *mut u8) {
    // SAFETY: INV-6: mapped and aligned by the contract; only loaded from.
    let from = unsafe { AtomicU64::from_ptr(from.cast_mut().cast()) };
    // SAFETY: INV-6: mapped, writable and aligned by the contract.
    let to = unsafe { AtomicU64::from_ptr(to.cast()) };
    to.store(from.load(Relaxed), Relaxed);
}

/// # Safety
/// As [`copy`] for 4 bytes, both pointers aligned to 4.
#[inline]
unsafe fn copy_half(from: *const u8, to: *mut u8) {
    // SAFETY: INV-6: mapped and aligned by the contract; only loaded from.
    let from = unsafe { AtomicU32::from_ptr(from.cast_mut().cast()) };
    // SAFETY: INV-6: mapped, writable and aligned by the contract.
    let to = unsafe { AtomicU32::from_ptr(to.cast()) };
    to.store(from.load(Relaxed), Relaxed);
}

/// `BYTES` bytes as `N` little-endian words, the last one padded with zeroes: in as few loads as their place allows,
/// and never through memory of ours, where a wide load right after narrow stores would have to wait for them.
///
/// # Safety
/// `from` is mapped for `BYTES` bytes for the whole call (INV-6).
#[inline]
pub(super) unsafe fn load_words<const BYTES: usize, const N: usize>(from: *const u8) -> [u64; N] {
    const { assert!(N == BYTES.div_ceil(8)) };
    let mut words = [0; N];
    if BYTES.is_multiple_of(8) && from.addr().is_multiple_of(8) {
        for (i, word) in words.iter_mut().enumerate() {
            // SAFETY: INV-6: word `i` of `N` lies in the range, aligned by the test above; only loaded from.
            let ours = unsafe { AtomicU64::from_ptr(from.wrapping_add(8 * i).cast_mut().cast()) };
            *word = u64::from_le(ours.load(Relaxed));
        }
    } else if BYTES.is_multiple_of(4) && from.addr().is_multiple_of(4) {
        for at in (0..BYTES).step_by(4) {
            // SAFETY: INV-6: in the range by the loop's bound, aligned by the test above; only loaded from.
            let ours = unsafe { AtomicU32::from_ptr(from.wrapping_add(at).cast_mut().cast()) };
            words[at / 8] |= u64::from(u32::from_le(ours.load(Relaxed))) << (at % 8 * 8);
        }
    } else {
        for at in 0..BYTES {
            // SAFETY: INV-6: in the range by the loop's bound; only loaded from.
            let ours = unsafe { AtomicU8::from_ptr(from.wrapping_add(at).cast_mut()) };
            words[at / 8] |= u64::from(ours.load(Relaxed)) << (at % 8 * 8);
        }
    }
    words
}

/// # Safety
/// As [`copy`] for one byte.
#[inline]
unsafe fn copy_byte(from: *const u8, to: *mut u8) {
    // SAFETY: INV-6: mapped by the contract; only loaded from.
    let from = unsafe { AtomicU8::from_ptr(from.cast_mut()) };
    // SAFETY: INV-6: mapped and writable by the contract.
    let to = unsafe { AtomicU8::from_ptr(to) };
    to.store(from.load(Relaxed), Relaxed);
}

/// Sets `len` bytes.
///
/// # Safety
/// The range is mapped and writable for the whole call (INV-6).
#[inline]
pub(super) unsafe fn fill(to: *mut u8, len: usize, byte: u8) {
    let word = u64::from_ne_bytes([byte; 8]);
    let mut at = 0;
    if to.addr().is_multiple_of(8) {
        while at + 8 <= len {
            // SAFETY: INV-6: in the range by the loop bound, aligned by the test above.
            unsafe { AtomicU64::from_ptr(to.wrapping_add(at).cast()) }.store(word, Relaxed);
            at += 8;
        }
    }
    while at < len {
        // SAFETY: INV-6: `at < len`.
        unsafe { AtomicU8::from_ptr(to.wrapping_add(at)) }.store(byte, Relaxed);
        at += 1;
    }
}

/// Whether `bytes` equals the memory at `at`.
///
/// # Safety
/// `at` is mapped for `bytes.len()` bytes for the whole call (INV-6).
#[inline]
pub(super) unsafe fn equals(at: *const u8, bytes: &[u8]) -> bool {
    let mut offset = 0;
    if at.addr().is_multiple_of(8) {
        while let Some(word) = bytes.get(offset..offset + 8) {
            // SAFETY: INV-6: in the range by the slice bound, aligned by the test above; only loaded from.
            let ours =
                unsafe { AtomicU64::from_ptr(at.wrapping_add(offset).cast_mut().cast()) }.load(Relaxed);
            if ours.to_ne_bytes() != word {
                return false;
            }
            offset += 8;
        }
    }
    bytes[offset..].iter().enumerate().all(|(i, &byte)| {
        // SAFETY: INV-6: in the range by the slice bound; only loaded from.
        byte == unsafe { AtomicU8::from_ptr(at.wrapping_add(offset + i).cast_mut()) }.load(Relaxed)
    })
}
