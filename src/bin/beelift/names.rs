//! Instructions with the names that a program knows: maps, helpers, kfuncs, symbols.
#![forbid(unsafe_code)]

use beelift::isa::text::{Names, text};
use beelift::isa::{Callee, Const64, Insn, InsnId, KfuncSlot, KsymSlot, MapSlot};
use beelift::link::{LineInfo, Program};
use beelift::runtime::helper;

/// Names of one program.
pub(crate) struct ProgramNames<'a>(pub(crate) &'a Program);

impl Names for ProgramNames<'_> {
    fn map(&self, map: MapSlot) -> Option<&str> {
        self.0.maps.get(map.0 as usize).map(|def| def.name.as_str())
    }
    fn kfunc(&self, kfunc: KfuncSlot) -> Option<&str> {
        self.0.kfuncs.get(kfunc.0 as usize).map(|kfunc| kfunc.name.as_str())
    }
    fn ksym(&self, ksym: KsymSlot) -> Option<&str> {
        self.0.ksyms.get(ksym.0 as usize).map(|ksym| ksym.name.as_str())
    }
    fn helper(&self, number: u32) -> Option<&str> {
        helper::by_id(number).map(|helper| helper.name)
    }
}

/// An instruction as text, with the subprogram it names.
pub(crate) fn insn(program: &Program, at: InsnId) -> String {
    let Some(insn) = program.insns.get(at.index()) else { return "no instruction".to_owned() };
    let line = text(insn, at, &program.pcs).with_names(&ProgramNames(program)).to_string();
    let target = match insn {
        Insn::Call(Callee::Subprogram(to)) | Insn::Const { value: Const64::Function(to), .. } => Some(*to),
        _ => None,
    };
    match target.and_then(|to| program.subprograms.iter().find(|sub| sub.entry == to)) {
        Some(subprogram) => format!("{line} ; {}", subprogram.name),
        None => line,
    }
}

/// The source line that starts at an instruction (and not before it).
pub(crate) fn line_starting_at(program: &Program, at: InsnId) -> Option<&LineInfo> {
    program.line_of(at).filter(|line| line.insn == at)
}

/// A source line as a remark: `; text @ file:line`.
pub(crate) fn remark(line: &LineInfo) -> String {
    format!("; {} @ {}:{}", line.text.trim(), line.file, line.line)
}

/// Names of the helpers that a program calls, in order of number.
pub(crate) fn helpers(program: &Program) -> Vec<u32> {
    let mut numbers: Vec<u32> = program
        .insns
        .iter()
        .filter_map(|insn| match insn {
            Insn::Call(Callee::Helper(number)) => Some(*number),
            _ => None,
        })
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// A helper's name, or its number.
pub(crate) fn helper_name(number: u32) -> String {
    helper::by_id(number).map_or_else(|| format!("helper {number}"), |helper| helper.name.to_owned())
}
