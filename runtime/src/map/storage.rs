//! `sk_storage`, `task_storage`, `inode_storage`, `cgrp_storage`: a value for each object that has one.
//!
//! In: [`MapDef`]. Objects are known by the number that the embedder gives them ([`SocketInfo::handle`] for sockets);
//! where the kernel takes a descriptor of an object, user space gives that number. Values are made when they are asked
//! for and lie in segments that grow, so that an address stays valid while the map lives. Unlike in the kernel an
//! update changes the value in place.
//!
//! [`SocketInfo::handle`]: crate::environment::SocketInfo::handle
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::array::index_of;
use super::{Map, MapDef, MapError, MapState, UpdateFlags, ValuePtr, update_flags};
use crate::mem::{Bytes, Slab};

/// A storage map.
pub struct StorageMap {
    state: MapState,
    /// Segment `i` has `2^i` values.
    segments: [OnceLock<Slab>; 32],
    objects: Mutex<Objects>,
}

/// Which value belongs to whom.
#[derive(Default)]
struct Objects {
    values: BTreeMap<u32, u32>,
    free: Vec<u32>,
    /// Values handed out at least once.
    made: u32,
}

impl StorageMap {
    pub(super) fn new(def: &MapDef, cpus: u32) -> Self {
        Self {
            state: MapState::new(def, cpus),
            segments: std::array::from_fn(|_| OnceLock::new()),
            objects: Mutex::default(),
        }
    }

    /// The value of an object.
    #[must_use]
    pub fn get(&self, object: u32) -> Option<ValuePtr> {
        let index = *self.objects().values.get(&object)?;
        let (slab, offset) = self.place(index)?;
        Some(ValuePtr(slab.address() + offset))
    }

    /// The value of an object, which is made if there is none: with these bytes, or zeros.
    ///
    /// # Errors
    /// [`MapError::NoMemory`].
    pub fn get_or_create(&self, object: u32, bytes: Option<Bytes<'_>>) -> Result<ValuePtr, MapError> {
        let mut objects = self.objects();
        let index = match objects.values.get(&object) {
            Some(&index) => index,
            None => self.insert(&mut objects, object, bytes)?,
        };
        let (slab, offset) = self.place(index).ok_or(MapError::NoMemory)?;
        Ok(ValuePtr(slab.address() + offset))
    }

    /// Takes the value of an object away.
    ///
    /// # Errors
    /// [`MapError::NotFound`].
    pub fn remove(&self, object: u32) -> Result<(), MapError> {
        let mut objects = self.objects();
        let index = objects.values.remove(&object).ok_or(MapError::NotFound)?;
        if let Some((slab, offset)) = self.place(index) {
            self.state.layout().retire(slab, offset);
        }
        objects.free.push(index);
        Ok(())
    }

    fn insert(&self, objects: &mut Objects, object: u32, bytes: Option<Bytes<'_>>) -> Result<u32, MapError> {
        let index = match objects.free.pop() {
            Some(index) => index,
            None => {
                let index = objects.made;
                self.grow(index)?;
                objects.made = index.checked_add(1).ok_or(MapError::NoMemory)?;
                index
            }
        };
        let (slab, offset) = self.place(index).ok_or(MapError::NoMemory)?;
        let layout = self.state.layout();
        match bytes {
            Some(bytes) => layout.write_new(slab, offset, bytes),
            None => slab.fill(offset, layout.size(), 0),
        }
        objects.values.insert(object, index);
        Ok(index)
    }

    /// Makes the segment of a value, if there is none.
    fn grow(&self, index: u32) -> Result<(), MapError> {
        let segment = index.checked_add(1).ok_or(MapError::NoMemory)?.ilog2();
        let place = &self.segments[segment as usize];
        if place.get().is_none() {
            let bytes = self.state.layout().stride().checked_mul(1 << segment).ok_or(MapError::NoMemory)?;
            let slab = Slab::new(bytes).map_err(|_| MapError::NoMemory)?;
            // Under the lock of `objects`: nobody else makes one.
            place.get_or_init(|| slab);
        }
        Ok(())
    }

    fn place(&self, index: u32) -> Option<(&Slab, u64)> {
        let segment = index.checked_add(1)?.ilog2();
        let inside = u64::from(index + 1 - (1 << segment));
        Some((self.segments[segment as usize].get()?, inside * self.state.layout().stride()))
    }

    fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for StorageMap {
    fn drop(&mut self) {
        let layout = self.state.layout();
        for slab in self.segments.iter().map_while(OnceLock::get) {
            layout.retire_all(slab, 0, layout.stride());
        }
    }
}

impl Map for StorageMap {
    fn state(&self) -> &MapState {
        &self.state
    }

    /// Programs reach values through their objects only.
    fn lookup(&self, _cpu: u32, _key: &[u8]) -> Option<ValuePtr> {
        None
    }

    fn update(&self, _cpu: u32, _key: &[u8], _value: Bytes<'_>, _flags: UpdateFlags) -> Result<(), MapError> {
        Err(MapError::NotSupported)
    }

    fn delete(&self, key: &[u8]) -> Result<(), MapError> {
        self.remove(index_of(key).ok_or(MapError::Invalid)?)
    }

    fn next_key(&self, _key: Option<&[u8]>) -> Result<Vec<u8>, MapError> {
        Err(MapError::NotSupported)
    }

    fn read_value(&self, key: &[u8], flags: UpdateFlags) -> Result<Vec<u8>, MapError> {
        let object = index_of(key).ok_or(MapError::Invalid)?;
        let index = *self.objects().values.get(&object).ok_or(MapError::NotFound)?;
        let (slab, offset) = self.place(index).ok_or(MapError::NotFound)?;
        Ok(self.state.layout().to_vec(slab, offset, flags))
    }

    fn write_value(&self, key: &[u8], value: &[u8], flags: UpdateFlags) -> Result<(), MapError> {
        let layout = self.state.layout();
        if value.len() as u64 != layout.size() {
            return Err(MapError::Invalid);
        }
        layout.check_flags(flags)?;
        let object = index_of(key).ok_or(MapError::Invalid)?;
        let mut objects = self.objects();
        let Some(&index) = objects.values.get(&object) else {
            if flags & update_flags::EXIST != 0 {
                return Err(MapError::NotFound);
            }
            return self.insert(&mut objects, object, Some(Bytes::from(value))).map(drop);
        };
        if flags & update_flags::NOEXIST != 0 {
            return Err(MapError::Exists);
        }
        let (slab, offset) = self.place(index).ok_or(MapError::NotFound)?;
        if flags & update_flags::LOCK == 0 {
            layout.write(slab, offset, Bytes::from(value));
        } else {
            layout.write_locked(slab, offset, Bytes::from(value));
        }
        Ok(())
    }

    fn contains(&self, address: u64, len: u64) -> bool {
        let layout = self.state.layout();
        let offset =
            self.segments.iter().map_while(OnceLock::get).find_map(|slab| slab.offset_of(address, len));
        offset.is_some_and(|at| at % layout.stride() + len <= layout.size())
    }

    fn memory(&self, address: u64) -> Option<&Slab> {
        self.segments.iter().map_while(OnceLock::get).find(|slab| slab.contains(address, 1))
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}
