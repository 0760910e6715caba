//! Return values by name, and what they do to a packet.
#![forbid(unsafe_code)]

use beelift::ProgramType;

/// Name of a return value, where the type gives it one.
pub(super) fn action(prog_type: ProgramType, value: u64) -> Option<&'static str> {
    const XDP: [&str; 5] = ["XDP_ABORTED", "XDP_DROP", "XDP_PASS", "XDP_TX", "XDP_REDIRECT"];
    const TC: [&str; 9] = [
        "TC_ACT_OK",
        "TC_ACT_RECLASSIFY",
        "TC_ACT_SHOT",
        "TC_ACT_PIPE",
        "TC_ACT_STOLEN",
        "TC_ACT_QUEUED",
        "TC_ACT_REPEAT",
        "TC_ACT_REDIRECT",
        "TC_ACT_TRAP",
    ];
    let value = value & 0xffff_ffff;
    match prog_type {
        ProgramType::Xdp => XDP.get(usize::try_from(value).ok()?).copied(),
        ProgramType::SchedCls | ProgramType::SchedAct if value == 0xffff_ffff => Some("TC_ACT_UNSPEC"),
        ProgramType::SchedCls | ProgramType::SchedAct => TC.get(usize::try_from(value).ok()?).copied(),
        _ => None,
    }
}

/// Whether a packet with this return value travels on.
pub(super) fn goes_on(prog_type: ProgramType, value: u64) -> bool {
    match prog_type {
        ProgramType::Xdp => matches!(value, 2..=4),
        ProgramType::SchedCls | ProgramType::SchedAct => !matches!(value, 2 | 4),
        _ => value != 0,
    }
}
