//! The stores that arbitrators share, started for a measurement.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::ValueEnum;
use st2sa_testbed::{Etcd, RedisServer, ZooKeeperServer};

/// Ticks as they are by default: sessions last four seconds.
const STOCK_TICKS: &str = "tickTime=2000\n";

/// Which store.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Etcd,
    Redis,
    Zookeeper,
}

/// A store, for as long as it is wanted.
pub(crate) enum Store {
    Etcd(Etcd),
    Redis(RedisServer),
    ZooKeeper(ZooKeeperServer),
}

/// What a store has done so far, by its own count.
pub(crate) struct Counted {
    /// What clients asked for, by kind.
    pub(crate) operations: BTreeMap<String, u64>,
    /// What is counted apart, by kind: it is no request of a client, or keeps a session alive and does nothing else.
    pub(crate) apart: BTreeMap<String, u64>,
}

/// What clients of ours send to Redis while nothing happens; all else is called by the scripts that `eval` runs, which costs
/// no way there and back.
const SENT_TO_REDIS: [&str; 4] = ["eval", "ping", "info", "subscribe"];

impl Store {
    pub(crate) fn start(which: Which) -> Self {
        match which {
            Which::Etcd => Self::Etcd(Etcd::start()),
            Which::Redis => Self::Redis(RedisServer::start()),
            Which::Zookeeper => Self::ZooKeeper(ZooKeeperServer::start_with(STOCK_TICKS)),
        }
    }

    /// One that counts what it is asked.
    pub(crate) fn start_counting(which: Which) -> Self {
        match which {
            Which::Etcd | Which::Redis => Self::start(which),
            Which::Zookeeper => Self::ZooKeeper(ZooKeeperServer::start_counting(STOCK_TICKS)),
        }
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Etcd(server) => server.url(),
            Self::Redis(server) => format!("redis://{}", server.address()),
            Self::ZooKeeper(server) => server.url(),
        }
    }

    /// How long a leadership lasts by default.
    pub(crate) fn leader_ttl(&self) -> Duration {
        match self {
            Self::Etcd(_) | Self::Redis(_) => Duration::from_secs(2),
            Self::ZooKeeper(_) => Duration::from_secs(4),
        }
    }

    pub(crate) fn kill(&mut self) {
        match self {
            Self::Etcd(server) => server.kill(),
            Self::Redis(server) => server.kill(),
            Self::ZooKeeper(server) => server.kill(),
        }
    }

    pub(crate) fn start_again(&mut self) {
        match self {
            Self::Etcd(server) => server.start_again(),
            Self::Redis(server) => server.start_again(),
            Self::ZooKeeper(server) => server.start_again(),
        }
    }

    /// What it was asked so far. Asking this counts as well, on Redis: one `info`.
    pub(crate) fn counted(&self) -> Counted {
        match self {
            Self::Etcd(server) => split(server.requests(), |kind| kind != "LeaseKeepAlive"),
            Self::Redis(server) => split(server.commands(), |kind| SENT_TO_REDIS.contains(&kind)),
            Self::ZooKeeper(server) => split(server.requests(), |kind| kind != "ping"),
        }
    }

    /// What is counted apart there.
    pub(crate) fn apart(&self) -> &'static str {
        match self {
            Self::Etcd(_) => "keeps the leader's lease alive",
            Self::Redis(_) => "is called by scripts inside of Redis",
            Self::ZooKeeper(_) => "keeps sessions alive",
        }
    }

    /// By what it is counted.
    pub(crate) fn counter(&self) -> &'static str {
        match self {
            Self::Etcd(_) => "grpc_server_msg_received_total: messages of clients, also those on streams",
            Self::Redis(_) => "INFO commandstats",
            Self::ZooKeeper(_) => "its log of requests (FinalRequestProcessor)",
        }
    }
}

fn split(all: BTreeMap<String, u64>, is_operation: impl Fn(&str) -> bool) -> Counted {
    let (operations, apart) = all.into_iter().partition(|(kind, _)| is_operation(kind));
    Counted { operations, apart }
}
