//! Frames and the whole state. Cloning a state shares its frames until one is changed.
#![forbid(unsafe_code)]

use std::ops::{Index, IndexMut};
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

/// The registers of a frame, by number. r10 never changes, so it takes no room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Registers {
    held: [Register; HELD],
    depth: u8,
}

/// Registers that are written: r0 to r9.
const HELD: usize = Reg::R10.index();

/// r10 by depth of the frame.
static FRAME_POINTERS: [Register; 8] = {
    let mut pointers = [Register::UNINIT; 8];
    let mut depth = 0;
    while depth < 8 {
        pointers[depth] = Register::pointer(Kind::Stack(depth as u8));
        depth += 1;
    }
    pointers
};

impl Registers {
    /// r0 to r9.
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Register> {
        self.held.iter()
    }
    /// r0 to r9, to change.
    pub(crate) fn iter_mut(&mut self) -> std::slice::IterMut<'_, Register> {
        self.held.iter_mut()
    }
}

impl Index<usize> for Registers {
    type Output = Register;
    #[inline]
    fn index(&self, index: usize) -> &Register {
        if index == HELD { &FRAME_POINTERS[usize::from(self.depth)] } else { &self.held[index] }
    }
}

impl IndexMut<usize> for Registers {
    #[inline]
    fn index_mut(&mut self, index: usize) -> &mut Register {
        &mut self.held[index]
    }
}

/// Frames are copied all the time: as large as the allocator has quick lists for, with the counts of sharing.
const _: () = assert!(size_of::<Frame>() + SHARED <= 1032);

/// One call frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Frame {
    /// r0 to r10.
    pub(crate) registers: Registers,
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
        Self {
            registers: Registers { held: [Register::UNINIT; HELD], depth },
            stack: Rc::new(Stack::default()),
            call_site,
            subprogram,
            callback: None,
            callback_depth: 0,
        }
    }
    /// Bytes that the frame takes beside another one, which may share its stack.
    fn bytes_beside(&self, other: Option<&Self>) -> u64 {
        let stack = other.map(|other| &other.stack);
        let shared = stack.is_some_and(|stack| Rc::ptr_eq(stack, &self.stack));
        let stack = if shared { 0 } else { self.stack.bytes_beside(stack.map(|stack| &**stack)) };
        (size_of::<Self>() + SHARED) as u64 + stack
    }
    /// The stack, to change.
    #[inline]
    pub(crate) fn stack_mut(&mut self) -> &mut Stack {
        Rc::make_mut(&mut self.stack)
    }
}

/// What sharing costs an allocation: its counts.
pub(super) const SHARED: usize = 2 * size_of::<usize>();

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
    #[inline]
    pub(crate) fn current(&self) -> &Frame {
        self.frames.last().expect("a state has a frame")
    }
    /// The running function returns.
    pub(crate) fn pop_frame(&mut self) {
        self.frames.pop();
        self.lowest = self.lowest.min(self.frames.len() as u8); // at most 8 frames
    }
    /// The running frame, to change.
    #[inline]
    pub(crate) fn current_mut(&mut self) -> &mut Frame {
        Rc::make_mut(self.frames.last_mut().expect("a state has a frame"))
    }
    /// Depth of the running frame.
    #[inline]
    pub(crate) fn depth(&self) -> usize {
        self.frames.len() - 1
    }
    /// Bytes of what the state does not share with another one.
    pub(crate) fn bytes_beside(&self, other: Option<&Self>) -> u64 {
        let frames = self.frames.iter().enumerate().map(|(depth, frame)| {
            let theirs = other.and_then(|other| other.frames.get(depth));
            let shared = theirs.is_some_and(|theirs| Rc::ptr_eq(theirs, frame));
            if shared { 0 } else { frame.bytes_beside(theirs.map(|frame| &**frame)) }
        });
        let references = match other {
            Some(other) if Rc::ptr_eq(&other.references, &self.references) => 0,
            Some(_) | None => self.references.bytes(),
        };
        frames.sum::<u64>() + references
    }
    /// Bytes that are free once this state is gone: what nobody else shares.
    pub(crate) fn bytes_alone(&self) -> u64 {
        let alone = |frame: &&Rc<Frame>| Rc::strong_count(frame) == 1;
        let frames = self.frames.iter().filter(alone).map(|frame| {
            let stack = if Rc::strong_count(&frame.stack) == 1 { frame.stack.bytes_alone() } else { 0 };
            (size_of::<Frame>() + SHARED) as u64 + stack
        });
        let references = if Rc::strong_count(&self.references) == 1 { self.references.bytes() } else { 0 };
        frames.sum::<u64>() + references
    }
    /// A frame, to change.
    #[inline]
    pub(crate) fn frame_mut(&mut self, depth: usize) -> &mut Frame {
        Rc::make_mut(&mut self.frames[depth])
    }
    /// A register of the running frame.
    #[inline]
    pub(crate) fn register(&self, reg: Reg) -> &Register {
        &self.current().registers[reg.index()]
    }
    /// A register of the running frame, to change.
    #[inline]
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
                for register in Rc::make_mut(shared).registers.iter_mut() {
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
