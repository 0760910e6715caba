//! What is read off a solution: operands and branches as facts, results of functions, arguments of calls.
#![forbid(unsafe_code)]

use super::blocks::Blocks;
use super::values::Values;
use super::{Found, Solver};
use crate::isa::{Callee, Insn, InsnId, Operand, Reg};
use crate::link::Program;
use crate::verify::check::copies;
use crate::verify::domain::{Scalar, decide};
use crate::verify::facts::{BranchFact, ValueFact};
use crate::verify::observe::Observed;

impl Solver<'_> {
    /// Join of r0 over all exits.
    pub(super) fn result(&self, blocks: Option<&Blocks>) -> Scalar {
        let Some(blocks) = blocks else { return Scalar::unknown() };
        let mut result: Option<Scalar> = None;
        let mut state = Values::unknown();
        for index in 0..blocks.starts.len() {
            let Some(start) = &blocks.states[index] else { continue };
            state.clone_from(start);
            let mut at = blocks.starts[index];
            while at < blocks.end(index) && self.reached(at) {
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

    /// Without backward jumps each block is walked once, after all those before it: what it is walked with is the
    /// solution, and is written down at once. Nothing is known of the arguments. Whether the function is like that.
    pub(super) fn record_on_the_way(&mut self, sub: usize) -> bool {
        let function = &self.program.subprograms[sub];
        let range = function.entry.index()..function.end.index();
        if self.structure.heads[range].contains(&true)
            || self.structure.calls[sub].iter().any(|edge| edge.address)
        {
            return false;
        }
        let mut found = std::mem::take(&mut self.found);
        let mut arguments = std::mem::take(&mut self.arguments);
        let mut blocks = Blocks::new(self.program, function);
        blocks.states[0] = Some(Values::unknown());
        let mut left = self.memory.get();
        let mut enough = true;
        for index in 0..blocks.starts.len() {
            let Some(mut state) = blocks.states[index].take() else { continue };
            left += state.bytes();
            self.block(
                blocks.starts[index],
                blocks.end(index),
                &mut state,
                |at, insn, state| self.record_insn(at, insn, state, &mut found, &mut arguments),
                |target, out| {
                    let Some(to) = blocks.index(target) else { return };
                    let live = self.liveness.before[target.index()];
                    match &mut blocks.states[to] {
                        empty @ None => {
                            let mut first = out.clone();
                            first.keep_registers(live);
                            match left.checked_sub(first.bytes()) {
                                Some(rest) => left = rest,
                                None => enough = false,
                            }
                            *empty = Some(first);
                        }
                        Some(old) => {
                            old.combine(out, live, Scalar::join);
                        }
                    }
                },
            );
            if !enough {
                // Other ways are no better.
                found.lhs.clear();
                found.rhs.clear();
                found.branch = walked_edges(self.program, self.observed);
                for edge in &self.structure.calls[sub] {
                    arguments[edge.callee] = Some([Scalar::unknown(); 5]);
                }
                break;
            }
        }
        (self.found, self.arguments) = (found, arguments);
        true
    }

    /// Writes down what is known before each instruction, and what calls hand over.
    pub(super) fn record(&mut self, sub: usize, blocks: Option<&Blocks>) {
        let Some(blocks) = blocks else {
            for edge in &self.structure.calls[sub] {
                self.arguments[edge.callee] = Some([Scalar::unknown(); 5]);
            }
            return;
        };
        let mut found = std::mem::take(&mut self.found);
        let mut arguments = std::mem::take(&mut self.arguments);
        let mut state = Values::unknown();
        for index in 0..blocks.starts.len() {
            let Some(start) = &blocks.states[index] else { continue };
            state.clone_from(start);
            let mut at = blocks.starts[index];
            while at < blocks.end(index) && self.reached(at) {
                let insn = &self.program.insns[at.index()];
                self.record_insn(at, insn, &state, &mut found, &mut arguments);
                self.step(at, insn, &mut state);
                at = at.next();
            }
        }
        (self.found, self.arguments) = (found, arguments);
        for edge in &self.structure.calls[sub] {
            if edge.address {
                self.arguments[edge.callee] = Some([Scalar::unknown(); 5]);
            }
        }
    }

    fn record_insn(
        &self,
        at: InsnId,
        insn: &Insn,
        state: &Values,
        found: &mut Found,
        arguments: &mut [Option<[Scalar; 5]>],
    ) {
        let fact = |operand: Operand| match operand {
            Operand::Reg(reg) => value_fact(state.registers[reg.index()]),
            Operand::Imm(_) => None,
        };
        let index = at.index();
        match *insn {
            Insn::Alu { op, dst, src, .. } => {
                // A copy does not read its target.
                found.lhs.set(index, if copies(op) { None } else { fact(Operand::Reg(dst)) });
                found.rhs.set(index, fact(src));
            }
            Insn::Swap { dst, .. } => found.lhs.set(index, fact(Operand::Reg(dst))),
            Insn::Store { src, .. } => found.rhs.set(index, fact(src)),
            Insn::StoreRelease { src, .. } | Insn::Atomic { src, .. } => {
                found.rhs.set(index, fact(Operand::Reg(src)));
            }
            Insn::Branch { op, width, lhs, rhs, .. } => {
                found.lhs.set(index, fact(Operand::Reg(lhs)));
                found.rhs.set(index, fact(rhs));
                let (left, right) = (state.registers[lhs.index()], state.operand(rhs));
                let decided = decide(op, width, left, right);
                let possible = |taken: bool| self.observed.edge_seen(at, taken) && decided != Some(!taken);
                match (possible(true), possible(false)) {
                    (true, false) => found.branch[index] = BranchFact::Always,
                    (false, true) => found.branch[index] = BranchFact::Never,
                    // What the paths showed stands.
                    (true, true) | (false, false) => {}
                }
            }
            Insn::Call(Callee::Subprogram(entry)) => {
                let callee = self.structure.owner[entry.index()] as usize;
                let given = Reg::ARGS.map(|reg| state.registers[reg.index()]);
                let joined = match arguments[callee] {
                    None => given,
                    Some(old) => std::array::from_fn(|index| old[index].join(given[index])),
                };
                arguments[callee] = Some(joined);
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
pub(super) fn walked_edges(program: &Program, observed: &Observed) -> Vec<BranchFact> {
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
