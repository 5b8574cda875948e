//! StackStorm's service registry: who is alive, and what it says of itself, as StackStorm's services write it through
//! tooz and as `GET /api/v1/service_registry/groups` reads it.
//!
//! A [`Membership`] is kept by a task of its own. A store that is away holds nobody up: the task tries again, ever more
//! rarely, and says so once. The exact keys are with each store: `etcd/registry.rs`, `redis/registry.rs`,
//! `zookeeper/registry.rs`.

mod capabilities;
mod keeper;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use st2sa_core::time::Span;
use st2sa_machine::identity;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::store::{Kind, Lengths, Store};
use crate::{etcd, redis, zookeeper};

/// How long a member is seen after its process has died without a word: it is told again at every third of this.
pub const TTL: Duration = Duration::from_secs(10);
/// Whoever lists waits for each answer so long at the most.
const LISTED_WITHIN: Duration = Duration::from_secs(5);
/// What a member says of itself is made anew so often at the most.
const TOLD_EVERY: Duration = Duration::from_secs(1);
/// An orderly end waits so long at the most for the store to hear of it; then the member vanishes with its time.
const LEAVES_WITHIN: Duration = Duration::from_secs(2);

/// What a member says of itself, in the order in which it says it.
pub type Capabilities = Map<String, Value>;

/// One that is to be a member of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// The group: the service's name.
    pub group: String,
    /// Its name there.
    pub id: String,
    /// How long it is seen after it has died.
    pub ttl: Duration,
    /// What it says of itself, and what does not change.
    pub capabilities: Capabilities,
}

impl Member {
    /// This process as a service that answers at an address, named and described as StackStorm's services are.
    pub fn of_this_process(service: &str, listens: SocketAddr) -> Self {
        let (host, pid) = (identity::host(), std::process::id());
        let mut capabilities = Capabilities::new();
        capabilities.insert("name".to_owned(), service.into());
        // What does not listen is "passive" to StackStorm.
        capabilities.insert("type".to_owned(), "active".into());
        capabilities.insert("hostname".to_owned(), host.as_str().into());
        capabilities.insert("pid".to_owned(), pid.into());
        capabilities.insert("listen_host".to_owned(), listens.ip().to_string().into());
        capabilities.insert("listen_port".to_owned(), listens.port().into());
        Self { group: service.to_owned(), id: format!("{host}_{pid}"), ttl: TTL, capabilities }
    }

    /// How long one answer of the store is waited for.
    fn deadline(&self) -> Duration {
        self.ttl / 5
    }

    /// The same as engines are told it.
    pub(crate) fn lengths(&self) -> Lengths {
        let span = |duration: Duration| Span(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
        Lengths { leader_ttl: span(self.ttl), deadline: span(self.deadline()) }
    }
}

/// Joins a group, and stays its member until the answer is dropped: the store is reached, and reached again, by a task
/// of its own. Needs a tokio runtime around it.
pub fn join(store: &Store, member: Member) -> Membership {
    let told = Arc::new(watch::Sender::new(member.capabilities.clone()));
    let (leave, left) = oneshot::channel();
    let teller = Teller { fixed: member.capabilities.clone(), told: Arc::clone(&told), told_at: None };
    let task = tokio::spawn(keeper::keep(store.clone(), member, told.subscribe(), left));
    Membership { teller, task, leave }
}

/// A place in a group. It ends when this is dropped, a moment later; [`Membership::leave`] waits for that.
#[derive(Debug)]
pub struct Membership {
    teller: Teller,
    task: JoinHandle<()>,
    leave: oneshot::Sender<()>,
}

impl Membership {
    /// What the member says of itself besides what it was joined with; in the place of what it said before.
    pub fn set(&self, changing: Capabilities) {
        self.teller.set(changing);
    }

    /// For whoever knows what the member has to say.
    pub fn teller(&self) -> Teller {
        self.teller.clone()
    }

    /// Leaves the group: nobody sees the member any more, where the store hears of it in time.
    pub async fn leave(self) {
        let Self { task, leave, .. } = self;
        // The task may have ended with its runtime.
        let _ = leave.send(());
        let _ = tokio::time::timeout(LEAVES_WITHIN, task).await;
    }
}

/// Tells a membership what the member says of itself; nothing where that is over.
#[derive(Clone, Debug)]
pub struct Teller {
    fixed: Capabilities,
    told: Arc<watch::Sender<Capabilities>>,
    told_at: Option<Instant>,
}

impl Teller {
    /// Tells what `changing` makes, which is not even asked where that was done a moment ago.
    pub fn tell(&mut self, changing: impl FnOnce() -> Capabilities) {
        if self.told_at.is_none_or(|at| at.elapsed() >= TOLD_EVERY) {
            self.told_at = Some(Instant::now());
            self.set(changing());
        }
    }

    fn set(&self, changing: Capabilities) {
        let mut all = self.fixed.clone();
        all.extend(changing);
        self.told.send_if_modified(|told| {
            let differs = *told != all;
            if differs {
                *told = all;
            }
            differs
        });
    }
}

/// A group of the registry.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Its name: the service's.
    pub name: String,
    /// Its members, in the order of their names.
    pub members: Vec<Seen>,
}

/// A member of a group, as others see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Its name.
    pub id: String,
    /// What it says of itself; nothing where it says nothing, or nothing that can be read.
    pub capabilities: Value,
    /// Why that cannot be read.
    pub problem: Option<String>,
}

impl Seen {
    /// A member by its name and its bytes.
    pub(crate) fn new(id: &[u8], value: &[u8]) -> Self {
        let (capabilities, problem) = match capabilities::decoded(value) {
            Ok(capabilities) => (capabilities, None),
            Err(problem) => (Value::Null, Some(problem)),
        };
        Self { id: String::from_utf8_lossy(id).into_owned(), capabilities, problem }
    }
}

/// Why the registry could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the service registry in {store} cannot be read: {problem}")]
pub struct RegistryError {
    /// Which store, and where.
    pub store: String,
    /// Why.
    pub problem: String,
}

/// All groups and their members, whoever has written them; nothing is changed.
///
/// # Errors
/// When the store cannot be reached, or does not answer.
pub async fn list(store: &Store) -> Result<Vec<Group>, RegistryError> {
    let lengths =
        Lengths { leader_ttl: Span::from_secs(TTL.as_secs()), deadline: Span::from_secs(LISTED_WITHIN.as_secs()) };
    let listed = match store.kind {
        Kind::Etcd => etcd::registry::list(store, lengths).await,
        Kind::Redis => redis::registry::list(store, lengths).await,
        Kind::ZooKeeper => zookeeper::registry::list(store, lengths).await,
    };
    let mut groups = listed.map_err(|problem| RegistryError { store: described(store), problem })?;
    for group in &mut groups {
        group.members.sort_by(|a, b| a.id.cmp(&b.id));
    }
    groups.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(groups)
}

/// A store, for people.
fn described(store: &Store) -> String {
    let name = match store.kind {
        Kind::Etcd => "etcd",
        Kind::Redis => "Redis",
        Kind::ZooKeeper => "ZooKeeper",
    };
    format!("{name} at {}", store.servers.join(","))
}
