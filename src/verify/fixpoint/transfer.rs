//! What one instruction does to the numbers.
#![forbid(unsafe_code)]

use super::Solver;
use super::values::Values;
use crate::isa::effects::RegSet;
use crate::isa::{AtomicOp, Callee, Const64, Insn, InsnId, Reg, Sign, Size, Width, semantics};
use crate::verify::domain::{AbstractScalar, Scalar};
use crate::verify::facts::{AccessFact, Region};
use crate::verify::observe::Loaded;

impl Solver<'_> {
    pub(super) fn step(&self, at: InsnId, insn: &Insn, state: &mut Values) {
        match *insn {
            Insn::Alu { dst, .. } if self.observed.arena_alu[at.index()] == Some(true) => {
                state.registers[dst.index()] = Scalar::unknown();
            }
            Insn::Alu { op, width, dst, src } => {
                let (left, right) = (state.registers[dst.index()], state.operand(src));
                state.registers[dst.index()] = semantics::alu(&mut AbstractScalar, op, width, left, right);
            }
            Insn::Swap { order, size, dst } => {
                let value = state.registers[dst.index()];
                state.registers[dst.index()] = semantics::swap(&mut AbstractScalar, order, size, value);
            }
            Insn::Const { dst, value } => {
                state.registers[dst.index()] = match value {
                    Const64::Imm(number) => Scalar::known(number),
                    Const64::Map(_)
                    | Const64::MapValue(..)
                    | Const64::Ksym(_)
                    | Const64::Function(_)
                    | Const64::MapIndex(_)
                    | Const64::MapIndexValue(..) => Scalar::unknown(),
                };
            }
            Insn::AddrSpaceCast { dst, .. } => state.registers[dst.index()] = Scalar::unknown(),
            Insn::Load { size, sign, dst, .. } => {
                state.registers[dst.index()] = self.loaded(at, size, sign, state);
            }
            Insn::LoadAcquire { size, dst, .. } => {
                state.registers[dst.index()] = self.loaded(at, size, Sign::Zero, state);
            }
            Insn::Store { size, src, .. } => self.stored(at, size, Some(state.operand(src)), state),
            Insn::StoreRelease { size, src, .. } => {
                self.stored(at, size, Some(state.registers[src.index()]), state);
            }
            Insn::Atomic { op, fetch, width, src, .. } => {
                let size = if width == Width::W32 { Size::W } else { Size::DW };
                let old = match self.region(at).map(|access| access.region) {
                    // Where the page is not there the register stays as it is.
                    Some(Region::Arena) => Scalar::unknown(),
                    _ => self.loaded(at, size, Sign::Zero, state),
                };
                self.stored(at, size, None, state);
                match (op, fetch) {
                    (AtomicOp::CmpXchg, _) => state.registers[Reg::R0.index()] = old,
                    (_, true) => state.registers[src.index()] = old,
                    (_, false) => {}
                }
            }
            Insn::Call(callee) => self.called(at, callee, state),
            Insn::LegacyPacket { .. } => {
                for reg in RegSet::CALLER_SAVED.iter() {
                    state.registers[reg.index()] = Scalar::unknown();
                }
            }
            Insn::Jump { .. } | Insn::Branch { .. } | Insn::MayGoto { .. } | Insn::Exit => {}
        }
    }

    fn region(&self, at: InsnId) -> Option<AccessFact> {
        self.observed.access[at.index()]
    }

    fn loaded(&self, at: InsnId, size: Size, sign: Sign, state: &Values) -> Scalar {
        match self.observed.loaded[at.index()] {
            // A pointer may be wider at run time than the field that it is loaded from.
            Loaded::Pointer => return Scalar::unknown(),
            Loaded::Constant(value) => return Scalar::known(value),
            Loaded::Nothing | Loaded::Number => {}
        }
        let any = Scalar::loaded(size, sign);
        let Some(AccessFact { region: Region::Stack { offset: Some(offset) }, .. }) = self.region(at) else {
            return any;
        };
        state.kept(offset, size).map_or(any, |value| value.extend(size, sign))
    }

    fn stored(&self, at: InsnId, size: Size, value: Option<Scalar>, state: &mut Values) {
        match self.region(at).map(|access| access.region) {
            Some(Region::Stack { offset: Some(offset) }) => match value {
                Some(value) => state.keep(offset, size, value),
                None => state.forget_bytes(offset, size.bytes()),
            },
            Some(Region::Stack { offset: None } | Region::Mixed | Region::Object) | None => {
                state.forget_slots();
            }
            Some(
                Region::Context { .. }
                | Region::CallerStack
                | Region::Packet
                | Region::MapValue(_)
                | Region::Memory
                | Region::Allocated
                | Region::Stale
                | Region::Arena,
            ) => {}
        }
    }

    fn called(&self, at: InsnId, callee: Callee, state: &mut Values) {
        for reg in RegSet::CALLER_SAVED.iter() {
            state.registers[reg.index()] = Scalar::unknown();
        }
        if let Callee::Subprogram(entry) = callee {
            let sub = self.structure.owner[entry.index()] as usize;
            state.registers[Reg::R0.index()] = self.returns[sub];
            if self.touches_callers[sub] || self.is_global(sub) {
                state.forget_slots();
            }
            return;
        }
        match &self.observed.call[at.index()] {
            Some(call) if !call.stack_escapes && call.callbacks.is_empty() => {
                for &(offset, size) in &call.stack_writes {
                    state.forget_bytes(offset, size);
                }
            }
            Some(_) | None => state.forget_slots(),
        }
    }
}
