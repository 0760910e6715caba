//! When an explored state covers a new one: everything safe from the old one on is safe from the new one on.
//!
//! Scalars are compared only where the proof of the old state relied on them (its precision marks), stack
//! slots only where it read them, registers only where they are live. Ids are equal up to renaming.
#![forbid(unsafe_code)]

use std::cell::Cell;

use super::{Byte, Frame, Kind, Register, Slot, State};
use crate::isa::{Reg, effects::RegSet};
use crate::verify::precision::Marks;

/// How closely two states are compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exactness {
    /// What the old proof relied on: only for states whose every path was walked.
    Relied,
    /// All ranges must lie within the old ones, precise or not: for states whose marks are incomplete.
    Within,
    /// The same state: for detecting loops without progress.
    Same,
}

/// Renaming of the ids of the old state to those of the new one; a bijection.
#[derive(Debug, Default)]
pub(crate) struct IdMap {
    pairs: Vec<(u32, u32)>,
    fresh: u32,
}

impl IdMap {
    /// Forgets all pairs; `fresh` is above every id in use.
    #[inline]
    pub(crate) fn reset(&mut self, fresh: u32) {
        self.pairs.clear();
        self.fresh = fresh;
    }
    /// Whether the ids correspond.
    #[inline]
    pub(crate) fn agree(&mut self, old: u32, new: u32) -> bool {
        if (old == 0) != (new == 0) {
            return false;
        }
        if old == 0 {
            return true;
        }
        for &(known_old, known_new) in &self.pairs {
            if known_old == old {
                return known_new == new;
            }
            if known_new == new {
                return false;
            }
        }
        self.pairs.push((old, new));
        true
    }
    /// As `agree`; a number without a link counts as linked to itself alone.
    #[inline]
    fn agree_scalar(&mut self, old: u32, new: u32) -> bool {
        if old == 0 && new == 0 {
            return true;
        }
        let mut own = |id: u32| {
            if id != 0 {
                return id;
            }
            self.fresh += 1;
            self.fresh
        };
        let (old, new) = (own(old), own(new));
        self.agree(old, new)
    }
}

/// What of the old state its proof relied on.
pub(crate) struct Relied<'a> {
    /// Scalars whose value mattered, by frame.
    pub(crate) precise: &'a [Marks],
    /// Stack slots that were read, by frame.
    pub(crate) read: &'a [u64; 8],
}

/// A register or slot of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Differs {
    depth: u8,
    is_slot: bool,
    index: u8,
}

impl Differs {
    /// Whether a number at this place is certain to keep the new state from being covered: cheaper than to compare.
    #[inline]
    pub(crate) fn still(
        self,
        old: &State,
        relied: &Relied<'_>,
        new: &State,
        exactness: Exactness,
        live: impl Fn(usize) -> RegSet,
    ) -> bool {
        let (depth, index) = (usize::from(self.depth), usize::from(self.index));
        let (Some(a), Some(b)) = (old.frames.get(depth), new.frames.get(depth)) else { return false };
        let marks = relied.precise[depth];
        let (a, b, compared, precise) = if self.is_slot {
            let (a, b) = (a.stack.slot(index), b.stack.slot(index));
            if !a.is_whole_spill() || !b.is_whole_spill() {
                return false;
            }
            let read = exactness != Exactness::Relied || relied.read[depth] >> index & 1 == 1;
            (&a.spilled, &b.spilled, read, marks.slots >> index & 1 == 1)
        } else {
            let live = live(depth).bits() >> index & 1 == 1;
            (&a.registers[index], &b.registers[index], live, marks.registers >> index & 1 == 1)
        };
        if !compared || !a.is_scalar() || !b.is_scalar() {
            return false;
        }
        match exactness {
            Exactness::Same => a.value != b.value,
            Exactness::Within => !b.value.is_subset_of(a.value),
            Exactness::Relied => precise && !b.value.is_subset_of(a.value),
        }
    }
}

/// What a comparison found, beyond its result.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Noticed {
    /// A bit for each frame where it mattered that stack bytes never written read as any number.
    pub(crate) unwritten: u8,
    /// Where the states differ. Given, it is looked at first: a state mostly differs from later ones where it
    /// did before, in a loop's counter for example.
    pub(crate) differs: Option<Differs>,
}

/// Whether `old` covers `new`. `live` gives the live registers of each frame, `unwritten_is_any` says that
/// stack bytes never written read as any number.
#[expect(clippy::too_many_arguments, reason = "two states and everything that says how to compare them")]
pub(crate) fn covers(
    old: &State,
    relied: &Relied<'_>,
    new: &State,
    exactness: Exactness,
    unwritten_is_any: bool,
    ids: &mut IdMap,
    noticed: &mut Noticed,
    live: impl Fn(usize) -> RegSet,
) -> bool {
    if old.frames.len() != new.frames.len() {
        return false;
    }
    for (a, b) in old.frames.iter().zip(&new.frames) {
        if a.call_site != b.call_site || a.subprogram != b.subprogram || a.callback != b.callback {
            return false;
        }
        if a.callback_depth > b.callback_depth {
            return false;
        }
    }
    let compare = |depth: usize| Compare {
        exactness,
        marks: relied.precise.get(depth).copied().unwrap_or_default(),
        read: relied.read[depth],
        unwritten_is_any,
        live: live(depth),
        mattered: Cell::new(false),
    };
    if let Some(Differs { depth, is_slot, index }) = noticed.differs
        && usize::from(depth) < old.frames.len()
    {
        let depth = usize::from(depth);
        let (a, b) = (&old.frames[depth], &new.frames[depth]);
        if !compare(depth).place(a, b, is_slot, usize::from(index), ids) {
            return false;
        }
        // It is compared once more.
        ids.pairs.clear();
    }
    for depth in (0..old.frames.len()).rev() {
        let compare = compare(depth);
        let differs = compare.frame(&old.frames[depth], &new.frames[depth], ids);
        noticed.unwritten |= u8::from(compare.mattered.get()) << depth;
        if let Some((is_slot, index)) = differs {
            noticed.differs = Some(Differs { depth: depth as u8, is_slot, index: index as u8 }); // 8 frames of 64 slots
            return false;
        }
    }
    same_references(old, new, ids)
}

fn same_references(old: &State, new: &State, ids: &mut IdMap) -> bool {
    let (a, b) = (&old.references, &new.references);
    a.rcu == b.rcu
        && a.preempt == b.preempt
        && a.held.len() == b.held.len()
        && a.held.iter().zip(&b.held).all(|(x, y)| {
            use super::ResourceKind::{Irq, Lock, Pointer};
            let kinds = match (x.kind, y.kind) {
                (Pointer, Pointer) | (Irq, Irq) => true,
                (
                    Lock { owner: o1, value: v1, resilient: r1, irq: i1 },
                    Lock { owner: o2, value: v2, resilient: r2, irq: i2 },
                ) => o1 == o2 && r1 == r2 && i1 == i2 && ids.agree(v1, v2),
                _ => false,
            };
            kinds && ids.agree(x.id, y.id)
        })
}

struct Compare {
    exactness: Exactness,
    marks: Marks,
    read: u64,
    unwritten_is_any: bool,
    live: RegSet,
    /// Whether bytes that the old state wrote and read were not written in the new one.
    mattered: Cell<bool>,
}

impl Compare {
    /// Registers that are compared, as bits.
    #[inline]
    fn registers(&self) -> u16 {
        self.live.bits() & !(1 << Reg::R10.index())
    }
    /// Slots that are compared.
    #[inline]
    fn slots(&self, old: &Frame, new: &Frame) -> u64 {
        let (slots, count) = match self.exactness {
            Exactness::Same => (u64::MAX, old.stack.len().max(new.stack.len())),
            Exactness::Within => (u64::MAX, old.stack.len()),
            Exactness::Relied => (self.read, old.stack.len()),
        };
        if count < 64 { slots & ((1 << count) - 1) } else { slots }
    }
    /// Whether one place is covered.
    fn place(&self, old: &Frame, new: &Frame, is_slot: bool, index: usize, ids: &mut IdMap) -> bool {
        if is_slot {
            let precise = self.marks.slots >> index & 1 == 1;
            return self.slots(old, new) >> index & 1 == 0
                || self.slot(old.stack.slot(index), new.stack.slot(index), precise, ids);
        }
        let precise = self.marks.registers >> index & 1 == 1;
        self.registers() >> index & 1 == 0
            || self.register(&old.registers[index], &new.registers[index], precise, ids)
    }
    /// The first place that is not covered: whether it is a slot, and which.
    fn frame(&self, old: &Frame, new: &Frame, ids: &mut IdMap) -> Option<(bool, usize)> {
        let mut registers = self.registers();
        while registers != 0 {
            let index = registers.trailing_zeros() as usize;
            registers &= registers - 1;
            let precise = self.marks.registers >> index & 1 == 1;
            if !self.register(&old.registers[index], &new.registers[index], precise, ids) {
                return Some((false, index));
            }
        }
        let mut slots = self.slots(old, new);
        while slots != 0 {
            let index = slots.trailing_zeros() as usize;
            slots &= slots - 1;
            let precise = self.marks.slots >> index & 1 == 1;
            if !self.slot(old.stack.slot(index), new.stack.slot(index), precise, ids) {
                return Some((true, index));
            }
        }
        None
    }

    fn register(&self, old: &Register, new: &Register, precise: bool, ids: &mut IdMap) -> bool {
        if self.exactness == Exactness::Same {
            return same(old, new, ids);
        }
        // No path from the old state on reads it, for such a path is rejected.
        if old.kind == Kind::Uninit {
            return true;
        }
        if old.kind != new.kind || old.nullable != new.nullable {
            return false;
        }
        match old.kind {
            Kind::Uninit => true,
            Kind::Scalar => {
                if !precise && self.exactness == Exactness::Relied {
                    return true;
                }
                old.linked_delta == new.linked_delta
                    && (!old.linked_delta || old.off == new.off)
                    && new.value.is_subset_of(old.value)
                    && ids.agree_scalar(old.id, new.id)
            }
            Kind::MapKey(_) | Kind::MapValue(_) | Kind::Memory(_) => {
                old.off == new.off
                    && old.size == new.size
                    && new.value.is_subset_of(old.value)
                    && ids.agree(old.id, new.id)
                    && ids.agree(old.object, new.object)
                    && ids.agree(old.owner, new.owner)
            }
            Kind::Packet | Kind::PacketMeta => {
                // A negative range decides comparisons: it must be the same.
                let range =
                    if old.size < 0 || new.size < 0 { old.size == new.size } else { old.size <= new.size };
                range && old.off == new.off && ids.agree(old.id, new.id) && new.value.is_subset_of(old.value)
            }
            Kind::Arena => true,
            Kind::Context
            | Kind::Stack(_)
            | Kind::PacketEnd
            | Kind::Map(_)
            | Kind::Socket(_)
            | Kind::FlowKeys
            | Kind::Object(..)
            | Kind::Dynptr(_)
            | Kind::Function(_) => same(old, new, ids),
        }
    }

    fn slot(&self, old: &Slot, new: &Slot, precise: bool, ids: &mut IdMap) -> bool {
        // Most slots are alike.
        if old.pattern() == new.pattern() {
            if old.is_whole_spill() {
                return self.register(&old.spilled, &new.spilled, precise, ids);
            }
            if old.is_plain() {
                return true;
            }
        }
        let written = |byte: &Byte| *byte != Byte::Invalid;
        if old.bytes.iter().zip(&new.bytes).any(|(a, b)| written(a) && !written(b)) {
            self.mattered.set(true);
        }
        if let (Some(a), Some(b)) = (self.as_scalar(old), self.as_scalar(new)) {
            return self.register(a, b, precise, ids);
        }
        let mut spilled = false;
        for (a, b) in old.bytes.iter().zip(&new.bytes) {
            if self.exactness == Exactness::Same && a != b {
                return false;
            }
            match (a, b) {
                // Where pointers may not be read as numbers, a read that reached bytes never written would.
                (Byte::Invalid, Byte::Special) if !self.unwritten_is_any => return false,
                (Byte::Invalid, Byte::Spill) if !self.unwritten_is_any && !new.spilled.is_scalar() => {
                    return false;
                }
                (Byte::Invalid, _) => {}
                // Whatever lies there now is one of "any number".
                (Byte::Misc, Byte::Special) => return false,
                (Byte::Misc, _) if self.unwritten_is_any => {}
                (Byte::Misc, Byte::Misc | Byte::Zero) | (Byte::Zero, Byte::Zero) => {}
                (Byte::Spill, Byte::Spill) | (Byte::Special, Byte::Special) => spilled = true,
                _ => return false,
            }
        }
        if !spilled {
            return true;
        }
        if old.is_spill() {
            return self.register(&old.spilled, &new.spilled, precise, ids);
        }
        // What is no register is an object, in both.
        let (Some(a), Some(b)) = (old.special, new.special) else { return false };
        a.special == b.special
            && a.first == b.first
            && a.active == b.active
            && a.protection == b.protection
            && ids.agree(a.object, b.object)
            && ids.agree(a.id, b.id)
    }

    /// A slot that reads as one 64-bit number.
    fn as_scalar<'a>(&self, slot: &'a Slot) -> Option<&'a Register> {
        static UNKNOWN: Register = Register::unknown();
        if slot.is_whole_spill() {
            return slot.spilled.is_scalar().then_some(&slot.spilled);
        }
        let any = |byte: &Byte| *byte == Byte::Misc || (self.unwritten_is_any && *byte == Byte::Invalid);
        (slot.bytes.contains(&Byte::Misc) && slot.bytes.iter().all(any)).then_some(&UNKNOWN)
    }
}

/// Equal up to ids.
fn same(old: &Register, new: &Register, ids: &mut IdMap) -> bool {
    let Register { kind, nullable, linked_delta, off, id, object, owner, size, value } = *old;
    let plain = kind == new.kind
        && value == new.value
        && (nullable, linked_delta, off, size) == (new.nullable, new.linked_delta, new.off, new.size);
    let linked = |ids: &mut IdMap| {
        if kind == Kind::Scalar { ids.agree_scalar(id, new.id) } else { ids.agree(id, new.id) }
    };
    plain && linked(ids) && ids.agree(object, new.object) && ids.agree(owner, new.owner)
}
