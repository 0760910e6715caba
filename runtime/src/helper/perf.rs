//! Samples into `perf_event_array` maps.
//!
//! There are no counters in user space: `bpf_perf_event_read` says what the kernel says of an empty slot.
#![forbid(unsafe_code)]

use super::errno::{E2BIG, EFAULT, EINVAL, ENOENT};
use crate::abi::ExecContext;
use crate::ctx::ProgramType;
use crate::map::{Map, PerfEventArrayMap};
use crate::mem::{Bytes, BytesMut};

/// `BPF_F_INDEX_MASK`, `BPF_F_CURRENT_CPU`
const INDEX: u64 = 0xffff_ffff;
/// `BPF_F_CTXLEN_MASK`: bytes of the packet that follow the data.
const PACKET_LEN: u64 = 0xf_ffff << 32;

/// Types whose samples may carry bytes of the packet.
fn has_packet(program_type: ProgramType) -> bool {
    use ProgramType as P;
    matches!(
        program_type,
        P::Xdp
            | P::SocketFilter
            | P::SchedCls
            | P::SchedAct
            | P::CgroupSkb
            | P::LwtIn
            | P::LwtOut
            | P::LwtXmit
            | P::LwtSeg6local
            | P::SkSkb
    )
}

pub(super) fn output(cx: &ExecContext<'_>, map: &dyn Map, flags: u64, data: Bytes<'_>) -> i64 {
    let packets = has_packet(cx.ctx.program_type());
    let known = if packets { INDEX | PACKET_LEN } else { INDEX };
    if flags & !known != 0 {
        return EINVAL;
    }
    let len = flags >> 32;
    let packet = if len == 0 {
        Bytes::from(&[])
    } else {
        let part = cx
            .ctx
            .frame()
            .and_then(|frame| if len <= frame.len() { frame.memory(frame.data(), len) } else { None });
        match part {
            Some(part) => part.as_bytes(),
            None => return EFAULT,
        }
    };
    let Some(events) = map.as_any().downcast_ref::<PerfEventArrayMap>() else { return EINVAL };
    match events.output(cx.cpu, flags & INDEX, &[data, packet]) {
        Ok(()) => 0,
        Err(error) => -i64::from(error.errno()),
    }
}

pub(super) fn read(cx: &ExecContext<'_>, map: &dyn Map, flags: u64) -> i64 {
    if flags & !INDEX != 0 {
        return EINVAL;
    }
    let index = if flags == INDEX { cx.cpu } else { flags as u32 };
    let Some(events) = map.as_any().downcast_ref::<PerfEventArrayMap>() else { return EINVAL };
    if index >= map.def().max_entries {
        E2BIG
    } else if events.ring(index).is_none() {
        ENOENT
    } else {
        // Samples are written there, nothing is counted.
        EINVAL
    }
}

pub(super) fn read_value(cx: &ExecContext<'_>, map: &dyn Map, flags: u64, into: BytesMut<'_>) -> i64 {
    /// `struct bpf_perf_event_value`
    const SIZE: u64 = 24;
    into.fill(0);
    if into.len() == SIZE { read(cx, map, flags) } else { EINVAL }
}
