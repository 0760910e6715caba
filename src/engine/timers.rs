//! Timers of programs (`bpf_timer`): their callbacks run when the host says that time has passed.
//!
//! In: a moment of the monotonic clock. Out: how many callbacks ran. Nothing runs by itself, no thread waits: a host asks
//! [`Collection::next_timer`] how long it may sleep and then calls [`Collection::run_timers`]. Callbacks run one at a
//! time, on the checked interpreter, whatever engine the program itself runs on; programs may run meanwhile.
#![forbid(unsafe_code)]

use std::sync::{Arc, PoisonError};

use beelift_runtime::map::timer::Due;
use beelift_runtime::map::{Map, MapOfMaps};
use beelift_runtime::mem::WordSize;

use super::collection::Collection;
use super::error::Error;
use super::program::Loaded;

impl Collection {
    /// When the next timer expires, on the monotonic clock in nanoseconds; `None` if none is started. The kernel runs
    /// the timers of its programs itself.
    #[must_use]
    pub fn next_timer(&self) -> Option<u64> {
        self.timed_maps().iter().filter_map(|map| map.state().timers()?.next()).min()
    }

    /// Runs the callbacks of all timers that have expired at `now` (monotonic, nanoseconds), the oldest first, each once:
    /// one that a callback starts again is for the next call, even if it expires at once. Returns how many ran.
    ///
    /// # Errors
    /// A callback trapped; those after it run at the next call.
    pub fn run_timers(&self, now: u64) -> Result<u32, Error> {
        let _one_at_a_time = self.running_timers().lock().unwrap_or_else(PoisonError::into_inner);
        let mut due: Vec<(Due, Arc<dyn Map>)> = Vec::new();
        for map in self.timed_maps() {
            let timers = map.state().timers().map(|timers| timers.due(now)).unwrap_or_default();
            due.extend(timers.into_iter().map(|timer| (timer, Arc::clone(&map))));
        }
        due.sort_by_key(|(due, _)| due.expired);
        let mut ran = 0;
        for (due, map) in due {
            if self.run_timer(&due, &map)? {
                ran += 1;
            }
        }
        Ok(ran)
    }

    fn run_timer(&self, due: &Due, map: &Arc<dyn Map>) -> Result<bool, Error> {
        let Some(timers) = map.state().timers() else { return Ok(false) };
        let slab = map.memory(due.address);
        let id = slab.and_then(|slab| Some(slab.load(slab.offset_of(due.address, 8)?, WordSize::B8)));
        let program = self.programs().iter().find(|program| program.id() == due.callback.program);
        let (Some(program), true) = (program, id == Some(due.id)) else {
            // Its value was deleted, or its program is gone.
            timers.forget(due);
            return Ok(false);
        };
        if !timers.begin(due) {
            return Ok(false);
        }
        let result = program.run_callback(due, map);
        timers.end(due);
        result.map(|()| true)
    }

    /// Maps whose values have timers, inner ones too.
    fn timed_maps(&self) -> Vec<Arc<dyn Map>> {
        let mut found = Vec::new();
        for map in self.maps().iter().filter_map(|map| map.runtime()) {
            if let Some(outer) = map.as_any().downcast_ref::<MapOfMaps>() {
                found.extend(outer.handles().map(|handle| Arc::clone(&handle.map)));
            } else {
                found.push(Arc::clone(map));
            }
        }
        found.retain(|map| map.state().timers().is_some());
        found
    }
}

impl Loaded {
    /// Runs a subprogram for a timer of a value.
    fn run_callback(&self, due: &Due, map: &Arc<dyn Map>) -> Result<(), Error> {
        let Some(program) = self.callbacks()? else { return Ok(()) };
        self.interpret_callback(program, due, map)
    }
}
