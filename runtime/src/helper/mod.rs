//! Helpers: prototypes, the table, their bodies.
//!
//! One row a helper in `table`; three readers: the verifier reads [`Proto`], the code generator the number, the
//! linker the address. Bodies are safe code in a file a topic; `shim` turns registers into their typed arguments
//! and panics into traps (INV-7), `check` does for the interpreter what the verifier does for generated code.
// `forbid` could not be lifted for the one unsafe room below.
#![deny(unsafe_code)]

mod bits;
mod check;
mod cookie;
mod cpumask;
mod drain;
mod dynptr;
mod effects;
mod errno;
mod format;
mod host;
mod kfunc;
mod lock;
mod map;
mod net;
mod object;
mod perf;
mod probe;
mod proto;
mod registry;
mod ring;
mod room;
mod route;
mod set;
#[allow(unsafe_code, reason = "the unsafe room of helpers: registers become typed references")]
mod shim;
mod skb;
mod skb_state;
mod socket;
mod storage;
mod string;
mod table;
mod tail;
mod task;
mod text;
mod timer;
mod trace;
mod tunnel;
mod vlan;
mod world;
mod xdp;

pub use check::{ArgumentFault, BadArgument};
pub use drain::{DRAIN_BYTES, drain_words};
pub use effects::{Effects, Redirect, SentPacket};
pub use format::conversions as format_conversions;
pub use host::{HelperRefused, HostCall, HostFunction};
pub use kfunc::{THROW, kfunc, kfunc_by_name, kfunc_names};
pub use lock::release as release_lock;
pub use map::{MAP_CURSOR_BYTES, map_cursor};
pub use object::{TREE_ADD, TREE_ADD_DONE};
pub use proto::{
    ArgKind, DynptrKind, DynptrRole, HelperFlags, MemAccess, ObjectArg, Proto, RetKind, SockKind,
};
pub use registry::{Helper, HelperExists, HelperTable, by_id, by_name};
pub use set::ProgramTypes;
pub use shim::{
    MAP_ITERATE, OBJECT_LOAD, PACKET_LOAD, Probe, call_checked, drain_step, for_host, for_map, specialises,
};
pub use skb::packet_load;
pub use tail::{MAX_TAIL_CALLS, TailCall, TailTarget};

#[cfg(test)]
mod tests;
