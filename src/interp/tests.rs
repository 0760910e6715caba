//! What case files cannot show: refusals, observers, call chains of traps, fuel.
#![forbid(unsafe_code)]

use std::sync::Arc;

use beelift_runtime::TrapKind;
use beelift_runtime::abi::{ExecContext, Host};
use beelift_runtime::ctx::{Context, ProgramType, RawContext};
use beelift_runtime::environment::FixedEnvironment;
use beelift_runtime::helper::{self, Effects};
use beelift_runtime::map::MapHandle;
use beelift_runtime::mem::Regions;

use super::{InterpError, InterpProgram, Moment, Monitor, Observer};
use crate::isa::{Pc, Reg};
use crate::link::{Program, Trap};
use crate::verify::facts::Obligations;

fn prepare(source: &str) -> Result<InterpProgram, InterpError> {
    let program =
        Program::assemble(ProgramType::Syscall, source, |name| helper::by_name(name).map(|found| found.id));
    let program = program.unwrap_or_else(|error| panic!("{source}: {error}"));
    let maps: Arc<[Box<MapHandle>]> = program
        .maps
        .iter()
        .map(|def| Box::new(MapHandle::new(beelift_runtime::map::create(def, 1).expect("a map"))))
        .collect();
    InterpProgram::new(Arc::new(program), maps, &|id| helper::by_id(id).copied())
}

fn run(source: &str, fuel: u64, observer: &mut dyn Observer) -> (Result<u64, Box<Trap>>, u64) {
    let program = prepare(source).unwrap_or_else(|error| panic!("{source}: {error}"));
    run_prepared(&program, fuel, observer)
}

fn run_prepared(
    program: &InterpProgram,
    fuel: u64,
    observer: &mut dyn Observer,
) -> (Result<u64, Box<Trap>>, u64) {
    let mut context = RawContext::new(ProgramType::Syscall, &[0; 16]).expect("memory");
    let entry = context.enter();
    let effects = Effects::default();
    let host = Host {
        environment: &FixedEnvironment::default(),
        effects: &effects,
        fuel,
        cpu: 0,
        program: 1,
        numa_node: 0,
    };
    let context = &context;
    let mut cx = ExecContext::new(host, context, entry.r1, program.maps(), None);
    cx.objects = program.objects();
    let mut regions = Regions::new(program.maps());
    context.regions(&mut regions);
    let result = program.run_observed(&cx, regions, entry, observer);
    (result, cx.fuel.get())
}

#[test]
fn what_is_missing_is_refused_by_name_before_any_run() {
    for (source, expect) in [
        (
            "call kfunc[bpf_task_from_pid]\nexit",
            "pc 0: not supported by the interpreter: kernel function bpf_task_from_pid",
        ),
        ("r1 = ksym[x] ll\nexit", "pc 0: not supported by the interpreter: kernel symbols"),
        (
            "r1 = addr_space_cast(r1, 0, 1)\nexit",
            "pc 0: not supported by the interpreter: an arena that is not named",
        ),
        (
            "r0 = *(u8 *)skb[0]\nexit",
            "pc 0: not supported by the interpreter: packet access instructions in programs of type syscall",
        ),
        ("call 9999\nexit", "pc 0: not supported by the interpreter: helper 9999"),
        (
            "call bpf_get_current_task_btf\nexit",
            "pc 0: not supported by the interpreter: helper bpf_get_current_task_btf",
        ),
    ] {
        let error = prepare(source).err().unwrap_or_else(|| panic!("{source}: accepted")).to_string();
        assert!(error.starts_with(expect), "{source}: {error}");
    }
}

#[test]
fn what_is_no_object_is_refused_when_it_is_handed_over() {
    let stack = "r1 = r10\nr1 += -64\n*(u64 *)(r10 -64) = 0\n*(u64 *)(r10 -56) = 0\n";
    for call in [
        "bpf_obj_drop_impl",
        "bpf_percpu_obj_drop_impl",
        "bpf_refcount_acquire_impl",
        "bpf_list_push_back_impl",
        "bpf_list_pop_front",
        "bpf_rbtree_first",
        "bpf_rbtree_remove",
        "bpf_cpumask_release",
        "bpf_cpumask_weight",
    ] {
        for first in [stack, "r1 = 0\n", "r1 = 12345\n"] {
            let source = format!("{first}r2 = r1\nr3 = 0\nr4 = 0\ncall kfunc[{call}]\nr0 = 0\nexit");
            let trap = run(&source, u64::MAX, &mut ()).0.expect_err("a trap");
            assert_eq!(trap.kind, TrapKind::Argument, "{source}");
        }
    }
    // An object is given back once.
    let source = "call kfunc[bpf_cpumask_create]\nr6 = r0\nr1 = r6\ncall kfunc[bpf_cpumask_release]\nr1 = r6\n\
                  call kfunc[bpf_cpumask_release]\nexit";
    let trap = run(source, u64::MAX, &mut ()).0.expect_err("a trap");
    assert_eq!((trap.kind, trap.at), (TrapKind::Argument, Pc(5)));
    // It can be read afterwards, and not be written.
    let source = "call kfunc[bpf_cpumask_create]\nr6 = r0\nr1 = 3\n*(u8 *)(r6 +0) = r1\nr1 = r6\n\
                  call kfunc[bpf_cpumask_release]\nr0 = *(u8 *)(r6 +0)\nexit";
    assert_eq!(run(source, u64::MAX, &mut ()).0.expect("no trap"), 3);
    let source = "call kfunc[bpf_cpumask_create]\nr6 = r0\nr1 = r6\ncall kfunc[bpf_cpumask_release]\n\
                  *(u8 *)(r6 +0) = 1\nr0 = 0\nexit";
    assert_eq!(run(source, u64::MAX, &mut ()).0.expect_err("a trap").kind, TrapKind::Access);
}

#[test]
fn a_helper_that_could_wait_for_the_lock_of_its_own_run_is_refused() {
    let source = "
        .map a array key=4 value=16 entries=1 lock=0
        *(u32 *)(r10 -4) = 0
        r1 = map[a] ll
        r2 = r10
        r2 += -4
        call bpf_map_lookup_elem
        if r0 == 0 goto out
        r1 = r0
        call bpf_spin_lock
        *(u64 *)(r10 -24) = 0
        *(u64 *)(r10 -16) = 0
        r1 = map[a] ll
        r2 = r10
        r2 += -4
        r3 = r10
        r3 += -24
        r4 = 4
        call bpf_map_update_elem
    out:
        r0 = 0
        exit";
    let trap = run(source, u64::MAX, &mut ()).0.expect_err("a trap");
    assert_eq!(trap.kind, TrapKind::Argument);
}

#[test]
fn a_trap_tells_the_call_chain_and_the_lines() {
    let source = "
        r6 = 7
        call outer
        exit
    outer:
        call inner
        exit
    inner:
        r1 = 16
        r0 = *(u32 *)(r1 +4)
        exit";
    let trap = run(source, u64::MAX, &mut ()).0.expect_err("a trap");
    assert_eq!((trap.kind, trap.at), (TrapKind::Access, Pc(6)));
    let fault = trap.fault.expect("an access");
    assert_eq!((fault.address, fault.len, fault.write), (20, 4, false));
    let chain: Vec<_> = trap.backtrace.iter().map(|frame| (frame.subprogram.as_str(), frame.at.0)).collect();
    assert_eq!(chain, [("inner", 6), ("outer", 3), ("assembly", 1)]);
    assert_eq!(&*trap.source.as_ref().expect("a line").text, "r0 = *(u32 *)(r1 +4)");
    let text = trap.to_string();
    assert!(text.starts_with("invalid memory access at pc 6: read of 4 bytes at null+20\n"), "{text}");
}

#[test]
fn backward_jumps_and_calls_burn_fuel_and_nothing_else_does() {
    let source = "
        r1 = 3
    again:
        call f
        r1 = r0
        if r1 != 0 goto again
        goto done
    done:
        exit
    f:
        r0 = 0
        exit";
    assert_eq!(run(source, 10, &mut ()), (Ok(0), 9));
    assert_eq!(run("r0 = 1\nagain: r0 += 1\nif r0 != 5 goto again\nexit", 10, &mut ()), (Ok(5), 7));
    let (result, left) = run("again: goto again", 10, &mut ());
    assert_eq!((result.expect_err("a trap").kind, left), (TrapKind::Fuel, 0));
}

#[test]
fn with_a_verdict_only_the_jumps_that_it_names_burn_fuel() {
    let source = "r6 = 3\nagain: call f\nr6 += -1\nif r6 != 0 goto again\nexit\nf: r0 = 7\nexit";
    let run = |burning: &[usize], fuel: u64| {
        let program = prepare(source).unwrap_or_else(|error| panic!("{error}"));
        let fuel_column = (0..program.program().insns.len()).map(|at| burning.contains(&at)).collect();
        let asked = Obligations { fuel: fuel_column, blank_result: Vec::new() };
        run_prepared(&program.with_obligations(Arc::new(asked)), fuel, &mut ())
    };
    assert_eq!(run(&[], 0), (Ok(7), 0));
    assert_eq!(run(&[3], 10), (Ok(7), 8));
    let (result, left) = run(&[3], 1);
    assert_eq!((result.map_err(|trap| trap.kind), left), (Err(TrapKind::Fuel), 0));
}

#[test]
fn an_observer_sees_every_instruction_with_its_registers() {
    #[derive(Default)]
    struct Seen(Vec<(u32, u64, usize)>);
    impl Observer for Seen {
        fn before(&mut self, moment: &Moment<'_>) -> Result<(), TrapKind> {
            self.0.push((moment.at.0, moment.get(Reg::R0), moment.depth));
            Ok(())
        }
    }
    let mut seen = Seen::default();
    let source = "r0 = 5\ncall f\nexit\nf: r0 = 6\nexit";
    assert_eq!(run(source, 10, &mut seen).0, Ok(6));
    assert_eq!(seen.0, [(0, 0, 0), (1, 5, 0), (3, 5, 1), (4, 6, 1), (2, 6, 0)]);
}

#[test]
fn a_monitor_stops_where_a_rule_is_broken() {
    let watched = |source: &str| {
        let program = prepare(source).unwrap_or_else(|error| panic!("{source}: {error}"));
        let mut monitor = Monitor::new(program.program());
        run(source, 1000, &mut monitor).0.map_err(|trap| (trap.kind, trap.at.0))
    };
    let ring = ".map ring ringbuf key=0 value=0 entries=4096\n";
    let reserve = format!("{ring}r1 = map[ring] ll\nr2 = 8\nr3 = 0\ncall bpf_ringbuf_reserve\n");
    let uninitialised = |at| Err((TrapKind::Uninitialised, at));
    assert_eq!(watched("r0 = r2\nexit"), uninitialised(0));
    assert_eq!(watched("exit"), uninitialised(0));
    assert_eq!(watched("r0 = 0\nr1 = 5\ncall bpf_ktime_get_ns\nr0 = r1\nexit"), uninitialised(3));
    // A callee has the arguments that its caller wrote, and gives back r0 if it wrote it.
    assert_eq!(watched("call f\nexit\nf: r0 = r1\nr0 = 1\nexit"), Ok(1));
    assert_eq!(watched("call f\nexit\nf: r0 = r2\nexit"), uninitialised(2));
    assert_eq!(watched("call f\nr0 = 0\nexit\nf: exit"), Ok(0));
    assert_eq!(watched("call f\nexit\nf: exit"), uninitialised(1));
    let loops = "r1 = 2\nr2 = func body ll\nr3 = 0\nr4 = 0\ncall bpf_loop\nexit\nbody:\nr0 = r1\nr1 = 0\ncall 5\nr0 = 0\nexit";
    assert_eq!(watched(loops), Ok(2));
    assert_eq!(watched("r0 = 0\n*(u32 *)(r10 -6) = 0\nexit"), Err((TrapKind::Misaligned, 1)));
    assert_eq!(watched("r0 = 0\n*(u16 *)(r10 -6) = 0\nexit"), Ok(0));
    assert_eq!(watched(&format!("{reserve}r0 = 0\nexit")), Err((TrapKind::Unreleased, 6)));
    let submit = "if r0 == 0 goto out\nr1 = r0\nr2 = 0\ncall bpf_ringbuf_submit\nout: r0 = 0\nexit";
    assert_eq!(watched(&format!("{reserve}{submit}")), Ok(0));
}

#[test]
fn calls_leave_no_arguments_behind() {
    let (after_helper, _) = run("r1 = 1\ncall bpf_ktime_get_ns\nr0 = r1\nexit", 10, &mut ());
    assert_eq!(after_helper, Ok(0x5bad_c0de_0000_0001));
    let (after_call, _) = run("r3 = 1\ncall f\nr0 = r3\nexit\nf: r0 = 0\nexit", 10, &mut ());
    assert_eq!(after_call, Ok(0x5bad_c0de_0000_0003));
}

#[test]
fn a_new_frame_is_zero_even_where_an_old_one_was_not() {
    let source = "
        call write
        call read
        exit
    write:
        *(u64 *)(r10 -8) = -1
        r0 = 0
        exit
    read:
        r0 = *(u64 *)(r10 -8)
        exit";
    assert_eq!(run(source, 10, &mut ()).0, Ok(0));
}

#[test]
fn may_goto_ends_a_loop_when_its_budget_is_used_up() {
    let source = "r0 = 0\nagain: may_goto done\nr0 += 1\ngoto again\ndone: exit";
    assert_eq!(run(source, u64::MAX, &mut ()).0, Ok(u64::from(crate::isa::limits::MAY_GOTO_BUDGET)));
}
