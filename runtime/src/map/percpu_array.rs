//! `percpu_array`: an array with values of its own for every CPU slot.
//!
//! Invariant: value `i` of slot `c` lies at `base + c * cpu_stride + i * stride` (`InlineLookup::PercpuArray`).
#![forbid(unsafe_code)]

use super::array::{index_of, next_index, update_offset};
use super::create::slab;
use super::value::PercpuValues;
use super::{
    CreateError, Element, ElementKey, InlineLookup, Map, MapDef, MapError, MapState, UpdateFlags, ValuePtr,
    update_flags,
};
use crate::mem::{Bytes, Slab};

/// A `percpu_array` map.
pub(super) struct PercpuArrayMap {
    state: MapState,
    values: PercpuValues,
}

impl PercpuArrayMap {
    /// All values zero.
    ///
    /// # Errors
    /// [`CreateError::NoMemory`].
    pub(super) fn new(def: &MapDef, cpus: u32) -> Result<Self, CreateError> {
        let state = MapState::new(def, cpus);
        let InlineLookup::PercpuArray { cpu_stride, .. } = def.inline_lookup() else {
            return Err(CreateError::NoMemory { kind: def.kind, bytes: u64::MAX });
        };
        let memory = slab(def.kind, cpu_stride.checked_mul(u64::from(state.cpus())))?;
        Ok(Self { values: PercpuValues::new(memory, cpu_stride, &state), state })
    }

    /// Offset of the value of `index` in the part of a CPU slot.
    #[inline]
    fn offset(&self, index: u32) -> Option<u64> {
        (index < self.def().max_entries).then(|| self.state.layout().stride() * u64::from(index))
    }
}

impl Map for PercpuArrayMap {
    fn state(&self) -> &MapState {
        &self.state
    }

    #[inline]
    fn lookup(&self, cpu: u32, key: &[u8]) -> Option<ValuePtr> {
        let offset = self.offset(index_of(key)?)?;
        self.values.address(cpu, offset).map(ValuePtr)
    }

    fn update(&self, cpu: u32, key: &[u8], value: Bytes<'_>, flags: UpdateFlags) -> Result<(), MapError> {
        if flags > update_flags::EXIST || value.len() != self.state.layout().size() {
            return Err(MapError::Invalid);
        }
        let offset = update_offset(key, flags, |index| self.offset(index))?;
        self.values.write(cpu, offset, value);
        Ok(())
    }

    fn delete(&self, _key: &[u8]) -> Result<(), MapError> {
        Err(MapError::Invalid)
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, MapError> {
        next_index(key, self.def().max_entries)
    }

    fn read_value(&self, key: &[u8], _flags: UpdateFlags) -> Result<Vec<u8>, MapError> {
        let index = index_of(key).ok_or(MapError::Invalid)?;
        let offset = self.offset(index).ok_or(MapError::NotFound)?;
        Ok(self.values.read_all(offset))
    }

    fn write_value(&self, key: &[u8], value: &[u8], flags: UpdateFlags) -> Result<(), MapError> {
        if flags > update_flags::EXIST || value.len() as u64 != self.values.user_bytes() {
            return Err(MapError::Invalid);
        }
        let offset = update_offset(key, flags, |index| self.offset(index))?;
        self.values.write_all(offset, Bytes::from(value));
        Ok(())
    }

    fn iterate(&self, cpu: u32, cursor: u64) -> Option<Element> {
        let index = u32::try_from(cursor).ok()?;
        let value = ValuePtr(self.values.address(cpu, self.offset(index)?)?);
        Some(Element { key: ElementKey::Index(index), value, next: cursor + 1 })
    }

    fn base(&self) -> Option<ValuePtr> {
        Some(ValuePtr(self.values.slab().address()))
    }

    fn contains(&self, address: u64, len: u64) -> bool {
        self.values.contains(address, len)
    }

    fn memory(&self, address: u64) -> Option<&Slab> {
        self.values.slab().contains(address, 1).then(|| self.values.slab())
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}
