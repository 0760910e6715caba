//! Why an object cannot be linked, as data.
#![forbid(unsafe_code)]

use crate::isa::{DecodeError, Pc};

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
    /// An instruction refers to something that is not there.
    #[error("section {section}, instruction {slot}: {what}")]
    Reference {
        /// Section of the object.
        section: String,
        /// Slot in that section.
        slot: u32,
        /// What is wrong.
        what: String,
    },
    /// An instruction reads a kernel configuration value that nobody set.
    #[error("section {section}, instruction {slot}: kernel configuration value {name} is not set")]
    ConfigUnset {
        /// Section of the object.
        section: String,
        /// Slot in that section.
        slot: u32,
        /// `CONFIG_…` or `LINUX_…`.
        name: String,
    },
    /// A CO-RE relocation that is not understood. (One without an answer is no error: it poisons the
    /// instruction.)
    #[error("section {section}, instruction {slot}: CO-RE relocation: {what}")]
    Core {
        /// Section of the object.
        section: String,
        /// Slot in that section.
        slot: u32,
        /// What is wrong.
        what: String,
    },
    /// Bytes that are no instruction.
    #[error("{0}")]
    Decode(#[from] DecodeError),
    /// A number of a map, function or symbol that the program does not have.
    #[error("instruction {at}: there is no {what} {number}")]
    NoSuchSlot {
        /// Where.
        at: Pc,
        /// Of what.
        what: &'static str,
        /// The number.
        number: u32,
    },
    /// No instructions at all.
    #[error("the program is empty")]
    Empty,
    /// More than can be handled.
    #[error("the program has more than {limit} instructions")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
}
