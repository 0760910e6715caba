//! The stack: bounds, spills and fills, bytes of known kind, and what helpers do to it.
#![forbid(unsafe_code)]

use super::alu::MAX_VARIABLE_OFFSET;
use super::memory::{Access, Span};
use crate::isa::Operand;
use crate::verify::explore::{Check, Verifier};
use crate::verify::precision::Note;
use crate::verify::report::Reason;
use crate::verify::state::{Byte, Kind, Register, Slot, Special, Stack};

/// What bytes are that a read may reach before they were written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Unwritten {
    /// As the policy says.
    ByPolicy,
    /// Zero: nobody's rest, since the frame is zeroed.
    Zeroed,
}

/// Bytes of a frame.
const FRAME: i64 = 512;

impl Verifier<'_> {
    /// Lowest and highest (exclusive) offset of an access, inside the frame.
    fn stack_bounds(&mut self, frame: usize, pointer: &Register, span: Span) -> Check<(i64, i64)> {
        let off = i64::from(pointer.off) + i64::from(span.off);
        let value = &pointer.value;
        let (low, high) = match value.constant() {
            Some(number) => {
                let low = number.cast_signed().wrapping_add(off);
                (low, low.wrapping_add(i64::from(span.size)))
            }
            None => {
                if value.smax() >= MAX_VARIABLE_OFFSET || value.smin() <= -MAX_VARIABLE_OFFSET {
                    return Err(Reason::UnboundedOffset { reg: span.reg }.into());
                }
                (value.smin() + off, value.smax() + off + i64::from(span.size))
            }
        };
        if !(-FRAME..0).contains(&low) || high > 0 {
            return Err(Reason::OutsideStack { reg: span.reg, offset: low, size: span.size }.into());
        }
        let subprogram = self.state.frames[frame].subprogram as usize;
        let depth = &mut self.observed.stack_depth[subprogram];
        *depth = (*depth).max(low.unsigned_abs().next_multiple_of(8) as u32); // at most 512
        let (slot, _) = Stack::place(low);
        if slot >= self.state.frames[frame].stack.len() {
            self.state.frame_mut(frame).stack_mut().grow(low);
        }
        Ok((low, high))
    }

    fn stack_of(&self, frame: usize) -> &Stack {
        &self.state.frames[frame].stack
    }

    /// What a load of stack bytes yields.
    pub(super) fn stack_read(&mut self, frame: usize, pointer: &Register, span: Span) -> Check<Register> {
        let (low, high) = self.stack_bounds(frame, pointer, span)?;
        if !pointer.has_constant_offset() {
            let written = (low..high).any(|off| self.stack_of(frame).byte(off) != Byte::Invalid);
            let unwritten = if written { Unwritten::Zeroed } else { Unwritten::ByPolicy };
            self.stack_read_somewhere(frame, low, high, span, Access::Read, unwritten)?;
            let zero = (low..high).all(|off| self.stack_of(frame).byte(off) == Byte::Zero);
            return Ok(if zero { Register::constant(0) } else { Register::unknown() });
        }
        let (index, byte) = Stack::place(low);
        self.note_reads(frame, 1 << index);
        let slot = *self.stack_of(frame).slot(index);
        let size = span.size as usize; // at most 8
        if slot.bytes[byte..byte + size].contains(&Byte::Invalid) {
            self.reads_unwritten(frame);
        }
        if slot.is_spill() {
            return self.fill(frame, index, byte, &slot, size, span);
        }
        self.readable(&slot, byte, size, span)?;
        let zero = slot.bytes[byte..byte + size].iter().all(|byte| *byte == Byte::Zero);
        Ok(if zero { Register::constant(0) } else { Register::unknown() })
    }

    fn readable(&self, slot: &Slot, byte: usize, size: usize, span: Span) -> Check {
        let fine = |byte: &Byte| match byte {
            Byte::Misc | Byte::Zero => true,
            Byte::Invalid => self.options.policy.allow_uninitialised_stack,
            Byte::Spill | Byte::Special => false,
        };
        if slot.bytes[byte..byte + size].iter().all(fine) {
            return Ok(());
        }
        Err(unreadable(slot, span))
    }

    fn fill(
        &mut self,
        frame: usize,
        index: usize,
        byte: usize,
        slot: &Slot,
        size: usize,
        span: Span,
    ) -> Check<Register> {
        let spill_size = slot.spill_size();
        let note = Note::Slot(frame as u8, index as u8); // at most 8 frames of 64 slots
        if size == 8 && spill_size == 8 {
            let filled = self.linked_spill(frame, index, slot.spilled);
            self.note(note);
            return Ok(filled);
        }
        if !slot.spilled.is_scalar() {
            return Err(Reason::PartialPointerFill { reg: span.reg }.into());
        }
        if byte == 0 && size <= spill_size {
            let mut filled = slot.spilled;
            if size == 4 && spill_size == 4 && filled.width() <= 32 {
                filled = self.linked_spill(frame, index, filled);
            }
            if filled.width() > 8 * size as u32 {
                filled.unlink();
            }
            self.note(note);
            return Ok(filled);
        }
        let bytes = &slot.bytes[byte..byte + size];
        let readable = bytes.iter().all(|byte| match byte {
            Byte::Spill | Byte::Misc | Byte::Zero => true,
            Byte::Invalid => self.options.policy.allow_uninitialised_stack,
            Byte::Special => false,
        });
        if !readable {
            return Err(unreadable(slot, span));
        }
        if bytes.iter().all(|byte| *byte == Byte::Spill) && slot.spilled.is_null() {
            self.note(note);
            return Ok(Register::constant(0));
        }
        let zero = bytes.iter().all(|byte| *byte == Byte::Zero);
        Ok(if zero { Register::constant(0) } else { Register::unknown() })
    }

    /// Stack bytes of a frame are read (or count as written) that may never have been written.
    fn reads_unwritten(&mut self, frame: usize) {
        let subprogram = self.state.frames[frame].subprogram as usize;
        self.observed.zero_stack[subprogram] = true;
    }

    /// The spilled register and its copy are linked.
    fn linked_spill(&mut self, frame: usize, index: usize, mut spilled: Register) -> Register {
        let before = spilled;
        self.link_scalar(&mut spilled);
        if spilled != before {
            self.state.frame_mut(frame).stack_mut().slot_mut(index).spilled = spilled;
        }
        spilled
    }

    /// Writes a value; without one, something unknown.
    pub(super) fn stack_write(
        &mut self,
        frame: usize,
        pointer: &Register,
        span: Span,
        value: Option<(Operand, Register)>,
    ) -> Check {
        let (low, high) = self.stack_bounds(frame, pointer, span)?;
        if !pointer.has_constant_offset() {
            return self.stack_write_variable(frame, low, high, value);
        }
        let (index, byte) = Stack::place(low);
        let old = *self.stack_of(frame).slot(index);
        let policy = &self.options.policy;
        if !policy.allow_pointer_leaks && old.is_spill() && !old.spilled.is_scalar() && span.size != 8 {
            return Err(Reason::PointerCorrupted.into());
        }
        self.destroy_special(frame, index)?;
        let size = span.size as usize; // at most 8
        if size == 8 {
            self.state.written[frame] |= 1 << index;
        }
        match value {
            Some((operand, mut register)) if byte == 0 && register.is_scalar() => {
                let fits = register.width() <= 8 * span.size;
                if let Operand::Reg(reg) = operand
                    && fits
                {
                    self.link_scalar(&mut register);
                    *self.state.register_mut(reg) = register;
                }
                if !fits || matches!(operand, Operand::Imm(_)) {
                    register.unlink();
                }
                self.spill(frame, index, &register, size);
            }
            Some((_, register)) if register.kind.is_pointer() => {
                if span.size != 8 {
                    return Err(Reason::PartialPointerSpill.into());
                }
                if frame != self.state.depth() && matches!(register.kind, Kind::Stack(_)) {
                    return Err(Reason::StackPointerEscapes.into());
                }
                self.spill(frame, index, &register, size);
            }
            other => {
                let zero = other.is_some_and(|(_, register)| register.is_null());
                if zero && let Some((Operand::Reg(reg), _)) = other {
                    self.rely_on(reg);
                }
                let kind = if zero { Byte::Zero } else { Byte::Misc };
                let slot = self.state.frame_mut(frame).stack_mut().slot_mut(index);
                if slot.is_special() {
                    slot.scrub();
                }
                slot.spilled = Register::UNINIT;
                slot.bytes[byte..byte + size].fill(kind);
            }
        }
        Ok(())
    }

    fn spill(&mut self, frame: usize, index: usize, register: &Register, size: usize) {
        let slot = self.state.frame_mut(frame).stack_mut().slot_mut(index);
        slot.spilled = *register;
        slot.special = None;
        for (position, byte) in slot.bytes.iter_mut().enumerate() {
            if position < size {
                *byte = Byte::Spill;
            } else if !matches!(*byte, Byte::Zero | Byte::Invalid) {
                // Linux without the right to leak takes bytes beside a narrow store as written; they were not.
                *byte = Byte::Misc;
            }
        }
        self.note(Note::Slot(frame as u8, index as u8)); // at most 8 frames of 64 slots
    }

    fn stack_write_variable(
        &mut self,
        frame: usize,
        low: i64,
        high: i64,
        value: Option<(Operand, Register)>,
    ) -> Check {
        let zero = value.is_some_and(|(_, register)| register.is_null());
        let mut used_zero = false;
        for index in slots_of(low, high) {
            self.destroy_special(frame, index)?;
        }
        let policy = self.options.policy;
        for off in low..high {
            let (index, byte) = Stack::place(off);
            let slot = *self.stack_of(frame).slot(index);
            let kind = slot.bytes[byte];
            if !policy.allow_pointer_leaks && kind == Byte::Spill && !slot.spilled.is_scalar() {
                return Err(Reason::PointerCorrupted.into());
            }
            if kind == Byte::Invalid && !policy.allow_uninitialised_stack {
                return Err(Reason::UninitialisedStack { offset: off }.into());
            }
            if kind == Byte::Invalid {
                // The write may miss it; from now on it counts as written.
                self.reads_unwritten(frame);
            }
            if zero && kind == Byte::Spill && slot.spilled.is_null() {
                used_zero = true;
                continue;
            }
            let kind = if zero && kind == Byte::Zero {
                used_zero = true;
                Byte::Zero
            } else {
                Byte::Misc
            };
            let slot = self.state.frame_mut(frame).stack_mut().slot_mut(index);
            if slot.is_spill() || slot.bytes.contains(&Byte::Spill) {
                slot.scrub();
            }
            slot.bytes[byte] = kind;
        }
        // The write may or may not hit a slot: earlier contents still matter to later reads.
        for index in slots_of(low, high) {
            self.note_reads(frame, 1 << index);
        }
        if used_zero && let Some((Operand::Reg(reg), _)) = value {
            self.rely_on(reg);
        }
        Ok(())
    }

    /// Bytes that a helper reads, or reads and writes: all must have been written (or may be unwritten, by
    /// policy).
    pub(super) fn stack_range(
        &mut self,
        frame: usize,
        low: i64,
        high: i64,
        span: Span,
        access: Access,
    ) -> Check {
        self.stack_read_somewhere(frame, low, high, span, access, Unwritten::ByPolicy)
    }

    fn stack_read_somewhere(
        &mut self,
        frame: usize,
        low: i64,
        high: i64,
        span: Span,
        access: Access,
        unwritten: Unwritten,
    ) -> Check {
        let policy = self.options.policy;
        let may_be_unwritten = policy.allow_uninitialised_stack || unwritten == Unwritten::Zeroed;
        for off in low..high {
            let (index, byte) = Stack::place(off);
            let slot = *self.stack_of(frame).slot(index);
            let kind = slot.bytes[byte];
            if kind == Byte::Invalid {
                self.reads_unwritten(frame);
            }
            let clobbered = match kind {
                Byte::Misc => false,
                Byte::Zero => true,
                Byte::Invalid if may_be_unwritten => true,
                _ if slot.is_spill() && (slot.spilled.is_scalar() || policy.allow_pointer_leaks) => {
                    if access == Access::Write {
                        self.state.frame_mut(frame).stack_mut().slot_mut(index).scrub();
                    }
                    false
                }
                Byte::Invalid => return Err(Reason::UninitialisedStack { offset: off }.into()),
                Byte::Spill | Byte::Special => return Err(unreadable(&slot, span)),
            };
            if clobbered && access == Access::Write {
                self.state.frame_mut(frame).stack_mut().slot_mut(index).bytes[byte] = Byte::Misc;
            }
        }
        for index in slots_of(low, high) {
            self.note_reads(frame, 1 << index);
        }
        Ok(())
    }

    /// Memory that a helper fills: nothing needs to have been written. The bytes become known after the call. There is no
    /// dynptr in it.
    pub(super) fn stack_filled(&mut self, frame: usize, low: i64, high: i64, surely: bool) -> Check {
        for index in slots_of(low, high) {
            let whole = -8 * (index as i64 + 1);
            if surely && low <= whole && whole + 8 <= high {
                self.state.written[frame] |= 1 << index;
            } else {
                self.keeps_pointer(frame, index)?;
            }
        }
        for off in low..high {
            let (index, byte) = Stack::place(off);
            let slot = self.state.frame_mut(frame).stack_mut().slot_mut(index);
            if slot.is_special() {
                slot.scrub();
            }
            slot.bytes[byte] = Byte::Misc;
            slot.spilled = Register::UNINIT;
        }
        Ok(())
    }

    /// Memory that counts as filled by a helper which may leave there what was there: that must be nobody's rest.
    pub(super) fn stack_left(&mut self, frame: usize, low: i64, high: i64) {
        for off in low..high {
            let (index, byte) = Stack::place(off);
            self.note_reads(frame, 1 << index);
            if self.stack_of(frame).slot(index).bytes[byte] == Byte::Invalid {
                self.reads_unwritten(frame);
            }
        }
    }

    /// Memory that a helper may write or not: what was known of it is not known any more.
    pub(super) fn stack_touched(&mut self, frame: usize, low: i64, high: i64) -> Check {
        for off in low..high {
            let (index, byte) = Stack::place(off);
            self.keeps_pointer(frame, index)?;
            let slot = self.state.frame_mut(frame).stack_mut().slot_mut(index);
            if slot.is_special() {
                slot.scrub();
            } else if slot.bytes[byte] == Byte::Zero {
                slot.bytes[byte] = Byte::Misc;
            }
        }
        Ok(())
    }

    /// Of a pointer that a helper may write over only in part, no part must be taken for a number.
    fn keeps_pointer(&self, frame: usize, index: usize) -> Check {
        let slot = self.stack_of(frame).slot(index);
        if slot.is_spill() && self.leaks(&slot.spilled) {
            return Err(Reason::PointerCorrupted.into());
        }
        Ok(())
    }

    /// Bounds of a range that a helper uses, from a stack pointer.
    pub(super) fn stack_span(&mut self, frame: usize, pointer: &Register, span: Span) -> Check<(i64, i64)> {
        self.stack_bounds(frame, pointer, span)
    }

    /// Whether part of a dynptr lies in the range.
    pub(super) fn overlaps_dynptr(&self, frame: usize, low: i64, high: i64) -> bool {
        slots_of(low, high).any(|index| {
            let special = self.stack_of(frame).slot(index).special;
            special.is_some_and(|special| matches!(special.special, Special::Dynptr(_)))
        })
    }

    /// A write over an object that helpers keep on the stack destroys it, if nothing must be released.
    pub(super) fn destroy_special(&mut self, frame: usize, index: usize) -> Check {
        let Some(object) = self.stack_of(frame).slot(index).special else { return Ok(()) };
        let Special::Dynptr(_) = object.special else {
            // Iterators and flags turn into plain bytes; what they hold stays held.
            return Ok(());
        };
        if object.object != 0 {
            return Err(Reason::ReferencedDynptrOverwritten.into());
        }
        let first = if object.first { index } else { index + 1 };
        let stack = self.state.frame_mut(frame).stack_mut();
        // Two slots: the lower address has the higher index.
        for slot in [first, first - 1] {
            *stack.slot_mut(slot) = Slot::INVALID;
        }
        let id = object.id;
        self.state.for_each(
            |register| register.owner == id && id != 0 && matches!(register.kind, Kind::Memory(_)),
            |register| *register = Register::unknown(),
        );
        Ok(())
    }
}

/// Slots that a range of offsets touches.
pub(super) fn slots_of(low: i64, high: i64) -> impl Iterator<Item = usize> {
    let (first, last) = if low < high { (Stack::place(high - 1).0, Stack::place(low).0) } else { (1, 0) };
    (first..=last).filter(move |_| low < high)
}

fn unreadable(slot: &Slot, span: Span) -> crate::verify::explore::Stop {
    if slot.special.is_some() {
        return Reason::ObjectAccess { reg: span.reg }.into();
    }
    if slot.bytes.contains(&Byte::Invalid) {
        return Reason::UninitialisedStack { offset: i64::from(span.off) }.into();
    }
    Reason::InvalidStackRead { reg: span.reg }.into()
}
