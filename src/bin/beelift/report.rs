//! Rejections, the kernel's refusals and traps as reports for a person, and as JSON.
//!
//! In: data of the library and the program it is about. Out: text with the source line, the instruction and what
//! would help; JSON of the same. Not here: what is printed where.
#![forbid(unsafe_code)]

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde_json::{Value, json};

use beelift::engine::witness::Witness;
use beelift::isa::{InsnId, Pc, effects};
use beelift::kernel::{OsError, VerifierLog};
use beelift::link::{LineInfo, Program, Trap};
use beelift::verify::Rejected;

use crate::input::to_hex;
use crate::{names, output, replay};

/// Branches of the path that are shown.
const SHOWN_PATH: usize = 8;

/// A rejection for a person. The witness comes with the command that shows it.
pub(crate) fn rejected(program: &Program, rejected: &Rejected, witness: Option<(&Witness, &str)>) -> String {
    let mut report = Report::new(rejected.reason.to_string(), Some(rejected.reason.code()));
    report.line = rejected.line.clone();
    report.note(place(program, rejected.insn_id, rejected.at));
    let registers = registers_that_matter(program, rejected);
    if !registers.is_empty() {
        let origin = |name: &str| {
            let (_, pc) = rejected.origins.iter().find(|(reg, _)| reg.to_string() == name)?;
            let insn = program.insn_at(*pc)?;
            let line = program.line_of(insn).map(|line| format!(", line {}", line.line)).unwrap_or_default();
            Some(format!("\n    since instruction {}{line}: {}", pc.0, names::insn(program, insn)))
        };
        let lines: Vec<String> = registers
            .iter()
            .map(|(name, value)| format!("{name}: {value}{}", origin(name).unwrap_or_default()))
            .collect();
        report.note(format!("before it:\n{}", lines.join("\n")));
    }
    if !rejected.path.is_empty() {
        report.note(path(program, &rejected.path));
    }
    if let Some((witness, command)) = witness {
        let what = witness.trap.access().unwrap_or_else(|| witness.trap.kind.to_string());
        let place = if witness.trap.at == rejected.at {
            "here".to_owned()
        } else {
            format!("at instruction {}", witness.trap.at)
        };
        report.note(format!("witness: with this input the interpreter stops {place}: {what}\n{command}"));
    }
    report.help = rejected.help.clone();
    report.render()
}

/// `instruction 12 of `firewall`: r0 = *(u32 *)(r1 +76)`.
fn place(program: &Program, insn: InsnId, at: Pc) -> String {
    // The first one is the program itself.
    let subprogram = program.subprograms.iter().skip(1).rfind(|subprogram| subprogram.entry <= insn);
    let name = subprogram.map_or(program.name.as_str(), |subprogram| subprogram.name.as_str());
    format!("instruction {} of `{name}`: {}", at.0, names::insn(program, insn))
}

/// Registers that the instruction reads, else all of them.
fn registers_that_matter<'a>(program: &Program, rejected: &'a Rejected) -> Vec<&'a (String, String)> {
    let read = program.insns.get(rejected.insn_id.index()).map(|insn| {
        let arguments = effects::RegSet::arguments(5);
        effects::uses(insn, arguments).iter().map(|reg| reg.to_string()).collect::<Vec<_>>()
    });
    let read = read.unwrap_or_default();
    let some: Vec<_> = rejected.registers.iter().filter(|(name, _)| read.contains(name)).collect();
    if some.is_empty() { rejected.registers.iter().collect() } else { some }
}

fn path(program: &Program, path: &[(Pc, bool)]) -> String {
    let skipped = path.len().saturating_sub(SHOWN_PATH);
    let mut text = format!("on the path: {}", if skipped > 0 { "… " } else { "" });
    let steps: Vec<String> = path[skipped..]
        .iter()
        .map(|(pc, taken)| {
            let line = program.insn_at(*pc).and_then(|insn| program.line_of(insn));
            let line = line.map(|line| format!(" (line {})", line.line)).unwrap_or_default();
            format!("{}{line} {}", pc.0, if *taken { "taken" } else { "not taken" })
        })
        .collect();
    text.push_str(&steps.join(", "));
    text
}

/// A witness as JSON.
pub(crate) fn witness_json(witness: &Witness, command: &str) -> Value {
    let mut maps = serde_json::Map::new();
    for fill in &witness.fills {
        let elements = maps.entry(fill.map.clone()).or_insert_with(|| json!([]));
        elements.as_array_mut().expect("made above").push(replay::fill_json(fill));
    }
    json!({
        "packet": to_hex(&witness.input.packet),
        "context": to_hex(&witness.input.context),
        "maps": maps,
        "clock": witness.world.as_ref().map(|world| world.clock_ns),
        "seed": witness.world.as_ref().map(|world| world.random),
        "trap": trap_json(&witness.trap),
        "command": command,
    })
}

/// A rejection as the `reason` of `verify --json`.
pub(crate) fn rejected_json(program: &Program, rejected: &Rejected) -> Value {
    let registers: serde_json::Map<String, Value> =
        rejected.registers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    json!({
        "code": rejected.reason.code(),
        "message": rejected.reason.to_string(),
        "insn": { "pc": rejected.at.0, "text": names::insn(program, rejected.insn_id) },
        "subprogram": rejected.subprogram,
        "source": rejected.line.as_ref().map(line_json),
        "registers": registers,
        "origins": rejected
            .origins
            .iter()
            .map(|(reg, pc)| (reg.to_string(), json!(pc.0)))
            .collect::<serde_json::Map<String, Value>>(),
        "path": rejected.path.iter().map(|(pc, taken)| json!({ "pc": pc.0, "taken": taken })).collect::<Vec<_>>(),
        "help": rejected.help,
    })
}

/// A source line as JSON.
pub(crate) fn line_json(line: &LineInfo) -> Value {
    json!({ "file": &*line.file, "line": line.line, "column": line.column, "text": line.text.trim() })
}

/// What the kernel refused, for a person.
pub(crate) fn refused(program: &Program, error: &OsError) -> String {
    let Some(log) = &error.log else { return format!("error: {error}\n") };
    let title = match log.message.as_str() {
        "" => error.to_string(),
        message => message.to_owned(),
    };
    let mut report = Report::new(title, Some("kernel"));
    report.line = log.line.clone();
    if let (Some(insn), Some(at)) = (log.insn, log.at) {
        report.note(place(program, insn, at));
        let state = last_state(log);
        if !state.is_empty() {
            report.note(format!("before it: {state}"));
        }
    }
    report.note(format!("{} {}: {}", error.op, error.object, error.hint));
    report.render()
}

/// The registers in the log's last line of state (`R0=… R1=…`).
fn last_state(log: &VerifierLog) -> &str {
    let mut states = log.text.lines().filter_map(|line| {
        let state = line.split_once(": R").or_else(|| line.split_once("; R"))?;
        let start = line.len() - state.1.len() - 1;
        line[start..].contains('=').then(|| line[start..].trim())
    });
    states.next_back().unwrap_or_default()
}

/// A trap for a person.
pub(crate) fn trap(trap: &Trap) -> String {
    let mut report = Report::new(trap.kind.to_string(), Some("trap"));
    report.line = trap.source.clone();
    if let Some(access) = trap.access() {
        report.note(access);
    }
    if let Some(panic) = &trap.panic {
        report.note(panic.clone());
    }
    for frame in &trap.backtrace {
        let line = frame.source.as_ref().map(|line| format!(", {}:{}", line.file, line.line));
        report.note(format!(
            "in `{}` at instruction {}{}",
            frame.subprogram,
            frame.at.0,
            line.unwrap_or_default()
        ));
    }
    report.render()
}

/// A trap as the `trap` of JSON.
pub(crate) fn trap_json(trap: &Trap) -> Value {
    let source = |line: &Option<LineInfo>| line.as_ref().map(line_json);
    let backtrace: Vec<Value> = trap
        .backtrace
        .iter()
        .map(|frame| json!({ "subprogram": frame.subprogram, "at": frame.at.0, "source": source(&frame.source) }))
        .collect();
    let access = trap.fault.map(|fault| {
        json!({
            "address": format!("{:#x}", fault.address),
            "len": fault.len,
            "write": fault.write,
            "place": trap.place.as_ref().map(ToString::to_string),
        })
    });
    json!({
        "kind": trap.kind.name(),
        "message": trap.kind.to_string(),
        "at": trap.at.0,
        "source": source(&trap.source),
        "access": access,
        "panic": trap.panic,
        "backtrace": backtrace,
    })
}

/// A report in the making.
struct Report {
    title: String,
    code: Option<&'static str>,
    line: Option<LineInfo>,
    notes: Vec<String>,
    help: Option<String>,
}

impl Report {
    fn new(title: String, code: Option<&'static str>) -> Self {
        Self { title, code, line: None, notes: Vec::new(), help: None }
    }

    fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    fn render(&self) -> String {
        let mut title = Level::ERROR.primary_title(self.title.as_str());
        if let Some(code) = self.code {
            title = title.id(code);
        }
        let mut group = Group::with_title(title);
        if let Some(line) = &self.line {
            let text = untabbed(&line.text);
            let span = token(&text, line.column);
            let snippet = Snippet::source(text)
                .line_start(line.line as usize)
                .path(&*line.file)
                .annotation(AnnotationKind::Primary.span(span));
            group = group.element(snippet);
        }
        for note in &self.notes {
            group = group.element(Level::NOTE.message(note.as_str()));
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        let renderer = if output::color_on_stderr() { Renderer::styled() } else { Renderer::plain() };
        format!("{}\n", renderer.render(&[group]))
    }
}

/// A tab counts as one column for the compiler and as many for a terminal: one blank keeps both right.
fn untabbed(text: &str) -> String {
    text.trim_end().replace('\t', " ")
}

/// The word that starts in that column, or the whole text when the column lies outside.
fn token(text: &str, column: u32) -> Range<usize> {
    let start = (column as usize).saturating_sub(1);
    let whole = text.len() - text.trim_start().len()..text.len();
    let Some(rest) = text.get(start..).filter(|rest| !rest.trim().is_empty()) else { return whole };
    let word = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(rest.len());
    let len = if word == 0 { rest.chars().next().map_or(1, char::len_utf8) } else { word };
    start..start + len
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_at_the_column_is_marked() {
        assert_eq!(token("  if (data > end)", 7), 6..10);
        assert_eq!(token("  *p = 1;", 3), 2..3);
        assert_eq!(token("  x = 1;", 99), 2..8);
        assert_eq!(token("", 1), 0..0);
        assert_eq!(token("é = 1", 2), 0..6);
    }
}
