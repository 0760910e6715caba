//! Orders blocks, drops those that nothing reaches, and operations and parameters that nothing needs.
//!
//! A value is needed if an effect, a condition or a result needs it; a parameter that only feeds itself
//! around a loop is not.
#![forbid(unsafe_code)]

use crate::ir::func::{Block, BlockId, Function, Op, Value};

pub(crate) fn run(function: &mut Function) {
    order_blocks(function);
    let needed = needed(function);
    let kept: Vec<Vec<bool>> = function
        .blocks
        .iter()
        .enumerate()
        .map(|(at, block)| block.params.iter().map(|param| at == 0 || needed[param.index()]).collect())
        .collect();
    for (block, kept_here) in function.blocks.iter_mut().zip(&kept) {
        let mut keep = kept_here.iter();
        block.params.retain(|_| *keep.next().expect("as long as the parameters"));
        block.nodes.retain(|value| needed[value.index()]);
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

/// Which values are needed; those of operations that may not be dropped always are.
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

/// Puts blocks into reverse post-order, so that every value is defined before the blocks that use it; blocks that
/// nothing reaches are dropped.
pub(super) fn order_blocks(function: &mut Function) {
    let mut post = Vec::with_capacity(function.blocks.len());
    let mut seen = vec![false; function.blocks.len()];
    let mut stack = vec![(BlockId(0), 0)];
    seen[0] = true;
    while let Some((block, step)) = stack.pop() {
        let Some(edge) = function.blocks[block.index()].end.edges().nth(step) else {
            post.push(block);
            continue;
        };
        stack.push((block, step + 1));
        if !std::mem::replace(&mut seen[edge.to.index()], true) {
            stack.push((edge.to, 0));
        }
    }
    post.reverse();
    let mut position = vec![BlockId(0); function.blocks.len()];
    for (at, &block) in post.iter().enumerate() {
        position[block.index()] = BlockId(u32::try_from(at).expect("fewer blocks than 2^32"));
    }
    let mut old: Vec<Option<Block>> = std::mem::take(&mut function.blocks).into_iter().map(Some).collect();
    for block in post {
        let mut block = old[block.index()].take().expect("each block is in the order once");
        for edge in block.end.edges_mut() {
            edge.to = position[edge.to.index()];
        }
        function.blocks.push(block);
    }
}
