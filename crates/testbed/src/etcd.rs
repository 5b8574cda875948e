//! etcd for tests: one server, or a cluster of several, on loopback.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use st2sa_machine::processes::Process;

use crate::ask;
use crate::failure::{OrFail, fail};
use crate::server::{Recipe, Server};
use crate::testbed::free_port;
use rustix::process::Signal;

/// The members of a cluster have found each other within this, also on a machine that is swamped.
const TOGETHER_WITHIN: Duration = Duration::from_mins(1);
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A server of etcd, alone or a member of a cluster. It is killed when dropped.
#[derive(Debug)]
pub struct Etcd {
    server: Server,
    address: SocketAddr,
    /// Where it says how it does; in the clear, also where it speaks TLS.
    health: SocketAddr,
    scheme: &'static str,
}

/// The certificates of a server that speaks TLS, and asks those who come for theirs.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// Vouches for the server and for who may come.
    pub ca: PathBuf,
    /// The server's own.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// Where a member listens.
#[derive(Clone, Copy)]
struct Ports {
    clients: u16,
    peers: u16,
    health: u16,
}

impl Etcd {
    /// Starts one.
    #[track_caller]
    pub fn start() -> Self {
        Self::alone("http", &[])
    }

    /// Starts one that speaks TLS with whoever has a certificate.
    #[track_caller]
    pub fn start_with_tls(certificates: &Certificates) -> Self {
        let path = |path: &Path| path.display().to_string();
        let flags = [
            format!("--cert-file={}", path(&certificates.certificate)),
            format!("--key-file={}", path(&certificates.key)),
            format!("--trusted-ca-file={}", path(&certificates.ca)),
            "--client-cert-auth".to_owned(),
        ];
        Self::alone("https", &flags)
    }

    /// Starts a cluster, and waits until each member is one of it.
    #[track_caller]
    pub fn cluster(members: usize) -> Vec<Self> {
        let ports: Vec<Ports> = (0..members).map(|_| Ports::free()).collect();
        let start = |number| Self::member("http", &ports, number, &[], || true);
        let cluster: Vec<Self> = (0..members).map(start).collect();
        let since = Instant::now();
        while let Some(late) = cluster.iter().find(|member| !is_healthy(member.health)) {
            if since.elapsed() >= TOGETHER_WITHIN {
                fail(format!("the cluster is not together in {TOGETHER_WITHIN:?}\n{}", late.log()));
            }
            std::thread::sleep(LOOK_EVERY);
        }
        cluster
    }

    /// The url of all of a cluster, in this order.
    pub fn url_of<'a>(members: impl IntoIterator<Item = &'a Self>) -> String {
        let servers: Vec<_> = members.into_iter().map(|member| member.address.to_string()).collect();
        format!("etcd3+http://{}", servers.join(","))
    }

    /// Its url.
    pub fn url(&self) -> String {
        format!("etcd3+{}://{}", self.scheme, self.address)
    }

    /// Where clients reach it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many messages of each method it has received from clients, by its own figures (`Range`, `LeaseKeepAlive`):
    /// a stream is one request, and each message on it counts.
    #[track_caller]
    pub fn requests(&self) -> BTreeMap<String, u64> {
        let figures = ask::text(self.health, "/metrics").ok_or("no answer").or_fail("read etcd's figures");
        let mut counts = BTreeMap::new();
        for line in figures.lines().filter(|line| line.starts_with("grpc_server_msg_received_total{")) {
            let method = line.split_once("grpc_method=\"").and_then(|(_, rest)| rest.split_once('"'));
            let count = line.rsplit_once(' ').and_then(|(_, count)| count.parse::<f64>().ok());
            if let (Some((method, _)), Some(count)) = (method, count) {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count, as a float")]
                let count = count as u64;
                *counts.entry(method.to_owned()).or_default() += count;
            }
        }
        counts
    }

    /// Where it tells its figures, at `/metrics`.
    pub fn figures(&self) -> SocketAddr {
        self.health
    }

    /// Its process.
    pub fn process(&self) -> Process {
        self.server.process()
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Stops it: it says nothing more, and its connections stand.
    #[track_caller]
    pub fn stop(&self) {
        self.server.stop();
    }

    /// Lets it go on.
    #[track_caller]
    pub fn cont(&self) {
        self.server.signal(Signal::CONT);
    }

    /// Starts one that was killed again: same ports, same data.
    #[track_caller]
    pub fn start_again(&mut self) {
        let health = self.health;
        self.server.start_again(|| is_healthy(health));
    }

    /// Kills it, throws all of its data away, and starts it again.
    #[track_caller]
    pub fn lose_everything(&mut self) {
        self.kill();
        let data = self.server.folder().join("data");
        std::fs::remove_dir_all(&data).or_fail(format!("remove `{}`", data.display()));
        self.start_again();
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.server.log()
    }

    #[track_caller]
    fn alone(scheme: &'static str, flags: &[String]) -> Self {
        let ports = Ports::free();
        Self::member(scheme, &[ports], 0, flags, || is_healthy(loopback(ports.health)))
    }

    #[track_caller]
    fn member(
        scheme: &'static str,
        all: &[Ports],
        number: usize,
        flags: &[String],
        is_ready: impl FnMut() -> bool,
    ) -> Self {
        let Ports { clients, peers, health } = all[number];
        let cluster: Vec<String> =
            all.iter().enumerate().map(|(number, ports)| format!("m{number}={}", url("http", ports.peers))).collect();
        let folder = Server::folder_for("etcd");
        let mut arguments = vec![
            format!("--name=m{number}"),
            format!("--data-dir={}", folder.path().join("data").display()),
            format!("--listen-client-urls={}", url(scheme, clients)),
            format!("--advertise-client-urls={}", url(scheme, clients)),
            format!("--listen-peer-urls={}", url("http", peers)),
            format!("--initial-advertise-peer-urls={}", url("http", peers)),
            format!("--listen-metrics-urls={}", url("http", health)),
            format!("--initial-cluster={}", cluster.join(",")),
            format!("--initial-cluster-token={}", all[0].peers),
        ];
        arguments.extend_from_slice(flags);
        let recipe = Recipe {
            name: format!("etcd m{number}"),
            program: "etcd".into(),
            arguments,
            environment: Vec::new(),
            package: "etcd-server",
        };
        let server = Server::start(recipe, folder, is_ready);
        Self { server, address: loopback(clients), health: loopback(health), scheme }
    }
}

impl Ports {
    #[track_caller]
    fn free() -> Self {
        Self { clients: free_port(), peers: free_port(), health: free_port() }
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn url(scheme: &str, port: u16) -> String {
    format!("{scheme}://{}", loopback(port))
}

/// Whether it has a leader, and takes writes.
fn is_healthy(health: SocketAddr) -> bool {
    ask::get(health, "/health").is_some_and(|(status, answer)| status == 200 && answer["health"] == "true")
}
