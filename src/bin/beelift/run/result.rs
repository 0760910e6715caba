//! What runs on one engine left behind: for a person, and as JSON.
#![forbid(unsafe_code)]

use std::time::Duration;

use serde_json::{Value, json};

use beelift::engine::{Backend, Contents, Loaded, Record};

use super::Job;
use super::action::action;
use crate::input::{self, to_hex};
use crate::output::out;
use crate::{maps, report};

impl Job<'_> {
    pub(super) fn print(&self, loaded: &Loaded, records: &[Record], contents: &[(String, Contents)]) {
        out!("program {} ({}), engine {}", self.name, self.program.prog_type, loaded.backend());
        if let [record] = records {
            match &record.value {
                Ok(value) => match action(self.program.prog_type, *value) {
                    Some(name) => out!("return {value} ({name})"),
                    None => out!("return {value} ({value:#x})"),
                },
                Err(trap) => out!("trap: {trap}"),
            }
            if !record.packet.is_empty() && Some(&record.packet) != self.inputs[0].packet.as_ref() {
                out!("packet {}", to_hex(&record.packet));
            }
        } else {
            for (name, count) in self.actions(records.iter()) {
                out!("{name:>14} {count}");
            }
        }
        let (total, runs) = total(records.iter());
        if runs > 0 {
            out!("{} runs, {:.1} ns each", runs * u64::from(self.args.repeat.max(1)), total / runs as f64);
        }
        let times = loaded.times();
        let micros = |duration: Duration| format!("{:.1} µs", duration.as_nanos() as f64 / 1000.0);
        if loaded.backend() == Backend::Kernel {
            out!(
                "load: parse {}, link {}, kernel {}",
                micros(self.opened.parse),
                micros(self.link),
                micros(times.verify)
            );
        } else {
            out!(
                "load: parse {}, link {}, verify {}, compile {}",
                micros(self.opened.parse),
                micros(times.link.max(self.link)),
                micros(times.verify),
                micros(times.compile + times.publish)
            );
        }
        maps::print(self.types(), &maps::of(self.program, contents));
    }

    /// How many runs ended with which action, in the order of the numbers.
    pub(super) fn actions<'r>(&self, records: impl Iterator<Item = &'r Record>) -> Vec<(String, usize)> {
        let mut counts = std::collections::BTreeMap::new();
        for record in records {
            let key = record.value.as_ref().map_or(u64::MAX, |value| *value);
            *counts.entry((record.value.is_err(), key)).or_insert(0) += 1;
        }
        let name = |(trapped, value): (bool, u64)| match action(self.program.prog_type, value) {
            _ if trapped => "trapped".to_owned(),
            Some(name) => name.to_owned(),
            None => value.to_string(),
        };
        counts.into_iter().map(|(key, count)| (name(key), count)).collect()
    }

    pub(super) fn record_json(&self, input: &input::Input, record: &Record) -> Value {
        let value = record.value.as_ref().ok().copied();
        json!({
            "name": input.name,
            "return": value,
            "action": value.and_then(|value| action(self.program.prog_type, value)),
            "packet": to_hex(&record.packet),
            "context": to_hex(&record.context),
            "trap": record.value.as_ref().err().map(report::trap_json),
        })
    }

    pub(super) fn summary_json(&self, records: &[&Record]) -> Value {
        let actions: serde_json::Map<String, Value> = self
            .actions(records.iter().copied())
            .into_iter()
            .map(|(name, count)| (name, json!(count)))
            .collect();
        let (ns, runs) = total(records.iter().copied());
        let ns_per_run = if runs == 0 { Value::Null } else { json!(ns / runs as f64) };
        json!({ "runs": records.len(), "actions": actions, "ns_per_run": ns_per_run })
    }

    pub(super) fn result_json(
        &self,
        backend: Backend,
        records: &[Record],
        contents: &[(String, Contents)],
    ) -> Value {
        let pairs = self.inputs.iter().zip(records);
        let runs: Vec<Value> = pairs.map(|(input, record)| self.record_json(input, record)).collect();
        json!({
            "schema": 1,
            "object": self.opened.label,
            "program": self.name,
            "type": self.program.prog_type.name(),
            "engine": backend.to_string(),
            "runs": runs,
            "summary": self.summary_json(&records.iter().collect::<Vec<_>>()),
            "maps": maps::json(self.types(), &maps::of(self.program, contents)),
        })
    }
}

/// Nanoseconds of all runs together, and how many there were.
fn total<'r>(records: impl Iterator<Item = &'r Record>) -> (f64, u64) {
    let finished = records.filter(|record| record.value.is_ok());
    finished.fold((0.0, 0), |(ns, runs), record| (ns + record.nanoseconds, runs + 1))
}
