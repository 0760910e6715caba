//! Elements put into maps before a run, from JSON files.
#![forbid(unsafe_code)]

use serde_json::Value;

use beelift::Program;
use beelift::engine::Element;

use crate::failure::{Failure, Kind};
use crate::input::from_hex;

/// Elements for a map from `NAME=FILE.json`.
pub(crate) fn from_file(text: &str, program: &Program) -> Result<Vec<(String, Vec<u8>, Element)>, Failure> {
    let Some((name, path)) = text.split_once('=') else {
        return Err(Failure::usage(format!("--map {text}: no NAME=FILE")));
    };
    if !program.maps.iter().any(|map| map.name == name) {
        let names: Vec<_> = program.maps.iter().map(|map| map.name.as_str()).collect();
        return Err(Failure::failure(format!("--map: no map `{name}`"))
            .hint(format!("there are: {}", names.join(", "))));
    }
    let bytes = std::fs::read(path).map_err(|error| Failure::failure(error).at(path))?;
    let entries: Vec<Value> =
        serde_json::from_slice(&bytes).map_err(|error| Failure::failure(error).at(path))?;
    let mut elements = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        let place = format!("{path}: element {index}");
        let hex = |field: &str| match &entry[field] {
            Value::String(text) => from_hex(text).map_err(|failure| failure.at(&place)),
            Value::Null => Err(Failure::failure(format!("`{field}` is missing (hex digits)")).at(&place)),
            _ => Err(Failure::new(
                Kind::Unsupported,
                format!("`{field}` must be hex digits: maps and programs as values are not supported"),
            )
            .at(&place)),
        };
        elements.push((name.to_owned(), hex("key")?, Element::Value(hex("value")?)));
    }
    Ok(elements)
}
