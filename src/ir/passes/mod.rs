//! Passes over one function, in the order they run. Each is linear and has its own file and cases.
//!
//! In and out: a [`Function`]. Not here: folding of single operations (`fold`), which happens while building.
#![forbid(unsafe_code)]

mod params;
mod sweep;

use super::Options;
use super::func::Function;

/// Runs all passes.
pub(crate) fn run(function: &mut Function, options: Options) {
    let _ = options;
    params::run(function);
    sweep::run(function);
}
