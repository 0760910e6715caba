//! Arenas in the reference engine: casts, checked access, and which values are pointers into one.
//!
//! Native code knows from the verifier which instructions work on arena pointers. Here registers and stack words are
//! marked instead: a cast makes a mark, copies and arithmetic keep it, everything else takes it away. Arithmetic on a
//! marked register has 32 bits, and an access through one goes to the arena: as far as its pages are allocated.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use beelift_runtime::map::Map;
use beelift_runtime::map::MapFlags;
use beelift_runtime::map::arena::ArenaMap;
use beelift_runtime::mem::{AtomicOp as MemAtomicOp, AtomicSize};

use super::run::{Run, Step};
use super::word;
use crate::isa::effects::{self, RegSet};
use crate::isa::semantics::{Concrete, alu, extend_load};
use crate::isa::{AddrSpace, AluOp, AtomicOp, Insn, Operand, Reg, Sign, Size, Width};

/// Marks of one run.
#[derive(Default)]
pub(super) struct Marks {
    pub(super) registers: RegSet,
    /// Addresses of stack words that hold a marked value.
    words: BTreeSet<u64>,
}

impl Marks {
    fn forget_words(&mut self, address: u64, size: Size) {
        let end = address.saturating_add(u64::from(size.bytes()));
        let stale: Vec<u64> = self.words.range(address.saturating_sub(7)..end).copied().collect();
        for address in stale {
            self.words.remove(&address);
        }
    }
}

impl<'r> Run<'r, '_> {
    fn is_marked(&self, reg: Reg) -> bool {
        self.marks.registers.contains(reg)
    }

    fn mark(&mut self, reg: Reg, marked: bool) {
        let rest = self.marks.registers.minus(RegSet::of(reg));
        self.marks.registers = if marked { rest.union(RegSet::of(reg)) } else { rest };
    }

    /// The instruction, if it has to do with an arena; follows the marks in any case.
    pub(super) fn arena_step(&mut self, arena: &'r ArenaMap, insn: &Insn) -> Option<Step> {
        if let Some(access) = effects::access(insn)
            && self.is_marked(access.base)
        {
            self.arena_access(arena, insn);
            return Some(Step::Next);
        }
        match *insn {
            Insn::AddrSpaceCast { dst, src, to } => {
                let low = u64::from(self.get(src) as u32);
                let converts = !arena.def().flags.contains(MapFlags::NO_USER_CONV);
                let value = match to {
                    AddrSpace::Arena if converts && low != 0 => arena.window() + low,
                    AddrSpace::Arena | AddrSpace::Kernel => low,
                };
                self.set(dst, value);
                self.mark(dst, to == AddrSpace::Kernel);
                return Some(Step::Next);
            }
            Insn::Alu { op, width, dst, src } => {
                let from = match src {
                    Operand::Reg(reg) => self.is_marked(reg),
                    Operand::Imm(_) => false,
                };
                match op {
                    AluOp::Mov if width == Width::W64 => self.mark(dst, from),
                    AluOp::Mov | AluOp::MovSx8 | AluOp::MovSx16 | AluOp::MovSx32 | AluOp::Neg => {
                        self.mark(dst, false);
                    }
                    AluOp::Add
                    | AluOp::Sub
                    | AluOp::Mul
                    | AluOp::Div
                    | AluOp::Mod
                    | AluOp::SDiv
                    | AluOp::SMod
                    | AluOp::Or
                    | AluOp::And
                    | AluOp::Xor
                    | AluOp::Lsh
                    | AluOp::Rsh
                    | AluOp::Arsh => {
                        if from || self.is_marked(dst) {
                            let operand = self.operand(src);
                            let value = alu(&mut Concrete, op, Width::W32, self.get(dst), operand);
                            self.set(dst, value);
                            self.mark(dst, true);
                            return Some(Step::Next);
                        }
                    }
                }
            }
            Insn::Load { size, dst, base, off, .. } => {
                let marked = size == Size::DW && self.marks.words.contains(&self.address(base, off));
                self.mark(dst, marked);
            }
            Insn::Store { size, base, off, src } => {
                let address = self.address(base, off);
                self.marks.forget_words(address, size);
                if let Operand::Reg(reg) = src
                    && size == Size::DW
                    && self.is_marked(reg)
                {
                    self.marks.words.insert(address);
                }
            }
            Insn::StoreRelease { size, base, off, .. } => {
                let address = self.address(base, off);
                self.marks.forget_words(address, size);
            }
            Insn::Atomic { width, base, off, .. } => {
                let address = self.address(base, off);
                self.marks.forget_words(address, size_of(width));
                self.marks.registers = self.marks.registers.minus(effects::defs(insn));
            }
            // What a callee gets, and gives back, keeps its marks: see `enter` and `exit`.
            Insn::Call(crate::isa::Callee::Subprogram(_)) => {}
            Insn::Swap { .. }
            | Insn::LoadAcquire { .. }
            | Insn::Const { .. }
            | Insn::Call(_)
            | Insn::LegacyPacket { .. } => {
                self.marks.registers = self.marks.registers.minus(effects::defs(insn));
            }
            Insn::Jump { .. } | Insn::Branch { .. } | Insn::MayGoto { .. } | Insn::Exit => {}
        }
        None
    }

    /// A load, store or atomic through a marked register.
    fn arena_access(&mut self, arena: &ArenaMap, insn: &Insn) {
        let memory = arena.memory();
        let distance = |run: &Self, base: Reg, off: i16| i64::from(run.get(base) as u32) + i64::from(off);
        let place = |run: &Self, base, off, size: Size| {
            arena.place(distance(run, base, off), u64::from(size.bytes()))
        };
        match *insn {
            Insn::Load { size, sign, dst, base, off } => {
                let raw = place(self, base, off, size).map_or(0, |at| memory.load(at, word(size)));
                self.set(dst, extend_load(&mut Concrete, size, sign, raw));
                self.mark(dst, false);
            }
            Insn::LoadAcquire { size, dst, base, off } => {
                let raw = place(self, base, off, size).map_or(0, |at| memory.load(at, word(size)));
                std::sync::atomic::fence(std::sync::atomic::Ordering::Acquire);
                self.set(dst, extend_load(&mut Concrete, size, Sign::Zero, raw));
                self.mark(dst, false);
            }
            Insn::Store { size, base, off, src } => {
                if let Some(at) = place(self, base, off, size) {
                    memory.store(at, word(size), self.operand(src));
                }
            }
            Insn::StoreRelease { size, base, off, src } => {
                std::sync::atomic::fence(std::sync::atomic::Ordering::Release);
                if let Some(at) = place(self, base, off, size) {
                    memory.store(at, word(size), self.get(src));
                }
            }
            Insn::Atomic { op, fetch, width, base, off, src } => {
                let at = place(self, base, off, size_of(width));
                let size = match width {
                    Width::W32 => AtomicSize::W32,
                    Width::W64 => AtomicSize::W64,
                };
                let op = match op {
                    AtomicOp::Add => MemAtomicOp::Add,
                    AtomicOp::Or => MemAtomicOp::Or,
                    AtomicOp::And => MemAtomicOp::And,
                    AtomicOp::Xor => MemAtomicOp::Xor,
                    AtomicOp::Xchg => MemAtomicOp::Exchange,
                    AtomicOp::CmpXchg => {
                        let (r0, new) = (self.get(Reg::R0), self.get(src));
                        // What was not done leaves the whole register, at both widths.
                        let old = at.map_or(r0, |at| memory.compare_exchange(at, size, r0, new));
                        self.set(Reg::R0, old);
                        self.mark(Reg::R0, false);
                        return;
                    }
                };
                let operand = self.get(src);
                let old = at.map_or(operand, |at| memory.atomic(at, size, op, operand));
                if fetch {
                    self.set(src, old);
                    self.mark(src, false);
                }
            }
            Insn::Alu { .. }
            | Insn::MayGoto { .. }
            | Insn::AddrSpaceCast { .. }
            | Insn::Swap { .. }
            | Insn::Const { .. }
            | Insn::Jump { .. }
            | Insn::Branch { .. }
            | Insn::Call(_)
            | Insn::LegacyPacket { .. }
            | Insn::Exit => unreachable!("not a memory instruction"),
        }
    }
}

const fn size_of(width: Width) -> Size {
    match width {
        Width::W32 => Size::W,
        Width::W64 => Size::DW,
    }
}
