//! Programs compiled ahead of time for both architectures, linked with the C runtime and a C harness: they give the
//! interpreter's and the kernel's results on the packets of the capture.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use beelift::engine::{Content, Element, Fill, Input};
use beelift::{Choice, Engine, FixedEnvironment, Object};

use crate::examples::{elements, frames};

/// An architecture: how C is compiled for it and how its programs run here.
pub(crate) struct Machine {
    pub(crate) triple: &'static str,
    pub(crate) compiler: &'static [&'static str],
    pub(crate) runner: &'static [&'static str],
}

const X86_64: Machine = Machine { triple: "x86_64-unknown-linux-gnu", compiler: &["gcc"], runner: &["env"] };
/// Position-independent, as most systems link by default.
const X86_64_PIE: Machine = Machine { compiler: &["gcc", "-fPIE", "-pie"], ..X86_64 };
pub(crate) const AARCH64: Machine = Machine {
    triple: "aarch64-unknown-linux-gnu",
    compiler: &["aarch64-linux-gnu-gcc", "-static"],
    runner: &["qemu-aarch64"],
};

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Whether a tool starts; otherwise says that the test is skipped.
pub(crate) fn has(tool: &str, test: &str) -> bool {
    let found = Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_ok_and(|status| status.success()) {
        return true;
    }
    crate::require::skip(&format!("{test}: {tool} is not installed"));
    false
}

fn beelift(args: &[&str]) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_beelift"));
    command.args(args).current_dir(root()).output().expect("the tool was built")
}

pub(crate) fn scratch(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("aot-{name}"));
    std::fs::create_dir_all(&path).expect("a folder of the build");
    path
}

/// What is put into maps before the packets: the rules of the examples, and where the balancer sends to.
fn rules(name: &str) -> Vec<Fill> {
    let port = |at: u8| Fill::value("ports", &[at, 0, 0, 0], &[1, 0, 0, 0]);
    if name == "balancer" { vec![port(0), port(2)] } else { elements(name) }
}

/// What the harness should print for the packets of the capture. The kernel runs on any CPU, so its values of per-CPU maps
/// are left out.
fn expected(object: &str, name: &str, backend: Choice) -> Vec<String> {
    let object = Object::parse(&std::fs::read(root().join(object)).expect("an object")).expect("parses");
    let engine = Engine::builder()
        .backend(backend)
        .environment(std::sync::Arc::new(FixedEnvironment::default()))
        .deterministic(true)
        .build()
        .expect("an engine");
    let loaded = engine.load(&object).expect("loads");
    let program = loaded.program(name).expect("the program");
    loaded.fill(&rules(name)).expect("the maps take it");
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
                Element::PerCpu(_) if backend == Choice::Kernel => continue,
                Element::PerCpu(values) => &values[0],
            };
            maps.push(format!("{} {} {}", map.def().name, hex(&key), hex(value)));
        }
    }
    maps.sort();
    lines.extend(maps);
    lines
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[track_caller]
pub(crate) fn run(command: &mut Command, input: &[u8]) -> String {
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

/// Which map a line of the output is about, if any.
fn map_of(line: &str) -> &str {
    line.split(' ').next().unwrap_or_default()
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
    for Fill { map, key, content } in rules(name) {
        let Content::Element(Element::Value(value)) = content else { unreachable!("plain values") };
        runner.args([map, hex(&key), hex(&value)]);
    }
    let printed = run(&mut runner, &packets);
    let (mut maps, mut lines): (Vec<&str>, Vec<&str>) =
        printed.lines().partition(|line| !line.starts_with("0 "));
    maps.sort_unstable();
    lines.extend(maps);
    // The interpreter first: it sees all lines.
    let mut backends = vec![Choice::Interpreter];
    if crate::require::kernel(&test) {
        backends.push(Choice::Kernel);
    }
    for backend in backends {
        let expected = expected(object, name, backend);
        if backend == Choice::Kernel {
            lines.retain(|line| expected.iter().any(|wanted| map_of(wanted) == map_of(line)));
        }
        for (index, (got, wanted)) in lines.iter().zip(&expected).enumerate() {
            assert_eq!(got, wanted, "{test}: line {index} of {backend:?}");
        }
        assert_eq!(lines.len(), expected.len(), "{test}: lines of {backend:?}");
    }
}

const TALLY: &str = "tests/aot/tally.bpf.o";
const EXAMPLES: [(&str, &str); 3] = [
    ("examples/ratelimit.bpf.o", "ratelimit"),
    ("examples/firewall.bpf.o", "firewall"),
    ("examples/balancer.bpf.o", "balancer"),
];

/// Whether this build has code for a machine; otherwise says that the test is skipped.
fn compiles_for(machine: &Machine) -> bool {
    let built = cfg!(feature = "all-targets") || machine.triple.starts_with(std::env::consts::ARCH);
    if !built {
        crate::require::skip(&format!("ahead of time for {}: built without `all-targets`", machine.triple));
    }
    built
}

#[test]
fn x86_64_objects_give_the_interpreters_results() {
    if !compiles_for(&X86_64) {
        return;
    }
    agrees(&X86_64, "x86_64", TALLY, "tally");
    for (object, name) in EXAMPLES {
        agrees(&X86_64, "x86_64", object, name);
    }
    agrees(&X86_64_PIE, "x86_64-pie", TALLY, "tally");
}

#[test]
fn aarch64_objects_give_the_interpreters_results() {
    if !compiles_for(&AARCH64) {
        return;
    }
    agrees(&AARCH64, "aarch64", TALLY, "tally");
    for (object, name) in EXAMPLES {
        agrees(&AARCH64, "aarch64", object, name);
    }
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
    let queue = scratch("queue").join("queue.s");
    let text = ".map waiting queue key=0 value=4 entries=4\n*(u32 *)(r10 -4) = 1\nr1 = map[waiting] ll\n\
                r2 = r10\nr2 += -4\nr3 = 0\ncall 87\nexit\n";
    std::fs::write(&queue, text).expect("a scratch file");
    let queue = queue.to_str().expect("text");
    refuses(&[queue, "--type", "xdp"], 5, "bpf_map_push_elem");
    refuses(&[queue, "--type", "xdp", "--external", "bpf_map_push_elem"], 5, "maps of type queue");
    refuses(&["examples/flowmon.bpf.o"], 5, "ring");
    refuses(&[TALLY, "--target", "riscv64gc-unknown-linux-gnu"], 5, "riscv64");
    refuses(&[TALLY, "--target", "aarch64-apple-darwin"], 5, "aarch64-apple-darwin");
    refuses(&[TALLY, "--target", "nonsense"], 5, "nonsense");
    let foreign = if cfg!(target_arch = "x86_64") { AARCH64.triple } else { X86_64.triple };
    if !cfg!(feature = "all-targets") {
        refuses(&[TALLY, "--target", foreign], 5, "`all-targets`");
    }
    let unknown = if cfg!(target_arch = "x86_64") { "has_lse" } else { "has_bmi2" };
    refuses(&[TALLY, "--cpu-feature", unknown], 5, unknown);
    refuses(&[TALLY, "--cpu-feature", "use_bti"], 5, "use_bti");
    refuses(&[TALLY, "--cpus", "0"], 2, "CPU slots");
    refuses(&[TALLY, "-p", "nothing"], 1, "nothing");
    // 4096 slots of a per-CPU array would be far out of reach.
    let large = scratch("large").join("large.s");
    let text = ".map big percpu_array key=4 value=4096 entries=1024\n\
                *(u32 *)(r10 -4) = 0\nr1 = map[big] ll\nr2 = r10\nr2 += -4\ncall 1\nif r0 == 0 goto +1\nr0 = *(u64 *)(r0 +0)\nexit\n";
    std::fs::write(&large, text).expect("a scratch file");
    let large = large.to_str().expect("text");
    refuses(&[large, "--type", "xdp", "--cpus", "4096"], 1, "values of arrays");
    let object = |name: &str| format!("tests/cases/calls/{name}.bpf.o");
    refuses(&[&object("arena")], 5, "an arena");
    for (name, program, kfunc) in [
        ("objects", "lists", "bpf_obj_new_impl"),
        ("kfuncs", "bits", "bpf_iter_bits_new"),
        ("kfuncs", "parts", "bpf_percpu_obj_new_impl"),
    ] {
        refuses(&[&object(name), "-p", program], 5, kfunc);
        refuses(&[&object(name), "-p", program, "--external", kfunc], 5, kfunc);
    }
    // Too large to be built in line, so that the exception leaves more than one native function.
    let throw = scratch("throw").join("throw.s");
    let text = format!(
        "r1 = *(u32 *)(r1 +0)\nr6 = r1\ncall out\nr1 = r6\ncall out\nexit\nout:\n{}if r1 != 7 goto +2\nr1 = 0\n\
         call kfunc[bpf_throw]\nr0 = 0\nexit\n",
        "r1 *= 3\nr1 ^= 12345\n".repeat(200)
    );
    std::fs::write(&throw, text).expect("a scratch file");
    let throw = throw.to_str().expect("text");
    refuses(&[throw, "--type", "sched_cls"], 5, "an exception out of a subprogram");
    let redirect = scratch("redirect").join("redirect.s");
    std::fs::write(&redirect, "r1 = 1\nr2 = 0\ncall 23\nexit\n").expect("a scratch file");
    let redirect = redirect.to_str().expect("text");
    refuses(&[redirect, "--type", "xdp"], 5, "bpf_redirect");
    let output = scratch("external").join("x.o");
    let output = output.to_str().expect("text");
    let made = beelift(&["compile", redirect, "--type", "xdp", "--external", "bpf_redirect", "-o", output]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let header = std::fs::read_to_string(Path::new(output).with_extension("h")).expect("a header");
    assert!(header.lines().any(|line| line.contains("beelift_bpf_redirect") && line.ends_with("yours")));
}
