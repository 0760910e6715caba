//! Random programs on every engine: verdicts against the kernel's, then results, packets and maps.
//!
//! `BEELIFT_RANDOM_CASES` sets how many programs are judged (default 400, in debug builds 80), `BEELIFT_RANDOM_SEED` the first seed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use beelift::engine::compare::Trial;
use beelift::engine::{Backend, Input};
use beelift::isa::{Callee, Const64, Insn};
use beelift::verify::{self, Failure, Options, Policy};
use beelift::{Engine, FixedEnvironment, Program, ProgramType};

use crate::generator;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// What happened to the programs so far.
#[derive(Default)]
struct Tally {
    accepted: u64,
    rejected: BTreeMap<String, u64>,
    /// We reject, the kernel accepts.
    precision: Vec<u64>,
    /// We accept, the kernel rejects, and why.
    beyond: Vec<(u64, String)>,
    helpers: BTreeMap<u32, u64>,
    opcodes: BTreeMap<String, u64>,
    insns: u64,
}

impl Tally {
    fn count(&mut self, program: &Program) {
        self.accepted += 1;
        self.insns += program.insns.len() as u64;
        for insn in &program.insns {
            if let Insn::Call(Callee::Helper(id)) = insn {
                *self.helpers.entry(*id).or_default() += 1;
            }
            *self.opcodes.entry(kind_of(insn)).or_default() += 1;
        }
    }
}

/// The operation without its operands.
fn kind_of(insn: &Insn) -> String {
    match insn {
        Insn::Alu { op, width, .. } => format!("{op:?} {width:?}"),
        Insn::Branch { op, width, .. } => format!("if {op:?} {width:?}"),
        Insn::Load { size, sign, .. } => format!("load {size:?} {sign:?}"),
        Insn::Store { size, .. } => format!("store {size:?}"),
        Insn::Atomic { op, fetch, width, .. } => format!("atomic {op:?} {width:?} fetch {fetch}"),
        Insn::Swap { order, size, .. } => format!("swap {order:?} {size:?}"),
        Insn::Call(_) => "call".to_owned(),
        Insn::Const { .. } => "lddw".to_owned(),
        Insn::Jump { .. } => "goto".to_owned(),
        Insn::Exit => "exit".to_owned(),
        Insn::LoadAcquire { size, .. } => format!("load acquire {size:?}"),
        Insn::StoreRelease { size, .. } => format!("store release {size:?}"),
        Insn::MayGoto { .. } => "may_goto".to_owned(),
        other => format!("{other:?}"),
    }
}

fn program_of(case: &generator::Case) -> Program {
    let slots = beelift::isa::encode::encode(&case.insns, &mut beelift::isa::encode::Verbatim)
        .unwrap_or_else(|error| panic!("seed {}: {error:?}", case.seed))
        .slots;
    Program::from_slots(ProgramType::Xdp, &slots, Arc::from(case.maps.clone()))
        .unwrap_or_else(|error| panic!("seed {}: {error}", case.seed))
}

#[test]
fn every_engine_agrees_on_random_programs() {
    let cases = setting("BEELIFT_RANDOM_CASES", if cfg!(debug_assertions) { 80 } else { 400 });
    let first = setting("BEELIFT_RANDOM_SEED", 1);
    let start = Instant::now();
    let kernel = crate::require::kernel("random programs against the kernel");
    let mut tally = Tally::default();
    let mut seed = first;
    while tally.accepted < cases {
        judge(seed, kernel, &mut tally);
        seed += 1;
    }
    let judged = seed - first;
    let share = tally.accepted * 100 / judged;
    println!(
        "seeds {first}..{seed}: {} accepted of {judged} ({share}%), {} insns, {:?}",
        tally.accepted,
        tally.insns,
        start.elapsed()
    );
    println!("rejected: {:?}", tally.rejected);
    println!("rejected by us alone: {:?}", tally.precision);
    println!("accepted by us alone: {:#?}", tally.beyond);
    println!("helpers: {:?}", tally.helpers);
    println!("opcodes: {:?}", tally.opcodes);
    assert!(share >= 50, "most generated programs should be accepted");
    assert!(
        tally.beyond.len() as u64 * 100 <= judged,
        "more than one in a hundred is accepted by us alone: {:#?}",
        tally.beyond
    );
    assert!(
        tally.precision.len() as u64 * 100 <= judged,
        "more than one in a hundred is rejected by us alone: {:?}",
        tally.precision
    );
}

fn judge(seed: u64, kernel: bool, tally: &mut Tally) {
    let case = generator::generate(seed);
    let program = program_of(&case);
    // The kernel wants types of programs that take the address of a function.
    let typed = |insn: &Insn| matches!(insn, Insn::Const { value: Const64::Function(_), .. });
    let kernel = kernel && !case.insns.iter().any(typed);
    let options = Options::with_policy(Policy::KERNEL);
    let verdict = verify::verify(program.clone(), &options);
    let in_kernel = kernel.then(|| kernel_verdict(&program));
    match verdict {
        Ok(_) => {}
        Err(Failure::Unsupported { what, .. }) => panic!("seed {seed}: unsupported: {what}"),
        Err(Failure::Rejected(rejected)) => {
            if in_kernel == Some(Ok(())) {
                tally.precision.push(seed);
            }
            *tally.rejected.entry(rejected.reason.code().to_owned()).or_default() += 1;
            return;
        }
        Err(other) => panic!("seed {seed}: {other:?}"),
    }
    // What we alone accept must be safe all the same: the interpreter and the assertions of facts judge it.
    let beyond = matches!(in_kernel, Some(Err(_)));
    if let Some(Err(why)) = in_kernel {
        tally.beyond.push((seed, why));
    }
    let inputs = [Input { packet: case.packet.clone(), ..Input::default() }];
    let trial = Trial {
        program: &program,
        object: None,
        inputs: &inputs,
        elements: &[],
        environment: FixedEnvironment::default(),
    };
    let mut backends = vec![Backend::Interpreter];
    if cfg!(feature = "jit") {
        backends.push(Backend::Jit);
    }
    if kernel && !beyond {
        backends.push(Backend::Kernel);
    }
    for check_facts in [false, true] {
        let comparison = trial.compare(&backends, &|| {
            Engine::builder().verify(Options::with_policy(Policy::KERNEL)).check_facts(check_facts)
        });
        for column in &comparison.columns {
            if let Err(error) = &column.outcome {
                panic!("seed {seed}: {}: {error}", column.backend);
            }
            if let Ok(outcome) = &column.outcome
                && let Ok(record) = &outcome.records[0]
                && let Err(trap) = &record.value
            {
                panic!("seed {seed}: {} trapped: {trap}", column.backend);
            }
        }
        if !comparison.agrees() {
            let differs = |insns: &[Insn]| {
                let case = generator::Case { insns: insns.to_vec(), ..case.clone() };
                let program = program_of(&case);
                // What the stack held before is not a finding.
                let policy = Policy { allow_uninitialised_stack: false, ..Policy::KERNEL };
                if verify::verify(program.clone(), &Options::with_policy(policy)).is_err() {
                    return false;
                }
                let environment = FixedEnvironment::default();
                let trial =
                    Trial { program: &program, object: None, inputs: &inputs, elements: &[], environment };
                let builder = || {
                    Engine::builder().verify(Options::with_policy(Policy::KERNEL)).check_facts(check_facts)
                };
                let comparison = trial.compare(&backends, &builder);
                comparison.columns.iter().all(|column| column.outcome.is_ok()) && !comparison.agrees()
            };
            let small = generator::shrink(&case.insns, &differs);
            let text: Vec<String> = small.iter().map(|insn| format!("{insn:?}")).collect();
            panic!("seed {seed}: {:#?}\nin short:\n{}", comparison.difference, text.join("\n"));
        }
    }
    tally.count(&program);
}

#[cfg(feature = "kernel")]
fn kernel_verdict(program: &Program) -> Result<(), String> {
    use beelift::kernel::{self, KernelProgram, LoadOptions, MapSetOptions};
    let maps = kernel::create_maps(&program.maps, MapSetOptions::default()).expect("two small maps");
    KernelProgram::load(program, &maps, LoadOptions::default()).map(drop).map_err(|error| error.to_string())
}

#[cfg(not(feature = "kernel"))]
fn kernel_accepts(_program: &Program) -> bool {
    unreachable!("asked only when the kernel is there")
}
