//! Ranges that hold on every run: a fixpoint over the control-flow graph of an accepted program.
//!
//! Exploration prunes by what its proofs relied on, so the ranges it saw are not invariants. Here every
//! register and every stack slot with a constant place is followed through the graph, with joins, widening at
//! thresholds and two narrowing rounds. A pointer counts as any number. In: the program and what exploration
//! saw (reachable instructions, regions, effects of calls). Out: values of operands, outcomes of branches.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use super::domain::{AbstractScalar, Scalar, refine};
use super::facts::{AccessFact, BranchFact, Region, ValueFact};
use super::observe::{Loaded, Observed};
use super::structure::Structure;
use crate::isa::effects::{Flow, RegSet, flow};
use crate::isa::{AluOp, Callee, Const64, Insn, InsnId, Operand, Reg, Sign, Size, Width, semantics};
use crate::link::Program;

/// Visits of a block before its ranges are widened.
const PATIENCE: u32 = 3;
/// Visits of a block before its ranges are widened at once, past all bounds that the function mentions.
const HURRY: u32 = 12;
/// Visits of blocks, per block, before a function is given up.
const BUDGET: u32 = 64;

/// A number kept in stack bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Kept {
    offset: i32,
    size: Size,
    value: Scalar,
}

/// Values at one point.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Values {
    registers: [Scalar; Reg::COUNT],
    /// By ascending offset, without overlaps.
    slots: Vec<Kept>,
}

impl Values {
    fn unknown() -> Self {
        Self { registers: [Scalar::unknown(); Reg::COUNT], slots: Vec::new() }
    }
    fn operand(&self, operand: Operand) -> Scalar {
        match operand {
            Operand::Reg(reg) => self.registers[reg.index()],
            Operand::Imm(value) => Scalar::known(value.cast_unsigned()),
        }
    }
    fn combine(&mut self, other: &Self, mut join: impl FnMut(Scalar, Scalar) -> Scalar) -> bool {
        let mut changed = false;
        for (mine, theirs) in self.registers.iter_mut().zip(&other.registers) {
            let joined = join(*mine, *theirs);
            changed |= joined != *mine;
            *mine = joined;
        }
        let before = self.slots.len();
        self.slots.retain_mut(|kept| {
            let same = other.slots.iter().find(|slot| slot.offset == kept.offset && slot.size == kept.size);
            let Some(theirs) = same else { return false };
            let joined = join(kept.value, theirs.value);
            changed |= joined != kept.value;
            kept.value = joined;
            true
        });
        changed | (before != self.slots.len())
    }
    fn forget_bytes(&mut self, offset: i32, size: u32) {
        let end = i64::from(offset) + i64::from(size);
        self.slots.retain(|kept| {
            let kept_end = i64::from(kept.offset) + i64::from(kept.size.bytes());
            kept_end <= i64::from(offset) || end <= i64::from(kept.offset)
        });
    }
    fn keep(&mut self, offset: i32, size: Size, value: Scalar) {
        self.forget_bytes(offset, size.bytes());
        let at = self.slots.partition_point(|kept| kept.offset < offset);
        self.slots.insert(at, Kept { offset, size, value: value.extend(size, Sign::Zero) });
    }
}

/// What the fixpoint found out.
pub(crate) struct Found {
    pub(crate) lhs: Vec<Option<ValueFact>>,
    pub(crate) rhs: Vec<Option<ValueFact>>,
    pub(crate) branch: Vec<BranchFact>,
}

/// Solves the whole program.
pub(crate) fn solve(program: &Program, structure: &Structure, observed: &Observed) -> Found {
    let count = program.insns.len();
    let subs = program.subprograms.len();
    let mut solver = Solver {
        program,
        structure,
        observed,
        returns: vec![Scalar::unknown(); subs],
        arguments: vec![None; subs],
        touches_callers: vec![false; subs],
        found: Found {
            lhs: vec![None; count],
            rhs: vec![None; count],
            branch: walked_edges(program, observed),
        },
    };
    for &sub in &structure.bottom_up {
        solver.touches_callers[sub] = solver.writes_outside(sub);
        // Results for any arguments; the program itself returns to nobody.
        if sub != 0 {
            let states = solver.function(sub, &[Scalar::unknown(); 5]);
            solver.returns[sub] = solver.result(sub, states.as_ref());
        }
    }
    for &sub in structure.bottom_up.iter().rev() {
        let given = solver.arguments[sub].filter(|_| sub != 0).unwrap_or([Scalar::unknown(); 5]);
        let states = solver.function(sub, &given);
        solver.record(sub, states.as_ref());
    }
    solver.found
}

struct Solver<'a> {
    program: &'a Program,
    structure: &'a Structure,
    observed: &'a Observed,
    returns: Vec<Scalar>,
    arguments: Vec<Option<[Scalar; 5]>>,
    /// Whether a call of the function may change stack bytes of its caller.
    touches_callers: Vec<bool>,
    found: Found,
}

/// Values at the beginning of each block of a function.
struct Blocks {
    starts: Vec<InsnId>,
    states: Vec<Option<Values>>,
}

impl Blocks {
    fn index(&self, at: InsnId) -> Option<usize> {
        self.starts.binary_search(&at).ok()
    }
    fn end(&self, index: usize, function_end: InsnId) -> InsnId {
        self.starts.get(index + 1).copied().unwrap_or(function_end)
    }
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
        sub != 0 && self.program.subprograms[sub].linkage == crate::link::Linkage::Global
    }

    fn blocks(&self, sub: usize) -> Blocks {
        let range = &self.program.subprograms[sub];
        let mut starts = vec![range.entry];
        for at in range.entry.index()..range.end.index() {
            let id = InsnId(at as u32); // InsnId counts instructions in 32 bits
            match flow(&self.program.insns[at]) {
                Flow::Next => {}
                Flow::Jump(to) | Flow::Branch(to) => starts.extend([to, id.next()]),
                Flow::Exit => starts.push(id.next()),
            }
        }
        starts.sort_unstable();
        starts.dedup();
        starts.retain(|start| *start < range.end);
        let states = vec![None; starts.len()];
        Blocks { starts, states }
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
        let mut blocks = self.blocks(sub);
        let end = self.program.subprograms[sub].end;
        let thresholds = self.thresholds(sub);
        let mut entry = Values::unknown();
        for (reg, value) in Reg::ARGS.into_iter().zip(given) {
            entry.registers[reg.index()] = *value;
        }
        blocks.states[0] = Some(entry.clone());
        let mut visits = vec![0u32; blocks.starts.len()];
        let mut work = BTreeSet::from([0usize]);
        let mut budget = BUDGET.saturating_mul(u32::try_from(blocks.starts.len()).unwrap_or(u32::MAX));
        while let Some(index) = work.pop_first() {
            budget = budget.checked_sub(1)?;
            let Some(state) = blocks.states[index].clone() else { continue };
            let from = blocks.starts[index];
            for (target, out) in self.block(from, blocks.end(index, end), state) {
                let Some(to) = blocks.index(target) else { continue };
                let backward = target <= from;
                let changed = match &mut blocks.states[to] {
                    empty @ None => {
                        *empty = Some(out);
                        true
                    }
                    Some(old) => {
                        visits[to] += u32::from(backward);
                        let widen = visits[to] > PATIENCE;
                        let thresholds = if visits[to] > HURRY { &[][..] } else { &thresholds };
                        old.combine(&out, |old, new| {
                            if widen { old.widen(old.join(new), thresholds) } else { old.join(new) }
                        })
                    }
                };
                if changed {
                    work.insert(to);
                }
            }
        }
        for _ in 0..2 {
            self.narrow(&mut blocks, &entry, end);
        }
        Some(blocks)
    }

    /// One more round from a solution is a solution, perhaps a smaller one.
    fn narrow(&self, blocks: &mut Blocks, entry: &Values, end: InsnId) {
        let mut next: Vec<Option<Values>> = vec![None; blocks.starts.len()];
        next[0] = Some(entry.clone());
        for index in 0..blocks.starts.len() {
            let Some(state) = blocks.states[index].clone() else { continue };
            for (target, out) in self.block(blocks.starts[index], blocks.end(index, end), state) {
                let Some(to) = blocks.index(target) else { continue };
                match &mut next[to] {
                    empty @ None => *empty = Some(out),
                    Some(old) => {
                        old.combine(&out, Scalar::join);
                    }
                }
            }
        }
        blocks.states = next;
    }

    /// Walks a block; values on each edge out of it.
    fn block(&self, from: InsnId, end: InsnId, mut state: Values) -> Vec<(InsnId, Values)> {
        let mut at = from;
        while at < end {
            if !self.reached(at) {
                return Vec::new();
            }
            let insn = &self.program.insns[at.index()];
            match flow(insn) {
                Flow::Next => {
                    self.step(at, insn, &mut state);
                    at = at.next();
                }
                Flow::Jump(to) => return vec![(to, state)],
                Flow::Exit => return Vec::new(),
                Flow::Branch(to) => return self.edges(at, insn, to, &state),
            }
        }
        vec![(end, state)]
    }

    fn edges(&self, at: InsnId, insn: &Insn, to: InsnId, state: &Values) -> Vec<(InsnId, Values)> {
        let mut edges = Vec::new();
        for (taken, target) in [(false, at.next()), (true, to)] {
            if !self.observed.edge_seen(at, taken) {
                continue;
            }
            let mut out = state.clone();
            if let Insn::Branch { op, width, lhs, rhs, .. } = *insn {
                let (left, right) = (state.registers[lhs.index()], state.operand(rhs));
                let Some((left, right)) = refine(op, width, left, right, taken) else { continue };
                if let Operand::Reg(reg) = rhs {
                    out.registers[reg.index()] = right;
                }
                if rhs != Operand::Reg(lhs) {
                    out.registers[lhs.index()] = left;
                }
            }
            edges.push((target, out));
        }
        edges
    }

    fn step(&self, at: InsnId, insn: &Insn, state: &mut Values) {
        match *insn {
            Insn::Alu { dst, .. } if self.observed.arena_alu[at.index()] == Some(true) => {
                state.registers[dst.index()] = Scalar::unknown();
            }
            Insn::Alu { op, width, dst, src } => {
                let (left, right) = (state.registers[dst.index()], state.operand(src));
                state.registers[dst.index()] = semantics::alu(&mut AbstractScalar, op, width, left, right);
            }
            Insn::Swap { order, size, dst } => {
                let value = state.registers[dst.index()];
                state.registers[dst.index()] = semantics::swap(&mut AbstractScalar, order, size, value);
            }
            Insn::Const { dst, value } => {
                state.registers[dst.index()] = match value {
                    Const64::Imm(number) => Scalar::known(number),
                    Const64::Map(_)
                    | Const64::MapValue(..)
                    | Const64::Ksym(_)
                    | Const64::Function(_)
                    | Const64::MapIndex(_)
                    | Const64::MapIndexValue(..) => Scalar::unknown(),
                };
            }
            Insn::AddrSpaceCast { dst, .. } => state.registers[dst.index()] = Scalar::unknown(),
            Insn::Load { size, sign, dst, .. } => {
                state.registers[dst.index()] = self.loaded(at, size, sign, state);
            }
            Insn::LoadAcquire { size, dst, .. } => {
                state.registers[dst.index()] = self.loaded(at, size, Sign::Zero, state);
            }
            Insn::Store { size, src, .. } => self.stored(at, size, Some(state.operand(src)), state),
            Insn::StoreRelease { size, src, .. } => {
                self.stored(at, size, Some(state.registers[src.index()]), state);
            }
            Insn::Atomic { op, fetch, width, src, .. } => {
                let size = if width == Width::W32 { Size::W } else { Size::DW };
                let old = match self.region(at).map(|access| access.region) {
                    // Where the page is not there the register stays as it is.
                    Some(Region::Arena) => Scalar::unknown(),
                    _ => self.loaded(at, size, Sign::Zero, state),
                };
                self.stored(at, size, None, state);
                match (op, fetch) {
                    (crate::isa::AtomicOp::CmpXchg, _) => state.registers[Reg::R0.index()] = old,
                    (_, true) => state.registers[src.index()] = old,
                    (_, false) => {}
                }
            }
            Insn::Call(callee) => self.called(at, callee, state),
            Insn::LegacyPacket { .. } => {
                for reg in RegSet::CALLER_SAVED.iter() {
                    state.registers[reg.index()] = Scalar::unknown();
                }
            }
            Insn::Jump { .. } | Insn::Branch { .. } | Insn::MayGoto { .. } | Insn::Exit => {}
        }
    }

    fn region(&self, at: InsnId) -> Option<AccessFact> {
        self.observed.access[at.index()]
    }

    fn loaded(&self, at: InsnId, size: Size, sign: Sign, state: &Values) -> Scalar {
        match self.observed.loaded[at.index()] {
            // A pointer may be wider at run time than the field that it is loaded from.
            Loaded::Pointer => return Scalar::unknown(),
            Loaded::Constant(value) => return Scalar::known(value),
            Loaded::Nothing | Loaded::Number => {}
        }
        let any = Scalar::loaded(size, sign);
        let Some(AccessFact { region: Region::Stack { offset: Some(offset) }, .. }) = self.region(at) else {
            return any;
        };
        let kept = state.slots.iter().find(|kept| kept.offset == offset && kept.size >= size);
        kept.map_or(any, |kept| kept.value.extend(size, sign))
    }

    fn stored(&self, at: InsnId, size: Size, value: Option<Scalar>, state: &mut Values) {
        match self.region(at).map(|access| access.region) {
            Some(Region::Stack { offset: Some(offset) }) => match value {
                Some(value) => state.keep(offset, size, value),
                None => state.forget_bytes(offset, size.bytes()),
            },
            Some(Region::Stack { offset: None } | Region::Mixed | Region::Object) | None => {
                state.slots.clear()
            }
            Some(
                Region::Context { .. }
                | Region::CallerStack
                | Region::Packet
                | Region::MapValue(_)
                | Region::Memory
                | Region::Arena,
            ) => {}
        }
    }

    fn called(&self, at: InsnId, callee: Callee, state: &mut Values) {
        for reg in RegSet::CALLER_SAVED.iter() {
            state.registers[reg.index()] = Scalar::unknown();
        }
        if let Callee::Subprogram(entry) = callee {
            let sub = self.structure.owner[entry.index()] as usize;
            state.registers[Reg::R0.index()] = self.returns[sub];
            if self.touches_callers[sub] || self.is_global(sub) {
                state.slots.clear();
            }
            return;
        }
        match &self.observed.call[at.index()] {
            Some(call) if !call.stack_escapes && call.callbacks.is_empty() => {
                for &(offset, size) in &call.stack_writes {
                    state.forget_bytes(offset, size);
                }
            }
            Some(_) | None => state.slots.clear(),
        }
    }

    /// Join of r0 over all exits.
    fn result(&self, sub: usize, blocks: Option<&Blocks>) -> Scalar {
        let Some(blocks) = blocks else { return Scalar::unknown() };
        let end = self.program.subprograms[sub].end;
        let mut result: Option<Scalar> = None;
        for index in 0..blocks.starts.len() {
            let Some(mut state) = blocks.states[index].clone() else { continue };
            let mut at = blocks.starts[index];
            while at < blocks.end(index, end) && self.reached(at) {
                let insn = &self.program.insns[at.index()];
                let value = match insn {
                    Insn::Exit => Some(state.registers[Reg::R0.index()]),
                    // These may end the function, too.
                    Insn::LegacyPacket { .. } => Some(Scalar::known(0)),
                    Insn::Call(callee) if self.may_tail_call(at, *callee) => Some(Scalar::unknown()),
                    _ => None,
                };
                if let Some(value) = value {
                    result = Some(result.map_or(value, |old| old.join(value)));
                }
                self.step(at, insn, &mut state);
                at = at.next();
            }
        }
        result.unwrap_or_default()
    }

    /// Writes down what is known before each instruction, and what calls hand over.
    fn record(&mut self, sub: usize, blocks: Option<&Blocks>) {
        let range = &self.program.subprograms[sub];
        let Some(blocks) = blocks else {
            for edge in &self.structure.calls[sub] {
                self.arguments[edge.callee] = Some([Scalar::unknown(); 5]);
            }
            return;
        };
        for index in 0..blocks.starts.len() {
            let Some(mut state) = blocks.states[index].clone() else { continue };
            let mut at = blocks.starts[index];
            while at < blocks.end(index, range.end) && self.reached(at) {
                let insn = &self.program.insns[at.index()];
                self.record_insn(at, insn, &state);
                self.step(at, insn, &mut state);
                at = at.next();
            }
        }
        for edge in &self.structure.calls[sub] {
            if edge.address {
                self.arguments[edge.callee] = Some([Scalar::unknown(); 5]);
            }
        }
    }

    fn record_insn(&mut self, at: InsnId, insn: &Insn, state: &Values) {
        let fact = |operand: Operand| match operand {
            Operand::Reg(reg) => value_fact(state.registers[reg.index()]),
            Operand::Imm(_) => None,
        };
        let index = at.index();
        match *insn {
            Insn::Alu { dst, src, .. } => {
                self.found.lhs[index] = fact(Operand::Reg(dst));
                self.found.rhs[index] = fact(src);
            }
            Insn::Swap { dst, .. } => self.found.lhs[index] = fact(Operand::Reg(dst)),
            Insn::Store { src, .. } => self.found.rhs[index] = fact(src),
            Insn::StoreRelease { src, .. } | Insn::Atomic { src, .. } => {
                self.found.rhs[index] = fact(Operand::Reg(src));
            }
            Insn::Branch { op, width, lhs, rhs, .. } => {
                self.found.lhs[index] = fact(Operand::Reg(lhs));
                self.found.rhs[index] = fact(rhs);
                let (left, right) = (state.registers[lhs.index()], state.operand(rhs));
                let possible = |taken: bool| {
                    self.observed.edge_seen(at, taken) && refine(op, width, left, right, taken).is_some()
                };
                match (possible(true), possible(false)) {
                    (true, false) => self.found.branch[index] = BranchFact::Always,
                    (false, true) => self.found.branch[index] = BranchFact::Never,
                    // What the paths showed stands.
                    (true, true) | (false, false) => {}
                }
            }
            Insn::Call(Callee::Subprogram(entry)) => {
                let callee = self.structure.owner[entry.index()] as usize;
                let given = Reg::ARGS.map(|reg| state.registers[reg.index()]);
                let joined = match self.arguments[callee] {
                    _ if self.is_global(callee) => [Scalar::unknown(); 5],
                    None => given,
                    Some(old) => std::array::from_fn(|index| old[index].join(given[index])),
                };
                self.arguments[callee] = Some(joined);
            }
            Insn::Call(_)
            | Insn::Load { .. }
            | Insn::LoadAcquire { .. }
            | Insn::AddrSpaceCast { .. }
            | Insn::Const { .. }
            | Insn::Jump { .. }
            | Insn::MayGoto { .. }
            | Insn::LegacyPacket { .. }
            | Insn::Exit => {}
        }
    }
}

/// Outcomes of branches as the paths showed them: what holds also where no values are found. The side that no path
/// took leads to instructions without any fact.
fn walked_edges(program: &Program, observed: &Observed) -> Vec<BranchFact> {
    let outcome = |(at, insn): (usize, &Insn)| {
        let at = InsnId(at as u32); // InsnId counts instructions in 32 bits
        match (observed.edge_seen(at, true), observed.edge_seen(at, false)) {
            (true, false) if matches!(insn, Insn::Branch { .. }) => BranchFact::Always,
            (false, true) if matches!(insn, Insn::Branch { .. }) => BranchFact::Never,
            _ => BranchFact::Both,
        }
    };
    program.insns.iter().enumerate().map(outcome).collect()
}

fn value_fact(value: Scalar) -> Option<ValueFact> {
    if value.is_unknown() {
        return None;
    }
    Some(ValueFact {
        umin: value.umin(),
        umax: value.umax(),
        smin: value.smin(),
        smax: value.smax(),
        bits: value.tnum().value(),
        mask: value.tnum().mask(),
    })
}
