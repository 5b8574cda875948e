//! One program that `up` runs: started, listened to, and waited for.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::Sender;
use std::time::Instant;

use anyhow::Context;
use rustix::process::{Pid, Signal};
use st2sa_machine::processes;

use super::Happened;

/// A line of a program's output longer than this is cut.
const LINE_BYTES_AT_MOST: u64 = 20 * 1024 * 1024;

/// How to start a program, as often as needed.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
    /// Where its standard error goes.
    pub(super) log: PathBuf,
}

impl Plan {
    /// This very binary with other arguments.
    pub(super) fn ours(arguments: Vec<String>, log: PathBuf) -> Self {
        Self { program: "/proc/self/exe".into(), arguments, log }
    }
}

/// A program that runs.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) name: String,
    /// When it was started.
    pub(super) since: Instant,
    pid: Pid,
}

impl Program {
    /// Starts it. A Ctrl-C at the terminal does not reach it, and it does not outlive this process.
    pub(super) fn start(name: &str, plan: &Plan, happened: &Sender<Happened>) -> anyhow::Result<Self> {
        let log = File::options().create(true).append(true).open(&plan.log);
        let log = log.with_context(|| format!("cannot open the log `{}`", plan.log.display()))?;
        let mut command = Command::new(&plan.program);
        command.args(&plan.arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).process_group(0);
        if plan.program.starts_with("/proc") {
            command.arg0("st2sa");
        }
        processes::die_with_parent(&mut command);
        let mut child =
            command.spawn().with_context(|| format!("cannot start {name} (`{}`)", plan.program.display()))?;
        let pid = Pid::from_child(&child);
        let (own, output, sender) = (name.to_owned(), child.stdout.take(), happened.clone());
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            if let Some(output) = output {
                read(&own, BufReader::new(output), &sender);
            }
            let how = child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
            // Nobody listens any more when `up` ends.
            let _ = sender.send(Happened::Ended(own, how));
        })?;
        Ok(Self { name: name.to_owned(), since: Instant::now(), pid })
    }

    /// Its process.
    pub(super) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Signals it; one that has just ended is as good as signalled.
    pub(super) fn signal(&self, signal: Signal) {
        let _ = rustix::process::kill_process(self.pid, signal);
    }
}

fn read(name: &str, mut output: impl BufRead, sender: &Sender<Happened>) {
    let mut line = Vec::new();
    loop {
        line.clear();
        match std::io::Read::take(&mut output, LINE_BYTES_AT_MOST).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        if sender.send(Happened::Line(name.to_owned(), text)).is_err() {
            return;
        }
    }
}
