//! Operators' orders, given on the command line to real processes: what they do, that nobody misses a tick for them, and
//! that what is meant to last outlives every restart.

use std::time::{Duration, Instant};

use st2sa_proto::rest::{Sensor, word};
use st2sa_testbed::{Pack, Signal, longest_gap};

use crate::engines::{Engine, on_every_engine};
use crate::scene::{SETTLES, SLACK, Scene, TICKER};

/// An order is carried out, or its answer there, within this.
const DONE_WITHIN: Duration = Duration::from_secs(20);
/// Two intervals: a tick was missed. The rest is what a swamped machine takes.
const MISSED: Duration = Duration::from_millis(400);

/// What an order answers, which succeeds.
fn ordered(scene: &Scene, order: &[&str]) -> String {
    let (code, output, errors) = tried(scene, order);
    assert_eq!(code, 0, "{order:?}: {output}{errors}");
    output
}

/// Its exit code, its answer, and what it says beside that.
fn tried(scene: &Scene, order: &[&str]) -> (i32, String, String) {
    let arbitrator = format!("--arbitrator={}", scene.bed.listen());
    let arguments: Vec<&str> = order.iter().copied().chain([arbitrator.as_str()]).collect();
    let mut program = scene.bed.program("order", &arguments);
    let status = program.wait(DONE_WITHIN);
    (status.code().unwrap_or(-1), program.output(), program.log())
}

fn sensor(scene: &Scene, reference: &str) -> Option<Sensor> {
    scene.bed.sensors()?.into_iter().find(|sensor| sensor.reference == reference)
}

fn is_paused(scene: &Scene, reference: &str) -> Option<()> {
    let sensor = sensor(scene, reference)?;
    (sensor.status == word::PAUSED && sensor.active.is_none()).then_some(())
}

#[test]
fn moves_and_failovers_miss_no_tick() {
    let scene = Scene::of(&[Pack::Ticker(4)]);
    let since = Instant::now();
    assert!(ordered(&scene, &["move", TICKER, "b", "--yes"]).contains("is ACTIVE on b"));
    assert!(ordered(&scene, &["move", TICKER, "a", "--yes"]).contains("is ACTIVE on a"));
    assert!(ordered(&scene, &["failover", TICKER, "--yes"]).contains("is ACTIVE on b"));
    let (code, _, errors) = tried(&scene, &["move", TICKER, "nowhere", "--yes"]);
    assert_eq!(code, 1, "{errors}");
    assert!(errors.contains("no container nowhere"), "{errors}");
    let polled = ordered(&scene, &["poll", TICKER]);
    assert!(polled.contains("has polled on b"), "{polled}");
    let (polls, until) = (scene.source.polls(), Instant::now());
    for ticker in &scene.sensors {
        let gap = longest_gap(&polls, ticker, since, until);
        assert!(gap < MISSED + SLACK, "{ticker} was not polled for {gap:?}");
    }
    scene.source.assert_no_overlap();
    let history = scene.history_from(0);
    let moved: Vec<_> = history.iter().filter(|record| record.cause == "moved").collect();
    let path: Vec<_> = moved.iter().filter_map(|record| record.to.as_deref()).collect();
    assert_eq!(path, ["b", "a", "b"]);
    assert!(moved.iter().all(|record| record.who != "arbiter" && record.sensor == TICKER), "{moved:?}");
}

on_every_engine!(a_pause_outlives_every_restart_and_says_whose_it_is);

fn a_pause_outlives_every_restart_and_says_whose_it_is(engine: Engine) {
    let mut scene = Scene::on(engine, &[Pack::Ticker(3)]);
    ordered(&scene, &["pause", TICKER, "--yes", "--who=anne"]);
    is_paused(&scene, TICKER).unwrap();
    scene.restart_arbitrators();
    scene.a.kill(Signal::KILL);
    scene.a.wait(SETTLES);
    scene.a.restart();
    let others = scene.sensors.split_off(1);
    let paused = std::mem::replace(&mut scene.sensors, others);
    scene.settled(SETTLES);
    assert_eq!(paused, [TICKER]);
    is_paused(&scene, TICKER).unwrap();
    let intent = sensor(&scene, TICKER).and_then(|sensor| sensor.paused).unwrap();
    assert_eq!(intent.who, "anne");
    assert!(ordered(&scene, &["why", TICKER]).contains("paused by anne"));
    let resumed = Instant::now();
    ordered(&scene, &["resume", TICKER, "--who=berta"]);
    scene.bed.eventually(SETTLES, "it polls again", || scene.source.first_since(TICKER, resumed));
    // A standby hears of it from the leader.
    let who = scene.bed.eventually(SETTLES, "the history has it", || {
        scene.bed.history()?.into_iter().rfind(|record| record.cause == "resumed").map(|record| record.who)
    });
    assert_eq!(who, "berta");
    scene.source.assert_no_overlap();
}

#[test]
fn every_sensor_can_be_paused_and_resumed_at_once() {
    let scene = Scene::of(&[Pack::Ticker(3)]);
    ordered(&scene, &["pause", "--all", "--yes"]);
    for ticker in &scene.sensors {
        is_paused(&scene, ticker).unwrap();
    }
    let resumed = Instant::now();
    ordered(&scene, &["resume", "--all"]);
    for ticker in &scene.sensors {
        scene.bed.eventually(SETTLES, "it polls again", || scene.source.first_since(ticker, resumed));
    }
}

#[test]
fn a_drain_outlives_restarts_and_what_can_run_nowhere_else_stays() {
    let mut scene = Scene::of(&[Pack::Ticker(3)]);
    let said = ordered(&scene, &["drain", "a", "--yes", "--who=anne"]);
    assert!(said.contains("a has handed over: 3 moved, 0 stay"), "{said}");
    scene.arbitrator.end();
    scene.arbitrator.restart();
    scene.settled(SETTLES);
    let drained = scene.bed.eventually(SETTLES, "a is there again, and drained", || {
        let containers = scene.bed.containers()?;
        containers.into_iter().find(|container| container.name == "a" && container.state == word::DRAINING)
    });
    assert_eq!(drained.sensors_active, 0, "{drained:?}");
    assert_eq!(drained.drained.map(|intent| intent.who).as_deref(), Some("anne"));
    // Now nobody else can run them.
    let said = ordered(&scene, &["drain", "b", "--yes"]);
    assert!(said.contains("3 can run nowhere else and stay"), "{said}");
    let b_has = |count: u64| {
        let containers = scene.bed.containers()?;
        containers.iter().find(|container| container.name == "b")?.sensors_active.eq(&count).then_some(())
    };
    b_has(3).unwrap();
    ordered(&scene, &["undrain", "a"]);
    scene.bed.eventually(SETTLES, "what b has goes to a", || b_has(0));
    scene.source.assert_no_overlap();
}

#[test]
fn the_datastore_is_read_and_written_by_people() {
    let mut scene = Scene::of(&[Pack::Cursor]);
    let cursor = "cursor.Cursor:after";
    scene.bed.eventually(SETTLES, "a cursor is stored", || {
        tried(&scene, &["datastore", "get", cursor]).1.trim().parse::<u64>().ok().filter(|after| *after > 0)
    });
    ordered(&scene, &["pause", "cursor.Cursor", "--yes"]);
    ordered(&scene, &["datastore", "set", cursor, "1000", "--yes"]);
    let file = scene.bed.folder().join("values.jsonl");
    std::fs::write(&file, ordered(&scene, &["datastore", "export"])).unwrap();
    ordered(&scene, &["datastore", "delete", cursor, "--yes"]);
    assert_eq!(tried(&scene, &["datastore", "get", cursor]).0, 1);
    ordered(&scene, &["datastore", "import", &file.display().to_string(), "--yes"]);
    // Stored is stored.
    scene.arbitrator.end();
    scene.arbitrator.restart();
    scene.bed.eventually(SETTLES, "it leads again", || {
        (tried(&scene, &["datastore", "get", cursor]).1.trim() == "1000").then_some(())
    });
    ordered(&scene, &["resume", "cursor.Cursor"]);
    scene.bed.eventually(SETTLES, "it goes on where people have put it", || {
        scene.bed.triggers().iter().any(|trigger| trigger.payload["number"] == 1001).then_some(())
    });
}
