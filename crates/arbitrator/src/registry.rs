//! What StackStorm's service registry says of this arbitrator.

use std::net::SocketAddr;

use st2sa_coordination::registry::{self, Capabilities, Member, Membership};
use st2sa_coordination::store::Store;
use st2sa_core::arbiter::Arbiter;
use st2sa_core::time::Time;

/// The group of arbitrators: the service's name.
const SERVICE: &str = "sensorarbitrator";

/// Joins the others; needs a runtime around it.
pub(crate) fn join(store: &Store, listens: SocketAddr, address: &str) -> Membership {
    let mut member = Member::of_this_process(SERVICE, listens);
    member.capabilities.insert("address".to_owned(), address.into());
    registry::join(store, member)
}

/// How it stands: the counts are of what it leads.
pub(crate) fn standing(arbiter: &Arbiter, now: Time) -> Capabilities {
    let led = arbiter.leads(now);
    let term = led.or_else(|| arbiter.leader_seen().map(|seen| seen.term)).map_or(0, |term| term.0);
    let up = arbiter.containers().iter().filter(|container| container.up).count();
    let mut standing = Capabilities::new();
    standing.insert("role".to_owned(), if led.is_some() { "leader" } else { "standby" }.into());
    standing.insert("term".to_owned(), term.into());
    standing.insert("sensors".to_owned(), arbiter.sensors().len().into());
    standing.insert("containers".to_owned(), up.into());
    standing
}
