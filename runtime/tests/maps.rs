//! Maps through their public interface: what programs and user space see.
#![forbid(unsafe_code)]

use std::sync::Arc;

use beelift_runtime::helper::{TailCall, TailTarget};
use beelift_runtime::map::{
    CreateError, Element, Map, MapDef, MapError, MapFlags, MapKind, create, update_flags, user,
};
use beelift_runtime::mem::Bytes;

fn map(kind: MapKind, key: u32, value: u32, entries: u32) -> Arc<dyn Map> {
    create(&MapDef::new("m", kind, key, value, entries), 4).unwrap()
}

fn key(n: u32) -> [u8; 4] {
    n.to_ne_bytes()
}

/// The 8-byte value of `key` as a program on `cpu` sees it.
fn program_value(map: &dyn Map, cpu: u32, key: &[u8]) -> Option<u64> {
    let address = map.lookup(cpu, key)?.0;
    Some(value_at(map, address))
}

fn value_at(map: &dyn Map, address: u64) -> u64 {
    assert!(map.contains(address, 8) && !map.contains(address, 9));
    let slab = map.memory(address).unwrap();
    u64::from_ne_bytes(slab.bytes(slab.offset_of(address, 8).unwrap(), 8).array(0))
}

fn program_update(map: &dyn Map, cpu: u32, key: &[u8], value: u64, flags: u64) -> Result<(), MapError> {
    map.update(cpu, key, Bytes::from(&value.to_ne_bytes()), flags)
}

const HASHES: [MapKind; 4] = [MapKind::Hash, MapKind::PercpuHash, MapKind::LruHash, MapKind::LruPercpuHash];

#[test]
fn what_is_put_is_found_until_deleted_for_every_key_size() {
    for kind in HASHES {
        for size in [1, 2, 3, 4, 5, 8, 11, 16, 20, 24, 32, 33, 64, 129] {
            let map = map(kind, size, 8, 200);
            let key = |n: u8| {
                let mut key = vec![0x5a; size as usize];
                key[size as usize - 1] = n;
                key
            };
            for n in 0..200 {
                program_update(&*map, 1, &key(n), u64::from(n) + 7, update_flags::NOEXIST).unwrap();
            }
            for n in 0..200 {
                assert_eq!(program_value(&*map, 1, &key(n)), Some(u64::from(n) + 7), "{kind} {size}");
            }
            assert_eq!(map.lookup(1, &key(200)), None);
            for n in (0..200).step_by(2) {
                map.delete(&key(n)).unwrap();
                assert_eq!(map.delete(&key(n)), Err(MapError::NotFound));
            }
            for n in 0..200 {
                assert_eq!(program_value(&*map, 1, &key(n)).is_some(), n % 2 == 1, "{kind} {size}");
            }
            assert_eq!(keys(&*map).len(), 100);
        }
    }
}

/// All keys in the order of the map.
fn keys(map: &dyn Map) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    let mut at = map.next_key(None);
    while let Ok(key) = at {
        at = map.next_key(Some(&key));
        keys.push(key);
    }
    assert_eq!(at, Err(MapError::NotFound));
    keys
}

#[test]
fn an_update_of_an_existing_element_leaves_the_old_value_to_who_holds_it() {
    for kind in [MapKind::Hash, MapKind::LruHash] {
        let map = map(kind, 4, 8, 3);
        program_update(&*map, 0, &key(1), 10, 0).unwrap();
        let old = map.lookup(0, &key(1)).unwrap();
        program_update(&*map, 0, &key(1), 11, 0).unwrap();
        assert_eq!(value_at(&*map, old.0), 10);
        assert_eq!(program_value(&*map, 0, &key(1)), Some(11));
        // The old element is the spare of the CPU slot now.
        program_update(&*map, 0, &key(1), 12, 0).unwrap();
        assert_eq!(value_at(&*map, old.0), 12);
    }
}

#[test]
fn percpu_values_are_apart_and_new_ones_start_as_zero() {
    for kind in [MapKind::PercpuHash, MapKind::LruPercpuHash, MapKind::PercpuArray] {
        let map = map(kind, 4, 8, 1);
        program_update(&*map, 2, &key(0), 9, 0).unwrap();
        assert_eq!([0, 1, 2, 3].map(|cpu| program_value(&*map, cpu, &key(0)).unwrap()), [0, 0, 9, 0]);
        assert_eq!(map.lookup(4, &key(0)), None);
        let all: Vec<u8> = [1_u64, 2, 3, 4].iter().flat_map(|n| n.to_ne_bytes()).collect();
        map.update_bytes(&key(0), &all, 0).unwrap();
        assert_eq!(map.lookup_bytes(&key(0)).unwrap(), all);
        assert_eq!([0, 1, 2, 3].map(|cpu| program_value(&*map, cpu, &key(0)).unwrap()), [1, 2, 3, 4]);
        if map.delete(&key(0)).is_ok() {
            program_update(&*map, 1, &key(5), 6, 0).unwrap();
            assert_eq!([0, 1, 2, 3].map(|cpu| program_value(&*map, cpu, &key(5)).unwrap()), [0, 6, 0, 0]);
        }
    }
}

#[test]
fn keys_of_one_hash_stay_apart() {
    // Among so many keys, some share all 32 bits; without a seed always the same ones.
    const KEYS: u32 = 150_000;
    let mut def = MapDef::new("m", MapKind::Hash, 4, 8, KEYS);
    def.flags = MapFlags::ZERO_SEED;
    let map = create(&def, 1).unwrap();
    for n in 0..KEYS {
        program_update(&*map, 0, &key(n), u64::from(n), update_flags::NOEXIST).unwrap();
    }
    for n in 0..KEYS {
        assert_eq!(program_value(&*map, 0, &key(n)), Some(u64::from(n)));
    }
}

#[test]
fn odd_value_sizes_round_up_for_percpu_user_space_only() {
    let map = map(MapKind::PercpuArray, 4, 5, 2);
    assert_eq!(map.lookup_bytes(&key(1)).unwrap(), [0; 32]);
    assert_eq!(map.update_bytes(&key(1), &[1; 20], 0), Err(MapError::Invalid));
    map.update_bytes(&key(1), &[1; 32], 0).unwrap();
    assert_eq!(map.lookup_bytes(&key(1)).unwrap(), [1; 32], "what lies between comes back, too");
    map.update(1, &key(1), Bytes::from(&[2; 5]), 0).unwrap();
    let seen = map.lookup_bytes(&key(1)).unwrap();
    assert_eq!(seen[8..16], [2, 2, 2, 2, 2, 1, 1, 1], "a program writes its bytes only");
}

#[test]
fn a_full_lru_table_evicts_what_was_not_looked_up() {
    for kind in [MapKind::LruHash, MapKind::LruPercpuHash] {
        let map = map(kind, 4, 8, 100);
        for n in 0..100 {
            program_update(&*map, 0, &key(n), 1, 0).unwrap();
        }
        for n in (0..100).step_by(2) {
            map.lookup(0, &key(n)).unwrap();
        }
        for n in 100..150 {
            program_update(&*map, 0, &key(n), 1, 0).unwrap();
        }
        let kept = (0..100).step_by(2).filter(|&n| map.lookup_bytes(&key(n)).is_ok()).count();
        let new = (100..150).filter(|&n| map.lookup_bytes(&key(n)).is_ok()).count();
        assert_eq!((kept, new, keys(&*map).len()), (50, 50, 100), "{kind}");
    }
}

#[test]
fn an_element_that_is_updated_counts_as_looked_up() {
    for kind in [MapKind::LruHash, MapKind::LruPercpuHash] {
        for kept in 0..4 {
            let map = map(kind, 4, 8, 4);
            (0..4).for_each(|n| program_update(&*map, 1, &key(n), 1, 0).unwrap());
            program_update(&*map, 1, &key(kept), 2, 0).unwrap();
            // One round of evictions spares it.
            (10..13).for_each(|n| program_update(&*map, 1, &key(n), 1, 0).unwrap());
            assert_eq!(program_value(&*map, 1, &key(kept)), Some(2), "{kind}: {kept}");
        }
    }
}

#[test]
fn a_lookup_spares_an_element_once() {
    for kind in [MapKind::LruHash, MapKind::LruPercpuHash] {
        let map = map(kind, 4, 8, 4);
        (0..4).for_each(|n| program_update(&*map, 1, &key(n), 1, 0).unwrap());
        assert!((0..4).all(|n| map.lookup(1, &key(n)).is_some()));
        program_update(&*map, 1, &key(10), 1, 0).unwrap();
        program_update(&*map, 1, &key(11), 1, 0).unwrap();
        assert!([10, 11].iter().all(|&n| map.lookup(1, &key(n)).is_some()), "{kind}: the new ones stay");
    }
}

#[test]
fn an_update_of_an_existing_element_of_a_full_lru_table_evicts_nothing() {
    let map = map(MapKind::LruHash, 4, 8, 4);
    for n in 0..4 {
        program_update(&*map, 0, &key(n), 1, 0).unwrap();
    }
    for round in 0..10 {
        program_update(&*map, 0, &key(round % 4), 2, update_flags::EXIST).unwrap();
        assert_eq!(program_update(&*map, 0, &key(9), 2, update_flags::EXIST), Err(MapError::NotFound));
    }
    assert_eq!(keys(&*map).len(), 4);
}

#[test]
fn every_element_is_walked_once_even_if_deleted_on_the_way() {
    for kind in [MapKind::Hash, MapKind::PercpuHash, MapKind::LruHash, MapKind::Array, MapKind::PercpuArray] {
        let map = map(kind, 4, 8, 64);
        for n in 0..64 {
            program_update(&*map, 3, &key(n), u64::from(n), 0).unwrap();
        }
        let (mut cursor, mut seen) = (0, Vec::new());
        while let Some(Element { value, next, .. }) = map.iterate(3, cursor) {
            let n = value_at(&*map, value.0) as u32;
            seen.push(n);
            _ = map.delete(&key(n));
            cursor = next;
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..64).collect::<Vec<_>>(), "{kind}");
    }
}

#[test]
fn batches_read_everything_and_take_everything() {
    for kind in HASHES {
        let map = map(kind, 4, 8, 100);
        let size = map.lookup_bytes(&key(0)).map_or(user::value_bytes(map.state()) as usize, |v| v.len());
        let keys: Vec<u8> = (0..100).flat_map(key).collect();
        let values = vec![3; 100 * size];
        assert_eq!(user::update_batch(&*map, &keys, &values, 0), Ok((100, None)));
        let (mut from, mut count) = (None, 0);
        loop {
            let batch = user::lookup_batch(&*map, from.as_deref(), 7, 0).unwrap();
            assert_eq!(batch.values.len(), batch.count as usize * size);
            count += batch.count;
            let Some(next) = batch.next else { break };
            from = Some(next);
        }
        assert_eq!(count, 100);
        let taken = user::lookup_and_delete_batch(&*map, None, 60, 0).unwrap();
        assert_eq!((taken.count, taken.keys.len()), (60, 240));
        let deleted = user::delete_batch(&*map, &keys, 0).unwrap();
        assert!(deleted.1 == Some(MapError::NotFound) || deleted.0 == 40);
    }
}

#[test]
fn a_frozen_map_and_a_read_only_one_refuse_user_space_only() {
    let map = map(MapKind::Hash, 4, 8, 4);
    map.freeze().unwrap();
    assert_eq!(map.freeze(), Err(MapError::Permission));
    assert_eq!(map.update_bytes(&key(1), &[0; 8], 0), Err(MapError::Permission));
    program_update(&*map, 0, &key(1), 5, 0).unwrap();
    assert_eq!(map.delete_bytes(&key(1)), Err(MapError::Permission));
    assert_eq!(user::lookup_and_delete(&*map, &key(1), 0), Err(MapError::Permission));
    assert_eq!(map.lookup_bytes(&key(1)).unwrap(), 5_u64.to_ne_bytes());

    let mut def = MapDef::new("m", MapKind::Array, 4, 8, 4);
    def.flags = MapFlags::WRONLY;
    let map = create(&def, 1).unwrap();
    map.update_bytes(&key(1), &[1; 8], 0).unwrap();
    assert_eq!(map.lookup_bytes(&key(1)), Err(MapError::Permission));
    assert_eq!(user::next_key(&*map, None), Err(MapError::Permission));
}

#[test]
fn global_data_starts_as_given_and_frozen() {
    let mut def = MapDef::new(".rodata", MapKind::Array, 4, 12, 1);
    def.initial = Some((1..=12).collect::<Vec<u8>>().into());
    def.frozen = true;
    let map = create(&def, 2).unwrap();
    assert_eq!(map.lookup_bytes(&key(0)).unwrap(), (1..=12).collect::<Vec<u8>>());
    assert_eq!(map.base(), map.lookup(0, &key(0)));
    assert_eq!(map.update_bytes(&key(0), &[0; 12], 0), Err(MapError::Permission));
}

#[test]
fn absurd_sizes_are_refused_with_an_error() {
    for kind in [MapKind::Array, MapKind::PercpuArray, MapKind::Hash, MapKind::LruHash, MapKind::PercpuHash] {
        for (value, entries) in
            [(u32::MAX, u32::MAX), (i32::MAX as u32, u32::MAX), (8, u32::MAX), (u32::MAX, 1)]
        {
            match create(&MapDef::new("m", kind, 4, value, entries), 1024) {
                Err(CreateError::Invalid { .. } | CreateError::NoMemory { .. }) => {}
                Err(error) => panic!("{error}"),
                // Address space only.
                Ok(map) => assert_eq!(map.lookup(0, &key(3)).is_some(), map.base().is_some()),
            }
        }
    }
}

#[test]
fn threads_that_insert_and_delete_lose_nothing() {
    for kind in [MapKind::Hash, MapKind::LruHash, MapKind::PercpuHash] {
        // 4 threads x 32 keys and no element to spare: inserts race with deletes for the last ones.
        let map = map(kind, 8, 8, 128);
        std::thread::scope(|scope| {
            for thread in 0..4_u32 {
                let map = &*map;
                scope.spawn(move || {
                    let key = |n: u64| (n << 8 | u64::from(thread)).to_ne_bytes();
                    for round in 0..400_u64 {
                        for n in 0..32 {
                            let value = round << 16 | n << 8 | u64::from(thread);
                            program_update(map, thread, &key(n), value, 0).unwrap();
                        }
                        for n in 0..32 {
                            let value = round << 16 | n << 8 | u64::from(thread);
                            assert_eq!(program_value(map, thread, &key(n)), Some(value), "{kind}");
                        }
                        for n in (0..32).filter(|n| (n + round) % 3 == 0) {
                            map.delete(&key(n)).unwrap();
                            assert_eq!(map.lookup(thread, &key(n)), None);
                        }
                    }
                });
            }
        });
        assert!(keys(&*map).len() <= 128);
        for key in keys(&*map) {
            map.delete(&key).unwrap();
        }
        for n in 0..128_u64 {
            program_update(&*map, 0, &n.to_ne_bytes(), n, update_flags::NOEXIST).unwrap();
        }
    }
}

#[test]
fn readers_never_see_another_key_while_writers_churn() {
    let map = map(MapKind::Hash, 16, 16, 8);
    let key = |n: u64| [n.to_ne_bytes(), n.to_ne_bytes()].concat();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let relaxed = std::sync::atomic::Ordering::Relaxed;
    std::thread::scope(|scope| {
        for cpu in 0..2 {
            let (map, stop) = (&*map, &stop);
            scope.spawn(move || {
                for round in 0..40_000_u64 {
                    let n = round % 6 + 1;
                    let value = [n.to_ne_bytes(), n.to_ne_bytes()].concat();
                    _ = map.update(cpu, &key(n), Bytes::from(value.as_slice()), 0);
                    _ = map.delete(&key((round * 7 + 3) % 6 + 1));
                }
                stop.store(true, relaxed);
            });
        }
        scope.spawn(|| {
            while !stop.load(relaxed) {
                for n in 1..7_u64 {
                    if let Ok(value) = map.read_value(&key(n), 0) {
                        assert_eq!(value, key(n));
                    }
                }
            }
        });
    });
}

#[test]
fn redirect_maps_say_where_a_key_leads() {
    use beelift_runtime::map::redirect::{Target, target};
    for (kind, value, expect) in [
        (MapKind::Devmap, 4, Target::Interface(7)),
        (MapKind::Devmap, 8, Target::Interface(7)),
        (MapKind::DevmapHash, 8, Target::Interface(7)),
        (MapKind::Cpumap, 4, Target::Cpu(2)),
    ] {
        let map = map(kind, 4, value, 4);
        let bytes = [&key(7)[..], &[0; 4]].concat();
        map.update_bytes(&key(2), &bytes[..value as usize], 0).unwrap();
        assert_eq!(
            (target(&*map, 2), target(&*map, 1), target(&*map, 9)),
            (Some(expect), None, None),
            "{kind}"
        );
        assert_eq!(map.lookup_bytes(&key(2)).unwrap(), &bytes[..value as usize]);
        assert!(map.contains(map.lookup(0, &key(2)).unwrap().0, u64::from(value)));
        map.delete_bytes(&key(2)).unwrap();
        assert_eq!(target(&*map, 2), None);
    }
    assert_eq!(target(&*map(MapKind::Array, 4, 4, 4), 0), None);
}

/// A program that is gone.
struct Nobody;

impl TailTarget for Nobody {
    fn run(&self, _call: &TailCall<'_>) -> Option<u64> {
        None
    }
}

#[test]
fn a_program_array_takes_programs_of_one_kind() {
    use beelift_runtime::ctx::ProgramType;
    use beelift_runtime::map::{ProgArrayMap, ProgramKind};
    let map = map(MapKind::ProgArray, 4, 4, 4);
    let programs = map.as_any().downcast_ref::<ProgArrayMap>().unwrap();
    let kind = ProgramKind { prog_type: ProgramType::Xdp, attach_type: 0, flags: 0, native: true };
    assert_eq!(programs.claim(kind), Ok(()));
    assert_eq!(programs.claim(kind), Ok(()));
    for other in [
        ProgramKind { prog_type: ProgramType::SchedCls, ..kind },
        ProgramKind { attach_type: 1, ..kind },
        ProgramKind { flags: 1 << 5, ..kind },
        ProgramKind { native: false, ..kind },
    ] {
        assert_eq!(programs.claim(other), Err(MapError::Invalid));
    }
}

#[test]
fn a_program_array_keeps_programs() {
    use beelift_runtime::map::{ProgArrayMap, ProgramRef};
    let map = map(MapKind::ProgArray, 4, 4, 4);
    let programs = map.as_any().downcast_ref::<ProgArrayMap>().unwrap();
    let program: Arc<dyn TailTarget> = Arc::new(Nobody);
    programs.set(1, ProgramRef { id: 42, program: program.clone() }, 0).unwrap();
    assert_eq!(map.lookup_bytes(&key(1)).unwrap(), key(42));
    assert!(Arc::ptr_eq(&programs.get(1).unwrap().program, &program));
    assert_eq!(map.update_bytes(&key(1), &key(3), 0), Err(MapError::BadDescriptor));
    map.delete_bytes(&key(1)).unwrap();
    assert_eq!((Arc::strong_count(&program), map.delete_bytes(&key(1))), (1, Err(MapError::NotFound)));
}

/// Eight bytes of program memory.
fn word() -> beelift_runtime::mem::Slab {
    beelift_runtime::mem::Slab::new(8).unwrap()
}

#[test]
fn queues_and_stacks_keep_their_order_and_drop_the_oldest() {
    for (kind, order) in [(MapKind::Queue, [3, 4, 5]), (MapKind::Stack, [5, 4, 3])] {
        let map = map(kind, 0, 8, 3);
        let push = |n: u64, flags| map.push(Bytes::from(&n.to_ne_bytes()), flags);
        for n in 1..=3 {
            push(n, 0).unwrap();
        }
        assert_eq!(push(4, 0), Err(MapError::TooBig));
        push(4, update_flags::EXIST).unwrap();
        push(5, update_flags::EXIST).unwrap();
        assert_eq!(push(6, update_flags::NOEXIST), Err(MapError::Invalid));
        let into = word();
        for n in order {
            map.peek(into.bytes_mut(0, 8)).unwrap();
            assert_eq!(into.to_vec(0, 8), u64::to_ne_bytes(n));
            into.fill(0, 8, 0xff);
            map.pop(into.bytes_mut(0, 8)).unwrap();
            assert_eq!(into.to_vec(0, 8), u64::to_ne_bytes(n));
        }
        assert_eq!(map.pop(into.bytes_mut(0, 8)), Err(MapError::NotFound));
        assert_eq!(into.to_vec(0, 8), [0; 8], "nothing reads as zeroes");
    }
}

#[test]
fn queues_lose_nothing_between_threads() {
    let map = map(MapKind::Queue, 0, 8, 64);
    let (threads, each) = (3, 5000_u64);
    let sum = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let into = word();
                for n in 1..=each {
                    while map.push(Bytes::from(&n.to_ne_bytes()), 0).is_err() {
                        std::thread::yield_now();
                    }
                    map.pop(into.bytes_mut(0, 8)).unwrap();
                    sum.fetch_add(
                        u64::from_ne_bytes(into.bytes(0, 8).array(0)),
                        std::sync::atomic::Ordering::Relaxed,
                    );
                }
            });
        }
    });
    assert_eq!(sum.into_inner(), threads * each * (each + 1) / 2);
}

#[test]
fn a_bloom_filter_never_denies_what_was_pushed() {
    for size in [1, 4, 8, 100] {
        for hashes in [0, 1, 15] {
            let mut def = MapDef::new("b", MapKind::BloomFilter, 0, size, 200);
            def.extra = hashes;
            let map = create(&def, 1).unwrap();
            let value = |n: u8| vec![n; size as usize];
            for n in (0..200).step_by(2) {
                map.push(Bytes::from(value(n).as_slice()), 0).unwrap();
            }
            let found = |n: u8| user::contains(&*map, &value(n)).is_ok();
            assert!((0..200).step_by(2).all(found));
            let wrong = (1..200).step_by(2).filter(|&n| found(n)).count();
            assert!(wrong < 60, "{wrong} of 100 false answers with {hashes} hashes of {size} bytes");
        }
    }
}

#[test]
fn maps_of_maps_lead_to_handles_that_outlive_replacement() {
    use beelift_runtime::map::{MapHandle, MapOfMaps};
    for kind in [MapKind::ArrayOfMaps, MapKind::HashOfMaps] {
        let mut def = MapDef::new("o", kind, 4, 4, 40);
        let inner = MapDef::new("i", MapKind::Array, 4, 8, 2);
        def.inner = Some(Box::new(inner.clone()));
        let outer = create(&def, 2).unwrap();
        let maps = outer.as_any().downcast_ref::<MapOfMaps>().unwrap();
        let new = |id| {
            let map = create(&inner, 2).unwrap();
            map.state().set_id(id);
            map
        };
        let first = new(7);
        maps.set(&key(1), first.clone(), 0).unwrap();
        assert_eq!(outer.lookup_bytes(&key(1)).unwrap(), key(7));
        let address = outer.lookup(0, &key(1)).unwrap().0;
        let named = |address| {
            let same = |handle: &&MapHandle| std::ptr::from_ref::<MapHandle>(handle).addr() as u64 == address;
            maps.handles().find(same).map(|handle| handle.map.state().id())
        };
        assert_eq!(named(address), Some(7));
        for n in 0..100 {
            maps.set(&key(n % 40), new(100 + n), 0).unwrap();
        }
        assert_eq!(named(address), Some(7), "a running program may still hold it");
        assert_eq!(named(outer.lookup(0, &key(1)).unwrap().0), Some(181));
        let value = first.base().unwrap().0;
        assert!(outer.contains(value, 8) && outer.memory(value).is_some() && !outer.contains(value, 9));
        outer.delete_bytes(&key(1)).unwrap();
        assert_eq!(outer.lookup(0, &key(1)), None);

        let other = create(&MapDef::new("i", MapKind::Array, 4, 8, 3), 2).unwrap();
        assert_eq!(maps.set(&key(1), other, 0), Err(MapError::Invalid));
        let other = create(&MapDef::new("i", MapKind::Hash, 4, 8, 2), 2).unwrap();
        assert_eq!(maps.set(&key(1), other, 0), Err(MapError::Invalid));
    }
}

#[test]
fn perf_samples_go_to_the_ring_of_the_slot() {
    use beelift_runtime::map::PerfEventArrayMap;
    let map = map(MapKind::PerfEventArray, 4, 4, 2);
    let perf = map.as_any().downcast_ref::<PerfEventArrayMap>().unwrap();
    let ring = perf.open(1, 4096).unwrap();
    assert!(perf.open(2, 4096).is_err() && perf.open(0, 1000).is_err());
    let parts = [Bytes::from(b"ab"), Bytes::from(b"cde")];
    let current = 0xffff_ffff;
    assert_eq!(perf.output(1, current, &parts), Ok(()));
    assert_eq!(perf.output(0, 1, &parts[1..]), Ok(()));
    assert_eq!(perf.output(0, current, &parts), Err(MapError::NotFound));
    assert_eq!(perf.output(0, 2, &parts), Err(MapError::TooBig));
    assert_eq!(perf.output(0, 1 << 32, &parts), Err(MapError::Invalid));
    assert_eq!(ring.consumer().unwrap().drain(), [b"abcde".to_vec(), b"cde".to_vec()]);
    while perf.output(1, 1, &parts).is_ok() {}
    assert_eq!(ring.lost(), 1);
    map.delete_bytes(&key(1)).unwrap();
    assert_eq!(perf.output(1, 1, &parts), Err(MapError::NotFound));
}

#[test]
fn special_fields_survive_updates_and_read_as_zero() {
    use beelift_runtime::map::{SpecialField, SpecialKind};
    for kind in [MapKind::Array, MapKind::Hash, MapKind::LruHash] {
        let mut def = MapDef::new("s", kind, 4, 24, 2);
        def.fields = vec![
            SpecialField { kind: SpecialKind::SpinLock, offset: 8, size: 4, btf_type: 0, node: 0 },
            SpecialField { kind: SpecialKind::Timer, offset: 16, size: 8, btf_type: 0, node: 0 },
        ];
        let map = create(&def, 2).unwrap();
        map.update_bytes(&key(0), &[0xaa; 24], 0).unwrap();
        let plain = [[0xaa; 8], [0, 0, 0, 0, 0xaa, 0xaa, 0xaa, 0xaa], [0; 8]].concat();
        assert_eq!(map.lookup_bytes(&key(0)).unwrap(), plain, "{kind}");
        let at = map.lookup(0, &key(0)).unwrap().0;
        let slab = map.memory(at).unwrap();
        assert_eq!(slab.to_vec(slab.offset_of(at, 24).unwrap(), 24), plain, "{kind}");
        if kind != MapKind::LruHash {
            map.update_bytes(&key(0), &[0xbb; 24], update_flags::LOCK).unwrap();
            let value = user::lookup(&*map, &key(0), update_flags::LOCK).unwrap();
            assert_eq!(value[..8], [0xbb; 8]);
            assert_eq!(map.lookup(0, &key(0)).unwrap().0, at, "written in place");
        }
        assert_eq!(map.freeze(), Err(MapError::NotSupported));
    }
}
