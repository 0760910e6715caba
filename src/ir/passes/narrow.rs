//! Makes block parameters 32 bits wide where nobody reads their upper half.
//!
//! A register that lives around a loop costs an extension in each round if it is kept at 64 bits for nothing.
//! Optimistic: a parameter that only feeds such parameters is one itself.
#![forbid(unsafe_code)]

use crate::ir::func::{Function, Op, Type, UnaryOp, Value};
use crate::isa::Size;

pub(crate) fn run(function: &mut Function) {
    let mut narrow = candidates(function);
    if !narrow.contains(&true) {
        return;
    }
    // A parameter that feeds a wide one is wide. Backwards, so that long chains of blocks take one round.
    let mut changed = true;
    while changed {
        changed = false;
        for block in function.blocks.iter().rev() {
            for edge in block.end.edges() {
                for (&param, &arg) in function.blocks[edge.to.index()].params.iter().zip(&edge.args) {
                    if !narrow[param.index()] && narrow[arg.index()] {
                        narrow[arg.index()] = false;
                        changed = true;
                    }
                }
            }
        }
    }
    apply(function, &narrow);
}

/// Wide parameters whose uses, but for edges, all take the low half only.
fn candidates(function: &Function) -> Vec<bool> {
    let mut narrow = vec![false; function.nodes.len()];
    for block in &function.blocks[1..] {
        for &param in &block.params {
            narrow[param.index()] = function.ty(param) == Type::I64;
        }
    }
    for block in &function.blocks {
        for &value in &block.nodes {
            match function.op(value) {
                Op::Unary(UnaryOp::Reduce, _) => {}
                Op::Store(Size::B | Size::H | Size::W, place, _) => narrow[place.base.index()] = false,
                Op::Call(_, list) => {
                    for arg in &function.args[list.0 as usize] {
                        narrow[arg.index()] = false; // u32 to usize
                    }
                }
                op => op.visit(|operand| narrow[operand.index()] = false),
            }
        }
        block.end.visit_own(|value| narrow[value.index()] = false);
    }
    narrow
}

fn apply(function: &mut Function, narrow: &[bool]) {
    for (at, &narrow) in narrow.iter().enumerate() {
        if narrow {
            function.nodes[at].ty = Type::I32;
        }
    }
    let params: Vec<Vec<Value>> = function.blocks.iter().map(|block| block.params.clone()).collect();
    for at in 0..function.blocks.len() {
        let insn = function.blocks[at].end_insn;
        let mut end = function.blocks[at].end.clone();
        for edge in end.edges_mut() {
            for (&param, arg) in params[edge.to.index()].iter().zip(&mut edge.args) {
                if narrow[param.index()] && function.ty(*arg) == Type::I64 {
                    *arg = low_half(function, at, *arg, insn);
                }
            }
        }
        function.blocks[at].end = end;
    }
    // What took the low half of such a parameter is the parameter.
    let mut same = vec![None; function.nodes.len()];
    for (at, node) in function.nodes.iter().enumerate() {
        if let Op::Unary(UnaryOp::Reduce, param) = node.op
            && narrow.get(param.index()) == Some(&true)
        {
            same[at] = Some(param);
        }
    }
    super::replace(function, &same);
    let gone = |value: &Value| same[value.index()].is_some();
    for block in &mut function.blocks {
        block.nodes.retain(|value| !gone(value));
    }
}

/// The low half of a value, at the end of a block.
fn low_half(function: &mut Function, block: usize, value: Value, insn: crate::isa::InsnId) -> Value {
    match function.op(value) {
        Op::Unary(UnaryOp::Widen, inner) => inner,
        Op::Const(number) => function.add(Op::Const(number & Type::I32.mask()), Type::I32, insn),
        _ => {
            let low = function.add(Op::Unary(UnaryOp::Reduce, value), Type::I32, insn);
            function.blocks[block].nodes.push(low);
            low
        }
    }
}
