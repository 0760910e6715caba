//! Returns: from the program, from subprograms, and the deprecated packet loads that may end a program.
#![forbid(unsafe_code)]

use crate::isa::Reg;
use crate::isa::effects::RegSet;
use crate::verify::check::context;
use crate::verify::domain::Scalar;
use crate::verify::explore::{Check, Next, Verifier};
use crate::verify::observe::Outcome;
use crate::verify::precision::{NONE, Note};
use crate::verify::report::Reason;
use crate::verify::state::{Kind, Register, ResourceKind};
use beelift_runtime::ctx::ReturnRange;

impl Verifier<'_> {
    pub(super) fn exit(&mut self) -> Check<Next> {
        let depth = self.state.depth();
        let callback = self.state.current().callback;
        if depth == 0 {
            self.nothing_held("exit", true)?;
        }
        if depth > 0 {
            return self.leave_frame();
        }
        if let Some(callback) = callback {
            let result = self.read(Reg::R0)?;
            if !result.is_scalar() {
                return Err(Reason::ReturnsPointer.into());
            }
            self.rely_on(Reg::R0);
            in_range(&result, callback.returns.0, callback.returns.1)?;
            return Ok(Next::End);
        }
        self.returns_from_program(Reg::R0)
    }

    /// The register holds what the program may return.
    pub(super) fn returns_from_program(&mut self, reg: Reg) -> Check<Next> {
        let result = self.read(reg)?;
        let outcome = if self.leaks(&result) {
            if reg != Reg::R0 || !self.may_be_blanked(&result) {
                return Err(Reason::PointerLeak { into: "the return value" }.into());
            }
            Outcome::Blank
        } else {
            Outcome::Value
        };
        // An exit does the same on every path.
        if *self.observed.result[self.at.index()].get_or_insert(outcome) != outcome {
            return Err(Reason::PointerLeak { into: "the return value" }.into());
        }
        if self.is_global_function {
            if !result.is_scalar() {
                return Err(Reason::ReturnsPointer.into());
            }
            return Ok(Next::End);
        }
        if let ReturnRange::Within { min, max } = self.tables.returns {
            if !result.is_scalar() {
                return Err(Reason::ReturnsPointer.into());
            }
            self.rely_on(reg);
            if self.tables.narrow_result {
                return in_low_range(&result, min, max).map(|()| Next::End);
            }
            in_range(&result, min, max)?;
        }
        Ok(Next::End)
    }

    /// A field of the context that is declared a number may be returned though what it holds is where the packet is: no
    /// result says anything of it then.
    fn may_be_blanked(&self, result: &Register) -> bool {
        let field = matches!(result.kind, Kind::Packet | Kind::PacketMeta | Kind::PacketEnd);
        field && !self.is_global_function && self.tables.returns == ReturnRange::Any
    }

    fn leave_frame(&mut self) -> Check<Next> {
        let result = *self.state.register(Reg::R0);
        if matches!(result.kind, Kind::Stack(_)) {
            return Err(Reason::StackPointerEscapes.into());
        }
        let frame = self.state.current();
        let (call_site, callback) = (frame.call_site, frame.callback);
        match callback {
            None => {
                self.note(Note::Returned);
                self.state.pop_frame();
                *self.state.register_mut(Reg::R0) = result;
                Ok(Next::To(call_site.next()))
            }
            Some(callback) => {
                if !result.is_scalar() {
                    return Err(Reason::ReturnsPointer.into());
                }
                self.rely_on(Reg::R0);
                in_range(&result, callback.returns.0, callback.returns.1)?;
                self.note(Note::ReturnedCallback);
                self.state.pop_frame();
                self.widen_after_callback(call_site);
                Ok(Next::To(call_site))
            }
        }
    }

    /// Nothing may be held where the program ends (or seems to go on elsewhere).
    pub(super) fn nothing_held(&mut self, place: &'static str, locks_too: bool) -> Check {
        let references = &self.state.references;
        if let Some(held) = references.held.iter().find(|held| held.kind == ResourceKind::Pointer) {
            let taken = self.program.pcs[held.insn.index()];
            return Err(Reason::Unreleased { place, taken }.into());
        }
        if !locks_too {
            return Ok(());
        }
        if references.locks() > 0 {
            return Err(Reason::Locked { place }.into());
        }
        if references.newest_irq().is_some() || references.rcu > 0 || references.preempt > 0 {
            return Err(Reason::InSection { place }.into());
        }
        Ok(())
    }

    pub(super) fn legacy_packet(&mut self, index: Option<Reg>) -> Check {
        if !self.tables.has_legacy_packet() {
            return Err(Reason::LegacyPacket.into());
        }
        let context = self.read(Reg::R6)?;
        self.nothing_held("a legacy packet load", true)?;
        if context.kind != Kind::Context {
            return Err(Reason::LegacyPacketContext.into());
        }
        context::unmodified(&context)?;
        if let Some(index) = index {
            self.read(index)?;
        }
        self.push_early_return(Register::constant(0), "packet access in a callback", |_| {})?;
        self.forget_caller_saved();
        *self.state.register_mut(Reg::R0) = Register::unknown();
        Ok(())
    }

    /// A path on which the running function returns here. The program itself just ends.
    pub(super) fn push_early_return(
        &mut self,
        result: Register,
        in_callback: &'static str,
        change: impl FnOnce(&mut Self),
    ) -> Check {
        if self.state.depth() == 0 {
            return Ok(());
        }
        if self.state.current().callback.is_some() {
            return Err(Reason::LeavesCallback { what: in_callback }.into());
        }
        let mut returned = self.state.clone();
        let step = self.trace.push(returned.trace, self.at, NONE);
        self.trace.note(step, Note::Returned);
        returned.trace = step;
        let to = returned.current().call_site.next();
        returned.pop_frame();
        *returned.register_mut(Reg::R0) = result;
        let running = std::mem::replace(&mut self.state, returned);
        change(self);
        let returned = std::mem::replace(&mut self.state, running);
        self.push_pending(returned, to)
    }

    /// r0 to r5 hold nothing after a call.
    pub(super) fn forget_caller_saved(&mut self) {
        let frame = self.state.current_mut();
        for reg in RegSet::CALLER_SAVED.iter() {
            frame.registers[reg.index()] = Register::UNINIT;
        }
    }
}

/// The same for the lower half, which is all that a hook with an `int` looks at.
fn in_low_range(result: &Register, min: i64, max: i64) -> Check {
    let low = &result.value;
    if i64::from(low.s32_min()) >= min && i64::from(low.s32_max()) <= max {
        return Ok(());
    }
    Err(Reason::ReturnOutOfRange { min, max }.into())
}

fn in_range(result: &Register, min: i64, max: i64) -> Check {
    // The kernel looks at all 64 bits.
    let allowed = Scalar::signed(min, max);
    if result.value.is_subset_of(allowed) || (result.value.smin() >= min && result.value.smax() <= max) {
        return Ok(());
    }
    Err(Reason::ReturnOutOfRange { min, max }.into())
}
