//! Why an object cannot be linked, as data.

use crate::isa::DecodeError;

/// Why a program cannot be linked.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// No program of that name.
    #[error("the object has no program {name}")]
    NoSuchProgram {
        /// The name.
        name: String,
    },
    /// The section name tells no program type.
    #[error("program {program}: section name {section} tells no program type")]
    UnknownType {
        /// Program.
        program: String,
        /// Section.
        section: String,
    },
    /// Bytes that are no instruction.
    #[error("{0}")]
    Decode(#[from] DecodeError),
    /// A known thing that is not implemented.
    #[error("not supported: {what}")]
    Unsupported {
        /// What.
        what: &'static str,
    },
}
