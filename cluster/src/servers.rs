//! The store: three servers, each on a machine of its own. Redis has a sentinel beside each.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use st2sa_testbed::{Recipe, Server, Signal, ZooKeeperServer};

use crate::network::{Machine, Network};
use st2sa_testbed::failure::{OrFail, fail};

/// The machines of the store.
pub(crate) const STORES: [Machine; 3] = ["store1", "store2", "store3"];

/// What sentinels call their master here.
const MASTER: &str = "mymaster";
/// The servers have found each other within this.
const TOGETHER_WITHIN: Duration = Duration::from_mins(1);
/// A server that is asked how it does answers within this, or it does not.
const ASKED_FOR: Duration = Duration::from_secs(1);
/// How often they are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Which store.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Etcd,
    Zookeeper,
    Redis,
}

impl Which {
    /// How long a leadership lasts without a renewal; on ZooKeeper two thirds of a session, which is two ticks of the stock
    /// two seconds.
    pub(crate) fn leader_ttl(self) -> Duration {
        Duration::from_millis(if self == Self::Zookeeper { 2_667 } else { 2_000 })
    }

    /// How long a leadership among arbitrators may take to pass on: `leader_ttl` and a second; on ZooKeeper a session, a tick and a
    /// second, with ticks of the stock two seconds.
    pub(crate) fn leads_within(self) -> Duration {
        Duration::from_secs(if self == Self::Zookeeper { 7 } else { 3 })
    }

    /// How long the store itself may be without a leader when its own is gone. etcd: an election timeout of 1 s, twice at the most,
    /// and a second to elect. ZooKeeper: `syncLimit` (5) ticks of 2 s of silence, and two to elect. Redis: a second until sentinels
    /// call it down, and three to promote.
    pub(crate) fn recovers_within(self) -> Duration {
        Duration::from_secs(match self {
            Self::Etcd => 3,
            Self::Zookeeper => 12,
            Self::Redis => 4,
        })
    }

    /// How long a new leader may wait before it adopts what runs: nothing, but on a store that may forget (rule 9): for the
    /// longest lease as any clock counts it, and the leadership's length.
    pub(crate) fn waits(self) -> Duration {
        if self == Self::Redis { Duration::from_millis(2_000 * 12 / 10 + 200 + 2_000) } else { Duration::ZERO }
    }

    /// Whether a leadership may be extended while the store is away.
    pub(crate) fn has_fail_safe(self) -> bool {
        self != Self::Redis
    }
}

/// The servers, in the order of their machines.
pub(crate) struct Servers {
    which: Which,
    addresses: [Ipv4Addr; 3],
    /// One, and its sentinel, for each machine.
    servers: Vec<Vec<Server>>,
}

impl Servers {
    /// Starts them, and waits until they are one store.
    #[track_caller]
    pub(crate) fn start(which: Which, network: &Network) -> Self {
        let addresses = STORES.map(|machine| network.address(machine));
        let mut servers = Vec::new();
        for (number, machine) in STORES.into_iter().enumerate() {
            servers.push(match which {
                Which::Etcd => vec![etcd(machine, number, &addresses)],
                Which::Zookeeper => vec![zookeeper(machine, number, &addresses)],
                Which::Redis => vec![redis(machine, number, &addresses)],
            });
        }
        let mut store = Self { which, addresses, servers };
        store.until_all_serve();
        if which == Which::Redis {
            for (number, machine) in STORES.into_iter().enumerate() {
                store.servers[number].push(sentinel(machine, &addresses, number));
            }
            store.until("all sentinels know of each other", |store| {
                let knows = |address: &Ipv4Addr| {
                    let told = redis_says(*address, 26_379, &format!("SENTINEL master {MASTER}")).unwrap_or_default();
                    let field = |name: &str| told.lines().skip_while(|line| *line != name).nth(2).map(str::to_owned);
                    field("num-slaves").as_deref() == Some("2") && field("num-other-sentinels").as_deref() == Some("2")
                };
                store.addresses.iter().all(knows)
            });
        }
        store
    }

    /// As StackStorm's configuration names it.
    pub(crate) fn url(&self) -> String {
        let with = |port: u16| self.addresses.map(|address| format!("{address}:{port}"));
        match self.which {
            Which::Etcd => format!("etcd3+http://{}", with(2379).join(",")),
            Which::Zookeeper => format!("zookeeper://{}", with(2181).join(",")),
            Which::Redis => {
                let [first, others @ ..] = with(26_379);
                let others = others.map(|other| format!("&sentinel_fallback={other}"));
                format!("redis://{first}?sentinel={MASTER}{}", others.concat())
            }
        }
    }

    /// Which one leads the others; Redis: the master.
    #[track_caller]
    pub(crate) fn leader(&self) -> usize {
        let since = Instant::now();
        loop {
            if let Some(leader) = (0..STORES.len()).find(|number| self.leads(*number)) {
                return leader;
            }
            if since.elapsed() > TOGETHER_WITHIN {
                fail("no server of the store leads the others");
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    pub(crate) fn kill(&mut self, number: usize) {
        self.servers[number].iter_mut().for_each(Server::kill);
    }

    #[track_caller]
    pub(crate) fn start_again(&mut self, number: usize) {
        self.servers[number].iter_mut().for_each(|server| server.start_again(|| true));
    }

    #[track_caller]
    pub(crate) fn stop(&self, number: usize) {
        self.servers[number].iter().for_each(Server::stop);
    }

    #[track_caller]
    pub(crate) fn cont(&self, number: usize) {
        self.servers[number].iter().for_each(|server| server.signal(Signal::CONT));
    }

    /// Waits until each of them serves, as one store.
    #[track_caller]
    pub(crate) fn until_all_serve(&self) {
        self.until("each server serves", |store| {
            let serves = |address: &Ipv4Addr| match store.which {
                Which::Etcd => http(*address, 2381, "/health").is_some_and(|text| text.contains("\"health\":\"true\"")),
                Which::Zookeeper => four_letters(*address, "srvr").is_some_and(|text| text.contains("Mode:")),
                Which::Redis => redis_says(*address, 6379, "INFO replication").is_some_and(|text| {
                    text.contains("master_link_status:up")
                        || (text.contains("role:master") && text.matches("state=online").count() == 2)
                }),
            };
            store.addresses.iter().all(serves)
        });
    }

    fn leads(&self, number: usize) -> bool {
        let address = self.addresses[number];
        match self.which {
            Which::Etcd => {
                http(address, 2381, "/metrics").is_some_and(|text| text.contains("\netcd_server_is_leader 1"))
            }
            Which::Zookeeper => four_letters(address, "srvr").is_some_and(|text| text.contains("Mode: leader")),
            Which::Redis => {
                redis_says(address, 6379, "INFO replication").is_some_and(|text| text.contains("role:master"))
            }
        }
    }

    #[track_caller]
    fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let since = Instant::now();
        while !is_so(self) {
            if since.elapsed() > TOGETHER_WITHIN {
                let logs: Vec<_> = self.servers.iter().flatten().map(Server::log).collect();
                fail(format!("{:?}: {what}: not in {TOGETHER_WITHIN:?}\n{}", self.which, logs.join("\n---\n")));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

/// The recipe of a server on a machine.
fn on(machine: Machine, mut recipe: Recipe) -> Recipe {
    let mut arguments = Network::inside(machine);
    let program = arguments.remove(0);
    arguments.push(recipe.program.display().to_string());
    arguments.append(&mut recipe.arguments);
    Recipe { program: program.into(), arguments, ..recipe }
}

fn etcd(machine: Machine, number: usize, all: &[Ipv4Addr; 3]) -> Server {
    let (folder, own) = (Server::folder_for("etcd"), all[number]);
    let cluster: Vec<_> =
        all.iter().enumerate().map(|(number, address)| format!("m{number}=http://{address}:2380")).collect();
    let arguments = vec![
        format!("--name=m{number}"),
        format!("--data-dir={}", folder.path().join("data").display()),
        format!("--listen-client-urls=http://{own}:2379"),
        format!("--advertise-client-urls=http://{own}:2379"),
        format!("--listen-peer-urls=http://{own}:2380"),
        format!("--initial-advertise-peer-urls=http://{own}:2380"),
        format!("--listen-metrics-urls=http://{own}:2381"),
        format!("--initial-cluster={}", cluster.join(",")),
    ];
    let recipe = Recipe {
        name: format!("etcd on {machine}"),
        program: "etcd".into(),
        arguments,
        environment: Vec::new(),
        package: "etcd-server",
    };
    Server::start(on(machine, recipe), folder, || true)
}

fn zookeeper(machine: Machine, number: usize, all: &[Ipv4Addr; 3]) -> Server {
    let folder = Server::folder_for("zookeeper");
    let data = folder.path().join("data");
    std::fs::create_dir_all(&data).or_fail("make a folder");
    std::fs::write(data.join("myid"), (number + 1).to_string()).or_fail("write `myid`");
    let member =
        |(number, address): (usize, &Ipv4Addr)| format!("server.{}={address}:2888:3888;{address}:2181\n", number + 1);
    // Of two lines the later one counts: ticks as they are by default.
    let lines = format!("tickTime=2000\ninitLimit=10\n{}", all.iter().enumerate().map(member).collect::<String>());
    let recipe = ZooKeeperServer::recipe(&data, &lines, &folder);
    Server::start(on(machine, recipe), folder, || true)
}

fn redis(machine: Machine, number: usize, all: &[Ipv4Addr; 3]) -> Server {
    let own = all[number].to_string();
    let mut arguments: Vec<String> = [
        &["--port", "6379", "--bind", &own, "--save", "", "--protected-mode", "no"][..],
        &["--appendonly", "yes", "--appendfsync", "always", "--repl-diskless-sync-delay", "0"],
    ]
    .concat()
    .into_iter()
    .map(str::to_owned)
    .collect();
    if number > 0 {
        arguments.extend(["--replicaof".to_owned(), all[0].to_string(), "6379".to_owned()]);
    }
    let recipe = Recipe {
        name: format!("redis on {machine}"),
        program: "redis-server".into(),
        arguments,
        environment: Vec::new(),
        package: "redis-server",
    };
    let address = all[number];
    Server::start(on(machine, recipe), Server::folder_for("redis"), || redis_says(address, 6379, "PING").is_some())
}

fn sentinel(machine: Machine, all: &[Ipv4Addr; 3], number: usize) -> Server {
    let folder = Server::folder_for("redis-sentinel");
    let path = folder.path().join("sentinel.conf");
    let settings = format!(
        "port 26379\nbind {own}\nprotected-mode no\nsentinel monitor {MASTER} {} 6379 2\n\
         sentinel down-after-milliseconds {MASTER} 1000\nsentinel failover-timeout {MASTER} 5000\n",
        all[0],
        own = all[number],
    );
    std::fs::write(&path, settings).or_fail(format!("write `{}`", path.display()));
    let recipe = Recipe {
        name: format!("sentinel on {machine}"),
        program: "redis-server".into(),
        arguments: vec![path.display().to_string(), "--sentinel".to_owned()],
        environment: Vec::new(),
        package: "redis-server",
    };
    let address = all[number];
    Server::start(on(machine, recipe), folder, || redis_says(address, 26_379, "PING").is_some())
}

fn http(address: Ipv4Addr, port: u16, path: &str) -> Option<String> {
    said(address, port, &format!("GET {path} HTTP/1.0\r\n\r\n"), |_| false)
}

fn four_letters(address: Ipv4Addr, command: &str) -> Option<String> {
    said(address, 2181, command, |_| false)
}

/// An inline command, and a `PING`, whose answer shows that all of the command's is there.
fn redis_says(address: Ipv4Addr, port: u16, command: &str) -> Option<String> {
    said(address, port, &format!("{command}\r\nPING\r\n"), |text| text.ends_with("+PONG\r\n"))
}

fn said(address: Ipv4Addr, port: u16, text: &str, is_all: impl Fn(&str) -> bool) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((address, port)), ASKED_FOR).ok()?;
    stream.set_read_timeout(Some(ASKED_FOR)).ok()?;
    stream.write_all(text.as_bytes()).ok()?;
    let (mut answer, mut part) = (String::new(), [0; 4_096]);
    loop {
        let read = stream.read(&mut part).ok()?;
        answer.push_str(&String::from_utf8_lossy(&part[..read]));
        if read == 0 || is_all(&answer) {
            return Some(answer);
        }
    }
}
