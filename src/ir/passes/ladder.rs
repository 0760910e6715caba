//! Comparisons of one number with many constants become one jump through a table.
//!
//! In: a tree of blocks that do nothing but compare the same value with small constants (what is left of a
//! `switch`). Out: a `Switch` in place of the root's branch. Above the table all numbers must take one way, or
//! the form itself must show that there are none.
#![forbid(unsafe_code)]

use crate::ir::fold::{fits, holds};
use crate::ir::func::{BlockId, Condition, Edge, Function, Op, Terminator, Value};

/// Fewer comparisons are predicted better: of a jump through a table the whole target must be, and whether it is
/// depends on what else runs on the machine.
const FEWEST: usize = 24;
/// Largest table.
const MOST: u64 = 64;
/// Comparisons looked at.
const MOST_TESTS: usize = 64;

pub(crate) fn run(function: &mut Function) {
    if function.blocks.len() < FEWEST {
        return;
    }
    let mut preds = vec![0_u32; function.blocks.len()];
    for block in &function.blocks {
        for edge in block.end.edges() {
            preds[edge.to.index()] += 1;
        }
    }
    // Roots come before what hangs below them.
    let mut inside = vec![false; function.blocks.len()];
    for at in 0..function.blocks.len() {
        if inside[at] {
            continue;
        }
        let Some(tree) = Tree::under(function, at, &preds) else { continue };
        // Looked at once, whatever comes of it: the work stays linear.
        for (block, _) in &tree.tests {
            inside[block.index()] = true;
        }
        if let Some(end) = tree.table(function) {
            function.blocks[at].end = end;
        }
    }
}

/// A comparison of the tree's value with a constant.
#[derive(Clone, Copy)]
struct Test {
    condition: Condition,
    constant: u64,
}

struct Tree {
    value: Value,
    root: BlockId,
    tests: Vec<(BlockId, Test)>,
}

impl Tree {
    /// The tree of comparisons that begins with the end of a block.
    fn under(function: &Function, root: usize, preds: &[u32]) -> Option<Self> {
        let root = BlockId(u32::try_from(root).ok()?);
        let (value, _) = test_of(function, root)?;
        let mut tree = Self { value, root, tests: Vec::new() };
        let mut work = vec![root];
        while let Some(block) = work.pop() {
            let Some((found, test)) = test_of(function, block) else { continue };
            let only_compares = function.blocks[block.index()].params.is_empty()
                && function.blocks[block.index()]
                    .nodes
                    .iter()
                    .all(|&node| matches!(function.op(node), Op::Compare(..)));
            if found != value || (block != root && (!only_compares || preds[block.index()] != 1)) {
                continue;
            }
            if tree.tests.len() == MOST_TESTS || tree.tests.iter().any(|&(seen, _)| seen == block) {
                continue;
            }
            tree.tests.push((block, test));
            work.extend(function.blocks[block.index()].end.edges().map(|edge| edge.to));
        }
        (tree.tests.len() >= FEWEST).then_some(tree)
    }

    /// The jump that does what the tree does.
    fn table(&self, function: &Function) -> Option<Terminator> {
        let highest = self.tests.iter().map(|&(_, test)| test.constant).max()?;
        // From the first number above all constants on, only the sign makes a difference.
        let bits = function.ty(self.value).bits();
        let known = (0..bits).find(|&few| fits(function, self.value, few));
        if bits > 32 && known.is_none_or(|few| few > 32) {
            // The table is indexed by 32 bits.
            return None;
        }
        let limit = known.map_or(u64::MAX, |few| 1_u64 << few);
        let numbers = limit.min(highest + 2);
        let default = self.leaf(function, highest + 1)?;
        if known.is_none() {
            let top = u64::MAX >> (64 - bits);
            if self.leaf(function, top)? != default || self.leaf(function, top / 2 + 1)? != default {
                return None;
            }
        }
        let table: Option<Vec<Edge>> =
            (0..numbers).map(|number| self.leaf(function, number).cloned()).collect();
        Some(Terminator::Switch(self.value, table?, default.clone()))
    }

    /// The edge that leaves the tree for a number.
    fn leaf<'a>(&self, function: &'a Function, number: u64) -> Option<&'a Edge> {
        let ty = function.ty(self.value);
        let mut at = self.root;
        for _ in 0..=self.tests.len() {
            let &(_, test) = self.tests.iter().find(|&&(block, _)| block == at)?;
            let Terminator::Branch(_, then, otherwise) = &function.blocks[at.index()].end else {
                return None;
            };
            let edge = if holds(test.condition, ty, number, test.constant) { then } else { otherwise };
            if !self.tests.iter().any(|&(block, _)| block == edge.to) {
                return Some(edge);
            }
            at = edge.to;
        }
        None
    }
}

/// What the end of a block compares, if it fits a table.
fn test_of(function: &Function, block: BlockId) -> Option<(Value, Test)> {
    let Terminator::Branch(condition, ..) = &function.blocks[block.index()].end else { return None };
    let Op::Compare(condition, value, constant) = function.op(*condition) else { return None };
    let constant = function.constant(constant).filter(|&constant| constant < MOST)?;
    Some((value, Test { condition, constant }))
}
