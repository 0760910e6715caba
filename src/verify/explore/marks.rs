//! What the proofs from remembered states on relied on, gathered while their paths are walked.
//!
//! A mark is set on every remembered state between a value's origin and its use. A path that ends at a state
//! whose own marks may still grow (a loop) leaves a back edge: when the loop is finished, marks go round it until
//! nothing changes.
#![forbid(unsafe_code)]

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::{Checkpoint, Verifier};
use crate::isa::Reg;
use crate::verify::precision::{Found, Marks, NONE, Note, Wanted, backtrack};
use crate::verify::state::{Frame, Kind};

/// A path that ended at a state whose marks were not complete.
pub(super) struct BackEdge {
    parent: u32,
    trace: u32,
    written: [u64; 8],
    frames: u8,
    target: u32,
}

/// Back edges by the unfinished state that their targets wait for.
pub(super) type BackEdges = HashMap<u32, Vec<BackEdge>, FixedState>;

impl Verifier<'_> {
    /// A path below `parent` is finished.
    pub(super) fn finish(&mut self, mut parent: u32) {
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
        if self.back_edges.is_empty() {
            return;
        }
        let Some(edges) = self.back_edges.remove(&index) else { return };
        if let Some(head) = self.unfinished(index) {
            self.back_edges.entry(head).or_default().extend(edges);
            return;
        }
        self.back_edge_count -= edges.len() as u64;
        loop {
            let mut changed = false;
            for edge in &edges {
                let target = &self.checkpoints[edge.target as usize];
                let (read, marks) = (target.read, target.marks);
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
    pub(super) fn unfinished(&self, mut index: u32) -> Option<u32> {
        loop {
            let checkpoint = self.checkpoints.get(index as usize)?;
            if checkpoint.branches > 0 {
                return Some(index);
            }
            index = checkpoint.waits_for;
        }
    }

    /// The current path ends at a state whose marks may still grow.
    pub(super) fn close_loop(&mut self, target: u32) {
        self.inherit(target);
        let Some(head) = self.unfinished(target) else { return };
        self.back_edge_count += 1;
        self.back_edges.entry(head).or_default().push(BackEdge {
            parent: self.state.parent,
            trace: self.state.trace,
            written: self.state.written,
            frames: self.state.frames.len() as u8, // at most 8 frames
            target,
        });
        let mut lowest = self.state.lowest;
        let mut up = self.state.parent;
        while up != NONE && up != head {
            let checkpoint = &mut self.checkpoints[up as usize];
            let next = checkpoint.parent;
            // The oldest loop head is the last to finish.
            if checkpoint.waits_for == NONE || checkpoint.waits_for > head {
                checkpoint.waits_for = head;
            }
            lowest = lowest.min(checkpoint.lowest);
            up = next;
        }
        // A loop of a caller was closed in a call that it makes: nobody counts its turns.
        if self.options.policy.fuel {
            for frame in self.state.frames.iter().skip(usize::from(lowest)) {
                self.observed.endless[frame.call_site.index()] = true;
            }
        }
    }

    /// What the proof of a covering state relied on, the current path relies on too.
    pub(super) fn inherit(&mut self, index: u32) {
        let Checkpoint { read, marks, .. } = self.checkpoints[index as usize];
        let frames = self.state.frames.len();
        for (depth, mask) in read.into_iter().enumerate().take(frames) {
            if mask != 0 {
                self.note_reads(depth, mask);
            }
        }
        let mut wanted = Wanted::new(frames);
        for ((mine, theirs), frame) in wanted.frames_mut().iter_mut().zip(&marks).zip(&self.state.frames) {
            *mine = only_scalars(frame, *theirs);
        }
        self.rely(self.state.trace, wanted, false);
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
        let (insns, origins) = (&self.program.insns, &self.structure.origins);
        let found = backtrack(&mut self.trace, insns, origins, last, &mut wanted, skip_last, mark);
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
            let checkpoint = &mut self.checkpoints[index as usize];
            for marks in &mut checkpoint.marks[..usize::from(checkpoint.frames)] {
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
}

/// Those of the marks whose places hold numbers.
fn only_scalars(frame: &Frame, mut marks: Marks) -> Marks {
    let mut rest = marks.registers;
    while rest != 0 {
        let index = rest.trailing_zeros() as usize;
        rest &= rest - 1;
        if frame.registers[index].kind != Kind::Scalar {
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
