//! Dynptrs: pairs of stack slots that only helpers and kfuncs touch.
#![forbid(unsafe_code)]

use super::context;
use super::helper::CallState;
use crate::isa::Reg;
use crate::verify::explore::{Check, Verifier};
use crate::verify::report::Reason;
use crate::verify::state::{Byte, DynptrType, Kind, MemFlags, Register, Slot, Special, SpecialSlot, Stack};
use beelift_runtime::helper::{DynptrKind, DynptrRole};

/// A dynptr in use: what it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dynptr {
    pub(super) kind: DynptrType,
    pub(super) id: u32,
    pub(super) object: u32,
}

impl Verifier<'_> {
    /// A dynptr argument of a helper.
    pub(super) fn dynptr_argument(
        &mut self,
        reg: Reg,
        register: &Register,
        role: DynptrRole,
        kind: DynptrKind,
        call: &mut CallState,
    ) -> Check {
        call.fact.stack_escapes = true;
        let wanted = match kind {
            DynptrKind::Any => None,
            DynptrKind::Local => Some(DynptrType::Local),
            DynptrKind::Ringbuf => Some(DynptrType::Ringbuf),
            DynptrKind::Skb => Some(DynptrType::Skb),
            DynptrKind::Xdp => Some(DynptrType::Xdp),
        };
        match role {
            DynptrRole::Init => {
                // Where it is to lie is checked when it is made, after the other arguments.
                call.dynptr_made = Some((reg, wanted.ok_or(Reason::NotADynptr { reg })?));
                Ok(())
            }
            DynptrRole::Use | DynptrRole::Release => {
                let dynptr = self.dynptr_at(reg, register)?;
                if wanted.is_some_and(|wanted| dynptr.kind != wanted) {
                    return Err(Reason::NotADynptr { reg }.into());
                }
                call.dynptr = Some(dynptr);
                // That it must be released is asked when it ends.
                call.dynptr_released |= role == DynptrRole::Release;
                Ok(())
            }
        }
    }

    /// Frame and first slot of a place for a dynptr.
    fn dynptr_place(&self, reg: Reg, register: &Register) -> Check<(usize, usize)> {
        let bad = || Reason::NotADynptr { reg };
        let Kind::Stack(frame) = register.kind else { return Err(bad().into()) };
        let fits = |off: &i64| off % 8 == 0 && (-512..=-16).contains(off);
        let off = register.constant_offset().filter(fits).ok_or_else(bad)?;
        Ok((usize::from(frame), Stack::place(off).0))
    }

    /// The initialised dynptr that a register points to.
    pub(super) fn dynptr_at(&mut self, reg: Reg, register: &Register) -> Check<Dynptr> {
        if let Kind::Dynptr(kind) = register.kind {
            context::unmodified(register)?;
            return Ok(Dynptr { kind, id: register.owner, object: 0 });
        }
        let (frame, slot) = self.dynptr_place(reg, register)?;
        self.note_reads(frame, 1 << slot | 1 << (slot - 1));
        let object = self.state.frames[frame].stack.slot(slot).special;
        let bad = || Reason::NotADynptr { reg };
        let object = object.filter(|object| object.first).ok_or_else(bad)?;
        let Special::Dynptr(kind) = object.special else { return Err(bad().into()) };
        Ok(Dynptr { kind, id: object.id, object: object.object })
    }

    /// Makes a dynptr where a register points to.
    pub(super) fn make_dynptr(
        &mut self,
        reg: Reg,
        register: &Register,
        kind: DynptrType,
        shared: Option<u32>,
    ) -> Check {
        let (frame, slot) = self.dynptr_place(reg, register)?;
        let subprogram = self.state.frames[frame].subprogram as usize;
        let used = 8 * (slot as u32 + 1); // at most 512
        let depth = &mut self.observed.stack_depth[subprogram];
        *depth = (*depth).max(used);
        for index in [slot, slot - 1] {
            self.destroy_special(frame, index)?;
        }
        let object = match shared {
            Some(object) => object,
            None if kind == DynptrType::Ringbuf => self.acquire(),
            None => 0,
        };
        let id = self.fresh_id();
        let stack = self.state.frame_mut(frame).stack_mut();
        for (index, first) in [(slot, true), (slot - 1, false)] {
            let special =
                SpecialSlot { special: Special::Dynptr(kind), first, object, id, ..SpecialSlot::NEW };
            *stack.slot_mut(index) =
                Slot { bytes: [Byte::Special; 8], spilled: Register::UNINIT, special: Some(special) };
        }
        self.state.written[frame] |= 1 << slot | 1 << (slot - 1);
        Ok(())
    }

    /// Ends the life of a dynptr, of its clones and of all memory reached through it.
    pub(super) fn end_dynptr(&mut self, dynptr: Dynptr) -> Check {
        self.release_object(dynptr.object)?;
        for depth in 0..self.state.frames.len() {
            let holds = |slot: &Slot| slot.special.is_some_and(|special| special.object == dynptr.object);
            if self.state.frames[depth].stack.slots().any(holds) {
                self.state.frame_mut(depth).stack_mut().change(holds, |slot| *slot = Slot::INVALID);
            }
        }
        Ok(())
    }

    /// Memory of a dynptr.
    pub(super) fn dynptr_memory(&mut self, dynptr: Dynptr, size: u32, read_only: bool) -> Check<Register> {
        let size = i32::try_from(size).map_err(|_| Reason::SizeUnbounded { reg: Reg::R3 })?;
        let mut flags = MemFlags::empty();
        if read_only {
            flags |= MemFlags::READ_ONLY;
        }
        if matches!(dynptr.kind, DynptrType::Skb | DynptrType::Xdp) {
            flags |= MemFlags::PACKET_BOUND;
        }
        Ok(Register {
            size,
            nullable: true,
            id: self.fresh_id(),
            object: dynptr.object,
            owner: dynptr.id,
            ..Register::pointer(Kind::Memory(flags))
        })
    }
}
