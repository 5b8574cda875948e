//! ZooKeeper as an engine.
//!
//! ```text
//! /st2sa/<namespace>/format                 the number of this layout
//!                    term                   the term, and the token of the leadership that began it
//!                    leader                 the same, ephemeral: there while that leadership is in force
//!                    writes                 written by every transaction
//!                    electors, longest_ttl
//!                    containers/NAME, intent/pause/REF, intent/drain/NAME, code/REF
//!                    journal/REF            the record; its unapplied entries below it, by number
//!                    values/NAME
//! ```
//!
//! Two sessions are kept open: one that leads, or is ready to, and one that reads and watches, so that what is large
//! does not hold up renewals. `leadership` has the fence, `transaction` what is written behind it.

mod leadership;
mod link;
mod nodes;
mod paths;
mod reading;
mod record;
pub(crate) mod registry;
mod servers;
mod tls;
mod transaction;
mod trouble;
mod values;
mod watching;

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use st2sa_core::engine::{Reply, Request, Token};
use st2sa_core::names::Term;
use st2sa_core::time::Span;
use tokio::task::JoinSet;
use zookeeper_client::{Acl, Acls, AuthId, Client, CreateMode, Error, Permission};

use self::leadership::Leadership;
use self::link::Link;
use self::paths::Paths;
use self::record::TermRecord;
use self::servers::Servers;
use self::transaction::{Change, Outcome};
use self::trouble::Trouble;
use crate::store::{Lengths, OpenError, Store};
use crate::{Answer, Datastore, Engine, Still, StoreError, StoredValue, ValueWrite, Watcher};

/// Of the layout above.
const THIS_FORMAT: u64 = 1;

/// How often something is looked at again because it changed between the look and the write: each time for a reason
/// that passes, such as a request of before that landed only now.
const TRIES_AT_MOST: usize = 8;

/// What takes many answers may take so many deadlines: an opening makes two sessions and a dozen nodes, and a page of
/// values is as large as thousands of other answers.
const LONG_DEADLINES: u32 = 10;

/// The session that reads is replaced once it is without a connection for so long: nothing hangs on it, and the client
/// tries ever more rarely to connect it, where a new one is tried for several times a second.
const READER_WAITS: Duration = Duration::from_millis(500);

/// The engine on ZooKeeper.
#[derive(Clone, Debug)]
pub struct ZooKeeper(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    servers: Arc<Servers>,
    paths: Paths,
    deadline: Duration,
    /// For reads and watches.
    reading: Link,
    /// For leading; open while somebody else leads, so that a campaign need not wait for it.
    leading: Link,
    held: Mutex<Option<Arc<Leadership>>>,
    /// The last leadership that was held and is not any more.
    lost: Mutex<Option<Token>>,
    /// The last try for leadership.
    tried: Mutex<Option<Token>>,
    /// Those who tell of leaders.
    watches: Mutex<JoinSet<()>>,
}

impl ZooKeeper {
    /// Opens sessions with the servers, and makes what is not there yet.
    ///
    /// # Errors
    /// When no server answers in time, or refuses us, or what is stored there is of a later release.
    pub async fn open(store: &Store, lengths: Lengths) -> Result<Self, OpenError> {
        let servers = Arc::new(Servers::new(store, lengths)?);
        let paths = Paths::of(store.namespace.as_deref());
        let deadline = Duration::from_nanos(lengths.deadline.0);
        let unusable = |problem: String| OpenError::Unusable { at: servers.addresses().to_owned(), problem };
        let opening = async {
            let (reading, leading) = tokio::try_join!(first_session(&servers), first_session(&servers))?;
            let format = prepare(&reading, &servers, &paths).await.map_err(|error| explain(&error, &paths))?;
            Ok((reading, leading, format))
        };
        let vouched_for = if servers.is_secure() { " with a certificate that is vouched for" } else { "" };
        let patience = deadline * LONG_DEADLINES;
        let silent = || unusable(format!("no server answers within {patience:?}{vouched_for}"));
        let opened = tokio::time::timeout(patience, opening).await;
        let (reading, leading, format) = opened.map_err(|_| silent())?.map_err(unusable)?;
        if format > THIS_FORMAT {
            return Err(OpenError::Newer { at: servers.addresses().to_owned(), found: format, known: THIS_FORMAT });
        }
        Ok(Self(Arc::new(Inner {
            reading: Link::new(Arc::clone(&servers), reading, Some(READER_WAITS)),
            leading: Link::new(Arc::clone(&servers), leading, None),
            servers,
            paths,
            deadline,
            held: Mutex::default(),
            lost: Mutex::default(),
            tried: Mutex::default(),
            watches: Mutex::default(),
        })))
    }
}

impl Engine for ZooKeeper {
    fn ask(&self, request: Request) -> Answer<'_, Reply> {
        Box::pin(async move { self.0.within(self.0.answer(request)).await.unwrap_or(Reply::Unknown) })
    }

    fn describe(&self) -> String {
        format!("ZooKeeper at {}", self.0.servers.addresses().replace(',', ", "))
    }

    fn leader_ttl(&self) -> Option<Span> {
        self.0.servers.leader_ttl()
    }

    fn watch(&self, tell: Watcher) {
        locked(&self.0.watches).spawn(watching::watch(Arc::downgrade(&self.0), tell));
    }

    fn forgetful(&self) -> bool {
        false
    }

    fn exclusive(&self) -> bool {
        false
    }
}

impl Datastore for ZooKeeper {
    fn get(&self, name: String) -> Answer<'_, Result<Option<String>, StoreError>> {
        Box::pin(async move {
            let read = self.0.within(self.0.value(&name)).await;
            read.map_err(|trouble| self.0.failed("reading a value", trouble))
        })
    }

    fn list(
        &self,
        prefix: String,
        after: Option<String>,
        limit: usize,
    ) -> Answer<'_, Result<Vec<StoredValue>, StoreError>> {
        Box::pin(async move {
            let read = self.0.within_long(self.0.values(&prefix, after.as_deref(), limit)).await;
            read.map_err(|trouble| self.0.failed("listing values", trouble))
        })
    }

    fn apply(&self, under: Token, still: Still, writes: Vec<ValueWrite>) -> Answer<'_, Result<(), StoreError>> {
        Box::pin(async move {
            match self.0.within(self.0.store_values(&under, still, writes)).await {
                Ok(Outcome::Applied(_)) => Ok(()),
                Ok(Outcome::NotLeader | Outcome::CheckFailed) => Err(StoreError::NotLeader),
                Err(Trouble::TooLarge { what, limit }) => Err(StoreError::TooLarge { what, limit }),
                Err(trouble) => Err(self.0.failed("storing values", trouble)),
            }
        })
    }
}

impl Inner {
    async fn answer(self: &Arc<Self>, request: Request) -> Result<Reply, Trouble> {
        match request {
            Request::Campaign { token, above, session_ttl, only_as_first } => {
                self.campaign(token, above, session_ttl, only_as_first).await
            }
            Request::Renew { token } => self.renew(&token).await,
            Request::Retake { token, term } => self.retake(&token, term).await,
            Request::Resign { token } => self.resign(&token).await,
            Request::Observe => {
                let reader = self.reading.connected().await?;
                let found = self.standing(&reader).await?;
                Ok(Reply::Observed { leader: found.leader.and_then(|(record, _)| record.seen()) })
            }
            Request::ReadAll => Ok(Reply::All(Box::new(self.snapshot().await?))),
            Request::ReadJournal { sensor } => Ok(Reply::Journal(Box::new(self.journal(&sensor).await?))),
            Request::Transact(transaction) => {
                let change = Change::of(&self.paths, &transaction);
                Ok(match self.change(&transaction.token, &change, None).await? {
                    Outcome::Applied(version) => Reply::Applied { version },
                    Outcome::CheckFailed => Reply::CheckFailed,
                    Outcome::NotLeader => Reply::NotLeader,
                })
            }
        }
    }

    /// Bounds the wait for an answer.
    async fn within<T>(&self, work: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
        self.bounded(self.deadline, work).await
    }

    /// Bounds the wait for many answers.
    async fn within_long<T>(&self, work: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
        self.bounded(self.deadline * LONG_DEADLINES, work).await
    }

    /// Bounds a wait, and tells people what will not pass by itself.
    async fn bounded<T>(
        &self,
        longest: Duration,
        work: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<T, Trouble> {
        let done = tokio::time::timeout(longest, work).await.unwrap_or(Err(Trouble::Late));
        if let Err(trouble) = &done {
            let servers = self.servers.addresses();
            let error: &dyn std::error::Error = trouble;
            if trouble.needs_people() {
                tracing::error!(servers, error, "ZooKeeper does not do as asked");
            } else {
                tracing::debug!(servers, error, "no answer from ZooKeeper");
            }
            if trouble.is_of_a_broken_client() {
                self.reading.discard_current();
                self.leading.discard_current();
            }
        }
        done
    }

    fn failed(&self, doing: &str, trouble: Trouble) -> StoreError {
        let doing = format!("{doing} in ZooKeeper at {}", self.servers.addresses());
        StoreError::Failed { doing, source: Box::new(trouble) }
    }
}

/// A session at the start: tried for until one opens, or whoever waits gives up.
async fn first_session(servers: &Servers) -> Result<Client, String> {
    loop {
        match servers.connect().await {
            Ok(client) => return Ok(client),
            // These do not pass by themselves.
            Err(Trouble::Client(error @ (Error::AuthFailed | Error::BadArguments(_)))) => return Err(error.to_string()),
            Err(Trouble::Ended) => return Err("the client cannot use one of its addresses".to_owned()),
            Err(_) => tokio::time::sleep(servers::back_off()).await,
        }
    }
}

/// Makes what is not there yet; returns the format of what is.
async fn prepare(client: &Client, servers: &Servers, paths: &Paths) -> Result<u64, Trouble> {
    client.sync("/").await?;
    let path = paths.format();
    if let Some((data, _)) = nodes::content(client.get_data(&path)).await? {
        let text = std::str::from_utf8(&data).unwrap_or_default();
        return text.trim().parse().map_err(|_| Trouble::Broken { path });
    }
    // Other namespaces, of other users, have their place beside ours.
    let shared = [
        Acl::new(Permission::ALL, AuthId::authed()),
        Acl::new(Permission::READ | Permission::CREATE, AuthId::anyone()),
    ];
    let top = if servers.is_authenticated() { Acls::new(&shared) } else { Acls::anyone_all() };
    make(client, Paths::top(), b"", top).await?;
    let none = TermRecord { term: Term(0), token: None }.encode();
    make(client, paths.root(), b"", servers.acls()).await?;
    for folder in paths.folders() {
        make(client, &folder, b"", servers.acls()).await?;
    }
    make(client, &paths.term(), &none, servers.acls()).await?;
    make(client, &paths.writes(), b"", servers.acls()).await?;
    // The last: where it is, all the others are.
    make(client, &path, THIS_FORMAT.to_string().as_bytes(), servers.acls()).await?;
    Ok(THIS_FORMAT)
}

/// Makes a node, unless it is there.
async fn make(client: &Client, path: &str, data: &[u8], acls: Acls<'_>) -> Result<(), Trouble> {
    match client.create(path, data, &CreateMode::Persistent.with_acls(acls)).await {
        Ok(_) | Err(Error::NodeExists) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn explain(trouble: &Trouble, paths: &Paths) -> String {
    match trouble {
        Trouble::Client(Error::NoAuth) => {
            format!("`{}` or what is below it belongs to another user", paths.root())
        }
        Trouble::Client(error) => error.to_string(),
        other => other.to_string(),
    }
}

/// A lock that a panic has not spoiled: nothing is ever half changed under it.
fn locked<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
