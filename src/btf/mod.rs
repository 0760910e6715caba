//! BTF: types of an object or of the kernel, CO-RE relocation, source lines.
//!
//! In: the bytes of `.BTF` and `.BTF.ext`. Out: [`Btf`], an index over the bytes; a type is decoded when it is
//! looked at. Not here: which maps and programs an object has (`elf`).
#![forbid(unsafe_code)]

mod error;

pub use error::BtfError;

/// Id of a type in a [`Btf`]. 0 is `void`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct TypeId(pub u32);

impl TypeId {
    /// `void`.
    pub const VOID: Self = Self(0);
}

/// A set of BTF types.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Btf {}

impl Btf {
    /// Reads and checks the bytes of a `.BTF` section or of `/sys/kernel/btf/vmlinux`.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn parse(_bytes: &[u8]) -> Result<Self, BtfError> {
        Ok(Self {})
    }
    /// The C declaration of a type (`struct key`, `unsigned int [4]`).
    #[must_use]
    pub fn type_name(&self, _id: TypeId) -> String {
        String::new()
    }
    /// Renders the bytes of a value of that type: `{ .packets = 3, .bytes = 180 }`.
    #[must_use]
    pub fn format_value(&self, _id: TypeId, _bytes: &[u8]) -> Option<String> {
        None
    }
    /// The bytes as `BPF_BTF_LOAD` wants them.
    #[must_use]
    pub fn to_kernel_bytes(&self) -> Vec<u8> {
        Vec::new()
    }
}
