//! Native functions around allocated objects that may trap: loads of what may be gone, parts of a CPU.

use crate::abi::{ExecContext, HelperFn};
use crate::helper::object as objects;
use crate::trap::TrapKind;

use super::trap;

/// A load of r2 bytes at r1, a pointer to an object that may be gone: as generated code calls it. It traps where no object
/// ever was.
pub const OBJECT_LOAD: HelperFn = object_load;

/// `bpf_per_cpu_ptr` of an object with a part for each CPU. It traps where there is no such CPU.
///
/// # Safety
/// None beyond that of its type.
pub(in crate::helper) unsafe extern "C" fn per_cpu_ptr(
    cx: &ExecContext<'_>,
    r1: u64,
    r2: u64,
    _r3: u64,
    _r4: u64,
    _r5: u64,
) -> u64 {
    objects::part_of(r1, r2 as u32).unwrap_or_else(|| trap(cx, TrapKind::Access))
}

/// `bpf_this_cpu_ptr`, likewise.
///
/// # Safety
/// None beyond that of its type.
pub(in crate::helper) unsafe extern "C" fn this_cpu_ptr(
    cx: &ExecContext<'_>,
    r1: u64,
    _r2: u64,
    _r3: u64,
    _r4: u64,
    _r5: u64,
) -> u64 {
    objects::part_of(r1, cx.cpu).unwrap_or_else(|| trap(cx, TrapKind::Access))
}

/// # Safety
/// None beyond that of its type: it looks at the address before it reads.
unsafe extern "C" fn object_load(
    cx: &ExecContext<'_>,
    r1: u64,
    r2: u64,
    _r3: u64,
    _r4: u64,
    _r5: u64,
) -> u64 {
    objects::load(r1, r2).unwrap_or_else(|| trap(cx, TrapKind::Access))
}
