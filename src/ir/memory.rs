//! Loads, stores and atomics of a body: promoted slots, converted context fields, plain memory.
//!
//! In: an access and the fact about where it goes. Out: nodes with an alias class. A context access is
//! moved from the offset the program knows to the field of the native structure.
#![forbid(unsafe_code)]

use beelift_runtime::ctx::{ContextLayout, FieldKind};

use super::Unsupported;
use super::body::{Body, Frame};
use super::func::{BinaryOp, Class, FrameUse, Op, Place, Target, Type, Value};
use super::slots;
use crate::isa::semantics;
use crate::isa::{AtomicOp, Insn, Operand, Reg, Sign, Size, Width};
use crate::verify::facts::{AccessFact, Region};

/// An access that was given its place.
enum Located {
    /// A promoted slot.
    Slot(usize),
    /// Memory.
    Memory(Place),
    /// A number in the context.
    Field(Place),
    /// A pointer in the context: all of it, however narrow the program's access.
    Pointer(Place, Size),
}

impl Body<'_> {
    /// A load, store or atomic.
    pub(crate) fn memory(&mut self, frame: &mut Frame, insn: Insn) -> Result<(), Unsupported> {
        if self.fact().region == Region::Arena {
            return self.arena_access(frame, insn);
        }
        match insn {
            Insn::Load { size, sign, dst, base, off } if self.fact().region == Region::Stale => {
                let value = self.stale_load(frame, size, sign, base, off);
                self.set_register(frame, dst, value);
            }
            Insn::Load { size, sign, dst, base, off } => {
                let value = match self.locate(frame, base, off, size)? {
                    Located::Slot(slot) => {
                        let raw = self.slot(frame, slot);
                        semantics::extend_load(&mut self.b, size, sign, raw)
                    }
                    Located::Memory(place) | Located::Field(place) => self.b.load(size, sign, place),
                    Located::Pointer(place, native) => self.b.load(native, Sign::Zero, place),
                };
                self.set_register(frame, dst, value);
            }
            Insn::Store { size, base, off, src } => {
                let value = self.operand(frame, src);
                match self.locate(frame, base, off, size)? {
                    Located::Slot(slot) => {
                        let value = self.stored(size, value);
                        self.set_slot(frame, slot, value);
                    }
                    Located::Memory(place) | Located::Field(place) => self.b.store(size, place, value),
                    Located::Pointer(place, native) => self.b.store(native, place, value),
                }
            }
            Insn::Atomic { op, fetch, width, base, off, src } => {
                self.atomic(frame, op, fetch, width, base, off, src)?;
            }
            Insn::LoadAcquire { size, dst, base, off } => {
                let place = self.memory_place(frame, base, off, size)?;
                let value = self.b.emit(Op::LoadAcquire(size, place), Type::I64);
                self.set_register(frame, dst, value);
            }
            Insn::StoreRelease { size, base, off, src } => {
                let value = self.operand(frame, Operand::Reg(src));
                let place = self.memory_place(frame, base, off, size)?;
                self.b.emit(Op::StoreRelease(size, place, value), Type::I64);
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

    #[expect(clippy::too_many_arguments, reason = "the fields of one instruction")]
    fn atomic(
        &mut self,
        frame: &mut Frame,
        op: AtomicOp,
        fetch: bool,
        width: Width,
        base: Reg,
        off: i16,
        src: Reg,
    ) -> Result<(), Unsupported> {
        let size = match width {
            Width::W32 => Size::W,
            Width::W64 => Size::DW,
        };
        let place = self.memory_place(frame, base, off, size)?;
        let value = self.register(frame, src);
        match op {
            AtomicOp::CmpXchg => {
                let expected = self.register(frame, Reg::R0);
                let old = self.b.emit(Op::AtomicCas(width, place, expected, value), Type::I64);
                self.set_register(frame, Reg::R0, old);
            }
            AtomicOp::Add | AtomicOp::Or | AtomicOp::And | AtomicOp::Xor | AtomicOp::Xchg => {
                let old = self.b.emit(Op::AtomicRmw(op, width, place, value), Type::I64);
                if fetch {
                    self.set_register(frame, src, old);
                }
            }
        }
        Ok(())
    }

    /// A load through a pointer that may be stale: the run-time looks at it first.
    fn stale_load(&mut self, frame: &Frame, size: Size, sign: Sign, base: Reg, off: i16) -> Value {
        let base = self.register(frame, base);
        let off = self.b.number(Type::I64, i64::from(off).cast_unsigned());
        let address = self.b.binary(BinaryOp::Add, Type::I64, base, off);
        let bytes = self.b.number(Type::I64, u64::from(size.bytes()));
        let raw = self.b.call(Target::ObjectLoad, vec![address, bytes], FrameUse::NONE);
        semantics::extend_load(&mut self.b, size, sign, raw)
    }

    /// The low bytes of a value, as a load would give them back.
    fn stored(&mut self, size: Size, value: Value) -> Value {
        match size {
            Size::DW => value,
            Size::B | Size::H | Size::W => {
                use semantics::Machine;
                self.b.zero_extend(size, value)
            }
        }
    }

    fn fact(&self) -> AccessFact {
        self.verified.facts().access[self.at.index()]
            .expect("the verifier states where every reachable access goes")
    }

    fn memory_place(&mut self, frame: &Frame, base: Reg, off: i16, size: Size) -> Result<Place, Unsupported> {
        match self.locate(frame, base, off, size)? {
            Located::Memory(place) => Ok(place),
            Located::Slot(_) => unreachable!("`slots` promotes plain accesses only"),
            Located::Field(_) | Located::Pointer(..) => Err(self.unsupported("atomic access to the context")),
        }
    }

    fn locate(&mut self, frame: &Frame, base: Reg, off: i16, size: Size) -> Result<Located, Unsupported> {
        let AccessFact { region, aligned } = self.fact();
        let class = match region {
            Region::Context { offset } => return self.context(frame, base, off, offset, size),
            Region::Stack { offset: Some(offset) } => {
                if let Some(slot) = slots::slot_of(&frame.shape.slots, offset) {
                    return Ok(Located::Slot(slot));
                }
                let place = frame.place(&mut self.b, offset);
                return Ok(Located::Memory(Place { aligned, ..place }));
            }
            // What is built in line may point to where it is built into.
            Region::CallerStack if frame.depth == 0 => Class::Caller,
            Region::Stack { offset: None } | Region::CallerStack => Class::Stack,
            Region::Packet => Class::Packet,
            Region::MapValue(_) => Class::Map,
            // A dynptr slice may be packet bytes.
            Region::Object => return Err(self.unsupported("access to a kernel object")),
            Region::Allocated => Class::Outside,
            Region::Memory if self.program.memory_is_outside => Class::Outside,
            Region::Memory | Region::Mixed => Class::Any,
            Region::Stale => {
                return Err(self.unsupported("access other than a load of an object that may be gone"));
            }
            Region::Arena => unreachable!("an instruction has to do with arenas always or never"),
        };
        let base = self.register(frame, base);
        let place = self.b.settle(Place { base, off: i32::from(off), class, aligned });
        Ok(Located::Memory(place))
    }

    fn context(
        &mut self,
        frame: &Frame,
        base: Reg,
        off: i16,
        offset: u32,
        size: Size,
    ) -> Result<Located, Unsupported> {
        let base = self.register(frame, base);
        let place = |off: i32| Place { base, off, class: Class::Context, aligned: false };
        match self.program.layout {
            ContextLayout::Fields { .. } => {}
            ContextLayout::Raw { .. } => return Ok(Located::Memory(self.b.settle(place(i32::from(off))))),
            ContextLayout::Memory => {
                let place = Place { class: Class::Outside, ..place(i32::from(off)) };
                return Ok(Located::Memory(self.b.settle(place)));
            }
            ContextLayout::Kernel => return Err(self.unsupported("context that only the kernel has")),
        }
        let field = self
            .program
            .layout
            .field(offset, size.bytes())
            .ok_or_else(|| self.unsupported("context field"))?;
        // The register points to the context's start, or a constant beside it.
        let start = i32::from(off) - i32::try_from(offset).expect("contexts are small");
        let at = start + i32::from(field.native_offset);
        match field.kind {
            FieldKind::KernelOnly => Err(self.unsupported(field.name)),
            FieldKind::PacketData
            | FieldKind::PacketEnd
            | FieldKind::PacketMeta
            | FieldKind::Object { .. } => {
                let native = size_of(field.native_size).ok_or_else(|| self.unsupported(field.name))?;
                Ok(Located::Pointer(self.b.settle(place(at)), native))
            }
            FieldKind::Scalar => {
                // As wide as in the UAPI, and in the same order.
                let off = at + i32::try_from(offset - u32::from(field.offset)).expect("contexts are small");
                Ok(Located::Field(self.b.settle(place(off))))
            }
        }
    }
}

/// The access size of that many bytes.
const fn size_of(bytes: u16) -> Option<Size> {
    match bytes {
        1 => Some(Size::B),
        2 => Some(Size::H),
        4 => Some(Size::W),
        8 => Some(Size::DW),
        _ => None,
    }
}
