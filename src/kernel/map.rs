//! Maps in the kernel: creation from a [`MapDef`], element access, batches, freezing.
//!
//! In: definitions, bytes. Out: [`KernelMap`]. Values are bytes as user space sees them: a per-CPU map gives
//! a value rounded up to eight bytes for each possible CPU. Not here: which maps a program needs and in what
//! order they are made (`mapset`).
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use beelift_runtime::MapKind;
use beelift_runtime::map::{CreateError, MapDef, MapFlags, completed, create};

use super::btf::KernelBtf;
use super::prog::KernelProgram;
use super::sys::arena::ArenaMapping;
use super::sys::map::{MapFd, possible_cpus as count_cpus};
use super::sys::{self, attr};
use super::{Errno, Hint, OsError, caps};

/// Bytes of a key and of its value (per-CPU maps: of all CPUs, one after the other).
pub type Entry = (Vec<u8>, Vec<u8>);

/// What a map is created with beside its definition.
#[derive(Clone, Copy, Debug, Default)]
pub struct CreateOptions<'a> {
    /// Types of key and value: the object's, loaded.
    pub btf: Option<&'a KernelBtf>,
    /// Template of the inner maps of a map of maps.
    pub inner: Option<&'a KernelMap>,
}

/// A map in the kernel, held by a descriptor.
#[derive(Debug)]
pub struct KernelMap {
    fd: MapFd,
    info: MapInfo,
    /// An arena's addresses stay taken while anyone holds the map through us.
    arena: Option<Arc<ArenaMapping>>,
}

/// What the kernel says of a map.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MapInfo {
    /// Id, for as long as the map lives.
    pub id: u32,
    /// Name: the first 15 bytes.
    pub name: String,
    /// The kernel's number of the type.
    pub type_id: u32,
    /// Type, when we know it.
    pub kind: Option<MapKind>,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value (of one CPU).
    pub value_size: u32,
    /// Capacity.
    pub max_entries: u32,
    /// Flags.
    pub flags: MapFlags,
    /// `map_extra`.
    pub extra: u64,
    /// Id of the BTF object that describes key and value, or 0.
    pub btf_id: u32,
    /// BTF id of the key, or 0.
    pub btf_key: u32,
    /// BTF id of the value, or 0.
    pub btf_value: u32,
}

impl MapInfo {
    pub(super) fn from_kernel(info: &attr::MapInfo) -> Self {
        Self {
            id: info.id,
            name: sys::text(&info.name),
            type_id: info.map_type,
            kind: MapKind::from_id(info.map_type),
            key_size: info.key_size,
            value_size: info.value_size,
            max_entries: info.max_entries,
            flags: MapFlags::from_bits_retain(info.map_flags),
            extra: info.map_extra,
            btf_id: info.btf_id,
            btf_key: info.btf_key_type_id,
            btf_value: info.btf_value_type_id,
        }
    }
    /// Whether values have a copy for each CPU.
    #[must_use]
    pub fn is_per_cpu(&self) -> bool {
        matches!(
            self.kind,
            Some(
                MapKind::PercpuHash
                    | MapKind::PercpuArray
                    | MapKind::LruPercpuHash
                    | MapKind::PercpuCgroupStorage
            )
        )
    }
    fn type_name(&self) -> String {
        self.kind.map_or_else(|| format!("type {}", self.type_id), |kind| kind.to_string())
    }
}

/// CPUs that may ever be there, by which per-CPU values are counted.
///
/// # Errors
/// When the kernel does not tell.
pub fn possible_cpus() -> Result<u32, OsError> {
    count_cpus().map_err(|errno| OsError::new("read", "/sys/devices/system/cpu/possible", errno))
}

/// What our own maps of that type, which keep the kernel's rules, say against a definition.
fn broken_rule(def: &MapDef) -> Option<Hint> {
    let cpus = possible_cpus().ok()?;
    match create(&completed(def, cpus), cpus) {
        Err(CreateError::Invalid { kind, rule, .. }) => Some(Hint::MapRule(kind, rule)),
        Ok(_) | Err(_) => None,
    }
}

impl KernelMap {
    /// Creates a map. Contents are not filled in (`mapset` does that for whole objects).
    ///
    /// Types of key and value are left out where this kernel refuses them for the map type.
    ///
    /// # Errors
    /// A refusal with the missing capability or the map type by name.
    pub fn create(def: &MapDef, options: CreateOptions<'_>) -> Result<Self, OsError> {
        let mut attr = Self::attr(def, options)?;
        let typed = attr.btf_fd != 0;
        let fd = sys::map_create(&mut attr).or_else(|errno| {
            if !typed || errno == Errno::EPERM {
                return Err(errno);
            }
            (attr.btf_fd, attr.btf_key_type_id, attr.btf_value_type_id) = (0, 0, 0);
            // With special fields the first answer is the one that explains.
            sys::map_create(&mut attr).map_err(|again| if def.fields.is_empty() { again } else { errno })
        });
        let fd = fd.map_err(|errno| {
            let hint = match caps::explain(errno, caps::missing_for_map(def.kind)) {
                Hint::None => broken_rule(def).unwrap_or(match errno {
                    Errno::E2BIG if def.kind == MapKind::Cpumap => {
                        Hint::MapRule(def.kind, "max_entries is more CPUs than this kernel is built for")
                    }
                    Errno::E2BIG => Hint::AttributeUnknown,
                    _ => Hint::MapTypeOrAttributes(def.kind),
                }),
                hint => hint,
            };
            OsError::new("BPF_MAP_CREATE", &def.name, errno).with_hint(hint)
        })?;
        let mut map = Self::from_fd(fd)?;
        if def.kind == MapKind::Arena {
            let arena = ArenaMapping::new(map.as_fd(), map.info.max_entries, map.info.extra);
            map.arena = Some(Arc::new(arena.map_err(|errno| map.error("mmap", errno))?));
        }
        Ok(map)
    }

    fn attr(def: &MapDef, options: CreateOptions<'_>) -> Result<attr::MapCreate, OsError> {
        let ring = matches!(def.kind, MapKind::Ringbuf | MapKind::UserRingbuf);
        // Objects may give types to rings; the kernel takes sizes of zero only.
        let (key_size, value_size) = if ring { (0, 0) } else { (def.key_size, def.value_size) };
        let max_entries = if ring {
            ring_size(def.max_entries)
        } else if def.kind == MapKind::PerfEventArray && def.max_entries == 0 {
            possible_cpus()?
        } else {
            def.max_entries
        };
        let numa = if def.flags.contains(MapFlags::NUMA_NODE) { def.numa_node } else { 0 };
        let types = options.btf.filter(|_| def.btf_value != 0 && !ring);
        Ok(attr::MapCreate {
            map_type: def.kind.id(),
            key_size,
            value_size,
            max_entries,
            map_flags: def.flags.bits(),
            inner_map_fd: options.inner.map_or(0, KernelMap::raw_fd),
            numa_node: numa,
            map_name: sys::object_name(&def.name),
            btf_fd: types.map_or(0, KernelBtf::raw_fd),
            btf_key_type_id: if types.is_some() { def.btf_key } else { 0 },
            btf_value_type_id: if types.is_some() { def.btf_value } else { 0 },
            map_extra: def.extra,
            ..Default::default()
        })
    }

    /// Takes a map descriptor over.
    ///
    /// # Errors
    /// When it is not a map.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, OsError> {
        let (fd, info) =
            MapFd::adopt(fd).map_err(|errno| OsError::new("BPF_OBJ_GET_INFO_BY_FD", "map", errno))?;
        Ok(Self { fd, info: MapInfo::from_kernel(&info), arena: None })
    }

    /// A second handle of the same map.
    ///
    /// # Errors
    /// When descriptors run out.
    pub fn try_clone(&self) -> Result<Self, OsError> {
        let fd = self.fd.try_clone().map_err(|errno| self.error("dup", errno))?;
        Ok(Self { fd, info: self.info.clone(), arena: self.arena.clone() })
    }

    /// Reads from an arena as user space sees it. `at` is a pointer as programs see it; its lower half counts.
    ///
    /// # Errors
    /// Outside the arena; for a map that was not made here, or is none.
    pub fn read_arena(&self, at: u64, into: &mut [u8]) -> Result<(), OsError> {
        let (arena, offset) = self.arena_at(at)?;
        arena.read(offset, into).map_err(|errno| self.error("read", errno))
    }

    /// Writes to an arena, as [`KernelMap::read_arena`].
    ///
    /// # Errors
    /// As there.
    pub fn write_arena(&self, at: u64, bytes: &[u8]) -> Result<(), OsError> {
        let (arena, offset) = self.arena_at(at)?;
        arena.write(offset, bytes).map_err(|errno| self.error("write", errno))
    }

    /// Address of an arena's first page in user space, for a map that was made here.
    #[must_use]
    pub fn arena_start(&self) -> Option<u64> {
        self.arena.as_ref().map(|arena| arena.address())
    }

    fn arena_at(&self, at: u64) -> Result<(&ArenaMapping, u64), OsError> {
        let arena = self.arena.as_ref().ok_or_else(|| self.error("access", Errno::EINVAL))?;
        let offset = (at as u32).wrapping_sub(arena.address() as u32);
        Ok((arena, u64::from(offset)))
    }

    /// What the kernel said of it when it was opened.
    #[must_use]
    pub fn info(&self) -> &MapInfo {
        &self.info
    }

    /// Bytes of a value as [`lookup`](Self::lookup) returns it.
    #[must_use]
    pub fn value_size(&self) -> usize {
        self.fd.value_size()
    }

    /// The value of a key, or `None`.
    ///
    /// # Errors
    /// All but ENOENT.
    pub fn lookup(&self, key: &[u8]) -> Result<Option<Vec<u8>>, OsError> {
        found(self.fd.lookup(key, 0)).map_err(|errno| self.error("BPF_MAP_LOOKUP_ELEM", errno))
    }

    /// The value of a key, which goes (queues and stacks: the next element, with an empty key).
    ///
    /// # Errors
    /// All but ENOENT.
    pub fn lookup_and_delete(&self, key: &[u8]) -> Result<Option<Vec<u8>>, OsError> {
        found(self.fd.lookup_and_delete(key, 0))
            .map_err(|errno| self.error("BPF_MAP_LOOKUP_AND_DELETE_ELEM", errno))
    }

    /// Whether a bloom filter may hold the value.
    ///
    /// # Errors
    /// Another type of map; a value of another length.
    pub fn peek(&self, value: &[u8]) -> Result<bool, OsError> {
        self.fd.peek(value).map_err(|errno| self.error("BPF_MAP_LOOKUP_ELEM", errno))
    }

    /// Writes a value; `flags` are `BPF_ANY` 0, `BPF_NOEXIST` 1, `BPF_EXIST` 2.
    ///
    /// # Errors
    /// As the map type does.
    pub fn update(&self, key: &[u8], value: &[u8], flags: u64) -> Result<(), OsError> {
        self.fd.update(key, value, flags).map_err(|errno| self.error("BPF_MAP_UPDATE_ELEM", errno))
    }

    /// Puts a program into a `prog_array`, as target of tail calls.
    ///
    /// # Errors
    /// As the map type does: a program of another type than the map has is EINVAL.
    pub fn update_program(&self, key: &[u8], program: &KernelProgram, flags: u64) -> Result<(), OsError> {
        let fd = program.as_fd().as_raw_fd();
        self.update(key, &fd.to_ne_bytes(), flags)
    }

    /// Puts a map into a map of maps.
    ///
    /// # Errors
    /// As the map type does: a map of another shape than the template is EINVAL.
    pub fn update_map(&self, key: &[u8], map: &Self, flags: u64) -> Result<(), OsError> {
        self.update(key, &map.raw_fd().to_ne_bytes(), flags)
    }

    /// Removes a key; whether it was there.
    ///
    /// # Errors
    /// All but ENOENT.
    pub fn delete(&self, key: &[u8]) -> Result<bool, OsError> {
        match self.fd.delete(key) {
            Ok(()) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(self.error("BPF_MAP_DELETE_ELEM", errno)),
        }
    }

    /// The key after `key` (or the first), or `None` at the end.
    ///
    /// # Errors
    /// All but ENOENT.
    pub fn next_key(&self, key: Option<&[u8]>) -> Result<Option<Vec<u8>>, OsError> {
        found(self.fd.next_key(key)).map_err(|errno| self.error("BPF_MAP_GET_NEXT_KEY", errno))
    }

    /// Closes the map for writes from user space.
    ///
    /// # Errors
    /// As the map type does.
    pub fn freeze(&self) -> Result<(), OsError> {
        self.fd.freeze().map_err(|errno| self.error("BPF_MAP_FREEZE", errno))
    }

    /// All elements, sorted by key. Map types whose elements cannot be read (rings, perf arrays) are an error;
    /// missing elements of sparse arrays are left out. A map that changes meanwhile may show a mixture.
    ///
    /// # Errors
    /// As the map type does.
    pub fn entries(&self) -> Result<Vec<Entry>, OsError> {
        let mut entries = match self.entries_by_batch() {
            Ok(entries) => entries,
            Err(_) => self.entries_by_key()?,
        };
        entries.sort_unstable();
        entries.dedup_by(|a, b| a.0 == b.0);
        Ok(entries)
    }

    fn entries_by_batch(&self) -> Result<Vec<Entry>, Errno> {
        let (key_size, value_size) = (self.info.key_size as usize, self.fd.value_size());
        if key_size == 0 || value_size == 0 {
            return Err(Errno::EINVAL);
        }
        // About 1 MiB at a time; a hash bucket that does not fit is ENOSPC, and we go key by key.
        let count = (1_usize << 20) / (key_size + value_size);
        let count = u32::try_from(count).unwrap_or(u32::MAX).clamp(64, 1 << 16);
        let count = count.min(self.info.max_entries.max(1));
        let mut entries = Vec::new();
        let mut position = None;
        loop {
            let batch = self.fd.lookup_batch(position.as_ref(), count)?;
            let keys = batch.keys.chunks_exact(key_size).map(<[u8]>::to_vec);
            let values = batch.values.chunks_exact(value_size).map(<[u8]>::to_vec);
            entries.extend(keys.zip(values));
            match batch.next {
                Some(next) => position = Some(next),
                None => return Ok(entries),
            }
        }
    }

    fn entries_by_key(&self) -> Result<Vec<Entry>, OsError> {
        let mut entries = Vec::new();
        let mut key = self.next_key(None)?;
        // A hash that shrinks while we walk starts over: the bound ends that.
        let mut left = u64::from(self.info.max_entries).saturating_mul(2).max(1);
        while let Some(current) = key.take_if(|_| left > 0) {
            left -= 1;
            if let Some(value) = self.lookup(&current)? {
                entries.push((current.clone(), value));
            }
            key = self.next_key(Some(&current))?;
        }
        Ok(entries)
    }

    /// Writes many elements in one system call: keys one after another, likewise values.
    ///
    /// # Errors
    /// As the map type does; what was done before stays.
    pub fn update_batch(&self, keys: &[u8], values: &[u8], flags: u64) -> Result<u32, OsError> {
        self.fd.update_batch(keys, values, flags).map_err(|errno| self.error("BPF_MAP_UPDATE_BATCH", errno))
    }

    /// Deletes many elements in one system call.
    ///
    /// # Errors
    /// As the map type does; what was done before stays.
    pub fn delete_batch(&self, keys: &[u8]) -> Result<u32, OsError> {
        self.fd.delete_batch(keys).map_err(|errno| self.error("BPF_MAP_DELETE_BATCH", errno))
    }

    /// Number of the descriptor, for attributes and instructions.
    pub(super) fn raw_fd(&self) -> u32 {
        self.fd.as_fd().as_raw_fd().cast_unsigned()
    }

    fn error(&self, op: &'static str, errno: Errno) -> OsError {
        let object = format!("{} ({})", self.info.name, self.info.type_name());
        let error = OsError::new(op, object, errno);
        let hint = match (errno, self.info.kind) {
            (Errno::E2BIG, _) => Hint::MapFull,
            (Errno::EPERM, _) => Hint::MapReadOnly,
            (Errno::ENOTSUPP | Errno::EOPNOTSUPP, Some(kind)) => Hint::MapOperation(kind),
            (Errno::EINVAL, _) => {
                Hint::Lengths { key: self.info.key_size as usize, value: self.fd.value_size() }
            }
            _ => Hint::None,
        };
        error.with_hint(hint)
    }
}

impl AsFd for KernelMap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// ENOENT as `None`.
fn found<T>(result: Result<T, Errno>) -> Result<Option<T>, Errno> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Ring sizes are powers of two and whole pages; objects are compiled without knowing the page size.
fn ring_size(asked: u32) -> u32 {
    let page = u32::try_from(rustix::param::page_size()).unwrap_or(4096);
    asked.max(page).checked_next_power_of_two().unwrap_or(asked)
}
