//! Ranges on the circle of `N`-bit numbers: one interval in each half.
//!
//! The circle has two seams, where unsigned order breaks (after the largest number comes 0) and where signed
//! order breaks. A set keeps one interval on each side, so within an interval both orders agree, arcs that
//! cross a seam lose nothing, and the four unsigned and signed bounds are exact and consistent by
//! construction. Intervals per half are closed under intersection: `meet` is exact and `join` the best.
#![forbid(unsafe_code)]

use super::low_mask;

/// An interval within one half; empty when `lo > hi`, and then always `EMPTY`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Span {
    pub(super) lo: u64,
    pub(super) hi: u64,
}

impl Span {
    pub(super) const EMPTY: Self = Self { lo: 1, hi: 0 };

    pub(super) const fn new(lo: u64, hi: u64) -> Self {
        if lo > hi { Self::EMPTY } else { Self { lo, hi } }
    }
    pub(super) const fn is_empty(self) -> bool {
        self.lo > self.hi
    }
    pub(super) const fn meet(self, other: Self) -> Self {
        let lo = if self.lo > other.lo { self.lo } else { other.lo };
        let hi = if self.hi < other.hi { self.hi } else { other.hi };
        Self::new(lo, hi)
    }
    pub(super) const fn join(self, other: Self) -> Self {
        if self.is_empty() {
            return other;
        }
        if other.is_empty() {
            return self;
        }
        Self {
            lo: if self.lo < other.lo { self.lo } else { other.lo },
            hi: if self.hi > other.hi { self.hi } else { other.hi },
        }
    }
    pub(super) const fn is_subset_of(self, other: Self) -> bool {
        self.is_empty() || (other.lo <= self.lo && self.hi <= other.hi)
    }
}

/// A non-empty set of `N`-bit numbers: an interval of those with sign bit 0, and one of those with sign bit 1.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Circular<const N: u32 = 64> {
    /// Sign bit clear: `0..=MAX`.
    pub(super) positive: Span,
    /// Sign bit set: `MIN..=-1` as unsigned numbers.
    pub(super) negative: Span,
}

impl<const N: u32> Circular<N> {
    pub(super) const ALL: u64 = low_mask(N);
    pub(super) const SIGN: u64 = 1 << (N - 1);
    /// The smallest and the largest signed number.
    pub(super) const SIGNED: (i64, i64) = (Self::sign_extend(Self::SIGN), Self::sign_extend(Self::SIGN - 1));
    pub(super) const POSITIVE: Span = Span { lo: 0, hi: Self::SIGN - 1 };
    pub(super) const NEGATIVE: Span = Span { lo: Self::SIGN, hi: Self::ALL };

    /// Every number.
    #[must_use]
    pub const fn unknown() -> Self {
        Self { positive: Self::POSITIVE, negative: Self::NEGATIVE }
    }
    /// Whether it is every number.
    #[must_use]
    pub const fn is_unknown(self) -> bool {
        self.positive.hi == Self::POSITIVE.hi
            && self.positive.lo == 0
            && self.negative.lo == Self::SIGN
            && self.negative.hi == Self::ALL
    }
    /// Whether it is one interval in one half, of these ends (their low bits).
    pub(super) const fn is_span(self, first: u64, last: u64) -> bool {
        let (first, last) = (first & Self::ALL, last & Self::ALL);
        let (span, other) =
            if first < Self::SIGN { (self.positive, self.negative) } else { (self.negative, self.positive) };
        other.is_empty() && span.lo == first && span.hi == last
    }
    /// One number.
    #[must_use]
    pub const fn known(value: u64) -> Self {
        let value = value & Self::ALL;
        let span = Span { lo: value, hi: value };
        if value < Self::SIGN {
            Self { positive: span, negative: Span::EMPTY }
        } else {
            Self { positive: Span::EMPTY, negative: span }
        }
    }
    /// The numbers met when counting up from `start`, `length` steps on (so `length + 1` numbers), around
    /// the circle; each half keeps the hull of what the arc has there.
    #[must_use]
    pub const fn arc(start: u64, length: u64) -> Self {
        let start = start & Self::ALL;
        if length >= Self::ALL {
            return Self::unknown();
        }
        let end = start.wrapping_add(length) & Self::ALL;
        if start <= end {
            Self::from_unsigned(Span { lo: start, hi: end })
        } else {
            let high = Self::from_unsigned(Span { lo: start, hi: Self::ALL });
            let low = Self::from_unsigned(Span { lo: 0, hi: end });
            Self { positive: high.positive.join(low.positive), negative: high.negative.join(low.negative) }
        }
    }
    pub(super) const fn from_unsigned(span: Span) -> Self {
        Self { positive: span.meet(Self::POSITIVE), negative: span.meet(Self::NEGATIVE) }
    }
    /// From `lo` to `hi` in unsigned order, `lo <= hi`.
    #[must_use]
    pub fn unsigned(lo: u64, hi: u64) -> Self {
        Self::arc(lo, hi.wrapping_sub(lo) & Self::ALL)
    }
    /// From `lo` to `hi` in signed order, `lo <= hi`.
    #[must_use]
    pub fn signed(lo: i64, hi: i64) -> Self {
        Self::arc(lo.cast_unsigned(), hi.wrapping_sub(lo).cast_unsigned() & Self::ALL)
    }
    /// Sign-extends a number of this width.
    pub(super) const fn sign_extend(value: u64) -> i64 {
        (value << (64 - N)).cast_signed() >> (64 - N)
    }
    /// Unsigned minimum.
    #[must_use]
    pub const fn umin(self) -> u64 {
        if self.positive.is_empty() { self.negative.lo } else { self.positive.lo }
    }
    /// Unsigned maximum.
    #[must_use]
    pub const fn umax(self) -> u64 {
        if self.negative.is_empty() { self.positive.hi } else { self.negative.hi }
    }
    /// Signed minimum.
    #[must_use]
    pub const fn smin(self) -> i64 {
        Self::sign_extend(if self.negative.is_empty() { self.positive.lo } else { self.negative.lo })
    }
    /// Signed maximum.
    #[must_use]
    pub const fn smax(self) -> i64 {
        Self::sign_extend(if self.positive.is_empty() { self.negative.hi } else { self.positive.hi })
    }
    /// The only member, if there is one.
    #[must_use]
    pub const fn constant(self) -> Option<u64> {
        if self.umin() == self.umax() { Some(self.umin()) } else { None }
    }
    /// Whether the number is a member.
    #[must_use]
    pub const fn contains(self, number: u64) -> bool {
        let span = if number < Self::SIGN { self.positive } else { self.negative };
        span.lo <= number && number <= span.hi
    }
    /// Whether every member of `self` is one of `other`.
    #[must_use]
    pub const fn is_subset_of(self, other: Self) -> bool {
        self.positive.is_subset_of(other.positive) && self.negative.is_subset_of(other.negative)
    }
    /// The smallest set that holds both.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        Self { positive: self.positive.join(other.positive), negative: self.negative.join(other.negative) }
    }
    /// The common members, if there are any.
    #[must_use]
    pub fn meet(self, other: Self) -> Option<Self> {
        Self::non_empty(self.positive.meet(other.positive), self.negative.meet(other.negative))
    }
    pub(super) fn non_empty(positive: Span, negative: Span) -> Option<Self> {
        (!positive.is_empty() || !negative.is_empty()).then_some(Self { positive, negative })
    }
    /// The intervals that are not empty.
    pub(super) fn spans(self) -> impl Iterator<Item = Span> + Clone {
        [self.positive, self.negative].into_iter().filter(|span| !span.is_empty())
    }
    /// Upper bound for fixpoints: a bound that moved goes on to the next of the `thresholds` (unsigned
    /// numbers, any order), or to the end of its half.
    #[must_use]
    pub fn widen(self, newer: Self, thresholds: &[u64]) -> Self {
        let widen = |old: Span, new: Span, half: Span| {
            let joined = old.join(new);
            if old.is_empty() || joined.is_empty() {
                return joined;
            }
            let within = thresholds.iter().map(|&t| t & Self::ALL).filter(|t| half.lo <= *t && *t <= half.hi);
            let lo = if joined.lo < old.lo {
                within.clone().filter(|t| *t <= joined.lo).max().unwrap_or(half.lo)
            } else {
                joined.lo
            };
            let hi = if joined.hi > old.hi {
                within.filter(|t| *t >= joined.hi).min().unwrap_or(half.hi)
            } else {
                joined.hi
            };
            Span { lo, hi }
        };
        Self {
            positive: widen(self.positive, newer.positive, Self::POSITIVE),
            negative: widen(self.negative, newer.negative, Self::NEGATIVE),
        }
    }
}

impl<const N: u32> std::fmt::Debug for Circular<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut separator = "";
        for span in self.spans() {
            write!(f, "{separator}0x{:x}..=0x{:x}", span.lo, span.hi)?;
            separator = " | ";
        }
        Ok(())
    }
}
