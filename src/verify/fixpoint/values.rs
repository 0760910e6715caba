//! Numbers at one point of a function: registers, and stack bytes at constant places.
#![forbid(unsafe_code)]

use crate::isa::effects::RegSet;
use crate::isa::{Operand, Reg, Sign, Size};
use crate::verify::domain::Scalar;

/// Bytes of the largest access.
const WIDEST: i32 = 8;

/// A number kept in stack bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Kept {
    offset: i32,
    size: Size,
    value: Scalar,
}

impl Kept {
    fn end(&self) -> i32 {
        self.offset + self.size.bytes().cast_signed()
    }
}

/// Values at one point.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Values {
    pub(super) registers: [Scalar; Reg::COUNT],
    /// By ascending offset, without overlaps.
    slots: Vec<Kept>,
}

impl Clone for Values {
    fn clone(&self) -> Self {
        Self { registers: self.registers, slots: self.slots.clone() }
    }
    fn clone_from(&mut self, from: &Self) {
        self.registers = from.registers;
        self.slots.clone_from(&from.slots);
    }
}

impl Values {
    pub(super) fn unknown() -> Self {
        Self { registers: [Scalar::unknown(); Reg::COUNT], slots: Vec::new() }
    }
    /// Memory in use.
    pub(super) fn bytes(&self) -> u64 {
        (size_of::<Self>() + self.slots.len() * size_of::<Kept>()) as u64
    }
    pub(super) fn operand(&self, operand: Operand) -> Scalar {
        match operand {
            Operand::Reg(reg) => self.registers[reg.index()],
            Operand::Imm(value) => Scalar::known(value.cast_unsigned()),
        }
    }
    /// Forgets registers that nobody reads.
    pub(super) fn keep_registers(&mut self, live: RegSet) {
        for reg in Reg::all().filter(|reg| !live.contains(*reg)) {
            self.registers[reg.index()] = Scalar::unknown();
        }
    }
    /// Combines live registers and slots with those of another point; whether anything changed.
    pub(super) fn combine(
        &mut self,
        other: &Self,
        live: RegSet,
        mut join: impl FnMut(Scalar, Scalar) -> Scalar,
    ) -> bool {
        let mut changed = false;
        let mut update = |mine: &mut Scalar, theirs: Scalar| {
            if *mine != theirs {
                let joined = join(*mine, theirs);
                changed |= joined != *mine;
                *mine = joined;
            }
        };
        let mut rest = live.bits();
        while rest != 0 {
            let index = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            update(&mut self.registers[index], other.registers[index]);
        }
        let before = self.slots.len();
        let mut theirs = other.slots.iter().peekable();
        self.slots.retain_mut(|kept| {
            while theirs.next_if(|slot| slot.offset < kept.offset).is_some() {}
            let same = theirs.peek().filter(|slot| slot.offset == kept.offset && slot.size == kept.size);
            let Some(theirs) = same else { return false };
            update(&mut kept.value, theirs.value);
            true
        });
        changed | (before != self.slots.len())
    }
    /// Forgets everything in the stack.
    pub(super) fn forget_slots(&mut self) {
        self.slots.clear();
    }
    pub(super) fn forget_bytes(&mut self, offset: i32, size: u32) {
        let end = i64::from(offset) + i64::from(size);
        let first = self.slots.partition_point(|kept| kept.offset <= offset.saturating_sub(WIDEST));
        let mut last = first;
        while self.slots.get(last).is_some_and(|kept| i64::from(kept.offset) < end) {
            last += 1;
        }
        let mut at = first;
        for index in first..last {
            let kept = self.slots[index];
            if kept.end() <= offset {
                self.slots[at] = kept;
                at += 1;
            }
        }
        self.slots.drain(at..last);
    }
    pub(super) fn keep(&mut self, offset: i32, size: Size, value: Scalar) {
        let value = value.extend(size, Sign::Zero);
        let at = self.slots.partition_point(|kept| kept.offset < offset);
        if let Some(kept) = self.slots.get_mut(at)
            && kept.offset == offset
            && kept.size == size
        {
            // Nothing else overlaps these bytes.
            kept.value = value;
            return;
        }
        self.forget_bytes(offset, size.bytes());
        let at = self.slots.partition_point(|kept| kept.offset < offset);
        self.slots.insert(at, Kept { offset, size, value });
    }
    /// The number that starts at an offset, if all bytes of the access belong to it.
    pub(super) fn kept(&self, offset: i32, size: Size) -> Option<Scalar> {
        let at = self.slots.binary_search_by_key(&offset, |kept| kept.offset).ok()?;
        Some(self.slots[at]).filter(|kept| kept.size >= size).map(|kept| kept.value)
    }
}
