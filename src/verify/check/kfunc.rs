//! Calls of kernel functions: permission, sections, effects, result; rules of single functions.
//!
//! In: rows of `kfuncs`. Arguments are checked in `kfunc_argument`, lists and trees in `graph`.
#![forbid(unsafe_code)]

use super::context;
use super::dynptr::Dynptr;
use super::graph::borrowed;
use super::memory::{Access, Span};
use crate::btf::{Kind as BtfKind, TypeId};
use crate::isa::{KfuncSlot, Reg};
use crate::verify::domain::Scalar;
use crate::verify::explore::{Check, Next, Stop, Verifier};
use crate::verify::facts::CallFact;
use crate::verify::kfuncs::{Argument, Prototype, Returns, Traits};
use crate::verify::report::Reason;
use crate::verify::state::{DynptrType, Kind, MapRef, MemFlags, Register, TypeRef};
use beelift_runtime::ctx::ContextLayout;
use beelift_runtime::map::SpecialField;

/// Largest object of each CPU that programs may allocate.
const PERCPU_OBJECT: u32 = 512;

/// What the arguments of one call say.
#[derive(Debug, Default)]
pub(super) struct KfuncCall {
    /// The argument that holds a reference, and the reference.
    pub(super) held: Option<(Reg, u32)>,
    /// The constant argument.
    pub(super) constant: Option<u64>,
    /// The map argument and the identity of an inner map.
    pub(super) map: Option<(MapRef, u32)>,
    /// The map that a work queue or task work lies in, likewise.
    pub(super) work: Option<(MapRef, u32)>,
    /// The dynptr used.
    pub(super) dynptr: Option<Dynptr>,
    /// The function to call back.
    pub(super) callback: Option<usize>,
    /// The list head or tree root.
    pub(super) collection: Option<SpecialField>,
    /// Type of the allocated object.
    pub(super) allocated: Option<TypeRef>,
    /// Whether that object is held, not borrowed.
    pub(super) owned: bool,
}

/// `BPF_F_XDP_DEV_BOUND_ONLY` of `prog_flags`.
const DEVICE_BOUND: u32 = 1 << 6;

impl Verifier<'_> {
    pub(super) fn kfunc_call(&mut self, slot: KfuncSlot) -> Check<Next> {
        let program = self.program;
        let name = program.kfuncs.get(slot.0 as usize).map_or("?", |kfunc| kfunc.name.as_str());
        let Some(prototype) = self.tables.kfunc(slot) else {
            return Err(Stop::Unsupported(format!("kfunc {name}")));
        };
        self.may_call_kfunc(prototype)?;
        self.observed.call(self.at, CallFact { stack_escapes: true, ..CallFact::default() });
        if name == "__bpf_trap" {
            return Err(Reason::CompilerTrap.into());
        }
        if name == "bpf_throw" {
            return self.throw();
        }
        let mut call = KfuncCall::default();
        if name.starts_with("bpf_res_spin_lock") {
            self.push_failed_lock()?;
        }
        self.kfunc_arguments(prototype, &mut call)?;
        if let [Argument::Iterator(iterator), ..] = *prototype.arguments
            && name.ends_with("_next")
        {
            self.kfunc_sections(prototype)?;
            return self.next_of_iterator(iterator, prototype);
        }
        if let Some(callback) = call.callback {
            self.kfunc_callback(prototype, callback, &call)?;
        }
        self.kfunc_sections(prototype)?;
        let result = self.kfunc_result(prototype, &call)?;
        self.forget_caller_saved();
        *self.state.register_mut(Reg::R0) = result;
        Ok(Next::To(self.at.next()))
    }

    fn may_call_kfunc(&self, prototype: &Prototype) -> Check {
        let name = prototype.name;
        if self.state.references.locks() > 0 && !serves_in_lock(name) {
            return Err(Reason::CallInLock.into());
        }
        let program_type = self.tables.program_type();
        // They ask a driver, so the program must be bound to a device.
        let unbound = name.starts_with("bpf_xdp_metadata_rx_") && self.program.prog_flags & DEVICE_BOUND == 0;
        if unbound || !prototype.callers.contain(program_type, self.program.attach_type) {
            return Err(Reason::KfuncNotAllowed { name: name.to_owned(), program_type }.into());
        }
        if prototype.traits.contains(Traits::SLEEPS) && !self.may_sleep() {
            return Err(Reason::KfuncMaySleep { name: name.to_owned() }.into());
        }
        Ok(())
    }

    /// Enters and leaves sections; refuses what must not be called in one, or outside of one.
    fn kfunc_sections(&mut self, prototype: &Prototype) -> Check {
        let name = prototype.name;
        match name {
            "bpf_rcu_read_lock" | "bpf_rcu_read_unlock" | "bpf_preempt_disable" | "bpf_preempt_enable" => {
                self.section(name)?;
            }
            _ => {}
        }
        if prototype.traits.contains(Traits::SLEEPS) && self.in_atomic_section() {
            return Err(Reason::KfuncMaySleep { name: name.to_owned() }.into());
        }
        if prototype.traits.contains(Traits::IN_RCU) && !self.in_rcu() {
            return Err(Reason::NeedsRcu { name: name.to_owned() }.into());
        }
        Ok(())
    }

    /// Effects of a call whose arguments are fine, and what it returns.
    fn kfunc_result(&mut self, prototype: &'static Prototype, call: &KfuncCall) -> Check<Register> {
        let traits = prototype.traits;
        if traits.contains(Traits::RELEASES) {
            let Some((_, object)) = call.held else {
                return Err(Reason::NoReleasedArgument { name: prototype.name.to_owned() }.into());
            };
            self.release_object(object)?;
        }
        if prototype.name.starts_with("bpf_xdp_metadata_") {
            return Err(Reason::DeviceBound { name: prototype.name.to_owned() }.into());
        }
        if let Some(result) = self.special_result(prototype, call)? {
            return Ok(self.with_reference(prototype, call, result));
        }
        let result = match prototype.returns {
            Returns::Void => return Ok(Register::UNINIT),
            // A pointer to anything is as good as a number.
            Returns::Number | Returns::Pointer => return Ok(Register::unknown()),
            Returns::Memory(size) => memory_returned(prototype.name, size, 0),
            Returns::Object(name) => {
                let flags = match prototype.name {
                    "bpf_get_kmem_cache" => MemFlags::UNTRUSTED,
                    _ => MemFlags::empty(),
                };
                Register::pointer(Kind::Object(self.kernel_type(name)?, flags))
            }
        };
        Ok(self.with_reference(prototype, call, result))
    }

    fn with_reference(&mut self, prototype: &Prototype, call: &KfuncCall, mut result: Register) -> Register {
        if !result.kind.is_pointer() {
            return result;
        }
        let counted = prototype.name == "bpf_refcount_acquire_impl" && call.owned;
        result.nullable = prototype.traits.contains(Traits::OR_NULL) && !counted;
        if result.nullable {
            result.id = self.fresh_id();
        }
        if prototype.traits.contains(Traits::ACQUIRES) {
            let object = self.acquire();
            result.object = object;
            if result.nullable {
                result.id = object;
            }
        }
        if result.id == 0 && self.may_hold_lock(&result) {
            result.id = self.fresh_id();
        }
        result
    }

    /// Results that follow rules of their own.
    fn special_result(&mut self, prototype: &Prototype, call: &KfuncCall) -> Check<Option<Register>> {
        let name = prototype.name;
        Ok(Some(match name {
            "bpf_obj_new_impl" | "bpf_percpu_obj_new_impl" => self.new_object(name, call)?,
            "bpf_refcount_acquire_impl" => {
                let of = call.allocated.ok_or(Reason::NotRefcounted { reg: Reg::R1 })?;
                Register::pointer(Kind::Object(of, MemFlags::ALLOCATED))
            }
            "bpf_list_push_front_impl" | "bpf_list_push_back_impl" | "bpf_rbtree_add_impl" => {
                self.lend(Reg::R2)?;
                Register::unknown()
            }
            "bpf_list_pop_front" | "bpf_list_pop_back" | "bpf_list_front" | "bpf_list_back"
            | "bpf_rbtree_first" | "bpf_rbtree_remove" | "bpf_rbtree_root" | "bpf_rbtree_left"
            | "bpf_rbtree_right" => {
                let node = self.node_of(call.collection)?;
                // Borrowed for as long as the lock is held.
                if prototype.traits.contains(Traits::ACQUIRES) { node } else { borrowed(node) }
            }
            "bpf_cast_to_kern_ctx" => {
                let of = self.kernel_type(self.kernel_context()?)?;
                Register::pointer(Kind::Object(of, MemFlags::TRUSTED))
            }
            "bpf_rdonly_cast" => self.cast_to(call)?,
            "bpf_dynptr_slice" | "bpf_dynptr_slice_rdwr" => self.slice_of(name, call)?,
            "bpf_res_spin_lock" | "bpf_res_spin_lock_irqsave" => Register::constant(0),
            "bpf_dynptr_from_skb" | "bpf_dynptr_from_xdp" | "bpf_dynptr_from_skb_meta" => Register::unknown(),
            _ => return Ok(None),
        }))
    }

    /// `bpf_obj_new` and its relative for each CPU: an object of a type of the program's own BTF.
    fn new_object(&mut self, name: &str, call: &KfuncCall) -> Check<Register> {
        let bad = || Reason::NotConstant { reg: Reg::R1 };
        let id = call.constant.and_then(|id| u32::try_from(id).ok());
        let own = id.and_then(|id| self.program.btf.as_deref()?.get(TypeId(id)));
        let Some((id, BtfKind::Struct(members))) = own.map(|found| (found.id, found.kind)) else {
            return Err(bad().into());
        };
        let of = TypeRef::own(id.0);
        if name == "bpf_obj_new_impl" {
            return Ok(Register::pointer(Kind::Object(of, MemFlags::ALLOCATED)));
        }
        let types = &self.tables.types;
        if members.size > PERCPU_OBJECT || !types.only_numbers(of) || !types.fields(of).is_empty() {
            return Err(bad().into());
        }
        Ok(Register::pointer(Kind::Object(of, MemFlags::ALLOCATED | MemFlags::PERCPU)))
    }

    /// `bpf_rdonly_cast`: a type of the kernel by number.
    fn cast_to(&mut self, call: &KfuncCall) -> Check<Register> {
        let Some(kernel) = self.tables.types.kernel() else {
            return Err(Stop::Unsupported("the kernel's types".to_owned()));
        };
        let id = call.constant.and_then(|id| u32::try_from(id).ok());
        let found = id.and_then(|id| kernel.get(TypeId(id)));
        match found.map(|found| (found.id, found.kind)) {
            Some((id, BtfKind::Struct(_) | BtfKind::Union(_))) => {
                Ok(Register::pointer(Kind::Object(TypeRef::kernel(id.0), MemFlags::UNTRUSTED)))
            }
            Some((_, BtfKind::Void)) => Ok(super::object::plain_pointer()),
            Some(_) | None => Err(Reason::NotConstant { reg: Reg::R2 }.into()),
        }
    }

    /// The kernel's structure behind the context of this program type.
    fn kernel_context(&self) -> Check<&'static str> {
        let name = match self.tables.layout {
            ContextLayout::Fields { name, .. } | ContextLayout::Raw { name, .. } => name,
            ContextLayout::Memory | ContextLayout::Kernel => "",
        };
        Ok(match name {
            "__sk_buff" => "sk_buff",
            "xdp_md" => "xdp_buff",
            "bpf_sock" => "sock",
            "bpf_sock_addr" => "bpf_sock_addr_kern",
            "bpf_sock_ops" => "bpf_sock_ops_kern",
            "sk_msg_md" => "sk_msg",
            "bpf_sysctl" => "bpf_sysctl_kern",
            "bpf_sockopt" => "bpf_sockopt_kern",
            "sk_reuseport_md" => "sk_reuseport_kern",
            "bpf_sk_lookup" => "bpf_sk_lookup_kern",
            "bpf_perf_event_data" => "bpf_perf_event_data_kern",
            "bpf_cgroup_dev_ctx" => "bpf_cgroup_dev_ctx",
            "bpf_flow_dissector" => "bpf_flow_dissector",
            "bpf_nf_ctx" => "bpf_nf_ctx",
            "pt_regs" => "pt_regs",
            _ => return Err(Stop::Unsupported("the kernel's own context of this program type".to_owned())),
        })
    }

    /// `bpf_dynptr_slice` and its writable relative.
    fn slice_of(&mut self, name: &str, call: &KfuncCall) -> Check<Register> {
        let dynptr = call.dynptr.ok_or(Reason::NotADynptr { reg: Reg::R1 })?;
        let size = call.constant.and_then(|size| u32::try_from(size).ok());
        let size = size.ok_or(Reason::NotConstant { reg: Reg::R4 })?;
        let read_only = name == "bpf_dynptr_slice";
        let packet = matches!(dynptr.kind, DynptrType::Skb | DynptrType::Xdp | DynptrType::SkbMeta);
        // Linux asks whether the program may write packets, whatever the dynptr is of.
        let asked = packet || self.options.policy.linux_instructions;
        if !read_only && asked && !self.tables.may_write_packet() {
            let kind = if packet { "packet" } else { "slice" };
            return Err(Reason::ReadOnly { kind }.into());
        }
        self.dynptr_memory(dynptr, size, read_only)
    }

    /// Memory that a slice may be copied to.
    pub(super) fn slice_buffer(&mut self, reg: Reg, size: u32) -> Check {
        let buffer = self.read(reg)?;
        let buffer = Register { nullable: false, ..buffer };
        let span = Span { reg, off: 0, size };
        let mut fact = CallFact::default();
        if let Kind::Stack(frame) = buffer.kind
            && !self.options.policy.allow_uninitialised_stack
            && buffer.has_constant_offset()
            && size > 0
        {
            // Only written: what is read is the slice, which is the buffer once it was filled.
            let frame = usize::from(frame);
            let (low, high) = self.stack_span(frame, &buffer, span)?;
            if self.overlaps_dynptr(frame, low, high) {
                return Err(Reason::ObjectAccess { reg }.into());
            }
            return self.stack_touched(frame, low, high);
        }
        self.helper_memory(&buffer, span, Access::Read, true, true, &mut fact)?;
        self.helper_memory(&buffer, span, Access::Write, true, true, &mut fact)
    }

    fn throw(&mut self) -> Check<Next> {
        let cookie = self.read(Reg::R1)?;
        if !cookie.is_scalar() {
            let found = cookie.kind.name();
            return Err(Reason::ArgumentType { reg: Reg::R1, expected: "a number", found }.into());
        }
        let outermost = self.state.frames[0].subprogram as usize; // u32 to usize
        if self.state.frames.iter().any(|frame| frame.callback.is_some())
            || self.program.exception_callback == Some(outermost)
        {
            return Err(Reason::ThrowInCallback.into());
        }
        self.nothing_held("an exception", true)?;
        // With a callback that one decides what the program returns.
        if self.program.exception_callback.is_none() {
            self.returns_from_program(Reg::R1)?;
        }
        Ok(Next::End)
    }

    /// The path on which a resilient lock could not be taken.
    fn push_failed_lock(&mut self) -> Check {
        let mut failed = self.state.clone();
        let frame = failed.current_mut();
        for reg in crate::isa::effects::RegSet::CALLER_SAVED.iter() {
            frame.registers[reg.index()] = Register::UNINIT;
        }
        *failed.register_mut(Reg::R0) = Register::scalar(Scalar::signed(-4095, -1));
        self.push_pending(failed, self.at.next())
    }
}

/// Memory that a kernel function or an iterator lends; `object` is what it belongs to.
pub(super) fn memory_returned(name: &str, size: u32, object: u32) -> Register {
    let flags = if name == "bpf_session_cookie" { MemFlags::empty() } else { MemFlags::READ_ONLY };
    let size = i32::try_from(size).unwrap_or(0);
    Register { size, object, ..Register::pointer(Kind::Memory(flags)) }
}

/// What may be called while a spin lock is held.
fn serves_in_lock(name: &str) -> bool {
    name.starts_with("bpf_iter_num_")
        || name.starts_with("bpf_res_spin_")
        || name.starts_with("bpf_list_")
        || name.starts_with("bpf_rbtree_")
        || name == "bpf_refcount_acquire_impl"
        || name == "bpf_stream_vprintk_impl"
}

/// A pointer argument that must not have been moved.
pub(super) fn unmoved(register: &Register) -> Check {
    context::unmodified(register)
}
