//! The kernel as oracle: what it takes, what it gives back, what is fixed.

use beelift::isa::{AluOp, CmpOp, Const64, Insn, InsnId, MapSlot, Operand, Reg, Sign, Size, Width};
use beelift::kernel::oracle::Input;
use beelift::kernel::{Hint, KernelProgram, LoadOptions, Oracle, oracle};
use beelift::runtime::ctx::ProgramType;
use beelift::runtime::map::{MapDef, MapKind};

use super::{call, copy, fixed, kernel_test, mov, program};

kernel_test! {
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
}
