//! Contents of maps, printed with their BTF types or given as JSON.
//!
//! In: what the engine read of a collection's maps, the object's types. Out: text on stdout in the notation of C, and
//! the `maps` of JSON.
#![forbid(unsafe_code)]

use serde_json::{Map, Value, json};

use beelift::btf::{self, Btf, TypeId};
use beelift::engine::{self, Element};
use beelift::{Program, runtime};

use crate::input::to_hex;
use crate::output::out;

use runtime::MapDef;

/// What was in a map.
#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) def: MapDef,
    pub(crate) what: What,
}

/// Contents by form.
#[derive(Debug)]
pub(crate) enum What {
    /// Elements by key.
    Elements(Vec<(Vec<u8>, Element)>),
    /// Records of a ring buffer, oldest first.
    Records(Vec<Vec<u8>>),
    /// User space cannot read this type: why.
    Unreadable(String),
}

impl Contents {
    fn of(def: &MapDef, read: &engine::Contents) -> Self {
        let what = match &read.unreadable {
            Some(why) => What::Unreadable(why.clone()),
            None if def.kind == runtime::MapKind::Ringbuf => What::Records(read.records.clone()),
            None => What::Elements(read.elements.clone()),
        };
        Self { def: def.clone(), what }
    }

    /// As an entry of `maps`. With types, keys and values come in both forms.
    pub(crate) fn json(&self, types: Option<&Btf>) -> Value {
        let kind = self.def.kind.name();
        match &self.what {
            What::Elements(elements) => {
                let entries: Vec<Value> =
                    elements.iter().map(|(key, element)| self.entry(types, key, element)).collect();
                json!({ "type": kind, "entries": entries })
            }
            What::Records(records) => {
                let records: Vec<String> = records.iter().map(|record| to_hex(record)).collect();
                json!({ "type": kind, "records": records })
            }
            What::Unreadable(why) => json!({ "type": kind, "entries": [], "unreadable": why }),
        }
    }

    fn entry(&self, types: Option<&Btf>, key: &[u8], element: &Element) -> Value {
        let typed = |id: u32, bytes: &[u8]| value(types, id, bytes).map(|value| tree(&value));
        let (mut entry, value) = match element {
            Element::Value(value) => {
                (json!({ "key": to_hex(key), "value": to_hex(value) }), typed(self.def.btf_value, value))
            }
            Element::PerCpu(values) => {
                let hex: Vec<String> = values.iter().map(|value| to_hex(value)).collect();
                let typed: Option<Vec<Value>> =
                    values.iter().map(|value| typed(self.def.btf_value, value)).collect();
                (json!({ "key": to_hex(key), "values": hex }), typed.map(Value::Array))
            }
        };
        if let Some(value) = value {
            let key = typed(self.def.btf_key, key).unwrap_or_else(|| json!(to_hex(key)));
            entry["formatted"] = json!({ "key": key, "value": value });
        }
        entry
    }

    fn text(&self, types: Option<&Btf>, id: u32, bytes: &[u8]) -> String {
        text(types, id, bytes)
    }

    /// Prints the map.
    pub(crate) fn print(&self, types: Option<&Btf>) {
        let def = &self.def;
        match &self.what {
            What::Elements(elements) => {
                out!(
                    "{} ({}): {} of {}",
                    def.name,
                    def.kind,
                    elements.len(),
                    plural(def.max_entries, "element")
                );
                let mut zero = 0;
                for (key, element) in elements {
                    if !self.print_element(types, key, element) {
                        zero += 1;
                    }
                }
                if zero > 0 {
                    out!(
                        "  ({} zero)",
                        if zero == elements.len() { "all".to_owned() } else { zero.to_string() }
                    );
                }
            }
            What::Records(records) => {
                out!("{} ({}): {}", def.name, def.kind, plural(records.len() as u32, "record"));
                for record in records {
                    out!("  {}", to_hex(record));
                }
            }
            What::Unreadable(why) => out!("{} ({}): not readable: {why}", def.name, def.kind),
        }
    }

    /// Prints each element.
    pub(crate) fn print_elements(&self, types: Option<&Btf>) {
        if let What::Elements(elements) = &self.what {
            for (key, element) in elements {
                let key =
                    if key.is_empty() { "next".to_owned() } else { self.text(types, self.def.btf_key, key) };
                self.print_values(types, &key, element, |_| true);
            }
        }
    }

    fn print_values(
        &self,
        types: Option<&Btf>,
        key: &str,
        element: &Element,
        wanted: impl Fn(&[u8]) -> bool,
    ) {
        match element {
            Element::Value(value) => out!("  {key}: {}", self.text(types, self.def.btf_value, value)),
            Element::PerCpu(values) => {
                out!("  {key}:");
                for (cpu, value) in values.iter().enumerate().filter(|(_, value)| wanted(value)) {
                    out!("    cpu {cpu}: {}", self.text(types, self.def.btf_value, value));
                }
            }
        }
    }

    /// Prints an element that is not all zero; whether it did.
    fn print_element(&self, types: Option<&Btf>, key: &[u8], element: &Element) -> bool {
        let is_zero = |bytes: &[u8]| bytes.iter().all(|&byte| byte == 0);
        // Hash elements are there or not; array elements are always there, and zero at first.
        let array = self.def.key_size == 4 && self.def.kind.name().ends_with("array");
        let zero = match element {
            Element::Value(value) => is_zero(value),
            Element::PerCpu(values) => values.iter().all(|value| is_zero(value)),
        };
        if array && zero {
            return false;
        }
        self.print_values(types, &self.text(types, self.def.btf_key, key), element, |value| !is_zero(value));
        true
    }
}

fn value(types: Option<&Btf>, id: u32, bytes: &[u8]) -> Option<btf::Value> {
    let id = TypeId(id);
    types.filter(|_| id != TypeId::VOID)?.value(id, bytes)
}

/// Bytes in the notation of their type, else as digits.
pub(crate) fn text(types: Option<&Btf>, id: u32, bytes: &[u8]) -> String {
    value(types, id, bytes).map_or_else(|| to_hex(bytes), |value| value.to_string())
}

/// What the engine read of a program's maps.
pub(crate) fn of(program: &Program, maps: &[(String, engine::Contents)]) -> Vec<Contents> {
    let defs = maps.iter().filter_map(|(name, read)| {
        let def = program.maps.iter().find(|def| def.name == *name)?;
        Some(Contents::of(def, read))
    });
    defs.collect()
}

/// The `maps` of JSON, by name.
pub(crate) fn json(types: Option<&Btf>, maps: &[Contents]) -> Value {
    let maps: Map<String, Value> =
        maps.iter().map(|contents| (contents.def.name.clone(), contents.json(types))).collect();
    Value::Object(maps)
}

/// Prints all maps.
pub(crate) fn print(types: Option<&Btf>, maps: &[Contents]) {
    for contents in maps {
        contents.print(types);
    }
}

/// A typed value as JSON: numbers that JSON cannot hold become text.
fn tree(value: &btf::Value) -> Value {
    match value {
        btf::Value::Int(number) => {
            let signed = i64::try_from(*number).map(Value::from);
            let number = signed.or_else(|_| u64::try_from(*number).map(Value::from));
            number.unwrap_or_else(|_| json!(value.to_string()))
        }
        btf::Value::Bool(truth) => json!(truth),
        btf::Value::Float(number) => json!(number),
        btf::Value::Enum { name: Some(name), .. } => json!(name),
        btf::Value::Enum { name: None, value } => tree(&btf::Value::Int(*value)),
        btf::Value::Pointer(address) => json!(format!("{address:#x}")),
        btf::Value::Text(text) => json!(text),
        btf::Value::Array(values) => Value::Array(values.iter().map(tree).collect()),
        btf::Value::Struct(members) => {
            Value::Object(members.iter().map(|(name, value)| (name.clone(), tree(value))).collect())
        }
        btf::Value::Bytes(bytes) => json!(to_hex(bytes)),
    }
}

/// `1 element`, `2 elements`.
fn plural(count: u32, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
