//! One step of `bpf_user_ringbuf_drain`: engines call it, and between two steps the program's callback.
#![forbid(unsafe_code)]

use super::errno::{E2BIG, EBUSY, EINVAL};
use super::proto::DynptrKind;
use super::shim::DynptrAt;
use crate::abi::ExecContext;
use crate::map::Map;
use crate::map::ringbuf::{FORCE_WAKEUP, NO_WAKEUP};
use crate::map::user_ringbuf::{Sample, UserRingbufMap};
use crate::mem::BytesMut;

/// Most samples of one call (`BPF_MAX_USER_RINGBUF_SAMPLES`).
const MOST: u64 = 128 * 1024;

/// What a step leaves in memory: three words.
pub const DRAIN_BYTES: u32 = 24;

/// Offsets of [`DRAIN_BYTES`].
pub mod drain_words {
    /// Number of samples so far; at the end r0 of the helper.
    pub const COUNT: i32 = 0;
    /// The dynptr of the sample, whose address the step returns.
    pub const DYNPTR: i32 = 8;
    /// Added to the count that is given to the next step: the callback wants no more.
    pub const STOP: u64 = 1 << 63;
}

/// The right to drain is this run's: the address of what only it has.
fn run_of(cx: &ExecContext<'_>) -> u64 {
    std::ptr::from_ref(cx.effects).expose_provenance() as u64
}

/// The step behind `count` samples: the address of the next one's dynptr, or 0 at the end. `out` holds what the last
/// step left there.
pub(super) fn step(
    cx: &ExecContext<'_>,
    map: &dyn Map,
    count: u64,
    out: BytesMut<'_>,
    flags: u64,
    dynptr: DynptrAt<'_>,
) -> u64 {
    let finish = |r0: i64| {
        out.write(drain_words::COUNT as u64, &r0.to_ne_bytes()); // 0
        0
    };
    let Some(ring) = map.as_any().downcast_ref::<UserRingbufMap>() else { return finish(EINVAL) };
    let run = run_of(cx);
    if count == 0 {
        if flags & !(NO_WAKEUP | FORCE_WAKEUP) != 0 {
            return finish(EINVAL);
        }
        if !ring.begin(run) {
            return finish(EBUSY);
        }
    } else if let Some(info) = dynptr.info() {
        ring.release(info.size);
    }
    let done = count & !drain_words::STOP;
    let mut looked_at = done;
    while count & drain_words::STOP == 0 && looked_at < MOST {
        match ring.peek() {
            Sample::None => break,
            // Counted among those looked at, and then taken off again.
            Sample::Discarded => looked_at += 1,
            Sample::Here(bytes) if bytes.len() > u64::from(DynptrAt::SIZE_MAX) => {
                // It stays where it is, and those before it are taken.
                ring.end(run);
                return finish(E2BIG);
            }
            Sample::Here(bytes) => {
                dynptr.set(DynptrKind::Local, bytes);
                out.write(drain_words::COUNT as u64, &(done + 1).to_ne_bytes()); // 0
                return out.as_bytes().address() + drain_words::DYNPTR as u64; // 8
            }
        }
    }
    ring.end(run);
    finish(done as i64) // at most `MOST`
}

/// Gives back what a run drains, if it does: for runs that trap.
pub(super) fn release(cx: &ExecContext<'_>) {
    for handle in cx.maps {
        if let Some(ring) = handle.map.as_any().downcast_ref::<UserRingbufMap>() {
            ring.end(run_of(cx));
        }
    }
}
