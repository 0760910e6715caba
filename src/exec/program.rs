//! A runnable native program.

use std::sync::Arc;

use beelift_runtime::TrapKind;
#[cfg(test)]
use beelift_runtime::abi::TrapExit;
use beelift_runtime::abi::{ExecContext, HelperFn, Host};
use beelift_runtime::ctx::{Context, Entry, ProgramType};
use beelift_runtime::heap::ObjectTypes;
use beelift_runtime::helper::{TailCall, release_lock};
use beelift_runtime::map::MapHandle;

use super::entry::{self, EntryFn};
use super::link::{Bindings, LinkError, Linked, link};
use super::memory::CodeMemory;
use crate::codegen::{CompiledCode, Convention, Reloc, Symbol};
use crate::isa::InsnId;

/// Native code, published, with the maps it names. `Send + Sync`: a run takes `&self`.
pub struct JitProgram {
    linked: Linked,
    code: Arc<CompiledCode>,
    /// Keeps the maps alive whose addresses stand in the code (INV-3).
    maps: Arc<[Box<MapHandle>]>,
    prog_type: ProgramType,
    attach_type: u32,
    objects: ObjectTypes,
    /// The one length of the buffer (of a `memory` program) that the code is for.
    buffer: Option<u32>,
    /// Whether the code can be called as a function: it preserves registers as one, and calls nothing outside itself, so that
    /// it always comes back by its own return.
    is_function: bool,
}

/// Why native code stopped, and at which instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NativeTrap {
    /// What happened.
    pub kind: TrapKind,
    /// Where.
    pub insn: InsnId,
}

impl JitProgram {
    /// Binds code to maps and helpers and publishes it. The code is that of a verified program of the named
    /// types, and the maps are made from its definitions: only the crate itself can promise that.
    ///
    /// # Errors
    /// A symbol nobody provides, or no executable memory.
    pub(crate) fn load(
        code: Arc<CompiledCode>,
        (prog_type, attach_type, buffer): (ProgramType, u32, Option<u32>),
        memory: &CodeMemory,
        maps: Arc<[Box<MapHandle>]>,
        helpers: &dyn Fn(u32) -> Option<HelperFn>,
    ) -> Result<Self, LinkError> {
        let bindings = Bindings {
            maps: &maps,
            helpers,
            trap_exit: entry::trap_exit as *const () as u64,
            throw_exit: entry::throw_exit as *const () as u64,
        };
        let linked = link(&code, memory, &bindings)?;
        let is_function = match code.convention {
            Convention::Platform => {
                code.functions.iter().flat_map(|function| &function.relocs).all(stays_inside)
            }
            Convention::Bare => false,
        };
        let objects = ObjectTypes::default();
        Ok(Self { linked, code, maps, prog_type, attach_type, objects, buffer, is_function })
    }

    /// The program allocates objects of these types.
    #[must_use]
    pub(crate) fn with_objects(self, objects: ObjectTypes) -> Self {
        Self { objects, ..self }
    }

    /// Runs the program on a context.
    ///
    /// # Errors
    /// The program trapped.
    ///
    /// # Panics
    /// When the context is one of another program type: ask [`Context::accepts`] first; when a buffer has another
    /// length than the program was verified for.
    #[inline]
    pub fn run<C: Context>(&self, context: &mut C, host: Host<'_>) -> Result<u64, NativeTrap> {
        self.run_if_fit(context, host)
            .expect("the context fits the program, and its buffer has the verified length")
    }

    /// Likewise; `None` instead of the panics.
    #[inline]
    pub(crate) fn run_if_fit<C: Context>(
        &self,
        context: &mut C,
        host: Host<'_>,
    ) -> Option<Result<u64, NativeTrap>> {
        if !context.accepts(self.prog_type, self.attach_type) {
            return None;
        }
        let Entry { r1, r2 } = context.enter();
        if self.buffer.is_some_and(|len| u64::from(len) != r2) {
            return None;
        }
        let mut cx = ExecContext::new(host, context, r1, &self.maps, Some(entry::trap_exit));
        cx.objects = &self.objects;
        // SAFETY: INV-2, INV-4: the code comes from a `Verified` program of this type (only the crate itself
        // makes a `JitProgram`), the context is a native one of that type, borrowed for the whole call.
        let value = unsafe { self.enter(&cx, r1, r2) };
        Some(if cx.trap.get() == 0 { Ok(value) } else { Err(trap_of(&cx)) })
    }

    /// Runs the program in place of one that makes a tail call; `None` if it does not run on that context. A trap
    /// is the caller's, too, and comes back as its place in this program.
    pub(crate) fn run_tail_call(&self, call: &TailCall<'_>, id: u32) -> Option<Result<u64, NativeTrap>> {
        let caller = call.caller();
        // Only native code, which trusts its context, enters native code.
        let native = caller.trap_exit.is_some();
        if !native || !caller.ctx.accepts(self.prog_type, self.attach_type) || self.buffer.is_some() {
            return None;
        }
        let mut cx = ExecContext::for_tail_call(caller, &self.maps, id);
        cx.objects = &self.objects;
        // SAFETY: INV-2, INV-4: a run in native code makes the call, so its context is a native one of the caller's
        // type, entered and borrowed for the whole run; the program was verified for contexts of that type.
        let value = unsafe { self.enter(&cx, caller.context.get(), 0) };
        cx.give_back(caller);
        Some(if cx.trap.get() == 0 { Ok(value) } else { Err(trap_of(&cx)) })
    }

    /// Enters the code. Returns r0, or 0 when `cx.trap` is set.
    ///
    /// # Safety
    /// `cx` was made for this program: `context` and `r1` are the address of a native context of the program's
    /// type, `r2` its length where the type has one, all of it stays valid and unshared during the call, and
    /// the code comes from a program that `verify` accepted for that type (INV-2, INV-4).
    #[inline]
    pub(crate) unsafe fn enter(&self, cx: &ExecContext<'_>, r1: u64, r2: u64) -> u64 {
        // SAFETY: INV-1: the address is the entry of code that `self.linked` keeps published, and the code
        // generator gives every entry this signature.
        let entry = unsafe { std::mem::transmute::<usize, EntryFn>(self.linked.entry as usize) };
        if self.is_function {
            // SAFETY: INV-2, INV-4: by the contract of this function. Nobody is called who could leave early.
            return unsafe { entry(cx, r1, r2) };
        }
        // SAFETY: INV-2, INV-4: by the contract of this function.
        unsafe { entry::enter(cx, r1, r2, entry) }
    }

    /// What `ExecContext::trap_exit` must hold for native runs.
    #[must_use]
    #[cfg(test)]
    pub(crate) fn trap_exit() -> TrapExit {
        // The stub only reads `saved_sp`, which does not depend on the lifetime.
        entry::trap_exit
    }

    /// The inert code.
    #[must_use]
    pub fn code(&self) -> &Arc<CompiledCode> {
        &self.code
    }

    /// Maps by slot.
    #[must_use]
    pub fn maps(&self) -> &Arc<[Box<MapHandle>]> {
        &self.maps
    }

    /// Address range of a native function in memory, for perf maps and debuggers.
    #[must_use]
    pub fn function_range(&self, index: usize) -> std::ops::Range<u64> {
        let start = self.linked.block.address() + u64::from(self.linked.starts[index]);
        start..start + self.code.functions[index].bytes.len() as u64
    }

    /// The instruction that a native address belongs to.
    #[must_use]
    pub fn insn_at(&self, address: u64) -> Option<InsnId> {
        (0..self.code.functions.len()).find_map(|index| {
            let range = self.function_range(index);
            let offset = u32::try_from(address.checked_sub(range.start)?).ok()?;
            range.contains(&address).then(|| self.code.functions[index].insn_at(offset))?
        })
    }
}

/// How the run has ended early: nothing that it held stays held.
#[cold]
fn trap_of(cx: &ExecContext<'_>) -> NativeTrap {
    release_lock(cx);
    let kind = TrapKind::from_code(cx.trap.get()).expect("generated code and stubs store known traps");
    NativeTrap { kind, insn: InsnId(cx.trap_insn.get()) }
}

/// Whether a reference of the code leads to no code outside of it.
fn stays_inside(reloc: &Reloc) -> bool {
    match reloc.symbol {
        Symbol::Function(_) | Symbol::MapHandle(_) | Symbol::MapBase(_) | Symbol::Arena(_) => true,
        Symbol::Helper(_) | Symbol::MapHelper(..) | Symbol::Kfunc(_) | Symbol::Stub(_) => false,
    }
}

impl std::fmt::Debug for JitProgram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JitProgram").field("code_bytes", &self.code.size()).finish_non_exhaustive()
    }
}
