//! Known bits: each bit of a number is 0, 1 or unknown.
//!
//! Arithmetic follows from how carries spread: a result bit is known when the extreme choices of the unknown
//! operand bits agree on it. Everything here is at width `N`: bits above are always known zeros.
#![forbid(unsafe_code)]

use super::low_mask;

/// A set of `N`-bit numbers that agree on the bits outside `mask`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tnum<const N: u32 = 64> {
    value: u64,
    mask: u64,
}

impl<const N: u32> Tnum<N> {
    const ALL: u64 = low_mask(N);

    /// The numbers with the bits of `value` outside `mask`; bits above the width are dropped.
    #[must_use]
    pub const fn new(value: u64, mask: u64) -> Self {
        let mask = mask & Self::ALL;
        Self { value: value & !mask & Self::ALL, mask }
    }
    /// Every number.
    #[must_use]
    pub const fn unknown() -> Self {
        Self::new(0, u64::MAX)
    }
    /// Whether it is every number.
    #[must_use]
    pub const fn is_unknown(self) -> bool {
        self.mask == Self::ALL
    }
    /// One number.
    #[must_use]
    pub const fn known(value: u64) -> Self {
        Self::new(value, 0)
    }
    /// The smallest set that holds every number from `lo` to `hi`, unsigned, `lo <= hi`.
    #[must_use]
    pub const fn from_range(lo: u64, hi: u64) -> Self {
        Self::new(lo, low_mask(64 - (lo ^ hi).leading_zeros()))
    }
    /// The known ones.
    #[must_use]
    pub const fn value(self) -> u64 {
        self.value
    }
    /// The unknown bits.
    #[must_use]
    pub const fn mask(self) -> u64 {
        self.mask
    }
    /// The bits that may be one; also the largest member, unsigned.
    #[must_use]
    pub const fn possible(self) -> u64 {
        self.value | self.mask
    }
    /// The only member, if there is one.
    #[must_use]
    pub const fn constant(self) -> Option<u64> {
        if self.mask == 0 { Some(self.value) } else { None }
    }
    /// Whether the number is a member.
    #[must_use]
    pub const fn contains(self, number: u64) -> bool {
        number & !self.mask == self.value
    }
    /// Whether every member of `self` is one of `other`.
    #[must_use]
    pub const fn is_subset_of(self, other: Self) -> bool {
        self.mask & !other.mask == 0 && self.value & !other.mask == other.value
    }
    /// The smallest set that holds both.
    #[must_use]
    pub const fn join(self, other: Self) -> Self {
        Self::new(self.value, self.mask | other.mask | (self.value ^ other.value))
    }
    /// The common members, if there are any.
    #[must_use]
    pub const fn meet(self, other: Self) -> Option<Self> {
        if (self.value ^ other.value) & !self.mask & !other.mask != 0 {
            return None;
        }
        Some(Self::new(self.value | other.value, self.mask & other.mask))
    }
    /// Upper bound for fixpoints: when a bit gets lost, every bit above it goes too. What stays is what
    /// ranges cannot say, the alignment; the high bits come back from the widened range.
    #[must_use]
    pub const fn widen(self, newer: Self) -> Self {
        let joined = self.join(newer);
        let lost = joined.mask & !self.mask;
        if lost == 0 {
            return joined;
        }
        Self::new(joined.value, joined.mask | !low_mask(lost.trailing_zeros()))
    }
    /// The smallest member that is at least `bound`, unsigned.
    #[must_use]
    pub const fn at_least(self, bound: u64) -> Option<u64> {
        let wrong = (bound ^ self.value) & !self.mask;
        if wrong == 0 {
            return Some(bound);
        }
        // The member agrees with `bound` as far down as it can. Below the first bit where `bound` is not a
        // member, it is either free to be minimal (a known one over a zero of `bound`), or the lowest free
        // zero above that bit must become a one.
        let top = 63 - wrong.leading_zeros();
        if self.value >> top & 1 == 1 {
            return Some((bound & !low_mask(top) & self.mask) | self.value);
        }
        let free = self.mask & !bound & !low_mask(top);
        if free == 0 {
            return None;
        }
        let raised = free.trailing_zeros();
        Some((((bound & !low_mask(raised)) | 1 << raised) & self.mask) | self.value)
    }
    /// The largest member that is at most `bound`, unsigned.
    #[must_use]
    pub const fn at_most(self, bound: u64) -> Option<u64> {
        if self.contains(bound) {
            return Some(bound);
        }
        // Complement turns the order round.
        let complement = Self::new(!self.value, self.mask);
        match complement.at_least(!bound & Self::ALL) {
            Some(member) => Some(!member & Self::ALL),
            None => None,
        }
    }
}

impl<const N: u32> std::fmt::Debug for Tnum<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "(0x{:x}; 0x{:x})", self.value, self.mask)
    }
}
