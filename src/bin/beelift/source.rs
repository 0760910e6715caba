//! The object on the command line: reading it in all its forms, choosing programs, linking them.
//!
//! In: [`args::Source`]. Out: [`Opened`] with the time that reading took, and linked programs. Errors carry the
//! place. Not here: verification and everything after it.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use beelift::btf::{Btf, CoreTarget};
use beelift::elf::{ElfError, Object};
use beelift::isa::Slot;
use beelift::link::{self, AssembleError, LinkError, LinkOptions, Program};
use beelift::runtime::MapDef;
use beelift::runtime::ctx::{ContextLayout, FieldKind, ProgramType};
use beelift::runtime::helper;

use crate::args;
use crate::failure::{Failure, Kind};
use crate::output::say;
use crate::{global, input};

/// Longest input that is read: objects are small, devices are endless.
const LONGEST: u64 = 256 << 20;

/// What the command line named, read.
pub(crate) struct Opened {
    /// As it was given.
    pub(crate) label: String,
    /// How long reading took, without the time of the disk.
    pub(crate) parse: Duration,
    /// Bytes of the file.
    pub(crate) bytes: Vec<u8>,
    form: Form,
    program: Option<String>,
    section: Option<String>,
    prog_type: Option<ProgramType>,
    btf: Option<CoreTarget>,
}

enum Form {
    Object(Box<Object>),
    /// Assembly: one program, linked already.
    Program(Box<Program>),
    /// Raw instructions, not decoded yet: bad ones are the verifier's business.
    Raw {
        prog_type: ProgramType,
        slots: Vec<Slot>,
        maps: Arc<[MapDef]>,
    },
}

/// Name of the program that raw instructions are.
const RAW_NAME: &str = "main";

impl Opened {
    /// Reads the object, sets globals.
    pub(crate) fn open(source: &args::Source) -> Result<Self, Failure> {
        let prog_type = source.prog_type.as_deref().map(program_type).transpose()?;
        let label = source.object.clone();
        let at = |failure: Failure| failure.at(&label);
        let (form, bytes, parse) = if let Some(hex) = label.strip_prefix("hex:") {
            let bytes = input::from_hex(hex)?;
            let start = Instant::now();
            (raw(&bytes, prog_type).map_err(at)?, bytes, start.elapsed())
        } else {
            let bytes = read(Path::new(&label))?;
            let start = Instant::now();
            let form = match Path::new(&label).extension().and_then(|extension| extension.to_str()) {
                Some("s") => assembly(&label, &bytes, prog_type),
                Some("bin") => raw(&bytes, prog_type),
                Some(_) | None => Object::parse(&bytes).map(|o| Form::Object(Box::new(o))).map_err(broken),
            };
            (form.map_err(at)?, bytes, start.elapsed())
        };
        let btf = source.btf.as_deref().map(types).transpose()?;
        let (program, section) = (source.program.clone(), source.section.clone());
        let mut opened = Self { label, parse, bytes, form, program, section, prog_type, btf };
        for assignment in &source.set {
            opened.set(assignment)?;
        }
        // What nobody set is as this machine has it.
        if let Form::Object(object) = &mut opened.form {
            beelift::kernel::configure(object);
        }
        Ok(opened)
    }

    fn set(&mut self, assignment: &str) -> Result<(), Failure> {
        match &mut self.form {
            Form::Object(object) => global::set(object, assignment),
            Form::Program(_) | Form::Raw { .. } => {
                Err(Failure::usage("--set: only ELF objects have global variables"))
            }
        }
    }

    /// The ELF object, when it is one.
    pub(crate) fn object(&self) -> Option<&Object> {
        match &self.form {
            Form::Object(object) => Some(object),
            Form::Program(_) | Form::Raw { .. } => None,
        }
    }

    /// Map definitions.
    pub(crate) fn maps(&self) -> &Arc<[MapDef]> {
        match &self.form {
            Form::Object(object) => object.maps(),
            Form::Program(program) => &program.maps,
            Form::Raw { maps, .. } => maps,
        }
    }

    /// Linking for user space.
    pub(crate) fn link_options(&self) -> LinkOptions {
        self.with_types(LinkOptions::default())
    }

    /// Linking for the running kernel: its own types, unless a file is given.
    pub(crate) fn link_options_for_kernel(&self) -> LinkOptions {
        self.with_types(LinkOptions::for_kernel())
    }

    fn with_types(&self, defaults: LinkOptions) -> LinkOptions {
        let core_targets = match &self.btf {
            Some(types) => vec![types.clone()],
            None => defaults.core_targets,
        };
        LinkOptions { core_targets, prog_type: self.prog_type, ..defaults }
    }

    /// Names of the programs asked for; without `-p` and `-s` those that load by themselves.
    pub(crate) fn chosen(&self) -> Result<Vec<String>, Failure> {
        let object = match &self.form {
            Form::Object(object) => object,
            Form::Program(program) => return self.chosen_of_one(&program.name),
            Form::Raw { .. } => return self.chosen_of_one(RAW_NAME),
        };
        let names: Vec<String> = match (&self.program, &self.section) {
            // With a type, any function can be a program: linking finds it or not.
            (Some(name), _) if self.prog_type.is_some() || object.program(name).is_some() => {
                vec![name.clone()]
            }
            (Some(name), _) => {
                return Err(self.no_such(format!("no program `{name}`")));
            }
            (None, Some(section)) => {
                let wanted = section.trim_start_matches('?');
                let programs = object.programs().iter().filter(|program| program.section == wanted);
                programs.map(|program| program.name.clone()).collect()
            }
            (None, None) => {
                let programs = object.programs().iter().filter(|program| program.autoload);
                programs.map(|program| program.name.clone()).collect()
            }
        };
        match &self.section {
            Some(section) if names.is_empty() => {
                Err(self.no_such(format!("no program in section `{section}`")))
            }
            None if names.is_empty() => Err(self.no_such("no program that loads by itself".to_owned())),
            _ => Ok(names),
        }
    }

    /// The programs asked for; without `-p` and `-s` all of them.
    pub(crate) fn chosen_or_all(&self) -> Result<Vec<String>, Failure> {
        match &self.form {
            Form::Object(object) if self.program.is_none() && self.section.is_none() => {
                Ok(object.programs().iter().map(|program| program.name.clone()).collect())
            }
            Form::Object(_) | Form::Program(_) | Form::Raw { .. } => self.chosen(),
        }
    }

    fn chosen_of_one(&self, only: &str) -> Result<Vec<String>, Failure> {
        match &self.program {
            Some(name) if name != only => Err(self.no_such(format!("no program `{name}`"))),
            Some(_) | None => Ok(vec![only.to_owned()]),
        }
    }

    fn no_such(&self, message: String) -> Failure {
        let names: Vec<String> = match &self.form {
            Form::Object(object) => {
                object.programs().iter().map(|p| format!("{} ({})", p.name, p.section)).collect()
            }
            Form::Program(program) => vec![program.name.clone()],
            Form::Raw { .. } => vec![RAW_NAME.to_owned()],
        };
        let hint = if names.is_empty() {
            "there is no program in it: put a function in a section like SEC(\"xdp\")".to_owned()
        } else {
            format!("there are: {}", names.join(", "))
        };
        Failure::failure(message).at(&self.label).hint(hint)
    }

    /// The one program asked for.
    pub(crate) fn the_one(&self) -> Result<String, Failure> {
        let mut names = self.chosen()?;
        match names.pop() {
            Some(name) if names.is_empty() => Ok(name),
            last => {
                names.extend(last);
                Err(Failure::usage(format!("{} programs here: choose one with -p", names.len()))
                    .at(&self.label)
                    .hint(format!("there are: {}", names.join(", "))))
            }
        }
    }

    /// Links a program for user space; how long that took.
    pub(crate) fn link(&self, name: &str) -> Result<(Program, Duration), Failure> {
        self.link_with(name, &self.link_options())
    }

    /// Links a program; how long that took.
    pub(crate) fn link_with(
        &self,
        name: &str,
        options: &LinkOptions,
    ) -> Result<(Program, Duration), Failure> {
        self.try_link(name, options).map_err(|error| self.unlinked(name, &error))
    }

    /// Links a program; how long that took.
    pub(crate) fn try_link(
        &self,
        name: &str,
        options: &LinkOptions,
    ) -> Result<(Program, Duration), LinkError> {
        let start = Instant::now();
        let program = match &self.form {
            Form::Object(object) => link::link(object, name, options)?,
            Form::Program(program) => (**program).clone(),
            Form::Raw { prog_type, slots, maps } => Program::from_slots(*prog_type, slots, Arc::clone(maps))?,
        };
        Ok((program, start.elapsed()))
    }

    /// Why a program could not be linked, for a person.
    pub(crate) fn unlinked(&self, name: &str, error: &LinkError) -> Failure {
        let kind = if is_malformed(error) { Kind::Rejected } else { Kind::Failure };
        let failure = Failure::new(kind, error).at(format!("{}: program {name}", self.label));
        match error {
            LinkError::UnknownType { .. } => failure.hint("name the type with --type"),
            LinkError::ConfigUnset { name, .. } => failure.hint(format!("set it with --set {name}=VALUE")),
            _ => failure,
        }
    }

    /// Says on stderr what was odd in the object.
    pub(crate) fn warn(&self) {
        for warning in self.object().map(Object::warnings).unwrap_or_default() {
            say!("warning: {}: {warning}", self.label);
        }
    }
}

/// Whether the program runs on packets.
pub(crate) fn has_packet(program: &Program) -> bool {
    match program.layout() {
        ContextLayout::Fields { fields, .. } => {
            fields.iter().any(|field| matches!(field.kind, FieldKind::PacketData))
        }
        ContextLayout::Raw { .. } | ContextLayout::Memory | ContextLayout::Kernel => false,
    }
}

/// Reads a file that may be a pipe, up to a limit.
fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let at = |error: std::io::Error| Failure::failure(error).at(path.display());
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(at)?;
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Err(Failure::failure("it is a directory").at(path.display()).hint(ABOUT_OBJECTS));
    }
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(at)?;
    if bytes.is_empty() {
        return Err(Failure::failure("the file is empty").at(path.display()).hint(ABOUT_OBJECTS));
    }
    if bytes.len() as u64 > LONGEST {
        return Err(Failure::failure(format!("longer than {} MiB", LONGEST >> 20)).at(path.display()));
    }
    Ok(bytes)
}

const ABOUT_OBJECTS: &str =
    "an object is what `clang --target=bpf -O2 -g -c` writes; assembly ends in .s, raw bytes in .bin";

fn broken(error: ElfError) -> Failure {
    let kind = if matches!(error, ElfError::Unsupported { .. }) { Kind::Unsupported } else { Kind::Failure };
    let failure = Failure::new(kind, &error);
    match error {
        ElfError::NotElf { .. } | ElfError::WrongMachine { .. } => failure.hint(ABOUT_OBJECTS),
        _ => failure,
    }
}

/// Whether the program holds something that no verifier lets through, as opposed to a broken object.
pub(crate) fn is_malformed(error: &LinkError) -> bool {
    matches!(error, LinkError::Decode(_) | LinkError::NoSuchSlot { .. } | LinkError::Empty)
}

fn assembly(label: &str, bytes: &[u8], prog_type: Option<ProgramType>) -> Result<Form, Failure> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Failure::failure(format!("not text: byte {}", error.valid_up_to())))?;
    let number = |name: &str| helper::by_name(name).map(|helper| helper.id);
    match Program::assemble(needed(prog_type)?, text, number) {
        Ok(mut program) => {
            let file: Arc<str> = label.into();
            program.lines.iter_mut().for_each(|line| line.file = Arc::clone(&file));
            Ok(Form::Program(Box::new(program)))
        }
        Err(error @ AssembleError::UndefinedMap(_)) => {
            Err(Failure::failure(error).hint("write a line like `.map counts hash key=4 value=8 entries=16`"))
        }
        Err(AssembleError::Link(error)) if is_malformed(&error) => Err(Failure::new(Kind::Rejected, error)),
        Err(error) => Err(Failure::failure(error)),
    }
}

fn raw(bytes: &[u8], prog_type: Option<ProgramType>) -> Result<Form, Failure> {
    let prog_type = needed(prog_type)?;
    let Some(slots) = Slot::from_bytes(bytes) else {
        return Err(Failure::failure(format!(
            "{} bytes are no whole number of instructions of 8 bytes",
            bytes.len()
        )));
    };
    Ok(Form::Raw { prog_type, slots, maps: Vec::new().into() })
}

fn needed(prog_type: Option<ProgramType>) -> Result<ProgramType, Failure> {
    prog_type.ok_or_else(|| Failure::usage("assembly and raw bytes need --type (`xdp`, `memory`, …)"))
}

/// A program type by its name, or by the section names that people know.
fn program_type(name: &str) -> Result<ProgramType, Failure> {
    let lower = name.to_ascii_lowercase();
    let wanted = match lower.as_str() {
        "tc" | "classifier" | "tcx" => "sched_cls",
        "socket" => "socket_filter",
        other => other,
    };
    // The last one is for programs that declare what it is.
    let possible = |kind: &&ProgramType| !matches!(kind, ProgramType::Unspec | ProgramType::Host);
    let mut known = ProgramType::ALL.iter().filter(possible);
    known.clone().find(|kind| kind.name() == wanted).copied().ok_or_else(|| {
        let known: Vec<&str> = known.by_ref().map(|kind| kind.name()).collect();
        Failure::usage(format!("--type: no program type `{name}`"))
            .hint(format!("known are: {}", known.join(", ")))
    })
}

fn types(path: &Path) -> Result<CoreTarget, Failure> {
    File::open(path).map_err(|error| Failure::failure(error).at(path.display()))?;
    let btf = Btf::read(path).map_err(|error| {
        Failure::failure(error).at(path.display()).hint("--btf takes BTF, raw or in an ELF file")
    })?;
    Ok(CoreTarget::Types(Arc::new(btf), path.display().to_string()))
}
