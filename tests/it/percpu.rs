//! Native code on a CPU slot other than the first: runs are otherwise on slot 0 where engines are compared.

use beelift::runtime::abi::Host;
use beelift::runtime::cpu;
use beelift::runtime::ctx::RawContext;
use beelift::runtime::helper::Effects;
use beelift::{Choice, Engine, FixedEnvironment, Program, ProgramType};

#[test]
fn lookups_in_line_find_the_element_of_their_slot() {
    let source = "
        .map counts percpu_array key=4 value=8 entries=4
          r1 = *(u32 *)(r1 +0)
          r1 &= 3
          *(u32 *)(r10 -4) = r1
          r1 = map[counts] ll
          r2 = r10
          r2 += -4
          call 1
          if r0 == 0 goto out
          r1 = *(u64 *)(r0 +0)
          r1 += 1
          *(u64 *)(r0 +0) = r1
          call 8
        out:
          exit";
    let program = Program::assemble(ProgramType::Syscall, source, |_| None).expect("well-formed");
    let engine = Engine::builder().backend(Choice::Jit).build().expect("this machine has a code generator");
    let loaded = engine.load_linked(vec![program]).expect("an accepted program");
    let native = loaded.programs()[0].native().expect("it runs as native code");
    let slots = cpu::possible();
    for slot in 0..slots {
        for _ in 0..=slot {
            let mut context =
                RawContext::new(ProgramType::Syscall, &[2, 0, 0, 0, 0, 0, 0, 0]).expect("memory");
            let (environment, effects) = (FixedEnvironment::default(), Effects::default());
            let host = Host {
                environment: &environment,
                effects: &effects,
                fuel: u64::MAX,
                cpu: slot,
                program: 1,
                numa_node: 0,
            };
            assert_eq!(native.run(&mut context, host).expect("no trap"), u64::from(slot));
        }
    }
    let counts = loaded.map("counts").and_then(|map| map.typed::<u32, u64>()).expect("such a map");
    let expected: Vec<u64> = (1..=u64::from(slots)).collect();
    assert_eq!(counts.per_cpu(&2).expect("an element"), expected);
    assert_eq!(counts.per_cpu(&1).expect("an element"), vec![0; slots as usize]);
}
