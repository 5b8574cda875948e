//! One process of the binary under test: started, signalled, waited for, started again.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use st2sa_machine::processes::{self, Process};

use crate::failure::{OrFail, fail};
use crate::testbed::Bed;

/// What is killed is dead within this, also on a machine that is swamped.
const DEAD_WITHIN: Duration = Duration::from_secs(10);
/// How often a process is looked at that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// In the environment of everything that one run of a program starts.
const RUN_MARK: &str = "ST2SA_TESTBED_RUN";

/// A program that runs, or has. It is killed when dropped, and when the thread ends that started it.
#[derive(Debug)]
pub struct Program {
    name: String,
    bed: Arc<Bed>,
    through: Vec<String>,
    arguments: Vec<String>,
    runs: u32,
    child: Child,
    process: Process,
}

impl Program {
    /// Starts it, by the command line `through` if that is not empty: one that becomes what follows it.
    #[track_caller]
    pub(crate) fn start(bed: &Arc<Bed>, name: &str, through: Vec<String>, arguments: Vec<String>) -> Self {
        let (child, process) = spawn(bed, name, &through, &arguments, 1);
        Self { name: name.to_owned(), bed: Arc::clone(bed), through, arguments, runs: 1, child, process }
    }

    /// What its logs are called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process's number.
    pub fn pid(&self) -> i32 {
        self.process.pid
    }

    /// Its process.
    pub fn process(&self) -> Process {
        self.process
    }

    /// Sends it a signal.
    #[track_caller]
    pub fn kill(&self, signal: Signal) {
        send(self.process, signal);
    }

    /// Kills it and everything below it at once, as when its machine loses power.
    pub fn kill_with_everything(&self) {
        processes::kill_trees(&[self.process]);
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self, bound: Duration) -> ExitStatus {
        let since = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().or_fail(format!("wait for {}", self.name)) {
                return status;
            }
            if since.elapsed() >= bound {
                fail(format!("{} has not ended within {bound:?}\n{}", self.name, self.bed.tails()));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Starts it again as it was started; one that still runs is killed first.
    #[track_caller]
    pub fn restart(&mut self) {
        self.end();
        self.runs += 1;
        (self.child, self.process) = spawn(&self.bed, &self.name, &self.through, &self.arguments, self.runs);
    }

    /// Kills it, it alone, and waits for that.
    #[track_caller]
    pub fn end(&mut self) {
        // One that has ended already is as good as killed.
        let _ = self.child.kill();
        self.wait(DEAD_WITHIN);
    }

    /// Its standard error, of all its runs.
    pub fn log(&self) -> String {
        read(&self.bed.log(&self.name))
    }

    /// Its standard output, of all its runs.
    pub fn output(&self) -> String {
        read(&self.bed.output(&self.name))
    }

    /// Everything that this run of it started, wherever that stands in the tree of processes, and itself.
    pub fn processes(&self) -> Vec<Process> {
        processes::with_environment(&format!("{RUN_MARK}={}", self.run())).or_fail("list processes")
    }

    /// A container's guardian.
    #[track_caller]
    pub fn guardian(&self) -> Process {
        let is_guardian = |process: &&Process| command_line(**process).get(1).is_some_and(|word| word == "guardian");
        let children = processes::children(self.pid());
        let guardian = children.iter().find(is_guardian).copied();
        guardian.unwrap_or_else(|| fail(format!("{} has no guardian\n{}", self.name, self.bed.tails())))
    }

    /// A container's hosts: one for each virtualenv.
    #[track_caller]
    pub fn hosts(&self) -> Vec<Process> {
        let is_host = |process: &Process| command_line(*process).iter().any(|word| word == "st2sa_host");
        processes::children(self.guardian().pid).into_iter().filter(is_host).collect()
    }

    fn run(&self) -> String {
        format!("{}/{}/{}", self.bed.id, self.name, self.runs)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // One that has ended already is as good as killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a process a signal.
#[track_caller]
pub(crate) fn send(process: Process, signal: Signal) {
    if !process.lives() {
        fail(format!("process {} is to get {signal:?} and does not live", process.pid));
    }
    let pid = Pid::from_raw(process.pid).ok_or("its number is none").or_fail("send a signal");
    rustix::process::kill_process(pid, signal).or_fail(format!("send {signal:?} to process {}", process.pid));
}

/// How a process was started; empty once it has ended.
pub(crate) fn command_line(process: Process) -> Vec<String> {
    let text = std::fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
    let words = text.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

#[track_caller]
fn spawn(bed: &Bed, name: &str, through: &[String], arguments: &[String], run: u32) -> (Child, Process) {
    let open = |path: PathBuf| {
        File::options().create(true).append(true).open(&path).or_fail(format!("open `{}`", path.display()))
    };
    let mut command = match through.split_first() {
        Some((first, others)) => {
            let mut command = Command::new(first);
            command.args(others).arg(&bed.binary);
            command
        }
        None => Command::new(&bed.binary),
    };
    command.args(arguments).stdin(Stdio::null()).stdout(open(bed.output(name))).stderr(open(bed.log(name)));
    // What the developer has set for his own daemons is not meant here.
    for (key, _) in std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("ST2SA_")) {
        command.env_remove(key);
    }
    command.envs(bed.environment()).env(RUN_MARK, format!("{}/{name}/{run}", bed.id));
    // A Ctrl-C reaches the test alone, which ends what it started.
    command.process_group(0);
    processes::die_with_parent(&mut command);
    let child = command.spawn().or_fail(format!("start {name} (`{}`)", bed.binary.display()));
    let process = i32::try_from(child.id()).ok().and_then(Process::of);
    (child, process.ok_or("it has ended already").or_fail(format!("look at {name}")))
}

fn read(path: &std::path::Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}
