//! Joins a block with the only block that goes to it, and leaves out blocks that only jump on.
//!
//! Fewer blocks are fewer moves and less work for everyone after. Above all, a branch back to a loop's head must
//! name the head itself: Cranelift computes a value where it is first used, so in a block that only jumps back
//! it would compute the next counter there and need a second jump.
#![forbid(unsafe_code)]

use crate::ir::func::{Edge, Function, Op, Terminator, Value};

pub(crate) fn run(function: &mut Function) {
    skip_empty(function);
    // Blocks that are no longer reached must not count as ways in.
    super::sweep::order_blocks(function);
    let mut preds = vec![0_u32; function.blocks.len()];
    preds[0] = 1;
    for block in &function.blocks {
        for edge in block.end.edges() {
            preds[edge.to.index()] += 1;
        }
    }
    let mut same: Vec<Option<Value>> = Vec::new();
    for at in 0..function.blocks.len() {
        if preds[at] == 0 {
            continue;
        }
        while let Terminator::Jump(edge) = &function.blocks[at].end {
            let to = edge.to.index();
            if to == at || to == 0 || preds[to] != 1 {
                break;
            }
            let args = edge.args.clone();
            let next = &mut function.blocks[to];
            let (params, nodes) = (std::mem::take(&mut next.params), std::mem::take(&mut next.nodes));
            let (end, end_insn) = (next.end.clone(), next.end_insn);
            next.end = Terminator::Trap(beelift_runtime::TrapKind::InvalidInsn);
            preds[to] = 0;
            same.resize(function.nodes.len(), None);
            for (param, arg) in params.into_iter().zip(args) {
                same[param.index()] = Some(arg);
            }
            let block = &mut function.blocks[at];
            block.nodes.extend(nodes);
            block.end = end;
            block.end_insn = end_insn;
        }
    }
    if !same.is_empty() {
        super::replace(function, &same);
    }
}

/// Edges to blocks without work go where those blocks go.
fn skip_empty(function: &mut Function) {
    let wanted = wanted_elsewhere(function);
    // Where a block leads, and the parameters it only passes on.
    let next: Vec<Option<(Vec<Value>, Edge)>> = function
        .blocks
        .iter()
        .enumerate()
        .map(|(at, block)| match &block.end {
            Terminator::Jump(edge) if block.nodes.is_empty() && edge.to.index() != at => {
                let passes = at > 0 && !block.params.iter().any(|param| wanted[param.index()]);
                passes.then(|| (block.params.clone(), edge.clone()))
            }
            Terminator::Jump(_)
            | Terminator::Branch(..)
            | Terminator::Switch(..)
            | Terminator::Return(_)
            | Terminator::Trap(_) => None,
        })
        .collect();
    for block in &mut function.blocks {
        for edge in block.end.edges_mut() {
            // A few steps suffice; an endless empty loop ends here too.
            for _ in 0..4 {
                let Some((params, further)) = &next[edge.to.index()] else { break };
                let passed = |&arg: &Value| match params.iter().position(|&param| param == arg) {
                    Some(position) => edge.args[position],
                    None => arg,
                };
                let args = further.args.iter().map(passed).collect();
                *edge = Edge { to: further.to, args };
            }
        }
    }
}

/// By value: whether anything but the ways out of the block it is a parameter of uses it.
fn wanted_elsewhere(function: &Function) -> Vec<bool> {
    let mut wanted = vec![false; function.nodes.len()];
    let mut own = vec![usize::MAX; function.nodes.len()];
    for (at, block) in function.blocks.iter().enumerate() {
        for param in &block.params {
            own[param.index()] = at;
        }
    }
    for (at, block) in function.blocks.iter().enumerate() {
        let mut want = |value: Value| wanted[value.index()] = true;
        for &node in &block.nodes {
            match function.op(node) {
                Op::Call(_, list) => function.args[list.0 as usize].iter().for_each(|&arg| want(arg)), // u32 to usize
                op => op.visit(&mut want),
            }
        }
        block.end.visit_own(&mut want);
        for &arg in block.end.edges().flat_map(|edge| &edge.args) {
            if own[arg.index()] != at {
                want(arg);
            }
        }
    }
    wanted
}
