//! The store is away and fail-safe is on (rule 11): the leader goes on by the word of every other elector, and no second one leads.

use std::time::{Duration, Instant};

use st2sa_proto::rest::{Status, word};

use super::{LEASE, passes_on};
use crate::cluster::{ARBITRATORS, Cluster, NEWCOMER, WHOLE_WITHIN};
use crate::servers::STORES;
use crate::verdict::{Moves, Seconds, Verdict, Watch};
use st2sa_testbed::failure::fail;

/// How long the store is away: several leaderships and leases.
const AWAY_FOR: Duration = Duration::from_secs(20);
/// How long arbitrators are parted: TCP's waits have become long ones.
const PARTED_FOR: Duration = Duration::from_secs(45);
/// They talk again within this: a greeting comes every `leader_ttl`, and a connection is made anew.
const CONNECTED_WITHIN: Duration = Duration::from_secs(5);

/// From everybody: polling never stops, and the term is the same afterwards.
pub(super) fn from_all(cluster: &mut Cluster) -> Verdict {
    stays_the_same(cluster, "the store is cut off from everybody", |cluster| {
        cluster.network.cut(&STORES, &ARBITRATORS);
    })
}

/// What the store's servers send is dropped, to everybody; what is sent to them arrives.
pub(super) fn store_unheard(cluster: &mut Cluster) -> Verdict {
    stays_the_same(cluster, "what the store sends to arbitrators is dropped", |cluster| {
        cluster.network.cut_one_way(&STORES, &ARBITRATORS);
    })
}

fn stays_the_same(cluster: &mut Cluster, what: &str, cut: fn(&mut Cluster)) -> Verdict {
    let (mut watch, leader, term) = watch(cluster, what, LEASE);
    cut(cluster);
    until_extended(cluster, leader, term);
    Cluster::wait_out(AWAY_FOR);
    if !is_extended(cluster, leader, term) {
        fail(format!("the leadership is not extended any more: {:?}", cluster.statuses()));
    }
    cluster.network.heal();
    cluster.until_whole();
    let after = cluster.leader();
    if after != (leader, term) {
        fail(format!("{} led in term {term}; afterwards it is {after:?}", ARBITRATORS[leader]));
    }
    watch.note(format!("term {term} before, meanwhile and afterwards"));
    watch.end(cluster, Moves::None)
}

/// From everybody but one standby: that one does not give its word, so that the leadership ends, and it leads itself.
pub(super) fn but_from_one_standby(cluster: &mut Cluster) -> Verdict {
    let bound = passes_on(cluster.which);
    let what = "the store is cut off from everybody but one standby";
    let (mut watch, leader, term) = watch(cluster, what, bound);
    let standby = (leader + 1) % ARBITRATORS.len();
    let others: Vec<_> = ARBITRATORS.into_iter().filter(|machine| *machine != ARBITRATORS[standby]).collect();
    let cut = Instant::now();
    cluster.network.cut(&STORES, &others);
    let (led, next, _) = cluster.until_another_leads(leader, term, watch.bound());
    if next != standby {
        fail(format!("{} leads, which does not reach the store", ARBITRATORS[next]));
    }
    watch.note(format!("that one led after {}", Seconds(led - cut)));
    cluster.until_all_poll(Instant::now(), watch.bound());
    Cluster::wait_out(LEASE * 2);
    cluster.network.heal();
    watch.end(cluster, Moves::None)
}

/// An arbitrator that is started meanwhile, and reaches the store but none of the others, does not lead: it is no elector.
pub(super) fn newcomer_reaches_store(cluster: &mut Cluster) -> Verdict {
    let what = "the store is away, and a newcomer reaches it but no other arbitrator";
    let (mut watch, leader, term) = watch(cluster, what, LEASE);
    cluster.network.cut(&STORES, &ARBITRATORS);
    cluster.network.cut(&[NEWCOMER], &ARBITRATORS);
    until_extended(cluster, leader, term);
    let mut newcomer = cluster.arbitrator(NEWCOMER);
    let mut phases = Vec::new();
    let until = Instant::now() + AWAY_FOR;
    while Instant::now() < until {
        if let Some(status) = cluster.status_at(NEWCOMER) {
            if status.role == word::LEADER {
                fail(format!("the newcomer leads: {status:?}"));
            }
            if phases.last() != Some(&status.phase) {
                phases.push(status.phase);
            }
        }
        Cluster::wait_out(Duration::from_millis(100));
    }
    if !phases.iter().any(|phase| phase.contains("list of electors")) {
        fail(format!("the newcomer has not tried to lead, or does not say so: {phases:?}\n{}", newcomer.log()));
    }
    if !is_extended(cluster, leader, term) {
        fail(format!("the leadership is not extended any more: {:?}", cluster.statuses()));
    }
    watch.note(format!("the newcomer: {}", phases.last().cloned().unwrap_or_default()));
    newcomer.end();
    drop(newcomer);
    cluster.network.heal();
    watch.end(cluster, Moves::None)
}

/// A standby that has promised is killed and started again, and reaches the store at once; the leader does not, and is then killed.
/// Nobody leads before the promise, and with it whatever the leader may have acted on, is over.
pub(super) fn standby_restarts(cluster: &mut Cluster) -> Verdict {
    // Kept still for the longest leadership as any clock counts it, from its start.
    let still = keeps_still(cluster);
    let what = "the store is away, a standby restarts inside its promise, and reaches the store";
    let (mut watch, leader, term) = watch(cluster, what, still + passes_on(cluster.which));
    let standby = (leader + 1) % ARBITRATORS.len();
    let others: Vec<_> = ARBITRATORS.into_iter().filter(|machine| *machine != ARBITRATORS[standby]).collect();
    cluster.network.cut(&STORES, &ARBITRATORS);
    until_extended(cluster, leader, term);
    Cluster::wait_out(cluster.which.leads_within());
    // It reaches nobody but the store: of its own promise it knows nothing any more.
    cluster.network.heal();
    cluster.network.cut(&STORES, &others);
    cluster.network.cut(&[ARBITRATORS[standby]], &others);
    cluster.arbitrators[standby].end();
    let restarted = Instant::now();
    cluster.arbitrators[standby].restart();
    let (led, next, _) = cluster.until_another_leads(leader, term, watch.bound());
    if next != standby {
        fail(format!("{} leads, which does not reach the store", ARBITRATORS[next]));
    }
    // It is seen only after it happened, so that the bound is a sharp one.
    if led - restarted < still {
        fail(format!("it led {} after its start, and keeps still for {}", Seconds(led - restarted), Seconds(still)));
    }
    watch.note(format!(
        "it led {} after its start, having kept still for {}",
        Seconds(led - restarted),
        Seconds(still)
    ));
    cluster.until_all_poll(Instant::now(), watch.bound());
    cluster.network.heal();
    watch.end(cluster, Moves::None)
}

/// The leader is parted from the other arbitrators for so long that TCP sends again only now and then what is on its way between
/// them; soon after that is healed the store can be away.
pub(super) fn after_arbitrators_were_parted(cluster: &mut Cluster) -> Verdict {
    let what = "the leader was parted from the other arbitrators for a while; then the store is away";
    let (watch, leader, term) = watch(cluster, what, LEASE);
    cluster.network.cut(&[ARBITRATORS[leader]], &ARBITRATORS);
    Cluster::wait_out(PARTED_FOR);
    cluster.network.heal();
    Cluster::wait_out(CONNECTED_WITHIN);
    cluster.network.cut(&STORES, &ARBITRATORS);
    until_extended(cluster, leader, term);
    Cluster::wait_out(LEASE * 3);
    if !is_extended(cluster, leader, term) {
        fail(format!("the leadership is not extended any more: {:?}", cluster.statuses()));
    }
    cluster.network.heal();
    watch.end(cluster, Moves::None)
}

/// The leader is parted from the other arbitrators, which are not taken off the list for that: it is lost, and another one leads.
pub(super) fn leader_lost_after_parted(cluster: &mut Cluster) -> Verdict {
    let what = "the leader is parted from the other arbitrators for a while, then killed";
    let (mut watch, leader, term) = watch(cluster, what, passes_on(cluster.which));
    cluster.network.cut(&[ARBITRATORS[leader]], &ARBITRATORS);
    Cluster::wait_out(PARTED_FOR);
    cluster.arbitrators[leader].end();
    let killed = Instant::now();
    let (led, ..) = cluster.until_another_leads(leader, term, watch.bound());
    watch.note(format!("another one led after {}", Seconds(led - killed)));
    cluster.until_all_poll(Instant::now(), watch.bound());
    cluster.network.heal();
    cluster.arbitrators[leader].restart();
    watch.end(cluster, Moves::None)
}

/// What a promise lasts, and what whoever starts keeps still for: `leader_ttl` × 1.2 + 0.2 s.
fn keeps_still(cluster: &Cluster) -> Duration {
    cluster.which.leader_ttl() * 12 / 10 + Duration::from_millis(200)
}

/// Fail-safe is on, and everything whole.
fn watch(cluster: &Cluster, what: &str, bound: Duration) -> (Watch, usize, u64) {
    cluster.order(&["fail-safe", "on", "--yes"]);
    cluster.eventually(WHOLE_WITHIN, "fail-safe is on, for the three alone", || {
        cluster.leading().filter(|(_, led)| led.fail_safe && led.electors.len() == ARBITRATORS.len())
    });
    let watch = Watch::of(cluster, what, bound);
    let (leader, term) = cluster.leader();
    (watch, leader, term)
}

fn until_extended(cluster: &Cluster, leader: usize, term: u64) {
    cluster.eventually(WHOLE_WITHIN, "the leadership is extended", || is_extended(cluster, leader, term).then_some(()));
}

fn is_extended(cluster: &Cluster, leader: usize, term: u64) -> bool {
    let extended =
        |status: &Status| status.role == word::LEADER && status.store == word::EXTENDED && status.term == term;
    cluster.status_at(ARBITRATORS[leader]).as_ref().is_some_and(extended)
}
