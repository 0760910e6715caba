//! Arithmetic of ranges: transfer functions of [`Circular`].
//!
//! Each works interval by interval. Within a half unsigned and signed order agree, so sums and shifts of two
//! intervals are arcs, products and quotients have their extremes at the corners, and the bitwise bounds are
//! those of unsigned intervals. The results are joined.
#![forbid(unsafe_code)]

use super::circular::{Circular, Span};
use super::low_mask;

impl Span {
    /// As signed numbers of `bits` bits; both ends have the same sign.
    fn signed(self, bits: u32) -> (i128, i128) {
        let extend = |value: u64| i128::from((value << (64 - bits)).cast_signed() >> (64 - bits));
        (extend(self.lo), extend(self.hi))
    }
}

impl<const N: u32> Circular<N> {
    /// From `lo` to `hi`, `lo <= hi`, reduced modulo the width.
    fn wrapped(lo: i128, hi: i128) -> Self {
        match u64::try_from(hi - lo) {
            // The low 64 bits are the residue.
            Ok(length) => Self::arc(lo as u64, length),
            Err(_) => Self::unknown(),
        }
    }
    /// Joins `f` over all pairs of intervals.
    #[inline]
    fn pairwise(self, other: Self, f: impl Fn(Span, Span) -> Self) -> Self {
        self.each(|a| other.each(|b| f(a, b)))
    }
    /// Joins `f` over the intervals.
    #[inline]
    fn each(self, f: impl Fn(Span) -> Self) -> Self {
        // Most ranges lie in one half.
        if self.negative.is_empty() {
            return f(self.positive);
        }
        if self.positive.is_empty() {
            return f(self.negative);
        }
        f(self.positive).join(f(self.negative))
    }

    pub(super) fn add(self, other: Self) -> Self {
        // Both lengths are under half the circle, so their sum is under the whole.
        self.pairwise(other, |a, b| Self::arc(a.lo.wrapping_add(b.lo), (a.hi - a.lo) + (b.hi - b.lo)))
    }
    pub(super) fn sub(self, other: Self) -> Self {
        self.pairwise(other, |a, b| Self::arc(a.lo.wrapping_sub(b.hi), (a.hi - a.lo) + (b.hi - b.lo)))
    }
    pub(super) fn mul(self, other: Self) -> Self {
        self.pairwise(other, |a, b| {
            let (c, d) = (a.signed(N), b.signed(N));
            let signed = Self::hull([c.0 * d.0, c.0 * d.1, c.1 * d.0, c.1 * d.1]);
            // Read as unsigned the negative half is far from zero: better if the product still fits.
            match a.hi.checked_mul(b.hi) {
                Some(hi) if hi <= Self::ALL => {
                    let unsigned = Self::from_unsigned(Span { lo: a.lo * b.lo, hi });
                    signed.meet(unsigned).unwrap_or(signed)
                }
                Some(_) | None => signed,
            }
        })
    }
    fn hull(corners: [i128; 4]) -> Self {
        let lo = corners.into_iter().fold(i128::MAX, i128::min);
        let hi = corners.into_iter().fold(i128::MIN, i128::max);
        Self::wrapped(lo, hi)
    }

    /// The divisors that occur. Of zero alone nothing would be left; then anything will do.
    fn without_zero(self) -> Self {
        let positive = Span::new(self.positive.lo.max(1), self.positive.hi);
        Self::non_empty(positive, self.negative).unwrap_or(Self::known(1))
    }

    /// Quotients by the divisors that are not zero.
    pub(super) fn udiv(self, divisor: Self) -> Self {
        self.pairwise(divisor.without_zero(), |a, b| {
            Self::from_unsigned(Span { lo: a.lo / b.hi, hi: a.hi / b.lo })
        })
    }
    /// Remainders by the divisors that are not zero.
    pub(super) fn urem(self, divisor: Self) -> Self {
        self.pairwise(divisor.without_zero(), |a, b| {
            if a.hi < b.lo {
                return Self::from_unsigned(a);
            }
            if b.lo == b.hi && a.lo / b.lo == a.hi / b.lo {
                return Self::from_unsigned(Span { lo: a.lo % b.lo, hi: a.hi % b.lo });
            }
            Self::from_unsigned(Span { lo: 0, hi: a.hi.min(b.hi - 1) })
        })
    }
    /// Signed quotients by the divisors that are not zero; the minimum by -1 wraps.
    pub(super) fn sdiv(self, divisor: Self) -> Self {
        self.pairwise(divisor.without_zero(), |a, b| {
            let (a, b) = (a.signed(N), b.signed(N));
            Self::hull([a.0 / b.0, a.0 / b.1, a.1 / b.0, a.1 / b.1])
        })
    }
    /// Signed remainders, with the sign of the dividend, by the divisors that are not zero.
    pub(super) fn srem(self, divisor: Self) -> Self {
        self.pairwise(divisor.without_zero(), |a, b| {
            let (a, b) = (a.signed(N), b.signed(N));
            let least = b.0.abs().min(b.1.abs());
            let most = b.0.abs().max(b.1.abs());
            let unchanged = a.0.abs().max(a.1.abs()) < least;
            if unchanged {
                return Self::wrapped(a.0, a.1);
            }
            if b.0 == b.1 && a.0 / b.0 == a.1 / b.0 {
                return Self::wrapped(a.0 % b.0, a.1 % b.0);
            }
            if a.0 >= 0 { Self::wrapped(0, a.1.min(most - 1)) } else { Self::wrapped(a.0.max(1 - most), 0) }
        })
    }

    pub(super) fn and(self, other: Self) -> Self {
        self.pairwise(other, |a, b| {
            let not = |s: Span| Span { lo: !s.hi, hi: !s.lo };
            let ored = or_bounds(not(a), not(b));
            Self::from_unsigned(not(ored))
        })
    }
    pub(super) fn or(self, other: Self) -> Self {
        self.pairwise(other, |a, b| Self::from_unsigned(or_bounds(a, b)))
    }
    pub(super) fn xor(self, other: Self) -> Self {
        self.pairwise(other, |a, b| Self::from_unsigned(xor_bounds(a, b)))
    }

    /// `count < N`
    pub(super) fn shl(self, count: u32) -> Self {
        self.each(|a| {
            let length = u128::from(a.hi - a.lo) << count;
            match u64::try_from(length) {
                Ok(length) => Self::arc(a.lo << count, length),
                Err(_) => Self::unknown(),
            }
        })
    }
    /// `count < N`
    pub(super) fn lshr(self, count: u32) -> Self {
        self.each(|a| Self::from_unsigned(Span { lo: a.lo >> count, hi: a.hi >> count }))
    }
    /// `count < N`
    pub(super) fn ashr(self, count: u32) -> Self {
        self.each(|a| {
            let (lo, hi) = a.signed(N);
            Self::wrapped(lo >> count, hi >> count)
        })
    }
    /// The range of the low `M` bits.
    pub(super) fn truncate<const M: u32>(self) -> Circular<M> {
        let arc = |a: Span| Circular::arc(a.lo, a.hi - a.lo);
        if self.negative.is_empty() {
            return arc(self.positive);
        }
        if self.positive.is_empty() {
            return arc(self.negative);
        }
        arc(self.positive).join(arc(self.negative))
    }
    /// The same numbers at another, not smaller width.
    pub(super) fn zero_extend<const M: u32>(self) -> Circular<M> {
        Circular::unsigned(self.umin(), self.umax())
    }
    /// The numbers with all bits inverted; the order is turned round.
    pub(super) fn complement(self) -> Self {
        let not =
            |s: Span| if s.is_empty() { s } else { Span { lo: !s.hi & Self::ALL, hi: !s.lo & Self::ALL } };
        Self { positive: not(self.negative), negative: not(self.positive) }
    }
}

/// The smallest and the largest `x | y` with `x` in `a` and `y` in `b`.
fn or_bounds(a: Span, b: Span) -> Span {
    let varies = varying(a, b);
    Span { lo: min_or(a, b, varies), hi: max_or(a, b, varies) }
}

/// The low bits that are not the same in all numbers of both intervals.
fn varying(a: Span, b: Span) -> u64 {
    low_mask(64 - ((a.lo ^ a.hi) | (b.lo ^ b.hi)).leading_zeros())
}

/// Raising one operand to the next multiple of a bit that the other has anyway costs nothing and clears its
/// lower bits; the highest bit where that stays in range is the best.
fn min_or(a: Span, b: Span, varies: u64) -> u64 {
    let mut candidates = (a.lo ^ b.lo) & varies;
    while candidates != 0 {
        let bit = highest_bit(candidates);
        candidates ^= bit;
        let (lacking, other) = if a.lo & bit == 0 { (a, b.lo) } else { (b, a.lo) };
        let raised = (lacking.lo | bit) & !(bit - 1);
        if raised <= lacking.hi {
            return raised | other;
        }
    }
    a.lo | b.lo
}

/// A bit that both have is needed once: one operand can give it up for ones in all lower bits.
fn max_or(a: Span, b: Span, varies: u64) -> u64 {
    let mut candidates = a.hi & b.hi & varies;
    while candidates != 0 {
        let bit = highest_bit(candidates);
        candidates ^= bit;
        let lowered = |s: Span| (s.hi - bit) | (bit - 1);
        if lowered(a) >= a.lo {
            return lowered(a) | b.hi;
        }
        if lowered(b) >= b.lo {
            return a.hi | lowered(b);
        }
    }
    a.hi | b.hi
}

/// The smallest and the largest `x ^ y`.
fn xor_bounds(a: Span, b: Span) -> Span {
    let varies = varying(a, b);
    Span { lo: min_xor(a, b, varies), hi: max_xor(a, b, varies) }
}

fn min_xor(mut a: Span, mut b: Span, varies: u64) -> u64 {
    let mut below = varies;
    loop {
        // An operand that takes all values of the lower bits makes them equal to the other's.
        let free = |s: Span| s.lo & below == 0 && s.lo | below <= s.hi;
        if free(a) || free(b) {
            return (a.lo ^ b.lo) & !below;
        }
        let candidates = (a.lo ^ b.lo) & below;
        if candidates == 0 {
            return a.lo ^ b.lo;
        }
        let bit = highest_bit(candidates);
        below = bit - 1;
        let lacking = if a.lo & bit == 0 { &mut a } else { &mut b };
        let raised = (lacking.lo | bit) & !(bit - 1);
        if raised <= lacking.hi {
            lacking.lo = raised;
        }
    }
}

fn max_xor(mut a: Span, mut b: Span, varies: u64) -> u64 {
    let mut below = varies;
    loop {
        // An operand that takes all values of the lower bits makes them the opposite of the other's.
        let free = |s: Span| s.hi & below == below && s.lo <= s.hi & !below;
        if free(a) || free(b) {
            return (a.hi ^ b.hi) | below;
        }
        let candidates = a.hi & b.hi & below;
        if candidates == 0 {
            return a.hi ^ b.hi;
        }
        let bit = highest_bit(candidates);
        below = bit - 1;
        let lowered = |s: Span| (s.hi - bit) | (bit - 1);
        if lowered(a) >= a.lo {
            a.hi = lowered(a);
        } else if lowered(b) >= b.lo {
            b.hi = lowered(b);
        }
    }
}

const fn highest_bit(bits: u64) -> u64 {
    1 << (63 - bits.leading_zeros())
}
