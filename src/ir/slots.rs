//! Stack slots that nothing but plain loads and stores of one size touches: they become variables.
//!
//! In: the facts about a subprogram's accesses and calls. Out: [`Slot`]s without overlap. A slot whose address
//! may be known to anyone else (a helper, a subprogram, an access with varying offset) stays memory.
#![forbid(unsafe_code)]

use super::shape::{CodeBlock, REGISTERS, VarSet};
use crate::isa::effects::{self, AccessKind};
use crate::isa::{Insn, InsnId, Size};
use crate::verify::Verified;
use crate::verify::facts::Region;

/// Most slots promoted in one subprogram: what fits a [`VarSet`] with the counter of `may_goto`.
const MOST: usize = VarSet::BITS as usize - REGISTERS - 1;
/// Offset of the slot that stands for the iterations of `may_goto` so far: the first one, if there is one. Like any
/// slot it is zero when the frame is entered.
const ITERATIONS: i32 = i32::MIN;
/// Bytes that a program can address below r10.
const FRAME: i32 = 512;
/// Slots times blocks above which nothing is promoted: promotion costs memory in that product.
const CAP: usize = 2_000_000;

/// A promoted stack slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Slot {
    /// From r10, negative.
    pub(crate) offset: i32,
    pub(crate) size: Size,
}

/// What an instruction does to a promoted slot, by index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Touch {
    Read(usize),
    Write(usize),
    /// Read, then written.
    Update(usize),
}

/// The offset from r10 of an access to the current frame, if it is constant.
pub(crate) fn constant_offset(verified: &Verified, id: InsnId) -> Option<i32> {
    match verified.facts().access[id.index()]?.region {
        Region::Stack { offset } => offset,
        _ => None,
    }
}

/// How an access at a byte range is used so far.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    None,
    /// Start of a slot of that size.
    Start(Size),
    /// Inside a slot that starts earlier.
    Inside,
    /// Must stay memory.
    Memory,
}

/// Finds the slots of a subprogram.
pub(crate) fn find(verified: &Verified, blocks: &[CodeBlock]) -> Vec<Slot> {
    let mut slots = promoted(verified, blocks);
    // `may_goto` ends its block.
    let insns = &verified.program().insns;
    if blocks.iter().any(|block| matches!(insns[block.end.index() - 1], Insn::MayGoto { .. })) {
        slots.insert(0, Slot { offset: ITERATIONS, size: Size::DW });
    }
    slots
}

/// Index of the slot of `may_goto`'s iterations.
pub(crate) fn iterations(slots: &[Slot]) -> Option<usize> {
    slot_of(slots, ITERATIONS)
}

fn promoted(verified: &Verified, blocks: &[CodeBlock]) -> Vec<Slot> {
    let mut uses = [Use::None; FRAME as usize];
    let mut touched = false;
    for block in blocks {
        for id in block.start.0..block.end.0 {
            let id = InsnId(id);
            let insn = &verified.program().insns[id.index()];
            if let Insn::Call(_) = insn {
                if !mark_call(verified, id, &mut uses) {
                    return Vec::new();
                }
                continue;
            }
            let Some(access) = effects::access(insn) else { continue };
            let Some(fact) = verified.facts().access[id.index()] else { continue };
            let offset = match fact.region {
                Region::Stack { offset: Some(offset) } => offset,
                Region::Stack { offset: None } | Region::Mixed | Region::Object => return Vec::new(),
                Region::Context { .. }
                | Region::CallerStack
                | Region::Packet
                | Region::MapValue(_)
                | Region::Memory
                | Region::Allocated
                | Region::Stale
                | Region::Arena => continue,
            };
            touched = true;
            let plain = matches!(insn, Insn::Load { .. } | Insn::Store { .. });
            if plain {
                mark_access(offset, access.size, &mut uses);
            } else {
                mark_memory(offset, access.size.bytes(), &mut uses);
            }
        }
    }
    if !touched {
        return Vec::new();
    }
    let slots: Vec<Slot> = (0..FRAME)
        .filter_map(|at| match uses[at as usize] {
            Use::Start(size) => Some(Slot { offset: at - FRAME, size }),
            Use::None | Use::Inside | Use::Memory => None,
        })
        .take(MOST)
        .collect();
    if slots.len() * blocks.len() > CAP { Vec::new() } else { slots }
}

/// Takes the stack arguments of a call out; false if they are not known exactly.
fn mark_call(verified: &Verified, id: InsnId, uses: &mut [Use; FRAME as usize]) -> bool {
    let insn = &verified.program().insns[id.index()];
    let Some(fact) = &verified.facts().call[id.index()] else {
        return super::shape::call_arguments(verified, insn).is_empty();
    };
    if fact.stack_escapes {
        return false;
    }
    let key = super::calls::key_in_slot(verified, id);
    for &(offset, bytes) in &fact.stack_reads {
        if key == Some(offset) && bytes == 4 {
            mark_access(offset, Size::W, uses);
        } else {
            mark_memory(offset, bytes, uses);
        }
    }
    for &(offset, bytes) in &fact.stack_writes {
        mark_memory(offset, bytes, uses);
    }
    true
}

fn mark_memory(offset: i32, bytes: u32, uses: &mut [Use; FRAME as usize]) {
    let start = (offset + FRAME).clamp(0, FRAME);
    let end = i64::from(offset + FRAME) + i64::from(bytes);
    for at in start..i32::try_from(end).unwrap_or(FRAME).clamp(0, FRAME) {
        demote(at, uses);
    }
}

/// The whole slot around a byte becomes memory.
fn demote(at: i32, uses: &mut [Use; FRAME as usize]) {
    let mut start = at;
    while start > 0 && uses[start as usize] == Use::Inside {
        start -= 1;
    }
    if let Use::Start(size) = uses[start as usize] {
        for byte in start..start + size.bytes() as i32 {
            uses[byte as usize] = Use::Memory;
        }
    }
    uses[at as usize] = Use::Memory;
}

fn mark_access(offset: i32, size: Size, uses: &mut [Use; FRAME as usize]) {
    let start = offset + FRAME;
    let end = start + size.bytes() as i32;
    if start < 0 || end > FRAME {
        mark_memory(offset, size.bytes(), uses);
        return;
    }
    if uses[start as usize] == Use::Start(size) {
        return;
    }
    let free = (start..end).all(|at| uses[at as usize] == Use::None);
    if free {
        uses[start as usize] = Use::Start(size);
        for at in start + 1..end {
            uses[at as usize] = Use::Inside;
        }
    } else {
        mark_memory(offset, size.bytes(), uses);
    }
}

/// Index of the slot of an access. Accesses of two sizes at one place have made it memory.
pub(crate) fn slot_of(slots: &[Slot], offset: i32) -> Option<usize> {
    slots.binary_search_by_key(&offset, |slot| slot.offset).ok()
}

/// What an instruction does to promoted slots.
pub(crate) fn touches(verified: &Verified, id: InsnId, slots: &[Slot]) -> Option<Touch> {
    if slots.is_empty() {
        return None;
    }
    let insn = &verified.program().insns[id.index()];
    if let Insn::Call(_) = insn {
        let offset = super::calls::key_in_slot(verified, id)?;
        return slot_of(slots, offset).map(Touch::Read);
    }
    if let Insn::MayGoto { .. } = insn {
        return iterations(slots).map(Touch::Update);
    }
    let access = effects::access(insn)?;
    let slot = slot_of(slots, constant_offset(verified, id)?)?;
    Some(match access.kind {
        AccessKind::Write => Touch::Write(slot),
        AccessKind::Read | AccessKind::ReadWrite => Touch::Read(slot),
    })
}
