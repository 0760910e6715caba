//! The command line that does a run again: what reproductions and witnesses end with.
#![forbid(unsafe_code)]

use serde_json::{Value, json};

use beelift::engine::{Content, Element, Fill};

use crate::args;
use crate::input::{to_hex, to_short_hex};

/// A command in the making.
pub(crate) struct Replay(String);

impl Replay {
    /// `beelift run` of a program of an object, with the options that say how it is read.
    pub(crate) fn new(source: &args::Source, program: &str) -> Self {
        let mut replay = Self(format!("beelift run {}", quoted(&source.object)));
        // Assembly and raw bytes are one program.
        let single = source.object.starts_with("hex:")
            || [".s", ".bin"].iter().any(|ending| source.object.ends_with(ending));
        if !single {
            replay.option("-p", program);
        }
        if let Some(kind) = &source.prog_type {
            replay.option("--type", kind);
        }
        source.set.iter().for_each(|assignment| replay.option("--set", assignment));
        if let Some(path) = &source.btf {
            replay.option("--btf", &path.display().to_string());
        }
        replay
    }

    /// An option without a value.
    pub(crate) fn flag(&mut self, name: &str) {
        self.0 += " ";
        self.0 += name;
    }

    /// An option with a value.
    pub(crate) fn option(&mut self, name: &str, value: &str) {
        self.0 += &format!(" {name} {}", quoted(value));
    }

    /// Packet and context, where the run has them.
    pub(crate) fn input(&mut self, packet: Option<&[u8]>, context: Option<&[u8]>) {
        if let Some(packet) = packet {
            self.option("--packet", &to_short_hex(packet));
        }
        if let Some(context) = context {
            self.option("--context", &to_short_hex(context));
        }
    }

    /// Elements of maps.
    pub(crate) fn fills(&mut self, fills: &[Fill]) {
        let mut names: Vec<&str> = fills.iter().map(|fill| fill.map.as_str()).collect();
        names.dedup();
        for name in names {
            let elements: Vec<Value> = fills.iter().filter(|fill| fill.map == name).map(fill_json).collect();
            self.option("--map", &format!("{name}={}", Value::Array(elements)));
        }
    }

    /// The command.
    pub(crate) fn text(self) -> String {
        self.0
    }
}

/// An element as `--map` reads it.
pub(crate) fn fill_json(fill: &Fill) -> Value {
    let mut element = json!({});
    if !fill.key.is_empty() {
        element["key"] = json!(to_hex(&fill.key));
    }
    match &fill.content {
        Content::Element(Element::Value(value)) => element["value"] = json!(to_short_hex(value)),
        Content::Element(Element::PerCpu(values)) => {
            element["values"] = values.iter().map(|value| json!(to_hex(value))).collect();
        }
        Content::Program(name) => element["value"] = json!({ "program": name }),
        Content::Map(name) => element["value"] = json!({ "map": name }),
    }
    element
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_alphanumeric() || "-_./:=@,+%".contains(letter);
    if word.is_empty() || !word.chars().all(plain) {
        return format!("'{}'", word.replace('\'', r"'\''"));
    }
    word.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_what_is_meant() {
        let source = args::Source {
            object: "my object.o".to_owned(),
            program: None,
            section: None,
            prog_type: Some("xdp".to_owned()),
            set: vec!["name=\"it's\"".to_owned()],
            btf: None,
        };
        let mut replay = Replay::new(&source, "main");
        replay.input(Some(&[]), Some(&[1, 2]));
        replay.fills(&[Fill::value("m", &[0], &[1]), Fill::value("m", &[2], &[3])]);
        assert_eq!(
            replay.text(),
            r#"beelift run 'my object.o' -p main --type xdp --set 'name="it'\''s"' --packet '' --context 0102 --map 'm=[{"key":"00","value":"01"},{"key":"02","value":"03"}]'"#
        );
    }
}
