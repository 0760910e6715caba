//! What every map has: its definition, its id, whether user space may still write.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use super::timer::Timers;
use super::value::ValueLayout;
use super::{MapDef, MapError, MapFlags, SpecialKind};

/// The common part of all maps.
#[derive(Debug)]
pub struct MapState {
    def: MapDef,
    cpus: u32,
    layout: ValueLayout,
    frozen: AtomicBool,
    id: AtomicU32,
    /// Where values have a timer.
    timers: Option<Box<Timers>>,
}

impl MapState {
    /// State of a new map with `cpus` CPU slots (at least one).
    #[must_use]
    pub fn new(def: &MapDef, cpus: u32) -> Self {
        Self {
            def: def.clone(),
            cpus: cpus.max(1),
            layout: ValueLayout::new(def),
            frozen: AtomicBool::new(false),
            id: AtomicU32::new(0),
            timers: def.fields.iter().any(|field| field.kind == SpecialKind::Timer).then(Box::default),
        }
    }

    /// Blueprint.
    #[must_use]
    pub fn def(&self) -> &MapDef {
        &self.def
    }

    /// CPU slots: 1 or more.
    #[must_use]
    pub fn cpus(&self) -> u32 {
        self.cpus
    }

    /// Timers of the values, where they have some.
    #[must_use]
    pub fn timers(&self) -> Option<&Timers> {
        self.timers.as_deref()
    }

    /// How values are copied.
    pub(super) fn layout(&self) -> &ValueLayout {
        &self.layout
    }

    /// Number given by whoever registers objects; 0 before that.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id.load(Relaxed)
    }

    /// Gives the map its number.
    pub fn set_id(&self, id: u32) {
        self.id.store(id, Relaxed);
    }

    /// Whether user space may no longer write.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.frozen.load(Relaxed)
    }

    /// `BPF_MAP_FREEZE`.
    ///
    /// # Errors
    /// [`MapError::NotSupported`] with special fields in the value, [`MapError::Permission`] on a map that user space may
    /// not write, for example because it is frozen.
    pub fn freeze(&self) -> Result<(), MapError> {
        if !self.def.fields.is_empty() {
            return Err(MapError::NotSupported);
        }
        if self.def.flags.contains(MapFlags::RDONLY) {
            return Err(MapError::Permission);
        }
        match self.frozen.swap(true, Relaxed) {
            true => Err(MapError::Permission),
            false => Ok(()),
        }
    }

    /// Whether user space may read.
    #[must_use]
    pub fn user_reads(&self) -> bool {
        !self.def.flags.contains(MapFlags::WRONLY)
    }

    /// Whether user space may write.
    #[must_use]
    pub fn user_writes(&self) -> bool {
        !self.def.flags.contains(MapFlags::RDONLY) && !self.is_frozen()
    }
}
