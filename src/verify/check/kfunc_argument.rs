//! Arguments of kernel functions, by their kinds.
#![forbid(unsafe_code)]

use super::alu::MAX_VARIABLE_OFFSET;
use super::kfunc::KfuncCall;
use super::memory::{Access, Span};
use crate::isa::Reg;
use crate::verify::explore::{Check, Stop, Verifier};
use crate::verify::facts::CallFact;
use crate::verify::kfuncs::{Argument, Prototype, Traits};
use crate::verify::report::Reason;
use crate::verify::state::{DynptrType, Kind, MemFlags, Register};
use beelift_runtime::ctx::ContextLayout;
use beelift_runtime::map::SpecialKind;

impl Verifier<'_> {
    pub(super) fn kfunc_arguments(&mut self, prototype: &'static Prototype, call: &mut KfuncCall) -> Check {
        for (index, argument) in prototype.arguments.iter().enumerate() {
            self.kfunc_argument(prototype, index, *argument, call)?;
        }
        Ok(())
    }

    fn kfunc_argument(
        &mut self,
        prototype: &'static Prototype,
        index: usize,
        argument: Argument,
        call: &mut KfuncCall,
    ) -> Check {
        let reg = Reg::ARGS[index];
        if argument == Argument::Program {
            return Ok(());
        }
        let register = self.read(reg)?;
        match argument {
            // An address in an arena is a number for all to see.
            Argument::Ignored
                if prototype.name.starts_with("bpf_arena_")
                    && register.kind != Kind::Arena
                    && self.leaks(&register) =>
            {
                return Err(Reason::PointerLeak { into: "a kernel function" }.into());
            }
            Argument::Ignored | Argument::Program => return Ok(()),
            Argument::Number => return self.number(reg, &register),
            Argument::Constant => {
                self.number(reg, &register)?;
                let value = register.value.constant().ok_or(Reason::NotConstant { reg })?;
                self.rely_on(reg);
                call.constant = Some(value);
                return Ok(());
            }
            // Checked with the memory before it.
            Argument::Size | Argument::ConstSize => return Ok(()),
            _ => {}
        }
        let traits = prototype.traits;
        let trusted = traits.intersects(Traits::TRUSTED | Traits::RELEASES);
        let may_be_null =
            matches!(argument, Argument::ObjectOrNull(_) | Argument::DynptrOrNull | Argument::SizedOrNull);
        if (trusted || traits.contains(Traits::RCU))
            && (register.is_null() || register.nullable)
            && !may_be_null
        {
            return Err(expected(reg, "a pointer that is not null", &register));
        }
        if register.object != 0 {
            // What releases takes one pointer.
            call.held = Some((reg, register.object));
        }
        let memory = matches!(argument, Argument::Sized | Argument::SizedOrNull);
        if may_be_null && register.is_null() && !memory {
            return Ok(());
        }
        self.kfunc_pointer(prototype, index, argument, &register, call)
    }

    fn number(&self, reg: Reg, register: &Register) -> Check {
        if register.is_scalar() { Ok(()) } else { Err(expected(reg, "a number", register)) }
    }

    fn kfunc_pointer(
        &mut self,
        prototype: &'static Prototype,
        index: usize,
        argument: Argument,
        register: &Register,
        call: &mut KfuncCall,
    ) -> Check {
        let reg = Reg::ARGS[index];
        match argument {
            Argument::Ignored
            | Argument::Program
            | Argument::Number
            | Argument::Constant
            | Argument::Size
            | Argument::ConstSize => Ok(()),
            Argument::Any => {
                if register.kind != Kind::Context {
                    return Err(expected(reg, "the context", register));
                }
                super::kfunc::unmoved(register)
            }
            Argument::Context(name) => self.kfunc_context(prototype, reg, name, register, call),
            Argument::Object(name) | Argument::ObjectOrNull(name) => {
                self.kfunc_object(prototype, reg, name, register)
            }
            Argument::Fixed(size) => self.kfunc_memory(reg, register, size, size),
            Argument::Sized | Argument::SizedOrNull => self.sized(prototype, index, register, call),
            Argument::Text => self.constant_string(reg, register).map(|_| ()),
            // A map that the kernel handed to the program: which one it is nobody knows before.
            Argument::Map if matches!(register.kind, Kind::Object(..)) && call.work.is_none() => {
                if !register.is_trusted() {
                    return Err(Reason::NotTrusted { reg }.into());
                }
                self.kfunc_object(prototype, reg, "bpf_map", register)
            }
            Argument::Map => {
                let Kind::Map(map) = register.kind else { return Err(expected(reg, "a map", register)) };
                if call.work.is_some_and(|work| work != (map, register.owner)) {
                    return Err(Reason::TimerOfOtherMap { reg }.into());
                }
                call.map = Some((map, register.owner));
                Ok(())
            }
            Argument::Dynptr | Argument::DynptrOrNull => {
                call.dynptr = Some(self.dynptr_at(reg, register)?);
                Ok(())
            }
            Argument::DynptrNew => self.kfunc_new_dynptr(prototype, reg, register, call),
            Argument::Iterator(iterator) => {
                if prototype.name.ends_with("_new") {
                    self.new_iterator(iterator, prototype)
                } else if prototype.name.ends_with("_destroy") {
                    self.end_iterator(iterator)
                } else {
                    self.iterator_at(iterator).map(|_| ())
                }
            }
            Argument::IrqFlag => {
                let lock = prototype.name.starts_with("bpf_res_spin_");
                let saves = matches!(prototype.name, "bpf_local_irq_save" | "bpf_res_spin_lock_irqsave");
                if saves { self.save_irq(reg, lock) } else { self.restore_irq(reg, lock) }
            }
            Argument::Callback => match register.kind {
                Kind::Function(subprogram) => {
                    call.callback = Some(subprogram as usize);
                    Ok(())
                }
                _ => Err(expected(reg, "a function", register)),
            },
            Argument::Allocated => self.allocated(prototype, reg, register, call),
            Argument::Refcounted => self.refcounted(reg, register, call),
            Argument::ListHead => self.collection(reg, register, SpecialKind::ListHead, call),
            Argument::RbRoot => self.collection(reg, register, SpecialKind::RbRoot, call),
            Argument::ListNode => self.node(prototype, reg, register, call),
            Argument::RbNode => self.node(prototype, reg, register, call),
            Argument::ResLock => {
                let irq = prototype.name.contains("_irq");
                let lock = prototype.name.starts_with("bpf_res_spin_lock");
                self.lock(reg, register, SpecialKind::ResSpinLock, irq, lock)
            }
            Argument::Workqueue => self.work(reg, register, SpecialKind::Workqueue, call),
            Argument::TaskWork => self.work(reg, register, SpecialKind::TaskWork, call),
        }
    }

    /// The context where its type is the program's; an object of the kernel elsewhere.
    fn kfunc_context(
        &mut self,
        prototype: &'static Prototype,
        reg: Reg,
        name: &'static str,
        register: &Register,
        call: &mut KfuncCall,
    ) -> Check {
        let own = match self.tables.layout {
            ContextLayout::Fields { name, .. } | ContextLayout::Raw { name, .. } => name,
            ContextLayout::Memory | ContextLayout::Kernel => "",
        };
        let _ = call;
        if own == name {
            if register.kind != Kind::Context {
                return Err(expected(reg, "the context", register));
            }
            return super::kfunc::unmoved(register);
        }
        let kernel = if name == "xdp_md" { "xdp_buff" } else { "sk_buff" };
        self.kfunc_object(prototype, reg, kernel, register)
    }

    fn kfunc_object(
        &mut self,
        prototype: &'static Prototype,
        reg: Reg,
        name: &'static str,
        register: &Register,
    ) -> Check {
        let traits = prototype.traits;
        let wanted = self.kernel_type(name)?;
        let object = matches!(register.kind, Kind::Object(..) | Kind::Socket(_) | Kind::Map(_));
        if !object {
            // Plain memory serves where the structure is nothing but numbers.
            let size = self.tables.types.size(wanted).unwrap_or(0);
            if self.tables.types.only_numbers(wanted) && size > 0 {
                return self.kfunc_memory(reg, register, size, size);
            }
            return Err(expected(reg, "a kernel object", register));
        }
        let trusted = register.is_trusted() || matches!(register.kind, Kind::Map(_));
        if traits.intersects(Traits::TRUSTED | Traits::RELEASES) && !trusted {
            return Err(Reason::NotTrusted { reg }.into());
        }
        if traits.contains(Traits::RCU) && !trusted && !register.is_rcu() {
            return Err(Reason::NotRcu { reg }.into());
        }
        if register.nullable
            || matches!(register.kind, Kind::Object(_, flags)
                if flags.intersects(MemFlags::UNTRUSTED | MemFlags::USER | MemFlags::PERCPU))
        {
            return Err(expected(reg, "a valid pointer", register));
        }
        let releases = traits.contains(Traits::RELEASES) && register.object != 0;
        if releases {
            super::kfunc::unmoved(register)?;
        }
        let strict = traits.contains(Traits::ACQUIRES) || releases || self.is_draft_of(register, name);
        self.is_object_of(reg, register, wanted, strict)
    }

    /// Whether what is given is a draft of what is wanted (`nf_conn___init`), or the other way round: neither stands
    /// for the other, though one starts with the other.
    fn is_draft_of(&self, register: &Register, wanted: &str) -> bool {
        let found = self.type_of(register).map_or("", |of| self.tables.types.name(of));
        found.strip_suffix("___init") == Some(wanted) || wanted.strip_suffix("___init") == Some(found)
    }

    /// Memory that is read and written; null is taken as none.
    fn kfunc_memory(&mut self, reg: Reg, register: &Register, size: u32, least: u32) -> Check {
        let _ = least;
        if register.is_null() {
            return Ok(());
        }
        let valid = Register { nullable: false, ..*register };
        let span = Span { reg, off: 0, size };
        let mut fact = CallFact::default();
        self.helper_memory(&valid, span, Access::Read, true, false, &mut fact)?;
        self.helper_memory(&valid, span, Access::Write, true, false, &mut fact)
    }

    /// Memory with its size in the next register.
    fn sized(
        &mut self,
        prototype: &'static Prototype,
        index: usize,
        register: &Register,
        call: &mut KfuncCall,
    ) -> Check {
        let (reg, size_reg) = (Reg::ARGS[index], Reg::ARGS[index + 1]);
        let size = self.read(size_reg)?;
        self.number(size_reg, &size)?;
        if prototype.arguments[index + 1] == Argument::ConstSize {
            let value = size.value.constant().ok_or(Reason::NotConstant { reg: size_reg })?;
            call.constant = Some(value);
        }
        self.rely_on(size_reg);
        if register.is_null() && prototype.arguments[index] == Argument::SizedOrNull {
            return Ok(());
        }
        if size.value.smin() < 0 {
            return Err(Reason::SizeNegative { reg: size_reg }.into());
        }
        if size.value.umax() >= MAX_VARIABLE_OFFSET.cast_unsigned() {
            return Err(Reason::SizeUnbounded { reg: size_reg }.into());
        }
        let bytes = size.value.umax() as u32; // below 2^29
        if register.is_null() {
            return if bytes == 0 { Ok(()) } else { Err(expected(reg, "memory", register)) };
        }
        if prototype.name.starts_with("bpf_dynptr_slice") {
            return self.slice_buffer(reg, bytes);
        }
        self.kfunc_memory(reg, register, bytes, bytes)
    }

    fn kfunc_new_dynptr(
        &mut self,
        prototype: &'static Prototype,
        reg: Reg,
        register: &Register,
        call: &KfuncCall,
    ) -> Check {
        let (kind, shared) = match prototype.name {
            "bpf_dynptr_from_skb" => (DynptrType::Skb, None),
            "bpf_dynptr_from_xdp" => (DynptrType::Xdp, None),
            "bpf_dynptr_from_skb_meta" => (DynptrType::SkbMeta, None),
            _ => {
                let parent = call.dynptr.ok_or(Reason::NotADynptr { reg })?;
                (parent.kind, Some(parent.object))
            }
        };
        self.make_dynptr(reg, register, kind, shared)
    }

    /// What `bpf_obj_new` made, held; it goes back.
    fn allocated(
        &mut self,
        prototype: &'static Prototype,
        reg: Reg,
        register: &Register,
        call: &mut KfuncCall,
    ) -> Check {
        let wanted = match prototype.name {
            "bpf_obj_drop_impl" => MemFlags::ALLOCATED,
            _ => MemFlags::ALLOCATED | MemFlags::PERCPU,
        };
        match register.kind {
            Kind::Object(of, flags) if flags == wanted => call.allocated = Some(of),
            _ => return Err(expected(reg, "an allocated object", register)),
        }
        super::kfunc::unmoved(register)
    }

    /// What `bpf_obj_new` made, with a reference count.
    fn refcounted(&mut self, reg: Reg, register: &Register, call: &mut KfuncCall) -> Check {
        let Kind::Object(of, flags) = register.kind else {
            return Err(expected(reg, "an allocated object", register));
        };
        if !flags.contains(MemFlags::ALLOCATED) || register.nullable {
            return Err(expected(reg, "an allocated object", register));
        }
        if !register.is_trusted() && !register.is_rcu() {
            return Err(Reason::NotRcu { reg }.into());
        }
        call.owned = register.object != 0;
        let fields = self.tables.types.fields(of);
        if !fields.iter().any(|field| field.kind == SpecialKind::Refcount) {
            return Err(Reason::NotRefcounted { reg }.into());
        }
        call.allocated = Some(of);
        Ok(())
    }

    /// A work queue or task work in a map value.
    fn work(&self, reg: Reg, register: &Register, kind: SpecialKind, call: &mut KfuncCall) -> Check {
        let Kind::MapValue(map) = register.kind else {
            return Err(expected(reg, "a map value", register));
        };
        let def = self.tables.map(map);
        let field = def.fields.iter().find(|field| field.kind == kind);
        if register.nullable
            || field.is_none_or(|field| register.constant_offset() != Some(i64::from(field.offset)))
        {
            return Err(expected(reg, "a work queue", register));
        }
        call.work = Some((map, register.owner));
        Ok(())
    }
}

pub(super) fn expected(reg: Reg, expected: &'static str, register: &Register) -> Stop {
    let found = if register.nullable { "a pointer that may be null" } else { register.kind.name() };
    Reason::ArgumentType { reg, expected, found }.into()
}
