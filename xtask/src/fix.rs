//! The gate's mending twin: rewrites what the gate compares.

use std::process::ExitCode;

use anyhow::Result;

use crate::program::Program;
use crate::steps::{self, Step};
use crate::{needs, proto, python, sim};

/// Mends what can be mended.
pub(crate) fn run() -> Result<ExitCode> {
    needs::C_COMPILER.ensure()?;
    // Nothing can be built without the contracts' code; clippy's mending leaves lines that want formatting.
    let mut steps = vec![
        Step::new("contracts", proto::write),
        Step::new("clippy", clippy),
        Step::new("format", format),
        Step::new("generated", generated),
        Step::new("snapshots", snapshots),
    ];
    if !python::files()?.is_empty() {
        steps.push(Step::new("python", python::fix));
    }
    Ok(steps::run_all(&steps))
}

fn clippy() -> Result<()> {
    Program::cargo()
        .args(["clippy", "--workspace", "--all-targets", "--fix"])
        .args(["--allow-dirty", "--allow-staged"])
        .run()
}

fn format() -> Result<()> {
    Program::cargo().args(["fmt", "--all"]).run()
}

fn generated() -> Result<()> {
    sim::guards(&["--write", "docs/guards.md"])?;
    Program::cargo().args(["test", "-p", "st2sa", "--bin", "st2sa", "reference"]).env("UPDATE_DOCS", "1").run()?;
    Program::cargo().args(["test", "-p", "st2sa", "--test", "it", "session::"]).env("UPDATE_DOCS", "1").run()
}

fn snapshots() -> Result<()> {
    Program::cargo().args(["test", "-p", "st2sa-sim"]).env("INSTA_UPDATE", "always").env("INSTA_FORCE_PASS", "1").run()
}
