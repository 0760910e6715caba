//! Loop exits by equality become exits by order: `i == n` with `i` counting up to `n` is `i >= n`.
//!
//! Cranelift turns `(x + a) == b` into `x == b - a` and then keeps both `x` and `x + a` alive through the loop,
//! which costs a move and a jump in each round. The proof needs no fact: the counter starts at a constant,
//! every way back to the loop's head comes from the test with one step added, and only where they still differ.
#![forbid(unsafe_code)]

use crate::ir::func::{BinaryOp, BlockId, Condition, Function, Op, Terminator, Type, Value};

pub(crate) fn run(function: &mut Function) {
    // Ways into each block.
    let mut sources: Vec<Vec<BlockId>> = vec![Vec::new(); function.blocks.len()];
    for (at, block) in function.blocks.iter().enumerate() {
        for edge in block.end.edges() {
            sources[edge.to.index()].push(BlockId(u32::try_from(at).expect("fewer blocks than 2^32")));
        }
    }
    for at in 0..function.blocks.len() {
        let Terminator::Branch(condition, then, otherwise) = &function.blocks[at].end else { continue };
        let Op::Compare(op @ (Condition::Eq | Condition::Ne), counter, limit) = function.op(*condition)
        else {
            continue;
        };
        let heads = [then.to, otherwise.to].map(|to| head(function, to));
        let better = heads.into_iter().find_map(|(head, through)| {
            let step =
                Counter { function, sources: &sources, test: at, through }.step(head, counter, limit)?;
            Some(ordered(op, step))
        });
        if let Some(better) = better {
            function.nodes[condition.index()].op = Op::Compare(better, counter, limit);
        }
    }
}

/// The block that an edge leads to, past a block that only jumps on.
fn head(function: &Function, to: BlockId) -> (BlockId, Option<BlockId>) {
    match &function.blocks[to.index()].end {
        Terminator::Jump(edge) if function.blocks[to.index()].params.is_empty() => (edge.to, Some(to)),
        Terminator::Jump(_)
        | Terminator::Branch(..)
        | Terminator::Switch(..)
        | Terminator::Return(_)
        | Terminator::Trap(_) => (to, None),
    }
}

const fn ordered(op: Condition, step: i64) -> Condition {
    match (op, step > 0) {
        (Condition::Eq, true) => Condition::SGe,
        (Condition::Eq, false) => Condition::SLe,
        (_, true) => Condition::SLt,
        (_, false) => Condition::SGt,
    }
}

struct Counter<'a> {
    function: &'a Function,
    sources: &'a [Vec<BlockId>],
    test: usize,
    /// Block between the test and the head, if there is one.
    through: Option<BlockId>,
}

impl Counter<'_> {
    /// The step of `counter`, if it goes from a constant to exactly `limit` in the loop at `head`.
    fn step(&self, head: BlockId, counter: Value, limit: Value) -> Option<i64> {
        let function = self.function;
        let Op::Binary(BinaryOp::Add, param, step) = function.op(counter) else { return None };
        let position = function.blocks[head.index()].params.iter().position(|&found| found == param)?;
        let ty = function.ty(counter);
        let signed = |value: Value| Some(sign_extended(ty, function.constant(value)?));
        let (step, limit) = (signed(step)?, signed(limit)?);
        let mut start = None;
        for &source in &self.sources[head.index()] {
            let from_test = source.index() == self.test || Some(source) == self.through;
            for edge in function.blocks[source.index()].end.edges().filter(|edge| edge.to == head) {
                let arg = edge.args[position];
                if from_test {
                    if arg != counter {
                        return None;
                    }
                } else {
                    let number = signed(arg)?;
                    if *start.get_or_insert(number) != number {
                        return None;
                    }
                }
            }
        }
        // The block between belongs to this loop alone.
        if let Some(through) = self.through
            && self.sources[through.index()].iter().any(|source| source.index() != self.test)
        {
            return None;
        }
        let way = limit.checked_sub(start?)?;
        let reaches = step != 0 && way != 0 && way.checked_rem(step) == Some(0) && (way > 0) == (step > 0);
        reaches.then_some(step)
    }
}

fn sign_extended(ty: Type, number: u64) -> i64 {
    let unused = 64 - ty.bits();
    (number << unused).cast_signed() >> unused
}
