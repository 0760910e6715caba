//! `array`: values of a fixed number of indexes, all present from the start. Backs global data sections too.
//!
//! In: [`MapDef`]. Invariant: value `i` lies at `base + i * stride` (`InlineLookup::Array`), zeroed at creation.
#![forbid(unsafe_code)]

use super::create::slab;
use super::{
    CreateError, Element, ElementKey, Map, MapDef, MapError, MapState, UpdateFlags, ValuePtr, update_flags,
};
use crate::mem::{Bytes, Slab};

/// An `array` map.
pub(crate) struct ArrayMap {
    state: MapState,
    values: Slab,
}

impl ArrayMap {
    /// All values zero, or as `def.initial` says.
    ///
    /// # Errors
    /// [`CreateError::NoMemory`].
    pub(super) fn new(def: &MapDef, cpus: u32) -> Result<Self, CreateError> {
        let state = MapState::new(def, cpus);
        let stride = state.layout().stride();
        let values = slab(def.kind, stride.checked_mul(u64::from(def.max_entries)))?;
        if let Some(initial) = &def.initial {
            let pieces = initial.chunks(def.value_size as usize).take(def.max_entries as usize);
            for (i, value) in pieces.enumerate() {
                values.write(stride * i as u64, value);
            }
        }
        Ok(Self { state, values })
    }

    /// Values that are there already, as many bytes as all of them take.
    pub(crate) fn over(def: &MapDef, cpus: u32, values: Slab) -> Self {
        Self { state: MapState::new(def, cpus), values }
    }

    /// Offset of the value of `index`.
    #[inline]
    fn offset(&self, index: u32) -> Option<u64> {
        (index < self.def().max_entries).then(|| self.state.layout().stride() * u64::from(index))
    }
}

/// The index that a 4-byte key is.
#[inline]
pub(super) fn index_of(key: &[u8]) -> Option<u32> {
    key.try_into().ok().map(u32::from_ne_bytes)
}

/// Key after `key` in a map of `len` indexes: the first one after no key and after an index that is none.
pub(super) fn next_index(key: Option<&[u8]>, len: u32) -> Result<Vec<u8>, MapError> {
    let next = match key {
        None => 0,
        Some(key) => match index_of(key).ok_or(MapError::Invalid)? {
            last if last == len - 1 => return Err(MapError::NotFound),
            index if index >= len => 0,
            index => index + 1,
        },
    };
    Ok(next.to_ne_bytes().to_vec())
}

/// Offset of the index in `key` for an update with `flags`: the checks all arrays share.
pub(super) fn update_offset(
    key: &[u8],
    flags: UpdateFlags,
    offset: impl FnOnce(u32) -> Option<u64>,
) -> Result<u64, MapError> {
    let offset = offset(index_of(key).ok_or(MapError::Invalid)?).ok_or(MapError::TooBig)?;
    if flags & update_flags::NOEXIST != 0 { Err(MapError::Exists) } else { Ok(offset) }
}

impl Drop for ArrayMap {
    fn drop(&mut self) {
        let layout = self.state.layout();
        layout.retire_all(&self.values, 0, layout.stride());
    }
}

impl Map for ArrayMap {
    fn state(&self) -> &MapState {
        &self.state
    }

    #[inline]
    fn lookup(&self, _cpu: u32, key: &[u8]) -> Option<ValuePtr> {
        let offset = self.offset(index_of(key)?)?;
        Some(ValuePtr(self.values.address() + offset))
    }

    fn update(&self, _cpu: u32, key: &[u8], value: Bytes<'_>, flags: UpdateFlags) -> Result<(), MapError> {
        let layout = self.state.layout();
        if (flags & !update_flags::LOCK) > update_flags::EXIST || value.len() != layout.size() {
            return Err(MapError::Invalid);
        }
        let offset = update_offset(key, flags, |index| self.offset(index))?;
        layout.check_flags(flags)?;
        if flags & update_flags::LOCK == 0 {
            layout.write(&self.values, offset, value);
        } else {
            layout.write_locked(&self.values, offset, value);
        }
        Ok(())
    }

    fn delete(&self, _key: &[u8]) -> Result<(), MapError> {
        Err(MapError::Invalid)
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, MapError> {
        next_index(key, self.def().max_entries)
    }

    fn read_value(&self, key: &[u8], flags: UpdateFlags) -> Result<Vec<u8>, MapError> {
        let index = index_of(key).ok_or(MapError::Invalid)?;
        let offset = self.offset(index).ok_or(MapError::NotFound)?;
        Ok(self.state.layout().to_vec(&self.values, offset, flags))
    }

    fn write_value(&self, key: &[u8], value: &[u8], flags: UpdateFlags) -> Result<(), MapError> {
        self.update(0, key, Bytes::from(value), flags)
    }

    fn iterate(&self, _cpu: u32, cursor: u64) -> Option<Element> {
        let index = u32::try_from(cursor).ok()?;
        let value = ValuePtr(self.values.address() + self.offset(index)?);
        Some(Element { key: ElementKey::Index(index), value, next: cursor + 1 })
    }

    fn key_of(&self, value: ValuePtr) -> Option<ElementKey> {
        let offset = self.values.offset_of(value.0, 1)?;
        u32::try_from(offset / self.state.layout().stride()).ok().map(ElementKey::Index)
    }

    fn base(&self) -> Option<ValuePtr> {
        Some(ValuePtr(self.values.address()))
    }

    fn contains(&self, address: u64, len: u64) -> bool {
        let layout = self.state.layout();
        let Some(offset) = self.values.offset_of(address, len) else { return false };
        offset % layout.stride() + len <= layout.size()
    }

    fn memory(&self, address: u64) -> Option<&Slab> {
        self.values.contains(address, 1).then_some(&self.values)
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}
