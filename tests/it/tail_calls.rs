//! Tail calls on every engine: the limit, subprograms, mutual calls, misses, kinds of programs, traps in targets.

use beelift::engine::{Choice, Collection, Element};
use beelift::runtime::helper;
use beelift::{Engine, Error, Packet, Program, ProgramType, XdpContext};

const MAPS: &str = "
    .map jumps prog_array key=4 value=4 entries=4
    .map runs array key=4 value=8 entries=1
";

/// Counts a run in `runs`; r6 is the context, r7 the number of runs so far.
const COUNT: &str = "
    r6 = r1
    *(u32 *)(r10 -4) = 0
    r2 = r10
    r2 += -4
    r1 = map[runs] ll
    call bpf_map_lookup_elem
    if r0 != 0 goto found
    exit
found:
    r7 = *(u64 *)(r0 +0)
    r7 += 1
    *(u64 *)(r0 +0) = r7
";

fn assemble(body: &str) -> Program {
    let source = format!("{MAPS}{body}");
    let helper = |name: &str| helper::by_name(name).map(|found| found.id);
    Program::assemble(ProgramType::Xdp, &source, helper).unwrap_or_else(|error| panic!("{source}: {error}"))
}

fn tail_call(index: u32) -> String {
    format!("r1 = r6\nr2 = map[jumps] ll\nr3 = {index}\ncall bpf_tail_call\n")
}

fn load(choice: Choice, programs: &[String]) -> Collection {
    let engine = Engine::builder().backend(choice).fuel(100_000).build().expect("an engine");
    let programs: Vec<_> = programs.iter().map(|body| assemble(body)).collect();
    let collection = engine.load_linked(programs).unwrap_or_else(|error| panic!("{choice:?}: {error}"));
    let jumps = collection.map("jumps").expect("it is there");
    for (index, program) in (0..).zip(collection.programs()) {
        jumps.set_program(index, program).expect("it fits");
    }
    collection
}

fn run(collection: &Collection) -> Result<u64, Error> {
    let mut packet = Packet::new(64).expect("memory");
    packet.set(&[0; 64]).expect("it fits");
    collection.programs()[0].run(&mut XdpContext::new(&mut packet))
}

/// The first program gives that result and is followed by that many runs altogether, on every engine.
#[track_caller]
fn check(programs: &[String], result: u64, runs: u64) {
    let mut choices = vec![Choice::Interpreter];
    if cfg!(feature = "jit") {
        choices.push(Choice::Jit);
    }
    // The kernel wants types of programs that make tail calls from subprograms.
    let untyped = programs.iter().any(|body| body.contains("call jump"));
    #[cfg(feature = "kernel")]
    if !untyped && crate::require::kernel("tail calls") {
        choices.push(Choice::Kernel);
    }
    for choice in choices {
        let collection = load(choice, programs);
        for turn in 1..=2 {
            let given = run(&collection).unwrap_or_else(|error| panic!("{choice:?}: {error}"));
            assert_eq!(given, result, "{choice:?}");
            let counted =
                collection.map("runs").expect("it is there").lookup(&[0; 4]).expect("it can be read");
            assert_eq!(counted, Some(Element::Value((turn * runs).to_ne_bytes().to_vec())), "{choice:?}");
        }
    }
}

#[test]
fn a_program_replaces_itself_thirty_three_times() {
    check(&[format!("{COUNT}{}r0 = 9\nexit", tail_call(0))], 9, 34);
}

#[test]
fn the_target_returns_to_the_caller_of_the_caller() {
    check(&[format!("{COUNT}{}r0 = 9\nexit", tail_call(1)), format!("{COUNT}r0 = 5\nexit")], 5, 2);
}

#[test]
fn a_miss_goes_on_behind_the_call() {
    for index in [2, 3, 4, u32::MAX >> 1] {
        let programs = [format!("{COUNT}{}r0 = 9\nexit", tail_call(index)), format!("{COUNT}r0 = 5\nexit")];
        check(&programs, 9, 1);
    }
}

#[test]
fn a_subprogram_replaces_only_its_own_frame() {
    let caller =
        format!("{COUNT}r1 = r6\ncall jump\nr0 += 100\nexit\njump: r6 = r1\n{}r0 = 9\nexit", tail_call(1));
    check(&[caller, format!("{COUNT}r0 = 5\nexit")], 105, 2);
}

#[test]
fn the_limit_counts_over_the_whole_tree() {
    // Each run makes two calls of a subprogram that enters the program again.
    let caller = format!(
        "{COUNT}r1 = r6\ncall jump\nr8 = r0\nr1 = r6\ncall jump\nr0 += r8\nr0 += 1\nexit\njump: r6 = r1\n{}r0 = 0\nexit",
        tail_call(0)
    );
    check(&[caller], 34, 34);
}

#[test]
fn programs_call_each_other() {
    let first = format!("{COUNT}{}r0 = r7\nr0 %= 100\nexit", tail_call(1));
    let second = format!("{COUNT}{}r0 = r7\nr0 %= 100\nexit", tail_call(0));
    let collection = load(Choice::Interpreter, &[first.clone(), second.clone()]);
    assert_eq!(run(&collection).expect("no trap"), 34);
    let third = format!("{COUNT}r0 = 3\nexit");
    check(&[first, format!("{COUNT}{}r0 = 8\nexit", tail_call(2)), third], 3, 3);
}

#[test]
fn a_trap_in_a_target_is_told_of_the_target() {
    // Steps over its bound, so nobody proved that it ends, and the jump burns fuel.
    let target = "r0 = 0\nr1 = 0\nagain: r1 += 3\nif r1 != 200000 goto again\nexit".to_owned();
    let caller = format!("r6 = r1\nr7 = 1\nr7 = 2\nr7 = 3\nr7 = 4\nr7 = 5\n{}r0 = 9\nexit", tail_call(1));
    let collection = load(Choice::Interpreter, &[caller, target]);
    match run(&collection) {
        Err(Error::Trap(trap)) => {
            assert_eq!(trap.at.0, 3, "{trap}");
            assert_eq!(trap.source.expect("a line").text.trim(), "if r1 != 200000 goto again");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn arrays_hold_programs_of_one_kind() {
    let engine = Engine::builder().backend(Choice::Interpreter).build().expect("an engine");
    let collection = load(Choice::Interpreter, &[format!("r6 = r1\n{}r0 = 9\nexit", tail_call(0))]);
    let jumps = collection.map("jumps").expect("it is there");
    let filter = Program::assemble(ProgramType::SocketFilter, "r0 = 0\nexit", |_| None).expect("assembles");
    let filter = engine.load_linked(vec![filter]).expect("loads");
    let error = jumps.set_program(1, &filter.programs()[0]).expect_err("another type");
    assert!(error.to_string().contains("set_program in map `jumps`"), "{error}");
    let runs = collection.map("runs").expect("it is there");
    assert!(runs.set_program(0, &collection.programs()[0]).is_err());
    assert!(jumps.set_program(4, &collection.programs()[0]).is_err());
}

#[test]
fn a_target_of_another_collection_lives_as_long_as_the_array() {
    let collection = load(Choice::Interpreter, &[format!("{COUNT}{}r0 = 9\nexit", tail_call(1))]);
    let other = load(Choice::Interpreter, &["r0 = 4\nexit".to_owned()]);
    collection.map("jumps").expect("it is there").set_program(1, &other.programs()[0]).expect("it fits");
    drop(other);
    assert_eq!(run(&collection).expect("no trap"), 4);
    let jumps = collection.map("jumps").expect("it is there").clone();
    drop(collection);
    // Nothing keeps the programs of the array's own collection.
    assert!(jumps.lookup(&0_u32.to_ne_bytes()).expect("it can be read").is_some());
}
