//! Bytes as values of their type: [`Value`], a tree for JSON, and its text in C's notation.
//!
//! In: a [`Btf`], a type, bytes. Out: a tree whose size is bounded by the bytes and by a budget.
#![forbid(unsafe_code)]

use super::types::{IntEncoding, Kind, Members};
use super::{Btf, MAX_DEPTH, TypeId};

/// A value of a C type.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// A number.
    Int(i128),
    /// A truth value.
    Bool(bool),
    /// A floating-point number.
    Float(f64),
    /// An enumeration: its value, and the name if it has one.
    Enum {
        /// Name.
        name: Option<String>,
        /// Value.
        value: i128,
    },
    /// An address.
    Pointer(u64),
    /// An array of `char` that holds a printable, terminated string.
    Text(String),
    /// An array.
    Array(Vec<Self>),
    /// A structure or union: members by name, those of anonymous ones among them.
    Struct(Vec<(String, Self)>),
    /// Bytes of a type that has no notation.
    Bytes(Vec<u8>),
}

impl Btf {
    /// Reads `bytes` as a value of that type. `None` when they are too few or the type has no values.
    #[must_use]
    pub fn value(&self, id: TypeId, bytes: &[u8]) -> Option<Value> {
        let mut budget = 100_000;
        read(self, id, bytes, 0, &mut budget)
    }

    /// The text of `bytes` as a value of that type: `{ .packets = 3, .bytes = 180 }`.
    #[must_use]
    pub fn format_value(&self, id: TypeId, bytes: &[u8]) -> Option<String> {
        self.value(id, bytes).map(|value| value.to_string())
    }
}

fn read(btf: &Btf, id: TypeId, bytes: &[u8], depth: usize, budget: &mut u32) -> Option<Value> {
    *budget = budget.checked_sub(1)?;
    if depth > MAX_DEPTH {
        return None;
    }
    let id = btf.resolve(id);
    match btf.type_at(id).kind {
        Kind::Int { size, bits, bit_offset, encoding } => {
            let bytes = bytes.get(..size as usize)?;
            Some(integer(number(bytes) >> bit_offset, bits, encoding))
        }
        Kind::Ptr(_) => Some(Value::Pointer(u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?))),
        Kind::Float { size } => match size {
            4 => Some(Value::Float(f64::from(f32::from_le_bytes(bytes.get(..4)?.try_into().ok()?)))),
            8 => Some(Value::Float(f64::from_le_bytes(bytes.get(..8)?.try_into().ok()?))),
            _ => Some(Value::Bytes(bytes.get(..size as usize)?.to_vec())),
        },
        Kind::Enum(values) | Kind::Enum64(values) => {
            let bytes = bytes.get(..values.size as usize)?;
            let encoding = if values.signed { IntEncoding::Signed } else { IntEncoding::Unsigned };
            let Value::Int(value) = integer(number(bytes), values.size * 8, encoding) else {
                return None;
            };
            let name = values.iter().find(|known| known.value == value);
            Some(Value::Enum { name: name.map(|known| known.name.to_owned()), value })
        }
        Kind::Array { element, len, .. } => array(btf, element, len, bytes, depth, budget),
        Kind::Struct(members) | Kind::Union(members) => {
            let bytes = bytes.get(..members.size as usize)?;
            let mut out = Vec::new();
            structure(btf, members, bytes, depth, budget, &mut out)?;
            Some(Value::Struct(out))
        }
        Kind::Var { of, .. } => read(btf, of, bytes, depth + 1, budget),
        Kind::Datasec { vars, .. } => {
            let mut out = Vec::new();
            for var in vars.iter() {
                let bytes = bytes.get(var.offset as usize..)?;
                let value = read(btf, var.var, bytes, depth + 1, budget)?;
                out.push((btf.type_at(var.var).name.to_owned(), value));
            }
            Some(Value::Struct(out))
        }
        Kind::Void
        | Kind::Fwd { .. }
        | Kind::Typedef(_)
        | Kind::Volatile(_)
        | Kind::Const(_)
        | Kind::Restrict(_)
        | Kind::Func { .. }
        | Kind::FuncProto { .. }
        | Kind::DeclTag { .. }
        | Kind::TypeTag(_) => None,
    }
}

/// Up to 16 little-endian bytes as a number.
fn number(bytes: &[u8]) -> u128 {
    bytes.iter().rev().fold(0, |sum, &byte| sum << 8 | u128::from(byte))
}

fn integer(raw: u128, bits: u32, encoding: IntEncoding) -> Value {
    let unused = 128 - bits.clamp(1, 128);
    let shifted = raw << unused;
    match encoding {
        IntEncoding::Signed => Value::Int(shifted.cast_signed() >> unused),
        IntEncoding::Bool => Value::Bool(shifted != 0),
        // A 128-bit number over half the range has no notation of its own here.
        IntEncoding::Unsigned | IntEncoding::Char => Value::Int((shifted >> unused).cast_signed()),
    }
}

fn array(
    btf: &Btf,
    element: TypeId,
    len: u32,
    bytes: &[u8],
    depth: usize,
    budget: &mut u32,
) -> Option<Value> {
    let stride = usize::try_from(btf.size_of(element)?).ok()?;
    let total = stride.checked_mul(len as usize)?;
    let bytes = bytes.get(..total)?;
    if stride == 0 {
        return Some(Value::Array(Vec::new()));
    }
    let resolved = btf.type_at(btf.resolve(element));
    if resolved.name == "char"
        && stride == 1
        && let Some(text) = text(bytes)
    {
        return Some(Value::Text(text));
    }
    let values = bytes.chunks_exact(stride).map(|bytes| read(btf, element, bytes, depth + 1, budget));
    Some(Value::Array(values.collect::<Option<_>>()?))
}

/// A printable string that ends in NUL and has nothing behind it.
fn text(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|&byte| byte == 0)?;
    let (text, rest) = bytes.split_at(end);
    let printable = text.iter().all(|&byte| byte == b' ' || byte.is_ascii_graphic());
    (printable && rest.iter().all(|&byte| byte == 0)).then(|| String::from_utf8_lossy(text).into_owned())
}

fn structure(
    btf: &Btf,
    members: Members<'_>,
    bytes: &[u8],
    depth: usize,
    budget: &mut u32,
    out: &mut Vec<(String, Value)>,
) -> Option<()> {
    for member in members.iter() {
        *budget = budget.checked_sub(1)?;
        let first = (member.bit_offset / 8) as usize;
        let value = if let Some(bits) = member.bit_size {
            bit_field(btf, member.of, member.bit_offset, bits, bytes)?
        } else {
            let inside = bytes.get(first..)?;
            let kind = btf.type_at(btf.resolve(member.of)).kind;
            if member.name.is_empty()
                && let Some(inner) = kind.members()
            {
                if depth >= MAX_DEPTH {
                    return None;
                }
                structure(btf, inner, inside, depth + 1, budget, out)?;
                continue;
            }
            read(btf, member.of, inside, depth + 1, budget)?
        };
        out.push((member.name.to_owned(), value));
    }
    Some(())
}

fn bit_field(btf: &Btf, of: TypeId, bit_offset: u32, bits: u32, bytes: &[u8]) -> Option<Value> {
    let first = (bit_offset / 8) as usize;
    let last = ((bit_offset + bits).div_ceil(8)) as usize;
    let raw = number(bytes.get(first..last.min(first + 16))?) >> (bit_offset % 8);
    match btf.type_at(btf.resolve(of)).kind {
        Kind::Enum(values) | Kind::Enum64(values) => {
            let encoding = if values.signed { IntEncoding::Signed } else { IntEncoding::Unsigned };
            let Value::Int(value) = integer(raw, bits, encoding) else { return None };
            let name = values.iter().find(|known| known.value == value);
            Some(Value::Enum { name: name.map(|known| known.name.to_owned()), value })
        }
        Kind::Int { encoding, .. } => Some(integer(raw, bits, encoding)),
        Kind::Void
        | Kind::Ptr(_)
        | Kind::Array { .. }
        | Kind::Struct(_)
        | Kind::Union(_)
        | Kind::Fwd { .. }
        | Kind::Typedef(_)
        | Kind::Volatile(_)
        | Kind::Const(_)
        | Kind::Restrict(_)
        | Kind::Func { .. }
        | Kind::FuncProto { .. }
        | Kind::Var { .. }
        | Kind::Datasec { .. }
        | Kind::Float { .. }
        | Kind::DeclTag { .. }
        | Kind::TypeTag(_) => None,
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Int(value) => value.fmt(f),
            Self::Bool(value) => value.fmt(f),
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Enum { name: Some(name), .. } => f.write_str(name),
            Self::Enum { name: None, value } => value.fmt(f),
            Self::Pointer(address) => write!(f, "{address:#x}"),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Array(values) => {
                f.write_str("[")?;
                for (index, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
            Self::Struct(members) if members.is_empty() => f.write_str("{}"),
            Self::Struct(members) => {
                f.write_str("{ ")?;
                for (index, (name, value)) in members.iter().enumerate() {
                    write!(f, "{}.{name} = {value}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str(" }")
            }
            Self::Bytes(bytes) => {
                f.write_str("0x")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::BtfBuilder;

    #[test]
    fn values_read_like_c() {
        let mut build = BtfBuilder::new();
        let int = build.int("int", 4, IntEncoding::Signed);
        let byte = build.int("char", 1, IntEncoding::Signed);
        let wide = build.int("u64", 8, IntEncoding::Unsigned);
        let truth = build.int("bool", 1, IntEncoding::Bool);
        let name = build.array(byte, int, 8);
        let action = build.enumeration("action", &[("DROP", 1), ("PASS", 2)]);
        let counts = build.structure("counts", 16, &[("packets", wide, 0, 0), ("bytes", wide, 64, 0)]);
        let flags = build.structure("flags", 4, &[("low", int, 0, 3), ("high", int, 3, 5)]);
        let inner = build.structure("", 4, &[("x", int, 0, 0)]);
        let outer = build.structure("outer", 8, &[("", inner, 0, 0), ("on", truth, 32, 0)]);
        let endless = build.array(TypeId(12), int, u32::MAX);
        let empty = build.structure("empty", 0, &[]);
        let btf = build.finish().unwrap();
        let check = |id, bytes: &[u8], text: &str| {
            assert_eq!(btf.format_value(id, bytes).as_deref(), Some(text));
        };
        check(int, &[0xff; 4], "-1");
        check(action, &[2, 0, 0, 0], "PASS");
        check(action, &[9, 0, 0, 0], "9");
        check(name, b"eth0\0\0\0\0", "\"eth0\"");
        check(name, b"eth0\0x\0\0", "[101, 116, 104, 48, 0, 120, 0, 0]");
        check(flags, &[0b1111_1010, 0, 0, 0], "{ .low = 2, .high = -1 }");
        check(outer, &[7, 0, 0, 0, 1, 0, 0, 0], "{ .x = 7, .on = true }");
        let mut bytes = [0; 16];
        (bytes[0], bytes[8]) = (3, 180);
        check(counts, &bytes, "{ .packets = 3, .bytes = 180 }");
        assert_eq!(btf.value(counts, &bytes[..15]), None);
        assert_eq!(empty, TypeId(12));
        check(endless, &[], "[]");
    }

    #[test]
    fn nests_of_types_do_not_explode() {
        // Forty levels, eight members each: 8^40 leaves if anybody walked them all.
        let mut build = BtfBuilder::new();
        let mut of = build.structure("leaf", 0, &[]);
        let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
        for level in 0..40 {
            let members: Vec<_> = names.iter().map(|&name| (name, of, 0, 0)).collect();
            of = build.structure(&format!("level{level}"), 0, &members);
        }
        let anonymous: Vec<_> = names.iter().map(|_| ("", of, 0, 0)).collect();
        let outer = build.structure("outer", 0, &anonymous);
        let btf = build.finish().unwrap();
        for id in [of, outer] {
            assert_eq!(btf.format_value(id, &[]), None);
            assert_eq!(btf.align_of(id), 1);
            assert_eq!(crate::btf::special_fields(&btf, id), []);
            assert!(btf.definition(id).len() < 1 << 20);
        }
    }
}
