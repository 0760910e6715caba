//! What the running kernel can do, found by asking it: program types, map types, helpers, settings.
//!
//! In: nothing. Out: [`Features`]. Versions and configuration files lie (backports, lockdown, modules), so each
//! answer is a load or a creation. Not here: what our own runtime can do (`beelift_runtime`).
#![forbid(unsafe_code)]

use std::path::Path;

use beelift_runtime::MapKind;
use beelift_runtime::ctx::ProgramType;
use beelift_runtime::map::{MapDef, MapFlags};
use beelift_runtime::privilege::Capabilities;

use super::map::{CreateOptions, KernelMap};
use super::symbols::KernelSymbols;
use super::sys::{self, LoadArgs};
use super::{Errno, Hint, caps, pin};
use crate::isa::Slot;

/// Whether the kernel has something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Support {
    /// Yes.
    Yes,
    /// No.
    No,
    /// This process may not find out: these capabilities are missing (none: the kernel forbids it).
    NotPermitted(Capabilities),
}

/// What the running kernel can do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Features {
    /// Release, as `uname -r`.
    pub release: String,
    /// Whether `bpf(2)` is there.
    pub has_bpf: bool,
    /// Capabilities of this process.
    pub capabilities: Capabilities,
    /// `kernel.unprivileged_bpf_disabled`.
    pub unprivileged_bpf_disabled: Option<u32>,
    /// `net.core.bpf_jit_enable`: 0 interpreter, 1 JIT, 2 JIT with debug output.
    pub jit: Option<u32>,
    /// `net.core.bpf_jit_harden`: 1 blinds constants of unprivileged programs, 2 of all.
    pub jit_harden: Option<u32>,
    /// The kernel's mitigations that touch BPF (`spectre_v1`, `spectre_v2`, `spec_store_bypass`), as it words them.
    pub mitigations: Vec<(String, String)>,
    /// Whether the kernel has its own types.
    pub has_btf: bool,
    /// Whether `/sys/fs/bpf` is mounted.
    pub has_bpffs: bool,
    /// Program types.
    pub program_types: Vec<(ProgramType, Support)>,
    /// Map types.
    pub map_types: Vec<(MapKind, Support)>,
}

impl Features {
    /// Asks the kernel. Takes a few milliseconds.
    #[must_use]
    pub fn probe() -> Self {
        let program_types = ProgramType::ALL.iter().filter(|kind| kind.id() != 0 && kind.id() < 0x1000);
        Self {
            release: rustix::system::uname().release().to_string_lossy().into_owned(),
            has_bpf: sys::next_id(sys::ObjectKind::Map, 0) != Err(Errno::ENOSYS),
            capabilities: caps::held(),
            unprivileged_bpf_disabled: caps::unprivileged_bpf_disabled(),
            jit: setting("net/core/bpf_jit_enable"),
            jit_harden: setting("net/core/bpf_jit_harden"),
            mitigations: mitigations(),
            has_btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
            has_bpffs: pin::is_bpffs(Path::new(pin::BPFFS)),
            program_types: program_types.map(|&kind| (kind, program_type(kind))).collect(),
            map_types: MapKind::ALL.iter().map(|&kind| (kind, map_type(kind))).collect(),
        }
    }
}

/// Whether the kernel has a program type.
#[must_use]
pub fn program_type(prog_type: ProgramType) -> Support {
    // Opcode 0 is no instruction: a type that is built says so in the log, one that is not says nothing.
    let mut log = vec![0; 1 << 14];
    match load(prog_type, &[Slot::new(0, 0, 0, 0, 0)], &mut log) {
        Ok(()) => Support::Yes,
        Err(Errno::EPERM) if log[0] == 0 => Support::NotPermitted(caps::missing_for_program(prog_type)),
        Err(_) if log[0] != 0 => Support::Yes,
        Err(_) => Support::No,
    }
}

/// Whether the kernel has a map type.
#[must_use]
pub fn map_type(kind: MapKind) -> Support {
    let page = u32::try_from(rustix::param::page_size()).unwrap_or(4096);
    let (key_size, value_size, max_entries, flags) = match kind {
        // Needs the BTF id of a kernel structure: the type is built when its programs are.
        MapKind::StructOps => return program_type(ProgramType::StructOps),
        MapKind::SkStorage | MapKind::InodeStorage | MapKind::TaskStorage | MapKind::CgrpStorage => {
            return storage(kind);
        }
        MapKind::StackTrace => (4, 8, 1, MapFlags::empty()),
        MapKind::InsnArray => (4, 16, 1, MapFlags::empty()),
        MapKind::LpmTrie => (8, 4, 1, MapFlags::NO_PREALLOC),
        MapKind::Queue | MapKind::Stack | MapKind::BloomFilter => (0, 4, 1, MapFlags::empty()),
        MapKind::Ringbuf | MapKind::UserRingbuf => (0, 0, page, MapFlags::empty()),
        MapKind::CgroupStorage | MapKind::PercpuCgroupStorage => (8, 4, 0, MapFlags::empty()),
        MapKind::Arena => (0, 0, 1, MapFlags::MMAPABLE),
        MapKind::Hash
        | MapKind::Array
        | MapKind::ProgArray
        | MapKind::PerfEventArray
        | MapKind::PercpuHash
        | MapKind::PercpuArray
        | MapKind::CgroupArray
        | MapKind::LruHash
        | MapKind::LruPercpuHash
        | MapKind::ArrayOfMaps
        | MapKind::HashOfMaps
        | MapKind::Devmap
        | MapKind::DevmapHash
        | MapKind::Sockmap
        | MapKind::Sockhash
        | MapKind::Cpumap
        | MapKind::Xskmap
        | MapKind::ReuseportSockarray => (4, 4, 1, MapFlags::empty()),
    };
    let def = MapDef { flags, ..MapDef::new("probe", kind, key_size, value_size, max_entries) };
    let inner = MapDef::new("inner", MapKind::Array, 4, 4, 1);
    let template = matches!(kind, MapKind::ArrayOfMaps | MapKind::HashOfMaps)
        .then(|| KernelMap::create(&inner, CreateOptions::default()).ok())
        .flatten();
    support(KernelMap::create(&def, CreateOptions { btf: None, inner: template.as_ref() }).map(drop))
}

/// Storage maps want BTF types of key and value: the smallest BTF that has them.
fn storage(kind: MapKind) -> Support {
    let btf = match super::KernelBtf::load(&int_btf()) {
        Ok(btf) => btf,
        Err(error) => return support(Err(error)),
    };
    let flags = MapFlags::NO_PREALLOC;
    let def = MapDef { flags, btf_key: 1, btf_value: 1, ..MapDef::new("probe", kind, 4, 4, 0) };
    support(KernelMap::create(&def, CreateOptions { btf: Some(&btf), inner: None }).map(drop))
}

/// BTF with one type, `int`.
fn int_btf() -> Vec<u8> {
    const SIGNED: u32 = 1 << 24;
    let strings = b"\0int\0";
    // Header: magic and version; then lengths; types before strings. One INT of 4 bytes and 32 bits.
    let words = [0x0001_eb9f, 24, 0, 16, 16, strings.len() as u32, 1, 1 << 24, 4, SIGNED | 32];
    let mut bytes: Vec<u8> = words.into_iter().flat_map(u32::to_ne_bytes).collect();
    bytes.extend_from_slice(strings);
    bytes
}

fn support(result: Result<(), super::OsError>) -> Support {
    match result.map_err(|error| error.hint) {
        Ok(()) => Support::Yes,
        Err(Hint::MissingCapabilities(missing)) => Support::NotPermitted(missing),
        Err(Hint::ForbiddenByKernel) => Support::NotPermitted(Capabilities::empty()),
        Err(_) => Support::No,
    }
}

/// Which helpers programs of a type may call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Helpers {
    /// These, by number.
    Allowed(Vec<u32>),
    /// This process may not find out: these capabilities are missing (none: the kernel forbids it).
    NotPermitted(Capabilities),
    /// The type is not there, or its programs cannot be loaded without a target.
    Unknown,
}

/// Asks the kernel for each helper whether programs of a type may call it. Takes some 5 ms.
#[must_use]
pub fn helpers(prog_type: ProgramType) -> Helpers {
    const END: u32 = 1024;
    let target = Target::of(prog_type);
    let mut allowed = Vec::new();
    let mut log = vec![0; 1 << 12];
    for number in 1..END {
        log[0] = 0;
        let slots = [Slot::new(0x85, 0, 0, 0, number.cast_signed()), Slot::new(0x95, 0, 0, 0, 0)];
        let result = load_for(prog_type, target, &slots, &mut log);
        if result == Err(Errno::EPERM) && log[0] == 0 {
            return Helpers::NotPermitted(caps::missing_for_program(prog_type));
        }
        let text = sys::text(&log);
        // Unless the verifier came to the call, the answer is about something else.
        if result.is_err() && !text.contains("(85) call") {
            return Helpers::Unknown;
        }
        // The kernel names helpers; one it does not know at all is past the end.
        if text.contains(&format!("unknown#{number}")) {
            break;
        }
        let refused = ["unknown func", "invalid func", "cannot use helper", "helper call is not allowed"];
        if !refused.iter().any(|reason| text.contains(reason)) {
            allowed.push(number);
        }
    }
    Helpers::Allowed(allowed)
}

/// What a probe of a program type is loaded with.
#[derive(Clone, Copy, Debug, Default)]
struct Target {
    attach_type: u32,
    attach_btf_id: u32,
    flags: u32,
}

impl Target {
    /// An attach type that the type takes, where it wants one; a tracepoint for tracing programs.
    fn of(prog_type: ProgramType) -> Self {
        const SLEEPABLE: u32 = 1 << 4;
        const ATTACH_TYPES: [(ProgramType, u32); 6] = [
            (ProgramType::CgroupSockAddr, 8),
            (ProgramType::CgroupSockopt, 21),
            (ProgramType::Tracing, 23),
            (ProgramType::Lsm, 27),
            (ProgramType::SkLookup, 36),
            (ProgramType::Netfilter, 45),
        ];
        let attach_type = ATTACH_TYPES.iter().find(|(kind, _)| *kind == prog_type).map_or(0, |it| it.1);
        let tracepoint = (prog_type == ProgramType::Tracing)
            .then(|| KernelSymbols::default().typedef("btf_trace_sched_switch"))
            .flatten();
        let flags = if prog_type == ProgramType::Syscall { SLEEPABLE } else { 0 };
        Self { attach_type, attach_btf_id: tracepoint.unwrap_or(0), flags }
    }
}

fn load(prog_type: ProgramType, slots: &[Slot], log: &mut [u8]) -> Result<(), Errno> {
    load_for(prog_type, Target::of(prog_type), slots, log)
}

fn load_for(prog_type: ProgramType, target: Target, slots: &[Slot], log: &mut [u8]) -> Result<(), Errno> {
    let args = LoadArgs {
        prog_type: prog_type.id(),
        attach_type: target.attach_type,
        flags: target.flags,
        name: "probe",
        license: c"GPL",
        slots,
        btf: None,
        func_info: &[],
        line_info: &[],
        attach_btf_id: target.attach_btf_id,
        ifindex: 0,
    };
    sys::prog_load(&args, log, 1).map(drop)
}

fn setting(name: &str) -> Option<u32> {
    std::fs::read_to_string(format!("/proc/sys/{name}")).ok()?.trim().parse().ok()
}

fn mitigations() -> Vec<(String, String)> {
    let directory = Path::new("/sys/devices/system/cpu/vulnerabilities");
    ["spectre_v1", "spectre_v2", "spec_store_bypass"]
        .into_iter()
        .filter_map(|name| {
            let text = std::fs::read_to_string(directory.join(name)).ok()?;
            Some((name.to_owned(), text.trim().to_owned()))
        })
        .collect()
}
