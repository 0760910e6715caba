//! Results of an earlier run: the JSON that `run --json --maps` printed, and the maps in it.
#![forbid(unsafe_code)]

use std::path::Path;

use serde_json::{Map, Value};

use crate::failure::Failure;

/// A file with the maps of a run.
pub(crate) struct Saved(Value);

impl Saved {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let at = |failure: Failure| failure.at(path.display());
        let bytes = std::fs::read(path).map_err(|error| at(Failure::failure(error)))?;
        let value: Value = serde_json::from_slice(&bytes).map_err(|error| at(Failure::failure(error)))?;
        if value["schema"] != 1 || !value["maps"].is_object() {
            return Err(at(Failure::failure("no result of a run with maps in it")
                .hint("write one with `beelift run … --json --maps > FILE`")));
        }
        Ok(Self(value))
    }

    /// A map, to change.
    pub(crate) fn map_mut(&mut self, name: &str) -> Option<&mut Value> {
        self.0["maps"].get_mut(name)
    }

    /// Writes the file anew.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Failure> {
        std::fs::write(path, format!("{}\n", self.0))
            .map_err(|error| Failure::failure(error).at(path.display()))
    }

    /// Maps by name.
    pub(crate) fn maps(&self) -> &Map<String, Value> {
        self.0["maps"].as_object().expect("looked at when it was read")
    }
}
