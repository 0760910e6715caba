//! One run: registers, frames, and the step from instruction to instruction.
#![forbid(unsafe_code)]

use std::sync::atomic::{Ordering, fence};

use beelift_runtime::TrapKind;
use beelift_runtime::abi::ExecContext;
use beelift_runtime::helper;
use beelift_runtime::map::arena::ArenaMap;
use beelift_runtime::mem::Fault;

use super::arena::Marks;
use super::call::{self, Refusal};
use super::callback::{self, Calling};
use super::memory::Memory;
use super::{InterpProgram, MAX_FRAMES, Moment, Observer};
use crate::isa::effects::RegSet;
use crate::isa::limits::{MAY_GOTO_BUDGET, function_address, function_at};
use crate::isa::semantics::{Concrete, alu, compare, swap};
use crate::isa::{AtomicOp, Callee, Const64, Insn, InsnId, Operand, Reg, Sign};
use crate::link::Trap;

/// `bpf_tail_call`.
const TAIL_CALL: u32 = 12;

/// What a call leaves in r1 to r5 (plus the number of the register): no useful number, no address.
const DESTROYED: u64 = 0x5bad_c0de_0000_0000;

/// What a subprogram gets back when its callee returns.
struct Frame {
    /// The call.
    call: InsnId,
    /// r6 to r10.
    saved: [u64; 5],
    may_goto: u32,
    /// Which of r6 to r10 are pointers into an arena.
    marks: RegSet,
    /// The callee is a callback of that helper call.
    calling: Option<Calling>,
}

pub(super) struct Run<'r, 'm> {
    pub(super) interp: &'r InterpProgram,
    pub(super) cx: &'r ExecContext<'r>,
    pub(super) memory: Memory<'m>,
    registers: [u64; Reg::COUNT],
    /// Iterations left to `may_goto` in the current frame.
    may_goto: u32,
    callers: Vec<Frame>,
    arena: Option<&'r ArenaMap>,
    /// Values that are pointers into the arena.
    pub(super) marks: Marks,
}

/// Where to go on.
pub(super) enum Step {
    Next,
    To(InsnId),
    Done(u64),
}

/// Where a run begins.
pub(super) struct Start {
    pub(super) at: InsnId,
    /// r1 to r5.
    pub(super) arguments: [u64; 5],
}

pub(super) fn run(
    interp: &InterpProgram,
    cx: &ExecContext<'_>,
    mut memory: Memory<'_>,
    start: Start,
    observer: &mut dyn Observer,
) -> Result<u64, Box<Trap>> {
    let mut registers = [0; Reg::COUNT];
    for (reg, value) in Reg::ARGS.into_iter().zip(start.arguments) {
        registers[reg.index()] = value;
    }
    registers[Reg::R10.index()] = memory.push_frame();
    cx.trap.set(0);
    let callers = Vec::with_capacity(MAX_FRAMES);
    let (arena, marks) = (interp.arena(), Marks::default());
    let mut run = Run { interp, cx, memory, registers, may_goto: MAY_GOTO_BUDGET, callers, arena, marks };
    let mut at = start.at;
    let refusal = loop {
        let Some(&insn) = interp.program.insns.get(at.index()) else {
            break Refusal { kind: TrapKind::InvalidInsn, fault: None };
        };
        let moment =
            Moment { at, registers: &run.registers, depth: run.callers.len(), regions: run.memory.regions() };
        if let Err(kind) = observer.before(&moment) {
            break trap(kind);
        }
        at = match run.step(at, insn) {
            Ok(Step::Next) => at.next(),
            Ok(Step::To(to)) => to,
            Ok(Step::Done(r0)) => return Ok(r0),
            Err(refusal) => break refusal,
        };
    };
    cx.trap.set(refusal.kind.code());
    cx.trap_insn.set(at.0);
    let callers: Vec<_> = run.callers.iter().rev().map(|frame| frame.call).collect();
    let trap = Trap::new(&interp.program, refusal.kind, at, &callers);
    Err(Box::new(match refusal.fault {
        Some(fault) => trap.with_fault(fault, run.memory.regions().place(fault.address)),
        None => trap,
    }))
}

pub(super) const fn trap(kind: TrapKind) -> Refusal {
    Refusal { kind, fault: None }
}

fn refused(fault: Fault) -> Refusal {
    Refusal { kind: TrapKind::Access, fault: Some(fault) }
}

impl Run<'_, '_> {
    pub(super) fn get(&self, reg: Reg) -> u64 {
        self.registers[reg.index()]
    }
    pub(super) fn set(&mut self, reg: Reg, value: u64) {
        self.registers[reg.index()] = value;
    }
    pub(super) fn operand(&self, operand: Operand) -> u64 {
        match operand {
            Operand::Reg(reg) => self.get(reg),
            Operand::Imm(value) => value.cast_unsigned(),
        }
    }
    pub(super) fn address(&self, base: Reg, off: i16) -> u64 {
        self.get(base).wrapping_add_signed(i64::from(off))
    }

    fn step(&mut self, at: InsnId, insn: Insn) -> Result<Step, Refusal> {
        if let Some(arena) = self.arena
            && let Some(step) = self.arena_step(arena, &insn)
        {
            return Ok(step);
        }
        match insn {
            Insn::Alu { op, width, dst, src } => {
                let src = self.operand(src);
                self.set(dst, alu(&mut Concrete, op, width, self.get(dst), src));
            }
            Insn::Swap { order, size, dst } => self.set(dst, swap(&mut Concrete, order, size, self.get(dst))),
            Insn::Load { size, sign, dst, base, off } => {
                let value = self.memory.load(self.address(base, off), size, sign).map_err(refused)?;
                self.set(dst, value);
            }
            Insn::Store { size, base, off, src } => {
                let value = self.operand(src);
                self.memory.store(self.address(base, off), size, value).map_err(refused)?;
            }
            Insn::LoadAcquire { size, dst, base, off } => {
                let value = self.memory.load(self.address(base, off), size, Sign::Zero).map_err(refused)?;
                fence(Ordering::Acquire);
                self.set(dst, value);
            }
            Insn::StoreRelease { size, base, off, src } => {
                fence(Ordering::Release);
                self.memory.store(self.address(base, off), size, self.get(src)).map_err(refused)?;
            }
            Insn::Atomic { op, fetch, width, base, off, src } => {
                let (address, r0) = (self.address(base, off), self.get(Reg::R0));
                let old = self.memory.atomic(op, width, address, self.get(src), r0).map_err(refused)?;
                match op {
                    AtomicOp::CmpXchg => self.set(Reg::R0, old),
                    AtomicOp::Add | AtomicOp::Or | AtomicOp::And | AtomicOp::Xor | AtomicOp::Xchg => {
                        if fetch {
                            self.set(src, old);
                        }
                    }
                }
            }
            Insn::Const { dst, value } => self.set(dst, self.constant(value)?),
            Insn::Jump { to } => return self.jump(at, to),
            Insn::Branch { op, width, lhs, rhs, to } => {
                if compare(&mut Concrete, op, width, self.get(lhs), self.operand(rhs)) {
                    return self.jump(at, to);
                }
            }
            Insn::MayGoto { to } => match self.may_goto.checked_sub(1) {
                None => return self.jump(at, to),
                Some(left) => self.may_goto = left,
            },
            Insn::Call(callee) => return self.call(at, callee),
            Insn::Exit => return self.leave(at),
            Insn::LegacyPacket { size, index, off } => {
                if self.get(Reg::R6) != self.cx.context.get() {
                    return Err(trap(TrapKind::Argument));
                }
                let index = index.map_or(0, |index| self.get(index));
                // The kernel's function takes an `int`.
                let offset = index.wrapping_add_signed(i64::from(off)) as i32;
                let result = helper::packet_load(self.cx, offset, size.bytes());
                if result < 0 {
                    self.set(Reg::R0, 0);
                    return self.exit();
                }
                self.set(Reg::R0, result.cast_unsigned());
                self.destroy_arguments();
            }
            Insn::AddrSpaceCast { .. } => unreachable!("`InterpProgram::new` asks for an arena"),
        }
        Ok(Step::Next)
    }

    fn constant(&self, value: Const64) -> Result<u64, Refusal> {
        match value {
            Const64::Imm(value) => Ok(value),
            Const64::Map(map) | Const64::MapIndex(map) => Ok(self.interp.map_address(map)),
            Const64::MapValue(map, offset) | Const64::MapIndexValue(map, offset) => {
                let base = self.interp.maps[map.0 as usize].map.base().ok_or(trap(TrapKind::Access))?;
                Ok(base.0.wrapping_add(u64::from(offset)))
            }
            Const64::Function(entry) => Ok(function_address(entry)),
            Const64::Ksym(_) => unreachable!("refused by `InterpProgram::new`"),
        }
    }

    /// A taken jump. It burns fuel where the verdict says so; without one, backward, so that every run ends.
    fn jump(&self, at: InsnId, to: InsnId) -> Result<Step, Refusal> {
        let burns = match &self.interp.asked {
            Some(asked) => asked.fuel.get(at.index()) == Some(&true),
            None => to <= at,
        };
        if burns {
            self.burn()?;
        }
        Ok(Step::To(to))
    }

    /// Calls burn fuel only where no verdict bounds them.
    fn burn_unverified(&self) -> Result<(), Refusal> {
        if self.interp.asked.is_some() { Ok(()) } else { self.burn() }
    }

    fn burn(&self) -> Result<(), Refusal> {
        let left = self.cx.fuel.get().checked_sub(1).ok_or(trap(TrapKind::Fuel))?;
        self.cx.fuel.set(left);
        Ok(())
    }

    fn call(&mut self, at: InsnId, callee: Callee) -> Result<Step, Refusal> {
        match callee {
            Callee::Subprogram(entry) => {
                self.enter(at, None)?;
                Ok(Step::To(entry))
            }
            Callee::Helper(id) if callback::calls_back(id) => {
                if !self.interp.helpers.contains_key(&id) {
                    return Err(trap(TrapKind::HelperMissing));
                }
                self.call_back(at, id)
            }
            Callee::Helper(id) => {
                let helper = self.interp.helpers.get(&id).ok_or(trap(TrapKind::HelperMissing))?;
                let arguments = Reg::ARGS.map(|reg| self.get(reg));
                let result =
                    call::call(helper, self.interp.program.prog_type, self.cx, &self.memory, arguments)?;
                if id == TAIL_CALL && result != 0 {
                    self.set(Reg::R0, self.cx.tail_result.get());
                    return self.exit();
                }
                self.set(Reg::R0, result);
                self.destroy_arguments();
                Ok(Step::Next)
            }
            Callee::Register(reg) => {
                let target = self.target(self.get(reg)).ok_or(trap(TrapKind::HelperMissing))?;
                self.call(at, target)
            }
            Callee::Kfunc { kfunc, .. } => {
                let Some(kfunc) = self.interp.kfuncs[kfunc.0 as usize] else { return self.throw() };
                if kfunc.name == helper::TREE_ADD {
                    return self.add_to_tree(at, kfunc);
                }
                let arguments = Reg::ARGS.map(|reg| self.get(reg));
                let program_type = self.interp.program.prog_type;
                let result = call::call(kfunc, program_type, self.cx, &self.memory, arguments)?;
                self.set(Reg::R0, result);
                self.destroy_arguments();
                Ok(Step::Next)
            }
        }
    }

    /// Leaves all frames; the exception callback, if there is one, says what the program returns.
    fn throw(&mut self) -> Result<Step, Refusal> {
        self.burn_unverified()?;
        self.memory.pop_frame();
        while let Some(frame) = self.callers.pop() {
            if let Some(calling) = &frame.calling {
                self.stop_calling_back(calling);
            }
            self.memory.pop_frame();
        }
        self.marks = Marks::default();
        let cookie = self.get(Reg::R1);
        let Some(callback) = self.interp.program.exception_callback else { return Ok(Step::Done(cookie)) };
        self.registers[Reg::R10.index()] = self.memory.push_frame();
        self.may_goto = MAY_GOTO_BUDGET;
        self.destroy_arguments();
        self.set(Reg::R1, cookie);
        Ok(Step::To(self.interp.program.subprograms[callback].entry))
    }

    /// A new frame for a callee.
    pub(super) fn enter(&mut self, at: InsnId, calling: Option<Calling>) -> Result<(), Refusal> {
        self.burn_unverified()?;
        if self.callers.len() + 1 >= MAX_FRAMES {
            return Err(trap(TrapKind::CallDepth));
        }
        let saved = self.registers[Reg::R6.index()..].try_into().expect("r6 to r10 are five");
        let marks = self.marks.registers.minus(RegSet::CALLER_SAVED);
        if calling.is_some() {
            // A callback's arguments are none of the caller's registers.
            self.marks.registers = marks;
        }
        self.callers.push(Frame { call: at, saved, may_goto: self.may_goto, marks, calling });
        self.may_goto = MAY_GOTO_BUDGET;
        self.registers[Reg::R10.index()] = self.memory.push_frame();
        Ok(())
    }

    /// What a register names: a subprogram by its address, or a helper by its number.
    pub(super) fn target(&self, value: u64) -> Option<Callee> {
        match function_at(value) {
            Some(entry) => self.interp.is_subprogram(entry).then_some(Callee::Subprogram(entry)),
            None => Some(Callee::Helper(u32::try_from(value).ok()?)),
        }
    }

    pub(super) fn destroy_arguments(&mut self) {
        for reg in Reg::ARGS {
            self.set(reg, DESTROYED | u64::from(reg.number()));
        }
    }

    /// An exit instruction.
    fn leave(&mut self, at: InsnId) -> Result<Step, Refusal> {
        if self.interp.asked.as_ref().is_some_and(|asked| asked.blank_result.get(at.index()) == Some(&true)) {
            self.set(Reg::R0, 0);
        }
        self.exit()
    }

    fn exit(&mut self) -> Result<Step, Refusal> {
        self.memory.pop_frame();
        let Some(frame) = self.callers.pop() else { return Ok(Step::Done(self.get(Reg::R0))) };
        self.registers[Reg::R6.index()..].copy_from_slice(&frame.saved);
        self.may_goto = frame.may_goto;
        let result = self.marks.registers.intersect(RegSet::of(Reg::R0));
        self.marks.registers = frame.marks.union(result);
        self.destroy_arguments();
        match frame.calling {
            None => Ok(Step::To(frame.call.next())),
            Some(calling) => self.called_back(frame.call, calling),
        }
    }
}
