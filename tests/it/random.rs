//! Random programs on every engine: verdicts against the kernel's, then results, packets and maps.
//!
//! `BEELIFT_RANDOM_CASES` sets how many programs are judged (default 400, in debug builds 80), `BEELIFT_RANDOM_SEED` the first seed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use beelift::engine::compare::Trial;
use beelift::engine::{Backend, Input};
use beelift::isa::{Callee, Const64, Insn};
use beelift::verify::{self, Failure, Options, Policy, Verified};
use beelift::{Engine, FixedEnvironment, Program};

use crate::generator;

pub(crate) fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// What happened to the programs so far.
#[derive(Default)]
pub(crate) struct Tally {
    /// How many programs are to be accepted.
    wanted: u64,
    accepted: u64,
    rejected: BTreeMap<String, u64>,
    /// We reject, the kernel accepts.
    precision: Vec<u64>,
    /// We accept, the kernel rejects, and why.
    beyond: Vec<(u64, String)>,
    /// Results depend on addresses.
    leaks: Vec<u64>,
    helpers: BTreeMap<u32, u64>,
    opcodes: BTreeMap<String, u64>,
    insns: u64,
}

impl Tally {
    /// Programs counted.
    #[cfg(feature = "all-targets")]
    pub(crate) const fn accepted(&self) -> u64 {
        self.accepted
    }
    pub(crate) fn count(&mut self, program: &Program) {
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

/// What the accepted programs were made of.
impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "helpers: {:?}\nopcodes: {:?}", self.helpers, self.opcodes)
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
        Insn::LegacyPacket { size, index, .. } => {
            format!("packet {} {size:?}", if index.is_some() { "ind" } else { "abs" })
        }
        other => format!("{other:?}"),
    }
}

pub(crate) fn program_of(case: &generator::Case) -> Program {
    let slots = beelift::isa::encode::encode(&case.insns, &mut beelift::isa::encode::Verbatim)
        .unwrap_or_else(|error| panic!("seed {}: {error:?}", case.seed))
        .slots;
    Program::from_slots(case.prog_type, &slots, Arc::from(case.maps.clone()))
        .unwrap_or_else(|error| panic!("seed {}: {error}", case.seed))
}

#[test]
fn every_engine_agrees_on_random_programs() {
    let cases = setting("BEELIFT_RANDOM_CASES", if cfg!(debug_assertions) { 80 } else { 400 });
    let first = setting("BEELIFT_RANDOM_SEED", 1);
    let start = Instant::now();
    let kernel = crate::require::kernel("random programs against the kernel");
    let mut tally = Tally { wanted: cases, ..Tally::default() };
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
    println!("accepted, but with addresses in results: {:?}", tally.leaks);
    println!("{tally}");
    assert!(share >= 50, "most generated programs should be accepted");
    assert!(tally.leaks.len() as u64 * 100 <= judged, "results depend on addresses: {:?}", tally.leaks);
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

/// What is wrong about a program that is accepted.
enum Finding {
    /// An engine did not run it to its end.
    Stopped(String),
    /// Two engines left different things behind.
    Differs(String),
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stopped(what) | Self::Differs(what) => f.write_str(what),
        }
    }
}

/// Runs a program that is accepted, once more with the proven facts asserted if so asked. What the kernel refuses to
/// load is no finding: its reason is given back.
fn compare(
    verified: &Verified,
    packets: &[Vec<u8>],
    backends: &[Backend],
    check_facts: bool,
) -> Result<Option<String>, Finding> {
    let inputs: Vec<Input> =
        packets.iter().map(|packet| Input { packet: packet.clone(), ..Input::default() }).collect();
    let trial = Trial {
        program: verified.program(),
        verified: Some(verified),
        object: None,
        inputs: &inputs,
        elements: &[],
        environment: FixedEnvironment::default(),
    };
    let mut comparisons = vec![trial.compare(backends, &Engine::builder)];
    if check_facts {
        // The kernel has shown what it does.
        let ours: Vec<Backend> =
            backends.iter().copied().filter(|&backend| backend != Backend::Kernel).collect();
        comparisons.push(trial.compare(&ours, &|| Engine::builder().check_facts(true)));
    }
    let mut refusal = None;
    for column in comparisons.iter().flat_map(|comparison| &comparison.columns) {
        let outcome = match &column.outcome {
            Ok(outcome) => outcome,
            Err(error) if column.backend == Backend::Kernel => {
                refusal = Some(error.to_string());
                continue;
            }
            Err(error) => return Err(Finding::Stopped(format!("{}: {error}", column.backend))),
        };
        for record in outcome.records.iter().flatten() {
            if let Err(trap) = &record.value {
                return Err(Finding::Stopped(format!("{} trapped: {trap}", column.backend)));
            }
        }
    }
    match comparisons.into_iter().find_map(|comparison| comparison.difference) {
        Some(difference) => Err(Finding::Differs(format!("{difference:#?}"))),
        None => Ok(refusal),
    }
}

fn judge(seed: u64, kernel: bool, tally: &mut Tally) {
    let case = generator::generate(seed);
    let program = program_of(&case);
    // The kernel wants types of programs that take the address of a function.
    let typed = |insn: &Insn| matches!(insn, Insn::Const { value: Const64::Function(_), .. });
    let kernel = kernel && !case.insns.iter().any(typed);
    let verified = match verify::verify(program.clone(), &Options::with_policy(Policy::KERNEL)) {
        Ok(verified) => verified,
        Err(Failure::Unsupported { what, .. }) => panic!("seed {seed}: unsupported: {what}"),
        Err(Failure::Rejected(rejected)) => {
            if kernel && kernel_verdict(&program).is_ok() {
                tally.precision.push(seed);
            }
            *tally.rejected.entry(rejected.reason.code().to_owned()).or_default() += 1;
            return;
        }
        Err(other) => panic!("seed {seed}: {other:?}"),
    };
    // Where the kernel's copy has constants in place of calls, its verdict is on another program.
    let in_kernel = if kernel && has_constants(&program) { kernel_verdict(&program) } else { Ok(()) };
    let mut backends = vec![Backend::Interpreter];
    if cfg!(feature = "jit") {
        backends.push(Backend::Jit);
    }
    if kernel && in_kernel.is_ok() {
        backends.push(Backend::Kernel);
    }
    // In long runs the facts of every fourth program: native code is made once more for that.
    let check_facts = tally.wanted <= 1_000 || seed.is_multiple_of(4);
    let result = compare(&verified, &case.packets, &backends, check_facts);
    // What we alone accept must be safe all the same: the interpreter and the assertions of facts judge it.
    let refusal = in_kernel.err().or_else(|| result.as_ref().ok().cloned().flatten());
    if let Some(why) = refusal {
        tally.beyond.push((seed, why));
    }
    if let Err(finding) = result {
        // Addresses differ between engines: a program that gives one away as a number is no case.
        let secret = Policy { allow_pointer_leaks: false, ..Policy::KERNEL };
        let secretive =
            |program: &Program| verify::verify(program.clone(), &Options::with_policy(secret)).is_ok();
        if matches!(finding, Finding::Differs(_)) && !secretive(&program) {
            tally.leaks.push(seed);
            return;
        }
        let differs = |insns: &[Insn]| {
            let program = program_of(&generator::Case { insns: insns.to_vec(), ..case.clone() });
            // Neither is what the stack held before.
            let policy = Policy { allow_uninitialised_stack: false, ..secret };
            let in_kernel = !backends.contains(&Backend::Kernel) || kernel_verdict(&program).is_ok();
            in_kernel
                && verify::verify(program, &Options::with_policy(policy))
                    .is_ok_and(|verified| compare(&verified, &case.packets, &backends, true).is_err())
        };
        let small = generator::shrink(&case.insns, &differs);
        let text: Vec<String> = small.iter().map(|insn| format!("{insn:?}")).collect();
        panic!("seed {seed}: {finding}\nin short:\n{}", text.join("\n"));
    }
    tally.count(&program);
}

#[cfg(feature = "kernel")]
fn kernel_verdict(program: &Program) -> Result<(), String> {
    use beelift::kernel::{self, KernelProgram, LoadOptions, MapSetOptions};
    let maps = kernel::create_maps(&program.maps, MapSetOptions::default()).expect("two small maps");
    KernelProgram::load(program, &maps, LoadOptions::default()).map(drop).map_err(|error| error.to_string())
}

/// Whether the kernel's copy of the program has constants in place of calls, for the comparison of engines.
#[cfg(feature = "kernel")]
fn has_constants(program: &Program) -> bool {
    use beelift::kernel::oracle;
    oracle::fixed_copy(program, &oracle::Fixed::of(&FixedEnvironment::default())).insns != program.insns
}

#[cfg(not(feature = "kernel"))]
fn has_constants(_program: &Program) -> bool {
    false
}

#[cfg(not(feature = "kernel"))]
fn kernel_verdict(_program: &Program) -> Result<(), String> {
    unreachable!("asked only when the kernel is there")
}
