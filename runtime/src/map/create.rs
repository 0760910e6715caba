//! Creation of maps: the kernel's checks of a definition, type by type, then the map.
//!
//! In: [`MapDef`]. Out: a live map, or [`CreateError`] with the kernel's error number. Not here: capabilities
//! (`privilege`).
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::sync::Arc;

use super::arena::{self, ArenaMap};
use super::array::ArrayMap;
use super::bloom::BloomMap;
use super::cgroup_array::CgroupArrayMap;
use super::hash::HashMap;
use super::lpm::LpmMap;
use super::of_maps::MapOfMaps;
use super::percpu_array::PercpuArrayMap;
use super::perf_event::PerfEventArrayMap;
use super::prog_array::ProgArrayMap;
use super::queue::QueueMap;
use super::redirect::{DevmapHashMap, RedirectMap};
use super::ringbuf::RingbufMap;
use super::stack_trace::StackTraceMap;
use super::storage::StorageMap;
use super::user_ringbuf::UserRingbufMap;
use super::{CreateError, Map, MapDef, MapFlags, MapKind};
use crate::mem::Slab;

const EINVAL: i32 = 22;
const E2BIG: i32 = 7;
const EBADF: i32 = 9;
const ENOTSUPP: i32 = 524;
const ERANGE: i32 = 34;

/// The kernel's largest contiguous allocation: key and value of a hash element share one.
const LARGEST_ELEMENT: u64 = 4 << 20;

/// Longest data of a trie's key.
const LONGEST_TRIE_DATA: u64 = 256;

/// Most CPUs a kernel is built for.
const MOST_CPUS: u32 = 8192;

/// Largest per-CPU value.
const LARGEST_PERCPU_VALUE: u64 = 32 << 10;

/// Most buckets of a hash table.
const MOST_BUCKETS: u64 = (u32::MAX / 16) as u64;

/// Creates a map with values for `cpus` CPU slots, initialised and frozen as its definition says.
///
/// # Errors
/// What the kernel refuses, with its error number; [`CreateError::NoMemory`]; [`CreateError::Unsupported`] for types that
/// exist in the kernel only.
pub fn create(def: &MapDef, cpus: u32) -> Result<Arc<dyn Map>, CreateError> {
    let map = create_kind(def, cpus)?;
    if def.frozen {
        // A new map is not frozen yet, and a definition that asks for it has no special fields.
        let frozen = map.freeze();
        debug_assert!(frozen.is_ok(), "a new map can be frozen");
    }
    Ok(map)
}

/// A definition as loaders complete it: objects are compiled without knowing pages and CPUs. Rings become powers of two
/// and whole pages, and an array of events gets a slot for each CPU.
#[must_use]
pub fn completed(def: &MapDef, cpus: u32) -> Cow<'_, MapDef> {
    let entries = if matches!(def.kind, MapKind::Ringbuf | MapKind::UserRingbuf) {
        let page = u32::try_from(rustix::param::page_size()).unwrap_or(4096);
        def.max_entries.max(page).checked_next_power_of_two().unwrap_or(def.max_entries)
    } else if def.kind == MapKind::PerfEventArray && def.max_entries == 0 {
        cpus
    } else {
        def.max_entries
    };
    if entries == def.max_entries {
        return Cow::Borrowed(def);
    }
    let mut def = def.clone();
    def.max_entries = entries;
    Cow::Owned(def)
}

fn create_kind(def: &MapDef, cpus: u32) -> Result<Arc<dyn Map>, CreateError> {
    match def.kind {
        MapKind::Array => {
            check_array(def, MapFlags::MMAPABLE | MapFlags::INNER_MAP | MapFlags::NUMA_NODE | ACCESS)?;
            Ok(Arc::new(ArrayMap::new(def, cpus)?))
        }
        MapKind::PercpuArray => {
            check_array(def, ACCESS)?;
            check_percpu_value(def)?;
            Ok(Arc::new(PercpuArrayMap::new(def, cpus)?))
        }
        MapKind::Hash | MapKind::PercpuHash | MapKind::LruHash | MapKind::LruPercpuHash => {
            check_hash(def)?;
            Ok(Arc::new(HashMap::new(def, cpus)?))
        }
        MapKind::LpmTrie => {
            check_lpm(def)?;
            Ok(Arc::new(LpmMap::new(def, cpus)?))
        }
        MapKind::Ringbuf => {
            check_ringbuf(def)?;
            Ok(Arc::new(RingbufMap::new(def, cpus)?))
        }
        MapKind::Devmap | MapKind::Cpumap | MapKind::Xskmap => {
            check_redirect(def)?;
            Ok(Arc::new(RedirectMap::new(def, cpus)?))
        }
        MapKind::DevmapHash => {
            check_redirect(def)?;
            require(def, def.max_entries <= 1 << 27, EINVAL, "max_entries is too large")?;
            Ok(Arc::new(DevmapHashMap::new(def, cpus)?))
        }
        MapKind::ProgArray => {
            check_descriptors(def, MapFlags::empty())?;
            Ok(Arc::new(ProgArrayMap::new(def, cpus)))
        }
        MapKind::PerfEventArray => {
            check_descriptors(def, MapFlags::PRESERVE_ELEMS)?;
            Ok(Arc::new(PerfEventArrayMap::new(def, cpus)))
        }
        MapKind::ArrayOfMaps | MapKind::HashOfMaps => {
            check_of_maps(def)?;
            Ok(Arc::new(MapOfMaps::new(def, cpus)?))
        }
        MapKind::Queue | MapKind::Stack => {
            check_keyless(def, MapFlags::NUMA_NODE | ACCESS)?;
            Ok(Arc::new(QueueMap::new(def, cpus)?))
        }
        MapKind::BloomFilter => {
            check_keyless(def, MapFlags::NUMA_NODE | MapFlags::ZERO_SEED | ACCESS)?;
            require(def, def.extra < 16, EINVAL, "map_extra must be a number of hash functions below 16")?;
            Ok(Arc::new(BloomMap::new(def, cpus)?))
        }
        MapKind::Arena => {
            check_arena(def)?;
            Ok(Arc::new(ArenaMap::new(def, cpus)?))
        }
        MapKind::UserRingbuf => {
            check_ringbuf(def)?;
            Ok(Arc::new(UserRingbufMap::new(def, cpus)?))
        }
        MapKind::StackTrace => {
            check_stack_trace(def)?;
            Ok(Arc::new(StackTraceMap::new(def, cpus)?))
        }
        MapKind::CgroupArray => {
            check_descriptors(def, MapFlags::empty())?;
            Ok(Arc::new(CgroupArrayMap::new(def, cpus)?))
        }
        MapKind::SkStorage | MapKind::TaskStorage | MapKind::InodeStorage | MapKind::CgrpStorage => {
            check_storage(def)?;
            Ok(Arc::new(StorageMap::new(def, cpus)))
        }
        MapKind::InsnArray
        | MapKind::Sockmap
        | MapKind::Sockhash
        | MapKind::CgroupStorage
        | MapKind::ReuseportSockarray
        | MapKind::PercpuCgroupStorage
        | MapKind::StructOps => Err(CreateError::Unsupported { kind: def.kind }),
    }
}

/// Flags about how user space may access values.
const USER_ACCESS: MapFlags = MapFlags::RDONLY.union(MapFlags::WRONLY);

/// Flags about how anybody may access values.
const ACCESS: MapFlags = USER_ACCESS.union(MapFlags::RDONLY_PROG).union(MapFlags::WRONLY_PROG);

/// Memory of a map; `None` is a size past counting.
pub(super) fn slab(kind: MapKind, bytes: Option<u64>) -> Result<Slab, CreateError> {
    let bytes = bytes.ok_or(CreateError::NoMemory { kind, bytes: u64::MAX })?;
    Slab::new(bytes).map_err(|error| CreateError::NoMemory { kind, bytes: error.len })
}

/// As [`slab`], for memory of which most may never be touched.
pub(super) fn sparse_slab(kind: MapKind, bytes: Option<u64>) -> Result<Slab, CreateError> {
    let bytes = bytes.ok_or(CreateError::NoMemory { kind, bytes: u64::MAX })?;
    Slab::sparse(bytes).map_err(|error| CreateError::NoMemory { kind, bytes: error.len })
}

/// Refuses with `rule` and `errno` unless `holds`.
pub(super) fn require(def: &MapDef, holds: bool, errno: i32, rule: &'static str) -> Result<(), CreateError> {
    if holds { Ok(()) } else { Err(CreateError::Invalid { kind: def.kind, rule, errno }) }
}

/// Flags are among `allowed`, and those about access do not contradict each other.
fn check_flags(def: &MapDef, allowed: MapFlags) -> Result<(), CreateError> {
    let flags = def.flags;
    require(def, allowed.contains(flags), EINVAL, "a flag is not allowed")?;
    let both_user = flags.contains(MapFlags::RDONLY | MapFlags::WRONLY);
    require(def, !both_user, EINVAL, "user space may neither read nor write")?;
    let both_prog = flags.contains(MapFlags::RDONLY_PROG | MapFlags::WRONLY_PROG);
    require(def, !both_prog, EINVAL, "programs may neither read nor write")?;
    require(def, def.extra == 0 || def.kind == MapKind::BloomFilter, EINVAL, "map_extra must be 0")
}

fn check_array(def: &MapDef, allowed: MapFlags) -> Result<(), CreateError> {
    require(def, def.max_entries > 0, EINVAL, "max_entries must not be 0")?;
    require(def, def.key_size == 4, EINVAL, "key_size must be 4")?;
    require(def, def.value_size > 0, EINVAL, "value_size must not be 0")?;
    check_flags(def, allowed)?;
    require(def, i32::try_from(def.value_size).is_ok(), E2BIG, "value_size is too large")
}

fn check_arena(def: &MapDef) -> Result<(), CreateError> {
    let allowed = MapFlags::MMAPABLE | MapFlags::SEGV_ON_FAULT | MapFlags::NO_USER_CONV;
    require(def, def.key_size == 0 && def.value_size == 0, EINVAL, "there are neither keys nor values")?;
    require(def, def.max_entries > 0, EINVAL, "max_entries must not be 0")?;
    require(def, def.flags.contains(MapFlags::MMAPABLE), EINVAL, "BPF_F_MMAPABLE is needed")?;
    require(def, allowed.contains(def.flags), EINVAL, "a flag is not allowed")?;
    require(def, def.extra.is_multiple_of(arena::PAGE), EINVAL, "map_extra must be a page's address")?;
    let bytes = u64::from(def.max_entries) * arena::PAGE;
    require(def, bytes <= arena::WINDOW, E2BIG, "an arena has at most 4 GiB")?;
    let last = def.extra.wrapping_add(bytes - 1);
    require(def, def.extra >> 32 == last >> 32, ERANGE, "an arena must not cross a boundary of 4 GiB")
}

/// Arrays of descriptors: programs have no access to the values, so there is none to forbid.
fn check_descriptors(def: &MapDef, allowed: MapFlags) -> Result<(), CreateError> {
    require(def, def.value_size == 4, EINVAL, "value_size must be 4")?;
    check_array(def, allowed | USER_ACCESS | MapFlags::NUMA_NODE)
}

fn check_percpu_value(def: &MapDef) -> Result<(), CreateError> {
    let stride = u64::from(def.value_size).next_multiple_of(8);
    require(def, stride <= LARGEST_PERCPU_VALUE, E2BIG, "a per-CPU value has at most 32 KiB")
}

fn check_hash(def: &MapDef) -> Result<(), CreateError> {
    let lru = matches!(def.kind, MapKind::LruHash | MapKind::LruPercpuHash);
    let percpu = def.is_percpu();
    let mut allowed = ACCESS | MapFlags::NUMA_NODE | MapFlags::ZERO_SEED;
    if lru {
        let preallocated = !def.flags.contains(MapFlags::NO_PREALLOC);
        require(def, preallocated, ENOTSUPP, "elements are always allocated at creation")?;
        allowed |= MapFlags::NO_COMMON_LRU;
    } else {
        allowed |= MapFlags::NO_PREALLOC;
    }
    check_flags(def, allowed)?;
    let numa = def.flags.contains(MapFlags::NUMA_NODE);
    let apart = percpu || def.flags.contains(MapFlags::NO_COMMON_LRU);
    require(def, !(numa && apart), EINVAL, "a NUMA node cannot be chosen for per-CPU memory")?;
    require(def, def.max_entries > 0, EINVAL, "max_entries must not be 0")?;
    require(def, def.key_size > 0, EINVAL, "key_size must not be 0")?;
    require(def, def.value_size > 0, EINVAL, "value_size must not be 0")?;
    let element = u64::from(def.key_size) + u64::from(def.value_size);
    require(def, element < LARGEST_ELEMENT - 48, E2BIG, "key and value together are too large")?;
    if percpu {
        check_percpu_value(def)?;
    }
    check_buckets(def)
}

fn check_buckets(def: &MapDef) -> Result<(), CreateError> {
    let buckets = u64::from(def.max_entries).next_power_of_two();
    require(def, buckets <= MOST_BUCKETS, E2BIG, "max_entries is too large")
}

fn check_lpm(def: &MapDef) -> Result<(), CreateError> {
    require(def, def.max_entries > 0, EINVAL, "max_entries must not be 0")?;
    let preallocated = !def.flags.contains(MapFlags::NO_PREALLOC);
    require(def, !preallocated, EINVAL, "flag BPF_F_NO_PREALLOC is required")?;
    check_flags(def, ACCESS | MapFlags::NO_PREALLOC | MapFlags::NUMA_NODE)?;
    require(def, (5..=260).contains(&def.key_size), EINVAL, "key_size must be from 5 to 260")?;
    let fits = (1..=LARGEST_ELEMENT - LONGEST_TRIE_DATA - 24).contains(&u64::from(def.value_size));
    require(def, fits, EINVAL, "value_size is 0 or too large")
}

pub(super) fn check_ringbuf(def: &MapDef) -> Result<(), CreateError> {
    check_flags(def, MapFlags::NUMA_NODE)?;
    require(def, def.key_size == 0, EINVAL, "key_size must be 0")?;
    require(def, def.value_size == 0, EINVAL, "value_size must be 0")?;
    let pages = (def.max_entries as usize).is_multiple_of(rustix::param::page_size());
    let size = def.max_entries.is_power_of_two() && pages;
    require(def, size, EINVAL, "max_entries must be a power of two and a multiple of the page size")
}

fn check_stack_trace(def: &MapDef) -> Result<(), CreateError> {
    /// `sysctl_perf_event_max_stack`
    const FRAMES: u32 = 127;
    let build_ids = def.flags.contains(MapFlags::STACK_BUILD_ID);
    check_flags(def, USER_ACCESS | MapFlags::NUMA_NODE | MapFlags::STACK_BUILD_ID)?;
    require(def, def.max_entries > 0, EINVAL, "max_entries must not be 0")?;
    require(def, def.key_size == 4, EINVAL, "key_size must be 4")?;
    let frame = if build_ids { 32 } else { 8 };
    let whole = def.value_size >= 8 && def.value_size.is_multiple_of(frame);
    require(
        def,
        whole && def.value_size / frame <= FRAMES,
        EINVAL,
        "value_size must be that of up to 127 frames",
    )?;
    require(def, def.max_entries <= 1 << 31, E2BIG, "max_entries is too large")?;
    // Identifiers of builds would have to be read out of files.
    if build_ids { Err(CreateError::Unsupported { kind: def.kind }) } else { Ok(()) }
}

fn check_storage(def: &MapDef) -> Result<(), CreateError> {
    check_flags(def, MapFlags::NO_PREALLOC | MapFlags::CLONE)?;
    let preallocated = !def.flags.contains(MapFlags::NO_PREALLOC);
    require(def, !preallocated, EINVAL, "flag BPF_F_NO_PREALLOC is required")?;
    require(def, def.max_entries == 0, EINVAL, "max_entries must be 0")?;
    require(def, def.key_size == 4, EINVAL, "key_size must be 4")?;
    require(def, def.value_size > 0, EINVAL, "value_size must not be 0")?;
    require(def, def.value_size <= 64 << 10, E2BIG, "value_size is too large")
}

fn check_keyless(def: &MapDef, allowed: MapFlags) -> Result<(), CreateError> {
    require(def, def.max_entries > 0, EINVAL, "max_entries must not be 0")?;
    require(def, def.key_size == 0, EINVAL, "key_size must be 0")?;
    require(def, def.value_size > 0, EINVAL, "value_size must not be 0")?;
    check_flags(def, allowed)?;
    require(def, u64::from(def.value_size) <= LARGEST_ELEMENT, E2BIG, "value_size is too large")
}

fn check_of_maps(def: &MapDef) -> Result<(), CreateError> {
    let inner = def.inner.as_deref();
    require(def, inner.is_some(), EBADF, "the inner maps have no definition (`__array(values, …)`)")?;
    let nested = inner.is_some_and(|inner| matches!(inner.kind, MapKind::ArrayOfMaps | MapKind::HashOfMaps));
    require(def, !nested, EINVAL, "inner maps cannot hold maps")?;
    let programs = inner.is_some_and(|inner| inner.kind == MapKind::ProgArray);
    require(def, !programs, ENOTSUPP, "inner maps cannot hold programs")?;
    require(def, def.value_size == 4, EINVAL, "value_size must be 4")?;
    if def.kind == MapKind::ArrayOfMaps {
        return check_descriptors(def, MapFlags::empty());
    }
    check_flags(def, ACCESS | MapFlags::NUMA_NODE | MapFlags::NO_PREALLOC | MapFlags::ZERO_SEED)?;
    require(def, def.max_entries > 0, EINVAL, "max_entries must not be 0")?;
    require(def, def.key_size > 0, EINVAL, "key_size must not be 0")?;
    require(def, u64::from(def.key_size) < LARGEST_ELEMENT - 56, E2BIG, "the key is too large")?;
    check_buckets(def)
}

fn check_redirect(def: &MapDef) -> Result<(), CreateError> {
    require(def, def.max_entries > 0, EINVAL, "max_entries must not be 0")?;
    require(def, def.key_size == 4, EINVAL, "key_size must be 4")?;
    let access = if def.kind == MapKind::Cpumap { MapFlags::empty() } else { USER_ACCESS };
    check_flags(def, access | MapFlags::NUMA_NODE)?;
    let cpus = def.kind != MapKind::Cpumap || def.max_entries <= MOST_CPUS;
    require(def, cpus, E2BIG, "max_entries is above the number of CPUs")?;
    let sizes: &[u32] = if def.kind == MapKind::Xskmap { &[4] } else { &[4, 8] };
    require(def, sizes.contains(&def.value_size), EINVAL, "value_size must be that of a redirect target")
}
