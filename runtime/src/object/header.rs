//! What stands before the values of a shared map: a page that says what the map is.
//!
//! In: bytes of strangers. Out: the part of a [`MapDef`] that they must agree on. Everything is checked before anything
//! is mapped: a file that says something else than it is is refused by name.
#![forbid(unsafe_code)]

use std::io;

use crate::map::{CreateError, MapDef, MapFlags, MapKind};

/// Bytes before the values.
pub(super) const BYTES: u64 = 4096;
const MAGIC: [u8; 8] = *b"beelift\0";
const VERSION: u32 = 1;
/// Bytes that the sum is of.
const SUMMED: usize = 48;
/// Bytes that mean something.
const USED: usize = SUMMED + 8;

/// Why a map cannot be shared, or a file or descriptor is no shared map.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SharedError {
    /// The system refuses.
    #[error("{what}: {error}")]
    Io {
        /// What was done.
        what: String,
        /// Why not.
        error: io::Error,
    },
    /// Maps of that kind, or with that, live in one process only.
    #[error("a map with {what} cannot be shared between processes")]
    Unsupported {
        /// What cannot be shared.
        what: String,
    },
    /// Not a shared map, or one that was damaged.
    #[error("not a shared map: {0}")]
    Damaged(&'static str),
    /// Others could change or shorten it.
    #[error("not to be trusted: {0}")]
    Untrusted(&'static str),
    /// Another map than is wanted.
    #[error("the shared map differs: its {what} is {found}, not {wanted}")]
    Differs {
        /// In what.
        what: &'static str,
        /// What it has.
        found: String,
        /// What is wanted.
        wanted: String,
    },
    /// The definition is none.
    #[error(transparent)]
    Create(#[from] CreateError),
}

/// What a shared map is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub(super) kind: MapKind,
    pub(super) key_size: u32,
    pub(super) value_size: u32,
    pub(super) max_entries: u32,
    pub(super) flags: MapFlags,
}

impl Header {
    /// What must be the same for everybody.
    ///
    /// # Errors
    /// [`SharedError::Unsupported`] for maps that live in one process only.
    pub(super) fn of(def: &MapDef) -> Result<Self, SharedError> {
        let unsupported = |what: String| Err(SharedError::Unsupported { what });
        if def.kind != MapKind::Array {
            return unsupported(format!("type {}", def.kind));
        }
        if let Some(field) = def.fields.first() {
            // A process that dies while it holds a lock would stop the others.
            return unsupported(format!("a {:?} in its values", field.kind));
        }
        if def.frozen {
            return unsupported("constant values".to_owned());
        }
        Ok(Self {
            kind: def.kind,
            key_size: def.key_size,
            value_size: def.value_size,
            max_entries: def.max_entries,
            flags: def.flags,
        })
    }

    /// Bytes of all values; `None` is past counting.
    pub(super) fn values(&self) -> Option<u64> {
        u64::from(self.value_size).next_multiple_of(8).checked_mul(u64::from(self.max_entries))
    }

    /// A definition of such a map.
    pub(super) fn def(&self, name: &str) -> MapDef {
        let mut def = MapDef::new(name, self.kind, self.key_size, self.value_size, self.max_entries);
        def.flags = self.flags;
        def
    }

    /// # Errors
    /// [`SharedError::Differs`] for the first thing that is not as `wanted`.
    pub(super) fn agree(&self, wanted: &Self) -> Result<(), SharedError> {
        let differs = |what, found: String, wanted: String| Err(SharedError::Differs { what, found, wanted });
        if self.kind != wanted.kind {
            return differs("type", self.kind.to_string(), wanted.kind.to_string());
        }
        for (what, found, wanted) in [
            ("key size", self.key_size, wanted.key_size),
            ("value size", self.value_size, wanted.value_size),
            ("number of elements", self.max_entries, wanted.max_entries),
            ("flags", self.flags.bits(), wanted.flags.bits()),
        ] {
            if found != wanted {
                return differs(what, found.to_string(), wanted.to_string());
            }
        }
        Ok(())
    }

    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        let words =
            [VERSION, self.kind.id(), self.key_size, self.value_size, self.max_entries, self.flags.bits()];
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        bytes.extend(self.values().unwrap_or(0).to_le_bytes());
        bytes.extend(BYTES.to_le_bytes());
        bytes.extend(sum(&bytes).to_le_bytes());
        bytes.resize(BYTES as usize, 0);
        bytes
    }

    /// # Errors
    /// [`SharedError::Damaged`] for bytes that are no header, or one of another size of file.
    pub(super) fn parse(bytes: &[u8], file_len: u64) -> Result<Self, SharedError> {
        let Some(bytes) = bytes.first_chunk::<USED>() else { return Err(SharedError::Damaged("too short")) };
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let wide = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        if bytes[..8] != MAGIC {
            return Err(SharedError::Damaged("it does not begin like one"));
        }
        if word(8) != VERSION {
            return Err(SharedError::Damaged("another version of the format"));
        }
        if wide(SUMMED) != sum(&bytes[..SUMMED]) {
            return Err(SharedError::Damaged("its description was changed"));
        }
        let kind = MapKind::from_id(word(12)).ok_or(SharedError::Damaged("no such type of map"))?;
        let header = Self {
            kind,
            key_size: word(16),
            value_size: word(20),
            max_entries: word(24),
            flags: MapFlags::from_bits_retain(word(28)),
        };
        let values = header.values().filter(|&values| values == wide(32) && wide(40) == BYTES);
        let values = values.ok_or(SharedError::Damaged("sizes that do not fit together"))?;
        // The end of the last page may be there or not.
        if values.checked_add(BYTES).is_none_or(|end| file_len < end) {
            return Err(SharedError::Damaged("values are missing at its end"));
        }
        Ok(header)
    }
}

/// FNV-1a.
fn sum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, &byte| (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header::of(&MapDef::new("m", MapKind::Array, 4, 12, 100)).unwrap()
    }

    #[test]
    fn every_changed_bit_is_noticed() {
        let (bytes, len) = (header().to_bytes(), BYTES + 1600);
        assert_eq!(Header::parse(&bytes, len).unwrap(), header());
        for bit in 0..USED * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::parse(&changed, len).is_err(), "bit {bit}");
        }
        for short in [0, 1, USED - 1] {
            assert!(Header::parse(&bytes[..short], len).is_err());
        }
        assert!(Header::parse(&bytes, len - 1).is_err());
    }

    #[test]
    fn sizes_that_overflow_are_refused_even_with_a_right_sum() {
        let huge = Header { value_size: u32::MAX, max_entries: u32::MAX, ..header() };
        let bytes = huge.to_bytes();
        assert!(Header::parse(&bytes, BYTES + 1600).is_err());
        assert!(Header::parse(&bytes, u64::MAX).is_ok(), "as large as it says");
    }

    #[test]
    fn what_lives_in_one_process_is_refused_by_name() {
        let mut hash = MapDef::new("m", MapKind::Hash, 4, 8, 4);
        assert_eq!(
            Header::of(&hash).unwrap_err().to_string(),
            "a map with type hash cannot be shared between processes"
        );
        hash.kind = MapKind::Array;
        hash.frozen = true;
        assert!(matches!(Header::of(&hash), Err(SharedError::Unsupported { .. })));
    }
}
