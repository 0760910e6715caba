//! The memory of the heap: pieces of a few sizes, each with a type and a count beside it.
//!
//! A chunk is cut into pieces of one size when it is first used, and stays so. A piece that was given back is used again
//! after many others: programs may still read it, and mostly find what was in it, as they do in the kernel until the end
//! of the RCU read section.
#![forbid(unsafe_code)]

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Mutex, OnceLock, PoisonError, RwLock};

use super::types::{KnownType, ObjectType};
use crate::mem::Slab;

/// Bytes of all objects together. The system promises address space only.
const WINDOW: u64 = 1 << 30;
const CHUNK: u64 = 64 << 10;
/// Bytes behind the window: more than an object has.
const GUARD: u64 = CHUNK;
/// Sizes of pieces.
const SIZES: [u32; 15] =
    [16, 32, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096, 8192, 16 << 10, 32 << 10, 64 << 10];
/// The largest object of `bpf_obj_new`: what the kernel's allocator serves.
pub(crate) const LARGEST: u32 = 4096 - 8;
/// So many bytes of a size rest before a piece of them is used again, and so many pieces at least.
const RESTING_BYTES: usize = 256 << 10;
const RESTING_PIECES: usize = 64;
/// Types: more than a process has a use for.
const MOST_TYPES: usize = 1 << 20;

/// All objects of the process.
pub(crate) struct Heap {
    memory: Slab,
    chunks: Box<[OnceLock<Chunk>]>,
    next_chunk: AtomicU32,
    classes: [Mutex<Class>; SIZES.len()],
    types: RwLock<Types>,
    cpus: u32,
}

#[derive(Default)]
struct Types {
    all: Vec<&'static ObjectType>,
    numbers: HashMap<&'static ObjectType, u32>,
}

/// Pieces of one size.
struct Chunk {
    size: u32,
    headers: Box<[Header]>,
}

/// What is known of a piece.
#[derive(Default)]
struct Header {
    /// References; 0: there is no object.
    count: AtomicU32,
    /// Number of the type + 1; 0: there was none ever.
    kind: AtomicU32,
}

/// Free pieces of one size, by their number.
#[derive(Default)]
struct Class {
    /// The one that rests longest first.
    resting: VecDeque<u32>,
    /// The chunk that is being used up, and how many of its pieces are.
    open: Option<(u32, u32)>,
}

/// A piece that is or was an object.
#[derive(Clone, Copy)]
pub(crate) struct Piece<'h> {
    /// Offset of its first byte in the heap.
    pub(crate) start: u64,
    header: &'h Header,
    pub(crate) of: &'static ObjectType,
}

impl Piece<'_> {
    /// Whether the object is there.
    pub(crate) fn lives(&self) -> bool {
        self.header.count.load(Acquire) != 0
    }
}

/// The heap; none where the system refuses address space.
pub(crate) fn heap() -> Option<&'static Heap> {
    // The one thing that all of a process shares: see the module's head.
    static HEAP: OnceLock<Option<Heap>> = OnceLock::new();
    HEAP.get_or_init(Heap::new).as_ref()
}

impl Heap {
    fn new() -> Option<Self> {
        let memory = Slab::sparse(WINDOW + GUARD).ok()?;
        Some(Self {
            memory,
            chunks: (0..WINDOW / CHUNK).map(|_| OnceLock::new()).collect(),
            next_chunk: AtomicU32::new(0),
            classes: std::array::from_fn(|_| Mutex::default()),
            types: RwLock::default(),
            cpus: crate::cpu::possible(),
        })
    }

    /// The number of a type.
    pub(crate) fn know(&self, of: ObjectType) -> KnownType {
        let mut types = self.types.write().unwrap_or_else(PoisonError::into_inner);
        if let Some((&of, &number)) = types.numbers.get_key_value(&of) {
            return KnownType { number, of };
        }
        assert!(types.all.len() < MOST_TYPES, "types of objects are few");
        // Objects of the type may lie in any map.
        let of: &'static ObjectType = Box::leak(Box::new(of));
        let number = types.all.len() as u32; // at most `MOST_TYPES`
        types.all.push(of);
        types.numbers.insert(of, number);
        KnownType { number, of }
    }

    fn type_at(&self, number: u32) -> Option<&'static ObjectType> {
        let types = self.types.read().unwrap_or_else(PoisonError::into_inner);
        types.all.get(number as usize).copied() // u32 to usize
    }

    /// A new object with one reference, all zero; its address.
    pub(crate) fn allocate(&self, known: KnownType) -> Option<u64> {
        let class = SIZES.iter().position(|&size| size >= known.of.size)?;
        let number = self.free_piece(class)?;
        let (start, header) = self.piece_at(number)?;
        self.memory.fill(start, u64::from(SIZES[class]), 0);
        header.kind.store(known.number + 1, Relaxed);
        header.count.store(1, Release);
        Some(self.memory.address() + start)
    }

    fn free_piece(&self, class: usize) -> Option<u32> {
        let size = SIZES[class];
        let mut pieces = self.classes[class].lock().unwrap_or_else(PoisonError::into_inner);
        if pieces.resting.len() > (RESTING_BYTES / size as usize).max(RESTING_PIECES) {
            return pieces.resting.pop_front();
        }
        let count = CHUNK as u32 / size;
        let (chunk, used) = match pieces.open {
            Some((chunk, used)) if used < count => (chunk, used),
            Some(_) | None => match self.new_chunk(size) {
                Some(chunk) => (chunk, 0),
                None => return pieces.resting.pop_front(),
            },
        };
        pieces.open = Some((chunk, used + 1));
        Some(chunk * PIECES + used)
    }

    fn new_chunk(&self, size: u32) -> Option<u32> {
        let last = self.chunks.len() as u32; // some thousands
        let taken = self.next_chunk.fetch_update(Relaxed, Relaxed, |next| (next < last).then_some(next + 1));
        let chunk = taken.ok()?;
        let headers = (0..CHUNK as u32 / size).map(|_| Header::default()).collect();
        self.chunks[chunk as usize].get_or_init(|| Chunk { size, headers });
        Some(chunk)
    }

    /// Offset and header of a piece by number.
    fn piece_at(&self, number: u32) -> Option<(u64, &Header)> {
        let (index, inside) = (number / PIECES, number % PIECES);
        let chunk = self.chunks.get(index as usize)?.get()?;
        let start = u64::from(index) * CHUNK + u64::from(inside) * u64::from(chunk.size);
        Some((start, chunk.headers.get(inside as usize)?))
    }

    /// Number, offset and header of the piece in which an address lies.
    fn find(&self, address: u64) -> Option<(u32, u64, &Header)> {
        let offset = self.memory.offset_of(address, 1)?;
        let index = u32::try_from(offset / CHUNK).ok()?;
        let chunk = self.chunks.get(index as usize)?.get()?;
        let inside = (offset % CHUNK) as u32 / chunk.size;
        let start = u64::from(index) * CHUNK + u64::from(inside) * u64::from(chunk.size);
        Some((index * PIECES + inside, start, chunk.headers.get(inside as usize)?))
    }

    /// The object in which `len` bytes at an address lie, if it is or was one.
    pub(crate) fn piece(&self, address: u64, len: u64) -> Option<Piece<'_>> {
        let (_, start, header) = self.find(address)?;
        let of = self.type_at(header.kind.load(Acquire).checked_sub(1)?)?;
        let end = (address - self.memory.address() - start).checked_add(len)?;
        (end <= u64::from(of.size)).then_some(Piece { start, header, of })
    }

    /// The object in which `len` bytes at an address lie.
    pub(crate) fn object(&self, address: u64, len: u64) -> Option<Piece<'_>> {
        self.piece(address, len).filter(Piece::lives)
    }

    /// Whether an object begins at an address.
    pub(crate) fn is_object(&self, address: u64) -> bool {
        let found = self.find(address);
        found.is_some_and(|(_, start, header)| {
            self.memory.address() + start == address && header.count.load(Acquire) != 0
        })
    }

    /// Where the object begins in which an address lies.
    pub(crate) fn start_of(&self, address: u64) -> Option<u64> {
        self.find(address).map(|(_, start, _)| self.memory.address() + start)
    }

    /// Address of the piece at an offset.
    pub(crate) fn address_of(&self, offset: u64) -> u64 {
        self.memory.address() + offset
    }

    /// One more reference to an object, unless it is gone.
    pub(crate) fn acquire(&self, address: u64) -> bool {
        let Some((_, _, header)) = self.find(address) else { return false };
        let more = |count: u32| if count == 0 { None } else { count.checked_add(1) };
        header.count.fetch_update(AcqRel, Relaxed, more).is_ok()
    }

    /// One reference less. Whether that was the last one: then the object is the caller's to take apart and
    /// [`reuse`](Self::reuse).
    pub(super) fn give_up(&self, address: u64) -> bool {
        let Some((_, _, header)) = self.find(address) else { return false };
        let less = |count: u32| count.checked_sub(1);
        header.count.fetch_update(AcqRel, Relaxed, less) == Ok(1)
    }

    /// The memory of an object without references is free.
    pub(super) fn reuse(&self, address: u64) {
        let Some((number, start, _)) = self.find(address) else { return };
        let Some(class) = self
            .chunks
            .get((start / CHUNK) as usize)
            .and_then(OnceLock::get)
            .and_then(|chunk| SIZES.iter().position(|&size| size == chunk.size))
        else {
            return;
        };
        self.classes[class].lock().unwrap_or_else(PoisonError::into_inner).resting.push_back(number);
    }

    /// Possible CPUs of the machine.
    pub(crate) fn cpus(&self) -> u32 {
        self.cpus
    }

    /// The memory of all objects.
    pub(crate) fn memory(&self) -> &Slab {
        &self.memory
    }

    /// `N` words of an object that is or was there.
    pub(crate) fn words<const N: usize>(&self, address: u64) -> Option<&[AtomicU64; N]> {
        if !address.is_multiple_of(8) {
            return None;
        }
        self.piece(address, 8 * N as u64)?;
        Some(self.memory.atomic_words(self.memory.offset_of(address, 8 * N as u64)?))
    }

    /// Objects that are there, of the types whose numbers are asked for.
    pub(super) fn count(&self, of: impl Fn(u32) -> bool) -> usize {
        let headers = self.chunks.iter().filter_map(OnceLock::get).flat_map(|chunk| &chunk.headers);
        let alive = headers.filter(|header| header.count.load(Acquire) != 0);
        alive.filter(|header| header.kind.load(Relaxed).checked_sub(1).is_some_and(&of)).count()
    }
}

/// Numbers of pieces in a chunk: as many as fit at most.
const PIECES: u32 = CHUNK as u32 / SIZES[0];
