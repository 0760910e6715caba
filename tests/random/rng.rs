//! Choices: pseudo-random ones, or those that bytes make.

/// xorshift64*, seeded so that neighbouring seeds differ at once. Choices may also be made by given bytes, one a
/// choice, until they are used up: so a fuzzer can change one choice and keep the others.
#[derive(Clone, Debug)]
pub(crate) struct Rng {
    state: u64,
    given: std::vec::IntoIter<u8>,
}

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: mixed(seed) | 1, given: Vec::new().into_iter() }
    }
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        Self { given: Vec::from(bytes).into_iter(), ..Self::new(0) }
    }
    pub(crate) fn bits(&mut self) -> u64 {
        if let Some(byte) = self.given.next() {
            return mixed(u64::from(byte));
        }
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    /// Below `bound`, which is not zero.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        u32::try_from(((self.bits() >> 32) * u64::from(bound)) >> 32).expect("below a 32-bit bound")
    }
    pub(crate) fn chance(&mut self, percent: u32) -> bool {
        self.below(100) < percent
    }
    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(u32::try_from(from.len()).expect("a short list")) as usize]
    }
    /// Numbers near the edges of their ranges, and any others.
    pub(crate) fn interesting(&mut self) -> u64 {
        const EDGES: [u64; 14] = [
            0,
            1,
            2,
            0x7f,
            0x80,
            0xff,
            0x7fff,
            0xffff,
            0x7fff_ffff,
            0x8000_0000,
            0xffff_ffff,
            0x7fff_ffff_ffff_ffff,
            0x8000_0000_0000_0000,
            u64::MAX,
        ];
        match self.below(4) {
            0 => self.bits(),
            1 => self.bits() >> self.below(64),
            2 => self.pick(&EDGES),
            _ => self.pick(&EDGES).wrapping_add(self.bits() % 5).wrapping_sub(2),
        }
    }
}

fn mixed(number: u64) -> u64 {
    let mut state = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}
