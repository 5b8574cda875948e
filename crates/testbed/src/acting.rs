//! Whether a process can act: it lives, and nobody has stopped or frozen it.

use std::fs;
use std::path::{Path, PathBuf};

use st2sa_machine::processes::Process;

/// Whether it lives, is not stopped by a signal, and its control group is not frozen.
pub fn can_act(process: Process) -> bool {
    !process.is_stopped() && !is_frozen(process).unwrap_or_default()
}

/// Whether all of its control group (version 2) is frozen; `None` where that cannot be told.
fn is_frozen(process: Process) -> Option<bool> {
    let groups = fs::read_to_string(format!("/proc/{}/cgroup", process.pid)).ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let events = fs::read_to_string(mount_point()?.join(group).join("cgroup.events")).ok()?;
    Some(events.lines().any(|line| line == "frozen 1"))
}

/// Where control groups are.
fn mount_point() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().find_map(|line| {
        // "36 35 0:31 ROOT MOUNTPOINT options … - cgroup2 cgroup2 rw"
        let (front, back) = line.split_once(" - ")?;
        let point = front.split(' ').nth(4)?;
        back.starts_with("cgroup2 ").then(|| Path::new(point).to_owned())
    })
}
