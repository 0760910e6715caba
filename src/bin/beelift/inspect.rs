//! `inspect`: what an object holds, and where each of its programs can run.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use object::{Object as _, ObjectSection as _};
use serde_json::{Value, json};

use beelift::Engine;
use beelift::btf::{CoreOutcome, CoreResult, TypeId};
use beelift::elf::{ExternKind, Object, ProgramDef};
use beelift::engine::{Choice, Error};
use beelift::kernel::{LogLevel, OsError};
use beelift::link::Program;
use beelift::runtime::map::{MapDef, MapFlags};
use beelift::runtime::privilege::needed_by_program;

use crate::args;
use crate::failure::Failure;
use crate::features::capabilities;
use crate::kernel::{Side, Verdict};
use crate::output::{self, out};
use crate::source::Opened;
use crate::{names, report};

/// Runs the verb.
pub(crate) fn inspect(args: &args::Inspect, as_json: bool) -> Result<ExitCode, Failure> {
    let opened = Opened::open(&args.source)?;
    let names = opened.chosen_or_all()?;
    let side = Side::create(&opened, None);
    let bar = output::progress(names.len(), "inspecting");
    let mut programs = Vec::with_capacity(names.len());
    for name in &names {
        programs.push(Entry::new(&opened, name, &side));
        bar.inc(1);
    }
    bar.finish_and_clear();
    if as_json {
        out!("{}", json(&opened, &programs));
    } else {
        opened.warn();
        print(&opened, &programs);
    }
    Ok(ExitCode::SUCCESS)
}

/// A program and where it can run.
struct Entry<'a> {
    def: Option<&'a ProgramDef>,
    name: String,
    linked: Result<Linked, Failure>,
}

struct Linked {
    program: Program,
    /// In user space, or why not.
    user: Result<(), String>,
    /// In this kernel, or why not.
    kernel: Result<(), String>,
}

impl<'a> Entry<'a> {
    fn new(opened: &'a Opened, name: &str, side: &Result<Side, OsError>) -> Self {
        let def = opened.object().and_then(|object| object.program(name));
        let linked = opened.link(name).map(|(program, _)| {
            let user = user_space(opened, &program);
            let kernel = in_kernel(opened, name, side);
            Linked { program, user, kernel }
        });
        Self { def, name: name.to_owned(), linked }
    }
}

/// Verifies, compiles and publishes the program, and drops it.
fn user_space(opened: &Opened, program: &Program) -> Result<(), String> {
    let engine = Engine::builder().backend(Choice::Jit).link(opened.link_options()).build();
    let engine = engine.map_err(|error| error.to_string())?;
    let loaded = match opened.object() {
        Some(object) => engine.load_programs(object, &[&program.name]),
        None => engine.load_linked(vec![program.clone()]),
    };
    match loaded {
        Ok(_) => Ok(()),
        Err(Error::Rejected(rejected)) => {
            let place = rejected.line.as_ref().map(|line| format!(" at {}:{}", line.file, line.line));
            let place = place.unwrap_or_else(|| format!(" at instruction {}", rejected.at.0));
            Err(format!("rejected: {}{place}", rejected.reason))
        }
        Err(Error::Unsupported { what, .. }) => Err(format!("not supported: {what}")),
        Err(error) => Err(error.to_string()),
    }
}

/// Loads the program into the kernel, and drops it.
fn in_kernel(opened: &Opened, name: &str, side: &Result<Side, OsError>) -> Result<(), String> {
    let side = side.as_ref().map_err(ToString::to_string)?;
    let linked = opened.link_with(name, &opened.link_options_for_kernel());
    let (program, _) = linked.map_err(|failure| failure.message)?;
    match Verdict::of(side.load(&program, LogLevel::Silent)) {
        Verdict::Accepted { .. } => Ok(()),
        Verdict::Rejected(error) => Err(match &error.log {
            Some(log) => {
                let place = log.line.as_ref().map(|line| format!(" at {}:{}", line.file, line.line));
                format!("rejected: {}{}", log.message, place.unwrap_or_default())
            }
            None => error.to_string(),
        }),
        Verdict::Unknown(error) => Err(error.to_string()),
    }
}

fn print(opened: &Opened, programs: &[Entry<'_>]) {
    out!("{}: {} bytes, read in {} µs", opened.label, opened.bytes.len(), opened.parse.as_micros());
    if let Some(object) = opened.object() {
        out!("licence: {}", if object.license().is_empty() { "none" } else { object.license() });
        let mut table = output::table(["section", "bytes", "kind"]);
        let of_the_debugger =
            |name: &str| [".debug", ".rel.debug", ".llvm"].iter().any(|p| name.starts_with(p));
        for section in sections(&opened.bytes).into_iter().filter(|section| !of_the_debugger(&section.name)) {
            table.add_row([section.name, section.size.to_string(), section.kind]);
        }
        block("Sections", &table);
    }
    for entry in programs {
        print_program(entry);
    }
    let maps = opened.maps();
    if !maps.is_empty() {
        let mut table = output::table(["map", "type", "key", "value", "entries", "flags", "holds"]);
        for def in maps.iter() {
            let types = opened.object().and_then(Object::btf);
            let typed = |size: u32, id: u32| match types {
                Some(btf) if id != 0 => format!("{} ({size})", btf.type_name(TypeId(id))),
                _ => size.to_string(),
            };
            table.add_row([
                def.name.clone(),
                def.kind.name().to_owned(),
                typed(def.key_size, def.btf_key),
                typed(def.value_size, def.btf_value),
                def.max_entries.to_string(),
                flags(def.flags),
                holds(def),
            ]);
        }
        block("Maps", &table);
    }
    let Some(object) = opened.object() else { return };
    if !object.globals().is_empty() {
        let mut table = output::table(["global", "map", "offset", "type", "value"]);
        for global in object.globals() {
            let def = &maps[global.map.0 as usize];
            table.add_row([
                global.name.clone(),
                def.name.clone(),
                global.offset.to_string(),
                object.btf().map_or_else(String::new, |btf| btf.type_name(global.btf_type)),
                initial(object, global).unwrap_or_default(),
            ]);
        }
        block("Globals", &table);
    }
    if !object.externs().is_empty() {
        let mut table = output::table(["extern", "kind", "weak", "value"]);
        for symbol in object.externs() {
            let (kind, value) = extern_words(symbol.kind, symbol.set);
            table.add_row([symbol.name.as_str(), kind, if symbol.weak { "weak" } else { "" }, value]);
        }
        block("Externs", &table);
    }
}

fn print_program(entry: &Entry<'_>) {
    out!("");
    out!("Program {}", entry.name);
    let row = |name: &str, value: &str| {
        if !value.is_empty() {
            out!("  {name:<14}{value}");
        }
    };
    if let Some(def) = entry.def {
        row("section", &def.section);
        row("attaches to", def.attach_target.as_deref().unwrap_or_default());
        row("loads", if def.autoload { "" } else { "only when asked for by name" });
    }
    let linked = match &entry.linked {
        Ok(linked) => linked,
        Err(failure) => {
            row("error", &failure.message);
            row("", failure.hint.as_deref().unwrap_or_default());
            return;
        }
    };
    let program = &linked.program;
    let guessed = if entry.def.is_some_and(|def| def.guessed) { " (a guess)" } else { "" };
    row("type", &format!("{}{guessed}", program.prog_type));
    row(
        "attach type",
        &if program.attach_type == 0 { String::new() } else { program.attach_type.to_string() },
    );
    row("flags", &if program.prog_flags == 0 { String::new() } else { format!("{:#x}", program.prog_flags) });
    let subprograms: Vec<&str> = program.subprograms.iter().skip(1).map(|sub| sub.name.as_str()).collect();
    row("instructions", &program.insns.len().to_string());
    row("subprograms", &subprograms.join(", "));
    let helpers: Vec<String> = names::helpers(program).into_iter().map(names::helper_name).collect();
    row("helpers", &helpers.join(", "));
    let kfuncs: Vec<&str> = program.kfuncs.iter().map(|kfunc| kfunc.name.as_str()).collect();
    row("kfuncs", &kfuncs.join(", "));
    row("capabilities", &needed_by_program(program.prog_type).to_string());
    row("user space", linked.user.as_ref().map_or_else(String::as_str, |()| "yes"));
    row("kernel", linked.kernel.as_ref().map_or_else(String::as_str, |()| "yes"));
    if program.relocations.is_empty() {
        return;
    }
    out!("  CO-RE relocations");
    let mut table = output::table(["   insn", "asks", "about", "answered by", "outcome"]);
    for outcome in &program.relocations {
        let pc = program.pcs.get(outcome.insn.index()).map_or(0, |pc| pc.0);
        table.add_row([
            format!("   {pc}"),
            outcome.kind.name().to_owned(),
            outcome.subject.clone(),
            outcome.source.as_ref().map_or_else(|| "nobody".to_owned(), ToString::to_string),
            outcome_words(outcome),
        ]);
    }
    lines(&table);
}

fn outcome_words(outcome: &CoreOutcome) -> String {
    match &outcome.result {
        CoreResult::Resolved { from, to } if from == to => to.to_string(),
        CoreResult::Resolved { from, to } => format!("{to} (was {from})"),
        CoreResult::Poisoned { why } => format!("must not be reached: {why}"),
    }
}

fn extern_words(kind: ExternKind, set: bool) -> (&'static str, &'static str) {
    match kind {
        ExternKind::Kconfig { .. } => ("kernel configuration", if set { "set" } else { "not set" }),
        ExternKind::Ksym => ("kernel symbol", ""),
        ExternKind::Kfunc => ("kfunc", ""),
    }
}

fn flags(flags: MapFlags) -> String {
    let names: Vec<String> = flags.iter_names().map(|(name, _)| name.to_ascii_lowercase()).collect();
    names.join(" ")
}

fn holds(def: &MapDef) -> String {
    if let Some(inner) = &def.inner {
        return format!("maps of type {}", inner.kind);
    }
    let mut words = Vec::new();
    if def.frozen {
        words.push("constants".to_owned());
    }
    if def.pin_by_name {
        words.push("pinned by name".to_owned());
    }
    words.extend(def.fields.iter().map(|field| format!("{:?} at {}", field.kind, field.offset)));
    words.join(", ")
}

/// The initial value of a global, as text.
fn initial(object: &Object, global: &beelift::elf::Global) -> Option<String> {
    let def = &object.maps()[global.map.0 as usize];
    let (start, end) = (global.offset as usize, (global.offset + global.size) as usize);
    let zeros = vec![0; global.size as usize];
    let bytes = match &def.initial {
        Some(bytes) => bytes.get(start..end)?,
        None => &zeros,
    };
    let text = object.btf()?.format_value(global.btf_type, bytes)?;
    Some(if text.chars().count() > 60 {
        format!("{}…", text.chars().take(59).collect::<String>())
    } else {
        text
    })
}

struct Section {
    name: String,
    size: u64,
    kind: String,
}

/// The file's own sections; the object has been read already, so that it can be read again.
fn sections(bytes: &[u8]) -> Vec<Section> {
    let Ok(file) = object::File::parse(bytes) else { return Vec::new() };
    file.sections()
        .map(|section| Section {
            name: String::from_utf8_lossy(section.name_bytes().unwrap_or_default()).into_owned(),
            size: section.size(),
            kind: format!("{:?}", section.kind()).to_ascii_lowercase(),
        })
        .collect()
}

fn block(title: &str, table: &comfy_table::Table) {
    out!("");
    out!("{title}");
    lines(table);
}

fn lines(table: &comfy_table::Table) {
    for line in table.trim_fmt().lines() {
        out!("{line}");
    }
}

fn json(opened: &Opened, programs: &[Entry<'_>]) -> Value {
    let object = opened.object();
    let sections: Vec<Value> = sections(&opened.bytes)
        .into_iter()
        .map(|section| json!({ "name": section.name, "size": section.size, "kind": section.kind }))
        .collect();
    let maps: Vec<Value> = opened.maps().iter().map(|def| map_json(object, def)).collect();
    let globals: Vec<Value> = object
        .map(Object::globals)
        .unwrap_or_default()
        .iter()
        .map(|global| {
            json!({
                "name": global.name,
                "map": opened.maps()[global.map.0 as usize].name,
                "offset": global.offset,
                "size": global.size,
                "type": object.and_then(Object::btf).map(|btf| btf.type_name(global.btf_type)),
                "value": object.and_then(|object| initial(object, global)),
            })
        })
        .collect();
    let externs: Vec<Value> = object
        .map(Object::externs)
        .unwrap_or_default()
        .iter()
        .map(|symbol| {
            let (kind, _) = extern_words(symbol.kind, symbol.set);
            json!({ "name": symbol.name, "kind": kind, "weak": symbol.weak, "set": symbol.set })
        })
        .collect();
    let warnings: Vec<String> =
        object.map(Object::warnings).unwrap_or_default().iter().map(ToString::to_string).collect();
    json!({
        "schema": 1,
        "object": opened.label,
        "bytes": opened.bytes.len(),
        "license": object.map(Object::license),
        "sections": sections,
        "programs": programs.iter().map(program_json).collect::<Vec<_>>(),
        "maps": maps,
        "globals": globals,
        "externs": externs,
        "warnings": warnings,
    })
}

fn map_json(object: Option<&Object>, def: &MapDef) -> Value {
    let type_name = |id: u32| {
        let btf = object.and_then(Object::btf).filter(|_| id != 0)?;
        Some(btf.type_name(TypeId(id)))
    };
    json!({
        "name": def.name,
        "type": def.kind.name(),
        "key_size": def.key_size,
        "value_size": def.value_size,
        "max_entries": def.max_entries,
        "flags": def.flags.bits(),
        "key_type": type_name(def.btf_key),
        "value_type": type_name(def.btf_value),
        "frozen": def.frozen,
        "pin_by_name": def.pin_by_name,
        "inner": def.inner.as_ref().map(|inner| map_json(object, inner)),
    })
}

fn program_json(entry: &Entry<'_>) -> Value {
    let mut value = json!({
        "program": entry.name,
        "section": entry.def.map(|def| def.section.as_str()),
        "autoload": entry.def.map(|def| def.autoload),
        "attach_target": entry.def.and_then(|def| def.attach_target.as_deref()),
    });
    let linked = match &entry.linked {
        Ok(linked) => linked,
        Err(failure) => {
            value["error"] = failure.json();
            return value;
        }
    };
    let program = &linked.program;
    let helpers: Vec<String> = names::helpers(program).into_iter().map(names::helper_name).collect();
    let place =
        |answer: &Result<(), String>| json!({ "runs": answer.is_ok(), "why_not": answer.as_ref().err() });
    value["type"] = json!(program.prog_type.name());
    value["attach_type"] = json!(program.attach_type);
    value["flags"] = json!(program.prog_flags);
    value["insns"] = json!(program.insns.len());
    value["subprograms"] = json!(program.subprograms.iter().skip(1).map(|sub| &sub.name).collect::<Vec<_>>());
    value["helpers"] = json!(helpers);
    value["kfuncs"] = json!(program.kfuncs.iter().map(|kfunc| &kfunc.name).collect::<Vec<_>>());
    value["capabilities"] = json!(capabilities(needed_by_program(program.prog_type)));
    value["user"] = place(&linked.user);
    value["kernel"] = place(&linked.kernel);
    let relocations = program.relocations.iter().map(|outcome| relocation_json(program, outcome));
    value["relocations"] = Value::Array(relocations.collect());
    value
}

fn relocation_json(program: &Program, outcome: &CoreOutcome) -> Value {
    let (from, to, poisoned) = match &outcome.result {
        CoreResult::Resolved { from, to } => (Some(from), Some(to), None),
        CoreResult::Poisoned { why } => (None, None, Some(why)),
    };
    json!({
        "pc": program.pcs.get(outcome.insn.index()).map(|pc| pc.0),
        "kind": outcome.kind.name(),
        "subject": outcome.subject,
        "answered_by": outcome.source.as_ref().map(ToString::to_string),
        "from": from,
        "to": to,
        "poisoned": poisoned,
        "source": program.line_of(outcome.insn).map(report::line_json),
    })
}
