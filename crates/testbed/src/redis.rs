//! Redis for tests: one server, or a master with replicas that sentinels watch.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::failure::{OrFail, fail};
use crate::server::{Recipe, Server};
use crate::testbed::free_port;

/// What sentinels call their master here.
const MASTER: &str = "mymaster";
/// Replicas and sentinels find each other within this, also on a machine that is swamped.
const SETTLES_WITHIN: Duration = Duration::from_mins(1);

/// A Redis server on a free loopback port; killed when dropped.
#[derive(Debug)]
pub struct RedisServer {
    server: Server,
    port: u16,
}

impl RedisServer {
    /// One that keeps what it has confirmed: `appendonly yes`, `appendfsync always`.
    #[track_caller]
    pub fn start() -> Self {
        Self::start_with(&["--appendonly", "yes", "--appendfsync", "always"])
    }

    /// One with these arguments, and Redis' own defaults but for two: it saves no dumps, and replicas wait for no others.
    #[track_caller]
    pub fn start_with(arguments: &[&str]) -> Self {
        let port = free_port();
        let own = ["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--repl-diskless-sync-delay", "0"];
        let arguments = own.iter().chain(arguments).map(|argument| (*argument).to_owned()).collect();
        let server = Server::start(recipe("redis", arguments), Server::folder_for("redis"), || answers(port));
        Self { server, port }
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        address(self.port)
    }

    /// What it answers to a command.
    #[track_caller]
    pub fn command(&self, words: &[&str]) -> String {
        command(self.port, words).or_fail(format!("ask Redis for {words:?}"))
    }

    /// How many commands of each kind it has carried out, by its own figures: those inside of scripts, too.
    #[track_caller]
    pub fn commands(&self) -> BTreeMap<String, u64> {
        let told = self.command(&["INFO", "commandstats"]);
        let count = |line: &str| {
            let (command, rest) = line.trim().strip_prefix("cmdstat_")?.split_once(":calls=")?;
            Some((command.to_owned(), rest.split(',').next()?.parse().ok()?))
        };
        told.lines().filter_map(count).collect()
    }

    /// Sends it a signal: `KILL`, `STOP`, `CONT`.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        self.server.signal(signal);
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Starts it again after it was killed, on the same port and in the same folder.
    #[track_caller]
    pub fn start_again(&mut self) {
        let port = self.port;
        self.server.start_again(|| answers(port));
    }
}

/// A master, its replicas, and three sentinels that promote one of them a second after the master fell silent.
#[derive(Debug)]
pub struct RedisSentinels {
    sentinels: Vec<(Server, u16)>,
    servers: Vec<RedisServer>,
}

impl RedisSentinels {
    /// Starts them, and waits until all know of each other.
    #[track_caller]
    pub fn start(replicas: usize) -> Self {
        let keeps = ["--appendonly", "yes", "--appendfsync", "always"];
        let master = RedisServer::start_with(&keeps);
        let port = master.port.to_string();
        let mut servers = vec![master];
        for _ in 0..replicas {
            servers.push(RedisServer::start_with(&[&keeps[..], &["--replicaof", "127.0.0.1", &port]].concat()));
        }
        let mut group = Self { sentinels: Vec::new(), servers };
        // Sentinels that come later learn of the replicas at their first look: the next is ten seconds later.
        group.wait_until("the replicas have everything", || group.online() == replicas);
        group.sentinels = (0..3).map(|_| start_sentinel(&port)).collect();
        group.wait_until("all know of each other", || group.has_settled(replicas));
        group
    }

    /// What the sentinels call the master.
    pub fn master_name(&self) -> &'static str {
        MASTER
    }

    /// `host:port` of each sentinel.
    pub fn addresses(&self) -> Vec<String> {
        self.sentinels.iter().map(|(_, port)| address(*port)).collect()
    }

    /// The server that the sentinels call the master now.
    #[track_caller]
    pub fn master(&mut self) -> &mut RedisServer {
        let said = self.sentinels.iter().find_map(|(_, port)| asked_master(*port));
        let port = said.ok_or("no sentinel says").or_fail("find the master");
        let found = self.servers.iter_mut().find(|server| server.port == port);
        found.ok_or("it is none of ours").or_fail("find the master")
    }

    /// The master and its replicas.
    pub fn servers(&self) -> impl Iterator<Item = &RedisServer> {
        self.servers.iter()
    }

    /// Waits until the sentinels name another master than the one at this address, and it takes writes.
    #[track_caller]
    pub fn wait_for_another_master(&self, than: &str) {
        self.wait_until("another master", || {
            let named: Vec<_> = self.sentinels.iter().filter_map(|(_, port)| asked_master(*port)).collect();
            let is_new = |port: &u16| address(*port) != than && asked_role(*port).as_deref() == Some("master");
            named.len() == self.sentinels.len() && named.iter().all(is_new)
        });
    }

    fn has_settled(&self, replicas: usize) -> bool {
        let counted = |port: u16, field: &str, count: usize| {
            let told = command(port, &["SENTINEL", "master", MASTER]).unwrap_or_default();
            let mut lines = told.lines().skip_while(|line| *line != field);
            lines.nth(1) == Some(&count.to_string())
        };
        let knows = |port: u16| counted(port, "num-slaves", replicas) && counted(port, "num-other-sentinels", 2);
        self.sentinels.iter().all(|(_, port)| knows(*port))
    }

    /// How many replicas have all that their master has, as both say.
    fn online(&self) -> usize {
        let up = |server: &&RedisServer| server.command(&["INFO", "replication"]).contains("master_link_status:up");
        let counted = self.servers[0].command(&["INFO", "replication"]).matches("state=online").count();
        counted.min(self.servers.iter().filter(up).count())
    }

    #[track_caller]
    fn wait_until(&self, what: &str, is_so: impl Fn() -> bool) {
        let since = Instant::now();
        while !is_so() {
            if since.elapsed() >= SETTLES_WITHIN {
                let logs: Vec<_> = self.sentinels.iter().map(|(server, _)| server.log()).collect();
                fail(format!("sentinels: {what}: not in {SETTLES_WITHIN:?}\n{}", logs.join("\n")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[track_caller]
fn start_sentinel(master: &str) -> (Server, u16) {
    let port = free_port();
    let folder = Server::folder_for("redis-sentinel");
    let path = folder.path().join("sentinel.conf");
    let settings = format!(
        "port {port}\nbind 127.0.0.1\nsentinel monitor {MASTER} 127.0.0.1 {master} 2\n\
         sentinel down-after-milliseconds {MASTER} 1000\nsentinel failover-timeout {MASTER} 5000\n"
    );
    std::fs::write(&path, settings).or_fail(format!("write `{}`", path.display()));
    let arguments = vec![path.display().to_string(), "--sentinel".to_owned()];
    (Server::start(recipe("redis-sentinel", arguments), folder, || answers(port)), port)
}

fn recipe(name: &str, arguments: Vec<String>) -> Recipe {
    let program = "redis-server".into();
    Recipe { name: name.to_owned(), program, arguments, environment: Vec::new(), package: "redis-server" }
}

fn address(port: u16) -> String {
    format!("{}:{port}", Ipv4Addr::LOCALHOST)
}

fn answers(port: u16) -> bool {
    command(port, &["PING"]).is_ok_and(|answer| answer.contains("PONG") || answer.contains("NOAUTH"))
}

fn asked_master(sentinel: u16) -> Option<u16> {
    let told = command(sentinel, &["SENTINEL", "get-master-addr-by-name", MASTER]).ok()?;
    told.lines().nth(1)?.parse().ok()
}

fn asked_role(port: u16) -> Option<String> {
    command(port, &["ROLE"]).ok()?.lines().next().map(str::to_owned)
}

fn command(port: u16, words: &[&str]) -> Result<String, String> {
    let asked = Command::new("redis-cli").args(["-h", "127.0.0.1", "-p", &port.to_string()]).args(words).output();
    let answered = asked.map_err(|error| format!("{error} (`apt-get install redis-tools` brings redis-cli)"))?;
    if answered.status.success() {
        Ok(String::from_utf8_lossy(&answered.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&answered.stderr).into_owned())
    }
}
