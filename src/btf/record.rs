//! Layout of type records: 12 bytes (name, info, size or type), then what the kind adds.
//!
//! The only place that knows numbers of kinds and offsets of fields; `check` is what lets all others read without
//! looking back.
#![forbid(unsafe_code)]

use super::{BtfError, TypeId};

pub(super) const INT: u32 = 1;
pub(super) const PTR: u32 = 2;
pub(super) const ARRAY: u32 = 3;
pub(super) const STRUCT: u32 = 4;
pub(super) const UNION: u32 = 5;
pub(super) const ENUM: u32 = 6;
pub(super) const FWD: u32 = 7;
pub(super) const TYPEDEF: u32 = 8;
pub(super) const VOLATILE: u32 = 9;
pub(super) const CONST: u32 = 10;
pub(super) const RESTRICT: u32 = 11;
pub(super) const FUNC: u32 = 12;
pub(super) const FUNC_PROTO: u32 = 13;
pub(super) const VAR: u32 = 14;
pub(super) const DATASEC: u32 = 15;
pub(super) const FLOAT: u32 = 16;
pub(super) const DECL_TAG: u32 = 17;
pub(super) const TYPE_TAG: u32 = 18;
pub(super) const ENUM64: u32 = 19;

/// The little-endian word at an offset of a checked record.
pub(super) fn word(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes[at..at + 4].try_into().expect("four bytes");
    u32::from_le_bytes(bytes)
}
pub(super) fn name(record: &[u8]) -> u32 {
    word(record, 0)
}
pub(super) fn kind(record: &[u8]) -> u32 {
    (word(record, 4) >> 24) & 0x1f
}
pub(super) fn vlen(record: &[u8]) -> usize {
    (word(record, 4) & 0xffff) as usize
}
pub(super) fn flag(record: &[u8]) -> bool {
    word(record, 4) >> 31 != 0
}
pub(super) fn size_or_type(record: &[u8]) -> u32 {
    word(record, 8)
}
/// Bytes that follow the 12 common ones, or `None` for an unknown kind.
fn tail(kind: u32, vlen: usize) -> Option<usize> {
    Some(match kind {
        PTR | FWD | TYPEDEF | VOLATILE | CONST | RESTRICT | FUNC | FLOAT | TYPE_TAG => 0,
        INT | VAR | DECL_TAG => 4,
        ARRAY => 12,
        STRUCT | UNION | DATASEC | ENUM64 => vlen * 12,
        ENUM | FUNC_PROTO => vlen * 8,
        _ => return None,
    })
}

/// Checks one record of `record` (and what follows it); returns its length.
pub(super) fn check(record: &[u8], id: u32, strings: usize) -> Result<usize, BtfError> {
    let wrong = |what| BtfError::Type { id, what };
    if record.len() < 12 {
        return Err(wrong("ends inside its record"));
    }
    let (kind, vlen) = (kind(record), vlen(record));
    let len = 12 + tail(kind, vlen).ok_or(BtfError::UnknownKind { id, kind })?;
    let record = record.get(..len).ok_or(wrong("ends inside its record"))?;
    let named = |at: usize| (word(record, at) as usize) < strings;
    if !named(0) {
        return Err(wrong("its name lies outside of the strings"));
    }
    match kind {
        INT => {
            let data = word(record, 12);
            let (bits, offset) = (data & 0xff, (data >> 16) & 0xff);
            let size = size_or_type(record);
            if !matches!(size, 1 | 2 | 4 | 8 | 16) || bits + offset > size * 8 || bits == 0 {
                return Err(wrong("an integer of impossible size"));
            }
        }
        FLOAT if !matches!(size_or_type(record), 2 | 4 | 8 | 12 | 16) => {
            return Err(wrong("a floating-point number of impossible size"));
        }
        // One that is only declared has neither size nor values.
        ENUM if vlen == 0 && size_or_type(record) == 0 => {}
        ENUM if !matches!(size_or_type(record), 1 | 2 | 4 | 8) => {
            return Err(wrong("an enumeration of impossible size"));
        }
        ENUM64 if !matches!(size_or_type(record), 1 | 2 | 4 | 8) => {
            return Err(wrong("an enumeration of impossible size"));
        }
        FUNC if vlen > 2 => return Err(wrong("a function of unknown linkage")),
        VAR if word(record, 12) > 2 => return Err(wrong("a variable of unknown linkage")),
        _ => {}
    }
    let names = match kind {
        STRUCT | UNION | ENUM64 => 12,
        ENUM | FUNC_PROTO => 8,
        _ => 0,
    };
    if names != 0 && !(0..vlen).all(|index| named(12 + index * names)) {
        return Err(wrong("the name of a part lies outside of the strings"));
    }
    if matches!(kind, STRUCT | UNION) {
        check_members(record, id)?;
    }
    Ok(len)
}

/// Members start inside of their structure.
fn check_members(record: &[u8], id: u32) -> Result<(), BtfError> {
    let bits = u64::from(size_or_type(record)) * 8;
    for index in 0..vlen(record) {
        let position = word(record, 12 + index * 12 + 8);
        let offset = if flag(record) { position & 0x00ff_ffff } else { position };
        if u64::from(offset) > bits {
            return Err(BtfError::Type { id, what: "a member lies outside of the structure" });
        }
    }
    Ok(())
}

/// Calls `visit` with every type id that a checked record mentions.
pub(super) fn for_each_reference(record: &[u8], mut visit: impl FnMut(TypeId)) {
    let at = |offset| TypeId(word(record, offset));
    match kind(record) {
        PTR | TYPEDEF | VOLATILE | CONST | RESTRICT | FUNC | VAR | DECL_TAG | TYPE_TAG => visit(at(8)),
        ARRAY => {
            visit(at(12));
            visit(at(16));
        }
        STRUCT | UNION => (0..vlen(record)).for_each(|index| visit(at(12 + index * 12 + 4))),
        FUNC_PROTO => {
            visit(at(8));
            (0..vlen(record)).for_each(|index| visit(at(12 + index * 8 + 4)));
        }
        DATASEC => (0..vlen(record)).for_each(|index| visit(at(12 + index * 12))),
        _ => {}
    }
}
