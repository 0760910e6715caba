//! Critical sections: RCU read sections, sections without preemption, saved interrupt flags.
#![forbid(unsafe_code)]

use std::rc::Rc;

use crate::isa::Reg;
use crate::verify::explore::{Check, Verifier};
use crate::verify::report::Reason;
use crate::verify::state::{Kind, MemFlags, Protection, Register, Resource, ResourceKind, Slot, Special};

impl Verifier<'_> {
    /// Enters or leaves an RCU read section or a section without preemption.
    pub(super) fn section(&mut self, name: &str) -> Check {
        let references = Rc::make_mut(&mut self.state.references);
        match name {
            "bpf_rcu_read_lock" if references.rcu > 0 => return Err(Reason::SectionNested.into()),
            "bpf_rcu_read_lock" => references.rcu += 1,
            "bpf_rcu_read_unlock" if references.rcu == 0 => return Err(Reason::NotInSection.into()),
            "bpf_rcu_read_unlock" => {
                references.rcu -= 1;
                self.leave_rcu();
            }
            "bpf_preempt_disable" => references.preempt += 1,
            _ if references.preempt == 0 => return Err(Reason::NotInSection.into()),
            _ => references.preempt -= 1,
        }
        Ok(())
    }

    /// What the section protected may be gone.
    fn leave_rcu(&mut self) {
        self.state.for_each(Register::is_rcu, |register| {
            if let Kind::Object(_, flags) = &mut register.kind {
                flags.remove(MemFlags::RCU | MemFlags::BORROWED);
                flags.insert(MemFlags::UNTRUSTED);
                register.nullable = false;
            }
        });
        for depth in 0..self.state.frames.len() {
            let protected =
                |slot: &Slot| slot.special.is_some_and(|special| special.protection == Protection::Section);
            if self.state.frames[depth].stack.slots().any(protected) {
                self.state.frame_mut(depth).stack_mut().change(protected, |slot| {
                    if let Some(special) = &mut slot.special {
                        special.protection = Protection::Lost;
                    }
                });
            }
        }
    }

    /// Whether something is entered in which nothing may sleep.
    pub(super) fn in_atomic_section(&self) -> bool {
        let references = &self.state.references;
        references.rcu > 0 || references.preempt > 0 || references.newest_irq().is_some()
    }

    /// Saves interrupt flags on the stack; `lock`: as part of taking a lock.
    pub(super) fn save_irq(&mut self, reg: Reg, lock: bool) -> Check {
        let (frame, slot) = self.object_place_on_stack(reg, 1)?;
        let id = self.fresh_id();
        self.put_object(frame, slot, 1, Special::IrqFlag { lock }, id)?;
        let resource = Resource { id, kind: ResourceKind::Irq, insn: self.at };
        Rc::make_mut(&mut self.state.references).held.push(resource);
        Ok(())
    }

    /// Restores them.
    pub(super) fn restore_irq(&mut self, reg: Reg, lock: bool) -> Check {
        let (frame, slot, object) = self.object_at(reg, Special::IrqFlag { lock })?;
        let references = Rc::make_mut(&mut self.state.references);
        if references.newest_irq() != Some(object.object) {
            return Err(Reason::SectionOrder.into());
        }
        references.held.retain(|held| held.id != object.object || held.kind != ResourceKind::Irq);
        *self.state.frame_mut(frame).stack_mut().slot_mut(slot) = Slot::INVALID;
        Ok(())
    }
}
