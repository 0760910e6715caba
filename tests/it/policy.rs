//! What the policy for untrusted tenants forbids and the default one allows.

use beelift::verify::facts::LoopEnd;
use beelift::verify::{Failure, Limits, Options, Policy, verify};
use beelift::{Program, ProgramType};

/// A policy, and patience for less instructions than by default: none of the loops below are walked to their ends.
fn quick(policy: Policy) -> Options {
    let options = Options::with_policy(policy);
    Options { limits: Limits { processed: 50_000, ..options.limits }, ..options }
}

/// `accept`, or the code of the reason.
fn verdict(source: &str, policy: Policy) -> String {
    let start = ".map table array key=4 value=8 entries=1
        r6 = r1
        *(u32 *)(r10 -4) = 0
        r1 = map[table] ll
        r2 = r10
        r2 += -4
        call 1
        if r0 != 0 goto body
        exit
        body:
        r9 = r0
        r7 = *(u32 *)(r6 +0)
        r2 = *(u32 *)(r6 +4)
        r1 = r7
        r1 += 8
        r0 = 0
        if r1 <= r2 goto inside
        exit
        inside:";
    let program = Program::assemble(ProgramType::Xdp, &format!("{start}\n{source}"), |_| None)
        .unwrap_or_else(|error| panic!("{source}: {error}"));
    match verify(program, &quick(policy)) {
        Ok(_) => "accept".to_owned(),
        Err(Failure::Rejected(rejected)) => rejected.reason.code().to_owned(),
        Err(other) => panic!("{source}: {other}"),
    }
}

#[test]
fn strict_forbids_what_leaks_addresses() {
    for source in [
        "*(u64 *)(r9 +0) = r7\nexit",
        "*(u64 *)(r9 +0) = r10\nexit",
        "*(u64 *)(r7 +0) = r9\nexit",
        "*(u64 *)(r7 +0) = r6\nexit",
        "r0 = r9\nexit",
        "r0 = r10\nexit",
        "r1 = r9\nr1 -= r10\nr0 = 0\nexit",
        "r0 = *(u64 *)(r10 -16)\nexit",
    ] {
        assert_eq!(verdict(source, Policy::USER), "accept", "{source}");
        assert_ne!(verdict(source, Policy::STRICT), "accept", "{source}");
    }
}

#[test]
fn strict_allows_pointers_where_nobody_reads_them() {
    for source in [
        "*(u64 *)(r10 -16) = r9\nr1 = *(u64 *)(r10 -16)\nr0 = *(u64 *)(r1 +0)\nexit",
        "r0 = *(u64 *)(r7 +0)\n*(u64 *)(r9 +0) = r0\nexit",
    ] {
        assert_eq!(verdict(source, Policy::USER), "accept", "{source}");
        assert_eq!(verdict(source, Policy::STRICT), "accept", "{source}");
    }
}

#[test]
fn strict_reads_of_a_varying_place_may_reach_bytes_never_written_but_no_pointers() {
    let varying = "r1 = *(u8 *)(r7 +0)\nr1 &= 7\nr1 += r10\n";
    let partly = format!("*(u8 *)(r10 -16) = 1\n{varying}r0 = *(u8 *)(r1 -16)\nexit");
    assert_eq!(verdict(&partly, Policy::STRICT), "accept");
    for source in [
        // Nothing there was written.
        format!("{varying}r0 = *(u8 *)(r1 -16)\nexit"),
        // A place that is known, beside bytes that were written.
        "*(u8 *)(r10 -16) = 1\nr0 = *(u8 *)(r10 -15)\nexit".to_owned(),
        "*(u32 *)(r10 -16) = 1\nr0 = *(u32 *)(r10 -12)\nexit".to_owned(),
        // The path with a pointer there is walked last, and not left out for the one without.
        format!(
            "*(u64 *)(r10 -24) = 0\nr2 = *(u8 *)(r7 +1)\nif r2 == 0 goto read\n*(u64 *)(r10 -16) = r7\nread: \
             {varying}r1 += 8\nr0 = *(u8 *)(r1 -24)\nr0 = 0\nexit"
        ),
        format!(
            "*(u64 *)(r10 -24) = 0\nr2 = *(u8 *)(r7 +1)\nif r2 != 0 goto point\nread: {varying}r1 += 8\n\
             r0 = *(u8 *)(r1 -24)\nr0 = 0\nexit\npoint: *(u64 *)(r10 -16) = r7\ngoto read"
        ),
    ] {
        assert_eq!(verdict(&source, Policy::USER), "accept", "{source}");
        assert_ne!(verdict(&source, Policy::STRICT), "accept", "{source}");
    }
}

/// Runs a program of type `xdp` under the policy for untrusted tenants.
fn run_strict(source: &str, choice: beelift::Choice) -> u64 {
    use beelift::{Engine, Packet, XdpContext};
    let program = Program::assemble(ProgramType::Xdp, source, |_| None).expect("assembly");
    let options = Options::with_policy(Policy::STRICT);
    let engine = Engine::builder().backend(choice).verify(options).build().expect("an engine");
    let collection = engine.load_linked(vec![program]).expect("a proof");
    let mut packet = Packet::new(64).expect("memory");
    packet.set(&[0xff; 14]).expect("room");
    collection.programs()[0].run(&mut XdpContext::new(&mut packet)).expect("a result")
}

#[test]
fn strict_lets_fields_of_the_context_be_returned_but_not_where_the_packet_is() {
    let returned = [
        "r0 = *(u32 *)(r1 +0)\nexit",
        "r0 = *(u32 *)(r1 +4)\nexit",
        "r0 = *(u32 *)(r1 +8)\nr0 += 3\nexit",
        // Through the stack, as compilers do.
        "*(u64 *)(r10 -8) = r1\nr2 = 0\nr2 = xchg_64(r10 -8, r2)\nr0 = *(u32 *)(r2 +0)\nexit",
    ];
    for source in returned {
        for choice in [beelift::Choice::Interpreter, beelift::Choice::Auto] {
            assert_eq!(run_strict(source, choice), 0, "{source}");
        }
    }
    // An exit that returns a number on another path, and one where others see the result.
    let either = "r0 = 7\nr2 = *(u32 *)(r1 +12)\nif r2 == 0 goto out\nr0 = *(u32 *)(r1 +0)\nout: exit";
    let program = Program::assemble(ProgramType::Xdp, either, |_| None).expect("assembly");
    assert!(verify(program, &Options::with_policy(Policy::STRICT)).is_err());
    // What varies and was never written is zero, not what another program left.
    let dirty = "*(u64 *)(r10 -8) = -1\n*(u64 *)(r10 -16) = -1\nr0 = *(u64 *)(r10 -8)\nexit";
    let read = "*(u8 *)(r10 -16) = 5\nr2 = *(u32 *)(r1 +0)\nr3 = *(u32 *)(r1 +4)\nr4 = r2\nr4 += 1\nr0 = 9\n\
                if r4 > r3 goto out\nr2 = *(u8 *)(r2 +0)\nr2 &= 7\nr2 += r10\nr0 = *(u8 *)(r2 -16)\nout: exit";
    for choice in [beelift::Choice::Interpreter, beelift::Choice::Auto] {
        assert_eq!(run_strict(dirty, choice), u64::MAX);
        assert_eq!(run_strict(read, choice), 0);
    }
}

#[test]
fn alignment_is_asked_for_where_the_policy_says_so() {
    let strict = Policy { strict_alignment: true, ..Policy::USER };
    let source = "*(u32 *)(r9 +2) = 1\nr0 = 2\nexit";
    assert_eq!(verdict(source, Policy::USER), "accept");
    assert_eq!(verdict(source, strict), "misaligned");
}

/// Turns of the loops below: more than can be walked one by one.
const TURNS: u64 = 3_000_000;

/// Sums the low byte of the counter over all turns, through an array on the stack and one in a map.
fn long_loop(body: &str) -> String {
    format!(
        "r8 = 0
        r6 = 0
        again:
        {body}
        r8 += 1
        if r8 < {TURNS} goto again
        r0 = 2
        exit"
    )
}

#[test]
fn long_loops_are_proven_by_ranges_where_fuel_is_allowed() {
    for body in [
        "r6 += r8",
        "w6 ^= w8\nw6 <<= 3",
        "r1 = r8\nr1 &= 7\nr2 = r9\nr2 += r1\n*(u8 *)(r2 +0) = r8",
        "*(u64 *)(r10 -16) = r6\nr6 += 1\nr1 = *(u64 *)(r10 -16)",
        "r1 = r8\nr1 &= 1\nif r1 == 0 goto even\nr6 += 5\neven: r6 ^= r8",
        "r6 -= 1",
    ] {
        let source = long_loop(body);
        assert_eq!(verdict(&source, Policy::USER), "accept", "{body}");
        assert_eq!(verdict(&source, Policy::KERNEL), "too_complex", "{body}");
        assert_eq!(verdict(&source, Policy::STRICT), "too_complex", "{body}");
    }
    for body in [
        // The counter itself, or what it adds up to, leaves the value of 8 bytes.
        "r2 = r9\nr2 += r8\n*(u8 *)(r2 +0) = 1",
        "r6 += 1\nif r6 < 2999999 goto low\nr2 = r9\nr2 += r6\n*(u8 *)(r2 +0) = 1\nlow: r1 = 0",
        // One byte further each turn.
        "*(u8 *)(r9 +0) = 1\nr9 += 1",
    ] {
        assert_ne!(verdict(&long_loop(body), Policy::USER), "accept", "{body}");
    }
    // A pointer that moved in every turn, behind the turns that are walked.
    let moved = long_loop("if r8 < 2999999 goto low\n*(u8 *)(r5 +0) = 1\nlow: r5 += 1");
    assert_ne!(verdict(&format!("r5 = r9\n{moved}"), Policy::USER), "accept");
    // Pointers to one value and to another are no pointer that moves.
    let look_up = "r1 = map[other] ll\nr2 = r10\nr2 += -4\ncall 1\n";
    let other = format!(
        ".map other hash key=4 value=16 entries=2 lock=0\n{look_up}if r0 == 0 goto out\nr7 = r0\nr7 += 4\n{}\nout: r0 = 0\nexit",
        long_loop(&format!("*(u8 *)(r7 +4) = 1\n{look_up}if r0 == 0 goto out\nr7 = r0\nr7 += 8"))
    );
    assert_eq!(verdict(&other, Policy::USER), "accept");
    let endless = "r8 = 0\nagain: r8 += 1\nif r8 != 0 goto again\ngoto again";
    assert_ne!(verdict(endless, Policy::USER), "accept", "there is no way out that is known");
}

#[test]
fn what_a_proof_may_take_is_limited() {
    let spilled: String = (1..64).map(|slot| format!("*(u64 *)(r10 -{}) = r8\n", 8 * slot)).collect();
    let source = format!("r8 = 0\nagain: r8 += 1\n{spilled}if r8 < 1000 goto again\nr0 = 0\nexit");
    let program = Program::assemble(ProgramType::Xdp, &source, |_| None).expect("a program");
    let options = Options::with_policy(Policy::KERNEL);
    let verdict = |limits| match verify(program.clone(), &Options { limits, ..options }) {
        Ok(_) => "accept",
        Err(Failure::Rejected(rejected)) => rejected.reason.code(),
        Err(other) => panic!("{other}"),
    };
    assert_eq!(verdict(options.limits), "accept");
    assert_eq!(verdict(Limits { processed: 10_000, ..options.limits }), "too_complex");
    assert_eq!(verdict(Limits { memory: 1 << 20, ..options.limits }), "too_much_memory");
}

/// How the loops of a program end, by place, and which jumps burn fuel. Two numbers are read first: r6 of 32 bits and r7
/// of 64 bits.
fn endings(source: &str) -> (Vec<(u32, LoopEnd)>, Vec<usize>) {
    let verified =
        verify(numbers(source), &quick(Policy::USER)).unwrap_or_else(|error| panic!("{source}: {error}"));
    let facts = verified.facts();
    let loops = facts.loops.iter().map(|found| (found.at.0, found.end.clone())).collect();
    (loops, (0..facts.fuel.len()).filter(|at| facts.fuel[*at]).collect())
}

fn numbers(source: &str) -> Program {
    let source = format!("r6 = *(u32 *)(r1 +0)\nr7 = *(u64 *)(r1 +8)\nr8 = 0\nr0 = 0\n{source}");
    Program::assemble(ProgramType::Syscall, &source, |_| None)
        .unwrap_or_else(|error| panic!("{source}: {error}"))
}

#[test]
fn loops_that_a_counter_bounds_end_by_proof() {
    for (source, counters) in [
        (format!("again: r8 += 1\nif r8 < {TURNS} goto again\nexit"), vec![(4, 4, TURNS)]),
        // Down, by other steps, in 32 bits, to a bound that is not known but small, with signs.
        ("r8 = 9000000\nagain: r8 -= 3\nif r8 > 2 goto again\nexit".to_owned(), vec![(5, 5, TURNS)]),
        (format!("again: w8 += 1\nif w8 < {TURNS} goto again\nexit"), vec![(4, 4, TURNS)]),
        ("again: r8 += 1\nif r8 < r6 goto again\nexit".to_owned(), vec![(4, 4, u64::from(u32::MAX))]),
        ("r8 = -2000000\nagain: r8 += 1\nif r8 s< 1000000 goto again\nexit".to_owned(), vec![(5, 5, TURNS)]),
        // The head before the condition, and a step on either side of a branch.
        (
            format!(
                "again: if r8 >= {TURNS} goto out\nif r7 == 5 goto odd\nr8 += 1\ngoto again\nodd: r8 += 2\n\
                 goto again\nout: exit"
            ),
            vec![(4, 6, TURNS)],
        ),
        // The inner counter starts anew in each turn of the outer one.
        (
            format!(
                "again: r9 = 0\ninner: r9 += 1\nif r9 < {TURNS} goto inner\nr8 += 1\nif r8 < {TURNS} goto again\nexit"
            ),
            vec![(4, 7, TURNS), (5, 5, TURNS)],
        ),
    ] {
        let (loops, fuel) = endings(&source);
        let expected: Vec<_> = counters
            .into_iter()
            .map(|(at, step, turns)| (at, LoopEnd::Counter { step: beelift::isa::InsnId(step), turns }))
            .collect();
        assert_eq!((loops, fuel), (expected, vec![]), "{source}");
    }
}

#[test]
fn loops_without_a_counter_burn_fuel() {
    for (source, points, burning) in [
        // No bound within reach; a number that is no counter; one that starts anew; one that wraps around.
        ("again: r8 += 1\nif r8 < r7 goto again\nexit", vec![4], vec![5]),
        ("r8 = 7\nagain: r8 *= 5\nr8 += 1\nif r8 != r7 goto again\nexit", vec![5], vec![7]),
        (
            "again: r8 += 1\nr7 *= 3\nif r7 != 5 goto on\nr8 = 0\non: if r8 < 3000000 goto again\nexit",
            vec![4],
            vec![8],
        ),
        ("again: r8 += 2\nif r8 != r7 goto again\nexit", vec![4], vec![5]),
        ("again: w8 += 1\nif w8 != 0 goto again\nexit", vec![4], vec![5]),
        // Only on one way round.
        (
            "again: r7 *= 3\nif r7 != 5 goto on\nr8 += 1\non: if r8 < 3000000 goto again\nexit",
            vec![4],
            vec![7],
        ),
    ] {
        let (mut loops, fuel) = endings(source);
        // A counter that moves on some ways round only leaves the others.
        loops.retain(|found| found.1 == LoopEnd::Fuel);
        let expected: Vec<_> = points.into_iter().map(|at| (at, LoopEnd::Fuel)).collect();
        assert_eq!((loops, fuel), (expected, burning), "{source}");
    }
    // A loop of few turns is walked.
    assert_eq!(endings("again: r8 += 1\nif r8 < 1000 goto again\nexit"), (vec![], vec![]));
}

/// Its inner loop is the one of many turns, and the outer one is closed in the call.
const CLOSED_IN_A_CALL: &str = "again: call turns\nr8 += 1\nif r8 BOUND goto again\nr0 = 0\nexit
    turns: r1 = 0\nmore: r1 += 1\nif r1 < 2000 goto more\nr0 = 0\nexit";

#[test]
fn a_callers_loop_that_is_closed_in_a_call_burns_fuel_by_itself() {
    let (loops, fuel) = endings(&CLOSED_IN_A_CALL.replace("BOUND", "!= 0"));
    assert_eq!(loops[0], (4, LoopEnd::Fuel));
    assert_eq!(fuel, [6]);
    let (loops, fuel) = endings(&CLOSED_IN_A_CALL.replace("BOUND", &format!("< {TURNS}")));
    assert!(matches!(loops[0], (4, LoopEnd::Counter { turns: TURNS, .. })), "{loops:?}");
    assert!(fuel.is_empty());
}

#[cfg(feature = "jit")]
#[test]
fn a_run_without_fuel_traps_and_one_with_enough_does_not() {
    use beelift::runtime::ctx::RawContext;
    use beelift::{Choice, Engine};
    let run = |source: &str, choice, fuel: u64| {
        let engine = Engine::builder().backend(choice).verify(quick(Policy::USER)).fuel(fuel);
        let engine = engine.build().expect("an engine");
        let collection = engine.load_linked(vec![numbers(source)]).expect("a proof");
        let mut context = RawContext::new(ProgramType::Syscall, &[0; 16]).expect("memory");
        let result = collection.programs()[0].run(&mut context);
        result.map_err(|error| error.to_string())
    };
    let out_of_fuel = |source: &str, choice, fuel| {
        let error = run(source, choice, fuel).expect_err("a trap");
        assert!(error.contains("out of fuel"), "{error}");
        error
    };
    // Powers of 3 come back to 1, in 18 bits after 1 << 16 turns.
    let power = "r9 = 1\nagain: w9 *= 3\nif w9 != 1 goto again\nexit";
    let small = "r9 = 1\nagain: w9 *= 3\nr9 &= 0x3ffff\nif w9 != 1 goto again\nexit";
    for choice in [Choice::Jit, Choice::Interpreter] {
        out_of_fuel(power, choice, 5000);
        assert_eq!(run(small, choice, 1 << 16), Ok(0));
        out_of_fuel(small, choice, (1 << 16) - 2);
    }
    // Both name the same place.
    let place = out_of_fuel(power, Choice::Jit, 5000);
    assert_eq!(place, out_of_fuel(power, Choice::Interpreter, 5000));
    assert!(!place.contains("at pc 0"), "{place}");
    // What ends by proof burns nothing.
    let proven = "again: r8 += 1\nif r8 < 300000 goto again\nexit";
    for choice in [Choice::Jit, Choice::Interpreter] {
        assert_eq!(run(proven, choice, 0), Ok(0));
    }
    out_of_fuel(&CLOSED_IN_A_CALL.replace("BOUND", "!= 0"), Choice::Jit, 50);
    // A may_goto that leads back, once its turns are used up.
    out_of_fuel("again: may_goto spin\ngoto again\nspin: r8 += 1\nmay_goto spin\nexit", Choice::Jit, 50);
}

#[test]
fn a_run_is_on_one_of_the_cpus_there_are() {
    let source = ".map table array key=4 value=4 entries=1
        call 8
        r1 = map[table][0]+0 ll
        r1 += r0
        r0 = *(u8 *)(r1 +0)
        exit";
    let program = Program::assemble(ProgramType::Xdp, source, |_| None).expect("assembly");
    let accepted = |cpus| verify(program.clone(), &Options { cpus, ..Options::default() }).is_ok();
    assert_eq!([Some(1), Some(4), Some(5), None].map(accepted), [true, true, false, false]);
}
