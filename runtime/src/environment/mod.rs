//! What helpers ask of the world: clock, random numbers, CPU, task, memory, routes, sockets.
//!
//! The host's own ([`HostEnvironment`]), a deterministic one for comparing engines
//! ([`FixedEnvironment`]), or the embedder's. Units: nanoseconds. Every question but those about time and chance has a
//! default answer, which is what the kernel says where there is nothing: no task, no route, no socket.
#![forbid(unsafe_code)]

mod network;
mod socket;
mod task;

use std::io::Write;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::time::{ClockId, DynamicClockId, Timespec, clock_getres, clock_gettime, clock_gettime_dynamic};

pub use network::{FibLookup, Interface, LOOPBACK, fib, interfaces};
pub(crate) use socket::{STATE_LISTEN, TCP};
pub use socket::{Socket, SocketInfo, SocketQuery};
pub use task::PidNamespace;
use task::Task;

/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;

/// `EFAULT`: memory that cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("memory cannot be read")]
pub struct Unreadable;

/// Answers the questions of helpers. `Sync`: several runs ask at once.
pub trait Environment: Sync + Send {
    /// `CLOCK_MONOTONIC`, ns.
    fn monotonic_ns(&self) -> u64;
    /// `CLOCK_BOOTTIME`, ns.
    fn boottime_ns(&self) -> u64 {
        self.monotonic_ns()
    }
    /// `CLOCK_REALTIME`, ns.
    fn realtime_ns(&self) -> u64 {
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
    /// The environment as its own type, for helpers that the embedder adds.
    fn as_any(&self) -> Option<&dyn std::any::Any> {
        None
    }
    /// Kernel ticks.
    fn jiffies(&self) -> u64;
    /// 32 random bits.
    fn random_u32(&self) -> u32;
    /// NUMA node of the CPU. Asked once a run: programs of the kernel do not move between CPUs while they run.
    fn numa_node(&self) -> u32 {
        0
    }
    /// A line of `bpf_trace_printk` or `bpf_trace_vprintk`, as the program ended it.
    fn trace(&self, line: &str);
    /// Two keys for SYN cookies. Cookies of one run are to be recognised by later ones.
    fn cookie_keys(&self) -> [u128; 2] {
        [0, 1]
    }

    /// Thread group of the task that runs the program (upper half) and the thread itself.
    fn pid_tgid(&self) -> u64 {
        0
    }
    /// Group (upper half) and user of that task.
    fn uid_gid(&self) -> u64 {
        0
    }
    /// Its name, padded with zeros.
    fn comm(&self) -> [u8; 16] {
        [0; 16]
    }
    /// The innermost PID namespace it is in.
    fn pid_namespace(&self) -> Option<PidNamespace> {
        None
    }
    /// Id of its cgroup.
    fn cgroup_id(&self) -> u64 {
        0
    }
    /// Id of the ancestor of its cgroup at a level (the root's is 0), or 0.
    fn ancestor_cgroup_id(&self, _level: u32) -> u64 {
        0
    }
    /// Whether its cgroup is the one of that id, or below.
    fn is_under_cgroup(&self, _id: u64) -> bool {
        false
    }
    /// Address of its `task_struct`, as [`Environment::read_kernel`] understands it. Without one a program that asks
    /// is stopped ([`TrapKind::HelperMissing`](crate::TrapKind::HelperMissing)).
    fn current_task(&self) -> Option<u64> {
        None
    }
    /// Return addresses of the stack that the program was entered on, the innermost first; how many there are, or
    /// `None` if there is no such stack.
    fn stack(&self, _user: bool, _into: &mut [u64]) -> Option<usize> {
        None
    }
    /// Copies memory of the traced process. It must not fault, whatever the address.
    ///
    /// # Errors
    /// [`Unreadable`] if a byte of it cannot be read.
    fn read_user(&self, _address: u64, _into: &mut [u8]) -> Result<(), Unreadable> {
        Err(Unreadable)
    }
    /// Copies kernel memory, or what the embedder shows in its place. Memory of the program itself is asked for
    /// elsewhere. It must not fault, whatever the address.
    ///
    /// # Errors
    /// [`Unreadable`] if a byte of it cannot be read.
    fn read_kernel(&self, _address: u64, _into: &mut [u8]) -> Result<(), Unreadable> {
        Err(Unreadable)
    }

    /// The network interface of that index. By default there is [`LOOPBACK`] alone.
    fn interface(&self, index: u32) -> Option<Interface> {
        (index == 1).then_some(LOOPBACK)
    }
    /// `bpf_fib_lookup`: 0 or a positive reason ([`fib`]). By default interfaces do not forward.
    fn fib_lookup(&self, _lookup: &mut FibLookup, _flags: u32) -> i64 {
        fib::FWD_DISABLED
    }
    /// A socket of this machine. By default there is none.
    fn find_socket(&self, _query: &SocketQuery) -> Option<Arc<Socket>> {
        None
    }
    /// Cookie of the network namespace.
    fn netns_cookie(&self) -> u64 {
        1
    }
}

/// Where lines of `bpf_trace_printk` go.
type TraceSink = Box<dyn Fn(&str) + Send + Sync>;

/// The machine it runs on. Clocks are read without a system call where the kernel's vDSO serves them.
pub struct HostEnvironment {
    ticks_per_second: u64,
    /// NUMA node by CPU; empty on machines with one node.
    nodes: Vec<u32>,
    trace: TraceSink,
    /// Asked for when a program first does.
    interfaces: OnceLock<Vec<(u32, Interface)>>,
    cookie_keys: OnceLock<[u128; 2]>,
    task: Task,
}

impl HostEnvironment {
    /// Lines of `bpf_trace_printk` go to standard error.
    #[must_use]
    pub fn new() -> Self {
        // The coarse clock advances once a tick.
        let tick = clock_getres(ClockId::MonotonicCoarse);
        let tick = tick.tv_nsec.cast_unsigned().max(1);
        Self {
            ticks_per_second: (SECOND / tick).max(1),
            nodes: numa_nodes(),
            trace: Box::new(print),
            interfaces: OnceLock::new(),
            cookie_keys: OnceLock::new(),
            task: Task::default(),
        }
    }

    /// Sends lines of `bpf_trace_printk` elsewhere.
    #[must_use]
    pub fn with_trace(self, sink: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self { trace: Box::new(sink), ..self }
    }
}

impl Default for HostEnvironment {
    fn default() -> Self {
        Self::new()
    }
}

impl Environment for HostEnvironment {
    fn monotonic_ns(&self) -> u64 {
        machine::monotonic_ns()
    }
    fn boottime_ns(&self) -> u64 {
        machine::boottime_ns()
    }
    fn realtime_ns(&self) -> u64 {
        nanoseconds(ClockId::Realtime)
    }
    fn tai_ns(&self) -> u64 {
        // A kernel without this clock has no TAI offset either.
        clock_gettime_dynamic(DynamicClockId::Tai)
            .map_or_else(|_| nanoseconds(ClockId::Realtime), in_nanoseconds)
    }
    fn coarse_ns(&self) -> u64 {
        machine::coarse_ns()
    }
    fn jiffies(&self) -> u64 {
        ticks(self.coarse_ns(), self.ticks_per_second)
    }
    fn random_u32(&self) -> u32 {
        machine::random_u32()
    }
    fn numa_node(&self) -> u32 {
        if self.nodes.is_empty() { 0 } else { node_of_cpu(&self.nodes) }
    }
    fn trace(&self, line: &str) {
        (self.trace)(line);
    }
    fn cookie_keys(&self) -> [u128; 2] {
        let half = || u128::from(seed());
        *self.cookie_keys.get_or_init(|| [half() << 64 | half(), half() << 64 | half()])
    }
    fn pid_tgid(&self) -> u64 {
        task::pid_tgid()
    }
    fn uid_gid(&self) -> u64 {
        task::uid_gid()
    }
    fn comm(&self) -> [u8; 16] {
        task::comm()
    }
    fn pid_namespace(&self) -> Option<PidNamespace> {
        task::pid_namespace()
    }
    fn cgroup_id(&self) -> u64 {
        self.task.cgroups().last().copied().unwrap_or(0)
    }
    fn ancestor_cgroup_id(&self, level: u32) -> u64 {
        self.task.cgroups().get(level as usize).copied().unwrap_or(0)
    }
    fn is_under_cgroup(&self, id: u64) -> bool {
        self.task.cgroups().contains(&id)
    }
    fn read_user(&self, address: u64, into: &mut [u8]) -> Result<(), Unreadable> {
        self.task.read(address, into)
    }
    fn interface(&self, index: u32) -> Option<Interface> {
        let all = self.interfaces.get_or_init(interfaces);
        all.iter().find(|(known, _)| *known == index).map(|(_, interface)| *interface)
    }
}

/// What [`HostEnvironment`] answers without being asked through it.
pub(crate) mod machine {
    use std::cell::Cell;

    use super::{ClockId, nanoseconds, seed, step};

    #[inline]
    pub(crate) fn monotonic_ns() -> u64 {
        nanoseconds(ClockId::Monotonic)
    }
    #[inline]
    pub(crate) fn boottime_ns() -> u64 {
        nanoseconds(ClockId::Boottime)
    }
    #[inline]
    pub(crate) fn coarse_ns() -> u64 {
        nanoseconds(ClockId::MonotonicCoarse)
    }
    #[inline]
    pub(crate) fn random_u32() -> u32 {
        // One generator a thread, seeded by the kernel: no system call after the first number.
        thread_local! {
            /// Never 0 once it is seeded.
            static STATE: Cell<u64> = const { Cell::new(0) };
        }
        let mut state = STATE.get();
        if state == 0 {
            state = seed();
        }
        let state = step(state);
        STATE.set(state);
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32 // the upper half of the product
    }
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
    /// Thread group and thread.
    pub pid_tgid: u64,
    /// Group and user.
    pub uid_gid: u64,
    /// Id of the cgroup.
    pub cgroup_id: u64,
}

impl Default for FixedEnvironment {
    /// One hour after boot; 4; thread 101 of process 100 of root.
    fn default() -> Self {
        Self {
            clock_ns: 3600 * SECOND,
            random: 4,
            print_trace: false,
            pid_tgid: 100 << 32 | 101,
            uid_gid: 0,
            cgroup_id: 1,
        }
    }
}

impl Environment for FixedEnvironment {
    fn monotonic_ns(&self) -> u64 {
        self.clock_ns
    }
    fn jiffies(&self) -> u64 {
        ticks(self.clock_ns, 250)
    }
    fn random_u32(&self) -> u32 {
        self.random
    }
    fn trace(&self, line: &str) {
        if self.print_trace {
            print(line);
        }
    }
    fn pid_tgid(&self) -> u64 {
        self.pid_tgid
    }
    fn uid_gid(&self) -> u64 {
        self.uid_gid
    }
    fn cgroup_id(&self) -> u64 {
        self.cgroup_id
    }
}

/// A line on standard error.
fn print(line: &str) {
    // A closed standard error is no reason to stop a program.
    let _ = writeln!(std::io::stderr().lock(), "{}", line.trim_end_matches('\n'));
}

/// The kernel's tick counter, which starts five minutes before its 32-bit half overflows.
fn ticks(since_boot_ns: u64, per_second: u64) -> u64 {
    let ticks = u128::from(since_boot_ns) * u128::from(per_second) / u128::from(SECOND);
    (1_u64 << 32) - 300 * per_second + ticks as u64
}

/// How long the calling thread has been on a CPU. A system call.
#[must_use]
pub fn thread_time() -> Duration {
    Duration::from_nanos(nanoseconds(ClockId::ThreadCPUTime))
}

fn nanoseconds(clock: ClockId) -> u64 {
    in_nanoseconds(clock_gettime(clock))
}

fn in_nanoseconds(time: Timespec) -> u64 {
    time.tv_sec.cast_unsigned().wrapping_mul(SECOND).wrapping_add(time.tv_nsec.cast_unsigned())
}

#[cold]
fn seed() -> u64 {
    let mut bytes = [0; 8];
    // Without the kernel's generator the clock has to do: programs get no promise about these numbers.
    match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::NONBLOCK) {
        Ok(8) => u64::from_le_bytes(bytes) | 1,
        _ => nanoseconds(ClockId::Monotonic) | 1,
    }
}

/// One step of xorshift64.
const fn step(mut state: u64) -> u64 {
    state ^= state >> 12;
    state ^= state << 25;
    state ^ (state >> 27)
}

// Apart: machines with one node should not pay for asking.
#[cold]
fn node_of_cpu(nodes: &[u32]) -> u32 {
    nodes.get(rustix::thread::sched_getcpu()).copied().unwrap_or(0)
}

/// NUMA node by CPU, if there is more than one node.
fn numa_nodes() -> Vec<u32> {
    let mut nodes = Vec::new();
    let mut count = 0;
    for node in 0..1024 {
        let path = format!("/sys/devices/system/node/node{node}/cpulist");
        let Ok(list) = std::fs::read_to_string(path) else { continue };
        count += 1;
        for range in list.trim().split(',') {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (Ok(first), Ok(last)) = (first.parse::<usize>(), last.parse::<usize>()) else { continue };
            for cpu in first..=last.min(65_535) {
                nodes.resize(nodes.len().max(cpu + 1), 0);
                nodes[cpu] = node;
            }
        }
    }
    if count > 1 { nodes } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_clocks_run_forward() {
        let host = HostEnvironment::new().with_trace(|_| ());
        let (first, second) = (host.monotonic_ns(), host.monotonic_ns());
        assert!(first > 0 && second >= first);
        assert!(host.boottime_ns() >= first);
        assert!(host.coarse_ns() <= host.monotonic_ns());
        assert!(host.tai_ns() > 1_600_000_000 * SECOND);
        assert!(host.jiffies() > (1 << 32) - 400_000);
    }
}
