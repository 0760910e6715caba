//! A stand-in for a map of a kind that user space does not have, in a collection whose programs never touch it.
//!
//! An object may bring such a map for another of its programs. Every operation is refused; the numbers of the maps
//! behind it stay right.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::{Map, MapDef, MapError, MapState, UpdateFlags, ValuePtr};
use crate::mem::Bytes;

struct AbsentMap {
    state: MapState,
}

/// A map that refuses everything.
#[must_use]
pub fn absent(def: &MapDef, cpus: u32) -> Arc<dyn Map> {
    Arc::new(AbsentMap { state: MapState::new(def, cpus) })
}

impl Map for AbsentMap {
    fn state(&self) -> &MapState {
        &self.state
    }

    fn lookup(&self, _cpu: u32, _key: &[u8]) -> Option<ValuePtr> {
        None
    }

    fn update(&self, _cpu: u32, _key: &[u8], _value: Bytes<'_>, _flags: UpdateFlags) -> Result<(), MapError> {
        Err(MapError::NotSupported)
    }

    fn delete(&self, _key: &[u8]) -> Result<(), MapError> {
        Err(MapError::NotSupported)
    }

    fn next_key(&self, _key: Option<&[u8]>) -> Result<Vec<u8>, MapError> {
        Err(MapError::NotSupported)
    }

    fn read_value(&self, _key: &[u8], _flags: UpdateFlags) -> Result<Vec<u8>, MapError> {
        Err(MapError::NotSupported)
    }

    fn write_value(&self, _key: &[u8], _value: &[u8], _flags: UpdateFlags) -> Result<(), MapError> {
        Err(MapError::NotSupported)
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}
