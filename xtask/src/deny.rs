//! Licences, bans and sources of all dependencies, by cargo-deny and `deny.toml`.

use anyhow::Result;

use crate::program::Program;
use crate::workspace;

const VERSION: &str = "0.20.2";

/// Checks the dependencies; installs cargo-deny first if need be.
pub(crate) fn check() -> Result<()> {
    let program = workspace::tools_dir().join("bin/cargo-deny");
    let installed = Program::new(&program).args(["--version"]).answer();
    if installed != Some(format!("cargo-deny {VERSION}")) {
        install()?;
    }
    // Advisories stay out: their database is a git repository that not every network lets through.
    Program::new(&program).args(["--locked", "check", "bans", "licenses", "sources"]).run()
}

fn install() -> Result<()> {
    let tools = workspace::tools_dir();
    eprintln!("installing cargo-deny {VERSION}, once: this takes 2-4 minutes");
    Program::cargo()
        .args(["install", "--locked", "--version", VERSION, "cargo-deny"])
        .args(["--root".into(), tools.clone()])
        .env("CARGO_TARGET_DIR", tools.join("build"))
        .run()
}
