//! What arithmetic, byte-order, comparison and atomic instructions compute: written once, for every engine.
//!
//! In: operands as values of a [`Machine`]. Out: the value the register or the memory cell gets. The corner cases
//! of RFC 9669 §4 (zero-extension of 32-bit results, division by zero, MIN / -1, shift counts) are decided
//! here and nowhere else; a machine (the interpreter's [`Concrete`] words, the verifier's abstract scalars, the
//! builder of the compiler's IR) supplies primitives that know none of them.
//!
//! Registers are 64-bit values. [`Machine::low`] makes a 32-bit value of one, [`Machine::widen`] the other way
//! round with zeroes above; a primitive with a [`Width`] gets and gives values of that width.
//! Not here: memory, control flow, calls: they depend on what each engine knows.
#![forbid(unsafe_code)]

pub use super::concrete::Concrete;
use super::{AluOp, AtomicOp, ByteOrder, CmpOp, Sign, Size, Width};

/// The primitives an engine supplies. None has a corner case: divisors are never zero, a signed division
/// never overflows, shift counts are smaller than the width.
pub trait Machine {
    /// A 64-bit or 32-bit value.
    type V: Copy;
    /// The truth of a comparison.
    type Bool: Copy;

    /// A constant; for `W32` its upper half is zero.
    fn constant(&mut self, width: Width, value: u64) -> Self::V;
    /// The low half of a 64-bit value, as a 32-bit value.
    fn low(&mut self, value: Self::V) -> Self::V;
    /// A 32-bit value, zero-extended to a 64-bit one.
    fn widen(&mut self, value: Self::V) -> Self::V;
    /// The low `from` bits of a 64-bit value, zero-extended (a 64-bit value). `from` is never `DW`.
    fn zero_extend(&mut self, from: Size, value: Self::V) -> Self::V;
    /// The low `from` bits, sign-extended to `width`. `from` is narrower than `width`.
    fn sign_extend(&mut self, width: Width, from: Size, value: Self::V) -> Self::V;
    /// The low `size` bits of a 64-bit value with their bytes reversed, zero-extended. `size` is never `B`.
    fn swap_bytes(&mut self, size: Size, value: Self::V) -> Self::V;

    /// Wrapping sum.
    fn add(&mut self, width: Width, a: Self::V, b: Self::V) -> Self::V;
    /// Wrapping difference.
    fn sub(&mut self, width: Width, a: Self::V, b: Self::V) -> Self::V;
    /// Wrapping product.
    fn mul(&mut self, width: Width, a: Self::V, b: Self::V) -> Self::V;
    /// Unsigned quotient; `b` is not zero.
    fn udiv(&mut self, width: Width, a: Self::V, b: Self::V) -> Self::V;
    /// Unsigned remainder; `b` is not zero.
    fn urem(&mut self, width: Width, a: Self::V, b: Self::V) -> Self::V;
    /// Signed quotient, towards zero; `b` is neither 0 nor -1.
    fn sdiv(&mut self, width: Width, a: Self::V, b: Self::V) -> Self::V;
    /// Signed remainder with the sign of `a`; `b` is neither 0 nor -1.
    fn srem(&mut self, width: Width, a: Self::V, b: Self::V) -> Self::V;
    /// Bitwise and.
    fn and(&mut self, width: Width, a: Self::V, b: Self::V) -> Self::V;
    /// Bitwise or.
    fn or(&mut self, width: Width, a: Self::V, b: Self::V) -> Self::V;
    /// Bitwise exclusive or.
    fn xor(&mut self, width: Width, a: Self::V, b: Self::V) -> Self::V;
    /// Left shift by `b`, smaller than the width.
    fn shl(&mut self, width: Width, a: Self::V, b: Self::V) -> Self::V;
    /// Right shift by `b`, smaller than the width, zeroes coming in.
    fn lshr(&mut self, width: Width, a: Self::V, b: Self::V) -> Self::V;
    /// Right shift by `b`, smaller than the width, copies of the sign coming in.
    fn ashr(&mut self, width: Width, a: Self::V, b: Self::V) -> Self::V;

    /// `a == b`
    fn eq(&mut self, width: Width, a: Self::V, b: Self::V) -> Self::Bool;
    /// `a != b`
    fn ne(&mut self, width: Width, a: Self::V, b: Self::V) -> Self::Bool;
    /// `a < b`, unsigned
    fn ult(&mut self, width: Width, a: Self::V, b: Self::V) -> Self::Bool;
    /// `a <= b`, unsigned
    fn ule(&mut self, width: Width, a: Self::V, b: Self::V) -> Self::Bool;
    /// `a < b`, signed
    fn slt(&mut self, width: Width, a: Self::V, b: Self::V) -> Self::Bool;
    /// `a <= b`, signed
    fn sle(&mut self, width: Width, a: Self::V, b: Self::V) -> Self::Bool;
    /// `then` where the condition holds, else `otherwise`; both were computed.
    fn select(&mut self, width: Width, condition: Self::Bool, then: Self::V, otherwise: Self::V) -> Self::V;
}

/// The new value of `dst` after `dst op= src`. Operands and result are 64-bit values; of an immediate the caller
/// passes the sign-extended constant.
pub fn alu<M: Machine>(m: &mut M, op: AluOp, width: Width, dst: M::V, src: M::V) -> M::V {
    match width {
        Width::W64 => alu_at(m, op, width, dst, src),
        Width::W32 => {
            let dst = m.low(dst);
            let src = m.low(src);
            let result = alu_at(m, op, width, dst, src);
            m.widen(result)
        }
    }
}

fn alu_at<M: Machine>(m: &mut M, op: AluOp, w: Width, dst: M::V, src: M::V) -> M::V {
    match op {
        AluOp::Add => m.add(w, dst, src),
        AluOp::Sub => m.sub(w, dst, src),
        AluOp::Mul => m.mul(w, dst, src),
        AluOp::Div => {
            let (is_zero, divisor) = nonzero(m, w, src);
            let quotient = m.udiv(w, dst, divisor);
            let zero = m.constant(w, 0);
            m.select(w, is_zero, zero, quotient)
        }
        AluOp::Mod => {
            let (is_zero, divisor) = nonzero(m, w, src);
            let remainder = m.urem(w, dst, divisor);
            m.select(w, is_zero, dst, remainder)
        }
        AluOp::SDiv => {
            let (is_zero, divisor) = nonzero(m, w, src);
            let (is_minus_one, divisor) = not_minus_one(m, w, divisor);
            let quotient = m.sdiv(w, dst, divisor);
            let zero = m.constant(w, 0);
            let negated = m.sub(w, zero, dst);
            let quotient = m.select(w, is_minus_one, negated, quotient);
            m.select(w, is_zero, zero, quotient)
        }
        AluOp::SMod => {
            let (is_zero, divisor) = nonzero(m, w, src);
            // The remainder by -1 is 0, as by the 1 that takes its place.
            let (_, divisor) = not_minus_one(m, w, divisor);
            let remainder = m.srem(w, dst, divisor);
            m.select(w, is_zero, dst, remainder)
        }
        AluOp::Or => m.or(w, dst, src),
        AluOp::And => m.and(w, dst, src),
        AluOp::Xor => m.xor(w, dst, src),
        AluOp::Lsh => {
            let count = shift_count(m, w, src);
            m.shl(w, dst, count)
        }
        AluOp::Rsh => {
            let count = shift_count(m, w, src);
            m.lshr(w, dst, count)
        }
        AluOp::Arsh => {
            let count = shift_count(m, w, src);
            m.ashr(w, dst, count)
        }
        AluOp::Neg => {
            let zero = m.constant(w, 0);
            m.sub(w, zero, dst)
        }
        AluOp::Mov => src,
        AluOp::MovSx8 => m.sign_extend(w, Size::B, src),
        AluOp::MovSx16 => m.sign_extend(w, Size::H, src),
        AluOp::MovSx32 => match w {
            Width::W64 => m.sign_extend(w, Size::W, src),
            Width::W32 => src,
        },
    }
}

/// Whether the divisor is zero, and a divisor that never is.
fn nonzero<M: Machine>(m: &mut M, w: Width, divisor: M::V) -> (M::Bool, M::V) {
    let zero = m.constant(w, 0);
    let is_zero = m.eq(w, divisor, zero);
    let one = m.constant(w, 1);
    (is_zero, m.select(w, is_zero, one, divisor))
}

/// Whether the divisor is -1, and a divisor that never is.
fn not_minus_one<M: Machine>(m: &mut M, w: Width, divisor: M::V) -> (M::Bool, M::V) {
    let minus_one = m.constant(w, mask(w));
    let is_minus_one = m.eq(w, divisor, minus_one);
    let one = m.constant(w, 1);
    (is_minus_one, m.select(w, is_minus_one, one, divisor))
}

fn shift_count<M: Machine>(m: &mut M, w: Width, count: M::V) -> M::V {
    let mask = m.constant(w, u64::from(w.bits() - 1));
    m.and(w, count, mask)
}

/// All ones of a width.
pub(super) const fn mask(w: Width) -> u64 {
    match w {
        Width::W32 => 0xffff_ffff,
        Width::W64 => u64::MAX,
    }
}

/// The new value of `dst` after a byte-order instruction. The target is little endian.
pub fn swap<M: Machine>(m: &mut M, order: ByteOrder, size: Size, dst: M::V) -> M::V {
    match order {
        ByteOrder::Little => match size {
            Size::DW => dst,
            Size::B | Size::H | Size::W => m.zero_extend(size, dst),
        },
        ByteOrder::Big | ByteOrder::Swap => m.swap_bytes(size, dst),
    }
}

/// Whether `lhs op rhs` holds. Operands are 64-bit values, as in [`alu`].
pub fn compare<M: Machine>(m: &mut M, op: CmpOp, width: Width, lhs: M::V, rhs: M::V) -> M::Bool {
    let (a, b) = match width {
        Width::W64 => (lhs, rhs),
        Width::W32 => (m.low(lhs), m.low(rhs)),
    };
    match op {
        CmpOp::Eq => m.eq(width, a, b),
        CmpOp::Ne => m.ne(width, a, b),
        CmpOp::Set => {
            let common = m.and(width, a, b);
            let zero = m.constant(width, 0);
            m.ne(width, common, zero)
        }
        CmpOp::Gt => m.ult(width, b, a),
        CmpOp::Ge => m.ule(width, b, a),
        CmpOp::Lt => m.ult(width, a, b),
        CmpOp::Le => m.ule(width, a, b),
        CmpOp::SGt => m.slt(width, b, a),
        CmpOp::SGe => m.sle(width, b, a),
        CmpOp::SLt => m.slt(width, a, b),
        CmpOp::SLe => m.sle(width, a, b),
    }
}

/// What an atomic operation stores into a cell of `width` that holds `old`.
///
/// `old` is the cell, zero-extended; `src` and `r0` are registers; all are 64-bit values, as is the result, of which
/// the low `width` bits are stored. A fetching operation gives `old` (so: zero-extended) to its register; for
/// `CmpXchg` that is r0, whether or not the exchange happened.
pub fn atomic_op<M: Machine>(m: &mut M, op: AtomicOp, width: Width, old: M::V, src: M::V, r0: M::V) -> M::V {
    match op {
        AtomicOp::Add => alu(m, AluOp::Add, width, old, src),
        AtomicOp::Or => alu(m, AluOp::Or, width, old, src),
        AtomicOp::And => alu(m, AluOp::And, width, old, src),
        AtomicOp::Xor => alu(m, AluOp::Xor, width, old, src),
        AtomicOp::Xchg => alu(m, AluOp::Mov, width, old, src),
        AtomicOp::CmpXchg => {
            let equal = compare(m, CmpOp::Eq, width, old, r0);
            let src = alu(m, AluOp::Mov, width, old, src);
            m.select(Width::W64, equal, src, old)
        }
    }
}

/// The register value after a load: `raw` is the memory, zero-extended.
pub fn extend_load<M: Machine>(m: &mut M, size: Size, sign: Sign, raw: M::V) -> M::V {
    match (sign, size) {
        (Sign::Zero, Size::B | Size::H | Size::W | Size::DW) | (Sign::Signed, Size::DW) => raw,
        (Sign::Signed, Size::B | Size::H | Size::W) => m.sign_extend(Width::W64, size, raw),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EDGES: [u64; 20] = [
        0,
        1,
        2,
        7,
        31,
        32,
        33,
        63,
        64,
        65,
        0x7f,
        0x80,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        0x1_0000_0000,
        0x7fff_ffff_ffff_ffff,
        0x8000_0000_0000_0000,
        0xffff_ffff_8000_0000,
        u64::MAX,
    ];

    /// The same operations spelled with the checked arithmetic of `i32` and `u32`.
    fn reference32(op: AluOp, d: u64, s: u64) -> u64 {
        let (d, s) = (d as u32, s as u32);
        let (di, si) = (d.cast_signed(), s.cast_signed());
        u64::from(match op {
            AluOp::Add => d.wrapping_add(s),
            AluOp::Sub => d.wrapping_sub(s),
            AluOp::Mul => d.wrapping_mul(s),
            AluOp::Div => d.checked_div(s).unwrap_or(0),
            AluOp::Mod => d.checked_rem(s).unwrap_or(d),
            AluOp::SDiv if s == 0 => 0,
            AluOp::SDiv => di.wrapping_div(si).cast_unsigned(),
            AluOp::SMod if s == 0 => d,
            AluOp::SMod => di.wrapping_rem(si).cast_unsigned(),
            AluOp::Or => d | s,
            AluOp::And => d & s,
            AluOp::Xor => d ^ s,
            AluOp::Lsh => d.wrapping_shl(s),
            AluOp::Rsh => d.wrapping_shr(s),
            AluOp::Arsh => di.wrapping_shr(s).cast_unsigned(),
            AluOp::Neg => d.wrapping_neg(),
            AluOp::Mov | AluOp::MovSx32 => s,
            AluOp::MovSx8 => i32::from(s as u8 as i8).cast_unsigned(),
            AluOp::MovSx16 => i32::from(s as u16 as i16).cast_unsigned(),
        })
    }

    fn reference64(op: AluOp, d: u64, s: u64) -> u64 {
        let (di, si) = (d.cast_signed(), s.cast_signed());
        match op {
            AluOp::Add => d.wrapping_add(s),
            AluOp::Sub => d.wrapping_sub(s),
            AluOp::Mul => d.wrapping_mul(s),
            AluOp::Div => d.checked_div(s).unwrap_or(0),
            AluOp::Mod => d.checked_rem(s).unwrap_or(d),
            AluOp::SDiv if s == 0 => 0,
            AluOp::SDiv => di.wrapping_div(si).cast_unsigned(),
            AluOp::SMod if s == 0 => d,
            AluOp::SMod => di.wrapping_rem(si).cast_unsigned(),
            AluOp::Or => d | s,
            AluOp::And => d & s,
            AluOp::Xor => d ^ s,
            AluOp::Lsh => d.wrapping_shl(s as u32),
            AluOp::Rsh => d.wrapping_shr(s as u32),
            AluOp::Arsh => di.wrapping_shr(s as u32).cast_unsigned(),
            AluOp::Neg => d.wrapping_neg(),
            AluOp::Mov => s,
            AluOp::MovSx8 => i64::from(s as u8 as i8).cast_unsigned(),
            AluOp::MovSx16 => i64::from(s as u16 as i16).cast_unsigned(),
            AluOp::MovSx32 => i64::from(s as u32 as i32).cast_unsigned(),
        }
    }

    #[test]
    fn arithmetic_agrees_with_rust_integers_on_edges() {
        for op in AluOp::ALL {
            for d in EDGES {
                for s in EDGES {
                    assert_eq!(
                        alu(&mut Concrete, op, Width::W32, d, s),
                        reference32(op, d, s),
                        "{op:?}32 {d:#x} {s:#x}"
                    );
                    assert_eq!(
                        alu(&mut Concrete, op, Width::W64, d, s),
                        reference64(op, d, s),
                        "{op:?}64 {d:#x} {s:#x}"
                    );
                }
            }
        }
    }

    #[test]
    fn comparisons_agree_with_rust_integers_on_edges() {
        for a in EDGES {
            for b in EDGES {
                let (a32, b32) = (a as u32, b as u32);
                let (s, t, s32, t32) =
                    (a.cast_signed(), b.cast_signed(), a32.cast_signed(), b32.cast_signed());
                for (op, wide, narrow) in [
                    (CmpOp::Eq, a == b, a32 == b32),
                    (CmpOp::Ne, a != b, a32 != b32),
                    (CmpOp::Set, a & b != 0, a32 & b32 != 0),
                    (CmpOp::Gt, a > b, a32 > b32),
                    (CmpOp::Ge, a >= b, a32 >= b32),
                    (CmpOp::Lt, a < b, a32 < b32),
                    (CmpOp::Le, a <= b, a32 <= b32),
                    (CmpOp::SGt, s > t, s32 > t32),
                    (CmpOp::SGe, s >= t, s32 >= t32),
                    (CmpOp::SLt, s < t, s32 < t32),
                    (CmpOp::SLe, s <= t, s32 <= t32),
                ] {
                    assert_eq!(compare(&mut Concrete, op, Width::W64, a, b), wide, "{op:?} {a:#x} {b:#x}");
                    assert_eq!(
                        compare(&mut Concrete, op, Width::W32, a, b),
                        narrow,
                        "{op:?}32 {a:#x} {b:#x}"
                    );
                }
            }
        }
    }

    #[test]
    fn byte_order_clears_what_it_does_not_keep() {
        let value = 0x0102_0304_0506_0708;
        for (order, size, expect) in [
            (ByteOrder::Little, Size::H, 0x0708),
            (ByteOrder::Little, Size::W, 0x0506_0708),
            (ByteOrder::Little, Size::DW, value),
            (ByteOrder::Big, Size::H, 0x0807),
            (ByteOrder::Big, Size::W, 0x0807_0605),
            (ByteOrder::Big, Size::DW, 0x0807_0605_0403_0201),
            (ByteOrder::Swap, Size::H, 0x0807),
            (ByteOrder::Swap, Size::DW, 0x0807_0605_0403_0201),
        ] {
            assert_eq!(swap(&mut Concrete, order, size, value), expect, "{order:?} {size:?}");
        }
    }

    #[test]
    fn compare_and_exchange_at_32_bits_ignores_upper_halves() {
        let stored = atomic_op(
            &mut Concrete,
            AtomicOp::CmpXchg,
            Width::W32,
            5,
            0xaaaa_aaaa_0000_0009,
            0xffff_ffff_0000_0005,
        );
        assert_eq!(stored, 9);
        let kept = atomic_op(&mut Concrete, AtomicOp::CmpXchg, Width::W32, 5, 9, 6);
        assert_eq!(kept, 5);
    }
}
