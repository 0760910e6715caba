//! What the policy for untrusted tenants forbids and the default one allows.

use beelift::verify::{Failure, Options, Policy, verify};
use beelift::{Program, ProgramType};

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
    match verify(program, &Options::with_policy(policy)) {
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
    let endless = "r8 = 0\nagain: r8 += 1\nif r8 != 0 goto again\ngoto again";
    assert_ne!(verdict(endless, Policy::USER), "accept", "there is no way out that is known");
}

#[test]
fn only_loops_without_known_end_burn_fuel() {
    let prove = |source: &str| {
        let program = Program::assemble(ProgramType::Xdp, source, |_| None).expect("assembly");
        verify(program, &Options::default()).expect("a proof")
    };
    let verified = prove(&long_loop("r7 = 0\ninner: r7 += 1\nif r7 < 10 goto inner\nr6 += r7"));
    let burning: Vec<usize> =
        verified.facts().fuel.iter().enumerate().filter(|burns| *burns.1).map(|burns| burns.0).collect();
    assert!(burning.contains(&7), "{burning:?}");
    let verified = prove("r8 = 0\nagain: r8 += 1\nif r8 < 1000 goto again\nr0 = 2\nexit");
    assert!(!verified.facts().fuel.contains(&true));
}

#[cfg(feature = "jit")]
#[test]
fn a_run_without_fuel_traps_and_one_with_enough_does_not() {
    use beelift::{Choice, Engine, Packet, XdpContext};
    let run = |fuel: u64| {
        let source = long_loop("r6 += r8");
        let program = Program::assemble(ProgramType::Xdp, &source, |_| None).expect("assembly");
        let engine = Engine::builder().backend(Choice::Jit).fuel(fuel).build().expect("an engine");
        let collection = engine.load_linked(vec![program]).expect("a proof");
        let mut packet = Packet::new(64).expect("memory");
        packet.set(&[0; 14]).expect("room");
        let result = collection.programs()[0].run(&mut XdpContext::new(&mut packet));
        result.map_err(|error| error.to_string())
    };
    assert_eq!(run(TURNS), Ok(2));
    let error = run(TURNS / 2).expect_err("a trap");
    assert!(error.contains("out of fuel"), "{error}");
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
