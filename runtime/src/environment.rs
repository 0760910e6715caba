//! What helpers ask of the world: clock, random numbers, CPU, task, routes.
//!
//! The host's own ([`HostEnvironment`]), a deterministic one for comparing engines
//! ([`FixedEnvironment`]), or the embedder's. Units: nanoseconds.
#![forbid(unsafe_code)]

/// Answers the questions of helpers. `Sync`: several runs ask at once.
pub trait Environment: Sync + Send {
    /// `CLOCK_MONOTONIC`, ns.
    fn monotonic_ns(&self) -> u64;
    /// `CLOCK_BOOTTIME`, ns.
    fn boottime_ns(&self) -> u64 {
        self.monotonic_ns()
    }
    /// `CLOCK_TAI`, ns.
    fn tai_ns(&self) -> u64 {
        self.monotonic_ns()
    }
    /// Coarse `CLOCK_MONOTONIC`, ns.
    fn coarse_ns(&self) -> u64 {
        self.monotonic_ns()
    }
    /// Kernel ticks.
    fn jiffies(&self) -> u64;
    /// 32 random bits.
    fn random_u32(&self) -> u32;
    /// NUMA node of the CPU.
    fn numa_node(&self) -> u32 {
        0
    }
    /// A line of `bpf_trace_printk` or `bpf_trace_vprintk`.
    fn trace(&self, line: &str);
}
