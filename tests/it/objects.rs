//! Objects that programs allocate: the same results and maps on every engine, and nothing is lost.

use std::path::Path;

use beelift::engine::compare::Trial;
use beelift::engine::{Backend, Choice, Element, Input, Loaded};
use beelift::link::{LinkOptions, link};
use beelift::runtime::cpu;
use beelift::runtime::ctx::SkbContext;
use beelift::runtime::heap::ObjectTypes;
use beelift::{Engine, FixedEnvironment, Object, Packet, ProgramType};

fn object(name: &str) -> Object {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/calls").join(name);
    Object::parse(&std::fs::read(path).expect("it is there")).expect("an object")
}

/// Runs a program once for each mark, on every engine.
fn check(name: &str, program: &str, marks: &[u32]) {
    let object = object(name);
    let program = link(&object, program, &LinkOptions::default()).expect("links");
    let input = |mark: &u32| {
        let mut context = vec![0; 192];
        context[8..12].copy_from_slice(&mark.to_le_bytes());
        Input { packet: vec![0; 64], context }
    };
    let inputs: Vec<Input> = marks.iter().map(input).collect();
    let trial = Trial {
        program: &program,
        verified: None,
        object: Some(&object),
        inputs: &inputs,
        elements: &[],
        environment: FixedEnvironment::default(),
    };
    let mut backends = vec![Backend::Interpreter, Backend::Jit];
    if crate::require::kernel("objects in the kernel") {
        backends.push(Backend::Kernel);
    }
    let comparison = trial.compare(&backends, &|| Engine::builder().check_facts(true));
    assert!(comparison.agrees(), "{}: {:#?}", program.name, comparison.difference);
    for column in comparison.columns {
        let outcome = column.outcome.unwrap_or_else(|error| panic!("{}: {error}", column.backend));
        assert!(outcome.records.iter().all(Result::is_ok), "every engine takes it");
    }
}

#[test]
fn lists_are_the_same_everywhere() {
    check("objects.bpf.o", "lists", &[0; 3]);
    check("objects.bpf.o", "baskets", &[0, 1, 0, 0, 2, 0, 0, 1, 0, 0]);
}

#[test]
fn trees_have_the_same_shape_everywhere() {
    check("objects.bpf.o", "leaves", &[0; 40]);
}

#[test]
fn references_are_counted_everywhere() {
    check("objects.bpf.o", "counted", &[0; 5]);
}

#[test]
fn kptrs_are_exchanged_everywhere() {
    check("objects.bpf.o", "exchanges", &[0, 1, 2, 3, 0, 1, 0, 1, 2, 0, 0, 0, 1, 1, 1]);
}

#[test]
fn large_objects_are_refused_everywhere() {
    check("objects.bpf.o", "sizes", &[0; 3]);
}

#[test]
fn bits_are_walked_everywhere() {
    check("kfuncs.bpf.o", "bits", &[0; 2]);
}

#[test]
fn sets_of_cpus_are_the_same_everywhere() {
    if !crate::require::kernel_types("sets of CPUs") {
        return;
    }
    check("kfuncs.bpf.o", "cpus", &[0; 3]);
}

#[test]
fn resilient_locks_say_no_everywhere() {
    check("kfuncs.bpf.o", "resilient", &[0; 3]);
}

#[test]
fn objects_have_a_part_for_each_cpu_everywhere() {
    check("kfuncs.bpf.o", "parts", &[0, 0, 1, 0, 1, 0, 0, 1, 1, 1]);
}

fn run(program: &Loaded, times: u32) {
    for mark in 0..times {
        let mut packet = Packet::new(64).expect("memory");
        packet.set(&[0; 64]).expect("it fits");
        let mut context = SkbContext::new(&mut packet, ProgramType::SchedCls);
        program.run(&mut context).unwrap_or_else(|error| panic!("run {mark}: {error}"));
    }
}

#[test]
fn programs_that_nobody_verified_do_the_same() {
    for (name, program) in
        [("objects", "lists"), ("objects", "counted"), ("objects", "exchanges"), ("kfuncs", "bits")]
    {
        let results = [false, true].map(|unverified| {
            let engine = Engine::builder().backend(Choice::Interpreter).unverified(unverified).build();
            let engine = engine.expect("an engine");
            let object = object(&format!("{name}.bpf.o"));
            let collection = engine.load_programs(&object, &[program]).expect("loads");
            let program = collection.program(program).expect("a program");
            [0; 6].map(|_| {
                let mut packet = Packet::new(64).expect("memory");
                packet.set(&[0; 64]).expect("it fits");
                let mut context = SkbContext::new(&mut packet, ProgramType::SchedCls);
                program.run(&mut context).unwrap_or_else(|error| panic!("{error}"))
            })
        });
        assert_eq!(results[0], results[1], "{program}");
    }
}

/// Threads push to and pop from one list, and put leaves into one tree, under one lock.
#[test]
fn threads_share_lists_and_trees() {
    for choice in [Choice::Interpreter, Choice::Jit] {
        let engine = Engine::builder().backend(choice).build().expect("an engine");
        let collection = engine.load(&object("shared.bpf.o")).expect("loads");
        let rounds = if choice == Choice::Jit { 300 } else { 50 };
        let program = collection.program("churn").expect("a program");
        std::thread::scope(|scope| {
            for _ in 0..cpu::possible().min(4) {
                scope.spawn(|| run(program, rounds));
            }
        });
        let sums = collection.map(".bss").expect("globals").lookup(&0_u32.to_le_bytes()).expect("reads");
        let Some(Element::Value(sums)) = sums else { panic!("one element") };
        let word = |at: usize| u64::from_le_bytes(sums[at..at + 8].try_into().expect("eight bytes"));
        let made = u64::from(cpu::possible().min(4) * rounds) * 16;
        assert_eq!((word(0), word(8)), (made, made), "{choice:?}: as many came out as went in");
        assert_eq!(word(16), word(24), "{choice:?}: and the same ones");
        assert_eq!(word(32), 0, "{choice:?}: nothing was out of order");
    }
}

#[test]
fn what_maps_hold_goes_with_them() {
    // Types that no other test has: objects are counted in the whole process.
    let object = object("leftovers.bpf.o");
    let program = link(&object, "keep", &LinkOptions::default()).expect("links");
    let types: ObjectTypes = program.object_types();
    let mut choices = vec![Choice::Interpreter];
    if cfg!(feature = "jit") {
        choices.push(Choice::Jit);
    }
    for choice in choices {
        let engine = Engine::builder().backend(choice).fuel(100_000).build().expect("an engine");
        let collection = engine.load(&object).unwrap_or_else(|error| panic!("{choice:?}: {error}"));
        let program = |name: &str| collection.program(name).expect("a program");
        run(program("keep"), 10);
        assert_eq!(
            types.alive(),
            10 * 3 + 2,
            "{choice:?}: ten in a list, ten in a tree, ten in objects, two kptrs"
        );
        // An element's objects go with it, whoever deletes or replaces it.
        collection.map("table").expect("a map").delete(&0_u32.to_le_bytes()).expect("an element");
        assert_eq!(types.alive(), 10 * 3 + 1, "{choice:?}");
        let array = collection.map("array").expect("a map");
        let value = array.lookup(&0_u32.to_le_bytes()).expect("an element").expect("an element");
        array.update(&0_u32.to_le_bytes(), &value, 0).expect("an element");
        assert_eq!(types.alive(), 10 * 3, "{choice:?}");
        // What a run holds when it is stopped goes with it, too.
        let mut packet = Packet::new(64).expect("memory");
        packet.set(&[0; 64]).expect("it fits");
        let stopped = program("stopped").run(&mut SkbContext::new(&mut packet, ProgramType::SchedCls));
        assert!(stopped.is_err(), "{choice:?}: no fuel is left");
        assert_eq!(types.alive(), 10 * 3, "{choice:?}");
        drop(collection);
        assert_eq!(types.alive(), 0, "{choice:?}");
    }
}
