//! What StackStorm's service registry says of this container.

use std::net::SocketAddr;

use st2sa_coordination::registry::{self, Capabilities, Member, Membership};
use st2sa_coordination::store::Store;
use st2sa_core::names::ContainerName;
use st2sa_core::session::Session;

/// The group of containers: the service's name.
const SERVICE: &str = "sensorcontainer";

/// Joins the others; needs a runtime around it.
pub(crate) fn join(store: &Store, listens: SocketAddr, address: &str, name: &ContainerName) -> Membership {
    let mut member = Member::of_this_process(SERVICE, listens);
    member.capabilities.insert("node".to_owned(), name.as_str().into());
    member.capabilities.insert("address".to_owned(), address.into());
    registry::join(store, member)
}

/// What runs there.
pub(crate) fn standing(session: &Session) -> Capabilities {
    let active = session.instances().filter(|view| view.fence.is_some()).count();
    let mut standing = Capabilities::new();
    standing.insert("sensors_active".to_owned(), active.into());
    standing
}
