//! Native functions for calls of which more is known than the helper: whose map they are for, or whom they ask.
//!
//! In: a helper's number and the map, when code is linked. Out: a function in place of the helper's own. Not here: who
//! may call them (`beelift::exec::link`), and what maps do.

use super::{Args, Result0, guard};
use crate::abi::{ExecContext, HelperFn};
use crate::helper::map;
use crate::map::{HashMap, LpmMap, MapHandle};

/// Native functions of map helpers for calls whose map is always the same one: they know its type and the size of its
/// keys, so nothing is asked at run time.
///
/// # Safety
/// INV-8 and INV-15, for all of them: the registers satisfy the helper's prototype, and r1 is the handle that
/// [`for_map`] chose the function for.
macro_rules! direct {
    ($($name:ident<$BYTES:ident, $N:ident>($cx:ident, $map:ident: $Map:ident, $args:ident) = $body:expr;)*) => {
        $(
            unsafe extern "C" fn $name<const $BYTES: usize, const $N: usize>(
                cx: &ExecContext<'_>, r1: u64, r2: u64, r3: u64, r4: u64, r5: u64,
            ) -> u64 {
                let $args = Args { registers: [r1, r2, r3, r4, r5], cx };
                let $cx = cx;
                guard(cx, || {
                    // SAFETY: INV-8: by the contract of this function.
                    let handle = unsafe { $args.handle(1) };
                    let map: *const $Map = std::ptr::with_exposed_provenance(handle.address());
                    // SAFETY: INV-15: the handle's map is of this type, and lives as long as the handle.
                    let $map = unsafe { &*map };
                    $body
                })
            }
        )*
    };
}

direct! {
    hash_lookup<BYTES, N>(cx, map: HashMap, args) = {
        // SAFETY: INV-8, INV-15: the key has the size of the map's keys.
        let key = unsafe { args.bytes(2, BYTES as u64) }.words::<BYTES, N>();
        map.lookup_words(cx.cpu, key).map_or(0, |value| value.0)
    };
    hash_update<BYTES, N>(cx, map: HashMap, args) = {
        // SAFETY: INV-8, INV-15: the key has the size of the map's keys.
        let key = unsafe { args.bytes(2, BYTES as u64) }.words::<BYTES, N>();
        // SAFETY: INV-8: the value has the size of the map's values.
        let value = unsafe { args.value(1, 3) };
        map::status(map.update_words(cx.cpu, key, value, args.register(4))).into_r0()
    };
    hash_delete<BYTES, N>(_cx, map: HashMap, args) = {
        // SAFETY: INV-8, INV-15: the key has the size of the map's keys.
        let key = unsafe { args.bytes(2, BYTES as u64) }.words::<BYTES, N>();
        map::status(map.delete_words(key)).into_r0()
    };
    lpm_lookup4<BYTES, N>(_cx, map: LpmMap, args) = {
        // SAFETY: INV-8, INV-15: the key has the size of the map's keys.
        let [key] = unsafe { args.bytes(2, 8) }.words::<8, 1>();
        // Prefix length, then data in network byte order.
        let data = u64::from(((key >> 32) as u32).swap_bytes()) << 32;
        map.lookup_words::<1, 3>(u32::from_le(key as u32), [data]).map_or(0, |value| value.0)
    };
    lpm_lookup16<BYTES, N>(_cx, map: LpmMap, args) = {
        // SAFETY: INV-8, INV-15: the key has the size of the map's keys.
        let [start, middle, end] = unsafe { args.bytes(2, 20) }.words::<20, 3>();
        let data = [start >> 32 | middle << 32, middle >> 32 | end << 32].map(u64::swap_bytes);
        map.lookup_words::<2, 4>(u32::from_le(start as u32), data).map_or(0, |value| value.0)
    };
}

/// `bpf_map_lookup_elem`
const LOOKUP: u32 = 1;
/// `bpf_map_update_elem`
const UPDATE: u32 = 2;
/// `bpf_map_delete_elem`
const DELETE: u32 = 3;

/// Whether [`for_map`] may have a function for this helper.
#[must_use]
pub const fn specialises(helper: u32) -> bool {
    matches!(helper, LOOKUP | UPDATE | DELETE)
}

/// A native function of a helper for calls whose first argument is this handle, if there is one that does better than
/// the helper's own. It must not be called with another handle (INV-15).
#[must_use]
pub fn for_map(helper: u32, handle: &MapHandle) -> Option<HelperFn> {
    macro_rules! by_size {
        ($size:expr, $function:ident: $($BYTES:literal)*) => {
            match $size {
                $($BYTES => Some($function::<$BYTES, { usize::div_ceil($BYTES, 8) }> as HelperFn),)*
                _ => None,
            }
        };
    }
    let map = handle.map.as_any();
    if let Some(hash) = map.downcast_ref::<HashMap>() {
        return match helper {
            LOOKUP => by_size!(hash.key_size(), hash_lookup: 2 4 8 12 16 20 24 32 36 40),
            UPDATE => by_size!(hash.key_size(), hash_update: 4 8 12 16),
            DELETE => by_size!(hash.key_size(), hash_delete: 4 8 12 16),
            _ => None,
        };
    }
    let lpm = map.downcast_ref::<LpmMap>()?;
    match (helper, lpm.key_size()) {
        (LOOKUP, 8) => Some(lpm_lookup4::<8, 1>),
        (LOOKUP, 20) => Some(lpm_lookup16::<20, 3>),
        _ => None,
    }
}

/// Native functions that ask the machine itself, in place of those that ask the run's environment: for runs whose
/// environment is [`HostEnvironment`](crate::environment::HostEnvironment).
#[must_use]
pub fn for_host(helper: u32) -> Option<HelperFn> {
    match helper {
        5 => Some(host::ktime_get_ns),
        7 => Some(host::get_prandom_u32),
        125 => Some(host::ktime_get_boot_ns),
        160 => Some(host::ktime_get_coarse_ns),
        _ => None,
    }
}

/// Nothing here reads a register, and nothing panics.
mod host {
    use crate::abi::ExecContext;
    use crate::environment::machine;

    macro_rules! asks {
        ($($name:ident = $ask:path;)*) => {
            $(
                /// # Safety
                /// None needed.
                pub(super) unsafe extern "C" fn $name(
                    _cx: &ExecContext<'_>, _: u64, _: u64, _: u64, _: u64, _: u64,
                ) -> u64 {
                    $ask().into()
                }
            )*
        };
    }

    asks! {
        ktime_get_ns = machine::monotonic_ns;
        ktime_get_boot_ns = machine::boottime_ns;
        ktime_get_coarse_ns = machine::coarse_ns;
        get_prandom_u32 = machine::random_u32;
    }
}
