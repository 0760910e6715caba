//! `lpm_trie`: longest prefix match over keys `prefix length (u32) | data`.
//!
//! In: [`MapDef`]. A path-compressed binary trie in one slab: a node per element, and forks without element where two
//! paths part. A table by the first bits of a key leads past the topmost nodes. Lookups take no lock ([`versioned`]),
//! writers take turns. An update of an existing element puts a new node in its place; the old one is reused only after
//! the next node was taken out.
#![forbid(unsafe_code)]

mod nodes;
mod tops;

use std::sync::{Mutex, PoisonError};

use self::nodes::{Head, Nodes};
use self::tops::Tops;
use super::versioned::{self, index_of_link, link_to};
use super::{CreateError, Map, MapDef, MapError, MapState, UpdateFlags, ValuePtr, update_flags};
use crate::mem::{Bytes, OutOfMemory, Slab};
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// An `lpm_trie` map.
pub(crate) struct LpmMap {
    state: MapState,
    nodes: Nodes,
    tops: Tops,
    /// Leads to the topmost node.
    root: AtomicU64,
    writer: Mutex<Writer>,
}

/// What only the writer knows.
struct Writer {
    elements: u32,
    /// Nodes handed out at least once.
    mark: u32,
    /// Link to the first free node; the others are linked by their first child.
    free: u64,
    /// The node taken out last.
    retired: Option<u32>,
}

/// A place where a link is kept.
#[derive(Clone, Copy)]
enum Slot {
    Root,
    Child(u32, usize),
}

/// Where the search for a key ends.
struct Place {
    /// The slot of the parent of `slot`, if there is a parent.
    above: Option<(Slot, u32)>,
    slot: Slot,
    /// The node in `slot`, and how many bits it shares with the key.
    node: Option<(u32, u32)>,
}

impl LpmMap {
    /// An empty map.
    ///
    /// # Errors
    /// [`CreateError::NoMemory`].
    pub(super) fn new(def: &MapDef, cpus: u32) -> Result<Self, CreateError> {
        let state = MapState::new(def, cpus);
        let no_memory = |error: OutOfMemory| CreateError::NoMemory { kind: def.kind, bytes: error.len };
        let nodes = Nodes::new(def, state.layout().stride()).map_err(no_memory)?;
        let tops = Tops::new(def.max_entries, nodes.max_bits()).map_err(no_memory)?;
        let writer = Writer { elements: 0, mark: 0, free: 0, retired: None };
        Ok(Self { state, nodes, tops, root: AtomicU64::new(0), writer: Mutex::new(writer) })
    }

    /// Runs a change while no other one runs.
    fn write<R>(&self, change: impl FnOnce(&mut Writer) -> R) -> R {
        // A panic in a writer would be a bug; the trie is whole between the steps of a change.
        change(&mut self.writer.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Prefix length and data of a key of the right size whose prefix fits.
    #[inline]
    fn split<'k>(&self, key: &'k [u8]) -> Option<(u32, &'k [u8])> {
        let (bits, data) = key.split_first_chunk()?;
        let bits = u32::from_ne_bytes(*bits);
        (key.len() == self.def().key_size as usize && bits <= self.nodes.max_bits()).then_some((bits, data))
    }

    /// The element with the longest prefix of a key.
    #[inline]
    fn find(&self, key: &[u8]) -> Option<u32> {
        let (bits, data) = self.split(key)?;
        match data.len() {
            1..=8 => self.find_words::<1, 3>(bits, [nodes::data_word(data, 0)]),
            9..=16 => self.find_words::<2, 4>(bits, [nodes::data_word(data, 0), nodes::data_word(data, 1)]),
            _ => self.find_long(bits, data),
        }
    }

    /// As `find`, for data of at most `N` big-endian words.
    #[inline]
    fn find_words<const N: usize, const K: usize>(&self, bits: u32, data: [u64; N]) -> Option<u32> {
        versioned::read(&self.root, |walk| {
            let (mut found, mut link) = self.tops.start(bits, data[0], walk.link());
            while let Some(node) = index_of_link(link) {
                let node = self.nodes.view::<N, K>(node);
                if node.bits() > bits || !node.is_prefix_of(&data) {
                    break;
                }
                if node.is_element() {
                    found = link;
                }
                link = node.child(&data);
                walk.step()?;
            }
            Ok(index_of_link(found))
        })
    }

    /// As `find`, for data of any length.
    fn find_long(&self, bits: u32, data: &[u8]) -> Option<u32> {
        versioned::read(&self.root, |walk| {
            let (mut found, mut link) = self.tops.start(bits, nodes::data_word(data, 0), walk.link());
            while let Some(node) = index_of_link(link) {
                let head = self.nodes.head(node);
                let limit = bits.min(head.bits);
                if limit < head.bits || self.nodes.shared_bits(node, data, limit) < limit {
                    break;
                }
                if head.is_element {
                    found = link;
                }
                link = self.nodes.child(node, Nodes::side(data, head.bits));
                walk.step()?;
            }
            Ok(index_of_link(found))
        })
    }

    /// [`Map::lookup`] of a key whose prefix is given apart from its data, big-endian words.
    #[inline]
    pub(crate) fn lookup_words<const N: usize, const K: usize>(
        &self,
        bits: u32,
        data: [u64; N],
    ) -> Option<ValuePtr> {
        if bits > self.nodes.max_bits() {
            return None;
        }
        self.find_words::<N, K>(bits, data).map(|node| self.value(node))
    }

    /// Bytes of a key.
    pub(crate) fn key_size(&self) -> u32 {
        self.state.def().key_size
    }

    #[inline]
    fn value(&self, node: u32) -> ValuePtr {
        ValuePtr(self.nodes.words().slab().address() + self.nodes.value_at(node))
    }

    /// Link of the root, for writers.
    fn link_in(&self, slot: Slot) -> u64 {
        match slot {
            Slot::Root => self.root.load(Relaxed) & versioned::LINK,
            Slot::Child(node, side) => self.nodes.child(node, side),
        }
    }

    /// Walks down while nodes are proper prefixes of the key. For writers.
    fn place(&self, bits: u32, data: &[u8]) -> Place {
        let mut place = Place { above: None, slot: Slot::Root, node: None };
        while let Some(node) = index_of_link(self.link_in(place.slot)) {
            let head = self.nodes.head(node);
            let shared = self.nodes.shared_bits(node, data, bits.min(head.bits));
            if shared < head.bits || head.bits == bits {
                place.node = Some((node, shared));
                break;
            }
            let slot = Slot::Child(node, Nodes::side(data, head.bits));
            place = Place { above: Some((place.slot, node)), slot, node: None };
        }
        place
    }

    /// Makes `link` the content of `slot`, for readers in one step together with what `prepare` writes. The change is one
    /// of the element of a key.
    fn publish(&self, (bits, data): (u32, &[u8]), slot: Slot, link: u64, prepare: impl FnOnce()) {
        let mut guard = versioned::lock(&self.root);
        prepare();
        match slot {
            Slot::Root => guard.link = link,
            Slot::Child(node, side) => self.nodes.set_child(node, side, link),
        }
        self.tops.refresh(&self.nodes, guard.link, bits, nodes::data_word(data, 0));
    }

    fn put(&self, key: &[u8], value: Bytes<'_>, flags: UpdateFlags) -> Result<(), MapError> {
        if flags > update_flags::EXIST || value.len() != self.state.layout().size() {
            return Err(MapError::Invalid);
        }
        let (bits, data) = self.split(key).ok_or(MapError::Invalid)?;
        self.write(|writer| {
            let place = self.place(bits, data);
            let same =
                place.node.filter(|&(node, shared)| shared == bits && self.nodes.head(node).bits == bits);
            let existing = same.is_some_and(|(node, _)| self.nodes.head(node).is_element);
            if existing {
                if flags == update_flags::NOEXIST {
                    return Err(MapError::Exists);
                }
            } else if flags == update_flags::EXIST {
                return Err(MapError::NotFound);
            } else if writer.elements == self.def().max_entries {
                return Err(MapError::NoSpace);
            }
            let new = self.take(writer)?;
            // A fork: the two paths part before both keys end.
            let fork = match place.node {
                Some((_, shared)) if shared < bits && same.is_none() => match self.take(writer) {
                    Ok(fork) => Some((fork, shared)),
                    Err(error) => {
                        self.give(writer, new);
                        return Err(error);
                    }
                },
                Some(_) | None => None,
            };
            self.insert(&place, same.is_some(), new, fork, (bits, data), value);
            if let Some((old, _)) = same {
                self.retire(writer, old);
            }
            writer.elements += u32::from(!existing);
            Ok(())
        })
    }

    /// Links `new` at `place`, with `fork` between.
    fn insert(
        &self,
        place: &Place,
        replace: bool,
        new: u32,
        fork: Option<(u32, u32)>,
        (bits, data): (u32, &[u8]),
        value: Bytes<'_>,
    ) {
        let nodes = &self.nodes;
        let top = fork.map_or(new, |(fork, _)| fork);
        self.publish((bits, data), place.slot, link_to(top), || {
            nodes.set_head(new, Head { bits, is_element: true });
            nodes.set_data(new, data);
            let slab = nodes.words().slab();
            self.state.layout().write_new(slab, nodes.value_at(new), value);
            match (place.node, fork) {
                (None, _) => nodes.set_children(new, [0, 0]),
                (Some((old, _)), _) if replace => nodes.set_children(new, nodes.children(old)),
                (Some((below, _)), None) => {
                    nodes.set_children(new, [0, 0]);
                    nodes.set_child(new, nodes.own_side(below, bits), link_to(below));
                }
                (Some((below, _)), Some((fork, shared))) => {
                    nodes.set_children(new, [0, 0]);
                    nodes.set_head(fork, Head { bits: shared, is_element: false });
                    nodes.copy_data(below, fork);
                    nodes.set_child(fork, Nodes::side(data, shared), link_to(new));
                    nodes.set_child(fork, nodes.own_side(below, shared), link_to(below));
                }
            }
        });
    }

    fn remove(&self, key: &[u8]) -> Result<(), MapError> {
        let (bits, data) = self.split(key).ok_or(MapError::Invalid)?;
        self.write(|writer| {
            let place = self.place(bits, data);
            let head = |node| self.nodes.head(node);
            let exact = place
                .node
                .filter(|&(node, shared)| shared == bits && head(node) == Head { bits, is_element: true });
            let (node, _) = exact.ok_or(MapError::NotFound)?;
            writer.elements -= 1;
            match (self.nodes.children(node), place.above) {
                ([left, right], _) if left != 0 && right != 0 => {
                    let fork = Head { bits, is_element: false };
                    self.publish((bits, data), place.slot, link_to(node), || self.nodes.set_head(node, fork));
                }
                ([0, 0], Some((slot, parent))) if !head(parent).is_element => {
                    // The parent parted two paths, of which one is left.
                    let [left, right] = self.nodes.children(parent);
                    let sibling = if left == link_to(node) { right } else { left };
                    self.publish((bits, data), slot, sibling, || ());
                    self.retire(writer, parent);
                    self.retire(writer, node);
                }
                ([left, right], _) => {
                    self.publish((bits, data), place.slot, left | right, || ());
                    self.retire(writer, node);
                }
            }
            Ok(())
        })
    }

    /// A node for writing; `None` is out of memory: the kernel says so, too.
    fn take(&self, writer: &mut Writer) -> Result<u32, MapError> {
        if let Some(node) = index_of_link(writer.free) {
            writer.free = self.nodes.child(node, 0);
            return Ok(node);
        }
        if writer.mark < self.nodes.count() {
            writer.mark += 1;
            return Ok(writer.mark - 1);
        }
        writer.retired.take().ok_or(MapError::NoMemory)
    }

    /// Gives a node back that no reader can find. Its first child links the free list: readers that still stand on it
    /// walk again.
    fn give(&self, writer: &mut Writer, node: u32) {
        self.nodes.set_children(node, [writer.free, 0]);
        writer.free = link_to(node);
    }

    /// Gives a node back after the next one.
    fn retire(&self, writer: &mut Writer, node: u32) {
        if let Some(last) = writer.retired.replace(node) {
            self.give(writer, last);
        }
    }

    /// First element below `link` in postorder, left before right: a leaf, and leaves are elements.
    fn leftmost(&self, mut link: u64) -> Option<u32> {
        let mut found = None;
        while let Some(node) = index_of_link(link) {
            found = Some(node);
            let [left, right] = self.nodes.children(node);
            link = if left == 0 { right } else { left };
        }
        found
    }

    /// Element after `key` in postorder; the first one if `key` is none.
    fn next_node(&self, key: Option<&[u8]>) -> Option<u32> {
        let root = self.link_in(Slot::Root);
        let Some((bits, data)) = key.and_then(|key| self.split(key)) else { return self.leftmost(root) };
        let mut path = Vec::new();
        let mut link = root;
        while let Some(node) = index_of_link(link) {
            let head = self.nodes.head(node);
            path.push(node);
            let shared = self.nodes.shared_bits(node, data, bits.min(head.bits));
            if shared < head.bits || head.bits == bits {
                break;
            }
            link = self.nodes.child(node, Nodes::side(data, head.bits));
        }
        let exact = path.last().is_some_and(|&node| {
            let found = self.nodes.head(node) == Head { bits, is_element: true };
            link != 0 && found && self.nodes.shared_bits(node, data, bits) == bits
        });
        if !exact {
            return self.leftmost(root);
        }
        let mut node = path.pop()?;
        while let Some(parent) = path.pop() {
            let [left, right] = self.nodes.children(parent);
            if left == link_to(node) && right != 0 {
                return self.leftmost(right);
            }
            if self.nodes.head(parent).is_element {
                return Some(parent);
            }
            node = parent;
        }
        None
    }
}

impl Map for LpmMap {
    fn state(&self) -> &MapState {
        &self.state
    }

    #[inline]
    fn lookup(&self, _cpu: u32, key: &[u8]) -> Option<ValuePtr> {
        self.find(key).map(|node| self.value(node))
    }

    fn update(&self, _cpu: u32, key: &[u8], value: Bytes<'_>, flags: UpdateFlags) -> Result<(), MapError> {
        self.put(key, value, flags)
    }

    fn delete(&self, key: &[u8]) -> Result<(), MapError> {
        self.remove(key)
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, MapError> {
        if key.is_some_and(|key| key.len() != self.def().key_size as usize) {
            return Err(MapError::Invalid);
        }
        self.write(|_| self.next_node(key).map(|node| self.nodes.key(node))).ok_or(MapError::NotFound)
    }

    fn read_value(&self, key: &[u8], flags: UpdateFlags) -> Result<Vec<u8>, MapError> {
        // As a writer: the value must not be reused while it is copied.
        self.write(|_| {
            let node = self.find(key).ok_or(MapError::NotFound)?;
            Ok(self.state.layout().to_vec(self.nodes.words().slab(), self.nodes.value_at(node), flags))
        })
    }

    fn write_value(&self, key: &[u8], value: &[u8], flags: UpdateFlags) -> Result<(), MapError> {
        self.put(key, Bytes::from(value), flags)
    }

    fn contains(&self, address: u64, len: u64) -> bool {
        let offset = self.nodes.words().slab().offset_of(address, len);
        offset.is_some_and(|at| self.nodes.in_value(at, len, self.state.layout().size()))
    }

    fn memory(&self, address: u64) -> Option<&Slab> {
        let slab = self.nodes.words().slab();
        slab.contains(address, 1).then_some(slab)
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}
