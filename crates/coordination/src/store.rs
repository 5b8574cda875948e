//! Where a shared store is and how it is reached: what every engine but the embedded one is opened with.

use std::fmt;
use std::path::PathBuf;

use st2sa_core::time::Span;

/// A store, as an operator names it in `[coordination] url`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// Which.
    pub kind: Kind,
    /// Its servers, `host:port`, in the order given; at least one.
    pub servers: Vec<String>,
    /// Who we are there.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<Secret>,
    /// TLS; without it the connection is in the clear.
    pub tls: Option<Tls>,
    /// Keeps several installations on one store apart: our keys begin with `st2sa/<namespace>/`, `st2sa/default/` where
    /// it is not given. None of them is below one of tooz's own prefixes, where they would show as groups or members.
    pub namespace: Option<String>,
    /// Redis: the number of the database.
    pub database: u32,
    /// Redis: the name of the master that the sentinels watch; `servers` are the sentinels then.
    pub sentinel: Option<String>,
}

/// Which store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// etcd, over its gRPC API.
    Etcd,
    /// ZooKeeper.
    ZooKeeper,
    /// Redis, or Redis with Sentinel.
    Redis,
}

/// How TLS is spoken with a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Certificates that vouch for its servers; the system's own where not given.
    pub ca: Option<PathBuf>,
    /// Our own certificate, where it wants one.
    pub certificate: Option<PathBuf>,
    /// The certificate's key.
    pub key: Option<PathBuf>,
}

/// A password: never shown, never logged.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps it.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The password itself, for the one who sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How long things last that an engine asks of its store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lengths {
    /// How long a leadership is to last without a renewal; the store may grant another length.
    pub leader_ttl: Span,
    /// How long one answer is waited for, and how long a connection may take.
    pub deadline: Span,
}

/// Why a store cannot be used, at the start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be reached, or refuses us.
    #[error("the store at {at} cannot be used: {problem}")]
    Unusable {
        /// Its servers.
        at: String,
        /// Why.
        problem: String,
    },
    /// It was written by a later release.
    #[error(
        "the store at {at} has format {found}; this release knows formats up to {known}: use the release that wrote it"
    )]
    Newer {
        /// Its servers.
        at: String,
        /// Its format.
        found: u64,
        /// The newest format known here.
        known: u64,
    },
}
