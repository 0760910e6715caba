//! CO-RE: instructions adapted to the types of where they run.
//!
//! In: records of `.BTF.ext` over an object's types, and [`CoreTarget`]s. Out: patched slots and a [`CoreOutcome`]
//! for each record. A question without an answer is no error: what asks whether something exists becomes 0, what
//! needs it becomes a call of a helper that does not exist (a dead branch may hold it; a live one is rejected).
#![forbid(unsafe_code)]

mod compat;
mod patch;
mod spec;
mod targets;
mod value;

use std::collections::HashMap;
use std::sync::Arc;

use super::ext::CoreRecord;
use super::{Btf, TypeId};
use crate::isa::{InsnId, Slot};
use spec::Spec;
use value::Answer;

pub use patch::POISON;
pub use targets::{CoreSource, CoreTarget, KernelTypes};

/// Members looked at for one program; real ones need some thousands.
const MAX_WORK: u64 = 100_000_000;
/// Scans over all types of a target (half a millisecond over a kernel's) before an index of their names (a
/// hundred) pays.
const MAX_SCANS: usize = 100;

/// What a relocation asks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CoreKind {
    /// Byte offset of a field.
    FieldByteOffset,
    /// Size of a field in bytes.
    FieldByteSize,
    /// Whether a field exists.
    FieldExists,
    /// Whether a field is signed.
    FieldSigned,
    /// Left shift that brings a bit-field to the top of a 64-bit register.
    FieldLshift,
    /// Right shift that then brings it down.
    FieldRshift,
    /// Id of a type of the object.
    TypeIdLocal,
    /// Id of the target's type.
    TypeIdTarget,
    /// Whether a type exists.
    TypeExists,
    /// Size of a type in bytes.
    TypeSize,
    /// Whether a value of an enumeration exists.
    EnumValueExists,
    /// A value of an enumeration.
    EnumValue,
    /// Whether a type is the same, member by member.
    TypeMatches,
}

impl CoreKind {
    /// All of them, by number.
    pub const ALL: [Self; 13] = [
        Self::FieldByteOffset,
        Self::FieldByteSize,
        Self::FieldExists,
        Self::FieldSigned,
        Self::FieldLshift,
        Self::FieldRshift,
        Self::TypeIdLocal,
        Self::TypeIdTarget,
        Self::TypeExists,
        Self::TypeSize,
        Self::EnumValueExists,
        Self::EnumValue,
        Self::TypeMatches,
    ];
    /// By its number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(number as usize).copied()
    }
    /// Name as compilers and loaders print it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FieldByteOffset => "byte_off",
            Self::FieldByteSize => "byte_sz",
            Self::FieldExists => "field_exists",
            Self::FieldSigned => "signed",
            Self::FieldLshift => "lshift_u64",
            Self::FieldRshift => "rshift_u64",
            Self::TypeIdLocal => "local_type_id",
            Self::TypeIdTarget => "target_type_id",
            Self::TypeExists => "type_exists",
            Self::TypeSize => "type_size",
            Self::EnumValueExists => "enumval_exists",
            Self::EnumValue => "enumval_value",
            Self::TypeMatches => "type_matches",
        }
    }
    /// Whether it asks about a whole type.
    const fn of_type(self) -> bool {
        match self {
            Self::TypeIdLocal
            | Self::TypeIdTarget
            | Self::TypeExists
            | Self::TypeSize
            | Self::TypeMatches => true,
            Self::FieldByteOffset
            | Self::FieldByteSize
            | Self::FieldExists
            | Self::FieldSigned
            | Self::FieldLshift
            | Self::FieldRshift
            | Self::EnumValueExists
            | Self::EnumValue => false,
        }
    }
    /// Whether it asks about a value of an enumeration.
    const fn of_enum(self) -> bool {
        matches!(self, Self::EnumValueExists | Self::EnumValue)
    }
    /// What it becomes when the target has no such thing.
    const fn without_target(self) -> Option<u64> {
        match self {
            Self::FieldExists
            | Self::EnumValueExists
            | Self::TypeIdTarget
            | Self::TypeExists
            | Self::TypeSize
            | Self::TypeMatches => Some(0),
            Self::FieldByteOffset
            | Self::FieldByteSize
            | Self::FieldSigned
            | Self::FieldLshift
            | Self::FieldRshift
            | Self::TypeIdLocal
            | Self::EnumValue => None,
        }
    }
}

/// What became of an instruction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CoreResult {
    /// It holds the target's value.
    Resolved {
        /// What the compiler wrote.
        from: u64,
        /// What stands there now.
        to: u64,
    },
    /// It became a call that no program may reach.
    Poisoned {
        /// Why.
        why: String,
    },
}

/// A relocation and what became of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CoreOutcome {
    /// The instruction.
    pub insn: InsnId,
    /// What was asked.
    pub kind: CoreKind,
    /// About what: `struct xdp_md.data`.
    pub subject: String,
    /// Which types answered; none when nobody knew the root type.
    pub source: Option<CoreSource>,
    /// The answer.
    pub result: CoreResult,
}

/// Why a relocation record makes no sense.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CoreError {
    /// A kind that we do not know.
    #[error("kind {0} is unknown")]
    UnknownKind(u32),
    /// The root type does not exist.
    #[error("root type {0} does not exist")]
    NoRoot(u32),
    /// The access string does not fit the type.
    #[error("access {access:?} does not fit {root}: {what}")]
    Access {
        /// Access string.
        access: String,
        /// Root type.
        root: String,
        /// What is wrong.
        what: &'static str,
    },
    /// Two types of the target fit and give different answers.
    #[error("{subject} has different answers in types {first} and {second} of the target")]
    Ambiguous {
        /// About what.
        subject: String,
        /// Type id.
        first: u32,
        /// Type id.
        second: u32,
    },
    /// More work than any object needs.
    #[error("relocations need more than {MAX_WORK} steps")]
    TooMuchWork,
    /// The instruction cannot hold the answer.
    #[error("{subject}: {what}")]
    Patch {
        /// About what.
        subject: String,
        /// What is wrong.
        what: String,
    },
}

/// Applies relocations of one object.
pub struct Relocator<'a> {
    local: &'a Arc<Btf>,
    targets: &'a [CoreTarget],
    /// The types of each target, once asked for; `None` in it when they are not readable.
    types: Vec<Option<Option<Arc<Btf>>>>,
    /// Ids of a target's types by essential name.
    candidates: HashMap<(usize, String), Arc<[TypeId]>>,
    /// Names of a target's types, once it was scanned too often.
    indexes: HashMap<usize, Arc<HashMap<String, Vec<TypeId>>>>,
    /// Scans of all types so far.
    scans: usize,
    /// Members that may still be looked at.
    work: u64,
    /// Answers by root, access and kind: the same question is asked many times.
    answers: HashMap<(TypeId, u32, u32), Arc<Answered>>,
}

/// A question with its answer.
struct Answered {
    kind: CoreKind,
    subject: String,
    local: Option<Answer>,
    target: Option<Answer>,
    source: Option<CoreSource>,
}

impl<'a> Relocator<'a> {
    /// For an object with types `local`, which the targets are asked about in their order.
    #[must_use]
    pub fn new(local: &'a Arc<Btf>, targets: &'a [CoreTarget]) -> Self {
        Self {
            local,
            targets,
            types: vec![None; targets.len()],
            candidates: HashMap::new(),
            indexes: HashMap::new(),
            scans: 0,
            work: MAX_WORK,
            answers: HashMap::new(),
        }
    }

    /// Applies one record to the instruction at the start of `slots`; `number` goes into a poisoned one.
    /// The outcome names no instruction yet.
    ///
    /// # Errors
    /// The record makes no sense.
    pub fn apply(
        &mut self,
        record: &CoreRecord,
        number: u32,
        slots: &mut [Slot],
    ) -> Result<CoreOutcome, CoreError> {
        let key = (record.root, record.access, record.kind);
        let answered = match self.answers.get(&key) {
            Some(answered) => Arc::clone(answered),
            None => {
                let answered = Arc::new(self.answer(record)?);
                self.answers.insert(key, Arc::clone(&answered));
                answered
            }
        };
        let patched = patch::patch(answered.kind, answered.local, answered.target, number, slots);
        let result = patched.map_err(|what| CoreError::Patch { subject: answered.subject.clone(), what })?;
        Ok(CoreOutcome {
            insn: InsnId(0),
            kind: answered.kind,
            subject: answered.subject.clone(),
            source: answered.source.clone(),
            result,
        })
    }

    fn answer(&mut self, record: &CoreRecord) -> Result<Answered, CoreError> {
        let kind = CoreKind::from_number(record.kind).ok_or(CoreError::UnknownKind(record.kind))?;
        let local = Arc::clone(self.local);
        if record.root == TypeId::VOID || local.get(record.root).is_none() {
            return Err(CoreError::NoRoot(record.root.0));
        }
        let spec = Spec::parse(&local, record.root, local.string(record.access), kind)?;
        let subject = spec.describe(&local);
        let own = value::of(&local, &spec, kind, &spec.local_place());
        if kind == CoreKind::TypeIdLocal {
            // A linker of objects renumbers types and leaves what the compiler wrote.
            let answer = Some(Answer::unchecked(u64::from(record.root.0)));
            return Ok(Answered {
                kind,
                subject,
                local: answer,
                target: answer,
                source: Some(CoreSource::Own),
            });
        }
        let mut source = None;
        let mut found: Option<(TypeId, Answer)> = None;
        let mut order: Vec<usize> = (0..self.targets.len()).collect();
        if kind == CoreKind::TypeIdTarget {
            // The number is for the kernel alone.
            order.sort_by_key(|index| !matches!(self.targets[*index], CoreTarget::Kernel(_)));
        }
        for index in order {
            let candidates = self.candidates(index, record.root);
            let Some(types) = self.types(index).filter(|_| !candidates.is_empty()) else { continue };
            source = Some(self.targets[index].source());
            for &candidate in &*candidates {
                let place = spec.find(&local, &types, candidate, kind, &mut self.work);
                if self.work == 0 {
                    return Err(CoreError::TooMuchWork);
                }
                let Some(place) = place else { continue };
                let Some(answer) = value::of(&types, &spec, kind, &place) else { continue };
                match found {
                    Some((first, known)) if known.value != answer.value => {
                        return Err(CoreError::Ambiguous { subject, first: first.0, second: candidate.0 });
                    }
                    Some(_) => {}
                    None => found = Some((candidate, answer)),
                }
            }
            break;
        }
        let mut target = found.map(|(_, answer)| answer);
        if target.is_none() {
            target = kind.without_target().map(Answer::number);
        }
        // Two answers about one field, of which only the sizes differ, need a check of the sizes.
        if let (Some(own), Some(target)) = (own, &mut target) {
            target.resizable = Answer::resizable(&own, target);
        }
        Ok(Answered { kind, subject, local: own, target, source })
    }

    /// The types of a target, read when first needed.
    fn types(&mut self, index: usize) -> Option<Arc<Btf>> {
        let (target, local) = (&self.targets[index], self.local);
        self.types[index].get_or_insert_with(|| target.types(local)).clone()
    }

    /// Types of a target that may stand for a type of the object.
    fn candidates(&mut self, index: usize, root: TypeId) -> Arc<[TypeId]> {
        let ty = self.local.type_at(root);
        let essential = super::parse::essential_name(ty.name);
        // An object's own type without flavour stands for itself, whatever else has its name.
        if matches!(self.targets[index], CoreTarget::Own) && essential == ty.name {
            return [root].into();
        }
        if essential.is_empty() {
            return [].into();
        }
        let Some(types) = self.types(index) else { return [].into() };
        let key = (index, essential.to_owned());
        let named = match self.candidates.get(&key) {
            Some(named) => Arc::clone(named),
            None => {
                let named = self.named(index, &types, essential);
                self.candidates.insert(key, Arc::clone(&named));
                named
            }
        };
        named.iter().copied().filter(|&id| compat::same_kind(ty.kind, types.type_at(id).kind)).collect()
    }

    /// Types of that name up to a flavour; the object's own only without one.
    fn named(&mut self, index: usize, types: &Btf, name: &str) -> Arc<[TypeId]> {
        let exact = matches!(self.targets[index], CoreTarget::Own);
        self.scans += 1;
        if self.scans > MAX_SCANS {
            let names = self.indexes.entry(index).or_insert_with(|| Arc::new(index_names(types, exact)));
            return names.get(name).map(|ids| ids.as_slice()).unwrap_or_default().into();
        }
        if exact { types.named(name).collect() } else { types.named_essentially(name).collect() }
    }
}

fn index_names(types: &Btf, exact: bool) -> HashMap<String, Vec<TypeId>> {
    let mut names: HashMap<String, Vec<TypeId>> = HashMap::new();
    for ty in types.iter() {
        let name = if exact { ty.name } else { super::parse::essential_name(ty.name) };
        if !name.is_empty() {
            names.entry(name.to_owned()).or_default().push(ty.id);
        }
    }
    names
}
