//! The heap: what is owned goes with its owner, lists and trees keep their order, stale memory stays readable.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::*;
use crate::map::{SpecialField, SpecialKind};
use crate::mem::Slab;

fn field(kind: SpecialKind, offset: u32, size: u32) -> SpecialField {
    SpecialField { kind, offset, size, btf_type: 0, node: 0 }
}

/// A type that no other test has: its size says so.
fn known(size: u32, fields: &[SpecialField]) -> KnownType {
    let types = ObjectTypes::new([(7, ObjectType { size, fields: fields.to_vec() })]);
    types.get(7).unwrap()
}

fn alive(heap: &Heap, known: KnownType) -> usize {
    heap.count(|number| number == known.number)
}

fn key(heap: &Heap, node: u64) -> u64 {
    heap.words::<1>(node + 32).unwrap()[0].load(Relaxed)
}

/// Puts a node in whose key is the word behind it.
fn insert(heap: &Heap, root: &Anchor, node: u64) -> Step {
    let mut next = step(heap, root, node, None);
    while let Step::Compare(at) = next {
        next = step(heap, root, node, Some((at, key(heap, node) < key(heap, at))));
    }
    next
}

/// Keys in order, and the number of black nodes on every way down.
fn walk(heap: &Heap, node: u64, keys: &mut Vec<u64>) -> u32 {
    if node == 0 {
        return 0;
    }
    let words = heap.words::<4>(node).unwrap().each_ref().map(|word| word.load(Relaxed));
    let black = words[0] & 1;
    for next in [words[1], words[2]].into_iter().filter(|next| *next != 0) {
        let parent = heap.words::<1>(next).unwrap()[0].load(Relaxed);
        assert_eq!(parent & !1, node);
        assert!(black == 1 || parent & 1 == 1, "a red node below a red one");
    }
    let left = walk(heap, words[2], keys);
    keys.push(key(heap, node));
    assert_eq!(walk(heap, words[1], keys), left, "black nodes");
    left + black as u32
}

#[test]
fn a_tree_stays_sorted_and_balanced() {
    let heap = heap().unwrap();
    let known = known(41, &[field(SpecialKind::RbNode, 0, 32)]);
    let root: Anchor = [const { AtomicU64::new(0) }; 2];
    let (mut seed, mut inside) = (0x1234_5678_9abc_def1_u64, Vec::new());
    for round in 0..2000 {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        if inside.len() < 20 || (round < 1000 && seed % 3 != 0) {
            let node = heap.allocate(known).unwrap();
            heap.words::<1>(node + 32).unwrap()[0].store(seed % 512, Relaxed);
            assert_eq!(insert(heap, &root, node), Step::Done);
            assert_eq!(insert(heap, &root, node), Step::Refused);
            inside.push(node);
        } else {
            let node = inside.swap_remove((seed % inside.len() as u64) as usize);
            assert!(erase(heap, &root, node) && !erase(heap, &root, node));
            heap.release(node);
        }
        let mut keys = Vec::new();
        walk(heap, root[0].load(Relaxed), &mut keys);
        assert!(keys.is_sorted() && keys.len() == inside.len());
        assert_eq!(first(heap, &root).map(|node| key(heap, node)), keys.first().copied());
    }
    assert_eq!(alive(heap, known), inside.len());
    let mut left = Vec::new();
    super::tree::take_all(heap, &root, &mut left);
    assert_eq!((left.len(), root[0].load(Relaxed), root[1].load(Relaxed)), (inside.len(), 0, 0));
}

#[test]
fn a_list_gives_back_what_it_was_given_in_order() {
    let heap = heap().unwrap();
    let known = known(42, &[field(SpecialKind::ListNode, 8, 24)]);
    let head: Anchor = [const { AtomicU64::new(0) }; 2];
    let nodes: Vec<u64> = (0..5).map(|_| heap.allocate(known).unwrap() + 8).collect();
    for &node in &nodes[..3] {
        assert!(push(heap, &head, node, End::Last));
    }
    for &node in &nodes[3..] {
        assert!(push(heap, &head, node, End::First));
    }
    assert!(!push(heap, &head, nodes[0], End::First), "it is in");
    assert_eq!(end_of_list(heap, &head, End::First), Some(nodes[4]));
    let order = [4, 3, 0].map(|index: usize| nodes[index]);
    for node in order {
        assert_eq!(pop(heap, &head, End::First), Some(node));
    }
    assert_eq!(pop(heap, &head, End::Last), Some(nodes[2]));
    assert_eq!(pop(heap, &head, End::Last), Some(nodes[1]));
    assert_eq!(pop(heap, &head, End::Last), None);
    assert!(push(heap, &head, nodes[0], End::First), "it is out");
    assert_eq!(alive(heap, known), 5);
}

#[test]
fn what_an_object_owns_goes_with_it() {
    let heap = heap().unwrap();
    let leaf = known(43, &[field(SpecialKind::ListNode, 8, 24), field(SpecialKind::Refcount, 32, 4)]);
    let fields = [field(SpecialKind::ListHead, 0, 16), field(SpecialKind::KptrRef, 16, 8)];
    let owner = known(44, &fields);
    let value = Slab::new(64).unwrap();
    // A chain of owners, too long for any stack.
    let mut last = 0;
    for _ in 0..10_000 {
        let next = heap.allocate(owner).unwrap();
        heap.words::<3>(next).unwrap()[2].store(last, Relaxed);
        last = next;
    }
    value.atomic_u64(16).store(last, Relaxed);
    let head: &Anchor = value.atomic_words(0);
    let shared = heap.allocate(leaf).unwrap();
    assert!(heap.acquire(shared));
    assert!(push(heap, head, shared + 8, End::First));
    let single = heap.allocate(leaf).unwrap();
    assert!(push(heap, head, single + 8, End::First));
    assert_eq!((alive(heap, leaf), alive(heap, owner)), (2, 10_000));
    clear(&fields, &value, 0);
    assert_eq!((alive(heap, leaf), alive(heap, owner)), (1, 0));
    assert_eq!(value.to_vec(0, 24), [0; 24]);
    heap.release(shared);
    assert_eq!(alive(heap, leaf), 0);
    assert!(!heap.acquire(shared), "gone for good");
}

#[test]
fn memory_of_an_object_that_is_gone_can_still_be_read() {
    let heap = heap().unwrap();
    let known = known(45, &[]);
    let object = heap.allocate(known).unwrap();
    heap.words::<1>(object + 8).unwrap()[0].store(77, Relaxed);
    heap.release(object);
    assert!(heap.object(object, 8).is_none() && !heap.is_object(object));
    let next = heap.allocate(known).unwrap();
    assert_ne!(object, next);
    let piece = heap.piece(object + 8, 8).unwrap();
    assert_eq!(heap.words::<1>(heap.address_of(piece.start) + 8).unwrap()[0].load(Relaxed), 77);
    assert!(heap.piece(object + 40, 8).is_none(), "past its end");
    // Some time later it is used again, as new.
    let again = (0..60_000).any(|_| {
        let other = heap.allocate(known).unwrap();
        assert_eq!(heap.words::<1>(other + 8).unwrap()[0].swap(78, Relaxed), 0);
        heap.release(other);
        other == object
    });
    assert!(again);
}

#[test]
fn words_that_no_helper_wrote_lead_nowhere() {
    let heap = heap().unwrap();
    let known = known(46, &[field(SpecialKind::ListNode, 0, 24)]);
    let node = heap.allocate(known).unwrap();
    for junk in [1, 8, u64::MAX, node + 4, node - (1 << 40), node] {
        let anchor: Anchor = [const { AtomicU64::new(0) }; 2].map(|_| AtomicU64::new(junk));
        assert_eq!(pop(heap, &anchor, End::First), None);
        assert!(!erase(heap, &anchor, node));
        let mut left = Vec::new();
        super::list::take_all(heap, &anchor, &mut left);
        super::tree::take_all(heap, &anchor, &mut left);
        assert_eq!(left, []);
    }
}
