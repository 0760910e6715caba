//! Proof by exhaustion at small widths, by sampling at 64 bits, and by name for the errors verifiers have made.
#![forbid(unsafe_code)]

mod exhaustive;
mod history;
mod laws;
mod sampled;

use super::circular::Span;
use super::{Circular, ScalarOf, Tnum};

/// Every set of known bits.
fn all_tnums<const N: u32>() -> Vec<Tnum<N>> {
    let numbers = || 0..1u64 << N;
    let pairs = numbers().flat_map(|mask| numbers().map(move |value| (value, mask)));
    pairs.filter(|(value, mask)| value & mask == 0).map(|(value, mask)| Tnum::new(value, mask)).collect()
}

/// Every range.
fn all_ranges<const N: u32>() -> Vec<Circular<N>> {
    let spans = |half: Span| {
        let mut spans = vec![Span::EMPTY];
        for lo in half.lo..=half.hi {
            spans.extend((lo..=half.hi).map(|hi| Span { lo, hi }));
        }
        spans
    };
    let negative = spans(Circular::<N>::NEGATIVE);
    let pairs =
        spans(Circular::<N>::POSITIVE).into_iter().flat_map(|p| negative.iter().map(move |n| (p, *n)));
    pairs.filter_map(|(positive, negative)| Circular::non_empty(positive, negative)).collect()
}

/// Scalars from every `step`th combination of parts, each once.
fn some_scalars<const N: u32, const H: u32>(step: usize) -> Vec<ScalarOf<N, H>> {
    let (ranges, lows) = (all_ranges::<N>(), all_ranges::<H>());
    let mut scalars = std::collections::HashSet::new();
    let mut index = 0;
    for tnum in all_tnums::<N>() {
        for wide in &ranges {
            for low in &lows {
                index += 1;
                if index % step == 0 {
                    scalars.extend(ScalarOf::new(tnum, *wide, *low));
                }
            }
        }
    }
    let mut scalars: Vec<_> = scalars.into_iter().collect();
    scalars.sort_by_key(|s| format!("{s:?}"));
    scalars
}

/// The members of a set of small numbers as a bit set.
fn members<const N: u32>(contains: impl Fn(u64) -> bool) -> u64 {
    (0..1u64 << N).filter(|&n| contains(n)).fold(0, |set, n| set | 1 << n)
}

/// The numbers in a bit set.
fn numbers(mut set: u64) -> impl Iterator<Item = u64> {
    std::iter::from_fn(move || {
        let n = (set != 0).then(|| u64::from(set.trailing_zeros()));
        set &= set.wrapping_sub(1);
        n
    })
}

/// Sign-extends an `n`-bit number.
fn signed(number: u64, n: u32) -> i64 {
    (number << (64 - n)).cast_signed() >> (64 - n)
}

/// A reproducible source of numbers (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(n).unwrap()).unwrap()
    }
}
