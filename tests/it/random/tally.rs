//! What happened to the programs so far, counted: what accepted ones are made of, and what verdicts there were.

use std::collections::BTreeMap;

use beelift::Program;
use beelift::isa::{Callee, Insn};

/// A place to look again: family and seed.
pub(crate) type Place = (&'static str, u64);

/// One family.
#[derive(Default)]
pub(super) struct Share {
    pub(super) judged: u64,
    pub(super) accepted: u64,
    pub(super) insns: u64,
    pub(super) nanoseconds: u64,
}

/// Counts, and places by what is remarkable about them.
#[derive(Default)]
pub(crate) struct Tally {
    pub(super) families: BTreeMap<&'static str, Share>,
    /// Our reason and the class of the kernel's.
    pub(super) rejected: BTreeMap<(&'static str, String), u64>,
    /// We reject, by reason, the kernel accepts.
    pub(super) precision: BTreeMap<&'static str, Vec<Place>>,
    /// We accept, the kernel rejects, by what we know and it does not, with its message.
    pub(super) beyond: BTreeMap<String, Vec<(Place, String)>>,
    /// Results depend on addresses or on what the stack held.
    pub(super) leaks: Vec<(Place, String)>,
    /// What should not be.
    pub(super) findings: Vec<(Place, String)>,
    /// What took long, in milliseconds.
    pub(super) slow: Vec<(Place, u64)>,
    /// What we do not have.
    pub(super) unsupported: BTreeMap<String, u64>,
    /// Programs that ran in the kernel, in native code, with their facts asserted there.
    pub(super) in_kernel: u64,
    pub(super) native: u64,
    pub(super) asserted: u64,
    helpers: BTreeMap<u32, u64>,
    kfuncs: BTreeMap<String, u64>,
    opcodes: BTreeMap<String, u64>,
}

/// Places that are shown of a class.
const SHOWN: usize = 6;

impl Tally {
    /// Programs counted as accepted.
    #[cfg(all(feature = "cli", feature = "all-targets"))]
    pub(crate) fn accepted(&self) -> u64 {
        self.families.values().map(|share| share.accepted).sum()
    }
    pub(super) fn judged(&self) -> u64 {
        self.families.values().map(|share| share.judged).sum()
    }

    /// Counts an accepted program.
    pub(crate) fn count(&mut self, family: &'static str, program: &Program) {
        let share = self.families.entry(family).or_default();
        share.accepted += 1;
        share.insns += program.insns.len() as u64;
        for insn in &program.insns {
            match insn {
                Insn::Call(Callee::Helper(id)) => *self.helpers.entry(*id).or_default() += 1,
                Insn::Call(Callee::Kfunc { kfunc, .. }) => {
                    let name = &program.kfuncs[kfunc.0 as usize].name;
                    match self.kfuncs.get_mut(name) {
                        Some(count) => *count += 1,
                        None => _ = self.kfuncs.insert(name.clone(), 1),
                    }
                }
                _ => {}
            }
            *self.opcodes.entry(kind_of(insn)).or_default() += 1;
        }
    }
}

/// What the accepted programs were made of, and every verdict.
impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let judged = self.judged().max(1);
        let share = |count: usize| count as f64 * 100.0 / judged as f64;
        for (family, share) in &self.families {
            let Share { judged, accepted, insns, nanoseconds } = share;
            let percent = accepted * 100 / (*judged).max(1);
            let mean = insns / (*accepted).max(1);
            let time = *nanoseconds as f64 / 1e6 / (*judged).max(1) as f64;
            writeln!(
                f,
                "{family:8} {accepted:8} accepted of {judged:8} ({percent}%), {mean:3} instructions, {time:.2} ms a program"
            )?;
        }
        writeln!(
            f,
            "ran in the kernel {}, as native code {}, with facts asserted there {}",
            self.in_kernel, self.native, self.asserted
        )?;
        let lone: usize = self.precision.values().map(Vec::len).sum();
        writeln!(f, "rejected by us alone: {lone} ({:.4}%)", share(lone))?;
        for (reason, places) in &self.precision {
            writeln!(f, "  {reason}: {} {:?}", places.len(), &places[..places.len().min(SHOWN)])?;
        }
        let beyond: usize = self.beyond.values().map(Vec::len).sum();
        writeln!(f, "accepted by us alone: {beyond} ({:.4}%)", share(beyond))?;
        for (class, places) in &self.beyond {
            writeln!(f, "  {class}: {}", places.len())?;
            for ((family, seed), why) in places.iter().take(SHOWN) {
                writeln!(f, "    {family} {seed}: {}", why.lines().next().unwrap_or_default())?;
            }
        }
        writeln!(f, "rejected by both, our reason and the kernel's class:")?;
        for ((reason, class), count) in &self.rejected {
            writeln!(f, "  {count:8} {reason} / {class}")?;
        }
        writeln!(f, "addresses or unwritten stack in results: {}", self.leaks.len())?;
        for ((family, seed), what) in self.leaks.iter().take(SHOWN) {
            writeln!(f, "    {family} {seed}: {what}")?;
        }
        writeln!(f, "slow: {} {:?}", self.slow.len(), &self.slow[..self.slow.len().min(SHOWN)])?;
        writeln!(f, "unsupported: {:?}", self.unsupported)?;
        writeln!(f, "helpers: {:?}\nkernel functions: {:?}", self.helpers, self.kfuncs)?;
        writeln!(f, "opcodes: {:?}", self.opcodes)?;
        writeln!(f, "findings: {}", self.findings.len())?;
        for ((family, seed), what) in &self.findings {
            writeln!(f, "{family} {seed}: {what}")?;
        }
        Ok(())
    }
}

/// The operation without its operands.
fn kind_of(insn: &Insn) -> String {
    match insn {
        Insn::Alu { op, width, .. } => format!("{op:?} {width:?}"),
        Insn::Branch { op, width, .. } => format!("if {op:?} {width:?}"),
        Insn::Load { size, sign, .. } => format!("load {size:?} {sign:?}"),
        Insn::Store { size, .. } => format!("store {size:?}"),
        Insn::Atomic { op, fetch, width, .. } => format!("atomic {op:?} {width:?} fetch {fetch}"),
        Insn::Swap { order, size, .. } => format!("swap {order:?} {size:?}"),
        Insn::Call(_) => "call".to_owned(),
        Insn::Const { .. } => "lddw".to_owned(),
        Insn::Jump { .. } => "goto".to_owned(),
        Insn::Exit => "exit".to_owned(),
        Insn::LoadAcquire { size, .. } => format!("load acquire {size:?}"),
        Insn::StoreRelease { size, .. } => format!("store release {size:?}"),
        Insn::MayGoto { .. } => "may_goto".to_owned(),
        Insn::LegacyPacket { size, index, .. } => {
            format!("packet {} {size:?}", if index.is_some() { "ind" } else { "abs" })
        }
        other => format!("{other:?}"),
    }
}
