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
use super::{Circular, ScalarOf, Tnum};

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
    if refine(op, width, lhs, rhs, true).is_none() {
        return Some(false);
    }
    refine(op, width, lhs, rhs, false).is_none().then_some(true)
}

/// What holds between two operands after a branch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Relation {
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
enum Order {
    Unsigned,
    Signed,
}

impl Relation {
    const fn of(op: CmpOp, taken: bool) -> Self {
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
    fn narrow<const N: u32>(self, a: Word<N>, b: Word<N>) -> Option<(Word<N>, Word<N>)> {
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
