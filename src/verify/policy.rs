//! Policies and limits: data that the checks read.
#![forbid(unsafe_code)]

use std::time::Duration;

use beelift_runtime::cpu::possible;

/// Which programs are good enough.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Name for messages: `kernel`, `user`, `strict`.
    pub name: &'static str,
    /// Pointers may be stored where others can read them, returned, compared and subtracted. Without it a program may
    /// still return a field of its context that is declared a number and holds where the packet is (`xdp_md.data`): what
    /// leaves is 0.
    pub allow_pointer_leaks: bool,
    /// Stack bytes may be read before they are written (the compiler zeroes them at entry if so). Without it only a load
    /// at an offset that varies may reach such bytes, if it may as well reach bytes that were written.
    pub allow_uninitialised_stack: bool,
    /// Memory accesses need natural alignment everywhere, not only on the stack.
    pub strict_alignment: bool,
    /// Results of divisions and shifts by unknown counts are any number, as Linux takes them, so that
    /// verdicts can be compared. Without it ranges are followed through them.
    pub coarse_arithmetic: bool,
    /// Only instructions that Linux takes: no calls through registers, no division by the immediate zero and no
    /// immediate shift counts at or past the width. Without it the last two mean what RFC 9669 says of registers:
    /// zero or the dividend, and the count modulo the width.
    pub linux_instructions: bool,
    /// A loop whose turns cannot be walked within the limit of instructions is proven safe with ranges that hold in
    /// every turn, however many there are. Where no counter proves that it ends, its backward jumps burn fuel, and a run
    /// without fuel traps.
    pub fuel: bool,
}

impl Policy {
    /// Exactly what Linux lets a program loaded with all capabilities do.
    pub const KERNEL: Self = Self {
        name: "kernel",
        allow_pointer_leaks: true,
        allow_uninitialised_stack: true,
        strict_alignment: false,
        coarse_arithmetic: true,
        linux_instructions: true,
        fuel: false,
    };
    /// The default in user space: all that `KERNEL` accepts, and long safe loops; unproven stack bytes are zeroed.
    pub const USER: Self = Self {
        name: "user",
        coarse_arithmetic: false,
        linux_instructions: false,
        fuel: true,
        ..Self::KERNEL
    };
    /// For untrusted tenants: no pointer leaks, no reads of unwritten stack.
    pub const STRICT: Self = Self {
        name: "strict",
        allow_pointer_leaks: false,
        allow_uninitialised_stack: false,
        strict_alignment: false,
        coarse_arithmetic: false,
        linux_instructions: true,
        fuel: false,
    };

    /// The policy of that name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        [Self::KERNEL, Self::USER, Self::STRICT].into_iter().find(|policy| policy.name == name)
    }
}

/// Caps on what a proof may take. Each one ends in a clean rejection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Instructions walked over all paths.
    pub processed: u64,
    /// Branches waiting to be walked.
    pub pending: u32,
    /// Nested calls, the program's own frame included: at most 8.
    pub frames: u32,
    /// Bytes of stack, combined along a call chain.
    pub stack: u32,
    /// Subprograms.
    pub subprograms: u32,
    /// Bytes of memory for states (remembered ones, waiting ones) and for the steps that led to them.
    pub memory: u64,
    /// Turns of a loop that a counter bounds. A loop that may take more burns fuel, as one without a counter.
    pub turns: u64,
    /// Time of a processor that each thread of the proof may take: what else the machine does has no part in a verdict.
    /// The other limits end a proof long before.
    pub time: Duration,
}

impl Limits {
    /// Frames that a state has room for.
    const FRAMES: u32 = 8;
    /// Steps that a trace has numbers for.
    const STEPS: u64 = 1 << 30;

    /// The limits within those that the verifier has by itself.
    pub(crate) fn clamped(self) -> Self {
        Self { processed: self.processed.min(Self::STEPS), frames: self.frames.min(Self::FRAMES), ..self }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            processed: 1_000_000,
            pending: 8192,
            frames: 8,
            stack: 512,
            subprograms: 256,
            memory: 256 << 20,
            turns: 1 << 32,
            time: Duration::from_secs(60),
        }
    }
}

/// What a verification is asked to prove and what it may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Rules.
    pub policy: Policy,
    /// Caps.
    pub limits: Limits,
    /// Length of the buffer that a program of type `memory` gets: exactly this many bytes can be accessed, and
    /// the program runs on no other length. Without it nothing is known of the buffer but its length in r2.
    pub buffer: Option<u32>,
    /// The number of the CPU that a run is on is below this. Linux knows as much of its own CPUs; without it nothing is
    /// known of the number.
    pub cpus: Option<u32>,
    /// Threads that global functions are verified on, where there are several. Nothing else depends on it.
    pub threads: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self::with_policy(Policy::USER)
    }
}

impl Options {
    /// Default limits under a policy, for the CPUs of this machine.
    #[must_use]
    pub fn with_policy(policy: Policy) -> Self {
        Self { policy, limits: Limits::default(), buffer: None, cpus: Some(possible()), threads: 4 }
    }
}
