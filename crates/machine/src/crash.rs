//! Crash points: before and after every durable step, by name, so that a test can have a process die at each of them.
//!
//! They are there in builds with debug assertions alone, and only where the environment names a folder: a process that passes the
//! point NAME looks for a file of that name there, and dies of SIGKILL when it has found it as often as is written in it. So
//! one file is one death, of whichever process comes first.

use std::path::PathBuf;
use std::sync::OnceLock;

/// The environment variable that names the folder.
pub const FOLDER: &str = "ST2SA_CRASH_POINTS";

/// Declares the points with what they are.
macro_rules! points {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal;)+) => {
        /// A point at which a process may die.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Point {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Point {
            /// All of them; Python's own are [`IN_PYTHON`].
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The name: the file's.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }
        }
    };
}

points! {
    /// In the container: a poll has returned, and is no entry yet.
    PollReturned = "container-poll-returned";
    /// In the container: a commit is about to be sent.
    CommitUnsent = "container-commit-unsent";
    /// In the container: a commit was handed to the stream.
    CommitSent = "container-commit-sent";
    /// In the container: it hears that an entry is committed.
    CommittedHeard = "container-committed-heard";
    /// In the container: an entry's writes are about to be stored.
    WritesUnsent = "container-writes-unsent";
    /// In the container: an entry's writes are stored.
    WritesStored = "container-writes-stored";
    /// In the container: triggers are about to be handed on.
    TriggersUnsent = "container-triggers-unsent";
    /// In the container: triggers were handed on, and nobody has noted it.
    TriggersSent = "container-triggers-sent";
    /// In the container: an entry is applied, and not marked.
    MarkUnsent = "container-mark-unsent";
    /// In the container: a mark was handed to the stream.
    MarkSent = "container-mark-sent";
    /// In the container: it hears that a mark is stored.
    MarkedHeard = "container-marked-heard";
    /// In the container: a sensor is given to it.
    GrantHeard = "container-grant-heard";
    /// In the container: the copy of a sensor's own values was read.
    CopyRead = "container-copy-read";
    /// In the container: the word that a sensor has stopped is about to be given.
    WordUnsent = "container-word-unsent";
    /// In the arbitrator: a commit was heard.
    CommitHeard = "arbitrator-commit-heard";
    /// In the arbitrator: the store is about to be asked for a transaction.
    TransactionUnsent = "arbitrator-transaction-unsent";
    /// In the arbitrator: the store has answered a transaction, and nobody has heard of it.
    TransactionAnswered = "arbitrator-transaction-answered";
    /// In the arbitrator: a mark was heard.
    MarkHeard = "arbitrator-mark-heard";
    /// In the arbitrator: a sensor is about to be given to a container.
    GrantUnsent = "arbitrator-grant-unsent";
    /// In the arbitrator: a value is about to be stored.
    ValueUnstored = "arbitrator-value-unstored";
    /// In the arbitrator: a value is stored, and nobody has heard of it.
    ValueStored = "arbitrator-value-stored";
    /// In the guardian: it looks at the lease.
    LeaseSeen = "guardian-lease-seen";
}

/// Those in the host's processes (`st2sa_host/crash.py`): a poll is about to begin, and has returned, and nobody has heard of it.
pub const IN_PYTHON: &[&str] = &["sensor-poll-asked", "sensor-poll-returned", "host-fork-asked"];

/// Dies here, if that is asked for.
pub fn point(point: Point) {
    if cfg!(debug_assertions) {
        pass(point);
    }
}

fn pass(point: Point) {
    static POINTS: OnceLock<Option<PathBuf>> = OnceLock::new();
    let Some(folder) = POINTS.get_or_init(|| std::env::var_os(FOLDER).map(PathBuf::from)) else { return };
    let path = folder.join(point.name());
    let Ok(times) = std::fs::read_to_string(&path) else { return };
    match times.trim().parse::<u32>() {
        Ok(left @ 2..) => drop(std::fs::write(&path, (left - 1).to_string())),
        // Whoever removes it dies: of two processes one.
        _ if std::fs::remove_file(&path).is_ok() => {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
        _ => {}
    }
}
