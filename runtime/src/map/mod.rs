//! Maps: the object-safe trait, and one file (or folder) a kind behind [`create`].
//!
//! Semantics and error numbers are the kernel's (a table of measured results is part of the tests). A value
//! pointer stays mapped as long as its map lives (INV-3): values sit in a type-stable slab, so a deleted
//! element may be reused while a program still holds its pointer, as in the kernel.
//!
//! A map has two faces. Programs use [`Map::lookup`], [`Map::update`] and so on, through helpers: no allocation, no
//! blocking beyond a short spin on one bucket. User space uses the methods that end in `_bytes` and the functions of
//! [`user`], which check permissions and arguments as `bpf(2)` does before they reach the kind of map.
#![forbid(unsafe_code)]

mod absent;
pub mod arena;
mod array;
mod bloom;
mod cgroup_array;
mod create;
mod def;
mod error;
mod hash;
mod lpm;
mod of_maps;
mod percpu_array;
mod perf_event;
mod prog_array;
mod queue;
pub mod redirect;
pub mod ringbuf;
pub mod stack_trace;
mod state;
pub mod storage;
pub mod timer;
pub mod user;
pub mod user_ringbuf;
mod value;
mod versioned;

use std::sync::Arc;

use crate::mem::{Bytes, BytesMut, Slab};

pub use absent::absent;
pub(crate) use array::ArrayMap;
pub use bloom::BloomMap;
pub use cgroup_array::CgroupArrayMap;
pub use create::{completed, create};
pub use def::{InlineLookup, MapDef, MapFlags, MapKind, SpecialField, SpecialKind};
pub use error::{CreateError, MapError};
pub(crate) use hash::HashMap;
pub(crate) use lpm::LpmMap;
pub use of_maps::MapOfMaps;
pub use perf_event::{PerfEventArrayMap, PerfRing};
pub use prog_array::{ProgArrayMap, ProgramKind, ProgramRef};
pub use state::MapState;

/// Address of the bytes of one value; valid while its map lives (INV-3). Access goes through `mem`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ValuePtr(pub u64);

/// `flags` of an update: [`update_flags`]; others are refused as the kernel's map type does.
pub type UpdateFlags = u64;

/// Bits of [`UpdateFlags`].
pub mod update_flags {
    /// `BPF_ANY`
    pub const ANY: u64 = 0;
    /// `BPF_NOEXIST`
    pub const NOEXIST: u64 = 1;
    /// `BPF_EXIST`
    pub const EXIST: u64 = 2;
    /// `BPF_F_LOCK`
    pub const LOCK: u64 = 4;
}

/// One element as `bpf_for_each_map_elem` shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Element {
    /// Where the key is.
    pub key: ElementKey,
    /// The value of the asking CPU slot.
    pub value: ValuePtr,
    /// Cursor of the next call of [`Map::iterate`].
    pub next: u64,
}

/// Key of an [`Element`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ElementKey {
    /// An index: it has no memory of its own.
    Index(u32),
    /// `key_size` bytes at this address, valid while the map lives.
    At(u64),
}

/// A live map as programs and helpers see it. Open set: embedders may add maps.
///
/// `cpu` is the CPU slot of the run: per-CPU maps work on that slot. User-space views of per-CPU maps (all
/// slots at once) go through [`Map::lookup_bytes`] and [`Map::update_bytes`].
///
/// A slice passed as key or value has the size of the definition; anything else is [`MapError::Invalid`].
pub trait Map: Send + Sync {
    /// Definition, identity and whether it is frozen.
    fn state(&self) -> &MapState;

    /// Address of the value of `key` (`key_size` bytes), as `bpf_map_lookup_elem` in a program.
    fn lookup(&self, cpu: u32, key: &[u8]) -> Option<ValuePtr>;

    /// `bpf_map_update_elem` in a program. The value is program-visible memory (`Bytes::from` a slice for
    /// host memory), copied once.
    ///
    /// # Errors
    /// As the kernel's map type does.
    fn update(&self, cpu: u32, key: &[u8], value: Bytes<'_>, flags: UpdateFlags) -> Result<(), MapError>;

    /// `bpf_map_delete_elem`.
    ///
    /// # Errors
    /// As the kernel's map type does.
    fn delete(&self, key: &[u8]) -> Result<(), MapError>;

    /// Key after `key`, or the first one.
    ///
    /// # Errors
    /// [`MapError::NotFound`] at the end.
    fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, MapError>;

    /// The kind's own part of [`Map::lookup_bytes`], without the checks of [`user`].
    ///
    /// # Errors
    /// As the kernel's map type does.
    fn read_value(&self, key: &[u8], flags: UpdateFlags) -> Result<Vec<u8>, MapError>;

    /// The kind's own part of [`Map::update_bytes`], without the checks of [`user`].
    ///
    /// # Errors
    /// As the kernel's map type does.
    fn write_value(&self, key: &[u8], value: &[u8], flags: UpdateFlags) -> Result<(), MapError>;

    /// The kind's own part of `BPF_MAP_LOOKUP_AND_DELETE_ELEM`.
    ///
    /// # Errors
    /// [`MapError::NotSupported`] for most kinds.
    fn take_value(&self, _key: &[u8], _flags: UpdateFlags) -> Result<Vec<u8>, MapError> {
        Err(MapError::NotSupported)
    }

    /// `bpf_map_push_elem`.
    ///
    /// # Errors
    /// As the kernel's map type does; [`MapError::NotSupported`] for most kinds.
    fn push(&self, _value: Bytes<'_>, _flags: UpdateFlags) -> Result<(), MapError> {
        Err(MapError::NotSupported)
    }

    /// `bpf_map_pop_elem`: `into` is zeroed when there is nothing.
    ///
    /// # Errors
    /// As the kernel's map type does; [`MapError::NotSupported`] for most kinds.
    fn pop(&self, _into: BytesMut<'_>) -> Result<(), MapError> {
        Err(MapError::NotSupported)
    }

    /// `bpf_map_peek_elem`: writes the next value to `value`; a bloom filter asks for `value` instead.
    ///
    /// # Errors
    /// As the kernel's map type does; [`MapError::NotSupported`] for most kinds.
    fn peek(&self, _value: BytesMut<'_>) -> Result<(), MapError> {
        Err(MapError::NotSupported)
    }

    /// Element at `cursor` (0 at first, then [`Element::next`]) for `bpf_for_each_map_elem`; `None` at the end, and
    /// for kinds that cannot be walked. The element may be deleted before the next call.
    fn iterate(&self, _cpu: u32, _cursor: u64) -> Option<Element> {
        None
    }

    /// What a queue or stack holds, oldest first; nothing for kinds with keys.
    fn values(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }

    /// Key of the element in whose value the address lies, if keys can be told from values.
    fn key_of(&self, _value: ValuePtr) -> Option<ElementKey> {
        None
    }

    /// Base address for [`InlineLookup`] and for direct values (`BPF_PSEUDO_MAP_VALUE`).
    fn base(&self) -> Option<ValuePtr> {
        None
    }

    /// Whether `[address, address + len)` lies inside one value of this map (checked access of the interpreter). By
    /// default no memory of the map is a program's.
    fn contains(&self, _address: u64, _len: u64) -> bool {
        false
    }

    /// The slab in which `address` lies, if it is one of this map's.
    fn memory(&self, _address: u64) -> Option<&Slab> {
        None
    }

    /// The map as a type of its own kind, for helpers of one kind only (ring buffer, redirect maps, …).
    fn as_any(&self) -> &dyn std::any::Any;

    /// Blueprint.
    fn def(&self) -> &MapDef {
        self.state().def()
    }

    /// `BPF_MAP_LOOKUP_ELEM` of user space: `value_size` bytes, or for per-CPU maps `value_size` rounded up to
    /// 8 times the number of CPU slots.
    ///
    /// # Errors
    /// As the kernel does.
    fn lookup_bytes(&self, key: &[u8]) -> Result<Vec<u8>, MapError> {
        user::check_lookup(self.state(), key, 0)?;
        self.read_value(key, 0)
    }

    /// `BPF_MAP_UPDATE_ELEM` of user space; sizes as in `lookup_bytes`.
    ///
    /// # Errors
    /// As the kernel does.
    fn update_bytes(&self, key: &[u8], value: &[u8], flags: UpdateFlags) -> Result<(), MapError> {
        user::check_update(self.state(), key, value, flags)?;
        self.write_value(key, value, flags)
    }

    /// `BPF_MAP_DELETE_ELEM` of user space.
    ///
    /// # Errors
    /// As the kernel does.
    fn delete_bytes(&self, key: &[u8]) -> Result<(), MapError> {
        user::check_delete(self.state(), key)?;
        self.delete(key)
    }

    /// No more writes from user space (`BPF_MAP_FREEZE`).
    ///
    /// # Errors
    /// As the kernel does.
    fn freeze(&self) -> Result<(), MapError> {
        self.state().freeze()
    }
}

/// A map as generated code names it: the address of a handle is the value of a map register.
pub struct MapHandle {
    /// The map.
    pub map: Arc<dyn Map>,
    /// Bytes of a key and of a value: helpers read them in every call.
    key_size: u32,
    value_size: u32,
    /// Address of the map, for helpers that were chosen for its type.
    address: usize,
}

impl MapHandle {
    /// A handle of a map.
    #[must_use]
    pub fn new(map: Arc<dyn Map>) -> Self {
        let (key_size, value_size) = (map.def().key_size, map.def().value_size);
        let address = Arc::as_ptr(&map).cast::<()>().expose_provenance();
        Self { map, key_size, value_size, address }
    }

    /// Address of the map.
    #[inline]
    pub(crate) fn address(&self) -> usize {
        self.address
    }

    #[inline]
    pub(crate) fn key_size(&self) -> u32 {
        self.key_size
    }

    #[inline]
    pub(crate) fn value_size(&self) -> u32 {
        self.value_size
    }
}
