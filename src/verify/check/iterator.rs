//! Open-coded iterators and other objects of kernel functions in stack slots.
#![forbid(unsafe_code)]

use super::kfunc::memory_returned;
use crate::isa::Reg;
use crate::verify::explore::{Check, Next, Verifier};
use crate::verify::kfuncs::{Prototype, Returns, Traits};
use crate::verify::report::Reason;
use crate::verify::state::{Byte, Kind, MemFlags, Protection, Register, Slot, Special, SpecialSlot, Stack};
use beelift_runtime::ctx::{ProgramType, attach};

/// Stack slots of an iterator.
fn slots_of(iterator: &str) -> usize {
    match iterator {
        "bpf_iter_bits" => 2,
        "bpf_iter_task" | "bpf_iter_css" => 3,
        // Numbers, memory areas, tasks of a group, caches, buffers.
        _ => 1,
    }
}

impl Verifier<'_> {
    /// Frame and first slot (that of the lowest address) of an object of `count` slots on the stack.
    pub(super) fn object_place_on_stack(&mut self, reg: Reg, count: usize) -> Check<(usize, usize)> {
        let register = self.read(reg)?;
        let bad = || Reason::NotAnObject { reg };
        let Kind::Stack(frame) = register.kind else { return Err(bad().into()) };
        let fits =
            |off: &i64| off % 8 == 0 && *off >= -512 && *off <= -8 * i64::try_from(count).unwrap_or(64);
        let off = register.constant_offset().filter(fits).ok_or_else(bad)?;
        Ok((usize::from(frame), Stack::place(off).0))
    }

    /// Makes an object in `count` slots.
    pub(super) fn put_object(
        &mut self,
        frame: usize,
        slot: usize,
        count: usize,
        special: Special,
        object: u32,
    ) -> Check {
        for index in slot + 1 - count..=slot {
            let held = self.state.frames[frame].stack.slot(index).special;
            if held.is_some_and(|held| !matches!(held.special, Special::Dynptr(_))) {
                return Err(Reason::NotAnObject { reg: Reg::R1 }.into());
            }
            self.destroy_special(frame, index)?;
        }
        let subprogram = self.state.frames[frame].subprogram as usize;
        let depth = &mut self.observed.stack_depth[subprogram];
        *depth = (*depth).max(8 * (slot as u32 + 1)); // at most 512
        for index in slot + 1 - count..=slot {
            let special = SpecialSlot { special, first: index == slot, object, ..SpecialSlot::NEW };
            *self.state.frame_mut(frame).stack_mut().slot_mut(index) =
                Slot { bytes: [Byte::Special; 8], spilled: Register::UNINIT, special: Some(special) };
            self.state.written[frame] |= 1 << index;
        }
        Ok(())
    }

    /// The object that a register points to, which must be of that kind.
    pub(super) fn object_at(&mut self, reg: Reg, wanted: Special) -> Check<(usize, usize, SpecialSlot)> {
        let (frame, slot) = self.object_place_on_stack(reg, 1)?;
        self.note_reads(frame, 1 << slot);
        match self.state.frames[frame].stack.slot(slot).special {
            Some(object) if object.special == wanted && object.first => Ok((frame, slot, object)),
            Some(_) | None => Err(Reason::NotAnObject { reg }.into()),
        }
    }

    /// Whether the kernel calls the program for each of its objects of a kind.
    pub(super) fn walks(&self) -> bool {
        self.tables.program_type() == ProgramType::Tracing && self.program.attach_type == attach::TRACE_ITER
    }

    /// Makes an iterator.
    pub(super) fn new_iterator(&mut self, iterator: &'static str, prototype: &Prototype) -> Check {
        let walks = self.tables.program_type() == ProgramType::Lsm || self.walks();
        if iterator == "bpf_iter_css_task" && !walks && !self.may_sleep() {
            return Err(Reason::KfuncMaySleep { name: prototype.name.to_owned() }.into());
        }
        let count = slots_of(iterator);
        let (frame, slot) = self.object_place_on_stack(Reg::R1, count)?;
        let id = self.acquire();
        self.put_object(frame, slot, count, Special::Iterator(iterator), id)?;
        // That it is called in such a section is checked with the sections (`kfunc_sections`).
        if prototype.traits.contains(Traits::IN_RCU) {
            for index in slot + 1 - count..=slot {
                if let Some(special) = &mut self.state.frame_mut(frame).stack_mut().slot_mut(index).special {
                    special.protection = Protection::Section;
                }
            }
        }
        Ok(())
    }

    /// An iterator that was made and, if RCU protects it, is still in its section.
    pub(super) fn iterator_at(&mut self, iterator: &'static str) -> Check<(usize, usize, SpecialSlot)> {
        let (frame, slot, object) = self.object_at(Reg::R1, Special::Iterator(iterator))?;
        for index in slot + 1 - slots_of(iterator)..=slot {
            self.note_reads(frame, 1 << index);
            let part = self.state.frames[frame].stack.slot(index).special;
            if part.is_none_or(|part| part.special != object.special || part.object != object.object) {
                return Err(Reason::NotAnObject { reg: Reg::R1 }.into());
            }
        }
        if object.protection == Protection::Lost {
            return Err(Reason::NeedsRcu { name: iterator.to_owned() }.into());
        }
        Ok((frame, slot, object))
    }

    /// One more element, or none.
    pub(super) fn next_of_iterator(&mut self, iterator: &'static str, prototype: &Prototype) -> Check<Next> {
        let (frame, slot, object) = self.iterator_at(iterator)?;
        let element = match prototype.returns {
            Returns::Memory(size) => memory_returned(prototype.name, size, object.object),
            Returns::Object(name) => {
                let flags = match object.protection {
                    Protection::Section => MemFlags::RCU,
                    Protection::None | Protection::Lost => MemFlags::TRUSTED,
                };
                let kind = Kind::Object(self.kernel_type(name)?, flags);
                Register::pointer(kind)
            }
            Returns::Void | Returns::Number | Returns::Pointer => Register::unknown(),
        };
        self.forget_caller_saved();
        let next = self.at.next();
        if object.active {
            let mut yields = self.state.clone();
            self.widen_unlike_last_turn(&mut yields);
            if let Some(special) = &mut yields.frame_mut(frame).stack_mut().slot_mut(slot).special {
                special.depth += 1;
            }
            *yields.register_mut(Reg::R0) = element;
            self.push_pending(yields, next)?;
        }
        if let Some(special) = &mut self.state.frame_mut(frame).stack_mut().slot_mut(slot).special {
            special.active = false;
        }
        *self.state.register_mut(Reg::R0) = Register::constant(0);
        Ok(Next::To(next))
    }

    /// Ends an iterator.
    pub(super) fn end_iterator(&mut self, iterator: &'static str) -> Check {
        let (frame, slot, object) = self.iterator_at(iterator)?;
        self.release_object(object.object)?;
        for index in slot + 1 - slots_of(iterator)..=slot {
            *self.state.frame_mut(frame).stack_mut().slot_mut(index) = Slot::INVALID;
        }
        Ok(())
    }
}
