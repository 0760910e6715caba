//! Blueprint of a map: type, sizes, flags, special fields; and what generated code may know of its insides.
//!
//! In: numbers of an object file or of code. Out: read by the verifier, the code generator, [`create`](super::create).
//! Not here: whether the numbers make sense together (`create`).
#![forbid(unsafe_code)]

use std::sync::Arc;

bitflags::bitflags! {
    /// `map_flags` of `BPF_MAP_CREATE`.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct MapFlags: u32 {
        /// `BPF_F_NO_PREALLOC`
        const NO_PREALLOC = 1;
        /// `BPF_F_NO_COMMON_LRU`
        const NO_COMMON_LRU = 1 << 1;
        /// `BPF_F_NUMA_NODE`
        const NUMA_NODE = 1 << 2;
        /// `BPF_F_RDONLY`: user space may only read.
        const RDONLY = 1 << 3;
        /// `BPF_F_WRONLY`: user space may only write.
        const WRONLY = 1 << 4;
        /// `BPF_F_STACK_BUILD_ID`
        const STACK_BUILD_ID = 1 << 5;
        /// `BPF_F_ZERO_SEED`
        const ZERO_SEED = 1 << 6;
        /// `BPF_F_RDONLY_PROG`: programs may only read.
        const RDONLY_PROG = 1 << 7;
        /// `BPF_F_WRONLY_PROG`: programs may only write.
        const WRONLY_PROG = 1 << 8;
        /// `BPF_F_CLONE`
        const CLONE = 1 << 9;
        /// `BPF_F_MMAPABLE`
        const MMAPABLE = 1 << 10;
        /// `BPF_F_PRESERVE_ELEMS`
        const PRESERVE_ELEMS = 1 << 11;
        /// `BPF_F_INNER_MAP`
        const INNER_MAP = 1 << 12;
        /// `BPF_F_SEGV_ON_FAULT`: user space gets pages of an arena only where programs allocated them.
        const SEGV_ON_FAULT = 1 << 17;
        /// `BPF_F_NO_USER_CONV`: casts to user addresses of an arena give its lower half only.
        const NO_USER_CONV = 1 << 18;
        /// Every other bit, kept as given.
        const _ = !0;
    }
}

macro_rules! map_kinds {
    ($($name:ident = $id:literal, $text:literal;)*) => {
        /// The kernel's map types (`enum bpf_map_type`), by their numbers.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[allow(missing_docs, reason = "the names are the kernel's BPF_MAP_TYPE_*")]
        #[repr(u32)]
        pub enum MapKind { $($name = $id),* }
        impl MapKind {
            /// All types.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];
            /// From the kernel's number.
            #[must_use]
            pub fn from_id(id: u32) -> Option<Self> { match id { $($id => Some(Self::$name),)* _ => None } }
            /// The kernel's number.
            #[must_use]
            pub const fn id(self) -> u32 { self as u32 }
            /// Lower-case name as bpftool prints it.
            #[must_use]
            pub const fn name(self) -> &'static str { match self { $(Self::$name => $text),* } }
        }
        impl std::fmt::Display for MapKind {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(self.name()) }
        }
    };
}

map_kinds! {
    Hash = 1, "hash"; Array = 2, "array"; ProgArray = 3, "prog_array"; PerfEventArray = 4, "perf_event_array";
    PercpuHash = 5, "percpu_hash"; PercpuArray = 6, "percpu_array"; StackTrace = 7, "stack_trace";
    CgroupArray = 8, "cgroup_array"; LruHash = 9, "lru_hash"; LruPercpuHash = 10, "lru_percpu_hash";
    LpmTrie = 11, "lpm_trie"; ArrayOfMaps = 12, "array_of_maps"; HashOfMaps = 13, "hash_of_maps";
    Devmap = 14, "devmap"; Sockmap = 15, "sockmap"; Cpumap = 16, "cpumap"; Xskmap = 17, "xskmap";
    Sockhash = 18, "sockhash"; CgroupStorage = 19, "cgroup_storage";
    ReuseportSockarray = 20, "reuseport_sockarray"; PercpuCgroupStorage = 21, "percpu_cgroup_storage";
    Queue = 22, "queue"; Stack = 23, "stack"; SkStorage = 24, "sk_storage"; DevmapHash = 25, "devmap_hash";
    StructOps = 26, "struct_ops"; Ringbuf = 27, "ringbuf"; InodeStorage = 28, "inode_storage";
    TaskStorage = 29, "task_storage"; BloomFilter = 30, "bloom_filter"; UserRingbuf = 31, "user_ringbuf";
    CgrpStorage = 32, "cgrp_storage"; Arena = 33, "arena"; InsnArray = 34, "insn_array";
}

/// Blueprint of a map, from an object file or from code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MapDef {
    /// Name in the object; the kernel keeps its first 15 bytes.
    pub name: String,
    /// Type.
    pub kind: MapKind,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Capacity: elements, or bytes for ring buffers.
    pub max_entries: u32,
    /// `map_flags`.
    pub flags: MapFlags,
    /// `map_extra` (bloom filter: hash functions; arena: address).
    pub extra: u64,
    /// NUMA node, with `MapFlags::NUMA_NODE`.
    pub numa_node: u32,
    /// BTF type ids of key and value in the object's BTF (0: none).
    pub btf_key: u32,
    /// See `btf_key`.
    pub btf_value: u32,
    /// Definition of the inner map of a map of maps.
    pub inner: Option<Box<MapDef>>,
    /// Path or by-name pinning asked for by the object (`LIBBPF_PIN_BY_NAME`).
    pub pin_by_name: bool,
    /// Where special fields lie in the value (spin lock, timer, …).
    pub fields: Vec<SpecialField>,
    /// Initial contents of a global-data map (`.data`, `.rodata`, …), `max_entries * value_size` bytes.
    /// `None` for `.bss`: zeros.
    pub initial: Option<Arc<[u8]>>,
    /// Frozen after initialisation (`.rodata`, `.kconfig`): constant for verifier and compiler.
    pub frozen: bool,
}

/// A field of a map value that programs reach only through helpers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SpecialField {
    /// What it is.
    pub kind: SpecialKind,
    /// Byte offset in the value.
    pub offset: u32,
    /// Size in bytes.
    pub size: u32,
    /// BTF type id it points to or contains (kptr, list head, rbtree root), else 0.
    pub btf_type: u32,
    /// List head, rbtree root: offset of the node in what it contains, else 0.
    pub node: u32,
}

/// Kinds of special fields (kernel: `enum btf_field_type`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs, reason = "named as in the kernel")]
pub enum SpecialKind {
    SpinLock,
    ResSpinLock,
    Timer,
    Workqueue,
    TaskWork,
    KptrUntrusted,
    KptrRef,
    KptrPercpu,
    ListHead,
    ListNode,
    RbRoot,
    RbNode,
    Refcount,
    Uptr,
}

impl MapDef {
    /// A definition with everything optional left out.
    #[must_use]
    pub fn new(name: &str, kind: MapKind, key_size: u32, value_size: u32, max_entries: u32) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            key_size,
            value_size,
            max_entries,
            flags: MapFlags::empty(),
            extra: 0,
            numa_node: 0,
            btf_key: 0,
            btf_value: 0,
            inner: None,
            pin_by_name: false,
            fields: Vec::new(),
            initial: None,
            frozen: false,
        }
    }

    /// Whether every CPU slot has values of its own.
    #[must_use]
    pub fn is_percpu(&self) -> bool {
        matches!(self.kind, MapKind::PercpuArray | MapKind::PercpuHash | MapKind::LruPercpuHash)
    }

    /// How generated code may look up an element without a call.
    #[must_use]
    pub fn inline_lookup(&self) -> InlineLookup {
        let Some(stride) = self.value_size.checked_next_multiple_of(8) else { return InlineLookup::Call };
        let len = self.max_entries;
        if self.kind == MapKind::Array {
            InlineLookup::Array { stride, len }
        } else if self.kind == MapKind::PercpuArray {
            // CPU slots never share a cache line (nor the neighbour that is fetched with it).
            let cpu_stride = (u64::from(stride) * u64::from(len)).next_multiple_of(128);
            InlineLookup::PercpuArray { stride, len, cpu_stride }
        } else {
            InlineLookup::Call
        }
    }
}

/// All that generated code may know of a map's insides. Base addresses come from [`Map::base`](super::Map::base)
/// at link time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InlineLookup {
    /// Nothing: call the helper.
    Call,
    /// Element `i < len` lies at `base + i * stride`.
    Array {
        /// Bytes between elements (value size rounded up to 8).
        stride: u32,
        /// Elements.
        len: u32,
    },
    /// Element `i < len` of CPU slot `c` lies at `base + c * cpu_stride + i * stride`.
    PercpuArray {
        /// Bytes between elements.
        stride: u32,
        /// Elements.
        len: u32,
        /// Bytes between CPU slots.
        cpu_stride: u64,
    },
}
