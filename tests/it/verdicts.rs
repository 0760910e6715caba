//! Proofs that are kept and found again, and global functions that are proven on several threads.

use beelift::isa::{AluOp, Insn, InsnId, Operand};
use beelift::link::{LinkOptions, link};
use beelift::verify::{Cache, Failure, Options, Policy, Statistics, Verified, verify, verify_cached};
use beelift::{Engine, Object, Program, ProgramType};

fn object() -> Object {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases/calls/alone.bpf.o");
    Object::parse(&std::fs::read(path).expect("checked in")).expect("an object")
}

fn program(name: &str) -> Program {
    link(&object(), name, &LinkOptions::default()).expect("it links")
}

/// Everything that is proven, and what it took but the time.
fn proven(verified: &Verified) -> String {
    format!("{:?} {:?}", verified.facts(), Statistics { micros: 0, ..verified.statistics() })
}

fn hits_and_misses(cache: &Cache) -> [(u64, u64); 2] {
    [cache.programs(), cache.functions()].map(|counts| (counts.hits, counts.misses))
}

/// The first addition of a constant in a function gets another one.
fn change(program: &mut Program, function: &str) {
    let range = program.subprograms.iter().find(|sub| sub.name == function).expect("the function").clone();
    let insns = &mut program.insns[range.entry.index()..range.end.index()];
    let number = insns.iter_mut().find_map(|insn| match insn {
        Insn::Alu { op: AluOp::Add | AluOp::Mul | AluOp::Mov, src: Operand::Imm(number), .. } => Some(number),
        _ => None,
    });
    *number.expect("a constant") += 1;
}

#[test]
fn threads_change_nothing() {
    for name in ["first", "second", "broken"] {
        for policy in [Policy::USER, Policy::KERNEL, Policy::STRICT] {
            let told = |threads| {
                let options = Options { threads, ..Options::with_policy(policy) };
                match verify(program(name), &options) {
                    Ok(verified) => proven(&verified),
                    Err(failure) => format!("{failure:?}"),
                }
            };
            assert_eq!(told(1), told(4), "{name} {policy:?}");
            assert_eq!(told(1), told(2), "{name} {policy:?}");
        }
    }
}

#[test]
fn functions_with_one_budget_run_out_of_it_alike() {
    let full = verify(program("first"), &Options::default()).expect("a proof").statistics().processed;
    for processed in [full - 1, full / 2, full / 3] {
        let told = |threads| {
            let mut options = Options { threads, ..Options::with_policy(Policy::KERNEL) };
            options.limits.processed = processed;
            format!("{:?}", verify(program("first"), &options).expect_err("too much to walk"))
        };
        assert_eq!(told(1), told(4));
        assert!(told(1).contains("TooComplex"), "{}", told(1));
    }
}

#[test]
fn a_program_is_proven_once_and_a_changed_one_again() {
    let cache = Cache::new(10);
    let options = Options::default();
    let first = verify_cached(program("first"), &options, &cache).expect("a proof");
    let (_, misses) = hits_and_misses(&cache)[1];
    assert_eq!(hits_and_misses(&cache), [(0, 1), (0, misses)]);
    let again = verify_cached(program("first"), &options, &cache).expect("a proof");
    assert_eq!(hits_and_misses(&cache), [(1, 1), (0, misses)]);
    assert_eq!(proven(&first), proven(&again));
    // Other rules, other instructions, other maps: other proofs.
    verify_cached(program("first"), &Options::with_policy(Policy::KERNEL), &cache).expect("a proof");
    let mut changed = program("first");
    change(&mut changed, "first");
    let _ = verify_cached(changed, &options, &cache);
    let mut smaller = program("first");
    let mut maps = smaller.maps.to_vec();
    maps[0].value_size = 24;
    smaller.maps = maps.into();
    let failure = verify_cached(smaller, &options, &cache).expect_err("the last word lies outside");
    assert!(matches!(failure, Failure::Rejected(_)));
    assert_eq!(hits_and_misses(&cache)[0], (1, 4));
}

#[test]
fn a_function_is_proven_once_wherever_it_lies() {
    let options = Options::default();
    let cache = Cache::new(10);
    verify_cached(program("first"), &options, &cache).expect("a proof");
    // sum, mixed, both, word
    assert_eq!(hits_and_misses(&cache)[1], (0, 4));
    let second = verify_cached(program("second"), &options, &cache).expect("a proof");
    assert_eq!(hits_and_misses(&cache)[1], (4, 4));
    assert_eq!(proven(&second), proven(&verify(program("second"), &options).expect("a proof")));
    // What is wrong is found beside what is known.
    let broken = |failure: Failure| format!("{failure:?}");
    let told = broken(verify_cached(program("broken"), &options, &cache).expect_err("out of bounds"));
    assert_eq!(told, broken(verify(program("broken"), &options).expect_err("out of bounds")));
    assert_eq!(hits_and_misses(&cache)[1], (6, 5));
}

#[test]
fn a_changed_byte_of_a_function_or_of_what_it_calls_misses() {
    let options = Options::default();
    // `mix` is part of two of them; nobody looks into `sum` but itself.
    for (function, misses) in [("word", 1), ("mixed", 1), ("sum", 1), ("mix", 2)] {
        let cache = Cache::new(10);
        verify_cached(program("first"), &options, &cache).expect("a proof");
        let mut changed = program("first");
        change(&mut changed, function);
        let told = |result: Result<Verified, Failure>| match result {
            Ok(verified) => proven(&verified),
            Err(failure) => format!("{failure:?}"),
        };
        let with = told(verify_cached(changed.clone(), &options, &cache));
        assert_eq!(hits_and_misses(&cache)[1], (4 - misses, 4 + misses), "{function}");
        assert_eq!(with, told(verify(changed, &options)), "{function}");
    }
}

#[test]
fn the_oldest_proof_goes_first() {
    let cache = Cache::new(1);
    let constant = |number: i64| {
        let source = format!("r0 = {number}\nexit");
        Program::assemble(ProgramType::Xdp, &source, |_| None).expect("assembly")
    };
    for number in [1, 1, 2, 1] {
        let verified = verify_cached(constant(number), &Options::default(), &cache).expect("a proof");
        assert_eq!(verified.program().insns[InsnId(1).index()], Insn::Exit);
    }
    assert_eq!(hits_and_misses(&cache)[0], (1, 3));
    assert_eq!(cache.programs().entries, 1);
}

#[test]
fn an_engine_keeps_proofs_if_asked() {
    let engine = Engine::builder().cache_verdicts(100).build().expect("an engine");
    for turn in 0..2 {
        engine.load_programs(&object(), &["first", "second"]).expect("both are safe");
        let cache = engine.verdicts().expect("it was asked for");
        assert_eq!(hits_and_misses(cache), [(2 * turn, 2), (4, 4)]);
    }
    assert!(Engine::new().expect("an engine").verdicts().is_none());
}
