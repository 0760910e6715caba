//! Maps defined by types: the variables of section `.maps`.
//!
//! In: BTF and the container. Out: map definitions, where each is defined, and what `values` puts into them. A
//! number is the length of an array that a member points to; a type is what a member points to.
#![forbid(unsafe_code)]

use beelift_runtime::MapDef;
use beelift_runtime::map::{MapFlags, MapKind};

use super::data::datasec;
use super::file::{File, Place};
use super::{ElfError, MapEntry, Warning};
use crate::btf::{Btf, Kind, TypeId, special_fields};

/// The section.
pub(super) const SECTION: &str = ".maps";

/// A map, where its definition starts in `.maps`, and where its `values` start.
pub(super) struct Found {
    pub(super) def: MapDef,
    pub(super) offset: u64,
    values: Option<u64>,
}

/// Reads the definitions.
pub(super) fn read(file: &File<'_>, btf: &Btf, warnings: &mut Vec<Warning>) -> Result<Vec<Found>, ElfError> {
    let Some((number, section)) = file.section(SECTION) else { return Ok(Vec::new()) };
    let Some((_, vars)) = datasec(btf, SECTION) else {
        return Err(section.error(0, "the section has no types"));
    };
    let mut found = Vec::new();
    for var in vars.iter() {
        let ty = btf.type_at(var.var);
        let Some(of) = ty.kind.as_var() else {
            return Err(section.error(u64::from(var.offset), "type of a map is no variable"));
        };
        let symbol = file.symbol(Place::Section(number), ty.name);
        let offset = symbol.map_or(u64::from(var.offset), |symbol| symbol.value);
        let mut reader = Reader { btf, map: ty.name, warnings, values: None };
        let def = reader.definition(of, 0)?;
        let values = reader.values.map(|at| u64::from(at) + offset);
        found.push(Found { def, offset, values });
    }
    Ok(found)
}

/// What initialisers in `.maps` put into maps of maps and program arrays. `slots` are the maps' own numbers.
pub(super) fn entries(
    file: &File<'_>,
    found: &[Found],
    slot_of: impl Fn(usize) -> crate::isa::MapSlot,
) -> Result<Vec<(crate::isa::MapSlot, MapEntry)>, ElfError> {
    let Some((number, section)) = file.section(SECTION) else { return Ok(Vec::new()) };
    let mut entries = Vec::new();
    let mut starts: Vec<(u64, usize)> = found.iter().map(|map| map.offset).zip(0..).collect();
    starts.sort_unstable();
    for relocation in &section.relocations {
        let at = relocation.offset;
        let Some(symbol) = relocation.symbol.map(|index| &file.symbols[index]) else { continue };
        // A flexible array makes the variable larger than its type: the last start before it counts.
        let before = starts.partition_point(|&(start, _)| start <= at);
        let Some(&(_, owner)) = before.checked_sub(1).and_then(|last| starts.get(last)) else {
            return Err(section.error(at, "relocation belongs to no map"));
        };
        let map = &found[owner];
        let Some(values) = map.values.filter(|&values| values <= at) else {
            return Err(section.error(at, format!("map {} takes no initial values", map.def.name)));
        };
        let index = u32::try_from((at - values) / 8).map_err(|_| section.error(at, "too many values"))?;
        let entry = match symbol.place {
            Place::Section(place) if place == number => {
                let inner = symbol.value.wrapping_add_signed(relocation.addend);
                let inner = starts.binary_search_by_key(&inner, |&(start, _)| start);
                let Ok(inner) = inner.map(|at| starts[at].1) else {
                    return Err(section.error(at, format!("{} is no map", symbol.name)));
                };
                MapEntry::Map { index, map: slot_of(inner) }
            }
            Place::Section(place) if file.sections[place].code => {
                MapEntry::Program { index, program: symbol.name.clone() }
            }
            Place::Section(_) | Place::Undefined | Place::Other => {
                return Err(section.error(at, format!("{} is neither map nor program", symbol.name)));
            }
        };
        entries.push((slot_of(owner), entry));
    }
    Ok(entries)
}

struct Reader<'a> {
    btf: &'a Btf,
    map: &'a str,
    warnings: &'a mut Vec<Warning>,
    /// Byte offset of the member `values`.
    values: Option<u32>,
}

impl Reader<'_> {
    fn error(&self, what: impl Into<String>) -> ElfError {
        ElfError::Map { map: self.map.to_owned(), what: what.into() }
    }

    fn definition(&mut self, of: TypeId, depth: u32) -> Result<MapDef, ElfError> {
        let Kind::Struct(members) = self.btf.type_at(self.btf.resolve(of)).kind else {
            return Err(self.error("its definition is no structure"));
        };
        let mut def = MapDef::new(self.map, MapKind::Hash, 0, 0, 0);
        let mut kind = None;
        for member in members.iter() {
            match member.name {
                "type" => kind = Some(self.number(member.name, member.of)?),
                "max_entries" => def.max_entries = self.number(member.name, member.of)?,
                "map_flags" => {
                    def.flags = MapFlags::from_bits_retain(self.number(member.name, member.of)?);
                }
                // Has an effect only together with `BPF_F_NUMA_NODE` in `map_flags`.
                "numa_node" => def.numa_node = self.number(member.name, member.of)?,
                "map_extra" => def.extra = self.long(member.name, member.of)?,
                "pinning" => match self.number(member.name, member.of)? {
                    0 => {}
                    1 => def.pin_by_name = true,
                    // Loaders have policies of their own behind other numbers.
                    other => self.warnings.push(Warning::UnknownMapAttribute {
                        map: self.map.to_owned(),
                        attribute: format!("pinning = {other}"),
                    }),
                },
                "key_size" => {
                    def.key_size = self.same("key", def.key_size, self.number("key_size", member.of)?)?
                }
                "value_size" => {
                    let size = self.number("value_size", member.of)?;
                    def.value_size = self.same("value", def.value_size, size)?;
                }
                "key" => {
                    let (of, size) = self.pointee("key", member.of)?;
                    def.key_size = self.same("key", def.key_size, size)?;
                    def.btf_key = of.0;
                }
                "value" => {
                    let (of, size) = self.pointee("value", member.of)?;
                    def.value_size = self.same("value", def.value_size, size)?;
                    def.btf_value = of.0;
                }
                "values" => self.initial_values(&mut def, member.of, member.bit_offset / 8, depth)?,
                other => self.warnings.push(Warning::UnknownMapAttribute {
                    map: self.map.to_owned(),
                    attribute: other.to_owned(),
                }),
            }
        }
        let Some(kind) = kind else { return Err(self.error("its definition has no type")) };
        def.kind = MapKind::from_id(kind).ok_or_else(|| self.error(format!("map type {kind} is unknown")))?;
        finish(&mut def, self.btf);
        Ok(def)
    }

    /// A size given twice must be the same.
    fn same(&self, of: &str, known: u32, size: u32) -> Result<u32, ElfError> {
        if known != 0 && known != size {
            return Err(self.error(format!("{of} size is given as {known} and as {size}")));
        }
        Ok(size)
    }

    /// `__uint(name, value)`: a pointer to an array of that length.
    fn number(&self, name: &str, of: TypeId) -> Result<u32, ElfError> {
        let value = self.long(name, of)?;
        u32::try_from(value).map_err(|_| self.error(format!("{name} {value} has more than 32 bits")))
    }

    /// `__uint(name, value)`, or `__ulong(name, value)`: an enumeration of one value.
    fn long(&self, name: &str, of: TypeId) -> Result<u64, ElfError> {
        let wrong = || self.error(format!("{name} is not written as a number"));
        let kind = self.btf.type_at(self.btf.resolve(of)).kind;
        if let Some(values) = kind.as_enum() {
            let value = values.get(0).filter(|_| values.len() == 1).ok_or_else(wrong)?.value;
            // A value over i64::MAX reads as negative in a signed enumeration.
            return u64::try_from(value)
                .or_else(|_| i64::try_from(value).map(i64::cast_unsigned))
                .map_err(|_| wrong());
        }
        let array = kind.as_ptr().and_then(|to| self.btf.type_at(self.btf.resolve(to)).kind.as_array());
        array.map(|(_, len)| u64::from(len)).ok_or_else(wrong)
    }

    /// `__type(name, T)`: a pointer to `T`.
    fn pointee(&self, name: &str, of: TypeId) -> Result<(TypeId, u32), ElfError> {
        let Kind::Ptr(to) = self.btf.type_at(self.btf.resolve(of)).kind else {
            return Err(self.error(format!("{name} is not written as a type")));
        };
        let size = self.btf.size_of(to).and_then(|size| u32::try_from(size).ok());
        let size =
            size.ok_or_else(|| self.error(format!("{name} type {} has no size", self.btf.type_name(to))))?;
        Ok((to, size))
    }

    /// `__array(values, T)`: an array of pointers to inner maps or programs.
    fn initial_values(
        &mut self,
        def: &mut MapDef,
        of: TypeId,
        offset: u32,
        depth: u32,
    ) -> Result<(), ElfError> {
        let wrong = "values is not written as an array of pointers to maps or functions";
        if depth > 0 {
            return Err(self.error("an inner map cannot have values"));
        }
        let Kind::Array { element, .. } = self.btf.type_at(self.btf.resolve(of)).kind else {
            return Err(self.error(wrong));
        };
        let Kind::Ptr(to) = self.btf.type_at(self.btf.resolve(element)).kind else {
            return Err(self.error(wrong));
        };
        let kind = self.btf.type_at(self.btf.resolve(to)).kind;
        if kind.as_struct().is_some() {
            let mut inner = self.definition(to, depth + 1)?;
            inner.name = format!("{}.inner", self.map);
            def.inner = Some(Box::new(inner));
        } else if !matches!(kind, Kind::FuncProto { .. }) {
            return Err(self.error(wrong));
        }
        def.value_size = self.same("value", def.value_size, 4)?;
        if def.key_size == 0 {
            def.key_size = 4;
        }
        self.values = Some(offset);
        Ok(())
    }
}

/// What all ways of defining a map have in common.
pub(super) fn finish(def: &mut MapDef, btf: &Btf) {
    match def.kind {
        // Key and value types document the records; such maps have no elements.
        MapKind::Ringbuf | MapKind::UserRingbuf | MapKind::Arena => {
            def.key_size = 0;
            def.value_size = 0;
        }
        MapKind::PerfEventArray => {
            def.key_size = 4;
            def.value_size = 4;
        }
        MapKind::ArrayOfMaps | MapKind::HashOfMaps | MapKind::ProgArray if def.value_size == 0 => {
            def.value_size = 4;
        }
        _ => {}
    }
    if def.btf_value != 0 {
        def.fields = special_fields(btf, TypeId(def.btf_value));
    }
}
