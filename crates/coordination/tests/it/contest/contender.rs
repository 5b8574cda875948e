//! A contender: a process of its own, told what to do line by line.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use st2sa_coordination::store::{Kind, Lengths, Store};
use st2sa_machine::processes;
use st2sa_testbed::Signal;

/// What is waited for comes within this, also on a machine that is swamped.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A line that a contender said: a word, and `name=value` pairs.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) word: String,
    pub(crate) pairs: BTreeMap<String, String>,
}

impl Line {
    /// A moment, a term, or another number.
    pub(crate) fn number(&self, name: &str) -> u64 {
        self.pairs.get(name).and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }
}

pub(crate) struct Contender {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<Line>,
    /// All that it said since it was ready.
    pub(crate) heard: Vec<Line>,
    /// How long a leadership lasts without a renewal, by what the engine says.
    pub(crate) ttl: Duration,
}

impl Contender {
    /// Starts one, and waits until it has opened the store.
    pub(crate) fn start(arbitrator: &str, store: &Store, lengths: Lengths) -> Self {
        let kind = match store.kind {
            Kind::Etcd => "etcd",
            Kind::ZooKeeper => "zookeeper",
            Kind::Redis => "redis",
        };
        let millis = |span: st2sa_core::time::Span| format!("{}ms", span.as_millis());
        let mut command = Command::new(env!("CARGO_BIN_EXE_st2sa-contender"));
        let master = store.sentinel.as_ref().map(|master| format!("{master}@")).unwrap_or_default();
        let servers = master + &store.servers.join(",");
        command.args([arbitrator, kind, &servers, store.namespace.as_deref().unwrap()]);
        command.args([millis(lengths.leader_ttl), millis(lengths.deadline)]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        processes::die_with_parent(&mut command);
        let mut child = command.spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (tell, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let mut words = line.split_whitespace();
                let word = words.next().unwrap_or_default().to_owned();
                let pairs = words.filter_map(|pair| pair.split_once('='));
                let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
                let _ = tell.send(Line { word, pairs });
            }
        });
        let mut contender = Self { child, stdin, lines, heard: Vec::new(), ttl: Duration::ZERO };
        let ready = contender.hear();
        assert_eq!(ready.word, "ready");
        contender.ttl = Duration::from_nanos(ready.number("ttl"));
        contender
    }

    /// Tells it to do something.
    pub(crate) fn tell(&mut self, command: &str) {
        writeln!(self.stdin, "{command}").unwrap();
    }

    /// Its next line.
    pub(crate) fn hear(&mut self) -> Line {
        let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("a contender is silent: {error}"));
        self.heard.push(line.clone());
        line
    }

    /// Tells it to do something, and hears what came of it.
    pub(crate) fn ask(&mut self, command: &str) -> Line {
        self.tell(command);
        self.hear()
    }

    /// The same until something else comes of it than that nobody knows.
    pub(crate) fn ask_for_certain(&mut self, command: &str) -> Line {
        until(command, || Some(self.ask(command)).filter(|line| line.word != "unknown"))
    }

    /// Takes in all that it has said by now.
    pub(crate) fn listen(&mut self) {
        self.heard.extend(self.lines.try_iter());
    }

    /// Ends contending or firing; what it said meanwhile is in `heard`.
    pub(crate) fn stop(&mut self) {
        self.tell("stop");
        while self.hear().word != "stopped" {}
    }

    pub(crate) fn said(&self, word: &str) -> impl Iterator<Item = &Line> {
        self.heard.iter().filter(move |line| line.word == word)
    }

    /// Sends it a signal: `STOP`, `CONT`.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks again and again until there is something.
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(since.elapsed() < PATIENCE, "{what}: not in {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
