//! Asking the running kernel: an object's maps and programs loaded there, refusals as failures.
//!
//! In: an opened object. Out: [`Side`], which loads its programs; verdicts. Not here: pins and attachments
//! (`load`), test runs (the library's engine).
#![forbid(unsafe_code)]

use std::path::Path;

use beelift::elf::MapEntry;
use beelift::kernel::{
    self, Errno, Hint, KernelBtf, KernelMap, KernelProgram, KernelSymbols, LoadOptions, LogLevel,
    MapSetOptions, OsError,
};
use beelift::link::Program;

use crate::failure::{Failure, Kind};
use crate::report;
use crate::source::Opened;

/// An object's maps in the kernel.
pub(crate) struct Side {
    btf: Option<KernelBtf>,
    symbols: KernelSymbols,
    pub(crate) maps: Vec<KernelMap>,
}

impl Side {
    /// Creates the maps; those that ask for it are found or pinned in `pins`.
    pub(crate) fn create(opened: &Opened, pins: Option<&Path>) -> Result<Self, OsError> {
        let types = opened.object().and_then(|object| object.btf());
        // Types only explain: a program loads without them where the kernel does not take them.
        let btf = types.and_then(|btf| KernelBtf::load(&btf.to_kernel_bytes()).ok());
        let options = MapSetOptions { btf: btf.as_ref(), pin_directory: pins };
        let maps = kernel::create_maps(opened.maps(), options)?;
        Ok(Self { btf, symbols: KernelSymbols::default(), maps })
    }

    /// Loads a program.
    pub(crate) fn load(&self, program: &Program, log: LogLevel) -> Result<KernelProgram, OsError> {
        let (btf, symbols) = (self.btf.as_ref(), Some(&self.symbols));
        let options = LoadOptions { btf, symbols, log, ..LoadOptions::default() };
        KernelProgram::load(program, &self.maps, options)
    }

    /// Puts inner maps and the programs that are loaded into the maps that hold them from the start.
    pub(crate) fn fill(&self, opened: &Opened, programs: &[KernelProgram]) -> Result<(), OsError> {
        let entries = opened.object().map(|object| object.map_entries()).unwrap_or_default();
        for (slot, entry) in entries {
            let holder = &self.maps[slot.0 as usize];
            match entry {
                MapEntry::Map { index, map } => {
                    holder.update_map(&index.to_ne_bytes(), &self.maps[map.0 as usize], 0)?;
                }
                MapEntry::Program { index, program } => {
                    if let Some(target) = programs.iter().find(|loaded| loaded.name() == program) {
                        holder.update_program(&index.to_ne_bytes(), target, 0)?;
                    }
                }
                // Maps of callbacks are refused on creation.
                MapEntry::Callback { .. } => {}
            }
        }
        Ok(())
    }
}

/// What the kernel thinks of a program.
pub(crate) enum Verdict {
    Accepted {
        /// Its verifier's steps or statistics, as asked.
        log: String,
    },
    Rejected(Box<OsError>),
    /// It could not be asked, or lacks what the program needs.
    Unknown(Box<OsError>),
}

impl Verdict {
    /// From the result of a load.
    pub(crate) fn of(loaded: Result<KernelProgram, OsError>) -> Self {
        match loaded {
            Ok(program) => Self::Accepted { log: program.log().to_owned() },
            Err(error) if kind(&error) == Kind::Rejected => Self::Rejected(Box::new(error)),
            Err(error) => Self::Unknown(Box::new(error)),
        }
    }

    /// Word for it in JSON and text.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Accepted { .. } => "accepted",
            Self::Rejected(_) => "rejected",
            Self::Unknown(error) if error.is_not_permitted() => "not_permitted",
            Self::Unknown(_) => "unsupported",
        }
    }

    /// The kernel's words.
    pub(crate) fn log(&self) -> String {
        match self {
            Self::Accepted { log } => log.clone(),
            Self::Rejected(error) | Self::Unknown(error) => {
                error.log.as_ref().map_or_else(|| error.to_string(), |log| log.text.clone())
            }
        }
    }
}

/// Which exit status a refusal has.
pub(crate) fn kind(error: &OsError) -> Kind {
    match error.hint {
        Hint::Rejected | Hint::TooComplex => Kind::Rejected,
        Hint::MissingCapabilities(_)
        | Hint::ForbiddenByKernel
        | Hint::NoBpf
        | Hint::ProgramTypeMissing(_)
        | Hint::AttachType(..)
        | Hint::ProgramTypeIsOurs(_)
        | Hint::MapTypeOrAttributes(_)
        | Hint::MapOperation(_)
        | Hint::AttributeUnknown
        | Hint::NoTestRun(_)
        | Hint::KfuncMissing(_)
        | Hint::SymbolMissing(_)
        | Hint::Unsupported(_) => Kind::Unsupported,
        Hint::None if matches!(error.errno, Errno::EPERM | Errno::EACCES) => Kind::Unsupported,
        _ => Kind::Failure,
    }
}

/// A refusal that is not about one program.
pub(crate) fn failure(error: &OsError) -> Failure {
    let failure = Failure::new(kind(error), error);
    match (&error.hint, error.errno) {
        (Hint::None, Errno::EPERM | Errno::EACCES) => {
            failure.hint("run it as root, or let the owner of the path allow it")
        }
        (Hint::None, Errno::ENOENT) => failure.hint("`beelift map list` shows what is in the kernel"),
        (Hint::TargetMissing(_), _) => {
            failure.hint("`ip link` lists interfaces; a cgroup is a directory below /sys/fs/cgroup")
        }
        _ => failure,
    }
}

/// A refusal of a program, as a report on stderr and a failure.
pub(crate) fn refusal(program: &Program, error: &OsError) -> Failure {
    let failure = Failure::new(kind(error), error);
    if error.log.is_some() { failure.with_report(report::refused(program, error)) } else { failure }
}
