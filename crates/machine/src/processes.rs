//! Whole trees of processes: found, stopped, continued and killed, however they fork meanwhile.
//!
//! Everything below a process can be found as long as it is a subreaper: what loses its parent becomes its
//! child. A pass over a tree may miss what is forked behind it, so passes are repeated until one finds
//! nothing new.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

/// Passes over a tree before giving up on one that forks faster than it is stopped.
const PASSES_AT_MOST: u32 = 1_000;

/// One process, told from a later one with the same number by when it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// When it began, in the kernel's clock ticks since boot.
    pub began: u64,
}

/// What the kernel says of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    state: u8,
    parent: i32,
    began: u64,
}

impl Process {
    /// The process that has this number now, if any.
    pub fn of(pid: i32) -> Option<Self> {
        Some(Self { pid, began: stat(pid)?.began })
    }

    /// Whether it can still act: it is there, and no zombie.
    pub fn lives(self) -> bool {
        self.has_thread(|state| !matches!(state, b'Z' | b'X'))
    }

    /// Whether it is stopped by a signal, or cannot act any more. What hangs in the kernel is taken for
    /// stopped: once signalled, it stops on its way out of there.
    pub fn is_stopped(self) -> bool {
        !self.has_thread(|state| !matches!(state, b'T' | b'Z' | b'X' | b'D'))
    }

    /// Whether any of its threads is in such a state. The first thread speaks for all, unless it has ended: then
    /// the others may well go on without it.
    fn has_thread(self, such: impl Fn(u8) -> bool) -> bool {
        let Some(first) = stat(self.pid).filter(|stat| stat.began == self.began) else { return false };
        if !matches!(first.state, b'Z' | b'X') {
            return such(first.state);
        }
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid)).into_iter().flatten().flatten();
        threads.filter_map(|thread| read_stat(&thread.path().join("stat"))).any(|stat| such(stat.state))
    }

    fn signal(self, signal: Signal) {
        if self.lives()
            && let Some(pid) = Pid::from_raw(self.pid)
        {
            // It may have ended in between.
            let _ = rustix::process::kill_process(pid, signal);
        }
    }
}

/// Every process, as found in one pass: each with its parent.
#[derive(Debug)]
pub struct Everyone {
    children: BTreeMap<i32, Vec<Process>>,
}

impl Everyone {
    /// Looks at every process once.
    ///
    /// # Errors
    /// When they cannot be listed: nobody can then be said to be there, or not.
    pub fn look() -> io::Result<Self> {
        let mut children: BTreeMap<i32, Vec<Process>> = BTreeMap::new();
        for pid in pids()? {
            if let Some(stat) = stat(pid) {
                children.entry(stat.parent).or_default().push(Process { pid, began: stat.began });
            }
        }
        Ok(Self { children })
    }

    /// Every process below `root`, not `root` itself.
    pub fn below(&self, root: i32) -> Vec<Process> {
        let mut found = Vec::new();
        let mut open = vec![root];
        while let Some(parent) = open.pop() {
            for child in self.children.get(&parent).into_iter().flatten() {
                // Numbers are reused: whoever is met twice was its own grandparent while this was looked at.
                if !found.contains(child) {
                    open.push(child.pid);
                    found.push(*child);
                }
            }
        }
        found
    }
}

/// Every process below `root`, not `root` itself, as found in one pass; none where they cannot be listed.
pub fn below(root: i32) -> Vec<Process> {
    Everyone::look().map(|everyone| everyone.below(root)).unwrap_or_default()
}

/// The children of `root` alone.
pub fn children(root: i32) -> Vec<Process> {
    if let Some(listed) = listed_children(root) {
        return listed.into_iter().filter_map(Process::of).collect();
    }
    let is_child = |pid: &i32| stat(*pid).is_some_and(|stat| stat.parent == root);
    pids().map(|pids| pids.filter(is_child).filter_map(Process::of).collect()).unwrap_or_default()
}

/// Stops everything below `root`, except the process `but`; returns whether all of it is stopped.
pub fn stop_below(root: i32, but: Option<i32>) -> bool {
    let mut signalled = BTreeSet::new();
    for _ in 0..PASSES_AT_MOST {
        let mut done = true;
        // Not to be listed is not to be stopped.
        let Ok(everyone) = Everyone::look() else { return false };
        for process in everyone.below(root).into_iter().filter(|process| Some(process.pid) != but) {
            if signalled.insert(process) {
                process.signal(Signal::STOP);
                done = false;
            } else if !process.is_stopped() {
                // On its way into the stop, or forked on meanwhile: look again.
                done = false;
            }
        }
        if done {
            return true;
        }
        std::thread::yield_now();
    }
    false
}

/// Lets everything below `root` go on.
pub fn continue_below(root: i32) {
    // Whoever is found continued may fork at once, and what it forks runs: one pass is enough.
    for process in below(root) {
        process.signal(Signal::CONT);
    }
}

/// Kills `roots` and everything below them; returns all that was found, for [`wait_until_dead`].
pub fn kill_trees(roots: &[Process]) -> Vec<Process> {
    kill_each_tree(roots).concat()
}

/// The same, told apart by root.
///
/// All are stopped first, so that nothing is forked behind the killing.
pub fn kill_each_tree(roots: &[Process]) -> Vec<Vec<Process>> {
    let mut trees: Vec<Vec<Process>> = vec![Vec::new(); roots.len()];
    let mut known = BTreeSet::new();
    for _ in 0..PASSES_AT_MOST {
        let Ok(everyone) = Everyone::look() else {
            std::thread::yield_now();
            continue;
        };
        let mut fresh = false;
        for (root, tree) in roots.iter().zip(&mut trees) {
            let own = Some(*root).filter(|root| root.lives());
            for process in own.into_iter().chain(everyone.below(root.pid)) {
                if known.insert(process) {
                    process.signal(Signal::STOP);
                    tree.push(process);
                    fresh = true;
                }
            }
        }
        if !fresh {
            break;
        }
    }
    for process in &known {
        process.signal(Signal::KILL);
    }
    trees
}

/// Every process in whose environment `entry` (`NAME=value`) stands, this one excepted.
///
/// The environment is the one that the process was started with: what it forks has it too.
///
/// # Errors
/// When processes cannot be listed.
pub fn with_environment(entry: &str) -> io::Result<Vec<Process>> {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let has = |pid: &i32| environment(*pid).split(|byte| *byte == 0).any(|found| found == entry.as_bytes());
    Ok(pids()?.filter(|pid| *pid != own).filter(has).filter_map(Process::of).collect())
}

/// The environment that a process was started with. Where its first thread has ended, another one has it.
fn environment(pid: i32) -> Vec<u8> {
    let first = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    if !first.is_empty() {
        return first;
    }
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let mut environments = threads.filter_map(|thread| std::fs::read(thread.path().join("environ")).ok());
    environments.find(|environment| !environment.is_empty()).unwrap_or_default()
}

/// Has a program killed when the thread that starts it ends, with its process for instance.
#[expect(unsafe_code, reason = "there is no other way to set it before the program begins")]
pub fn die_with_parent(command: &mut Command) {
    // SAFETY: between fork and exec only one system call is made, which is safe to make there.
    unsafe {
        command.pre_exec(|| Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?));
    }
}

/// Waits until none of `processes` lives, at most `longest`; returns whether that came to be.
pub fn wait_until_dead(processes: &[Process], longest: Duration) -> bool {
    const LOOK_EVERY: Duration = Duration::from_millis(1);
    let since = Instant::now();
    while processes.iter().any(|process| process.lives()) {
        if since.elapsed() >= longest {
            return false;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    true
}

/// The children as the kernel lists them, which not every kernel does: far cheaper than a look at every process.
fn listed_children(root: i32) -> Option<Vec<i32>> {
    let mut found = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{root}/task")).ok()?.flatten() {
        let listed = std::fs::read_to_string(task.path().join("children")).ok()?;
        found.extend(listed.split_ascii_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
    }
    Some(found)
}

fn pids() -> io::Result<impl Iterator<Item = i32>> {
    let entries = std::fs::read_dir("/proc")?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()))
}

fn stat(pid: i32) -> Option<Stat> {
    read_stat(Path::new(&format!("/proc/{pid}/stat")))
}

fn read_stat(path: &Path) -> Option<Stat> {
    let text = std::fs::read(path).ok()?;
    // The name in brackets may hold anything.
    let end = text.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(text.get(end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    let parent = fields.next()?.parse().ok()?;
    // The 22nd field of all, two before the state's.
    let began = fields.nth(17)?.parse().ok()?;
    Some(Stat { state, parent, began })
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Stdio};

    use super::*;

    /// A shell with a child and a grandchild.
    fn family() -> Child {
        Command::new("sh").args(["-c", "sh -c 'sleep 60 & wait' & wait"]).stdin(Stdio::null()).spawn().unwrap()
    }

    fn pid(child: &Child) -> i32 {
        i32::try_from(child.id()).unwrap()
    }

    /// The family's members below the shell, once all are there.
    fn whole(child: &Child) -> Vec<Process> {
        let since = Instant::now();
        while since.elapsed() < Duration::from_secs(10) {
            let found = below(pid(child));
            if found.len() == 2 {
                return found;
            }
            std::thread::yield_now();
        }
        panic!("the family did not come to be");
    }

    #[test]
    fn a_tree_is_stopped_continued_and_killed() {
        let mut shell = family();
        let members = whole(&shell);
        assert!(stop_below(pid(&shell), None));
        assert!(members.iter().all(|member| member.is_stopped() && member.lives()));
        continue_below(pid(&shell));
        assert!(members.iter().all(|member| !member.is_stopped()));
        let root = Process::of(pid(&shell)).unwrap();
        let killed = kill_trees(&[root]);
        assert_eq!(killed.len(), 3);
        assert!(wait_until_dead(&killed, Duration::from_secs(10)));
        shell.wait().unwrap();
    }

    #[test]
    fn a_process_is_told_from_a_later_one_with_its_number() {
        let own = Process::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(own.lives());
        assert!(!Process { began: own.began + 1, ..own }.lives());
    }

    #[test]
    fn a_process_whose_first_thread_has_ended_lives_on() {
        // Python's first thread ends by itself, another sleeps on.
        let code = "import ctypes, threading, time; threading.Thread(target=time.sleep, args=(60,)).start(); \
                    ctypes.CDLL(None).pthread_exit(None)";
        let mut child = Command::new("python3").args(["-c", code]).stdin(Stdio::null()).spawn().unwrap();
        let process = Process::of(pid(&child)).unwrap();
        let since = Instant::now();
        while stat(process.pid).is_some_and(|stat| stat.state != b'Z') && since.elapsed() < Duration::from_secs(10) {
            std::thread::yield_now();
        }
        assert!(process.lives() && !process.is_stopped());
        let killed = kill_trees(&[process]);
        assert!(wait_until_dead(&killed, Duration::from_secs(10)));
        child.wait().unwrap();
    }

    #[test]
    fn a_process_is_found_by_its_environment() {
        let entry = format!("ST2SA_TEST_ENTRY={}", std::process::id());
        let (name, value) = entry.split_once('=').unwrap();
        let mut child = Command::new("sleep").arg("60").env(name, value).spawn().unwrap();
        let found = with_environment(&entry).unwrap();
        assert_eq!(found, Process::of(pid(&child)).into_iter().collect::<Vec<_>>());
        assert_eq!(with_environment(&entry[..entry.len() - 1]).unwrap(), []);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
