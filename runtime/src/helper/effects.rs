//! What a run leaves behind besides its result.
#![forbid(unsafe_code)]

use std::any::Any;
use std::cell::{Cell, RefCell};

use crate::map::redirect::Target;

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
}

/// Scratch of one run, reused for the next: helpers write it, the engine reads it afterwards.
#[derive(Default, Debug)]
pub struct Effects {
    redirect: Cell<Option<Redirect>>,
    panic: RefCell<Option<Box<str>>>,
    trap: RefCell<Option<Box<dyn Any + Send>>>,
}

impl Effects {
    /// For a new run.
    pub fn clear(&self) {
        self.redirect.set(None);
        self.panic.borrow_mut().take();
        self.trap.borrow_mut().take();
    }

    /// The last redirect target that was accepted.
    #[must_use]
    pub fn redirect(&self) -> Option<Redirect> {
        self.redirect.get()
    }

    /// Message of the panic behind `TrapKind::HelperPanic`.
    #[must_use]
    pub fn panic_message(&self) -> Option<String> {
        self.panic.borrow().as_deref().map(str::to_owned)
    }

    /// Says where a program trapped that a tail call entered: in the words of the engine, which asks for it with
    /// [`Effects::take_trap`]. The first one counts.
    pub fn set_trap(&self, trap: Box<dyn Any + Send>) {
        self.trap.borrow_mut().get_or_insert(trap);
    }

    /// What [`Effects::set_trap`] said.
    pub fn take_trap(&self) -> Option<Box<dyn Any + Send>> {
        self.trap.borrow_mut().take()
    }

    pub(super) fn set_redirect(&self, target: Option<Redirect>) {
        self.redirect.set(target);
    }

    pub(super) fn set_panic(&self, message: &str) {
        *self.panic.borrow_mut() = Some(message.into());
    }
}
