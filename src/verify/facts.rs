//! What the verifier proved, column by column per instruction: all that lowering may rely on.
//!
//! Facts are proofs, not hints: lowering omits a check only by naming a fact. Made only by `verify`, after
//! acceptance, as a fixpoint over the final control-flow graph (ranges seen while exploring paths are not
//! invariants of pruned paths). An option makes the JIT assert every fact at run time.
#![forbid(unsafe_code)]

use super::liveness::Liveness;
use super::observe::{Observed, Outcome};
use super::policy::Options;
use super::ranking;
use super::structure::Structure;
use crate::isa::effects::{Flow, flow};
use crate::isa::{Callee, InsnId, MapSlot};
use crate::link::Program;
use beelift_runtime::ctx::ProgramType;

/// Memory that an access reaches, on every path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Region {
    /// The program's context: the access is at this constant UAPI offset.
    Context {
        /// Byte offset.
        offset: u32,
    },
    /// The stack of the current frame: offset from r10, when constant.
    Stack {
        /// Byte offset (negative), or `None` when it varies.
        offset: Option<i32>,
    },
    /// The stack of a calling frame.
    CallerStack,
    /// Packet or packet metadata.
    Packet,
    /// A value of the map, if it is the same one on every path.
    MapValue(Option<MapSlot>),
    /// Memory of the run-time (ring buffer records, dynptr slices, `memory` buffers).
    Memory,
    /// Anywhere in the window of the program's arena, or beside it: checked at run time.
    Arena,
    /// An object that the program allocated.
    Allocated,
    /// Such an object that may be gone, or never was there: a load asks the run-time.
    Stale,
    /// A kernel object, or memory that may not be there: only the kernel can run the access.
    Object,
    /// Different regions on different paths: no alias class.
    Mixed,
}

/// A fact about one load, store or atomic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct AccessFact {
    /// Where it goes.
    pub region: Region,
    /// Whether the address is a multiple of the access size, proven.
    pub aligned: bool,
}

/// Bounds and known bits of a 64-bit value: `umin..=umax`, `smin..=smax`; `value & !mask == bits`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ValueFact {
    /// Unsigned minimum.
    pub umin: u64,
    /// Unsigned maximum.
    pub umax: u64,
    /// Signed minimum.
    pub smin: i64,
    /// Signed maximum.
    pub smax: i64,
    /// Known bits: their values.
    pub bits: u64,
    /// Unknown bits.
    pub mask: u64,
}

impl ValueFact {
    /// Nothing known.
    pub const TOP: Self =
        Self { umin: 0, umax: u64::MAX, smin: i64::MIN, smax: i64::MAX, bits: 0, mask: u64::MAX };
    /// Whether a concrete value agrees.
    #[must_use]
    pub const fn contains(&self, value: u64) -> bool {
        let signed = value.cast_signed();
        self.umin <= value
            && value <= self.umax
            && self.smin <= signed
            && signed <= self.smax
            && value & !self.mask == self.bits
    }
}

/// Facts about values, by instruction. Many instructions are given the same values, and most none that is known: each
/// fact is kept once, which matters where a program is one long line.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(from = "Vec<Option<ValueFact>>", into = "Vec<Option<ValueFact>>"))]
pub struct ValueColumn {
    /// By instruction, the fact's place in `known` and one; 0: no fact.
    places: Vec<u32>,
    known: Vec<Option<ValueFact>>,
    /// Places of facts that were written lately, by a hash.
    recent: [u32; RECENT],
}

/// Facts that are looked for before another one is kept.
const RECENT: usize = 16;

impl ValueColumn {
    /// No facts about that many instructions.
    pub(crate) fn new(insns: usize) -> Self {
        Self { places: vec![0; insns], known: Vec::new(), recent: [0; RECENT] }
    }
    /// Replaces what is known of an instruction.
    pub(crate) fn set(&mut self, at: usize, fact: Option<ValueFact>) {
        let Some(fact) = fact else {
            self.places[at] = 0;
            return;
        };
        let mixed = (fact.umax ^ fact.bits.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let recent = &mut self.recent[(mixed >> 60) as usize]; // four bits
        if self.known.get((*recent as usize).wrapping_sub(1)) != Some(&Some(fact)) {
            self.known.push(Some(fact));
            *recent = self.known.len() as u32; // fewer facts than instructions, which are counted in 32 bits
        }
        self.places[at] = *recent;
    }
    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.places.fill(0);
    }
    /// The fact about an instruction, if there is one.
    #[must_use]
    pub fn get(&self, at: usize) -> Option<&ValueFact> {
        self.known.get((*self.places.get(at)? as usize).wrapping_sub(1))?.as_ref()
    }
    /// What is known of each instruction.
    pub fn iter(&self) -> impl Iterator<Item = Option<&ValueFact>> {
        (0..self.places.len()).map(|at| self.get(at))
    }
}

impl std::ops::Index<usize> for ValueColumn {
    type Output = Option<ValueFact>;
    fn index(&self, at: usize) -> &Option<ValueFact> {
        self.known.get((self.places[at] as usize).wrapping_sub(1)).unwrap_or(&None)
    }
}

impl PartialEq for ValueColumn {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}
impl Eq for ValueColumn {}

impl From<Vec<Option<ValueFact>>> for ValueColumn {
    fn from(facts: Vec<Option<ValueFact>>) -> Self {
        let mut column = Self::new(facts.len());
        facts.into_iter().enumerate().for_each(|(at, fact)| column.set(at, fact));
        column
    }
}
impl From<ValueColumn> for Vec<Option<ValueFact>> {
    fn from(column: ValueColumn) -> Self {
        column.iter().map(Option::<&ValueFact>::copied).collect()
    }
}

/// Which way a conditional branch goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum BranchFact {
    /// Both ways.
    Both,
    /// Always taken.
    Always,
    /// Never taken.
    Never,
}

/// Whether an argument of a subprogram points into the stack of the calling frame.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum StackArgument {
    /// It points to no stack, on every path.
    #[default]
    Elsewhere,
    /// To this offset from r10, on every path.
    At(i32),
    /// Somewhere in some frame's stack, on some path.
    Varies,
}

impl StackArgument {
    /// What holds on the paths of both.
    pub(crate) fn unite(self, other: Self) -> Self {
        if self == other { self } else { Self::Varies }
    }
}

/// A fact about one call.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct CallFact {
    /// The map argument, if it is the same one on every path.
    pub map: Option<MapSlot>,
    /// Constant array key proven inside the map: the lookup cannot return null.
    pub constant_key: Option<u32>,
    /// The key argument lies at this offset from r10 in the current frame, on every path.
    pub stack_key: Option<i32>,
    /// Stack bytes of the current frame that arguments read, as `(offset from r10, bytes)`.
    pub stack_reads: Vec<(i32, u32)>,
    /// Stack bytes of the current frame that the call may write.
    pub stack_writes: Vec<(i32, u32)>,
    /// Arguments point into the stack in a way the two lists do not describe exactly.
    pub stack_escapes: bool,
    /// Where r1 to r5 point to, for a call of a subprogram.
    pub stack_arguments: [StackArgument; 5],
    /// Subprograms that are called back, on some path.
    pub callbacks: Vec<InsnId>,
    /// What a call through a register calls, on some path.
    pub targets: Vec<Callee>,
}

/// How a loop ends whose turns the verifier did not walk one by one.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum LoopEnd {
    /// By proof: this instruction moves a counter in one direction by a constant, without wrapping around, at most
    /// that often in a row.
    Counter {
        /// The (first) instruction that moves the counter.
        step: InsnId,
        /// Most turns.
        turns: u64,
    },
    /// Without a known number of turns: it burns [`Facts::fuel`].
    Fuel,
}

/// A loop whose turns were not walked one by one.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct LoopFact {
    /// Its first instruction.
    pub at: InsnId,
    /// How it ends.
    pub end: LoopEnd,
}

/// What a verdict asks of every run, whichever engine does it, by instruction: columns of [`Facts`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Obligations {
    /// See [`Facts::fuel`]. Nothing else burns fuel.
    pub fuel: Vec<bool>,
    /// See [`Facts::blank_result`].
    pub blank_result: Vec<bool>,
}

/// Proofs about a program, indexed by [`InsnId`]. Plain data: with the cargo feature `serde` it can be written and read,
/// but nothing that was read becomes a [`Verified`](super::Verified) program.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Facts {
    /// Whether any path reaches it.
    pub reachable: Vec<bool>,
    /// For loads, stores and atomics (also context accesses).
    pub access: Vec<Option<AccessFact>>,
    /// Value of the left (`dst`) operand before the instruction, if it is a number.
    pub lhs: ValueColumn,
    /// Value of the right (`src`) operand before the instruction, if it is a number.
    pub rhs: ValueColumn,
    /// For conditional branches.
    pub branch: Vec<BranchFact>,
    /// Arithmetic on arena pointers, which has 32 bits whatever the instruction says.
    pub arena_alu: Vec<bool>,
    /// The arena of the program.
    pub arena: Option<MapSlot>,
    /// For calls.
    pub call: Vec<Option<Box<CallFact>>>,
    /// Whether the edge taken from here must burn fuel (a loop without proven bound).
    pub fuel: Vec<bool>,
    /// Loops whose turns were not walked one by one, by ascending place, outer ones first.
    pub loops: Vec<LoopFact>,
    /// Exits of the program that return an address which may not leave: 0 leaves instead.
    pub blank_result: Vec<bool>,
    /// Registers r1 to r5 that each subprogram really takes (bit i = argument i + 1), by subprogram.
    pub arguments: Vec<u8>,
    /// Bytes of stack used by each subprogram (multiple of 8), by subprogram.
    pub stack_depth: Vec<u32>,
    /// Stack bytes per subprogram that may be read without having been written: zeroed at entry under policy `user`.
    pub zero_stack: Vec<bool>,
    /// The proof counts on runs on CPUs with numbers below this one only.
    pub cpus: Option<u32>,
    /// The one length of the buffer that a program of type `memory` was verified for.
    pub buffer: Option<u32>,
}

impl Facts {
    /// What the program may run without checks for, if this is done.
    #[must_use]
    pub fn obligations(&self) -> Obligations {
        Obligations { fuel: self.fuel.clone(), blank_result: self.blank_result.clone() }
    }
}

/// Puts the facts together after acceptance; ranges of functions that would take more than the limit of memory are left out.
pub(crate) fn build(
    program: &Program,
    structure: &Structure,
    liveness: &Liveness,
    observed: &mut Observed,
    options: &Options,
) -> Facts {
    let subs = program.subprograms.len();
    let found = super::fixpoint::solve(program, structure, liveness, observed, options.limits.memory);
    let endings = ranking::settle(program, observed, &found.lhs, options.limits.turns);
    Facts {
        reachable: std::mem::take(&mut observed.reachable),
        access: std::mem::take(&mut observed.access),
        lhs: found.lhs,
        rhs: found.rhs,
        branch: found.branch,
        arena_alu: observed.arena_alu.iter().map(|seen| *seen == Some(true)).collect(),
        arena: None,
        call: std::mem::take(&mut observed.call),
        fuel: endings.fuel,
        loops: endings.loops,
        blank_result: observed.result.iter().map(|seen| *seen == Some(Outcome::Blank)).collect(),
        arguments: (0..subs).map(|sub| liveness.argument_bits(sub)).collect(),
        stack_depth: std::mem::take(&mut observed.stack_depth),
        zero_stack: std::mem::take(&mut observed.zero_stack),
        cpus: options.cpus,
        buffer: options.buffer.filter(|_| program.prog_type == ProgramType::Memory),
    }
}

/// The head of a loop without a known number of turns that no way leads out of.
pub(crate) fn never_left(program: &Program, observed: &Observed) -> Option<InsnId> {
    let ends = |head: usize| {
        let mut seen = vec![false; program.insns.len()];
        let mut work = vec![InsnId(head as u32)]; // InsnId counts instructions in 32 bits
        while let Some(at) = work.pop() {
            if std::mem::replace(&mut seen[at.index()], true) || !observed.reachable[at.index()] {
                continue;
            }
            let insn = &program.insns[at.index()];
            match flow(insn) {
                Flow::Exit => return true,
                Flow::Branch(to) => {
                    work.extend(
                        [(false, at.next()), (true, to)]
                            .iter()
                            .filter(|way| observed.edge_seen(at, way.0))
                            .map(|way| way.1),
                    );
                }
                Flow::Next | Flow::Jump(_) => work.extend(flow(insn).successors(at)),
            }
        }
        false
    };
    let head = (0..program.insns.len()).find(|at| observed.endless[*at] && !ends(*at))?;
    Some(InsnId(head as u32)) // likewise
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_gives_back_what_was_written_last() {
        let fact = |umax: u64| Some(ValueFact { umax, ..ValueFact::TOP });
        let mut column = ValueColumn::new(100);
        // More different facts than are looked for, each twice, and some overwritten or taken back.
        let of = |at: usize| if at.is_multiple_of(7) { None } else { fact(at as u64 / 2) };
        (0..100).for_each(|at| column.set(at, fact(u64::MAX)));
        (0..100).for_each(|at| column.set(at, of(at)));
        for at in 0..100 {
            assert_eq!(column[at], of(at), "{at}");
            assert_eq!(column.get(at).copied(), of(at), "{at}");
        }
        assert_eq!(column.get(100), None);
        let list: Vec<Option<ValueFact>> = column.clone().into();
        assert_eq!(list, (0..100).map(of).collect::<Vec<_>>());
        // Kept in another order, and still the same facts.
        let again = ValueColumn::from(list);
        assert_ne!(again.known, column.known);
        assert_eq!(again, column);
        column.clear();
        assert!(column.iter().all(|fact| fact.is_none()));
        assert_ne!(again, column);
    }

    #[test]
    fn equal_facts_are_kept_once() {
        let mut column = ValueColumn::new(1000);
        (0..1000).for_each(|at| column.set(at, Some(ValueFact { umax: 0xffff_ffff, ..ValueFact::TOP })));
        assert_eq!(column.known.len(), 1);
    }
}
