//! Programs in the kernel: loading, refusals with their place and reason, names of the kernel.

use beelift::elf::Object;
use beelift::isa::{
    AluOp, Callee, CmpOp, Const64, Insn, InsnId, KfuncSlot, KsymSlot, MapSlot, Operand, Pc, Reg, Slot, Width,
};
use beelift::kernel::{
    Errno, Hint, KernelBtf, KernelProgram, LoadOptions, LogLevel, MapSetOptions, Oracle, RawProgram,
    TestInput, TestRun, caps, create_maps, probe,
};
use beelift::link::{Kfunc, Ksym, LinkOptions, Program, link};
use beelift::runtime::ctx::ProgramType;
use beelift::runtime::map::{MapDef, MapFlags, MapKind};

use super::{PASS, ZERO, attach_type, copy, fixed, kernel_test, line, mov, program};

kernel_test! {
    fn raw_programs_load_and_run() {
        let raw = RawProgram::new(ProgramType::Xdp, &PASS);
        let loaded = KernelProgram::load_raw(&raw, LogLevel::Statistics).unwrap();
        assert!(loaded.log().contains("processed 2 insns"), "{}", loaded.log());
        let info = loaded.info().unwrap();
        assert_eq!((info.prog_type, info.verified_insns), (Some(ProgramType::Xdp), 2));
        assert_eq!(loaded.native_code().unwrap().len(), info.native_len as usize);
        let packet: Vec<u8> = (0..64).collect();
        let result = loaded.test_run(&TestRun::packet(TestInput::Xdp, &packet, 0, &[])).unwrap();
        assert_eq!((result.retval, &result.data_out), (2, &packet));
        assert_eq!(result.ctx_out[..8], [0, 0, 0, 0, 64, 0, 0, 0]);
    }

    fn a_rejection_names_instruction_and_reason() {
        let slots = [PASS[0], Slot::new(0x79, 0, 5, 0, 0), PASS[1]];
        let error = KernelProgram::load_raw(&RawProgram::new(ProgramType::Xdp, &slots), LogLevel::Silent).unwrap_err();
        assert_eq!((error.errno, &error.hint), (Errno::EACCES, &Hint::Rejected));
        let log = error.log.as_deref().expect("a log");
        assert_eq!((log.at, log.message.as_str()), (Some(Pc(1)), "R5 !read_ok"), "{}", log.text);
    }

    fn a_rejection_of_a_linked_program_names_its_source_line() {
        let insns = [
            Insn::Const { dst: Reg::R0, value: Const64::Imm(1 << 40) },
            copy(Reg::R0, Reg::R7),
            Insn::Exit,
        ];
        let mut bad = program(ProgramType::Xdp, &insns, &[]);
        bad.lines = vec![
            line(0, "int x = 1;", 4),
            line(1, "  return y;", 5),
        ];
        let error = KernelProgram::load(&bad, &[], LoadOptions::default()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("pc 2: R7 !read_ok"), "{text}");
        assert!(text.contains("prog.c:5:1: return y;"), "{text}");
    }

    fn a_log_longer_than_the_first_buffer_keeps_its_end() {
        // 4000 turns of a loop, some 100 bytes of log each, and then a register nobody wrote.
        let insns = [
            mov(Reg::R6, 0),
            Insn::Alu { op: AluOp::Add, width: Width::W64, dst: Reg::R6, src: Operand::Imm(1) },
            Insn::Branch {
                op: CmpOp::Lt, width: Width::W64, lhs: Reg::R6, rhs: Operand::Imm(4000), to: InsnId(1),
            },
            copy(Reg::R0, Reg::R7),
            Insn::Exit,
        ];
        let bad = program(ProgramType::Xdp, &insns, &[]);
        let error = KernelProgram::load(&bad, &[], LoadOptions::default()).unwrap_err();
        let log = error.log.as_deref().expect("a log");
        assert_eq!((error.errno, log.message.as_str(), log.at), (Errno::EACCES, "R7 !read_ok", Some(Pc(3))));
        assert!(log.text.len() > 100_000);
    }

    fn example_objects_load_with_types_and_lines() {
        for name in ["firewall", "balancer", "ratelimit", "flowmon"] {
            let path = format!("{}/examples/{name}.bpf.o", env!("CARGO_MANIFEST_DIR"));
            let object = Object::parse(&std::fs::read(path).unwrap()).unwrap();
            let btf = KernelBtf::load(&object.btf().expect("types").to_kernel_bytes()).unwrap();
            let options = MapSetOptions { btf: Some(&btf), pin_directory: None };
            let maps = create_maps(object.maps(), options).unwrap();
            assert!(maps.iter().any(|map| map.info().btf_value != 0), "{name}: maps without types");
            for def in object.programs() {
                let linked = link(&object, &def.name, &LinkOptions::default()).unwrap();
                let options = LoadOptions { btf: Some(&btf), ..LoadOptions::default() };
                let loaded = KernelProgram::load(&linked, &maps, options).unwrap();
                let info = loaded.info().unwrap();
                assert_eq!(info.btf_id, btf.id().unwrap(), "{name}");
                assert!(info.line_count as usize > linked.insns.len() / 8, "{name}: {}", info.line_count);
                // The first instruction replaced by one that reads an unwritten register: the log is at its line.
                let mut broken = linked.clone();
                broken.insns[0] = copy(Reg::R9, Reg::R5);
                let error = KernelProgram::load(&broken, &maps, options).unwrap_err();
                let line = error.log.as_ref().and_then(|log| log.line.as_ref()).expect("a source line");
                assert!(line.file.ends_with(".bpf.c") || line.file.ends_with(".bpf.h"), "{error}");
                assert!(!line.text.is_empty() && error.to_string().contains(line.text.trim()), "{error}");
            }
        }
    }

    fn a_program_of_an_arena_loads() {
        let mut def = MapDef::new("arena", MapKind::Arena, 0, 0, 16);
        def.flags = MapFlags::MMAPABLE;
        let insns = [Insn::Const { dst: Reg::R1, value: Const64::Map(MapSlot(0)) }, mov(Reg::R0, 0), Insn::Exit];
        let program = program(ProgramType::Syscall, &insns, &[def]);
        let program = Program { prog_flags: 1 << 4, ..program };
        Oracle::load(&program, &fixed()).unwrap();
    }

    fn kernel_functions_are_found_by_name() {
        let mut rcu = program(
            ProgramType::SchedCls,
            &[
                Insn::Call(Callee::Kfunc { kfunc: KfuncSlot(0), module: 0 }),
                Insn::Call(Callee::Kfunc { kfunc: KfuncSlot(1), module: 0 }),
                mov(Reg::R0, 0),
                Insn::Exit,
            ],
            &[],
        );
        let kfunc = |name: &str, weak| Kfunc { name: name.to_owned(), weak, btf_func: 0 };
        rcu.kfuncs = vec![kfunc("bpf_rcu_read_lock", false), kfunc("bpf_rcu_read_unlock", false)];
        let load = |program: &Program| KernelProgram::load(program, &[], LoadOptions::default());
        load(&rcu).unwrap();
        rcu.kfuncs[1] = kfunc("bpf_no_such_function", false);
        assert_eq!(load(&rcu).unwrap_err().hint, Hint::KfuncMissing("bpf_no_such_function".to_owned()));
        // A weak one may be missing where the program cannot reach it, and only there.
        rcu.kfuncs[1] = kfunc("bpf_no_such_function", true);
        assert_eq!(load(&rcu).unwrap_err().hint, Hint::Rejected);
        rcu.insns[0] = Insn::Const { dst: Reg::R1, value: Const64::Ksym(KsymSlot(0)) };
        rcu.insns.insert(
            1,
            Insn::Branch { op: CmpOp::Eq, width: Width::W64, lhs: Reg::R1, rhs: Operand::Imm(0), to: InsnId(3) },
        );
        let ksym = |weak| Ksym { name: "bpf_no_such_function".to_owned(), weak, btf_type: 1 };
        rcu.ksyms = vec![ksym(true)];
        load(&rcu).unwrap();
        rcu.ksyms = vec![ksym(false)];
        assert_eq!(load(&rcu).unwrap_err().hint, Hint::SymbolMissing("bpf_no_such_function".to_owned()));
    }

    fn a_type_the_kernel_lacks_is_named() {
        let error = |kind| KernelProgram::load_raw(&RawProgram::new(kind, &PASS), LogLevel::Silent).unwrap_err();
        let ours = error(ProgramType::Memory);
        assert_eq!(ours.hint, Hint::ProgramTypeIsOurs(ProgramType::Memory));
        assert_eq!(error(ProgramType::SkLookup).hint, Hint::AttachType(ProgramType::SkLookup, 0));
        if probe::program_type(ProgramType::LircMode2) == probe::Support::No {
            assert_eq!(error(ProgramType::LircMode2).hint, Hint::ProgramTypeMissing(ProgramType::LircMode2));
        }
    }

    fn a_type_without_test_run_is_named() {
        let slots = [Slot::new(0xb7, 0, 0, 0, 0), PASS[1]];
        let Ok(loaded) = KernelProgram::load_raw(&RawProgram::new(ProgramType::SockOps, &slots), LogLevel::Silent)
        else { return };
        let error = loaded.test_run(&TestRun { repeat: 1, ..TestRun::default() }).unwrap_err();
        assert_eq!((error.errno, error.hint), (Errno::ENOTSUPP, Hint::NoTestRun(ProgramType::SockOps)));
    }

    fn a_helper_that_only_the_kernel_has_makes_it_stand_in() {
        use beelift::{Choice, Engine, Error};
        let source = "r6 = r1
            *(u64 *)(r10 -16) = 0
            *(u64 *)(r10 -8) = 0
            r2 = r10
            r2 += -16
            r3 = 12
            r4 = -1
            r5 = 0
            call 99
            if r0 == 0 goto out
            r6 = r0
            r1 = r0
            call 137
            r1 = r6
            call 86
            out: r0 = 0
            exit";
        let load = |choice| {
            let program = Program::assemble(ProgramType::SchedCls, source, |_| None).expect("assembly");
            Engine::builder().backend(choice).build().expect("an engine").load_linked(vec![program])
        };
        for choice in [Choice::Jit, Choice::Interpreter] {
            match load(choice) {
                Err(Error::Unsupported { what, .. }) => assert!(what.contains("bpf_skc_to_tcp_sock"), "{what}"),
                Err(other) => panic!("{other}"),
                Ok(_) => panic!("nobody has that helper here"),
            }
        }
        assert_eq!(load(Choice::Auto).expect("the kernel has it").programs().len(), 1);
    }

    fn missing_capabilities_are_named_for_every_type() {
        use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
        let (bpf, perfmon, net) = (CapabilitySet::BPF, CapabilitySet::PERFMON, CapabilitySet::NET_ADMIN);
        let none = CapabilitySet::empty();
        // A thread has capabilities of its own: dropping them here takes them from nobody else.
        let checks = std::thread::spawn(move || {
            for effective in [none, bpf, perfmon, net, bpf | perfmon, bpf | net, bpf | perfmon | net] {
                let mut sets = capabilities(None).unwrap();
                sets.effective = effective;
                set_capabilities(None, sets).unwrap();
                for &kind in ProgramType::ALL.iter().filter(|kind| kind.id() != 0 && kind.id() < 0x1000) {
                    let raw = RawProgram { attach_type: attach_type(kind), ..RawProgram::new(kind, &ZERO) };
                    let said = KernelProgram::load_raw(&raw, LogLevel::Silent).err().map(|error| error.hint);
                    let missing = caps::missing_for_program(kind);
                    let named = Some(Hint::MissingCapabilities(missing));
                    assert_eq!(said == named, !missing.is_empty(), "{kind} with {effective:?}: {said:?}");
                }
                for &kind in MapKind::ALL {
                    let (map, missing) = (probe::map_type(kind), caps::missing_for_map(kind));
                    // Types that look at sizes, or load BTF, before they look at capabilities.
                    let tells = !matches!(kind, MapKind::StructOps | MapKind::InsnArray);
                    let named = map == probe::Support::NotPermitted(missing);
                    assert!(!tells || named != missing.is_empty(), "{kind} with {effective:?}: {map:?}");
                }
            }
        });
        checks.join().unwrap();
    }
}
