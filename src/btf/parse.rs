//! [`Btf`]: the checked bytes of a type section and the index of its types.
//!
//! In: bytes. Out: `Btf`, whose look-ups cannot fail: header, lengths, names and references were checked once.
//! What a kind means is in `types`.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::record as raw;
use super::types::{Kind, Type};
use super::{BtfError, MAX_DEPTH, TypeId};

/// Magic number of `.BTF` and `.BTF.ext`.
pub(super) const MAGIC: u16 = 0xeb9f;
/// Bytes of the header we know.
const HEADER: usize = 24;
/// Limits of the kernel.
const MAX_TYPES: usize = 0x000f_ffff;
const MAX_STRINGS: usize = 0x00ff_ffff;

/// A set of BTF types.
#[derive(Clone, PartialEq, Eq)]
pub struct Btf {
    /// Type records, without header.
    types: Arc<[u8]>,
    /// Strings, each ending in NUL; the first one is empty.
    strings: Arc<[u8]>,
    /// Start of each type in `types`; entry 0 stands for `void` and is not read.
    index: Vec<u32>,
}

impl std::fmt::Debug for Btf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Btf({} types, {} bytes of strings)", self.index.len() - 1, self.strings.len())
    }
}

impl Btf {
    /// Reads and checks the bytes of a `.BTF` section or of `/sys/kernel/btf/vmlinux`.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn parse(bytes: &[u8]) -> Result<Self, BtfError> {
        let header = Header::read(bytes)?;
        let types = section(bytes, header.len, header.type_off, header.type_len)?;
        let strings = section(bytes, header.len, header.str_off, header.str_len)?;
        Self::from_sections(types, strings)
    }

    /// Reads a file of raw BTF.
    ///
    /// # Errors
    /// The file cannot be read or is no BTF.
    pub fn read(path: &std::path::Path) -> Result<Self, BtfError> {
        let bytes = std::fs::read(path)
            .map_err(|error| BtfError::Io { path: path.display().to_string(), error: error.kind() })?;
        Self::parse(&bytes)
    }

    /// From type records and strings.
    pub(super) fn from_sections(types: &[u8], strings: &[u8]) -> Result<Self, BtfError> {
        check_strings(strings)?;
        let index = index_types(types, strings)?;
        let btf = Self { types: types.into(), strings: strings.into(), index };
        btf.check_references()?;
        Ok(btf)
    }

    /// Number of types, `void` included: ids are below it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }
    /// Whether there is no type but `void`.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.len() == 1
    }
    /// All ids but `void`.
    pub fn ids(&self) -> impl Iterator<Item = TypeId> + use<> {
        // The number of types is capped far below `u32::MAX` on reading.
        (1..u32::try_from(self.index.len()).expect("number of types is capped")).map(TypeId)
    }
    /// All types but `void`, in order.
    pub fn iter(&self) -> impl Iterator<Item = Type<'_>> {
        self.ids().map(|id| self.type_at(id))
    }
    /// The type of that id, if there is one.
    #[must_use]
    pub fn get(&self, id: TypeId) -> Option<Type<'_>> {
        ((id.0 as usize) < self.index.len()).then(|| self.type_at(id))
    }
    /// The type of an id known to exist: one that this `Btf` handed out.
    ///
    /// # Panics
    /// The id is from another `Btf`.
    #[must_use]
    pub fn type_at(&self, id: TypeId) -> Type<'_> {
        if id == TypeId::VOID {
            return Type { id, name: "", kind: Kind::Void };
        }
        let record = self.record(id);
        Type { id, name: self.string(raw::name(record)), kind: Kind::decode(self, record) }
    }
    /// The bytes of a type record and all that follows it.
    pub(super) fn record(&self, id: TypeId) -> &[u8] {
        &self.types[self.index[id.0 as usize] as usize..]
    }
    /// Byte offset of a type record in [`Btf::type_bytes`].
    pub(super) fn record_offset(&self, id: TypeId) -> usize {
        self.index[id.0 as usize] as usize
    }
    /// All type records.
    pub(super) fn type_bytes(&self) -> &[u8] {
        &self.types
    }
    /// All strings.
    pub(super) fn string_bytes(&self) -> &[u8] {
        &self.strings
    }
    /// The string at an offset; empty when there is none.
    #[must_use]
    pub fn string(&self, offset: u32) -> &str {
        let Some(rest) = self.strings.get(offset as usize..) else { return "" };
        let end = rest.iter().position(|&byte| byte == 0).unwrap_or(rest.len());
        // Source lines may be in any encoding; names are ASCII. An unreadable name is no name.
        std::str::from_utf8(&rest[..end]).unwrap_or("")
    }
    /// The string at an offset with unreadable bytes replaced, for source text.
    #[must_use]
    pub fn text(&self, offset: u32) -> std::borrow::Cow<'_, str> {
        let Some(rest) = self.strings.get(offset as usize..) else { return "".into() };
        let end = rest.iter().position(|&byte| byte == 0).unwrap_or(rest.len());
        String::from_utf8_lossy(&rest[..end])
    }
    /// Whether the string at `offset` starts with `prefix`, and the byte that follows.
    fn string_after(&self, offset: u32, prefix: &[u8]) -> Option<u8> {
        let rest = self.strings.get(offset as usize..)?.strip_prefix(prefix)?;
        rest.first().copied()
    }

    /// Types with that name, whatever their kind. A linear scan that decodes nothing: half a millisecond over
    /// the kernel's types, where an index would cost a hundred.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = TypeId> + 'a {
        self.ids()
            .filter(move |&id| self.string_after(raw::name(self.record(id)), name.as_bytes()) == Some(0))
    }
    /// Types with that name up to a `___flavour`.
    pub(super) fn named_essentially<'a>(&'a self, name: &'a str) -> impl Iterator<Item = TypeId> + 'a {
        self.ids().filter(move |&id| {
            let offset = raw::name(self.record(id));
            match self.string_after(offset, name.as_bytes()) {
                Some(0) => true,
                Some(b'_') => essential_name(self.string(offset)) == name,
                Some(_) | None => false,
            }
        })
    }

    /// Follows typedefs, `const`, `volatile`, `restrict` and type tags.
    ///
    /// A chain longer than 32 (a cycle) ends at `void`.
    #[must_use]
    pub fn resolve(&self, id: TypeId) -> TypeId {
        let mut id = id;
        for _ in 0..MAX_DEPTH {
            match self.type_at(id).kind {
                Kind::Typedef(of)
                | Kind::Const(of)
                | Kind::Volatile(of)
                | Kind::Restrict(of)
                | Kind::TypeTag(of) => id = of,
                Kind::Void
                | Kind::Int { .. }
                | Kind::Ptr(_)
                | Kind::Array { .. }
                | Kind::Struct(_)
                | Kind::Union(_)
                | Kind::Enum(_)
                | Kind::Enum64(_)
                | Kind::Fwd { .. }
                | Kind::Func { .. }
                | Kind::FuncProto { .. }
                | Kind::Var { .. }
                | Kind::Datasec { .. }
                | Kind::Float { .. }
                | Kind::DeclTag { .. } => return id,
            }
        }
        TypeId::VOID
    }

    /// Bytes of a value of that type; `None` for what has no size.
    #[must_use]
    pub fn size_of(&self, id: TypeId) -> Option<u64> {
        let mut count = 1u64;
        let mut id = id;
        for _ in 0..MAX_DEPTH {
            id = self.resolve(id);
            match self.type_at(id).kind {
                Kind::Array { element, len, .. } => {
                    count = count.checked_mul(u64::from(len))?;
                    id = element;
                }
                Kind::Var { of, .. } => id = of,
                Kind::Ptr(_) => return count.checked_mul(8),
                Kind::Int { size, .. } | Kind::Float { size } | Kind::Datasec { size, .. } => {
                    return count.checked_mul(u64::from(size));
                }
                Kind::Struct(members) | Kind::Union(members) => {
                    return count.checked_mul(u64::from(members.size));
                }
                Kind::Enum(values) | Kind::Enum64(values) => {
                    return count.checked_mul(u64::from(values.size));
                }
                Kind::Void
                | Kind::Typedef(_)
                | Kind::Const(_)
                | Kind::Volatile(_)
                | Kind::Restrict(_)
                | Kind::TypeTag(_)
                | Kind::Fwd { .. }
                | Kind::Func { .. }
                | Kind::FuncProto { .. }
                | Kind::DeclTag { .. } => return None,
            }
        }
        None
    }

    /// Alignment of a value of that type, as C lays it out; 1 for what has none.
    #[must_use]
    pub fn align_of(&self, id: TypeId) -> u32 {
        let mut budget = 4096;
        self.align_within(id, 0, &mut budget)
    }

    fn align_within(&self, id: TypeId, depth: usize, budget: &mut u32) -> u32 {
        if depth > MAX_DEPTH || *budget == 0 {
            return 1;
        }
        *budget -= 1;
        let id = self.resolve(id);
        match self.type_at(id).kind {
            Kind::Ptr(_) => 8,
            Kind::Int { size, .. } | Kind::Float { size } => size.clamp(1, 8),
            Kind::Enum(values) | Kind::Enum64(values) => values.size.clamp(1, 8),
            Kind::Array { element, .. } => self.align_within(element, depth + 1, budget),
            Kind::Var { of, .. } => self.align_within(of, depth + 1, budget),
            Kind::Struct(members) | Kind::Union(members) => {
                let aligns: Vec<u32> =
                    members.iter().map(|member| self.align_within(member.of, depth + 1, budget)).collect();
                let natural = aligns.iter().copied().max().unwrap_or(1);
                let mut placed = members.iter().zip(&aligns).filter(|(member, _)| member.bit_size.is_none());
                let packed = !members.size.is_multiple_of(natural)
                    || placed.any(|(member, align)| !member.bit_offset.is_multiple_of(align * 8));
                if packed { 1 } else { natural }
            }
            Kind::Void
            | Kind::Typedef(_)
            | Kind::Const(_)
            | Kind::Volatile(_)
            | Kind::Restrict(_)
            | Kind::TypeTag(_)
            | Kind::Fwd { .. }
            | Kind::Func { .. }
            | Kind::FuncProto { .. }
            | Kind::Datasec { .. }
            | Kind::DeclTag { .. } => 1,
        }
    }

    /// The whole section again: header, types, strings.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        assemble(&self.types, &self.strings)
    }

    /// Every id that a type mentions exists.
    fn check_references(&self) -> Result<(), BtfError> {
        for id in self.ids() {
            let mut valid = true;
            raw::for_each_reference(self.record(id), |of| {
                valid &= (of.0 as usize) < self.index.len();
            });
            if !valid {
                return Err(BtfError::Type { id: id.0, what: "refers to a type that does not exist" });
            }
        }
        Ok(())
    }
}

/// Name without a `___flavour`.
#[must_use]
pub(super) fn essential_name(name: &str) -> &str {
    // The mark is three underscores between two other characters; the last such place counts.
    let bytes = name.as_bytes();
    for at in (1..bytes.len().saturating_sub(3)).rev() {
        if &bytes[at..at + 3] == b"___" && bytes[at - 1] != b'_' && bytes[at + 3] != b'_' {
            return &name[..at];
        }
    }
    name
}

/// Header, types and strings as one section.
pub(super) fn assemble(types: &[u8], strings: &[u8]) -> Vec<u8> {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("capped on reading");
    let mut out = Vec::with_capacity(HEADER + types.len() + strings.len());
    out.extend(MAGIC.to_le_bytes());
    out.extend([1, 0]);
    for word in [24, 0, length(types), length(types), length(strings)] {
        out.extend(word.to_le_bytes());
    }
    out.extend_from_slice(types);
    out.extend_from_slice(strings);
    out
}

struct Header {
    len: usize,
    type_off: usize,
    type_len: usize,
    str_off: usize,
    str_len: usize,
}

impl Header {
    fn read(bytes: &[u8]) -> Result<Self, BtfError> {
        let malformed = |offset, what| BtfError::Malformed { offset, what };
        let fixed = bytes.get(..HEADER).ok_or(malformed(0, "shorter than its header"))?;
        let magic = u16::from_le_bytes([fixed[0], fixed[1]]);
        if magic == MAGIC.swap_bytes() {
            return Err(BtfError::BigEndian);
        }
        if magic != MAGIC {
            return Err(malformed(0, "no BTF magic number"));
        }
        if fixed[2] != 1 {
            return Err(malformed(2, "version is not 1"));
        }
        let word = |at: usize| raw::word(fixed, at) as usize;
        let len = word(4);
        let more = bytes.get(HEADER..len).ok_or(malformed(4, "header length is out of range"))?;
        if more.iter().any(|&byte| byte != 0) {
            return Err(malformed(HEADER, "header holds unknown fields"));
        }
        Ok(Self { len, type_off: word(8), type_len: word(12), str_off: word(16), str_len: word(20) })
    }
}

fn section(bytes: &[u8], base: usize, offset: usize, len: usize) -> Result<&[u8], BtfError> {
    let start = base.checked_add(offset);
    let end = start.and_then(|start| start.checked_add(len));
    start
        .zip(end)
        .and_then(|(start, end)| bytes.get(start..end))
        .ok_or(BtfError::Malformed { offset: 8, what: "types or strings lie outside of the section" })
}

fn check_strings(strings: &[u8]) -> Result<(), BtfError> {
    if strings.len() > MAX_STRINGS {
        return Err(BtfError::TooMany { what: "bytes of strings", limit: MAX_STRINGS });
    }
    if strings.first() != Some(&0) || strings.last() != Some(&0) {
        return Err(BtfError::Malformed { offset: 0, what: "strings do not start and end with NUL" });
    }
    Ok(())
}

/// Start of each type; checks that every record lies inside and is of a known kind.
fn index_types(types: &[u8], strings: &[u8]) -> Result<Vec<u32>, BtfError> {
    let mut index = vec![0];
    let mut at = 0usize;
    while at < types.len() {
        let id = u32::try_from(index.len()).unwrap_or(u32::MAX);
        if index.len() > MAX_TYPES {
            return Err(BtfError::TooMany { what: "types", limit: MAX_TYPES });
        }
        let record = &types[at..];
        let len = raw::check(record, id, strings.len())?;
        index.push(
            u32::try_from(at)
                .map_err(|_| BtfError::TooMany { what: "bytes of types", limit: u32::MAX as usize })?,
        );
        at += len;
    }
    Ok(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flavours_are_cut_at_the_last_mark() {
        for (name, essential) in [
            ("task_struct", "task_struct"),
            ("task_struct___old", "task_struct"),
            ("a___b___c", "a___b"),
            ("___x", "___x"),
            ("a____b", "a____b"),
            ("a___", "a___"),
            ("", ""),
        ] {
            assert_eq!(essential_name(name), essential, "{name}");
        }
    }

    #[test]
    fn broken_headers_are_refused() {
        let good = assemble(&[], &[0]);
        assert!(Btf::parse(&good).is_ok());
        for cut in 0..good.len() {
            assert!(Btf::parse(&good[..cut]).is_err(), "cut at {cut}");
        }
        let mut swapped = good.clone();
        swapped.swap(0, 1);
        assert_eq!(Btf::parse(&swapped), Err(BtfError::BigEndian));
        let mut long = good;
        long[20..24].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(Btf::parse(&long).is_err());
    }
}
