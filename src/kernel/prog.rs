//! Programs in the kernel: loading with the verifier's log, information, native code.
//!
//! In: a linked [`Program`] and its maps, or raw slots. Out: [`KernelProgram`]. The kernel verifies by itself:
//! nothing here asks our verifier. Not here: how references become descriptors (`bind`), test runs (`run`).
#![forbid(unsafe_code)]

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use beelift_runtime::ctx::ProgramType;

use super::bind::{Bound, Btf};
use super::btf::KernelBtf;
use super::log::VerifierLog;
use super::map::KernelMap;
use super::symbols::KernelSymbols;
use super::sys::{self, LoadArgs, attr};
use super::{Errno, Hint, OsError, caps, probe};
use crate::isa::Slot;
use crate::link::Program;

/// The kernel keeps the tail of a longer log; older kernels fail, so we ask for much.
const LOG_SIZE: usize = 16 << 20;

/// Slots of a program whose log is usually short.
const SMALL_PROGRAM: usize = 4096;

/// Bytes of such a log.
const SMALL_LOG: usize = 1 << 16;

/// How to load.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoadOptions<'a> {
    /// Types of the object, loaded: gives the kernel function and line information.
    pub btf: Option<&'a KernelBtf>,
    /// The kernel's names, to be shared by many loads.
    pub symbols: Option<&'a KernelSymbols>,
    /// Interface to load for (`xdp` bound to a device), or 0.
    pub ifindex: u32,
    /// What the kernel's verifier should write even when it accepts.
    pub log: LogLevel,
}

/// How much the kernel's verifier writes when it accepts; when it rejects, it always explains.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LogLevel {
    /// Nothing.
    #[default]
    Silent,
    /// Statistics.
    Statistics,
    /// Every step of every path.
    Steps,
}

/// A program of raw instructions, for probes and tests.
#[derive(Clone, Debug)]
pub struct RawProgram<'a> {
    /// Name; the kernel keeps 15 bytes.
    pub name: &'a str,
    /// Type.
    pub prog_type: ProgramType,
    /// `expected_attach_type`.
    pub attach_type: u32,
    /// `prog_flags`.
    pub flags: u32,
    /// Licence.
    pub license: &'a str,
    /// Instructions; map references are descriptors.
    pub slots: &'a [Slot],
    /// BTF id of what tracing programs attach to.
    pub attach_btf_id: u32,
}

impl<'a> RawProgram<'a> {
    /// GPL, nothing optional.
    #[must_use]
    pub fn new(prog_type: ProgramType, slots: &'a [Slot]) -> Self {
        Self { name: "raw", prog_type, attach_type: 0, flags: 0, license: "GPL", slots, attach_btf_id: 0 }
    }
}

/// A program in the kernel, held by a descriptor.
#[derive(Debug)]
pub struct KernelProgram {
    fd: OwnedFd,
    name: String,
    prog_type: ProgramType,
    attach_type: u32,
    log: String,
}

/// What the kernel says of a program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProgramInfo {
    /// Id, for as long as the program lives.
    pub id: u32,
    /// Name: the first 15 bytes.
    pub name: String,
    /// The kernel's number of the type.
    pub type_id: u32,
    /// Type, when we know it.
    pub prog_type: Option<ProgramType>,
    /// Hash of its instructions.
    pub tag: [u8; 8],
    /// Bytes of native code, 0 without JIT.
    pub native_len: u32,
    /// Bytes of instructions after the kernel's rewriting.
    pub translated_len: u32,
    /// Instructions that the verifier looked at.
    pub verified_insns: u32,
    /// When it was loaded, ns since boot.
    pub load_time_ns: u64,
    /// Time spent in it, when the kernel counts (`kernel.bpf_stats_enabled`).
    pub run_time_ns: u64,
    /// Runs, likewise.
    pub run_count: u64,
    /// Ids of its maps.
    pub map_ids: Vec<u32>,
    /// Id of its BTF, or 0.
    pub btf_id: u32,
    /// Source lines that the kernel knows of it.
    pub line_count: u32,
    /// Who loaded it.
    pub uid: u32,
}

impl KernelProgram {
    /// Loads a linked program. `maps` are the kernel's copies of `program.maps`, in the same order.
    ///
    /// # Errors
    /// A missing capability by name, a program type this kernel lacks, a kfunc or symbol it does not have, or
    /// its verifier's log at the instruction and source line.
    pub fn load(program: &Program, maps: &[KernelMap], options: LoadOptions<'_>) -> Result<Self, OsError> {
        let own = KernelSymbols::default();
        let symbols = options.symbols.unwrap_or(&own);
        let bound = Bound::new(program, maps, symbols, options.btf.map_or(Btf::None, |_| Btf::Loaded))?;
        let error = |errno| OsError::new("BPF_PROG_LOAD", &program.name, errno);
        let license = CString::new(program.license.as_str()).map_err(|_| error(Errno::EINVAL))?;
        let args = LoadArgs {
            prog_type: program.prog_type.id(),
            attach_type: program.attach_type,
            flags: program.prog_flags,
            name: &program.name,
            license: &license,
            slots: &bound.slots,
            btf: options.btf.map(AsFd::as_fd),
            func_info: &bound.func_info,
            line_info: &bound.line_info,
            attach_btf_id: bound.attach_btf_id,
            ifindex: options.ifindex,
        };
        let result = Self::load_args(&args, program.prog_type, options.log);
        result.map_err(|mut error| {
            error.log = error.log.map(|log| Box::new(log.located(program, &bound.pcs)));
            error
        })
    }

    /// Loads raw instructions.
    ///
    /// # Errors
    /// As [`load`](Self::load); the log knows no source lines.
    pub fn load_raw(raw: &RawProgram<'_>, log: LogLevel) -> Result<Self, OsError> {
        let license =
            CString::new(raw.license).map_err(|_| OsError::new("BPF_PROG_LOAD", raw.name, Errno::EINVAL))?;
        let args = LoadArgs {
            prog_type: raw.prog_type.id(),
            attach_type: raw.attach_type,
            flags: raw.flags,
            name: raw.name,
            license: &license,
            slots: raw.slots,
            btf: None,
            func_info: &[],
            line_info: &[],
            attach_btf_id: raw.attach_btf_id,
            ifindex: 0,
        };
        Self::load_args(&args, raw.prog_type, log)
    }

    fn load_args(args: &LoadArgs<'_>, prog_type: ProgramType, level: LogLevel) -> Result<Self, OsError> {
        let error = |errno| OsError::new("BPF_PROG_LOAD", args.name, errno);
        if prog_type.id() >= 0x1000 {
            return Err(error(Errno::EINVAL).with_hint(Hint::ProgramTypeIsOurs(prog_type)));
        }
        let (level, mut log) = match level {
            LogLevel::Silent => (0, Vec::new()),
            LogLevel::Statistics => (4, vec![0; 1 << 16]),
            LogLevel::Steps => (2 | 4, vec![0; LOG_SIZE]),
        };
        let errno = match load_again(args, &mut log, level) {
            Ok(fd) => {
                let (name, attach_type) = (args.name.to_owned(), args.attach_type);
                return Ok(Self { fd, name, prog_type, attach_type, log: sys::text(&log) });
            }
            Err(errno) => errno,
        };
        let missing = caps::missing_for_program(prog_type);
        if errno == Errno::ENOSYS || (errno == Errno::EPERM && !missing.is_empty()) {
            return Err(error(errno).with_hint(caps::explain(errno, missing)));
        }
        // Zeroing a large log takes longer than rejecting a small program.
        let small = args.slots.len() <= SMALL_PROGRAM;
        let mut log = vec![0; if small { SMALL_LOG } else { LOG_SIZE }];
        let mut result = load_again(args, &mut log, 1);
        if small && matches!(result, Err(Errno::ENOSPC)) {
            log = vec![0; LOG_SIZE];
            result = load_again(args, &mut log, 1);
        }
        let errno = match result {
            // The first failure was not the program's: memory, a signal.
            Ok(fd) => {
                let (name, attach_type) = (args.name.to_owned(), args.attach_type);
                return Ok(Self { fd, name, prog_type, attach_type, log: String::new() });
            }
            // With a log that is too small this would be ENOSPC, whatever the program did.
            Err(Errno::ENOSPC) => errno,
            Err(again) => again,
        };
        let log = VerifierLog::parse(sys::text(&log));
        let hint = explain(errno, &log, args, prog_type);
        let log = (!log.is_silent()).then(|| Box::new(log));
        Err(OsError { log, ..error(errno).with_hint(hint) })
    }

    /// Takes a program descriptor over.
    ///
    /// # Errors
    /// When it is not a program, or of a type we do not know.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, OsError> {
        let error = |errno| OsError::new("BPF_OBJ_GET_INFO_BY_FD", "program", errno);
        let info = sys::prog_info(fd.as_fd()).map_err(error)?;
        let prog_type = ProgramType::from_id(info.prog_type)
            .ok_or_else(|| error(Errno::EINVAL).with_hint(Hint::Unsupported("this program type")))?;
        Ok(Self { fd, name: sys::text(&info.name), prog_type, attach_type: 0, log: String::new() })
    }

    /// Name it was loaded with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
    /// Type.
    #[must_use]
    pub fn prog_type(&self) -> ProgramType {
        self.prog_type
    }
    /// `expected_attach_type` it was loaded with (0 for one that was opened).
    #[must_use]
    pub fn attach_type(&self) -> u32 {
        self.attach_type
    }
    /// What the verifier wrote, with [`LoadOptions::log`].
    #[must_use]
    pub fn log(&self) -> &str {
        &self.log
    }

    /// What the kernel says of it.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn info(&self) -> Result<ProgramInfo, OsError> {
        let error = |errno| OsError::new("BPF_OBJ_GET_INFO_BY_FD", &self.name, errno);
        let info = sys::prog_info(self.fd.as_fd()).map_err(error)?;
        let map_ids = sys::prog_map_ids(self.fd.as_fd()).map_err(error)?;
        Ok(ProgramInfo::from_kernel(&info, map_ids))
    }

    /// Native code as the kernel's JIT made it; empty without JIT or without permission to see it.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn native_code(&self) -> Result<Vec<u8>, OsError> {
        sys::prog_native_code(self.fd.as_fd())
            .map_err(|errno| OsError::new("BPF_OBJ_GET_INFO_BY_FD", &self.name, errno))
    }
}

impl AsFd for KernelProgram {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl ProgramInfo {
    pub(super) fn from_kernel(info: &attr::ProgInfo, map_ids: Vec<u32>) -> Self {
        Self {
            id: info.id,
            name: sys::text(&info.name),
            type_id: info.prog_type,
            prog_type: ProgramType::from_id(info.prog_type),
            tag: info.tag,
            native_len: info.jited_prog_len,
            translated_len: info.xlated_prog_len,
            verified_insns: info.verified_insns,
            load_time_ns: info.load_time,
            run_time_ns: info.run_time_ns,
            run_count: info.run_cnt,
            map_ids,
            btf_id: info.btf_id,
            line_count: info.nr_line_info,
            uid: info.created_by_uid,
        }
    }
}

/// A signal interrupts long verification with EAGAIN.
fn load_again(args: &LoadArgs<'_>, log: &mut [u8], level: u32) -> Result<OwnedFd, Errno> {
    let mut result = sys::prog_load(args, log, level);
    for _ in 0..4 {
        if !matches!(result, Err(Errno::EAGAIN)) {
            break;
        }
        result = sys::prog_load(args, log, level);
    }
    result
}

/// Why a load failed, when no capability is missing.
fn explain(errno: Errno, log: &VerifierLog, args: &LoadArgs<'_>, prog_type: ProgramType) -> Hint {
    let silent = log.is_silent();
    match errno {
        Errno::EPERM if silent => Hint::ForbiddenByKernel,
        Errno::E2BIG if silent && args.slots.len() > 1_000_000 => Hint::TooComplex,
        Errno::E2BIG if silent => Hint::AttributeUnknown,
        Errno::E2BIG => Hint::TooComplex,
        Errno::EINVAL if silent && probe::program_type(prog_type) == probe::Support::No => {
            Hint::ProgramTypeMissing(prog_type)
        }
        Errno::EINVAL if silent => Hint::AttachType(prog_type, args.attach_type),
        _ if silent => Hint::None,
        _ => Hint::Rejected,
    }
}
