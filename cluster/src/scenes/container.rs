//! A container's machine is cut off from everything.

use std::time::Duration;

use st2sa_testbed::FAILOVER;

use super::{other_than, sensors_on};
use crate::cluster::{CONTAINERS, Cluster};
use crate::verdict::{Moves, Seconds, Verdict, Watch};

/// How long it stays so: it freezes, and its registration is struck.
const CUT_FOR: Duration = Duration::from_secs(8);

/// Its sensors go on elsewhere; it freezes what it holds by itself, and the source, which it still reaches, would see it if it
/// did not.
pub(super) fn cut_off(cluster: &mut Cluster) -> Verdict {
    let what = "a container's machine is cut off from everything but the source";
    let mut watch = Watch::of(cluster, what, FAILOVER);
    let placement = cluster.until_whole();
    let machine = CONTAINERS.into_iter().max_by_key(|machine| sensors_on(&placement, machine).len());
    let machine = machine.unwrap_or(CONTAINERS[0]);
    let (cut, stay) = (sensors_on(&placement, machine), sensors_on(&placement, other_than(machine)));
    cluster.network.cut_off(machine);
    Cluster::wait_out(CUT_FOR);
    let (moved, stayed) = (cluster.longest_pause(&cut, watch.since()), cluster.longest_pause(&stay, watch.since()));
    watch.note(format!(
        "the {} sensors that were there paused for {}, the {} others for {}",
        cut.len(),
        Seconds(moved),
        stay.len(),
        Seconds(stayed)
    ));
    cluster.network.heal();
    watch.end(cluster, Moves::Allowed)
}
