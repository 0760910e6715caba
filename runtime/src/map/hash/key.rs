//! Keys as words: hashing and comparing, specialised for short keys.
//!
//! A key of `n` bytes is `ceil(n / 8)` words, the last one padded with zeroes. Every [`KeyWords`] of the same bytes has
//! the same hash.
#![forbid(unsafe_code)]

use crate::sync::Words;
use crate::sync::atomic::Ordering::Relaxed;

/// A key ready to be hashed and compared.
pub(in crate::map) trait KeyWords {
    /// Hash under `seed`.
    fn hash(&self, seed: u64) -> u32;
    /// Whether the key stored at byte `at` of `words` is this one.
    fn matches(&self, words: &Words, at: u64) -> bool;
    /// Writes the key at byte `at` of `words`.
    fn store(&self, words: &Words, at: u64);
}

/// Multiplier of [`fold`]: odd, half of its bits set, no pattern (fraction of the golden ratio).
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// Both halves of the product: each bit of the operands reaches the whole result.
#[inline]
fn fold(state: u64, word: u64) -> u64 {
    let product = u128::from(state ^ word) * u128::from(MULTIPLIER);
    (product as u64) ^ ((product >> 64) as u64)
}

/// The last step: the high half joins the low one. Each bit of the last word has reached both already.
#[inline]
fn finish(state: u64) -> u32 {
    (state as u32) ^ ((state >> 32) as u32)
}

impl<const N: usize> KeyWords for [u64; N] {
    #[inline]
    fn hash(&self, seed: u64) -> u32 {
        finish(self.iter().fold(seed, |state, &word| fold(state, word)))
    }

    #[inline]
    fn matches(&self, words: &Words, at: u64) -> bool {
        // One branch for all words: they lie in one or two cache lines.
        let stored = words.words::<N>(at).iter();
        stored.zip(self).fold(0, |difference, (ours, &word)| difference | (ours.load(Relaxed) ^ word)) == 0
    }

    #[inline]
    fn store(&self, words: &Words, at: u64) {
        for (ours, &word) in words.words::<N>(at).iter().zip(self) {
            ours.store(word, Relaxed);
        }
    }
}

/// A key of any size.
pub(in crate::map) struct LongKey<'a>(pub(in crate::map) &'a [u8]);

impl KeyWords for LongKey<'_> {
    #[inline]
    fn hash(&self, seed: u64) -> u32 {
        finish(words_of(self.0).fold(seed, fold))
    }

    #[inline]
    fn matches(&self, words: &Words, at: u64) -> bool {
        (0_u64..).zip(words_of(self.0)).all(|(i, word)| words.word(at + 8 * i).load(Relaxed) == word)
    }

    #[inline]
    fn store(&self, words: &Words, at: u64) {
        for (i, word) in (0_u64..).zip(words_of(self.0)) {
            words.word(at + 8 * i).store(word, Relaxed);
        }
    }
}

impl LongKey<'_> {
    /// A hash that has little to do with those under other seeds.
    pub(in crate::map) fn spread(&self, seed: u64) -> u32 {
        finish(fold(words_of(self.0).fold(seed, fold), MULTIPLIER.rotate_left(32)))
    }
}

/// The words of `key`.
#[inline]
fn words_of(key: &[u8]) -> impl Iterator<Item = u64> {
    key.chunks(8).map(load_word)
}

/// Up to 8 bytes as a word.
#[inline]
fn load_word(bytes: &[u8]) -> u64 {
    if let Ok(word) = bytes.try_into() {
        return u64::from_le_bytes(word);
    }
    if let Ok(half) = bytes.try_into() {
        return u64::from(u32::from_le_bytes(half));
    }
    bytes.iter().rev().fold(0, |word, &byte| (word << 8) | u64::from(byte))
}

/// `key` as exactly `N` words.
#[inline]
pub(super) fn load<const N: usize>(key: &[u8]) -> [u64; N] {
    let mut words = [0; N];
    for (i, word) in words.iter_mut().enumerate() {
        let rest = key.get(8 * i..).unwrap_or(&[]);
        *word = match rest.first_chunk() {
            Some(&full) => u64::from_le_bytes(full),
            None => load_word(rest),
        };
    }
    words
}

/// Calls `$body` with `$key` in the form that is fastest for its size.
macro_rules! with_words {
    ($key:expr, |$words:ident| $body:expr) => {
        match $key.len() {
            0..=8 => {
                let $words = &$crate::map::hash::key::load::<1>($key);
                $body
            }
            9..=16 => {
                let $words = &$crate::map::hash::key::load::<2>($key);
                $body
            }
            _ => {
                let $words = &$crate::map::hash::key::LongKey($key);
                $body
            }
        }
    };
}
pub(super) use with_words;

/// Reads a key of `size` bytes at byte `at`.
pub(super) fn read(words: &Words, at: u64, size: u32) -> Vec<u8> {
    let bytes =
        (0..u64::from(size).div_ceil(8)).flat_map(|i| words.word(at + 8 * i).load(Relaxed).to_le_bytes());
    bytes.take(size as usize).collect()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_key_hashes_and_compares_alike() {
        let bytes: Vec<u8> = (1..=32).collect();
        let words = Words::new(64).unwrap();
        for size in 1..=32_usize {
            let key = &bytes[..size];
            LongKey(key).store(&words, 16);
            assert_eq!(read(&words, 16, size as u32), key);
            let hash = LongKey(key).hash(7);
            let (same_hash, same_key) = match size.div_ceil(8) {
                1 => (load::<1>(key).hash(7), load::<1>(key).matches(&words, 16)),
                2 => (load::<2>(key).hash(7), load::<2>(key).matches(&words, 16)),
                3 => (load::<3>(key).hash(7), load::<3>(key).matches(&words, 16)),
                _ => (load::<4>(key).hash(7), load::<4>(key).matches(&words, 16)),
            };
            assert!(same_hash == hash && same_key && LongKey(key).matches(&words, 16), "size {size}");
            load::<4>(key).store(&words, 0);
            assert!(LongKey(key).matches(&words, 0), "size {size}");
            LongKey(key).store(&words, 16);
            let mut other = key.to_vec();
            other[size - 1] ^= 0x80;
            assert!(!LongKey(&other).matches(&words, 16), "size {size}");
        }
    }

    #[test]
    fn counters_spread_over_buckets() {
        for shift in [0, 8, 24, 32, 56] {
            let mut load_of = vec![0_u32; 4096];
            for i in 0..4096_u64 {
                load_of[load::<1>(&(i << shift).to_le_bytes()).hash(1) as usize % 4096] += 1;
            }
            let distinct = if shift == 56 { 256 } else { 4096 };
            let used = load_of.iter().filter(|&&n| n > 0).count();
            // A random function reaches 63 % of the buckets.
            assert!(used > distinct.min(4096) / 2, "shift {shift}: {used} buckets");
        }
    }
}
