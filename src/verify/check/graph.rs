//! Lists and trees of allocated objects: what is held, what is lent, and the lock that guards both.
//!
//! An object that goes into a collection is not held any more: pointers to it are borrowed, good for reads and
//! writes until the lock is given back. What is taken out is held again.
#![forbid(unsafe_code)]

use std::rc::Rc;
use std::sync::Arc;

use super::kfunc::KfuncCall;
use super::kfunc_argument::expected;
use crate::isa::Reg;
use crate::verify::explore::{Check, Stop, Verifier};
use crate::verify::kfuncs::Prototype;
use crate::verify::report::Reason;
use crate::verify::state::{Kind, MemFlags, Register, ResourceKind, TypeRef};
use beelift_runtime::map::{SpecialField, SpecialKind};

impl Verifier<'_> {
    /// Special fields of what a register points to.
    pub(super) fn fields_of(&self, register: &Register) -> Arc<[SpecialField]> {
        match register.kind {
            Kind::MapValue(map) => self.tables.map(map).fields.as_slice().into(),
            Kind::Object(of, flags) if flags.contains(MemFlags::ALLOCATED) => self.tables.types.fields(of),
            _ => Arc::default(),
        }
    }

    /// Whether a lock may lie in what a register points to: its identity matters.
    pub(super) fn may_hold_lock(&self, register: &Register) -> bool {
        let is_lock =
            |field: &SpecialField| matches!(field.kind, SpecialKind::SpinLock | SpecialKind::ResSpinLock);
        self.fields_of(register).iter().any(is_lock)
    }

    /// What a lock in that memory is known by.
    pub(super) fn lock_owner(register: &Register) -> Option<(u32, u32)> {
        match register.kind {
            Kind::MapValue(map) => Some((map.0, register.id)),
            // All objects of the program's types: their identities tell them apart.
            Kind::Object(..) => Some((u32::MAX, register.id)),
            _ => None,
        }
    }

    /// The head of a list or the root of a tree, under its lock.
    pub(super) fn collection(
        &mut self,
        reg: Reg,
        register: &Register,
        kind: SpecialKind,
        call: &mut KfuncCall,
    ) -> Check {
        let not_one = || Stop::from(Reason::NotACollection { reg });
        match register.kind {
            _ if register.nullable => return Err(expected(reg, "a collection", register)),
            Kind::MapValue(_) => {}
            Kind::Object(_, flags) if flags == MemFlags::ALLOCATED && register.object != 0 => {}
            _ => return Err(not_one()),
        }
        let off = register.constant_offset().ok_or_else(not_one)?;
        let fields = self.fields_of(register);
        let field = fields.iter().find(|field| field.kind == kind && i64::from(field.offset) == off);
        let field = *field.filter(|field| field.btf_type != 0).ok_or_else(not_one)?;
        let owner = Self::lock_owner(register);
        let held = self.state.references.held.iter().any(|held| {
            matches!(held.kind, ResourceKind::Lock { owner: map, value, .. } if Some((map, value)) == owner)
        });
        if !held {
            return Err(Reason::LockNotHeld { reg }.into());
        }
        call.collection = Some(field);
        Ok(())
    }

    /// The node of an object that goes into or is in the collection.
    pub(super) fn node(
        &mut self,
        prototype: &'static Prototype,
        reg: Reg,
        register: &Register,
        call: &mut KfuncCall,
    ) -> Check {
        let Kind::Object(of, flags) = register.kind else {
            return Err(expected(reg, "an allocated object", register));
        };
        if register.nullable || !flags.contains(MemFlags::ALLOCATED) {
            return Err(expected(reg, "an allocated object", register));
        }
        let adds = prototype.name.contains("_push_") || prototype.name.contains("_add");
        if adds {
            // That it is held is asked when it is lent.
            if flags != MemFlags::ALLOCATED {
                return Err(expected(reg, "an allocated object", register));
            }
        } else {
            if !flags.contains(MemFlags::BORROWED) && register.object == 0 {
                return Err(expected(reg, "a borrowed object", register));
            }
            if self.state.current().callback.is_some_and(|callback| callback.in_tree) {
                return Err(Reason::CallInLock.into());
            }
        }
        let bad = || Stop::from(Reason::GraphNode { reg });
        let off = register.constant_offset().ok_or_else(bad)?;
        let collection = call.collection.ok_or_else(bad)?;
        // A node of its kind is what the declaration names (`special_fields`).
        if of != TypeRef::own(collection.btf_type) || i64::from(collection.node) != off {
            return Err(bad());
        }
        call.allocated = Some(of);
        Ok(())
    }

    /// A pointer to the node of an object in the collection.
    pub(super) fn node_of(&self, collection: Option<SpecialField>) -> Check<Register> {
        let collection = collection.ok_or(Reason::NotACollection { reg: Reg::R1 })?;
        let kind = Kind::Object(TypeRef::own(collection.btf_type), MemFlags::ALLOCATED);
        let off = i32::try_from(collection.node).unwrap_or(0);
        Ok(Register { off, ..Register::pointer(kind) })
    }

    /// An object goes into a collection: every pointer to it is borrowed now.
    pub(super) fn lend(&mut self, reg: Reg) -> Check {
        let object = self.state.register(reg).object;
        self.state.for_each(
            |register| register.object == object && register.kind != Kind::Uninit,
            |register| {
                register.object = 0;
                if let Kind::Object(_, flags) = &mut register.kind {
                    flags.insert(MemFlags::BORROWED);
                }
            },
        );
        if !Rc::make_mut(&mut self.state.references).release(object) {
            return Err(Reason::NotAcquired { reg }.into());
        }
        Ok(())
    }

    /// A lock is given back: nothing is borrowed any more.
    pub(super) fn forget_borrowed(&mut self) {
        self.state.for_each(
            |register| matches!(register.kind, Kind::Object(_, flags) if flags.contains(MemFlags::BORROWED)),
            |register| *register = Register::unknown(),
        );
    }
}

/// The same object, borrowed: good until the lock is given back, counted or not.
pub(super) fn borrowed(register: Register) -> Register {
    let Kind::Object(of, flags) = register.kind else { return register };
    Register { kind: Kind::Object(of, flags | MemFlags::BORROWED), object: 0, ..register }
}
