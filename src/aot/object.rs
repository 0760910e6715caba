//! The relocatable ELF object: code, map descriptors and storage, program descriptors.
//!
//! Field offsets of the descriptors are those of `beelift.h`, which asserts them.
#![forbid(unsafe_code)]

use beelift_runtime::abi::offset;
use object::write::{
    Object, Relocation, SectionId, StandardSection, Symbol as ElfSymbol, SymbolId, SymbolSection,
};
use object::{
    Architecture, BinaryFormat, Endianness, RelocationFlags, SectionFlags, SectionKind, SymbolFlags,
    SymbolKind, SymbolScope, elf,
};

use super::layout::Plan;
use super::{AotError, Unit, helper_name, map_of, symbols};
use crate::codegen::{RelocKind, Stub, Symbol, Target};

/// `struct beelift_run` begins as `ExecContext` does, as far as generated code knows it.
const _: () = assert!(
    offset::TRAP == 0
        && offset::TRAP_INSN == 4
        && offset::SAVED_SP == 8
        && offset::TRAP_EXIT == 16
        && offset::FUEL == 24
        && offset::CPU == 32
        && offset::TAIL_CALLS == 36
);

/// Version of the descriptors and of the run-time context.
pub(super) const ABI: u32 = 2;
/// Bytes of `struct beelift_map`.
const MAP_BYTES: usize = 48;
/// Bytes of `struct beelift_program`.
const PROGRAM_BYTES: usize = 40;
/// Alignment of stored values: CPU slots never share a cache line.
const VALUES_ALIGN: u64 = 128;

/// An object being written.
struct Writer<'a> {
    elf: Object<'static>,
    aarch64: bool,
    plan: &'a Plan,
    /// Descriptor and storage of each planned map.
    maps: Vec<(SymbolId, Option<SymbolId>)>,
}

/// All units as one object.
pub(super) fn write(units: &[Unit<'_>], plan: &Plan, target: &Target) -> Result<Vec<u8>, AotError> {
    let aarch64 = target.is_aarch64();
    let architecture = if aarch64 { Architecture::Aarch64 } else { Architecture::X86_64 };
    let elf = Object::new(BinaryFormat::Elf, architecture, Endianness::Little);
    let mut writer = Writer { elf, aarch64, plan, maps: Vec::new() };
    writer.notes();
    writer.maps()?;
    for (unit, id) in units.iter().zip(&plan.programs) {
        let entry = writer.code(unit, id, target)?;
        writer.program(unit, id, entry)?;
    }
    writer.elf.write().map_err(|error| AotError::Write(error.to_string()))
}

impl Writer<'_> {
    /// No executable stack; on aarch64, branch targets are marked.
    fn notes(&mut self) {
        let stack = self.elf.add_section(Vec::new(), b".note.GNU-stack".to_vec(), SectionKind::Other);
        self.elf.section_mut(stack).flags =
            SectionFlags::Elf { sh_type: elf::SHT_PROGBITS, sh_flags: elf::SectionFlags(0) };
        if self.aarch64 {
            let note = self.elf.add_section(Vec::new(), b".note.gnu.property".to_vec(), SectionKind::Note);
            self.elf.section_mut(note).flags =
                SectionFlags::Elf { sh_type: elf::SHT_NOTE, sh_flags: elf::SHF_ALLOC };
            // name size, data size, NT_GNU_PROPERTY_TYPE_0, "GNU", FEATURE_1_AND of four bytes: BTI.
            let words: [u32; 8] = [4, 16, 5, u32::from_le_bytes(*b"GNU\0"), 0xc000_0000, 4, 1, 0];
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            self.elf.append_section_data(note, &bytes, 8);
        }
    }

    /// A symbol without a place yet.
    fn symbol(&mut self, name: &str, kind: SymbolKind, scope: SymbolScope) -> SymbolId {
        self.elf.add_symbol(ElfSymbol {
            name: name.as_bytes().to_vec(),
            value: 0,
            size: 0,
            kind,
            scope,
            weak: false,
            section: SymbolSection::Undefined,
            flags: SymbolFlags::None,
        })
    }

    fn section(&mut self, section: StandardSection) -> SectionId {
        self.elf.section_id(section)
    }

    fn text(&mut self, name: &str, text: &str) -> SymbolId {
        let symbol = self.symbol(name, SymbolKind::Data, SymbolScope::Compilation);
        let section = self.section(StandardSection::ReadOnlyData);
        self.elf.add_symbol_data(symbol, section, &[text.as_bytes(), &[0]].concat(), 1);
        symbol
    }

    fn pointer(&mut self, section: SectionId, offset: u64, symbol: SymbolId) -> Result<(), AotError> {
        let r_type = if self.aarch64 { elf::R_AARCH64_ABS64 } else { elf::R_X86_64_64 };
        self.relocation(section, offset, symbol, 0, r_type)
    }

    fn relocation(
        &mut self,
        section: SectionId,
        offset: u64,
        symbol: SymbolId,
        addend: i64,
        r_type: elf::RelocationType,
    ) -> Result<(), AotError> {
        let flags = RelocationFlags::Elf { r_type };
        self.elf
            .add_relocation(section, Relocation { offset, symbol, addend, flags })
            .map_err(|error| AotError::Write(error.to_string()))
    }

    /// Descriptors and storage.
    fn maps(&mut self) -> Result<(), AotError> {
        for map in &self.plan.maps {
            let def = &map.def;
            let storage = (map.storage > 0).then(|| {
                let name = format!("beelift_values_{}", map.id);
                let symbol = self.symbol(&name, SymbolKind::Data, SymbolScope::Compilation);
                match &def.initial {
                    Some(initial) => {
                        let mut bytes = initial.to_vec();
                        // The size was limited when the map was planned.
                        bytes.resize(usize::try_from(map.storage).expect("limited"), 0);
                        let kind =
                            if def.frozen { StandardSection::ReadOnlyData } else { StandardSection::Data };
                        let section = self.section(kind);
                        self.elf.add_symbol_data(symbol, section, &bytes, VALUES_ALIGN);
                    }
                    None => {
                        let section = self.section(StandardSection::UninitializedData);
                        self.elf.add_symbol_bss(symbol, section, map.storage, VALUES_ALIGN);
                    }
                }
                symbol
            });
            let name = self.text(&format!("beelift_name_{}", map.id), &def.name);
            let words = [
                def.kind.id(),
                def.key_size,
                def.value_size,
                def.max_entries,
                def.flags.bits(),
                self.plan.cpus,
            ];
            let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            bytes.resize(MAP_BYTES, 0);
            let symbol =
                self.symbol(&format!("beelift_map_{}", map.id), SymbolKind::Data, SymbolScope::Linkage);
            let section = self.section(StandardSection::Data);
            let at = self.elf.add_symbol_data(symbol, section, &bytes, 16);
            if let Some(storage) = storage {
                self.pointer(section, at + 24, storage)?;
            }
            self.pointer(section, at + 32, name)?;
            self.maps.push((symbol, storage));
        }
        Ok(())
    }

    /// All functions of a program; the entry's symbol.
    fn code(&mut self, unit: &Unit<'_>, id: &str, target: &Target) -> Result<SymbolId, AotError> {
        let section = self.section(StandardSection::Text);
        let mut functions = Vec::with_capacity(unit.code.functions.len());
        for (index, function) in unit.code.functions.iter().enumerate() {
            let name = format!("{id}.{index}.{}", function.name);
            let symbol = self.symbol(&name, SymbolKind::Text, SymbolScope::Compilation);
            let align = u64::from(function.align.max(16));
            let at = self.elf.add_symbol_data(symbol, section, &function.bytes, align);
            functions.push((symbol, at));
        }
        for (function, &(_, at)) in unit.code.functions.iter().zip(&functions) {
            for reloc in &function.relocs {
                let data = map_of(reloc.symbol).is_some();
                let r_type = match (reloc.kind, self.aarch64) {
                    (RelocKind::Abs8, false) => elf::R_X86_64_64,
                    (RelocKind::Abs8, true) => elf::R_AARCH64_ABS64,
                    (RelocKind::X86CallPcRel4, false) if !data => elf::R_X86_64_PLT32,
                    // Cranelift writes the address of near data like that of a near function.
                    (RelocKind::X86CallPcRel4 | RelocKind::X86PcRel4, false) => elf::R_X86_64_PC32,
                    (RelocKind::Aarch64Call, true) => elf::R_AARCH64_CALL26,
                    (RelocKind::Aarch64AdrPage, true) => elf::R_AARCH64_ADR_PREL_PG_HI21,
                    (RelocKind::Aarch64AddLow12, true) => elf::R_AARCH64_ADD_ABS_LO12_NC,
                    (RelocKind::X86CallPcRel4 | RelocKind::X86PcRel4, true)
                    | (
                        RelocKind::Aarch64Call | RelocKind::Aarch64AdrPage | RelocKind::Aarch64AddLow12,
                        false,
                    ) => return Err(AotError::WrongTarget(target.triple())),
                };
                let symbol = match reloc.symbol {
                    Symbol::Function(index) => functions[index as usize].0, // u32 to usize
                    Symbol::Helper(id) | Symbol::MapHelper(id, _) => {
                        self.undefined(&format!("beelift_{}", helper_name(unit.verified.program(), id)))
                    }
                    Symbol::Stub(Stub::TrapExit) => self.undefined("beelift_trap_exit"),
                    Symbol::Kfunc(_)
                    | Symbol::Arena(_)
                    | Symbol::Stub(
                        Stub::PacketLoad | Stub::ObjectLoad | Stub::MapIterate | Stub::ThrowExit,
                    ) => {
                        unreachable!("refused before anything is written")
                    }
                    Symbol::MapHandle(slot) => self.maps[self.plan.map(slot)].0,
                    Symbol::MapBase(slot) => self.maps[self.plan.map(slot)]
                        .1
                        .expect("only arrays have a base, and they are stored"),
                };
                self.relocation(section, at + u64::from(reloc.offset), symbol, reloc.addend, r_type)?;
            }
        }
        Ok(functions[unit.code.entry as usize].0) // u32 to usize
    }

    fn undefined(&mut self, name: &str) -> SymbolId {
        match self.elf.symbol_id(name.as_bytes()) {
            Some(known) => known,
            None => self.symbol(name, SymbolKind::Text, SymbolScope::Dynamic),
        }
    }

    /// `struct beelift_program` and its list of maps.
    fn program(&mut self, unit: &Unit<'_>, id: &str, entry: SymbolId) -> Result<(), AotError> {
        let mut slots: Vec<_> = symbols(unit).filter_map(map_of).collect();
        slots.sort_unstable_by_key(|slot| slot.0);
        slots.dedup();
        let section = self.section(StandardSection::ReadOnlyDataWithRel);
        let list = self.symbol(&format!("beelift_maps_of_{id}"), SymbolKind::Data, SymbolScope::Compilation);
        let at = self.elf.add_symbol_data(list, section, &vec![0; slots.len() * 8], 8);
        for (index, &slot) in slots.iter().enumerate() {
            let descriptor = self.maps[self.plan.map(slot)].0;
            self.pointer(section, at + index as u64 * 8, descriptor)?;
        }
        let name = self.text(&format!("beelift_name_of_{id}"), &unit.verified.program().name);
        let mut bytes = vec![0; PROGRAM_BYTES];
        let count = u32::try_from(slots.len()).expect("as many as map slots");
        for (offset, word) in
            [(24, count), (28, ABI), (32, unit.verified.program().prog_type.id()), (36, self.plan.cpus)]
        {
            bytes[offset..offset + 4].copy_from_slice(&word.to_le_bytes());
        }
        let symbol = self.symbol(&format!("beelift_program_{id}"), SymbolKind::Data, SymbolScope::Linkage);
        let at = self.elf.add_symbol_data(symbol, section, &bytes, 8);
        self.pointer(section, at, name)?;
        self.pointer(section, at + 8, entry)?;
        self.pointer(section, at + 16, list)
    }
}
