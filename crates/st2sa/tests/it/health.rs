//! What is wrong with a sensor, and what is done about it: it moves once; where it fails everywhere its source is at
//! fault, and it stays, is tried again and again, and is shown as failing. No other sensor notices.

use std::time::{Duration, Instant};

use st2sa_proto::rest::{HistoryRecord, Instance, Sensor};
use st2sa_testbed::{Pack, Poll};

use crate::scene::{SETTLES, SLACK, Scene};

const ILL: &str = "ill.Ill";
/// Polls after which what failed before is forgotten.
const FORGETS: usize = 10;
/// A poll counts as hung after this, by the policy of these tests.
const HUNG_AFTER: Duration = Duration::from_secs(1);
/// What a sensor's processes may have, by the policy of these tests.
const MEMORY: &str = "\"ill.*\": {memory: 96MiB}";

fn ill_on(on: &'static str, how: &'static str, policy: &str) -> Scene {
    let scene = Scene::under(&[Pack::Ill { how, on }, Pack::Ticker(4)], policy);
    Pack::fall_ill(scene.bed.folder());
    scene
}

fn ill(scene: &Scene) -> Option<Sensor> {
    scene.bed.sensors()?.into_iter().find(|sensor| sensor.reference == ILL)
}

fn on<'a>(sensor: &'a Sensor, container: &str) -> Option<&'a Instance> {
    sensor.instances.iter().find(|instance| instance.container == container)
}

/// What the history says of one sensor.
fn told(scene: &Scene, sensor: &str) -> Vec<HistoryRecord> {
    scene.history_from(0).into_iter().filter(|record| record.sensor == sensor).collect()
}

/// It has been polled so often by one process, without an end to it.
fn until_well_on_b(scene: &Scene) {
    scene.bed.eventually(SETTLES * 2, "it is polled on b, more often than a failure is remembered", || {
        let on_b = ill(scene)?.active.as_deref() == Some("b");
        let polls = scene.source.polls();
        let last = polls.iter().rfind(|poll| poll.sensor == ILL)?.process;
        let of_last = |poll: &&Poll| poll.sensor == ILL && poll.process == last;
        (on_b && polls.iter().filter(of_last).count() > FORGETS).then_some(())
    });
}

/// It moved once, because it had failed, and nothing else moved.
fn moved_once(scene: &Scene) {
    let moves: Vec<HistoryRecord> = told(scene, ILL).into_iter().filter(|record| record.cause == "failed").collect();
    let path: Vec<_> = moves.iter().map(|record| (record.from.as_deref(), record.to.as_deref())).collect();
    let straight = [(Some("a"), None), (None, Some("b"))];
    let at_once = [(Some("a"), Some("b"))];
    assert!(path == straight || path == at_once, "{moves:?}");
    others_stay(scene);
}

/// No other sensor has moved, or missed more than a tick or two of a swamped machine.
fn others_stay(scene: &Scene) {
    for record in scene.history_from(0).iter().filter(|record| record.sensor != ILL) {
        assert_eq!((record.cause.as_str(), record.to.as_deref()), ("placed", Some("a")), "{record:?}");
    }
    scene.source.assert_no_overlap();
}

/// What goes wrong on `a` alone is well on `b`; what was wrong is told.
fn is_well_elsewhere(how: &'static str, policy: &str, says: &str) {
    let scene = ill_on("a", how, policy);
    until_well_on_b(&scene);
    moved_once(&scene);
    scene.bed.eventually(SETTLES, &format!("what was wrong on a is told: `{says}`"), || {
        on(&ill(&scene)?, "a")?.last_error.as_ref().filter(|error| error.contains(says)).map(drop)
    });
}

#[test]
fn a_poll_that_hangs_is_ended_and_its_sensor_moves_once() {
    let policy = format!("\"ill.*\": {{poll_timeout: {}ms}}", HUNG_AFTER.as_millis());
    let since = Instant::now();
    is_well_elsewhere("hangs", &policy, "in the middle of a poll that had lasted");
    assert!(since.elapsed() > HUNG_AFTER);
}

#[test]
fn a_sensor_that_raises_three_times_in_a_row_moves_once() {
    is_well_elsewhere("raises", "", "ValueError: this sensor raises on purpose");
}

#[test]
fn a_sensor_whose_process_dies_moves_at_the_first_death() {
    is_well_elsewhere("dies", "", "3");
}

#[test]
fn an_exit_is_a_death_even_with_code_0() {
    is_well_elsewhere("exits", "", "SystemExit");
}

#[test]
fn a_sensor_that_wants_more_memory_than_it_may_have_is_ended_and_moves_once() {
    is_well_elsewhere("hogs", MEMORY, "MemoryError");
}

#[test]
fn a_sensor_that_fails_everywhere_stays_is_tried_again_and_shown_as_failing() {
    let scene = ill_on("", "dies", "");
    scene.bed.eventually(SETTLES * 2, "it has died on both, and is tried again with pauses", || {
        let status = scene.bed.status()?;
        let sensor = ill(&scene)?;
        let errors: u64 = sensor.instances.iter().map(|instance| instance.errors).sum();
        (errors >= 4 && status.sensors.failing == 1).then_some(())
    });
    // Later tries are further apart: 1 s doubled each time.
    let polls: Vec<Poll> = scene.source.polls().into_iter().filter(|poll| poll.sensor == ILL).collect();
    let mut first_of_each: Vec<Instant> = Vec::new();
    for (index, poll) in polls.iter().enumerate() {
        if index == 0 || polls[index - 1].process != poll.process {
            first_of_each.push(poll.begun);
        }
    }
    let pauses: Vec<Duration> = first_of_each.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses.iter().skip(1).any(|pause| *pause >= Duration::from_secs(1)), "{pauses:?}");
    others_stay(&scene);
    // It moved once, not to and fro.
    let mut path: Vec<String> = told(&scene, ILL).into_iter().filter_map(|record| record.to).collect();
    path.dedup();
    assert_eq!(path, ["a", "b"]);
}

#[test]
fn a_flood_of_output_is_bounded_and_keeps_nobody_from_polling() {
    let scene = ill_on("a", "floods", "");
    scene.bed.eventually(SETTLES * 2, "it has flooded again and again, and polls on where it was", || {
        let sensor = ill(&scene)?;
        (on(&sensor, "a")?.polls >= 6 && sensor.active.as_deref() == Some("a")).then_some(())
    });
    let log = scene.a.log();
    let lines = log.lines().filter(|line| line.contains("of a flood")).count();
    assert!(lines < 20_000, "{lines} lines of the flood are in the log");
    scene.bed.eventually(SETTLES, "the log says that lines are left out", || {
        scene.a.log().contains("lines of it are left out here").then_some(())
    });
    let moved = told(&scene, ILL).iter().filter(|record| record.cause != "placed").count();
    assert_eq!(moved, 0, "{:?}", told(&scene, ILL));
    others_stay(&scene);
}

#[test]
fn a_source_that_is_down_moves_none_of_its_pack_and_is_alarmed_once() {
    let scene = Scene::of(&[Pack::Ticker(6), Pack::Cursor]);
    let configuration = scene.bed.folder().join("configs/ticker.yaml");
    let before = std::fs::read_to_string(&configuration).unwrap();
    let (since, moves) = (Instant::now(), scene.history_length());
    // A port where nobody listens: the discard service's.
    std::fs::write(&configuration, before.replace(&scene.source.url(), "http://127.0.0.1:9")).unwrap();
    let alarm = "more than a fifth of the sensors of pack ticker fail at once";
    scene.bed.eventually(SETTLES, "it is alarmed", || {
        scene.bed.status()?.alarms.iter().any(|text| text.contains(alarm)).then_some(())
    });
    scene.bed.eventually(SETTLES, "every ticker has failed three times", || {
        let sensors = scene.bed.sensors()?;
        let mut tickers = sensors.iter().filter(|sensor| sensor.reference.starts_with("ticker."));
        tickers.all(|sensor| sensor.instances.iter().map(|instance| instance.errors).sum::<u64>() >= 3).then_some(())
    });
    std::fs::write(&configuration, before).unwrap();
    for sensor in &scene.sensors {
        let recovered = Instant::now();
        scene.bed.eventually(SETTLES * 2, "it polls again", || scene.source.first_since(sensor, recovered));
    }
    let moved: Vec<HistoryRecord> = scene.history_from(moves);
    let elsewhere = moved.iter().filter(|record| record.to.as_deref().is_some_and(|to| to != "a"));
    let elsewhere: Vec<_> = elsewhere.collect();
    // The first two of a pack cannot be told from sensors of their own that fail.
    assert!(elsewhere.len() <= 2, "{elsewhere:?}");
    let cursor = scene.source.first_since("cursor.Cursor", since);
    assert!(cursor.is_some_and(|poll| poll.begun - since < SLACK), "the other pack polls on");
    scene.source.assert_no_overlap();
}
