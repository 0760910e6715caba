//! Calls: which become operations in line, and how the others pass their arguments.
//!
//! In: a call instruction of a body being built. Out: nodes. Array and per-CPU array lookups with a known map
//! turn into an index check and an address (and the program's own null check then tests the index, see
//! `branch`); processor and node are fields of the run-time context. Not here: subprograms (`build`).
#![forbid(unsafe_code)]

use beelift_runtime::abi::offset;
use beelift_runtime::helper::{self, ArgKind};
use beelift_runtime::map::InlineLookup;

use super::body::{Body, Frame};
use super::func::{
    Address, BinaryOp, Class, Condition, FrameUse, Op, Place, Target, Terminator, Type, UnaryOp, Value,
};
use super::{Unsupported, callbacks, slots};
use crate::isa::{Callee, Insn, InsnId, KfuncSlot, MapSlot, Reg, Sign, Size};
use crate::verify::Verified;

/// `bpf_map_lookup_elem`
const MAP_LOOKUP: u32 = 1;
/// `bpf_map_update_elem`
const MAP_UPDATE: u32 = 2;
/// `bpf_map_delete_elem`
const MAP_DELETE: u32 = 3;
/// `bpf_tail_call`
const TAIL_CALL: u32 = 12;
/// `bpf_get_smp_processor_id`
const PROCESSOR_ID: u32 = 8;
/// `bpf_get_numa_node_id`
const NUMA_NODE: u32 = 42;

/// Arguments that a helper takes.
pub(crate) fn arity(verified: &Verified, helper: u32) -> u8 {
    verified.program().helper(helper).map_or(5, |helper| used(&helper.proto.args))
}

/// Arguments that a kernel function takes.
pub(crate) fn kfunc_arity(verified: &Verified, slot: KfuncSlot) -> u8 {
    let name = kfunc_name(verified, slot);
    if name == helper::THROW {
        return 1;
    }
    if name == helper::TREE_ADD {
        return 3;
    }
    let kfunc = helper::kfunc_by_name(name).and_then(helper::kfunc);
    kfunc.map_or(5, |kfunc| used(&kfunc.proto.args))
}

fn kfunc_name(verified: &Verified, slot: KfuncSlot) -> &str {
    &verified.program().kfuncs[slot.0 as usize].name // u32 to usize
}

fn used(args: &[ArgKind; 5]) -> u8 {
    let last = args.iter().rposition(|&arg| arg != ArgKind::None);
    last.map_or(0, |last| u8::try_from(last + 1).expect("at most five"))
}

/// The map and the way to find an element in line, if the call is such a lookup.
fn inline_lookup(verified: &Verified, id: InsnId) -> Option<(MapSlot, InlineLookup)> {
    let Insn::Call(Callee::Helper(MAP_LOOKUP)) = verified.program().insns[id.index()] else { return None };
    let slot = verified.facts().call[id.index()].as_ref()?.map?;
    let def = verified.program().maps.get(slot.0 as usize)?; // u32 to usize
    if def.key_size != 4 {
        return None;
    }
    match def.inline_lookup() {
        InlineLookup::Call => None,
        inline @ (InlineLookup::Array { .. } | InlineLookup::PercpuArray { .. }) => Some((slot, inline)),
    }
}

/// Offset from r10 of a 4-byte key that need not be in memory, because the lookup happens in line.
pub(crate) fn key_in_slot(verified: &Verified, id: InsnId) -> Option<i32> {
    inline_lookup(verified, id)?;
    verified.facts().call[id.index()].as_ref()?.stack_key
}

impl Body<'_> {
    /// A helper call; its result is r0.
    pub(crate) fn helper(&mut self, frame: &Frame, helper: u32) -> Result<Value, Unsupported> {
        if let Some((slot, inline)) = inline_lookup(self.verified, self.at) {
            return Ok(self.lookup(frame, slot, inline));
        }
        match helper {
            PROCESSOR_ID => return Ok(self.of_run(offset::CPU)),
            NUMA_NODE => return Ok(self.of_run(offset::NUMA_NODE)),
            _ => {}
        }
        match helper {
            callbacks::LOOP => return self.counted_loop(frame),
            callbacks::FOR_EACH_MAP_ELEM => return self.map_loop(frame),
            callbacks::USER_RINGBUF_DRAIN => return self.drain_loop(frame),
            _ => {}
        }
        let result = self.plain_helper(frame, helper);
        if helper == TAIL_CALL {
            return Ok(self.tail_call(frame, result));
        }
        Ok(result)
    }

    /// A helper call without anything special.
    pub(crate) fn plain_helper(&mut self, frame: &Frame, helper: u32) -> Value {
        let count = usize::from(arity(self.verified, helper));
        let args: Vec<Value> = Reg::ARGS[..count].iter().map(|&reg| self.argument(frame, reg)).collect();
        let target = match self.call_fact().and_then(|fact| fact.map) {
            Some(slot) if helper::specialises(helper) => Target::MapHelper(helper, slot),
            _ => Target::Helper(helper),
        };
        let frame_use = self.frame_use(frame, helper, &args);
        self.b.call(target, args, frame_use)
    }

    /// What a helper does to the frame: what the verifier says, or what its arguments say where they point into the frame
    /// of a caller.
    fn frame_use(&self, frame: &Frame, helper: u32, args: &[Value]) -> FrameUse {
        let Some(fact) = self.call_fact() else { return FrameUse::UNKNOWN };
        if !fact.stack_escapes {
            let place = |&(offset, bytes): &(i32, u32)| Some((frame.bytes(offset)?, bytes));
            let places = |list: &[(i32, u32)]| list.iter().map(place).collect::<Option<Vec<_>>>();
            return match (places(&fact.stack_reads), places(&fact.stack_writes)) {
                (Some(reads), Some(writes)) => FrameUse { unknown: false, reads, writes },
                (None, _) | (_, None) => FrameUse::UNKNOWN,
            };
        }
        let Some(map) = fact.map.and_then(|map| self.verified.program().maps.get(map.0 as usize)) else {
            return FrameUse::UNKNOWN;
        };
        let read = |argument: usize, bytes| match self.b.func.op(args[argument]) {
            Op::Frame(at) => Some((at, bytes)),
            _ => None,
        };
        let reads = match helper {
            MAP_LOOKUP | MAP_DELETE => [read(1, map.key_size)].into_iter().collect(),
            MAP_UPDATE => [read(1, map.key_size), read(2, map.value_size)].into_iter().collect(),
            _ => None,
        };
        reads.map_or(FrameUse::UNKNOWN, |reads| FrameUse { reads, ..FrameUse::NONE })
    }

    /// A call of a kernel function: its result, or `None` if it does not come back.
    pub(crate) fn kfunc(&mut self, frame: &Frame, slot: KfuncSlot) -> Result<Option<Value>, Unsupported> {
        let verified = self.verified;
        let name = kfunc_name(verified, slot);
        if name == helper::THROW {
            self.throw(frame);
            return Ok(None);
        }
        let number =
            helper::kfunc_by_name(name).ok_or_else(|| self.unsupported(format!("kernel function {name}")))?;
        if name == helper::TREE_ADD {
            return Ok(Some(self.tree_add(frame, number)));
        }
        let count = usize::from(kfunc_arity(verified, slot));
        let args = Reg::ARGS[..count].iter().map(|&reg| self.argument(frame, reg)).collect();
        let escapes = self.call_fact().is_none_or(|fact| fact.stack_escapes);
        let frame_use = if escapes { FrameUse::UNKNOWN } else { FrameUse::NONE };
        Ok(Some(self.b.call(Target::Kfunc(number), args, frame_use)))
    }

    /// Ends the program. The exception callback is called from here: it sees nothing of the program but what was
    /// thrown, and when it returns, all native frames go at once.
    fn throw(&mut self, frame: &Frame) {
        let thrown = self.register(frame, Reg::R1);
        let result = match self.verified.program().exception_callback {
            None => thrown,
            Some(callback) => {
                let taken = self.verified.facts().arguments[callback];
                let zero = self.b.number(Type::I64, 0);
                let given = |at| if at == 0 { thrown } else { zero };
                let args = (0..Reg::ARGS.len()).filter(|at| taken >> at & 1 == 1).map(given).collect();
                let function = self.program.function_of(callback);
                self.b.call(Target::Function(function), args, FrameUse::UNKNOWN)
            }
        };
        if self.b.func.subprogram != 0 {
            self.b.call(Target::Throw, vec![result], FrameUse::NONE);
        }
        self.end(Terminator::Return(result));
    }

    /// Another program may have run in place of this function, which then returns what that one did.
    fn tail_call(&mut self, frame: &Frame, done: Value) -> Value {
        let zero = self.b.number(Type::I64, 0);
        let done = self.b.compare(Condition::Ne, done, zero);
        self.leave_if(frame, done, |body| {
            let base = body.b.runtime();
            let place = Place { base, off: offset::TAIL_RESULT, class: Class::Runtime, aligned: true };
            body.b.load(Size::DW, Sign::Zero, place)
        });
        zero
    }

    /// A 32-bit field of the run-time context that does not change during a run.
    fn of_run(&mut self, off: i32) -> Value {
        let base = self.b.runtime();
        let place = Place { base, off, class: Class::Runtime, aligned: true };
        self.b.load(Size::W, Sign::Zero, place)
    }

    fn lookup(&mut self, frame: &Frame, slot: MapSlot, inline: InlineLookup) -> Value {
        let (stride, len, cpu_stride) = match inline {
            InlineLookup::Array { stride, len } => (stride, len, None),
            InlineLookup::PercpuArray { stride, len, cpu_stride } => (stride, len, Some(cpu_stride)),
            InlineLookup::Call => unreachable!("filtered by inline_lookup"),
        };
        let constant = self.call_fact().and_then(|fact| fact.constant_key);
        let key = self.key(frame);
        let wide = self.b.unary(UnaryOp::Widen, Type::I64, key);
        let stride = self.b.number(Type::I64, u64::from(stride));
        let mut address = self.b.address(Address::MapValue(slot, 0));
        if let Some(cpu_stride) = cpu_stride {
            let cpu = self.of_run(offset::CPU);
            let cpu_stride = self.b.number(Type::I64, cpu_stride);
            let skip = self.b.binary(BinaryOp::Mul, Type::I64, cpu, cpu_stride);
            address = self.b.binary(BinaryOp::Add, Type::I64, address, skip);
        }
        let skip = self.b.binary(BinaryOp::Mul, Type::I64, wide, stride);
        let address = self.b.binary(BinaryOp::Add, Type::I64, address, skip);
        if constant.is_some_and(|key| key < len) {
            return address;
        }
        let len = self.b.number(Type::I32, u64::from(len));
        let inside = self.b.compare(Condition::ULt, key, len);
        let null = self.b.number(Type::I64, 0);
        let result = self.b.choose(inside, address, null);
        self.lookups.push(result);
        result
    }

    /// The 4-byte key of a lookup, as an `I32`.
    fn key(&mut self, frame: &Frame) -> Value {
        let verified = self.verified;
        let wide = 'key: {
            if let Some(offset) = key_in_slot(verified, self.at) {
                if let Some(slot) = slots::slot_of(&frame.shape.slots, offset) {
                    break 'key self.slot(frame, slot);
                }
                let place = frame.place(&mut self.b, offset);
                break 'key self.b.load(Size::W, Sign::Zero, place);
            }
            let base = self.register(frame, Reg::R2);
            let place = Place { base, off: 0, class: Class::Any, aligned: false };
            self.b.load(Size::W, Sign::Zero, place)
        };
        self.b.unary(UnaryOp::Reduce, Type::I32, wide)
    }
}
