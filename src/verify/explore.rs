//! Exploration: every path is walked, states are remembered at prune points, and a path that reaches a state
//! covered by a remembered one ends there.
//!
//! In: the start state of a function. Out: nothing but the absence of a rejection, and what was observed on the
//! way (`observe`). The rules of single instructions are in `check`.
#![forbid(unsafe_code)]

use std::hash::BuildHasher;
use std::rc::Rc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::liveness::Liveness;
use super::log::Log;
use super::observe::Observed;
use super::policy::Options;
use super::precision::{Found, Marks, NONE, Note, Trace, Wanted, backtrack};
use super::report::Reason;
use super::state::{Exactness, Frame, IdMap, Kind, Register, Stack, State, covers};
use super::structure::Structure;
use super::tables::Tables;
use crate::isa::effects::RegSet;
use crate::isa::{Callee, Insn, InsnId, Reg};
use crate::link::Program;

/// Why exploration stops early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Something could not be proven.
    Reject(Reason),
    /// Something is not understood.
    Unsupported(String),
}

impl From<Reason> for Stop {
    fn from(reason: Reason) -> Self {
        Self::Reject(reason)
    }
}

/// Result of a check.
pub(crate) type Check<T = ()> = Result<T, Stop>;

/// Estimate of a state that shares nothing: one changed frame with a page of stack slots.
const STATE_BYTES: u64 = (size_of::<Frame>() + 24 * size_of::<super::state::Slot>()) as u64;
/// Estimate of the rest of a remembered state.
const CHECKPOINT_BYTES: u64 = (size_of::<Checkpoint>() + 64) as u64;

/// Where a step leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Next {
    /// On to an instruction.
    To(InsnId),
    /// The path is over.
    End,
}

/// A state remembered at a prune point.
pub(crate) struct Checkpoint {
    /// The state; gone when it was forgotten.
    pub(crate) state: Option<State>,
    /// What later checks relied on, by frame.
    marks: Vec<Marks>,
    /// Stack slots that were read later, by frame.
    read: [u64; 8],
    /// Stack slots written between the parent and this one, by frame.
    written: [u64; 8],
    /// Remembered state before this one on its path.
    parent: u32,
    /// Paths from here that are not finished.
    branches: u32,
    /// An unfinished state that this one's paths lead back to.
    waits_for: u32,
    frames: u8,
    hits: u32,
    misses: u32,
    insn: InsnId,
}

/// A path that ended at a state whose marks were not complete.
struct BackEdge {
    parent: u32,
    trace: u32,
    written: [u64; 8],
    frames: u8,
    target: u32,
}

pub(crate) struct Pending {
    pub(crate) state: State,
    pub(crate) insn: InsnId,
}

/// The verifier at work on one function and all it calls.
pub(crate) struct Verifier<'a> {
    pub(crate) program: &'a Program,
    pub(crate) options: &'a Options,
    pub(crate) structure: &'a Structure,
    pub(crate) liveness: &'a Liveness,
    pub(crate) tables: &'a Tables<'a>,
    /// What was seen, over all paths.
    pub(crate) observed: &'a mut Observed,
    /// State before the current instruction, changed by it.
    pub(crate) state: State,
    /// Current instruction.
    pub(crate) at: InsnId,
    pub(crate) trace: Trace,
    pub(crate) pending: Vec<Pending>,
    pub(crate) checkpoints: Vec<Checkpoint>,
    table: HashMap<(InsnId, u64), Vec<u32>, FixedState>,
    back_edges: Vec<BackEdge>,
    ids: IdMap,
    next_id: u32,
    jumps: u64,
    last_jumps: u64,
    last_processed: u64,
    remembered: u64,
    /// Callbacks that run later and were walked already, by function and map.
    pub(crate) asynchronous: Vec<(usize, super::state::MapRef)>,
    /// Who wants to hear of every step.
    pub(crate) log: Option<&'a mut dyn Log>,
    /// Paths begun, for the log.
    pub(crate) paths: u32,
    /// Whether the function verified alone is a global one (else: the program itself).
    pub(crate) is_global_function: bool,
}

impl<'a> Verifier<'a> {
    pub(crate) fn new(
        program: &'a Program,
        options: &'a Options,
        structure: &'a Structure,
        liveness: &'a Liveness,
        tables: &'a Tables<'a>,
        observed: &'a mut Observed,
        subprogram: usize,
    ) -> Self {
        let entry = program.subprograms[subprogram].entry;
        let frame = Frame::new(0, subprogram as u32, entry); // at most 256 subprograms
        Self {
            program,
            options,
            structure,
            liveness,
            tables,
            observed,
            state: State {
                frames: vec![Rc::new(frame)],
                references: Rc::default(),
                parent: NONE,
                trace: NONE,
                written: [u64::MAX, 0, 0, 0, 0, 0, 0, 0],
                may_goto_depth: 0,
                callback_unroll: 0,
            },
            at: entry,
            trace: Trace::default(),
            pending: Vec::new(),
            checkpoints: Vec::new(),
            table: HashMap::default(),
            back_edges: Vec::new(),
            ids: IdMap::default(),
            next_id: 0,
            jumps: 0,
            last_jumps: 0,
            last_processed: 0,
            remembered: 0,
            asynchronous: Vec::new(),
            log: None,
            paths: 0,
            is_global_function: subprogram != 0 && program.exception_callback != Some(subprogram),
        }
    }

    /// A new identity.
    pub(crate) fn fresh_id(&mut self) -> u32 {
        self.next_id += 1;
        self.next_id
    }

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

    /// Walks all paths from the start state.
    pub(crate) fn explore(&mut self) -> Check {
        loop {
            self.log_path();
            self.path()?;
            self.finish(self.state.parent);
            let Some(pending) = self.pending.pop() else { return Ok(()) };
            self.state = pending.state;
            self.at = pending.insn;
        }
    }

    fn path(&mut self) -> Check {
        loop {
            self.observed.statistics.processed += 1;
            if self.observed.statistics.processed > self.options.limits.processed {
                return Err(Reason::TooComplex { limit: self.options.limits.processed }.into());
            }
            let mut remembered = NONE;
            if self.structure.prune[self.at.index()] {
                match self.visit()? {
                    Visit::Covered => {
                        self.log_covered();
                        return Ok(());
                    }
                    Visit::Remembered(index) => remembered = index,
                    Visit::New => {}
                }
            }
            self.observed.reachable[self.at.index()] = true;
            self.state.trace = self.trace.push(self.state.trace, self.at, remembered);
            let before = self.log_before();
            let next = self.step();
            self.log_step(before, &next);
            match next? {
                Next::To(next) => self.at = next,
                Next::End => return Ok(()),
            }
        }
    }

    /// Bytes that remembered states, waiting paths and the trace take, at most.
    fn memory(&self) -> u64 {
        let states = self.remembered + self.pending.len() as u64;
        states * STATE_BYTES + self.trace.bytes() + self.checkpoints.len() as u64 * CHECKPOINT_BYTES
    }

    /// Puts a second path aside.
    pub(crate) fn push_pending(&mut self, state: State, insn: InsnId) -> Check {
        if self.pending.len() as u64 >= u64::from(self.options.limits.pending) {
            return Err(Reason::TooManyBranches { limit: self.options.limits.pending }.into());
        }
        if let Some(parent) = self.checkpoints.get_mut(state.parent as usize) {
            parent.branches += 1;
        }
        self.pending.push(Pending { state, insn });
        Ok(())
    }

    /// Counts a jump, for the pace at which states are remembered.
    pub(crate) fn count_jump(&mut self) {
        self.jumps += 1;
    }

    /// A path below `parent` is finished.
    fn finish(&mut self, mut parent: u32) {
        while let Some(checkpoint) = self.checkpoints.get_mut(parent as usize) {
            checkpoint.branches -= 1;
            if checkpoint.branches > 0 {
                return;
            }
            let up = checkpoint.parent;
            self.complete(parent);
            parent = up;
        }
    }

    /// Every path from a remembered state was walked: its marks are complete once those of the loops through
    /// it are.
    fn complete(&mut self, index: u32) {
        if self.back_edges.is_empty() || self.unfinished(index).is_some() {
            return;
        }
        let edges = std::mem::take(&mut self.back_edges);
        let (mine, rest): (Vec<_>, Vec<_>) =
            edges.into_iter().partition(|edge| self.unfinished(edge.target).is_none());
        self.back_edges = rest;
        loop {
            let mut changed = false;
            for edge in &mine {
                let target = &self.checkpoints[edge.target as usize];
                let (read, marks) = (target.read, target.marks.clone());
                for (depth, mask) in read.iter().enumerate().take(usize::from(edge.frames)) {
                    changed |= self.propagate_reads(depth, mask & !edge.written[depth], edge.parent);
                }
                let mut wanted = Wanted::new(usize::from(edge.frames));
                for (mine, theirs) in wanted.frames_mut().iter_mut().zip(&marks) {
                    *mine = *theirs;
                }
                changed |= self.rely(edge.trace, wanted, false);
            }
            if !changed {
                return;
            }
        }
    }

    /// The unfinished state that this one's marks still depend on.
    fn unfinished(&self, mut index: u32) -> Option<u32> {
        loop {
            let checkpoint = self.checkpoints.get(index as usize)?;
            if checkpoint.branches > 0 {
                return Some(index);
            }
            index = checkpoint.waits_for;
        }
    }

    fn key(&self) -> (InsnId, u64) {
        let chain = self.state.frames[1..].iter().map(|frame| frame.call_site.0);
        let hash = chain.fold(0u64, |hash, site| FixedState::default().hash_one((hash, site)));
        (self.at, hash)
    }

    fn visit(&mut self) -> Check<Visit> {
        let force = self.structure.force[self.at.index()];
        let processed = self.observed.statistics.processed;
        let mut remember =
            force || (self.jumps - self.last_jumps >= 2 && processed - self.last_processed >= 8);
        let key = self.key();
        let mut candidates = self.table.remove(&key).unwrap_or_default();
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
            let patience = if force && checkpoint.branches > 0 { 64 } else { 3 };
            if checkpoint.misses > checkpoint.hits * patience + patience {
                self.remembered -= 1;
                if checkpoint.branches == 0 && self.back_edges.is_empty() {
                    checkpoint.state = None;
                }
            } else {
                candidates[kept] = index;
                kept += 1;
            }
        }
        candidates.drain(kept..position);
        let covered = covered?;
        let memory = self.memory();
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
        if !candidates.is_empty() {
            self.table.insert(key, candidates);
        }
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
            if !force && self.same_as(index) {
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

    fn covered_by(&mut self, index: u32, exactness: Exactness) -> bool {
        let checkpoint = &self.checkpoints[index as usize];
        let Some(old) = &checkpoint.state else { return false };
        let (before, at) = (&self.liveness.before, self.at);
        let frames = &self.state.frames;
        let live = |depth: usize| -> RegSet {
            let place = frames.get(depth + 1).map_or(at, |inner| inner.call_site);
            before[place.index()]
        };
        self.ids.reset(self.next_id);
        let relied = super::state::Relied { precise: &checkpoint.marks, read: &checkpoint.read };
        let mut unwritten = 0;
        let covered = covers(
            old,
            &relied,
            &self.state,
            exactness,
            self.options.policy.allow_uninitialised_stack,
            &mut self.ids,
            &mut unwritten,
            live,
        );
        if covered && unwritten != 0 {
            for (depth, frame) in self.state.frames.iter().enumerate() {
                if unwritten >> depth & 1 == 1 {
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
        if !self.structure.force[self.at.index()] {
            return false;
        }
        if !self.covered_by(index, Exactness::Within) {
            return false;
        }
        self.iterator_at_call().unwrap_or(true)
    }

    fn same_as(&mut self, index: u32) -> bool {
        let Some(old) = &self.checkpoints[index as usize].state else { return false };
        let depths_differ = old.may_goto_depth != self.state.may_goto_depth
            || old.callback_unroll != self.state.callback_unroll
            || super::check::iterator_depths_differ(old, &self.state);
        !depths_differ && self.covered_by(index, Exactness::Same)
    }

    /// The current path ends at a state whose marks may still grow.
    fn close_loop(&mut self, target: u32) {
        self.inherit(target);
        let Some(head) = self.unfinished(target) else { return };
        self.back_edges.push(BackEdge {
            parent: self.state.parent,
            trace: self.state.trace,
            written: self.state.written,
            frames: self.state.frames.len() as u8, // at most 8 frames
            target,
        });
        let mut up = self.state.parent;
        while up != NONE && up != head {
            let checkpoint = &mut self.checkpoints[up as usize];
            let next = checkpoint.parent;
            // The oldest loop head is the last to finish.
            if checkpoint.waits_for == NONE || checkpoint.waits_for > head {
                checkpoint.waits_for = head;
            }
            up = next;
        }
    }

    /// What the proof of a covering state relied on, the current path relies on too.
    fn inherit(&mut self, index: u32) {
        let checkpoint = &self.checkpoints[index as usize];
        let (read, marks) = (checkpoint.read, checkpoint.marks.clone());
        let frames = self.state.frames.len();
        for (depth, mask) in read.iter().enumerate().take(frames) {
            if *mask != 0 {
                self.note_reads(depth, *mask);
            }
        }
        let mut wanted = Wanted::new(frames);
        for (depth, (mine, theirs)) in wanted.frames_mut().iter_mut().zip(&marks).enumerate() {
            let frame = &self.state.frames[depth];
            *mine = only_scalars(frame, *theirs);
        }
        self.rely(self.state.trace, wanted, false);
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
        self.checkpoints.push(Checkpoint {
            state: Some(self.state.clone()),
            marks: vec![Marks::default(); frames],
            read: [0; 8],
            written: self.state.written,
            parent: self.state.parent,
            branches: 1,
            waits_for: NONE,
            frames: frames as u8, // at most 8 frames
            hits: 0,
            misses: 0,
            insn: self.at,
        });
        self.state.parent = index;
        self.state.written = [0; 8];
        index
    }

    /// A link that only one register has says nothing.
    fn unlink_single_scalars(&mut self) {
        let mut seen: Vec<u32> = Vec::new();
        for frame in &self.state.frames {
            let spilled = frame.stack.slots().iter().filter(|slot| slot.is_scalar_spill());
            let scalars = frame.registers.iter().filter(|register| register.kind == Kind::Scalar);
            seen.extend(scalars.chain(spilled.map(|slot| &slot.spilled)).map(|scalar| scalar.id));
        }
        seen.retain(|id| *id != 0);
        if seen.is_empty() {
            return;
        }
        seen.sort_unstable();
        let single = |id: u32| {
            let start = seen.partition_point(|seen| *seen < id);
            seen.get(start) == Some(&id) && seen.get(start + 1) != Some(&id)
        };
        self.state.for_each(
            |register| register.kind == Kind::Scalar && register.id != 0 && single(register.id),
            Register::unlink,
        );
    }

    /// A stack slot of a frame is read: the states before it relied on it.
    pub(crate) fn note_reads(&mut self, depth: usize, mask: u64) {
        let mask = mask & !self.state.written[depth];
        self.propagate_reads(depth, mask, self.state.parent);
    }

    fn propagate_reads(&mut self, depth: usize, mut mask: u64, mut parent: u32) -> bool {
        let mut changed = false;
        while mask != 0 {
            let Some(checkpoint) = self.checkpoints.get_mut(parent as usize) else { break };
            if depth >= usize::from(checkpoint.frames) {
                break;
            }
            mask &= !checkpoint.read[depth];
            changed |= mask != 0;
            checkpoint.read[depth] |= mask;
            mask &= !checkpoint.written[depth];
            parent = checkpoint.parent;
        }
        changed
    }

    /// The value of a register of the running frame matters.
    pub(crate) fn rely_on(&mut self, reg: Reg) {
        if self.state.register(reg).kind != Kind::Scalar {
            return;
        }
        let mut wanted = Wanted::new(self.state.frames.len());
        wanted.register(self.state.depth(), reg);
        self.rely(self.state.trace, wanted, true);
    }

    /// The value of a spilled scalar matters.
    pub(crate) fn rely_on_slot(&mut self, depth: usize, slot: usize) {
        if !self.state.frames[depth].stack.slot(slot).is_scalar_spill() {
            return;
        }
        let mut wanted = Wanted::new(self.state.frames.len());
        wanted.slot(depth, slot);
        self.rely(self.state.trace, wanted, true);
    }

    /// Marks where wanted values come from. `skip_last`: the newest step is the one that wants them.
    fn rely(&mut self, last: u32, mut wanted: Wanted, skip_last: bool) -> bool {
        if wanted.is_empty() {
            return false;
        }
        let mut changed = false;
        let checkpoints = &mut self.checkpoints;
        let mark = |index: u32, wanted: &mut Wanted| {
            let checkpoint = &mut checkpoints[index as usize];
            let Some(state) = &checkpoint.state else { return };
            for ((marks, wanted), frame) in
                checkpoint.marks.iter_mut().zip(wanted.frames_mut()).zip(&state.frames)
            {
                if wanted.is_empty() {
                    continue;
                }
                *wanted = only_scalars(frame, *wanted);
                wanted.registers &= !marks.registers;
                wanted.slots &= !marks.slots;
                changed |= !wanted.is_empty();
                marks.registers |= wanted.registers;
                marks.slots |= wanted.slots;
            }
        };
        let found = backtrack(&mut self.trace, &self.program.insns, last, &mut wanted, skip_last, mark);
        if found == Found::Lost {
            changed |= self.rely_on_everything(last);
        }
        changed
    }

    /// Every scalar of every remembered state on the path matters.
    fn rely_on_everything(&mut self, last: u32) -> bool {
        let mut changed = false;
        let states: Vec<u32> = self.trace.states(last).collect();
        for index in states {
            for marks in &mut self.checkpoints[index as usize].marks {
                changed |= marks.registers != 0x3ff || marks.slots != u64::MAX;
                *marks = Marks { registers: 0x3ff, slots: u64::MAX };
            }
        }
        changed
    }

    /// Notes something about the current step.
    pub(crate) fn note(&mut self, note: Note) {
        self.trace.note(self.state.trace, note);
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
            for index in 0..Reg::COUNT {
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

enum Visit {
    Covered,
    Remembered(u32),
    New,
}

fn only_scalars(frame: &Frame, mut marks: Marks) -> Marks {
    for index in 0..Reg::COUNT {
        if marks.registers >> index & 1 == 1 && frame.registers[index].kind != Kind::Scalar {
            marks.registers &= !(1 << index);
        }
    }
    let mut rest = marks.slots;
    while rest != 0 {
        let index = rest.trailing_zeros() as usize;
        rest &= rest - 1;
        if !frame.stack.slot(index).is_scalar_spill() {
            marks.slots &= !(1 << index);
        }
    }
    marks
}
