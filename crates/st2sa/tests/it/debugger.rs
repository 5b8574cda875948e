//! A debugger, in the place of a kernel that has much to do: it holds a process on its way out, or has each process
//! begin late.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use st2sa_machine::processes::{Process, die_with_parent};

/// Holds a process when it ends, until this debugger does.
const HOLD: &str = "
answer(ptrace(SEIZE, pid, 0, TRACE_EXIT))
sys.stdin.read()
";
/// Has each process that this one forks begin so many seconds late; says when it forks.
const SLOW_DOWN: &str = "
answer(ptrace(SEIZE, pid, 0, TRACE_FORK | TRACE_VFORK | TRACE_CLONE))
while True:
    stopped, status = os.waitpid(-1, ALL)
    if not os.WIFSTOPPED(status):
        if stopped == pid:
            break
    elif stopped == pid:
        ptrace(CONTINUE, pid, 0, 0 if status >> 16 else os.WSTOPSIG(status))
    else:
        print('forked', flush=True)
        time.sleep(float(sys.argv[2]))
        ptrace(DETACH, stopped, 0, 0)
";
const BEFORE: &str = "
import ctypes, os, sys, time
SEIZE, CONTINUE, DETACH, ALL = 0x4206, 7, 17, 0x40000000
TRACE_FORK, TRACE_VFORK, TRACE_CLONE, TRACE_EXIT = 2, 4, 8, 0x40
ptrace = ctypes.CDLL(None).ptrace
ptrace.argtypes = [ctypes.c_long] * 4
pid = int(sys.argv[1])
answer = lambda result: print(result, flush=True)
";

/// It lets go of everything when it is dropped.
pub(crate) struct Debugger {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Debugger {
    /// Has a process not end when it is killed, as one that has many gigabytes to give back. `None` where this user may
    /// debug nobody.
    pub(crate) fn holding(process: Process) -> Option<Self> {
        Self::start(HOLD, process, "")
    }

    /// Has whatever a process starts begin so many seconds late. `None` where this user may debug nobody.
    pub(crate) fn slowing(process: Process, seconds: &str) -> Option<Self> {
        Self::start(SLOW_DOWN, process, seconds)
    }

    fn start(program: &str, process: Process, seconds: &str) -> Option<Self> {
        let mut python = Command::new("python3");
        python.args(["-c", &format!("{BEFORE}{program}"), &process.pid.to_string(), seconds]);
        python.stdin(Stdio::piped()).stdout(Stdio::piped());
        die_with_parent(&mut python);
        let mut child = python.spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let mut debugger = Self { child, said };
        (debugger.hears().as_deref() == Some("0")).then_some(debugger)
    }

    /// The next thing that it says; `None` once it has ended.
    pub(crate) fn hears(&mut self) -> Option<String> {
        let mut line = String::new();
        let length = self.said.read_line(&mut line).unwrap();
        (length > 0).then(|| line.trim().to_owned())
    }
}

impl Drop for Debugger {
    fn drop(&mut self) {
        // One that has ended already is as good as killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
