//! The blocks of a function with the values at their beginnings, and which of them to walk next.
#![forbid(unsafe_code)]

use super::values::Values;
use crate::isa::InsnId;
use crate::isa::effects::{Flow, flow};
use crate::link::{Program, Subprogram};

/// Values at the beginning of each block of a function.
pub(super) struct Blocks {
    pub(super) starts: Vec<InsnId>,
    pub(super) states: Vec<Option<Values>>,
    end: InsnId,
}

impl Blocks {
    pub(super) fn new(program: &Program, function: &Subprogram) -> Self {
        let mut starts = vec![function.entry];
        for at in function.entry.index()..function.end.index() {
            let id = InsnId(at as u32); // InsnId counts instructions in 32 bits
            match flow(&program.insns[at]) {
                Flow::Next => {}
                Flow::Jump(to) | Flow::Branch(to) => starts.extend([to, id.next()]),
                Flow::Exit => starts.push(id.next()),
            }
        }
        starts.sort_unstable();
        starts.dedup();
        starts.retain(|start| *start < function.end);
        let states = vec![None; starts.len()];
        Self { starts, states, end: function.end }
    }
    pub(super) fn index(&self, at: InsnId) -> Option<usize> {
        self.starts.binary_search(&at).ok()
    }
    /// Where a block ends.
    pub(super) fn end(&self, index: usize) -> InsnId {
        self.starts.get(index + 1).copied().unwrap_or(self.end)
    }
}

/// Numbers of blocks to walk, lowest first.
pub(super) struct Work {
    words: Vec<u64>,
    /// No word before it has a bit.
    from: usize,
}

impl Work {
    pub(super) fn new(count: usize) -> Self {
        Self { words: vec![0; count.div_ceil(64)], from: 0 }
    }
    pub(super) fn insert(&mut self, number: usize) {
        self.words[number / 64] |= 1 << (number % 64);
        self.from = self.from.min(number / 64);
    }
    pub(super) fn pop(&mut self) -> Option<usize> {
        let skipped = self.words.get(self.from..)?.iter().position(|word| *word != 0)?;
        self.from += skipped;
        let word = &mut self.words[self.from];
        let bit = word.trailing_zeros() as usize;
        *word &= *word - 1;
        Some(self.from * 64 + bit)
    }
}
