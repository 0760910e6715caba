//! Element commands of one map, with buffers sized by what the kernel says of the map.
//!
//! In: a map descriptor, keys and values as slices. Out: bytes. Not here: creation (`sys`), meaning of errors
//! (`kernel::map`).
//!
//! INV-5: every pointer in an attribute lives across the call, and its length is what the attribute says.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::{Command, address, address_mut, attr, bpf, map_info, number};
use crate::kernel::Errno;

/// A map with the sizes of its keys and values as the kernel tells them.
#[derive(Debug)]
pub(crate) struct MapFd {
    fd: OwnedFd,
    key_size: usize,
    value_size: usize,
}

impl AsFd for MapFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl MapFd {
    /// Takes a map descriptor over and asks the kernel for the sizes. `cpus` is asked for per-CPU types.
    ///
    /// On a descriptor of another kind all element commands fail with EINVAL, so wrong sizes do no harm.
    pub(crate) fn adopt(fd: OwnedFd) -> Result<(Self, attr::MapInfo), Errno> {
        let info = map_info(fd.as_fd())?;
        let value_size = match info.map_type {
            // Per-CPU hash, array, LRU hash, cgroup storage: a rounded value for each possible CPU.
            5 | 6 | 10 | 21 => info.value_size.next_multiple_of(8) as usize * possible_cpus()? as usize,
            // prog_array, perf_event_array, cgroup_array, maps of maps: a descriptor or an id.
            3 | 4 | 8 | 12 | 13 => 4,
            _ => info.value_size as usize,
        };
        Ok((Self { fd, key_size: info.key_size as usize, value_size }, info))
    }

    /// Bytes of a value as user space sees it: all CPUs of a per-CPU map.
    pub(crate) fn value_size(&self) -> usize {
        self.value_size
    }

    /// A second descriptor of the same map.
    pub(crate) fn try_clone(&self) -> Result<Self, Errno> {
        let fd = self.fd.try_clone().map_err(|error| Errno(error.raw_os_error().unwrap_or(0)))?;
        Ok(Self { fd, key_size: self.key_size, value_size: self.value_size })
    }

    fn check(&self, key: &[u8]) -> Result<(), Errno> {
        if key.len() == self.key_size { Ok(()) } else { Err(Errno::EINVAL) }
    }

    fn elem(&self, key: u64, value: u64, flags: u64) -> attr::MapElem {
        attr::MapElem { map_fd: number(self.fd.as_fd()), pad: 0, key, value, flags }
    }

    /// `BPF_MAP_LOOKUP_ELEM`
    pub(crate) fn lookup(&self, key: &[u8], flags: u64) -> Result<Vec<u8>, Errno> {
        self.read(Command::MapLookup, key, flags)
    }

    /// `BPF_MAP_LOOKUP_AND_DELETE_ELEM`
    pub(crate) fn lookup_and_delete(&self, key: &[u8], flags: u64) -> Result<Vec<u8>, Errno> {
        self.read(Command::MapLookupAndDelete, key, flags)
    }

    fn read(&self, command: Command, key: &[u8], flags: u64) -> Result<Vec<u8>, Errno> {
        self.check(key)?;
        let mut value = vec![0; self.value_size];
        let mut attr = self.elem(address(key), address_mut(&mut value), flags);
        // SAFETY: INV-5: key and value buffers have the sizes that the kernel named for this map.
        unsafe { bpf(command, &mut attr) }?;
        Ok(value)
    }

    /// `BPF_MAP_LOOKUP_ELEM` of a bloom filter: whether the value may be in it.
    pub(crate) fn peek(&self, value: &[u8]) -> Result<bool, Errno> {
        if value.len() != self.value_size || self.key_size != 0 {
            return Err(Errno::EINVAL);
        }
        let mut value = value.to_vec();
        let mut attr = self.elem(0, address_mut(&mut value), 0);
        // SAFETY: INV-5: the value buffer has the size that the kernel named for this map.
        match unsafe { bpf(Command::MapLookup, &mut attr) } {
            Ok(_) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// `BPF_MAP_UPDATE_ELEM`
    pub(crate) fn update(&self, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        self.check(key)?;
        if value.len() != self.value_size {
            return Err(Errno::EINVAL);
        }
        let mut attr = self.elem(address(key), address(value), flags);
        // SAFETY: INV-5: both slices were checked against the sizes of this map; the kernel only reads them.
        unsafe { bpf(Command::MapUpdate, &mut attr) }.map(drop)
    }

    /// `BPF_MAP_DELETE_ELEM`
    pub(crate) fn delete(&self, key: &[u8]) -> Result<(), Errno> {
        self.check(key)?;
        let mut attr = self.elem(address(key), 0, 0);
        // SAFETY: INV-5: the key was checked against the size of this map; the kernel only reads it.
        unsafe { bpf(Command::MapDelete, &mut attr) }.map(drop)
    }

    /// `BPF_MAP_GET_NEXT_KEY`; `None` asks for the first key.
    pub(crate) fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        key.map_or(Ok(()), |key| self.check(key))?;
        let mut next = vec![0; self.key_size];
        let mut attr = self.elem(key.map_or(0, address), address_mut(&mut next), 0);
        // SAFETY: INV-5: both buffers have the key size of this map.
        unsafe { bpf(Command::MapNextKey, &mut attr) }?;
        Ok(next)
    }

    /// `BPF_MAP_FREEZE`
    pub(crate) fn freeze(&self) -> Result<(), Errno> {
        let mut attr = self.elem(0, 0, 0);
        // SAFETY: INV-5: no pointers in this attribute.
        unsafe { bpf(Command::MapFreeze, &mut attr) }.map(drop)
    }

    /// `BPF_MAP_LOOKUP_BATCH`: up to `count` elements after the position `from`, their keys and values one
    /// after another, and the next position (`None` at the end).
    pub(crate) fn lookup_batch(&self, from: Option<&BatchPosition>, count: u32) -> Result<Batch, Errno> {
        let mut keys = vec![0; self.key_size * count as usize];
        let mut values = vec![0; self.value_size * count as usize];
        // The position is a bucket number or a key, whatever the type likes.
        let mut next = vec![0; self.key_size.max(8)];
        let mut attr = attr::MapBatch {
            in_batch: from.map_or(0, |position| address(&position.0)),
            out_batch: address_mut(&mut next),
            keys: address_mut(&mut keys),
            values: address_mut(&mut values),
            count,
            map_fd: number(self.fd.as_fd()),
            ..Default::default()
        };
        // SAFETY: INV-5: buffers hold `count` keys and values and a position of this map (positions are made
        // here only, so `from` has the size of `next`).
        let end = match unsafe { bpf(Command::MapLookupBatch, &mut attr) } {
            Ok(_) => false,
            Err(Errno::ENOENT) => true,
            Err(errno) => return Err(errno),
        };
        keys.truncate(self.key_size * attr.count as usize);
        values.truncate(self.value_size * attr.count as usize);
        Ok(Batch { keys, values, next: (!end).then_some(BatchPosition(next)) })
    }

    /// `BPF_MAP_UPDATE_BATCH`: keys one after another, likewise values. Returns how many were done.
    pub(crate) fn update_batch(&self, keys: &[u8], values: &[u8], flags: u64) -> Result<u32, Errno> {
        let count = self.count(keys)?;
        if values.len() != self.value_size * count as usize {
            return Err(Errno::EINVAL);
        }
        self.write_batch(Command::MapUpdateBatch, address(keys), address(values), count, flags)
    }

    /// `BPF_MAP_DELETE_BATCH`
    pub(crate) fn delete_batch(&self, keys: &[u8]) -> Result<u32, Errno> {
        let count = self.count(keys)?;
        self.write_batch(Command::MapDeleteBatch, address(keys), 0, count, 0)
    }

    fn count(&self, keys: &[u8]) -> Result<u32, Errno> {
        if self.key_size == 0 || !keys.len().is_multiple_of(self.key_size) {
            return Err(Errno::EINVAL);
        }
        u32::try_from(keys.len() / self.key_size).map_err(|_| Errno::E2BIG)
    }

    fn write_batch(
        &self,
        command: Command,
        keys: u64,
        values: u64,
        count: u32,
        elem_flags: u64,
    ) -> Result<u32, Errno> {
        let map_fd = number(self.fd.as_fd());
        let mut attr = attr::MapBatch { keys, values, count, map_fd, elem_flags, ..Default::default() };
        // SAFETY: INV-5: the callers checked that the slices hold `count` keys and values; they outlive this.
        unsafe { bpf(command, &mut attr) }?;
        Ok(attr.count)
    }
}

/// Where a batch ended.
#[derive(Debug)]
pub(crate) struct BatchPosition(Vec<u8>);

/// What `BPF_MAP_LOOKUP_BATCH` found.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) keys: Vec<u8>,
    pub(crate) values: Vec<u8>,
    pub(crate) next: Option<BatchPosition>,
}

/// CPUs that may ever be there: per-CPU values have a slot for each.
pub(crate) fn possible_cpus() -> Result<u32, Errno> {
    let list = std::fs::read_to_string("/sys/devices/system/cpu/possible")
        .map_err(|error| Errno(error.raw_os_error().unwrap_or(Errno::EINVAL.0)))?;
    // "0-3" or "0" or "0,2-3": the kernel sizes values by the number of CPUs in the list.
    let mut count = 0;
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<u32>(), last.parse::<u32>());
        let (Ok(first), Ok(last)) = (first, last) else { return Err(Errno::EINVAL) };
        count += last.saturating_sub(first) + 1;
    }
    Ok(count)
}
