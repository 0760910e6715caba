//! Turns a branch around nothing into a choice of values.
//!
//! Only where the arms hold nothing but changes of width and at most two values differ: then the choice costs
//! what a predicted branch costs, and a mispredicted one is saved. A choice between two constants stays a
//! branch: mostly later work waits for it (a shift count of a binary logarithm), and a predicted branch does
//! not wait.
#![forbid(unsafe_code)]

use crate::ir::func::{Edge, Function, Op, Terminator, UnaryOp, Value};

/// Values that may differ between the arms.
const MOST: usize = 2;

/// Changes of width in one arm.
const MOST_FREE: usize = 4;

pub(crate) fn run(function: &mut Function) {
    let mut preds = vec![0_u32; function.blocks.len()];
    for block in &function.blocks {
        for edge in block.end.edges() {
            preds[edge.to.index()] += 1;
        }
    }
    // Inner conditions first, so that nested ones collapse.
    for at in (0..function.blocks.len()).rev() {
        if let Some(choice) = arms(function, at, &preds) {
            convert(function, at, choice);
        }
    }
}

/// A branch whose ways meet in one block.
struct Choice {
    condition: Value,
    then: Edge,
    otherwise: Edge,
    /// What the arms compute on the way.
    free: Vec<Value>,
}

fn arms(function: &Function, at: usize, preds: &[u32]) -> Option<Choice> {
    let Terminator::Branch(condition, then, otherwise) = &function.blocks[at].end else { return None };
    let mut free = Vec::new();
    let then = pass_arm(function, then, preds, &mut free);
    let otherwise = pass_arm(function, otherwise, preds, &mut free);
    if then.to != otherwise.to || then.to.index() == at {
        return None;
    }
    let differing: Vec<(Value, Value)> =
        then.args.iter().copied().zip(otherwise.args.iter().copied()).filter(|(a, b)| a != b).collect();
    let constant = |value| matches!(function.op(value), Op::Const(_));
    let worthwhile = differing.len() <= MOST && !differing.iter().any(|&(a, b)| constant(a) && constant(b));
    worthwhile.then_some(Choice { condition: *condition, then, otherwise, free })
}

/// The edge out of an arm that holds next to nothing, for the edge into it.
fn pass_arm(function: &Function, edge: &Edge, preds: &[u32], free: &mut Vec<Value>) -> Edge {
    let block = &function.blocks[edge.to.index()];
    let Terminator::Jump(next) = &block.end else { return edge.clone() };
    let is_free =
        |&value: &Value| matches!(function.op(value), Op::Unary(UnaryOp::Widen | UnaryOp::Reduce, _));
    let only_ours = block.nodes.is_empty() || preds[edge.to.index()] == 1;
    let passable = block.params.is_empty()
        && next.to != edge.to
        && only_ours
        && block.nodes.len() <= MOST_FREE
        && block.nodes.iter().all(is_free);
    if !passable {
        return edge.clone();
    }
    free.extend(&block.nodes);
    next.clone()
}

fn convert(function: &mut Function, at: usize, choice: Choice) {
    let Choice { condition, then, otherwise, free } = choice;
    let insn = function.blocks[at].end_insn;
    let mut args = Vec::with_capacity(then.args.len());
    function.blocks[at].nodes.extend(free);
    for (&a, &b) in then.args.iter().zip(&otherwise.args) {
        if a == b {
            args.push(a);
            continue;
        }
        let ty = function.ty(a);
        let chosen = function.add(Op::Select(condition, a, b), ty, insn);
        function.blocks[at].nodes.push(chosen);
        args.push(chosen);
    }
    function.blocks[at].end = Terminator::Jump(Edge { to: then.to, args });
}
