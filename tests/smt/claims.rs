//! What is proved of the lattices of the verifier, for all operands at once: claims that a solver looks for exceptions of.
//!
//! A claim takes arbitrary abstract values with a member each, and says that the result has the concrete result as a
//! member. `tests/smt/run` puts this file into a copy of `src/verify/domain` and asks of what the compiler makes of it:
//! so the claims are about the very functions the verifier runs. A panic counts as an exception too.
//! In: numbers, any. Out: whether the claim holds of them. Not here: precision (the exhaustive tests).
#![forbid(unsafe_code)]
#![allow(missing_docs, dead_code, unused_variables, non_snake_case, reason = "only in the copy that tests/smt/run makes")]

use crate::isa::semantics::{Concrete, Machine};
use crate::isa::{CmpOp, Size, Width};

use super::circular::Span;
use super::reduce;
use super::refine::{Decided, Order, Relation, by_bounds};
use super::word::Word;
use super::{Circular, ScalarOf, Tnum, low_mask};

/// Numbers of which nothing is known.
pub struct Numbers {
    all: [u64; 24],
    next: usize,
}

/// Whether the claim holds; `None` where it says nothing.
type Claim = Option<bool>;

impl Numbers {
    #[inline(always)]
    fn next(&mut self) -> u64 {
        self.next += 1;
        self.all[self.next - 1]
    }
    #[inline(always)]
    fn number<const N: u32>(&mut self) -> u64 {
        self.next() & low_mask(N)
    }
    /// Known bits.
    #[inline(always)]
    fn bits<const N: u32>(&mut self) -> Tnum<N> {
        Tnum::new(self.next(), self.next())
    }
    /// Known bits, and a member.
    #[inline(always)]
    fn tnum<const N: u32>(&mut self) -> (Tnum<N>, u64) {
        let set = self.bits();
        (set, set.value() | self.next() & set.mask())
    }
    /// A range.
    #[inline(always)]
    fn arcs<const N: u32>(&mut self) -> Option<Circular<N>> {
        let sign = Circular::<N>::SIGN;
        let mut half = |above: u64| {
            Span::new(self.next() & (sign - 1) | above, self.next() & (sign - 1) | above)
        };
        let (positive, negative) = (half(0), half(sign));
        Circular::non_empty(positive, negative)
    }
    /// A range, and a member.
    #[inline(always)]
    fn range<const N: u32>(&mut self) -> Option<(Circular<N>, u64)> {
        let (set, member) = (self.arcs()?, self.number::<N>());
        set.contains(member).then_some((set, member))
    }
    /// A range of one interval, and a member: its beginning and some more.
    #[inline(always)]
    fn interval<const N: u32>(&mut self) -> Option<(Circular<N>, u64)> {
        let half = self.next() & Circular::<N>::SIGN;
        let [start, length, more] = [0; 3].map(|_| self.next() & (Circular::<N>::SIGN - 1));
        if length > Circular::<N>::SIGN - 1 - start || more > length {
            return None;
        }
        let span = Span { lo: half | start, hi: (half | start) + length };
        Some((Circular::from_unsigned(span), span.lo + more))
    }
    /// Bits and range, and a member of both.
    #[inline(always)]
    fn word<const N: u32>(&mut self) -> Option<(Word<N>, u64)> {
        let (range, member) = self.range()?;
        let tnum = self.bits();
        tnum.contains(member).then_some((Word { tnum, range }, member))
    }
    /// Parts of a scalar that agree in a member.
    #[inline(always)]
    fn parts<const N: u32, const H: u32>(&mut self) -> Option<(Tnum<N>, Circular<N>, Circular<H>, u64)> {
        let (word, member) = self.word()?;
        let low = self.arcs::<H>()?;
        low.contains(member & low_mask(H)).then_some((word.tnum, word.range, low, member))
    }
    /// A scalar, not tightened, and a member.
    #[inline(always)]
    fn scalar<const N: u32, const H: u32>(&mut self) -> Option<(ScalarOf<N, H>, u64)> {
        let (tnum, wide, low, member) = self.parts()?;
        Some((ScalarOf::of(tnum, wide, low), member))
    }
}

/// The number with copies of bit `N - 1` above.
#[inline(always)]
fn signed<const N: u32>(number: u64) -> i64 {
    (number << (64 - N)).cast_signed() >> (64 - N)
}

macro_rules! claims {
    ($($(#[$doc:meta])* $name:ident [$($width:ident)+] ($n:ident, $numbers:ident) $body:block)*) => {$(
        $(#[$doc])*
        pub mod $name {
            use super::*;
            #[inline(always)]
            fn claim<const $n: u32>($numbers: &mut Numbers) -> Claim $body
            $(pub fn $width(
                a: u64, b: u64, c: u64, d: u64, e: u64, f: u64, g: u64, h: u64,
                i: u64, j: u64, k: u64, l: u64, m: u64, n: u64, o: u64, p: u64,
                q: u64, r: u64, s: u64, t: u64, u: u64, v: u64, w: u64, x: u64,
            ) -> bool {
                let all = [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x];
                claim::<{ super::widths::$width }>(&mut Numbers { all, next: 0 }).unwrap_or(true)
            })+
        }
    )*};
}

/// The same for claims on scalars: widths of the whole and of its low half.
macro_rules! scalar_claims {
    ($($(#[$doc:meta])* $name:ident [$($width:ident)+] ($n:ident, $h:ident, $numbers:ident) $body:block)*) => {$(
        $(#[$doc])*
        pub mod $name {
            use super::*;
            #[inline(always)]
            fn claim<const $n: u32, const $h: u32>($numbers: &mut Numbers) -> Claim $body
            $(pub fn $width(
                a: u64, b: u64, c: u64, d: u64, e: u64, f: u64, g: u64, h: u64,
                i: u64, j: u64, k: u64, l: u64, m: u64, n: u64, o: u64, p: u64,
                q: u64, r: u64, s: u64, t: u64, u: u64, v: u64, w: u64, x: u64,
            ) -> bool {
                let all = [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x];
                claim::<{ super::widths::$width }, { super::widths::$width / 2 }>(&mut Numbers { all, next: 0 }).unwrap_or(true)
            })+
        }
    )*};
}

#[allow(non_upper_case_globals, reason = "named like the functions")]
mod widths {
    pub const w4: u32 = 4;
    pub const w6: u32 = 6;
    pub const w8: u32 = 8;
    pub const w16: u32 = 16;
    pub const w32: u32 = 32;
    pub const w64: u32 = 64;
}

// Known bits.
claims! {
    tnum_new_keeps_its_numbers [w64] (N, numbers) {
        let (value, mask, x) = (numbers.next(), numbers.next(), numbers.number::<N>());
        let set = Tnum::<N>::new(value, mask);
        Some(set.contains(x) == ((x ^ value) & !mask & low_mask(N) == 0))
    }
    tnum_from_range [w64] (N, numbers) {
        let (lo, hi, x) = (numbers.number::<N>(), numbers.number::<N>(), numbers.number::<N>());
        Some(!(lo <= x && x <= hi) || Tnum::<N>::from_range(lo, hi).contains(x))
    }
    tnum_subset [w64] (N, numbers) {
        let ((a, x), b) = (numbers.tnum::<N>(), numbers.bits::<N>());
        Some(!a.is_subset_of(b) || b.contains(x))
    }
    tnum_join [w64] (N, numbers) {
        let ((a, x), b) = (numbers.tnum::<N>(), numbers.bits::<N>());
        Some(a.join(b).contains(x) && b.join(a).contains(x))
    }
    tnum_meet_is_exact [w64] (N, numbers) {
        let (a, b, x) = (numbers.bits::<N>(), numbers.bits::<N>(), numbers.number::<N>());
        Some(a.meet(b).is_some_and(|both| both.contains(x)) == (a.contains(x) && b.contains(x)))
    }
    tnum_widen [w64] (N, numbers) {
        let (a, b, x) = (numbers.bits::<N>(), numbers.bits::<N>(), numbers.number::<N>());
        Some(!(a.contains(x) || b.contains(x)) || a.widen(b).contains(x))
    }
    tnum_add [w64] (N, numbers) {
        let ((a, x), (b, y)) = (numbers.tnum::<N>(), numbers.tnum::<N>());
        Some(a.add(b).contains(x.wrapping_add(y) & low_mask(N)))
    }
    tnum_sub [w64] (N, numbers) {
        let ((a, x), (b, y)) = (numbers.tnum::<N>(), numbers.tnum::<N>());
        Some(a.sub(b).contains(x.wrapping_sub(y) & low_mask(N)))
    }
    tnum_and [w64] (N, numbers) {
        let ((a, x), (b, y)) = (numbers.tnum::<N>(), numbers.tnum::<N>());
        Some(a.and(b).contains(x & y))
    }
    tnum_or [w64] (N, numbers) {
        let ((a, x), (b, y)) = (numbers.tnum::<N>(), numbers.tnum::<N>());
        Some(a.or(b).contains(x | y))
    }
    tnum_xor [w64] (N, numbers) {
        let ((a, x), (b, y)) = (numbers.tnum::<N>(), numbers.tnum::<N>());
        Some(a.xor(b).contains(x ^ y))
    }
    tnum_mul [w6] (N, numbers) {
        let ((a, x), (b, y)) = (numbers.tnum::<N>(), numbers.tnum::<N>());
        Some(a.mul(b).contains(x.wrapping_mul(y) & low_mask(N)))
    }
    /// One step of long multiplication: with it, by induction over the places, `mul` at any width.
    tnum_mul_step [w64] (N, numbers) {
        let ((sum, s), (a, x), (b, y)) = (numbers.tnum::<N>(), numbers.tnum::<N>(), numbers.tnum::<N>());
        let place = numbers.next() as u32 & 63;
        if place >= N || a.possible() >> place & 1 == 0 {
            return None;
        }
        let next = if x >> place & 1 == 1 { s.wrapping_add(y << place) } else { s };
        Some(a.multiply_step(b, sum, place).contains(next & low_mask(N)))
    }
    tnum_shl [w64] (N, numbers) {
        let ((a, x), count) = (numbers.tnum::<N>(), numbers.next() as u32 % N);
        Some(a.shl(count).contains(x << count & low_mask(N)))
    }
    tnum_lshr [w64] (N, numbers) {
        let ((a, x), count) = (numbers.tnum::<N>(), numbers.next() as u32 % N);
        Some(a.lshr(count).contains(x >> count))
    }
    tnum_ashr [w64] (N, numbers) {
        let ((a, x), count) = (numbers.tnum::<N>(), numbers.next() as u32 % N);
        Some(a.ashr(count).contains((signed::<N>(x) >> count).cast_unsigned() & low_mask(N)))
    }
    tnum_remainder [w16] (N, numbers) {
        let ((a, x), (b, y)) = (numbers.tnum::<N>(), numbers.tnum::<N>());
        (y != 0).then(|| a.remainder(b).contains(x % y))
    }
    tnum_at_least_is_the_nearest [w64] (N, numbers) {
        let ((a, x), bound) = (numbers.tnum::<N>(), numbers.number::<N>());
        Some(match a.at_least(bound) {
            Some(found) => a.contains(found) && found >= bound && (x < bound || x >= found),
            None => x < bound,
        })
    }
    tnum_at_most_is_the_nearest [w64] (N, numbers) {
        let ((a, x), bound) = (numbers.tnum::<N>(), numbers.number::<N>());
        Some(match a.at_most(bound) {
            Some(found) => a.contains(found) && found <= bound && (x > bound || x <= found),
            None => x > bound,
        })
    }
}

// Ranges.
claims! {
    range_arc [w64] (N, numbers) {
        let (start, length, u) = (numbers.number::<N>(), numbers.number::<N>(), numbers.number::<N>());
        Some(u > length || Circular::<N>::arc(start, length).contains(start.wrapping_add(u) & low_mask(N)))
    }
    range_bounds [w64] (N, numbers) {
        let (a, x) = numbers.range::<N>()?;
        let (s, members) = (signed::<N>(x), |n: u64| a.contains(n));
        let within = a.umin() <= x && x <= a.umax() && a.smin() <= s && s <= a.smax();
        let mask = low_mask(N);
        let ends = [a.umin(), a.umax(), a.smin().cast_unsigned() & mask, a.smax().cast_unsigned() & mask];
        Some(within && ends.into_iter().all(members))
    }
    range_unsigned [w64] (N, numbers) {
        let (lo, hi, x) = (numbers.number::<N>(), numbers.number::<N>(), numbers.number::<N>());
        (lo <= hi).then(|| Circular::<N>::unsigned(lo, hi).contains(x) == (lo <= x && x <= hi))
    }
    range_signed [w64] (N, numbers) {
        let (lo, hi) = (signed::<N>(numbers.number::<N>()), signed::<N>(numbers.number::<N>()));
        let x = numbers.number::<N>();
        // An interval across both seams has hulls of its own.
        let holds = !(lo <= signed::<N>(x) && signed::<N>(x) <= hi) || Circular::<N>::signed(lo, hi).contains(x);
        (lo <= hi).then_some(holds)
    }
    range_subset [w64] (N, numbers) {
        let ((a, x), b) = (numbers.range::<N>()?, numbers.arcs::<N>()?);
        Some(!a.is_subset_of(b) || b.contains(x))
    }
    range_join [w64] (N, numbers) {
        let ((a, x), b) = (numbers.range::<N>()?, numbers.arcs::<N>()?);
        Some(a.join(b).contains(x) && b.join(a).contains(x))
    }
    range_meet_is_exact [w64] (N, numbers) {
        let (a, b, x) = (numbers.arcs::<N>()?, numbers.arcs::<N>()?, numbers.number::<N>());
        Some(a.meet(b).is_some_and(|both| both.contains(x)) == (a.contains(x) && b.contains(x)))
    }
    range_complement [w64] (N, numbers) {
        let (a, x) = numbers.range::<N>()?;
        Some(a.complement().contains(!x & low_mask(N)))
    }
    /// Of one interval each: of two the results are joined.
    range_add [w64 w16 w8 w6] (N, numbers) {
        let ((a, x), (b, y)) = (numbers.interval::<N>()?, numbers.interval::<N>()?);
        Some(a.add(b).contains(x.wrapping_add(y) & low_mask(N)))
    }
    range_sub [w64 w16 w8 w6] (N, numbers) {
        let ((a, x), (b, y)) = (numbers.interval::<N>()?, numbers.interval::<N>()?);
        Some(a.sub(b).contains(x.wrapping_sub(y) & low_mask(N)))
    }
    range_add_of_two_intervals [w6] (N, numbers) {
        let ((a, x), (b, y)) = (numbers.range::<N>()?, numbers.range::<N>()?);
        Some(a.add(b).contains(x.wrapping_add(y) & low_mask(N)))
    }
    range_mul [w8 w6 w4] (N, numbers) {
        let ((a, x), (b, y)) = (numbers.interval::<N>()?, numbers.interval::<N>()?);
        Some(a.mul(b).contains(x.wrapping_mul(y) & low_mask(N)))
    }
    range_udiv [w8 w6] (N, numbers) {
        let ((a, x), (b, y)) = (numbers.interval::<N>()?, numbers.interval::<N>()?);
        (y != 0).then(|| a.udiv(b).contains(x / y))
    }
    range_urem [w8 w6] (N, numbers) {
        let ((a, x), (b, y)) = (numbers.interval::<N>()?, numbers.interval::<N>()?);
        (y != 0).then(|| a.urem(b).contains(x % y))
    }
    range_sdiv [w8 w6] (N, numbers) {
        let ((a, x), (b, y)) = (numbers.interval::<N>()?, numbers.interval::<N>()?);
        let (s, t) = (signed::<N>(x), signed::<N>(y));
        (y != 0).then(|| a.sdiv(b).contains(s.wrapping_div(t).cast_unsigned() & low_mask(N)))
    }
    range_srem [w6] (N, numbers) {
        let ((a, x), (b, y)) = (numbers.interval::<N>()?, numbers.interval::<N>()?);
        let (s, t) = (signed::<N>(x), signed::<N>(y));
        (y != 0).then(|| a.srem(b).contains(s.wrapping_rem(t).cast_unsigned() & low_mask(N)))
    }
    range_and [w8 w6 w4] (N, numbers) {
        let ((a, x), (b, y)) = (numbers.interval::<N>()?, numbers.interval::<N>()?);
        Some(a.and(b).contains(x & y))
    }
    range_or [w8 w6 w4] (N, numbers) {
        let ((a, x), (b, y)) = (numbers.interval::<N>()?, numbers.interval::<N>()?);
        Some(a.or(b).contains(x | y))
    }
    range_xor [w8 w6 w4] (N, numbers) {
        let ((a, x), (b, y)) = (numbers.interval::<N>()?, numbers.interval::<N>()?);
        Some(a.xor(b).contains(x ^ y))
    }
    range_shl [w64 w32 w16] (N, numbers) {
        let ((a, x), count) = (numbers.range::<N>()?, numbers.next() as u32 % N);
        Some(a.shl(count).contains(x << count & low_mask(N)))
    }
    range_lshr [w64] (N, numbers) {
        let ((a, x), count) = (numbers.range::<N>()?, numbers.next() as u32 % N);
        Some(a.lshr(count).contains(x >> count))
    }
    range_ashr [w64] (N, numbers) {
        let ((a, x), count) = (numbers.range::<N>()?, numbers.next() as u32 % N);
        Some(a.ashr(count).contains((signed::<N>(x) >> count).cast_unsigned() & low_mask(N)))
    }
    range_widen [w64] (N, numbers) {
        let (a, b, x) = (numbers.arcs::<N>()?, numbers.arcs::<N>()?, numbers.number::<N>());
        Some(!(a.contains(x) || b.contains(x)) || a.widen(b, &[numbers.next()]).contains(x))
    }
}

/// A branch leaves the pairs for which it came out so; `None` only if there are none.
#[inline(always)]
fn narrowed<const N: u32>(relation: Relation, numbers: &mut Numbers, holds: impl Fn(u64, u64) -> bool) -> Claim {
    let ((a, x), (b, y)) = (numbers.word::<N>()?, numbers.word::<N>()?);
    if !holds(x, y) {
        return None;
    }
    Some(relation.narrow(a, b).is_some_and(|(a, b)| a.contains(x) && b.contains(y)))
}

// Branches.
claims! {
    branch_equal [w64] (N, numbers) { narrowed::<N>(Relation::Equal, numbers, |x, y| x == y) }
    branch_different [w64] (N, numbers) { narrowed::<N>(Relation::Different, numbers, |x, y| x != y) }
    branch_common_bit [w64] (N, numbers) { narrowed::<N>(Relation::CommonBit, numbers, |x, y| x & y != 0) }
    branch_no_common_bit [w64] (N, numbers) { narrowed::<N>(Relation::NoCommonBit, numbers, |x, y| x & y == 0) }
    branch_less [w64] (N, numbers) { narrowed::<N>(Relation::Less(Order::Unsigned), numbers, |x, y| x < y) }
    branch_at_most [w64] (N, numbers) { narrowed::<N>(Relation::AtMost(Order::Unsigned), numbers, |x, y| x <= y) }
    branch_greater [w64] (N, numbers) { narrowed::<N>(Relation::Greater(Order::Unsigned), numbers, |x, y| x > y) }
    branch_at_least [w64] (N, numbers) { narrowed::<N>(Relation::AtLeast(Order::Unsigned), numbers, |x, y| x >= y) }
    branch_signed_less [w64] (N, numbers) {
        narrowed::<N>(Relation::Less(Order::Signed), numbers, |x, y| signed::<N>(x) < signed::<N>(y))
    }
    branch_signed_at_most [w64] (N, numbers) {
        narrowed::<N>(Relation::AtMost(Order::Signed), numbers, |x, y| signed::<N>(x) <= signed::<N>(y))
    }
    branch_signed_greater [w64] (N, numbers) {
        narrowed::<N>(Relation::Greater(Order::Signed), numbers, |x, y| signed::<N>(x) > signed::<N>(y))
    }
    branch_signed_at_least [w64] (N, numbers) {
        narrowed::<N>(Relation::AtLeast(Order::Signed), numbers, |x, y| signed::<N>(x) >= signed::<N>(y))
    }
}

/// The rules of `isa::semantics`: the relation of each jump.
#[inline(always)]
fn compared(op: CmpOp, width: Width, x: u64, y: u64) -> bool {
    crate::isa::semantics::compare(&mut Concrete, op, width, x, y)
}

/// Each jump by a number.
#[inline(always)]
fn jump(number: u64) -> CmpOp {
    match number {
        0 => CmpOp::Eq,
        1 => CmpOp::Ne,
        2 => CmpOp::Set,
        3 => CmpOp::Gt,
        4 => CmpOp::Ge,
        5 => CmpOp::Lt,
        6 => CmpOp::Le,
        7 => CmpOp::SGt,
        8 => CmpOp::SGe,
        9 => CmpOp::SLt,
        _ => CmpOp::SLe,
    }
}

scalar_claims! {
    /// A decided jump goes that way.
    decide_at_64 [w64] (N, H, numbers) {
        let ((a, x), (b, y)) = (numbers.scalar::<N, H>()?, numbers.scalar::<N, H>()?);
        let op = jump(numbers.next());
        let (a, b) = (a.wide_word(), b.wide_word());
        let apart = match (a.tnum.constant(), b.tnum.constant()) {
            (Some(number), _) => !b.contains(number),
            (None, Some(number)) => !a.contains(number),
            (None, None) => false,
        };
        Some(match by_bounds(op, a, b, apart) {
            Decided::Way(way) => way == compared(op, Width::W64, x, y),
            Decided::Open | Decided::Unclear => true,
        })
    }
    /// The rules for both outcomes of every jump.
    relation_of_every_jump [w64] (N, H, numbers) {
        let (x, y, taken) = (numbers.next(), numbers.next(), numbers.next() & 1 == 1);
        let op = jump(numbers.next());
        let (s, t) = (x.cast_signed(), y.cast_signed());
        let holds = match Relation::of(op, taken) {
            Relation::Equal => x == y,
            Relation::Different => x != y,
            Relation::CommonBit => x & y != 0,
            Relation::NoCommonBit => x & y == 0,
            Relation::Less(Order::Unsigned) => x < y,
            Relation::AtMost(Order::Unsigned) => x <= y,
            Relation::Greater(Order::Unsigned) => x > y,
            Relation::AtLeast(Order::Unsigned) => x >= y,
            Relation::Less(Order::Signed) => s < t,
            Relation::AtMost(Order::Signed) => s <= t,
            Relation::Greater(Order::Signed) => s > t,
            Relation::AtLeast(Order::Signed) => s >= t,
        };
        Some(holds == (compared(op, Width::W64, x, y) == taken))
    }
}

#[inline(always)]
fn zero_extended<const N: u32>(bits: u32, numbers: &mut Numbers) -> Claim {
    let (a, x) = numbers.word::<N>()?;
    Some(a.zero_extend(bits).contains(x & low_mask(bits)))
}

#[inline(always)]
fn sign_extended<const N: u32>(bits: u32, numbers: &mut Numbers) -> Claim {
    let (a, x) = numbers.word::<N>()?;
    let extended = (x << (64 - bits)).cast_signed() >> (64 - bits);
    Some(a.sign_extend(bits).contains(extended.cast_unsigned() & low_mask(N)))
}

#[inline(always)]
fn shifted_wide<const N: u32, const H: u32>(count: u64, numbers: &mut Numbers) -> Claim {
    let (a, x) = numbers.word::<H>()?;
    let by = Word::<N> { tnum: Tnum::known(count), range: Circular::known(count) };
    Some(a.shl_wide(by).contains(x << count & low_mask(N)))
}

// The whole and its low half.
scalar_claims! {
    tighten_low_to_bits [w64] (N, H, numbers) {
        let (tnum, wide, low, x) = numbers.parts::<N, H>()?;
        Some(reduce::within_bits(low, tnum.truncate()).is_some_and(|low| low.contains(x & low_mask(H))))
    }
    /// The smallest number from a bound on with those bits and such a low half: of such numbers none is skipped.
    tighten_from_below [w64 w32 w16] (N, H, numbers) {
        let ((bits, x), low, bound) = (numbers.tnum::<N>(), numbers.arcs::<H>()?, numbers.number::<N>());
        if x < bound || !low.contains(x & low_mask(H)) {
            return None;
        }
        let low = reduce::within_bits(low, bits.truncate())?;
        Some(reduce::at_least(bits, low, bound).is_some_and(|found| bound <= found && found <= x))
    }
    tighten_from_above [w64 w32 w16] (N, H, numbers) {
        let ((bits, x), low, bound) = (numbers.tnum::<N>(), numbers.arcs::<H>()?, numbers.number::<N>());
        if x > bound || !low.contains(x & low_mask(H)) {
            return None;
        }
        let low = reduce::within_bits(low, bits.truncate())?;
        Some(reduce::at_most(bits, low, bound).is_some_and(|found| x <= found && found <= bound))
    }
    hull_of_a_range [w64] (N, H, numbers) {
        let (a, x) = numbers.range::<N>()?;
        Some(reduce::hull(a).contains(x))
    }
    low_half_of_a_range [w64] (N, H, numbers) {
        let (a, x) = numbers.range::<N>()?;
        Some(a.truncate::<H>().contains(x & low_mask(H)))
    }
    low_half_extended [w64] (N, H, numbers) {
        let (a, x) = numbers.range::<H>()?;
        Some(a.zero_extend::<N>().contains(x))
    }
    low_bits_of_the_whole [w64] (N, H, numbers) {
        let (a, x) = numbers.tnum::<N>();
        let low: Tnum<H> = a.truncate();
        let back: Tnum<N> = low.as_low_bits();
        Some(low.contains(x & low_mask(H)) && back.contains(x) && low.zero_extend::<N>().contains(x & low_mask(H)))
    }
    block_is_what_it_says [w64] (N, H, numbers) {
        let (tnum, wide, low) = (numbers.bits::<N>(), numbers.arcs::<N>()?, numbers.arcs::<H>()?);
        let x = numbers.number::<N>();
        let each = [tnum.contains(x), wide.contains(x), low.contains(x & low_mask(H))];
        // The whole's parts say the same; the low half's follow from them.
        Some(!reduce::is_block(tnum, wide, low) || each[0] == each[1] && (!each[0] || each[2]))
    }
    scalar_subset [w64] (N, H, numbers) {
        let ((a, x), (b, _)) = (numbers.scalar::<N, H>()?, numbers.scalar::<N, H>()?);
        Some(!a.is_subset_of(b) || b.contains(x))
    }
    zero_extend_8 [w64] (N, H, numbers) { zero_extended::<N>(8, numbers) }
    zero_extend_16 [w64] (N, H, numbers) { zero_extended::<N>(16, numbers) }
    zero_extend_32 [w64] (N, H, numbers) { zero_extended::<N>(32, numbers) }
    sign_extend_8 [w64] (N, H, numbers) { sign_extended::<N>(8, numbers) }
    sign_extend_16 [w64] (N, H, numbers) { sign_extended::<N>(16, numbers) }
    sign_extend_32 [w64] (N, H, numbers) { sign_extended::<N>(32, numbers) }
    shift_left_by_32_on_low_halves [w64] (N, H, numbers) { shifted_wide::<N, H>(32, numbers) }
    shift_left_by_45_on_low_halves [w64] (N, H, numbers) { shifted_wide::<N, H>(45, numbers) }
    shift_left_by_63_on_low_halves [w64] (N, H, numbers) { shifted_wide::<N, H>(63, numbers) }
    signed_bounds_survive_an_extension [w64] (N, H, numbers) {
        let (a, x) = numbers.range::<H>()?;
        Some(Circular::<N>::signed(a.smin(), a.smax()).contains(signed::<H>(x).cast_unsigned() & low_mask(N)))
    }
}

// Claims that are wrong: a solver that finds no exception of these proves nothing.
claims! {
    wrong_sum_forgets_carries [w64] (N, numbers) {
        let ((a, x), (b, y)) = (numbers.tnum::<N>(), numbers.tnum::<N>());
        let bits = Tnum::<N>::new(a.value().wrapping_add(b.value()), a.mask() | b.mask());
        Some(bits.contains(x.wrapping_add(y) & low_mask(N)))
    }
    wrong_signed_as_unsigned [w64] (N, numbers) {
        let ((a, x), (b, y)) = (numbers.word::<N>()?, numbers.word::<N>()?);
        if signed::<N>(x) >= signed::<N>(y) {
            return None;
        }
        let narrowed = Relation::Less(Order::Unsigned).narrow(a, b);
        Some(narrowed.is_some_and(|(a, b)| a.contains(x) && b.contains(y)))
    }
    wrong_panics [w64] (N, numbers) {
        let x = numbers.number::<N>();
        Some(x + 1 > x)
    }
    wrong_loop_is_longer_than_looked_at [w8] (N, numbers) {
        let (mut x, mut turns) = (numbers.number::<N>(), 0);
        while x * x > 3 {
            x -= 1;
            turns += 1;
        }
        Some(turns < 1000)
    }
}
