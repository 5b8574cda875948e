//! The survival tests once more, as a user who may have no control groups: by signals alone.

use anyhow::{Context, Result};

use crate::program::Program;
use crate::workspace;

/// Nobody's: no process of another user can be reached with it.
const USER: &str = "54321";

/// Runs those that freeze and kill, as an unprivileged user. Where this is one already, they have run so anyway.
pub(crate) fn by_signals() -> Result<()> {
    let unprivileged = [
        format!("--reuid={USER}"),
        format!("--regid={USER}"),
        "--clear-groups".to_owned(),
        "--no-new-privs".to_owned(),
    ];
    if Program::new("id").args(["-u"]).answer().as_deref() != Some("0") {
        eprintln!("the tests have run as an unprivileged user already");
        return Ok(());
    }
    let binary = workspace::target_dir().join("debug/st2sa");
    let reachable = Program::new("setpriv").args(&unprivileged).args(["test", "-x"]).args([&binary]).answer();
    if reachable.is_none() {
        eprintln!("another user cannot reach `{}`: the tests by signals are left out here", binary.display());
        return Ok(());
    }
    let version = Program::new("rustc").args(["-vV"]).read()?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc does not name its host")?;
    let runner = format!("CARGO_TARGET_{}_RUNNER", host.to_uppercase().replace('-', "_"));
    Program::cargo()
        .args(["test", "--locked", "--package", "st2sa", "--test", "it", "--", "leftovers::", "stopped::"])
        // Which store arbitrators share makes no difference to what freezes and kills.
        .args(["etcd::", "redis::", "zookeeper::"].iter().flat_map(|engine| ["--skip", engine]))
        .env(runner, format!("setpriv {} env HOME=/tmp", unprivileged.join(" ")))
        .run()
}
