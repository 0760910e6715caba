//! Objects that programs allocate (`bpf_obj_new` and its relatives): their memory, who owns them, lists and trees.
//!
//! In: types of objects, calls of helpers. Out: addresses. There is one `Heap` in a process, as there is one in a kernel:
//! maps outlive the programs that put objects into them, and programs of several engines may share a map. It is never
//! unmapped, so that a stale pointer finds other bytes of the heap and nothing else (INV-16). What must be right whatever
//! a program writes (types, counts, sizes) lies beside the objects; links of lists and trees lie in them, as in the
//! kernel, and are looked up before they are followed. Not here: what a program may do with an object (the verifier).
#![forbid(unsafe_code)]

mod fields;
mod list;
mod pieces;
mod tree;
mod types;

#[cfg(test)]
mod tests;

pub(crate) use fields::{clear, owns};
pub(crate) use list::{End, end_of_list, pop, push};
pub(crate) use pieces::{Heap, LARGEST, heap};
pub(crate) use tree::{Child, Step, child, erase, first, root, step};
#[cfg(test)]
pub(crate) use types::KnownType;
pub use types::{ObjectType, ObjectTypes};

/// Bytes of `struct bpf_list_node`.
pub(crate) const LIST_NODE: u64 = 24;
/// Bytes of `struct bpf_rb_node`.
pub(crate) const TREE_NODE: u64 = 32;
/// Bytes of `struct bpf_list_head` and `struct bpf_rb_root`.
pub(crate) const COLLECTION: u64 = 16;

/// The head of a list or the root of a tree: two words, all zero when it is empty.
pub(crate) type Anchor = [std::sync::atomic::AtomicU64; 2];

/// What a collection is known by to its nodes.
pub(crate) fn address_of(anchor: &Anchor) -> u64 {
    std::ptr::from_ref(anchor).expose_provenance() as u64
}
