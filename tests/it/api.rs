//! The library as an embedder uses it.

use std::sync::atomic::{AtomicU64, Ordering};

use beelift::verify;
use beelift::{
    Choice, Collection, Engine, Error, MemoryContext, Object, Packet, Program, ProgramType, XdpContext,
};

fn firewall() -> Object {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/firewall.bpf.o");
    Object::parse(&std::fs::read(path).expect("the example")).expect("an object")
}

/// An IPv4 TCP frame to `port`.
fn tcp_to(port: u16) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0];
    frame.extend([192, 0, 2, 1, 10, 0, 0, 1, 0x30, 0x39]);
    frame.extend(port.to_be_bytes());
    frame.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0]);
    frame
}

#[test]
fn a_global_set_before_loading_is_what_the_program_sees() {
    for choice in [Choice::Jit, Choice::Interpreter] {
        let mut object = firewall();
        object.set_global("trap_port", &2323_u16.to_le_bytes()).expect("a u16");
        let loaded =
            Engine::builder().backend(choice).build().expect("an engine").load(&object).expect("loads");
        let program = loaded.program("firewall").expect("the program");
        let mut packet = Packet::new(1514).expect("memory");
        let mut run = |port| {
            packet.set(&tcp_to(port)).expect("fits");
            program.run(&mut XdpContext::new(&mut packet)).expect("runs")
        };
        assert_eq!(run(23), 2);
        assert_eq!(run(2323), 1);
        assert_eq!(run(80), 1, "the source is blocked now");
    }
}

#[test]
fn many_threads_share_a_program_and_lose_no_count() {
    const RUNS: u64 = 2000;
    let loaded = Engine::new().expect("an engine").load(&firewall()).expect("loads");
    let program = loaded.program("firewall").expect("the program");
    let finished = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut packet = Packet::new(1514).expect("memory");
                for _ in 0..RUNS {
                    packet.set(&[0; 60]).expect("fits");
                    loop {
                        match program.run(&mut XdpContext::new(&mut packet)) {
                            Ok(action) => break assert_eq!(action, 2),
                            // More threads than CPU slots: the others finish soon.
                            Err(Error::NoCpuSlot { .. }) => std::thread::yield_now(),
                            Err(error) => panic!("{error}"),
                        }
                    }
                    finished.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(finished.load(Ordering::Relaxed), 4 * RUNS);
    let counters = loaded.map("counters").expect("the map").typed::<u32, [u64; 2]>().expect("its types");
    let packets: u64 = counters.per_cpu(&1).expect("readable").iter().map(|counter| counter[0]).sum();
    assert_eq!(packets, 4 * RUNS, "per-CPU counters need no atomics because a slot has one owner");
}

#[test]
fn code_memory_is_given_back() {
    let engine = Engine::new().expect("an engine");
    let first = engine.load(&firewall()).expect("loads");
    let used = engine.code_bytes();
    assert!(used > 0);
    drop(engine.load(&firewall()).expect("loads"));
    assert_eq!(engine.code_bytes(), used);
    drop(first);
    assert_eq!(engine.code_bytes(), 0);
}

#[test]
fn mistakes_are_errors_that_name_what_there_is() {
    let engine = Engine::builder().backend(Choice::Jit).build().expect("an engine");
    let mut object = firewall();
    assert!(object.set_global("no_such", &[0]).unwrap_err().to_string().contains("no_such"));
    assert!(object.set_global("trap_port", &[0]).is_err(), "one byte for a u16");
    let error = engine.load_programs(&object, &["frewall"]).unwrap_err().to_string();
    assert!(error.contains("frewall") && error.contains("firewall"), "{error}");
    let loaded = engine.load(&object).expect("loads");
    let error = loaded.map("countrs").unwrap_err().to_string();
    assert!(error.contains("counters"), "{error}");
    let counters = loaded.map("counters").expect("the map");
    assert!(matches!(counters.typed::<u32, u64>(), Err(Error::MapSize { wanted: 16, .. })));
    let program = loaded.program("firewall").expect("the program");
    let mut context = MemoryContext::from_bytes(&[1, 2, 3]).expect("memory");
    assert!(matches!(program.run(&mut context), Err(Error::ContextType { .. })));
    assert_eq!(program.program().prog_type, ProgramType::Xdp);
}

#[test]
fn programs_loaded_one_by_one_share_maps() {
    let source = "
        .map counts array key=4 value=8 entries=1
        r1 = map[counts][0]+0 ll
        r2 = 1
        lock *(u64 *)(r1 +0) += r2
        r0 = *(u64 *)(r1 +0)
        exit";
    let assembled = |source: &str| {
        let program = Program::assemble(ProgramType::Xdp, source, |_| None).expect("a program");
        verify::verify(program, &verify::Options::default()).expect("a safe program")
    };
    let verified = assembled(source);
    let mut packet = Packet::new(64).expect("memory");
    packet.set(&[0; 64]).expect("fits");
    let mut run =
        |loaded: &Collection| loaded.programs()[0].run(&mut XdpContext::new(&mut packet)).expect("runs");
    let native = Engine::new().expect("an engine");
    let first = native.load_verified(&verified).expect("loads");
    assert_eq!(run(&first), 1);
    let other = Engine::builder().backend(Choice::Interpreter).build().expect("an engine");
    let second =
        other.load_verified_with(&verified, first.maps()).expect("loads with maps of another engine");
    assert_eq!([run(&second), run(&first), run(&second)], [2, 3, 4]);
    assert_eq!(run(&other.load_verified(&verified).expect("loads")), 1, "with a map of its own");
    // A proof is about maps as they were defined.
    let larger = assembled(&source.replace("value=8", "value=16"));
    assert!(matches!(native.load_verified_with(&larger, first.maps()), Err(Error::Map { .. })));
    assert!(matches!(native.load_verified_with(&verified, &[]), Err(Error::Map { .. })));
}

#[test]
fn a_program_that_lost_its_maps_is_rejected() {
    let source = ".map table array key=4 value=8 entries=1\nr1 = map[table] ll\nr0 = 0\nexit";
    let mut program = Program::assemble(ProgramType::Xdp, source, |_| None).expect("a program");
    program.maps = [].into();
    let Err(verify::Failure::Rejected(rejected)) = verify::verify(program, &verify::Options::default())
    else {
        panic!("there is no such map");
    };
    assert_eq!(rejected.reason.code(), "no_such_map");
}

#[test]
fn facts_say_which_accesses_are_aligned() {
    let source = ".map table array key=4 value=16 entries=1
        r2 = *(u32 *)(r1 +0)
        r3 = *(u32 *)(r1 +4)
        r4 = r2
        r4 += 8
        if r4 > r3 goto out
        r0 = *(u32 *)(r2 +4)
        r0 = *(u8 *)(r2 +1)
        r1 = map[table][0]+0 ll
        r0 = *(u32 *)(r1 +8)
        r0 = *(u32 *)(r1 +6)
        r2 = 16
        r3 = 0
        r4 = r10
        r4 += -16
        call bpf_dynptr_from_mem
        r1 = r10
        r1 += -16
        r2 = 1
        r3 = 8
        call bpf_dynptr_data
        if r0 == 0 goto out
        r1 = *(u32 *)(r0 +0)
        out:
        r0 = 0
        exit";
    let helper = |name: &str| beelift::runtime::helper::by_name(name).map(|helper| helper.id);
    let program = Program::assemble(ProgramType::Xdp, source, helper).expect("a program");
    let verified = verify::verify(program, &verify::Options::default()).expect("a good one");
    let aligned: Vec<_> = verified.facts().access.iter().flatten().map(|access| access.aligned).collect();
    // Context twice, packet (which starts anywhere) and one byte of it, value, value, memory of a dynptr.
    assert_eq!(aligned, [true, true, false, true, true, false, false]);
}
