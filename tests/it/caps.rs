//! What a proof may take is a limit, not a hope: programs made to exhaust time and memory end with a named error.
//!
//! Each program is verified in a process of its own, whose peak of memory is measured. Debug builds walk fewer
//! instructions; `BEELIFT_CAPS=1` walks as many as by default in any build.

use std::fmt::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use beelift::verify::{Failure, Limits, Options, Policy, Reason, verify};
use beelift::{Program, ProgramType};

/// Memory beside what the limit counts: tables by instruction, rejection, allocator.
const BESIDE: u64 = 48 << 20;
/// More time than the slowest program takes on a machine that does other things too.
const TIME: Duration = Duration::from_secs(120);

const NUMBERS: &str = "r6 = *(u32 *)(r1 +12)\nr7 = *(u32 *)(r1 +16)\n";
const END: &str = "r0 = 0\nexit\n";

/// Name and source.
fn programs() -> Vec<(&'static str, String)> {
    let lines = |count: usize, line: &dyn Fn(usize) -> String| (0..count).map(line).collect::<String>();
    let slots = |source: &str| lines(64, &|slot| format!("*(u64 *)(r10 -{}) = {source}\n", 8 * (slot + 1)));
    vec![
        // Paths that differ in a number that a later access relies on.
        ("choices", {
            let choose = |bit: usize| {
                let value = 1 << bit;
                format!("r8 = r6\nr8 &= {value}\nif r8 == 0 goto n{bit}\nr9 += {value}\nn{bit}: r7 += 1\n")
            };
            let access = "r9 &= 255\nr9 = -r9\nr8 = r10\nr8 += r9\n*(u8 *)(r8 -1) = 1\n";
            format!("{NUMBERS}r9 = 0\n{}{}{access}{END}", lines(24, &choose), "r7 += r9\n".repeat(50))
        }),
        ("diamonds", {
            let diamond = |at: usize| format!("if r6 > {at} goto l{at}\nr7 += 1\nl{at}: r7 ^= {at}\n");
            format!("{NUMBERS}{}{END}", lines(20_000, &diamond))
        }),
        // Every turn of every loop is another state with a full stack.
        ("nested loops over a full stack", {
            let stack = slots("r7");
            format!(
                "{NUMBERS}{stack}r8 = 0\nouter: r9 = 0\ninner: r9 += 1\n*(u64 *)(r10 -8) = r9\n*(u64 *)(r10 -256) = r9\n\
                 *(u64 *)(r10 -512) = r8\nif r9 < 1000 goto inner\nr8 += 1\nif r8 < 1000 goto outer\n{END}"
            )
        }),
        // Stacks of all frames change in every turn, through pointers.
        ("a loop over the stacks of all frames", {
            let mut source = format!("{NUMBERS}r1 = r10\ncall f1\n{END}");
            for frame in 1..8 {
                let stack = lines(4, &|slot| format!("*(u64 *)(r10 -{}) = r1\n", 8 * (slot + 1)));
                let next = frame + 1;
                let rest = if frame == 7 {
                    let write = |_: usize| "*(u64 *)(r2 -32) = r9\nr2 = *(u64 *)(r2 -8)\n".to_owned();
                    format!(
                        "r9 = 0\nagain: r2 = r10\n{}r9 += 1\nif r9 < 100000 goto again\n",
                        lines(7, &write)
                    )
                } else {
                    format!("r1 = r10\ncall f{next}\n")
                };
                let _ = write!(source, "f{frame}: {stack}{rest}{END}");
            }
            source
        }),
        // One comparison tells of a number in every slot.
        ("linked numbers in every slot", {
            let compare =
                |at: usize| format!("if r6 > {} goto l{at}\nr7 += 1\nl{at}: r7 ^= 1\n", 1 << 30 | at);
            format!("{NUMBERS}{}{}{END}", slots("r6"), lines(20_000, &compare))
        }),
        // What the value of the loop's counter comes from lies far back, below calls.
        ("precision through calls", {
            "r6 = 0\n*(u64 *)(r10 -8) = 0\nagain: r1 = r10\nr1 += -8\ncall add\nr1 = *(u64 *)(r10 -8)\nr2 = r1\nr2 &= 63\n\
             r3 = r10\nr3 += r2\n*(u8 *)(r3 -128) = 1\nr6 += 1\nif r6 < 1000000 goto again\nr0 = 0\nexit\n\
             add: r2 = *(u64 *)(r1 +0)\nr2 += 1\n*(u64 *)(r1 +0) = r2\nr0 = 0\nexit\n"
                .to_owned()
        }),
        // Liveness flows against the order of the program.
        ("a chain of backward jumps", {
            let count = 30_000;
            let block = |at: usize| format!("b{at}: r7 += r6\ngoto b{}\n", at + 1);
            let blocks: String = (1..count).rev().map(block).collect();
            format!("{NUMBERS}goto b1\nb{count}: {END}{blocks}")
        }),
        // Many blocks, each with many numbers on the stack.
        ("a wide stack in many blocks", {
            let bytes = lines(512, &|at| format!("*(u8 *)(r10 -{}) = r7\n", at + 1));
            let block = |at: usize| format!("if r6 == {at} goto l{at}\nl{at}: r7 += 1\n");
            format!("{NUMBERS}{bytes}{}{END}", lines(30_000, &block))
        }),
        ("callbacks in callbacks", {
            let mut source = NUMBERS.to_owned();
            for depth in 0..4 {
                let _ = write!(
                    source,
                    "r1 = 1000\nr2 = func f{depth} ll\nr3 = r10\nr4 = 0\ncall bpf_loop\nr0 = 0\nexit\nf{depth}: r6 = r2\n"
                );
            }
            source + "r8 = *(u64 *)(r6 -8)\nr0 = 0\nexit\n"
        }),
        ("a straight line", {
            format!("{NUMBERS}{}{END}", lines(200_000, &|at| format!("r{} += r{}\n", 6 + at % 2, 7 - at % 2)))
        }),
    ]
}

fn full() -> bool {
    !cfg!(debug_assertions) || std::env::var_os("BEELIFT_CAPS").is_some()
}

fn limits() -> Limits {
    let all = Limits::default();
    if full() { all } else { Limits { processed: 60_000, memory: 8 << 20, ..all } }
}

fn number(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = text.lines().find(|line| line.starts_with(name)).expect("a known field");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number of KiB") << 10
}

/// One program, in the process that `verify_alone` starts.
#[test]
#[ignore = "run by the test of caps, once for each program"]
fn one_program() {
    let Ok(name) = std::env::var("BEELIFT_CAPS_PROGRAM") else { return };
    let (_, source) = programs().into_iter().find(|(known, _)| *known == name).expect("a known program");
    let helpers = |name: &str| beelift::runtime::helper::by_name(name).map(|helper| helper.id);
    let program = Program::assemble(ProgramType::Xdp, &source, helpers).expect("a program");
    drop(source);
    std::fs::write("/proc/self/clear_refs", "5").expect("Linux");
    let before = number("VmRSS:");
    let start = Instant::now();
    let options = Options { limits: limits(), ..Options::with_policy(Policy::KERNEL) };
    let verdict = match verify(program, &options) {
        Ok(verified) => format!("accepted after {}", verified.statistics().processed),
        Err(Failure::Rejected(rejected)) => match rejected.reason {
            Reason::TooComplex { .. } | Reason::TooManyBranches { .. } | Reason::TooMuchMemory { .. } => {
                rejected.reason.code().to_owned()
            }
            other => format!("unexpected: {other}"),
        },
        Err(other) => format!("unexpected: {other}"),
    };
    let grown = number("VmHWM:").saturating_sub(before);
    println!("RESULT {} {grown} {verdict}", start.elapsed().as_millis());
}

#[test]
fn limits_are_kept() {
    if std::env::var_os("BEELIFT_EMULATED").is_some() {
        crate::require::skip("limits of memory: an emulator takes its own");
        return;
    }
    let mut failures = Vec::new();
    for (name, _) in programs() {
        let output = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "caps::one_program", "--ignored", "--nocapture"])
            .env("BEELIFT_CAPS_PROGRAM", name)
            .output()
            .expect("this test runs");
        let text = String::from_utf8_lossy(&output.stdout);
        let Some(result) = text.lines().find_map(|line| line.split("RESULT ").nth(1)) else {
            failures.push(format!("{name}: {text}{}", String::from_utf8_lossy(&output.stderr)));
            continue;
        };
        let mut words = result.splitn(3, ' ');
        let mut next = || words.next().expect("three words");
        let (millis, bytes): (u64, u64) =
            (next().parse().expect("a number"), next().parse().expect("a number"));
        let verdict = next();
        eprintln!("{name:40} {millis:6} ms {:7} KiB {verdict}", bytes >> 10);
        if verdict.starts_with("unexpected") || Duration::from_millis(millis) > TIME {
            failures.push(format!("{name}: {verdict} after {millis} ms"));
        }
        let most = limits().memory + BESIDE;
        if bytes > most {
            failures.push(format!("{name}: {bytes} bytes are more than {most}"));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn time_is_limited() {
    let (_, source) = programs().swap_remove(2);
    let program = Program::assemble(ProgramType::Xdp, &source, |_| None).expect("a program");
    let limits = Limits { time: Duration::ZERO, ..Limits::default() };
    let failure = verify(program, &Options { limits, ..Options::default() }).expect_err("no time");
    let Failure::Rejected(rejected) = failure else { panic!("{failure}") };
    assert_eq!(rejected.reason.code(), "too_much_time");
}
