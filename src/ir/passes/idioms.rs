//! Recognises what compilers write for lack of an instruction: counting ones, a constant where a bit is set.
//!
//! In: the last operation of a pattern. Out: one operation, or a choice that waits less for the bit; the rest goes when
//! nothing else needs it.
#![forbid(unsafe_code)]

use crate::ir::func::{BinaryOp, Condition, Function, Op, Type, UnaryOp, Value};

pub(crate) fn run(function: &mut Function) {
    for at in 0..function.nodes.len() {
        let node = function.nodes[at];
        if let Some(counted) = count_ones(function, node.op, node.ty) {
            function.nodes[at].op = Op::Unary(UnaryOp::CountOnes, counted);
        }
    }
    for block in 0..function.blocks.len() {
        choose_late(function, block);
    }
}

/// `a ^ (bit ? c : 0)` becomes `bit ? a ^ c : a`: in the division of a checksum, each round waits a step less.
fn choose_late(function: &mut Function, block: usize) {
    let mut position = 0;
    while let Some(&value) = function.blocks[block].nodes.get(position) {
        position += 1;
        let Op::Binary(BinaryOp::Xor, a, b) = function.op(value) else { continue };
        let (kept, Some((bit, number))) = (match bit_choice(function, b) {
            Some(choice) => (a, Some(choice)),
            None => (b, bit_choice(function, a)),
        }) else {
            continue;
        };
        let (ty, insn) = (function.ty(value), function.nodes[value.index()].insn);
        let zero = function.add(Op::Const(0), ty, insn);
        let condition = function.add(Op::Compare(Condition::Ne, bit, zero), Type::I8, insn);
        let changed = function.add(Op::Binary(BinaryOp::Xor, kept, number), ty, insn);
        function.nodes[value.index()].op = Op::Select(condition, changed, kept);
        let nodes = &mut function.blocks[block].nodes;
        nodes.splice(position - 1..position - 1, [condition, changed]);
        position += 2;
    }
}

/// The bit and the constant of `-(x & 1) & constant`.
fn bit_choice(function: &Function, value: Value) -> Option<(Value, Value)> {
    let Op::Binary(BinaryOp::And, mask, number) = function.op(value) else { return None };
    function.constant(number)?;
    let Op::Binary(BinaryOp::Sub, zero, bit) = function.op(mask) else { return None };
    with_constant(function, bit, BinaryOp::And, 1)?;
    (function.constant(zero) == Some(0)).then_some((bit, number))
}

/// `x`, if the operation ends the parallel count of its ones.
fn count_ones(function: &Function, op: Op, ty: Type) -> Option<Value> {
    let byte = ty.mask() / 0xff; // 0x0101…
    let Op::Binary(BinaryOp::LShr, product, count) = op else { return None };
    if function.constant(count)? != u64::from(ty.bits() - 8) {
        return None;
    }
    let nibbles = with_constant(function, product, BinaryOp::Mul, byte)?;
    let nibbles = with_constant(function, nibbles, BinaryOp::And, byte * 0x0f)?;
    let pairs = sum_with_shifted(function, nibbles, 4)?;
    let Op::Binary(BinaryOp::Add, a, b) = function.op(pairs) else { return None };
    let bits = pair_sum(function, a, b, byte).or_else(|| pair_sum(function, b, a, byte))?;
    let Op::Binary(BinaryOp::Sub, x, odd) = function.op(bits) else { return None };
    let odd = with_constant(function, odd, BinaryOp::And, byte * 0x55)?;
    (with_constant(function, odd, BinaryOp::LShr, 1)? == x).then_some(x)
}

/// `a & 0x33… + (x >> 2) & 0x33…`: gives x.
fn pair_sum(function: &Function, a: Value, b: Value, byte: u64) -> Option<Value> {
    let low = with_constant(function, a, BinaryOp::And, byte * 0x33)?;
    let high = with_constant(function, b, BinaryOp::And, byte * 0x33)?;
    (with_constant(function, high, BinaryOp::LShr, 2)? == low).then_some(low)
}

/// The left operand of `left op number`.
fn with_constant(function: &Function, value: Value, op: BinaryOp, number: u64) -> Option<Value> {
    match function.op(value) {
        Op::Binary(found, left, right) if found == op => {
            (function.constant(right)? == number).then_some(left)
        }
        _ => None,
    }
}

/// x of `x + (x >> count)`.
fn sum_with_shifted(function: &Function, value: Value, count: u64) -> Option<Value> {
    let Op::Binary(BinaryOp::Add, a, b) = function.op(value) else { return None };
    let shifted = |of: Value, whole: Value| with_constant(function, of, BinaryOp::LShr, count) == Some(whole);
    if shifted(b, a) {
        Some(a)
    } else if shifted(a, b) {
        Some(b)
    } else {
        None
    }
}
