//! Calls that call back: the callback is walked any number of times, from the call and back to it.
//!
//! One path goes on behind the call, another enters the callback and comes back to the call, which is then
//! checked again in the state that the callback left. The loop is closed when a state comes back that an
//! earlier one at the call covers; numbers that nothing relied on are widened, so that this happens soon.
#![forbid(unsafe_code)]

use std::rc::Rc;

use super::helper::{CallState, Called};
use super::kfunc::KfuncCall;
use crate::isa::{InsnId, Reg};
use crate::verify::explore::{Check, Next, Stop, Verifier};
use crate::verify::facts::CallFact;
use crate::verify::kfuncs::Prototype;
use crate::verify::precision::{NONE, Note};
use crate::verify::report::Reason;
use crate::verify::state::{Callback, DynptrType, Frame, Kind, MapRef, MemFlags, Register, State};

/// Helpers that call back, and how.
mod id {
    pub(super) const FOR_EACH_MAP_ELEM: u32 = 164;
    pub(super) const TIMER_SET_CALLBACK: u32 = 170;
    pub(super) const FIND_VMA: u32 = 180;
    pub(super) const LOOP: u32 = 181;
    pub(super) const USER_RINGBUF_DRAIN: u32 = 209;
}

/// Whether a helper calls back before it returns.
pub(crate) const fn calls_back(helper: u32) -> bool {
    matches!(helper, id::FOR_EACH_MAP_ELEM | id::FIND_VMA | id::LOOP | id::USER_RINGBUF_DRAIN)
}

/// Whether a kernel function calls back before it returns.
pub(crate) fn kfunc_calls_back(name: &str) -> bool {
    name == "bpf_rbtree_add_impl"
}

impl Verifier<'_> {
    /// A helper that calls a subprogram back.
    pub(super) fn helper_with_callback(
        &mut self,
        helper: &Called,
        callback: usize,
        mut call: CallState,
    ) -> Check<Next> {
        call.fact.callbacks = vec![self.program.subprograms[callback].entry];
        self.observed.entered[callback] = true;
        match helper.id {
            id::LOOP => {
                // Whether there is another turn is decided by the count.
                self.rely_on(Reg::R1);
                let count = *self.state.register(Reg::R1);
                let most = if count.is_scalar() { count.value.umax() } else { u64::MAX };
                if u64::from(self.state.current().callback_depth) < most {
                    let context = *self.state.register(Reg::R3);
                    self.push_callback(callback, &[(Reg::R1, Register::unknown()), (Reg::R2, context)])?;
                } else {
                    self.state.current_mut().callback_depth = 0;
                }
            }
            id::FOR_EACH_MAP_ELEM => {
                let (map, owner) = map_of(helper, &call)?;
                let context = *self.state.register(Reg::R3);
                let arguments = self.element(map, owner, Some(context));
                self.push_callback(callback, &arguments)?;
            }
            id::USER_RINGBUF_DRAIN => {
                let owner = self.fresh_id();
                let dynptr = Register { owner, ..Register::pointer(Kind::Dynptr(DynptrType::Local)) };
                let context = *self.state.register(Reg::R3);
                self.push_callback(callback, &[(Reg::R1, dynptr), (Reg::R2, context)])?;
            }
            id::FIND_VMA => {
                let (task, context) = (*self.state.register(Reg::R1), *self.state.register(Reg::R4));
                let area = Kind::Object(self.kernel_type("vm_area_struct")?, MemFlags::empty());
                let area = Register::pointer(area);
                self.push_callback(callback, &[(Reg::R1, task), (Reg::R2, area), (Reg::R3, context)])?;
            }
            id::TIMER_SET_CALLBACK => {
                let (map, owner) = map_of(helper, &call)?;
                self.push_asynchronous(callback, map, owner, false)?;
            }
            _ => return Err(Stop::Unsupported(helper.name.to_owned())),
        }
        self.finish_helper(helper, call)
    }

    /// A kernel function that calls a subprogram back, now or later.
    pub(super) fn kfunc_callback(
        &mut self,
        prototype: &Prototype,
        callback: usize,
        call: &KfuncCall,
    ) -> Check {
        self.observed.entered[callback] = true;
        if kfunc_calls_back(prototype.name) {
            let callbacks = vec![self.program.subprograms[callback].entry];
            self.observed.call(self.at, CallFact { callbacks, stack_escapes: true, ..CallFact::default() });
            let node = super::graph::borrowed(self.node_of(call.collection)?);
            return self.push_callback_in(callback, &[(Reg::R1, node), (Reg::R2, node)], true);
        }
        let Some((map, owner)) = call.work else {
            return Err(Stop::Unsupported(prototype.name.to_owned()));
        };
        self.push_asynchronous(callback, map, owner, true)
    }

    /// A path into the callback, which comes back to the call.
    fn push_callback(&mut self, callback: usize, arguments: &[(Reg, Register)]) -> Check {
        self.push_callback_in(callback, arguments, false)
    }

    fn push_callback_in(&mut self, callback: usize, arguments: &[(Reg, Register)], in_tree: bool) -> Check {
        let depth = self.state.frames.len();
        if depth >= self.options.limits.frames as usize {
            return Err(Reason::TooManyFrames { limit: self.options.limits.frames }.into());
        }
        let mut entered = self.state.clone();
        let step = self.trace.push(entered.trace, self.at, NONE);
        self.trace.note(step, Note::EnteredCallback);
        entered.trace = step;
        entered.callback_unroll += 1;
        entered.current_mut().callback_depth += 1;
        let mut frame = Frame::new(depth as u8, callback as u32, self.at); // at most 8 frames, 256 subprograms
        frame.callback = Some(Callback { returns: (0, 1), asynchronous: false, sleeps: false, in_tree });
        for (reg, register) in arguments {
            frame.registers[reg.index()] = *register;
        }
        entered.frames.push(Rc::new(frame));
        entered.written[depth] = u64::MAX;
        let entry = self.program.subprograms[callback].entry;
        self.push_pending(entered, entry)?;
        self.state.current_mut().callback_depth = 0;
        Ok(())
    }

    /// A callback that runs later, on a stack of its own.
    fn push_asynchronous(&mut self, callback: usize, map: MapRef, owner: u32, sleeps: bool) -> Check {
        let key = (callback, map, sleeps);
        if self.asynchronous.contains(&key) {
            return Ok(());
        }
        self.asynchronous.push(key);
        let entry = self.program.subprograms[callback].entry;
        let mut frame = Frame::new(0, callback as u32, entry); // at most 256 subprograms
        frame.callback = Some(Callback { returns: (0, 0), asynchronous: true, sleeps, in_tree: false });
        for (reg, register) in self.element(map, owner, None) {
            frame.registers[reg.index()] = register;
        }
        let state = State {
            frames: vec![Rc::new(frame)],
            references: Rc::default(),
            parent: NONE,
            trace: NONE,
            written: [u64::MAX, 0, 0, 0, 0, 0, 0, 0],
            lowest: 1,
            may_goto_depth: 0,
            callback_unroll: self.state.callback_unroll + 1,
        };
        self.push_pending(state, entry)
    }

    /// Arguments of a callback for an element of a map: map, key, value, context. The value is another one than any that
    /// is known, for its lock. Linux does not know of which inner map it is.
    fn element(&mut self, map: MapRef, owner: u32, context: Option<Register>) -> [(Reg, Register); 4] {
        let handle = Register { owner, ..Register::pointer(Kind::Map(map)) };
        let mut value = Register::pointer(Kind::MapValue(map));
        if self.may_hold_lock(&value) {
            value.id = self.fresh_id();
        }
        [
            (Reg::R1, handle),
            (Reg::R2, Register::pointer(Kind::MapKey(map))),
            (Reg::R3, value),
            (Reg::R4, context.unwrap_or(Register::UNINIT)),
        ]
    }

    /// After a callback: numbers that change from call to call, and that nothing relied on, are widened.
    pub(super) fn widen_after_callback(&mut self, call_site: InsnId) {
        self.widen_unlike_before(call_site);
    }
}

/// The map whose elements the callback gets.
fn map_of(helper: &Called, call: &CallState) -> Check<(MapRef, u32)> {
    call.map.ok_or_else(|| Stop::Unsupported(format!("prototype of {}", helper.name)))
}
