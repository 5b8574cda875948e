//! Runs seeds on all cores, counts, shrinks what fails, and breaks guards to see that they matter.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::Violation;
use crate::plan::Run;
use crate::trace::Trace;
use crate::windows::Window;
use crate::world::{Outcome, World};

/// What many runs came to.
#[derive(Debug, Default)]
pub struct Summary {
    /// Runs played.
    pub runs: u64,
    /// Happenings worked off.
    pub events: u64,
    /// Simulated nanoseconds.
    pub simulated: u128,
    /// How often each window was entered.
    pub windows: BTreeMap<Window, u64>,
    /// Failed seeds, lowest first.
    pub failures: BTreeMap<u64, Violation>,
}

impl Summary {
    /// Windows that no run entered.
    pub fn missed(&self) -> Vec<Window> {
        Window::ALL.iter().copied().filter(|window| !self.windows.contains_key(window)).collect()
    }

    /// How many failures each invariant found.
    pub fn by_invariant(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for violation in self.failures.values() {
            *counts.entry(violation.invariant).or_default() += 1;
        }
        counts
    }
}

/// Plays `make(seed)` for every seed from `from` on, on all cores; stops early after `enough` failures.
pub fn seeds(from: u64, count: u64, enough: usize, make: &(dyn Fn(u64) -> Run + Sync)) -> Summary {
    let summary = Mutex::new(Summary::default());
    let next = AtomicU64::new(from);
    let stop = AtomicBool::new(false);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        while !stop.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= from.saturating_add(count) {
                return;
            }
            let outcome = World::new(make(seed), Trace::silent()).finish();
            let mut summary = summary.lock().unwrap_or_else(PoisonError::into_inner);
            summary.add(seed, outcome);
            if summary.failures.len() >= enough {
                stop.store(true, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(work);
        }
    });
    summary.into_inner().unwrap_or_else(PoisonError::into_inner)
}

impl Summary {
    fn add(&mut self, seed: u64, outcome: Outcome) {
        self.runs += 1;
        self.events += outcome.events;
        self.simulated += u128::from(outcome.simulated);
        for (window, count) in outcome.windows {
            *self.windows.entry(window).or_default() += count;
        }
        if let Some(violation) = outcome.violation {
            self.failures.insert(seed, violation);
        }
    }
}

/// The fewest of a failing run's faults that still break the same invariant, by their numbers.
pub fn shrink(run: &Run, invariant: &str) -> Vec<usize> {
    let fails = |kept: &[usize]| {
        let outcome = World::new(keep(run, kept), Trace::silent()).finish();
        outcome.violation.is_some_and(|violation| violation.invariant == invariant)
    };
    let mut kept: Vec<usize> = (0..run.faults.len()).collect();
    let mut chunk = kept.len().div_ceil(2);
    while chunk > 0 {
        let mut start = 0;
        while start < kept.len() {
            let mut fewer = kept.clone();
            fewer.drain(start..(start + chunk).min(kept.len()));
            if fails(&fewer) {
                kept = fewer;
            } else {
                start += chunk;
            }
        }
        chunk /= 2;
    }
    kept
}

/// The run with these faults alone.
pub fn keep(run: &Run, kept: &[usize]) -> Run {
    let faults = kept.iter().filter_map(|index| run.faults.get(*index).cloned()).collect();
    Run { setup: run.setup.clone(), faults }
}
