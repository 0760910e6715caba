//! `verify`: a verdict for each program, ours and, when asked, the kernel's.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use beelift::ProgramType;
use beelift::engine::witness::{self, Budget, Witness};
use beelift::isa::InsnId;
use beelift::kernel::{LogLevel, OsError};
use beelift::link::{LinkError, Program};
use beelift::runtime::environment::thread_time;
use beelift::verify::facts::{LoopEnd, LoopFact};
use beelift::verify::{self, Options, Policy, Statistics};

use crate::args;
use crate::failure::{Failure, Kind};
use crate::kernel::{Side, Verdict};
use crate::output::{self, out, say};
use crate::replay::Replay;
use crate::report;
use crate::source::{self, Opened};
use crate::steps::Steps;

/// Runs the verb.
pub(crate) fn verify(args: &args::Verify, as_json: bool) -> Result<ExitCode, Failure> {
    let opened = Opened::open(&args.source)?;
    let names = opened.chosen()?;
    let options = Options::with_policy(policy(args.policy));
    let side = args.kernel.then(|| Side::create(&opened, None));
    if !as_json {
        opened.warn();
    }
    let mut left = ALL_WITNESSES;
    let bar = output::progress(names.len(), "verifying");
    let mut judged = Vec::with_capacity(names.len());
    for name in names {
        let kernel = side.as_ref();
        judged.push(judge(args, &opened, name, &options, Asked { kernel, as_json, left: &mut left }));
        bar.inc(1);
    }
    bar.finish_and_clear();
    if as_json {
        let programs: Vec<Value> = judged.iter().map(Judged::json).collect();
        out!("{}", json!({ "schema": 1, "object": opened.label, "programs": programs }));
    } else {
        for one in &judged {
            one.print(args.log);
        }
    }
    let kinds: Vec<Kind> = judged.iter().filter_map(Judged::failure).collect();
    let first =
        [Kind::Failure, Kind::Rejected, Kind::Unsupported].into_iter().find(|kind| kinds.contains(kind));
    Ok(first.map_or(ExitCode::SUCCESS, |kind| ExitCode::from(kind.status())))
}

/// Time that all searches for witnesses of one command may take.
const ALL_WITNESSES: Duration = Duration::from_secs(20);

/// The command that runs a witness.
fn command(source: &args::Source, name: &str, program: &Program, witness: &Witness) -> String {
    let mut replay = Replay::new(source, name);
    replay.flag("--unverified");
    let given = source::has_packet(program) || program.prog_type == ProgramType::Memory;
    let packet = given.then_some(&witness.input.packet[..]);
    let context = Some(&witness.input.context[..]).filter(|context| !context.is_empty());
    replay.input(packet, context);
    replay.fills(&witness.fills);
    if let Some(world) = &witness.world {
        replay.option("--clock", &world.clock_ns.to_string());
        replay.option("--seed", &world.random.to_string());
    }
    replay.text()
}

/// The library's rules of that name.
pub(crate) fn policy(policy: args::Policy) -> Policy {
    match policy {
        args::Policy::User => Policy::USER,
        args::Policy::Kernel => Policy::KERNEL,
        args::Policy::Strict => Policy::STRICT,
    }
}

/// What a proof took, and what it says of long loops.
struct Proof {
    statistics: Statistics,
    loops: Vec<LoopFact>,
}

/// A program and what came out.
struct Judged {
    name: String,
    /// `Err`: it could not be linked.
    program: Result<Program, (LinkError, Failure)>,
    ours: Option<Result<Proof, verify::Failure>>,
    /// An input that shows the rejection, and the command that runs it.
    witness: Option<(Witness, String)>,
    /// Steps of our verifier, for JSON.
    log: Option<Value>,
    kernel: Option<Verdict>,
}

/// What a judgement looks at beside the program.
struct Asked<'a> {
    kernel: Option<&'a Result<Side, OsError>>,
    as_json: bool,
    /// Time left to look for witnesses.
    left: &'a mut Duration,
}

fn judge(
    args: &args::Verify,
    opened: &Opened,
    name: String,
    options: &Options,
    Asked { kernel: side, as_json, left }: Asked<'_>,
) -> Judged {
    let unlinked = |name: String, error: LinkError| {
        let failure = opened.unlinked(&name, &error);
        Judged { name, program: Err((error, failure)), ours: None, witness: None, log: None, kernel: None }
    };
    let program = match opened.try_link(&name, &opened.link_options()) {
        Ok((program, _)) => program,
        Err(error) => return unlinked(name, error),
    };
    let mut log = None;
    let verified = if args.log {
        let mut steps = Steps::new(&program, args.log_limit, as_json);
        let verified = verify::verify_logged(program.clone(), options, &mut steps);
        log = steps.finish();
        verified
    } else {
        verify::verify(program.clone(), options)
    };
    let ours = verified
        .map(|verified| Proof { statistics: verified.statistics(), loops: verified.facts().loops.clone() });
    let witness = match &ours {
        Err(verify::Failure::Rejected(rejected)) if !args.no_witness => {
            let start = thread_time();
            let budget = Budget { time: Budget::default().time.min(*left), ..Budget::default() };
            let found = witness::find(&program, opened.object(), rejected, budget);
            *left = left.saturating_sub(thread_time() - start);
            found.map(|witness| {
                let command = command(&args.source, &name, &program, &witness);
                (witness, command)
            })
        }
        Ok(_) | Err(_) => None,
    };
    let kernel = match side {
        None => None,
        Some(Err(error)) => Some(Verdict::Unknown(Box::new(error.clone()))),
        Some(Ok(side)) => {
            let log = if args.log { LogLevel::Steps } else { LogLevel::Silent };
            match opened.try_link(&name, &opened.link_options_for_kernel()) {
                Ok((program, _)) => Some(Verdict::of(side.load(&program, log))),
                Err(error) => return unlinked(name, error),
            }
        }
    };
    Judged { name, program: Ok(program), ours: Some(ours), witness, log, kernel }
}

impl Judged {
    fn verdict(&self) -> Option<&'static str> {
        Some(match self.ours.as_ref()? {
            Ok(_) => "accepted",
            Err(verify::Failure::Rejected(_)) => "rejected",
            Err(_) => "unsupported",
        })
    }

    /// Whether both verifiers gave a verdict, and not the same.
    fn differs(&self) -> bool {
        match (&self.ours, &self.kernel) {
            (Some(Ok(_)), Some(Verdict::Rejected(_)))
            | (Some(Err(verify::Failure::Rejected(_))), Some(Verdict::Accepted { .. })) => true,
            (None | Some(_), None | Some(_)) => false,
        }
    }

    fn failure(&self) -> Option<Kind> {
        if let Err((_, failure)) = &self.program {
            return Some(failure.kind);
        }
        if self.differs() {
            return Some(Kind::Failure);
        }
        match (&self.ours, &self.kernel) {
            (Some(Err(verify::Failure::Rejected(_))), _) => Some(Kind::Rejected),
            (Some(Err(_)), _) | (_, Some(Verdict::Unknown(_))) => Some(Kind::Unsupported),
            (Some(Ok(_)) | None, None | Some(Verdict::Accepted { .. } | Verdict::Rejected(_))) => None,
        }
    }

    fn json(&self) -> Value {
        let program = match &self.program {
            Ok(program) => program,
            Err((error, failure)) => return self.unlinked_json(error, failure),
        };
        let insns = program.insns.len();
        let (stats, reason) = match self.ours.as_ref() {
            Some(Ok(Proof { statistics, loops })) => (
                json!({
                    "insns": insns,
                    "processed": statistics.processed,
                    "states": statistics.states,
                    "peak_states": statistics.peak_states,
                    "micros": statistics.micros,
                    "loops": loops.iter().map(|found| loop_json(program, found)).collect::<Vec<_>>(),
                }),
                Value::Null,
            ),
            Some(Err(verify::Failure::Rejected(rejected))) => {
                let mut reason = report::rejected_json(program, rejected);
                let witness = self.witness.as_ref();
                reason["witness"] =
                    json!(witness.map(|(witness, command)| report::witness_json(witness, command)));
                (json!({ "insns": insns }), reason)
            }
            Some(Err(verify::Failure::Unsupported { what, at })) => {
                let insn = at.and_then(|pc| program.insn_at(pc));
                let line = insn.and_then(|insn| program.line_of(insn));
                let reason = json!({
                    "code": "unsupported",
                    "message": what,
                    "insn": at.zip(insn).map(|(pc, insn)| {
                        json!({ "pc": pc.0, "text": crate::names::insn(program, insn) })
                    }),
                    "source": line.map(report::line_json),
                });
                (json!({ "insns": insns }), reason)
            }
            Some(Err(other)) => {
                (json!({ "insns": insns }), json!({ "code": "unsupported", "message": other.to_string() }))
            }
            None => (Value::Null, Value::Null),
        };
        let mut object = json!({
            "program": self.name,
            "type": program.prog_type.name(),
            "verdict": self.verdict(),
            "stats": stats,
            "reason": reason,
        });
        if let Some(log) = &self.log {
            object["log"] = log.clone();
        }
        if let Some(kernel) = &self.kernel {
            let message = match kernel {
                Verdict::Accepted { .. } => Value::Null,
                Verdict::Rejected(error) | Verdict::Unknown(error) => json!(error.to_string()),
            };
            object["kernel"] = json!({ "verdict": kernel.word(), "log": kernel.log(), "message": message });
            object["agree"] = json!(!self.differs());
        }
        object
    }

    /// A program with a malformed instruction is rejected; one that could not be linked has no verdict.
    fn unlinked_json(&self, error: &LinkError, failure: &Failure) -> Value {
        let (code, pc) = match error {
            LinkError::Decode(error) => ("malformed_insn", Some(error.at.0)),
            LinkError::NoSuchSlot { at, .. } => ("malformed_insn", Some(at.0)),
            LinkError::Empty => ("empty_program", None),
            _ => ("unlinked", None),
        };
        let rejected = source::is_malformed(error);
        let reason = json!({
            "code": code,
            "message": failure.message,
            "insn": pc.map(|pc| json!({ "pc": pc, "text": null })),
            "source": null,
            "registers": {},
            "help": failure.hint,
        });
        json!({
            "program": self.name,
            "type": null,
            "verdict": rejected.then_some("rejected"),
            "stats": null,
            "reason": reason,
            "error": if rejected { Value::Null } else { failure.json() },
        })
    }

    fn print(&self, log: bool) {
        let program = match &self.program {
            Ok(program) => program,
            Err((_, failure)) => {
                failure.print();
                if failure.kind == Kind::Rejected {
                    out!("{}: rejected: {}", self.name, failure.message);
                }
                return;
            }
        };
        let title = format!("{} ({})", self.name, program.prog_type);
        match &self.ours {
            Some(Ok(Proof { statistics, loops })) => {
                out!(
                    "{title}: accepted: {} instructions, {} walked, {} states, {} µs",
                    program.insns.len(),
                    statistics.processed,
                    statistics.states,
                    statistics.micros
                );
                for found in loops {
                    out!("{title}: {}", loop_text(program, found));
                }
            }
            Some(Err(verify::Failure::Rejected(rejected))) => {
                let witness = self.witness.as_ref().map(|(witness, command)| (witness, command.as_str()));
                say!("{}", report::rejected(program, rejected, witness));
                out!("{title}: rejected: {}", rejected.reason);
            }
            Some(Err(other)) => out!("{title}: {other}"),
            None => {}
        }
        let Some(kernel) = &self.kernel else { return };
        if log {
            say!("{}", kernel.log());
        }
        match kernel {
            Verdict::Accepted { .. } => out!("{title}: kernel: accepted"),
            Verdict::Rejected(error) => {
                if self.differs() {
                    say!("{}", report::refused(program, error));
                }
                let message = error.log.as_ref().map_or_else(|| error.to_string(), |log| log.message.clone());
                out!("{title}: kernel: rejected: {message}");
            }
            Verdict::Unknown(error) => out!("{title}: kernel: {}: {error}", kernel.word()),
        }
        if self.differs() {
            say!("error: {title}: the verdicts differ");
        }
    }
}

/// How a long loop ends, for people.
fn loop_text(program: &Program, found: &LoopFact) -> String {
    let pc = |at: InsnId| program.pcs[at.index()].0;
    let at = pc(found.at);
    match found.end {
        LoopEnd::Counter { step, turns } => {
            let insn = crate::names::insn(program, step);
            format!("the loop at pc {at} ends by proof: at most {turns} times `{insn}` at pc {}", pc(step))
        }
        LoopEnd::Fuel => format!("the loop at pc {at} has no known end: it burns fuel"),
    }
}

/// The same for programs.
fn loop_json(program: &Program, found: &LoopFact) -> Value {
    let pc = |at: InsnId| program.pcs[at.index()].0;
    match found.end {
        LoopEnd::Counter { step, turns } => {
            json!({ "pc": pc(found.at), "end": "counter", "step": pc(step), "turns": turns })
        }
        LoopEnd::Fuel => json!({ "pc": pc(found.at), "end": "fuel" }),
    }
}
