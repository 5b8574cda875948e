//! The guardian: a tiny single-threaded process, parent and subreaper of every sensor process.
//!
//! It freezes everything below it when the lease ends, lets it go on when the lease is back, and kills all of
//! it when its container is gone. What it decides is core's [`Guardian`]; here are its hands.
//!
//! Each sensor process is a subreaper for what it forks. So whatever the guardian adopts has lost its sensor
//! process, and is killed.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::net::{RecvFlags, SendFlags};
use serde::{Deserialize, Serialize};
use st2sa_core::guardian::{Command as Decision, Event, Guardian};
use st2sa_core::time::{Span, Time};
use st2sa_machine::clock;
use st2sa_machine::crash::{self, Point};
use st2sa_machine::processes::{self, Process};

use crate::herd::Herd;
use crate::lease::Lease;
use crate::state::MARK;

/// The longest message on the line between container and guardian: a program, its arguments, its environment.
pub(crate) const MESSAGE_BYTES_AT_MOST: usize = 128 * 1024;
/// A killed process that cannot be reaped (it hangs in the kernel) counts as stopped after so long.
const DEAD_AFTER: Span = Span::from_secs(1);
/// How often it looks around when nothing happens: its sign of life, and what it may have adopted.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often it looks whether what it killed is dead.
const REAP_EVERY: Duration = Duration::from_millis(1);

/// From the container.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Start a program in its own process group.
    Start {
        /// The container's name for it.
        host: u64,
        /// What to run.
        program: String,
        /// Its arguments.
        arguments: Vec<String>,
        /// Added to the environment.
        environment: BTreeMap<String, String>,
    },
    /// Kill a process and everything below it, and whatever has lost its sensor process.
    Kill {
        /// The container's name for it.
        process: u64,
        /// Its number.
        pid: i32,
    },
    /// The lease has changed: look at it.
    Look,
}

/// To the container.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Told {
    /// A program runs.
    Started {
        /// Which.
        host: u64,
        /// Its number.
        pid: i32,
    },
    /// A program could not be started, or has ended.
    Ended {
        /// Which.
        host: u64,
        /// How, for people.
        how: String,
    },
    /// Killed, and dead with everything below it.
    Gone {
        /// Which.
        process: u64,
    },
    /// Everything was frozen because the lease had ended.
    Froze {
        /// So long after its end, in nanoseconds.
        late_by: u64,
    },
}

/// What is being killed.
#[derive(Debug)]
struct Dying {
    process: u64,
    all: Vec<Process>,
    since: Time,
}

/// Runs the guardian until its container is gone: the line to it is the standard input.
pub fn run(lease: &Path) -> ExitCode {
    let stdin = io::stdin();
    let line = stdin.as_fd();
    let lease = match Lease::open(lease) {
        Ok(lease) => lease,
        Err(error) => {
            tracing::error!(path = %lease.display(), %error, "the guardian cannot read the lease");
            return ExitCode::FAILURE;
        }
    };
    ignore_terminal();
    if let Err(error) = rustix::process::set_child_subreaper(Some(rustix::process::getpid())) {
        tracing::error!(%error, "the guardian cannot become a subreaper");
        return ExitCode::FAILURE;
    }
    let herd = Herd::make(&std::env::var(MARK).unwrap_or_default());
    tracing::info!(by = herd.describe(), "the guardian keeps its sensor processes");
    Hands {
        core: Guardian::default(),
        lease,
        herd,
        hosts: BTreeMap::new(),
        waiting: VecDeque::new(),
        to_kill: Vec::new(),
        dying: Vec::new(),
        stopped: false,
    }
    .guard(line);
    ExitCode::SUCCESS
}

/// A Ctrl-C at the terminal is the container's to answer: it hands over first.
fn ignore_terminal() {
    // A process group of its own is out of the terminal's reach.
    if let Err(error) = rustix::process::setpgid(None, None) {
        tracing::warn!(%error, "the guardian shares its container's process group");
    }
}

struct Hands {
    core: Guardian,
    lease: Lease,
    herd: Herd,
    hosts: BTreeMap<u64, Child>,
    /// Programs to start once nothing is frozen.
    waiting: VecDeque<Order>,
    /// What was ordered to be killed since the last look.
    to_kill: Vec<(u64, i32)>,
    dying: Vec<Dying>,
    stopped: bool,
}

impl Hands {
    fn guard(mut self, line: BorrowedFd<'_>) {
        let mut buffer = vec![0; MESSAGE_BYTES_AT_MOST];
        while self.pass(line, &mut buffer) {
            self.wait(line);
        }
    }

    /// Does once all that there is to do; `false` when that was the last of it.
    fn pass(&mut self, line: BorrowedFd<'_>, buffer: &mut [u8]) -> bool {
        match self.listen(line, buffer) {
            Ok(true) => {}
            Ok(false) => {
                self.act(line, Event::ContainerGone);
                return false;
            }
            Err(error) => {
                tracing::error!(%error, "the guardian cannot hear its container: it ends what it guards");
                self.kill_everything();
                return false;
            }
        }
        self.look_at_lease(line);
        self.kill();
        self.start_next(line);
        self.reap(line);
        self.lease.guardian_passes(clock::now());
        true
    }

    fn wait(&self, line: BorrowedFd<'_>) {
        let longest = if self.may_start() && !self.waiting.is_empty() {
            Duration::ZERO
        } else if self.dying.is_empty() {
            LOOK_EVERY
        } else {
            REAP_EVERY
        };
        let now = clock::now();
        let longest = self.core.next_deadline().map_or(longest, |deadline| clock::until(deadline, now, longest));
        let mut watched = [PollFd::new(&line, PollFlags::IN)];
        // An interrupted wait is as good as one that is over.
        let _ = rustix::event::poll(&mut watched, Some(&clock::timespec(longest)));
    }

    /// Takes every order that is there; `false` when the container is gone.
    fn listen(&mut self, line: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<bool> {
        loop {
            let length = match rustix::net::recv(line, &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((_, 0)) | Err(rustix::io::Errno::CONNRESET) => return Ok(false),
                Ok((_, length)) => length.min(buffer.len()),
                Err(rustix::io::Errno::AGAIN) => return Ok(true),
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            match serde_json::from_slice(&buffer[..length])? {
                Order::Look => {}
                order @ Order::Start { .. } => self.waiting.push_back(order),
                Order::Kill { process, pid } => self.to_kill.push((process, pid)),
            }
        }
    }

    /// Starts the next of what was ordered to be started. One in each pass: on a machine that is busy a start takes a
    /// tenth of a second, and neither the lease nor the container waits for many of them.
    fn start_next(&mut self, line: BorrowedFd<'_>) {
        if self.may_start()
            && let Some(order) = self.waiting.pop_front()
        {
            self.start(line, order);
        }
    }

    /// Whether what is started would begin: what is frozen would not, and would be waited for.
    fn may_start(&self) -> bool {
        !self.stopped && !self.herd.is_frozen()
    }

    fn look_at_lease(&mut self, line: BorrowedFd<'_>) {
        crash::point(Point::LeaseSeen);
        let (end, freezes) = (self.lease.end(), self.lease.freezes());
        self.act(line, Event::Lease(end, freezes));
    }

    fn act(&mut self, line: BorrowedFd<'_>, event: Event) {
        for decision in self.core.handle(clock::now(), event) {
            match decision {
                Decision::Freeze => {
                    self.stopped = true;
                    self.herd.freeze(own_pid(), None);
                    self.act(line, Event::Stopped);
                }
                Decision::Report { late_by } => tell(line, &Told::Froze { late_by: late_by.0 }),
                Decision::Thaw => {
                    self.herd.thaw(own_pid());
                    self.stopped = false;
                    // The look right after: the lease may have ended in between.
                    self.act(line, Event::Wake);
                }
                Decision::Kill => self.kill_everything(),
            }
        }
    }

    fn start(&mut self, line: BorrowedFd<'_>, order: Order) {
        let Order::Start { host, program, arguments, environment } = order else { return };
        let mut command = Command::new(&program);
        // Its own standard output is the container's lock: it goes to nobody.
        let output = io::stderr().as_fd().try_clone_to_owned().map_or_else(|_| Stdio::null(), Stdio::from);
        command.args(arguments).envs(environment).stdin(Stdio::null()).stdout(output).process_group(0);
        processes::die_with_parent(&mut command);
        let told = match self.herd.start_in(&mut command).and_then(|()| command.spawn()) {
            Ok(child) => {
                let pid = i32::try_from(child.id()).unwrap_or_default();
                self.hosts.insert(host, child);
                Told::Started { host, pid }
            }
            Err(error) => Told::Ended { host, how: format!("`{program}` could not be started: {error}") },
        };
        tell(line, &told);
    }

    /// Kills what was ordered to be killed, all at once: a look at every process takes its time.
    fn kill(&mut self) {
        let ordered = std::mem::take(&mut self.to_kill);
        if ordered.is_empty() {
            return;
        }
        // Nothing but what it guards, whatever number it is given.
        let guarded = processes::below(own_pid());
        let of = |pid: i32| guarded.iter().find(|process| process.pid == pid).copied();
        let roots: Vec<Process> = ordered.iter().filter_map(|(_, pid)| of(*pid)).chain(self.adopted()).collect();
        let trees = processes::kill_each_tree(&roots);
        let since = clock::now();
        for (process, pid) in ordered {
            let own = roots.iter().zip(&trees).filter(|(root, _)| root.pid == pid);
            let all = own.flat_map(|(_, tree)| tree).copied().collect();
            self.dying.push(Dying { process, all, since });
        }
    }

    /// Kills everything that it guards.
    fn kill_everything(&self) {
        self.herd.kill(own_pid(), None);
        self.herd.remove();
    }

    /// Children that it did not start: each has lost its sensor process.
    fn adopted(&self) -> Vec<Process> {
        let is_host = |pid: i32| self.hosts.values().any(|host| i32::try_from(host.id()) == Ok(pid));
        processes::children(own_pid()).into_iter().filter(|child| !is_host(child.pid)).collect()
    }

    /// Takes note of what has ended.
    fn reap(&mut self, line: BorrowedFd<'_>) {
        let mut ended = Vec::new();
        for (&host, child) in &mut self.hosts {
            if let Ok(Some(status)) = child.try_wait() {
                ended.push((host, status));
            }
        }
        for (host, status) in ended {
            self.hosts.remove(&host);
            tell(line, &Told::Ended { host, how: status.to_string() });
        }
        let adopted = self.adopted();
        // One that lost its sensor process just now: nothing is said to be gone before it is, too.
        let orphans = adopted.iter().any(|process| process.lives());
        if !adopted.is_empty() {
            processes::kill_trees(&adopted);
            // Zombies of adopted processes are reaped by number, lest a host's status be taken away.
            for process in adopted.iter().filter_map(|process| rustix::process::Pid::from_raw(process.pid)) {
                let _ = rustix::process::waitpid(Some(process), rustix::process::WaitOptions::NOHANG);
            }
        }
        let now = clock::now();
        self.dying.retain_mut(|dying| {
            dying.all.retain(|process| process.lives());
            let gone = dying.all.is_empty() && !orphans || now >= dying.since + DEAD_AFTER;
            if gone {
                tell(line, &Told::Gone { process: dying.process });
            }
            !gone
        });
    }
}

/// Tells the container; one that does not read is told nothing: it finds out when it looks.
fn tell(line: BorrowedFd<'_>, told: &Told) {
    let message = serde_json::to_vec(told).unwrap_or_default();
    if let Err(error) = rustix::net::send(line, &message, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
        tracing::warn!(%error, ?told, "the container could not be told");
    }
}

fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}
