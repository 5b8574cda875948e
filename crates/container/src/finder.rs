//! Finds the leader through the store that arbitrators share, where no arbitrator was named.

use st2sa_coordination::Shared;
use st2sa_coordination::store::{Lengths, Store};
use st2sa_core::engine::{Reply, Request};
use st2sa_core::names::ArbitratorId;
use st2sa_core::time::Span;
use tokio::sync::OnceCell;

/// An answer of the store is waited for as long as one of an arbitrator is.
const DEADLINE: Span = Span::from_millis(400);
/// Not used: a container never campaigns. An engine is opened with a length all the same.
const LEADER_TTL: Span = Span::from_secs(2);

/// Who is asked for the leader.
pub(crate) struct Finder {
    store: Store,
    engine: OnceCell<Shared>,
}

impl Finder {
    /// The store is reached when it is first asked.
    pub(crate) fn new(store: Store) -> Self {
        Self { store, engine: OnceCell::new() }
    }

    /// What stands for whoever the store names, in a list of arbitrators.
    pub(crate) fn name() -> ArbitratorId {
        // No address looks like this.
        ArbitratorId::new("the leader in the store")
    }

    /// Where the leader is reached, as the store has it; else why that is not known.
    pub(crate) async fn leader(&self) -> Result<String, String> {
        let lengths = Lengths { leader_ttl: LEADER_TTL, deadline: DEADLINE };
        let opened = self.engine.get_or_try_init(|| st2sa_coordination::open(&self.store, lengths)).await;
        let (engine, _) = opened.map_err(|error| error.to_string())?;
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
}
