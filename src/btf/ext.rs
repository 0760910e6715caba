//! `.BTF.ext`: which instruction belongs to which function, source line and CO-RE relocation.
//!
//! In: the bytes of the section and the strings of its [`Btf`]. Out: records by section name, offsets in bytes of
//! that section. `link` moves them to instructions of a program.
#![forbid(unsafe_code)]

use super::parse::MAGIC;
use super::record as raw;
use super::{Btf, BtfError, TypeId};

/// A function starts here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FuncRecord {
    /// Byte offset in the section.
    pub offset: u32,
    /// Its `Func`.
    pub func: TypeId,
}

/// A source line starts here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LineRecord {
    /// Byte offset in the section.
    pub offset: u32,
    /// String offset of the file name.
    pub file: u32,
    /// String offset of the text of the line.
    pub text: u32,
    /// 1-based line.
    pub line: u32,
    /// 1-based column.
    pub column: u32,
}

/// An instruction to adapt to the target's types.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CoreRecord {
    /// Byte offset in the section.
    pub offset: u32,
    /// Root type.
    pub root: TypeId,
    /// String offset of the access (`0:1:2`).
    pub access: u32,
    /// Kind, as a number.
    pub kind: u32,
}

/// Records of one section.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SectionRecords<T> {
    /// Section name.
    pub section: String,
    /// Records in the order of the file.
    pub records: Vec<T>,
}

/// The whole of `.BTF.ext`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BtfExt {
    /// Functions.
    pub funcs: Vec<SectionRecords<FuncRecord>>,
    /// Source lines.
    pub lines: Vec<SectionRecords<LineRecord>>,
    /// CO-RE relocations.
    pub relocations: Vec<SectionRecords<CoreRecord>>,
}

impl BtfExt {
    /// Reads the section.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn parse(bytes: &[u8], btf: &Btf) -> Result<Self, BtfError> {
        let malformed = |offset, what| BtfError::Malformed { offset, what };
        let header = bytes.get(..24).ok_or(malformed(0, "shorter than its header"))?;
        let magic = u16::from_le_bytes([header[0], header[1]]);
        if magic == MAGIC.swap_bytes() {
            return Err(BtfError::BigEndian);
        }
        if magic != MAGIC {
            return Err(malformed(0, "no BTF magic number"));
        }
        if header[2] != 1 {
            return Err(malformed(2, "version is not 1"));
        }
        let len = raw::word(header, 4) as usize;
        let header = bytes.get(..len).filter(|header| header.len() >= 24);
        let header = header.ok_or(malformed(4, "header length is out of range"))?;
        let part = |at: usize| -> Result<Part<'_>, BtfError> {
            // Old objects have no CO-RE fields in the header.
            if header.len() < at + 8 {
                return Ok(Part { bytes: &[], base: 0, btf });
            }
            let (offset, size) = (raw::word(header, at) as usize, raw::word(header, at + 4) as usize);
            let start = len.saturating_add(offset);
            let bytes = bytes
                .get(start..start.saturating_add(size))
                .ok_or(malformed(at, "a part lies outside of the section"))?;
            Ok(Part { bytes, base: start, btf })
        };
        Ok(Self {
            funcs: part(8)?.read(8, |record| FuncRecord {
                offset: raw::word(record, 0),
                func: TypeId(raw::word(record, 4)),
            })?,
            lines: part(16)?.read(16, |record| {
                let position = raw::word(record, 12);
                LineRecord {
                    offset: raw::word(record, 0),
                    file: raw::word(record, 4),
                    text: raw::word(record, 8),
                    line: position >> 10,
                    column: position & 0x3ff,
                }
            })?,
            relocations: part(24)?.read(16, |record| CoreRecord {
                offset: raw::word(record, 0),
                root: TypeId(raw::word(record, 4)),
                access: raw::word(record, 8),
                kind: raw::word(record, 12),
            })?,
        })
    }
}

struct Part<'a> {
    bytes: &'a [u8],
    base: usize,
    btf: &'a Btf,
}

impl Part<'_> {
    /// Reads records of at least `known` bytes, section by section.
    fn read<T>(&self, known: usize, decode: impl Fn(&[u8]) -> T) -> Result<Vec<SectionRecords<T>>, BtfError> {
        let mut sections = Vec::new();
        if self.bytes.is_empty() {
            return Ok(sections);
        }
        let cut = |at| BtfError::Malformed { offset: self.base + at, what: "a part ends inside a record" };
        let size = raw::word(self.bytes.get(..4).ok_or(cut(0))?, 0) as usize;
        if size < known || !size.is_multiple_of(4) {
            return Err(BtfError::Malformed { offset: self.base, what: "records are too short" });
        }
        let mut at = 4;
        while at < self.bytes.len() {
            let head = self.bytes.get(at..at + 8).ok_or(cut(at))?;
            let count = raw::word(head, 4) as usize;
            let start = at + 8;
            let end = count.checked_mul(size).and_then(|len| len.checked_add(start)).ok_or(cut(at))?;
            let records = self.bytes.get(start..end).ok_or(cut(at))?;
            sections.push(SectionRecords {
                section: self.btf.string(raw::word(head, 0)).to_owned(),
                records: records.chunks_exact(size).map(&decode).collect(),
            });
            at = end;
        }
        Ok(sections)
    }
}
