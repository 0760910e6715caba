//! Helpers of the embedder, written in safe code.
//!
//! In: a type that implements [`HostFunction`]. Out: a [`Helper`] for a [`HelperTable`](super::HelperTable).
#![forbid(unsafe_code)]

use super::proto::{ArgKind, HelperFlags, MemAccess, Proto, RetKind};
use super::registry::Helper;
use super::set::ProgramTypes;
use super::shim;
use crate::abi::ExecContext;
use crate::environment::Environment;
use crate::map::Map;
use crate::mem::{Bytes, BytesMut};

/// A helper: what the verifier must know of it, and what it does.
///
/// Every run calls the same function; what differs between engines or users of a program is in the
/// [`Environment`] ([`Environment::as_any`]). A panic ends the run with
/// [`TrapKind::HelperPanic`](crate::TrapKind::HelperPanic).
///
/// ```
/// use beelift_runtime::helper::{ArgKind, HelperTable, HostCall, HostFunction, MemAccess};
///
/// /// `u64 sum(const u8 *bytes, u64 len)`
/// struct Sum;
/// impl HostFunction for Sum {
///     const ID: u32 = 0x1_0000;
///     const NAME: &'static str = "sum";
///     const ARGS: &'static [ArgKind] =
///         &[ArgKind::Mem { access: MemAccess::Read, nullable: false }, ArgKind::Size];
///     fn call(call: &HostCall<'_>) -> u64 {
///         call.memory(1).to_vec().iter().map(|&byte| u64::from(byte)).sum()
///     }
/// }
/// let mut helpers = HelperTable::new();
/// helpers.add_function::<Sum>()?;
/// assert_eq!(helpers.by_id(Sum::ID).map(|helper| helper.name), Some("sum"));
/// # Ok::<(), beelift_runtime::helper::HelperRefused>(())
/// ```
pub trait HostFunction: 'static {
    /// Number in the `call` instruction: none of the kernel's.
    const ID: u32;
    /// Name, for messages.
    const NAME: &'static str;
    /// Arguments from r1 on, at most five.
    const ARGS: &'static [ArgKind];
    /// Properties that the verifier goes by.
    const FLAGS: HelperFlags = HelperFlags::empty();
    /// Program types that may call it.
    const PROGRAM_TYPES: ProgramTypes = ProgramTypes::ALL;
    /// What it does; the result is r0.
    fn call(call: &HostCall<'_>) -> u64;
}

/// Arguments of one call. Registers are counted from 1.
///
/// Methods panic, which ends the run, where the prototype has another kind of argument.
pub struct HostCall<'a> {
    pub(super) args: shim::Args<'a>,
    pub(super) kinds: &'static [ArgKind],
}

impl<'a> HostCall<'a> {
    fn kind(&self, register: usize) -> ArgKind {
        register.checked_sub(1).and_then(|at| self.kinds.get(at)).copied().unwrap_or(ArgKind::None)
    }

    /// The register as it is: a number, or an address that means nothing to a host.
    #[must_use]
    pub fn number(&self, register: usize) -> u64 {
        self.args.register(register)
    }

    /// Memory that may be read: of a [`ArgKind::Mem`], [`ArgKind::FixedMem`], [`ArgKind::MapKey`] or
    /// [`ArgKind::MapValue`]. A null pointer is empty memory.
    #[must_use]
    pub fn memory(&self, register: usize) -> Bytes<'a> {
        let access = self.access(register);
        assert!(
            access.is_some_and(|access| access != MemAccess::WriteUninit),
            "r{register} is not to be read"
        );
        shim::host_memory(self, register)
    }

    /// Memory that may be written.
    #[must_use]
    pub fn memory_mut(&self, register: usize) -> BytesMut<'a> {
        let access = self.access(register);
        assert!(access.is_some_and(|access| access != MemAccess::Read), "r{register} is not to be written");
        shim::host_memory_mut(self, register)
    }

    /// How memory is used, if the argument is some.
    fn access(&self, register: usize) -> Option<MemAccess> {
        match self.kind(register) {
            ArgKind::Mem { access, .. } | ArgKind::FixedMem { access, .. } => Some(access),
            ArgKind::MapKey | ArgKind::MapValue => Some(MemAccess::Read),
            ArgKind::MapValueUninit => Some(MemAccess::WriteUninit),
            _ => None,
        }
    }

    /// Bytes of the memory, by the prototype; for sizes of maps the first map argument counts.
    pub(super) fn length(&self, register: usize) -> u64 {
        let map = || self.map(1 + self.kinds.iter().position(|kind| *kind == ArgKind::Map).unwrap_or(0));
        match self.kind(register) {
            ArgKind::Mem { .. } => self.number(register + 1),
            ArgKind::FixedMem { size, .. } => u64::from(size),
            ArgKind::MapKey => u64::from(map().def().key_size),
            ArgKind::MapValue | ArgKind::MapValueUninit => u64::from(map().def().value_size),
            _ => 0,
        }
    }

    /// A map.
    #[must_use]
    pub fn map(&self, register: usize) -> &'a dyn Map {
        assert!(self.kind(register) == ArgKind::Map, "r{register} is no map");
        shim::host_map(self, register)
    }

    /// The environment of the run.
    #[must_use]
    pub fn environment(&self) -> &'a dyn Environment {
        self.context().environment
    }

    /// CPU slot of the run.
    #[must_use]
    pub fn cpu(&self) -> u32 {
        self.context().cpu
    }

    fn context(&self) -> &'a ExecContext<'a> {
        self.args.cx
    }
}

/// Why a helper cannot be one of the embedder's.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HelperRefused {
    /// The number is taken.
    #[error(transparent)]
    Exists(#[from] super::HelperExists),
    /// More arguments than registers.
    #[error("helper `{name}` has {count} arguments, of which 5 are possible")]
    TooMany {
        /// Helper.
        name: &'static str,
        /// Its arguments.
        count: usize,
    },
    /// An argument that safe code cannot be given.
    #[error("argument r{register} of helper `{name}`: {kind:?} is not supported here")]
    Argument {
        /// Helper.
        name: &'static str,
        /// Register, 1 to 5.
        register: usize,
        /// What it should be.
        kind: ArgKind,
    },
}

impl super::HelperTable {
    /// Adds a helper written in Rust.
    ///
    /// # Errors
    /// A number that is taken; arguments that are not possible.
    pub fn add_function<F: HostFunction>(&mut self) -> Result<(), HelperRefused> {
        self.add(helper::<F>()?)?;
        Ok(())
    }
}

fn helper<F: HostFunction>() -> Result<Helper, HelperRefused> {
    let name = F::NAME;
    let mut args = [ArgKind::None; 5];
    let count = F::ARGS.len();
    if count > args.len() {
        return Err(HelperRefused::TooMany { name, count });
    }
    args[..count].copy_from_slice(F::ARGS);
    for (register, &kind) in (1..).zip(F::ARGS) {
        let sized = |at: usize| matches!(F::ARGS.get(at), Some(ArgKind::Size | ArgKind::SizeOrZero));
        let of_memory = |at: usize| matches!(F::ARGS.get(at), Some(ArgKind::Mem { .. }));
        let after_map = F::ARGS[..register - 1].contains(&ArgKind::Map);
        let possible = match kind {
            ArgKind::Anything | ArgKind::Map | ArgKind::Context | ArgKind::FixedMem { .. } => true,
            ArgKind::Mem { .. } => sized(register),
            ArgKind::Size | ArgKind::SizeOrZero => register > 1 && of_memory(register - 2),
            ArgKind::MapKey | ArgKind::MapValue | ArgKind::MapValueUninit => after_map,
            ArgKind::None
            | ArgKind::MapValueOrNull
            | ArgKind::ContextOrNull
            | ArgKind::AllocSize
            | ArgKind::RingbufMem
            | ArgKind::ConstStr
            | ArgKind::Callback
            | ArgKind::StackOrNull
            | ArgKind::SpinLock
            | ArgKind::Timer
            | ArgKind::Dynptr { .. }
            | ArgKind::Sock { .. }
            | ArgKind::BtfId { .. }
            | ArgKind::Kptr
            | ArgKind::PercpuBtfId
            | ArgKind::Object(_) => false,
        };
        if !possible {
            return Err(HelperRefused::Argument { name, register, kind });
        }
    }
    // Safe code must not make up what programs take for pointers or references, or move packets under them.
    let harmless = HelperFlags::GPL | HelperFlags::SLEEPS | HelperFlags::MACHINE | HelperFlags::IN_LOCK;
    let flags = F::FLAGS & (harmless | HelperFlags::PERFMON | HelperFlags::PACKET_ACCESS);
    let proto = Proto { args, ret: RetKind::Integer, flags, release_arg: 0 };
    Ok(Helper {
        id: F::ID,
        name,
        proto,
        allowed: F::PROGRAM_TYPES,
        function: Some(shim::host_function::<F>()),
    })
}
