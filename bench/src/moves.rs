//! How long sensors pause when an operator moves them: one by one, by a drain, and in a rolling upgrade.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use st2sa_testbed::{Signal, longest_gap};

use crate::probes::{INTERVAL, PATIENCE, Scene};
use crate::report;

/// Sensors that a drain moves; 2 intervals apart they would be a load of their own for two cores.
const DRAINED: u32 = 100;
/// Probes that poll all through the upgrade.
const UPGRADED: u32 = 20;

/// Measures all of it.
pub(crate) fn run(binary: &Path, moves: u32, drained: u32) -> ExitCode {
    println!("probes poll every {} ms; two containers; default timing\n", INTERVAL.as_millis());
    report::head("in good order");
    report::line("a move: the next poll begins so much after it is due", &moved(binary, moves));
    let (whole, count) = drain(binary, drained.min(DRAINED));
    report::line(&format!("a drain of {count} sensors: until the last of them is ACTIVE"), &whole);
    let gaps = upgrade(binary);
    report::line(&format!("a rolling upgrade, {UPGRADED} probes: longest time between two polls"), &gaps);
    let missed = gaps.iter().filter(|gap| **gap >= INTERVAL * 2).count();
    println!("\nthe rolling upgrade: {missed} of {} probes missed a tick; no two polls overlapped", gaps.len());
    ExitCode::SUCCESS
}

/// Moves one probe to and fro: how much later than due the first poll at the other end begins.
fn moved(binary: &Path, moves: u32) -> Vec<Duration> {
    let scene = Scene::start(binary, 4);
    let probe = scene.probes[0].clone();
    let mut gaps = Vec::new();
    for _ in 0..moves {
        scene.wait_until_whole();
        let from = scene.holder(&probe);
        let to = scene.containers[1 - from].name().to_owned();
        let before = scene.source.polls().iter().rfind(|poll| poll.sensor == probe).map(|poll| poll.process);
        let since = Instant::now();
        scene.order(&["move", &probe, &to, "--no-wait"]);
        let first = scene.testbed.eventually(PATIENCE, "the probe is polled there", || {
            let other = |poll: &&st2sa_testbed::Poll| poll.sensor == probe && Some(poll.process) != before;
            scene.source.polls().iter().filter(other).find(|poll| poll.begun > since).cloned()
        });
        let polls = scene.source.polls();
        let last = polls.iter().rfind(|poll| poll.sensor == probe && poll.begun < first.begun).map(|poll| poll.begun);
        gaps.extend(last.map(|last| (first.begun - last).saturating_sub(INTERVAL)));
    }
    scene.source.assert_no_overlap();
    gaps
}

/// Drains the container that has them all; how long until all are ACTIVE on the other one.
fn drain(binary: &Path, sensors: u32) -> (Vec<Duration>, u32) {
    let scene = Scene::start(binary, sensors);
    scene.order(&["drain", "b"]);
    let all_on = |name: &str| {
        scene.testbed.eventually(PATIENCE * 2, "all are on one container", || {
            scene.testbed.placement(&scene.probes)?.values().all(|on| on == name).then_some(())
        });
    };
    all_on("a");
    scene.order(&["undrain", "b"]);
    scene.wait_until_whole();
    let since = Instant::now();
    scene.order(&["drain", "a", "--no-wait"]);
    all_on("b");
    let took = since.elapsed();
    scene.source.assert_no_overlap();
    (vec![took], sensors)
}

/// Drains, replaces and uses again one container after the other; then the arbitrator is replaced.
fn upgrade(binary: &Path) -> Vec<Duration> {
    let mut scene = Scene::start(binary, UPGRADED);
    let since = Instant::now();
    for number in 0..scene.containers.len() {
        let name = scene.containers[number].name().to_owned();
        scene.order(&["drain", &name]);
        scene.containers[number].kill(Signal::TERM);
        scene.containers[number].wait(PATIENCE);
        scene.containers[number].restart();
        scene.wait_until_whole();
        scene.order(&["undrain", &name]);
    }
    scene.arbitrator().kill(Signal::TERM);
    scene.arbitrator().wait(PATIENCE);
    scene.arbitrator().restart();
    scene.wait_until_whole();
    let (polls, until) = (scene.source.polls(), Instant::now());
    scene.source.assert_no_overlap();
    scene.probes.iter().map(|probe| longest_gap(&polls, probe, since, until)).collect()
}
