//! Takes out block parameters that are one value on every way in.
//!
//! Optimistic: a parameter of a loop that only ever gets itself or one other value is that value. Each
//! parameter changes its mind at most twice, so the loop ends soon.
#![forbid(unsafe_code)]

use crate::ir::func::{Function, Op, Value};

/// What the ways in supply.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Supply {
    Nothing,
    One(Value),
    Many,
}

pub(crate) fn run(function: &mut Function) {
    let mut supplies = vec![Supply::Nothing; function.nodes.len()];
    let Some(entry) = function.blocks.first() else { return };
    for &param in &entry.params {
        supplies[param.index()] = Supply::Many;
    }
    let resolve = |supplies: &[Supply], value: Value| match function.op(value) {
        Op::Param => match supplies[value.index()] {
            Supply::Many => Supply::One(value),
            known @ (Supply::Nothing | Supply::One(_)) => known,
        },
        _ => Supply::One(value),
    };
    let mut changed = true;
    while changed {
        changed = false;
        for block in &function.blocks {
            for edge in block.end.edges() {
                for (&param, &arg) in function.blocks[edge.to.index()].params.iter().zip(&edge.args) {
                    let old = supplies[param.index()];
                    let new = match (old, resolve(&supplies, arg)) {
                        (old, Supply::Nothing) => old,
                        (Supply::Nothing, one) => one,
                        (Supply::One(a), Supply::One(b)) if a == b || b == param => old,
                        _ => Supply::Many,
                    };
                    if new != old {
                        supplies[param.index()] = new;
                        changed = true;
                    }
                }
            }
        }
    }
    apply(function, &supplies);
}

fn apply(function: &mut Function, supplies: &[Supply]) {
    let resolve = |value: Value| match supplies[value.index()] {
        Supply::One(other) => other,
        Supply::Nothing | Supply::Many => value,
    };
    if !supplies.iter().any(|supply| matches!(supply, Supply::One(_))) {
        return;
    }
    for node in &mut function.nodes {
        node.op.map(resolve);
    }
    for args in &mut function.args {
        for arg in args {
            *arg = resolve(*arg);
        }
    }
    let kept: Vec<Vec<bool>> = function
        .blocks
        .iter()
        .map(|block| {
            block.params.iter().map(|param| !matches!(supplies[param.index()], Supply::One(_))).collect()
        })
        .collect();
    for (block, kept_here) in function.blocks.iter_mut().zip(&kept) {
        let mut keep = kept_here.iter();
        block.params.retain(|_| *keep.next().expect("as long as the parameters"));
        block.end.map(resolve);
        for edge in block.end.edges_mut() {
            let mut keep = kept[edge.to.index()].iter();
            edge.args.retain(|_| *keep.next().expect("one argument a parameter"));
        }
    }
}
