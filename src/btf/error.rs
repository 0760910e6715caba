//! Why bytes are no BTF, as data.
#![forbid(unsafe_code)]

/// Why BTF cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BtfError {
    /// Something in the bytes.
    #[error("offset {offset:#x}: {what}")]
    Malformed {
        /// Byte offset in the section.
        offset: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// A type that is not as it must be.
    #[error("type {id}: {what}")]
    Type {
        /// Its id.
        id: u32,
        /// What is wrong.
        what: &'static str,
    },
    /// A kind that this reader does not know.
    #[error("type {id} has the unknown kind {kind}")]
    UnknownKind {
        /// Its id.
        id: u32,
        /// The number.
        kind: u32,
    },
    /// More than the format allows.
    #[error("{what}: more than {limit}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// For a target of the other byte order.
    #[error("BTF is big-endian")]
    BigEndian,
    /// The file cannot be read.
    #[error("{path}: {error}")]
    Io {
        /// Path.
        path: String,
        /// What the system says.
        error: std::io::ErrorKind,
    },
}
