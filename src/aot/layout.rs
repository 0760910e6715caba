//! What an object holds besides code: the maps that the programs use, their storage and their names in C.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use beelift_runtime::map::{self, InlineLookup, MapDef, MapFlags};

use super::{AotError, MAPS, MAX_CODE, MAX_VALUES, Options, Unit, map_of, symbols};
use crate::isa::MapSlot;

/// Flags that change nothing in the C runtime, or that it follows.
const KNOWN_FLAGS: MapFlags = MapFlags::NO_PREALLOC
    .union(MapFlags::NO_COMMON_LRU)
    .union(MapFlags::NUMA_NODE)
    .union(MapFlags::RDONLY)
    .union(MapFlags::WRONLY)
    .union(MapFlags::ZERO_SEED)
    .union(MapFlags::RDONLY_PROG)
    .union(MapFlags::WRONLY_PROG)
    .union(MapFlags::MMAPABLE);

/// The plan of one object.
pub(super) struct Plan {
    /// CPU slots.
    pub(super) cpus: u32,
    /// By ascending slot.
    pub(super) maps: Vec<PlannedMap>,
    /// C names of the programs, in the order of the units.
    pub(super) programs: Vec<String>,
}

/// A map in the object.
pub(super) struct PlannedMap {
    pub(super) slot: MapSlot,
    pub(super) def: MapDef,
    /// Name in C.
    pub(super) id: String,
    /// Bytes of values that lie in the object; 0: the C runtime allocates.
    pub(super) storage: u64,
}

impl Plan {
    pub(super) fn new(units: &[Unit<'_>], options: &Options) -> Result<Self, AotError> {
        let code = units.iter().map(|unit| unit.code.size() as u64).sum();
        limit("machine code", code, MAX_CODE)?;
        let used: BTreeSet<u32> =
            units.iter().flat_map(symbols).filter_map(map_of).map(|slot| slot.0).collect();
        let defs = units.first().map(|unit| &*unit.verified.program().maps).unwrap_or_default();
        let mut maps = Vec::with_capacity(used.len());
        for slot in used {
            let def = &defs[slot as usize]; // u32 to usize; the programs were linked against these maps
            maps.push(planned(MapSlot(slot), def, options.cpus)?);
        }
        limit("values of arrays", maps.iter().map(|map| map.storage).sum(), MAX_VALUES)?;
        let programs: Vec<String> =
            units.iter().map(|unit| identifier(&unit.verified.program().name)).collect();
        let mut names = BTreeSet::new();
        let all = maps.iter().map(|map| format!("beelift_map_{}", map.id));
        for name in all.chain(programs.iter().map(|id| format!("beelift_program_{id}"))) {
            if let Some(twice) = names.replace(name) {
                return Err(AotError::SameName(twice));
            }
        }
        Ok(Self { cpus: options.cpus, maps, programs })
    }

    /// The planned map of a slot that a program uses.
    pub(super) fn map(&self, slot: MapSlot) -> usize {
        self.maps.iter().position(|map| map.slot == slot).expect("all used maps are planned")
    }
}

fn limit(what: &'static str, bytes: u64, limit: u64) -> Result<(), AotError> {
    if bytes > limit { Err(AotError::TooLarge { what, bytes, limit }) } else { Ok(()) }
}

fn planned(slot: MapSlot, def: &MapDef, cpus: u32) -> Result<PlannedMap, AotError> {
    let lacking = |what: String| AotError::Map { map: def.name.clone(), what };
    if !MAPS.contains(&def.kind) {
        return Err(lacking(format!("maps of type {}", def.kind)));
    }
    if let Some(field) = def.fields.first() {
        return Err(lacking(format!("special fields ({:?})", field.kind)));
    }
    if !def.flags.difference(KNOWN_FLAGS).is_empty() {
        return Err(lacking(format!("maps with flags {:#x}", def.flags.difference(KNOWN_FLAGS).bits())));
    }
    let storage = match def.inline_lookup() {
        InlineLookup::Call => 0,
        InlineLookup::Array { stride, len } => u64::from(stride) * u64::from(len),
        InlineLookup::PercpuArray { cpu_stride, .. } => cpu_stride.saturating_mul(u64::from(cpus)),
    };
    limit("values of arrays", storage, MAX_VALUES)?;
    // What the library does not create is refused here for the same reason.
    if let Err(error) = map::create(def, 1) {
        return Err(lacking(format!("such map: {error}")));
    }
    Ok(PlannedMap { slot, def: def.clone(), id: identifier(&def.name), storage })
}

/// A name as C can write it.
pub(super) fn identifier(name: &str) -> String {
    name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }).collect()
}
