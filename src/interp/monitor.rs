//! Rules that hold beside memory safety, checked while a program without a proof runs.
//!
//! In: moments of a run. Out: the trap for a rule that is broken: registers are written before they are read, the
//! stack is accessed in aligned words, references are given back, the result is one that the program type
//! allows. Accesses and arguments of helpers are the interpreter's own business. What is not looked at here (stack
//! bytes that nobody wrote, addresses that leak) is never reported; what is reported is broken.
#![forbid(unsafe_code)]

use beelift_runtime::TrapKind;
use beelift_runtime::ctx::{ContextLayout, ReturnRange};
use beelift_runtime::helper::{self, ArgKind, HelperFlags, RetKind};
use beelift_runtime::mem::RegionKind;

use super::{Moment, Observer};
use crate::isa::effects::{self, RegSet};
use crate::isa::limits::function_at;
use crate::isa::{Callee, Insn, Reg};
use crate::link::Program;

/// Watches one run.
#[derive(Debug)]
pub struct Monitor<'p> {
    program: &'p Program,
    /// What each frame has written, the program's own first.
    frames: Vec<Frame>,
    /// References: what the acquiring call returned.
    held: Vec<u64>,
    /// The frame whose last call gives a reference, unless it is null.
    acquires: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    written: RegSet,
    /// What the call in progress hands over.
    arguments: RegSet,
}

impl<'p> Monitor<'p> {
    /// Watches a run of that program from its start.
    #[must_use]
    pub fn new(program: &'p Program) -> Self {
        let layout = program.layout();
        let given = if let ContextLayout::Memory = layout { 2 } else { 1 };
        let written = RegSet::arguments(given).union(RegSet::of(Reg::R10));
        let first = Frame { written, arguments: RegSet::EMPTY };
        Self { program, frames: vec![first], held: Vec::new(), acquires: None }
    }

    /// Whether references are held.
    #[must_use]
    pub fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    fn top(&mut self) -> &mut Frame {
        self.frames.last_mut().expect("the program's own frame stays")
    }

    /// A frame for the callee that just began.
    fn follow(&mut self, depth: usize) {
        if depth >= self.frames.len() {
            let arguments = self.top().arguments;
            let written = arguments.union(RegSet::of(Reg::R10));
            self.frames.push(Frame { written, arguments: RegSet::EMPTY });
        }
    }

    fn call(&mut self, callee: Callee, moment: &Moment<'_>) {
        if let Callee::Kfunc { kfunc, .. } = callee
            && self.program.kfuncs.get(kfunc.0 as usize).is_some_and(|kfunc| kfunc.name == helper::THROW)
        {
            // All frames are left; an exception callback finds the cookie in r1.
            let written = RegSet::of(Reg::R1).union(RegSet::of(Reg::R10));
            self.frames = vec![Frame { written, arguments: RegSet::EMPTY }];
            return;
        }
        let frame = self.top();
        let handed = frame.written.intersect(RegSet::arguments(5));
        let (arguments, result) = match callee {
            Callee::Subprogram(_) => (handed, RegSet::EMPTY),
            Callee::Register(reg) if function_at(moment.get(reg)).is_some() => (handed, RegSet::EMPTY),
            // A callback finds what its helper puts there.
            Callee::Helper(_) | Callee::Kfunc { .. } | Callee::Register(_) => {
                (RegSet::arguments(5), RegSet::of(Reg::R0))
            }
        };
        frame.arguments = arguments;
        frame.written = frame.written.minus(RegSet::CALLER_SAVED).union(result);
        if let Callee::Helper(id) = callee
            && let Some(helper) = self.program.helper(id)
        {
            // Allocated objects are the run-time's to look after: kernel functions take them back.
            let object = matches!(helper.proto.ret, RetKind::BtfId { name: "", .. });
            if helper.proto.flags.contains(HelperFlags::ACQUIRES) && !object {
                self.acquires = Some(moment.depth);
            }
            if let Some(argument) = helper.proto.released() {
                let given = moment.get(Reg::ARGS[argument]);
                self.held.retain(|&held| held != given);
            }
        }
    }

    fn exit(&mut self, moment: &Moment<'_>) -> Result<(), TrapKind> {
        if moment.depth > 0 {
            let left = self.frames.pop().expect("the callee's frame");
            let result = left.written.intersect(RegSet::of(Reg::R0));
            let caller = self.top();
            caller.written = caller.written.union(result);
            return Ok(());
        }
        if self.holds() {
            return Err(TrapKind::Unreleased);
        }
        match self.program.return_range() {
            ReturnRange::Within { min, max } => {
                let result = moment.get(Reg::R0).cast_signed();
                if (min..=max).contains(&result) { Ok(()) } else { Err(TrapKind::ReturnValue) }
            }
            ReturnRange::Any => Ok(()),
        }
    }
}

impl Observer for Monitor<'_> {
    fn before(&mut self, moment: &Moment<'_>) -> Result<(), TrapKind> {
        self.follow(moment.depth);
        if self.acquires.take_if(|depth| *depth == moment.depth).is_some() && moment.get(Reg::R0) != 0 {
            self.held.push(moment.get(Reg::R0));
        }
        let Some(insn) = self.program.insns.get(moment.at.index()) else { return Ok(()) };
        let returns = matches!(insn, Insn::Exit) && moment.depth > 0;
        let read = if returns { RegSet::EMPTY } else { effects::uses(insn, arguments(insn)) };
        if !read.minus(self.top().written).is_empty() {
            return Err(TrapKind::Uninitialised);
        }
        if let Some(access) = effects::access(insn) {
            let address = moment.get(access.base).wrapping_add_signed(i64::from(access.off));
            let aligned = address.is_multiple_of(u64::from(access.size.bytes()));
            if !aligned && moment.region(address) == Some(RegionKind::Stack) {
                return Err(TrapKind::Misaligned);
            }
        }
        match *insn {
            Insn::Call(callee) => self.call(callee, moment),
            Insn::Exit => return self.exit(moment),
            Insn::LegacyPacket { .. } => {
                let frame = self.top();
                frame.written = frame.written.minus(RegSet::CALLER_SAVED).union(RegSet::of(Reg::R0));
            }
            ref other => {
                let frame = self.top();
                frame.written = frame.written.union(effects::defs(other));
            }
        }
        Ok(())
    }
}

/// What a call reads. A subprogram reads its arguments itself, if it does.
fn arguments(insn: &Insn) -> RegSet {
    let Insn::Call(Callee::Helper(id)) = insn else { return RegSet::EMPTY };
    let Some(helper) = helper::by_id(*id) else { return RegSet::EMPTY };
    let count = helper.proto.args.iter().take_while(|kind| !matches!(kind, ArgKind::None)).count();
    RegSet::arguments(count as u8) // at most five
}
