//! How long sensors pause when something is killed.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use st2sa_testbed::{Signal, longest_gap};

use crate::probes::{INTERVAL, Scene};
use crate::report;

/// Good polls that forget a failure, and a few more.
const FORGETS: usize = 12;
/// Probes beside which the arbitrator is killed.
const BESIDE_ARBITRATOR: u32 = 20;
/// The arbitrator's absence and some time after it.
const AFTERWARDS: Duration = Duration::from_secs(2);

/// Measures every kind of kill.
pub(crate) fn run(binary: &Path, kills: u32) -> ExitCode {
    println!("probes poll every {} ms; two containers; default timing\n", INTERVAL.as_millis());
    report::head("killed with SIGKILL");
    let node = containers(binary, kills, true);
    report::line("a container with all its processes, to the next poll", &node);
    let container = containers(binary, kills, false);
    report::line("a container alone, to the next poll", &container);
    let process = sensor_processes(binary, kills);
    report::line("a sensor's process, to the next setup() or poll()", &process);
    let (gaps, moved) = arbitrators(binary, kills);
    report::line(&format!("the arbitrator, {BESIDE_ARBITRATOR} probes: longest time between two polls"), &gaps);
    let missed = gaps.iter().filter(|gap| **gap >= INTERVAL * 2).count();
    println!(
        "\nthe arbitrator killed and started again: {moved} sensors moved; a tick was missed after {missed} of {} kills",
        gaps.len()
    );
    ExitCode::SUCCESS
}

/// Kills the container that runs the probes, and starts it again. The probe that takes longest counts.
fn containers(binary: &Path, kills: u32, with_everything: bool) -> Vec<Duration> {
    let mut scene = Scene::start(binary, 4);
    let mut pauses = Vec::new();
    for number in 1..=kills {
        progress(number, kills);
        let holder = scene.holder(&scene.probes[0]);
        let held = scene.probes.clone().into_iter().filter(|probe| scene.holder(probe) == holder);
        let held: Vec<String> = held.collect();
        let since = Instant::now();
        if with_everything {
            scene.containers[holder].kill_with_everything();
        } else {
            scene.containers[holder].kill(Signal::KILL);
        }
        let pause = held.iter().map(|probe| scene.next(probe, since).begun - since).max();
        pauses.extend(pause);
        scene.containers[holder].restart();
        scene.wait_until_whole();
    }
    scene.source.assert_no_overlap();
    pauses
}

fn sensor_processes(binary: &Path, kills: u32) -> Vec<Duration> {
    let scene = Scene::start(binary, 4);
    let probe = scene.probes[0].clone();
    let mut pauses = Vec::new();
    for number in 1..=kills {
        progress(number, kills);
        scene.wait_for_polls(&probe, FORGETS);
        scene.wait_until_whole();
        let Some(process) = scene.testbed.sensor_process(&probe) else { continue };
        let since = Instant::now();
        scene.testbed.kill(process, Signal::KILL);
        pauses.push(scene.next_sign(&probe, since) - since);
    }
    scene.source.assert_no_overlap();
    pauses
}

/// Kills the arbitrator and starts it again: the longest time between two polls of any probe, each time, and how
/// many probes moved.
fn arbitrators(binary: &Path, kills: u32) -> (Vec<Duration>, usize) {
    let mut scene = Scene::start(binary, BESIDE_ARBITRATOR);
    let before = scene.testbed.placement(&scene.probes);
    let mut gaps = Vec::new();
    for number in 1..=kills {
        progress(number, kills);
        let since = Instant::now();
        scene.arbitrator().restart();
        scene.wait_until_whole();
        // The time measured is all over: no condition can tell that nothing happened in it.
        std::thread::sleep(AFTERWARDS.saturating_sub(since.elapsed()));
        let until = Instant::now();
        let polls = scene.source.polls();
        let gap = |probe: &String| longest_gap(&polls, probe, since, until);
        gaps.extend(scene.probes.iter().map(gap).max());
    }
    let after = scene.testbed.placement(&scene.probes);
    let moved = match (before, after) {
        (Some(before), Some(after)) => before.iter().filter(|(probe, name)| after.get(*probe) != Some(name)).count(),
        _ => scene.probes.len(),
    };
    scene.source.assert_no_overlap();
    (gaps, moved)
}

/// One line on the terminal that says how far it is.
fn progress(number: u32, of: u32) {
    eprint!("\r{number}/{of} ");
    if number == of {
        eprint!("\r        \r");
    }
}
