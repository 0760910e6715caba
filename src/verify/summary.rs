//! What walking one global function found out, apart from where the function lies and what else was walked.
//!
//! In: what was observed from a function on, with nothing before. Out: the same, added to what the rest of a program
//! showed, perhaps of a program in which the function and what it calls lie elsewhere. Two walks may contradict each
//! other (an instruction with pointers of different kinds): then nothing is added, and the function has to be walked with
//! the others, which says why.
#![forbid(unsafe_code)]

use super::Statistics;
use super::facts::{AccessFact, CallFact};
use super::observe::{Loaded, Observed, Outcome};
use super::state::Kind;
use super::structure::Structure;
use crate::isa::{Callee, InsnId};
use crate::link::{Linkage, Program};

/// A function, all that it calls as part of itself, and the global functions that these call: in an order that only their
/// instructions decide.
#[derive(Debug)]
pub(crate) struct Members {
    /// Subprograms of the program, the function itself first.
    pub(crate) subs: Vec<usize>,
    /// Whether they are walked with the function, and not taken at their word.
    pub(crate) walked: Vec<bool>,
}

impl Members {
    pub(crate) fn of(program: &Program, structure: &Structure, sub: usize) -> Self {
        let global = |sub: usize| sub != 0 && program.subprograms[sub].linkage == Linkage::Global;
        let mut members = Self { subs: vec![sub], walked: vec![true] };
        let mut work = vec![0];
        while let Some(number) = work.pop() {
            for call in &structure.calls[members.subs[number]] {
                let known = members.number(call.callee);
                let callee = known.unwrap_or(members.subs.len());
                if known.is_none() {
                    members.subs.push(call.callee);
                    members.walked.push(false);
                }
                if (call.address || !global(call.callee)) && !members.walked[callee] {
                    members.walked[callee] = true;
                    work.push(callee);
                }
            }
        }
        members
    }
    /// The number of a subprogram among them.
    pub(crate) fn number(&self, sub: usize) -> Option<usize> {
        self.subs.iter().position(|member| *member == sub)
    }
}

/// An instruction by the number of its function among the members, and its place there.
type Place = (usize, u32);

/// What was seen of an instruction.
#[derive(Debug)]
struct Row {
    at: Place,
    /// Callbacks and targets of the call.
    callbacks: Vec<Place>,
    targets: Vec<(Callee, Option<Place>)>,
    access: Option<AccessFact>,
    base: Option<Kind>,
    loaded: Loaded,
    edges: [bool; 2],
    arena_alu: Option<bool>,
    endless: bool,
    result: Option<Outcome>,
    call: Option<Box<CallFact>>,
}

/// What was seen of a subprogram.
#[derive(Debug)]
struct Function {
    number: usize,
    zero_stack: bool,
    stack_depth: u32,
    called: bool,
    entered: bool,
}

/// What walking one function found out.
#[derive(Debug)]
pub(crate) struct Summary {
    rows: Vec<Row>,
    functions: Vec<Function>,
    statistics: Statistics,
}

impl Summary {
    /// What was observed when nothing but the function and its members were walked.
    pub(crate) fn of(program: &Program, own: &Observed, members: &Members) -> Self {
        let place = |at: InsnId| -> Place {
            let sub = program.subprogram_of(at);
            let number = members.number(sub).expect("a walk stays among the members");
            (number, at.0 - program.subprograms[sub].entry.0)
        };
        let rows = (0..own.reachable.len()).filter(|at| own.reachable[*at]).map(|at| {
            let mut call = own.call[at].clone();
            let (mut callbacks, mut targets) = (Vec::new(), Vec::new());
            if let Some(call) = &mut call {
                callbacks = call.callbacks.drain(..).map(place).collect();
                let target = |target| match target {
                    Callee::Subprogram(entry) => (target, Some(place(entry))),
                    Callee::Helper(_) | Callee::Kfunc { .. } | Callee::Register(_) => (target, None),
                };
                targets = call.targets.drain(..).map(target).collect();
            }
            Row {
                at: place(InsnId(at as u32)), // InsnId counts instructions in 32 bits
                callbacks,
                targets,
                access: own.access[at],
                base: own.base[at],
                loaded: own.loaded[at],
                edges: own.edges[at],
                arena_alu: own.arena_alu[at],
                endless: own.endless[at],
                result: own.result[at],
                call,
            }
        });
        let functions = members.subs.iter().enumerate().map(|(number, &sub)| Function {
            number,
            zero_stack: own.zero_stack[sub],
            stack_depth: own.stack_depth[sub],
            called: own.called[sub],
            entered: own.entered[sub],
        });
        Self { rows: rows.collect(), functions: functions.collect(), statistics: own.statistics }
    }

    /// Instructions walked.
    pub(crate) fn processed(&self) -> u64 {
        self.statistics.processed
    }

    /// Adds it to what else was observed, for the same members of a program. Returns false, and adds nothing, where they
    /// contradict each other.
    #[must_use]
    pub(crate) fn add_to(&self, program: &Program, observed: &mut Observed, members: &Members) -> bool {
        let there =
            |(number, offset): Place| InsnId(program.subprograms[members.subs[number]].entry.0 + offset);
        let agree = self.rows.iter().all(|row| {
            let at = there(row.at).index();
            same(observed.base[at], row.base)
                && same(observed.result[at], row.result)
                && same(observed.arena_alu[at], row.arena_alu)
        });
        if !agree {
            return false;
        }
        for row in &self.rows {
            let id = there(row.at);
            let at = id.index();
            observed.reachable[at] = true;
            if let Some(AccessFact { region, aligned }) = row.access {
                observed.access(id, region, aligned);
            }
            observed.base[at] = observed.base[at].or(row.base);
            observed.result[at] = observed.result[at].or(row.result);
            observed.arena_alu[at] = observed.arena_alu[at].or(row.arena_alu);
            if row.loaded != Loaded::Nothing {
                observed.load(id, row.loaded);
            }
            for taken in [false, true] {
                if row.edges[usize::from(taken)] {
                    observed.edge(id, taken);
                }
            }
            observed.endless[at] |= row.endless;
            if let Some(call) = &row.call {
                let callbacks = row.callbacks.iter().copied().map(there).collect();
                observed.call(id, CallFact { callbacks, ..CallFact::clone(call) });
                for (target, place) in &row.targets {
                    observed.target(id, place.map_or(*target, |place| Callee::Subprogram(there(place))));
                }
            }
        }
        for function in &self.functions {
            let sub = members.subs[function.number];
            observed.zero_stack[sub] |= function.zero_stack;
            observed.stack_depth[sub] = observed.stack_depth[sub].max(function.stack_depth);
            observed.called[sub] |= function.called;
            observed.entered[sub] |= function.entered;
        }
        let Statistics { processed, states, peak_states, memory, micros: _ } = self.statistics;
        let all = &mut observed.statistics;
        all.processed += processed;
        all.states += states;
        all.peak_states = all.peak_states.max(peak_states);
        all.memory = all.memory.max(memory);
        true
    }
}

/// Whether two walks saw the same, where both saw something.
fn same<T: PartialEq>(one: Option<T>, other: Option<T>) -> bool {
    one.is_none() || other.is_none() || one == other
}
