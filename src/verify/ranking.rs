//! How loops end whose turns were not walked one by one: by a counter, or by fuel.
//!
//! In: the points that exploration names (`Observed::endless`: whoever runs for ever in one activation of a function
//! passes one of them for ever), and the ranges of the fixpoint. Out: which jumps burn fuel, and an account of each loop.
//!
//! In a strongly connected part of a function's graph with such a point, a register is a counter if everything that
//! writes it there adds a constant, all of the same sign and without wrapping around by the ranges that hold there. Such
//! an instruction is executed only so often in one stay in the part, so the part falls apart without them, and what
//! is left is looked at again. A part without a counter burns fuel at the jumps that lead back over its points.
//! Calls are single steps: a callee that never returns is one's own business.
#![forbid(unsafe_code)]

use super::facts::{LoopEnd, LoopFact, ValueColumn};
use super::observe::Observed;
use crate::isa::effects::{defs, flow};
use crate::isa::{AluOp, Insn, InsnId, Operand, Reg, Width};
use crate::link::Program;

/// How the loops of a program end.
#[derive(Debug, Default)]
pub(crate) struct Endings {
    /// Jumps that burn fuel.
    pub(crate) fuel: Vec<bool>,
    /// By ascending place, outer ones first.
    pub(crate) loops: Vec<LoopFact>,
}

/// Accounts for all loops with a point. `lhs` is what holds of left operands; a counter may take `turns` steps at most.
pub(crate) fn settle(program: &Program, observed: &Observed, lhs: &ValueColumn, turns: u64) -> Endings {
    let count = program.insns.len();
    let mut ranking = Ranking {
        program,
        observed,
        lhs,
        turns,
        endings: Endings { fuel: vec![false; count], loops: Vec::new() },
    };
    if observed.endless.contains(&true) {
        for sub in &program.subprograms {
            let nodes = (sub.entry.0..sub.end.0).map(InsnId).filter(|at| observed.reachable[at.index()]);
            ranking.part(nodes.collect());
        }
        ranking.endings.loops.sort_by_key(|found| found.at);
    }
    ranking.endings
}

struct Ranking<'a> {
    program: &'a Program,
    observed: &'a Observed,
    lhs: &'a ValueColumn,
    turns: u64,
    endings: Endings,
}

/// A register that only moves one way.
struct Counter {
    steps: Vec<InsnId>,
    turns: u64,
}

impl Ranking<'_> {
    /// Looks at the loops among some instructions of a function, ascending.
    fn part(&mut self, nodes: Vec<InsnId>) {
        // Parts within parts, down to single instructions: no recursion, a program may be long.
        let mut work = vec![nodes];
        while let Some(nodes) = work.pop() {
            if !self.has_point(&nodes) {
                continue;
            }
            for part in self.connected(&nodes) {
                if !self.has_point(&part) {
                    continue;
                }
                let at = part[0];
                let end = match self.counter(&part) {
                    None => {
                        self.burn(&part);
                        LoopEnd::Fuel
                    }
                    Some(Counter { steps, turns }) => {
                        work.push(part.into_iter().filter(|at| !steps.contains(at)).collect());
                        LoopEnd::Counter { step: steps[0], turns }
                    }
                };
                self.endings.loops.push(LoopFact { at, end });
            }
        }
    }

    fn is_point(&self, at: InsnId) -> bool {
        self.observed.endless[at.index()]
    }
    fn has_point(&self, nodes: &[InsnId]) -> bool {
        nodes.iter().any(|at| self.is_point(*at))
    }
    /// The part burns fuel: every way round through a point takes a jump that starts at the point or behind it and ends
    /// there or before it.
    fn burn(&mut self, part: &[InsnId]) {
        let points: Vec<InsnId> = part.iter().copied().filter(|at| self.is_point(*at)).collect();
        for &at in part {
            let Some(to) = flow(&self.program.insns[at.index()]).target() else { continue };
            let first = points.partition_point(|point| *point < to);
            if part.binary_search(&to).is_ok() && points.get(first).is_some_and(|point| *point <= at) {
                self.endings.fuel[at.index()] = true;
            }
        }
    }

    /// The counter of a part with the fewest turns.
    fn counter(&self, part: &[InsnId]) -> Option<Counter> {
        let registers = Reg::all().filter(|reg| *reg != Reg::R10);
        registers.filter_map(|reg| self.counts(reg, part)).min_by_key(|counter| counter.turns)
    }

    /// Whether a register is a counter of a part.
    fn counts(&self, reg: Reg, part: &[InsnId]) -> Option<Counter> {
        let mut steps = Vec::new();
        // By how much it moves in the smallest step, and its lowest and highest value before one.
        let (mut smallest, mut low, mut high) = (u64::MAX, u64::MAX, 0);
        let (mut signed_low, mut signed_high) = (i64::MAX, i64::MIN);
        let (mut upward, mut downward, mut unsigned, mut signed) = (true, true, true, true);
        for &at in part {
            let insn = &self.program.insns[at.index()];
            if !defs(insn).contains(reg) {
                continue;
            }
            if self.observed.arena_alu[at.index()] == Some(true) {
                return None;
            }
            let (step, width) = step_of(insn)?;
            let fact = self.lhs[at.index()]?;
            upward &= step > 0;
            downward &= step < 0;
            let size = step.unsigned_abs();
            let (most, fits) = match width {
                Width::W64 => (u64::MAX, true),
                // The upper half is cleared.
                Width::W32 => (u64::from(u32::MAX), fact.umax <= u64::from(u32::MAX)),
            };
            unsigned &= fits && if step > 0 { fact.umax <= most - size } else { fact.umin >= size };
            signed &= width == Width::W64
                && if step > 0 { fact.smax.checked_add(step) } else { fact.smin.checked_add(step) }.is_some();
            smallest = smallest.min(size);
            (low, high) = (low.min(fact.umin), high.max(fact.umax));
            (signed_low, signed_high) = (signed_low.min(fact.smin), signed_high.max(fact.smax));
            steps.push(at);
        }
        if steps.is_empty() || smallest == 0 || !(upward || downward) {
            return None;
        }
        let span = match (unsigned, signed) {
            (true, true) => (high - low).min(signed_high.abs_diff(signed_low)),
            (true, false) => high - low,
            (false, true) => signed_high.abs_diff(signed_low),
            (false, false) => return None,
        };
        let turns = (span / smallest).saturating_add(1);
        (turns <= self.turns).then_some(Counter { steps, turns })
    }

    /// Strongly connected parts with a way round, each ascending, of the graph between some instructions.
    fn connected(&self, nodes: &[InsnId]) -> Vec<Vec<InsnId>> {
        const NEW: u32 = u32::MAX;
        let number = |at: InsnId| nodes.binary_search(&at).ok();
        let ways = |node: usize| -> Vec<usize> {
            let at = nodes[node];
            let insn = &self.program.insns[at.index()];
            let seen = |to: InsnId| {
                let (Insn::Branch { to: target, .. } | Insn::MayGoto { to: target }) = *insn else {
                    return true;
                };
                (to == target && self.observed.edge_seen(at, true))
                    || (to == at.next() && self.observed.edge_seen(at, false))
            };
            flow(insn).successors(at).filter(|to| seen(*to)).filter_map(number).collect()
        };
        let mut parts = Vec::new();
        let (mut order, mut low) = (vec![NEW; nodes.len()], vec![0; nodes.len()]);
        let (mut stack, mut on_stack, mut next) = (Vec::new(), vec![false; nodes.len()], 0);
        for root in 0..nodes.len() {
            if order[root] != NEW {
                continue;
            }
            // Tarjan's walk with a stack of its own: node, its ways, and how many were taken.
            let mut walk = vec![(root, ways(root), 0)];
            while let Some((node, out, taken)) = walk.last_mut() {
                let node = *node;
                if *taken == 0 && order[node] == NEW {
                    order[node] = next;
                    low[node] = next;
                    next += 1;
                    stack.push(node);
                    on_stack[node] = true;
                }
                if let Some(&to) = out.get(*taken) {
                    *taken += 1;
                    if order[to] == NEW {
                        walk.push((to, ways(to), 0));
                    } else if on_stack[to] {
                        low[node] = low[node].min(order[to]);
                    }
                    continue;
                }
                let round = out.contains(&node);
                walk.pop();
                if let Some((above, ..)) = walk.last() {
                    low[*above] = low[*above].min(low[node]);
                }
                if low[node] == order[node] {
                    let from = stack.iter().rposition(|member| *member == node).unwrap_or(0);
                    let mut part: Vec<InsnId> = stack.drain(from..).map(|member| nodes[member]).collect();
                    for at in &part {
                        on_stack[number(*at).expect("one of the nodes")] = false;
                    }
                    if part.len() > 1 || round {
                        part.sort_unstable();
                        parts.push(part);
                    }
                }
            }
        }
        parts
    }
}

/// What an instruction adds to the register it writes.
fn step_of(insn: &Insn) -> Option<(i64, Width)> {
    let Insn::Alu { op, width, src: Operand::Imm(number), .. } = *insn else { return None };
    match op {
        AluOp::Add => Some((number, width)),
        AluOp::Sub => Some((number.checked_neg()?, width)),
        AluOp::Mul
        | AluOp::Div
        | AluOp::Mod
        | AluOp::SDiv
        | AluOp::SMod
        | AluOp::Or
        | AluOp::And
        | AluOp::Xor
        | AluOp::Lsh
        | AluOp::Rsh
        | AluOp::Arsh
        | AluOp::Neg
        | AluOp::Mov
        | AluOp::MovSx8
        | AluOp::MovSx16
        | AluOp::MovSx32 => None,
    }
}
