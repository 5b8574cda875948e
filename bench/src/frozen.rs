//! What a leader still does that stood still for three times as long as its leadership lasts, and wakes.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use st2sa_proto::rest::word;
use st2sa_testbed::{LoyalContainer, Signal};

use crate::probes::{INTERVAL, PATIENCE, Scene};
use crate::progress::Progress;
use crate::stores::{Store, Which};

/// Probes that poll all the while.
const PROBES: u32 = 20;
/// Writes that a frozen leader is asked for, each time.
const WRITES: usize = 20;
/// How long its deeds are looked at once it knows that it does not lead.
const AFTERWARDS: Duration = Duration::from_secs(3);

/// What came of what frozen leaders were asked, in all.
#[derive(Default)]
struct Came {
    writes_asked: usize,
    heartbeats: usize,
    writes_accepted: usize,
    writes_found: usize,
    acknowledged: usize,
    statuses: usize,
    obeyed: usize,
    decided: usize,
}

/// Freezes and thaws leaders on one store.
pub(crate) fn run(binary: &Path, which: Which, times: u32) -> ExitCode {
    let store = Store::start(which);
    let (scene, arbitrators) = Scene::shared(binary, PROBES, &store.url());
    let ttl = store.leader_ttl();
    println!(
        "three arbitrators on {which:?}; {PROBES} probes poll every {} ms; the leader is stopped (SIGSTOP) for three times its \
         {} s, {times} times\n",
        INTERVAL.as_millis(),
        ttl.as_secs()
    );
    let mut came = Came::default();
    let mut progress = Progress::new("frozen and thawed");
    for number in 1..=times {
        progress.at(number as usize, times as usize);
        scene.wait_until_whole();
        let (leader, term) = scene.leader();
        let name = format!("loyal{number}");
        let loyal = LoyalContainer::bound_to(scene.testbed.listens()[leader], &name);
        loyal.write("before");
        scene.testbed.eventually(PATIENCE, "a leader in force stores and acknowledges", || {
            let (acknowledged, _, written) = loyal.heard().since(Instant::now().checked_sub(PATIENCE)?);
            (acknowledged > 0 && written > 0).then_some(())
        });
        let (frozen, sent) = (Instant::now(), loyal.heard().sent);
        arbitrators[leader].kill(Signal::STOP);
        for write in 0..WRITES {
            loyal.write(&format!("asleep{write}"));
        }
        scene.until_another_leads(leader, term);
        // The time measured is that in which it stands still.
        std::thread::sleep((ttl * 3).saturating_sub(frozen.elapsed()));
        let logs = || scene.containers.iter().map(st2sa_testbed::Program::log).collect::<Vec<_>>();
        let (logged, own) = (logs(), arbitrators[leader].log());
        let (thawed, sent) = (Instant::now(), loyal.heard().sent - sent);
        arbitrators[leader].kill(Signal::CONT);
        scene.testbed.eventually(PATIENCE, "it knows that it does not lead", || {
            scene.testbed.status_of(leader).filter(|status| status.role == word::STANDS_BY && status.term > term)
        });
        scene.testbed.eventually(PATIENCE, "everything that it was asked is answered", || {
            (loyal.heard().writes.len() == WRITES + 1).then_some(())
        });
        // The time measured is all over: no condition can tell that nothing happened in it.
        std::thread::sleep(AFTERWARDS);
        let (acknowledged, statuses, accepted) = loyal.heard().since(thawed);
        let is_found = |write: &usize| {
            let path = format!("/v1/datastore/loyal.{name}:asleep{write}");
            scene.testbed.eventually(PATIENCE, "the leader reads", || match scene.testbed.document(&path)?.0 {
                200 => Some(true),
                404 => Some(false),
                _ => None,
            })
        };
        came.writes_asked += WRITES;
        came.heartbeats += sent;
        came.writes_accepted += accepted;
        came.writes_found += (0..WRITES).filter(is_found).count();
        came.acknowledged += acknowledged;
        came.statuses += statuses;
        let of_term = format!("fence={term}.");
        let obeyed = |(before, after): (&String, String)| count(&after[before.len()..], &of_term);
        came.obeyed += logged.iter().zip(logs()).map(obeyed).sum::<usize>();
        came.decided += count(&arbitrators[leader].log()[own.len()..], &of_term);
    }
    drop(progress);
    scene.source.assert_no_overlap();
    let line = |what: &str, count: usize| println!("{what:<86} {count:>5}");
    line("asked of frozen leaders by a container that stays with them: writes under its fence", came.writes_asked);
    line("the same: heartbeats, sent until they were thawed", came.heartbeats);
    println!("once thawed:");
    line("  writes accepted, as their answers say", came.writes_accepted);
    line("  writes accepted, as the next leader reads in the store", came.writes_found);
    line("  heartbeats acknowledged", came.acknowledged);
    line("  statuses sent to that container", came.statuses);
    line("  statuses of the old term that other containers obeyed, as their logs say", came.obeyed);
    line("  changes that they decided under the old term, as their own logs say", came.decided);
    println!("\nno two polls overlapped");
    drop((scene, arbitrators, store));
    ExitCode::SUCCESS
}

/// Lines that have this in them.
fn count(log: &str, what: &str) -> usize {
    log.lines().filter(|line| line.contains(what)).count()
}
