//! A place of its own: this program starts itself again with its own network and its own `/run/netns`, which nobody else sees and
//! which are gone with its last process; and with a folder for temporary files, which is removed after it, also after a Ctrl-C.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use st2sa_machine::processes;
use tokio::signal::unix::{SignalKind, signal};

/// In the environment of the one inside.
const INSIDE: &str = "ST2SA_CLUSTER_INSIDE";
/// What has lost its parent is gone within this.
const GONE_WITHIN: Duration = Duration::from_secs(5);
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Whether this is the one inside.
pub(crate) fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Hides the names of others' namespaces: from here on they are this program's own.
pub(crate) fn enter() -> Result<(), String> {
    std::fs::create_dir_all("/run/netns").map_err(|error| format!("cannot make `/run/netns`: {error}"))?;
    let mounted = Command::new("mount").args(["-t", "tmpfs", "st2sa", "/run/netns"]).status();
    match mounted {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("cannot mount a tmpfs on `/run/netns`: {status}")),
        Err(error) => Err(format!("cannot start `mount`: {error}")),
    }
}

/// Runs the same command line inside; what it ends with, as a shell counts it.
pub(crate) fn run_again() -> Result<u8, String> {
    if !rustix::process::geteuid().is_root() {
        return Err("network namespaces need root: run it as root, or in a container that may make them".to_owned());
    }
    let folder = tempfile::Builder::new().prefix("st2sa-cluster-").tempdir();
    let folder = folder.map_err(|error| format!("cannot make a folder: {error}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot start a runtime: {error}"))?;
    let status = runtime.block_on(inside(folder.path())).map_err(|error| format!("cannot start it inside: {error}"))?;
    let mark = format!("TMPDIR={}", folder.path().display());
    let since = Instant::now();
    while !processes::with_environment(&mark).unwrap_or_default().is_empty() && since.elapsed() < GONE_WITHIN {
        std::thread::sleep(LOOK_EVERY);
    }
    let left = processes::with_environment(&mark).unwrap_or_default();
    processes::kill_trees(&left);
    match status.map(|status| status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())) {
        Some(0) => Ok(0),
        Some(code) => {
            eprintln!("logs are kept: {}", folder.keep().display());
            Ok(u8::try_from(code).unwrap_or(1))
        }
        None => Ok(130),
    }
}

/// `None` when it was to stop.
async fn inside(folder: &Path) -> io::Result<Option<ExitStatus>> {
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--"]).arg(std::env::current_exe()?);
    command.args(std::env::args_os().skip(1).collect::<Vec<OsString>>());
    // What fails says what was waited for, and what the logs say last: where in here that was is of no use.
    command.env(INSIDE, "yes").env("TMPDIR", folder).env("RUST_BACKTRACE", "0");
    processes::die_with_parent(&mut command);
    let (mut interrupted, mut terminated) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut child = tokio::process::Command::from(command).spawn()?;
    let status = tokio::select! {
        status = child.wait() => Some(status?),
        _ = interrupted.recv() => None,
        _ = terminated.recv() => None,
    };
    if status.is_none() {
        // A terminal's Ctrl-C has reached it, too.
        let _ = child.start_kill();
        child.wait().await?;
    }
    Ok(status)
}
