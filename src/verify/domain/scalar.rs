//! The abstract value of a register that holds a number: known bits, its range, and the range of its low half.
#![forbid(unsafe_code)]

use crate::isa::{Sign, Size, Width};

use super::circular::Span;
use super::reduce::reduce;
use super::{Circular, Tnum, low_mask};

/// A set of `N`-bit numbers with the range of their low `H` bits. [`Scalar`] is the one the verifier uses.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ScalarOf<const N: u32, const H: u32> {
    tnum: Tnum<N>,
    wide: Circular<N>,
    low: Packed<H>,
}

/// A range of numbers of at most 32 bits, in half the space: registers are copied all the time.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Packed<const H: u32> {
    positive: (u32, u32),
    negative: (u32, u32),
}

impl<const H: u32> Packed<H> {
    const fn new(range: Circular<H>) -> Self {
        const { assert!(H <= 32) }
        // Numbers of `H` bits.
        Self {
            positive: (range.positive.lo as u32, range.positive.hi as u32),
            negative: (range.negative.lo as u32, range.negative.hi as u32),
        }
    }
    const fn range(self) -> Circular<H> {
        Circular {
            positive: Span { lo: self.positive.0 as u64, hi: self.positive.1 as u64 },
            negative: Span { lo: self.negative.0 as u64, hi: self.negative.1 as u64 },
        }
    }
}

/// A set of 64-bit numbers: what the verifier knows of a register.
pub type Scalar = ScalarOf<64, 32>;

impl<const N: u32, const H: u32> ScalarOf<N, H> {
    /// Every number.
    #[must_use]
    pub const fn unknown() -> Self {
        Self::of(Tnum::unknown(), Circular::unknown(), Circular::unknown())
    }
    /// One number.
    #[must_use]
    pub const fn known(value: u64) -> Self {
        Self::of(Tnum::known(value), Circular::known(value), Circular::known(value))
    }
    pub(super) const fn of(tnum: Tnum<N>, wide: Circular<N>, low: Circular<H>) -> Self {
        Self { tnum, wide, low: Packed::new(low) }
    }
    /// The numbers with the bits of `first` above those of `mask`, which is one of low bits.
    pub(super) const fn block(first: u64, mask: u64) -> Self {
        let span = Span { lo: first & !mask, hi: first | mask };
        Self::of(Tnum::new(first, mask), Circular::from_unsigned(span), Circular::arc(first & !mask, mask))
    }
    /// What all three say together, or `None` when nothing satisfies them.
    #[must_use]
    pub fn new(tnum: Tnum<N>, wide: Circular<N>, low: Circular<H>) -> Option<Self> {
        if let Some(value) = tnum.constant() {
            let known = Self::known(value);
            return (wide.contains(value) && low.contains(value & low_mask(H))).then_some(known);
        }
        let (tnum, wide, low) = reduce(tnum, wide, low)?;
        Some(Self::of(tnum, wide, low))
    }
    /// The numbers with those known bits.
    #[must_use]
    pub fn from_tnum(tnum: Tnum<N>) -> Self {
        Self::or_unknown(Self::new(tnum, Circular::unknown(), Circular::unknown()))
    }
    /// From `lo` to `hi` in unsigned order, `lo <= hi`.
    #[must_use]
    pub fn unsigned(lo: u64, hi: u64) -> Self {
        Self::or_unknown(Self::new(Tnum::unknown(), Circular::unsigned(lo, hi), Circular::unknown()))
    }
    /// From `lo` to `hi` in signed order, `lo <= hi`.
    #[must_use]
    pub fn signed(lo: i64, hi: i64) -> Self {
        Self::or_unknown(Self::new(Tnum::unknown(), Circular::signed(lo, hi), Circular::unknown()))
    }
    /// Known bits.
    #[must_use]
    pub const fn tnum(self) -> Tnum<N> {
        self.tnum
    }
    /// Range of the whole number.
    #[must_use]
    pub const fn wide(self) -> Circular<N> {
        self.wide
    }
    /// Range of the low half.
    #[must_use]
    pub const fn low(self) -> Circular<H> {
        self.low.range()
    }
    /// Unsigned minimum.
    #[must_use]
    pub const fn umin(self) -> u64 {
        self.wide.umin()
    }
    /// Unsigned maximum.
    #[must_use]
    pub const fn umax(self) -> u64 {
        self.wide.umax()
    }
    /// Signed minimum.
    #[must_use]
    pub const fn smin(self) -> i64 {
        self.wide.smin()
    }
    /// Signed maximum.
    #[must_use]
    pub const fn smax(self) -> i64 {
        self.wide.smax()
    }
    /// The only member, if there is one.
    #[must_use]
    pub const fn constant(self) -> Option<u64> {
        self.tnum.constant()
    }
    /// Whether every number is a member.
    #[must_use]
    pub const fn is_unknown(self) -> bool {
        self.tnum.is_unknown() && self.wide.is_unknown() && self.low().is_unknown()
    }
    /// Whether the number is a member.
    #[must_use]
    pub const fn contains(self, number: u64) -> bool {
        self.tnum.contains(number) && self.wide.contains(number) && self.low().contains(number & low_mask(H))
    }
    /// Whether every member of `self` is one of `other`.
    #[must_use]
    pub const fn is_subset_of(self, other: Self) -> bool {
        self.tnum.is_subset_of(other.tnum)
            && self.wide.is_subset_of(other.wide)
            && self.low().is_subset_of(other.low())
    }
    /// A set that holds both.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        Self::of(self.tnum.join(other.tnum), self.wide.join(other.wide), self.low().join(other.low()))
    }
    /// The common members, or `None` when there are none.
    #[must_use]
    pub fn meet(self, other: Self) -> Option<Self> {
        Self::new(self.tnum.meet(other.tnum)?, self.wide.meet(other.wide)?, self.low().meet(other.low())?)
    }
    /// Upper bound of an older and a newer value for fixpoints: bounds that moved go on to the next of the
    /// `thresholds` (64-bit patterns, any order) or all the way. Any chain of widenings is finite.
    #[must_use]
    pub fn widen(self, newer: Self, thresholds: &[u64]) -> Self {
        if newer.is_subset_of(self) {
            return self;
        }
        let (wide, low) =
            (self.wide.widen(newer.wide, thresholds), self.low().widen(newer.low(), thresholds));
        Self::or_unknown(Self::new(self.tnum.widen(newer.tnum), wide, low))
    }
    /// The low half, zero-extended: what `w1 = w1` does.
    #[must_use]
    pub fn cast32(self) -> Self {
        if self.umax() <= low_mask(H) {
            return self;
        }
        Self::zero_extended(self.low_word())
    }
    /// The low bytes, zero- or sign-extended: what storing and loading them back does.
    #[must_use]
    pub fn extend(self, size: Size, sign: Sign) -> Self {
        if size.bits() >= N {
            return self;
        }
        match sign {
            Sign::Zero if size.bits() == H => self.cast32(),
            Sign::Zero => self.zero_extend_from(size.bits()),
            Sign::Signed => self.sign_extend_from(Width::W64, size.bits()),
        }
    }
    /// What a load of unknown memory yields.
    #[must_use]
    pub fn loaded(size: Size, sign: Sign) -> Self {
        Self::unknown().extend(size, sign)
    }
}

impl Scalar {
    /// Unsigned minimum of the low half.
    #[must_use]
    pub const fn u32_min(self) -> u32 {
        self.low().umin() as u32 // a `Circular<32>` holds 32-bit numbers
    }
    /// Unsigned maximum of the low half.
    #[must_use]
    pub const fn u32_max(self) -> u32 {
        self.low().umax() as u32 // a `Circular<32>` holds 32-bit numbers
    }
    /// Signed minimum of the low half.
    #[must_use]
    pub const fn s32_min(self) -> i32 {
        self.low().smin() as i32 // a `Circular<32>` holds 32-bit numbers
    }
    /// Signed maximum of the low half.
    #[must_use]
    pub const fn s32_max(self) -> i32 {
        self.low().smax() as i32 // a `Circular<32>` holds 32-bit numbers
    }
}

impl<const N: u32, const H: u32> Default for ScalarOf<N, H> {
    fn default() -> Self {
        Self::unknown()
    }
}

impl<const N: u32, const H: u32> std::fmt::Debug for ScalarOf<N, H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(value) = self.constant() {
            return write!(f, "{value:#x}");
        }
        write!(f, "{:?} bits {:?} low {:?}", self.wide, self.tnum, self.low())
    }
}
