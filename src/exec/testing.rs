//! Running machine code in unit tests, without maps, on one buffer.

use std::cell::Cell;
use std::sync::Arc;

use beelift_runtime::TrapKind;
use beelift_runtime::abi::{ExecContext, HelperFn};
use beelift_runtime::ctx::{MemoryContext, ProgramType};
use beelift_runtime::environment::Environment;
use beelift_runtime::heap::ObjectTypes;
use beelift_runtime::helper::Effects;
use beelift_runtime::map::MapHandle;

use super::{CodeMemory, JitProgram};
use crate::codegen::CompiledCode;

struct Nowhere;

impl Environment for Nowhere {
    fn monotonic_ns(&self) -> u64 {
        0
    }
    fn jiffies(&self) -> u64 {
        0
    }
    fn random_u32(&self) -> u32 {
        4
    }
    fn trace(&self, _line: &str) {}
}

/// Publishes code that names helpers of a test and no maps.
pub(crate) fn load(code: CompiledCode, helpers: &dyn Fn(u32) -> Option<HelperFn>) -> JitProgram {
    JitProgram::load(
        Arc::new(code),
        (ProgramType::Memory, 0, None),
        &CodeMemory::new(),
        Arc::from(Vec::new()),
        helpers,
    )
    .expect("links")
}

/// Runs a program of the type `memory` on a buffer with some fuel.
pub(crate) fn run(program: &JitProgram, buffer: &mut [u8], fuel: u64) -> Result<u64, (TrapKind, u32)> {
    let maps: [Box<MapHandle>; 0] = [];
    let ctx = MemoryContext::from_bytes(&[]).expect("memory");
    let cx = ExecContext {
        trap: Cell::new(0),
        trap_insn: Cell::new(0),
        saved_sp: Cell::new(0),
        trap_exit: Some(JitProgram::trap_exit()),
        fuel: Cell::new(fuel),
        cpu: 3,
        tail_calls: Cell::new(0),
        tail_result: Cell::new(0),
        context: Cell::new(buffer.as_mut_ptr() as u64),
        numa_node: 0,
        ctx: &ctx,
        probe: Default::default(),
        maps: &maps,
        objects: ObjectTypes::NONE,
        environment: &Nowhere,
        effects: &Effects::default(),
        program: 1,
    };
    // SAFETY: INV-2: the programs of unit tests stay inside the buffer they are given.
    let result = unsafe { program.enter(&cx, buffer.as_mut_ptr() as u64, buffer.len() as u64) };
    match TrapKind::from_code(cx.trap.get()) {
        Some(kind) => Err((kind, cx.trap_insn.get())),
        None => Ok(result),
    }
}
