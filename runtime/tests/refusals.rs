//! What maps refuse, and what they leave alone: sizes, flags, special fields, inner maps, records.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::sync::Arc;

use beelift_runtime::map::ringbuf::{Commit, RingbufMap};
use beelift_runtime::map::{
    Map, MapDef, MapError, MapFlags, MapKind, MapOfMaps, SpecialField, SpecialKind, ValuePtr, create,
    update_flags,
};
use beelift_runtime::mem::Bytes;

/// The kinds whose elements programs update, with a key of each.
fn updated() -> Vec<(Arc<dyn Map>, Vec<u8>)> {
    let kinds = [
        MapKind::Array,
        MapKind::PercpuArray,
        MapKind::Hash,
        MapKind::PercpuHash,
        MapKind::LruHash,
        MapKind::LruPercpuHash,
        MapKind::LpmTrie,
    ];
    let with_key = |kind| {
        let trie = kind == MapKind::LpmTrie;
        let mut def = MapDef::new("m", kind, if trie { 8 } else { 4 }, 8, 4);
        def.flags = if trie { MapFlags::NO_PREALLOC } else { MapFlags::empty() };
        let key = if trie { [8_u32.to_ne_bytes(), [1, 0, 0, 0]].concat() } else { vec![1, 0, 0, 0] };
        (create(&def, 2).unwrap(), key)
    };
    kinds.into_iter().map(with_key).collect()
}

#[test]
fn unknown_flags_and_values_of_another_size_are_refused() {
    for (map, key) in updated() {
        let kind = map.def().kind;
        for flags in [3, update_flags::LOCK, 8, 1 << 40] {
            let result = map.update(0, &key, Bytes::from(&[0; 8]), flags);
            assert_eq!(result, Err(MapError::Invalid), "{kind}: flags {flags}");
            let all = vec![0; if map.def().is_percpu() { 16 } else { 8 }];
            assert_eq!(map.update_bytes(&key, &all, flags), Err(MapError::Invalid), "{kind}: flags {flags}");
        }
        for len in [0, 7, 9, 16] {
            let result = map.update(0, &key, Bytes::from(&vec![0; len][..]), 0);
            assert_eq!(result, Err(MapError::Invalid), "{kind}: {len} bytes");
        }
        for len in [0, 7, 9, 24] {
            assert_eq!(map.update_bytes(&key, &vec![0; len], 0), Err(MapError::Invalid), "{kind}: {len}");
        }
        for len in [0, 3, 9] {
            let key = vec![0; len];
            assert_eq!(map.lookup(0, &key), None, "{kind}: key of {len} bytes");
            let result = map.update(0, &key, Bytes::from(&[0; 8]), 0);
            assert_eq!(result, Err(MapError::Invalid), "{kind}: key of {len} bytes");
            assert_eq!(map.delete(&key), Err(MapError::Invalid), "{kind}: key of {len} bytes");
        }
    }
}

#[test]
fn the_key_after_one_that_no_array_has_is_the_first() {
    let map = create(&MapDef::new("m", MapKind::Array, 4, 8, 3), 1).unwrap();
    for past in [3_u32, 4, u32::MAX] {
        assert_eq!(map.next_key(Some(&past.to_ne_bytes())), Ok(vec![0; 4]), "{past}");
    }
    assert_eq!(map.next_key(Some(&2_u32.to_ne_bytes())), Err(MapError::NotFound));
}

#[test]
fn each_element_starts_with_its_own_bytes() {
    let mut def = MapDef::new("m", MapKind::Array, 4, 8, 3);
    def.initial = Some((0..24).collect::<Vec<u8>>().into());
    let map = create(&def, 1).unwrap();
    for n in 0..3_u8 {
        let expected: Vec<u8> = (8 * n..8 * n + 8).collect();
        assert_eq!(map.lookup_bytes(&u32::from(n).to_ne_bytes()), Ok(expected));
    }
}

fn with_field(kind: MapKind, field: SpecialKind, size: u32) -> Arc<dyn Map> {
    let mut def = MapDef::new("m", kind, 4, 24, 2);
    def.fields = vec![SpecialField { kind: field, offset: 0, size, btf_type: 0, node: 0 }];
    create(&def, 1).unwrap()
}

/// Bytes of the element's value as programs see them.
fn seen(map: &dyn Map, key: u32) -> Vec<u8> {
    let address = map.lookup(0, &key.to_ne_bytes()).unwrap().0;
    let slab = map.memory(address).unwrap();
    slab.to_vec(slab.offset_of(address, 24).unwrap(), 24)
}

fn write(map: &dyn Map, key: u32, bytes: &[u8]) {
    let address = map.lookup(0, &key.to_ne_bytes()).unwrap().0;
    let slab = map.memory(address).unwrap();
    slab.write(slab.offset_of(address, bytes.len() as u64).unwrap(), bytes);
}

#[test]
fn special_fields_are_kept_hidden_and_start_as_zeroes() {
    for kind in [MapKind::Array, MapKind::Hash] {
        let map = with_field(kind, SpecialKind::SpinLock, 4);
        let key = 1_u32.to_ne_bytes();
        map.update(0, &key, Bytes::from(&[7; 24]), 0).unwrap();
        assert_eq!(seen(&*map, 1)[..8], [0, 0, 0, 0, 7, 7, 7, 7], "{kind}: a new element");
        write(&*map, 1, &[1]);
        assert_eq!(map.lookup_bytes(&key).unwrap()[..8], [0, 0, 0, 0, 7, 7, 7, 7], "{kind}: user space");
        write(&*map, 1, &[0]);
        map.update(0, &key, Bytes::from(&[9; 24]), update_flags::LOCK).unwrap();
        assert_eq!(seen(&*map, 1)[..8], [0, 0, 0, 0, 9, 9, 9, 9], "{kind}: under the lock");
    }
}

#[test]
fn special_fields_of_a_new_element_are_zeroes_though_its_memory_was_used_before() {
    let map = with_field(MapKind::Hash, SpecialKind::SpinLock, 4);
    let each = |keys: [u32; 2], then: &dyn Fn(u32)| keys.into_iter().for_each(then);
    let put = |key: u32| map.update(0, &key.to_ne_bytes(), Bytes::from(&[7; 24]), 0).unwrap();
    each([1, 2], &put);
    each([1, 2], &|key| write(&*map, key, &[1]));
    each([1, 2], &|key| map.delete(&key.to_ne_bytes()).unwrap());
    each([3, 4], &put);
    each([3, 4], &|key| assert_eq!(seen(&*map, key)[..8], [0, 0, 0, 0, 7, 7, 7, 7], "{key}"));
}

#[test]
fn values_of_another_size_are_refused_beneath_the_checks_of_user_space_too() {
    for (map, key) in updated() {
        let right = if map.def().is_percpu() { 16 } else { 8 };
        for len in [0, right - 1, right + 1, 3 * right] {
            let result = map.write_value(&key, &vec![0; len], 0);
            assert_eq!(result, Err(MapError::Invalid), "{}: {len} bytes", map.def().kind);
        }
    }
}

#[test]
fn a_timer_goes_with_its_element() {
    let map = with_field(MapKind::Array, SpecialKind::Timer, 16);
    write(&*map, 1, &[5; 16]);
    map.update(0, &1_u32.to_ne_bytes(), Bytes::from(&[7; 24]), 0).unwrap();
    assert_eq!(seen(&*map, 1)[..8], [0; 8]);
    assert_eq!(seen(&*map, 1)[16..], [7; 8]);
}

#[test]
fn inner_maps_are_those_that_were_declared() {
    let inner = MapDef::new("inner", MapKind::Hash, 4, 8, 4);
    let mut def = MapDef::new("outer", MapKind::ArrayOfMaps, 4, 4, 2);
    def.inner = Some(Box::new(inner.clone()));
    let outer = create(&def, 1).unwrap();
    let outer = outer.as_any().downcast_ref::<MapOfMaps>().unwrap();
    let set = |change: &dyn Fn(&mut MapDef)| {
        let mut def = inner.clone();
        change(&mut def);
        outer.set(&0_u32.to_ne_bytes(), create(&def, 1).unwrap(), 0)
    };
    assert_eq!(set(&|_| ()), Ok(()));
    assert_eq!(set(&|def| def.max_entries = 9), Ok(()), "only arrays have a length that programs rely on");
    assert_eq!(set(&|def| def.key_size = 8), Err(MapError::Invalid));
    assert_eq!(set(&|def| def.value_size = 16), Err(MapError::Invalid));
    assert_eq!(set(&|def| def.kind = MapKind::LruHash), Err(MapError::Invalid));
    assert_eq!(set(&|def| def.flags = MapFlags::NO_PREALLOC), Err(MapError::Invalid));
    let lock = SpecialField { kind: SpecialKind::SpinLock, offset: 0, size: 4, btf_type: 0, node: 0 };
    assert_eq!(set(&|def| def.fields = vec![lock]), Err(MapError::Invalid));
    let one = create(&inner, 1).unwrap();
    assert_eq!(outer.set(&2_u32.to_ne_bytes(), Arc::clone(&one), 0), Err(MapError::TooBig));
    assert_eq!(outer.set(&0_u32.to_ne_bytes(), one, 1), Err(MapError::Invalid));
}

#[test]
fn arrays_inside_of_maps_have_the_declared_length() {
    let mut def = MapDef::new("outer", MapKind::ArrayOfMaps, 4, 4, 2);
    def.inner = Some(Box::new(MapDef::new("inner", MapKind::Array, 4, 8, 4)));
    let outer = create(&def, 1).unwrap();
    let outer = outer.as_any().downcast_ref::<MapOfMaps>().unwrap();
    let longer = create(&MapDef::new("inner", MapKind::Array, 4, 8, 5), 1).unwrap();
    assert_eq!(outer.set(&0_u32.to_ne_bytes(), longer, 0), Err(MapError::Invalid));
}

#[test]
fn a_record_that_is_not_submitted_keeps_its_bytes() {
    let map = create(&MapDef::new("r", MapKind::Ringbuf, 0, 0, 4096), 1).unwrap();
    let ring: &RingbufMap = map.as_any().downcast_ref().unwrap();
    assert_eq!(ring.reserve(8192), None, "larger than the ring");
    let first = ring.reserve(1000).unwrap();
    let second = ring.reserve(1000).unwrap();
    ring.commit(second, Commit::Submit, 0);
    // A consumer that pretends to have read everything gives the first one away no more.
    let mut consumer = ring.consumer().unwrap();
    assert!(consumer.next().is_none());
    drop(consumer);
    assert!(ring.reserve(1000).is_some());
    assert!(ring.reserve(1100).is_none(), "the first record lies there");
    // What a program may touch is what it reserved.
    assert!(map.contains(first.0, 1000) && map.contains(first.0 + 992, 8) && map.contains(first.0, 0));
    assert!(!map.contains(first.0 - 8, 8), "the header is the ring's");
    assert!(!map.contains(first.0, 1001) && !map.contains(second.0, 1), "another's, or submitted");
    // Nothing begins at such an address.
    ring.commit(ValuePtr(first.0 + 4), Commit::Submit, 0);
    let mut consumer = ring.consumer().unwrap();
    assert!(consumer.next().is_none());
    ring.commit(first, Commit::Submit, 0);
    assert_eq!(consumer.drain().len(), 2);
}

#[test]
fn prefixes_come_and_go_without_wearing_the_trie_out() {
    let mut def = MapDef::new("t", MapKind::LpmTrie, 8, 8, 4);
    def.flags = MapFlags::NO_PREALLOC;
    let trie = create(&def, 1).unwrap();
    let key = |bits: u32, first: u8, second: u8| [bits.to_ne_bytes(), [first, second, 0, 0]].concat();
    for round in 0..200_u8 {
        // Other places each time: forks that were left behind would not serve again.
        let keys = [key(16, round, 0), key(16, round, 128), key(24, round, 192), key(8, !round, 0)];
        for key in &keys {
            trie.update(0, key, Bytes::from(&[1; 8]), 0).unwrap_or_else(|error| panic!("{round}: {error}"));
        }
        let mut walked = BTreeSet::new();
        let mut at = trie.next_key(None);
        while let Ok(found) = at {
            at = trie.next_key(Some(&found));
            assert!(walked.insert(found), "{round}: twice");
        }
        assert_eq!(walked, keys.iter().cloned().collect::<BTreeSet<_>>(), "{round}");
        for key in keys.iter().cycle().skip(usize::from(round % 4)).take(4) {
            trie.delete(key).unwrap();
        }
    }
}
