//! Owned program-visible memory: [`Slab`] (values of maps) and [`SharedBytes`] (contexts, packets, stacks).

mod shared;

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous, munmap};

use super::{Bytes, BytesMut, WordSize, raw};

/// Above this many bytes a slab is a mapping of its own (whole pages, given back to the system when dropped).
const MAPPING_THRESHOLD: usize = 64 * 1024;

/// Alignment of small slabs.
const ALIGN: usize = 16;

/// The system has no memory for a slab of that many bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no memory for {len} bytes")]
pub struct OutOfMemory {
    /// Bytes asked for.
    pub len: u64,
}

/// Type-stable memory: zeroed at creation, at a fixed 16-byte-aligned address until dropped (INV-3).
///
/// Programs and host read and write it at the same time; copies are made of relaxed atomic words and bytes, so a
/// concurrent copy may be torn between words but is never undefined. Methods panic when a range or word lies
/// outside the slab: that is a bug of the caller.
#[derive(Debug)]
pub struct Slab {
    base: NonNull<u8>,
    len: usize,
    origin: Origin,
}

#[derive(Clone, Copy, Debug)]
enum Origin {
    /// From the allocator, with this layout.
    Heap(Layout),
    /// An anonymous mapping of that many bytes.
    Mapping(usize),
    /// Zero bytes: nothing to give back.
    Empty,
}

// SAFETY: INV-3: the memory belongs to the slab, is not tied to a thread, and is freed by its last owner only.
unsafe impl Send for Slab {}
// SAFETY: INV-3, INV-6: every access through `&Slab` is atomic.
unsafe impl Sync for Slab {}

impl Slab {
    /// `len` zeroed bytes.
    ///
    /// # Errors
    /// [`OutOfMemory`], for any length that the system cannot serve.
    pub fn new(len: u64) -> Result<Self, OutOfMemory> {
        let error = OutOfMemory { len };
        // Room for rounding up to pages without overflow.
        let size = usize::try_from(len).ok().filter(|&size| size <= isize::MAX as usize / 2).ok_or(error)?;
        if size == 0 {
            return Ok(Self { base: NonNull::<u128>::dangling().cast(), len: 0, origin: Origin::Empty });
        }
        if size >= MAPPING_THRESHOLD {
            return Self::map(size, MapFlags::PRIVATE).ok_or(error);
        }
        let layout = Layout::from_size_align(size.next_multiple_of(8), ALIGN).map_err(|_| error)?;
        // SAFETY: INV-3: the layout has a size above zero.
        let base = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(error)?;
        Ok(Self { base, len: size, origin: Origin::Heap(layout) })
    }

    /// `len` zeroed bytes most of which may never be touched: the system promises address space only.
    ///
    /// # Errors
    /// [`OutOfMemory`], for a length that has no room in the address space.
    pub fn sparse(len: u64) -> Result<Self, OutOfMemory> {
        if len < MAPPING_THRESHOLD as u64 {
            return Self::new(len);
        }
        let size = usize::try_from(len).ok().filter(|&size| size <= isize::MAX as usize / 2);
        size.and_then(|size| Self::map(size, MapFlags::PRIVATE | MapFlags::NORESERVE))
            .ok_or(OutOfMemory { len })
    }

    /// `len` zeroed bytes, a multiple of the page size above 0, that are visible twice: byte `i` and byte `len + i` of
    /// this slab of `2 * len` bytes are the same. A piece that crosses the end of a ring is contiguous so.
    ///
    /// # Errors
    /// [`OutOfMemory`], also for a length that is no multiple of the page size.
    pub fn mirrored(len: u64) -> Result<Self, OutOfMemory> {
        let error = OutOfMemory { len };
        let size = usize::try_from(len).ok().filter(|&size| size <= isize::MAX as usize / 4).ok_or(error)?;
        if size == 0 || !size.is_multiple_of(rustix::param::page_size()) {
            return Err(error);
        }
        let file = memfd_create("beelift-ring", MemfdFlags::CLOEXEC).map_err(|_| error)?;
        ftruncate(&file, len).map_err(|_| error)?;
        let whole = Self::map(2 * size, MapFlags::PRIVATE | MapFlags::NORESERVE).ok_or(error)?;
        for half in [0, size] {
            let at = whole.range(half as u64, len);
            let protection = ProtFlags::READ | ProtFlags::WRITE;
            // SAFETY: INV-3: replaces pages of the mapping that `whole` owns, which nobody else knows yet.
            unsafe { mmap(at.cast(), size, protection, MapFlags::SHARED | MapFlags::FIXED, &file, 0) }
                .map_err(|_| error)?;
        }
        Ok(whole)
    }

    /// Zeroed bytes around a window: `before` bytes, then `window` bytes at a multiple of `window` (a power of two), then
    /// `after` bytes; all multiples of the page size. The system promises address space only, in small pages. The window
    /// begins at `at`, if that is given: where something else is already, there is no memory.
    ///
    /// # Errors
    /// [`OutOfMemory`], also for sizes or an address that are not as above.
    pub fn window(before: u64, window: u64, after: u64, at: Option<u64>) -> Result<Self, OutOfMemory> {
        let len = before.saturating_add(window).saturating_add(after);
        let error = OutOfMemory { len };
        let page = rustix::param::page_size() as u64;
        let whole = |size: u64| size.is_multiple_of(page) && size <= 1 << 40;
        let fits = whole(before) && whole(after) && whole(window) && window.is_power_of_two();
        if !fits || at.is_some_and(|at| !at.is_multiple_of(window) || at < before) {
            return Err(error);
        }
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let (base, len) = if let Some(at) = at {
            let wish = std::ptr::without_provenance_mut((at - before) as usize);
            let flags = flags | MapFlags::FIXED_NOREPLACE;
            // SAFETY: INV-3: a new anonymous mapping where nothing is: it replaces nothing.
            let base = unsafe { mmap_anonymous(wish, len as usize, protection, flags) };
            (base.map_err(|_| error)?.cast::<u8>(), len as usize)
        } else {
            let room = (len + window) as usize;
            // SAFETY: INV-3: a new anonymous mapping at an address of the kernel's choice replaces nothing.
            let room_at = unsafe { mmap_anonymous(std::ptr::null_mut(), room, protection, flags) };
            let room_at = room_at.map_err(|_| error)?.cast::<u8>();
            let start = (room_at.addr() as u64 + before).next_multiple_of(window) - before;
            let head = start as usize - room_at.addr();
            let base = room_at.wrapping_add(head);
            let end = base.wrapping_add(len as usize);
            for (at, len) in [(room_at, head), (end, room - head - len as usize)] {
                if len > 0 {
                    // SAFETY: INV-3: whole pages at an end of the mapping just made, which nobody knows yet.
                    let unmapped = unsafe { munmap(at.cast(), len) };
                    debug_assert!(unmapped.is_ok(), "part of a mapping of ours can be unmapped");
                }
            }
            (base, len as usize)
        };
        // Without small pages a byte written commits two MiB. Older kernels do not know the wish.
        // SAFETY: INV-3: the whole mapping is ours; the advice changes no byte.
        let _ = unsafe { madvise(base.cast(), len, Advice::LinuxNoHugepage) };
        let base = NonNull::new(base).ok_or(error)?;
        Ok(Self { base, len, origin: Origin::Mapping(len) })
    }

    /// Gives whole pages of a mapping back to the system: they read as zero.
    ///
    /// # Panics
    /// Outside the slab, and for a slab that is no mapping or a range that is not of whole pages.
    pub fn discard(&self, offset: u64, len: u64) {
        let page = rustix::param::page_size() as u64;
        let whole = offset.is_multiple_of(page) && len.is_multiple_of(page);
        assert!(whole && matches!(self.origin, Origin::Mapping(_)), "only pages can be given back");
        let at = self.range(offset, len);
        // SAFETY: INV-3, INV-6: pages of our anonymous mapping; to everybody else it looks like a store of zeros.
        let given = unsafe { madvise(at.cast(), len as usize, Advice::LinuxDontNeed) };
        if given.is_err() {
            // Locked pages are kept.
            self.fill(offset, len, 0);
        }
    }

    /// An anonymous mapping of at least one byte.
    fn map(size: usize, flags: MapFlags) -> Option<Self> {
        let rounded = size.next_multiple_of(rustix::param::page_size());
        // SAFETY: INV-3: a new anonymous mapping at an address of the kernel's choice replaces nothing.
        let base = unsafe {
            mmap_anonymous(std::ptr::null_mut(), rounded, ProtFlags::READ | ProtFlags::WRITE, flags)
        };
        let base = NonNull::new(base.ok()?.cast())?;
        Some(Self { base, len: size, origin: Origin::Mapping(rounded) })
    }

    /// Address of the first byte, as programs see it.
    #[inline]
    #[must_use]
    pub fn address(&self) -> u64 {
        self.base.as_ptr().expose_provenance() as u64
    }

    /// Bytes.
    #[inline]
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len as u64
    }

    /// Whether there is no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Offset of the absolute range `[address, address + len)`, if it lies inside.
    #[inline]
    #[must_use]
    pub fn offset_of(&self, address: u64, len: u64) -> Option<u64> {
        let offset = address.checked_sub(self.address())?;
        (offset.checked_add(len)? <= self.len()).then_some(offset)
    }

    /// Whether the absolute range `[address, address + len)` lies inside.
    #[inline]
    #[must_use]
    pub fn contains(&self, address: u64, len: u64) -> bool {
        self.offset_of(address, len).is_some()
    }

    /// Copies out `into.len()` bytes at `offset`.
    ///
    /// # Panics
    /// Outside the slab.
    #[inline]
    pub fn read(&self, offset: u64, into: &mut [u8]) {
        self.bytes(offset, into.len() as u64).read(0, into);
    }

    /// Copies `len` bytes at `offset` into a new vector.
    ///
    /// # Panics
    /// Outside the slab.
    #[must_use]
    pub fn to_vec(&self, offset: u64, len: u64) -> Vec<u8> {
        self.bytes(offset, len).to_vec()
    }

    /// Copies `from` in at `offset`.
    ///
    /// # Panics
    /// Outside the slab.
    #[inline]
    pub fn write(&self, offset: u64, from: &[u8]) {
        self.write_bytes(offset, Bytes::from(from));
    }

    /// Copies other program-visible memory in at `offset`; the two must not overlap (a copy onto exactly itself
    /// is allowed).
    ///
    /// # Panics
    /// Outside the slab.
    #[inline]
    pub fn write_bytes(&self, offset: u64, from: Bytes<'_>) {
        self.bytes_mut(offset, from.len()).write_bytes(0, from);
    }

    /// Sets `len` bytes at `offset`.
    ///
    /// # Panics
    /// Outside the slab.
    #[inline]
    pub fn fill(&self, offset: u64, len: u64, byte: u8) {
        let to = self.range(offset, len);
        // SAFETY: INV-3, INV-6: the range was checked.
        unsafe { raw::fill(to, len as usize, byte) }
    }

    /// Whether the bytes at `offset` equal `bytes`.
    ///
    /// # Panics
    /// Outside the slab.
    #[inline]
    #[must_use]
    pub fn equals(&self, offset: u64, bytes: &[u8]) -> bool {
        self.bytes(offset, bytes.len() as u64).equals(bytes)
    }

    /// A readable view of `len` bytes at `offset`.
    ///
    /// # Panics
    /// Outside the slab.
    #[inline]
    #[must_use]
    pub fn bytes(&self, offset: u64, len: u64) -> Bytes<'_> {
        let at = self.range(offset, len);
        // SAFETY: INV-3, INV-6: the range was checked, and the view borrows the slab.
        unsafe { Bytes::new(at, len as usize) }
    }

    /// A writable view of `len` bytes at `offset`.
    ///
    /// # Panics
    /// Outside the slab.
    #[inline]
    #[must_use]
    pub fn bytes_mut(&self, offset: u64, len: u64) -> BytesMut<'_> {
        let at = self.range(offset, len);
        // SAFETY: INV-3, INV-6: the range was checked, and the view borrows the slab.
        unsafe { BytesMut::new(at, len as usize) }
    }

    /// The 4-byte word at `offset`, for any atomic operation.
    ///
    /// # Panics
    /// Outside the slab or not aligned to 4.
    #[inline]
    #[must_use]
    pub fn atomic_u32(&self, offset: u64) -> &AtomicU32 {
        aligned(offset, 4);
        let at = self.range(offset, 4);
        // SAFETY: INV-3, INV-6: inside the slab, aligned (the base is aligned to 16), borrowed from it.
        unsafe { AtomicU32::from_ptr(at.cast()) }
    }

    /// The 8-byte word at `offset`, for any atomic operation.
    ///
    /// # Panics
    /// Outside the slab or not aligned to 8.
    #[inline]
    #[must_use]
    pub fn atomic_u64(&self, offset: u64) -> &AtomicU64 {
        aligned(offset, 8);
        let at = self.range(offset, 8);
        // SAFETY: INV-3, INV-6: inside the slab, aligned (the base is aligned to 16), borrowed from it.
        unsafe { AtomicU64::from_ptr(at.cast()) }
    }

    /// The `N` words of 8 bytes from `offset` on, for any atomic operation: one check for all of them.
    ///
    /// # Panics
    /// Outside the slab or not aligned to 8.
    #[inline]
    #[must_use]
    pub fn atomic_words<const N: usize>(&self, offset: u64) -> &[AtomicU64; N] {
        aligned(offset, 8);
        let at = self.range(offset, 8 * N as u64);
        // SAFETY: INV-3, INV-6: `N` words inside the slab, aligned (the base is aligned to 16), borrowed from it; an
        // atomic word is laid out as a word.
        unsafe { &*at.cast::<[AtomicU64; N]>() }
    }

    /// Loads a word, zero-extended: in one piece if it is aligned.
    ///
    /// # Panics
    /// Outside the slab.
    #[inline]
    #[must_use]
    pub fn load(&self, offset: u64, size: WordSize) -> u64 {
        if !offset.is_multiple_of(size.bytes()) {
            let mut word = [0; 8];
            self.read(offset, &mut word[..size.bytes() as usize]);
            return u64::from_le_bytes(word);
        }
        match size {
            WordSize::B1 => u64::from(self.bytes(offset, 1).byte(0)),
            WordSize::B2 => u64::from(self.atomic_u16(offset).load(Relaxed)),
            WordSize::B4 => u64::from(self.atomic_u32(offset).load(Relaxed)),
            WordSize::B8 => self.atomic_u64(offset).load(Relaxed),
        }
    }

    /// Stores the low bytes of `value`: in one piece if the word is aligned.
    ///
    /// # Panics
    /// Outside the slab.
    #[inline]
    pub fn store(&self, offset: u64, size: WordSize, value: u64) {
        if !offset.is_multiple_of(size.bytes()) {
            return self.write(offset, &value.to_le_bytes()[..size.bytes() as usize]);
        }
        match size {
            WordSize::B1 => self.write(offset, &[value as u8]),
            WordSize::B2 => self.atomic_u16(offset).store(value as u16, Relaxed),
            WordSize::B4 => self.atomic_u32(offset).store(value as u32, Relaxed),
            WordSize::B8 => self.atomic_u64(offset).store(value, Relaxed),
        }
    }

    /// Stores 8-byte words one after another.
    ///
    /// # Panics
    /// Outside the slab or not aligned to 8.
    #[inline]
    pub fn store_words<const N: usize>(&self, offset: u64, words: [u64; N]) {
        aligned(offset, 8);
        let at: *mut u64 = self.range(offset, 8 * N as u64).cast();
        for (i, word) in words.into_iter().enumerate() {
            // SAFETY: INV-3, INV-6: inside the range that was checked, aligned (the base is aligned to 16).
            unsafe { AtomicU64::from_ptr(at.wrapping_add(i)) }.store(word, Relaxed);
        }
    }

    /// The 2-byte word at an aligned `offset`.
    #[inline]
    fn atomic_u16(&self, offset: u64) -> &AtomicU16 {
        aligned(offset, 2);
        let at = self.range(offset, 2);
        // SAFETY: INV-3, INV-6: inside the slab, aligned (the base is aligned to 16), borrowed from it.
        unsafe { AtomicU16::from_ptr(at.cast()) }
    }

    /// Pointer to `len` bytes at `offset`.
    #[inline]
    fn range(&self, offset: u64, len: u64) -> *mut u8 {
        let inside = offset.checked_add(len).is_some_and(|end| end <= self.len());
        if !inside {
            outside(offset, len, self.len);
        }
        // SAFETY: INV-3: in bounds by the test above.
        unsafe { self.base.as_ptr().add(offset as usize) }
    }
}

/// Panics unless a word at `offset` is aligned to `size` bytes.
#[inline]
fn aligned(offset: u64, size: u64) {
    if !offset.is_multiple_of(size) {
        unaligned(offset, size);
    }
}

// Panics apart: their messages would keep numbers on the stack of whoever checks them.
#[cold]
#[inline(never)]
#[track_caller]
fn unaligned(offset: u64, size: u64) -> ! {
    panic!("word at {offset} is not aligned to {size}")
}

#[cold]
#[inline(never)]
#[track_caller]
fn outside(offset: u64, len: u64, size: usize) -> ! {
    panic!("{len} bytes at {offset} are outside a slab of {size}")
}

impl Drop for Slab {
    fn drop(&mut self) {
        match self.origin {
            // SAFETY: INV-3: allocated with this layout in `new`, and the last owner is gone.
            Origin::Heap(layout) => unsafe { dealloc(self.base.as_ptr(), layout) },
            Origin::Mapping(size) => {
                // SAFETY: INV-3: mapped with this size in `new`, and the last owner is gone.
                let unmapped = unsafe { munmap(self.base.as_ptr().cast(), size) };
                debug_assert!(unmapped.is_ok(), "a whole mapping of ours can be unmapped");
            }
            Origin::Empty => {}
        }
    }
}

/// A buffer that a run shows to a program: a [`Slab`] with one owner, who between runs may use it as a plain
/// slice.
#[derive(Debug)]
pub struct SharedBytes(Slab);

impl SharedBytes {
    /// `len` zeroed bytes at a fixed 16-byte-aligned address.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn new(len: u64) -> Result<Self, OutOfMemory> {
        Slab::new(len).map(Self)
    }

    /// The bytes while no program can see them (the exclusive borrow proves it).
    #[must_use]
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: INV-3: `len` initialised bytes; INV-4: a run borrows the buffer, so `&mut` means that none runs.
        unsafe { std::slice::from_raw_parts_mut(self.0.base.as_ptr(), self.0.len) }
    }
}

impl Deref for SharedBytes {
    type Target = Slab;

    fn deref(&self) -> &Slab {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering::SeqCst;

    /// Lengths on both sides of the threshold between heap and mapping.
    const LENGTHS: [u64; 7] = [0, 1, 7, 8, 4097, 65_535, 65_536];

    #[test]
    fn is_zeroed_aligned_and_as_long_as_asked() {
        for len in LENGTHS {
            let slab = Slab::new(len).unwrap();
            assert_eq!(slab.len(), len);
            assert_eq!(slab.address() % 16, 0);
            assert!(slab.to_vec(0, len).iter().all(|&byte| byte == 0));
        }
    }

    #[test]
    fn what_is_written_at_any_alignment_is_read_back() {
        let slab = Slab::new(64).unwrap();
        for offset in 0..17_u8 {
            for len in 0..33_u8 {
                slab.fill(0, 64, 0xaa);
                let bytes: Vec<u8> = (0..len).map(|i| i + offset).collect();
                slab.write(u64::from(offset), &bytes);
                assert_eq!(slab.to_vec(u64::from(offset), u64::from(len)), bytes);
                assert!(slab.equals(u64::from(offset), &bytes));
                let around = slab.to_vec(0, 64);
                let outside = around.iter().filter(|&&byte| byte == 0xaa).count();
                assert_eq!(outside, 64 - usize::from(len), "bytes outside the range were written");
            }
        }
    }

    #[test]
    fn a_range_past_the_end_panics() {
        let slab = Slab::new(16).unwrap();
        for (offset, len) in [(16, 1), (9, 8), (u64::MAX, 2), (0, 17)] {
            let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| slab.to_vec(offset, len)));
            assert!(read.is_err(), "{len} bytes at {offset}");
        }
    }

    #[test]
    fn absurd_lengths_are_out_of_memory() {
        for len in [u64::MAX, i64::MAX as u64, 1 << 60] {
            assert_eq!(Slab::new(len).unwrap_err(), OutOfMemory { len });
        }
    }

    #[test]
    fn both_halves_of_a_mirrored_slab_are_the_same() {
        let slab = Slab::mirrored(8192).unwrap();
        assert_eq!(slab.len(), 16384);
        slab.write(8190, &[1, 2, 3, 4]);
        assert_eq!((slab.to_vec(0, 2), slab.to_vec(16382, 2)), (vec![3, 4], vec![1, 2]));
        for len in [0, 1, 4097, 1 << 60, u64::MAX] {
            assert_eq!(Slab::mirrored(len).unwrap_err(), OutOfMemory { len });
        }
    }

    #[test]
    fn a_sparse_slab_may_be_larger_than_memory() {
        let slab = Slab::sparse(1 << 40).unwrap();
        slab.write((1 << 40) - 1, &[7]);
        assert_eq!(slab.to_vec((1 << 40) - 2, 2), [0, 7]);
        assert!(Slab::sparse(1 << 60).is_err());
    }

    #[test]
    fn a_window_lies_at_a_multiple_of_its_size_and_pages_can_be_given_back() {
        let window = 1 << 24;
        let slab = Slab::window(8192, window, 4096, None).unwrap();
        assert_eq!((slab.len(), (slab.address() + 8192) % window), (8192 + window + 4096, 0));
        slab.fill(4096, 8192, 7);
        slab.discard(8192, 4096);
        assert_eq!((slab.to_vec(8190, 3), slab.to_vec(12287, 1)), (vec![7, 7, 0], vec![0]));
        let taken = Some(slab.address() + 8192);
        assert!(Slab::window(8192, window, 4096, taken).is_err(), "something is there");
        assert!(Slab::window(8192, window, 4096, Some(4096)).is_err(), "not a multiple");
        assert!(Slab::window(1, window, 4096, None).is_err() && Slab::window(0, 3 << 20, 0, None).is_err());
    }

    #[test]
    fn words_are_shared_between_threads() {
        let slab = Slab::new(8).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| _ = slab.atomic_u64(0).fetch_add(1, SeqCst)));
            }
        });
        assert_eq!(slab.atomic_u64(0).load(SeqCst), 4000);
    }

    #[test]
    fn contains_knows_both_ends() {
        let slab = Slab::new(32).unwrap();
        let at = slab.address();
        assert!(slab.contains(at, 32) && slab.contains(at + 31, 1) && slab.contains(at + 32, 0));
        assert!(!slab.contains(at, 33) && !slab.contains(at - 1, 1) && !slab.contains(u64::MAX, 2));
    }
}
