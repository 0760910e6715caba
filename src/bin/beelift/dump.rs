//! `dump`: a program at one stage on its way to native code, with C lines between.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use serde_json::{Value, json};

use beelift::codegen::{self, CodegenError, Target};
use beelift::ir;
use beelift::isa::{Insn, InsnId, MapSlot, Operand};
use beelift::link::Program;
use beelift::verify::facts::{AccessFact, BranchFact, CallFact, Region, StackArgument, ValueFact};
use beelift::verify::{self, Facts, Options, Verified};

use crate::args::{self, Stage};
use crate::failure::{Failure, Kind};
use crate::output::out;
use crate::source::Opened;
use crate::{listing, names, report};

/// Runs the verb.
pub(crate) fn dump(args: &args::Dump, as_json: bool) -> Result<ExitCode, Failure> {
    let opened = Opened::open(&args.source)?;
    let mut programs = Vec::new();
    for name in opened.chosen()? {
        let (program, _) = opened.link(&name)?;
        let facts = if as_json && args.stage == Stage::Facts { Some(facts(args, &program)?) } else { None };
        let lines = lines(args, program)?;
        if as_json {
            let lines: Vec<Value> = lines.iter().map(Line::json).collect();
            let mut object = json!({ "program": name, "lines": lines });
            if let Some(facts) = facts {
                object["facts"] = facts;
            }
            programs.push(object);
        } else {
            lines.iter().for_each(Line::print);
        }
    }
    if as_json {
        let stage = match args.stage {
            Stage::Bytecode => "bytecode",
            Stage::Facts => "facts",
            Stage::Ir => "ir",
            Stage::Clif => "clif",
            Stage::Native => "native",
        };
        out!("{}", json!({ "schema": 1, "object": opened.label, "stage": stage, "programs": programs }));
    }
    Ok(ExitCode::SUCCESS)
}

/// A line of a listing.
pub(crate) enum Line {
    /// A heading.
    Title(String),
    /// A source line.
    Source(String),
    /// Code, and the slot it comes from.
    Code(String, Option<u32>),
}

impl Line {
    fn print(&self) {
        match self {
            Self::Title(text) | Self::Source(text) | Self::Code(text, _) => out!("{text}"),
        }
    }
    fn json(&self) -> Value {
        match self {
            Self::Title(text) => json!({ "title": text }),
            Self::Source(text) => json!({ "source": text.trim_start_matches("; ") }),
            Self::Code(text, pc) => json!({ "text": text, "pc": pc }),
        }
    }
}

/// What was proven, column by column, as the library keeps it.
fn facts(args: &args::Dump, program: &Program) -> Result<Value, Failure> {
    let options = Options::with_policy(crate::verify::policy(args.policy));
    let verified = verified(program.clone(), &options)?;
    Ok(serde_json::to_value(verified.facts()).expect("facts are plain data"))
}

fn lines(args: &args::Dump, program: Program) -> Result<Vec<Line>, Failure> {
    let source = args.source_lines;
    if args.stage == Stage::Bytecode {
        return Ok(bytecode(&program, source, &|_, _| {}));
    }
    let options = Options::with_policy(crate::verify::policy(args.policy));
    let verified = verified(program, &options)?;
    let program = verified.program();
    if args.stage == Stage::Facts {
        let facts = verified.facts();
        return Ok(bytecode(program, source, &|at, lines| describe(program, facts, at, lines)));
    }
    let module = ir::build(&verified, ir::Options::default())
        .map_err(|error| uncompiled(program, &CodegenError::Unsupported(error)))?;
    if args.stage == Stage::Ir {
        return Ok(listing::ir(program, &module, source));
    }
    let failed = |error: CodegenError| uncompiled(program, &error);
    let target = Target::host().map_err(failed)?;
    if args.stage == Stage::Clif {
        let text = codegen::clif(&module, &target).map_err(failed)?;
        return Ok(listing::clif(program, &text, source));
    }
    let code = codegen::compile(&module, &target).map_err(failed)?;
    Ok(listing::native(program, &code, source))
}

/// The proof, or a report why there is none.
pub(crate) fn verified(program: Program, options: &Options) -> Result<Verified, Failure> {
    verify::verify(program.clone(), options).map_err(|failure| match failure {
        verify::Failure::Rejected(rejected) => Failure::new(Kind::Rejected, &rejected.reason)
            .with_report(report::rejected(&program, &rejected, None))
            .about(&program.name),
        other => Failure::new(Kind::Unsupported, other).about(&program.name),
    })
}

/// Why there is no native code, for a person.
pub(crate) fn uncompiled(program: &Program, error: &CodegenError) -> Failure {
    let kind = match error {
        CodegenError::Unsupported(_) | CodegenError::Target { .. } => Kind::Unsupported,
        _ => Kind::Failure,
    };
    Failure::new(kind, error).about(&program.name)
}

/// Instructions, each with what `after` has to say of it.
fn bytecode(program: &Program, source: bool, after: &dyn Fn(InsnId, &mut Vec<Line>)) -> Vec<Line> {
    let mut lines = Vec::new();
    for subprogram in &program.subprograms {
        lines.push(Line::Title(format!("{}:", subprogram.name)));
        for index in subprogram.entry.0..subprogram.end.0 {
            let at = InsnId(index);
            if source && let Some(line) = names::line_starting_at(program, at) {
                lines.push(Line::Source(names::remark(line)));
            }
            let pc = program.pcs[at.index()].0;
            lines.push(Line::Code(format!("{pc:>5}: {}", names::insn(program, at)), Some(pc)));
            after(at, &mut lines);
        }
    }
    lines
}

/// What was proven of an instruction.
fn describe(program: &Program, facts: &Facts, at: InsnId, lines: &mut Vec<Line>) {
    let index = at.index();
    let pc = Some(program.pcs[index].0);
    let mut say = |text: String| lines.push(Line::Code(format!("         | {text}"), pc));
    if !facts.reachable.get(index).copied().unwrap_or(true) {
        return say("never reached".to_owned());
    }
    let (lhs, rhs) = operands(&program.insns[index]);
    for (name, column) in [(lhs, &facts.lhs), (rhs, &facts.rhs)] {
        if let (Some(name), Some(fact)) = (name, column.get(index))
            && *fact != ValueFact::TOP
        {
            say(format!("{name}: {}", value(fact)));
        }
    }
    if let Some(Some(fact)) = facts.access.get(index) {
        say(access(program, fact));
    }
    match facts.branch.get(index) {
        Some(BranchFact::Always) => say("always taken".to_owned()),
        Some(BranchFact::Never) => say("never taken".to_owned()),
        Some(BranchFact::Both) | None => {}
    }
    if let Some(Some(fact)) = facts.call.get(index) {
        let text = call(program, fact);
        if !text.is_empty() {
            say(text);
        }
    }
    if facts.fuel.get(index).copied().unwrap_or(false) {
        say("burns fuel".to_owned());
    }
    if facts.blank_result.get(index).copied().unwrap_or(false) {
        say("returns 0: the address in r0 may not leave".to_owned());
    }
}

/// Names of the operands that facts speak of.
fn operands(insn: &Insn) -> (Option<String>, Option<String>) {
    let named = |operand: &Operand| match operand {
        Operand::Reg(reg) => Some(reg.to_string()),
        Operand::Imm(_) => None,
    };
    match insn {
        Insn::Alu { dst, src, .. } => (Some(dst.to_string()), named(src)),
        Insn::Branch { lhs, rhs, .. } => (Some(lhs.to_string()), named(rhs)),
        Insn::Store { base, src, .. } => (Some(base.to_string()), named(src)),
        Insn::Swap { dst, .. } => (Some(dst.to_string()), None),
        Insn::Atomic { base, src, .. } => (Some(base.to_string()), Some(src.to_string())),
        Insn::Load { base, .. } | Insn::LoadAcquire { base, .. } => (None, Some(base.to_string())),
        Insn::StoreRelease { base, src, .. } => (Some(base.to_string()), Some(src.to_string())),
        Insn::AddrSpaceCast { src, .. } => (None, Some(src.to_string())),
        Insn::Const { .. }
        | Insn::Jump { .. }
        | Insn::MayGoto { .. }
        | Insn::Call(_)
        | Insn::LegacyPacket { .. }
        | Insn::Exit => (None, None),
    }
}

fn value(fact: &ValueFact) -> String {
    if fact.umin == fact.umax {
        return format!("{:#x}", fact.umin);
    }
    let mut text = Vec::new();
    if (fact.umin, fact.umax) != (0, u64::MAX) {
        text.push(format!("{} to {}", fact.umin, fact.umax));
    }
    if (fact.smin, fact.smax) != (i64::MIN, i64::MAX) && fact.smin < 0 {
        text.push(format!("signed {} to {}", fact.smin, fact.smax));
    }
    if fact.mask != u64::MAX {
        text.push(format!("known bits {:#x} of {:#x}", fact.bits, !fact.mask));
    }
    text.join(", ")
}

fn access(program: &Program, fact: &AccessFact) -> String {
    let region = match fact.region {
        Region::Context { offset } => format!("context at {offset}"),
        Region::Stack { offset: Some(offset) } => format!("stack at {offset}"),
        Region::Stack { offset: None } => "stack".to_owned(),
        Region::Arena => "arena".to_owned(),
        Region::CallerStack => "stack of a caller".to_owned(),
        Region::Packet => "packet".to_owned(),
        Region::MapValue(Some(map)) => format!("value of {}", map_name(program, map)),
        Region::MapValue(None) => "a map value".to_owned(),
        Region::Memory => "run-time memory".to_owned(),
        Region::Allocated => "an allocated object".to_owned(),
        Region::Stale => "an allocated object that may be gone".to_owned(),
        Region::Object => "a kernel object".to_owned(),
        Region::Mixed => "different memory on different paths".to_owned(),
    };
    format!("{region}{}", if fact.aligned { ", aligned" } else { "" })
}

fn call(program: &Program, fact: &CallFact) -> String {
    let mut text = Vec::new();
    if let Some(map) = fact.map {
        text.push(format!("map {}", map_name(program, map)));
    }
    if let Some(key) = fact.constant_key {
        text.push(format!("key {key} is inside: never null"));
    }
    for (offset, bytes) in &fact.stack_reads {
        text.push(format!("reads {bytes} bytes of stack at {offset}"));
    }
    for (offset, bytes) in &fact.stack_writes {
        text.push(format!("writes {bytes} bytes of stack at {offset}"));
    }
    for (argument, place) in fact.stack_arguments.iter().enumerate() {
        match place {
            StackArgument::Elsewhere => {}
            StackArgument::At(offset) => text.push(format!("r{} is stack at {offset}", argument + 1)),
            StackArgument::Varies => text.push(format!("r{} is somewhere on the stack", argument + 1)),
        }
    }
    if fact.stack_escapes {
        text.push("stack escapes".to_owned());
    }
    text.join(", ")
}

/// A map's name.
pub(crate) fn map_name(program: &Program, map: MapSlot) -> &str {
    program.maps.get(map.0 as usize).map_or("?", |def| def.name.as_str())
}
