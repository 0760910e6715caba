//! Maps under all interleavings of a few operations: `RUSTFLAGS="--cfg loom" cargo test -p beelift-runtime --test loom
//! --release --target-dir target/loom`.
//!
//! Links, keys, versions, positions and headers of records are modelled; the bytes of values are not (programs write
//! them as they like anyway).
#![forbid(unsafe_code)]
#![cfg(loom)]

use std::sync::Arc;

use beelift_runtime::map::ringbuf::{Commit, Query, RingbufMap};
use beelift_runtime::map::{Map, MapDef, MapError, MapFlags, MapKind, create};
use beelift_runtime::mem::Bytes;
use loom::thread;

/// Explores `model` with at most three preemptions.
fn explore(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.max_branches = 2_000;
    let model = Arc::new(model);
    builder.check(move || {
        let model = model.clone();
        spawn(move || model()).join().unwrap();
    });
}

/// A thread of the model with a stack that unoptimised code fits on.
fn spawn<R: Send + 'static>(body: impl FnOnce() -> R + Send + 'static) -> thread::JoinHandle<R> {
    thread::Builder::new().stack_size(1 << 16).spawn(body).unwrap()
}

fn map(kind: MapKind, entries: u32) -> Arc<dyn Map> {
    let mut def = MapDef::new("m", kind, 4, 8, entries);
    // Deterministic buckets: every run explores the same model.
    def.flags = MapFlags::ZERO_SEED;
    create(&def, 1).unwrap()
}

fn put(map: &dyn Map, n: u32) -> Result<(), MapError> {
    map.update(0, &n.to_ne_bytes(), Bytes::from(&u64::from(n).to_ne_bytes()), 0)
}

fn has(map: &dyn Map, n: u32) -> bool {
    map.lookup(0, &n.to_ne_bytes()).is_some()
}

fn count(map: &dyn Map) -> usize {
    let mut keys = 0;
    let mut key = map.next_key(None);
    while let Ok(at) = key {
        keys += 1;
        key = map.next_key(Some(&at));
    }
    keys
}

/// Three keys of a table with two chains: two of one chain, then one of the other.
fn chained_keys() -> (u32, u32, u32) {
    let found = Arc::new(std::sync::Mutex::new(None));
    let result = found.clone();
    explore(move || {
        // In one chain the younger key comes first, whichever it is; of two chains one always comes first.
        let follows = |first, second| {
            let map = map(MapKind::Hash, 2);
            put(&*map, first).unwrap();
            put(&*map, second).unwrap();
            map.next_key(Some(&first.to_ne_bytes())) == Ok(second.to_ne_bytes().to_vec())
        };
        let together = |a, b| !follows(a, b) && !follows(b, a);
        let near = (1..).find(|&n| together(0, n)).unwrap();
        let far = (1..).find(|&n| !together(0, n)).unwrap();
        *result.lock().unwrap() = Some((0, near, far));
    });
    found.lock().unwrap().expect("the model ran")
}

#[test]
fn an_element_that_stays_is_found_while_its_neighbours_change() {
    let (stays, goes, comes) = chained_keys();
    explore(move || {
        let map = map(MapKind::Hash, 2);
        put(&*map, stays).unwrap();
        // Now the head of the chain, before the one that stays.
        put(&*map, goes).unwrap();
        let other = map.clone();
        let writer = spawn(move || {
            other.delete(&goes.to_ne_bytes()).unwrap();
            // The same element in the other chain.
            put(&*other, comes).unwrap();
        });
        assert!(has(&*map, stays));
        writer.join().unwrap();
        assert!(has(&*map, stays) && !has(&*map, goes) && has(&*map, comes));
    });
}

#[test]
fn an_element_is_found_while_it_is_replaced() {
    explore(|| {
        let map = map(MapKind::Hash, 1);
        put(&*map, 1).unwrap();
        let other = map.clone();
        let writer = spawn(move || put(&*other, 1).unwrap());
        assert!(has(&*map, 1));
        writer.join().unwrap();
        assert_eq!(count(&*map), 1);
    });
}

#[test]
fn of_two_inserts_for_one_free_element_one_is_refused() {
    explore(|| {
        let map = map(MapKind::Hash, 1);
        let other = map.clone();
        let writer = spawn(move || put(&*other, 1));
        let ours = put(&*map, 2);
        let theirs = writer.join().unwrap();
        assert_ne!(ours.is_ok(), theirs.is_ok());
        assert_eq!(ours.and(theirs), Err(MapError::TooBig));
        assert_eq!(count(&*map), 1);
    });
}

#[test]
fn elements_deleted_by_one_thread_serve_the_other() {
    explore(|| {
        let map = map(MapKind::Hash, 2);
        put(&*map, 1).unwrap();
        let other = map.clone();
        let writer = spawn(move || {
            other.delete(&1_u32.to_ne_bytes()).unwrap();
            put(&*other, 4).unwrap();
        });
        put(&*map, 2).unwrap();
        writer.join().unwrap();
        assert!(has(&*map, 2) && has(&*map, 4));
        assert_eq!((count(&*map), put(&*map, 5)), (2, Err(MapError::TooBig)));
    });
}

#[test]
fn no_element_is_handed_out_twice() {
    // Some of these keys are in another chain than those of the writer.
    for ours in 6..10 {
        explore(move || {
            let map = map(MapKind::Hash, 3);
            for n in 1..=3 {
                put(&*map, n).unwrap();
            }
            map.delete(&1_u32.to_ne_bytes()).unwrap();
            map.delete(&2_u32.to_ne_bytes()).unwrap();
            let other = map.clone();
            // Both free elements leave, and the first one comes back.
            let writer = spawn(move || {
                put(&*other, 4)
                    .and_then(|()| put(&*other, 5))
                    .and_then(|()| other.delete(&4_u32.to_ne_bytes()))
            });
            // Either may find no free element while the other has them.
            _ = put(&*map, ours);
            _ = writer.join().unwrap();
            let more = (100..).take_while(|&n| put(&*map, n).is_ok()).count();
            assert!(has(&*map, 3) && more <= 2);
            assert_eq!(count(&*map), 3);
        });
    }
}

#[test]
fn a_full_lru_table_takes_two_inserts_at_once() {
    explore(|| {
        let map = map(MapKind::LruHash, 2);
        put(&*map, 1).unwrap();
        put(&*map, 2).unwrap();
        let other = map.clone();
        let writer = spawn(move || put(&*other, 3));
        put(&*map, 4).unwrap();
        writer.join().unwrap().unwrap();
        assert_eq!(count(&*map), 2);
    });
}

#[test]
fn both_producers_records_arrive_in_order() {
    explore(|| {
        let map = create(&MapDef::new("r", MapKind::Ringbuf, 0, 0, 4096), 1).unwrap();
        let ring = |map: &Arc<dyn Map>| map.clone();
        let (first, second) = (ring(&map), ring(&map));
        let send = |map: Arc<dyn Map>, n: u64, commit| {
            let ring: &RingbufMap = map.as_any().downcast_ref().unwrap();
            let at = ring.reserve(8).unwrap();
            ring.record(at).unwrap().write(0, &n.to_ne_bytes());
            ring.commit(at, commit, 0);
        };
        let one = spawn(move || send(first, 1, Commit::Submit));
        let two = spawn(move || send(second, 2, Commit::Discard));
        let ring: &RingbufMap = map.as_any().downcast_ref().unwrap();
        let mut consumer = ring.consumer().unwrap();
        let mut got = consumer.drain();
        one.join().unwrap();
        two.join().unwrap();
        got.extend(consumer.drain());
        assert_eq!(got, [1_u64.to_ne_bytes().to_vec()]);
        assert_eq!((ring.query(Query::AvailableData), ring.query(Query::ProducerPosition)), (0, 32));
    });
}
