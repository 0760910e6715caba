//! Objects of a runtime: numbers, names, how many hold them; maps that processes share.
//!
//! In: live maps. Out: [`Objects`], which finds them again by number and tells of each what the kernel's
//! `BPF_OBJ_GET_INFO_BY_FD` tells, and maps behind files ([`pin`]) and descriptors ([`share`]). A registered map is not
//! kept alive: its number is gone with its last owner, and never given again. Not here: programs (engines number them).
#![forbid(unsafe_code)]

mod header;
pub mod pin;
pub mod share;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::map::{Map, MapFlags, MapKind};

pub use header::SharedError;

/// What is known of a map.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MapInfo {
    /// Number.
    pub id: u32,
    /// Name, at most 15 bytes of it, as the kernel keeps it.
    pub name: String,
    /// Type.
    pub kind: MapKind,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Capacity.
    pub max_entries: u32,
    /// Flags it was made with.
    pub flags: MapFlags,
    /// Whether user space may no longer write.
    pub frozen: bool,
    /// Programs, handles and maps that hold it.
    pub references: usize,
}

/// The maps of a runtime by number.
#[derive(Default)]
pub struct Objects {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    given: u32,
    maps: BTreeMap<u32, Weak<dyn Map>>,
}

impl Objects {
    /// Gives a map a number, which it keeps; one that has a number already keeps that.
    pub fn register(&self, map: &Arc<dyn Map>) -> u32 {
        let mut state = self.state();
        if map.state().id() != 0 {
            return map.state().id();
        }
        state.maps.retain(|_, held| held.strong_count() > 0);
        state.given = state.given.wrapping_add(1).max(1);
        let id = state.given;
        map.state().set_id(id);
        state.maps.insert(id, Arc::downgrade(map));
        id
    }

    /// The map of a number (`BPF_MAP_GET_FD_BY_ID`).
    #[must_use]
    pub fn map(&self, id: u32) -> Option<Arc<dyn Map>> {
        self.state().maps.get(&id)?.upgrade()
    }

    /// The number after `id` (0: the first) of a map that is still there (`BPF_MAP_GET_NEXT_ID`).
    #[must_use]
    pub fn next_id(&self, id: u32) -> Option<u32> {
        let state = self.state();
        let mut after = state.maps.range(id.checked_add(1)?..);
        after.find(|(_, held)| held.strong_count() > 0).map(|(&id, _)| id)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Objects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Objects").field("maps", &self.state().maps.len()).finish_non_exhaustive()
    }
}

/// What is known of a map (`BPF_OBJ_GET_INFO_BY_FD`).
#[must_use]
pub fn info(map: &Arc<dyn Map>) -> MapInfo {
    /// `BPF_OBJ_NAME_LEN`, without the end.
    const NAME: usize = 15;
    let def = map.def();
    let end = def.name.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|&end| end <= NAME).last();
    MapInfo {
        id: map.state().id(),
        name: def.name[..end.unwrap_or(0)].to_owned(),
        kind: def.kind,
        key_size: def.key_size,
        value_size: def.value_size,
        max_entries: def.max_entries,
        flags: def.flags,
        frozen: map.state().is_frozen(),
        references: Arc::strong_count(map),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::{MapDef, create};

    #[test]
    fn numbers_lead_to_maps_as_long_as_they_live() {
        let objects = Objects::default();
        let make = |name| create(&MapDef::new(name, MapKind::Array, 4, 8, 1), 1).unwrap();
        let (first, second) = (make("a_name_that_is_far_too_long"), make("short"));
        assert_eq!((objects.register(&first), objects.register(&second)), (1, 2));
        assert_eq!(objects.register(&first), 1);
        assert_eq!(info(&first).name, "a_name_that_is_");
        assert_eq!((info(&second).name.as_str(), info(&second).references), ("short", 1));
        assert_eq!(objects.map(2).map(|map| map.state().id()), Some(2));
        assert_eq!((objects.next_id(0), objects.next_id(1), objects.next_id(2)), (Some(1), Some(2), None));
        drop(first);
        assert!(objects.map(1).is_none());
        assert_eq!(objects.next_id(0), Some(2));
        assert_eq!(objects.register(&make("third")), 3);
        assert_eq!(objects.next_id(u32::MAX), None);
    }
}
