//! Helper calls. The runtime checks every argument against the prototype before it calls the native function.
#![forbid(unsafe_code)]

use beelift_runtime::TrapKind;
use beelift_runtime::abi::ExecContext;
use beelift_runtime::ctx::ProgramType;
use beelift_runtime::helper::{self, ArgKind, BadArgument, Helper};
use beelift_runtime::mem::Fault;

use super::memory::Memory;

/// Why a call did not happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Refusal {
    pub(super) kind: TrapKind,
    pub(super) fault: Option<Fault>,
}

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
            | ArgKind::ConstStr
            | ArgKind::SpinLock
            | ArgKind::Timer
            // Helpers that keep a function for later; those that call it are no helpers here.
            | ArgKind::Callback
            | ArgKind::Dynptr { .. }
            | ArgKind::Sock { .. } => continue,
            ArgKind::Object(_)
            | ArgKind::Kptr
            | ArgKind::BtfId { name: "", .. }
            // Of allocated objects: variables of the kernel have no address here.
            | ArgKind::PercpuBtfId => continue,
            ArgKind::StackOrNull => "callbacks",
            ArgKind::BtfId { name, .. } => name,
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
    let result =
        helper::call_checked(helper, program_type, cx, memory.regions(), arguments).map_err(|fault| {
            match fault.reason {
                BadArgument::NoBody => Refusal { kind: TrapKind::HelperMissing, fault: None },
                BadArgument::Memory(fault) => Refusal { kind: TrapKind::Argument, fault: Some(fault) },
                BadArgument::NotAMap(_)
                | BadArgument::NotTheContext(_)
                | BadArgument::ZeroSize
                | BadArgument::Size(_)
                | BadArgument::Unaligned(_)
                | BadArgument::Unterminated(_)
                | BadArgument::NotARecord(_)
                | BadArgument::NotALock(_)
                | BadArgument::NotATimer(_)
                | BadArgument::NotADynptr(_)
                | BadArgument::NotASocket(_)
                | BadArgument::NotAnObject(_)
                | BadArgument::InLock
                | BadArgument::Unsupported => Refusal { kind: TrapKind::Argument, fault: None },
            }
        })?;
    match TrapKind::from_code(cx.trap.get()) {
        None => Ok(result),
        Some(kind) => Err(Refusal { kind, fault: None }),
    }
}
