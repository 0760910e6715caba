//! Which capabilities this process has for `bpf(2)`, and the explanation of an EPERM.
//!
//! In: the thread's effective set. Out: [`held`], and [`Hint`]s by the table of `beelift_runtime::privilege`.
#![forbid(unsafe_code)]

use beelift_runtime::MapKind;
use beelift_runtime::ctx::ProgramType;
use beelift_runtime::privilege::{Capabilities, loads_unprivileged, needed_by_map, needed_by_program};
use rustix::thread::{CapabilitySet, capabilities};

use super::{Errno, Hint};

/// The capabilities of the calling thread that matter to `bpf(2)`.
#[must_use]
pub fn held() -> Capabilities {
    let effective = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    let pairs = [
        (CapabilitySet::BPF, Capabilities::BPF),
        (CapabilitySet::PERFMON, Capabilities::PERFMON),
        (CapabilitySet::NET_ADMIN, Capabilities::NET_ADMIN),
        (CapabilitySet::SYS_ADMIN, Capabilities::SYS_ADMIN),
    ];
    pairs.into_iter().filter(|(has, _)| effective.contains(*has)).map(|(_, is)| is).collect()
}

/// `kernel.unprivileged_bpf_disabled`: 0 is open to everyone, 1 closed for good, 2 closed; `None`: unknown.
#[must_use]
pub fn unprivileged_bpf_disabled() -> Option<u32> {
    std::fs::read_to_string("/proc/sys/kernel/unprivileged_bpf_disabled").ok()?.trim().parse().ok()
}

/// What is missing to load a program of that type.
#[must_use]
pub fn missing_for_program(prog_type: ProgramType) -> Capabilities {
    if loads_unprivileged(prog_type) && unprivileged_bpf_disabled() == Some(0) {
        return Capabilities::empty();
    }
    held().missing(needed_by_program(prog_type))
}

/// What is missing to create a map of that type.
#[must_use]
pub fn missing_for_map(kind: MapKind) -> Capabilities {
    held().missing(needed_by_map(kind))
}

/// Explains EPERM and ENOSYS, given what is missing.
pub(super) fn explain(errno: Errno, missing: Capabilities) -> Hint {
    match errno {
        Errno::ENOSYS => Hint::NoBpf,
        Errno::EPERM if missing.is_empty() => Hint::ForbiddenByKernel,
        Errno::EPERM => Hint::MissingCapabilities(missing),
        _ => Hint::None,
    }
}
