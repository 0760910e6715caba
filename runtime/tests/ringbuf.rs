//! `ringbuf`: layout, room, order, wakeups.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use beelift_runtime::map::ringbuf::{Commit, FORCE_WAKEUP, NO_WAKEUP, Query, RingbufMap, ring_of};
use beelift_runtime::map::{CreateError, Map, MapDef, MapError, MapHandle, MapKind, create};
use beelift_runtime::mem::Bytes;

fn ring(bytes: u32) -> Arc<dyn Map> {
    create(&MapDef::new("r", MapKind::Ringbuf, 0, 0, bytes), 2).unwrap()
}

fn of(map: &dyn Map) -> &RingbufMap {
    map.as_any().downcast_ref().unwrap()
}

#[test]
fn sizes_are_powers_of_two_and_whole_pages() {
    for bytes in [0, 1, 2048, 4097, 12288] {
        let error = create(&MapDef::new("r", MapKind::Ringbuf, 0, 0, bytes), 1).err().unwrap();
        assert_eq!(error.errno(), 22, "{bytes}");
    }
    let error = create(&MapDef::new("r", MapKind::Ringbuf, 4, 0, 4096), 1).err().unwrap();
    assert!(matches!(error, CreateError::Invalid { .. }));
}

#[test]
fn records_come_in_order_of_reservation_without_discarded_ones() {
    let map = ring(4096);
    let ring = of(&*map);
    let reserved: Vec<_> = (0..6_u8).map(|n| (n, ring.reserve(5 + u64::from(n)).unwrap())).collect();
    let mut consumer = ring.consumer().unwrap();
    assert!(ring.consumer().is_none());
    for &(n, at) in reserved.iter().rev() {
        assert!(consumer.next().is_none(), "the first one is not submitted yet");
        ring.record(at).unwrap().fill(n);
        let commit = if n == 2 { Commit::Discard } else { Commit::Submit };
        ring.commit(at, commit, 0);
    }
    let expect: Vec<Vec<u8>> = [0, 1, 3, 4, 5].map(|n: u8| vec![n; 5 + usize::from(n)]).into();
    assert_eq!(consumer.drain(), expect);
    drop(consumer);
    assert!(ring.consumer().is_some());
    assert_eq!(ring.query(Query::ConsumerPosition), ring.query(Query::ProducerPosition));
}

#[test]
fn room_ends_one_byte_before_the_size() {
    let map = ring(4096);
    let ring = of(&*map);
    assert!(ring.reserve(4096 - 8).is_none(), "a record as large as the ring never fits");
    assert!(
        ring.reserve(4096).is_none() && ring.reserve(u64::MAX).is_none() && ring.reserve(1 << 30).is_none()
    );
    let first = ring.reserve(4096 - 16).unwrap();
    assert!(ring.reserve(0).is_none());
    assert_eq!(ring.output(Bytes::from(&[0; 8]), 0), Err(MapError::Again));
    assert_eq!(ring.output(Bytes::from(&[0; 8]), 4), Err(MapError::Invalid));
    ring.commit(first, Commit::Submit, 0);
    assert!(ring.reserve(0).is_none(), "not consumed yet");
    let queries = [Query::AvailableData, Query::RingSize, Query::ConsumerPosition, Query::ProducerPosition];
    assert_eq!(queries.map(|query| ring.query(query)), [4088, 4096, 0, 4088]);
    assert_eq!(ring.consumer().unwrap().drain().len(), 1);
    assert!(ring.reserve(0).is_some());
    assert_eq!(queries.map(|query| ring.query(query)), [8, 4096, 4088, 4096]);
}

#[test]
fn an_unsubmitted_record_keeps_the_ring_from_going_round() {
    let map = ring(4096);
    let ring = of(&*map);
    ring.output(Bytes::from(&[1; 8]), 0).unwrap();
    let held = ring.reserve(8).unwrap();
    assert_eq!(ring.consumer().unwrap().drain().len(), 1);
    let mut sent = 0;
    while ring.output(Bytes::from(&[0; 248]), 0).is_ok() {
        sent += 1;
    }
    // 4096 - 16 (held) leaves 15 records of 256 bytes and no 16th.
    assert_eq!(sent, 15);
    ring.commit(held, Commit::Discard, 0);
    assert_eq!(ring.consumer().unwrap().drain().len(), 15);
}

#[test]
fn records_across_the_end_are_whole() {
    let map = ring(4096);
    let ring = of(&*map);
    for round in 0..500_u32 {
        let bytes: Vec<u8> = (0..100 + round % 300).map(|i| (i ^ round) as u8).collect();
        ring.output(Bytes::from(bytes.as_slice()), 0).unwrap();
        assert_eq!(ring.consumer().unwrap().drain(), [bytes]);
    }
}

#[test]
fn a_record_is_found_by_its_address_alone() {
    let other = MapHandle::new(create(&MapDef::new("a", MapKind::Array, 4, 4, 1), 1).unwrap());
    let maps = [MapHandle::new(ring(4096)), other, MapHandle::new(ring(8192))].map(Box::new);
    for (i, size) in [(0, 4096), (2, 8192)] {
        let at = of(&*maps[i].map).reserve(16).unwrap();
        assert_eq!(ring_of(&maps, at).unwrap().query(Query::RingSize), size);
        assert!(maps[i].map.contains(at.0, 16));
    }
    assert!(ring_of(&maps, maps[1].map.base().unwrap()).is_none());
}

#[test]
fn wakeups_are_for_a_consumer_that_has_caught_up() {
    let map = ring(4096);
    let ring = of(&*map);
    let send = |flags| {
        ring.output(Bytes::from(&[0; 8]), flags).unwrap();
        ring.wakeups()
    };
    assert_eq!([send(0), send(0), send(FORCE_WAKEUP), send(NO_WAKEUP)], [1, 1, 2, 2]);
    ring.consumer().unwrap().drain();
    assert_eq!([send(NO_WAKEUP), send(0)], [2, 2]);
}

#[test]
fn producers_and_a_waiting_consumer_lose_nothing() {
    let map = ring(4096);
    let ring = of(&*map);
    let (threads, each) = (3_u64, 5_000_u64);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                for n in 0..each {
                    let size = 16 + n % 50;
                    let at = loop {
                        match ring.reserve(size) {
                            Some(at) => break at,
                            None => std::thread::yield_now(),
                        }
                    };
                    let record = ring.record(at).unwrap();
                    record.fill(n as u8);
                    record.write(0, &thread.to_ne_bytes());
                    record.write(8, &n.to_ne_bytes());
                    ring.commit(at, if n % 7 == 0 { Commit::Discard } else { Commit::Submit }, 0);
                }
            });
        }
        let mut consumer = ring.consumer().unwrap();
        let mut next = vec![1; threads as usize];
        let mut received = 0;
        while next.iter().any(|&n| n < each) {
            assert!(consumer.wait(Duration::from_secs(20)), "a wakeup was lost");
            while let Some(record) = consumer.next() {
                let bytes = record.bytes();
                let (thread, n) = (u64::from_ne_bytes(bytes.array(0)), u64::from_ne_bytes(bytes.array(8)));
                assert_eq!(bytes.len(), 16 + n % 50);
                assert!((16..bytes.len()).all(|at| bytes.byte(at) == n as u8));
                let expected = &mut next[thread as usize];
                assert_eq!(n, *expected);
                *expected = if (n + 1) % 7 == 0 { n + 2 } else { n + 1 };
                received += 1;
            }
        }
        assert_eq!(received, threads * (0..each).filter(|n| n % 7 != 0).count() as u64);
    });
    assert!(!ring.consumer().unwrap().wait(Duration::from_millis(1)));
}
