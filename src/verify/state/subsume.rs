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
    pub(crate) fn reset(&mut self, fresh: u32) {
        self.pairs.clear();
        self.fresh = fresh;
    }
    /// Whether the ids correspond.
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
    fn agree_scalar(&mut self, old: u32, new: u32) -> bool {
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

/// Whether `old` covers `new`. `live` gives the live registers of each frame, `unwritten_is_any` says that
/// stack bytes never written read as any number; `unwritten` gets a bit for each frame where that mattered.
#[expect(clippy::too_many_arguments, reason = "two states and everything that says how to compare them")]
pub(crate) fn covers(
    old: &State,
    relied: &Relied<'_>,
    new: &State,
    exactness: Exactness,
    unwritten_is_any: bool,
    ids: &mut IdMap,
    unwritten: &mut u8,
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
    for depth in (0..old.frames.len()).rev() {
        let none = Marks::default();
        let marks = relied.precise.get(depth).unwrap_or(&none);
        let mattered = Cell::new(false);
        let compare =
            Compare { exactness, marks, read: relied.read[depth], unwritten_is_any, mattered: &mattered };
        let covered = compare.frame(&old.frames[depth], &new.frames[depth], live(depth), ids);
        *unwritten |= u8::from(mattered.get()) << depth;
        if !covered {
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

struct Compare<'a> {
    exactness: Exactness,
    marks: &'a Marks,
    read: u64,
    unwritten_is_any: bool,
    /// Whether bytes that the old state wrote and read were not written in the new one.
    mattered: &'a Cell<bool>,
}

impl Compare<'_> {
    fn frame(&self, old: &Frame, new: &Frame, live: RegSet, ids: &mut IdMap) -> bool {
        for reg in Reg::all() {
            if reg != Reg::R10 && live.contains(reg) {
                let precise = self.marks.registers >> reg.index() & 1 == 1;
                if !self.register(&old.registers[reg.index()], &new.registers[reg.index()], precise, ids) {
                    return false;
                }
            }
        }
        let slots = match self.exactness {
            Exactness::Same => old.stack.len().max(new.stack.len()),
            Exactness::Relied | Exactness::Within => old.stack.len(),
        };
        (0..slots).all(|index| {
            if self.exactness == Exactness::Relied && self.read >> index & 1 == 0 {
                return true;
            }
            let precise = self.marks.slots >> index & 1 == 1;
            self.slot(old.stack.slot(index), new.stack.slot(index), precise, ids)
        })
    }

    fn register(&self, old: &Register, new: &Register, precise: bool, ids: &mut IdMap) -> bool {
        if self.exactness == Exactness::Same {
            return same(old, new, ids);
        }
        if old.kind == Kind::Uninit {
            return self.exactness == Exactness::Relied || new.kind == Kind::Uninit;
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
        let written = |byte: &Byte| *byte != Byte::Invalid;
        if old.bytes.iter().zip(&new.bytes).any(|(a, b)| written(a) && !written(b)) {
            self.mattered.set(true);
        }
        if let (Some(a), Some(b)) = (self.as_scalar(old), self.as_scalar(new)) {
            return self.register(&a, &b, precise, ids);
        }
        let mut spilled = false;
        for (a, b) in old.bytes.iter().zip(&new.bytes) {
            if self.exactness == Exactness::Same && a != b {
                return false;
            }
            match (a, b) {
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
        match (old.special, new.special) {
            (None, None) => !old.is_spill() || self.register(&old.spilled, &new.spilled, precise, ids),
            (Some(a), Some(b)) => {
                a.special == b.special
                    && a.first == b.first
                    && a.active == b.active
                    && a.in_rcu == b.in_rcu
                    && a.stale == b.stale
                    && ids.agree(a.object, b.object)
                    && ids.agree(a.id, b.id)
            }
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// A slot that reads as one 64-bit number.
    fn as_scalar(&self, slot: &Slot) -> Option<Register> {
        if slot.bytes == [Byte::Spill; 8] && slot.spilled.is_scalar() {
            return Some(slot.spilled);
        }
        let any = |byte: &Byte| *byte == Byte::Misc || (self.unwritten_is_any && *byte == Byte::Invalid);
        (slot.bytes.contains(&Byte::Misc) && slot.bytes.iter().all(any)).then(Register::unknown)
    }
}

/// Equal up to ids.
fn same(old: &Register, new: &Register, ids: &mut IdMap) -> bool {
    let plain = |register: &Register| Register { id: 0, object: 0, owner: 0, ..*register };
    plain(old) == plain(new)
        && (if old.kind == Kind::Scalar {
            ids.agree_scalar(old.id, new.id)
        } else {
            ids.agree(old.id, new.id)
        })
        && ids.agree(old.object, new.object)
        && ids.agree(old.owner, new.owner)
}
