//! Gives each way through a loop's body its own test at the end.
//!
//! In: a block that does next to nothing but decide whether a loop goes on, and to which several others jump. Out: a
//! copy of it in each of them, so that a round takes one jump instead of two. What it computes and others use after
//! the loop reaches them as parameters.
#![forbid(unsafe_code)]

use crate::ir::func::{BlockId, Edge, Function, Op, Terminator, Value};

/// Operations of the test.
const MOST_NODES: usize = 4;
/// Copies.
const MOST_COPIES: usize = 32;
/// Loops of one function: each costs a look at all of it.
const MOST_LOOPS: usize = 64;

pub(crate) fn run(function: &mut Function) {
    let mut loops = 0;
    for at in 0..function.blocks.len() {
        if loops == MOST_LOOPS {
            return;
        }
        if let Some(latch) = latch(function, at) {
            copy(function, &latch);
            loops += 1;
        }
    }
}

/// The end of a loop.
struct Latch {
    at: usize,
    /// Where the loop is left to; nothing else leads there.
    exit: BlockId,
    /// Blocks that jump here.
    sources: Vec<usize>,
}

fn latch(function: &Function, at: usize) -> Option<Latch> {
    let block = &function.blocks[at];
    let Terminator::Branch(_, then, otherwise) = &block.end else { return None };
    // Blocks are in reverse post-order: only loops lead back.
    let goes_back = |edge: &Edge| edge.to.index() < at;
    let exit = match (goes_back(then), goes_back(otherwise)) {
        (true, false) => otherwise.to,
        (false, true) => then.to,
        (true, true) | (false, false) => return None,
    };
    let small =
        block.nodes.len() <= MOST_NODES && block.nodes.iter().all(|&node| function.op(node).is_pure());
    if !small || exit.index() == at {
        return None;
    }
    let mut sources = Vec::new();
    let mut ways_out = 0;
    for (from, other) in function.blocks.iter().enumerate() {
        ways_out += other.end.edges().filter(|edge| edge.to == exit).count();
        match &other.end {
            Terminator::Jump(edge) if edge.to.index() == at => sources.push(from),
            Terminator::Jump(_)
            | Terminator::Branch(..)
            | Terminator::Switch(..)
            | Terminator::Return(_)
            | Terminator::Trap(_) => {}
        }
    }
    let worthwhile = (2..=MOST_COPIES).contains(&sources.len());
    (worthwhile && ways_out == 1).then_some(Latch { at, exit, sources })
}

fn copy(function: &mut Function, latch: &Latch) {
    let block = function.blocks[latch.at].clone();
    let own: Vec<Value> = block.params.iter().chain(&block.nodes).copied().collect();
    // All blocks that may use a value of the test lie behind the exit.
    let mut same = vec![None; function.nodes.len()];
    let mut passed = Vec::new();
    for value in used_elsewhere(function, latch.at, &own) {
        let ty = function.ty(value);
        let param = function.add_param(latch.exit, ty, block.end_insn);
        same[value.index()] = Some(param);
        passed.push(value);
    }
    let ops: Vec<_> = block.nodes.iter().map(|&node| function.op(node)).collect();
    super::replace(function, &same);
    for (&node, op) in block.nodes.iter().zip(ops) {
        function.nodes[node.index()].op = op;
    }
    let mut end = block.end.clone();
    for edge in end.edges_mut().filter(|edge| edge.to == latch.exit) {
        edge.args.extend(&passed);
    }
    for &source in &latch.sources {
        let Terminator::Jump(edge) = function.blocks[source].end.clone() else {
            unreachable!("a source jumps")
        };
        let mut copied: Vec<(Value, Value)> = block.params.iter().copied().zip(edge.args).collect();
        for &node in &block.nodes {
            let mut op = function.op(node);
            op.map(|value| renamed(&copied, value));
            let (ty, insn) = (function.ty(node), function.nodes[node.index()].insn);
            let copy = function.add(op, ty, insn);
            function.blocks[source].nodes.push(copy);
            copied.push((node, copy));
        }
        let mut end = end.clone();
        end.map(|value| renamed(&copied, value));
        function.blocks[source].end = end;
        function.blocks[source].end_insn = block.end_insn;
    }
    // For those that come here by a branch.
    function.blocks[latch.at].end = end;
}

fn renamed(copied: &[(Value, Value)], value: Value) -> Value {
    copied.iter().find(|&&(from, _)| from == value).map_or(value, |&(_, to)| to)
}

/// Which values of block `at` are used in other blocks.
fn used_elsewhere(function: &Function, at: usize, values: &[Value]) -> Vec<Value> {
    // By value: whether it is one of them, and whether it is used.
    let mut known = vec![(false, false); function.nodes.len()];
    for value in values {
        known[value.index()].0 = true;
    }
    let mut see = |value: Value| known[value.index()].1 = true;
    for (index, block) in function.blocks.iter().enumerate() {
        if index == at {
            continue;
        }
        for &node in &block.nodes {
            match function.op(node) {
                Op::Call(_, list) => {
                    function.args[list.0 as usize].iter().for_each(|&arg| see(arg)); // u32 to usize
                }
                op => op.visit(&mut see),
            }
        }
        block.end.visit_own(&mut see);
        for edge in block.end.edges() {
            edge.args.iter().for_each(|&arg| see(arg));
        }
    }
    values.iter().filter(|value| known[value.index()] == (true, true)).copied().collect()
}
