//! Measurements of the product on real processes.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;

use crate::program::Program;

/// Builds the product and the measurements in release, and runs them with `args`.
pub(crate) fn pass_through(args: &[OsString]) -> Result<ExitCode> {
    Program::cargo().args(["build", "--release", "--locked", "--package", "st2sa"]).run()?;
    let code = Program::cargo()
        .args(["run", "--release", "--locked", "--quiet", "--package", "st2sa-bench", "--"])
        .args(args)
        .run_through()?;
    Ok(ExitCode::from(code))
}

/// One of each measurement, a small one, against the debug build, so that the measurements themselves keep working.
pub(crate) fn smoke() -> Result<()> {
    Program::cargo().args(["build", "--locked", "--package", "st2sa"]).run()?;
    for measure in [
        &["failover", "--kills=1"][..],
        &["moves", "--moves=2", "--drained=10"],
        &["leaders", "--store=redis", "--kills=1"],
        &["frozen", "--store=redis", "--times=1"],
        &["load", "--store=redis", "--sensors=4", "--containers=2", "--settles=1", "--seconds=2"],
    ] {
        Program::cargo()
            .args(["run", "--locked", "--quiet", "--package", "st2sa-bench", "--"])
            .args(["--binary", "target/debug/st2sa"])
            .args(measure)
            .run()?;
    }
    Ok(())
}
