//! The servers, and how a session with them is opened.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use st2sa_core::time::Span;
use tokio::task::JoinSet;
use zookeeper_client::{Acls, Client, Connector};

use super::tls;
use super::trouble::Trouble;
use crate::store::{Lengths, OpenError, Store};

/// A leader counts this much of its session's timeout: two thirds. A follower tells the ZooKeeper leader which
/// sessions are alive with its answers to pings, one every half tick; one that dies first takes up to half a tick of
/// that with it, a quarter of the shortest timeout that there is.
const COUNTS: u64 = 2;
const OF: u64 = 3;

/// A server that is silent for this part of the timeout is left for another one: a leader must have found one that
/// answers well before it ceases to act, though it may try the silent one again first.
const SILENT_PART: u32 = 8;

/// No server is left for being silent for less: it may collect garbage, or wait for its disk.
const SILENT_AT_LEAST: Duration = Duration::from_millis(300);

/// Bounds of the pause before a session is tried for again: soon, and not all of us at once.
const BACK_OFF_AT_LEAST: Duration = Duration::from_millis(50);
const BACK_OFF_SPREAD_MILLIS: u64 = 200;

/// How sessions are opened.
#[derive(Debug)]
pub(super) struct Servers {
    addresses: String,
    connector: Connector,
    secure: bool,
    authenticated: bool,
    /// The shortest timeout that a session was granted, in milliseconds.
    granted_millis: AtomicU64,
}

impl Servers {
    /// Takes the options of a store.
    pub(super) fn new(store: &Store, lengths: Lengths) -> Result<Self, OpenError> {
        let addresses = store.servers.join(",");
        let unusable = |problem: String| OpenError::Unusable { at: addresses.clone(), problem };
        if let Some(wrong) = store.servers.iter().find(|server| !is_address(server)) {
            return Err(unusable(format!("`{wrong}` is not `host:port`")));
        }
        let timeout = Duration::from_nanos(lengths.leader_ttl.0.saturating_mul(OF) / COUNTS);
        let mut connector = Client::connector()
            .with_session_timeout(timeout)
            .with_connection_timeout((timeout / SILENT_PART).max(SILENT_AT_LEAST))
            // Otherwise it tries the same servers until the timeout is over: who waits, and how long, is for us.
            .with_fail_eagerly();
        if let Some(user) = &store.user {
            let password = store.password.as_ref().map_or("", |password| password.expose());
            connector = connector.with_auth("digest", format!("{user}:{password}").as_bytes());
        }
        if let Some(tls) = &store.tls {
            connector = connector.with_tls(tls::options(tls).map_err(unusable)?);
        }
        Ok(Self {
            addresses,
            connector,
            secure: store.tls.is_some(),
            authenticated: store.user.is_some(),
            granted_millis: AtomicU64::new(u64::MAX),
        })
    }

    /// Their addresses, for people and for the client.
    pub(super) fn addresses(&self) -> &str {
        &self.addresses
    }

    /// Opens a session with whichever server answers first, trying each once.
    pub(super) async fn connect(&self) -> Result<Client, Trouble> {
        let (connector, addresses, secure) = (self.connector.clone(), self.addresses.clone(), self.secure);
        // In a task of its own: should the client stumble over what it is given, that task alone ends.
        let mut task = JoinSet::new();
        task.spawn(async move {
            if secure { connector.secure_connect(&addresses).await } else { connector.connect(&addresses).await }
        });
        let client = task.join_next().await.and_then(Result::ok).ok_or(Trouble::Ended)??;
        let granted = u64::try_from(client.session_timeout().as_millis()).unwrap_or(u64::MAX);
        self.granted_millis.fetch_min(granted, Ordering::Relaxed);
        Ok(client)
    }

    /// How long a leadership lasts here: what counts of the timeout that was granted. All servers grant the same, or
    /// ought to; else the shortest counts, whichever session leads.
    pub(super) fn leader_ttl(&self) -> Option<Span> {
        let granted = self.granted_millis.load(Ordering::Relaxed);
        (granted < u64::MAX).then(|| Span::from_millis(granted / OF * COUNTS))
    }

    /// Whether TLS is spoken.
    pub(super) fn is_secure(&self) -> bool {
        self.secure
    }

    /// Who may do what with our nodes.
    pub(super) fn acls(&self) -> Acls<'static> {
        if self.authenticated { Acls::creator_all() } else { Acls::anyone_all() }
    }

    /// Whether we are somebody there.
    pub(super) fn is_authenticated(&self) -> bool {
        self.authenticated
    }
}

/// The next pause before another try.
pub(super) fn back_off() -> Duration {
    let mut random = [0; 8];
    // Without randomness all pauses are the same, which is good enough.
    let _ = getrandom::fill(&mut random);
    BACK_OFF_AT_LEAST + Duration::from_millis(u64::from_le_bytes(random) % BACK_OFF_SPREAD_MILLIS)
}

/// `host:port`, without what would be read as a part of a longer list, or as a path.
fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
    !host.is_empty() && host.bytes().all(plain) && port.parse::<u16>().is_ok_and(|port| port > 0)
}
