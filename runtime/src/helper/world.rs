//! Helpers that ask the environment: clocks, random numbers, CPU.
#![forbid(unsafe_code)]

use crate::abi::ExecContext;

pub(super) fn ktime_get_ns(cx: &ExecContext<'_>) -> u64 {
    cx.environment.monotonic_ns()
}

pub(super) fn ktime_get_boot_ns(cx: &ExecContext<'_>) -> u64 {
    cx.environment.boottime_ns()
}

pub(super) fn ktime_get_coarse_ns(cx: &ExecContext<'_>) -> u64 {
    cx.environment.coarse_ns()
}

pub(super) fn ktime_get_tai_ns(cx: &ExecContext<'_>) -> u64 {
    cx.environment.tai_ns()
}

pub(super) fn jiffies64(cx: &ExecContext<'_>) -> u64 {
    cx.environment.jiffies()
}

pub(super) fn get_prandom_u32(cx: &ExecContext<'_>) -> u64 {
    u64::from(cx.environment.random_u32())
}

pub(super) fn get_smp_processor_id(cx: &ExecContext<'_>) -> u64 {
    u64::from(cx.cpu)
}

pub(super) fn get_numa_node_id(cx: &ExecContext<'_>) -> u64 {
    u64::from(cx.numa_node)
}
