//! Frames and the whole state. Cloning a state shares its frames until one is changed.
#![forbid(unsafe_code)]

use std::rc::Rc;

use super::{Kind, References, Register, Slot, Stack};
use crate::isa::{InsnId, Reg};

/// How a callback's frame was entered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Callback {
    /// Values the callback may return: minimum and maximum.
    pub(crate) returns: (i64, i64),
    /// Runs later, on its own (timer): its frame is the first one.
    pub(crate) asynchronous: bool,
    /// May sleep, where it runs later.
    pub(crate) sleeps: bool,
    /// Runs under the lock of a tree.
    pub(crate) in_tree: bool,
}

/// One call frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Frame {
    /// r0 to r10.
    pub(crate) registers: [Register; Reg::COUNT],
    /// Stack slots.
    pub(crate) stack: Rc<Stack>,
    /// The call that made the frame (the first frame: its own entry).
    pub(crate) call_site: InsnId,
    /// Index of the subprogram.
    pub(crate) subprogram: u32,
    /// Set in the frame of a callback.
    pub(crate) callback: Option<Callback>,
    /// How often the callback of the helper call in progress was entered, in the calling frame.
    pub(crate) callback_depth: u32,
}

impl Frame {
    /// A frame with nothing but its stack pointer.
    pub(crate) fn new(depth: u8, subprogram: u32, call_site: InsnId) -> Self {
        let mut registers = [Register::UNINIT; Reg::COUNT];
        registers[Reg::R10.index()] = Register::pointer(Kind::Stack(depth));
        Self {
            registers,
            stack: Rc::new(Stack::default()),
            call_site,
            subprogram,
            callback: None,
            callback_depth: 0,
        }
    }
    /// The stack, to change.
    pub(crate) fn stack_mut(&mut self) -> &mut Stack {
        Rc::make_mut(&mut self.stack)
    }
}

/// The machine at one point of one path.
#[derive(Clone, Debug)]
pub(crate) struct State {
    /// Frames, outermost first; never empty.
    pub(crate) frames: Vec<Rc<Frame>>,
    /// What the path holds.
    pub(crate) references: Rc<References>,
    /// Newest remembered state on this path; `u32::MAX`: none.
    pub(crate) parent: u32,
    /// Newest entry of the trace.
    pub(crate) trace: u32,
    /// Stack slots written since `parent`, by frame.
    pub(crate) written: [u64; 8],
    /// Fewest frames since `parent`.
    pub(crate) lowest: u8,
    /// Iterations of `may_goto` loops so far.
    pub(crate) may_goto_depth: u32,
    /// Entries of callbacks so far.
    pub(crate) callback_unroll: u32,
}

impl State {
    /// The running frame.
    pub(crate) fn current(&self) -> &Frame {
        self.frames.last().expect("a state has a frame")
    }
    /// The running function returns.
    pub(crate) fn pop_frame(&mut self) {
        self.frames.pop();
        self.lowest = self.lowest.min(self.frames.len() as u8); // at most 8 frames
    }
    /// The running frame, to change.
    pub(crate) fn current_mut(&mut self) -> &mut Frame {
        Rc::make_mut(self.frames.last_mut().expect("a state has a frame"))
    }
    /// Depth of the running frame.
    pub(crate) fn depth(&self) -> usize {
        self.frames.len() - 1
    }
    /// A frame, to change.
    pub(crate) fn frame_mut(&mut self, depth: usize) -> &mut Frame {
        Rc::make_mut(&mut self.frames[depth])
    }
    /// A register of the running frame.
    pub(crate) fn register(&self, reg: Reg) -> &Register {
        &self.current().registers[reg.index()]
    }
    /// A register of the running frame, to change.
    pub(crate) fn register_mut(&mut self, reg: Reg) -> &mut Register {
        &mut self.current_mut().registers[reg.index()]
    }
    /// Changes every register and spilled register that `wanted` picks, in all frames. Frames without one stay shared.
    pub(crate) fn for_each(
        &mut self,
        wanted: impl Fn(&Register) -> bool,
        mut change: impl FnMut(&mut Register),
    ) {
        for shared in &mut self.frames {
            if shared.registers.iter().any(&wanted) {
                for register in &mut Rc::make_mut(shared).registers {
                    if wanted(register) {
                        change(register);
                    }
                }
            }
            let picks = |slot: &Slot| slot.is_spill() && wanted(&slot.spilled);
            if shared.stack.slots().any(picks) {
                Rc::make_mut(shared).stack_mut().change(picks, |slot| change(&mut slot.spilled));
            }
        }
    }
}
