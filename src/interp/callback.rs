//! What calls a subprogram back: `bpf_loop`, `bpf_for_each_map_elem`, `bpf_user_ringbuf_drain`, `bpf_rbtree_add`.
//!
//! A callback runs in a frame of its own; when it returns, [`Run::called_back`] decides about another turn.
#![forbid(unsafe_code)]

use std::sync::Arc;

use beelift_runtime::TrapKind;
use beelift_runtime::helper::{self, Helper, drain_words};
use beelift_runtime::map::{ElementKey, Map};

use super::call::{self, Refusal};
use super::run::{Run, Step, trap};
use crate::isa::limits::{MAX_LOOPS, function_at};
use crate::isa::{Callee, InsnId, Reg};

const FOR_EACH_MAP_ELEM: u32 = 164;
const LOOP: u32 = 181;
const USER_RINGBUF_DRAIN: u32 = 209;

const EINVAL: i64 = -22;
/// 32 bits wide, and the number of turns is compared with all 64: so Linux does it in the code that it writes in
/// place of the call, wherever it knows callback and flags.
const E2BIG: u32 = (-7_i32).cast_unsigned();

/// Whether a helper is one of these.
pub(super) const fn calls_back(helper: u32) -> bool {
    matches!(helper, FOR_EACH_MAP_ELEM | LOOP | USER_RINGBUF_DRAIN)
}

/// A helper call in progress.
pub(super) struct Calling {
    callback: InsnId,
    context: u64,
    /// Calls made so far.
    calls: u32,
    over: Over,
}

/// What there is a call for.
enum Over {
    /// Numbers below this one.
    Numbers(u32),
    /// Elements of a map, from the cursor on. The address is the map register.
    Elements { map: Arc<dyn Map>, address: u64, cursor: u64 },
    /// Samples of a ring buffer of user space, behind `count` of them.
    Samples { map: Arc<dyn Map>, count: u64, flags: u64 },
    /// Nodes of a tree on the way to the place of a new one: `at` is the one last asked about, if one was, and `before`
    /// what the answer was.
    Nodes { kfunc: &'static Helper, root: u64, node: u64, at: u64, before: u64 },
}

impl Run<'_, '_> {
    /// Begins the call.
    pub(super) fn call_back(&mut self, at: InsnId, helper: u32) -> Result<Step, Refusal> {
        let refused = trap(TrapKind::Argument);
        let [first, callback, context, flags, _] = Reg::ARGS.map(|reg| self.get(reg));
        let is_function = function_at(callback).is_some();
        let Some(Callee::Subprogram(callback)) = self.target(callback).filter(|_| is_function) else {
            return Err(refused);
        };
        if helper == USER_RINGBUF_DRAIN {
            let map = self.interp.map_at(first).ok_or(refused)?;
            let over = Over::Samples { map, count: 0, flags };
            return self.turn(at, Calling { callback, context, calls: 0, over });
        }
        if flags != 0 {
            return Ok(self.finish(at, EINVAL.cast_unsigned()));
        }
        let over = if helper == LOOP {
            if first > u64::from(MAX_LOOPS) {
                return Ok(self.finish(at, u64::from(E2BIG)));
            }
            Over::Numbers(first as u32) // at most `MAX_LOOPS`
        } else {
            let map = self.interp.map_at(first).ok_or(refused)?;
            Over::Elements { map, address: first, cursor: 0 }
        };
        self.turn(at, Calling { callback, context, calls: 0, over })
    }

    /// Begins `bpf_rbtree_add`.
    pub(super) fn add_to_tree(&mut self, at: InsnId, kfunc: &'static Helper) -> Result<Step, Refusal> {
        let [root, node, callback, ..] = Reg::ARGS.map(|reg| self.get(reg));
        let is_function = function_at(callback).is_some();
        let Some(Callee::Subprogram(callback)) = self.target(callback).filter(|_| is_function) else {
            return Err(trap(TrapKind::Argument));
        };
        let over = Over::Nodes { kfunc, root, node, at: 0, before: 0 };
        self.turn(at, Calling { callback, context: 0, calls: 0, over })
    }

    /// The callback's frame is gone.
    pub(super) fn stop_calling_back(&mut self, calling: &Calling) {
        if matches!(calling.over, Over::Elements { .. } | Over::Samples { .. }) {
            self.memory.pop_key();
        }
    }

    /// The callback returned r0.
    pub(super) fn called_back(&mut self, at: InsnId, calling: Calling) -> Result<Step, Refusal> {
        self.stop_calling_back(&calling);
        let mut calling = Calling { calls: calling.calls + 1, ..calling };
        if let Over::Samples { count, .. } = &mut calling.over {
            // The ring is told of the end, too.
            *count |= if self.get(Reg::R0) == 0 { 0 } else { drain_words::STOP };
            return self.turn(at, calling);
        }
        if let Over::Nodes { before, .. } = &mut calling.over {
            *before = self.get(Reg::R0);
            return self.turn(at, calling);
        }
        if self.get(Reg::R0) != 0 {
            return Ok(self.finish(at, u64::from(calling.calls)));
        }
        self.turn(at, calling)
    }

    /// Enters the callback once more, or ends.
    fn turn(&mut self, at: InsnId, mut calling: Calling) -> Result<Step, Refusal> {
        let arguments = match &mut calling.over {
            Over::Numbers(count) if calling.calls == *count => None,
            Over::Numbers(_) => Some([u64::from(calling.calls), calling.context, 0, 0]),
            Over::Elements { map, address, cursor } => match map.iterate(self.cx.cpu, *cursor) {
                None => None,
                Some(element) => {
                    *cursor = element.next;
                    let key = key_bytes(&**map, element.key).ok_or(trap(TrapKind::Argument))?;
                    let key = self.memory.push_key(&key).ok_or(trap(TrapKind::Argument))?;
                    Some([*address, key, element.value.0, calling.context])
                }
            },
            Over::Samples { map, count, flags } => {
                let out = self.memory.sample_place();
                let sample = helper::drain_step(self.cx, &**map, *count, out, *flags);
                *count = u64::from_ne_bytes(out.as_bytes().array(drain_words::COUNT as u64)); // 0
                if sample == 0 {
                    let count = *count;
                    return Ok(self.finish(at, count));
                }
                self.memory.push_sample();
                Some([sample, calling.context, 0, 0])
            }
            Over::Nodes { kfunc, root, node, at: last, before } => {
                let program_type = self.interp.program.prog_type;
                let arguments = [*root, *node, *last, *before, 0];
                let next = call::call(kfunc, program_type, self.cx, &self.memory, arguments)?;
                if next <= helper::TREE_ADD_DONE {
                    return Ok(self.finish(at, next));
                }
                *last = next;
                Some([*node, next, 0, 0])
            }
        };
        let Some(arguments) = arguments else { return Ok(self.finish(at, u64::from(calling.calls))) };
        let callback = calling.callback;
        self.enter(at, Some(calling))?;
        self.destroy_arguments();
        for (reg, value) in Reg::ARGS.into_iter().zip(arguments) {
            self.set(reg, value);
        }
        Ok(Step::To(callback))
    }

    /// The call is over.
    fn finish(&mut self, at: InsnId, r0: u64) -> Step {
        self.set(Reg::R0, r0);
        self.destroy_arguments();
        Step::To(at.next())
    }
}

/// A copy of a key.
pub(super) fn key_bytes(map: &dyn Map, key: ElementKey) -> Option<Vec<u8>> {
    match key {
        ElementKey::Index(index) => Some(index.to_ne_bytes().to_vec()),
        ElementKey::At(address) => {
            let len = u64::from(map.def().key_size);
            let slab = map.memory(address)?;
            Some(slab.bytes(slab.offset_of(address, len)?, len).to_vec())
        }
    }
}
