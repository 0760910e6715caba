//! The example programs: every engine agrees over the capture, and the sources still give these objects.

use std::path::{Path, PathBuf};
use std::process::Command;

use beelift::engine::compare::Trial;
use beelift::engine::{Backend, Fill, Input, Record};
use beelift::link::{LinkOptions, link};
use beelift::{Engine, FixedEnvironment, Object};

const EXAMPLES: [&str; 4] = ["firewall", "balancer", "ratelimit", "flowmon"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

fn object(path: &Path) -> Object {
    Object::parse(&std::fs::read(path).expect("a readable object")).expect("an object")
}

/// Frames of the capture; its format is the tool's business, so this reads just what `make_traffic` writes.
pub(crate) fn frames() -> Vec<Input> {
    let bytes = std::fs::read(folder().join("traffic.pcap")).expect("the capture");
    let mut frames = Vec::new();
    let mut rest = &bytes[24..];
    while let Some((header, after)) = rest.split_at_checked(16) {
        let length = u32::from_le_bytes(header[8..12].try_into().expect("four bytes")) as usize;
        let (frame, after) = after.split_at(length);
        frames.push(Input { packet: frame.to_vec(), ..Input::default() });
        rest = after;
    }
    frames
}

/// Rules that make the branches reachable which an empty map leaves out.
pub(crate) fn elements(example: &str) -> Vec<Fill> {
    match example {
        "firewall" => vec![
            Fill::value("services", &[0, 80, 6, 0], &[0, 0, 0, 0]),
            Fill::value("services", &[1, 187, 6, 0], &[1, 0, 0, 0]),
            Fill::value("blocked_v4", &[24, 0, 0, 0, 198, 51, 100, 0], &[0; 8]),
        ],
        _ => Vec::new(),
    }
}

/// Runs an example on the engines that are here and gives the first one's records.
fn agree(example: &str, path: &Path, elements: &[Fill]) -> Vec<Record> {
    let program = link(&object(path), example, &LinkOptions::default()).expect("links");
    let inputs = frames();
    let trial = Trial {
        program: &program,
        verified: None,
        object: None,
        inputs: &inputs,
        elements,
        environment: FixedEnvironment::default(),
    };
    let mut backends = vec![Backend::Interpreter, Backend::Jit];
    if crate::require::kernel(&format!("examples: {example} in the kernel")) {
        backends.push(Backend::Kernel);
    }
    let mut comparison = trial.compare(&backends, &|| Engine::builder().check_facts(true));
    assert!(comparison.agrees(), "{example}: {:#?}", comparison.difference);
    for column in &comparison.columns {
        if let Err(error) = &column.outcome {
            panic!("{example}: {}: {error}", column.backend);
        }
    }
    let outcome = comparison.columns.swap_remove(0).outcome.expect("checked above");
    outcome.records.into_iter().map(|record| record.expect("user space takes every input")).collect()
}

#[test]
fn engines_agree_over_the_capture() {
    for example in EXAMPLES {
        let path = folder().join(format!("{example}.bpf.o"));
        for elements in [Vec::new(), elements(example)] {
            agree(example, &path, &elements);
        }
    }
}

#[test]
fn rules_change_what_the_firewall_does() {
    let path = folder().join("firewall.bpf.o");
    let dropped = |records: &[Record]| records.iter().filter(|r| matches!(r.value, Ok(1))).count();
    let open = dropped(&agree("firewall", &path, &[]));
    let closed = dropped(&agree("firewall", &path, &elements("firewall")));
    assert!(closed > open + 70, "{open} dropped without rules, {closed} with");
}

#[test]
fn sources_give_the_objects_that_are_checked_in() {
    let missing = Command::new("clang-19").arg("--version").output().is_err()
        || !Path::new("/usr/include/bpf/bpf_helpers.h").exists();
    if missing {
        crate::require::skip("examples: rebuild from source: clang-19 or libbpf-dev is not installed");
        return;
    }
    let out = std::env::temp_dir().join(format!("beelift-examples-{}", std::process::id()));
    std::fs::create_dir_all(&out).expect("a writable temporary folder");
    for example in EXAMPLES {
        let built = out.join(format!("{example}.bpf.o"));
        let status = Command::new("clang-19")
            .current_dir(folder())
            .args(["-O2", "-g", "-target", "bpf", "-mcpu=v3"])
            .arg(format!("-I/usr/include/{}-linux-gnu", std::env::consts::ARCH))
            .args(["-c", &format!("{example}.bpf.c"), "-o"])
            .arg(&built)
            .status()
            .expect("clang-19 runs");
        assert!(status.success(), "{example} does not compile");
        let old = agree(example, &folder().join(format!("{example}.bpf.o")), &elements(example));
        let new = agree(example, &built, &elements(example));
        for (index, (old, new)) in old.iter().zip(&new).enumerate() {
            let what = |record: &Record| (record.value.clone().ok(), record.packet.clone());
            assert_eq!(what(old), what(new), "{example}: packet {}", index + 1);
        }
    }
    std::fs::remove_dir_all(&out).expect("our own folder");
}
