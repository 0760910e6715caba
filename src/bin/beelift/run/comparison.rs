//! All engines on the same inputs: what each did, and the first difference as a small reproduction.
#![forbid(unsafe_code)]

use serde_json::{Value, json};

use beelift::engine::Contents;
use beelift::engine::compare::Comparison;

use super::Job;
use crate::maps;
use crate::output::out;
use crate::replay::Replay;

impl Job<'_> {
    pub(super) fn print_comparison(&self, comparison: &Comparison) {
        for column in &comparison.columns {
            match &column.outcome {
                Ok(outcome) => {
                    let skipped: Vec<_> = outcome.records.iter().filter_map(|r| r.as_ref().err()).collect();
                    let records: Vec<_> = outcome.records.iter().filter_map(|r| r.as_ref().ok()).collect();
                    let mut line = format!("{}: {} runs", column.backend, records.len());
                    for (name, count) in self.actions(records.iter().copied()) {
                        line += &format!(", {name} {count}");
                    }
                    out!("{line}");
                    if let Some(why) = skipped.first() {
                        out!("{}: {} inputs not compared: {why}", column.backend, skipped.len());
                    }
                }
                Err(error) => out!("{}: skipped: {error}", column.backend),
            }
        }
        match &comparison.difference {
            None => out!(
                "agreement of {} engines on {} inputs: return value, packet, context, {} maps",
                comparison.ran(),
                self.inputs.len(),
                self.program.maps.len()
            ),
            Some(difference) => {
                let (left, right) = difference.backends;
                out!("{left} and {right} differ: {}", difference.what);
                out!("  {left}: {}", difference.values.0);
                out!("  {right}: {}", difference.values.1);
                if let Some(index) = difference.input {
                    let input = &self.inputs[index];
                    out!("  input: {}", input.name);
                    let mut replay = Replay::new(&self.args.source, self.name);
                    replay.option("--engine", "all");
                    replay.input(input.packet.as_deref(), input.context.as_deref());
                    replay.fills(self.fills);
                    out!("  to see it alone: {}", replay.text());
                }
            }
        }
        if self.args.maps
            && let Some(Ok(outcome)) = comparison
                .columns
                .iter()
                .map(|column| column.outcome.as_ref())
                .find(|outcome| outcome.is_ok())
        {
            maps::print(self.types(), &maps::of(self.program, &outcome.maps));
        }
    }

    pub(super) fn comparison_json(&self, comparison: &Comparison) -> Value {
        let engines: serde_json::Map<String, Value> = comparison
            .columns
            .iter()
            .map(|column| {
                let value = match &column.outcome {
                    Err(error) => json!({ "skipped": format!("{}: {error}", column.backend) }),
                    Ok(outcome) => {
                        let (maps, taken): (&[(String, Contents)], Vec<_>) = (
                            if self.args.maps { &outcome.maps } else { &[] },
                            outcome.records.iter().collect(),
                        );
                        let runs: Vec<Value> = self
                            .inputs
                            .iter()
                            .zip(taken)
                            .map(|(input, record)| match record {
                                Ok(record) => self.record_json(input, record),
                                Err(why) => json!({ "name": input.name, "skipped": why }),
                            })
                            .collect();
                        let records = outcome.records.iter().filter_map(|record| record.as_ref().ok());
                        json!({
                            "runs": runs,
                            "summary": self.summary_json(&records.collect::<Vec<_>>()),
                            "maps": maps::json(self.types(), &maps::of(self.program, maps)),
                        })
                    }
                };
                (column.backend.to_string(), value)
            })
            .collect();
        let difference = comparison.difference.as_ref().map(|difference| {
            json!({
                "engines": [difference.backends.0.to_string(), difference.backends.1.to_string()],
                "input": difference.input.map(|index| self.inputs[index].name.clone()),
                "what": difference.what,
                "values": [difference.values.0, difference.values.1],
            })
        });
        json!({
            "schema": 1,
            "object": self.opened.label,
            "program": self.name,
            "type": self.program.prog_type.name(),
            "engines": engines,
            "agree": comparison.agrees(),
            "difference": difference,
        })
    }
}
