//! The leader's machine is cut off from a part of the cluster, or from all of it.

use std::time::{Duration, Instant};

use st2sa_proto::rest::word;

use super::{isolated, passes_on};
use crate::cluster::{ARBITRATORS, CONTAINERS, Cluster, WHOLE_WITHIN};
use crate::servers::STORES;
use crate::verdict::{Moves, Seconds, Verdict, Watch};
use st2sa_testbed::failure::fail;

/// How long it stays so once sensors poll again: long enough for whatever else might come of it.
const CUT_FOR: Duration = Duration::from_secs(5);

/// From the store alone, with fail-safe off: another one leads, and what was the leader acknowledges nothing after its term, though
/// everybody still reaches it.
pub(super) fn without_store(cluster: &mut Cluster) -> Verdict {
    let bound = passes_on(cluster.which);
    let mut watch = Watch::of(cluster, "the leader's machine is cut off from the store alone", bound);
    let (leader, term) = cluster.leader();
    let loyal = cluster.loyal_to(leader, &format!("loyal{term}"));
    cluster.eventually(WHOLE_WITHIN, "it acknowledges", || (!loyal.heard().acknowledged.is_empty()).then_some(()));
    let cut = Instant::now();
    cluster.network.cut(&[ARBITRATORS[leader]], &STORES);
    let (led, next, _) = cluster.until_another_leads(leader, term, watch.bound());
    cluster.until_all_poll(Instant::now(), watch.bound());
    loyal.write("late");
    Cluster::wait_out(CUT_FOR);
    let heard = loyal.heard();
    let last = heard.acknowledged.iter().max().map(|last| last.saturating_duration_since(cut)).unwrap_or_default();
    let (acknowledged, statuses, written) = heard.since(led);
    if acknowledged + statuses + written > 0 {
        fail(format!(
            "what was the leader has acknowledged {acknowledged} heartbeats, given {statuses} statuses and made {written} writes \
             after {} led",
            ARBITRATORS[next]
        ));
    }
    watch.note(format!(
        "another one led after {}; the old one acknowledged for {}, and nothing later",
        Seconds(led - cut),
        Seconds(last)
    ));
    drop(loyal);
    cluster.network.heal();
    watch.end(cluster, Moves::None)
}

/// From the other arbitrators and the containers: it reaches the store alone, and renews its leadership there.
pub(super) fn with_store_alone(cluster: &mut Cluster) -> Verdict {
    let bound = isolated(cluster.which);
    let what = "the leader's machine is cut off from arbitrators and containers, and reaches the store";
    let mut watch = Watch::of(cluster, what, bound);
    let (leader, term) = cluster.leader();
    let cut = Instant::now();
    cluster.network.cut(&[ARBITRATORS[leader]], &[&ARBITRATORS[..], &CONTAINERS].concat());
    let (led, ..) = cluster.until_another_leads(leader, term, watch.bound());
    watch.note(format!("another one led after {}", Seconds(led - cut)));
    cluster.until_all_poll(Instant::now(), watch.bound());
    Cluster::wait_out(CUT_FOR);
    cluster.network.heal();
    // The old leader has struck its containers before it gave up.
    watch.end(cluster, Moves::Allowed)
}

/// From everything.
pub(super) fn cut_off(cluster: &mut Cluster) -> Verdict {
    let bound = passes_on(cluster.which);
    let mut watch = Watch::of(cluster, "the leader's machine is cut off from everything", bound);
    let (leader, term) = cluster.leader();
    let cut = Instant::now();
    cluster.network.cut_off(ARBITRATORS[leader]);
    let (led, ..) = cluster.until_another_leads(leader, term, watch.bound());
    watch.note(format!("another one led after {}", Seconds(led - cut)));
    cluster.until_all_poll(Instant::now(), watch.bound());
    Cluster::wait_out(CUT_FOR);
    let says = cluster.status_at(ARBITRATORS[leader]);
    if says.as_ref().is_some_and(|status| status.role == word::LEADER) {
        fail(format!("what was the leader still says that it leads: {says:?}"));
    }
    cluster.network.heal();
    watch.end(cluster, Moves::None)
}
