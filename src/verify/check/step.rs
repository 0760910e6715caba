//! One instruction: dispatch, and the instructions that need no file of their own.
#![forbid(unsafe_code)]

use crate::isa::{AluOp, Const64, Insn, Operand, Reg, Sign, Size};
use crate::verify::explore::{Check, Next, Stop, Verifier};
use crate::verify::report::Reason;
use crate::verify::state::{Kind, MapRef, Register};
use beelift_runtime::MapKind;

impl Verifier<'_> {
    /// Applies the current instruction to the state.
    pub(crate) fn step(&mut self) -> Check<Next> {
        let insn = self.program.insns[self.at.index()];
        let next = Next::To(self.at.next());
        match insn {
            Insn::Alu { op, width, dst, src } => {
                self.alu(op, width, dst, src)?;
                Ok(next)
            }
            Insn::Swap { order, size, dst } => {
                self.swap(order, size, dst)?;
                Ok(next)
            }
            Insn::Const { dst, value } => {
                let register = self.constant(value)?;
                self.write(dst, register)?;
                Ok(next)
            }
            Insn::Load { size, sign, dst, base, off } => {
                self.load(size, sign, dst, base, off)?;
                Ok(next)
            }
            Insn::Store { size, base, off, src } => {
                self.store(size, base, off, src)?;
                Ok(next)
            }
            Insn::Atomic { op, fetch, width, base, off, src } => {
                self.atomic(op, fetch, width, base, off, src)?;
                Ok(next)
            }
            Insn::LoadAcquire { size, dst, base, off } => {
                self.load_acquire(size, dst, base, off)?;
                Ok(next)
            }
            Insn::StoreRelease { size, base, off, src } => {
                self.store_release(size, base, off, src)?;
                Ok(next)
            }
            Insn::Jump { to } => {
                self.count_jump();
                Ok(Next::To(to))
            }
            Insn::Branch { op, width, lhs, rhs, to } => self.branch(op, width, lhs, rhs, to),
            Insn::MayGoto { to } => {
                self.count_jump();
                self.observed.edge(self.at, false);
                self.observed.edge(self.at, true);
                let mut turn = self.state.clone();
                self.widen_unlike_last_turn(&mut turn);
                turn.may_goto_depth += 1;
                self.push_pending(turn, self.at.next())?;
                Ok(Next::To(to))
            }
            Insn::AddrSpaceCast { dst, src, to } => {
                self.cast(dst, src, to)?;
                Ok(next)
            }
            Insn::Call(callee) => {
                self.count_jump();
                self.call(callee)
            }
            Insn::LegacyPacket { index, .. } => {
                self.legacy_packet(index)?;
                Ok(next)
            }
            Insn::Exit => {
                self.count_jump();
                self.exit()
            }
        }
    }

    /// A register's value, which must have been written.
    #[inline]
    pub(crate) fn read(&self, reg: Reg) -> Check<Register> {
        let register = *self.state.register(reg);
        if register.kind == Kind::Uninit {
            return Err(Reason::UninitialisedRegister { reg }.into());
        }
        Ok(register)
    }

    /// An operand's value.
    #[inline]
    pub(crate) fn operand(&self, operand: Operand) -> Check<Register> {
        match operand {
            Operand::Reg(reg) => self.read(reg),
            Operand::Imm(value) => Ok(Register::constant(value.cast_unsigned())),
        }
    }

    /// Gives a register a new value.
    #[inline]
    pub(crate) fn write(&mut self, reg: Reg, register: Register) -> Check {
        if reg == Reg::R10 {
            return Err(Reason::FramePointerWrite.into());
        }
        *self.state.register_mut(reg) = register;
        Ok(())
    }

    /// Whether a value may not go where others can see it.
    #[inline]
    pub(crate) fn leaks(&self, register: &Register) -> bool {
        register.kind.is_pointer() && !self.options.policy.allow_pointer_leaks
    }

    fn constant(&mut self, value: Const64) -> Check<Register> {
        match value {
            Const64::Imm(number) => Ok(Register::constant(number)),
            Const64::Map(slot) | Const64::MapIndex(slot) => {
                let map = self.map_ref(slot.0)?;
                Ok(Register::pointer(Kind::Map(map)))
            }
            Const64::MapValue(slot, off) | Const64::MapIndexValue(slot, off) => {
                let map = self.map_ref(slot.0)?;
                let def = self.tables.map(map);
                if def.kind == MapKind::Arena {
                    return Ok(Register::unknown());
                }
                if !matches!(def.kind, MapKind::Array | MapKind::InsnArray)
                    || def.max_entries != 1
                    || off >= def.value_size
                {
                    return Err(Reason::NoDirectValue { map: def.name.clone(), off }.into());
                }
                let off =
                    i32::try_from(off).map_err(|_| Reason::NoDirectValue { map: def.name.clone(), off })?;
                Ok(Register { off, ..Register::pointer(Kind::MapValue(map)) })
            }
            Const64::Function(entry) => {
                let subprogram = self.structure.owner[entry.index()];
                Ok(Register::pointer(Kind::Function(subprogram)))
            }
            Const64::Ksym(slot) => {
                let tables = self.tables;
                let Some(ksym) = self.program.ksyms.get(slot.0 as usize) else {
                    return Err(Stop::Unsupported("a kernel variable without a name".to_owned()));
                };
                let unsupported = || Stop::Unsupported(format!("kernel variable {}", ksym.name));
                if tables.types.kernel().is_none() || ksym.btf_type == 0 {
                    return Err(unsupported());
                }
                match tables.types.kernel_variable(&ksym.name) {
                    Some(kind) => {
                        let size = match kind {
                            Kind::Memory(_) => tables.types.variable_size(&ksym.name),
                            _ => None,
                        };
                        Ok(Register { size: size.unwrap_or(0), ..Register::pointer(kind) })
                    }
                    None if ksym.weak => Ok(Register::constant(0)),
                    None => Err(unsupported()),
                }
            }
        }
    }

    fn map_ref(&self, slot: u32) -> Check<MapRef> {
        if (slot as usize) >= self.program.maps.len() {
            return Err(Reason::NoSuchMap { slot }.into());
        }
        let map = MapRef(slot);
        self.tables.map_fits_program(map).map_err(|what| {
            let map = self.tables.map(map).name.clone();
            Stop::from(Reason::MapForProgram { map, what, program_type: self.tables.program_type() })
        })?;
        Ok(map)
    }

    fn load(&mut self, size: Size, sign: Sign, dst: Reg, base: Reg, off: i16) -> Check {
        let pointer = self.read(base)?;
        if dst == Reg::R10 {
            return Err(Reason::FramePointerWrite.into());
        }
        let loaded = self.load_value(base, &pointer, off, size, sign, false)?;
        self.same_kind_always(&pointer)?;
        self.write(dst, loaded)
    }

    fn store(&mut self, size: Size, base: Reg, off: i16, src: Operand) -> Check {
        let value = self.operand(src)?;
        let pointer = self.read(base)?;
        self.store_value(base, &pointer, off, size, Some((src, value)), false)?;
        self.same_kind_always(&pointer)
    }

    fn load_acquire(&mut self, size: Size, dst: Reg, base: Reg, off: i16) -> Check {
        let pointer = self.read(base)?;
        if dst == Reg::R10 {
            return Err(Reason::FramePointerWrite.into());
        }
        self.atomic_target(base, &pointer)?;
        let loaded = self.load_value(base, &pointer, off, size, Sign::Zero, true)?;
        self.same_kind_always(&pointer)?;
        self.write(dst, loaded)
    }

    fn store_release(&mut self, size: Size, base: Reg, off: i16, src: Reg) -> Check {
        let value = self.read(src)?;
        let pointer = self.read(base)?;
        self.atomic_target(base, &pointer)?;
        self.store_value(base, &pointer, off, size, Some((Operand::Reg(src), value)), true)?;
        self.same_kind_always(&pointer)
    }

    /// A context or object access is rewritten by the kind of its pointer, so an instruction has one kind only.
    fn same_kind_always(&mut self, pointer: &Register) -> Check {
        let strict = |kind: Kind| match kind {
            Kind::Context | Kind::Socket(_) | Kind::Object(..) | Kind::Arena => true,
            Kind::Uninit
            | Kind::Scalar
            | Kind::Stack(_)
            | Kind::Packet
            | Kind::PacketMeta
            | Kind::PacketEnd
            | Kind::Map(_)
            | Kind::MapValue(_)
            | Kind::MapKey(_)
            | Kind::Memory(_)
            | Kind::FlowKeys
            | Kind::Dynptr(_)
            | Kind::Function(_) => false,
        };
        let seen = &mut self.observed.base[self.at.index()];
        match *seen {
            None => *seen = Some(pointer.kind),
            // Objects are read alike, whatever their type.
            Some(Kind::Object(..)) if matches!(pointer.kind, Kind::Object(..)) => {}
            Some(old) if old != pointer.kind && (strict(old) || strict(pointer.kind)) => {
                return Err(Reason::MixedPointers { first: old.name(), second: pointer.kind.name() }.into());
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// The copy of a scalar keeps a link to the original: gives it an identity if it has none.
    pub(crate) fn link_scalar(&mut self, scalar: &mut Register) {
        if !scalar.is_scalar() {
            return;
        }
        if scalar.linked_delta {
            scalar.unlink();
        }
        if scalar.id == 0 && scalar.value.constant().is_none() {
            scalar.id = self.fresh_id();
        }
    }
}

/// Whether the operation only copies (and perhaps extends) its source.
pub(crate) const fn copies(op: AluOp) -> bool {
    matches!(op, AluOp::Mov | AluOp::MovSx8 | AluOp::MovSx16 | AluOp::MovSx32)
}
