//! `prog_array`: programs by index, the targets of tail calls.
//!
//! User space has no program descriptors, so programs come in through [`ProgArrayMap::set`]; bytes that claim to be a
//! descriptor are a bad one. Not here: performing the tail call.
#![forbid(unsafe_code)]

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::array::{index_of, next_index};
use super::{Map, MapDef, MapError, MapState, UpdateFlags, ValuePtr, update_flags};
use crate::ctx::ProgramType;
use crate::helper::TailTarget;
use crate::mem::Bytes;

/// A program as a map holds it: opaque to the runtime.
#[derive(Clone)]
pub struct ProgramRef {
    /// What user space reads back.
    pub id: u32,
    /// What a tail call runs.
    pub program: Arc<dyn TailTarget>,
}

/// What all programs of one array have in common, those that call and those that are called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProgramKind {
    /// Type.
    pub prog_type: ProgramType,
    /// `expected_attach_type`.
    pub attach_type: u32,
    /// `BPF_F_XDP_HAS_FRAGS` and `BPF_F_SLEEPABLE` of `prog_flags`.
    pub flags: u32,
    /// Whether it runs as native code.
    pub native: bool,
}

impl ProgramKind {
    /// The bits of `prog_flags` that matter.
    pub const FLAGS: u32 = 1 << 4 | 1 << 5;
}

/// A `prog_array` map.
pub struct ProgArrayMap {
    state: MapState,
    programs: Mutex<BTreeMap<u32, ProgramRef>>,
    /// Kind of the first program that used the map or was stored in it.
    owner: OnceLock<ProgramKind>,
}

impl ProgArrayMap {
    pub(super) fn new(def: &MapDef, cpus: u32) -> Self {
        Self { state: MapState::new(def, cpus), programs: Mutex::default(), owner: OnceLock::new() }
    }

    /// A program uses the map or is about to be stored in it.
    ///
    /// # Errors
    /// [`MapError::Invalid`] for a program of another kind than those before it.
    pub fn claim(&self, kind: ProgramKind) -> Result<(), MapError> {
        if *self.owner.get_or_init(|| kind) == kind { Ok(()) } else { Err(MapError::Invalid) }
    }

    /// Stores a program.
    ///
    /// # Errors
    /// [`MapError::Invalid`] for flags, [`MapError::TooBig`] past the end, as the kernel.
    pub fn set(&self, index: u32, program: ProgramRef, flags: UpdateFlags) -> Result<(), MapError> {
        self.check_update(index, flags)?;
        self.programs().insert(index, program);
        Ok(())
    }

    /// The program of a slot.
    #[must_use]
    pub fn get(&self, index: u32) -> Option<ProgramRef> {
        self.programs().get(&index).cloned()
    }

    fn check_update(&self, index: u32, flags: UpdateFlags) -> Result<(), MapError> {
        if flags != update_flags::ANY {
            return Err(MapError::Invalid);
        }
        if index < self.def().max_entries { Ok(()) } else { Err(MapError::TooBig) }
    }

    fn programs(&self) -> MutexGuard<'_, BTreeMap<u32, ProgramRef>> {
        self.programs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Map for ProgArrayMap {
    fn state(&self) -> &MapState {
        &self.state
    }

    /// Programs cannot look into these maps.
    fn lookup(&self, _cpu: u32, _key: &[u8]) -> Option<ValuePtr> {
        None
    }

    fn update(&self, _cpu: u32, _key: &[u8], _value: Bytes<'_>, _flags: UpdateFlags) -> Result<(), MapError> {
        Err(MapError::NotSupported)
    }

    fn delete(&self, key: &[u8]) -> Result<(), MapError> {
        let index = index_of(key).ok_or(MapError::Invalid)?;
        if index >= self.def().max_entries {
            return Err(MapError::TooBig);
        }
        self.programs().remove(&index).map(drop).ok_or(MapError::NotFound)
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, MapError> {
        next_index(key, self.def().max_entries)
    }

    fn read_value(&self, key: &[u8], _flags: UpdateFlags) -> Result<Vec<u8>, MapError> {
        let index = index_of(key).ok_or(MapError::Invalid)?;
        self.get(index).map(|program| program.id.to_ne_bytes().to_vec()).ok_or(MapError::NotFound)
    }

    fn write_value(&self, key: &[u8], _value: &[u8], flags: UpdateFlags) -> Result<(), MapError> {
        self.check_update(index_of(key).ok_or(MapError::Invalid)?, flags)?;
        Err(MapError::BadDescriptor)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
