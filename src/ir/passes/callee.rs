//! Gives each way into a block its own call, where the map that the call is for depends on the way.
//!
//! Compilers join the calls at the end of two branches: `p = v4 ? lookup(&a, k) : lookup(&b, k)` becomes one call of a map
//! that was chosen before. With a call for each map, each knows its map again.
#![forbid(unsafe_code)]

use beelift_runtime::helper;

use crate::ir::func::{Address, ArgList, Edge, Function, Op, Target, Terminator, Value};
use crate::isa::MapSlot;

/// Ways into the block.
const MOST_WAYS: usize = 4;
/// Operations before the call.
const MOST_NODES: usize = 4;

/// Whether anything changed.
pub(crate) fn run(function: &mut Function) -> bool {
    let calls = |&node: &Value| matches!(function.op(node), Op::Call(Target::Helper(id), _) if helper::specialises(id));
    let found = |at: &usize| function.blocks[*at].nodes.iter().any(calls);
    let candidates: Vec<usize> = (1..function.blocks.len()).filter(found).collect();
    let mut any = false;
    for at in candidates {
        if let Some(choice) = choice(function, at) {
            split(function, at, &choice);
            any = true;
        }
    }
    any
}

/// A call of a map that each way into its block knows.
struct Choice {
    helper: u32,
    list: ArgList,
    /// Where in the block it is.
    position: usize,
    /// Blocks that lead here, which of their edges does, and the map it brings.
    ways: Vec<(usize, usize, MapSlot)>,
}

fn choice(function: &Function, at: usize) -> Option<Choice> {
    let block = &function.blocks[at];
    let position = block.nodes.iter().position(|&node| !function.op(node).is_pure())?;
    let Op::Call(Target::Helper(helper), list) = function.op(block.nodes[position]) else { return None };
    if position > MOST_NODES || !helper::specialises(helper) {
        return None;
    }
    let map = *function.args[list.0 as usize].first()?; // u32 to usize
    let param = block.params.iter().position(|&param| param == map)?;
    let mut ways = Vec::new();
    for (from, source) in function.blocks.iter().enumerate() {
        for (way, edge) in source.end.edges().enumerate() {
            if edge.to.index() != at {
                continue;
            }
            let Op::Address(Address::MapHandle(slot)) = function.op(edge.args[param]) else { return None };
            ways.push((from, way, slot));
        }
    }
    (2..=MOST_WAYS).contains(&ways.len()).then_some(Choice { helper, list, position, ways })
}

fn split(function: &mut Function, at: usize, choice: &Choice) {
    let params = function.blocks[at].params.clone();
    let before: Vec<Value> = function.blocks[at].nodes[..choice.position].to_vec();
    let call = function.blocks[at].nodes.remove(choice.position);
    for &(from, way, slot) in &choice.ways {
        let new = function.add_block();
        function.blocks[new.index()].end_insn = function.nodes[call.index()].insn;
        let edge = function.blocks[from].end.edges_mut().nth(way).expect("found there");
        let mut edge = std::mem::replace(edge, Edge { to: new, args: Vec::new() });
        let mut copied: Vec<(Value, Value)> = params.iter().copied().zip(edge.args.iter().copied()).collect();
        let renamed = |copied: &[(Value, Value)], value: Value| {
            copied.iter().find(|&&(from, _)| from == value).map_or(value, |&(_, to)| to)
        };
        for &node in &before {
            let mut op = function.op(node);
            op.map(|value| renamed(&copied, value));
            let copy = function.add(op, function.ty(node), function.nodes[node.index()].insn);
            function.blocks[new.index()].nodes.push(copy);
            copied.push((node, copy));
        }
        let list = choice.list.0 as usize; // u32 to usize
        let args = function.args[list].iter().map(|&arg| renamed(&copied, arg)).collect();
        let list = function.add_args(args, function.frame_uses[list].clone());
        let op = Op::Call(Target::MapHelper(choice.helper, slot), list);
        let result = function.add(op, function.ty(call), function.nodes[call.index()].insn);
        function.blocks[new.index()].nodes.push(result);
        edge.args.push(result);
        function.blocks[new.index()].end = Terminator::Jump(edge);
    }
    // The result comes from outside now.
    function.nodes[call.index()].op = Op::Param;
    function.blocks[at].params.push(call);
}
