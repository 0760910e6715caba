//! Loops that are not walked turn by turn: numbers that change become ranges that hold in every turn.
//!
//! Where turns are counted otherwise (callbacks, iterators, `may_goto`) numbers that nothing relied on become any
//! number. In loops that took too many turns all numbers that change are widened, past the bounds that the program
//! compares with; such a loop has no known end.
#![forbid(unsafe_code)]

use super::{Checkpoint, Verifier};
use crate::isa::{AluOp, Insn, InsnId, Operand, Reg, Width, semantics};
use crate::verify::domain::{AbstractScalar, Scalar};
use crate::verify::precision::NONE;
use crate::verify::state::{Kind, Register, State};

/// Visits of a head in all paths before it counts as the head of a long loop.
const LONG: u32 = 256;
/// Turns on one path whose bounds stop at those that the program mentions.
const PATIENCE: usize = 12;

/// Loop heads at which ranges are widened.
pub(crate) struct Widened {
    heads: Vec<bool>,
    /// Bounds that the program mentions.
    bounds: Vec<u64>,
}

impl Verifier<'_> {
    /// The heads of long loops of a function that was given up, when there are any.
    pub(crate) fn long_loops(&self) -> Option<Widened> {
        // Where turns are counted otherwise, loops are closed otherwise.
        let long = |(at, turns): (usize, &u32)| !self.structure.force[at] && *turns > LONG;
        let heads: Vec<bool> = self.turns.iter().enumerate().map(long).collect();
        let bounds = || bounds(&self.program.insns);
        heads.contains(&true).then(|| Widened { bounds: bounds(), heads })
    }
    /// Walks the loops by ranges, with a budget of its own.
    pub(crate) fn widen_loops(&mut self, loops: Widened) {
        self.give_up = self.observed.statistics.processed.saturating_add(self.options.limits.processed);
        self.widened = Some(loops);
    }
    /// Whether ranges are widened at the current instruction.
    pub(super) fn is_widened(&self) -> bool {
        self.widened.as_ref().is_some_and(|loops| loops.heads[self.at.index()])
    }
    /// At the head of a long loop: the numbers of the last turn and of this one become a range that holds both.
    pub(super) fn widen_turn(&mut self) {
        let Some(loops) = &self.widened else { return };
        let Some(before) = self.previous_visit(self.at, self.state.parent) else { return };
        let Some(old) = &before.state else { return };
        // Bounds stop at those mentioned in the first turns only: there are many, and the budget is one for all.
        let mut turns = 1;
        let mut up = before;
        while let Some(earlier) = self.previous_visit(self.at, up.parent)
            && turns <= PATIENCE
        {
            up = earlier;
            turns += 1;
        }
        let bounds = if turns > PATIENCE { &[][..] } else { &loops.bounds };
        let mut state = self.state.clone();
        for (depth, before) in old.frames.iter().enumerate() {
            let now = &state.frames[depth];
            let mut registers = now.registers;
            let mut changed = false;
            for (old, new) in before.registers.iter().zip(registers.iter_mut()) {
                changed |= widen_register(old, new, bounds);
            }
            if changed {
                state.frame_mut(depth).registers = registers;
            }
            for index in 0..before.stack.len() {
                let (old, new) = (before.stack.slot(index), state.frames[depth].stack.slot(index));
                let mut spilled = new.spilled;
                if old.is_whole_spill()
                    && new.is_whole_spill()
                    && widen_register(&old.spilled, &mut spilled, bounds)
                {
                    state.frame_mut(depth).stack_mut().slot_mut(index).spilled = spilled;
                }
            }
        }
        self.state = state;
    }

    /// The remembered state at the same instruction and depth that is nearest on the current path.
    fn previous_visit(&self, insn: InsnId, from: u32) -> Option<&Checkpoint> {
        let mut up = from;
        while let Some(checkpoint) = self.checkpoints.get(up as usize) {
            if checkpoint.insn == insn
                && let Some(state) = &checkpoint.state
                && state.frames.len() == self.state.frames.len()
                && state.frames.iter().zip(&self.state.frames).all(|(a, b)| a.call_site == b.call_site)
            {
                return Some(checkpoint);
            }
            up = checkpoint.parent;
        }
        None
    }

    /// Numbers that differ from the last visit of an instruction, and that nothing relied on there, become any
    /// number: a loop through it is found closed instead of being walked turn by turn.
    pub(crate) fn widen_unlike_before(&mut self, insn: InsnId) {
        let mut state = self.state.clone();
        self.widen(self.previous_visit(insn, self.state.parent), &mut state);
        self.state = state;
    }

    /// The same for a turn of the loop at the current instruction, where a state was remembered just now.
    pub(crate) fn widen_unlike_last_turn(&self, turn: &mut State) {
        let newest = self.checkpoints.get(self.state.parent as usize);
        let before = newest.map_or(NONE, |checkpoint| checkpoint.parent);
        self.widen(self.previous_visit(self.at, before), turn);
    }

    fn widen(&self, before: Option<&Checkpoint>, state: &mut State) {
        let Some(Checkpoint { state: Some(old), marks, .. }) = before else { return };
        for (depth, before) in old.frames.iter().enumerate() {
            let marks = marks.get(depth).copied().unwrap_or_default();
            let differs =
                |old: &Register, new: &Register| old.is_scalar() && new.is_scalar() && old.value != new.value;
            for index in 0..Reg::R10.index() {
                let new = &state.frames[depth].registers[index];
                if marks.registers >> index & 1 == 0 && differs(&before.registers[index], new) {
                    state.frame_mut(depth).registers[index] = Register::unknown();
                }
            }
            for index in 0..before.stack.len() {
                let (old, new) = (before.stack.slot(index), state.frames[depth].stack.slot(index));
                if marks.slots >> index & 1 == 0
                    && old.is_scalar_spill()
                    && new.is_scalar_spill()
                    && differs(&old.spilled, &new.spilled)
                {
                    state.frame_mut(depth).stack_mut().slot_mut(index).spilled = Register::unknown();
                }
            }
        }
    }
}

/// Whether the new register was changed: to one of the same kind that holds old and new values.
fn widen_register(old: &Register, new: &mut Register, bounds: &[u64]) -> bool {
    let movable = match old.kind {
        Kind::Scalar => true,
        // A pointer that walks through memory; its constant part becomes variable.
        Kind::MapValue(_) | Kind::Memory(_) | Kind::Stack(_) => {
            (old.object, old.owner, old.size, old.id) == (new.object, new.owner, new.size, new.id)
        }
        Kind::Uninit
        | Kind::Context
        | Kind::Packet
        | Kind::PacketMeta
        | Kind::PacketEnd
        | Kind::Map(_)
        | Kind::MapKey(_)
        | Kind::Socket(_)
        | Kind::FlowKeys
        | Kind::Object(..)
        | Kind::Function(_)
        | Kind::Arena
        | Kind::Dynptr(_) => false,
    };
    if !movable || old.kind != new.kind || old.nullable || new.nullable {
        return false;
    }
    let mut value = new.value;
    if !old.is_scalar() && old.off != new.off {
        let moved = i64::from(new.off) - i64::from(old.off);
        let moved = Scalar::known(moved.cast_unsigned());
        value = semantics::alu(&mut AbstractScalar, AluOp::Add, Width::W64, value, moved);
    } else if value.is_subset_of(old.value) {
        // A link that the last turn did not have would keep the states apart.
        let linked = old.is_scalar() && new.id != 0 && (old.id == 0 || old.linked_delta != new.linked_delta);
        if linked {
            new.unlink();
        }
        return linked;
    }
    if old.is_scalar() {
        new.unlink();
    }
    new.off = if old.is_scalar() { 0 } else { old.off };
    new.value = old.value.widen(old.value.join(value), bounds);
    true
}

/// Numbers that comparisons and moves mention, and their neighbours.
fn bounds(insns: &[Insn]) -> Vec<u64> {
    let mut bounds = vec![u64::from(u32::MAX), u64::from(u16::MAX), 0xff, 0x7fff_ffff];
    for insn in insns {
        if let Insn::Branch { rhs: Operand::Imm(value), .. }
        | Insn::Alu { op: AluOp::Mov, src: Operand::Imm(value), .. } = insn
        {
            let value = value.cast_unsigned();
            bounds.extend([value.wrapping_sub(1), value, value.wrapping_add(1)]);
        }
    }
    bounds.sort_unstable();
    bounds.dedup();
    bounds.truncate(512);
    bounds
}
