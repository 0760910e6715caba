//! Facts that no run shows: regions that differ by map only, and ranges where those of a caller were given up.

use beelift::isa::Insn;
use beelift::verify::facts::Region;
use beelift::verify::{Limits, Options, Policy, verify};
use beelift::{Program, ProgramType};

fn assemble(source: &str) -> Program {
    Program::assemble(ProgramType::Xdp, source, |_| None).unwrap_or_else(|error| panic!("{source}: {error}"))
}

#[test]
fn an_access_to_values_of_two_maps_is_one_of_no_certain_map() {
    let program = assemble(
        ".map first array key=4 value=8 entries=1
        .map second array key=4 value=8 entries=1
        r1 = *(u32 *)(r1 +12)
        if r1 > 5 goto other
        r2 = map[first][0]+0 ll
        goto join
        other: r2 = map[second][0]+0 ll
        join: r0 = *(u64 *)(r2 +0)
        exit",
    );
    let verified = verify(program, &Options::with_policy(Policy::USER)).expect("accepted");
    let loads: Vec<_> = verified.facts().access.iter().flatten().map(|access| access.region).collect();
    assert_eq!(loads, [Region::Context { offset: 12 }, Region::MapValue(None)]);
}

#[test]
fn what_a_function_is_given_counts_where_its_caller_was_given_up() {
    // Many blocks over a full stack: their values take more than the limit, walking the paths does not.
    let spilled: String = (1..=480).map(|byte| format!("*(u8 *)(r10 -{byte}) = 1\n")).collect();
    let blocks: String =
        (0..60).map(|at| format!("if r6 == {at} goto l{at}\nr7 ^= {at}\nl{at}: r7 += 1\n")).collect();
    let program = assemble(&format!(
        "r6 = r1
        r1 = 5
        call tell
        r1 = *(u32 *)(r6 +12)
        call large
        exit
        large: r6 = r1
        r7 = 0
        {spilled}{blocks}
        r1 = 7
        call tell
        exit
        tell: r1 += 1
        r0 = r1
        exit"
    ));
    let entry = program.subprograms.last().expect("the last function").entry;
    assert!(matches!(program.insns[entry.index()], Insn::Alu { .. }));
    let options = Options::with_policy(Policy::USER);
    let proven = |limits| verify(program.clone(), &Options { limits, ..options }).expect("accepted");
    let verified = proven(options.limits);
    let known = verified.facts().lhs[entry.index()].expect("a range");
    assert_eq!((known.umin, known.umax), (5, 7));
    let verified = proven(Limits { memory: verified.statistics().memory, ..options.limits });
    assert_eq!(verified.facts().lhs[entry.index()], None);
}
