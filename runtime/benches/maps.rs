//! Nanoseconds of map operations, one line an operation: `cargo bench -p beelift-runtime`.
//!
//! Each operation is timed in rounds that alternate with all others, and the best round counts, so that a disturbance
//! of the machine hits all alike. Names given as arguments choose lines by substring. Results are checked.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::{Arc, RwLock};
use std::time::Instant;

use beelift_runtime::map::ringbuf::RingbufMap;
use beelift_runtime::map::{Map, MapDef, MapFlags, MapKind, create};
use beelift_runtime::mem::Bytes;

/// Elements of the large tables.
const ELEMENTS: u32 = 100_000;
/// Operations a round.
const OPERATIONS: u32 = 200_000;
/// Rounds; the best one counts.
const ROUNDS: usize = 7;

/// One line of the result.
struct Line {
    name: String,
    /// Performs that many operations.
    run: Box<dyn Fn(u32)>,
    best: f64,
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let mut lines = Vec::new();
    hashes(&mut lines);
    arrays(&mut lines);
    tries(&mut lines);
    rings(&mut lines);
    yardstick(&mut lines);
    lines.retain(|line| wanted.is_empty() || wanted.iter().any(|part| line.name.contains(part.as_str())));
    for _ in 0..ROUNDS {
        for line in &mut lines {
            let start = Instant::now();
            (line.run)(OPERATIONS);
            let each = start.elapsed().as_secs_f64() * 1e9 / f64::from(OPERATIONS);
            line.best = line.best.min(each);
        }
    }
    for line in &lines {
        println!("{:44} {:8.1} ns", line.name, line.best);
    }
    threads(&wanted);
}

fn add(lines: &mut Vec<Line>, name: impl Into<String>, run: impl Fn(u32) + 'static) {
    lines.push(Line { name: name.into(), run: Box::new(run), best: f64::INFINITY });
}

/// Key number `n` of `N` bytes: spread over all bytes.
fn key<const N: usize>(n: u32) -> [u8; N] {
    let spread = u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
    std::array::from_fn(|i| spread[i % 8] ^ i as u8)
}

/// A map with all keys below `ELEMENTS`, whose value begins with the number of its key.
fn filled<const N: usize>(kind: MapKind, capacity: u32) -> Arc<dyn Map> {
    let map = create(&MapDef::new("bench", kind, N as u32, 16, capacity), 4).expect("a small map");
    for n in 0..ELEMENTS {
        let mut value = [0; 16];
        value[..4].copy_from_slice(&n.to_le_bytes());
        map.update(0, &key::<N>(n), Bytes::from(&value), 0).expect("room");
    }
    map
}

/// Pseudo-random numbers below `ELEMENTS`.
fn order() -> impl Iterator<Item = u32> {
    (0..).scan(1_u32, |state, _| {
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Some(((u64::from(*state) * u64::from(ELEMENTS)) >> 32) as u32)
    })
}

fn lookups<const N: usize>(lines: &mut Vec<Line>, name: &str, map: Arc<dyn Map>) {
    let keys: Vec<[u8; N]> = order().take(OPERATIONS as usize).map(key).collect();
    add(lines, name, move |count| {
        for key in &keys[..count as usize] {
            assert!(black_box(map.lookup(0, black_box(key))).is_some());
        }
    });
}

fn hashes(lines: &mut Vec<Line>) {
    lookups::<4>(lines, "hash lookup, 4-byte key", filled::<4>(MapKind::Hash, ELEMENTS));
    lookups::<8>(lines, "hash lookup, 8-byte key", filled::<8>(MapKind::Hash, ELEMENTS));
    lookups::<16>(lines, "hash lookup, 16-byte key", filled::<16>(MapKind::Hash, ELEMENTS));
    lookups::<40>(lines, "hash lookup, 40-byte key", filled::<40>(MapKind::Hash, ELEMENTS));
    lookups::<16>(lines, "lru_hash lookup, 16-byte key", filled::<16>(MapKind::LruHash, ELEMENTS));
    lookups::<16>(lines, "percpu_hash lookup, 16-byte key", filled::<16>(MapKind::PercpuHash, ELEMENTS));
    for kind in [MapKind::Hash, MapKind::LruHash, MapKind::PercpuHash] {
        let map = filled::<16>(kind, ELEMENTS);
        let keys: Vec<[u8; 16]> = order().take(OPERATIONS as usize).map(key).collect();
        add(lines, format!("{kind} update of an existing element"), move |count| {
            for key in &keys[..count as usize] {
                map.update(0, key, Bytes::from(&[1; 16]), 0).expect("present");
            }
        });
        let map = filled::<16>(kind, 2 * ELEMENTS);
        add(lines, format!("{kind} insert and delete"), move |count| {
            for n in ELEMENTS..ELEMENTS + count / 2 {
                map.update(0, &key::<16>(n), Bytes::from(&[1; 16]), 0).expect("room");
            }
            for n in ELEMENTS..ELEMENTS + count / 2 {
                map.delete(&key::<16>(n)).expect("present");
            }
        });
    }
    let map = filled::<16>(MapKind::LruHash, ELEMENTS);
    let next = std::cell::Cell::new(ELEMENTS);
    add(lines, "lru_hash insert into a full table", move |count| {
        for _ in 0..count {
            next.set(next.get().wrapping_add(1));
            map.update(0, &key::<16>(next.get()), Bytes::from(&[1; 16]), 0).expect("evicts");
        }
    });
}

fn arrays(lines: &mut Vec<Line>) {
    for kind in [MapKind::Array, MapKind::PercpuArray] {
        let map = create(&MapDef::new("bench", kind, 4, 16, 1024), 4).expect("a small map");
        let lookup = map.clone();
        add(lines, format!("{kind} lookup"), move |count| {
            for n in 0..count {
                assert!(black_box(lookup.lookup(0, &(n % 1024).to_ne_bytes())).is_some());
            }
        });
        add(lines, format!("{kind} update"), move |count| {
            for n in 0..count {
                map.update(0, &(n % 1024).to_ne_bytes(), Bytes::from(&[1; 16]), 0).expect("in range");
            }
        });
    }
}

fn tries(lines: &mut Vec<Line>) {
    for (name, data) in
        [("lpm_trie lookup, IPv4, 10000 prefixes", 4), ("lpm_trie lookup, IPv6, 10000 prefixes", 16)]
    {
        let mut def = MapDef::new("bench", MapKind::LpmTrie, 4 + data, 8, 10_000);
        def.flags = MapFlags::NO_PREALLOC;
        let map = create(&def, 1).expect("a small map");
        let address = move |bits: u32, n: u32| -> Vec<u8> {
            [&bits.to_ne_bytes(), &key::<16>(n)[..data as usize]].concat()
        };
        for n in 0..10_000 {
            map.update(0, &address(8 + n % 17, n), Bytes::from(&[1; 8]), 0).expect("room");
        }
        let keys: Vec<Vec<u8>> =
            order().take(OPERATIONS as usize).map(|n| address(8 * data, n % 10_000)).collect();
        add(lines, name, move |count| {
            for key in &keys[..count as usize] {
                assert!(black_box(map.lookup(0, key)).is_some());
            }
        });
    }
}

fn rings(lines: &mut Vec<Line>) {
    let map = create(&MapDef::new("bench", MapKind::Ringbuf, 0, 0, 1 << 20), 1).expect("a small map");
    add(lines, "ringbuf output and consume, 64 bytes", move |count| {
        let ring = map.as_any().downcast_ref::<RingbufMap>().expect("its own kind");
        let mut consumer = ring.consumer().expect("one consumer");
        for _ in 0..count / 1000 {
            (0..1000).for_each(|_| ring.output(Bytes::from(&[1; 64]), 0).expect("room"));
            (0..1000).for_each(|_| assert_eq!(consumer.next().expect("sent").bytes().len(), 64));
        }
    });
}

/// The same lookup in what one would write without this crate.
fn yardstick(lines: &mut Vec<Line>) {
    let map: RwLock<HashMap<[u8; 16], [u8; 16]>> =
        RwLock::new((0..ELEMENTS).map(|n| (key::<16>(n), [1; 16])).collect());
    let keys: Vec<[u8; 16]> = order().take(OPERATIONS as usize).map(key).collect();
    add(lines, "RwLock<std HashMap> lookup, 16-byte key", move |count| {
        for key in &keys[..count as usize] {
            assert!(black_box(map.read().expect("no panic").get(black_box(key))).is_some());
        }
    });
}

/// Throughput of all processors together.
fn threads(wanted: &[String]) {
    let cpus = std::thread::available_parallelism().map_or(2, usize::from) as u32;
    for kind in [MapKind::Hash, MapKind::LruHash, MapKind::PercpuHash] {
        let name = format!("{kind} update, {cpus} threads");
        if !wanted.is_empty() && !wanted.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        let map = filled::<16>(kind, ELEMENTS);
        let start = Instant::now();
        std::thread::scope(|scope| {
            for cpu in 0..cpus.min(4) {
                let map = &map;
                scope.spawn(move || {
                    for n in order().skip(cpu as usize * 1000).take(OPERATIONS as usize) {
                        map.update(cpu, &key::<16>(n), Bytes::from(&[1; 16]), 0).expect("present");
                    }
                });
            }
        });
        let each = start.elapsed().as_secs_f64() * 1e9 / f64::from(OPERATIONS) / f64::from(cpus.min(4));
        println!("{name:44} {each:8.1} ns");
    }
}
