//! Arenas: the same results and the same bytes on every engine, seen from user space; many threads at once.

use beelift::engine::{Choice, Collection};
use beelift::runtime::map::arena::PAGE;
use beelift::{Engine, Object, Program, ProgramType};
use beelift_runtime::ctx::{Context, RawContext};
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

/// A small generator (xorshift), so that a seed tells the whole run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[(self.next() % of.len() as u64) as usize]
    }
}

/// Instructions on an arena of four pages, of which two are there: r7 points to the first, r6 is the context.
fn random_source(random: &mut Random) -> String {
    use std::fmt::Write as _;
    let mut source = String::from(
        "r6 = r1\nr1 = map[a] ll\nr7 = map[a][0]+0 ll\nr7 = addr_space_cast(r7, 0, 1)\nr8 = r7\nr9 = r7\n",
    );
    for register in 0..=5 {
        let _ = writeln!(source, "r{register} = {:#x} ll", random.next());
    }
    let (numbers, pointers) = (["0", "1", "2", "3", "4", "5"], ["7", "8", "9"]);
    let offsets =
        [0, 1, 2, 4, 8, 16, 4088, 4090, 4094, 8184, 8186, 8190, 8192, 12_288, -1, -8, 32_767, -32_768];
    let moves = [1, 8, 4095, 4096, 8191, 0x3000, -4, -4096, 0x7fff_0000, -0x1000_0000];
    let steps = [8, 16, 24, 32];
    for _ in 0..*random.one(&steps) {
        let (a, b) = (*random.one(&numbers), *random.one(&numbers));
        let (p, q) = (*random.one(&pointers[1..]), *random.one(&pointers));
        let (off, by) = (*random.one(&offsets), *random.one(&moves));
        let (bits, width) = (*random.one(&[8, 16, 32, 64]), *random.one(&[32, 64]));
        // Atomics that are not aligned make a machine wait for long, if two cache lines are concerned.
        let word = *random.one(&[0, 8, 16, 4088, 4096, 8184, 8192, -8, 32_760]);
        let line = match random.next() % 16 {
            0 => format!("r{p} += {by}"),
            1 => format!("r{p} = r{q}"),
            2 => format!("r{p} -= {by}"),
            3 => format!("r{a} += r{b}"),
            4 => format!("r{a} *= {by}"),
            5 | 6 => format!("r{a} = *(u{bits} *)(r{q} {off:+})"),
            7 if bits < 64 => format!("r{a} = *(s{bits} *)(r{q} {off:+})"),
            // Where there is no page the kernel leaves the register as it was; here it is zero as after a load.
            7 => format!("r{a} = load_acquire((u64 *)(r7 {:+}))", random.one(&[0, 3, 8, 4088, 4092, 8184])),
            8 | 9 => format!("*(u{bits} *)(r{q} {off:+}) = r{b}"),
            10 => format!("*(u{bits} *)(r{q} {off:+}) = {by}"),
            11 => format!("store_release((u{bits} *)(r7 {word:+}), r{b})"),
            12 => {
                let op = *random.one(&["+", "|", "&", "^"]);
                let name = if width == 64 { "r" } else { "w" };
                format!("lock *(u{width} *)(r7 {word:+}) {op}= {name}{b}")
            }
            13 if width == 64 => format!("r{b} = atomic_fetch_add((u64 *)(r7 {word:+}), r{b})"),
            13 => format!("w{b} = atomic_fetch_add((u32 *)(r7 {word:+}), w{b})"),
            14 if width == 64 => format!("r{b} = atomic64_xchg((u64 *)(r7 {word:+}), r{b})"),
            14 => format!("w{b} = atomic_xchg((u32 *)(r7 {word:+}), w{b})"),
            _ if width == 64 => format!("r0 = atomic64_cmpxchg((u64 *)(r7 {word:+}), r0, r{b})"),
            // Of a register that keeps its value Linux does not clear the upper half here, as it does elsewhere.
            _ => format!("w0 = w0\nw0 = atomic_cmpxchg((u32 *)(r7 {word:+}), w0, w{b})"),
        };
        let _ = writeln!(source, "{line}");
    }
    for register in 0..=5 {
        let _ = writeln!(source, "*(u64 *)(r6 +{}) = r{register}", 8 * register);
    }
    source.push_str("r8 -= r7\n*(u64 *)(r6 +48) = r8\nr9 -= r7\n*(u64 *)(r6 +56) = r9\nexit\n");
    source
}

/// What a program leaves behind: the context, and the pages.
fn outcome(choice: Choice, program: &Program) -> Result<(Vec<u8>, Vec<u8>), String> {
    let engine = Engine::builder().backend(choice).check_facts(true).build().expect("an engine");
    let collection = engine.load_linked(vec![program.clone()]).map_err(|error| error.to_string())?;
    let mut context = RawContext::new(ProgramType::Syscall, &[0; 64]).expect("memory");
    let r0 = collection.programs()[0].run(&mut context).map_err(|error| error.to_string())?;
    let mut left = Vec::new();
    context.uapi(&mut left);
    left.extend((r0 as u32).to_le_bytes());
    let arena = collection.map("a").expect("it is there");
    let start = arena.arena_start().expect("an arena");
    Ok((left, arena.arena_read(start, 4 * PAGE as usize).expect("pages")))
}

#[test]
fn random_programs_leave_the_same_on_every_engine() {
    let setting =
        |name, default: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (seed, runs) = (setting("BEELIFT_SEED", 0x5eed), setting("BEELIFT_ARENA_RUNS", 60));
    for run in 0..runs {
        let mut random = Random((seed + run).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let body = random_source(&mut random);
        let data: String = (0..2 * PAGE).map(|at| format!("{:02x}", at * 7 % 251)).collect();
        let source = format!(".map a arena key=0 value=0 entries=4 flags=0x400 data={data}\n{body}");
        let program = Program::assemble(ProgramType::Syscall, &source, |_| None)
            .unwrap_or_else(|error| panic!("{body}\n{error}"));
        let mut first: Option<(Vec<u8>, Vec<u8>)> = None;
        for choice in choices() {
            let left = outcome(choice, &program)
                .unwrap_or_else(|error| panic!("seed {seed}, run {run}, {choice:?}: {error}\n{body}"));
            match &first {
                None => first = Some(left),
                Some(first) => {
                    assert_eq!(first.0, left.0, "seed {seed}, run {run}, {choice:?}: context\n{body}");
                    let at = first.1.iter().zip(&left.1).position(|(a, b)| a != b);
                    assert_eq!(at, None, "seed {seed}, run {run}, {choice:?}: arena\n{body}");
                }
            }
        }
    }
}
