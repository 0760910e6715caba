//! Checks of a helper's arguments at run time, for the interpreter, which runs programs that nobody verified.
#![forbid(unsafe_code)]

use super::dynptr;
use super::object;
use super::proto::{ArgKind, DynptrKind, DynptrRole, HelperFlags, MemAccess, ObjectArg};
use super::registry::Helper;
use super::shim::parse_dynptr;
use super::timer::map_at;
use crate::abi::{ExecContext, HelperFn};
use crate::ctx::ProgramType;
use crate::heap::heap;
use crate::map::ringbuf::ring_of;
use crate::map::timer;
use crate::map::{Map, MapHandle, MapOfMaps, SpecialKind, ValuePtr};
use crate::mem::{Fault, RegionKind, Regions, WordSize};

/// `bpf_spin_lock`
const SPIN_LOCK: u32 = 93;

/// Longest constant string.
const STRING_MAX: u64 = 4096;

/// An argument that the prototype does not allow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("argument r{register} of {helper}: {reason}")]
pub struct ArgumentFault {
    /// Name of the helper.
    pub helper: &'static str,
    /// Register, 1 to 5; 0 for the helper itself.
    pub register: u8,
    /// What is wrong.
    pub reason: BadArgument,
}

/// What is wrong with an argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadArgument {
    /// Memory the program may not access that way.
    #[error("{0}")]
    Memory(Fault),
    /// Not a map of the program.
    #[error("{0:#x} is not a map")]
    NotAMap(u64),
    /// Not the program's context.
    #[error("{0:#x} is not the context")]
    NotTheContext(u64),
    /// A size of zero where one is needed.
    #[error("size must not be zero")]
    ZeroSize,
    /// A size that is no size.
    #[error("size {0} is too large")]
    Size(u64),
    /// A pointer that is not aligned as needed.
    #[error("{0:#x} is not aligned")]
    Unaligned(u64),
    /// A string without end.
    #[error("string at {0:#x} does not end")]
    Unterminated(u64),
    /// Not a record of one of the program's ring buffers.
    #[error("{0:#x} is not a ring buffer record")]
    NotARecord(u64),
    /// Not a spin lock of a map value, or not one that may be taken or given back now.
    #[error("{0:#x} is not a lock to take or to give back")]
    NotALock(u64),
    /// Not a timer of a map value.
    #[error("{0:#x} is not a timer")]
    NotATimer(u64),
    /// Not a dynptr, or one of memory that is gone.
    #[error("{0:#x} is not a dynptr of memory that is there")]
    NotADynptr(u64),
    /// Not a socket that a helper found.
    #[error("{0:#x} is not a socket")]
    NotASocket(u64),
    /// Not an object, node, list, tree or kptr as it is needed.
    #[error("{0:#x} is not an object (or part of one) that serves here")]
    NotAnObject(u64),
    /// Only giving it back is allowed now.
    #[error("a spin lock is held")]
    InLock,
    /// User space cannot serve arguments of this kind.
    #[error("arguments of this kind are not supported")]
    Unsupported,
    /// The helper has no body.
    #[error("no body in user space")]
    NoBody,
}

/// Checks all arguments; the function to call if they are as the prototype wants them.
pub(super) fn arguments(
    helper: &Helper,
    program_type: ProgramType,
    cx: &ExecContext<'_>,
    regions: &Regions<'_>,
    registers: [u64; 5],
) -> Result<HelperFn, ArgumentFault> {
    let fault = |register, reason| ArgumentFault { helper: helper.name, register, reason };
    let function = helper.function.ok_or(fault(0, BadArgument::NoBody))?;
    // Otherwise a helper might wait for the lock that this run holds.
    let waits =
        helper.id != 0 && helper.id != SPIN_LOCK && !helper.proto.flags.contains(HelperFlags::IN_LOCK);
    if waits && cx.effects.lock() != 0 {
        return Err(fault(0, BadArgument::InLock));
    }
    let args = helper.proto_for(program_type).args;
    let mut map = None;
    for (i, (&kind, &value)) in args.iter().zip(&registers).enumerate() {
        let bad = |reason| fault(i as u8 + 1, reason);
        if kind == ArgKind::Map {
            map = Some(find_map(cx.maps, value).ok_or(bad(BadArgument::NotAMap(value)))?);
            continue;
        }
        if kind == ArgKind::SpinLock {
            let held = cx.effects.lock();
            let fits = if helper.id == SPIN_LOCK { held == 0 } else { held == value };
            if !fits || !is_lock(cx.maps, value) {
                return Err(bad(BadArgument::NotALock(value)));
            }
            continue;
        }
        let next = registers.get(i + 1).copied().unwrap_or(0);
        argument(kind, value, next, map, cx, regions).map_err(bad)?;
    }
    Ok(function)
}

/// The program's map whose handle lies at `address`, inner maps included.
fn find_map(maps: &[Box<MapHandle>], address: u64) -> Option<&dyn Map> {
    maps.iter().find_map(|handle| {
        if handle_address(handle) == address {
            return Some(&*handle.map);
        }
        let outer = handle.map.as_any().downcast_ref::<MapOfMaps>()?;
        let inner = outer.handles().find(|inner| handle_address(inner) == address)?;
        Some(&*inner.map)
    })
}

/// Whether a spin lock of a map value or of an object lies at an address.
fn is_lock(maps: &[Box<MapHandle>], address: u64) -> bool {
    let locks = |map: &dyn Map| map.def().fields.iter().any(|field| field.kind == SpecialKind::SpinLock);
    let in_object = || heap().is_some_and(|heap| heap.object(address, 4).is_some());
    let inside =
        maps.iter().any(|handle| locks(&*handle.map) && handle.map.contains(address, 4)) || in_object();
    // A word of another field is as good a lock: programs that nobody verified hurt themselves only.
    inside && address.is_multiple_of(4)
}

/// Whether a timer of a map value lies at an address.
fn is_timer(maps: &[Box<MapHandle>], address: u64) -> bool {
    let timed = |map: &&dyn Map| map.state().timers().is_some() && map.contains(address, timer::SIZE);
    address.is_multiple_of(8) && map_at(maps, address).filter(timed).is_some()
}

/// Whether a dynptr lies at an address, and its memory is the program's.
fn is_dynptr(address: u64, wanted: DynptrKind, cx: &ExecContext<'_>, regions: &Regions<'_>) -> bool {
    let Some(info) = regions.bytes(address, dynptr::SIZE).ok().and_then(parse_dynptr) else {
        // None at all is fine: helpers look.
        return regions.check(address, dynptr::SIZE, false).is_ok();
    };
    if wanted != DynptrKind::Any && wanted != info.kind {
        return false;
    }
    match info.kind {
        DynptrKind::Skb | DynptrKind::Xdp => cx.ctx.frame().is_some(),
        DynptrKind::Any | DynptrKind::Local | DynptrKind::Ringbuf => {
            let start = info.address.wrapping_add(u64::from(info.offset));
            regions.check(start, u64::from(info.size), !info.read_only).is_ok()
        }
    }
}

fn object_fits(cx: &ExecContext<'_>, kind: ObjectArg, value: u64) -> Result<(), BadArgument> {
    if object::fits(cx, kind, value) { Ok(()) } else { Err(BadArgument::NotAnObject(value)) }
}

/// The value of a map register.
pub(super) fn handle_address(handle: &MapHandle) -> u64 {
    std::ptr::from_ref(handle).expose_provenance() as u64
}

fn argument(
    kind: ArgKind,
    value: u64,
    next: u64,
    map: Option<&dyn Map>,
    cx: &ExecContext<'_>,
    regions: &Regions<'_>,
) -> Result<(), BadArgument> {
    let memory = |len: u64, write| {
        // A native context is no plain memory: it holds pointers where the program sees numbers.
        if len != 0 && regions.kind_of(value) == Some(RegionKind::Context) {
            return Err(BadArgument::Memory(Fault { address: value, len, write }));
        }
        regions.check(value, len, write).map_err(BadArgument::Memory)
    };
    let key_size = map.map_or(0, |map| u64::from(map.def().key_size));
    let value_size = map.map_or(0, |map| u64::from(map.def().value_size));
    match kind {
        ArgKind::None | ArgKind::Anything | ArgKind::Map => Ok(()),
        ArgKind::MapKey => memory(key_size, false),
        ArgKind::MapValue => memory(value_size, false),
        ArgKind::MapValueOrNull => {
            if value == 0 {
                Ok(())
            } else {
                memory(value_size, false)
            }
        }
        ArgKind::MapValueUninit => memory(value_size, true),
        ArgKind::Context | ArgKind::ContextOrNull => {
            let allowed = value == cx.context.get() || (kind == ArgKind::ContextOrNull && value == 0);
            if allowed { Ok(()) } else { Err(BadArgument::NotTheContext(value)) }
        }
        // Its size is the next register, whatever kind of size that is.
        ArgKind::Mem { access, .. } => {
            if next > u64::from(u32::MAX) {
                return Err(BadArgument::Size(next));
            }
            memory(next, access != MemAccess::Read)
        }
        ArgKind::FixedMem { size, access, align } => {
            if !value.is_multiple_of(u64::from(align)) {
                return Err(BadArgument::Unaligned(value));
            }
            memory(u64::from(size), access != MemAccess::Read)
        }
        ArgKind::Size => {
            if value == 0 {
                Err(BadArgument::ZeroSize)
            } else {
                Ok(())
            }
        }
        ArgKind::SizeOrZero | ArgKind::AllocSize => Ok(()),
        ArgKind::RingbufMem => {
            let record = ValuePtr(value);
            if ring_of(cx.maps, record).is_some_and(|ring| ring.is_record(record)) {
                Ok(())
            } else {
                Err(BadArgument::NotARecord(value))
            }
        }
        ArgKind::ConstStr => {
            for address in (value..value.saturating_add(STRING_MAX)).take(STRING_MAX as usize) {
                if regions.load(address, WordSize::B1).map_err(BadArgument::Memory)? == 0 {
                    return Ok(());
                }
            }
            Err(BadArgument::Unterminated(value))
        }
        ArgKind::Dynptr { role: DynptrRole::Init, .. } => memory(dynptr::SIZE, true),
        ArgKind::Dynptr { role: DynptrRole::Use | DynptrRole::Release, kind } => {
            if is_dynptr(value, kind, cx, regions) { Ok(()) } else { Err(BadArgument::NotADynptr(value)) }
        }
        ArgKind::Sock { nullable, .. } => {
            let allowed = (nullable && value == 0) || cx.effects.socket(value).is_some();
            if allowed { Ok(()) } else { Err(BadArgument::NotASocket(value)) }
        }
        ArgKind::Timer => {
            if is_timer(cx.maps, value) {
                Ok(())
            } else {
                Err(BadArgument::NotATimer(value))
            }
        }
        // Kept as it is; whoever calls it looks whether it is one.
        ArgKind::Callback => Ok(()),
        ArgKind::Object(kind) => object_fits(cx, kind, value),
        ArgKind::Kptr => object_fits(cx, ObjectArg::Field, value),
        ArgKind::BtfId { name: "", .. } => object_fits(cx, ObjectArg::HeldOrNull, value),
        ArgKind::PercpuBtfId => object_fits(cx, ObjectArg::Live, value),
        ArgKind::StackOrNull | ArgKind::SpinLock | ArgKind::BtfId { .. } => Err(BadArgument::Unsupported),
    }
}
