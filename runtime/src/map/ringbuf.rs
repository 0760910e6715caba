//! `ringbuf`: records of any size in the order of their reservation, from many producers to one consumer.
//!
//! In: [`MapDef`] (`max_entries` bytes, a power of two and a multiple of the page size). The layout is the kernel's: each
//! record begins with 8 bytes (length with a busy and a discard bit, page offset), lengths round up to 8, positions only
//! grow, and memory is mapped twice in a row so that every record is contiguous. Producers take turns to reserve;
//! submitting takes no lock. Out: [`Consumer`].
//!
//! Not here: helpers and dynptrs (`helper`).
#![forbid(unsafe_code)]

use std::ops::Range;
use std::time::{Duration, Instant};

use super::{CreateError, Map, MapDef, MapError, MapHandle, MapOfMaps, MapState, UpdateFlags, ValuePtr};
use crate::mem::{Bytes, BytesMut, Slab};
use crate::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release, SeqCst},
};
use crate::sync::{Words, pause, race_point};

/// The record is reserved, but not submitted yet.
const BUSY: u32 = 1 << 31;
/// The record is to be skipped.
const DISCARD: u32 = 1 << 30;
/// Bytes before the data of a record.
const HEADER: u64 = 8;
/// Pages before the data in the kernel's layout: of the ring itself, of the consumer, of the producer.
const PAGES_BEFORE_DATA: u64 = 3;

/// `BPF_RB_NO_WAKEUP`
pub const NO_WAKEUP: u64 = 1;
/// `BPF_RB_FORCE_WAKEUP`
pub const FORCE_WAKEUP: u64 = 2;

/// `flags` of `bpf_ringbuf_query`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Query {
    /// Bytes between consumer and producer.
    AvailableData,
    /// Size of the ring.
    RingSize,
    /// Position of the consumer.
    ConsumerPosition,
    /// Position of the producer.
    ProducerPosition,
}

impl Query {
    /// From the kernel's number.
    #[must_use]
    pub fn from_id(id: u64) -> Option<Self> {
        match id {
            0 => Some(Self::AvailableData),
            1 => Some(Self::RingSize),
            2 => Some(Self::ConsumerPosition),
            3 => Some(Self::ProducerPosition),
            _ => None,
        }
    }
}

/// A `ringbuf` map.
pub struct RingbufMap {
    state: MapState,
    /// The ring, twice.
    data: Words,
    size: u64,
    reserving: AtomicBool,
    /// Everything before it is submitted. Written by who reserves.
    pending: AtomicU64,
    producer: AtomicU64,
    consumer: AtomicU64,
    consuming: AtomicBool,
    wakeups: Wakeups,
}

/// Waking of a waiting consumer.
#[derive(Default)]
struct Wakeups {
    waiting: AtomicU32,
    count: AtomicU64,
    lock: std::sync::Mutex<()>,
    changed: std::sync::Condvar,
}

/// How a reserved record ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Commit {
    /// The consumer sees it.
    Submit,
    /// The consumer skips it.
    Discard,
}

impl RingbufMap {
    /// An empty ring.
    ///
    /// # Errors
    /// [`CreateError::NoMemory`].
    pub(super) fn new(def: &MapDef, cpus: u32) -> Result<Self, CreateError> {
        let size = u64::from(def.max_entries);
        let slab = Slab::mirrored(size)
            .map_err(|error| CreateError::NoMemory { kind: def.kind, bytes: error.len })?;
        Ok(Self {
            state: MapState::new(def, cpus),
            data: Words::over(slab),
            size,
            reserving: AtomicBool::new(false),
            pending: AtomicU64::new(0),
            producer: AtomicU64::new(0),
            consumer: AtomicU64::new(0),
            consuming: AtomicBool::new(false),
            wakeups: Wakeups::default(),
        })
    }

    /// `bpf_ringbuf_reserve`: address of `size` bytes (whatever they held before), or `None` if there is no room.
    #[inline]
    #[must_use]
    pub fn reserve(&self, size: u64) -> Option<ValuePtr> {
        let size = u32::try_from(size).ok().filter(|&size| size <= u32::MAX / 4)?;
        let len = record_bytes(size);
        let consumed = self.consumer.load(Acquire);
        self.lock_reserving();
        let start = self.producer.load(Relaxed);
        let end = start + len;
        self.advance_pending(start);
        // A consumer stops at a record that is not submitted, so no such record is written over.
        let room = end - consumed < self.size;
        if room {
            let at = start & (self.size - 1);
            let page = at / 4096 + PAGES_BEFORE_DATA;
            self.data.word(at).store(u64::from(size | BUSY) | page << 32, Relaxed);
            self.producer.store(end, Release);
        }
        self.reserving.store(false, Release);
        race_point();
        room.then(|| ValuePtr(self.data.slab().address() + (start & (self.size - 1)) + HEADER))
    }

    /// `bpf_ringbuf_submit` and `bpf_ringbuf_discard` of a record at the address that `reserve` returned. An address
    /// that is none changes nothing.
    #[inline]
    pub fn commit(&self, record: ValuePtr, commit: Commit, flags: u64) {
        let Some(at) = self.header_of(record) else { return };
        let word = self.data.word(at);
        let header = word.load(Relaxed);
        let mut length = header as u32 & !BUSY;
        if commit == Commit::Discard {
            length |= DISCARD;
        }
        // SeqCst: either a consumer about to wait sees the record, or we see the consumer waiting.
        word.swap(u64::from(length) | header >> 32 << 32, SeqCst);
        let caught_up = self.consumer.load(SeqCst) & (self.size - 1) == at;
        if flags & FORCE_WAKEUP != 0 || (caught_up && flags & NO_WAKEUP == 0) {
            self.wakeups.wake();
        }
    }

    /// `bpf_ringbuf_output`.
    ///
    /// # Errors
    /// [`MapError::Invalid`] for unknown flags, [`MapError::Again`] without room.
    pub fn output(&self, data: Bytes<'_>, flags: u64) -> Result<(), MapError> {
        if flags & !(NO_WAKEUP | FORCE_WAKEUP) != 0 {
            return Err(MapError::Invalid);
        }
        let record = self.reserve(data.len()).ok_or(MapError::Again)?;
        let slab = self.data.slab();
        let at = slab.offset_of(record.0, data.len()).expect("a record lies in the ring");
        slab.write_bytes(at, data);
        self.commit(record, Commit::Submit, flags);
        Ok(())
    }

    /// `bpf_ringbuf_query`.
    #[must_use]
    pub fn query(&self, query: Query) -> u64 {
        match query {
            Query::AvailableData => {
                let consumed = self.consumer.load(Acquire);
                self.producer.load(Acquire).saturating_sub(consumed)
            }
            Query::RingSize => self.size,
            Query::ConsumerPosition => self.consumer.load(Acquire),
            Query::ProducerPosition => self.producer.load(Acquire),
        }
    }

    /// The bytes of a reserved record, for helpers that fill it.
    #[must_use]
    pub fn record(&self, record: ValuePtr) -> Option<BytesMut<'_>> {
        let at = self.header_of(record)?;
        let length = self.data.word(at).load(Relaxed) as u32 & !(BUSY | DISCARD);
        Some(self.data.slab().bytes_mut(at + HEADER, u64::from(length)))
    }

    /// How often a consumer was to be woken, whether one waited or not.
    #[must_use]
    pub fn wakeups(&self) -> u64 {
        self.wakeups.count.load(Relaxed)
    }

    /// The right to consume; `None` while somebody else has it.
    #[must_use]
    pub fn consumer(&self) -> Option<Consumer<'_>> {
        (!self.consuming.swap(true, Acquire)).then_some(Consumer { ring: self })
    }

    /// Offset of the header of the record whose data begin at that address.
    #[inline]
    fn header_of(&self, record: ValuePtr) -> Option<u64> {
        let at = self.data.slab().offset_of(record.0, 0)?.checked_sub(HEADER)?;
        at.is_multiple_of(8).then_some(at & (self.size - 1))
    }

    #[inline]
    fn lock_reserving(&self) {
        let mut tries = 0;
        while self.reserving.compare_exchange_weak(false, true, Acquire, Relaxed).is_err() {
            pause(&mut tries);
        }
    }

    /// Moves `pending` past records that are submitted by now, up to `end`. Whoever reserves only.
    #[inline]
    fn advance_pending(&self, end: u64) {
        let mut pending = self.pending.load(Relaxed);
        while pending < end {
            let length = self.data.word(pending & (self.size - 1)).load(Acquire) as u32;
            if length & BUSY != 0 {
                break;
            }
            pending += record_bytes(length & !DISCARD);
        }
        self.pending.store(pending, Relaxed);
    }

    /// Whether `wanted` holds for the place of one of the reserved records, counted from the start of the ring.
    fn is_reserved(&self, wanted: impl Fn(Range<u64>) -> bool) -> bool {
        self.lock_reserving();
        let end = self.producer.load(Relaxed);
        self.advance_pending(end);
        let mut at = self.pending.load(Relaxed);
        let mut found = false;
        while at < end && !found {
            let place = at & (self.size - 1);
            let length = self.data.word(place).load(Acquire) as u32;
            let size = length & !(BUSY | DISCARD);
            let data = place + HEADER..place + HEADER + u64::from(size);
            found = length & BUSY != 0 && wanted(data);
            at += record_bytes(size);
        }
        self.reserving.store(false, Release);
        found
    }

    /// Whether a record that is reserved, and not submitted yet, begins at that address.
    pub(crate) fn is_record(&self, record: ValuePtr) -> bool {
        let at = self.data.slab().offset_of(record.0, 0);
        at.is_some_and(|at| self.is_reserved(|data| data.start == at))
    }
}

/// Bytes that a record of `size` bytes takes.
#[inline]
fn record_bytes(size: u32) -> u64 {
    (u64::from(size) + HEADER).next_multiple_of(8)
}

/// The ring buffer among `maps` in which `address` lies: where a record belongs that a helper is given by address only.
#[must_use]
pub fn ring_of(maps: &[Box<MapHandle>], address: ValuePtr) -> Option<&RingbufMap> {
    maps.iter().find_map(|handle| ring_in(&*handle.map, address))
}

fn ring_in(map: &dyn Map, address: ValuePtr) -> Option<&RingbufMap> {
    if let Some(outer) = map.as_any().downcast_ref::<MapOfMaps>() {
        return outer.handles().find_map(|handle| ring_in(&*handle.map, address));
    }
    let ring = map.as_any().downcast_ref::<RingbufMap>()?;
    ring.data.slab().contains(address.0, 0).then_some(ring)
}

/// Reads records in order. One at a time for a ring.
pub struct Consumer<'a> {
    ring: &'a RingbufMap,
}

/// A record not yet given back to the producers; dropping it does.
pub struct Record<'c> {
    ring: &'c RingbufMap,
    at: u64,
    size: u32,
}

impl Consumer<'_> {
    /// The oldest record, if it is submitted. Discarded ones are passed over.
    #[allow(
        clippy::should_implement_trait,
        reason = "a record borrows its consumer, which no iterator can say"
    )]
    pub fn next(&mut self) -> Option<Record<'_>> {
        let ring = self.ring;
        loop {
            let at = ring.consumer.load(Relaxed);
            race_point();
            if at >= ring.producer.load(SeqCst) {
                return None;
            }
            let length = ring.data.word(at & (ring.size - 1)).load(SeqCst) as u32;
            if length & BUSY != 0 {
                return None;
            }
            let record = Record { ring, at, size: length & !DISCARD };
            if length & DISCARD == 0 {
                return Some(record);
            }
        }
    }

    /// All records submitted so far, copied.
    pub fn drain(&mut self) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        while let Some(record) = self.next() {
            records.push(record.bytes().to_vec());
        }
        records
    }

    /// Waits until a record may be there or the time is over; whether one is.
    ///
    /// Producers that asked for no wakeup do not end the wait.
    pub fn wait(&mut self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let wakeups = &self.ring.wakeups;
        wakeups.waiting.fetch_add(1, SeqCst);
        // A producer that does not see us waiting has submitted before we look; one that submits later sees this position.
        self.ring.consumer.store(self.ring.consumer.load(Relaxed), SeqCst);
        let mut held = wakeups.lock();
        let ready = loop {
            if self.is_ready() {
                break true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break false;
            }
            held =
                wakeups.changed.wait_timeout(held, left).unwrap_or_else(std::sync::PoisonError::into_inner).0;
        };
        drop(held);
        wakeups.waiting.fetch_sub(1, SeqCst);
        ready
    }

    fn is_ready(&self) -> bool {
        let at = self.ring.consumer.load(Relaxed);
        let produced = at < self.ring.producer.load(SeqCst);
        produced && self.ring.data.word(at & (self.ring.size - 1)).load(SeqCst) as u32 & BUSY == 0
    }
}

impl Drop for Consumer<'_> {
    fn drop(&mut self) {
        self.ring.consuming.store(false, Release);
    }
}

impl Record<'_> {
    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> Bytes<'_> {
        let at = (self.at & (self.ring.size - 1)) + HEADER;
        self.ring.data.slab().bytes(at, u64::from(self.size))
    }
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        self.ring.consumer.store(self.at + record_bytes(self.size), Release);
    }
}

impl Wakeups {
    fn lock(&self) -> std::sync::MutexGuard<'_, ()> {
        self.lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn wake(&self) {
        self.count.fetch_add(1, Relaxed);
        if self.waiting.load(SeqCst) > 0 {
            // Who counted itself either holds the lock and has not looked yet, or waits already.
            drop(self.lock());
            self.changed.notify_all();
        }
    }
}

impl Map for RingbufMap {
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

    /// A program has what it reserved; what lies between belongs to the ring.
    fn contains(&self, address: u64, len: u64) -> bool {
        let at = self.data.slab().offset_of(address, len);
        at.is_some_and(|at| self.is_reserved(|data| data.start <= at && at + len <= data.end))
    }

    fn memory(&self, address: u64) -> Option<&Slab> {
        self.data.slab().contains(address, 1).then(|| self.data.slab())
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}
