//! Appending operations to a block, folded on the way: the form never holds what a constant could say.
//!
//! In: operands. Out: a value, old or new. [`Builder`] is the compiler's [`Machine`]: the third one beside the
//! interpreter's and the verifier's, so the meaning of arithmetic comes from `isa::semantics` here too.
//! Not here: anything that looks at more than an operation and its operands (`passes`).
#![forbid(unsafe_code)]

use super::FastMap;
use super::func::{
    Address, BinaryOp, BlockId, Condition, FrameUse, Function, Op, Place, Target, Type, UnaryOp, Value,
};
use crate::isa::semantics::{Concrete, Machine};
use crate::isa::{InsnId, Sign, Size, Width};

/// What is proven about the divisor of the division being built.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Divisor {
    /// It is not 0.
    pub(crate) nonzero: bool,
    /// It is not -1.
    pub(crate) not_minus_one: bool,
}

/// Appends to one block of a function.
#[derive(Debug)]
pub(crate) struct Builder {
    pub(crate) func: Function,
    /// Where new operations go.
    pub(crate) block: BlockId,
    /// The instruction they come from.
    pub(crate) insn: InsnId,
    /// Set while a division is built.
    pub(crate) divisor: Divisor,
    floating: FastMap<(Op, Type), Value>,
    /// Low half of each value that has one, and where values are defined.
    halves: FastMap<Value, Value>,
    homes: Vec<Option<BlockId>>,
}

impl Builder {
    pub(crate) fn new(func: Function) -> Self {
        Self {
            func,
            block: BlockId(0),
            insn: InsnId(0),
            divisor: Divisor::default(),
            floating: FastMap::default(),
            halves: FastMap::default(),
            homes: Vec::new(),
        }
    }

    /// An operation in the current block, as it is.
    pub(crate) fn emit(&mut self, op: Op, ty: Type) -> Value {
        self.emit_in(self.block, op, ty)
    }

    fn emit_in(&mut self, block: BlockId, op: Op, ty: Type) -> Value {
        let value = self.func.add(op, ty, self.insn);
        self.func.blocks[block.index()].nodes.push(value);
        self.live_at(value, block);
        value
    }

    /// A new parameter of a block.
    pub(crate) fn param(&mut self, block: BlockId, insn: InsnId) -> Value {
        let value = self.func.add_param(block, Type::I64, insn);
        self.live_at(value, block);
        value
    }

    fn live_at(&mut self, value: Value, block: BlockId) {
        if self.homes.len() <= value.index() {
            self.homes.resize(value.index() + 1, None);
        }
        self.homes[value.index()] = Some(block);
    }

    /// The low half of a value, taken once, in the block that defines the value: it costs nothing there, and
    /// everyone then speaks of the same thing.
    fn half(&mut self, value: Value) -> Value {
        if let Some(&half) = self.halves.get(&value) {
            return half;
        }
        let Some(home) = self.homes.get(value.index()).copied().flatten() else {
            // Constants and addresses have no block: their half is taken where it is wanted.
            return self.emit(Op::Unary(UnaryOp::Reduce, value), Type::I32);
        };
        let half = self.emit_in(home, Op::Unary(UnaryOp::Reduce, value), Type::I32);
        self.halves.insert(value, half);
        half
    }

    /// A value that needs no place in a block: constants and addresses. Equal ones are one value.
    fn float(&mut self, op: Op, ty: Type) -> Value {
        if let Some(&value) = self.floating.get(&(op, ty)) {
            return value;
        }
        let value = self.func.add(op, ty, self.insn);
        self.floating.insert((op, ty), value);
        value
    }

    pub(crate) fn number(&mut self, ty: Type, number: u64) -> Value {
        self.float(Op::Const(number & ty.mask()), ty)
    }
    pub(crate) fn address(&mut self, address: Address) -> Value {
        self.float(Op::Address(address), Type::I64)
    }
    pub(crate) fn runtime(&mut self) -> Value {
        self.float(Op::Runtime, Type::I64)
    }
    pub(crate) fn frame(&mut self, offset: u32) -> Value {
        self.float(Op::Frame(offset), Type::I64)
    }

    /// An access at `base + off`, with constants of the base moved into the offset.
    pub(crate) fn load(&mut self, size: Size, sign: Sign, place: Place) -> Value {
        let place = self.settle(place);
        self.emit(Op::Load(size, sign, place), Type::I64)
    }
    pub(crate) fn store(&mut self, size: Size, place: Place, value: Value) {
        let place = self.settle(place);
        self.emit(Op::Store(size, place, value), Type::I64);
    }
    pub(crate) fn call(&mut self, target: Target, args: Vec<Value>, frame_use: FrameUse) -> Value {
        let list = self.func.add_args(args, frame_use);
        self.emit(Op::Call(target, list), Type::I64)
    }

    /// The same place with constants of the base moved into the offset.
    pub(crate) fn settle(&self, mut place: Place) -> Place {
        while let Op::Binary(BinaryOp::Add, base, added) = self.func.op(place.base)
            && let Some(added) = self.func.constant(added)
            && let Ok(added) = i32::try_from(added.cast_signed())
            && let Some(off) = place.off.checked_add(added)
        {
            place.base = base;
            place.off = off;
        }
        place
    }

    pub(crate) fn unary(&mut self, op: UnaryOp, ty: Type, value: Value) -> Value {
        match self.fold_unary(op, ty, value) {
            Some(folded) => folded,
            None if op == UnaryOp::Reduce => self.half(value),
            None => self.emit(Op::Unary(op, value), ty),
        }
    }

    fn fold_unary(&mut self, op: UnaryOp, ty: Type, value: Value) -> Option<Value> {
        if let Some(number) = self.func.constant(value) {
            let from = self.func.ty(value);
            let number = match op {
                UnaryOp::Reduce | UnaryOp::Widen => number,
                UnaryOp::SignExtend(size) => Concrete.sign_extend(width_of(ty)?, size, number),
                UnaryOp::SwapBytes => number.swap_bytes() >> (64 - from.bits()),
                UnaryOp::CountOnes => u64::from(number.count_ones()),
            };
            return Some(self.number(ty, number));
        }
        match (op, self.func.op(value)) {
            (UnaryOp::Reduce, Op::Unary(UnaryOp::Widen, inner)) => Some(inner),
            (UnaryOp::Reduce, Op::Unary(UnaryOp::SignExtend(Size::W), inner)) => {
                Some(self.unary(UnaryOp::Reduce, ty, inner))
            }
            (UnaryOp::Widen, Op::Unary(UnaryOp::Reduce, inner)) if self.fits(inner, 32) => Some(inner),
            _ => None,
        }
    }

    fn fits(&self, value: Value, bits: u32) -> bool {
        fits(&self.func, value, bits)
    }

    pub(crate) fn binary(&mut self, op: BinaryOp, ty: Type, a: Value, b: Value) -> Value {
        // Constants to the right, so that patterns need one form.
        let (a, b) = match op {
            BinaryOp::Add | BinaryOp::Mul | BinaryOp::And | BinaryOp::Or | BinaryOp::Xor
                if self.func.constant(a).is_some() =>
            {
                (b, a)
            }
            _ => (a, b),
        };
        match self.fold_binary(op, ty, a, b) {
            Some(folded) => folded,
            None => self.emit(Op::Binary(op, a, b), ty),
        }
    }

    fn fold_binary(&mut self, op: BinaryOp, ty: Type, a: Value, b: Value) -> Option<Value> {
        let right = self.func.constant(b);
        if let (Some(x), Some(y)) = (self.func.constant(a), right) {
            let number = evaluate(op, width_of(ty)?, x, y)?;
            return Some(self.number(ty, number));
        }
        if a == b {
            match op {
                BinaryOp::And | BinaryOp::Or => return Some(a),
                BinaryOp::Xor | BinaryOp::Sub => return Some(self.number(ty, 0)),
                _ => {}
            }
        }
        let y = right?;
        match op {
            BinaryOp::Sub => {
                let negated = self.number(ty, y.wrapping_neg());
                Some(self.binary(BinaryOp::Add, ty, a, negated))
            }
            BinaryOp::Add => self.fold_add(ty, a, y),
            BinaryOp::Or | BinaryOp::Xor if y == 0 => Some(a),
            BinaryOp::Shl | BinaryOp::LShr | BinaryOp::AShr if y & u64::from(ty.bits() - 1) == 0 => Some(a),
            BinaryOp::Mul | BinaryOp::UDiv | BinaryOp::SDiv if y == 1 => Some(a),
            BinaryOp::And | BinaryOp::Mul if y == 0 => Some(b),
            BinaryOp::And if y == ty.mask() => Some(a),
            BinaryOp::And
                if y.wrapping_add(1).is_power_of_two() && ty == Type::I64 && self.fits(a, y.count_ones()) =>
            {
                Some(a)
            }
            // The low half by shifts: what compilers emit without 32-bit instructions.
            BinaryOp::LShr if y == 32 && ty == Type::I64 => match self.func.op(a) {
                Op::Binary(BinaryOp::Shl, inner, count) if self.func.constant(count) == Some(32) => {
                    let low = self.unary(UnaryOp::Reduce, Type::I32, inner);
                    Some(self.unary(UnaryOp::Widen, Type::I64, low))
                }
                _ => None,
            },
            BinaryOp::AShr if y == 32 && ty == Type::I64 => match self.func.op(a) {
                Op::Binary(BinaryOp::Shl, inner, count) if self.func.constant(count) == Some(32) => {
                    Some(self.unary(UnaryOp::SignExtend(Size::W), Type::I64, inner))
                }
                _ => None,
            },
            _ => None,
        }
    }

    fn fold_add(&mut self, ty: Type, a: Value, added: u64) -> Option<Value> {
        if added == 0 {
            return Some(a);
        }
        match self.func.op(a) {
            Op::Binary(BinaryOp::Add, inner, first) => {
                let first = self.func.constant(first)?;
                let sum = self.number(ty, first.wrapping_add(added));
                Some(self.binary(BinaryOp::Add, ty, inner, sum))
            }
            Op::Frame(offset) => {
                let offset = u32::try_from(u64::from(offset).wrapping_add(added)).ok()?;
                (offset <= self.func.frame_size).then(|| self.frame(offset))
            }
            Op::Address(Address::MapValue(slot, offset)) => {
                let offset = u32::try_from(u64::from(offset).wrapping_add(added)).ok()?;
                // Addends of relocations stay small and positive.
                (offset < 1 << 30).then(|| self.address(Address::MapValue(slot, offset)))
            }
            _ => None,
        }
    }

    pub(crate) fn compare(&mut self, condition: Condition, a: Value, b: Value) -> Value {
        let (condition, a, b) =
            if self.func.constant(a).is_some() { (condition.swapped(), b, a) } else { (condition, a, b) };
        let ty = self.func.ty(a);
        if let (Some(x), Some(y)) = (self.func.constant(a), self.func.constant(b)) {
            return self.number(Type::I8, u64::from(holds(condition, ty, x, y)));
        }
        if let (Op::Address(_) | Op::Frame(_), Some(0)) = (self.func.op(a), self.func.constant(b)) {
            // Nothing lies at address 0.
            match condition {
                Condition::Eq | Condition::ULe => return self.number(Type::I8, 0),
                Condition::Ne | Condition::UGt => return self.number(Type::I8, 1),
                _ => {}
            }
        }
        self.emit(Op::Compare(condition, a, b), Type::I8)
    }

    /// A condition that holds where `condition` does not.
    pub(crate) fn inverse(&mut self, condition: Value) -> Value {
        match self.func.op(condition) {
            Op::Const(number) => self.number(Type::I8, 1 - number),
            Op::Compare(op, a, b) => self.compare(op.inverse(), a, b),
            _ => {
                let zero = self.number(Type::I8, 0);
                self.emit(Op::Compare(Condition::Eq, condition, zero), Type::I8)
            }
        }
    }

    pub(crate) fn choose(&mut self, condition: Value, then: Value, otherwise: Value) -> Value {
        match self.func.constant(condition) {
            Some(0) => otherwise,
            Some(_) => then,
            None if then == otherwise => then,
            None => self.emit(Op::Select(condition, then, otherwise), self.func.ty(then)),
        }
    }
}

/// Whether the form itself says, within a few steps, that a number is smaller than `2^bits`.
pub(crate) fn fits(function: &Function, value: Value, bits: u32) -> bool {
    fits_within(function, value, bits, 4)
}

fn fits_within(function: &Function, value: Value, bits: u32, steps: u32) -> bool {
    let Some(steps) = steps.checked_sub(1) else { return false };
    let fits = |value| fits_within(function, value, bits, steps);
    match function.op(value) {
        Op::Const(number) => bits >= 64 || number >> bits == 0,
        Op::Load(size, Sign::Zero, _) | Op::LoadAcquire(size, _) => size.bits() <= bits,
        Op::AtomicRmw(_, width, ..) | Op::AtomicCas(width, ..) => width.bits() <= bits,
        Op::Unary(UnaryOp::Widen, inner) => function.ty(inner).bits() <= bits || fits(inner),
        Op::Unary(UnaryOp::Reduce, inner) => fits(inner),
        Op::Unary(UnaryOp::CountOnes, _) => bits >= 7,
        Op::Binary(BinaryOp::And, a, b) => fits(b) || fits(a),
        Op::Binary(BinaryOp::LShr, _, count) => function
            .constant(count)
            .is_some_and(|count| u64::from(function.ty(value).bits()) <= u64::from(bits) + count),
        _ => false,
    }
}

/// The width of a number type.
pub(crate) const fn width_of(ty: Type) -> Option<Width> {
    match ty {
        Type::I8 => None,
        Type::I32 => Some(Width::W32),
        Type::I64 => Some(Width::W64),
    }
}

/// What the operation gives for numbers; `None` for a division that has no result.
pub(crate) fn evaluate(op: BinaryOp, width: Width, a: u64, b: u64) -> Option<u64> {
    let m = &mut Concrete;
    let count = b & u64::from(width.bits() - 1);
    let minus_one = m.constant(width, u64::MAX);
    Some(match op {
        BinaryOp::Add => m.add(width, a, b),
        BinaryOp::Sub => m.sub(width, a, b),
        BinaryOp::Mul => m.mul(width, a, b),
        BinaryOp::And => a & b,
        BinaryOp::Or => a | b,
        BinaryOp::Xor => a ^ b,
        BinaryOp::Shl => m.shl(width, a, count),
        BinaryOp::LShr => m.lshr(width, a, count),
        BinaryOp::AShr => m.ashr(width, a, count),
        BinaryOp::UDiv | BinaryOp::URem | BinaryOp::SDiv | BinaryOp::SRem if b == 0 => return None,
        BinaryOp::SDiv | BinaryOp::SRem if b == minus_one => return None,
        BinaryOp::UDiv => m.udiv(width, a, b),
        BinaryOp::URem => m.urem(width, a, b),
        BinaryOp::SDiv => m.sdiv(width, a, b),
        BinaryOp::SRem => m.srem(width, a, b),
    })
}

/// Whether the comparison holds for numbers of that type.
pub(crate) fn holds(condition: Condition, ty: Type, a: u64, b: u64) -> bool {
    let unused = 64 - ty.bits();
    let signed = |number: u64| (number << unused).cast_signed() >> unused;
    match condition {
        Condition::Eq => a == b,
        Condition::Ne => a != b,
        Condition::ULt => a < b,
        Condition::ULe => a <= b,
        Condition::UGt => a > b,
        Condition::UGe => a >= b,
        Condition::SLt => signed(a) < signed(b),
        Condition::SLe => signed(a) <= signed(b),
        Condition::SGt => signed(a) > signed(b),
        Condition::SGe => signed(a) >= signed(b),
    }
}

impl Builder {
    /// Shifts of this form count modulo the width, so a mask of just that is not needed.
    fn shift(&mut self, op: BinaryOp, width: Width, a: Value, count: Value) -> Value {
        let mask = u64::from(width.bits() - 1);
        let count = match self.func.op(count) {
            Op::Binary(BinaryOp::And, inner, by) if self.func.constant(by) == Some(mask) => inner,
            _ => count,
        };
        self.binary(op, Type::of(width), a, count)
    }
}

impl Machine for Builder {
    type V = Value;
    type Bool = Value;

    fn constant(&mut self, width: Width, value: u64) -> Value {
        self.number(Type::of(width), value)
    }
    fn low(&mut self, value: Value) -> Value {
        self.unary(UnaryOp::Reduce, Type::I32, value)
    }
    fn widen(&mut self, value: Value) -> Value {
        self.unary(UnaryOp::Widen, Type::I64, value)
    }
    fn zero_extend(&mut self, from: Size, value: Value) -> Value {
        match from {
            Size::W => {
                let low = self.low(value);
                self.widen(low)
            }
            Size::B | Size::H | Size::DW => {
                let mask = self.number(Type::I64, u64::MAX >> (64 - from.bits()));
                self.binary(BinaryOp::And, Type::I64, value, mask)
            }
        }
    }
    fn sign_extend(&mut self, width: Width, from: Size, value: Value) -> Value {
        self.unary(UnaryOp::SignExtend(from), Type::of(width), value)
    }
    fn swap_bytes(&mut self, size: Size, value: Value) -> Value {
        match size {
            Size::DW => self.unary(UnaryOp::SwapBytes, Type::I64, value),
            Size::W => {
                let low = self.low(value);
                let swapped = self.unary(UnaryOp::SwapBytes, Type::I32, low);
                self.widen(swapped)
            }
            Size::B | Size::H => {
                let low = self.low(value);
                let swapped = self.unary(UnaryOp::SwapBytes, Type::I32, low);
                let count = self.number(Type::I32, u64::from(32 - size.bits()));
                let swapped = self.binary(BinaryOp::LShr, Type::I32, swapped, count);
                self.widen(swapped)
            }
        }
    }
    fn add(&mut self, width: Width, a: Value, b: Value) -> Value {
        self.binary(BinaryOp::Add, Type::of(width), a, b)
    }
    fn sub(&mut self, width: Width, a: Value, b: Value) -> Value {
        self.binary(BinaryOp::Sub, Type::of(width), a, b)
    }
    fn mul(&mut self, width: Width, a: Value, b: Value) -> Value {
        self.binary(BinaryOp::Mul, Type::of(width), a, b)
    }
    fn udiv(&mut self, width: Width, a: Value, b: Value) -> Value {
        self.binary(BinaryOp::UDiv, Type::of(width), a, b)
    }
    fn urem(&mut self, width: Width, a: Value, b: Value) -> Value {
        self.binary(BinaryOp::URem, Type::of(width), a, b)
    }
    fn sdiv(&mut self, width: Width, a: Value, b: Value) -> Value {
        self.binary(BinaryOp::SDiv, Type::of(width), a, b)
    }
    fn srem(&mut self, width: Width, a: Value, b: Value) -> Value {
        self.binary(BinaryOp::SRem, Type::of(width), a, b)
    }
    fn and(&mut self, width: Width, a: Value, b: Value) -> Value {
        self.binary(BinaryOp::And, Type::of(width), a, b)
    }
    fn or(&mut self, width: Width, a: Value, b: Value) -> Value {
        self.binary(BinaryOp::Or, Type::of(width), a, b)
    }
    fn xor(&mut self, width: Width, a: Value, b: Value) -> Value {
        self.binary(BinaryOp::Xor, Type::of(width), a, b)
    }
    fn shl(&mut self, width: Width, a: Value, b: Value) -> Value {
        self.shift(BinaryOp::Shl, width, a, b)
    }
    fn lshr(&mut self, width: Width, a: Value, b: Value) -> Value {
        self.shift(BinaryOp::LShr, width, a, b)
    }
    fn ashr(&mut self, width: Width, a: Value, b: Value) -> Value {
        self.shift(BinaryOp::AShr, width, a, b)
    }
    fn eq(&mut self, _width: Width, a: Value, b: Value) -> Value {
        match self.func.constant(b) {
            Some(0) if self.divisor.nonzero => self.number(Type::I8, 0),
            Some(number) if number == self.func.ty(b).mask() && self.divisor.not_minus_one => {
                self.number(Type::I8, 0)
            }
            _ => self.compare(Condition::Eq, a, b),
        }
    }
    fn ne(&mut self, _width: Width, a: Value, b: Value) -> Value {
        self.compare(Condition::Ne, a, b)
    }
    fn ult(&mut self, _width: Width, a: Value, b: Value) -> Value {
        self.compare(Condition::ULt, a, b)
    }
    fn ule(&mut self, _width: Width, a: Value, b: Value) -> Value {
        self.compare(Condition::ULe, a, b)
    }
    fn slt(&mut self, _width: Width, a: Value, b: Value) -> Value {
        self.compare(Condition::SLt, a, b)
    }
    fn sle(&mut self, _width: Width, a: Value, b: Value) -> Value {
        self.compare(Condition::SLe, a, b)
    }
    fn select(&mut self, _width: Width, condition: Value, then: Value, otherwise: Value) -> Value {
        self.choose(condition, then, otherwise)
    }
}
