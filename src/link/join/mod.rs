//! Joining: a program and the functions it needs become one list of slots, with references by number.
//!
//! In: an [`Object`]. Out: a [`Program`]. Functions follow the program in the order in which a walk over its
//! instructions meets them, each followed by what it needs first itself: the order of the kernel's own loader
//! library, so that listings and logs can be compared.
#![forbid(unsafe_code)]

mod finish;

use std::collections::HashMap;

use beelift_runtime::ctx::ProgramType;

use super::{HostInterface, Kfunc, Ksym, LinkError, Program};
use crate::btf::{CoreTarget, Kind, TypeId};
use crate::elf::{CodeSection, Extern, ExternKind, Function, Object, Reference};
use crate::isa::opcode as raw;
use crate::isa::{MapSlot, Slot};

/// Opcode of a wide immediate's first slot.
const WIDE: u8 = raw::LD | raw::IMM | raw::DW;
/// Opcode of a call.
const CALL: u8 = raw::JMP | raw::CALL;
/// Slots of the largest program we join.
const MAX_SLOTS: usize = 1 << 22;

/// How to link.
#[derive(Clone, Debug)]
pub struct LinkOptions {
    /// Types that CO-RE relocations are answered from: for each relocation the first of them that knows its
    /// root type.
    pub core_targets: Vec<CoreTarget>,
    /// Program type instead of the one that the section name tells. With it any function of the object may be
    /// linked as a program.
    pub prog_type: Option<ProgramType>,
    /// What the embedder adds. With a program type of its own, `prog_type` does not count, and any function of the
    /// object may be linked as a program.
    pub host: HostInterface,
}

impl Default for LinkOptions {
    /// For user space: the built-in context types, then the object's own, then the running kernel's.
    fn default() -> Self {
        Self {
            core_targets: vec![CoreTarget::Builtin, CoreTarget::Own, CoreTarget::kernel()],
            prog_type: None,
            host: HostInterface::default(),
        }
    }
}

impl LinkOptions {
    /// For loading into the running kernel: its types only.
    #[must_use]
    pub fn for_kernel() -> Self {
        Self { core_targets: vec![CoreTarget::kernel()], ..Self::default() }
    }
}

/// Links one program of an object with the subprograms it calls.
///
/// # Errors
/// A reference that leads nowhere, a CO-RE relocation that is not understood, bytes that are no instruction.
pub fn link(object: &Object, name: &str, options: &LinkOptions) -> Result<Program, LinkError> {
    let def = object.program(name);
    let given = options.host.host_type.map(|_| ProgramType::Host).or(options.prog_type);
    let found = find(object, name, def.is_some() || given.is_none());
    let (section, function) = found.ok_or_else(|| LinkError::NoSuchProgram { name: name.to_owned() })?;
    let prog_type = given.or(def.and_then(|def| def.prog_type));
    let Some(prog_type) = prog_type else {
        let section = object.code()[section].name.clone();
        return Err(LinkError::UnknownType { program: name.to_owned(), section });
    };
    let mut joiner = Joiner::new(object);
    joiner.join((section, function))?;
    joiner.join_exception_callback((section, function))?;
    joiner.finish(name, prog_type, def, options)
}

/// Links the `.text` section of an object behind `prologue`: raw functions with map relocations, run as a
/// program of that type. The prologue falls through into offset 0 of `.text`; its map loads carry slots of the
/// object's maps ([`Object::add_map`] adds more).
///
/// # Errors
/// As [`link`].
pub fn link_raw_text(
    object: &Object,
    prog_type: ProgramType,
    prologue: &[Slot],
) -> Result<Program, LinkError> {
    let no_text = || LinkError::NoSuchProgram { name: ".text".to_owned() };
    let section = object.code().iter().position(|code| code.name == ".text").ok_or_else(no_text)?;
    let function = object.code()[section].function_at(0).ok_or_else(no_text)?;
    let name = object.code()[section].functions[function].name.clone();
    let mut joiner = Joiner::new(object);
    joiner.slots.extend_from_slice(prologue);
    joiner.join((section, function))?;
    let options = LinkOptions { prog_type: Some(prog_type), ..LinkOptions::default() };
    joiner.finish(&name, prog_type, None, &options)
}

/// Where a function is: entry points first.
fn find(object: &Object, name: &str, programs_only: bool) -> Option<Place> {
    let search = |wanted: &dyn Fn(&Function) -> bool| {
        object.code().iter().enumerate().find_map(|(section, code)| {
            let function =
                code.functions.iter().position(|function| function.name == name && wanted(function));
            function.map(|function| (section, function))
        })
    };
    search(&|function| function.program).or_else(|| if programs_only { None } else { search(&|_| true) })
}

/// A function by section and index in it.
type Place = (usize, usize);

/// A function in the output.
struct Piece {
    place: Place,
    /// First output slot of its own instructions.
    start: usize,
}

/// A reference from an output slot to a function.
struct Fixup {
    slot: usize,
    to: Place,
    /// Address of the function rather than a call.
    address: bool,
}

struct Joiner<'a> {
    object: &'a Object,
    slots: Vec<Slot>,
    pieces: Vec<Piece>,
    placed: HashMap<Place, usize>,
    fixups: Vec<Fixup>,
    kfuncs: Vec<Kfunc>,
    ksyms: Vec<Ksym>,
    /// Slots given to kfuncs and kernel symbols, by extern.
    kfunc_slots: HashMap<usize, u32>,
    ksym_slots: HashMap<usize, u32>,
    /// Kernel configuration values by their place.
    config: HashMap<u32, usize>,
    /// Index of the piece that ends the program after an exception.
    exception_callback: Option<usize>,
}

impl<'a> Joiner<'a> {
    fn new(object: &'a Object) -> Self {
        Self {
            object,
            slots: Vec::new(),
            pieces: Vec::new(),
            placed: HashMap::new(),
            fixups: Vec::new(),
            kfuncs: Vec::new(),
            ksyms: Vec::new(),
            kfunc_slots: HashMap::new(),
            ksym_slots: HashMap::new(),
            config: config_places(object),
            exception_callback: None,
        }
    }

    fn code(&self, place: Place) -> (&'a CodeSection, &'a Function) {
        let code = &self.object.code()[place.0];
        (code, &code.functions[place.1])
    }

    /// Appends a function and, depth first, all it refers to. An explicit stack: objects may nest calls deeply.
    fn join(&mut self, program: Place) -> Result<(), LinkError> {
        let mut stack = vec![(self.append(program)?, 0)];
        while let Some((piece, next)) = stack.pop() {
            let place = self.pieces[piece].place;
            let (_, function) = self.code(place);
            let mut slot = function.start + next;
            while slot < function.end {
                let opcode = self.code(place).0.slots[slot as usize].opcode();
                let to = match opcode {
                    WIDE => self.wide(piece, slot)?,
                    CALL => self.call(piece, slot)?,
                    // The second half of a wide immediate takes none, either.
                    _ => {
                        self.no_reference(place, slot)?;
                        None
                    }
                };
                slot += 1;
                if let Some(to) = to.filter(|to| !self.placed.contains_key(to)) {
                    stack.push((piece, slot - function.start));
                    stack.push((self.append(to)?, 0));
                    break;
                }
            }
        }
        for fixup in &self.fixups {
            let target = self.placed[&fixup.to];
            let distance = target as i64 - fixup.slot as i64 - 1;
            let distance = i32::try_from(distance).expect("slots are capped");
            let old = self.slots[fixup.slot];
            let src = if fixup.address { raw::PSEUDO_FUNC } else { raw::PSEUDO_CALL };
            self.slots[fixup.slot] = Slot::new(old.opcode(), old.dst(), src, 0, distance);
            if fixup.address {
                self.slots[fixup.slot + 1] = Slot::default();
            }
        }
        Ok(())
    }

    /// Appends the function that the program names for exceptions, by a tag in its types.
    fn join_exception_callback(&mut self, program: Place) -> Result<(), LinkError> {
        const TAG: &str = "exception_callback:";
        let Some(btf) = self.object.btf() else { return Ok(()) };
        let func = TypeId(self.code(program).1.btf_func);
        let mut names = btf.ids().filter_map(|id| {
            let tag = btf.type_at(id);
            let of_program = matches!(tag.kind, Kind::DeclTag { of, component: None } if of == func);
            if of_program { tag.name.strip_prefix(TAG) } else { None }
        });
        let Some(name) = names.next() else { return Ok(()) };
        let from = (program.0, self.code(program).1.start);
        if names.next().is_some() {
            return Err(self.error(from, "more than one exception callback"));
        }
        let Some(place) = find(self.object, name, false) else {
            return Err(self.error(from, format!("there is no exception callback `{name}`")));
        };
        if !self.placed.contains_key(&place) {
            self.join(place)?;
        }
        // A function that is called, too, stands where it was first needed.
        self.exception_callback = self.pieces.iter().position(|piece| piece.place == place);
        Ok(())
    }

    fn append(&mut self, place: Place) -> Result<usize, LinkError> {
        let (code, function) = self.code(place);
        let body = &code.slots[function.start as usize..function.end as usize];
        if self.slots.len() + body.len() > MAX_SLOTS {
            return Err(LinkError::TooLarge { limit: MAX_SLOTS });
        }
        // The program starts where its prologue does.
        let entry = if self.pieces.is_empty() { 0 } else { self.slots.len() };
        self.placed.insert(place, entry);
        self.pieces.push(Piece { place, start: self.slots.len() });
        self.slots.extend_from_slice(body);
        Ok(self.pieces.len() - 1)
    }

    fn error(&self, (section, slot): (usize, u32), what: impl Into<String>) -> LinkError {
        let section = self.object.code()[section].name.clone();
        LinkError::Reference { section, slot, what: what.into() }
    }

    fn function_at(&self, from: (usize, u32), section: usize, slot: u32) -> Result<Place, LinkError> {
        let function = self.object.code()[section].function_at(slot);
        function.map(|function| (section, function)).ok_or_else(|| {
            let name = &self.object.code()[section].name;
            self.error(from, format!("no function starts at instruction {slot} of section {name}"))
        })
    }

    /// A relocation on an instruction that can take none: it resolves to nothing else.
    fn no_reference(&self, place: Place, slot: u32) -> Result<(), LinkError> {
        match self.code(place).0.reference_at(slot) {
            None => Ok(()),
            Some(Reference::Broken(what)) => Err(self.error((place.0, slot), what.clone())),
            Some(_) => unreachable!("only wide immediates and calls refer to something"),
        }
    }

    /// Output index of an input slot.
    fn out(&self, piece: usize, slot: u32) -> usize {
        let (_, function) = self.code(self.pieces[piece].place);
        self.pieces[piece].start + (slot - function.start) as usize
    }

    fn patch_wide(&mut self, piece: usize, slot: u32, src: u8, low: u32, high: u32) {
        let at = self.out(piece, slot);
        let old = self.slots[at];
        self.slots[at] = Slot::new(old.opcode(), old.dst(), src, 0, low.cast_signed());
        self.slots[at + 1] = Slot::new(0, 0, 0, 0, high.cast_signed());
    }

    fn wide(&mut self, piece: usize, slot: u32) -> Result<Option<Place>, LinkError> {
        let place = self.pieces[piece].place;
        let from = (place.0, slot);
        let (code, function) = self.code(place);
        if slot + 1 >= function.end {
            return Err(self.error(from, "a wide immediate is cut in half"));
        }
        match code.reference_at(slot) {
            None if code.slots[slot as usize].src() == raw::PSEUDO_FUNC => {
                let target = i64::from(slot) + 1 + i64::from(code.slots[slot as usize].imm());
                self.function_reference(piece, slot, place.0, target, true).map(Some)
            }
            None => Ok(None),
            Some(Reference::Map(map)) => {
                self.patch_wide(piece, slot, raw::PSEUDO_MAP_FD, map.0, 0);
                Ok(None)
            }
            Some(Reference::MapValue(map, offset)) => {
                self.config_is_set(from, *map, *offset)?;
                self.patch_wide(piece, slot, raw::PSEUDO_MAP_VALUE, map.0, *offset);
                Ok(None)
            }
            Some(Reference::Function { section, slot: target }) => {
                self.function_reference(piece, slot, *section, i64::from(*target), true).map(Some)
            }
            Some(Reference::Extern(index)) => {
                let ksym = self.ksym(*index);
                self.patch_wide(piece, slot, raw::PSEUDO_BTF_ID, ksym, 0);
                Ok(None)
            }
            Some(Reference::Broken(what)) => Err(self.error(from, what.clone())),
        }
    }

    fn call(&mut self, piece: usize, slot: u32) -> Result<Option<Place>, LinkError> {
        let place = self.pieces[piece].place;
        let from = (place.0, slot);
        let (code, _) = self.code(place);
        let insn = code.slots[slot as usize];
        match code.reference_at(slot) {
            None if insn.src() == raw::PSEUDO_CALL => {
                let target = i64::from(slot) + 1 + i64::from(insn.imm());
                self.function_reference(piece, slot, place.0, target, false).map(Some)
            }
            None => Ok(None),
            Some(Reference::Function { section, slot: target }) => {
                self.function_reference(piece, slot, *section, i64::from(*target), false).map(Some)
            }
            Some(Reference::Extern(index)) => {
                let symbol = &self.object.externs()[*index];
                if symbol.kind != ExternKind::Kfunc {
                    return Err(self.error(from, format!("{} is called but is no function", symbol.name)));
                }
                let kfunc = self.kfunc(*index);
                let at = self.out(piece, slot);
                self.slots[at] = Slot::new(CALL, 0, raw::PSEUDO_KFUNC_CALL, 0, kfunc.cast_signed());
                Ok(None)
            }
            Some(Reference::Broken(what)) => Err(self.error(from, what.clone())),
            Some(Reference::Map(_) | Reference::MapValue(..)) => Err(self.error(from, "data is called")),
        }
    }

    fn function_reference(
        &mut self,
        piece: usize,
        slot: u32,
        section: usize,
        target: i64,
        address: bool,
    ) -> Result<Place, LinkError> {
        let from = (self.pieces[piece].place.0, slot);
        let target =
            u32::try_from(target).map_err(|_| self.error(from, "the call leads out of the section"))?;
        let to = self.function_at(from, section, target)?;
        let slot = self.out(piece, slot);
        self.fixups.push(Fixup { slot, to, address });
        Ok(to)
    }

    fn config_is_set(&self, from: (usize, u32), map: MapSlot, at: u32) -> Result<(), LinkError> {
        if self.object.maps()[map.0 as usize].name != ".kconfig" {
            return Ok(());
        }
        let Some(&index) = self.config.get(&at) else { return Ok(()) };
        let symbol = &self.object.externs()[index];
        if symbol.set || symbol.weak {
            return Ok(());
        }
        Err(LinkError::ConfigUnset {
            section: self.object.code()[from.0].name.clone(),
            slot: from.1,
            name: symbol.name.clone(),
        })
    }

    fn kfunc(&mut self, index: usize) -> u32 {
        let symbol = &self.object.externs()[index];
        *self.kfunc_slots.entry(index).or_insert_with(|| {
            self.kfuncs.push(Kfunc {
                name: symbol.name.clone(),
                weak: symbol.weak,
                btf_func: symbol.btf_type,
            });
            u32::try_from(self.kfuncs.len() - 1).expect("externs are few")
        })
    }

    /// A kfunc whose address is taken is a kernel symbol, too: numbers of the two are apart.
    fn ksym(&mut self, index: usize) -> u32 {
        let symbol = &self.object.externs()[index];
        *self.ksym_slots.entry(index).or_insert_with(|| {
            self.ksyms.push(Ksym { name: symbol.name.clone(), weak: symbol.weak, btf_type: symbol.btf_type });
            u32::try_from(self.ksyms.len() - 1).expect("externs are few")
        })
    }
}

fn config_places(object: &Object) -> HashMap<u32, usize> {
    let place = |(index, symbol): (usize, &Extern)| match symbol.kind {
        ExternKind::Kconfig { offset, .. } => Some((offset, index)),
        ExternKind::Ksym | ExternKind::Kfunc => None,
    };
    object.externs().iter().enumerate().filter_map(place).collect()
}
