//! Lazy precision: which scalars a proof relied on.
//!
//! A remembered state compares only those scalars whose value some check needed. When a check needs a value,
//! [`backtrack`] walks the path back to where the value came from, and marks it in every remembered state it
//! crosses. In: the trace of the path. Out: marks. Not here: what the marks are compared with (`state::subsume`).
#![forbid(unsafe_code)]

use crate::isa::effects::RegSet;
use crate::isa::{AluOp, AtomicOp, Callee, Insn, InsnId, Operand, Reg};

/// No entry, no state.
pub(crate) const NONE: u32 = u32::MAX;

/// Scalars of one frame: registers and stack slots as bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Marks {
    /// Bit n is rn.
    pub(crate) registers: u16,
    /// Bit n is slot n.
    pub(crate) slots: u64,
}

impl Marks {
    /// Whether all of `other` is in it.
    #[inline]
    const fn covers(self, other: Self) -> bool {
        other.registers & !self.registers == 0 && other.slots & !self.slots == 0
    }
    /// No scalar.
    #[inline]
    pub(crate) const fn is_empty(self) -> bool {
        self.registers == 0 && self.slots == 0
    }
}

/// One register or slot, for links between scalars.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// Register of a frame.
    Register(u8, u8),
    /// Slot of a frame.
    Slot(u8, u8),
}

/// What the trace knows of a step beyond the instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Note {
    /// Nothing.
    Plain,
    /// A spill to or a fill from that slot of that frame.
    Slot(u8, u8),
    /// A comparison gave a range to linked scalars: index of `Trace::links`.
    Links(u32),
    /// A call that entered a subprogram's frame.
    Entered,
    /// A call that entered a callback's frame.
    EnteredCallback,
    /// An exit that returned to the calling frame.
    Returned,
    /// An exit of a callback.
    ReturnedCallback,
}

impl Note {
    /// In one word: the kind in the low bits, what it says above.
    #[inline]
    const fn pack(self) -> u32 {
        match self {
            Self::Plain => 0,
            Self::Entered => 1,
            Self::EnteredCallback => 2,
            Self::Returned => 3,
            Self::ReturnedCallback => 4,
            Self::Slot(frame, slot) => 5 | (frame as u32) << 16 | (slot as u32) << 8,
            Self::Links(index) => 6 | index << 3,
        }
    }
    #[inline]
    const fn unpack(word: u32) -> Self {
        match word & 7 {
            0 => Self::Plain,
            1 => Self::Entered,
            2 => Self::EnteredCallback,
            3 => Self::Returned,
            4 => Self::ReturnedCallback,
            5 => Self::Slot((word >> 16) as u8, (word >> 8) as u8),
            _ => Self::Links(word >> 3),
        }
    }
}

/// One step of a path. There is one for each processed instruction, so it is small.
#[derive(Clone, Copy, Debug)]
struct Step {
    previous: u32,
    insn: InsnId,
    /// State remembered right before this step.
    state: u32,
    note: u32,
}

/// Allocations come in multiples of this many bytes.
const SHARE: usize = 16;

/// Steps from one that remembers what was followed to the next.
const SPACING: usize = 8;

/// All steps of all paths: a tree of lists that share their beginnings.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    steps: Vec<Step>,
    links: Vec<Box<[Place]>>,
    link_bytes: usize,
    /// For each step whose index is a multiple of `SPACING`: what earlier walks looked for from there on, when it
    /// was in the running frame only. A later walk for the same ends there.
    followed: Vec<Marks>,
}

impl Trace {
    /// Adds a step after `previous`.
    #[inline]
    pub(crate) fn push(&mut self, previous: u32, insn: InsnId, state: u32) -> u32 {
        let index = self.steps.len();
        if index.is_multiple_of(SPACING) {
            self.followed.push(Marks::default());
        }
        self.steps.push(Step { previous, insn, state, note: Note::Plain.pack() });
        index as u32 // the budget of instructions is far below 2^32
    }
    /// Memory in use.
    pub(crate) fn bytes(&self) -> u64 {
        let lists = self.links.capacity() * size_of::<Box<[Place]>>() + self.link_bytes;
        let followed = self.followed.capacity() * size_of::<Marks>();
        (self.steps.capacity() * size_of::<Step>() + followed + lists) as u64
    }
    /// Notes something about a step.
    #[inline]
    pub(crate) fn note(&mut self, step: u32, note: Note) {
        self.steps[step as usize].note = note.pack();
    }
    /// Notes that a comparison gave ranges to linked scalars.
    pub(crate) fn note_links(&mut self, step: u32, places: &[Place]) {
        self.links.push(places.into());
        self.link_bytes += size_of_val(places).next_multiple_of(SHARE);
        let index = (self.links.len() - 1) as u32; // fewer links than steps
        self.note(step, Note::Links(index));
    }
    /// Instructions of a path, newest first.
    pub(crate) fn path(&self, last: u32) -> impl Iterator<Item = InsnId> {
        let mut at = last;
        std::iter::from_fn(move || {
            let step = self.steps.get(at as usize)?;
            at = step.previous;
            Some(step.insn)
        })
    }
    /// States remembered on a path, newest first.
    pub(crate) fn states(&self, last: u32) -> impl Iterator<Item = u32> {
        let mut at = last;
        std::iter::from_fn(move || {
            loop {
                let step = self.steps.get(at as usize)?;
                at = step.previous;
                if step.state != NONE {
                    return Some(step.state);
                }
            }
        })
    }
}

/// Scalars whose origin is looked for, by frame.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    frames: [Marks; FRAMES],
    count: usize,
}

/// Frames of a path at most, and one for a walk that steps into a callee.
const FRAMES: usize = 16;

impl Wanted {
    /// Nothing, in a path with that many frames.
    #[inline]
    pub(crate) fn new(frames: usize) -> Self {
        Self { frames: [Marks::default(); FRAMES], count: frames }
    }
    /// Whether nothing is looked for.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.frames[..self.count].iter().all(|marks| marks.is_empty())
    }
    /// The marks of the running frame, if nothing is looked for in others.
    #[inline]
    fn only_running(&self) -> Option<Marks> {
        let (running, callers) = self.frames[..self.count].split_last()?;
        callers.iter().all(|marks| marks.is_empty()).then_some(*running)
    }
    /// Whether a step can be the origin of something wanted.
    #[inline]
    fn concerns(&self, origin: Origin, note: Note) -> bool {
        match note {
            Note::Plain | Note::Slot(..) => {}
            Note::Links(_)
            | Note::Entered
            | Note::EnteredCallback
            | Note::Returned
            | Note::ReturnedCallback => return true,
        }
        let frames = &self.frames[..self.count];
        let registers = frames.last().map_or(0, |marks| marks.registers);
        let slots = frames.iter().any(|marks| marks.slots != 0);
        origin.0 & (registers | if slots { Origin::SLOTS } else { 0 }) != 0 || origin.0 == u16::MAX
    }
    fn enter(&mut self, marks: Marks) -> bool {
        let Some(frame) = self.frames.get_mut(self.count) else { return false };
        *frame = marks;
        self.count += 1;
        true
    }
    fn leave(&mut self) -> Option<Marks> {
        self.count = self.count.checked_sub(1)?;
        Some(std::mem::take(&mut self.frames[self.count]))
    }
    /// Looks for a register.
    #[inline]
    pub(crate) fn register(&mut self, frame: usize, reg: Reg) {
        self.frames[frame].registers |= 1 << reg.index();
    }
    /// Looks for a slot.
    #[inline]
    pub(crate) fn slot(&mut self, frame: usize, slot: usize) {
        self.frames[frame].slots |= 1 << slot;
    }
    /// By frame.
    #[inline]
    pub(crate) fn frames_mut(&mut self) -> &mut [Marks] {
        &mut self.frames[..self.count]
    }
    #[inline]
    fn has(&self, place: Place) -> bool {
        match place {
            Place::Register(frame, reg) => {
                usize::from(frame) < self.count && self.frames[usize::from(frame)].registers >> reg & 1 == 1
            }
            Place::Slot(frame, slot) => {
                usize::from(frame) < self.count && self.frames[usize::from(frame)].slots >> slot & 1 == 1
            }
        }
    }
    #[inline]
    fn add(&mut self, place: Place) {
        match place {
            Place::Register(frame, reg) if usize::from(frame) < self.count => {
                self.frames[usize::from(frame)].registers |= 1 << reg;
            }
            Place::Slot(frame, slot) if usize::from(frame) < self.count => {
                self.frames[usize::from(frame)].slots |= 1 << slot;
            }
            Place::Register(..) | Place::Slot(..) => {}
        }
    }
}

/// Which values an instruction may be the origin of: registers as bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Origin(u16);

impl Origin {
    /// Stack slots.
    const SLOTS: u16 = 1 << 15;

    /// Of an instruction.
    pub(crate) fn of(insn: &Insn) -> Self {
        let bit = |reg: Reg| 1 << reg.index();
        Self(match *insn {
            Insn::Alu { dst, .. }
            | Insn::Const { dst, .. }
            | Insn::AddrSpaceCast { dst, .. }
            | Insn::Load { dst, .. }
            | Insn::LoadAcquire { dst, .. } => bit(dst),
            Insn::Store { .. } | Insn::StoreRelease { .. } => Self::SLOTS,
            Insn::Atomic { src, .. } => bit(src) | bit(Reg::R0),
            Insn::Branch { lhs, rhs: Operand::Reg(rhs), .. } => bit(lhs) | bit(rhs),
            Insn::Branch { rhs: Operand::Imm(_), .. }
            | Insn::Swap { .. }
            | Insn::Jump { .. }
            | Insn::MayGoto { .. } => 0,
            Insn::LegacyPacket { .. } => bit(Reg::R0),
            // Frames come and go.
            Insn::Call(_) | Insn::Exit => u16::MAX,
        })
    }
}

/// How a walk back ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    /// Every origin was found.
    All,
    /// The walk met something it cannot follow: everything on the path must be taken as relied on.
    Lost,
}

/// Walks back from `last` until every wanted scalar's origin is found. `mark` is called for each remembered
/// state that is crossed; it marks the wanted scalars there and takes out those that were marked before or
/// are no scalars.
pub(crate) fn backtrack(
    trace: &mut Trace,
    insns: &[Insn],
    origins: &[Origin],
    last: u32,
    wanted: &mut Wanted,
    skip_last: bool,
    mut mark: impl FnMut(u32, &mut Wanted),
) -> Found {
    let mut at = last;
    let mut skip = skip_last;
    while at != NONE {
        if wanted.is_empty() {
            return Found::All;
        }
        let step = trace.steps[at as usize];
        if !skip
            && (at as usize).is_multiple_of(SPACING)
            && let Some(running) = wanted.only_running()
        {
            let followed = &mut trace.followed[at as usize / SPACING];
            if followed.covers(running) {
                return Found::All;
            }
            followed.registers |= running.registers;
            followed.slots |= running.slots;
        }
        let note = Note::unpack(step.note);
        if !std::mem::take(&mut skip)
            && wanted.concerns(origins[step.insn.index()], note)
            && follow(trace, &insns[step.insn.index()], note, wanted) == Found::Lost
        {
            return Found::Lost;
        }
        if step.state != NONE {
            mark(step.state, wanted);
        }
        at = step.previous;
    }
    Found::All
}

fn follow(trace: &Trace, insn: &Insn, note: Note, wanted: &mut Wanted) -> Found {
    let sync = |wanted: &mut Wanted| {
        if let Note::Links(index) = note {
            let places = &trace.links[index as usize];
            if places.iter().any(|&place| wanted.has(place)) {
                for &place in places {
                    wanted.add(place);
                }
            }
        }
    };
    sync(wanted);
    let found = transfer(insn, note, wanted);
    sync(wanted);
    found
}

fn transfer(insn: &Insn, note: Note, wanted: &mut Wanted) -> Found {
    let depth = wanted.count - 1;
    let has = |wanted: &Wanted, reg: Reg| wanted.frames[depth].registers >> reg.index() & 1 == 1;
    let clear = |wanted: &mut Wanted, reg: Reg| wanted.frames[depth].registers &= !(1 << reg.index());
    if note == Note::Returned && !matches!(insn, Insn::Exit) {
        // The function returned early, with a number that no register of it held.
        wanted.frames[depth].registers &= !RegSet::CALLER_SAVED.bits();
        return if wanted.enter(Marks::default()) { Found::All } else { Found::Lost };
    }
    match *insn {
        Insn::Alu { op, dst, src, .. } => {
            if has(wanted, dst) {
                let copies = matches!(op, AluOp::Mov | AluOp::MovSx8 | AluOp::MovSx16 | AluOp::MovSx32);
                if copies {
                    clear(wanted, dst);
                }
                if let (Operand::Reg(src), false) = (src, op == AluOp::Neg)
                    && src != Reg::R10
                {
                    wanted.register(depth, src);
                }
            }
        }
        Insn::Swap { .. } => {}
        Insn::Const { dst, .. } => clear(wanted, dst),
        Insn::AddrSpaceCast { dst, .. } => clear(wanted, dst),
        Insn::Load { dst, .. } | Insn::LoadAcquire { dst, .. } => {
            if has(wanted, dst) {
                clear(wanted, dst);
                if let Note::Slot(frame, slot) = note {
                    wanted.slot(usize::from(frame), usize::from(slot));
                }
            }
        }
        Insn::Store { src, .. } => store(note, src, depth, wanted),
        Insn::StoreRelease { src, .. } => store(note, Operand::Reg(src), depth, wanted),
        Insn::Atomic { op, fetch, src, .. } => {
            let loaded = if op == AtomicOp::CmpXchg { Some(Reg::R0) } else { fetch.then_some(src) };
            if let Some(reg) = loaded {
                if has(wanted, reg)
                    && let Note::Slot(frame, slot) = note
                {
                    wanted.slot(usize::from(frame), usize::from(slot));
                }
                clear(wanted, reg);
            }
        }
        Insn::Jump { .. } | Insn::MayGoto { .. } => {}
        Insn::Branch { lhs, rhs, .. } => {
            if let Operand::Reg(rhs) = rhs
                && (has(wanted, lhs) || has(wanted, rhs))
            {
                for reg in [lhs, rhs] {
                    if reg != Reg::R10 {
                        wanted.register(depth, reg);
                    }
                }
            }
        }
        Insn::LegacyPacket { .. } => clear(wanted, Reg::R0),
        Insn::Call(callee) => return call(callee, note, wanted),
        Insn::Exit => match note {
            Note::Returned => {
                let marks = &mut wanted.frames[depth];
                let wants_result = marks.registers & 1 == 1;
                marks.registers &= !RegSet::CALLER_SAVED.bits();
                if !wanted.enter(Marks { registers: u16::from(wants_result), slots: 0 }) {
                    return Found::Lost;
                }
            }
            Note::ReturnedCallback => {
                if !wanted.enter(Marks::default()) {
                    return Found::Lost;
                }
            }
            Note::Plain | Note::Slot(..) | Note::Links(_) | Note::Entered | Note::EnteredCallback => {}
        },
    }
    Found::All
}

fn store(note: Note, src: Operand, depth: usize, wanted: &mut Wanted) {
    let Note::Slot(frame, slot) = note else { return };
    let Some(marks) = wanted.frames_mut().get_mut(usize::from(frame)) else { return };
    if marks.slots >> slot & 1 == 0 {
        return;
    }
    marks.slots &= !(1 << slot);
    if let Operand::Reg(reg) = src {
        wanted.register(depth, reg);
    }
}

fn call(callee: Callee, note: Note, wanted: &mut Wanted) -> Found {
    match note {
        Note::Entered => {
            let Some(inner) = wanted.leave() else { return Found::Lost };
            let Some(outer) = wanted.frames_mut().last_mut() else { return Found::Lost };
            // Only arguments reach a callee; anything else wanted there was never written.
            outer.registers |= inner.registers & RegSet::arguments(5).bits();
        }
        Note::EnteredCallback => {
            let Some(inner) = wanted.leave() else { return Found::Lost };
            if wanted.count == 0 || inner.slots != 0 {
                return Found::Lost;
            }
            // The context that a callback gets is the caller's r3; other arguments come from the helper.
            if inner.registers & (1 << Reg::R2.index() | 1 << Reg::R4.index()) != 0 {
                wanted.frames[wanted.count - 1].registers |= 1 << Reg::R3.index();
            }
        }
        Note::Plain | Note::Slot(..) | Note::Links(_) | Note::Returned | Note::ReturnedCallback => {
            let _ = callee;
            wanted.frames[wanted.count - 1].registers &= !1;
        }
    }
    Found::All
}
