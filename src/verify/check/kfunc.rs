//! Kernel functions by name: those whose contract is written down here. Others are not supported.
#![forbid(unsafe_code)]

use std::rc::Rc;

use super::context;
use super::memory::{Access, Span};
use crate::isa::{KfuncSlot, Reg};
use crate::verify::explore::{Check, Next, Stop, Verifier};
use crate::verify::facts::CallFact;
use crate::verify::report::Reason;
use crate::verify::state::{
    Byte, DynptrType, Kind, MemFlags, Register, Resource, ResourceKind, Slot, Special, SpecialSlot, Stack,
};
use beelift_runtime::ctx::ProgramType;

/// Kinds of iterators by number: that of `bpf_iter_num`.
const ITERATOR_NUM: u32 = 0;
/// BTF types of kernel objects that programs hold references to.
const OBJECTS: [&str; 3] = ["task_struct", "bpf_cpumask", "cgroup"];
const TASK: u32 = 0;
const CPUMASK: u32 = 1;
const CGROUP: u32 = 2;

impl Verifier<'_> {
    pub(super) fn kfunc_call(&mut self, slot: KfuncSlot) -> Check<Next> {
        let program = self.program;
        let name = program.kfuncs.get(slot.0 as usize).map_or("?", |kfunc| kfunc.name.as_str());
        let references = &self.state.references;
        if references.locks() > 0 && !name.starts_with("bpf_iter_num_") {
            return Err(Reason::CallInLock.into());
        }
        if is_for_task_contexts(name) && !has_object_kfuncs(self.tables.program_type(), name) {
            let program_type = self.tables.program_type();
            return Err(Reason::KfuncNotAllowed { name: name.to_owned(), program_type }.into());
        }
        self.observed.call(self.at, CallFact { stack_escapes: true, ..CallFact::default() });
        let result = match name {
            "bpf_rcu_read_lock" | "bpf_rcu_read_unlock" | "bpf_preempt_disable" | "bpf_preempt_enable" => {
                self.section(name)?;
                Register::UNINIT
            }
            "bpf_local_irq_save" => {
                self.save_irq()?;
                Register::UNINIT
            }
            "bpf_local_irq_restore" => {
                self.restore_irq()?;
                Register::UNINIT
            }
            "bpf_throw" => return self.throw(),
            "bpf_arena_alloc_pages" => {
                self.arena_pages("bpf_arena_alloc_pages", &[Reg::R3, Reg::R4, Reg::R5])?;
                Register::unknown()
            }
            "bpf_arena_free_pages" => {
                self.arena_pages("bpf_arena_free_pages", &[Reg::R3])?;
                Register::UNINIT
            }
            "bpf_arena_reserve_pages" => {
                self.arena_pages("bpf_arena_reserve_pages", &[Reg::R3])?;
                Register::unknown()
            }
            "bpf_iter_num_new" => {
                self.number(Reg::R2)?;
                self.number(Reg::R3)?;
                self.new_iterator()?;
                Register::unknown()
            }
            "bpf_iter_num_next" => return self.next_of_iterator(),
            "bpf_iter_num_destroy" => {
                self.end_iterator()?;
                Register::UNINIT
            }
            "bpf_dynptr_from_skb" => self.packet_dynptr(DynptrType::Skb)?,
            "bpf_dynptr_from_xdp" => self.packet_dynptr(DynptrType::Xdp)?,
            "bpf_dynptr_slice" => self.slice(true)?,
            "bpf_dynptr_slice_rdwr" => self.slice(false)?,
            "bpf_dynptr_size" | "bpf_dynptr_is_null" | "bpf_dynptr_is_rdonly" => {
                let pointer = self.read(Reg::R1)?;
                self.dynptr_at(Reg::R1, &pointer)?;
                Register::unknown()
            }
            "bpf_dynptr_adjust" => {
                let pointer = self.read(Reg::R1)?;
                self.dynptr_at(Reg::R1, &pointer)?;
                self.number(Reg::R2)?;
                self.number(Reg::R3)?;
                Register::unknown()
            }
            "bpf_dynptr_clone" => self.clone_dynptr()?,
            "bpf_dynptr_copy" => {
                for (dynptr, offset) in [(Reg::R1, Reg::R2), (Reg::R3, Reg::R4)] {
                    let pointer = self.read(dynptr)?;
                    self.dynptr_at(dynptr, &pointer)?;
                    self.number(offset)?;
                }
                self.number(Reg::R5)?;
                Register::unknown()
            }
            "bpf_dynptr_memset" => {
                let pointer = self.read(Reg::R1)?;
                self.dynptr_at(Reg::R1, &pointer)?;
                for reg in [Reg::R2, Reg::R3, Reg::R4] {
                    self.number(reg)?;
                }
                Register::unknown()
            }
            "bpf_strcmp" | "bpf_strcasecmp" | "bpf_strchr" | "bpf_strchrnul" | "bpf_strnchr"
            | "bpf_strrchr" | "bpf_strlen" | "bpf_strnlen" | "bpf_strspn" | "bpf_strcspn" | "bpf_strstr"
            | "bpf_strnstr" => {
                self.strings(name)?;
                Register::unknown()
            }
            "bpf_task_from_pid" => {
                self.number(Reg::R1)?;
                self.acquired(TASK)
            }
            "bpf_cgroup_from_id" => {
                self.number(Reg::R1)?;
                self.acquired(CGROUP)
            }
            "bpf_cpumask_create" => self.acquired(CPUMASK),
            "bpf_task_acquire" => {
                self.object(Reg::R1, TASK)?;
                self.acquired(TASK)
            }
            "bpf_cpumask_acquire" => {
                self.object(Reg::R1, CPUMASK)?;
                let pointer = self.acquired(CPUMASK);
                Register { nullable: false, ..pointer }
            }
            "bpf_task_release" => self.given_back(TASK)?,
            "bpf_cgroup_release" => self.given_back(CGROUP)?,
            "bpf_cpumask_release" => self.given_back(CPUMASK)?,
            "bpf_cpumask_set_cpu" | "bpf_cpumask_clear_cpu" => {
                self.number(Reg::R1)?;
                self.object(Reg::R2, CPUMASK)?;
                Register::UNINIT
            }
            "bpf_obj_new_impl" => self.new_object()?,
            "bpf_obj_drop_impl" => self.drop_object()?,
            _ => return Err(Stop::Unsupported(format!("kfunc {name}"))),
        };
        self.forget_caller_saved();
        *self.state.register_mut(Reg::R0) = result;
        Ok(Next::To(self.at.next()))
    }

    pub(super) fn number(&mut self, reg: Reg) -> Check<Register> {
        let register = self.read(reg)?;
        if register.is_scalar() {
            return Ok(register);
        }
        Err(Reason::ArgumentType { reg, expected: "a number", found: register.kind.name() }.into())
    }

    /// Enters or leaves an RCU read section or a section without preemption.
    fn section(&mut self, name: &str) -> Check {
        let references = Rc::make_mut(&mut self.state.references);
        match name {
            "bpf_rcu_read_lock" if references.rcu > 0 => return Err(Reason::SectionNested.into()),
            "bpf_rcu_read_lock" => references.rcu += 1,
            "bpf_rcu_read_unlock" if references.rcu == 0 => return Err(Reason::NotInSection.into()),
            "bpf_rcu_read_unlock" => {
                references.rcu -= 1;
                self.state.for_each(
                    |register| matches!(register.kind, Kind::Object(_, flags) if flags.contains(MemFlags::RCU)),
                    |register| {
                        if let Kind::Object(_, flags) = &mut register.kind {
                            flags.remove(MemFlags::RCU);
                            flags.insert(MemFlags::UNTRUSTED);
                        }
                    },
                );
            }
            "bpf_preempt_disable" => references.preempt += 1,
            _ if references.preempt == 0 => return Err(Reason::NotInSection.into()),
            _ => references.preempt -= 1,
        }
        Ok(())
    }

    /// Frame and slot of an 8-byte object on the stack.
    fn object_place(&mut self, reg: Reg) -> Check<(usize, usize)> {
        let register = self.read(reg)?;
        let bad = || Reason::NotAnObject { reg };
        let Kind::Stack(frame) = register.kind else { return Err(bad().into()) };
        let off = register.constant_offset().ok_or_else(bad)?;
        if off % 8 != 0 || !(-512..=-8).contains(&off) {
            return Err(bad().into());
        }
        Ok((usize::from(frame), Stack::place(off).0))
    }

    fn put_object(&mut self, frame: usize, slot: usize, special: Special, object: u32) -> Check {
        let held = self.state.frames[frame].stack.slot(slot).special;
        if held.is_some_and(|held| !matches!(held.special, Special::Dynptr(_))) {
            return Err(Reason::NotAnObject { reg: Reg::R1 }.into());
        }
        self.destroy_special(frame, slot)?;
        let subprogram = self.state.frames[frame].subprogram as usize;
        let depth = &mut self.observed.stack_depth[subprogram];
        *depth = (*depth).max(8 * (slot as u32 + 1)); // at most 512
        let special =
            SpecialSlot { special, first: true, object, id: 0, active: true, depth: 0, read_only: false };
        *self.state.frame_mut(frame).stack_mut().slot_mut(slot) =
            Slot { bytes: [Byte::Special; 8], spilled: Register::UNINIT, special: Some(special) };
        self.state.written[frame] |= 1 << slot;
        Ok(())
    }

    fn object_at(&mut self, reg: Reg, wanted: Special) -> Check<(usize, usize, SpecialSlot)> {
        let (frame, slot) = self.object_place(reg)?;
        self.note_reads(frame, 1 << slot);
        match self.state.frames[frame].stack.slot(slot).special {
            Some(object) if object.special == wanted => Ok((frame, slot, object)),
            Some(_) | None => Err(Reason::NotAnObject { reg }.into()),
        }
    }

    fn save_irq(&mut self) -> Check {
        let (frame, slot) = self.object_place(Reg::R1)?;
        let id = self.fresh_id();
        self.put_object(frame, slot, Special::IrqFlag, id)?;
        let resource = Resource { id, kind: ResourceKind::Irq, insn: self.at };
        Rc::make_mut(&mut self.state.references).held.push(resource);
        Ok(())
    }

    fn restore_irq(&mut self) -> Check {
        let (frame, slot, object) = self.object_at(Reg::R1, Special::IrqFlag)?;
        let references = Rc::make_mut(&mut self.state.references);
        if references.newest_irq() != Some(object.object) {
            return Err(Reason::SectionOrder.into());
        }
        references.held.retain(|held| held.id != object.object);
        *self.state.frame_mut(frame).stack_mut().slot_mut(slot) = Slot::INVALID;
        Ok(())
    }

    fn throw(&mut self) -> Check<Next> {
        self.number(Reg::R1)?;
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

    fn new_iterator(&mut self) -> Check {
        let (frame, slot) = self.object_place(Reg::R1)?;
        let id = self.acquire();
        self.put_object(frame, slot, Special::Iterator(ITERATOR_NUM), id)
    }

    fn next_of_iterator(&mut self) -> Check<Next> {
        let (frame, slot, object) = self.object_at(Reg::R1, Special::Iterator(ITERATOR_NUM))?;
        self.forget_caller_saved();
        let next = self.at.next();
        if object.active {
            let mut yields = self.state.clone();
            self.widen_unlike_last_turn(&mut yields);
            if let Some(special) = &mut yields.frame_mut(frame).stack_mut().slot_mut(slot).special {
                special.depth += 1;
            }
            let flags = MemFlags::READ_ONLY;
            *yields.register_mut(Reg::R0) =
                Register { size: 4, object: object.object, ..Register::pointer(Kind::Memory(flags)) };
            self.push_pending(yields, next)?;
        }
        if let Some(special) = &mut self.state.frame_mut(frame).stack_mut().slot_mut(slot).special {
            special.active = false;
        }
        *self.state.register_mut(Reg::R0) = Register::constant(0);
        Ok(Next::To(next))
    }

    fn end_iterator(&mut self) -> Check {
        let (frame, slot, object) = self.object_at(Reg::R1, Special::Iterator(ITERATOR_NUM))?;
        self.release_object(object.object)?;
        *self.state.frame_mut(frame).stack_mut().slot_mut(slot) = Slot::INVALID;
        Ok(())
    }

    fn packet_dynptr(&mut self, kind: DynptrType) -> Check<Register> {
        let fits = match self.tables.program_type() {
            ProgramType::Xdp => kind == DynptrType::Xdp,
            program_type => kind == DynptrType::Skb && has_skb_dynptr(program_type),
        };
        if !fits {
            let name = if kind == DynptrType::Xdp { "bpf_dynptr_from_xdp" } else { "bpf_dynptr_from_skb" };
            let program_type = self.tables.program_type();
            return Err(Reason::KfuncNotAllowed { name: name.to_owned(), program_type }.into());
        }
        let given = self.read(Reg::R1)?;
        if given.kind != Kind::Context {
            let found = given.kind.name();
            return Err(Reason::ArgumentType { reg: Reg::R1, expected: "the context", found }.into());
        }
        context::unmodified(&given)?;
        self.number(Reg::R2)?;
        let place = self.read(Reg::R3)?;
        self.make_dynptr(Reg::R3, &place, kind, None)?;
        Ok(Register::unknown())
    }

    /// Another dynptr of the same memory, which goes with it.
    fn clone_dynptr(&mut self) -> Check<Register> {
        let pointer = self.read(Reg::R1)?;
        let dynptr = self.dynptr_at(Reg::R1, &pointer)?;
        let place = self.read(Reg::R2)?;
        self.make_dynptr(Reg::R2, &place, dynptr.kind, Some(dynptr.object))?;
        Ok(Register::unknown())
    }

    /// Strings may lie anywhere; they are read with care.
    fn strings(&mut self, name: &str) -> Check {
        let (pointers, numbers): (&[Reg], &[Reg]) = match name {
            "bpf_strlen" => (&[Reg::R1], &[]),
            "bpf_strchr" | "bpf_strchrnul" | "bpf_strrchr" | "bpf_strnlen" => (&[Reg::R1], &[Reg::R2]),
            "bpf_strnchr" => (&[Reg::R1], &[Reg::R2, Reg::R3]),
            "bpf_strnstr" => (&[Reg::R1, Reg::R2], &[Reg::R3]),
            _ => (&[Reg::R1, Reg::R2], &[]),
        };
        for &reg in pointers {
            self.read(reg)?;
        }
        for &reg in numbers {
            self.number(reg)?;
        }
        Ok(())
    }

    fn slice(&mut self, read_only: bool) -> Check<Register> {
        let pointer = self.read(Reg::R1)?;
        let dynptr = self.dynptr_at(Reg::R1, &pointer)?;
        self.number(Reg::R2)?;
        let buffer = self.read(Reg::R3)?;
        let size = self.number(Reg::R4)?.value.constant();
        let size = size.and_then(|size| u32::try_from(size).ok());
        let Some(size) = size else { return Err(Reason::NotConstant { reg: Reg::R4 }.into()) };
        if !read_only
            && matches!(dynptr.kind, DynptrType::Skb | DynptrType::Xdp)
            && !self.tables.may_write_packet()
        {
            return Err(Reason::ReadOnly { kind: "packet" }.into());
        }
        self.rely_on(Reg::R4);
        if !buffer.is_null() {
            if buffer.nullable {
                return Err(Reason::NullableAccess { reg: Reg::R3, kind: buffer.kind.name() }.into());
            }
            let span = Span { reg: Reg::R3, off: 0, size };
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
                    return Err(Reason::ObjectAccess { reg: Reg::R3 }.into());
                }
                self.stack_touched(frame, low, high)?;
                return self.dynptr_memory(dynptr, size, read_only);
            }
            self.helper_memory(&buffer, span, Access::Read, true, true, &mut fact)?;
            self.helper_memory(&buffer, span, Access::Write, true, true, &mut fact)?;
        }
        self.dynptr_memory(dynptr, size, read_only)
    }

    /// A new reference to a kernel object, or null.
    fn acquired(&mut self, object_type: u32) -> Register {
        let object = self.acquire();
        let kind = Kind::Object(object_type, MemFlags::TRUSTED);
        Register { nullable: true, id: object, object, ..Register::pointer(kind) }
    }

    /// A trusted, valid pointer to an object of that type.
    fn object(&mut self, reg: Reg, object_type: u32) -> Check<Register> {
        let register = self.read(reg)?;
        match register.kind {
            Kind::Object(found, flags)
                if found == object_type
                    && !register.nullable
                    && flags.intersects(MemFlags::TRUSTED | MemFlags::RCU) =>
            {
                context::unmodified(&register)?;
                Ok(register)
            }
            kind => {
                let expected = OBJECTS.get(object_type as usize).copied().unwrap_or("an object");
                let found = if register.nullable { "a pointer that may be null" } else { kind.name() };
                Err(Reason::ArgumentType { reg, expected, found }.into())
            }
        }
    }

    fn given_back(&mut self, object_type: u32) -> Check<Register> {
        let register = self.object(Reg::R1, object_type)?;
        if register.object == 0 {
            return Err(Reason::NotAcquired { reg: Reg::R1 }.into());
        }
        self.release_object(register.object)?;
        Ok(Register::UNINIT)
    }

    /// `bpf_obj_new`: memory of a type of the program's own BTF.
    fn new_object(&mut self) -> Check<Register> {
        let id = self.number(Reg::R1)?.value.constant().and_then(|id| u32::try_from(id).ok());
        let Some(id) = id else { return Err(Reason::NotConstant { reg: Reg::R1 }.into()) };
        self.rely_on(Reg::R1);
        let btf = self.program.btf.as_deref();
        let size = btf.and_then(|btf| btf.size_of(crate::btf::TypeId(id)));
        let Some(size) = size.and_then(|size| i32::try_from(size).ok()) else {
            return Err(Stop::Unsupported("bpf_obj_new of an unknown type".to_owned()));
        };
        let special =
            btf.is_some_and(|btf| !crate::btf::special_fields(btf, crate::btf::TypeId(id)).is_empty());
        if special {
            return Err(Stop::Unsupported("bpf_obj_new of a type with special fields".to_owned()));
        }
        let object = self.acquire();
        let kind = Kind::Memory(MemFlags::ALLOCATED);
        Ok(Register { nullable: true, id: object, object, size, ..Register::pointer(kind) })
    }

    fn drop_object(&mut self) -> Check<Register> {
        let register = self.read(Reg::R1)?;
        let allocated = matches!(register.kind, Kind::Memory(flags) if flags.contains(MemFlags::ALLOCATED));
        if !allocated || register.nullable {
            let found = if register.nullable { "a pointer that may be null" } else { register.kind.name() };
            return Err(Reason::ArgumentType { reg: Reg::R1, expected: "an allocated object", found }.into());
        }
        context::unmodified(&register)?;
        if register.object == 0 {
            return Err(Reason::NotAcquired { reg: Reg::R1 }.into());
        }
        self.release_object(register.object)?;
        Ok(Register::UNINIT)
    }
}

/// Kfuncs that only some program types may call.
fn is_for_task_contexts(name: &str) -> bool {
    name.starts_with("bpf_cpumask_")
        || name.starts_with("bpf_task_")
        || name.starts_with("bpf_cgroup_")
        || name.starts_with("bpf_obj_")
        || name == "bpf_throw"
}

fn has_object_kfuncs(program_type: ProgramType, name: &str) -> bool {
    use ProgramType as P;
    if name.starts_with("bpf_cpumask_") {
        return matches!(program_type, P::Tracepoint | P::PerfEvent | P::Syscall);
    }
    matches!(
        program_type,
        P::SchedCls
            | P::Tracepoint
            | P::Xdp
            | P::PerfEvent
            | P::CgroupSkb
            | P::CgroupSock
            | P::SockOps
            | P::CgroupDevice
            | P::CgroupSockAddr
            | P::CgroupSysctl
            | P::CgroupSockopt
            | P::Syscall
    )
}

fn has_skb_dynptr(program_type: ProgramType) -> bool {
    use ProgramType as P;
    matches!(
        program_type,
        P::SocketFilter
            | P::SchedCls
            | P::SchedAct
            | P::CgroupSkb
            | P::LwtIn
            | P::LwtOut
            | P::LwtXmit
            | P::LwtSeg6local
            | P::SkSkb
            | P::Netfilter
    )
}
