//! [`OsError`]: what the kernel refused, why as far as we can tell, and what would help.
//!
//! In: an error number, the thing asked for, the capabilities of this process, the verifier's log. Out: data
//! whose `Display` says what to do. `docs/kernel-fallback.md` is the table behind [`Hint`].
#![forbid(unsafe_code)]

use beelift_runtime::MapKind;
use beelift_runtime::ctx::ProgramType;
use beelift_runtime::privilege::Capabilities;

use super::log::VerifierLog;

/// An error number of the kernel, positive.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Errno(pub i32);

macro_rules! errnos {
    ($($name:ident = $number:literal;)*) => {
        #[allow(missing_docs, reason = "the names are those of errno(3)")]
        impl Errno {
            $(pub const $name: Self = Self($number);)*
            /// Name as in errno(3), where we know it.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 { $($number => Some(stringify!($name)),)* _ => None }
            }
        }
    };
}

errnos! {
    EPERM = 1; ENOENT = 2; ESRCH = 3; EINTR = 4; EIO = 5; ENXIO = 6; E2BIG = 7; EBADF = 9; EAGAIN = 11;
    ENOMEM = 12; EACCES = 13; EFAULT = 14; EBUSY = 16; EEXIST = 17; ENODEV = 19; ENOTDIR = 20; EINVAL = 22;
    EMFILE = 24; ENOSPC = 28; EROFS = 30; ERANGE = 34; ENAMETOOLONG = 36; ENOSYS = 38; EOVERFLOW = 75;
    EOPNOTSUPP = 95; ENOTSUPP = 524;
}

impl std::fmt::Display for Errno {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "errno {}", self.0),
        }
    }
}

/// What explains a refusal and what would help.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Hint {
    /// Nothing beyond the error number.
    None,
    /// These capabilities are missing; any one of the set is not enough.
    MissingCapabilities(Capabilities),
    /// All capabilities are there, and still EPERM: lockdown, no trampolines, a token or a seccomp filter.
    ForbiddenByKernel,
    /// The kernel has no `bpf(2)` at all.
    NoBpf,
    /// The verifier said no: see the log.
    Rejected,
    /// This kernel was built without the program type, or is too old for it.
    ProgramTypeMissing(ProgramType),
    /// The program type is there, and does not take this `expected_attach_type`.
    AttachType(ProgramType, u32),
    /// Our own program type, which no kernel has.
    ProgramTypeIsOurs(ProgramType),
    /// This kernel was built without the map type, or does not take this combination of sizes and flags.
    MapTypeOrAttributes(MapKind),
    /// The definition of the map breaks a rule of its type.
    MapRule(MapKind, &'static str),
    /// The map type does not support the operation.
    MapOperation(MapKind),
    /// The map is full, or the index is past its end.
    MapFull,
    /// The map is frozen, or was opened for one direction only.
    MapReadOnly,
    /// Key or value have the wrong length: the map wants these.
    Lengths {
        /// Bytes of a key.
        key: usize,
        /// Bytes of a value in user space: all CPUs of a per-CPU map.
        value: usize,
    },
    /// An attribute this kernel does not know, or too many instructions.
    AttributeUnknown,
    /// More instructions than the verifier looks at (1 million).
    TooComplex,
    /// No test run for this program type.
    NoTestRun(ProgramType),
    /// Input of a test run that this program type does not take.
    TestRunInput(ProgramType),
    /// A kfunc that the running kernel does not have.
    KfuncMissing(String),
    /// A kernel symbol that the running kernel does not have.
    SymbolMissing(String),
    /// What the program is to be attached to does not exist in the running kernel.
    TargetMissing(String),
    /// Something is there already (a pin, another program at the attach point).
    Exists,
    /// The path is not in a bpffs.
    NotBpffs,
    /// The program cannot be encoded for the kernel: a jump is too long, or a reference leads nowhere.
    Encoding(String),
    /// Something that this layer does not do.
    Unsupported(&'static str),
}

/// An operation that the kernel refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub struct OsError {
    /// Command of `bpf(2)` or other system call.
    pub op: &'static str,
    /// What it was done to: name of a map or program, a path, an interface.
    pub object: String,
    /// Error number.
    pub errno: Errno,
    /// Why, and what would help.
    pub hint: Hint,
    /// What the verifier wrote.
    pub log: Option<Box<VerifierLog>>,
}

impl OsError {
    /// An error without further explanation.
    #[must_use]
    pub fn new(op: &'static str, object: impl Into<String>, errno: Errno) -> Self {
        Self { op, object: object.into(), errno, hint: Hint::None, log: None }
    }
    /// The same error with an explanation.
    #[must_use]
    pub fn with_hint(self, hint: Hint) -> Self {
        Self { hint, ..self }
    }
    /// Whether this process may not, whatever the program is: missing capability, lockdown, no `bpf(2)`.
    #[must_use]
    pub fn is_not_permitted(&self) -> bool {
        matches!(self.hint, Hint::MissingCapabilities(_) | Hint::ForbiddenByKernel | Hint::NoBpf)
    }
}

impl std::fmt::Display for OsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.op)?;
        if !self.object.is_empty() {
            write!(f, " {}", self.object)?;
        }
        write!(f, ": {}", self.errno)?;
        if self.hint != Hint::None {
            write!(f, ": {}", self.hint)?;
        }
        if let Some(log) = &self.log {
            write!(f, ": {log}")?;
        }
        Ok(())
    }
}

impl std::fmt::Display for Hint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("no further explanation"),
            Self::MissingCapabilities(missing) => {
                write!(f, "this process lacks {missing}; run as root or grant it")
            }
            Self::ForbiddenByKernel => f.write_str(
                "all capabilities are there, so the kernel itself forbids it \
                 (lockdown, a seccomp filter, or attaching to functions is not built in)",
            ),
            Self::NoBpf => f.write_str("this kernel has no bpf(2)"),
            Self::Rejected => f.write_str("the kernel's verifier rejected the program"),
            Self::ProgramTypeMissing(kind) => write!(f, "this kernel has no program type {kind}"),
            Self::AttachType(kind, number) => {
                write!(f, "program type {kind} does not take expected_attach_type {number} (or its flags)")
            }
            Self::ProgramTypeIsOurs(kind) => write!(f, "program type {kind} exists in user space only"),
            Self::MapTypeOrAttributes(kind) => write!(
                f,
                "this kernel has no map type {kind}, or does not take these sizes, flags or limits for it"
            ),
            Self::MapRule(kind, rule) => write!(f, "{kind} map: {rule}"),
            Self::MapOperation(kind) => write!(f, "map type {kind} does not support this"),
            Self::MapFull => f.write_str("the map is full, or the index is past its end"),
            Self::MapReadOnly => f.write_str("the map is frozen or may not be accessed in this direction"),
            Self::Lengths { key, value } => write!(f, "a key has {key} bytes and a value {value}"),
            Self::AttributeUnknown => f.write_str("this kernel does not know one of the attributes"),
            Self::TooComplex => {
                f.write_str("the verifier gave up: too many instructions to look at, or too many branches")
            }
            Self::NoTestRun(kind) => write!(f, "this kernel cannot test-run programs of type {kind}"),
            Self::TestRunInput(kind) => {
                write!(f, "the kernel does not take this packet or context for a test run of type {kind}")
            }
            Self::KfuncMissing(name) => write!(f, "this kernel has no kfunc {name}"),
            Self::SymbolMissing(name) => write!(f, "this kernel has no symbol {name}"),
            Self::TargetMissing(name) => write!(f, "this kernel has no {name} to attach to"),
            Self::Exists => f.write_str("something is there already"),
            Self::NotBpffs => {
                f.write_str("the path is not in a BPF file system (mount -t bpf bpf /sys/fs/bpf)")
            }
            Self::Encoding(what) => write!(f, "the program cannot be written as kernel instructions: {what}"),
            Self::Unsupported(what) => write!(f, "{what} is not supported"),
        }
    }
}
