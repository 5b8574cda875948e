//! Everything below one process, frozen, let go and killed together: by its control group where there is one, else
//! by signals to each process. Guardian and container do it in the same way, so that the one undoes the other's.

use std::io;
use std::process::Command;
use std::time::Duration;

use st2sa_machine::cgroup::Cgroup;
use st2sa_machine::processes::{self, Process};

/// What was killed is dead within this; what is not hangs in the kernel.
const DEAD_WITHIN: Duration = Duration::from_secs(1);

/// The sensor processes of one container.
#[derive(Debug)]
pub(crate) struct Herd {
    group: Option<Cgroup>,
}

impl Herd {
    /// The guardian's: it makes the group, if it may.
    pub(crate) fn make(mark: &str) -> Self {
        Self { group: Cgroup::make(&group_of(mark)) }
    }

    /// The container's: the group that its guardian has made.
    pub(crate) fn find(mark: &str) -> Self {
        Self { group: Cgroup::find(&group_of(mark)) }
    }

    /// How it is held together, for people.
    pub(crate) fn describe(&self) -> &'static str {
        if self.group.is_some() { "control group" } else { "signals" }
    }

    /// Has a program begin in it.
    pub(crate) fn start_in(&self, command: &mut Command) -> io::Result<()> {
        self.group.as_ref().map_or(Ok(()), |group| group.start_in(command))
    }

    /// Freezes everything below `root` but the process `but`; what cannot be frozen is killed.
    pub(crate) fn freeze(&self, root: i32, but: Option<i32>) {
        let frozen = match &self.group {
            Some(group) => group.freeze(),
            None => processes::stop_below(root, but),
        };
        if !frozen {
            tracing::error!("a sensor process cannot be frozen: all are killed");
            let others: Vec<Process> =
                processes::children(root).into_iter().filter(|child| Some(child.pid) != but).collect();
            self.kill(&others);
        }
    }

    /// Lets everything below `root` go on.
    pub(crate) fn thaw(&self, root: i32) {
        if let Some(group) = &self.group {
            group.thaw();
        }
        // What was stopped by signals, before there was a group or by somebody else, goes on too.
        processes::continue_below(root);
    }

    /// Kills `roots` and everything below them, and all of the group; returns whether all is dead.
    pub(crate) fn kill(&self, roots: &[Process]) -> bool {
        let killed = processes::kill_trees(roots);
        if let Some(group) = &self.group {
            group.kill();
        }
        processes::wait_until_dead(&killed, DEAD_WITHIN)
    }

    /// Nothing is left in it.
    pub(crate) fn remove(&self) {
        if let Some(group) = &self.group {
            group.remove();
        }
    }
}

fn group_of(mark: &str) -> String {
    format!("st2sa-{mark}")
}
