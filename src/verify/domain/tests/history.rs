//! The classes of errors by which verifiers have accepted programs that reach out of bounds, one test each.
//!
//! Each computes a value that an unsound rule gets wrong, asserts that the real one is held, and where the
//! rule has a right answer that is useful, that it is found.
#![forbid(unsafe_code)]

use super::super::{AbstractScalar, Scalar, Tnum, decide, refine};
use crate::isa::semantics::alu;
use crate::isa::{AluOp, CmpOp, Sign, Size, Width};

const LOW: u64 = 0xffff_ffff;

fn run(op: AluOp, width: Width, a: Scalar, b: Scalar) -> Scalar {
    alu(&mut AbstractScalar, op, width, a, b)
}

fn bits(value: u64, mask: u64) -> Scalar {
    Scalar::from_tnum(Tnum::new(value, mask))
}

/// The side of a branch where a value compared with a constant came out so.
fn side(op: CmpOp, width: Width, value: Scalar, with: i64, taken: bool) -> Scalar {
    refine(op, width, value, Scalar::known(with.cast_unsigned()), taken).unwrap().0
}

#[test]
fn mov32_of_minus_one_is_not_minus_one() {
    let moved = run(AluOp::Mov, Width::W32, Scalar::unknown(), Scalar::known(u64::MAX));
    assert_eq!(moved.constant(), Some(LOW));
    assert_eq!(decide(CmpOp::Eq, Width::W64, moved, Scalar::known(u64::MAX)), Some(false));
}

#[test]
fn mov32_keeps_no_stale_signed_bounds() {
    let negative = Scalar::signed(-5, -1);
    let moved = run(AluOp::Mov, Width::W32, Scalar::unknown(), negative);
    assert_eq!((moved.smin(), moved.smax()), (0xffff_fffb, 0xffff_ffff));
    assert_eq!((moved.s32_min(), moved.s32_max()), (-5, -1));
}

#[test]
fn rsh32_shifts_in_no_upper_half() {
    let value = Scalar::known(0x1_0000_0000);
    assert_eq!(run(AluOp::Rsh, Width::W32, value, Scalar::known(1)).constant(), Some(0));
    let shifted = run(AluOp::Rsh, Width::W32, Scalar::unknown(), Scalar::known(31));
    assert_eq!((shifted.umin(), shifted.umax()), (0, 1));
}

#[test]
fn jmp32_says_nothing_of_an_unknown_upper_half() {
    for (op, taken) in [(CmpOp::Lt, true), (CmpOp::Le, true), (CmpOp::SLe, true), (CmpOp::Gt, false)] {
        let value = side(op, Width::W32, Scalar::unknown(), 8, taken);
        assert!(value.contains(0x1_0000_0003), "{op:?}");
        assert!(value.umax() > LOW, "{op:?}");
    }
    let value = side(CmpOp::Eq, Width::W32, Scalar::unknown(), 1, true);
    assert_eq!((value.constant(), value.low().constant()), (None, Some(1)));
}

#[test]
fn jmp32_narrows_the_whole_when_the_upper_half_is_known() {
    let value = side(CmpOp::Lt, Width::W32, Scalar::loaded(Size::W, Sign::Zero), 8, true);
    assert_eq!((value.umin(), value.umax()), (0, 7));
    let value = side(CmpOp::SLt, Width::W32, Scalar::unsigned(0, LOW), 0, true);
    assert_eq!((value.umin(), value.umax()), (0x8000_0000, LOW));
}

#[test]
fn or32_bounds_come_from_the_low_halves() {
    // The low half of the operand is 0 or more although the whole is at most 1 in no order.
    let value = bits(0, 0x1_0000_0001);
    let ored = run(AluOp::Or, Width::W32, value, Scalar::known(0));
    assert_eq!((ored.umin(), ored.umax()), (0, 1));
    let ored = run(AluOp::Or, Width::W64, value, Scalar::known(0x1_0000_0000));
    assert!(ored.contains(0x1_0000_0000) && ored.contains(0x1_0000_0001));
}

#[test]
fn bitwise32_on_constants_in_the_low_half_only() {
    // Low half known, upper half not: the low results are known and the whole is not.
    let value = bits(1, 0xffff_ffff_0000_0000);
    for (op, expect) in [(AluOp::And, 1), (AluOp::Or, 3), (AluOp::Xor, 2)] {
        let with = bits(3, 0xffff_ffff_0000_0000);
        let whole = run(op, Width::W64, value, with);
        assert_eq!((whole.low().constant(), whole.constant()), (Some(expect), None), "{op:?}");
        assert_eq!(run(op, Width::W32, value, with).constant(), Some(expect), "{op:?}");
    }
}

#[test]
fn signed_check_of_the_whole_says_nothing_of_the_low_half() {
    // After 0 s<= x s<= 0x100000000 the low half is still anything.
    let value = side(CmpOp::SGe, Width::W64, Scalar::unknown(), 0, true);
    let value = side(CmpOp::SLe, Width::W64, value, 0x1_0000_0000, true);
    assert_eq!((value.u32_min(), value.u32_max()), (0, u32::MAX));
    // And a span of exactly 2^32 numbers covers every low half.
    let value = Scalar::unsigned(5, 0x1_0000_0004);
    assert_eq!((value.u32_min(), value.u32_max()), (0, u32::MAX));
}

#[test]
fn signed_low_half_is_known_when_the_whole_is_small() {
    let value = Scalar::signed(-3, 4);
    assert_eq!((value.s32_min(), value.s32_max()), (-3, 4));
    assert_eq!((value.u32_min(), value.u32_max()), (0, u32::MAX));
}

#[test]
fn shl32_drops_bits_and_the_upper_half() {
    let value = bits(0x8000_0000, 1);
    let shifted = run(AluOp::Lsh, Width::W32, value, Scalar::known(1));
    assert_eq!((shifted.umin(), shifted.umax()), (0, 2));
    // The count is taken modulo 32, not 64.
    assert_eq!(run(AluOp::Lsh, Width::W32, Scalar::known(1), Scalar::known(33)).constant(), Some(2));
    let counted = run(AluOp::Lsh, Width::W32, Scalar::known(1), Scalar::unsigned(32, 33));
    assert!(counted.contains(1) && counted.contains(2));
}

#[test]
fn mul32_wraps_at_32_bits() {
    let product = run(AluOp::Mul, Width::W32, Scalar::unsigned(0, 0x1_0000), Scalar::known(0x1_0000));
    assert!(product.contains(0) && product.contains(0xffff_0000));
    assert!(product.umax() <= LOW);
    let product = run(AluOp::Mul, Width::W64, Scalar::unsigned(0, 1 << 32), Scalar::known(1 << 32));
    assert!(product.contains(0));
    let product = run(AluOp::Mul, Width::W64, Scalar::unsigned(0, 1), Scalar::unsigned(0, u64::MAX - 1));
    assert_eq!(product.umax(), u64::MAX - 1);
    let product = run(AluOp::Mul, Width::W64, Scalar::unsigned(0, 100), Scalar::known(8));
    assert_eq!((product.umin(), product.umax()), (0, 800));
}

#[test]
fn add32_wraps_and_leaves_the_whole_positive() {
    let sum = run(AluOp::Add, Width::W32, Scalar::unsigned(0xffff_fff0, LOW), Scalar::known(0x10));
    assert_eq!((sum.umin(), sum.umax()), (0, 15));
    let sum = run(AluOp::Add, Width::W32, Scalar::unsigned(0xffff_fff8, LOW), Scalar::unsigned(0, 8));
    assert!(sum.contains(0) && sum.contains(7) && sum.contains(LOW) && sum.umax() <= LOW);
}

#[test]
fn arsh32_takes_the_sign_of_the_low_half() {
    let shifted = run(AluOp::Arsh, Width::W32, Scalar::known(0x8000_0000), Scalar::known(31));
    assert_eq!(shifted.constant(), Some(LOW));
    let shifted = run(AluOp::Arsh, Width::W32, Scalar::known(0xffff_ffff_0000_0001), Scalar::known(1));
    assert_eq!(shifted.constant(), Some(0));
}

#[test]
fn signed_division_of_the_minimum_wraps() {
    let min = i64::MIN.cast_unsigned();
    let all = Scalar::signed(-1, -1);
    assert_eq!(run(AluOp::SDiv, Width::W64, Scalar::known(min), all).constant(), Some(min));
    let divisor = Scalar::signed(-1, 1);
    let quotient = run(AluOp::SDiv, Width::W64, Scalar::known(min), divisor);
    assert!(quotient.contains(min) && quotient.contains(0));
}

#[test]
fn division_by_a_possible_zero_gives_zero_and_remainder_the_dividend() {
    let dividend = Scalar::unsigned(100, 200);
    let quotient = run(AluOp::Div, Width::W64, dividend, Scalar::unsigned(0, 2));
    assert_eq!((quotient.umin(), quotient.umax()), (0, 200));
    let remainder = run(AluOp::Mod, Width::W64, dividend, Scalar::unsigned(0, 2));
    assert_eq!((remainder.umin(), remainder.umax()), (0, 200));
    // mod32 by zero keeps the low half only.
    let value = Scalar::known(0xffff_ffff_0000_0007);
    assert_eq!(run(AluOp::Mod, Width::W32, value, Scalar::known(1 << 32)).constant(), Some(7));
}

#[test]
fn sign_extension_of_a_narrow_load_keeps_the_sign() {
    let value = Scalar::loaded(Size::B, Sign::Signed);
    assert_eq!((value.smin(), value.smax(), value.s32_min(), value.s32_max()), (-128, 127, -128, 127));
    let value = run(AluOp::MovSx8, Width::W32, Scalar::unknown(), Scalar::known(0x80));
    assert_eq!(value.constant(), Some(0xffff_ff80));
    let value = run(AluOp::MovSx32, Width::W64, Scalar::unknown(), Scalar::unsigned(0, LOW));
    assert_eq!((value.smin(), value.smax()), (i64::from(i32::MIN), i64::from(i32::MAX)));
}

#[test]
fn narrow_spill_forgets_the_upper_half() {
    let value = Scalar::known(0x1_0000_0004).extend(Size::W, Sign::Zero);
    assert_eq!(value.constant(), Some(4));
    let value = Scalar::unsigned(0x1_0000, 0x1_0008).extend(Size::H, Sign::Zero);
    assert_eq!((value.umin(), value.umax()), (0, 8));
}

#[test]
fn inequality_moves_a_bound_only_at_an_end() {
    let value = Scalar::unsigned(0, 10);
    assert_eq!(side(CmpOp::Ne, Width::W64, value, 0, true).umin(), 1);
    assert_eq!(side(CmpOp::Eq, Width::W64, value, 10, false).umax(), 9);
    assert_eq!(side(CmpOp::Ne, Width::W64, value, 5, true), value);
    // Zero is an end of the positive half of a signed range too.
    let value = side(CmpOp::Ne, Width::W64, Scalar::signed(-4, 4), 0, true);
    assert_eq!(side(CmpOp::SGe, Width::W64, value, 0, true).umin(), 1);
    // At 32 bits only the low half is not zero.
    let value = side(CmpOp::Ne, Width::W32, Scalar::unknown(), 0, true);
    assert_eq!((value.u32_min(), value.umin()), (1, 1));
    assert!(value.contains(0x1_0000_0001) && !value.contains(0x1_0000_0000));
}

#[test]
fn bit_test_knows_single_bits_and_clear_ones() {
    let value = side(CmpOp::Set, Width::W64, Scalar::unknown(), 8, true);
    assert_eq!(value.tnum().value(), 8);
    let value = side(CmpOp::Set, Width::W64, Scalar::unknown(), -8, false);
    assert_eq!(value.umax(), 7);
    // The immediate is sign-extended to 64 bits, and cut to 32 for a 32-bit test.
    let value = side(CmpOp::Set, Width::W32, Scalar::unknown(), -8, false);
    assert_eq!((value.u32_max(), value.umax()), (7, 0xffff_ffff_0000_0007));
}

#[test]
fn alignment_tightens_bounds() {
    let value = bits(0, 0xfc);
    let value = side(CmpOp::Ne, Width::W64, value, 0, true);
    assert_eq!(value.umin(), 4);
    let value = side(CmpOp::Lt, Width::W64, value, 9, true);
    assert_eq!((value.umin(), value.umax()), (4, 8));
}

#[test]
fn subtraction_below_zero_wraps_and_masks_recover() {
    let value = run(AluOp::Sub, Width::W64, Scalar::unsigned(0, 3), Scalar::known(1));
    assert_eq!((value.smin(), value.smax(), value.umax()), (-1, 2, u64::MAX));
    let masked = run(AluOp::And, Width::W64, value, Scalar::known(63));
    assert_eq!((masked.umin(), masked.umax()), (0, 63));
}

#[test]
fn shifting_the_upper_half_out_keeps_the_range_of_the_low_half() {
    let value = side(CmpOp::Lt, Width::W32, Scalar::unknown(), 100, true);
    let shifted = run(AluOp::Lsh, Width::W64, value, Scalar::known(32));
    assert_eq!(shifted.umax(), 99 << 32);
    let back = run(AluOp::Rsh, Width::W64, shifted, Scalar::known(32));
    assert_eq!((back.umin(), back.umax()), (0, 99));
    let value = side(CmpOp::SLt, Width::W32, Scalar::unknown(), 100, true);
    let shifted = run(AluOp::Lsh, Width::W64, value, Scalar::known(32));
    assert_eq!(shifted.smax(), 99 << 32);
    let back = run(AluOp::Arsh, Width::W64, shifted, Scalar::known(32));
    assert_eq!((back.smin(), back.smax()), (i64::from(i32::MIN), 99));
}
