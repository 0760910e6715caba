//! Spin locks: plain ones, of which one may be held, and resilient ones, which nest.
#![forbid(unsafe_code)]

use std::rc::Rc;

use crate::isa::Reg;
use crate::verify::explore::{Check, Verifier};
use crate::verify::report::Reason;
use crate::verify::state::{Kind, Register, Resource, ResourceKind};
use beelift_runtime::map::SpecialKind;

impl Verifier<'_> {
    /// Takes or gives back a lock. `irq`: with interrupts disabled.
    pub(super) fn lock(
        &mut self,
        reg: Reg,
        register: &Register,
        wanted: SpecialKind,
        irq: bool,
        take: bool,
    ) -> Check {
        let not_a_lock = || Reason::NotALock { reg };
        let place = match register.kind {
            // Of the kernel's objects no fields are known.
            Kind::MapValue(_) | Kind::Object(..) => !register.nullable,
            _ => false,
        };
        let owner = Self::lock_owner(register).filter(|_| place);
        let (owner, value) = owner.ok_or_else(not_a_lock)?;
        let fields = self.fields_of(register);
        let field = fields.iter().find(|field| field.kind == wanted).ok_or_else(not_a_lock)?;
        if register.constant_offset() != Some(i64::from(field.offset)) {
            return Err(not_a_lock().into());
        }
        if self.state.frames.iter().any(|frame| frame.callback.is_some_and(|callback| callback.in_tree)) {
            return Err(Reason::CallInLock.into());
        }
        // Values of global-data maps have no id: there is only one.
        let resilient = wanted == SpecialKind::ResSpinLock;
        let kind = ResourceKind::Lock { owner, value, resilient, irq };
        let held = &self.state.references.held;
        if take {
            // Plain ones are only taken where none is held (`may_call`).
            let conflicts = held.iter().any(|held| match held.kind {
                ResourceKind::Lock { owner: map, value: other, .. } => map == owner && other == value,
                ResourceKind::Pointer | ResourceKind::Irq => false,
            });
            if conflicts {
                return Err(Reason::LockHeld.into());
            }
            let id = self.fresh_id();
            let insn = self.at;
            Rc::make_mut(&mut self.state.references).held.push(Resource { id, kind, insn });
            return Ok(());
        }
        let newest = held.iter().rposition(|held| matches!(held.kind, ResourceKind::Lock { .. }));
        match newest {
            Some(index) if held[index].kind == kind => {
                Rc::make_mut(&mut self.state.references).held.remove(index);
                self.forget_borrowed();
                Ok(())
            }
            Some(_) => Err(Reason::OtherLock.into()),
            None => Err(Reason::NotLocked.into()),
        }
    }
}
