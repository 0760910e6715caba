//! A kernel ring buffer mapped into this process.
//!
//! In: a ring-buffer map. Out: positions and copied records for `kernel::ringbuf`. Layout: a writable page
//! with the consumer position; then, read-only, a page with the producer position and the data area, mapped
//! twice in a row so that a record never wraps. Nothing mapped is ever a Rust reference to bytes.
//!
//! INV-11: both mappings of a [`RingMapping`] live as long as it does, and have the sizes it holds.

use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::kernel::Errno;

/// The mapped ring of one map.
#[derive(Debug)]
pub(crate) struct RingMapping {
    consumer: NonNull<u8>,
    producer: NonNull<u8>,
    page: usize,
    size: usize,
}

// SAFETY: INV-11: the mappings belong to this value alone and are unmapped by its drop, on whatever thread.
unsafe impl Send for RingMapping {}

impl RingMapping {
    /// Maps the ring of `map`, whose data area has `size` bytes.
    pub(crate) fn new(map: BorrowedFd<'_>, size: u32) -> Result<Self, Errno> {
        let page = rustix::param::page_size();
        let size = size as usize;
        if !size.is_power_of_two() || !size.is_multiple_of(page) {
            return Err(Errno::EINVAL);
        }
        let consumer = map_pages(map, page, ProtFlags::READ | ProtFlags::WRITE, 0)?;
        let producer = map_pages(map, page + 2 * size, ProtFlags::READ, page as u64);
        match producer {
            Ok(producer) => Ok(Self { consumer, producer, page, size }),
            Err(errno) => {
                // SAFETY: INV-11: mapped above with this length, and nobody else knows of it.
                let _ = unsafe { munmap(consumer.as_ptr().cast(), page) };
                Err(errno)
            }
        }
    }

    /// Where the consumer stands.
    pub(crate) fn consumer_position(&self) -> u64 {
        // SAFETY: INV-11: the page is mapped, aligned and holds a word at its start.
        let word = unsafe { AtomicU64::from_ptr(self.consumer.as_ptr().cast()) };
        word.load(Ordering::Relaxed)
    }

    /// Gives everything before `position` back to the producers.
    pub(crate) fn set_consumer_position(&self, position: u64) {
        // SAFETY: INV-11: the page is mapped writable, aligned and holds a word at its start.
        let word = unsafe { AtomicU64::from_ptr(self.consumer.as_ptr().cast()) };
        word.store(position, Ordering::Release);
    }

    /// Where the producers stand.
    pub(crate) fn producer_position(&self) -> u64 {
        // SAFETY: INV-11: the page is mapped, aligned and holds a word at its start; we only load.
        let word = unsafe { AtomicU64::from_ptr(self.producer.as_ptr().cast()) };
        word.load(Ordering::Acquire)
    }

    /// The length word of the record at `position`, a multiple of eight.
    pub(crate) fn header(&self, position: u64) -> u32 {
        let offset = self.offset(position & !7);
        // SAFETY: INV-11: `offset` is below the size of the data area, which follows the producer page.
        let address = unsafe { self.producer.add(self.page + offset) };
        // SAFETY: INV-11: mapped and aligned to eight; we only load.
        let word = unsafe { AtomicU32::from_ptr(address.as_ptr().cast()) };
        word.load(Ordering::Acquire)
    }

    /// Copies `length` bytes at `position` out; `None` when a record of that length cannot be.
    pub(crate) fn copy(&self, position: u64, length: usize) -> Option<Vec<u8>> {
        if length > self.size {
            return None;
        }
        let mut bytes = vec![0; length];
        // SAFETY: INV-11: `offset` is below `size`, and the area is mapped twice.
        let from = unsafe { self.producer.add(self.page + self.offset(position)) };
        // SAFETY: INV-11: offset + length is at most 2 * size; a committed record is written by nobody.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), bytes.as_mut_ptr(), length) };
        Some(bytes)
    }

    fn offset(&self, position: u64) -> usize {
        // Lossless: masked to below `size`, a usize.
        (position & (self.size as u64 - 1)) as usize
    }
}

impl Drop for RingMapping {
    fn drop(&mut self) {
        // SAFETY: INV-11: ours, with this length; nothing derived from it outlives `self`.
        let _ = unsafe { munmap(self.consumer.as_ptr().cast(), self.page) };
        // SAFETY: INV-11: as above.
        let _ = unsafe { munmap(self.producer.as_ptr().cast(), self.page + 2 * self.size) };
    }
}

fn map_pages(fd: BorrowedFd<'_>, length: usize, prot: ProtFlags, offset: u64) -> Result<NonNull<u8>, Errno> {
    // SAFETY: INV-11: a fresh shared mapping at an address the kernel chooses: it overlaps nothing of ours.
    let address = unsafe { mmap(std::ptr::null_mut(), length, prot, MapFlags::SHARED, fd, offset) };
    let address = address.map_err(|errno| Errno(errno.raw_os_error()))?;
    NonNull::new(address.cast()).ok_or(Errno::EINVAL)
}
