//! Arguments of helpers: their kinds, and the memory they point to.
#![forbid(unsafe_code)]

use super::alu::MAX_VARIABLE_OFFSET;
use super::context;
use super::helper::{CallState, Called, id};
use super::memory::{Access, By, Span, memory_size, region};
use crate::isa::Reg;
use crate::verify::explore::{Check, Stop, Verifier};
use crate::verify::facts::CallFact;
use crate::verify::report::Reason;
use crate::verify::state::{Byte, Kind, MapRef, MemFlags, Register, SockKind, Stack};
use beelift_runtime::ctx::ContextLayout;
use beelift_runtime::helper::{
    ArgKind, HelperFlags, MemAccess, SockKind as SockArgument, format_conversions,
};
use beelift_runtime::map::{MapFlags, SpecialKind};
use beelift_runtime::{MapDef, MapKind};

impl Verifier<'_> {
    pub(super) fn helper_argument(
        &mut self,
        helper: &Called,
        index: usize,
        kind: ArgKind,
        call: &mut CallState,
    ) -> Check {
        let reg = Reg::ARGS[index];
        if kind == ArgKind::None {
            return Ok(());
        }
        let register = self.read(reg)?;
        if kind == ArgKind::Anything {
            if self.leaks(&register) {
                return Err(Reason::PointerLeak { into: "a helper" }.into());
            }
            // Some helpers read what is there (`bpf_probe_read_kernel`, `%s` of `bpf_trace_printk`).
            call.fact.stack_escapes |= matches!(register.kind, Kind::Stack(_));
            return Ok(());
        }
        if register.kind.is_packet()
            && !(helper.proto.flags.contains(HelperFlags::PACKET_ACCESS) && self.tables.may_read_packet())
        {
            return Err(Reason::PacketArgument { reg, name: helper.name }.into());
        }
        self.note_release(helper, index, reg, &register, call)?;
        if register.object != 0 && kind != ArgKind::Kptr {
            if call.object != 0 {
                return Err(Reason::TwoReferences.into());
            }
            call.object = register.object;
        }
        self.argument_of_kind(helper, index, kind, register, call)
    }

    fn note_release(
        &self,
        helper: &Called,
        index: usize,
        reg: Reg,
        register: &Register,
        call: &mut CallState,
    ) -> Check {
        if helper.proto.released() != Some(index)
            || matches!(helper.proto.args[index], ArgKind::Dynptr { .. })
        {
            return Ok(());
        }
        if register.nullable {
            return Err(self.expected(reg, "a pointer that is not null", register));
        }
        if register.object == 0 && !register.is_null() {
            return Err(Reason::NotAcquired { reg }.into());
        }
        if register.kind.is_pointer() {
            context::unmodified(register)?;
        }
        call.released = true;
        Ok(())
    }

    /// The map argument that the size of another argument depends on.
    fn map_before(&self, helper: &Called, call: &CallState) -> Check<MapRef> {
        let unsupported = || Stop::Unsupported(format!("prototype of {}", helper.name));
        call.map.map(|(map, _)| map).ok_or_else(unsupported)
    }

    fn expected(&self, reg: Reg, expected: &'static str, found: &Register) -> Stop {
        let found = if found.nullable { "a pointer that may be null" } else { found.kind.name() };
        Reason::ArgumentType { reg, expected, found }.into()
    }

    fn argument_of_kind(
        &mut self,
        helper: &Called,
        index: usize,
        kind: ArgKind,
        register: Register,
        call: &mut CallState,
    ) -> Check {
        let reg = Reg::ARGS[index];
        match kind {
            ArgKind::None | ArgKind::Anything => Ok(()),
            ArgKind::Map => match register.kind {
                Kind::Map(map) => {
                    // A timer belongs to the map that it lies in.
                    if call.map.is_some_and(|timer| timer != (map, register.owner)) {
                        return Err(Reason::TimerOfOtherMap { reg }.into());
                    }
                    call.map = Some((map, register.owner));
                    Ok(())
                }
                Kind::MapValue(outer)
                    if !register.nullable
                        && matches!(
                            self.tables.map(outer).kind,
                            MapKind::ArrayOfMaps | MapKind::HashOfMaps
                        ) =>
                {
                    Err(Reason::NoInnerMap { map: self.tables.map(outer).name.clone() }.into())
                }
                _ => Err(self.expected(reg, "a map", &register)),
            },
            ArgKind::MapKey => {
                let map = self.map_before(helper, call)?;
                let def = self.tables.map(map);
                let span = Span { reg, off: 0, size: def.key_size };
                let reads = call.fact.stack_reads.len();
                self.memory_argument(&register, span, MemAccess::Read, false, span.size, call)?;
                call.fact.stack_key = match call.fact.stack_reads.get(reads) {
                    Some(&(offset, size)) if size == def.key_size => Some(offset),
                    Some(_) | None => None,
                };
                if matches!(def.kind, MapKind::Array | MapKind::PercpuArray) {
                    call.constant_key = self.constant_key(&register, def);
                }
                Ok(())
            }
            ArgKind::MapValueOrNull if register.is_null() => Ok(()),
            ArgKind::MapValue | ArgKind::MapValueOrNull | ArgKind::MapValueUninit => {
                let map = self.map_before(helper, call)?;
                if self.tables.holds_sockets(map) {
                    return self.socket_argument(reg, &register, SockArgument::Btf);
                }
                let size = self.tables.map(map).value_size;
                let uninit = kind == ArgKind::MapValueUninit;
                let access = if uninit { MemAccess::WriteUninit } else { MemAccess::Read };
                self.memory_argument(&register, Span { reg, off: 0, size }, access, false, size, call)
            }
            ArgKind::ContextOrNull if register.is_null() => Ok(()),
            ArgKind::Context | ArgKind::ContextOrNull => {
                if register.kind != Kind::Context {
                    return Err(self.expected(reg, "the context", &register));
                }
                context::unmodified(&register)
            }
            // The memory is checked with its size.
            ArgKind::Mem { nullable, .. } => {
                if nullable && register.is_null() || is_memory(&register) {
                    Ok(())
                } else {
                    Err(self.expected(reg, "memory", &register))
                }
            }
            ArgKind::FixedMem { size, access, align } => {
                if register.kind.is_pointer() && align > 1 {
                    aligned(&register, align)?;
                }
                self.memory_argument(&register, Span { reg, off: 0, size }, access, false, size, call)
            }
            ArgKind::Size => self.size_argument(helper, index, &register, false, call),
            ArgKind::SizeOrZero => self.size_argument(helper, index, &register, true, call),
            ArgKind::AllocSize => {
                let number = if register.is_scalar() { register.value.constant() } else { None };
                let size = number.and_then(|number| u32::try_from(number).ok());
                let Some(size) = size else { return Err(Reason::NotConstant { reg }.into()) };
                self.rely_on(reg);
                call.alloc_size = size;
                Ok(())
            }
            ArgKind::RingbufMem => match register.kind {
                // It is released: that it is not null was asked before.
                Kind::Memory(flags) if flags.contains(MemFlags::RINGBUF) => Ok(()),
                _ => Err(self.expected(reg, "a ring buffer record", &register)),
            },
            ArgKind::ConstStr => self.constant_string(reg, &register).map(|_| ()),
            ArgKind::Callback => match register.kind {
                Kind::Function(subprogram) => {
                    call.callback = Some(subprogram as usize);
                    Ok(())
                }
                _ => Err(self.expected(reg, "a function", &register)),
            },
            ArgKind::StackOrNull => {
                if register.is_null() || matches!(register.kind, Kind::Stack(_)) {
                    call.fact.stack_escapes |= !register.is_null();
                    Ok(())
                } else {
                    Err(self.expected(reg, "the stack, or null", &register))
                }
            }
            ArgKind::SpinLock => {
                self.lock(reg, &register, SpecialKind::SpinLock, false, helper.id == id::SPIN_LOCK)
            }
            ArgKind::Sock { nullable: true, .. } if register.is_null() => Ok(()),
            ArgKind::Sock { kind: wanted, nullable } => {
                let valid = Register { nullable: register.nullable && !nullable, ..register };
                self.socket_argument(reg, &valid, wanted)
            }
            ArgKind::Timer => self.timer(reg, &register, call),
            ArgKind::Dynptr { role, kind } => self.dynptr_argument(reg, &register, role, kind, call),
            // Kernel functions have prototypes of their own here (`kfuncs`).
            ArgKind::Object(_) => Err(Stop::Unsupported(format!("prototype of {}", helper.name))),
            ArgKind::Kptr => self.kptr_slot(reg, &register, call),
            ArgKind::BtfId { name: "", .. } => self.kptr_value(reg, &register, call),
            ArgKind::BtfId { nullable: true, .. } if register.is_null() => Ok(()),
            ArgKind::BtfId { name, nullable } => {
                let valid = Register { nullable: register.nullable && !nullable, ..register };
                self.helper_object(reg, &valid, name)
            }
            ArgKind::PercpuBtfId => match register.kind {
                Kind::Object(of, flags)
                    if flags.contains(MemFlags::PERCPU)
                        && !register.nullable
                        && !flags.intersects(MemFlags::UNTRUSTED | MemFlags::USER) =>
                {
                    call.percpu = Some((of, flags));
                    Ok(())
                }
                _ => Err(self.expected(reg, "a per-CPU variable", &register)),
            },
        }
    }

    fn socket_argument(&self, reg: Reg, register: &Register, wanted: SockArgument) -> Check {
        match register.kind {
            Kind::Socket(kind)
                if !register.nullable && (wanted != SockArgument::Full || kind == SockKind::Socket) =>
            {
                // There is no arithmetic on it: it was not moved.
                Ok(())
            }
            Kind::Object(_, flags)
                if wanted == SockArgument::Btf && !register.nullable && MemFlags::TRUSTED.contains(flags) =>
            {
                self.is_object_of(reg, register, self.kernel_type("sock_common")?, false)
            }
            _ => Err(self.expected(reg, "a socket", register)),
        }
    }

    fn size_argument(
        &mut self,
        helper: &Called,
        index: usize,
        register: &Register,
        zero_allowed: bool,
        call: &mut CallState,
    ) -> Check {
        let reg = Reg::ARGS[index];
        if !register.is_scalar() {
            return Err(self.expected(reg, "a number", register));
        }
        let value = register.value;
        call.size = value.umax();
        if value.smin() < 0 {
            return Err(Reason::SizeNegative { reg }.into());
        }
        if value.umin() == 0 && !zero_allowed {
            return Err(Reason::SizeZero { reg }.into());
        }
        if value.umax() >= MAX_VARIABLE_OFFSET.cast_unsigned() {
            return Err(Reason::SizeUnbounded { reg }.into());
        }
        let size = value.umax() as u32; // below 2^29
        let (access, nullable) = match index.checked_sub(1).map(|before| helper.proto.args[before]) {
            Some(ArgKind::Mem { access, nullable }) => (access, nullable),
            _ => return Err(Stop::Unsupported(format!("prototype of {}", helper.name))),
        };
        let before = Reg::ARGS[index - 1];
        let memory = self.read(before)?;
        let span = Span { reg: before, off: 0, size };
        if memory.is_null() {
            if !(nullable && zero_allowed && size == 0) {
                return Err(self.expected(before, "memory", &memory));
            }
        } else {
            // `snprintf` only writes, whatever its prototype says.
            let access =
                if helper.id == id::SNPRINTF && index == 1 { MemAccess::WriteUninit } else { access };
            let least = value.umin() as u32; // at most `size`
            self.memory_argument(&memory, span, access, zero_allowed, least, call)?;
        }
        self.rely_on(reg);
        Ok(())
    }

    /// Memory that a helper reads or writes; at least `least` bytes of it.
    fn memory_argument(
        &mut self,
        register: &Register,
        span: Span,
        access: MemAccess,
        zero_allowed: bool,
        least: u32,
        call: &mut CallState,
    ) -> Check {
        if !is_memory(register) {
            return Err(self.expected(span.reg, "memory", register));
        }
        // A buffer that may be filled in part must have been written, or may be read unwritten anyway.
        let partly = least == span.size || !self.options.policy.allow_uninitialised_stack;
        let (access, fills) = match access {
            MemAccess::Read => (Access::Read, false),
            MemAccess::ReadWrite => (Access::Write, false),
            MemAccess::WriteUninit => (Access::Write, partly),
        };
        let fills = fills && register.has_constant_offset();
        if fills && let Kind::Stack(frame) = register.kind {
            return self.filled_stack(usize::from(frame), register, span, least, zero_allowed, call);
        }
        self.helper_memory(register, span, access, zero_allowed, true, &mut call.fact)
    }

    fn filled_stack(
        &mut self,
        frame: usize,
        register: &Register,
        span: Span,
        least: u32,
        zero_allowed: bool,
        call: &mut CallState,
    ) -> Check {
        if span.size == 0 && !zero_allowed {
            return Err(Reason::SizeZero { reg: span.reg }.into());
        }
        let (low, high) = self.stack_span(frame, register, span)?;
        if span.size == 0 {
            return Ok(());
        }
        if self.overlaps_dynptr(frame, low, high) {
            return Err(Reason::ObjectAccess { reg: span.reg }.into());
        }
        if frame == self.state.depth() {
            call.fact.stack_writes.push((low as i32, span.size)); // inside the frame
        } else {
            call.fact.stack_escapes = true;
        }
        call.filled.push((frame, low, low + i64::from(least)));
        call.touched.push((frame, low + i64::from(least), high));
        Ok(())
    }

    /// Memory that must be valid (and, on the stack, written) before a helper touches it.
    pub(super) fn helper_memory(
        &mut self,
        register: &Register,
        span: Span,
        access: Access,
        zero_allowed: bool,
        as_helper: bool,
        fact: &mut CallFact,
    ) -> Check {
        match register.kind {
            Kind::Packet | Kind::PacketMeta => self.packet_access(register, span, zero_allowed),
            Kind::MapKey(map) => {
                if access == Access::Write {
                    return Err(Reason::ReadOnly { kind: "map key" }.into());
                }
                region(register, span, u64::from(self.tables.map(map).key_size), false)
            }
            Kind::MapValue(map) => {
                if span.size == 0 && !zero_allowed {
                    return Err(Reason::SizeZero { reg: span.reg }.into());
                }
                self.map_value_access(map, register, span, access, By::Helper)
            }
            Kind::Memory(flags) => {
                if access == Access::Write && flags.contains(MemFlags::READ_ONLY) {
                    return Err(Reason::ReadOnly { kind: "memory" }.into());
                }
                region(register, span, memory_size(register), zero_allowed)
            }
            Kind::Stack(frame) => {
                let frame = usize::from(frame);
                if span.size == 0 && !zero_allowed {
                    return Err(Reason::SizeZero { reg: span.reg }.into());
                }
                // Nothing must be nowhere else, either.
                let (low, high) = self.stack_span(frame, register, span)?;
                if low == high {
                    return Ok(());
                }
                self.stack_range(frame, low, high, span, access)?;
                if frame == self.state.depth() {
                    let range = (low as i32, (high - low) as u32); // inside the frame
                    fact.stack_reads.push(range);
                    if access == Access::Write {
                        fact.stack_writes.push(range);
                    }
                } else {
                    fact.stack_escapes = true;
                }
                Ok(())
            }
            Kind::Context if !as_helper && matches!(self.tables.layout, ContextLayout::Raw { .. }) => {
                // Who is not a helper may be given nothing.
                if span.size == 0 {
                    return Ok(());
                }
                context::unmodified(register)?;
                let last = Span { size: 1, off: 0, ..span };
                self.raw_context(span.size - 1, last, access)
            }
            Kind::Object(of, flags) => {
                // A helper reads what is trusted; the rest is for kernel functions.
                if as_helper && (access == Access::Write || flags != MemFlags::TRUSTED) {
                    return Err(self.expected(span.reg, "memory", register));
                }
                if span.size == 0 && zero_allowed {
                    return Ok(());
                }
                match access {
                    Access::Read => {
                        self.object_read(register, of, flags, span, Register::unknown()).map(|_| ())
                    }
                    Access::Write => self.object_write(register, of, flags, span),
                }
            }
            Kind::Uninit
            | Kind::Scalar
            | Kind::Context
            | Kind::PacketEnd
            | Kind::Map(_)
            | Kind::Socket(_)
            | Kind::FlowKeys
            | Kind::Dynptr(_)
            | Kind::Function(_)
            | Kind::Arena => Err(self.expected(span.reg, "memory", register)),
        }
    }

    /// The key on the stack, if it is one number.
    fn constant_key(&mut self, register: &Register, def: &MapDef) -> Option<u64> {
        let Kind::Stack(frame) = register.kind else { return None };
        let frame = usize::from(frame);
        let (index, byte) = Stack::place(register.constant_offset()?);
        let slot = *self.state.frames[frame].stack.slot(index);
        let size = def.key_size as usize; // 4
        let bytes = slot.bytes.get(byte..byte + size)?;
        if bytes.iter().all(|byte| *byte == Byte::Zero) {
            return Some(0);
        }
        // All of what was spilled, or the upper half of it.
        let spill = slot.spill_size();
        if !slot.is_scalar_spill() || byte + size != spill || byte % size != 0 {
            return None;
        }
        let value = slot.spilled.value.constant()?;
        // Of an upper half Linux asks whether the whole number is an index; then the half is zero.
        if byte != 0 && value >= u64::from(def.max_entries) {
            return None;
        }
        self.rely_on_slot(frame, index);
        Some(value >> (8 * byte) & u64::from(u32::MAX))
    }

    /// A timer in a map value.
    fn timer(&self, reg: Reg, register: &Register, call: &mut CallState) -> Check {
        let Kind::MapValue(map) = register.kind else { return Err(self.expected(reg, "a timer", register)) };
        let def = self.tables.map(map);
        let timer = def.fields.iter().find(|field| field.kind == SpecialKind::Timer);
        if register.nullable
            || timer.is_none_or(|field| register.constant_offset() != Some(i64::from(field.offset)))
        {
            return Err(self.expected(reg, "a timer", register));
        }
        call.map = Some((map, register.owner));
        Ok(())
    }

    /// A string in a frozen map, which ends inside it: up to its end.
    pub(super) fn constant_string(&self, reg: Reg, register: &Register) -> Check<&[u8]> {
        let bad = || Stop::from(Reason::NotAConstantString { reg });
        let Kind::MapValue(map) = register.kind else { return Err(bad()) };
        let def = self.tables.map(map);
        let bytes = def.initial.as_ref().filter(|_| def.frozen).ok_or_else(bad)?;
        let start = register.constant_offset().and_then(|off| usize::try_from(off).ok()).ok_or_else(bad)?;
        let rest = bytes.get(start..).ok_or_else(bad)?;
        let end = rest.iter().position(|byte| *byte == 0).ok_or_else(bad)?;
        Ok(&rest[..end])
    }

    /// `bpf_snprintf`: conversions that the runtime knows, and as many arguments as they take.
    pub(super) fn format_string(&self) -> Check {
        let reg = Reg::R3;
        let bad = || Stop::from(Reason::FormatString { reg });
        let text = self.constant_string(reg, self.state.register(reg))?;
        let wanted = format_conversions(text).ok_or_else(bad)?;
        // As many as are certain. Arguments that no conversion takes do no harm.
        let given = self.state.register(Reg::R5).value.tnum().value();
        if !given.is_multiple_of(8) || given / 8 < wanted as u64 {
            return Err(bad());
        }
        Ok(())
    }
}

fn is_memory(register: &Register) -> bool {
    if register.nullable {
        return false;
    }
    match register.kind {
        Kind::Stack(_)
        | Kind::Packet
        | Kind::PacketMeta
        | Kind::MapKey(_)
        | Kind::MapValue(_)
        | Kind::Memory(_)
        | Kind::Context
        | Kind::Object(..) => true,
        Kind::Uninit
        | Kind::Scalar
        | Kind::PacketEnd
        | Kind::Map(_)
        | Kind::Socket(_)
        | Kind::FlowKeys
        | Kind::Dynptr(_)
        | Kind::Function(_)
        | Kind::Arena => false,
    }
}

fn aligned(register: &Register, align: u32) -> Check {
    let low = u64::from(align) - 1;
    let tnum = register.value.tnum();
    let fixed = i64::from(register.off).cast_unsigned();
    if tnum.mask() & low == 0 && tnum.value().wrapping_add(fixed) & low == 0 {
        return Ok(());
    }
    Err(Reason::Misaligned { kind: register.kind.name(), size: align }.into())
}

/// Which helpers serve which maps.
pub(super) fn map_serves(def: &MapDef, helper: &Called) -> Check {
    use MapKind as M;
    let number = helper.id;
    let kind = def.kind;
    let of_map = match kind {
        M::ProgArray => number == 12,
        M::PerfEventArray => matches!(number, 22 | 25 | 55 | 111 | 121),
        M::Ringbuf => matches!(number, 130 | 131 | 134 | 198),
        M::UserRingbuf => number == 209,
        M::StackTrace => number == 27,
        M::CgroupArray => matches!(number, 33 | 37),
        M::CgroupStorage | M::PercpuCgroupStorage => number == 81,
        M::Devmap | M::DevmapHash | M::Xskmap => matches!(number, 1 | 51),
        M::Cpumap => number == 51,
        M::ArrayOfMaps | M::HashOfMaps => number == 1,
        M::Sockmap => matches!(number, 1 | 2 | 3 | 52 | 53 | 60 | 82),
        M::Sockhash => matches!(number, 1 | 2 | 3 | 70 | 71 | 72 | 82),
        M::ReuseportSockarray => number == 82,
        M::Queue | M::Stack => matches!(number, 87..=89),
        M::SkStorage => matches!(number, 107 | 108 | 194),
        M::InodeStorage => matches!(number, 145 | 146 | 194),
        M::TaskStorage => matches!(number, 156 | 157 | 194),
        M::CgrpStorage => matches!(number, 210 | 211 | 194),
        M::BloomFilter => matches!(number, 87 | 89),
        M::Arena | M::StructOps | M::InsnArray => false,
        M::Hash | M::Array | M::PercpuHash | M::PercpuArray | M::LruHash | M::LruPercpuHash | M::LpmTrie => {
            true
        }
    };
    let of_helper = match number {
        12 => kind == M::ProgArray,
        22 | 25 | 55 | 111 | 121 => kind == M::PerfEventArray,
        130 | 131 | 134 | 198 => kind == M::Ringbuf,
        209 => kind == M::UserRingbuf,
        27 => kind == M::StackTrace,
        33 | 37 => kind == M::CgroupArray,
        51 => matches!(kind, M::Devmap | M::DevmapHash | M::Cpumap | M::Xskmap),
        52 | 53 | 60 => kind == M::Sockmap,
        70..=72 => kind == M::Sockhash,
        81 => matches!(kind, M::CgroupStorage | M::PercpuCgroupStorage),
        82 => matches!(kind, M::ReuseportSockarray | M::Sockmap | M::Sockhash),
        87 | 89 => matches!(kind, M::Queue | M::Stack | M::BloomFilter),
        88 => matches!(kind, M::Queue | M::Stack),
        107 | 108 => kind == M::SkStorage,
        145 | 146 => kind == M::InodeStorage,
        156 | 157 => kind == M::TaskStorage,
        210 | 211 => kind == M::CgrpStorage,
        195 => matches!(kind, M::PercpuArray | M::PercpuHash | M::LruPercpuHash),
        164 => matches!(
            kind,
            M::Array | M::PercpuArray | M::Hash | M::PercpuHash | M::LruHash | M::LruPercpuHash
        ),
        _ => true,
    };
    if !(of_map && of_helper) {
        return Err(Reason::MapKindForHelper { map: def.name.clone(), kind, name: helper.name }.into());
    }
    let changes = matches!(number, 2 | 3 | 87 | 88);
    if changes && def.flags.contains(MapFlags::RDONLY_PROG) {
        return Err(Reason::ReadOnlyMap { map: def.name.clone() }.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
