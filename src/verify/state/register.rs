//! One register (or spilled register): what kind of value it holds, where it points, what number it is.
//!
//! A pointer is `base + off + value`: `off` is the constant part, `value` the variable part (zero when there
//! is none). Equality of ids says: the same unknown number (scalars), the same variable part (packet), the
//! same nullable result (nullable pointers).
#![forbid(unsafe_code)]

use std::fmt;

use bitflags::bitflags;

use super::DynptrType;
use crate::verify::domain::Scalar;

/// A map that a pointer belongs to: an index of the verifier's table of maps and inner maps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct MapRef(pub(crate) u32);

/// A BTF type of the kernel or of the program itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum TypeRef {
    /// A type of the kernel, by id.
    Kernel(TypeNumber),
    /// A type of the program's own object, by id.
    Own(TypeNumber),
}

/// The id of a type. Registers are copied all the time: without alignment one takes eight bytes less.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct TypeNumber([u8; 4]);

impl TypeNumber {
    pub(crate) const fn id(self) -> u32 {
        u32::from_ne_bytes(self.0)
    }
}

impl TypeRef {
    /// A type of the kernel.
    pub(crate) const fn kernel(id: u32) -> Self {
        Self::Kernel(TypeNumber(id.to_ne_bytes()))
    }
    /// A type of the program's own object.
    pub(crate) const fn own(id: u32) -> Self {
        Self::Own(TypeNumber(id.to_ne_bytes()))
    }
}

bitflags! {
    /// Properties of a [`Kind::Memory`] or [`Kind::Object`] pointer.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub(crate) struct MemFlags: u16 {
        /// May not be written.
        const READ_ONLY = 1;
        /// A record of `bpf_ringbuf_reserve`.
        const RINGBUF = 1 << 1;
        /// Allocated by `bpf_obj_new`.
        const ALLOCATED = 1 << 2;
        /// Reached by walking an object: may be stale, only fit for fault-tolerant reads.
        const UNTRUSTED = 1 << 3;
        /// Safe to hand to kfuncs.
        const TRUSTED = 1 << 4;
        /// Bytes of a dynptr slice or of packet memory that moves with it.
        const PACKET_BOUND = 1 << 5;
        /// Protected by RCU.
        const RCU = 1 << 6;
        /// Borrowed from a collection under its lock.
        const BORROWED = 1 << 7;
        /// User-space memory.
        const USER = 1 << 8;
        /// An offset into each CPU's memory.
        const PERCPU = 1 << 9;
    }
}

/// Socket types that programs hold pointers to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum SockKind {
    /// `struct bpf_sock` of a full socket.
    Socket,
    /// `struct sock_common`.
    Common,
    /// `struct bpf_tcp_sock`.
    Tcp,
    /// `struct bpf_xdp_sock`.
    Xdp,
}

/// What a register holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Kind {
    /// Nothing that may be read.
    Uninit,
    /// A number.
    Scalar,
    /// The program's context.
    Context,
    /// The stack of a frame, by its depth.
    Stack(u8),
    /// Packet bytes from `data` on.
    Packet,
    /// Packet bytes from `data_meta` on.
    PacketMeta,
    /// `data_end`.
    PacketEnd,
    /// A map itself.
    Map(MapRef),
    /// A value of a map.
    MapValue(MapRef),
    /// A key of a map, lent to a callback.
    MapKey(MapRef),
    /// Memory of `Register::size` bytes.
    Memory(MemFlags),
    /// A socket.
    Socket(SockKind),
    /// The flow keys of a flow dissector.
    FlowKeys,
    /// A kernel or program-allocated object of a BTF type.
    Object(TypeRef, MemFlags),
    /// A dynptr that may only be used, not changed: an argument of a callback or global function. Its identity is
    /// `Register::owner`.
    Dynptr(DynptrType),
    /// A subprogram, by index, to be called back.
    Function(u32),
    /// A page of an arena.
    Arena,
}

impl Kind {
    /// Bytes of a packet.
    pub(crate) const fn is_packet(self) -> bool {
        matches!(self, Self::Packet | Self::PacketMeta)
    }
    /// A number or nothing.
    pub(crate) const fn is_pointer(self) -> bool {
        !matches!(self, Self::Uninit | Self::Scalar)
    }
    /// A pointer that is never null while not marked nullable, so that a comparison with zero is decided.
    #[inline]
    pub(crate) const fn never_null(self) -> bool {
        match self {
            Self::MapValue(_) | Self::MapKey(_) | Self::Map(_) | Self::Socket(_) => true,
            Self::Memory(flags) => !flags.contains(MemFlags::UNTRUSTED),
            Self::Object(_, flags) => is_trusted(flags),
            Self::Uninit
            | Self::Scalar
            | Self::Context
            | Self::Stack(_)
            | Self::Packet
            | Self::PacketMeta
            | Self::PacketEnd
            | Self::FlowKeys
            | Self::Dynptr(_)
            | Self::Function(_)
            | Self::Arena => false,
        }
    }
    /// The kernel's short name, for messages.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Uninit => "uninitialised",
            Self::Scalar => "scalar",
            Self::Context => "context",
            Self::Stack(_) => "stack",
            Self::Packet => "packet",
            Self::PacketMeta => "packet metadata",
            Self::PacketEnd => "packet end",
            Self::Map(_) => "map",
            Self::MapValue(_) => "map value",
            Self::MapKey(_) => "map key",
            Self::Memory(_) => "memory",
            Self::Socket(SockKind::Socket) => "socket",
            Self::Socket(SockKind::Common) => "common socket",
            Self::Socket(SockKind::Tcp) => "tcp socket",
            Self::Socket(SockKind::Xdp) => "xdp socket",
            Self::FlowKeys => "flow keys",
            Self::Object(_, flags) if flags.contains(MemFlags::UNTRUSTED) => "untrusted object",
            Self::Object(_, flags) if flags.contains(MemFlags::BORROWED) => "borrowed object",
            Self::Object(_, flags) if flags.contains(MemFlags::ALLOCATED) => "allocated object",
            Self::Object(..) => "kernel object",
            Self::Dynptr(_) => "dynptr",
            Self::Function(_) => "function",
            Self::Arena => "arena",
        }
    }
}

/// Whether the flags alone say that an object stays valid.
const fn is_trusted(flags: MemFlags) -> bool {
    let good = MemFlags::TRUSTED.union(MemFlags::ALLOCATED).union(MemFlags::BORROWED);
    flags.intersects(good) && good.contains(flags)
}

/// Range of a packet pointer that is known to lie at the end of the packet.
pub(crate) const RANGE_AT_END: i32 = -1;
/// Range of a packet pointer that is known to lie past the end of the packet.
pub(crate) const RANGE_BEYOND_END: i32 = -2;

/// A register or a spilled register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Register {
    /// What it holds.
    pub(crate) kind: Kind,
    /// A pointer that may be null instead.
    pub(crate) nullable: bool,
    /// A scalar that is `id`'s number plus `off`.
    pub(crate) linked_delta: bool,
    /// Constant part of a pointer, or the delta of a linked scalar.
    pub(crate) off: i32,
    /// Link between equal unknowns; 0: none.
    pub(crate) id: u32,
    /// Reference this pointer belongs to; 0: none.
    pub(crate) object: u32,
    /// Identity of the inner map (maps) or of the dynptr (slices); 0: none.
    pub(crate) owner: u32,
    /// Bytes that may be accessed from the base on: memory and packets. See [`RANGE_AT_END`].
    pub(crate) size: i32,
    /// The number, or the variable part of a pointer.
    pub(crate) value: Scalar,
}

impl Register {
    /// Nothing.
    pub(crate) const UNINIT: Self = Self {
        kind: Kind::Uninit,
        nullable: false,
        linked_delta: false,
        off: 0,
        id: 0,
        object: 0,
        owner: 0,
        size: 0,
        value: Scalar::unknown(),
    };

    /// A number of which nothing is known.
    #[inline]
    pub(crate) const fn unknown() -> Self {
        Self { kind: Kind::Scalar, ..Self::UNINIT }
    }
    /// A number.
    #[inline]
    pub(crate) const fn scalar(value: Scalar) -> Self {
        Self { kind: Kind::Scalar, value, ..Self::UNINIT }
    }
    /// One number.
    #[inline]
    pub(crate) const fn constant(value: u64) -> Self {
        Self::scalar(Scalar::known(value))
    }
    /// A pointer to the start of something.
    #[inline]
    pub(crate) const fn pointer(kind: Kind) -> Self {
        Self { kind, value: Scalar::known(0), ..Self::UNINIT }
    }
    /// Whether it is an object that stays valid: one that is held, allocated, or lent as such.
    pub(crate) fn is_trusted(&self) -> bool {
        match self.kind {
            _ if self.object != 0 => true,
            Kind::Socket(_) => !self.nullable,
            Kind::Object(_, flags) => !self.nullable && is_trusted(flags),
            _ => false,
        }
    }
    /// Whether it is an object that stays valid for the rest of an RCU read section.
    pub(crate) const fn is_rcu(&self) -> bool {
        matches!(self.kind, Kind::Object(_, flags) if flags.contains(MemFlags::RCU))
    }
    /// A pointer that is certainly not null.
    #[inline]
    pub(crate) fn never_null(&self) -> bool {
        !self.nullable
            && (self.kind.never_null() || (matches!(self.kind, Kind::Object(..)) && self.is_trusted()))
    }
    /// Whether it is a number.
    #[inline]
    pub(crate) const fn is_scalar(&self) -> bool {
        matches!(self.kind, Kind::Scalar)
    }
    /// Whether it is the number zero.
    #[inline]
    pub(crate) fn is_null(&self) -> bool {
        self.is_scalar() && self.value.constant() == Some(0)
    }
    /// Whether the variable part is one number (a scalar: whether it is constant).
    #[inline]
    pub(crate) fn has_constant_offset(&self) -> bool {
        self.value.constant().is_some()
    }
    /// Constant and variable part together, when both are known.
    #[inline]
    pub(crate) fn constant_offset(&self) -> Option<i64> {
        self.value.constant().map(|value| value.cast_signed().wrapping_add(i64::from(self.off)))
    }
    /// Forgets the link of a scalar.
    #[inline]
    pub(crate) const fn unlink(&mut self) {
        self.id = 0;
        if self.linked_delta {
            self.linked_delta = false;
            self.off = 0;
        }
    }
    /// Significant bits of a scalar.
    pub(crate) fn width(&self) -> u32 {
        64 - self.value.umax().leading_zeros()
    }
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Uninit => return f.write_str("uninitialised"),
            Kind::Scalar => {}
            kind => {
                f.write_str(kind.name())?;
                if self.nullable {
                    f.write_str(" or null")?;
                }
                if self.off != 0 {
                    write!(f, "{:+}", self.off)?;
                }
                if self.value.constant() == Some(0) {
                    return Ok(());
                }
                f.write_str(" + ")?;
            }
        }
        if let Some(value) = self.value.constant() {
            return write!(f, "{}", value.cast_signed());
        }
        let value = self.value;
        let (umin, umax, smin, smax) = (value.umin(), value.umax(), value.smin(), value.smax());
        if umin == 0 && umax == u64::MAX && smin == i64::MIN && smax == i64::MAX {
            return f.write_str("any number");
        }
        if smin.cast_unsigned() == umin && smax.cast_unsigned() == umax {
            write!(f, "{umin}..={umax}")
        } else {
            write!(f, "{umin}..={umax} (signed {smin}..={smax})")
        }
    }
}
