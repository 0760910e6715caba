//! A runnable native program.

use std::sync::Arc;

use beelift_runtime::abi::{ExecContext, HelperFn, TrapExit};
use beelift_runtime::map::MapHandle;

use super::entry::{self, Entry};
use super::link::{Bindings, LinkError, Linked, link};
use super::memory::CodeMemory;
use crate::codegen::CompiledCode;
use crate::isa::InsnId;

/// Native code, published, with the maps it names. `Send + Sync`: a run takes `&self`.
pub struct JitProgram {
    linked: Linked,
    code: Arc<CompiledCode>,
    /// Keeps the maps alive whose addresses stand in the code (INV-3).
    maps: Arc<[Box<MapHandle>]>,
}

impl JitProgram {
    /// Binds code to maps and helpers and publishes it.
    ///
    /// # Errors
    /// A symbol nobody provides, or no executable memory.
    pub fn load(
        code: Arc<CompiledCode>,
        memory: &CodeMemory,
        maps: Arc<[Box<MapHandle>]>,
        helpers: &dyn Fn(u32) -> Option<HelperFn>,
    ) -> Result<Self, LinkError> {
        let bindings = Bindings { maps: &maps, helpers, trap_exit: entry::trap_exit as *const () as u64 };
        let linked = link(&code, memory, &bindings)?;
        Ok(Self { linked, code, maps })
    }

    /// Enters the code. Returns r0, or 0 when `cx.trap` is set.
    ///
    /// # Safety
    /// `cx` was made for this program: `context` and `r1` are the address of a native context of the program's
    /// type, `r2` its length where the type has one, all of it stays valid and unshared during the call, and
    /// the code comes from a program that `verify` accepted for that type (INV-2, INV-4).
    #[must_use]
    pub unsafe fn enter(&self, cx: &ExecContext<'_>, r1: u64, r2: u64) -> u64 {
        // SAFETY: INV-1: the address is the entry of code that `self.linked` keeps published, and the code
        // generator gives every entry this signature.
        let entry = unsafe { std::mem::transmute::<usize, Entry>(self.linked.entry as usize) };
        // SAFETY: INV-2, INV-4: by the contract of this function.
        unsafe { entry::enter(cx, r1, r2, entry) }
    }

    /// What `ExecContext::trap_exit` must hold for native runs.
    #[must_use]
    pub fn trap_exit() -> TrapExit {
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

impl std::fmt::Debug for JitProgram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JitProgram").field("code_bytes", &self.code.size()).finish_non_exhaustive()
    }
}
