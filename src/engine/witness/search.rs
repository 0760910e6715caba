//! The search: follow the rejected path branch by branch, then break the rule at its end.
//!
//! A run is as good as the number of branches it has in common with the path; where it leaves the path, the bytes are
//! sought that the comparison depends on (by changing each and looking), and set so that it goes the other way.
//! Elements that were looked up are put into maps or taken out, packets made longer or shorter. In the end
//! everything that is not needed is taken away again. No step depends on chance that differs from run to run.
#![forbid(unsafe_code)]

use std::time::Duration;

use beelift_runtime::TrapKind;
use beelift_runtime::environment::thread_time;
use beelift_runtime::map::MapKind;

use super::candidate::{Candidate, LONGEST_PACKET, Shape, Spot};
use super::session::{Decision, Run, Session};
use super::{Budget, Expected};
use crate::elf::Object;
use crate::isa::effects::{self, RegSet};
use crate::isa::semantics::{Concrete, compare};
use crate::isa::{Callee, CmpOp, Insn, InsnId, Width};
use crate::link::Program;
use crate::verify::{Reason, Rejected};

/// Values of maps that a candidate holds at most.
const VALUES: usize = 16;
/// Tries of random changes when nothing else helps.
const RANDOM_TRIES: u32 = 300;
/// Fuel for loops that may be endless: enough to tell them from short ones.
const LOOP_FUEL: u64 = 1 << 14;

/// Ethernet and IPv4 headers of UDP and TCP, and IPv6 with TCP.
const FRAMES: [&[u8]; 3] = [
    &[
        2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 50, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10,
        0, 0, 2, 0x30, 0x39, 0, 53, 0, 30, 0, 0,
    ],
    &[
        2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 50, 0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10,
        0, 0, 2, 0x30, 0x39, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 4, 0,
    ],
    &[
        2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 6, 64, 0xfd, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 1, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0x30, 0x39, 0, 80,
    ],
];

/// A candidate and what it did. More branches of the path are better, then the target, then a near miss.
struct Step {
    candidate: Candidate,
    run: Run,
    matched: usize,
    distance: u64,
}

impl Step {
    fn is_better_than(&self, other: &Self) -> bool {
        self.rank() > other.rank()
    }
    fn rank(&self) -> (usize, bool, u64) {
        (self.matched, self.run.reached.is_some(), u64::MAX - self.distance)
    }
}

/// What ends a search.
enum Stop {
    Found(Candidate),
    Exhausted,
}

struct Search<'a> {
    program: &'a Program,
    rejected: &'a Rejected,
    expected: Expected,
    budget: Budget,
    /// Time on a CPU when it began: a busy machine changes nothing of what is found.
    start: Duration,
    session: Session<'a>,
    shape: Shape,
    path: Vec<(InsnId, bool)>,
    rng: u64,
}

/// Looks for a candidate that shows the rejection, and makes it small.
pub(super) fn search(
    program: &Program,
    object: Option<&Object>,
    rejected: &Rejected,
    expected: Expected,
    budget: Budget,
) -> Option<(Candidate, u32)> {
    let endless = expected == Expected::Anywhere(TrapKind::Fuel);
    let fuel = if endless { LOOP_FUEL } else { budget.fuel };
    let session = Session::new(program, object, rejected.insn_id, fuel).ok()?;
    let calls = |id: u32| {
        program.insns.iter().any(|insn| matches!(insn, Insn::Call(Callee::Helper(helper)) if *helper == id))
    };
    let path = rejected.path.iter().filter_map(|(pc, taken)| Some((program.insn_at(*pc)?, *taken))).collect();
    let mut search = Search {
        program,
        rejected,
        expected,
        budget,
        start: thread_time(),
        session,
        shape: Shape::of(program, calls),
        path,
        rng: 0x9e37_79b9_7f4a_7c15,
    };
    for start in search.starts() {
        match search.climb(start) {
            Err(Stop::Found(candidate)) => {
                let runs = search.session.runs;
                return Some((search.smallest(candidate), runs));
            }
            Err(Stop::Exhausted) => return None,
            Ok(()) => {}
        }
    }
    None
}

impl Search<'_> {
    fn starts(&self) -> Vec<Candidate> {
        if !self.shape.packet {
            let zeros = Candidate { context: vec![0; self.shape.context], ..Candidate::plain(&[]) };
            return vec![Candidate::plain(&[]), zeros];
        }
        let padded = |frame: &[u8]| Candidate::plain(frame).with_length(64.max(frame.len()));
        let mut starts = vec![Candidate::plain(&[0; 64])];
        starts.extend(FRAMES.iter().map(|frame| padded(frame)));
        starts.extend([14, 0, 1514].map(|len| Candidate::plain(&vec![0; len])));
        starts
    }

    /// Runs a candidate and judges it.
    fn step(&mut self, mut candidate: Candidate) -> Result<Option<Step>, Stop> {
        let Budget { runs, time, .. } = self.budget;
        if self.session.runs >= runs || thread_time() - self.start > time {
            return Err(Stop::Exhausted);
        }
        let Some(run) = self.session.run(&candidate) else { return Ok(None) };
        if run.result.as_ref().is_err_and(|trap| self.expected.shown_by(trap, self.rejected)) {
            return Err(Stop::Found(candidate));
        }
        let same =
            |(decision, wanted): &(&Decision, &(InsnId, bool))| (decision.at, decision.taken) == **wanted;
        let matched = run.decisions.iter().zip(&self.path).take_while(same).count();
        let distance = self.divergence(&run, matched).map_or(0, |(decision, insn)| distance(&decision, insn));
        // An element of an array is always there: its bytes can be varied from now on.
        for lookup in &run.lookups {
            let def = &self.program.maps[lookup.slot];
            let index = <[u8; 4]>::try_from(&lookup.key[..]).map(u32::from_ne_bytes);
            if matches!(def.kind, MapKind::Array | MapKind::PercpuArray)
                && index.is_ok_and(|index| index < def.max_entries)
                && candidate.values.len() < VALUES
            {
                let key = (lookup.slot, lookup.key.clone());
                candidate.values.entry(key).or_insert_with(|| vec![0; def.value_size as usize]);
            }
        }
        Ok(Some(Step { candidate, run, matched, distance }))
    }

    /// The branch where a run left the path.
    fn divergence(&self, run: &Run, matched: usize) -> Option<(Decision, &Insn)> {
        let decision = *run.decisions.get(matched)?;
        let (wanted, _) = *self.path.get(matched)?;
        (decision.at == wanted).then(|| (decision, &self.program.insns[wanted.index()]))
    }

    /// From one start as far as it goes.
    fn climb(&mut self, start: Candidate) -> Result<(), Stop> {
        let Some(mut best) = self.step(start)? else { return Ok(()) };
        let mut stuck = 0;
        while stuck < 3 {
            let cheap = self.cheap_changes(&best);
            if self.first_better(&mut best, cheap)? {
                continue;
            }
            let spots = self.influence(&best)?;
            let changes = self.changes_of(&best, &spots);
            if self.first_better(&mut best, changes)? {
                continue;
            }
            if !self.wander(&mut best)? {
                stuck += 1;
            }
        }
        Ok(())
    }

    fn first_better(&mut self, best: &mut Step, tries: Vec<Candidate>) -> Result<bool, Stop> {
        for candidate in tries {
            if let Some(step) = self.step(candidate)?
                && step.is_better_than(best)
            {
                *best = step;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Changes that need no knowledge of bytes: elements of maps, and the length of the packet.
    fn cheap_changes(&self, best: &Step) -> Vec<Candidate> {
        let mut tries = Vec::new();
        let before = best.run.lookups.iter().filter(|lookup| lookup.decisions <= best.matched);
        let mut seen = Vec::new();
        for lookup in before.rev() {
            let key = (lookup.slot, lookup.key.clone());
            let def = &self.program.maps[lookup.slot];
            let forgets = matches!(
                def.kind,
                MapKind::Hash
                    | MapKind::PercpuHash
                    | MapKind::LruHash
                    | MapKind::LruPercpuHash
                    | MapKind::LpmTrie
            );
            if !forgets || seen.contains(&key) || seen.len() >= VALUES {
                continue;
            }
            let mut candidate = best.candidate.clone();
            if candidate.values.remove(&key).is_none() {
                candidate.values.insert(key.clone(), vec![0; def.value_size as usize]);
            }
            seen.push(key);
            tries.push(candidate);
        }
        if self.shape.packet {
            let len = best.candidate.packet.len();
            let mut lengths: Vec<usize> = Vec::new();
            if let Some((Decision { left, right, .. }, _)) = self.divergence(&best.run, best.matched) {
                for far in [left.wrapping_sub(right), right.wrapping_sub(left)].map(u64::cast_signed) {
                    lengths.extend([far, far + 1, far - 1].into_iter().filter_map(|by| moved(len, by)));
                }
            } else {
                lengths.extend((0..len).rev().take(96));
                lengths.extend([0, 1, 14, 34].into_iter().filter(|&shorter| shorter < len));
                lengths.extend([len + 1, len + 64, 2 * len]);
            }
            lengths.retain(|&other| other != len && other <= LONGEST_PACKET);
            tries.extend(lengths.into_iter().map(|other| best.candidate.with_length(other)));
        }
        tries
    }

    /// The bytes on which depends where the run left the path, or what the registers hold at its end.
    fn influence(&mut self, best: &Step) -> Result<Vec<Spot>, Stop> {
        let mut found = Vec::new();
        let operands = |run: &Run| {
            run.decisions.get(best.matched).map(|decision| (decision.at, decision.left, decision.right))
        };
        let read =
            self.rejected.insn.map_or(RegSet::EMPTY, |insn| effects::uses(&insn, RegSet::arguments(5)));
        let values =
            |run: &Run| run.reached.map(|all| read.iter().map(|reg| all[reg.index()]).collect::<Vec<_>>());
        for spot in best.candidate.spots(self.shape) {
            let flipped = best.candidate.with(&spot, best.candidate.get(&spot) ^ 0xff);
            let Some(step) = self.step(flipped)? else { continue };
            let changed = if self.divergence(&best.run, best.matched).is_some() {
                step.matched != best.matched || operands(&step.run) != operands(&best.run)
            } else {
                step.matched != best.matched || values(&step.run) != values(&best.run)
            };
            if changed {
                found.push(spot);
            }
        }
        Ok(found)
    }

    /// Other values for bytes that matter.
    fn changes_of(&self, best: &Step, spots: &[Spot]) -> Vec<Candidate> {
        let mut tries = Vec::new();
        let numbers = self.numbers(best);
        for group in groups(spots) {
            let current = number(&best.candidate, &group);
            for &(value, delta) in &numbers {
                for wanted in [value, current.wrapping_add(delta), current.wrapping_sub(delta)] {
                    tries.push(written(&best.candidate, &group, wanted, false));
                }
                let swapped = number_swapped(&best.candidate, &group);
                for wanted in [value, swapped.wrapping_add(delta), swapped.wrapping_sub(delta)] {
                    tries.push(written(&best.candidate, &group, wanted, true));
                }
            }
        }
        for spot in spots.iter().take(12) {
            let old = best.candidate.get(spot);
            tries.extend((0..=255).filter(|&byte| byte != old).map(|byte| best.candidate.with(spot, byte)));
        }
        tries
    }

    /// Numbers worth trying, each with its distance from what is there now.
    fn numbers(&self, best: &Step) -> Vec<(u64, u64)> {
        if let Some((decision, insn)) = self.divergence(&best.run, best.matched) {
            let Insn::Branch { op, width, .. } = *insn else { return Vec::new() };
            let (left, right) = (decision.left, decision.right);
            let goes = |left, right| compare(&mut Concrete, op, width, left, right) != decision.taken;
            let around = |value: u64| [value, value.wrapping_add(1), value.wrapping_sub(1), 0, 1, u64::MAX];
            let lefts = around(right).into_iter().filter(|&value| goes(value, right));
            let rights = around(left).into_iter().filter(|&value| goes(left, value));
            let lefts = lefts.map(|value| (value, value.wrapping_sub(left)));
            return lefts.chain(rights.map(|value| (value, value.wrapping_sub(right)))).collect();
        }
        let mut numbers = vec![0, 1, u64::MAX, 1 << 63, u64::MAX >> 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];
        if let Reason::OutOfBounds { limit, .. } = self.rejected.reason {
            numbers.extend([limit, limit.wrapping_sub(1), limit + 1]);
        }
        if let Reason::ReturnOutOfRange { min, max } = self.rejected.reason {
            numbers.extend([max.wrapping_add(1), min.wrapping_sub(1)].map(i64::cast_unsigned));
        }
        numbers.extend((1..17).flat_map(|power| [(1 << power) - 1, 1 << power]));
        numbers.into_iter().map(|value| (value, value)).collect()
    }

    /// Random changes; whether one of them was better.
    fn wander(&mut self, best: &mut Step) -> Result<bool, Stop> {
        for _ in 0..RANDOM_TRIES {
            let mut candidate = best.candidate.clone();
            let spots = candidate.spots(self.shape);
            for _ in 0..=self.random(4) {
                if let Some(spot) = spots.get(self.random(spots.len().max(1))) {
                    let byte = match self.random(4) {
                        0 => 0xff,
                        1 => candidate.get(spot).wrapping_add(1),
                        2 => 1 << self.random(8),
                        _ => self.random(256) as u8,
                    };
                    candidate.set(spot, byte);
                }
            }
            if let Some(step) = self.step(candidate)? {
                let better = step.is_better_than(best);
                if better || step.rank() == best.rank() {
                    *best = step;
                }
                if better {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn random(&mut self, below: usize) -> usize {
        self.rng ^= self.rng << 13;
        self.rng ^= self.rng >> 7;
        self.rng ^= self.rng << 17;
        (self.rng % below as u64) as usize // below `below`
    }

    /// Takes away what is not needed.
    fn smallest(&mut self, mut candidate: Candidate) -> Candidate {
        let plain = Candidate::plain(&[]);
        let mut simpler = vec![
            Candidate { context: Vec::new(), ..candidate.clone() },
            Candidate { clock: plain.clock, ..candidate.clone() },
            Candidate { random: plain.random, ..candidate.clone() },
        ];
        for other in simpler.drain(..) {
            let merged = Candidate {
                context: if other.context.is_empty() { Vec::new() } else { candidate.context.clone() },
                clock: if other.clock == plain.clock { plain.clock } else { candidate.clock },
                random: if other.random == plain.random { plain.random } else { candidate.random },
                ..candidate.clone()
            };
            self.keep_if_shown(&mut candidate, merged);
        }
        for key in candidate.values.keys().cloned().collect::<Vec<_>>() {
            let mut without = candidate.clone();
            without.values.remove(&key);
            self.keep_if_shown(&mut candidate, without);
        }
        for len in [0, 14, 34, 42, 54] {
            if len < candidate.packet.len()
                && self.keep_if_shown(&mut candidate.clone(), candidate.with_length(len))
            {
                candidate = candidate.with_length(len);
                break;
            }
        }
        while !candidate.packet.is_empty() {
            let shorter = candidate.with_length(candidate.packet.len() - 1);
            if !self.keep_if_shown(&mut candidate, shorter) {
                break;
            }
        }
        for spot in candidate.spots(self.shape) {
            if candidate.get(&spot) != 0 && !matches!(spot, Spot::Clock(_) | Spot::Random(_)) {
                let zeroed = candidate.with(&spot, 0);
                self.keep_if_shown(&mut candidate, zeroed);
            }
        }
        candidate
    }

    fn keep_if_shown(&mut self, candidate: &mut Candidate, other: Candidate) -> bool {
        if other == *candidate {
            return false;
        }
        let shown = self
            .session
            .run(&other)
            .is_some_and(|run| run.result.is_err_and(|trap| self.expected.shown_by(&trap, self.rejected)));
        if shown {
            *candidate = other;
        }
        shown
    }
}

/// A length that many bytes away.
fn moved(len: usize, by: i64) -> Option<usize> {
    let len = i64::try_from(len).ok()?.checked_add(by)?;
    usize::try_from(len).ok().filter(|&len| len <= LONGEST_PACKET)
}

/// How far a comparison is from going the other way.
fn distance(decision: &Decision, insn: &Insn) -> u64 {
    let Insn::Branch { op, width, .. } = insn else { return 0 };
    let cut = |value: u64| if *width == Width::W32 { value & 0xffff_ffff } else { value };
    let (left, right) = (cut(decision.left), cut(decision.right));
    match op {
        CmpOp::Set => 1,
        _ => left.abs_diff(right).max(1),
    }
}

/// Neighbouring bytes that belong together, eight at most.
fn groups(spots: &[Spot]) -> Vec<Vec<Spot>> {
    let mut groups: Vec<Vec<Spot>> = Vec::new();
    for spot in spots {
        let follows = |last: &Spot| match (last, spot) {
            (Spot::Packet(a), Spot::Packet(b)) | (Spot::Context(a), Spot::Context(b)) => a + 1 == *b,
            (Spot::Clock(a), Spot::Clock(b)) | (Spot::Random(a), Spot::Random(b)) => a + 1 == *b,
            (Spot::Value(key, a), Spot::Value(other, b)) => key == other && a + 1 == *b,
            _ => false,
        };
        match groups.last_mut() {
            Some(group) if group.len() < 8 && group.last().is_some_and(follows) => group.push(spot.clone()),
            _ => groups.push(vec![spot.clone()]),
        }
    }
    groups
}

/// A group as a little-endian number.
fn number(candidate: &Candidate, group: &[Spot]) -> u64 {
    group.iter().rev().fold(0, |sum, spot| sum << 8 | u64::from(candidate.get(spot)))
}

/// A group as a big-endian number.
fn number_swapped(candidate: &Candidate, group: &[Spot]) -> u64 {
    group.iter().fold(0, |sum, spot| sum << 8 | u64::from(candidate.get(spot)))
}

/// With the low bytes of a number in a group.
fn written(candidate: &Candidate, group: &[Spot], value: u64, swapped: bool) -> Candidate {
    let mut changed = candidate.clone();
    for (index, spot) in group.iter().enumerate() {
        let place = if swapped { group.len() - 1 - index } else { index };
        changed.set(spot, (value >> (8 * place)) as u8); // one byte of it
    }
    changed
}
