//! Being asked to stop: a container hands over, an arbitrator resigns, and whoever is asked twice stops at once.

use std::time::{Duration, Instant};

use st2sa_testbed::{End, SESSION_TTL, Signal, longest_gap};

use crate::scene::{SETTLES, SLACK, SLOW, Scene, all_are_on, tickers};

/// Between the last poll here and the first one there, beyond the interval: 100 ms, on a machine that is not swamped.
const GAP: Duration = Duration::from_millis(200 + 100);

#[test]
fn a_container_asked_to_stop_hands_over_without_a_gap() {
    let mut scene = Scene::usual();
    let history = scene.history_length();
    let (since, open) = (Instant::now(), scene.source.open(SLOW).pop().unwrap());
    scene.a.kill(Signal::TERM);
    let moved = || {
        let placement = scene.bed.sensors()?;
        let there = |sensor: &String| {
            let found = placement.iter().find(|found| found.reference == *sensor);
            found.is_some_and(|found| found.active.as_deref() == Some("b"))
        };
        tickers(&scene).iter().all(there).then_some(())
    };
    scene.bed.eventually(SLACK * 2, "what can be handed over at once is ACTIVE on b", moved);
    assert!(scene.a.process().lives(), "it waits for the poll that goes on");
    scene.source.release(SLOW);
    assert_eq!(scene.a.wait(SETTLES).code(), Some(0), "{}", scene.a.log());
    scene.polled_within(&[SLOW.to_owned()], open.begun + Duration::from_millis(1), SETTLES);
    all_are_on("b", &scene.is_well());
    let polls = scene.source.polls();
    let released = polls.iter().find(|poll| poll.connection == open.connection).unwrap();
    let (ended, how) = released.ended.unwrap();
    assert_eq!(how, End::Returned, "the poll that went on was let finish");
    let next = scene.source.first_since(SLOW, ended).unwrap();
    assert!(next.begun - ended <= GAP + SLACK, "{:?}", next.begun - ended);
    for ticker in tickers(&scene) {
        let gap = longest_gap(&polls, &ticker, since, Instant::now());
        assert!(gap <= GAP + SLACK, "{ticker} was not polled for {gap:?}");
    }
    for record in scene.history_from(history) {
        assert_eq!(record.cause, "drained", "{record:?}");
    }
    assert_eq!(scene.a.processes(), []);
}

#[test]
fn a_container_asked_twice_stops_at_once() {
    let mut scene = Scene::usual();
    scene.a.kill(Signal::TERM);
    scene.bed.eventually(SLACK, "it is heard", || scene.a.log().contains("ask again to stop at once").then_some(()));
    scene.a.kill(Signal::TERM);
    assert_eq!(scene.a.wait(SLACK).code(), Some(3), "{}", scene.a.log());
    assert_eq!(scene.a.processes(), []);
    scene.is_well();
}

#[test]
fn an_arbitrator_asked_to_stop_resigns_and_its_successor_moves_nothing() {
    let mut scene = Scene::usual();
    let (history, since) = (scene.history_length(), Instant::now());
    scene.arbitrator.kill(Signal::TERM);
    assert_eq!(scene.arbitrator.wait(SLACK * 2).code(), Some(0), "{}", scene.arbitrator.log());
    scene.arbitrator.restart();
    all_are_on("a", &scene.settled(SETTLES));
    scene.is_well();
    for ticker in tickers(&scene) {
        let gap = longest_gap(&scene.source.polls(), &ticker, since, Instant::now());
        assert!(gap <= SESSION_TTL, "{ticker} was not polled for {gap:?}: the lease outlasts a quick restart");
    }
    for record in scene.history_from(history) {
        assert_eq!((record.cause.as_str(), record.to.as_deref()), ("adopted", Some("a")), "{record:?}");
    }
}

#[test]
fn an_arbitrator_asked_twice_stops_at_once() {
    let mut scene = Scene::usual();
    scene.arbitrator.kill(Signal::TERM);
    if scene.arbitrator.process().lives() {
        scene.arbitrator.kill(Signal::INT);
    }
    assert_eq!(scene.arbitrator.wait(SLACK).code(), Some(0), "{}", scene.arbitrator.log());
    scene.arbitrator.restart();
    scene.is_well();
}
