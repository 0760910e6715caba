//! Building the body of a subprogram: instructions in order, registers and promoted slots as variables.
//!
//! In: the [`Shape`] of a subprogram and values for its arguments. Out: nodes and blocks in one function; an
//! inlined subprogram is built into its caller, with a [`Frame`] of its own. A block with one way in continues
//! the variables of the block before; any other gets a parameter for each variable that may differ
//! between them (`shape`), and `passes::params` takes out those that turn out to be one value.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::rc::Rc;

use beelift_runtime::TrapKind;

use super::build::Program;
use super::fold::{Builder, Divisor};
use super::func::{
    Address, BinaryOp, BlockId, Class, Condition, Edge, FrameUse, Place, Target, Terminator, Type, Value,
};
use super::shape::{self, REGISTERS, Shape};
use super::slots;
use super::{Options, Unsupported};
use crate::isa::limits::{MAY_GOTO_BUDGET, function_address};
use crate::isa::semantics::{self, Machine};
use crate::isa::{AluOp, Callee, Const64, Insn, InsnId, Operand, Reg, Size, Width};
use crate::verify::Verified;
use crate::verify::facts::{CallFact, StackArgument, ValueFact};

/// One activation of a subprogram inside a native function.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) shape: Rc<Shape>,
    /// Lowest byte of its stack in the native function's frame.
    base: u32,
    /// Nesting of inlined activations.
    pub(crate) depth: u32,
    /// Current values of the variables.
    pub(crate) state: Vec<Value>,
    /// IR block of each code block, once an edge to it exists.
    blocks: Vec<Option<BlockId>>,
    /// Variables at the start of code blocks with one way in.
    states: Vec<Option<Vec<Value>>>,
    /// Variables at the end of code blocks that others ask.
    ends: Vec<Option<Vec<Value>>>,
    /// Where `exit` goes: the block whose parameter is r0, or out of the function.
    exit: Option<BlockId>,
}

impl Frame {
    /// An activation above `base` bytes of stack that others hold. Those that have returned hold none.
    pub(crate) fn new(
        b: &mut Builder,
        shape: Rc<Shape>,
        depth: u32,
        base: u32,
        exit: Option<BlockId>,
    ) -> Self {
        b.func.frame_size = b.func.frame_size.max(base + shape.depth);
        let count = shape.blocks.len();
        let state = vec![Value::NONE; shape.variables()];
        let (blocks, states, ends) = (vec![None; count], vec![None; count], vec![None; count]);
        Self { shape, base, depth, state, blocks, states, ends, exit }
    }
    /// Address of the byte at `offset` from r10.
    pub(crate) fn place(&self, b: &mut Builder, offset: i32) -> Place {
        let base = self.end(b);
        b.settle(Place { base, off: offset, class: Class::Stack, aligned: offset % 8 == 0 })
    }
    /// Likewise, as a value.
    pub(crate) fn address(&self, b: &mut Builder, offset: i32) -> Value {
        let end = self.end(b);
        let offset = b.number(Type::I64, i64::from(offset).cast_unsigned());
        b.binary(BinaryOp::Add, Type::I64, end, offset)
    }
    /// Bytes of the native function's frame by offset from r10.
    pub(crate) fn bytes(&self, offset: i32) -> Option<u32> {
        (self.base + self.shape.depth).checked_add_signed(offset)
    }
    /// Offset of the first byte that no activation holds now, in the native function's frame.
    fn free(&self) -> u32 {
        (self.base + self.shape.depth).next_multiple_of(8)
    }
    /// r10.
    fn end(&self, b: &mut Builder) -> Value {
        b.frame(self.base + self.shape.depth)
    }
}

/// A native function being built.
pub(crate) struct Body<'a> {
    pub(crate) verified: &'a Verified,
    pub(crate) options: Options,
    pub(crate) program: &'a mut Program,
    pub(crate) b: Builder,
    /// Current instruction.
    pub(crate) at: InsnId,
    /// Values that are an element's address or null.
    pub(crate) lookups: Vec<Value>,
}

impl Body<'_> {
    /// Builds one activation from its entry on, in the current block.
    pub(crate) fn build(&mut self, frame: &mut Frame) -> Result<(), Unsupported> {
        let shape = Rc::clone(&frame.shape);
        if self.verified.facts().zero_stack.get(self.subprogram(frame)).copied().unwrap_or(false) {
            self.zero_stack(frame);
        }
        self.goto(frame, 0);
        for (index, block) in shape.blocks.iter().enumerate() {
            // Every way in from an earlier block has been seen; a block without one is dead after folding.
            let Some(at) = frame.blocks[index] else { continue };
            self.b.block = at;
            if let Some(state) = frame.states[index].take() {
                frame.state = state;
            } else {
                self.block_params(frame, index);
            }
            self.run(frame, index, block.start, block.end)?;
            if block.keeps_state {
                frame.ends[index] = Some(frame.state.clone());
            }
        }
        Ok(())
    }

    fn subprogram(&self, frame: &Frame) -> usize {
        self.verified.program().subprogram_of(frame.shape.blocks[0].start)
    }

    /// Variables that merge in a block become its parameters; the others are what they were where all its ways
    /// in come from.
    fn block_params(&mut self, frame: &mut Frame, index: usize) {
        let code = &frame.shape.blocks[index];
        if index > 0 {
            let end = frame.ends[code.dominator].as_ref().expect("built before, and asked to keep it");
            frame.state.clone_from(end);
        }
        let block = frame.blocks[index].expect("the block is being built");
        let mut params = self.b.func.blocks[block.index()].params.clone().into_iter();
        for (variable, value) in frame.state.iter_mut().enumerate() {
            if code.merges >> variable & 1 == 1 {
                *value = params.next().expect("made by `target`");
            }
        }
    }

    fn run(
        &mut self,
        frame: &mut Frame,
        index: usize,
        start: InsnId,
        end: InsnId,
    ) -> Result<(), Unsupported> {
        for id in start.0..end.0 {
            self.set_insn(InsnId(id));
            if self.options.assert_facts {
                self.assert_operands(frame);
            }
            let insn = self.verified.program().insns[id as usize]; // u32 to usize
            if !self.instruction(frame, index, insn)? {
                return Ok(());
            }
        }
        // The next instruction begins a block.
        if let Some(next) = frame.shape.blocks[index].next {
            self.goto(frame, next);
        }
        Ok(())
    }

    fn set_insn(&mut self, id: InsnId) {
        self.at = id;
        self.b.insn = id;
    }

    /// One instruction; false if it ended the block.
    fn instruction(&mut self, frame: &mut Frame, index: usize, insn: Insn) -> Result<bool, Unsupported> {
        match insn {
            Insn::Alu { op, width, dst, src } => {
                let narrowed = self.verified.facts().arena_alu.get(self.at.index()) == Some(&true);
                let width = if narrowed { Width::W32 } else { width };
                let value = self.alu(frame, op, width, dst, src);
                self.set_register(frame, dst, value);
            }
            Insn::Swap { order, size, dst } => {
                let value = self.register(frame, dst);
                let value = semantics::swap(&mut self.b, order, size, value);
                self.set_register(frame, dst, value);
            }
            Insn::Const { dst, value } => {
                let value = self.wide_constant(value)?;
                self.set_register(frame, dst, value);
            }
            Insn::Load { .. }
            | Insn::Store { .. }
            | Insn::Atomic { .. }
            | Insn::LoadAcquire { .. }
            | Insn::StoreRelease { .. } => self.memory(frame, insn)?,
            Insn::Call(callee) => return self.call(frame, callee),
            Insn::Jump { .. } => {
                let to = frame.shape.blocks[index].taken.expect("a jump has a target");
                self.jump(frame, to);
                return Ok(false);
            }
            Insn::Branch { op, width, lhs, rhs, .. } => {
                self.branch(frame, index, op, width, lhs, rhs);
                return Ok(false);
            }
            Insn::Exit => {
                self.exit(frame);
                return Ok(false);
            }
            Insn::MayGoto { .. } => {
                self.may_goto(frame, index);
                return Ok(false);
            }
            Insn::AddrSpaceCast { dst, src, to } => {
                let value = self.cast(frame, src, to)?;
                self.set_register(frame, dst, value);
            }
            Insn::LegacyPacket { size, index, off } => self.legacy_packet(frame, size, index, off),
        }
        Ok(true)
    }

    pub(crate) fn unsupported(&self, what: impl Into<Cow<'static, str>>) -> Unsupported {
        Unsupported { at: self.at, what: what.into() }
    }

    /// A register's value. One that was never written is read only by code whose result does not matter.
    pub(crate) fn register(&mut self, frame: &Frame, reg: Reg) -> Value {
        if reg == Reg::R10 {
            return frame.end(&mut self.b);
        }
        self.defined(frame.state[reg.index()])
    }
    pub(crate) fn set_register(&mut self, frame: &mut Frame, reg: Reg, value: Value) {
        frame.state[reg.index()] = value;
    }
    /// An argument of a call, `NONE` for a register that holds nothing.
    pub(crate) fn argument(&mut self, frame: &Frame, reg: Reg) -> Value {
        self.register(frame, reg)
    }
    /// An argument of a subprogram: an address in the frame by its place, wherever the register has it from.
    fn passed(&mut self, frame: &Frame, reg: Reg) -> Value {
        let places = self.call_fact().map_or([StackArgument::Elsewhere; 5], |fact| fact.stack_arguments);
        let at = Reg::ARGS.iter().position(|&argument| argument == reg);
        match at.map_or(StackArgument::Elsewhere, |at| places[at]) {
            StackArgument::At(offset) => {
                let address = frame.address(&mut self.b, offset);
                if self.options.assert_facts {
                    let given = self.argument(frame, reg);
                    let wrong = self.b.compare(Condition::Ne, given, address);
                    self.trap_if(TrapKind::FactViolated, wrong);
                }
                address
            }
            StackArgument::Elsewhere | StackArgument::Varies => self.argument(frame, reg),
        }
    }
    pub(crate) fn slot(&mut self, frame: &Frame, slot: usize) -> Value {
        self.defined(frame.state[REGISTERS + slot])
    }
    pub(crate) fn set_slot(&mut self, frame: &mut Frame, slot: usize, value: Value) {
        frame.state[REGISTERS + slot] = value;
    }
    pub(crate) fn defined(&mut self, value: Value) -> Value {
        if value == Value::NONE { self.b.number(Type::I64, 0) } else { value }
    }
    pub(crate) fn operand(&mut self, frame: &Frame, operand: Operand) -> Value {
        match operand {
            Operand::Reg(reg) => self.register(frame, reg),
            Operand::Imm(number) => self.b.number(Type::I64, number.cast_unsigned()),
        }
    }
    pub(crate) fn lhs_fact(&self) -> ValueFact {
        self.verified.facts().lhs[self.at.index()].unwrap_or(ValueFact::TOP)
    }
    /// What is known of the second operand.
    pub(crate) fn rhs_fact(&self, operand: Operand) -> ValueFact {
        match operand {
            Operand::Imm(number) => constant_fact(number.cast_unsigned()),
            Operand::Reg(_) => self.verified.facts().rhs[self.at.index()].unwrap_or(ValueFact::TOP),
        }
    }
    pub(crate) fn call_fact(&self) -> Option<&CallFact> {
        self.verified.facts().call[self.at.index()].as_deref()
    }

    fn alu(&mut self, frame: &Frame, op: AluOp, width: Width, dst: Reg, operand: Operand) -> Value {
        let lhs = if op.reads_dst() { self.register(frame, dst) } else { self.b.number(Type::I64, 0) };
        let rhs = if op.reads_src() { self.operand(frame, operand) } else { lhs };
        match op {
            AluOp::Div | AluOp::Mod | AluOp::SDiv | AluOp::SMod => {
                let (left, right) = (self.lhs_fact(), self.rhs_fact(operand));
                // Unsigned division of small numbers is the same at both widths, and faster at the narrow one.
                let small = left.umax <= u64::from(u32::MAX) && right.umax <= u64::from(u32::MAX);
                let width = match op {
                    AluOp::Div | AluOp::Mod if small => Width::W32,
                    _ => width,
                };
                self.b.divisor = divisor(right, width);
                let value = semantics::alu(&mut self.b, op, width, lhs, rhs);
                self.b.divisor = Divisor::default();
                value
            }
            AluOp::Add
            | AluOp::Sub
            | AluOp::Mul
            | AluOp::Or
            | AluOp::And
            | AluOp::Xor
            | AluOp::Lsh
            | AluOp::Rsh
            | AluOp::Arsh
            | AluOp::Neg
            | AluOp::Mov
            | AluOp::MovSx8
            | AluOp::MovSx16
            | AluOp::MovSx32 => semantics::alu(&mut self.b, op, width, lhs, rhs),
        }
    }

    fn wide_constant(&mut self, value: Const64) -> Result<Value, Unsupported> {
        Ok(match value {
            Const64::Imm(number) => self.b.number(Type::I64, number),
            Const64::Map(slot) | Const64::MapIndex(slot) => self.b.address(Address::MapHandle(slot)),
            Const64::MapValue(slot, offset) | Const64::MapIndexValue(slot, offset) => {
                self.b.address(Address::MapValue(slot, offset))
            }
            Const64::Ksym(_) => return Err(self.unsupported("kernel symbol")),
            Const64::Function(entry) => self.b.number(Type::I64, function_address(entry)),
        })
    }

    /// A call; false if it does not come back.
    fn call(&mut self, frame: &mut Frame, callee: Callee) -> Result<bool, Unsupported> {
        let result = match shape::callee(self.verified, self.at, callee) {
            Callee::Helper(helper) => self.helper(frame, helper)?,
            Callee::Subprogram(entry) => self.call_subprogram(frame, entry)?,
            Callee::Kfunc { kfunc, .. } => match self.kfunc(frame, kfunc)? {
                Some(result) => result,
                None => return Ok(false),
            },
            Callee::Register(reg) => self.call_one_of(frame, reg)?,
        };
        self.returned(frame, result);
        Ok(true)
    }

    /// Registers after a call.
    fn returned(&mut self, frame: &mut Frame, result: Value) {
        for reg in Reg::ARGS {
            self.set_register(frame, reg, Value::NONE);
        }
        self.set_register(frame, Reg::R0, result);
    }

    /// A load from the packet, or the end of the subprogram, which returns 0.
    fn legacy_packet(&mut self, frame: &mut Frame, size: Size, index: Option<Reg>, off: i32) {
        let mut offset = self.b.number(Type::I64, i64::from(off).cast_unsigned());
        if let Some(index) = index {
            let index = self.register(frame, index);
            offset = self.b.binary(BinaryOp::Add, Type::I64, index, offset);
        }
        let bytes = self.b.number(Type::I64, u64::from(size.bytes()));
        let result = self.b.call(Target::PacketLoad, vec![offset, bytes], FrameUse::NONE);
        let zero = self.b.number(Type::I64, 0);
        let outside = self.b.compare(Condition::SLt, result, zero);
        self.leave_if(frame, outside, |_| zero);
        self.returned(frame, result);
    }

    /// Leaves the subprogram with a value if the condition holds, and goes on in a new block if not.
    pub(crate) fn leave_if(
        &mut self,
        frame: &Frame,
        condition: Value,
        value: impl FnOnce(&mut Self) -> Value,
    ) {
        let (leave, go_on) = (self.b.func.add_block(), self.b.func.add_block());
        let edge = |to| Edge { to, args: Vec::new() };
        self.end(Terminator::Branch(condition, edge(leave), edge(go_on)));
        self.b.block = leave;
        let value = value(self);
        self.leave(frame, value);
        self.b.block = go_on;
    }

    /// Address of bytes of the native frame that hold until the next activation is built.
    pub(crate) fn scratch(&mut self, frame: &Frame, bytes: u32) -> Value {
        let base = frame.free();
        self.b.func.frame_size = self.b.func.frame_size.max(base + bytes);
        self.b.frame(base)
    }

    /// Falls through while the frame has iterations left.
    fn may_goto(&mut self, frame: &mut Frame, index: usize) {
        let (Some(next), Some(taken)) = (frame.shape.blocks[index].next, frame.shape.blocks[index].taken)
        else {
            unreachable!("both ways of may_goto are alive")
        };
        let slot = slots::iterations(&frame.shape.slots).expect("made for a subprogram with may_goto");
        let count = self.slot(frame, slot);
        let budget = self.b.number(Type::I64, u64::from(MAY_GOTO_BUDGET));
        let used_up = self.b.compare(Condition::UGe, count, budget);
        let then = self.taken_edge(frame, taken, None);
        let one = self.b.number(Type::I64, 1);
        let more = self.b.binary(BinaryOp::Add, Type::I64, count, one);
        self.set_slot(frame, slot, more);
        let otherwise = self.edge(frame, next, None);
        self.end(Terminator::Branch(used_up, then, otherwise));
    }

    /// A call of what a register holds, one of those that the verifier saw.
    fn call_one_of(&mut self, frame: &mut Frame, reg: Reg) -> Result<Value, Unsupported> {
        let targets = self.call_fact().map_or_else(Vec::new, |fact| fact.targets.clone());
        let value = self.register(frame, reg);
        let after = self.b.func.add_block();
        let result = self.b.param(after, self.at);
        for (index, &target) in targets.iter().enumerate() {
            let number = match target {
                Callee::Subprogram(entry) => function_address(entry),
                Callee::Helper(helper) => u64::from(helper),
                Callee::Kfunc { .. } | Callee::Register(_) => unreachable!("no register names these"),
            };
            // What is none of the others is the last.
            if index + 1 < targets.len() {
                let number = self.b.number(Type::I64, number);
                let this = self.b.compare(Condition::Eq, value, number);
                let (call, next) = (self.b.func.add_block(), self.b.func.add_block());
                let edge = |to| Edge { to, args: Vec::new() };
                self.end(Terminator::Branch(this, edge(call), edge(next)));
                self.b.block = call;
                let returned = self.call_target(frame, target)?;
                self.end(Terminator::Jump(Edge { to: after, args: vec![returned] }));
                self.b.block = next;
            } else {
                let returned = self.call_target(frame, target)?;
                self.end(Terminator::Jump(Edge { to: after, args: vec![returned] }));
            }
        }
        self.b.block = after;
        Ok(result)
    }

    fn call_target(&mut self, frame: &mut Frame, target: Callee) -> Result<Value, Unsupported> {
        match target {
            Callee::Subprogram(entry) => self.call_subprogram(frame, entry),
            // What the verifier knows of the instruction is of several helpers, so that none is done in line.
            Callee::Helper(helper) if super::callbacks::calls_back(helper) => {
                Err(self.unsupported("helper that calls back, by a register that may hold another one"))
            }
            Callee::Helper(helper) => Ok(self.plain_helper(frame, helper)),
            Callee::Kfunc { .. } | Callee::Register(_) => unreachable!("no register names these"),
        }
    }

    fn call_subprogram(&mut self, frame: &mut Frame, entry: InsnId) -> Result<Value, Unsupported> {
        let callee = self.verified.program().subprogram_of(entry);
        let taken = self.verified.facts().arguments[callee];
        let passed: Vec<Reg> = Reg::ARGS
            .into_iter()
            .enumerate()
            .filter(|&(at, _)| taken >> at & 1 == 1)
            .map(|(_, reg)| reg)
            .collect();
        let args: Vec<Value> = passed.iter().map(|&reg| self.passed(frame, reg)).collect();
        if !self.program.inlines(self.verified, callee, frame.depth, self.b.func.nodes.len()) {
            let function = self.program.function_of(callee);
            let points = self.call_fact().is_none_or(|fact| fact.stack_escapes);
            let frame_use = if points { FrameUse::UNKNOWN } else { FrameUse::NONE };
            return Ok(self.b.call(Target::Function(function), args, frame_use));
        }
        let after = self.b.func.add_block();
        let result = self.b.param(after, self.at);
        let at = self.at;
        let shape = self.program.shape(self.verified, callee);
        let base = frame.base + frame.shape.depth;
        let mut inner = Frame::new(&mut self.b, shape, frame.depth + 1, base, Some(after));
        for (reg, value) in passed.into_iter().zip(args) {
            self.set_register(&mut inner, reg, value);
        }
        self.build(&mut inner)?;
        self.b.block = after;
        self.set_insn(at);
        Ok(result)
    }

    fn exit(&mut self, frame: &Frame) {
        let blank = self.verified.facts().blank_result.get(self.at.index()) == Some(&true);
        let value = if blank { self.b.number(Type::I64, 0) } else { self.register(frame, Reg::R0) };
        self.leave(frame, value);
    }

    fn leave(&mut self, frame: &Frame, value: Value) {
        match frame.exit {
            None => self.end(Terminator::Return(value)),
            Some(to) => self.end(Terminator::Jump(Edge { to, args: vec![value] })),
        }
    }

    pub(crate) fn end(&mut self, end: Terminator) {
        let block = &mut self.b.func.blocks[self.b.block.index()];
        block.end = end;
        block.end_insn = self.at;
    }

    /// Goes on with a code block: in the current block if there is no other way into it.
    pub(crate) fn goto(&mut self, frame: &mut Frame, to: usize) {
        if frame.shape.blocks[to].preds == 1 {
            frame.blocks[to] = Some(self.b.block);
            frame.states[to] = Some(frame.state.clone());
        } else {
            let edge = self.edge(frame, to, None);
            self.end(Terminator::Jump(edge));
        }
    }

    /// An edge to a code block with the current variables; `known` replaces one value by another on it.
    pub(crate) fn edge(&mut self, frame: &mut Frame, to: usize, known: Option<(Value, Value)>) -> Edge {
        let state: Vec<Value> = match known {
            None => frame.state.clone(),
            Some((old, new)) => {
                frame.state.iter().map(|&value| if value == old { new } else { value }).collect()
            }
        };
        let block = self.target(frame, to);
        if frame.shape.blocks[to].preds == 1 {
            frame.states[to] = Some(state);
            return Edge { to: block, args: Vec::new() };
        }
        let merges = frame.shape.blocks[to].merges;
        let args = state
            .iter()
            .enumerate()
            .filter(|&(variable, _)| merges >> variable & 1 == 1)
            .map(|(_, &value)| self.defined(value))
            .collect();
        Edge { to: block, args }
    }

    /// The IR block of a code block, made at the first edge to it.
    fn target(&mut self, frame: &mut Frame, to: usize) -> BlockId {
        if let Some(block) = frame.blocks[to] {
            return block;
        }
        let block = self.b.func.add_block();
        frame.blocks[to] = Some(block);
        let code = &frame.shape.blocks[to];
        if code.preds != 1 {
            for _ in 0..code.merges.count_ones() {
                self.b.param(block, code.start);
            }
        }
        block
    }

    /// Bytes of the frame that the program may read before it writes them read as zero. (Promoted slots do by
    /// themselves, see `defined`.)
    fn zero_stack(&mut self, frame: &Frame) {
        let depth = i32::try_from(frame.shape.depth).expect("frames are at most some KiB");
        for offset in (-depth..0).step_by(8) {
            let promoted: u32 = frame
                .shape
                .slots
                .iter()
                .filter(|slot| (offset..offset + 8).contains(&slot.offset))
                .map(|slot| slot.size.bytes())
                .sum();
            if promoted == 8 {
                continue;
            }
            let place = frame.place(&mut self.b, offset);
            let zero = self.b.constant(Width::W64, 0);
            self.b.store(crate::isa::Size::DW, place, zero);
        }
    }
}

/// What is known of a constant.
fn constant_fact(number: u64) -> ValueFact {
    let signed = number.cast_signed();
    ValueFact { umin: number, umax: number, smin: signed, smax: signed, bits: number, mask: 0 }
}

/// What a range says of a divisor at a width.
fn divisor(fact: ValueFact, width: Width) -> Divisor {
    let low = u64::from(u32::MAX);
    let one = fact.bits & !fact.mask;
    let zero = !fact.bits & !fact.mask;
    match width {
        Width::W64 => Divisor {
            nonzero: fact.umin > 0 || one != 0 || fact.smin > 0 || fact.smax < 0,
            not_minus_one: fact.umax < u64::MAX || zero != 0 || fact.smin >= 0 || fact.smax < -1,
        },
        Width::W32 => Divisor {
            nonzero: one & low != 0 || (fact.umin > 0 && fact.umax <= low),
            not_minus_one: zero & low != 0 || fact.umax < low,
        },
    }
}
