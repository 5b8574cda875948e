//! `st2sa up`: one arbitrator and some containers as processes of this machine, watched, restarted, and
//! stopped together. What happens is told in words.

mod narrator;
mod program;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use rustix::process::Signal;
use st2sa_machine::signals;

use crate::arbitrator::Loopback;
use crate::settings::{BadSetting, masked};
use narrator::Narrator;
use program::{Plan, Program};

/// A container that has ended is started again after this: long enough to see its sensors go on elsewhere.
const CONTAINER_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// All else is started again at once, unless it ended so soon after its start: then after the container's wait.
const SOON: Duration = Duration::from_secs(1);
/// What is started answers within this.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// Containers hand over, and stop, within this; then they are killed.
const STOPPED_WITHIN: Duration = Duration::from_secs(20);
/// How long the loop waits at the most.
const WAIT_AT_MOST: Duration = Duration::from_millis(500);
/// Containers at the most: it is one machine.
const CONTAINERS_AT_MOST: u16 = 64;

const AFTER_HELP: &str = "\
Without --packs it runs the packs in ./examples/packs, with a small local source for the one that polls HTTP.

Try: kill -9 a container's process and see its sensors go on in the other; in a second terminal ask
`st2sa sensors`, `st2sa history --follow` or `st2sa logs REF --follow`. Ctrl-C stops everything.

Exit codes:
  0  stopped as asked
  1  something could not be started
  2  a setting is wrong";

/// Options of `up`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct UpOptions {
    /// A folder of packs, or a pack; may be given several times [default: examples/packs]
    #[arg(long, value_name = "DIR")]
    packs: Vec<PathBuf>,
    /// How many containers
    #[arg(long, value_name = "N", default_value_t = 2)]
    containers: u16,
    /// Where the arbitrator listens
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9110")]
    listen: SocketAddr,
    /// Where all data and logs go [default: a fresh temporary folder, which is kept]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where triggers go: `stdout`, `file:PATH`, or what else `container` takes
    #[arg(long, value_name = "SINK", default_value = "stdout")]
    dispatch: String,
    /// A policy file for the arbitrator
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

/// What the loop is told.
enum Happened {
    /// A program wrote a line to its standard output.
    Line(String, String),
    /// A program has ended, and how.
    Ended(String, String),
    /// Something to say.
    Say(String),
    /// Asked to stop.
    Stop,
}

/// Runs everything until asked to stop.
pub(crate) fn run(options: UpOptions) -> anyhow::Result<ExitCode> {
    check(&options)?;
    let mut up = Up::prepare(options)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let asked = up.sender.clone();
    runtime.block_on(async { signals::on_stop(move || asked.send(Happened::Stop).is_ok()) })?;
    let started = up.start(&runtime);
    let result = match started {
        Ok(()) => {
            up.watch();
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => Err(error),
    };
    up.stop();
    runtime.shutdown_background();
    result
}

fn check(options: &UpOptions) -> anyhow::Result<()> {
    Loopback::from_str(&options.listen.to_string())
        .map_err(|error| BadSetting::new(format!("--listen is `{}`: {error}", options.listen)))?;
    if options.containers == 0 || options.containers > CONTAINERS_AT_MOST {
        let problem = format!("--containers is {}: 1 to {CONTAINERS_AT_MOST} are allowed", options.containers);
        return Err(BadSetting::new(problem).into());
    }
    if let Some(missing) = options.packs.iter().find(|folder| !folder.is_dir()) {
        return Err(BadSetting::new(format!("--packs: there is no folder `{}`", missing.display())).into());
    }
    crate::container::Dispatch::from_str(&options.dispatch)
        .map_err(|error| BadSetting::new(format!("--dispatch is `{}`: {error}", masked(&options.dispatch))))?;
    Ok(())
}

/// Everything that runs.
struct Up {
    listen: SocketAddr,
    folder: PathBuf,
    /// By name, in the order in which they were started.
    programs: Vec<Program>,
    plans: BTreeMap<String, Plan>,
    /// What is to be started again, and when.
    again: Vec<(Instant, String)>,
    sender: Sender<Happened>,
    happened: Receiver<Happened>,
    narrator: Narrator,
    stopping: bool,
}

impl Up {
    fn prepare(options: UpOptions) -> anyhow::Result<Self> {
        let folder = match options.data_dir {
            Some(folder) => {
                std::fs::create_dir_all(&folder)
                    .with_context(|| format!("cannot create the folder `{}`", folder.display()))?;
                std::path::absolute(folder)?
            }
            None => fresh_folder()?,
        };
        let listen = if options.listen.port() == 0 { free_port()? } else { options.listen };
        let (sender, happened) = channel();
        let mut plans = BTreeMap::new();
        let arbitrator = vec![
            "arbitrator".to_owned(),
            format!("--listen={listen}"),
            format!("--data-dir={}", folder.join("arbitrator").display()),
        ];
        let policy = options.policy.as_ref().map(|policy| format!("--policy={}", policy.display()));
        let arbitrator = arbitrator.into_iter().chain(policy).collect();
        plans.insert("arbitrator".to_owned(), Plan::ours(arbitrator, folder.join("arbitrator.log")));
        let mut packs = options.packs;
        if packs.is_empty() {
            packs = examples(&folder, &mut plans)?;
        }
        for number in 1..=options.containers {
            let name = format!("container-{number}");
            let mut arguments = vec![
                "container".to_owned(),
                format!("--name={name}"),
                format!("--arbitrators={listen}"),
                "--listen=127.0.0.1:0".to_owned(),
                format!("--state-dir={}", folder.join(&name).display()),
                format!("--configs={}", folder.join("configs").display()),
                format!("--dispatch={}", options.dispatch),
                // Where every container stops at once, there is nobody to hand over to.
                "--drain-timeout=2s".to_owned(),
            ];
            arguments.extend(packs.iter().map(|folder| format!("--packs={}", folder.display())));
            plans.insert(name.clone(), Plan::ours(arguments, folder.join(format!("{name}.log"))));
        }
        std::fs::create_dir_all(folder.join("configs"))?;
        Ok(Self {
            listen,
            folder,
            programs: Vec::new(),
            plans,
            again: Vec::new(),
            sender,
            happened,
            narrator: Narrator::new(),
            stopping: false,
        })
    }

    fn start(&mut self, runtime: &tokio::runtime::Runtime) -> anyhow::Result<()> {
        if TcpStream::connect_timeout(&self.listen, Duration::from_millis(200)).is_ok() {
            bail!("something listens on {} already: stop it, or give another address with --listen", self.listen);
        }
        self.narrator.say(&format!("data and logs are in {}", self.folder.display()));
        if self.plans.contains_key(SOURCE) {
            self.start_source()?;
        }
        self.start_one("arbitrator")?;
        self.wait_for_arbitrator()?;
        narrator::follow_history(runtime.handle(), self.listen, self.sender.clone());
        let containers: Vec<String> =
            self.plans.keys().filter(|name| name.starts_with("container-")).cloned().collect();
        for name in containers {
            self.start_one(&name)?;
        }
        self.narrator.say(&format!(
            "ask in another terminal: st2sa sensors{}; Ctrl-C stops everything",
            if self.listen.port() == 9110 { String::new() } else { format!(" --arbitrator {}", self.listen) }
        ));
        Ok(())
    }

    /// Starts the examples' source and tells the pack that polls it where it is.
    fn start_source(&mut self) -> anyhow::Result<()> {
        self.start_one(SOURCE)?;
        let since = Instant::now();
        while since.elapsed() < READY_WITHIN {
            match self.happened.recv_timeout(WAIT_AT_MOST) {
                Ok(Happened::Line(name, line)) if name == SOURCE => {
                    let Some(url) = line.strip_prefix("listening on ") else { continue };
                    let config = self.folder.join("configs").join("http_poll.yaml");
                    std::fs::write(&config, format!("---\nurl: {url}\n"))
                        .with_context(|| format!("cannot write `{}`", config.display()))?;
                    self.narrator.say(&format!("source makes an item a second at {url}"));
                    return Ok(());
                }
                Ok(Happened::Ended(name, how)) => bail!("{name} has ended ({how}): {}", self.last_words(&name)),
                Ok(Happened::Stop) => bail!("stopped while starting"),
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        bail!("the examples' source does not say where it listens; see {}", self.folder.join("source.log").display())
    }

    fn wait_for_arbitrator(&mut self) -> anyhow::Result<()> {
        let since = Instant::now();
        while since.elapsed() < READY_WITHIN {
            if TcpStream::connect_timeout(&self.listen, Duration::from_millis(200)).is_ok() {
                return Ok(());
            }
            match self.happened.recv_timeout(Duration::from_millis(10)) {
                Ok(Happened::Ended(name, how)) => bail!("{name} has ended ({how}): {}", self.last_words(&name)),
                Ok(Happened::Stop) => bail!("stopped while starting"),
                Ok(_) | Err(_) => {}
            }
        }
        bail!("the arbitrator does not listen on {}: {}", self.listen, self.last_words("arbitrator"))
    }

    /// The last line of a program's log: why it ended, most likely.
    fn last_words(&self, name: &str) -> String {
        let log = self.plans.get(name).map(|plan| plan.log.clone()).unwrap_or_default();
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let mut lines = text.lines().rev().filter(|line| !line.trim().is_empty());
        let last = lines.clone().find(|line| line.starts_with("error: ")).or_else(|| lines.next());
        let last = last.unwrap_or("nothing was logged");
        format!("{last} (its log is {})", log.display())
    }

    fn start_one(&mut self, name: &str) -> anyhow::Result<()> {
        let Some(plan) = self.plans.get(name) else { return Ok(()) };
        let program = Program::start(name, plan, &self.sender)?;
        self.narrator.say(&format!("{name} runs as process {}", program.pid()));
        self.programs.push(program);
        Ok(())
    }

    /// Tells what happens, and starts again what ends, until asked to stop.
    fn watch(&mut self) {
        loop {
            let next = self.again.iter().map(|(at, _)| at.saturating_duration_since(Instant::now())).min();
            match self.happened.recv_timeout(next.unwrap_or(WAIT_AT_MOST).min(WAIT_AT_MOST)) {
                Ok(Happened::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(happened) => self.take(happened),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = Instant::now();
            let (due, later) = self.again.drain(..).partition(|(at, _)| *at <= now);
            self.again = later;
            for (_, name) in due {
                if let Err(error) = self.start_one(&name) {
                    self.narrator.say(&format!("{name} could not be started again: {error:#}"));
                    self.again.push((now + CONTAINER_AGAIN_AFTER, name));
                }
            }
        }
    }

    fn take(&mut self, happened: Happened) {
        match happened {
            Happened::Line(name, line) => self.narrator.line(&name, &line),
            Happened::Say(text) => self.narrator.say(&text),
            Happened::Stop => {}
            Happened::Ended(name, how) => {
                let soon = |program: &Program| program.name == name && program.since.elapsed() < SOON;
                let ended_soon = self.programs.iter().any(soon);
                self.programs.retain(|program| program.name != name);
                if self.stopping {
                    return;
                }
                if how == WRONG_SETTING {
                    let why = self.last_words(&name);
                    self.narrator.say(&format!("{name} has ended, and would again: {why}"));
                    return;
                }
                let after = if name.starts_with("container-") {
                    let after = CONTAINER_AGAIN_AFTER.as_secs();
                    if ended_soon {
                        let why = self.last_words(&name);
                        self.narrator.say(&format!("{name} has ended ({how}): {why}"));
                        self.narrator.say(&format!("{name} is started again in {after} s"));
                    } else {
                        self.narrator.say(&format!(
                            "{name} has ended ({how}): what was ACTIVE there goes on elsewhere; it is started again in {after} s"
                        ));
                    }
                    CONTAINER_AGAIN_AFTER
                } else {
                    let meanwhile = if name == "arbitrator" { ": sensors go on meanwhile" } else { "" };
                    self.narrator.say(&format!("{name} has ended ({how}){meanwhile}; it is started again"));
                    if ended_soon { CONTAINER_AGAIN_AFTER } else { Duration::ZERO }
                };
                self.again.push((Instant::now() + after, name));
            }
        }
    }

    /// Stops everything: containers first, then the arbitrator, then the source.
    fn stop(&mut self) {
        self.stopping = true;
        self.again.clear();
        if self.programs.is_empty() {
            return;
        }
        self.narrator.say("stopping everything; Ctrl-C once more stops it at once");
        for group in ["container-", "arbitrator", SOURCE] {
            self.stop_group(group);
        }
        self.narrator.say("everything has stopped");
        // Whoever reads may have gone.
        let _ = std::io::stdout().flush();
    }

    fn stop_group(&mut self, prefix: &str) {
        let of_group = |program: &Program| program.name.starts_with(prefix);
        self.programs.iter().filter(|program| of_group(program)).for_each(|program| program.signal(Signal::TERM));
        let since = Instant::now();
        let mut killed = false;
        while self.programs.iter().any(of_group) {
            if since.elapsed() >= STOPPED_WITHIN && !killed {
                self.narrator.say("what does not stop is killed");
                self.programs.iter().for_each(|program| program.signal(Signal::KILL));
                killed = true;
            }
            match self.happened.recv_timeout(WAIT_AT_MOST) {
                Ok(Happened::Stop) => {
                    self.programs.iter().for_each(|program| program.signal(Signal::KILL));
                    killed = true;
                }
                // How sensors are handed over now interests nobody.
                Ok(Happened::Say(_)) | Err(RecvTimeoutError::Timeout) => {}
                Ok(happened) => self.take(happened),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}

const SOURCE: &str = "source";
/// How a daemon's end reads whose setting is wrong: starting it again changes nothing.
const WRONG_SETTING: &str = "exit status: 2";

/// The example packs, and the source that one of them polls.
fn examples(folder: &Path, plans: &mut BTreeMap<String, Plan>) -> anyhow::Result<Vec<PathBuf>> {
    let examples = std::path::absolute("examples")?;
    let packs = examples.join("packs");
    if !packs.is_dir() {
        let problem = format!(
            "there is no folder `{}`: say where packs are with --packs, or run this in the project's own folder",
            packs.display()
        );
        return Err(BadSetting::new(problem).into());
    }
    let arguments = vec![examples.join("source.py").display().to_string(), "--port=0".to_owned()];
    let log = folder.join("source.log");
    plans.insert(SOURCE.to_owned(), Plan { program: "python3".into(), arguments, log });
    Ok(vec![packs])
}

fn fresh_folder() -> anyhow::Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    let folder = std::env::temp_dir().join(format!("st2sa-up-{:08x}", st2sa_machine::identity::random() >> 32));
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(&folder)
        .with_context(|| format!("cannot create the folder `{}`; choose one with --data-dir", folder.display()))?;
    Ok(folder)
}

fn free_port() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    Ok(listener.local_addr()?)
}
