//! Random programs by families: generators that know what registers hold, so that most programs are accepted.
//!
//! Shared by the plain tests (seconds) and the fuzz targets (hours). A program is a function of its family and seed
//! alone. Programs of all families but `mixed` are small and end in an access whose verdict hangs on what comes before;
//! all hash what they computed into r0: what any engine computes differently shows.
//!
//! Some programs are made with a flaw (a bound off by a little, a check left out), so that verdicts can be compared.

mod code;
mod families;
mod mixed;
mod rng;
mod scalars;

use std::sync::{Arc, OnceLock};

use beelift::btf::{Btf, BtfBuilder, IntEncoding, KernelTypes};
use beelift::engine::Input;
use beelift::isa::encode::{Verbatim, encode};
use beelift::isa::{Callee, Const64, Insn, InsnId};
use beelift::link::Kfunc;
use beelift::runtime::map::{MapFlags, SpecialField, SpecialKind};
use beelift::runtime::{MapDef, MapKind};
use beelift::{Program, ProgramType};

pub(crate) use rng::Rng;

/// Bytes of the packet every program may touch after its own bounds check.
const PACKET: u32 = 48;
/// Inputs a program runs over, one after the other on the same maps.
const INPUTS: u32 = 4;
/// Bytes of a map value.
const VALUE: u32 = 64;
/// Bytes of a context that is nothing but bytes.
const CONTEXT: u32 = 48;

/// Kernel functions that programs call.
const KFUNCS: [&str; 16] = [
    "bpf_iter_num_new",
    "bpf_iter_num_next",
    "bpf_iter_num_destroy",
    "bpf_dynptr_from_skb",
    "bpf_dynptr_from_xdp",
    "bpf_dynptr_slice",
    "bpf_dynptr_slice_rdwr",
    "bpf_dynptr_adjust",
    "bpf_dynptr_size",
    "bpf_dynptr_clone",
    "bpf_rcu_read_lock",
    "bpf_rcu_read_unlock",
    "bpf_preempt_disable",
    "bpf_preempt_enable",
    "bpf_local_irq_save",
    "bpf_local_irq_restore",
];

/// What a program is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Family {
    /// Arithmetic whose result the verifier must know, all of it or some bits.
    Alu,
    /// Numbers bounded in many ways, then used as offsets.
    Bounds,
    /// Numbers and pointers on the stack: parts of slots, overwritten slots, offsets that vary.
    Stack,
    /// Packet bounds, metadata, helpers that move the packet.
    Packet,
    /// Elements of maps, sizes of memory for helpers, records of ring buffers, spin locks.
    Maps,
    /// Subprograms, loops, callbacks.
    Calls,
    /// Iterators, dynptrs, sections.
    Objects,
    /// All of it in long programs.
    Mixed,
}

impl Family {
    /// All of them.
    pub(crate) const ALL: [Self; 8] = [
        Self::Alu,
        Self::Bounds,
        Self::Stack,
        Self::Packet,
        Self::Maps,
        Self::Calls,
        Self::Objects,
        Self::Mixed,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Alu => "alu",
            Self::Bounds => "bounds",
            Self::Stack => "stack",
            Self::Packet => "packet",
            Self::Maps => "maps",
            Self::Calls => "calls",
            Self::Objects => "objects",
            Self::Mixed => "mixed",
        }
    }
    pub(crate) fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.name() == name)
    }
}

/// A generated program with its maps and inputs.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) family: Family,
    pub(crate) seed: u64,
    pub(crate) prog_type: ProgramType,
    pub(crate) insns: Vec<Insn>,
    pub(crate) maps: Vec<MapDef>,
    pub(crate) inputs: Vec<Input>,
}

impl Case {
    /// The same program with other instructions.
    pub(crate) fn with(&self, insns: &[Insn]) -> Self {
        Self { insns: insns.to_vec(), ..self.clone() }
    }

    /// Whether the kernel wants types with it: for callbacks and spin locks.
    pub(crate) fn is_typed(&self) -> bool {
        let takes_address = |insn: &Insn| matches!(insn, Insn::Const { value: Const64::Function(_), .. });
        self.maps.iter().any(|map| map.btf_value != 0) || self.insns.iter().any(takes_address)
    }

    /// The linked program.
    pub(crate) fn program(&self) -> Program {
        let calls_kernel = |insn: &Insn| matches!(insn, Insn::Call(Callee::Kfunc { .. }));
        // Numbers of kernel functions mean nothing in bytes: something of the same length stands in for the calls.
        let stand_in = |insn: &Insn| if calls_kernel(insn) { Insn::Call(Callee::Helper(1)) } else { *insn };
        let insns: Vec<Insn> = self.insns.iter().map(stand_in).collect();
        let fail = |error: &dyn std::fmt::Debug| -> ! {
            panic!("{} {}: {error:?}\n{:?}", self.family.name(), self.seed, self.insns)
        };
        let slots = encode(&insns, &mut Verbatim).unwrap_or_else(|error| fail(&error)).slots;
        let program = Program::from_slots(self.prog_type, &slots, Arc::from(self.maps.clone()));
        let mut program = program.unwrap_or_else(|error| fail(&error));
        if self.insns.iter().any(calls_kernel) {
            program.kernel_types = Arc::clone(kernel_types());
            program.insns.clone_from(&self.insns);
            program.kfuncs = KFUNCS
                .iter()
                .map(|name| Kfunc { name: (*name).to_owned(), weak: false, btf_func: 0 })
                .collect();
        }
        if self.is_typed() {
            program.btf = Some(Arc::clone(types()));
            for (index, function) in program.subprograms.iter_mut().enumerate() {
                function.btf_func = if index == 0 { MAIN } else { FUNCTION };
            }
        }
        program
    }
}

/// Types of keys, values and functions, as [`types`] makes them.
const INT: u32 = 1;
const MAIN: u32 = 3;
const FUNCTION: u32 = 4;
const LOCKED: u32 = 6;

/// Types for the programs that need some.
pub(crate) fn types() -> &'static Arc<Btf> {
    static TYPES: OnceLock<Arc<Btf>> = OnceLock::new();
    TYPES.get_or_init(|| {
        let mut build = BtfBuilder::new();
        let int = build.int("int", 4, IntEncoding::Signed);
        let proto = build.func_proto(int, &[]);
        let main = build.func("main", proto);
        let function = build.func("function", proto);
        let lock = build.structure("bpf_spin_lock", 4, &[("val", int, 0, 0)]);
        let members = [("lock", lock, 0, 0), ("count", int, 32, 0)];
        let locked = build.structure("locked", VALUE, &members);
        assert_eq!([int.0, main.0, function.0, locked.0], [INT, MAIN, FUNCTION, LOCKED]);
        Arc::new(build.finish().expect("types that fit together"))
    })
}

/// Types of the running kernel: read once, for it takes longer than all else about a program.
fn kernel_types() -> &'static Arc<KernelTypes> {
    static TYPES: OnceLock<Arc<KernelTypes>> = OnceLock::new();
    TYPES.get_or_init(Arc::default)
}

/// The slots of maps that small programs use.
mod slot {
    /// An array of four.
    pub(super) const ARRAY: u32 = 0;
    /// A small hash.
    pub(super) const HASH: u32 = 1;
    /// An array of one, whose value has an address of its own.
    pub(super) const GLOBAL: u32 = 2;
    /// A ring buffer.
    pub(super) const RING: u32 = 3;
    /// An array of one that begins with a lock (with types).
    pub(super) const LOCKED: u32 = 4;
}

/// The maps of a family: an array with one element per index 0 to 3, a small hash, and so on.
fn maps(family: Family, locked: bool) -> Vec<MapDef> {
    let array = MapDef::new("array", MapKind::Array, 4, VALUE, 4);
    let hash = MapDef::new("hash", MapKind::Hash, 8, 16, 8);
    match family {
        Family::Mixed => vec![array, hash, MapDef::new("jumps", MapKind::ProgArray, 4, 4, 4)],
        Family::Alu
        | Family::Bounds
        | Family::Stack
        | Family::Packet
        | Family::Maps
        | Family::Calls
        | Family::Objects => {
            let global = MapDef::new("global", MapKind::Array, 4, VALUE, 1);
            let ring =
                MapDef { flags: MapFlags::empty(), ..MapDef::new("ring", MapKind::Ringbuf, 0, 0, 4096) };
            let mut maps = vec![array, hash, global, ring];
            if locked {
                let lock =
                    SpecialField { kind: SpecialKind::SpinLock, offset: 0, size: 4, btf_type: 0, node: 0 };
                let def = MapDef::new("locked", MapKind::Array, 4, VALUE, 1);
                maps.push(MapDef { btf_key: INT, btf_value: LOCKED, fields: vec![lock], ..def });
            }
            maps
        }
    }
}

/// Makes the `mixed` program of a seed.
#[allow(dead_code, reason = "not all that includes this module asks for it")]
pub(crate) fn generate(seed: u64) -> Case {
    generate_of(Family::Mixed, seed)
}

/// Makes the program of a family and a seed.
pub(crate) fn generate_of(family: Family, seed: u64) -> Case {
    make(family, seed, Rng::new(seed))
}

/// Makes the program that bytes choose.
#[allow(dead_code, reason = "as above")]
pub(crate) fn generate_from(bytes: &[u8]) -> Case {
    let mut rng = Rng::from_bytes(bytes);
    let family = rng.pick(&Family::ALL);
    make(family, 0, rng)
}

fn make(family: Family, seed: u64, rng: Rng) -> Case {
    match family {
        Family::Mixed => mixed::case(seed, rng),
        Family::Alu => families::case(family, seed, rng, families::alu::program),
        Family::Bounds => families::case(family, seed, rng, families::bounds::program),
        Family::Stack => families::case(family, seed, rng, families::stack::program),
        Family::Packet => families::case(family, seed, rng, families::packet::program),
        Family::Maps => families::case(family, seed, rng, families::maps::program),
        Family::Calls => families::case(family, seed, rng, families::calls::program),
        Family::Objects => families::case(family, seed, rng, families::objects::program),
    }
}

/// An input for a program of a type.
pub(crate) fn input(prog_type: ProgramType, rng: &mut Rng) -> Input {
    if matches!(prog_type, ProgramType::RawTracepoint | ProgramType::Syscall) {
        let context = (0..CONTEXT / 8).flat_map(|_| rng.interesting().to_le_bytes()).collect();
        return Input { context, ..Input::default() };
    }
    let length = PACKET + rng.below(64);
    Input { packet: (0..length).map(|_| rng.bits() as u8).collect(), ..Input::default() }
}

/// Takes out what a finding does not need: as long as `still` says that it is still there, instructions become
/// jumps to the next one, which are removed at the end.
#[allow(dead_code, reason = "as above")]
pub(crate) fn shrink(insns: &[Insn], still: &dyn Fn(&[Insn]) -> bool) -> Vec<Insn> {
    let mut small = insns.to_vec();
    let mut span = small.len() / 2;
    while span > 0 {
        let mut start = 0;
        while start + 1 < small.len() {
            let end = (start + span).min(small.len() - 1);
            let mut shorter = small.clone();
            for (at, insn) in shorter.iter_mut().enumerate().take(end).skip(start) {
                *insn = next_of(at);
            }
            if shorter != small && still(&shorter) {
                small = shorter;
            }
            start = end;
        }
        span /= 2;
    }
    without_steps(&small)
}

/// Leaves out jumps to the next instruction.
fn without_steps(insns: &[Insn]) -> Vec<Insn> {
    let is_step = |(at, insn): (usize, &Insn)| *insn == next_of(at);
    let kept_before = |target: InsnId| {
        let before = insns.iter().enumerate().take(target.index()).filter(|&(at, insn)| !is_step((at, insn)));
        InsnId(u32::try_from(before.count()).expect("a short program"))
    };
    let moved = |mut insn: Insn| {
        match &mut insn {
            Insn::Jump { to }
            | Insn::Branch { to, .. }
            | Insn::MayGoto { to }
            | Insn::Call(Callee::Subprogram(to))
            | Insn::Const { value: Const64::Function(to), .. } => *to = kept_before(*to),
            _ => {}
        }
        insn
    };
    insns
        .iter()
        .enumerate()
        .filter(|&(at, insn)| !is_step((at, insn)))
        .map(|(_, insn)| moved(*insn))
        .collect()
}

fn next_of(at: usize) -> Insn {
    Insn::Jump { to: InsnId(u32::try_from(at + 1).expect("a short program")) }
}
