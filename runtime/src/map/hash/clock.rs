//! Whom a full `lru` table evicts: the next element under a clock hand that was not looked up since its last visit.
#![forbid(unsafe_code)]

use super::table::Table;
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The hand.
pub(super) struct Clock {
    hand: AtomicU64,
}

impl Default for Clock {
    fn default() -> Self {
        Self { hand: AtomicU64::new(0) }
    }
}

impl Clock {
    /// Takes an element out of its chain. `None`: all elements are in the hands of other threads.
    pub(super) fn evict(&self, table: &Table) -> Option<u32> {
        let count = table.elements.count();
        // Two rounds visit every element unreferenced, unless lookups are faster than the hand: the third takes any.
        for round in 0..3 {
            for _ in 0..count {
                let at = (self.hand.fetch_add(1, Relaxed) % u64::from(count)) as u32;
                if round < 2 && table.elements.is_referenced(at) {
                    table.elements.set_referenced(at, false);
                } else if take(table, at) {
                    return Some(at);
                }
            }
        }
        None
    }
}

/// Unlinks `element` if it is in a chain.
fn take(table: &Table, element: u32) -> bool {
    // Racy: the element may change chains meanwhile; then it is not found under the lock.
    let hash = (table.elements.header(element) >> 32) as u32;
    let mut chain = table.lock(hash);
    let Some(place) = chain.place_of(element) else { return false };
    chain.remove(place);
    true
}
