//! Loads, stores and atomics as Cranelift IR.
//!
//! Every access is proven, so none can trap. Alias classes become Cranelift's alias regions; an access
//! without a class may touch anything.
#![forbid(unsafe_code)]

use std::borrow::Cow;

use beelift_runtime::abi::offset;
use cranelift_codegen::ir::{
    AliasRegion, AliasRegionData, AtomicRmwOp, Function, InstBuilder, MemFlagsData, Type as Ty, Value, types,
};

use super::lower::Lowering;
use crate::ir::func::{Class, Op, Place};
use crate::isa::{AtomicOp, Sign, Size, Width};

/// Alias regions of a function, by class.
#[derive(Debug)]
pub(super) struct Regions([AliasRegion; 5]);

impl Regions {
    pub(super) fn new(func: &mut Function) -> Self {
        let classes = ["stack", "context", "packet", "map values", "run-time context"];
        let mut id = 0;
        Self(classes.map(|name| {
            id += 1;
            let data = AliasRegionData { user_id: id, description: Cow::Borrowed(name) };
            func.dfg.alias_regions.insert(data)
        }))
    }

    fn of(&self, class: Class) -> Option<AliasRegion> {
        match class {
            Class::Any | Class::Outside => None,
            Class::Stack | Class::Caller => Some(self.0[0]),
            Class::Context => Some(self.0[1]),
            Class::Packet => Some(self.0[2]),
            Class::Map => Some(self.0[3]),
            Class::Runtime => Some(self.0[4]),
        }
    }
}

const fn type_of(size: Size) -> Ty {
    match size {
        Size::B => types::I8,
        Size::H => types::I16,
        Size::W => types::I32,
        Size::DW => types::I64,
    }
}

impl Lowering<'_> {
    fn flags(&self, place: Place) -> MemFlagsData {
        let flags = MemFlagsData::new().with_notrap().with_alias_region(self.regions.of(place.class));
        if place.aligned { flags.with_aligned() } else { flags }
    }

    /// Address without the offset, and the offset.
    fn address(&mut self, place: Place) -> (Value, i32) {
        match self.source.op(place.base) {
            // All frame accesses share one base.
            Op::Frame(start) => {
                let start = i32::try_from(start).expect("frames are small");
                (self.frame_base(), start + place.off)
            }
            _ => (self.value(place.base), place.off),
        }
    }

    fn whole_address(&mut self, place: Place) -> Value {
        let (base, off) = self.address(place);
        if off == 0 { base } else { self.pos.ins().iadd_imm_s(base, i64::from(off)) }
    }

    /// A load to 64 bits; to 32 if that is all anyone wants.
    pub(super) fn load(&mut self, size: Size, sign: Sign, place: Place, narrow: bool) -> Value {
        let mut flags = self.flags(place);
        if place.class == Class::Runtime && matches!(place.off, offset::CPU | offset::NUMA_NODE) {
            flags = flags.with_readonly().with_can_move();
        }
        let (base, off) = self.address(place);
        let ty = if narrow { types::I32 } else { types::I64 };
        let ins = self.pos.ins();
        match (size, sign) {
            (Size::B, Sign::Zero) => ins.uload8(ty, flags, base, off),
            (Size::B, Sign::Signed) => ins.sload8(ty, flags, base, off),
            (Size::H, Sign::Zero) => ins.uload16(ty, flags, base, off),
            (Size::H, Sign::Signed) => ins.sload16(ty, flags, base, off),
            (Size::W, Sign::Zero | Sign::Signed) if narrow => ins.load(types::I32, flags, base, off),
            (Size::W, Sign::Zero) => ins.uload32(flags, base, off),
            (Size::W, Sign::Signed) => ins.sload32(flags, base, off),
            (Size::DW, Sign::Zero | Sign::Signed) => ins.load(types::I64, flags, base, off),
        }
    }

    pub(super) fn store(&mut self, size: Size, place: Place, value: crate::ir::func::Value) {
        let flags = self.flags(place);
        let (base, off) = self.address(place);
        match size {
            Size::DW => {
                let value = self.value(value);
                self.pos.ins().store(flags, value, base, off);
            }
            Size::W => {
                let value = self.low(value);
                self.pos.ins().store(flags, value, base, off);
            }
            Size::B => {
                let value = self.either(value);
                self.pos.ins().istore8(flags, value, base, off);
            }
            Size::H => {
                let value = self.either(value);
                self.pos.ins().istore16(flags, value, base, off);
            }
        }
    }

    pub(super) fn atomic_rmw(
        &mut self,
        op: AtomicOp,
        width: Width,
        place: Place,
        value: crate::ir::func::Value,
    ) -> Value {
        let op = match op {
            AtomicOp::Add => AtomicRmwOp::Add,
            AtomicOp::Or => AtomicRmwOp::Or,
            AtomicOp::And => AtomicRmwOp::And,
            AtomicOp::Xor => AtomicRmwOp::Xor,
            AtomicOp::Xchg => AtomicRmwOp::Xchg,
            AtomicOp::CmpXchg => unreachable!("`AtomicCas` in the form"),
        };
        let flags = self.flags(place);
        let address = self.whole_address(place);
        match width {
            Width::W64 => {
                let value = self.value(value);
                self.pos.ins().atomic_rmw(types::I64, flags, op, address, value)
            }
            Width::W32 => {
                let value = self.low(value);
                let old = self.pos.ins().atomic_rmw(types::I32, flags, op, address, value);
                self.pos.ins().uextend(types::I64, old)
            }
        }
    }

    pub(super) fn atomic_cas(
        &mut self,
        width: Width,
        place: Place,
        expected: crate::ir::func::Value,
        new: crate::ir::func::Value,
    ) -> Value {
        let flags = self.flags(place);
        let address = self.whole_address(place);
        match width {
            Width::W64 => {
                let (expected, new) = (self.value(expected), self.value(new));
                self.pos.ins().atomic_cas(flags, address, expected, new)
            }
            Width::W32 => {
                let (expected, new) = (self.low(expected), self.low(new));
                let expected = if self.compares_whole { self.cleared_above(expected) } else { expected };
                let old = self.pos.ins().atomic_cas(flags, address, expected, new);
                self.pos.ins().uextend(types::I64, old)
            }
        }
    }

    /// A 32-bit value in a register whose upper half is zero. Cranelift takes the upper half for undefined and removes an
    /// extension that a reduction follows; an operation on 32 bits clears it, if Cranelift cannot see that it changes
    /// nothing: while the program runs, no trap is noted.
    fn cleared_above(&mut self, value: Value) -> Value {
        let flags = MemFlagsData::trusted().with_alias_region(self.regions.of(Class::Runtime));
        let zero = self.pos.ins().load(types::I32, flags, self.runtime, offset::TRAP);
        self.pos.ins().bor(value, zero)
    }

    pub(super) fn load_acquire(&mut self, size: Size, place: Place) -> Value {
        let flags = self.flags(place);
        let address = self.whole_address(place);
        let loaded = self.pos.ins().atomic_load(type_of(size), flags, address);
        match size {
            Size::DW => loaded,
            Size::B | Size::H | Size::W => self.pos.ins().uextend(types::I64, loaded),
        }
    }

    pub(super) fn store_release(&mut self, size: Size, place: Place, value: crate::ir::func::Value) {
        let flags = self.flags(place);
        let address = self.whole_address(place);
        let value = self.value(value);
        let value = match size {
            Size::DW => value,
            Size::B | Size::H | Size::W => self.pos.ins().ireduce(type_of(size), value),
        };
        self.pos.ins().atomic_store(flags, value, address);
    }
}
