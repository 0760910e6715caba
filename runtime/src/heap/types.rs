//! Types of objects: their size, and which fields of them are special.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};

use super::pieces::heap;
use crate::map::SpecialField;

/// What the heap needs to know of a type.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct ObjectType {
    /// Bytes.
    pub size: u32,
    /// Fields that programs reach only through helpers, by ascending offset.
    pub fields: Vec<SpecialField>,
}

/// A type that the heap knows, and its number there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KnownType {
    pub(crate) number: u32,
    pub(crate) of: &'static ObjectType,
}

/// The types of a program by the numbers that it gives to `bpf_obj_new`: those of its BTF.
#[derive(Clone, Debug, Default)]
pub struct ObjectTypes {
    by_id: BTreeMap<u32, KnownType>,
}

impl ObjectTypes {
    /// No types.
    pub const NONE: &'static Self = &Self { by_id: BTreeMap::new() };

    /// The types with their numbers. The heap remembers them for good, each one once.
    #[must_use]
    pub fn new(types: impl IntoIterator<Item = (u32, ObjectType)>) -> Self {
        let known = |(id, of)| Some((id, heap()?.know(of)));
        Self { by_id: types.into_iter().filter_map(known).collect() }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Objects of these types (and of others that look the same) that are there now, in the whole process.
    #[must_use]
    pub fn alive(&self) -> usize {
        let numbers: BTreeSet<u32> = self.by_id.values().map(|known| known.number).collect();
        heap().map_or(0, |heap| heap.count(|number| numbers.contains(&number)))
    }

    pub(crate) fn get(&self, id: u64) -> Option<KnownType> {
        self.by_id.get(&u32::try_from(id).ok()?).copied()
    }
}
