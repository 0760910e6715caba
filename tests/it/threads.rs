//! Atomics from several threads at once: what none of them may lose. One program and one map value, both engines of
//! user space, both widths, every operation.

use beelift::runtime::{MapDef, MapKind, cpu};
use beelift::{Choice, Collection, Engine, Packet, Program, ProgramType, XdpContext};

/// As many threads as there are CPU slots: the interpreter takes one for a run.
fn threads() -> u64 {
    u64::from(cpu::possible().min(8))
}
/// Runs of one thread.
const RUNS: u64 = 2_000;

/// A program over the one element (16 bytes) of an array: its address in r6, the first eight packet bytes in r7.
fn load(choice: Choice, body: &str) -> Collection {
    let source = format!(
        "
          r8 = *(u32 *)(r1 +0)
          r2 = *(u32 *)(r1 +4)
          r3 = r8
          r3 += 14
          if r3 > r2 goto out
          *(u32 *)(r10 -4) = 0
          r1 = map[0] ll
          r2 = r10
          r2 += -4
          call 1
          if r0 == 0 goto out
          r6 = r0
          r7 = *(u64 *)(r8 +0)
          {body}
          exit
        out:
          r0 = 0
          exit"
    );
    let maps = vec![MapDef::new("shared", MapKind::Array, 4, 16, 1)];
    let slots = beelift::isa::asm::assemble(&source, |_| None).expect("well-formed").slots;
    let program = Program::from_slots(ProgramType::Xdp, &slots, maps.into()).expect("a program");
    let engine = Engine::builder().backend(choice).build().expect("this machine has a code generator");
    engine.load_linked(vec![program]).expect("an accepted program")
}

/// Runs the program on every thread at once. A packet starts with a number that no other has, from 1 on. Gives all
/// return values.
fn run(collection: &Collection) -> Vec<u64> {
    let program = &collection.programs()[0];
    let one = |thread: u64| {
        let mut packet = Packet::new(14).expect("memory");
        let mut results = Vec::new();
        for turn in 0..RUNS {
            let number = thread * RUNS + turn + 1;
            packet.set(&[&number.to_le_bytes()[..], &[0; 6]].concat()).expect("it fits");
            results.push(program.run(&mut XdpContext::new(&mut packet)).expect("no trap"));
        }
        results
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads()).map(|thread| scope.spawn(move || one(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    })
}

fn value(collection: &Collection) -> [u64; 2] {
    let map = collection.maps()[0].typed::<u32, [u64; 2]>().expect("sixteen bytes");
    map.get(&0).expect("an array").expect("its element")
}

const ENGINES: [Choice; 2] = [Choice::Jit, Choice::Interpreter];

#[test]
fn additions_are_not_lost() {
    for choice in ENGINES {
        for (lock, mask) in
            [("lock *(u64 *)(r6 +0) += r7", u64::MAX), ("lock *(u32 *)(r6 +0) += w7", u64::from(u32::MAX))]
        {
            let collection = load(choice, &format!("{lock}\n r0 = 0"));
            run(&collection);
            let numbers = threads() * RUNS;
            assert_eq!(value(&collection), [(numbers * (numbers + 1) / 2) & mask, 0], "{choice:?}: {lock}");
        }
    }
}

#[test]
fn every_sum_is_fetched_once() {
    for choice in ENGINES {
        for fetch in [
            "r0 = 1\n r0 = atomic_fetch_add((u64 *)(r6 +0), r0)",
            "r0 = 1\n w0 = atomic_fetch_add((u32 *)(r6 +0), w0)",
        ] {
            let collection = load(choice, fetch);
            let mut fetched = run(&collection);
            fetched.sort_unstable();
            assert!(fetched.iter().copied().eq(0..threads() * RUNS), "{choice:?}: {fetch}");
            assert_eq!(value(&collection), [threads() * RUNS, 0]);
        }
    }
}

#[test]
fn every_number_exchanged_comes_back_once() {
    for choice in ENGINES {
        for exchange in ["r0 = r7\n r0 = xchg_64(r6 +0, r0)", "r0 = r7\n w0 = xchg32_32(r6 +0, w0)"] {
            let collection = load(choice, exchange);
            let mut numbers = run(&collection);
            numbers.push(value(&collection)[0]);
            numbers.sort_unstable();
            assert!(numbers.iter().copied().eq(0..=threads() * RUNS), "{choice:?}: {exchange}");
        }
    }
}

/// Increments by compare and exchange, with at most as many tries as a run may take; a run says whether it succeeded.
#[test]
fn a_compare_and_exchange_succeeds_for_one_thread_only() {
    for choice in ENGINES {
        for (load_old, exchange) in [
            ("r0 = *(u64 *)(r6 +0)", "r0 = cmpxchg_64(r6 +0, r0, r2)"),
            ("r0 = *(u32 *)(r6 +0)", "w0 = cmpxchg32_32(r6 +0, w0, w2)"),
        ] {
            let body = format!(
                "
                  r9 = 0
                again:
                  {load_old}
                  r1 = r0
                  r2 = r0
                  r2 += 1
                  {exchange}
                  if r0 == r1 goto done
                  r9 += 1
                  if r9 < 64 goto again
                  r0 = 0
                  exit
                done:
                  r0 = 1"
            );
            let collection = load(choice, &body);
            let succeeded: u64 = run(&collection).into_iter().sum();
            assert!(succeeded > 0);
            assert_eq!(value(&collection), [succeeded, 0], "{choice:?}: {exchange}");
        }
    }
}

/// Each thread sets and clears bits of its own: no other thread's operation may undo that.
#[test]
fn bits_of_other_threads_stay() {
    for choice in ENGINES {
        for (set, clear, flip) in [
            (
                "atomic_fetch_or((u64 *)(r6 +0), r2)",
                "atomic_fetch_and((u64 *)(r6 +0), r3)",
                "atomic_fetch_xor((u64 *)(r6 +0), r2)",
            ),
            (
                "atomic_fetch_or((u32 *)(r6 +0), w2)",
                "atomic_fetch_and((u32 *)(r6 +0), w3)",
                "atomic_fetch_xor((u32 *)(r6 +0), w2)",
            ),
        ] {
            let (reg, half) = if set.contains("u64") { ("r", 64) } else { ("w", 32) };
            // The thread's bit is bit number / RUNS: set, seen by clearing it, flipped on and seen by flipping it off.
            let body = format!(
                "
                  r7 += -1
                  r7 /= {RUNS}
                  r4 = 1
                  r4 <<= r7
                  r5 = r4
                  r5 ^= -1
                  r2 = r4
                  {reg}2 = {set}
                  r3 = r5
                  {reg}3 = {clear}
                  r0 = r3
                  r0 &= r4
                  r2 = r4
                  {reg}2 = {flip}
                  r2 = r4
                  {reg}2 = {flip}
                  r2 &= r4
                  r0 ^= r2
                  if r0 != 0 goto lost
                  if r2 == 0 goto lost
                  r0 = 0
                  exit
                lost:
                  r0 = 1"
            );
            let collection = load(choice, &body);
            let lost: u64 = run(&collection).into_iter().sum();
            assert_eq!((lost, value(&collection)), (0, [0, 0]), "{choice:?}, {half} bits");
        }
    }
}
