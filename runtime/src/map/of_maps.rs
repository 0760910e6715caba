//! `array_of_maps`, `hash_of_maps`: maps by index or key, whose lookup gives a program another map.
//!
//! In: [`MapDef`] with the definition of the inner maps. User space has no map descriptors, so inner maps come in
//! through [`MapOfMaps::set`]; bytes that claim to be a descriptor are a bad one. What a program finds is the address of
//! a [`MapHandle`], as in a map register. A handle that was replaced or deleted stays until the outer map is dropped,
//! because a running program may still use it.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::array::{index_of, next_index};
use super::create::slab;
use super::hash::HashMap;
use super::{
    CreateError, Map, MapDef, MapError, MapFlags, MapHandle, MapKind, MapState, UpdateFlags, ValuePtr,
    update_flags,
};
use crate::mem::{Bytes, Slab};
use crate::sync::atomic::Ordering::{Acquire, Release};

/// An `array_of_maps` or `hash_of_maps`.
pub struct MapOfMaps {
    state: MapState,
    /// Addresses of handles.
    slots: Slots,
    handles: Handles,
    present: Mutex<Present>,
}

/// Where the addresses are that programs find.
enum Slots {
    /// 8 bytes an index, 0: empty.
    Array(Slab),
    /// Values of 8 bytes.
    Hash(Box<HashMap>),
}

/// The inner maps as user space sees them.
#[derive(Default)]
struct Present {
    maps: BTreeMap<Vec<u8>, Arc<dyn Map>>,
    /// Handles made so far.
    handles: u32,
}

/// All handles ever made, at fixed addresses: segment `i` has `2^i` of them.
#[derive(Default)]
struct Handles {
    segments: [OnceLock<Box<[OnceLock<MapHandle>]>>; 32],
}

impl Handles {
    /// Keeps handle number `n`; its address.
    fn keep(&self, n: u32, handle: MapHandle) -> Option<u64> {
        let segment = n.checked_add(1)?.ilog2();
        let slots = self.segments[segment as usize]
            .get_or_init(|| (0..1_u32 << segment).map(|_| OnceLock::new()).collect());
        let kept = slots.get((n + 1 - (1 << segment)) as usize)?.get_or_init(|| handle);
        Some(std::ptr::from_ref(kept).expose_provenance() as u64)
    }

    fn iter(&self) -> impl Iterator<Item = &MapHandle> {
        let segments = self.segments.iter().map_while(OnceLock::get);
        segments.flat_map(|slots| slots.iter().map_while(OnceLock::get))
    }
}

impl MapOfMaps {
    /// An empty map.
    ///
    /// # Errors
    /// [`CreateError::NoMemory`].
    pub(super) fn new(def: &MapDef, cpus: u32) -> Result<Self, CreateError> {
        let slots = if def.kind == MapKind::ArrayOfMaps {
            Slots::Array(slab(def.kind, Some(8 * u64::from(def.max_entries)))?)
        } else {
            Slots::Hash(Box::new(HashMap::new(&MapDef { value_size: 8, ..def.clone() }, cpus)?))
        };
        Ok(Self {
            state: MapState::new(def, cpus),
            slots,
            handles: Handles::default(),
            present: Mutex::default(),
        })
    }

    /// Stores an inner map.
    ///
    /// # Errors
    /// [`MapError::Invalid`] if it differs from the definition of the inner maps; else as the kernel does for the kind.
    pub fn set(&self, key: &[u8], map: Arc<dyn Map>, flags: UpdateFlags) -> Result<(), MapError> {
        self.check_update(key, flags)?;
        let inner = self.def().inner.as_deref().ok_or(MapError::Invalid)?;
        if !fits(inner, map.def()) {
            return Err(MapError::Invalid);
        }
        let mut present = self.present();
        let handle = MapHandle::new(map.clone());
        // A key that the table refuses costs a handle that nobody sees.
        let address = self.handles.keep(present.handles, handle).ok_or(MapError::NoMemory)?;
        present.handles += 1;
        match &self.slots {
            Slots::Array(slots) => {
                let index = index_of(key).ok_or(MapError::Invalid)?;
                slots.atomic_u64(8 * u64::from(index)).store(address, Release);
            }
            Slots::Hash(table) => table.update(0, key, Bytes::from(&address.to_ne_bytes()), flags)?,
        }
        present.maps.insert(key.to_vec(), map);
        Ok(())
    }

    /// The inner map at `key`.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<Arc<dyn Map>> {
        self.present().maps.get(key).cloned()
    }

    /// Handles of all inner maps there ever were: for helpers that are given an address only.
    pub fn handles(&self) -> impl Iterator<Item = &MapHandle> {
        self.handles.iter()
    }

    fn check_update(&self, key: &[u8], flags: UpdateFlags) -> Result<(), MapError> {
        match &self.slots {
            Slots::Array(_) if flags != update_flags::ANY => Err(MapError::Invalid),
            Slots::Array(_) => match index_of(key).ok_or(MapError::Invalid)? {
                index if index < self.def().max_entries => Ok(()),
                _ => Err(MapError::TooBig),
            },
            Slots::Hash(_) => Ok(()),
        }
    }

    fn present(&self) -> MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a map may stand where `inner` is defined.
fn fits(inner: &MapDef, map: &MapDef) -> bool {
    let same = inner.kind == map.kind
        && inner.key_size == map.key_size
        && inner.value_size == map.value_size
        && inner.flags == map.flags
        && inner.fields == map.fields;
    // Generated code knows the length of an array, unless it was told not to rely on it.
    let fixed = inner.kind == MapKind::Array && !inner.flags.contains(MapFlags::INNER_MAP);
    same && (!fixed || inner.max_entries == map.max_entries)
}

impl Map for MapOfMaps {
    fn state(&self) -> &MapState {
        &self.state
    }

    /// Address of the [`MapHandle`] of an inner map.
    fn lookup(&self, cpu: u32, key: &[u8]) -> Option<ValuePtr> {
        let address = match &self.slots {
            Slots::Array(slots) => {
                let index = index_of(key).filter(|&index| index < self.def().max_entries)?;
                slots.atomic_u64(8 * u64::from(index)).load(Acquire)
            }
            Slots::Hash(table) => {
                let value = table.lookup(cpu, key)?;
                let slab = table.memory(value.0)?;
                slab.atomic_u64(slab.offset_of(value.0, 8)?).load(Acquire)
            }
        };
        (address != 0).then_some(ValuePtr(address))
    }

    /// Programs cannot update these maps.
    fn update(&self, _cpu: u32, _key: &[u8], _value: Bytes<'_>, _flags: UpdateFlags) -> Result<(), MapError> {
        Err(MapError::NotSupported)
    }

    fn delete(&self, key: &[u8]) -> Result<(), MapError> {
        let mut present = self.present();
        match &self.slots {
            Slots::Array(slots) => {
                let index = index_of(key).ok_or(MapError::Invalid)?;
                if index >= self.def().max_entries {
                    return Err(MapError::TooBig);
                }
                slots.atomic_u64(8 * u64::from(index)).store(0, Release);
            }
            Slots::Hash(table) => table.delete(key)?,
        }
        present.maps.remove(key).map(drop).ok_or(MapError::NotFound)
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, MapError> {
        match &self.slots {
            Slots::Array(_) => next_index(key, self.def().max_entries),
            Slots::Hash(table) => table.next_key(key),
        }
    }

    /// The id of the inner map.
    fn read_value(&self, key: &[u8], _flags: UpdateFlags) -> Result<Vec<u8>, MapError> {
        let map = self.get(key).ok_or(MapError::NotFound)?;
        Ok(map.state().id().to_ne_bytes().to_vec())
    }

    fn write_value(&self, key: &[u8], _value: &[u8], flags: UpdateFlags) -> Result<(), MapError> {
        self.check_update(key, flags)?;
        Err(MapError::BadDescriptor)
    }

    /// Programs have no pointers into these maps, but into the values of inner ones.
    fn contains(&self, address: u64, len: u64) -> bool {
        self.handles().any(|handle| handle.map.contains(address, len))
    }

    fn memory(&self, address: u64) -> Option<&Slab> {
        self.handles().find_map(|handle| handle.map.memory(address))
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}
