//! The container's state folder: its lock, and what the run before it left behind.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use st2sa_core::names::{ContainerName, Incarnation};
use st2sa_machine::files::{self, FileError, Lock};
use st2sa_machine::identity;
use st2sa_machine::processes::{self, Process};

use crate::herd::Herd;

/// What every process of a container finds in its environment: the run of the container that it belongs to.
pub(crate) const MARK: &str = "ST2SA_INCARNATION";

/// The guardian of a container that has died needs milliseconds to end what it guards, and itself.
const GUARDIAN_ENDS_WITHIN: Duration = Duration::from_secs(2);
/// What was killed is dead within this.
const DEAD_WITHIN: Duration = Duration::from_secs(1);
/// The run's file is a line.
const RUN_BYTES_AT_MOST: u64 = 4_096;

/// The folder of one run.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) folder: PathBuf,
    pub(crate) lock: Lock,
    pub(crate) incarnation: Incarnation,
    /// The run before this one, if all of it is known to have stopped.
    pub(crate) succeeds: Option<Incarnation>,
}

/// One run, as it notes itself.
#[derive(Debug, Serialize, Deserialize)]
struct Run {
    #[serde(default)]
    name: String,
    incarnation: u64,
    machine: u64,
    pid: i32,
    began: u64,
}

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file of it.
    #[error(transparent)]
    File(#[from] FileError),
    /// Another container of that name runs here.
    #[error(
        "the container `{name}` runs with the state folder `{}` already, as process {pid}; give this one another --name, \
         and another --state-dir if you chose it",
        folder.display()
    )]
    NameTaken {
        /// The folder.
        folder: PathBuf,
        /// The name of the one that runs.
        name: ContainerName,
        /// Its process.
        pid: i32,
    },
}

impl State {
    /// Takes the folder over: whatever an earlier run left running is ended first.
    pub(crate) fn open(folder: &Path, name: &ContainerName) -> Result<Self, StateError> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(FileError::io("create", folder))?;
        check_private(folder)?;
        let path = folder.join("run");
        let who = format!("container {name}, process {}", std::process::id());
        let lock = take_lock(folder, &path, &who)?;
        // Read under the lock: whoever had it last wrote it.
        let succeeds = read_run(&path)?.filter(ended).map(|before| Incarnation(before.incarnation));
        let incarnation = Incarnation(identity::random());
        let own = i32::try_from(std::process::id()).unwrap_or_default();
        let run = Run {
            name: name.to_string(),
            incarnation: incarnation.0,
            machine: identity::machine().0,
            pid: own,
            began: Process::of(own).map_or(0, |process| process.began),
        };
        let text =
            serde_json::to_string(&run).map_err(|error| FileError::io("write", &path)(io::Error::other(error)))?;
        files::write_whole(&path, text.as_bytes())?;
        Ok(Self { folder: folder.to_owned(), lock, incarnation, succeeds })
    }
}

fn read_run(path: &Path) -> Result<Option<Run>, FileError> {
    Ok(files::read_small(path, RUN_BYTES_AT_MOST)?.and_then(|text| serde_json::from_str(&text).ok()))
}

/// Python is started from there: nobody else may write into it.
fn check_private(folder: &Path) -> Result<(), FileError> {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::symlink_metadata(folder).map_err(FileError::io("look at", folder))?;
    let own = rustix::process::geteuid().as_raw();
    if metadata.is_dir() && metadata.uid() == own && metadata.mode() & 0o022 == 0 {
        return Ok(());
    }
    let problem = "it must be a folder of this user's that nobody else may write into; choose another with --state-dir";
    Err(FileError::Damaged { path: folder.to_owned(), problem: problem.to_owned() })
}

/// How a run is named in the environment of its processes.
pub(crate) fn mark(incarnation: Incarnation) -> String {
    format!("{:016x}", incarnation.0)
}

/// Takes the lock; a guardian that still holds it has its time to end, and is then killed.
fn take_lock(folder: &Path, path: &Path, who: &str) -> Result<Lock, StateError> {
    const LOOK_EVERY: Duration = Duration::from_millis(5);
    let since = Instant::now();
    let mut killed = false;
    loop {
        let error = match Lock::take(folder, who) {
            Ok(lock) => return Ok(lock),
            Err(error @ FileError::InUse { .. }) => error,
            Err(error) => return Err(error.into()),
        };
        let Some(before) = read_run(path)? else { return Err(error.into()) };
        if (Process { pid: before.pid, began: before.began }).lives() {
            let (folder, name) = (folder.to_owned(), ContainerName::new(before.name));
            return Err(StateError::NameTaken { folder, name, pid: before.pid });
        }
        if since.elapsed() >= GUARDIAN_ENDS_WITHIN {
            if killed {
                return Err(error.into());
            }
            end(&before);
            killed = true;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Ends what is left of an earlier run; whether nothing of it lives any more, on this very machine and boot.
fn ended(before: &Run) -> bool {
    end(before) && before.machine == identity::machine().0
}

/// Ends what is left of an earlier run, until a look finds nothing more of it.
fn end(before: &Run) -> bool {
    const LOOKS_AT_MOST: u32 = 10;
    let mark = mark(Incarnation(before.incarnation));
    for _ in 0..LOOKS_AT_MOST {
        // What cannot be looked for may be there.
        let Ok(left) = processes::with_environment(&format!("{MARK}={mark}")) else { return false };
        if left.is_empty() {
            return Herd::end_all(&mark);
        }
        tracing::warn!(processes = left.len(), "ending what an earlier run of this container left behind");
        processes::wait_until_dead(&processes::kill_trees(&left), DEAD_WITHIN);
    }
    false
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn name() -> ContainerName {
        ContainerName::new("a")
    }

    #[test]
    fn a_run_succeeds_the_one_before_it_once_nothing_of_that_lives() {
        let folder = tempfile::tempdir().unwrap();
        let first = State::open(folder.path(), &name()).unwrap();
        assert_eq!(first.succeeds, None);
        let incarnation = first.incarnation;
        let mut left = Command::new("sleep").arg("60").env(MARK, mark(incarnation)).spawn().unwrap();
        drop(first);
        // The zombie is this test's to reap; dead it is. A process that another test forks at this very moment has the lock
        // until it has become a program of its own.
        let since = std::time::Instant::now();
        let second = loop {
            match State::open(folder.path(), &name()) {
                Ok(second) => break second,
                Err(error) => assert!(since.elapsed() < std::time::Duration::from_secs(5), "{error}"),
            }
            std::thread::yield_now();
        };
        assert_eq!(second.succeeds, Some(incarnation));
        assert!(!left.wait().unwrap().success());
    }

    #[test]
    fn a_second_container_of_one_name_is_refused_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let _first = State::open(folder.path(), &name()).unwrap();
        let error = State::open(folder.path(), &name()).unwrap_err().to_string();
        assert!(error.contains(&format!("as process {}", std::process::id())), "{error}");
    }
}
