//! Maps in the kernel by pin, id or name, with the types of their keys and values.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use beelift::btf::Btf;
use beelift::engine::Element;
use beelift::kernel::{KernelBtf, KernelMap, MapInfo, OsError, Pinned, list, open_pinned, pin};
use beelift::runtime::{MapDef, MapKind};

use crate::failure::{Failure, Kind};
use crate::kernel::failure;
use crate::maps::{Contents, What};

/// A map in the kernel.
pub(super) struct Held {
    pub(super) map: KernelMap,
    pub(super) def: MapDef,
    pub(super) types: Option<Btf>,
}

impl Held {
    /// `id:N`, `name:NAME` or the path of a pin.
    pub(super) fn open(name: &str) -> Result<Self, Failure> {
        if let Some(id) = name.strip_prefix("id:") {
            let id = id.parse().map_err(|_| Failure::usage(format!("`{id}` is no id of a map")))?;
            return Self::of(KernelMap::open_id(id).map_err(|error| failure(&error).hint(ABOUT_IDS))?);
        }
        if let Some(name) = name.strip_prefix("name:") {
            return Self::of(by_name(name)?);
        }
        let path = Path::new(name);
        if path.is_dir() {
            return Err(Failure::failure("a directory, not a map")
                .at(name)
                .hint(format!("`beelift map list {name}` shows what is pinned there")));
        }
        match open_pinned(path).map_err(|error| failure(&error))? {
            Pinned::Map(map) => Self::of(map),
            Pinned::Program(_) => Err(Failure::failure("a program is pinned there, no map").at(name)),
            Pinned::Link(_) => Err(Failure::failure("an attachment is pinned there, no map").at(name)),
        }
    }

    fn of(map: KernelMap) -> Result<Self, Failure> {
        let info = map.info().clone();
        let Some(kind) = info.kind else {
            let what = format!("map `{}` has type {}, which is not known here", info.name, info.type_id);
            return Err(Failure::new(Kind::Unsupported, what));
        };
        let mut def = MapDef::new(&info.name, kind, info.key_size, info.value_size, info.max_entries);
        (def.flags, def.btf_key, def.btf_value) = (info.flags, info.btf_key, info.btf_value);
        let types = (info.btf_id != 0)
            .then(|| KernelBtf::bytes_by_id(info.btf_id).ok().and_then(|bytes| Btf::parse(&bytes).ok()))
            .flatten();
        Ok(Self { map, def, types })
    }

    /// All that it holds. Ring buffers are left alone: reading takes records away.
    pub(super) fn contents(&self) -> Result<Contents, Failure> {
        let what = match self.def.kind {
            MapKind::Ringbuf => {
                What::Unreadable("reading takes records away: `beelift map watch` does".to_owned())
            }
            MapKind::Queue | MapKind::Stack => {
                What::Unreadable("`beelift map get` shows the next element, `pop` takes it".to_owned())
            }
            MapKind::BloomFilter | MapKind::UserRingbuf | MapKind::StructOps | MapKind::Arena => {
                What::Unreadable(format!("elements of a {} cannot be listed", self.def.kind))
            }
            _ => {
                let entries = self.map.entries().map_err(|error| failure(&error))?;
                What::Elements(entries.into_iter().map(|(key, value)| (key, self.element(value))).collect())
            }
        };
        Ok(Contents { def: self.def.clone(), what })
    }

    /// The bytes of a value as one value, or one for each CPU.
    pub(super) fn element(&self, bytes: Vec<u8>) -> Element {
        if !self.map.info().is_per_cpu() {
            return Element::Value(bytes);
        }
        let size = self.def.value_size as usize;
        Element::PerCpu(
            bytes.chunks_exact(size.next_multiple_of(8)).map(|value| value[..size].to_vec()).collect(),
        )
    }

    /// Whether elements have keys.
    pub(super) fn has_keys(&self) -> bool {
        !matches!(self.def.kind, MapKind::Queue | MapKind::Stack | MapKind::BloomFilter)
    }
}

const ABOUT_IDS: &str = "`beelift map list` shows the ids of all maps (needs CAP_SYS_ADMIN)";

fn by_name(name: &str) -> Result<KernelMap, Failure> {
    // The kernel keeps 15 bytes.
    let known = name.get(..15).unwrap_or(name);
    let infos = list::maps().map_err(|error| failure(&error))?;
    let found: Vec<&MapInfo> = infos.iter().filter(|info| info.name == known).collect();
    match found[..] {
        [info] => KernelMap::open_id(info.id).map_err(|error| failure(&error)),
        [] => Err(Failure::failure(format!("no map `{name}` in the kernel")).hint(ABOUT_IDS)),
        _ => {
            let ids: Vec<String> = found.iter().map(|info| format!("id:{}", info.id)).collect();
            Err(Failure::failure(format!("{} maps have the name `{name}`", found.len()))
                .hint(format!("choose one: {}", ids.join(", "))))
        }
    }
}

/// Maps pinned below a directory, by path.
pub(super) fn pinned(directory: &Path) -> Result<Vec<(PathBuf, MapInfo)>, Failure> {
    if !pin::is_bpffs(directory) {
        return Err(Failure::failure("no directory of a BPF file system, and no result of a run")
            .at(directory.display())
            .hint("pins are below /sys/fs/bpf; `beelift run … --json --maps > FILE` writes results"));
    }
    let mut found = Vec::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries =
            std::fs::read_dir(&folder).map_err(|error| Failure::failure(error).at(folder.display()))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(Pinned::Map(map)) = open_pinned(&path) {
                found.push((path, map.info().clone()));
            }
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

/// All maps of the kernel.
pub(super) fn all() -> Result<Vec<MapInfo>, OsError> {
    list::maps()
}
