//! Finds the leader through the store that arbitrators share, where no arbitrator was named.

use std::sync::{Arc, Weak};
use std::time::Duration;

use st2sa_coordination::Shared;
use st2sa_coordination::store::{Lengths, Store};
use st2sa_core::engine::{Reply, Request};
use st2sa_core::names::ArbitratorId;
use st2sa_core::time::Span;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// An answer of the store is waited for as long as one of an arbitrator is.
const DEADLINE: Span = Span::from_millis(400);
/// Not used: a container never campaigns. An engine is opened with a length all the same.
const LEADER_TTL: Span = Span::from_secs(2);

/// A store that nobody has asked for so long is left: a container that knows its leader costs it nothing. Longer than any
/// search for a new one, in which it is asked several times a second.
const KEPT_FOR: Duration = Duration::from_mins(1);

/// Who is asked for the leader.
pub(crate) struct Finder {
    store: Store,
    opened: Arc<Mutex<Option<Opened>>>,
}

/// A store while it is asked now and then.
struct Opened {
    store: Shared,
    asked: Instant,
}

impl Finder {
    /// The store is reached when it is first asked.
    pub(crate) fn new(store: Store) -> Self {
        Self { store, opened: Arc::default() }
    }

    /// What stands for whoever the store names, in a list of arbitrators.
    pub(crate) fn name() -> ArbitratorId {
        // No address looks like this.
        ArbitratorId::new("the leader in the store")
    }

    /// Where the leader is reached, as the store has it; else why that is not known.
    pub(crate) async fn leader(&self) -> Result<String, String> {
        let (engine, _) = self.store().await?;
        match engine.ask(Request::Observe).await {
            Reply::Observed { leader: Some(seen) } => {
                let address = seen.arbitrator.address().map(str::to_owned);
                address
                    .ok_or_else(|| format!("the leader's id in the store, `{}`, has no address in it", seen.arbitrator))
            }
            Reply::Observed { leader: None } => Err(format!("nobody leads, says {}", engine.describe())),
            _ => Err(format!("{} does not answer", engine.describe())),
        }
    }

    async fn store(&self) -> Result<Shared, String> {
        let mut opened = self.opened.lock().await;
        let asked = Instant::now();
        if let Some(opened) = opened.as_mut() {
            opened.asked = asked;
            return Ok(opened.store.clone());
        }
        let lengths = Lengths { leader_ttl: LEADER_TTL, deadline: DEADLINE };
        let store = st2sa_coordination::open(&self.store, lengths).await.map_err(|error| error.to_string())?;
        *opened = Some(Opened { store: store.clone(), asked });
        tokio::spawn(leave(Arc::downgrade(&self.opened)));
        Ok(store)
    }
}

/// Leaves the store once nobody has asked for long.
async fn leave(opened: Weak<Mutex<Option<Opened>>>) {
    let mut last = Instant::now();
    loop {
        tokio::time::sleep_until(last + KEPT_FOR).await;
        let Some(opened) = opened.upgrade() else { return };
        let mut opened = opened.lock().await;
        match opened.as_ref() {
            Some(open) if open.asked.elapsed() < KEPT_FOR => last = open.asked,
            Some(_) | None => {
                *opened = None;
                return;
            }
        }
    }
}
