//! Reports of rejections as a person sees them, for one program of each kind: `tests/cases/verify/reports`.
//!
//! `BLESS=1` rewrites the reports. What witnesses claim is tried: their commands are run, and must trap.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use beelift::verify::Reason;

use crate::require;

const FOLDER: &str = "tests/cases/verify/reports";
const OBJECT: &str = "tests/cases/verify/reports/rejected.bpf.o";
/// Kinds that have a report here, and those of them with a witness.
const LEAST: (usize, usize) = (45, 20);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn beelift(args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_beelift"))
        .args(args)
        .current_dir(root())
        .stdin(Stdio::null())
        .output()
        .expect("the tool was built");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Programs of the object, each with its policy and the code of its reason.
fn programs() -> Vec<(String, &'static str, String)> {
    let bytes = std::fs::read(root().join(OBJECT)).expect("checked in");
    let object = beelift::Object::parse(&bytes).expect("an object");
    let named = |name: &str| {
        let policies = ["strict", "kernel"];
        let prefix = policies
            .into_iter()
            .find_map(|policy| Some((policy, name.strip_prefix(policy)?.strip_prefix('_')?.to_owned())));
        let (policy, code) = prefix.unwrap_or(("user", name.to_owned()));
        (name.to_owned(), policy, code)
    };
    object.programs().iter().map(|program| named(&program.name)).collect()
}

#[test]
fn each_kind_of_rejection_has_its_report() {
    let mut text = String::new();
    let (mut kinds, mut witnesses) = (0, 0);
    for (name, policy, code) in programs() {
        assert!(Reason::CODES.contains(&code.as_str()), "{code} is no code of a reason");
        let (status, _, report) = beelift(&["verify", OBJECT, "-p", &name, "--policy", policy]);
        assert_eq!(status, Some(3), "{name}: {report}");
        let parts =
            [format!("error[{code}]: "), "rejected.bpf.c:".to_owned(), "note: instruction ".to_owned()];
        for part in parts.iter().chain([&"= help: ".to_owned()]) {
            assert!(report.contains(part), "{name}: no {part:?} in:\n{report}");
        }
        kinds += 1;
        witnesses += usize::from(report.contains("note: witness: "));
        writeln!(text, "# {name}\n{}\n", report.trim_end()).expect("a string");
    }
    assert!(kinds >= LEAST.0 && witnesses >= LEAST.1, "{kinds} kinds, {witnesses} with a witness");
    let path = root().join(FOLDER).join("rejected.txt");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &text).expect("a writable file");
    }
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    for (known, now) in known.split("\n# ").zip(text.split("\n# ")) {
        assert_eq!(known, now, "run `BLESS=1 cargo test --test it reports` if it is meant");
    }
    assert_eq!(known, text);
}

#[test]
fn witnesses_do_what_they_say() {
    let text = std::fs::read_to_string(root().join(FOLDER).join("rejected.txt")).expect("checked in");
    let mut tried = 0;
    for report in text.split("\n# ") {
        let name = report.lines().next().unwrap_or_default().trim_start_matches("# ");
        let Some((_, witness)) = report.split_once("note: witness: ") else { continue };
        let mut lines = witness.lines();
        let claim = lines.next().unwrap_or_default().split_once(": ").expect("what happens").1;
        // What a wild address is close to differs from run to run.
        let claim = claim.split(" at an address").next().unwrap_or_default();
        let command = lines.next().expect("a command").trim();
        let tool = command.strip_prefix("beelift ").expect("a command of the tool");
        let shell = format!("\"{}\" {tool}", env!("CARGO_BIN_EXE_beelift"));
        let output = Command::new("sh").args(["-c", &shell]).current_dir(root()).output().expect("a shell");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{name}: {command}\n{said}");
        assert!(said.contains(claim), "{name}: no {claim:?} in\n{said}");
        tried += 1;
    }
    assert!(tried >= LEAST.1, "{tried} witnesses");
}

#[test]
fn the_kernel_rejects_them_too() {
    if !require::kernel("verify --kernel of the rejected programs") {
        return;
    }
    let (_, verdicts, _) =
        beelift(&["verify", OBJECT, "--policy", "kernel", "--kernel", "--no-witness", "--json"]);
    let verdicts: serde_json::Value = serde_json::from_str(&verdicts).expect("JSON");
    for program in verdicts["programs"].as_array().expect("programs") {
        let name = program["program"].as_str().expect("a name");
        // The kernel leaves these to programs without privileges.
        let expected = if name.starts_with("strict_") { "accepted" } else { "rejected" };
        assert_eq!(program["kernel"]["verdict"], expected, "{name}: {}", program["kernel"]);
    }
}

#[test]
fn the_object_is_that_of_its_source() {
    let missing = Command::new("clang-19").arg("--version").output().is_err()
        || !Path::new("/usr/include/bpf/bpf_helpers.h").exists();
    if missing {
        require::skip("reports: rebuild from source: clang-19 or libbpf-dev is not installed");
        return;
    }
    let copy = std::env::temp_dir().join(format!("beelift-reports-{}", std::process::id()));
    std::fs::create_dir_all(&copy).expect("a temporary folder");
    for file in ["Makefile", "rejected.bpf.c"] {
        std::fs::copy(root().join(FOLDER).join(file), copy.join(file)).expect("checked in");
    }
    let status = Command::new("make").args(["-s", "-C"]).arg(&copy).status().expect("make");
    let built = std::fs::read(copy.join("rejected.bpf.o"));
    std::fs::remove_dir_all(&copy).expect("our own folder");
    assert!(status.success());
    let code = |bytes: &[u8]| {
        let object = beelift::Object::parse(bytes).expect("an object");
        let names: Vec<String> = object.programs().iter().map(|program| program.name.clone()).collect();
        names
            .iter()
            .map(|name| {
                let program = beelift::link::link(&object, name, &Default::default()).expect("links");
                (name.clone(), program.insns)
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(code(&built.expect("built")), code(&std::fs::read(root().join(OBJECT)).expect("checked in")));
}

#[test]
fn what_cannot_happen_has_no_witness() {
    use beelift::engine::witness::{Budget, find};
    use beelift::verify::{Failure, Options, verify};
    // No square is two more than a multiple of four, but our ranges do not know that.
    let source = "r2 = *(u32 *)(r1 +16)\nr2 *= r2\nr2 &= 3\nr0 = 2\nif r2 != 2 goto out\nr0 = *(u8 *)(r0 +0)\nout: exit\n";
    let program = beelift::Program::assemble(beelift::ProgramType::Xdp, source, |_| None).expect("a program");
    let Err(Failure::Rejected(rejected)) = verify(program.clone(), &Options::default()) else {
        panic!("it is accepted: another example is needed");
    };
    let budget = Budget { runs: 2_000, ..Budget::default() };
    assert!(find(&program, None, &rejected, budget).is_none());
    // The same without the question.
    let source = source.replace("r2 != 2", "r2 != 1");
    let program =
        beelift::Program::assemble(beelift::ProgramType::Xdp, &source, |_| None).expect("a program");
    let Err(Failure::Rejected(rejected)) = verify(program.clone(), &Options::default()) else {
        panic!("it is accepted");
    };
    let witness = find(&program, None, &rejected, budget).expect("any odd number");
    assert_eq!(witness.trap.at, rejected.at);
    let again = witness.replay(&program, None).expect("it runs").expect("a trap");
    assert_eq!((again.kind, again.at), (witness.trap.kind, witness.trap.at));
}
