//! A number at one width: known bits and range side by side, and what each operation does to both.
//!
//! `scalar` computes a 64-bit operation on words of 64 bits, and once more on the low halves where the low
//! half of the result depends on nothing else; a 32-bit operation on the low halves only.
#![forbid(unsafe_code)]

use super::{Circular, Tnum};

/// Numbers that are in both sets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Word<const N: u32> {
    pub(super) tnum: Tnum<N>,
    pub(super) range: Circular<N>,
}

impl<const N: u32> Word<N> {
    const fn known(value: u64) -> Self {
        Self { tnum: Tnum::known(value), range: Circular::known(value) }
    }
    /// What both say of the same number; empty only if it does not exist, and then anything holds.
    pub(super) fn both(self, other: Self) -> Self {
        let (tnum, range) = (self.tnum.meet(other.tnum), self.range.meet(other.range));
        Self { tnum: tnum.unwrap_or(self.tnum), range: range.unwrap_or(self.range) }
    }
    fn join(self, other: Self) -> Self {
        Self { tnum: self.tnum.join(other.tnum), range: self.range.join(other.range) }
    }
    /// Whether the number is a member.
    pub(super) const fn contains(self, number: u64) -> bool {
        self.tnum.contains(number) && self.range.contains(number)
    }
    /// Whether it is any number.
    pub(super) fn is_any(self) -> bool {
        self.tnum.is_unknown() && self.range.is_unknown()
    }
    fn constant(self) -> Option<u64> {
        self.tnum.constant()
    }

    pub(super) fn add(self, other: Self) -> Self {
        if self.is_any() || other.is_any() {
            return self.any();
        }
        Self { tnum: self.tnum.add(other.tnum), range: self.range.add(other.range) }
    }
    pub(super) fn sub(self, other: Self) -> Self {
        if self.is_any() || other.is_any() {
            return self.any();
        }
        Self { tnum: self.tnum.sub(other.tnum), range: self.range.sub(other.range) }
    }
    pub(super) fn mul(self, other: Self) -> Self {
        if self.is_any() && other.is_any() {
            return self.any();
        }
        Self { tnum: self.tnum.mul(other.tnum), range: self.range.mul(other.range) }
    }
    pub(super) fn and(self, other: Self) -> Self {
        if self.is_any() && other.is_any() {
            return self.any();
        }
        Self { tnum: self.tnum.and(other.tnum), range: self.range.and(other.range) }
    }
    pub(super) fn or(self, other: Self) -> Self {
        if self.is_any() && other.is_any() {
            return self.any();
        }
        Self { tnum: self.tnum.or(other.tnum), range: self.range.or(other.range) }
    }
    pub(super) fn xor(self, other: Self) -> Self {
        if self.is_any() || other.is_any() {
            return self.any();
        }
        Self { tnum: self.tnum.xor(other.tnum), range: self.range.xor(other.range) }
    }
    /// By the divisors that are not zero.
    pub(super) fn udiv(self, divisor: Self) -> Self {
        let tnum = match divisor.constant() {
            Some(by) if by.is_power_of_two() => self.tnum.lshr(by.trailing_zeros()),
            Some(_) | None => Tnum::unknown(),
        };
        Self { tnum, range: self.range.udiv(divisor.range) }
    }
    /// By the divisors that are not zero.
    pub(super) fn urem(self, divisor: Self) -> Self {
        Self { tnum: self.tnum.remainder(divisor.tnum), range: self.range.urem(divisor.range) }
    }
    /// By the divisors that are not zero.
    pub(super) fn sdiv(self, divisor: Self) -> Self {
        Self { tnum: Tnum::unknown(), range: self.range.sdiv(divisor.range) }
    }
    /// By the divisors that are not zero.
    pub(super) fn srem(self, divisor: Self) -> Self {
        Self { tnum: self.tnum.remainder(divisor.tnum), range: self.range.srem(divisor.range) }
    }
    pub(super) fn shl<const C: u32>(self, count: Word<C>) -> Self {
        self.shift(count, |word, by| Self { tnum: word.tnum.shl(by), range: word.range.shl(by) })
    }
    pub(super) fn lshr(self, count: Self) -> Self {
        self.shift(count, |word, by| Self { tnum: word.tnum.lshr(by), range: word.range.lshr(by) })
    }
    pub(super) fn ashr(self, count: Self) -> Self {
        self.shift(count, |word, by| Self { tnum: word.tnum.ashr(by), range: word.range.ashr(by) })
    }
    /// A left shift at a larger width by counts that shift everything above this word out: it alone decides.
    pub(super) fn shl_wide<const M: u32>(self, count: Word<M>) -> Word<M> {
        // Each half apart: after the shift the sign bit of this word is the sign bit of the whole.
        let halves = self.range.spans().map(|half| {
            let range = Circular::unsigned(half.lo, half.hi);
            Word { tnum: self.tnum.zero_extend(), range }.shl(count)
        });
        halves.reduce(Word::join).unwrap_or(count.any())
    }
    /// Joins `f` over the counts that are smaller than the width: the others do not occur.
    fn shift<const C: u32>(self, count: Word<C>, f: impl Fn(Self, u32) -> Self) -> Self {
        if let Some(by) = count.constant() {
            return if by < u64::from(N) { f(self, by as u32) } else { self.any() };
        }
        let possible = (0..N).filter(|&by| {
            let by = u64::from(by);
            count.tnum.contains(by) && count.range.contains(by)
        });
        possible.map(|by| f(self, by)).reduce(Self::join).unwrap_or(self.any())
    }
    const fn any(self) -> Self {
        Self { tnum: Tnum::unknown(), range: Circular::unknown() }
    }
    /// The low `bits` bits, zeroes above.
    pub(super) fn zero_extend(self, bits: u32) -> Self {
        let by = Word::<N>::known(u64::from(N - bits));
        self.shl(by).lshr(by)
    }
    /// The low `bits` bits, copies of the highest of them above.
    pub(super) fn sign_extend(self, bits: u32) -> Self {
        let by = Word::<N>::known(u64::from(N - bits));
        self.shl(by).ashr(by)
    }
}
