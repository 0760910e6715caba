//! Programs compiled ahead of time for both architectures, linked with the C runtime and a C harness: they give the
//! interpreter's results on the packets of the capture.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use beelift::engine::{Element, Input};
use beelift::{Choice, Engine, FixedEnvironment, Object};

use crate::examples::frames;

/// An architecture: how C is compiled for it and how its programs run here.
struct Machine {
    triple: &'static str,
    compiler: &'static [&'static str],
    runner: &'static [&'static str],
}

const X86_64: Machine = Machine { triple: "x86_64-unknown-linux-gnu", compiler: &["gcc"], runner: &["env"] };
/// Position-independent, as most systems link by default.
const X86_64_PIE: Machine = Machine { compiler: &["gcc", "-fPIE", "-pie"], ..X86_64 };
const AARCH64: Machine = Machine {
    triple: "aarch64-unknown-linux-gnu",
    compiler: &["aarch64-linux-gnu-gcc", "-static"],
    runner: &["qemu-aarch64"],
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Whether a tool starts; otherwise says that the test is skipped.
fn has(tool: &str, test: &str) -> bool {
    let found = Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_ok_and(|status| status.success()) {
        return true;
    }
    let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {tool} is not installed");
    false
}

fn beelift(args: &[&str]) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_beelift"));
    command.args(args).current_dir(root()).output().expect("the tool was built")
}

fn scratch(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("aot-{name}"));
    std::fs::create_dir_all(&path).expect("a folder of the build");
    path
}

/// What the harness should print for the packets of the capture.
fn expected(object: &str, name: &str) -> Vec<String> {
    let object = Object::parse(&std::fs::read(root().join(object)).expect("an object")).expect("parses");
    let engine = Engine::builder()
        .backend(Choice::Interpreter)
        .environment(std::sync::Arc::new(FixedEnvironment::default()))
        .deterministic(true)
        .build()
        .expect("an engine");
    let loaded = engine.load(&object).expect("loads");
    let program = loaded.program(name).expect("the program");
    let mut lines: Vec<String> = frames()
        .iter()
        .map(|input: &Input| {
            let record = program.run_input(input).expect("runs");
            format!("0 {} {}", record.value.expect("no trap"), hex(&record.packet))
        })
        .collect();
    let mut maps = Vec::new();
    for map in loaded.maps() {
        for (key, element) in map.elements().expect("a map with elements") {
            let value = match &element {
                Element::Value(value) => value,
                Element::PerCpu(values) => &values[0],
            };
            maps.push(format!("{} {} {}", map.def().name, hex(&key), hex(value)));
        }
    }
    maps.sort();
    lines.extend(maps);
    lines
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[track_caller]
fn run(command: &mut Command, input: &[u8]) -> String {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let feed = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("it ends");
    let _ = feed.join();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {} {stderr}", output.status);
    assert!(stderr.is_empty(), "{command:?}: {stderr}");
    String::from_utf8(output.stdout).expect("text")
}

/// Compiles, links and runs a program, and compares with the interpreter.
#[track_caller]
fn agrees(machine: &Machine, label: &str, object: &str, name: &str) {
    let test = format!("{name} ahead of time for {label}");
    if !has(machine.compiler[0], &test) || !has(machine.runner[0], &test) {
        return;
    }
    let folder = scratch(&format!("{label}-{name}"));
    let native = folder.join(format!("{name}.o"));
    let (native, directory) = (native.to_str().expect("text"), folder.to_str().expect("text"));
    let made =
        beelift(&["compile", object, "--target", machine.triple, "-o", native, "--runtime", directory]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let program = folder.join(name);
    let mut compiler = Command::new(machine.compiler[0]);
    compiler
        .args(&machine.compiler[1..])
        .args(["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-Wl,--fatal-warnings"])
        .arg(format!("-DPROGRAM={name}"))
        .arg(format!("-DHEADER=\"{name}.h\""))
        .arg("-I")
        .arg(&folder)
        .arg(root().join("tests/aot/harness.c"))
        .arg(folder.join("beelift.c"))
        .arg(native)
        .arg("-o")
        .arg(&program);
    run(&mut compiler, &[]);
    let mut packets = Vec::new();
    for frame in frames() {
        packets.extend_from_slice(&u32::try_from(frame.packet.len()).expect("short").to_le_bytes());
        packets.extend_from_slice(&frame.packet);
    }
    let mut runner = Command::new(machine.runner[0]);
    runner.args(&machine.runner[1..]).arg(&program);
    let printed = run(&mut runner, &packets);
    let (mut maps, mut lines): (Vec<&str>, Vec<&str>) =
        printed.lines().partition(|line| !line.starts_with("0 "));
    maps.sort_unstable();
    lines.extend(maps);
    let expected = expected(object, name);
    for (index, (got, wanted)) in lines.iter().zip(&expected).enumerate() {
        assert_eq!(got, wanted, "{test}: line {index}");
    }
    assert_eq!(lines.len(), expected.len(), "{test}");
}

const TALLY: &str = "tests/aot/tally.bpf.o";
const RATELIMIT: &str = "examples/ratelimit.bpf.o";

#[test]
fn x86_64_objects_give_the_interpreters_results() {
    agrees(&X86_64, "x86_64", TALLY, "tally");
    agrees(&X86_64, "x86_64", RATELIMIT, "ratelimit");
    agrees(&X86_64_PIE, "x86_64-pie", TALLY, "tally");
}

#[test]
fn aarch64_objects_give_the_interpreters_results() {
    if !cfg!(feature = "all-targets") && cfg!(not(target_arch = "aarch64")) {
        let _ = writeln!(std::io::stderr(), "SKIPPED: aarch64 ahead of time: built without `all-targets`");
        return;
    }
    agrees(&AARCH64, "aarch64", TALLY, "tally");
    agrees(&AARCH64, "aarch64", RATELIMIT, "ratelimit");
}

#[track_caller]
fn refuses(args: &[&str], status: i32, says: &str) {
    let output = scratch("refused").join("x.o");
    let output = output.to_str().expect("text");
    let outcome = beelift(&[&["compile", "-o", output], args].concat());
    let stderr = String::from_utf8_lossy(&outcome.stderr);
    assert_eq!(outcome.status.code(), Some(status), "{args:?}: {stderr}");
    assert!(stderr.contains(says), "{args:?}: no {says:?} in {stderr}");
}

#[test]
fn what_cannot_be_compiled_ahead_is_named() {
    refuses(&["examples/firewall.bpf.o"], 5, "lpm_trie");
    refuses(&["examples/flowmon.bpf.o"], 5, "ring");
    refuses(&[TALLY, "--target", "riscv64gc-unknown-linux-gnu"], 5, "riscv64");
    refuses(&[TALLY, "--target", "aarch64-apple-darwin"], 5, "aarch64-apple-darwin");
    refuses(&[TALLY, "--target", "nonsense"], 5, "nonsense");
    let x86 = ["--target", "x86_64-unknown-linux-gnu"];
    refuses(&[&[TALLY, "--cpu-feature", "has_lse"], x86.as_slice()].concat(), 5, "has_lse");
    refuses(&[&[TALLY, "--cpus", "0"], x86.as_slice()].concat(), 2, "CPU slots");
    refuses(&[&[TALLY, "-p", "nothing"], x86.as_slice()].concat(), 1, "nothing");
    // 4096 slots of a per-CPU array would be far out of reach.
    let large = scratch("large").join("large.s");
    let text = ".map big percpu_array key=4 value=4096 entries=1024\n\
                *(u32 *)(r10 -4) = 0\nr1 = map[big] ll\nr2 = r10\nr2 += -4\ncall 1\nif r0 == 0 goto +1\nr0 = *(u64 *)(r0 +0)\nexit\n";
    std::fs::write(&large, text).expect("a scratch file");
    let large = large.to_str().expect("text");
    refuses(&[&[large, "--type", "xdp", "--cpus", "4096"], x86.as_slice()].concat(), 1, "values of arrays");
    let redirect = scratch("redirect").join("redirect.s");
    std::fs::write(&redirect, "r1 = 1\nr2 = 0\ncall 23\nexit\n").expect("a scratch file");
    let redirect = redirect.to_str().expect("text");
    refuses(&[&[redirect, "--type", "xdp"], x86.as_slice()].concat(), 5, "bpf_redirect");
    let output = scratch("external").join("x.o");
    let output = output.to_str().expect("text");
    let made = beelift(
        &[
            &["compile", redirect, "--type", "xdp", "--external", "bpf_redirect", "-o", output],
            x86.as_slice(),
        ]
        .concat(),
    );
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let header = std::fs::read_to_string(Path::new(output).with_extension("h")).expect("a header");
    assert!(header.lines().any(|line| line.contains("beelift_bpf_redirect") && line.ends_with("yours")));
}
