//! What it costs when the store is away: polling with fail-safe on, and with fail-safe off.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use st2sa_proto::rest::word;
use st2sa_testbed::{SESSION_TTL, longest_gap};

use crate::probes::{ARBITRATORS, INTERVAL, PATIENCE, Scene};
use crate::progress::wait_out;
use crate::report;
use crate::stores::{Store, Which};

/// Probes that poll all the while.
const PROBES: u32 = 20;
/// How long polls are looked at once the store is back.
const AFTERWARDS: Duration = Duration::from_secs(5);

/// Measures both on one store.
pub(crate) fn run(binary: &Path, which: Which, away: Duration) -> ExitCode {
    println!(
        "three arbitrators on {which:?}; {PROBES} probes poll every {} ms; the store is killed, and started again {:.0} s \
         later\n",
        INTERVAL.as_millis(),
        away.as_secs_f64()
    );
    report::head("the store is away");
    if which == Which::Redis {
        println!("fail-safe on: Redis is refused it, since it may forget (docs/stores.md)");
    } else {
        goes_on(binary, which, away);
    }
    let (last, resumed, bound) = stops(binary, which, away);
    report::line("fail-safe off: from the kill to a probe's last poll", &last);
    report::line("fail-safe off: from the store's return to its next poll", &resumed);
    let stopped = last.iter().max().copied().unwrap_or_default();
    println!(
        "\nfail-safe off: the last poll began {:.1} s after the kill (leader_ttl + session_ttl is {:.0} s); all probes went on \
         by themselves; no two polls overlapped",
        stopped.as_secs_f64(),
        bound.as_secs_f64()
    );
    ExitCode::SUCCESS
}

/// With fail-safe on.
fn goes_on(binary: &Path, which: Which, away: Duration) {
    let mut store = Store::start(which);
    let (scene, arbitrators) = Scene::shared(binary, PROBES, &store.url());
    scene.leader();
    scene.order(&["fail-safe", "on"]);
    let before = scene.testbed.placement(&scene.probes);
    let since = Instant::now();
    store.kill();
    wait_out("the store is away, fail-safe is on", away);
    let back = Instant::now();
    store.start_again();
    scene.testbed.eventually(PATIENCE, "the leader has its key again", || {
        let all = (0..ARBITRATORS).filter_map(|number| scene.testbed.status_of(number));
        all.filter(|status| status.role == word::LEADER).find(|status| status.store == word::THERE)
    });
    // The time measured is all over: no condition can tell that nothing happened in it.
    std::thread::sleep(AFTERWARDS);
    let (polls, until) = (scene.source.polls(), Instant::now());
    let gaps = |from, until| -> Vec<Duration> {
        scene.probes.iter().map(|probe| longest_gap(&polls, probe, from, until)).collect()
    };
    report::line("fail-safe on: longest time between two polls, away", &gaps(since, back));
    report::line("fail-safe on: the same, when it came back", &gaps(back, until));
    scene.source.assert_no_overlap();
    let moved = if scene.testbed.placement(&scene.probes) == before { "no sensor moved" } else { "SENSORS MOVED" };
    println!("fail-safe on: {moved}");
    drop((scene, arbitrators));
}

/// With fail-safe off: when each probe polled last after the kill, how long after the store's return it polled again, and
/// within what the last one is to have polled.
fn stops(binary: &Path, which: Which, away: Duration) -> (Vec<Duration>, Vec<Duration>, Duration) {
    let mut store = Store::start(which);
    let (scene, arbitrators) = Scene::shared(binary, PROBES, &store.url());
    scene.leader();
    let killed = Instant::now();
    store.kill();
    wait_out("the store is away, fail-safe is off", away);
    let polls = scene.source.polls();
    let last = |probe: &String| polls.iter().rfind(|poll| poll.sensor == *probe).map(|poll| poll.begun);
    let last = scene.probes.iter().filter_map(last).map(|begun| begun.saturating_duration_since(killed)).collect();
    store.start_again();
    let back = Instant::now();
    let resumed = scene.probes.iter().map(|probe| scene.next(probe, back).begun - back).collect();
    scene.wait_until_whole();
    scene.source.assert_no_overlap();
    let bound = store.leader_ttl() + SESSION_TTL;
    drop((scene, arbitrators));
    (last, resumed, bound)
}
