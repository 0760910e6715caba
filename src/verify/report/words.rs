//! A register in words, for reports: what it is, where it points, which numbers it may hold.
#![forbid(unsafe_code)]

use std::fmt::Write;

use crate::verify::domain::Scalar;
use crate::verify::state::{Kind, MemFlags, Register};
use crate::verify::tables::Tables;

/// `value of map `flows` (16 bytes), or null`, `packet + 14, of which 20 bytes are proven`, `0 to 255`.
pub(super) fn in_words(register: &Register, tables: &Tables<'_>) -> String {
    let (mut text, size) = match register.kind {
        Kind::Uninit => return "never written on this path".to_owned(),
        Kind::Scalar => return number(register.value),
        Kind::Map(map) => (format!("map `{}`", tables.map(map).name), None),
        Kind::MapValue(map) => {
            let def = tables.map(map);
            (format!("value of map `{}`", def.name), Some(def.value_size))
        }
        Kind::MapKey(map) => {
            let def = tables.map(map);
            (format!("key of map `{}`", def.name), Some(def.key_size))
        }
        Kind::Memory(flags) => {
            let what = if flags.contains(MemFlags::RINGBUF) { "ring buffer record" } else { "memory" };
            (what.to_owned(), u32::try_from(register.size).ok())
        }
        Kind::Object(of, _) => (format!("{} `{}`", register.kind.name(), tables.types.name(of)), None),
        Kind::Stack(_) => ("r10".to_owned(), None),
        Kind::Context
        | Kind::Packet
        | Kind::PacketMeta
        | Kind::PacketEnd
        | Kind::Socket(_)
        | Kind::FlowKeys
        | Kind::Dynptr(_)
        | Kind::Function(_)
        | Kind::Arena => (register.kind.name().to_owned(), None),
    };
    if register.off != 0 {
        let sign = if register.off < 0 { '-' } else { '+' };
        let _ = write!(text, " {sign} {}", register.off.unsigned_abs());
    }
    if register.value.constant() != Some(0) {
        let _ = write!(text, " + ({})", number(register.value));
    }
    if let Some(size) = size {
        let _ = write!(text, " ({size} bytes)");
    }
    if register.nullable {
        text.push_str(", or null");
    }
    if register.kind.is_packet() {
        match u32::try_from(register.size) {
            Ok(0) | Err(_) => text.push_str(", of which no byte is proven"),
            Ok(proven) => {
                let _ = write!(text, ", of which {proven} bytes are proven");
            }
        }
    }
    text
}

fn number(value: Scalar) -> String {
    if let Some(constant) = value.constant() {
        return constant.cast_signed().to_string();
    }
    let (umin, umax, smin, smax) = (value.umin(), value.umax(), value.smin(), value.smax());
    if umin == 0 && umax == u64::MAX && smin == i64::MIN && smax == i64::MAX {
        return "any number".to_owned();
    }
    let mut text = match (umin, umax) {
        _ if smin.cast_unsigned() == umin && smax.cast_unsigned() == umax => format!("{umin} to {umax}"),
        (0, u64::MAX) => format!("{smin} to {smax}"),
        _ if smin == i64::MIN && smax == i64::MAX => format!("{umin} to {umax}, unsigned"),
        _ => format!("{umin} to {umax}, or signed {smin} to {smax}"),
    };
    let step = value.tnum().possible().trailing_zeros();
    if step > 0 && value.tnum().value() == 0 {
        let _ = write!(text, " in steps of {}", 1_u64 << step.min(63));
    }
    text
}
