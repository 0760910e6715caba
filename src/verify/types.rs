//! Objects of BTF types: what lies where in a structure, and which types stand for which.
//!
//! In: the kernel's types, read when first needed, and the program's own. Out: answers for `check::object`, as the
//! kernel gives them (`btf_struct_walk`). Without the kernel's types nothing is known of its objects. Not here:
//! which pointers may be trusted for how long.
#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use beelift_runtime::map::SpecialField;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::state::{MemFlags, TypeRef};
use crate::btf::{Btf, KernelTypes, Kind, Member, TypeId, special_fields};

/// Structures are nested no deeper than this.
const DEPTH: usize = 32;

/// What was looked up so far: by several threads, each of which adds whole answers.
fn lock<T>(known: &Mutex<T>) -> MutexGuard<'_, T> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What an access to an object finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Found<'a> {
    /// A number (or anything but a pointer to a structure, in part or as a whole).
    Number,
    /// A pointer to a structure.
    Pointer {
        /// Of that type.
        to: TypeRef,
        /// As its declaration says: user, per CPU, RCU; untrusted inside a union.
        flags: MemFlags,
        /// Name of the member.
        field: &'a str,
    },
    /// A pointer to what is no structure.
    Plain,
}

/// Types by reference.
pub(crate) struct Types<'a> {
    kernel: &'a KernelTypes,
    own: Option<&'a Btf>,
    names: Mutex<HashMap<String, Option<u32>, FixedState>>,
    fields: Mutex<HashMap<u32, Arc<[SpecialField]>, FixedState>>,
}

impl<'a> Types<'a> {
    pub(crate) fn new(kernel: &'a KernelTypes, own: Option<&'a Btf>) -> Self {
        Self { kernel, own, names: Mutex::default(), fields: Mutex::default() }
    }
    /// The kernel's types, if they can be had.
    pub(crate) fn kernel(&self) -> Option<&'a Btf> {
        self.kernel.get().map(std::sync::Arc::as_ref)
    }
    fn place(&self, of: TypeRef) -> Option<(&'a Btf, TypeId)> {
        match of {
            TypeRef::Kernel(number) => Some((self.kernel()?, TypeId(number.id()))),
            TypeRef::Own(number) => Some((self.own?, TypeId(number.id()))),
        }
    }
    /// A structure or union of the kernel.
    pub(crate) fn kernel_struct(&self, name: &str) -> Option<TypeRef> {
        if let Some(known) = lock(&self.names).get(name) {
            return known.map(TypeRef::kernel);
        }
        let found = self.kernel().and_then(|btf| {
            btf.named(name)
                .find(|id| matches!(btf.type_at(*id).kind, Kind::Struct(_) | Kind::Union(_)))
                .map(|id| id.0)
        });
        lock(&self.names).insert(name.to_owned(), found);
        found.map(TypeRef::kernel)
    }
    /// What a type of the program stands for when the kernel has one of that name: the kernel's.
    pub(crate) fn kernel_or_own(&self, own: TypeId) -> Option<TypeRef> {
        let name = self.own?.get(own)?.name;
        Some(self.kernel_struct(name).unwrap_or(TypeRef::own(own.0)))
    }
    /// A variable or function of the kernel, its type, and whether each CPU has one.
    fn variable(&self, name: &str) -> Option<(TypeId, bool)> {
        let btf = self.kernel()?;
        let found = btf.named(name).find_map(|id| match btf.type_at(id).kind {
            Kind::Var { of, .. } => Some((id, btf.resolve(of))),
            Kind::Func { .. } => Some((id, TypeId::VOID)),
            _ => None,
        });
        let (id, of) = found?;
        let percpu = btf.named(".data..percpu").any(|section| match btf.type_at(section).kind {
            Kind::Datasec { vars, .. } => vars.iter().any(|var| var.var == id),
            _ => false,
        });
        Some((of, percpu))
    }
    /// What the address of a variable or function of the kernel is.
    pub(crate) fn kernel_variable(&self, name: &str) -> Option<super::state::Kind> {
        use super::state::Kind as State;
        let (of, percpu) = self.variable(name)?;
        let structure = self.is_structure(TypeRef::kernel(of.0));
        Some(match (percpu, structure) {
            (true, _) => State::Object(TypeRef::kernel(of.0), MemFlags::PERCPU),
            (false, true) => State::Object(TypeRef::kernel(of.0), MemFlags::empty()),
            (false, false) => State::Memory(MemFlags::READ_ONLY),
        })
    }
    /// Bytes of a variable of the kernel.
    pub(crate) fn variable_size(&self, name: &str) -> Option<i32> {
        let (of, _) = self.variable(name)?;
        self.size(TypeRef::kernel(of.0)).and_then(|size| i32::try_from(size).ok())
    }
    /// Whether a type is a structure or union.
    pub(crate) fn is_structure(&self, of: TypeRef) -> bool {
        self.place(of).is_some_and(|(btf, id)| {
            let kind = btf.type_at(btf.resolve(id)).kind;
            matches!(kind, Kind::Struct(_) | Kind::Union(_))
        })
    }
    /// Name of a type.
    pub(crate) fn name(&self, of: TypeRef) -> &'a str {
        self.place(of).and_then(|(btf, id)| btf.get(id)).map_or("?", |found| found.name)
    }
    /// Bytes of a type.
    pub(crate) fn size(&self, of: TypeRef) -> Option<u32> {
        let (btf, id) = self.place(of)?;
        btf.size_of(id).and_then(|size| u32::try_from(size).ok())
    }
    /// Special fields of a type of the program.
    pub(crate) fn fields(&self, of: TypeRef) -> Arc<[SpecialField]> {
        let (TypeRef::Own(number), Some(own)) = (of, self.own) else { return Arc::default() };
        let id = number.id();
        if let Some(known) = lock(&self.fields).get(&id) {
            return Arc::clone(known);
        }
        let found: Arc<[SpecialField]> = special_fields(own, TypeId(id)).into();
        lock(&self.fields).insert(id, Arc::clone(&found));
        found
    }

    /// What `size` bytes at `off` of an object are; `None` where nothing may be read.
    pub(crate) fn walk(&self, of: TypeRef, off: u32, size: u32) -> Option<Found<'a>> {
        let (btf, id) = self.place(of)?;
        let mut walk = Walk { btf, kernel: matches!(of, TypeRef::Kernel(_)), flags: MemFlags::empty() };
        let (mut id, mut off) = (id, off);
        for _ in 0..DEPTH {
            match walk.step(id, off, size)? {
                Step::Found(found) => return Some(found),
                Step::Inside(inner) => (id, off) = (inner, 0),
            }
        }
        None
    }

    /// Whether a pointer at `off` into an object of type `of` is one to an object of type `wanted`.
    pub(crate) fn stands_for(&self, of: TypeRef, off: u32, wanted: TypeRef, strict: bool) -> bool {
        if off == 0 && of == wanted {
            return true;
        }
        let same_side = matches!(
            (of, wanted),
            (TypeRef::Kernel(_), TypeRef::Kernel(_)) | (TypeRef::Own(_), TypeRef::Own(_))
        );
        let (Some((btf, id)), false, true) = (self.place(of), strict, same_side) else { return false };
        let (TypeRef::Kernel(target) | TypeRef::Own(target)) = wanted;
        let (mut id, mut off) = (id, off);
        for _ in 0..DEPTH {
            let mut walk = Walk { btf, kernel: true, flags: MemFlags::empty() };
            let Some(Step::Inside(inner)) = walk.step(id, off, 1) else { return false };
            if inner.0 == target.id() {
                return true;
            }
            (id, off) = (inner, 0);
        }
        false
    }

    /// Whether the kernel lists that field of a type among those of a kind: `__safe_rcu`, `__safe_trusted`, ….
    /// Such lists are structures of its BTF.
    pub(crate) fn is_listed(&self, of: TypeRef, field: &str, to: TypeRef, list: &str) -> bool {
        let TypeRef::Kernel(_) = of else { return false };
        let name = format!("{}{list}", self.name(of));
        let Some(TypeRef::Kernel(listed)) = self.kernel_struct(&name) else { return false };
        let Some(btf) = self.kernel() else { return false };
        let Some(members) = btf.type_at(TypeId(listed.id())).kind.members() else { return false };
        members.iter().any(|member| {
            let target = btf.type_at(btf.resolve(member.of)).kind.as_ptr();
            member.name == field && target.is_some_and(|id| TypeRef::kernel(btf.resolve(id).0) == to)
        })
    }

    /// Whether a structure of the program's own holds only numbers, recursively.
    pub(crate) fn only_numbers(&self, of: TypeRef) -> bool {
        self.place(of).is_some_and(|(btf, id)| only_numbers(btf, id, 0))
    }
}

fn only_numbers(btf: &Btf, id: TypeId, depth: usize) -> bool {
    let found = btf.type_at(btf.resolve(id));
    match found.kind {
        Kind::Int { .. } | Kind::Enum(_) | Kind::Enum64(_) => true,
        Kind::Struct(members) | Kind::Union(members) => {
            depth < 4 && members.iter().all(|member| only_numbers(btf, member.of, depth + 1))
        }
        Kind::Array { element, len, .. } => len > 0 && only_numbers(btf, element, depth),
        _ => false,
    }
}

enum Step<'a> {
    Found(Found<'a>),
    /// A structure starts there.
    Inside(TypeId),
}

struct Walk<'a> {
    btf: &'a Btf,
    kernel: bool,
    flags: MemFlags,
}

impl<'a> Walk<'a> {
    /// Looks at `off` of a structure, down to the member that starts there or holds it.
    fn step(&mut self, id: TypeId, off: u32, size: u32) -> Option<Step<'a>> {
        let (mut id, mut off) = (id, off);
        for _ in 0..DEPTH {
            let found = self.btf.type_at(self.btf.resolve(id));
            let members = found.kind.members()?;
            if matches!(found.kind, Kind::Union(_)) && members.len() != 1 {
                // Which member is meant is not known.
                self.flags |= MemFlags::UNTRUSTED;
            }
            if off.checked_add(size)? > members.size {
                (id, off) = match self.behind(&members, off)? {
                    Behind::Number => return Some(Step::Found(Found::Number)),
                    Behind::Element(element, off) => (element, off),
                };
                continue;
            }
            match self.member(members.iter(), off, size)? {
                Within::Found(step) => return Some(step),
                Within::Deeper(inner, rest) => (id, off) = (inner, rest),
            }
        }
        None
    }

    /// Elements of a flexible array at the end.
    fn behind(&self, members: &crate::btf::Members<'a>, off: u32) -> Option<Behind> {
        let last = members.get(members.len().checked_sub(1)?)?;
        let (element, 0) = self.btf.type_at(self.btf.resolve(last.of)).kind.as_array()? else { return None };
        let rest = off.checked_sub(last.bit_offset / 8)?;
        let element = self.btf.resolve(element);
        match self.btf.type_at(element).kind {
            Kind::Int { .. } => Some(Behind::Number),
            Kind::Struct(inner) | Kind::Union(inner) => {
                Some(Behind::Element(element, rest.checked_rem(inner.size)?))
            }
            _ => None,
        }
    }

    fn member(
        &mut self,
        members: impl Iterator<Item = Member<'a>>,
        off: u32,
        size: u32,
    ) -> Option<Within<'a>> {
        for member in members {
            let start = member.bit_offset / 8;
            if off + size <= start {
                return None;
            }
            if let Some(bits) = member.bit_size {
                let end = (member.bit_offset + bits).div_ceil(8);
                if off <= start && end <= off + size {
                    return Some(Within::Found(Step::Found(Found::Number)));
                }
                continue;
            }
            if off < start {
                return None;
            }
            let bytes = u32::try_from(self.btf.size_of(member.of)?).ok()?;
            let end = start.checked_add(bytes)?;
            if off >= end {
                continue;
            }
            return self.inside(&member, start, end, off, size);
        }
        None
    }

    /// An access that starts in a member.
    fn inside(
        &mut self,
        member: &Member<'a>,
        start: u32,
        end: u32,
        off: u32,
        size: u32,
    ) -> Option<Within<'a>> {
        // Arrays of arrays are one array.
        let (mut id, mut start, mut bytes) = (self.btf.resolve(member.of), start, end - start);
        let mut array = false;
        while let Some((element, _)) = self.btf.type_at(id).kind.as_array() {
            id = self.btf.resolve(element);
            array = true;
        }
        if array {
            bytes = u32::try_from(self.btf.size_of(id)?).ok().filter(|bytes| *bytes > 0)?;
            start += (off - start) / bytes * bytes;
        }
        match self.btf.type_at(id).kind {
            Kind::Struct(_) | Kind::Union(_) if off == start => Some(Within::Found(Step::Inside(id))),
            Kind::Struct(_) | Kind::Union(_) => Some(Within::Deeper(id, off - start)),
            Kind::Ptr(to) => {
                if bytes != size || off != start {
                    return None;
                }
                let tag = self.btf.type_at(to);
                let flags = match tag.kind {
                    Kind::TypeTag(_) => match tag.name {
                        "user" => MemFlags::USER,
                        "percpu" => MemFlags::PERCPU,
                        "rcu" => MemFlags::RCU,
                        _ => MemFlags::empty(),
                    },
                    _ => MemFlags::empty(),
                };
                let target = self.btf.resolve(to);
                let found = match self.btf.type_at(target).kind {
                    Kind::Struct(_) | Kind::Union(_) => {
                        let to = if self.kernel { TypeRef::kernel(target.0) } else { TypeRef::own(target.0) };
                        Found::Pointer { to, flags: flags | self.flags, field: member.name }
                    }
                    _ => Found::Plain,
                };
                Some(Within::Found(Step::Found(found)))
            }
            _ => {
                if off + size > end && !self.flags.contains(MemFlags::UNTRUSTED) {
                    return None;
                }
                Some(Within::Found(Step::Found(Found::Number)))
            }
        }
    }
}

enum Behind {
    Number,
    Element(TypeId, u32),
}

enum Within<'a> {
    Found(Step<'a>),
    /// A structure that the access lies inside of, and where.
    Deeper(TypeId, u32),
}
