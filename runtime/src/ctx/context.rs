//! The seam between a run and what it runs on.
#![forbid(unsafe_code)]

use std::cell::RefCell;

use super::{Frame, Packet, ProgramType, Skb, Tunnel};
use crate::mem::Regions;

/// What a program finds in its first two registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// r1: address of the native context structure, or of the buffer (type `memory`).
    pub r1: u64,
    /// r2: length of the buffer (type `memory`), else 0.
    pub r2: u64,
}

/// Input and output of one run: a native context structure in program-visible memory, and what it points to.
///
/// Sealed: generated code trusts that the structure has the layout of the program type (INV-10), which only the
/// types of this crate guarantee.
pub trait Context: sealed::Sealed {
    /// Type of the programs that run on it.
    fn program_type(&self) -> ProgramType;
    /// Whether a program of that type, with that `expected_attach_type`, may run on this context.
    fn accepts(&self, program_type: ProgramType, attach_type: u32) -> bool;
    /// Sets the native structure up for a run. Allocates nothing.
    fn enter(&mut self) -> Entry;
    /// Shows the interpreter what the program may touch. Called between `enter` and the run.
    fn regions<'a>(&'a self, regions: &mut Regions<'a>);
    /// The packet, for helpers that move or copy its bytes.
    fn frame(&self) -> Option<Frame<'_>> {
        None
    }
    /// The packet, to be read or replaced between runs.
    fn packet_mut(&mut self) -> Option<&mut Packet> {
        None
    }
    /// The socket buffer, for helpers that know more of it than its bytes.
    #[doc(hidden)]
    #[expect(private_interfaces, reason = "for helpers of this crate; the trait is sealed")]
    fn skb(&self) -> Option<Skb<'_>> {
        None
    }
    /// Tunnel metadata, where packets have some.
    fn tunnel(&self) -> Option<&RefCell<Tunnel>> {
        None
    }
    /// Index of the interface the packet is on; 0: the loopback.
    fn ifindex(&self) -> u32 {
        0
    }
    /// What `bpf_get_attach_cookie` gives.
    fn attach_cookie(&self) -> u64 {
        0
    }
    /// What `bpf_get_func_ip` gives.
    fn function_address(&self) -> u64 {
        0
    }
    /// The UAPI structure after the run, byte for byte as `ctx_out` of the kernel's test run.
    fn uapi(&self, out: &mut Vec<u8>);
    /// Takes over what may be set in the UAPI structure, as `ctx_in` of the kernel's test run does. Bytes that are
    /// missing stay as they are; packet bounds belong to the packet and are passed over.
    fn set_uapi(&mut self, bytes: &[u8]);
}

pub(super) mod sealed {
    /// Keeps [`Context`](super::Context) to this crate.
    pub trait Sealed {}
}
