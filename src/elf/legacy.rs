//! Maps defined by structures of numbers: the symbols of sections `maps` and `maps/…`.
//!
//! The structure starts with type, key size, value size, capacity and flags; the first four suffice. Loaders
//! appended fields of their own (ids, pinning paths), which are reported and otherwise ignored.
#![forbid(unsafe_code)]

use std::collections::HashMap;

use beelift_runtime::MapDef;
use beelift_runtime::map::{MapFlags, MapKind};

use super::file::{File, SymbolType};
use super::maps::finish;
use super::{ElfError, Warning};
use crate::btf::{Btf, Members};

/// A map and where it is defined.
pub(super) struct Found {
    pub(super) def: MapDef,
    pub(super) section: usize,
    pub(super) offset: u64,
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
            let mut def = definition(&symbol.name, bytes, warnings)?;
            if let Some(btf) = btf {
                annotate(&mut def, btf, &annotations);
                finish(&mut def, btf);
            }
            found.push(Found { def, section: number, offset: symbol.value });
        }
    }
    Ok(found)
}

fn definition(name: &str, bytes: &[u8], warnings: &mut Vec<Warning>) -> Result<MapDef, ElfError> {
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
    let rest = bytes.get(20..).unwrap_or(&[]);
    if rest.iter().any(|&byte| byte != 0) {
        let bytes = u32::try_from(rest.len()).unwrap_or(u32::MAX);
        warnings.push(Warning::LongMapDefinition { map: name.to_owned(), bytes });
    }
    Ok(def)
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
