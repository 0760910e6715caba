//! ELF object files as pure data: same bytes, same [`Object`], on any machine.
//!
//! In: the bytes of a relocatable BPF object. Out: [`Object`]: programs, map definitions, global data, externs,
//! types and licence, with references still by symbol. Joining functions, applying CO-RE and decoding is
//! `link`'s work. Nothing here opens a file or asks a kernel.
#![forbid(unsafe_code)]

use std::sync::Arc;

use beelift_runtime::MapDef;
use beelift_runtime::ctx::ProgramType;

use crate::btf::{Btf, TypeId};
use crate::isa::MapSlot;

pub mod section;

mod code;
mod data;
mod error;
mod externs;
mod file;
mod legacy;
mod maps;
mod parse;

pub(crate) use code::{CodeSection, Function, Reference};

pub use error::{ElfError, Warning};

/// A program (entry point) of an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProgramDef {
    /// Symbol name.
    pub name: String,
    /// ELF section, as written (without the `?` of programs that do not load by themselves).
    pub section: String,
    /// Type by section name; `None` when the name tells nothing (an error only when the program is used).
    pub prog_type: Option<ProgramType>,
    /// `expected_attach_type`, the kernel's number.
    pub attach_type: u32,
    /// What it attaches to, from the section name.
    pub attach_target: Option<String>,
    /// `prog_flags` of `BPF_PROG_LOAD`.
    pub prog_flags: u32,
    /// Whether a loader that takes all programs takes this one (`SEC("?…")` says no).
    pub autoload: bool,
    /// Instructions, in slots, of its own body (without the subprograms it calls).
    pub slots: u32,
    /// BTF id of its `FUNC`, or 0.
    pub btf_func: u32,
    /// Whether `prog_type` is a guess from the beginning of the section name or from the type of the context.
    pub guessed: bool,
}

/// A global variable that lives in a global-data map.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Global {
    /// Symbol name.
    pub name: String,
    /// The map that holds it.
    pub map: MapSlot,
    /// Byte offset in the map's value.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
    /// Its type in the object's BTF; `TypeId::VOID` without BTF.
    pub btf_type: TypeId,
}

/// What an extern symbol is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExternKind {
    /// A kernel configuration value: lives in the `.kconfig` map.
    Kconfig {
        /// Byte offset in the map's value.
        offset: u32,
        /// Bytes.
        size: u32,
    },
    /// The address of a kernel variable or function.
    Ksym,
    /// A kernel function to call.
    Kfunc,
}

/// A symbol that the object expects from outside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Extern {
    /// Name.
    pub name: String,
    /// What it is.
    pub kind: ExternKind,
    /// Whether the program copes with its absence.
    pub weak: bool,
    /// BTF id of its type (`FUNC` of a kfunc, type of a variable), 0 when it has none (`void`).
    pub btf_type: u32,
    /// Whether it has a value: only kernel configuration can have one here.
    pub set: bool,
}

/// What a map holds when it is created, besides `MapDef::initial`: references to other maps and programs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MapEntry {
    /// Element `index` of a map of maps is that map.
    Map {
        /// Index in the outer map.
        index: u32,
        /// The inner map.
        map: MapSlot,
    },
    /// Element `index` of a `prog_array` is that program.
    Program {
        /// Index in the array.
        index: u32,
        /// Symbol name of the program.
        program: String,
    },
    /// A function pointer in the value of a `struct_ops` map is that program.
    Callback {
        /// Byte offset in the value.
        offset: u32,
        /// Symbol name of the program.
        program: String,
    },
}

/// A BPF object.
#[derive(Clone, Debug)]
pub struct Object {
    programs: Vec<ProgramDef>,
    maps: Arc<[MapDef]>,
    entries: Vec<(MapSlot, MapEntry)>,
    globals: Vec<Global>,
    externs: Vec<Extern>,
    license: String,
    kernel_version: u32,
    btf: Option<Arc<Btf>>,
    code: Vec<CodeSection>,
    warnings: Vec<Warning>,
}

impl Object {
    /// Reads an object.
    ///
    /// # Errors
    /// What in the file is not understood, and where. Bytes from anywhere may be given.
    pub fn parse(bytes: &[u8]) -> Result<Self, ElfError> {
        parse::parse(bytes)
    }
    /// Programs, in the order of sections and offsets.
    #[must_use]
    pub fn programs(&self) -> &[ProgramDef] {
        &self.programs
    }
    /// The program of that name.
    #[must_use]
    pub fn program(&self, name: &str) -> Option<&ProgramDef> {
        self.programs.iter().find(|program| program.name == name)
    }
    /// Map definitions, global-data maps among them; `MapSlot` indexes them.
    #[must_use]
    pub fn maps(&self) -> &Arc<[MapDef]> {
        &self.maps
    }
    /// The slot of the map of that name.
    #[must_use]
    pub fn map(&self, name: &str) -> Option<MapSlot> {
        let index = self.maps.iter().position(|map| map.name == name)?;
        Some(MapSlot(u32::try_from(index).ok()?))
    }
    /// The definition of the map of that name, to change before linking (`max_entries`, inner map, …).
    pub fn map_mut(&mut self, name: &str) -> Option<&mut MapDef> {
        Arc::make_mut(&mut self.maps).iter_mut().find(|map| map.name == name)
    }
    /// Adds a map that the object does not define.
    pub fn add_map(&mut self, def: MapDef) -> MapSlot {
        let slot = MapSlot(u32::try_from(self.maps.len()).unwrap_or(u32::MAX));
        self.maps = self.maps.iter().cloned().chain([def]).collect();
        slot
    }
    /// Maps and programs that maps hold from the start.
    #[must_use]
    pub fn map_entries(&self) -> &[(MapSlot, MapEntry)] {
        &self.entries
    }
    /// Global variables.
    #[must_use]
    pub fn globals(&self) -> &[Global] {
        &self.globals
    }
    /// The global variable of that name.
    #[must_use]
    pub fn global(&self, name: &str) -> Option<&Global> {
        self.globals.iter().find(|global| global.name == name)
    }
    /// Sets the initial bytes of a global variable or of a kernel configuration value.
    ///
    /// # Errors
    /// No such variable, or another size.
    pub fn set_global(&mut self, name: &str, bytes: &[u8]) -> Result<(), ElfError> {
        let Some(global) = self.globals.iter().find(|global| global.name == name) else {
            return Err(ElfError::NoSuchGlobal { name: name.to_owned() });
        };
        let (size, slot) = (global.size, global.map.0 as usize);
        if size as usize != bytes.len() {
            return Err(ElfError::GlobalSize { name: name.to_owned(), size, given: bytes.len() });
        }
        let map = &mut Arc::make_mut(&mut self.maps)[slot];
        let total = map.value_size as usize;
        let initial = map.initial.get_or_insert_with(|| vec![0; total].into());
        let at = global.offset as usize;
        // Offset and size were checked against the section on reading.
        Arc::make_mut(initial)[at..at + bytes.len()].copy_from_slice(bytes);
        for symbol in &mut self.externs {
            symbol.set |= symbol.name == name;
        }
        Ok(())
    }
    /// Symbols expected from outside.
    #[must_use]
    pub fn externs(&self) -> &[Extern] {
        &self.externs
    }
    /// Licence text; empty when there is none.
    #[must_use]
    pub fn license(&self) -> &str {
        &self.license
    }
    /// `KERNEL_VERSION` of a `version` section, or 0.
    #[must_use]
    pub fn kernel_version(&self) -> u32 {
        self.kernel_version
    }
    /// Types.
    #[must_use]
    pub fn btf(&self) -> Option<&Arc<Btf>> {
        self.btf.as_ref()
    }
    /// Sections of instructions; `Reference::Function` indexes them.
    pub(crate) fn code(&self) -> &[CodeSection] {
        &self.code
    }
    /// What was odd but no error.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }
}
