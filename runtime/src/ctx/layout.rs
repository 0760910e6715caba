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
    /// Access the verifier allows.
    pub access: FieldAccess,
    /// Whether reads narrower than `size` are allowed (a byte of a `u32`).
    pub narrow_read: bool,
    /// Whether writes narrower than `size` are allowed.
    pub narrow_write: bool,
    /// Largest single access in bytes.
    pub max_access: u16,
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
        /// Largest offset + size the verifier allows, in bytes.
        size: u32,
        /// Access the verifier allows.
        access: FieldAccess,
        /// Whether accesses must be 8-byte words at 8-byte offsets (`raw_tracepoint`).
        words_only: bool,
    },
    /// r1 is a buffer of bytes and r2 its length (type `memory`).
    Memory,
    /// Walks kernel objects: kernel only.
    Kernel,
}

impl ContextLayout {
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
            access: FieldAccess::Read,
            narrow_read: true,
            narrow_write: false,
            max_access: if size < 8 { size } else { 8 },
            kind: FieldKind::Scalar,
            native_offset: offset,
            native_size: size,
        }
    }
    /// An array of 4-byte words: read word by word, or in parts of a word.
    pub(super) const fn words(name: &'static str, offset: u16, count: u16) -> Self {
        Self { max_access: 4, ..Self::new(name, offset, 4 * count) }
    }
    /// Only accesses of the whole field.
    pub(super) const fn whole(self) -> Self {
        Self { narrow_read: false, narrow_write: false, ..self }
    }
    /// Written as well, by whole words.
    pub(super) const fn writable(self) -> Self {
        Self { access: FieldAccess::ReadWrite, ..self }
    }
    /// Written as well, also in parts.
    pub(super) const fn writable_narrow(self) -> Self {
        Self { access: FieldAccess::ReadWrite, narrow_write: true, ..self }
    }
    /// A pointer: 8 bytes at `native_offset`, read in whole.
    pub(super) const fn pointer(self, kind: FieldKind, native_offset: usize) -> Self {
        Self { kind, native_offset: native_offset as u16, native_size: 8, ..self.whole() }
    }
    /// One past the last UAPI byte.
    #[must_use]
    pub const fn end(&self) -> u32 {
        self.offset as u32 + self.size as u32
    }
}
