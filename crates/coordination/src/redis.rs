//! Redis as an engine: what must be whole is one script, and a leadership is a hash that expires.
//!
//! Redis keeps what it has confirmed only with `appendonly yes` and `appendfsync always`, and a fail-over may lose
//! writes that its replica had not received yet. So [`Engine::forgetful`] is true here, and where there are replicas,
//! or sentinels that promote them, nothing counts that `WAIT` has not seen on one: a master that is cut off from its
//! replicas answers [`Reply::Unknown`] to everything. What remains: with two replicas or more, the one that is promoted
//! may be another than the one that confirmed; and a server whose clock jumps ends a leadership early. The wait of a
//! new leader is longer on such a store, and beside each term stands the token of its leadership.
//!
//! A user of ours needs the keys `st2sa/*`, the channels `st2sa/*`, and the commands `del eval get hdel hget hgetall
//! hincrby hmget hset pexpire ping pttl select set time zadd zrangebylex zrangebyscore zrem`; `wait` where there are
//! replicas, `publish` and `subscribe` to hear of a new leader at once, `info` and `config|get` to say what is kept. To
//! stand in the service registry it needs tooz's keys, `_tooz_*`, and the commands `del exec hdel hset multi sadd set`; to
//! show it `get hgetall smembers`.
//!
//! | task | its job | ends |
//! |---|---|---|
//! | `link::keep` | finds the master, keeps three connections to it, replaces them | with the engine |
//! | `watch::watch` | tells who leads; one for each call of [`Engine::watch`] | with the engine |

mod link;
mod promises;
pub(crate) mod registry;
mod requests;
mod session;
mod settings;
mod stream;
mod values;
mod watch;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use st2sa_core::engine::{Reply, Request, Token};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use self::link::Link;
use self::settings::{Names, Settings};
use crate::store::{Lengths, OpenError, Store};
use crate::{Answer, Datastore, Engine, Still, StoreError, StoredValue, ValueWrite, Watcher};

/// The engine on a Redis server, or on the master that sentinels name.
#[derive(Clone)]
pub struct Redis(Arc<Inner>);

struct Inner {
    link: Arc<Link>,
    /// Values are stored one request at a time, in the order in which they came.
    storing: Semaphore,
    /// Who stores values here: drawn at random, so that no two engines are one.
    writer: u64,
    /// How many requests to store values were made.
    writes: AtomicU64,
    /// They end with the engine.
    tasks: Mutex<JoinSet<()>>,
}

impl Redis {
    /// Connects to the store and looks at what it promises.
    ///
    /// # Errors
    /// When no server can be used, when what is kept there may be thrown away (`maxmemory-policy allkeys-…`), or was
    /// written by a later release.
    pub async fn open(store: &Store, lengths: Lengths) -> Result<Self, OpenError> {
        let unusable = |problem: String| OpenError::Unusable { at: store.servers.join(","), problem };
        let settings = Settings::new(store, lengths).map_err(unusable)?;
        let at = settings.place();
        let writer = getrandom::u64().map_err(|error| unusable(error.to_string()))?;
        let (link, session) = Link::open(settings).await.map_err(unusable)?;
        let mut tasks = JoinSet::new();
        tasks.spawn(link::keep(Arc::clone(&link), session));
        let inner =
            Inner { link, storing: Semaphore::new(1), writer, writes: AtomicU64::default(), tasks: Mutex::new(tasks) };
        let engine = Self(Arc::new(inner));
        engine.check_format(&at).await?;
        Ok(engine)
    }

    fn link(&self) -> &Link {
        &self.0.link
    }

    fn names(&self) -> &Names {
        &self.0.link.settings.names
    }

    /// This engine's name as a writer of values, and the number of its next write.
    fn next_write(&self) -> (u64, u64) {
        (self.0.writer, self.0.writes.fetch_add(1, Ordering::Relaxed))
    }
}

impl Engine for Redis {
    fn ask(&self, request: Request) -> Answer<'_, Reply> {
        Box::pin(self.answer(request))
    }

    fn describe(&self) -> String {
        format!("{} ({})", self.link().settings.place(), self.link().words())
    }

    fn watch(&self, tell: Watcher) {
        let mut tasks = self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.spawn(watch::watch(Arc::clone(&self.0.link), tell));
    }

    fn forgetful(&self) -> bool {
        true
    }

    fn exclusive(&self) -> bool {
        false
    }
}

impl Datastore for Redis {
    fn get(&self, name: String) -> Answer<'_, Result<Option<String>, StoreError>> {
        Box::pin(async move { self.value(&name).await })
    }

    fn list(
        &self,
        prefix: String,
        after: Option<String>,
        limit: usize,
    ) -> Answer<'_, Result<Vec<StoredValue>, StoreError>> {
        Box::pin(async move { self.values(&prefix, after.as_deref(), limit).await })
    }

    fn apply(&self, under: Token, still: Still, writes: Vec<ValueWrite>) -> Answer<'_, Result<(), StoreError>> {
        Box::pin(async move { self.store(&under, still, &writes).await })
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())
    }
}
