//! `perf_event_array`: a ring of samples for each slot, usually one a CPU.
//!
//! User space has no perf events; [`PerfEventArrayMap::open`] puts a ring of our own into a slot instead. A slot without
//! ring refuses output with ENOENT, a full ring counts what it lost. Not here: `bpf_perf_event_read` (there are no
//! counters).
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};

use super::array::{index_of, next_index};
use super::ringbuf::{Commit, Consumer, RingbufMap};
use super::{
    CreateError, Map, MapDef, MapError, MapKind, MapState, UpdateFlags, ValuePtr, create, update_flags,
};
use crate::mem::Bytes;

/// `BPF_F_CURRENT_CPU`, also the mask of the index in `flags`.
const CURRENT_CPU: u64 = 0xffff_ffff;

/// A `perf_event_array` map.
pub struct PerfEventArrayMap {
    state: MapState,
    rings: RwLock<BTreeMap<u32, Arc<PerfRing>>>,
}

/// Samples of one slot, in order.
pub struct PerfRing {
    ring: RingbufMap,
    lost: AtomicU64,
}

impl PerfRing {
    /// The right to read the samples; `None` while somebody else has it.
    #[must_use]
    pub fn consumer(&self) -> Option<Consumer<'_>> {
        self.ring.consumer()
    }

    /// Samples that found no room so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }
}

impl PerfEventArrayMap {
    pub(super) fn new(def: &MapDef, cpus: u32) -> Self {
        Self { state: MapState::new(def, cpus), rings: RwLock::default() }
    }

    /// Puts a new ring of `bytes` (a power of two, whole pages) into a slot, in place of an older one.
    ///
    /// # Errors
    /// As for a `ringbuf` of that size; EINVAL past the last slot.
    pub fn open(&self, index: u32, bytes: u32) -> Result<Arc<PerfRing>, CreateError> {
        let def = MapDef::new("perf", MapKind::Ringbuf, 0, 0, bytes);
        create::check_ringbuf(&def)?;
        let rule = "the ring has no slot";
        create::require(self.def(), index < self.def().max_entries, 22, rule)?;
        let ring = Arc::new(PerfRing { ring: RingbufMap::new(&def, 1)?, lost: AtomicU64::new(0) });
        self.rings.write().unwrap_or_else(PoisonError::into_inner).insert(index, ring.clone());
        Ok(ring)
    }

    /// The ring of a slot.
    #[must_use]
    pub fn ring(&self, index: u32) -> Option<Arc<PerfRing>> {
        self.rings.read().unwrap_or_else(PoisonError::into_inner).get(&index).cloned()
    }

    /// `bpf_perf_event_output`: the parts one after the other are one sample.
    ///
    /// # Errors
    /// As the kernel: [`MapError::Invalid`] for flags, [`MapError::TooBig`] past the end, [`MapError::NotFound`] without
    /// ring, [`MapError::NoSpace`] without room.
    pub fn output(&self, cpu: u32, flags: u64, parts: &[Bytes<'_>]) -> Result<(), MapError> {
        if flags & !CURRENT_CPU != 0 {
            return Err(MapError::Invalid);
        }
        let index = if flags == CURRENT_CPU { cpu } else { flags as u32 };
        if index >= self.def().max_entries {
            return Err(MapError::TooBig);
        }
        let rings = self.rings.read().unwrap_or_else(PoisonError::into_inner);
        let perf = rings.get(&index).ok_or(MapError::NotFound)?;
        let size = parts.iter().map(|part| part.len()).sum();
        let Some(record) = perf.ring.reserve(size) else {
            perf.lost.fetch_add(1, Relaxed);
            return Err(MapError::NoSpace);
        };
        if let Some(sample) = perf.ring.record(record) {
            let mut at = 0;
            for part in parts {
                sample.write_bytes(at, *part);
                at += part.len();
            }
        }
        perf.ring.commit(record, Commit::Submit, 0);
        Ok(())
    }
}

impl Map for PerfEventArrayMap {
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
        if index >= self.def().max_entries {
            return Err(MapError::TooBig);
        }
        let removed = self.rings.write().unwrap_or_else(PoisonError::into_inner).remove(&index);
        removed.map(drop).ok_or(MapError::NotFound)
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
