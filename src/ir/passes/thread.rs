//! Sends ways into a block that decides what they know already straight to where it would send them.
//!
//! In: a block without effects that ends in a branch, and an edge to it whose arguments decide the branch: what is left of
//! `if (f(x))` when `f`, which returns 0 or 1 by itself, was built in line. Out: the edge leads on.
#![forbid(unsafe_code)]

use crate::ir::fold::{evaluate, holds, width_of};
use crate::ir::func::{Edge, Function, Op, Terminator, UnaryOp, Value};

/// Operations of the block.
const MOST_NODES: usize = 6;
/// Edges that are led on one after the other.
const MOST_STEPS: usize = 4;

/// Whether anything changed.
pub(crate) fn run(function: &mut Function) -> bool {
    let private = private_blocks(function);
    if !private.contains(&true) {
        return false;
    }
    let mut any = false;
    for at in 0..function.blocks.len() {
        let mut end = function.blocks[at].end.clone();
        let mut changed = false;
        for edge in end.edges_mut() {
            for _ in 0..MOST_STEPS {
                let to = edge.to.index();
                if to == at || !private[to] {
                    break;
                }
                let Some(further) = decided(function, edge) else { break };
                *edge = further;
                changed = true;
            }
        }
        if changed {
            function.blocks[at].end = end;
            any = true;
        }
    }
    any
}

/// Blocks that only decide, by what they are given, and whose values nobody else uses.
fn private_blocks(function: &Function) -> Vec<bool> {
    let decides = |(at, block): (usize, &crate::ir::func::Block)| {
        at > 0
            && !block.params.is_empty()
            && matches!(block.end, Terminator::Branch(..))
            && block.nodes.len() <= MOST_NODES
            && block.nodes.iter().all(|&node| function.op(node).is_pure())
    };
    let mut private: Vec<bool> = function.blocks.iter().enumerate().map(decides).collect();
    if !private.contains(&true) {
        return private;
    }
    // Where values of such blocks are defined.
    let mut home = vec![usize::MAX; function.nodes.len()];
    for (at, block) in function.blocks.iter().enumerate().filter(|&(at, _)| private[at]) {
        for value in block.params.iter().chain(&block.nodes) {
            home[value.index()] = at;
        }
    }
    for (at, block) in function.blocks.iter().enumerate() {
        // Loops keep their heads. Blocks are in reverse post-order: only loops lead back.
        block
            .end
            .edges()
            .filter(|edge| edge.to.index() <= at)
            .for_each(|edge| private[edge.to.index()] = false);
        let mut see = |value: Value| {
            let home = home[value.index()];
            if home != usize::MAX && home != at {
                private[home] = false;
            }
        };
        for &node in &block.nodes {
            match function.op(node) {
                Op::Call(_, list) => function.args[list.0 as usize].iter().for_each(|&arg| see(arg)), // u32 to usize
                op => op.visit(&mut see),
            }
        }
        block.end.visit_own(&mut see);
        block.end.edges().flat_map(|edge| &edge.args).for_each(|&arg| see(arg));
    }
    private
}

/// Where an edge to such a block leads on, if its arguments decide that and nothing has to be computed on the way.
fn decided(function: &mut Function, edge: &Edge) -> Option<Edge> {
    let block = &function.blocks[edge.to.index()];
    let Terminator::Branch(condition, then, otherwise) = &block.end else { return None };
    // What is known of the block's values on this way: a number, or that it is another value.
    let mut known: Vec<(Value, Known)> = Vec::with_capacity(block.params.len() + block.nodes.len());
    for (&param, &arg) in block.params.iter().zip(&edge.args) {
        known.push((param, function.constant(arg).map_or(Known::Value(arg), Known::Number)));
    }
    for &node in &block.nodes {
        known.push((node, follow(function, &known, node)));
    }
    let Known::Number(number) = look(function, &known, *condition) else { return None };
    let way = if number != 0 { then } else { otherwise };
    let (to, args) = (way.to, way.args.clone());
    let insn = block.end_insn;
    let mut passed = Vec::with_capacity(args.len());
    for arg in args {
        passed.push(match look(function, &known, arg) {
            Known::Value(value) => value,
            Known::Number(number) => match function.constant(arg) {
                Some(_) => arg,
                None => function.add(Op::Const(number), function.ty(arg), insn),
            },
            Known::Computed => return None,
        });
    }
    Some(Edge { to, args: passed })
}

#[derive(Clone, Copy)]
enum Known {
    Number(u64),
    /// A value from outside the block.
    Value(Value),
    /// By the block, of what is not known.
    Computed,
}

fn look(function: &Function, known: &[(Value, Known)], value: Value) -> Known {
    match known.iter().find(|&&(found, _)| found == value) {
        Some(&(_, known)) => known,
        None => function.constant(value).map_or(Known::Value(value), Known::Number),
    }
}

fn follow(function: &Function, known: &[(Value, Known)], node: Value) -> Known {
    let number = |value| match look(function, known, value) {
        Known::Number(number) => Some(number),
        Known::Value(_) | Known::Computed => None,
    };
    let ty = function.ty(node);
    let result = match function.op(node) {
        Op::Unary(UnaryOp::Reduce | UnaryOp::Widen, a) => number(a).map(|number| number & ty.mask()),
        Op::Binary(op, a, b) => {
            width_of(ty).zip(number(a).zip(number(b))).and_then(|(width, (a, b))| evaluate(op, width, a, b))
        }
        Op::Compare(condition, a, b) => {
            number(a).zip(number(b)).map(|(x, y)| u64::from(holds(condition, function.ty(a), x, y)))
        }
        Op::Select(condition, a, b) => {
            return match number(condition) {
                Some(0) => look(function, known, b),
                Some(_) => look(function, known, a),
                None => Known::Computed,
            };
        }
        _ => None,
    };
    result.map_or(Known::Computed, Known::Number)
}
