//! Maps defined by structures of numbers: the symbols of sections `maps` and `maps/…`.
//!
//! The structure starts with type, key size, value size, capacity and flags; the first four suffice. Loaders
//! appended fields of their own. Two layouts that name inner maps are told by their size ([`Layout`]); what else
//! stands behind the flags is reported and otherwise ignored.
#![forbid(unsafe_code)]

use std::collections::HashMap;

use beelift_runtime::MapDef;
use beelift_runtime::map::{MapFlags, MapKind};

use super::file::{File, SymbolType};
use super::maps::finish;
use super::{ElfError, MapEntry, Warning};
use crate::btf::{Btf, Members};
use crate::isa::MapSlot;

/// A map and where it is defined.
pub(super) struct Found {
    pub(super) def: MapDef,
    pub(super) section: usize,
    pub(super) offset: u64,
    layout: Layout,
}

/// What follows the flags.
#[derive(Clone, Copy)]
enum Layout {
    /// Nothing, or nothing known.
    Plain,
    /// 28 bytes, as in the kernel's samples: the inner map by its number in the section, and the memory node.
    Numbered { inner: u32 },
    /// 36 bytes, as tc loads them: maps have identities, an outer map says which map is its inner one, and an inner
    /// map at which index of the outer one it stands.
    Identified { id: u32, inner: u32, index: u32 },
}

/// Reads the definitions.
pub(super) fn read(
    file: &File<'_>,
    btf: Option<&Btf>,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<Found>, ElfError> {
    let mut found = Vec::new();
    let annotations = btf.map(annotations).unwrap_or_default();
    for (number, section) in file.sections.iter().enumerate() {
        if section.code || (section.name != "maps" && !section.name.starts_with("maps/")) {
            continue;
        }
        let mut symbols: Vec<_> = file
            .symbols_in(number)
            .filter(|symbol| matches!(symbol.kind, SymbolType::Data | SymbolType::Unknown))
            .filter(|symbol| !symbol.name.is_empty())
            .collect();
        symbols.sort_by_key(|symbol| symbol.value);
        symbols.dedup_by_key(|symbol| symbol.value);
        for (index, symbol) in symbols.iter().enumerate() {
            let end = match symbols.get(index + 1) {
                Some(next) if symbol.size == 0 => next.value,
                None if symbol.size == 0 => section.size,
                Some(_) | None => symbol.value.saturating_add(symbol.size),
            };
            let range = usize::try_from(symbol.value).ok().zip(usize::try_from(end).ok());
            let bytes = range.and_then(|(start, end)| section.data.get(start..end));
            let Some(bytes) = bytes else {
                return Err(
                    section.error(symbol.value, format!("map {} lies outside of the section", symbol.name))
                );
            };
            let (mut def, layout) = definition(&symbol.name, bytes, warnings)?;
            if let Some(btf) = btf {
                annotate(&mut def, btf, &annotations);
                finish(&mut def, btf);
            }
            found.push(Found { def, section: number, offset: symbol.value, layout });
        }
    }
    for outer in 0..found.len() {
        let inner = inner_of(&found, outer).map(|inner| found[inner].def.clone());
        found[outer].def.inner = inner.map(Box::new);
    }
    Ok(found)
}

/// Which map is the pattern of the elements of a map of maps.
fn inner_of(found: &[Found], outer: usize) -> Option<usize> {
    let Found { def, section, layout, .. } = &found[outer];
    if !holds_maps(def.kind) {
        return None;
    }
    let inner = match *layout {
        Layout::Plain => return None,
        Layout::Numbered { inner } => {
            let mut here = (0..found.len()).filter(|&index| found[index].section == *section);
            here.nth(inner as usize)?
        }
        Layout::Identified { inner: 0, .. } => return None,
        Layout::Identified { inner: wanted, .. } => found
            .iter()
            .position(|map| matches!(map.layout, Layout::Identified { id, .. } if id == wanted))?,
    };
    (!holds_maps(found[inner].def.kind)).then_some(inner)
}

fn holds_maps(kind: MapKind) -> bool {
    matches!(kind, MapKind::ArrayOfMaps | MapKind::HashOfMaps)
}

/// Which maps stand in maps of maps from the start. `slot_of` are the maps' own numbers.
pub(super) fn entries(found: &[Found], slot_of: impl Fn(usize) -> MapSlot) -> Vec<(MapSlot, MapEntry)> {
    let mut entries = Vec::new();
    for outer in 0..found.len() {
        let (Some(pattern), 4) = (inner_of(found, outer), found[outer].def.key_size) else { continue };
        // An index that is no index says that the map is only the pattern.
        if let Layout::Identified { index, .. } = found[pattern].layout
            && index < found[outer].def.max_entries
        {
            entries.push((slot_of(outer), MapEntry::Map { index, map: slot_of(pattern) }));
        }
    }
    entries
}

fn definition(name: &str, bytes: &[u8], warnings: &mut Vec<Warning>) -> Result<(MapDef, Layout), ElfError> {
    let error = |what: String| ElfError::Map { map: name.to_owned(), what };
    let word = |index: usize| {
        let bytes = bytes.get(index * 4..index * 4 + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    let (Some(kind), Some(key), Some(value), Some(entries)) = (word(0), word(1), word(2), word(3)) else {
        return Err(error(format!("its definition has {} bytes, not 16 or more", bytes.len())));
    };
    let kind = MapKind::from_id(kind).ok_or_else(|| error(format!("map type {kind} is unknown")))?;
    let mut def = MapDef::new(name, kind, key, value, entries);
    def.flags = MapFlags::from_bits_retain(word(4).unwrap_or(0));
    let at = |index| word(index).unwrap_or(0);
    let layout = match bytes.len() {
        28 => Layout::Numbered { inner: at(5) },
        36 => Layout::Identified { id: at(5), inner: at(7), index: at(8) },
        _ => Layout::Plain,
    };
    let mut unknown = bytes.get(20..).unwrap_or(&[]);
    match layout {
        Layout::Numbered { .. } if def.flags.contains(MapFlags::NUMA_NODE) || holds_maps(kind) => {
            def.numa_node = at(6);
            unknown = &[];
        }
        // A place for pinning is the only one of its fields that has no effect here.
        Layout::Identified { .. } => unknown = bytes.get(24..28).unwrap_or(&[]),
        Layout::Plain | Layout::Numbered { .. } => {}
    }
    if holds_maps(kind) && def.value_size == 0 {
        def.value_size = 4;
    }
    if unknown.iter().any(|&byte| byte != 0) {
        let bytes = u32::try_from(unknown.len()).unwrap_or(u32::MAX);
        warnings.push(Warning::LongMapDefinition { map: name.to_owned(), bytes });
    }
    Ok((def, layout))
}

/// `struct ____btf_map_NAME { key; value }` tells the types of a map.
fn annotations(btf: &Btf) -> HashMap<&str, Members<'_>> {
    btf.iter().filter_map(|ty| ty.name.strip_prefix("____btf_map_").zip(ty.kind.as_struct())).collect()
}

fn annotate(def: &mut MapDef, btf: &Btf, annotations: &HashMap<&str, Members<'_>>) {
    let members = annotations.get(def.name.as_str());
    for member in members.into_iter().flat_map(Members::iter) {
        let size = btf.size_of(member.of);
        match member.name {
            "key" if size == Some(u64::from(def.key_size)) => def.btf_key = member.of.0,
            "value" if size == Some(u64::from(def.value_size)) => def.btf_value = member.of.0,
            _ => {}
        }
    }
}
