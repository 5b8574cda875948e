//! What an engine on Redis is opened with, and what its keys are called.

use std::time::Duration;

use redis::{ProtocolVersion, RedisConnectionInfo};
use st2sa_machine::clock;

use super::stream::Connector;
use crate::store::{Lengths, Store};

/// What every connection needs to know.
pub(super) struct Settings {
    /// `host:port` of the servers, or of the sentinels.
    pub(super) servers: Vec<String>,
    /// The master's name, where the servers are sentinels.
    pub(super) sentinel: Option<String>,
    /// Who we are with the server.
    pub(super) login: RedisConnectionInfo,
    /// How streams are opened.
    pub(super) connector: Connector,
    /// How long an answer is waited for, and how long a connection may take.
    pub(super) deadline: Duration,
    /// How long a leadership lasts, in milliseconds.
    pub(super) leader_ttl: u64,
    /// The keys' names.
    pub(super) names: Names,
}

impl Settings {
    pub(super) fn new(store: &Store, lengths: Lengths) -> Result<Self, String> {
        let mut login = RedisConnectionInfo::default()
            .set_db(store.database.into())
            .set_protocol(ProtocolVersion::RESP2)
            .set_skip_set_lib_name();
        if let Some(user) = &store.user {
            login = login.set_username(user);
        }
        if let Some(password) = &store.password {
            login = login.set_password(password.expose());
        }
        Ok(Self {
            servers: store.servers.clone(),
            sentinel: store.sentinel.clone(),
            login,
            connector: Connector::new(store.tls.as_ref())?,
            deadline: clock::duration(lengths.deadline),
            leader_ttl: lengths.leader_ttl.as_millis().max(1),
            names: Names::new(store.namespace.as_deref()),
        })
    }

    /// Where it is, for people: never with a password.
    pub(super) fn place(&self) -> String {
        let servers = self.servers.join(",");
        match &self.sentinel {
            Some(master) => format!("redis master {master} of the sentinels at {servers}"),
            None => format!("redis at {servers}"),
        }
    }
}

/// What the keys are called.
pub(super) struct Names {
    prefix: String,
}

impl Names {
    fn new(namespace: Option<&str>) -> Self {
        Self { prefix: format!("st2sa/{}/", namespace.unwrap_or("default")) }
    }

    /// A hash that expires: `token`, `arbitrator`, `term`. Also the channel on which changes of it are told.
    pub(super) fn leader(&self) -> String {
        self.below("leader")
    }

    /// A hash: `term`, with the `arbitrator` and `token` of its leadership, and `version`, the last one given.
    pub(super) fn term(&self) -> String {
        self.below("term")
    }

    /// A hash of all durable keys but the journals': each row is its version, a space, and its text.
    pub(super) fn keys(&self) -> String {
        self.below("keys")
    }

    /// A hash of one sensor's journal: `record`, and its entries by their number. Rows as in `keys`.
    pub(super) fn journal(&self, sensor: &str) -> String {
        self.below("journal/") + sensor
    }

    /// The number of this layout.
    pub(super) fn format(&self) -> String {
        self.below("format")
    }

    /// Sensors' values: a hash by name, each row when it is over (ms of Unix time, 0 for never), a space, the value.
    pub(super) fn values(&self) -> String {
        self.below("values")
    }

    /// A sorted set of the values' names, for listing them in order.
    pub(super) fn value_names(&self) -> String {
        self.below("values/names")
    }

    /// A sorted set of the names of values that end, by when.
    pub(super) fn value_ends(&self) -> String {
        self.below("values/ends")
    }

    /// The last write of values: which process's, and its number there.
    pub(super) fn value_writer(&self) -> String {
        self.below("values/writer")
    }

    /// Written where nothing else is, for a replica to confirm.
    pub(super) fn barrier(&self) -> String {
        self.below("barrier")
    }

    fn below(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}
