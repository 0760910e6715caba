//! Arenas: casts between the two kinds of their addresses, arithmetic on pointers.
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
        // Any pointer may be added, as Linux has it: what comes out is a place in the arena.
        let leaks = |operand: &Register| operand.kind != Kind::Arena && self.leaks(operand);
        if here && (leaks(target) || leaks(source)) {
            return Err(Reason::PointerLeak { into: "an arena pointer" }.into());
        }
        Ok(here)
    }

    pub(super) fn arena_access(&mut self) {
        self.observed.access(self.at, Region::Arena, false);
    }
}
