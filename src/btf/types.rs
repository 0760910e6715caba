//! What a type record says: [`Type`], [`Kind`] and the lists inside them, decoded on the way.
//!
//! In: checked records of `parse`. Out: values that borrow from the `Btf`. The layout of records is
//! in `record`.
#![forbid(unsafe_code)]

use super::{Btf, TypeId, record as raw};

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

    /// Size and variables of a data section.
    #[must_use]
    pub fn as_datasec(&self) -> Option<(u32, SectionVars<'a>)> {
        if let Self::Datasec { size, vars } = self { Some((*size, *vars)) } else { None }
    }
    /// Type of a variable.
    #[must_use]
    pub fn as_var(&self) -> Option<TypeId> {
        if let Self::Var { of, .. } = self { Some(*of) } else { None }
    }
    /// What a pointer points to.
    #[must_use]
    pub fn as_ptr(&self) -> Option<TypeId> {
        if let Self::Ptr(to) = self { Some(*to) } else { None }
    }
    /// Element type and length of an array.
    #[must_use]
    pub fn as_array(&self) -> Option<(TypeId, u32)> {
        if let Self::Array { element, len, .. } = self { Some((*element, *len)) } else { None }
    }
    /// `FuncProto` of a function.
    #[must_use]
    pub fn as_func(&self) -> Option<TypeId> {
        if let Self::Func { proto, .. } = self { Some(*proto) } else { None }
    }
    /// Values of an enumeration of either width.
    #[must_use]
    pub fn as_enum(&self) -> Option<Enumerators<'a>> {
        if let Self::Enum(values) | Self::Enum64(values) = self { Some(*values) } else { None }
    }
    /// Members of a structure, not of a union.
    #[must_use]
    pub fn as_struct(&self) -> Option<Members<'a>> {
        if let Self::Struct(members) = self { Some(*members) } else { None }
    }
    /// Members of a structure or union.
    #[must_use]
    pub fn members(&self) -> Option<Members<'a>> {
        if let Self::Struct(members) | Self::Union(members) = self { Some(*members) } else { None }
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
