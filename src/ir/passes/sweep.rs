//! Drops blocks that nothing reaches, and operations and parameters that nothing needs.
//!
//! A value is needed if an effect, a condition or a result needs it; a parameter that only feeds itself
//! around a loop is not.
#![forbid(unsafe_code)]

use crate::ir::func::{BlockId, Function, Op, Value};

pub(crate) fn run(function: &mut Function) {
    drop_blocks(function);
    let needed = needed(function);
    let kept: Vec<Vec<bool>> = function
        .blocks
        .iter()
        .enumerate()
        .map(|(at, block)| block.params.iter().map(|param| at == 0 || needed[param.index()]).collect())
        .collect();
    let nodes = &function.nodes;
    for (block, kept_here) in function.blocks.iter_mut().zip(&kept) {
        let mut keep = kept_here.iter();
        block.params.retain(|_| *keep.next().expect("as long as the parameters"));
        block.nodes.retain(|value| needed[value.index()] || !nodes[value.index()].op.is_removable());
        for edge in block.end.edges_mut() {
            let mut keep = kept[edge.to.index()].iter();
            edge.args.retain(|_| *keep.next().expect("one argument a parameter"));
        }
    }
    let frame_used =
        needed.iter().zip(&function.nodes).any(|(&needed, node)| needed && matches!(node.op, Op::Frame(_)));
    if !frame_used {
        function.frame_size = 0;
    }
}

fn needed(function: &Function) -> Vec<bool> {
    let mut needed = vec![false; function.nodes.len()];
    let mut work: Vec<Value> = Vec::new();
    // Where the values of a parameter come from.
    let mut supplied: Vec<Vec<Value>> = Vec::new();
    let mut supply_of = vec![u32::MAX; function.nodes.len()];
    for block in &function.blocks {
        for param in &block.params {
            supply_of[param.index()] = u32::try_from(supplied.len()).expect("fewer parameters than 2^32");
            supplied.push(Vec::new());
        }
    }
    for block in &function.blocks {
        for &value in &block.nodes {
            if !function.op(value).is_removable() {
                work.push(value);
            }
        }
        block.end.visit_own(|value| work.push(value));
        for edge in block.end.edges() {
            for (&param, &arg) in function.blocks[edge.to.index()].params.iter().zip(&edge.args) {
                supplied[supply_of[param.index()] as usize].push(arg); // u32 to usize
            }
        }
    }
    while let Some(value) = work.pop() {
        if std::mem::replace(&mut needed[value.index()], true) {
            continue;
        }
        match function.op(value) {
            Op::Param => work.extend(&supplied[supply_of[value.index()] as usize]), // u32 to usize
            Op::Call(_, list) => work.extend(&function.args[list.0 as usize]),      // u32 to usize
            op => op.visit(|operand| work.push(operand)),
        }
    }
    needed
}

fn drop_blocks(function: &mut Function) {
    let mut position = vec![u32::MAX; function.blocks.len()];
    let mut work = vec![BlockId(0)];
    while let Some(block) = work.pop() {
        if std::mem::replace(&mut position[block.index()], 0) != u32::MAX {
            continue;
        }
        work.extend(function.blocks[block.index()].end.edges().map(|edge| edge.to));
    }
    let mut count = 0;
    for place in position.iter_mut().filter(|place| **place == 0) {
        *place = count;
        count += 1;
    }
    if count as usize == function.blocks.len() {
        return;
    }
    let mut at = 0;
    function.blocks.retain(|_| {
        at += 1;
        position[at - 1] != u32::MAX
    });
    for block in &mut function.blocks {
        for edge in block.end.edges_mut() {
            edge.to = BlockId(position[edge.to.index()]);
        }
    }
}
