//! Program types of the embedder: a context structure described at run time, and runs on it.
//!
//! In: the fields of a C structure, perhaps with a pair of pointers to bytes. Out: a [`HostType`], which programs are
//! linked for, and [`HostContext`], which they run on.
#![forbid(unsafe_code)]

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::context::{Context, Entry, sealed::Sealed};
use super::packet::{BLOCK, Frame, Packet, word};
use super::{AttachType, ContextLayout, CtxField, FieldAccess, FieldKind, Parts, ProgramType, ReturnRange};
use crate::mem::{RegionKind, Regions};

/// Where the fields lie in the native structure: behind the words of the packet.
const BASE: u16 = 64;
/// Most bytes of a declared structure.
const LARGEST: u16 = BLOCK as u16 - BASE;
/// Number of the next type: what keeps one from running on the context of another.
static NEXT: AtomicU32 = AtomicU32::new(1);

/// A program type that the embedder declared: [`HostType::declare`].
///
/// Types are declared once and stay as long as the process.
#[derive(Clone, Copy, Debug)]
pub struct HostType(&'static Declared);

#[derive(Debug)]
struct Declared {
    id: u32,
    name: &'static str,
    size: u16,
    fields: &'static [CtxField],
    writes_bytes: bool,
    returns: ReturnRange,
}

impl PartialEq for HostType {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}
impl Eq for HostType {}

/// What is wrong with a declaration.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DeclareError {
    /// The structure is too large.
    #[error("`{name}` has {size} bytes, of which at most {LARGEST} are possible")]
    TooLarge {
        /// Structure.
        name: String,
        /// Its bytes.
        size: u16,
    },
    /// A field reaches past the structure.
    #[error("field `{field}` ends at byte {end} of a structure of {size}")]
    Outside {
        /// Field.
        field: String,
        /// Past its last byte.
        end: u32,
        /// Bytes of the structure.
        size: u16,
    },
    /// Two fields share bytes.
    #[error("fields `{0}` and `{1}` overlap")]
    Overlap(String, String),
    /// A field that programs could not load whole.
    #[error(
        "field `{field}` of {size} bytes at {offset}: 1, 2, 4 or 8 bytes at a multiple of the size are possible"
    )]
    Shape {
        /// Field.
        field: String,
        /// Its offset.
        offset: u16,
        /// Its bytes.
        size: u16,
    },
    /// A second pair of pointers.
    #[error("`{0}`: only one pair of pointers to bytes is possible")]
    SecondPair(String),
    /// An empty range of results.
    #[error("no result lies in {0} to {1}")]
    Returns(i64, i64),
}

/// A program type in the making.
///
/// ```
/// use beelift_runtime::ctx::{FieldAccess, HostType};
/// // struct request { const u8 *body; const u8 *body_end; u16 port; u32 score; };
/// let request = HostType::declare("request", 24)
///     .bytes(("body", 0), ("body_end", 8), FieldAccess::Read)
///     .field("port", 16, 2, FieldAccess::Read)
///     .field("score", 20, 4, FieldAccess::ReadWrite)
///     .returns(0..=1)
///     .finish()?;
/// assert_eq!(request.name(), "request");
/// # Ok::<(), beelift_runtime::ctx::DeclareError>(())
/// ```
#[derive(Clone, Debug)]
pub struct HostTypeBuilder {
    name: String,
    size: u16,
    fields: Vec<(String, CtxField)>,
    writes_bytes: bool,
    returns: ReturnRange,
    error: Option<DeclareError>,
}

impl HostType {
    /// Begins to declare a program type whose context is the structure `name` of `size` bytes. Fields are read as
    /// little-endian numbers; gaps between them cannot be touched.
    #[must_use]
    pub fn declare(name: &str, size: u16) -> HostTypeBuilder {
        let (name, returns) = (name.to_owned(), ReturnRange::Any);
        HostTypeBuilder { name, size, fields: Vec::new(), writes_bytes: false, returns, error: None }
    }

    /// Name of the structure.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.0.name
    }

    /// Bytes of the structure.
    #[must_use]
    pub const fn size(self) -> u16 {
        self.0.size
    }

    /// How programs see it.
    #[must_use]
    pub const fn layout(self) -> ContextLayout {
        let Declared { name, size, fields, .. } = *self.0;
        ContextLayout::Fields { name, size, native_size: BASE + size, fields }
    }

    /// What r0 may be at exit.
    #[must_use]
    pub const fn return_range(self) -> ReturnRange {
        self.0.returns
    }

    /// Whether programs may write the bytes that the pair of pointers leads to.
    #[must_use]
    pub const fn writes_bytes(self) -> bool {
        self.0.writes_bytes
    }

    /// The number that stands for it where kernel types have an `expected_attach_type`.
    #[must_use]
    pub const fn attach_type(self) -> AttachType {
        self.0.id
    }

    fn field(self, name: &str) -> Option<&'static CtxField> {
        self.0.fields.iter().find(|field| field.name == name && field.kind == FieldKind::Scalar)
    }
}

impl HostTypeBuilder {
    /// A number of 1, 2, 4 or 8 bytes at a multiple of its size. Programs load it whole or in aligned parts.
    #[must_use]
    pub fn field(self, name: &str, offset: u16, size: u16, access: FieldAccess) -> Self {
        let parts = Parts::Aligned { min: 1, max: size };
        let (reads, writes) = match access {
            FieldAccess::Read => (parts, Parts::None),
            FieldAccess::ReadWrite => (parts, parts),
            FieldAccess::Write => (Parts::None, parts),
        };
        let native_offset = BASE.saturating_add(offset);
        let field = CtxField { reads, writes, native_offset, ..CtxField::new("", offset, size) };
        self.with(name, field)
    }

    /// Two 64-bit pointers, by name and offset: to the first byte of what a run is given and past its last one. As with a
    /// packet, a program compares with the second before it reads through the first.
    #[must_use]
    pub fn bytes(mut self, start: (&str, u16), end: (&str, u16), access: FieldAccess) -> Self {
        if self.fields.iter().any(|(_, field)| field.kind == FieldKind::PacketData) {
            self.error.get_or_insert(DeclareError::SecondPair(start.0.to_owned()));
        }
        self.writes_bytes = access != FieldAccess::Read;
        let pointer = |offset, kind, native| CtxField::new("", offset, 8).pointer(kind, native as usize);
        self.with(start.0, pointer(start.1, FieldKind::PacketData, word::DATA))
            .with(end.0, pointer(end.1, FieldKind::PacketEnd, word::DATA_END))
    }

    /// Limits r0 at exit; without it any number will do.
    #[must_use]
    pub fn returns(mut self, range: RangeInclusive<i64>) -> Self {
        let (min, max) = range.into_inner();
        if min > max {
            self.error.get_or_insert(DeclareError::Returns(min, max));
        }
        self.returns = ReturnRange::Within { min, max };
        self
    }

    fn with(mut self, name: &str, field: CtxField) -> Self {
        let CtxField { offset, size, .. } = field;
        if !matches!(size, 1 | 2 | 4 | 8) || !offset.is_multiple_of(size) {
            self.error.get_or_insert(DeclareError::Shape { field: name.to_owned(), offset, size });
        } else if field.end() > u32::from(self.size) {
            let (field, end, size) = (name.to_owned(), field.end(), self.size);
            self.error.get_or_insert(DeclareError::Outside { field, end, size });
        }
        let at = self.fields.partition_point(|(_, other)| other.offset <= offset);
        self.fields.insert(at, (name.to_owned(), field));
        self
    }

    /// The type. What it is made of stays in memory for good.
    ///
    /// # Errors
    /// The first thing that is wrong with the declaration.
    pub fn finish(self) -> Result<HostType, DeclareError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        if self.size > LARGEST {
            return Err(DeclareError::TooLarge { name: self.name, size: self.size });
        }
        for pair in self.fields.windows(2) {
            let [(first, field), (second, next)] = pair else { continue };
            if field.end() > u32::from(next.offset) {
                return Err(DeclareError::Overlap(first.clone(), second.clone()));
            }
        }
        let named = |(name, field): (String, CtxField)| CtxField { name: name.leak(), ..field };
        let fields: Vec<CtxField> = self.fields.into_iter().map(named).collect();
        Ok(HostType(Box::leak(Box::new(Declared {
            id: NEXT.fetch_add(1, Relaxed),
            name: self.name.leak(),
            size: self.size,
            fields: fields.leak(),
            writes_bytes: self.writes_bytes,
            returns: self.returns,
        }))))
    }
}

/// A run of a program of a declared type.
#[derive(Debug)]
pub struct HostContext<'p> {
    packet: &'p mut Packet,
    host_type: HostType,
    /// The structure without pointers, as the program finds it.
    bytes: [u8; LARGEST as usize],
    /// Whether the native structure is newer than `bytes`.
    entered: bool,
}

impl<'p> HostContext<'p> {
    /// A run whose pair of pointers leads to the bytes of `packet`; all numbers are zero.
    #[must_use]
    pub fn new(packet: &'p mut Packet, host_type: HostType) -> Self {
        Self { packet, host_type, bytes: [0; LARGEST as usize], entered: false }
    }

    /// Sets a number by name, cut to its size; `false` if there is none of that name.
    pub fn set_field(&mut self, name: &str, value: u64) -> bool {
        let Some(field) = self.host_type.field(name) else { return false };
        self.take_over();
        let (at, len) = (usize::from(field.offset), usize::from(field.size));
        self.bytes[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
        true
    }

    /// A number by name, after a run as the program left it.
    pub fn field(&mut self, name: &str) -> Option<u64> {
        let field = self.host_type.field(name)?;
        self.take_over();
        let (at, len) = (usize::from(field.offset), usize::from(field.size));
        let mut value = [0; 8];
        value[..len].copy_from_slice(&self.bytes[at..at + len]);
        Some(u64::from_le_bytes(value))
    }

    /// The bytes behind the pair of pointers.
    #[must_use]
    pub fn packet(&mut self) -> &mut Packet {
        self.packet
    }

    /// Takes over what the last run left in the native structure.
    fn take_over(&mut self) {
        if std::mem::take(&mut self.entered) {
            let len = usize::from(self.host_type.size());
            self.packet.block().read(u64::from(BASE), &mut self.bytes[..len]);
        }
    }
}

impl Sealed for HostContext<'_> {}

impl Context for HostContext<'_> {
    fn program_type(&self) -> ProgramType {
        ProgramType::Host
    }

    fn accepts(&self, program_type: ProgramType, attach_type: u32) -> bool {
        program_type == ProgramType::Host && attach_type == self.host_type.attach_type()
    }

    fn enter(&mut self) -> Entry {
        self.take_over();
        self.packet.enter();
        let block = self.packet.block();
        block.write(u64::from(BASE), &self.bytes[..usize::from(self.host_type.size())]);
        self.entered = true;
        Entry { r1: block.address(), r2: 0 }
    }

    fn regions<'a>(&'a self, regions: &mut Regions<'a>) {
        let block = self.packet.block();
        regions.add_part(RegionKind::Context, block, u64::from(BASE + self.host_type.size()));
        regions.add_packet(self.packet.buffer(), block, word::DATA_META, word::DATA_END);
    }

    fn frame(&self) -> Option<Frame<'_>> {
        Some(self.packet.frame())
    }

    fn packet_mut(&mut self) -> Option<&mut Packet> {
        Some(self.packet)
    }

    fn uapi(&self, out: &mut Vec<u8>) {
        let len = usize::from(self.host_type.size());
        out.clear();
        out.extend_from_slice(&self.bytes[..len]);
        if self.entered {
            self.packet.block().read(u64::from(BASE), out);
        }
    }

    fn set_uapi(&mut self, bytes: &[u8]) {
        self.take_over();
        let len = bytes.len().min(usize::from(self.host_type.size()));
        self.bytes[..len].copy_from_slice(&bytes[..len]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_are_checked() {
        let two = |offset| {
            let declared = HostType::declare("pair", 8).field("a", 0, 4, FieldAccess::Read);
            declared.field("b", offset, 4, FieldAccess::Read).finish().err()
        };
        assert_eq!(two(4), None);
        assert_eq!(two(0), Some(DeclareError::Overlap("a".to_owned(), "b".to_owned())));
        assert_eq!(two(8), Some(DeclareError::Outside { field: "b".to_owned(), end: 12, size: 8 }));
        assert_eq!(two(2), Some(DeclareError::Shape { field: "b".to_owned(), offset: 2, size: 4 }));
        let odd = HostType::declare("odd", 8).field("a", 0, 3, FieldAccess::Read).finish();
        assert_eq!(odd, Err(DeclareError::Shape { field: "a".to_owned(), offset: 0, size: 3 }));
        let large = HostType::declare("large", LARGEST + 1).finish();
        assert_eq!(large, Err(DeclareError::TooLarge { name: "large".to_owned(), size: LARGEST + 1 }));
        let read = FieldAccess::Read;
        let pairs = HostType::declare("pairs", 32).bytes(("a", 0), ("b", 8), read);
        let pairs = pairs.bytes(("c", 16), ("d", 24), read).finish();
        assert_eq!(pairs, Err(DeclareError::SecondPair("c".to_owned())));
        #[expect(clippy::reversed_empty_ranges, reason = "that is what is refused")]
        let nothing = HostType::declare("nothing", 0).returns(1..=0).finish();
        assert_eq!(nothing, Err(DeclareError::Returns(1, 0)));
    }

    #[test]
    fn numbers_are_kept_at_their_place_and_size() {
        let kind = HostType::declare("numbers", 16)
            .field("byte", 1, 1, FieldAccess::ReadWrite)
            .field("word", 8, 8, FieldAccess::Read)
            .finish()
            .unwrap();
        let mut packet = Packet::new(0).unwrap();
        let mut context = HostContext::new(&mut packet, kind);
        assert!(context.set_field("byte", 0x1ff) && context.set_field("word", u64::MAX));
        assert!(!context.set_field("nothing", 1));
        assert_eq!((context.field("byte"), context.field("word")), (Some(0xff), Some(u64::MAX)));
        assert_eq!(context.field("nothing"), None);
        let mut bytes = Vec::new();
        context.enter();
        context.uapi(&mut bytes);
        assert_eq!(bytes, [0, 0xff, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255]);
        let other = HostType::declare("numbers", 16).finish().unwrap();
        assert!(context.accepts(ProgramType::Host, kind.attach_type()));
        assert!(!context.accepts(ProgramType::Host, other.attach_type()));
    }
}
