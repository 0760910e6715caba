//! Merges loads of adjacent bytes that a program puts together by shifts: packed fields, network byte order.
//!
//! The parts must tile 2, 4 or 8 bytes, in little-endian order (one load) or as single bytes in big-endian order
//! (a load and a byte swap). All loads lie in one block with no write to memory between the first and
//! the last; the merged load takes the place of the last one.
#![forbid(unsafe_code)]

use crate::ir::func::{BinaryOp, Function, Op, Place, Type, UnaryOp, Value};
use crate::isa::{Sign, Size};

/// A load inside a tree of shifts and ors.
#[derive(Clone, Copy)]
struct Part {
    load: Value,
    size: Size,
    place: Place,
    /// Lowest bit in the whole value.
    shift: u32,
}

/// More parts than bytes never tile anything.
const MOST_PARTS: usize = 8;
/// Most operations looked at under one root.
const BUDGET: u32 = 40;

pub(crate) fn run(function: &mut Function) {
    let mut same = vec![None; function.nodes.len()];
    let mut positions = vec![(u32::MAX, 0); function.nodes.len()];
    for (at, block) in function.blocks.iter().enumerate() {
        let at = u32::try_from(at).expect("fewer blocks than 2^32");
        for (position, value) in block.nodes.iter().enumerate() {
            positions[value.index()] = (at, position);
        }
    }
    let mut changed = false;
    for block in 0..function.blocks.len() {
        changed |= merge_block(function, block, &positions, &mut same);
    }
    if changed {
        super::replace(function, &same);
    }
}

fn merge_block(
    function: &mut Function,
    block: usize,
    positions: &[(u32, usize)],
    same: &mut Vec<Option<Value>>,
) -> bool {
    let nodes = function.blocks[block].nodes.clone();
    // New operations, each in front of a node of the block.
    let mut inserted: Vec<(usize, Value)> = Vec::new();
    let mut taken = vec![false; nodes.len()];
    for (position, &root) in nodes.iter().enumerate().rev() {
        if taken[position] || !is_join(function.op(root)) {
            continue;
        }
        let mut parts = Vec::new();
        if collect(function, root, 0, &mut parts, &mut { BUDGET }).is_none() || parts.len() < 2 {
            continue;
        }
        let Some((first, total, swapped)) = tiles(&mut parts) else { continue };
        let places = || parts.iter().map(|part| positions[part.load.index()]);
        if places().any(|(at, _)| at as usize != block) {
            continue;
        }
        let start = places().map(|(_, position)| position).min().unwrap_or(0);
        let end = places().map(|(_, position)| position).max().unwrap_or(0);
        if nodes[start..end].iter().any(|&value| writes_memory(function.op(value))) {
            continue;
        }
        mark_inner(function, root, &nodes, positions, &mut taken);
        let insn = function.nodes[root.index()].insn;
        let place = Place { aligned: false, ..first };
        let load = function.add(Op::Load(total, Sign::Zero, place), Type::I64, insn);
        inserted.push((end, load));
        rebuild(function, root, load, total, swapped, position, &mut inserted, same);
    }
    if inserted.is_empty() {
        return false;
    }
    inserted.sort_by_key(|&(position, _)| position);
    let mut merged = Vec::with_capacity(nodes.len() + inserted.len());
    let mut new = inserted.into_iter().peekable();
    for (position, value) in nodes.into_iter().enumerate() {
        while let Some((_, value)) = new.next_if(|&(before, _)| before == position) {
            merged.push(value);
        }
        merged.push(value);
    }
    function.blocks[block].nodes = merged;
    true
}

const fn is_join(op: Op) -> bool {
    matches!(op, Op::Binary(BinaryOp::Or, ..))
}

const fn writes_memory(op: Op) -> bool {
    matches!(
        op,
        Op::Store(..)
            | Op::StoreRelease(..)
            | Op::AtomicRmw(..)
            | Op::AtomicCas(..)
            | Op::Call(..)
            | Op::LoadAcquire(..)
    )
}

/// Finds the loads under a value, which lies at bit `shift` of the whole. Gives the bits the value can have.
fn collect(
    function: &Function,
    value: Value,
    shift: u32,
    parts: &mut Vec<Part>,
    budget: &mut u32,
) -> Option<u32> {
    *budget = budget.checked_sub(1)?;
    let bits = match function.op(value) {
        op if is_join(op) => {
            let Op::Binary(_, a, b) = op else { return None };
            let a = collect(function, a, shift, parts, budget)?;
            let b = collect(function, b, shift, parts, budget)?;
            a.max(b)
        }
        Op::Binary(BinaryOp::Shl, a, count) => {
            let count = u32::try_from(function.constant(count)?).ok()?;
            count + collect(function, a, shift.checked_add(count)?, parts, budget)?
        }
        Op::Unary(UnaryOp::Widen | UnaryOp::Reduce, a) => collect(function, a, shift, parts, budget)?,
        Op::Load(size, Sign::Zero, place) => {
            parts.push(Part { load: value, size, place, shift });
            if parts.len() > MOST_PARTS {
                return None;
            }
            size.bits()
        }
        _ => return None,
    };
    // Bits pushed out at the top would be lost.
    (bits <= function.ty(value).bits()).then_some(bits)
}

/// The lowest place, the size, and whether the order is big-endian.
fn tiles(parts: &mut [Part]) -> Option<(Place, Size, bool)> {
    parts.sort_by_key(|part| part.shift);
    let mut bits = 0;
    for part in parts.iter() {
        if part.shift != bits {
            return None;
        }
        bits += part.size.bits();
    }
    let total = match bits {
        16 => Size::H,
        32 => Size::W,
        64 => Size::DW,
        _ => return None,
    };
    let lowest = parts[0].place;
    let same_memory =
        parts.iter().all(|part| part.place.base == lowest.base && part.place.class == lowest.class);
    if !same_memory {
        return None;
    }
    let bytes = |bits: u32| i32::try_from(bits / 8).ok();
    let little = parts.iter().all(|part| {
        bytes(part.shift).and_then(|bytes| lowest.off.checked_add(bytes)) == Some(part.place.off)
    });
    if little {
        return Some((lowest, total, false));
    }
    let first = parts.last()?.place;
    let big = parts.iter().all(|part| {
        part.size == Size::B
            && bytes(bits - 8 - part.shift).and_then(|bytes| first.off.checked_add(bytes))
                == Some(part.place.off)
    });
    big.then_some((first, total, true))
}

/// Joins below a merged root are not roots of their own.
fn mark_inner(
    function: &Function,
    value: Value,
    nodes: &[Value],
    positions: &[(u32, usize)],
    taken: &mut [bool],
) {
    let (_, position) = positions[value.index()];
    if nodes.get(position) == Some(&value) {
        taken[position] = true;
    }
    match function.op(value) {
        Op::Binary(BinaryOp::Or, a, b) => {
            mark_inner(function, a, nodes, positions, taken);
            mark_inner(function, b, nodes, positions, taken);
        }
        Op::Binary(BinaryOp::Shl, a, _) | Op::Unary(_, a) => mark_inner(function, a, nodes, positions, taken),
        _ => {}
    }
}

/// The root becomes what the merged load gives.
#[expect(clippy::too_many_arguments, reason = "one step of one loop")]
fn rebuild(
    function: &mut Function,
    root: Value,
    load: Value,
    total: Size,
    swapped: bool,
    position: usize,
    inserted: &mut Vec<(usize, Value)>,
    same: &mut Vec<Option<Value>>,
) {
    let insn = function.nodes[root.index()].insn;
    let ty = function.ty(root);
    let op = match (ty, swapped) {
        (Type::I64, false) => {
            same.resize(function.nodes.len(), None);
            same[root.index()] = Some(load);
            return;
        }
        (_, false) => Op::Unary(UnaryOp::Reduce, load),
        (_, true) if total == Size::DW => Op::Unary(UnaryOp::SwapBytes, load),
        (_, true) => {
            let mut add = |function: &mut Function, op| {
                let value = function.add(op, Type::I32, insn);
                inserted.push((position, value));
                value
            };
            let low = add(function, Op::Unary(UnaryOp::Reduce, load));
            let swap = Op::Unary(UnaryOp::SwapBytes, low);
            let narrow = if total == Size::H {
                let swap = add(function, swap);
                let count = function.add(Op::Const(16), Type::I32, insn);
                Op::Binary(BinaryOp::LShr, swap, count)
            } else {
                swap
            };
            if ty == Type::I32 {
                narrow
            } else {
                let narrow = add(function, narrow);
                Op::Unary(UnaryOp::Widen, narrow)
            }
        }
    };
    function.nodes[root.index()].op = op;
}
