//! The linker: gives every symbol of [`CompiledCode`] an address and publishes the bytes.
//!
//! Functions of one program lie in one block, so calls between them are near. Maps are far away: their addresses stand
//! as eight bytes in the code. Helpers and stubs are called as if they were near on x86-64, which they are as a rule; where
//! they are not, the call goes to a jump at the end of the block.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::io;

use beelift_runtime::abi::HelperFn;
use beelift_runtime::helper::{self, MAP_ITERATE, OBJECT_LOAD, PACKET_LOAD};
use beelift_runtime::map::MapHandle;
use beelift_runtime::map::arena::ArenaMap;

use super::memory::{CodeMemory, Executable};
use crate::codegen::{CompiledCode, Reloc, RelocKind, Stub, Symbol};
use crate::isa::MapSlot;

/// Why code could not be bound to its surroundings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// Nobody provides this helper here.
    #[error("helper {0} has no native function")]
    HelperMissing(u32),
    /// User space does not serve this kernel function.
    #[error("kernel function {0} has no native function")]
    KfuncMissing(u32),
    /// The map slot has no map.
    #[error("map {} is not bound", .0.0)]
    MapMissing(MapSlot),
    /// The code takes the address of the values of a map that keeps none at a fixed place.
    #[error("map {} has no fixed place for its values", .0.0)]
    NoBase(MapSlot),
    /// A reference reaches further than its encoding.
    #[error("reference to {0} is out of reach")]
    OutOfReach(Symbol),
    /// The system refused executable memory.
    #[error(
        "no executable memory: {0}; a policy (SELinux execmem, a container profile) may forbid it, use the interpreter then"
    )]
    Memory(#[from] io::Error),
}

/// What code may refer to.
pub struct Bindings<'a> {
    /// Maps by slot.
    pub maps: &'a [Box<MapHandle>],
    /// Native functions of helpers by number.
    pub helpers: &'a dyn Fn(u32) -> Option<HelperFn>,
    /// Address of [`Stub::TrapExit`](crate::codegen::Stub).
    pub trap_exit: u64,
    /// Address of [`Stub::ThrowExit`](crate::codegen::Stub).
    pub throw_exit: u64,
}

/// Published code and where its parts lie.
pub(super) struct Linked {
    pub(super) block: Executable,
    pub(super) entry: u64,
    /// Start of each function in the block.
    pub(super) starts: Vec<u32>,
}

/// Lays the functions out, applies relocations and publishes.
pub(super) fn link(
    code: &CompiledCode,
    memory: &CodeMemory,
    bindings: &Bindings<'_>,
) -> Result<Linked, LinkError> {
    let mut starts = Vec::with_capacity(code.functions.len());
    let mut len = 0_usize;
    for function in &code.functions {
        len = len.next_multiple_of(function.align.max(16) as usize);
        starts.push(u32::try_from(len).expect("a program's code is far below 4 GiB"));
        len += function.bytes.len();
    }
    let mut block = memory.allocate(len)?;
    let mut jumps = Jumps::new(code, len, block.address(), bindings)?;
    if !jumps.targets.is_empty() {
        block = memory.allocate(jumps.start + jumps.targets.len() * JUMP_BYTES)?;
    }
    let base = block.address();
    jumps.base = base;
    let mut known = HashMap::new();
    let mut bytes = Vec::new();
    for (function, &start) in code.functions.iter().zip(&starts) {
        bytes.clear();
        bytes.extend_from_slice(&function.bytes);
        for reloc in &function.relocs {
            let target = match known.get(&reloc.symbol) {
                Some(&address) => address,
                None => {
                    let address = address_of(reloc.symbol, base, &starts, bindings)?;
                    known.insert(reloc.symbol, address);
                    address
                }
            };
            let place = base + u64::from(start) + u64::from(reloc.offset);
            let target = if reloc.kind == RelocKind::X86CallPcRel4 { jumps.way_to(target) } else { target };
            apply(&mut bytes, reloc, place, target)?;
        }
        block.write(start as usize, &bytes);
    }
    for (index, &target) in jumps.targets.iter().enumerate() {
        block.write(jumps.start + index * JUMP_BYTES, &jump_to(target));
    }
    let entry = base + u64::from(starts[code.entry as usize]);
    Ok(Linked { block: block.publish(), entry, starts })
}

/// Jumps for calls that do not reach their target.
struct Jumps {
    /// Where they begin in the block.
    start: usize,
    base: u64,
    targets: Vec<u64>,
}

/// What a near call reaches from anywhere in a block of less than 128 MiB.
const NEAR: u64 = (2 << 30) - (128 << 20);

/// Bytes of a jump and the address it goes to.
const JUMP_BYTES: usize = 16;

impl Jumps {
    /// What a block at `base` with `len` bytes of functions needs.
    fn new(code: &CompiledCode, len: usize, base: u64, bindings: &Bindings<'_>) -> Result<Self, LinkError> {
        let mut jumps = Self { start: len.next_multiple_of(JUMP_BYTES), base, targets: Vec::new() };
        let mut all_near = true;
        for reloc in code.functions.iter().flat_map(|function| &function.relocs) {
            if reloc.kind != RelocKind::X86CallPcRel4 || matches!(reloc.symbol, Symbol::Function(_)) {
                continue;
            }
            let target = address_of(reloc.symbol, base, &[], bindings)?;
            all_near &= target.abs_diff(base) < NEAR;
            if !jumps.targets.contains(&target) {
                jumps.targets.push(target);
            }
        }
        if all_near {
            jumps.targets.clear();
        }
        // Otherwise all get one: the larger block may come to lie elsewhere.
        Ok(jumps)
    }

    /// Where a call of the target goes.
    fn way_to(&self, target: u64) -> u64 {
        match self.targets.iter().position(|&far| far == target) {
            Some(index) => self.base + (self.start + index * JUMP_BYTES) as u64,
            None => target,
        }
    }
}

/// `jmp *0(%rip)`, the address, and bytes that trap.
fn jump_to(target: u64) -> [u8; JUMP_BYTES] {
    let mut bytes = [0xcc; JUMP_BYTES];
    bytes[..6].copy_from_slice(&[0xff, 0x25, 0, 0, 0, 0]);
    bytes[6..14].copy_from_slice(&target.to_le_bytes());
    bytes
}

fn address_of(symbol: Symbol, base: u64, starts: &[u32], bindings: &Bindings<'_>) -> Result<u64, LinkError> {
    match symbol {
        Symbol::Function(index) => Ok(base + u64::from(starts[index as usize])),
        Symbol::Helper(id) => (bindings.helpers)(id)
            .map(|function| function as usize as u64)
            .ok_or(LinkError::HelperMissing(id)),
        Symbol::Kfunc(number) => helper::kfunc(number)
            .and_then(|kfunc| kfunc.function)
            .map(|function| function as usize as u64)
            .ok_or(LinkError::KfuncMissing(number)),
        Symbol::MapHelper(id, slot) => match helper::for_map(id, map(bindings, slot)?) {
            Some(function) => Ok(function as usize as u64),
            None => address_of(Symbol::Helper(id), base, starts, bindings),
        },
        Symbol::MapHandle(slot) => Ok(std::ptr::from_ref(map(bindings, slot)?) as u64),
        Symbol::MapBase(slot) => {
            map(bindings, slot)?.map.base().map(|base| base.0).ok_or(LinkError::NoBase(slot))
        }
        Symbol::Arena(slot) => {
            let arena = map(bindings, slot)?.map.as_any().downcast_ref::<ArenaMap>();
            arena.map(ArenaMap::window).ok_or(LinkError::NoBase(slot))
        }
        Symbol::Stub(Stub::TrapExit) => Ok(bindings.trap_exit),
        Symbol::Stub(Stub::ThrowExit) => Ok(bindings.throw_exit),
        Symbol::Stub(Stub::PacketLoad) => Ok(PACKET_LOAD as usize as u64),
        Symbol::Stub(Stub::ObjectLoad) => Ok(OBJECT_LOAD as usize as u64),
        Symbol::Stub(Stub::MapIterate) => Ok(MAP_ITERATE as usize as u64),
    }
}

fn map<'a>(bindings: &Bindings<'a>, slot: MapSlot) -> Result<&'a MapHandle, LinkError> {
    bindings.maps.get(slot.0 as usize).map(|handle| &**handle).ok_or(LinkError::MapMissing(slot))
}

/// Writes one address. `place` is where the field will be.
fn apply(bytes: &mut [u8], reloc: &Reloc, place: u64, target: u64) -> Result<(), LinkError> {
    let out_of_reach = |_| LinkError::OutOfReach(reloc.symbol);
    let value = target.wrapping_add_signed(reloc.addend);
    let at = reloc.offset as usize;
    match reloc.kind {
        RelocKind::Abs8 => bytes[at..at + 8].copy_from_slice(&value.to_le_bytes()),
        RelocKind::X86CallPcRel4 | RelocKind::X86PcRel4 => {
            let distance = value.wrapping_sub(place).cast_signed();
            let distance = i32::try_from(distance).map_err(out_of_reach)?;
            bytes[at..at + 4].copy_from_slice(&distance.to_le_bytes());
        }
        RelocKind::Aarch64Call => {
            let distance = value.wrapping_sub(place).cast_signed();
            if distance % 4 != 0 || !(-(1 << 27)..1 << 27).contains(&distance) {
                return Err(LinkError::OutOfReach(reloc.symbol));
            }
            let field = u32::try_from((distance >> 2) & 0x03ff_ffff).expect("masked to 26 bits");
            patch_word(bytes, at, 0x03ff_ffff, field);
        }
        RelocKind::Aarch64AdrPage => {
            let pages = ((value >> 12).wrapping_sub(place >> 12)).cast_signed();
            if !(-(1 << 20)..1 << 20).contains(&pages) {
                return Err(LinkError::OutOfReach(reloc.symbol));
            }
            let pages = u32::try_from(pages & 0x1f_ffff).expect("masked to 21 bits");
            patch_word(bytes, at, 0x60ff_ffe0, (pages & 3) << 29 | (pages >> 2) << 5);
        }
        RelocKind::Aarch64AddLow12 => {
            let low = u32::try_from(value & 0xfff).expect("masked to 12 bits");
            patch_word(bytes, at, 0xfff << 10, low << 10);
        }
    }
    Ok(())
}

/// Replaces the bits of `mask` in the instruction word at `at`.
fn patch_word(bytes: &mut [u8], at: usize, mask: u32, field: u32) {
    let word = u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    bytes[at..at + 4].copy_from_slice(&(word & !mask | field).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codegen::{CompiledFunction, Convention};

    fn patched(kind: RelocKind, word: u32, place: u64, target: u64) -> u32 {
        let mut bytes = word.to_le_bytes().to_vec();
        let reloc = Reloc { offset: 0, kind, symbol: Symbol::Helper(1), addend: 0 };
        apply(&mut bytes, &reloc, place, target).expect("in reach");
        u32::from_le_bytes(bytes.try_into().expect("four bytes"))
    }

    #[test]
    fn aarch64_fields_match_the_assembler() {
        // bl to the instruction before, and one far ahead.
        assert_eq!(patched(RelocKind::Aarch64Call, 0x9400_0000, 0x1000, 0xffc), 0x97ff_ffff);
        assert_eq!(patched(RelocKind::Aarch64Call, 0x9400_0000, 0x1000, 0x1010), 0x9400_0004);
        // adrp x0, one and three pages ahead, and one more for the place's own distance into its page; add x0, x0, #0x123.
        assert_eq!(patched(RelocKind::Aarch64AdrPage, 0x9000_0000, 0x1000, 0x2fff), 0xb000_0000);
        assert_eq!(patched(RelocKind::Aarch64AdrPage, 0x9000_0000, 0x1000, 0x5000), 0x9000_0020);
        assert_eq!(patched(RelocKind::Aarch64AdrPage, 0x9000_0000, 0x1ffc, 0x2000), 0xb000_0000);
        assert_eq!(patched(RelocKind::Aarch64AddLow12, 0x9100_0000, 0, 0x4123), 0x9104_8c00);
    }

    #[test]
    fn calls_that_do_not_reach_go_to_jumps_behind_the_code() {
        let call = |symbol| Reloc { offset: 1, kind: RelocKind::X86CallPcRel4, symbol, addend: -4 };
        let relocs = vec![call(Symbol::Stub(Stub::TrapExit)), call(Symbol::Stub(Stub::ThrowExit))];
        let function = CompiledFunction {
            name: String::new(),
            subprogram: 0,
            bytes: vec![0xe8, 0, 0, 0, 0],
            align: 16,
            relocs,
            pc_map: Vec::new(),
        };
        let code = CompiledCode { functions: vec![function], entry: 0, convention: Convention::Bare };
        let jumps = |trap_exit, throw_exit| {
            let bindings = Bindings { maps: &[], helpers: &|_| None, trap_exit, throw_exit };
            Jumps::new(&code, 20, 0x5000_0000, &bindings).expect("all bound")
        };
        assert!(jumps(0x4000_0000, 0x9000_0000).targets.is_empty());
        let far = jumps(0x4000_0000, 0x7fff_0000_0000);
        assert_eq!(far.targets, [0x4000_0000, 0x7fff_0000_0000]);
        assert_eq!(far.way_to(0x7fff_0000_0000), 0x5000_0000 + 32 + 16);
        assert_eq!(jump_to(0x0102_0304_0506)[..14], [0xff, 0x25, 0, 0, 0, 0, 6, 5, 4, 3, 2, 1, 0, 0]);
    }

    #[test]
    fn functions_begin_where_they_want_to() {
        let function = |len, align| CompiledFunction {
            name: String::new(),
            subprogram: 0,
            bytes: vec![0x90; len],
            align,
            relocs: Vec::new(),
            pc_map: Vec::new(),
        };
        let functions = vec![function(1, 1), function(17, 4), function(3, 64)];
        let code = CompiledCode { functions, entry: 1, convention: Convention::Bare };
        let memory = CodeMemory::new();
        let bindings = Bindings { maps: &[], helpers: &|_| None, trap_exit: 0, throw_exit: 0 };
        let linked = link(&code, &memory, &bindings).expect("no references");
        assert_eq!(linked.starts, [0, 16, 64]);
        assert_eq!(linked.entry % 16, 0);
    }

    #[test]
    fn relative_references_that_do_not_reach_are_errors() {
        let reloc = Reloc { offset: 0, kind: RelocKind::X86PcRel4, symbol: Symbol::Helper(1), addend: -4 };
        let mut bytes = [0; 4];
        assert!(apply(&mut bytes, &reloc, 0, 1 << 31).is_ok());
        assert!(matches!(apply(&mut bytes, &reloc, 0, 1 << 32), Err(LinkError::OutOfReach(_))));
        let call = Reloc { kind: RelocKind::Aarch64Call, addend: 0, ..reloc };
        let mut reaches = |target| apply(&mut bytes, &call, 1 << 30, target).is_ok();
        assert!(reaches((1 << 30) + (1 << 27) - 4) && reaches((1 << 30) - (1 << 27)));
        assert!(
            !reaches((1 << 30) + (1 << 27)) && !reaches((1 << 30) - (1 << 27) - 4) && !reaches((1 << 30) + 2)
        );
    }
}
