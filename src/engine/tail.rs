//! Programs as targets of tail calls: putting them into `prog_array` maps, and running them from there.
//!
//! In: loaded programs and maps of user space. Out: [`ProgramRef`]s in the maps. A map that a program uses itself
//! refers to it weakly, so that neither keeps the other alive: such a target is gone with its collection.
#![forbid(unsafe_code)]

use std::sync::{Arc, Weak};

use beelift_runtime::helper::{TailCall, TailTarget};
use beelift_runtime::map::{Map, MapError, ProgArrayMap, ProgramKind, ProgramRef};

use super::program::Body;
use crate::isa::{Const64, Insn};
use crate::link::Program;

/// A program in a map.
struct Target {
    #[cfg_attr(not(feature = "jit"), expect(dead_code, reason = "only traps of native code need it"))]
    program: Arc<Program>,
    body: Held,
    id: u32,
}

enum Held {
    Strong(Arc<Body>),
    Weak(Weak<Body>),
}

impl TailTarget for Target {
    fn run(&self, call: &TailCall<'_>) -> Option<u64> {
        let upgraded;
        let body = match &self.body {
            Held::Strong(body) => body,
            Held::Weak(body) => {
                upgraded = body.upgrade()?;
                &upgraded
            }
        };
        let result = match &**body {
            #[cfg(feature = "jit")]
            Body::Jit(native) => native
                .run_tail_call(call, self.id)?
                .map_err(|trap| Box::new(crate::link::Trap::new(&self.program, trap.kind, trap.insn, &[]))),
            Body::Interp(interp) => interp.run_tail_call(call, self.id)?,
            #[cfg(feature = "kernel")]
            Body::Kernel(_) => return None,
        };
        Some(result.unwrap_or_else(|trap| {
            call.caller().effects.set_trap(trap);
            0
        }))
    }
}

/// What the programs of one array have in common.
fn kind_of(program: &Program, body: &Body) -> ProgramKind {
    let native = match body {
        #[cfg(feature = "jit")]
        Body::Jit(_) => true,
        Body::Interp(_) => false,
        #[cfg(feature = "kernel")]
        Body::Kernel(_) => true,
    };
    let flags = program.prog_flags & ProgramKind::FLAGS;
    ProgramKind { prog_type: program.prog_type, attach_type: program.attach_type, flags, native }
}

/// A program was loaded: the arrays it calls into take programs of its kind only.
///
/// # Errors
/// The index of a map that holds programs of another kind.
pub(super) fn claim(
    program: &Program,
    body: &Body,
    map: impl Fn(usize) -> Arc<dyn Map>,
) -> Result<(), usize> {
    for insn in &program.insns {
        let Insn::Const { value: Const64::Map(slot) | Const64::MapIndex(slot), .. } = insn else { continue };
        let slot = slot.0 as usize; // u32 to usize
        if let Some(array) = map(slot).as_any().downcast_ref::<ProgArrayMap>() {
            array.claim(kind_of(program, body)).map_err(|_| slot)?;
        }
    }
    Ok(())
}

/// Stores a program in an array.
///
/// # Errors
/// [`MapError::Invalid`] for another kind of map or program, [`MapError::TooBig`] past the end.
pub(super) fn store(
    map: &Arc<dyn Map>,
    index: u32,
    program: &Arc<Program>,
    body: &Arc<Body>,
    id: u32,
) -> Result<(), MapError> {
    let array = map.as_any().downcast_ref::<ProgArrayMap>().ok_or(MapError::Invalid)?;
    let maps = match &**body {
        #[cfg(feature = "jit")]
        Body::Jit(native) => native.maps(),
        Body::Interp(interp) => interp.maps(),
        #[cfg(feature = "kernel")]
        Body::Kernel(_) => return Err(MapError::Invalid),
    };
    array.claim(kind_of(program, body))?;
    let own = maps.iter().any(|handle| Arc::ptr_eq(&handle.map, map));
    let body = if own { Held::Weak(Arc::downgrade(body)) } else { Held::Strong(Arc::clone(body)) };
    let target = Target { program: Arc::clone(program), body, id };
    array.set(index, ProgramRef { id, program: Arc::new(target) }, 0)
}
