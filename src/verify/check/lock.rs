//! Spin locks.
#![forbid(unsafe_code)]

use std::rc::Rc;

use crate::isa::Reg;
use crate::verify::explore::{Check, Verifier};
use crate::verify::report::Reason;
use crate::verify::state::{Kind, Register, Resource, ResourceKind};
use beelift_runtime::map::SpecialKind;

impl Verifier<'_> {
    /// `bpf_spin_lock` and `bpf_spin_unlock`.
    pub(super) fn spin_lock(&mut self, reg: Reg, register: &Register, lock: bool) -> Check {
        let not_a_lock = || Reason::NotALock { reg };
        let Kind::MapValue(map) = register.kind else { return Err(not_a_lock().into()) };
        let def = self.tables.map(map);
        let field = def.fields.iter().find(|field| field.kind == SpecialKind::SpinLock);
        let field = field.ok_or_else(not_a_lock)?;
        if register.constant_offset() != Some(i64::from(field.offset)) {
            return Err(not_a_lock().into());
        }
        // Values of global-data maps have no id: there is only one.
        let kind = ResourceKind::Lock { owner: map.0, value: register.id, resilient: false };
        if lock {
            if self.state.references.locks() > 0 {
                return Err(Reason::LockHeld.into());
            }
            let id = self.fresh_id();
            let insn = self.at;
            Rc::make_mut(&mut self.state.references).held.push(Resource { id, kind, insn });
            return Ok(());
        }
        let references = Rc::make_mut(&mut self.state.references);
        let newest = references.held.iter().rposition(|held| matches!(held.kind, ResourceKind::Lock { .. }));
        match newest {
            Some(index) if references.held[index].kind == kind => {
                references.held.remove(index);
                Ok(())
            }
            Some(_) => Err(Reason::OtherLock.into()),
            None => Err(Reason::NotLocked.into()),
        }
    }
}
