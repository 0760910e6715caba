//! Ahead of time: compiled programs as relocatable objects with a C header, and the C runtime they link with.
//!
//! In: programs and their [`CompiledCode`] for a [`Target::for_triple`](crate::codegen::Target::for_triple). Out: an
//! ELF object that defines the programs and their maps and leaves only helpers undefined (`object`), a header
//! for C (`header`), and [`RUNTIME_HEADER`] and [`RUNTIME_SOURCE`], which implement maps and helpers without Rust.
//! `docs/ahead-of-time.md` is the contract. Not here: compiling.
#![forbid(unsafe_code)]

mod header;
mod layout;
mod object;

use beelift_runtime::MapKind;
use beelift_runtime::ctx::ProgramType;

use crate::codegen::{CompiledCode, Stub, Symbol};
use crate::isa::MapSlot;
use crate::link::Program;
use crate::verify::Verified;

/// `beelift.h` of the C runtime.
pub const RUNTIME_HEADER: &str = include_str!("c/beelift.h");
/// `beelift.c` of the C runtime.
pub const RUNTIME_SOURCE: &str = include_str!("c/beelift.c");

/// Helpers that the C runtime implements, by number.
pub const HELPERS: &[u32] =
    &[1, 2, 3, 5, 6, 7, 8, 28, 42, 44, 51, 54, 65, 118, 125, 160, 188, 189, 190, 195, 208];

/// Kinds of maps that the C runtime implements.
pub const MAPS: &[MapKind] = &[
    MapKind::Array,
    MapKind::PercpuArray,
    MapKind::Hash,
    MapKind::PercpuHash,
    MapKind::LruHash,
    MapKind::LpmTrie,
    MapKind::Devmap,
];

/// Most bytes of code in one object: all of it must reach its helpers by near calls.
pub const MAX_CODE: u64 = 32 << 20;
/// Most bytes of array values in one object: code reaches them relative to itself.
pub const MAX_VALUES: u64 = 512 << 20;
/// Most CPU slots.
pub const MAX_CPUS: u32 = 4096;

/// A program to write.
#[derive(Clone, Copy, Debug)]
pub struct Unit<'a> {
    /// The program, proven safe on at least as many CPUs as it is written for.
    pub verified: &'a Verified,
    /// Its code.
    pub code: &'a CompiledCode,
}

/// Choices.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// CPU slots of per-CPU maps: as many runs may go on at once.
    pub cpus: u32,
    /// Helpers (`bpf_…`) that the host's own C code will define.
    pub external: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { cpus: 64, external: Vec::new() }
    }
}

/// What to store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Output {
    /// The ELF object.
    pub object: Vec<u8>,
    /// The C header.
    pub header: String,
}

/// Why there is no object.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AotError {
    /// The C runtime has no such helper, and the host did not promise it.
    #[error("program `{program}` calls {helper}, which the ahead-of-time runtime does not have")]
    Helper {
        /// Which program.
        program: String,
        /// Which helper.
        helper: String,
    },
    /// The program was verified for less CPUs.
    #[error("program `{program}` is proven safe on {proven} CPUs, and {cpus} are asked for")]
    Unproven {
        /// Which program.
        program: String,
        /// CPUs that the proof counts on.
        proven: u32,
        /// CPUs that it would run on.
        cpus: u32,
    },
    /// The program uses instructions or calls that only the library's own run time serves.
    #[error("program `{program}` uses {what}, which the ahead-of-time runtime does not have")]
    Feature {
        /// Which program.
        program: String,
        /// What.
        what: &'static str,
    },
    /// The C runtime cannot keep this map.
    #[error("map `{map}`: the ahead-of-time runtime has no {what}")]
    Map {
        /// Which map.
        map: String,
        /// What it lacks.
        what: String,
    },
    /// More than an object can hold.
    #[error("{what}: {bytes} bytes are more than the {limit} that one object can hold")]
    TooLarge {
        /// Of what.
        what: &'static str,
        /// How many.
        bytes: u64,
        /// How many are allowed.
        limit: u64,
    },
    /// Two things would have the same symbol.
    #[error("two symbols would be called `{0}`: compile the programs into objects of their own")]
    SameName(String),
    /// A number of CPU slots that makes no sense.
    #[error("{0} CPU slots: from 1 to {MAX_CPUS} are possible")]
    Cpus(u32),
    /// The code is for another machine than the object.
    #[error("code for another architecture than {0}")]
    WrongTarget(String),
    /// The ELF writer failed.
    #[error("object file: {0}")]
    Write(String),
}

/// Writes programs of one object file (they share its maps) and their header.
///
/// # Errors
/// What the C runtime lacks, by name, and programs over the limits.
pub fn write(
    units: &[Unit<'_>],
    target: &crate::codegen::Target,
    options: &Options,
) -> Result<Output, AotError> {
    if !(1..=MAX_CPUS).contains(&options.cpus) {
        return Err(AotError::Cpus(options.cpus));
    }
    for unit in units {
        if let Some(proven) = unit.verified.facts().cpus.filter(|proven| *proven < options.cpus) {
            let program = unit.verified.program().name.clone();
            return Err(AotError::Unproven { program, proven, cpus: options.cpus });
        }
        check_helpers(unit, options)?;
    }
    let plan = layout::Plan::new(units, options)?;
    Ok(Output { object: object::write(units, &plan, target)?, header: header::write(units, &plan, target) })
}

/// Symbols that a program refers to.
fn symbols<'a>(unit: &Unit<'a>) -> impl Iterator<Item = Symbol> + use<'a> {
    unit.code.functions.iter().flat_map(|function| function.relocs.iter().map(|reloc| reloc.symbol))
}

/// Name of a helper, `bpf_…` or the embedder's.
fn helper_name(program: &Program, id: u32) -> String {
    program.helper(id).map_or_else(|| format!("bpf_helper_{id}"), |helper| helper.name.to_owned())
}

fn check_helpers(unit: &Unit<'_>, options: &Options) -> Result<(), AotError> {
    if unit.verified.program().prog_type == ProgramType::Host {
        let program = unit.verified.program().name.clone();
        return Err(AotError::Feature { program, what: "a program type of the embedder's" });
    }
    for symbol in symbols(unit) {
        let id = match symbol {
            Symbol::Helper(id) | Symbol::MapHelper(id, _) => id,
            Symbol::Stub(Stub::PacketLoad) => {
                let program = unit.verified.program().name.clone();
                return Err(AotError::Feature { program, what: "packet access instructions" });
            }
            Symbol::Stub(Stub::ThrowExit) => {
                let program = unit.verified.program().name.clone();
                return Err(AotError::Feature { program, what: "an exception out of a subprogram" });
            }
            Symbol::Arena(_) => {
                let program = unit.verified.program().name.clone();
                return Err(AotError::Feature { program, what: "an arena" });
            }
            // No C code of a host serves these either: some have no C prototype that could be promised.
            Symbol::Kfunc(number) => {
                let program = unit.verified.program().name.clone();
                let what =
                    beelift_runtime::helper::kfunc(number).map_or("a kernel function", |kfunc| kfunc.name);
                return Err(AotError::Feature { program, what });
            }
            Symbol::Stub(Stub::ObjectLoad) => {
                let program = unit.verified.program().name.clone();
                return Err(AotError::Feature { program, what: "allocated objects" });
            }
            Symbol::Stub(Stub::MapIterate) => {
                let program = unit.verified.program().name.clone();
                return Err(AotError::Feature { program, what: "a walk over all elements of a map" });
            }
            Symbol::Function(_)
            | Symbol::MapHandle(_)
            | Symbol::MapBase(_)
            | Symbol::Stub(Stub::TrapExit) => continue,
        };
        let name = helper_name(unit.verified.program(), id);
        if !HELPERS.contains(&id) && !options.external.contains(&name) {
            return Err(AotError::Helper { program: unit.verified.program().name.clone(), helper: name });
        }
    }
    Ok(())
}

/// The map that a symbol is a part of.
const fn map_of(symbol: Symbol) -> Option<MapSlot> {
    match symbol {
        Symbol::MapHandle(slot) | Symbol::MapBase(slot) | Symbol::Arena(slot) => Some(slot),
        Symbol::Function(_)
        | Symbol::Helper(_)
        | Symbol::MapHelper(..)
        | Symbol::Kfunc(_)
        | Symbol::Stub(_) => None,
    }
}
