//! Helper calls: every argument is checked against the prototype, then the native function is called.
#![forbid(unsafe_code)]

use beelift_runtime::TrapKind;
use beelift_runtime::abi::ExecContext;
use beelift_runtime::ctx::ProgramType;
use beelift_runtime::helper::{self, ArgKind, BadArgument, Helper, MemAccess};
use beelift_runtime::map::MapHandle;
use beelift_runtime::mem::Fault;

use super::handle_address;
use super::memory::{Direction, Memory};

/// Sizes at or above this are refused, as the kernel's verifier does (`BPF_MAX_VAR_SIZ`).
const MAX_SIZE: u64 = 1 << 29;

/// Why a call did not happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Refusal {
    pub(super) kind: TrapKind,
    pub(super) fault: Option<Fault>,
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self { kind: TrapKind::Argument, fault: Some(fault) }
    }
}

const ARGUMENT: Refusal = Refusal { kind: TrapKind::Argument, fault: None };

/// Whether calls of the helper can be checked and made.
///
/// # Errors
/// What is missing.
pub(super) fn supported(helper: &Helper) -> Result<(), String> {
    if helper.function.is_none() {
        return Err(format!("helper {}", helper.name));
    }
    for kind in helper.proto.args {
        let what = match kind {
            ArgKind::None
            | ArgKind::Anything
            | ArgKind::Map
            | ArgKind::MapKey
            | ArgKind::MapValue
            | ArgKind::MapValueOrNull
            | ArgKind::MapValueUninit
            | ArgKind::Context
            | ArgKind::ContextOrNull
            | ArgKind::Mem { .. }
            | ArgKind::FixedMem { .. }
            | ArgKind::Size
            | ArgKind::SizeOrZero
            | ArgKind::AllocSize
            | ArgKind::RingbufMem
            | ArgKind::ConstStr => continue,
            ArgKind::Callback | ArgKind::StackOrNull => "callbacks",
            ArgKind::SpinLock => "spin locks",
            ArgKind::Timer => "timers",
            ArgKind::Dynptr { .. } => "dynptrs",
            ArgKind::Sock { .. } => "sockets",
            ArgKind::BtfId { name, .. } => name,
            ArgKind::Kptr => "kptrs",
            ArgKind::PercpuBtfId => "per-CPU kernel variables",
        };
        return Err(format!("helper {} ({what})", helper.name));
    }
    Ok(())
}

/// Calls a helper with r1 to r5.
///
/// # Errors
/// An argument is not what the prototype asks for, or the helper trapped.
pub(super) fn call(
    helper: &Helper,
    program_type: ProgramType,
    cx: &ExecContext<'_>,
    memory: &Memory<'_>,
    arguments: [u64; 5],
) -> Result<u64, Refusal> {
    let mut map: Option<&MapHandle> = None;
    let args = helper.proto_for(program_type).args;
    for (index, (kind, value)) in args.into_iter().zip(arguments).enumerate() {
        if kind == ArgKind::Map {
            map = cx.maps.iter().map(|handle| &**handle).find(|handle| handle_address(handle) == value);
            map.ok_or(ARGUMENT)?;
            continue;
        }
        let next = args.get(index + 1).copied().zip(arguments.get(index + 1).copied());
        argument(kind, value, next, map, memory)?;
    }
    let result =
        helper::call_checked(helper, program_type, cx, memory.regions(), arguments).map_err(|fault| {
            match fault.reason {
                BadArgument::NoBody => Refusal { kind: TrapKind::HelperMissing, fault: None },
                BadArgument::Memory(fault) => fault.into(),
                _ => ARGUMENT,
            }
        })?;
    match TrapKind::from_code(cx.trap.get()) {
        None => Ok(result),
        Some(kind) => Err(Refusal { kind, fault: None }),
    }
}

/// Checks one argument; `next` is the one after it.
fn argument(
    kind: ArgKind,
    value: u64,
    next: Option<(ArgKind, u64)>,
    map: Option<&MapHandle>,
    memory: &Memory<'_>,
) -> Result<(), Refusal> {
    let of_map = |size: fn(&MapHandle) -> u32, direction| {
        let size = size(map.ok_or(ARGUMENT)?);
        memory.check_plain(value, u64::from(size), direction).map_err(Refusal::from)
    };
    match kind {
        ArgKind::None | ArgKind::Anything | ArgKind::AllocSize | ArgKind::Map => Ok(()),
        ArgKind::MapKey => of_map(|map| map.map.def().key_size, Direction::Read),
        ArgKind::MapValue => of_map(|map| map.map.def().value_size, Direction::Read),
        ArgKind::MapValueOrNull if value == 0 => Ok(()),
        ArgKind::MapValueOrNull => of_map(|map| map.map.def().value_size, Direction::Read),
        ArgKind::MapValueUninit => of_map(|map| map.map.def().value_size, Direction::Write),
        ArgKind::Context if value == memory.context() => Ok(()),
        ArgKind::ContextOrNull if value == 0 || value == memory.context() => Ok(()),
        ArgKind::Context | ArgKind::ContextOrNull => Err(ARGUMENT),
        ArgKind::Mem { access, nullable } => {
            let Some((ArgKind::Size | ArgKind::SizeOrZero, size)) = next else { return Err(ARGUMENT) };
            if value == 0 {
                return if nullable && size == 0 { Ok(()) } else { Err(ARGUMENT) };
            }
            if size >= MAX_SIZE {
                return Err(ARGUMENT);
            }
            memory.check_plain(value, size, direction(access)).map_err(Refusal::from)
        }
        ArgKind::FixedMem { size, access, align } => {
            if !value.is_multiple_of(u64::from(align.max(1))) {
                return Err(ARGUMENT);
            }
            memory.check_plain(value, u64::from(size), direction(access)).map_err(Refusal::from)
        }
        ArgKind::Size => {
            if value == 0 {
                Err(ARGUMENT)
            } else {
                Ok(())
            }
        }
        ArgKind::SizeOrZero => Ok(()),
        ArgKind::RingbufMem => memory.check_plain(value, 1, Direction::Write).map_err(Refusal::from),
        ArgKind::ConstStr => memory.string_len(value).map(drop).map_err(Refusal::from),
        // Refused by `supported`.
        ArgKind::Callback
        | ArgKind::StackOrNull
        | ArgKind::SpinLock
        | ArgKind::Timer
        | ArgKind::Dynptr { .. }
        | ArgKind::Sock { .. }
        | ArgKind::BtfId { .. }
        | ArgKind::Kptr
        | ArgKind::PercpuBtfId => Err(ARGUMENT),
    }
}

const fn direction(access: MemAccess) -> Direction {
    match access {
        MemAccess::Read => Direction::Read,
        MemAccess::WriteUninit | MemAccess::ReadWrite => Direction::Write,
    }
}
