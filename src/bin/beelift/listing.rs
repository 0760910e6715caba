//! Listings of the stages behind the verifier: SSA form, Cranelift IR, machine code, each with source lines.
#![forbid(unsafe_code)]

use iced_x86::{Decoder, DecoderOptions, Formatter, GasFormatter, Instruction};

use beelift::codegen::code::Stub;
use beelift::codegen::{CompiledCode, CompiledFunction, Symbol};
use beelift::ir;
use beelift::isa::InsnId;
use beelift::link::{LineInfo, Program};

use crate::dump::{Line, map_name};
use crate::names;

/// Says each source line once while a listing walks over it.
struct Lines<'a> {
    program: &'a Program,
    wanted: bool,
    last: Option<(u32, u32)>,
}

impl<'a> Lines<'a> {
    fn new(program: &'a Program, wanted: bool) -> Self {
        Self { program, wanted, last: None }
    }
    /// The line of an instruction, unless it was the last one said.
    fn next(&mut self, insn: InsnId) -> Option<Line> {
        let line: &LineInfo = self.program.line_of(insn).filter(|_| self.wanted)?;
        let key = (line.line, line.btf_file);
        (self.last.replace(key) != Some(key)).then(|| Line::Source(names::remark(line)))
    }

    /// What stands above machine code of an instruction where another one's was before: its line and itself.
    fn heading(&mut self, insn: InsnId, out: &mut Vec<Line>) {
        out.extend(self.next(insn));
        out.push(Line::Source(format!("    {}", names::insn(self.program, insn))));
    }
}

/// The SSA form.
pub(crate) fn ir(program: &Program, module: &ir::Module, source: bool) -> Vec<Line> {
    let mut lines = Lines::new(program, source);
    let mut out = Vec::new();
    for function in &module.functions {
        for (insn, text) in function.lines() {
            if let Some(insn) = insn {
                out.extend(lines.next(insn));
            }
            out.push(Line::Code(text, insn.and_then(|insn| program.pcs.get(insn.index())).map(|pc| pc.0)));
        }
        out.push(Line::Code(String::new(), None));
    }
    out
}

/// Cranelift IR: its printer puts `@` and the instruction's number in front of what comes from one.
pub(crate) fn clif(program: &Program, text: &str, source: bool) -> Vec<Line> {
    let mut lines = Lines::new(program, source);
    let mut out = Vec::new();
    for line in text.lines() {
        let digits = line.trim_start().strip_prefix('@').and_then(|rest| rest.split_whitespace().next());
        let insn = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()).map(InsnId);
        if let Some(insn) = insn {
            out.extend(lines.next(insn));
        }
        let pc = insn.and_then(|insn| program.pcs.get(insn.index())).map(|pc| pc.0);
        out.push(Line::Code(line.to_owned(), pc));
    }
    out
}

/// Machine code of this machine.
pub(crate) fn native(program: &Program, code: &CompiledCode, source: bool) -> Vec<Line> {
    let mut out = Vec::new();
    for function in &code.functions {
        let bytes = function.bytes.len();
        out.push(Line::Title(format!("{}: ({bytes} bytes)", function.name)));
        if cfg!(target_arch = "x86_64") {
            disassemble(program, code, function, source, &mut out);
        } else {
            words(program, code, function, source, &mut out);
        }
    }
    out
}

/// Machine code of the other architecture: its instructions are words, shown as assemblers take them.
fn words(
    program: &Program,
    code: &CompiledCode,
    function: &CompiledFunction,
    source: bool,
    out: &mut Vec<Line>,
) {
    let mut lines = Lines::new(program, source);
    let mut last = None;
    for (start, word) in (0_u32..).step_by(4).zip(function.bytes.chunks_exact(4)) {
        let insn = function.insn_at(start);
        if insn != last
            && let Some(insn) = insn
        {
            lines.heading(insn, out);
        }
        last = insn;
        let word = u32::from_le_bytes(word.try_into().expect("chunks of four"));
        let mut text = format!(".inst 0x{word:08x}");
        if let Some(reloc) = function.relocs.iter().find(|reloc| reloc.offset == start) {
            text.push_str(" // ");
            text.push_str(&symbol_name(program, code, reloc.symbol));
        }
        let pc = insn.and_then(|insn| program.pcs.get(insn.index())).map(|pc| pc.0);
        out.push(Line::Code(format!("{start:>6x}:  {text}"), pc));
    }
}

fn disassemble(
    program: &Program,
    code: &CompiledCode,
    function: &CompiledFunction,
    source: bool,
    out: &mut Vec<Line>,
) {
    let mut lines = Lines::new(program, source);
    let mut decoder = Decoder::with_ip(64, &function.bytes, 0, DecoderOptions::NONE);
    let mut formatter = GasFormatter::new();
    formatter.options_mut().set_uppercase_hex(false);
    formatter.options_mut().set_branch_leading_zeros(false);
    let mut instruction = Instruction::default();
    let mut text = String::new();
    let mut last = None;
    while decoder.can_decode() {
        decoder.decode_out(&mut instruction);
        let start = instruction.ip32();
        let end = start + instruction.len() as u32;
        let insn = function.insn_at(start);
        if insn != last
            && let Some(insn) = insn
        {
            lines.heading(insn, out);
        }
        last = insn;
        text.clear();
        if instruction.is_invalid() {
            text.push_str("(bad)");
        } else {
            formatter.format(&instruction, &mut text);
        }
        let symbol = function.relocs.iter().find(|reloc| (start..end).contains(&reloc.offset));
        if let Some(reloc) = symbol {
            text.push_str(" ; ");
            text.push_str(&symbol_name(program, code, reloc.symbol));
        }
        let pc = insn.and_then(|insn| program.pcs.get(insn.index())).map(|pc| pc.0);
        out.push(Line::Code(format!("{start:>6x}:  {text}"), pc));
    }
}

/// What a relocation names, in the program's words.
fn symbol_name(program: &Program, code: &CompiledCode, symbol: Symbol) -> String {
    match symbol {
        Symbol::Function(index) => {
            code.functions.get(index as usize).map_or_else(|| symbol.to_string(), |to| to.name.clone())
        }
        Symbol::Helper(id) => names::helper_name(id),
        Symbol::Kfunc(_) => symbol.to_string(),
        Symbol::MapHelper(id, slot) => {
            format!("{} of {}", names::helper_name(id), map_name(program, slot))
        }
        Symbol::MapHandle(slot) => format!("map {}", map_name(program, slot)),
        Symbol::MapBase(slot) => format!("values of {}", map_name(program, slot)),
        Symbol::Arena(slot) => format!("window of {}", map_name(program, slot)),
        Symbol::Stub(Stub::TrapExit) => "trap_exit".to_owned(),
        Symbol::Stub(Stub::ThrowExit) => "throw_exit".to_owned(),
        Symbol::Stub(Stub::PacketLoad) => "packet_load".to_owned(),
        Symbol::Stub(Stub::ObjectLoad) => "object_load".to_owned(),
        Symbol::Stub(Stub::MapIterate) => "map_iterate".to_owned(),
    }
}
