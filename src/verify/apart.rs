//! Global functions, each walked alone: several at a time, or not at all where a cache knows them.
//!
//! In: functions that were called. Out: what the walk of each shows, added in the order of the functions, so that
//! nothing depends on which thread was faster. The reference is one function after the other, with one budget of
//! instructions for all: where that could make a difference, a function is walked once more in its turn.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use beelift_runtime::environment::thread_time;

use super::cache::{Cache, FunctionKeys};
use super::observe::Observed;
use super::policy::{Limits, Options};
use super::report::Failure;
use super::summary::{Members, Summary};
use super::{Inputs, at_entry, explore_function};

/// Walks some global functions.
pub(super) fn verify(
    inputs: Inputs<'_>,
    observed: &mut Observed,
    functions: &[usize],
    cache: Option<&Cache>,
) -> Result<(), Failure> {
    let program = inputs.program;
    let members: Vec<Members> =
        functions.iter().map(|sub| Members::of(program, inputs.structure, *sub)).collect();
    let keys = cache.and_then(|_| FunctionKeys::new(inputs));
    let key_of = |at: usize| keys.as_ref().map(|keys| keys.of(&members[at]));
    let mut found: Vec<Option<Arc<Summary>>> = vec![None; functions.len()];
    if let Some(cache) = cache {
        for (at, place) in found.iter_mut().enumerate() {
            *place = key_of(at).and_then(|key| cache.function(&key));
        }
    }
    let missing: Vec<usize> = (0..functions.len()).filter(|at| found[*at].is_none()).collect();
    let threads = (inputs.options.threads as usize).min(missing.len()); // u32 to usize
    if threads > 1 || cache.is_some() {
        // What threads take together stays within the limit; a function that needs more has all of it in its turn.
        let memory = inputs.options.limits.memory / threads.max(1) as u64; // usize to u64
        let options = Options { limits: Limits { memory, ..inputs.options.limits }, ..*inputs.options };
        let left = inputs.deadline.saturating_sub(thread_time());
        let walk = |at: usize, deadline: Duration| {
            let apart = Inputs { options: &options, deadline, ..inputs };
            summary(apart, functions[at], &members[at])
        };
        for (at, made) in missing.iter().zip(at_once(&missing, threads.max(1), left, walk)) {
            found[*at] = made.map(Arc::new);
            if let (Some(cache), Some(made)) = (cache, &found[*at])
                && let Some(key) = key_of(*at)
            {
                cache.keep_function(key, Arc::clone(made));
            }
        }
    }
    for ((found, &sub), members) in found.iter().zip(functions).zip(&members) {
        let fits = |found: &&Arc<Summary>| {
            found.processed() <= inputs.options.limits.processed.saturating_sub(observed.statistics.processed)
        };
        if !found.as_ref().filter(fits).is_some_and(|found| found.add_to(program, observed, members)) {
            explore_function(inputs, observed, None, sub)?;
        }
    }
    Ok(())
}

/// The function by itself; `None` if it is not accepted at once: the walk in its turn reports about it, or walks long
/// loops by ranges.
fn summary(inputs: Inputs<'_>, sub: usize, members: &Members) -> Option<Summary> {
    let mut own = Observed::new(inputs.program);
    at_entry(inputs, &mut own, None, sub).explore().ok()?;
    Some(Summary::of(inputs.program, &own, members))
}

/// Results for all of the work, in its order. Every thread may take the time that is left.
fn at_once<T: Send>(
    work: &[usize],
    threads: usize,
    left: Duration,
    of: impl Fn(usize, Duration) -> T + Sync,
) -> Vec<T> {
    if threads <= 1 {
        let deadline = thread_time().saturating_add(left);
        return work.iter().map(|at| of(*at, deadline)).collect();
    }
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::with_capacity(work.len()));
    let run = || {
        let deadline = thread_time().saturating_add(left);
        while let Some((index, at)) = {
            let index = next.fetch_add(1, Ordering::Relaxed);
            work.get(index).map(|at| (index, *at))
        } {
            let result = of(at, deadline);
            results.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(run);
        }
        run();
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_unstable_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}
