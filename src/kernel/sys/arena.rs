//! The user-space side of an arena: a mapping that fixes the addresses its programs see.
//!
//! In: an arena map. Out: an address. The kernel loads programs of an arena only once it knows where user
//! space has it. Its bytes are copied in and out by the kernel (`/proc/self/mem`): touching a page that cannot be had
//! would be a signal otherwise.
//!
//! INV-13: the mapping of an [`ArenaMapping`] lives as long as it does, and has the size it holds. Nothing of ours
//! reads or writes through it.

use std::fs::File;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::kernel::Errno;

/// The mapped pages of one arena.
#[derive(Debug)]
pub(crate) struct ArenaMapping {
    /// Exposed provenance: an address, as programs see it.
    address: usize,
    size: usize,
}

impl ArenaMapping {
    /// Maps an arena of `pages` pages, at `address` if that is not zero.
    ///
    /// A wish for an address where something of ours is already mapped is refused, not granted.
    pub(crate) fn new(map: BorrowedFd<'_>, pages: u32, address: u64) -> Result<Self, Errno> {
        let size = (pages as usize).checked_mul(rustix::param::page_size()).ok_or(Errno::ENOMEM)?;
        let wish = usize::try_from(address).map_err(|_| Errno::EINVAL)?;
        let flags = if wish == 0 { MapFlags::SHARED } else { MapFlags::SHARED | MapFlags::FIXED_NOREPLACE };
        let wish = std::ptr::without_provenance_mut(wish);
        // SAFETY: INV-13: at an address that the kernel chooses, or where nothing is: it replaces nothing of ours.
        let mapped = unsafe { mmap(wish, size, ProtFlags::READ | ProtFlags::WRITE, flags, map, 0) };
        let mapped = mapped.map_err(|errno| Errno(errno.raw_os_error()))?;
        Ok(Self { address: mapped.expose_provenance(), size })
    }
}

impl ArenaMapping {
    /// Address of the first page.
    pub(crate) fn address(&self) -> u64 {
        self.address as u64
    }

    /// Copies bytes out, as far as they lie in the arena.
    pub(crate) fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), Errno> {
        let at = self.check(offset, into.len())?;
        let memory = File::open("/proc/self/mem").map_err(errno)?;
        memory.read_exact_at(into, at).map_err(errno)
    }

    /// Copies bytes in, as far as they lie in the arena.
    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        let at = self.check(offset, bytes.len())?;
        let memory = File::options().write(true).open("/proc/self/mem").map_err(errno)?;
        memory.write_all_at(bytes, at).map_err(errno)
    }

    fn check(&self, offset: u64, len: usize) -> Result<u64, Errno> {
        let inside = offset.checked_add(len as u64).is_some_and(|end| end <= self.size as u64);
        if inside { Ok(self.address() + offset) } else { Err(Errno::EINVAL) }
    }
}

fn errno(error: std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EINVAL, Errno)
}

impl Drop for ArenaMapping {
    fn drop(&mut self) {
        let address = std::ptr::with_exposed_provenance_mut(self.address);
        // SAFETY: INV-13: ours, with this size, and nobody was given a reference into it.
        let _ = unsafe { munmap(address, self.size) };
    }
}
