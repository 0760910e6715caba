//! Arithmetic of scalars: what the primitives of `isa::semantics` do at both widths.
//!
//! The low half of a 64-bit sum, difference, product, bitwise result or left shift depends on the low halves
//! alone, so it is computed from their ranges too, and the reduction takes the better of both ways.
#![forbid(unsafe_code)]

use std::ops::{BitAnd as _, BitOr as _, BitXor as _};

use crate::isa::{Size, Width};

use super::word::Word;
use super::{Circular, ScalarOf, Tnum, low_mask};

/// Operations whose low half depends on the low halves of the operands alone; what they do to numbers.
macro_rules! by_halves {
    ($($(#[$doc:meta])* $name:ident = $number:expr;)*) => {$(
        $(#[$doc])*
        pub(super) fn $name(self, width: Width, other: Self) -> Self {
            if let (Some(a), Some(b)) = (self.constant(), other.constant()) {
                return Self::number(width, $number(a, b));
            }
            let low = self.low_word().$name(other.low_word());
            match width {
                Width::W64 => Self::assemble(self.wide_word().$name(other.wide_word()), low),
                Width::W32 => Self::zero_extended(low),
            }
        }
    )*};
}

/// Operations where every result bit may depend on all of both operands.
macro_rules! as_a_whole {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        pub(super) fn $name(self, width: Width, other: Self) -> Self {
            match width {
                Width::W64 => {
                    let word = self.wide_word().$name(other.wide_word());
                    Self::or_unknown(Self::new(word.tnum, word.range, Circular::unknown()))
                }
                Width::W32 => Self::zero_extended(self.low_word().$name(other.low_word())),
            }
        }
    )*};
}

impl<const N: u32, const H: u32> ScalarOf<N, H> {
    by_halves! {
        /// Wrapping sum.
        add = u64::wrapping_add;
        /// Wrapping difference.
        sub = u64::wrapping_sub;
        /// Wrapping product.
        mul = u64::wrapping_mul;
        /// Bitwise and.
        and = u64::bitand;
        /// Bitwise or.
        or = u64::bitor;
        /// Bitwise exclusive or.
        xor = u64::bitxor;
    }
    as_a_whole! {
        /// Unsigned quotient by the divisors that are not zero.
        udiv;
        /// Unsigned remainder by the divisors that are not zero.
        urem;
        /// Signed quotient by the divisors that are not zero; the minimum by -1 wraps.
        sdiv;
        /// Signed remainder by the divisors that are not zero.
        srem;
        /// Right shift by the counts smaller than the width, zeroes coming in.
        lshr;
        /// Right shift by the counts smaller than the width, copies of the sign coming in.
        ashr;
    }
    /// Left shift by the counts smaller than the width.
    pub(super) fn shl(self, width: Width, count: Self) -> Self {
        if let (Some(a), Some(count)) = (self.constant(), count.constant())
            && count < u64::from(if width == Width::W64 { N } else { H })
        {
            return Self::number(width, a << count);
        }
        match width {
            Width::W64 => {
                let low = if count.umax() < u64::from(H) {
                    self.low_word().shl(count.wide_word())
                } else if count.umin() >= u64::from(H) {
                    Word { tnum: Tnum::known(0), range: Circular::known(0) }
                } else {
                    Word { tnum: Tnum::unknown(), range: Circular::unknown() }
                };
                let mut word = self.wide_word().shl(count.wide_word());
                if count.umin() >= u64::from(N - H) {
                    word = word.both(self.low_word().shl_wide(count.wide_word()));
                }
                Self::assemble(word, low)
            }
            Width::W32 => Self::zero_extended(self.low_word().shl(count.low_word())),
        }
    }
    /// The low `bits` bits, zeroes above. `bits < N`.
    pub(super) fn zero_extend_from(self, bits: u32) -> Self {
        let word = self.wide_word().zero_extend(bits);
        if bits < H {
            return Self::assemble(word, self.low_word().zero_extend(bits));
        }
        Self::assemble(word, self.low_word())
    }
    /// The low `bits` bits, copies of the highest of them above, to that width. `bits` is smaller.
    pub(super) fn sign_extend_from(self, width: Width, bits: u32) -> Self {
        let low = if bits < H { self.low_word().sign_extend(bits) } else { self.low_word() };
        match width {
            Width::W64 if bits == H => {
                // From the low half's own range: signed bounds survive.
                let range = Circular::signed(low.range.smin(), low.range.smax());
                let word = self.wide_word().sign_extend(bits);
                let range = word.range.meet(range).unwrap_or(word.range);
                Self::assemble(Word { tnum: word.tnum, range }, low)
            }
            Width::W64 => Self::assemble(self.wide_word().sign_extend(bits), low),
            Width::W32 => Self::zero_extended(low),
        }
    }
    /// The low `size` bits with their bytes reversed, zeroes above.
    pub(super) fn swap_bytes(self, size: Size) -> Self {
        let down = 64 - size.bits();
        let swap = |bits: u64| bits.swap_bytes() >> down;
        let tnum = Tnum::new(swap(self.tnum().value()), swap(self.tnum().mask()));
        Self::or_unknown(Self::new(tnum, Circular::unknown(), Circular::unknown()))
    }

    /// The result of that width, a number.
    const fn number(width: Width, value: u64) -> Self {
        match width {
            Width::W64 => Self::known(value),
            Width::W32 => Self::known(value & low_mask(H)),
        }
    }
    pub(super) fn wide_word(self) -> Word<N> {
        Word { tnum: self.tnum(), range: self.wide() }
    }
    pub(super) fn low_word(self) -> Word<H> {
        Word { tnum: self.tnum().truncate(), range: self.low() }
    }
    /// A result from what the whole computation says and what the one on the low halves says.
    fn assemble(word: Word<N>, low: Word<H>) -> Self {
        let tnum = word.tnum.meet(low.tnum.as_low_bits());
        Self::or_unknown(tnum.and_then(|tnum| Self::new(tnum, word.range, low.range)))
    }
    /// Every number that fits in the low half.
    const ANY_LOW: Self = Self::block(0, low_mask(H));

    /// A low half with zeroes above.
    pub(super) fn zero_extended(low: Word<H>) -> Self {
        if low.is_any() {
            return Self::ANY_LOW;
        }
        Self::or_unknown(Self::new(low.tnum.zero_extend(), low.range.zero_extend(), low.range))
    }
    /// An operation on operands that have members has a result that has some: contradictions come only from
    /// operands that stand for nothing, and then anything holds.
    pub(super) fn or_unknown(value: Option<Self>) -> Self {
        debug_assert!(low_mask(H) < low_mask(N), "the low half is narrower");
        value.unwrap_or_default()
    }
}
