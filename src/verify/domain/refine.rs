//! What a branch tells of its operands.
//!
//! [`refine`] narrows both operands to the pairs for which the comparison comes out a given way; [`decide`]
//! asks whether a way is left at all. A comparison at 32 bits narrows the low halves, and the whole only
//! through the reduction. Operands are taken as independent: comparing a register with itself is up to the
//! caller.
#![forbid(unsafe_code)]

use crate::isa::{CmpOp, Width};

use super::circular::Span;
use super::word::Word;
use super::{Circular, ScalarOf, Tnum, low_mask};

/// The operands where `lhs op rhs` came out as `taken`, or `None` when it cannot.
#[must_use]
pub fn refine<const N: u32, const H: u32>(
    op: CmpOp,
    width: Width,
    lhs: ScalarOf<N, H>,
    rhs: ScalarOf<N, H>,
    taken: bool,
) -> Option<(ScalarOf<N, H>, ScalarOf<N, H>)> {
    let relation = Relation::of(op, taken);
    if width == Width::W64 && relation == Relation::Equal {
        let both = lhs.meet(rhs)?;
        return Some((both, both));
    }
    match width {
        Width::W64 => {
            let (a, b) = relation.narrow(lhs.wide_word(), rhs.wide_word())?;
            let back = |word: Word<N>, old: ScalarOf<N, H>| ScalarOf::new(word.tnum, word.range, old.low());
            Some((back(a, lhs)?, back(b, rhs)?))
        }
        Width::W32 => {
            let (a, b) = relation.narrow(lhs.low_word(), rhs.low_word())?;
            let back = |word: Word<H>, old: ScalarOf<N, H>| {
                ScalarOf::new(old.tnum().meet(word.tnum.as_low_bits())?, old.wide(), word.range)
            };
            Some((back(a, lhs)?, back(b, rhs)?))
        }
    }
}

/// Whether `lhs op rhs` always holds or never, when that is known.
#[must_use]
pub fn decide<const N: u32, const H: u32>(
    op: CmpOp,
    width: Width,
    lhs: ScalarOf<N, H>,
    rhs: ScalarOf<N, H>,
) -> Option<bool> {
    let (decided, exact) = match width {
        Width::W64 => {
            let apart = match (lhs.constant(), rhs.constant()) {
                (Some(number), _) => !rhs.contains(number),
                (None, Some(number)) => !lhs.contains(number),
                (None, None) => false,
            };
            (by_bounds(op, lhs.wide_word(), rhs.wide_word(), apart), true)
        }
        Width::W32 => {
            let (a, b) = (lhs.low_word(), rhs.low_word());
            let apart = match (a.tnum.constant(), b.tnum.constant()) {
                (Some(number), _) => !b.contains(number),
                (None, Some(number)) => !a.contains(number),
                (None, None) => false,
            };
            let narrow = |scalar: ScalarOf<N, H>| scalar.umax() <= low_mask(H);
            (by_bounds(op, a, b, apart), narrow(lhs) && narrow(rhs))
        }
    };
    match decided {
        Decided::Way(taken) => return Some(taken),
        Decided::Open if exact => return None,
        Decided::Open | Decided::Unclear => {}
    }
    if refine(op, width, lhs, rhs, true).is_none() {
        return Some(false);
    }
    refine(op, width, lhs, rhs, false).is_none().then_some(true)
}

/// What the bounds alone say of a comparison.
pub(super) enum Decided {
    /// It always comes out like that.
    Way(bool),
    /// Bounds are members, and there are pairs of them for both ways.
    Open,
    /// Bounds do not tell.
    Unclear,
}

/// `apart`: one is a number that the other cannot be.
pub(super) fn by_bounds<const N: u32>(op: CmpOp, a: Word<N>, b: Word<N>, apart: bool) -> Decided {
    let equal = |equal: bool| match (a.tnum.constant(), b.tnum.constant()) {
        (Some(x), Some(y)) => Decided::Way((x == y) == equal),
        (Some(_), None) | (None, Some(_)) if apart => Decided::Way(!equal),
        (Some(_), None) | (None, Some(_)) => Decided::Open,
        (None, None) => Decided::Unclear,
    };
    let unsigned = |range: Circular<N>| (range.umin(), range.umax());
    let signed = |range: Circular<N>| (range.smin(), range.smax());
    match op {
        CmpOp::Eq => equal(true),
        CmpOp::Ne => equal(false),
        CmpOp::Set if a.tnum.value() & b.tnum.value() != 0 => Decided::Way(true),
        CmpOp::Set if a.tnum.possible() & b.tnum.possible() == 0 => Decided::Way(false),
        CmpOp::Set => Decided::Unclear,
        CmpOp::Lt => less(unsigned(a.range), unsigned(b.range)),
        CmpOp::Gt => less(unsigned(b.range), unsigned(a.range)),
        CmpOp::Ge => less(unsigned(a.range), unsigned(b.range)).not(),
        CmpOp::Le => less(unsigned(b.range), unsigned(a.range)).not(),
        CmpOp::SLt => less(signed(a.range), signed(b.range)),
        CmpOp::SGt => less(signed(b.range), signed(a.range)),
        CmpOp::SGe => less(signed(a.range), signed(b.range)).not(),
        CmpOp::SLe => less(signed(b.range), signed(a.range)).not(),
    }
}

impl Decided {
    fn not(self) -> Self {
        match self {
            Self::Way(way) => Self::Way(!way),
            Self::Open | Self::Unclear => self,
        }
    }
}

/// Whether numbers within the first bounds are less than those within the second.
fn less<T: Ord>(a: (T, T), b: (T, T)) -> Decided {
    if a.1 < b.0 {
        Decided::Way(true)
    } else if a.0 >= b.1 {
        Decided::Way(false)
    } else {
        Decided::Open
    }
}

/// What holds between two operands after a branch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Relation {
    Equal,
    Different,
    CommonBit,
    NoCommonBit,
    Less(Order),
    AtMost(Order),
    Greater(Order),
    AtLeast(Order),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order {
    Unsigned,
    Signed,
}

impl Relation {
    pub(super) const fn of(op: CmpOp, taken: bool) -> Self {
        let (holds, fails) = match op {
            CmpOp::Eq => (Self::Equal, Self::Different),
            CmpOp::Ne => (Self::Different, Self::Equal),
            CmpOp::Set => (Self::CommonBit, Self::NoCommonBit),
            CmpOp::Gt => (Self::Greater(Order::Unsigned), Self::AtMost(Order::Unsigned)),
            CmpOp::Ge => (Self::AtLeast(Order::Unsigned), Self::Less(Order::Unsigned)),
            CmpOp::Lt => (Self::Less(Order::Unsigned), Self::AtLeast(Order::Unsigned)),
            CmpOp::Le => (Self::AtMost(Order::Unsigned), Self::Greater(Order::Unsigned)),
            CmpOp::SGt => (Self::Greater(Order::Signed), Self::AtMost(Order::Signed)),
            CmpOp::SGe => (Self::AtLeast(Order::Signed), Self::Less(Order::Signed)),
            CmpOp::SLt => (Self::Less(Order::Signed), Self::AtLeast(Order::Signed)),
            CmpOp::SLe => (Self::AtMost(Order::Signed), Self::Greater(Order::Signed)),
        };
        if taken { holds } else { fails }
    }

    /// The parts of both operands that have a partner in the other.
    pub(super) fn narrow<const N: u32>(self, a: Word<N>, b: Word<N>) -> Option<(Word<N>, Word<N>)> {
        match self {
            Self::Equal => {
                let both = Word { tnum: a.tnum.meet(b.tnum)?, range: a.range.meet(b.range)? };
                Some((both, both))
            }
            Self::Different => Some((without(a, b.tnum.constant())?, without(b, a.tnum.constant())?)),
            Self::CommonBit => common_bit(a, b),
            Self::NoCommonBit => {
                let clear = |word: Word<N>, ones: u64| {
                    let tnum = word.tnum.meet(Tnum::new(0, !ones))?;
                    Some(Word { tnum, range: word.range })
                };
                Some((clear(a, b.tnum.value())?, clear(b, a.tnum.value())?))
            }
            Self::Less(order) => ordered(a, b, order, 1),
            Self::AtMost(order) => ordered(a, b, order, 0),
            Self::Greater(order) => ordered(b, a, order, 1).map(|(b, a)| (a, b)),
            Self::AtLeast(order) => ordered(b, a, order, 0).map(|(b, a)| (a, b)),
        }
    }
}

/// The word without that number. Only where the number is the end of an interval can a range say so.
fn without<const N: u32>(word: Word<N>, number: Option<u64>) -> Option<Word<N>> {
    let Some(number) = number else { return Some(word) };
    let shrink = |span: Span| {
        if span.is_empty() {
            return span;
        }
        match (span.lo == number, span.hi == number) {
            (true, true) => Span::EMPTY,
            (true, false) => Span { lo: span.lo + 1, hi: span.hi },
            (false, true) => Span { lo: span.lo, hi: span.hi - 1 },
            (false, false) => span,
        }
    };
    let range = Circular::non_empty(shrink(word.range.positive), shrink(word.range.negative))?;
    Some(Word { tnum: word.tnum, range })
}

/// Some bit is set in both: if only one can be, it is; and neither is below the lowest that can.
fn common_bit<const N: u32>(a: Word<N>, b: Word<N>) -> Option<(Word<N>, Word<N>)> {
    let common = a.tnum.possible() & b.tnum.possible();
    if common == 0 {
        return None;
    }
    let at_least = Circular::unsigned(common & common.wrapping_neg(), Circular::<N>::ALL);
    let set = |word: Word<N>| {
        let range = word.range.meet(at_least)?;
        let tnum =
            if common.is_power_of_two() { word.tnum.meet(Tnum::new(common, !common))? } else { word.tnum };
        Some(Word { tnum, range })
    };
    Some((set(a)?, set(b)?))
}

/// `a + gap <= b` in that order, without wrapping; `gap` is 0 or 1.
fn ordered<const N: u32>(a: Word<N>, b: Word<N>, order: Order, gap: u64) -> Option<(Word<N>, Word<N>)> {
    let (below, above) = match order {
        Order::Unsigned => {
            let below = b.range.umax().checked_sub(gap)?;
            (a.range.umin() <= below).then_some(())?;
            (Circular::unsigned(0, below), Circular::unsigned(a.range.umin() + gap, Circular::<N>::ALL))
        }
        Order::Signed => {
            let (min, max) = Circular::<N>::SIGNED;
            let below = b.range.smax().checked_sub_unsigned(gap).filter(|below| *below >= min)?;
            (a.range.smin() <= below).then_some(())?;
            (Circular::signed(min, below), Circular::signed(a.range.smin() + gap.cast_signed(), max))
        }
    };
    let a = Word { tnum: a.tnum, range: a.range.meet(below)? };
    let b = Word { tnum: b.tnum, range: b.range.meet(above)? };
    Some((a, b))
}
