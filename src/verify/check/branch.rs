//! Conditional branches: which way they go, and what each way tells.
#![forbid(unsafe_code)]

use std::rc::Rc;

use super::packet;
use crate::isa::{CmpOp, InsnId, Operand, Reg, Width};
use crate::verify::domain::{Scalar, decide, refine};
use crate::verify::explore::{Check, Next, Verifier};
use crate::verify::precision::Place;
use crate::verify::report::Reason;
use crate::verify::state::{Kind, MapRef, Register, SockKind, State};
use beelift_runtime::MapKind;
use beelift_runtime::map::{SpecialField, SpecialKind};

/// More linked scalars than this are not followed.
const LINKS: usize = 6;

impl Verifier<'_> {
    pub(super) fn branch(
        &mut self,
        op: CmpOp,
        width: Width,
        lhs: Reg,
        rhs: Operand,
        to: InsnId,
    ) -> Check<Next> {
        self.count_jump();
        let right = self.operand(rhs)?;
        let left = self.read(lhs)?;
        let end_comparison = is_packet_pointer(&left) && is_packet_pointer(&right);
        if !end_comparison && matches!(rhs, Operand::Reg(_)) && self.leaks(&right) {
            return Err(Reason::PointerComparison.into());
        }
        if let Some(taken) = decided(op, width, &left, &right) {
            self.rely_on(lhs);
            if let Operand::Reg(reg) = rhs {
                self.rely_on(reg);
            }
            self.observed.edge(self.at, taken);
            return Ok(Next::To(if taken { to } else { self.at.next() }));
        }
        self.observed.edge(self.at, false);
        self.observed.edge(self.at, true);
        self.learn(op, width, (lhs, left), (rhs, right), to)?;
        Ok(Next::To(self.at.next()))
    }

    fn learn(
        &mut self,
        op: CmpOp,
        width: Width,
        (lhs, left): (Reg, Register),
        (rhs, right): (Operand, Register),
        to: InsnId,
    ) -> Check {
        let right_reg = match rhs {
            Operand::Reg(reg) => Some(reg),
            Operand::Imm(_) => None,
        };
        let mut places = Vec::new();
        if right_reg.is_some() {
            self.linked_places(&right, &mut places);
        }
        self.linked_places(&left, &mut places);
        if places.len() > 1 {
            self.trace.note_links(self.state.trace, &places);
        }
        let mut taken = self.state.clone();
        if left.is_scalar() && right.is_scalar() {
            for (state, outcome) in [(&mut taken, true), (&mut self.state, false)] {
                // Same register on both sides, or a contradiction that `decide` did not see: keep what is known.
                let Some((left, right)) = refine(op, width, left.value, right.value, outcome) else {
                    continue;
                };
                if let Some(reg) = right_reg {
                    apply(state, reg, right, &places);
                }
                if right_reg != Some(lhs) {
                    apply(state, lhs, left, &places);
                }
            }
        }
        self.nullness(op, width, (lhs, &left), (right_reg, &right), &mut taken)?;
        self.push_pending(taken, to)
    }

    /// What a comparison tells of pointers.
    fn nullness(
        &mut self,
        op: CmpOp,
        width: Width,
        (lhs, left): (Reg, &Register),
        (right_reg, right): (Option<Reg>, &Register),
        taken: &mut State,
    ) -> Check {
        let equality = matches!(op, CmpOp::Eq | CmpOp::Ne);
        let plain =
            |register: &Register| register.kind.is_pointer() && !matches!(register.kind, Kind::Object(..));
        if width == Width::W64
            && equality
            && let Some(rhs) = right_reg
            && plain(left)
            && plain(right)
            && left.nullable != right.nullable
        {
            let tables = self.tables;
            let equal = if op == CmpOp::Eq { &mut *taken } else { &mut self.state };
            let reg = if right.nullable { rhs } else { lhs };
            not_null(equal.register_mut(reg), |map| (tables.map(map).kind, tables.inner(map)));
        }
        if width == Width::W64 && equality && right_reg.is_none() && right.is_null() && left.nullable {
            let null_when_taken = op == CmpOp::Eq;
            self.settle_null(left, null_when_taken, taken);
            return Ok(());
        }
        if width == Width::W64
            && let Some(rhs) = right_reg
            && packet::learn(op, (lhs, left), (rhs, right), &mut self.state, taken)
        {
            return Ok(());
        }
        // That a valid pointer is not zero tells nothing.
        if self.leaks(left) && !(equality && right.is_null()) {
            return Err(Reason::PointerComparison.into());
        }
        Ok(())
    }

    /// Every copy of a nullable pointer is null on one way and a pointer on the other.
    fn settle_null(&mut self, pointer: &Register, null_when_taken: bool, taken: &mut State) {
        let (id, object) = (pointer.id, pointer.object);
        let tables = self.tables;
        let (null, valid) = if null_when_taken { (taken, &mut self.state) } else { (&mut self.state, taken) };
        let picks = |register: &Register| register.nullable && register.id == id;
        if object != 0 && object == id {
            Rc::make_mut(&mut null.references).release(object);
        }
        null.for_each(picks, |register| *register = Register::constant(0));
        valid.for_each(picks, |register| {
            not_null(register, |map| (tables.map(map).kind, tables.inner(map)));
            let keeps_id = match register.kind {
                Kind::MapValue(map) => tables.map(map).fields.iter().any(is_lock),
                Kind::Object(of, _) => tables.types.fields(of).iter().any(is_lock),
                _ => false,
            };
            if !keeps_id {
                register.id = 0;
            }
        });
    }

    /// Registers and slots that share the number of a scalar.
    fn linked_places(&mut self, scalar: &Register, places: &mut Vec<Place>) {
        if !scalar.is_scalar() || scalar.id == 0 {
            return;
        }
        let mut over = false;
        let live = &self.liveness.before;
        for (depth, frame) in self.state.frames.iter().enumerate() {
            let place = self.state.frames.get(depth + 1).map_or(self.at, |inner| inner.call_site);
            // What nobody reads need not learn anything.
            let live = live[place.index()].bits();
            let depth = depth as u8; // at most 8 frames
            for (index, register) in frame.registers.iter().enumerate() {
                if register.is_scalar() && register.id == scalar.id && live >> index & 1 == 1 {
                    let place = Place::Register(depth, index as u8); // 11 registers
                    over |= !add(places, place);
                }
            }
            for (index, slot) in frame.stack.slots().enumerate() {
                if slot.is_scalar_spill() && slot.spilled.id == scalar.id {
                    over |= !add(places, Place::Slot(depth, index as u8)); // 64 slots
                }
            }
        }
        if over {
            // Those that are not followed must not learn anything.
            let kept = places.clone();
            let id = scalar.id;
            for depth in 0..self.state.frames.len() {
                let frame = self.state.frame_mut(depth);
                for (index, register) in frame.registers.iter_mut().enumerate() {
                    let place = Place::Register(depth as u8, index as u8);
                    if register.is_scalar() && register.id == id && !kept.contains(&place) {
                        register.unlink();
                    }
                }
                for index in 0..frame.stack.len() {
                    let place = Place::Slot(depth as u8, index as u8);
                    let slot = frame.stack.slot(index);
                    if slot.is_scalar_spill() && slot.spilled.id == id && !kept.contains(&place) {
                        frame.stack_mut().slot_mut(index).spilled.unlink();
                    }
                }
            }
        }
    }
}

fn add(places: &mut Vec<Place>, place: Place) -> bool {
    if places.contains(&place) {
        return true;
    }
    if places.len() >= LINKS {
        return false;
    }
    places.push(place);
    true
}

/// Gives a scalar its new range, and with it every linked one.
fn apply(state: &mut State, reg: Reg, value: Scalar, places: &[Place]) {
    let known = {
        let register = state.register_mut(reg);
        register.value = value;
        *register
    };
    if known.id == 0 || places.len() < 2 {
        return;
    }
    let depth = state.depth();
    for &place in places {
        let target = match place {
            Place::Register(frame, index) => {
                if usize::from(frame) == depth && usize::from(index) == reg.index() {
                    continue;
                }
                let register = &state.frames[usize::from(frame)].registers[usize::from(index)];
                if !register.is_scalar() || register.id != known.id {
                    continue;
                }
                &mut state.frame_mut(usize::from(frame)).registers[usize::from(index)]
            }
            Place::Slot(frame, index) => {
                let slot = state.frames[usize::from(frame)].stack.slot(usize::from(index));
                if !slot.is_scalar_spill() || slot.spilled.id != known.id {
                    continue;
                }
                &mut state.frame_mut(usize::from(frame)).stack_mut().slot_mut(usize::from(index)).spilled
            }
        };
        let delta = |register: &Register| if register.linked_delta { i64::from(register.off) } else { 0 };
        let distance = delta(target).wrapping_sub(delta(&known));
        if distance == 0 {
            target.value = known.value;
        } else {
            let distance = Scalar::known(distance.cast_unsigned());
            target.value = crate::isa::semantics::alu(
                &mut crate::verify::domain::AbstractScalar,
                crate::isa::AluOp::Add,
                Width::W64,
                known.value,
                distance,
            );
        }
    }
}

fn is_lock(field: &SpecialField) -> bool {
    matches!(field.kind, SpecialKind::SpinLock | SpecialKind::ResSpinLock)
}

fn is_packet_pointer(register: &Register) -> bool {
    matches!(register.kind, Kind::Packet | Kind::PacketMeta | Kind::PacketEnd)
}

/// The way a branch goes, when it is known.
fn decided(op: CmpOp, width: Width, left: &Register, right: &Register) -> Option<bool> {
    if is_packet_pointer(left) && is_packet_pointer(right) {
        return if width == Width::W64 { packet::decided_by_end(op, left, right) } else { None };
    }
    match (left.is_scalar(), right.is_scalar()) {
        (true, true) => decide(op, width, left.value, right.value),
        (false, false) => None,
        (false, true) => never_zero(op, width, left, right),
        (true, false) => never_zero(op, width, right, left),
    }
}

/// A valid pointer is not zero.
fn never_zero(op: CmpOp, width: Width, pointer: &Register, number: &Register) -> Option<bool> {
    if !pointer.never_null() || width == Width::W32 || number.value.constant() != Some(0) {
        return None;
    }
    match op {
        CmpOp::Eq => Some(false),
        CmpOp::Ne => Some(true),
        _ => None,
    }
}

/// A nullable pointer turns out to be valid.
pub(super) fn not_null(register: &mut Register, map_of: impl Fn(MapRef) -> (MapKind, Option<MapRef>)) {
    register.nullable = false;
    let Kind::MapValue(map) = register.kind else { return };
    match map_of(map) {
        (_, Some(inner)) => {
            register.kind = Kind::Map(inner);
            register.owner = register.id;
        }
        (MapKind::Xskmap, None) => register.kind = Kind::Socket(SockKind::Xdp),
        (MapKind::Sockmap | MapKind::Sockhash, None) => register.kind = Kind::Socket(SockKind::Socket),
        (_, None) => {}
    }
}
