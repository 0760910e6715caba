//! `hash`, `percpu_hash`, `lru_hash`, `lru_percpu_hash`: a preallocated table of raw bytes.
//!
//! In: [`MapDef`]. Lookups take no lock, updates and deletes lock one bucket, nothing allocates. An update of an
//! existing element replaces it (the old one is kept as the CPU slot's spare until its next such update), so a
//! program that holds the old value's pointer still sees the old value, as in the kernel; per-CPU values are
//! written in place, as there. A full `lru` table evicts the element that was not looked up for the longest time,
//! approximately: a clock hand gives each element that was looked up a second round.
//!
//! Untouched elements cost no memory; with `BPF_F_NO_PREALLOC` the system need not even promise it.
//! `BPF_F_NO_COMMON_LRU` changes nothing: all CPU slots share one clock.
#![forbid(unsafe_code)]

mod clock;
mod elements;
mod free;
mod key;
mod table;

use std::hash::{BuildHasher, Hasher, RandomState};

use self::clock::Clock;
use self::elements::{Elements, Geometry};
use self::free::FreeList;
pub(super) use self::key::LongKey;
use self::key::{KeyWords, with_words};
use self::table::{Chain, Table};
use super::create::{slab, sparse_slab};
use super::value::PercpuValues;
use super::{
    CreateError, Element, ElementKey, Map, MapDef, MapError, MapFlags, MapKind, MapState, UpdateFlags,
    ValuePtr, update_flags,
};
use crate::mem::{Bytes, Slab};
use crate::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Release},
    fence,
};

/// A map of the hash family.
pub(crate) struct HashMap {
    state: MapState,
    table: Table,
    free: FreeList,
    values: Values,
    /// `lru` kinds only.
    clock: Option<Clock>,
}

/// Seed of a map's hash: its own, so that nobody can prepare keys that collide.
pub(super) fn seed_of(def: &MapDef) -> u64 {
    if def.flags.contains(MapFlags::ZERO_SEED) { 0 } else { RandomState::new().build_hasher().finish() }
}

/// Where values are.
enum Values {
    /// In the elements; an update replaces the element, using the spare one (index + 1, 0: none) of the CPU slot.
    Inline { spares: Box<[AtomicU64]> },
    /// Apart, by element; an update writes in place.
    Percpu(PercpuValues),
}

/// What an update writes.
#[derive(Clone, Copy)]
enum Source<'a> {
    /// One value: of this CPU slot, for per-CPU values.
    One(u32, Bytes<'a>),
    /// Values of all CPU slots, for per-CPU values.
    All(Bytes<'a>),
}

impl HashMap {
    /// An empty map.
    ///
    /// # Errors
    /// [`CreateError::NoMemory`].
    pub(super) fn new(def: &MapDef, cpus: u32) -> Result<Self, CreateError> {
        let state = MapState::new(def, cpus);
        let stride = state.layout().stride();
        let lru = matches!(def.kind, MapKind::LruHash | MapKind::LruPercpuHash);
        let limit = def.max_entries;
        let sparse = def.flags.contains(MapFlags::NO_PREALLOC);
        let (values, value_bytes, count) = if def.is_percpu() {
            // CPU slots never share a cache line (nor the neighbour that is fetched with it).
            let cpu_stride = (stride * u64::from(limit)).next_multiple_of(128);
            let bytes = cpu_stride.checked_mul(u64::from(state.cpus()));
            let memory = if sparse { sparse_slab(def.kind, bytes) } else { slab(def.kind, bytes) }?;
            (Values::Percpu(PercpuValues::new(memory, cpu_stride, &state)), 0, limit)
        } else {
            let spares = (0..state.cpus()).map(|cpu| AtomicU64::new(u64::from(limit) + u64::from(cpu) + 1));
            (Values::Inline { spares: spares.collect() }, stride, limit + state.cpus())
        };
        let geometry = Geometry { key_size: def.key_size, value_bytes, references: lru, sparse };
        // Half-full chains on average: a longer chain costs a mispredicted branch and perhaps a cache miss.
        let buckets = 2 * limit.next_power_of_two();
        let table = Table::new(buckets, count, geometry, seed_of(def))
            .map_err(|error| CreateError::NoMemory { kind: def.kind, bytes: error.len })?;
        Ok(Self { state, table, free: FreeList::new(limit), values, clock: lru.then(Clock::default) })
    }

    fn elements(&self) -> &Elements {
        &self.table.elements
    }

    fn check_key(&self, key: &[u8]) -> Result<(), MapError> {
        if key.len() == self.def().key_size as usize { Ok(()) } else { Err(MapError::Invalid) }
    }

    fn check_flags(&self, flags: UpdateFlags) -> Result<(), MapError> {
        match (&self.values, &self.clock) {
            (Values::Inline { .. }, None) => self.state.layout().check_flags(flags),
            (Values::Percpu(_), _) | (_, Some(_)) if flags > update_flags::EXIST => Err(MapError::Invalid),
            (Values::Percpu(_), _) | (_, Some(_)) => Ok(()),
        }
    }

    /// Inserts or replaces.
    #[inline]
    fn put(
        &self,
        cpu: u32,
        key: &impl KeyWords,
        source: Source<'_>,
        flags: UpdateFlags,
    ) -> Result<(), MapError> {
        self.check_flags(flags)?;
        let hash = self.table.hash(key);
        let mut chain = self.table.lock(hash);
        if let Some(place) = chain.find(key) {
            if flags & update_flags::NOEXIST != 0 {
                return Err(MapError::Exists);
            }
            self.replace(cpu, chain, place, key, source, flags);
            return Ok(());
        }
        if flags & update_flags::EXIST != 0 {
            return Err(MapError::NotFound);
        }
        let Some(element) = self.free.pop(self.elements(), hash) else {
            drop(chain);
            return self.put_into_full(cpu, key, source, flags);
        };
        self.fill(element, key, source);
        chain.insert(element);
        Ok(())
    }

    /// As `put`, when there was no free element.
    #[cold]
    #[inline(never)]
    fn put_into_full(
        &self,
        cpu: u32,
        key: &impl KeyWords,
        source: Source<'_>,
        flags: UpdateFlags,
    ) -> Result<(), MapError> {
        let hash = self.table.hash(key);
        let Some(clock) = &self.clock else { return Err(MapError::TooBig) };
        // Evicting locks another bucket: never two at a time. Others may change this one meanwhile.
        let element = clock.evict(&self.table).ok_or(MapError::NoMemory)?;
        self.retire(element);
        let mut chain = self.table.lock(hash);
        let Some(place) = chain.find(key) else {
            self.fill(element, key, source);
            chain.insert(element);
            return Ok(());
        };
        if flags & update_flags::NOEXIST == 0 {
            self.replace(cpu, chain, place, key, source, flags);
        } else {
            drop(chain);
        }
        self.free.push(self.elements(), hash, element);
        if flags & update_flags::NOEXIST == 0 { Ok(()) } else { Err(MapError::Exists) }
    }

    /// Gives the element at `place` a new value.
    #[inline]
    fn replace(
        &self,
        cpu: u32,
        mut chain: Chain<'_>,
        place: table::Place,
        key: &impl KeyWords,
        source: Source<'_>,
        flags: UpdateFlags,
    ) {
        let old = place.element;
        if self.clock.is_some() {
            self.elements().set_referenced(old, true);
        }
        let layout = self.state.layout();
        match (&self.values, source) {
            (Values::Percpu(values), Source::One(cpu, value)) => {
                values.write(cpu, self.percpu_at(old), value)
            }
            (Values::Percpu(values), Source::All(all)) => values.write_all(self.percpu_at(old), all),
            (Values::Inline { .. }, Source::One(_, value) | Source::All(value))
                if flags & update_flags::LOCK != 0 =>
            {
                layout.write_locked(self.elements().words().slab(), self.elements().value_at(old), value);
            }
            (Values::Inline { spares }, Source::One(_, value) | Source::All(value)) => {
                let spare = &spares[cpu as usize % spares.len()];
                let Some(new) = spare.swap(0, AcqRel).checked_sub(1) else {
                    // Another thread with this CPU slot is replacing right now: the old value changes in place.
                    return layout.write(
                        self.elements().words().slab(),
                        self.elements().value_at(old),
                        value,
                    );
                };
                let new = new as u32; // an element
                self.fill(new, key, source);
                if self.clock.is_some() {
                    self.elements().set_referenced(new, true);
                }
                chain.remove(place);
                chain.insert(new);
                self.retire(old);
                drop(chain);
                // Whoever finds none puts none back: nobody else has stored meanwhile.
                spare.store(u64::from(old) + 1, Release);
            }
        }
    }

    /// Writes key and value of an element that is in no chain.
    #[inline(always)]
    fn fill(&self, element: u32, key: &impl KeyWords, source: Source<'_>) {
        // A reader that sees these writes sees that the element has left its former chain.
        fence(Release);
        self.elements().set_key(element, key);
        if self.clock.is_some() {
            self.elements().set_referenced(element, false);
        }
        match (&self.values, source) {
            (Values::Inline { .. }, Source::One(_, value) | Source::All(value)) => {
                let slab = self.elements().words().slab();
                self.state.layout().write_new(slab, self.elements().value_at(element), value);
            }
            (Values::Percpu(values), Source::One(cpu, value)) => {
                values.write_first(cpu, self.percpu_at(element), value);
            }
            (Values::Percpu(values), Source::All(all)) => values.write_all(self.percpu_at(element), all),
        }
    }

    /// The element leaves its chain.
    #[inline]
    fn retire(&self, element: u32) {
        match &self.values {
            Values::Inline { .. } => {
                let slab = self.elements().words().slab();
                self.state.layout().retire(slab, self.elements().value_at(element));
            }
            Values::Percpu(values) if self.state.layout().owns_objects() => {
                values.retire(self.percpu_at(element));
            }
            Values::Percpu(_) => {}
        }
    }

    /// Offset of an element's values in the part of a CPU slot.
    #[inline]
    fn percpu_at(&self, element: u32) -> u64 {
        u64::from(element) * self.state.layout().stride()
    }

    /// Address of an element's value.
    #[inline]
    fn address(&self, cpu: u32, element: u32) -> Option<u64> {
        match &self.values {
            Values::Inline { .. } => {
                Some(self.elements().words().slab().address() + self.elements().value_at(element))
            }
            Values::Percpu(values) => values.address(cpu, self.percpu_at(element)),
        }
    }

    /// Value as user space sees it.
    fn copy_out(&self, element: u32, flags: UpdateFlags) -> Vec<u8> {
        match &self.values {
            Values::Inline { .. } => {
                let slab = self.elements().words().slab();
                self.state.layout().to_vec(slab, self.elements().value_at(element), flags)
            }
            Values::Percpu(values) => values.read_all(self.percpu_at(element)),
        }
    }

    /// Takes the element of `key` out after showing it to `then`.
    #[inline]
    fn remove<R>(&self, key: &impl KeyWords, then: impl FnOnce(u32) -> R) -> Result<R, MapError> {
        let hash = self.table.hash(key);
        let mut chain = self.table.lock(hash);
        let place = chain.find(key).ok_or(MapError::NotFound)?;
        let result = then(place.element);
        self.retire(place.element);
        chain.remove(place);
        drop(chain);
        self.free.push(self.elements(), hash, place.element);
        Ok(result)
    }

    /// Bytes of a key.
    pub(crate) fn key_size(&self) -> u32 {
        self.state.def().key_size
    }

    /// [`Map::lookup`] of a key in words.
    #[inline]
    pub(crate) fn lookup_words<const N: usize>(&self, cpu: u32, key: [u64; N]) -> Option<ValuePtr> {
        self.lookup_key(cpu, &key)
    }

    /// [`Map::update`] of a key in words.
    #[inline]
    pub(crate) fn update_words<const N: usize>(
        &self,
        cpu: u32,
        key: [u64; N],
        value: Bytes<'_>,
        flags: UpdateFlags,
    ) -> Result<(), MapError> {
        self.update_key(cpu, &key, value, flags)
    }

    /// [`Map::delete`] of a key in words.
    #[inline]
    pub(crate) fn delete_words<const N: usize>(&self, key: [u64; N]) -> Result<(), MapError> {
        self.remove(&key, |_| ())
    }

    // The key stays in registers only if this is part of who loaded it.
    #[inline(always)]
    fn lookup_key(&self, cpu: u32, key: &impl KeyWords) -> Option<ValuePtr> {
        let element = self.table.find(key)?;
        if self.clock.is_some() && !self.elements().is_referenced(element) {
            self.elements().set_referenced(element, true);
        }
        self.address(cpu, element).map(ValuePtr)
    }

    #[inline(always)]
    fn update_key(
        &self,
        cpu: u32,
        key: &impl KeyWords,
        value: Bytes<'_>,
        flags: UpdateFlags,
    ) -> Result<(), MapError> {
        if value.len() != self.state.layout().size() {
            return Err(MapError::Invalid);
        }
        self.put(cpu, key, Source::One(cpu, value), flags)
    }
}

impl Drop for HashMap {
    fn drop(&mut self) {
        if let Values::Inline { .. } = self.values
            && self.state.layout().owns_objects()
        {
            (0..self.elements().count()).for_each(|element| self.retire(element));
        }
    }
}

impl Map for HashMap {
    fn state(&self) -> &MapState {
        &self.state
    }

    fn lookup(&self, cpu: u32, key: &[u8]) -> Option<ValuePtr> {
        self.check_key(key).ok()?;
        with_words!(key, |key| self.lookup_key(cpu, key))
    }

    fn update(&self, cpu: u32, key: &[u8], value: Bytes<'_>, flags: UpdateFlags) -> Result<(), MapError> {
        self.check_key(key)?;
        with_words!(key, |key| self.update_key(cpu, key, value, flags))
    }

    fn delete(&self, key: &[u8]) -> Result<(), MapError> {
        self.check_key(key)?;
        with_words!(key, |key| self.remove(key, |_| ()))
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, MapError> {
        key.map_or(Ok(()), |key| self.check_key(key))?;
        self.table.next_key(key).ok_or(MapError::NotFound)
    }

    fn read_value(&self, key: &[u8], flags: UpdateFlags) -> Result<Vec<u8>, MapError> {
        self.check_key(key)?;
        self.table.find_then(key, |element| self.copy_out(element, flags)).ok_or(MapError::NotFound)
    }

    fn write_value(&self, key: &[u8], value: &[u8], flags: UpdateFlags) -> Result<(), MapError> {
        if value.len() as u64 != super::user::value_bytes(&self.state) {
            return Err(MapError::Invalid);
        }
        self.check_key(key)?;
        with_words!(key, |key| self.put(0, key, Source::All(Bytes::from(value)), flags))
    }

    fn take_value(&self, key: &[u8], flags: UpdateFlags) -> Result<Vec<u8>, MapError> {
        self.check_key(key)?;
        self.remove(&LongKey(key), |element| self.copy_out(element, flags))
    }

    fn iterate(&self, cpu: u32, cursor: u64) -> Option<Element> {
        let (element, next) = self.table.iterate(cursor)?;
        let key = self.elements().words().slab().address() + self.elements().key_at(element);
        let value = ValuePtr(self.address(cpu, element)?);
        Some(Element { key: ElementKey::At(key), value, next })
    }

    fn key_of(&self, value: ValuePtr) -> Option<ElementKey> {
        let Values::Inline { .. } = self.values else { return None };
        let slab = self.elements().words().slab();
        let element = self.elements().at(slab.offset_of(value.0, 1)?);
        Some(ElementKey::At(slab.address() + self.elements().key_at(element)))
    }

    fn contains(&self, address: u64, len: u64) -> bool {
        match &self.values {
            Values::Inline { .. } => {
                let offset = self.elements().words().slab().offset_of(address, len);
                offset.is_some_and(|at| self.elements().in_value(at, len, self.state.layout().size()))
            }
            Values::Percpu(values) => values.contains(address, len),
        }
    }

    fn memory(&self, address: u64) -> Option<&Slab> {
        let values = match &self.values {
            Values::Inline { .. } => self.elements().words().slab(),
            Values::Percpu(values) => values.slab(),
        };
        values.contains(address, 1).then_some(values)
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}
