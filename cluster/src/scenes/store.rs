//! One of the store's three servers is gone: sensors go on.

use std::time::{Duration, Instant};

use crate::cluster::Cluster;
use crate::servers::STORES;
use crate::verdict::{Moves, Verdict, Watch};

/// How long it is gone: longer than any bound below.
const GONE_FOR: Duration = Duration::from_secs(25);

/// What leads the store is cut off from everything.
pub(super) fn leader_cut_off(cluster: &mut Cluster) -> Verdict {
    let server = cluster.servers.leader();
    cut_off(cluster, server, "the store's leader")
}

/// Another one is.
pub(super) fn follower_cut_off(cluster: &mut Cluster) -> Verdict {
    let server = (cluster.servers.leader() + 1) % STORES.len();
    cut_off(cluster, server, "a server that does not lead the store")
}

/// What leads the store is killed.
pub(super) fn leader_killed(cluster: &mut Cluster) -> Verdict {
    let server = cluster.servers.leader();
    let mut watch = watch(cluster, "the store's leader is killed");
    cluster.servers.kill(server);
    goes_on_without(cluster, &watch);
    watch.note(format!("{} leads the store after {}", STORES[cluster.servers.leader()], STORES[server]));
    cluster.servers.start_again(server);
    watch.end(cluster, Moves::None)
}

/// What leads the store stands still: its connections are there, and nothing comes.
pub(super) fn leader_frozen(cluster: &mut Cluster) -> Verdict {
    let server = cluster.servers.leader();
    let watch = watch(cluster, "the store's leader stands still");
    cluster.servers.stop(server);
    goes_on_without(cluster, &watch);
    cluster.servers.cont(server);
    watch.end(cluster, Moves::None)
}

fn cut_off(cluster: &mut Cluster, server: usize, which: &str) -> Verdict {
    let watch = watch(cluster, &format!("{which} is cut off from everything"));
    cluster.network.cut_off(STORES[server]);
    goes_on_without(cluster, &watch);
    cluster.network.heal();
    watch.end(cluster, Moves::None)
}

/// The store is without a leader of its own for a while; a leadership among arbitrators that has run out meanwhile is followed by
/// another one. What is left of leases is not counted.
fn watch(cluster: &Cluster, what: &str) -> Watch {
    Watch::of(cluster, what, cluster.which.recovers_within() + super::passes_on(cluster.which))
}

/// It stays away until everybody polls, and a while longer: whoever still talks to it is to notice.
fn goes_on_without(cluster: &Cluster, watch: &Watch) {
    let enough = cluster.which.recovers_within() + Duration::from_secs(2);
    Cluster::wait_out(enough.saturating_sub(watch.since().elapsed()));
    cluster.until_all_poll(Instant::now(), GONE_FOR);
}
