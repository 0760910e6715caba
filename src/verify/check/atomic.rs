//! Atomic read-modify-write instructions.
#![forbid(unsafe_code)]

use crate::isa::{AtomicOp, Reg, Sign, Size, Width};
use crate::verify::explore::{Check, Verifier};
use crate::verify::report::Reason;
use crate::verify::state::{Kind, Register};

impl Verifier<'_> {
    pub(super) fn atomic(
        &mut self,
        op: AtomicOp,
        fetch: bool,
        width: Width,
        base: Reg,
        off: i16,
        src: Reg,
    ) -> Check {
        let size = match width {
            Width::W32 => Size::W,
            Width::W64 => Size::DW,
        };
        let operand = self.read(src)?;
        let pointer = self.read(base)?;
        if op == AtomicOp::CmpXchg {
            let compared = self.read(Reg::R0)?;
            if self.leaks(&compared) {
                return Err(Reason::PointerLeak { into: "an atomic operation" }.into());
            }
        }
        if self.leaks(&operand) {
            return Err(Reason::PointerLeak { into: "an atomic operation" }.into());
        }
        self.atomic_target(base, &pointer)?;
        let looped = fetch && matches!(op, AtomicOp::And | AtomicOp::Or | AtomicOp::Xor);
        if looped && pointer.kind == Kind::Arena && self.options.policy.linux_instructions {
            // Linux has no code for these that may fault in the middle.
            return Err(Reason::AtomicTarget { reg: base, kind: pointer.kind.name() }.into());
        }
        let result = match (op, fetch) {
            (AtomicOp::CmpXchg, _) => Some(Reg::R0),
            (_, true) => Some(src),
            (_, false) => None,
        };
        let old = self.load_value(base, &pointer, off, size, Sign::Zero, true)?;
        self.store_value(base, &pointer, off, size, None, true)?;
        // Where the page is not there the register stays as it is, however narrow the operation.
        let old = if pointer.kind == Kind::Arena { Register::unknown() } else { old };
        match result {
            Some(reg) => self.write(reg, old),
            None if self.leaks(&old) => Err(Reason::PointerLeak { into: "an atomic operation" }.into()),
            None => Ok(()),
        }
    }

    /// Atomics work on memory that is shared or private, not on what is converted or moved.
    pub(super) fn atomic_target(&self, reg: Reg, pointer: &Register) -> Check {
        match pointer.kind {
            Kind::Context | Kind::Packet | Kind::PacketMeta | Kind::FlowKeys | Kind::Socket(_) => {
                Err(Reason::AtomicTarget { reg, kind: pointer.kind.name() }.into())
            }
            Kind::Uninit
            | Kind::Scalar
            | Kind::Stack(_)
            | Kind::PacketEnd
            | Kind::Map(_)
            | Kind::MapValue(_)
            | Kind::MapKey(_)
            | Kind::Memory(_)
            | Kind::Object(..)
            | Kind::Dynptr(_)
            | Kind::Function(_)
            | Kind::Arena => Ok(()),
        }
    }
}
