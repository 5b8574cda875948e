//! The etcd engine: leases and transactions of a cluster that arbitrators share.
//!
//! * Versions are revisions, which only rise.
//! * A leadership is a key on a lease; its renewal is a keep-alive and, behind it, a read with a quorum.
//! * Whatever may have been carried out and is not known to be is [`Reply::Unknown`]; only what surely was not is ever
//!   sent twice.
//! * What one member does not answer, another one is asked (`line`). Whoever asks bounds the wait, too, and drops the
//!   answer: a member that was silent until then is left.
//!
//! | task | ends |
//! |---|---|
//! | a watcher (`watching`) | with the engine |
//! | upkeep (`upkeep`), the end of a lease not needed | by itself, within a few deadlines |

#[rustfmt::skip]
#[path = "generated/etcdserverpb.rs"]
#[expect(clippy::enum_variant_names, clippy::pedantic, unreachable_pub, reason = "generated: see `cargo xtask fix`")]
mod api;
mod client;
mod leadership;
mod line;
mod names;
mod reads;
pub(crate) mod registry;
mod upkeep;
mod values;
mod watching;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use st2sa_core::engine::{Reply, Request, Token};
use st2sa_core::time::Span;
use tokio::runtime::Handle;
use tokio::time::Instant;

use self::api::{KeyValue, TxnRequest};
use self::client::{Client, Failure, Repeat};
use self::names::Names;
use self::upkeep::Upkeep;
use self::values::Storing;
use crate::store::{Lengths, OpenError, Store};
use crate::{Answer, Datastore, Engine, Still, StoreError, StoredValue, ValueWrite, Watcher, codec};

/// Checks or writes of one transaction: etcd's own default (`--max-txn-ops`).
pub const OPERATIONS_AT_MOST: usize = 128;
/// A request, in bytes: etcd's own default (`--max-request-bytes`, 1.5 MiB) less the 512 bytes at the most that it adds
/// (the request's number, the user).
pub const REQUEST_BYTES_AT_MOST: usize = 1_536 * 1_024 - 512;
/// The format of our keys.
const THIS_FORMAT: u64 = 1;
/// A lease of one second would often end between two renewals; etcd's defaults grant two at the least.
const LEASE_SECONDS_AT_LEAST: u64 = 2;

/// A campaign's lease is ended with so many tries, each of a deadline at the most: a silent server is left by the first.
const REVOCATIONS_AT_MOST: usize = 3;
/// The same trouble is told again after so long: requests come several times a second.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// The engine of arbitrators that share an etcd.
#[derive(Clone)]
pub struct Etcd {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    names: Names,
    /// The servers, for people.
    at: String,
    /// How long a leader's lease lasts, as etcd has granted it.
    ttl_seconds: i64,
    /// The last leadership that we held, and its lease.
    held: Mutex<Option<(Token, i64)>>,
    /// The last one that was tried for: a campaign for an earlier one is too late.
    tried: Mutex<Option<Token>>,
    storing: tokio::sync::Mutex<Storing>,
    upkeep: Upkeep,
    /// What people were told last, and when.
    complained: Mutex<Option<(String, Instant)>>,
    runtime: Handle,
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Failure(#[from] Failure),
    #[error(transparent)]
    Damaged(#[from] codec::Damaged),
    #[error("{0}")]
    Odd(String),
}

impl Etcd {
    /// Reaches the store, and looks whether it can be used.
    ///
    /// # Errors
    /// When it cannot: it is not to be reached, it refuses us, a later release has written it.
    pub async fn open(store: &Store, lengths: Lengths) -> Result<Self, OpenError> {
        let at = store.servers.join(",");
        let client = Client::new(store, Duration::from_nanos(lengths.deadline.0))?;
        let names = Names::new(store.namespace.as_deref());
        let unusable = |problem: String| OpenError::Unusable { at: at.clone(), problem };
        let found = persistently(&client, || format(&client, &names)).await;
        let found = found.map_err(|trouble| unusable(trouble.to_string()))?;
        if found > THIS_FORMAT {
            return Err(OpenError::Newer { at, found, known: THIS_FORMAT });
        }
        // What is granted depends on how etcd is set up, and is the same for every lease.
        let whole = lengths.leader_ttl.0.div_ceil(Span::from_secs(1).0).max(LEASE_SECONDS_AT_LEAST);
        let asked = i64::try_from(whole).unwrap_or(i64::MAX);
        let granted = persistently(&client, async || Ok(client.grant(asked).await?)).await;
        let granted = granted.map_err(|trouble| unusable(trouble.to_string()))?;
        let inner = Inner {
            client,
            names,
            at,
            ttl_seconds: granted.ttl,
            held: Mutex::default(),
            tried: Mutex::default(),
            storing: tokio::sync::Mutex::default(),
            upkeep: Upkeep::default(),
            complained: Mutex::default(),
            runtime: Handle::current(),
        };
        let engine = Self { inner: Arc::new(inner) };
        engine.inner.revoke(granted.id).await;
        Ok(engine)
    }
}

impl Engine for Etcd {
    fn ask(&self, request: Request) -> Answer<'_, Reply> {
        Box::pin(async move {
            let inner = &self.inner;
            let done = inner.answer(request).await;
            if let Some(revision) = inner.take_upkeep() {
                let inner = Arc::clone(inner);
                self.inner.runtime.spawn(async move { inner.keep_up(revision).await });
            }
            done.unwrap_or_else(|trouble| inner.unknown(&trouble))
        })
    }

    fn describe(&self) -> String {
        let warning = self.inner.upkeep.warning().map(|warning| format!(" ({warning})")).unwrap_or_default();
        format!("etcd at {}{warning}", self.inner.at)
    }

    fn leader_ttl(&self) -> Option<Span> {
        Some(Span::from_secs(u64::try_from(self.inner.ttl_seconds).unwrap_or_default()))
    }

    fn watch(&self, tell: Watcher) {
        let changes = self.inner.client.line().changes();
        self.inner.runtime.spawn(watching::run(Arc::downgrade(&self.inner), changes, tell));
    }

    fn forgetful(&self) -> bool {
        false
    }

    fn exclusive(&self) -> bool {
        false
    }
}

impl Datastore for Etcd {
    fn get(&self, name: String) -> Answer<'_, Result<Option<String>, StoreError>> {
        Box::pin(async move {
            let found = self.inner.value(&name).await;
            found.map_err(|trouble| self.inner.failed("reading a value", trouble.into()))
        })
    }

    fn list(
        &self,
        prefix: String,
        after: Option<String>,
        limit: usize,
    ) -> Answer<'_, Result<Vec<StoredValue>, StoreError>> {
        Box::pin(async move {
            let found = self.inner.values(&prefix, after.as_deref(), limit).await;
            found.map_err(|trouble| self.inner.failed("listing values", trouble.into()))
        })
    }

    fn apply(&self, under: Token, still: Still, writes: Vec<ValueWrite>) -> Answer<'_, Result<(), StoreError>> {
        Box::pin(async move { self.inner.store(&under, still, writes).await })
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
            Request::Observe => self.observe().await.map(|(leader, _)| Reply::Observed { leader }),
            Request::ReadAll => {
                reads::snapshot(&self.client, &self.names).await.map(|snapshot| Reply::All(Box::new(snapshot)))
            }
            Request::ReadJournal { sensor } => {
                let journal = reads::journal(&self.client, &self.names, &sensor).await;
                journal.map(|journal| Reply::Journal(Box::new(journal)))
            }
            Request::Transact(transaction) => self.transact(&transaction).await,
        }
    }

    /// What is not known to be done is neither success nor failure; people are told why.
    fn unknown(&self, trouble: &Trouble) -> Reply {
        match trouble {
            // The line says so, once.
            Trouble::Failure(Failure::Silent(_) | Failure::Unreached(_) | Failure::Lost(_)) => {
                tracing::debug!(at = self.at, %trouble, "etcd did not answer");
            }
            Trouble::Failure(_) | Trouble::Damaged(_) | Trouble::Odd(_) => self.complain(trouble),
        }
        Reply::Unknown
    }

    /// Tells people, and not again for the next request that meets the same.
    fn complain(&self, trouble: &Trouble) {
        let (text, now) = (trouble.to_string(), Instant::now());
        let mut complained = locked(&self.complained);
        if complained.as_ref().is_none_or(|(last, at)| *last != text || now.duration_since(*at) >= COMPLAIN_EVERY) {
            let cause = std::error::Error::source(trouble).map(ToString::to_string);
            tracing::error!(at = self.at, trouble = text, cause, "etcd cannot be used");
            *complained = Some((text, now));
        }
    }

    fn failed(&self, doing: &str, source: Box<dyn std::error::Error + Send + Sync>) -> StoreError {
        StoreError::Failed { doing: format!("{doing} in etcd at {}", self.at), source }
    }

    /// Notes a try for a leadership.
    fn tries(&self, token: &Token) {
        let mut tried = locked(&self.tried);
        if !tried.as_ref().is_some_and(|tried| is_later(tried, token)) {
            *tried = Some(token.clone());
        }
    }

    /// Whether nothing was tried for since.
    fn is_last_try(&self, token: &Token) -> bool {
        !locked(&self.tried).as_ref().is_some_and(|tried| is_later(tried, token))
    }

    fn hold(&self, token: Token, lease: i64) {
        *locked(&self.held) = Some((token, lease));
    }

    fn let_go(&self, token: &Token) {
        locked(&self.held).take_if(|(held, _)| held == token);
    }

    fn lease_of(&self, token: &Token) -> Option<i64> {
        locked(&self.held).as_ref().filter(|(held, _)| held == token).map(|(_, lease)| *lease)
    }

    /// Ends a lease beside what goes on.
    fn revoke_soon(self: &Arc<Self>, lease: i64) {
        let inner = Arc::clone(self);
        self.runtime.spawn(async move { inner.revoke(lease).await });
    }

    /// Ends a lease that nobody needs; one that cannot be ended ends by itself.
    async fn revoke(&self, lease: i64) {
        for _ in 0..REVOCATIONS_AT_MOST {
            match self.client.revoke(lease).await {
                Err(failure) if !failure.is_undone() => tracing::debug!(%failure, "a lease could not be ended"),
                _ => return,
            }
        }
    }
}

/// Both are tries of one run of an arbitrator, and this one came later.
fn is_later(tried: &Token, token: &Token) -> bool {
    tried.arbitrator == token.arbitrator && tried.incarnation == token.incarnation && tried.attempt > token.attempt
}

/// The format of what is there; ours where there is nothing yet.
async fn format(client: &Client, names: &Names) -> Result<u64, Trouble> {
    let (found, _) = client.get(names.format()).await?;
    if let Some(found) = found {
        let format = text(&found)?.trim();
        return format.parse().map_err(|_| Trouble::Odd(format!("its format is `{format}`, not a number")));
    }
    let compare = vec![names::is_at(names.format(), 0)];
    let success = vec![names::put(names.format(), THIS_FORMAT.to_string(), 0)];
    // Done twice it is the same, and whoever was first has written this, or says so at the next start.
    client.transaction(Repeat::Freely, TxnRequest { compare, success, failure: Vec::new() }).await?;
    Ok(THIS_FORMAT)
}

/// Tries until each server has had its chance.
async fn persistently<T, F>(client: &Client, work: impl Fn() -> F) -> Result<T, Trouble>
where
    F: Future<Output = Result<T, Trouble>>,
{
    let mut tries = client.line().servers() - 1;
    loop {
        match work().await {
            Err(Trouble::Failure(Failure::Silent(_) | Failure::Lost(_) | Failure::Unreached(_))) if tries > 0 => {
                tries -= 1;
            }
            done => return done,
        }
    }
}

/// A key's value as text.
fn text(found: &KeyValue) -> Result<&str, Trouble> {
    let name = || String::from_utf8_lossy(&found.key).into_owned();
    std::str::from_utf8(&found.value).map_err(|_| Trouble::Odd(format!("the value of `{}` is no text", name())))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A thread that panicked has not changed half of it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
