//! A control group (version 2) for a container's processes, where this user may make one: it freezes and kills
//! all that is in it at once, whatever forks meanwhile.
//!
//! systemd grants it with `Delegate=yes`; root has it anyway. Where there is none, signals do (`processes`).

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

/// Freezing takes microseconds for what runs, and for what hangs in the kernel as long as that takes: it
/// freezes before it runs again.
const FROZEN_WITHIN: Duration = Duration::from_millis(50);

/// A control group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    folder: PathBuf,
}

impl Cgroup {
    /// Makes the group `name` below this process's own, or finds it there; `None` where that is not granted.
    pub fn make(name: &str) -> Option<Self> {
        let group = Self { folder: own()?.join(name) };
        match fs::create_dir(&group.folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return None,
            Ok(()) | Err(_) => {}
        }
        // Processes can be moved into it, and it can be frozen and killed (Linux 5.14).
        let usable = ["cgroup.procs", "cgroup.freeze", "cgroup.kill"];
        let usable = usable.iter().all(|file| File::options().write(true).open(group.folder.join(file)).is_ok());
        if !usable || !group.takes_processes() {
            group.remove();
            return None;
        }
        Some(group)
    }

    /// The groups below this process's own whose names begin so.
    pub fn find(prefix: &str) -> Vec<Self> {
        let folders = own().and_then(|own| fs::read_dir(own).ok()).into_iter().flatten().flatten();
        let wanted = folders.filter(|folder| folder.file_name().to_string_lossy().starts_with(prefix));
        wanted.map(|folder| Self { folder: folder.path() }).filter(|group| group.folder.is_dir()).collect()
    }

    /// Its name.
    pub fn name(&self) -> String {
        self.folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Has a program begin in this group.
    ///
    /// # Errors
    /// When the group is gone.
    #[expect(unsafe_code, reason = "there is no other way to be in it before the program begins")]
    pub fn start_in(&self, command: &mut Command) -> io::Result<()> {
        let members = File::options().write(true).open(self.folder.join("cgroup.procs"))?;
        // SAFETY: between fork and exec only one system call is made, which is safe to make there.
        unsafe {
            command.pre_exec(move || rustix::io::write(&members, b"0").map(drop).map_err(io::Error::from));
        }
        Ok(())
    }

    /// Freezes all that is in it; returns whether all of it is frozen.
    pub fn freeze(&self) -> bool {
        const LOOK_EVERY: Duration = Duration::from_micros(100);
        if self.write("cgroup.freeze", "1").is_err() {
            return false;
        }
        let since = Instant::now();
        while since.elapsed() < FROZEN_WITHIN {
            let events = fs::read_to_string(self.folder.join("cgroup.events")).unwrap_or_default();
            if events.lines().any(|line| line == "frozen 1") {
                return true;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        // What is not frozen now hangs in the kernel, and freezes on its way out of there.
        true
    }

    /// Lets all that is in it go on.
    pub fn thaw(&self) {
        // A group that is gone holds nothing frozen.
        let _ = self.write("cgroup.freeze", "0");
    }

    /// Whether it is frozen, or being frozen.
    pub fn is_frozen(&self) -> bool {
        fs::read_to_string(self.folder.join("cgroup.freeze")).is_ok_and(|text| text.trim() == "1")
    }

    /// Kills all that is in it, and waits until nothing is; returns whether that came to be.
    pub fn kill(&self, longest: Duration) -> bool {
        const LOOK_EVERY: Duration = Duration::from_millis(1);
        let since = Instant::now();
        while !self.kill_now() {
            if since.elapsed() >= longest {
                return false;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        true
    }

    /// Kills all that is in it, and waits for nothing; returns whether it is empty already.
    pub fn kill_now(&self) -> bool {
        // A group that is gone holds nothing alive.
        let _ = self.write("cgroup.kill", "1");
        // A process whose first thread has ended is overlooked by that.
        for pid in fs::read_to_string(self.folder.join("cgroup.procs")).unwrap_or_default().lines() {
            if let Some(pid) = pid.parse().ok().and_then(Pid::from_raw) {
                // It may have ended in between.
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
        let events = fs::read_to_string(self.folder.join("cgroup.events"));
        events.map_or(true, |events| events.lines().any(|line| line == "populated 0"))
    }

    /// Removes the group, if nothing is in it.
    pub fn remove(&self) {
        // Whoever comes next removes it.
        let _ = fs::remove_dir(&self.folder);
    }

    /// Whether a process of this one's can be moved into it: some parents allow none.
    fn takes_processes(&self) -> bool {
        let mut probe = Command::new("/proc/self/exe");
        // Never begun: a program that cannot be started has gone through what comes before its start.
        probe.current_dir(self.folder.join("nowhere"));
        let moved = self.start_in(&mut probe).is_ok();
        moved && probe.spawn().is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }

    fn write(&self, file: &str, text: &str) -> io::Result<()> {
        fs::write(self.folder.join(file), text)
    }
}

/// The folder of this process's own group.
fn own() -> Option<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?.to_owned();
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().find_map(|line| {
        // "36 35 0:31 ROOT MOUNTPOINT options … - cgroup2 cgroup2 rw"
        let (front, back) = line.split_once(" - ")?;
        let mut fields = front.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        (back.starts_with("cgroup2 ") && root == "/").then(|| Path::new(point).join(&own))
    })
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;
    use crate::processes::{Process, wait_until_dead};

    #[test]
    fn what_begins_in_a_group_is_frozen_thawed_and_killed_with_it() {
        let name = format!("st2sa-test-{}", std::process::id());
        // Not granted everywhere: then signals do, and there is nothing to see here.
        let Some(group) = Cgroup::make(&name) else { return };
        assert_eq!(Cgroup::find(&name), std::slice::from_ref(&group));
        let mut shell = Command::new("sh");
        // Each turn of the loop is a line; frozen, none comes.
        shell.args(["-c", "while true; do sleep 0.01; done"]).stdin(Stdio::null());
        group.start_in(&mut shell).unwrap();
        let mut child = shell.spawn().unwrap();
        let process = Process::of(i32::try_from(child.id()).unwrap()).unwrap();
        assert!(group.freeze());
        let events = fs::read_to_string(group.folder.join("cgroup.events")).unwrap();
        assert!(events.contains("populated 1") && events.contains("frozen 1"), "{events}");
        group.thaw();
        assert!(process.lives());
        group.freeze();
        assert!(group.is_frozen() && group.kill(Duration::from_secs(10)));
        assert!(wait_until_dead(&[process], Duration::from_secs(10)));
        child.wait().unwrap();
        group.remove();
        assert_eq!(Cgroup::find(&name), []);
    }
}
