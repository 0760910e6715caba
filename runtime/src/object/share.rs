//! Maps behind descriptors: one process makes a map, passes the descriptor on (over a socket, or to a child), another one
//! opens it and sees the same values.
//!
//! The memory cannot change its size, whoever has the descriptor: a descriptor of a stranger is refused unless that is
//! promised (seals), so opening one needs no trust but in the values.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, ftruncate, memfd_create};

use super::header::{BYTES, Header, SharedError};
use crate::map::{ArrayMap, Map, MapDef};
use crate::mem::Slab;

/// Seals that a descriptor must have.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

fn failed(what: &str) -> impl Fn(rustix::io::Errno) -> SharedError {
    move |error| SharedError::Io { what: what.to_owned(), error: error.into() }
}

/// A new map and the descriptor that others open it by.
///
/// # Errors
/// A map that cannot be shared, and whatever the system refuses.
pub fn create(def: &MapDef, cpus: u32) -> Result<(Arc<dyn Map>, OwnedFd), SharedError> {
    let header = Header::of(def)?;
    drop(crate::map::create(&MapDef { initial: None, ..def.clone() }, cpus)?);
    let values = header.values().ok_or(SharedError::Damaged("sizes past counting"))?;
    let wrong = failed("sharing a map");
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = File::from(memfd_create("beelift-map", flags).map_err(&wrong)?);
    ftruncate(&file, BYTES + values).map_err(&wrong)?;
    fcntl_add_seals(&file, SEALS).map_err(&wrong)?;
    let io = |error: io::Error| SharedError::Io { what: "sharing a map".to_owned(), error };
    file.write_all_at(&header.to_bytes(), 0).map_err(io)?;
    let descriptor = file.try_clone().map_err(io)?;
    let map = over(file, def, cpus)?;
    if let Some(initial) = &def.initial {
        for (value, index) in initial.chunks(def.value_size as usize).zip(0..def.max_entries) {
            let mut whole = value.to_vec();
            whole.resize(def.value_size as usize, 0);
            let written = map.write_value(&index.to_ne_bytes(), &whole, 0);
            debug_assert!(written.is_ok(), "an index of the map");
        }
    }
    Ok((map, descriptor.into()))
}

/// The map behind a descriptor, if it is one like `def`.
///
/// # Errors
/// A descriptor that is no shared map or not to be trusted, another map, and whatever the system refuses.
pub fn open(def: &MapDef, cpus: u32, descriptor: OwnedFd) -> Result<Arc<dyn Map>, SharedError> {
    // Only memory has seals at all.
    let seals = fcntl_get_seals(&descriptor).unwrap_or(SealFlags::empty());
    if !seals.contains(SealFlags::SHRINK) {
        return Err(SharedError::Untrusted("its size may change"));
    }
    let file = File::from(descriptor);
    let io = |error: io::Error| SharedError::Io { what: "opening a shared map".to_owned(), error };
    let mut start = vec![0; BYTES as usize];
    let len = file.metadata().map_err(io)?.len();
    if len < BYTES {
        return Err(SharedError::Damaged("too short"));
    }
    file.read_exact_at(&mut start, 0).map_err(io)?;
    Header::parse(&start, len)?.agree(&Header::of(def)?)?;
    over(file, def, cpus)
}

/// The map whose values lie in a file behind the header, which was looked at.
pub(super) fn over(file: impl AsFd, def: &MapDef, cpus: u32) -> Result<Arc<dyn Map>, SharedError> {
    let values = Header::of(def)?.values().ok_or(SharedError::Damaged("sizes past counting"))?;
    let slab = Slab::of_file(file, BYTES, values)
        .map_err(|error| SharedError::Io { what: "mapping a shared map".to_owned(), error })?;
    Ok(Arc::new(ArrayMap::over(def, cpus, slab)))
}
