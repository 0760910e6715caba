//! Checked access by absolute address: the interpreter's memory.
//!
//! Every access is resolved to a registered [`Slab`] first, so a wrong address is a [`Fault`] and never undefined
//! behaviour; nothing here is unsafe. What is registered is what a program of that run may touch (INV-2).

mod place;

use super::{Bytes, BytesMut, Slab};
use crate::heap::heap;
use crate::helper::Effects;
use crate::map::{MapFlags, MapHandle};
pub use place::Place;

/// A refused access.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{} of {len} bytes at {address:#x} is not allowed", if *write { "write" } else { "read" })]
pub struct Fault {
    /// Absolute address of the first byte.
    pub address: u64,
    /// Bytes.
    pub len: u64,
    /// Whether it was a write.
    pub write: bool,
}

/// What a region is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RegionKind {
    /// The native context structure.
    Context,
    /// A stack frame (or several).
    Stack,
    /// Packet bytes.
    Packet,
    /// A buffer given by the host (type `memory`, raw contexts).
    Memory,
    /// A map's memory.
    Map,
    /// A socket that a helper found.
    Lent,
    /// An object that a program allocated.
    Object,
}

/// Size of a load or store.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs, reason = "bytes")]
pub enum WordSize {
    B1,
    B2,
    B4,
    B8,
}

impl WordSize {
    /// From a number of bytes.
    #[must_use]
    pub fn from_bytes(bytes: u64) -> Option<Self> {
        match bytes {
            1 => Some(Self::B1),
            2 => Some(Self::B2),
            4 => Some(Self::B4),
            8 => Some(Self::B8),
            _ => None,
        }
    }

    /// Bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        match self {
            Self::B1 => 1,
            Self::B2 => 2,
            Self::B4 => 4,
            Self::B8 => 8,
        }
    }
}

/// Width of an atomic operation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs, reason = "bits")]
pub enum AtomicSize {
    W32,
    W64,
}

/// What an atomic operation does with the old value and its operand.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs, reason = "named as in RFC 9669")]
pub enum AtomicOp {
    Add,
    Or,
    And,
    Xor,
    Exchange,
}

/// A part of a slab that is visible under its own address.
#[derive(Clone, Copy)]
struct Region<'a> {
    kind: RegionKind,
    slab: &'a Slab,
    extent: Extent<'a>,
    writable: bool,
}

/// Where a region begins and ends.
#[derive(Clone, Copy)]
enum Extent<'a> {
    /// Absolute start and length.
    Fixed(u64, u64),
    /// Absolute start and end are the 8-byte words at these offsets of a native context: they follow helpers
    /// that move the packet.
    Words { context: &'a Slab, start: u64, end: u64 },
}

/// The memory of one run.
#[derive(Default)]
pub struct Regions<'a> {
    regions: Vec<Region<'a>>,
    maps: &'a [Box<MapHandle>],
    /// Where sockets are that helpers lend to the run.
    lent: Option<&'a Effects>,
    /// Whether the program has to do with allocated objects.
    objects: bool,
}

impl<'a> Regions<'a> {
    /// Memory of a program with these maps.
    #[must_use]
    pub fn new(maps: &'a [Box<MapHandle>]) -> Self {
        Self { regions: Vec::new(), maps, lent: None, objects: false }
    }

    /// Shows for reads what helpers lend to the run.
    pub fn add_lent(&mut self, effects: &'a Effects) {
        self.lent = Some(effects);
    }

    /// Shows allocated objects, and for reads what is left of those that are gone.
    pub fn add_objects(&mut self) {
        self.objects = true;
    }

    /// Shows a whole slab for reads and writes.
    pub fn add(&mut self, kind: RegionKind, slab: &'a Slab) {
        let extent = Extent::Fixed(slab.address(), slab.len());
        self.regions.push(Region { kind, slab, extent, writable: true });
    }

    /// Shows a whole slab for reads only.
    pub fn add_read_only(&mut self, kind: RegionKind, slab: &'a Slab) {
        let extent = Extent::Fixed(slab.address(), slab.len());
        self.regions.push(Region { kind, slab, extent, writable: false });
    }

    /// Shows the first `len` bytes of a slab.
    pub fn add_part(&mut self, kind: RegionKind, slab: &'a Slab, len: u64) {
        let extent = Extent::Fixed(slab.address(), len.min(slab.len()));
        self.regions.push(Region { kind, slab, extent, writable: true });
    }

    /// Shows `len` bytes of a slab from `offset` on, until [`Regions::pop`].
    pub fn push(&mut self, kind: RegionKind, slab: &'a Slab, offset: u64, len: u64) {
        let start = slab.address() + offset.min(slab.len());
        let extent = Extent::Fixed(start, len.min(slab.len() - offset.min(slab.len())));
        self.regions.push(Region { kind, slab, extent, writable: true });
    }

    /// Hides again what was shown last.
    pub fn pop(&mut self) {
        self.regions.pop();
    }

    /// Shows the part of `buffer` between the absolute addresses held by two 8-byte words of a native context.
    pub fn add_packet(&mut self, buffer: &'a Slab, context: &'a Slab, start: u64, end: u64) {
        let extent = Extent::Words { context, start, end };
        self.regions.push(Region { kind: RegionKind::Packet, slab: buffer, extent, writable: true });
    }

    /// What lies at `address`, if anything.
    #[must_use]
    pub fn kind_of(&self, address: u64) -> Option<RegionKind> {
        self.resolve(address, 1, false).ok().map(|(kind, ..)| kind)
    }

    /// Whether the program may access the range.
    ///
    /// # Errors
    /// [`Fault`] if not.
    pub fn check(&self, address: u64, len: u64, write: bool) -> Result<(), Fault> {
        if len == 0 { Ok(()) } else { self.resolve(address, len, write).map(|_| ()) }
    }

    /// Loads a word, zero-extended.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn load(&self, address: u64, size: WordSize) -> Result<u64, Fault> {
        let (_, slab, offset) = self.resolve(address, size.bytes(), false)?;
        Ok(slab.load(offset, size))
    }

    /// Stores the low bytes of `value`.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn store(&self, address: u64, size: WordSize, value: u64) -> Result<(), Fault> {
        let (_, slab, offset) = self.resolve(address, size.bytes(), true)?;
        slab.store(offset, size, value);
        Ok(())
    }

    /// Does an atomic operation and returns the old value (zero-extended). An unaligned word, which the kernel
    /// allows on x86-64, is read and written in two steps.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn atomic(&self, address: u64, size: AtomicSize, op: AtomicOp, operand: u64) -> Result<u64, Fault> {
        let (_, slab, offset) = self.resolve(address, size.word().bytes(), true)?;
        Ok(slab.atomic(offset, size, op, operand))
    }

    /// Stores `new` if the word equals `expected` (both truncated to the width) and returns the old value
    /// (zero-extended). Unaligned words as in [`Regions::atomic`].
    ///
    /// # Errors
    /// [`Fault`].
    pub fn compare_exchange(
        &self,
        address: u64,
        size: AtomicSize,
        expected: u64,
        new: u64,
    ) -> Result<u64, Fault> {
        let (_, slab, offset) = self.resolve(address, size.word().bytes(), true)?;
        Ok(slab.compare_exchange(offset, size, expected, new))
    }

    /// Copies program memory out.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn copy_out(&self, address: u64, into: &mut [u8]) -> Result<(), Fault> {
        self.bytes(address, into.len() as u64)?.read(0, into);
        Ok(())
    }

    /// Copies into program memory.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn copy_in(&self, address: u64, from: &[u8]) -> Result<(), Fault> {
        self.bytes_mut(address, from.len() as u64)?.write(0, from);
        Ok(())
    }

    /// A readable view; an empty one is valid at any address.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn bytes(&self, address: u64, len: u64) -> Result<Bytes<'_>, Fault> {
        if len == 0 {
            return Ok(Bytes::from(&[]));
        }
        let (_, slab, offset) = self.resolve(address, len, false)?;
        Ok(slab.bytes(offset, len))
    }

    /// A writable view of at least one byte.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn bytes_mut(&self, address: u64, len: u64) -> Result<BytesMut<'_>, Fault> {
        let (_, slab, offset) = self.resolve(address, len, true)?;
        Ok(slab.bytes_mut(offset, len))
    }

    /// The slab and offset of a range that the program may access.
    fn resolve(&self, address: u64, len: u64, write: bool) -> Result<(RegionKind, &Slab, u64), Fault> {
        let fault = Fault { address, len, write };
        for region in &self.regions {
            let (start, end) = region.extent.range();
            let inside = address >= start && address.checked_add(len).is_some_and(|last| last <= end);
            if inside && let Some(offset) = region.slab.offset_of(address, len) {
                let allowed = region.writable || !write;
                return if allowed { Ok((region.kind, region.slab, offset)) } else { Err(fault) };
            }
        }
        for handle in self.maps {
            let map = &*handle.map;
            if map.contains(address, len)
                && let Some(slab) = map.memory(address)
                && let Some(offset) = slab.offset_of(address, len)
            {
                let forbidden = if write { MapFlags::RDONLY_PROG } else { MapFlags::WRONLY_PROG };
                let allowed = !map.def().flags.contains(forbidden);
                return if allowed { Ok((RegionKind::Map, slab, offset)) } else { Err(fault) };
            }
        }
        if let Some(slab) = self.lent.and_then(|effects| effects.lent_memory(address))
            && let Some(offset) = slab.offset_of(address, len)
            && !write
        {
            return Ok((RegionKind::Lent, slab, offset));
        }
        if let Some(heap) = heap().filter(|_| self.objects)
            && let Some(piece) = heap.piece(address, len)
            && (!write || piece.lives())
            && let Some(offset) = heap.memory().offset_of(address, len)
        {
            return Ok((RegionKind::Object, heap.memory(), offset));
        }
        Err(fault)
    }
}

impl Extent<'_> {
    /// Absolute start and end.
    fn range(&self) -> (u64, u64) {
        match *self {
            Self::Fixed(start, len) => (start, start.saturating_add(len)),
            Self::Words { context, start, end } => {
                (context.load(start, WordSize::B8), context.load(end, WordSize::B8))
            }
        }
    }
}

impl AtomicSize {
    /// The word it works on.
    pub(super) const fn word(self) -> WordSize {
        match self {
            Self::W32 => WordSize::B4,
            Self::W64 => WordSize::B8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::SharedBytes;

    fn fault(address: u64, len: u64, write: bool) -> Fault {
        Fault { address, len, write }
    }

    #[test]
    fn words_are_little_endian_and_bounded() {
        let stack = SharedBytes::new(16).unwrap();
        let mut regions = Regions::new(&[]);
        regions.add(RegionKind::Stack, &stack);
        let at = stack.address();
        regions.store(at + 3, WordSize::B8, 0x0102_0304_0506_0708).unwrap();
        assert_eq!(regions.load(at + 3, WordSize::B1).unwrap(), 8);
        assert_eq!(regions.load(at + 4, WordSize::B2).unwrap(), 0x0607);
        assert_eq!(regions.load(at + 4, WordSize::B4).unwrap(), 0x0405_0607);
        assert_eq!(regions.load(at + 8, WordSize::B8).unwrap(), 0x01_0203);
        assert_eq!(regions.load(at + 9, WordSize::B8).unwrap_err(), fault(at + 9, 8, false));
        assert_eq!(regions.store(at - 1, WordSize::B1, 0).unwrap_err(), fault(at - 1, 1, true));
        assert_eq!(regions.check(u64::MAX, 2, false).unwrap_err(), fault(u64::MAX, 2, false));
        assert_eq!(regions.kind_of(at), Some(RegionKind::Stack));
        assert_eq!(regions.kind_of(0), None);
    }

    #[test]
    fn atomics_return_the_old_value_at_both_widths_and_any_alignment() {
        let memory = SharedBytes::new(32).unwrap();
        let mut regions = Regions::new(&[]);
        regions.add(RegionKind::Memory, &memory);
        let ops = [
            (AtomicOp::Add, 0xf000_0001_u64),
            (AtomicOp::Or, 0x0f),
            (AtomicOp::And, 0xf0f0_f0f0_f0f0_f0f0),
            (AtomicOp::Xor, u64::MAX),
            (AtomicOp::Exchange, 0x1_0000_0002),
        ];
        for offset in [0, 8, 3, 9] {
            for (size, mask) in [(AtomicSize::W32, u64::from(u32::MAX)), (AtomicSize::W64, u64::MAX)] {
                for (op, operand) in ops {
                    let at = memory.address() + offset;
                    let before = 0x8123_4567_f123_4567;
                    regions.store(at, WordSize::B8, before).unwrap();
                    let old = regions.atomic(at, size, op, operand).unwrap();
                    let expect = match op {
                        AtomicOp::Add => before.wrapping_add(operand),
                        AtomicOp::Or => before | operand,
                        AtomicOp::And => before & operand,
                        AtomicOp::Xor => before ^ operand,
                        AtomicOp::Exchange => operand,
                    };
                    assert_eq!(old, before & mask);
                    let after = regions.load(at, WordSize::B8).unwrap();
                    assert_eq!(after, (before & !mask) | (expect & mask), "{op:?} {size:?} at {offset}");
                    let kept = regions.compare_exchange(at, size, !after, 5).unwrap();
                    assert_eq!(kept, after & mask);
                    regions.compare_exchange(at, size, after, 5).unwrap();
                    assert_eq!(regions.load(at, WordSize::B8).unwrap(), (before & !mask) | 5);
                }
            }
        }
    }

    #[test]
    fn a_packet_region_follows_the_words_of_its_context() {
        let (context, packet) = (SharedBytes::new(16).unwrap(), SharedBytes::new(64).unwrap());
        let mut regions = Regions::new(&[]);
        regions.add_packet(&packet, &context, 0, 8);
        let at = packet.address();
        assert!(regions.load(at, WordSize::B1).is_err());
        context.store(0, WordSize::B8, at + 8);
        context.store(8, WordSize::B8, at + 16);
        assert!(regions.load(at + 8, WordSize::B8).is_ok());
        assert!(regions.load(at + 7, WordSize::B1).is_err() && regions.load(at + 16, WordSize::B1).is_err());
        // A context that lies about its packet still cannot leave the buffer.
        context.store(8, WordSize::B8, u64::MAX);
        assert!(regions.load(at + 60, WordSize::B8).is_err());
    }

    #[test]
    fn pushed_parts_are_visible_until_popped() {
        let stack = SharedBytes::new(32).unwrap();
        let mut regions = Regions::new(&[]);
        regions.push(RegionKind::Stack, &stack, 8, 8);
        let at = stack.address() + 8;
        assert!(regions.store(at, WordSize::B8, 1).is_ok());
        assert!(regions.load(at - 1, WordSize::B1).is_err() && regions.load(at + 1, WordSize::B8).is_err());
        regions.pop();
        assert!(regions.load(at, WordSize::B1).is_err());
        regions.push(RegionKind::Stack, &stack, 40, 8);
        assert!(regions.load(stack.address() + 40, WordSize::B1).is_err());
    }

    #[test]
    fn read_only_memory_refuses_writes() {
        let memory = SharedBytes::new(8).unwrap();
        let mut regions = Regions::new(&[]);
        regions.add_read_only(RegionKind::Memory, &memory);
        assert!(regions.load(memory.address(), WordSize::B8).is_ok());
        assert!(regions.store(memory.address(), WordSize::B1, 0).is_err());
        assert!(regions.check(memory.address() + 100, 0, true).is_ok());
    }
}
