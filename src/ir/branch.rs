//! Branches of a body: conditions sharpened by ranges, null checks fused with lookups, fuel.
//!
//! In: a conditional or unconditional jump and the facts about it. Out: the end of the current block.
#![forbid(unsafe_code)]

use beelift_runtime::TrapKind;
use beelift_runtime::abi::offset;

use super::body::{Body, Frame};
use super::func::{BinaryOp, Class, Condition, Edge, Op, Place, Terminator, Type, UnaryOp, Value};
use crate::isa::semantics::{self, Machine};
use crate::isa::{CmpOp, Operand, Reg, Sign, Size, Width};
use crate::verify::facts::{BranchFact, ValueFact};

impl Body<'_> {
    pub(crate) fn jump(&mut self, frame: &mut Frame, to: usize) {
        if self.burns_fuel() {
            self.burn_fuel();
        }
        self.goto(frame, to);
    }

    pub(crate) fn branch(
        &mut self,
        frame: &mut Frame,
        index: usize,
        op: CmpOp,
        width: Width,
        lhs: Reg,
        rhs: Operand,
    ) {
        let (a, b) = (self.register(frame, lhs), self.operand(frame, rhs));
        let (next, taken) = (frame.shape.blocks[index].next, frame.shape.blocks[index].taken);
        match self.verified.facts().branch[self.at.index()] {
            BranchFact::Both => {}
            decided @ (BranchFact::Always | BranchFact::Never) => {
                if self.options.assert_facts {
                    let holds = semantics::compare(&mut self.b, op, width, a, b);
                    let wrong = if decided == BranchFact::Always { self.b.inverse(holds) } else { holds };
                    self.trap_if(TrapKind::FactViolated, wrong);
                }
                match (decided, next, taken) {
                    (BranchFact::Always, _, Some(taken)) => self.jump(frame, taken),
                    (_, Some(next), _) => self.goto(frame, next),
                    (_, None, _) => unreachable!("a branch falls through to an instruction"),
                }
                return;
            }
        }
        let (Some(next), Some(taken)) = (next, taken) else {
            unreachable!("a branch that goes both ways has two successors")
        };
        if let Some((inside, address)) = self.null_check(op, width, a, b) {
            self.end_null_check(frame, op, a, inside, address, next, taken);
            return;
        }
        let op =
            if self.is_counter(a) { sharpen(op, width, self.lhs_fact(), self.rhs_fact(rhs)) } else { op };
        let condition = semantics::compare(&mut self.b, op, width, a, b);
        match self.b.func.constant(condition) {
            Some(0) => self.goto_one(frame, next),
            Some(_) => {
                if self.burns_fuel() {
                    self.burn_fuel();
                }
                self.goto_one(frame, taken);
            }
            None => {
                let then = self.taken_edge(frame, taken, None);
                let otherwise = self.edge(frame, next, None);
                self.end(Terminator::Branch(condition, then, otherwise));
            }
        }
    }

    /// Whether a value is another one plus a constant.
    fn is_counter(&self, value: Value) -> bool {
        match self.b.func.op(value) {
            Op::Binary(BinaryOp::Add, _, step) => self.b.func.constant(step).is_some(),
            Op::Unary(UnaryOp::Widen, inner) => {
                matches!(self.b.func.op(inner), Op::Binary(BinaryOp::Add, _, step) if self.b.func.constant(step).is_some())
            }
            _ => false,
        }
    }

    /// Like `goto`; the other way out does not exist after all, though its block counts it.
    fn goto_one(&mut self, frame: &mut Frame, to: usize) {
        let edge = self.edge(frame, to, None);
        self.end(Terminator::Jump(edge));
    }

    /// The index check and the address of the lookup whose result a branch compares with null.
    fn null_check(&self, op: CmpOp, width: Width, a: Value, b: Value) -> Option<(Value, Value)> {
        let tests_null = matches!(op, CmpOp::Eq | CmpOp::Ne) && width == Width::W64;
        if !tests_null || self.b.func.constant(b) != Some(0) || !self.lookups.contains(&a) {
            return None;
        }
        match self.b.func.op(a) {
            Op::Select(inside, address, _) => Some((inside, address)),
            _ => None,
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one branch")]
    fn end_null_check(
        &mut self,
        frame: &mut Frame,
        op: CmpOp,
        result: Value,
        inside: Value,
        address: Value,
        next: usize,
        taken: usize,
    ) {
        let null = self.b.number(Type::I64, 0);
        let (on_taken, on_next) = if op == CmpOp::Eq { (null, address) } else { (address, null) };
        let then = self.taken_edge(frame, taken, Some((result, on_taken)));
        let otherwise = self.edge(frame, next, Some((result, on_next)));
        let (inside, then, otherwise) =
            if op == CmpOp::Eq { (inside, otherwise, then) } else { (inside, then, otherwise) };
        self.end(Terminator::Branch(inside, then, otherwise));
    }

    fn burns_fuel(&self) -> bool {
        self.verified.facts().fuel[self.at.index()]
    }

    /// The edge a branch takes when it holds, with a stop at the pump if the verifier asked for it.
    pub(crate) fn taken_edge(&mut self, frame: &mut Frame, to: usize, known: Option<(Value, Value)>) -> Edge {
        let edge = self.edge(frame, to, known);
        if !self.burns_fuel() {
            return edge;
        }
        let here = self.b.block;
        let pump = self.b.func.add_block();
        self.b.block = pump;
        self.burn_fuel();
        self.end(Terminator::Jump(edge));
        self.b.block = here;
        Edge { to: pump, args: Vec::new() }
    }

    fn burn_fuel(&mut self) {
        let base = self.b.runtime();
        let place = Place { base, off: offset::FUEL, class: Class::Runtime, aligned: true };
        let fuel = self.b.load(Size::DW, Sign::Zero, place);
        let zero = self.b.number(Type::I64, 0);
        let empty = self.b.compare(Condition::Eq, fuel, zero);
        self.trap_if(TrapKind::Fuel, empty);
        let one = self.b.number(Type::I64, 1);
        let less = self.b.binary(BinaryOp::Sub, Type::I64, fuel, one);
        self.b.store(Size::DW, place, less);
    }

    pub(crate) fn trap_if(&mut self, kind: TrapKind, condition: Value) {
        if self.b.func.constant(condition) != Some(0) {
            self.b.emit(Op::TrapIf(kind, condition), Type::I64);
        }
    }

    /// Checks what the verifier says of the operands of the current instruction.
    pub(crate) fn assert_operands(&mut self, frame: &Frame) {
        use crate::isa::Insn;
        let insn = self.verified.program().insns[self.at.index()];
        let (lhs, rhs) = match insn {
            Insn::Alu { op, dst, src, .. } => (op.reads_dst().then_some(dst), op.reads_src().then_some(src)),
            Insn::Swap { dst, .. } => (Some(dst), None),
            Insn::Branch { lhs, rhs, .. } => (Some(lhs), Some(rhs)),
            Insn::Store { src, .. } => (None, Some(src)),
            Insn::Atomic { src, .. } | Insn::StoreRelease { src, .. } => (None, Some(Operand::Reg(src))),
            Insn::Load { .. }
            | Insn::LoadAcquire { .. }
            | Insn::MayGoto { .. }
            | Insn::AddrSpaceCast { .. }
            | Insn::Const { .. }
            | Insn::Jump { .. }
            | Insn::Call(_)
            | Insn::LegacyPacket { .. }
            | Insn::Exit => (None, None),
        };
        let facts = self.verified.facts();
        let (left, right) = (facts.lhs[self.at.index()], facts.rhs[self.at.index()]);
        if let (Some(reg), Some(fact)) = (lhs, left) {
            let value = self.register(frame, reg);
            self.assert_fact(value, fact);
        }
        if let (Some(Operand::Reg(reg)), Some(fact)) = (rhs, right) {
            let value = self.register(frame, reg);
            self.assert_fact(value, fact);
        }
    }

    fn assert_fact(&mut self, value: Value, fact: ValueFact) {
        let top = ValueFact::TOP;
        let bounds = [
            (fact.umin != top.umin, Condition::ULt, fact.umin),
            (fact.umax != top.umax, Condition::UGt, fact.umax),
            (fact.smin != top.smin, Condition::SLt, fact.smin.cast_unsigned()),
            (fact.smax != top.smax, Condition::SGt, fact.smax.cast_unsigned()),
        ];
        for (known, outside, bound) in bounds {
            if known {
                let bound = self.b.number(Type::I64, bound);
                let wrong = self.b.compare(outside, value, bound);
                self.trap_if(TrapKind::FactViolated, wrong);
            }
        }
        if fact.mask != top.mask {
            let known = self.b.number(Type::I64, !fact.mask);
            let bits = self.b.and(Width::W64, value, known);
            let expected = self.b.number(Type::I64, fact.bits);
            let wrong = self.b.compare(Condition::Ne, bits, expected);
            self.trap_if(TrapKind::FactViolated, wrong);
        }
    }
}

/// The same comparison in a form the back end handles better: a loop exit `i != n` with `i <= n` known is
/// `i < n`. (Cranelift turns `(x + a) == b` into `x == b - a`, which keeps both `x` and `x + a` alive. It turns
/// unsigned comparisons with zero back into equality, so a counter that runs down to zero is compared signed.)
fn sharpen(op: CmpOp, width: Width, lhs: ValueFact, rhs: ValueFact) -> CmpOp {
    let low = u64::from(u32::MAX);
    if width == Width::W32 && (lhs.umax > low || rhs.umax > low) {
        return op;
    }
    let positive = match width {
        Width::W32 => low >> 1,
        Width::W64 => u64::MAX >> 1,
    };
    let (below, above) = (lhs.umax <= rhs.umin, lhs.umin >= rhs.umax);
    let down_to_zero = rhs.umax == 0 && lhs.umax <= positive;
    match op {
        CmpOp::Ne if below && rhs.umin > 0 => CmpOp::Lt,
        CmpOp::Ne if down_to_zero => CmpOp::SGt,
        CmpOp::Ne if above && rhs.umax > 0 => CmpOp::Gt,
        CmpOp::Eq if below && rhs.umin > 0 => CmpOp::Ge,
        CmpOp::Eq if down_to_zero => CmpOp::SLe,
        CmpOp::Eq if above && rhs.umax > 0 => CmpOp::Le,
        _ => op,
    }
}
