//! Which pieces of the frame can be values.
//!
//! The frame is cut wherever an access begins or ends, and every 8 bytes. A piece can be a value if nobody writes it who
//! cannot be replaced: a helper, an atomic. Who reads it as part of something longer gets the pieces put together.
#![forbid(unsafe_code)]

use super::{MOST_SLOTS, Touch, touch};
use crate::ir::func::Function;
use crate::isa::Size;

/// Pieces of a word that are put together where the word is read; of more, memory makes a word faster.
const MOST_PIECES: usize = 4;

/// What a piece is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nobody reads it.
    Unread,
    /// A value, by index.
    Slot(usize),
    Memory,
}

/// Bytes that are always written as a whole.
#[derive(Clone, Copy)]
pub(super) struct Piece {
    pub(super) at: u32,
    pub(super) bytes: u32,
    pub(super) kind: Kind,
}

impl Piece {
    fn end(self) -> u32 {
        self.at + self.bytes
    }
}

/// See the module.
pub(super) struct Marks {
    /// All of the frame, ascending.
    pieces: Vec<Piece>,
    /// Bytes of those that are values.
    pub(super) slots: Vec<u32>,
}

/// The accesses of a function.
#[derive(Default)]
struct Accesses {
    /// Loads, and stores of numbers that are not known.
    wholes: Vec<(u32, u32)>,
    loads: Vec<(u32, u32)>,
    /// Of helpers.
    reads: Vec<(u32, u32)>,
    /// Of helpers and atomics.
    writes: Vec<(u32, u32)>,
    /// Stores of constants.
    constants: Vec<(u32, u32)>,
}

impl Marks {
    /// `None` if an access may go anywhere in the frame.
    pub(super) fn of(function: &Function) -> Option<Self> {
        let accesses = accesses(function)?;
        let mut marks = Self { pieces: accesses.cut(function.frame_size), slots: Vec::new() };
        for &(at, bytes) in &accesses.writes {
            marks.keep(at, bytes);
        }
        for &(at, bytes) in accesses.loads.iter().chain(&accesses.reads) {
            marks.put_together(at, bytes);
        }
        marks.spread(&accesses.wholes);
        for &(at, bytes) in accesses.loads.iter().chain(&accesses.reads) {
            for piece in marks.inside_mut(at, bytes) {
                if piece.kind == Kind::Unread {
                    piece.kind = Kind::Slot(0);
                }
            }
        }
        let is_slot = |piece: &&mut Piece| matches!(piece.kind, Kind::Slot(_));
        for piece in marks.pieces.iter_mut().filter(is_slot).skip(MOST_SLOTS) {
            piece.kind = Kind::Memory;
        }
        marks.spread(&accesses.wholes);
        for (index, piece) in marks.pieces.iter_mut().filter(is_slot).enumerate() {
            piece.kind = Kind::Slot(index);
            marks.slots.push(piece.bytes);
        }
        Some(marks)
    }

    /// Pieces that share bytes with a range.
    pub(super) fn inside(&self, at: u32, bytes: u32) -> &[Piece] {
        &self.pieces[self.range(at, bytes)]
    }

    /// The slots that an access covers.
    pub(super) fn slots_in(&self, at: u32, bytes: u32) -> impl Iterator<Item = (usize, Piece)> + use<'_> {
        self.inside(at, bytes).iter().filter_map(|&piece| match piece.kind {
            Kind::Slot(slot) => Some((slot, piece)),
            Kind::Unread | Kind::Memory => None,
        })
    }

    /// Whether some of these bytes stay memory.
    pub(super) fn holds_memory(&self, at: u32, bytes: u32) -> bool {
        self.inside(at, bytes).iter().any(|piece| piece.kind == Kind::Memory)
    }

    fn range(&self, at: u32, bytes: u32) -> std::ops::Range<usize> {
        let first = self.pieces.partition_point(|piece| piece.end() <= at);
        let last = self.pieces.partition_point(|piece| piece.at < at.saturating_add(bytes));
        first..last.max(first)
    }

    fn inside_mut(&mut self, at: u32, bytes: u32) -> &mut [Piece] {
        let range = self.range(at, bytes);
        &mut self.pieces[range]
    }

    fn keep(&mut self, at: u32, bytes: u32) {
        self.inside_mut(at, bytes).iter_mut().for_each(|piece| piece.kind = Kind::Memory);
    }

    /// Words of many pieces stay memory where a reader wants more than a piece.
    fn put_together(&mut self, at: u32, bytes: u32) {
        let end = at.saturating_add(bytes);
        for word in (at & !7..end).step_by(8) {
            let (start, stop) = (word.max(at), end.min(word + 8));
            let wanted = self.inside(start, stop - start).len();
            if wanted > 1 && self.inside(word, 8).len() > MOST_PIECES {
                self.keep(word, 8);
            }
        }
    }

    /// What is read or written at once is all values or all memory.
    fn spread(&mut self, wholes: &[(u32, u32)]) {
        let mut changed = true;
        while changed {
            changed = false;
            for &(at, bytes) in wholes {
                let mixed = self.inside(at, bytes).iter().any(|piece| piece.kind != Kind::Memory);
                if mixed && self.holds_memory(at, bytes) {
                    self.keep(at, bytes);
                    changed = true;
                }
            }
        }
    }
}

impl Accesses {
    /// The frame in pieces.
    fn cut(&self, frame_size: u32) -> Vec<Piece> {
        let mut cuts = vec![false; frame_size as usize + 1]; // u32 to usize
        cuts.iter_mut().step_by(8).for_each(|cut| *cut = true);
        let lists = [&self.wholes, &self.reads, &self.writes, &self.constants];
        for &(at, bytes) in lists.into_iter().flatten() {
            for place in [at, at.saturating_add(bytes).min(frame_size)] {
                cuts[place as usize] = true; // u32 to usize
            }
        }
        let mut pieces = Vec::new();
        let mut start = 0;
        for place in 1..=frame_size {
            if cuts[place as usize] || place == frame_size {
                pieces.push(Piece { at: start, bytes: place - start, kind: Kind::Unread });
                start = place;
            }
        }
        pieces
    }
}

fn accesses(function: &Function) -> Option<Accesses> {
    let mut found = Accesses::default();
    for &node in function.blocks.iter().flat_map(|block| &block.nodes) {
        match touch(function, function.op(node)) {
            Touch::Nothing => {}
            Touch::Store(at, size, value) if function.constant(value).is_some() => {
                found.constants.push((at, size.bytes()));
            }
            Touch::Store(at, size, _) => found.wholes.push((at, size.bytes())),
            Touch::Load(at, size) => {
                found.wholes.push((at, size.bytes()));
                found.loads.push((at, size.bytes()));
            }
            Touch::Update(at, size) => {
                found.reads.push((at, size.bytes()));
                found.writes.push((at, size.bytes()));
            }
            Touch::Call(touched) => {
                let inside = |&(at, bytes): &(u32, u32)| {
                    at.checked_add(bytes).is_some_and(|end| end <= function.frame_size)
                };
                if !touched.reads.iter().chain(&touched.writes).all(inside) {
                    return None;
                }
                found.reads.extend(&touched.reads);
                found.writes.extend(&touched.writes);
            }
            Touch::Anything => return None,
        }
    }
    let size = |bytes: u32| [Size::B, Size::H, Size::W, Size::DW].iter().any(|size| size.bytes() == bytes);
    debug_assert!(found.wholes.iter().all(|&(_, bytes)| size(bytes)), "accesses have sizes");
    // Many accesses of a few places.
    for list in
        [&mut found.wholes, &mut found.loads, &mut found.reads, &mut found.writes, &mut found.constants]
    {
        list.sort_unstable();
        list.dedup();
    }
    Some(found)
}
