//! A server that is not ours (etcd, ZooKeeper, Redis, RabbitMQ): started on free loopback ports in a folder of its own,
//! killed, stopped and started again by a test, and ended with it.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use st2sa_machine::processes::{self, Process};
use tempfile::TempDir;

use crate::failure::{OrFail, fail};

/// A server answers within this of its start, also on a machine that is swamped: Java and Erlang take their time.
const READY_WITHIN: Duration = Duration::from_mins(1);
/// How often it is looked at meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Lines of its log that a failure shows.
const TAIL_LINES: usize = 30;

/// How a server is started.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// What it is called in messages, and its log.
    pub name: String,
    /// The program, found in `PATH` or an absolute path.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Added to its environment.
    pub environment: Vec<(String, String)>,
    /// The Debian package that brings it, for the message when it is missing.
    pub package: &'static str,
}

/// A server of a test. It is killed, with all that it started, when dropped.
#[derive(Debug)]
pub struct Server {
    recipe: Recipe,
    folder: TempDir,
    child: Child,
    process: Process,
}

impl Server {
    /// A folder for one server: its data, its configuration, its log.
    #[track_caller]
    pub fn folder_for(name: &str) -> TempDir {
        tempfile::Builder::new().prefix(&format!("st2sa-{name}-")).tempdir().or_fail("make a folder")
    }

    /// Starts it in its folder, and waits until `is_ready` says that it answers.
    #[track_caller]
    pub fn start(recipe: Recipe, folder: TempDir, is_ready: impl FnMut() -> bool) -> Self {
        let (child, process) = spawn(&recipe, folder.path());
        let mut server = Self { recipe, folder, child, process };
        server.wait_until(is_ready);
        server
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its process.
    pub fn process(&self) -> Process {
        self.process
    }

    /// Sends it a signal: `KILL`, `STOP`, `CONT`.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.process.pid).ok_or("its number is none").or_fail("send a signal");
        rustix::process::kill_process(pid, signal).or_fail(format!("send {signal:?} to {}", self.recipe.name));
    }

    /// Stops it, and waits until each of its threads stands still: until then it may still answer.
    #[track_caller]
    pub fn stop(&self) {
        self.signal(Signal::STOP);
        let since = Instant::now();
        while !stands_still(self.process.pid) {
            if since.elapsed() >= READY_WITHIN {
                fail(format!("{} does not stop", self.recipe.name));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Kills it, and all that it started, and waits until they are dead.
    pub fn kill(&mut self) {
        let mut tree = vec![self.process];
        tree.extend(processes::below(self.process.pid));
        processes::kill_trees(&tree);
        // One that has ended already is as good as killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts one that was killed again, on the same ports and with the same data.
    #[track_caller]
    pub fn start_again(&mut self, is_ready: impl FnMut() -> bool) {
        (self.child, self.process) = spawn(&self.recipe, self.folder.path());
        self.wait_until(is_ready);
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.folder().join("server.log")).unwrap_or_default()).into_owned()
    }

    #[track_caller]
    fn wait_until(&mut self, mut is_ready: impl FnMut() -> bool) {
        let since = Instant::now();
        while !is_ready() {
            let ended = self.child.try_wait().ok().flatten();
            if ended.is_some() || since.elapsed() >= READY_WITHIN {
                let log = self.log();
                let lines: Vec<&str> = log.lines().collect();
                let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
                let how =
                    ended.map_or_else(|| format!("does not answer in {READY_WITHIN:?}"), |status| status.to_string());
                fail(format!("{}: {how}\n{tail}", self.recipe.name));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether all threads of a process are stopped.
fn stands_still(pid: i32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    threads.flatten().all(|thread| {
        let line = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // "PID (NAME) STATE …", and a name may hold anything.
        line.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['T', 't']))
    })
}

#[track_caller]
fn spawn(recipe: &Recipe, folder: &Path) -> (Child, Process) {
    let log = folder.join("server.log");
    let open = || File::options().create(true).append(true).open(&log).or_fail(format!("open `{}`", log.display()));
    let mut command = Command::new(&recipe.program);
    command.args(&recipe.arguments).current_dir(folder).stdin(Stdio::null()).stdout(open()).stderr(open());
    command.envs(recipe.environment.iter().map(|(key, value)| (key, value)));
    // A Ctrl-C reaches the test alone, which ends what it started.
    command.process_group(0);
    processes::die_with_parent(&mut command);
    let child = command.spawn().or_fail(format!(
        "start {} (`apt-get install {}` brings it)",
        recipe.program.display(),
        recipe.package
    ));
    let process = i32::try_from(child.id()).ok().and_then(Process::of);
    (child, process.ok_or("it has ended already").or_fail(format!("look at {}", recipe.name)))
}
