//! Where programs run: engines and maps that serve one program after the other.
//!
//! In: verified programs and inputs. Out: what each engine leaves behind. Making maps and engines takes longer than a
//! small program: those of a kind share them, and what a program uses is put back before it runs.

use std::sync::Arc;

#[cfg(feature = "jit")]
use beelift::Loaded;
#[cfg(feature = "jit")]
use beelift::engine::Collection;
use beelift::engine::{Element, Input};
use beelift::interp::InterpProgram;
use beelift::isa::{Const64, Insn};
use beelift::runtime::abi::{ExecContext, Host};
use beelift::runtime::helper::{Effects, by_id};
use beelift::runtime::map::MapHandle as RuntimeHandle;
use beelift::runtime::mem::Regions;
use beelift::runtime::{MapDef, MapKind};
use beelift::verify::{self, Options, Policy, Verified};
use beelift::{
    Choice, Context, Engine, FixedEnvironment, MapHandle, Packet, Program, ProgramType, RawContext,
    SkbContext, XdpContext,
};

use super::watch::Watch;
use crate::generator::{Case, Rng};

/// What a run leaves behind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Left {
    /// r0, of which the kernel shows the lower half, or why there is none.
    pub(super) value: Result<u64, String>,
    packet: Vec<u8>,
    context: Vec<u8>,
}

impl Left {
    /// As the kernel shows it.
    fn half(self) -> Self {
        Self { value: self.value.map(|value| value & 0xffff_ffff), ..self }
    }
}

/// Key and value, or a record of a ring buffer.
type Stored = (Vec<u8>, Vec<u8>);

/// What all runs of a program leave behind, on its maps as well.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Outcome {
    pub(super) left: Vec<Left>,
    maps: Vec<(u32, Vec<Stored>)>,
}

impl Outcome {
    pub(super) fn half(self) -> Self {
        Self { left: self.left.into_iter().map(Left::half).collect(), ..self }
    }
    /// The first thing that another outcome has otherwise.
    pub(super) fn difference(&self, other: &Self) -> String {
        for (index, (one, two)) in self.left.iter().zip(&other.left).enumerate() {
            if one.value != two.value {
                return format!("input {index}: {:x?} and {:x?}", one.value, two.value);
            }
            if one != two {
                return format!("input {index}: {one:x?} and {two:x?}");
            }
        }
        format!("maps: {:x?} and {:x?}", self.maps, other.maps)
    }
    /// Why a run had no result.
    pub(super) fn trap(&self) -> Option<&str> {
        self.left.iter().find_map(|left| left.value.as_ref().err().map(String::as_str))
    }
}

/// Something that runs on a context.
trait Run {
    fn run<C: Context>(&mut self, context: &mut C) -> Result<u64, String>;
}

fn run_on(prog_type: ProgramType, input: &Input, run: &mut impl Run) -> Left {
    fn finish<C: Context>(mut context: C, run: &mut impl Run) -> Left {
        let value = run.run(&mut context);
        let packet = context.packet_mut().map(|packet| packet.bytes_with_meta().to_vec());
        let mut uapi = Vec::new();
        context.uapi(&mut uapi);
        Left { value, packet: packet.unwrap_or_default(), context: uapi }
    }
    let of_packet = || {
        let mut packet = Packet::new(input.packet.len() as u32).expect("memory for a packet"); // short
        packet.set(&input.packet).expect("room for it");
        packet
    };
    match prog_type {
        ProgramType::Xdp => finish(XdpContext::new(&mut of_packet()), run),
        ProgramType::SchedCls => finish(SkbContext::new(&mut of_packet(), prog_type), run),
        _ => finish(RawContext::new(prog_type, &input.context).expect("memory for a context"), run),
    }
}

/// Maps of one kind of programs, in user space and in the kernel.
struct Set {
    prog_type: ProgramType,
    defs: Vec<MapDef>,
    user: Vec<MapHandle>,
    handles: Arc<[Box<RuntimeHandle>]>,
    #[cfg(feature = "kernel")]
    kernel: Vec<beelift::kernel::KernelMap>,
}

/// Engines and maps.
pub(super) struct Bench {
    environment: Arc<FixedEnvironment>,
    interpreter: Engine,
    #[cfg(feature = "jit")]
    native: Engine,
    #[cfg(feature = "jit")]
    asserting: Engine,
    sets: Vec<Set>,
    #[cfg(feature = "kernel")]
    kernel: Option<super::oracle::Kernel>,
}

/// A program with its maps, ready for outcomes.
pub(super) struct Trial<'b> {
    bench: &'b Bench,
    set: &'b Set,
    case: &'b Case,
    /// Maps that the program names.
    used: Vec<u32>,
}

impl Bench {
    pub(super) fn new(kernel: bool) -> Self {
        let environment = Arc::new(FixedEnvironment::default());
        let engine = |choice, check| {
            Engine::builder()
                .backend(choice)
                .environment(Arc::clone(&environment) as Arc<_>)
                .deterministic(true)
                .check_facts(check)
                .build()
                .expect("an engine")
        };
        #[cfg(not(feature = "kernel"))]
        let _ = kernel;
        Self {
            interpreter: engine(Choice::Interpreter, false),
            #[cfg(feature = "jit")]
            native: engine(Choice::Jit, false),
            #[cfg(feature = "jit")]
            asserting: engine(Choice::Jit, true),
            environment,
            sets: Vec::new(),
            #[cfg(feature = "kernel")]
            kernel: kernel.then(super::oracle::Kernel::default),
        }
    }

    /// The program of a case with the maps of its kind.
    pub(super) fn trial<'b>(&'b mut self, case: &'b Case) -> Trial<'b> {
        let index = self.sets.iter().position(|set| set.prog_type == case.prog_type && set.defs == case.maps);
        let index = index.unwrap_or_else(|| {
            let set = self.set(case);
            self.sets.push(set);
            self.sets.len() - 1
        });
        let bench = &*self;
        Trial { bench, set: &bench.sets[index], case, used: used(case) }
    }

    fn set(&self, case: &Case) -> Set {
        let nothing = Program::from_slots(case.prog_type, &[SET_R0, EXIT], Arc::from(case.maps.clone()));
        let options = Options::with_policy(Policy::KERNEL);
        let verified = verify::verify(nothing.expect("a program"), &options).expect("a safe one");
        let collection = self.interpreter.load_verified(&verified).expect("maps of user space");
        let user = collection.maps().to_vec();
        let handle = |map: &MapHandle| Box::new(RuntimeHandle::new(Arc::clone(map.runtime().expect("ours"))));
        Set {
            prog_type: case.prog_type,
            defs: case.maps.clone(),
            handles: user.iter().map(handle).collect(),
            user,
            #[cfg(feature = "kernel")]
            kernel: self.kernel.as_ref().map_or_else(Vec::new, |kernel| kernel.maps(&case.maps)),
        }
    }
}

const SET_R0: beelift::isa::Slot = beelift::isa::Slot::new(0xb7, 0, 0, 0, 0);
const EXIT: beelift::isa::Slot = beelift::isa::Slot::new(0x95, 0, 0, 0, 0);

fn used(case: &Case) -> Vec<u32> {
    let named = case.insns.iter().filter_map(|insn| match insn {
        Insn::Const { value: Const64::Map(slot) | Const64::MapValue(slot, _), .. } => Some(slot.0),
        _ => None,
    });
    let mut used: Vec<u32> = named.collect();
    used.sort_unstable();
    used.dedup();
    used
}

/// The elements of an array before a program runs.
pub(super) fn elements(case: &Case, def: &MapDef, variant: u64) -> Vec<Vec<u8>> {
    let mut rng = Rng::new(case.seed ^ variant << 48 ^ 0x5eed);
    let plain = case.family == crate::generator::Family::Mixed && variant == 0;
    (0..def.max_entries)
        .map(|_| {
            let words = (0..def.value_size.div_ceil(8)).map(|_| if plain { 0 } else { rng.interesting() });
            let mut value: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
            value.truncate(def.value_size as usize);
            // A lock is free.
            def.fields.iter().for_each(|field| {
                value[field.offset as usize..(field.offset + field.size) as usize].fill(0);
            });
            value
        })
        .collect()
}

impl Trial<'_> {
    /// Puts back what programs before this one did to its maps.
    fn reset(&self, variant: u64) {
        for &slot in &self.used {
            let (map, def) = (&self.set.user[slot as usize], &self.set.defs[slot as usize]);
            match def.kind {
                MapKind::Array => {
                    for (index, value) in (0_u32..).zip(elements(self.case, def, variant)) {
                        let element = Element::Value(value);
                        map.update(&index.to_le_bytes(), &element, 0).expect("an element of an array");
                    }
                }
                MapKind::Hash => {
                    for key in map.keys().expect("keys") {
                        map.delete(&key).expect("a key");
                    }
                }
                MapKind::Ringbuf => drop(map.drain().expect("records")),
                _ => {}
            }
        }
    }

    fn contents(&self) -> Vec<(u32, Vec<Stored>)> {
        let stored = |slot: u32| {
            let map = &self.set.user[slot as usize];
            let contents = map.contents().expect("contents");
            let elements = contents.elements.into_iter().map(|(key, element)| match element {
                Element::Value(value) => (key, value),
                Element::PerCpu(_) => unreachable!("no per-CPU maps here"),
            });
            let records = contents.records.into_iter().map(|record| (Vec::new(), record));
            (slot, elements.chain(records).collect())
        };
        self.used.iter().copied().map(stored).collect()
    }

    fn outcome(&self, inputs: &[Input], variant: u64, run: &mut impl Run) -> Outcome {
        self.reset(variant);
        let left = inputs.iter().map(|input| run_on(self.case.prog_type, input, run)).collect();
        Outcome { left, maps: self.contents() }
    }

    /// On the interpreter, with every access and every fact checked; `rules` hold without a proof, too. Names the fact
    /// that does not hold, or what the interpreter lacks.
    pub(super) fn interpreted(
        &self,
        verified: &Verified,
        inputs: &[Input],
        variant: u64,
        rules: bool,
    ) -> Result<Outcome, String> {
        let program = Arc::new(verified.program().clone());
        let interp = InterpProgram::new(program, Arc::clone(&self.set.handles), &|id| by_id(id).copied());
        let interp = interp.map_err(|error| error.to_string())?;
        let mut run =
            Interpreted { interp: &interp, verified, rules, world: &self.bench.environment, broken: None };
        let outcome = self.outcome(inputs, variant, &mut run);
        match run.broken {
            Some(broken) => Err(format!("fact violated {broken}")),
            None => Ok(outcome),
        }
    }

    /// As native code.
    #[cfg(feature = "jit")]
    pub(super) fn native(
        &self,
        verified: &Verified,
        inputs: &[Input],
        variant: u64,
        asserting: bool,
    ) -> Result<Outcome, beelift::Error> {
        let engine = if asserting { &self.bench.asserting } else { &self.bench.native };
        let collection: Collection = engine.load_verified_with(verified, &self.set.user)?;
        Ok(self.outcome(inputs, variant, &mut Native(&collection.programs()[0])))
    }

    /// Whether the kernel takes the program, and if it does, in a form whose results can be compared.
    #[cfg(feature = "kernel")]
    pub(super) fn kernel(
        &self,
        program: &Program,
    ) -> Result<super::oracle::Judged, Box<beelift::kernel::OsError>> {
        let kernel = self.bench.kernel.as_ref().expect("asked only when it is there");
        kernel.judge(program, &self.set.kernel, &self.bench.environment)
    }

    /// In the kernel.
    #[cfg(feature = "kernel")]
    pub(super) fn in_kernel(&self, judged: &super::oracle::Judged) -> Outcome {
        for &slot in &self.used {
            let (map, def) = (&self.set.kernel[slot as usize], &self.set.defs[slot as usize]);
            super::oracle::reset(map, def, || elements(self.case, def, 0));
        }
        let prog_type = self.case.prog_type;
        let left = self.case.inputs.iter().map(|input| run_on(prog_type, input, &mut InKernel(judged)));
        let left = left.collect();
        let stored = |&slot: &u32| {
            let (map, def) = (&self.set.kernel[slot as usize], &self.set.defs[slot as usize]);
            (slot, super::oracle::contents(map, def))
        };
        Outcome { left, maps: self.used.iter().map(stored).collect() }
    }
}

struct Interpreted<'r> {
    interp: &'r InterpProgram,
    verified: &'r Verified,
    rules: bool,
    world: &'r FixedEnvironment,
    broken: Option<String>,
}

impl Run for Interpreted<'_> {
    fn run<C: Context>(&mut self, context: &mut C) -> Result<u64, String> {
        let mut watch = Watch::new(self.verified, self.rules);
        let effects = Effects::default();
        let entry = context.enter();
        let host = Host {
            environment: self.world,
            effects: &effects,
            fuel: u64::MAX,
            cpu: 0,
            program: 1,
            numa_node: 0,
        };
        let cx = ExecContext::new(host, context, entry.r1, self.interp.maps(), None);
        let mut regions = Regions::new(self.interp.maps());
        context.regions(&mut regions);
        let result = self.interp.run_observed(&cx, regions, entry, &mut watch);
        self.broken = self.broken.take().or(watch.broken);
        result.map_err(|trap| trap.to_string())
    }
}

#[cfg(feature = "jit")]
struct Native<'l>(&'l Loaded);

#[cfg(feature = "jit")]
impl Run for Native<'_> {
    fn run<C: Context>(&mut self, context: &mut C) -> Result<u64, String> {
        self.0.run(context).map_err(|error| error.to_string())
    }
}

#[cfg(feature = "kernel")]
struct InKernel<'j>(&'j super::oracle::Judged);

#[cfg(feature = "kernel")]
impl Run for InKernel<'_> {
    fn run<C: Context>(&mut self, context: &mut C) -> Result<u64, String> {
        self.0.run(context).map_err(|error| error.to_string())
    }
}
