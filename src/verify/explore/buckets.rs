//! Remembered states by where they were remembered: the instruction, and the calls that led there.
#![forbid(unsafe_code)]

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::isa::InsnId;
use crate::verify::state::State;

/// A place. Different chains of calls may share a hash; states of another chain cover nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Key {
    at: InsnId,
    /// 0 in the outermost frame.
    chain: u64,
}

impl Key {
    #[inline]
    pub(super) fn of(at: InsnId, state: &State) -> Self {
        let mix = |hash: u64, site: u32| {
            (hash ^ u64::from(site)).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
        };
        Self { at, chain: state.frames[1..].iter().fold(0, |hash, frame| mix(hash, frame.call_site.0)) }
    }
}

/// Lists of remembered states, oldest first.
#[derive(Debug)]
pub(super) struct Buckets {
    outermost: Vec<Vec<u32>>,
    called: HashMap<Key, Vec<u32>, FixedState>,
}

impl Buckets {
    pub(super) fn new(insns: usize) -> Self {
        Self { outermost: vec![Vec::new(); insns], called: HashMap::default() }
    }
    #[inline]
    fn list(&mut self, key: Key) -> &mut Vec<u32> {
        match key.chain {
            0 => &mut self.outermost[key.at.index()],
            _ => self.called.entry(key).or_default(),
        }
    }
    /// The states of a place, to be put back.
    #[inline]
    pub(super) fn take(&mut self, key: Key) -> Vec<u32> {
        std::mem::take(self.list(key))
    }
    #[inline]
    pub(super) fn put(&mut self, key: Key, states: Vec<u32>) {
        *self.list(key) = states;
    }
}
