//! Why bytes are no usable object, as data.
#![forbid(unsafe_code)]

use crate::btf::BtfError;

/// Why an object cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ElfError {
    /// The container itself is broken.
    #[error("not a readable ELF file: {what}")]
    NotElf {
        /// What is wrong.
        what: String,
    },
    /// Compiled for big-endian eBPF.
    #[error("object is for big-endian eBPF (bpfeb): compile it with -target bpfel")]
    BigEndian,
    /// Compiled for something else.
    #[error("object is for ELF machine {machine}, not for eBPF (247)")]
    WrongMachine {
        /// `e_machine`.
        machine: u16,
    },
    /// No relocatable object.
    #[error("ELF type {kind} is not a relocatable object (1)")]
    NotRelocatable {
        /// `e_type`.
        kind: u16,
    },
    /// Something in a section.
    #[error("section {section}, offset {offset:#x}: {what}")]
    Section {
        /// Section name.
        section: String,
        /// Byte offset in the section.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// A map definition.
    #[error("map {map}: {what}")]
    Map {
        /// Map name.
        map: String,
        /// What is wrong.
        what: String,
    },
    /// Types.
    #[error("section {section}: {error}")]
    Btf {
        /// `.BTF` or `.BTF.ext`.
        section: &'static str,
        /// What is wrong.
        #[source]
        error: BtfError,
    },
    /// No global variable of that name.
    #[error("no global variable {name}")]
    NoSuchGlobal {
        /// The name.
        name: String,
    },
    /// A value of another size was given.
    #[error("global variable {name} has {size} bytes, not {given}")]
    GlobalSize {
        /// The name.
        name: String,
        /// Its size.
        size: u32,
        /// What was given.
        given: usize,
    },
    /// A known thing that is not implemented.
    #[error("not supported: {what}")]
    Unsupported {
        /// What.
        what: &'static str,
    },
}

/// Something odd that is no error.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Warning {
    /// The section name of a program tells no program type.
    #[error("program {program}: section name {section} tells no program type")]
    UnknownSection {
        /// Program.
        program: String,
        /// Section.
        section: String,
    },
    /// The program type is a guess.
    #[error("program {program}: section name {section} taken for type {guess}")]
    GuessedType {
        /// Program.
        program: String,
        /// Section.
        section: String,
        /// Type name.
        guess: &'static str,
    },
    /// A map definition has bytes that we do not know, and they are not zero.
    #[error("map {map}: {bytes} more bytes of its definition are ignored")]
    LongMapDefinition {
        /// Map.
        map: String,
        /// Bytes ignored.
        bytes: u32,
    },
    /// A map attribute that we do not know.
    #[error("map {map}: attribute {attribute} is ignored")]
    UnknownMapAttribute {
        /// Map.
        map: String,
        /// Attribute.
        attribute: String,
    },
    /// More locks, timers, kptrs and the like in a value than count.
    #[error("map {map}: more than {most} special fields in a value, so none of them counts")]
    TooManyFields {
        /// Map.
        map: String,
        /// How many there may be.
        most: usize,
    },
    /// Data holds addresses, which programs cannot use.
    #[error("section {section}, offset {offset:#x}: an address in data stays as the compiler left it")]
    PointersInData {
        /// Section.
        section: String,
        /// Byte offset.
        offset: u64,
    },
}
