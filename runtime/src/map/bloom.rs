//! `bloom_filter`: whether a value was ever pushed, with rare false "yes".
//!
//! In: [`MapDef`], the number of hash functions in `extra` (0: five). Bits are only ever set, so nothing is locked.
#![forbid(unsafe_code)]

use super::create::slab;
use super::hash::{LongKey, seed_of};
use super::{CreateError, Map, MapDef, MapError, MapState, UpdateFlags, ValuePtr, update_flags};
use crate::mem::{Bytes, BytesMut, Slab};
use crate::sync::atomic::Ordering::Relaxed;

/// Hash functions where the definition names none.
const HASHES: u64 = 5;

/// Values up to this size are hashed on the stack.
const SMALL: usize = 64;

/// A `bloom_filter` map.
pub struct BloomMap {
    state: MapState,
    bits: Slab,
    mask: u64,
    hashes: u64,
    seed: u64,
}

impl BloomMap {
    /// An empty filter.
    ///
    /// # Errors
    /// [`CreateError::NoMemory`].
    pub(super) fn new(def: &MapDef, cpus: u32) -> Result<Self, CreateError> {
        let hashes = if def.extra == 0 { HASHES } else { def.extra };
        // With k functions, n / ln 2 * k bits keep the error smallest; 7 / 5 is close to 1 / ln 2. At most 2^32 bits.
        let wanted = u64::from(def.max_entries) * hashes / 5 * 7;
        let count = wanted.next_power_of_two().clamp(64, 1 << 32);
        let bits = slab(def.kind, Some(count / 8))?;
        Ok(Self { state: MapState::new(def, cpus), bits, mask: count - 1, hashes, seed: seed_of(def) })
    }

    /// Whether `value` was pushed, or seems so.
    #[must_use]
    pub fn has(&self, value: Bytes<'_>) -> bool {
        self.all(value, |at, bit| self.bits.atomic_u64(at).load(Relaxed) & bit != 0)
    }

    /// Whether `visit` holds for all words (by offset) and bits of a value.
    fn all(&self, value: Bytes<'_>, visit: impl Fn(u64, u64) -> bool) -> bool {
        let size = value.len() as usize;
        let (mut small, mut large) = ([0; SMALL], Vec::new());
        let bytes = if size <= SMALL {
            &mut small[..size]
        } else {
            large.resize(size, 0);
            &mut large[..]
        };
        value.read(0, bytes);
        let key = LongKey(bytes);
        (0..self.hashes).all(|n| {
            // Seeds far apart: near ones would differ from each other as short values do.
            let seed = self.seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let position = u64::from(key.spread(seed)) & self.mask;
            visit(position / 64 * 8, 1 << (position % 64))
        })
    }
}

impl Map for BloomMap {
    fn state(&self) -> &MapState {
        &self.state
    }

    fn lookup(&self, _cpu: u32, _key: &[u8]) -> Option<ValuePtr> {
        None
    }

    fn update(&self, _cpu: u32, _key: &[u8], _value: Bytes<'_>, _flags: UpdateFlags) -> Result<(), MapError> {
        Err(MapError::Invalid)
    }

    fn delete(&self, _key: &[u8]) -> Result<(), MapError> {
        Err(MapError::OpNotSupported)
    }

    fn next_key(&self, _key: Option<&[u8]>) -> Result<Vec<u8>, MapError> {
        Err(MapError::OpNotSupported)
    }

    /// The system call takes the value to ask for from its output buffer; here it is the value of zeroes. Others:
    /// [`user::contains`](super::user::contains).
    fn read_value(&self, _key: &[u8], _flags: UpdateFlags) -> Result<Vec<u8>, MapError> {
        let value = vec![0; self.def().value_size as usize];
        if self.has(Bytes::from(value.as_slice())) { Ok(value) } else { Err(MapError::NotFound) }
    }

    fn write_value(&self, _key: &[u8], value: &[u8], flags: UpdateFlags) -> Result<(), MapError> {
        self.push(Bytes::from(value), flags)
    }

    fn push(&self, value: Bytes<'_>, flags: UpdateFlags) -> Result<(), MapError> {
        if flags != update_flags::ANY || value.len() != self.state.layout().size() {
            return Err(MapError::Invalid);
        }
        self.all(value, |at, bit| {
            self.bits.atomic_u64(at).fetch_or(bit, Relaxed);
            true
        });
        Ok(())
    }

    fn peek(&self, value: BytesMut<'_>) -> Result<(), MapError> {
        if self.has(value.as_bytes()) { Ok(()) } else { Err(MapError::NotFound) }
    }

    /// Programs have no pointers into these maps.
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}
