//! Maps of an earlier run: elements in the JSON that `run --json --maps` printed, read and changed in the file.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use beelift::kernel::pin::is_bpffs;

use crate::failure::{Failure, Kind};
use crate::input::{from_hex, to_hex};
use crate::saved::Saved;
use crate::typed;

/// A map in a file.
pub(super) struct InFile {
    path: PathBuf,
    saved: Saved,
    name: String,
}

impl InFile {
    /// `FILE:NAME`, or `FILE` with one map; `None` when there is no such file.
    pub(super) fn open(text: &str) -> Result<Option<Self>, Failure> {
        let (path, name) = match text.rsplit_once(':') {
            Some((path, name)) if is_result(Path::new(path)) => (path, Some(name)),
            Some(_) | None if is_result(Path::new(text)) => (text, None),
            Some(_) | None => return Ok(None),
        };
        let saved = Saved::read(Path::new(path))?;
        let names: Vec<String> = saved.maps().keys().cloned().collect();
        let name = match name {
            Some(name) if names.iter().any(|known| known == name) => name.to_owned(),
            None if names.len() == 1 => names[0].clone(),
            _ => {
                let what = name.map_or("which map?".to_owned(), |name| format!("no map `{name}`"));
                return Err(Failure::failure(what)
                    .at(path)
                    .hint(format!("{path}:NAME, and NAME is one of: {}", names.join(", "))));
            }
        };
        Ok(Some(Self { path: path.into(), saved, name }))
    }

    /// Its JSON.
    pub(super) fn map(&self) -> &Value {
        &self.saved.maps()[&self.name]
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The element of a key: digits, or a value as it is shown.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        let entries = self.map()["entries"].as_array()?;
        entries.iter().find(|entry| is_key(entry, key))
    }

    /// Sets an element, or adds it.
    pub(super) fn set(&mut self, key: &str, value: &str) -> Result<(), Failure> {
        let digits = |what: &str, text: &str| {
            from_hex(text.strip_prefix("hex:").unwrap_or(text)).map(|bytes| to_hex(&bytes)).map_err(|_| {
                Failure::new(Kind::Unsupported, format!("{what} `{text}`: a file of results has no types"))
                    .hint("give hexadecimal digits")
            })
        };
        let value = digits("value", value)?;
        let existing = self.get(key).map(|entry| entry["key"].clone());
        let key = match existing {
            Some(key) => key,
            None => json!(digits("key", key)?),
        };
        let Some(entries) = self.entries() else { return Err(self.unchangeable()) };
        if entries.first().is_some_and(|entry| entry["values"].is_array()) {
            return Err(Failure::new(Kind::Unsupported, "one value for each CPU: change them in the file"));
        }
        match entries.iter_mut().find(|entry| entry["key"] == key) {
            Some(entry) => *entry = json!({ "key": key, "value": value }),
            None => entries.push(json!({ "key": key, "value": value })),
        }
        self.saved.write(&self.path)
    }

    /// Removes an element; whether it was there.
    pub(super) fn delete(&mut self, key: &str) -> Result<bool, Failure> {
        let Some(entries) = self.entries() else { return Err(self.unchangeable()) };
        let before = entries.len();
        entries.retain(|entry| !is_key(entry, key));
        let removed = entries.len() != before;
        self.saved.write(&self.path)?;
        Ok(removed)
    }

    fn entries(&mut self) -> Option<&mut Vec<Value>> {
        self.saved.map_mut(&self.name)?.get_mut("entries")?.as_array_mut()
    }

    fn unchangeable(&self) -> Failure {
        Failure::failure(format!("map `{}` has no elements that could be changed", self.name))
            .at(self.path.display())
    }
}

/// Whether the path is a file, and no pin.
pub(super) fn is_result(path: &Path) -> bool {
    path.is_file() && !is_bpffs(path)
}

fn is_key(entry: &Value, key: &str) -> bool {
    let digits = from_hex(key.strip_prefix("hex:").unwrap_or(key)).map(|bytes| to_hex(&bytes));
    digits.is_ok_and(|digits| entry["key"] == digits) || entry["formatted"]["key"] == typed::word(key)
}
