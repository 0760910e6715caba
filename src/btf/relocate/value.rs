//! The number that answers a question at a place.
#![forbid(unsafe_code)]

use super::CoreKind;
use super::spec::{Place, Spec};
use crate::btf::{Btf, IntEncoding, Kind};

/// An answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Answer {
    /// The number.
    pub(super) value: u64,
    /// Whether the compiler's number can be compared with the instruction.
    pub(super) checked: bool,
    /// Bytes of the field that a load or store at this offset reaches.
    pub(super) access_size: Option<u32>,
    /// What the field holds.
    class: FieldClass,
    /// Whether an access may take the target's size instead of the compiler's.
    pub(super) resizable: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum FieldClass {
    Pointer,
    Unsigned,
    Other,
}

impl Answer {
    /// A plain number.
    pub(super) const fn number(value: u64) -> Self {
        Self { value, checked: true, access_size: None, class: FieldClass::Other, resizable: true }
    }
    /// A number that says nothing about what the compiler wrote.
    pub(super) const fn unchecked(value: u64) -> Self {
        Self { checked: false, ..Self::number(value) }
    }
    /// Whether a load of the one field may become a load of the other: zero-extension must mean the same.
    pub(super) fn resizable(own: &Self, target: &Self) -> bool {
        own.access_size == target.access_size || (own.class == target.class && own.class != FieldClass::Other)
    }
}

/// The answer to a question at a place of some types; none when it has none there.
pub(super) fn of(btf: &Btf, _spec: &Spec, kind: CoreKind, place: &Place) -> Option<Answer> {
    match kind {
        CoreKind::FieldExists | CoreKind::TypeExists | CoreKind::TypeMatches | CoreKind::EnumValueExists => {
            Some(Answer::number(1))
        }
        CoreKind::TypeIdLocal | CoreKind::TypeIdTarget => {
            // The compiler writes the local id and the target's differs: there is nothing to compare.
            Some(Answer { checked: false, ..Answer::number(u64::from(place.root.0)) })
        }
        CoreKind::TypeSize => btf.size_of(place.root).map(Answer::number),
        CoreKind::EnumValue => {
            let value = place.enumerator?;
            // Values of 64 bits fit; negative ones keep their bits.
            let value =
                u64::try_from(value).or_else(|_| i64::try_from(value).map(i64::cast_unsigned)).ok()?;
            Some(Answer::number(value))
        }
        CoreKind::FieldByteOffset
        | CoreKind::FieldByteSize
        | CoreKind::FieldSigned
        | CoreKind::FieldLshift
        | CoreKind::FieldRshift => field(btf, kind, place),
    }
}

fn field(btf: &Btf, kind: CoreKind, place: &Place) -> Option<Answer> {
    let storage = Storage::of(btf, place)?;
    let of = btf.type_at(btf.resolve(place.field)).kind;
    match kind {
        CoreKind::FieldByteOffset => {
            let (access_size, class) = if storage.bit_field {
                (None, FieldClass::Other)
            } else {
                let class = if of.as_ptr().is_some() {
                    FieldClass::Pointer
                } else if matches!(of, Kind::Int { encoding, .. } if encoding != IntEncoding::Signed) {
                    FieldClass::Unsigned
                } else {
                    FieldClass::Other
                };
                (u32::try_from(storage.bytes).ok(), class)
            };
            // The compiler's offset of a bit-field depends on how it chose to load it.
            let checked = !storage.bit_field;
            Some(Answer { value: storage.offset, checked, access_size, class, resizable: true })
        }
        CoreKind::FieldByteSize => {
            Some(Answer { checked: !storage.bit_field, ..Answer::number(storage.bytes) })
        }
        CoreKind::FieldSigned if place.member => {
            let signed = matches!(of, Kind::Int { encoding: IntEncoding::Signed, .. })
                || of.as_enum().is_some_and(|values| values.signed);
            Some(Answer::number(u64::from(signed)))
        }
        CoreKind::FieldLshift if place.member => {
            let end = place.bit_offset + storage.bits - storage.offset * 8;
            Some(Answer { checked: false, ..Answer::number(64u64.checked_sub(end)?) })
        }
        CoreKind::FieldRshift if place.member => {
            let value = 64u64.checked_sub(storage.bits)?;
            Some(Answer { checked: !storage.bit_field, ..Answer::number(value) })
        }
        CoreKind::FieldSigned | CoreKind::FieldLshift | CoreKind::FieldRshift => None,
        CoreKind::FieldExists
        | CoreKind::TypeIdLocal
        | CoreKind::TypeIdTarget
        | CoreKind::TypeExists
        | CoreKind::TypeSize
        | CoreKind::EnumValueExists
        | CoreKind::EnumValue
        | CoreKind::TypeMatches => None,
    }
}

/// The naturally aligned word that holds a field.
struct Storage {
    /// Byte offset.
    offset: u64,
    bytes: u64,
    /// Bits of the field itself.
    bits: u64,
    bit_field: bool,
}

impl Storage {
    fn of(btf: &Btf, place: &Place) -> Option<Self> {
        let size = btf.size_of(place.field)?;
        let Some(bits) = place.bit_size else {
            let (offset, bits) = (place.bit_offset / 8, size.checked_mul(8)?);
            return Some(Self { offset, bytes: size, bits, bit_field: false });
        };
        let bits = u64::from(bits);
        let mut bytes = size.max(1);
        loop {
            let offset = place.bit_offset / 8 / bytes * bytes;
            if place.bit_offset + bits - offset * 8 <= bytes * 8 {
                return Some(Self { offset, bytes, bits, bit_field: true });
            }
            if bytes >= 8 {
                return None;
            }
            bytes *= 2;
        }
    }
}
