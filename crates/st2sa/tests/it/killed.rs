//! SIGKILL of each kind of process.

use std::time::{Duration, Instant};

use st2sa_testbed::{FAILOVER, Signal};

use crate::engines::{Engine, on_every_engine};
use crate::scene::{SLACK, SLOW, Scene, TICKER, all_are_on, tickers};

/// A sensor's process that dies is replaced at once.
const AT_ONCE: Duration = Duration::from_millis(100);

on_every_engine!(a_killed_sensor_process_is_replaced_at_once, the_sensors_of_a_killed_container_go_on_elsewhere);

fn a_killed_sensor_process_is_replaced_at_once(engine: Engine) {
    let scene = Scene::usual_on(engine);
    for sensor in [TICKER, SLOW] {
        let process = scene.bed.sensor_process(sensor).unwrap();
        let killed = Instant::now();
        scene.bed.kill(process, Signal::KILL);
        scene.polled_within(&[sensor.to_owned()], killed, AT_ONCE + SLACK);
        assert!(!process.lives());
    }
    let placement = scene.is_well();
    for (sensor, container) in placement {
        let expected = if [TICKER, SLOW].contains(&sensor.as_str()) { "b" } else { "a" };
        assert_eq!(container, expected, "{sensor}: the first death moves it, and no other");
    }
}

#[test]
fn a_killed_host_is_replaced_with_all_its_sensors() {
    let scene = Scene::usual();
    let hosts = scene.a.hosts();
    assert_eq!(hosts.len(), 1);
    let killed = Instant::now();
    scene.bed.kill(hosts[0], Signal::KILL);
    scene.polled_within(&scene.sensors, killed, FAILOVER + SLACK);
    all_are_on("a", &scene.is_well());
    assert_ne!(scene.a.hosts(), hosts);
}

fn the_sensors_of_a_killed_container_go_on_elsewhere(engine: Engine) {
    let scene = Scene::usual_on(engine);
    let killed = Instant::now();
    scene.a.kill(Signal::KILL);
    scene.polled_within(&scene.sensors, killed, FAILOVER + SLACK);
    all_are_on("b", &scene.is_well());
}

#[test]
fn a_killed_guardian_is_replaced_and_its_sensors_are_started_again() {
    let scene = Scene::usual();
    let guardian = scene.a.guardian();
    let killed = Instant::now();
    scene.bed.kill(guardian, Signal::KILL);
    scene.polled_within(&scene.sensors, killed, FAILOVER + SLACK);
    all_are_on("a", &scene.is_well());
    assert_ne!(scene.a.guardian(), guardian);
}

#[test]
fn a_killed_arbitrator_moves_nothing() {
    let mut scene = Scene::usual();
    let before = scene.history_length();
    let killed = Instant::now();
    scene.arbitrator.end();
    scene.arbitrator.restart();
    scene.polled_within(&tickers(&scene), killed, FAILOVER + SLACK);
    all_are_on("a", &scene.is_well());
    for record in scene.history_from(before) {
        assert_eq!((record.cause.as_str(), record.from, record.to), ("adopted", Some("a".into()), Some("a".into())));
    }
}
