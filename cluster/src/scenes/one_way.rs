//! Links on which packets pass one way only.

use std::time::{Duration, Instant};

use super::{LEASE, passes_on, stranded};
use crate::cluster::{ARBITRATORS, CONTAINERS, Cluster};
use crate::network::Machine;
use crate::verdict::{Moves, Seconds, Verdict, Watch};

/// How long a link that stops nothing stays so.
const CUT_FOR: Duration = Duration::from_secs(10);
/// How long it stays so once sensors poll again.
const STAYS_FOR: Duration = Duration::from_secs(5);

/// What the leader sends to the standbys is dropped; containers and the store are reached: nothing pauses for longer than a lease.
pub(super) fn leader_unheard_by_standbys(cluster: &mut Cluster) -> Verdict {
    let what = "what the leader sends to the other arbitrators is dropped";
    let mut watch = Watch::of(cluster, what, LEASE);
    let (leader, term) = cluster.leader();
    cluster.network.cut_one_way(&[ARBITRATORS[leader]], &ARBITRATORS);
    Cluster::wait_out(CUT_FOR);
    cluster.until_all_poll(Instant::now(), watch.bound());
    cluster.network.heal();
    let (after, later) = cluster.leader();
    watch.note(format!(
        "{} the leader",
        if (after, later) == (leader, term) { "the same one is" } else { "another one is" }
    ));
    watch.end(cluster, Moves::None)
}

/// What containers send to the leader is dropped; what it sends arrives: leases end, containers go to standbys, which tell the
/// leader to resign.
pub(super) fn leader_deaf_to_containers(cluster: &mut Cluster) -> Verdict {
    unreachable_one_way(cluster, "what containers send to the leader is dropped", |cluster, leader| {
        cluster.network.cut_one_way(&CONTAINERS, &[leader]);
    })
}

/// What the leader sends to containers is dropped; what they send arrives.
pub(super) fn leader_unheard_by_containers(cluster: &mut Cluster) -> Verdict {
    unreachable_one_way(cluster, "what the leader sends to containers is dropped", |cluster, leader| {
        cluster.network.cut_one_way(&[leader], &CONTAINERS);
    })
}

fn unreachable_one_way(cluster: &mut Cluster, what: &str, cut: fn(&mut Cluster, Machine)) -> Verdict {
    let bound = LEASE + stranded() + passes_on(cluster.which);
    let mut watch = Watch::of(cluster, what, bound);
    let (leader, term) = cluster.leader();
    let since = Instant::now();
    cut(cluster, ARBITRATORS[leader]);
    let (led, ..) = cluster.until_another_leads(leader, term, watch.bound());
    watch.note(format!("another one led after {}", Seconds(led - since)));
    cluster.until_all_poll(Instant::now(), watch.bound());
    Cluster::wait_out(STAYS_FOR);
    cluster.network.heal();
    // The old leader has struck them before it gave up.
    watch.end(cluster, Moves::Allowed)
}
