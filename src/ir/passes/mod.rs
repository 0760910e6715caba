//! Passes over one function, in the order they run. Each is linear and has its own file and cases.
//!
//! In and out: a [`Function`]. Not here: folding of single operations (`fold`), which happens while building.
#![forbid(unsafe_code)]

mod bytes;
mod callee;
mod chain;
mod exits;
mod frame;
mod idioms;
mod ladder;
mod latch;
mod narrow;
mod params;
mod select;
mod stores;
mod sweep;
mod thread;

use super::Options;
use super::func::{Function, Value};

/// Runs all passes.
pub(crate) fn run(function: &mut Function, options: Options) {
    let _ = options;
    params::run(function);
    sweep::run(function);
    let (threaded, split) = (thread::run(function), callee::run(function));
    if threaded || split {
        sweep::run(function);
    }
    if frame::run(function) {
        params::run(function);
    }
    stores::run(function);
    bytes::run(function);
    idioms::run(function);
    ladder::run(function);
    select::run(function);
    narrow::run(function);
    exits::run(function);
    chain::run(function);
    latch::run(function);
    sweep::run(function);
}

/// Uses of a value become uses of the one that is the same. Chains are followed.
fn replace(function: &mut Function, same: &[Option<Value>]) {
    let resolve = |mut value: Value| {
        while let Some(Some(other)) = same.get(value.index()) {
            value = *other;
        }
        value
    };
    for node in &mut function.nodes {
        node.op.map(resolve);
    }
    for args in &mut function.args {
        for arg in args {
            *arg = resolve(*arg);
        }
    }
    for block in &mut function.blocks {
        block.end.map(resolve);
    }
}
