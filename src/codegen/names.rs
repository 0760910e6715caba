//! [`Symbol`]s as Cranelift's numbered names, and back.
#![forbid(unsafe_code)]

use cranelift_codegen::ir::UserExternalName;

use super::code::{Stub, Symbol};
use crate::isa::MapSlot;

const FUNCTION: u32 = 0;
const HELPER: u32 = 1;
const MAP_HANDLE: u32 = 2;
const MAP_BASE: u32 = 3;
const STUB: u32 = 4;
const KFUNC: u32 = 5;
const ARENA: u32 = 6;
const MAP_HELPER: u32 = 7;
/// Bits of a helper's number beside a map slot.
const HELPER_BITS: u32 = 8;

pub(super) fn name_of(symbol: Symbol) -> UserExternalName {
    let (namespace, index) = match symbol {
        Symbol::Function(index) => (FUNCTION, index),
        Symbol::Helper(id) => (HELPER, id),
        Symbol::Kfunc(number) => (KFUNC, number),
        Symbol::MapHelper(id, slot) => {
            debug_assert!(id >> HELPER_BITS == 0 && slot.0.leading_zeros() >= HELPER_BITS);
            (MAP_HELPER, slot.0 << HELPER_BITS | id)
        }
        Symbol::MapHandle(slot) => (MAP_HANDLE, slot.0),
        Symbol::MapBase(slot) => (MAP_BASE, slot.0),
        Symbol::Arena(slot) => (ARENA, slot.0),
        Symbol::Stub(Stub::TrapExit) => (STUB, 0),
        Symbol::Stub(Stub::PacketLoad) => (STUB, 1),
        Symbol::Stub(Stub::MapIterate) => (STUB, 2),
        Symbol::Stub(Stub::ThrowExit) => (STUB, 3),
        Symbol::Stub(Stub::ObjectLoad) => (STUB, 4),
    };
    UserExternalName { namespace, index }
}

pub(super) fn symbol_of(name: &UserExternalName) -> Symbol {
    match name.namespace {
        FUNCTION => Symbol::Function(name.index),
        HELPER => Symbol::Helper(name.index),
        KFUNC => Symbol::Kfunc(name.index),
        MAP_HANDLE => Symbol::MapHandle(MapSlot(name.index)),
        MAP_BASE => Symbol::MapBase(MapSlot(name.index)),
        ARENA => Symbol::Arena(MapSlot(name.index)),
        STUB if name.index == 0 => Symbol::Stub(Stub::TrapExit),
        STUB if name.index == 1 => Symbol::Stub(Stub::PacketLoad),
        STUB if name.index == 2 => Symbol::Stub(Stub::MapIterate),
        STUB if name.index == 4 => Symbol::Stub(Stub::ObjectLoad),
        STUB => Symbol::Stub(Stub::ThrowExit),
        MAP_HELPER => {
            let id = name.index & ((1 << HELPER_BITS) - 1);
            Symbol::MapHelper(id, MapSlot(name.index >> HELPER_BITS))
        }
        other => unreachable!("namespace {other} is not one of `name_of`"),
    }
}
