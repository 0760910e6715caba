//! Random programs on every engine: verdicts against the kernel's, then results, packets and maps.
//!
//! `BEELIFT_RANDOM_CASES` sets how many programs of each family are accepted at least (default 60, in debug builds 12), `BEELIFT_RANDOM_SEED`
//! the first seed, `BEELIFT_RANDOM_FAMILY` the families (all, or names with commas between), `BEELIFT_RANDOM_SECONDS`
//! when to stop earlier; with `BEELIFT_RANDOM_SHOW` they and their verdicts are printed. What is found is collected and printed with family and seed.

mod bench;
#[cfg(feature = "kernel")]
mod cause;
#[cfg(feature = "kernel")]
mod oracle;
#[cfg(feature = "kernel")]
mod refusal;
mod tally;
mod watch;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use beelift::Program;
use beelift::isa::Insn;
use beelift::verify::{self, Failure, Options, Policy, Verified};

use crate::generator::{self, Case, Family, Rng};
use bench::{Bench, Outcome};
pub(crate) use tally::Tally;

/// Inputs for a program that only we accept.
const MANY: u32 = 64;
/// In long runs, facts are asserted in native code for one in so many.
const ASSERTED: u64 = 8;
/// What takes longer is told.
const SLOW: Duration = Duration::from_millis(500);
/// Findings that are cut down to what it takes to show them.
const SHRUNK: usize = 20;

pub(crate) fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn families() -> Vec<Family> {
    let Ok(names) = std::env::var("BEELIFT_RANDOM_FAMILY") else { return Family::ALL.to_vec() };
    let by_name = |name: &str| Family::by_name(name).unwrap_or_else(|| panic!("no family {name}"));
    names.split(',').map(by_name).collect()
}

#[test]
fn every_engine_agrees_on_random_programs() {
    let cases = setting("BEELIFT_RANDOM_CASES", if cfg!(debug_assertions) { 12 } else { 60 });
    let first = setting("BEELIFT_RANDOM_SEED", 1);
    let deadline = Duration::from_secs(setting("BEELIFT_RANDOM_SECONDS", u64::from(u32::MAX)));
    let families = families();
    let start = Instant::now();
    let kernel = crate::require::kernel("random programs against the kernel");
    let shows = setting("BEELIFT_RANDOM_SHOW", 0) != 0;
    let (bench, long) = (Bench::new(kernel), cases > 1_000);
    let mut judge = Judge { bench, kernel, long, shows, tally: Tally::default() };
    let mut seed = first;
    let mut told = Instant::now();
    let wants_more = |tally: &Tally, family: &Family| {
        tally.families.get(family.name()).is_none_or(|share| share.accepted < cases)
    };
    while start.elapsed() < deadline {
        let wanting: Vec<Family> =
            families.iter().copied().filter(|family| wants_more(&judge.tally, family)).collect();
        if wanting.is_empty() {
            break;
        }
        for family in wanting {
            judge.program(family, seed);
        }
        seed += 1;
        if !judge.long && !judge.tally.findings.is_empty() {
            break;
        }
        if judge.long && told.elapsed() > Duration::from_secs(60) {
            told = Instant::now();
            println!("== seeds {first}..{seed}, {:?}\n{}", start.elapsed(), judge.tally);
        }
    }
    let tally = judge.tally;
    println!("seeds {first}..{seed}, {:?}\n{tally}", start.elapsed());
    assert!(tally.findings.is_empty(), "{} findings, see above", tally.findings.len());
    let judged = tally.judged().max(1);
    for (family, share) in &tally.families {
        assert!(
            share.judged < 20 || share.accepted * 2 >= share.judged,
            "at least half of the programs of {family} should be accepted"
        );
    }
    let few = |count: usize| count as u64 * 50 <= judged.max(100);
    let lone: usize = tally.precision.values().map(Vec::len).sum();
    let beyond: usize = tally.beyond.values().map(Vec::len).sum();
    assert!(few(tally.leaks.len()), "results depend on addresses: {:?}", tally.leaks);
    assert!(few(beyond), "more than one in fifty is accepted by us alone: {:#?}", tally.beyond);
    assert!(few(lone), "more than one in fifty is rejected by us alone: {:?}", tally.precision);
}

/// Everything that judging takes.
struct Judge {
    bench: Bench,
    kernel: bool,
    long: bool,
    /// Whether programs and verdicts are printed.
    shows: bool,
    tally: Tally,
}

impl Judge {
    /// Makes and judges a program; a panic is a finding, too.
    fn program(&mut self, family: Family, seed: u64) {
        let start = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| self.judge(family, seed)));
        if let Err(panic) = outcome {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            self.found(family, seed, format!("panic: {}", text.unwrap_or_default()));
            // What the panic left half done serves nobody.
            self.bench = Bench::new(self.kernel);
        }
        let share = self.tally.families.entry(family.name()).or_default();
        share.judged += 1;
        share.nanoseconds += start.elapsed().as_nanos() as u64; // far below 2^64
        if start.elapsed() > SLOW {
            let milliseconds = start.elapsed().as_millis() as u64; // as above
            self.tally.slow.push(((family.name(), seed), milliseconds));
        }
    }

    fn found(&mut self, family: Family, seed: u64, what: String) {
        println!("FOUND {} {seed}: {what}", family.name());
        self.tally.findings.push(((family.name(), seed), what));
    }

    fn judge(&mut self, family: Family, seed: u64) {
        let case = generator::generate_of(family, seed);
        let program = case.program();
        let ours = verify::verify(program.clone(), &Options::with_policy(Policy::KERNEL));
        let place = (family.name(), seed);
        #[cfg(feature = "kernel")]
        let theirs = self.kernel.then(|| self.bench.trial(&case).kernel(&program));
        #[cfg(not(feature = "kernel"))]
        let theirs: Option<Result<(), String>> = None;
        if self.shows {
            println!("{} {seed}\n{}ours: {:?}", family.name(), listing(&program), ours.as_ref().err());
            #[cfg(feature = "kernel")]
            if let Some(theirs) = &theirs {
                let log =
                    |refusal: &beelift::kernel::OsError| refusal.log.as_ref().map(|log| log.text.clone());
                println!("the kernel's: {:?}", theirs.as_ref().err().map(|refusal| log(refusal)));
                if ours.is_ok() != theirs.is_ok() {
                    let small = self.disagreement(&case, ours.is_ok());
                    println!("in short:\n{}", listing(&case.with(&small).program()));
                }
            }
        }
        let verified = match ours {
            Ok(verified) => verified,
            Err(Failure::Unsupported { what, .. }) => {
                *self.tally.unsupported.entry(what).or_default() += 1;
                return;
            }
            Err(Failure::Rejected(rejected)) => {
                let code = rejected.reason.code();
                match theirs {
                    Some(Ok(_)) => self.tally.precision.entry(code).or_default().push(place),
                    Some(Err(refusal)) => {
                        #[cfg(feature = "kernel")]
                        let class = refusal::class_of(&refusal);
                        #[cfg(not(feature = "kernel"))]
                        let class = refusal;
                        *self.tally.rejected.entry((code, class)).or_default() += 1;
                    }
                    None => *self.tally.rejected.entry((code, "not asked".to_owned())).or_default() += 1,
                }
                return;
            }
            Err(other) => return self.found(family, seed, format!("{other:?}")),
        };
        self.tally.count(family.name(), &program);
        #[cfg(feature = "kernel")]
        if let Some(Err(refusal)) = &theirs {
            let class = refusal::class_of(refusal);
            let why = refusal.log.as_ref().map_or_else(|| refusal.to_string(), |log| log.message.clone());
            let cause = if cause::is_cause(&class) {
                class
            } else {
                cause::cause_of(&self.disagreement(&case, true), &class)
            };
            self.tally.beyond.entry(cause).or_default().push((place, why));
            if let Err(what) = self.prove(&case, &verified) {
                self.found(family, seed, format!("accepted by us alone: {what}\n{}", listing(&program)));
            }
            return;
        }
        #[cfg(feature = "kernel")]
        let in_kernel = theirs.as_ref().and_then(|theirs| theirs.as_ref().ok());
        let asserts = !self.long || seed.is_multiple_of(ASSERTED);
        let trial = self.bench.trial(&case);
        let result = compare(
            &trial,
            &case,
            &verified,
            asserts,
            #[cfg(feature = "kernel")]
            in_kernel,
        );
        self.tally.native += u64::from(cfg!(feature = "jit"));
        self.tally.asserted += u64::from(cfg!(feature = "jit") && asserts);
        #[cfg(feature = "kernel")]
        {
            self.tally.in_kernel += u64::from(in_kernel.is_some());
        }
        match result {
            Ok(()) => {}
            // Addresses differ between engines: a program that gives one away as a number is no case.
            Err(Finding::Differs(what)) if !secretive(&program) => self.tally.leaks.push((place, what)),
            Err(finding) => {
                let small = if self.tally.findings.len() < SHRUNK { self.shrunk(&case) } else { Vec::new() };
                let text: Vec<String> = small.iter().map(|insn| format!("  {insn:?}")).collect();
                self.found(family, seed, format!("{finding}\nin short:\n{}", text.join("\n")));
            }
        }
    }

    /// Runs a program that only we accept over many inputs and map contents: all checks of the interpreter, its rules
    /// for programs without a proof, and every fact must hold.
    #[cfg(feature = "kernel")]
    fn prove(&mut self, case: &Case, verified: &Verified) -> Result<(), String> {
        let mut rng = Rng::new(case.seed ^ 0x000b_e407);
        let trial = self.bench.trial(case);
        for variant in 0..u64::from(MANY / 8) {
            let inputs: Vec<_> = (0..8).map(|_| generator::input(case.prog_type, &mut rng)).collect();
            let checked = trial.interpreted(verified, &inputs, variant, true)?;
            if let Some(trap) = checked.trap() {
                return Err(trap.to_owned());
            }
            #[cfg(feature = "jit")]
            {
                let native =
                    trial.native(verified, &inputs, variant, true).map_err(|error| error.to_string())?;
                if let Some(trap) = native.trap() {
                    return Err(format!("native code: {trap}"));
                }
                if native != checked && secretive(verified.program()) {
                    return Err(format!("native code: {}", checked.difference(&native)));
                }
            }
        }
        Ok(())
    }

    /// The program without what a difference of verdicts does not need.
    #[cfg(feature = "kernel")]
    fn disagreement(&mut self, case: &Case, accepted: bool) -> Vec<Insn> {
        let bench = std::cell::RefCell::new(&mut self.bench);
        let verdicts = |insns: &[Insn]| {
            let case = case.with(insns);
            let program = case.program();
            let ours = match verify::verify(program.clone(), &Options::with_policy(Policy::KERNEL)) {
                Err(Failure::Rejected(rejected)) => Some(rejected.reason.code()),
                _ => None,
            };
            let theirs = bench.borrow_mut().trial(&case).kernel(&program).err();
            (ours, theirs.map(|refusal| refusal::class_of(&refusal)))
        };
        let wanted = verdicts(&case.insns);
        generator::shrink(&case.insns, &|insns: &[Insn]| {
            let found = verdicts(insns);
            found == wanted && found.0.is_none() == accepted
        })
    }

    /// The program without what its finding does not need.
    fn shrunk(&mut self, case: &Case) -> Vec<Insn> {
        let bench = std::cell::RefCell::new(&mut self.bench);
        let kernel = self.kernel;
        generator::shrink(&case.insns, &|insns: &[Insn]| {
            let case = case.with(insns);
            let program = case.program();
            if !secretive(&program) {
                return false;
            }
            let Ok(verified) = verify::verify(program.clone(), &Options::with_policy(Policy::KERNEL)) else {
                return false;
            };
            let mut bench = bench.borrow_mut();
            let trial = bench.trial(&case);
            #[cfg(feature = "kernel")]
            let theirs = kernel.then(|| trial.kernel(&program));
            #[cfg(feature = "kernel")]
            if matches!(theirs, Some(Err(_))) {
                return false;
            }
            #[cfg(not(feature = "kernel"))]
            let _ = kernel;
            compare(
                &trial,
                &case,
                &verified,
                true,
                #[cfg(feature = "kernel")]
                theirs.as_ref().and_then(|theirs| theirs.as_ref().ok()),
            )
            .is_err()
        })
    }
}

/// Whether results depend neither on addresses nor on what the stack held before.
fn secretive(program: &Program) -> bool {
    let policy = Policy { allow_pointer_leaks: false, allow_uninitialised_stack: false, ..Policy::KERNEL };
    verify::verify(program.clone(), &Options::with_policy(policy)).is_ok()
}

/// What is wrong about a program that is accepted.
enum Finding {
    /// An engine did not run it to its end, or a fact did not hold.
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

/// Runs an accepted program on all engines; in native code once more with the proven facts asserted, if so asked.
fn compare(
    trial: &bench::Trial<'_>,
    case: &Case,
    verified: &Verified,
    asserts: bool,
    #[cfg(feature = "kernel")] in_kernel: Option<&oracle::Judged>,
) -> Result<(), Finding> {
    let ended = |engine: &str, outcome: Outcome| match outcome.trap() {
        Some(trap) => Err(Finding::Stopped(format!("{engine}: {trap}"))),
        None => Ok(outcome),
    };
    let same = |engines: &str, one: &Outcome, two: &Outcome| {
        if one == two {
            return Ok(());
        }
        Err(Finding::Differs(format!("{engines}: {}", one.difference(two))))
    };
    let checked = trial.interpreted(verified, &case.inputs, 0, false).map_err(Finding::Stopped)?;
    let checked = ended("interpreter", checked)?;
    #[cfg(feature = "jit")]
    for asserting in [false, true] {
        if asserting && !asserts {
            continue;
        }
        let native = trial.native(verified, &case.inputs, 0, asserting);
        let native = native.map_err(|error| Finding::Stopped(format!("native code: {error}")))?;
        let native = ended("native code", native)?;
        same("interpreter and native code", &checked, &native)?;
    }
    #[cfg(not(feature = "jit"))]
    let _ = asserts;
    #[cfg(feature = "kernel")]
    if let Some(judged) = in_kernel {
        let kernel = ended("kernel", trial.in_kernel(judged))?;
        same("interpreter and kernel", &checked.half(), &kernel)?;
    }
    Ok(())
}

fn listing(program: &Program) -> String {
    beelift::isa::text::listing(&program.insns, &program.pcs, &beelift::isa::text::Numbers)
}
