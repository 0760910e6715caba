//! Objects of BTF types: loads and stores, and which pointers may be trusted for how long.
//!
//! In: a pointer to an object, an access. Out: what a load yields, with the trust that the kernel puts in it: pointers
//! found in an object are only as good as the object, the field's declaration and the critical section allow.
#![forbid(unsafe_code)]

use super::memory::Span;
use crate::isa::Reg;
use crate::verify::explore::{Check, Stop, Verifier};
use crate::verify::facts::Region;
use crate::verify::report::Reason;
use crate::verify::state::{Kind, MemFlags, Register, SockKind, TypeRef};
use crate::verify::types::Found;
use beelift_runtime::MapKind;

impl<'a> Verifier<'a> {
    /// What a load from an object yields.
    pub(super) fn object_read(
        &mut self,
        pointer: &Register,
        of: TypeRef,
        flags: MemFlags,
        span: Span,
        unknown: Register,
    ) -> Check<Register> {
        let off = self.object_place(pointer, of, flags, span)?;
        let found = self.object_found(of, off, span)?;
        self.observe(region_of(of, flags), pointer, span);
        Ok(match found {
            Found::Number => unknown,
            // Members of the program's own objects are numbers, whatever their type says.
            Found::Pointer { .. } | Found::Plain if flags.contains(MemFlags::ALLOCATED) => unknown,
            Found::Plain => plain_pointer(),
            Found::Pointer { to, flags: declared, field } => {
                self.found_pointer(pointer, of, to, declared, field)
            }
        })
    }

    /// A store to an object: the program's own only.
    pub(super) fn object_write(
        &mut self,
        pointer: &Register,
        of: TypeRef,
        flags: MemFlags,
        span: Span,
    ) -> Check {
        let off = self.object_place(pointer, of, flags, span)?;
        if !flags.contains(MemFlags::ALLOCATED) {
            return Err(Reason::ReadOnly { kind: pointer.kind.name() }.into());
        }
        self.object_found(of, off, span)?;
        self.observe(region_of(of, flags), pointer, span);
        Ok(())
    }

    fn object_found(&self, of: TypeRef, off: u32, span: Span) -> Check<Found<'a>> {
        let end = off + span.size;
        let fields = self.tables.types.fields(of);
        let special = fields.iter().find(|field| off < field.offset + field.size && field.offset < end);
        let denied = || Reason::ObjectField {
            of: self.tables.types.name(of).to_owned(),
            offset: i64::from(off),
            size: span.size,
        };
        if special.is_some() {
            return Err(denied().into());
        }
        let tables = self.tables;
        tables.types.walk(of, off, span.size).ok_or_else(|| denied().into())
    }

    /// Offset of an access in an object that may be accessed at all.
    fn object_place(&self, pointer: &Register, of: TypeRef, flags: MemFlags, span: Span) -> Check<u32> {
        // What the program allocated holds no address that it did not put there.
        if !self.options.policy.allow_pointer_leaks && !flags.contains(MemFlags::ALLOCATED) {
            return Err(Reason::ObjectAccessForbidden { of: self.tables.types.name(of).to_owned() }.into());
        }
        let kernel = matches!(of, TypeRef::Kernel(_));
        if kernel && !self.program.is_gpl() {
            return Err(Reason::ObjectNeedsGpl { of: self.tables.types.name(of).to_owned() }.into());
        }
        let off = i64::from(pointer.off) + i64::from(span.off);
        // What the program allocated, and another may have given back since: nothing is there to be read any more.
        let stale = flags.contains(MemFlags::ALLOCATED | MemFlags::UNTRUSTED);
        let elsewhere = flags.intersects(MemFlags::USER | MemFlags::PERCPU);
        if pointer.value.constant() != Some(0) || elsewhere || stale {
            return Err(Reason::InvalidAccess { reg: span.reg, kind: pointer.kind.name() }.into());
        }
        let of = || self.tables.types.name(of).to_owned();
        u32::try_from(off)
            .ok()
            .filter(|off| off.checked_add(8).is_some())
            .ok_or_else(|| Reason::ObjectField { of: of(), offset: off, size: span.size }.into())
    }

    /// A pointer found in an object.
    fn found_pointer(
        &mut self,
        pointer: &Register,
        of: TypeRef,
        to: TypeRef,
        declared: MemFlags,
        field: &str,
    ) -> Register {
        let untrusted = matches!(pointer.kind, Kind::Object(_, flags) if flags.contains(MemFlags::UNTRUSTED));
        let tables = self.tables;
        let types = &tables.types;
        let listed = |list| types.is_listed(of, field, to, list);
        let kept = declared & (MemFlags::USER | MemFlags::PERCPU | MemFlags::UNTRUSTED);
        let (flags, nullable) = if untrusted {
            (MemFlags::UNTRUSTED, false)
        } else if !pointer.is_trusted() && !pointer.is_rcu() {
            // An old way of walking: neither trusted nor untrusted.
            (declared & (MemFlags::USER | MemFlags::PERCPU), false)
        } else if listed("__safe_trusted") {
            (declared | MemFlags::TRUSTED, false)
        } else if listed("__safe_trusted_or_null") {
            (declared | MemFlags::TRUSTED, true)
        } else if self.in_rcu() && !pointer.nullable {
            if listed("__safe_rcu") {
                (declared | MemFlags::RCU, false)
            } else if listed("__safe_rcu_or_null") {
                ((declared | MemFlags::RCU) - MemFlags::UNTRUSTED, true)
            } else if declared.contains(MemFlags::RCU) {
                (declared, true)
            } else if kept.intersects(MemFlags::USER | MemFlags::PERCPU) {
                (declared, false)
            } else {
                (MemFlags::empty(), false)
            }
        } else {
            (MemFlags::UNTRUSTED, false)
        };
        let id = if nullable { self.fresh_id() } else { 0 };
        Register { nullable, id, ..Register::pointer(Kind::Object(to, flags)) }
    }

    /// A load from a map's own structure, of which the kernel lets numbers and pointers be read.
    pub(super) fn map_read(
        &mut self,
        kind: MapKind,
        pointer: &Register,
        span: Span,
        unknown: Register,
    ) -> Check<Register> {
        let name = map_structure(kind);
        if self.tables.types.kernel().is_none() {
            return Err(Stop::Unsupported("the kernel's types".to_owned()));
        }
        let Some(of) = name.and_then(|name| self.tables.types.kernel_struct(name)) else {
            return Err(Reason::InvalidAccess { reg: span.reg, kind: pointer.kind.name() }.into());
        };
        if !self.options.policy.allow_pointer_leaks {
            return Err(Reason::ObjectAccessForbidden { of: self.tables.types.name(of).to_owned() }.into());
        }
        let off = pointer.constant_offset().map(|off| off + i64::from(span.off));
        let off = off.and_then(|off| u32::try_from(off).ok()).filter(|off| *off < 1 << 29);
        let off = off.ok_or(Reason::InvalidAccess { reg: span.reg, kind: pointer.kind.name() })?;
        let found = self.object_found(of, off, span)?;
        self.observe(Region::Object, pointer, span);
        Ok(match found {
            Found::Number => unknown,
            Found::Plain => plain_pointer(),
            Found::Pointer { to, flags, .. } => Register::pointer(Kind::Object(to, flags)),
        })
    }

    /// Whether objects that RCU protects stay valid here.
    pub(super) fn in_rcu(&self) -> bool {
        let references = &self.state.references;
        references.rcu > 0 || references.locks() > 0 || !self.may_sleep()
    }

    /// Whether the running code may sleep, apart from critical sections.
    pub(super) fn may_sleep(&self) -> bool {
        match self.state.frames[0].callback {
            Some(callback) => callback.sleeps,
            None => self.tables.sleepable,
        }
    }

    /// The BTF type that a pointer is one to.
    pub(super) fn type_of(&self, register: &Register) -> Option<TypeRef> {
        let name = match register.kind {
            Kind::Object(of, _) => return Some(of),
            Kind::Socket(SockKind::Socket) => "sock",
            Kind::Socket(SockKind::Common) => "sock_common",
            Kind::Socket(SockKind::Tcp) => "tcp_sock",
            Kind::Map(_) => "bpf_map",
            _ => return None,
        };
        self.tables.types.kernel_struct(name)
    }

    /// A kernel type by name.
    pub(super) fn kernel_type(&self, name: &str) -> Check<TypeRef> {
        self.tables.types.kernel_struct(name).ok_or_else(|| Stop::Unsupported(format!("kernel type {name}")))
    }

    /// An object argument of a helper: of that type (or what starts with it), valid.
    pub(super) fn helper_object(&self, reg: Reg, register: &Register, wanted: &'static str) -> Check {
        let flags = match register.kind {
            Kind::Object(_, flags) if !register.nullable => flags,
            kind => {
                let found = if register.nullable { "a pointer that may be null" } else { kind.name() };
                return Err(Reason::ArgumentType { reg, expected: wanted, found }.into());
            }
        };
        let fine = flags.is_empty() || flags == MemFlags::TRUSTED || flags == MemFlags::RCU;
        if !fine {
            return Err(Reason::ArgumentType { reg, expected: wanted, found: register.kind.name() }.into());
        }
        self.is_object_of(reg, register, self.kernel_type(wanted)?, false)
    }

    /// A pointer to an object of that type, whatever it is worth.
    pub(super) fn is_object_of(&self, reg: Reg, register: &Register, wanted: TypeRef, strict: bool) -> Check {
        let types = &self.tables.types;
        let off = u32::try_from(register.off).ok().filter(|_| register.value.constant() == Some(0));
        let Some(off) = off else {
            return Err(Reason::ModifiedPointer { kind: register.kind.name() }.into());
        };
        match self.type_of(register) {
            Some(of) if types.stands_for(of, off, wanted, strict) => Ok(()),
            found => Err(Reason::ObjectType {
                reg,
                expected: types.name(wanted).to_owned(),
                found: found.map_or_else(|| register.kind.name().to_owned(), |of| types.name(of).to_owned()),
            }
            .into()),
        }
    }
}

/// Where an access to an object goes.
const fn region_of(of: TypeRef, flags: MemFlags) -> Region {
    match of {
        TypeRef::Kernel(_) => Region::Object,
        TypeRef::Own(_) if flags.contains(MemFlags::ALLOCATED) => Region::Allocated,
        TypeRef::Own(_) => Region::Stale,
    }
}

/// A pointer to what is no structure: reads through it may fail softly, and nothing is known of what they find.
pub(super) fn plain_pointer() -> Register {
    Register::pointer(Kind::Memory(MemFlags::READ_ONLY | MemFlags::UNTRUSTED))
}

/// The kernel's structure of a kind of map.
fn map_structure(kind: MapKind) -> Option<&'static str> {
    use MapKind as M;
    Some(match kind {
        M::Array | M::PercpuArray | M::ProgArray | M::PerfEventArray | M::CgroupArray | M::ArrayOfMaps => {
            "bpf_array"
        }
        M::Hash | M::PercpuHash | M::LruHash | M::LruPercpuHash | M::HashOfMaps => "bpf_htab",
        M::LpmTrie => "lpm_trie",
        M::Queue | M::Stack => "bpf_queue_stack",
        M::Ringbuf | M::UserRingbuf => "bpf_ringbuf_map",
        M::StackTrace => "bpf_stack_map",
        M::Devmap | M::DevmapHash => "bpf_dtab",
        M::Cpumap => "bpf_cpu_map",
        M::Xskmap => "xsk_map",
        M::Sockmap => "bpf_stab",
        M::Sockhash => "bpf_shtab",
        M::ReuseportSockarray => "reuseport_array",
        M::BloomFilter => "bpf_bloom_filter",
        M::CgroupStorage | M::PercpuCgroupStorage => "bpf_cgroup_storage_map",
        M::SkStorage | M::InodeStorage | M::TaskStorage | M::CgrpStorage => "bpf_local_storage_map",
        M::StructOps => "bpf_struct_ops_map",
        M::Arena => "bpf_arena",
        M::InsnArray => return None,
    })
}
