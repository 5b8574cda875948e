//! One poll, one effect: whatever is killed, and whenever, each number that a sensor counts arrives exactly once, in order,
//! whether it dispatches and then saves, or saves and then dispatches.

use st2sa_machine::crash::{IN_PYTHON, Point};
use st2sa_testbed::{Exactness, Pack, Source, Strike, Testbed};

use crate::scene::{SETTLES, sensors_of, testbed};

const CONTAINERS: [&str; 2] = ["a", "b"];
const PACKS: [Pack; 2] = [Pack::Cursor, Pack::Saver];
/// Short lengths of time, so that much happens within a test.
const QUICK: [&str; 2] = ["--session-ttl=1s", "--heartbeat=200ms"];
/// Of each kind.
const ROUND: [Strike; 6] =
    [Strike::Between, Strike::Sensor, Strike::Container, Strike::Arbitrator, Strike::Node, Strike::Pause];

#[test]
fn nothing_is_lost_and_nothing_arrives_twice_whatever_is_killed() {
    let bed = testbed();
    let mut exactness = play(&bed, "", &[ROUND, ROUND].concat(), 1);
    let account = exactness.account();
    println!("{account}");
    assert!(account.is_exact(), "{account}");
    // Only what was between publishing and marking is written again: at most one batch a sensor and strike.
    assert!(account.repeated <= 3 * 2 * 12, "{account}");
}

#[test]
fn nothing_is_lost_and_nothing_arrives_twice_at_whichever_point_a_process_dies() {
    let bed = testbed();
    let points = Point::ALL.iter().map(|point| point.name()).chain(IN_PYTHON.iter().copied());
    // At its first pass each; `cargo xtask bench exact --points` goes on to later ones.
    let strikes: Vec<Strike> = points.map(|point| Strike::At(point, 1)).collect();
    let mut exactness = play(&bed, "", &strikes, 3);
    let account = exactness.account();
    println!("{account}");
    assert!(account.is_exact(), "{account}");
}

/// The same harness fails for whoever is direct: so it can.
#[test]
fn direct_effects_are_lost_and_doubled_in_the_same_harness() {
    let bed = testbed();
    let mut exactness = play(&bed, "sensors: {\"*\": {effects: direct}}\n", &[Strike::Between], 2);
    let account = exactness.account();
    println!("{account}");
    let of = |found: &[(String, u64)], sensor: &str| found.iter().filter(|(of, _)| of == sensor).count();
    assert_eq!(of(&account.duplicated, "cursor.Cursor"), 3, "dispatched, and not saved: {account}");
    assert_eq!(of(&account.lost, "saver.Saver"), 3, "saved, and not dispatched: {account}");
}

fn play<'a>(bed: &'a Testbed, policy: &str, strikes: &[Strike], seed: u64) -> Exactness<'a> {
    let source = Source::start();
    bed.add_packs(&PACKS, &source);
    let file = bed.folder().join("policy.yaml");
    std::fs::write(&file, if policy.is_empty() { "sensors: {}\n" } else { policy }).unwrap();
    let policy = format!("--policy={}", file.display());
    let flags = [&QUICK[..], &[&policy]].concat();
    let mut arbitrators = [bed.arbitrator(&flags)];
    let mut containers = CONTAINERS.map(|name| bed.container_with_own_file(name, &[]));
    let sensors = sensors_of(&PACKS);
    bed.eventually(SETTLES, "every sensor is ACTIVE", || bed.placement(&sensors));
    let mut exactness = Exactness::new(bed, sensors, &CONTAINERS, seed);
    for strike in strikes {
        exactness.strike(*strike, &mut arbitrators, &mut containers);
    }
    exactness
}

/// While the sink is away what was committed waits in the journal; an operator sees it, and may set an entry aside.
#[test]
fn what_waits_is_listed_and_can_be_set_aside() {
    let (bed, source) = (testbed(), Source::start());
    bed.add_packs(&[Pack::Cursor], &source);
    let _arbitrator = bed.arbitrator(&[]);
    // Nobody listens there.
    let away = format!("http://127.0.0.1:{}/", st2sa_testbed::free_port());
    let _container = bed.container_with_sink("a", &away, &[]);
    let path = "/v1/sensors/cursor.Cursor/effects";
    let waits = || {
        let (_, entries) = bed.document(path).filter(|(status, _)| *status == 200)?;
        entries.as_array().cloned().filter(|entries| entries.len() >= 2)
    };
    let entries = bed.eventually(SETTLES, "entries wait", waits);
    let first = &entries[0];
    assert_eq!(first["effects"].as_array().map(Vec::len), Some(4), "three triggers and a write: {first}");
    let id = first["id"].as_str().unwrap().to_owned();
    let ask = |arguments: &[&str]| {
        let arbitrator = format!("--arbitrator={}", bed.listen());
        let mut asked = bed.program("effects", &[&["effects", "cursor.Cursor", &arbitrator], arguments].concat());
        (asked.wait(SETTLES).code(), asked.output(), asked.log())
    };
    let (code, listed, _) = ask(&[]);
    assert!(
        code == Some(0) && listed.contains(&id) && listed.contains("3 triggers, the first cursor.number"),
        "{listed}"
    );
    let (code, _, said) = ask(&["--discard", &id]);
    assert!(code == Some(2) && said.contains("add --yes"), "{said}");
    let (code, printed, said) = ask(&["--discard", &id, "--yes"]);
    assert!(code == Some(0) && printed.contains("cursor.number") && said.contains("is discarded"), "{printed}{said}");
    bed.eventually(SETTLES, "it is gone", || {
        let (_, entries) = bed.document(path)?;
        (!entries.to_string().contains(&id)).then_some(())
    });
    let (code, _, said) = ask(&["--discard", &id, "--yes"]);
    assert!(code == Some(1) && said.contains("no entry"), "{said}");
}
