//! Every transfer function and refinement against all members of its operands, at 3 to 5 bits.
#![forbid(unsafe_code)]

use super::super::word::Word;
use super::super::{Circular, ScalarOf, Tnum, decide, refine};
use super::{Numbers, all_ranges, all_tnums, members, numbers, signed, some_scalars};
use crate::isa::{CmpOp, Width};

/// An operation at a width of `n` bits; `None` where its contract excludes the operands.
type Concrete = fn(u64, u64, u32) -> Option<u64>;

fn sdiv(a: u64, b: u64, n: u32) -> Option<u64> {
    signed(a, n).checked_div(signed(b, n)).map(i64::cast_unsigned)
}
fn srem(a: u64, b: u64, n: u32) -> Option<u64> {
    signed(a, n).checked_rem(signed(b, n)).map(i64::cast_unsigned)
}
fn shift(a: u64, b: u64, n: u32, f: fn(u64, u64, u32) -> u64) -> Option<u64> {
    (b < u64::from(n)).then(|| f(a, b, n))
}

/// Runs `check` for each operation: its name, whether the abstract one is the best possible for bits and for
/// ranges, both forms.
macro_rules! for_each_operation {
    ($check:ident) => {
        $check!(add, true, true, |a, b, _| Some(a.wrapping_add(b)));
        $check!(sub, true, true, |a, b, _| Some(a.wrapping_sub(b)));
        $check!(mul, false, false, |a, b, _| Some(a.wrapping_mul(b)));
        $check!(and, true, true, |a, b, _| Some(a & b));
        $check!(or, true, true, |a, b, _| Some(a | b));
        $check!(xor, true, true, |a, b, _| Some(a ^ b));
        $check!(udiv, false, false, |a, b, _| a.checked_div(b));
        $check!(urem, false, false, |a, b, _| a.checked_rem(b));
        $check!(sdiv, false, false, sdiv);
        $check!(srem, false, false, srem);
        $check!(shl, true, false, |a, b, n| shift(a, b, n, |a, b, _| a << b));
        $check!(lshr, true, true, |a, b, n| shift(a, b, n, |a, b, _| a >> b));
        $check!(ashr, true, true, |a, b, n| shift(a, b, n, |a, b, n| (signed(a, n) >> b).cast_unsigned()));
    };
}

/// The results over all members, as a bit set.
fn image<const N: u32>(a: u64, b: u64, op: Concrete) -> u64 {
    let pairs = numbers(a).flat_map(|x| numbers(b).map(move |y| (x, y)));
    pairs.filter_map(|(x, y)| op(x, y, N)).fold(0, |set, n| set | 1 << (n & ((1 << N) - 1)))
}

#[test]
fn known_bits_hold_every_result() {
    const N: u32 = 4;
    let any = Circular::<N>::unknown();
    let tnums: Vec<_> = all_tnums::<N>().into_iter().map(|t| (t, members::<N>(|n| t.contains(n)))).collect();
    macro_rules! check {
        ($name:ident, $best:expr, $_:expr, $concrete:expr) => {
            for (a, xs) in &tnums {
                for (b, ys) in &tnums {
                    let result = Word { tnum: *a, range: any }.$name(Word { tnum: *b, range: any }).tnum;
                    let image = image::<N>(*xs, *ys, $concrete);
                    let held = members::<N>(|n| result.contains(n));
                    assert_eq!(image & !held, 0, "{} {a:?} {b:?} = {result:?}", stringify!($name));
                    let best = numbers(image).map(Tnum::known).reduce(Tnum::join);
                    if $best && let Some(best) = best {
                        assert_eq!(result, best, "{} {a:?} {b:?}", stringify!($name));
                    }
                }
            }
        };
    }
    for_each_operation!(check);
}

fn ranges_hold<const N: u32>(step: usize) {
    let ranges: Vec<_> =
        all_ranges::<N>().into_iter().map(|r| (r, members::<N>(|n| r.contains(n)))).collect();
    let any = Tnum::<N>::unknown();
    macro_rules! check {
        ($name:ident, $_:expr, $best:expr, $concrete:expr) => {
            for pair in (0..ranges.len() * ranges.len()).step_by(step) {
                let ((a, xs), (b, ys)) = (ranges[pair / ranges.len()], ranges[pair % ranges.len()]);
                let result = Word { tnum: any, range: a }.$name(Word { tnum: any, range: b }).range;
                let image = image::<N>(xs, ys, $concrete);
                let held = members::<N>(|n| result.contains(n));
                assert_eq!(image & !held, 0, "{} {a:?} {b:?} = {result:?}", stringify!($name));
                let best = numbers(image).map(Circular::known).reduce(Circular::join);
                if $best && let Some(best) = best {
                    assert_eq!(result, best, "{} {a:?} {b:?}", stringify!($name));
                }
            }
        };
    }
    for_each_operation!(check);
}

#[test]
fn ranges_hold_every_result() {
    ranges_hold::<3>(1);
    ranges_hold::<4>(211);
}

#[test]
fn scalars_hold_every_result_at_both_widths() {
    scalars_hold::<3, 1>(3, 4000);
    scalars_hold::<4, 2>(199, 4000);
    scalars_hold::<5, 3>(40_009, 1500);
}

fn scalars_hold<const N: u32, const H: u32>(step: usize, pairs: usize) {
    let scalars: Vec<_> =
        some_scalars::<N, H>(step).into_iter().map(|s| (s, members::<N>(|n| s.contains(n)))).collect();
    let low = |set: u64| numbers(set).fold(0u64, |set, n| set | 1 << (n & ((1 << H) - 1)));
    let mut random = Numbers(1);
    for _ in 0..pairs {
        let (a, xs) = scalars[random.below(scalars.len())];
        let (b, ys) = scalars[random.below(scalars.len())];
        macro_rules! check {
            ($name:ident, $_:expr, $__:expr, $concrete:expr) => {
                for (width, image) in [
                    (Width::W64, image::<N>(xs, ys, $concrete)),
                    (Width::W32, image::<H>(low(xs), low(ys), $concrete)),
                ] {
                    let result = a.$name(width, b);
                    let held = members::<N>(|n| result.contains(n));
                    assert_eq!(image & !held, 0, "{} {width:?} {a:?}, {b:?} = {result:?}", stringify!($name));
                }
            };
        }
        for_each_operation!(check);
    }
}

#[test]
fn extensions_hold_every_result() {
    for a in some_scalars::<4, 2>(37) {
        let xs = members::<4>(|n| a.contains(n));
        for bits in 1..4 {
            let zero = a.zero_extend_from(bits);
            let sign = a.sign_extend_from(Width::W64, bits);
            for x in numbers(xs) {
                let narrow = x & ((1 << bits) - 1);
                assert!(zero.contains(narrow), "{a:?} zext {bits} = {zero:?}");
                let wide = signed(narrow, bits).cast_unsigned();
                assert!(sign.contains(wide & 0xf), "{a:?} sext {bits} = {sign:?}");
                if bits < 2 {
                    let half = a.sign_extend_from(Width::W32, bits);
                    assert!(half.contains(wide & 0x3), "{a:?} sext32 {bits} = {half:?}");
                }
            }
        }
        let cast = a.cast32();
        assert!(numbers(xs).all(|x| cast.contains(x & 3)), "{a:?} cast = {cast:?}");
    }
}

fn holds(op: CmpOp, a: u64, b: u64, n: u32) -> bool {
    let (s, t) = (signed(a, n), signed(b, n));
    match op {
        CmpOp::Eq => a == b,
        CmpOp::Ne => a != b,
        CmpOp::Set => a & b != 0,
        CmpOp::Gt => a > b,
        CmpOp::Ge => a >= b,
        CmpOp::Lt => a < b,
        CmpOp::Le => a <= b,
        CmpOp::SGt => s > t,
        CmpOp::SGe => s >= t,
        CmpOp::SLt => s < t,
        CmpOp::SLe => s <= t,
    }
}

#[test]
fn refinement_keeps_every_pair_that_satisfies_the_branch() {
    let close = refinement_keeps::<3, 1>(3, 5000);
    assert!(close > 97, "{close}% of the refined members have a partner");
    let close = refinement_keeps::<4, 2>(199, 5000);
    assert!(close > 95, "{close}% of the refined members have a partner");
    refinement_keeps::<5, 3>(40_009, 1000);
}

/// How many of the members that refinement leaves have a partner, in percent.
fn refinement_keeps<const N: u32, const H: u32>(step: usize, pairs: usize) -> u32 {
    let scalars = some_scalars::<N, H>(step);
    let mut random = Numbers(2);
    let (mut kept, mut needed) = (0, 0);
    for _ in 0..pairs {
        let (a, b) = (scalars[random.below(scalars.len())], scalars[random.below(scalars.len())]);
        let (xs, ys) = (members::<N>(|n| a.contains(n)), members::<N>(|n| b.contains(n)));
        for op in CmpOp::ALL {
            for width in [Width::W32, Width::W64] {
                let n = if width == Width::W32 { H } else { N };
                let seen = |number: u64| number & ((1 << n) - 1);
                for taken in [false, true] {
                    let pairs = numbers(xs).flat_map(|x| numbers(ys).map(move |y| (x, y)));
                    let satisfying = pairs.filter(|&(x, y)| holds(op, seen(x), seen(y), n) == taken);
                    let (p, q) = satisfying.fold((0, 0), |(p, q), (x, y)| (p | 1u64 << x, q | 1u64 << y));
                    let refined = refine(op, width, a, b, taken);
                    let (left, right) = refined.map_or((0, 0), |(a, b)| {
                        (members::<N>(|n| a.contains(n)), members::<N>(|n| b.contains(n)))
                    });
                    assert_eq!(p & !left, 0, "{a:?} {op:?} {width:?} {b:?} {taken}: {refined:?}");
                    assert_eq!(q & !right, 0, "{a:?} {op:?} {width:?} {b:?} {taken}: {refined:?}");
                    assert_eq!((left & !xs, right & !ys), (0, 0), "{a:?} {op:?} {b:?} grew to {refined:?}");
                    kept += left.count_ones() + right.count_ones();
                    needed += p.count_ones() + q.count_ones();
                    if refined.is_none() {
                        assert_eq!(decide(op, width, a, b), Some(!taken), "{a:?} {op:?} {width:?} {b:?}");
                    }
                }
            }
        }
    }
    needed * 100 / kept
}

#[test]
fn reduction_loses_no_member_and_finds_every_contradiction() {
    let close = reduction_loses_nothing::<3, 1>(1);
    assert!(close > 98, "{close}% are reduced to the best bounds");
    let close = reduction_loses_nothing::<4, 2>(61);
    assert!(close > 98, "{close}% are reduced to the best bounds");
}

/// How many scalars come out as small as can be, in percent.
fn reduction_loses_nothing<const N: u32, const H: u32>(step: usize) -> usize {
    let (ranges, lows) = (all_ranges::<N>(), all_ranges::<H>());
    let (mut total, mut best, mut index) = (0, 0, 0);
    for tnum in all_tnums::<N>() {
        for wide in &ranges {
            for low in &lows {
                index += 1;
                if index % step != 0 {
                    continue;
                }
                let is_member =
                    |n: u64| tnum.contains(n) && wide.contains(n) && low.contains(n & ((1 << H) - 1));
                let expect = members::<N>(is_member);
                let reduced = ScalarOf::<N, H>::new(tnum, *wide, *low);
                let held = members::<N>(|n| reduced.is_some_and(|s| s.contains(n)));
                assert_eq!(held, expect, "{tnum:?} {wide:?} {low:?} = {reduced:?}");
                assert_eq!(reduced.is_none(), expect == 0, "{tnum:?} {wide:?} {low:?}");
                let Some(reduced) = reduced else { continue };
                total += 1;
                let hull = numbers(expect).map(ScalarOf::known).reduce(ScalarOf::join);
                best += usize::from(hull == Some(reduced));
                assert!(reduced.contains(reduced.umin()) && reduced.contains(reduced.umax()), "{reduced:?}");
            }
        }
    }
    best * 100 / total
}
