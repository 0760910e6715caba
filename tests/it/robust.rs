//! Broken objects: mutated copies of the examples go through every step without a panic or a hang.
//!
//! `BEELIFT_MUTATIONS` sets how many copies are tried (default 10,000, as many of them as the time allows but at least 200),
//! `BEELIFT_MUTATION_SECONDS` the time (default 8; 0 is no limit), `BEELIFT_MUTATION_SEED` the first seed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use beelift::engine::Input;
use beelift::link::{LinkOptions, link};
use beelift::verify::{Limits, Options, Policy, verify};
use beelift::{Choice, Engine, Object};

/// Longest time that one copy may take: a hang, for our purposes.
const HANG: Duration = Duration::from_secs(60);
/// As many copies are tried even when the time is over: under an emulator few are through by then.
const FEWEST: u64 = 200;
/// Bytes of maps that a mutated copy may ask for before it is run.
const MAP_BYTES: u64 = 64 << 20;

/// One in so many accepted copies is run.
const RUN_EVERY: u64 = 11;

const EXAMPLES: [&str; 4] = ["balancer", "firewall", "flowmon", "ratelimit"];

fn example(name: &str) -> Vec<u8> {
    let path = format!("{}/examples/{name}.bpf.o", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).expect("the example is checked in")
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A stream of numbers from a seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

/// A range of the file that matters: most bytes of an object are for debuggers, and nobody reads them.
fn parts(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    use object::{Object as _, ObjectSection as _};
    let file = object::File::parse(bytes).expect("the example is an ELF file");
    let mut parts: Vec<_> = file
        .sections()
        .filter(|section| !section.name().unwrap_or_default().contains("debug"))
        .filter_map(|section| section.file_range())
        .map(|(start, len)| start as usize..(start + len) as usize)
        .filter(|range| !range.is_empty())
        .collect();
    // Instructions and types are what is looked at most.
    let often = file.sections().filter(|section| {
        let name = section.name().unwrap_or_default();
        section.kind() == object::SectionKind::Text || name.starts_with(".BTF")
    });
    let often = often.filter_map(|section| section.file_range()).filter(|(_, len)| *len > 0);
    for (start, len) in often {
        parts.extend(vec![start as usize..(start + len) as usize; 4]);
    }
    parts.push(0..64);
    let table = u64::from_le_bytes(bytes[40..48].try_into().expect("eight bytes")) as usize;
    parts.push(table..bytes.len());
    parts
}

/// A copy with a few changes.
fn mutate(original: &[u8], parts: &[std::ops::Range<usize>], seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let mut bytes = original.to_vec();
    for _ in 0..=random.below(4) {
        let part = parts[random.below(parts.len())].clone();
        let at = part.start + random.below(part.len());
        if at >= bytes.len() {
            continue;
        }
        match random.below(12) {
            0..=3 => bytes[at] ^= 1 << random.below(8),
            4..=6 => bytes[at] = random.next() as u8,
            7 => write(&mut bytes, at, &(random.next() as u32).to_le_bytes()),
            8 => {
                let extreme = [0, u64::MAX, 1 << 31, 1 << 63, 0x7fff_ffff, 0xffff_ffff];
                let value = extreme[random.below(extreme.len())];
                write(&mut bytes, at & !3, &value.to_le_bytes());
            }
            9 => {
                let from = parts[random.below(parts.len())].clone();
                let len = 1 + random.below(from.len().min(64));
                let block = bytes.get(from.start..from.start + len).unwrap_or_default().to_vec();
                write(&mut bytes, at, &block);
            }
            10 => {
                let len = (at + 1 + random.below(64)).min(bytes.len());
                bytes[at..len].fill(0);
            }
            _ if random.below(8) == 0 => bytes.truncate(at),
            _ => bytes.swap(at, part.start),
        }
    }
    bytes
}

fn write(bytes: &mut [u8], at: usize, what: &[u8]) {
    for (place, &byte) in bytes[at..].iter_mut().zip(what) {
        *place = byte;
    }
}

/// What became of a copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    NoObject,
    NotLinked,
    NotVerified,
    Verified,
    Ran,
}

/// All steps; every error is fine, a panic is not.
fn go(bytes: &[u8], options: &Options, run: Option<(&[Engine], &[Input])>) -> Fate {
    let Ok(object) = Object::parse(bytes) else { return Fate::NoObject };
    let mut fate = Fate::NotLinked;
    for program in object.programs() {
        let linked = match link(&object, &program.name, &LinkOptions::default()) {
            Ok(linked) => linked,
            Err(error) => {
                let _ = error.to_string();
                continue;
            }
        };
        let size: u64 = linked
            .maps
            .iter()
            .map(|def| {
                (u64::from(def.key_size) + u64::from(def.value_size) + 64) * u64::from(def.max_entries)
            })
            .fold(0, u64::saturating_add);
        if let Err(failure) = verify(linked.clone(), options) {
            let _ = failure.to_string();
            fate = Fate::NotVerified;
            continue;
        }
        fate = Fate::Verified;
        let Some((engines, packets)) = run.filter(|_| size <= MAP_BYTES) else { continue };
        for engine in engines {
            let Ok(loaded) = engine.load_linked(vec![linked.clone()]) else { continue };
            for packet in packets {
                let _ = loaded.programs()[0].run_input(packet).map(|record| record.value.is_ok());
            }
            fate = Fate::Ran;
        }
    }
    fate
}

fn packets() -> Vec<Input> {
    let ipv4 = [&[0xff; 12][..], &[8, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]];
    let udp = [0, 80, 0, 53, 0, 8, 0, 0];
    let full: Vec<u8> = ipv4.concat().into_iter().chain(udp).chain([0; 26]).collect();
    [vec![0; 14], full].map(|packet| Input { packet, context: Vec::new() }).into()
}

#[test]
fn mutated_objects_never_panic_or_hang() {
    let count = setting("BEELIFT_MUTATIONS", 10_000);
    let seconds = setting("BEELIFT_MUTATION_SECONDS", 8);
    let first = setting("BEELIFT_MUTATION_SEED", 1);
    // Every copy has time for the limits that matter here: those of memory and depth, not of patience.
    let limits = Limits { processed: 6_000, ..Limits::default() };
    let options = Options { limits, ..Options::with_policy(Policy::USER) };
    let (report, progress) = mpsc::channel();
    let worker = std::thread::spawn(move || {
        let originals = EXAMPLES.map(example);
        let parts = originals.each_ref().map(|original| parts(original));
        let engines = [Choice::Interpreter, Choice::Jit].map(|choice| {
            let engine = Engine::builder().backend(choice).verify(options).fuel(1 << 20);
            engine.build().expect("this machine has a code generator")
        });
        let packets = packets();
        for seed in first..first + count {
            let which = (seed % EXAMPLES.len() as u64) as usize;
            let bytes = mutate(&originals[which], &parts[which], seed);
            // Compiling takes longest, and most accepted copies are compiled alike.
            let run = (seed % RUN_EVERY == 0).then_some((&engines[..], &packets[..]));
            let fate = catch_unwind(AssertUnwindSafe(|| go(&bytes, &options, run)));
            if report.send((seed, fate.ok())).is_err() {
                return;
            }
        }
    });
    let start = Instant::now();
    let mut fates = [0_u64; 5];
    let mut next = first;
    while next < first + count
        && (seconds == 0 || next < first + FEWEST || start.elapsed() < Duration::from_secs(seconds))
    {
        match progress.recv_timeout(HANG) {
            Ok((seed, Some(fate))) => {
                next = seed + 1;
                fates[fate as usize] += 1;
            }
            Ok((seed, None)) => panic!("a copy of {} panics, seed {seed}", EXAMPLES[(seed % 4) as usize]),
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("seed {next} takes over {HANG:?}"),
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
    }
    // The worker stops at its next report.
    drop(progress);
    worker.join().expect("the worker catches panics");
    let [no_object, not_linked, not_verified, verified, ran] = fates;
    eprintln!(
        "{} copies in {:?}: {no_object} no object, {not_linked} not linked, {not_verified} not verified, \
         {verified} verified, {ran} run as well",
        next - first,
        start.elapsed()
    );
    // Mutations that all fail at the first step, or that change nothing, would test nothing.
    let tried = next - first;
    assert!(
        tried >= FEWEST.min(count) && no_object * 10 < tried * 9 && not_verified > 0 && verified + ran > 0,
        "{fates:?}"
    );
}

#[test]
fn random_bytes_are_no_object() {
    let mut random = Random(7);
    for _ in 0..2000 {
        let len = random.below(600);
        let mut bytes: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
        assert!(Object::parse(&bytes).is_err());
        // The same behind a header that looks right.
        let header = [0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 247, 0, 1, 0, 0, 0];
        for (place, byte) in bytes.iter_mut().zip(header) {
            *place = byte;
        }
        let _ = Object::parse(&bytes);
    }
}

#[test]
fn every_truncation_is_an_error_or_an_object() {
    let whole = example("ratelimit");
    for len in (0..whole.len()).step_by(61) {
        let parsed = Object::parse(&whole[..len]);
        // The section headers are at the end: nothing before it is whole.
        assert!(parsed.is_err(), "{len} of {} bytes", whole.len());
    }
}
