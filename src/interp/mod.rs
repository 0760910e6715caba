//! The reference engine: runs any linked program, verified or not, with every access checked.
//!
//! In: a [`Program`], live maps, helpers; for each run an [`ExecContext`] and the [`Regions`] the program may
//! touch. Out: r0 or a [`Trap`]. Values are what native code works on: addresses are real addresses, and helpers
//! are the same functions, called only after each argument was checked against the helper's prototype.
//!
//! What it cannot run is refused by name in [`InterpProgram::new`]. Two things differ from native code on
//! purpose: without a verdict ([`InterpProgram::with_obligations`]) every backward jump and every call burns fuel (an
//! unverified program may loop anywhere), and registers that a call destroys hold a pattern, so that a program that reads them stands out.
#![forbid(unsafe_code)]

mod arena;
mod call;
mod callback;
mod memory;
mod monitor;
mod run;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use beelift_runtime::TrapKind;
use beelift_runtime::abi::ExecContext;
use beelift_runtime::ctx::{ContextLayout, Entry, ProgramType};
use beelift_runtime::heap::ObjectTypes;
use beelift_runtime::helper::{self, ArgKind, Helper, TailCall, release_lock};
use beelift_runtime::map::arena::ArenaMap;
use beelift_runtime::map::{Map, MapHandle, MapOfMaps, SpecialKind, ValuePtr};
use beelift_runtime::mem::{OutOfMemory, RegionKind, Regions, SharedBytes};

use crate::isa::effects;
use crate::isa::limits::function_at;
use crate::isa::{Callee, Const64, Insn, InsnId, MapSlot, Pc, Reg, Size};
use crate::link::{Program, Trap};
use crate::verify::facts::Obligations;
pub use monitor::Monitor;

/// `bpf_kptr_xchg`
const KPTR_XCHG: u32 = 194;

/// Frames of one call chain, as in the kernel.
pub const MAX_FRAMES: usize = 8;
/// Bytes of stack of a frame.
pub const FRAME_SIZE: u64 = 512;

/// Why a program cannot be interpreted.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InterpError {
    /// It uses something this engine does not have.
    #[error("pc {at}: not supported by the interpreter: {what}")]
    Unsupported {
        /// The instruction.
        at: Pc,
        /// What.
        what: String,
    },
    /// It names a map it was not given.
    #[error("pc {at}: map {} was not given", map.0)]
    MissingMap {
        /// The instruction.
        at: Pc,
        /// The map.
        map: MapSlot,
    },
    /// No memory for stacks.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
}

/// Whether a kernel function has to do with allocated objects.
fn takes_objects(kfunc: &&Helper) -> bool {
    kfunc.proto.args.iter().any(|arg| matches!(arg, ArgKind::Object(_)))
}

/// A program that can be interpreted. `Send + Sync`: a run takes `&self`.
pub struct InterpProgram {
    program: Arc<Program>,
    maps: Arc<[Box<MapHandle>]>,
    helpers: BTreeMap<u32, Helper>,
    /// By slot; `None` for `bpf_throw`, and for those that nothing calls.
    kfuncs: Vec<Option<&'static Helper>>,
    /// Types of objects that the program allocates.
    objects: ObjectTypes,
    /// Whether it has to do with allocated objects at all.
    sees_objects: bool,
    /// The arena that the program names.
    arena: Option<MapSlot>,
    layout: ContextLayout,
    /// What a verdict asks of runs.
    asked: Option<Arc<Obligations>>,
    /// Stacks of earlier runs, to be used again.
    stacks: Mutex<Vec<SharedBytes>>,
}

/// A run just before an instruction.
#[derive(Clone, Copy)]
pub struct Moment<'a> {
    /// The instruction.
    pub at: InsnId,
    /// r0 to r10.
    pub registers: &'a [u64; Reg::COUNT],
    /// Calls in progress: 0 in the program itself.
    pub depth: usize,
    regions: &'a Regions<'a>,
}

impl Moment<'_> {
    /// A register.
    #[must_use]
    pub fn get(&self, reg: Reg) -> u64 {
        self.registers[reg.index()]
    }
    /// What memory of the program an address is in.
    #[must_use]
    pub fn region(&self, address: u64) -> Option<RegionKind> {
        self.regions.kind_of(address)
    }
    /// Bytes that the program may read.
    #[must_use]
    pub fn read(&self, address: u64, len: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.regions.copy_out(address, &mut bytes).ok()?;
        Some(bytes)
    }
}

/// Looks at every instruction before it is executed.
pub trait Observer {
    /// The run is about to execute an instruction.
    ///
    /// # Errors
    /// The run stops here with that trap.
    fn before(&mut self, moment: &Moment<'_>) -> Result<(), TrapKind>;
}

/// Looks at nothing.
impl Observer for () {
    fn before(&mut self, _moment: &Moment<'_>) -> Result<(), TrapKind> {
        Ok(())
    }
}

impl InterpProgram {
    /// Prepares a program. `maps` are its maps by slot; `helpers` gives the helpers that its type may call.
    ///
    /// # Errors
    /// What this engine cannot run, by name.
    pub fn new(
        program: Arc<Program>,
        maps: Arc<[Box<MapHandle>]>,
        helpers: &dyn Fn(u32) -> Option<Helper>,
    ) -> Result<Self, InterpError> {
        let mut found = BTreeMap::new();
        let mut kfuncs = vec![None; program.kfuncs.len()];
        let (mut casts, mut arena) = (None, None);
        for (insn, &at) in program.insns.iter().zip(&program.pcs) {
            let unsupported = |what: &str| InterpError::Unsupported { at, what: what.to_owned() };
            match *insn {
                Insn::Call(Callee::Helper(id)) => {
                    let helper = helpers(id).ok_or_else(|| unsupported(&format!("helper {id}")))?;
                    if !callback::calls_back(id) {
                        call::supported(&helper).map_err(|what| unsupported(&what))?;
                    }
                    found.insert(id, helper);
                }
                Insn::Call(Callee::Kfunc { kfunc, .. }) => {
                    let index = kfunc.0 as usize; // u32 to usize
                    let name = &program.kfuncs[index].name;
                    if name != helper::THROW {
                        let number = helper::kfunc_by_name(name);
                        let kfunc = number.and_then(helper::kfunc);
                        let kfunc = kfunc.ok_or_else(|| unsupported(&format!("kernel function {name}")))?;
                        call::supported(kfunc).map_err(|what| unsupported(&what))?;
                        kfuncs[index] = Some(kfunc);
                    }
                }
                // A number in a register may name any helper.
                Insn::Call(Callee::Register(_)) => {
                    let known = (1..=HIGHEST_HELPER).filter_map(|id| Some((id, helpers(id)?)));
                    found.extend(known.filter(|(_, helper)| call::supported(helper).is_ok()));
                }
                Insn::Const { value: Const64::Ksym(_), .. } => return Err(unsupported("kernel symbols")),
                Insn::Const {
                    value:
                        Const64::Map(map)
                        | Const64::MapValue(map, _)
                        | Const64::MapIndex(map)
                        | Const64::MapIndexValue(map, _),
                    ..
                } => {
                    let handle = maps.get(map.0 as usize).ok_or(InterpError::MissingMap { at, map })?;
                    if handle.map.as_any().is::<ArenaMap>() && *arena.get_or_insert(map) != map {
                        return Err(unsupported("a second arena"));
                    }
                    let direct = matches!(
                        insn,
                        Insn::Const { value: Const64::MapValue(..) | Const64::MapIndexValue(..), .. }
                    );
                    if direct && handle.map.base().is_none() {
                        return Err(unsupported("direct values of this map type"));
                    }
                }
                Insn::AddrSpaceCast { .. } => casts = Some(at),
                Insn::LegacyPacket { .. } if !has_packet_loads(program.prog_type) => {
                    let what =
                        format!("packet access instructions in programs of type {}", program.prog_type);
                    return Err(unsupported(&what));
                }
                Insn::Atomic { .. }
                | Insn::LegacyPacket { .. }
                | Insn::Const { value: Const64::Imm(_) | Const64::Function(_), .. }
                | Insn::Call(Callee::Subprogram(_))
                | Insn::Alu { .. }
                | Insn::Load { .. }
                | Insn::Store { .. }
                | Insn::LoadAcquire { .. }
                | Insn::StoreRelease { .. }
                | Insn::MayGoto { .. }
                | Insn::Swap { .. }
                | Insn::Jump { .. }
                | Insn::Branch { .. }
                | Insn::Exit => {}
            }
        }
        if let (Some(at), None) = (casts, arena) {
            let what = "an arena that is not named".to_owned();
            return Err(InterpError::Unsupported { at, what });
        }
        let layout = program.layout();
        if let ContextLayout::Kernel = layout {
            let what = format!("contexts of type {}", program.prog_type);
            return Err(InterpError::Unsupported { at: Pc(0), what });
        }
        let stacks = Mutex::new(vec![new_stack()?]);
        let objects = program.object_types();
        let sees_objects = found.contains_key(&KPTR_XCHG) || kfuncs.iter().flatten().any(takes_objects);
        let asked = None;
        Ok(Self {
            program,
            maps,
            helpers: found,
            kfuncs,
            objects,
            sees_objects,
            arena,
            layout,
            asked,
            stacks,
        })
    }

    /// Runs do what a verdict on the program asks for, as native code does: only the jumps that it names burn fuel.
    #[must_use]
    pub fn with_obligations(self, asked: Arc<Obligations>) -> Self {
        Self { asked: Some(asked), ..self }
    }

    /// Runs the program on the memory in `regions`. `entry` comes from the context of the run, whose address
    /// `cx.context` holds, too.
    ///
    /// # Errors
    /// Why the run stopped, if it was not by `exit`.
    pub fn run(&self, cx: &ExecContext<'_>, regions: Regions<'_>, entry: Entry) -> Result<u64, Box<Trap>> {
        self.run_observed(cx, regions, entry, &mut ())
    }

    /// Likewise, with an observer.
    ///
    /// # Errors
    /// As [`InterpProgram::run`].
    pub fn run_observed(
        &self,
        cx: &ExecContext<'_>,
        regions: Regions<'_>,
        entry: Entry,
        observer: &mut dyn Observer,
    ) -> Result<u64, Box<Trap>> {
        let pooled = self.stacks.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let stack = match pooled {
            Some(stack) => stack,
            // A stack is a few pages; without them the process is about to end anyway.
            None => new_stack().expect("memory for the stack of a run"),
        };
        let mut regions = regions;
        regions.add_lent(cx.effects);
        if self.sees_objects {
            regions.add_objects();
        }
        let memory = memory::Memory::new(regions, &stack, self.layout, cx);
        let start = run::Start { at: InsnId(0), arguments: [entry.r1, entry.r2, 0, 0, 0] };
        let result = run::run(self, cx, memory, start, observer);
        // Whatever the program did: nobody waits for it.
        release_lock(cx);
        self.stacks.lock().unwrap_or_else(PoisonError::into_inner).push(stack);
        result
    }

    /// Runs a subprogram on a value of a map, as timers do: it is given the map, the key and the value at `value`. The
    /// function is what a register of the program holds.
    ///
    /// # Errors
    /// Why the run stopped, if it was not by `exit`. A function, map or value that is none is an invalid argument.
    pub fn run_callback(
        &self,
        cx: &ExecContext<'_>,
        function: u64,
        map: &Arc<dyn Map>,
        value: ValuePtr,
    ) -> Result<u64, Box<Trap>> {
        let refused = || Box::new(Trap::new(&self.program, TrapKind::Argument, InsnId(0), &[]));
        let at = function_at(function).filter(|&at| self.is_subprogram(at)).ok_or_else(refused)?;
        let handle = self.handle_of(map).ok_or_else(refused)?;
        let layout = map.state();
        let timer = layout.def().fields.iter().find(|field| field.kind == SpecialKind::Timer);
        let value = ValuePtr(value.0 - timer.map_or(0, |field| u64::from(field.offset)));
        let key = map.key_of(value).and_then(|key| callback::key_bytes(&**map, key)).ok_or_else(refused)?;
        let stack = new_stack().expect("memory for the stack of a run");
        let mut regions = Regions::new(&self.maps);
        regions.add_lent(cx.effects);
        if self.sees_objects {
            regions.add_objects();
        }
        let mut memory = memory::Memory::new(regions, &stack, self.layout, cx);
        let key = memory.push_key(&key).ok_or_else(refused)?;
        let start = run::Start { at, arguments: [handle, key, value.0, 0, 0] };
        let result = run::run(self, cx, memory, start, &mut ());
        release_lock(cx);
        result
    }

    /// The register of a map, inner maps included.
    fn handle_of(&self, map: &Arc<dyn Map>) -> Option<u64> {
        self.maps.iter().find_map(|handle| {
            if Arc::ptr_eq(&handle.map, map) {
                return Some(handle_address(handle));
            }
            let outer = handle.map.as_any().downcast_ref::<MapOfMaps>()?;
            outer.handles().find(|inner| Arc::ptr_eq(&inner.map, map)).map(handle_address)
        })
    }

    /// Runs the program, whose number is `id`, in place of one that makes a tail call; `None` if it does not run on that context.
    ///
    /// # Errors
    /// Why the run stopped. The caller's run stops there, too.
    pub fn run_tail_call(&self, call: &TailCall<'_>, id: u32) -> Option<Result<u64, Box<Trap>>> {
        let caller = call.caller();
        if !caller.ctx.accepts(self.program.prog_type, self.program.attach_type) {
            return None;
        }
        let mut cx = ExecContext::for_tail_call(caller, &self.maps, id);
        cx.objects = &self.objects;
        let mut regions = Regions::new(&self.maps);
        caller.ctx.regions(&mut regions);
        let result = self.run(&cx, regions, Entry { r1: caller.context.get(), r2: 0 });
        cx.give_back(caller);
        Some(result)
    }

    /// Types of objects that the program allocates: for [`ExecContext::objects`].
    #[must_use]
    pub fn objects(&self) -> &ObjectTypes {
        &self.objects
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// Maps by slot.
    #[must_use]
    pub fn maps(&self) -> &Arc<[Box<MapHandle>]> {
        &self.maps
    }

    /// Whether a subprogram begins at an instruction.
    fn is_subprogram(&self, entry: InsnId) -> bool {
        self.program.subprograms.iter().any(|sub| sub.entry == entry)
            || self.program.insns.iter().any(|insn| effects::subprogram(insn) == Some(entry))
    }

    fn arena(&self) -> Option<&ArenaMap> {
        self.maps[self.arena?.0 as usize].map.as_any().downcast_ref()
    }

    fn map_address(&self, map: MapSlot) -> u64 {
        handle_address(&self.maps[map.0 as usize])
    }
}

impl InterpProgram {
    /// The map of a map register, inner maps included.
    fn map_at(&self, address: u64) -> Option<Arc<dyn Map>> {
        self.maps.iter().find_map(|handle| {
            if handle_address(handle) == address {
                return Some(Arc::clone(&handle.map));
            }
            let inner = handle.map.as_any().downcast_ref::<MapOfMaps>()?;
            inner
                .handles()
                .find(|handle| handle_address(handle) == address)
                .map(|found| Arc::clone(&found.map))
        })
    }
}

/// The value of a map register.
pub(crate) fn handle_address(handle: &MapHandle) -> u64 {
    std::ptr::from_ref(handle).expose_provenance() as u64 // 64-bit targets only.
}

fn new_stack() -> Result<SharedBytes, OutOfMemory> {
    SharedBytes::new(MAX_FRAMES as u64 * memory::FRAME_STRIDE)
}

/// The last helper that the kernel numbers.
const HIGHEST_HELPER: u32 = 211;

const fn has_packet_loads(program_type: ProgramType) -> bool {
    matches!(program_type, ProgramType::SocketFilter | ProgramType::SchedCls | ProgramType::SchedAct)
}

const fn word(size: Size) -> beelift_runtime::mem::WordSize {
    use beelift_runtime::mem::WordSize;
    match size {
        Size::B => WordSize::B1,
        Size::H => WordSize::B2,
        Size::W => WordSize::B4,
        Size::DW => WordSize::B8,
    }
}
