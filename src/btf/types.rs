//! What a type record says: [`Type`], [`Kind`] and the lists inside them, decoded on the way.
//!
//! In: checked records of `parse`. Out: values that borrow from the `Btf`. The layout of records is in `raw`,
//! the only place that knows numbers of kinds.
#![forbid(unsafe_code)]

use super::{Btf, TypeId};

/// A type.
#[derive(Clone, Copy, Debug)]
pub struct Type<'a> {
    /// Its id.
    pub id: TypeId,
    /// Name; empty when it has none.
    pub name: &'a str,
    /// What it is.
    pub kind: Kind<'a>,
}

/// How an integer is meant.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum IntEncoding {
    /// Unsigned.
    Unsigned,
    /// Signed.
    Signed,
    /// A character.
    Char,
    /// A truth value.
    Bool,
}

/// Linkage of a function.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FuncLinkage {
    /// `static`
    Static,
    /// Visible.
    Global,
    /// Expected from outside.
    Extern,
}

/// Linkage of a variable.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum VarLinkage {
    /// `static`
    Static,
    /// Visible.
    Global,
    /// Expected from outside.
    Extern,
}

/// What a type is.
#[derive(Clone, Copy, Debug)]
pub enum Kind<'a> {
    /// No type.
    Void,
    /// An integer.
    Int {
        /// Bytes of storage.
        size: u32,
        /// Bits used.
        bits: u32,
        /// Bits left out before them.
        bit_offset: u32,
        /// Meaning.
        encoding: IntEncoding,
    },
    /// A pointer.
    Ptr(TypeId),
    /// An array.
    Array {
        /// Element type.
        element: TypeId,
        /// Type of its index.
        index: TypeId,
        /// Elements.
        len: u32,
    },
    /// A structure.
    Struct(Members<'a>),
    /// A union.
    Union(Members<'a>),
    /// An enumeration of up to 32 bits.
    Enum(Enumerators<'a>),
    /// An enumeration of 64 bits.
    Enum64(Enumerators<'a>),
    /// A structure or union declared only.
    Fwd {
        /// Whether it is a union.
        union: bool,
    },
    /// Another name.
    Typedef(TypeId),
    /// `volatile`
    Volatile(TypeId),
    /// `const`
    Const(TypeId),
    /// `restrict`
    Restrict(TypeId),
    /// A function.
    Func {
        /// Its `FuncProto`.
        proto: TypeId,
        /// Linkage.
        linkage: FuncLinkage,
    },
    /// A function's type.
    FuncProto {
        /// Return type.
        ret: TypeId,
        /// Parameters.
        params: Params<'a>,
    },
    /// A variable.
    Var {
        /// Its type.
        of: TypeId,
        /// Linkage.
        linkage: VarLinkage,
    },
    /// A data section.
    Datasec {
        /// Bytes.
        size: u32,
        /// Variables.
        vars: SectionVars<'a>,
    },
    /// A floating-point number.
    Float {
        /// Bytes.
        size: u32,
    },
    /// An annotation of a declaration; the text is the name.
    DeclTag {
        /// What is annotated.
        of: TypeId,
        /// Member or parameter, or none for the declaration as a whole.
        component: Option<u32>,
    },
    /// An annotation of a type; the text is the name.
    TypeTag(TypeId),
}

impl<'a> Kind<'a> {
    /// Decodes a checked record.
    pub(super) fn decode(btf: &'a Btf, record: &'a [u8]) -> Self {
        let of = TypeId(raw::size_or_type(record));
        let size = raw::size_or_type(record);
        let vlen = raw::vlen(record);
        match raw::kind(record) {
            raw::INT => {
                let data = raw::word(record, 12);
                Self::Int {
                    size,
                    bits: data & 0xff,
                    bit_offset: (data >> 16) & 0xff,
                    encoding: match (data >> 24) & 0xf {
                        1 => IntEncoding::Signed,
                        2 | 3 => IntEncoding::Char,
                        4 => IntEncoding::Bool,
                        _ => IntEncoding::Unsigned,
                    },
                }
            }
            raw::PTR => Self::Ptr(of),
            raw::ARRAY => Self::Array {
                element: TypeId(raw::word(record, 12)),
                index: TypeId(raw::word(record, 16)),
                len: raw::word(record, 20),
            },
            raw::STRUCT => Self::Struct(Members { btf, record, size }),
            raw::UNION => Self::Union(Members { btf, record, size }),
            raw::ENUM => Self::Enum(Enumerators { btf, record, size, signed: raw::flag(record) }),
            raw::ENUM64 => Self::Enum64(Enumerators { btf, record, size, signed: raw::flag(record) }),
            raw::FWD => Self::Fwd { union: raw::flag(record) },
            raw::TYPEDEF => Self::Typedef(of),
            raw::VOLATILE => Self::Volatile(of),
            raw::CONST => Self::Const(of),
            raw::RESTRICT => Self::Restrict(of),
            raw::FUNC => Self::Func {
                proto: of,
                linkage: match vlen {
                    0 => FuncLinkage::Static,
                    1 => FuncLinkage::Global,
                    _ => FuncLinkage::Extern,
                },
            },
            raw::FUNC_PROTO => Self::FuncProto { ret: of, params: Params { btf, record } },
            raw::VAR => Self::Var {
                of,
                linkage: match raw::word(record, 12) {
                    0 => VarLinkage::Static,
                    1 => VarLinkage::Global,
                    _ => VarLinkage::Extern,
                },
            },
            raw::DATASEC => Self::Datasec { size, vars: SectionVars { record } },
            raw::FLOAT => Self::Float { size },
            raw::DECL_TAG => Self::DeclTag {
                of,
                component: match raw::word(record, 12) {
                    u32::MAX => None,
                    component => Some(component),
                },
            },
            raw::TYPE_TAG => Self::TypeTag(of),
            _ => unreachable!("kinds were checked on reading"),
        }
    }

    /// Members of a structure or union.
    #[must_use]
    pub fn members(&self) -> Option<Members<'a>> {
        match self {
            Self::Struct(members) | Self::Union(members) => Some(*members),
            Self::Void
            | Self::Int { .. }
            | Self::Ptr(_)
            | Self::Array { .. }
            | Self::Enum(_)
            | Self::Enum64(_)
            | Self::Fwd { .. }
            | Self::Typedef(_)
            | Self::Volatile(_)
            | Self::Const(_)
            | Self::Restrict(_)
            | Self::Func { .. }
            | Self::FuncProto { .. }
            | Self::Var { .. }
            | Self::Datasec { .. }
            | Self::Float { .. }
            | Self::DeclTag { .. }
            | Self::TypeTag(_) => None,
        }
    }
}

/// A member of a structure or union.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member<'a> {
    /// Name; empty for an anonymous structure or union.
    pub name: &'a str,
    /// Type.
    pub of: TypeId,
    /// Offset in bits.
    pub bit_offset: u32,
    /// Bits of a bit-field.
    pub bit_size: Option<u32>,
}

/// Members of a structure or union, in order.
#[derive(Clone, Copy, Debug)]
pub struct Members<'a> {
    btf: &'a Btf,
    record: &'a [u8],
    /// Bytes of the whole.
    pub size: u32,
}

impl<'a> Members<'a> {
    /// Number of members.
    #[must_use]
    pub fn len(&self) -> usize {
        raw::vlen(self.record)
    }
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The member of that index.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Member<'a>> {
        if index >= self.len() {
            return None;
        }
        let at = 12 + index * 12;
        let position = raw::word(self.record, at + 8);
        let (bit_offset, mut bit_size) = if raw::flag(self.record) {
            (position & 0x00ff_ffff, Some(position >> 24).filter(|&bits| bits != 0))
        } else {
            (position, None)
        };
        let of = TypeId(raw::word(self.record, at + 4));
        // Old compilers describe a bit-field by an integer type of fewer bits than its storage.
        if bit_size.is_none()
            && let Kind::Int { size, bits, .. } = self.btf.type_at(of).kind
            && (bits != size * 8 || !bit_offset.is_multiple_of(8))
        {
            bit_size = Some(bits);
        }
        Some(Member { name: self.btf.string(raw::word(self.record, at)), of, bit_offset, bit_size })
    }
    /// All members.
    pub fn iter(&self) -> impl Iterator<Item = Member<'a>> + use<'a> {
        let this = *self;
        (0..self.len()).filter_map(move |index| this.get(index))
    }
}

/// A value of an enumeration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Enumerator<'a> {
    /// Name.
    pub name: &'a str,
    /// Value, sign- or zero-extended by the enumeration's own sign.
    pub value: i128,
}

/// Values of an enumeration, in order.
#[derive(Clone, Copy, Debug)]
pub struct Enumerators<'a> {
    btf: &'a Btf,
    record: &'a [u8],
    /// Bytes of the enumeration.
    pub size: u32,
    /// Whether values are signed.
    pub signed: bool,
}

impl<'a> Enumerators<'a> {
    /// Number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        raw::vlen(self.record)
    }
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The value of that index.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Enumerator<'a>> {
        if index >= self.len() {
            return None;
        }
        let wide = raw::kind(self.record) == raw::ENUM64;
        let at = 12 + index * if wide { 12 } else { 8 };
        let low = raw::word(self.record, at + 4);
        let value = match (wide, self.signed) {
            (false, true) => i128::from(low.cast_signed()),
            (false, false) => i128::from(low),
            (true, signed) => {
                let whole = u64::from(raw::word(self.record, at + 8)) << 32 | u64::from(low);
                if signed { i128::from(whole.cast_signed()) } else { i128::from(whole) }
            }
        };
        Some(Enumerator { name: self.btf.string(raw::word(self.record, at)), value })
    }
    /// All values.
    pub fn iter(&self) -> impl Iterator<Item = Enumerator<'a>> + use<'a> {
        let this = *self;
        (0..self.len()).filter_map(move |index| this.get(index))
    }
}

/// A parameter of a function. The last one may be `void` without a name: a variable argument list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Param<'a> {
    /// Name.
    pub name: &'a str,
    /// Type.
    pub of: TypeId,
}

/// Parameters of a function, in order.
#[derive(Clone, Copy, Debug)]
pub struct Params<'a> {
    btf: &'a Btf,
    record: &'a [u8],
}

impl<'a> Params<'a> {
    /// Number of parameters.
    #[must_use]
    pub fn len(&self) -> usize {
        raw::vlen(self.record)
    }
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The parameter of that index.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Param<'a>> {
        let at = 12 + index * 8;
        (index < self.len()).then(|| Param {
            name: self.btf.string(raw::word(self.record, at)),
            of: TypeId(raw::word(self.record, at + 4)),
        })
    }
    /// All parameters.
    pub fn iter(&self) -> impl Iterator<Item = Param<'a>> + use<'a> {
        let this = *self;
        (0..self.len()).filter_map(move |index| this.get(index))
    }
}

/// A variable in a data section.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SectionVar {
    /// The `Var` (or the `Func` of a kfunc).
    pub var: TypeId,
    /// Byte offset in the section.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
}

/// Variables of a data section, in order.
#[derive(Clone, Copy, Debug)]
pub struct SectionVars<'a> {
    record: &'a [u8],
}

impl SectionVars<'_> {
    /// Number of variables.
    #[must_use]
    pub fn len(&self) -> usize {
        raw::vlen(self.record)
    }
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The variable of that index.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<SectionVar> {
        let at = 12 + index * 12;
        (index < self.len()).then(|| SectionVar {
            var: TypeId(raw::word(self.record, at)),
            offset: raw::word(self.record, at + 4),
            size: raw::word(self.record, at + 8),
        })
    }
    /// All variables.
    pub fn iter(&self) -> impl Iterator<Item = SectionVar> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}

/// Layout of type records: 12 bytes (name, info, size or type), then what the kind adds.
pub(super) mod raw {
    use crate::btf::{BtfError, TypeId};

    pub(in crate::btf) const INT: u32 = 1;
    pub(in crate::btf) const PTR: u32 = 2;
    pub(in crate::btf) const ARRAY: u32 = 3;
    pub(in crate::btf) const STRUCT: u32 = 4;
    pub(in crate::btf) const UNION: u32 = 5;
    pub(in crate::btf) const ENUM: u32 = 6;
    pub(in crate::btf) const FWD: u32 = 7;
    pub(in crate::btf) const TYPEDEF: u32 = 8;
    pub(in crate::btf) const VOLATILE: u32 = 9;
    pub(in crate::btf) const CONST: u32 = 10;
    pub(in crate::btf) const RESTRICT: u32 = 11;
    pub(in crate::btf) const FUNC: u32 = 12;
    pub(in crate::btf) const FUNC_PROTO: u32 = 13;
    pub(in crate::btf) const VAR: u32 = 14;
    pub(in crate::btf) const DATASEC: u32 = 15;
    pub(in crate::btf) const FLOAT: u32 = 16;
    pub(in crate::btf) const DECL_TAG: u32 = 17;
    pub(in crate::btf) const TYPE_TAG: u32 = 18;
    pub(in crate::btf) const ENUM64: u32 = 19;

    /// The little-endian word at an offset of a checked record.
    pub(in crate::btf) fn word(bytes: &[u8], at: usize) -> u32 {
        let bytes = bytes[at..at + 4].try_into().expect("four bytes");
        u32::from_le_bytes(bytes)
    }
    pub(in crate::btf) fn name(record: &[u8]) -> u32 {
        word(record, 0)
    }
    pub(in crate::btf) fn kind(record: &[u8]) -> u32 {
        (word(record, 4) >> 24) & 0x1f
    }
    pub(in crate::btf) fn vlen(record: &[u8]) -> usize {
        (word(record, 4) & 0xffff) as usize
    }
    pub(in crate::btf) fn flag(record: &[u8]) -> bool {
        word(record, 4) >> 31 != 0
    }
    pub(in crate::btf) fn size_or_type(record: &[u8]) -> u32 {
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
    pub(in crate::btf) fn check(record: &[u8], id: u32, strings: usize) -> Result<usize, BtfError> {
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
    pub(in crate::btf) fn for_each_reference(record: &[u8], mut visit: impl FnMut(TypeId)) {
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
}
