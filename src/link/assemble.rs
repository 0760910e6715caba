//! Assembly text to a linked [`Program`]: what tests and tools write by hand.
//!
//! In: text for `isa::asm`. Out: a `Program` whose subprograms are the places that are called, and whose maps come
//! from `.map NAME KIND [key=N] [value=N] [entries=N] [flags=N] [data=HEX] [frozen] [lock=OFFSET] [timer=OFFSET]` directives. The label of an
//! `.exception LABEL` directive is where the program goes after `bpf_throw`. Each line of the text is a source line
//! of the program.
#![forbid(unsafe_code)]

use std::sync::Arc;

use beelift_runtime::ctx::ProgramType;
use beelift_runtime::map::{MapFlags, SpecialField, SpecialKind};
use beelift_runtime::{MapDef, MapKind};

use super::{Kfunc, Ksym, LineInfo, LinkError, Linkage, Program, Subprogram};
use crate::isa::asm::{AsmError, Assembly, Directive, assemble};
use crate::isa::{Insn, InsnId, Pc, effects};

/// Why text is no program.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AssembleError {
    /// The text is not assembly.
    #[error(transparent)]
    Syntax(#[from] AsmError),
    /// It is, but not a program.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A directive that nobody knows, or with arguments that nobody knows.
    #[error("line {line}: `.{name}`: {argument:?} is not understood")]
    Directive {
        /// 1-based line.
        line: u32,
        /// Directive.
        name: String,
        /// First argument that is wrong.
        argument: String,
    },
    /// A map that no directive describes.
    #[error("map `{0}` has no `.map` directive")]
    UndefinedMap(String),
}

impl Program {
    /// Assembles a program. `helper` gives the numbers of helpers that are called by name.
    ///
    /// # Errors
    /// Text that is no program.
    pub fn assemble(
        prog_type: ProgramType,
        source: &str,
        helper: impl Fn(&str) -> Option<u32>,
    ) -> Result<Self, AssembleError> {
        let assembly = assemble(source, helper)?;
        let maps = maps(&assembly)?;
        let mut program = Self::from_unchecked_slots(prog_type, &assembly.slots, maps)?;
        "assembly".clone_into(&mut program.name);
        program.kfuncs = assembly.kfuncs.iter().map(|name| kfunc(name)).collect();
        program.ksyms = assembly.ksyms.iter().map(|name| ksym(name)).collect();
        let callback = exception_callback(&assembly, &program)?;
        program.subprograms =
            subprograms(&program.insns, callback, |entry| name_at(&assembly, program.pcs[entry.index()]));
        program.exception_callback =
            callback.and_then(|entry| program.subprograms.binary_search_by_key(&entry, |sub| sub.entry).ok());
        program.lines = lines(&program.pcs, &assembly, source);
        program.check_slots()?;
        Ok(program)
    }
}

fn kfunc(name: &str) -> Kfunc {
    Kfunc { name: name.to_owned(), weak: false, btf_func: 0 }
}

fn ksym(name: &str) -> Ksym {
    Ksym { name: name.to_owned(), weak: false, btf_type: 0 }
}

fn name_at(assembly: &Assembly, pc: Pc) -> Option<String> {
    assembly.labels.iter().find(|label| label.1 == pc).map(|label| label.0.clone())
}

/// Subprograms of raw instructions: the first instruction, the exception callback, and whatever is called or used as
/// a callback.
pub(super) fn subprograms(
    insns: &[Insn],
    callback: Option<InsnId>,
    name: impl Fn(InsnId) -> Option<String>,
) -> Vec<Subprogram> {
    let called = insns.iter().filter_map(effects::subprogram);
    let mut entries: Vec<_> = std::iter::once(InsnId(0)).chain(callback).chain(called).collect();
    entries.sort_unstable();
    entries.dedup();
    let ends = entries[1..].iter().copied().chain([InsnId(insns.len() as u32)]); // `InsnId` is 32 bits wide.
    let subprogram = |(&entry, end): (&InsnId, InsnId)| Subprogram {
        name: name(entry).unwrap_or_else(|| format!("subprogram_{}", entry.0)),
        entry,
        end,
        linkage: Linkage::Static,
        btf_func: 0,
    };
    entries.iter().zip(ends).map(subprogram).collect()
}

fn lines(pcs: &[Pc], assembly: &Assembly, source: &str) -> Vec<LineInfo> {
    let file: Arc<str> = "assembly".into();
    let text: Vec<Arc<str>> = source.lines().map(|line| line.trim().into()).collect();
    let of_insn = |(index, pc): (usize, &Pc)| {
        let line = assembly.lines[pc.0 as usize];
        LineInfo {
            insn: InsnId(index as u32), // `InsnId` is 32 bits wide.
            file: Arc::clone(&file),
            text: Arc::clone(&text[line as usize - 1]),
            btf_file: 0,
            btf_text: 0,
            line,
            column: 1,
        }
    };
    pcs.iter().enumerate().map(of_insn).collect()
}

/// The instruction that an `.exception` directive names.
fn exception_callback(assembly: &Assembly, program: &Program) -> Result<Option<InsnId>, AssembleError> {
    let Some(directive) = assembly.directives.iter().find(|directive| directive.name == "exception") else {
        return Ok(None);
    };
    let name = directive.arguments.first().map_or("", |name| name.as_str());
    let label = assembly.labels.iter().find(|label| label.0 == name);
    let entry = label.and_then(|label| program.insn_at(label.1));
    entry.map(Some).ok_or_else(|| unknown(directive, name))
}

fn maps(assembly: &Assembly) -> Result<Arc<[MapDef]>, AssembleError> {
    let mut defs: Vec<Option<MapDef>> = vec![None; assembly.maps.len()];
    for directive in &assembly.directives {
        if directive.name == "exception" {
            continue;
        }
        if directive.name != "map" {
            return Err(unknown(directive, &directive.name));
        }
        let mut def = map(directive)?;
        if let Some(name) = inner_name(directive) {
            let template =
                assembly.directives.iter().find(|other| other.arguments.first().is_some_and(|n| n == name));
            // Maps of maps are two deep.
            let template = template.filter(|template| inner_name(template).is_none());
            def.inner = Some(Box::new(map(template.ok_or_else(|| unknown(directive, name))?)?));
        }
        let index = assembly.maps.iter().position(|name| *name == def.name);
        let index = index.ok_or_else(|| unknown(directive, &def.name))?;
        defs[index] = Some(def);
    }
    let named = defs.into_iter().zip(&assembly.maps);
    named.map(|(def, name)| def.ok_or_else(|| AssembleError::UndefinedMap(name.clone()))).collect()
}

/// What `inner=` says.
fn inner_name(directive: &Directive) -> Option<&str> {
    directive.arguments.iter().find_map(|argument| argument.strip_prefix("inner="))
}

fn map(directive: &Directive) -> Result<MapDef, AssembleError> {
    let [name, kind, options @ ..] = &directive.arguments[..] else { return Err(unknown(directive, "")) };
    let kind =
        MapKind::ALL.iter().find(|known| known.name() == kind).ok_or_else(|| unknown(directive, kind))?;
    let mut def = MapDef::new(name, *kind, 4, 8, 1);
    for option in options {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        let number = || parse_number(value).ok_or_else(|| unknown(directive, option));
        match key {
            "key" => def.key_size = number()?,
            "value" => def.value_size = number()?,
            "entries" => def.max_entries = number()?,
            "flags" => def.flags = MapFlags::from_bits_retain(number()?),
            "frozen" => def.frozen = true,
            "inner" => {}
            "lock" => def.fields.push(special(SpecialKind::SpinLock, number()?, 4)),
            "timer" => def.fields.push(special(SpecialKind::Timer, number()?, 16)),
            "data" => def.initial = Some(parse_hex(value).ok_or_else(|| unknown(directive, option))?.into()),
            _ => return Err(unknown(directive, option)),
        }
    }
    Ok(def)
}

fn special(kind: SpecialKind, offset: u32, size: u32) -> SpecialField {
    SpecialField { kind, offset, size, btf_type: 0, node: 0 }
}

fn unknown(directive: &Directive, argument: &str) -> AssembleError {
    AssembleError::Directive {
        line: directive.line,
        name: directive.name.clone(),
        argument: argument.to_owned(),
    }
}

fn parse_number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

fn parse_hex(text: &str) -> Option<Vec<u8>> {
    let bytes = text.as_bytes().chunks(2);
    bytes.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(source: &str) -> Result<Program, AssembleError> {
        Program::assemble(ProgramType::Xdp, source, |_| None)
    }

    #[test]
    fn maps_subprograms_and_lines_are_found() {
        let source = "
            .map counts hash key=8 value=16 entries=100 flags=1
            r1 = map[counts] ll
            call double
            exit
        double:
            r0 += r0
            exit";
        let program = program(source).expect("well-formed");
        assert_eq!(program.maps[0].kind, MapKind::Hash);
        assert_eq!(
            (program.maps[0].key_size, program.maps[0].value_size, program.maps[0].max_entries),
            (8, 16, 100)
        );
        assert_eq!(program.subprograms.len(), 2);
        assert_eq!(program.subprograms[1].name, "double");
        assert_eq!((program.subprograms[1].entry, program.subprograms[1].end), (InsnId(3), InsnId(5)));
        let line = program.line_of(InsnId(3)).expect("a line");
        assert_eq!((line.line, &*line.text), (7, "r0 += r0"));
    }

    #[test]
    fn maps_are_declared_whether_used_or_not() {
        let program = program(".map table array\nexit").expect("well-formed");
        assert_eq!(program.maps[0].name, "table");
    }

    #[test]
    fn mistakes_are_named() {
        let message = |source| program(source).expect_err(source).to_string();
        assert_eq!(message("r1 = map[table] ll\nexit"), "map `table` has no `.map` directive");
        assert_eq!(message(".map table nothing"), "line 1: `.map`: \"nothing\" is not understood");
        assert_eq!(message(".map table array key=x"), "line 1: `.map`: \"key=x\" is not understood");
        assert_eq!(
            message(".map a array_of_maps inner=b\n.map b array_of_maps inner=a\nr1 = map[a] ll\nexit"),
            "line 1: `.map`: \"b\" is not understood"
        );
        assert_eq!(message(".frob"), "line 1: `.frob`: \"frob\" is not understood");
    }
}
