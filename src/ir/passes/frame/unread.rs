//! Drops stores to bytes of the frame that nobody reads afterwards.
#![forbid(unsafe_code)]

use super::{Touch, touch};
use crate::ir::func::{Function, Value};

/// Blocks times words of a set above which stores stay.
const CAP: usize = 1_000_000;

/// A set of bytes of the frame.
#[derive(Clone, PartialEq, Eq)]
struct Bytes(Vec<u64>);

impl Bytes {
    fn none(frame_size: u32) -> Self {
        Self(vec![0; frame_size.div_ceil(64) as usize]) // u32 to usize
    }

    /// Calls `change` with each word of a range and the range's bits in it.
    fn each(&mut self, at: u32, bytes: u32, mut change: impl FnMut(&mut u64, u64)) {
        let end = at + bytes;
        let mut at = at;
        while at < end {
            let bits = (64 - at % 64).min(end - at);
            let Some(word) = self.0.get_mut(at as usize / 64) else { return };
            change(word, u64::MAX >> (64 - bits) << (at % 64));
            at += bits;
        }
    }

    fn add(&mut self, at: u32, bytes: u32) {
        self.each(at, bytes, |word, bits| *word |= bits);
    }

    fn remove(&mut self, at: u32, bytes: u32) {
        self.each(at, bytes, |word, bits| *word &= !bits);
    }

    fn has(&mut self, at: u32, bytes: u32) -> bool {
        let mut any = false;
        self.each(at, bytes, |word, bits| any |= *word & bits != 0);
        any
    }

    /// Takes another set in; whether that changed anything.
    fn unite(&mut self, other: &Self) -> bool {
        let mut changed = false;
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            changed |= *other & !*word != 0;
            *word |= *other;
        }
        changed
    }
}

/// All accesses to the frame are known.
pub(super) fn run(function: &mut Function) {
    let stores = |&node: &_| matches!(touch(function, function.op(node)), Touch::Store(..));
    let words = function.frame_size.div_ceil(64) as usize; // u32 to usize
    if words * function.blocks.len() > CAP
        || !function.blocks.iter().flat_map(|block| &block.nodes).any(stores)
    {
        return;
    }
    // Bytes that are read later, at the start of each block.
    let mut live = vec![Bytes::none(function.frame_size); function.blocks.len()];
    let mut changed = true;
    while changed {
        changed = false;
        for at in (0..function.blocks.len()).rev() {
            let mut here = after(function, at, &live);
            for &node in function.blocks[at].nodes.iter().rev() {
                before(function, node, &mut here);
            }
            changed |= live[at].unite(&here);
        }
    }
    for at in 0..function.blocks.len() {
        let mut here = after(function, at, &live);
        let mut nodes = std::mem::take(&mut function.blocks[at].nodes);
        let read: Vec<bool> = nodes.iter().rev().map(|&node| before(function, node, &mut here)).collect();
        let mut read = read.into_iter().rev();
        nodes.retain(|_| read.next().expect("one for each"));
        function.blocks[at].nodes = nodes;
    }
}

/// Bytes that are read after a block.
fn after(function: &Function, at: usize, live: &[Bytes]) -> Bytes {
    let mut after = Bytes::none(function.frame_size);
    for edge in function.blocks[at].end.edges() {
        after.unite(&live[edge.to.index()]);
    }
    after
}

/// Bytes that are read from before an operation on, given those from after it; whether the operation is needed.
fn before(function: &Function, node: Value, live: &mut Bytes) -> bool {
    match touch(function, function.op(node)) {
        Touch::Store(at, size, _) => {
            if !live.has(at, size.bytes()) {
                return false;
            }
            live.remove(at, size.bytes());
        }
        Touch::Load(at, size) | Touch::Update(at, size) => live.add(at, size.bytes()),
        Touch::Call(touched) => touched.reads.iter().for_each(|&(at, bytes)| live.add(at, bytes)),
        Touch::Nothing | Touch::Anything => {}
    }
    true
}
