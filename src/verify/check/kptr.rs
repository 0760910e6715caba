//! Kptrs: pointers to objects in fields of map values and allocated objects.
//!
//! In: a field and what is loaded from, stored to or exchanged with it. Out: the type of the pointer and how far it
//! may be trusted.
#![forbid(unsafe_code)]

use super::helper::CallState;
use super::kfunc_argument::expected;
use super::memory::{Access, By, Span};
use crate::btf::TypeId;
use crate::isa::{Operand, Reg};
use crate::verify::explore::{Check, Stop, Verifier};
use crate::verify::facts::Region;
use crate::verify::report::Reason;
use crate::verify::state::{Kind, MapRef, MemFlags, Register, TypeRef};
use beelift_runtime::map::{SpecialField, SpecialKind};

/// Kernel types whose objects stay readable in an RCU read section after they were given back.
const RCU_PROTECTED: [&str; 5] =
    ["task_struct", "cgroup", "bpf_cpumask", "bpf_crypto_ctx", "prog_test_ref_kfunc"];

/// A kptr field: its kind and the type it points to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kptr {
    pub(super) kind: SpecialKind,
    pub(super) to: TypeRef,
}

/// Whether a field is a kptr that programs load from and store to.
pub(super) const fn is_kptr(kind: SpecialKind) -> bool {
    matches!(
        kind,
        SpecialKind::KptrRef | SpecialKind::KptrUntrusted | SpecialKind::KptrPercpu | SpecialKind::Uptr
    )
}

impl Verifier<'_> {
    /// The kptr field that an access of an instruction touches, if it touches one.
    pub(super) fn kptr_field(&self, map: MapRef, pointer: &Register, span: Span) -> Option<SpecialField> {
        let start = i64::from(span.off) + i64::from(pointer.off);
        let (low, high) = (start.checked_add(pointer.value.smin())?, pointer.value.umax());
        let high = start.unsigned_abs().checked_add(high)?.checked_add(u64::from(span.size))?;
        let touches = |field: &&SpecialField| {
            let end = i64::from(field.offset) + i64::from(field.size);
            is_kptr(field.kind) && low < end && u64::from(field.offset) < high
        };
        self.tables.map(map).fields.iter().find(touches).copied()
    }

    /// The whole field at a known place, and nothing else.
    fn whole_kptr(&self, map: MapRef, field: SpecialField, pointer: &Register, span: Span) -> Check<Kptr> {
        let exact =
            pointer.constant_offset().map(|off| off + i64::from(span.off)) == Some(i64::from(field.offset));
        if !exact || span.size != 8 {
            let name = self.tables.map(map).name.clone();
            return Err(Reason::KptrAccess { map: name, offset: field.offset }.into());
        }
        self.kptr_of(field)
    }

    fn kptr_of(&self, field: SpecialField) -> Check<Kptr> {
        let to = self.tables.types.kernel_or_own(TypeId(field.btf_type));
        let to = to.ok_or_else(|| Stop::Unsupported("kptr of an unknown type".to_owned()))?;
        Ok(Kptr { kind: field.kind, to })
    }

    /// A load of a kptr.
    pub(super) fn kptr_read(
        &mut self,
        map: MapRef,
        field: SpecialField,
        pointer: &Register,
        span: Span,
        plain: bool,
    ) -> Check<Register> {
        self.map_value_access(map, pointer, span, Access::Read, By::Kptr)?;
        let kptr = self.whole_kptr(map, field, pointer, span)?;
        if !plain {
            let name = self.tables.map(map).name.clone();
            return Err(Reason::KptrAccess { map: name, offset: field.offset }.into());
        }
        let region = if kptr.kind == SpecialKind::Uptr { Region::Object } else { self.value_region(map) };
        self.observe(region, pointer, span);
        let id = self.fresh_id();
        if kptr.kind == SpecialKind::Uptr {
            let size = self.tables.types.size(kptr.to).and_then(|size| i32::try_from(size).ok());
            let kind = Kind::Memory(MemFlags::empty());
            return Ok(Register { size: size.unwrap_or(0), nullable: true, id, ..Register::pointer(kind) });
        }
        let own = matches!(kptr.to, TypeRef::Own(_));
        let protected = own || RCU_PROTECTED.contains(&self.tables.types.name(kptr.to));
        let safe = kptr.kind == SpecialKind::KptrPercpu || (kptr.kind == SpecialKind::KptrRef && protected);
        let flags = if !(safe && self.in_rcu()) {
            MemFlags::UNTRUSTED
        } else if kptr.kind == SpecialKind::KptrPercpu {
            MemFlags::RCU | MemFlags::PERCPU
        } else if own {
            // A node may be looked for in a collection under its lock.
            let fields = self.tables.types.fields(kptr.to);
            let node =
                |field: &SpecialField| matches!(field.kind, SpecialKind::ListNode | SpecialKind::RbNode);
            let node = if fields.iter().any(node) { MemFlags::BORROWED } else { MemFlags::empty() };
            MemFlags::RCU | MemFlags::ALLOCATED | node
        } else {
            MemFlags::RCU
        };
        Ok(Register { nullable: true, id, ..Register::pointer(Kind::Object(kptr.to, flags)) })
    }

    /// A store to a kptr: only to one that holds no reference.
    pub(super) fn kptr_write(
        &mut self,
        map: MapRef,
        field: SpecialField,
        pointer: &Register,
        span: Span,
        value: Option<(Operand, Register)>,
    ) -> Check {
        self.map_value_access(map, pointer, span, Access::Write, By::Kptr)?;
        let kptr = self.whole_kptr(map, field, pointer, span)?;
        let denied = || {
            let name = self.tables.map(map).name.clone();
            Stop::from(Reason::KptrAccess { map: name, offset: field.offset })
        };
        let (operand, value) = value.ok_or_else(denied)?;
        if kptr.kind != SpecialKind::KptrUntrusted {
            return Err(denied());
        }
        if !value.is_null() {
            let Operand::Reg(reg) = operand else { return Err(denied()) };
            self.fits_kptr(reg, &value, kptr)?;
        }
        self.observe(self.value_region(map), pointer, span);
        Ok(())
    }

    /// Whether a pointer may lie in a field.
    fn fits_kptr(&self, reg: Reg, value: &Register, kptr: Kptr) -> Check {
        let Kind::Object(of, flags) = value.kind else {
            return Err(expected(reg, "an object of the kptr's type", value));
        };
        let mut allowed = match of {
            TypeRef::Kernel(_) => MemFlags::TRUSTED | MemFlags::RCU,
            TypeRef::Own(_) => MemFlags::ALLOCATED,
        };
        match (kptr.kind, of) {
            (SpecialKind::KptrUntrusted, TypeRef::Kernel(_)) => allowed |= MemFlags::UNTRUSTED,
            (SpecialKind::KptrPercpu, TypeRef::Own(_)) => allowed |= MemFlags::PERCPU,
            _ => {}
        }
        if !allowed.contains(flags) {
            return Err(expected(reg, "an object of the kptr's type", value));
        }
        self.is_object_of(reg, value, kptr.to, kptr.kind != SpecialKind::KptrUntrusted)
    }

    /// The field that `bpf_kptr_xchg` exchanges.
    pub(super) fn kptr_slot(&self, reg: Reg, register: &Register, call: &mut CallState) -> Check {
        match register.kind {
            Kind::MapValue(map) if !register.nullable => {
                if self.tables.slot_of(map).is_some() {
                    call.kptr_map = Some(map);
                }
            }
            Kind::Object(_, flags) if flags.contains(MemFlags::ALLOCATED) && !register.nullable => {}
            _ => return Err(expected(reg, "a kptr", register)),
        }
        let bad = || Stop::from(Reason::NotAKptr { reg });
        let off = register.constant_offset().ok_or_else(bad)?;
        let fields = self.fields_of(register);
        let field = fields.iter().find(|field| i64::from(field.offset) == off).copied().ok_or_else(bad)?;
        if !matches!(field.kind, SpecialKind::KptrRef | SpecialKind::KptrPercpu) {
            return Err(bad());
        }
        call.kptr = Some(self.kptr_of(field)?);
        Ok(())
    }

    /// The object that goes into the field, which takes over its reference; or null.
    pub(super) fn kptr_value(&self, reg: Reg, register: &Register, call: &mut CallState) -> Check {
        if register.is_null() {
            return Ok(());
        }
        // That it is held is asked when it is given up.
        call.released = true;
        let kptr = call.kptr.ok_or(Reason::NotAKptr { reg })?;
        if register.nullable {
            return Err(expected(reg, "a pointer that is not null", register));
        }
        if register.off != 0 {
            return Err(Reason::ModifiedPointer { kind: register.kind.name() }.into());
        }
        self.fits_kptr(reg, register, kptr)
    }

    /// What `bpf_kptr_xchg` took out.
    pub(super) fn kptr_result(&self, call: &CallState) -> Check<Register> {
        let kptr = call.kptr.ok_or(Reason::NotAKptr { reg: Reg::R1 })?;
        let mut flags = match kptr.to {
            TypeRef::Kernel(_) => MemFlags::empty(),
            TypeRef::Own(_) => MemFlags::ALLOCATED,
        };
        if kptr.kind == SpecialKind::KptrPercpu {
            flags |= MemFlags::PERCPU;
        }
        Ok(Register { nullable: true, ..Register::pointer(Kind::Object(kptr.to, flags)) })
    }
}
