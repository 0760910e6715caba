//! `stack_trace`: stacks by a number that programs get from `bpf_get_stackid`.
//!
//! In: [`MapDef`]. A stack lies in the slot that its hash names, or not at all: so programs count stacks without a
//! search. Where stacks come from is the environment's business.
#![forbid(unsafe_code)]

use super::array::index_of;
use super::create::sparse_slab;
use super::{CreateError, Map, MapDef, MapError, MapState, UpdateFlags, ValuePtr};
use crate::mem::{Bytes, Slab, WordSize};
use crate::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Relaxed, Release},
};
use crate::sync::pause;

/// Bytes before the frames of a slot: hash and number of frames.
const HEADER: u64 = 8;

/// What becomes of a slot that another stack has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    /// The new stack is refused.
    Refuse,
    /// The new stack takes its place.
    Replace,
}

/// A `stack_trace` map.
pub struct StackTraceMap {
    state: MapState,
    slots: Slab,
    /// A power of two.
    count: u32,
    /// Held while slots are read or written.
    busy: AtomicBool,
}

impl StackTraceMap {
    /// All slots empty.
    ///
    /// # Errors
    /// [`CreateError::NoMemory`].
    pub(super) fn new(def: &MapDef, cpus: u32) -> Result<Self, CreateError> {
        let count = def.max_entries.next_power_of_two();
        let bytes = (HEADER + u64::from(def.value_size)).checked_mul(u64::from(count));
        let slots = sparse_slab(def.kind, bytes)?;
        Ok(Self { state: MapState::new(def, cpus), slots, count, busy: AtomicBool::new(false) })
    }

    /// Most frames of a stack.
    #[must_use]
    pub fn depth(&self) -> usize {
        (self.def().value_size / 8) as usize
    }

    /// Number of a stack; frames past [`StackTraceMap::depth`] are cut off. With `by_hash` a stack of the same hash is
    /// taken for the same.
    ///
    /// # Errors
    /// [`MapError::Exists`] if another stack has its slot.
    pub fn insert(&self, frames: &[u64], taken: Taken, by_hash: bool) -> Result<u32, MapError> {
        let frames = &frames[..frames.len().min(self.depth())];
        // FNV-1a; 0 stands for an empty slot.
        let hash =
            frames.iter().flat_map(|frame| frame.to_ne_bytes()).fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3_u64)
            });
        let hash = ((hash >> 32) as u32 ^ hash as u32).max(1);
        let index = hash & (self.count - 1);
        let at = self.at(index);
        self.locked(|| {
            let (known, len) = (self.word(at), self.word(at + 4));
            if known == hash {
                let same = len as usize == frames.len()
                    && (0..)
                        .zip(frames)
                        .all(|(i, &frame)| self.slots.load(at + HEADER + 8 * i, WordSize::B8) == frame);
                if by_hash || same {
                    return Ok(index);
                }
            }
            if known != 0 && taken == Taken::Refuse {
                return Err(MapError::Exists);
            }
            self.slots.store(at, WordSize::B4, u64::from(hash));
            self.slots.store(at + 4, WordSize::B4, frames.len() as u64);
            for (i, &frame) in (0..).zip(frames) {
                self.slots.store(at + HEADER + 8 * i, WordSize::B8, frame);
            }
            Ok(index)
        })
    }

    fn at(&self, index: u32) -> u64 {
        u64::from(index) * (HEADER + u64::from(self.def().value_size))
    }

    fn word(&self, at: u64) -> u32 {
        self.slots.load(at, WordSize::B4) as u32
    }

    fn locked<R>(&self, body: impl FnOnce() -> R) -> R {
        let mut tries = 0;
        while self.busy.compare_exchange_weak(false, true, Acquire, Relaxed).is_err() {
            pause(&mut tries);
        }
        let result = body();
        self.busy.store(false, Release);
        result
    }

    /// The slot of a key that has a stack.
    fn slot(&self, key: &[u8]) -> Result<u64, MapError> {
        let index = index_of(key).ok_or(MapError::Invalid)?;
        if index >= self.count || self.word(self.at(index)) == 0 {
            return Err(MapError::NotFound);
        }
        Ok(self.at(index))
    }

    fn copy(&self, at: u64) -> Vec<u8> {
        let mut value = vec![0; self.def().value_size as usize];
        let used = 8 * self.word(at + 4) as usize;
        self.slots.read(at + HEADER, &mut value[..used]);
        value
    }
}

impl Map for StackTraceMap {
    fn state(&self) -> &MapState {
        &self.state
    }

    /// Programs know stacks by their numbers only.
    fn lookup(&self, _cpu: u32, _key: &[u8]) -> Option<ValuePtr> {
        None
    }

    fn update(&self, _cpu: u32, _key: &[u8], _value: Bytes<'_>, _flags: UpdateFlags) -> Result<(), MapError> {
        Err(MapError::Invalid)
    }

    fn delete(&self, key: &[u8]) -> Result<(), MapError> {
        if index_of(key).ok_or(MapError::Invalid)? >= self.count {
            return Err(MapError::TooBig);
        }
        self.locked(|| {
            let at = self.slot(key)?;
            self.slots.store(at, WordSize::B4, 0);
            Ok(())
        })
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, MapError> {
        let first = match key {
            // A number that leads nowhere begins anew.
            Some(key) if self.slot(key).is_ok() => index_of(key).map_or(0, |index| index + 1),
            Some(_) | None => 0,
        };
        let next = (first..self.count).find(|&index| self.word(self.at(index)) != 0);
        next.map(|index| index.to_ne_bytes().to_vec()).ok_or(MapError::NotFound)
    }

    fn read_value(&self, key: &[u8], _flags: UpdateFlags) -> Result<Vec<u8>, MapError> {
        self.locked(|| self.slot(key).map(|at| self.copy(at)))
    }

    fn write_value(&self, _key: &[u8], _value: &[u8], _flags: UpdateFlags) -> Result<(), MapError> {
        Err(MapError::Invalid)
    }

    fn take_value(&self, key: &[u8], _flags: UpdateFlags) -> Result<Vec<u8>, MapError> {
        self.locked(|| {
            let at = self.slot(key)?;
            let value = self.copy(at);
            self.slots.store(at, WordSize::B4, 0);
            Ok(value)
        })
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}
