//! Calls of subprograms: static ones are walked as part of the caller, global ones are taken at their word.
#![forbid(unsafe_code)]

use std::rc::Rc;

use super::context;
use super::memory::{Access, Span};
use crate::isa::{Callee, InsnId, Reg};
use crate::link::Linkage;
use crate::verify::TAIL_CALL;
use crate::verify::explore::{Check, Next, Stop, Verifier};
use crate::verify::facts::{CallFact, StackArgument};
use crate::verify::precision::Note;
use crate::verify::prototype::ArgumentType;
use crate::verify::report::Reason;
use crate::verify::state::{Frame, Kind, MemFlags, Register};

impl Verifier<'_> {
    pub(super) fn call(&mut self, callee: Callee) -> Check<Next> {
        match callee {
            Callee::Helper(id) => self.helper_call(id),
            Callee::Subprogram(entry) => self.subprogram_call(entry),
            Callee::Kfunc { kfunc, .. } => self.kfunc_call(kfunc),
            Callee::Register(reg) => self.register_call(reg),
        }
    }

    /// A call of what a register holds: a subprogram whose address was taken, or a helper by its number.
    fn register_call(&mut self, reg: Reg) -> Check<Next> {
        let register = self.read(reg)?;
        if self.options.policy.linux_instructions {
            return Err(Reason::RegisterCall.into());
        }
        let target = match register.kind {
            Kind::Function(subprogram) if !register.nullable => {
                context::unmodified(&register)?;
                Callee::Subprogram(self.program.subprograms[subprogram as usize].entry)
            }
            Kind::Scalar => {
                self.rely_on(reg);
                let number = register.value.constant().and_then(|number| u32::try_from(number).ok());
                Callee::Helper(number.ok_or(Reason::CallTarget { reg, found: register.kind.name() })?)
            }
            kind => return Err(Reason::CallTarget { reg, found: kind.name() }.into()),
        };
        if target == Callee::Helper(TAIL_CALL) {
            // Its rules about stack are checked where it is called by name.
            return Err(Stop::Unsupported("tail calls through registers".to_owned()));
        }
        let next = self.call(target)?;
        self.observed.target(self.at, target);
        Ok(next)
    }

    fn subprogram_call(&mut self, entry: InsnId) -> Check<Next> {
        let subprogram = self.structure.owner[entry.index()] as usize;
        self.observed.entered[subprogram] = true;
        if self.program.subprograms[subprogram].linkage == Linkage::Global && subprogram != 0 {
            return self.global_call(subprogram);
        }
        let fact = self.with_stack_arguments(subprogram, CallFact::default());
        self.observed.call(self.at, fact);
        let frame = self.new_frame(subprogram)?;
        self.note(Note::Entered);
        self.forget_caller_saved();
        self.enter(frame);
        Ok(Next::To(entry))
    }

    /// Notes which arguments of a subprogram point into the stack.
    fn with_stack_arguments(&self, subprogram: usize, mut fact: CallFact) -> CallFact {
        let taken = self.liveness.argument_bits(subprogram);
        let taken = Reg::ARGS.iter().enumerate().filter(|(at, _)| taken >> at & 1 == 1);
        for (at, &reg) in taken {
            let register = self.state.register(reg);
            let Kind::Stack(frame) = register.kind else { continue };
            fact.stack_escapes = true;
            let offset =
                register.value.constant().map(|number| number.cast_signed() + i64::from(register.off));
            let own = usize::from(frame) == self.state.depth();
            fact.stack_arguments[at] = match offset.and_then(|offset| i32::try_from(offset).ok()) {
                Some(offset) if own => StackArgument::At(offset),
                Some(_) | None => StackArgument::Varies,
            };
        }
        fact
    }

    /// A callee's frame with the arguments of the running one.
    fn new_frame(&self, subprogram: usize) -> Check<Frame> {
        let depth = self.state.frames.len();
        if depth >= self.options.limits.frames as usize {
            return Err(Reason::TooManyFrames { limit: self.options.limits.frames }.into());
        }
        let mut frame = Frame::new(depth as u8, subprogram as u32, self.at); // at most 8 frames, 256 subprograms
        for reg in Reg::ARGS {
            frame.registers[reg.index()] = *self.state.register(reg);
        }
        Ok(frame)
    }

    pub(super) fn enter(&mut self, frame: Frame) {
        let depth = self.state.frames.len();
        self.state.frames.push(Rc::new(frame));
        // The frame is new: what older states had at this depth was another one.
        self.state.written[depth] = u64::MAX;
    }

    fn global_call(&mut self, subprogram: usize) -> Check<Next> {
        let tables = self.tables;
        let prototype = match tables.prototype(subprogram) {
            Ok(prototype) => prototype,
            Err(problem) => return Err(problem.into()),
        };
        if self.state.references.locks() > 0 {
            return Err(Reason::CallInLock.into());
        }
        if tables.sleeps[subprogram] && (!self.may_sleep() || self.in_atomic_section()) {
            let name = self.program.subprograms[subprogram].name.clone();
            return Err(Reason::MaySleepGlobal { name }.into());
        }
        let mut fact = CallFact::default();
        for (argument, reg) in prototype.arguments.iter().zip(Reg::ARGS) {
            self.global_argument(*argument, reg, &mut fact)?;
        }
        let fact = self.with_stack_arguments(subprogram, fact);
        self.observed.call(self.at, fact);
        self.observed.called[subprogram] = true;
        if tables.changes_packet[subprogram] {
            self.forget_packet();
        }
        self.forget_caller_saved();
        *self.state.register_mut(Reg::R0) = Register::unknown();
        Ok(Next::To(self.at.next()))
    }

    fn global_argument(&mut self, argument: ArgumentType, reg: Reg, fact: &mut CallFact) -> Check {
        let register = self.read(reg)?;
        let expected =
            |what| Stop::from(Reason::ArgumentType { reg, expected: what, found: register.kind.name() });
        match argument {
            ArgumentType::Number => {
                if !register.is_scalar() {
                    return Err(expected("a number"));
                }
            }
            ArgumentType::Context => {
                if register.kind != Kind::Context {
                    return Err(expected("the context"));
                }
                context::unmodified(&register)?;
            }
            ArgumentType::Untrusted | ArgumentType::Object { untrusted: true, .. } => {}
            ArgumentType::Dynptr => {
                self.dynptr_at(reg, &register)?;
            }
            ArgumentType::Object { of, nullable, .. } => {
                if nullable && register.is_null() {
                    return Ok(());
                }
                let valid = Register { nullable: register.nullable && !nullable, ..register };
                match valid.kind {
                    // As for helpers, an object found by walking will do.
                    Kind::Object(_, flags)
                        if !valid.nullable
                            && (flags.is_empty() || flags == MemFlags::TRUSTED || flags == MemFlags::RCU) =>
                    {
                        self.is_object_of(reg, &valid, of, false)?;
                    }
                    _ => return Err(expected("a kernel object that may be trusted")),
                }
            }
            ArgumentType::Arena => {
                if !matches!(register.kind, Kind::Arena | Kind::Scalar) {
                    return Err(expected("an address in an arena"));
                }
            }
            ArgumentType::Memory { size, nullable } => {
                if register.is_null() {
                    return if nullable { Ok(()) } else { Err(expected("a pointer that is not null")) };
                }
                if register.nullable && !nullable {
                    return Err(expected("a pointer that is not null"));
                }
                let valid = Register { nullable: false, ..register };
                let span = Span { reg, off: 0, size };
                self.helper_memory(&valid, span, Access::Read, true, false, fact)?;
                self.helper_memory(&valid, span, Access::Write, true, false, fact)?;
            }
        }
        Ok(())
    }
}
