//! Arenas: casts between the two kinds of their addresses, arithmetic on pointers, pages.
//!
//! A pointer into an arena may hold any number: what it reaches is checked at run time. Arithmetic on it has 32 bits,
//! whatever the instruction says.
#![forbid(unsafe_code)]

use crate::isa::{AddrSpace, Reg, Width};
use crate::verify::explore::{Check, Stop, Verifier};
use crate::verify::facts::Region;
use crate::verify::report::Reason;
use crate::verify::state::{Kind, Register};

impl Verifier<'_> {
    pub(super) fn cast(&mut self, dst: Reg, src: Reg, to: AddrSpace) -> Check {
        if self.tables.arena.is_none() {
            return Err(Reason::NoArena.into());
        }
        let source = self.read(src)?;
        if source.kind != Kind::Arena && self.leaks(&source) {
            return Err(Reason::PointerLeak { into: "an arena pointer" }.into());
        }
        let cast = match to {
            AddrSpace::Kernel => Register::pointer(Kind::Arena),
            AddrSpace::Arena => Register::unknown(),
        };
        self.write(dst, cast)
    }

    /// Arithmetic with a pointer into an arena; or without one, where the same instruction had one on another path.
    pub(super) fn arena_arithmetic(
        &mut self,
        target: &Register,
        source: &Register,
        width: Width,
    ) -> Check<bool> {
        let here = target.kind == Kind::Arena || source.kind == Kind::Arena;
        let narrowed = here && width == Width::W64;
        let seen = &mut self.observed.arena_alu[self.at.index()];
        if *seen.get_or_insert(narrowed) != narrowed {
            let what = "arithmetic on an arena pointer on one path and on a number on another";
            return Err(Stop::Unsupported(what.to_owned()));
        }
        if here && target.kind.is_pointer() && target.kind != Kind::Arena {
            return Err(Reason::PointerAndPointer { op: "arithmetic" }.into());
        }
        Ok(here)
    }

    pub(super) fn arena_access(&mut self) {
        self.observed.access(self.at, Region::Arena, false);
    }

    /// A kernel function on the pages of a map; it may sleep.
    pub(super) fn arena_pages(&mut self, name: &'static str, numbers: &[Reg]) -> Check {
        let references = &self.state.references;
        let atomic = references.rcu > 0 || references.preempt > 0 || references.newest_irq().is_some();
        if atomic || !self.tables.sleepable {
            return Err(Reason::MaySleep { name }.into());
        }
        let map = self.read(Reg::R1)?;
        if !matches!(map.kind, Kind::Map(_)) || map.nullable {
            let found = map.kind.name();
            return Err(Reason::ArgumentType { reg: Reg::R1, expected: "a map", found }.into());
        }
        // Any address may be given; only pages of the arena are.
        let address = self.read(Reg::R2)?;
        if address.kind != Kind::Arena && self.leaks(&address) {
            return Err(Reason::PointerLeak { into: "a kernel function" }.into());
        }
        for &reg in numbers {
            self.number(reg)?;
        }
        Ok(())
    }
}
