//! The [`Machine`] of real words: what the interpreter computes with, and the reference for the others.
#![forbid(unsafe_code)]

use super::semantics::{Machine, mask};
use super::{Size, Width};

/// The machine of real words: 64-bit values are `u64`, 32-bit values too, with zeroes above.
#[derive(Clone, Copy, Debug, Default)]
pub struct Concrete;

/// A 32-bit value out of the `u64` that holds it.
const fn half(value: u64) -> u32 {
    debug_assert!(value >> 32 == 0);
    value as u32 // Upper half is zero: the trait's contract.
}

const fn signed(width: Width, value: u64) -> i64 {
    match width {
        Width::W32 => half(value).cast_signed() as i64,
        Width::W64 => value.cast_signed(),
    }
}

const fn wrap(width: Width, value: u64) -> u64 {
    value & mask(width)
}

impl Machine for Concrete {
    type V = u64;
    type Bool = bool;

    fn constant(&mut self, width: Width, value: u64) -> u64 {
        wrap(width, value)
    }
    fn low(&mut self, value: u64) -> u64 {
        value & mask(Width::W32)
    }
    fn widen(&mut self, value: u64) -> u64 {
        u64::from(half(value))
    }
    fn zero_extend(&mut self, from: Size, value: u64) -> u64 {
        let unused = 64 - from.bits();
        value << unused >> unused
    }
    fn sign_extend(&mut self, width: Width, from: Size, value: u64) -> u64 {
        let unused = 64 - from.bits();
        let extended = (value << unused).cast_signed() >> unused;
        wrap(width, extended.cast_unsigned())
    }
    fn swap_bytes(&mut self, size: Size, value: u64) -> u64 {
        value.swap_bytes() >> (64 - size.bits())
    }
    fn add(&mut self, width: Width, a: u64, b: u64) -> u64 {
        wrap(width, a.wrapping_add(b))
    }
    fn sub(&mut self, width: Width, a: u64, b: u64) -> u64 {
        wrap(width, a.wrapping_sub(b))
    }
    fn mul(&mut self, width: Width, a: u64, b: u64) -> u64 {
        wrap(width, a.wrapping_mul(b))
    }
    fn udiv(&mut self, _width: Width, a: u64, b: u64) -> u64 {
        a / b
    }
    fn urem(&mut self, _width: Width, a: u64, b: u64) -> u64 {
        a % b
    }
    fn sdiv(&mut self, width: Width, a: u64, b: u64) -> u64 {
        wrap(width, (signed(width, a) / signed(width, b)).cast_unsigned())
    }
    fn srem(&mut self, width: Width, a: u64, b: u64) -> u64 {
        wrap(width, (signed(width, a) % signed(width, b)).cast_unsigned())
    }
    fn and(&mut self, _width: Width, a: u64, b: u64) -> u64 {
        a & b
    }
    fn or(&mut self, _width: Width, a: u64, b: u64) -> u64 {
        a | b
    }
    fn xor(&mut self, _width: Width, a: u64, b: u64) -> u64 {
        a ^ b
    }
    fn shl(&mut self, width: Width, a: u64, b: u64) -> u64 {
        wrap(width, a << b)
    }
    fn lshr(&mut self, _width: Width, a: u64, b: u64) -> u64 {
        a >> b
    }
    fn ashr(&mut self, width: Width, a: u64, b: u64) -> u64 {
        wrap(width, (signed(width, a) >> b).cast_unsigned())
    }
    fn eq(&mut self, _width: Width, a: u64, b: u64) -> bool {
        a == b
    }
    fn ne(&mut self, _width: Width, a: u64, b: u64) -> bool {
        a != b
    }
    fn ult(&mut self, _width: Width, a: u64, b: u64) -> bool {
        a < b
    }
    fn ule(&mut self, _width: Width, a: u64, b: u64) -> bool {
        a <= b
    }
    fn slt(&mut self, width: Width, a: u64, b: u64) -> bool {
        signed(width, a) < signed(width, b)
    }
    fn sle(&mut self, width: Width, a: u64, b: u64) -> bool {
        signed(width, a) <= signed(width, b)
    }
    fn select(&mut self, _width: Width, condition: bool, then: u64, otherwise: u64) -> u64 {
        if condition { then } else { otherwise }
    }
}
