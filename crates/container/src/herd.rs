//! Everything below one process, frozen, let go and killed together: by its control group where there is one, else
//! by signals to each process. Guardian and container do it in the same way, so that the one undoes the other's.

use std::io;
use std::process::Command;
use std::time::{Duration, Instant};

use st2sa_machine::cgroup::Cgroup;
use st2sa_machine::processes::{self, Process};

/// What was killed is dead within this; what is not hangs in the kernel, or has gigabytes to give back. Either way it
/// runs no instruction of its own any more.
const DEAD_WITHIN: Duration = Duration::from_secs(1);
/// What was killed is waited for so long before a look for what it may have left behind: a look goes over every process
/// of the machine.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// The kernel counts the dead of a group a moment after they are seen dead.
const GROUP_EMPTY_AFTER: Duration = Duration::from_millis(1);

/// The sensor processes of one container.
#[derive(Debug)]
pub(crate) struct Herd {
    group: Option<Cgroup>,
}

impl Herd {
    /// The guardian's: it makes the group, if it may. Each guardian has its own: an earlier one may be left frozen.
    pub(crate) fn make(mark: &str) -> Self {
        for group in Cgroup::find("st2sa-") {
            // Left by a guardian that was killed with everything else; one that is not empty stays.
            let guardian = group.name().rsplit('-').next().and_then(|pid| pid.parse().ok());
            if guardian.is_some_and(|pid| Process::of(pid).is_none()) {
                group.remove();
            }
        }
        Self { group: Cgroup::make(&group_of(mark, std::process::id())) }
    }

    /// The container's: the group that its guardian has made.
    pub(crate) fn of(mark: &str, guardian: u32) -> Self {
        Self { group: Cgroup::find(&group_of(mark, guardian)).pop() }
    }

    /// Kills and removes whatever is left of the groups of a run; whether nothing is.
    pub(crate) fn end_all(mark: &str) -> bool {
        let groups = Cgroup::find(&format!("st2sa-{mark}"));
        let ended = groups.iter().map(|group| {
            let empty = group.kill(DEAD_WITHIN);
            group.remove();
            empty
        });
        // Each of them, also after one that is not.
        ended.fold(true, |all, one| all & one)
    }

    /// Whether what is started in it would not begin.
    pub(crate) fn is_frozen(&self) -> bool {
        self.group.as_ref().is_some_and(Cgroup::is_frozen)
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
            self.kill(root, but);
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

    /// Kills everything below `root`, and all of the group, until nothing is left; returns whether that came to be.
    ///
    /// What loses its parent meanwhile comes to be below `root` itself: it is looked for again. Each look kills all that
    /// it finds before it waits for any of it: one that takes its time to end keeps no other alive.
    pub(crate) fn kill(&self, root: i32, but: Option<i32>) -> bool {
        let since = Instant::now();
        loop {
            let empty = self.group.as_ref().is_none_or(Cgroup::kill_now);
            let children = processes::children(root).into_iter();
            let living: Vec<Process> = children.filter(|child| Some(child.pid) != but && child.lives()).collect();
            if living.is_empty() && empty {
                return true;
            }
            let killed = if living.is_empty() { Vec::new() } else { processes::kill_trees(&living) };
            if since.elapsed() >= DEAD_WITHIN {
                return false;
            }
            processes::wait_until_dead(&killed, LOOK_AGAIN_AFTER);
            if !empty {
                std::thread::sleep(GROUP_EMPTY_AFTER);
            }
        }
    }

    /// Nothing is left in it.
    pub(crate) fn remove(&self) {
        if let Some(group) = &self.group {
            group.remove();
        }
    }
}

fn group_of(mark: &str, guardian: u32) -> String {
    format!("st2sa-{mark}-{guardian}")
}
