//! Arithmetic: numbers through `isa::semantics`, pointers by rules of their own.
#![forbid(unsafe_code)]

use super::step::copies;
use crate::isa::semantics;
use crate::isa::{AluOp, ByteOrder, Operand, Reg, Size, Width};
use crate::verify::domain::{AbstractScalar, Scalar};
use crate::verify::explore::{Check, Verifier};
use crate::verify::report::Reason;
use crate::verify::state::{Kind, MemFlags, Register};

/// Variable parts and constant parts of pointers stay below this, so that sums never wrap.
pub(crate) const MAX_VARIABLE_OFFSET: i64 = 1 << 29;

impl Verifier<'_> {
    pub(super) fn alu(&mut self, op: AluOp, width: Width, dst: Reg, src: Operand) -> Check {
        if copies(op) {
            return self.copy(op, width, dst, src);
        }
        if let Operand::Imm(value) = src
            && self.options.policy.linux_instructions
            && dst != Reg::R10
            && self.state.register(dst).kind != Kind::Uninit
        {
            immediate_is_valid(op, width, value)?;
        }
        // Most arithmetic is that of numbers.
        if self.tables.arena.is_none()
            && let Some(result) = self.of_numbers(op, width, dst, src)
        {
            return self.write(dst, result);
        }
        let source = if op == AluOp::Neg { Register::constant(0) } else { self.operand(src)? };
        let target = self.read(dst)?;
        if dst == Reg::R10 {
            return Err(Reason::FramePointerWrite.into());
        }
        if op == AluOp::Neg && target.kind.is_pointer() {
            if self.leaks(&target) {
                return Err(Reason::PointerArithmetic { op: "negation", kind: target.kind.name() }.into());
            }
            return self.write(dst, Register::unknown());
        }
        if self.tables.arena.is_some() && self.arena_arithmetic(&target, &source, width)? {
            return self.write(dst, Register::pointer(Kind::Arena));
        }
        match (target.is_scalar(), source.is_scalar()) {
            (true, true) => {
                let result = self.numbers(op, width, &target, &source);
                self.write(dst, result)
            }
            (false, false) => {
                if op == AluOp::Sub && self.options.policy.allow_pointer_leaks {
                    return self.write(dst, Register::unknown());
                }
                Err(Reason::PointerAndPointer { op: name(op) }.into())
            }
            (true, false) => {
                self.rely_on(dst);
                let result = self.pointer(op, width, &source, &target, true)?;
                self.write(dst, result)
            }
            (false, true) => {
                if let Operand::Reg(reg) = src {
                    self.rely_on(reg);
                }
                let result = self.pointer(op, width, &target, &source, false)?;
                self.write(dst, result)
            }
        }
    }

    /// The result when both operands are numbers.
    fn of_numbers(&self, op: AluOp, width: Width, dst: Reg, src: Operand) -> Option<Register> {
        let registers = &self.state.current().registers;
        let target = &registers[dst.index()];
        if !target.is_scalar() {
            return None;
        }
        match src {
            Operand::Reg(reg) if op != AluOp::Neg => {
                let source = &registers[reg.index()];
                source.is_scalar().then(|| self.numbers(op, width, target, source))
            }
            Operand::Imm(value) if op != AluOp::Neg => {
                Some(self.numbers(op, width, target, &Register::constant(value.cast_unsigned())))
            }
            Operand::Reg(_) | Operand::Imm(_) => {
                Some(self.numbers(op, width, target, &Register::constant(0)))
            }
        }
    }

    #[inline]
    fn numbers(&self, op: AluOp, width: Width, target: &Register, source: &Register) -> Register {
        if self.options.policy.coarse_arithmetic && !is_followed(op, width, &source.value) {
            return Register::unknown();
        }
        let value = semantics::alu(&mut AbstractScalar, op, width, target.value, source.value);
        let mut result = Register::scalar(value);
        // `r1 = r2; r1 += 5`: a bound learnt for one holds for the other, moved by 5.
        if op == AluOp::Add
            && width == Width::W64
            && target.id != 0
            && !target.linked_delta
            && let Some(delta) = source.value.constant()
            && let Ok(delta) = i32::try_from(delta)
        {
            result.id = target.id;
            result.linked_delta = true;
            result.off = delta;
        }
        result
    }

    fn copy(&mut self, op: AluOp, width: Width, dst: Reg, src: Operand) -> Check {
        let reg = match src {
            Operand::Imm(_) => {
                let number = self.operand(src)?;
                let value = semantics::alu(&mut AbstractScalar, op, width, number.value, number.value);
                return self.write(dst, Register::scalar(value));
            }
            Operand::Reg(reg) => reg,
        };
        if op == AluOp::Mov && width == Width::W64 && dst != Reg::R10 && self.state.register(reg).is_scalar()
        {
            let source = self.state.register(reg);
            let (id, value) = (source.id, source.value);
            let id = if source.linked_delta || (id == 0 && value.constant().is_none()) {
                let mut source = *source;
                self.link_scalar(&mut source);
                *self.state.register_mut(reg) = source;
                source.id
            } else {
                id
            };
            *self.state.register_mut(dst) = Register { id, ..Register::scalar(value) };
            return Ok(());
        }
        let mut source = self.read(reg)?;
        if !source.is_scalar() {
            if op == AluOp::Mov && width == Width::W64 {
                return self.write(dst, source);
            }
            if self.leaks(&source) {
                return Err(Reason::PartialPointerCopy { reg }.into());
            }
            return self.write(dst, Register::unknown());
        }
        let value = semantics::alu(&mut AbstractScalar, op, width, source.value, source.value);
        // The copy equals the original when the extension changes nothing.
        let equal = match (op, width) {
            (AluOp::Mov, Width::W64) => true,
            (AluOp::Mov, Width::W32) => source.value.umax() <= u64::from(u32::MAX),
            (AluOp::MovSx8, _) => source.value.umax() < 1 << 7,
            (AluOp::MovSx16, _) => source.value.umax() < 1 << 15,
            (AluOp::MovSx32, _) => source.value.umax() < 1 << 31,
            _ => false,
        };
        let mut result = Register::scalar(value);
        if equal {
            self.link_scalar(&mut source);
            *self.state.register_mut(reg) = source;
            result.id = source.id;
        }
        self.write(dst, result)
    }

    pub(super) fn swap(&mut self, order: ByteOrder, size: Size, dst: Reg) -> Check {
        let target = self.read(dst)?;
        if target.kind.is_pointer() {
            if self.leaks(&target) {
                return Err(Reason::PointerArithmetic { op: "byte swap", kind: target.kind.name() }.into());
            }
            return self.write(dst, Register::unknown());
        }
        if order == ByteOrder::Little && size == Size::DW {
            // Numbers are little-endian already.
            return Ok(());
        }
        let value = semantics::swap(&mut AbstractScalar, order, size, target.value);
        self.write(dst, Register::scalar(value))
    }

    /// `pointer op number`, or `number op pointer` when `reversed`.
    fn pointer(
        &mut self,
        op: AluOp,
        width: Width,
        pointer: &Register,
        number: &Register,
        reversed: bool,
    ) -> Check<Register> {
        let kind = pointer.kind;
        if width == Width::W32 {
            if op == AluOp::Sub && self.options.policy.allow_pointer_leaks {
                return Ok(Register::unknown());
            }
            return Err(Reason::PointerArithmetic32 { kind: kind.name() }.into());
        }
        if pointer.nullable {
            return Err(Reason::NullableArithmetic { kind: kind.name() }.into());
        }
        if let Kind::Memory(flags) = kind
            && flags.contains(MemFlags::UNTRUSTED)
        {
            return Ok(*pointer);
        }
        let constant = number.value.constant().map(u64::cast_signed);
        let allowed = match kind {
            Kind::Context
            | Kind::MapValue(_)
            | Kind::MapKey(_)
            | Kind::Stack(_)
            | Kind::Packet
            | Kind::PacketMeta
            | Kind::Object(..)
            | Kind::Dynptr(_)
            | Kind::Memory(_)
            | Kind::Function(_) => true,
            Kind::FlowKeys => constant.is_some(),
            Kind::Map(_) => constant == Some(0) && op == AluOp::Add,
            Kind::PacketEnd | Kind::Socket(_) | Kind::Arena | Kind::Uninit | Kind::Scalar => false,
        };
        if !allowed {
            return Err(Reason::PointerArithmetic { op: name(op), kind: kind.name() }.into());
        }
        sane_offset(kind, &number.value, 0)?;
        sane_offset(kind, &pointer.value, pointer.off)?;
        let result = match op {
            AluOp::Add => self.pointer_plus(pointer, number, constant),
            AluOp::Sub if reversed => {
                return Err(Reason::PointerFromNumber { kind: kind.name() }.into());
            }
            AluOp::Sub if matches!(kind, Kind::Stack(_)) => {
                return Err(Reason::PointerArithmetic { op: "subtraction", kind: kind.name() }.into());
            }
            AluOp::Sub => self.pointer_minus(pointer, number, constant),
            _ => return Err(Reason::PointerArithmetic { op: name(op), kind: kind.name() }.into()),
        };
        sane_offset(kind, &result.value, result.off)?;
        Ok(result)
    }

    fn pointer_plus(&mut self, pointer: &Register, number: &Register, constant: Option<i64>) -> Register {
        if let Some(off) = constant.and_then(|number| moved(pointer.off, number)) {
            return Register { off, ..*pointer };
        }
        let value = semantics::alu(&mut AbstractScalar, AluOp::Add, Width::W64, pointer.value, number.value);
        let mut result = Register { value, ..*pointer };
        if pointer.kind.is_packet() {
            result.id = self.fresh_id();
            result.size = 0;
        }
        result
    }

    fn pointer_minus(&mut self, pointer: &Register, number: &Register, constant: Option<i64>) -> Register {
        let negated = constant.and_then(i64::checked_neg);
        if let Some(off) = negated.and_then(|number| moved(pointer.off, number)) {
            return Register { off, ..*pointer };
        }
        let value = semantics::alu(&mut AbstractScalar, AluOp::Sub, Width::W64, pointer.value, number.value);
        let mut result = Register { value, ..*pointer };
        if pointer.kind.is_packet() {
            result.id = self.fresh_id();
            // Moving back keeps what was known to lie ahead.
            if number.value.smin() < 0 {
                result.size = 0;
            }
        }
        result
    }
}

/// Whether Linux follows ranges through the operation.
fn is_followed(op: AluOp, width: Width, source: &Scalar) -> bool {
    match op {
        AluOp::Div | AluOp::SDiv | AluOp::Mod | AluOp::SMod => false,
        AluOp::Lsh | AluOp::Rsh | AluOp::Arsh => {
            // It asks all of the count, though a 32-bit shift uses five bits.
            source.constant().is_some_and(|count| count < u64::from(width.bits()))
        }
        AluOp::Add
        | AluOp::Sub
        | AluOp::Mul
        | AluOp::Or
        | AluOp::And
        | AluOp::Xor
        | AluOp::Neg
        | AluOp::Mov
        | AluOp::MovSx8
        | AluOp::MovSx16
        | AluOp::MovSx32 => true,
    }
}

fn moved(off: i32, by: i64) -> Option<i32> {
    i64::from(off).checked_add(by).and_then(|off| i32::try_from(off).ok())
}

/// Offsets stay far from wrapping.
fn sane_offset(kind: Kind, value: &Scalar, off: i32) -> Check {
    let kind = kind.name();
    let limit = MAX_VARIABLE_OFFSET;
    let off = i64::from(off);
    if !(-limit < off && off < limit) {
        return Err(Reason::OffsetTooLarge { kind, offset: off }.into());
    }
    let smin = value.smin();
    if smin == i64::MIN {
        return Err(Reason::OffsetUnbounded { kind }.into());
    }
    if !(-limit < smin && smin < limit) {
        return Err(Reason::OffsetTooLarge { kind, offset: smin }.into());
    }
    Ok(())
}

fn immediate_is_valid(op: AluOp, width: Width, value: i64) -> Check {
    match op {
        AluOp::Div | AluOp::SDiv | AluOp::Mod | AluOp::SMod if value == 0 => {
            Err(Reason::DivisionByZero.into())
        }
        AluOp::Lsh | AluOp::Rsh | AluOp::Arsh if !(0..i64::from(width.bits())).contains(&value) => {
            Err(Reason::ShiftTooFar { count: value }.into())
        }
        _ => Ok(()),
    }
}

/// Name of an operation, for messages.
pub(crate) const fn name(op: AluOp) -> &'static str {
    match op {
        AluOp::Add => "addition",
        AluOp::Sub => "subtraction",
        AluOp::Mul => "multiplication",
        AluOp::Div | AluOp::SDiv => "division",
        AluOp::Mod | AluOp::SMod => "remainder",
        AluOp::Or => "or",
        AluOp::And => "and",
        AluOp::Xor => "exclusive or",
        AluOp::Lsh | AluOp::Rsh | AluOp::Arsh => "shift",
        AluOp::Neg => "negation",
        AluOp::Mov | AluOp::MovSx8 | AluOp::MovSx16 | AluOp::MovSx32 => "move",
    }
}
