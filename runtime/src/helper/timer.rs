//! `bpf_timer_*`: timers in map values. Callbacks run when the host says that time has passed.
#![forbid(unsafe_code)]

use super::errno::{EBUSY, EDEADLK, EINVAL};
use crate::abi::ExecContext;
use crate::map::timer::{Callback, TimerError, Timers};
use crate::map::{Map, MapHandle, MapOfMaps};
use crate::mem::{Slab, WordSize};

const CLOCK_REALTIME: u64 = 0;
const CLOCK_MONOTONIC: u64 = 1;
const CLOCK_BOOTTIME: u64 = 7;
/// `BPF_F_TIMER_ABS`
const ABSOLUTE: u64 = 1;
/// `BPF_F_TIMER_CPU_PIN`: callbacks run wherever the host runs them.
const PINNED: u64 = 1 << 1;

/// The map in whose values an address lies, inner maps included.
pub(super) fn map_at(maps: &[Box<MapHandle>], address: u64) -> Option<&dyn Map> {
    maps.iter().find_map(|handle| map_in(&*handle.map, address))
}

fn map_in(map: &dyn Map, address: u64) -> Option<&dyn Map> {
    if let Some(outer) = map.as_any().downcast_ref::<MapOfMaps>() {
        return outer.handles().find_map(|handle| map_in(&*handle.map, address));
    }
    map.memory(address).map(|_| map)
}

/// The timers of a map, and the word of one of them.
struct Place<'a> {
    timers: &'a Timers,
    slab: &'a Slab,
    offset: u64,
}

impl<'a> Place<'a> {
    fn find(map: &'a dyn Map, address: u64) -> Option<Self> {
        let timers = map.state().timers()?;
        let slab = map.memory(address)?;
        Some(Self { timers, slab, offset: slab.offset_of(address, 8)? })
    }

    /// Number of the timer, 0 before it is initialised.
    fn id(&self) -> u64 {
        self.slab.load(self.offset, WordSize::B8)
    }
}

fn place<'a>(cx: &ExecContext<'a>, address: u64) -> Option<Place<'a>> {
    Place::find(map_at(cx.maps, address)?, address)
}

fn errno(error: TimerError) -> i64 {
    match error {
        TimerError::Invalid => EINVAL,
        TimerError::Deadlock => EDEADLK,
    }
}

pub(super) fn init(_cx: &ExecContext<'_>, address: u64, map: &dyn Map, flags: u64) -> i64 {
    if !matches!(flags, CLOCK_REALTIME | CLOCK_MONOTONIC | CLOCK_BOOTTIME) {
        return EINVAL;
    }
    let Some(place) = Place::find(map, address) else { return EINVAL };
    if place.id() != 0 {
        return EBUSY;
    }
    let id = place.timers.init(address, flags);
    place.slab.store(place.offset, WordSize::B8, id);
    0
}

pub(super) fn set_callback(cx: &ExecContext<'_>, address: u64, function: u64) -> i64 {
    let Some(place) = place(cx, address) else { return EINVAL };
    let callback = Callback { program: cx.program, function };
    place.timers.set_callback(place.id(), callback).map_or_else(errno, |()| 0)
}

pub(super) fn start(cx: &ExecContext<'_>, address: u64, after: u64, flags: u64) -> i64 {
    if flags & !(ABSOLUTE | PINNED) != 0 {
        return EINVAL;
    }
    let Some(place) = place(cx, address) else { return EINVAL };
    let id = place.id();
    let Some(clock) = place.timers.clock(id) else { return EINVAL };
    let now = cx.environment.monotonic_ns();
    let expires = if flags & ABSOLUTE == 0 {
        now.saturating_add(after)
    } else {
        // On the monotonic clock, whatever clock the timer goes by.
        let shown = match clock {
            CLOCK_REALTIME => cx.environment.realtime_ns(),
            CLOCK_BOOTTIME => cx.environment.boottime_ns(),
            _ => now,
        };
        now.saturating_add(after.saturating_sub(shown))
    };
    place.timers.start(id, expires).map_or_else(errno, |()| 0)
}

pub(super) fn cancel(cx: &ExecContext<'_>, address: u64) -> i64 {
    let Some(place) = place(cx, address) else { return EINVAL };
    place.timers.cancel(place.id(), cx.effects.timer()).map_or_else(errno, i64::from)
}
