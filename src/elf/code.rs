//! Sections of instructions: functions and what their instructions refer to.
//!
//! In: the container and what data and externs were found in it. Out: [`CodeSection`]s. A reference that leads
//! nowhere is kept as such: it is an error only of the program that uses it.
#![forbid(unsafe_code)]

use std::collections::{HashMap, HashSet};

use super::file::{File, Place, Section, Symbol, SymbolType};
use super::{ElfError, ExternKind};
use crate::btf::{CoreRecord, LineRecord};
use crate::isa::opcode as raw;
use crate::isa::{MapSlot, Slot};

/// Opcode of a wide immediate's first slot.
const WIDE_IMMEDIATE: u8 = raw::LD | raw::IMM | raw::DW;
/// Opcode of a call.
const CALL: u8 = raw::JMP | raw::CALL;

/// `R_BPF_NONE`: nothing to do.
const R_BPF_NONE: u32 = 0;
/// `R_BPF_64_64`: the address in a wide immediate; calls, too, in objects of old compilers.
const R_BPF_64_64: u32 = 1;
/// `R_BPF_64_32`: the distance of a call.
const R_BPF_64_32: u32 = 10;

/// A function of the object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Function {
    /// Symbol name.
    pub(crate) name: String,
    /// First slot.
    pub(crate) start: u32,
    /// One past the last slot.
    pub(crate) end: u32,
    /// Visible to other objects: verified alone if it has a type.
    pub(crate) global: bool,
    /// Whether it is an entry point.
    pub(crate) program: bool,
    /// BTF id of its `FUNC`, or 0.
    pub(crate) btf_func: u32,
}

/// What an instruction refers to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Reference {
    /// The map itself.
    Map(MapSlot),
    /// A byte of the value of a map.
    MapValue(MapSlot, u32),
    /// A function, by section (index of `Object::code`) and slot.
    Function { section: usize, slot: u32 },
    /// A symbol from outside, by index of `Object::externs`.
    Extern(usize),
    /// Nothing; why.
    Broken(String),
}

/// A section of instructions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct CodeSection {
    /// Name.
    pub(crate) name: String,
    /// Instructions.
    pub(crate) slots: Vec<Slot>,
    /// Functions by ascending start, without overlap.
    pub(crate) functions: Vec<Function>,
    /// References by ascending slot.
    pub(crate) references: Vec<(u32, Reference)>,
    /// Source lines by ascending offset.
    pub(crate) lines: Vec<LineRecord>,
    /// CO-RE relocations by ascending offset.
    pub(crate) core: Vec<CoreRecord>,
}

impl CodeSection {
    /// The function that starts at a slot.
    pub(crate) fn function_at(&self, slot: u32) -> Option<usize> {
        self.functions.binary_search_by_key(&slot, |function| function.start).ok()
    }
    /// What the instruction at a slot refers to.
    pub(crate) fn reference_at(&self, slot: u32) -> Option<&Reference> {
        let at = self.references.binary_search_by_key(&slot, |&(at, _)| at).ok()?;
        Some(&self.references[at].1)
    }
}

/// What data symbols and externs resolve to.
#[derive(Default)]
pub(super) struct Targets {
    /// Maps by section and byte offset of their definition.
    pub(super) maps: HashMap<(usize, u64), MapSlot>,
    /// Data sections.
    pub(super) data: HashMap<usize, MapSlot>,
    /// Externs by name.
    pub(super) externs: HashMap<String, (usize, ExternKind)>,
    /// The map of kernel configuration values.
    pub(super) kconfig: Option<MapSlot>,
}

/// Reads all code sections. The second result maps ELF section indexes to indexes of the first.
pub(super) fn read(
    file: &File<'_>,
    targets: &Targets,
) -> Result<(Vec<CodeSection>, HashMap<usize, usize>), ElfError> {
    let mut index = HashMap::new();
    let mut code = Vec::new();
    for (number, section) in file.sections.iter().enumerate() {
        if !section.code || section.data.is_empty() {
            continue;
        }
        let Some(slots) = Slot::from_bytes(section.data) else {
            return Err(section.error(section.size & !7, "the section ends inside an instruction"));
        };
        index.insert(number, code.len());
        code.push(CodeSection {
            name: section.name.clone(),
            slots,
            functions: Vec::new(),
            references: Vec::new(),
            lines: Vec::new(),
            core: Vec::new(),
        });
    }
    for (&number, &at) in &index {
        let section = &file.sections[number];
        let slots = std::mem::take(&mut code[at].slots);
        let resolver = Resolver { file, targets, code: &index };
        let references = references(section, &slots, &resolver);
        code[at].slots = slots;
        code[at].references = references;
    }
    let called = called(&code);
    for (&number, &at) in &index {
        let section = &file.sections[number];
        code[at].functions = functions(file, number, section, at, &called)?;
    }
    Ok((code, index))
}

/// Slots that some instruction calls or takes the address of.
fn called(code: &[CodeSection]) -> HashSet<(usize, u32)> {
    let mut called = HashSet::new();
    for (at, section) in code.iter().enumerate() {
        for (_, reference) in &section.references {
            if let Reference::Function { section, slot } = reference {
                called.insert((*section, *slot));
            }
        }
        // Calls inside of a section are resolved by the assembler.
        for (slot, insn) in (0u32..).zip(&section.slots) {
            if insn.opcode() == CALL && insn.src() == 1 && section.reference_at(slot).is_none() {
                let target = i64::from(slot) + 1 + i64::from(insn.imm());
                if let Ok(target) = u32::try_from(target) {
                    called.insert((at, target));
                }
            }
        }
    }
    called
}

/// Whether a symbol without type names a function: old compilers gave functions neither type nor size.
fn names_function(symbol: &Symbol, called: bool) -> bool {
    match symbol.kind {
        SymbolType::Function => true,
        SymbolType::Unknown => {
            !symbol.name.is_empty() && !symbol.name.starts_with("LBB") && (!symbol.local || called)
        }
        SymbolType::Data | SymbolType::Section | SymbolType::Other => false,
    }
}

fn functions(
    file: &File<'_>,
    number: usize,
    section: &Section<'_>,
    at: usize,
    called: &HashSet<(usize, u32)>,
) -> Result<Vec<Function>, ElfError> {
    let mut found: Vec<(u32, &Symbol)> = Vec::new();
    let end = u32::try_from(section.size / 8).map_err(|_| section.error(0, "the section is too large"))?;
    for symbol in file.symbols_in(number) {
        let slot = u32::try_from(symbol.value / 8).ok().filter(|&slot| slot < end);
        let is_called = slot.is_some_and(|slot| called.contains(&(at, slot)));
        if !names_function(symbol, is_called) {
            continue;
        }
        let Some(slot) = slot.filter(|_| symbol.value.is_multiple_of(8)) else {
            let what = format!("function {} starts outside of the section or inside a slot", symbol.name);
            return Err(section.error(symbol.value, what));
        };
        if !symbol.size.is_multiple_of(8) || symbol.size / 8 > u64::from(end - slot) {
            let what = format!("function {} ends outside of the section or inside a slot", symbol.name);
            return Err(section.error(symbol.value, what));
        }
        found.push((slot, symbol));
    }
    // Of two names for one place the visible one counts, then the typed one.
    found.sort_by_key(|&(slot, symbol)| (slot, symbol.local, symbol.kind != SymbolType::Function));
    found.dedup_by_key(|&mut (slot, _)| slot);
    let text = section.name == ".text";
    let starts: Vec<u32> = found.iter().map(|&(slot, _)| slot).skip(1).chain([end]).collect();
    let functions = found.iter().zip(starts).map(|(&(start, symbol), next)| {
        let size = u32::try_from(symbol.size / 8).unwrap_or(0);
        let visible = !symbol.local && !symbol.hidden;
        Function {
            name: symbol.name.clone(),
            start,
            end: if size == 0 { next } else { (start + size).min(next) },
            global: visible,
            program: !text && (!symbol.local || !called.contains(&(at, start))),
            btf_func: 0,
        }
    });
    Ok(functions.collect())
}

struct Resolver<'a> {
    file: &'a File<'a>,
    targets: &'a Targets,
    code: &'a HashMap<usize, usize>,
}

fn references(section: &Section<'_>, slots: &[Slot], resolver: &Resolver<'_>) -> Vec<(u32, Reference)> {
    let mut references = Vec::new();
    for relocation in section.relocations.iter().filter(|relocation| relocation.kind != R_BPF_NONE) {
        // The container checked that offsets lie inside, and sections of a gigabyte are refused.
        let slot = u32::try_from(relocation.offset / 8).expect("sections are small");
        let insn = slots[slot as usize];
        let reference = if !relocation.offset.is_multiple_of(8) {
            Reference::Broken(format!("relocation inside an instruction, at {:#x}", relocation.offset))
        } else if !matches!(relocation.kind, R_BPF_64_64 | R_BPF_64_32) {
            Reference::Broken(format!("relocation of kind {} on an instruction", relocation.kind))
        } else if let Some(symbol) = relocation.symbol {
            resolver.resolve(&resolver.file.symbols[symbol], insn, relocation.addend)
        } else {
            Reference::Broken("relocation without a symbol".to_owned())
        };
        references.push((slot, reference));
    }
    references.dedup_by_key(|&mut (slot, _)| slot);
    references
}

impl Resolver<'_> {
    fn resolve(&self, symbol: &Symbol, insn: Slot, addend: i64) -> Reference {
        match insn.opcode() {
            WIDE_IMMEDIATE => self.address(symbol, i64::from(insn.imm()).wrapping_add(addend)),
            CALL => self.callee(symbol, insn.imm()),
            opcode => Reference::Broken(format!(
                "relocation on an instruction that takes none (opcode {opcode:#04x})"
            )),
        }
    }

    /// What a wide immediate points to.
    fn address(&self, symbol: &Symbol, addend: i64) -> Reference {
        let section = match symbol.place {
            Place::Section(section) => section,
            Place::Undefined => return self.outside(symbol),
            Place::Other => return Reference::Broken(format!("symbol {} lies in no section", symbol.name)),
        };
        let offset = symbol.value.wrapping_add_signed(addend);
        if let Some(&at) = self.code.get(&section) {
            return match u32::try_from(offset / 8) {
                Ok(slot) if offset.is_multiple_of(8) => Reference::Function { section: at, slot },
                Ok(_) | Err(_) => Reference::Broken(format!("{} plus {addend} is no function", symbol.name)),
            };
        }
        if let Some(&map) = self.targets.maps.get(&(section, offset)) {
            return Reference::Map(map);
        }
        if let Some(&map) = self.targets.data.get(&section) {
            return match u32::try_from(offset) {
                Ok(offset) => Reference::MapValue(map, offset),
                Err(_) => {
                    Reference::Broken(format!("{} plus {addend} lies outside of its section", symbol.name))
                }
            };
        }
        let name = self.file.sections.get(section).map_or("?", |section| section.name.as_str());
        Reference::Broken(format!(
            "section {name}, offset {offset:#x} ({}) is no map and no data",
            symbol.name
        ))
    }

    /// What a call calls.
    fn callee(&self, symbol: &Symbol, imm: i32) -> Reference {
        let Place::Section(section) = symbol.place else { return self.outside(symbol) };
        let Some(&at) = self.code.get(&section) else {
            return Reference::Broken(format!("{} is called but is no function", symbol.name));
        };
        // A visible function is named by its symbol, with -1 in the immediate; a static one by its section,
        // with its slot minus one there.
        let slot = i64::try_from(symbol.value / 8).map(|slot| slot + i64::from(imm) + 1);
        match slot.ok().and_then(|slot| u32::try_from(slot).ok()) {
            Some(slot) => Reference::Function { section: at, slot },
            None => Reference::Broken(format!("the call of {} leads outside of the section", symbol.name)),
        }
    }

    fn outside(&self, symbol: &Symbol) -> Reference {
        match self.targets.externs.get(&symbol.name) {
            Some((_, ExternKind::Kconfig { offset, .. })) => match self.targets.kconfig {
                Some(map) => Reference::MapValue(map, *offset),
                None => Reference::Broken(format!("extern {} has no place", symbol.name)),
            },
            Some((index, ExternKind::Ksym | ExternKind::Kfunc)) => Reference::Extern(*index),
            None => Reference::Broken(format!(
                "{} is declared, but neither defined nor typed as an extern",
                symbol.name
            )),
        }
    }
}
