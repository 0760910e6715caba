//! Test runs (`BPF_PROG_TEST_RUN`): one input through a loaded program, without attaching it anywhere.
//!
//! In: packet and context bytes. Out: [`TestResult`]. What each program type takes and gives back is the
//! kernel's and differs a lot: [`TestRun::packet`] builds the input for a packet the way its type wants it.
#![forbid(unsafe_code)]

use std::os::fd::AsFd;

use beelift_runtime::ctx::ProgramType;

use super::prog::KernelProgram;
use super::sys::{self, RunArgs, RunBuffers};
use super::{Errno, Hint, OsError};

/// How much a program may grow its packet: more than a page, which is what linear buffers have.
const GROWTH: usize = 4096;

/// Size of `struct xdp_md`.
const XDP_MD: usize = 24;

/// Size of `struct __sk_buff`.
const SK_BUFF: usize = 192;

/// Input of a test run.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TestRun {
    /// Packet bytes (for `xdp`: metadata first).
    pub data_in: Vec<u8>,
    /// Context structure, or empty.
    pub ctx_in: Vec<u8>,
    /// Room for the packet afterwards; 0: not wanted.
    pub data_out: usize,
    /// Room for the context afterwards; 0: not wanted.
    pub ctx_out: usize,
    /// How often; packet changes persist from run to run. 0 is 1.
    pub repeat: u32,
    /// `BPF_F_TEST_*`.
    pub flags: u32,
    /// CPU, with `BPF_F_TEST_RUN_ON_CPU`.
    pub cpu: u32,
    /// Packets at a time with `BPF_F_TEST_XDP_LIVE_FRAMES`.
    pub batch_size: u32,
}

/// What a test run gave.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TestResult {
    /// r0, 32 bits.
    pub retval: u32,
    /// Packet afterwards (for `xdp`: metadata first).
    pub data_out: Vec<u8>,
    /// Context afterwards.
    pub ctx_out: Vec<u8>,
    /// Mean duration of a run.
    pub duration_ns: u32,
}

/// Which buffers a program type takes in a test run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TestInput {
    /// A packet of Ethernet and `xdp_md`.
    Xdp,
    /// A packet of Ethernet and `__sk_buff`.
    Skb,
    /// A packet of Ethernet, and out come flow keys.
    FlowDissector,
    /// A packet of Ethernet and `bpf_nf_ctx`' hook state.
    Netfilter,
    /// `bpf_sk_lookup`.
    SkLookup,
    /// Words: the arguments of the tracepoint.
    RawTracepoint,
    /// Bytes that the program may change.
    Syscall,
}

impl TestInput {
    /// What a type takes, or `None`: the kernel has no test run for it.
    #[must_use]
    pub const fn of(prog_type: ProgramType) -> Option<Self> {
        match prog_type {
            ProgramType::Xdp => Some(Self::Xdp),
            ProgramType::SocketFilter
            | ProgramType::SchedCls
            | ProgramType::SchedAct
            | ProgramType::CgroupSkb
            | ProgramType::LwtIn
            | ProgramType::LwtOut
            | ProgramType::LwtXmit => Some(Self::Skb),
            ProgramType::FlowDissector => Some(Self::FlowDissector),
            ProgramType::Netfilter => Some(Self::Netfilter),
            ProgramType::SkLookup => Some(Self::SkLookup),
            ProgramType::RawTracepoint => Some(Self::RawTracepoint),
            ProgramType::Syscall => Some(Self::Syscall),
            ProgramType::Unspec
            | ProgramType::Kprobe
            | ProgramType::Tracepoint
            | ProgramType::PerfEvent
            | ProgramType::CgroupSock
            | ProgramType::SockOps
            | ProgramType::SkSkb
            | ProgramType::CgroupDevice
            | ProgramType::SkMsg
            | ProgramType::CgroupSockAddr
            | ProgramType::LwtSeg6local
            | ProgramType::LircMode2
            | ProgramType::SkReuseport
            | ProgramType::CgroupSysctl
            | ProgramType::RawTracepointWritable
            | ProgramType::CgroupSockopt
            | ProgramType::Tracing
            | ProgramType::StructOps
            | ProgramType::Ext
            | ProgramType::Lsm
            | ProgramType::Memory
            | ProgramType::Host => None,
        }
    }
}

impl TestRun {
    /// One run over a packet, with its context back. `metadata` bytes at the start of `data` are `xdp`
    /// metadata. `context` is the UAPI context structure or empty; of `xdp_md` the packet bounds are ours.
    #[must_use]
    pub fn packet(input: TestInput, data: &[u8], metadata: u32, context: &[u8]) -> Self {
        let data_in = data.to_vec();
        let data_out = data.len() + GROWTH;
        let base = Self { data_in, data_out, repeat: 1, ..Self::default() };
        match input {
            TestInput::Xdp => {
                // Without a context the kernel would make an empty linear packet when asked for one back.
                let mut ctx_in = context.to_vec();
                ctx_in.resize(XDP_MD, 0);
                let end = u32::try_from(data.len()).unwrap_or(u32::MAX);
                ctx_in[..4].copy_from_slice(&metadata.to_ne_bytes());
                ctx_in[4..8].copy_from_slice(&end.to_ne_bytes());
                ctx_in[8..12].fill(0);
                Self { ctx_in, ctx_out: XDP_MD, ..base }
            }
            TestInput::Skb => Self { ctx_in: context.to_vec(), ctx_out: SK_BUFF, ..base },
            TestInput::FlowDissector => Self { ctx_in: context.to_vec(), data_out: 512, ..base },
            TestInput::Netfilter => Self { ctx_in: context.to_vec(), data_out: 0, ..base },
            TestInput::SkLookup => Self {
                ctx_in: context.to_vec(),
                ctx_out: context.len(),
                data_in: Vec::new(),
                data_out: 0,
                ..base
            },
            TestInput::RawTracepoint | TestInput::Syscall => {
                Self { ctx_in: context.to_vec(), data_in: Vec::new(), data_out: 0, repeat: 0, ..base }
            }
        }
    }
}

impl KernelProgram {
    /// Runs the program over one input.
    ///
    /// # Errors
    /// A type without test runs (524), an input it does not take, a result that does not fit.
    pub fn test_run(&self, run: &TestRun) -> Result<TestResult, OsError> {
        let mut data_out = vec![0; run.data_out];
        let mut ctx_in = run.ctx_in.clone();
        let mut ctx_out = vec![0; run.ctx_out];
        let buffers = RunBuffers {
            data_in: &run.data_in,
            data_out: &mut data_out,
            ctx_in: &mut ctx_in,
            ctx_out: &mut ctx_out,
        };
        let TestRun { repeat, flags, cpu, batch_size, .. } = *run;
        let args = RunArgs { repeat, flags, cpu, batch_size };
        let (result, attr) = sys::test_run(self.as_fd(), args, buffers);
        result.map_err(|errno| {
            let hint = match errno {
                Errno::ENOTSUPP => Hint::NoTestRun(self.prog_type()),
                Errno::EINVAL | Errno::E2BIG | Errno::ENOSPC => Hint::TestRunInput(self.prog_type()),
                _ => Hint::None,
            };
            OsError::new("BPF_PROG_TEST_RUN", self.name(), errno).with_hint(hint)
        })?;
        data_out.truncate(attr.data_size_out as usize);
        if TestInput::of(self.prog_type()) == Some(TestInput::Syscall) {
            // These write their context back where it came from.
            ctx_out = ctx_in;
        } else {
            ctx_out.truncate(attr.ctx_size_out as usize);
        }
        Ok(TestResult { retval: attr.retval, data_out, ctx_out, duration_ns: attr.duration })
    }
}
