//! The verifier: a `Program` becomes [`Verified`], or a rejection as data.
//!
//! [`verify`] is the only constructor of [`Verified`].
//!
//! In: a linked `Program` and [`Options`] (policy and limits are data, not code paths). Out: the program with
//! [`Facts`] about it and [`Statistics`] of the proof, or a [`Failure`]: `Rejected` says that the program is
//! not proven safe and why; `Unsupported` names what this verifier does not understand. Nothing is accepted by
//! guess. Not here: the meaning of arithmetic (`domain`), the tables of helpers and contexts (the runtime crate).
#![forbid(unsafe_code)]

mod apart;
mod cache;
mod check;
pub mod domain;
mod explore;
pub mod facts;
mod fixpoint;
mod kfuncs;
mod liveness;
pub mod log;
mod observe;
pub mod policy;
mod precision;
mod prototype;
mod ranking;
pub mod report;
mod stack_depth;
mod state;
mod structure;
mod summary;
mod tables;
mod tracing;
mod types;

use std::time::{Duration, Instant};

use beelift_runtime::ctx::{ContextLayout, ProgramType};
use beelift_runtime::environment::thread_time;

use explore::{Stop, Verifier};
use liveness::Liveness;
use observe::Observed;
use prototype::{ArgumentType, Problem};
use state::{DynptrType, Kind, MemFlags, Register};
use structure::{LoopPoint, Structure};
use tables::Tables;

use crate::isa::{Callee, Insn, InsnId, Reg};
use crate::link::{Linkage, Program};
pub use cache::{Cache, CacheCounts};
pub use facts::Facts;
pub use log::Log;
pub use policy::{Limits, Options, Policy};
pub use report::{Failure, Reason, Rejected};

/// `bpf_tail_call`.
const TAIL_CALL: u32 = 12;

/// What a proof took.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Statistics {
    /// Instructions walked, over all paths.
    pub processed: u64,
    /// States kept at prune points, in total.
    pub states: u64,
    /// Most states kept at one time.
    pub peak_states: u64,
    /// Bytes that states and steps took at one time, at most.
    pub memory: u64,
    /// Wall time in microseconds.
    pub micros: u64,
}

/// A program proven safe, with what was proven.
#[derive(Clone, Debug)]
pub struct Verified {
    program: Program,
    facts: Facts,
    statistics: Statistics,
}

impl Verified {
    /// A program with facts that a unit test knows to hold.
    #[cfg(test)]
    pub(crate) fn assume(program: Program, facts: Facts) -> Self {
        Self { program, facts, statistics: Statistics::default() }
    }
    /// The facts, to add what a unit test knows.
    #[cfg(test)]
    pub(crate) fn facts_mut(&mut self) -> &mut Facts {
        &mut self.facts
    }
    /// The program, likewise.
    #[cfg(test)]
    pub(crate) fn program_mut(&mut self) -> &mut Program {
        &mut self.program
    }
    /// The program.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }
    /// The proofs.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }
    /// What the proof took.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.statistics
    }
}

/// Proves a program safe under a policy.
///
/// # Errors
/// [`Failure::Rejected`] when no proof was found, [`Failure::Unsupported`] when the program uses what the
/// verifier does not understand.
pub fn verify(program: Program, options: &Options) -> Result<Verified, Failure> {
    verify_with(program, options, None, None)
}

/// Likewise; what was proven before, of the program or of its global functions, is not proven again.
///
/// # Errors
/// As [`verify`].
pub fn verify_cached(program: Program, options: &Options, cache: &Cache) -> Result<Verified, Failure> {
    verify_with(program, options, None, Some(cache))
}

/// Likewise, and tells a log about every step on the way.
///
/// # Errors
/// As [`verify`].
pub fn verify_logged(program: Program, options: &Options, log: &mut dyn Log) -> Result<Verified, Failure> {
    verify_with(program, options, Some(log), None)
}

fn verify_with(
    mut program: Program,
    options: &Options,
    log: Option<&mut dyn Log>,
    cache: Option<&Cache>,
) -> Result<Verified, Failure> {
    let start = Instant::now();
    let options = &Options { limits: options.limits.clamped(), ..*options };
    structure::complete_subprograms(&mut program);
    let micros = || u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
    let key = cache.and_then(|_| cache::program_key(&program, options));
    if let (Some(cache), Some(key)) = (cache, &key)
        && let Some(known) = cache.program(key)
    {
        let statistics = Statistics { micros: micros(), ..known.statistics };
        return Ok(Verified { program, facts: known.facts.clone(), statistics });
    }
    let mut observed = Observed::new(&program);
    let deadline = thread_time().saturating_add(options.limits.time);
    let facts = prove(&program, options, &mut observed, log, deadline, cache)?;
    let statistics = Statistics { micros: micros(), ..observed.statistics };
    if let (Some(cache), Some(key)) = (cache, key) {
        cache.keep_program(key, cache::Proof { facts: facts.clone(), statistics });
    }
    Ok(Verified { program, facts, statistics })
}

fn prove(
    program: &Program,
    options: &Options,
    observed: &mut Observed,
    mut log: Option<&mut dyn Log>,
    deadline: Duration,
    cache: Option<&Cache>,
) -> Result<Facts, Failure> {
    let limit = options.limits.subprograms;
    if program.subprograms.len() as u64 > u64::from(limit) {
        return Err(report::rejected(program, InsnId(0), Reason::TooManySubprograms { limit }).into());
    }
    if matches!(
        program.prog_type,
        ProgramType::Unspec | ProgramType::StructOps | ProgramType::Ext | ProgramType::LircMode2
    ) {
        return Err(Failure::Unsupported {
            what: format!("programs of type {}", program.prog_type),
            at: None,
        });
    }
    let mut tables = Tables::new(program);
    if let Some(Err(what)) = &tables.hook {
        return Err(Failure::Unsupported { what: what.clone(), at: None });
    }
    if let Some((at, slot)) = tables::arenas(program).find(|&(_, slot)| Some(slot) != tables.arena) {
        let map = program.maps[slot.0 as usize].name.clone(); // u32 to usize
        return Err(report::rejected(program, at, Reason::SecondArena { map }).into());
    }
    let structure = Structure::build(program, |insn| loop_point(&tables, insn))
        .map_err(|(at, reason)| report::rejected(program, at, reason))?;
    if options.policy.linux_instructions
        && let Some((at, what)) = abnormal_return(program)
    {
        return Err(report::rejected(program, at, Reason::AbnormalReturn { what }).into());
    }
    let liveness = Liveness::solve(program, &structure, |callee| tables.argument_count(callee));
    for &sub in &structure.bottom_up {
        let range = &program.subprograms[sub];
        let own = &program.insns[range.entry.index()..range.end.index()];
        tables.changes_packet[sub] = own.iter().any(|insn| tables.moves_packet(insn))
            || structure.calls[sub].iter().any(|edge| tables.changes_packet[edge.callee]);
        tables.sleeps[sub] = own.iter().any(|insn| tables.instruction_sleeps(insn))
            || structure.calls[sub].iter().any(|edge| tables.sleeps[edge.callee]);
    }
    let tables = tables;
    let inputs =
        Inputs { program, options, structure: &structure, liveness: &liveness, tables: &tables, deadline };
    explore_function(inputs, observed, again(&mut log), 0)?;
    if let Some(callback) = program.exception_callback {
        check_exception_callback(program, &tables, callback)
            .map_err(|reason| report::rejected(program, program.subprograms[callback].entry, reason))?;
        explore_function(inputs, observed, again(&mut log), callback)?;
    }
    // Global functions that were called are verified alone, each once.
    let mut done = vec![false; program.subprograms.len()];
    loop {
        let called: Vec<usize> = (1..done.len()).filter(|sub| observed.called[*sub] && !done[*sub]).collect();
        if called.is_empty() {
            break;
        }
        called.iter().for_each(|sub| done[*sub] = true);
        if log.is_none() {
            apart::verify(inputs, observed, &called, cache)?;
            continue;
        }
        for sub in called {
            explore_function(inputs, observed, again(&mut log), sub)?;
        }
    }
    stack_depth::check(program, options, &structure, observed)
        .map_err(|(at, reason)| report::rejected(program, at, reason))?;
    if let Some(at) = facts::never_left(program, observed) {
        return Err(report::rejected(program, at, Reason::InfiniteLoop).into());
    }
    let found = facts::build(program, &structure, &liveness, observed, options);
    Ok(Facts { arena: tables.arena, ..found })
}

/// An exception callback takes what was thrown, and nothing else.
fn check_exception_callback(program: &Program, tables: &Tables<'_>, callback: usize) -> Result<(), Reason> {
    let refuse = |what: &str| Reason::ExceptionCallback { what: what.to_owned() };
    if program.btf.is_none() {
        // Assembly has no types; what it reads is checked like everything else.
        return Ok(());
    }
    if program.subprograms[callback].linkage != Linkage::Global {
        return Err(refuse("it is not a global function"));
    }
    match tables.prototype(callback) {
        Ok(prototype) if prototype.arguments == [ArgumentType::Number] => Ok(()),
        Ok(_) => Err(refuse("it must take one number")),
        Err(Problem::Refused(what) | Problem::Unknown(what)) => Err(refuse(what)),
    }
}

/// Tail calls and packet loads that fail return from the function they are in, with a number: Linux wants types to
/// say that the function has such a result.
fn abnormal_return(program: &Program) -> Option<(InsnId, &'static str)> {
    let typed = program.subprograms.iter().all(|sub| sub.btf_func != 0);
    let leaves = |insn: &Insn| {
        if matches!(insn, Insn::Call(Callee::Helper(TAIL_CALL))) {
            return Some("a tail call");
        }
        matches!(insn, Insn::LegacyPacket { .. }).then_some("a load from the packet")
    };
    (1..program.subprograms.len())
        .filter(|&sub| !(typed && prototype::returns_number(program, sub)))
        .flat_map(|sub| program.subprograms[sub].entry.index()..program.subprograms[sub].end.index())
        .find_map(|at| leaves(&program.insns[at]).map(|what| (InsnId(at as u32), what))) // counted in 32 bits
}

/// Names of the kernel functions whose contract is written down here, in order.
pub fn kernel_functions() -> impl Iterator<Item = &'static str> {
    kfuncs::names()
}

/// Where loops through calls are closed.
fn loop_point(tables: &Tables<'_>, insn: &Insn) -> LoopPoint {
    match insn {
        Insn::Call(Callee::Helper(id)) if check::calls_back(*id) => LoopPoint::Force,
        Insn::Call(Callee::Kfunc { kfunc, .. })
            if tables.is_iterator_next(*kfunc)
                || tables.kfunc(*kfunc).is_some_and(|found| check::kfunc_calls_back(found.name)) =>
        {
            LoopPoint::Force
        }
        _ => LoopPoint::None,
    }
}

/// What the program itself is given.
fn start(verifier: &mut Verifier<'_>) {
    let buffer = Register::pointer(Kind::Memory(MemFlags::empty()));
    let (first, second) = match (verifier.tables.layout, verifier.options.buffer) {
        (ContextLayout::Memory, None) => {
            let id = verifier.fresh_id();
            (Register { nullable: true, id, ..buffer }, Register::unknown())
        }
        // Nothing is a null pointer.
        (ContextLayout::Memory, Some(0)) => (Register::constant(0), Register::constant(0)),
        (ContextLayout::Memory, Some(len)) => {
            // Accesses of a program reach no further than that anyway.
            let size = i32::try_from(len).unwrap_or(i32::MAX);
            (Register { size, ..buffer }, Register::constant(u64::from(len)))
        }
        (ContextLayout::Fields { .. } | ContextLayout::Raw { .. } | ContextLayout::Kernel, _) => {
            *verifier.state.register_mut(Reg::R1) = Register::pointer(Kind::Context);
            return;
        }
    };
    *verifier.state.register_mut(Reg::R1) = first;
    *verifier.state.register_mut(Reg::R2) = second;
}

/// The log for one more use; a trait object behind a reference has to be named anew to get a shorter life.
fn again<'s>(log: &'s mut Option<&mut dyn Log>) -> Option<&'s mut dyn Log> {
    match log {
        Some(log) => Some(&mut **log),
        None => None,
    }
}

/// What is known before any path is walked.
#[derive(Clone, Copy)]
struct Inputs<'a> {
    program: &'a Program,
    options: &'a Options,
    structure: &'a Structure,
    liveness: &'a Liveness,
    tables: &'a Tables<'a>,
    /// Of the time that this thread has taken.
    deadline: Duration,
}

fn explore_function(
    inputs: Inputs<'_>,
    observed: &mut Observed,
    mut log: Option<&mut dyn Log>,
    sub: usize,
) -> Result<(), Failure> {
    let Inputs { program, options, .. } = inputs;
    if let Some(log) = &mut log {
        log.event(&log::Event::Function { name: &program.subprograms[sub].name });
    }
    let (failure, long_loops) = {
        let mut verifier = at_entry(inputs, observed, again(&mut log), sub);
        let Err(stop) = verifier.explore() else { return Ok(()) };
        let too_long = matches!(
            stop,
            Stop::Reject(
                Reason::TooComplex { .. } | Reason::TooMuchMemory { .. } | Reason::TooManyBranches { .. }
            )
        );
        let long_loops = if too_long && options.policy.fuel { verifier.long_loops() } else { None };
        (failure(program, &verifier, stop), long_loops)
    };
    let Some(long_loops) = long_loops else { return Err(failure) };
    let mut verifier = at_entry(inputs, observed, again(&mut log), sub);
    verifier.widen_loops(long_loops);
    // What ranges do not prove may still be right: the reason stays that there are too many turns.
    verifier.explore().map_err(|_| failure)
}

fn failure(program: &Program, verifier: &Verifier<'_>, stop: Stop) -> Failure {
    match stop {
        Stop::Reject(reason) => report::rejected_on_path(verifier, reason).into(),
        Stop::Unsupported(what) => {
            Failure::Unsupported { what, at: program.pcs.get(verifier.at.index()).copied() }
        }
    }
}

/// The verifier before the first instruction of a function.
fn at_entry<'a>(
    inputs: Inputs<'a>,
    observed: &'a mut Observed,
    log: Option<&'a mut dyn Log>,
    sub: usize,
) -> Verifier<'a> {
    let Inputs { program, options, structure, liveness, tables, deadline } = inputs;
    let mut verifier = Verifier::new(program, options, structure, liveness, tables, observed, sub);
    verifier.deadline = deadline;
    verifier.log = log;
    if sub == 0 {
        start(&mut verifier);
    } else if program.exception_callback == Some(sub) {
        *verifier.state.register_mut(Reg::R1) = Register::unknown();
    } else if let Ok(prototype) = tables.prototype(sub) {
        debug_assert_eq!(program.subprograms[sub].linkage, Linkage::Global);
        for (argument, reg) in prototype.arguments.iter().zip(Reg::ARGS) {
            let register = match *argument {
                ArgumentType::Number => Register::unknown(),
                ArgumentType::Context => Register::pointer(Kind::Context),
                ArgumentType::Memory { size, nullable } => {
                    let id = if nullable { verifier.fresh_id() } else { 0 };
                    let size = i32::try_from(size).unwrap_or(0);
                    let kind = Kind::Memory(MemFlags::empty());
                    Register { size, nullable, id, ..Register::pointer(kind) }
                }
                ArgumentType::Untrusted => {
                    Register::pointer(Kind::Memory(MemFlags::READ_ONLY | MemFlags::UNTRUSTED))
                }
                ArgumentType::Dynptr => {
                    let owner = verifier.fresh_id();
                    Register { owner, ..Register::pointer(Kind::Dynptr(DynptrType::Local)) }
                }
                ArgumentType::Object { of, untrusted, nullable } => {
                    let id = if nullable { verifier.fresh_id() } else { 0 };
                    let flags = if untrusted { MemFlags::UNTRUSTED } else { MemFlags::TRUSTED };
                    Register { nullable, id, ..Register::pointer(Kind::Object(of, flags)) }
                }
                ArgumentType::Arena => Register::pointer(Kind::Arena),
            };
            *verifier.state.register_mut(reg) = register;
        }
    }
    verifier
}
