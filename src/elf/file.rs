//! The ELF container: sections, symbols and relocations as plain values.
//!
//! In: bytes. Out: [`File`]; what sections mean is decided elsewhere. Everything that the container promises
//! (ranges, string offsets, links) is checked here.
#![forbid(unsafe_code)]

use std::collections::HashMap;

use object::elf::FileHeader64;
use object::read::elf::{ElfFile64, FileHeader as _, SectionHeader as _};
use object::{
    LittleEndian, Object as _, ObjectSection as _, ObjectSymbol as _, RelocationFlags, RelocationTarget,
    SymbolFlags, SymbolKind, SymbolSection,
};

use super::ElfError;

/// `EM_BPF`
const MACHINE: u16 = 247;
/// Symbols of one name that are looked at.
const MAX_NAMESAKES: usize = 1024;
/// Sizes that no real object reaches.
const MAX_SECTION: u64 = 1 << 30;

/// A section.
#[derive(Debug)]
pub(super) struct Section<'a> {
    /// Name.
    pub(super) name: String,
    /// Bytes; empty for `.bss`.
    pub(super) data: &'a [u8],
    /// Bytes in memory.
    pub(super) size: u64,
    /// Whether it is part of the program's memory.
    pub(super) alloc: bool,
    /// Whether it holds instructions.
    pub(super) code: bool,
    /// Whether its data may be written.
    pub(super) write: bool,
    /// Whether the file holds its bytes.
    pub(super) progbits: bool,
    /// Relocations, as ordered in the file.
    pub(super) relocations: Vec<Relocation>,
}

/// Where a symbol lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// Expected from outside.
    Undefined,
    /// In a section, by index of [`File::sections`].
    Section(usize),
    /// Nowhere: a file name, an absolute value.
    Other,
}

/// What a symbol names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SymbolType {
    /// `STT_FUNC`
    Function,
    /// `STT_OBJECT`
    Data,
    /// `STT_SECTION`
    Section,
    /// `STT_NOTYPE`
    Unknown,
    /// Any other.
    Other,
}

/// A symbol.
#[derive(Clone, Debug)]
pub(super) struct Symbol {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) kind: SymbolType,
    /// Byte offset in its section.
    pub(super) value: u64,
    pub(super) size: u64,
    /// Binding is local.
    pub(super) local: bool,
    /// Binding is weak.
    pub(super) weak: bool,
    /// Visibility is hidden or internal.
    pub(super) hidden: bool,
}

/// A relocation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Relocation {
    /// Byte offset in the section.
    pub(super) offset: u64,
    /// Index of [`File::symbols`], if the relocation names a symbol.
    pub(super) symbol: Option<usize>,
    /// `R_BPF_*`
    pub(super) kind: u32,
    /// Explicit addend; 0 for `REL`, whose addend is in the bytes.
    pub(super) addend: i64,
}

/// The container.
#[derive(Debug)]
pub(super) struct File<'a> {
    /// Sections by their ELF index (entry 0 is the empty one).
    pub(super) sections: Vec<Section<'a>>,
    /// Symbols by their ELF index (entry 0 is the empty one).
    pub(super) symbols: Vec<Symbol>,
    section_names: HashMap<String, usize>,
    symbol_names: HashMap<String, Vec<usize>>,
}

fn not_elf(error: object::read::Error) -> ElfError {
    ElfError::NotElf { what: error.to_string() }
}

impl<'a> File<'a> {
    /// Reads the container.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, ElfError> {
        check_header(bytes)?;
        let file = ElfFile64::<LittleEndian>::parse(bytes).map_err(not_elf)?;
        let symbols = read_symbols(&file, file.elf_section_table().len())?;
        let mut sections = Vec::new();
        let count = file.elf_section_table().len();
        sections.resize_with(count.max(1), Section::empty);
        for section in file.sections() {
            let index = section.index().0;
            sections[index] = read_section(&section, &symbols)?;
        }
        let mut section_names = HashMap::new();
        for (index, section) in sections.iter().enumerate() {
            section_names.entry(section.name.clone()).or_insert(index);
        }
        let mut symbol_names: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, symbol) in symbols.iter().enumerate().filter(|(_, symbol)| !symbol.name.is_empty()) {
            symbol_names.entry(symbol.name.clone()).or_default().push(index);
        }
        Ok(Self { sections, symbols, section_names, symbol_names })
    }
    /// The first section of that name.
    pub(super) fn section(&self, name: &str) -> Option<(usize, &Section<'a>)> {
        let index = *self.section_names.get(name)?;
        Some((index, &self.sections[index]))
    }
    /// The symbol of that name in a place. Names may come twice, but hardly in one place.
    pub(super) fn symbol(&self, place: Place, name: &str) -> Option<&Symbol> {
        let named = self.symbol_names.get(name)?;
        named
            .iter()
            .take(MAX_NAMESAKES)
            .map(|&index| &self.symbols[index])
            .find(|symbol| symbol.place == place)
    }
    /// Symbols in a section.
    pub(super) fn symbols_in(&self, section: usize) -> impl Iterator<Item = &Symbol> {
        self.symbols.iter().filter(move |symbol| symbol.place == Place::Section(section))
    }
}

impl Section<'_> {
    fn empty() -> Self {
        Self {
            name: String::new(),
            data: &[],
            size: 0,
            alloc: false,
            code: false,
            write: false,
            progbits: false,
            relocations: Vec::new(),
        }
    }
    /// An error at a byte of this section.
    pub(super) fn error(&self, offset: u64, what: impl Into<String>) -> ElfError {
        ElfError::Section { section: self.name.clone(), offset, what: what.into() }
    }
}

fn check_header(bytes: &[u8]) -> Result<(), ElfError> {
    let not_elf = |what: &str| Err(ElfError::NotElf { what: what.to_owned() });
    if !bytes.starts_with(b"\x7fELF") {
        return not_elf("it does not start with the ELF magic number");
    }
    let (Some(&class), Some(&order)) = (bytes.get(4), bytes.get(5)) else {
        return not_elf("it ends inside the header");
    };
    if class != 2 {
        return not_elf("it is no 64-bit file");
    }
    if order == 2 {
        return Err(ElfError::BigEndian);
    }
    let header = FileHeader64::<LittleEndian>::parse(bytes).map_err(self::not_elf)?;
    let machine = header.e_machine(LittleEndian).0;
    // Compilers from before eBPF had a number wrote 0.
    if machine != MACHINE && machine != 0 {
        return Err(ElfError::WrongMachine { machine });
    }
    let kind = header.e_type(LittleEndian).0;
    if kind != 1 {
        return Err(ElfError::NotRelocatable { kind });
    }
    Ok(())
}

fn read_symbols(file: &ElfFile64<'_, LittleEndian>, sections: usize) -> Result<Vec<Symbol>, ElfError> {
    let mut symbols = vec![Symbol {
        name: String::new(),
        place: Place::Other,
        kind: SymbolType::Other,
        value: 0,
        size: 0,
        local: true,
        weak: false,
        hidden: false,
    }];
    for symbol in file.symbols() {
        let name = symbol.name_bytes().map_err(not_elf)?;
        let SymbolFlags::Elf { st_other, .. } = symbol.flags() else { continue };
        symbols.resize_with(symbol.index().0.max(symbols.len()), symbols_gap);
        symbols.push(Symbol {
            name: String::from_utf8_lossy(name).into_owned(),
            place: match symbol.section() {
                SymbolSection::Undefined => Place::Undefined,
                SymbolSection::Section(index) if index.0 < sections => Place::Section(index.0),
                SymbolSection::Section(index) => {
                    return Err(ElfError::NotElf {
                        what: format!(
                            "symbol {} lies in section {} of {sections}",
                            String::from_utf8_lossy(name),
                            index.0
                        ),
                    });
                }
                _ => Place::Other,
            },
            kind: match symbol.kind() {
                SymbolKind::Text => SymbolType::Function,
                SymbolKind::Data => SymbolType::Data,
                SymbolKind::Section => SymbolType::Section,
                SymbolKind::Unknown | SymbolKind::Label => SymbolType::Unknown,
                _ => SymbolType::Other,
            },
            value: symbol.address(),
            size: symbol.size(),
            local: symbol.is_local(),
            weak: symbol.is_weak(),
            hidden: matches!(st_other.visibility().0, 1 | 2),
        });
    }
    Ok(symbols)
}

fn symbols_gap() -> Symbol {
    Symbol {
        name: String::new(),
        place: Place::Other,
        kind: SymbolType::Other,
        value: 0,
        size: 0,
        local: true,
        weak: false,
        hidden: false,
    }
}

fn read_section<'a>(
    section: &object::read::elf::ElfSection64<'a, '_, LittleEndian>,
    symbols: &[Symbol],
) -> Result<Section<'a>, ElfError> {
    const WRITE: u64 = 1;
    const ALLOC: u64 = 2;
    const EXEC: u64 = 4;
    let header = section.elf_section_header();
    let flags = header.sh_flags(LittleEndian).0;
    let progbits = header.sh_type(LittleEndian).0 == 1;
    let name = String::from_utf8_lossy(section.name_bytes().map_err(not_elf)?).into_owned();
    let mut out = Section {
        name,
        data: &[],
        size: section.size(),
        alloc: flags & ALLOC != 0,
        code: flags & EXEC != 0 && progbits,
        write: flags & WRITE != 0,
        progbits,
        relocations: Vec::new(),
    };
    out.data = section.data().map_err(|_| out.error(0, "its bytes lie outside of the file"))?;
    if out.alloc && out.size > MAX_SECTION {
        return Err(out.error(0, format!("{} bytes are more than {MAX_SECTION}", out.size)));
    }
    for (offset, relocation) in section.relocations() {
        let RelocationFlags::Elf { r_type } = relocation.flags() else { continue };
        let symbol = match relocation.target() {
            RelocationTarget::Symbol(index) if index.0 < symbols.len() => Some(index.0),
            RelocationTarget::Symbol(index) => {
                return Err(
                    out.error(offset, format!("relocation names symbol {} of {}", index.0, symbols.len()))
                );
            }
            _ => None,
        };
        if offset >= out.size {
            return Err(out.error(offset, "relocation lies outside of the section"));
        }
        let addend = if relocation.has_implicit_addend() { 0 } else { relocation.addend() };
        out.relocations.push(Relocation { offset, symbol, kind: r_type.0, addend });
    }
    out.relocations.sort_by_key(|relocation| relocation.offset);
    Ok(out)
}
