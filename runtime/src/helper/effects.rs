//! What a run leaves behind besides its result.
#![forbid(unsafe_code)]

use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::sync::Arc;

use crate::environment::Socket;
use crate::map::redirect::Target;
use crate::mem::Slab;

/// Where the program asked a packet to go; meaningful when the result is the redirect action.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Redirect {
    /// `bpf_redirect`.
    Interface {
        /// Interface index.
        ifindex: u32,
        /// Flags as given.
        flags: u64,
    },
    /// `bpf_redirect_map`.
    Map {
        /// Slot of the map in the program, if it is one of the program's.
        slot: Option<u32>,
        /// Key.
        key: u64,
        /// Flags as given.
        flags: u64,
        /// What the key leads to; `None` for a broadcast.
        target: Option<Target>,
    },
    /// `bpf_redirect_neigh`: out of an interface, with link addresses that are to be found.
    Neighbour {
        /// Interface index.
        ifindex: u32,
        /// Next hop (family, then 4 or 16 bytes of address); without one the packet's own destination.
        next_hop: Option<(u32, [u8; 16])>,
    },
    /// `bpf_redirect_peer`: into the namespace of the interface's peer.
    Peer {
        /// Interface index.
        ifindex: u32,
    },
}

/// A copy of the packet that `bpf_clone_redirect` sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SentPacket {
    /// Interface index.
    pub ifindex: u32,
    /// Flags as given (1: as if it came in there).
    pub flags: u64,
    /// Its bytes at that moment.
    pub bytes: Vec<u8>,
}

/// What few runs need.
#[derive(Default, Debug)]
struct Rare {
    retval: Cell<i32>,
    sent: RefCell<Vec<SentPacket>>,
    assigned: Cell<Option<u32>>,
    /// Number of the timer whose callback runs, or 0.
    timer: Cell<u64>,
    /// Objects to which the run holds references: one for each.
    held: RefCell<Vec<u64>>,
    /// Addresses of the resilient locks that the run holds.
    resilient: RefCell<Vec<u64>>,
    sockets: OnceCell<Box<Lent>>,
}

/// A socket that a run keeps until its end, and the next one: addresses given to the program stay valid.
#[derive(Debug)]
struct Lent {
    socket: Arc<Socket>,
    next: OnceCell<Box<Lent>>,
}

/// Scratch of one run, reused for the next: helpers write it, the engine reads it afterwards.
#[derive(Default)]
pub struct Effects {
    redirect: Cell<Option<Redirect>>,
    /// One word, because every run makes and drops it.
    failure: Cell<Option<Box<Failure>>>,
    /// Address of the spin lock that the run holds, or 0.
    lock: Cell<u64>,
    rare: OnceCell<Box<Rare>>,
}

/// What is told of a run that failed.
#[derive(Default)]
struct Failure {
    panic: Option<Box<str>>,
    trap: Option<Box<dyn Any + Send>>,
}

impl Effects {
    /// For a new run.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The last redirect target that was accepted.
    #[must_use]
    pub fn redirect(&self) -> Option<Redirect> {
        self.redirect.get()
    }

    /// Message of the panic behind `TrapKind::HelperPanic`.
    #[must_use]
    pub fn panic_message(&self) -> Option<String> {
        self.failure(|failure| failure.panic.as_deref().map(str::to_owned))
    }

    /// Says where a program trapped that a tail call entered: in the words of the engine, which asks for it with
    /// [`Effects::take_trap`]. The first one counts.
    pub fn set_trap(&self, trap: Box<dyn Any + Send>) {
        self.failure(|failure| _ = failure.trap.get_or_insert(trap));
    }

    /// What [`Effects::set_trap`] said.
    pub fn take_trap(&self) -> Option<Box<dyn Any + Send>> {
        self.failure(|failure| failure.trap.take())
    }

    /// What `bpf_set_retval` set; 0 before.
    #[must_use]
    pub fn retval(&self) -> i32 {
        self.rare.get().map_or(0, |rare| rare.retval.get())
    }

    /// What `bpf_get_retval` gives: a host sets it before a run of a cgroup type.
    pub fn set_retval(&self, value: i32) {
        self.rare().retval.set(value);
    }

    /// The run is that of a timer's callback.
    pub fn set_timer(&self, id: u64) {
        self.rare().timer.set(id);
    }

    pub(super) fn timer(&self) -> u64 {
        self.rare.get().map_or(0, |rare| rare.timer.get())
    }

    /// Packets sent by `bpf_clone_redirect`, oldest first.
    pub fn take_sent(&self) -> Vec<SentPacket> {
        self.rare.get().map(|rare| rare.sent.take()).unwrap_or_default()
    }

    /// Handle of the socket that `bpf_sk_assign` gave the packet to.
    #[must_use]
    pub fn assigned_socket(&self) -> Option<u32> {
        self.rare.get().and_then(|rare| rare.assigned.get())
    }

    pub(super) fn set_assigned_socket(&self, handle: u32) {
        self.rare().assigned.set(Some(handle));
    }

    pub(super) fn send(&self, packet: SentPacket) {
        self.rare().sent.borrow_mut().push(packet);
    }

    /// Keeps a socket for the rest of the run; its address.
    pub(super) fn lend(&self, socket: Arc<Socket>) -> u64 {
        let mut place = &self.rare().sockets;
        let mut lent = Some(Box::new(Lent { socket, next: OnceCell::new() }));
        loop {
            let node = place.get_or_init(|| lent.take().expect("the last place is empty"));
            if lent.is_none() {
                return node.socket.address();
            }
            place = &node.next;
        }
    }

    /// The socket that lies at an address.
    pub(crate) fn socket(&self, address: u64) -> Option<&Arc<Socket>> {
        self.lent().find(|socket| socket.is_at(address))
    }

    /// The memory of a socket in which an address lies: programs may read it.
    pub(crate) fn lent_memory(&self, address: u64) -> Option<&Slab> {
        self.lent().map(|socket| socket.memory()).find(|slab| slab.contains(address, 1))
    }

    fn lent(&self) -> impl Iterator<Item = &Arc<Socket>> {
        let first = self.rare.get().and_then(|rare| rare.sockets.get());
        std::iter::successors(first, |lent| lent.next.get()).map(|lent| &lent.socket)
    }

    /// The run was given a reference to an object.
    pub(super) fn hold(&self, object: u64) {
        self.rare().held.borrow_mut().push(object);
    }

    /// The run holds one reference less.
    pub(super) fn pass_on(&self, object: u64) {
        let Some(rare) = self.rare.get() else { return };
        let mut held = rare.held.borrow_mut();
        if let Some(at) = held.iter().rposition(|&known| known == object) {
            held.swap_remove(at);
        }
    }

    pub(super) fn holds(&self, object: u64) -> bool {
        self.rare.get().is_some_and(|rare| rare.held.borrow().contains(&object))
    }

    pub(super) fn holds_resilient(&self, lock: u64) -> bool {
        self.rare.get().is_some_and(|rare| rare.resilient.borrow().contains(&lock))
    }

    pub(super) fn hold_resilient(&self, lock: u64) {
        self.rare().resilient.borrow_mut().push(lock);
    }

    /// Whether the run held that lock until now.
    pub(super) fn give_resilient(&self, lock: u64) -> bool {
        let Some(rare) = self.rare.get() else { return false };
        let mut held = rare.resilient.borrow_mut();
        let at = held.iter().rposition(|&known| known == lock);
        at.map(|at| held.swap_remove(at)).is_some()
    }

    pub(super) fn take_resilient(&self) -> Vec<u64> {
        self.rare.get().map(|rare| rare.resilient.take()).unwrap_or_default()
    }

    pub(super) fn take_held(&self) -> Vec<u64> {
        self.rare.get().map(|rare| rare.held.take()).unwrap_or_default()
    }

    pub(super) fn lock(&self) -> u64 {
        self.lock.get()
    }

    pub(super) fn set_lock(&self, address: u64) {
        self.lock.set(address);
    }

    fn rare(&self) -> &Rare {
        self.rare.get_or_init(Box::default)
    }

    pub(super) fn set_redirect(&self, target: Option<Redirect>) {
        self.redirect.set(target);
    }

    pub(super) fn set_panic(&self, message: &str) {
        self.failure(|failure| failure.panic = Some(message.into()));
    }

    #[cold]
    fn failure<R>(&self, change: impl FnOnce(&mut Failure) -> R) -> R {
        let mut failure = self.failure.take().unwrap_or_default();
        let result = change(&mut failure);
        self.failure.set(Some(failure));
        result
    }
}

impl std::fmt::Debug for Effects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Effects").field("redirect", &self.redirect).finish_non_exhaustive()
    }
}
