//! The abstract machine: `isa::semantics` over sets of numbers.
#![forbid(unsafe_code)]

use crate::isa::semantics::Machine;
use crate::isa::{CmpOp, Sign, Size, Width};

use super::{Scalar, decide};

/// Computes [`Scalar`]s: the machine through which `isa::semantics::alu` becomes the verifier's transfer
/// function. A 32-bit value is one with zeroes above.
#[derive(Clone, Copy, Debug, Default)]
pub struct AbstractScalar;

impl Machine for AbstractScalar {
    type V = Scalar;
    /// Holds always, never, or that is not known.
    type Bool = Option<bool>;

    fn constant(&mut self, width: Width, value: u64) -> Scalar {
        match width {
            Width::W32 => Scalar::known(value & 0xffff_ffff),
            Width::W64 => Scalar::known(value),
        }
    }
    fn low(&mut self, value: Scalar) -> Scalar {
        value.cast32()
    }
    fn widen(&mut self, value: Scalar) -> Scalar {
        value
    }
    fn zero_extend(&mut self, from: Size, value: Scalar) -> Scalar {
        value.extend(from, Sign::Zero)
    }
    fn sign_extend(&mut self, width: Width, from: Size, value: Scalar) -> Scalar {
        value.sign_extend_from(width, from.bits())
    }
    fn swap_bytes(&mut self, size: Size, value: Scalar) -> Scalar {
        value.swap_bytes(size)
    }

    fn add(&mut self, width: Width, a: Scalar, b: Scalar) -> Scalar {
        a.add(width, b)
    }
    fn sub(&mut self, width: Width, a: Scalar, b: Scalar) -> Scalar {
        a.sub(width, b)
    }
    fn mul(&mut self, width: Width, a: Scalar, b: Scalar) -> Scalar {
        a.mul(width, b)
    }
    fn udiv(&mut self, width: Width, a: Scalar, b: Scalar) -> Scalar {
        a.udiv(width, b)
    }
    fn urem(&mut self, width: Width, a: Scalar, b: Scalar) -> Scalar {
        a.urem(width, b)
    }
    fn sdiv(&mut self, width: Width, a: Scalar, b: Scalar) -> Scalar {
        a.sdiv(width, b)
    }
    fn srem(&mut self, width: Width, a: Scalar, b: Scalar) -> Scalar {
        a.srem(width, b)
    }
    fn and(&mut self, width: Width, a: Scalar, b: Scalar) -> Scalar {
        a.and(width, b)
    }
    fn or(&mut self, width: Width, a: Scalar, b: Scalar) -> Scalar {
        a.or(width, b)
    }
    fn xor(&mut self, width: Width, a: Scalar, b: Scalar) -> Scalar {
        a.xor(width, b)
    }
    fn shl(&mut self, width: Width, a: Scalar, b: Scalar) -> Scalar {
        a.shl(width, b)
    }
    fn lshr(&mut self, width: Width, a: Scalar, b: Scalar) -> Scalar {
        a.lshr(width, b)
    }
    fn ashr(&mut self, width: Width, a: Scalar, b: Scalar) -> Scalar {
        a.ashr(width, b)
    }

    fn eq(&mut self, width: Width, a: Scalar, b: Scalar) -> Option<bool> {
        decide(CmpOp::Eq, width, a, b)
    }
    fn ne(&mut self, width: Width, a: Scalar, b: Scalar) -> Option<bool> {
        decide(CmpOp::Ne, width, a, b)
    }
    fn ult(&mut self, width: Width, a: Scalar, b: Scalar) -> Option<bool> {
        decide(CmpOp::Lt, width, a, b)
    }
    fn ule(&mut self, width: Width, a: Scalar, b: Scalar) -> Option<bool> {
        decide(CmpOp::Le, width, a, b)
    }
    fn slt(&mut self, width: Width, a: Scalar, b: Scalar) -> Option<bool> {
        decide(CmpOp::SLt, width, a, b)
    }
    fn sle(&mut self, width: Width, a: Scalar, b: Scalar) -> Option<bool> {
        decide(CmpOp::SLe, width, a, b)
    }
    fn select(&mut self, _: Width, condition: Option<bool>, then: Scalar, otherwise: Scalar) -> Scalar {
        match condition {
            Some(true) => then,
            Some(false) => otherwise,
            None => then.join(otherwise),
        }
    }
}
