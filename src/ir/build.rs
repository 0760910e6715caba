//! From a verified program to a module: which native functions there are, and what is inlined into them.
//!
//! In: `Verified`. Out: [`Module`]. The program itself is function 0; a subprogram becomes a function when some
//! call of it is not inlined.
#![forbid(unsafe_code)]

use std::rc::Rc;

use beelift_runtime::ctx::ContextLayout;

use super::body::{Body, Frame};
use super::fold::Builder;
use super::func::Function;
use super::shape::{self, Shape};
use super::{Module, Options, Unsupported, passes};
use crate::isa::{Callee, Insn, InsnId, Reg};
use crate::link::Linkage;
use crate::verify::Verified;

/// Subprograms of at most that many instructions are inlined everywhere.
const SMALL: u32 = 24;
/// Subprograms with one call are inlined up to that many instructions.
const LARGE: u32 = 4000;
/// A native function grows by inlining to at most that many nodes.
const MOST_NODES: usize = 60_000;
/// Calls nest at most that deep.
const DEEPEST: u32 = 8;

/// What is known of the whole program while its functions are built.
pub(crate) struct Program {
    pub(crate) layout: ContextLayout,
    /// Whether memory that the verifier knows nothing more of is no stack: global functions take stack of their callers as
    /// such memory.
    pub(crate) memory_is_outside: bool,
    shapes: Vec<Option<Rc<Shape>>>,
    calls: Vec<u32>,
    /// Native function of each subprogram that has one.
    functions: Vec<Option<u32>>,
    /// Subprograms that need a native function, in order.
    wanted: Vec<usize>,
}

impl Program {
    fn new(verified: &Verified) -> Self {
        let program = verified.program();
        let count = program.subprograms.len();
        let mut calls = vec![0; count];
        for (at, insn) in program.insns.iter().enumerate() {
            if let Insn::Call(callee) = insn
                && verified.facts().reachable[at]
                && let Callee::Subprogram(entry) = shape::callee(verified, InsnId(at as u32), *callee)
            // counted in 32 bits
            {
                calls[program.subprogram_of(entry)] += 1;
            }
        }
        let mut functions = vec![None; count];
        functions[0] = Some(0);
        let layout = program.layout();
        let global = |sub: &crate::link::Subprogram| sub.linkage == Linkage::Global;
        let memory_is_outside = !program.subprograms.iter().skip(1).any(global);
        Self { layout, memory_is_outside, shapes: vec![None; count], calls, functions, wanted: vec![0] }
    }

    pub(crate) fn shape(&mut self, verified: &Verified, subprogram: usize) -> Rc<Shape> {
        let made = self.shapes[subprogram].get_or_insert_with(|| Rc::new(Shape::new(verified, subprogram)));
        Rc::clone(made)
    }

    /// The native function of a subprogram, by index.
    pub(crate) fn function_of(&mut self, subprogram: usize) -> u32 {
        *self.functions[subprogram].get_or_insert_with(|| {
            self.wanted.push(subprogram);
            u32::try_from(self.wanted.len() - 1).expect("fewer subprograms than 2^32")
        })
    }

    /// Whether a call is built in line.
    pub(crate) fn inlines(
        &mut self,
        verified: &Verified,
        subprogram: usize,
        depth: u32,
        nodes: usize,
    ) -> bool {
        if depth >= DEEPEST || nodes > MOST_NODES || self.functions[subprogram].is_some() {
            return false;
        }
        let size = self.shape(verified, subprogram).size;
        size <= SMALL || (size <= LARGE && self.calls[subprogram] == 1)
    }
}

/// Builds and optimises.
pub(crate) fn module(verified: &Verified, options: Options) -> Result<Module, Unsupported> {
    let kind = verified.program().prog_type;
    if kind.info().kernel_only {
        let what = format!("type {kind}, which only the kernel can call,");
        return Err(Unsupported { at: InsnId(0), what: what.into() });
    }
    let mut program = Program::new(verified);
    let mut functions = Vec::new();
    while let Some(&subprogram) = program.wanted.get(functions.len()) {
        let mut function = build(verified, options, &mut program, subprogram)?;
        passes::run(&mut function, options);
        functions.push(function);
    }
    Ok(Module { functions })
}

fn build(
    verified: &Verified,
    options: Options,
    program: &mut Program,
    subprogram: usize,
) -> Result<Function, Unsupported> {
    let sub = &verified.program().subprograms[subprogram];
    let index = u32::try_from(subprogram).expect("fewer subprograms than 2^32");
    let mut b = Builder::new(Function::new(&sub.name, index));
    b.insn = sub.entry;
    let entry = b.func.add_block();
    let shape = program.shape(verified, subprogram);
    let mut frame = Frame::new(&mut b, shape, 0, 0, None);
    // The program itself takes r1 and r2, a subprogram what it reads.
    let taken = if subprogram == 0 { 0b11 } else { verified.facts().arguments[subprogram] };
    for (at, reg) in Reg::ARGS.into_iter().enumerate() {
        if taken >> at & 1 == 1 {
            frame.state[reg.index()] = b.param(entry, sub.entry);
        }
    }
    let mut body = Body { verified, options, program, b, at: InsnId(sub.entry.0), lookups: Vec::new() };
    body.build(&mut frame)?;
    Ok(body.b.func)
}
