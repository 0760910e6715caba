//! Control-flow graph of a program: basic blocks, edges, loops, call graph.
//!
//! In: a [`Program`]. Out: [`Cfg`], or the first instruction from which control leaves its subprogram. Every
//! instruction is in one block; blocks are numbered by ascending first instruction, so those of a subprogram are
//! neighbours. Orders and dominators speak of reachable blocks only. Not here: what instructions compute.
#![forbid(unsafe_code)]

use std::ops::Range;

use crate::isa::effects::{flow, subprogram};
use crate::isa::{Callee, Insn, InsnId, Pc};

use super::Program;

/// Number of a block.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BlockId(pub u32);

impl BlockId {
    /// As an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Instructions that run one after the other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Block {
    /// First instruction.
    pub first: InsnId,
    /// One past the last.
    pub end: InsnId,
    /// Index of its subprogram.
    pub subprogram: usize,
    /// Where control goes: fall-through first, then the jump target. Two equal ones if both are the same.
    pub successors: Vec<BlockId>,
    /// Where control comes from, ascending, each once.
    pub predecessors: Vec<BlockId>,
    /// Closest block that lies on every path from the entry; none for the entry itself and for what is
    /// unreachable.
    pub dominator: Option<BlockId>,
    /// Whether control gets here from the entry of the subprogram.
    pub reachable: bool,
    /// Whether some edge comes back to here: the target of an edge to a block that is still being visited by a
    /// depth-first walk. In a reducible graph these are the heads of the natural loops.
    pub loop_head: bool,
}

impl Block {
    /// Its instructions.
    pub fn insns(&self) -> impl DoubleEndedIterator<Item = InsnId> + use<> {
        (self.first.0..self.end.0).map(InsnId)
    }
    /// Its last instruction.
    #[must_use]
    pub fn last(&self) -> InsnId {
        InsnId(self.end.0 - 1)
    }
}

/// Blocks of one subprogram.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SubprogramCfg {
    /// Its blocks; the first one is the entry.
    pub blocks: Range<u32>,
    /// Reachable blocks, each before those it dominates, and before its successors but for edges back.
    pub reverse_postorder: Vec<BlockId>,
}

/// How one subprogram gets to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallKind {
    /// A call.
    Call,
    /// Its address is taken: a callback.
    Address,
}

/// An edge of the call graph.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CallEdge {
    /// Instruction.
    pub at: InsnId,
    /// Index of the subprogram that holds it.
    pub caller: usize,
    /// Index of the subprogram it names.
    pub callee: usize,
    /// How.
    pub kind: CallKind,
}

/// Control-flow graph of a program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cfg {
    /// Blocks by ascending first instruction.
    pub blocks: Vec<Block>,
    /// By subprogram.
    pub subprograms: Vec<SubprogramCfg>,
    /// Calls by ascending instruction.
    pub calls: Vec<CallEdge>,
    /// Block of each instruction.
    block_of: Vec<BlockId>,
}

/// Control leaves its subprogram.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CfgError {
    /// Execution runs past the last instruction of a subprogram.
    #[error("pc {at}: subprogram {name} ends without exit or jump")]
    FallsOff {
        /// Last instruction.
        at: Pc,
        /// Subprogram.
        name: String,
    },
    /// A jump into another subprogram.
    #[error("pc {at}: jump to pc {to}, out of subprogram {name}")]
    JumpOut {
        /// The jump.
        at: Pc,
        /// Its target.
        to: Pc,
        /// Subprogram.
        name: String,
    },
    /// A call into the middle of a subprogram.
    #[error("pc {at}: call to pc {to}, which starts no subprogram")]
    NoEntry {
        /// The call.
        at: Pc,
        /// Its target.
        to: Pc,
    },
}

impl CfgError {
    /// The instruction.
    #[must_use]
    pub const fn at(&self) -> Pc {
        match self {
            Self::FallsOff { at, .. } | Self::JumpOut { at, .. } | Self::NoEntry { at, .. } => *at,
        }
    }
}

impl Cfg {
    /// Builds the graph.
    ///
    /// # Errors
    /// Control leaves its subprogram.
    pub fn build(program: &Program) -> Result<Self, CfgError> {
        check(program)?;
        let calls = calls(program)?;
        let starts = starts(program);
        let count = program.insns.len();
        let mut block_of = vec![BlockId(0); count];
        let mut blocks: Vec<Block> = Vec::new();
        for (index, insn) in (0u32..).take(count).map(InsnId).enumerate() {
            if starts[index] {
                blocks.push(Block {
                    first: insn,
                    end: insn,
                    subprogram: program.subprogram_of(insn),
                    successors: Vec::new(),
                    predecessors: Vec::new(),
                    dominator: None,
                    reachable: false,
                    loop_head: false,
                });
            }
            block_of[index] = id(blocks.len() - 1);
            let block = blocks.last_mut().expect("the first instruction starts a block");
            block.end = insn.next();
        }
        let mut cfg = Self { blocks, subprograms: Vec::new(), calls, block_of };
        cfg.connect(program);
        let mut visits = vec![Visit::New; cfg.blocks.len()];
        for (index, subprogram) in program.subprograms.iter().enumerate() {
            let first = cfg.block_of(subprogram.entry);
            let end = cfg.block_of(InsnId(subprogram.end.0 - 1)).0 + 1;
            let reverse_postorder = cfg.walk(first, &mut visits);
            cfg.dominators(&reverse_postorder);
            debug_assert_eq!(cfg.blocks[first.index()].subprogram, index);
            cfg.subprograms.push(SubprogramCfg { blocks: first.0..end, reverse_postorder });
        }
        Ok(cfg)
    }

    /// The block that holds an instruction.
    #[must_use]
    pub fn block_of(&self, insn: InsnId) -> BlockId {
        self.block_of[insn.index()]
    }
    /// A block.
    #[must_use]
    pub fn block(&self, block: BlockId) -> &Block {
        &self.blocks[block.index()]
    }
    /// Entry block of a subprogram.
    #[must_use]
    pub fn entry(&self, subprogram: usize) -> BlockId {
        BlockId(self.subprograms[subprogram].blocks.start)
    }
    /// Whether every path from the entry to `block` passes `by`. Unreachable blocks are dominated by nothing.
    #[must_use]
    pub fn dominates(&self, by: BlockId, block: BlockId) -> bool {
        let mut at = block;
        loop {
            if at == by {
                return self.block(block).reachable;
            }
            match self.block(at).dominator {
                Some(dominator) => at = dominator,
                None => return false,
            }
        }
    }
    /// Edges that go back to a block that dominates their source: those of natural loops.
    pub fn back_edges(&self) -> impl Iterator<Item = (BlockId, BlockId)> + '_ {
        (0u32..).map(BlockId).zip(&self.blocks).flat_map(move |(from, block)| {
            let back = move |&&to: &&BlockId| self.dominates(to, from);
            block.successors.iter().filter(back).map(move |&to| (from, to))
        })
    }
    /// Strongly connected components of one subprogram's reachable blocks, in reverse postorder of their first
    /// blocks; only those that are loops (more than one block, or an edge to itself).
    #[must_use]
    pub fn loops(&self, subprogram: usize) -> Vec<Vec<BlockId>> {
        let order = &self.subprograms[subprogram].reverse_postorder;
        let first = self.subprograms[subprogram].blocks.start as usize;
        let count = self.subprograms[subprogram].blocks.len();
        let mut taken = vec![false; count];
        let mut loops = Vec::new();
        // Kosaraju: blocks in reverse postorder, each with what reaches it backwards and is not taken.
        for &root in order {
            if taken[root.index() - first] {
                continue;
            }
            let mut members = Vec::new();
            let mut stack = vec![root];
            taken[root.index() - first] = true;
            while let Some(block) = stack.pop() {
                members.push(block);
                for &from in &self.block(block).predecessors {
                    if self.block(from).reachable
                        && !std::mem::replace(&mut taken[from.index() - first], true)
                    {
                        stack.push(from);
                    }
                }
            }
            members.sort_unstable();
            if members.len() > 1 || self.block(root).successors.contains(&root) {
                loops.push(members);
            }
        }
        loops
    }

    fn connect(&mut self, program: &Program) {
        for index in 0..self.blocks.len() {
            let last = self.blocks[index].last();
            let successors: Vec<BlockId> =
                flow(&program.insns[last.index()]).successors(last).map(|to| self.block_of(to)).collect();
            for to in &successors {
                let predecessors = &mut self.blocks[to.index()].predecessors;
                if predecessors.last() != Some(&id(index)) {
                    predecessors.push(id(index));
                }
            }
            self.blocks[index].successors = successors;
        }
    }

    /// Depth first from an entry: marks what is reachable and the targets of edges back; reverse postorder.
    fn walk(&mut self, entry: BlockId, visits: &mut [Visit]) -> Vec<BlockId> {
        let mut order = Vec::new();
        let mut stack = vec![(entry, 0)];
        visits[entry.index()] = Visit::Open;
        self.blocks[entry.index()].reachable = true;
        while let Some((block, next)) = stack.pop() {
            let Some(&to) = self.blocks[block.index()].successors.get(next) else {
                visits[block.index()] = Visit::Done;
                order.push(block);
                continue;
            };
            stack.push((block, next + 1));
            match visits[to.index()] {
                Visit::New => {
                    visits[to.index()] = Visit::Open;
                    self.blocks[to.index()].reachable = true;
                    stack.push((to, 0));
                }
                Visit::Open => self.blocks[to.index()].loop_head = true,
                Visit::Done => {}
            }
        }
        order.reverse();
        order
    }

    /// Immediate dominators by iteration over the reverse postorder (Cooper, Harvey, Kennedy).
    fn dominators(&mut self, order: &[BlockId]) {
        let base = order.iter().map(|block| block.index()).min().unwrap_or(0);
        let span = order.iter().map(|block| block.index()).max().map_or(0, |max| max + 1 - base);
        let mut position = vec![usize::MAX; span];
        for (at, block) in order.iter().enumerate() {
            position[block.index() - base] = at;
        }
        // Positions in `order`; the entry is its own dominator while this runs.
        let mut idom = vec![usize::MAX; order.len()];
        if let Some(first) = idom.first_mut() {
            *first = 0;
        }
        let mut changed = true;
        while changed {
            changed = false;
            for at in 1..order.len() {
                let mut new = usize::MAX;
                for from in &self.blocks[order[at].index()].predecessors {
                    let from = from.index().checked_sub(base).and_then(|at| position.get(at).copied());
                    let Some(from) = from.filter(|&from| from != usize::MAX && idom[from] != usize::MAX)
                    else {
                        continue;
                    };
                    new = if new == usize::MAX { from } else { common(&idom, new, from) };
                }
                if idom[at] != new {
                    idom[at] = new;
                    changed = true;
                }
            }
        }
        for at in 1..order.len() {
            self.blocks[order[at].index()].dominator = Some(order[idom[at]]);
        }
    }
}

/// Progress of a depth-first walk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Visit {
    New,
    Open,
    Done,
}

/// Closest common dominator of two blocks, by positions.
fn common(idom: &[usize], a: usize, b: usize) -> usize {
    let (mut a, mut b) = (a, b);
    while a != b {
        if a > b {
            a = idom[a];
        } else {
            b = idom[b];
        }
    }
    a
}

fn id(index: usize) -> BlockId {
    BlockId(u32::try_from(index).expect("no more blocks than instructions"))
}

/// Control stays inside of each subprogram.
fn check(program: &Program) -> Result<(), CfgError> {
    for subprogram in &program.subprograms {
        let body = subprogram.entry.0..subprogram.end.0;
        for insn in body.clone().map(InsnId) {
            let flow = flow(&program.insns[insn.index()]);
            let at = program.pcs[insn.index()];
            if let Some(to) = flow.target()
                && !body.contains(&to.0)
            {
                let to = program.pcs[to.index()];
                return Err(CfgError::JumpOut { at, to, name: subprogram.name.clone() });
            }
            if flow.falls_through() && insn.0 + 1 == subprogram.end.0 {
                return Err(CfgError::FallsOff { at, name: subprogram.name.clone() });
            }
        }
    }
    Ok(())
}

fn calls(program: &Program) -> Result<Vec<CallEdge>, CfgError> {
    let mut calls = Vec::new();
    for (index, insn) in (0u32..).zip(&program.insns) {
        let kind =
            if let Insn::Call(Callee::Subprogram(_)) = insn { CallKind::Call } else { CallKind::Address };
        let Some(to) = subprogram(insn) else { continue };
        let at = InsnId(index);
        let callee = program.subprogram_of(to);
        if program.subprograms[callee].entry != to {
            let (at, to) = (program.pcs[at.index()], program.pcs[to.index()]);
            return Err(CfgError::NoEntry { at, to });
        }
        calls.push(CallEdge { at, caller: program.subprogram_of(at), callee, kind });
    }
    Ok(calls)
}

/// Instructions that start a block: entries, targets, and what follows a jump.
fn starts(program: &Program) -> Vec<bool> {
    let mut starts = vec![false; program.insns.len()];
    for subprogram in &program.subprograms {
        starts[subprogram.entry.index()] = true;
    }
    for (index, insn) in program.insns.iter().enumerate() {
        let flow = flow(insn);
        if let Some(to) = flow.target() {
            starts[to.index()] = true;
        }
        if (flow.target().is_some() || !flow.falls_through())
            && let Some(next) = starts.get_mut(index + 1)
        {
            *next = true;
        }
    }
    starts
}
