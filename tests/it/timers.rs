//! Timers and spin locks of real objects: what callbacks leave behind, and who waits for whom.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use beelift::engine::{Choice, Collection, Element};
use beelift::runtime::environment::Environment;
use beelift::{Engine, Error, Object, Packet, ProgramType, XdpContext};

/// A clock that the test sets.
#[derive(Default)]
struct Clock(AtomicU64);

impl Environment for Clock {
    fn monotonic_ns(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
    fn jiffies(&self) -> u64 {
        0
    }
    fn random_u32(&self) -> u32 {
        0
    }
    fn trace(&self, _line: &str) {}
}

fn load(object: &str, choice: Choice, clock: &Arc<Clock>) -> Collection {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/calls").join(object);
    let object = Object::parse(&std::fs::read(path).expect("it is there")).expect("an object");
    let clock: Arc<dyn Environment> = Arc::clone(clock) as Arc<dyn Environment>;
    let engine = Engine::builder().backend(choice).environment(clock).build().expect("an engine");
    engine.load(&object).unwrap_or_else(|error| panic!("{error}"))
}

fn run(collection: &Collection, program: &str) -> Result<u64, Error> {
    let mut packet = Packet::new(64).expect("memory");
    packet.set(&[0; 64]).expect("it fits");
    collection.program(program)?.run(&mut XdpContext::new(&mut packet))
}

/// `fired` and `key` of a value.
fn fired(collection: &Collection, map: &str, key: u32) -> Option<(u64, u64)> {
    let element = collection.map(map).unwrap().lookup(&key.to_ne_bytes()).unwrap()?;
    let Element::Value(value) = element else { panic!("no value") };
    let word = |at: usize| u64::from_ne_bytes(value[at..at + 8].try_into().unwrap());
    Some((word(0), word(32)))
}

#[test]
fn callbacks_run_when_their_time_has_come() {
    for choice in [Choice::Jit, Choice::Interpreter] {
        let clock = Arc::new(Clock(AtomicU64::new(1000)));
        let collection = load("timers.bpf.o", choice, &clock);
        assert_eq!(collection.next_timer(), None);
        assert_eq!(run(&collection, "starts").unwrap(), 1);
        // An absolute time of 1050, and 1000 + 100.
        assert_eq!(collection.next_timer(), Some(1050));
        assert_eq!(collection.run_timers(1049).unwrap(), 0);
        assert_eq!(collection.run_timers(1050).unwrap(), 1);
        assert_eq!(fired(&collection, "hash", 2), Some((1, 2)));
        assert_eq!(collection.next_timer(), Some(1100));
        // One that starts itself again is for the next call, even when it is late.
        clock.0.store(1100, Ordering::Relaxed);
        assert_eq!(collection.run_timers(1150).unwrap(), 1);
        assert_eq!(collection.next_timer(), Some(1110));
        assert_eq!(collection.run_timers(1150).unwrap(), 1);
        assert_eq!(collection.run_timers(1150).unwrap(), 1);
        assert_eq!(collection.run_timers(1150).unwrap(), 0);
        assert_eq!(fired(&collection, "array", 2), Some((3, 2)));
        // A callback cannot cancel its own timer, but delete the value that it lies in.
        assert_eq!(collection.run_timers(1200).unwrap(), 1);
        assert_eq!(fired(&collection, "array", 0), Some((1, 0)));
        assert_eq!(fired(&collection, "hash", 3), None);
        assert_eq!(collection.next_timer(), None);
    }
}

#[test]
fn a_value_that_is_gone_takes_its_timer_along() {
    let clock = Arc::new(Clock::default());
    let collection = load("timers.bpf.o", Choice::Jit, &clock);
    run(&collection, "starts").unwrap();
    collection.map("hash").unwrap().delete(&2_u32.to_ne_bytes()).unwrap();
    let fresh = Element::Value(vec![0; 40]);
    collection.map("array").unwrap().update(&2_u32.to_ne_bytes(), &fresh, 0).unwrap();
    assert_eq!(collection.run_timers(u64::MAX).unwrap(), 1, "that of the third value");
    assert_eq!(fired(&collection, "array", 2), Some((0, 0)));
}

#[test]
fn a_lock_keeps_others_out() {
    for choice in [Choice::Jit, Choice::Interpreter] {
        let collection = load("locks.bpf.o", choice, &Arc::new(Clock::default()));
        let runs = if choice == Choice::Jit { 50 } else { 5 };
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..runs {
                        assert_eq!(run(&collection, "count").unwrap(), 100);
                    }
                });
            }
        });
        let element = collection.map("counters").unwrap().lookup(&[0; 4]).unwrap();
        let Some(Element::Value(value)) = element else { panic!("no value") };
        let expect = (2 * runs * 100_u64).to_ne_bytes();
        assert_eq!((&value[8..16], &value[16..24]), (&expect[..], &expect[..]), "{choice:?}");
        assert_eq!(value[..4], [0; 4], "the lock reads as zero");
    }
}

#[test]
fn a_run_that_ends_early_holds_no_lock() {
    // The fuel is gone while the lock is held.
    let source = "
        .map counters array key=4 value=16 entries=1 lock=0
        r9 = *(u32 *)(r1 +12)
        *(u32 *)(r10 -4) = 0
        r2 = r10
        r2 += -4
        r1 = map[counters] ll
        call bpf_map_lookup_elem
        if r0 == 0 goto out
        r6 = r0
        r1 = r0
        call bpf_spin_lock
        if r9 == 1 goto leave
        r1 = 100000
    turn:
        r1 += -3
        if r1 != 0 goto turn
    leave:
        r1 = r6
        call bpf_spin_unlock
        r0 = 2
        exit
    out:
        r0 = 0
        exit";
    let helper = |name: &str| {
        beelift::runtime::helper::by_name(name).map(|helper: &beelift::runtime::helper::Helper| helper.id)
    };
    let program = beelift::Program::assemble(ProgramType::Xdp, source, helper).unwrap();
    for choice in [Choice::Jit, Choice::Interpreter] {
        let engine = Engine::builder().backend(choice).fuel(1000).build().unwrap();
        let collection = engine.load_linked(vec![program.clone()]).unwrap();
        let run = |ifindex| {
            let mut packet = Packet::new(64).unwrap();
            packet.set(&[0; 64]).unwrap();
            let mut context = XdpContext::new(&mut packet);
            context.ingress_ifindex = ifindex;
            collection.programs()[0].run(&mut context)
        };
        assert_eq!(run(1).unwrap(), 2);
        let trapped = run(2);
        // The loop steps over its end, so it burns fuel.
        assert!(matches!(trapped, Err(Error::Trap(_))), "{choice:?}: {trapped:?}");
        // Would wait for ever.
        assert_eq!(run(1).unwrap(), 2, "{choice:?}");
    }
}
