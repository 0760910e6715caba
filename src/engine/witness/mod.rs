//! A witness of a rejection: an input with which the checked interpreter does what the verifier would not let through.
//!
//! In: a rejected program. Out: an input found by search, run once more from the start and stopped at the same
//! instruction; or nothing. Nothing is claimed that was not seen: without a witness a program may be safe and
//! only not provable.
#![forbid(unsafe_code)]

mod candidate;
mod search;
mod session;

use std::sync::Arc;
use std::time::Duration;

use beelift_runtime::TrapKind;
use beelift_runtime::environment::FixedEnvironment;
use beelift_runtime::helper::HelperFlags;
use beelift_runtime::mem::{Place, RegionKind};

use super::{Choice, Engine, Error, Fill, Input};
use crate::elf::Object;
use crate::isa::{Callee, Insn};
use crate::link::{Program, Trap};
use crate::verify::{Reason, Rejected};

/// An input that shows a rejection, and what happens with it.
#[derive(Clone, Debug)]
pub struct Witness {
    /// Packet and context.
    pub input: Input,
    /// Elements that maps must hold.
    pub fills: Vec<Fill>,
    /// Clock and random number, where the program asks for one of them.
    pub world: Option<FixedEnvironment>,
    /// Where and how the interpreter stopped.
    pub trap: Trap,
    /// Runs that it took.
    pub runs: u32,
}

/// What a search may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    /// Runs of the program.
    pub runs: u32,
    /// Backward jumps and calls of one run, in all but endless loops.
    pub fuel: u64,
    /// Time on a CPU, for programs whose runs are long.
    pub time: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Self { runs: 20_000, fuel: 1 << 12, time: Duration::from_secs(5) }
    }
}

/// Backward jumps after which a loop counts as endless: the kernel walks fewer instructions than that.
const ENDLESS: u64 = 1 << 20;

/// Looks for a witness. The same program gives the same witness.
#[must_use]
pub fn find(
    program: &Program,
    object: Option<&Object>,
    rejected: &Rejected,
    budget: Budget,
) -> Option<Witness> {
    let expected = Expected::of(&rejected.reason)?;
    let (candidate, runs) = search::search(program, object, rejected, expected, budget)?;
    let world = FixedEnvironment {
        clock_ns: candidate.clock,
        random: candidate.random,
        ..FixedEnvironment::default()
    };
    let mut witness = Witness {
        input: candidate.input(),
        fills: candidate.fills(program),
        world: asks_the_world(program).then_some(world),
        trap: Trap::new(program, TrapKind::Access, rejected.insn_id, &[]),
        runs,
    };
    let trap = witness.replay(program, object).ok()??;
    expected.shown_by(&trap, rejected).then(|| {
        witness.trap = Trap { place: trap.place.map(|place| certain(place, &rejected.reason)), ..trap };
        witness
    })
}

/// An address far outside of what it was computed from lies near other memory by accident only: next time it does not.
fn certain(place: Box<Place>, reason: &Reason) -> Box<Place> {
    let kind = match reason {
        Reason::OutsidePacket { .. } => RegionKind::Packet,
        Reason::OutsideStack { .. } => RegionKind::Stack,
        Reason::OutOfBounds { .. } | Reason::NegativeOffset { .. } | Reason::UnboundedOffset { .. } => {
            RegionKind::Map
        }
        _ => return place,
    };
    let expected = match &*place {
        Place::Null(_) | Place::Nowhere => true,
        Place::Region { kind: found, .. } => *found == kind,
        Place::Map { .. } => kind == RegionKind::Map,
    };
    if expected { place } else { Box::new(Place::Nowhere) }
}

impl Witness {
    /// Runs the program without a proof on this input, from the start: the trap, if it is one.
    ///
    /// # Errors
    /// The program cannot be interpreted, or the input is none.
    pub fn replay(&self, program: &Program, object: Option<&Object>) -> Result<Option<Trap>, Error> {
        let environment = self.world.clone().unwrap_or_default();
        let engine = Engine::builder()
            .backend(Choice::Interpreter)
            .unverified(true)
            .environment(Arc::new(environment))
            .deterministic(true)
            .fuel(ENDLESS)
            .build()?;
        let collection = engine.load_with(program.clone(), object, &[])?;
        collection.fill(&self.fills)?;
        Ok(collection.programs()[0].run_input(&self.input)?.value.err())
    }
}

/// How a broken rule shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Expected {
    /// A trap of this kind at the rejected instruction.
    Here(TrapKind),
    /// An access or argument that is refused at the rejected instruction.
    Memory,
    /// A trap of this kind anywhere.
    Anywhere(TrapKind),
}

impl Expected {
    /// How a rejection for that reason can be shown; `None` for rules of which a run knows nothing.
    fn of(reason: &Reason) -> Option<Self> {
        Some(match reason {
            Reason::NullableAccess { .. }
            | Reason::NumberAccess { .. }
            | Reason::InvalidAccess { .. }
            | Reason::OutOfBounds { .. }
            | Reason::NegativeOffset { .. }
            | Reason::UnboundedOffset { .. }
            | Reason::OutsidePacket { .. }
            | Reason::OutsideStack { .. }
            | Reason::ReadOnlyMap { .. }
            | Reason::WriteOnlyMap { .. }
            | Reason::ContextAccess { .. }
            | Reason::SocketAccess { .. }
            | Reason::AtomicTarget { .. }
            | Reason::ModifiedPointer { .. }
            | Reason::LegacyPacketContext
            | Reason::ArgumentType { .. }
            | Reason::SizeNegative { .. }
            | Reason::SizeZero { .. }
            | Reason::SizeUnbounded { .. }
            | Reason::NotAConstantString { .. }
            | Reason::NotAcquired { .. } => Self::Memory,
            Reason::UninitialisedRegister { .. } => Self::Here(TrapKind::Uninitialised),
            Reason::Misaligned { .. } => Self::Here(TrapKind::Misaligned),
            Reason::ReturnOutOfRange { .. } | Reason::ReturnsPointer => Self::Here(TrapKind::ReturnValue),
            Reason::CallTarget { .. } => Self::Here(TrapKind::HelperMissing),
            Reason::Unreleased { .. } => Self::Here(TrapKind::Unreleased),
            Reason::InfiniteLoop => Self::Anywhere(TrapKind::Fuel),
            Reason::TooManyFrames { .. } | Reason::Recursion => Self::Anywhere(TrapKind::CallDepth),
            Reason::FallOff => Self::Anywhere(TrapKind::InvalidInsn),
            _ => return None,
        })
    }

    /// Whether a trap shows it.
    fn shown_by(self, trap: &Trap, rejected: &Rejected) -> bool {
        let here = trap.at == rejected.at;
        match self {
            Self::Here(kind) => here && trap.kind == kind,
            Self::Memory => here && matches!(trap.kind, TrapKind::Access | TrapKind::Argument),
            Self::Anywhere(kind) => trap.kind == kind,
        }
    }
}

/// Whether results depend on clock or random numbers.
fn asks_the_world(program: &Program) -> bool {
    let depends =
        |id: u32| program.helper(id).is_some_and(|helper| helper.proto.flags.contains(HelperFlags::MACHINE));
    program.insns.iter().any(|insn| matches!(insn, Insn::Call(Callee::Helper(id)) if depends(*id)))
}
