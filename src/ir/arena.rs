//! Arenas: casts of their addresses, and loads, stores and atomics at any distance from their window.
//!
//! All of the window is readable, and pages that are not allocated are zero: a load needs no check but where it
//! straddles two pages, which the kernel does as a whole or not at all. A store asks the table of pages and goes to a
//! place beside the window instead. (A load-acquire reads zero, too; Linux leaves the register as it was, which would be
//! a way to look at what the verifier took for overwritten.) No branches but for straddling loads: `beelift_runtime::map::arena` has the layout.
#![forbid(unsafe_code)]

use beelift_runtime::map::MapFlags;
use beelift_runtime::map::arena::{PAGE, layout};

use super::Unsupported;
use super::body::{Body, Frame};
use super::func::{Address, BinaryOp, Class, Condition, Edge, Op, Place, Terminator, Type, UnaryOp, Value};
use crate::isa::{AddrSpace, AtomicOp, Insn, MapSlot, Operand, Reg, Sign, Size, Width};

/// Where an access goes.
struct Spot {
    /// Distance from the window.
    distance: Value,
    /// Address of the window.
    window: Value,
    /// Address without the instruction's offset.
    base: Value,
    off: i32,
    bytes: u32,
}

impl Body<'_> {
    fn arena(&self) -> Result<MapSlot, Unsupported> {
        self.verified.facts().arena.ok_or_else(|| self.unsupported("arena access without an arena"))
    }

    /// The value of an address cast to another space.
    pub(crate) fn cast(&mut self, frame: &Frame, src: Reg, to: AddrSpace) -> Result<Value, Unsupported> {
        let slot = self.arena()?;
        let low = self.low_half(frame, src);
        let converts = !self.verified.program().maps[slot.0 as usize].flags.contains(MapFlags::NO_USER_CONV);
        if to == AddrSpace::Kernel || !converts {
            return Ok(low);
        }
        let zero = self.b.number(Type::I64, 0);
        let null = self.b.compare(Condition::Eq, low, zero);
        let window = self.b.address(Address::Arena(slot));
        let address = self.b.binary(BinaryOp::Add, Type::I64, window, low);
        Ok(self.b.choose(null, zero, address))
    }

    fn low_half(&mut self, frame: &Frame, reg: Reg) -> Value {
        let whole = self.register(frame, reg);
        let low = self.b.unary(UnaryOp::Reduce, Type::I32, whole);
        self.b.unary(UnaryOp::Widen, Type::I64, low)
    }

    /// A load, store or atomic of an arena.
    pub(crate) fn arena_access(&mut self, frame: &mut Frame, insn: Insn) -> Result<(), Unsupported> {
        match insn {
            Insn::Load { size, sign, dst, base, off } => {
                let spot = self.spot(frame, base, off, size)?;
                let value = self.b.load(size, sign, spot.place());
                let value = self.unless_straddling(&spot, value);
                self.set_register(frame, dst, value);
            }
            Insn::LoadAcquire { size, dst, base, off } => {
                let spot = self.spot(frame, base, off, size)?;
                let place = spot.place();
                let value = self.if_aligned(
                    &spot,
                    |body| body.b.emit(Op::LoadAcquire(size, place), Type::I64),
                    |body| body.b.load(size, Sign::Zero, place),
                );
                let value = self.unless_straddling(&spot, value);
                self.set_register(frame, dst, value);
            }
            Insn::Store { size, base, off, src } => {
                let value = self.operand(frame, src);
                let spot = self.spot(frame, base, off, size)?;
                let (_, place) = self.storable(&spot);
                self.b.store(size, place, value);
            }
            Insn::StoreRelease { size, base, off, src } => {
                let value = self.operand(frame, Operand::Reg(src));
                let spot = self.spot(frame, base, off, size)?;
                let (_, place) = self.storable(&spot);
                self.if_aligned(
                    &spot,
                    |body| {
                        body.b.emit(Op::StoreRelease(size, place, value), Type::I64);
                        value
                    },
                    |body| {
                        body.b.store(size, place, value);
                        value
                    },
                );
            }
            Insn::Atomic { op, fetch, width, base, off, src } => {
                let size = if width == Width::W32 { Size::W } else { Size::DW };
                let spot = self.spot(frame, base, off, size)?;
                let (there, place) = self.storable(&spot);
                let operand = self.register(frame, src);
                match op {
                    AtomicOp::CmpXchg => {
                        let expected = self.register(frame, Reg::R0);
                        let old = self.if_aligned(
                            &spot,
                            |body| body.b.emit(Op::AtomicCas(width, place, expected, operand), Type::I64),
                            |body| body.compare_and_store(size, place, expected, operand),
                        );
                        // What was not done leaves the whole register, at both widths.
                        let result = self.b.choose(there, old, expected);
                        self.set_register(frame, Reg::R0, result);
                    }
                    AtomicOp::Add | AtomicOp::Or | AtomicOp::And | AtomicOp::Xor | AtomicOp::Xchg => {
                        let old = self.if_aligned(
                            &spot,
                            |body| body.b.emit(Op::AtomicRmw(op, width, place, operand), Type::I64),
                            |body| body.change(op, size, place, operand),
                        );
                        if fetch {
                            let result = self.b.choose(there, old, operand);
                            self.set_register(frame, src, result);
                        }
                    }
                }
            }
            Insn::Alu { .. }
            | Insn::MayGoto { .. }
            | Insn::AddrSpaceCast { .. }
            | Insn::Swap { .. }
            | Insn::Const { .. }
            | Insn::Jump { .. }
            | Insn::Branch { .. }
            | Insn::Call(_)
            | Insn::LegacyPacket { .. }
            | Insn::Exit => unreachable!("not a memory instruction"),
        }
        Ok(())
    }

    fn spot(&mut self, frame: &Frame, base: Reg, off: i16, size: Size) -> Result<Spot, Unsupported> {
        let window = self.b.address(Address::Arena(self.arena()?));
        let low = self.low_half(frame, base);
        let added = self.b.number(Type::I64, i64::from(off).cast_unsigned());
        let distance = self.b.binary(BinaryOp::Add, Type::I64, low, added);
        let base = self.b.binary(BinaryOp::Add, Type::I64, window, low);
        Ok(Spot { distance, window, base, off: i32::from(off), bytes: size.bytes() })
    }

    /// Two ways to do something, by whether the address is a multiple of the size. A processor may take an atomic
    /// operation on a word in two cache lines amiss: by a signal, or by making everybody wait.
    fn if_aligned(
        &mut self,
        spot: &Spot,
        aligned: impl FnOnce(&mut Self) -> Value,
        otherwise: impl FnOnce(&mut Self) -> Value,
    ) -> Value {
        if spot.bytes == 1 {
            return aligned(self);
        }
        let mask = self.b.number(Type::I64, u64::from(spot.bytes - 1));
        let rest = self.b.binary(BinaryOp::And, Type::I64, spot.distance, mask);
        let zero = self.b.number(Type::I64, 0);
        let is_aligned = self.b.compare(Condition::Eq, rest, zero);
        let (fast, slow, done) = (self.b.func.add_block(), self.b.func.add_block(), self.b.func.add_block());
        let result = self.b.param(done, self.at);
        let edge = |to| Edge { to, args: Vec::new() };
        self.end(Terminator::Branch(is_aligned, edge(fast), edge(slow)));
        self.b.block = fast;
        let value = aligned(self);
        self.end(Terminator::Jump(Edge { to: done, args: vec![value] }));
        self.b.block = slow;
        let value = otherwise(self);
        self.end(Terminator::Jump(Edge { to: done, args: vec![value] }));
        self.b.block = done;
        result
    }

    /// A read-modify-write in two steps, as the reference engine does where the word is not aligned.
    fn change(&mut self, op: AtomicOp, size: Size, place: Place, operand: Value) -> Value {
        let old = self.b.load(size, Sign::Zero, place);
        let new = match op {
            AtomicOp::Add => self.b.binary(BinaryOp::Add, Type::I64, old, operand),
            AtomicOp::Or => self.b.binary(BinaryOp::Or, Type::I64, old, operand),
            AtomicOp::And => self.b.binary(BinaryOp::And, Type::I64, old, operand),
            AtomicOp::Xor => self.b.binary(BinaryOp::Xor, Type::I64, old, operand),
            AtomicOp::Xchg | AtomicOp::CmpXchg => operand,
        };
        self.b.store(size, place, new);
        old
    }

    /// The same for a compare-exchange.
    fn compare_and_store(&mut self, size: Size, place: Place, expected: Value, new: Value) -> Value {
        let old = self.b.load(size, Sign::Zero, place);
        let expected = match size {
            Size::W => {
                let low = self.b.unary(UnaryOp::Reduce, Type::I32, expected);
                self.b.unary(UnaryOp::Widen, Type::I64, low)
            }
            Size::B | Size::H | Size::DW => expected,
        };
        let equal = self.b.compare(Condition::Eq, old, expected);
        let stored = self.b.choose(equal, new, old);
        self.b.store(size, place, stored);
        old
    }

    /// The table's byte of the page at a distance.
    fn page_is_there(&mut self, window: Value, distance: Value) -> Value {
        let shift = self.b.number(Type::I64, u64::from(layout::PAGE_SHIFT));
        let page = self.b.binary(BinaryOp::AShr, Type::I64, distance, shift);
        let base = self.b.binary(BinaryOp::Add, Type::I64, window, page);
        let place = Place { base, off: layout::PAGES, class: Class::Any, aligned: true };
        self.b.load(Size::B, Sign::Zero, place)
    }

    /// Whether all pages of an access are allocated.
    fn is_there(&mut self, spot: &Spot) -> Value {
        let mut there = self.page_is_there(spot.window, spot.distance);
        if spot.bytes > 1 {
            let more = self.b.number(Type::I64, u64::from(spot.bytes - 1));
            let last = self.b.binary(BinaryOp::Add, Type::I64, spot.distance, more);
            let last = self.page_is_there(spot.window, last);
            there = self.b.binary(BinaryOp::And, Type::I64, there, last);
        }
        let zero = self.b.number(Type::I64, 0);
        self.b.compare(Condition::Ne, there, zero)
    }

    /// Whether a store takes place, and where: beside the window, if it must not.
    fn storable(&mut self, spot: &Spot) -> (Value, Place) {
        let there = self.is_there(spot);
        let off = self.b.number(Type::I64, i64::from(spot.off).cast_unsigned());
        let address = self.b.binary(BinaryOp::Add, Type::I64, spot.base, off);
        let sink = self.b.number(Type::I64, i64::from(layout::SINK).cast_unsigned());
        let sink = self.b.binary(BinaryOp::Add, Type::I64, spot.window, sink);
        let base = self.b.choose(there, address, sink);
        (there, Place { base, off: 0, class: Class::Map, aligned: false })
    }

    /// The loaded value, or zero if it straddles two pages of which one is not there.
    fn unless_straddling(&mut self, spot: &Spot, loaded: Value) -> Value {
        if spot.bytes == 1 {
            return loaded;
        }
        let mask = self.b.number(Type::I64, PAGE - 1);
        let inside = self.b.binary(BinaryOp::And, Type::I64, spot.distance, mask);
        let last = self.b.number(Type::I64, PAGE - u64::from(spot.bytes));
        let straddles = self.b.compare(Condition::UGt, inside, last);
        let (slow, done) = (self.b.func.add_block(), self.b.func.add_block());
        let value = self.b.param(done, self.at);
        self.end(Terminator::Branch(
            straddles,
            Edge { to: slow, args: Vec::new() },
            Edge { to: done, args: vec![loaded] },
        ));
        self.b.block = slow;
        let there = self.is_there(spot);
        let zero = self.b.number(Type::I64, 0);
        let checked = self.b.choose(there, loaded, zero);
        self.end(Terminator::Jump(Edge { to: done, args: vec![checked] }));
        self.b.block = done;
        value
    }
}

impl Spot {
    fn place(&self) -> Place {
        Place { base: self.base, off: self.off, class: Class::Map, aligned: false }
    }
}
