//! What helpers ask of the world: clock, random numbers, CPU, task, routes.
//!
//! The host's own ([`HostEnvironment`]), a deterministic one for comparing engines
//! ([`FixedEnvironment`]), or the embedder's. Units: nanoseconds.
#![forbid(unsafe_code)]

use std::cell::Cell;

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

/// What this machine answers: its clocks, its random numbers; trace lines go to standard error.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostEnvironment {}

/// Nanoseconds in a kernel tick at 250 Hz, what distributions build with.
const TICK_NS: u64 = 4_000_000;

fn clock(id: rustix::time::ClockId) -> u64 {
    nanoseconds(rustix::time::clock_gettime(id))
}

fn nanoseconds(time: rustix::time::Timespec) -> u64 {
    // Clocks that start at boot or at the epoch are not negative, and fit for 584 years.
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

impl Environment for HostEnvironment {
    fn monotonic_ns(&self) -> u64 {
        clock(rustix::time::ClockId::Monotonic)
    }
    fn boottime_ns(&self) -> u64 {
        clock(rustix::time::ClockId::Boottime)
    }
    fn tai_ns(&self) -> u64 {
        // The kernel keeps this clock wherever it keeps the others.
        rustix::time::clock_gettime_dynamic(rustix::time::DynamicClockId::Tai)
            .map_or_else(|_| self.monotonic_ns(), nanoseconds)
    }
    fn coarse_ns(&self) -> u64 {
        clock(rustix::time::ClockId::MonotonicCoarse)
    }
    fn jiffies(&self) -> u64 {
        self.coarse_ns() / TICK_NS
    }
    fn random_u32(&self) -> u32 {
        // One generator a thread, seeded by the kernel: no system call after the first number.
        thread_local! {
            static STATE: Cell<u64> = Cell::new(seed());
        }
        let state = step(STATE.get());
        STATE.set(state);
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32 // the upper half of the product
    }
    fn trace(&self, line: &str) {
        use std::io::Write;
        // A closed standard error is no reason to stop a program.
        let _ = writeln!(std::io::stderr().lock(), "{}", line.trim_end_matches('\n'));
    }
}

fn seed() -> u64 {
    let mut bytes = [0; 8];
    // Without the kernel's generator the clock has to do: programs get no promise about these numbers.
    match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::NONBLOCK) {
        Ok(8) => u64::from_le_bytes(bytes) | 1,
        _ => clock(rustix::time::ClockId::Monotonic) | 1,
    }
}

/// One step of xorshift64.
const fn step(mut state: u64) -> u64 {
    state ^= state >> 12;
    state ^= state << 25;
    state ^ (state >> 27)
}

/// The same answer to every question, each time: results of engines can be compared.
#[derive(Clone, Debug)]
pub struct FixedEnvironment {
    /// What every clock shows, ns.
    pub clock_ns: u64,
    /// The "random" number.
    pub random: u32,
    /// Whether trace lines go to standard error.
    pub print_trace: bool,
}

impl Default for FixedEnvironment {
    /// One hour after boot; 4.
    fn default() -> Self {
        Self { clock_ns: 3_600_000_000_000, random: 4, print_trace: false }
    }
}

impl Environment for FixedEnvironment {
    fn monotonic_ns(&self) -> u64 {
        self.clock_ns
    }
    fn jiffies(&self) -> u64 {
        self.clock_ns / TICK_NS
    }
    fn random_u32(&self) -> u32 {
        self.random
    }
    fn trace(&self, line: &str) {
        if self.print_trace {
            HostEnvironment {}.trace(line);
        }
    }
}
