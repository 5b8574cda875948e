//! Lints and formatting of the tracked Python files, by ruff.

use std::path::PathBuf;

use anyhow::Result;

use crate::needs;
use crate::program::Program;
use crate::workspace;

const RUFF_VERSION: &str = "0.17.6";

/// The tracked Python files.
pub(crate) fn files() -> Result<Vec<PathBuf>> {
    workspace::tracked("*.py")
}

/// Checks lints and formatting.
pub(crate) fn check() -> Result<()> {
    let lints = ruff(&["check"])?.run();
    let format = ruff(&["format", "--check"])?.run();
    lints.and(format)
}

/// Formats the files.
pub(crate) fn fix() -> Result<()> {
    ruff(&["format"])?.run()
}

fn ruff(args: &[&str]) -> Result<Program> {
    let program = venv().join("bin/ruff");
    let installed = Program::new(&program).args(["--version"]).answer();
    if installed != Some(format!("ruff {RUFF_VERSION}")) {
        install()?;
    }
    Ok(Program::new(&program).args(args).args(["--no-cache", "--"]).args(files()?))
}

fn install() -> Result<()> {
    needs::PYTHON_VENV.ensure()?;
    Program::new("python3").args(["-m", "venv", "--clear"]).args([venv()]).run()?;
    Program::new(venv().join("bin/python"))
        .args(["-m", "pip", "install", "--quiet"])
        .args(["--disable-pip-version-check"])
        .args([format!("ruff=={RUFF_VERSION}")])
        .run()
}

fn venv() -> PathBuf {
    workspace::tools_dir().join("ruff")
}
