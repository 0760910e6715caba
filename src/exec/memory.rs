//! `CodeMemory`: where native code lives: arenas of a memfd mapped twice.
//!
//! One mapping of an arena is writable and never executable, the other executable and never writable: a page
//! that holds running code of one program can still receive the code of another. Code is reached at the
//! executable address only. Free space and both edges are filled with trap bytes; the first and the last page
//! of the executable view are guard pages without any access.
//!
//! The executable view is put near our own code if there is room: processors predict calls over more than 4 GiB badly, and
//! a program calls helpers and is called itself (`exec::link` reaches what is farther away all the same).
//!
//! In: sizes and bytes. Out: [`Writable`] blocks that become [`Executable`] by value and give their space back
//! when dropped. Not here: relocations (`exec::link`), entering code (`exec::entry`).

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::MemfdFlags;
use rustix::mm::{MapFlags, ProtFlags};

/// Address space of one arena; physical pages come with use.
const ARENA_BYTES: usize = 64 << 20;
/// Blocks start and end at multiples of this (a cache line).
const GRANULE: usize = 64;
/// Largest page of the supported hosts.
const GUARD_BYTES: usize = 64 << 10;

/// Code memory of an engine. Cheap to clone; arenas live as long as blocks in them.
#[derive(Clone, Default)]
pub struct CodeMemory {
    arenas: Arc<Mutex<Vec<Arc<Arena>>>>,
}

impl CodeMemory {
    /// An empty one: the first allocation maps the first arena.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A block of at least `len` bytes, aligned to a cache line, not executable yet.
    ///
    /// # Errors
    /// When the system refuses to map memory (limits, or a policy against executable mappings).
    pub fn allocate(&self, len: usize) -> io::Result<Writable> {
        let len = len.max(1).next_multiple_of(GRANULE);
        let mut arenas = self.arenas.lock().unwrap_or_else(PoisonError::into_inner);
        for arena in arenas.iter() {
            if let Some(offset) = arena.take(len) {
                return Ok(Writable(Block { arena: Arc::clone(arena), offset, len }));
            }
        }
        let arena = Arc::new(Arena::map(ARENA_BYTES.max(len + 2 * GUARD_BYTES))?);
        let offset = arena.take(len).expect("a new arena has room for what it was made for");
        arenas.push(Arc::clone(&arena));
        Ok(Writable(Block { arena, offset, len }))
    }

    /// Bytes of code that live blocks occupy.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        let arenas = self.arenas.lock().unwrap_or_else(PoisonError::into_inner);
        arenas.iter().map(|arena| arena.used()).sum()
    }
}

impl std::fmt::Debug for CodeMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CodeMemory").field("used_bytes", &self.used_bytes()).finish()
    }
}

/// A block being filled.
pub struct Writable(Block);

impl Writable {
    /// Address the code will run at.
    #[must_use]
    pub fn address(&self) -> u64 {
        self.0.address()
    }

    /// Bytes of the block.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a block is never empty")]
    pub fn len(&self) -> usize {
        self.0.len
    }

    /// Copies bytes in.
    ///
    /// # Panics
    /// When they do not fit: the caller computed the layout.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset.checked_add(bytes.len()).expect("layout overflows");
        assert!(end <= self.0.len, "code does not fit its block");
        let start = self.0.offset + offset;
        // SAFETY: INV-6: in bounds of the writable mapping, asserted above; the range belongs to this block alone.
        let to = unsafe { self.0.arena.writable.as_mut_ptr().add(start) };
        // SAFETY: INV-6: `to` starts `bytes.len()` bytes of this block; `bytes` is elsewhere.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
    }

    /// Makes the code runnable; nobody can write it any more through this block.
    #[must_use]
    pub fn publish(self) -> Executable {
        let block = self.0;
        synchronize_instructions(block.address(), block.len);
        Executable(block)
    }
}

/// Published code; unmapped space when dropped (INV-1: whoever runs it holds it).
pub struct Executable(Block);

impl Executable {
    /// Address of its first byte.
    #[must_use]
    pub fn address(&self) -> u64 {
        self.0.address()
    }

    /// Bytes of the block.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a block is never empty")]
    pub fn len(&self) -> usize {
        self.0.len
    }
}

struct Block {
    arena: Arc<Arena>,
    offset: usize,
    len: usize,
}

impl Block {
    fn address(&self) -> u64 {
        self.arena.code.as_ptr() as u64 + self.offset as u64
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.arena.fill(self.offset, self.len);
        self.arena.give_back(self.offset, self.len);
    }
}

/// One memfd, its two mappings, and its free ranges.
struct Arena {
    writable: MmapRaw,
    code: View,
    /// Free ranges by offset, coalesced.
    free: Mutex<BTreeMap<usize, usize>>,
    size: usize,
}

impl Arena {
    fn map(size: usize) -> io::Result<Self> {
        let size = size.next_multiple_of(GUARD_BYTES);
        let file = memory_file()?;
        file.set_len(size as u64)?;
        let writable = MmapOptions::new().len(size).map_raw(&file)?;
        let code = View::map(&file, size)?;
        guard_branches(&code, size)?;
        protect_edges(&code, size)?;
        let free = BTreeMap::from([(GUARD_BYTES, size - 2 * GUARD_BYTES)]);
        Ok(Self { writable, code, free: Mutex::new(free), size })
    }

    /// First fit.
    fn take(&self, len: usize) -> Option<usize> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let (&offset, &available) = free.iter().find(|&(_, &available)| available >= len)?;
        free.remove(&offset);
        if available > len {
            free.insert(offset + len, available - len);
        }
        drop(free);
        self.fill(offset, len);
        Some(offset)
    }

    fn give_back(&self, mut offset: usize, mut len: usize) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(after) = free.remove(&(offset + len)) {
            len += after;
        }
        if let Some((&before, &before_len)) = free.range(..offset).next_back()
            && before + before_len == offset
        {
            offset = before;
            len += before_len;
        }
        free.insert(offset, len);
    }

    /// Overwrites a range with instructions that trap, so that a stray jump stops at once.
    fn fill(&self, offset: usize, len: usize) {
        assert!(offset + len <= self.size, "range outside its arena");
        // SAFETY: INV-6: inside the writable mapping, asserted above.
        let to = unsafe { self.writable.as_mut_ptr().add(offset) };
        // SAFETY: INV-6: the range is owned by the block being made or dropped; 0xcc is `int3` on x86-64,
        // and as a word it is no allocated aarch64 instruction.
        unsafe { std::ptr::write_bytes(to, 0xcc, len) };
    }

    fn used(&self) -> usize {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        self.size - 2 * GUARD_BYTES - free.values().sum::<usize>()
    }
}

/// The executable mapping of an arena.
struct View {
    at: *mut u8,
    size: usize,
}

// SAFETY: INV-6: the view is an address and a length; what is there is reached by code alone.
unsafe impl Send for View {}
// SAFETY: INV-6: as above.
unsafe impl Sync for View {}

impl View {
    fn map(file: &File, size: usize) -> io::Result<Self> {
        for distance in distances() {
            let own = View::map as *const () as usize;
            let Some(hint) = own.checked_add_signed(distance) else { continue };
            let view = Self::map_at(file, size, hint & !(GUARD_BYTES - 1))?;
            // Where the place is taken, the system chooses another one.
            if view.at.addr().abs_diff(own) < REACH {
                return Ok(view);
            }
        }
        Self::map_at(file, size, 0)
    }

    fn map_at(file: &File, size: usize, hint: usize) -> io::Result<Self> {
        let hint = std::ptr::without_provenance_mut(hint);
        let (access, flags) = (ProtFlags::READ | ProtFlags::EXEC, MapFlags::SHARED);
        // SAFETY: INV-6: the file is anonymous and ours: nobody truncates it, and it is written only through the writable
        // mapping, in ranges that no published block covers. Without MAP_FIXED nothing else is replaced.
        let at = unsafe { rustix::mm::mmap(hint, size, access, flags, file, 0)? };
        Ok(Self { at: at.cast(), size })
    }

    fn as_ptr(&self) -> *const u8 {
        self.at
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // SAFETY: INV-1, INV-6: the mapping is ours, and the arena goes with its last block: no code of it runs.
        // An error cannot be told to anybody; the address space stays taken.
        let _ = unsafe { rustix::mm::munmap(self.at.cast(), self.size) };
    }
}

/// Distances from our own code to try: most executables have nothing below them; where they lie is not to say exactly
/// where programs do.
fn distances() -> impl Iterator<Item = isize> {
    const STEP: isize = 256 << 20;
    let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), STEP);
    let some = (random % STEP.unsigned_abs() as u64) as isize; // below 2^28
    let up_or_down = move |turn: isize| [-turn * STEP - some, turn * STEP + some];
    (1..=5).flat_map(up_or_down)
}

/// How far from our own code a view may begin so that a near call reaches all of it from all of the view.
const REACH: usize = (2 << 30) - (256 << 20);

/// An anonymous file that may be mapped executable.
fn memory_file() -> io::Result<File> {
    // Kernels before 6.3 do not know MFD_EXEC and need no such flag.
    let made = rustix::fs::memfd_create("beelift-code", MemfdFlags::CLOEXEC | MemfdFlags::EXEC)
        .or_else(|_| rustix::fs::memfd_create("beelift-code", MemfdFlags::CLOEXEC))?;
    Ok(File::from(made))
}

/// Takes all access from the first and last [`GUARD_BYTES`] of the executable view.
fn protect_edges(code: &View, size: usize) -> io::Result<()> {
    for offset in [0, size - GUARD_BYTES] {
        // SAFETY: INV-6: `offset + GUARD_BYTES <= size`, the length of this mapping.
        let edge = unsafe { code.as_ptr().add(offset) };
        // SAFETY: INV-6: the edges hold no code and are never read; the mapping is ours alone.
        unsafe {
            rustix::mm::mprotect(edge.cast_mut().cast(), GUARD_BYTES, rustix::mm::MprotectFlags::empty())?;
        }
    }
    Ok(())
}

/// Makes freshly written code visible to instruction fetch on every core.
#[cfg(target_arch = "x86_64")]
fn synchronize_instructions(_address: u64, _len: usize) {
    // x86-64 keeps instruction fetch coherent; a thread that learns the address later sees the bytes.
}

/// Makes freshly written code visible to instruction fetch on every core.
///
/// The two views are different addresses of the same memory: cleaning by the executable address reaches it, because
/// data caches are physically tagged on every aarch64, and the instruction cache is told the address it will see.
#[cfg(target_arch = "aarch64")]
fn synchronize_instructions(address: u64, len: usize) {
    use std::arch::asm;

    let sizes: u64;
    // SAFETY: INV-1: reads a register that the system lets user space read.
    unsafe { asm!("mrs {}, ctr_el0", out(reg) sizes, options(nomem, nostack, preserves_flags)) };
    let (data_line, code_line) = (4_u64 << (sizes >> 16 & 15), 4_u64 << (sizes & 15));
    let end = address + len as u64;
    for line in (address & !(data_line - 1)..end).step_by(data_line as usize) {
        // SAFETY: INV-6: the line lies in the readable view of the block; cleaning changes no byte.
        unsafe { asm!("dc cvau, {}", in(reg) line, options(nostack, preserves_flags)) };
    }
    // SAFETY: INV-1: a barrier touches nothing.
    unsafe { asm!("dsb ish", options(nostack, preserves_flags)) };
    for line in (address & !(code_line - 1)..end).step_by(code_line as usize) {
        // SAFETY: INV-6: as above; what is dropped is fetched again.
        unsafe { asm!("ic ivau, {}", in(reg) line, options(nostack, preserves_flags)) };
    }
    // SAFETY: INV-1: barriers: other cores have dropped their copies, and this one fetches anew.
    unsafe { asm!("dsb ish", "isb", options(nostack, preserves_flags)) };
    // Other threads must not run what they have fetched already from a block that was used before.
    let everyone = || {
        use rustix::thread::{MembarrierCommand, membarrier};
        membarrier(MembarrierCommand::RegisterPrivateExpeditedSyncCore)?;
        membarrier(MembarrierCommand::PrivateExpeditedSyncCore)
    };
    // Where the kernel refuses the fast form, the slow one waits until every thread has been through the kernel.
    if everyone().is_err() {
        let _ = rustix::thread::membarrier(rustix::thread::MembarrierCommand::Global);
    }
}

/// Lets indirect branches land only where code says so, if the CPU checks that (aarch64 BTI).
#[cfg(target_arch = "aarch64")]
fn guard_branches(code: &View, size: usize) -> io::Result<()> {
    use rustix::mm::{MprotectFlags, mprotect};

    if !std::arch::is_aarch64_feature_detected!("bti") {
        return Ok(());
    }
    let flags = MprotectFlags::READ | MprotectFlags::EXEC | MprotectFlags::BTI;
    // SAFETY: INV-6: the whole executable view, which is ours alone and holds no published code yet.
    unsafe { mprotect(code.as_ptr().cast_mut().cast(), size, flags)? };
    Ok(())
}

/// Nothing to do: x86-64 checks branch targets by process, not by mapping.
#[cfg(not(target_arch = "aarch64"))]
fn guard_branches(_code: &View, _size: usize) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freed_space_is_used_again_and_holds_trap_bytes() {
        let memory = CodeMemory::new();
        let mut first = memory.allocate(100).expect("mapped");
        first.write(0, &[0x90; 100]);
        let address = first.address();
        let second = memory.allocate(100).expect("mapped");
        assert_eq!(memory.used_bytes(), 256);
        drop(first);
        assert_eq!(memory.used_bytes(), 128);
        let third = memory.allocate(100).expect("mapped").publish();
        assert_eq!(third.address(), address);
        // SAFETY: INV-6: the block is published and held by `third`; its view is readable.
        let byte = unsafe { *(address as *const u8) };
        assert_eq!(byte, 0xcc);
        drop((second, third));
        assert_eq!(memory.used_bytes(), 0);
    }

    #[test]
    fn neighbours_join_when_freed_in_any_order() {
        let memory = CodeMemory::new();
        let mut blocks: Vec<_> = (0..5).map(|_| memory.allocate(64).expect("mapped")).collect();
        let start = blocks[0].address();
        for index in [1, 0, 1, 1, 0] {
            blocks.remove(index);
        }
        assert_eq!(memory.allocate(5 * 64).expect("mapped").address(), start);
    }

    #[test]
    fn a_block_larger_than_an_arena_gets_its_own() {
        let memory = CodeMemory::new();
        let block = memory.allocate(ARENA_BYTES + 1).expect("mapped");
        assert!(block.len() > ARENA_BYTES);
    }
}
