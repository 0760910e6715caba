//! Tail calls and callbacks of real objects: the same results and maps on every engine.

use std::path::Path;

use beelift::elf::Object;
use beelift::engine::compare::Trial;
use beelift::engine::{Backend, Input};
use beelift::link::{LinkOptions, link};
use beelift::{Engine, FixedEnvironment};

/// Runs a program of an object under `tests/cases/calls` on every engine; all of them give that result.
fn check(object: &str, program: &str, result: u64) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/calls").join(object);
    let object = Object::parse(&std::fs::read(path).expect("it is there")).expect("an object");
    let program = link(&object, program, &LinkOptions::default()).expect("links");
    let inputs = [Input { packet: vec![0; 64], ..Input::default() }];
    let environment = FixedEnvironment::default();
    let trial = Trial {
        program: &program,
        verified: None,
        object: Some(&object),
        inputs: &inputs,
        elements: &[],
        environment,
    };
    let mut backends = vec![Backend::Interpreter, Backend::Jit];
    if crate::require::kernel("calls in the kernel") {
        backends.push(Backend::Kernel);
    }
    let comparison = trial.compare(&backends, &|| Engine::builder().check_facts(true));
    assert!(comparison.agrees(), "{:#?}", comparison.difference);
    for column in comparison.columns {
        let outcome = column.outcome.unwrap_or_else(|error| panic!("{}: {error}", column.backend));
        let record = outcome.records[0].as_ref().expect("every engine takes it");
        assert_eq!(record.value, Ok(result), "{}", column.backend);
    }
}

#[test]
fn tail_calls_of_subprograms_count_over_the_tree() {
    check("tail.bpf.o", "tree", 34);
    check("tail.bpf.o", "tail", 105);
}

#[test]
fn callbacks_see_every_turn_and_element() {
    check("callbacks.bpf.o", "callbacks", 2);
}

#[test]
fn timers_start_and_stop() {
    // The kernel makes a timer without waiting for memory, and may have none.
    let attempt = || std::panic::catch_unwind(|| check("timers.bpf.o", "results", 422_418_543));
    let agreed = (0..20).any(|_| attempt().is_ok());
    assert!(agreed, "see above");
}

#[test]
fn locks_are_taken_and_given_back() {
    check("locks.bpf.o", "update", 4_294_464_700);
    check("locks.bpf.o", "count", 100);
}

#[test]
fn exceptions_leave_every_frame() {
    check("exceptions.bpf.o", "with_callback", 40);
    check("exceptions.bpf.o", "without_callback", 30);
    check("exceptions.bpf.o", "from_global", 200);
    check("exceptions.bpf.o", "from_global_with_callback", 210);
}
