//! `lpm_trie` against a list of prefixes searched one by one.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::Arc;

use beelift_runtime::map::{Map, MapDef, MapError, MapFlags, MapKind, create, update_flags};

fn trie(data: u32, entries: u32) -> Arc<dyn Map> {
    let mut def = MapDef::new("t", MapKind::LpmTrie, 4 + data, 8, entries);
    def.flags = MapFlags::NO_PREALLOC;
    create(&def, 2).unwrap()
}

fn key(bits: u32, data: &[u8]) -> Vec<u8> {
    [&bits.to_ne_bytes(), data].concat()
}

fn found(map: &dyn Map, key: &[u8]) -> Option<u64> {
    let by_user = map.lookup_bytes(key).ok().map(|value| u64::from_ne_bytes(value.try_into().unwrap()));
    let by_program = map.lookup(0, key).map(|value| {
        let slab = map.memory(value.0).unwrap();
        assert!(map.contains(value.0, 8) && !map.contains(value.0 - 1, 8) && !map.contains(value.0, 9));
        u64::from_ne_bytes(slab.bytes(slab.offset_of(value.0, 8).unwrap(), 8).array(0))
    });
    assert_eq!(by_user, by_program);
    by_user
}

/// Deterministic numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

fn has_prefix(data: &[u8], prefix: &[u8], bits: u32) -> bool {
    (0..bits as usize).all(|bit| (data[bit / 8] ^ prefix[bit / 8]) >> (7 - bit % 8) & 1 == 0)
}

fn masked(data: &[u8], bits: u32) -> Vec<u8> {
    let keep = |i: usize| (0..8).filter(|b| 8 * i + b < bits as usize).fold(0_u8, |mask, b| mask | 0x80 >> b);
    data.iter().enumerate().map(|(i, byte)| byte & keep(i)).collect()
}

#[test]
fn agrees_with_a_list_of_prefixes() {
    // Tries for many elements have a larger table in front.
    let sizes = [(1, 4000), (3, 3000), (4, 6000), (8, 2000), (16, 2000), (33, 500), (256, 100)];
    for (size, rounds, limit) in sizes.into_iter().flat_map(|(s, r)| [(s, r, 40), (s, r, 1000)]) {
        let map = trie(size, limit as u32);
        let mut list: BTreeMap<(Vec<u8>, u32), u64> = BTreeMap::new();
        let mut random = Random(0x1234_5678_9abc_def1 + u64::from(size));
        for round in 0..rounds {
            // Few distinct bits, so that prefixes nest and part.
            let data: Vec<u8> = (0..size).map(|_| [0, 0x80, 0xff, 0x81][random.below(4) as usize]).collect();
            let bits = random.below(8 * u64::from(size) + 1) as u32;
            let id = (masked(&data, bits), bits);
            match random.below(5) {
                0 | 1 => {
                    let expect = match list.contains_key(&id) {
                        false if list.len() == limit => Err(MapError::NoSpace),
                        _ => Ok(()),
                    };
                    let value: u64 = round;
                    let got = map.update_bytes(&key(bits, &data), &value.to_ne_bytes(), update_flags::ANY);
                    assert_eq!(got, expect);
                    if got.is_ok() {
                        list.insert(id, value);
                    }
                }
                2 => {
                    let expect = list.remove(&id).map(drop).ok_or(MapError::NotFound);
                    assert_eq!(map.delete_bytes(&key(bits, &data)), expect);
                }
                _ => {
                    let fits = |(prefix, length): &&(Vec<u8>, u32)| {
                        *length <= bits && has_prefix(&data, prefix, *length)
                    };
                    let best = list.keys().filter(fits).max_by_key(|(_, length)| *length);
                    assert_eq!(found(&*map, &key(bits, &data)), best.map(|id| list[id]), "size {size}");
                }
            }
        }
        let mut seen = Vec::new();
        let mut at = map.next_key(None);
        while let Ok(next) = at {
            let bits = u32::from_ne_bytes(next[..4].try_into().unwrap());
            seen.push((masked(&next[4..], bits), bits));
            at = map.next_key(Some(&next));
        }
        seen.sort();
        assert_eq!(seen, list.into_keys().collect::<Vec<_>>());
    }
}

#[test]
fn keys_come_longest_first_from_left_to_right() {
    let map = trie(4, 10);
    for (bits, data) in
        [(16, [192, 168, 0, 0]), (24, [192, 168, 0, 0]), (24, [192, 168, 128, 0]), (24, [192, 168, 1, 0])]
    {
        map.update_bytes(&key(bits, &data), &[0; 8], 0).unwrap();
    }
    let mut order = vec![map.next_key(None).unwrap()];
    while let Ok(next) = map.next_key(order.last().map(Vec::as_slice)) {
        order.push(next);
    }
    let expect =
        [(24, [192, 168, 0, 0]), (24, [192, 168, 1, 0]), (24, [192, 168, 128, 0]), (16, [192, 168, 0, 0])];
    assert_eq!(order, expect.map(|(bits, data)| key(bits, &data)));
    // A key that is not there, or none: from the start.
    assert_eq!(map.next_key(Some(&key(25, &[192, 168, 0, 0]))).unwrap(), order[0]);
    assert_eq!(map.next_key(Some(&key(99, &[0; 4]))).unwrap(), order[0]);
}

#[test]
fn prefixes_longer_than_the_data_are_refused() {
    let map = trie(4, 4);
    map.update_bytes(&key(0, &[0; 4]), &[1; 8], 0).unwrap();
    assert_eq!(map.update_bytes(&key(33, &[0; 4]), &[1; 8], 0), Err(MapError::Invalid));
    assert_eq!(map.delete_bytes(&key(33, &[0; 4])), Err(MapError::Invalid));
    assert_eq!(map.lookup_bytes(&key(33, &[0; 4])), Err(MapError::NotFound));
    assert!(map.lookup_bytes(&key(32, &[9; 4])).is_ok());
}

#[test]
fn readers_always_find_a_prefix_that_stays_while_others_come_and_go() {
    let map = trie(4, 64);
    map.update_bytes(&key(8, &[10, 0, 0, 0]), &7_u64.to_ne_bytes(), 0).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..2_u8 {
            let map = &*map;
            scope.spawn(move || {
                let mut random = Random(u64::from(thread) + 1);
                for _ in 0..20_000 {
                    let data = [11 + thread, random.below(4) as u8, 0, 0];
                    let key = key(9 + random.below(20) as u32, &data);
                    _ = map.update_bytes(&key, &9_u64.to_ne_bytes(), 0);
                    _ = map.delete_bytes(&key);
                }
            });
        }
        for _ in 0..20_000 {
            assert_eq!(found(&*map, &key(32, &[10, 1, 2, 3])), Some(7));
        }
    });
}
