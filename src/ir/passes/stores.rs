//! Joins narrow stores to one word of the stack: a structure written field by field, as keys of maps are.
//!
//! In: stores of a block to known places of the frame. Out: one store of 4 or 8 bytes where they fill it. Whoever reads
//! the word right after (a map that hashes its key) would otherwise wait until all of them have reached memory.
#![forbid(unsafe_code)]

use crate::ir::fold::fits;
use crate::ir::func::{BinaryOp, Class, Function, Op, Place, Type, Value};
use crate::isa::{InsnId, Sign, Size};

/// Numbers that are put together; more would cost more than they save, unless they are pieces of one load.
const MOST_NUMBERS: usize = 3;
/// Stores that wait for others.
const MOST_PENDING: usize = 64;

pub(crate) fn run(function: &mut Function) {
    for block in 0..function.blocks.len() {
        let mut pass = Pass { function, block, pending: Vec::new(), edits: Vec::new() };
        pass.scan();
        pass.apply();
    }
}

/// A store that may be joined with later ones.
#[derive(Clone, Copy)]
struct Pending {
    position: usize,
    /// In the frame; a multiple of the size.
    at: u32,
    size: Size,
    value: Value,
}

/// What takes the place of the node at a position.
struct Edit {
    position: usize,
    nodes: Vec<Value>,
}

struct Pass<'a> {
    function: &'a mut Function,
    block: usize,
    pending: Vec<Pending>,
    edits: Vec<Edit>,
}

impl Pass<'_> {
    fn scan(&mut self) {
        for position in 0..self.function.blocks[self.block].nodes.len() {
            let node = self.function.blocks[self.block].nodes[position];
            match self.function.op(node) {
                Op::Store(size, place, value) if place.class == Class::Stack => {
                    match self.offset(place).filter(|at| at.is_multiple_of(size.bytes())) {
                        Some(at) => self.pending.push(Pending { position, at, size, value }),
                        None => self.flush(),
                    }
                    if self.pending.len() == MOST_PENDING {
                        self.flush();
                    }
                }
                Op::Load(size, _, place) => self.before_load(size, place),
                Op::Store(..)
                | Op::StoreRelease(..)
                | Op::AtomicRmw(..)
                | Op::AtomicCas(..)
                | Op::LoadAcquire(..)
                | Op::Call(..) => self.flush(),
                Op::Param
                | Op::Const(_)
                | Op::Address(_)
                | Op::Runtime
                | Op::Frame(_)
                | Op::Unary(..)
                | Op::Binary(..)
                | Op::Compare(..)
                | Op::Select(..)
                | Op::TrapIf(..) => {}
            }
        }
        self.flush();
    }

    /// Where in the frame a place is.
    fn offset(&self, place: Place) -> Option<u32> {
        let Op::Frame(start) = self.function.op(place.base) else { return None };
        start.checked_add_signed(place.off)
    }

    fn before_load(&mut self, size: Size, place: Place) {
        match place.class {
            Class::Context | Class::Packet | Class::Map | Class::Runtime | Class::Caller | Class::Outside => {
                return;
            }
            Class::Stack | Class::Any => {}
        }
        let apart =
            |at: u32, store: &Pending| at + size.bytes() <= store.at || store.at + store.size.bytes() <= at;
        let free = self.offset(place).is_some_and(|at| self.pending.iter().all(|store| apart(at, store)));
        if !free {
            self.flush();
        }
    }

    /// Joins what can be joined.
    fn flush(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        if pending.len() < 2 {
            return;
        }
        let mut words: Vec<u32> = pending.iter().map(|store| store.at & !7).collect();
        words.sort_unstable();
        words.dedup();
        for word in words {
            let inside = |start: u32, bytes: u32| {
                let fits = move |store: &&Pending| {
                    (start..start + bytes).contains(&store.at) && store.size.bytes() <= bytes
                };
                pending.iter().filter(fits).copied().collect::<Vec<_>>()
            };
            if !self.join(&inside(word, 8), word, Size::DW)
                && !inside(word, 8).iter().any(|store| store.size == Size::DW)
            {
                self.join(&inside(word, 4), word, Size::W);
                self.join(&inside(word + 4, 4), word + 4, Size::W);
            }
        }
    }

    /// One store in place of several that fill the word at `start`.
    fn join(&mut self, stores: &[Pending], start: u32, size: Size) -> bool {
        let (Some(last), true) = (stores.last().copied(), stores.len() >= 2) else { return false };
        let Some(pieces) = pieces(stores, start, size) else { return false };
        let numbers = pieces.iter().filter(|piece| self.function.constant(piece.value).is_none()).count();
        if numbers > MOST_NUMBERS && !self.is_one_load(&pieces) {
            return false;
        }
        let insn = self.function.nodes[self.node(last.position).index()].insn;
        let mut nodes = Vec::new();
        let value = self.together(&pieces, insn, &mut nodes);
        let store = self.node(last.position);
        let Op::Store(_, place, _) = self.function.op(store) else { unreachable!("only stores wait") };
        let off = place.off - i32::try_from(last.at - start).expect("inside a word");
        self.function.nodes[store.index()].op = Op::Store(size, Place { off, aligned: true, ..place }, value);
        nodes.push(store);
        self.edits.push(Edit { position: last.position, nodes });
        for store in &stores[..stores.len() - 1] {
            self.edits.push(Edit { position: store.position, nodes: Vec::new() });
        }
        true
    }

    fn node(&self, position: usize) -> Value {
        self.function.blocks[self.block].nodes[position]
    }

    /// Whether the pieces are loads that `bytes` will join.
    fn is_one_load(&self, pieces: &[Piece]) -> bool {
        let place_of = |piece: &Piece| match self.function.op(piece.value) {
            Op::Load(size, Sign::Zero, place) if 8 * piece.bytes == size.bits() && piece.skip == 0 => {
                Some(place)
            }
            _ => None,
        };
        let Some(first) = pieces.first().and_then(place_of) else { return false };
        pieces.iter().all(|piece| {
            place_of(piece).is_some_and(|place| {
                place.base == first.base
                    && place.class == first.class
                    && i64::from(place.off) - i64::from(first.off) == i64::from(piece.at)
            })
        })
    }

    /// The word of which the pieces are parts.
    fn together(&mut self, pieces: &[Piece], insn: InsnId, nodes: &mut Vec<Value>) -> Value {
        let mut known = 0;
        let mut word = None;
        for piece in pieces {
            let mask = u64::MAX >> (64 - 8 * piece.bytes);
            if let Some(number) = self.function.constant(piece.value) {
                known |= (number >> (8 * piece.skip) & mask) << (8 * piece.at);
                continue;
            }
            let mut value = piece.value;
            let mut add = |function: &mut Function, op, a, number| {
                let number = function.add(Op::Const(number), Type::I64, insn);
                let value = function.add(Op::Binary(op, a, number), Type::I64, insn);
                nodes.push(value);
                value
            };
            if piece.skip > 0 {
                value = add(self.function, BinaryOp::LShr, value, u64::from(8 * piece.skip));
            }
            // What lies above the word falls off when it is shifted or stored.
            let top = piece.at + piece.bytes == 8;
            if !top && !fits(self.function, value, 8 * piece.bytes) {
                value = add(self.function, BinaryOp::And, value, mask);
            }
            if piece.at > 0 {
                value = add(self.function, BinaryOp::Shl, value, u64::from(8 * piece.at));
            }
            word = Some(match word {
                None => value,
                Some(other) => {
                    let both = self.function.add(Op::Binary(BinaryOp::Or, other, value), Type::I64, insn);
                    nodes.push(both);
                    both
                }
            });
        }
        let constant = self.function.add(Op::Const(known), Type::I64, insn);
        match word {
            None => constant,
            Some(word) if known == 0 => word,
            Some(word) => {
                let both = self.function.add(Op::Binary(BinaryOp::Or, word, constant), Type::I64, insn);
                nodes.push(both);
                both
            }
        }
    }

    fn apply(self) {
        if self.edits.is_empty() {
            return;
        }
        let nodes = std::mem::take(&mut self.function.blocks[self.block].nodes);
        let mut edits: Vec<Option<Vec<Value>>> = vec![None; nodes.len()];
        for edit in self.edits {
            edits[edit.position] = Some(edit.nodes);
        }
        let joined = nodes.into_iter().zip(edits).flat_map(|(node, edit)| edit.unwrap_or_else(|| vec![node]));
        self.function.blocks[self.block].nodes = joined.collect();
    }
}

/// Bytes of a word that one store gives.
struct Piece {
    /// In the word.
    at: u32,
    bytes: u32,
    value: Value,
    /// Bytes of the value below those.
    skip: u32,
}

/// The word in pieces by the stores that wrote them last, if they fill it.
fn pieces(stores: &[Pending], start: u32, size: Size) -> Option<Vec<Piece>> {
    let mut pieces: Vec<Piece> = Vec::new();
    for at in 0..size.bytes() {
        let writer = |store: &&Pending| (store.at..store.at + store.size.bytes()).contains(&(start + at));
        let store = stores.iter().rev().find(writer)?;
        let skip = start + at - store.at;
        match pieces.last_mut() {
            Some(piece) if piece.value == store.value && piece.skip + piece.bytes == skip => piece.bytes += 1,
            _ => pieces.push(Piece { at, bytes: 1, value: store.value, skip }),
        }
    }
    Some(pieces)
}
