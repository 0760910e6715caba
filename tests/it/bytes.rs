//! Bytes of any kind go through decoding and verification without a panic, and within what they may take.
//!
//! `BEELIFT_BYTES` sets how many byte strings are tried (default 4,000), `BEELIFT_BYTES_SEED` the first seed: a string,
//! its program type and its limits are functions of the seed. Strings are mutated programs (examples, test cases,
//! random programs) and, now and then, bytes that never were one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use beelift::btf::KernelTypes;
use beelift::isa::asm::assemble;
use beelift::isa::encode::{Verbatim, encode};
use beelift::isa::{Slot, decode};
use beelift::link::{LinkOptions, link};
use beelift::runtime::environment::thread_time;
use beelift::runtime::{MapDef, MapKind};
use beelift::verify::{Failure, Limits, Options, Policy, Reason, verify};
use beelift::{Object, Program, ProgramType};

use crate::generator::{self, Family, Rng};

/// Instructions that a verification may walk, and bytes that it may remember.
const LIMITS: Limits = Limits {
    processed: 2000,
    pending: 256,
    frames: 8,
    stack: 512,
    subprograms: 32,
    memory: 1 << 20,
    turns: 1 << 32,
    time: Duration::from_secs(2),
};
/// Time on the thread's clock that one string may take: hundreds of times what it takes to walk to the limit.
const TIME: Duration = Duration::from_secs(2);
/// Slots of a string: what grows by splicing is cut.
const SLOTS: usize = 400;

const NOTHING: Slot = Slot::new(0x05, 0, 0, 0, 0);
const EXIT: Slot = Slot::new(0x95, 0, 0, 0, 0);

/// What a string is made from.
struct Seed {
    name: String,
    prog_type: ProgramType,
    slots: Vec<Slot>,
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

fn seeds() -> Vec<Seed> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    files(&root.join("examples"), &mut paths);
    files(&root.join("tests/cases"), &mut paths);
    paths.sort();
    let mut seeds = Vec::new();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(".bpf.o") {
            let Ok(object) = Object::parse(&std::fs::read(&path).expect("a readable file")) else { continue };
            for program in object.programs() {
                let Ok(linked) = link(&object, &program.name, &LinkOptions::default()) else { continue };
                let Ok(encoded) = encode(&linked.insns, &mut Verbatim) else { continue };
                let name = format!("{name}:{}", program.name);
                seeds.push(Seed { name, prog_type: linked.prog_type, slots: encoded.slots });
            }
        } else if name.ends_with(".bpf") {
            let source = std::fs::read_to_string(&path).expect("a readable file");
            let numbers = |name: &str| beelift::runtime::helper::by_name(name).map(|helper| helper.id);
            let Ok(assembly) = assemble(&source, numbers) else { continue };
            let named = source.lines().find_map(|line| line.split("type:").nth(1));
            let named = named.and_then(|rest| rest.split([',', ' ']).find(|word| !word.is_empty()));
            let prog_type = ProgramType::ALL.iter().find(|kind| Some(kind.to_string().as_str()) == named);
            let prog_type = prog_type.copied().unwrap_or(ProgramType::Xdp);
            seeds.push(Seed { name, prog_type, slots: assembly.slots });
        }
    }
    for (family, number) in
        Family::ALL.into_iter().flat_map(|family| (0..40).map(move |number| (family, number)))
    {
        let case = generator::generate_of(family, number);
        let slots = encode(&case.insns, &mut Verbatim).expect("the generator knows the encodings").slots;
        let name = format!("random program {family:?} {number}");
        seeds.push(Seed { name, prog_type: case.prog_type, slots });
    }
    seeds.retain(|seed| !seed.slots.is_empty());
    seeds
}

/// Maps of every kind that strings can name by a small number.
fn maps() -> Arc<[MapDef]> {
    let mut maps = generator::generate_of(Family::Maps, 0).maps;
    let sizes = |kind: MapKind| match kind {
        MapKind::Ringbuf | MapKind::UserRingbuf | MapKind::Arena => (0, 0, 4096),
        MapKind::Queue | MapKind::Stack | MapKind::BloomFilter => (0, 8, 4),
        MapKind::LpmTrie => (8, 8, 4),
        _ => (4, 4, 4),
    };
    maps.push(MapDef::new("large", MapKind::Hash, 8, 64, 16));
    for &kind in MapKind::ALL {
        let (key, value, entries) = sizes(kind);
        let mut def = MapDef::new("any", kind, key, value, entries);
        if matches!(kind, MapKind::ArrayOfMaps | MapKind::HashOfMaps) {
            def.inner = Some(Box::new(MapDef::new("inner", MapKind::Array, 4, 8, 1)));
        }
        maps.push(def);
    }
    maps.into()
}

/// One change.
fn mutate(slots: &mut Vec<Slot>, seeds: &[Seed], rng: &mut Rng) {
    let theirs = &seeds[rng.below(seeds.len() as u32) as usize].slots;
    if slots.is_empty() {
        slots.push(random_slot(rng));
        return;
    }
    let [at, other] = [0; 2].map(|_: usize| rng.below(slots.len() as u32) as usize);
    match rng.below(16) {
        0..=2 => slots[at].0[rng.below(8) as usize] ^= 1 << rng.below(8),
        3 => slots[at].0[rng.below(8) as usize] = rng.bits() as u8,
        4 => slots[at].0[rng.below(8) as usize] = rng.interesting() as u8,
        // Fields: registers, offset, immediate.
        5 => slots[at].0[1] = (rng.below(11) | rng.below(11) << 4) as u8,
        6 => {
            let off = (rng.interesting() as i16).to_le_bytes();
            slots[at].0[2..4].copy_from_slice(&off);
        }
        7 => {
            let near = (rng.below(12) as i16 - 6).to_le_bytes();
            slots[at].0[2..4].copy_from_slice(&near);
        }
        8 => {
            let imm = (rng.interesting() as u32).to_le_bytes();
            slots[at].0[4..8].copy_from_slice(&imm);
        }
        9 => slots[at] = slots[other],
        10 => slots.swap(at, other),
        11 => slots.insert(at, slots[other]),
        12 => drop(slots.remove(at)),
        13 => slots.insert(at, random_slot(rng)),
        // A piece of another program, put in or over.
        14 => {
            let start = rng.below(theirs.len() as u32) as usize;
            let piece = &theirs[start..(start + 1 + rng.below(16) as usize).min(theirs.len())];
            let over = if rng.chance(50) { piece.len().min(slots.len() - at) } else { 0 };
            slots.splice(at..at + over, piece.iter().copied());
        }
        _ => {
            let start = rng.below(theirs.len() as u32) as usize;
            slots.truncate(at + 1);
            slots.extend_from_slice(&theirs[start..]);
        }
    }
}

fn random_slot(rng: &mut Rng) -> Slot {
    Slot(rng.bits().to_le_bytes())
}

struct Sample {
    from: String,
    prog_type: ProgramType,
    slots: Vec<Slot>,
    policy: Policy,
}

fn sample(seed: u64, seeds: &[Seed]) -> Sample {
    let mut rng = Rng::new(seed);
    let policy = rng.pick(&[Policy::KERNEL, Policy::USER, Policy::STRICT]);
    if rng.chance(2) {
        let slots = (0..1 + rng.below(40)).map(|_| random_slot(&mut rng)).collect();
        return Sample { from: "nothing".to_owned(), prog_type: rng.pick(ProgramType::ALL), slots, policy };
    }
    let seed = &seeds[rng.below(seeds.len() as u32) as usize];
    let mut slots = seed.slots.clone();
    // Most changes make nonsense of a program: few get far, none of the others does.
    let changes = rng.pick(&[0, 1, 1, 1, 2, 2, 3, 6, 20]);
    for _ in 0..changes {
        mutate(&mut slots, seeds, &mut rng);
    }
    slots.truncate(SLOTS);
    // Else most strings are refused by the decoder.
    if rng.chance(70) {
        while let Err(error) = decode(&slots) {
            let Some(slot) = slots.get_mut(error.at.0 as usize) else { break };
            *slot = if *slot == NOTHING { EXIT } else { NOTHING };
        }
    }
    let prog_type = if rng.chance(60) { seed.prog_type } else { rng.pick(ProgramType::ALL) };
    Sample { from: seed.name.clone(), prog_type, slots, policy }
}

/// How far a string came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    NoProgram,
    Unsupported,
    Rejected,
    Limited,
    Accepted,
}

/// What all strings share.
struct World {
    maps: Arc<[MapDef]>,
    /// Read once.
    kernel_types: Arc<KernelTypes>,
}

fn judge(sample: &Sample, world: &World) -> Fate {
    let Ok(mut program) = Program::from_slots(sample.prog_type, &sample.slots, world.maps.clone()) else {
        return Fate::NoProgram;
    };
    program.kernel_types = world.kernel_types.clone();
    let options = Options { limits: LIMITS, ..Options::with_policy(sample.policy) };
    match verify(program, &options) {
        // Long loops get a budget of their own.
        Ok(verified) => {
            assert!(verified.statistics().processed <= 4 * LIMITS.processed, "{:?}", verified.statistics());
            Fate::Accepted
        }
        Err(Failure::Unsupported { .. }) => Fate::Unsupported,
        Err(failure) => {
            let text = failure.to_string();
            assert!(!text.is_empty());
            match failure {
                Failure::Rejected(rejected) => match rejected.reason {
                    Reason::TooComplex { .. }
                    | Reason::TooManyBranches { .. }
                    | Reason::TooMuchMemory { .. } => Fate::Limited,
                    Reason::TooMuchTime { .. } => panic!("the limit of instructions comes first"),
                    _ => Fate::Rejected,
                },
                _ => Fate::Rejected,
            }
        }
    }
}

/// What became of it, if it did not panic, and how long that took.
fn timed(sample: &Sample, world: &World) -> (std::thread::Result<Fate>, Duration) {
    let began = thread_time();
    let fate = catch_unwind(AssertUnwindSafe(|| judge(sample, world)));
    (fate, thread_time().saturating_sub(began))
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn no_bytes_crash_or_hang_the_verifier() {
    let count = setting("BEELIFT_BYTES", 4000);
    let first = setting("BEELIFT_BYTES_SEED", 1);
    let (seeds, world) = (seeds(), World { maps: maps(), kernel_types: Arc::default() });
    assert!(seeds.len() > 500, "{} seeds", seeds.len());
    let start = Instant::now();
    let (mut fates, mut longest, mut failed) = ([0_u64; 5], (Duration::ZERO, 0), 0);
    for seed in first..first + count {
        let sample = sample(seed, &seeds);
        let (fate, mut took) = timed(&sample, &world);
        if took >= TIME {
            // A machine that is out of breath looks the same once.
            took = timed(&sample, &world).1;
        }
        if took > longest.0 {
            longest = (took, seed);
        }
        match fate {
            Ok(fate) if took < TIME => fates[fate as usize] += 1,
            outcome => {
                failed += 1;
                let bytes: String = sample.slots.iter().map(|slot| format!("{slot:?} ")).collect();
                let what = if outcome.is_err() { "panics" } else { "takes too long" };
                eprintln!(
                    "seed {seed} {what} ({took:?}): {} as {} under {}: {bytes}",
                    sample.from, sample.prog_type, sample.policy.name
                );
                assert!(failed < 20, "too many failures to go on");
            }
        }
        if (seed - first + 1).is_multiple_of(500_000) {
            eprintln!("{} strings in {:?}", seed - first + 1, start.elapsed());
        }
    }
    let [no_program, unsupported, rejected, limited, accepted] = fates;
    eprintln!(
        "{count} strings from seed {first} in {:?}: {no_program} no program, {unsupported} unsupported, {rejected} \
         rejected, {limited} at a limit, {accepted} accepted; longest {:?} (seed {})",
        start.elapsed(),
        longest.0,
        longest.1
    );
    assert_eq!(failed, 0, "strings that panic or take too long");
    // Strings that all fail early would test nothing.
    assert!(accepted * 25 > count && rejected * 5 > count, "{fates:?}");
}
