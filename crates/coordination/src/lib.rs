//! The engines: the stores that arbitrators share, behind one trait, and the sensors' datastore on them.
//!
//! An [`Engine`] answers core's [`Request`]s: campaign, renew, resign, observe, read, and one fenced
//! transaction. A [`Datastore`] keeps what sensors store where there is no StackStorm. The [`embedded`]
//! engine is both, in files of one machine; [`etcd`], [`redis`] and [`zookeeper`] are both,
//! on servers that several arbitrators share. Beside both,
//! and independent of them, [`registry`] stands in StackStorm's service registry on the same servers.

mod codec;
pub mod embedded;
pub mod etcd;
pub mod redis;
pub mod registry;
pub mod store;
pub mod url;
pub mod zookeeper;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use st2sa_core::engine::{LeaderSeen, Reply, Request, Token};
use st2sa_core::time::Span;

use crate::store::{Kind, Lengths, OpenError, Store};

/// What a trait's method returns that waits for a store.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Who hears of leaders that come and go.
pub type Watcher = Box<dyn Fn(Option<LeaderSeen>) + Send + Sync>;

/// Whether something that was waited for may still be done.
pub type Still = Box<dyn FnOnce() -> bool + Send>;

/// A store that arbitrators share.
pub trait Engine: Send + Sync + 'static {
    /// Carries a request out. [`Reply::Unknown`] is said where it may have been carried out, may be later,
    /// or never; whoever asks bounds the wait.
    fn ask(&self, request: Request) -> Answer<'_, Reply>;

    /// What it is, for people: `embedded in /var/lib/st2sa`.
    fn describe(&self) -> String;

    /// How long a leadership really lasts here without a renewal: what the store has granted, by the clock of whoever
    /// renews. A leader acts for less (rule 7 of the design). `None` where it is as configured.
    fn leader_ttl(&self) -> Option<Span> {
        None
    }

    /// From now on `tell` hears who leads, whenever that changes and as soon as the store says so. A hint that saves
    /// waiting for the next look; it may come late, twice, or not at all.
    fn watch(&self, tell: Watcher) {
        drop(tell);
    }

    /// It may lose what it has confirmed (rule 9 of the design).
    fn forgetful(&self) -> bool;

    /// No other process can use it while this one does.
    fn exclusive(&self) -> bool;
}

/// Where sensors keep their values.
///
/// Names are whole (`pack.Class:name`, or a bare shared one); who may write what is for the caller to check.
pub trait Datastore: Send + Sync + 'static {
    /// The value of a name; `None` where there is none, or where its time is over.
    ///
    /// # Errors
    /// When the store cannot be read: never taken for "there is none".
    fn get(&self, name: String) -> Answer<'_, Result<Option<String>, StoreError>>;

    /// A page of the values whose names begin with `prefix`, in the order of the names, from behind the name `after`:
    /// at most `limit`, and no more once [`PAGE_BYTES`] are reached. It is empty only where there are no more.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn list(
        &self,
        prefix: String,
        after: Option<String>,
        limit: usize,
    ) -> Answer<'_, Result<Vec<StoredValue>, StoreError>>;

    /// Applies all of the writes, or none, while the leadership `under` is in force, and `still` says yes: asked
    /// where the writes land, after all that had to be waited for. Requests are applied in the order in which they
    /// came.
    ///
    /// # Errors
    /// [`StoreError::NotLeader`] where it is not, and nothing was written; any other: it may have been.
    fn apply(&self, under: Token, still: Still, writes: Vec<ValueWrite>) -> Answer<'_, Result<(), StoreError>>;
}

/// A store that is shared, as an engine and as the sensors' datastore.
pub type Shared = (Arc<dyn Engine>, Arc<dyn Datastore>);

/// Opens a shared store.
///
/// # Errors
/// When it cannot be reached, refuses us, or was written by a later release.
pub async fn open(store: &Store, lengths: Lengths) -> Result<Shared, OpenError> {
    match store.kind {
        Kind::Redis => redis::Redis::open(store, lengths).await.map(shared),
        Kind::ZooKeeper => zookeeper::ZooKeeper::open(store, lengths).await.map(shared),
        Kind::Etcd => etcd::Etcd::open(store, lengths).await.map(shared),
    }
}

fn shared<T: Engine + Datastore + Clone>(engine: T) -> Shared {
    (Arc::new(engine.clone()), Arc::new(engine))
}

/// A page of values ends with the one that reaches this, in bytes.
pub const PAGE_BYTES: usize = 8 << 20;

/// A value of the datastore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredValue {
    /// Its whole name.
    pub name: String,
    /// The value.
    pub value: String,
    /// How much longer it lasts; for ever, if not given.
    pub ttl: Option<Span>,
}

/// One write to the datastore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueWrite {
    /// Sets a value.
    Set {
        /// Its name.
        name: String,
        /// The value.
        value: String,
        /// How long it lasts; for ever, if not given.
        ttl: Option<Span>,
    },
    /// Removes a value, if there is one.
    Delete {
        /// Its name.
        name: String,
    },
}

/// Why the datastore did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The leadership in whose name it was asked is over; nothing was written.
    #[error("this arbitrator does not lead any more")]
    NotLeader,
    /// The store does not take so much at once; nothing was written, and never will be.
    #[error("{what} are more than the store takes at once: {limit} at the most")]
    TooLarge {
        /// What there is too much of: `the bytes of one request`.
        what: &'static str,
        /// How many of them it takes.
        limit: usize,
    },
    /// The store failed.
    #[error("{doing} failed")]
    Failed {
        /// What was being done, and where.
        doing: String,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
