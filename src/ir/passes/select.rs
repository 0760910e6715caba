//! Turns a branch around next to nothing into a choice of values.
//!
//! Where the arms hold nothing but changes of width and at most two values differ, the choice costs what a predicted
//! branch costs, and a mispredicted one is saved. A choice between two constants stays a branch: mostly later work
//! waits for it (a shift count of a binary logarithm), and a predicted branch does not wait; unless it depends on a
//! single bit, as in a checksum. Where data are compared
//! with data (a binary search, a merge), no predictor helps: there an arm may hold an operation, and stores to the
//! stack, whose bytes are only ours: where the other arm leaves them alone, they are given back what they hold.
#![forbid(unsafe_code)]

use crate::ir::func::{BinaryOp, Class, Condition, Edge, Function, Op, Place, Terminator, UnaryOp, Value};

/// Values that may differ between the arms.
const MOST: usize = 2;

/// Changes of width in one arm.
const MOST_FREE: usize = 4;

/// Operations in one arm of a branch that nothing foresees.
const MOST_CHEAP: usize = 1;

/// Stores in such an arm.
const MOST_STORES: usize = 2;

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
    stores: Vec<Stored>,
}

/// A store in one of the arms.
struct Stored {
    store: Value,
    /// Whether it is the arm of `then`.
    then: bool,
    /// What is there before.
    before: Value,
}

/// A way out of a branch.
#[derive(Clone)]
struct Arm {
    edge: Edge,
    free: Vec<Value>,
    stores: Vec<Value>,
}

fn arms(function: &Function, at: usize, preds: &[u32]) -> Option<Choice> {
    let Terminator::Branch(condition, then, otherwise) = &function.blocks[at].end else { return None };
    let unforeseen = unforeseen(function, *condition);
    let ways = |edge: &Edge| {
        let direct = Arm { edge: edge.clone(), free: Vec::new(), stores: Vec::new() };
        [pass_arm(function, edge, preds, unforeseen), Some(direct)]
    };
    let (thens, otherwises) = (ways(then), ways(otherwise));
    let pairs = thens.iter().flatten().flat_map(|a| otherwises.iter().flatten().map(move |b| (a, b)));
    let (then, otherwise) =
        pairs.into_iter().find(|(a, b)| a.edge.to == b.edge.to && a.edge.to.index() != at)?;
    if !then.stores.is_empty() && !otherwise.stores.is_empty() {
        return None;
    }
    let stored = |arm: &Arm, then| {
        let held = |&store: &Value| Some(Stored { store, then, before: held_before(function, at, store)? });
        arm.stores.iter().map(held).collect::<Option<Vec<Stored>>>()
    };
    let mut stores = stored(then, true)?;
    stores.extend(stored(otherwise, false)?);
    let args = then.edge.args.iter().zip(&otherwise.edge.args);
    let constant = |value| matches!(function.op(value), Op::Const(_));
    let differing: Vec<(Value, Value)> = args.filter(|(a, b)| a != b).map(|(&a, &b)| (a, b)).collect();
    let between_constants = differing.iter().any(|&(a, b)| constant(a) && constant(b));
    let worthwhile =
        differing.len() + stores.len() <= MOST && (!between_constants || tests_bit(function, *condition));
    worthwhile.then(|| Choice {
        condition: *condition,
        free: [then.free.as_slice(), &otherwise.free].concat(),
        then: then.edge.clone(),
        otherwise: otherwise.edge.clone(),
        stores,
    })
}

/// Whether a condition compares data with data.
fn unforeseen(function: &Function, condition: Value) -> bool {
    let datum = |value| !matches!(function.op(value), Op::Const(_) | Op::Address(_) | Op::Frame(_));
    matches!(function.op(condition), Op::Compare(_, a, b) if datum(a) && datum(b))
}

/// Whether a condition depends on the lowest bit of a number.
fn tests_bit(function: &Function, condition: Value) -> bool {
    let Op::Compare(Condition::Eq | Condition::Ne, bit, zero) = function.op(condition) else { return false };
    let is = |value, number| function.constant(value) == Some(number);
    is(zero, 0) && matches!(function.op(bit), Op::Binary(BinaryOp::And, _, one) if is(one, 1))
}

/// The way out of a block that holds next to nothing, for the edge into it.
fn pass_arm(function: &Function, edge: &Edge, preds: &[u32], unforeseen: bool) -> Option<Arm> {
    let block = &function.blocks[edge.to.index()];
    let Terminator::Jump(next) = &block.end else { return None };
    let only_ours = block.nodes.is_empty() || preds[edge.to.index()] == 1;
    if !block.params.is_empty() || next.to == edge.to || !only_ours {
        return None;
    }
    let mut arm = Arm { edge: next.clone(), free: Vec::new(), stores: Vec::new() };
    let mut cheap = 0;
    for &value in &block.nodes {
        match function.op(value) {
            Op::Unary(UnaryOp::Widen | UnaryOp::Reduce, _) => arm.free.push(value),
            Op::Binary(op, ..) if unforeseen && is_cheap(op) => {
                cheap += 1;
                arm.free.push(value);
            }
            Op::Store(_, Place { class: Class::Stack, .. }, _) if unforeseen => arm.stores.push(value),
            _ => return None,
        }
    }
    let small = arm.free.len() <= MOST_FREE + cheap && cheap <= MOST_CHEAP && arm.stores.len() <= MOST_STORES;
    small.then_some(arm)
}

/// One cycle.
const fn is_cheap(op: BinaryOp) -> bool {
    match op {
        BinaryOp::Add
        | BinaryOp::Sub
        | BinaryOp::And
        | BinaryOp::Or
        | BinaryOp::Xor
        | BinaryOp::Shl
        | BinaryOp::LShr
        | BinaryOp::AShr => true,
        BinaryOp::Mul | BinaryOp::UDiv | BinaryOp::URem | BinaryOp::SDiv | BinaryOp::SRem => false,
    }
}

/// What the block already loaded from where a store goes, if nothing has changed it since.
fn held_before(function: &Function, at: usize, store: Value) -> Option<Value> {
    let Op::Store(size, to, stored) = function.op(store) else { return None };
    for &value in function.blocks[at].nodes.iter().rev() {
        match function.op(value) {
            Op::Load(loaded, _, from) if loaded == size && same_bytes(from, to) => {
                return (function.ty(value) == function.ty(stored)).then_some(value);
            }
            op if changes_memory(op) => return None,
            _ => {}
        }
    }
    None
}

fn same_bytes(a: Place, b: Place) -> bool {
    a.base == b.base && a.off == b.off && a.class == b.class
}

const fn changes_memory(op: Op) -> bool {
    match op {
        Op::Store(..)
        | Op::StoreRelease(..)
        | Op::AtomicRmw(..)
        | Op::AtomicCas(..)
        | Op::LoadAcquire(..)
        | Op::Call(..)
        | Op::TrapIf(..) => true,
        Op::Param
        | Op::Const(_)
        | Op::Address(_)
        | Op::Runtime
        | Op::Frame(_)
        | Op::Unary(..)
        | Op::Binary(..)
        | Op::Compare(..)
        | Op::Select(..)
        | Op::Load(..) => false,
    }
}

fn convert(function: &mut Function, at: usize, choice: Choice) {
    let Choice { condition, then, otherwise, free, stores } = choice;
    let insn = function.blocks[at].end_insn;
    let mut args = Vec::with_capacity(then.args.len());
    function.blocks[at].nodes.extend(free);
    for Stored { store, then, before } in stores {
        let Op::Store(size, place, value) = function.op(store) else { unreachable!("found by `pass_arm`") };
        let (a, b) = if then { (value, before) } else { (before, value) };
        let chosen = function.add(Op::Select(condition, a, b), function.ty(value), insn);
        function.nodes[store.index()].op = Op::Store(size, place, chosen);
        function.blocks[at].nodes.extend([chosen, store]);
    }
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
