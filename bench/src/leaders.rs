//! What a leader's death, its resignation and its standing still cost, with three arbitrators on a shared store.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use st2sa_testbed::{Program, Signal, longest_gap};

use crate::probes::{INTERVAL, PATIENCE, Scene};
use crate::report;
use crate::stores::{Store, Which};

/// Probes that poll all the while.
const PROBES: u32 = 20;
/// The time after a leader's death in which a pause of polling is looked for.
const AFTERWARDS: Duration = Duration::from_secs(4);

/// Measures kills and resignations on one store.
pub(crate) fn run(binary: &Path, which: Which, kills: u32) -> ExitCode {
    println!("three arbitrators on {which:?}; {PROBES} probes poll every {} ms\n", INTERVAL.as_millis());
    report::head("the leader ends");
    let (elected, pauses, moved) = ends(binary, which, kills, Signal::KILL);
    report::line("killed: until another one leads", &elected);
    report::line("killed: longest time between two polls", &pauses);
    let (handed, still, moved_by_resigning) = ends(binary, which, kills, Signal::TERM);
    report::line("resigned: until another one leads", &handed);
    report::line("resigned: longest time between two polls", &still);
    let paused = still.iter().filter(|gap| **gap >= INTERVAL * 2).count();
    println!(
        "\nsensors moved: {moved} by kills, {moved_by_resigning} by resignations; polling paused in {paused} of {} \
         resignations; no two polls overlapped",
        still.len()
    );
    ExitCode::SUCCESS
}

/// Ends the leader again and again: how long until another one leads, how long polling paused, and how many moved.
fn ends(binary: &Path, which: Which, kills: u32, signal: Signal) -> (Vec<Duration>, Vec<Duration>, usize) {
    // One's own: on a store that others used, their electors alone may lead.
    let store = Store::start(which);
    let (scene, mut arbitrators) = Scene::shared(binary, PROBES, &store.url());
    let before = scene.testbed.placement(&scene.probes);
    let (mut elected, mut pauses) = (Vec::new(), Vec::new());
    for _ in 0..kills {
        scene.wait_until_whole();
        let (leader, term) = scene.leader();
        let since = Instant::now();
        arbitrators[leader].kill(signal);
        scene.until_another_leads(leader, term);
        elected.push(since.elapsed());
        arbitrators[leader].wait(PATIENCE);
        // The time measured is all over: no condition can tell that nothing happened in it.
        std::thread::sleep(AFTERWARDS.saturating_sub(since.elapsed()));
        let (polls, until) = (scene.source.polls(), Instant::now());
        pauses.extend(scene.probes.iter().map(|probe| longest_gap(&polls, probe, since, until)).max());
        arbitrators[leader].restart();
    }
    scene.wait_until_whole();
    scene.source.assert_no_overlap();
    let after = scene.testbed.placement(&scene.probes);
    let moved = match (before, after) {
        (Some(before), Some(after)) => before.iter().filter(|(probe, name)| after.get(*probe) != Some(name)).count(),
        _ => scene.probes.len(),
    };
    drop::<Vec<Program>>(arbitrators);
    drop(store);
    (elected, pauses, moved)
}
