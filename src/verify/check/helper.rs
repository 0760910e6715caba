//! Helper calls: permission, arguments, effects, result.
#![forbid(unsafe_code)]

use std::rc::Rc;

use super::alu::MAX_VARIABLE_OFFSET;
use super::dynptr::Dynptr;
use super::kptr::Kptr;
use crate::btf::{CoreOutcome, CoreResult};
use crate::isa::Reg;
use crate::verify::domain::Scalar;
use crate::verify::explore::{Check, Next, Stop, Verifier};
use crate::verify::facts::CallFact;
use crate::verify::report::Reason;
use crate::verify::state::{
    DynptrType, Kind, MapRef, MemFlags, Register, Resource, ResourceKind, SockKind, TypeRef,
};
use beelift_runtime::MapKind;
use beelift_runtime::helper::{HelperFlags, Proto, RetKind};
use beelift_runtime::map::MapFlags;

/// Numbers of helpers with rules of their own.
pub(super) mod id {
    pub(crate) const LOOKUP: u32 = 1;
    pub(crate) const UPDATE: u32 = 2;
    pub(crate) const DELETE: u32 = 3;
    pub(crate) const SMP_PROCESSOR_ID: u32 = 8;
    pub(crate) const TAIL_CALL: u32 = 12;
    pub(crate) const GET_LISTENER_SOCK: u32 = 98;
    pub(crate) const GET_LOCAL_STORAGE: u32 = 81;
    pub(crate) const SPIN_LOCK: u32 = 93;
    pub(crate) const SPIN_UNLOCK: u32 = 94;
    pub(crate) const KPTR_XCHG: u32 = 194;
    pub(crate) const CURRENT_TASK_BTF: u32 = 158;
    pub(crate) const SNPRINTF: u32 = 165;
    pub(crate) const DYNPTR_WRITE: u32 = 202;
}

/// The helper called, with the prototype it has for this program type.
#[derive(Clone, Copy, Debug)]
pub(super) struct Called {
    /// Number.
    pub(super) id: u32,
    /// Name.
    pub(super) name: &'static str,
    /// Prototype.
    pub(super) proto: Proto,
}

/// What the arguments of one call say.
#[derive(Debug, Default)]
pub(super) struct CallState {
    /// The map argument and the identity of an inner map.
    pub(super) map: Option<(MapRef, u32)>,
    /// Constant key, if the map is an array.
    pub(super) constant_key: Option<u64>,
    /// Upper bound of the last size argument.
    pub(super) size: u64,
    /// Constant size of memory to allocate.
    pub(super) alloc_size: u32,
    /// Reference that an argument belongs to.
    pub(super) object: u32,
    /// Whether the call releases it.
    pub(super) released: bool,
    /// Subprogram to call back.
    pub(super) callback: Option<usize>,
    /// Stack bytes that the helper fills: frame, lowest, highest offset.
    pub(super) filled: Vec<(usize, i64, i64)>,
    /// Stack bytes that the helper may write or leave as they are.
    pub(super) touched: Vec<(usize, i64, i64)>,
    /// Dynptr that the helper makes.
    pub(super) dynptr_made: Option<(Reg, DynptrType)>,
    /// Dynptr that the helper uses.
    pub(super) dynptr: Option<Dynptr>,
    /// The kptr that is exchanged.
    pub(super) kptr: Option<Kptr>,
    /// The map that it lies in.
    pub(super) kptr_map: Option<MapRef>,
    /// The per-CPU variable or object.
    pub(super) percpu: Option<(TypeRef, MemFlags)>,
    /// Whether that dynptr ends here.
    pub(super) dynptr_released: bool,
    /// Facts for the code generator.
    pub(super) fact: CallFact,
}

impl Verifier<'_> {
    /// A number that no helper has: most often what a CO-RE relocation without an answer left there.
    fn unknown_helper(&self, number: u32) -> Reason {
        let relocations = &self.program.relocations;
        let found = relocations.binary_search_by_key(&self.at, |outcome| outcome.insn);
        match found.map(|index| &relocations[index]) {
            Ok(CoreOutcome { subject, result: CoreResult::Poisoned { why }, .. }) => {
                Reason::Unrelocated { subject: subject.clone(), why: why.clone() }
            }
            Ok(_) | Err(_) => Reason::UnknownHelper { number },
        }
    }

    pub(super) fn helper_call(&mut self, number: u32) -> Check<Next> {
        let Some(helper) = self.tables.helper(number) else {
            return Err(self.unknown_helper(number).into());
        };
        let helper = &Called { id: helper.id, name: helper.name, proto: self.tables.proto(helper) };
        self.may_call(helper)?;
        let mut call = CallState::default();
        for (index, kind) in helper.proto.args.iter().enumerate() {
            self.helper_argument(helper, index, *kind, &mut call)?;
        }
        if let Some((map, _)) = call.map {
            super::argument::map_serves(self.tables.map(map), helper)?;
        }
        self.special_rules(helper, &call)?;
        let filled = std::mem::take(&mut call.filled);
        let fills = helper.proto.flags.contains(HelperFlags::FILLS);
        for (frame, low, high) in filled {
            if !fills {
                self.stack_left(frame, low, high);
            }
            self.stack_filled(frame, low, high, fills)?;
        }
        let touched = std::mem::take(&mut call.touched);
        for (frame, low, high) in touched {
            self.stack_touched(frame, low, high)?;
        }
        if call.released {
            self.release(&call)?;
        }
        self.dynptr_effects(helper, &call)?;
        if let Some(callback) = call.callback {
            return self.helper_with_callback(helper, callback, call);
        }
        self.finish_helper(helper, call)
    }

    fn dynptr_effects(&mut self, helper: &Called, call: &CallState) -> Check {
        if let Some((reg, kind)) = call.dynptr_made {
            if kind == DynptrType::Local && !matches!(self.state.register(Reg::R1).kind, Kind::MapValue(_)) {
                let found = self.state.register(Reg::R1).kind.name();
                return Err(Reason::ArgumentType { reg: Reg::R1, expected: "a map value", found }.into());
            }
            let register = *self.state.register(reg);
            self.make_dynptr(reg, &register, kind, None)?;
        }
        let Some(dynptr) = call.dynptr else { return Ok(()) };
        if call.dynptr_released {
            self.end_dynptr(dynptr)?;
        }
        if helper.id == id::DYNPTR_WRITE && dynptr.kind == DynptrType::Skb {
            self.forget_packet();
        }
        Ok(())
    }

    /// Result and effects of a helper whose arguments are fine.
    pub(super) fn finish_helper(&mut self, helper: &Called, mut call: CallState) -> Check<Next> {
        self.forget_caller_saved();
        let result = self.helper_result(helper, &mut call)?;
        *self.state.register_mut(Reg::R0) = result;
        if helper.proto.flags.contains(HelperFlags::CHANGES_PACKET) {
            self.forget_packet();
        }
        call.fact.map = call.map.and_then(|(map, _)| self.tables.slot_of(map));
        self.observed.call(self.at, call.fact);
        Ok(Next::To(self.at.next()))
    }

    fn may_call(&self, helper: &Called) -> Check {
        let name = helper.name;
        if !self.tables.is_allowed(helper.id, self.program.attach_type) {
            return Err(Reason::HelperNotAllowed { name, program_type: self.tables.program_type() }.into());
        }
        let flags = helper.proto.flags;
        if flags.contains(HelperFlags::GPL) && !self.program.is_gpl() {
            return Err(Reason::HelperNeedsGpl { name }.into());
        }
        let references = &self.state.references;
        if flags.contains(HelperFlags::SLEEPS)
            && (!self.may_sleep()
                || references.rcu > 0
                || references.preempt > 0
                || references.newest_irq().is_some())
        {
            return Err(Reason::MaySleep { name }.into());
        }
        if references.locks() > 0 && !matches!(helper.id, id::SPIN_UNLOCK | id::KPTR_XCHG) {
            return Err(if helper.id == id::SPIN_LOCK { Reason::LockHeld } else { Reason::CallInLock }.into());
        }
        Ok(())
    }

    fn special_rules(&mut self, helper: &Called, call: &CallState) -> Check {
        match helper.id {
            id::TAIL_CALL => {
                self.nothing_held("a tail call", true)?;
                // The target returns to the caller of the running function, and may move the packet.
                self.push_early_return(Register::unknown(), "tail calls from callbacks", Self::forget_packet)
            }
            id::GET_LOCAL_STORAGE => {
                if self.state.register(Reg::R2).is_null() {
                    Ok(())
                } else {
                    Err(Reason::ArgumentType { reg: Reg::R2, expected: "zero", found: "another number" }
                        .into())
                }
            }
            id::SNPRINTF => self.format_string(),
            id::UPDATE | id::DELETE => {
                let Some((map, _)) = call.map.filter(|(map, _)| self.tables.holds_sockets(*map)) else {
                    return Ok(());
                };
                if self.tables.may_change_sockets(helper.id == id::UPDATE) || self.walks() {
                    return Ok(());
                }
                let def = self.tables.map(map);
                let (map, kind) = (def.name.clone(), def.kind);
                Err(Reason::MapKindForHelper { map, kind, name: helper.name }.into())
            }
            _ => Ok(()),
        }
    }

    /// Gives back what an argument holds.
    fn release(&mut self, call: &CallState) -> Check {
        if call.kptr.is_some() && self.in_rcu() {
            self.keep_in_rcu(call.object);
        }
        self.release_object(call.object)
    }

    /// What goes into a kptr for each CPU stays readable for the rest of the RCU read section.
    fn keep_in_rcu(&mut self, object: u32) {
        let percpu = MemFlags::ALLOCATED | MemFlags::PERCPU;
        self.state.for_each(
            |register| {
                register.object == object
                    && matches!(register.kind, Kind::Object(_, flags) if flags.contains(percpu))
            },
            |register| {
                register.object = 0;
                if let Kind::Object(_, flags) = &mut register.kind {
                    flags.remove(MemFlags::ALLOCATED);
                    flags.insert(MemFlags::RCU);
                }
            },
        );
    }

    /// A reference is given back: every pointer that depends on it is stale.
    pub(super) fn release_object(&mut self, object: u32) -> Check {
        if !Rc::make_mut(&mut self.state.references).release(object) {
            return Err(Reason::NotAcquired { reg: Reg::R1 }.into());
        }
        self.state.for_each(
            |register| register.object == object && register.kind != Kind::Uninit,
            |register| *register = Register::unknown(),
        );
        Ok(())
    }

    /// Takes a reference.
    pub(super) fn acquire(&mut self) -> u32 {
        let id = self.fresh_id();
        let insn = self.at;
        let kind = ResourceKind::Pointer;
        Rc::make_mut(&mut self.state.references).held.push(Resource { id, kind, insn });
        id
    }

    fn helper_result(&mut self, helper: &Called, call: &mut CallState) -> Check<Register> {
        let result = match helper.proto.ret {
            RetKind::Void => return Ok(Register::UNINIT),
            RetKind::Integer => {
                if helper.id == id::SMP_PROCESSOR_ID
                    && let Some(last) = self.options.cpus.and_then(|cpus| cpus.checked_sub(1))
                {
                    return Ok(Register::scalar(Scalar::signed(0, i64::from(last))));
                }
                return Ok(integer_result(helper.id, call.size));
            }
            RetKind::MapValue | RetKind::MapValueOrNull => {
                let Some((map, owner)) = call.map else {
                    return Err(Stop::Unsupported(format!("{} without a map", helper.name)));
                };
                let nullable = helper.proto.ret == RetKind::MapValueOrNull;
                let mut value = Register { owner, nullable, ..Register::pointer(Kind::MapValue(map)) };
                if helper.id == id::LOOKUP && self.key_is_inside(map, call) {
                    value.nullable = false;
                    call.fact.constant_key = call.constant_key.and_then(|key| u32::try_from(key).ok());
                    if self.may_hold_lock(&value) {
                        value.id = self.fresh_id();
                    }
                }
                value
            }
            RetKind::AllocMemOrNull if call.dynptr.is_some() => {
                let Some(dynptr) = call.dynptr else { return Ok(Register::UNINIT) };
                return self.dynptr_memory(dynptr, call.alloc_size, false);
            }
            RetKind::AllocMemOrNull | RetKind::RingbufMemOrNull => {
                let size =
                    i32::try_from(call.alloc_size).map_err(|_| Reason::SizeUnbounded { reg: Reg::R2 })?;
                let ringbuf = helper.proto.ret == RetKind::RingbufMemOrNull;
                let kind = Kind::Memory(if ringbuf { MemFlags::RINGBUF } else { MemFlags::empty() });
                Register { size, nullable: true, ..Register::pointer(kind) }
            }
            RetKind::SocketOrNull(name) => {
                let kind = match name {
                    "tcp_sock" => SockKind::Tcp,
                    "sock_common" => SockKind::Common,
                    "sock" | "socket" => SockKind::Socket,
                    other => return Err(Stop::Unsupported(format!("socket type {other}"))),
                };
                Register { nullable: true, ..Register::pointer(Kind::Socket(kind)) }
            }
            RetKind::BtfId { name: "", .. } => self.kptr_result(call)?,
            RetKind::BtfId { name, nullable } => {
                let trusted =
                    if helper.id == id::CURRENT_TASK_BTF { MemFlags::TRUSTED } else { MemFlags::empty() };
                let kind = Kind::Object(self.kernel_type(name)?, trusted);
                Register { nullable, ..Register::pointer(kind) }
            }
            RetKind::PercpuMem { nullable } => {
                let Some((of, flags)) = call.percpu else {
                    return Err(Stop::Unsupported(format!("{}: per-CPU kernel memory", helper.name)));
                };
                match of {
                    // One CPU's part of an object of the program's own.
                    TypeRef::Own(_) => {
                        Register::pointer(Kind::Object(of, MemFlags::ALLOCATED | MemFlags::RCU))
                    }
                    TypeRef::Kernel(_) if !self.tables.types.is_structure(of) => {
                        let size = self.tables.types.size(of).and_then(|size| i32::try_from(size).ok());
                        let kind = Kind::Memory(MemFlags::READ_ONLY);
                        Register { nullable, size: size.unwrap_or(0), ..Register::pointer(kind) }
                    }
                    TypeRef::Kernel(_) => {
                        let kind = Kind::Object(of, flags - MemFlags::PERCPU);
                        Register { nullable, ..Register::pointer(kind) }
                    }
                }
            }
        };
        Ok(self.with_identity(helper, call, result))
    }

    fn with_identity(&mut self, helper: &Called, call: &CallState, mut result: Register) -> Register {
        if result.nullable {
            result.id = self.fresh_id();
        }
        let from_sockets = call.map.is_some_and(|(map, _)| {
            matches!(self.tables.map(map).kind, MapKind::Sockmap | MapKind::Sockhash)
        });
        if helper.proto.flags.contains(HelperFlags::ACQUIRES) || (helper.id == id::LOOKUP && from_sockets) {
            let object = self.acquire();
            result.id = object;
            result.object = object;
        } else if (matches!(result.kind, Kind::Socket(_)) && helper.id != id::GET_LISTENER_SOCK)
            || helper.name.starts_with("bpf_skc_to_")
        {
            // The result of a cast lives as long as its argument; a listener is another socket.
            result.object = call.object;
        }
        result
    }

    fn key_is_inside(&self, map: MapRef, call: &CallState) -> bool {
        let def = self.tables.map(map);
        let has_its_size = self.tables.slot_of(map).is_some()
            // Another inner map may take this one's place: an array of the same size, unless the flag says otherwise, but
            // a per-CPU array of any size, here as in Linux (which believes it to be of this one).
            || (def.kind == MapKind::Array && !def.flags.contains(MapFlags::INNER_MAP));
        has_its_size && call.constant_key.is_some_and(|key| key < u64::from(def.max_entries))
    }
}

/// Numbers that helpers return: some are bounded by their size argument.
fn integer_result(number: u32, size: u64) -> Register {
    const GET_STACK: u32 = 67;
    const GET_TASK_STACK: u32 = 141;
    const PROBE_READ_STR: u32 = 45;
    const PROBE_READ_USER_STR: u32 = 114;
    const PROBE_READ_KERNEL_STR: u32 = 115;
    const MAX_ERRNO: i64 = 4095;
    let bounded = matches!(
        number,
        GET_STACK | GET_TASK_STACK | PROBE_READ_STR | PROBE_READ_USER_STR | PROBE_READ_KERNEL_STR
    );
    if bounded && size < MAX_VARIABLE_OFFSET.cast_unsigned() {
        return Register::scalar(Scalar::signed(-MAX_ERRNO, size.cast_signed()));
    }
    Register::unknown()
}
