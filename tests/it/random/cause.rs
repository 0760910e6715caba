//! Why only we accept a program, read off what is left of it when nothing more can be taken out: what our ranges know
//! and the kernel's do not.

use beelift::isa::{AluOp, CmpOp, Insn, Operand, Reg, Size, Width};

/// Whether a program has what shows a cause.
type Shows = fn(&[Insn]) -> bool;

/// What decides, the most telling first.
const CAUSES: &[(&str, Shows)] = &[
    ("a shift of 32 bits by a register: the kernel forgets the whole result", shifts_by_register),
    ("a number compared with itself or with one made from it", compares_registers),
    ("a bound that known low bits round down", rounds_down),
    ("halves, or bits and bounds, of a number that contradict each other: no run comes here", narrow_branch),
    ("a part of a number of which only the lower half is small", loads_part),
    ("a remainder or quotient, of which the kernel knows nothing", divides),
    ("a range around zero", wraps),
    ("bounds of a sum or of bits that are put together", adds_bits),
    ("a shift to the left, of which the kernel keeps no negative bound and no gaps", shifts_left),
];

/// Classes of the kernel's that say all by themselves. To take out what a program does not need would take hours where
/// the kernel walks a million instructions each time.
pub(super) fn is_cause(class: &str) -> bool {
    class == "the kernel's own mistake" || class == "steps"
}

/// The cause.
pub(super) fn cause_of(small: &[Insn], class: &str) -> String {
    let found = CAUSES.iter().find(|(_, shows)| shows(small));
    found.map_or_else(|| format!("not explained: {class}"), |(cause, _)| (*cause).to_owned())
}

fn shifts_by_register(insns: &[Insn]) -> bool {
    insns.iter().any(|insn| {
        matches!(insn, Insn::Alu { op: AluOp::Lsh | AluOp::Rsh | AluOp::Arsh, src: Operand::Reg(_), .. })
    })
}

fn compares_registers(insns: &[Insn]) -> bool {
    insns.iter().any(|insn| matches!(insn, Insn::Branch { rhs: Operand::Reg(_), .. }))
}

fn rounds_down(insns: &[Insn]) -> bool {
    insns.iter().any(|insn| matches!(insn, Insn::Alu { op: AluOp::And, src: Operand::Imm(-8 | -4), .. }))
}

fn narrow_branch(insns: &[Insn]) -> bool {
    let narrow = |insn: &Insn| matches!(insn, Insn::Branch { width: Width::W32, .. });
    let bits = |insn: &Insn| {
        matches!(
            insn,
            Insn::Alu { op: AluOp::And | AluOp::Or, width: Width::W32, .. }
                | Insn::Branch { op: CmpOp::Set, .. }
                | Insn::Swap { .. }
        )
    };
    let wide = |insn: &Insn| matches!(insn, Insn::Branch { width: Width::W64, .. });
    insns.iter().any(|insn| narrow(insn) || bits(insn)) && insns.iter().any(wide)
}

fn wraps(insns: &[Insn]) -> bool {
    insns.iter().any(|insn| {
        let Insn::Alu { op, .. } = insn else { return false };
        matches!(op, AluOp::Neg | AluOp::Mul | AluOp::Sub | AluOp::MovSx8 | AluOp::MovSx16 | AluOp::MovSx32)
    })
}

fn adds_bits(insns: &[Insn]) -> bool {
    insns.iter().any(|insn| {
        matches!(
            insn,
            Insn::Alu { op: AluOp::Or | AluOp::Xor | AluOp::Add | AluOp::Arsh, src: Operand::Imm(_), .. }
        )
    })
}

fn shifts_left(insns: &[Insn]) -> bool {
    insns.iter().any(|insn| matches!(insn, Insn::Alu { op: AluOp::Lsh, .. }))
}

fn loads_part(insns: &[Insn]) -> bool {
    let narrow = |insn: &Insn| matches!(insn, Insn::Branch { width: Width::W32, .. });
    let part = |insn: &Insn| matches!(insn, Insn::Load { size: Size::B | Size::H, base: Reg::R10, .. });
    insns.iter().any(narrow) && insns.iter().any(part)
}

fn divides(insns: &[Insn]) -> bool {
    insns
        .iter()
        .any(|insn| matches!(insn, Insn::Alu { op: AluOp::Div | AluOp::Mod | AluOp::SDiv | AluOp::SMod, .. }))
}
