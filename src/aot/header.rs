//! The C header of an object: its symbols, the contexts of its programs, and who implements what they call.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fmt::Write;

use beelift_runtime::ctx::{ContextLayout, FieldKind};

use super::layout::{Plan, identifier};
use super::{HELPERS, Unit, helper_name, object, symbols};
use crate::codegen::{Symbol, Target};

/// Bytes of `struct beelift_packet`, with which native packet contexts begin.
const PACKET_BYTES: u16 = 64;

/// The whole header.
pub(super) fn write(units: &[Unit<'_>], plan: &Plan, target: &Target) -> String {
    let mut text = String::new();
    let mut line = |line: &str| {
        text.push_str(line);
        text.push('\n');
    };
    line(&format!(
        "/* Made by `beelift compile` for {}. Link the object with beelift.c. */",
        target.triple()
    ));
    line("#pragma once");
    line("#include \"beelift.h\"");
    line(&format!(
        "_Static_assert(BEELIFT_ABI == {}, \"beelift.h is of another version than the object\");",
        object::ABI
    ));
    if !plan.maps.is_empty() {
        line("\n/* Maps; beelift_init makes them ready. */");
    }
    for map in &plan.maps {
        let def = &map.def;
        line(&format!(
            "extern struct beelift_map beelift_map_{}; /* {}: key {}, value {} bytes, {} entries */",
            map.id, def.kind, def.key_size, def.value_size, def.max_entries
        ));
    }
    let mut contexts = BTreeSet::new();
    for (unit, id) in units.iter().zip(&plan.programs) {
        let context = match unit.verified.program().layout() {
            ContextLayout::Fields { name, native_size, fields, .. } => {
                let tag = format!("beelift_{}", identifier(name));
                if contexts.insert(tag.clone()) {
                    line(&structure(&tag, name, native_size, fields));
                }
                format!("struct {tag}")
            }
            ContextLayout::Raw { .. } | ContextLayout::Memory | ContextLayout::Kernel => "void".to_owned(),
        };
        line(&program(unit, id, &context));
    }
    text
}

/// A native context: pointers at full width, other fields as in the UAPI.
fn structure(tag: &str, name: &str, size: u16, fields: &[beelift_runtime::ctx::CtxField]) -> String {
    let is_pointer =
        |kind| matches!(kind, FieldKind::PacketData | FieldKind::PacketEnd | FieldKind::PacketMeta);
    let packet = fields.iter().any(|field| is_pointer(field.kind));
    let mut text = format!("\n/* `struct {name}` as native code reads it. */\n#ifndef BEELIFT_HAS_{tag}\n");
    write!(text, "#define BEELIFT_HAS_{tag}\nstruct {tag} {{\n").expect("a string");
    let mut at = 0;
    if packet {
        text.push_str("\tstruct beelift_packet packet; /* data, data_end, data_meta, ... */\n");
        at = PACKET_BYTES;
    }
    let mut fields: Vec<_> = fields.iter().filter(|field| field.kind != FieldKind::KernelOnly).collect();
    fields.sort_by_key(|field| (field.native_offset, std::cmp::Reverse(field.native_size)));
    let pad = |text: &mut String, from: u16, to: u16| {
        if to > from {
            writeln!(text, "\tuint8_t unused_{from}[{}];", to - from).expect("a string");
        }
    };
    for field in fields {
        // Parts of a larger field, or of the packet's bounds.
        if field.native_offset < at {
            continue;
        }
        pad(&mut text, at, field.native_offset);
        let field_name = field.name;
        match field.native_size {
            1 => writeln!(text, "\tuint8_t {field_name};"),
            2 => writeln!(text, "\tuint16_t {field_name};"),
            4 => writeln!(text, "\tuint32_t {field_name};"),
            8 => writeln!(text, "\tuint64_t {field_name};"),
            size if size % 4 == 0 => writeln!(text, "\tuint32_t {field_name}[{}];", size / 4),
            size => writeln!(text, "\tuint8_t {field_name}[{size}];"),
        }
        .expect("a string");
        at = field.native_offset + field.native_size;
    }
    pad(&mut text, at, size);
    write!(text, "}};\n_Static_assert(sizeof(struct {tag}) == {size}, \"layout\");\n#endif")
        .expect("a string");
    text
}

fn program(unit: &Unit<'_>, id: &str, context: &str) -> String {
    let program = unit.verified.program();
    let helpers: BTreeSet<u32> = symbols(unit)
        .filter_map(|symbol| if let Symbol::Helper(id) = symbol { Some(id) } else { None })
        .collect();
    let mut text = format!("\n/* Program `{}` of type {}. It calls:\n", program.name, program.prog_type);
    for id in helpers {
        let who = if HELPERS.contains(&id) { "in beelift.c" } else { "yours" };
        writeln!(text, " *   beelift_{:<32} {who}", helper_name(program, id)).expect("a string");
    }
    text.push_str(" *   beelift_trap_exit                        in beelift.c\n");
    text.push_str(" */\n");
    write!(
        text,
        "extern const struct beelift_program beelift_program_{id};\n\
         /* 0 and the result, or what stopped the program. */\n\
         static inline int {id}_run(struct beelift_run *run, {context} *context, uint64_t length, uint64_t *result)\n\
         {{\n\treturn beelift_run_program(&beelift_program_{id}, run, context, length, result);\n}}"
    )
    .expect("a string");
    text
}
