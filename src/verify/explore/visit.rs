//! Prune points: whether a remembered state covers the current one, and what is remembered.
#![forbid(unsafe_code)]

use super::buckets::Key;
use super::{Check, Checkpoint, Verifier};
use crate::isa::effects::RegSet;
use crate::isa::{Callee, Insn, Reg};
use crate::verify::check;
use crate::verify::precision::{Marks, NONE};
use crate::verify::report::Reason;
use crate::verify::state::{Exactness, Kind, Noticed, Register, Relied, Stack, covers};

/// So many states of a place cost little to compare with, and are kept though most of them rarely cover anything: in
/// loops with several ways through them the same states come back, in an order of their own.
const FEW: usize = 16;

/// What a prune point did.
pub(super) enum Visit {
    Covered,
    Remembered(u32),
    New,
}

impl Verifier<'_> {
    /// Whether the call at hand is the `next` of an iterator that still yields; `None` elsewhere.
    fn iterator_at_call(&self) -> Option<bool> {
        let Insn::Call(Callee::Kfunc { kfunc, .. }) = self.program.insns[self.at.index()] else {
            return None;
        };
        if !self.tables.is_iterator_next(kfunc) {
            return None;
        }
        let pointer = self.state.register(Reg::R1);
        let Kind::Stack(frame) = pointer.kind else { return Some(false) };
        let off = pointer.constant_offset().filter(|off| (-512..0).contains(off));
        let slot = off.map(|off| Stack::place(off).0);
        let special = slot.and_then(|slot| self.state.frames[usize::from(frame)].stack.slot(slot).special);
        Some(special.is_some_and(|special| special.active))
    }

    pub(super) fn visit(&mut self) -> Check<Visit> {
        if self.structure.heads[self.at.index()] {
            self.turns[self.at.index()] += 1;
        }
        if self.is_widened() {
            self.widen_turn();
        }
        let force = self.structure.force[self.at.index()] || self.is_widened();
        let processed = self.observed.statistics.processed;
        let mut remember =
            force || (self.jumps - self.last_jumps >= 2 && processed - self.last_processed >= 8);
        let key = Key::of(self.at, &self.state);
        let mut candidates = self.buckets.take(key);
        let few = candidates.len() <= FEW;
        let mut covered = Ok(false);
        let mut kept = 0;
        let mut position = 0;
        while position < candidates.len() {
            let index = candidates[position];
            position += 1;
            match self.compare(index, force, &mut remember) {
                Ok(true) => {
                    covered = Ok(true);
                    self.checkpoints[index as usize].hits += 1;
                    candidates[kept] = index;
                    kept += 1;
                    break;
                }
                Ok(false) => {}
                Err(stop) => {
                    covered = Err(stop);
                    break;
                }
            }
            let checkpoint = &mut self.checkpoints[index as usize];
            if remember {
                checkpoint.misses += 1;
            }
            let patient = few || (force && checkpoint.branches > 0);
            let patience = if patient { 64 } else { 3 };
            if checkpoint.misses > checkpoint.hits * patience + patience {
                self.remembered -= 1;
                if checkpoint.branches == 0
                    && self.back_edges.is_empty()
                    && let Some(state) = checkpoint.state.take()
                {
                    self.state_bytes = self.state_bytes.saturating_sub(state.bytes_alone());
                }
            } else {
                candidates[kept] = index;
                kept += 1;
            }
        }
        candidates.drain(kept..position);
        let covered = covered?;
        let memory = self.memory();
        let peak = &mut self.observed.statistics.memory;
        *peak = memory.max(*peak);
        if memory > self.options.limits.memory {
            return Err(Reason::TooMuchMemory { limit: self.options.limits.memory }.into());
        }
        let mut result = Visit::New;
        if covered {
            result = Visit::Covered;
        } else if remember {
            let index = self.remember();
            candidates.push(index);
            result = Visit::Remembered(index);
        }
        self.buckets.put(key, candidates);
        Ok(result)
    }

    /// Whether a remembered state covers the current one.
    fn compare(&mut self, index: u32, force: bool, remember: &mut bool) -> Check<bool> {
        let checkpoint = &self.checkpoints[index as usize];
        if checkpoint.branches > 0 {
            if self.closes_loop(index) {
                self.close_loop(index);
                return Ok(true);
            }
            // Turns are counted elsewhere, but not by an iterator that yields no more.
            let counted = force && self.iterator_at_call() != Some(false);
            if !counted && !self.still_differs(index, Exactness::Same) && self.same_as(index) {
                return Err(Reason::InfiniteLoop.into());
            }
            let processed = self.observed.statistics.processed;
            if !force && self.jumps - self.last_jumps < 20 && processed - self.last_processed < 100 {
                *remember = false;
            }
            return Ok(false);
        }
        let incomplete = self.unfinished(index).is_some();
        let exactness = if incomplete { Exactness::Within } else { Exactness::Relied };
        if !self.covered_by(index, exactness) {
            return Ok(false);
        }
        if incomplete {
            self.close_loop(index);
        } else {
            self.inherit(index);
        }
        Ok(true)
    }

    /// Whether a number that kept a remembered state from covering another one keeps it from covering this one.
    #[inline]
    fn still_differs(&self, index: u32, exactness: Exactness) -> bool {
        let checkpoint = &self.checkpoints[index as usize];
        let Some(old) = &checkpoint.state else { return false };
        let frames = &self.state.frames;
        let live = |depth: usize| -> RegSet {
            let place = frames.get(depth + 1).map_or(self.at, |inner| inner.call_site);
            self.liveness.before[place.index()]
        };
        let relied = Relied { precise: &checkpoint.marks, read: &checkpoint.read };
        checkpoint.differs.is_some_and(|place| place.still(old, &relied, &self.state, exactness, live))
    }

    fn covered_by(&mut self, index: u32, exactness: Exactness) -> bool {
        if self.still_differs(index, exactness) {
            return false;
        }
        let checkpoint = &self.checkpoints[index as usize];
        let Some(old) = &checkpoint.state else { return false };
        let (before, at) = (&self.liveness.before, self.at);
        let frames = &self.state.frames;
        let live = |depth: usize| -> RegSet {
            let place = frames.get(depth + 1).map_or(at, |inner| inner.call_site);
            before[place.index()]
        };
        let relied = Relied { precise: &checkpoint.marks, read: &checkpoint.read };
        self.ids.reset(self.next_id);
        let mut noticed = Noticed { unwritten: 0, differs: checkpoint.differs };
        let covered = covers(
            old,
            &relied,
            &self.state,
            exactness,
            self.options.policy.allow_uninitialised_stack,
            &mut self.ids,
            &mut noticed,
            live,
        );
        self.checkpoints[index as usize].differs = noticed.differs;
        if covered && noticed.unwritten != 0 {
            for (depth, frame) in self.state.frames.iter().enumerate() {
                if noticed.unwritten >> depth & 1 == 1 {
                    self.observed.zero_stack[frame.subprogram as usize] = true;
                }
            }
        }
        covered
    }

    /// Whether an unfinished state at a loop point lets the current one end here.
    fn closes_loop(&mut self, index: u32) -> bool {
        let insn = &self.program.insns[self.at.index()];
        if matches!(insn, Insn::MayGoto { .. }) {
            let old = self.checkpoints[index as usize].state.as_ref().map(|state| state.may_goto_depth);
            return old.is_some_and(|depth| depth != self.state.may_goto_depth)
                && self.covered_by(index, Exactness::Within);
        }
        if !self.structure.force[self.at.index()] && !self.is_widened() {
            return false;
        }
        // An iterator that yields no more ends no loop.
        let closes = self.iterator_at_call().unwrap_or(true);
        if !closes || !self.covered_by(index, Exactness::Within) {
            return false;
        }
        if self.is_widened() {
            self.observed.endless[self.at.index()] = true;
        }
        true
    }

    fn same_as(&mut self, index: u32) -> bool {
        let Some(old) = &self.checkpoints[index as usize].state else { return false };
        let depths_differ = old.may_goto_depth != self.state.may_goto_depth
            || old.callback_unroll != self.state.callback_unroll
            || check::iterator_depths_differ(old, &self.state);
        !depths_differ && self.covered_by(index, Exactness::Same)
    }

    fn remember(&mut self) -> u32 {
        self.unlink_single_scalars();
        let statistics = &mut self.observed.statistics;
        statistics.states += 1;
        self.remembered += 1;
        statistics.peak_states = statistics.peak_states.max(self.remembered);
        self.last_jumps = self.jumps;
        self.last_processed = statistics.processed;
        let index = self.checkpoints.len() as u32; // bounded by the instruction budget
        let frames = self.state.frames.len();
        self.state_bytes += self.state.bytes_beside(self.parent_state(&self.state));
        self.checkpoints.push(Checkpoint {
            state: Some(self.state.clone()),
            marks: [Marks::default(); 8],
            read: [0; 8],
            written: self.state.written,
            parent: self.state.parent,
            branches: 1,
            waits_for: NONE,
            frames: frames as u8, // at most 8 frames
            lowest: self.state.lowest,
            differs: None,
            hits: 0,
            misses: 0,
            insn: self.at,
        });
        self.state.parent = index;
        self.state.written = [0; 8];
        self.state.lowest = frames as u8; // likewise
        index
    }

    /// A link that only one register has says nothing.
    fn unlink_single_scalars(&mut self) {
        let mut seen = std::mem::take(&mut self.linked);
        seen.clear();
        for frame in &self.state.frames {
            let linked = |scalar: &&Register| scalar.id != 0 && scalar.kind == Kind::Scalar;
            seen.extend(frame.registers.iter().filter(linked).map(|scalar| scalar.id));
            let spilled = frame.stack.slots().filter(|slot| slot.spilled.id != 0 && slot.is_scalar_spill());
            seen.extend(spilled.map(|slot| slot.spilled.id));
        }
        seen.sort_unstable();
        if seen.chunk_by(|a, b| a == b).any(|equal| equal.len() == 1) {
            self.unlink_those_seen_once(&seen);
        }
        self.linked = seen;
    }

    /// `seen` are the ids of all linked numbers, in order.
    fn unlink_those_seen_once(&mut self, seen: &[u32]) {
        let single = |id: u32| {
            let start = seen.partition_point(|seen| *seen < id);
            seen.get(start) == Some(&id) && seen.get(start + 1) != Some(&id)
        };
        self.state.for_each(
            |register| register.kind == Kind::Scalar && register.id != 0 && single(register.id),
            Register::unlink,
        );
    }
}
