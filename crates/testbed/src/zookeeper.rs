//! ZooKeeper for tests: one server, or several that belong together, from Debian's package.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::failure::{OrFail, fail};
use crate::server::{Recipe, Server};
use crate::testbed::free_port;

/// What sessions are counted in, in milliseconds: a tenth of the stock length, so that they end soon.
const TICK_MILLIS: u32 = 200;
/// Sessions that must not end meanwhile may last this long.
const SESSION_MILLIS_AT_MOST: u32 = 60_000;
/// A line of the log for each request, as it is answered.
const LOGS_REQUESTS: &str = "-Dorg.slf4j.simpleLogger.log.org.apache.zookeeper.server.FinalRequestProcessor=debug";
/// How long a server that is asked how it is may take.
const ASK_WITHIN: Duration = Duration::from_secs(1);
/// A server that is to stop stands still within this.
const STILL_WITHIN: Duration = Duration::from_secs(10);
/// Servers that belong together have found each other within this, also on a machine that is swamped.
const TOGETHER_WITHIN: Duration = Duration::from_mins(1);
/// How often they are looked at meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A ZooKeeper server of a test.
#[derive(Debug)]
pub struct ZooKeeperServer {
    server: Server,
    port: u16,
}

impl ZooKeeperServer {
    /// Starts one, and waits until it serves.
    #[track_caller]
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// Starts one with lines of the test's own in its configuration. As every server of a test, it ends with the thread
    /// that starts it.
    #[track_caller]
    pub fn start_with(lines: &str) -> Self {
        let folder = Server::folder_for("zookeeper");
        let port = free_port();
        let configuration = format!("clientPort={port}\nclientPortAddress=127.0.0.1\n{lines}");
        let server =
            Server::start(recipe(&folder.path().join("data"), &configuration, &folder), folder, || serves(port));
        Self { server, port }
    }

    /// Starts one with lines of its own in its configuration that logs each request: [`Self::requests`] counts them.
    #[track_caller]
    pub fn start_counting(lines: &str) -> Self {
        let folder = Server::folder_for("zookeeper");
        let port = free_port();
        let configuration = format!("clientPort={port}\nclientPortAddress=127.0.0.1\n{lines}");
        let mut recipe = recipe(&folder.path().join("data"), &configuration, &folder);
        recipe.arguments.insert(0, LOGS_REQUESTS.to_owned());
        Self { server: Server::start(recipe, folder, || serves(port)), port }
    }

    /// How many requests of each kind it has logged: `ping`, `multi`, `getData`.
    pub fn requests(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for line in self.server.log().lines().filter(|line| line.contains("Processing request::")) {
            let kind = line.split_ascii_whitespace().find_map(|word| word.strip_prefix("type:")).unwrap_or("unknown");
            *counts.entry(kind.to_owned()).or_default() += 1;
        }
        counts
    }

    /// Starts several that belong together, and waits until they all serve.
    #[track_caller]
    pub fn cluster(count: usize) -> Vec<Self> {
        let ports: Vec<[u16; 3]> = (0..count).map(|_| [free_port(), free_port(), free_port()]).collect();
        let mut members = String::new();
        for (place, [port, quorum, election]) in ports.iter().enumerate() {
            // Writing to a string cannot fail.
            let _ = writeln!(members, "server.{}=127.0.0.1:{quorum}:{election};127.0.0.1:{port}", place + 1);
        }
        let mut servers: Vec<Self> = Vec::with_capacity(count);
        for (place, [port, _, _]) in ports.iter().enumerate() {
            let folder = Server::folder_for("zookeeper");
            let data = folder.path().join("data");
            std::fs::create_dir_all(&data).or_fail("make a folder");
            std::fs::write(data.join("myid"), (place + 1).to_string()).or_fail("write `myid`");
            let recipe = recipe(&data, &members, &folder);
            // It serves when most of them are there.
            servers.push(Self { server: Server::start(recipe, folder, || true), port: *port });
        }
        let since = Instant::now();
        while let Some(idle) = servers.iter().find(|server| !serves(server.port)) {
            if since.elapsed() > TOGETHER_WITHIN {
                fail(format!("ZooKeeper's servers have not found each other:\n{}", idle.server.log()));
            }
            std::thread::sleep(LOOK_EVERY);
        }
        servers
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// As `[coordination] url` has it.
    pub fn url(&self) -> String {
        format!("zookeeper://{}", self.address())
    }

    /// What it says to one of its commands of four letters.
    pub fn asked(&self, command: &str) -> String {
        ask(self.port, command).unwrap_or_default()
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Starts it again, with the same data, and waits until it serves.
    #[track_caller]
    pub fn start_again(&mut self) {
        let port = self.port;
        self.server.start_again(|| serves(port));
    }

    /// Kills it, throws all of its data away, and starts it again.
    #[track_caller]
    pub fn lose_everything(&mut self) {
        self.kill();
        let data = self.server.folder().join("data");
        std::fs::remove_dir_all(&data).or_fail(format!("remove `{}`", data.display()));
        self.start_again();
    }

    /// Freezes it, and waits until nothing of it moves: it keeps its connections and says nothing.
    #[track_caller]
    pub fn stop(&self) {
        self.server.signal(Signal::STOP);
        let since = Instant::now();
        while !self.stands_still() {
            if since.elapsed() > STILL_WITHIN {
                fail("ZooKeeper does not stop");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Thaws it.
    #[track_caller]
    pub fn cont(&self) {
        self.server.signal(Signal::CONT);
    }

    /// Whether each of its threads has heeded the signal.
    fn stands_still(&self) -> bool {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.server.process().pid)).or_fail("list threads");
        tasks.flatten().all(|task| {
            let status = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
            status.is_empty() || status.contains("State:\tT")
        })
    }

    /// How a server with these lines in its configuration is started that keeps its data there.
    #[track_caller]
    pub fn recipe(data: &std::path::Path, lines: &str, folder: &tempfile::TempDir) -> Recipe {
        recipe(data, lines, folder)
    }
}

/// Debian's package is started by `java` itself: its script keeps to the one configuration in `/etc`.
#[track_caller]
fn recipe(data: &std::path::Path, lines: &str, folder: &tempfile::TempDir) -> Recipe {
    let configuration = format!(
        "tickTime={TICK_MILLIS}\nmaxSessionTimeout={SESSION_MILLIS_AT_MOST}\ninitLimit=50\nsyncLimit=5\ndataDir={}\nadmin.enableServer=false\n\
         4lw.commands.whitelist=*\nmaxClientCnxns=0\n{lines}",
        data.display()
    );
    let path = folder.path().join("zoo.cfg");
    std::fs::write(&path, configuration).or_fail("write `zoo.cfg`");
    // The first one names most of the others; those of netty, for TLS, are missing there.
    let jars = ["zookeeper", "slf4j-simple", "netty-codec", "netty-resolver", "netty-transport-native-unix-common"];
    let class_path: Vec<String> = jars.iter().map(|jar| format!("/usr/share/java/{jar}.jar")).collect();
    let options = [
        "-Xmx256m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-XX:-UsePerfData",
        // Tests kill processes, not machines; and 64 MiB of log for each server are too much.
        "-Dzookeeper.forceSync=no",
        "-Dzookeeper.preAllocSize=1024",
    ];
    let mut arguments: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
    arguments.extend(["-cp".to_owned(), class_path.join(":")]);
    arguments.push("org.apache.zookeeper.server.quorum.QuorumPeerMain".to_owned());
    arguments.push(path.display().to_string());
    Recipe {
        name: "zookeeper".to_owned(),
        program: PathBuf::from("java"),
        arguments,
        environment: Vec::new(),
        package: "zookeeper",
    }
}

fn serves(port: u16) -> bool {
    ask(port, "srvr").is_some_and(|answer| answer.contains("Mode:"))
}

fn ask(port: u16, command: &str) -> Option<String> {
    let address = ([127, 0, 0, 1], port).into();
    let mut stream = TcpStream::connect_timeout(&address, ASK_WITHIN).ok()?;
    stream.set_read_timeout(Some(ASK_WITHIN)).ok()?;
    stream.write_all(command.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}
