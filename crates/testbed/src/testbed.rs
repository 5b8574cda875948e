//! The testbed: a folder, a port, the programs that run there, and what may be asked of them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde::de::DeserializeOwned;
use serde_json::Value;
use st2sa_machine::crash;
use st2sa_machine::processes::{self, Process};
use st2sa_proto::rest::{self, Container, HistoryRecord, Sensor, Status, word};
use tempfile::TempDir;

use crate::ask;
use crate::failure::{OrFail, fail};
use crate::packs::Pack;
use crate::program::{Program, command_line, send};
use crate::slots::Slot;
use crate::source::Source;
use crate::triggers::{self, Trigger};

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What has lost its parent is gone within this: a guardian needs milliseconds.
const GONE_WITHIN: Duration = Duration::from_secs(3);
/// Lines of each log that a failure shows.
const TAIL_LINES: usize = 25;
/// In the environment of everything that a testbed's programs start.
const BED_MARK: &str = "ST2SA_TESTBED";

/// Where each sensor is ACTIVE: containers' names by sensors' references.
pub type Placement = BTreeMap<String, String>;

/// A place for daemons. The last of it and its programs to be dropped fails the test if any process is left, and
/// removes the folder; the folder of a test that fails is kept, and named.
#[derive(Debug)]
pub struct Testbed {
    bed: Arc<Bed>,
    listen: SocketAddr,
    /// Where further arbitrators listen.
    others: Vec<SocketAddr>,
}

/// What programs need of their testbed.
#[derive(Debug)]
pub(crate) struct Bed {
    /// Unique among all testbeds of this machine.
    pub(crate) id: String,
    pub(crate) binary: PathBuf,
    folder: Option<TempDir>,
    path: PathBuf,
    names: Mutex<BTreeSet<String>>,
    _slot: Slot,
}

impl Testbed {
    /// A fresh one; waits while too many others run in this process.
    #[track_caller]
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        let slot = Slot::take();
        let folder = tempfile::Builder::new().prefix("st2sa-test-").tempdir().or_fail("make a folder");
        let path = folder.path().to_owned();
        let id = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let bed = Bed { id, binary: binary.into(), folder: Some(folder), path, names: Mutex::default(), _slot: slot };
        for folder in ["packs", "configs"] {
            let folder = bed.path.join(folder);
            std::fs::create_dir(&folder).or_fail(format!("create `{}`", folder.display()));
        }
        Self { bed: Arc::new(bed), listen, others: Vec::new() }
    }

    /// One with room for so many arbitrators.
    #[track_caller]
    pub fn for_arbitrators(binary: impl Into<PathBuf>, count: usize) -> Self {
        let mut testbed = Self::new(binary);
        let port = || SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        testbed.others = std::iter::repeat_with(port).take(count.saturating_sub(1)).collect();
        testbed
    }

    /// Its folder: packs, configurations, state, logs, triggers.
    pub fn folder(&self) -> &Path {
        &self.bed.path
    }

    /// Has whichever process passes this crash point as often as that die there.
    #[track_caller]
    pub fn crash_at(&self, point: &str, times: u32) {
        let folder = self.bed.crash_points();
        std::fs::create_dir_all(&folder).or_fail(format!("create `{}`", folder.display()));
        // It is seen whole or not at all.
        let (new, armed) = (folder.join("new"), folder.join(point));
        std::fs::write(&new, times.to_string()).or_fail(format!("write `{}`", new.display()));
        std::fs::rename(&new, &armed).or_fail(format!("write `{}`", armed.display()));
    }

    /// Whether nobody has died at this point yet.
    pub fn is_armed(&self, point: &str) -> bool {
        self.bed.crash_points().join(point).exists()
    }

    /// Where its arbitrator listens.
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Where all of its arbitrators listen, the first one first.
    pub fn listens(&self) -> Vec<SocketAddr> {
        std::iter::once(self.listen).chain(self.others.iter().copied()).collect()
    }

    /// Adds test packs, whose sensors poll `source`; for containers that are started from then on.
    #[track_caller]
    pub fn add_packs(&self, packs: &[Pack], source: &Source) {
        for pack in packs {
            pack.write(self.folder(), source);
        }
    }

    // Programs.

    /// Starts its arbitrator, with more flags such as `--session-ttl=1s`.
    #[track_caller]
    pub fn arbitrator(&self, flags: &[&str]) -> Program {
        let data = self.folder().join("arbitrator").display().to_string();
        let own = ["arbitrator", &format!("--listen={}", self.listen), &format!("--data-dir={data}")];
        self.program("arbitrator", &own.iter().chain(flags).copied().collect::<Vec<_>>())
    }

    /// Starts one of several arbitrators, counted from zero, that share the store of this url.
    #[track_caller]
    pub fn arbitrator_on(&self, number: usize, url: &str, flags: &[&str]) -> Program {
        // One each: another one may be reading its own.
        let configuration = self.folder().join(format!("arbitrator-{number}.conf"));
        std::fs::write(&configuration, format!("[coordination]\nurl = {url}\n"))
            .or_fail(format!("write `{}`", configuration.display()));
        let listen = self.listens()[number];
        let name = format!("arbitrator-{number}");
        let own = [
            "arbitrator",
            &format!("--listen={listen}"),
            &format!("--data-dir={}", self.folder().join(&name).display()),
            &format!("--config-file={}", configuration.display()),
        ];
        self.program(&name, &own.iter().chain(flags).copied().collect::<Vec<_>>())
    }

    /// Starts a container.
    #[track_caller]
    pub fn container(&self, name: &str) -> Program {
        self.container_in(name, name, &[])
    }

    /// Starts a container with this state folder below the testbed's, and more flags.
    #[track_caller]
    pub fn container_in(&self, name: &str, state: &str, flags: &[&str]) -> Program {
        let own = self.container_flags(name, state);
        self.program(name, &own.iter().map(String::as_str).chain(flags.iter().copied()).collect::<Vec<_>>())
    }

    /// Starts a container that dispatches to this sink, and more flags.
    #[track_caller]
    pub fn container_to(&self, name: &str, sink: &str, flags: &[&str]) -> Program {
        let own = self.container_flags(name, name);
        let own = own.iter().filter(|flag| !flag.starts_with("--dispatch=")).map(String::as_str);
        let sink = format!("--dispatch={sink}");
        self.program(name, &own.chain([sink.as_str()]).chain(flags.iter().copied()).collect::<Vec<_>>())
    }

    fn container_flags(&self, name: &str, state: &str) -> Vec<String> {
        let folder = |name: &str| self.folder().join(name).display().to_string();
        let listens: Vec<String> = self.listens().iter().map(ToString::to_string).collect();
        vec![
            "container".to_owned(),
            format!("--name={name}"),
            format!("--arbitrators={}", listens.join(",")),
            "--listen=127.0.0.1:0".to_owned(),
            format!("--state-dir={}", folder(state)),
            format!("--packs={}", folder("packs")),
            format!("--configs={}", folder("configs")),
            format!("--dispatch=file:{}", folder("triggers.jsonl")),
        ]
    }

    /// Starts a container that finds the leader through the store of this url.
    #[track_caller]
    pub fn container_on(&self, name: &str, url: &str) -> Program {
        self.container_with(name, url, &[&format!("--packs={}", self.folder().join("packs").display())])
    }

    /// The same with flags that say which packs, and more.
    #[track_caller]
    pub fn container_with(&self, name: &str, url: &str, flags: &[&str]) -> Program {
        let configuration = self.folder().join(format!("{name}.conf"));
        std::fs::write(&configuration, format!("[coordination]\nurl = {url}\n"))
            .or_fail(format!("write `{}`", configuration.display()));
        let own = self.container_flags(name, name);
        let is_kept = |flag: &&String| !flag.starts_with("--arbitrators=") && !flag.starts_with("--packs=");
        let own = own.iter().filter(is_kept).map(String::as_str);
        let configuration = format!("--config-file={}", configuration.display());
        self.program(name, &own.chain(flags.iter().copied()).chain([configuration.as_str()]).collect::<Vec<_>>())
    }

    /// Starts a container whose triggers go to a file of its own, [`Testbed::own_file`]: it may stand still while it writes, and
    /// keep nobody else from writing.
    #[track_caller]
    pub fn container_with_own_file(&self, name: &str, flags: &[&str]) -> Program {
        self.container_with_sink(name, &format!("file:{}", self.own_file(name).display()), flags)
    }

    /// Starts a container whose triggers go there.
    #[track_caller]
    pub fn container_with_sink(&self, name: &str, sink: &str, flags: &[&str]) -> Program {
        let own = self.container_flags(name, name);
        let dispatch = format!("--dispatch={sink}");
        let own = own.iter().filter(|flag| !flag.starts_with("--dispatch=")).map(String::as_str);
        let flags = own.chain(flags.iter().copied()).chain([dispatch.as_str()]);
        self.program(name, &flags.collect::<Vec<_>>())
    }

    /// Where its triggers go.
    pub fn own_file(&self, container: &str) -> PathBuf {
        self.folder().join(format!("triggers-{container}.jsonl"))
    }

    /// Starts the binary with these arguments. Its logs have this name, with a number if that is taken.
    #[track_caller]
    pub fn program(&self, name: &str, arguments: &[&str]) -> Program {
        self.program_through(&[], name, arguments)
    }

    /// The same by a command line that becomes what follows it: `nsenter` and the like.
    #[track_caller]
    pub fn program_through(&self, through: &[String], name: &str, arguments: &[&str]) -> Program {
        let name = self.bed.fresh_name(name);
        Program::start(&self.bed, &name, through.to_vec(), arguments.iter().copied().map(str::to_owned).collect())
    }

    /// Sends a signal to a process of a program: a sensor's, a host, a guardian.
    #[track_caller]
    pub fn kill(&self, process: Process, signal: Signal) {
        send(process, signal);
    }

    // Asking.

    /// The arbitrator's own state; `None` while nobody answers.
    #[track_caller]
    pub fn status(&self) -> Option<Status> {
        self.answer(rest::STATUS)
    }

    /// The sensors; `None` while no leader answers.
    #[track_caller]
    pub fn sensors(&self) -> Option<Vec<Sensor>> {
        self.answer(rest::SENSORS)
    }

    /// The containers; `None` while no leader answers.
    #[track_caller]
    pub fn containers(&self) -> Option<Vec<Container>> {
        self.answer(rest::CONTAINERS)
    }

    /// The whole history, oldest first; `None` while nobody answers.
    #[track_caller]
    pub fn history(&self) -> Option<Vec<HistoryRecord>> {
        self.answer(&format!("{}?limit=10000", rest::HISTORY))
    }

    /// The status code and the document at any path: of the first arbitrator that answers with what was asked for, else of
    /// the last one that answers at all; `None` while nobody does.
    pub fn document(&self, path: &str) -> Option<(u16, Value)> {
        let mut last = None;
        for listen in self.listens() {
            match ask::get(listen, path) {
                Some((200, document)) => return Some((200, document)),
                Some(other) => last = Some(other),
                None => {}
            }
        }
        last
    }

    /// The same of one of several arbitrators.
    pub fn document_of(&self, number: usize, path: &str) -> Option<(u16, Value)> {
        ask::get(self.listens()[number], path)
    }

    /// What one of several arbitrators says of itself.
    #[track_caller]
    pub fn status_of(&self, number: usize) -> Option<Status> {
        let (_, document) = self.document_of(number, rest::STATUS).filter(|(status, _)| *status == 200)?;
        Some(serde_json::from_value(document.clone()).or_fail(format!("understand {document}")))
    }

    /// Where each sensor is ACTIVE, if each of these is: on one container exactly, and says itself that it runs.
    #[track_caller]
    pub fn placement(&self, sensors: &[String]) -> Option<Placement> {
        let found = self.sensors()?;
        let place = |wanted: &String| {
            let sensor = found.iter().find(|sensor| sensor.reference == *wanted)?;
            let mut active = sensor.instances.iter().filter(|instance| instance.status == word::ACTIVE);
            let instance = active.next().filter(|instance| instance.state == "running")?;
            let alone = active.next().is_none() && sensor.active.as_ref() == Some(&instance.container);
            (alone && sensor.status == word::ACTIVE).then(|| (wanted.clone(), instance.container.clone()))
        };
        sensors.iter().map(place).collect()
    }

    /// The process of a sensor's ACTIVE instance.
    #[track_caller]
    pub fn sensor_process(&self, sensor: &str) -> Option<Process> {
        let sensors = self.sensors()?;
        let sensor = sensors.iter().find(|found| found.reference == sensor)?;
        let active = sensor.instances.iter().find(|instance| instance.status == word::ACTIVE)?;
        Process::of(i32::try_from(active.pid?).ok()?)
    }

    /// What was dispatched so far, oldest first.
    #[track_caller]
    pub fn triggers(&self) -> Vec<Trigger> {
        triggers::read(&self.folder().join("triggers.jsonl"))
    }

    /// Looks until there is something, at most for so long; then the test fails, naming what it waited for.
    #[track_caller]
    pub fn eventually<T>(&self, bound: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let since = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            if since.elapsed() >= bound {
                let sensors = self.document(rest::SENSORS).map(|(_, sensors)| sensors).unwrap_or_default();
                fail(format!("{bound:?} were not enough for this: {what}\nsensors: {sensors}\n{}", self.bed.tails()));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    #[track_caller]
    fn answer<T: DeserializeOwned>(&self, path: &str) -> Option<T> {
        let (_, document) = self.document(path).filter(|(status, _)| *status == 200)?;
        Some(serde_json::from_value(document.clone()).or_fail(format!("understand {document} at {path}")))
    }
}

impl Bed {
    /// Where a program's standard error goes.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.log"))
    }

    /// Where a program's standard output goes.
    pub(crate) fn output(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.out"))
    }

    /// A name that no other program has.
    fn fresh_name(&self, name: &str) -> String {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let mut fresh = name.to_owned();
        let mut number = 1;
        while !names.insert(fresh.clone()) {
            number += 1;
            fresh = format!("{name}-{number}");
        }
        fresh
    }

    /// What every program finds in its environment.
    pub(crate) fn environment(&self) -> [(&'static str, OsString); 2] {
        [(BED_MARK, self.id.clone().into()), (crash::FOLDER, self.crash_points().into_os_string())]
    }

    /// Where processes look for the points at which they are to die.
    pub(crate) fn crash_points(&self) -> PathBuf {
        self.path.join("crash-points")
    }

    /// The last lines of every log.
    pub(crate) fn tails(&self) -> String {
        let mut text = String::new();
        for name in self.names.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let log = std::fs::read(self.log(name)).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            let lines: Vec<&str> = log.lines().collect();
            // Writing into a string cannot fail.
            let _ = writeln!(text, "--- the end of {}", self.log(name).display());
            for line in &lines[lines.len().saturating_sub(TAIL_LINES)..] {
                let _ = writeln!(text, "{line}");
            }
        }
        text
    }

    /// Everything that lives of this testbed.
    fn processes(&self) -> Vec<Process> {
        processes::with_environment(&format!("{BED_MARK}={}", self.id)).or_fail("list processes")
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        // What is stopped cannot end what it guards.
        for process in self.processes().into_iter().filter(|process| process.is_stopped()) {
            let pid = Pid::from_raw(process.pid);
            // It may have ended in between.
            let _ = pid.map(|pid| rustix::process::kill_process(pid, Signal::CONT));
        }
        let since = Instant::now();
        let mut left = self.processes();
        while !left.is_empty() && since.elapsed() < GONE_WITHIN {
            std::thread::sleep(LOOK_EVERY);
            left = self.processes();
        }
        let described: Vec<String> =
            left.iter().map(|process| format!("{} {}", process.pid, command_line(*process).join(" "))).collect();
        processes::kill_trees(&left);
        if std::thread::panicking() {
            let kept = self.folder.take().map(TempDir::keep);
            eprintln!("the test's folder is kept: {}", kept.unwrap_or_default().display());
            return;
        }
        assert!(left.is_empty(), "processes are left of a test that has ended:\n{}", described.join("\n"));
    }
}

/// A port that was free a moment ago. Above these are those that the kernel gives to whoever connects, and an
/// arbitrator that is started again needs its own.
#[track_caller]
pub fn free_port() -> u16 {
    const PORTS: std::ops::Range<u16> = 20_000..32_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test binaries that run at once begin at different places.
    let first = u16::try_from(std::process::id() % 12_000).unwrap_or_default();
    for _ in PORTS {
        let next = NEXT.fetch_add(1, Ordering::SeqCst).wrapping_add(first) % u16::try_from(PORTS.len()).unwrap_or(1);
        let port = PORTS.start + next;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    fail("no port is free")
}
