//! What a relocation is about: an access path, read in the object's types and found again in the target's.
#![forbid(unsafe_code)]

use super::{CoreError, CoreKind, compat};
use crate::btf::parse::essential_name;
use crate::btf::{Btf, MAX_DEPTH, TypeId};

/// One step of an access path.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Step {
    /// A named member, with its type in the object.
    Member { name: String, of: TypeId },
    /// An element of an array (or of the root, which is a pointer's target).
    Index(u32),
}

/// A question in the object's terms.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Spec {
    root: TypeId,
    steps: Vec<Step>,
    /// Name of the value of an enumeration.
    enumerator: Option<String>,
    place: Place,
}

/// Where the path leads in some types.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    /// The type asked about.
    pub(super) root: TypeId,
    /// Type of the field.
    pub(super) field: TypeId,
    /// Its offset from the root, in bits.
    pub(super) bit_offset: u64,
    /// Bits of a bit-field.
    pub(super) bit_size: Option<u32>,
    /// Whether the last step names a member, or none did: shifts and signs are of members.
    pub(super) member: bool,
    /// Value of an enumeration.
    pub(super) enumerator: Option<i128>,
}

impl Place {
    const fn at(root: TypeId) -> Self {
        Self { root, field: root, bit_offset: 0, bit_size: None, member: false, enumerator: None }
    }
}

impl Spec {
    /// Reads an access path.
    pub(super) fn parse(btf: &Btf, root: TypeId, access: &str, kind: CoreKind) -> Result<Self, CoreError> {
        let wrong = |what| CoreError::Access { access: access.to_owned(), root: btf.type_name(root), what };
        let mut indexes = Vec::new();
        for part in access.split(':') {
            indexes.push(part.parse::<u32>().map_err(|_| wrong("it is no list of numbers"))?);
        }
        if indexes.len() > 2 * MAX_DEPTH {
            return Err(wrong("it is too long"));
        }
        let mut spec = Self { root, steps: Vec::new(), enumerator: None, place: Place::at(root) };
        if kind.of_type() {
            return if indexes == [0] { Ok(spec) } else { Err(wrong("a type has no parts here")) };
        }
        if kind.of_enum() {
            let Some(values) = btf.type_at(btf.resolve(root)).kind.as_enum() else {
                return Err(wrong("the type is no enumeration"));
            };
            let &[index] = indexes.as_slice() else { return Err(wrong("one number is expected")) };
            let value = values.get(index as usize).ok_or_else(|| wrong("there is no such value"))?;
            spec.enumerator = Some(value.name.to_owned());
            spec.place.enumerator = Some(value.value);
            return Ok(spec);
        }
        let too_large = || wrong("the offset is too large");
        // The root is what a pointer points to: the first number is an index.
        let size = btf.size_of(root).ok_or_else(|| wrong("the type has no size"))?;
        spec.steps.push(Step::Index(indexes[0]));
        spec.place.bit_offset = bits(size, indexes[0]).ok_or_else(too_large)?;
        for &index in &indexes[1..] {
            let of = btf.resolve(spec.place.field);
            let kind = btf.type_at(of).kind;
            if let Some(members) = kind.members() {
                let member = members.get(index as usize).ok_or_else(|| wrong("there is no such member"))?;
                if !member.name.is_empty() {
                    spec.steps.push(Step::Member { name: member.name.to_owned(), of: member.of });
                }
                spec.place
                    .enter(u64::from(member.bit_offset), member.of, member.bit_size)
                    .ok_or_else(too_large)?;
                spec.place.member = !member.name.is_empty();
            } else if let Some((element, _)) = kind.as_array() {
                spec.steps.push(Step::Index(index));
                let size = btf.size_of(element).ok_or_else(|| wrong("an element has no size"))?;
                let offset = bits(size, index).ok_or_else(too_large)?;
                spec.place.enter(offset, element, None).ok_or_else(too_large)?;
                spec.place.member = false;
            } else {
                return Err(wrong("a number has no parts"));
            }
        }
        Ok(spec)
    }

    /// Where the path leads in the object's own types.
    pub(super) fn local_place(&self) -> Place {
        self.place
    }

    /// The question as text: `struct xdp_md.data`.
    pub(super) fn describe(&self, btf: &Btf) -> String {
        let mut text = btf.type_name(self.root);
        for (at, step) in self.steps.iter().enumerate() {
            match step {
                Step::Member { name, .. } => {
                    text.push('.');
                    text.push_str(name);
                }
                Step::Index(0) if at == 0 => {}
                Step::Index(index) => text.push_str(&format!("[{index}]")),
            }
        }
        if let Some(name) = &self.enumerator {
            text.push_str("::");
            text.push_str(name);
        }
        text
    }

    /// Where the path leads in a candidate of the target.
    /// `work` counts down the members looked at.
    pub(super) fn find(
        &self,
        local: &Btf,
        target: &Btf,
        candidate: TypeId,
        kind: CoreKind,
        work: &mut u64,
    ) -> Option<Place> {
        let mut place = Place::at(candidate);
        if kind == CoreKind::TypeMatches {
            return compat::matches(local, self.root, target, candidate).then_some(place);
        }
        if kind.of_type() {
            return compat::compatible(local, self.root, target, candidate).then_some(place);
        }
        if let Some(name) = &self.enumerator {
            let values = target.type_at(target.resolve(candidate)).kind.as_enum()?;
            let wanted = essential_name(name);
            let value = values.iter().find(|value| essential_name(value.name) == wanted)?;
            place.enumerator = Some(value.value);
            return Some(place);
        }
        let mut path = self.steps.iter();
        if let Some(Step::Index(index)) = path.next() {
            place.bit_offset = bits(target.size_of(candidate)?, *index)?;
        }
        for (at, step) in path.enumerate() {
            let of = target.resolve(place.field);
            match step {
                Step::Member { name, of: local_of } => {
                    let last = at + 2 == self.steps.len();
                    let found = find_member(target, of, name, 0, work)?;
                    place.enter(found.bit_offset, found.field, found.bit_size)?;
                    place.member = true;
                    // Bit-fields may become plain numbers and the other way round.
                    let plain = !last || place.bit_size.is_none();
                    if plain && !compat::fields(local, *local_of, target, found.field) {
                        return None;
                    }
                }
                Step::Index(index) => {
                    let (element, len) = target.type_at(of).kind.as_array()?;
                    // An array without length at the end of a structure may be as long as it likes.
                    if *index >= len && len != 0 {
                        return None;
                    }
                    place.enter(bits(target.size_of(element)?, *index)?, element, None)?;
                    place.member = false;
                }
            }
        }
        Some(place)
    }
}

impl Place {
    fn enter(&mut self, bits: u64, of: TypeId, bit_size: Option<u32>) -> Option<()> {
        self.bit_offset = self.bit_offset.checked_add(bits)?;
        self.field = of;
        self.bit_size = bit_size;
        Some(())
    }
}

/// Bits of `count` things of `size` bytes.
fn bits(size: u64, count: u32) -> Option<u64> {
    size.checked_mul(u64::from(count))?.checked_mul(8)
}

struct Found {
    field: TypeId,
    bit_offset: u64,
    bit_size: Option<u32>,
}

/// A member by name, also inside of anonymous structures and unions.
fn find_member(btf: &Btf, of: TypeId, name: &str, depth: usize, work: &mut u64) -> Option<Found> {
    if depth > MAX_DEPTH {
        return None;
    }
    let members = btf.type_at(of).kind.members()?;
    *work = work.saturating_sub(members.len() as u64 + 1);
    if *work == 0 {
        return None;
    }
    let here = members.iter().find(|member| member.name == name);
    if let Some(member) = here {
        return Some(Found {
            field: member.of,
            bit_offset: u64::from(member.bit_offset),
            bit_size: member.bit_size,
        });
    }
    for member in members.iter().filter(|member| member.name.is_empty()) {
        if let Some(found) = find_member(btf, btf.resolve(member.of), name, depth + 1, work) {
            return Some(Found { bit_offset: found.bit_offset + u64::from(member.bit_offset), ..found });
        }
    }
    None
}
