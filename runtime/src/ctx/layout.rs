//! The layout of a context: which UAPI fields a program may touch, and where they really lie.
//!
//! Read by the verifier (access), the code generator and the interpreter (native place).
#![forbid(unsafe_code)]

/// Which part of a context access the verifier lets through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FieldAccess {
    /// Reads only.
    Read,
    /// Reads and writes.
    ReadWrite,
    /// Writes only.
    Write,
}

/// Which parts of a field an access may cover. Every access is aligned to its size, counted from the start of the
/// context.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parts {
    /// None.
    None,
    /// Aligned parts of `min` to `max` bytes.
    Aligned {
        /// Smallest, in bytes.
        min: u16,
        /// Largest, in bytes.
        max: u16,
    },
    /// Parts of up to `max` bytes at the start of the field.
    Start {
        /// Largest, in bytes.
        max: u16,
    },
    /// The whole field, or aligned parts of its first half.
    FirstHalf,
}

/// What a context field holds, and how it is converted from the native structure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FieldKind {
    /// A number.
    Scalar,
    /// Start of the packet (`data`): a 64-bit address natively, a `u32` in the UAPI.
    PacketData,
    /// End of the packet (`data_end`).
    PacketEnd,
    /// Start of the metadata (`data_meta`).
    PacketMeta,
    /// A pointer to a kernel object, by type name.
    Object {
        /// `sock_common`, `sock`, `flow_keys`, …
        name: &'static str,
        /// Whether the verifier demands a null check.
        nullable: bool,
    },
    /// Known to the verifier; its value needs what user space does not have: a program that reads it is `Unsupported`.
    KernelOnly,
}

/// One field of a UAPI context.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CtxField {
    /// UAPI name.
    pub name: &'static str,
    /// UAPI byte offset.
    pub offset: u16,
    /// UAPI size in bytes.
    pub size: u16,
    /// Which parts may be read.
    pub reads: Parts,
    /// Which parts may be written.
    pub writes: Parts,
    /// What it holds.
    pub kind: FieldKind,
    /// Byte offset in the native structure.
    pub native_offset: u16,
    /// Bytes there: 8 for pointers, else as many as in the UAPI, in the same order (so a narrow access adds its
    /// distance from `offset` to `native_offset`). An array (`cb`) is one field; accesses in it are up to 8 bytes.
    pub native_size: u16,
}

/// How a program sees its context.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ContextLayout {
    /// Named fields converted to a native structure. Gaps are not accessible.
    Fields {
        /// UAPI struct name.
        name: &'static str,
        /// UAPI size in bytes.
        size: u16,
        /// Size of the native structure in bytes.
        native_size: u16,
        /// By ascending offset.
        fields: &'static [CtxField],
    },
    /// Plain bytes read (and perhaps written) in place at any offset: tracing contexts, `syscall`.
    Raw {
        /// UAPI struct name.
        name: &'static str,
        /// First byte that may be accessed.
        start: u32,
        /// Largest offset + size the verifier allows, in bytes.
        size: u32,
        /// Access the verifier allows. Accesses are aligned to their size.
        access: FieldAccess,
    },
    /// r1 is a buffer of bytes and r2 its length (type `memory`).
    Memory,
    /// Walks kernel objects: kernel only.
    Kernel,
}

impl ContextLayout {
    /// Whether the verifier lets a read of `size` bytes at `offset` through.
    #[must_use]
    pub fn allows_read(&self, offset: u32, size: u32) -> bool {
        match *self {
            Self::Fields { .. } => {
                self.field(offset, size).is_some_and(|field| field.allows_read(offset, size))
            }
            Self::Raw { access, .. } => access != FieldAccess::Write && self.inside(offset, size),
            Self::Memory | Self::Kernel => false,
        }
    }
    /// Likewise for a write.
    #[must_use]
    pub fn allows_write(&self, offset: u32, size: u32) -> bool {
        match *self {
            Self::Fields { .. } => {
                self.field(offset, size).is_some_and(|field| field.allows_write(offset, size))
            }
            Self::Raw { access, .. } => access != FieldAccess::Read && self.inside(offset, size),
            Self::Memory | Self::Kernel => false,
        }
    }
    /// Whether an access lies in a raw context and is aligned.
    fn inside(&self, offset: u32, len: u32) -> bool {
        let Self::Raw { start, size, .. } = *self else { return false };
        offset >= start
            && offset.checked_add(len).is_some_and(|end| end <= size)
            && offset.is_multiple_of(len)
    }
    /// The field that covers `[offset, offset + size)`, if one does.
    #[must_use]
    pub fn field(&self, offset: u32, size: u32) -> Option<&'static CtxField> {
        let Self::Fields { fields, .. } = self else { return None };
        fields.iter().find(|field| {
            let start = u32::from(field.offset);
            start <= offset && offset + size <= start + u32::from(field.size)
        })
    }
}

impl CtxField {
    /// A field of `size` bytes that may be read in whole or in aligned parts, stored natively at the same offset.
    pub(super) const fn new(name: &'static str, offset: u16, size: u16) -> Self {
        Self {
            name,
            offset,
            size,
            reads: Parts::Aligned { min: 1, max: if size < 8 { size } else { 8 } },
            writes: Parts::None,
            kind: FieldKind::Scalar,
            native_offset: offset,
            native_size: size,
        }
    }
    /// Reads of whole words only, of which the field may have several.
    pub(super) const fn whole(self) -> Self {
        let word = if self.size == 8 { 8 } else { 4 };
        self.read_as(Parts::Aligned { min: word, max: word })
    }
    /// Reads of these parts.
    pub(super) const fn read_as(self, reads: Parts) -> Self {
        Self { reads, ..self }
    }
    /// Writes of whole words.
    pub(super) const fn writable(self) -> Self {
        let word = if self.size == 8 { 8 } else { 4 };
        self.written_as(Parts::Aligned { min: word, max: word })
    }
    /// Writes of these parts.
    pub(super) const fn written_as(self, writes: Parts) -> Self {
        Self { writes, ..self }
    }
    /// A pointer: 8 bytes at `native_offset`, read in whole.
    pub(super) const fn pointer(self, kind: FieldKind, native_offset: usize) -> Self {
        Self { kind, native_offset: native_offset as u16, native_size: 8, ..self.whole() }
    }
    /// Whether a read of `size` bytes at that offset of the context is allowed, as far as the field is concerned.
    #[must_use]
    pub const fn allows_read(&self, offset: u32, size: u32) -> bool {
        self.covers(self.reads, offset, size)
    }
    /// Likewise for a write.
    #[must_use]
    pub const fn allows_write(&self, offset: u32, size: u32) -> bool {
        self.covers(self.writes, offset, size)
    }
    const fn covers(&self, parts: Parts, offset: u32, size: u32) -> bool {
        let start = self.offset as u32;
        if !offset.is_multiple_of(size) || offset < start || offset + size > self.end() {
            return false;
        }
        match parts {
            Parts::None => false,
            Parts::Aligned { min, max } => min as u32 <= size && size <= max as u32,
            Parts::Start { max } => offset == start && size <= max as u32,
            Parts::FirstHalf => size == self.size as u32 || offset + size <= start + self.size as u32 / 2,
        }
    }
    /// One past the last UAPI byte.
    #[must_use]
    pub const fn end(&self) -> u32 {
        self.offset as u32 + self.size as u32
    }
}
