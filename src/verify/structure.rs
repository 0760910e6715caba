//! Structural checks and what exploration needs to know of the control-flow graph.
//!
//! In: a `Program`. Out: [`Structure`]: where states are remembered, which calls there are, in which order
//! functions can be summarised. Rejected here: unreachable instructions, control that falls off a function,
//! jumps between functions, recursion. Loops are fine: exploration bounds them.
#![forbid(unsafe_code)]

use crate::isa::effects::{Flow, flow};
use crate::isa::{Callee, Const64, Insn, InsnId};
use crate::link::{Linkage, Program, Subprogram};
use crate::verify::precision::Origin;
use crate::verify::report::Reason;

/// A direct call or a function address taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CallEdge {
    /// The instruction.
    pub(crate) at: InsnId,
    /// Index of the called subprogram.
    pub(crate) callee: usize,
    /// Only the address is taken: it is called back.
    pub(crate) address: bool,
}

/// The shape of a program.
#[derive(Debug, Default)]
pub(crate) struct Structure {
    /// Subprogram of each instruction.
    pub(crate) owner: Vec<u32>,
    /// Calls made by each subprogram.
    pub(crate) calls: Vec<Vec<CallEdge>>,
    /// Subprograms, callees before callers.
    pub(crate) bottom_up: Vec<usize>,
    /// Instructions at which states are compared and remembered.
    pub(crate) prune: Vec<bool>,
    /// Of those, the ones where a state is always remembered.
    pub(crate) force: Vec<bool>,
    /// Targets of backward jumps.
    pub(crate) heads: Vec<bool>,
    /// What each instruction may be the origin of.
    pub(crate) origins: Vec<Origin>,
}

/// A structural defect.
pub(crate) type Defect = (InsnId, Reason);

/// Fills in the subprograms of a program that came without symbols.
pub(crate) fn complete_subprograms(program: &mut Program) {
    if !program.subprograms.is_empty() || program.insns.is_empty() {
        return;
    }
    let mut entries = vec![InsnId(0)];
    for insn in &program.insns {
        if let Some(entry) = entered_by(insn) {
            entries.push(entry);
        }
    }
    entries.sort_unstable();
    entries.dedup();
    let last = InsnId(program.insns.len() as u32); // InsnId counts instructions in 32 bits
    let ends = entries.iter().skip(1).copied().chain([last]);
    program.subprograms = entries
        .iter()
        .zip(ends)
        .enumerate()
        .map(|(index, (&entry, end))| Subprogram {
            name: if index == 0 { program.name.clone() } else { format!("subprogram_{}", entry.0) },
            entry,
            end,
            linkage: if index == 0 { Linkage::Global } else { Linkage::Static },
            btf_func: 0,
        })
        .collect();
}

fn entered_by(insn: &Insn) -> Option<InsnId> {
    match *insn {
        Insn::Call(Callee::Subprogram(entry)) => Some(entry),
        Insn::Const { value: Const64::Function(entry), .. } => Some(entry),
        Insn::Call(Callee::Helper(_) | Callee::Kfunc { .. } | Callee::Register(_))
        | Insn::Const { .. }
        | Insn::Alu { .. }
        | Insn::Load { .. }
        | Insn::Store { .. }
        | Insn::Atomic { .. }
        | Insn::LoadAcquire { .. }
        | Insn::StoreRelease { .. }
        | Insn::MayGoto { .. }
        | Insn::AddrSpaceCast { .. }
        | Insn::Swap { .. }
        | Insn::Jump { .. }
        | Insn::Branch { .. }
        | Insn::LegacyPacket { .. }
        | Insn::Exit => None,
    }
}

impl Structure {
    /// Checks the shape of a program whose subprograms are complete.
    ///
    /// # Errors
    /// The first defect found.
    pub(crate) fn build(
        program: &Program,
        is_loop_point: impl Fn(&Insn) -> LoopPoint,
    ) -> Result<Self, Defect> {
        let count = program.insns.len();
        if count == 0 || program.subprograms.is_empty() {
            return Err((InsnId(0), Reason::Empty));
        }
        let mut structure = Self {
            owner: vec![0; count],
            calls: vec![Vec::new(); program.subprograms.len()],
            bottom_up: Vec::new(),
            prune: vec![false; count],
            force: vec![false; count],
            heads: vec![false; count],
            origins: program.insns.iter().map(Origin::of).collect(),
        };
        structure.functions(program)?;
        if let Some(callback) = program.exception_callback
            && let Some(call) = structure.calls.iter().flatten().find(|call| call.callee == callback)
        {
            return Err((call.at, Reason::ExceptionCallback { what: "it is called".to_owned() }));
        }
        structure.reachability(program)?;
        structure.order(program)?;
        structure.mark_points(program, is_loop_point);
        Ok(structure)
    }

    fn functions(&mut self, program: &Program) -> Result<(), Defect> {
        for (index, sub) in program.subprograms.iter().enumerate() {
            let (entry, end) = (sub.entry.index(), sub.end.index());
            if entry >= end || end > program.insns.len() {
                return Err((sub.entry, Reason::FallOff));
            }
            for at in entry..end {
                self.owner[at] = index as u32; // at most 256 subprograms
                let insn = &program.insns[at];
                let id = InsnId(at as u32); // InsnId counts instructions in 32 bits
                if let Some(target) = flow(insn).target()
                    && !(entry..end).contains(&target.index())
                {
                    return Err((id, Reason::JumpOutOfFunction));
                }
                if let Some(called) = entered_by(insn) {
                    let callee = program
                        .subprograms
                        .binary_search_by_key(&called, |sub| sub.entry)
                        .map_err(|_| (id, Reason::CallIntoFunction))?;
                    let address = !matches!(insn, Insn::Call(_));
                    self.calls[index].push(CallEdge { at: id, callee, address });
                }
            }
            match flow(&program.insns[end - 1]) {
                Flow::Exit | Flow::Jump(_) => {}
                Flow::Next | Flow::Branch(_) => {
                    return Err((InsnId(end as u32 - 1), Reason::FallOff));
                }
            }
        }
        Ok(())
    }

    fn reachability(&self, program: &Program) -> Result<(), Defect> {
        let mut seen = vec![false; program.insns.len()];
        let mut work = vec![program.subprograms[0].entry];
        work.extend(program.exception_callback.map(|callback| program.subprograms[callback].entry));
        while let Some(at) = work.pop() {
            if std::mem::replace(&mut seen[at.index()], true) {
                continue;
            }
            let insn = &program.insns[at.index()];
            work.extend(flow(insn).successors(at));
            work.extend(entered_by(insn));
        }
        match seen.iter().position(|seen| !seen) {
            Some(at) => Err((InsnId(at as u32), Reason::Unreachable)),
            None => Ok(()),
        }
    }

    fn order(&mut self, program: &Program) -> Result<(), Defect> {
        // 0: not visited, 1: on the walk's path, 2: done.
        let mut colour = vec![0u8; program.subprograms.len()];
        for root in std::iter::once(0).chain(program.exception_callback) {
            self.order_from(root, &mut colour)?;
        }
        Ok(())
    }

    fn order_from(&mut self, root: usize, colour: &mut [u8]) -> Result<(), Defect> {
        if colour[root] != 0 {
            return Ok(());
        }
        let mut work = vec![(root, 0usize)];
        colour[root] = 1;
        while let Some((sub, next)) = work.last_mut() {
            let Some(edge) = self.calls[*sub].get(*next) else {
                colour[*sub] = 2;
                self.bottom_up.push(*sub);
                work.pop();
                continue;
            };
            *next += 1;
            // A callback may name itself (timers restart themselves): only direct calls recurse.
            match colour[edge.callee] {
                0 => {
                    colour[edge.callee] = 1;
                    work.push((edge.callee, 0));
                }
                1 if !edge.address => return Err((edge.at, Reason::Recursion)),
                _ => {}
            }
        }
        Ok(())
    }

    fn mark_points(&mut self, program: &Program, is_loop_point: impl Fn(&Insn) -> LoopPoint) {
        for (at, insn) in program.insns.iter().enumerate() {
            // Many callers come to the start of a function in the same state.
            if let Some(entry) = entered_by(insn) {
                self.prune[at] = true;
                self.prune[entry.index()] = true;
            }
            if let Some(to) = flow(insn).target()
                && to.index() <= at
            {
                self.heads[to.index()] = true;
            }
            match flow(insn) {
                Flow::Jump(to) => self.prune[to.index()] = true,
                Flow::Branch(to) => {
                    self.prune[at] = true;
                    self.prune[to.index()] = true;
                    self.force[at] |= matches!(insn, Insn::MayGoto { .. });
                }
                Flow::Next => {
                    if let Insn::Call(_) = insn {
                        if let Some(after) = self.prune.get_mut(at + 1) {
                            *after = true;
                        }
                        match is_loop_point(insn) {
                            LoopPoint::None => {}
                            LoopPoint::Force => {
                                self.prune[at] = true;
                                self.force[at] = true;
                            }
                        }
                    }
                }
                Flow::Exit => {}
            }
        }
    }
}

/// Whether a call is a place where loops are closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LoopPoint {
    /// No.
    None,
    /// States are always remembered there: calls that call back, iterators.
    Force,
}

#[cfg(test)]
mod tests {
    use super::*;
    use beelift_runtime::ctx::ProgramType;

    #[test]
    fn states_are_compared_where_functions_start() {
        let text = "call sub\nr0 = 0\nexit\nsub:\nr0 = 1\nexit";
        let mut program = Program::assemble(ProgramType::Syscall, text, |_| None).expect("a program");
        complete_subprograms(&mut program);
        let structure = Structure::build(&program, |_| LoopPoint::None).expect("a sound shape");
        assert_eq!(structure.prune, [true, true, false, true, false]);
    }

    #[test]
    fn functions_without_symbols_lie_in_order() {
        let text = "call second\ncall first\nexit\nfirst:\nr0 = 1\nexit\nsecond:\nr0 = 2\nexit";
        let mut program = Program::assemble(ProgramType::Syscall, text, |_| None).expect("a program");
        program.subprograms.clear();
        complete_subprograms(&mut program);
        let places: Vec<_> = program.subprograms.iter().map(|sub| (sub.entry.0, sub.end.0)).collect();
        assert_eq!(places, [(0, 3), (3, 5), (5, 7)]);
    }

    #[test]
    fn functions_lie_in_the_program() {
        let mut program =
            Program::assemble(ProgramType::Syscall, "r0 = 0\nexit", |_| None).expect("a program");
        let reason =
            |program: &Program| Structure::build(program, |_| LoopPoint::None).map_err(|found| found.1).err();
        program.subprograms[0].end = InsnId(3);
        assert_eq!(reason(&program), Some(Reason::FallOff));
        program.subprograms[0].end = InsnId(0);
        assert_eq!(reason(&program), Some(Reason::FallOff));
        program.subprograms.clear();
        assert_eq!(reason(&program), Some(Reason::Empty));
    }
}
