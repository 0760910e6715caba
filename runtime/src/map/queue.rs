//! `queue` and `stack`: values without keys, first or last in first out.
//!
//! In: [`MapDef`]. A ring of values under one spin lock. Pushing onto a full one fails, or drops the oldest value with
//! `BPF_EXIST`, in a stack as well.
#![forbid(unsafe_code)]

use super::create::slab;
use super::{CreateError, Map, MapDef, MapError, MapKind, MapState, UpdateFlags, ValuePtr, update_flags};
use crate::mem::{Bytes, BytesMut, Slab};
use crate::sync::atomic::{
    AtomicBool, AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
};
use crate::sync::pause;

/// A `queue` or `stack` map.
pub(super) struct QueueMap {
    state: MapState,
    values: Slab,
    locked: AtomicBool,
    /// Index of the oldest value. Like `len`, changed under the lock.
    oldest: AtomicU32,
    len: AtomicU32,
}

/// What reading does with the value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    Keep,
    Remove,
}

impl QueueMap {
    /// An empty map.
    ///
    /// # Errors
    /// [`CreateError::NoMemory`].
    pub(super) fn new(def: &MapDef, cpus: u32) -> Result<Self, CreateError> {
        let state = MapState::new(def, cpus);
        let values = slab(def.kind, state.layout().stride().checked_mul(u64::from(def.max_entries)))?;
        let (oldest, len) = (AtomicU32::new(0), AtomicU32::new(0));
        Ok(Self { state, values, locked: AtomicBool::new(false), oldest, len })
    }

    fn with_lock<R>(&self, body: impl FnOnce() -> R) -> R {
        let mut tries = 0;
        while self.locked.compare_exchange_weak(false, true, Acquire, Relaxed).is_err() {
            pause(&mut tries);
        }
        let result = body();
        self.locked.store(false, Release);
        result
    }

    /// Offset of the value `n` places after the oldest one.
    fn offset(&self, n: u32) -> u64 {
        let index = (u64::from(self.oldest.load(Relaxed)) + u64::from(n)) % u64::from(self.def().max_entries);
        index * self.state.layout().stride()
    }

    fn drop_oldest(&self) {
        let next = (u64::from(self.oldest.load(Relaxed)) + 1) % u64::from(self.def().max_entries);
        self.oldest.store(next as u32, Relaxed);
        self.len.store(self.len.load(Relaxed) - 1, Relaxed);
    }

    /// Shows the offset of the next value to `read`.
    fn next<R>(&self, reading: Reading, read: impl FnOnce(u64) -> R) -> Result<R, MapError> {
        self.with_lock(|| {
            let len = self.len.load(Relaxed);
            let last = len.checked_sub(1).ok_or(MapError::NotFound)?;
            let stack = self.def().kind == MapKind::Stack;
            let result = read(self.offset(if stack { last } else { 0 }));
            if reading == Reading::Remove {
                if stack {
                    self.len.store(last, Relaxed);
                } else {
                    self.drop_oldest();
                }
            }
            Ok(result)
        })
    }

    /// As [`QueueMap::next`], into program memory, which is zeroed when there is nothing.
    fn next_into(&self, reading: Reading, into: BytesMut<'_>) -> Result<(), MapError> {
        if into.len() != self.state.layout().size() {
            return Err(MapError::Invalid);
        }
        let read = self.next(reading, |at| into.write_bytes(0, self.values.bytes(at, into.len())));
        if read.is_err() {
            into.fill(0);
        }
        read
    }

    fn next_vec(&self, reading: Reading) -> Result<Vec<u8>, MapError> {
        self.next(reading, |at| self.values.to_vec(at, self.state.layout().size()))
    }
}

impl Map for QueueMap {
    fn state(&self) -> &MapState {
        &self.state
    }

    fn lookup(&self, _cpu: u32, _key: &[u8]) -> Option<ValuePtr> {
        None
    }

    fn update(&self, _cpu: u32, _key: &[u8], _value: Bytes<'_>, _flags: UpdateFlags) -> Result<(), MapError> {
        Err(MapError::Invalid)
    }

    fn delete(&self, _key: &[u8]) -> Result<(), MapError> {
        Err(MapError::Invalid)
    }

    fn next_key(&self, _key: Option<&[u8]>) -> Result<Vec<u8>, MapError> {
        Err(MapError::Invalid)
    }

    fn read_value(&self, _key: &[u8], _flags: UpdateFlags) -> Result<Vec<u8>, MapError> {
        self.next_vec(Reading::Keep)
    }

    fn write_value(&self, _key: &[u8], value: &[u8], flags: UpdateFlags) -> Result<(), MapError> {
        self.push(Bytes::from(value), flags)
    }

    fn take_value(&self, _key: &[u8], _flags: UpdateFlags) -> Result<Vec<u8>, MapError> {
        self.next_vec(Reading::Remove)
    }

    fn push(&self, value: Bytes<'_>, flags: UpdateFlags) -> Result<(), MapError> {
        let replace = flags == update_flags::EXIST;
        if (flags != update_flags::ANY && !replace) || value.len() != self.state.layout().size() {
            return Err(MapError::Invalid);
        }
        self.with_lock(|| {
            if self.len.load(Relaxed) == self.def().max_entries {
                if !replace {
                    return Err(MapError::TooBig);
                }
                self.drop_oldest();
            }
            let len = self.len.load(Relaxed);
            self.values.write_bytes(self.offset(len), value);
            self.len.store(len + 1, Relaxed);
            Ok(())
        })
    }

    fn pop(&self, into: BytesMut<'_>) -> Result<(), MapError> {
        self.next_into(Reading::Remove, into)
    }

    fn peek(&self, value: BytesMut<'_>) -> Result<(), MapError> {
        self.next_into(Reading::Keep, value)
    }

    fn values(&self) -> Vec<Vec<u8>> {
        let size = self.state.layout().size();
        self.with_lock(|| {
            (0..self.len.load(Relaxed)).map(|n| self.values.to_vec(self.offset(n), size)).collect()
        })
    }

    /// Programs have no pointers into these maps.
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}
