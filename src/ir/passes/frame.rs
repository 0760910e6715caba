//! Keeps bytes of the frame in values, and drops stores that nobody reads.
//!
//! In: blocks in reverse post-order, after inlining: an address that a subprogram was given is a place in the frame by
//! now, so that what `slots` had to leave alone for its sake can be a value after all. A structure that is set to zero,
//! filled field by field and then given to a helper (the key of a map) is a value for each field until then, and reaches
//! memory in words: a helper that reads words must not wait until narrow stores have. What stays memory is still not
//! loaded again where it was just stored: compilers use one place for a number here and for a helper's buffer there.
//! Not here: frames into which an access may point that the form does not place exactly.
#![forbid(unsafe_code)]

mod marks;
mod unread;

use self::marks::{Kind, Marks};
use crate::ir::FastMap;
use crate::ir::fold::fits;
use crate::ir::func::{BinaryOp, Class, FrameUse, Function, Op, Place, Type, UnaryOp, Value};
use crate::isa::{InsnId, Sign, Size};

/// Bytes of the largest frame looked at.
const MOST_BYTES: u32 = 4096;
/// Most values.
const MOST_SLOTS: usize = Slots::BITS as usize;
/// Slots times blocks above which nothing becomes a value: memory grows with that product.
const CAP: usize = 1_000_000;

/// Stores that are remembered.
const MOST_STORED: usize = 24;

/// A set of slots.
type Slots = u128;

/// Whether parameters were added.
pub(crate) fn run(function: &mut Function) -> bool {
    if function.frame_size == 0 || function.frame_size > MOST_BYTES {
        return false;
    }
    let Some(marks) = Marks::of(function) else { return false };
    let added = if marks.slots.len() * function.blocks.len() > CAP {
        false
    } else {
        Promotion::new(function, &marks).is_some_and(|mut promotion| {
            promotion.rename();
            promotion.connect()
        })
    };
    unread::run(function);
    added
}

/// Offset in the frame of an access at a place, if it is known and inside.
fn offset(function: &Function, place: Place, size: Size) -> Option<u32> {
    let Op::Frame(start) = function.op(place.base) else { return None };
    let at = start.checked_add_signed(place.off)?;
    (at.checked_add(size.bytes())? <= function.frame_size).then_some(at)
}

/// What an operation does to the frame.
enum Touch<'a> {
    Nothing,
    /// Plain.
    Load(u32, Size),
    /// Plain, of that value.
    Store(u32, Size, Value),
    /// Both, as one.
    Update(u32, Size),
    Call(&'a FrameUse),
    /// Nobody knows.
    Anything,
}

fn touch(function: &Function, op: Op) -> Touch<'_> {
    let unplaced = |place: Place| match place.class {
        Class::Stack | Class::Any => Touch::Anything,
        Class::Context | Class::Packet | Class::Map | Class::Runtime | Class::Caller | Class::Outside => {
            Touch::Nothing
        }
    };
    match op {
        Op::Load(size, _, place) => match offset(function, place, size) {
            Some(at) => Touch::Load(at, size),
            None => unplaced(place),
        },
        Op::Store(size, place, value) => match offset(function, place, size) {
            Some(at) => Touch::Store(at, size, value),
            None => unplaced(place),
        },
        Op::LoadAcquire(size, place) | Op::StoreRelease(size, place, _) => {
            offset(function, place, size).map_or(unplaced(place), |at| Touch::Update(at, size))
        }
        Op::AtomicRmw(_, width, place, _) | Op::AtomicCas(width, place, ..) => {
            let size = if width.bits() == 32 { Size::W } else { Size::DW };
            offset(function, place, size).map_or(unplaced(place), |at| Touch::Update(at, size))
        }
        Op::Call(_, list) => match &function.frame_uses[list.0 as usize] {
            FrameUse { unknown: true, .. } => Touch::Anything, // u32 to usize above
            exact => Touch::Call(exact),
        },
        Op::Param
        | Op::Const(_)
        | Op::Address(_)
        | Op::Runtime
        | Op::Frame(_)
        | Op::Unary(..)
        | Op::Binary(..)
        | Op::Compare(..)
        | Op::Select(..)
        | Op::TrapIf(..) => Touch::Nothing,
    }
}

/// The bytes of a number from `skip` on.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Held {
    value: Value,
    skip: u32,
}

/// What is known of the frame at a point.
#[derive(Clone)]
struct State {
    /// Values of the slots.
    slots: Vec<Held>,
    /// Slots whose bytes in memory are the same.
    clean: Slots,
    /// The last stores to what stays memory, if they are in force: place, size and value.
    stored: Vec<(u32, Size, Value)>,
}

impl State {
    fn forget(&mut self, at: u32, bytes: u32) {
        let end = at.saturating_add(bytes);
        self.stored.retain(|&(other, size, _)| other + size.bytes() <= at || end <= other);
    }
}

struct Promotion<'a> {
    function: &'a mut Function,
    marks: &'a Marks,
    /// Ways into each block, and the last one of them.
    preds: Vec<(u32, usize)>,
    /// Slots that are read later, at the start of each block.
    live: Vec<Slots>,
    /// What is known at the end of each block.
    ends: Vec<State>,
    /// What a loaded value is now.
    same: Vec<Option<Value>>,
    /// One value for each number: what is the same on all ways in needs no parameter.
    numbers: FastMap<u64, Value>,
}

impl<'a> Promotion<'a> {
    /// `None` if the first block is part of a loop: it can take no parameters.
    fn new(function: &'a mut Function, marks: &'a Marks) -> Option<Self> {
        let mut preds = vec![(0, 0); function.blocks.len()];
        for (at, block) in function.blocks.iter().enumerate() {
            for edge in block.end.edges() {
                let (count, last) = &mut preds[edge.to.index()];
                *count += 1;
                *last = at;
            }
        }
        if preds[0].0 > 0 {
            return None;
        }
        let live = live(function, marks);
        let numbers = FastMap::default();
        Some(Self { function, marks, preds, live, ends: Vec::new(), same: Vec::new(), numbers })
    }

    /// Turns loads into values, block by block.
    fn rename(&mut self) {
        let zero = self.number(0);
        for at in 0..self.function.blocks.len() {
            let mut state = match self.preds[at] {
                (1, pred) => self.ends[pred].clone(),
                (0 | 2.., _) => {
                    let nothing = Held { value: zero, skip: 0 };
                    State { slots: vec![nothing; self.marks.slots.len()], clean: 0, stored: Vec::new() }
                }
            };
            if self.preds[at].0 > 1 {
                let insn = self.function.blocks[at].end_insn;
                for slot in members(self.live[at]) {
                    let value = self.function.add_param(block_id(at), Type::I64, insn);
                    state.slots[slot] = Held { value, skip: 0 };
                }
            }
            let nodes = std::mem::take(&mut self.function.blocks[at].nodes);
            let mut kept = Vec::with_capacity(nodes.len());
            for node in nodes {
                self.node(node, &mut state, &mut kept);
            }
            self.function.blocks[at].nodes = kept;
            self.ends.push(state);
        }
    }

    fn node(&mut self, node: Value, state: &mut State, kept: &mut Vec<Value>) {
        match touch(self.function, self.function.op(node)) {
            Touch::Load(at, size) => {
                let insn = self.function.nodes[node.index()].insn;
                let known = match self.together(at, size.bytes(), state, insn, kept) {
                    None => {
                        state.stored.iter().find(|last| (last.0, last.1) == (at, size)).map(|last| last.2)
                    }
                    known => known,
                };
                match (known, self.function.op(node)) {
                    (Some(known), Op::Load(_, sign, _)) => self.load(node, size, sign, known, kept),
                    _ => kept.push(node),
                }
            }
            Touch::Store(at, size, value) => {
                for (slot, piece) in self.marks.slots_in(at, size.bytes()) {
                    state.slots[slot] = Held { value, skip: piece.at - at };
                    state.clean &= !(1 << slot);
                }
                if self.marks.holds_memory(at, size.bytes()) {
                    state.forget(at, size.bytes());
                    if state.stored.len() < MOST_STORED {
                        state.stored.push((at, size, value));
                    }
                    kept.push(node);
                }
            }
            Touch::Update(at, size) => {
                state.forget(at, size.bytes());
                kept.push(node);
            }
            Touch::Call(touched) => {
                let (reads, writes) = (touched.reads.clone(), touched.writes.clone());
                let insn = self.function.nodes[node.index()].insn;
                for (at, bytes) in reads {
                    self.write_out(at, bytes, state, insn, kept);
                }
                writes.iter().for_each(|&(at, bytes)| state.forget(at, bytes));
                kept.push(node);
            }
            Touch::Nothing | Touch::Anything => kept.push(node),
        }
    }

    /// Stores what a reader of memory will look for.
    fn write_out(&mut self, at: u32, bytes: u32, state: &mut State, insn: InsnId, kept: &mut Vec<Value>) {
        for word in (at & !7..at.saturating_add(bytes)).step_by(8) {
            self.write_chunk(word, Size::DW, (at, at + bytes), state, insn, kept);
        }
    }

    /// Stores the bytes of an aligned chunk that lie in a range, as one if it can.
    fn write_chunk(
        &mut self,
        chunk: u32,
        size: Size,
        range: (u32, u32),
        state: &mut State,
        insn: InsnId,
        kept: &mut Vec<Value>,
    ) {
        let end = chunk + size.bytes();
        let wanted = (chunk.max(range.0), end.min(range.1));
        if wanted.0 >= wanted.1 {
            return;
        }
        let slots = self.marks.slots_in(wanted.0, wanted.1 - wanted.0);
        let slots = slots.fold(0, |slots: Slots, (slot, _)| slots | 1 << slot);
        if slots & !state.clean == 0 {
            return;
        }
        let half = match size {
            Size::DW => Size::W,
            Size::W => Size::H,
            Size::H | Size::B => Size::B,
        };
        let inside = range.0 <= chunk && end <= range.1;
        let value = if inside { self.together(chunk, size.bytes(), state, insn, kept) } else { None };
        match value {
            Some(value) => {
                let base = self.function.add(Op::Frame(chunk), Type::I64, insn);
                let place = Place { base, off: 0, class: Class::Stack, aligned: true };
                kept.push(self.function.add(Op::Store(size, place, value), Type::I64, insn));
                for (slot, piece) in self.marks.slots_in(chunk, size.bytes()) {
                    if chunk <= piece.at && piece.at + piece.bytes <= end {
                        state.clean |= 1 << slot;
                    }
                }
            }
            None if size == Size::B => {}
            None => {
                self.write_chunk(chunk, half, range, state, insn, kept);
                self.write_chunk(chunk + half.bytes(), half, range, state, insn, kept);
            }
        }
    }

    /// The number that bytes of the frame are, if all of them are values: what lies above them is anything.
    fn together(
        &mut self,
        at: u32,
        bytes: u32,
        state: &State,
        insn: InsnId,
        kept: &mut Vec<Value>,
    ) -> Option<Value> {
        // Neighbours that are parts of one number are one part.
        let mut parts: Vec<(u32, u32, Held)> = Vec::new();
        for piece in self.marks.inside(at, bytes) {
            let Kind::Slot(slot) = piece.kind else { return None };
            let (start, end) = (piece.at.max(at), (piece.at + piece.bytes).min(at + bytes));
            let held = state.slots[slot];
            let held = Held { value: self.resolved(held.value), skip: held.skip + start - piece.at };
            match parts.last_mut() {
                Some((_, length, last)) if last.value == held.value && last.skip + *length == held.skip => {
                    *length += end - start;
                }
                _ => parts.push((start - at, end - start, held)),
            }
        }
        let mut known = 0;
        let mut word = None;
        for (place, length, held) in parts {
            let mask = u64::MAX >> (64 - 8 * length);
            if let Some(number) = self.function.constant(held.value) {
                known |= (number.checked_shr(8 * held.skip).unwrap_or(0) & mask) << (8 * place);
                continue;
            }
            let mut value = self.shifted(held, insn, kept);
            // What lies above falls off.
            if place + length < bytes && !fits(self.function, value, 8 * length) {
                value = self.with_number(BinaryOp::And, value, mask, insn, kept);
            }
            if place > 0 {
                value = self.with_number(BinaryOp::Shl, value, u64::from(8 * place), insn, kept);
            }
            word = Some(match word {
                None => value,
                Some(other) => {
                    let both = self.function.add(Op::Binary(BinaryOp::Or, other, value), Type::I64, insn);
                    kept.push(both);
                    both
                }
            });
        }
        Some(match word {
            None => self.number(known),
            Some(word) if known == 0 => word,
            Some(word) => {
                // A number that is a part itself may have bits above it.
                self.with_number(BinaryOp::Or, word, known, insn, kept)
            }
        })
    }

    fn shifted(&mut self, held: Held, insn: InsnId, kept: &mut Vec<Value>) -> Value {
        if held.skip == 0 {
            return held.value;
        }
        self.with_number(BinaryOp::LShr, held.value, u64::from(8 * held.skip), insn, kept)
    }

    fn number(&mut self, number: u64) -> Value {
        let function = &mut *self.function;
        *self.numbers.entry(number).or_insert_with(|| function.add(Op::Const(number), Type::I64, InsnId(0)))
    }

    fn with_number(
        &mut self,
        op: BinaryOp,
        value: Value,
        number: u64,
        insn: InsnId,
        kept: &mut Vec<Value>,
    ) -> Value {
        let number = self.number(number);
        let result = self.function.add(Op::Binary(op, value, number), Type::I64, insn);
        kept.push(result);
        result
    }

    /// What a load gives of a stored value.
    fn load(&mut self, node: Value, size: Size, sign: Sign, stored: Value, kept: &mut Vec<Value>) {
        let insn = self.function.nodes[node.index()].insn;
        let stored = self.resolved(stored);
        if let Some(number) = self.function.constant(stored) {
            let unused = 64 - size.bits();
            let number = match sign {
                Sign::Zero => number << unused >> unused,
                Sign::Signed => ((number << unused).cast_signed() >> unused).cast_unsigned(),
            };
            let constant = self.number(number);
            return self.is_now(node, constant);
        }
        let op = match (size, sign) {
            (Size::DW, _) => return self.is_now(node, stored),
            (_, Sign::Signed) => Op::Unary(UnaryOp::SignExtend(size), stored),
            (_, Sign::Zero) if fits(self.function, stored, size.bits()) => return self.is_now(node, stored),
            (Size::W, Sign::Zero) => {
                let low = self.function.add(Op::Unary(UnaryOp::Reduce, stored), Type::I32, insn);
                kept.push(low);
                Op::Unary(UnaryOp::Widen, low)
            }
            (Size::B | Size::H, Sign::Zero) => {
                let mask = self.number(u64::MAX >> (64 - size.bits()));
                Op::Binary(BinaryOp::And, stored, mask)
            }
        };
        self.function.nodes[node.index()].op = op;
        kept.push(node);
    }

    fn is_now(&mut self, node: Value, value: Value) {
        if self.same.len() <= node.index() {
            self.same.resize(node.index() + 1, None);
        }
        self.same[node.index()] = Some(value);
    }

    fn resolved(&self, mut value: Value) -> Value {
        while let Some(&Some(other)) = self.same.get(value.index()) {
            value = other;
        }
        value
    }

    /// Gives the new parameters their values; whether there are any.
    fn connect(mut self) -> bool {
        let mut added = false;
        for at in 0..self.function.blocks.len() {
            let mut end = self.function.blocks[at].end.clone();
            let insn = self.function.blocks[at].end_insn;
            let mut nodes = std::mem::take(&mut self.function.blocks[at].nodes);
            for edge in end.edges_mut() {
                let to = edge.to.index();
                if self.preds[to].0 > 1 {
                    for slot in members(self.live[to]) {
                        let held = self.ends[at].slots[slot];
                        let held = Held { value: self.resolved(held.value), ..held };
                        edge.args.push(match self.function.constant(held.value) {
                            Some(number) => {
                                let bits = 8 * self.marks.slots[slot];
                                self.number(number >> (8 * held.skip) & u64::MAX >> (64 - bits))
                            }
                            None => self.shifted(held, insn, &mut nodes),
                        });
                        added = true;
                    }
                }
            }
            self.function.blocks[at].nodes = nodes;
            self.function.blocks[at].end = end;
        }
        if !self.same.is_empty() {
            super::replace(self.function, &self.same);
        }
        added
    }
}

/// Slots that are read later, at the start of each block.
fn live(function: &Function, marks: &Marks) -> Vec<Slots> {
    let slots = |at, bytes| marks.slots_in(at, bytes).fold(0, |slots: Slots, (slot, _)| slots | 1 << slot);
    let (mut reads, mut writes) = (Vec::new(), Vec::new());
    for block in &function.blocks {
        let (mut read, mut written): (Slots, Slots) = (0, 0);
        for &node in &block.nodes {
            match touch(function, function.op(node)) {
                Touch::Load(at, size) => read |= slots(at, size.bytes()) & !written,
                Touch::Store(at, size, _) => written |= slots(at, size.bytes()),
                Touch::Call(touched) => {
                    for &(at, bytes) in &touched.reads {
                        read |= slots(at, bytes) & !written;
                    }
                }
                Touch::Nothing | Touch::Update(..) | Touch::Anything => {}
            }
        }
        reads.push(read);
        writes.push(written);
    }
    let mut live = reads.clone();
    let mut changed = true;
    while changed {
        changed = false;
        for at in (0..function.blocks.len()).rev() {
            let out = function.blocks[at].end.edges().fold(0, |out, edge| out | live[edge.to.index()]);
            let new = reads[at] | (out & !writes[at]);
            changed |= new != live[at];
            live[at] = new;
        }
    }
    live
}

fn members(mut set: Slots) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let first = (set != 0).then(|| set.trailing_zeros() as usize)?; // below 128
        set &= set - 1;
        Some(first)
    })
}

fn block_id(at: usize) -> crate::ir::func::BlockId {
    crate::ir::func::BlockId(u32::try_from(at).expect("fewer blocks than 2^32"))
}
