//! The gate: every check there is, none of which writes a tracked file.

use std::process::ExitCode;

use anyhow::Result;

use crate::flags;
use crate::program::Program;
use crate::steps::{self, Step};
use crate::{bench, deny, hygiene, named_tests, needs, proto, python, sim, survival};

/// Seeds simulated by the gate: what the project promises to hold, some ten seconds of it.
const GATE_SEEDS: &str = "10000";

/// Seeds at the most for each guard that is taken out; most need a few hundred, all of them together
/// some two minutes. A guard whose absence takes more to be noticed is one the simulation hardly tests.
const GATE_SEEDS_PER_BROKEN_GUARD: &str = "10000";

/// Runs the gate.
pub(crate) fn run() -> Result<ExitCode> {
    needs::C_COMPILER.ensure()?;
    let mut steps = vec![
        Step::new("format", format),
        Step::new("clippy", clippy),
        Step::new("docs", docs),
        Step::new("generated", generated),
        Step::new("tests", tests),
        Step::new("survival by signals", survival::by_signals),
        Step::new("bench", bench::smoke),
        Step::new("simulation", simulation),
        Step::new("broken guards", broken_guards),
        Step::new("deny", deny::check),
        Step::new("hygiene", hygiene::check),
        Step::new("named tests", named_tests::check),
    ];
    if !python::files()?.is_empty() {
        steps.push(Step::new("python", python::check));
    }
    Ok(steps::run_all(&steps))
}

fn format() -> Result<()> {
    Program::cargo().args(["fmt", "--all", "--check"]).run()
}

fn clippy() -> Result<()> {
    Program::cargo().args(["clippy", "--workspace", "--all-targets", "--locked"]).args(["--", "-D", "warnings"]).run()
}

fn docs() -> Result<()> {
    let (variable, flags) = flags::appended("RUSTDOCFLAGS", &["-D", "warnings"]);
    Program::cargo()
        .args(["doc", "--workspace", "--no-deps"])
        .args(["--document-private-items", "--locked"])
        .env(variable, flags)
        .run()
}

fn generated() -> Result<()> {
    sim::guards(&["--check", "docs/guards.md"])?;
    proto::check()
}

fn tests() -> Result<()> {
    for server in [needs::ETCD, needs::REDIS, needs::ZOOKEEPER, needs::RABBITMQ] {
        server.ensure()?;
    }
    Program::cargo()
        .args(["test", "--workspace", "--locked", "--no-fail-fast"])
        // Else insta leaves its proposals beside the snapshots.
        .env("INSTA_UPDATE", "no")
        .run()
}

fn simulation() -> Result<()> {
    sim::check(&["--seeds", GATE_SEEDS])?;
    sim::check(&["--scenario", "all"])
}

fn broken_guards() -> Result<()> {
    sim::check(&["--broken", "all", "--seeds", GATE_SEEDS_PER_BROKEN_GUARD])
}
