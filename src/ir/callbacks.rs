//! What calls a subprogram back: `bpf_loop`, `bpf_for_each_map_elem`, `bpf_user_ringbuf_drain`, `bpf_rbtree_add` as loops
//! over a native call.
//!
//! In: a helper call with the one subprogram that the verifier names. Out: blocks of a loop, and r0: how often
//! the subprogram was called. Not here: what an element or a sample of a map is (the run-time's steps).
#![forbid(unsafe_code)]

use super::Unsupported;
use super::body::{Body, Frame};
use super::func::{
    BinaryOp, BlockId, Class, Condition, Edge, FrameUse, Place, Target, Terminator, Type, Value,
};
use crate::isa::limits::{MAX_LOOPS, function_address};
use crate::isa::{InsnId, Reg, Sign, Size};
use beelift_runtime::helper::{DRAIN_BYTES, MAP_CURSOR_BYTES, TREE_ADD_DONE, drain_words, map_cursor};

/// `bpf_for_each_map_elem`
pub(crate) const FOR_EACH_MAP_ELEM: u32 = 164;
/// `bpf_loop`
pub(crate) const LOOP: u32 = 181;
/// `bpf_user_ringbuf_drain`
pub(crate) const USER_RINGBUF_DRAIN: u32 = 209;

const EINVAL: i64 = -22;
/// 32 bits wide, and the number of turns is compared with all 64: so Linux does it in the code that it writes in
/// place of the call, wherever it knows callback and flags.
const E2BIG: i64 = (-7_i32).cast_unsigned() as i64; // widens

/// The blocks of a loop: its head takes the number of calls so far (and the cursor), its end takes r0.
struct Loop {
    head: BlockId,
    done: BlockId,
    calls: Value,
    result: Value,
}

impl Body<'_> {
    /// r0 of `bpf_loop`.
    pub(crate) fn counted_loop(&mut self, frame: &Frame) -> Result<Value, Unsupported> {
        let (callbacks, callback) = self.callback(frame);
        let count = self.register(frame, Reg::R1);
        let context = self.register(frame, Reg::R3);
        let flags = self.register(frame, Reg::R4);
        let new = self.new_loop();
        self.refuse_flags(flags, new.done);
        let zero = self.b.number(Type::I64, 0);
        if !callbacks.iter().any(|callback| self.verified.facts().reachable[callback.index()]) {
            // No path has a turn: the verifier knows nothing of the callbacks, because the count is 0.
            self.end(Terminator::Jump(Edge { to: new.done, args: vec![zero] }));
            self.b.block = new.done;
            return Ok(new.result);
        }
        let most = self.b.number(Type::I64, u64::from(MAX_LOOPS));
        let many = self.b.compare(Condition::UGt, count, most);
        self.finish_if(many, new.done, E2BIG);
        self.end(Terminator::Jump(Edge { to: new.head, args: vec![zero] }));
        self.b.block = new.head;
        let more = self.b.compare(Condition::ULt, new.calls, count);
        self.go_on_if(more, &new);
        let stop = self.call_back(&callbacks, callback, &[new.calls, context]);
        let calls = self.one_more(new.calls);
        self.end(Terminator::Branch(
            stop,
            Edge { to: new.done, args: vec![calls] },
            Edge { to: new.head, args: vec![calls] },
        ));
        self.b.block = new.done;
        Ok(new.result)
    }

    /// r0 of `bpf_for_each_map_elem`.
    pub(crate) fn map_loop(&mut self, frame: &Frame) -> Result<Value, Unsupported> {
        let (callbacks, callback) = self.callback(frame);
        let map = self.register(frame, Reg::R1);
        let context = self.register(frame, Reg::R3);
        let flags = self.register(frame, Reg::R4);
        let new = self.new_loop();
        let cursor = self.b.param(new.head, self.at);
        self.refuse_flags(flags, new.done);
        let zero = self.b.number(Type::I64, 0);
        self.end(Terminator::Jump(Edge { to: new.head, args: vec![zero, zero] }));
        self.b.block = new.head;
        let out = self.scratch(frame, MAP_CURSOR_BYTES);
        let value = self.b.call(Target::MapIterate, vec![map, cursor, out], FrameUse::UNKNOWN);
        let more = self.b.compare(Condition::Ne, value, zero);
        self.go_on_if(more, &new);
        let word = |off| Place { base: out, off, class: Class::Any, aligned: true };
        let key = self.b.load(Size::DW, Sign::Zero, word(map_cursor::KEY));
        let next = self.b.load(Size::DW, Sign::Zero, word(map_cursor::NEXT));
        let stop = self.call_back(&callbacks, callback, &[map, key, value, context]);
        let calls = self.one_more(new.calls);
        self.end(Terminator::Branch(
            stop,
            Edge { to: new.done, args: vec![calls] },
            Edge { to: new.head, args: vec![calls, next] },
        ));
        self.b.block = new.done;
        Ok(new.result)
    }

    /// r0 of `bpf_user_ringbuf_drain`: each step gives a sample or the end, and is told whether the callback wants more.
    pub(crate) fn drain_loop(&mut self, frame: &Frame) -> Result<Value, Unsupported> {
        let (callbacks, callback) = self.callback(frame);
        let map = self.register(frame, Reg::R1);
        let context = self.register(frame, Reg::R3);
        let flags = self.register(frame, Reg::R4);
        let new = self.new_loop();
        let zero = self.b.number(Type::I64, 0);
        self.end(Terminator::Jump(Edge { to: new.head, args: vec![zero] }));
        self.b.block = new.head;
        let out = self.scratch(frame, DRAIN_BYTES);
        let sample = self.b.call(
            Target::Helper(USER_RINGBUF_DRAIN),
            vec![map, new.calls, out, flags],
            FrameUse::UNKNOWN,
        );
        let place = Place { base: out, off: drain_words::COUNT, class: Class::Any, aligned: true };
        let count = self.b.load(Size::DW, Sign::Zero, place);
        let more = self.b.compare(Condition::Ne, sample, zero);
        let body = self.b.func.add_block();
        self.end(Terminator::Branch(
            more,
            Edge { to: body, args: Vec::new() },
            Edge { to: new.done, args: vec![count] },
        ));
        self.b.block = body;
        let stop = self.call_back(&callbacks, callback, &[sample, context]);
        let bit = self.b.number(Type::I64, drain_words::STOP);
        let last = self.b.binary(BinaryOp::Or, Type::I64, count, bit);
        let next = self.b.choose(stop, last, count);
        self.end(Terminator::Jump(Edge { to: new.head, args: vec![next] }));
        self.b.block = new.done;
        Ok(new.result)
    }

    /// r0 of `bpf_rbtree_add`: each step gives the node to compare the new one with, or the end.
    pub(crate) fn tree_add(&mut self, frame: &Frame, step: u32) -> Value {
        let (callbacks, callback) = self.callback_in(frame, Reg::R3);
        let (root, node) = (self.register(frame, Reg::R1), self.register(frame, Reg::R2));
        let (head, body, done) = (self.b.func.add_block(), self.b.func.add_block(), self.b.func.add_block());
        let next = self.b.param(head, self.at);
        let zero = self.b.number(Type::I64, 0);
        let first = self.b.call(Target::Kfunc(step), vec![root, node, zero, zero], FrameUse::UNKNOWN);
        self.end(Terminator::Jump(Edge { to: head, args: vec![first] }));
        self.b.block = head;
        let most = self.b.number(Type::I64, TREE_ADD_DONE);
        let more = self.b.compare(Condition::UGt, next, most);
        let edge = |to| Edge { to, args: Vec::new() };
        self.end(Terminator::Branch(more, edge(body), edge(done)));
        self.b.block = body;
        let before = self.call_back(&callbacks, callback, &[node, next]);
        let (zero, one) = (self.b.number(Type::I64, 0), self.b.number(Type::I64, 1));
        let before = self.b.choose(before, one, zero);
        let after = self.b.call(Target::Kfunc(step), vec![root, node, next, before], FrameUse::UNKNOWN);
        self.end(Terminator::Jump(Edge { to: head, args: vec![after] }));
        self.b.block = done;
        next
    }

    /// What may be called back, and the register that says which of them.
    fn callback(&mut self, frame: &Frame) -> (Vec<InsnId>, Value) {
        self.callback_in(frame, Reg::R2)
    }

    fn callback_in(&mut self, frame: &Frame, reg: Reg) -> (Vec<InsnId>, Value) {
        let callbacks = self.call_fact().map_or_else(Vec::new, |fact| fact.callbacks.clone());
        (callbacks, self.register(frame, reg))
    }

    fn new_loop(&mut self) -> Loop {
        let (head, done) = (self.b.func.add_block(), self.b.func.add_block());
        let calls = self.b.param(head, self.at);
        let result = self.b.param(done, self.at);
        Loop { head, done, calls, result }
    }

    /// There are no flags.
    fn refuse_flags(&mut self, flags: Value, done: BlockId) {
        let zero = self.b.number(Type::I64, 0);
        let any = self.b.compare(Condition::Ne, flags, zero);
        self.finish_if(any, done, EINVAL);
    }

    /// Ends with a number if the condition holds, and goes on in a new block if not.
    fn finish_if(&mut self, condition: Value, done: BlockId, number: i64) {
        if self.b.func.constant(condition) == Some(0) {
            return;
        }
        let result = self.b.number(Type::I64, number.cast_unsigned());
        let go_on = self.b.func.add_block();
        self.end(Terminator::Branch(
            condition,
            Edge { to: done, args: vec![result] },
            Edge { to: go_on, args: Vec::new() },
        ));
        self.b.block = go_on;
    }

    /// The next turn if the condition holds, the end with the number of calls if not.
    fn go_on_if(&mut self, condition: Value, this: &Loop) {
        let body = self.b.func.add_block();
        self.end(Terminator::Branch(
            condition,
            Edge { to: body, args: Vec::new() },
            Edge { to: this.done, args: vec![this.calls] },
        ));
        self.b.block = body;
    }

    fn one_more(&mut self, calls: Value) -> Value {
        let one = self.b.number(Type::I64, 1);
        self.b.binary(BinaryOp::Add, Type::I64, calls, one)
    }

    /// Calls the subprogram that `pointer` says; whether it asks to stop.
    fn call_back(&mut self, callbacks: &[InsnId], pointer: Value, given: &[Value]) -> Value {
        let Some((&last, others)) = callbacks.split_last() else {
            // Nothing was seen to be called: nothing is.
            let zero = self.b.number(Type::I64, 0);
            return self.b.compare(Condition::Ne, zero, zero);
        };
        if others.is_empty() {
            return self.call_back_to(last, given);
        }
        let after = self.b.func.add_block();
        let result = self.b.param(after, self.at);
        for &callback in others {
            let address = self.b.number(Type::I64, function_address(callback));
            let this = self.b.compare(Condition::Eq, pointer, address);
            let (call, next) = (self.b.func.add_block(), self.b.func.add_block());
            let edge = |to| Edge { to, args: Vec::new() };
            self.end(Terminator::Branch(this, edge(call), edge(next)));
            self.b.block = call;
            self.call_back_into(callback, given, after);
            self.b.block = next;
        }
        self.call_back_into(last, given, after);
        self.b.block = after;
        let zero = self.b.number(Type::I64, 0);
        self.b.compare(Condition::Ne, result, zero)
    }

    fn call_back_into(&mut self, callback: InsnId, given: &[Value], after: BlockId) {
        let returned = self.called_back(callback, given);
        self.end(Terminator::Jump(Edge { to: after, args: vec![returned] }));
    }

    fn call_back_to(&mut self, callback: InsnId, given: &[Value]) -> Value {
        let result = self.called_back(callback, given);
        let zero = self.b.number(Type::I64, 0);
        self.b.compare(Condition::Ne, result, zero)
    }

    /// What the subprogram returns.
    fn called_back(&mut self, entry: InsnId, given: &[Value]) -> Value {
        let callee = self.verified.program().subprogram_of(entry);
        let taken = self.verified.facts().arguments[callee];
        let zero = self.b.number(Type::I64, 0);
        let args = (0..Reg::ARGS.len())
            .filter(|at| taken >> at & 1 == 1)
            .map(|at| given.get(at).copied().unwrap_or(zero))
            .collect();
        let function = self.program.function_of(callee);
        self.b.call(Target::Function(function), args, FrameUse::UNKNOWN)
    }
}

/// Whether a helper calls back.
pub(crate) const fn calls_back(helper: u32) -> bool {
    matches!(helper, FOR_EACH_MAP_ELEM | LOOP | USER_RINGBUF_DRAIN)
}
