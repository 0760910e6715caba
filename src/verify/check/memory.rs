//! Loads and stores through every kind of pointer.
#![forbid(unsafe_code)]

use super::alu::MAX_VARIABLE_OFFSET;
use super::kptr::is_kptr;
use crate::isa::{Operand, Reg, Sign, Size};
use crate::verify::domain::Scalar;
use crate::verify::explore::{Check, Stop, Verifier};
use crate::verify::facts::Region;
use crate::verify::observe::Loaded;
use crate::verify::report::Reason;
use crate::verify::state::{Kind, MapRef, MemFlags, Register};
use beelift_runtime::map::MapFlags;

/// Bytes of `struct bpf_flow_keys`.
const FLOW_KEYS: u64 = 56;

/// `BPF_F_STRICT_ALIGNMENT` of `prog_flags`.
const STRICT_ALIGNMENT: u32 = 1;

/// Where a packet starts after an aligned address (`NET_IP_ALIGN`).
const HEADER_START: i32 = 2;

/// What is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    /// Bytes are read.
    Read,
    /// Bytes are written.
    Write,
}

/// Who does it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum By {
    /// A load, store or atomic.
    Insn,
    /// A helper or kfunc.
    Helper,
    /// A load or store of a kptr.
    Kptr,
}

/// One access of the program, for the checks of each kind of pointer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// Register of the pointer, for messages.
    pub(crate) reg: Reg,
    /// Offset of the instruction.
    pub(crate) off: i32,
    /// Bytes.
    pub(crate) size: u32,
}

impl Verifier<'_> {
    /// What a load yields.
    pub(crate) fn load_value(
        &mut self,
        reg: Reg,
        pointer: &Register,
        off: i16,
        size: Size,
        sign: Sign,
        atomic: bool,
    ) -> Check<Register> {
        let span = Span { reg, off: i32::from(off), size: size.bytes() };
        self.alignment(pointer, span, atomic)?;
        let unknown = Register::scalar(Scalar::loaded(size, sign));
        let loaded = match pointer.kind {
            _ if pointer.nullable => return Err(invalid(reg, pointer)),
            Kind::Stack(frame) => {
                let mut filled = self.stack_read(usize::from(frame), pointer, span)?;
                self.observe_stack(frame, pointer, span);
                let pointer = filled.kind.is_pointer();
                self.observed.load(self.at, if pointer { Loaded::Pointer } else { Loaded::Number });
                if filled.is_scalar() && size != Size::DW {
                    let before = filled.value;
                    filled.value = before.extend(size, sign);
                    // The sign extension of a number without its sign bit changes nothing.
                    if sign == Sign::Signed && before.umax() >= 1 << (size.bits() - 1) {
                        filled.unlink();
                    }
                }
                return Ok(filled);
            }
            Kind::MapKey(map) => {
                let bytes = self.tables.map(map).key_size;
                region(pointer, span, u64::from(bytes), false)?;
                self.observe(Region::Memory, pointer, span);
                unknown
            }
            Kind::MapValue(map) => {
                if let Some(field) = self.kptr_field(map, pointer, span) {
                    let plain = sign == Sign::Zero && !atomic;
                    let loaded = self.kptr_read(map, field, pointer, span, plain)?;
                    self.observed.load(self.at, Loaded::Pointer);
                    return Ok(loaded);
                }
                self.map_value_access(map, pointer, span, Access::Read, By::Insn)?;
                self.observe(self.value_region(map), pointer, span);
                let frozen = self.frozen_value(map, pointer, span, sign);
                if let Some(number) = frozen.and_then(|register| register.value.constant()) {
                    self.observed.load(self.at, Loaded::Constant(number));
                    return Ok(Register::constant(number));
                }
                unknown
            }
            Kind::Memory(flags) => {
                if flags.contains(MemFlags::UNTRUSTED) {
                    self.observe(Region::Object, pointer, span);
                } else {
                    region(pointer, span, memory_size(pointer), false)?;
                    self.observe(Region::Memory, pointer, span);
                }
                unknown
            }
            Kind::Context => {
                let loaded = self.context_read(pointer, span, size, sign)?;
                let pointer = loaded.kind.is_pointer();
                self.observed.load(self.at, if pointer { Loaded::Pointer } else { Loaded::Number });
                return Ok(loaded);
            }
            Kind::Packet | Kind::PacketMeta => {
                self.packet_access(pointer, span, false)?;
                self.observe(Region::Packet, pointer, span);
                unknown
            }
            Kind::Socket(kind) => {
                self.socket_read(kind, pointer, span)?;
                self.observe(Region::Memory, pointer, span);
                unknown
            }
            Kind::FlowKeys => {
                region(pointer, span, FLOW_KEYS, false)?;
                self.observe(Region::Memory, pointer, span);
                unknown
            }
            Kind::Object(of, flags) => {
                let loaded = self.object_read(pointer, of, flags, span, unknown)?;
                let pointer = loaded.kind.is_pointer();
                self.observed.load(self.at, if pointer { Loaded::Pointer } else { Loaded::Number });
                return Ok(loaded);
            }
            Kind::Arena => {
                self.arena_access();
                unknown
            }
            Kind::Map(map) => {
                let kind = self.tables.map(map).kind;
                let loaded = self.map_read(kind, pointer, span, unknown)?;
                let pointer = loaded.kind.is_pointer();
                self.observed.load(self.at, if pointer { Loaded::Pointer } else { Loaded::Number });
                return Ok(loaded);
            }
            Kind::Uninit | Kind::Scalar | Kind::PacketEnd | Kind::Dynptr(_) | Kind::Function(_) => {
                return Err(invalid(reg, pointer));
            }
        };
        self.observed.load(self.at, Loaded::Number);
        Ok(loaded)
    }

    /// A store of a value; without one, of something unknown (atomics).
    pub(crate) fn store_value(
        &mut self,
        reg: Reg,
        pointer: &Register,
        off: i16,
        size: Size,
        value: Option<(Operand, Register)>,
        atomic: bool,
    ) -> Check {
        let span = Span { reg, off: i32::from(off), size: size.bytes() };
        self.alignment(pointer, span, atomic)?;
        let leak = value.as_ref().is_some_and(|(_, value)| self.leaks(value));
        let guard = |leak: bool| -> Check {
            if leak {
                return Err(Reason::PointerLeak { into: pointer.kind.name() }.into());
            }
            Ok(())
        };
        match pointer.kind {
            _ if pointer.nullable => return Err(invalid(reg, pointer)),
            Kind::Stack(frame) => {
                self.stack_write(usize::from(frame), pointer, span, value)?;
                self.observe_stack(frame, pointer, span);
            }
            Kind::MapKey(_) => return Err(Reason::ReadOnly { kind: "map key" }.into()),
            Kind::MapValue(map) => {
                guard(leak)?;
                if let Some(field) = self.kptr_field(map, pointer, span) {
                    return self.kptr_write(map, field, pointer, span, value.filter(|_| !atomic));
                }
                self.map_value_access(map, pointer, span, Access::Write, By::Insn)?;
                self.observe(self.value_region(map), pointer, span);
            }
            Kind::Memory(flags) => {
                if flags.contains(MemFlags::READ_ONLY) {
                    return Err(Reason::ReadOnly { kind: "memory" }.into());
                }
                guard(leak)?;
                region(pointer, span, memory_size(pointer), false)?;
                self.observe(Region::Memory, pointer, span);
            }
            Kind::Context => {
                guard(leak)?;
                self.context_write(pointer, span)?;
            }
            Kind::Packet | Kind::PacketMeta => {
                if !self.tables.may_write_packet() {
                    return Err(Reason::ReadOnly { kind: "packet" }.into());
                }
                guard(leak)?;
                self.packet_access(pointer, span, false)?;
                self.observe(Region::Packet, pointer, span);
            }
            Kind::Socket(_) => return Err(Reason::ReadOnly { kind: "socket" }.into()),
            Kind::FlowKeys => {
                guard(leak)?;
                region(pointer, span, FLOW_KEYS, false)?;
                self.observe(Region::Memory, pointer, span);
            }
            Kind::Object(of, flags) => {
                guard(leak)?;
                self.object_write(pointer, of, flags, span)?;
            }
            Kind::Arena => {
                guard(leak)?;
                self.arena_access();
            }
            Kind::Map(_) => return Err(Reason::ReadOnly { kind: "map" }.into()),
            Kind::Uninit | Kind::Scalar | Kind::PacketEnd | Kind::Dynptr(_) | Kind::Function(_) => {
                return Err(invalid(reg, pointer));
            }
        }
        Ok(())
    }

    /// An access to a map value: inside it, allowed by the map's flags, clear of special fields.
    pub(crate) fn map_value_access(
        &self,
        map: MapRef,
        pointer: &Register,
        span: Span,
        access: Access,
        by: By,
    ) -> Check {
        let def = self.tables.map(map);
        let denied = match access {
            Access::Read => def.flags.contains(MapFlags::WRONLY_PROG),
            Access::Write => {
                def.flags.contains(MapFlags::RDONLY_PROG) || (def.frozen && def.initial.is_some())
            }
        };
        if denied {
            return Err(match access {
                Access::Read => Reason::WriteOnlyMap { map: def.name.clone() },
                Access::Write => Reason::ReadOnlyMap { map: def.name.clone() },
            }
            .into());
        }
        let result = region(pointer, span, u64::from(def.value_size), by == By::Helper && span.size == 0);
        if let Err(Stop::Reject(reason)) = result {
            return Err(reason.of_map(&def.name).into());
        }
        let start = i64::from(span.off) + i64::from(pointer.off);
        let low = start + pointer.value.smin();
        let high = start.unsigned_abs().wrapping_add(pointer.value.umax()) + u64::from(span.size);
        for field in &def.fields {
            let (field_start, field_end) =
                (i64::from(field.offset), i64::from(field.offset) + i64::from(field.size));
            if low < field_end && field_start.unsigned_abs() < high {
                if by == By::Kptr && is_kptr(field.kind) {
                    continue;
                }
                return Err(Reason::SpecialField { map: def.name.clone(), offset: field.offset }.into());
            }
        }
        Ok(())
    }

    pub(super) fn value_region(&self, map: MapRef) -> Region {
        Region::MapValue(self.tables.slot_of(map))
    }

    /// A load from a frozen map at a known place is a constant.
    fn frozen_value(&self, map: MapRef, pointer: &Register, span: Span, sign: Sign) -> Option<Register> {
        let def = self.tables.map(map);
        let bytes = def.initial.as_ref().filter(|_| def.frozen && def.max_entries == 1)?;
        let start = usize::try_from(pointer.constant_offset()? + i64::from(span.off)).ok()?;
        let size = span.size as usize; // at most 8
        let read = bytes.get(start..start.checked_add(size)?)?;
        let mut word = [0; 8];
        word[..size].copy_from_slice(read);
        let number = u64::from_le_bytes(word);
        let unused = 64 - 8 * span.size;
        Some(Register::constant(match sign {
            Sign::Zero => number,
            Sign::Signed => ((number << unused).cast_signed() >> unused).cast_unsigned(),
        }))
    }

    /// Notes where an access went.
    pub(crate) fn observe(&mut self, region: Region, pointer: &Register, span: Span) {
        // Offsets are aligned; whether addresses are depends on where the memory starts.
        let aligned_start = match pointer.kind {
            Kind::Packet | Kind::PacketMeta => false,
            Kind::Memory(flags) => flags.contains(MemFlags::RINGBUF),
            _ => true,
        };
        let aligned = span.size == 1 || (aligned_start && is_aligned(pointer, span));
        self.observed.access(self.at, region, aligned);
    }

    /// Stack accesses are aligned always (spills rely on it), atomics everywhere but in arenas, where nobody knows, and
    /// all others if policy or program ask for it.
    fn alignment(&self, pointer: &Register, span: Span, atomic: bool) -> Check {
        let asked = self.options.policy.strict_alignment || self.program.prog_flags & STRICT_ALIGNMENT != 0;
        let strict =
            (atomic || asked) && pointer.kind != Kind::Arena || matches!(pointer.kind, Kind::Stack(_));
        // Network headers are aligned behind the 14 bytes of the link layer.
        let start = if pointer.kind.is_packet() { HEADER_START } else { 0 };
        let place = Span { off: span.off + start, ..span };
        if !strict || !pointer.kind.is_pointer() || is_aligned(pointer, place) {
            return Ok(());
        }
        Err(Reason::Misaligned { kind: pointer.kind.name(), size: span.size }.into())
    }

    fn observe_stack(&mut self, frame: u8, pointer: &Register, span: Span) {
        let own = usize::from(frame) == self.state.depth();
        let region = if own {
            let offset = pointer.constant_offset().and_then(|off| i32::try_from(off).ok());
            Region::Stack { offset: offset.map(|off| off + span.off) }
        } else {
            Region::CallerStack
        };
        self.observe(region, pointer, span);
    }
}

/// Bytes behind a memory pointer.
pub(crate) fn memory_size(pointer: &Register) -> u64 {
    u64::from(pointer.size.max(0).cast_unsigned())
}

/// A load or store through something that is no valid pointer.
pub(crate) fn invalid(reg: Reg, pointer: &Register) -> Stop {
    if pointer.nullable {
        return Reason::NullableAccess { reg, kind: pointer.kind.name() }.into();
    }
    match pointer.kind {
        Kind::Scalar => Reason::NumberAccess { reg }.into(),
        kind => Reason::InvalidAccess { reg, kind: kind.name() }.into(),
    }
}

/// Whether an access lies inside `bytes` bytes, for every value of the variable part.
pub(crate) fn region(pointer: &Register, span: Span, bytes: u64, zero_allowed: bool) -> Check {
    let off = i64::from(span.off) + i64::from(pointer.off);
    let value = &pointer.value;
    if value.smin() < 0 && (value.smin() == i64::MIN || off + value.smin() < 0) {
        return Err(Reason::NegativeOffset { reg: span.reg }.into());
    }
    let outside =
        |offset: i64| Reason::OutOfBounds { reg: span.reg, offset, size: span.size, limit: bytes, map: None };
    fits(off + value.smin(), span.size, bytes, zero_allowed)
        .map_err(|()| Stop::from(outside(off + value.smin())))?;
    if value.umax() >= MAX_VARIABLE_OFFSET.cast_unsigned() {
        return Err(Reason::UnboundedOffset { reg: span.reg }.into());
    }
    let high = off + value.umax().cast_signed();
    fits(high, span.size, bytes, zero_allowed).map_err(|()| outside(high).into())
}

/// Whether `[offset, offset + size)` lies in `[0, bytes)`.
pub(crate) fn fits(offset: i64, size: u32, bytes: u64, zero_allowed: bool) -> Result<(), ()> {
    let size_is_valid = size > 0 || zero_allowed;
    let start = u64::try_from(offset).map_err(|_| ())?;
    if size_is_valid && start + u64::from(size) <= bytes { Ok(()) } else { Err(()) }
}

fn is_aligned(pointer: &Register, span: Span) -> bool {
    let tnum = pointer.value.tnum();
    let low = u64::from(span.size - 1);
    let fixed = (i64::from(pointer.off) + i64::from(span.off)).cast_unsigned();
    tnum.mask() & low == 0 && tnum.value().wrapping_add(fixed) & low == 0
}
