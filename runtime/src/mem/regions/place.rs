//! Where an address lies, in words a person can use: addresses change from run to run, distances do not.
//!
//! In: an address that was refused. Out: [`Place`]. Only for messages: nothing is allowed or refused by it.

use super::{RegionKind, Regions};

/// Farther than this from null, or from a value in its map, an address is just a number.
const NEAR: u64 = 1 << 16;

/// What an address is close to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// That far from the null pointer.
    Null(i64),
    /// That far from the start of a region (for a stack: from its end, where r10 points).
    Region {
        /// What it is.
        kind: RegionKind,
        /// Distance in bytes.
        offset: i64,
        /// Bytes of the region.
        len: u64,
    },
    /// In the values of a map.
    Map {
        /// Its name.
        map: String,
        /// Bytes from the end of the value before it: negative inside of the value.
        past: i64,
    },
    /// None of the program's memory.
    Nowhere,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Null(0) => f.write_str("null"),
            Self::Null(offset) => write!(f, "null{offset:+}"),
            Self::Region { kind: RegionKind::Stack, offset, .. } => write!(f, "r10{offset:+}"),
            Self::Region { kind, offset, len } => {
                let name = match kind {
                    RegionKind::Context => return write!(f, "context{offset:+}"),
                    RegionKind::Stack => "stack",
                    RegionKind::Packet => "packet",
                    RegionKind::Memory => "buffer",
                    RegionKind::Map => "map",
                    RegionKind::Lent => "socket",
                    RegionKind::Object => "object",
                };
                write!(f, "{name}{offset:+}, where there are {len} bytes")
            }
            Self::Map { map, past } if *past < 0 => {
                write!(f, "{} bytes before the end of a value of map `{map}`", -past)
            }
            Self::Map { map, past: 0 } => write!(f, "the end of a value of map `{map}`"),
            Self::Map { map, past } => write!(f, "{past} bytes past the end of a value of map `{map}`"),
            Self::Nowhere => f.write_str("an address outside of the program's memory"),
        }
    }
}

impl Regions<'_> {
    /// What an address is close to.
    #[must_use]
    pub fn place(&self, address: u64) -> Place {
        let signed = address.cast_signed();
        if signed.unsigned_abs() < NEAR {
            return Place::Null(signed);
        }
        for handle in self.maps {
            let map = &*handle.map;
            let owns = |address: u64| map.contains(address, 1);
            if owns(address) {
                let left = (1..NEAR).find(|&more| !owns(address.wrapping_add(more)));
                // Below 65536.
                return Place::Map { map: map.def().name.clone(), past: -(left.unwrap_or(1) as i64) };
            }
            if map.memory(address).is_some()
                && let Some(back) = (1..NEAR).find(|&back| owns(address.wrapping_sub(back)))
            {
                return Place::Map { map: map.def().name.clone(), past: back as i64 - 1 };
            }
        }
        // What lies next to a slab differs from run to run: only inside of it an address says something.
        let Some(region) =
            self.regions.iter().rev().find(|region| region.slab.offset_of(address, 1).is_some())
        else {
            return Place::Nowhere;
        };
        let (start, end) = region.extent.range();
        let from = if region.kind == RegionKind::Stack { end } else { start };
        let offset = address.wrapping_sub(from).cast_signed();
        Place::Region { kind: region.kind, offset, len: end.saturating_sub(start) }
    }
}
