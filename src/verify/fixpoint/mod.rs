//! Ranges that hold on every run: a fixpoint over the control-flow graph of an accepted program.
//!
//! Exploration prunes by what its proofs relied on, so the ranges it saw are not invariants. Here every
//! live register and every stack slot with a constant place is followed through the graph, with joins, widening at
//! thresholds and two narrowing rounds. A pointer counts as any number. In: the program and what exploration
//! saw (reachable instructions, regions, effects of calls). Out: values of operands, outcomes of branches.
#![forbid(unsafe_code)]

mod blocks;
mod record;
mod transfer;
mod values;

use std::cell::Cell;
use std::collections::BTreeSet;

use super::domain::{Scalar, refine};
use super::facts::{BranchFact, Region, ValueColumn};
use super::liveness::Liveness;
use super::observe::Observed;
use super::structure::Structure;
use crate::isa::effects::{Flow, flow};
use crate::isa::{AluOp, Callee, Const64, Insn, InsnId, Operand, Reg};
use crate::link::{Linkage, Program};
use blocks::{Blocks, Work};
use values::Values;

/// Visits of a block before its ranges are widened.
const PATIENCE: u32 = 3;
/// Visits of a block before its ranges are widened at once, past all bounds that the function mentions.
const HURRY: u32 = 12;
/// Visits of blocks, per block, before a function is given up.
const BUDGET: u32 = 64;

/// What the fixpoint found out.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) lhs: ValueColumn,
    pub(crate) rhs: ValueColumn,
    pub(crate) branch: Vec<BranchFact>,
}

/// Solves the whole program.
pub(crate) fn solve(
    program: &Program,
    structure: &Structure,
    liveness: &Liveness,
    observed: &Observed,
    memory: u64,
) -> Found {
    let count = program.insns.len();
    let subs = program.subprograms.len();
    let mut solver = Solver {
        program,
        structure,
        liveness,
        observed,
        returns: vec![Scalar::unknown(); subs],
        arguments: vec![None; subs],
        touches_callers: vec![false; subs],
        memory: Cell::new(memory),
        found: Found {
            lhs: ValueColumn::new(count),
            rhs: ValueColumn::new(count),
            branch: record::walked_edges(program, observed),
        },
    };
    const ANY: [Scalar; 5] = [Scalar::unknown(); 5];
    // Solutions for any arguments.
    let mut solved: Vec<Option<Option<Blocks>>> = (0..subs).map(|_| None).collect();
    for &sub in &structure.bottom_up {
        solver.touches_callers[sub] = solver.writes_outside(sub);
        // The program itself returns to nobody.
        if sub != 0 {
            let blocks = solver.function(sub, &ANY);
            solver.returns[sub] = solver.result(blocks.as_ref());
            solved[sub] = Some(blocks);
        }
    }
    for &sub in structure.bottom_up.iter().rev() {
        let given = solver.arguments[sub].filter(|_| sub != 0).unwrap_or(ANY);
        if sub == 0 && solver.record_on_the_way(sub) {
            continue;
        }
        let blocks = match solved[sub].take() {
            Some(blocks) if given == ANY => blocks,
            Some(_) | None => solver.function(sub, &given),
        };
        solver.record(sub, blocks.as_ref());
    }
    solver.found
}

struct Solver<'a> {
    program: &'a Program,
    structure: &'a Structure,
    liveness: &'a Liveness,
    observed: &'a Observed,
    returns: Vec<Scalar>,
    arguments: Vec<Option<[Scalar; 5]>>,
    /// Whether a call of the function may change stack bytes of its caller.
    touches_callers: Vec<bool>,
    /// Bytes that may still be taken for values.
    memory: Cell<u64>,
    found: Found,
}

impl Solver<'_> {
    fn reached(&self, at: InsnId) -> bool {
        self.observed.reachable[at.index()]
    }

    fn writes_outside(&self, sub: usize) -> bool {
        let range = &self.program.subprograms[sub];
        let own = (range.entry.index()..range.end.index()).any(|at| {
            let insn = &self.program.insns[at];
            let region = self.observed.access[at].map(|access| access.region);
            let writes = crate::isa::effects::access(insn).is_some_and(|access| access.kind.writes());
            let outside = matches!(region, Some(Region::CallerStack | Region::Mixed | Region::Object));
            let escapes = !matches!(insn, Insn::Call(Callee::Subprogram(_)))
                && self.observed.call[at].as_ref().is_some_and(|call| call.stack_escapes);
            (writes && outside) || escapes
        });
        own || self.structure.calls[sub]
            .iter()
            .any(|edge| edge.address || self.touches_callers[edge.callee] || self.is_global(edge.callee))
    }

    /// Whether a call may replace the function's frame by another program.
    fn may_tail_call(&self, at: InsnId, callee: Callee) -> bool {
        match callee {
            Callee::Register(_) => {
                let tail_call = Callee::Helper(super::TAIL_CALL);
                self.observed.call[at.index()].as_ref().is_none_or(|call| call.targets.contains(&tail_call))
            }
            Callee::Helper(_) | Callee::Subprogram(_) | Callee::Kfunc { .. } => {
                callee == Callee::Helper(super::TAIL_CALL)
            }
        }
    }

    fn is_global(&self, sub: usize) -> bool {
        sub != 0 && self.program.subprograms[sub].linkage == Linkage::Global
    }

    /// Bounds that comparisons and moves of the function mention: widening stops there first.
    fn thresholds(&self, sub: usize) -> Vec<u64> {
        let range = &self.program.subprograms[sub];
        let mut bounds = BTreeSet::new();
        for insn in &self.program.insns[range.entry.index()..range.end.index()] {
            let value = match insn {
                Insn::Branch { rhs: Operand::Imm(value), .. } => value.cast_unsigned(),
                Insn::Alu { op: AluOp::Mov, src: Operand::Imm(value), .. } => value.cast_unsigned(),
                Insn::Const { value: Const64::Imm(value), .. } => *value,
                _ => continue,
            };
            bounds.extend([value.wrapping_sub(1), value, value.wrapping_add(1)]);
            if bounds.len() > 128 {
                break;
            }
        }
        bounds.extend([u64::from(u32::MAX), u64::from(u16::MAX), 0xff, 0x7fff_ffff]);
        bounds.into_iter().collect()
    }

    /// The fixpoint of one function; `None` when it was given up.
    fn function(&self, sub: usize, given: &[Scalar; 5]) -> Option<Blocks> {
        let mut blocks = Blocks::new(self.program, &self.program.subprograms[sub]);
        let mut thresholds = None;
        let mut entry = Values::unknown();
        for (reg, value) in Reg::ARGS.into_iter().zip(given) {
            entry.registers[reg.index()] = *value;
        }
        blocks.states[0] = Some(entry.clone());
        let count = blocks.starts.len();
        let mut visits = vec![0u32; count];
        let mut work = Work::new(count);
        work.insert(0);
        let mut widened = false;
        let mut budget = BUDGET.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
        let mut state = Values::unknown();
        let left = Cell::new(self.memory.get());
        let mut enough = true;
        while let Some(index) = work.pop() {
            budget = budget.checked_sub(1)?;
            if !enough {
                return None;
            }
            let Some(start) = &blocks.states[index] else { continue };
            state.clone_from(start);
            let from = blocks.starts[index];
            self.block(
                from,
                blocks.end(index),
                &mut state,
                |_, _, _| {},
                |target, out| {
                    let Some(to) = blocks.index(target) else { return };
                    let live = self.liveness.before[target.index()];
                    let changed = match &mut blocks.states[to] {
                        empty @ None => {
                            let mut first = out.clone();
                            first.keep_registers(live);
                            // Once more while narrowing.
                            match left.get().checked_sub(2 * first.bytes()) {
                                Some(rest) => left.set(rest),
                                None => enough = false,
                            }
                            *empty = Some(first);
                            true
                        }
                        Some(old) => {
                            visits[to] += u32::from(target <= from);
                            if visits[to] > PATIENCE {
                                widened = true;
                                let bounds = thresholds.get_or_insert_with(|| self.thresholds(sub));
                                let bounds = if visits[to] > HURRY { &[][..] } else { bounds };
                                old.combine(out, live, |old, new| old.widen(old.join(new), bounds))
                            } else {
                                old.combine(out, live, Scalar::join)
                            }
                        }
                    };
                    if changed {
                        work.insert(to);
                    }
                },
            );
        }
        self.memory.set(left.get());
        // Without widening there is nothing to take back.
        for _ in 0..if widened { 2 } else { 0 } {
            self.narrow(&mut blocks, &entry);
        }
        Some(blocks)
    }

    /// One more round from a solution is a solution, perhaps a smaller one.
    fn narrow(&self, blocks: &mut Blocks, entry: &Values) {
        let mut next: Vec<Option<Values>> = vec![None; blocks.starts.len()];
        next[0] = Some(entry.clone());
        let mut state = Values::unknown();
        for index in 0..blocks.starts.len() {
            let Some(start) = &blocks.states[index] else { continue };
            state.clone_from(start);
            self.block(
                blocks.starts[index],
                blocks.end(index),
                &mut state,
                |_, _, _| {},
                |target, out| {
                    let Some(to) = blocks.index(target) else { return };
                    let live = self.liveness.before[target.index()];
                    match &mut next[to] {
                        empty @ None => {
                            let mut first = out.clone();
                            first.keep_registers(live);
                            *empty = Some(first);
                        }
                        Some(old) => {
                            old.combine(out, live, Scalar::join);
                        }
                    }
                },
            );
        }
        blocks.states = next;
    }

    /// Walks a block. Shows every instruction with the values before it, and hands the values on each edge out of
    /// the block over.
    fn block(
        &self,
        from: InsnId,
        end: InsnId,
        state: &mut Values,
        mut show: impl FnMut(InsnId, &Insn, &Values),
        mut leave: impl FnMut(InsnId, &Values),
    ) {
        let mut at = from;
        while at < end {
            if !self.reached(at) {
                return;
            }
            let insn = &self.program.insns[at.index()];
            show(at, insn, state);
            match flow(insn) {
                Flow::Next => {
                    self.step(at, insn, state);
                    at = at.next();
                }
                Flow::Jump(to) => return leave(to, state),
                Flow::Exit => return,
                Flow::Branch(to) => return self.edges(at, insn, to, state, leave),
            }
        }
        leave(end, state);
    }

    fn edges(
        &self,
        at: InsnId,
        insn: &Insn,
        to: InsnId,
        state: &mut Values,
        mut leave: impl FnMut(InsnId, &Values),
    ) {
        for (taken, target) in [(false, at.next()), (true, to)] {
            if !self.observed.edge_seen(at, taken) {
                continue;
            }
            let Insn::Branch { op, width, lhs, rhs, .. } = *insn else {
                leave(target, state);
                continue;
            };
            let (left, right) = (state.registers[lhs.index()], state.operand(rhs));
            let Some((new_left, new_right)) = refine(op, width, left, right, taken) else { continue };
            if let Operand::Reg(reg) = rhs {
                state.registers[reg.index()] = new_right;
            }
            if rhs != Operand::Reg(lhs) {
                state.registers[lhs.index()] = new_left;
            }
            leave(target, state);
            if let Operand::Reg(reg) = rhs {
                state.registers[reg.index()] = right;
            }
            state.registers[lhs.index()] = left;
        }
    }
}
