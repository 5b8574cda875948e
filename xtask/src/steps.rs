//! Runs steps one after another, a failing one included, and closes with their table.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::table;

/// A named part of a task.
pub(crate) struct Step {
    name: &'static str,
    run: fn() -> Result<()>,
}

impl Step {
    /// A step that passes if `run` does.
    pub(crate) fn new(name: &'static str, run: fn() -> Result<()>) -> Self {
        Self { name, run }
    }
}

/// How a step went.
pub(crate) struct Outcome {
    /// The step's name.
    pub(crate) name: &'static str,
    /// How long it took.
    pub(crate) took: Duration,
    /// Whether it passed.
    pub(crate) passed: bool,
}

/// Runs all steps, prints the table, and fails if any step failed.
pub(crate) fn run_all(steps: &[Step]) -> ExitCode {
    let outcomes: Vec<Outcome> = steps.iter().map(run_one).collect();
    println!("\n{}", table::rendered(&outcomes));
    if outcomes.iter().all(|outcome| outcome.passed) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_one(step: &Step) -> Outcome {
    let name = step.name;
    eprintln!("\n==> {name}");
    let start = Instant::now();
    let result = (step.run)();
    let took = start.elapsed();
    if let Err(error) = &result {
        eprintln!("error: {name}: {error:#}");
    }
    Outcome { name, took, passed: result.is_ok() }
}
