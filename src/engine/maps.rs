//! Maps as a host sees them: the same handle whether the map lives in user space or in the kernel.
#![forbid(unsafe_code)]

use std::sync::Arc;

#[cfg(feature = "kernel")]
use beelift_runtime::map::SpecialKind;
use beelift_runtime::map::arena::ArenaMap;
use beelift_runtime::map::ringbuf::RingbufMap;
use beelift_runtime::map::user_ringbuf::UserRingbufMap;
use beelift_runtime::map::{
    Map, MapDef, MapError, MapKind, MapOfMaps, PerfEventArrayMap, PerfRing, UpdateFlags,
};

use super::compare::{evicts, hex};
use super::error::Error;
use super::program::Loaded;

/// A map of a loaded collection.
#[derive(Clone)]
pub struct MapHandle {
    backing: Backing,
}

#[derive(Clone)]
enum Backing {
    User(Arc<dyn Map>),
    #[cfg(feature = "kernel")]
    Kernel(Arc<crate::kernel::KernelMap>, Arc<MapDef>),
}

/// Contents of one element.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Element {
    /// The value.
    Value(Vec<u8>),
    /// One value for each CPU slot.
    PerCpu(Vec<Vec<u8>>),
}

/// What a map holds at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Contents {
    /// Type.
    pub kind: MapKind,
    /// Elements sorted by key; of a queue or stack the values, oldest first, with empty keys.
    pub elements: Vec<(Vec<u8>, Element)>,
    /// Records of a ring buffer, oldest first.
    pub records: Vec<Vec<u8>>,
    /// Most elements it can hold.
    pub capacity: usize,
    /// Whether it forgets elements by itself when it is full.
    pub evicts: bool,
    /// Why nothing of it can be read, if so.
    pub unreadable: Option<String>,
}

impl Contents {
    /// One line an element or record, for messages.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let elements = self.elements.iter().map(|(key, element)| match element {
            Element::Value(value) => format!("{}: {}", hex(key), hex(value)),
            Element::PerCpu(values) => {
                let values: Vec<_> = values.iter().map(|value| hex(value)).collect();
                format!("{}: [{}]", hex(key), values.join(", "))
            }
        });
        elements.chain(self.records.iter().map(|record| format!("record {}", hex(record))))
    }
}

impl MapHandle {
    pub(crate) fn user(map: Arc<dyn Map>) -> Self {
        Self { backing: Backing::User(map) }
    }

    #[cfg(feature = "kernel")]
    pub(crate) fn kernel(map: Arc<crate::kernel::KernelMap>, def: MapDef) -> Self {
        Self { backing: Backing::Kernel(map, Arc::new(def)) }
    }

    /// Blueprint.
    #[must_use]
    pub fn def(&self) -> &MapDef {
        match &self.backing {
            Backing::User(map) => map.def(),
            #[cfg(feature = "kernel")]
            Backing::Kernel(_, def) => def,
        }
    }

    /// Whether the map lives in the kernel.
    #[must_use]
    pub fn is_kernel(&self) -> bool {
        match &self.backing {
            Backing::User(_) => false,
            #[cfg(feature = "kernel")]
            Backing::Kernel(..) => true,
        }
    }

    /// The user-space map behind the handle, for uses that need the runtime's own interface.
    #[must_use]
    pub fn runtime(&self) -> Option<&Arc<dyn Map>> {
        match &self.backing {
            Backing::User(map) => Some(map),
            #[cfg(feature = "kernel")]
            Backing::Kernel(..) => None,
        }
    }

    /// The kernel map behind the handle.
    #[cfg(feature = "kernel")]
    #[must_use]
    pub fn kernel_map(&self) -> Option<&Arc<crate::kernel::KernelMap>> {
        match &self.backing {
            Backing::User(_) => None,
            Backing::Kernel(map, _) => Some(map),
        }
    }

    /// Whether elements have one value for each CPU.
    #[must_use]
    pub fn is_per_cpu(&self) -> bool {
        matches!(
            self.def().kind,
            MapKind::PercpuArray
                | MapKind::PercpuHash
                | MapKind::LruPercpuHash
                | MapKind::PercpuCgroupStorage
        )
    }

    /// The element of `key`, or `None` when there is none.
    ///
    /// # Errors
    /// A key of another size, or what the map type does not allow.
    pub fn lookup(&self, key: &[u8]) -> Result<Option<Element>, Error> {
        self.check_size("key", key.len(), self.def().key_size as usize)?;
        let bytes = match &self.backing {
            Backing::User(map) => map.lookup_bytes(key),
            #[cfg(feature = "kernel")]
            Backing::Kernel(map, _) => match map.lookup(key) {
                Ok(Some(bytes)) => Ok(self.without_heads(bytes)),
                Ok(None) => Err(MapError::NotFound),
                Err(error) => return Err(error.into()),
            },
        };
        match bytes {
            Ok(bytes) => Ok(Some(self.element(bytes))),
            Err(MapError::NotFound) => Ok(None),
            Err(error) => Err(self.failed("lookup", error)),
        }
    }

    /// Heads of lists read as zero, as all special fields do. The kernel shows an empty list in the copy that it makes: its
    /// own addresses.
    #[cfg(feature = "kernel")]
    fn without_heads(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        let heads = self.def().fields.iter().filter(|field| field.kind == SpecialKind::ListHead);
        for field in heads {
            let (start, end) = (field.offset as usize, (field.offset + field.size) as usize);
            if let Some(head) = bytes.get_mut(start..end) {
                head.fill(0);
            }
        }
        bytes
    }

    fn element(&self, bytes: Vec<u8>) -> Element {
        if !self.is_per_cpu() {
            return Element::Value(bytes);
        }
        let size = self.def().value_size as usize;
        let stride = size.next_multiple_of(8);
        Element::PerCpu(bytes.chunks_exact(stride).map(|value| value[..size].to_vec()).collect())
    }

    /// Sets the element of `key`. For a per-CPU map: every CPU's value, in slot order.
    ///
    /// # Errors
    /// Sizes that do not fit, a full map, a frozen map, flags the type does not know.
    pub fn update(&self, key: &[u8], element: &Element, flags: UpdateFlags) -> Result<(), Error> {
        let size = self.def().value_size as usize;
        self.check_size("key", key.len(), self.def().key_size as usize)?;
        let bytes = match element {
            Element::Value(value) => {
                self.check_size("value", value.len(), size)?;
                if self.is_per_cpu() {
                    // A single value for a per-CPU map means: this one on every CPU.
                    let mut padded = value.clone();
                    padded.resize(size.next_multiple_of(8), 0);
                    padded.repeat(self.cpus()?)
                } else {
                    value.clone()
                }
            }
            Element::PerCpu(values) => {
                self.check_size("number of values", values.len(), self.cpus()?)?;
                let mut bytes = Vec::with_capacity(values.len() * size.next_multiple_of(8));
                for value in values {
                    self.check_size("value", value.len(), size)?;
                    bytes.extend_from_slice(value);
                    bytes.resize(bytes.len().next_multiple_of(8), 0);
                }
                bytes
            }
        };
        self.update_raw(key, &bytes, flags)
    }

    /// Stores a program in an element of a `prog_array`: tail calls go there from now on.
    ///
    /// # Errors
    /// Another kind of map, an index past its end, or a program of another type or backend than those that the map
    /// holds or that call into it.
    pub fn set_program(&self, index: u32, program: &Loaded) -> Result<(), Error> {
        match &self.backing {
            Backing::User(map) => {
                program.store_in(map, index).map_err(|error| self.failed("set_program", error))
            }
            #[cfg(feature = "kernel")]
            Backing::Kernel(map, _) => {
                use std::os::fd::{AsFd, AsRawFd};
                let Some(target) = program.kernel() else {
                    return Err(self.failed("set_program", MapError::Invalid));
                };
                Ok(map.update(&index.to_ne_bytes(), &target.as_fd().as_raw_fd().to_ne_bytes(), 0)?)
            }
        }
    }

    /// Stores a map as an element of a map of maps.
    ///
    /// # Errors
    /// Another kind of map, a key of another size, a map of another shape than the inner ones.
    pub fn set_map(&self, key: &[u8], inner: &Self) -> Result<(), Error> {
        self.check_size("key", key.len(), self.def().key_size as usize)?;
        let failed = |error| self.failed("set_map", error);
        match (&self.backing, &inner.backing) {
            (Backing::User(outer), Backing::User(inner)) => {
                let outer = outer.as_any().downcast_ref::<MapOfMaps>();
                outer
                    .ok_or(MapError::Invalid)
                    .and_then(|outer| outer.set(key, Arc::clone(inner), 0))
                    .map_err(failed)
            }
            #[cfg(feature = "kernel")]
            (Backing::Kernel(outer, _), Backing::Kernel(inner, _)) => Ok(outer.update_map(key, inner, 0)?),
            #[cfg(feature = "kernel")]
            (Backing::User(_), Backing::Kernel(..)) | (Backing::Kernel(..), Backing::User(_)) => {
                Err(failed(MapError::Invalid))
            }
        }
    }

    fn update_raw(&self, key: &[u8], bytes: &[u8], flags: UpdateFlags) -> Result<(), Error> {
        match &self.backing {
            Backing::User(map) => {
                map.update_bytes(key, bytes, flags).map_err(|error| self.failed("update", error))
            }
            #[cfg(feature = "kernel")]
            Backing::Kernel(map, _) => Ok(map.update(key, bytes, flags)?),
        }
    }

    fn cpus(&self) -> Result<usize, Error> {
        Ok(beelift_runtime::cpu::possible() as usize)
    }

    /// Removes an element.
    ///
    /// # Errors
    /// No such element, or a type whose elements cannot be removed.
    pub fn delete(&self, key: &[u8]) -> Result<(), Error> {
        self.check_size("key", key.len(), self.def().key_size as usize)?;
        match &self.backing {
            Backing::User(map) => map.delete(key).map_err(|error| self.failed("delete", error)),
            #[cfg(feature = "kernel")]
            Backing::Kernel(map, _) => {
                if map.delete(key)? {
                    Ok(())
                } else {
                    Err(self.failed("delete", MapError::NotFound))
                }
            }
        }
    }

    /// All keys, in the map's own order.
    ///
    /// # Errors
    /// A type without keys.
    pub fn keys(&self) -> Result<Vec<Vec<u8>>, Error> {
        let mut keys: Vec<Vec<u8>> = Vec::new();
        loop {
            let last = keys.last().map(Vec::as_slice);
            let next = match &self.backing {
                Backing::User(map) => match map.next_key(last) {
                    Ok(key) => Some(key),
                    Err(MapError::NotFound) => None,
                    Err(error) => return Err(self.failed("next key", error)),
                },
                #[cfg(feature = "kernel")]
                Backing::Kernel(map, _) => map.next_key(last)?,
            };
            // A map changed by others while we walk it may start over: its capacity bounds the walk.
            match next {
                Some(key) if keys.len() <= self.def().max_entries as usize => keys.push(key),
                _ => return Ok(keys),
            }
        }
    }

    /// All elements, sorted by key.
    ///
    /// # Errors
    /// A type without keys.
    pub fn elements(&self) -> Result<Vec<(Vec<u8>, Element)>, Error> {
        let mut elements = Vec::new();
        for key in self.keys()? {
            if let Some(element) = self.lookup(&key)? {
                elements.push((key, element));
            }
        }
        elements.sort();
        Ok(elements)
    }

    /// All that the map holds. The records of a ring buffer are consumed by it, and so are the values of a queue or
    /// stack in the kernel, where nothing else shows them.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn contents(&self) -> Result<Contents, Error> {
        let def = self.def();
        let mut contents = Contents {
            kind: def.kind,
            elements: Vec::new(),
            records: Vec::new(),
            capacity: def.max_entries as usize,
            evicts: evicts(def.kind),
            unreadable: None,
        };
        match def.kind {
            MapKind::Ringbuf => contents.records = self.drain()?,
            MapKind::Queue | MapKind::Stack => {
                let values = self.values()?;
                contents.elements = values.into_iter().map(|v| (Vec::new(), Element::Value(v))).collect();
            }
            MapKind::UserRingbuf
            | MapKind::BloomFilter
            | MapKind::Arena
            | MapKind::StructOps
            | MapKind::PerfEventArray
            | MapKind::StackTrace
            | MapKind::SkStorage
            | MapKind::InodeStorage
            | MapKind::TaskStorage
            | MapKind::CgrpStorage
            | MapKind::CgroupStorage
            | MapKind::PercpuCgroupStorage
            | MapKind::InsnArray
            | MapKind::ProgArray
            | MapKind::CgroupArray
            | MapKind::ArrayOfMaps
            | MapKind::HashOfMaps
            | MapKind::Sockmap
            | MapKind::Sockhash
            | MapKind::Xskmap
            | MapKind::ReuseportSockarray => {
                contents.unreadable = Some(format!("elements of a {} cannot be listed", def.kind));
            }
            MapKind::Hash
            | MapKind::Array
            | MapKind::PercpuHash
            | MapKind::PercpuArray
            | MapKind::LruHash
            | MapKind::LruPercpuHash
            | MapKind::LpmTrie
            | MapKind::Devmap
            | MapKind::DevmapHash
            | MapKind::Cpumap => contents.elements = self.elements()?,
        }
        Ok(contents)
    }

    /// The values of a queue or stack, oldest first.
    fn values(&self) -> Result<Vec<Vec<u8>>, Error> {
        match &self.backing {
            Backing::User(map) => Ok(map.values()),
            #[cfg(feature = "kernel")]
            Backing::Kernel(map, def) => {
                let mut values = Vec::new();
                while let Some(value) = map.lookup_and_delete(&[])? {
                    values.push(value);
                }
                if def.kind == MapKind::Stack {
                    values.reverse();
                }
                Ok(values)
            }
        }
    }

    /// Takes all records out of a ring buffer.
    ///
    /// # Errors
    /// Another type of map, or somebody else consumes it now.
    pub fn drain(&self) -> Result<Vec<Vec<u8>>, Error> {
        match &self.backing {
            Backing::User(map) => map
                .as_any()
                .downcast_ref::<RingbufMap>()
                .ok_or(MapError::NotSupported)
                .and_then(|ring| ring.consumer().ok_or(MapError::Busy))
                .map(|mut consumer| consumer.drain())
                .map_err(|error| self.failed("drain", error)),
            #[cfg(feature = "kernel")]
            Backing::Kernel(map, _) => Ok(crate::kernel::RingBuffer::open(map)?.drain()),
        }
    }

    /// Address of an arena's first page, as programs see it.
    ///
    /// # Errors
    /// Another type of map, or an arena that was not made here.
    pub fn arena_start(&self) -> Result<u64, Error> {
        let none = || self.failed("address", MapError::NotSupported);
        match &self.backing {
            Backing::User(map) => {
                map.as_any().downcast_ref::<ArenaMap>().map(ArenaMap::first_page).ok_or_else(none)
            }
            #[cfg(feature = "kernel")]
            Backing::Kernel(map, _) => map.arena_start().ok_or_else(none),
        }
    }

    /// Bytes of an arena, as user space sees them: touching a page allocates it. `at` is a pointer that a program left, or
    /// counts from [`MapHandle::arena_start`]; of an address only the lower half counts.
    ///
    /// # Errors
    /// Another type of map, a range that is not in the arena.
    pub fn arena_read(&self, at: u64, len: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; len];
        match &self.backing {
            Backing::User(map) => map
                .as_any()
                .downcast_ref::<ArenaMap>()
                .ok_or(MapError::NotSupported)
                .and_then(|arena| arena.read(at, &mut bytes))
                .map_err(|error| self.failed("read", error))?,
            #[cfg(feature = "kernel")]
            Backing::Kernel(map, _) => map.read_arena(at, &mut bytes)?,
        }
        Ok(bytes)
    }

    /// Stores bytes in an arena, as [`MapHandle::arena_read`].
    ///
    /// # Errors
    /// As there.
    pub fn arena_write(&self, at: u64, bytes: &[u8]) -> Result<(), Error> {
        match &self.backing {
            Backing::User(map) => map
                .as_any()
                .downcast_ref::<ArenaMap>()
                .ok_or(MapError::NotSupported)
                .and_then(|arena| arena.write(at, bytes))
                .map_err(|error| self.failed("write", error)),
            #[cfg(feature = "kernel")]
            Backing::Kernel(map, _) => Ok(map.write_arena(at, bytes)?),
        }
    }

    /// Opens a ring of `bytes` (a power of two, whole pages) in a slot of a `perf_event_array` of user space: samples of
    /// `bpf_perf_event_output` for that slot come out there. A slot without ring refuses them.
    ///
    /// # Errors
    /// Another type of map, a map in the kernel, no such slot, or a size that is none.
    pub fn open_perf(&self, index: u32, bytes: u32) -> Result<Arc<PerfRing>, Error> {
        let events: &PerfEventArrayMap = self.as_kind("open_perf")?;
        events
            .open(index, bytes)
            .map_err(|error| Error::CreateMap { map: self.def().name.clone(), message: error.to_string() })
    }

    /// Sends a sample to the programs that drain a `user_ringbuf` of user space.
    ///
    /// # Errors
    /// Another type of map, a map in the kernel, no room, or another producer at work.
    pub fn send(&self, sample: &[u8]) -> Result<(), Error> {
        let ring: &UserRingbufMap = self.as_kind("send")?;
        let sent = ring.producer().ok_or(MapError::Busy).and_then(|mut producer| producer.send(sample));
        sent.map_err(|error| self.failed("send", error))
    }

    /// The map as its own type, if it lives in user space.
    fn as_kind<K: 'static>(&self, operation: &'static str) -> Result<&K, Error> {
        let map = self.runtime().and_then(|map| map.as_any().downcast_ref());
        map.ok_or_else(|| self.failed(operation, MapError::NotSupported))
    }

    pub(super) fn check_size(&self, what: &'static str, given: usize, wanted: usize) -> Result<(), Error> {
        if given == wanted {
            return Ok(());
        }
        Err(Error::MapSize { map: self.def().name.clone(), what, given, wanted })
    }

    fn failed(&self, operation: &'static str, error: MapError) -> Error {
        Error::Map { map: self.def().name.clone(), operation, error }
    }
}

impl std::fmt::Debug for MapHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let def = self.def();
        write!(f, "MapHandle({} `{}`, {} entries)", def.kind, def.name, def.max_entries)
    }
}
