//! Which accesses a layout allows: whole fields, parts of them, raw bytes.
#![forbid(unsafe_code)]

use beelift_runtime::ctx::{ContextLayout, CtxField, FieldAccess, FieldKind, Parts};

const FIELD: CtxField = CtxField {
    name: "field",
    offset: 8,
    size: 4,
    reads: Parts::None,
    writes: Parts::None,
    kind: FieldKind::Scalar,
    native_offset: 0,
    native_size: 4,
};

/// The reads of 1, 2 and 4 bytes around the field that are allowed, by offset and size.
fn allowed(reads: Parts) -> Vec<(u32, u32)> {
    let field = CtxField { reads, ..FIELD };
    let all = (4..16).flat_map(|offset| [1, 2, 4].map(|size| (offset, size)));
    all.filter(|&(offset, size)| field.allows_read(offset, size)).collect()
}

#[test]
fn parts_of_fields_are_aligned_and_as_large_as_they_may_be() {
    let bytes = [(8, 1), (9, 1), (10, 1), (11, 1)];
    let sorted = |mut parts: Vec<(u32, u32)>| {
        parts.sort_unstable();
        parts
    };
    assert_eq!(allowed(Parts::None), []);
    let halves = [(8, 2), (10, 2)];
    assert_eq!(allowed(Parts::Aligned { min: 1, max: 4 }), sorted([&bytes[..], &halves, &[(8, 4)]].concat()));
    assert_eq!(allowed(Parts::Aligned { min: 2, max: 2 }), halves);
    assert_eq!(allowed(Parts::Aligned { min: 4, max: 8 }), [(8, 4)]);
    assert_eq!(allowed(Parts::Start { max: 2 }), [(8, 1), (8, 2)]);
    assert_eq!(allowed(Parts::FirstHalf), [(8, 1), (8, 2), (8, 4), (9, 1)]);
}

#[test]
fn raw_bytes_are_read_or_written_where_they_lie() {
    let raw = |access| ContextLayout::Raw { name: "raw", start: 8, size: 24, access };
    let [read, both, write] = [FieldAccess::Read, FieldAccess::ReadWrite, FieldAccess::Write].map(raw);
    for (layout, reads, writes) in [(read, true, false), (both, true, true), (write, false, true)] {
        assert_eq!((layout.allows_read(8, 8), layout.allows_write(8, 8)), (reads, writes), "{layout:?}");
    }
    for (offset, size) in [(0, 8), (4, 8), (12, 8), (24, 8), (22, 4), (u32::MAX, 1), (9, 2)] {
        assert!(!both.allows_read(offset, size) && !both.allows_write(offset, size), "{size} at {offset}");
    }
    for (offset, size) in [(16, 8), (20, 4), (22, 2), (23, 1)] {
        assert!(both.allows_read(offset, size) && both.allows_write(offset, size), "{size} at {offset}");
    }
}
