//! `map`: maps in the kernel (pinned, or by id or name) and maps of an earlier run, shown and changed.
#![forbid(unsafe_code)]

mod file;
mod held;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use beelift::engine::Element;
use beelift::kernel::{Errno, MapInfo, OsError, RingBuffer};
use beelift::runtime::MapKind;

use crate::args::{self, Existing, MapAction};
use crate::failure::{Failure, Kind};
use crate::fill::{key_target, value_target};
use crate::input::to_hex;
use crate::kernel::failure;
use crate::maps;
use crate::output::{self, out, say};
use crate::saved::Saved;
use crate::typed;
use file::InFile;
use held::Held;

/// Runs the verb.
pub(crate) fn map(args: &args::Map, as_json: bool) -> Result<ExitCode, Failure> {
    match &args.action {
        MapAction::List { place } => list(place.as_deref(), as_json),
        MapAction::Dump { map } => dump(map, as_json),
        MapAction::Get { map, key } => get(map, key.as_deref(), as_json),
        MapAction::Set { map, key, value, only } => set(map, key, value, *only),
        MapAction::Delete { map, key } => delete(map, key),
        MapAction::Push { map, value } => push(map, value),
        MapAction::Pop { map } => pop(map, as_json),
        MapAction::Watch { map, interval, count } => watch(map, *interval, *count, as_json),
    }
}

fn list(place: Option<&Path>, as_json: bool) -> Result<ExitCode, Failure> {
    if let Some(file) = place.filter(|place| file::is_result(place)) {
        let saved = Saved::read(file)?;
        if as_json {
            let names: Vec<Value> =
                saved.maps().iter().map(|(name, map)| json!({ "name": name, "type": map["type"] })).collect();
            out!("{}", json!({ "schema": 1, "maps": names }));
            return Ok(ExitCode::SUCCESS);
        }
        let mut table = output::table(["map", "type", "elements"]);
        for (name, map) in saved.maps() {
            let count = |what: &str| map[what].as_array().map(Vec::len);
            let elements = count("entries").or(count("records")).unwrap_or(0);
            table.add_row([
                name.clone(),
                map["type"].as_str().unwrap_or("?").to_owned(),
                elements.to_string(),
            ]);
        }
        table.trim_fmt().lines().for_each(|line| out!("{line}"));
        return Ok(ExitCode::SUCCESS);
    }
    let infos: Vec<(Option<String>, MapInfo)> = match place {
        Some(directory) => held::pinned(directory)?
            .into_iter()
            .map(|(path, info)| (Some(path.display().to_string()), info))
            .collect(),
        None => held::all().map_err(|error| failure(&error))?.into_iter().map(|info| (None, info)).collect(),
    };
    let kind = |info: &MapInfo| info.kind.map_or_else(|| info.type_id.to_string(), |kind| kind.to_string());
    if as_json {
        let maps: Vec<Value> = infos
            .iter()
            .map(|(path, info)| {
                json!({
                    "id": info.id,
                    "name": info.name,
                    "type": kind(info),
                    "key_size": info.key_size,
                    "value_size": info.value_size,
                    "max_entries": info.max_entries,
                    "flags": info.flags.bits(),
                    "pin": path,
                })
            })
            .collect();
        out!("{}", json!({ "schema": 1, "maps": maps }));
        return Ok(ExitCode::SUCCESS);
    }
    if infos.is_empty() {
        say!(
            "no maps {}",
            place.map_or("in the kernel".to_owned(), |place| format!("below {}", place.display()))
        );
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = output::table(["id", "name", "type", "key", "value", "entries", "pin"]);
    for (path, info) in &infos {
        table.add_row([
            info.id.to_string(),
            info.name.clone(),
            kind(info),
            info.key_size.to_string(),
            info.value_size.to_string(),
            info.max_entries.to_string(),
            path.clone().unwrap_or_default(),
        ]);
    }
    table.trim_fmt().lines().for_each(|line| out!("{line}"));
    Ok(ExitCode::SUCCESS)
}

fn dump(name: &str, as_json: bool) -> Result<ExitCode, Failure> {
    if let Some(file) = InFile::open(name)? {
        if as_json {
            let mut maps = json!({});
            maps[file.name()] = file.map().clone();
            out!("{}", json!({ "schema": 1, "maps": maps }));
        } else {
            print_saved(file.name(), file.map());
        }
        return Ok(ExitCode::SUCCESS);
    }
    let held = Held::open(name)?;
    let contents = held.contents()?;
    if as_json {
        out!("{}", json!({ "schema": 1, "maps": maps::json(held.types.as_ref(), &[contents]) }));
    } else {
        contents.print(held.types.as_ref());
    }
    Ok(ExitCode::SUCCESS)
}

/// A map of a file: its elements as values of their types, where they were saved that way.
fn print_saved(name: &str, map: &Value) {
    let none = Vec::new();
    let kind = map["type"].as_str().unwrap_or("?");
    let records = map["records"].as_array();
    let entries = map["entries"].as_array().unwrap_or(&none);
    out!("{name} ({kind}): {}", records.unwrap_or(entries).len());
    records.into_iter().flatten().for_each(|record| out!("  {}", record.as_str().unwrap_or("?")));
    for entry in entries {
        out!("  {}", saved_line(entry));
    }
}

fn saved_line(entry: &Value) -> String {
    let formatted = entry.get("formatted");
    let part = |name: &str| {
        let shown = formatted.and_then(|formatted| formatted.get(name));
        let shown = shown.or_else(|| entry.get(name)).or_else(|| entry.get("values"));
        shown.map_or_else(String::new, |value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        })
    };
    format!("{}: {}", part("key"), part("value"))
}

fn not_there(name: &str, as_json: bool) -> ExitCode {
    if as_json {
        out!("{}", json!({ "schema": 1, "found": false }));
    } else {
        say!("{name}: no such element");
    }
    ExitCode::FAILURE
}

fn get(name: &str, key: Option<&str>, as_json: bool) -> Result<ExitCode, Failure> {
    if let Some(file) = InFile::open(name)? {
        let key = key.ok_or_else(|| Failure::usage("which element? give its key"))?;
        let Some(entry) = file.get(key) else { return Ok(not_there(name, as_json)) };
        if as_json {
            out!("{}", json!({ "schema": 1, "found": true, "element": entry }));
        } else {
            out!("{}", saved_line(entry));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let held = Held::open(name)?;
    let types = held.types.as_ref();
    let key = match key {
        Some(key) if held.has_keys() => key_target(&held.def, types).bytes(&typed::word(key))?,
        None if !held.has_keys() => Vec::new(),
        Some(value) if held.def.kind == MapKind::BloomFilter => {
            let value = value_target(&held.def, types).bytes(&typed::word(value))?;
            let there = held.map.peek(&value).map_err(|error| failure(&error))?;
            if !there {
                return Ok(not_there(name, as_json));
            }
            match as_json {
                true => out!("{}", json!({ "schema": 1, "found": true })),
                false => out!("{}: perhaps", to_hex(&value)),
            }
            return Ok(ExitCode::SUCCESS);
        }
        Some(_) => return Err(Failure::usage(format!("a {} has no keys", held.def.kind))),
        None => {
            return Err(Failure::usage("which element? give its key").hint("`beelift map dump` shows all"));
        }
    };
    let Some(value) = held.map.lookup(&key).map_err(|error| failure(&error))? else {
        return Ok(not_there(name, as_json));
    };
    show(&held, key, held.element(value), as_json);
    Ok(ExitCode::SUCCESS)
}

fn show(held: &Held, key: Vec<u8>, element: Element, as_json: bool) {
    let what = maps::What::Elements(vec![(key, element)]);
    let contents = maps::Contents { def: held.def.clone(), what };
    if as_json {
        let mut map = contents.json(held.types.as_ref());
        out!("{}", json!({ "schema": 1, "found": true, "element": map["entries"][0].take() }));
    } else {
        contents.print_elements(held.types.as_ref());
    }
}

fn set(name: &str, key: &str, value: &str, only: Option<Existing>) -> Result<ExitCode, Failure> {
    if let Some(mut file) = InFile::open(name)? {
        let there = file.get(key).is_some();
        match only {
            Some(Existing::Present) if !there => return Ok(not_there(name, false)),
            Some(Existing::Absent) if there => {
                return Err(Failure::failure("the element is there already").at(name));
            }
            Some(_) | None => {}
        }
        file.set(key, value)?;
        return Ok(ExitCode::SUCCESS);
    }
    let held = Held::open(name)?;
    if !held.has_keys() {
        return Err(Failure::usage(format!("a {} has no keys: push a value", held.def.kind)));
    }
    let types = held.types.as_ref();
    let key = key_target(&held.def, types).bytes(&typed::word(key))?;
    let value = held_value(&held, value)?;
    let flags = match only {
        None => 0,
        Some(Existing::Absent) => 1,
        Some(Existing::Present) => 2,
    };
    held.map.update(&key, &value, flags).map_err(|error| refused(&error))?;
    Ok(ExitCode::SUCCESS)
}

/// The bytes of a value; the same on each CPU where there is one for each.
fn held_value(held: &Held, text: &str) -> Result<Vec<u8>, Failure> {
    let target = value_target(&held.def, held.types.as_ref());
    let word = typed::word(text);
    if !held.map.info().is_per_cpu() {
        return target.bytes(&word);
    }
    let size = (held.def.value_size as usize).next_multiple_of(8);
    let cpus = held.map.value_size() / size;
    let values = match &word {
        Value::Array(values) if values.len() == cpus => {
            values.iter().map(|value| target.bytes(value)).collect()
        }
        one => target.bytes(one).map(|value| vec![value; cpus]),
    };
    let padded = values?.into_iter().flat_map(|mut value| {
        value.resize(size, 0);
        value
    });
    Ok(padded.collect())
}

fn refused(error: &OsError) -> Failure {
    match error.errno {
        Errno::EEXIST => Failure::failure("the element is there already").hint("leave out --only absent"),
        Errno::ENOENT => Failure::failure("no such element"),
        _ => failure(error),
    }
}

fn delete(name: &str, key: &str) -> Result<ExitCode, Failure> {
    if let Some(mut file) = InFile::open(name)? {
        return Ok(if file.delete(key)? { ExitCode::SUCCESS } else { not_there(name, false) });
    }
    let held = Held::open(name)?;
    let key = key_target(&held.def, held.types.as_ref()).bytes(&typed::word(key))?;
    let there = held.map.delete(&key).map_err(|error| failure(&error))?;
    Ok(if there { ExitCode::SUCCESS } else { not_there(name, false) })
}

fn without_keys(name: &str) -> Result<Held, Failure> {
    if InFile::open(name)?.is_some() {
        return Err(Failure::new(Kind::Unsupported, "results of a run hold no queues").at(name));
    }
    let held = Held::open(name)?;
    if held.has_keys() {
        return Err(Failure::usage(format!("a {} has keys: use get, set and delete", held.def.kind)));
    }
    Ok(held)
}

fn push(name: &str, value: &str) -> Result<ExitCode, Failure> {
    let held = without_keys(name)?;
    let value = value_target(&held.def, held.types.as_ref()).bytes(&typed::word(value))?;
    held.map.update(&[], &value, 0).map_err(|error| failure(&error))?;
    Ok(ExitCode::SUCCESS)
}

fn pop(name: &str, as_json: bool) -> Result<ExitCode, Failure> {
    let held = without_keys(name)?;
    let Some(value) = held.map.lookup_and_delete(&[]).map_err(|error| failure(&error))? else {
        return Ok(not_there(name, as_json));
    };
    show(&held, Vec::new(), Element::Value(value), as_json);
    Ok(ExitCode::SUCCESS)
}

/// Records of a ring buffer as they come, and for other maps what changed since the last look.
fn watch(name: &str, interval: u64, count: Option<u64>, as_json: bool) -> Result<ExitCode, Failure> {
    let held = Held::open(name)?;
    let mut left = count.unwrap_or(u64::MAX);
    let pause = Duration::from_millis(interval.max(1));
    if held.def.kind == MapKind::Ringbuf {
        let mut ring = RingBuffer::open(&held.map).map_err(|error| failure(&error))?;
        while left > 0 {
            ring.wait(Some(pause)).map_err(|error| failure(&error))?;
            while let Some(record) = ring.next_record().filter(|_| left > 0) {
                let text = maps::text(held.types.as_ref(), held.def.btf_value, &record);
                match as_json {
                    true => out!("{}", json!({ "schema": 1, "record": to_hex(&record) })),
                    false => out!("{text}"),
                }
                left -= 1;
            }
        }
        return Ok(ExitCode::SUCCESS);
    }
    let elements = || match held.contents()?.what {
        maps::What::Elements(elements) => Ok(elements),
        maps::What::Records(_) => Ok(Vec::new()),
        maps::What::Unreadable(why) => Err(Failure::new(Kind::Unsupported, why).at(name)),
    };
    let mut known = elements()?;
    while left > 0 {
        std::thread::sleep(pause);
        let now = elements()?;
        for (key, element) in now.iter().filter(|entry| !known.contains(entry)) {
            if left > 0 {
                show(&held, key.clone(), element.clone(), as_json);
                left -= 1;
            }
        }
        for (key, _) in known.iter().filter(|(key, _)| !now.iter().any(|(other, _)| other == key)) {
            if left > 0 {
                match as_json {
                    true => out!("{}", json!({ "schema": 1, "found": false, "key": to_hex(key) })),
                    false => out!("  {}: gone", maps::text(held.types.as_ref(), held.def.btf_key, key)),
                }
                left -= 1;
            }
        }
        known = now;
    }
    Ok(ExitCode::SUCCESS)
}
