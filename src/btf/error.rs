//! Why bytes are no BTF, as data.

/// Why BTF cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BtfError {
    /// Something in the bytes.
    #[error("BTF offset {offset:#x}: {what}")]
    Malformed {
        /// Byte offset.
        offset: usize,
        /// What is wrong.
        what: &'static str,
    },
}
