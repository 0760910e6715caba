//! `devmap`, `devmap_hash`, `cpumap`, `xskmap`: targets of `bpf_redirect_map`.
//!
//! In: [`MapDef`]. User space redirects to nothing by itself: a run reports the target, and whoever runs the program
//! decides what it means. So any interface index is accepted. Programs attached to a target (the second half of an
//! 8-byte value) are refused as the kernel refuses a descriptor that is no program.
#![forbid(unsafe_code)]

use super::array::{index_of, next_index};
use super::create::slab;
use super::hash::HashMap;
use super::{CreateError, Map, MapDef, MapError, MapKind, MapState, UpdateFlags, ValuePtr, update_flags};
use crate::mem::{Bytes, Slab};
use crate::sync::atomic::Ordering::Relaxed;

/// EOVERFLOW
const TOO_LONG: MapError = MapError::Other(75);
/// ENODEV
const NO_DEVICE: MapError = MapError::Other(19);

/// Longest queue of a CPU.
const LONGEST_QUEUE: u32 = 16384;

/// Where a packet goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Target {
    /// Out of the interface with this index.
    Interface(u32),
    /// To the stack on this CPU.
    Cpu(u32),
    /// To the AF_XDP socket in this slot.
    Socket(u32),
}

/// What `key` of a redirect map leads to; `None` also for other maps.
#[must_use]
pub fn target(map: &dyn Map, key: u32) -> Option<Target> {
    if let Some(slots) = map.as_any().downcast_ref::<RedirectMap>() {
        return slots.target(key);
    }
    let hash = map.as_any().downcast_ref::<DevmapHashMap>()?;
    let value = hash.lookup(0, &key.to_ne_bytes())?;
    let slab = hash.memory(value.0)?;
    Some(Target::Interface(u32::from_ne_bytes(slab.bytes(slab.offset_of(value.0, 4)?, 4).array(0))))
}

/// The first word of a value, if what follows it is no program.
fn first_word(value: &[u8]) -> Result<u32, MapError> {
    let (first, program) = value.split_first_chunk().ok_or(MapError::Invalid)?;
    let program = program.first_chunk().map_or(0, |program| i32::from_ne_bytes(*program));
    if program > 0 { Err(MapError::Invalid) } else { Ok(u32::from_ne_bytes(*first)) }
}

/// A `devmap`, `cpumap` or `xskmap`: slots by index, empty while their first word is 0.
pub struct RedirectMap {
    state: MapState,
    /// 8 bytes a slot, whatever the value size.
    slots: Slab,
}

impl RedirectMap {
    /// All slots empty.
    ///
    /// # Errors
    /// [`CreateError::NoMemory`].
    pub(super) fn new(def: &MapDef, cpus: u32) -> Result<Self, CreateError> {
        let slots = slab(def.kind, Some(8 * u64::from(def.max_entries)))?;
        Ok(Self { state: MapState::new(def, cpus), slots })
    }

    /// Fills (or empties) a slot of an `xskmap`; user space has no socket descriptors of its own to put there.
    pub fn set_socket(&self, index: u32, present: bool) {
        if index < self.def().max_entries {
            self.slots.atomic_u64(8 * u64::from(index)).store(u64::from(present), Relaxed);
        }
    }

    fn target(&self, index: u32) -> Option<Target> {
        let word = self.first(index)?;
        let kind = self.def().kind;
        Some(if kind == MapKind::Cpumap {
            Target::Cpu(index)
        } else if kind == MapKind::Xskmap {
            Target::Socket(index)
        } else {
            Target::Interface(word)
        })
    }

    /// First word of a slot that is not empty.
    fn first(&self, index: u32) -> Option<u32> {
        if index >= self.def().max_entries {
            return None;
        }
        let word = self.slots.atomic_u32(8 * u64::from(index)).load(Relaxed);
        (word != 0).then_some(word)
    }
}

impl Map for RedirectMap {
    fn state(&self) -> &MapState {
        &self.state
    }

    fn lookup(&self, _cpu: u32, key: &[u8]) -> Option<ValuePtr> {
        let index = index_of(key)?;
        self.first(index)?;
        Some(ValuePtr(self.slots.address() + 8 * u64::from(index)))
    }

    /// Programs cannot update these maps.
    fn update(&self, _cpu: u32, _key: &[u8], _value: Bytes<'_>, _flags: UpdateFlags) -> Result<(), MapError> {
        Err(MapError::NotSupported)
    }

    fn delete(&self, key: &[u8]) -> Result<(), MapError> {
        let index = index_of(key).filter(|&index| index < self.def().max_entries).ok_or(MapError::Invalid)?;
        self.slots.atomic_u64(8 * u64::from(index)).store(0, Relaxed);
        Ok(())
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, MapError> {
        next_index(key, self.def().max_entries)
    }

    fn read_value(&self, key: &[u8], _flags: UpdateFlags) -> Result<Vec<u8>, MapError> {
        if self.def().kind == MapKind::Xskmap {
            return Err(MapError::OpNotSupported);
        }
        let index = index_of(key).ok_or(MapError::Invalid)?;
        self.first(index).ok_or(MapError::NotFound)?;
        Ok(self.slots.to_vec(8 * u64::from(index), u64::from(self.def().value_size)))
    }

    fn write_value(&self, key: &[u8], value: &[u8], flags: UpdateFlags) -> Result<(), MapError> {
        if flags > update_flags::EXIST {
            return Err(MapError::Invalid);
        }
        let index = index_of(key).ok_or(MapError::Invalid)?;
        if index >= self.def().max_entries {
            return Err(MapError::TooBig);
        }
        if self.def().kind == MapKind::Xskmap {
            return Err(MapError::BadDescriptor);
        }
        if flags == update_flags::NOEXIST {
            return Err(MapError::Exists);
        }
        let word = first_word(value)?;
        if self.def().kind == MapKind::Cpumap {
            if word > LONGEST_QUEUE {
                return Err(TOO_LONG);
            }
            if index >= self.state.cpus() {
                return Err(NO_DEVICE);
            }
        }
        self.slots.atomic_u32(8 * u64::from(index)).store(word, Relaxed);
        Ok(())
    }

    fn contains(&self, address: u64, len: u64) -> bool {
        let offset = self.slots.offset_of(address, len);
        offset.is_some_and(|at| at % 8 + len <= u64::from(self.def().value_size))
    }

    fn memory(&self, address: u64) -> Option<&Slab> {
        self.slots.contains(address, 1).then_some(&self.slots)
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

/// A `devmap_hash`.
pub struct DevmapHashMap(HashMap);

impl DevmapHashMap {
    /// An empty map.
    ///
    /// # Errors
    /// [`CreateError::NoMemory`].
    pub(super) fn new(def: &MapDef, cpus: u32) -> Result<Self, CreateError> {
        HashMap::new(def, cpus).map(Self)
    }
}

impl Map for DevmapHashMap {
    fn state(&self) -> &MapState {
        self.0.state()
    }

    fn lookup(&self, cpu: u32, key: &[u8]) -> Option<ValuePtr> {
        self.0.lookup(cpu, key)
    }

    /// Programs cannot update these maps.
    fn update(&self, _cpu: u32, _key: &[u8], _value: Bytes<'_>, _flags: UpdateFlags) -> Result<(), MapError> {
        Err(MapError::NotSupported)
    }

    fn delete(&self, key: &[u8]) -> Result<(), MapError> {
        self.0.delete(key)
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, MapError> {
        self.0.next_key(key)
    }

    fn read_value(&self, key: &[u8], flags: UpdateFlags) -> Result<Vec<u8>, MapError> {
        self.0.read_value(key, flags)
    }

    /// Without an interface there is nothing to store; an element that must exist need not (the kernel's way).
    fn write_value(&self, key: &[u8], value: &[u8], flags: UpdateFlags) -> Result<(), MapError> {
        if flags > update_flags::EXIST || first_word(value)? == 0 {
            return Err(MapError::Invalid);
        }
        self.0.write_value(key, value, flags & update_flags::NOEXIST)
    }

    fn contains(&self, address: u64, len: u64) -> bool {
        self.0.contains(address, len)
    }

    fn memory(&self, address: u64) -> Option<&Slab> {
        self.0.memory(address)
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}
