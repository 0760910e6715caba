//! The running kernel: maps, loading, test runs, pins, links, rings, probes.
//!
//! Where `bpf(2)` is not permitted each test says so on stderr and passes, unless `BEELIFT_REQUIRE_KERNEL=1`.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use beelift::elf::Object;
use beelift::isa::{
    AluOp, Callee, CmpOp, Const64, Insn, InsnId, KfuncSlot, KsymSlot, MapSlot, Operand, Pc, Reg, Sign, Size,
    Slot, Width,
};
use beelift::kernel::oracle::{self, Input};
use beelift::kernel::{
    AttachPoint, CreateOptions, Errno, Fixed, Hint, KernelBtf, KernelMap, KernelProgram, LoadOptions,
    LogLevel, MapSetOptions, Oracle, OsError, RawProgram, RingBuffer, TestInput, TestRun, caps, create_maps,
    list, pin, possible_cpus, probe, unpin,
};
use beelift::link::{Kfunc, Ksym, LinkOptions, Program, link};
use beelift::runtime::ctx::ProgramType;
use beelift::runtime::map::{MapDef, MapFlags, MapKind};
use beelift::runtime::privilege::Capabilities;

/// `r0 = 2; exit`
const PASS: [Slot; 2] = [Slot::new(0xb7, 0, 0, 0, 2), Slot::new(0x95, 0, 0, 0, 0)];

/// `r0 = 0; exit`
const ZERO: [Slot; 2] = [Slot::new(0xb7, 0, 0, 0, 0), Slot::new(0x95, 0, 0, 0, 0)];

/// An attach type that the type takes.
fn attach_type(prog_type: ProgramType) -> u32 {
    match prog_type {
        ProgramType::CgroupSockAddr => 8,
        ProgramType::CgroupSockopt => 21,
        ProgramType::SkLookup => 36,
        ProgramType::Netfilter => 45,
        _ => 0,
    }
}

/// Whether the kernel lets us load networking programs; says why not.
fn permitted(test: &str) -> bool {
    let raw = RawProgram::new(ProgramType::Xdp, &PASS);
    let refused = match KernelProgram::load_raw(&raw, LogLevel::Silent) {
        Ok(_) => return true,
        Err(error) => error,
    };
    let required = std::env::var_os("BEELIFT_REQUIRE_KERNEL").is_some_and(|value| value == "1");
    assert!(!required, "BEELIFT_REQUIRE_KERNEL=1, but {refused}");
    skip(test, &refused);
    false
}

/// Past the capture of the test harness: a skipped test must be seen.
fn skip(test: &str, why: &OsError) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: kernel::{test}: {why}");
}

macro_rules! kernel_test {
    ($(fn $name:ident() $body:block)*) => { $(
        #[test]
        fn $name() {
            if permitted(stringify!($name)) $body
        }
    )* };
}

fn hash(name: &str) -> KernelMap {
    let def = MapDef::new(name, MapKind::Hash, 4, 8, 4);
    KernelMap::create(&def, CreateOptions::default()).expect("hash map")
}

fn program(prog_type: ProgramType, insns: &[Insn], maps: &[MapDef]) -> Program {
    let mut program =
        Program::from_slots(prog_type, &PASS, Arc::from(maps.to_vec())).expect("two instructions");
    program.name = "test".to_owned();
    program.insns = insns.to_vec();
    program.pcs = beelift::isa::encode::pcs_of(insns);
    program
}

fn mov(dst: Reg, value: i64) -> Insn {
    Insn::Alu { op: AluOp::Mov, width: Width::W64, dst, src: Operand::Imm(value) }
}

fn copy(dst: Reg, src: Reg) -> Insn {
    Insn::Alu { op: AluOp::Mov, width: Width::W64, dst, src: Operand::Reg(src) }
}

fn call(helper: u32) -> Insn {
    Insn::Call(Callee::Helper(helper))
}

fn scratch(name: &str) -> PathBuf {
    PathBuf::from(pin::BPFFS).join(format!("beelift-test-{}-{name}", std::process::id()))
}

kernel_test! {
    fn map_elements_come_and_go() {
        let map = hash("elements");
        assert_eq!(map.lookup(&1_u32.to_ne_bytes()).unwrap(), None);
        for key in [3_u32, 1, 2, 4] {
            map.update(&key.to_ne_bytes(), &u64::from(key * 10).to_ne_bytes(), 0).unwrap();
        }
        let full = map.update(&5_u32.to_ne_bytes(), &[0; 8], 0).unwrap_err();
        assert_eq!((full.errno, &full.hint), (Errno::E2BIG, &Hint::MapFull));
        let exists = map.update(&1_u32.to_ne_bytes(), &[0; 8], 1).unwrap_err();
        assert_eq!(exists.errno, Errno::EEXIST);
        let keys: Vec<u32> = map
            .entries()
            .unwrap()
            .iter()
            .map(|(key, _)| u32::from_ne_bytes(key[..].try_into().unwrap()))
            .collect();
        assert_eq!(keys, [1, 2, 3, 4]);
        assert!(map.delete(&1_u32.to_ne_bytes()).unwrap());
        assert!(!map.delete(&1_u32.to_ne_bytes()).unwrap());
        assert_eq!(map.lookup_and_delete(&2_u32.to_ne_bytes()).unwrap(), Some(20_u64.to_ne_bytes().to_vec()));
        map.freeze().unwrap();
        let frozen = map.update(&1_u32.to_ne_bytes(), &[0; 8], 0).unwrap_err();
        assert_eq!((frozen.errno, &frozen.hint), (Errno::EPERM, &Hint::MapReadOnly));
    }

    fn wrong_lengths_are_refused_before_the_kernel_sees_them() {
        let map = hash("lengths");
        for (key, value) in [(&[0_u8; 3][..], &[0_u8; 8][..]), (&[0; 4], &[0; 7]), (&[], &[0; 8])] {
            let error = map.update(key, value, 0).unwrap_err();
            assert_eq!((error.errno, error.hint), (Errno::EINVAL, Hint::Lengths { key: 4, value: 8 }));
        }
        assert!(map.lookup(&[0; 5]).is_err());
        assert!(map.next_key(Some(&[])).is_err());
        assert!(map.update_batch(&[0; 9], &[0; 16], 0).is_err());
    }

    fn per_cpu_values_have_a_slot_for_each_possible_cpu() {
        let cpus = possible_cpus().unwrap() as usize;
        let def = MapDef::new("percpu", MapKind::PercpuArray, 4, 12, 2);
        let map = KernelMap::create(&def, CreateOptions::default()).unwrap();
        assert_eq!(map.value_size(), 16 * cpus);
        let value: Vec<u8> = (0..cpus).flat_map(|cpu| { let mut v = vec![cpu as u8 + 1; 12]; v.extend([0; 4]); v }).collect();
        map.update(&1_u32.to_ne_bytes(), &value, 0).unwrap();
        assert_eq!(map.lookup(&1_u32.to_ne_bytes()).unwrap(), Some(value));
        assert_eq!(map.entries().unwrap().len(), 2);
    }

    fn entries_of_a_large_hash_are_complete() {
        let def = MapDef::new("large", MapKind::Hash, 8, 8, 20_000);
        let map = KernelMap::create(&def, CreateOptions::default()).unwrap();
        let keys: Vec<u8> = (0..20_000_u64).flat_map(u64::to_be_bytes).collect();
        assert_eq!(map.update_batch(&keys, &keys, 0).unwrap(), 20_000);
        let entries = map.entries().unwrap();
        assert!(entries.iter().zip(0_u64..).all(|((key, value), n)| key[..] == n.to_be_bytes() && value == key));
        assert_eq!(entries.len(), 20_000);
        assert_eq!(map.delete_batch(&keys).unwrap(), 20_000);
        assert_eq!(map.entries().unwrap(), []);
    }

    fn maps_hold_programs_and_maps() {
        let index = 1_u32.to_ne_bytes();
        let tail = [mov(Reg::R2, 0), Insn::Const { dst: Reg::R2, value: Const64::Map(MapSlot(0)) }, mov(Reg::R3, 1), call(12), mov(Reg::R0, 3), Insn::Exit];
        let defs = [MapDef::new("tails", MapKind::ProgArray, 4, 4, 2)];
        let oracle = Oracle::load(&program(ProgramType::Xdp, &tail, &defs), &fixed()).unwrap();
        let run = || oracle.run(Input { packet: &[0; 14], ..Input::default() }).unwrap().retval;
        assert_eq!(run(), 3);
        let pass = KernelProgram::load_raw(&RawProgram::new(ProgramType::Xdp, &PASS), LogLevel::Silent).unwrap();
        oracle.maps()[0].update_program(&index, &pass, 0).unwrap();
        assert_eq!(run(), 2);
        let filter = KernelProgram::load_raw(&RawProgram::new(ProgramType::SchedCls, &PASS), LogLevel::Silent).unwrap();
        assert_eq!(oracle.maps()[0].update_program(&index, &filter, 0).unwrap_err().errno, Errno::EINVAL);

        let mut outer = MapDef::new("outer", MapKind::ArrayOfMaps, 4, 4, 2);
        outer.inner = Some(Box::new(MapDef::new("inner", MapKind::Hash, 4, 8, 4)));
        let outer = create_maps(&[outer], MapSetOptions::default()).unwrap().remove(0);
        let inner = hash("member");
        outer.update_map(&index, &inner, 0).unwrap();
        let id = inner.info().id.to_ne_bytes().to_vec();
        assert_eq!(outer.entries().unwrap(), [(index.to_vec(), id)]);
        assert!(outer.update_map(&index, &outer, 0).is_err());
    }

    fn maps_of_an_object_are_made_in_order_and_filled() {
        let mut outer = MapDef::new("outer", MapKind::HashOfMaps, 4, 4, 8);
        outer.inner = Some(Box::new(MapDef::new("inner", MapKind::Array, 4, 4, 1)));
        let mut rodata = MapDef::new(".rodata", MapKind::Array, 4, 6, 1);
        rodata.initial = Some(Arc::from(&b"frozen"[..]));
        rodata.frozen = true;
        rodata.flags = MapFlags::RDONLY_PROG | MapFlags::MMAPABLE;
        let mut ring = MapDef::new("a ring/with a long name", MapKind::Ringbuf, 4, 4, 5000);
        ring.btf_value = 1;
        let perf = MapDef::new("perf", MapKind::PerfEventArray, 4, 4, 0);
        let maps = create_maps(&[outer, rodata, ring, perf], MapSetOptions::default()).unwrap();
        assert_eq!(maps[1].lookup(&[0; 4]).unwrap().as_deref(), Some(&b"frozen"[..]));
        assert_eq!(maps[1].update(&[0; 4], &[0; 6], 0).unwrap_err().errno, Errno::EPERM);
        assert_eq!(maps[2].info().max_entries, 8192);
        assert_eq!(maps[2].info().name, "a_ring_with_a_l");
        assert_eq!(maps[3].info().max_entries, possible_cpus().unwrap());
        assert_eq!(maps[0].entries().unwrap(), []);
    }

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

    fn linked_programs_use_their_maps() {
        // value = lookup(&counter, 0); *value += 1; return XDP_DROP
        let insns = [
            Insn::Store { size: Size::W, base: Reg::R10, off: -4, src: Operand::Imm(0) },
            copy(Reg::R2, Reg::R10),
            Insn::Alu { op: AluOp::Add, width: Width::W64, dst: Reg::R2, src: Operand::Imm(-4) },
            Insn::Const { dst: Reg::R1, value: Const64::Map(MapSlot(1)) },
            call(1),
            Insn::Branch {
                op: CmpOp::Eq, width: Width::W64, lhs: Reg::R0, rhs: Operand::Imm(0),
                to: InsnId(9),
            },
            Insn::Load { size: Size::DW, sign: Sign::Zero, dst: Reg::R1, base: Reg::R0, off: 0 },
            Insn::Alu { op: AluOp::Add, width: Width::W64, dst: Reg::R1, src: Operand::Imm(1) },
            Insn::Store { size: Size::DW, base: Reg::R0, off: 0, src: Operand::Reg(Reg::R1) },
            mov(Reg::R0, 1),
            Insn::Exit,
        ];
        let defs = [MapDef::new("other", MapKind::Hash, 4, 4, 1), MapDef::new("counter", MapKind::Array, 4, 8, 1)];
        let program = program(ProgramType::Xdp, &insns, &defs);
        let oracle = Oracle::load(&program, &fixed()).unwrap();
        for _ in 0..3 {
            let outcome = oracle.run(Input { packet: &[7; 60], ..Input::default() }).unwrap();
            assert_eq!((outcome.retval, &outcome.packet[..]), (1, &[7; 60][..]));
        }
        assert_eq!(oracle.maps()[1].entries().unwrap(), [(vec![0; 4], 3_u64.to_ne_bytes().to_vec())]);
        let given = KernelProgram::load(&program, &[], LoadOptions::default()).unwrap_err();
        assert!(matches!(given.hint, Hint::Encoding(_)), "{given}");
    }

    fn the_oracle_answers_clock_random_and_cpu_by_constants() {
        let fixed = fixed();
        let answers = [
            (5, fixed.monotonic_ns), (7, u64::from(fixed.random_u32)), (8, 0), (42, 3), (118, fixed.jiffies),
            (125, fixed.boottime_ns), (160, fixed.coarse_ns), (208, fixed.tai_ns),
        ];
        for (helper, answer) in answers {
            // The branch over a call shows that targets move with the slots that a constant adds.
            let insns = [
                Insn::Branch {
                    op: CmpOp::Eq, width: Width::W64, lhs: Reg::R1, rhs: Operand::Imm(0), to: InsnId(2),
                },
                call(helper),
                call(helper),
                copy(Reg::R6, Reg::R0),
                Insn::Alu { op: AluOp::Rsh, width: Width::W64, dst: Reg::R6, src: Operand::Imm(32) },
                Insn::Alu { op: AluOp::Xor, width: Width::W64, dst: Reg::R0, src: Operand::Reg(Reg::R6) },
                Insn::Exit,
            ];
            let oracle = Oracle::load(&program(ProgramType::Xdp, &insns, &[]), &fixed).unwrap();
            let outcome = oracle.run(Input { packet: &[0; 14], ..Input::default() }).unwrap();
            assert_eq!(outcome.retval, (answer ^ (answer >> 32)) as u32, "helper {helper}");
        }
        assert_eq!(
            oracle::not_comparable(&program(ProgramType::Xdp, &[call(5), call(69), Insn::Exit], &[])),
            [(69, "bpf_fib_lookup")]
        );
    }

    fn xdp_metadata_and_context_come_back() {
        // adjust_meta(ctx, -4), then return
        let insns = [mov(Reg::R2, -4), call(54), Insn::Exit];
        let oracle = Oracle::load(&program(ProgramType::Xdp, &insns, &[]), &fixed()).unwrap();
        let mut packet = vec![0xaa; 8];
        packet.extend([0x55; 20]);
        let outcome = oracle.run(Input { packet: &packet, metadata: 8, context: &[] }).unwrap();
        assert_eq!(outcome.retval, 0);
        assert_eq!((outcome.metadata.len(), &outcome.packet[..]), (12, &[0x55; 20][..]));
        assert_eq!(outcome.metadata[4..], [0xaa; 8]);
    }

    fn packets_the_kernel_does_not_take_are_known_beforehand() {
        let pass = [mov(Reg::R0, 1), Insn::Exit];
        let of = |kind| program(kind, &pass, &[]);
        let plain = of(ProgramType::Xdp);
        let mut frags = plain.clone();
        frags.prog_flags = oracle::XDP_HAS_FRAGS;
        let skb = [0, 13, 14, 33, 34, 53, 54, 60, 3520, 3712, 3713];
        for (program, lengths) in [
            (&plain, &[0, 13, 14, 60, 3520][..]),
            (&frags, &[13, 14, 3521, 9000, 60_000, 73_152, 73_153]),
            (&of(ProgramType::SchedCls), &skb),
            (&of(ProgramType::SocketFilter), &skb),
            (&of(ProgramType::CgroupSkb), &skb),
            (&of(ProgramType::LwtXmit), &skb),
        ] {
            let oracle = Oracle::load(program, &fixed()).unwrap();
            for (&length, ethertype) in lengths.iter().flat_map(|l| [0x0800_u16, 0x86dd, 0x0101].map(|e| (l, e))) {
                let mut packet = vec![1; length];
                if length >= 14 {
                    packet[12..14].copy_from_slice(&ethertype.to_be_bytes());
                }
                let input = Input { packet: &packet, ..Input::default() };
                let (ran, said) = (oracle.run(input), oracle.incomparable(input));
                let error = ran.as_ref().err();
                assert_eq!(
                    error.is_some(),
                    said.is_some(),
                    "{} of {length}, {ethertype:#x}: {said:?} {error:?}",
                    program.prog_type
                );
                assert!(ran.is_err() || ran.is_ok_and(|outcome| outcome.packet == packet), "{length}");
            }
        }
        // The kernel runs a program without fragments over one all the same, and shows it the first 3520 bytes.
        let oracle = Oracle::load(&plain, &fixed()).unwrap();
        let input = Input { packet: &[1; 3521], ..Input::default() };
        assert_eq!(oracle.run(input).unwrap().context[4..8], 3520_u32.to_ne_bytes());
        assert!(oracle.incomparable(input).is_some());
        for (metadata, taken) in [(0, true), (4, true), (6, false), (216, true), (220, false)] {
            let packet = vec![0; metadata as usize + 20];
            let input = Input { packet: &packet, metadata, ..Input::default() };
            assert_eq!((oracle.run(input).is_ok(), oracle.incomparable(input).is_none()), (taken, taken));
        }
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
                    assert!(!tells || named == !missing.is_empty(), "{kind} with {effective:?}: {map:?}");
                }
            }
        });
        checks.join().unwrap();
    }

    fn pins_outlive_handles() {
        let map = hash("pinned");
        let path = scratch("map");
        map.update(&[1; 4], &[2; 8], 0).unwrap();
        map.pin(&path).unwrap();
        assert_eq!(map.pin(&path).unwrap_err().hint, Hint::Exists);
        drop(map);
        let again = KernelMap::open_pinned(&path).unwrap();
        assert_eq!(again.lookup(&[1; 4]).unwrap(), Some(vec![2; 8]));
        assert!(KernelProgram::open_pinned(&path).is_err());
        unpin(&path).unwrap();
        assert_eq!(unpin(&path).unwrap_err().errno, Errno::ENOENT);
        assert_eq!(KernelMap::open_pinned(&path).unwrap_err().errno, Errno::ENOENT);

        let loaded = KernelProgram::load_raw(&RawProgram::new(ProgramType::Xdp, &PASS), LogLevel::Silent).unwrap();
        let path = scratch("dir").join("prog");
        loaded.pin(&path).unwrap();
        let id = loaded.info().unwrap().id;
        assert_eq!(KernelProgram::open_pinned(&path).unwrap().info().unwrap().id, id);
        unpin(&path).unwrap();
        std::fs::remove_dir(path.parent().unwrap()).unwrap();
        let outside = loaded.pin(&std::env::temp_dir().join("beelift-no-bpffs")).unwrap_err();
        assert_eq!(outside.hint, Hint::NotBpffs);
        assert_eq!(unpin(&std::env::temp_dir()).unwrap_err().hint, Hint::NotBpffs);
    }

    fn maps_pinned_by_name_are_shared() {
        let directory = scratch("names");
        let mut def = MapDef::new("shared", MapKind::Hash, 4, 4, 2);
        def.pin_by_name = true;
        let options = MapSetOptions { pin_directory: Some(&directory), btf: None };
        let first = create_maps(std::slice::from_ref(&def), options).unwrap();
        let second = create_maps(std::slice::from_ref(&def), options).unwrap();
        assert_eq!(first[0].info().id, second[0].info().id);
        def.value_size = 8;
        assert!(create_maps(std::slice::from_ref(&def), options).is_err());
        unpin(&directory.join("shared")).unwrap();
        std::fs::remove_dir(directory).unwrap();
    }

    fn a_dropped_link_detaches() {
        let loaded = KernelProgram::load_raw(&RawProgram::new(ProgramType::SchedCls, &[Slot::new(0xb7, 0, 0, 0, -1), PASS[1]]), LogLevel::Silent).unwrap();
        let point: AttachPoint = "tcx:lo:egress".parse().unwrap();
        let link = match loaded.attach(&point) {
            Ok(link) => link,
            Err(error) => return skip("a_dropped_link_detaches", &error),
        };
        let info = link.info().unwrap();
        assert_eq!(info.program_id, loaded.info().unwrap().id);
        assert!(list::links().unwrap().iter().any(|other| other.id == info.id));
        drop(link);
        let gone = (0..100).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            list::links().unwrap().iter().all(|other| other.id != info.id)
        });
        assert!(gone);
        let nowhere = loaded.attach(&"tcx:nosuchif0:ingress".parse().unwrap()).unwrap_err();
        assert!(matches!(nowhere.hint, Hint::TargetMissing(_)), "{nowhere}");
        let wrong = loaded.attach(&"xdp:lo".parse().unwrap()).unwrap_err();
        assert_eq!(wrong.errno, Errno::EINVAL);
    }

    fn ring_records_are_read_in_order_across_the_end() {
        // record = ringbuf_reserve(&ring, 1001, 0); record[0] = packet[0]; submit it, or discard it if odd
        let zero = Sign::Zero;
        let branch = |op, lhs, rhs, to| Insn::Branch { op, width: Width::W64, lhs, rhs, to: InsnId(to) };
        let insns = [
            Insn::Load { size: Size::W, sign: zero, dst: Reg::R2, base: Reg::R1, off: 0 },
            Insn::Load { size: Size::W, sign: zero, dst: Reg::R3, base: Reg::R1, off: 4 },
            copy(Reg::R4, Reg::R2),
            Insn::Alu { op: AluOp::Add, width: Width::W64, dst: Reg::R4, src: Operand::Imm(1) },
            mov(Reg::R0, 1),
            branch(CmpOp::Gt, Reg::R4, Operand::Reg(Reg::R3), 20),
            Insn::Load { size: Size::B, sign: zero, dst: Reg::R6, base: Reg::R2, off: 0 },
            Insn::Const { dst: Reg::R1, value: Const64::Map(MapSlot(0)) },
            mov(Reg::R2, 1001),
            mov(Reg::R3, 0),
            call(131),
            branch(CmpOp::Eq, Reg::R0, Operand::Imm(0), 20),
            Insn::Store { size: Size::B, base: Reg::R0, off: 0, src: Operand::Reg(Reg::R6) },
            copy(Reg::R1, Reg::R0),
            mov(Reg::R2, 0),
            branch(CmpOp::Set, Reg::R6, Operand::Imm(1), 18),
            call(132),
            Insn::Jump { to: InsnId(19) },
            call(133),
            mov(Reg::R0, 2),
            Insn::Exit,
        ];
        let defs = [MapDef::new("ring", MapKind::Ringbuf, 0, 0, 4096)];
        let oracle = Oracle::load(&program(ProgramType::Xdp, &insns, &defs), &fixed()).unwrap();
        let mut ring = RingBuffer::open(&oracle.maps()[0]).unwrap();
        assert_eq!(ring.next_record(), None);
        assert!(!ring.wait(Some(Duration::ZERO)).unwrap());
        for round in 0..40_u8 {
            for first in [round * 6, round * 6 + 1, round * 6 + 2] {
                let packet = vec![first; 60];
                assert_eq!(oracle.run(Input { packet: &packet, ..Input::default() }).unwrap().retval, 2);
            }
            assert!(ring.wait(Some(Duration::from_secs(1))).unwrap());
            let records = ring.drain();
            assert!(records.iter().all(|record| record.len() == 1001));
            assert_eq!(records.iter().map(|record| record[0]).collect::<Vec<_>>(), [round * 6, round * 6 + 2]);
        }
        assert!(RingBuffer::open(&hash("no ring")).is_err());
    }

    fn objects_are_listed_by_id() {
        let map = hash("listed");
        let loaded = KernelProgram::load_raw(&RawProgram::new(ProgramType::Xdp, &PASS), LogLevel::Silent).unwrap();
        let maps = match list::maps() {
            Ok(maps) => maps,
            Err(error) => return skip("objects_are_listed_by_id", &error),
        };
        assert!(maps.contains(map.info()));
        let id = loaded.info().unwrap().id;
        assert!(list::programs().unwrap().iter().any(|info| info.id == id));
        assert_eq!(KernelMap::open_id(map.info().id).unwrap().info(), map.info());
        assert_eq!(KernelProgram::open_id(id).unwrap().prog_type(), ProgramType::Xdp);
        assert_eq!(KernelMap::open_id(u32::MAX).unwrap_err().errno, Errno::ENOENT);
    }

    fn the_probe_finds_what_the_kernel_has() {
        let features = probe::Features::probe();
        assert!(features.has_bpf);
        let program = |kind| features.program_types.iter().find(|(other, _)| *other == kind).map(|it| it.1);
        let map = |kind| features.map_types.iter().find(|(other, _)| *other == kind).map(|it| it.1);
        for kind in [ProgramType::Xdp, ProgramType::SchedCls, ProgramType::SocketFilter] {
            assert_eq!(program(kind), Some(probe::Support::Yes), "{kind}");
        }
        for kind in [MapKind::Array, MapKind::LpmTrie, MapKind::Ringbuf, MapKind::HashOfMaps, MapKind::TaskStorage] {
            assert_eq!(map(kind), Some(probe::Support::Yes), "{kind}");
        }
        let probe::Helpers::Allowed(helpers) = probe::helpers(ProgramType::Xdp) else { panic!("no helpers") };
        assert!(helpers.contains(&44) && helpers.contains(&1), "xdp_adjust_head, map_lookup_elem");
        assert!(!helpers.contains(&26), "skb_load_bytes is not for xdp");
        assert!(helpers.iter().all(|&number| number < 300), "{helpers:?}");
        assert_eq!(probe::helpers(ProgramType::StructOps), probe::Helpers::Unknown);
        assert!(matches!(probe::helpers(ProgramType::Syscall), probe::Helpers::Allowed(_)));
    }
}

fn line(insn: u32, text: &str, number: u32) -> beelift::link::LineInfo {
    beelift::link::LineInfo {
        insn: InsnId(insn),
        file: Arc::from("prog.c"),
        text: Arc::from(text),
        btf_file: 0,
        btf_text: 0,
        line: number,
        column: 1,
    }
}

fn fixed() -> Fixed {
    Fixed {
        monotonic_ns: 0x1234_5678_9abc_def0,
        boottime_ns: 77,
        tai_ns: u64::MAX,
        coarse_ns: 1 << 31,
        jiffies: 4_294_900_000,
        random_u32: 0x8000_0001,
        cpu: 0,
        numa_node: 3,
    }
}

#[test]
fn errors_say_what_to_do() {
    let missing = OsError::new("BPF_PROG_LOAD", "xdp_main", Errno::EPERM)
        .with_hint(Hint::MissingCapabilities(Capabilities::BPF | Capabilities::NET_ADMIN));
    assert_eq!(
        missing.to_string(),
        "BPF_PROG_LOAD xdp_main: EPERM: this process lacks CAP_BPF and CAP_NET_ADMIN; run as root or grant it"
    );
    assert!(missing.is_not_permitted());
    assert_eq!(OsError::new("poll", "", Errno(777)).to_string(), "poll: errno 777");
}
