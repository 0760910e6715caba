//! Maps in the kernel: elements, batches, per-CPU values, pins by name, rings.

use std::sync::Arc;
use std::time::Duration;

use beelift::isa::{AluOp, CmpOp, Const64, Insn, InsnId, MapSlot, Operand, Reg, Sign, Size, Width};
use beelift::kernel::oracle::Input;
use beelift::kernel::{
    CreateOptions, Errno, Hint, KernelMap, KernelProgram, LogLevel, MapSetOptions, Oracle, RawProgram,
    RingBuffer, create_maps, possible_cpus, unpin,
};
use beelift::runtime::ctx::ProgramType;
use beelift::runtime::map::{MapDef, MapFlags, MapKind};

use super::{PASS, call, copy, fixed, hash, kernel_test, mov, program, scratch};

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
}
