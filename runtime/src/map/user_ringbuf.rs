//! `user_ringbuf`: samples of user space for programs, in order, from one producer at a time.
//!
//! In: [`MapDef`] (`max_entries` bytes) and [`Producer`]. Samples lie as in the kernel's ring: 8 bytes of header (length
//! with a busy and a discard bit), lengths round up to 8, positions only grow, memory is mapped twice in a row. Out:
//! `UserRingbufMap::peek` for the helper that drains it, one run at a time.
#![forbid(unsafe_code)]

use super::{CreateError, Map, MapDef, MapError, MapState, UpdateFlags, ValuePtr};
use crate::mem::{Bytes, BytesMut, Slab, WordSize};
use crate::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

const BUSY: u32 = 1 << 31;
const DISCARD: u32 = 1 << 30;
const HEADER: u64 = 8;

/// A `user_ringbuf` map.
pub struct UserRingbufMap {
    state: MapState,
    /// The ring, twice.
    data: Slab,
    size: u64,
    producer: AtomicU64,
    consumer: AtomicU64,
    producing: AtomicBool,
    /// Who drains it: a number of the run, or 0.
    draining: AtomicU64,
}

/// The oldest sample.
#[derive(Clone, Copy, Debug)]
pub enum Sample<'a> {
    /// Nothing is submitted.
    None,
    /// One that its producer threw away; it is passed over by now.
    Discarded,
    /// Its bytes.
    Here(BytesMut<'a>),
}

impl UserRingbufMap {
    /// An empty ring.
    ///
    /// # Errors
    /// [`CreateError::NoMemory`].
    pub(super) fn new(def: &MapDef, cpus: u32) -> Result<Self, CreateError> {
        let size = u64::from(def.max_entries);
        let data = Slab::mirrored(size)
            .map_err(|error| CreateError::NoMemory { kind: def.kind, bytes: error.len })?;
        Ok(Self {
            state: MapState::new(def, cpus),
            data,
            size,
            producer: AtomicU64::new(0),
            consumer: AtomicU64::new(0),
            producing: AtomicBool::new(false),
            draining: AtomicU64::new(0),
        })
    }

    /// The right to produce; `None` while somebody else has it.
    #[must_use]
    pub fn producer(&self) -> Option<Producer<'_>> {
        (!self.producing.swap(true, Acquire)).then_some(Producer { ring: self })
    }

    /// Bytes of samples that no program has taken, headers included.
    #[must_use]
    pub fn pending(&self) -> u64 {
        let consumed = self.consumer.load(Acquire);
        self.producer.load(Acquire).saturating_sub(consumed)
    }

    /// Takes the right to drain for a run (a number that is not 0); whether it has it.
    pub(crate) fn begin(&self, run: u64) -> bool {
        self.draining.compare_exchange(0, run, Acquire, Relaxed).is_ok()
    }

    /// Gives the right back, if the run has it.
    pub(crate) fn end(&self, run: u64) {
        let _ = self.draining.compare_exchange(run, 0, Release, Relaxed);
    }

    /// The oldest sample. Whoever drains only.
    pub(crate) fn peek(&self) -> Sample<'_> {
        let Some((data, header)) = self.peek_at(self.consumer.load(Relaxed)) else { return Sample::None };
        if header & DISCARD != 0 {
            self.release(header & !DISCARD);
            return Sample::Discarded;
        }
        Sample::Here(self.data.bytes_mut(data, u64::from(header)))
    }

    /// Where the bytes of the sample at a position begin, and its length with its flag, once it is submitted.
    fn peek_at(&self, at: u64) -> Option<(u64, u32)> {
        if at >= self.producer.load(Acquire) {
            return None;
        }
        let place = at & (self.size - 1);
        let header = self.data.atomic_u32(place).load(Acquire);
        (header & BUSY == 0).then_some((place + HEADER, header))
    }

    /// The oldest sample, of `len` bytes, is done. Whoever drains only.
    pub(crate) fn release(&self, len: u32) {
        let at = self.consumer.load(Relaxed);
        self.consumer.store(at + bytes(len), Release);
    }
}

/// Bytes that a sample takes.
fn bytes(len: u32) -> u64 {
    (u64::from(len) + HEADER).next_multiple_of(8)
}

/// Writes samples in order. One at a time for a ring.
pub struct Producer<'a> {
    ring: &'a UserRingbufMap,
}

/// A sample that no program sees yet; dropping it throws it away.
pub struct Reserved<'p> {
    ring: &'p UserRingbufMap,
    place: u64,
    len: u32,
    submit: bool,
}

impl Producer<'_> {
    /// Room for a sample of `len` bytes.
    ///
    /// # Errors
    /// [`MapError::TooBig`] if it never fits, [`MapError::NoSpace`] if it does not now.
    pub fn reserve(&mut self, len: u32) -> Result<Reserved<'_>, MapError> {
        let ring = self.ring;
        if len & (BUSY | DISCARD) != 0 || bytes(len) > ring.size {
            return Err(MapError::TooBig);
        }
        let at = ring.producer.load(Relaxed);
        if at + bytes(len) - ring.consumer.load(Acquire) > ring.size {
            return Err(MapError::NoSpace);
        }
        let place = at & (ring.size - 1);
        ring.data.store(place, WordSize::B8, u64::from(len | BUSY));
        ring.producer.store(at + bytes(len), Release);
        Ok(Reserved { ring, place, len, submit: false })
    }

    /// A sample of these bytes.
    ///
    /// # Errors
    /// As [`Producer::reserve`].
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), MapError> {
        let len = u32::try_from(bytes.len()).map_err(|_| MapError::TooBig)?;
        let sample = self.reserve(len)?;
        sample.bytes().write(0, bytes);
        sample.submit();
        Ok(())
    }
}

impl Drop for Producer<'_> {
    fn drop(&mut self) {
        self.ring.producing.store(false, Release);
    }
}

impl Reserved<'_> {
    /// Its bytes, whatever they held before.
    #[must_use]
    pub fn bytes(&self) -> BytesMut<'_> {
        self.ring.data.bytes_mut(self.place + HEADER, u64::from(self.len))
    }

    /// Shows it to programs.
    pub fn submit(mut self) {
        self.submit = true;
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        let header = self.len | if self.submit { 0 } else { DISCARD };
        self.ring.data.atomic_u32(self.place).store(header, Release);
    }
}

impl Map for UserRingbufMap {
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

    /// A program has the sample that it drains; headers belong to the ring.
    fn contains(&self, address: u64, len: u64) -> bool {
        let Some(at) = self.data.offset_of(address, len) else { return false };
        match self.peek_at(self.consumer.load(Relaxed)) {
            Some((data, header)) if self.draining.load(Acquire) != 0 && header & DISCARD == 0 => {
                data <= at && at + len <= data + u64::from(header)
            }
            Some(_) | None => false,
        }
    }

    fn memory(&self, address: u64) -> Option<&Slab> {
        self.data.contains(address, 1).then_some(&self.data)
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::MapKind;

    #[test]
    fn samples_come_out_in_order_and_thrown_away_ones_do_not() {
        let ring = UserRingbufMap::new(&MapDef::new("m", MapKind::UserRingbuf, 0, 0, 4096), 1).unwrap();
        let mut producer = ring.producer().unwrap();
        assert!(ring.producer().is_none());
        producer.send(b"first").unwrap();
        drop(producer.reserve(100).unwrap());
        producer.send(b"second").unwrap();
        assert_eq!(producer.reserve(4096).err(), Some(MapError::TooBig));
        assert_eq!(producer.reserve(4000).err(), Some(MapError::NoSpace));
        assert!(ring.begin(1) && !ring.begin(2));
        let Sample::Here(first) = ring.peek() else { panic!("nothing") };
        assert_eq!(first.as_bytes().to_vec(), b"first");
        ring.release(5);
        assert!(matches!(ring.peek(), Sample::Discarded));
        let Sample::Here(second) = ring.peek() else { panic!("nothing") };
        assert_eq!(second.as_bytes().to_vec(), b"second");
        ring.release(6);
        assert!(matches!(ring.peek(), Sample::None));
        assert_eq!(ring.pending(), 0);
        ring.end(2);
        assert!(!ring.begin(3));
        ring.end(1);
        assert!(ring.begin(3));
        // A busy sample hides those behind it.
        let busy = producer.reserve(8).unwrap();
        assert!(matches!(ring.peek(), Sample::None));
        drop(busy);
        assert!(matches!(ring.peek(), Sample::Discarded));
    }
}
