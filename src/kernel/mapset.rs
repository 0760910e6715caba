//! The maps of a whole object: created in order, filled, frozen, pinned by name where the object asks for it.
//!
//! In: `Program::maps`. Out: the kernel's copies, in the same order. A map of maps needs a template of its
//! inner map while it is created; global data gets its initial bytes before a program can see it.
#![forbid(unsafe_code)]

use std::path::Path;

use beelift_runtime::MapKind;
use beelift_runtime::map::MapDef;

use super::btf::KernelBtf;
use super::map::{CreateOptions, KernelMap};
use super::{Errno, Hint, OsError};

/// How to create the maps of an object.
#[derive(Clone, Copy, Debug, Default)]
pub struct MapSetOptions<'a> {
    /// Types of the object, loaded.
    pub btf: Option<&'a KernelBtf>,
    /// Directory where maps that ask to be pinned by name are found or put; `None`: they are not pinned.
    pub pin_directory: Option<&'a Path>,
}

/// Creates the maps of an object in the kernel.
///
/// # Errors
/// The first map that the kernel refuses.
pub fn create_maps(defs: &[MapDef], options: MapSetOptions<'_>) -> Result<Vec<KernelMap>, OsError> {
    defs.iter().map(|def| create(def, options)).collect()
}

fn create(def: &MapDef, options: MapSetOptions<'_>) -> Result<KernelMap, OsError> {
    let Some(directory) = options.pin_directory.filter(|_| def.pin_by_name) else {
        return create_filled(def, options);
    };
    let path = directory.join(&def.name);
    if path.exists() {
        return reuse(def, &path);
    }
    let map = create_filled(def, options)?;
    map.pin(&path)?;
    Ok(map)
}

/// A pinned map is taken when it has the shape that the object asks for.
fn reuse(def: &MapDef, path: &Path) -> Result<KernelMap, OsError> {
    let map = KernelMap::open_pinned(path)?;
    let info = map.info();
    let ring = matches!(def.kind, MapKind::Ringbuf | MapKind::UserRingbuf);
    let sizes = (info.key_size, info.value_size) == (def.key_size, def.value_size);
    let entries = def.max_entries == 0 || info.max_entries == def.max_entries;
    let same = info.kind == Some(def.kind) && (ring || (sizes && entries));
    if same {
        return Ok(map);
    }
    let object = path.display().to_string();
    Err(OsError::new("BPF_OBJ_GET", object, Errno::EINVAL)
        .with_hint(Hint::Unsupported("a pinned map of another type or size under this name")))
}

fn create_filled(def: &MapDef, options: MapSetOptions<'_>) -> Result<KernelMap, OsError> {
    if def.kind == MapKind::StructOps {
        return Err(OsError::new("BPF_MAP_CREATE", &def.name, Errno::EOPNOTSUPP)
            .with_hint(Hint::Unsupported("a struct_ops map")));
    }
    let plain = CreateOptions { btf: options.btf, inner: None };
    let template = def.inner.as_ref().map(|inner| KernelMap::create(inner, plain)).transpose()?;
    let map = KernelMap::create(def, CreateOptions { btf: options.btf, inner: template.as_ref() })?;
    if let (MapKind::Arena, Some(initial), Some(start)) = (def.kind, &def.initial, map.arena_start()) {
        map.write_arena(start, initial)?;
    } else if let Some(initial) = &def.initial {
        fill(&map, def, initial)?;
    }
    if def.frozen {
        map.freeze()?;
    }
    Ok(map)
}

fn fill(map: &KernelMap, def: &MapDef, initial: &[u8]) -> Result<(), OsError> {
    for (index, value) in (0_u32..).zip(initial.chunks(def.value_size.max(1) as usize)) {
        // Fresh arrays are zero.
        if value.iter().any(|&byte| byte != 0) {
            let mut value = value.to_vec();
            value.resize(map.value_size(), 0);
            map.update(&index.to_ne_bytes(), &value, 0)?;
        }
    }
    Ok(())
}
