//! Symbols from outside: kernel configuration, kernel variables, kernel functions.
//!
//! In: undefined symbols and the data sections `.kconfig` and `.ksyms` of BTF. Out: [`Extern`]s and the layout of
//! the configuration map. Values come from whoever knows a kernel: [`Object::apply_kernel_config`].
#![forbid(unsafe_code)]

use beelift_runtime::MapDef;
use beelift_runtime::map::{MapFlags, MapKind};

use super::data::datasec;
use super::file::{File, Place};
use super::{Extern, ExternKind, Global, Object};
use crate::btf::{Btf, IntEncoding, Kind, TypeId};
use crate::isa::MapSlot;

/// Name of section and map.
pub(super) const KCONFIG: &str = ".kconfig";

/// All externs that have types; kernel configuration values get their place.
pub(super) fn read(file: &File<'_>, btf: &Btf) -> Vec<Extern> {
    let mut externs = Vec::new();
    for (section, is_config) in [(KCONFIG, true), (".ksyms", false)] {
        let Some((_, vars)) = datasec(btf, section) else { continue };
        for var in vars.iter() {
            let ty = btf.type_at(var.var);
            let (kind, btf_type) = if ty.kind.as_func().is_some() {
                (ExternKind::Kfunc, ty.id)
            } else if let Some(of) = ty.kind.as_var() {
                if is_config {
                    let size = btf.size_of(of).and_then(|size| u32::try_from(size).ok()).unwrap_or(0);
                    (ExternKind::Kconfig { offset: 0, size }, of)
                } else {
                    let void = btf.resolve(of) == TypeId::VOID;
                    (ExternKind::Ksym, if void { TypeId::VOID } else { of })
                }
            } else {
                continue;
            };
            let symbol = file.symbol(Place::Undefined, ty.name);
            let weak = symbol.is_some_and(|symbol| symbol.weak);
            externs.push(Extern { name: ty.name.to_owned(), kind, weak, btf_type: btf_type.0, set: false });
        }
    }
    lay_out(btf, &mut externs);
    externs
}

/// Places of configuration values: by falling alignment, rising size, name. The kernel's own loader library does
/// the same, so that contents can be compared.
fn lay_out(btf: &Btf, externs: &mut [Extern]) {
    let mut order: Vec<(std::cmp::Reverse<u32>, u32, String, usize)> = Vec::new();
    for (index, symbol) in externs.iter().enumerate() {
        if let ExternKind::Kconfig { size, .. } = symbol.kind {
            let align = btf.align_of(TypeId(symbol.btf_type));
            order.push((std::cmp::Reverse(align), size, symbol.name.clone(), index));
        }
    }
    order.sort();
    let mut next = 0u32;
    for (align, size, _, index) in order {
        let offset = next.next_multiple_of(align.0.max(1));
        externs[index].kind = ExternKind::Kconfig { offset, size };
        next = offset.saturating_add(size);
    }
}

/// The configuration map, if there are such values.
pub(super) fn config_map(externs: &[Extern], btf: &Btf) -> Option<MapDef> {
    let end = |symbol: &Extern| match symbol.kind {
        ExternKind::Kconfig { offset, size } => Some(offset.saturating_add(size)),
        ExternKind::Ksym | ExternKind::Kfunc => None,
    };
    let size = externs.iter().filter_map(end).max()?;
    let mut def = MapDef::new(KCONFIG, MapKind::Array, 4, size, 1);
    def.flags = MapFlags::RDONLY_PROG | MapFlags::MMAPABLE;
    def.frozen = true;
    def.initial = (size < 1 << 20).then(|| vec![0; size as usize].into());
    def.btf_value = datasec(btf, KCONFIG).map_or(0, |(id, _)| id.0);
    Some(def)
}

/// Configuration values are settable like global variables.
pub(super) fn globals(externs: &[Extern], map: MapSlot, globals: &mut Vec<Global>) {
    for symbol in externs {
        if let ExternKind::Kconfig { offset, size } = symbol.kind {
            let btf_type = TypeId(symbol.btf_type);
            globals.push(Global { name: symbol.name.clone(), map, offset, size, btf_type });
        }
    }
}

impl Object {
    /// Fills in kernel configuration values: `config` is the text of a kernel's configuration (`CONFIG_X=y`
    /// lines), `version` its `KERNEL_VERSION` (`major << 16 | minor << 8 | patch`). What is set already stays.
    pub fn apply_kernel_config(&mut self, config: &str, version: u32) {
        let Some(btf) = self.btf.clone() else { return };
        let wanted: Vec<(String, u32, TypeId)> = self
            .externs
            .iter()
            .filter(|symbol| !symbol.set)
            .filter_map(|symbol| match symbol.kind {
                ExternKind::Kconfig { size, .. } => {
                    Some((symbol.name.clone(), size, TypeId(symbol.btf_type)))
                }
                ExternKind::Ksym | ExternKind::Kfunc => None,
            })
            .collect();
        for (name, size, of) in wanted {
            let text = if name == "LINUX_KERNEL_VERSION" {
                Some(version.to_string())
            } else {
                config.lines().find_map(|line| {
                    let (key, value) = line.trim().split_once('=')?;
                    (key == name).then(|| value.to_owned())
                })
            };
            if let Some(bytes) = text.and_then(|text| encode(&btf, of, size, &text)) {
                // Name and size come from the list of values itself.
                let _ = self.set_global(&name, &bytes);
            }
        }
    }
}

/// A configuration value as bytes of its C type.
fn encode(btf: &Btf, of: TypeId, size: u32, text: &str) -> Option<Vec<u8>> {
    let size = size as usize;
    let ty = btf.type_at(btf.resolve(of));
    let fit = |number: i128| {
        let bytes = number.to_le_bytes();
        let kept = bytes.get(..size)?;
        let lost = &bytes[size..];
        (lost.iter().all(|&byte| byte == 0) || lost.iter().all(|&byte| byte == 0xff)).then(|| kept.to_vec())
    };
    match (ty.kind, text) {
        (Kind::Array { .. }, text) => {
            let text = text.strip_prefix('"')?.strip_suffix('"')?;
            let mut bytes = text.as_bytes().to_vec();
            bytes.truncate(size.saturating_sub(1));
            bytes.resize(size, 0);
            Some(bytes)
        }
        (Kind::Int { encoding: IntEncoding::Bool, .. }, "y") => fit(1),
        (Kind::Int { encoding: IntEncoding::Bool, .. }, "n") => fit(0),
        (Kind::Int { size: 1, .. }, "y" | "n" | "m") => Some(text.as_bytes().to_vec()),
        (Kind::Enum(_), "n") => fit(0),
        (Kind::Enum(_), "y") => fit(1),
        (Kind::Enum(_), "m") => fit(2),
        (Kind::Int { .. }, text) => {
            let (text, negative) = text.strip_prefix('-').map_or((text, false), |text| (text, true));
            let number = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
                Some(hex) => i128::from_str_radix(hex, 16).ok()?,
                None => text.parse().ok()?,
            };
            fit(if negative { -number } else { number })
        }
        _ => None,
    }
}
