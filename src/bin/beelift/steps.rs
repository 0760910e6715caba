//! `verify --log`: the steps of our verifier, printed as they happen or collected as JSON, up to a limit.
#![forbid(unsafe_code)]

use std::cell::RefCell;

use serde_json::{Value, json};

use beelift::Program;
use beelift::isa::{Insn, InsnId};
use beelift::verify::log::{End, Event, Log};

use crate::names;
use crate::output::say;

/// Column of the states behind the instructions.
const STATE_COLUMN: usize = 44;

/// Listens to one verification.
pub(crate) struct Steps<'p> {
    program: &'p Program,
    /// Events that are shown.
    limit: u64,
    seen: u64,
    path: u32,
    /// The source line printed last.
    line: RefCell<Option<String>>,
    /// Collected instead of printed.
    collected: Option<Vec<Value>>,
}

impl<'p> Steps<'p> {
    /// Prints (or collects) `limit` events; 0: all.
    pub(crate) fn new(program: &'p Program, limit: u64, collect: bool) -> Self {
        let limit = if limit == 0 { u64::MAX } else { limit };
        Self { program, limit, seen: 0, path: 0, line: RefCell::default(), collected: collect.then(Vec::new) }
    }

    /// Says how much was left out, and gives what was collected.
    pub(crate) fn finish(self) -> Option<Value> {
        let left_out = self.seen.saturating_sub(self.limit);
        match self.collected {
            Some(events) => Some(json!({ "events": events, "left_out": left_out })),
            None => {
                if left_out > 0 {
                    say!("({left_out} more steps: --log-limit 0 shows all)");
                }
                None
            }
        }
    }

    fn pc(&self, at: InsnId) -> u32 {
        self.program.pcs.get(at.index()).map_or(at.0, |pc| pc.0)
    }

    fn print(&self, event: &Event<'_>) {
        match *event {
            Event::Function { name } => say!("function {name}"),
            Event::Path { number, from, at, state } => {
                let from = from.map(|from| format!(" from {}", self.pc(from))).unwrap_or_default();
                say!("path {number}{from} at {}: {state}", self.pc(at));
            }
            Event::Step { at, depth, next, waits, state } => {
                let remark = names::line_starting_at(self.program, at).map(names::remark);
                if let Some(remark) = remark
                    && self.line.replace(Some(remark.clone())) != Some(remark.clone())
                {
                    say!("{remark}");
                }
                let text = names::insn(self.program, at);
                let mut line = format!("{:>5}: {}{text}", self.pc(at), "  ".repeat(depth));
                if let Some(Insn::Branch { to, .. }) = self.program.insns.get(at.index()) {
                    line += if next == Some(*to) { "  taken" } else { "  not taken" };
                    line += if waits { ", the other way waits" } else { ", the only way" };
                }
                if !state.is_empty() {
                    line = format!("{line:<STATE_COLUMN$} {state}");
                }
                say!("{line}");
            }
            Event::End { at, ref why } => {
                let at = self.pc(at);
                match why {
                    End::Exit => say!("path {} ends at {at}: exit", self.path),
                    End::Covered => {
                        say!("path {} ends at {at}: a state seen there before covers it", self.path);
                    }
                    End::Rejected(reason) => say!("path {} ends at {at}: {reason}", self.path),
                    End::Unsupported(what) => say!("path {} ends at {at}: not supported: {what}", self.path),
                    _ => {}
                }
            }
            _ => {}
        }
    }

    fn json(&self, event: &Event<'_>) -> Value {
        match *event {
            Event::Function { name } => json!({ "event": "function", "name": name }),
            Event::Path { number, from, at, state } => json!({
                "event": "path",
                "number": number,
                "from": from.map(|from| self.pc(from)),
                "pc": self.pc(at),
                "state": state,
            }),
            Event::Step { at, depth, next, waits, state } => json!({
                "event": "step",
                "pc": self.pc(at),
                "text": names::insn(self.program, at),
                "depth": depth,
                "next": next.map(|next| self.pc(next)),
                "waits": waits,
                "state": state,
            }),
            Event::End { at, ref why } => {
                let (why, message) = match why {
                    End::Exit => ("exit", None),
                    End::Covered => ("covered", None),
                    End::Rejected(reason) => ("rejected", Some(reason.to_string())),
                    End::Unsupported(what) => ("unsupported", Some((*what).to_owned())),
                    _ => ("other", None),
                };
                json!({ "event": "end", "pc": self.pc(at), "why": why, "message": message })
            }
            _ => Value::Null,
        }
    }
}

impl Log for Steps<'_> {
    fn event(&mut self, event: &Event<'_>) {
        self.seen += 1;
        if let Event::Path { number, .. } = event {
            self.path = *number;
        }
        // How a rejection ends is the point of a log.
        let last = matches!(event, Event::End { why: End::Rejected(_) | End::Unsupported(_), .. });
        if self.seen > self.limit && !last {
            return;
        }
        let json = self.collected.is_some().then(|| self.json(event));
        match (&mut self.collected, json) {
            (Some(events), Some(json)) => events.push(json),
            _ => self.print(event),
        }
    }
}
