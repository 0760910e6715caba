//! Answers written into instructions.
//!
//! In: slots of one instruction, the compiler's answer and the target's. Out: what became of it. Relocated
//! instructions are immediates of arithmetic, offsets of loads and stores, and wide immediates.
#![forbid(unsafe_code)]

use super::value::Answer;
use super::{CoreKind, CoreResult};
use crate::isa::Slot;
use crate::isa::opcode as raw;

/// Helper number of a poisoned instruction, plus the number of its relocation: no helper has it.
pub const POISON: u32 = 0x0bad_2310;

/// Patches the instruction at the start of `slots`.
pub(super) fn patch(
    kind: CoreKind,
    local: Option<Answer>,
    target: Option<Answer>,
    number: u32,
    slots: &mut [Slot],
) -> Result<CoreResult, String> {
    let Some(&slot) = slots.first() else { return Err("there is no instruction".to_owned()) };
    let class = slot.opcode() & raw::CLASS_MASK;
    let Some(target) = target else {
        let why = if kind == CoreKind::EnumValue {
            "no such value in the target"
        } else {
            "no such field in the target"
        };
        return Ok(poison(number, slots, why));
    };
    let expect = local.filter(|local| local.checked).map(|local| local.value);
    let wrong = |found: u64| {
        format!("the compiler should have written {} and wrote {found}", expect.unwrap_or_default())
    };
    match class {
        raw::ALU | raw::ALU64 => {
            if slot.opcode() & raw::SRC_MASK != raw::K {
                return Err("arithmetic between registers takes no relocation".to_owned());
            }
            let found = slot.imm();
            if expect.is_some_and(|expect| expect as u32 != found.cast_unsigned()) {
                return Err(wrong(u64::from(found.cast_unsigned())));
            }
            // What fits neither as unsigned nor as sign-extended cannot be written.
            let fits =
                u32::try_from(target.value).is_ok() || i32::try_from(target.value.cast_signed()).is_ok();
            if !fits {
                return Err(format!("{} has more than 32 bits", target.value));
            }
            let imm = (target.value as u32).cast_signed(); // Checked: the upper half is its sign or zero.
            slots[0] = Slot::new(slot.opcode(), slot.dst(), slot.src(), slot.off(), imm);
            Ok(CoreResult::Resolved { from: u64::from(found.cast_unsigned()), to: target.value })
        }
        raw::LDX | raw::ST | raw::STX => {
            let found = slot.off();
            if expect.is_some_and(|expect| i64::from(found).cast_unsigned() != expect) {
                return Err(wrong(i64::from(found).cast_unsigned()));
            }
            let Ok(off) = i16::try_from(target.value) else {
                return Err(format!("offset {} has more than 16 bits", target.value));
            };
            let own_size = local.and_then(|local| local.access_size);
            let mut opcode = slot.opcode();
            if let (Some(own), Some(size)) = (own_size, target.access_size)
                && own != size
            {
                if !target.resizable {
                    let why = format!("the field has {size} bytes, not {own}");
                    return Ok(poison(number, slots, &why));
                }
                let bits = match size {
                    1 => raw::B,
                    2 => raw::H,
                    4 => raw::W,
                    8 => raw::DW,
                    _ => return Err(format!("the field has {size} bytes, which no access has")),
                };
                opcode = opcode & !raw::SIZE_MASK | bits;
            }
            slots[0] = Slot::new(opcode, slot.dst(), slot.src(), off, slot.imm());
            Ok(CoreResult::Resolved { from: i64::from(found).cast_unsigned(), to: target.value })
        }
        raw::LD => {
            let &mut [low, high, ..] = slots else {
                return Err("a wide immediate is cut in half".to_owned());
            };
            if low.opcode() != raw::LD | raw::IMM | raw::DW
                || low.src() != raw::PSEUDO_IMM
                || high.opcode() != 0
            {
                return Err("the instruction is no wide immediate number".to_owned());
            }
            let found = u64::from(low.imm().cast_unsigned()) | u64::from(high.imm().cast_unsigned()) << 32;
            if expect.is_some_and(|expect| expect != found) {
                return Err(wrong(found));
            }
            let [a, b, c, d, e, f, g, h] = target.value.to_le_bytes();
            slots[0] =
                Slot::new(low.opcode(), low.dst(), low.src(), low.off(), i32::from_le_bytes([a, b, c, d]));
            slots[1] = Slot::new(0, 0, 0, 0, i32::from_le_bytes([e, f, g, h]));
            Ok(CoreResult::Resolved { from: found, to: target.value })
        }
        _ => Err(format!("an instruction of class {class} takes no relocation")),
    }
}

/// Makes the instruction a call that no program may reach; both halves of a wide immediate.
fn poison(number: u32, slots: &mut [Slot], why: &str) -> CoreResult {
    let helper = POISON.wrapping_add(number).cast_signed();
    let call = Slot::new(raw::JMP | raw::CALL, 0, raw::CALL_HELPER, 0, helper);
    let wide = slots[0].opcode() == raw::LD | raw::IMM | raw::DW;
    slots[0] = call;
    if let Some(high) = slots.get_mut(1).filter(|_| wide) {
        *high = call;
    }
    CoreResult::Poisoned { why: why.to_owned() }
}
