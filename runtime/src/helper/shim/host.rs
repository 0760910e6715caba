//! Helpers of the embedder: the native function around safe code.

use super::{Args, guard};
use crate::abi::{ExecContext, HelperFn};
use crate::helper::host::{HostCall, HostFunction};
use crate::map::Map;
use crate::mem::{Bytes, BytesMut};

/// The native function of a helper.
pub(in crate::helper) fn host_function<F: HostFunction>() -> HelperFn {
    shim::<F>
}

/// # Safety
/// INV-8: the registers satisfy the helper's prototype.
unsafe extern "C" fn shim<F: HostFunction>(
    cx: &ExecContext<'_>,
    r1: u64,
    r2: u64,
    r3: u64,
    r4: u64,
    r5: u64,
) -> u64 {
    let here = 0_u8;
    cx.probe.set_floor(std::ptr::from_ref(&here).expose_provenance() as u64);
    guard(cx, || F::call(&HostCall { args: Args { registers: [r1, r2, r3, r4, r5], cx }, kinds: F::ARGS }))
}

/// Memory of an argument whose kind is readable memory: the caller has looked.
pub(in crate::helper) fn host_memory<'a>(call: &HostCall<'a>, register: usize) -> Bytes<'a> {
    // SAFETY: INV-8: a call is made by `shim` only, whose registers satisfy the prototype that `call.kinds` is.
    unsafe { call.args.bytes(register, call.length(register)) }
}

/// Likewise writable memory.
pub(in crate::helper) fn host_memory_mut<'a>(call: &HostCall<'a>, register: usize) -> BytesMut<'a> {
    // SAFETY: INV-8: as above.
    unsafe { call.args.bytes_mut(register, call.length(register)) }
}

/// Likewise a map.
pub(in crate::helper) fn host_map<'a>(call: &HostCall<'a>, register: usize) -> &'a dyn Map {
    // SAFETY: INV-8: as above.
    unsafe { call.args.map(register) }
}
