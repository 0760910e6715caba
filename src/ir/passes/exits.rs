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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::func::Edge;
    use crate::isa::InsnId;

    /// A loop that goes on while its counter differs from the limit, or while it does not (`op`), and how it ends after the
    /// pass. What goes back to the head is the counter plus `more`; a second way in starts at `other`.
    fn ended(op: Condition, start: i64, step: i64, limit: i64, more: i64, other: i64) -> Condition {
        let mut function = Function::new("counts", 0);
        let blocks = [0; 5].map(|_| function.add_block());
        let [entry, way, head, test, out] = blocks;
        let at = InsnId(0);
        let asked = function.add_param(entry, Type::I64, at);
        let mut number = |number: i64| function.add(Op::Const(number.cast_unsigned()), Type::I64, at);
        let (start, step, limit, more, other) =
            (number(start), number(step), number(limit), number(more), number(other));
        let param = function.add_param(head, Type::I64, at);
        let counter = function.add(Op::Binary(BinaryOp::Add, param, step), Type::I64, at);
        let changed = function.add(Op::Binary(BinaryOp::Add, counter, more), Type::I64, at);
        let condition = function.add(Op::Compare(op, counter, limit), Type::I8, at);
        let goes_on = if function.constant(more) == Some(0) { counter } else { changed };
        let edge = |to, args: &[Value]| Edge { to, args: args.to_vec() };
        function.blocks[entry.index()].end = Terminator::Branch(asked, edge(way, &[]), edge(head, &[start]));
        function.blocks[way.index()].end = Terminator::Jump(edge(head, &[other]));
        function.blocks[head.index()].end = Terminator::Jump(edge(test, &[]));
        function.blocks[test.index()].nodes = vec![counter, changed, condition];
        let (back, leave) = (edge(head, &[goes_on]), edge(out, &[]));
        function.blocks[test.index()].end = if op == Condition::Ne {
            Terminator::Branch(condition, back, leave)
        } else {
            Terminator::Branch(condition, leave, back)
        };
        function.blocks[out.index()].end = Terminator::Return(asked);
        run(&mut function);
        match function.op(condition) {
            Op::Compare(op, ..) => op,
            op => unreachable!("{op:?}"),
        }
    }

    #[test]
    fn a_counter_that_meets_its_limit_ends_the_loop_by_order() {
        use Condition::{Eq, Ne, SGe, SGt, SLe, SLt};
        assert_eq!(ended(Ne, -3, 2, 5, 0, -3), SLt);
        assert_eq!(ended(Eq, -3, 2, 5, 0, -3), SGe);
        assert_eq!(ended(Ne, 5, -2, -3, 0, 5), SGt);
        assert_eq!(ended(Eq, 5, -2, -3, 0, 5), SLe);
    }

    #[test]
    fn one_that_may_miss_it_does_not() {
        for op in [Condition::Eq, Condition::Ne] {
            // Steps over it, runs away from it, is there before the first step, goes on with another number, has two starts.
            assert_eq!(ended(op, 0, 3, 10, 0, 0), op);
            assert_eq!(ended(op, 10, 1, 5, 0, 10), op);
            assert_eq!(ended(op, 5, -1, 10, 0, 5), op);
            assert_eq!(ended(op, 5, 1, 5, 0, 5), op);
            assert_eq!(ended(op, 0, 1, 10, 1, 0), op);
            assert_eq!(ended(op, 0, 1, 10, 0, 20), op);
        }
    }
}
