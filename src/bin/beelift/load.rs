//! `load`: programs into the running kernel on purpose, pinned and attached.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use beelift::kernel::{AttachPoint, KernelLink, KernelProgram, LogLevel, OsError, unpin};

use crate::args;
use crate::failure::Failure;
use crate::kernel::{Side, failure, refusal};
use crate::output::{out, say};
use crate::source::Opened;

/// Runs the verb.
pub(crate) fn load(args: &args::Load, as_json: bool) -> Result<ExitCode, Failure> {
    let point = args.attach.as_deref().map(str::parse::<AttachPoint>).transpose().map_err(Failure::usage)?;
    let opened = Opened::open(&args.source)?;
    let names = match &point {
        Some(_) => vec![opened.the_one()?],
        None => opened.chosen()?,
    };
    if !as_json {
        opened.warn();
    }
    let map_pins = args.pin.as_deref().map(|directory| directory.join("maps"));
    let side = Side::create(&opened, map_pins.as_deref()).map_err(|error| failure(&error))?;
    let options = opened.link_options_for_kernel();
    let mut programs = Vec::with_capacity(names.len());
    for name in &names {
        let (program, _) = opened.link_with(name, &options)?;
        let loaded = side.load(&program, LogLevel::Silent);
        programs.push(loaded.map_err(|error| refusal(&program, &error))?);
    }
    side.fill(&opened, &programs).map_err(|error| failure(&error))?;
    let link = match &point {
        Some(point) => Some(programs[0].attach(point).map_err(|error| failure(&error))?),
        None => None,
    };
    let mut pins = Pins::default();
    if let Some(directory) = &args.pin {
        pins.pin_all(directory, &opened, &side, &programs, link.as_ref()).map_err(|error| {
            pins.undo();
            failure(&error)
        })?;
    }
    tell(&programs, &pins, point.as_ref(), as_json);
    match (&link, &args.pin) {
        (Some(link), None) => stay(link),
        (Some(_) | None, Some(_)) => {}
        (None, None) if !as_json => {
            say!("nothing holds them now: they are gone with this process (--pin or --attach keeps them)");
        }
        (None, None) => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// An attachment without a pin lives as long as this process.
fn stay(_link: &KernelLink) -> ! {
    say!("attached until this process ends (Ctrl-C)");
    loop {
        std::thread::park();
    }
}

/// Names given in the BPF file system.
#[derive(Default)]
struct Pins(Vec<PathBuf>);

impl Pins {
    fn pin_all(
        &mut self,
        directory: &Path,
        opened: &Opened,
        side: &Side,
        programs: &[KernelProgram],
        link: Option<&KernelLink>,
    ) -> Result<(), OsError> {
        for program in programs {
            self.pin(directory.join(file_name(program.name())), |path| program.pin(path))?;
        }
        // The kernel keeps only the first 15 bytes of a name.
        for (map, def) in side.maps.iter().zip(opened.maps().iter()) {
            let path = directory.join("maps").join(file_name(&def.name));
            // One that asked to be pinned by name is there already.
            if !path.exists() {
                self.pin(path, |path| map.pin(path))?;
            }
        }
        if let Some(link) = link {
            let name = programs.first().map_or("program", KernelProgram::name);
            self.pin(directory.join(format!("{}_link", file_name(name))), |path| link.pin(path))?;
        }
        Ok(())
    }

    fn pin(&mut self, path: PathBuf, pin: impl Fn(&Path) -> Result<(), OsError>) -> Result<(), OsError> {
        pin(&path)?;
        self.0.push(path);
        Ok(())
    }

    /// Takes away what was pinned: all or nothing.
    fn undo(&mut self) {
        for path in self.0.drain(..) {
            if let Err(error) = unpin(&path) {
                say!("warning: {error}");
            }
        }
    }
}

/// A BPF file system keeps names with dots for itself.
fn file_name(name: &str) -> String {
    name.replace('.', "_")
}

fn tell(programs: &[KernelProgram], pins: &Pins, point: Option<&AttachPoint>, as_json: bool) {
    let infos = programs.iter().map(|program| (program, program.info().ok()));
    if as_json {
        let programs: Vec<Value> = infos
            .map(|(program, info)| {
                json!({
                    "program": program.name(),
                    "type": program.prog_type().name(),
                    "id": info.as_ref().map(|info| info.id),
                    "native_bytes": info.as_ref().map(|info| info.native_len),
                    "verified_insns": info.as_ref().map(|info| info.verified_insns),
                })
            })
            .collect();
        let pins: Vec<String> = pins.0.iter().map(|path| path.display().to_string()).collect();
        let attached = point.map(ToString::to_string);
        out!("{}", json!({ "schema": 1, "programs": programs, "pins": pins, "attached": attached }));
        return;
    }
    for (program, info) in infos {
        let details = info.map(|info| {
            format!(
                ", id {}, {} bytes of native code, {} instructions verified",
                info.id, info.native_len, info.verified_insns
            )
        });
        out!("{} ({}): loaded{}", program.name(), program.prog_type(), details.unwrap_or_default());
    }
    if let Some(point) = point {
        out!("attached to {point}");
    }
    for path in &pins.0 {
        out!("pinned {}", path.display());
    }
}
