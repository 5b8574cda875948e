//! The task that keeps a membership.

use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{Capabilities, Member, capabilities, described};
use crate::store::{Kind, Store};
use crate::{etcd, redis, zookeeper};

/// Of each length of time after which a member would vanish it is told again so often.
const TOLD_IN_A_TTL: u32 = 3;
/// Bounds of the pause after a failure; each is twice as long as the one before.
const PAUSE_AT_LEAST: Duration = Duration::from_millis(250);
const PAUSE_AT_MOST: Duration = Duration::from_secs(5);
/// Changes are written so often at the most.
const CHANGED_EVERY: Duration = Duration::from_secs(1);

/// Where a member stands: it is kept there by being put there again and again.
enum Place {
    Etcd(etcd::registry::Place),
    Redis(redis::registry::Place),
    ZooKeeper(Box<zookeeper::registry::Place>),
}

/// Keeps a member in its group until it is to leave, whatever becomes of the store.
pub(super) async fn keep(
    store: Store,
    member: Member,
    told: watch::Receiver<Capabilities>,
    leave: oneshot::Receiver<()>,
) {
    let mut place = None;
    tokio::select! {
        biased;
        // Said, or whoever would have said it is gone.
        _ = leave => {}
        () = stay(&mut place, &store, &member, told) => {}
    }
    if let Some(place) = place {
        // Whoever leaves waits no longer than this.
        let _ = timeout(super::LEAVES_WITHIN, place.leave()).await;
    }
}

/// Puts the member into its group again and again.
async fn stay(place: &mut Option<Place>, store: &Store, member: &Member, mut told: watch::Receiver<Capabilities>) {
    let mut report = Report::new(store, member);
    let mut pause = PAUSE_AT_LEAST;
    loop {
        let value = capabilities::encoded(&told.borrow_and_update());
        let put = put(place, store, member, &value).await;
        report.tell(put.as_ref());
        if put.is_ok() {
            pause = PAUSE_AT_LEAST;
            let not_before = Instant::now() + CHANGED_EVERY;
            // In time, or as soon as there is something new.
            let _ = timeout(member.ttl / TOLD_IN_A_TTL, changed(&mut told, not_before)).await;
        } else {
            sleep(pause + jitter(pause)).await;
            pause = (pause * 2).min(PAUSE_AT_MOST);
        }
    }
}

/// Puts the member where it belongs, within its deadline or not at all.
async fn put(place: &mut Option<Place>, store: &Store, member: &Member, value: &[u8]) -> Result<(), String> {
    let place = match place {
        Some(place) => place,
        None => place.insert(Place::new(store, member)?),
    };
    // A new connection may be needed, and some answers over it.
    let within = member.deadline() * 2;
    let silent = |_| Err(format!("no answer in {} ms", within.as_millis()));
    timeout(within, place.put(value)).await.unwrap_or_else(silent)
}

/// Waits for a change, and until it may be written.
async fn changed(told: &mut watch::Receiver<Capabilities>, not_before: Instant) {
    if told.changed().await.is_err() {
        // Nobody is there any more who could tell; whether to leave is said elsewhere.
        std::future::pending::<()>().await;
    }
    sleep_until(not_before).await;
}

/// So that not all come back at once.
fn jitter(pause: Duration) -> Duration {
    let drawn = getrandom::u32().unwrap_or_default() % 1_000;
    pause * drawn / 2_000
}

impl Place {
    fn new(store: &Store, member: &Member) -> Result<Self, String> {
        match store.kind {
            Kind::Etcd => etcd::registry::Place::new(store, member).map(Self::Etcd),
            Kind::Redis => redis::registry::Place::new(store, member).map(Self::Redis),
            Kind::ZooKeeper => {
                zookeeper::registry::Place::new(store, member).map(|place| Self::ZooKeeper(Box::new(place)))
            }
        }
    }

    async fn put(&mut self, value: &[u8]) -> Result<(), String> {
        match self {
            Self::Etcd(place) => place.put(value).await,
            Self::Redis(place) => place.put(value).await,
            Self::ZooKeeper(place) => place.put(value).await,
        }
    }

    async fn leave(self) {
        match self {
            Self::Etcd(place) => place.leave().await,
            Self::Redis(place) => place.leave().await,
            Self::ZooKeeper(place) => place.leave().await,
        }
    }
}

/// What people are told: that it is joined, that it cannot be, once, and that it is again.
struct Report {
    store: String,
    group: String,
    member: String,
    /// Whether the last try went well; none before the first.
    went_well: Option<bool>,
}

impl Report {
    fn new(store: &Store, member: &Member) -> Self {
        Self { store: described(store), group: member.group.clone(), member: member.id.clone(), went_well: None }
    }

    fn tell(&mut self, put: Result<&(), &String>) {
        let Self { store, group, member, went_well } = self;
        match (put, went_well.replace(put.is_ok())) {
            (Ok(()), Some(true)) => {}
            (Ok(()), _) => tracing::info!(store, group, member, "stands in the service registry"),
            (Err(problem), Some(false)) => tracing::debug!(store, group, problem, "still not in the service registry"),
            (Err(problem), _) => {
                tracing::warn!(
                    store,
                    group,
                    problem,
                    "cannot stand in the service registry; trying again, nothing else is affected"
                );
            }
        }
    }
}
