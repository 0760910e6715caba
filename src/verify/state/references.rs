//! What a path holds and must give back: references, locks, critical sections.
#![forbid(unsafe_code)]

use super::frame::SHARED;
use crate::isa::InsnId;

/// Kinds of things held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ResourceKind {
    /// A pointer (or dynptr, or iterator) that must be released.
    Pointer,
    /// A spin lock; the object that holds it, by kind and identity.
    Lock {
        /// Map or type that the lock lies in.
        owner: u32,
        /// Identity of the value.
        value: u32,
        /// `bpf_res_spin_lock`.
        resilient: bool,
        /// Interrupts are disabled with it.
        irq: bool,
    },
    /// Saved interrupt flags.
    Irq,
}

/// One thing held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Resource {
    /// Identity.
    pub(crate) id: u32,
    /// Kind.
    pub(crate) kind: ResourceKind,
    /// Where it was taken.
    pub(crate) insn: InsnId,
}

/// Everything held on a path.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct References {
    /// Resources, oldest first.
    pub(crate) held: Vec<Resource>,
    /// Depth of RCU read sections.
    pub(crate) rcu: u32,
    /// Depth of sections without preemption.
    pub(crate) preempt: u32,
}

impl References {
    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> u64 {
        (size_of::<Self>() + SHARED + self.held.capacity() * size_of::<Resource>()) as u64
    }
    /// Number of spin locks held.
    pub(crate) fn locks(&self) -> usize {
        self.held.iter().filter(|held| matches!(held.kind, ResourceKind::Lock { .. })).count()
    }
    /// The newest saved interrupt flags.
    pub(crate) fn newest_irq(&self) -> Option<u32> {
        self.held.iter().rev().find(|held| held.kind == ResourceKind::Irq).map(|held| held.id)
    }
    /// Takes a resource out; whether it was there.
    pub(crate) fn release(&mut self, id: u32) -> bool {
        let before = self.held.len();
        self.held.retain(|held| held.id != id || !matches!(held.kind, ResourceKind::Pointer));
        self.held.len() != before
    }
}
