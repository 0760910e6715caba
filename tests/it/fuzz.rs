//! Every fuzz target for a moment: on mutated bytes of what the repository holds, without a fuzzer.
//!
//! `BEELIFT_FUZZ_SECONDS` sets the time each target gets (default 1). Inputs that found bugs are in
//! `tests/fuzzing/found`, by target; they are run first.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::fuzzing::TARGETS;
use crate::generator::Rng;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable entry").path()).collect();
    paths.sort();
    paths.into_iter().flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// What a target starts from.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let named = |folder: &str, extension: &str| {
        let mut found = files(&root().join(folder));
        found.retain(|path| path.extension().is_some_and(|end| end == extension));
        found.iter().map(|path| std::fs::read(path).expect("a readable file")).collect::<Vec<_>>()
    };
    let objects = || [named("examples", "o"), named("tests/cases/elf", "o")].concat();
    match target {
        "assembler" => named("tests/cases", "bpf"),
        "elf" => objects(),
        "btf" => objects().iter().filter_map(|object| types_of(object)).collect(),
        "decode" => named("tests/cases", "bpf").iter().filter_map(|source| slots_of(source)).collect(),
        "verify_run" => {
            let sources = named("tests/cases", "bpf");
            let slots = sources.iter().filter_map(|source| slots_of(source));
            let mut seeds: Vec<_> =
                slots.flat_map(|code| [3, 6].map(|mode| with_mode(mode, &code))).collect();
            let mut rng = Rng::new(5);
            seeds.extend(
                (0..200).map(|_| with_mode(0, &(0..300).map(|_| rng.bits() as u8).collect::<Vec<_>>())),
            );
            seeds
        }
        "captures" => captures(),
        other => panic!("no seeds for {other}"),
    }
}

/// Captures of both forms and both byte orders, with frames of many lengths.
fn captures() -> Vec<Vec<u8>> {
    let mut seeds = vec![std::fs::read(root().join("examples/traffic.pcap")).expect("checked in")];
    let lengths: [&[usize]; 4] = [&[], &[0, 1, 60], &[14, 1514], &[65_535, 0]];
    for lengths in lengths {
        for order in [u32::to_le_bytes, u32::to_be_bytes] {
            let words = |words: &[u32]| words.iter().flat_map(|&word| order(word)).collect::<Vec<u8>>();
            let halves = order(0x0002_0004);
            for magic in [0xa1b2_c3d4, 0xa1b2_3c4d] {
                let mut pcap = words(&[magic]);
                // The version is two numbers of two bytes.
                pcap.extend(if halves[0] == 4 { [2, 0, 4, 0] } else { [0, 2, 0, 4] });
                pcap.extend(words(&[0, 0, 0x4_0000, 1]));
                for &len in lengths {
                    pcap.extend(words(&[1_700_000_000, 5, len as u32, len as u32]));
                    pcap.extend((0..len).map(|at| at as u8));
                }
                seeds.push(pcap);
            }
            let block = |kind: u32, body: &[u8]| {
                let padded = body.len().next_multiple_of(4);
                let ends = 12 + padded as u32;
                [words(&[kind, ends]), body.to_vec(), vec![0; padded - body.len()], words(&[ends])].concat()
            };
            let version = if halves[0] == 4 { [1, 0, 0, 0] } else { [0, 1, 0, 0] };
            let section = [words(&[0x1a2b_3c4d]), version.to_vec(), words(&[u32::MAX; 2])].concat();
            let link = if halves[0] == 4 { [1, 0, 0, 0] } else { [0, 1, 0, 0] };
            let interface = [link.to_vec(), words(&[0x4_0000])].concat();
            let mut pcapng = [block(0x0a0d_0d0a, &section), block(1, &interface)].concat();
            for &len in lengths {
                let frame: Vec<u8> = (0..len).map(|at| at as u8).collect();
                let head = words(&[0, 0x0006_0000, 7, len as u32, len as u32]);
                pcapng.extend(block(6, &[head, frame.clone()].concat()));
                pcapng.extend(block(3, &[words(&[len as u32]), frame].concat()));
            }
            seeds.push(pcapng);
        }
    }
    seeds
}

fn with_mode(mode: u8, rest: &[u8]) -> Vec<u8> {
    [&[mode], rest].concat()
}

fn slots_of(source: &[u8]) -> Option<Vec<u8>> {
    let source = std::str::from_utf8(source).ok()?;
    let numbers = |name: &str| beelift::runtime::helper::by_name(name).map(|helper| helper.id);
    let assembly = beelift::isa::asm::assemble(source, numbers).ok()?;
    Some(assembly.slots.iter().flat_map(|slot| slot.0).collect())
}

fn types_of(object: &[u8]) -> Option<Vec<u8>> {
    use object::{Object as _, ObjectSection as _};
    let file = object::File::parse(object).ok()?;
    Some(file.section_by_name(".BTF")?.data().ok()?.to_vec())
}

/// A few bytes changed, copied or taken out.
fn mutate(bytes: &mut Vec<u8>, rng: &mut Rng) {
    for _ in 0..rng.below(4) {
        let length = u32::try_from(bytes.len()).expect("a short input");
        if length < 2 {
            return;
        }
        let (at, from) = (rng.below(length) as usize, rng.below(length) as usize);
        match rng.below(5) {
            0 => bytes[at] ^= 1 << rng.below(8),
            1 => bytes[at] = rng.interesting() as u8,
            2 => bytes[at] = bytes[from],
            3 => {
                let block = bytes[from..(from + 8).min(bytes.len())].to_vec();
                bytes.splice(at..at, block);
            }
            _ => drop(bytes.drain(at..(at + 8).min(length as usize))),
        }
    }
}

fn target(name: &str) {
    let (_, run) = TARGETS.iter().find(|(known, _)| *known == name).expect("a target");
    let found = files(&root().join("tests/fuzzing/found").join(name));
    for path in &found {
        run(&std::fs::read(path).expect("a readable file"));
    }
    let seeds = seeds(name);
    assert!(seeds.len() > 5, "{name} has only {} seeds", seeds.len());
    let seconds = std::env::var("BEELIFT_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let (start, mut rng, mut runs) = (Instant::now(), Rng::new(11), 0);
    while start.elapsed() < Duration::from_secs(seconds) {
        let mut input = seeds[rng.below(u32::try_from(seeds.len()).expect("few seeds")) as usize].clone();
        mutate(&mut input, &mut rng);
        let outcome = std::panic::catch_unwind(|| run(&input));
        if let Err(panic) = outcome {
            let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
            eprintln!("input: {hex}");
            std::panic::resume_unwind(panic);
        }
        runs += 1;
    }
    println!("{name}: {} found earlier, {runs} runs in {:?}", found.len(), start.elapsed());
}

#[test]
fn decode() {
    target("decode");
}

#[test]
fn assembler() {
    target("assembler");
}

#[test]
fn elf() {
    target("elf");
}

#[cfg(feature = "cli")]
#[test]
fn captures_of_any_bytes() {
    target("captures");
}

#[test]
fn btf() {
    target("btf");
}

#[test]
fn verify_run() {
    target("verify_run");
}

/// Writes what each target starts from, for a fuzzer: `cargo test --test it write_fuzz_seeds -- --ignored`.
#[test]
#[ignore = "writes files below fuzz/"]
fn write_fuzz_seeds() {
    for &(name, _) in TARGETS {
        let folder = root().join("fuzz/corpus").join(name);
        std::fs::create_dir_all(&folder).expect("a writable folder");
        for (number, seed) in seeds(name).into_iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number:03}")), seed).expect("a writable folder");
        }
    }
}
