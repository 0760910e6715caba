//! What the verifier looks up: maps (inner ones too), the program type's rules, helpers, function prototypes.
//!
//! In: the program. Out: answers for `check`. The rows themselves belong to the runtime crate.
#![forbid(unsafe_code)]

use std::sync::OnceLock;

use beelift_runtime::ctx::{ContextLayout, HostType, ProgramType, ReturnRange};
use beelift_runtime::helper::{self, Helper, Proto};
use beelift_runtime::map::SpecialKind;
use beelift_runtime::{MapDef, MapKind};

use super::kfuncs;
use super::prototype::{Problem, Prototype};
use super::state::MapRef;
use super::tracing::Hook;
use super::types::Types;
use crate::isa::{Callee, Const64, Insn, InsnId, KfuncSlot, MapSlot};
use crate::link::{Kfunc, Program};

/// `BPF_F_SLEEPABLE` of `prog_flags`.
const SLEEPABLE: u32 = 1 << 4;

/// Look-ups for one program.
pub(crate) struct Tables<'a> {
    program_type: ProgramType,
    kfuncs: &'a [Kfunc],
    maps: Vec<&'a MapDef>,
    slots: usize,
    inner: Vec<Option<MapRef>>,
    /// The arena that the program names.
    pub(crate) arena: Option<MapSlot>,
    /// The program itself: what its host adds.
    program: &'a Program,
    /// Types of objects.
    pub(crate) types: Types<'a>,
    /// What the program attaches to, where that decides what its context is; what is missing, else.
    pub(crate) hook: Option<Result<Hook, String>>,
    /// Only the lower half of the result counts.
    pub(crate) narrow_result: bool,
    /// Context of the program.
    pub(crate) layout: ContextLayout,
    /// What r0 may be at the end.
    pub(crate) returns: ReturnRange,
    /// Whether the program may sleep.
    pub(crate) sleepable: bool,
    /// Prototypes by subprogram, read when first asked for: that takes a look at all types of the object.
    prototypes: Vec<OnceLock<Result<Prototype, Problem>>>,
    /// Subprograms that may move the packet, on any path.
    pub(crate) changes_packet: Vec<bool>,
    /// Subprograms that may sleep, on any path.
    pub(crate) sleeps: Vec<bool>,
}

/// Where the program names an arena.
pub(crate) fn arenas(program: &Program) -> impl Iterator<Item = (InsnId, MapSlot)> + '_ {
    let named = |insn: &Insn| match *insn {
        Insn::Const { value, .. } => match value {
            Const64::Map(slot)
            | Const64::MapIndex(slot)
            | Const64::MapValue(slot, _)
            | Const64::MapIndexValue(slot, _) => Some(slot),
            Const64::Imm(_) | Const64::Ksym(_) | Const64::Function(_) => None,
        },
        _ => None,
    };
    let is_arena = |slot: MapSlot| {
        let def = program.maps.get(slot.0 as usize); // u32 to usize
        def.is_some_and(|def| def.kind == MapKind::Arena)
    };
    let slots = (0..).map(InsnId).zip(&program.insns).filter_map(move |(at, insn)| Some((at, named(insn)?)));
    slots.filter(move |&(_, slot)| is_arena(slot))
}

impl<'a> Tables<'a> {
    pub(crate) fn new(program: &'a Program) -> Self {
        let mut maps: Vec<&MapDef> = program.maps.iter().collect();
        let slots = maps.len();
        let mut inner = vec![None; slots];
        for index in 0..slots {
            if let Some(def) = &maps[index].inner {
                inner[index] = Some(MapRef(maps.len() as u32)); // maps are far fewer than 2^32
                maps.push(def);
                inner.push(None);
            }
        }
        let program_type = program.prog_type;
        let types = Types::new(&program.kernel_types, program.btf.as_deref());
        let hook = Hook::of(program, &types);
        let (returns, narrow_result) = match &hook {
            Some(Ok(hook)) => (hook.returns, hook.narrow),
            Some(Err(_)) | None => (program.return_range(), false),
        };
        Self {
            program_type,
            kfuncs: &program.kfuncs,
            maps,
            slots,
            inner,
            arena: arenas(program).next().map(|(_, slot)| slot),
            hook,
            types,
            layout: program.layout(),
            program,
            returns,
            narrow_result,
            sleepable: program.prog_flags & SLEEPABLE != 0 || program_type == ProgramType::Syscall,
            prototypes: vec![OnceLock::new(); program.subprograms.len()],
            changes_packet: vec![false; program.subprograms.len()],
            sleeps: vec![false; program.subprograms.len()],
        }
    }

    /// Prototype of a global function; what is wrong with it, else.
    pub(crate) fn prototype(&self, sub: usize) -> &Result<Prototype, Problem> {
        self.prototypes[sub].get_or_init(|| Prototype::of(self.program, &self.types, sub))
    }
    /// Whether a kfunc steps an open-coded iterator.
    pub(crate) fn is_iterator_next(&self, kfunc: KfuncSlot) -> bool {
        self.kfuncs
            .get(kfunc.0 as usize)
            .is_some_and(|kfunc| kfunc.name.starts_with("bpf_iter_") && kfunc.name.ends_with("_next"))
    }
    /// Definition of a map.
    pub(crate) fn map(&self, map: MapRef) -> &'a MapDef {
        self.maps[map.0 as usize]
    }
    /// Slot of a map of the program; inner maps have none.
    pub(crate) fn slot_of(&self, map: MapRef) -> Option<MapSlot> {
        ((map.0 as usize) < self.slots).then_some(MapSlot(map.0))
    }
    /// The inner map of a map of maps.
    pub(crate) fn inner(&self, map: MapRef) -> Option<MapRef> {
        self.inner[map.0 as usize]
    }
    /// Whether the elements of a map are sockets: a program gives one where other maps take bytes.
    pub(crate) fn holds_sockets(&self, map: MapRef) -> bool {
        matches!(self.map(map).kind, MapKind::Sockmap | MapKind::Sockhash)
    }
    /// Whether the program may put sockets into such a map (or take them out): the helper is `update`, else
    /// `delete`. Not where a socket may be locked.
    pub(crate) fn may_change_sockets(&self, update: bool) -> bool {
        use ProgramType as P;
        let unlocked = matches!(
            self.program_type,
            P::SocketFilter
                | P::SchedCls
                | P::SchedAct
                | P::Xdp
                | P::SkReuseport
                | P::FlowDissector
                | P::SkLookup
        );
        unlocked || (self.program_type == P::SockOps && !update)
    }
    /// Type of the program.
    pub(crate) fn program_type(&self) -> ProgramType {
        self.program_type
    }

    /// Whether programs of this type may use a map.
    ///
    /// # Errors
    /// What of the map is not for it.
    pub(crate) fn map_fits_program(&self, map: MapRef) -> Result<(), &'static str> {
        use ProgramType as P;
        let traces = matches!(
            self.program_type,
            P::Kprobe | P::Tracepoint | P::PerfEvent | P::RawTracepoint | P::RawTracepointWritable
        );
        for field in &self.map(map).fields {
            match field.kind {
                // Collections have a lock beside them.
                SpecialKind::SpinLock
                | SpecialKind::ResSpinLock
                | SpecialKind::ListHead
                | SpecialKind::RbRoot
                    if traces || self.program_type == P::SocketFilter =>
                {
                    return Err("a spin lock");
                }
                SpecialKind::Timer | SpecialKind::Workqueue if traces => return Err("a timer"),
                _ => {}
            }
        }
        Ok(())
    }

    /// The program type, where the embedder declared it.
    fn host_type(&self) -> Option<HostType> {
        self.program.host.host_type.filter(|_| self.program_type == ProgramType::Host)
    }

    /// Whether loads from the packet are for this program type.
    pub(crate) fn may_read_packet(&self) -> bool {
        use ProgramType as P;
        self.may_write_packet()
            || self.host_type().is_some()
            || matches!(
                self.program_type,
                P::LwtIn | P::LwtOut | P::LwtSeg6local | P::SkReuseport | P::FlowDissector | P::CgroupSkb
            )
    }
    /// Whether stores to the packet are for this program type.
    pub(crate) fn may_write_packet(&self) -> bool {
        use ProgramType as P;
        if let Some(host_type) = self.host_type() {
            return host_type.writes_bytes();
        }
        matches!(
            self.program_type,
            P::SchedCls | P::SchedAct | P::Xdp | P::LwtXmit | P::SkSkb | P::SkMsg | P::CgroupSockopt
        )
    }
    /// Whether the deprecated packet loads are for this program type.
    pub(crate) fn has_legacy_packet(&self) -> bool {
        matches!(self.program_type, ProgramType::SocketFilter | ProgramType::SchedCls | ProgramType::SchedAct)
    }

    /// A helper, known to anyone.
    pub(crate) fn helper(&self, id: u32) -> Option<&'a Helper> {
        self.program.helper(id)
    }
    /// Whether a helper is for this program type.
    pub(crate) fn is_allowed(&self, number: u32, attach_type: u32) -> bool {
        self.helper(number).is_some_and(|helper| helper.allowed(self.program_type, attach_type))
    }
    /// Prototype of a helper for this program type.
    pub(crate) fn proto(&self, helper: &Helper) -> Proto {
        helper.proto_for(self.program_type)
    }
    /// Registers that a call takes, as far as it is known without the program's own functions.
    pub(crate) fn argument_count(&self, callee: Callee) -> u8 {
        match callee {
            Callee::Helper(id) => self.helper(id).map_or(5, |helper| {
                let args = &self.proto(helper).args;
                let last = args.iter().rposition(|arg| *arg != helper::ArgKind::None);
                last.map_or(0, |last| last as u8 + 1) // at most 5
            }),
            Callee::Subprogram(_) | Callee::Kfunc { .. } | Callee::Register(_) => 5,
        }
    }
    /// Whether an instruction may move the packet by itself.
    pub(crate) fn moves_packet(&self, insn: &Insn) -> bool {
        match insn {
            Insn::Call(Callee::Helper(id)) => self
                .helper(*id)
                .is_some_and(|helper| helper.proto.flags.contains(helper::HelperFlags::CHANGES_PACKET)),
            _ => false,
        }
    }
    /// Whether an instruction may sleep by itself.
    pub(crate) fn instruction_sleeps(&self, insn: &Insn) -> bool {
        match insn {
            Insn::Call(Callee::Helper(id)) => self
                .helper(*id)
                .is_some_and(|helper| helper.proto.flags.contains(helper::HelperFlags::SLEEPS)),
            Insn::Call(Callee::Kfunc { kfunc, .. }) => {
                self.kfunc(*kfunc).is_some_and(|prototype| prototype.traits.contains(kfuncs::Traits::SLEEPS))
            }
            _ => false,
        }
    }
    /// A kernel function that the program calls.
    pub(crate) fn kfunc(&self, kfunc: KfuncSlot) -> Option<&'static kfuncs::Prototype> {
        self.kfuncs.get(kfunc.0 as usize).and_then(|kfunc| kfuncs::by_name(&kfunc.name))
    }
}
