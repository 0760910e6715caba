//! Arithmetic of known bits: transfer functions of [`Tnum`].
//!
//! A sum is known in a bit when the smallest and the largest choice of the unknown bits agree in it and no
//! operand bit there is unknown: every carry chain lies between those two. Shift counts are constants here;
//! `word` joins over the possible ones.
#![forbid(unsafe_code)]

use super::{Tnum, low_mask};

impl<const N: u32> Tnum<N> {
    pub(super) const fn add(self, other: Self) -> Self {
        let smallest = self.value().wrapping_add(other.value());
        let largest = self.possible().wrapping_add(other.possible());
        Self::new(smallest, (smallest ^ largest) | self.mask() | other.mask())
    }
    pub(super) const fn sub(self, other: Self) -> Self {
        let smallest = self.value().wrapping_sub(other.possible());
        let largest = self.possible().wrapping_sub(other.value());
        let unknown = (smallest ^ largest) | self.mask() | other.mask();
        Self::new(self.value().wrapping_sub(other.value()), unknown)
    }
    pub(super) const fn and(self, other: Self) -> Self {
        let ones = self.value() & other.value();
        Self::new(ones, self.possible() & other.possible() & !ones)
    }
    pub(super) const fn or(self, other: Self) -> Self {
        let ones = self.value() | other.value();
        Self::new(ones, (self.mask() | other.mask()) & !ones)
    }
    pub(super) const fn xor(self, other: Self) -> Self {
        Self::new(self.value() ^ other.value(), self.mask() | other.mask())
    }
    /// Both orders of long multiplication hold, and neither is always the better.
    pub(super) fn mul(self, other: Self) -> Self {
        if let (Some(a), Some(b)) = (self.constant(), other.constant()) {
            return Self::known(a.wrapping_mul(b));
        }
        // Of any number times another, all that is known are the zeroes that the other ends in.
        let zeroes = |any: Self, by: Self| {
            any.is_unknown().then(|| Self::new(0, !low_mask(by.possible().trailing_zeros())))
        };
        if let Some(product) = zeroes(self, other).or_else(|| zeroes(other, self)) {
            return product;
        }
        let product = self.long_multiply(other);
        product.meet(other.long_multiply(self)).unwrap_or(product)
    }
    /// Adds `other`, shifted, for each bit of `self`; for an unknown bit the sum with and the sum without.
    fn long_multiply(self, other: Self) -> Self {
        let mut sum = Self::known(0);
        let mut left = self.possible();
        while left != 0 {
            let place = left.trailing_zeros();
            left &= left - 1;
            sum = self.multiply_step(other, sum, place);
        }
        sum
    }
    /// What is added for the bit of `self` at `place`, which may be one.
    #[inline(always)]
    pub(super) const fn multiply_step(self, other: Self, sum: Self, place: u32) -> Self {
        let with = sum.add(other.shl(place));
        if self.mask() >> place & 1 == 1 { sum.join(with) } else { with }
    }
    /// `count < N`
    pub(super) const fn shl(self, count: u32) -> Self {
        Self::new(self.value() << count, self.mask() << count)
    }
    /// `count < N`
    pub(super) const fn lshr(self, count: u32) -> Self {
        Self::new(self.value() >> count, self.mask() >> count)
    }
    /// `count < N`. An unknown sign bit spreads as unknown bits.
    pub(super) const fn ashr(self, count: u32) -> Self {
        const fn spread<const N: u32>(bits: u64, count: u32) -> u64 {
            ((bits << (64 - N)).cast_signed() >> (64 - N) >> count).cast_unsigned()
        }
        Self::new(spread::<N>(self.value(), count), spread::<N>(self.mask(), count))
    }
    /// A remainder agrees with the dividend in the bits below the divisor's lowest possible one.
    pub(super) const fn remainder(self, divisor: Self) -> Self {
        let kept = low_mask(divisor.possible().trailing_zeros());
        Self::new(self.value() & kept, (self.mask() & kept) | !kept)
    }
    /// The low `M` bits.
    pub(super) const fn truncate<const M: u32>(self) -> Tnum<M> {
        Tnum::new(self.value(), self.mask())
    }
    /// The same numbers at another, not smaller width.
    pub(super) const fn zero_extend<const M: u32>(self) -> Tnum<M> {
        Tnum::new(self.value(), self.mask())
    }
    /// The numbers whose low `N` bits are members.
    pub(super) const fn as_low_bits<const M: u32>(self) -> Tnum<M> {
        Tnum::new(self.value(), self.mask() | !low_mask(N))
    }
}
