//! The scenes, in the order in which they are played.

mod away;
mod container;
mod leader;
mod one_way;
mod store;

use std::time::Duration;

use st2sa_testbed::SESSION_TTL;

use crate::cluster::{CONTAINERS, Cluster};
use crate::network::Machine;
use crate::servers::Which;
use crate::verdict::Verdict;

/// Something that is done to a cluster, and what is seen of it.
pub(crate) struct Scene {
    /// By which it is asked for.
    pub(crate) name: &'static str,
    /// Played also when only the short ones are.
    pub(crate) short: bool,
    /// Only where a leadership can be extended while the store is away.
    pub(crate) fail_safe: bool,
    pub(crate) play: fn(&mut Cluster) -> Verdict,
}

const fn scene(name: &'static str, play: fn(&mut Cluster) -> Verdict) -> Scene {
    Scene { name, short: false, fail_safe: false, play }
}

impl Scene {
    const fn short(mut self) -> Self {
        self.short = true;
        self
    }

    const fn with_fail_safe(mut self) -> Self {
        self.fail_safe = true;
        self
    }
}

/// All of them. What turns fail-safe on comes last: it stays on.
pub(crate) const ALL: [Scene; 18] = [
    scene("store-leader-cut", store::leader_cut_off).short(),
    scene("store-follower-cut", store::follower_cut_off),
    scene("store-leader-killed", store::leader_killed).short(),
    scene("store-leader-frozen", store::leader_frozen).short(),
    scene("leader-without-store", leader::without_store).short(),
    scene("leader-with-store-alone", leader::with_store_alone),
    scene("leader-cut-off", leader::cut_off),
    scene("container-cut-off", container::cut_off).short(),
    scene("leader-unheard-by-standbys", one_way::leader_unheard_by_standbys),
    scene("leader-deaf-to-containers", one_way::leader_deaf_to_containers),
    scene("leader-unheard-by-containers", one_way::leader_unheard_by_containers),
    scene("away-from-all", away::from_all).with_fail_safe(),
    scene("away-but-from-one-standby", away::but_from_one_standby).with_fail_safe(),
    scene("away-newcomer-reaches-store", away::newcomer_reaches_store).with_fail_safe(),
    scene("away-standby-restarts", away::standby_restarts).with_fail_safe(),
    scene("away-store-unheard", away::store_unheard).with_fail_safe(),
    scene("away-after-parted", away::after_arbitrators_were_parted).with_fail_safe(),
    scene("leader-lost-after-parted", away::leader_lost_after_parted).with_fail_safe(),
];

/// How long polling may pause when another arbitrator comes to lead, and nothing else is wrong: until it leads, until it adopts
/// what runs, and until containers that stayed with the old one have found it: those whose heartbeats are not answered stay for a
/// `session_ttl` at the most, try one after the other, and a poll is due every 200 ms.
fn passes_on(which: Which) -> Duration {
    which.leads_within() + which.waits() + Duration::from_secs(1)
}

/// The longest time without an acknowledgement in which a container goes on acting.
const LEASE: Duration = SESSION_TTL;

/// What of the sensors is on this container.
fn sensors_on(placement: &st2sa_testbed::Placement, container: Machine) -> Vec<String> {
    placement.iter().filter(|(_, place)| *place == container).map(|(sensor, _)| sensor.clone()).collect()
}

/// The other container.
fn other_than(container: Machine) -> Machine {
    if container == CONTAINERS[0] { CONTAINERS[1] } else { CONTAINERS[0] }
}

/// How long it takes until a standby that is greeted by containers that cannot reach the leader has it resign: it hears each of
/// them for a lease as any clock counts it (2.6 s), and they come every second or so.
fn stranded() -> Duration {
    Duration::from_millis(2_600 + 1_000)
}

/// How long polling may pause where neither arbitrators nor containers reach the leader, and the store does: until it has struck
/// its containers (2.6 s), and no other elector has answered for two greetings (one every `leader_ttl`) and a heartbeat, it looks
/// at every renewal; then it gives up, and another one leads.
fn isolated(which: Which) -> Duration {
    (which.leader_ttl() * 2 + Duration::from_millis(400)).max(Duration::from_millis(2_600))
        + which.leader_ttl() / 5
        + passes_on(which)
}
