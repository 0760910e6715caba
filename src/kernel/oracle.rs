//! The kernel as oracle: a copy of a program that depends on nothing but its input, run over one input.
//!
//! In: a linked [`Program`], fixed answers for what depends on the machine ([`Fixed`]), inputs. Out:
//! [`Outcome`]s and map contents that the other engines must reproduce. The kernel's copy of the program has
//! each call for clock, random numbers and CPU replaced by a constant, and runs on CPU 0, so that per-CPU
//! values are in slot 0. What still depends on the machine is named by [`not_comparable`].
#![forbid(unsafe_code)]

use beelift_runtime::ctx::ProgramType;
use beelift_runtime::environment::Environment;
use beelift_runtime::helper::{HelperFlags, by_id};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::btf::KernelBtf;
use super::map::KernelMap;
use super::mapset::{MapSetOptions, create_maps};
use super::prog::{KernelProgram, LoadOptions};
use super::run::{TestInput, TestRun};
use super::{Errno, Hint, OsError};
use crate::isa::encode::pcs_of;
use crate::isa::{AluOp, Callee, Const64, Insn, Operand, Reg, Width};
use crate::link::Program;

/// `prog_flags` bit of an `xdp` program that takes packets in fragments.
pub const XDP_HAS_FRAGS: u32 = 1 << 5;

/// Longest `xdp` packet in one piece: a page without headroom (256) and the kernel's own tail (320).
pub const LINEAR_PACKET: usize = 3520;

/// Longest `xdp` packet at all: 17 more pages.
const XDP_PACKET: usize = LINEAR_PACKET + 17 * 4096;

/// Longest packet of a type with `__sk_buff`: a page without the kernel's own head (64) and tail (320).
const SKB_PACKET: usize = 3712;

/// Most metadata: the headroom without the kernel's own note in it (40).
const XDP_METADATA: u32 = 216;

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;

/// Answers that every engine gives when engines are compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fixed {
    /// `bpf_ktime_get_ns`
    pub monotonic_ns: u64,
    /// `bpf_ktime_get_boot_ns`
    pub boottime_ns: u64,
    /// `bpf_ktime_get_tai_ns`
    pub tai_ns: u64,
    /// `bpf_ktime_get_coarse_ns`
    pub coarse_ns: u64,
    /// `bpf_jiffies64`
    pub jiffies: u64,
    /// `bpf_get_prandom_u32`
    pub random_u32: u32,
    /// `bpf_get_smp_processor_id`
    pub cpu: u32,
    /// `bpf_get_numa_node_id`
    pub numa_node: u32,
    /// `bpf_get_current_pid_tgid`
    pub pid_tgid: u64,
    /// `bpf_get_current_uid_gid`
    pub uid_gid: u64,
    /// `bpf_get_current_cgroup_id`
    pub cgroup_id: u64,
}

/// Helpers that [`Fixed::answer`] knows, ascending: clock, random number, CPU, task, NUMA node, cgroup, ticks, other
/// clocks.
const FIXED: [u32; 11] = [5, 7, 8, 14, 15, 42, 80, 118, 125, 160, 208];

impl Fixed {
    /// The answers of an environment, asked once, on CPU 0.
    #[must_use]
    pub fn of(environment: &dyn Environment) -> Self {
        Self {
            monotonic_ns: environment.monotonic_ns(),
            boottime_ns: environment.boottime_ns(),
            tai_ns: environment.tai_ns(),
            coarse_ns: environment.coarse_ns(),
            jiffies: environment.jiffies(),
            random_u32: environment.random_u32(),
            cpu: 0,
            numa_node: environment.numa_node(),
            pid_tgid: environment.pid_tgid(),
            uid_gid: environment.uid_gid(),
            cgroup_id: environment.cgroup_id(),
        }
    }

    /// The answer to a helper, when it is one of these.
    #[must_use]
    pub fn answer(&self, helper: u32) -> Option<u64> {
        let answers = [
            self.monotonic_ns,
            u64::from(self.random_u32),
            u64::from(self.cpu),
            self.pid_tgid,
            self.uid_gid,
            u64::from(self.numa_node),
            self.cgroup_id,
            self.jiffies,
            self.boottime_ns,
            self.coarse_ns,
            self.tai_ns,
        ];
        FIXED.binary_search(&helper).ok().map(|index| answers[index])
    }
}

/// Helpers whose results depend on the machine and that [`Fixed`] has no answer for: number and name, once each.
#[must_use]
pub fn not_comparable(program: &Program) -> Vec<(u32, &'static str)> {
    // What depends on other state than the machine's own: stacks, sockets, routes, the fill of rings.
    const STATE: [u32; 12] = [27, 34, 46, 47, 67, 69, 84, 85, 99, 134, 141, 175];
    let mut calls: Vec<u32> = program
        .insns
        .iter()
        .filter_map(|insn| match insn {
            Insn::Call(Callee::Helper(number)) if FIXED.binary_search(number).is_err() => Some(*number),
            _ => None,
        })
        .collect();
    calls.sort_unstable();
    calls.dedup();
    calls
        .into_iter()
        .filter_map(by_id)
        .filter(|helper| helper.proto.flags.contains(HelperFlags::MACHINE) || STATE.contains(&helper.id))
        .map(|helper| (helper.id, helper.name))
        .collect()
}

/// The program with machine-dependent calls replaced by constants. Instructions keep their indexes: each call
/// becomes one load, and slots are counted anew.
#[must_use]
pub fn fixed_copy(program: &Program, fixed: &Fixed) -> Program {
    let mut copy = program.clone();
    for insn in &mut copy.insns {
        if let Insn::Call(Callee::Helper(number)) = *insn
            && let Some(answer) = fixed.answer(number)
        {
            *insn = constant(answer);
        }
    }
    copy.pcs = pcs_of(&copy.insns);
    copy
}

/// `r0 = value`, in one slot where that is possible, so that jumps reach as far as before.
fn constant(value: u64) -> Insn {
    match i32::try_from(value.cast_signed()) {
        Ok(small) => {
            Insn::Alu { op: AluOp::Mov, width: Width::W64, dst: Reg::R0, src: Operand::Imm(i64::from(small)) }
        }
        Err(_) => Insn::Const { dst: Reg::R0, value: Const64::Imm(value) },
    }
}

/// One input of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Input<'a> {
    /// Packet; its first `metadata` bytes are `xdp` metadata.
    pub packet: &'a [u8],
    /// Bytes of metadata: a multiple of 4.
    pub metadata: u32,
    /// UAPI context structure, or empty.
    pub context: &'a [u8],
}

/// What a run left behind.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Outcome {
    /// r0, as far as the kernel shows it: 32 bits.
    pub retval: u32,
    /// Packet without metadata. Types that see packets from the network header on get the Ethernet header of
    /// the input back in front, which the kernel blanks; flow dissectors give their flow keys.
    pub packet: Vec<u8>,
    /// `xdp` metadata.
    pub metadata: Vec<u8>,
    /// UAPI context structure.
    pub context: Vec<u8>,
}

/// A program and its maps in the kernel, ready for one input after another; maps persist between them.
#[derive(Debug)]
pub struct Oracle {
    program: KernelProgram,
    maps: Vec<KernelMap>,
    input: TestInput,
    has_frags: bool,
}

/// Why the kernel's result for an input says nothing about ours, if so: it takes no such input, or shows the
/// program only a part of it.
#[must_use]
pub fn incomparable(program: &Program, input: Input<'_>) -> Option<&'static str> {
    let has_frags = program.prog_flags & XDP_HAS_FRAGS != 0;
    TestInput::of(program.prog_type).and_then(|kind| incomparable_for(kind, has_frags, input))
}

fn incomparable_for(kind: TestInput, has_frags: bool, input: Input<'_>) -> Option<&'static str> {
    let length = input.packet.len().saturating_sub(input.metadata as usize);
    match kind {
        TestInput::Xdp | TestInput::Skb | TestInput::FlowDissector if length < ETHERNET => {
            Some("the kernel takes no packet below 14 bytes")
        }
        TestInput::Xdp if input.metadata > XDP_METADATA || !input.metadata.is_multiple_of(4) => {
            Some("the kernel takes metadata in words, up to 216 bytes")
        }
        TestInput::Xdp if length > LINEAR_PACKET && !has_frags => {
            Some("over 3520 bytes the kernel's packet is in fragments, and the program does not take them")
        }
        TestInput::Xdp if length > XDP_PACKET => Some("the kernel takes no packet over 73152 bytes"),
        TestInput::Skb if length > SKB_PACKET => {
            Some("the kernel takes no packet over 3712 bytes for this type")
        }
        TestInput::Skb if length < ETHERNET + network_header(input.packet) => {
            Some("the kernel takes no packet that ends inside its IP header for this type")
        }
        TestInput::Netfilter if length < 20 => {
            Some("the kernel takes no packet below 20 bytes for this type")
        }
        TestInput::Xdp
        | TestInput::Skb
        | TestInput::FlowDissector
        | TestInput::Netfilter
        | TestInput::SkLookup
        | TestInput::RawTracepoint
        | TestInput::Syscall => None,
    }
}

impl Oracle {
    /// Loads the fixed copy of a program with maps of its own.
    ///
    /// # Errors
    /// As for maps and programs; program types without test runs.
    pub fn load(program: &Program, fixed: &Fixed) -> Result<Self, OsError> {
        let btf = program.btf.as_ref().map(|btf| KernelBtf::load(&btf.to_kernel_bytes()));
        // Without BTF most programs load all the same, and those that need it are refused with a log.
        let btf = btf.and_then(Result::ok);
        let maps = create_maps(&program.maps, MapSetOptions { btf: btf.as_ref(), pin_directory: None })?;
        let options = LoadOptions { btf: btf.as_ref(), ..LoadOptions::default() };
        Self::with_maps(program, maps, options, fixed)
    }

    /// Loads the fixed copy of a program with maps that exist.
    ///
    /// # Errors
    /// As for programs; program types without test runs.
    pub fn with_maps(
        program: &Program,
        maps: Vec<KernelMap>,
        options: LoadOptions<'_>,
        fixed: &Fixed,
    ) -> Result<Self, OsError> {
        let input = TestInput::of(program.prog_type).ok_or_else(|| {
            OsError::new("BPF_PROG_TEST_RUN", &program.name, Errno::ENOTSUPP)
                .with_hint(Hint::NoTestRun(program.prog_type))
        })?;
        let copy = fixed_copy(program, fixed);
        let program = KernelProgram::load(&copy, &maps, options)?;
        let has_frags = copy.prog_flags & XDP_HAS_FRAGS != 0;
        Ok(Self { program, maps, input, has_frags })
    }

    /// Runs one input on CPU 0. The calling thread is moved there for the time of the run; who runs many inputs
    /// holds an [`OnCpu`] around all of them.
    ///
    /// # Errors
    /// An input that the kernel does not take: [`incomparable`](Self::incomparable) tells beforehand.
    pub fn run(&self, input: Input<'_>) -> Result<Outcome, OsError> {
        let _guard = OnCpu::pin(0)?;
        self.run_here(input)
    }

    /// Runs one input on whatever CPU the thread is on.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_here(&self, input: Input<'_>) -> Result<Outcome, OsError> {
        let run = TestRun::packet(self.input, input.packet, input.metadata, input.context);
        let result = self.program.test_run(&run)?;
        let mut packet = result.data_out;
        let mut metadata = Vec::new();
        if self.input == TestInput::Xdp
            && let Some(start) = result.ctx_out.first_chunk::<4>()
        {
            let start = (u32::from_ne_bytes(*start) as usize).min(packet.len());
            metadata = packet.drain(..start).collect();
        }
        keep_header(self.program.prog_type(), input.packet, &mut packet);
        Ok(Outcome { retval: result.retval, packet, metadata, context: result.ctx_out })
    }

    /// See the function [`incomparable`].
    #[must_use]
    pub fn incomparable(&self, input: Input<'_>) -> Option<&'static str> {
        incomparable_for(self.input, self.has_frags, input)
    }

    /// The kernel's maps, in the order of `Program::maps`.
    #[must_use]
    pub fn maps(&self) -> &[KernelMap] {
        &self.maps
    }

    /// The kernel's program.
    #[must_use]
    pub fn program(&self) -> &KernelProgram {
        &self.program
    }
}

/// Bytes of the network header that the kernel wants whole, by the packet's Ethernet type.
fn network_header(packet: &[u8]) -> usize {
    match packet.get(12..ETHERNET) {
        Some([0x08, 0x00]) => 20,
        Some([0x86, 0xdd]) => 40,
        _ => 0,
    }
}

/// The calling thread stays on one CPU until this is dropped.
#[derive(Debug)]
pub struct OnCpu {
    before: CpuSet,
    /// The guard restores the thread that it was made on.
    _this_thread: std::marker::PhantomData<*const ()>,
}

impl OnCpu {
    /// Moves the calling thread.
    ///
    /// # Errors
    /// A CPU that is not there or not allowed.
    pub fn pin(cpu: usize) -> Result<Self, OsError> {
        let error = |errno: rustix::io::Errno| {
            OsError::new("sched_setaffinity", format!("cpu {cpu}"), Errno(errno.raw_os_error()))
        };
        let before = sched_getaffinity(None).map_err(error)?;
        let mut one = CpuSet::new();
        if cpu >= CpuSet::MAX_CPU {
            return Err(error(rustix::io::Errno::INVAL));
        }
        one.set(cpu);
        if one != before {
            sched_setaffinity(None, &one).map_err(error)?;
        }
        Ok(Self { before, _this_thread: std::marker::PhantomData })
    }
}

impl Drop for OnCpu {
    fn drop(&mut self) {
        // It was allowed before; if it is no more, staying is all we can do.
        let _ = sched_setaffinity(None, &self.before);
    }
}

/// A test run of a type that sees packets from the network header on zeroes what lies before; here it stays.
pub(crate) fn keep_header(prog_type: ProgramType, before: &[u8], after: &mut [u8]) {
    let sees_ethernet = matches!(prog_type, ProgramType::SchedCls | ProgramType::SchedAct);
    if TestInput::of(prog_type) == Some(TestInput::Skb) && !sees_ethernet {
        let header = after.len().min(before.len()).min(ETHERNET);
        after[..header].copy_from_slice(&before[..header]);
    }
}
