//! The shape of one subprogram: its reachable blocks in reverse post-order, its variables, and which are live.
//!
//! In: a verified program. Out: [`Shape`], made once for each subprogram and read each time a body is built
//! (an inlined subprogram is built several times). Variables are r0 to r9 and the stack slots that `slots`
//! found to be private. Edges that the verifier proved dead do not exist here.
#![forbid(unsafe_code)]

use super::slots::{self, Slot, Touch};
use crate::isa::effects::{self, Flow, RegSet};
use crate::isa::{Callee, Insn, InsnId};
use crate::verify::Verified;
use crate::verify::facts::BranchFact;

/// A set of variables: bits 0 to 9 are registers, the others promoted stack slots.
pub(crate) type VarSet = u128;

/// Variables that are registers.
pub(crate) const REGISTERS: usize = 10;

/// Dominance frontiers may grow with the square of the program.
const MOST_FRONTIERS: usize = 4_000_000;

/// A run of instructions with one entry and one end.
#[derive(Clone, Debug)]
pub(crate) struct CodeBlock {
    pub(crate) start: InsnId,
    /// One past the last instruction.
    pub(crate) end: InsnId,
    /// Index of the block after the last instruction, if control falls through.
    pub(crate) next: Option<usize>,
    /// Index of the block that the last instruction jumps to, if it may.
    pub(crate) taken: Option<usize>,
    /// Ways in (the entry of the subprogram is one).
    pub(crate) preds: u32,
    /// Variables whose value at the start is read later.
    live_in: VarSet,
    /// Live variables whose value at the start depends on the way in: these become parameters. The others have
    /// the value they have at the end of `dominator`.
    pub(crate) merges: VarSet,
    /// The last block that every way here passes; the first block is its own.
    pub(crate) dominator: usize,
    /// Whether some block asks for the variables at the end of this one.
    pub(crate) keeps_state: bool,
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// In reverse post-order.
    pub(crate) blocks: Vec<CodeBlock>,
    /// Promoted slots: variable `REGISTERS + i`.
    pub(crate) slots: Vec<Slot>,
    /// Bytes of the stack frame.
    pub(crate) depth: u32,
    /// Instructions of the subprogram.
    pub(crate) size: u32,
}

impl Shape {
    /// Variables of a body.
    pub(crate) fn variables(&self) -> usize {
        REGISTERS + self.slots.len()
    }

    pub(crate) fn new(verified: &Verified, subprogram: usize) -> Self {
        let mut blocks = find_blocks(verified, subprogram);
        let slots = slots::find(verified, &blocks);
        let writes = live_variables(verified, &mut blocks, &slots);
        place_merges(&mut blocks, &writes);
        let sub = &verified.program().subprograms[subprogram];
        let depth = verified
            .facts()
            .stack_depth
            .get(subprogram)
            .map_or(512, |&depth| depth.max(deepest(verified, &blocks)));
        Self { blocks, slots, depth: depth.next_multiple_of(8), size: sub.end.0 - sub.entry.0 }
    }
}

/// Bytes below r10 that constant accesses reach.
fn deepest(verified: &Verified, blocks: &[CodeBlock]) -> u32 {
    let mut depth = 0;
    for block in blocks {
        for id in block.start.0..block.end.0 {
            if let Some(offset) = slots::constant_offset(verified, InsnId(id)) {
                depth = depth.max(offset.unsigned_abs());
            }
        }
    }
    depth
}

/// Where control really goes after an instruction.
pub(crate) fn successors(verified: &Verified, id: InsnId) -> (Option<InsnId>, Option<InsnId>) {
    match effects::flow(&verified.program().insns[id.index()]) {
        Flow::Next => (Some(id.next()), None),
        Flow::Jump(to) => (None, Some(to)),
        Flow::Exit => (None, None),
        Flow::Branch(to) => match verified.facts().branch[id.index()] {
            BranchFact::Both => (Some(id.next()), Some(to)),
            BranchFact::Always => (None, Some(to)),
            BranchFact::Never => (Some(id.next()), None),
        },
    }
}

fn find_blocks(verified: &Verified, subprogram: usize) -> Vec<CodeBlock> {
    let sub = &verified.program().subprograms[subprogram];
    let first = sub.entry.0;
    let count = (sub.end.0 - first) as usize; // u32 to usize
    // Reached instructions, and those that begin a block.
    let mut reached = vec![false; count];
    let mut leads = vec![false; count];
    let mut work = vec![sub.entry];
    leads[0] = true;
    while let Some(mut id) = work.pop() {
        loop {
            let index = (id.0 - first) as usize;
            if std::mem::replace(&mut reached[index], true) {
                break;
            }
            let insn = &verified.program().insns[id.index()];
            let ends = effects::flow(insn) != Flow::Next;
            let (next, taken) = successors(verified, id);
            if let Some(taken) = taken {
                leads[(taken.0 - first) as usize] = true;
                work.push(taken);
            }
            let Some(next) = next else { break };
            leads[(next.0 - first) as usize] |= ends;
            id = next;
        }
    }
    order(verified, first, &reached, &leads)
}

/// Blocks in reverse post-order, by depth-first search without recursion.
fn order(verified: &Verified, first: u32, reached: &[bool], leads: &[bool]) -> Vec<CodeBlock> {
    const UNSEEN: usize = usize::MAX;
    let mut found: Vec<CodeBlock> = Vec::new();
    let mut starts: Vec<(Option<InsnId>, Option<InsnId>)> = Vec::new();
    let mut index_of = vec![UNSEEN; leads.len()];
    for start in (0..leads.len()).filter(|&at| leads[at] && reached[at]) {
        let mut end = start + 1;
        while end < leads.len() && !leads[end] && reached[end] && !is_end(verified, first, end - 1) {
            end += 1;
        }
        let id = |at: usize| InsnId(first + u32::try_from(at).expect("fewer instructions than 2^32"));
        index_of[start] = found.len();
        starts.push(successors(verified, id(end - 1)));
        found.push(CodeBlock {
            start: id(start),
            end: id(end),
            next: None,
            taken: None,
            preds: 0,
            live_in: 0,
            merges: 0,
            dominator: 0,
            keeps_state: false,
        });
    }
    let block_of = |id: InsnId| index_of[(id.0 - first) as usize];
    // Post-order: fall-through visited last, so that it comes right after its block when reversed.
    let mut post = Vec::with_capacity(found.len());
    let mut seen = vec![false; found.len()];
    let mut stack = vec![(0, 0)];
    seen[0] = true;
    while let Some((block, step)) = stack.pop() {
        let (next, taken) = starts[block];
        let target = match step {
            0 => taken,
            1 => next,
            _ => {
                post.push(block);
                continue;
            }
        };
        stack.push((block, step + 1));
        if let Some(target) = target.map(block_of)
            && !std::mem::replace(&mut seen[target], true)
        {
            stack.push((target, 0));
        }
    }
    post.reverse();
    let mut position = vec![0; found.len()];
    for (at, &block) in post.iter().enumerate() {
        position[block] = at;
    }
    let mut blocks: Vec<CodeBlock> = post.iter().map(|&block| found[block].clone()).collect();
    for (at, &block) in post.iter().enumerate() {
        let (next, taken) = starts[block];
        blocks[at].next = next.map(|id| position[block_of(id)]);
        blocks[at].taken = taken.map(|id| position[block_of(id)]);
    }
    blocks[0].preds = 1;
    for at in 0..blocks.len() {
        for target in [blocks[at].next, blocks[at].taken].into_iter().flatten() {
            blocks[target].preds += 1;
        }
    }
    blocks
}

fn is_end(verified: &Verified, first: u32, at: usize) -> bool {
    let id = first as usize + at; // u32 to usize
    effects::flow(&verified.program().insns[id]) != Flow::Next
}

/// Registers that a call hands over.
pub(crate) fn call_arguments(verified: &Verified, insn: &Insn) -> RegSet {
    match insn {
        Insn::Call(Callee::Helper(id)) => RegSet::arguments(super::calls::arity(verified, *id)),
        Insn::Call(Callee::Subprogram(entry)) => {
            let callee = verified.program().subprogram_of(*entry);
            RegSet::from_bits(u16::from(verified.facts().arguments[callee]) << 1)
        }
        Insn::Call(Callee::Kfunc { kfunc, .. }) => {
            RegSet::arguments(super::calls::kfunc_arity(verified, *kfunc))
        }
        Insn::Call(Callee::Register(_)) => RegSet::arguments(5),
        _ => RegSet::EMPTY,
    }
}

/// What a call calls, also where it goes through a register that always holds the same.
pub(crate) fn callee(verified: &Verified, id: InsnId, callee: Callee) -> Callee {
    match callee {
        Callee::Register(_) => {
            let fact = verified.facts().call[id.index()].as_ref();
            match fact.map(|fact| &fact.targets[..]) {
                Some(&[target]) => target,
                Some(_) | None => callee,
            }
        }
        Callee::Helper(_) | Callee::Subprogram(_) | Callee::Kfunc { .. } => callee,
    }
}

/// Computes which variables are live at block starts; gives what each block writes.
fn live_variables(verified: &Verified, blocks: &mut [CodeBlock], slots: &[Slot]) -> Vec<VarSet> {
    // What a block reads before it writes, and what it writes.
    let mut reads: Vec<VarSet> = Vec::with_capacity(blocks.len());
    let mut writes: Vec<VarSet> = Vec::with_capacity(blocks.len());
    let registers = |set: RegSet| VarSet::from(set.bits() & ((1 << REGISTERS) - 1));
    for block in blocks.iter() {
        let (mut read, mut written) = (0, 0);
        for id in block.start.0..block.end.0 {
            let id = InsnId(id);
            let insn = &verified.program().insns[id.index()];
            let mut uses = registers(effects::uses(insn, call_arguments(verified, insn)));
            let mut defs = registers(effects::defs(insn));
            if let Some(touch) = slots::touches(verified, id, slots) {
                match touch {
                    Touch::Read(slot) => uses |= 1 << (REGISTERS + slot),
                    Touch::Write(slot) => defs |= 1 << (REGISTERS + slot),
                    Touch::Update(slot) => {
                        uses |= 1 << (REGISTERS + slot);
                        defs |= 1 << (REGISTERS + slot);
                    }
                }
            }
            read |= uses & !written;
            written |= defs;
        }
        reads.push(read);
        writes.push(written);
    }
    let mut changed = true;
    while changed {
        changed = false;
        for at in (0..blocks.len()).rev() {
            let out = [blocks[at].next, blocks[at].taken]
                .into_iter()
                .flatten()
                .fold(0, |set, target| set | blocks[target].live_in);
            let live = reads[at] | (out & !writes[at]);
            if live != blocks[at].live_in {
                blocks[at].live_in = live;
                changed = true;
            }
        }
    }
    writes
}

/// Decides where variables merge: in the iterated dominance frontier of the blocks that write them.
fn place_merges(blocks: &mut [CodeBlock], writes: &[VarSet]) {
    let mut preds: Vec<Vec<usize>> = vec![Vec::new(); blocks.len()];
    for (at, block) in blocks.iter().enumerate() {
        for target in [block.next, block.taken].into_iter().flatten() {
            preds[target].push(at);
        }
    }
    find_dominators(blocks, &preds);
    let mut frontiers: Vec<Vec<usize>> = vec![Vec::new(); blocks.len()];
    let mut size = 0;
    for at in 0..blocks.len() {
        if preds[at].len() < 2 {
            continue;
        }
        for &pred in &preds[at] {
            let mut runner = pred;
            // Above a block that has it, all have it.
            while runner != blocks[at].dominator && frontiers[runner].last() != Some(&at) {
                frontiers[runner].push(at);
                size += 1;
                runner = blocks[runner].dominator;
            }
        }
    }
    if size > MOST_FRONTIERS {
        // Deeply nested loops by the thousand: every live variable merges, which is correct, too.
        for block in blocks.iter_mut().filter(|block| block.preds > 1) {
            block.merges = block.live_in;
        }
    }
    // A loop back to the first instruction: its variables come from the arguments, too.
    if blocks[0].preds > 1 {
        blocks[0].merges = blocks[0].live_in;
    }
    let mut work: Vec<usize> = (0..blocks.len()).collect();
    while let Some(at) = work.pop() {
        let written = writes[at] | blocks[at].merges;
        for &to in &frontiers[at] {
            let new = written & blocks[to].live_in & !blocks[to].merges;
            if new != 0 {
                blocks[to].merges |= new;
                work.push(to);
            }
        }
    }
    for at in 1..blocks.len() {
        if blocks[at].preds > 1 {
            let dominator = blocks[at].dominator;
            blocks[dominator].keeps_state = true;
        }
    }
}

/// Immediate dominators over reverse post-order numbers (Cooper, Harvey and Kennedy's iteration).
fn find_dominators(blocks: &mut [CodeBlock], preds: &[Vec<usize>]) {
    const NONE: usize = usize::MAX;
    let mut dominators = vec![NONE; blocks.len()];
    dominators[0] = 0;
    let mut changed = true;
    while changed {
        changed = false;
        for at in 1..blocks.len() {
            let mut found = NONE;
            for &pred in &preds[at] {
                if dominators[pred] == NONE {
                    continue;
                }
                found = if found == NONE { pred } else { meet(&dominators, pred, found) };
            }
            if dominators[at] != found {
                dominators[at] = found;
                changed = true;
            }
        }
    }
    for (block, dominator) in blocks.iter_mut().zip(dominators) {
        block.dominator = dominator;
    }
}

fn meet(dominators: &[usize], mut a: usize, mut b: usize) -> usize {
    while a != b {
        if a > b {
            a = dominators[a];
        } else {
            b = dominators[b];
        }
    }
    a
}
