//! Timers in map values (`struct bpf_timer`): when they expire, and which subprogram of which program runs then.
//!
//! In: calls of helpers. Out: [`Due`] timers for whoever runs callbacks; nothing here runs by itself. The first word of a
//! timer in a value is its number, 0 before `bpf_timer_init`; a value that is deleted or replaced loses the number, and
//! with it the timer. Expiry is on the monotonic clock.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::sync::pause;

/// Bytes of `struct bpf_timer`.
pub(crate) const SIZE: u64 = 16;

/// What a timer was asked for that it cannot do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TimerError {
    /// EINVAL: not initialised, or without callback.
    Invalid,
    /// EDEADLK: a callback cancels the timer that runs it.
    Deadlock,
}

/// A callback as a program names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Callback {
    /// Number of the program ([`Host::program`](crate::abi::Host)).
    pub program: u32,
    /// The subprogram, as the program's registers hold it.
    pub function: u64,
}

/// A timer whose time has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Due {
    /// Its number.
    pub id: u64,
    /// Address of the timer in the value.
    pub address: u64,
    /// When it expired.
    pub expired: u64,
    /// What to run.
    pub callback: Callback,
}

#[derive(Clone, Copy, Debug)]
struct Timer {
    address: u64,
    clock: u64,
    callback: Option<Callback>,
    expires: Option<u64>,
    running: bool,
}

/// All timers of a map.
#[derive(Default, Debug)]
pub struct Timers {
    state: Mutex<State>,
}

#[derive(Default, Debug)]
struct State {
    made: u64,
    timers: BTreeMap<u64, Timer>,
}

impl Timers {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new timer; its number.
    pub(crate) fn init(&self, address: u64, clock: u64) -> u64 {
        let mut state = self.state();
        // Whatever was there has lost its value.
        state.timers.retain(|_, timer| timer.address != address || timer.running);
        state.made += 1;
        let id = state.made;
        let timer = Timer { address, clock, callback: None, expires: None, running: false };
        state.timers.insert(id, timer);
        id
    }

    pub(crate) fn set_callback(&self, id: u64, callback: Callback) -> Result<(), TimerError> {
        let mut state = self.state();
        state.timers.get_mut(&id).ok_or(TimerError::Invalid)?.callback = Some(callback);
        Ok(())
    }

    /// The clock that a timer goes by, if it can be started.
    pub(crate) fn clock(&self, id: u64) -> Option<u64> {
        let state = self.state();
        state.timers.get(&id).filter(|timer| timer.callback.is_some()).map(|timer| timer.clock)
    }

    pub(crate) fn start(&self, id: u64, expires: u64) -> Result<(), TimerError> {
        let mut state = self.state();
        let timer = state.timers.get_mut(&id).filter(|timer| timer.callback.is_some());
        timer.ok_or(TimerError::Invalid)?.expires = Some(expires);
        Ok(())
    }

    /// Whether the timer was waiting. It has no callback any more. Waits for its callback to end, unless that is `current`.
    pub(crate) fn cancel(&self, id: u64, current: u64) -> Result<bool, TimerError> {
        let mut tries = 0;
        loop {
            let mut state = self.state();
            let timer = state.timers.get_mut(&id).ok_or(TimerError::Invalid)?;
            if timer.running && id == current {
                return Err(TimerError::Deadlock);
            }
            if !timer.running {
                timer.callback = None;
                return Ok(timer.expires.take().is_some());
            }
            drop(state);
            pause(&mut tries);
        }
    }

    /// Timers that have expired at `now`, the oldest first.
    #[must_use]
    pub fn due(&self, now: u64) -> Vec<Due> {
        let state = self.state();
        let due = state.timers.iter().filter_map(|(&id, timer)| {
            let expired = timer.expires.filter(|&expires| expires <= now)?;
            Some(Due { id, address: timer.address, expired, callback: timer.callback? })
        });
        let mut due: Vec<Due> = due.collect();
        due.sort_by_key(|due| (due.expired, due.id));
        due
    }

    /// When the next timer expires.
    #[must_use]
    pub fn next(&self) -> Option<u64> {
        self.state().timers.values().filter_map(|timer| timer.expires).min()
    }

    /// A callback is about to run: whether its timer still waits for that moment.
    #[must_use]
    pub fn begin(&self, due: &Due) -> bool {
        let mut state = self.state();
        let Some(timer) = state.timers.get_mut(&due.id) else { return false };
        if timer.expires != Some(due.expired) || timer.running {
            return false;
        }
        timer.expires = None;
        timer.running = true;
        true
    }

    /// The callback has ended.
    pub fn end(&self, due: &Due) {
        if let Some(timer) = self.state().timers.get_mut(&due.id) {
            timer.running = false;
        }
    }

    /// The timer has lost its value.
    pub fn forget(&self, due: &Due) {
        self.state().timers.remove(&due.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLBACK: Callback = Callback { program: 1, function: 7 };

    #[test]
    fn a_timer_runs_once_for_each_start() {
        let timers = Timers::default();
        let id = timers.init(0x1000, 1);
        assert_eq!(timers.start(id, 5), Err(TimerError::Invalid), "without callback");
        timers.set_callback(id, CALLBACK).unwrap();
        timers.start(id, 5).unwrap();
        assert_eq!((timers.next(), timers.due(4).len()), (Some(5), 0));
        let due = timers.due(5)[0];
        assert!(timers.begin(&due) && !timers.begin(&due));
        assert_eq!(timers.cancel(id, id), Err(TimerError::Deadlock));
        timers.start(id, 9).unwrap();
        timers.end(&due);
        assert_eq!(timers.due(9).len(), 1);
        assert_eq!(timers.cancel(id, 0), Ok(true));
        assert_eq!(timers.cancel(id, 0), Ok(false));
        assert_eq!(timers.start(id, 9), Err(TimerError::Invalid), "canceled");
    }

    #[test]
    fn a_new_timer_at_the_same_place_takes_the_old_ones_place() {
        let timers = Timers::default();
        let old = timers.init(0x1000, 1);
        timers.set_callback(old, CALLBACK).unwrap();
        timers.start(old, 5).unwrap();
        let new = timers.init(0x1000, 1);
        assert_ne!(old, new);
        assert!(timers.due(100).is_empty());
        assert_eq!(timers.cancel(old, 0), Err(TimerError::Invalid));
    }
}
