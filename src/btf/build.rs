//! [`BtfBuilder`]: makes BTF in memory, from nothing or behind the types of another [`Btf`].
//!
//! In: types by their parts. Out: a `Btf`. Used for the built-in context types, for what the kernel wants added
//! to an object's types, and in tests.
#![forbid(unsafe_code)]

use std::collections::HashMap;

use super::record as raw;
use super::types::IntEncoding;
use super::{Btf, BtfError, TypeId};

/// Makes BTF.
#[derive(Clone, Debug)]
pub struct BtfBuilder {
    types: Vec<u8>,
    strings: Vec<u8>,
    known: HashMap<String, u32>,
    next: u32,
}

impl Default for BtfBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl BtfBuilder {
    /// No types yet.
    #[must_use]
    pub fn new() -> Self {
        Self { types: Vec::new(), strings: vec![0], known: HashMap::new(), next: 1 }
    }
    /// Types are added behind those of `btf`, whose ids stay.
    #[must_use]
    pub fn after(btf: &Btf) -> Self {
        Self {
            types: btf.type_bytes().to_vec(),
            strings: btf.string_bytes().to_vec(),
            known: HashMap::new(),
            next: u32::try_from(btf.len()).expect("number of types is capped"),
        }
    }
    /// The offset of a string.
    pub fn string(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        if let Some(&offset) = self.known.get(text) {
            return offset;
        }
        let offset = u32::try_from(self.strings.len()).expect("built strings are small");
        self.strings.extend_from_slice(text.as_bytes());
        self.strings.push(0);
        self.known.insert(text.to_owned(), offset);
        offset
    }
    /// Changes a word of the type bytes: only for fix-ups that know the layout of records.
    pub(super) fn patch(&mut self, offset: usize, word: u32) {
        self.types[offset..offset + 4].copy_from_slice(&word.to_le_bytes());
    }
    fn add(&mut self, name: &str, kind: u32, info: u32, size_or_type: u32, tail: &[u32]) -> TypeId {
        let name = self.string(name);
        for word in [name, kind << 24 | info, size_or_type].iter().chain(tail) {
            self.types.extend(word.to_le_bytes());
        }
        let id = TypeId(self.next);
        self.next += 1;
        id
    }
    /// An integer that fills its storage.
    pub fn int(&mut self, name: &str, size: u32, encoding: IntEncoding) -> TypeId {
        let encoding = match encoding {
            IntEncoding::Unsigned => 0,
            IntEncoding::Signed => 1,
            IntEncoding::Char => 2,
            IntEncoding::Bool => 4,
        };
        self.add(name, raw::INT, 0, size, &[encoding << 24 | (size * 8)])
    }
    /// A pointer.
    pub fn ptr(&mut self, to: TypeId) -> TypeId {
        self.add("", raw::PTR, 0, to.0, &[])
    }
    /// An array.
    pub fn array(&mut self, element: TypeId, index: TypeId, len: u32) -> TypeId {
        self.add("", raw::ARRAY, 0, 0, &[element.0, index.0, len])
    }
    /// Another name.
    pub fn typedef(&mut self, name: &str, of: TypeId) -> TypeId {
        self.add(name, raw::TYPEDEF, 0, of.0, &[])
    }
    /// A type tag.
    pub fn type_tag(&mut self, name: &str, of: TypeId) -> TypeId {
        self.add(name, raw::TYPE_TAG, 0, of.0, &[])
    }
    /// A structure; members are name, type, offset in bits and bits of a bit-field (0: none).
    pub fn structure(&mut self, name: &str, size: u32, members: &[(&str, TypeId, u32, u32)]) -> TypeId {
        self.composite(name, raw::STRUCT, size, members)
    }
    /// A union, likewise.
    pub fn union(&mut self, name: &str, size: u32, members: &[(&str, TypeId, u32, u32)]) -> TypeId {
        self.composite(name, raw::UNION, size, members)
    }
    fn composite(
        &mut self,
        name: &str,
        kind: u32,
        size: u32,
        members: &[(&str, TypeId, u32, u32)],
    ) -> TypeId {
        let bit_fields = members.iter().any(|&(.., bits)| bits != 0);
        let mut tail = Vec::with_capacity(members.len() * 3);
        for &(name, of, offset, bits) in members {
            let name = self.string(name);
            tail.extend([name, of.0, if bit_fields { bits << 24 | offset } else { offset }]);
        }
        let info = u32::from(bit_fields) << 31 | length(members.len());
        self.add(name, kind, info, size, &tail)
    }
    /// An enumeration of 32 bits.
    pub fn enumeration(&mut self, name: &str, values: &[(&str, i32)]) -> TypeId {
        let signed = values.iter().any(|&(_, value)| value < 0);
        let mut tail = Vec::with_capacity(values.len() * 2);
        for &(name, value) in values {
            tail.extend([self.string(name), value.cast_unsigned()]);
        }
        self.add(name, raw::ENUM, u32::from(signed) << 31 | length(values.len()), 4, &tail)
    }
    /// An enumeration of 64 bits.
    pub fn enumeration64(&mut self, name: &str, values: &[(&str, u64)]) -> TypeId {
        let mut tail = Vec::with_capacity(values.len() * 3);
        for &(name, value) in values {
            let bytes = value.to_le_bytes();
            tail.extend([self.string(name), raw::word(&bytes, 0), raw::word(&bytes, 4)]);
        }
        self.add(name, raw::ENUM64, length(values.len()), 8, &tail)
    }
    /// A function's type; parameters are name and type.
    pub fn func_proto(&mut self, ret: TypeId, params: &[(&str, TypeId)]) -> TypeId {
        let mut tail = Vec::with_capacity(params.len() * 2);
        for &(name, of) in params {
            tail.extend([self.string(name), of.0]);
        }
        self.add("", raw::FUNC_PROTO, length(params.len()), ret.0, &tail)
    }
    /// A function of static linkage.
    pub fn func(&mut self, name: &str, proto: TypeId) -> TypeId {
        self.add(name, raw::FUNC, 0, proto.0, &[])
    }
    /// A visible variable.
    pub fn global(&mut self, name: &str, of: TypeId) -> TypeId {
        self.add(name, raw::VAR, 0, of.0, &[1])
    }
    /// A tag of a declaration, or of one of its members or parameters.
    pub fn decl_tag(&mut self, name: &str, of: TypeId, component: Option<u32>) -> TypeId {
        self.add(name, raw::DECL_TAG, 0, of.0, &[component.unwrap_or(u32::MAX)])
    }
    /// What was made.
    ///
    /// # Errors
    /// Parts that do not fit together.
    pub fn finish(&self) -> Result<Btf, BtfError> {
        Btf::from_sections(&self.types, &self.strings)
    }
}

fn length(len: usize) -> u32 {
    u32::try_from(len).expect("built types are small")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::Kind;

    #[test]
    fn built_types_read_back() {
        let mut build = BtfBuilder::new();
        let int = build.int("int", 4, IntEncoding::Signed);
        let array = build.array(int, int, 3);
        let of = build.structure("s", 24, &[("a", int, 0, 0), ("b", array, 64, 0), ("c", int, 160, 3)]);
        let wide = build.enumeration64("big", &[("LARGE", u64::MAX)]);
        let btf = build.finish().unwrap();
        let reread = Btf::parse(&btf.to_bytes()).unwrap();
        assert_eq!(btf, reread);
        let Kind::Struct(members) = btf.type_at(of).kind else { panic!("no structure") };
        let offsets: Vec<_> = members.iter().map(|m| (m.name, m.bit_offset, m.bit_size)).collect();
        assert_eq!(offsets, [("a", 0, None), ("b", 64, None), ("c", 160, Some(3))]);
        assert_eq!(btf.size_of(array), Some(12));
        let Kind::Enum64(values) = btf.type_at(wide).kind else { panic!("no enumeration") };
        assert_eq!(values.get(0).unwrap().value, i128::from(u64::MAX));
        assert_eq!(btf.named("s").collect::<Vec<_>>(), [of]);
    }

    #[test]
    fn cycles_end() {
        // typedef 1 -> 2 -> 1
        let mut build = BtfBuilder::new();
        build.typedef("a", TypeId(2));
        build.typedef("b", TypeId(1));
        let array = build.array(TypeId(3), TypeId(1), 2);
        let btf = build.finish().unwrap();
        assert_eq!(btf.resolve(TypeId(1)), TypeId::VOID);
        assert_eq!(btf.size_of(array), None);
        assert_eq!(btf.align_of(array), 1);
    }
}
