//! How values are copied in and out: special fields stay as they are, `BPF_F_LOCK` takes the spin lock in the value.
//!
//! Not here: what a spin lock means to a program (helpers `bpf_spin_lock`, `bpf_spin_unlock`). The protocol both
//! share: the 4-byte word is 0 when free and 1 when held.
#![forbid(unsafe_code)]

use std::ops::Range;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::{MapDef, MapError, MapState, SpecialField, SpecialKind, UpdateFlags, update_flags};
use crate::heap;
use crate::mem::{Bytes, BytesMut, Slab};
use crate::sync::pause;

/// Size of a value, and the parts of it that copies leave alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ValueLayout {
    size: u64,
    /// Ascending, disjoint, inside the value.
    special: Box<[Range<u64>]>,
    lock: Option<u64>,
    timer: Option<u64>,
    /// All of them, if some own objects.
    owning: Box<[SpecialField]>,
}

impl ValueLayout {
    /// Layout of the values of `def`.
    pub(super) fn new(def: &MapDef) -> Self {
        let size = u64::from(def.value_size);
        let inside = |field: &&SpecialField| u64::from(field.offset) + u64::from(field.size) <= size;
        let mut special: Vec<Range<u64>> = def
            .fields
            .iter()
            .filter(inside)
            .map(|field| u64::from(field.offset)..u64::from(field.offset) + u64::from(field.size))
            .collect();
        special.sort_by_key(|range| range.start);
        special.dedup_by(|next, first| next.start < first.end);
        let lock = def.fields.iter().filter(inside).find(|field| field.kind == SpecialKind::SpinLock);
        let timer = def.fields.iter().filter(inside).find(|field| field.kind == SpecialKind::Timer);
        let offset = |field: &SpecialField| u64::from(field.offset);
        let fields: Vec<SpecialField> = def.fields.iter().filter(inside).copied().collect();
        let owning = if fields.iter().any(|field| heap::owns(field.kind)) { fields } else { Vec::new() };
        let owning = owning.into();
        Self { size, special: special.into(), lock: lock.map(offset), timer: timer.map(offset), owning }
    }

    /// Bytes of a value.
    #[inline]
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of a value rounded up to 8: the distance between values, and the unit of per-CPU copies.
    #[inline]
    pub(super) fn stride(&self) -> u64 {
        self.size.next_multiple_of(8)
    }

    /// Whether `BPF_F_LOCK` is possible.
    #[inline]
    pub(super) fn has_lock(&self) -> bool {
        self.lock.is_some()
    }

    /// Refuses `BPF_F_LOCK` without a lock, and any bit that is no update flag.
    #[inline]
    pub(super) fn check_flags(&self, flags: UpdateFlags) -> Result<(), MapError> {
        let known = (flags & !update_flags::LOCK) <= update_flags::EXIST;
        let lockable = flags & update_flags::LOCK == 0 || self.has_lock();
        if known && lockable { Ok(()) } else { Err(MapError::Invalid) }
    }

    /// Copies a value in at `offset`, special fields excepted.
    #[inline]
    pub(super) fn write(&self, slab: &Slab, offset: u64, value: Bytes<'_>) {
        if self.special.is_empty() {
            slab.write_bytes(offset, value);
        } else {
            self.write_around(slab.bytes_mut(offset, self.size), value);
            self.retire(slab, offset);
        }
    }

    /// The value at `offset` goes: its timer and what it owns do, too.
    #[inline]
    pub(super) fn retire(&self, slab: &Slab, offset: u64) {
        if let Some(timer) = self.timer {
            slab.fill(offset + timer, 8, 0);
        }
        if self.owns_objects() {
            heap::clear(&self.owning, slab, offset);
        }
    }

    /// Whether values may own objects: maps give them up in the end.
    #[inline]
    pub(super) fn owns_objects(&self) -> bool {
        !self.owning.is_empty()
    }

    /// The values of `slab` from `start` on, one each stride, go: the map dies.
    pub(super) fn retire_all(&self, slab: &Slab, start: u64, stride: u64) {
        if self.owns_objects() && stride > 0 {
            let last = slab.len().saturating_sub(self.size);
            (start..=last).step_by(stride as usize).for_each(|offset| self.retire(slab, offset));
        }
    }

    /// As `write`, under the lock of the value.
    pub(super) fn write_locked(&self, slab: &Slab, offset: u64, value: Bytes<'_>) {
        self.with_lock(slab, offset, || self.write_around(slab.bytes_mut(offset, self.size), value));
        self.retire(slab, offset);
    }

    /// Copies a value into a new element: special fields start as zeroes.
    #[inline]
    pub(super) fn write_new(&self, slab: &Slab, offset: u64, value: Bytes<'_>) {
        self.write(slab, offset, value);
        for range in &self.special {
            slab.fill(offset + range.start, range.end - range.start, 0);
        }
    }

    /// Copies a value out; special fields read as zeroes.
    pub(super) fn read(&self, slab: &Slab, offset: u64, into: &mut [u8]) {
        slab.read(offset, into);
        for range in &self.special {
            into[range.start as usize..range.end as usize].fill(0);
        }
    }

    /// Copies a value out into a new vector, under the lock with `BPF_F_LOCK`.
    pub(super) fn to_vec(&self, slab: &Slab, offset: u64, flags: UpdateFlags) -> Vec<u8> {
        let mut copy = vec![0; self.size as usize];
        if flags & update_flags::LOCK == 0 {
            self.read(slab, offset, &mut copy);
        } else {
            self.with_lock(slab, offset, || self.read(slab, offset, &mut copy));
        }
        copy
    }

    fn write_around(&self, to: BytesMut<'_>, value: Bytes<'_>) {
        let mut at = 0;
        for range in &self.special {
            to.write_bytes(at, value.part(at, range.start - at));
            at = range.end;
        }
        to.write_bytes(at, value.part(at, self.size - at));
    }

    /// Runs `body` while this thread holds the lock in the value at `offset`, if there is one.
    fn with_lock(&self, slab: &Slab, offset: u64, body: impl FnOnce()) {
        let Some(lock) = self.lock else { return body() };
        let word = slab.atomic_u32(offset + lock);
        let mut tries = 0;
        while word.compare_exchange_weak(0, 1, Acquire, Relaxed).is_err() {
            pause(&mut tries);
        }
        body();
        word.store(0, Release);
    }
}

impl Drop for PercpuValues {
    fn drop(&mut self) {
        for cpu in 0..u64::from(self.cpus) {
            let (start, end) = (cpu * self.cpu_stride, (cpu + 1) * self.cpu_stride);
            if self.layout.owns_objects() {
                let offsets = (start..end).step_by(self.layout.stride() as usize);
                offsets
                    .filter(|offset| offset + self.layout.size() <= end)
                    .for_each(|offset| self.layout.retire(&self.slab, offset));
            }
        }
    }
}

/// Values with one copy for every CPU slot: slot `c` of the value at `offset` lies at `c * cpu_stride + offset`.
pub(super) struct PercpuValues {
    slab: Slab,
    cpu_stride: u64,
    cpus: u32,
    layout: ValueLayout,
}

impl PercpuValues {
    /// `slab` has room for all CPU slots of `state`.
    pub(super) fn new(slab: Slab, cpu_stride: u64, state: &MapState) -> Self {
        Self { slab, cpu_stride, cpus: state.cpus(), layout: state.layout().clone() }
    }

    /// The memory.
    pub(super) fn slab(&self) -> &Slab {
        &self.slab
    }

    /// Address of the value at `offset` of a CPU slot that exists.
    #[inline]
    pub(super) fn address(&self, cpu: u32, offset: u64) -> Option<u64> {
        (cpu < self.cpus).then(|| self.slab.address() + u64::from(cpu) * self.cpu_stride + offset)
    }

    /// Writes the value of one CPU slot.
    #[inline]
    pub(super) fn write(&self, cpu: u32, offset: u64, value: Bytes<'_>) {
        debug_assert!(cpu < self.cpus, "a run has a CPU slot of its maps");
        self.layout.write(&self.slab, u64::from(cpu) * self.cpu_stride + offset, value);
    }

    /// Writes the value of one CPU slot and zeroes the others.
    pub(super) fn write_first(&self, cpu: u32, offset: u64, value: Bytes<'_>) {
        for other in (0..self.cpus).filter(|&other| other != cpu) {
            self.layout.retire(&self.slab, u64::from(other) * self.cpu_stride + offset);
            self.slab.fill(u64::from(other) * self.cpu_stride + offset, self.layout.stride(), 0);
        }
        let own = u64::from(cpu) * self.cpu_stride + offset;
        self.slab.fill(own + self.layout.size(), self.padding(), 0);
        self.layout.write_new(&self.slab, u64::from(cpu) * self.cpu_stride + offset, value);
    }

    /// The value of all CPU slots goes.
    pub(super) fn retire(&self, offset: u64) {
        for cpu in 0..u64::from(self.cpus) {
            self.layout.retire(&self.slab, cpu * self.cpu_stride + offset);
        }
    }

    /// Bytes of a value of all CPU slots as user space sees it.
    pub(super) fn user_bytes(&self) -> u64 {
        self.layout.stride() * u64::from(self.cpus)
    }

    /// Writes all CPU slots, padding included, which user space gets back as it gave it.
    pub(super) fn write_all(&self, offset: u64, values: Bytes<'_>) {
        let (size, stride) = (self.layout.size(), self.layout.stride());
        for cpu in 0..u64::from(self.cpus) {
            let at = cpu * self.cpu_stride + offset;
            self.layout.write(&self.slab, at, values.part(cpu * stride, size));
            self.slab.write_bytes(at + size, values.part(cpu * stride + size, self.padding()));
        }
    }

    /// Bytes between a value and the next one.
    fn padding(&self) -> u64 {
        self.layout.stride() - self.layout.size()
    }

    /// Reads all CPU slots.
    pub(super) fn read_all(&self, offset: u64) -> Vec<u8> {
        let mut all = vec![0; self.user_bytes() as usize];
        for (value, cpu) in all.chunks_exact_mut(self.layout.stride() as usize).zip(0_u64..) {
            let at = cpu * self.cpu_stride + offset;
            let (value, padding) = value.split_at_mut(self.layout.size() as usize);
            self.layout.read(&self.slab, at, value);
            self.slab.read(at + self.layout.size(), padding);
        }
        all
    }

    /// Whether the range lies inside one value of one CPU slot.
    pub(super) fn contains(&self, address: u64, len: u64) -> bool {
        let Some(offset) = self.slab.offset_of(address, len) else { return false };
        offset % self.cpu_stride % self.layout.stride() + len <= self.layout.size()
    }
}
