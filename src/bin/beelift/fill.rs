//! Elements put into maps before a run, from JSON: files, words of the command line, and results of earlier runs.
//!
//! An element is `{"key": …, "value": …}`, or has `values` for a per-CPU map, or no key for a queue. Keys and values are
//! hexadecimal digits or values of their types (`typed`); a value may be `{"program": NAME}` or `{"map": NAME}`.
#![forbid(unsafe_code)]

use std::path::Path;

use serde_json::Value;

use beelift::btf::{Btf, TypeId};
use beelift::engine::{Content, Element, Fill};
use beelift::runtime::{MapDef, MapKind};

use crate::failure::{Failure, Kind};
use crate::typed::Target;

/// Elements of `NAME=FILE` or `NAME=JSON`.
pub(crate) fn from_option(text: &str, maps: &[MapDef], types: Option<&Btf>) -> Result<Vec<Fill>, Failure> {
    let Some((name, source)) = text.split_once('=') else {
        return Err(Failure::usage(format!("--map {text}: no NAME=FILE"))
            .hint("NAME=FILE.json, or NAME=[{\"key\": …, \"value\": …}]"));
    };
    let def = find(maps, name).map_err(|failure| failure.about("--map"))?;
    let (place, bytes) = if source.trim_start().starts_with(['[', '{']) {
        (format!("--map {name}"), source.as_bytes().to_vec())
    } else {
        let bytes = std::fs::read(source).map_err(|error| {
            Failure::failure(error).at(source).hint("--map takes NAME=FILE.json or NAME=[JSON]")
        })?;
        (source.to_owned(), bytes)
    };
    let entries: Value =
        serde_json::from_slice(&bytes).map_err(|error| Failure::failure(error).at(&place))?;
    elements(&entries, def, types, &place)
}

/// What the maps held at the end of an earlier run (`run --json --maps`). Maps that the program does not have, and
/// what cannot be written back, are left out and named.
pub(crate) fn from_saved(
    path: &Path,
    maps: &[MapDef],
    types: Option<&Btf>,
) -> Result<(Vec<Fill>, Vec<String>), Failure> {
    let saved = crate::saved::Saved::read(path)?;
    let (mut fills, mut left_out) = (Vec::new(), Vec::new());
    for (name, map) in saved.maps() {
        let def = maps.iter().find(|def| def.name == *name);
        // Constants are frozen when the object is loaded; they come from there again.
        let frozen = name.starts_with(".rodata");
        match (def, map.get("entries")) {
            (Some(def), Some(entries)) if map.get("unreadable").is_none() && !frozen => {
                let place = format!("{}: map {name}", path.display());
                fills.extend(elements(entries, def, types, &place)?);
            }
            (Some(_), _) if frozen => {}
            _ => left_out.push(name.clone()),
        }
    }
    Ok((fills, left_out))
}

/// The map of that name.
pub(crate) fn find<'a>(maps: &'a [MapDef], name: &str) -> Result<&'a MapDef, Failure> {
    maps.iter().find(|map| map.name == name).ok_or_else(|| {
        let names: Vec<_> = maps.iter().map(|map| map.name.as_str()).collect();
        let failure = Failure::failure(format!("no map `{name}`"));
        if names.is_empty() {
            return failure.hint("the object has none");
        }
        failure.hint(format!("there are: {}", names.join(", ")))
    })
}

fn elements(entries: &Value, def: &MapDef, types: Option<&Btf>, place: &str) -> Result<Vec<Fill>, Failure> {
    let entries = match entries {
        Value::Array(entries) => entries,
        other => std::slice::from_ref(other),
    };
    let one = |(index, entry): (usize, &Value)| {
        element(entry, def, types).map_err(|failure| failure.at(format!("{place}: element {index}")))
    };
    entries.iter().enumerate().map(one).collect()
}

fn element(entry: &Value, def: &MapDef, types: Option<&Btf>) -> Result<Fill, Failure> {
    let Value::Object(members) = entry else {
        return Err(Failure::failure(format!("{entry} is no element")).hint(
            "an element is {\"key\": …, \"value\": …}, with hexadecimal digits or values of their types",
        ));
    };
    if let Some(odd) =
        members.keys().find(|key| !["key", "value", "values", "formatted"].contains(&key.as_str()))
    {
        return Err(Failure::failure(format!("`{odd}` is no part of an element"))
            .hint("an element has `key` and `value` (or `values`)"));
    }
    let key = key_target(def, types);
    let key = match members.get("key") {
        None if def.key_size == 0 => Vec::new(),
        None => return Err(Failure::failure("`key` is missing")),
        Some(given) => key.bytes(given)?,
    };
    let content = match (members.get("value"), members.get("values")) {
        (Some(Value::Object(value)), None) if named(value).is_some() && takes_names(def.kind) => {
            content_by_name(value, def)?
        }
        (Some(value), None) if takes_names(def.kind) => {
            return Err(Failure::new(Kind::Failure, format!("{value} is no value of a {}", def.kind)).hint(
                match def.kind {
                    MapKind::ProgArray => "a value is {\"program\": NAME}",
                    _ => "a value is {\"map\": NAME}",
                },
            ));
        }
        (Some(value), None) => Content::Element(Element::Value(value_target(def, types).bytes(value)?)),
        (None, Some(Value::Array(values))) => {
            let target = value_target(def, types);
            let values = values.iter().map(|value| target.bytes(value)).collect::<Result<_, _>>()?;
            Content::Element(Element::PerCpu(values))
        }
        (None, Some(_)) => return Err(Failure::failure("`values` is an array: one value for each CPU")),
        (None, None) => return Err(Failure::failure("`value` is missing")),
        (Some(_), Some(_)) => return Err(Failure::failure("`value` and `values` exclude each other")),
    };
    Ok(Fill { map: def.name.clone(), key, content })
}

/// How keys of a map are read.
pub(crate) fn key_target<'a>(def: &MapDef, types: Option<&'a Btf>) -> Target<'a> {
    Target {
        what: "key",
        size: def.key_size as usize,
        typed: types.map(|types| (types, TypeId(def.btf_key))),
    }
}

/// How values of a map are read.
pub(crate) fn value_target<'a>(def: &MapDef, types: Option<&'a Btf>) -> Target<'a> {
    let typed = types.map(|types| (types, TypeId(def.btf_value)));
    Target { what: "value", size: def.value_size as usize, typed }
}

/// Whether elements are programs or maps, which only names can say.
fn takes_names(kind: MapKind) -> bool {
    matches!(kind, MapKind::ProgArray | MapKind::ArrayOfMaps | MapKind::HashOfMaps)
}

fn named(value: &serde_json::Map<String, Value>) -> Option<(&str, &str)> {
    let (what, name) = value.iter().next().filter(|_| value.len() == 1)?;
    matches!(what.as_str(), "program" | "map").then_some(())?;
    Some((what, name.as_str()?))
}

fn content_by_name(value: &serde_json::Map<String, Value>, def: &MapDef) -> Result<Content, Failure> {
    match (named(value), def.kind) {
        (Some(("program", name)), MapKind::ProgArray) => Ok(Content::Program(name.to_owned())),
        (Some(("map", name)), MapKind::ArrayOfMaps | MapKind::HashOfMaps) => {
            Ok(Content::Map(name.to_owned()))
        }
        (named, kind) => {
            let (what, name) = named.unwrap_or(("program", "?"));
            Err(Failure::failure(format!("{what} `{name}` is no value of a {kind}")))
        }
    }
}
