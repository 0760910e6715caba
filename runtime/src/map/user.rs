//! What `bpf(2)` checks and composes around the kinds of map: permissions, sizes, flags, batches.
//!
//! In: a map and the arguments of a system call. Out: bytes or the kernel's error. Not here: what an operation
//! does in one kind of map.
#![forbid(unsafe_code)]

use super::bloom::BloomMap;
use super::{Map, MapError, MapKind, MapState, UpdateFlags, update_flags};
use crate::mem::Bytes;

/// Bytes of a value as user space passes it: all CPU slots of a per-CPU map, each rounded up to 8.
#[must_use]
pub fn value_bytes(state: &MapState) -> u64 {
    let size = state.layout().size();
    if state.def().is_percpu() { state.layout().stride() * u64::from(state.cpus()) } else { size }
}

/// `BPF_MAP_LOOKUP_ELEM` with flags.
///
/// # Errors
/// As the kernel does.
pub fn lookup(map: &dyn Map, key: &[u8], flags: UpdateFlags) -> Result<Vec<u8>, MapError> {
    check_lookup(map.state(), key, flags)?;
    map.read_value(key, flags)
}

/// `BPF_MAP_LOOKUP_ELEM` of a bloom filter: whether `value` was pushed, or seems so.
///
/// # Errors
/// [`MapError::NotFound`] if it was not; as the kernel does for the rest; [`MapError::NotSupported`] for other maps.
pub fn contains(map: &dyn Map, value: &[u8]) -> Result<(), MapError> {
    let filter = map.as_any().downcast_ref::<BloomMap>().ok_or(MapError::NotSupported)?;
    if !map.state().user_reads() {
        return Err(MapError::Permission);
    }
    check(value.len() as u64 == value_bytes(map.state()))?;
    if filter.has(Bytes::from(value)) { Ok(()) } else { Err(MapError::NotFound) }
}

/// `BPF_MAP_LOOKUP_AND_DELETE_ELEM`.
///
/// # Errors
/// As the kernel does.
pub fn lookup_and_delete(map: &dyn Map, key: &[u8], flags: UpdateFlags) -> Result<Vec<u8>, MapError> {
    let state = map.state();
    check(flags & !update_flags::LOCK == 0)?;
    if !state.user_reads() || !state.user_writes() {
        return Err(MapError::Permission);
    }
    check(flags == 0 || !is_queue(state.def().kind))?;
    check_lock(state, flags)?;
    check_key(state, key)?;
    map.take_value(key, flags)
}

/// `BPF_MAP_GET_NEXT_KEY`.
///
/// # Errors
/// As the kernel does.
pub fn next_key(map: &dyn Map, key: Option<&[u8]>) -> Result<Vec<u8>, MapError> {
    if !map.state().user_reads() {
        return Err(MapError::Permission);
    }
    if let Some(key) = key {
        check_key(map.state(), key)?;
    }
    map.next_key(key)
}

/// Result of a batch that reads.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Batch {
    /// Keys, one after the other.
    pub keys: Vec<u8>,
    /// Values, one after the other.
    pub values: Vec<u8>,
    /// Elements.
    pub count: u32,
    /// Where the next batch begins; `None`: this was the last one (the kernel then returns ENOENT beside the elements).
    pub next: Option<Vec<u8>>,
}

/// `BPF_MAP_LOOKUP_BATCH`: at most `count` elements after `from` (`None`: from the first).
///
/// # Errors
/// As the kernel does.
pub fn lookup_batch(
    map: &dyn Map,
    from: Option<&[u8]>,
    count: u32,
    flags: UpdateFlags,
) -> Result<Batch, MapError> {
    if !map.state().user_reads() {
        return Err(MapError::Permission);
    }
    let reads = batch_ops(map.def().kind).contains(BatchOps::LOOKUP);
    supported(reads)?;
    read_batch(map, from, count, |key| map.read_value(key, flags), flags)
}

/// `BPF_MAP_LOOKUP_AND_DELETE_BATCH`.
///
/// # Errors
/// As the kernel does.
pub fn lookup_and_delete_batch(
    map: &dyn Map,
    from: Option<&[u8]>,
    count: u32,
    flags: UpdateFlags,
) -> Result<Batch, MapError> {
    let state = map.state();
    if !state.user_reads() || !state.user_writes() {
        return Err(MapError::Permission);
    }
    supported(batch_ops(map.def().kind).contains(BatchOps::TAKE))?;
    let take = |key: &[u8]| {
        // Alone among the kinds with this batch it has no such operation on one element.
        if state.def().kind == MapKind::HashOfMaps {
            let value = map.read_value(key, flags)?;
            return map.delete(key).map(|()| value);
        }
        map.take_value(key, flags)
    };
    read_batch(map, from, count, take, flags)
}

/// `BPF_MAP_UPDATE_BATCH`: how many were written, and the error that stopped it.
///
/// # Errors
/// As the kernel does, before the first element.
pub fn update_batch(
    map: &dyn Map,
    keys: &[u8],
    values: &[u8],
    flags: UpdateFlags,
) -> Result<(u32, Option<MapError>), MapError> {
    let state = map.state();
    if !state.user_writes() {
        return Err(MapError::Permission);
    }
    supported(batch_ops(map.def().kind).contains(BatchOps::UPDATE))?;
    check(flags & !update_flags::LOCK == 0)?;
    check_lock(state, flags)?;
    let value_size = value_bytes(state) as usize;
    let keys = chunks(keys, state.def().key_size as usize)?;
    let values = chunks(values, value_size)?;
    check(keys.len() == values.len())?;
    Ok(until_error(keys.zip(values), |(key, value)| map.write_value(key, value, flags)))
}

/// `BPF_MAP_DELETE_BATCH`: how many were deleted, and the error that stopped it.
///
/// # Errors
/// As the kernel does, before the first element.
pub fn delete_batch(
    map: &dyn Map,
    keys: &[u8],
    flags: UpdateFlags,
) -> Result<(u32, Option<MapError>), MapError> {
    let state = map.state();
    if !state.user_writes() {
        return Err(MapError::Permission);
    }
    supported(batch_ops(map.def().kind).contains(BatchOps::DELETE))?;
    check(flags & !update_flags::LOCK == 0)?;
    check_lock(state, flags)?;
    Ok(until_error(chunks(keys, state.def().key_size as usize)?, |key| map.delete(key)))
}

pub(super) fn check_lookup(state: &MapState, key: &[u8], flags: UpdateFlags) -> Result<(), MapError> {
    check(flags & !update_flags::LOCK == 0)?;
    if !state.user_reads() {
        return Err(MapError::Permission);
    }
    check_lock(state, flags)?;
    check_key(state, key)
}

pub(super) fn check_update(
    state: &MapState,
    key: &[u8],
    value: &[u8],
    flags: UpdateFlags,
) -> Result<(), MapError> {
    if !state.user_writes() {
        return Err(MapError::Permission);
    }
    check_lock(state, flags)?;
    check_key(state, key)?;
    check(value.len() as u64 == value_bytes(state))
}

pub(super) fn check_delete(state: &MapState, key: &[u8]) -> Result<(), MapError> {
    if !state.user_writes() {
        return Err(MapError::Permission);
    }
    check_key(state, key)
}

fn check(holds: bool) -> Result<(), MapError> {
    if holds { Ok(()) } else { Err(MapError::Invalid) }
}

fn supported(holds: bool) -> Result<(), MapError> {
    if holds { Ok(()) } else { Err(MapError::NotSupported) }
}

fn check_key(state: &MapState, key: &[u8]) -> Result<(), MapError> {
    check(key.len() == state.def().key_size as usize)
}

fn check_lock(state: &MapState, flags: UpdateFlags) -> Result<(), MapError> {
    check(flags & update_flags::LOCK == 0 || state.layout().has_lock())
}

fn is_queue(kind: MapKind) -> bool {
    matches!(kind, MapKind::Queue | MapKind::Stack)
}

bitflags::bitflags! {
    /// Batch operations a kind has.
    #[derive(Clone, Copy)]
    struct BatchOps: u8 {
        const LOOKUP = 1;
        const TAKE = 2;
        const UPDATE = 4;
        const DELETE = 8;
    }
}

/// Batch operations of the kernel's map types.
fn batch_ops(kind: MapKind) -> BatchOps {
    if matches!(kind, MapKind::Array | MapKind::PercpuArray | MapKind::ArrayOfMaps) {
        BatchOps::LOOKUP | BatchOps::UPDATE
    } else if kind == MapKind::LpmTrie {
        BatchOps::LOOKUP | BatchOps::UPDATE | BatchOps::DELETE
    } else if matches!(
        kind,
        MapKind::Hash | MapKind::PercpuHash | MapKind::LruHash | MapKind::LruPercpuHash | MapKind::HashOfMaps
    ) {
        BatchOps::all()
    } else {
        BatchOps::empty()
    }
}

fn read_batch(
    map: &dyn Map,
    from: Option<&[u8]>,
    count: u32,
    read: impl Fn(&[u8]) -> Result<Vec<u8>, MapError>,
    flags: UpdateFlags,
) -> Result<Batch, MapError> {
    check(flags & !update_flags::LOCK == 0)?;
    check_lock(map.state(), flags)?;
    let mut batch = Batch::default();
    if count == 0 {
        return Ok(batch);
    }
    let mut key = map.next_key(from);
    while batch.count < count {
        let at = match key {
            Ok(at) => at,
            Err(MapError::NotFound) => return Ok(Batch { next: None, ..batch }),
            Err(error) => return Err(error),
        };
        // The successor first: `read` may delete the element.
        key = map.next_key(Some(&at));
        match read(&at) {
            Ok(value) => {
                batch.keys.extend_from_slice(&at);
                batch.values.extend_from_slice(&value);
                batch.count += 1;
            }
            // Deleted meanwhile.
            Err(MapError::NotFound) => {}
            Err(error) => return Err(error),
        }
        batch.next = Some(at);
    }
    if key == Err(MapError::NotFound) {
        batch.next = None;
    }
    Ok(batch)
}

fn chunks(bytes: &[u8], size: usize) -> Result<std::slice::ChunksExact<'_, u8>, MapError> {
    check(size > 0 && bytes.len().is_multiple_of(size))?;
    Ok(bytes.chunks_exact(size))
}

fn until_error<T>(
    items: impl Iterator<Item = T>,
    mut operation: impl FnMut(T) -> Result<(), MapError>,
) -> (u32, Option<MapError>) {
    let mut done = 0;
    for item in items {
        match operation(item) {
            Ok(()) => done += 1,
            Err(error) => return (done, Some(error)),
        }
    }
    (done, None)
}
