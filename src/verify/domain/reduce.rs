//! Makes the parts of a scalar agree: each tightened by what the others say.
//!
//! Bounds are moved to the nearest number that the known bits and the range of the low half both allow, so
//! a reduced scalar's bounds are members, and a scalar is found empty exactly when it is.
#![forbid(unsafe_code)]

use super::circular::Span;
use super::{Circular, Tnum, low_mask};

/// Rounds of mutual tightening. Two are the rule; the cap only bounds odd cases, and the result holds at any.
const ROUNDS: u32 = 6;

/// The parts tightened, or `None` when no number satisfies all three.
pub(super) fn reduce<const N: u32, const H: u32>(
    mut tnum: Tnum<N>,
    mut wide: Circular<N>,
    mut low: Circular<H>,
) -> Option<(Tnum<N>, Circular<N>, Circular<H>)> {
    if is_block(tnum, wide, low) {
        return Some((tnum, wide, low));
    }
    for _ in 0..ROUNDS {
        low = within_bits(low, tnum.truncate())?;
        wide = within(wide, tnum, low)?;
        let bits = tnum.meet(hull(wide))?.meet(hull(low).as_low_bits())?;
        let half = low.meet(wide.truncate())?;
        if bits == tnum && half == low {
            return Some((tnum, wide, low));
        }
        if bits.mask() == 0 {
            // The bounds of the range are numbers of these bits: there is but this one.
            let value = bits.value();
            return Some((bits, Circular::known(value), Circular::known(value)));
        }
        (tnum, low) = (bits, half);
    }
    low = within_bits(low, tnum.truncate())?;
    wide = within(wide, tnum, low)?;
    Some((tnum, wide, low))
}

/// Whether the parts are those of an aligned block, `value..=value | mask` with the mask of some low bits: they
/// say the same. What loads, extensions and masks yield are such blocks.
pub(super) const fn is_block<const N: u32, const H: u32>(
    tnum: Tnum<N>,
    wide: Circular<N>,
    low: Circular<H>,
) -> bool {
    let (first, mask) = (tnum.value(), tnum.mask());
    if mask & mask.wrapping_add(1) != 0 {
        return false;
    }
    let halves = if mask >= low_mask(H) { low.is_unknown() } else { low.is_span(first, first | mask) };
    halves && if mask == low_mask(N) { wide.is_unknown() } else { wide.is_span(first, first | mask) }
}

/// The known bits of the numbers in a range.
pub(super) fn hull<const N: u32>(range: Circular<N>) -> Tnum<N> {
    let bits = |span: Span| Tnum::from_range(span.lo, span.hi);
    if range.negative.is_empty() {
        return bits(range.positive);
    }
    if range.positive.is_empty() {
        return bits(range.negative);
    }
    bits(range.positive).join(bits(range.negative))
}

/// The range with each bound moved inwards to a number of those bits.
pub(super) fn within_bits<const H: u32>(range: Circular<H>, bits: Tnum<H>) -> Option<Circular<H>> {
    if bits.is_unknown() {
        return Some(range);
    }
    let tighten = |span: Span| {
        if span.is_empty() {
            return span;
        }
        match (bits.at_least(span.lo), bits.at_most(span.hi)) {
            (Some(lo), Some(hi)) => Span::new(lo, hi),
            (Some(_) | None, Some(_) | None) => Span::EMPTY,
        }
    };
    Circular::non_empty(tighten(range.positive), tighten(range.negative))
}

/// The range with each bound moved inwards to a number of those bits and with such a low half.
fn within<const N: u32, const H: u32>(
    range: Circular<N>,
    bits: Tnum<N>,
    low: Circular<H>,
) -> Option<Circular<N>> {
    if low.is_unknown() && bits.is_unknown() {
        return Some(range);
    }
    let tighten = |span: Span| {
        if span.is_empty() {
            return span;
        }
        match (at_least(bits, low, span.lo), at_most(bits, low, span.hi)) {
            (Some(lo), Some(hi)) => Span::new(lo, hi),
            (Some(_) | None, Some(_) | None) => Span::EMPTY,
        }
    };
    Circular::non_empty(tighten(range.positive), tighten(range.negative))
}

/// The smallest number from `bound` on with those bits and such a low half. The bounds of `low` are numbers
/// of the low bits already.
pub(super) fn at_least<const N: u32, const H: u32>(
    bits: Tnum<N>,
    low: Circular<H>,
    bound: u64,
) -> Option<u64> {
    if bits.contains(bound) && low.contains(bound & low_mask(H)) {
        return Some(bound);
    }
    let number = bits.at_least(bound)?;
    let half = number & low_mask(H);
    if low.contains(half) {
        return Some(number);
    }
    let high = number & !low_mask(H);
    let low_bits: Tnum<H> = bits.truncate();
    let next_in = |span: Span| {
        if span.is_empty() || half > span.hi {
            return None;
        }
        low_bits.at_least(half.max(span.lo))
    };
    if let Some(next) = next_in(low.positive).or_else(|| next_in(low.negative)) {
        return Some(high | next);
    }
    // Nothing left under this upper half: the smallest low half under the next one.
    let next_high = (high | low_mask(H)).checked_add(1)?;
    let high_bits = Tnum::<N>::new(bits.value() & !low_mask(H), bits.mask() & !low_mask(H));
    Some(high_bits.at_least(next_high)? | low.umin())
}

/// The largest number up to `bound` with those bits and such a low half.
pub(super) fn at_most<const N: u32, const H: u32>(
    bits: Tnum<N>,
    low: Circular<H>,
    bound: u64,
) -> Option<u64> {
    if bits.contains(bound) && low.contains(bound & low_mask(H)) {
        return Some(bound);
    }
    // Complement turns the order round.
    let all = low_mask(N);
    let complement = Tnum::<N>::new(!bits.value(), bits.mask());
    at_least(complement, low.complement(), !bound & all).map(|number| !number & all)
}
