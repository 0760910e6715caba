//! Small programs, one file a family.

pub(super) mod alu;
pub(super) mod bounds;
pub(super) mod calls;
pub(super) mod maps;
pub(super) mod objects;
pub(super) mod packet;
pub(super) mod stack;

use beelift::ProgramType;
use beelift::isa::{Const64, Insn, MapSlot};

use super::code::Code;
use super::{Case, Family, INPUTS, Rng, input, maps as maps_of, slot};

/// One in four is flawed.
const FLAWED: u32 = 25;

pub(super) fn case(family: Family, seed: u64, mut rng: Rng, program: fn(&mut Code)) -> Case {
    use ProgramType::{RawTracepoint, SchedCls, Syscall, Xdp};
    let flaw = rng.chance(FLAWED);
    let prog_type = match family {
        Family::Packet => rng.pick(&[Xdp, Xdp, SchedCls]),
        Family::Maps => rng.pick(&[RawTracepoint, Syscall, SchedCls]),
        Family::Objects => rng.pick(&[RawTracepoint, Syscall, SchedCls, Xdp]),
        Family::Alu | Family::Bounds | Family::Stack | Family::Calls | Family::Mixed => {
            rng.pick(&[RawTracepoint, Syscall])
        }
    };
    let mut code = Code::new(rng, prog_type, flaw);
    program(&mut code);
    let insns = code.insns;
    let names_lock =
        |insn: &Insn| matches!(insn, Insn::Const { value: Const64::Map(MapSlot(slot::LOCKED)), .. });
    let locked = insns.iter().any(names_lock);
    // From a sequence of their own, so that their number does not change the program.
    let mut others = Rng::new(!seed);
    let inputs = (0..INPUTS).map(|_| input(prog_type, &mut others)).collect();
    Case { family, seed, prog_type, insns, maps: maps_of(family, locked), inputs }
}
