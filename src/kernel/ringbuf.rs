//! Consumer of a kernel ring buffer.
//!
//! In: a ring-buffer map. Out: its records, in the order in which they were reserved, copied. One consumer at
//! a time: two would see each other's records vanish. Not here: the mapping (`sys::ring`).
#![forbid(unsafe_code)]

use std::os::fd::AsFd;
use std::time::Duration;

use beelift_runtime::MapKind;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::map::KernelMap;
use super::sys::ring::RingMapping;
use super::{Errno, Hint, OsError};

const BUSY: u32 = 1 << 31;
const DISCARDED: u32 = 1 << 30;
const HEADER: u64 = 8;

/// A ring buffer, read from user space.
#[derive(Debug)]
pub struct RingBuffer {
    map: KernelMap,
    ring: RingMapping,
}

impl RingBuffer {
    /// Maps the ring.
    ///
    /// # Errors
    /// Another type of map; no memory to map.
    pub fn open(map: &KernelMap) -> Result<Self, OsError> {
        let error = |errno| OsError::new("mmap", &map.info().name, errno);
        if map.info().kind != Some(MapKind::Ringbuf) {
            return Err(error(Errno::EINVAL).with_hint(Hint::Unsupported("reading records of this map type")));
        }
        let map = map.try_clone()?;
        let ring = RingMapping::new(map.as_fd(), map.info().max_entries)
            .map_err(|errno| OsError::new("mmap", &map.info().name, errno))?;
        Ok(Self { map, ring })
    }

    /// The next record, if one is complete. Discarded ones are passed over.
    pub fn next_record(&mut self) -> Option<Vec<u8>> {
        loop {
            let position = self.ring.consumer_position();
            if position >= self.ring.producer_position() {
                return None;
            }
            let header = self.ring.header(position);
            if header & BUSY != 0 {
                return None;
            }
            let length = header & !(BUSY | DISCARDED);
            let record = match header & DISCARDED {
                // A length past the ring cannot come from the kernel: nothing after it could be trusted.
                0 => Some(self.ring.copy(position + HEADER, length as usize)?),
                _ => None,
            };
            let whole = (HEADER + u64::from(length)).next_multiple_of(8);
            self.ring.set_consumer_position(position + whole);
            if record.is_some() {
                return record;
            }
        }
    }

    /// All records that are complete now.
    pub fn drain(&mut self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.next_record()).collect()
    }

    /// Waits for a record; `false` when the time is over, `None` waits for ever.
    ///
    /// # Errors
    /// When the descriptor cannot be waited for.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<bool, OsError> {
        let timeout = timeout.and_then(|time| Timespec::try_from(time).ok());
        let mut fds = [PollFd::new(&self.map, PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(errno) => Err(OsError::new("poll", &self.map.info().name, Errno(errno.raw_os_error()))),
        }
    }
}
