//! Random scalars of 64 bits: the meaning of every instruction on them against the meaning on their members.
#![forbid(unsafe_code)]

use super::super::{AbstractScalar, Circular, Scalar, Tnum, decide, refine};
use super::Numbers;
use crate::isa::semantics::{Concrete, alu, compare, swap};
use crate::isa::{AluOp, ByteOrder, CmpOp, Sign, Size, Width};

const INTERESTING: [u64; 14] = [
    0,
    1,
    2,
    31,
    32,
    63,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    i64::MAX as u64,
    1 << 63,
    u64::MAX - 1,
    u64::MAX,
];

fn number(random: &mut Numbers) -> u64 {
    match random.below(3) {
        0 => INTERESTING[random.below(INTERESTING.len())],
        1 => {
            let near = INTERESTING[random.below(INTERESTING.len())];
            near.wrapping_add(random.next() % 17).wrapping_sub(8)
        }
        _ => random.next() >> random.below(64),
    }
}

/// A scalar and one of its members.
fn scalar(random: &mut Numbers) -> (Scalar, u64) {
    let member = number(random);
    let tnum = match random.below(4) {
        0 => Tnum::known(member),
        1 => Tnum::unknown(),
        _ => Tnum::new(member, random.next() & random.next()),
    };
    let around = |random: &mut Numbers| {
        let mask = u64::MAX >> random.below(64);
        (random.next() & mask, random.next() & mask)
    };
    let (down, up) = around(random);
    let wide = match random.below(3) {
        0 => Circular::unknown(),
        1 => Circular::arc(member.wrapping_sub(down), down.saturating_add(up)),
        _ => Circular::unsigned(member.saturating_sub(down), member.saturating_add(up)),
    };
    let (down, up) = around(random);
    let low = match random.below(2) {
        0 => Circular::unknown(),
        _ => Circular::arc(member.wrapping_sub(down & 0xffff), (down & 0xffff) + (up & 0xffff_ffff)),
    };
    let scalar = Scalar::new(tnum, wide, low).expect("it has a member");
    assert!(scalar.contains(member), "{scalar:?} {member:#x}");
    (scalar, member)
}

#[test]
fn arithmetic_holds_at_64_bits() {
    let mut random = Numbers(4);
    for _ in 0..6000 {
        let (a, x) = scalar(&mut random);
        let (b, y) = scalar(&mut random);
        for op in AluOp::ALL {
            for width in [Width::W32, Width::W64] {
                let held = alu(&mut AbstractScalar, op, width, a, b);
                let result = alu(&mut Concrete, op, width, x, y);
                assert!(held.contains(result), "{op:?} {width:?} {a:?}, {b:?} = {held:?} lacks {result:#x}");
            }
        }
        for order in [ByteOrder::Little, ByteOrder::Big, ByteOrder::Swap] {
            for size in [Size::H, Size::W, Size::DW] {
                let held = swap(&mut AbstractScalar, order, size, a);
                let result = swap(&mut Concrete, order, size, x);
                assert!(held.contains(result), "{order:?} {size:?} {a:?} = {held:?} lacks {result:#x}");
            }
        }
        for size in [Size::B, Size::H, Size::W, Size::DW] {
            let result = x << (64 - size.bits()) >> (64 - size.bits());
            assert!(a.extend(size, Sign::Zero).contains(result));
            assert!(Scalar::loaded(size, Sign::Zero).contains(result));
            let result = (x << (64 - size.bits())).cast_signed() >> (64 - size.bits());
            assert!(a.extend(size, Sign::Signed).contains(result.cast_unsigned()));
            assert!(Scalar::loaded(size, Sign::Signed).contains(result.cast_unsigned()));
        }
    }
}

#[test]
fn constants_give_constants() {
    let mut random = Numbers(5);
    for _ in 0..2000 {
        let (x, y) = (number(&mut random), number(&mut random));
        for op in AluOp::ALL {
            for width in [Width::W32, Width::W64] {
                let result = alu(&mut Concrete, op, width, x, y);
                let held = alu(&mut AbstractScalar, op, width, Scalar::known(x), Scalar::known(y));
                assert_eq!(held, Scalar::known(result), "{op:?} {width:?} {x:#x} {y:#x}");
            }
        }
        for op in CmpOp::ALL {
            for width in [Width::W32, Width::W64] {
                let holds = compare(&mut Concrete, op, width, x, y);
                let decided = decide(op, width, Scalar::known(x), Scalar::known(y));
                assert_eq!(decided, Some(holds), "{op:?} {width:?} {x:#x} {y:#x}");
            }
        }
    }
}

#[test]
fn refinement_holds_at_64_bits() {
    let mut random = Numbers(6);
    for _ in 0..10_000 {
        let (a, x) = scalar(&mut random);
        let (b, y) = scalar(&mut random);
        for op in CmpOp::ALL {
            for width in [Width::W32, Width::W64] {
                let holds = compare(&mut Concrete, op, width, x, y);
                let refined = refine(op, width, a, b, holds);
                let kept = refined.is_some_and(|(a, b)| a.contains(x) && b.contains(y));
                assert!(kept, "{a:?} {op:?} {width:?} {b:?} {holds}: {refined:?} lacks {x:#x}, {y:#x}");
                assert_ne!(decide(op, width, a, b), Some(!holds));
                let (refined_a, refined_b) = refined.unwrap();
                assert!(refined_a.is_subset_of(a) && refined_b.is_subset_of(b), "{a:?} {op:?} {b:?}");
            }
        }
    }
}

#[test]
fn join_and_widening_hold_at_64_bits() {
    let mut random = Numbers(7);
    for _ in 0..10_000 {
        let (a, x) = scalar(&mut random);
        let (b, y) = scalar(&mut random);
        for held in [a.join(b), a.widen(b, &[number(&mut random), number(&mut random)])] {
            assert!(held.contains(x) && held.contains(y), "{a:?} {b:?} {held:?}");
            assert!(a.is_subset_of(held) && b.is_subset_of(held), "{a:?} {b:?} {held:?}");
        }
        if a.contains(y) && b.contains(y) {
            assert!(a.meet(b).is_some_and(|both| both.contains(y)), "{a:?} {b:?}");
        }
    }
}
