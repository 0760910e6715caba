//! Arenas: the same results and the same bytes on every engine, seen from user space; many threads at once.

use beelift::engine::{Choice, Collection};
use beelift::runtime::map::arena::PAGE;
use beelift::{Engine, Object, Program, ProgramType};
use beelift_runtime::ctx::RawContext;
use beelift_runtime::helper;

fn tree() -> Object {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases/calls/arena.bpf.o");
    Object::parse(&std::fs::read(path).expect("it is there")).expect("an object")
}

fn choices() -> Vec<Choice> {
    let mut choices = vec![Choice::Interpreter];
    if cfg!(feature = "jit") {
        choices.push(Choice::Jit);
    }
    #[cfg(feature = "kernel")]
    if crate::require::kernel("arenas") {
        choices.push(Choice::Kernel);
    }
    choices
}

fn run(collection: &Collection) -> u64 {
    let mut context = RawContext::new(ProgramType::Syscall, &[0; 8]).expect("memory");
    collection.programs()[0].run(&mut context).expect("runs")
}

#[test]
fn globals_and_pages_are_the_same_from_both_sides() {
    let mut seen = Vec::new();
    for choice in choices() {
        let engine = Engine::builder().backend(choice).check_facts(true).build().expect("an engine");
        let collection = engine.load(&tree()).unwrap_or_else(|error| panic!("{choice:?}: {error}"));
        let arena = collection.map("arena").expect("it is there");
        let start = arena.arena_start().expect("an arena");
        assert_eq!(arena.arena_read(start, 8).expect("the seed"), 40_u64.to_le_bytes(), "{choice:?}");
        arena.arena_write(start, &41_u64.to_le_bytes()).expect("the seed");
        let result = run(&collection);
        let globals = arena.arena_read(start, 12_024).expect("globals");
        let number = |at: usize| u32::from_le_bytes(globals[at..at + 4].try_into().expect("four bytes"));
        assert_eq!(number(24), 1);
        assert_eq!(number(24 + 4 * 2998), 3);
        assert_eq!(u64::from(number(24 + 4)), result - u64::from(number(20)));
        // The root is a pointer into a page that the program allocated, behind the globals.
        let root = arena.arena_read(start + 0x2ef8, 8).expect("the root");
        let root = u64::from_le_bytes(root.try_into().expect("eight bytes"));
        assert_eq!(root - start, 3 * PAGE, "{choice:?}");
        let mut node = arena.arena_read(root, 24).expect("a node");
        for at in [0, 8] {
            let child = u64::from_le_bytes(node[at..at + 8].try_into().expect("eight bytes"));
            node[at..at + 8].copy_from_slice(&child.wrapping_sub(start).to_le_bytes());
        }
        assert!(arena.arena_read(start + 100 * PAGE, 1).is_err(), "{choice:?}: past the end");
        seen.push((result, globals, node));
    }
    assert!(seen.windows(2).all(|two| two[0] == two[1]), "{seen:?}");
}

#[test]
fn threads_share_an_arena() {
    const RUNS: u64 = 500;
    let source = "
        .map a arena key=0 value=0 entries=2 flags=0x400
        r1 = map[a] ll
        r1 = map[a][0]+0 ll
        r1 = addr_space_cast(r1, 0, 1)
        r2 = 1
        lock *(u64 *)(r1 +8) += r2
        r2 = atomic_fetch_add((u64 *)(r1 +16), r2)
        *(u64 *)(r1 +4096) = r2
        r0 = 0
        exit";
    let number = |name: &str| helper::by_name(name).map(|found| found.id);
    let program = Program::assemble(ProgramType::Syscall, source, number).expect("a program");
    let choice = if cfg!(feature = "jit") { Choice::Jit } else { Choice::Interpreter };
    let engine = Engine::builder().backend(choice).build().expect("an engine");
    let collection = engine.load_linked(vec![program]).expect("loads");
    let arena = collection.map("a").expect("it is there");
    let start = arena.arena_start().expect("an arena");
    // Without a page nothing is stored anywhere.
    run(&collection);
    assert_eq!(arena.arena_read(start, 24).expect("bytes"), [0; 24]);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..RUNS).for_each(|_| assert_eq!(run(&collection), 0)));
        }
    });
    let count = arena.arena_read(start + 8, 16).expect("bytes");
    assert_eq!(count, [(4 * RUNS).to_le_bytes(), (4 * RUNS).to_le_bytes()].concat());
    assert_eq!(arena.arena_read(start + PAGE, 8).expect("bytes"), [0; 8], "the second page was never there");
}
