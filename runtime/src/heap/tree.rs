//! Trees of objects: red-black, in the order that a program's function says. A root holds the topmost and the first node,
//! a node its parent (with its colour in the lowest bit), its children and the tree that it is in.
//!
//! Programs can look at the shape of a tree (`bpf_rbtree_root`, `_left`, `_right`), so the steps are those of the textbook,
//! which a kernel takes, too. Callers hold the lock of the tree. Links are looked up before they are followed, and walks
//! are bounded: a program that nobody verified may have written anything.
#![forbid(unsafe_code)]

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};

use super::list::NOBODY_YET;
use super::pieces::Heap;
use super::{Anchor, address_of};

const PARENT: usize = 0;
const RIGHT: usize = 1;
const LEFT: usize = 2;
const OWNER: usize = 3;
/// Colour of a node, in the word of its parent.
const BLACK: u64 = 1;
/// Deeper than any tree is that fits into the heap.
const DEPTH: usize = 128;

type Node = [AtomicU64; 4];

/// A child of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Child {
    Left,
    Right,
}

impl Child {
    const fn word(self) -> usize {
        match self {
            Self::Left => LEFT,
            Self::Right => RIGHT,
        }
    }
    const fn other(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }
}

/// What comes next when a node is put into a tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// Ask whether the new node comes before this one.
    Compare(u64),
    /// The node is in.
    Done,
    /// The node is in a tree already.
    Refused,
}

/// One step of putting a node in: `asked` is the node that the last step named, and whether the new one comes before it.
pub(crate) fn step(heap: &Heap, root: &Anchor, address: u64, asked: Option<(u64, bool)>) -> Step {
    let tree = Tree { heap, root };
    let Some(new) = tree.node(address) else { return Step::Refused };
    let (parent, side) = match asked {
        None => {
            if new[OWNER].compare_exchange(0, NOBODY_YET, AcqRel, Relaxed).is_err() {
                return Step::Refused;
            }
            (0, Child::Left)
        }
        Some((parent, before)) => (parent, if before { Child::Left } else { Child::Right }),
    };
    let next = if parent == 0 { root[0].load(Relaxed) } else { tree.child(parent, side) };
    if tree.node(next).is_some() {
        return Step::Compare(next);
    }
    new[PARENT].store(parent, Relaxed);
    new[LEFT].store(0, Relaxed);
    new[RIGHT].store(0, Relaxed);
    let first = root[1].load(Relaxed);
    if parent == 0 {
        root[0].store(address, Relaxed);
    } else {
        tree.set_child(parent, side, address);
    }
    if parent == 0 || (side == Child::Left && parent == first) {
        root[1].store(address, Relaxed);
    }
    tree.balance_after_insert(address);
    new[OWNER].store(address_of(root), Relaxed);
    Step::Done
}

/// Takes a node out. False if it is not in that tree.
pub(crate) fn erase(heap: &Heap, root: &Anchor, address: u64) -> bool {
    let tree = Tree { heap, root };
    let Some(old) = tree.owned(address) else { return false };
    if root[1].load(Relaxed) == address {
        root[1].store(tree.after_first(address), Relaxed);
    }
    tree.unlink(address);
    for word in old {
        word.store(0, Relaxed);
    }
    true
}

/// The first node.
pub(crate) fn first(heap: &Heap, root: &Anchor) -> Option<u64> {
    let address = root[1].load(Relaxed);
    Tree { heap, root }.node(address).map(|_| address)
}

/// The topmost node.
pub(crate) fn root(heap: &Heap, root: &Anchor) -> Option<u64> {
    let address = root[0].load(Relaxed);
    Tree { heap, root }.node(address).map(|_| address)
}

/// A child of a node of the tree.
pub(crate) fn child(heap: &Heap, root: &Anchor, address: u64, side: Child) -> Option<u64> {
    let tree = Tree { heap, root };
    let child = tree.owned(address)?[side.word()].load(Relaxed);
    tree.node(child).map(|_| child)
}

/// Empties a tree: its objects.
pub(super) fn take_all(heap: &Heap, root: &Anchor, left: &mut Vec<u64>) {
    while let Some(address) = first(heap, root)
        && erase(heap, root, address)
    {
        left.extend(heap.start_of(address));
    }
    for word in root {
        word.store(0, Relaxed);
    }
}

struct Tree<'a> {
    heap: &'a Heap,
    root: &'a Anchor,
}

/// Nodes are named by their addresses; 0 is none, black, and has no links.
impl<'a> Tree<'a> {
    fn node(&self, address: u64) -> Option<&'a Node> {
        self.heap.words(address)
    }
    fn owned(&self, address: u64) -> Option<&'a Node> {
        self.node(address).filter(|node| node[OWNER].load(Relaxed) == address_of(self.root))
    }
    fn load(&self, address: u64, word: usize) -> u64 {
        self.node(address).map_or(0, |node| node[word].load(Relaxed))
    }
    fn store(&self, address: u64, word: usize, value: u64) {
        if let Some(node) = self.node(address) {
            node[word].store(value, Relaxed);
        }
    }
    fn child(&self, address: u64, side: Child) -> u64 {
        self.load(address, side.word())
    }
    fn set_child(&self, address: u64, side: Child, child: u64) {
        self.store(address, side.word(), child);
    }
    fn parent(&self, address: u64) -> u64 {
        self.load(address, PARENT) & !BLACK
    }
    fn set_parent(&self, address: u64, parent: u64) {
        self.store(address, PARENT, parent | (self.load(address, PARENT) & BLACK));
    }
    fn is_red(&self, address: u64) -> bool {
        address != 0 && self.load(address, PARENT) & BLACK == 0
    }
    fn set_red(&self, address: u64) {
        self.store(address, PARENT, self.parent(address));
    }
    fn set_black(&self, address: u64) {
        self.store(address, PARENT, self.parent(address) | BLACK);
    }
    /// Which child of its parent a node is.
    fn side(&self, parent: u64, address: u64) -> Child {
        if self.child(parent, Child::Left) == address { Child::Left } else { Child::Right }
    }

    /// Puts `new` (or nothing) where `old` hangs.
    fn replace(&self, old: u64, new: u64) {
        let parent = self.parent(old);
        if parent == 0 {
            self.root[0].store(new, Relaxed);
        } else {
            self.set_child(parent, self.side(parent, old), new);
        }
        self.set_parent(new, parent);
    }

    /// A node goes down to a side, its other child takes its place.
    fn rotate(&self, address: u64, side: Child) {
        let up = self.child(address, side.other());
        let inner = self.child(up, side);
        self.set_child(address, side.other(), inner);
        self.set_parent(inner, address);
        self.replace(address, up);
        self.set_child(up, side, address);
        self.set_parent(address, up);
    }

    /// No red node has a red parent again.
    fn balance_after_insert(&self, mut node: u64) {
        for _ in 0..DEPTH {
            let parent = self.parent(node);
            if parent == 0 {
                return self.set_black(node);
            }
            if !self.is_red(parent) {
                return;
            }
            let above = self.parent(parent);
            let side = self.side(above, parent);
            let uncle = self.child(above, side.other());
            if self.is_red(uncle) {
                self.set_black(uncle);
                self.set_black(parent);
                self.set_red(above);
                node = above;
                continue;
            }
            let top = if node == self.child(parent, side.other()) {
                self.rotate(parent, side);
                node
            } else {
                parent
            };
            self.set_black(top);
            self.set_red(above);
            return self.rotate(above, side.other());
        }
    }

    /// The node behind the first one, which has no left child.
    fn after_first(&self, address: u64) -> u64 {
        let right = self.child(address, Child::Right);
        if right == 0 { self.parent(address) } else { self.lowest(right) }
    }

    fn lowest(&self, mut address: u64) -> u64 {
        for _ in 0..DEPTH {
            match self.child(address, Child::Left) {
                0 => break,
                left => address = left,
            }
        }
        address
    }

    fn unlink(&self, old: u64) {
        let (left, right) = (self.child(old, Child::Left), self.child(old, Child::Right));
        let black = !self.is_red(old);
        if left == 0 || right == 0 {
            let only = left | right;
            let parent = self.parent(old);
            self.replace(old, only);
            if black {
                self.balance_after_erase(only, parent);
            }
            return;
        }
        // The next one takes its place and its colour.
        let next = self.lowest(right);
        let next_black = !self.is_red(next);
        let orphan = self.child(next, Child::Right);
        let parent = if next == right {
            next
        } else {
            let parent = self.parent(next);
            self.replace(next, orphan);
            self.set_child(next, Child::Right, right);
            self.set_parent(right, next);
            parent
        };
        self.replace(old, next);
        self.set_child(next, Child::Left, left);
        self.set_parent(left, next);
        if black {
            self.set_black(next);
        } else {
            self.set_red(next);
        }
        if next_black {
            self.balance_after_erase(orphan, parent);
        }
    }

    /// A black node is missing above `node` (which may be none), below `parent`.
    fn balance_after_erase(&self, mut node: u64, mut parent: u64) {
        for _ in 0..DEPTH {
            if parent == 0 || self.is_red(node) {
                break;
            }
            let side = self.side(parent, node);
            let mut sibling = self.child(parent, side.other());
            if self.is_red(sibling) {
                self.set_black(sibling);
                self.set_red(parent);
                self.rotate(parent, side);
                sibling = self.child(parent, side.other());
            }
            let (near, far) = (self.child(sibling, side), self.child(sibling, side.other()));
            if !self.is_red(near) && !self.is_red(far) {
                self.set_red(sibling);
                node = parent;
                parent = self.parent(node);
                continue;
            }
            if !self.is_red(far) {
                self.set_black(near);
                self.set_red(sibling);
                self.rotate(sibling, side.other());
                sibling = near;
            }
            if self.is_red(parent) {
                self.set_red(sibling);
            } else {
                self.set_black(sibling);
            }
            self.set_black(parent);
            self.set_black(self.child(sibling, side.other()));
            return self.rotate(parent, side);
        }
        if node != 0 {
            self.set_black(node);
        }
    }
}
