//! Every operation of user space on every kind of map returns what the kernel returned (`map_semantics.tsv`).
#![forbid(unsafe_code)]

use std::sync::Arc;

use beelift_runtime::map::{
    Map, MapDef, MapError, MapFlags, MapKind, MapOfMaps, ProgArrayMap, ProgramRef, UpdateFlags, create, user,
};

/// `BPF_NOEXIST`, `BPF_EXIST`, `BPF_F_LOCK`.
const NOEXIST: u64 = 1;
const EXIST: u64 = 2;
const LOCK: u64 = 4;
/// A key past the end of arrays, and of no trie.
const PAST_END: u32 = 100;

/// One row: a map and how its elements look.
struct Subject {
    name: String,
    map: Arc<dyn Map>,
    inner: Option<Arc<dyn Map>>,
}

impl Subject {
    fn new(name: &str) -> Self {
        let (kind, flags) = match name {
            "hash+no_prealloc" => ("hash", MapFlags::NO_PREALLOC),
            "lpm_trie" | "sk_storage" | "inode_storage" | "task_storage" => (name, MapFlags::NO_PREALLOC),
            "devmap8" => ("devmap", MapFlags::empty()),
            other => (other, MapFlags::empty()),
        };
        let kind = *MapKind::ALL.iter().find(|candidate| candidate.name() == kind).expect("a kind of map");
        let (key, value, entries) = match kind {
            MapKind::LpmTrie => (8, 8, 4),
            MapKind::ProgArray
            | MapKind::PerfEventArray
            | MapKind::ArrayOfMaps
            | MapKind::HashOfMaps
            | MapKind::Xskmap
            | MapKind::DevmapHash => (4, 4, 4),
            MapKind::Devmap => (4, if name == "devmap8" { 8 } else { 4 }, 4),
            MapKind::Cpumap => (4, 4, 2),
            MapKind::Queue | MapKind::Stack | MapKind::BloomFilter => (0, 8, 4),
            MapKind::Ringbuf | MapKind::UserRingbuf => (0, 0, 4096),
            MapKind::StackTrace => (4, 16, 4),
            MapKind::CgroupArray => (4, 4, 4),
            MapKind::SkStorage | MapKind::InodeStorage | MapKind::TaskStorage => (4, 8, 0),
            _ => (4, 8, 4),
        };
        let mut def = MapDef::new("m", kind, key, value, entries);
        def.flags = flags;
        let inner = MapDef::new("inner", MapKind::Array, 4, 8, 1);
        let of_maps = matches!(kind, MapKind::ArrayOfMaps | MapKind::HashOfMaps);
        def.inner = of_maps.then(|| Box::new(inner.clone()));
        let map = create(&def, 2).unwrap_or_else(|error| panic!("{name}: {error}"));
        Self { name: name.to_owned(), map, inner: of_maps.then(|| create(&inner, 2).unwrap()) }
    }

    fn key(&self, n: u32) -> Vec<u8> {
        match self.map.def().kind {
            MapKind::LpmTrie => {
                [if n == PAST_END { 33 } else { 32 }, n].iter().flat_map(|n| n.to_ne_bytes()).collect()
            }
            _ if self.map.def().key_size == 0 => Vec::new(),
            _ => n.to_ne_bytes().to_vec(),
        }
    }

    fn value(&self, n: u32) -> Vec<u8> {
        match self.map.def().kind {
            MapKind::Devmap | MapKind::DevmapHash => {
                [1_u32.to_ne_bytes(), [0; 4]].concat()[..self.map.def().value_size as usize].to_vec()
            }
            MapKind::Cpumap => 192_u32.to_ne_bytes().to_vec(),
            MapKind::ProgArray
            | MapKind::ArrayOfMaps
            | MapKind::HashOfMaps
            | MapKind::PerfEventArray
            | MapKind::CgroupArray
            | MapKind::Xskmap => 9999_u32.to_ne_bytes().to_vec(),
            MapKind::StackTrace => vec![0; 16],
            MapKind::Ringbuf | MapKind::UserRingbuf => Vec::new(),
            _ => u64::from(n).to_ne_bytes().repeat(if self.map.def().is_percpu() { 2 } else { 1 }),
        }
    }

    /// An update; where the kernel takes a descriptor, the object itself once the descriptor was asked for.
    fn update(&self, n: u32, flags: UpdateFlags) -> Result<(), MapError> {
        let result = self.map.update_bytes(&self.key(n), &self.value(n), flags);
        let any = self.map.as_any();
        if result != Err(MapError::BadDescriptor) {
            return result;
        }
        if let Some(programs) = any.downcast_ref::<ProgArrayMap>() {
            return programs.set(n, ProgramRef { id: 1, program: Arc::new(Nobody) }, flags);
        }
        match (any.downcast_ref::<MapOfMaps>(), &self.inner) {
            (Some(outer), Some(inner)) => outer.set(&self.key(n), inner.clone(), flags),
            _ => result,
        }
    }

    fn lookup(&self, n: u32, flags: UpdateFlags) -> String {
        text(user::lookup(&*self.map, &self.key(n), flags))
    }

    fn delete(&self, n: u32) -> String {
        text(self.map.delete_bytes(&self.key(n)))
    }

    fn take(&self, n: u32, flags: UpdateFlags) -> String {
        text(user::lookup_and_delete(&*self.map, &self.key(n), flags))
    }

    fn next_until_error(&self) -> String {
        let mut key = None;
        for count in 0..20 {
            match user::next_key(&*self.map, key.as_deref()) {
                Ok(next) => key = Some(next),
                Err(error) => return format!("{} after {count}", errno(error)),
            }
        }
        "no end".to_owned()
    }

    fn fill(&self) -> String {
        for count in 0..8 {
            if let Err(error) = self.update(count, 0) {
                return format!("{} after {count}", errno(error));
            }
        }
        "0 after 8".to_owned()
    }

    fn read_batch(&self, count: u32, take: bool) -> String {
        let read = if take { user::lookup_and_delete_batch } else { user::lookup_batch };
        match read(&*self.map, None, count, 0) {
            // The kernel reports the end together with the last elements.
            Ok(batch) if batch.next.is_none() && count > 0 => format!("ENOENT count {}", batch.count),
            Ok(batch) => format!("0 count {}", batch.count),
            Err(error) => refused(error, count),
        }
    }

    fn write_batch(
        &self,
        write: impl FnOnce(&[u8], &[u8]) -> Result<(u32, Option<MapError>), MapError>,
    ) -> String {
        match write(&[self.key(0), self.key(1)].concat(), &[self.value(0), self.value(1)].concat()) {
            Ok((count, None)) => format!("0 count {count}"),
            Ok((count, Some(error))) => format!("{} count {count}", errno(error)),
            Err(error) => refused(error, 2),
        }
    }

    /// The column's operation.
    fn perform(&self, column: &str) -> String {
        let map = &*self.map;
        match column {
            "lookup_missing" => self.lookup(0, 0),
            "lookup_past_end" => self.lookup(PAST_END, 0),
            "lookup_present" | "lookup_frozen" => self.lookup(1, 0),
            "lookup_lock" => self.lookup(1, LOCK),
            "lookup_flag_1" => self.lookup(1, 1),
            "update_any" | "update_frozen" => text(self.update(1, 0)),
            "update_noexist_present" => text(self.update(1, NOEXIST)),
            "update_exist_missing" => text(self.update(2, EXIST)),
            "update_noexist_exist" => text(self.update(1, NOEXIST | EXIST)),
            "update_lock" => text(self.update(1, LOCK)),
            "update_flag_8" => text(self.update(1, 8)),
            "update_flag_32" => text(self.update(1, 1 << 32)),
            "update_past_end" => text(self.update(PAST_END, 0)),
            "delete_past_end" => self.delete(PAST_END),
            "delete_present" => {
                _ = self.update(1, 0);
                self.delete(1)
            }
            "delete_missing" | "delete_frozen" => self.delete(1),
            "next_of_none" => text(user::next_key(map, None)),
            "next_of_missing" => text(user::next_key(map, Some(&self.key(77)))),
            "next_until_error" => self.next_until_error(),
            "take_flag_1" => self.take(1, 1),
            "take_lock" => self.take(1, LOCK),
            "take_present" | "take_missing" | "take_frozen" => self.take(1, 0),
            "fill" => self.fill(),
            "lookup_batch_8" => self.read_batch(8, false),
            "lookup_batch_0" => self.read_batch(0, false),
            "take_batch_8" => self.read_batch(8, true),
            "update_batch_2" | "update_batch_frozen" => {
                self.write_batch(|keys, values| user::update_batch(map, keys, values, 0))
            }
            "delete_batch_2" => self.write_batch(|keys, _| user::delete_batch(map, keys, 0)),
            "freeze" | "freeze_again" => text(map.freeze()),
            other => panic!("unknown column {other}"),
        }
    }
}

fn errno(error: MapError) -> String {
    let names = [
        (1, "EPERM"),
        (2, "ENOENT"),
        (7, "E2BIG"),
        (9, "EBADF"),
        (12, "ENOMEM"),
        (17, "EEXIST"),
        (22, "EINVAL"),
        (28, "ENOSPC"),
        (95, "EOPNOTSUPP"),
    ];
    let name = names.iter().find(|(number, _)| *number == error.errno());
    name.map_or_else(|| error.errno().to_string(), |(_, name)| (*name).to_owned())
}

fn text<T>(result: Result<T, MapError>) -> String {
    result.map_or_else(errno, |_| "0".to_owned())
}

/// The kernel leaves the count as it was when it refuses a batch before looking at it.
fn refused(error: MapError, count: u32) -> String {
    if error == MapError::NotSupported { errno(error) } else { format!("{} count {count}", errno(error)) }
}

#[test]
fn every_operation_on_every_kind_returns_what_the_kernel_returns() {
    let table = include_str!("map_semantics.tsv");
    let mut lines = table.lines().filter(|line| !line.starts_with('#'));
    let columns: Vec<&str> = lines.next().expect("a header").split('\t').skip(1).collect();
    let (mut wrong, mut cells) = (Vec::new(), 0);
    for line in lines {
        let mut fields = line.split('\t');
        let subject = Subject::new(fields.next().expect("a name"));
        let expected: Vec<&str> = fields.collect();
        assert_eq!(expected.len(), columns.len(), "{line}");
        for (column, expected) in columns.iter().zip(expected) {
            let got = subject.perform(column);
            cells += 1;
            if expected != "-" && got != expected {
                wrong.push(format!("{} {column}: {got} instead of {expected}", subject.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {cells} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(cells > 700, "the table has shrunk to {cells} cells");
}

/// A program that is gone.
struct Nobody;

impl beelift_runtime::helper::TailTarget for Nobody {
    fn run(&self, _call: &beelift_runtime::helper::TailCall<'_>) -> Option<u64> {
        None
    }
}
