//! Packet accesses, and what comparisons with the packet's end prove.
#![forbid(unsafe_code)]

use super::memory::{Span, fits};
use crate::isa::{CmpOp, Reg};
use crate::verify::explore::{Check, Verifier};
use crate::verify::report::Reason;
use crate::verify::state::{Kind, MemFlags, RANGE_AT_END, RANGE_BEYOND_END, Register, State};

/// Larger offsets are never proven: a packet is shorter.
const MAX_OFFSET: u64 = 0xffff;

impl Verifier<'_> {
    /// An access lies in the part of the packet that was compared with its end.
    pub(crate) fn packet_access(&self, pointer: &Register, span: Span, zero_allowed: bool) -> Check {
        if pointer.value.smin() < 0 {
            return Err(Reason::NegativeOffset { reg: span.reg }.into());
        }
        let off = i64::from(pointer.off) + i64::from(span.off);
        let proven = u64::try_from(pointer.size).unwrap_or(0);
        if pointer.size < 0 || fits(off, span.size, proven, zero_allowed).is_err() {
            return Err(Reason::OutsidePacket { reg: span.reg, offset: off, size: span.size, proven }.into());
        }
        Ok(())
    }

    /// The packet may have moved: pointers into it are stale.
    pub(crate) fn forget_packet(&mut self) {
        self.state.for_each(
            |register| match register.kind {
                Kind::Packet | Kind::PacketMeta | Kind::PacketEnd => true,
                Kind::Memory(flags) => flags.contains(MemFlags::PACKET_BOUND),
                _ => false,
            },
            |register| *register = Register::unknown(),
        );
    }
}

/// The way a comparison of a packet pointer with the end goes, if an earlier one decided it.
pub(crate) fn decided_by_end(op: CmpOp, left: &Register, right: &Register) -> Option<bool> {
    let (pointer, op) = if right.kind == Kind::PacketEnd {
        (left, op)
    } else if left.kind == Kind::PacketEnd {
        (right, flipped(op)?)
    } else {
        return None;
    };
    match op {
        CmpOp::Le | CmpOp::Gt if pointer.size == RANGE_BEYOND_END => Some(op == CmpOp::Gt),
        CmpOp::Lt | CmpOp::Ge if pointer.size == RANGE_BEYOND_END || pointer.size == RANGE_AT_END => {
            Some(op == CmpOp::Ge)
        }
        _ => None,
    }
}

/// The comparison with its sides exchanged.
pub(crate) fn flipped(op: CmpOp) -> Option<CmpOp> {
    match op {
        CmpOp::Eq | CmpOp::Ne | CmpOp::Set => Some(op),
        CmpOp::Gt => Some(CmpOp::Lt),
        CmpOp::Ge => Some(CmpOp::Le),
        CmpOp::Lt => Some(CmpOp::Gt),
        CmpOp::Le => Some(CmpOp::Ge),
        CmpOp::SGt => Some(CmpOp::SLt),
        CmpOp::SGe => Some(CmpOp::SLe),
        CmpOp::SLt => Some(CmpOp::SGt),
        CmpOp::SLe => Some(CmpOp::SGe),
    }
}

/// Learns from a comparison of a packet pointer with an end. Whether it was such a comparison.
pub(crate) fn learn(
    op: CmpOp,
    (left_reg, left): (Reg, &Register),
    (right_reg, right): (Reg, &Register),
    not_taken: &mut State,
    taken: &mut State,
) -> bool {
    let ends = |pointer: &Register, end: &Register| {
        (pointer.kind == Kind::Packet && end.kind == Kind::PacketEnd)
            || (pointer.kind == Kind::PacketMeta && is_packet_start(end))
    };
    let (reg, pointer, op) = if ends(left, right) {
        (left_reg, left, op)
    } else if ends(right, left) {
        let Some(op) = flipped(op) else { return false };
        (right_reg, right, op)
    } else {
        return false;
    };
    // `pointer op end`: on one side the bytes before `pointer` are there, on the other they are not.
    let (inside, outside, strict) = match op {
        CmpOp::Gt => (not_taken, taken, false),
        CmpOp::Le => (taken, not_taken, false),
        CmpOp::Lt => (taken, not_taken, true),
        CmpOp::Ge => (not_taken, taken, true),
        CmpOp::Eq | CmpOp::Ne | CmpOp::Set | CmpOp::SGt | CmpOp::SGe | CmpOp::SLt | CmpOp::SLe => {
            return false;
        }
    };
    extend(inside, pointer, strict);
    if pointer.kind == Kind::Packet {
        outside.register_mut(reg).size = if strict { RANGE_AT_END } else { RANGE_BEYOND_END };
    }
    true
}

fn is_packet_start(register: &Register) -> bool {
    register.kind == Kind::Packet && register.off == 0 && register.value.constant() == Some(0)
}

fn extend(state: &mut State, pointer: &Register, strict: bool) {
    if pointer.off < 0 || (pointer.off == 0 && strict) {
        return;
    }
    let umax = pointer.value.umax();
    if umax > MAX_OFFSET || umax + u64::from(pointer.off.cast_unsigned()) > MAX_OFFSET {
        return;
    }
    let proven = pointer.off + i32::from(strict);
    let (kind, id) = (pointer.kind, pointer.id);
    state.for_each(
        |register| register.kind == kind && register.id == id && register.size < proven,
        |register| register.size = proven,
    );
}
