//! Global data: `.data`, `.rodata`, `.bss`, sections of other names, and `struct_ops` tables as maps of one value.
//!
//! In: the container and BTF. Out: map definitions with initial contents and the variables in them.
#![forbid(unsafe_code)]

use std::collections::HashMap;

use beelift_runtime::MapDef;
use beelift_runtime::map::{MapFlags, MapKind};

use super::file::{File, Place, Section, SymbolType};
use super::maps::finish;
use super::{ElfError, Global, MapEntry, Warning};
use crate::btf::{Btf, SectionVars, TypeId};
use crate::isa::MapSlot;

/// Largest data section: it becomes one allocation.
const MAX_DATA: u64 = 256 << 20;

/// Data sections and `struct_ops` tables of one object.
const MAX_TABLES: usize = 4096;

/// A map and the section it holds.
pub(super) struct Found {
    pub(super) def: MapDef,
    pub(super) section: usize,
}

/// What a section of data is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    /// Readable and writable.
    Data,
    /// Constant.
    Constant,
    /// Function tables for the kernel.
    StructOps,
}

fn role(section: &Section<'_>) -> Option<Role> {
    let is = |base: &str| {
        section.name.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let ops = section.name.trim_start_matches('?');
    if section.code || !section.alloc || section.size == 0 {
        None
    } else if ops == ".struct_ops" || ops == ".struct_ops.link" {
        Some(Role::StructOps)
    } else if is(".rodata") {
        Some(Role::Constant)
    } else if is(".data") || is(".bss") {
        Some(Role::Data)
    } else if matches!(
        section.name.as_str(),
        "license" | "version" | ".maps" | "maps" | ".kconfig" | ".ksyms"
    ) || section.name.starts_with("maps/")
        || section.name.starts_with(".addr_space.")
        || section.name.starts_with(".eh_frame")
        || section.name.starts_with(".note")
    {
        None
    } else {
        Some(if section.write { Role::Data } else { Role::Constant })
    }
}

/// Reads the data sections.
pub(super) fn read(file: &File<'_>, btf: Option<&Btf>) -> Result<Vec<Found>, ElfError> {
    let mut found = Vec::new();
    let described = btf.map(datasecs).unwrap_or_default();
    for (number, section) in file.sections.iter().enumerate() {
        let Some(role) = role(section) else { continue };
        if section.size > MAX_DATA {
            return Err(section.error(0, format!("{} bytes of data are more than {MAX_DATA}", section.size)));
        }
        if section.progbits && section.data.len() as u64 != section.size {
            return Err(section.error(0, "the file does not hold all bytes of the section"));
        }
        if role == Role::StructOps {
            struct_ops(file, number, section, btf, &mut found)?;
            continue;
        }
        // Capped above.
        let size = u32::try_from(section.size).expect("data is capped");
        let mut def = MapDef::new(&section.name, MapKind::Array, 4, size, 1);
        if !section.data.is_empty() {
            def.initial = Some(section.data.into());
        }
        match role {
            Role::Constant => {
                def.flags |= MapFlags::RDONLY_PROG;
                def.frozen = true;
            }
            Role::Data | Role::StructOps => {}
        }
        if let Some(btf) = btf
            && let Some(&(id, size)) = described.get(section.name.as_str())
            // The kernel wants the described size to be the real one.
            && u64::from(size) == section.size
        {
            def.flags |= MapFlags::MMAPABLE;
            def.btf_value = id.0;
            finish(&mut def, btf);
        }
        found.push(Found { def, section: number });
    }
    Ok(found)
}

/// The types of all data sections by name.
fn datasecs(btf: &Btf) -> HashMap<&str, (TypeId, u32)> {
    btf.iter().filter_map(|ty| ty.kind.as_datasec().map(|(size, _)| (ty.name, (ty.id, size)))).collect()
}

/// The types of a data section and its variables.
pub(super) fn datasec<'a>(btf: &'a Btf, name: &str) -> Option<(TypeId, SectionVars<'a>)> {
    btf.iter().filter(|ty| ty.name == name).find_map(|ty| ty.kind.as_datasec().map(|(_, vars)| (ty.id, vars)))
}

/// The variables of a data section.
pub(super) fn globals(
    file: &File<'_>,
    found: &Found,
    map: MapSlot,
    btf: Option<&Btf>,
    globals: &mut Vec<Global>,
) {
    let mut vars = HashMap::new();
    if let Some(btf) = btf
        && let Some((_, listed)) = btf.type_at(TypeId(found.def.btf_value)).kind.as_datasec()
    {
        vars = listed.iter().map(|var| (btf.type_at(var.var).name, (btf, var))).collect();
    }
    let first = globals.len();
    for symbol in file.symbols_in(found.section) {
        if !matches!(symbol.kind, SymbolType::Data | SymbolType::Unknown) || symbol.name.is_empty() {
            continue;
        }
        let var = vars.get(symbol.name.as_str());
        let btf_type = var.and_then(|(btf, var)| btf.type_at(var.var).kind.as_var()).unwrap_or_default();
        let size = match var {
            Some((_, var)) if symbol.size == 0 => u64::from(var.size),
            Some(_) | None => symbol.size,
        };
        let end = symbol.value.checked_add(size);
        if end.is_some_and(|end| end <= u64::from(found.def.value_size))
            && let (Ok(offset), Ok(size)) = (u32::try_from(symbol.value), u32::try_from(size))
        {
            globals.push(Global { name: symbol.name.clone(), map, offset, size, btf_type });
        }
    }
    globals[first..].sort_by_key(|global| global.offset);
}

/// Each variable of a `struct_ops` section is a map of its own.
fn struct_ops(
    file: &File<'_>,
    number: usize,
    section: &Section<'_>,
    btf: Option<&Btf>,
    found: &mut Vec<Found>,
) -> Result<(), ElfError> {
    for symbol in file.symbols_in(number).filter(|symbol| symbol.kind == SymbolType::Data) {
        if found.len() >= MAX_TABLES {
            return Err(section.error(symbol.value, format!("more than {MAX_TABLES} tables")));
        }
        let start = usize::try_from(symbol.value).ok();
        let size = usize::try_from(symbol.size).ok();
        let end = start.zip(size).and_then(|(start, size)| start.checked_add(size));
        let bytes = start.zip(end).and_then(|(start, end)| section.data.get(start..end));
        let Some(bytes) = bytes else {
            return Err(section.error(symbol.value, format!("{} lies outside of the section", symbol.name)));
        };
        let size = u32::try_from(bytes.len()).map_err(|_| section.error(symbol.value, "too large"))?;
        let mut def = MapDef::new(&symbol.name, MapKind::StructOps, 4, size, 1);
        def.initial = Some(bytes.into());
        if section.name.ends_with(".link") {
            // BPF_F_LINK
            def.flags |= MapFlags::from_bits_retain(1 << 13);
        }
        let var = btf.and_then(|btf| btf.named(&symbol.name).find_map(|id| btf.type_at(id).kind.as_var()));
        def.btf_value = var.unwrap_or_default().0;
        found.push(Found { def, section: number });
    }
    Ok(())
}

/// Functions that `struct_ops` tables point to, and a warning for other pointers in data, which stay as they are.
pub(super) fn entries(
    file: &File<'_>,
    found: &[Found],
    slot_of: impl Fn(usize) -> MapSlot,
    warnings: &mut Vec<Warning>,
) -> Vec<(MapSlot, MapEntry)> {
    let mut entries = Vec::new();
    for (index, map) in found.iter().enumerate() {
        let section = &file.sections[map.section];
        if map.def.kind != MapKind::StructOps {
            if let Some(relocation) = section.relocations.first() {
                warnings.push(Warning::PointersInData {
                    section: section.name.clone(),
                    offset: relocation.offset,
                });
            }
            continue;
        }
        let start = file.symbol(Place::Section(map.section), &map.def.name);
        let Some(start) = start.map(|symbol| symbol.value) else { continue };
        for relocation in &section.relocations {
            let Some(offset) = relocation.offset.checked_sub(start) else { continue };
            let Some(symbol) = relocation.symbol.map(|at| &file.symbols[at]) else { continue };
            if offset >= u64::from(map.def.value_size) {
                continue;
            }
            if let (Place::Section(place), Ok(offset)) = (symbol.place, u32::try_from(offset))
                && file.sections[place].code
            {
                entries.push((slot_of(index), MapEntry::Callback { offset, program: symbol.name.clone() }));
            }
        }
    }
    entries
}
