//! The maps of a collection in user space: created, stood in for where no program needs them, put into each other.
#![forbid(unsafe_code)]

use std::path::{Component, Path};
use std::sync::Arc;
use std::time::Duration;

use beelift_runtime::map::{
    CreateError, Map, MapDef, MapError, MapHandle as RuntimeHandle, MapOfMaps, absent, completed, create,
};
use beelift_runtime::object::{SharedError, pin};

use super::{Engine, Error};
use crate::elf::MapEntry;
use crate::isa::{Const64, Insn, MapSlot};
use crate::link::Program;

impl Engine {
    /// Maps of a kind that user space does not have are created as stand-ins if no program uses them.
    pub(super) fn create_maps(
        &self,
        program: &Program,
        used: impl Fn(MapSlot) -> bool,
    ) -> Result<Arc<[Box<RuntimeHandle>]>, Error> {
        let cpus = self.shared.cpus.count();
        (0_u32..)
            .zip(program.maps.iter())
            .map(|(slot, def)| match self.create_map(def, cpus)? {
                Ok(map) => {
                    self.shared.objects.register(&map);
                    Ok(Box::new(RuntimeHandle::new(map)))
                }
                Err(CreateError::Unsupported { .. }) if !used(MapSlot(slot)) => {
                    Ok(Box::new(RuntimeHandle::new(absent(def, cpus))))
                }
                Err(CreateError::Unsupported { .. }) => Err(Error::Unsupported {
                    program: program.name.clone(),
                    what: format!("map `{}` of type {}", def.name, def.kind),
                }),
                Err(error) => Err(Error::CreateMap { map: def.name.clone(), message: error.to_string() }),
            })
            .collect()
    }

    /// A map of its own, or the one that is pinned under its name.
    fn create_map(&self, def: &MapDef, cpus: u32) -> Result<Result<Arc<dyn Map>, CreateError>, Error> {
        let def = &*completed(def, cpus);
        let Some(directory) = self.shared.pin_directory.as_deref().filter(|_| def.pin_by_name) else {
            return Ok(create(def, cpus));
        };
        let failed = |message: String| Error::CreateMap { map: def.name.clone(), message };
        // Names come out of objects.
        let mut parts = Path::new(&def.name).components();
        let plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
        if !plain {
            return Err(failed("a name that is no file's cannot be pinned".to_owned()));
        }
        match pin::open_or_create(def, cpus, &directory.join(&def.name)) {
            Ok(map) => Ok(Ok(map)),
            Err(SharedError::Create(error)) => Ok(Err(error)),
            Err(error) => Err(failed(error.to_string())),
        }
    }
}

/// Whether one of the programs uses a map, or a map that it uses holds that one from the start.
pub(super) fn used(programs: &[(Program, Duration)], entries: &[(MapSlot, MapEntry)], slot: MapSlot) -> bool {
    let named = |slot: MapSlot| programs.iter().any(|(program, _)| names_map(program, slot));
    let held = |(outer, entry): &(MapSlot, MapEntry)| match entry {
        MapEntry::Map { map, .. } => *map == slot && named(*outer),
        MapEntry::Program { .. } | MapEntry::Callback { .. } => false,
    };
    named(slot) || entries.iter().any(held)
}

/// Whether an instruction of the program names a map.
pub(super) fn names_map(program: &Program, slot: MapSlot) -> bool {
    program.insns.iter().any(|insn| {
        let Insn::Const { value, .. } = insn else { return false };
        match value {
            Const64::Map(map)
            | Const64::MapValue(map, _)
            | Const64::MapIndex(map)
            | Const64::MapIndexValue(map, _) => *map == slot,
            Const64::Imm(_) | Const64::Function(_) | Const64::Ksym(_) => false,
        }
    })
}

/// Puts a map into an element of a map of maps.
pub(super) fn put_map(outer: &RuntimeHandle, index: u32, inner: &RuntimeHandle) -> Result<(), Error> {
    let failed =
        |error| Error::Map { map: outer.map.def().name.clone(), operation: "initial contents", error };
    let maps = outer.map.as_any().downcast_ref::<MapOfMaps>().ok_or(failed(MapError::Invalid))?;
    maps.set(&index.to_ne_bytes(), Arc::clone(&inner.map), 0).map_err(failed)
}
