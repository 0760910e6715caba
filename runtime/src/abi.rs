//! The binary interface between generated code, the interpreter and the runtime.
//!
//! Generated code is entered as `extern "C" fn(&ExecContext, r1: u64, r2: u64) -> u64` (r0) through the trampoline of
//! `beelift::exec`. It reads and writes [`ExecContext`] fields at the offsets of [`offset`]. A helper is
//! `extern "C" fn(&ExecContext, u64, u64, u64, u64, u64) -> u64` ([`HelperFn`]).
//!
//! A trap: the code (or a stub) stores kind and instruction in the context and leaves all native frames at
//! once through `trap_exit`, which restores the stack pointer that the trampoline saved. In the interpreter
//! `trap_exit` is `None`: the stub returns and the interpreter looks at `trap`.
#![forbid(unsafe_code)]

use std::cell::Cell;

use crate::ctx::Context;
use crate::environment::Environment;
pub use crate::helper::Probe;
use crate::map::MapHandle;

/// Entry of a helper as generated code calls it.
///
/// Unsafe to call: the registers must satisfy the helper's prototype (INV-8), which the verifier proves for
/// generated code and `helper::call_checked` checks for the interpreter.
pub type HelperFn = unsafe extern "C" fn(&ExecContext<'_>, u64, u64, u64, u64, u64) -> u64;

/// Never returns: leaves generated code. Called only with the context of the running program.
pub type TrapExit = extern "C" fn(&ExecContext<'_>) -> !;

/// Everything one run of a program needs; the hidden first argument of generated code and helpers.
///
/// It lives in the frame that runs the program (INV-4) and is not shared between threads: fields that change
/// while it is borrowed are `Cell`s.
#[repr(C)]
pub struct ExecContext<'a> {
    /// 0, or the code of the [`TrapKind`](crate::TrapKind) that ended the run.
    pub trap: Cell<u32>,
    /// Instruction (`InsnId`) of the trap; generated code keeps it current only where it traps by itself.
    pub trap_insn: Cell<u32>,
    /// Stack pointer saved by the entry trampoline, for `trap_exit`.
    pub saved_sp: Cell<u64>,
    /// Leaves native code; `None` in the interpreter.
    pub trap_exit: Option<TrapExit>,
    /// Fuel left: generated code decrements it on the edges the verifier named.
    pub fuel: Cell<u64>,
    /// CPU slot of this run: index of per-CPU values, and the CPU number the program sees.
    pub cpu: u32,
    /// Tail calls made in this run (limit 33 over the whole call tree).
    pub tail_calls: Cell<u32>,
    /// r0 of the program that the last tail call entered.
    pub tail_result: Cell<u64>,
    /// Address of the native context structure (r1 at entry).
    pub context: Cell<u64>,
    /// NUMA node of this run, where the program asks for it.
    pub numa_node: u32,
    /// The context of the run: helpers move and copy its packet through it.
    pub ctx: &'a dyn Context,
    /// Memory that helpers may look into beyond their arguments.
    pub probe: Probe,
    /// Maps of the program by slot: for helpers that need more than the handle passed to them.
    pub maps: &'a [Box<MapHandle>],
    /// Clock, random numbers, routes and the like.
    pub environment: &'a dyn Environment,
    /// Scratch of helpers that leave something behind for the end of the run (redirect target, …).
    pub effects: &'a crate::helper::Effects,
    /// Types of objects that the program allocates.
    pub objects: &'a crate::heap::ObjectTypes,
    /// Number of the program that runs, for what it leaves to be called later (timers).
    pub program: u32,
}

/// What a host gives to one run.
#[derive(Clone, Copy)]
pub struct Host<'a> {
    /// See [`ExecContext::environment`].
    pub environment: &'a dyn Environment,
    /// See [`ExecContext::effects`].
    pub effects: &'a crate::helper::Effects,
    /// See [`ExecContext::fuel`].
    pub fuel: u64,
    /// See [`ExecContext::cpu`].
    pub cpu: u32,
    /// See [`ExecContext::program`].
    pub program: u32,
    /// See [`ExecContext::numa_node`].
    pub numa_node: u32,
}

impl<'a> ExecContext<'a> {
    /// The context of one run: `context` is what `ctx` gave as r1 when it was entered. Programs that allocate objects get
    /// their types by [`ExecContext::objects`].
    #[inline]
    #[must_use]
    pub fn new(
        host: Host<'a>,
        ctx: &'a dyn Context,
        context: u64,
        maps: &'a [Box<MapHandle>],
        trap_exit: Option<TrapExit>,
    ) -> Self {
        Self {
            trap: Cell::new(0),
            trap_insn: Cell::new(0),
            saved_sp: Cell::new(0),
            trap_exit,
            fuel: Cell::new(host.fuel),
            program: host.program,
            cpu: host.cpu,
            tail_calls: Cell::new(0),
            tail_result: Cell::new(0),
            context: Cell::new(context),
            numa_node: host.numa_node,
            ctx,
            probe: Probe::default(),
            maps,
            objects: crate::heap::ObjectTypes::NONE,
            environment: host.environment,
            effects: host.effects,
        }
    }
}

impl<'a> ExecContext<'a> {
    /// What a program runs with that `caller` enters by a tail call: the same run, with maps and a number of its own.
    #[must_use]
    pub fn for_tail_call(caller: &'a ExecContext<'a>, maps: &'a [Box<MapHandle>], program: u32) -> Self {
        Self {
            trap: Cell::new(0),
            trap_insn: Cell::new(0),
            saved_sp: Cell::new(0),
            trap_exit: caller.trap_exit,
            fuel: caller.fuel.clone(),
            program,
            cpu: caller.cpu,
            tail_calls: Cell::new(caller.tail_calls.get() + 1),
            tail_result: Cell::new(0),
            context: caller.context.clone(),
            // The caller may not have asked for it.
            numa_node: caller.environment.numa_node(),
            ctx: caller.ctx,
            probe: Probe::default(),
            maps,
            objects: crate::heap::ObjectTypes::NONE,
            environment: caller.environment,
            effects: caller.effects,
        }
    }

    /// Hands what the target used up, or its trap, back to the caller of the tail call.
    pub fn give_back(&self, caller: &ExecContext<'_>) {
        caller.trap.set(self.trap.get());
        caller.trap_insn.set(self.trap_insn.get());
        caller.fuel.set(self.fuel.get());
        caller.tail_calls.set(self.tail_calls.get());
        caller.context.set(self.context.get());
    }
}

/// Byte offsets of [`ExecContext`] fields that generated code touches.
pub mod offset {
    use super::ExecContext;
    use std::mem::offset_of;

    /// `trap`
    pub const TRAP: i32 = offset_of!(ExecContext<'static>, trap) as i32;
    /// `trap_insn`
    pub const TRAP_INSN: i32 = offset_of!(ExecContext<'static>, trap_insn) as i32;
    /// `saved_sp`
    pub const SAVED_SP: i32 = offset_of!(ExecContext<'static>, saved_sp) as i32;
    /// `trap_exit`
    pub const TRAP_EXIT: i32 = offset_of!(ExecContext<'static>, trap_exit) as i32;
    /// `fuel`
    pub const FUEL: i32 = offset_of!(ExecContext<'static>, fuel) as i32;
    /// `cpu`
    pub const CPU: i32 = offset_of!(ExecContext<'static>, cpu) as i32;
    /// `tail_calls`
    pub const TAIL_CALLS: i32 = offset_of!(ExecContext<'static>, tail_calls) as i32;
    /// `tail_result`
    pub const TAIL_RESULT: i32 = offset_of!(ExecContext<'static>, tail_result) as i32;
    /// `context`
    pub const CONTEXT: i32 = offset_of!(ExecContext<'static>, context) as i32;
    /// `numa_node`
    pub const NUMA_NODE: i32 = offset_of!(ExecContext<'static>, numa_node) as i32;
}
