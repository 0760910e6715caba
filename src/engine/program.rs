//! A loaded program: one of three backends, one way to run it.
#![forbid(unsafe_code)]

mod observe;

use std::sync::Arc;
#[cfg(feature = "jit")]
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use beelift_runtime::TrapKind;
use beelift_runtime::abi::{ExecContext, Host};
use beelift_runtime::cpu::CpuSlot;
use beelift_runtime::ctx::{Context, ProgramType, RawContext};
use beelift_runtime::environment::thread_time;
use beelift_runtime::helper::Effects;
use beelift_runtime::map::timer::Due;
use beelift_runtime::map::{Map, MapError, ValuePtr};
use beelift_runtime::mem::Regions;

use super::Shared;
use super::collection::LoadTimes;
use super::error::Error;
use super::record::{self, Action, Input, Record};
use super::tail;
use crate::interp::{InterpProgram, Monitor, Observer};
use crate::isa::{Callee, Insn};
use crate::link::{Program, Trap};
use crate::verify::Facts;
#[cfg(feature = "jit")]
use crate::verify::facts::Obligations;

/// Where a program runs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Backend {
    /// Native code in user space.
    Jit,
    /// The checked interpreter.
    Interpreter,
    /// The running kernel.
    Kernel,
}

impl std::fmt::Display for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Jit => "jit",
            Self::Interpreter => "interpreter",
            Self::Kernel => "kernel",
        })
    }
}

/// A program that runs. `Send + Sync`: any number of threads may run it at once, each on its own context.
pub struct Loaded {
    shared: Arc<Shared>,
    program: Arc<Program>,
    body: Arc<Body>,
    /// Program and attach type: close at hand, for every run asks.
    types: (ProgramType, u32),
    /// Whether a run takes a CPU slot: it calls something that may ask for it, and the engine fixes none.
    claims_slot: bool,
    /// Whether it asks for its NUMA node.
    asks_node: bool,
    /// Number among the programs of the engine.
    id: u32,
    /// For subprograms that run by themselves: made when the first one does.
    #[cfg(feature = "jit")]
    callbacks: Arc<OnceLock<InterpProgram>>,
    /// What the verdict asks of every run, for that one.
    #[cfg(feature = "jit")]
    asked: Option<Arc<Obligations>>,
    times: LoadTimes,
    /// The one length of its buffer that a `memory` program was verified for.
    buffer: Option<u32>,
}

/// Holds the thread where it is.
#[derive(Default)]
pub(super) struct Pinned {
    #[cfg(feature = "kernel")]
    _guard: Option<crate::kernel::oracle::OnCpu>,
}

pub(super) enum Body {
    #[cfg(feature = "jit")]
    Jit(crate::exec::JitProgram),
    Interp(InterpProgram),
    #[cfg(feature = "kernel")]
    Kernel(crate::kernel::KernelProgram),
}

impl Loaded {
    pub(super) fn new(shared: Arc<Shared>, program: Arc<Program>, body: Body, times: LoadTimes) -> Self {
        let id = shared.programs.fetch_add(1, Ordering::Relaxed) + 1;
        let claims_slot = !shared.deterministic && minds_slot(&program);
        let asks_node = program.insns.contains(&Insn::Call(Callee::Helper(NUMA_NODE)));
        let types = (program.prog_type, program.attach_type);
        Self {
            shared,
            program,
            body: Arc::new(body),
            types,
            claims_slot,
            asks_node,
            id,
            #[cfg(feature = "jit")]
            callbacks: Arc::default(),
            #[cfg(feature = "jit")]
            asked: None,
            times,
            buffer: None,
        }
    }
    /// Lets the arrays that the program calls into know it.
    ///
    /// # Errors
    /// The index of a map that holds programs of another kind.
    pub(super) fn claim_arrays(&self, map: impl Fn(usize) -> Arc<dyn Map>) -> Result<(), usize> {
        tail::claim(&self.program, &self.body, map)
    }
    /// Stores the program in an array of user space.
    ///
    /// # Errors
    /// As the map does.
    pub(super) fn store_in(&self, map: &Arc<dyn Map>, index: u32) -> Result<(), MapError> {
        tail::store(map, index, &self.program, &self.body, self.id)
    }
    pub(super) fn proven_by(self, facts: &Facts) -> Self {
        Self {
            buffer: facts.buffer,
            #[cfg(feature = "jit")]
            asked: Some(Arc::new(facts.obligations())),
            ..self
        }
    }

    /// Symbol name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.program.name
    }
    /// The linked program behind it.
    #[must_use]
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }
    /// Where it runs.
    #[must_use]
    pub fn backend(&self) -> Backend {
        match *self.body {
            #[cfg(feature = "jit")]
            Body::Jit(_) => Backend::Jit,
            Body::Interp(_) => Backend::Interpreter,
            #[cfg(feature = "kernel")]
            Body::Kernel(_) => Backend::Kernel,
        }
    }
    /// How long loading took.
    #[must_use]
    pub fn times(&self) -> LoadTimes {
        self.times
    }
    /// The native program, when it runs as native code in user space.
    #[cfg(feature = "jit")]
    #[must_use]
    pub fn native(&self) -> Option<&crate::exec::JitProgram> {
        match &*self.body {
            Body::Jit(native) => Some(native),
            Body::Interp(_) => None,
            #[cfg(feature = "kernel")]
            Body::Kernel(_) => None,
        }
    }
    /// The program in the kernel, when it runs there.
    #[cfg(feature = "kernel")]
    #[must_use]
    pub fn kernel(&self) -> Option<&crate::kernel::KernelProgram> {
        match &*self.body {
            #[cfg(feature = "jit")]
            Body::Jit(_) => None,
            Body::Interp(_) => None,
            Body::Kernel(program) => Some(program),
        }
    }

    /// Runs the program once and returns r0 (from the kernel: its low 32 bits). In user space a run allocates
    /// nothing and makes no system call (the interpreter allocates).
    ///
    /// # Errors
    /// A context of another program type, a trap, or a refusal of the kernel.
    pub fn run<C: Context>(&self, context: &mut C) -> Result<u64, Error> {
        let slot = self.claim()?;
        self.run_on(slot.as_ref().map_or(0, CpuSlot::index), context)
    }

    /// As [`Loaded::run`]; `effects` says afterwards what the run left behind beside its result: where a packet is
    /// redirected to, copies that were sent, and so on. What it held before is gone. A run in the kernel leaves
    /// nothing there.
    ///
    /// # Errors
    /// As [`Loaded::run`].
    pub fn run_with<C: Context>(&self, context: &mut C, effects: &mut Effects) -> Result<u64, Error> {
        let slot = self.claim()?;
        effects.clear();
        self.run_into(slot.as_ref().map_or(0, CpuSlot::index), context, effects)
    }

    /// For many runs one after the other: what a run sets up and takes down around the program is done once.
    ///
    /// # Errors
    /// All CPU slots are taken.
    pub fn runner(&self) -> Result<Runner<'_>, Error> {
        Ok(Runner { program: self, slot: self.claim()? })
    }

    /// A run on a CPU slot that the caller holds, if the program needs one.
    #[inline]
    pub(super) fn run_on<C: Context>(&self, cpu: u32, context: &mut C) -> Result<u64, Error> {
        self.run_into(cpu, context, &Effects::default())
    }

    #[inline]
    fn run_into<C: Context>(&self, cpu: u32, context: &mut C, effects: &Effects) -> Result<u64, Error> {
        match &*self.body {
            #[cfg(feature = "jit")]
            Body::Jit(native) => match native.run_if_fit(context, self.host(cpu, effects)) {
                Some(Ok(value)) => Ok(value),
                Some(Err(trap)) => Err(self.trapped(trap, effects)),
                None => Err(self.misfit(context)),
            },
            Body::Interp(_) if !self.fits(context) => Err(self.misfit(context)),
            Body::Interp(interp) => self.interpret(interp, cpu, context, effects),
            #[cfg(feature = "kernel")]
            Body::Kernel(_) if !self.fits(context) => Err(self.misfit(context)),
            #[cfg(feature = "kernel")]
            Body::Kernel(program) => run_in_kernel(program, context, 1).map(|(value, _)| value),
        }
    }

    /// Whether the program may run on a context.
    fn fits<C: Context>(&self, context: &mut C) -> bool {
        context.accepts(self.types.0, self.types.1)
            && self.buffer.is_none_or(|verified| u64::from(verified) == context.enter().r2)
    }

    /// Why it may not.
    #[cold]
    fn misfit<C: Context>(&self, context: &mut C) -> Error {
        match self.buffer {
            Some(verified) if context.accepts(self.types.0, self.types.1) => {
                Error::BufferLength { verified, given: context.enter().r2 }
            }
            _ => Error::ContextType { program: self.program.prog_type.name() },
        }
    }

    #[cfg(feature = "jit")]
    #[cold]
    fn trapped(&self, trap: crate::exec::NativeTrap, effects: &Effects) -> Error {
        trapped(Box::new(Trap::new(&self.program, trap.kind, trap.insn, &[])), effects)
    }

    // Apart from `run`, whose frame it would make larger.
    #[inline(never)]
    fn interpret<C: Context>(
        &self,
        interp: &InterpProgram,
        cpu: u32,
        context: &mut C,
        effects: &Effects,
    ) -> Result<u64, Error> {
        if self.shared.unverified {
            self.interpret_observed(interp, cpu, context, effects, &mut Monitor::new(&self.program))
        } else {
            self.interpret_observed(interp, cpu, context, effects, &mut ())
        }
    }

    fn interpret_observed<C: Context>(
        &self,
        interp: &InterpProgram,
        cpu: u32,
        context: &mut C,
        effects: &Effects,
        observer: &mut dyn Observer,
    ) -> Result<u64, Error> {
        let entry = context.enter();
        let mut cx = ExecContext::new(self.host(cpu, effects), context, entry.r1, interp.maps(), None);
        cx.objects = interp.objects();
        let mut regions = Regions::new(interp.maps());
        context.regions(&mut regions);
        let result = interp.run_observed(&cx, regions, entry, observer);
        result.map_err(|trap| trapped(trap, effects))
    }

    pub(super) fn id(&self) -> u32 {
        self.id
    }

    /// The program on the interpreter, for subprograms that run by themselves; `None` in the kernel, which runs its own.
    pub(super) fn callbacks(&self) -> Result<Option<&InterpProgram>, Error> {
        match &*self.body {
            #[cfg(feature = "jit")]
            Body::Jit(native) => self.interpreted_too(native.maps()).map(Some),
            Body::Interp(interp) => Ok(Some(interp)),
            #[cfg(feature = "kernel")]
            Body::Kernel(_) => Ok(None),
        }
    }

    /// The interpreter beside native code, made when it is first asked for.
    #[cfg(feature = "jit")]
    fn interpreted_too(
        &self,
        maps: &Arc<[Box<beelift_runtime::map::MapHandle>]>,
    ) -> Result<&InterpProgram, Error> {
        if let Some(made) = self.callbacks.get() {
            return Ok(made);
        }
        let helpers = |id| self.program.helper(id).copied();
        let made =
            InterpProgram::new(Arc::clone(&self.program), Arc::clone(maps), &helpers).map_err(|error| {
                Error::Unsupported { program: self.program.name.clone(), what: error.to_string() }
            })?;
        let made = match &self.asked {
            Some(asked) => made.with_obligations(Arc::clone(asked)),
            None => made,
        };
        Ok(self.callbacks.get_or_init(|| made))
    }

    /// Runs the callback of a timer.
    pub(super) fn interpret_callback(
        &self,
        interp: &InterpProgram,
        due: &Due,
        map: &Arc<dyn Map>,
    ) -> Result<(), Error> {
        let slot = self.claim()?;
        let effects = Effects::default();
        effects.set_timer(due.id);
        let memory = |error: beelift_runtime::mem::OutOfMemory| Error::Memory(error.to_string());
        // No context: the callback is given none.
        let context = RawContext::new(self.program.prog_type, &[]).map_err(memory)?;
        let host = self.host(slot.as_ref().map_or(0, CpuSlot::index), &effects);
        let mut cx = ExecContext::new(host, &context, 0, interp.maps(), None);
        cx.objects = interp.objects();
        let result = interp.run_callback(&cx, due.callback.function, map, ValuePtr(due.address));
        result.map(drop).map_err(|trap| trapped(trap, &effects))
    }

    /// A CPU slot, if a run needs one.
    #[inline]
    fn claim(&self) -> Result<Option<CpuSlot<'_>>, Error> {
        if !self.claims_slot {
            return Ok(None);
        }
        match self.shared.cpus.claim() {
            Some(slot) => Ok(Some(slot)),
            None => Err(Error::NoCpuSlot { slots: self.shared.cpus.count() }),
        }
    }

    #[inline]
    fn host<'a>(&'a self, cpu: u32, effects: &'a Effects) -> Host<'a> {
        let environment = &*self.shared.environment;
        let numa_node = if self.asks_node { environment.numa_node() } else { 0 };
        Host { environment, effects, fuel: self.shared.fuel, cpu, program: self.id, numa_node }
    }

    /// Keeps the thread on CPU 0 while runs in the kernel are compared with ours; nothing for other backends.
    pub(super) fn pin_for_comparison(&self) -> Result<Pinned, Error> {
        match &*self.body {
            #[cfg(feature = "jit")]
            Body::Jit(_) => Ok(Pinned::default()),
            Body::Interp(_) => Ok(Pinned::default()),
            #[cfg(feature = "kernel")]
            Body::Kernel(_) => Ok(Pinned { _guard: Some(crate::kernel::oracle::OnCpu::pin(0)?) }),
        }
    }

    /// Runs the program on one input in a context of its own, and says what was left behind.
    ///
    /// # Errors
    /// Everything but a trap, which is part of the record.
    pub fn run_input(&self, input: &Input) -> Result<Record, Error> {
        self.run_repeated(input, 1)
    }

    /// Likewise, `repeat` times one after the other on the same context: what a run changes, the next one sees, as in
    /// the kernel's test runs. The record is that of the last run, its time the mean.
    ///
    /// # Errors
    /// Everything but a trap, which is part of the record.
    pub fn run_repeated(&self, input: &Input, repeat: u32) -> Result<Record, Error> {
        let mut recorded = Recorded { program: self, input, repeat: repeat.max(1) };
        record::on_input(self.types.0, input, &mut recorded).map_err(|error| match error {
            // The context is ours, so there is none for such programs.
            Error::ContextType { program } => Error::Unsupported {
                program: self.program.name.clone(),
                what: format!("contexts of type {program}"),
            },
            other => other,
        })
    }

    fn record<C: Context>(&self, context: &mut C, input: &Input, repeat: u32) -> Result<Record, Error> {
        if !input.context.is_empty() {
            context.set_uapi(&input.context);
        }
        let (value, nanoseconds) = match self.timed(context, repeat) {
            Ok((value, nanoseconds)) => (Ok(value), nanoseconds),
            Err(Error::Trap(trap)) => (Err(*trap), 0.0),
            Err(error) => return Err(error),
        };
        let packet = context.packet_mut().map(|packet| packet.bytes_with_meta().to_vec());
        let mut uapi = Vec::new();
        context.uapi(&mut uapi);
        Ok(Record { value, packet: packet.unwrap_or_default(), context: uapi, nanoseconds })
    }

    /// The last of `repeat` runs and the mean nanoseconds; the kernel measures its own.
    fn timed<C: Context>(&self, context: &mut C, repeat: u32) -> Result<(u64, f64), Error> {
        #[cfg(feature = "kernel")]
        if let Body::Kernel(program) = &*self.body {
            return run_in_kernel(program, context, repeat);
        }
        let on_cpu = thread_time();
        let start = Instant::now();
        let mut runner = self.runner()?;
        let mut value = runner.run(context)?;
        for _ in 1..repeat {
            value = runner.run(context)?;
        }
        drop(runner);
        let mut elapsed = start.elapsed();
        if elapsed > PREEMPTIBLE {
            elapsed = thread_time() - on_cpu;
        }
        Ok((value, elapsed.as_nanos() as f64 / f64::from(repeat)))
    }
}

/// Runs, and what they leave behind.
struct Recorded<'a> {
    program: &'a Loaded,
    input: &'a Input,
    repeat: u32,
}

impl Action for Recorded<'_> {
    type Result = Record;
    fn on<C: Context>(&mut self, context: &mut C) -> Result<Record, Error> {
        self.program.record(context, self.input, self.repeat)
    }
}

/// `bpf_get_numa_node_id`
const NUMA_NODE: u32 = 42;

/// Longer measurements leave out the time of other threads on the same CPU, as the kernel's test runs do; shorter
/// ones would mostly measure how long asking for that takes.
const PREEMPTIBLE: Duration = Duration::from_micros(100);

/// Runs of one program one after the other, on a CPU slot claimed once: what per-CPU values it writes are its alone for
/// as long as it lives. Claiming is an atomic exchange, which costs more than all else that enters a program.
#[derive(Debug)]
pub struct Runner<'p> {
    program: &'p Loaded,
    slot: Option<CpuSlot<'p>>,
}

impl Runner<'_> {
    /// As [`Loaded::run`].
    ///
    /// # Errors
    /// As there, but for the CPU slot.
    #[inline]
    pub fn run<C: Context>(&mut self, context: &mut C) -> Result<u64, Error> {
        self.program.run_on(self.slot.as_ref().map_or(0, CpuSlot::index), context)
    }
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Loaded({} `{}` on {})", self.program.prog_type, self.name(), self.backend())
    }
}

/// A trap with what the run left about it: where a program stopped that a tail call entered, and what a helper
/// panicked with.
fn trapped(trap: Box<Trap>, effects: &Effects) -> Error {
    let of_target = effects.take_trap().and_then(|trap| trap.downcast::<Trap>().ok());
    let mut trap = of_target.unwrap_or(trap);
    if trap.kind == TrapKind::HelperPanic {
        trap.panic = trap.panic.take().or_else(|| effects.panic_message());
    }
    Error::Trap(trap)
}

/// Helpers that do not care which CPU a run is on: clocks, random numbers, NUMA node, packets, checksums, callbacks.
const INDIFFERENT: &[u32] = &[5, 7, NUMA_NODE, 44, 54, 65, 28, 118, 125, 160, 181, 188, 189, 190, 208];
/// `bpf_map_lookup_elem`
const MAP_LOOKUP: u32 = 1;

/// Whether it matters on which CPU slot a run of the program is: because it asks for it, or for values of its own.
fn minds_slot(program: &Program) -> bool {
    use beelift_runtime::MapKind::{ArrayOfMaps, HashOfMaps};
    let shared =
        |map: &beelift_runtime::MapDef| !map.is_percpu() && !matches!(map.kind, ArrayOfMaps | HashOfMaps);
    let shares_values = program.maps.iter().all(shared);
    program.insns.iter().any(|insn| match insn {
        Insn::Call(Callee::Helper(MAP_LOOKUP)) => !shares_values,
        Insn::Call(Callee::Helper(id)) => !INDIFFERENT.contains(id),
        Insn::Call(Callee::Kfunc { .. } | Callee::Register(_)) => true,
        Insn::Call(Callee::Subprogram(_))
        | Insn::Alu { .. }
        | Insn::Load { .. }
        | Insn::Store { .. }
        | Insn::Atomic { .. }
        | Insn::LoadAcquire { .. }
        | Insn::StoreRelease { .. }
        | Insn::MayGoto { .. }
        | Insn::AddrSpaceCast { .. }
        | Insn::Swap { .. }
        | Insn::Const { .. }
        | Insn::Jump { .. }
        | Insn::Branch { .. }
        | Insn::LegacyPacket { .. }
        | Insn::Exit => false,
    })
}

/// One test run of the kernel on what the context holds; the context takes over the result.
#[cfg(feature = "kernel")]
#[inline(never)]
fn run_in_kernel<C: Context>(
    program: &crate::kernel::KernelProgram,
    context: &mut C,
    repeat: u32,
) -> Result<(u64, f64), Error> {
    use crate::kernel::{Errno, Hint, OsError, TestInput, TestRun};
    let mut uapi = Vec::new();
    context.uapi(&mut uapi);
    let meta = context.packet_mut().map_or(0, |packet| packet.meta_len());
    let data = context.packet_mut().map(|packet| packet.bytes_with_meta().to_vec()).unwrap_or_default();
    let Some(input) = TestInput::of(program.prog_type()) else {
        let refused = OsError::new("BPF_PROG_TEST_RUN", program.name(), Errno::ENOTSUPP);
        return Err(refused.with_hint(Hint::NoTestRun(program.prog_type())).into());
    };
    let mut run = TestRun::packet(input, &data, meta as u32, &uapi);
    if repeat > 1 {
        run.repeat = repeat;
    }
    let mut result = program.test_run(&run)?;
    crate::kernel::oracle::keep_header(program.prog_type(), &data, &mut result.data_out);
    if let Some(packet) = context.packet_mut() {
        let meta = result.ctx_out.first_chunk().map_or(0, |&word| u32::from_le_bytes(word)) as usize;
        let meta = if input == TestInput::Xdp { meta.min(result.data_out.len()) } else { 0 };
        let (before, bytes) = result.data_out.split_at(meta);
        packet.set(bytes).map_err(|error| Error::Memory(error.to_string()))?;
        packet.set_meta(before).map_err(|error| Error::Memory(error.to_string()))?;
    }
    // Not every type gives its context back.
    if !result.ctx_out.is_empty() {
        context.set_uapi(&result.ctx_out);
    }
    Ok((u64::from(result.retval), f64::from(result.duration_ns)))
}
