//! `cgroup_array`: cgroups by index, for questions whether a task is below one.
//!
//! User space has no descriptors of cgroups: they come in by their ids, through [`CgroupArrayMap::set`].
#![forbid(unsafe_code)]

use super::array::{index_of, next_index};
use super::create::slab;
use super::{CreateError, Map, MapDef, MapError, MapState, UpdateFlags, ValuePtr, update_flags};
use crate::mem::{Bytes, Slab};
use crate::sync::atomic::Ordering::Relaxed;

/// A `cgroup_array` map.
pub struct CgroupArrayMap {
    state: MapState,
    /// Ids, 0: empty.
    slots: Slab,
}

impl CgroupArrayMap {
    /// All slots empty.
    ///
    /// # Errors
    /// [`CreateError::NoMemory`].
    pub(super) fn new(def: &MapDef, cpus: u32) -> Result<Self, CreateError> {
        let slots = slab(def.kind, Some(8 * u64::from(def.max_entries)))?;
        Ok(Self { state: MapState::new(def, cpus), slots })
    }

    /// Puts the cgroup of an id (not 0) into a slot.
    ///
    /// # Errors
    /// [`MapError::TooBig`] past the end.
    pub fn set(&self, index: u32, id: u64) -> Result<(), MapError> {
        if index >= self.def().max_entries {
            return Err(MapError::TooBig);
        }
        self.slots.atomic_u64(8 * u64::from(index)).store(id, Relaxed);
        Ok(())
    }

    /// Id of the cgroup in a slot.
    ///
    /// # Errors
    /// [`MapError::TooBig`] past the end, [`MapError::Again`] for an empty slot, as the kernel tells a program.
    pub fn get(&self, index: u32) -> Result<u64, MapError> {
        if index >= self.def().max_entries {
            return Err(MapError::TooBig);
        }
        match self.slots.atomic_u64(8 * u64::from(index)).load(Relaxed) {
            0 => Err(MapError::Again),
            id => Ok(id),
        }
    }
}

impl Map for CgroupArrayMap {
    fn state(&self) -> &MapState {
        &self.state
    }

    fn lookup(&self, _cpu: u32, _key: &[u8]) -> Option<ValuePtr> {
        None
    }

    fn update(&self, _cpu: u32, _key: &[u8], _value: Bytes<'_>, _flags: UpdateFlags) -> Result<(), MapError> {
        Err(MapError::NotSupported)
    }

    fn delete(&self, key: &[u8]) -> Result<(), MapError> {
        let index = index_of(key).ok_or(MapError::Invalid)?;
        match self.get(index) {
            Ok(_) => self.set(index, 0),
            Err(MapError::Again) => Err(MapError::NotFound),
            Err(error) => Err(error),
        }
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, MapError> {
        next_index(key, self.def().max_entries)
    }

    fn read_value(&self, _key: &[u8], _flags: UpdateFlags) -> Result<Vec<u8>, MapError> {
        Err(MapError::NotSupported)
    }

    fn write_value(&self, key: &[u8], _value: &[u8], flags: UpdateFlags) -> Result<(), MapError> {
        if flags != update_flags::ANY {
            return Err(MapError::Invalid);
        }
        let index = index_of(key).ok_or(MapError::Invalid)?;
        if index >= self.def().max_entries { Err(MapError::TooBig) } else { Err(MapError::BadDescriptor) }
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}
