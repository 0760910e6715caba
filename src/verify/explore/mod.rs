//! Exploration: every path is walked, states are remembered at prune points, and a path that reaches a state
//! covered by a remembered one ends there.
//!
//! In: the start state of a function. Out: nothing but the absence of a rejection, and what was observed on the
//! way (`observe`). The rules of single instructions are in `check`.
#![forbid(unsafe_code)]

mod buckets;
mod marks;
mod visit;
mod widen;

use std::rc::Rc;
use std::time::Duration;

use beelift_runtime::environment::thread_time;

use super::liveness::Liveness;
use super::log::Log;
use super::observe::Observed;
use super::policy::Options;
use super::precision::{Marks, NONE, Trace};
use super::report::Reason;
use super::state::{Differs, Frame, IdMap, State};
use super::structure::Structure;
use super::tables::Tables;
use crate::isa::InsnId;
use crate::link::Program;
use buckets::Buckets;
use marks::{BackEdge, BackEdges};
use visit::Visit;
use widen::Widened;

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

/// Bytes of a list of frames.
const FRAME_LIST: u64 = (8 * size_of::<Rc<Frame>>()) as u64;
/// Instructions from one look at the clock to the next.
const CLOCK: u64 = 1024;

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
    marks: [Marks; 8],
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
    /// Fewest frames between the parent and this one.
    lowest: u8,
    /// Where a later state differed.
    differs: Option<Differs>,
    hits: u32,
    misses: u32,
    insn: InsnId,
}

pub(crate) struct Pending {
    pub(crate) state: State,
    pub(crate) insn: InsnId,
    /// Bytes that it added.
    bytes: u64,
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
    buckets: Buckets,
    back_edges: BackEdges,
    back_edge_count: u64,
    /// Bytes of remembered and waiting states: what each does not share with the one before it.
    state_bytes: u64,
    ids: IdMap,
    /// Ids of linked numbers, while they are counted.
    linked: Vec<u32>,
    next_id: u32,
    jumps: u64,
    last_jumps: u64,
    last_processed: u64,
    remembered: u64,
    /// Callbacks that run later and were walked already, by function, map, and whether they may sleep.
    pub(crate) asynchronous: Vec<(usize, super::state::MapRef, bool)>,
    /// Who wants to hear of every step.
    pub(crate) log: Option<&'a mut dyn Log>,
    /// Paths begun, for the log.
    pub(crate) paths: u32,
    /// Instructions processed when the function is given up.
    give_up: u64,
    /// Time when it is given up.
    pub(crate) deadline: Duration,
    /// Visits of each loop head, over all paths.
    turns: Vec<u32>,
    /// Loop heads at which ranges are widened, when turns are not walked one by one.
    widened: Option<Widened>,
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
        // What other functions took counts.
        let give_up = options.limits.processed;
        // Which states are remembered does not depend on them.
        let last_processed = observed.statistics.processed;
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
                lowest: 1,
                may_goto_depth: 0,
                callback_unroll: 0,
            },
            at: entry,
            trace: Trace::default(),
            pending: Vec::new(),
            checkpoints: Vec::new(),
            buckets: Buckets::new(program.insns.len()),
            back_edges: BackEdges::default(),
            back_edge_count: 0,
            state_bytes: 0,
            ids: IdMap::default(),
            linked: Vec::new(),
            next_id: 0,
            jumps: 0,
            last_jumps: 0,
            last_processed,
            remembered: 0,
            asynchronous: Vec::new(),
            log: None,
            paths: 0,
            give_up,
            deadline: Duration::MAX,
            turns: vec![0; program.insns.len()],
            widened: None,
            is_global_function: subprogram != 0 && program.exception_callback != Some(subprogram),
        }
    }

    /// A new identity.
    #[inline]
    pub(crate) fn fresh_id(&mut self) -> u32 {
        self.next_id += 1;
        self.next_id
    }

    /// Walks all paths from the start state.
    pub(crate) fn explore(&mut self) -> Check {
        loop {
            self.log_path();
            self.path()?;
            self.finish(self.state.parent);
            let Some(pending) = self.pending.pop() else { return Ok(()) };
            self.state_bytes = self.state_bytes.saturating_sub(pending.bytes);
            self.state = pending.state;
            self.at = pending.insn;
        }
    }

    fn path(&mut self) -> Check {
        loop {
            self.observed.statistics.processed += 1;
            if self.observed.statistics.processed > self.give_up {
                return Err(Reason::TooComplex { limit: self.options.limits.processed }.into());
            }
            if self.observed.statistics.processed.is_multiple_of(CLOCK) && thread_time() > self.deadline {
                let limit = self.options.limits.time.as_millis();
                return Err(Reason::TooMuchTime { limit }.into());
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

    /// Bytes that remembered states, waiting paths and the trace take.
    #[inline]
    fn memory(&self) -> u64 {
        let lists = (self.checkpoints.len() + self.pending.len()) as u64 * FRAME_LIST;
        let entries = self.checkpoints.capacity() * size_of::<Checkpoint>()
            + self.pending.capacity() * size_of::<Pending>();
        let edges = self.back_edge_count * size_of::<BackEdge>() as u64;
        self.state_bytes + lists + entries as u64 + edges + self.trace.bytes()
    }

    /// The state remembered last before another one.
    #[inline]
    fn parent_state(&self, state: &State) -> Option<&State> {
        self.checkpoints.get(state.parent as usize)?.state.as_ref()
    }

    /// Puts a second path aside.
    pub(crate) fn push_pending(&mut self, state: State, insn: InsnId) -> Check {
        if self.pending.len() as u64 >= u64::from(self.options.limits.pending) {
            return Err(Reason::TooManyBranches { limit: self.options.limits.pending }.into());
        }
        if let Some(parent) = self.checkpoints.get_mut(state.parent as usize) {
            parent.branches += 1;
        }
        let bytes = state.bytes_beside(self.parent_state(&state));
        self.state_bytes += bytes;
        self.pending.push(Pending { state, insn, bytes });
        Ok(())
    }

    /// Counts a jump, for the pace at which states are remembered.
    #[inline]
    pub(crate) fn count_jump(&mut self) {
        self.jumps += 1;
    }
}
