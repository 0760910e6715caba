//! Facts checked while the interpreter runs: what the verifier proved of operands, branches and accesses holds.

use beelift::interp::{Moment, Monitor, Observer};
use beelift::isa::effects;
use beelift::isa::semantics::{Concrete, compare};
use beelift::isa::{Insn, Operand, Reg};
use beelift::runtime::TrapKind;
use beelift::runtime::mem::RegionKind;
use beelift::verify::Verified;
use beelift::verify::facts::{BranchFact, Region, ValueFact};

/// Watches a run of a verified program.
pub(super) struct Watch<'v> {
    verified: &'v Verified,
    monitor: Option<Monitor<'v>>,
    /// The first fact that does not hold.
    pub(super) broken: Option<String>,
}

impl<'v> Watch<'v> {
    /// Only facts, or also the rules that hold without a proof.
    pub(super) fn new(verified: &'v Verified, rules: bool) -> Self {
        let monitor = rules.then(|| Monitor::new(verified.program()));
        Self { verified, monitor, broken: None }
    }

    fn check(&self, moment: &Moment<'_>) -> Result<(), String> {
        let (index, facts) = (moment.at.index(), self.verified.facts());
        let insn = &self.verified.program().insns[index];
        if !facts.reachable[index] {
            return Err("an instruction that no path reaches".to_owned());
        }
        let value = |fact: Option<ValueFact>, reg: Option<Reg>| match (fact, reg) {
            (Some(fact), Some(reg)) if !fact.contains(moment.get(reg)) => {
                Err(format!("{reg} is {:#x}, not in {fact:x?}", moment.get(reg)))
            }
            _ => Ok(()),
        };
        let (lhs, rhs) = operands(insn);
        value(facts.lhs[index], lhs)?;
        value(facts.rhs[index], rhs)?;
        if let Insn::Branch { op, width, lhs, rhs, .. } = *insn {
            let right = match rhs {
                Operand::Reg(reg) => moment.get(reg),
                Operand::Imm(imm) => imm.cast_unsigned(),
            };
            let taken = compare(&mut Concrete, op, width, moment.get(lhs), right);
            match (facts.branch[index], taken) {
                (BranchFact::Always, false) | (BranchFact::Never, true) => {
                    return Err(format!("the branch is {:?} taken", facts.branch[index]));
                }
                _ => {}
            }
        }
        let (Some(access), Some(fact)) = (effects::access(insn), facts.access[index]) else { return Ok(()) };
        let address = moment.get(access.base).wrapping_add_signed(i64::from(access.off));
        let expected = match fact.region {
            Region::Stack { .. } | Region::CallerStack => RegionKind::Stack,
            Region::Packet => RegionKind::Packet,
            Region::MapValue(_) => RegionKind::Map,
            Region::Context { .. }
            | Region::Memory
            | Region::Allocated
            | Region::Stale
            | Region::Arena
            | Region::Object
            | Region::Mixed => {
                return Ok(());
            }
        };
        if moment.region(address) != Some(expected) {
            return Err(format!("{:?} instead of {:?}", moment.region(address), fact.region));
        }
        if fact.aligned && !address.is_multiple_of(u64::from(access.size.bytes())) {
            return Err(format!("{address:#x} is not aligned"));
        }
        Ok(())
    }
}

impl Observer for Watch<'_> {
    fn before(&mut self, moment: &Moment<'_>) -> Result<(), TrapKind> {
        if let Err(what) = self.check(moment) {
            self.broken = Some(format!("at {}: {what}", moment.at.index()));
            return Err(TrapKind::FactViolated);
        }
        self.monitor.as_mut().map_or(Ok(()), |monitor| monitor.before(moment))
    }
}

/// Registers that the two value facts of an instruction are about.
fn operands(insn: &Insn) -> (Option<Reg>, Option<Reg>) {
    let reg = |operand: Operand| match operand {
        Operand::Reg(reg) => Some(reg),
        Operand::Imm(_) => None,
    };
    match *insn {
        Insn::Alu { dst, src, .. } => (Some(dst), reg(src)),
        Insn::Swap { dst, .. } => (Some(dst), None),
        Insn::Store { src, .. } => (None, reg(src)),
        Insn::StoreRelease { src, .. } | Insn::Atomic { src, .. } => (None, Some(src)),
        Insn::Branch { lhs, rhs, .. } => (Some(lhs), reg(rhs)),
        _ => (None, None),
    }
}
