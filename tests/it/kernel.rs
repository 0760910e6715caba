//! The running kernel: maps, loading, test runs, pins, links, rings, probes.
//!
//! Where `bpf(2)` is not permitted each test says so on stderr and passes, unless `BEELIFT_REQUIRE_KERNEL=1`.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use beelift::isa::{AluOp, Callee, Insn, InsnId, Operand, Reg, Slot, Width};
use beelift::kernel::{
    CreateOptions, Errno, Fixed, Hint, KernelMap, KernelProgram, LogLevel, OsError, RawProgram, pin,
};
use beelift::link::Program;
use beelift::runtime::ctx::ProgramType;
use beelift::runtime::map::{MapDef, MapKind};
use beelift::runtime::privilege::Capabilities;

mod encodings;
mod maps;
mod oracle;
mod programs;
mod system;

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
            if super::permitted(stringify!($name)) $body
        }
    )* };
}

use kernel_test;

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
        pid_tgid: 0,
        uid_gid: 0,
        cgroup_id: 0,
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
