//! Slabs whose bytes other processes see, too: mapped parts of a file.

use std::io;
use std::os::fd::AsFd;
use std::ptr::NonNull;

use rustix::mm::{MapFlags, ProtFlags, mmap};

use super::{Origin, Slab};

impl Slab {
    /// `len` bytes of a file from `offset` on, a multiple of the page size: what is written here is seen by everybody who
    /// maps that part of the file, and stays there.
    ///
    /// The file is that long, all of it has memory behind it, and whoever may shorten it while it is mapped is trusted not
    /// to (INV-14); an access past its end would end the process.
    ///
    /// # Errors
    /// The system refuses, or the file is shorter.
    pub(crate) fn of_file(file: impl AsFd, offset: u64, len: u64) -> io::Result<Self> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
        let file = file.as_fd();
        let end = offset.checked_add(len).ok_or_else(invalid)?;
        let present = rustix::fs::fstat(file)?.st_size;
        if u64::try_from(present).map_or(true, |present| present < end) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let size =
            usize::try_from(len).ok().filter(|&size| size <= isize::MAX as usize / 2).ok_or_else(invalid)?;
        if size == 0 {
            return Ok(Self { base: NonNull::<u128>::dangling().cast(), len: 0, origin: Origin::Empty });
        }
        let rounded = size.next_multiple_of(rustix::param::page_size());
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: INV-3, INV-14: a new mapping at an address of the kernel's choice replaces nothing, and the file is as
        // long as it.
        let base =
            unsafe { mmap(std::ptr::null_mut(), rounded, protection, MapFlags::SHARED, file, offset) }?;
        let base = NonNull::new(base.cast()).ok_or_else(invalid)?;
        Ok(Self { base, len: size, origin: Origin::Mapping(rounded) })
    }
}
